//! What every part of the world acts on: time, the network, chance, the authority, and the model that watches.

use std::sync::Arc;

use valise_proto::directory::Directory;
use valise_proto::envelope::{
    Envelope, HeaderDraft, PlainPortion, PortionIndex, SealFor, VerifiedEnvelope, seal,
};
use valise_proto::id::AgencyId;
use valise_proto::refusal::Refusal;
use valise_proto::wire::limits::Limits;
use zeroize::Zeroizing;

use crate::Violation;
use crate::dice::Dice;
use crate::exchange::{Authority, agency_index, keyring};
use crate::model::Model;
use crate::network::Network;
use crate::plan::{Mutation, Plan};
use crate::schedule::Schedule;

/// Lines of the trace that are kept.
const TRACE_MAX: usize = 100_000;

/// What is common to broker and agencies.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) schedule: Schedule,
    pub(crate) net: Network,
    pub(crate) dice: Dice,
    pub(crate) plan: Plan,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) authority: Authority,
    pub(crate) model: Model,
    /// Whether deliveries are altered on their way at present.
    pub(crate) tampering: bool,
    /// What happened, where anybody wants to know.
    pub(crate) trace: Option<Vec<String>>,
}

impl Stage {
    /// Notes what happened, if anybody wants to know.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = self.trace.as_mut().filter(|trace| trace.len() < TRACE_MAX) {
            trace.push(format!("{:>9} ms  {}", self.schedule.now(), line()));
        }
    }

    /// Whoever carries an envelope may alter it: now and then what is delivered is not what was handed out.
    pub(crate) fn tamper(&mut self, agency: &AgencyId, envelope: Envelope) -> Result<Envelope, Violation> {
        if !self.tampering || !self.dice.chance(self.plan.tampered) {
            return Ok(envelope);
        }
        let altered =
            if self.dice.chance(500) { self.forge(agency, &envelope)? } else { self.flip(&envelope) };
        Ok(altered.unwrap_or(envelope))
    }

    /// Another content in the same originator's name, signed by somebody else.
    fn forge(&mut self, agency: &AgencyId, envelope: &Envelope) -> Result<Option<Envelope>, Violation> {
        let header = envelope.header();
        let forger =
            (0..self.plan.agencies).find(|index| Some(*index) != agency_index(&header.originator).ok());
        let key = forger.map(keyring).transpose()?.and_then(|keys| keys.signing.first());
        let entry = self.authority.published.agency(agency).cloned();
        let sealing = entry.as_ref().and_then(|entry| entry.sealing_keys.first());
        let (Some(key), Some(sealing), Some(portion)) = (key, sealing, header.portions.first()) else {
            return Ok(None);
        };
        let draft = HeaderDraft {
            notice_id: header.notice_id,
            kind: header.kind,
            originator: header.originator.clone(),
            precedence: header.precedence,
            created_at: header.created_at,
            expires_at: header.expires_at,
            respond_by: header.respond_by,
            directory_version: header.directory_version,
            in_reply_to: header.in_reply_to,
            supersedes: None,
            withdraws: None,
            derived_from: None,
        };
        let plain =
            [PlainPortion { label: portion.label.clone(), parts: Zeroizing::new(b"forged".to_vec()) }];
        let portions = PortionIndex::new(0).into_iter().collect();
        let recipient = SealFor { agency: agency.clone(), key: sealing.key.clone(), portions };
        let sealed = seal(draft, &plain, &[recipient], &mut self.dice).map_err(Violation::surprise)?;
        Ok(Some(sealed.sign(key)))
    }

    /// One bit is another; `None` where the result is no envelope.
    fn flip(&mut self, envelope: &Envelope) -> Option<Envelope> {
        let mut bytes = envelope.encode().to_vec();
        let place = self.dice.count(0, bytes.len().saturating_sub(1));
        let bit = self.dice.between(0, 7);
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= 1_u8 << bit;
        }
        let altered = Envelope::decode(bytes.into(), &Limits::DEFAULT).ok()?;
        (altered.header().notice_id == envelope.header().notice_id).then_some(altered)
    }

    /// Verifies what was delivered, unless that is what is to be left out.
    pub(crate) fn verify(
        &mut self,
        envelope: Envelope,
        directory: &Arc<Directory>,
        me: &AgencyId,
    ) -> Result<VerifiedEnvelope, Refusal> {
        if self.mutation == Some(Mutation::SkipSignature) {
            return self.verify_under_any_key(envelope, directory, me);
        }
        envelope.verify_delivered(directory, me)
    }

    /// A recipient that takes whatever key an envelope was signed with for its originator's.
    fn verify_under_any_key(
        &self,
        envelope: Envelope,
        directory: &Arc<Directory>,
        me: &AgencyId,
    ) -> Result<VerifiedEnvelope, Refusal> {
        let mut trusting = directory.content().clone();
        let key_id = envelope.signature().key_id;
        let mut keys = trusting.agencies.values().flat_map(|entry| entry.signing_keys.clone());
        let signer = keys.find(|key| key.key_id == key_id);
        for entry in trusting.agencies.values_mut() {
            entry.signing_keys.clear();
        }
        if let (Some(signer), Some(entry)) =
            (signer, trusting.agencies.get_mut(&envelope.header().originator))
        {
            entry.signing_keys.push(signer);
        }
        match self.authority.sign(&trusting) {
            Ok(trusting) => envelope.verify_delivered(&trusting, me),
            Err(_) => envelope.verify_delivered(directory, me),
        }
    }
}
