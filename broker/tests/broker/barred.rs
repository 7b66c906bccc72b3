//! Agencies that are suspended or revoked, and certificates that are: who is parted with, what it is told, and what
//! becomes of its inbox.

use std::time::{Duration, Instant};

use valise_broker::server::Broker;
use valise_proto::directory::AgencyStatus;
use valise_proto::envelope::Precedence;
use valise_proto::receipt::ReceiptKind;
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::session::{Item, SessionFrame, StreamOpen};

use crate::fixture::{DAY, agency};
use crate::office::{Agency, Office, code_of, depth, open, soon, until};

const PRIORITY: Precedence = Precedence::Priority;
/// What is promised for a live connection, from the publication on.
const PROMISED: Duration = Duration::from_secs(10);

impl Office {
    /// Publishes `fra/ncb` with this status.
    fn publish_status(&mut self, status: AgencyStatus) {
        let entry = self.exchange.change("fra/ncb");
        entry.status = status;
        entry.contact_point = status.is_active();
        self.publish();
    }
}

/// What the agency is told before it is parted with; the connection says the same.
async fn parted(agency: &mut Agency) -> Refusal {
    let reason = loop {
        match agency.session_frame().await {
            SessionFrame::Goodbye(reason) => break reason.expect("a reason"),
            SessionFrame::Publication(_) => {}
            SessionFrame::Welcome(_) => panic!("a second welcome"),
        }
    };
    assert_eq!(code_of(&agency.closed().await), Some(reason.code), "the goodbye and the close differ");
    reason
}

fn assert_told(reason: &Refusal, parts: &[&str]) {
    for part in parts {
        assert!(reason.detail.contains(part), "`{part}` is not told: {reason}");
    }
}

async fn accepted(
    office: &Office,
    broker: &Broker,
    to: &str,
    count: usize,
) -> Vec<valise_proto::id::NoticeId> {
    let kenya = office.connect(broker, "ken/ncb").await;
    let mut ids = Vec::new();
    for _ in 0..count {
        let envelope = office.exchange.envelope("ken/ncb", &[to]);
        assert_eq!(office.check(&kenya.send(&envelope).await), Ok(()));
        ids.push(envelope.header().notice_id);
    }
    ids
}

#[tokio::test]
async fn g03_a_suspended_agency_is_told_since_when_and_gets_its_inbox_once_it_is_reinstated() {
    let mut office = Office::of_three();
    let broker = office.start().await;
    let ids = accepted(&office, &broker, "fra/ncb", 3).await;
    let mut france = office.connect(&broker, "fra/ncb").await;
    let mut turkey = office.connect(&broker, "tur/border").await;
    let since = office.exchange.start;
    office.publish_status(AgencyStatus::Suspended { since });
    // Noticed by the broker itself.
    let reason = parted(&mut france).await;
    assert_eq!(reason.code, RefusalCode::Suspended);
    assert_told(&reason, &["fra/ncb", &format!("since {since}"), "directory version 2", "ask the authority"]);
    assert_eq!(depth(&broker.status().await.unwrap(), "fra/ncb"), 3, "its inbox was not kept");
    assert_eq!(turkey.publication().await.directory, office.exchange.directory().encoded());

    office.publish_status(AgencyStatus::Active);
    broker.reload().await.unwrap();
    let france = office.connect(&broker, "fra/ncb").await;
    let mut inbox = france.receive(PRIORITY, 16).await;
    for id in ids {
        let (cursor, envelope) = inbox.envelope().await;
        assert_eq!(envelope.header().notice_id, id);
        inbox.ack(cursor).await;
    }
    until(&broker, "an empty inbox", |status| depth(status, "fra/ncb") == 0).await;
    broker.stop().await;
}

#[tokio::test]
async fn g11_a_revoked_agencys_inbox_is_never_delivered_and_expires() {
    let mut office = Office::of_three();
    office.config.limits.core.sweep_interval = Duration::from_millis(20);
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let mut draft = office.exchange.draft("ken/ncb");
    draft.expires_at = crate::fixture::now().plus(Duration::from_secs(2));
    let envelope =
        office.exchange.seal(draft, &["fra/ncb"], &[valise_proto::label::Classification::Restricted]);
    assert_eq!(office.check(&kenya.send(&envelope).await), Ok(()));
    let mut france = office.connect(&broker, "fra/ncb").await;
    let since = office.exchange.start;
    office.publish_status(AgencyStatus::Revoked { since });
    broker.reload().await.unwrap();
    let reason = parted(&mut france).await;
    assert_eq!(reason.code, RefusalCode::Revoked);
    assert_told(&reason, &[&format!("revoked at {since}"), "directory version 2", "ask the authority"]);
    assert_eq!(depth(&broker.status().await.unwrap(), "fra/ncb"), 1, "its inbox was not kept");
    let again = office.dial(&broker, "fra/ncb").await;
    assert_eq!(code_of(&soon("the refusal", again.closed()).await), Some(RefusalCode::Revoked));
    until(&broker, "the end of the notice", |status| depth(status, "fra/ncb") == 0).await;
    let Item::Receipt(told) = kenya.receive(Precedence::Routine, 1).await.next().await.item else {
        panic!("the originator was not told")
    };
    assert_eq!(
        (told.receipt().kind, &told.receipt().recipient),
        (ReceiptKind::Expired, &Some(agency("fra/ncb")))
    );
    broker.stop().await;
}

#[tokio::test]
async fn g10_an_agency_that_reads_nothing_is_parted_with_in_time_all_the_same() {
    let mut office = Office::of_three();
    office.config.limits.goodbye_timeout = Duration::from_secs(60);
    let broker = office.start().await;
    accepted(&office, &broker, "fra/ncb", 1).await;
    let france = office.connect(&broker, "fra/ncb").await;
    // A delivery that is not read, and a submission that never ends.
    let _unread = france.receive(PRIORITY, 1).await;
    let (mut unfinished, _) = open(&france.connection, &StreamOpen::Submit(PRIORITY)).await;
    unfinished.send(office.exchange.envelope("fra/ncb", &["ken/ncb"]).encode()).await.unwrap();
    let since = office.exchange.start;
    let published = Instant::now();
    office.publish_status(AgencyStatus::Suspended { since });
    assert_eq!(code_of(&france.closed().await), Some(RefusalCode::Suspended));
    assert!(published.elapsed() < PROMISED, "it took {:?}", published.elapsed());
    broker.stop().await;
}

/// An agent that saw a stream of notices end first would take it for a fault and dial again, without a word to anybody.
#[tokio::test]
async fn g03_the_reason_comes_before_any_stream_ends() {
    let mut office = Office::of_three();
    office.config.reload_interval = DAY;
    let broker = office.start().await;
    for round in 0..5 {
        let mut france = office.connect(&broker, "fra/ncb").await;
        let mut inbox = france.receive(PRIORITY, 16).await;
        let mut submit = france.submit(PRIORITY).await;
        // Both are served.
        submit.ask(office.exchange.envelope("fra/ncb", &["ken/ncb"]).encode()).await;
        let ids = accepted(&office, &broker, "fra/ncb", 1).await;
        let (cursor, envelope) = inbox.envelope().await;
        assert_eq!([envelope.header().notice_id], *ids);
        inbox.ack(cursor).await;
        let since = office.exchange.start;
        office.publish_status(AgencyStatus::Suspended { since });
        broker.reload().await.unwrap();
        let first = soon("the end", async {
            tokio::select! {
                code = france.goodbye() => code,
                _ = inbox.receiver.next() => None,
                _ = submit.receiver.next() => None,
            }
        });
        assert_eq!(first.await, Some(RefusalCode::Suspended), "round {round}: a stream ended first");
        office.publish_status(AgencyStatus::Active);
        broker.reload().await.unwrap();
    }
    broker.stop().await;
}

#[tokio::test]
async fn g12_a_revoked_certificate_is_told_by_its_serial_and_another_of_the_agency_goes_on() {
    let office = Office::of_three();
    let broker = office.start().await;
    let mut france = office.connect(&broker, "fra/ncb").await;
    let renewed = office.exchange.issue(&office.exchange.identity("fra/ncb"), 0xbeef);
    let renewed = Agency::greet(office.dial_as(&broker, &renewed).await.unwrap()).await;
    // Agencies have 101, 102, 103, in the order of the directory given.
    office.publish_crl(2, &[102]);
    let reason = parted(&mut france).await;
    assert_eq!(reason.code, RefusalCode::KeyNotActive);
    assert_told(&reason, &["certificate 66 ", "revoked", "ask the authority"]);
    let ids = accepted(&office, &broker, "fra/ncb", 1).await;
    let (_, envelope) = renewed.receive(PRIORITY, 1).await.envelope().await;
    assert_eq!([envelope.header().notice_id], *ids, "another certificate is as good as before");
    broker.stop().await;
}

/// As `valise-ca emergency` publishes: the certificate revoked and the agency suspended, both at once.
#[tokio::test]
async fn g12_an_agency_suspended_and_revoked_at_once_hears_of_the_suspension() {
    let mut office = Office::of_three();
    office.config.reload_interval = DAY;
    let broker = office.start().await;
    let mut france = office.connect(&broker, "fra/ncb").await;
    office.publish_crl(2, &[102]);
    let since = office.exchange.start;
    office.publish_status(AgencyStatus::Suspended { since });
    broker.reload().await.unwrap();
    assert_eq!(parted(&mut france).await.code, RefusalCode::Suspended);
    let status = until(&broker, "the end of the session", |status| status.sessions == 0).await;
    assert_eq!(status.directory.version, 2);
    assert!(office.exchange.directory().agency(&agency("fra/ncb")).is_some());
    broker.stop().await;
}
