//! Travel documents.

use super::date::Day;
use super::json::{codes, record};
use super::mrz::Mrz;
use super::text::{Line, List};
use crate::id::State;

codes! {
    /// What a document is.
    pub enum DocumentKind {
        /// A passport.
        Passport = "PASSPORT",
        /// A diplomatic or service passport.
        OfficialPassport = "OFFICIAL_PASSPORT",
        /// An identity card.
        IdentityCard = "IDENTITY_CARD",
        /// A visa.
        Visa = "VISA",
        /// A residence permit.
        ResidencePermit = "RESIDENCE_PERMIT",
        /// A refugee's or stateless person's travel document.
        RefugeeTravelDocument = "REFUGEE_TRAVEL_DOCUMENT",
        /// A document for one journey, such as one a consulate issues for a return.
        EmergencyTravelDocument = "EMERGENCY_TRAVEL_DOCUMENT",
        /// A laissez-passer.
        LaissezPasser = "LAISSEZ_PASSER",
        /// A seafarer's identity document.
        SeafarerDocument = "SEAFARER_DOCUMENT",
        /// Another document.
        Other = "OTHER",
    }
}

codes! {
    /// What is known against a document.
    pub enum DocumentFlag {
        /// Reported lost.
        Lost = "LOST",
        /// Reported stolen.
        Stolen = "STOLEN",
        /// Found to be forged.
        Forged = "FORGED",
    }
}

record! {
    /// A travel document.
    pub struct Document {
        /// What it is.
        kind: DocumentKind,
        /// Its number, as printed.
        number: Line<64>,
        /// The State or organisation that issued it, or in whose name it claims to be issued.
        issuer: State,
        /// The last day of its validity.
        expiry: Option<Day>,
        /// The machine-readable zone (ICAO Doc 9303); its check digits are verified.
        mrz: Option<Mrz>,
        /// What is known against it.
        flags: List<DocumentFlag, 0, 3>,
    }
}

impl Document {
    /// Whether the zone, where there is one, bears the number given. Signs that an MRZ cannot hold do not count.
    pub(super) fn number_agrees(&self) -> bool {
        let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        self.mrz.as_ref().is_none_or(|mrz| plain(&mrz.document_number()) == plain(self.number.as_str()))
    }
}
