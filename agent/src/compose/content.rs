//! The seam to the notice model: what the rest of the agent needs to know of a notice's content.

use valise_proto::directory::Directory;
use valise_proto::envelope::{NoticeKind, OpenedPortion, PlainPortion, Precedence};
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::label::PolicyId;
use valise_proto::notice::{
    Addressee, Content as Said, Notice, NoticeRef, Omission, Part, Portion, Reason, Rule, difference,
    replaces,
};
pub use valise_proto::notice::{Mistake, Safeguard, schema};
use valise_proto::receipt::SignedReceipt;
use valise_proto::wire::WireError;
use zeroize::Zeroizing;

use super::preview::{PreviewDisclosure, PreviewOmission};

/// Why an opened portion's content cannot be used. It names fields and never repeats what they hold.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A portion is not what this version reads.
    #[error("portion {index}: {source}")]
    Portion {
        /// Its place in the header.
        index: usize,
        /// What is wrong with it.
        source: WireError,
    },
    /// A RECEIPT that does not hold one receipt.
    #[error("it does not hold exactly one receipt and nothing else")]
    NoReceipt,
}

/// What it rests on that an agency is told; of several the one that weighs most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Paragraph 3: it is told, or its State is left out by an omission.
    Paragraph3,
    /// Somebody chose it: the author, who leaves it out again where it cannot be told, or what is answered.
    Named,
    /// It holds what the notice takes out of force.
    Holder,
    /// It is an agency of the own State.
    Domestic,
}

impl Need {
    fn of(reasons: &[Reason]) -> Self {
        let need = |reason: &Reason| match reason {
            Reason::Source | Reason::Destination | Reason::Transit | Reason::Citizenship(_) => {
                Self::Paragraph3
            }
            Reason::Interpol | Reason::Named | Reason::Originator | Reason::Requester => Self::Named,
            Reason::Previous => Self::Holder,
            Reason::Domestic(_) => Self::Domestic,
        };
        let weight = |need: &Self| match need {
            Self::Paragraph3 => 3,
            Self::Named => 2,
            Self::Holder => 1,
            Self::Domestic => 0,
        };
        reasons.iter().map(need).max_by_key(weight).unwrap_or(Self::Named)
    }

    /// Whether the others are told where this one cannot be.
    pub(super) fn may_fail(self) -> bool {
        match self {
            Self::Paragraph3 | Self::Named => false,
            Self::Holder | Self::Domestic => true,
        }
    }
}

/// An agency that is to be told.
pub(super) struct Named {
    pub(super) agency: AgencyId,
    pub(super) reasons: Vec<String>,
    pub(super) need: Need,
    /// The paragraph that it rests on, where there is one.
    pub(super) rests_on: Option<&'static str>,
}

/// What the author wrote, found to follow every rule.
pub(super) struct Content {
    notice: Notice,
    portions: Vec<Portion>,
}

/// Reads the author's JSON, whose labels are banners under `policy`.
pub(super) fn read(json: &[u8], policy: &PolicyId, now: Timestamp) -> Result<Content, Vec<Mistake>> {
    let notice = Notice::from_json(json, policy, now)?;
    let portions = notice.portions();
    Ok(Content { notice, portions })
}

impl Content {
    /// The same CORRECTION or WITHDRAWAL, naming what it takes out of force.
    pub(super) fn with_replaces(self, chain: Vec<NoticeRef>) -> Result<Self, Mistake> {
        let mistake = |rule: Rule| Mistake::new("parts", "", &rule.to_string());
        let notice = self.notice.with_replaces(chain).map_err(mistake)?;
        let portions = notice.portions();
        Ok(Self { notice, portions })
    }

    pub(super) fn kind(&self) -> NoticeKind {
        self.notice.kind()
    }

    pub(super) fn precedence(&self) -> Precedence {
        self.notice.precedence()
    }

    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.notice.expires_at()
    }

    pub(super) fn respond_by(&self) -> Option<Timestamp> {
        self.notice.respond_by()
    }

    /// When somebody arrives, as far as that is known and still to come.
    pub(super) fn arrival(&self) -> Option<Timestamp> {
        self.notice.arrival()
    }

    /// After this what it says is not kept; `None` where it says nothing about persons.
    pub(super) fn review_by(&self) -> Option<Timestamp> {
        self.notice.terms().map(|terms| terms.review_by)
    }

    pub(super) fn in_reply_to(&self) -> Option<NoticeId> {
        self.notice.in_reply_to()
    }

    pub(super) fn supersedes(&self) -> Option<NoticeId> {
        self.notice.supersedes()
    }

    pub(super) fn withdraws(&self) -> Option<NoticeId> {
        self.notice.withdraws()
    }

    /// The agencies that the author names.
    pub(super) fn recipients(&self) -> &[AgencyId] {
        self.notice.recipients()
    }

    /// The portions, encoded for sealing.
    pub(super) fn portions(&self) -> Vec<PlainPortion> {
        let plain =
            |portion: &Portion| PlainPortion { label: portion.label().clone(), parts: portion.encode() };
        self.portions.iter().map(plain).collect()
    }

    /// What a portion holds, in words without personal data.
    pub(super) fn holds(&self, index: usize) -> String {
        self.portions.get(index).map(Portion::holds).unwrap_or_default()
    }

    /// The States left out, seen from agency `me`. They are for the author's eyes and records, and are not sent.
    pub(super) fn omissions(&self, me: &AgencyId) -> Vec<PreviewOmission> {
        let named = self.notice.left_out(me.state());
        let named_by = |omission: &Omission| {
            let reasons = named.iter().filter(|left_out| left_out.omission == omission);
            reasons.flat_map(|left_out| &left_out.reasons).map(ToString::to_string).collect()
        };
        let omission = |omission: &Omission| PreviewOmission {
            state: omission.state.to_string(),
            reason: match &omission.text {
                Some(text) => format!("{}: {}", omission.reason, text.as_str()),
                None => omission.reason.to_string(),
            },
            named_by: named_by(omission),
            rests_on: omission.reason.safeguard().basis().to_owned(),
        };
        self.notice.omissions().iter().map(omission).collect()
    }

    /// The States of which a refugee is a citizen that are told nevertheless. They are not sent either.
    pub(super) fn disclosures(&self) -> Vec<PreviewDisclosure> {
        let disclosures = self.notice.disclosures().iter().map(|disclosure| PreviewDisclosure {
            state: disclosure.state.to_string(),
            reason: disclosure.text.as_str().to_owned(),
            rests_on: Safeguard::NonRefoulement.basis().to_owned(),
        });
        disclosures.collect()
    }

    /// Of a CORRECTION or WITHDRAWAL, the part that says what it takes out of force, and the portion that holds it.
    pub(super) fn takes_out_of_force(&self) -> Option<(usize, usize)> {
        let says = |part: &Part| matches!(part.content, Said::Correction(_) | Said::Withdrawal(_));
        let part = self.notice.parts().iter().position(says)?;
        let portion = self.portions.iter().position(|portion| portion.parts().iter().any(says))?;
        Some((part, portion))
    }

    /// What is wrong with a RESPONSE to a notice that opens here as `answered`.
    pub(super) fn check_answer(&self, answered: &[OpenedPortion]) -> Vec<Mistake> {
        let answered: Vec<Portion> = answered.iter().filter_map(|portion| opened(portion).ok()).collect();
        self.notice.check_answer(&answered)
    }

    /// Who is to be told by paragraph 3, by the author, and because of the notice that is followed up, each with the
    /// reasons. `previous` are those whom that notice concerns, whether they can be reached or not: a State that is to
    /// be protected is looked for among all of them.
    pub(super) fn addressees(
        &self,
        me: &AgencyId,
        directory: &Directory,
        previous: &[AgencyId],
    ) -> Result<Vec<Named>, Vec<Mistake>> {
        let named = |Addressee { agency, reasons }: Addressee| Named {
            agency,
            need: Need::of(&reasons),
            rests_on: reasons.iter().find_map(Reason::basis),
            reasons: reasons.iter().map(ToString::to_string).collect(),
        };
        let addressees = self.notice.addressees_after(me, directory, previous)?;
        Ok(addressees.into_iter().map(named).collect())
    }
}

fn opened(portion: &OpenedPortion) -> Result<Portion, Unreadable> {
    let unreadable = |source| Unreadable::Portion { index: portion.index.get(), source };
    Portion::decode(portion.label.clone(), portion.parts()).map_err(unreadable)
}

/// What an opened portion says, as JSON: the notice's terms and the `parts`, as its author wrote them.
///
/// # Errors
/// [`Unreadable`].
pub fn decode(portion: &OpenedPortion) -> Result<serde_json::Value, Unreadable> {
    opened(portion).map(|portion| portion.to_json())
}

/// The receipt that an opened RECEIPT holds.
///
/// # Errors
/// [`Unreadable`].
pub fn receipt(portions: &[OpenedPortion]) -> Result<SignedReceipt, Unreadable> {
    let [portion] = portions else { return Err(Unreadable::NoReceipt) };
    opened(portion)?.receipt().cloned().ok_or(Unreadable::NoReceipt)
}

/// What opened portions of one notice say, read once.
pub struct Decoded(Vec<Portion>);

impl Decoded {
    /// Reads all of them.
    ///
    /// # Errors
    /// [`Unreadable`], where one of them is.
    pub fn of(portions: &[OpenedPortion]) -> Result<Self, Unreadable> {
        portions.iter().map(opened).collect::<Result<_, _>>().map(Self)
    }

    /// The notices that a CORRECTION or WITHDRAWAL takes out of force, newest first.
    #[must_use]
    pub fn replaced(&self) -> &[NoticeRef] {
        let named = self.0.iter().map(|portion| replaces(portion.parts()));
        named.into_iter().find(|named| !named.is_empty()).unwrap_or_default()
    }

    /// Until when what they say may be kept; `None` where they say nothing about persons.
    #[must_use]
    pub fn review_by(&self) -> Option<Timestamp> {
        self.0.iter().filter_map(|portion| portion.terms().map(|terms| terms.review_by)).min()
    }

    /// What is other here than in `old`, as JSON, in the words of these alone.
    #[must_use]
    pub fn differences(&self, old: &Self) -> Option<Zeroizing<Vec<u8>>> {
        serde_json::to_vec(&difference(&old.0, &self.0)).ok().map(Zeroizing::new)
    }
}

/// The encoded parts of a RECEIPT, to be sealed as its one portion.
#[must_use]
pub fn receipt_part(receipt: &SignedReceipt) -> Zeroizing<Vec<u8>> {
    Portion::encode_receipt(receipt)
}

#[cfg(test)]
mod tests {
    use valise_proto::label::Classification;
    use valise_proto::receipt::ReceiptKind;

    use super::*;
    use crate::fixture::{Exchange, agency, policy};

    const EXAMPLE: &[u8] = include_bytes!("../../../deploy/examples/deportation.json");

    fn exchange() -> Exchange {
        Exchange::new(&[
            ("ken/ncb", Classification::Secret),
            ("fra/ncb", Classification::Secret),
            ("tur/border", Classification::Restricted),
            ("xpo/general-secretariat", Classification::Confidential),
        ])
    }

    /// What one recipient of a portion opens.
    fn deliver(exchange: &Exchange, from: &str, to: &str, parts: &[u8]) -> Vec<OpenedPortion> {
        let envelope = exchange.envelope(from, &[to], parts, |_| {});
        let verified = envelope.verify_delivered(&exchange.directory(), &agency(to)).unwrap();
        verified.open(&agency(to), std::slice::from_ref(&exchange.members[&agency(to)].sealing)).unwrap()
    }

    #[test]
    fn the_example_goes_to_whom_paragraph_3_names() {
        let exchange = exchange();
        let content = read(EXAMPLE, &policy(), exchange.start).unwrap();
        let addressees = content.addressees(&agency("ken/ncb"), &exchange.directory(), &[]).unwrap();
        let told: Vec<_> = addressees.iter().map(|named| named.agency.as_str()).collect();
        assert_eq!(told, ["fra/ncb", "tur/border", "xpo/general-secretariat"]);
        assert_eq!(addressees[0].reasons, ["destination of the movement", "citizenship of p1"]);
        let omission = &content.omissions(&agency("ken/ncb"))[0];
        assert!(omission.reason.starts_with("NO_CONTACT_POINT: "));
        assert_eq!(
            (omission.rests_on.as_str(), omission.named_by.is_empty()),
            ("S/RES/2396, paragraph 3", false)
        );
        let held: Vec<_> = (0..content.portions().len()).map(|index| content.holds(index)).collect();
        assert_eq!(held, ["movement, remark", "person, custody", "2 grounds"]);
    }

    #[test]
    fn an_opened_portion_shows_what_was_written_and_never_the_omissions() {
        let exchange = exchange();
        let content = read(EXAMPLE, &policy(), exchange.start).unwrap();
        for portion in content.portions() {
            let opened = deliver(&exchange, "ken/ncb", "fra/ncb", &portion.parts);
            let json = decode(&opened[0]).unwrap();
            assert_eq!(json["review_by"], "2035-06-01T00:00:00Z");
            assert!(!json["parts"].as_array().unwrap().is_empty());
            assert!(!json.to_string().contains("NO_CONTACT_POINT"));
            assert!(matches!(receipt(&opened), Err(Unreadable::NoReceipt)));
        }
    }

    #[test]
    fn a_receipt_comes_out_as_it_was_put_in() {
        let exchange = exchange();
        let about = exchange.envelope("ken/ncb", &["fra/ncb"], b"parts", |_| {});
        let given = exchange.receipt(ReceiptKind::Delivered, "fra/ncb", &about);
        let opened = deliver(&exchange, "fra/ncb", "ken/ncb", &receipt_part(&given));
        assert_eq!(receipt(&opened).unwrap(), given);
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_place_alone() {
        let opened = deliver(&exchange(), "ken/ncb", "fra/ncb", b"EXAMPLE-SPECIMEN");
        let error = decode(&opened[0]).unwrap_err().to_string();
        assert!(error.starts_with("portion 0: ") && !error.contains("SPECIMEN"), "{error}");
    }
}
