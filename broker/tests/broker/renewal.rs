//! Renewal without hands: requests wait in the spool, certificates are handed out.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use valise_broker::server::{Broker, Spool};
use valise_proto::crypto::SigningKey;
use valise_proto::directory::KeyEntry;
use valise_proto::id::Timestamp;
use valise_proto::refusal::RefusalCode;
use valise_proto::renewal::{RENEWAL_BYTES_MAX, RenewalRequest, SignedRenewalRequest};
use valise_proto::wire::session::{Answer, Query};

use crate::fixture::{DAY, Exchange, Issued, agency, authority, issue, now, rng};
use crate::office::{Agency, Office, until};

/// A request of an agency's, which keeps its signing and sealing keys; the TLS key is a new one.
fn request(exchange: &Exchange, name: &str) -> (RenewalRequest, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = rcgen::CertificateParams::default();
    let uri = exchange.identity(name).to_string();
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    let member = &exchange.members[&agency(name)];
    let request = RenewalRequest {
        trust_domain: exchange.content.trust_domain.clone(),
        agency: agency(name),
        csr_der: Bytes::copy_from_slice(params.serialize_request(&key).unwrap().der()),
        signing_key: member.signing.verifying_key(),
        sealing_key: member.sealing.public().clone(),
        created_at: now(),
    };
    (request, key)
}

fn signed(exchange: &Exchange, request: RenewalRequest) -> SignedRenewalRequest {
    let key = &exchange.members[&request.agency].signing;
    request.sign(key, key)
}

pub fn in_order(exchange: &Exchange, name: &str) -> SignedRenewalRequest {
    signed(exchange, request(exchange, name).0)
}

pub async fn send(agency: &Agency, request: &SignedRenewalRequest) -> Answer {
    agency.query(Query::Renewal(request.encode())).await
}

async fn refusal(agency: &Agency, bytes: Bytes) -> RefusalCode {
    match agency.query(Query::Renewal(bytes)).await {
        Answer::Refusal(refusal) => {
            assert!(refusal.detail.len() > 10, "no sentence: {refusal}");
            refusal.code
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn spooled(office: &Office, name: &str) -> PathBuf {
    office.config.renewal_spool.join(format!("{}.pem", name.replace('/', ".")))
}

/// Puts certificates in the published folder, and has the broker look.
async fn publish(office: &Office, broker: &Broker, certificates: &[&Issued]) {
    let text: String = certificates.iter().map(|issued| issued.chain.as_str()).collect();
    office.write(&office.config.published_certificates(), text.as_bytes());
    broker.reload().await.unwrap();
}

fn der(issued: &Issued) -> Vec<Bytes> {
    pem::parse_many(&issued.chain)
        .unwrap()
        .into_iter()
        .map(|block| Bytes::from(block.into_contents()))
        .collect()
}

#[tokio::test]
async fn a_renewal_request_is_on_disk_when_it_is_answered_and_survives_a_crash() {
    let office = Office::of_three();
    let broker = office.start().await;
    let france = office.connect(&broker, "fra/ncb").await;
    let request = in_order(&office.exchange, "fra/ncb");
    assert_eq!(send(&france, &request).await, Answer::Spooled(request.digest()));
    let path = spooled(&office, "fra/ncb");
    let kept = SignedRenewalRequest::from_pem(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(kept, request);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&office.config.renewal_spool)), (0o600, 0o700));
    broker.kill().await;
    let broker = office.start().await;
    let status = broker.status().await.unwrap();
    assert_eq!(status.spool.waiting, 1, "a restart lost it");
    assert!(status.spool.oldest.unwrap() >= office.exchange.start.min(request.request().created_at));
    broker.stop().await;
}

#[tokio::test]
async fn the_same_request_again_is_no_error_and_a_newer_one_takes_its_place() {
    let office = Office::of_three();
    let broker = office.start().await;
    let france = office.connect(&broker, "fra/ncb").await;
    let older = in_order(&office.exchange, "fra/ncb");
    let newer = {
        let mut request = request(&office.exchange, "fra/ncb").0;
        request.created_at = older.request().created_at.plus(Duration::from_secs(1));
        signed(&office.exchange, request)
    };
    for request in [&older, &older, &newer] {
        assert_eq!(send(&france, request).await, Answer::Spooled(request.digest()));
    }
    assert_eq!(refusal(&france, older.encode()).await, RefusalCode::Expired, "an older one was put back");
    let contents = Spool::new(&office.config.renewal_spool).contents().unwrap();
    assert_eq!((contents.waiting.len(), contents.unreadable.len()), (1, 0));
    assert_eq!(contents.waiting[0].fingerprint, newer.fingerprint());
    broker.stop().await;
}

#[tokio::test]
async fn g01_nobody_has_a_request_kept_in_anothers_name_or_without_the_key() {
    let mut office = Office::of_three();
    let broker = office.start().await;
    let france = office.connect(&broker, "fra/ncb").await;
    let exchange = &mut office.exchange;
    let ours = |exchange: &Exchange| request(exchange, "fra/ncb").0;
    let signing = |exchange: &Exchange, name: &str| {
        SigningKey::from_pkcs8_pem(&exchange.members[&agency(name)].signing.to_pkcs8_pem().unwrap()).unwrap()
    };
    let stranger = SigningKey::generate(&mut rng());
    let mut elsewhere = ours(exchange);
    elsewhere.trust_domain = "elsewhere.example".parse().unwrap();
    let mut tomorrow = ours(exchange);
    tomorrow.created_at = now().plus(DAY);
    let mut no_csr = ours(exchange);
    no_csr.csr_der = Bytes::from_static(b"not a certificate request");
    let altered = {
        let mut bytes = in_order(exchange, "fra/ncb").encode().to_vec();
        // In the sealing key, which no signature but those over the whole looks at.
        let key = exchange.members[&agency("fra/ncb")].sealing.public().to_bytes();
        let at = bytes.windows(16).position(|window| window == &key[..16]).unwrap();
        bytes[at + 3] ^= 1;
        Bytes::from(bytes)
    };
    let (fra, ken) = (signing(exchange, "fra/ncb"), signing(exchange, "ken/ncb"));
    let bad = [
        ("another agency's", in_order(exchange, "ken/ncb").encode(), RefusalCode::NotOriginator),
        ("another exchange's", elsewhere.sign(&fra, &fra).encode(), RefusalCode::NotOriginator),
        ("signed by another agency", ours(exchange).sign(&ken, &fra).encode(), RefusalCode::KeyNotActive),
        ("signed by nobody", ours(exchange).sign(&stranger, &fra).encode(), RefusalCode::KeyNotActive),
        (
            "the brought key not held",
            ours(exchange).sign(&fra, &stranger).encode(),
            RefusalCode::BadSignature,
        ),
        ("altered", altered, RefusalCode::BadSignature),
        ("from the future", tomorrow.sign(&fra, &fra).encode(), RefusalCode::ClockSkew),
        ("no PKCS#10", no_csr.sign(&fra, &fra).encode(), RefusalCode::Malformed),
        ("no request", Bytes::from_static(b"\xff\xff"), RefusalCode::Malformed),
        ("too long", vec![0; RENEWAL_BYTES_MAX + 1].into(), RefusalCode::TooLarge),
    ];
    for (what, bytes, code) in bad {
        // A connection each would do as well; what counts is the agency.
        assert_eq!(refusal(&france, bytes).await, code, "{what}");
    }
    assert_eq!(broker.status().await.unwrap().spool.waiting, 0, "a refusal changed something");
    broker.stop().await;
}

#[tokio::test]
async fn g10_an_agency_that_floods_is_told_when_to_try_again_and_others_are_served() {
    let office = Office::of_three();
    let broker = office.start().await;
    let france = office.connect(&broker, "fra/ncb").await;
    let request = in_order(&office.exchange, "fra/ncb");
    for _ in 0..10 {
        assert_eq!(send(&france, &request).await, Answer::Spooled(request.digest()));
    }
    let Answer::Refusal(refused) = send(&france, &request).await else { panic!("not refused") };
    assert_eq!(refused.code, RefusalCode::Quota);
    assert!(refused.retry_after.is_some_and(|after| after <= Duration::from_secs(60)), "{refused:?}");
    let kenya = office.connect(&broker, "ken/ncb").await;
    let other = in_order(&office.exchange, "ken/ncb");
    assert_eq!(send(&kenya, &other).await, Answer::Spooled(other.digest()));
    broker.stop().await;
}

#[tokio::test]
async fn g12_a_spool_that_cannot_be_written_is_said_so_and_takes_requests_again_when_it_is_mended() {
    let office = Office::of_three();
    let broker = office.start().await;
    let france = office.connect(&broker, "fra/ncb").await;
    std::fs::remove_dir(&office.config.renewal_spool).unwrap();
    let request = in_order(&office.exchange, "fra/ncb");
    assert_eq!(refusal(&france, request.encode()).await, RefusalCode::StoreUnavailable);
    std::fs::create_dir(&office.config.renewal_spool).unwrap();
    // What a power cut left of something else must not be in the way.
    std::fs::write(spooled(&office, "fra/ncb"), b"-----BEGIN").unwrap();
    assert_eq!(send(&france, &request).await, Answer::Spooled(request.digest()));
    broker.stop().await;
}

#[tokio::test]
async fn an_agency_is_given_its_own_newest_certificate_and_its_request_is_done_with() {
    let office = Office::of_three();
    let broker = office.start().await;
    let france = office.connect(&broker, "fra/ncb").await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    assert_eq!(
        france.query(Query::Certificate).await,
        Answer::Certificate(Vec::new()),
        "nothing was published"
    );
    let (wanted, key) = request(&office.exchange, "fra/ncb");
    let wanted = signed(&office.exchange, wanted);
    send(&france, &wanted).await;
    send(&kenya, &in_order(&office.exchange, "ken/ncb")).await;
    let of = |name: &str, serial| office.exchange.issue(&office.exchange.identity(name), serial);
    let (france_before, kenya_before) = (of("fra/ncb", 500), of("ken/ncb", 501));
    publish(&office, &broker, &[&france_before, &kenya_before]).await;
    assert_eq!(france.query(Query::Certificate).await, Answer::Certificate(der(&france_before)));
    assert_eq!(
        broker.status().await.unwrap().spool.waiting,
        2,
        "a certificate of another key grants nothing"
    );

    let granted = office.exchange.issue_for(&office.exchange.identity("fra/ncb"), 502, key, now());
    publish(&office, &broker, &[&granted, &france_before, &kenya_before]).await;
    assert_eq!(france.query(Query::Certificate).await, Answer::Certificate(der(&granted)));
    assert_eq!(kenya.query(Query::Certificate).await, Answer::Certificate(der(&kenya_before)));
    assert_eq!(broker.status().await.unwrap().spool.waiting, 1);
    assert!(!spooled(&office, "fra/ncb").exists() && spooled(&office, "ken/ncb").exists());
    broker.stop().await;
}

#[tokio::test]
async fn g12_no_certificate_is_handed_out_that_no_node_would_accept() {
    let office = Office::of_three();
    let broker = office.start().await;
    let france = office.connect(&broker, "fra/ncb").await;
    let identity = office.exchange.identity("fra/ncb");
    let in_order = office.exchange.issue(&identity, 500);
    let foreign = issue(&authority(), &identity, 501);
    publish(&office, &broker, &[&foreign]).await;
    assert_eq!(
        france.query(Query::Certificate).await,
        Answer::Certificate(Vec::new()),
        "another authority's"
    );
    publish(&office, &broker, &[&foreign, &in_order]).await;
    assert_eq!(france.query(Query::Certificate).await, Answer::Certificate(der(&in_order)));
    // Revoked by lists that come later than the certificate.
    office.publish_crl(2, &[500]);
    broker.reload().await.unwrap();
    assert_eq!(france.query(Query::Certificate).await, Answer::Certificate(Vec::new()), "a revoked one");
    broker.stop().await;
}

#[tokio::test]
async fn g12_a_broken_file_of_certificates_is_named_and_the_last_good_one_is_served() {
    let mut office = Office::of_three();
    office.config.reload_interval = DAY;
    let broker = office.start().await;
    let france = office.connect(&broker, "fra/ncb").await;
    let good = office.exchange.issue(&office.exchange.identity("fra/ncb"), 500);
    publish(&office, &broker, &[&good]).await;
    let key = pem::encode(&pem::Pem::new("PRIVATE KEY", good.key.clone()));
    for bad in [b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".as_slice(), key.as_bytes()]
    {
        office.write(&office.config.published_certificates(), bad);
        let error = broker.reload().await.unwrap_err().to_string();
        assert!(error.contains("certificates.pem") && error.contains("valise-ca publish"), "{error}");
        assert_eq!(france.query(Query::Certificate).await, Answer::Certificate(der(&good)));
    }
    broker.stop().await;
    let checked = valise_broker::server::check(&office.config).unwrap();
    assert!(checked.warnings[0].to_string().contains("certificates.pem"), "{:?}", checked.warnings);
    // It keeps nobody from running.
    let broker = office.start().await;
    std::fs::remove_file(office.config.published_certificates()).unwrap();
    broker.reload().await.unwrap();
    broker.stop().await;
}

#[tokio::test]
async fn what_was_granted_while_the_broker_stood_still_is_done_with_at_its_start() {
    let office = Office::of_three();
    let broker = office.start().await;
    let france = office.connect(&broker, "fra/ncb").await;
    let (mut wanted, key) = request(&office.exchange, "fra/ncb");
    wanted.created_at = Timestamp::from_millis(now().millis() - 3_600_000);
    send(&france, &signed(&office.exchange, wanted)).await;
    send(&office.connect(&broker, "ken/ncb").await, &in_order(&office.exchange, "ken/ncb")).await;
    broker.stop().await;
    let granted = office.exchange.issue_for(&office.exchange.identity("fra/ncb"), 502, key, now());
    office.write(&office.config.published_certificates(), granted.chain.as_bytes());
    let broker = office.start().await;
    assert!(!spooled(&office, "fra/ncb").exists() && spooled(&office, "ken/ncb").exists());
    until(&broker, "one request", |status| status.spool.waiting == 1).await;
    broker.stop().await;
}

/// A certificate of the TLS key may be the answer to an earlier request; the keys it brings are not listed yet.
#[tokio::test]
async fn a_request_for_other_keys_waits_until_the_directory_lists_them() {
    let mut office = Office::of_three();
    office.config.reload_interval = DAY;
    let broker = office.start().await;
    let france = office.connect(&broker, "fra/ncb").await;
    let (mut wanted, key) = request(&office.exchange, "fra/ncb");
    let next = SigningKey::generate(&mut rng());
    wanted.signing_key = next.verifying_key();
    let wanted = wanted.sign(&office.exchange.members[&agency("fra/ncb")].signing, &next);
    send(&france, &wanted).await;
    let issued = office.exchange.issue_for(&office.exchange.identity("fra/ncb"), 502, key, now());
    publish(&office, &broker, &[&issued]).await;
    assert_eq!(broker.status().await.unwrap().spool.waiting, 1, "its signing key is not listed");
    let entry = office.exchange.content.agencies.get_mut(&agency("fra/ncb")).unwrap();
    let listed = KeyEntry {
        key_id: next.verifying_key().key_id(),
        key: next.verifying_key(),
        ..entry.signing_keys[0].clone()
    };
    entry.signing_keys.push(listed);
    office.exchange.content.version += 1;
    office.publish();
    broker.reload().await.unwrap();
    assert_eq!(broker.status().await.unwrap().spool.waiting, 0, "it is granted now");
    broker.stop().await;
}
