//! Members taken out, suspended and let in again, and what the directory says of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use common::{DAY, Founded, Node, agency, earlier, member, snapshot};
use valise_certs::authority::{ChangeError, EnrolError};
use valise_certs::state::Serial;
use valise_certs::{Authority, Profile, RevocationReason};
use valise_proto::directory::{AgencyEntry, AgencyStatus, Directory};
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::label::Classification;
use x509_parser::extensions::ParsedExtension;

fn secret() -> Profile {
    Profile::up_to(Classification::Secret)
}

fn directory(authority: &mut Authority, now: Timestamp) -> Directory {
    let published = authority.publication(now).unwrap().directory;
    Directory::verify(published.encoded().clone(), &authority.trust()).unwrap()
}

fn entry(authority: &mut Authority, id: &AgencyId, now: Timestamp) -> Option<AgencyEntry> {
    directory(authority, now).agency(id).cloned()
}

/// Serials of a member's certificates, newest first.
fn serials(authority: &Authority, name: &str) -> Vec<Serial> {
    let view = serde_json::to_value(authority.register().member(&member(name)).unwrap()).unwrap();
    let certificates = view["certificates"].as_array().unwrap();
    certificates.iter().map(|found| found["serial"].as_str().unwrap().parse().unwrap()).collect()
}

/// Reason code and invalidity date, in seconds, of each revoked certificate of the issuing authority.
fn revocations(authority: &mut Authority, now: Timestamp) -> Vec<(u8, Option<i64>)> {
    let crl = authority.publication(now).unwrap().crls.pop().unwrap();
    let (_, crl) = x509_parser::parse_x509_crl(&crl).unwrap();
    let date = |found: &x509_parser::revocation_list::RevokedCertificate<'_>| {
        found.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::InvalidityDate(date) => Some(date.timestamp()),
            _ => None,
        })
    };
    crl.iter_revoked_certificates()
        .map(|found| (found.reason_code().map_or(0, |(_, reason)| reason.0), date(found)))
        .collect()
}

#[test]
fn g01_a_revoked_agency_stays_listed_for_as_long_as_a_notice_of_its_may_live() {
    let Founded { temp: _temp, mut authority, now, .. } = Founded::new();
    let node = Node::new("fra/ncb");
    authority.enrol(&node.request(), &secret().as_contact_point(), now).unwrap();
    let (later, since) = (now.plus(10 * DAY), now.plus(8 * DAY));
    let reason = RevocationReason::KeyCompromise;
    authority.revoke_since(&member("fra/ncb"), reason, since, later).unwrap();
    let listed = entry(&mut authority, &node.id, later).unwrap();
    assert_eq!(listed.status, AgencyStatus::Revoked { since });
    assert!(!listed.contact_point, "notices would go to it");
    let key = node.signing.key_id();
    assert!(listed.signing_key_at(key, earlier(since, DAY)).is_some(), "what it signed before is lost");
    assert!(listed.signing_key_at(key, since).is_none(), "it is believed after its key was lost");
    let seconds = i64::try_from(since.seconds()).unwrap();
    assert_eq!(revocations(&mut authority, later), [(1, Some(seconds))]);
    // Another contact point may take its place at once.
    let other = Node::new("fra/customs");
    authority.enrol(&other.request(), &secret().as_contact_point(), later).unwrap();
    assert!(entry(&mut authority, &node.id, later.plus(366 * DAY)).is_some());
    assert!(entry(&mut authority, &node.id, later.plus(367 * DAY)).is_none(), "it is listed for ever");
}

#[test]
fn g01_the_time_of_a_compromise_may_be_found_out_later_and_is_never_ahead() {
    let Founded { temp: _temp, mut authority, now, dir, .. } = Founded::new();
    let (id, role) = (agency("fra/ncb"), member("fra/ncb"));
    authority.enrol(&Node::new("fra/ncb").request(), &secret(), now).unwrap();
    let later = now.plus(10 * DAY);
    authority.suspend(&id, later).unwrap();
    let since = earlier(later, DAY);
    authority.suspend_since(&id, since, later).unwrap();
    let status = entry(&mut authority, &id, later).unwrap().status;
    assert_eq!(status, AgencyStatus::Suspended { since });
    let reason = RevocationReason::KeyCompromise;
    authority.revoke(&role, reason, later).unwrap();
    let status = entry(&mut authority, &id, later).unwrap().status;
    assert_eq!(status, AgencyStatus::Revoked { since }, "what the suspension took back is believed again");
    let since = earlier(since, DAY);
    authority.revoke_since(&role, reason, since, later).unwrap();
    assert_eq!(entry(&mut authority, &id, later).unwrap().status, AgencyStatus::Revoked { since });
    let seconds = i64::try_from(since.seconds()).unwrap();
    assert_eq!(revocations(&mut authority, later), [(1, Some(seconds))]);
    let before = snapshot(&dir);
    let again = authority.revoke_since(&role, reason, later, later);
    assert!(matches!(again, Err(ChangeError::Revoked { .. })), "{again:?}");
    let ahead = authority.revoke_since(&member("ken/ncb"), reason, later.plus(DAY), later);
    assert!(matches!(ahead, Err(ChangeError::SinceAhead { .. })), "{ahead:?}");
    assert_eq!(snapshot(&dir), before);
}

#[test]
fn g01_an_agency_that_comes_back_is_believed_for_what_it_signed_before_it_was_out() {
    let Founded { temp: _temp, mut authority, now, .. } = Founded::new();
    let (old, new) = (Node::new("fra/ncb"), Node::new("fra/ncb"));
    authority.enrol(&old.request(), &secret(), now).unwrap();
    let (later, since) = (now.plus(10 * DAY), now.plus(8 * DAY));
    let reason = RevocationReason::KeyCompromise;
    authority.revoke_since(&member("fra/ncb"), reason, since, later).unwrap();
    authority.enrol(&new.request(), &secret(), later).unwrap();
    let listed = entry(&mut authority, &old.id, later).unwrap();
    assert_eq!(listed.status, AgencyStatus::Active);
    assert!(listed.signing_key_at(old.signing.key_id(), earlier(since, DAY)).is_some());
    assert!(listed.signing_key_at(old.signing.key_id(), since).is_none());
    assert!(listed.signing_key_at(new.signing.key_id(), later).is_some());
    let sealing: Vec<_> = listed.sealing_keys.iter().map(|key| key.key_id).collect();
    assert_eq!(sealing, [new.sealing.public().key_id()], "somebody might still seal to the old key");
    let again = authority.enrol(&old.request(), &secret(), later);
    assert!(matches!(again, Err(EnrolError::AlreadyEnrolled(_))), "{again:?}");
    let long_after = later.plus(367 * DAY);
    assert_eq!(entry(&mut authority, &old.id, long_after).unwrap().signing_keys.len(), 1);
}

#[test]
fn one_certificate_is_revoked_and_its_holder_stays() {
    let Founded { temp: _temp, mut authority, now, .. } = Founded::new();
    let node = Node::new("fra/ncb");
    authority.enrol(&node.request(), &secret(), now).unwrap();
    let [serial] = serials(&authority, "fra/ncb")[..] else { panic!("more than one certificate") };
    let superseded = RevocationReason::Superseded;
    assert_eq!(authority.revoke_certificate(serial, superseded, now, now).unwrap(), member("fra/ncb"));
    assert_eq!(entry(&mut authority, &node.id, now).unwrap().status, AgencyStatus::Active);
    assert_eq!(revocations(&mut authority, now), [(4, None)]);
    let again = authority.revoke_certificate(serial, superseded, now, now);
    assert!(matches!(again, Err(ChangeError::CertificateRevoked { .. })), "{again:?}");
    let unknown: Serial = "00112233445566778899aabbccddeeff".parse().unwrap();
    let unknown = authority.revoke_certificate(unknown, superseded, now, now);
    assert!(matches!(unknown, Err(ChangeError::UnknownCertificate(_))), "{unknown:?}");
    // The next bundle brings another one, though two thirds of the first one's life are not over.
    authority.bundle(&node.id, now).unwrap();
    let issued = serials(&authority, "fra/ncb");
    assert_eq!(issued.len(), 2);
    let newest = *issued.iter().find(|found| **found != serial).unwrap();
    // Where the key was lost with it, no other is made for that key.
    authority.revoke_certificate(newest, RevocationReason::KeyCompromise, now, now).unwrap();
    let lost = authority.bundle(&node.id, now);
    assert!(matches!(lost, Err(EnrolError::KeyLost(_))), "{lost:?}");
}
