//! Receipts and refusals on the wire.

use std::time::Duration;

use bytes::Bytes;

use super::convert::{notice_id_from_pb, notice_id_to_pb, parse, time_from_pb};
use super::envelope::index;
use super::{WireError, check_count, decode_body, pb};
use crate::envelope::PortionIndex;
use crate::id::Digest;
use crate::receipt::{OFFICER_BYTES_MAX, PurgeCause, Receipt, ReceiptKind};
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
        portions: receipt.portions.iter().map(|index| index.number()).collect(),
        cause: receipt.cause.map_or(0, cause_to_pb),
    })
}

pub(crate) fn decode(bytes: Bytes) -> Result<Receipt, WireError> {
    let message: pb::Receipt = decode_body("receipt", bytes, &[])?;
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
        portions: portions_from_pb(kind, &message.portions)?,
        cause: cause_from_pb(kind, message.cause)?,
    })
}

fn portions_from_pb(kind: ReceiptKind, numbers: &[u32]) -> Result<Vec<PortionIndex>, WireError> {
    let field = "receipt.portions";
    if !numbers.is_empty() && !kind.states_portions() {
        return Err(WireError::field(field, format!("a receipt of kind {kind} states none")));
    }
    if numbers.is_empty() && matches!(kind, ReceiptKind::Delivered | ReceiptKind::Read) {
        return Err(WireError::field(field, "missing: a recipient states what it opened"));
    }
    if !numbers.is_sorted_by(|a, b| a < b) {
        return Err(WireError::field(field, "not in rising order, each once"));
    }
    numbers.iter().map(|number| index(field, *number)).collect()
}

fn cause_to_pb(cause: PurgeCause) -> i32 {
    let message = match cause {
        PurgeCause::Withdrawn => pb::PurgeCause::Withdrawn,
        PurgeCause::Corrected => pb::PurgeCause::Corrected,
        PurgeCause::Review => pb::PurgeCause::Review,
        PurgeCause::Officer => pb::PurgeCause::Officer,
    };
    message.into()
}

fn cause_from_pb(kind: ReceiptKind, number: i32) -> Result<Option<PurgeCause>, WireError> {
    let field = "receipt.cause";
    match (kind == ReceiptKind::Purged, number) {
        (false, 0) => Ok(None),
        (false, _) => Err(WireError::field(field, format!("a receipt of kind {kind} has none"))),
        (true, _) => {
            let found = PurgeCause::ALL.into_iter().find(|cause| cause_to_pb(*cause) == number);
            found.map(Some).ok_or_else(|| WireError::field(field, "missing, or not a cause"))
        }
    }
}

pub(super) fn refusal_to_pb(refusal: &Refusal) -> pb::Refusal {
    let retry_after =
        refusal.retry_after.map_or(0, |after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    pb::Refusal { code: refusal.code.number(), detail: refusal.detail.clone(), retry_after_ms: retry_after }
}

pub(super) fn refusal_from_pb(message: pb::Refusal) -> Result<Refusal, WireError> {
    let none = || WireError::field("refusal.code", "0 is not a refusal code");
    let code = RefusalCode::read(message.code).ok_or_else(none)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::fixture::receipt;

    fn reads(kind: ReceiptKind, portions: &[u32]) -> bool {
        let mut statement = receipt().receipt().clone();
        (statement.kind, statement.portions) = (kind, Vec::new());
        statement.cause = (kind == ReceiptKind::Purged).then_some(PurgeCause::Withdrawn);
        let mut message = <pb::Receipt as prost::Message>::decode(encode(&statement)).unwrap();
        message.portions = portions.to_vec();
        decode(super::super::encode(&message)).is_ok()
    }

    #[test]
    fn g06_a_recipient_states_what_it_opened_and_never_that_it_opened_nothing() {
        for kind in ReceiptKind::ALL {
            let may = kind.states_portions();
            assert_eq!(reads(kind, &[0, 2]), may, "{kind}");
            let must = matches!(kind, ReceiptKind::Delivered | ReceiptKind::Read);
            assert_eq!(reads(kind, &[]), !must, "{kind}");
        }
        assert!(
            !reads(ReceiptKind::Read, &[1, 1]) && !reads(ReceiptKind::Read, &[1, 0]),
            "not in rising order"
        );
        assert!(!reads(ReceiptKind::Read, &[300]), "beyond every limit");
    }

    #[test]
    fn g12_a_statement_of_another_version_is_called_so_whatever_else_it_holds() {
        let mut bytes = encode(receipt().receipt()).to_vec();
        // Field 1 again, and a field this version does not know.
        bytes.extend_from_slice(&[0x08, 0x02, 0xa2, 0x06, 0x01, b'x']);
        assert!(matches!(decode(bytes.into()), Err(WireError::Version { got: 2, .. })));
    }

    #[test]
    fn g12_a_list_in_another_encoding_leaves_no_room_for_what_is_not_known() {
        // Unpacked, the list is a byte shorter than packed; a field of that length would not change the whole's.
        let mut statement = receipt().receipt().clone();
        statement.portions = vec![PortionIndex::new(0).unwrap()];
        let packed = encode(&statement);
        assert!(packed.ends_with(&[0x52, 1, 0]), "field 10, packed");
        let unpacked = [&packed[..packed.len() - 3], &[0x50, 0]].concat();
        assert!(matches!(decode(unpacked.into()), Err(WireError::Unknown { .. })));
    }
}
