//! Which directory may take the place of which, and when one counts.

use std::time::Duration;

use valise_proto::delegation::Delegation;
use valise_proto::directory::{Directory, DirectoryError};

use crate::exchange::{DAY, HOUR, MOMENT, before, content, delegation, directory, id, root, start, verify};

#[test]
fn g01_a_directory_comes_back_the_same_from_its_bytes() {
    let made = directory(|_| {});
    let read = verify(made.encoded()).unwrap();
    assert_eq!(read.content(), &content());
    assert_eq!(read.encoded(), made.encoded());
    assert_eq!(read.delegation(), &delegation());
    assert_eq!(read.contact_point("FRA".parse().unwrap()), Some(&id("fra/ncb")));
    assert_eq!(read.contact_point("TUR".parse().unwrap()), None);
}

#[test]
fn g12_a_directory_counts_until_its_end_and_the_grace() {
    let plain = directory(|_| {});
    let end = start().plus(30 * DAY);
    assert_eq!(plain.check_fresh(end), Ok(()));
    assert!(matches!(plain.check_fresh(end.plus(MOMENT)), Err(DirectoryError::Expired { .. })));
    assert_eq!(plain.counts_until(), end);
    let graced = plain.with_grace(HOUR);
    assert_eq!(graced.check_fresh(end.plus(HOUR)), Ok(()));
    assert_eq!(graced.counts_until(), end.plus(HOUR));
    let error = graced.check_fresh(end.plus(HOUR).plus(MOMENT)).unwrap_err().to_string();
    for told in
        ["version 7", "2026-03-31T00:00:00Z", "2026-03-31T01:00:00.001Z", "3600 s", "valise-ca publish"]
    {
        assert!(error.contains(told), "`{told}` is missing: {error}");
    }
}

#[test]
fn g12_a_directory_from_the_future_does_not_count() {
    let ahead = Duration::from_secs(5 * 60);
    let directory = directory(|_| {});
    assert_eq!(directory.check_fresh(before(start(), ahead)), Ok(()));
    let early = directory.check_fresh(before(start(), ahead + MOMENT));
    assert!(matches!(early, Err(DirectoryError::NotYetValid { .. })), "{early:?}");
}

fn delegated(from: valise_proto::id::Timestamp, to: valise_proto::id::Timestamp) -> Directory {
    directory(|content| {
        let delegation = Delegation { not_before: from, not_after: to, ..delegation() };
        content.delegation = delegation.sign(&root());
    })
}

#[test]
fn g12_a_directory_counts_no_longer_than_its_delegation() {
    let end = start().plus(DAY);
    let short = delegated(start(), end);
    assert_eq!(short.check_fresh(end), Ok(()));
    let error = short.check_fresh(end.plus(MOMENT)).unwrap_err();
    assert!(matches!(error, DirectoryError::DelegationOver { .. }), "{error}");
    assert!(error.to_string().contains("valise-ca issuing renew"), "{error}");
    assert_eq!(short.counts_until(), end);
    let graced = short.with_grace(HOUR);
    assert_eq!(graced.check_fresh(end.plus(HOUR)), Ok(()));
    assert_eq!(graced.counts_until(), end.plus(HOUR));
    assert!(graced.check_fresh(end.plus(HOUR).plus(MOMENT)).is_err());
}

#[test]
fn g12_a_delegation_that_has_not_begun_does_not_count() {
    let begins = start().plus(DAY);
    let early = delegated(begins, start().plus(365 * DAY));
    let ahead = Duration::from_secs(5 * 60);
    assert_eq!(early.check_fresh(before(begins, ahead)), Ok(()));
    let error = early.check_fresh(before(begins, ahead + MOMENT)).unwrap_err();
    assert!(matches!(error, DirectoryError::DelegationOver { .. }), "{error}");
}

fn of(version: u64, generation: u64) -> Directory {
    directory(|content| {
        content.version = version;
        content.delegation = Delegation { generation, ..delegation() }.sign(&root());
    })
}

#[test]
fn g12_neither_version_nor_delegation_go_back() {
    let held = of(7, 3);
    for (version, generation) in [(7, 3), (8, 3), (8, 4), (1000, 1000), (6, 4), (7, 4)] {
        assert_eq!(of(version, generation).check_may_replace(&held), Ok(()), "{version}, {generation}");
    }
    let rollback = |got| Err(DirectoryError::Rollback { held: 7, got });
    assert_eq!(of(6, 3).check_may_replace(&held), rollback(6));
    let older = Err(DirectoryError::DelegationRollback { held: 3, got: 2 });
    assert_eq!(of(7, 2).check_may_replace(&held), older);
    assert_eq!(of(1000, 2).check_may_replace(&held), older, "the root's newer word counts, not the version");
    let forked = directory(|content| {
        content.version = 7;
        content.expires_at = content.expires_at.plus(MOMENT);
        content.delegation = Delegation { generation: 3, ..delegation() }.sign(&root());
    });
    assert_eq!(forked.check_may_replace(&held), Err(DirectoryError::Fork(7)));
    // Whoever once had the directory key signed the highest version there is; the root's next word ends that.
    assert_eq!(of(8, 4).check_may_replace(&of(u64::MAX, 3)), Ok(()));
}

#[test]
fn g12_a_directory_names_a_contact_point_that_takes_part() {
    let mut content = content();
    let entry = content.agencies.get_mut(&id("fra/ncb")).unwrap();
    entry.status = valise_proto::directory::AgencyStatus::Revoked { since: start() };
    let error = content.check().unwrap_err();
    assert!(error.to_string().contains("contact point and revoked"), "{error}");
}
