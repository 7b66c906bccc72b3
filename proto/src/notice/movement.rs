//! Movements: who goes from where to where, and how.

use super::json::{codes, record};
use super::local_time::LocalTime;
use super::place::{Country, PlaceCode};
use super::text::{Line, List};

codes! {
    /// What kind of movement it is (S/RES/2396, paragraph 3).
    pub enum MovementEvent {
        /// Travel.
        Travel = "TRAVEL",
        /// Arrival.
        Arrival = "ARRIVAL",
        /// Deportation.
        Deportation = "DEPORTATION",
    }
}

codes! {
    /// How far a movement has come.
    pub enum MovementStatus {
        /// It is to happen.
        Planned = "PLANNED",
        /// It is happening.
        UnderWay = "UNDER_WAY",
        /// It has happened.
        Completed = "COMPLETED",
        /// It was tried and did not succeed.
        Attempted = "ATTEMPTED",
        /// It was planned and will not happen.
        Cancelled = "CANCELLED",
    }
}

codes! {
    /// How someone travels.
    pub enum TransportMode {
        /// By air.
        Air = "AIR",
        /// By sea.
        Sea = "SEA",
        /// By road or on foot.
        Land = "LAND",
        /// By rail.
        Rail = "RAIL",
    }
}

record! {
    /// One leg of a journey.
    pub struct Leg {
        /// How.
        mode: TransportMode,
        /// Who carries, by name or code.
        carrier: Option<Line<64>>,
        /// The number of the flight, train or voyage.
        number: Option<Line<32>>,
        /// Where it begins.
        from: PlaceCode,
        /// Where it ends.
        to: PlaceCode,
        /// When it begins.
        departs: Option<LocalTime>,
        /// When it ends.
        arrives: Option<LocalTime>,
    }
}

record! {
    /// A movement. The States it names are addressed by paragraph 3.
    pub struct Movement {
        /// What kind of movement it is.
        event: MovementEvent,
        /// How far it has come.
        status: MovementStatus,
        /// When it happens or happened; of a journey, when it begins.
        event_time: LocalTime,
        /// The State it begins in.
        source: Option<Country>,
        /// The State it ends in.
        destination: Option<Country>,
        /// The States it passes through, in order.
        transit: List<Country, 0, 16>,
        /// The legs of the journey, in order.
        legs: List<Leg, 0, 32>,
        /// Who escorts.
        escort: Option<Line<256>>,
        /// The reference of the deportation order.
        deportation_order: Option<Line<128>>,
    }
}
