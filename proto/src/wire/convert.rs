//! Conversions of the small shared messages.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;

use super::{WireError, pb};
use crate::envelope::{NoticeKind, Precedence};
use crate::id::{NoticeId, Timestamp};
use crate::label::{Classification, Clearance, Label};

/// Parses a string field into its domain type.
pub(super) fn parse<T: FromStr<Err: Display>>(field: &'static str, text: &str) -> Result<T, WireError> {
    text.parse().map_err(|error| WireError::field(field, error))
}

/// Parses every entry of a repeated string field.
pub(super) fn parse_set<T: FromStr<Err: Display> + Ord>(
    field: &'static str,
    texts: &[String],
) -> Result<BTreeSet<T>, WireError> {
    texts.iter().map(|text| parse(field, text)).collect()
}

/// Converts every entry of a repeated enum field.
pub(super) fn convert_set<T: Ord>(
    numbers: &[i32],
    convert: impl Fn(i32) -> Result<T, WireError>,
) -> Result<BTreeSet<T>, WireError> {
    numbers.iter().map(|number| convert(*number)).collect()
}

/// A field that must be there.
pub(super) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, WireError> {
    value.ok_or_else(|| WireError::field(field, "missing"))
}

pub(super) fn classification_to_pb(class: Classification) -> i32 {
    let message = match class {
        Classification::Unmarked => pb::Classification::Unmarked,
        Classification::Unclassified => pb::Classification::Unclassified,
        Classification::Restricted => pb::Classification::Restricted,
        Classification::Confidential => pb::Classification::Confidential,
        Classification::Secret => pb::Classification::Secret,
        Classification::TopSecret => pb::Classification::TopSecret,
    };
    message.into()
}

pub(super) fn classification_from_pb(number: i32) -> Result<Classification, WireError> {
    let found = Classification::ALL.into_iter().find(|class| classification_to_pb(*class) == number);
    found.ok_or_else(|| WireError::field("classification", format!("{number} is not a classification")))
}

pub(super) fn precedence_to_pb(precedence: Precedence) -> i32 {
    let message = match precedence {
        Precedence::Routine => pb::Precedence::Routine,
        Precedence::Priority => pb::Precedence::Priority,
        Precedence::Immediate => pb::Precedence::Immediate,
        Precedence::Flash => pb::Precedence::Flash,
    };
    message.into()
}

pub(super) fn precedence_from_pb(number: i32) -> Result<Precedence, WireError> {
    let found = Precedence::ALL.into_iter().find(|precedence| precedence_to_pb(*precedence) == number);
    found.ok_or_else(|| WireError::field("precedence", format!("{number} is not a precedence")))
}

pub(super) fn kind_to_pb(kind: NoticeKind) -> i32 {
    let message = match kind {
        NoticeKind::Travel => pb::NoticeKind::Travel,
        NoticeKind::Arrival => pb::NoticeKind::Arrival,
        NoticeKind::Deportation => pb::NoticeKind::Deportation,
        NoticeKind::Response => pb::NoticeKind::Response,
        NoticeKind::Correction => pb::NoticeKind::Correction,
        NoticeKind::Withdrawal => pb::NoticeKind::Withdrawal,
        NoticeKind::Receipt => pb::NoticeKind::Receipt,
        NoticeKind::ReleaseRequest => pb::NoticeKind::ReleaseRequest,
        NoticeKind::ReleaseDecision => pb::NoticeKind::ReleaseDecision,
    };
    message.into()
}

pub(super) fn kind_from_pb(number: i32) -> Result<NoticeKind, WireError> {
    let found = NoticeKind::ALL.into_iter().find(|kind| kind_to_pb(*kind) == number);
    found.ok_or_else(|| WireError::field("kind", format!("{number} is not a kind of notice")))
}

pub(super) fn label_to_pb(label: &Label) -> pb::Label {
    pb::Label { policy: label.policy.to_string(), banner: label.to_string() }
}

pub(super) fn label_from_pb(field: &'static str, message: Option<pb::Label>) -> Result<Label, WireError> {
    let message = required(field, message)?;
    let policy = parse(field, &message.policy)?;
    let label =
        Label::parse_banner(policy, &message.banner).map_err(|error| WireError::field(field, error))?;
    if label.to_string() == message.banner {
        Ok(label)
    } else {
        Err(WireError::field(field, "the banner is not in its canonical form"))
    }
}

pub(super) fn clearance_to_pb(clearance: &Clearance) -> pb::Clearance {
    pb::Clearance {
        policy: clearance.policy.to_string(),
        class_list: clearance.class_list.iter().map(|class| classification_to_pb(*class)).collect(),
        compartments: clearance.compartments.iter().map(ToString::to_string).collect(),
        affiliations: clearance.affiliations.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn clearance_from_pb(message: Option<pb::Clearance>) -> Result<Clearance, WireError> {
    let message = required("clearance", message)?;
    let clearance = Clearance {
        policy: parse("clearance.policy", &message.policy)?,
        class_list: convert_set(&message.class_list, classification_from_pb)?,
        compartments: parse_set("clearance.compartments", &message.compartments)?,
        affiliations: parse_set("clearance.affiliations", &message.affiliations)?,
    };
    clearance.check_sizes().map_err(|error| WireError::field("clearance", error))?;
    Ok(clearance)
}

pub(super) fn notice_id_to_pb(id: Option<&NoticeId>) -> Bytes {
    id.map(|id| Bytes::copy_from_slice(id.as_bytes())).unwrap_or_default()
}

pub(super) fn notice_id_from_pb(field: &'static str, bytes: &[u8]) -> Result<Option<NoticeId>, WireError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    NoticeId::from_bytes(bytes).map(Some).map_err(|error| WireError::field(field, error))
}

/// A time that must be there.
pub(super) fn time_from_pb(field: &'static str, millis: u64) -> Result<Timestamp, WireError> {
    if millis == 0 || millis > Timestamp::MAX.millis() {
        return Err(WireError::field(field, format!("{millis} ms is not a time between 1970 and 9999")));
    }
    Ok(Timestamp::from_millis(millis))
}
