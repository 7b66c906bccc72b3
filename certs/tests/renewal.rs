//! Renewal without hands, on the authority's side.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::fs;
use std::path::Path;

use common::judge::{chain_of, client, verify};
use common::tool::Case;
use common::{DAY, Founded, Node, agency, csr, earlier, member, now, passphrase, snapshot, text};
use rcgen::{KeyPair, SanType};
use valise_certs::authority::{KEY_OVERLAP, RenewError};
use valise_certs::{Authority, Profile, RevocationReason};
use valise_proto::directory::{Directory, KEYS_MAX};
use valise_proto::enrolment::Trust;
use valise_proto::label::Classification;
use valise_proto::renewal::SignedRenewalRequest;

fn secret() -> Profile {
    Profile::up_to(Classification::Secret)
}

/// A refusal must leave the folder as it was.
fn refused(founded: &mut Founded, request: &SignedRenewalRequest, sentence: &str) {
    let before = snapshot(&founded.dir);
    let error = founded.authority.renew(request, founded.now).expect_err(sentence);
    assert!(error.is_refusal() && error.to_string().contains(sentence), "`{sentence}` is not in: {error}");
    assert_eq!(snapshot(&founded.dir), before, "{error}");
}

#[test]
fn a_renewal_brings_a_certificate_and_new_keys_take_over_while_the_old_still_count() {
    let Founded { temp: _temp, mut authority, now: start, .. } = Founded::new();
    let (old, new) = (Node::new("fra/ncb"), Node::new("fra/ncb"));
    authority.enrol(&old.request(), &secret(), start).unwrap();
    let now = start.plus(60 * DAY);
    let request = old.renewal(&new, now);
    let renewed = authority.renew(&request, now).unwrap();
    assert_eq!((renewed.new_keys.as_slice(), renewed.before), (&["TLS", "signing", "sealing"][..], false));
    let publication = authority.publication(now).unwrap();
    // What the broker hands out is what a node accepts.
    let [leaf, issuing] = &publication.certificates[..] else { panic!("{:?}", publication.certificates) };
    assert_eq!(chain_of(&publication.certificates_pem()), [leaf.clone(), issuing.clone()]);
    assert_eq!(verify(&publication, &[leaf.clone(), issuing.clone()], client(), now), Ok(()));
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).unwrap();
    assert_eq!(parsed.public_key().subject_public_key.data.as_ref(), new.tls.public_key_raw());
    // A first bit that is set is written after a zero byte: the number is positive.
    assert!(hex::encode(parsed.raw_serial()).ends_with(&renewed.serial.to_string()));
    // Peers that do not know the new keys yet, and notices under way, lose nothing.
    let entry = publication.directory.agency(&old.id).unwrap();
    let sealing = |at| entry.sealing_key_at(at).unwrap().key_id;
    assert_eq!(sealing(now), new.sealing.public().key_id());
    assert!(entry.sealing_keys.iter().any(|key| key.key_id == old.sealing.public().key_id()));
    for key in [old.signing.key_id(), new.signing.key_id()] {
        assert!(entry.signing_key_at(key, now.plus(KEY_OVERLAP)).is_some(), "{key} does not count");
    }
    let after = now.plus(KEY_OVERLAP).plus(DAY);
    assert!(entry.signing_key_at(old.signing.key_id(), after).is_none(), "it counts for ever");
    let listed = |authority: &mut Authority, at| {
        let directory = authority.publication(at).unwrap().directory;
        let entry = directory.agency(&agency("fra/ncb")).unwrap().clone();
        (entry.signing_keys.len(), entry.sealing_keys.len())
    };
    assert_eq!(
        listed(&mut authority, after),
        (2, 1),
        "old signatures are verified, nobody seals to the old key"
    );
    assert_eq!(listed(&mut authority, after.plus(366 * DAY)), (1, 1));
}

#[test]
fn a_renewal_with_the_keys_of_now_lets_them_count_on() {
    let Founded { temp: _temp, mut authority, now: start, .. } = Founded::new();
    let node = Node::new("fra/ncb");
    authority.enrol(&node.request(), &secret(), start).unwrap();
    let now = start.plus(60 * DAY);
    let renewed = authority.renew(&node.renewal(&node, now), now).unwrap();
    assert!(renewed.new_keys.is_empty() && renewed.not_after > start.plus(149 * DAY), "{renewed:?}");
    let entry = authority.publication(now).unwrap().directory.agency(&node.id).unwrap().clone();
    assert_eq!(entry.signing_keys.len(), 1);
    assert!(entry.signing_keys[0].is_valid_at(start.plus(789 * DAY)));
}

#[test]
fn the_same_request_again_is_granted_without_another_certificate_and_an_older_one_never() {
    let mut founded = Founded::new();
    let (start, node) = (founded.now, Node::new("fra/ncb"));
    founded.authority.enrol(&node.request(), &secret(), start).unwrap();
    let request = node.renewal(&node, start);
    let first = founded.authority.renew(&request, start).unwrap();
    let before = snapshot(&founded.dir);
    let again = founded.authority.renew(&request, start).unwrap();
    assert!(again.before && again.serial == first.serial, "{again:?}");
    assert_eq!(snapshot(&founded.dir), before);
    let new = Node::new("fra/ncb");
    refused(&mut founded, &node.renewal(&new, start), "was granted before");
    refused(&mut founded, &node.renewal(&new, earlier(start, DAY)), "was granted before");
    let ahead = node.renewal(&new, start.plus(DAY));
    refused(&mut founded, &ahead, "ahead of this machine's clock");
}

#[test]
fn g01_only_the_agency_itself_is_renewed_and_only_while_it_takes_part() {
    let mut founded = Founded::new();
    let (start, fra, ken) = (founded.now, Node::new("fra/ncb"), Node::new("ken/ncb"));
    for node in [&fra, &ken] {
        founded.authority.enrol(&node.request(), &secret(), start).unwrap();
    }
    let new = Node::new("fra/ncb");
    let others = ken.renewal_with(&new, start, |request| request.agency = fra.id.clone());
    refused(&mut founded, &others, "is not the signing key of fra/ncb");
    let domain = fra.renewal_with(&new, start, |request| {
        request.trust_domain = "other.example".parse().unwrap();
    });
    refused(&mut founded, &domain, "trust domain other.example");
    refused(&mut founded, &Node::new("tur/border").renewal(&new, start), "is not enrolled");
    // The second node is a copy that somebody else made keys for.
    refused(&mut founded, &new.renewal(&new, start), "is not the signing key of fra/ncb");
    founded.authority.suspend(&fra.id, start).unwrap();
    refused(&mut founded, &fra.renewal(&new, start), "fra/ncb is SUSPENDED");
    founded.authority.revoke(&member("fra/ncb"), RevocationReason::KeyCompromise, start).unwrap();
    refused(&mut founded, &fra.renewal(&new, start), "fra/ncb is REVOKED");
}

#[test]
fn g01_a_signing_key_that_was_given_up_renews_nothing_though_it_is_listed_still() {
    let mut founded = Founded::new();
    let (start, old, new) = (founded.now, Node::new("fra/ncb"), Node::new("fra/ncb"));
    founded.authority.enrol(&old.request(), &secret(), start).unwrap();
    let granted = old.renewal(&new, start);
    founded.authority.renew(&granted, start).unwrap();
    founded.now = start.plus(DAY);
    let entry = founded.authority.publication(start).unwrap().directory.agency(&old.id).unwrap().clone();
    assert!(entry.signing_key_at(old.signing.key_id(), founded.now).is_some(), "it does not overlap");
    let theirs = Node::new("fra/ncb");
    let before = snapshot(&founded.dir);
    let error = founded.authority.renew(&old.renewal(&theirs, founded.now), founded.now).unwrap_err();
    assert!(matches!(error, RenewError::Request(_)), "{error}");
    assert_eq!(snapshot(&founded.dir), before);
    // Who was interrupted asks again with the same request, and the key of now goes on.
    assert!(founded.authority.renew(&granted, founded.now).unwrap().before);
    founded.authority.renew(&new.renewal(&theirs, founded.now), founded.now).unwrap();
}

#[test]
fn g01_no_key_is_taken_that_is_not_the_agencys_own_or_was_given_up() {
    let mut founded = Founded::new();
    let (start, fra, ken) = (founded.now, Node::new("fra/ncb"), Node::new("ken/ncb"));
    for node in [&fra, &ken] {
        founded.authority.enrol(&node.request(), &secret(), start).unwrap();
    }
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let shaped = |shape: &dyn Fn(&mut valise_proto::renewal::RenewalRequest)| {
        fra.renewal_with(&fra, start, |request| shape(request))
    };
    let sealing = shaped(&|request| request.sealing_key = ken.sealing.public().clone());
    refused(&mut founded, &sealing, "belongs to ken/ncb already");
    let tls = shaped(&|request| request.csr_der = csr(&ken.tls, &[uri(&fra.identity().to_string())]));
    refused(&mut founded, &tls, "belongs to ken/ncb already");
    let name = shaped(&|request| request.csr_der = ken.csr());
    refused(&mut founded, &name, "must name spiffe://exchange.example/agency/fra/ncb");
    let p256 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let p256 = shaped(&|request| request.csr_der = csr(&p256, &[uri(&fra.identity().to_string())]));
    refused(&mut founded, &p256, "Ed25519 keys only");
    let one = KeyPair::from_pem(&fra.signing.to_pkcs8_pem().unwrap()).unwrap();
    let one = shaped(&|request| request.csr_der = csr(&one, &[uri(&fra.identity().to_string())]));
    refused(&mut founded, &one, "belongs to fra/ncb already");
    // Keys that others took over from never come back.
    let new = Node::new("fra/ncb");
    founded.authority.renew(&fra.renewal(&new, start), start).unwrap();
    founded.now = start.plus(DAY);
    let back = new.renewal_with(&new, founded.now, |request| request.csr_der = fra.csr());
    refused(&mut founded, &back, "was revoked or given up before");
    let back =
        new.renewal_with(&new, founded.now, |request| request.sealing_key = fra.sealing.public().clone());
    refused(&mut founded, &back, "belongs to fra/ncb already");
}

#[test]
fn g10_so_many_former_keys_are_listed_and_no_more() {
    let mut founded = Founded::new();
    let mut node = Node::new("fra/ncb");
    founded.authority.enrol(&node.request(), &secret(), founded.now).unwrap();
    for _ in 1..KEYS_MAX {
        founded.now = founded.now.plus(8 * DAY);
        let next = Node::new("fra/ncb");
        founded.authority.renew(&node.renewal(&next, founded.now), founded.now).unwrap();
        node = next;
    }
    founded.now = founded.now.plus(8 * DAY);
    let entry =
        founded.authority.publication(founded.now).unwrap().directory.agency(&node.id).unwrap().clone();
    assert_eq!(entry.signing_keys.len(), KEYS_MAX);
    let next = Node::new("fra/ncb");
    let request = node.renewal(&next, founded.now);
    refused(&mut founded, &request, "8 signing keys listed");
    // With the key of now it goes on.
    let (at, same) = (founded.now, node.renewal(&node, founded.now));
    founded.authority.renew(&same, at).unwrap();
}

#[test]
fn a_lost_tls_key_is_exchanged_by_a_renewal_carried_by_hand() {
    let mut founded = Founded::new();
    let (start, node) = (founded.now, Node::new("fra/ncb"));
    founded.authority.enrol(&node.request(), &secret(), start).unwrap();
    let view =
        serde_json::to_value(founded.authority.register().member(&member("fra/ncb")).unwrap()).unwrap();
    let serial = view["certificates"][0]["serial"].as_str().unwrap().parse().unwrap();
    founded.authority.revoke_certificate(serial, RevocationReason::KeyCompromise, start, start).unwrap();
    assert_eq!(
        founded.authority.publication(start).unwrap().certificates.len(),
        1,
        "a revoked one is handed out"
    );
    refused(&mut founded, &node.renewal(&node, start), "was revoked or given up before");
    let tls = Node::new("fra/ncb");
    let other = node.renewal_with(&node, start, |request| request.csr_der = tls.csr());
    founded.authority.renew(&other, start).unwrap();
    let publication = founded.authority.publication(start).unwrap();
    assert_eq!(verify(&publication, &publication.certificates, client(), start), Ok(()));
}

#[test]
fn an_error_that_is_not_the_requests_fault_is_no_refusal() {
    let mut founded = Founded::new();
    let node = Node::new("fra/ncb");
    founded.authority.enrol(&node.request(), &secret(), founded.now).unwrap();
    let request = node.renewal(&node, founded.now);
    let error = founded.authority.renew(&request, earlier(founded.now, DAY)).unwrap_err();
    assert!(matches!(error, RenewError::Sign(_)) && !error.is_refusal(), "{error}");
}

/// An authority of three agencies, and a spool with requests of two of them.
struct Spool {
    case: Case,
    fra: Node,
    ken: Node,
}

impl Spool {
    fn new() -> Self {
        let (case, fra, ken) = (Case::new(), Node::new("fra/ncb"), Node::new("ken/ncb"));
        let mut authority = Authority::open(&case.dir, &passphrase()).unwrap();
        for node in [&fra, &ken] {
            authority.enrol(&node.request(), &secret(), now()).unwrap();
        }
        fs::create_dir(case.temp.path().join("spool")).unwrap();
        Self { case, fra, ken }
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.case.temp.path().join("spool").join(name), text).unwrap();
    }

    fn renew(&self) -> (Option<i32>, serde_json::Value) {
        let (spool, out) = (self.case.path("spool"), self.case.path("published"));
        let ran = self.case.run(&["renew", "--spool", &spool, "--out", &out, "--json"]);
        let told = serde_json::from_slice(&ran.stdout).expect("what it prints is JSON");
        (ran.status.code(), told)
    }

    /// The files of a folder below the spool.
    fn names(&self, folder: &str) -> Vec<String> {
        let folder = self.case.temp.path().join("spool").join(folder);
        let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
        let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        let mut names: Vec<_> =
            files.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    fn published(&self) -> Directory {
        read_directory(&self.case.temp.path().join("published"))
    }
}

fn read_directory(folder: &Path) -> Directory {
    let trust = Trust::from_pem(&fs::read_to_string(folder.join("trust.pem")).unwrap()).unwrap();
    Directory::verify(fs::read(folder.join("directory.valise")).unwrap().into(), &trust).unwrap()
}

#[test]
fn a_spool_is_worked_through_what_is_refused_is_told_why_and_nothing_is_lost() {
    let spool = Spool::new();
    let new = Node::new("fra/ncb");
    spool.put("fra.ncb.pem", &spool.fra.renewal(&new, now()).to_pem());
    let altered = spool.ken.renewal(&spool.ken, now()).to_pem().replacen('A', "B", 1);
    spool.put("ken.ncb.pem", &altered);
    spool.put("tur.border.pem", &Node::new("tur/border").renewal(&new, now()).to_pem());
    spool.put("long.pem", &"x".repeat(10_000));
    spool.put("notes.txt", "kept");
    let (code, told) = spool.renew();
    assert_eq!(code, Some(3), "{told}");
    assert_eq!(told["issued"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["issued"][0]["agency"], "fra/ncb");
    assert_eq!(told["refused"].as_array().unwrap().len(), 3, "{told}");
    assert_eq!(spool.names(""), ["notes.txt"]);
    assert_eq!(spool.names("done").len(), 1);
    let refused = spool.names("refused");
    assert_eq!(refused.iter().filter(|name| name.ends_with(".txt")).count(), 3, "{refused:?}");
    let of_tur = refused.iter().find(|name| name.starts_with("tur") && name.ends_with(".txt")).unwrap();
    let reason = fs::read_to_string(spool.case.temp.path().join("spool/refused").join(of_tur)).unwrap();
    assert!(reason.contains("tur/border is not enrolled"), "{reason}");
    let listed = spool.published().agency(&agency("fra/ncb")).unwrap().signing_keys.len();
    assert_eq!(listed, 2);
    // Again, there is nothing to do, and nothing is done.
    let before = snapshot(spool.case.temp.path());
    let (code, told) = spool.renew();
    assert_eq!((code, &told["published"]), (Some(0), &serde_json::Value::Null), "{told}");
    assert_eq!(snapshot(spool.case.temp.path()), before);
}

#[test]
fn an_interrupted_renewal_is_finished_by_running_it_again() {
    let spool = Spool::new();
    let request = spool.fra.renewal(&spool.fra, now()).to_pem();
    spool.put("fra.ncb.pem", &request);
    // The directory cannot be put in place: all is granted, and nothing is published or moved.
    let blocked = spool.case.temp.path().join("published/directory.valise/taken");
    fs::create_dir_all(&blocked).unwrap();
    let ran = spool.case.run(&[
        "renew",
        "--spool",
        &spool.case.path("spool"),
        "--out",
        &spool.case.path("published"),
    ]);
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stderr));
    assert!(text(&ran.stderr).contains("directory.valise"), "{}", text(&ran.stderr));
    assert_eq!(spool.names(""), ["fra.ncb.pem"]);
    fs::remove_dir_all(blocked.parent().unwrap()).unwrap();
    let (code, told) = spool.renew();
    assert_eq!((code, &told["issued"][0]["before"]), (Some(0), &true.into()), "{told}");
    assert_eq!(spool.names("done").len(), 1);
    let certificates = spool.case.json(&["show", "fra/ncb"])["certificates"].as_array().unwrap().len();
    assert_eq!(certificates, 2, "it was issued twice");
    // A copy that comes by another way does no harm, and puts nothing away over what is there.
    spool.put("fra.ncb.pem", &request);
    let (code, told) = spool.renew();
    assert_eq!((code, &told["issued"][0]["before"]), (Some(0), &true.into()), "{told}");
    assert_eq!(spool.names("done").len(), 2);
}

#[test]
fn a_publication_that_is_cut_short_leaves_what_counts_and_the_next_completes_it() {
    let case = Case::new();
    let node = Node::new("fra/ncb");
    let mut authority = Authority::open(&case.dir, &passphrase()).unwrap();
    authority.enrol(&node.request(), &secret(), now()).unwrap();
    drop(authority);
    let out = case.temp.path().join("published");
    let publish = || case.run(&["publish", "--out", out.to_str().unwrap()]);
    assert!(publish().status.success());
    let first = read_directory(&out).version();
    for (rank, name) in ["certificates.pem", "trust.pem", "crls.pem", "directory.valise"].iter().enumerate() {
        let kept = fs::read(out.join("directory.valise")).unwrap();
        let path = out.join(format!("{name}.new"));
        // The place where the file would be written first.
        fs::create_dir(&path).unwrap();
        let ran = publish();
        assert_eq!(ran.status.code(), Some(1), "{name}");
        assert!(text(&ran.stderr).contains(name), "{name}: {}", text(&ran.stderr));
        fs::remove_dir(&path).unwrap();
        // The directory, which lets everything else count, comes last.
        assert_eq!(fs::read(out.join("directory.valise")).unwrap(), kept, "{name}, file {rank}");
        assert!(read_directory(&out).check_fresh(now()).is_ok());
        let chain = chain_of(&fs::read_to_string(out.join("certificates.pem")).unwrap());
        assert_eq!(chain.len(), 2);
        assert!(publish().status.success(), "{name}");
        assert!(read_directory(&out).version() > first);
    }
    let copy = case.dir.join("published");
    assert_eq!(
        snapshot(&copy).into_values().collect::<Vec<_>>(),
        snapshot(&out).into_values().collect::<Vec<_>>()
    );
}

#[test]
fn g12_one_bad_file_of_a_spool_spoils_nothing_and_fakes_no_line() {
    let spool = Spool::new();
    let long = format!("{}.pem", "\u{e9}".repeat(125));
    spool.put(&long, &spool.fra.renewal(&Node::new("fra/ncb"), now()).to_pem());
    spool.put("x\ntur_border renewed: certificate 00.pem", "nothing");
    // A folder that refused files cannot go to: one stands there as a file.
    spool.put("refused", "in the way");
    let (dir, out) = (spool.case.path("spool"), spool.case.path("published"));
    let ran = spool.case.run(&["renew", "--spool", &dir, "--out", &out]);
    let (told, warned) = (text(&ran.stdout), text(&ran.stderr));
    assert_eq!(ran.status.code(), Some(3), "{told}{warned}");
    assert!(told.contains("fra/ncb renewed: certificate"), "{told}");
    assert!(told.contains("x\\ntur_border") && !told.contains("\ntur_border"), "{told}");
    assert!(warned.contains("stays in the spool") && warned.lines().count() == 1, "{warned}");
    assert_eq!(spool.names("done").len(), 1, "the long name");
    assert_eq!(spool.names("").len(), 2, "what cannot be moved stays: {:?}", spool.names(""));
    assert!(spool.published().agency(&agency("fra/ncb")).is_some());
}

#[test]
fn g12_a_request_that_is_old_or_was_withheld_is_refused() {
    let mut founded = Founded::new();
    let (start, node) = (founded.now, Node::new("fra/ncb"));
    founded.authority.enrol(&node.request(), &secret(), start).unwrap();
    let withheld = node.renewal(&Node::new("fra/ncb"), start);
    founded.now = start.plus(31 * DAY);
    refused(&mut founded, &withheld, "older than 30 days");
    // A bundle with a new certificate came in between.
    let at = start.plus(61 * DAY);
    let withheld = node.renewal(&Node::new("fra/ncb"), at);
    founded.now = at.plus(DAY);
    founded.authority.bundle(&node.id, founded.now).unwrap();
    refused(&mut founded, &withheld, "was granted before");
    let at = founded.now.plus(DAY);
    founded.authority.renew(&node.renewal(&Node::new("fra/ncb"), at), at).unwrap();
}
