//! What kind of world a seed makes: how large, how busy, how hostile, how faulty.

use std::time::Duration;

use valise_proto::wire::limits::Limits;

use crate::dice::Dice;

/// Where the product is deliberately wronged, to show that the simulator notices. Each is done in the simulator's own
/// shell or store; product code has no such switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutation {
    /// The broker answers ACCEPTED when the batch is written, not when the disk has confirmed it.
    AcknowledgeBeforeSync,
    /// After a crash the disk holds a part of a batch.
    TornBatch,
    /// The broker makes no access decision at submission.
    SkipSubmissionDecision,
    /// The broker makes no access decision at delivery.
    SkipDeliveryDecision,
    /// The broker forgets which notices it has accepted when it restarts.
    ForgetAccepted,
    /// An agent forgets which notices it has taken in when it restarts.
    ForgetSeen,
    /// An agent acts as though a change were on stable storage as soon as it wants it there.
    AcknowledgeBeforePersist,
    /// An agent takes in what no signature verifies.
    SkipSignature,
    /// The broker keeps the ciphertext after the last acknowledgement.
    KeepBodies,
    /// The broker hands out more than the window allows.
    IgnoreWindow,
    /// All precedences share one lane of the network.
    OneLane,
}

/// The measure of one world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Agencies.
    pub(crate) agencies: usize,
    /// Notices that officers write.
    pub(crate) notices: usize,
    /// How long faults go on, in milliseconds.
    pub(crate) turmoil_ms: u64,
    /// Faults and acts of administration in that time.
    pub(crate) troubles: usize,
    /// Packets lost and doubled, of a thousand.
    pub(crate) loss: u64,
    /// Disk operations that fail, of a thousand.
    pub(crate) disk_errors: u64,
    /// Notices that a dishonest agency wrote, of a thousand.
    pub(crate) dishonest: u64,
    /// Deliveries altered on their way, of a thousand.
    pub(crate) tampered: u64,
    /// Longest time that the broker's disk takes to confirm, in milliseconds.
    pub(crate) sync_ms_max: u64,
    /// The same of an agency's. A slow one is still writing what came when the same comes again.
    pub(crate) persist_ms_max: u64,
    /// How long a directory counts.
    pub(crate) directory_lifetime: Duration,
    /// The broker's limits.
    pub(crate) limits: Limits,
    /// Most notices in an outbox.
    pub(crate) outbox_max: usize,
}

impl Plan {
    /// Nothing is slow any more.
    pub(crate) fn calm(&mut self) {
        self.sync_ms_max = self.sync_ms_max.min(200);
        self.persist_ms_max = self.persist_ms_max.min(60);
    }

    /// That of a seed's dice.
    #[must_use]
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let calm = dice.chance(150);
        let fault = |dice: &mut Dice, max| if calm || dice.chance(300) { 0 } else { dice.between(1, max) };
        let limits = Limits {
            unacknowledged_max: dice.count(1, 6),
            in_flight_max: dice.count(1, 4),
            ..Limits::DEFAULT
        };
        let short = dice.chance(150);
        Self {
            agencies: dice.count(2, 4),
            notices: dice.count(3, 12),
            turmoil_ms: dice.between(20_000, 120_000),
            troubles: if calm { dice.count(0, 2) } else { dice.count(3, 14) },
            loss: fault(dice, 150),
            disk_errors: fault(dice, 12),
            dishonest: if dice.chance(500) { 300 } else { 0 },
            tampered: if dice.chance(250) { 100 } else { 0 },
            sync_ms_max: if dice.chance(200) { 2_000 } else { dice.between(2, 200) },
            persist_ms_max: if dice.chance(350) { 4_000 } else { dice.between(2, 60) },
            directory_lifetime: Duration::from_secs(if short { 90 } else { 30 * 86_400 }),
            limits,
            outbox_max: dice.count(1, 20),
        }
    }
}
