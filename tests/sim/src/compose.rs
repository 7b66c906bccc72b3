//! Officers, honest and not, write notices.

use std::sync::Arc;
use std::time::Duration;

use valise_agent::core::Outgoing;
use valise_proto::directory::{AgencyEntry, Directory};
use valise_proto::envelope::{NoticeKind, PlainPortion, PortionIndex, Precedence, SealFor, seal};
use valise_proto::label::{Classification, Label, may_access};
use zeroize::Zeroizing;

use crate::Violation;
use crate::agent::Agent;
use crate::exchange::{label, policy};
use crate::stage::Stage;

/// How a dishonest agency cheats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cheat {
    /// Keys to every portion for every recipient, whatever they are cleared for.
    WrapAll,
    /// In another agency's name.
    Impersonate,
    /// Under the id of somebody else's notice.
    Squat,
    /// What it may not originate.
    Overreach,
}

const CHEATS: [Cheat; 4] = [Cheat::WrapAll, Cheat::Impersonate, Cheat::Squat, Cheat::Overreach];

/// A notice about to be sealed.
struct Plain {
    portions: Vec<PlainPortion>,
    recipients: Vec<SealFor>,
}

impl Agent {
    /// An officer writes something to somebody.
    pub(crate) fn compose(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        let cheat =
            self.dice.chance(stage.plan.dishonest).then(|| self.dice.pick(&CHEATS).copied()).flatten();
        let labels =
            (0..self.dice.count(1, 3)).map(|_| label(&mut self.dice)).collect::<Result<Vec<_>, _>>()?;
        let precedence = self.dice.pick(&Precedence::ALL).copied().unwrap_or(Precedence::Routine);
        let others: Vec<usize> = (0..stage.plan.agencies).filter(|other| *other != self.index).collect();
        let to: Vec<usize> = others.iter().copied().filter(|_| self.dice.chance(650)).collect();
        let to = if to.is_empty() { others } else { to };
        self.write(&to, labels, precedence, cheat, stage).map(drop)
    }

    /// A short notice that everybody may see. Gives its digest, unless the node is not in a state to send.
    pub(crate) fn compose_plain(
        &mut self,
        to: usize,
        precedence: Precedence,
        stage: &mut Stage,
    ) -> Result<Option<valise_proto::id::Digest>, Violation> {
        let labels = vec![Label::plain(policy()?, Classification::Unclassified)];
        self.write(&[to], labels, precedence, None, stage)
    }

    fn write(
        &mut self,
        to: &[usize],
        labels: Vec<Label>,
        precedence: Precedence,
        cheat: Option<Cheat>,
        stage: &mut Stage,
    ) -> Result<Option<valise_proto::id::Digest>, Violation> {
        let now = self.now(stage);
        let Some(directory) = self.process.as_ref().map(|process| Arc::clone(&process.directory)) else {
            return Ok(None);
        };
        let Some(me) = directory.agency(&self.id).filter(|me| me.status.is_active()) else { return Ok(None) };
        if directory.check_fresh(now).is_err() {
            return Ok(None);
        }
        let Some(plain) = self.plain(to, labels, me, &directory, cheat, stage)? else { return Ok(None) };
        let mut draft = self.draft(now, directory.version());
        draft.kind = [NoticeKind::Travel, NoticeKind::Arrival, NoticeKind::Deportation]
            .get(self.dice.count(0, 2))
            .copied()
            .unwrap_or(NoticeKind::Travel);
        draft.precedence = precedence;
        draft.expires_at = now.plus(Duration::from_secs(self.lifetime_seconds()));
        let respond = self.dice.chance(400).then(|| Duration::from_secs(self.dice.between(2, 60)));
        draft.respond_by = respond.map(|wait| now.plus(wait).min(draft.expires_at));
        if cheat == Some(Cheat::Impersonate)
            && let Some(other) = directory.content().agencies.keys().find(|other| {
                **other != self.id && plain.recipients.iter().all(|recipient| recipient.agency != **other)
            })
        {
            draft.originator = other.clone();
        }
        if cheat == Some(Cheat::Squat)
            && let Some(taken) = stage.model.some_id_of_others(self.index, &mut self.dice)
        {
            draft.notice_id = taken;
        }
        let sealed = seal(draft, &plain.portions, &plain.recipients, &mut self.dice);
        let envelope = sealed.map_err(Violation::surprise)?.sign(self.signing_key(&directory, now)?);
        let digest = envelope.header_digest();
        stage.note(|| format!("{} writes {} {precedence} {cheat:?}", self.id, envelope.header().notice_id));
        stage.model.composed(self.index, &envelope, &plain.portions);
        self.send(Outgoing::new(envelope, None), stage)?;
        Ok(Some(digest))
    }

    fn lifetime_seconds(&mut self) -> u64 {
        if self.dice.chance(250) { self.dice.between(3, 60) } else { self.dice.between(600, 1_800) }
    }

    /// The first access decision: who gets the key to what.
    fn plain(
        &mut self,
        to: &[usize],
        labels: Vec<Label>,
        me: &AgencyEntry,
        directory: &Directory,
        cheat: Option<Cheat>,
        stage: &Stage,
    ) -> Result<Option<Plain>, Violation> {
        let now = self.now(stage);
        let allowed = |label: &Label| {
            cheat == Some(Cheat::Overreach) || me.origination.classifications.contains(&label.classification)
        };
        let labels: Vec<Label> = labels.into_iter().filter(allowed).collect();
        let mut recipients = Vec::new();
        for index in to {
            let id = crate::exchange::agency_id(*index)?;
            let Some(entry) = directory.agency(&id).filter(|entry| entry.status.is_active()) else {
                continue;
            };
            let Some(key) = entry.sealing_key_at(now) else { continue };
            let may = |label: &Label| may_access(&entry.clearance, label).is_ok();
            let cheats = cheat == Some(Cheat::WrapAll);
            let permitted = labels.iter().enumerate().filter(|(_, label)| cheats || may(label));
            let portions: Vec<_> = permitted.filter_map(|(index, _)| PortionIndex::new(index)).collect();
            if !portions.is_empty() {
                recipients.push(SealFor { agency: id, key: key.key.clone(), portions });
            }
        }
        if recipients.is_empty() {
            return Ok(None);
        }
        let mut content = || {
            let mut parts = vec![0; 24];
            rand_core::Rng::fill_bytes(&mut self.dice, &mut parts);
            Zeroizing::new(parts)
        };
        let portions = labels.into_iter().map(|label| PlainPortion { label, parts: content() }).collect();
        Ok(Some(Plain { portions, recipients }))
    }
}
