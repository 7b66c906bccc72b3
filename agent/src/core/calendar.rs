//! What is due by the clock: reminders of answers, and what is to be deleted.
//!
//! Claimed: an alarm is told once, whenever the node was down or killed; what nobody may keep any longer is deleted, and
//! the deletion proved, though the node was down when its time came (G11); and a clock that ran ahead of everything the
//! authority signed neither ends a deadline nor deletes anything, nor does one that is ahead of a broker's. It holds because what is due lies in the store until
//! the change that tells of it takes it out, and because nothing here happens while the directory does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use valise_proto::id::{NoticeId, Timestamp};

use super::due::{Alarm, Review, Reviewed, Side, Stage};
use super::{Afterwards, Change, Core, Effect, Event};

/// Most notices whose deletion the shell prepares at the same time.
const REVIEWS_AT_ONCE: usize = 32;
/// How long a deletion waits for a notice of ours that is still in the outbox.
const RETRY: Duration = Duration::from_secs(60);

/// What is to be deleted when.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    /// By when it is looked at; that may be later than it is due.
    times: BTreeSet<(Timestamp, Review)>,
    /// When each is looked at.
    of: BTreeMap<(Side, NoticeId), (Timestamp, Review)>,
    /// Those that the shell prepares.
    at_work: BTreeSet<Review>,
}

impl Calendar {
    pub(super) fn new(reviews: Vec<Review>) -> Self {
        let mut calendar = Self::default();
        reviews.into_iter().for_each(|review| calendar.insert(review));
        calendar
    }

    pub(super) fn insert(&mut self, review: Review) {
        self.insert_at(review.review_by, review);
    }

    fn insert_at(&mut self, at: Timestamp, review: Review) {
        self.remove(review.side, &review.notice_id);
        self.times.insert((at, review));
        self.of.insert((review.side, review.notice_id), (at, review));
    }

    /// It is deleted already.
    pub(super) fn remove(&mut self, side: Side, notice_id: &NoticeId) {
        if let Some(entry) = self.of.remove(&(side, *notice_id)) {
            self.times.remove(&entry);
            self.at_work.remove(&entry.1);
        }
    }

    /// The next that is due, unless enough are at work.
    fn next_due(&self, now: Timestamp) -> Option<Review> {
        let (at, review) = self.next()?;
        (at < now).then_some(review)
    }

    fn next(&self) -> Option<(Timestamp, Review)> {
        if self.at_work.len() >= REVIEWS_AT_ONCE {
            return None;
        }
        self.times.first().copied()
    }

    fn begin(&mut self, review: Review) {
        if let Some(entry) = self.of.get(&(review.side, review.notice_id)) {
            self.times.remove(entry);
        }
        self.at_work.insert(review);
    }
}

impl Core {
    /// Tells what is due, where the directory counts.
    pub(super) fn tell_what_is_due(&mut self, now: Timestamp) {
        self.ring(now);
        if self.clock_doubted {
            return;
        }
        while let Some(review) = self.calendar.next_due(now) {
            // What is deleted here must not be on its way: it leaves the outbox first.
            if review.side == Side::Originator && self.outbox.holds(&review.notice_id) {
                self.calendar.insert_at(now.plus(RETRY), review);
                continue;
            }
            self.calendar.begin(review);
            self.effects.push_back(Effect::Review(review));
        }
    }

    fn ring(&mut self, now: Timestamp) {
        while let Some(alarm) = self.alarms.first().copied().filter(|first| first.at < now) {
            self.alarms.remove(&alarm);
            let over = Alarm { at: alarm.respond_by, stage: Stage::Over, ..alarm };
            let (told, next) = match alarm.stage {
                Stage::Near if alarm.respond_by < now => (over, None),
                Stage::Near => (alarm, Some(over)),
                Stage::Over => (alarm, None),
            };
            self.alarms.extend(next);
            let then = Afterwards { events: vec![Event::Alarm(told)], ..Afterwards::default() };
            self.persist(vec![Change::Rang { entry: alarm, told: told.stage, next }], then);
        }
    }

    /// The shell has prepared a deletion.
    pub fn handle_reviewed(&mut self, review: Review, reviewed: Reviewed) {
        // Where it was corrected or withdrawn meanwhile, it is deleted already.
        if !self.calendar.at_work.remove(&review) {
            return;
        }
        self.calendar.of.remove(&(review.side, review.notice_id));
        let mut then = Afterwards::default();
        let mut changes = Vec::new();
        match reviewed {
            Reviewed::Received { purge, reply, journal } => {
                then.events.push(Event::Purged { notice_id: purge.notice_id, by: None });
                changes.push(Change::Purge(purge));
                changes.push(Change::Journal(journal));
                changes.extend(reply.map(|reply| self.queue(reply, &mut then)));
            }
            Reviewed::Sent { at, journal } => {
                then.events.push(Event::Purged { notice_id: review.notice_id, by: None });
                changes.push(Change::Erase { notice_id: review.notice_id, at });
                changes.push(Change::Journal(journal));
            }
            Reviewed::Gone => {}
        }
        changes.push(Change::Reviewed(review));
        self.persist(changes, then);
    }

    /// When the next of it is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let after = |at: Timestamp| at.plus(Duration::from_millis(1));
        let alarm = self.alarms.first().map(|alarm| alarm.at);
        let review = self.calendar.next().filter(|_| !self.clock_doubted).map(|(at, _)| at);
        [alarm, review].into_iter().flatten().min().map(after)
    }
}
