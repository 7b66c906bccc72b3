//! What an agency may submit in a second.

use std::time::Duration;

use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::refusal::{Refusal, RefusalCode};

use super::super::{Accounts, Rate, Rates, Verdict};

const START_MS: u64 = 1_000_000;
const RATES: Rates = Rates {
    envelopes: Rate { per_second: 10, burst: 20 },
    bytes: Rate { per_second: 1000, burst: 4000 },
    streams: Rate { per_second: 2, burst: 3 },
};

struct Desk {
    accounts: Accounts,
    now: Timestamp,
}

impl Desk {
    fn new() -> Self {
        Self { accounts: Accounts::new(RATES), now: Timestamp::from_millis(START_MS) }
    }

    fn submit(&mut self, who: &str, precedence: Precedence, len: usize) -> Verdict {
        let agency: AgencyId = who.parse().unwrap();
        self.accounts.handle_envelope(&agency, precedence, len, self.now)
    }

    /// How many envelopes of `len` bytes are taken before one is not.
    fn taken(&mut self, who: &str, precedence: Precedence, len: usize) -> usize {
        (0..).take_while(|_| self.submit(who, precedence, len) == Verdict::Take).count()
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now.plus(Duration::from_millis(millis));
    }
}

fn quota(verdict: Verdict) -> Duration {
    match verdict {
        Verdict::Refuse(Refusal { code: RefusalCode::Quota, retry_after: Some(after), .. }) => after,
        other => panic!("QUOTA with a time was expected, not {other:?}"),
    }
}

#[test]
fn g10_an_agency_that_floods_is_refused_with_the_time_after_which_it_is_taken() {
    let mut desk = Desk::new();
    assert_eq!(desk.taken("ken/ncb", Precedence::Routine, 10), 15, "three quarters of the burst");
    let after = quota(desk.submit("ken/ncb", Precedence::Routine, 10));
    assert_eq!(after, Duration::from_millis(100), "one envelope comes back in a tenth of a second");
    desk.wait(99);
    quota(desk.submit("ken/ncb", Precedence::Routine, 10));
    desk.wait(1);
    assert_eq!(desk.submit("ken/ncb", Precedence::Routine, 10), Verdict::Take);
    assert_eq!(desk.taken("fra/ncb", Precedence::Routine, 10), 15, "another agency has its own");
}

#[test]
fn g10_bytes_are_counted_as_well_as_envelopes() {
    let mut desk = Desk::new();
    assert_eq!(desk.taken("ken/ncb", Precedence::Routine, 1000), 3);
    assert_eq!(quota(desk.submit("ken/ncb", Precedence::Routine, 500)), Duration::from_millis(500));
    // Neither bucket was charged for what was refused.
    desk.wait(500);
    assert_eq!(desk.submit("ken/ncb", Precedence::Routine, 500), Verdict::Take);
}

#[test]
fn g08_g10_routine_traffic_leaves_a_part_to_flash() {
    let mut desk = Desk::new();
    desk.taken("ken/ncb", Precedence::Priority, 10);
    assert_eq!(desk.taken("ken/ncb", Precedence::Flash, 10), 5, "the last quarter is for what is urgent");
}

#[test]
fn g10_refusals_are_counted_and_then_nothing_is_read() {
    let mut desk = Desk::new();
    desk.taken("ken/ncb", Precedence::Routine, 10);
    // The one that ended the count was the first to be refused.
    let refused = (0..100)
        .take_while(|_| matches!(desk.submit("ken/ncb", Precedence::Routine, 10), Verdict::Refuse(_)));
    assert_eq!(refused.count(), 19);
    assert_eq!(desk.submit("ken/ncb", Precedence::Routine, 10), Verdict::Hold(Duration::from_millis(100)));
    let refusal = Refusal::new(RefusalCode::StoreUnavailable, "full");
    let agency: AgencyId = "ken/ncb".parse().unwrap();
    assert!(matches!(desk.accounts.handle_refused(&agency, refusal, desk.now), Verdict::Hold(_)));
}

#[test]
fn g10_a_clock_that_goes_back_gives_nothing_and_locks_nobody_out() {
    let mut desk = Desk::new();
    desk.taken("ken/ncb", Precedence::Routine, 10);
    desk.now = Timestamp::from_millis(1);
    let after = quota(desk.submit("ken/ncb", Precedence::Routine, 10));
    assert_eq!(after, Duration::from_millis(100), "the wait is as long as before");
    desk.wait(100);
    assert_eq!(desk.submit("ken/ncb", Precedence::Routine, 10), Verdict::Take);
    assert_eq!(desk.taken("ken/ncb", Precedence::Routine, 10), 0, "and no more than came back is there");
    desk.now = Timestamp::from_millis(u64::MAX);
    assert_eq!(
        desk.taken("ken/ncb", Precedence::Routine, 10),
        15,
        "a jump ahead fills no more than the bucket"
    );
}

#[test]
fn g10_what_is_larger_than_a_full_bucket_is_taken_from_a_full_one() {
    let mut desk = Desk::new();
    assert_eq!(desk.submit("ken/ncb", Precedence::Flash, 9000), Verdict::Take);
    assert_eq!(quota(desk.submit("ken/ncb", Precedence::Flash, 9000)), Duration::from_secs(4));
    desk.wait(4000);
    assert_eq!(desk.submit("ken/ncb", Precedence::Flash, 9000), Verdict::Take);
}

#[test]
fn g10_streams_are_opened_no_faster_than_allowed() {
    let mut desk = Desk::new();
    let agency: AgencyId = "ken/ncb".parse().unwrap();
    for _ in 0..3 {
        assert!(desk.accounts.handle_stream(&agency, desk.now).is_zero());
    }
    assert_eq!(desk.accounts.handle_stream(&agency, desk.now), Duration::from_millis(500));
    desk.wait(500);
    assert!(desk.accounts.handle_stream(&agency, desk.now).is_zero());
}
