//! Stories of the authority, told through the library.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use common::{DAY, Founded, Node, agency, csr, earlier, founding, member, mode, now, passphrase, snapshot};
use rcgen::{KeyPair, SanType};
use valise_certs::authority::{ChangeError, EnrolError, OpenError};
use valise_certs::{Authority, Grant, Passphrase, Profile, Register, RevocationReason, Validity};
use valise_proto::directory::{AgencyStatus, BROKERS_MAX, Directory};
use valise_proto::enrolment::{SignedEnrolmentBundle, Trust};
use valise_proto::envelope::NoticeKind;
use valise_proto::label::Classification;

fn secret() -> Profile {
    Profile::up_to(Classification::Secret)
}

fn directory_of(bundle: &SignedEnrolmentBundle) -> Directory {
    Directory::verify(bundle.bundle().directory.clone(), &bundle.bundle().trust).unwrap()
}

/// A refusal must change neither the folder nor what the open authority does next.
fn refused(founded: &mut Founded, sentence: &str, step: impl FnOnce(&mut Authority) -> Result<(), String>) {
    let before = (snapshot(&founded.dir), format!("{:?}", founded.authority.register()));
    let error = step(&mut founded.authority).expect_err(sentence);
    assert!(error.contains(sentence), "expected `{sentence}` in: {error}");
    assert_eq!((snapshot(&founded.dir), format!("{:?}", founded.authority.register())), before, "{error}");
}

fn enrol(node: &Node, profile: Profile) -> impl FnOnce(&mut Authority) -> Result<(), String> {
    let request = node.request();
    move |authority| authority.enrol(&request, &profile, now()).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn an_agency_is_enrolled_and_its_bundle_answers_its_request() {
    let Founded { temp: _temp, mut authority, now, .. } = Founded::new();
    authority.issue_broker(&"b1".parse().unwrap(), vec!["broker.example:4433".to_owned()], now).unwrap();
    let node = Node::new("fra/ncb");
    let profile = Profile { display_name: Some("NCB Paris".to_owned()), ..secret().as_contact_point() };
    let request = node.request();
    let bundle = authority.enrol(&request, &profile, now).unwrap();
    bundle.check_answers(&request, &node.sealing).unwrap();
    assert_eq!(bundle.bundle().identity, node.identity());
    assert_eq!(SignedEnrolmentBundle::from_pem(&bundle.to_pem()).unwrap(), bundle);
    let directory = directory_of(&bundle);
    directory.check_fresh(now).unwrap();
    let entry = directory.agency(&node.id).unwrap();
    assert_eq!(entry.display_name, "NCB Paris");
    assert_eq!(entry.clearance.class_list, Classification::Secret.and_below());
    assert_eq!(entry.clearance.affiliations, ["FRA".parse().unwrap()].into());
    assert_eq!(entry.origination.classifications, Classification::Secret.and_below());
    assert!(entry.origination.kinds.contains(&NoticeKind::Deportation));
    assert_eq!(entry.signing_keys[0].key_id, node.signing.key_id());
    assert!(entry.signing_keys[0].is_valid_at(now) && entry.signing_keys[0].is_valid_at(now.plus(365 * DAY)));
    assert_eq!(entry.sealing_key_at(now).unwrap().key_id, node.sealing.public().key_id());
    assert_eq!(directory.contact_point("FRA".parse().unwrap()), Some(&node.id));
    assert_eq!(directory.broker(&"b1".parse().unwrap()).unwrap().endpoints, ["broker.example:4433"]);
}

#[test]
fn the_same_request_again_gets_a_fresh_bundle_for_the_same_enrolment() {
    let mut founded = Founded::new();
    let (node, now) = (Node::new("fra/ncb"), founded.now);
    let request = node.request();
    let first = founded.authority.enrol(&request, &secret(), now).unwrap();
    let again = founded.authority.enrol(&request, &secret(), now).unwrap();
    let bundle = founded.authority.bundle(&node.id, now).unwrap();
    for later in [&again, &bundle] {
        assert_eq!(later.bundle().chain, first.bundle().chain);
        later.check_answers(&request, &node.sealing).unwrap();
    }
    let versions = [&first, &again, &bundle].map(|bundle| directory_of(bundle).version());
    assert_eq!(versions, [1, 2, 3]);
    refused(&mut founded, "another profile", |authority| {
        let other = Profile::up_to(Classification::Restricted);
        authority.enrol(&request, &other, now).map(|_| ()).map_err(|error| error.to_string())
    });
    refused(&mut founded, "with other keys", enrol(&Node::new("fra/ncb"), secret()));
}

#[test]
fn a_certificate_is_renewed_from_two_thirds_of_its_life_on() {
    let Founded { temp: _temp, mut authority, now, .. } = Founded::new();
    let node = Node::new("fra/ncb");
    let request = node.request();
    let first = authority.enrol(&request, &secret(), now).unwrap();
    let early = authority.bundle(&node.id, now.plus(59 * DAY)).unwrap();
    assert_eq!(early.bundle().chain, first.bundle().chain);
    let renewed = authority.bundle(&node.id, now.plus(61 * DAY)).unwrap();
    assert_ne!(renewed.bundle().chain[0], first.bundle().chain[0]);
    renewed.check_answers(&request, &node.sealing).unwrap();
    let keys =
        |bundle: &SignedEnrolmentBundle| directory_of(bundle).agency(&node.id).unwrap().signing_keys.clone();
    assert_eq!(keys(&renewed)[0].key_id, keys(&first)[0].key_id);
    assert!(keys(&renewed)[0].not_after > keys(&first)[0].not_after);
}

#[test]
fn what_was_done_is_there_when_the_folder_is_opened_again() {
    let Founded { temp: _temp, mut authority, now, dir, .. } = Founded::new();
    let node = Node::new("fra/ncb");
    let bundle = authority.enrol(&node.request(), &secret(), now).unwrap();
    authority.issue_broker(&"b1".parse().unwrap(), vec!["[::1]:4433".to_owned()], now).unwrap();
    let before = format!("{:?}", authority.register());
    let trust = authority.trust();
    drop(authority);
    assert_eq!(format!("{:?}", Register::open(&dir).unwrap()), before, "looking needs no passphrase");
    let mut authority = Authority::open(&dir, &passphrase()).unwrap();
    assert_eq!(format!("{:?}", authority.register()), before);
    assert_eq!(authority.trust(), trust);
    let later = authority.bundle(&node.id, now).unwrap();
    assert_eq!(later.bundle().chain, bundle.bundle().chain);
    directory_of(&later).check_may_replace(&directory_of(&bundle)).unwrap();
}

#[test]
fn only_the_right_passphrase_opens_the_folder_and_only_one_at_a_time() {
    let Founded { temp: _temp, authority, dir, .. } = Founded::new();
    let before = snapshot(&dir);
    let error = Authority::open(&dir, &passphrase()).unwrap_err();
    assert!(error.to_string().contains("in use by another valise-ca"), "{error}");
    drop(authority);
    let error = Authority::open(&dir, &Passphrase::new("not the passphrase").unwrap()).unwrap_err();
    assert!(error.to_string().contains("the passphrase does not open"), "{error}");
    let error = Authority::init(&dir, &founding(), &passphrase(), now()).unwrap_err();
    assert!(matches!(error, OpenError::AlreadyInitialised(_)), "{error}");
    assert_eq!(snapshot(&dir), before);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Authority::open(&dir, &passphrase()).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
    let nowhere = dir.with_extension("nowhere");
    let error = Authority::open(&nowhere, &passphrase()).unwrap_err();
    assert!(error.to_string().contains("valise-ca init"), "{error}");
    assert!(!nowhere.exists());
}

#[test]
fn secret_files_are_for_their_owner_only() {
    let Founded { temp: _temp, dir, .. } = Founded::new();
    assert_eq!(mode(&dir), 0o700);
    for (name, expected) in [
        ("root/root.key", 0o600),
        ("root/root.json", 0o600),
        ("root/root.crt", 0o644),
        ("root/lock", 0o600),
        ("issuing.key", 0o600),
        ("directory.key", 0o600),
        ("state.json", 0o600),
        ("journal.jsonl", 0o600),
        ("lock", 0o600),
        ("root.crt", 0o644),
        ("issuing.crt", 0o644),
    ] {
        assert_eq!(mode(&dir.join(name)), expected, "{name}");
    }
    let everything = snapshot(&dir);
    assert_eq!(everything.len(), 11, "{:?}", everything.keys());
    for (path, bytes) in everything {
        assert!(!String::from_utf8_lossy(&bytes).contains("BEGIN PRIVATE KEY"), "{}", path.display());
    }
}

#[test]
fn requests_that_are_not_to_be_granted_change_nothing() {
    let mut founded = Founded::new();
    let (node, now) = (Node::new("fra/ncb"), founded.now);
    let grant = |request, profile: Profile| {
        move |authority: &mut Authority| {
            authority.enrol(&request, &profile, now).map(|_| ()).map_err(|error| error.to_string())
        }
    };
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let other_domain = node.request_with(|request| request.trust_domain = "other.example".parse().unwrap());
    refused(&mut founded, "trust domain other.example", grant(other_domain, secret()));
    let p256 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let p256 =
        node.request_with(|request| request.csr_der = csr(&p256, &[uri(&node.identity().to_string())]));
    refused(&mut founded, "Ed25519 keys only", grant(p256, secret()));
    let someone = node.request_with(|request| {
        request.csr_der = csr(&node.tls, &[uri("spiffe://exchange.example/agency/ken/ncb")]);
    });
    refused(&mut founded, "must name spiffe://exchange.example/agency/fra/ncb", grant(someone, secret()));
    let cut = node.request_with(|request| request.csr_der = request.csr_der.slice(..100));
    refused(&mut founded, "cannot be read", grant(cut, secret()));
    let mut classless = secret();
    classless.clearance.classes.remove(&Classification::Unclassified);
    refused(&mut founded, "UNCLASSIFIED must be", grant(node.request(), classless));
    let one_key = node.request_with(|request| {
        let seed = node.signing.to_pkcs8_pem().unwrap();
        request.csr_der = csr(&KeyPair::from_pem(&seed).unwrap(), &[uri(&node.identity().to_string())]);
    });
    refused(&mut founded, "one key for TLS and for signing", grant(one_key, secret()));
}

#[test]
fn a_key_belongs_to_one_member_and_a_state_has_one_contact_point() {
    let mut founded = Founded::new();
    let node = Node::new("fra/ncb");
    founded.authority.enrol(&node.request(), &secret().as_contact_point(), founded.now).unwrap();
    let copy = Node { id: agency("fra/customs"), ..Node::new("fra/customs") };
    let stolen = copy.request_with(|request| request.sealing_key = node.sealing.public().clone());
    refused(&mut founded, "sealing key", |authority| {
        authority.enrol(&stolen, &secret(), now()).map(|_| ()).map_err(|error| error.to_string())
    });
    refused(&mut founded, "fra/ncb is the contact point of FRA", enrol(&copy, secret().as_contact_point()));
    founded.authority.enrol(&copy.request(), &secret(), founded.now).unwrap();
}

#[test]
fn a_revoked_agency_can_come_back_with_new_keys_only() {
    let mut founded = Founded::new();
    let node = Node::new("fra/ncb");
    founded.authority.enrol(&node.request(), &secret(), founded.now).unwrap();
    founded.authority.revoke(&member("fra/ncb"), RevocationReason::KeyCompromise, founded.now).unwrap();
    refused(&mut founded, "was revoked or given up before; a new enrolment needs", enrol(&node, secret()));
    refused(&mut founded, "fra/ncb was revoked at", |authority| {
        authority.bundle(&agency("fra/ncb"), now()).map(|_| ()).map_err(|error| error.to_string())
    });
    refused(&mut founded, "was revoked at", |authority| {
        authority.reinstate(&agency("fra/ncb"), now()).map_err(|error| error.to_string())
    });
    let fresh = Node::new("fra/ncb");
    let bundle = founded.authority.enrol(&fresh.request(), &secret(), founded.now).unwrap();
    let listed = directory_of(&bundle).agency(&fresh.id).unwrap().signing_keys.clone();
    let counting: Vec<_> = listed.iter().filter(|key| key.is_valid_at(now())).map(|key| key.key_id).collect();
    assert_eq!(counting, [fresh.signing.key_id()]);
}

#[test]
fn suspension_and_clearance_count_from_the_next_publication() {
    let mut founded = Founded::new();
    let (authority, now, id) = (&mut founded.authority, founded.now, agency("fra/ncb"));
    let named = [Classification::Secret, Classification::Restricted].into();
    let profile = Profile { originate_classifications: Some(named), ..secret() };
    authority.enrol(&Node::new("fra/ncb").request(), &profile, now).unwrap();
    authority.suspend(&id, now).unwrap();
    assert!(matches!(authority.suspend(&id, now), Err(ChangeError::Already { .. })));
    let listed = |authority: &mut Authority| {
        authority.publication(now).unwrap().directory.agency(&id).unwrap().clone()
    };
    assert!(matches!(listed(authority).status, AgencyStatus::Suspended { .. }));
    authority.reinstate(&id, now).unwrap();
    let mut grant = Grant::up_to(Classification::Restricted);
    grant.affiliations.insert("EUE".parse().unwrap());
    authority.set_clearance(&id, grant, now).unwrap();
    let entry = listed(authority);
    assert_eq!(entry.status, AgencyStatus::Active);
    assert_eq!(entry.clearance.class_list, Classification::Restricted.and_below());
    assert_eq!(entry.clearance.affiliations, ["EUE".parse().unwrap(), "FRA".parse().unwrap()].into());
    assert_eq!(entry.origination.classifications, [Classification::Restricted].into());
    refused(&mut founded, "ken/ncb is not a member", |authority| {
        authority.suspend(&agency("ken/ncb"), now).map_err(|error| error.to_string())
    });
}

#[test]
fn every_publication_bears_a_higher_version_and_says_until_when_it_counts() {
    let Founded { mut authority, now, temp, .. } = Founded::new();
    let out = temp.path().join("published");
    let first = authority.publish(&out, now).unwrap();
    authority.set_validity(Validity { directory: 2 * DAY, crls: 3 * DAY, ..Validity::default() });
    let second = authority.publish(&out, now).unwrap();
    assert_eq!((first.version, second.version), (1, 2));
    assert!(second.crl_number > first.crl_number);
    assert_eq!((second.expires_at, second.crls_next_update), (now.plus(2 * DAY), now.plus(3 * DAY)));
    for name in ["directory.valise", "crls.pem", "trust.pem", "certificates.pem"] {
        assert_eq!(mode(&out.join(name)), 0o644, "{name}");
    }
    assert_eq!(fs::read_dir(&out).unwrap().count(), 4);
    let trust = Trust::from_pem(&fs::read_to_string(out.join("trust.pem")).unwrap()).unwrap();
    let directory =
        Directory::verify(fs::read(out.join("directory.valise")).unwrap().into(), &trust).unwrap();
    assert_eq!(directory.version(), 2);
    assert!(directory.check_fresh(now.plus(3 * DAY)).is_err());
    let crls = pem::parse_many(fs::read(out.join("crls.pem")).unwrap()).unwrap();
    assert_eq!(crls.iter().map(pem::Pem::tag).collect::<Vec<_>>(), ["X509 CRL", "X509 CRL"]);
    // The root's list has a number of its own: it is not signed anew.
    for crl in &crls[1..] {
        let (_, crl) = x509_parser::parse_x509_crl(crl.contents()).unwrap();
        assert_eq!(crl.crl_number().map(ToString::to_string), Some(second.crl_number.to_string()));
    }
}

#[test]
fn g12_a_clock_that_is_wrong_signs_nothing() {
    let mut founded = Founded::new();
    founded.authority.enrol(&Node::new("ken/ncb").request(), &secret(), founded.now).unwrap();
    let before = earlier(founded.now, Duration::from_secs(3600));
    let out = founded.temp.path().join("published");
    refused(&mut founded, "set the clock", |authority| {
        authority.publish(&out, before).map(|_| ()).map_err(|error| error.to_string())
    });
    let request = Node::new("fra/ncb").request();
    refused(&mut founded, "before the authority was founded", |authority| {
        authority.enrol(&request, &secret(), before).map(|_| ()).map_err(|error| error.to_string())
    });
    refused(&mut founded, "set the clock", |authority| {
        let endpoints = vec!["b:1".to_owned()];
        authority
            .issue_broker(&"b1".parse().unwrap(), endpoints, before)
            .map(|_| ())
            .map_err(|error| error.to_string())
    });
}

#[test]
fn a_folder_that_cannot_be_written_stays_as_it_was() {
    let mut founded = Founded::new();
    // The place where the next state would be written first.
    let blocked = founded.dir.join("state.json.new");
    fs::create_dir(&blocked).unwrap();
    refused(&mut founded, "state.json: cannot write this file", enrol(&Node::new("fra/ncb"), secret()));
    let out = founded.temp.path().join("published");
    refused(&mut founded, "cannot write this file", |authority| {
        authority.publish(&out, now()).map(|_| ()).map_err(|error| error.to_string())
    });
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "something left before it was on record");
    fs::remove_dir(&blocked).unwrap();
    let taken = founded.dir.join("root.crt");
    refused(&mut founded, "root.crt", |authority| {
        authority.publish(&taken, now()).map(|_| ()).map_err(|error| error.to_string())
    });
    founded.authority.publish(&out, now()).unwrap();
}

#[test]
fn a_half_written_state_is_no_state() {
    let Founded { temp: _temp, mut authority, now, dir, .. } = Founded::new();
    authority.enrol(&Node::new("fra/ncb").request(), &secret(), now).unwrap();
    let before = format!("{:?}", authority.register());
    drop(authority);
    let whole = fs::read(dir.join("state.json")).unwrap();
    fs::write(dir.join("state.json.new"), &whole[..whole.len() / 3]).unwrap();
    let mut authority = Authority::open(&dir, &passphrase()).unwrap();
    assert_eq!(format!("{:?}", authority.register()), before);
    authority.suspend(&agency("fra/ncb"), now).unwrap();
    assert!(!dir.join("state.json.new").exists());
}

#[test]
fn an_altered_state_is_not_acted_upon() {
    let Founded { temp: _temp, mut authority, now, dir, .. } = Founded::new();
    let profile = Profile::up_to(Classification::Restricted);
    authority.enrol(&Node::new("fra/ncb").request(), &profile, now).unwrap();
    drop(authority);
    let path = dir.join("state.json");
    let text = fs::read_to_string(&path).unwrap();
    let raised = text.replacen("\"RESTRICTED\"", "\"SECRET\"", 1);
    assert_ne!(raised, text);
    fs::write(&path, raised).unwrap();
    let error = Authority::open(&dir, &passphrase()).unwrap_err().to_string();
    assert!(error.contains("was altered"), "{error}");
}

fn init(dir: &Path) -> Result<Authority, OpenError> {
    Authority::init(dir, &founding(), &passphrase(), now())
}

#[test]
fn an_init_that_was_cut_short_can_be_run_again_but_lost_state_is_not_papered_over() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("ca");
    fs::create_dir(&dir).unwrap();
    for name in ["init-unfinished", "lock", "directory.key", "issuing.key.new"] {
        fs::write(dir.join(name), "left behind").unwrap();
    }
    drop(init(&dir).unwrap());
    assert!(!dir.join("init-unfinished").exists() && mode(&dir) == 0o700);
    fs::remove_file(dir.join("state.json")).unwrap();
    let before = snapshot(&dir);
    assert!(matches!(init(&dir), Err(OpenError::StateLost(_))));
    assert_eq!(snapshot(&dir), before);
    let home = temp.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("letter.txt"), "kept").unwrap();
    let error = init(&home).unwrap_err().to_string();
    assert!(error.contains("letter.txt") && error.contains("new or empty folder"), "{error}");
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
    let below_a_file = home.join("letter.txt").join("ca");
    assert!(init(&below_a_file).is_err());
    assert_eq!(fs::read(home.join("letter.txt")).unwrap(), b"kept");
}

#[test]
fn a_broker_is_renewed_keeps_its_old_receipt_keys_and_has_endpoints_that_can_be_used() {
    let mut founded = Founded::new();
    let (now, name) = (founded.now, "b1".parse().unwrap());
    let authority = &mut founded.authority;
    for round in 1..=9_usize {
        authority.issue_broker(&name, vec!["b1.example:4433".to_owned()], now).unwrap();
        let listed = authority.publication(now).unwrap().directory.broker(&name).unwrap().receipt_keys.len();
        assert_eq!(listed, round.min(8), "a directory holds 8 keys of a broker");
    }
    authority.set_endpoints(&name, vec!["[2001:db8::1]:4433".to_owned()], now).unwrap();
    let endpoints = authority.publication(now).unwrap().directory.broker(&name).unwrap().endpoints.clone();
    assert_eq!(endpoints, ["[2001:db8::1]:4433"]);
    for bad in ["b1", "b1:0", "b1:70000", ":4433", "2001:db8::1:4433", "[b1]:4433", "b1:+443", "b 1:4433"] {
        refused(&mut founded, "is not an endpoint", |authority| {
            authority.set_endpoints(&name, vec![bad.to_owned()], now).map_err(|error| error.to_string())
        });
    }
    refused(&mut founded, "give 1 to 8 endpoints", |authority| {
        authority.issue_broker(&name, vec![], now).map(|_| ()).map_err(|error| error.to_string())
    });
    founded.authority.revoke(&member("b1"), RevocationReason::Superseded, now).unwrap();
    assert!(founded.authority.publication(now).unwrap().directory.broker(&name).is_none());
    refused(&mut founded, "was revoked", |authority| {
        authority.set_endpoints(&name, vec!["b:1".to_owned()], now).map_err(|error| error.to_string())
    });
    founded.authority.issue_broker(&name, vec!["b:1".to_owned()], now).unwrap();
    let listed =
        founded.authority.publication(now).unwrap().directory.broker(&name).unwrap().receipt_keys.len();
    assert_eq!(listed, 1, "keys of before the revocation are listed");
}

#[test]
fn g10_a_directory_holds_so_many_brokers_and_no_more() {
    let mut founded = Founded::new();
    for number in 0..BROKERS_MAX {
        let name = format!("b{number}").parse().unwrap();
        founded.authority.issue_broker(&name, vec!["b:1".to_owned()], founded.now).unwrap();
    }
    refused(&mut founded, "64 brokers are issued", |authority| {
        let issued = authority.issue_broker(&"one-more".parse().unwrap(), vec!["b:1".to_owned()], now());
        issued.map(|_| ()).map_err(|error| error.to_string())
    });
    let publication = founded.authority.publication(founded.now).unwrap();
    assert_eq!(publication.directory.content().brokers.len(), BROKERS_MAX);
}

#[test]
fn nobody_gets_a_bundle_who_is_not_enrolled() {
    let mut founded = Founded::new();
    let unknown = founded.authority.bundle(&agency("fra/ncb"), founded.now);
    assert!(matches!(unknown, Err(EnrolError::Unknown(_))), "{unknown:?}");
    refused(&mut founded, "fra/ncb is not enrolled", |authority| {
        authority.bundle(&agency("fra/ncb"), now()).map(|_| ()).map_err(|error| error.to_string())
    });
}

#[test]
fn an_authority_can_be_shared_by_the_threads_of_a_test() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&Founded::new().authority);
}
