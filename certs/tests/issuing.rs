//! One issuing authority after the other: what is out goes on counting, until the root says otherwise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use common::judge::{client, verify};
use common::{DAY, Founded, Node, agency, mode, passphrase, snapshot};
use valise_certs::authority::{IssuingError, Renewal, Successor};
use valise_certs::root::ROOT_LIST_LIFETIME;
use valise_certs::{Authority, Passphrase, Profile, RevocationReason, RootPlace, audit};
use valise_proto::directory::Directory;
use valise_proto::id::Timestamp;
use valise_proto::label::{AtMost, Ceiling, Classification};

fn place(founded: &Founded) -> RootPlace {
    RootPlace { dir: founded.dir.join("root"), passphrase: passphrase() }
}

fn renewal() -> Renewal {
    Renewal { ceiling: None, widen: false, new_directory_key: false, root_list: ROOT_LIST_LIFETIME }
}

fn renew(founded: &mut Founded, renewal: &Renewal, now: Timestamp) -> Result<Successor, IssuingError> {
    let place = place(founded);
    founded.authority.renew_issuing(&place, &passphrase(), renewal, now)
}

fn enrol(founded: &mut Founded, name: &str, now: Timestamp) -> Vec<Bytes> {
    let profile = Profile::up_to(Classification::Secret);
    let bundle = founded.authority.enrol(&Node::new(name).request(), &profile, now).unwrap();
    bundle.bundle().chain.clone()
}

#[test]
fn what_the_former_authority_issued_counts_beside_what_the_new_one_issues() {
    let mut founded = Founded::new();
    let now = founded.now;
    let old = enrol(&mut founded, "fra/ncb", now);
    let before = founded.authority.publication(now).unwrap();
    let renewed = renew(&mut founded, &renewal(), now).unwrap();
    assert_eq!(renewed.generation, 2);
    let new = enrol(&mut founded, "ken/ncb", now);
    assert_ne!(old[1], new[1], "two issuers");
    let publication = founded.authority.publication(now).unwrap();
    let named = &publication.directory.delegation().former_issuing_keys;
    assert_eq!(named, &[before.directory.delegation().issuing_key], "the root names every key that signs");
    assert_eq!(publication.crls.len(), 3, "the root's list and one of each issuing authority");
    for chain in [&old, &new] {
        assert_eq!(verify(&publication, chain, client(), now), Ok(()));
        assert!(publication.certificates.contains(&chain[1]), "an issuer is not published");
    }
    // A bundle carries the issuer of the very certificate it carries.
    let again = founded.authority.bundle(&agency("fra/ncb"), now).unwrap();
    assert_eq!(again.bundle().chain, old);
    // Nodes take the delegation after the one they hold, and never the other way.
    publication.directory.check_may_replace(&before.directory).unwrap();
    assert!(before.directory.check_may_replace(&publication.directory).is_err());
    // The former key still takes back what it gave.
    founded.authority.revoke(&common::member("fra/ncb"), RevocationReason::KeyCompromise, now).unwrap();
    let publication = founded.authority.publication(now).unwrap();
    assert_eq!(verify(&publication, &old, client(), now), Err(webpki::Error::CertRevoked));
    assert_eq!(verify(&publication, &new, client(), now), Ok(()));
}

#[test]
fn a_renewed_authority_opens_again_and_destroys_a_former_key_when_nothing_of_it_is_out() {
    let mut founded = Founded::new();
    let now = founded.now;
    let old = enrol(&mut founded, "fra/ncb", now);
    let first = renew(&mut founded, &Renewal { new_directory_key: true, ..renewal() }, now).unwrap();
    let kept: PathBuf = founded.dir.join(format!("issuing-{}.key", first.former));
    assert_eq!(mode(&kept), 0o600);
    assert!(fs::read_to_string(&kept).unwrap().contains("ENCRYPTED PRIVATE KEY"));
    let Founded { authority, dir, temp, .. } = founded;
    drop(authority);
    let mut authority = Authority::open(&dir, &passphrase()).unwrap();
    let publication = authority.publication(now).unwrap();
    assert_eq!(verify(&publication, &old, client(), now), Ok(()));
    let directory = Directory::verify(publication.directory.encoded().clone(), &authority.trust()).unwrap();
    assert_eq!(directory.content().delegation.delegation().directory_key.key_id(), first.directory_key);
    audit::verify(&dir, None).unwrap();
    // Half a year later the last certificate of the first one has run out.
    let later = now.plus(180 * DAY);
    let mut founded = Founded { temp, dir, authority, now: later };
    let second = renew(&mut founded, &renewal(), later).unwrap();
    assert!(!kept.exists(), "a key of which nothing is out any more was kept");
    assert_eq!((second.former, second.generation), (first.serial, 3));
    drop(founded.authority);
    Authority::open(&founded.dir, &passphrase()).unwrap().publication(later).unwrap();
    audit::verify(&founded.dir, None).unwrap();
}

#[test]
fn the_root_revokes_an_issuing_authority_and_all_it_issued() {
    let mut founded = Founded::new();
    let now = founded.now;
    let old = enrol(&mut founded, "fra/ncb", now);
    let place = place(&founded);
    let revoke = |founded: &mut Founded, serial| {
        founded.authority.revoke_issuing(&place, serial, RevocationReason::KeyCompromise, (365 * DAY, now))
    };
    let serial = renew(&mut founded, &Renewal { new_directory_key: true, ..renewal() }, now).unwrap();
    let error = revoke(&mut founded, serial.serial).unwrap_err();
    assert!(matches!(error, IssuingError::InForce(_)), "{error}");
    revoke(&mut founded, serial.former).unwrap();
    let publication = founded.authority.publication(now).unwrap();
    assert_eq!(verify(&publication, &old, client(), now), Err(webpki::Error::CertRevoked));
    assert!(!publication.certificates.contains(&old[1]), "a revoked issuer is published");
    let error = revoke(&mut founded, serial.former).unwrap_err().to_string();
    assert!(error.contains("was revoked at"), "{error}");
    // The agency gets another certificate at once, though the one it has is new.
    let bundle = founded.authority.bundle(&agency("fra/ncb"), now).unwrap();
    let publication = founded.authority.publication(now).unwrap();
    assert_eq!(verify(&publication, &bundle.bundle().chain, client(), now), Ok(()));
}

#[test]
fn g03_the_ceiling_changes_with_the_delegation_and_not_below_what_was_granted() {
    let mut founded = Founded::new();
    let now = founded.now;
    enrol(&mut founded, "fra/ncb", now);
    let ceiling = |class: Classification| Ceiling {
        states: AtMost::Only(["FRA".parse().unwrap()].into()),
        classifications: class.and_below(),
        ..Ceiling::unlimited()
    };
    let with = |class| Renewal { ceiling: Some(ceiling(class)), ..renewal() };
    let before = snapshot(&founded.dir);
    let error = renew(&mut founded, &with(Classification::Restricted), now).unwrap_err().to_string();
    assert!(error.contains("fra/ncb") && error.contains("clearance set"), "{error}");
    assert_eq!(snapshot(&founded.dir), before, "the root was asked for what cannot be");
    renew(&mut founded, &with(Classification::Secret), now).unwrap();
    let publication = founded.authority.publication(now).unwrap();
    let carried = &publication.directory.content().delegation.delegation().ceiling;
    assert_eq!(
        (carried, founded.authority.ceiling()),
        (&ceiling(Classification::Secret), &ceiling(Classification::Secret))
    );
    let profile = Profile::up_to(Classification::Secret);
    let error = founded.authority.enrol(&Node::new("ken/ncb").request(), &profile, now).unwrap_err();
    assert!(error.to_string().contains("those of: FRA"), "{error}");
}

#[test]
fn g03_a_wider_ceiling_is_refused_unless_it_is_asked_for() {
    let mut founded = Founded::new();
    let now = founded.now;
    let narrow = Ceiling { classifications: Classification::Secret.and_below(), ..Ceiling::unlimited() };
    renew(&mut founded, &Renewal { ceiling: Some(narrow), ..renewal() }, now).unwrap();
    let wide = Renewal { ceiling: Some(Ceiling::unlimited()), ..renewal() };
    let before = snapshot(&founded.dir);
    let error = renew(&mut founded, &wide, now).unwrap_err();
    assert!(matches!(error, IssuingError::Wider { .. }) && error.to_string().contains("--widen"), "{error}");
    assert_eq!(snapshot(&founded.dir), before);
    renew(&mut founded, &Renewal { widen: true, ..wide }, now).unwrap();
    assert_eq!(founded.authority.ceiling(), &Ceiling::unlimited());
}

#[test]
fn a_lost_issuing_key_is_not_revoked_while_the_directory_has_the_key_that_lay_beside_it() {
    let mut founded = Founded::new();
    let now = founded.now;
    let place = place(&founded);
    let revoke = |founded: &mut Founded, serial, reason| {
        founded.authority.revoke_issuing(&place, serial, reason, (365 * DAY, now))
    };
    let first = renew(&mut founded, &renewal(), now).unwrap();
    let second = renew(&mut founded, &renewal(), now).unwrap();
    assert_eq!(first.directory_key, second.directory_key);
    let before = snapshot(&founded.dir);
    let error = revoke(&mut founded, first.former, RevocationReason::KeyCompromise).unwrap_err();
    assert!(matches!(error, IssuingError::DirectoryKeyShared(_)), "{error}");
    assert_eq!(snapshot(&founded.dir), before, "the root was used for what cannot be");
    revoke(&mut founded, second.former, RevocationReason::Superseded).unwrap();
    let third = renew(&mut founded, &Renewal { new_directory_key: true, ..renewal() }, now).unwrap();
    revoke(&mut founded, first.former, RevocationReason::KeyCompromise).unwrap();
    // The new key lies beside those that came with it and after it.
    let fourth = renew(&mut founded, &renewal(), now).unwrap();
    assert_eq!(fourth.former, third.serial);
    let error = revoke(&mut founded, third.serial, RevocationReason::KeyCompromise).unwrap_err();
    assert!(matches!(error, IssuingError::DirectoryKeyShared(_)), "{error}");
}

#[test]
fn a_renewal_that_is_refused_leaves_both_folders_as_they_were() {
    let mut founded = Founded::new();
    let now = founded.now;
    let before = snapshot(&founded.dir);
    let wrong = Passphrase::new("not the passphrase").unwrap();
    let place = place(&founded);
    let error = founded.authority.renew_issuing(&place, &wrong, &renewal(), now).unwrap_err().to_string();
    assert!(error.contains("issuing.key"), "{error}");
    let other = RootPlace { passphrase: wrong, ..place };
    let error =
        founded.authority.renew_issuing(&other, &passphrase(), &renewal(), now).unwrap_err().to_string();
    assert!(error.contains("root.key"), "{error}");
    assert_eq!(snapshot(&founded.dir), before);
}

#[test]
fn g12_a_root_folder_put_back_from_a_copy_repeats_no_number_and_forgets_no_revocation() {
    let mut founded = Founded::new();
    let now = founded.now;
    let old = enrol(&mut founded, "fra/ncb", now);
    let place = place(&founded);
    let copy = snapshot(&place.dir);
    let first = renew(&mut founded, &renewal(), now).unwrap();
    let revoked = RevocationReason::Superseded;
    founded.authority.revoke_issuing(&place, first.former, revoked, (365 * DAY, now)).unwrap();
    let number = |founded: &mut Founded| {
        let der = founded.authority.publication(now).unwrap().crls[0].clone();
        let (_, list) = x509_parser::parse_x509_crl(&der).unwrap();
        let listed = list.iter_revoked_certificates().count();
        (u64::try_from(list.crl_number().unwrap()).unwrap(), listed)
    };
    let (before, listed) = number(&mut founded);
    assert_eq!(listed, 1);
    for (path, bytes) in &copy {
        fs::write(path, bytes).unwrap();
    }
    founded.authority.renew_root_list(&place, 365 * DAY, now).unwrap();
    let (after, listed) = number(&mut founded);
    assert!(after > before && listed == 1, "list {after} after {before} revokes {listed}");
    let publication = founded.authority.publication(now).unwrap();
    assert_eq!(verify(&publication, &old, client(), now), Err(webpki::Error::CertRevoked));
    // What the copy never knew can be revoked, and the next one has a generation of its own.
    for (path, bytes) in &copy {
        fs::write(path, bytes).unwrap();
    }
    let second = renew(&mut founded, &renewal(), now).unwrap();
    assert_eq!(second.generation, first.generation + 1);
    founded.authority.revoke_issuing(&place, first.serial, revoked, (365 * DAY, now)).unwrap();
    let (last, listed) = number(&mut founded);
    assert!(last > after && listed == 2, "list {last} after {after} revokes {listed}");
}

#[test]
fn an_interrupted_revocation_of_an_issuing_authority_is_completed_by_doing_it_again() {
    let mut founded = Founded::new();
    let now = founded.now;
    let old = enrol(&mut founded, "fra/ncb", now);
    let place = place(&founded);
    let former = renew(&mut founded, &renewal(), now).unwrap().former;
    let files = ["state.json", "journal.jsonl"].map(|name| founded.dir.join(name));
    let before = files.clone().map(|path| fs::read(path).unwrap());
    let revoke = |authority: &mut Authority| {
        authority.revoke_issuing(&place, former, RevocationReason::Superseded, (365 * DAY, now))
    };
    revoke(&mut founded.authority).unwrap();
    drop(founded.authority);
    // The root has noted it; the authority was stopped before it did.
    for (path, bytes) in files.iter().zip(before) {
        fs::write(path, bytes).unwrap();
    }
    let mut authority = Authority::open(&founded.dir, &passphrase()).unwrap();
    revoke(&mut authority).unwrap();
    let publication = authority.publication(now).unwrap();
    assert!(!publication.certificates.contains(&old[1]), "a revoked issuer is published");
    assert_eq!(verify(&publication, &old, client(), now), Err(webpki::Error::CertRevoked));
    let told = revoke(&mut authority).unwrap_err().to_string();
    assert!(told.contains("was revoked at"), "{told}");
}

#[test]
fn a_former_key_that_cannot_be_removed_undoes_no_renewal_and_goes_at_the_next_opening() {
    let mut founded = Founded::new();
    let now = founded.now;
    enrol(&mut founded, "fra/ncb", now);
    let first = renew(&mut founded, &renewal(), now).unwrap();
    let kept = founded.dir.join(format!("issuing-{}.key", first.former));
    let text = fs::read(&kept).unwrap();
    // A folder in its place cannot be removed as a file.
    fs::remove_file(&kept).unwrap();
    fs::create_dir(&kept).unwrap();
    let later = now.plus(180 * DAY);
    let second = renew(&mut founded, &renewal(), later).unwrap();
    let third = renew(&mut founded, &renewal(), later).unwrap();
    assert_eq!((second.generation, third.generation), (3, 4));
    drop(founded.authority);
    fs::remove_dir(&kept).unwrap();
    fs::write(&kept, text).unwrap();
    Authority::open(&founded.dir, &passphrase()).unwrap();
    assert!(!kept.exists(), "a key of which nothing is out any more was kept");
}
