//! Stopping, crashing, starting again, and what is in the way of a start.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use valise_broker::server::{self, AskError, Broker, SocketError, StartError};
use valise_broker::store::StoreError;
use valise_proto::envelope::Precedence;
use valise_proto::id::NoticeId;
use valise_transport::TransportError;

use crate::office::{Office, code_of, depth, soon};

const PRIORITY: Precedence = Precedence::Priority;

/// The notices that wait for `fra/ncb`, without acknowledging them.
pub async fn waiting(office: &Office, broker: &Broker) -> BTreeSet<NoticeId> {
    let items = depth(&broker.status().await.unwrap(), "fra/ncb");
    let france = office.connect(broker, "fra/ncb").await;
    let mut inbox = france.receive(PRIORITY, 1024).await;
    let mut found = BTreeSet::new();
    for _ in 0..items {
        assert!(
            found.insert(inbox.envelope().await.1.header().notice_id),
            "a notice stands in the inbox twice"
        );
    }
    found
}

#[tokio::test]
async fn g04_a_restart_keeps_everything() {
    let office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let france = office.connect(&broker, "fra/ncb").await;
    let envelopes: Vec<_> = (0..3).map(|_| office.exchange.envelope("ken/ncb", &["fra/ncb"])).collect();
    let mut receipts = Vec::new();
    for envelope in &envelopes {
        receipts.push(kenya.send(envelope).await);
    }
    let mut inbox = france.receive(PRIORITY, 1).await;
    let (first, _) = inbox.envelope().await;
    inbox.ack(first).await;
    inbox.envelope().await;
    broker.stop().await;

    let broker = office.start().await;
    let left: BTreeSet<NoticeId> =
        envelopes[1..].iter().map(|envelope| envelope.header().notice_id).collect();
    assert_eq!(waiting(&office, &broker).await, left);
    let kenya = office.connect(&broker, "ken/ncb").await;
    for (envelope, receipt) in envelopes.iter().zip(&receipts) {
        assert_eq!(kenya.send(envelope).await.encode(), receipt.encode(), "another receipt after a restart");
    }
    assert_eq!(broker.status().await.unwrap().log_entries, 3);
    broker.stop().await;
}

#[tokio::test]
async fn g04_a_broker_that_is_killed_loses_nothing_it_has_accepted() {
    let office = Office::of_three();
    let mut accepted = BTreeSet::new();
    for round in 1..=5 {
        let broker = office.start().await;
        let kenya = office.connect(&broker, "ken/ncb").await;
        let mut stream = kenya.submit(PRIORITY).await;
        let envelopes: Vec<_> = (0..60).map(|_| office.exchange.envelope("ken/ncb", &["fra/ncb"])).collect();
        for envelope in &envelopes {
            stream.send(envelope.encode()).await;
        }
        for _ in 0..round * 7 {
            let (_, receipt) = stream.answer().await;
            assert_eq!(office.check(&receipt), Ok(()));
            accepted.insert(receipt.receipt().notice_id.unwrap());
        }
        broker.kill().await;
    }
    let broker = office.start().await;
    let found = waiting(&office, &broker).await;
    assert!(accepted.is_subset(&found), "{} accepted, {} found", accepted.len(), found.len());
    broker.stop().await;
}

#[tokio::test]
async fn a_stop_answers_what_was_taken_and_says_goodbye() {
    let office = Office::of_three();
    let broker = office.start().await;
    let mut kenya = office.connect(&broker, "ken/ncb").await;
    let mut stream = kenya.submit(PRIORITY).await;
    for _ in 0..200 {
        stream.send(office.exchange.envelope("ken/ncb", &["fra/ncb"]).encode()).await;
    }
    let (_, first) = stream.answer().await;
    assert_eq!(office.check(&first), Ok(()));
    let hearing = async {
        let mut answered: u64 = 1;
        while let Ok(Some(_)) = soon("an answer or the end", stream.receiver.next()).await {
            answered += 1;
        }
        answered
    };
    let ((), answered) = tokio::join!(broker.stop(), hearing);
    assert_eq!(kenya.goodbye().await, None);
    assert_eq!(code_of(&kenya.closed().await), None);
    let broker = office.start().await;
    assert_eq!(broker.status().await.unwrap().log_entries, answered, "something was taken and not answered");
    broker.stop().await;
}

#[tokio::test]
async fn a_stopped_broker_takes_no_connection() {
    let office = Office::of_three();
    let broker = office.start().await;
    let addr = broker.local_addr();
    broker.stop().await;
    UdpSocket::bind(addr).expect("the port is free");
}

#[tokio::test]
async fn a_second_broker_on_the_same_data_folder_is_refused() {
    let office = Office::of_three();
    let first = office.start().await;
    let error = Broker::start(office.config.clone()).await.unwrap_err();
    assert!(matches!(&error, StartError::Store(StoreError::InUse { .. })), "{error}");
    assert!(error.to_string().contains("in use by another broker"), "{error}");
    let kenya = office.connect(&first, "ken/ncb").await;
    kenya.send(&office.exchange.envelope("ken/ncb", &["fra/ncb"])).await;
    assert!(office.config.status_socket.exists(), "the first broker's socket is gone");
    first.stop().await;
    office.start().await.stop().await;
}

#[tokio::test]
async fn a_busy_port_is_told_by_its_number_and_the_data_folder_is_left_free() {
    let mut office = Office::of_three();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    office.config.listen = taken.local_addr().unwrap();
    let error = Broker::start(office.config.clone()).await.unwrap_err();
    assert!(matches!(&error, StartError::Transport(TransportError::Bind { .. })), "{error}");
    assert!(error.to_string().contains(&taken.local_addr().unwrap().to_string()), "{error}");
    drop(taken);
    office.start().await.stop().await;
}

#[tokio::test]
async fn an_unusable_data_folder_is_told_by_its_name() {
    let office = Office::of_three();
    std::fs::write(&office.config.data, b"not a folder").unwrap();
    let error = Broker::start(office.config.clone()).await.unwrap_err();
    assert!(error.to_string().contains(office.config.data.to_str().unwrap()), "{error}");
}

async fn ask(office: &Office) -> Result<server::Status, AskError> {
    let socket = office.config.status_socket.clone();
    tokio::task::spawn_blocking(move || server::ask(&socket)).await.unwrap()
}

#[tokio::test]
async fn the_status_is_told_on_a_socket_that_only_the_owner_may_use() {
    let office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    kenya.send(&office.exchange.envelope("ken/ncb", &["fra/ncb", "tur/border"])).await;
    let mode = std::fs::metadata(&office.config.status_socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let status = ask(&office).await.unwrap();
    assert_eq!((&status.identity, status.listen), (&office.exchange.broker(), broker.local_addr()));
    assert_eq!((status.directory.version, status.directory.agencies), (1, 3));
    assert_eq!(status.receipt_key, office.exchange.receipt_key.key_id());
    assert_eq!((status.sessions, status.log_entries, status.commits.syncs), (1, 1, 1));
    assert_eq!(
        (depth(&status, "fra/ncb"), depth(&status, "tur/border"), depth(&status, "ken/ncb")),
        (1, 1, 0)
    );
    assert_eq!((status.revocation_lists.len(), status.failure), (1, None));
    broker.stop().await;
    assert!(!office.config.status_socket.exists(), "the socket stayed behind");
    assert!(matches!(ask(&office).await, Err(AskError::NotRunning { .. })));
}

#[tokio::test]
async fn a_socket_left_by_a_crash_is_replaced_and_anything_else_is_not() {
    let office = Office::of_three();
    let socket = &office.config.status_socket;
    std::fs::create_dir_all(&office.config.data).unwrap();
    drop(UnixListener::bind(socket).unwrap());
    office.start().await.stop().await;

    std::fs::write(socket, b"mine").unwrap();
    let error = Broker::start(office.config.clone()).await.unwrap_err();
    assert!(matches!(&error, StartError::Status(SocketError::NotASocket(_))), "{error}");
    assert_eq!(std::fs::read(socket).unwrap(), b"mine");
    std::fs::remove_file(socket).unwrap();

    let other = UnixListener::bind(socket).unwrap();
    let error = Broker::start(office.config.clone()).await.unwrap_err();
    assert!(matches!(&error, StartError::Status(SocketError::InUse(_))), "{error}");
    drop(other);
}
