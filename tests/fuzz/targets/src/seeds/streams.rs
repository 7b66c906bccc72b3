//! Frames, and every message of every stream.

use bytes::Bytes;
use valise_proto::envelope::Precedence;
use valise_proto::id::Digest;
use valise_proto::receipt::ReceiptKind;
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::frame::prefix;
use valise_proto::wire::limits::Limits;
use valise_proto::wire::session::{
    Ack, Answer, Cursor, Delivery, Hello, Item, NoticeStatus, Publication, Query, SessionFrame, StreamOpen,
    Submitted, Welcome,
};

use super::{Seed, envelope_of_each, notice_id, receipt, renewal, right, wrong};
use crate::exchange::{self, DIRECTORY};

pub(super) fn all() -> Vec<Seed> {
    [frames(), opens(), session_frames(), answers(), deliveries()].into_iter().flatten().collect()
}

fn frames() -> Vec<Seed> {
    let write = |bodies: &[usize]| -> Vec<u8> {
        bodies.iter().flat_map(|len| [prefix(*len).unwrap().to_vec(), vec![7; *len]].concat()).collect()
    };
    vec![
        right("frames", "some", [vec![16, 3], write(&[1, 0, 16, 5])].concat()),
        right("frames", "one", [vec![255, 1], write(&[255])].concat()),
        wrong("frames", "too-large", [vec![16, 5], write(&[1, 17])].concat()),
        wrong("frames", "cut-short", [vec![16, 2, 0, 0, 0, 9], vec![1, 2]].concat()),
        wrong("frames", "cut-in-the-prefix", vec![16, 1, 0, 0]),
        wrong("frames", "huge", [vec![16, 1], vec![0xff; 8]].concat()),
    ]
}

fn message(which: u8, name: &str, frame: &Bytes) -> Seed {
    right("messages", name, [&[which], frame.as_ref()].concat())
}

fn opens() -> Vec<Seed> {
    let hello =
        Hello { versions: vec![1, 2], software: "valise-agent/0.1.0".to_owned(), directory_version: 7 };
    let opens = [
        ("session", StreamOpen::Session(hello)),
        ("submit", StreamOpen::Submit(Precedence::Flash)),
        ("receive", StreamOpen::Receive { precedence: Precedence::Routine, window: 100 }),
        ("query-publication", StreamOpen::Query(Query::Publication)),
        ("query-status", StreamOpen::Query(Query::NoticeStatus(notice_id(1)))),
        ("query-renewal", StreamOpen::Query(Query::Renewal(renewal().encode()))),
        ("query-certificate", StreamOpen::Query(Query::Certificate)),
    ];
    opens.iter().map(|(name, open)| message(0, name, &open.encode())).collect()
}

fn publication() -> Publication {
    Publication { directory: DIRECTORY.encoded().clone(), crls: vec![Bytes::from_static(&[0x30, 0x00]); 2] }
}

fn refusal() -> Refusal {
    Refusal::new(RefusalCode::StoreUnavailable, "the disk is full").retry_after(exchange::DAY)
}

fn session_frames() -> Vec<Seed> {
    let welcome = Welcome {
        version: 1,
        broker_time: exchange::now(),
        directory_version: 7,
        limits: Limits { recipients_max: 8, ..Limits::DEFAULT },
    };
    let frames = [
        ("welcome", SessionFrame::Welcome(welcome)),
        ("publication", SessionFrame::Publication(publication())),
        (
            "goodbye",
            SessionFrame::Goodbye(Some(Refusal::new(RefusalCode::Suspended, "until further notice"))),
        ),
        ("shutdown", SessionFrame::Goodbye(None)),
    ];
    frames.iter().map(|(name, frame)| message(1, name, &frame.encode())).collect()
}

fn answers() -> Vec<Seed> {
    let status = NoticeStatus {
        accepted: Some(receipt(ReceiptKind::Accepted)),
        undelivered: vec![exchange::id("ken/ncb"), exchange::id("fra/ncb")],
    };
    let answers = [
        ("answer-publication", Answer::Publication(publication())),
        ("answer-status", Answer::NoticeStatus(Box::new(status))),
        ("answer-refusal", Answer::Refusal(refusal())),
        ("answer-spooled", Answer::Spooled(Digest::new([9; Digest::LEN]))),
        ("answer-certificate", Answer::Certificate(vec![Bytes::from_static(&[0x30, 0x00]); 3])),
    ];
    let mut seeds: Vec<_> = answers.iter().map(|(name, answer)| message(3, name, &answer.encode())).collect();
    let receipt = receipt(ReceiptKind::Refused).signed().clone();
    seeds.push(message(2, "submitted", &Submitted { ordinal: 300, receipt }.encode()));
    let cursors = [1, 300, u64::MAX].map(Cursor::new).to_vec();
    seeds.push(message(4, "ack", &Ack { cursors }.encode()));
    seeds
}

fn deliveries() -> Vec<Seed> {
    let items = envelope_of_each()
        .into_iter()
        .take(2)
        .map(|(name, envelope)| (name, Item::Envelope(Box::new(envelope))));
    let expired = Item::Receipt(Box::new(receipt(ReceiptKind::Expired)));
    items
        .chain([("expired".to_owned(), expired)])
        .map(|(name, item)| {
            message(5, &format!("delivery-{name}"), &Delivery { cursor: Cursor::new(42), item }.encode())
        })
        .collect()
}
