//! Portions: the parts that share one label, and what they are on the wire.

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::Notice;
use super::json::Record;
use super::part::{Content, Part, PartType};
use super::terms::Terms;
use crate::label::Label;
use crate::receipt::SignedReceipt;
use crate::wire::{self, WireError};

/// The parts of a notice that share one label, with the notice's terms. The terms stand in every portion, so that
/// whoever can open any of them knows on what basis, what for, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portion {
    label: Label,
    terms: Option<Terms>,
    parts: Vec<Part>,
}

impl Notice {
    /// The portions, lowest classification first, then by where a part with the label first stands.
    #[must_use]
    pub fn portions(&self) -> Vec<Portion> {
        let mut portions: Vec<Portion> = Vec::new();
        for part in &self.parts {
            match portions.iter_mut().find(|portion| portion.label == part.label) {
                Some(portion) => portion.parts.push(part.clone()),
                None => portions.push(Portion {
                    label: part.label.clone(),
                    terms: self.terms.clone(),
                    parts: vec![part.clone()],
                }),
            }
        }
        // The sort is stable: equal classifications stay in order of appearance.
        portions.sort_by_key(|portion| portion.label.classification);
        portions
    }
}

impl Portion {
    /// The encoded parts of a RECEIPT, which are the receipt alone.
    #[must_use]
    pub fn encode_receipt(receipt: &SignedReceipt) -> Zeroizing<Vec<u8>> {
        wire::notice::encode_receipt(receipt)
    }

    /// Reads the encoded parts of an opened portion whose header says `label`.
    ///
    /// # Errors
    /// [`WireError`], which names a field and never repeats its value.
    pub fn decode(label: Label, parts: &[u8]) -> Result<Self, WireError> {
        let (terms, parts) = wire::notice::decode(&label, parts)?;
        Ok(Self { label, terms, parts })
    }

    /// The encoded parts (the protobuf message `Parts`), to be sealed.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        wire::notice::encode(self.terms.as_ref(), &self.parts)
    }

    /// Its label.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// The notice's terms.
    #[must_use]
    pub fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }

    /// Its parts, in the author's order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The receipt, where it is the portion of a RECEIPT.
    #[must_use]
    pub fn receipt(&self) -> Option<&SignedReceipt> {
        match self.parts.as_slice() {
            [Part { content: Content::Receipt(receipt), .. }] => Some(receipt),
            _ => None,
        }
    }

    /// What it holds, in words without personal data: "movement, 2 persons".
    #[must_use]
    pub fn holds(&self) -> String {
        let count = |part_type: &PartType| {
            let count = self.parts.iter().filter(|part| part.content.part_type() == *part_type).count();
            match count {
                0 => None,
                1 => Some(part_type.to_string()),
                _ => Some(format!("{count} {}", part_type.plural())),
            }
        };
        PartType::ALL.iter().filter_map(count).collect::<Vec<_>>().join(", ")
    }

    /// The JSON form: the terms' fields and `parts`, as they stand in a notice.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        if let Some(terms) = &self.terms {
            terms.write_fields(&mut object);
        }
        object.insert("parts".to_owned(), self.parts.iter().map(Part::to_json).collect());
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{notice, policy};
    use super::*;
    use crate::label::Classification;

    #[test]
    fn parts_with_equal_labels_make_one_portion_and_the_lowest_comes_first() {
        let notice = notice(|json| json["parts"].as_array_mut().unwrap().reverse());
        let portions = notice.portions();
        let held: Vec<_> = portions.iter().map(|p| (p.label().to_string(), p.holds())).collect();
        let expected = [
            ("RESTRICTED", "movement, remark"),
            ("CONFIDENTIAL", "person, custody"),
            ("SECRET//REL TO FRA, KEN", "2 grounds"),
        ];
        assert_eq!(held, expected.map(|(label, holds)| (label.to_owned(), holds.to_owned())));
        assert_eq!(portions, notice.portions());
    }

    #[test]
    fn every_portion_tells_the_terms() {
        let notice = notice(|_| {});
        for portion in notice.portions() {
            let opened = Portion::decode(portion.label().clone(), &portion.encode()).unwrap();
            assert_eq!(opened.terms(), notice.terms());
            assert!(opened.terms().is_some());
            assert_eq!(opened, portion);
        }
    }

    #[test]
    fn a_portion_shows_itself_as_it_was_written() {
        let portions = notice(|_| {}).portions();
        let json = portions[0].to_json();
        assert_eq!(json["parts"][0]["type"], "movement");
        assert_eq!(json["parts"][0]["label"], "RESTRICTED");
        assert_eq!(json["review_by"], "2035-06-01T00:00:00Z");
    }

    #[test]
    fn only_a_receipt_alone_is_a_receipt() {
        let receipt = super::super::fixture::receipt();
        let label = Label::plain(policy(), Classification::Unclassified);
        let opened = Portion::decode(label, &Portion::encode_receipt(&receipt)).unwrap();
        assert_eq!(opened.receipt(), Some(&receipt));
        assert_eq!(opened.holds(), "receipt");
        assert_eq!(notice(|_| {}).portions()[0].receipt(), None);
    }
}
