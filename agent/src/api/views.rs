//! From records to what the API says.

use std::collections::BTreeSet;

use valise_proto::directory::Directory;
use valise_proto::envelope::Envelope;
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::receipt::{Receipt, ReceiptKind, SignedReceipt};

use super::types::{
    AgencyFacts, BrokerFacts, ConnectionFacts, Direction, DirectoryFacts, DirectoryView, InboxEntry,
    NoticeFacts, NoticeStatus, OutOfForce, PortionFacts, PortionState, ReadFacts, ReceiptFacts,
    RecipientStatus, SentFacts,
};
use crate::node::LinkState;
use crate::node::office::Office;
use crate::store::{Inbox, ReadRecord, Sent};

/// What became of a notice of ours at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentState {
    Queued,
    Accepted,
    Refused,
    Lapsed,
}

impl SentState {
    pub(super) fn of(sent: &Sent) -> Self {
        let has = |kind| sent.receipts.iter().any(|receipt| receipt.receipt().kind == kind);
        if has(ReceiptKind::Accepted) {
            Self::Accepted
        } else if has(ReceiptKind::Refused) || sent.unsent.is_some() {
            Self::Refused
        } else if sent.lapsed_at.is_some() {
            Self::Lapsed
        } else {
            Self::Queued
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Accepted => "ACCEPTED",
            Self::Refused => "REFUSED",
            Self::Lapsed => "LAPSED",
        }
    }
}

pub(super) fn sent_facts(sent: &Sent, out_of_force: Option<OutOfForce>) -> SentFacts {
    let record = &sent.record;
    SentFacts {
        notice_id: record.notice_id,
        kind: record.kind,
        precedence: record.precedence,
        label: record.label.clone(),
        created_at: record.created_at,
        state: SentState::of(sent).as_str().to_owned(),
        out_of_force,
    }
}

pub(super) fn notice_status(sent: &Sent) -> NoticeStatus {
    let state = SentState::of(sent);
    let by = |kind: ReceiptKind| {
        sent.receipts.iter().map(SignedReceipt::receipt).find(|receipt| receipt.kind == kind)
    };
    let (at, reason) = match state {
        SentState::Queued => (None, None),
        SentState::Accepted => (by(ReceiptKind::Accepted).map(|receipt| receipt.at), None),
        SentState::Refused => {
            let refused = by(ReceiptKind::Refused);
            let refused = refused.map(|receipt| (receipt.at, reason_of(receipt)));
            let unsent = || sent.unsent.as_ref().map(|unsent| (unsent.at, Some(unsent.reason.clone())));
            refused.or_else(unsent).map_or((None, None), |(at, reason)| (Some(at), reason))
        }
        SentState::Lapsed => (sent.lapsed_at, None),
    };
    NoticeStatus {
        notice_id: sent.record.notice_id,
        state: state.as_str().to_owned(),
        at,
        reason,
        respond_by: sent.record.respond_by,
        deadline_passed: sent.deadline_passed,
        out_of_force: None,
        recipients: sent.record.recipients.iter().map(|agency| recipient_status(sent, agency)).collect(),
    }
}

fn recipient_status(sent: &Sent, agency: &AgencyId) -> RecipientStatus {
    // An agency speaks for itself alone, a broker for whom it names.
    let concerns = |receipt: &&Receipt| match receipt.issuer.as_agency() {
        Some(issuer) => issuer == agency,
        None => receipt.recipient.as_ref() == Some(agency),
    };
    let mut steps: Vec<&Receipt> =
        sent.receipts.iter().map(SignedReceipt::receipt).filter(concerns).collect();
    steps.sort_by_key(|receipt| (receipt.at, receipt.kind));
    let weightiest = steps.iter().filter(|step| weight(step) > 0).max_by_key(|step| weight(step));
    let portions: BTreeSet<_> = steps.iter().flat_map(|step| indexes(step)).collect();
    RecipientStatus {
        agency: agency.clone(),
        state: weightiest.map_or("PENDING", |step| step.kind.as_str()).to_owned(),
        portions: portions.into_iter().collect(),
        answered: sent.answered.contains(agency),
        steps: steps.into_iter().map(receipt_facts).collect(),
    }
}

/// What counts for more of what is said of a recipient. A recipient that was shown the notice also had it delivered,
/// whatever its clock says; and who has said that it has the notice has it, though a broker says that it never fetched
/// it, or another copy of it was rejected.
fn weight(step: &Receipt) -> u8 {
    match step.kind {
        // What an officer who was shown it decided; of two decisions the later counts.
        ReceiptKind::Rejected if step.officer.is_some() => 5,
        ReceiptKind::Accepted | ReceiptKind::Refused => 0,
        ReceiptKind::Expired => 1,
        ReceiptKind::Rejected => 2,
        ReceiptKind::Delivered => 3,
        ReceiptKind::Read => 4,
        ReceiptKind::Actioned => 5,
        ReceiptKind::Purged => 6,
    }
}

fn indexes(receipt: &Receipt) -> impl Iterator<Item = usize> {
    receipt.portions.iter().map(|index| index.get())
}

fn reason_of(receipt: &Receipt) -> Option<String> {
    receipt.refusal.as_ref().map(ToString::to_string)
}

pub(super) fn receipt_facts(receipt: &Receipt) -> ReceiptFacts {
    ReceiptFacts {
        kind: receipt.kind.to_string(),
        issuer: receipt.issuer.to_string(),
        recipient: receipt.recipient.clone(),
        at: receipt.at,
        officer: receipt.officer.clone(),
        reason: reason_of(receipt),
        portions: indexes(receipt).collect(),
        cause: receipt.cause.map(|cause| cause.to_string()),
    }
}

pub(super) fn read_facts(record: &ReadRecord) -> ReadFacts {
    ReadFacts { officer: record.officer.clone(), at: record.at }
}

pub(super) fn inbox_entry(inbox: &Inbox, out_of_force: Option<OutOfForce>) -> InboxEntry {
    let record = &inbox.record;
    InboxEntry {
        notice_id: record.notice_id,
        kind: record.kind,
        originator: record.originator.clone(),
        precedence: record.precedence,
        label: record.label.clone(),
        received_at: record.received_at,
        respond_by: record.respond_by,
        read: inbox.read.as_ref().map(read_facts),
        out_of_force,
    }
}

/// How a notice ended, where it did.
#[derive(Default)]
pub(super) struct Ends {
    /// That it counts no more.
    pub(super) out_of_force: Option<OutOfForce>,
    /// When and why what it says was deleted here: of a notice of ours that is later than that it counts no more.
    pub(super) purged: Option<OutOfForce>,
}

pub(super) fn notice_facts(
    envelope: &Envelope,
    direction: Direction,
    receipts: &[SignedReceipt],
    read: Option<&ReadRecord>,
    ends: Ends,
) -> NoticeFacts {
    let header = envelope.header();
    let held = |place: usize| envelope.portions().iter().any(|portion| portion.index.get() == place);
    // What is not held and once was is gone; the rest never came.
    let had = |place: usize| match direction {
        Direction::Sent => true,
        Direction::Received => delivered(receipts).any(|index| index == place),
    };
    let portions = header.portions.iter().enumerate().map(|(index, portion)| {
        let purged = ends.purged.as_ref().filter(|_| !held(index) && had(index));
        let state = match (held(index), purged) {
            (true, _) => PortionState::Held,
            (false, Some(_)) => PortionState::Purged,
            (false, None) => PortionState::Withheld,
        };
        PortionFacts {
            index,
            label: portion.label.to_string(),
            held: held(index),
            state,
            purged_at: purged.map(|purged| purged.at),
            purge_cause: purged.map(|purged| purged.cause.clone()),
            bytes: portion.ciphertext_len,
        }
    });
    NoticeFacts {
        notice_id: header.notice_id,
        direction,
        kind: header.kind,
        originator: header.originator.clone(),
        recipients: header.recipients.clone(),
        precedence: header.precedence,
        label: header.label.to_string(),
        header_digest: envelope.header_digest(),
        created_at: header.created_at,
        expires_at: header.expires_at,
        respond_by: header.respond_by,
        in_reply_to: header.in_reply_to,
        supersedes: header.supersedes,
        withdraws: header.withdraws,
        portions: portions.collect(),
        receipts: receipts.iter().map(|receipt| receipt_facts(receipt.receipt())).collect(),
        read: read.map(read_facts),
        out_of_force: ends.out_of_force,
    }
}

/// The portions that this agency said had arrived.
fn delivered(receipts: &[SignedReceipt]) -> impl Iterator<Item = usize> {
    let receipts = receipts.iter().map(SignedReceipt::receipt);
    receipts.filter(|receipt| receipt.kind == ReceiptKind::Delivered).flat_map(indexes)
}

pub(super) fn connection_facts(link: LinkState) -> ConnectionFacts {
    match link {
        LinkState::Up { target, since } => ConnectionFacts {
            connected: true,
            broker: Some(target.broker.to_string()),
            endpoint: Some(target.endpoint),
            since: Some(since),
            reason: None,
        },
        LinkState::Down { reason, .. } => ConnectionFacts {
            connected: false,
            broker: None,
            endpoint: None,
            since: None,
            reason: Some(reason),
        },
    }
}

pub(super) fn directory_facts(office: &Office, now: Timestamp) -> DirectoryFacts {
    let directory = office.directory();
    DirectoryFacts {
        version: directory.version(),
        expires_at: directory.content().expires_at,
        stale: office.check_fresh(&directory, now).err().map(|error| error.to_string()),
        refused: office.publication_refused().map(super::standing::refused),
    }
}

pub(super) fn directory_view(directory: &Directory) -> DirectoryView {
    let content = directory.content();
    let agencies = content.agencies.values().map(|entry| AgencyFacts {
        id: entry.id.clone(),
        name: entry.display_name.clone(),
        functions: entry.functions.iter().map(ToString::to_string).collect(),
        clearance: entry.clearance.to_string(),
        originates: entry.origination.kinds.iter().copied().collect(),
        contact_point: entry.contact_point,
        status: entry.status.to_string(),
    });
    let brokers = content.brokers.values();
    let brokers =
        brokers.map(|entry| BrokerFacts { name: entry.name.to_string(), endpoints: entry.endpoints.clone() });
    DirectoryView {
        trust_domain: content.trust_domain.clone(),
        policy: content.policy.to_string(),
        version: content.version,
        issued_at: content.issued_at,
        expires_at: content.expires_at,
        agencies: agencies.collect(),
        brokers: brokers.collect(),
    }
}

#[cfg(test)]
mod tests {
    use valise_proto::label::Classification;

    use super::*;
    use crate::fixture::{Exchange, agency};
    use crate::store::SentRecord;

    const KENYA: &str = "ken/ncb";

    /// What is told of Kenya once these receipts have come.
    fn status_of(exchange: &Exchange, receipts: &[(ReceiptKind, &str)]) -> RecipientStatus {
        let envelope = exchange.envelope("fra/ncb", &[KENYA], b"x", |_| {});
        let receipt = |(kind, issuer): &(ReceiptKind, &str)| {
            if kind.is_of_a_broker() {
                let mut receipt = exchange.answer(&envelope, None).receipt().clone();
                (receipt.kind, receipt.recipient) = (*kind, Some(agency(KENYA)));
                return receipt.sign(&exchange.broker_key);
            }
            let mut receipt = exchange.receipt(*kind, issuer, &envelope).receipt().clone();
            // Whatever it names, an agency speaks for itself.
            receipt.recipient = Some(agency(KENYA));
            receipt.sign(&exchange.members[&agency(issuer)].signing)
        };
        let sent = Sent {
            record: SentRecord::of(envelope.header(), envelope.header_digest()),
            receipts: receipts.iter().map(receipt).collect(),
            lapsed_at: None,
            unsent: None,
            deadline_passed: false,
            answered: Vec::new(),
        };
        recipient_status(&sent, &agency(KENYA))
    }

    #[test]
    fn g06_who_says_that_it_has_the_notice_has_it_whatever_else_is_said() {
        use ReceiptKind::{Actioned, Delivered, Expired, Purged, Read, Rejected};
        let secret = Classification::Secret;
        let exchange = Exchange::new(&[("fra/ncb", secret), (KENYA, secret), ("tur/border", secret)]);
        let state = |kinds: &[ReceiptKind]| {
            let receipts: Vec<_> = kinds.iter().map(|kind| (*kind, KENYA)).collect();
            let status = status_of(&exchange, &receipts);
            assert_eq!(status.steps.len(), kinds.len(), "a step is not shown");
            (status.state, status.portions)
        };
        let told = |word: &str, portions: &[usize]| (word.to_owned(), portions.to_vec());
        assert_eq!(state(&[]), told("PENDING", &[]));
        assert_eq!(state(&[Expired]), told("EXPIRED", &[]));
        assert_eq!(state(&[Expired, Rejected]), told("REJECTED", &[]));
        for kind in [Delivered, Read, Actioned] {
            assert_eq!(state(&[kind, Rejected, Expired]), told(kind.as_str(), &[0]));
        }
        assert_eq!(state(&[Read, Purged, Expired]), told("PURGED", &[0]));
        let others = status_of(&exchange, &[(Delivered, "tur/border")]);
        assert_eq!(
            (others.state.as_str(), others.steps.len()),
            ("PENDING", 0),
            "one agency spoke for another"
        );
    }
}
