//! The notice that another is to be made from: verified and opened anew, or read from the author's draft.

use std::collections::{BTreeMap, BTreeSet};

use valise_proto::envelope::{NoticeKind, PortionIndex, Precedence};
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};
use valise_proto::label::Label;
use valise_proto::notice::{MovementEvent, Notice, Omission, Portion, about_minors};

use super::derive::Derive;
use super::origin::Origin;
use super::rules::{Held, Owned};
use super::standing::{Ended, ended};
use super::{ReleaseError, rules};
use crate::clock::new_handle;
use crate::compose::derived::Derived;
use crate::compose::{Addressed, ComposeError, Draft};
use crate::node::office::Office;
use crate::node::showing;

/// A notice whose content is at hand.
pub(super) struct Source {
    pub(super) id: NoticeId,
    pub(super) digest: Digest,
    pub(super) originator: AgencyId,
    kind: NoticeKind,
    pub(super) precedence: Precedence,
    written_at: Timestamp,
    portions: BTreeMap<PortionIndex, Portion>,
    omissions: Vec<Omission>,
}

/// What an officer says of the notice to be made.
pub(super) struct Made {
    pub(super) portions: BTreeSet<PortionIndex>,
    pub(super) to: BTreeSet<AgencyId>,
    pub(super) label: Label,
    pub(super) kind: Option<NoticeKind>,
    pub(super) precedence: Option<Precedence>,
    pub(super) attribution: Option<String>,
}

impl Source {
    /// A notice that was received.
    pub(super) fn received(office: &Office, id: &NoticeId) -> Result<Self, ReleaseError> {
        if office.store().sent_record(id)?.is_some() {
            return Err(ReleaseError::Ours(*id));
        }
        let (verified, opened) = showing::open(office, id)?;
        let mut portions = BTreeMap::new();
        for portion in &opened {
            let unreadable = |error: valise_proto::wire::WireError| ReleaseError::Record(error.to_string());
            let read = Portion::decode(portion.label.clone(), portion.parts()).map_err(unreadable)?;
            portions.insert(portion.index, read);
        }
        let header = verified.header();
        Self {
            id: *id,
            digest: verified.envelope().header_digest(),
            originator: header.originator.clone(),
            kind: header.kind,
            precedence: header.precedence,
            written_at: header.created_at,
            portions,
            omissions: Vec::new(),
        }
        .fit_to_pass_on(office)
    }

    /// A notice of ours, from its author's draft.
    pub(super) fn sent(office: &Office, id: &NoticeId) -> Result<Self, ReleaseError> {
        let store = office.store();
        let Some(record) = store.sent_record(id)? else {
            let received = store.received(id)?.ok_or(ReleaseError::Unknown(*id))?;
            return Err(ReleaseError::NotOurs { id: *id, originator: received.record.originator });
        };
        let draft = store.draft(id)?.ok_or(ReleaseError::Purged(*id))?;
        let directory = office.directory();
        let policy = &directory.content().policy;
        // As it was read when it was written.
        let notice = Notice::from_json(&draft, policy, record.created_at).map_err(ComposeError::Mistakes)?;
        let portions = notice.portions().into_iter().enumerate();
        let portions = portions.filter_map(|(place, portion)| Some((PortionIndex::new(place)?, portion)));
        let protective = notice.omissions().iter().filter(|omission| omission.reason.is_protective());
        Self {
            id: *id,
            digest: record.header_digest,
            originator: office.agency().clone(),
            kind: record.kind,
            precedence: record.precedence,
            written_at: record.created_at,
            portions: portions.collect(),
            omissions: protective.cloned().collect(),
        }
        .fit_to_pass_on(office)
    }

    /// Checks that it tells of a movement, and is in force.
    fn fit_to_pass_on(self, office: &Office) -> Result<Self, ReleaseError> {
        if let Some(Ended { by, kind }) = ended(office, &self.id, &self.originator)? {
            return Err(ReleaseError::Ended { id: self.id, by, kind });
        }
        if self.kind.tells_of_persons() {
            Ok(self)
        } else {
            Err(ReleaseError::Kind { id: self.id, kind: self.kind })
        }
    }

    fn minors(&self) -> BTreeSet<PortionIndex> {
        let portions: Vec<_> = self.portions.values().collect();
        let concerned = about_minors(&portions, self.written_at);
        let places = self.portions.keys().enumerate();
        places.filter(|(place, _)| concerned.contains(place)).map(|(_, index)| *index).collect()
    }

    /// As the rules see a notice of another agency.
    pub(super) fn held(&self) -> Held {
        Held {
            notice_id: self.id,
            originator: self.originator.clone(),
            portions: self
                .portions
                .iter()
                .map(|(index, portion)| (*index, portion.label().clone()))
                .collect(),
            minors: self.minors(),
        }
    }

    /// As the rules see a notice of ours.
    pub(super) fn owned(&self) -> Owned {
        Owned {
            portions: self.portions.values().map(|portion| portion.label().clone()).collect(),
            minors: self.minors(),
            protected_from: self.omissions.iter().map(|omission| omission.state.state()).collect(),
        }
    }

    /// The join of the labels of these portions, as far as they are here.
    pub(super) fn label_of(&self, portions: &BTreeSet<PortionIndex>) -> Option<Label> {
        Label::join(portions.iter().filter_map(|index| self.portions.get(index)).map(Portion::label))
    }

    /// Makes the further notice, addressed to those named.
    pub(super) fn make(
        &self,
        made: Made,
        origin: &Origin,
        office: &Office,
        now: Timestamp,
    ) -> Result<Addressed, ReleaseError> {
        let chosen: Vec<_> = made.portions.iter().filter_map(|index| self.portions.get(index)).collect();
        let review_by = chosen.iter().find_map(|portion| portion.terms()).map(|terms| terms.review_by);
        if let Some(review_by) = review_by.filter(|review_by| *review_by <= now) {
            return Err(ReleaseError::ReviewPassed { id: self.id, review_by });
        }
        let derive = Derive {
            kind: self.kind_of(made.kind, &chosen)?,
            precedence: made.precedence.unwrap_or(self.precedence),
            to: made.to.into_iter().collect(),
            label: &made.label,
            portions: chosen,
            omissions: self.omissions.iter().collect(),
            attribution: made.attribution,
        };
        let expires_at = now.plus(office.config().lifetime);
        let expires_at = review_by.map_or(expires_at, |review_by| review_by.min(expires_at));
        let derived = Derived { handle: new_handle(), expires_at, origin: origin.encode()? };
        let draft = Draft::derived(derive.json(), &office.directory(), self.written_at)?;
        Ok(draft.address_as_named(derived, office, now)?)
    }

    /// The kind chosen, that of the source, or for a correction that of the first movement told of.
    fn kind_of(&self, chosen: Option<NoticeKind>, portions: &[&Portion]) -> Result<NoticeKind, ReleaseError> {
        let opens = |kind| matches!(kind, NoticeKind::Travel | NoticeKind::Arrival | NoticeKind::Deportation);
        if let Some(kind) = chosen {
            return if opens(kind) { Ok(kind) } else { Err(ReleaseError::MadeKind(kind)) };
        }
        if opens(self.kind) {
            return Ok(self.kind);
        }
        let mut parts = portions.iter().flat_map(|portion| portion.parts());
        let movement = parts.find_map(|part| part.content.as_movement());
        Ok(movement.map_or(NoticeKind::Travel, |movement| match movement.event {
            MovementEvent::Travel => NoticeKind::Travel,
            MovementEvent::Arrival => NoticeKind::Arrival,
            MovementEvent::Deportation => NoticeKind::Deportation,
        }))
    }
}

/// The portions by their places, as a person counts them.
pub(super) fn indexes(places: &[usize]) -> Result<BTreeSet<PortionIndex>, ReleaseError> {
    let index = |place: &usize| PortionIndex::new(*place).ok_or(rules::NotReleased::NoPortion);
    Ok(places.iter().map(index).collect::<Result<_, _>>()?)
}
