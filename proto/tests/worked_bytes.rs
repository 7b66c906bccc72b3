//! The worked bytes of PROTOCOL.md, made again, and its tables of numbers: other implementations are checked against that
//! page, so that page is checked against this one.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub, dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::Write;

use bytes::Bytes;
use rand_core::{TryCryptoRng, TryRng};
use valise_proto::crypto::{
    SealingKey, SealingPublicKey, Signature, SigningKey, context, fingerprint, pae, sha256,
};
use valise_proto::delegation::{Delegation, SignedDelegation};
use valise_proto::directory::DirectoryContent;
use valise_proto::enrolment::ENROLMENT_BYTES_MAX;
use valise_proto::envelope::{
    HeaderDraft, NoticeKind, PlainPortion, PortionIndex, Precedence, SealFor, seal,
};
use valise_proto::id::{NoticeId, Timestamp};
use valise_proto::label::{AtMost, Ceiling, Classification, Label, PolicyId};
use valise_proto::notice::Notice;
use valise_proto::refusal::RefusalCode;
use valise_proto::renewal::{RENEWAL_BYTES_MAX, RenewalRequest, SignedRenewalRequest};
use valise_proto::wire::Signed;
use valise_proto::wire::limits::{
    DELEGATION_BYTES_MAX, DIRECTORY_BYTES_MAX, Limits, PARTS_MAX, PUBLICATION_BYTES_MAX,
    STREAM_OPEN_BYTES_MAX,
};
use zeroize::Zeroizing;

#[path = "delegated/raw.rs"]
mod raw;

use raw::Message;

const PAGE: &str = include_str!("../../PROTOCOL.md");
const BYTES_IN_A_LINE: usize = 32;

/// The text of the page, in the order in which it stands there.
#[derive(Default)]
struct Worked(String);

impl Worked {
    fn says(&mut self, line: &str) {
        writeln!(self.0, "{line}").unwrap();
    }

    /// Bytes under a name of at most twelve letters, as many lines as it takes.
    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        for (index, line) in bytes.chunks(BYTES_IN_A_LINE).enumerate() {
            let name = if index == 0 { name } else { "" };
            writeln!(self.0, "  {name:<12}{}", hex::encode(line)).unwrap();
        }
    }

    /// Bytes in one line without a name.
    fn plain(&mut self, bytes: &[u8]) {
        writeln!(self.0, "  {}", hex::encode(bytes)).unwrap();
    }

    /// A few bytes, set apart from each other.
    fn spaced(&mut self, bytes: &[u8]) {
        let spaced: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(self.0, "  {}", spaced.join(" ")).unwrap();
    }

    fn signature(&mut self, signature: &Signature) {
        self.bytes("key id", signature.key_id.as_bytes());
        self.bytes("signature", &signature.value);
    }

    fn gap(&mut self) {
        self.0.push('\n');
    }
}

#[test]
fn the_page_shows_the_bytes_that_are_made_here() {
    let section = PAGE.split("\n## 14. Worked bytes\n").nth(1).unwrap();
    let shown = section.split("```\n").nth(1).unwrap();
    let mut worked = Worked::default();
    names(&mut worked);
    sealed(&mut worked);
    small(&mut worked);
    delegation(&mut worked);
    directory(&mut worked);
    renewal(&mut worked);
    let made = worked.0.trim_end();
    assert!(shown.trim_end() == made, "PROTOCOL.md, section 14, should show:\n{made}\n");
}

#[test]
fn the_page_lists_every_refusal_by_its_number() {
    let section = PAGE.split("\n## 9. Refusals\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert_eq!(rows.len(), RefusalCode::ALL.len());
    for (row, code) in rows.into_iter().zip(RefusalCode::ALL) {
        assert!(row.starts_with(&format!("| {} | {code} | ", code.number())), "{code}: {row}");
    }
}

#[test]
fn the_page_gives_each_payload_type_its_length() {
    for context in [
        context::HEADER,
        context::RECEIPT,
        context::DIRECTORY,
        context::DELEGATION,
        context::ENROLMENT_REQUEST,
        context::ENROLMENT_BUNDLE,
        context::RENEWAL_REQUEST,
        context::RENEWAL_POSSESSION,
        context::PORTION,
        context::COMMITMENT,
        context::WRAP,
        context::CHALLENGE,
    ] {
        let row = format!("| `{context}` | {} |", context.len());
        assert!(PAGE.contains(&row), "the page lacks the row {row}");
    }
    for context in [
        context::AUTHORITY_STATE,
        context::ROOT_STATE,
        context::JOURNAL,
        context::BACKUP,
        context::STATELESS_RESET,
    ] {
        assert!(PAGE.contains(&format!("`{context}`")), "the page lacks {context}");
    }
}

#[test]
fn the_page_gives_the_bounds_that_are_held_here() {
    let limits = Limits::DEFAULT;
    for (what, bound) in [
        ("envelope", limits.envelope_bytes_max),
        ("recipients", limits.recipients_max),
        ("portions", limits.portions_max),
        ("unacknowledged deliveries per receive stream", limits.unacknowledged_max),
        ("submissions in flight per submit stream", limits.in_flight_max),
        ("first frame of a stream", STREAM_OPEN_BYTES_MAX),
        ("frame of a session or query stream", PUBLICATION_BYTES_MAX),
        ("directory", DIRECTORY_BYTES_MAX),
        ("delegation", DELEGATION_BYTES_MAX),
        ("enrolment request, bundle, trust", ENROLMENT_BYTES_MAX),
        ("renewal request", RENEWAL_BYTES_MAX),
        ("parts of a notice, and of a portion", PARTS_MAX),
    ] {
        let row = format!("\n| {what} | {}", thousands(bound));
        let found = PAGE.find(&row).map(|at| &PAGE[at + row.len()..]);
        let ends =
            found.is_some_and(|rest| !rest.starts_with(|next: char| next == ',' || next.is_ascii_digit()));
        assert!(ends, "the page lacks the row{row}");
    }
}

/// As the page writes numbers: 16,384.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let place = |index: usize| digits.len() - index;
    let grouped = digits.chars().enumerate().map(|(index, digit)| {
        let comma = index > 0 && place(index) % 3 == 0;
        if comma { format!(",{digit}") } else { digit.to_string() }
    });
    grouped.collect()
}

fn names(worked: &mut Worked) {
    let rfc = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let key = valise_proto::crypto::VerifyingKey::from_bytes(&hex::decode(rfc).unwrap()).unwrap();
    worked.says(&format!("key id of the Ed25519 key {rfc} (RFC 8032, 7.1, test 1)"));
    worked.plain(key.key_id().as_bytes());
    worked.gap();
    worked.says("key id of 1,216 zero bytes as an X-Wing key");
    worked.plain(SealingPublicKey::from_bytes(&[0; 1216]).unwrap().key_id().as_bytes());
    worked.gap();
    worked.says(&format!("PAE(\"{}\", \"abc\")", context::HEADER));
    worked.says(&format!("  \"{}\"", String::from_utf8(pae(context::HEADER, b"abc")).unwrap()));
    worked.gap();
}

/// Gives the bytes that are handed to it, and then zeros.
struct Script(Vec<u8>);

impl TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        let some = to.len().min(self.0.len());
        to.fill(0);
        to[..some].copy_from_slice(&self.0.drain(..some).collect::<Vec<_>>());
        Ok(())
    }
}

impl TryCryptoRng for Script {}

fn policy() -> PolicyId {
    "exchange.example".parse().unwrap()
}

fn parts(json: &serde_json::Value) -> Zeroizing<Vec<u8>> {
    let notice = Notice::from_json(json.to_string().as_bytes(), &policy(), at("2026-06-01T00:00:00Z"));
    notice.unwrap().portions()[0].encode()
}

fn sealed(worked: &mut Worked) {
    let parts = parts(&serde_json::json!({
        "kind": "RESPONSE",
        "precedence": "ROUTINE",
        "label": "UNCLASSIFIED",
        "recipients": ["fra/ncb"],
        "in_reply_to": "01890000-0000-7000-8000-000000000001",
        "parts": [{ "type": "response", "outcome": "WILL_ACT", "text": "Noted." }],
    }));
    worked
        .says("Parts of a RESPONSE without terms, whose outcome is WILL_ACT and text \"Noted.\": version 1, one part without id");
    worked.spaced(&parts);
    worked.gap();

    let notice_id: NoticeId = "01890000-0000-7000-8000-000000000000".parse().unwrap();
    let (key, salt) = ([0x42; 32], std::array::from_fn::<u8, 32, _>(|n| u8::try_from(n).unwrap()));
    let draft = HeaderDraft {
        notice_id,
        kind: NoticeKind::Response,
        originator: "ken/ncb".parse().unwrap(),
        precedence: Precedence::Routine,
        created_at: at("2026-03-01T00:00:00Z"),
        expires_at: at("2026-04-01T00:00:00Z"),
        respond_by: None,
        directory_version: 1,
        in_reply_to: None,
        supersedes: None,
        withdraws: None,
        derived_from: None,
    };
    let label = Label::plain(policy(), Classification::Unclassified);
    let recipient = SealFor {
        agency: "fra/ncb".parse().unwrap(),
        key: SealingKey::from_seed(&[9; 32]).unwrap().public().clone(),
        portions: vec![PortionIndex::new(0).unwrap()],
    };
    let portion = PlainPortion { label, parts };
    let sealed = seal(draft, &[portion], &[recipient], &mut Script([key, salt].concat())).unwrap();
    let envelope = sealed.sign(&signing(0x01));
    let promised = &envelope.header().portions[0];
    worked.says(&format!(
        "that portion, as portion 0 of notice {notice_id}, with the key 42 … 42 (32 times) and the salt 00 01 … 1f"
    ));
    worked.bytes("aad", &pae(context::PORTION, &[notice_id.as_bytes().as_slice(), &[0; 4]].concat()));
    worked.bytes("commitment", promised.commitment.as_bytes());
    worked.bytes("ciphertext", &envelope.portions()[0].ciphertext);
    worked.bytes("its SHA-256", promised.ciphertext_sha256.as_bytes());
    worked.gap();
}

fn small(worked: &mut Worked) {
    let example = include_str!("../../deploy/examples/arrival.json");
    let mut arrival: serde_json::Value = serde_json::from_str(example).unwrap();
    arrival["parts"][0]["event_time"] = "2026-03-01T14:30:00+03:00".into();
    // Parts, part, movement, event_time.
    let time = [3, 2, 3]
        .iter()
        .fold(parts(&arrival).to_vec(), |bytes, tag| Message::read(&bytes).bytes(*tag).clone());
    worked
        .says("LocalTime of 2026-03-01T14:30:00+03:00: at_ms 1772364600000, offset_minutes 180 (zigzag 360)");
    worked.spaced(&time);
    worked.gap();
    worked.says("fingerprint of a body \"abc\"");
    worked.says(&format!("  {}", fingerprint(&sha256(&[b"abc"]))));
    worked.gap();
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn signing(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn delegated() -> SignedDelegation {
    let delegation = Delegation {
        trust_domain: "exchange.example".parse().unwrap(),
        generation: 2,
        directory_key: signing(0x02).verifying_key(),
        issuing_key: signing(0x03).verifying_key(),
        former_issuing_keys: Vec::new(),
        ceiling: Ceiling {
            states: AtMost::Only(["FRA", "KEN"].map(|state| state.parse().unwrap()).into()),
            classifications: Classification::Restricted.and_below(),
            compartments: AtMost::Only(BTreeSet::new()),
            affiliations: AtMost::Any,
        },
        not_before: at("2026-03-01T00:00:00Z"),
        not_after: at("2031-03-01T00:00:00Z"),
    };
    delegation.sign(&signing(0x01))
}

fn delegation(worked: &mut Worked) {
    let delegated = delegated();
    let signed = Signed::decode(delegated.encode()).unwrap();
    worked.says("Delegation of exchange.example, generation 2, by the root key of the Ed25519 seed 01 … 01 (32 times): directory");
    worked.says("key of the seed 02 … 02, issuing key of 03 … 03; States FRA and KEN, classifications up to RESTRICTED, no compartment,");
    worked.says("any affiliation; from 2026-03-01T00:00:00Z to 2031-03-01T00:00:00Z");
    worked.bytes("body", &signed.body);
    worked.signature(&signed.signature);
    worked.gap();
}

fn directory(worked: &mut Worked) {
    let content = DirectoryContent {
        trust_domain: "exchange.example".parse().unwrap(),
        policy: policy(),
        version: 7,
        issued_at: at("2026-03-01T00:00:00Z"),
        expires_at: at("2026-03-31T00:00:00Z"),
        agencies: BTreeMap::new(),
        brokers: BTreeMap::new(),
        delegation: delegated(),
    };
    let directory = content.sign(&signing(0x02)).unwrap();
    let signed = Signed::decode(directory.encoded().clone()).unwrap();
    worked.says("Directory by that delegation: policy exchange.example, version 7, from 2026-03-01T00:00:00Z to 2026-03-31T00:00:00Z,");
    worked.says(
        "no agencies, no brokers. Its body ends with field 9, which is the Signed { body, signature } above",
    );
    let carried = delegated().encode();
    let (head, tail) = signed.body.split_at(signed.body.len() - carried.len());
    assert_eq!(tail, carried);
    worked.bytes("begins", head);
    worked.bytes("SHA-256", sha256(&[&signed.body]).as_bytes());
    worked.signature(&signed.signature);
    worked.gap();
}

fn renewal(worked: &mut Worked) {
    let sealing = SealingKey::from_seed(&[0x06; 32]).unwrap().public().clone();
    let request = RenewalRequest {
        trust_domain: "exchange.example".parse().unwrap(),
        agency: "fra/ncb".parse().unwrap(),
        csr_der: Bytes::from_static(&[0x30, 0x00]),
        signing_key: signing(0x05).verifying_key(),
        sealing_key: sealing.clone(),
        created_at: at("2026-05-01T00:00:00Z"),
    };
    let made = request.sign(&signing(0x04), &signing(0x05));
    let encoded = made.encode();
    assert_eq!(SignedRenewalRequest::decode(encoded.clone()).unwrap(), made);
    let mut outer = Message::read(&encoded);
    let request = Signed::decode(outer.bytes(1).clone().into()).unwrap();
    let mut possession = Message::read(outer.bytes(2));
    let key = sealing.to_bytes();
    let place = request.body.windows(key.len()).position(|window| window == key).unwrap();
    worked.says("RenewalRequest of fra/ncb, made 2026-05-01T00:00:00Z, signed with the key of the seed 04 … 04 and with the one it brings,");
    worked.says("of 05 … 05; sealing key of the X-Wing seed 06 … 06. `30 00` stands for the CSR");
    worked.bytes("body begins", &request.body[..place]);
    worked.bytes("sealing key", &key[..32]);
    worked.says(&format!("              … {} bytes in all, with the SHA-256", key.len()));
    worked.bytes("", sha256(&[&key]).as_bytes());
    worked.bytes("body ends", &request.body[place + key.len()..]);
    worked.bytes("SHA-256", sha256(&[&request.body]).as_bytes());
    worked.signature(&request.signature);
    worked.says("  possession");
    worked.bytes("key id", possession.bytes(1));
    worked.bytes("signature", possession.bytes(2));
    worked.says(&format!("  SignedRenewalRequest: {} bytes, with the SHA-256", encoded.len()));
    worked.bytes("", sha256(&[&encoded]).as_bytes());
    worked.says(&format!("  fingerprint {}", made.fingerprint()));
}
