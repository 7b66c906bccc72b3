//! The keys of the one keyspace. Each begins with a letter of its own and, where there is one, the notice's id.
//!
//! A record too long for one value goes on under its key followed by the numbers of its further pieces, from 1.

use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};

use crate::core::{Alarm, OutboxSeq, Review, Side, Step, StepKey};

/// The version of what follows.
pub(super) const FORMAT: &[u8] = b"!format";

/// `o<seq>` → [`super::records::OutboxRecord`].
pub(super) const OUTBOX: u8 = b'o';
/// `s<notice>` → [`super::records::SentRecord`].
pub(super) const SENT: u8 = b's';
/// `e<notice><chunk>` → an envelope of ours.
pub(super) const ENVELOPE: u8 = b'e';
/// `d<notice><chunk>` → the author's JSON, encrypted.
pub(super) const DRAFT: u8 = b'd';
/// `T<notice><chunk>` → who can read what of a notice of ours and why, encrypted; goes with the author's JSON.
pub(super) const TABLE: u8 = b'T';
/// `q<notice><receipt>` → a signed receipt, of ours or about ours.
pub(super) const RECEIPT: u8 = b'q';
/// `l<notice>` → when it lapsed in the outbox.
pub(super) const LAPSED: u8 = b'l';
/// `t<time><notice><side>` → a stage and the time until which answers are asked for: an alarm.
pub(super) const ALARM: u8 = b't';
/// `V<review_by><notice><side>` → nothing: when what a notice says is to be deleted.
pub(super) const REVIEW: u8 = b'V';
/// `u<notice>` → [`super::records::UnsentRecord`].
pub(super) const UNSENT: u8 = b'u';
/// `p<notice>` → until when answers to it were asked for, once that is over.
pub(super) const PASSED: u8 = b'p';
/// `i<notice>` → [`super::records::ReceivedRecord`].
pub(super) const RECEIVED: u8 = b'i';
/// `v<notice><chunk>` → an envelope as it was delivered.
pub(super) const DELIVERED: u8 = b'v';
/// `r<notice>` → [`super::records::ReadRecord`]: who was shown it first.
pub(super) const READ: u8 = b'r';
/// `S<notice><step><officer>` → [`super::records::ReadRecord`]: what an officer did with it, by the SHA-256 of the name.
pub(super) const STEP: u8 = b'S';
/// `c<notice><chunk>` → what a CORRECTION changes, encrypted.
pub(super) const DIFFERENCES: u8 = b'c';
/// `E<notice>` → when what a notice of ours says was deleted.
pub(super) const ERASED: u8 = b'E';
/// `b<notice><agency>` → nothing: who answered a notice; of a received one, this agency itself.
pub(super) const ANSWERED: u8 = b'b';
/// `x<notice>` → [`super::records::SeenRecord`].
pub(super) const SEEN: u8 = b'x';
/// `a<time><digest>` → [`super::records::AsideRecord`].
pub(super) const ASIDE: u8 = b'a';
/// `y<time><digest><chunk>` → the bytes set aside.
pub(super) const ASIDE_BYTES: u8 = b'y';
/// `w<version><chunk>` → a directory that notices were verified under.
pub(super) const DIRECTORY: u8 = b'w';

/// `z<notice><chunk>` → what a destroyed sealing key opened, encrypted.
pub(super) const PORTIONS: u8 = b'z';
/// `O<notice><chunk>` → what a notice of ours was made from, encrypted.
pub(super) const ORIGIN: u8 = b'O';
/// `R<order><chunk>` → a release that waits for a second officer, encrypted.
pub(super) const ORDER: u8 = b'R';
/// `h` → [`super::records::HighestDirectory`].
pub(super) const HIGHEST: u8 = b'h';
/// `g` → every issuer's [`super::records::HighestList`].
pub(super) const HIGHEST_LISTS: u8 = b'g';

/// `n<notice><chunk>` → a draft that waits for a second officer, encrypted.
pub(super) const PENDING: u8 = b'n';
/// `P<notice><agency>` → [`super::records::PurgedRecord`]: that agency's notice counts no more, whether it was held or
/// not. What another agency says of an id changes nothing.
pub(super) const PURGED: u8 = b'P';
/// `f<notice>` → the notice of ours that corrects or withdraws this one of ours.
pub(super) const FOLLOWED: u8 = b'f';

/// `k<chunk>` → the officers' accounts, encrypted.
pub(super) const OFFICERS: u8 = b'k';
/// `j<number>` → an entry of the access journal, chained and encrypted.
pub(super) const JOURNAL: u8 = b'j';
/// `J` → where the access journal ends, encrypted.
pub(super) const JOURNAL_HEAD: u8 = b'J';

pub(super) fn of_entry(seq: u64) -> Vec<u8> {
    join(JOURNAL, &[&seq.to_be_bytes()])
}

pub(super) fn of_seq(seq: OutboxSeq) -> Vec<u8> {
    join(OUTBOX, &[&seq.0.to_be_bytes()])
}

/// Bytes of a key made by [`of_notice`].
pub(super) const OF_NOTICE_BYTES: usize = 1 + 16;
/// Bytes of a key made by [`of_receipt`].
pub(super) const OF_RECEIPT_BYTES: usize = 1 + 16 + 32;
/// Bytes of a key made by [`of_aside`].
pub(super) const OF_ASIDE_BYTES: usize = 1 + 8 + 32;

pub(super) fn of_notice(kind: u8, notice_id: &NoticeId) -> Vec<u8> {
    join(kind, &[notice_id.as_bytes()])
}

pub(super) fn of_alarm(alarm: &Alarm) -> Vec<u8> {
    join(ALARM, &[&alarm.at.millis().to_be_bytes(), alarm.notice_id.as_bytes(), &[side(alarm.side)]])
}

pub(super) fn of_review(review: &Review) -> Vec<u8> {
    let at = review.review_by.millis().to_be_bytes();
    join(REVIEW, &[&at, review.notice_id.as_bytes(), &[side(review.side)]])
}

fn side(side: Side) -> u8 {
    match side {
        Side::Originator => b'o',
        Side::Recipient => b'r',
    }
}

pub(super) fn of_step(key: &StepKey) -> Vec<u8> {
    let step = match key.step {
        Step::Read => b'r',
        Step::Actioned => b'a',
        Step::Declined => b'd',
    };
    join(STEP, &[key.notice_id.as_bytes(), &[step], key.officer.as_bytes()])
}

pub(super) fn of_receipt(notice_id: &NoticeId, digest: &Digest) -> Vec<u8> {
    join(RECEIPT, &[notice_id.as_bytes(), digest.as_bytes()])
}

pub(super) fn of_purged(notice_id: &NoticeId, originator: &AgencyId) -> Vec<u8> {
    [of_notice(PURGED, notice_id), originator.as_str().as_bytes().to_vec()].concat()
}

pub(super) fn of_answer(notice_id: &NoticeId, agency: &AgencyId) -> Vec<u8> {
    join(ANSWERED, &[notice_id.as_bytes(), agency.as_str().as_bytes()])
}

pub(super) fn of_aside(kind: u8, at: Timestamp, digest: &Digest) -> Vec<u8> {
    join(kind, &[&at.millis().to_be_bytes(), digest.as_bytes()])
}

pub(super) fn of_directory(version: u64) -> Vec<u8> {
    join(DIRECTORY, &[&version.to_be_bytes()])
}

/// The key of a further piece of what begins at `place`.
pub(super) fn of_piece(place: &[u8], number: u16) -> Vec<u8> {
    [place, &number.to_be_bytes()].concat()
}

pub(super) fn join(kind: u8, rest: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    rest.iter().for_each(|piece| key.extend_from_slice(piece));
    key
}
