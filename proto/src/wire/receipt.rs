//! Receipts and refusals on the wire.

use std::time::Duration;

use bytes::Bytes;

use super::convert::{notice_id_from_pb, notice_id_to_pb, parse, time_from_pb};
use super::{WireError, check_count, check_version, decode_strict, pb};
use crate::id::Digest;
use crate::receipt::{OFFICER_BYTES_MAX, Receipt, ReceiptKind};
use crate::refusal::{DETAIL_BYTES_MAX, Refusal, RefusalCode};

pub(crate) fn encode(receipt: &Receipt) -> Bytes {
    super::encode(&pb::Receipt {
        version: 1,
        kind: kind_to_pb(receipt.kind),
        notice_id: notice_id_to_pb(receipt.notice_id.as_ref()),
        header_digest: Bytes::copy_from_slice(receipt.header_digest.as_bytes()),
        issuer: receipt.issuer.to_string(),
        recipient: receipt.recipient.as_ref().map(ToString::to_string).unwrap_or_default(),
        at_ms: receipt.at.millis(),
        officer: receipt.officer.clone().unwrap_or_default(),
        refusal: receipt.refusal.as_ref().map(refusal_to_pb),
    })
}

pub(crate) fn decode(bytes: Bytes) -> Result<Receipt, WireError> {
    let message: pb::Receipt = decode_strict("receipt", bytes)?;
    check_version("receipt", message.version)?;
    let kind = ReceiptKind::ALL.into_iter().find(|kind| kind_to_pb(*kind) == message.kind);
    let kind = kind.ok_or_else(|| WireError::field("receipt.kind", "not a kind of receipt"))?;
    check_count("receipt.officer", message.officer.len(), OFFICER_BYTES_MAX)?;
    let notice_id = notice_id_from_pb("receipt.notice_id", &message.notice_id)?;
    if notice_id.is_none() && kind != ReceiptKind::Refused {
        return Err(WireError::field("receipt.notice_id", "missing"));
    }
    Ok(Receipt {
        kind,
        notice_id,
        header_digest: Digest::from_bytes(&message.header_digest)
            .map_err(|error| WireError::field("receipt.header_digest", error))?,
        issuer: parse("receipt.issuer", &message.issuer)?,
        recipient: match message.recipient.as_str() {
            "" => None,
            agency => Some(parse("receipt.recipient", agency)?),
        },
        at: time_from_pb("receipt.at_ms", message.at_ms)?,
        officer: Some(message.officer).filter(|name| !name.is_empty()),
        refusal: message.refusal.map(refusal_from_pb).transpose()?,
    })
}

pub(super) fn refusal_to_pb(refusal: &Refusal) -> pb::Refusal {
    let retry_after =
        refusal.retry_after.map_or(0, |after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    pb::Refusal { code: refusal.code.number(), detail: refusal.detail.clone(), retry_after_ms: retry_after }
}

pub(super) fn refusal_from_pb(message: pb::Refusal) -> Result<Refusal, WireError> {
    let unknown = || WireError::field("refusal.code", format!("{} is not a refusal code", message.code));
    let code = RefusalCode::from_number(message.code).ok_or_else(unknown)?;
    check_count("refusal.detail", message.detail.len(), DETAIL_BYTES_MAX)?;
    let retry_after = (message.retry_after_ms > 0).then(|| Duration::from_millis(message.retry_after_ms));
    Ok(Refusal { code, detail: message.detail, retry_after })
}

fn kind_to_pb(kind: ReceiptKind) -> i32 {
    let message = match kind {
        ReceiptKind::Accepted => pb::ReceiptKind::Accepted,
        ReceiptKind::Refused => pb::ReceiptKind::Refused,
        ReceiptKind::Delivered => pb::ReceiptKind::Delivered,
        ReceiptKind::Read => pb::ReceiptKind::Read,
        ReceiptKind::Actioned => pb::ReceiptKind::Actioned,
        ReceiptKind::Rejected => pb::ReceiptKind::Rejected,
        ReceiptKind::Purged => pb::ReceiptKind::Purged,
        ReceiptKind::Expired => pb::ReceiptKind::Expired,
    };
    message.into()
}
