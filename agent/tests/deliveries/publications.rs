//! Directories and revocation lists that are old, forked, expired or not the authority's.

use bytes::Bytes;
use valise_proto::crypto::SigningKey;
use valise_proto::directory::AgencyStatus;
use valise_proto::id::Timestamp;
use valise_proto::label::Classification;
use valise_proto::wire::session::{Publication, SessionFrame};

use crate::case::{Case, LONG, or, until};
use crate::exchange::{BROKER_SERIAL, Broker, Office};
use crate::fixture::{Exchange, agency, content, rng};

/// A publication with this directory and no revocation lists.
fn directory_of(exchange: &Exchange) -> Publication {
    Publication { directory: exchange.directory().encoded().clone(), crls: Vec::new() }
}

/// Offers what `forge` makes of a directory of version 2, which the node holds, and checks that this stays in force.
async fn directory_is_refused(forge: impl FnOnce(&mut Exchange)) {
    let mut case = Case::with(|exchange| exchange.content.version = 2).await;
    let held = case.office.exchange.directory();
    let until_held = async || {
        let version = case.status().await.directory.version;
        or(version == 2, version, version)
    };
    until("directory version 2", until_held).await;
    let (content, key) = (case.office.exchange.content.clone(), case.office.exchange.directory_key.clone());
    forge(&mut case.office.exchange);
    let forged = directory_of(&case.office.exchange);
    assert_ne!(forged.directory, held.encoded());
    (case.office.exchange.content, case.office.exchange.directory_key) = (content, key);
    case.say_and_part(forged).await;
    assert_eq!(case.file("directory.valise"), held.encoded()[..], "something else is in force");
    assert_eq!(case.node.desk().office().directory().encoded(), held.encoded());
    // What the authority signs is taken all the same.
    case.office.exchange.content.version = 3;
    case.say_and_part(directory_of(&case.office.exchange)).await;
    assert_eq!(case.status().await.directory.version, 3);
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g12_an_older_directory() {
    directory_is_refused(|exchange| exchange.content.version = 1).await;
}

#[tokio::test]
async fn g12_a_forked_directory() {
    let forked = |exchange: &mut Exchange| {
        exchange.content.agencies.get_mut(&agency("ken/ncb")).unwrap().status =
            AgencyStatus::Suspended { since: exchange.start };
    };
    directory_is_refused(forked).await;
}

#[tokio::test]
async fn g12_a_directory_that_the_broker_signed_itself() {
    let own = |exchange: &mut Exchange| {
        exchange.content.version = 9;
        exchange.directory_key = exchange.broker_key.clone();
    };
    directory_is_refused(own).await;
}

#[tokio::test]
async fn g12_a_directory_that_has_expired() {
    let expired = |exchange: &mut Exchange| {
        exchange.content.version = 9;
        exchange.content.issued_at = Timestamp::from_millis(1);
        exchange.content.expires_at = Timestamp::from_millis(2);
    };
    directory_is_refused(expired).await;
}

#[tokio::test]
async fn g12_a_broker_that_has_only_a_directory_of_its_own_gets_no_connection() {
    let mut case = Case::start().await;
    let held = case.office.exchange.directory();
    case.office.exchange.content.version = 9;
    let own = case.office.exchange.content.sign(&SigningKey::generate(&mut rng())).unwrap();
    case.broker.publish(own);
    case.broker.say(SessionFrame::Goodbye(None));
    let refused = async || {
        let reason = case.status().await.connection.reason.unwrap_or_default();
        or(reason.contains("not the one that its delegation names"), reason.clone(), reason)
    };
    until("the refusal", refused).await;
    assert_eq!(case.file("directory.valise"), held.encoded()[..]);
    case.broker.publish(case.office.exchange.directory());
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

fn lists(crls: Vec<Bytes>) -> Publication {
    Publication { directory: Bytes::new(), crls }
}

/// Offers these revocation lists and checks that those held stay in force.
async fn lists_are_refused(offer: impl FnOnce(&Exchange) -> Vec<Bytes>) {
    let case = Case::with(|_| {}).await;
    let held = case.file("crls.pem");
    case.say_and_part(lists(offer(&case.office.exchange))).await;
    assert_eq!(case.file("crls.pem"), held, "other lists are in force");
    // What the authority signs is taken all the same, and goes on counting.
    case.say_and_part(lists(vec![case.office.exchange.crl_of(2, &[])])).await;
    assert_ne!(case.file("crls.pem"), held, "the authority's own list is refused");
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g12_a_revocation_list_of_the_brokers_own_making() {
    lists_are_refused(|_| vec![Exchange::new(&[]).crl_of(9, &[])]).await;
}

#[tokio::test]
async fn g12_a_revocation_list_of_the_brokers_own_making_that_revokes_it() {
    lists_are_refused(|_| vec![Exchange::new(&[]).crl_of(9, &[BROKER_SERIAL])]).await;
}

#[tokio::test]
async fn g12_an_older_revocation_list() {
    lists_are_refused(|exchange| vec![exchange.crl_of(0, &[])]).await;
}

#[tokio::test]
async fn g12_a_revocation_list_of_an_issuer_nobody_knows() {
    // Were it taken, every later publication, which does not have it, would be refused.
    lists_are_refused(|exchange| vec![exchange.crl(), Exchange::named("Nobody's authority").crl_of(9, &[])])
        .await;
}

#[tokio::test]
async fn g12_a_list_that_no_chain_shows_to_be_its_issuers_does_not_take_the_place_of_the_one_held() {
    const OTHER: &str = "Another issuing authority";
    let secret = Classification::Secret;
    let office = Office::with_writers(&[("ken/ncb", secret), ("tur/border", secret)], &[("fra/ncb", secret)]);
    let (other, forger) = (Exchange::named(OTHER), Exchange::named(OTHER));
    let armour = |crls: &[Bytes]| -> String {
        crls.iter().map(|crl| pem::encode(&pem::Pem::new("X509 CRL", crl.as_ref()))).collect()
    };
    let held = [office.exchange.crl(), other.crl_of(1, &[])];
    std::fs::write(office.data("fra/ncb").join("crls.pem"), armour(&held)).unwrap();
    let broker = Broker::start(&office.exchange);
    let node = office.start("fra/ncb", Some(&broker)).await;
    let case = Case { office, broker, node };
    case.sessions(1).await;
    // Were the forger's list taken, nothing of the other authority would be accepted, nor any later list of its own.
    case.say_and_part(lists(vec![case.office.exchange.crl_of(2, &[]), forger.crl_of(9, &[])])).await;
    let kept = pem::parse_many(case.file("crls.pem")).unwrap();
    let kept: Vec<Bytes> = kept.into_iter().map(|crl| crl.into_contents().into()).collect();
    assert_eq!(kept, [case.office.exchange.crl_of(2, &[]), other.crl_of(1, &[])]);
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g12_bytes_that_are_no_revocation_list() {
    lists_are_refused(|exchange| vec![exchange.crl(), Bytes::from_static(b"not a list")]).await;
}

#[tokio::test]
async fn g12_bad_lists_do_not_keep_out_the_directory_that_came_with_them() {
    let mut case = Case::start().await;
    let held = case.file("crls.pem");
    case.office.exchange.content.version = 7;
    let crls = vec![case.office.exchange.crl(), Bytes::from_static(b"not a list")];
    case.say_and_part(Publication { crls, ..directory_of(&case.office.exchange) }).await;
    assert_eq!(
        case.status().await.directory.version,
        7,
        "a list of the broker's making holds the directory back"
    );
    assert_eq!(case.file("crls.pem"), held);
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g12_a_broker_that_the_authority_revoked_loses_the_connection_and_gets_no_other() {
    let case = Case::start().await;
    let revoking = vec![case.office.exchange.crl_of(2, &[BROKER_SERIAL])];
    case.broker.say(SessionFrame::Publication(lists(revoking)));
    let refused = async || {
        let connection = case.status().await.connection;
        let reason = connection.reason.unwrap_or_default();
        or(reason.contains("revoked"), reason.clone(), reason)
    };
    until("the refusal of the broker's certificate", refused).await;
    assert_eq!(case.broker.held.lock().unwrap().sessions, 1);
    case.node.stop().await;
}

/// The broker delivers by a directory that is still on its way to the recipient.
#[tokio::test]
async fn g04_what_an_agency_sends_right_after_it_was_reinstated_is_not_set_aside() {
    let mut case = Case::with(|exchange| {
        exchange.content.version += 1;
        exchange.content.agencies.get_mut(&agency("ken/ncb")).unwrap().status =
            AgencyStatus::Suspended { since: exchange.start };
    })
    .await;
    assert_eq!(case.status().await.directory.version, case.office.exchange.content.version);
    case.office.exchange.content.agencies.get_mut(&agency("ken/ncb")).unwrap().status = AgencyStatus::Active;
    case.office.exchange.content.version += 1;
    // It is not pushed: the node has to ask for it.
    case.broker.publish(case.office.exchange.directory());
    let notice = case.notice();
    let id = notice.header().notice_id;
    case.deliver(notice.encode());
    assert!(case.node.has_received(&id, LONG).await.unwrap(), "{:?}", case.status().await.set_aside);
    case.all_acknowledged().await;
    assert_eq!(case.shown().await, [id]);
    case.node.stop().await;
}

/// Thousands of notices of an agency that was taken out cost one question in ten seconds, and keep nobody else's back.
#[tokio::test]
async fn g10_what_an_agency_that_was_taken_out_left_behind_is_asked_about_once() {
    let case = Case::with(|exchange| {
        exchange.content.version += 1;
        exchange.content.agencies.get_mut(&agency("tur/border")).unwrap().status =
            AgencyStatus::Suspended { since: exchange.start };
    })
    .await;
    for _ in 0..10 {
        let left = case.office.exchange.envelope("tur/border", &["fra/ncb"], &content(), |_| {});
        case.deliver(left.encode());
    }
    case.is_set_aside(10, "SUSPENDED").await;
    let asked = case.broker.held.lock().unwrap().publications;
    assert!(asked <= 3, "the directory was asked for {asked} times");
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}
