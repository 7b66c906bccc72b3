//! From records to what the API says.

use valise_proto::directory::Directory;
use valise_proto::envelope::Envelope;
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::receipt::{Receipt, ReceiptKind, SignedReceipt};

use super::types::{
    AgencyFacts, BrokerFacts, ConnectionFacts, Direction, DirectoryFacts, DirectoryView, InboxEntry,
    NoticeFacts, NoticeStatus, PortionFacts, ReadFacts, ReceiptFacts, RecipientStatus, SentFacts,
};
use crate::node::LinkState;
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
        } else if has(ReceiptKind::Refused) {
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

pub(super) fn sent_facts(sent: &Sent) -> SentFacts {
    let record = &sent.record;
    SentFacts {
        notice_id: record.notice_id,
        kind: record.kind,
        precedence: record.precedence,
        label: record.label.clone(),
        created_at: record.created_at,
        state: SentState::of(sent).as_str().to_owned(),
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
            (refused.map(|receipt| receipt.at), refused.and_then(reason_of))
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
        recipients: sent.record.recipients.iter().map(|agency| recipient_status(sent, agency)).collect(),
    }
}

fn recipient_status(sent: &Sent, agency: &AgencyId) -> RecipientStatus {
    let concerns = |receipt: &&Receipt| {
        receipt.issuer.as_agency() == Some(agency) || receipt.recipient.as_ref() == Some(agency)
    };
    let mut steps: Vec<&Receipt> =
        sent.receipts.iter().map(SignedReceipt::receipt).filter(concerns).collect();
    steps.sort_by_key(|receipt| (receipt.at, receipt.kind));
    // A recipient that was shown the notice also had it delivered, whatever its clock says; the later kind counts.
    let last = steps.iter().map(|receipt| receipt.kind).max();
    RecipientStatus {
        agency: agency.clone(),
        state: last.map_or("PENDING", ReceiptKind::as_str).to_owned(),
        answered: sent.answered.contains(agency),
        steps: steps.into_iter().map(receipt_facts).collect(),
    }
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
    }
}

pub(super) fn read_facts(record: &ReadRecord) -> ReadFacts {
    ReadFacts { officer: record.officer.clone(), at: record.at }
}

pub(super) fn inbox_entry(inbox: &Inbox) -> InboxEntry {
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
    }
}

pub(super) fn notice_facts(
    envelope: &Envelope,
    direction: Direction,
    receipts: &[SignedReceipt],
    read: Option<&ReadRecord>,
) -> NoticeFacts {
    let header = envelope.header();
    let held = |place: usize| envelope.portions().iter().any(|portion| portion.index.get() == place);
    let portions = header.portions.iter().enumerate().map(|(index, portion)| PortionFacts {
        index,
        label: portion.label.to_string(),
        held: held(index),
        bytes: portion.ciphertext_len,
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
    }
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
        LinkState::Down { reason } => ConnectionFacts {
            connected: false,
            broker: None,
            endpoint: None,
            since: None,
            reason: Some(reason),
        },
    }
}

pub(super) fn directory_facts(directory: &Directory, now: Timestamp) -> DirectoryFacts {
    DirectoryFacts {
        version: directory.version(),
        expires_at: directory.content().expires_at,
        stale: directory.check_fresh(now).err().map(|error| error.to_string()),
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
