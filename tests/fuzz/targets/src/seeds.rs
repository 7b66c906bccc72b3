//! Where fuzzing begins: an object of every kind, right in every way, and texts that are wrong in one.
//!
//! What is random in them (salts, portion keys, encapsulations) is drawn anew each time. Nothing in them is secret: keys
//! are those of [`exchange`].

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rand_core::UnwrapErr;
use valise_proto::directory::AgencyStatus;
use valise_proto::enrolment::{Challenge, EnrolmentBundle, EnrolmentRequest};
use valise_proto::envelope::{
    Envelope, HeaderDraft, NoticeKind, PlainPortion, PortionIndex, Precedence, SealFor, seal,
};
use valise_proto::id::{Derivation, Digest, NoticeId, SpiffeId};
use valise_proto::label::{AtMost, Ceiling, Classification};
use valise_proto::notice::{Notice, Portion};
use valise_proto::receipt::{PurgeCause, Receipt, ReceiptKind, SignedReceipt};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::renewal::RenewalRequest;
use valise_proto::wire::Signed;

use crate::certificates;
use crate::content::is_complete;
use crate::exchange::{self, DAY, DIRECTORY, TRUST};

mod streams;
mod texts;

/// Something to begin with.
pub struct Seed {
    /// For which target.
    pub target: &'static str,
    /// Its name.
    pub name: String,
    /// What it is.
    pub bytes: Vec<u8>,
    /// Whether it is right, so that the target accepts it.
    pub right: bool,
}

fn right(target: &'static str, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Seed {
    Seed { target, name: name.into(), bytes: bytes.into(), right: true }
}

fn wrong(target: &'static str, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Seed {
    Seed { right: false, ..right(target, name, bytes) }
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Seed> {
    [
        envelopes(),
        notices(),
        documents(),
        receipts(),
        certificates(),
        configurations(),
        streams::all(),
        texts::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// The files of a folder whose names end so, by name.
fn files(folder: &str, end: &str) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == end))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no .{end} in {folder}");
    found
}

fn notice_id(number: u8) -> NoticeId {
    NoticeId::new(exchange::now(), [number; 10])
}

fn draft(kind: NoticeKind) -> HeaderDraft {
    HeaderDraft {
        notice_id: notice_id(1),
        kind,
        originator: exchange::id("fra/ncb"),
        precedence: Precedence::Immediate,
        created_at: exchange::now(),
        expires_at: exchange::now().plus(DAY),
        respond_by: None,
        directory_version: DIRECTORY.version(),
        in_reply_to: None,
        supersedes: None,
        withdraws: None,
        derived_from: None,
    }
}

fn sealed(draft: HeaderDraft, portions: &[PlainPortion]) -> Envelope {
    let to_ken = SealFor {
        agency: exchange::id("ken/ncb"),
        key: exchange::sealing_key("ken/ncb").public().clone(),
        portions: (0..portions.len()).filter_map(PortionIndex::new).collect(),
    };
    let sealed = seal(draft, portions, &[to_ken], &mut UnwrapErr(getrandom::SysRng)).unwrap();
    sealed.sign(&exchange::signing_key("fra/ncb"))
}

fn examples() -> Vec<(String, Notice)> {
    let read = |(name, json): (String, Vec<u8>)| {
        (name, Notice::from_json(&json, &exchange::policy(), exchange::now()).unwrap())
    };
    files("deploy/examples", "json").into_iter().map(read).collect()
}

/// One envelope of each example, and one with every field that a header can have.
fn envelope_of_each() -> Vec<(String, Envelope)> {
    let plain = |portion: &Portion| PlainPortion { label: portion.label().clone(), parts: portion.encode() };
    let mut all = Vec::new();
    for (name, notice) in examples() {
        let portions: Vec<_> = notice.portions().iter().map(plain).collect();
        all.push((name, sealed(draft(notice.kind()), &portions)));
    }
    let whole = HeaderDraft {
        respond_by: Some(exchange::now().plus(DAY / 2)),
        in_reply_to: Some(notice_id(2)),
        supersedes: Some(notice_id(3)),
        withdraws: Some(notice_id(4)),
        derived_from: Some(Derivation::new([5; Derivation::LEN])),
        ..draft(NoticeKind::Correction)
    };
    let label = |banner| valise_proto::label::Label::parse_banner(exchange::policy(), banner).unwrap();
    let banners = ["RESTRICTED", "SECRET//ALPHA//REL TO FRA, KEN//ORCON/H1/H3(ask the duty officer)"];
    let portions = banners.map(|banner| PlainPortion { label: label(banner), parts: vec![0; 20].into() });
    all.push(("every-field".to_owned(), sealed(whole, &portions)));
    all
}

fn envelopes() -> Vec<Seed> {
    let both = |(name, envelope): (String, Envelope)| {
        let bare = right("envelope", format!("{name}-bare"), envelope.bare().encode());
        [
            right("header", name.clone(), envelope.header_bytes().to_vec()),
            right("envelope", name, envelope.encode()),
            bare,
        ]
    };
    envelope_of_each().into_iter().flat_map(both).collect()
}

fn notices() -> Vec<Seed> {
    let mut seeds: Vec<_> = files("deploy/examples", "json")
        .into_iter()
        .map(|(name, json)| right("notice_json", name, json))
        .collect();
    let vectors = files("tests/vectors/notice", "json").into_iter().filter(|(name, _)| name != "expected");
    seeds.extend(vectors.map(|(name, json)| wrong("notice_json", name, json)));
    for (name, notice) in examples() {
        for (index, portion) in notice.portions().iter().filter(|portion| is_complete(portion)).enumerate() {
            seeds.push(right("parts", format!("{name}-{index}"), portion.encode().to_vec()));
        }
    }
    seeds.push(right("parts", "receipt", Portion::encode_receipt(&receipt(ReceiptKind::Delivered)).to_vec()));
    seeds
}

fn documents() -> Vec<Seed> {
    let request = EnrolmentRequest {
        trust_domain: TRUST.trust_domain.clone(),
        agency: exchange::id("fra/ncb"),
        csr_der: Bytes::from_static(&[0x30, 0x00]),
        signing_key: exchange::signing_key("fra/ncb").verifying_key(),
        sealing_key: exchange::sealing_key("fra/ncb").public().clone(),
        created_at: exchange::now(),
    };
    let signed = request.sign(&exchange::signing_key("fra/ncb"));
    let renewal = renewal();
    let trust =
        valise_proto::enrolment::Trust { anchors: vec![Bytes::from_static(&[0x30, 0x00])], ..TRUST.clone() };
    let challenge =
        Challenge::new(&signed.request().sealing_key, &signed.digest(), &mut UnwrapErr(getrandom::SysRng));
    let bundle = EnrolmentBundle {
        identity: SpiffeId::agency(TRUST.trust_domain.clone(), exchange::id("fra/ncb")),
        request_digest: signed.digest(),
        chain: vec![Bytes::from_static(&[0x30, 0x00]); 2],
        trust: trust.clone(),
        directory: DIRECTORY.encoded().clone(),
        crls: vec![Bytes::from_static(&[0x30, 0x00]); 2],
        challenge: challenge.unwrap(),
    };
    let bundle = bundle.sign(&exchange::directory_key());
    let mut seeds = vec![
        right("enrolment_request", "body", body(&signed.encode())),
        right("enrolment_request", "text", signed.to_pem()),
        right("renewal_request", "body", body(&first_field(&renewal.encode()))),
        right("renewal_request", "text", renewal.to_pem()),
        right("enrolment_bundle", "body", body(&bundle.encode())),
        right("trust", "message", trust.encode()),
        right("trust", "text", trust.to_pem()),
    ];
    seeds.extend(directories());
    seeds
}

fn renewal() -> valise_proto::renewal::SignedRenewalRequest {
    let key = exchange::signing_key("fra/ncb");
    let request = RenewalRequest {
        trust_domain: TRUST.trust_domain.clone(),
        agency: exchange::id("fra/ncb"),
        csr_der: Bytes::from_static(&[0x30, 0x00]),
        signing_key: key.verifying_key(),
        sealing_key: exchange::sealing_key("fra/ncb").public().clone(),
        created_at: exchange::now(),
    };
    request.sign(&key, &key)
}

/// The body of an encoded `Signed`.
fn body(signed: &Bytes) -> Vec<u8> {
    Signed::decode(signed.clone()).unwrap().body.to_vec()
}

/// The first field of a message, which is length-delimited and between 128 and 16,383 bytes long.
fn first_field(message: &Bytes) -> Bytes {
    let [_, low, high, ..] = message.as_ref() else { panic!("no message of that length") };
    let len = usize::from(low & 0x7f) | usize::from(*high) << 7;
    message.slice(3..3 + len)
}

fn directories() -> Vec<Seed> {
    let whole = exchange::content();
    let mut changed = whole.clone();
    let statuses = [
        AgencyStatus::Suspended { since: exchange::now() },
        AgencyStatus::Revoked { since: exchange::now() },
    ];
    for (entry, status) in changed.agencies.values_mut().zip(statuses) {
        (entry.status, entry.contact_point) = (status, false);
    }
    let mut empty = whole.clone();
    (empty.agencies, empty.brokers) = Default::default();
    let sign = |content: valise_proto::directory::DirectoryContent| {
        body(content.sign(&exchange::directory_key()).unwrap().encoded())
    };
    let within = Ceiling {
        states: AtMost::Only(["FRA".parse().unwrap(), "KEN".parse().unwrap()].into()),
        classifications: Classification::Confidential.and_below(),
        compartments: AtMost::Only(["ALPHA".parse().unwrap()].into()),
        affiliations: AtMost::Only(Default::default()),
    };
    let mut narrow = exchange::delegation();
    narrow.ceiling = within;
    narrow.former_issuing_keys = vec![exchange::broker_key().verifying_key()];
    vec![
        right("directory", "whole", sign(whole)),
        right("directory", "ended", sign(changed)),
        right("directory", "empty", sign(empty)),
        right("delegation", "unlimited", body(&exchange::delegation().sign(&exchange::root_key()).encode())),
        right("delegation", "narrow", body(&narrow.sign(&exchange::root_key()).encode())),
    ]
}

fn receipt(kind: ReceiptKind) -> SignedReceipt {
    let by_broker = kind.is_of_a_broker();
    let domain = TRUST.trust_domain.clone();
    let refuses = matches!(kind, ReceiptKind::Refused | ReceiptKind::Rejected);
    let statement = Receipt {
        kind,
        notice_id: Some(notice_id(1)),
        header_digest: Digest::new([9; Digest::LEN]),
        issuer: if by_broker {
            SpiffeId::broker(domain, "b1".parse().unwrap())
        } else {
            SpiffeId::agency(domain, exchange::id("fra/ncb"))
        },
        recipient: (kind == ReceiptKind::Expired).then(|| exchange::id("ken/ncb")),
        at: exchange::now(),
        officer: matches!(kind, ReceiptKind::Read | ReceiptKind::Actioned).then(|| "duty.officer".to_owned()),
        refusal: refuses.then(|| Refusal::new(RefusalCode::Quota, "too many").retry_after(DAY)),
        portions: PortionIndex::new(0).filter(|_| kind.states_portions()).into_iter().collect(),
        cause: (kind == ReceiptKind::Purged).then_some(PurgeCause::Withdrawn),
    };
    statement.sign(&if by_broker { exchange::broker_key() } else { exchange::signing_key("fra/ncb") })
}

fn receipts() -> Vec<Seed> {
    let seed = |kind: ReceiptKind| {
        let who = u8::from(kind.is_of_a_broker());
        let body = body(&receipt(kind).encode());
        right("receipt", kind.as_str().to_lowercase(), [vec![who], body].concat())
    };
    ReceiptKind::ALL.into_iter().map(seed).collect()
}

fn certificates() -> Vec<Seed> {
    let [ours, anothers] = certificates::requests();
    vec![
        right("csr", "of-the-agency", ours),
        wrong("csr", "of-another", anothers),
        right("crl", "empty", certificates::list(2, &[])),
        right("crl", "revoking", certificates::list(3, &[7, 300])),
    ]
}

/// The examples as they are, and with every setting that is commented out there.
fn configurations() -> Vec<Seed> {
    let is_setting =
        |line: &&str| (line.contains(" = ") && !line.contains("for example")) || line.starts_with('[');
    let spelled_out = |text: &str| {
        let uncommented = |line: &str| line.strip_prefix("# ").filter(is_setting).unwrap_or(line).to_owned();
        let lines: Vec<_> = text.lines().map(uncommented).collect();
        lines.join("\n")
    };
    let mut seeds = Vec::new();
    for (name, text) in files("deploy/config", "toml") {
        let text = String::from_utf8(text).unwrap();
        let target = if name == "agent" { "agent_config" } else { "broker_config" };
        let settings: Vec<_> = spelled_out(&text).lines().filter(is_setting).map(str::to_owned).collect();
        seeds.push(right(target, "settings", settings.join("\n")));
        seeds.push(right(target, "example", text));
        seeds.push(wrong(
            target,
            "wrong-kinds",
            "data = 3\nsocket = \"\"\nlog = \"a=b=c\"\noutbox_max = 0\nlimits = 4\n",
        ));
    }
    seeds
}
