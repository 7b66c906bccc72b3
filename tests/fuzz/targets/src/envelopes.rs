//! Envelopes and headers: what a broker and a recipient read before anybody's signature was checked.

use std::collections::BTreeSet;

use bytes::Bytes;
use valise_proto::crypto::{Signature, context, sha256};
use valise_proto::envelope::{Envelope, Header, VerifiedEnvelope};
use valise_proto::label::Label;
use valise_proto::refusal::{DETAIL_BYTES_MAX, Refusal};
use valise_proto::wire::limits::Limits;

use crate::exchange::{self, DIRECTORY};
use crate::oracle::{Fields, bounded, field, fields, refused};

/// An encoded envelope, as it is submitted.
///
/// What is read has nothing in it that came unseen, keeps the limits, keeps the header's bytes, and is read back as the
/// same; what is cut out of it for a recipient is such an envelope too. What then verifies is what the originator signed.
pub fn envelope(bytes: &[u8]) -> bool {
    let limits = Limits::DEFAULT;
    let bytes = Bytes::copy_from_slice(bytes);
    let envelope = match bounded(bytes.len(), || Envelope::decode(bytes.clone(), &limits)) {
        Ok(envelope) => envelope,
        Err(error) => return refused(&error),
    };
    assert!(bytes.len() <= limits.envelope_bytes_max, "{} bytes were taken", bytes.len());
    check_limits(&envelope, &limits);
    let written = envelope.encode();
    assert_eq!(top_level(&written), top_level(&bytes), "something in the envelope was passed over");
    let back = Envelope::decode(written, &limits).unwrap();
    check_same(&back, &envelope);
    assert_eq!(envelope.header_digest(), sha256(&[envelope.header_bytes()]));
    check_header(envelope.header());
    for recipient in &envelope.header().recipients {
        let permitted: Vec<_> = envelope.portions().iter().map(|portion| portion.index).step_by(2).collect();
        let cut = envelope.for_recipient(recipient, &permitted);
        let read = Envelope::decode(cut.encode(), &limits).unwrap();
        check_same(&read, &cut);
        assert_eq!(cut.header_bytes(), envelope.header_bytes(), "the signed bytes changed on the way");
        assert!(cut.wraps().iter().all(|wrap| wrap.recipient == *recipient), "another's wrap was handed on");
    }
    judge(&envelope);
    true
}

/// The body of a header; it is signed by `fra/ncb`, whose envelope then has neither portions nor wraps.
///
/// What is read follows the rules that need no directory, and is the one encoding there is of what it says.
pub fn header(bytes: &[u8]) -> bool {
    let limits = Limits::DEFAULT;
    let signature = exchange::signing_key("fra/ncb").sign(context::HEADER, bytes);
    let encoded = Bytes::from([field(1, bytes), field(2, &encode_signature(&signature))].concat());
    let envelope = match bounded(bytes.len(), || Envelope::decode(encoded, &limits)) {
        Ok(envelope) => envelope,
        Err(error) => return refused(&error),
    };
    check_limits(&envelope, &limits);
    check_header(envelope.header());
    assert_eq!(envelope.header_bytes(), bytes, "the signed bytes are not those that came");
    let bare = envelope.bare();
    check_same(&Envelope::decode(bare.encode(), &limits).unwrap(), &bare);
    judge(&envelope);
    true
}

fn encode_signature(signature: &Signature) -> Vec<u8> {
    [field(1, signature.key_id.as_bytes()), field(2, &signature.value)].concat()
}

/// The fields of an envelope and, each for itself, those of its signature, portions and wraps.
fn top_level(envelope: &[u8]) -> Vec<(u64, Fields)> {
    const HEADER: u64 = 1 << 3 | 2;
    let inside = |(key, value): (u64, Vec<u8>)| match key {
        HEADER => (key, vec![(key, value)]),
        _ => (key, fields(&value).unwrap()),
    };
    fields(envelope).unwrap().into_iter().map(inside).collect()
}

/// The bounds of PROTOCOL.md, section 13.
pub(crate) fn check_limits(envelope: &Envelope, limits: &Limits) {
    let (header, portions, wraps) = (envelope.header(), envelope.portions(), envelope.wraps());
    assert!(portions.len() <= limits.portions_max, "{} portions were taken", portions.len());
    assert!(wraps.len() <= limits.recipients_max, "{} wraps were taken", wraps.len());
    assert!(header.portions.len() <= limits.portions_max, "{} portions are told", header.portions.len());
    assert!(header.recipients.len() <= limits.recipients_max, "{} recipients", header.recipients.len());
}

fn check_same(a: &Envelope, b: &Envelope) {
    assert_eq!(a.header(), b.header());
    assert_eq!(a.header_bytes(), b.header_bytes());
    assert_eq!(a.signature(), b.signature());
    assert_eq!(a.portions(), b.portions());
    assert_eq!(a.wraps(), b.wraps());
}

/// What holds of every header, whoever wrote it.
fn check_header(header: &Header) {
    let recipients: BTreeSet<_> = header.recipients.iter().collect();
    assert!(!header.portions.is_empty() && !recipients.is_empty(), "a notice of nothing, or to nobody");
    assert_eq!(recipients.len(), header.recipients.len(), "a recipient stands there twice");
    assert!(!recipients.contains(&header.originator), "a notice to its own originator");
    assert!(header.created_at < header.expires_at, "a notice that expires before it is made");
    assert!(header.label.check_sizes().is_ok(), "an overall label that no record has room for");
    for portion in &header.portions {
        assert!(header.label.dominates(&portion.label), "the whole is marked lower than one of its parts");
    }
    let whole = Label::join(header.portions.iter().map(|portion| &portion.label));
    assert_eq!(whole.as_ref(), Some(&header.label), "the overall label is not the join");
    for entry in DIRECTORY.content().agencies.values() {
        let permitted = header.permitted(&entry.clearance);
        assert!(permitted.is_sorted() && permitted.len() <= header.portions.len());
    }
}

/// As broker and as recipient: whatever verifies is of an originator the directory lists, as it signed it.
fn judge(envelope: &Envelope) {
    let directory = &*DIRECTORY;
    let submitted = envelope.clone().verify_submitted(directory, exchange::now());
    if let Some(verified) = judged(submitted) {
        let (header, inner) = (verified.header(), verified.envelope());
        check_signed(inner);
        assert_eq!(inner.portions().len(), header.portions.len(), "a portion is missing");
        assert!(inner.wraps().iter().map(|wrap| &wrap.recipient).eq(&header.recipients), "a wrap is missing");
    }
    for recipient in directory.content().agencies.keys() {
        let delivered = envelope.clone().verify_delivered(directory, recipient);
        if let Some(verified) = judged(delivered) {
            check_signed(verified.envelope());
            assert!(verified.header().recipients.contains(recipient), "{recipient} is no recipient");
        }
    }
}

fn judged(verified: Result<VerifiedEnvelope, Refusal>) -> Option<VerifiedEnvelope> {
    let refusal = match verified {
        Ok(verified) => return Some(verified),
        Err(refusal) => refusal,
    };
    refused(&refusal);
    assert!(refusal.detail.len() <= DETAIL_BYTES_MAX, "a refusal that no answer has room for");
    None
}

fn check_signed(envelope: &Envelope) {
    let originator = DIRECTORY.agency(&envelope.header().originator).unwrap();
    let key = originator.signing_keys.first().unwrap();
    let signed = key.key.verify(context::HEADER, envelope.header_bytes(), envelope.signature());
    assert_eq!(signed, Ok(()), "an envelope verified that {} did not sign", originator.id);
    for portion in envelope.portions() {
        let promised = envelope.header().portions.get(portion.index.get()).unwrap();
        assert_eq!(sha256(&[&portion.ciphertext]), promised.ciphertext_sha256, "another ciphertext");
    }
}
