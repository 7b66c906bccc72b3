//! Identifiers: parsed once, valid for ever.
//!
//! Every name that crosses the wire or a file becomes one of these types through one fallible constructor.
//! Past that point nobody checks again.

mod spiffe;
mod timestamp;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

pub use spiffe::{Role, SpiffeId};
pub use timestamp::Timestamp;

/// Longest unit or broker name, in bytes.
pub const NAME_BYTES_MAX: usize = 32;
/// Longest trust domain, in bytes (SPIFFE-ID section 2.1).
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// Organisations that issue travel documents without being States (ICAO Doc 9303-3 section 5, part D and E).
const ICAO_ORGANISATIONS: [&str; 16] = [
    "EUE", "UNA", "UNK", "UNO", "XAA", "XBA", "XCC", "XCE", "XCO", "XDC", "XEC", "XES", "XIM", "XMP", "XOM",
    "XPO",
];

/// Why a string or byte sequence is not a valid identifier. The fault is the writer's; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// Not a code of ISO 3166-1 alpha-3 nor an organisation of ICAO Doc 9303-3.
    #[error(
        "`{0}` is not a State: use an ISO 3166-1 alpha-3 code such as FRA, or an ICAO organisation such as XPO"
    )]
    State(String),
    /// Not `<state>/<unit>`.
    #[error("`{0}` is not an agency: write <state>/<unit> in lower case, such as fra/ncb")]
    Agency(String),
    /// Not a unit or broker name.
    #[error("`{0}` is not a name: use 1 to 32 of a-z, 0-9 and -, beginning with a letter")]
    Name(String),
    /// Not a SPIFFE trust domain.
    #[error(
        "`{0}` is not a trust domain: use lower-case letters, digits, `.`, `-` and `_`, such as exchange.example"
    )]
    TrustDomain(String),
    /// Not a SPIFFE ID of this scheme.
    #[error(
        "`{0}` is not an identity of an agency (spiffe://<domain>/agency/<state>/<unit>) or a broker (spiffe://<domain>/broker/<name>)"
    )]
    Spiffe(String),
    /// Not a version 7 UUID.
    #[error("`{0}` is not a notice id: it must be a version 7 UUID (RFC 9562)")]
    Notice(String),
    /// A digest or key id of the wrong length or alphabet.
    #[error("`{value}` is not {expected} hexadecimal bytes")]
    Hex {
        /// What was given.
        value: String,
        /// How many bytes there should be.
        expected: usize,
    },
    /// A byte sequence of the wrong length.
    #[error("got {got} bytes where {expected} are needed")]
    Length {
        /// Bytes needed.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// Not a time that RFC 3339 can write.
    #[error("`{0}` is not a time: write RFC 3339 in UTC, such as 2026-03-01T12:00:00Z")]
    Time(String),
}

/// Serde by way of `Display` and `FromStr`, for identifiers that are strings in JSON and TOML.
macro_rules! string_serde {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

use string_serde;

/// A State (ISO 3166-1 alpha-3) or an organisation (ICAO Doc 9303-3) in upper case, such as `FRA` or `XPO`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State([u8; 3]);

impl State {
    /// The three letters in upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }

    /// True for an organisation such as INTERPOL (XPO), false for a State.
    #[must_use]
    pub fn is_organisation(&self) -> bool {
        ICAO_ORGANISATIONS.contains(&self.as_str())
    }
}

impl FromStr for State {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let letters: [u8; 3] = text.as_bytes().try_into().map_err(|_| IdError::State(excerpt(text)))?;
        let known = letters.iter().all(u8::is_ascii_uppercase)
            && (ICAO_ORGANISATIONS.contains(&text) || rust_iso3166::from_alpha3(text).is_some());
        if known { Ok(Self(letters)) } else { Err(IdError::State(excerpt(text))) }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

string_serde!(State);

/// A member of the exchange, named `<state>/<unit>` in lower case: `fra/ncb`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgencyId(Arc<str>);

impl AgencyId {
    /// `fra/ncb`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The State or organisation before the slash.
    #[must_use]
    pub fn state(&self) -> State {
        let mut letters = [b'?'; 3];
        for (to, from) in letters.iter_mut().zip(self.0.bytes()) {
            *to = from.to_ascii_uppercase();
        }
        State(letters)
    }

    /// The unit after the slash.
    #[must_use]
    pub fn unit(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, unit)| unit)
    }
}

impl FromStr for AgencyId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = || IdError::Agency(excerpt(text));
        let (state, unit) = text.split_once('/').ok_or_else(bad)?;
        if state.bytes().any(|b| b.is_ascii_uppercase()) || !is_name(unit) {
            return Err(bad());
        }
        state.to_ascii_uppercase().parse::<State>()?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for AgencyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AgencyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_serde!(AgencyId);

/// The name of a broker within its trust domain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerName(Arc<str>);

impl BrokerName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BrokerName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if is_name(text) { Ok(Self(text.into())) } else { Err(IdError::Name(excerpt(text))) }
    }
}

impl fmt::Display for BrokerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BrokerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_serde!(BrokerName);

/// One exchange with one authority (SPIFFE trust domain).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The domain.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if !text.is_empty() && text.len() <= TRUST_DOMAIN_BYTES_MAX && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(IdError::TrustDomain(excerpt(text)))
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_serde!(TrustDomain);

/// A notice's identity: a version 7 UUID (RFC 9562 section 5.7), so ids sort by the time they were made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoticeId([u8; 16]);

impl NoticeId {
    /// Makes an id from the time it is made and ten random bytes.
    #[must_use]
    pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(at.millis(), &random).into_uuid().into_bytes())
    }

    /// Reads the sixteen bytes of an id.
    ///
    /// # Errors
    /// [`IdError::Length`] or [`IdError::Notice`] where the bytes are not a version 7 UUID.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdError> {
        let bytes: [u8; 16] =
            bytes.try_into().map_err(|_| IdError::Length { expected: 16, got: bytes.len() })?;
        let id = uuid::Uuid::from_bytes(bytes);
        if id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122 {
            Ok(Self(bytes))
        } else {
            Err(IdError::Notice(id.to_string()))
        }
    }

    /// The sixteen bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for NoticeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = uuid::Uuid::try_parse(text).map_err(|_| IdError::Notice(excerpt(text)))?;
        Self::from_bytes(id.as_bytes())
    }
}

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&uuid::Uuid::from_bytes(self.0), f)
    }
}

impl fmt::Debug for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

string_serde!(NoticeId);

/// Fixed-length binary identifiers written in hexadecimal.
macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// How many bytes it has.
            pub const LEN: usize = $len;

            /// Takes the bytes as they are.
            #[must_use]
            pub fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Reads the bytes.
            ///
            /// # Errors
            /// [`IdError::Length`] where there are too few or too many.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdError> {
                let got = bytes.len();
                Ok(Self(bytes.try_into().map_err(|_| IdError::Length { expected: $len, got })?))
            }

            /// The bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| IdError::Hex { value: excerpt(text), expected: $len })?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        string_serde!($name);
    };
}

hex_id!(
    /// A SHA-256 digest.
    Digest,
    32
);

hex_id!(
    /// The name of a public key: the first 16 bytes of a SHA-256 over its kind and bytes.
    KeyId,
    16
);

hex_id!(
    /// Says to the originator alone from which of its notices another was derived: sixteen random bytes under which its
    /// own store finds that notice. To everybody else it tells neither which, nor when, nor under what label.
    Derivation,
    16
);

/// True for 1 to 32 of `a-z`, `0-9` and `-`, beginning with a letter.
fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The beginning of a bad value, short enough for an error message whatever was sent.
fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    let mut out: String = text.chars().take(CHARS_MAX).filter(|c| !c.is_control()).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agency_is_a_known_state_and_a_unit_in_lower_case() {
        for good in ["fra/ncb", "xpo/general-secretariat", "ken/immigration", "tur/border"] {
            assert_eq!(good.parse::<AgencyId>().unwrap().to_string(), good);
        }
        for bad in
            ["", "fra", "FRA/ncb", "fra/", "fra/NCB", "zzz/ncb", "fra/a/b", "fra/-x", "fra/1x", "../ncb"]
        {
            assert!(bad.parse::<AgencyId>().is_err(), "`{bad}` was taken for an agency");
        }
        assert_eq!("tur/border".parse::<AgencyId>().unwrap().state(), "TUR".parse().unwrap());
    }

    #[test]
    fn a_spiffe_id_parses_back_from_what_it_prints() {
        for good in ["spiffe://exchange.example/agency/fra/ncb", "spiffe://exchange.example/broker/b1"] {
            assert_eq!(good.parse::<SpiffeId>().unwrap().to_string(), good);
        }
        for bad in [
            "https://exchange.example/agency/fra/ncb",
            "spiffe://Exchange.example/agency/fra/ncb",
            "spiffe://exchange.example/agency/fra",
            "spiffe://exchange.example/workload/x",
            "spiffe:///agency/fra/ncb",
            "spiffe://exchange.example/agency/fra/ncb/x",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "`{bad}` was taken for an identity");
        }
    }

    #[test]
    fn a_notice_id_is_a_version_7_uuid_and_nothing_else() {
        let id = NoticeId::new(Timestamp::from_millis(1_700_000_000_000), [7; 10]);
        assert_eq!(id.to_string().parse::<NoticeId>().unwrap(), id);
        assert!("00000000-0000-4000-8000-000000000000".parse::<NoticeId>().is_err());
        assert!(NoticeId::from_bytes(&[0; 15]).is_err());
    }

    #[test]
    fn notice_ids_sort_by_the_time_they_were_made() {
        let earlier = NoticeId::new(Timestamp::from_millis(1_000), [255; 10]);
        let later = NoticeId::new(Timestamp::from_millis(1_001), [0; 10]);
        assert!(earlier < later);
    }

    #[test]
    fn a_time_keeps_its_milliseconds_and_refuses_what_is_before_the_epoch() {
        let at: Timestamp = "2026-03-01T12:00:00.25Z".parse().unwrap();
        assert_eq!(at.to_string(), "2026-03-01T12:00:00.25Z");
        assert_eq!("2026-03-01T13:00:00.25+01:00".parse::<Timestamp>().unwrap(), at);
        assert!("1969-12-31T23:59:59Z".parse::<Timestamp>().is_err());
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
