//! Custody, and consular access to whoever is held (S/RES/2396, paragraph 6).

use super::json::{codes, record};
use super::local_time::LocalTime;
use super::part::LocalId;
use super::place::Country;
use super::text::{Line, List};

codes! {
    /// How a person is held.
    pub enum CustodyStatus {
        /// Captured.
        Captured = "CAPTURED",
        /// Detained.
        Detained = "DETAINED",
        /// Released.
        Released = "RELEASED",
        /// Handed to another authority.
        Transferred = "TRANSFERRED",
    }
}

codes! {
    /// A step in consular access.
    pub enum ConsularStep {
        /// Offered to the person.
        Offered = "OFFERED",
        /// Requested by the person or the State.
        Requested = "REQUESTED",
        /// Granted.
        Granted = "GRANTED",
        /// Refused, by the authority or by the person.
        Refused = "REFUSED",
        /// Due, and still to be offered.
        Pending = "PENDING",
    }
}

record! {
    /// One step in the consular access of one State.
    pub struct ConsularAccess {
        /// The State whose consulate it is.
        state: Country,
        /// What happened.
        step: ConsularStep,
        /// When.
        at: Option<LocalTime>,
    }
}

record! {
    /// How and by whom a person is held.
    pub struct Custody {
        /// Who is held: the id of a person.
        about: LocalId,
        /// How.
        status: CustodyStatus,
        /// Since when.
        since: Option<LocalTime>,
        /// By whom.
        authority: Option<Line<128>>,
        /// Where.
        place: Option<Line<128>>,
        /// Consular access, step by step.
        consular_access: List<ConsularAccess, 0, 32>,
    }
}
