//! How near the end is.

use std::time::Duration;

use proptest::prelude::*;
use valise_proto::freshness::Urgency;
use valise_proto::id::Timestamp;

use crate::exchange::{DAY, HOUR, MOMENT, before, directory, start};

#[test]
fn g12_a_directory_warns_at_half_of_its_time_a_day_and_an_hour_before_its_end() {
    let directory = directory(|_| {});
    let end = start().plus(30 * DAY);
    let half = start().plus(15 * DAY);
    for (from, urgency, word) in [
        (half, Urgency::HalfOver, "HALF_OVER"),
        (before(end, DAY), Urgency::LastDay, "LAST_DAY"),
        (before(end, HOUR), Urgency::LastHour, "LAST_HOUR"),
        (end.plus(MOMENT), Urgency::Over, "OVER"),
    ] {
        assert_eq!(directory.urgency(from), urgency);
        assert!(directory.urgency(before(from, MOMENT)) < urgency, "{word} begins at {from}");
        assert_eq!(urgency.as_str(), word);
    }
    assert_eq!(directory.urgency(before(start(), DAY)), Urgency::Fresh);
}

#[test]
fn g12_a_grace_does_not_silence_the_warnings() {
    let end = start().plus(30 * DAY);
    let graced = directory(|_| {}).with_grace(10 * DAY);
    assert_eq!(graced.urgency(end.plus(DAY)), Urgency::Over);
    assert_eq!(graced.check_fresh(end.plus(DAY)), Ok(()));
}

#[test]
fn g12_what_lasts_less_than_two_days_warns_of_its_last_day_before_its_half() {
    let end = start().plus(30 * HOUR);
    assert_eq!(Urgency::of(start(), end, start()), Urgency::Fresh);
    assert_eq!(Urgency::of(start(), end, start().plus(6 * HOUR)), Urgency::LastDay);
    assert_eq!(Urgency::of(start(), start().plus(HOUR), start()), Urgency::LastHour);
}

proptest! {
    #[test]
    fn g12_urgency_never_falls_as_time_goes_on(
        issued in 1..1_u64 << 42, life in 0..1_u64 << 40, at in 0..1_u64 << 42, later in 0..1_u64 << 40,
    ) {
        let issued = Timestamp::from_millis(issued);
        let end = issued.plus(Duration::from_millis(life));
        let now = Timestamp::from_millis(at);
        let then = now.plus(Duration::from_millis(later));
        prop_assert!(Urgency::of(issued, end, now) <= Urgency::of(issued, end, then));
        prop_assert_eq!(Urgency::of(issued, end, now) == Urgency::Over, now > end);
    }
}
