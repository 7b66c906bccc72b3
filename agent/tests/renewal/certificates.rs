//! Which request leaves, how often, and which certificates are taken.

use bytes::Bytes;
use valise_proto::crypto::SigningKey;
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::renewal::SignedRenewalRequest;
use valise_proto::wire::session::{Publication, SessionFrame};

use crate::case::{Case, FRANCE, LONG, der, office_of, or, until, waning, young};
use crate::exchange::Broker;
use crate::fixture::{AGENCY_SERIAL, DAY, Exchange, agency, ago, now, rng};

#[tokio::test]
async fn g12_from_two_thirds_on_one_request_leaves_and_stays_the_same_until_it_is_answered() {
    let mut case = Case::of_life(waning()).await;
    let request = case.spooled(1).await;
    let kept = String::from_utf8(case.file("renewal-request.pem")).unwrap();
    assert_eq!(SignedRenewalRequest::from_pem(&kept).unwrap().encode(), request.encode());
    let entry = case.office.exchange.content.agencies[&agency(FRANCE)].clone();
    request.verify_by(&entry, now()).unwrap();
    let spooled = async || {
        let by = case.status().await.renewal.unwrap().spooled_by;
        or(by.is_some(), by.clone(), by)
    };
    assert_eq!(
        until("the note of the spool", spooled).await.unwrap(),
        case.office.exchange.broker().to_string()
    );

    // Connected anew, and started anew: the broker keeps it, so it is not handed over again, nor is another made.
    case.broker.say(SessionFrame::Goodbye(None));
    case.sessions(2).await;
    case.node.stop().await;
    case.node = case.office.start(FRANCE, Some(&case.broker)).await;
    case.sessions(3).await;
    case.receives().await;
    assert_eq!(case.broker.held.lock().unwrap().spooled.len(), 1);
    assert_eq!(case.file("renewal-request.pem"), kept.as_bytes());

    case.grant(&request);
    let answered = async || {
        let status = case.status().await;
        or(status.renewal.is_none(), status.certificate.clone(), status.certificate)
    };
    let certificate = until("the end of the request", answered).await;
    assert!(certificate.not_after > now().plus(80 * DAY), "{certificate:?}");
    assert!(!case.office.data(FRANCE).join("renewal-request.pem").exists());
    case.receives().await;
    case.node.stop().await;
}

#[tokio::test]
async fn before_two_thirds_nothing_is_asked_for() {
    let case = Case::of_life(young()).await;
    case.receives().await;
    assert_eq!(case.status().await.renewal, None);
    assert!(case.broker.held.lock().unwrap().spooled.is_empty());
    case.node.stop().await;
}

#[tokio::test]
async fn g12_a_refused_request_is_told_with_the_reason_and_nothing_else_stops() {
    let office = office_of(waning());
    let broker = Broker::start(&office.exchange);
    let refusal = Refusal::new(RefusalCode::Quota, "one request an hour");
    broker.held.lock().unwrap().refuse_renewals = Some(refusal);
    let node = office.start(FRANCE, Some(&broker)).await;
    let case = Case { office, broker, node };
    let told = async || {
        let refused = case.status().await.renewal.and_then(|renewal| renewal.refused);
        or(refused.is_some(), refused.clone(), refused)
    };
    let refused = until("the refusal", told).await.unwrap();
    assert!(refused.reason.contains("one request an hour"), "{refused:?}");
    case.receives().await;
    case.node.stop().await;
}

/// Offers what `forge` makes of the request, and checks that the certificate in use stays, with this reason.
async fn chain_is_refused(reason: &str, forge: impl FnOnce(&mut Exchange, &SignedRenewalRequest) -> Bytes) {
    let mut case = Case::of_life(waning()).await;
    let request = case.spooled(1).await;
    let held = case.file("tls.crt");
    let forged = forge(&mut case.office.exchange, &request);
    case.office.exchange.content.version += 1;
    case.publish(vec![forged]);
    let told = async || {
        let refused = case.status().await.certificate.refused.map(|no| no.reason).unwrap_or_default();
        or(refused.contains(reason), refused.clone(), refused)
    };
    until(reason, told).await;
    assert_eq!(case.file("tls.crt"), held, "another certificate is in place");
    assert!(case.node.connected(LONG).await);
    // The true one is taken all the same.
    let leaf = case.grant(&request);
    let taken = async || or(der(&case.file("tls.crt")) == leaf, (), ());
    until("the true certificate", taken).await;
    case.receives().await;
    assert_eq!(case.status().await.certificate.refused, None);
    case.node.stop().await;
}

fn request_of(name: &str, key: &rcgen::KeyPair) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(name.to_owned().try_into().unwrap())];
    params.serialize_request(key).unwrap().der().to_vec()
}

#[tokio::test]
async fn g12_a_certificate_for_a_key_that_is_not_here() {
    chain_is_refused("a TLS key that this node does not hold", |exchange, _| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        exchange.life = Some((ago(DAY), now().plus(90 * DAY)));
        exchange.certify(&request_of(&exchange.identity(&agency(FRANCE)).to_string(), &key))
    })
    .await;
}

#[tokio::test]
async fn g12_a_certificate_of_an_authority_nobody_trusts() {
    chain_is_refused("an authority this node does not trust", |exchange, request| {
        let life = Some((ago(DAY), now().plus(90 * DAY)));
        let other = Exchange { life, ..Exchange::named("Nobody's authority") };
        let _ = exchange;
        other.certify(&request.request().csr_der)
    })
    .await;
}

#[tokio::test]
async fn g12_a_certificate_that_does_not_count_yet() {
    chain_is_refused("counts only from", |exchange, request| {
        exchange.life = Some((now().plus(DAY), now().plus(90 * DAY)));
        exchange.certify(&request.request().csr_der)
    })
    .await;
}

#[tokio::test]
async fn g12_a_certificate_that_is_revoked_already() {
    let mut case = Case::of_life(waning()).await;
    let request = case.spooled(1).await;
    let held = case.file("tls.crt");
    let revoking = case.office.exchange.crl_of(2, &[AGENCY_SERIAL + 1]);
    case.broker.say(SessionFrame::Publication(Publication { directory: Bytes::new(), crls: vec![revoking] }));
    let in_force = async || or(case.file("crls.pem").len() > 300, (), ());
    until("the list", in_force).await;
    case.office.exchange.life = Some((ago(DAY), now().plus(90 * DAY)));
    let revoked = case.office.exchange.certify_as(&request.request().csr_der, AGENCY_SERIAL + 1);
    case.office.exchange.content.version += 1;
    case.publish(vec![revoked]);
    let told = async || {
        let refused = case.status().await.certificate.refused.map(|no| no.reason).unwrap_or_default();
        or(refused.contains("has been revoked"), refused.clone(), refused)
    };
    until("the refusal", told).await;
    assert_eq!(case.file("tls.crt"), held);
    case.node.stop().await;
}

#[tokio::test]
async fn g12_a_certificate_from_before_the_one_in_use_is_left_alone_however_long_it_lasts() {
    let mut case = Case::of_life(waning()).await;
    let request = case.spooled(1).await;
    let held = case.file("tls.crt");
    case.office.exchange.life = Some((ago(80 * DAY), now().plus(90 * DAY)));
    let former = case.office.exchange.certify(&request.request().csr_der);
    case.office.exchange.content.version += 1;
    case.publish(vec![former]);
    let newer = async || {
        let version = case.status().await.directory.version;
        or(version == 2, version, version)
    };
    until("the directory that came with it", newer).await;
    case.receives().await;
    assert_eq!(case.file("tls.crt"), held);
    assert_eq!(case.broker.held.lock().unwrap().sessions, 1);
    case.node.stop().await;
}

#[tokio::test]
async fn g12_a_list_of_an_issuer_that_is_no_more_need_not_be_offered_for_ever_but_a_stranger_is_not_taken() {
    // A broker that signs with a key of its own can neither renew nor publish.
    let case = Case::of_life(young()).await;
    let own = case.office.exchange.content.sign(&SigningKey::generate(&mut rng())).unwrap();
    case.broker.say(SessionFrame::Publication(Publication {
        directory: own.encoded().clone(),
        crls: vec![Exchange::named("Nobody's authority").crl_of(9, &[]), case.office.exchange.crl()],
    }));
    let told = async || {
        let refused = case.status().await.directory.refused.map(|no| no.reason).unwrap_or_default();
        or(refused.contains("not the one that its delegation names"), refused.clone(), refused)
    };
    until("the refusal of the publication", told).await;
    case.receives().await;
    case.node.stop().await;
}

#[tokio::test]
async fn g12_a_later_certificate_is_taken_though_it_ends_sooner_and_without_what_was_added_to_its_chain() {
    let mut case = Case::of_life(waning()).await;
    let request = case.spooled(1).await;
    case.office.exchange.life = Some((ago(DAY), now().plus(DAY)));
    let shorter = case.office.exchange.certify_as(&request.request().csr_der, AGENCY_SERIAL + 1);
    case.office.exchange.content.version += 1;
    let foreign = Exchange::named("Nobody's authority").certify(&request.request().csr_der);
    case.publish(vec![shorter.clone(), Bytes::from(vec![b'x'; 8000]), foreign]);
    let taken = async || or(der(&case.file("tls.crt")) == shorter, (), ());
    until("the later certificate", taken).await;
    assert_eq!(pem::parse_many(case.file("tls.crt")).unwrap().len(), 1, "what was added is shown to peers");
    case.sessions(2).await;
    case.receives().await;
    case.node.stop().await;
}

#[tokio::test]
async fn g12_a_chain_that_peers_would_not_take_for_its_length() {
    let added = [vec![Bytes::from_static(b"x"); 3], vec![Bytes::from(vec![b'x'; 17 * 1024])]];
    for added in added {
        let mut case = Case::of_life(waning()).await;
        let request = case.spooled(1).await;
        let held = case.file("tls.crt");
        let leaf = case.office.exchange.grant(request.request());
        case.publish([vec![leaf], added].concat());
        let told = async || {
            let refused = case.status().await.certificate.refused.map(|no| no.reason).unwrap_or_default();
            or(refused.contains("it may have 3 of 16384 bytes"), refused.clone(), refused)
        };
        until("the refusal", told).await;
        assert_eq!(case.file("tls.crt"), held);
        case.node.stop().await;
    }
}

#[tokio::test]
async fn g12_in_place_of_a_revoked_certificate_any_that_counts_is_taken() {
    let mut case = Case::of_life(waning()).await;
    let request = case.spooled(1).await;
    let revoking = case.office.exchange.crl_of(2, &[AGENCY_SERIAL]);
    case.broker.say(SessionFrame::Publication(Publication { directory: Bytes::new(), crls: vec![revoking] }));
    let in_force = async || {
        let problem = case.status().await.certificate.problem;
        or(problem.is_some(), (), ())
    };
    until("the list", in_force).await;
    // Another from before it.
    case.office.exchange.life = Some((ago(80 * DAY), now().plus(10 * DAY)));
    let other = case.office.exchange.certify_as(&request.request().csr_der, AGENCY_SERIAL + 1);
    case.office.exchange.content.version += 1;
    case.publish(vec![other.clone()]);
    let taken = async || or(der(&case.file("tls.crt")) == other, (), ());
    until("the other certificate", taken).await;
    assert_eq!(case.status().await.certificate.problem, None);
    case.node.stop().await;
}
