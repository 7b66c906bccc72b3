//! Revocation lists that run out, and the lists of several issuing CAs beside each other.

use std::time::Duration;

use valise_proto::freshness::Urgency;
use valise_proto::id::Timestamp;
use valise_transport::{AnchorsError, CertificateError, Usage};

use crate::pki::{Authority, Leaf, List, key_of};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const REVOKED_SERIAL: u64 = 666;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A list that ran out when 2021 began.
fn of_2020() -> List {
    List { years: (2020, 2021), ..List::fresh() }
}

#[test]
fn g12_a_list_that_ran_out_is_gone_by_within_the_grace_and_not_after() {
    let authority = Authority::new();
    let chain = authority.issue(&Leaf::agency("fra/ncb")).chain;
    let lists = [authority.root_list(&List::fresh()), authority.issuing_list(&of_2020())];
    let (within, after) = (time("2021-01-01T12:00:00Z"), time("2021-01-02T00:00:01Z"));
    let strict = authority.anchors_with(&lists);
    let refused = strict.verify(&chain, Usage::Client, within).unwrap_err();
    let CertificateError::RevocationListExpired { ref issuer, this_update, next_update, grace, now } =
        refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(issuer, "CN=Exchange Issuing");
    assert_eq!((this_update, next_update), (time("2020-01-01T00:00:00Z"), time("2021-01-01T00:00:00Z")));
    assert_eq!((grace, now), (Duration::ZERO, within));

    let lenient = authority.anchors_with(&lists).with_grace(DAY);
    assert!(lenient.verify(&chain, Usage::Client, within).is_ok());
    let refused = lenient.verify(&chain, Usage::Client, after).unwrap_err();
    assert!(matches!(refused, CertificateError::RevocationListExpired { grace: DAY, .. }), "{refused:?}");
    assert!(refused.to_string().contains("grace of 1440 minutes is over too"), "{refused}");
}

#[test]
fn g12_the_grace_of_one_list_is_none_for_another_and_none_for_certificates() {
    let authority = Authority::new();
    let leaf = Leaf::agency("fra/ncb").serial(REVOKED_SERIAL);
    let chain = authority.issue(&leaf).chain;
    let within = time("2021-01-01T12:00:00Z");
    let check = |root: &List, issuing: &List, chain: &[_]| {
        let lists = [authority.root_list(root), authority.issuing_list(issuing)];
        authority.anchors_with(&lists).with_grace(DAY).verify(chain, Usage::Client, within).map(|_| ())
    };
    assert_eq!(check(&of_2020(), &of_2020(), &chain), Ok(()));
    let long_over = List { years: (2019, 2020), ..List::fresh() };
    for (root, issuing) in [(&long_over, &of_2020()), (&of_2020(), &long_over)] {
        let refused = check(root, issuing, &chain).unwrap_err();
        let CertificateError::RevocationListExpired { next_update, .. } = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(next_update, time("2020-01-01T00:00:00Z"));
    }
    let revoking = List { revoked: vec![REVOKED_SERIAL], ..of_2020() };
    assert_eq!(check(&of_2020(), &revoking, &chain), Err(CertificateError::Revoked));
    let over = authority.issue(&Leaf { years: (2020, 2021), ..leaf }).chain;
    let refused = check(&of_2020(), &of_2020(), &over);
    assert!(matches!(refused, Err(CertificateError::Expired { .. })), "{refused:?}");
}

#[test]
fn g12_a_list_says_how_near_its_end_is() {
    let authority = Authority::new();
    let anchors = authority.anchors_with(&[authority.issuing_list(&of_2020())]);
    let urgency = |clock: &str| anchors.revocations().first().map(|list| list.urgency(time(clock)));
    assert_eq!(urgency("2020-02-01T00:00:00Z"), Some(Urgency::Fresh));
    assert_eq!(urgency("2020-12-01T00:00:00Z"), Some(Urgency::HalfOver));
    assert_eq!(urgency("2020-12-31T12:00:00Z"), Some(Urgency::LastDay));
    assert_eq!(urgency("2021-01-01T00:00:01Z"), Some(Urgency::Over));
}

/// An issuing CA is followed by another before its time is over, and for a while nodes hold certificates of both.
#[test]
fn g12_each_issuing_authority_answers_for_its_own_certificates_only() {
    let former = Authority::new();
    let present = former.successor();
    let leaf = Leaf::agency("fra/ncb").serial(REVOKED_SERIAL);
    let (older, newer) = (former.issue(&leaf).chain, present.issue(&leaf).chain);
    let now = time("2026-01-01T00:00:00Z");
    let verify = |root: &List, lists: &[Vec<u8>]| {
        let lists: Vec<Vec<u8>> = std::iter::once(former.root_list(root)).chain(lists.to_vec()).collect();
        let anchors = former.anchors_with(&lists);
        [&older, &newer].map(|chain| anchors.verify(chain, Usage::Client, now).map(|_| ()))
    };
    let fresh = List::fresh();
    let (a, b) = (former.issuing_list(&fresh), present.issuing_list(&fresh));
    assert_eq!(verify(&fresh, &[a.clone(), b.clone()]), [Ok(()), Ok(())]);
    let unknown = Err(CertificateError::RevocationUnknown);
    assert_eq!(verify(&fresh, std::slice::from_ref(&b)), [unknown.clone(), Ok(())]);
    assert_eq!(verify(&fresh, std::slice::from_ref(&a)), [Ok(()), unknown]);
    let revoked = Err(CertificateError::Revoked);
    let of_former = former.issuing_list(&List::revoking(REVOKED_SERIAL));
    assert_eq!(verify(&fresh, &[of_former, b.clone()]), [revoked.clone(), Ok(())]);
    let former_revoked = List::revoking_the_issuing_authority();
    assert_eq!(verify(&former_revoked, &[a, b.clone()]), [revoked, Ok(())]);
    // The former one is over and its list too: that stops nobody else.
    let over = former.issuing_list(&of_2020());
    assert_eq!(verify(&fresh, &[over, b])[1], Ok(()));
}

/// A list that no chain at hand needs is not looked at by webpki; one that was slipped in would keep out all to come.
#[test]
fn g12_a_list_that_the_authority_did_not_sign_is_found_whether_or_not_a_chain_needs_it() {
    let authority = Authority::new();
    let present = authority.successor();
    let keys = [key_of(&authority), key_of(&present)];
    let fresh = List::fresh();
    let (root, former, now) =
        (authority.root_list(&fresh), authority.issuing_list(&fresh), present.issuing_list(&fresh));
    let check = |lists: &[Vec<u8>], keys: &[valise_proto::crypto::VerifyingKey]| {
        authority.anchors_with(lists).check_lists(keys)
    };
    assert_eq!(check(&[root.clone(), former.clone(), now.clone()], &keys), Ok(()));
    let foreign = Err(AnchorsError::Signature { issuer: "CN=Exchange Issuing".to_owned() });
    // Under the name of the former issuing CA, with a higher number, by somebody else's key.
    let forged = Authority::new().issuing_list(&List { number: 99, ..List::fresh() });
    assert_eq!(check(&[root.clone(), former.clone(), now.clone(), forged], &keys), foreign);
    let mut altered = former.clone();
    let last = altered.last_mut().unwrap();
    *last ^= 1;
    assert_eq!(check(&[root.clone(), altered, now.clone()], &keys), foreign);
    assert_eq!(check(&[root, former, now], &keys[1..]), foreign, "the root no longer names its key");
    let foreign_root = Authority::new().root_list(&fresh);
    let refused = check(&[foreign_root], &keys);
    assert_eq!(refused, Err(AnchorsError::Signature { issuer: "CN=Exchange Root".to_owned() }));
    // Under a name that is to come, by a key of now: one key has one list.
    let to_come = authority.list_as("Exchange Issuing 3", &List { number: 99, ..List::fresh() });
    let lists = [authority.root_list(&fresh), authority.issuing_list(&fresh), to_come];
    let second = check(&lists, &keys);
    assert!(matches!(second, Err(AnchorsError::SecondList { .. })), "{second:?}");
}
