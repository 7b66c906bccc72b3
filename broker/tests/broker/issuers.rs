//! An authority that has renewed its issuing certificate: leaves of the old and of the new one are in order side by side.

use std::time::Duration;

use bytes::Bytes;
use rcgen::{CertifiedIssuer, KeyPair};
use valise_broker::server::Broker;
use valise_proto::id::Timestamp;
use valise_proto::refusal::RefusalCode;
use valise_proto::wire::session::{Answer, Query};

use crate::fixture::{DAY, Issued, crl, crl_between, issue, issuing, now};
use crate::office::{Agency, Office, soon};

type Issuer = CertifiedIssuer<'static, KeyPair>;

struct Authorities {
    old: Issuer,
    new: Issuer,
}

impl Authorities {
    /// Two that the root names.
    fn below(office: &mut Office) -> Self {
        let authorities = Self::impostors(office);
        office.name_issuers(&[&authorities.old, &authorities.new]);
        authorities
    }

    /// Of the same names, and nobody knows their keys.
    fn impostors(office: &Office) -> Self {
        let root = &office.exchange.authority;
        Self { old: issuing(root, "Exchange Issuing CA"), new: issuing(root, "Exchange Issuing CA G2") }
    }

    /// The root's list and one of each issuing authority, with these numbers and revoked serials.
    fn publish_lists(&self, office: &Office, old: (u64, &[u64]), new: (u64, &[u64])) {
        let root = office.exchange.crl(old.0 + new.0, &[]);
        let lists = [root, crl(&self.old, old.0, old.1, 2100), crl(&self.new, new.0, new.1, 2100)];
        office.publish_crls(&lists);
    }
}

/// An agency's certificate by one of the issuing authorities, with its chain.
fn issued(office: &Office, by: &Issuer, name: &str, serial: u64) -> Issued {
    let leaf = issue(by, &office.exchange.identity(name), serial);
    Issued { chain: format!("{}{}", leaf.chain, by.pem()), key: leaf.key }
}

fn der(issued: &Issued) -> Vec<Bytes> {
    pem::parse_many(&issued.chain)
        .unwrap()
        .into_iter()
        .map(|block| Bytes::from(block.into_contents()))
        .collect()
}

#[tokio::test]
async fn g12_leaves_of_the_old_and_the_new_issuer_count_and_each_is_revoked_by_its_own_list() {
    let mut office = Office::of_three();
    let authorities = Authorities::below(&mut office);
    authorities.publish_lists(&office, (9, &[]), (1, &[]));
    let broker = office.start().await;
    // The same serial number by both: only the issuer tells them apart.
    let by_old = issued(&office, &authorities.old, "fra/ncb", 700);
    let by_new = issued(&office, &authorities.new, "ken/ncb", 700);
    let connect = async |issued: &Issued| Agency::greet(office.dial_as(&broker, issued).await.unwrap()).await;
    let (mut france, kenya) = (connect(&by_old).await, connect(&by_new).await);
    let envelope = office.exchange.envelope("ken/ncb", &["fra/ncb"]);
    assert_eq!(office.check(&kenya.send(&envelope).await), Ok(()));
    let certificates: String = [&by_old, &by_new].map(|issued| issued.chain.as_str()).concat();
    office.write(&office.config.published_certificates(), certificates.as_bytes());
    broker.reload().await.unwrap();
    assert_eq!(france.query(Query::Certificate).await, Answer::Certificate(der(&by_old)));
    assert_eq!(kenya.query(Query::Certificate).await, Answer::Certificate(der(&by_new)));

    authorities.publish_lists(&office, (10, &[700]), (2, &[]));
    broker.reload().await.unwrap();
    assert_eq!(france.goodbye().await, Some(RefusalCode::KeyNotActive));
    let envelope = office.exchange.envelope("ken/ncb", &["fra/ncb"]);
    assert_eq!(office.check(&kenya.send(&envelope).await), Ok(()), "the other issuer's leaf was revoked");
    broker.stop().await;
}

#[tokio::test]
async fn g12_the_number_of_a_revocation_list_rises_for_each_issuer_by_itself() {
    let mut office = Office::of_three();
    office.config.reload_interval = DAY;
    let authorities = Authorities::below(&mut office);
    office.publish_crls(&[office.exchange.crl(3, &[]), crl(&authorities.old, 9, &[], 2100)]);
    let broker = office.start().await;
    // A new issuer begins with a low number.
    authorities.publish_lists(&office, (9, &[]), (1, &[]));
    broker.reload().await.unwrap();
    authorities.publish_lists(&office, (8, &[]), (3, &[]));
    let error = broker.reload().await.unwrap_err().to_string();
    assert!(error.contains("(number 8) is older than the one this broker holds (number 9)"), "{error}");
    assert!(error.contains("Exchange Issuing CA") && !error.contains("G2"), "{error}");
    let numbers = |status: &valise_broker::server::Status| {
        let mut numbers: Vec<_> = status.revocation_lists.iter().map(|list| list.number.clone()).collect();
        numbers.sort();
        numbers
    };
    assert_eq!(numbers(&broker.status().await.unwrap()), ["1", "10", "9"]);
    broker.stop().await;
}

/// Whoever can write to the folder but has no key of the authority must not have a list held that no true one follows.
#[tokio::test]
async fn g12_a_list_in_the_name_of_another_issuer_than_the_brokers_own_is_refused_too() {
    let mut office = Office::of_three();
    office.config.reload_interval = DAY;
    let authorities = Authorities::below(&mut office);
    let kenya = issued(&office, &authorities.new, "ken/ncb", 700);
    authorities.publish_lists(&office, (1, &[]), (1, &[]));
    office.write(&office.config.published_certificates(), kenya.chain.as_bytes());
    let broker = office.start().await;
    let impostor = Authorities::impostors(&office);
    let lists =
        [office.exchange.crl(3, &[]), crl(&authorities.old, 2, &[], 2100), crl(&impostor.new, 99, &[], 2100)];
    office.publish_crls(&lists);
    let error = broker.reload().await.unwrap_err().to_string();
    assert!(error.contains("crls.pem") && error.contains("signed neither by a root nor"), "{error}");
    let _kenya = Agency::greet(office.dial_as(&broker, &kenya).await.unwrap()).await;
    authorities.publish_lists(&office, (2, &[]), (2, &[]));
    broker.reload().await.unwrap();
    broker.stop().await;
}

/// Otherwise nothing newer would come into force for as long as the last list of an issuing authority that is done with
/// counts; and without it, its revoked leaves would be found again behind an older list.
#[tokio::test]
async fn g12_the_list_of_a_former_issuer_stays_in_force_until_it_runs_out_and_holds_nothing_back() {
    let mut office = Office::of_three();
    office.config.reload_interval = DAY;
    let former = issuing(&office.exchange.authority, "Exchange Issuing CA");
    office.name_issuers(&[&former]);
    let (begin, end) = (Timestamp::from_millis(now().millis() - 60_000), now().plus(Duration::from_secs(3)));
    let root = |number| office.exchange.crl(number, &[]);
    office.publish_crls(&[root(1), crl_between(&former, 2, (begin, end))]);
    let broker = office.start().await;
    let numbers = async |broker: &Broker| {
        let lists = broker.status().await.unwrap().revocation_lists;
        let mut numbers: Vec<_> = lists.into_iter().map(|list| list.number).collect();
        numbers.sort();
        numbers
    };
    office.publish_crls(&[root(5)]);
    broker.reload().await.unwrap();
    assert_eq!(numbers(&broker).await, ["2", "5"]);
    let _france =
        Agency::greet(office.dial_as(&broker, &issued(&office, &former, "fra/ncb", 9)).await.unwrap()).await;
    office.publish_crls(&[root(6), crl_between(&former, 1, (begin, end))]);
    let error = broker.reload().await.unwrap_err().to_string();
    assert!(error.contains("(number 1) is older than the one this broker holds (number 2)"), "{error}");
    // Also where the broker was stopped in between.
    broker.stop().await;
    office.publish_crls(&[root(6)]);
    let broker = office.start().await;
    assert_eq!(numbers(&broker).await, ["2", "6"]);
    soon("the end of the list", async {
        while now() <= end {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    office.publish_crls(&[root(7)]);
    broker.reload().await.unwrap();
    assert_eq!(numbers(&broker).await, ["7"]);
    broker.stop().await;
}

/// Every list in the file is the authority's own; only how often it stands there is not.
#[tokio::test]
async fn g12_lists_that_are_repeated_take_no_room_from_one_that_is_held() {
    let mut office = Office::of_three();
    office.config.reload_interval = DAY;
    let former = issuing(&office.exchange.authority, "Exchange Issuing CA");
    office.name_issuers(&[&former]);
    office.publish_crls(&[office.exchange.crl(1, &[]), crl(&former, 2, &[], 2100)]);
    let broker = office.start().await;
    let repeated = vec![office.exchange.crl(5, &[]); 16];
    office.publish_crls(&repeated);
    broker.reload().await.unwrap();
    let lists = broker.status().await.unwrap().revocation_lists;
    let mut numbers: Vec<_> = lists.into_iter().map(|list| list.number).collect();
    numbers.sort();
    assert_eq!(numbers, ["2", "5"], "the list of the other issuer was pushed out");
    broker.stop().await;
}
