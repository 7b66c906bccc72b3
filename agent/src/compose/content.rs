//! The seam to the notice model: what the rest of the agent needs to know of a notice's content.

use valise_proto::directory::Directory;
use valise_proto::envelope::{NoticeKind, OpenedPortion, PlainPortion, Precedence};
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::label::PolicyId;
use valise_proto::notice::{
    Addressee, Notice, NoticeRef, Omission, Portion, Reason, Rule, difference, replaces,
};
pub use valise_proto::notice::{Mistake, schema};
use valise_proto::receipt::SignedReceipt;
use valise_proto::wire::WireError;
use zeroize::Zeroizing;

use super::preview::PreviewOmission;

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

    /// The States left out. They are for the author's eyes and records, and are not sent.
    pub(super) fn omissions(&self) -> Vec<PreviewOmission> {
        let omission = |omission: &Omission| PreviewOmission {
            state: omission.state.to_string(),
            reason: match &omission.text {
                Some(text) => format!("{}: {}", omission.reason, text.as_str()),
                None => omission.reason.to_string(),
            },
        };
        self.notice.omissions().iter().map(omission).collect()
    }

    /// What is wrong with a RESPONSE to a notice that opens here as `answered`.
    pub(super) fn check_answer(&self, answered: &[OpenedPortion]) -> Vec<Mistake> {
        let answered: Vec<Portion> = answered.iter().filter_map(|portion| opened(portion).ok()).collect();
        self.notice.check_answer(&answered)
    }

    /// Who is to be told by paragraph 3, by the author, and because of the notice that is followed up, each with the
    /// reasons. `previous` are those whom that notice concerns, whether they can be reached or not: a State that is to
    /// be protected is looked for among all of them. Who was told before and takes no part any more is left out.
    pub(super) fn addressees(
        &self,
        me: &AgencyId,
        directory: &Directory,
        previous: &[AgencyId],
    ) -> Result<Vec<(AgencyId, Vec<String>)>, Vec<Mistake>> {
        let mut addressees = self.notice.addressees_after(me, directory, previous)?;
        let active = |to: &Addressee| directory.agency(&to.agency).is_some_and(|it| it.status.is_active());
        addressees.retain(|to| to.reasons != [Reason::Previous] || active(to));
        let in_words = |to: Addressee| (to.agency, to.reasons.iter().map(ToString::to_string).collect());
        Ok(addressees.into_iter().map(in_words).collect())
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

/// The notices that an opened CORRECTION or WITHDRAWAL takes out of force, newest first.
///
/// # Errors
/// [`Unreadable`].
pub fn replaced(portions: &[OpenedPortion]) -> Result<Vec<NoticeRef>, Unreadable> {
    for portion in portions {
        let opened = opened(portion)?;
        let named = replaces(opened.parts());
        if !named.is_empty() {
            return Ok(named.to_vec());
        }
    }
    Ok(Vec::new())
}

/// Until when what opened portions say may be kept; `None` where they say nothing about persons.
#[must_use]
pub fn review_by(portions: &[OpenedPortion]) -> Option<Timestamp> {
    let terms = |portion| opened(portion).ok()?.terms().map(|terms| terms.review_by);
    portions.iter().filter_map(terms).min()
}

/// What is other in `new` than in `old`, as JSON, in the words of the new alone; `None` where either cannot be read.
#[must_use]
pub fn differences(old: &[OpenedPortion], new: &[OpenedPortion]) -> Option<Zeroizing<Vec<u8>>> {
    let all = |portions: &[OpenedPortion]| portions.iter().map(opened).collect::<Result<Vec<_>, _>>().ok();
    serde_json::to_vec(&difference(&all(old)?, &all(new)?)).ok().map(Zeroizing::new)
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
        let told: Vec<_> = addressees.iter().map(|(agency, _)| agency.as_str()).collect();
        assert_eq!(told, ["fra/ncb", "tur/border", "xpo/general-secretariat"]);
        assert_eq!(addressees[0].1, ["destination of the movement", "citizenship of p1"]);
        assert!(content.omissions()[0].reason.starts_with("NO_CONTACT_POINT: "));
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
