//! Admission: may this envelope be taken, and who may have which of its portions?
//!
//! Claimed, against a dishonest sender: nothing is taken in another's name, of a kind or classification the sender may
//! not originate, or for a recipient that may access none of it (G3, first decision of the broker). Against everyone:
//! nothing is decided by a directory that has expired (G12). The decision is a pure function of the directory, the
//! limits and the clock it is handed, so it runs on whichever thread verified the signature.
//!
//! The second decision, at delivery, is [`Policy::deliverable`]; it looks at nothing the first one found.

use std::sync::Arc;

use valise_proto::directory::{AgencyEntry, AgencyStatus, Directory};
use valise_proto::envelope::{Envelope, Header, NoticeKind, PortionIndex, Precedence, VerifiedEnvelope};
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};
use valise_proto::label::{Classification, may_access};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::limits::Limits;

/// What decisions are made by: one directory and the limits of this broker.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The directory in force.
    pub directory: Arc<Directory>,
    /// The limits in force.
    pub limits: Limits,
}

/// Which envelope a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Its id.
    pub notice_id: NoticeId,
    /// SHA-256 of its header.
    pub header_digest: Digest,
}

impl About {
    fn of(envelope: &Envelope) -> Self {
        Self { notice_id: envelope.header().notice_id, header_digest: envelope.header_digest() }
    }
}

/// What a CORRECTION or WITHDRAWAL does to an earlier notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUp {
    /// The earlier notice.
    pub notice_id: NoticeId,
    /// Whether copies that wait in inboxes are dropped: of a WITHDRAWAL.
    pub withdraws: bool,
    /// Agencies that need not be told though they were sent the earlier notice: they take no part any more, have
    /// no sealing key that counts, or may access nothing of this one. Decided when it was admitted, so that the batch alone says what happens.
    pub excused: Vec<AgencyId>,
}

impl Policy {
    /// Reads, verifies and decides about an envelope that `peer` submitted on a stream of `precedence`.
    ///
    /// The order is: bounds, identity, signature, access. Everything cheap comes before the signature.
    ///
    /// # Errors
    /// The [`Refusal`] to sign and send back, and about what, where that much could be read.
    pub fn admit(
        &self,
        peer: &AgencyId,
        precedence: Precedence,
        frame: bytes::Bytes,
        now: Timestamp,
    ) -> Result<VerifiedEnvelope, (Option<About>, Refusal)> {
        let too_large = frame.len() > self.limits.envelope_bytes_max;
        let envelope = Envelope::decode(frame, &self.limits).map_err(|error| {
            let code = if too_large { RefusalCode::TooLarge } else { refusal_code(&error) };
            (None, Refusal::new(code, error))
        })?;
        let about = About::of(&envelope);
        self.check_identity(peer, precedence, envelope.header(), now)
            .and_then(|()| envelope.verify_submitted(&self.directory, now))
            .and_then(|verified| self.check_access(verified.header()).map(|()| verified))
            .map_err(|refusal| (Some(about), refusal))
    }

    /// Which envelope this is, where that much can be read: for a refusal that was decided before it was looked at.
    #[must_use]
    pub fn about(&self, frame: bytes::Bytes) -> Option<About> {
        Envelope::decode(frame, &self.limits).ok().map(|envelope| About::of(&envelope))
    }

    /// What needs no cryptography: who says it, when, and on which stream.
    fn check_identity(
        &self,
        peer: &AgencyId,
        precedence: Precedence,
        header: &Header,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.check_directory(now)?;
        if header.originator != *peer {
            let detail = format!(
                "the connection is of {peer}; the envelope names {} as its originator",
                header.originator
            );
            return Err(Refusal::new(RefusalCode::NotOriginator, detail));
        }
        if header.precedence != precedence {
            let detail = format!("the stream carries {precedence}; the envelope is {}", header.precedence);
            return Err(Refusal::new(RefusalCode::Malformed, detail));
        }
        if header.created_at > now.plus(self.limits.clock_ahead_max) {
            let detail = format!(
                "created_at {} is ahead of the broker's clock {now} by more than {} s; set the clock and seal again",
                header.created_at,
                self.limits.clock_ahead_max.as_secs()
            );
            return Err(Refusal::new(RefusalCode::ClockSkew, detail));
        }
        if header.expires_at <= now {
            let detail = format!("expires_at {} has passed (the broker's clock: {now})", header.expires_at);
            return Err(Refusal::new(RefusalCode::Expired, detail));
        }
        if header.expires_at.since(header.created_at) > self.limits.lifetime_max {
            let days = self.limits.lifetime_max.as_secs() / 86_400;
            let detail = format!("from created_at to expires_at there may be at most {days} days");
            return Err(Refusal::new(RefusalCode::TooLarge, detail));
        }
        Ok(())
    }

    /// # Errors
    /// `DIRECTORY_STALE`.
    pub fn check_directory(&self, now: Timestamp) -> Result<(), Refusal> {
        self.directory.check_fresh(now).map_err(|error| Refusal::new(RefusalCode::DirectoryStale, error))
    }

    fn check_access(&self, header: &Header) -> Result<(), Refusal> {
        let originator = self.active(&header.originator, "originator")?;
        check_origination(originator, header)?;
        for recipient in &header.recipients {
            let entry = self.active(recipient, "recipient")?;
            if !header.portions.iter().any(|portion| may_access(&entry.clearance, &portion.label).is_ok()) {
                let detail =
                    format!("{recipient} is cleared for no portion: {}", first_denial(entry, header));
                return Err(Refusal::new(RefusalCode::RecipientNotCleared, detail));
            }
        }
        Ok(())
    }

    /// The entry of an agency that takes part.
    ///
    /// # Errors
    /// `UNKNOWN_AGENCY`, `SUSPENDED` or `REVOKED`; `who` says in which part the agency appears.
    pub fn active(&self, agency: &AgencyId, who: &str) -> Result<&AgencyEntry, Refusal> {
        let version = self.directory.version();
        let entry = self.directory.agency(agency).ok_or_else(|| {
            let detail = format!("the {who} {agency} is not in directory version {version}");
            Refusal::new(RefusalCode::UnknownAgency, detail)
        })?;
        match entry.status {
            AgencyStatus::Active => Ok(entry),
            AgencyStatus::Suspended { since } => {
                let detail =
                    format!("the {who} {agency} is suspended since {since} (directory version {version})");
                Err(Refusal::new(RefusalCode::Suspended, detail))
            }
            AgencyStatus::Revoked { since } => {
                let detail =
                    format!("the {who} {agency} was revoked at {since} (directory version {version})");
                Err(Refusal::new(RefusalCode::Revoked, detail))
            }
        }
    }

    /// Whether an agency may be connected.
    ///
    /// # Errors
    /// As [`Policy::active`], in words that its operator can act upon.
    pub fn takes_part(&self, agency: &AgencyId) -> Result<(), Refusal> {
        let Err(Refusal { code, detail, .. }) = self.active(agency, "agency") else { return Ok(()) };
        let mend = match self.directory.agency(agency).map(|entry| entry.status) {
            Some(AgencyStatus::Suspended { .. }) => {
                "what is addressed to it is kept until it expires; ask the authority, which alone reinstates it"
            }
            Some(AgencyStatus::Revoked { .. }) => {
                "what is addressed to it is kept until it expires; ask the authority"
            }
            Some(AgencyStatus::Active) | None => "ask the authority",
        };
        Err(Refusal::new(code, format!("{detail}; {mend}")))
    }

    /// What a CORRECTION or WITHDRAWAL does to an earlier notice, as far as the directory says: who need not be told.
    #[must_use]
    pub fn follow_up(&self, header: &Header, now: Timestamp) -> Option<FollowUp> {
        let (notice_id, withdraws) = match header.kind {
            NoticeKind::Correction => (header.supersedes?, false),
            NoticeKind::Withdrawal => (header.withdraws?, true),
            NoticeKind::Travel
            | NoticeKind::Arrival
            | NoticeKind::Deportation
            | NoticeKind::Response
            | NoticeKind::Receipt
            | NoticeKind::ReleaseRequest
            | NoticeKind::ReleaseDecision => return None,
        };
        let excused = |entry: &&AgencyEntry| {
            !entry.status.is_active()
                || entry.sealing_key_at(now).is_none()
                || header.permitted(&entry.clearance).is_empty()
        };
        let agencies = self.directory.content().agencies.values().filter(excused);
        Some(FollowUp { notice_id, withdraws, excused: agencies.map(|entry| entry.id.clone()).collect() })
    }

    /// The access decision at delivery: the portions of an accepted notice that `recipient` may have now. Empty where
    /// it may have none, is not addressed, or does not take part; then nothing of the notice is handed on.
    #[must_use]
    pub fn deliverable(&self, recipient: &AgencyId, header: &Header, now: Timestamp) -> Vec<PortionIndex> {
        let current = header.expires_at > now && self.check_directory(now).is_ok();
        match self.active(recipient, "recipient") {
            Ok(entry) if current && header.recipients.contains(recipient) => {
                header.permitted(&entry.clearance)
            }
            Ok(_) | Err(_) => Vec::new(),
        }
    }
}

/// A receipt may be sent by everyone, at UNCLASSIFIED; anything else only as the directory lists it.
fn check_origination(originator: &AgencyEntry, header: &Header) -> Result<(), Refusal> {
    let refused = |detail: String| Err(Refusal::new(RefusalCode::NotClearedToOriginate, detail));
    let id = &originator.id;
    let is_receipt = header.kind == NoticeKind::Receipt;
    if !is_receipt && !originator.origination.kinds.contains(&header.kind) {
        return refused(format!("{id} may not originate {}", header.kind));
    }
    for portion in &header.portions {
        let class = portion.label.classification;
        let always = is_receipt && class <= Classification::Unclassified;
        if !always && !originator.origination.classifications.contains(&class) {
            return refused(format!("{id} may not originate {} content in a {}", class, header.kind));
        }
    }
    Ok(())
}

fn first_denial(entry: &AgencyEntry, header: &Header) -> String {
    let denials =
        header.portions.iter().filter_map(|portion| may_access(&entry.clearance, &portion.label).err());
    denials.map(|denial| denial.to_string()).next().unwrap_or_default()
}

fn refusal_code(error: &valise_proto::wire::WireError) -> RefusalCode {
    use valise_proto::wire::WireError;
    match error {
        WireError::Version { .. } => RefusalCode::UnsupportedVersion,
        WireError::TooMany { .. } => RefusalCode::TooLarge,
        WireError::Protobuf { .. } | WireError::Field { .. } | WireError::Unknown { .. } => {
            RefusalCode::Malformed
        }
    }
}
