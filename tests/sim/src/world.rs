//! One simulated world, from its seed to its end: turmoil, then calm, then a look at whether all came right.

use valise_proto::envelope::Precedence;
use valise_proto::id::Digest;

use crate::agent::Agent;
use crate::broker::Broker;
use crate::dice::Dice;
use crate::disk::{Ailment, Disk};
use crate::exchange::{Act, Authority};
use crate::model::Model;
use crate::network::{Heard, Lane, Network, Side};
use crate::plan::{Mutation, Plan};
use crate::schedule::{Event, Mending, Schedule};
use crate::stage::Stage;
use crate::twin::Twin;
use crate::{Failure, Options, Summary, Violation};

/// Most events of one world; there are some thousands in most.
const STEPS_MAX: usize = 2_000_000;
/// How long everything may take to come right once everything works. An agency that was suspended asks again after
/// ten minutes at the latest.
const CALM_MS: u64 = 20 * 60_000;
/// After this nothing is held up any more from before.
const UNSTALLED_MS: u64 = 45_000;
const LOOK_MS: u64 = 1_000;
/// How long a FLASH notice may take when nothing is wrong.
const FLASH_MS: u64 = 6_000;
/// How long the ROUTINE stream is held up meanwhile.
const STALL_MS: u64 = 30_000;
const HOUR_MS: i64 = 3_600_000;

/// How far a world has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Turmoil,
    Calm {
        since: u64,
    },
    /// FLASH notices are under way, each to an agency, beside ROUTINE traffic that is held up.
    Probing {
        until: u64,
    },
    /// Everything that was not fetched has expired.
    Expiring {
        until: u64,
    },
    /// The ids of what expired are forgotten.
    Forgetting {
        until: u64,
    },
    Over,
}

/// The world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) stage: Stage,
    pub(crate) broker: Broker,
    pub(crate) agents: Vec<Agent>,
    phase: Phase,
    probes: Vec<(Digest, usize)>,
    steps: usize,
}

/// Runs the world of a seed to its end, and says what happened in it if it is to be `traced`.
pub(crate) fn run(
    seed: u64,
    options: &Options,
    traced: bool,
) -> (Result<Summary, Box<Failure>>, Vec<String>) {
    let failure = |step, at_ms, violation| {
        Box::new(Failure { seed, mutation: options.mutation, step, at_ms, violation })
    };
    let mut world = match World::new(seed, options, traced) {
        Ok(world) => world,
        Err(violation) => return (Err(failure(0, 0, violation)), Vec::new()),
    };
    let lived = world.live();
    let (steps, now) = (world.steps, world.stage.schedule.now());
    let result = lived.map(|()| world.summary()).map_err(|violation| failure(steps, now, violation));
    (result, world.stage.trace.unwrap_or_default())
}

impl World {
    fn new(seed: u64, options: &Options, traced: bool) -> Result<Self, Violation> {
        let mut dice = Dice::new(seed);
        let plan = Plan::new(&mut dice);
        let authority = Authority::new(&plan, &mut dice)?;
        let mut net = Network::new(dice.fork(), plan.loss);
        net.one_lane = options.mutation == Some(Mutation::OneLane);
        let mut stage = Stage {
            schedule: Schedule::default(),
            net,
            dice: dice.fork(),
            mutation: options.mutation,
            authority,
            model: Model::default(),
            tampering: true,
            trace: traced.then(Vec::new),
            plan,
        };
        let planned = stage.plan.clone();
        stage.note(|| format!("{options:?} {planned:?}"));
        let twin = options.real_store.then(Twin::new).transpose()?;
        let disk = Disk::new(dice.fork(), stage.plan.disk_errors, options.mutation);
        let broker = Broker::new(disk, twin, &mut stage);
        let agents = (0..stage.plan.agencies).map(|index| Agent::new(index, &mut stage));
        let agents = agents.collect::<Result<Vec<_>, _>>()?;
        let mut world = Self { stage, broker, agents, phase: Phase::Turmoil, probes: Vec::new(), steps: 0 };
        world.arrange();
        Ok(world)
    }

    /// Draws what will happen and when.
    fn arrange(&mut self) {
        let Stage { schedule, dice, plan, .. } = &mut self.stage;
        schedule.after(0, Event::BrokerStarts);
        for index in 0..plan.agencies {
            schedule.after(dice.between(0, 3_000), Event::AgentStarts(index));
        }
        for _ in 0..plan.notices {
            let author = dice.count(0, plan.agencies.saturating_sub(1));
            schedule.after(dice.between(100, plan.turmoil_ms), Event::Compose(author));
        }
        for _ in 0..plan.troubles {
            schedule.after(dice.between(1_000, plan.turmoil_ms), Event::Trouble);
        }
        let mut at = 0;
        while at < plan.turmoil_ms {
            at += dice.between(20_000, 60_000);
            schedule.after(at, Event::Renewal);
        }
        schedule.after(plan.turmoil_ms, Event::Calm);
    }

    fn live(&mut self) -> Result<(), Violation> {
        while self.phase != Phase::Over {
            self.steps += 1;
            let event = self.stage.schedule.pop();
            let event = event.ok_or_else(|| Violation::surprise("nothing is to come, and it is not over"))?;
            self.handle(event)?;
            if self.steps > STEPS_MAX {
                return Err(Violation::new("G10", format!("{STEPS_MAX} steps, and no end")));
            }
        }
        Ok(())
    }

    fn summary(&self) -> Summary {
        Summary {
            steps: self.steps,
            virtual_ms: self.stage.schedule.now(),
            broker_crashes: usize::try_from(self.broker.process_number).unwrap_or(usize::MAX),
            lossy_crashes: self.broker.disk.lossy_crashes,
            ..self.stage.model.summary
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        let Self { stage, broker, agents, .. } = self;
        match event {
            Event::Net(event) => match stage.net.handle(event, &mut stage.schedule) {
                Some(heard) => self.hear(heard),
                None => Ok(()),
            },
            Event::Broker(process, event) if process == broker.process_number => broker.handle(event, stage),
            Event::Broker(..) => Ok(()),
            Event::BrokerStarts => broker.start(stage),
            Event::BrokerPublishes => broker.publish(stage),
            Event::Agent(index, process, event) => match agents.get_mut(index) {
                Some(agent) if process == agent.process_number => agent.handle(event, stage),
                Some(_) | None => Ok(()),
            },
            Event::AgentStarts(index) => Self::on(agents, index, |agent| agent.start(stage)),
            Event::Compose(index) => Self::on(agents, index, |agent| agent.compose(stage)),
            Event::Read(index, notice_id) => Self::on(agents, index, |agent| agent.read(notice_id, stage)),
            Event::Trouble => self.trouble(),
            Event::Renewal => self.act(Act::Renew),
            Event::Mend(mending) => self.mend(mending),
            Event::Calm => self.calm(),
            Event::Look => self.look(),
        }
    }

    fn on(
        agents: &mut [Agent],
        index: usize,
        act: impl FnOnce(&mut Agent) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        agents.get_mut(index).map_or(Ok(()), act)
    }

    fn hear(&mut self, heard: Heard) -> Result<(), Violation> {
        let Self { stage, broker, agents, .. } = self;
        let agent_of = |conn| agents.iter().position(|agent| agent.session_of(conn).is_some());
        match heard {
            Heard::Called { conn, agent } => broker.called(conn, agent, stage),
            Heard::Connected { conn } => match agent_of(conn) {
                Some(index) => Self::on(agents, index, |agent| agent.connected(conn, stage)),
                None => {
                    stage.net.close(conn, Side::Agent, false, &mut stage.schedule);
                    Ok(())
                }
            },
            Heard::InVain { conn } | Heard::Ended { conn, side: Side::Agent } => match agent_of(conn) {
                Some(index) => Self::on(agents, index, |agent| agent.disconnected(conn, stage)),
                None => Ok(()),
            },
            Heard::Ended { conn, side: Side::Broker } => broker.ended(conn, stage),
            Heard::Frames { conn, side: Side::Broker, lane, frames } => {
                broker.heard(conn, lane, frames, stage)
            }
            Heard::Frames { conn, side: Side::Agent, lane, frames } => match agent_of(conn) {
                Some(index) => Self::on(agents, index, |agent| agent.heard(conn, lane, frames, stage)),
                None => Ok(()),
            },
        }
    }

    /// The administrators do something; the operator brings it to the broker a while later.
    pub(crate) fn act(&mut self, act: Act) -> Result<(), Violation> {
        if self.phase != Phase::Turmoil {
            return Ok(());
        }
        let stage = &mut self.stage;
        stage.note(|| format!("the authority: {act:?}"));
        let now = stage.schedule.clock(0);
        let mut dice = stage.dice.fork();
        stage.authority.act(act, now, &mut dice)?;
        let wait = stage.dice.between(0, 15_000);
        stage.schedule.after(wait, Event::BrokerPublishes);
        Ok(())
    }

    fn mend(&mut self, mending: Mending) -> Result<(), Violation> {
        match mending {
            Mending::Cut(index) => self.stage.net.mend(index),
            Mending::BrokerDisk => self.broker.disk.ailment.full = false,
            Mending::AgentDisk(index) => {
                Self::on(&mut self.agents, index, |agent| {
                    agent.ailment.full = false;
                    Ok(())
                })?;
            }
            Mending::Suspension(index) => self.act(Act::Reinstate(index))?,
        }
        Ok(())
    }

    /// All faults end, every clock is right, everybody takes part again.
    fn calm(&mut self) -> Result<(), Violation> {
        let now = self.stage.schedule.now();
        self.phase = Phase::Calm { since: now };
        let stage = &mut self.stage;
        stage.note(|| "calm".to_owned());
        stage.tampering = false;
        stage.net.calm();
        stage.plan.calm();
        self.broker.disk.ailment = Ailment::default();
        self.broker.skew = 0;
        stage.authority.restore(stage.schedule.clock(0))?;
        for agent in &mut self.agents {
            agent.ailment = Ailment::default();
            agent.skew = 0;
            stage.schedule.after(100, Event::AgentStarts(agent.index));
        }
        stage.schedule.after(50, Event::BrokerStarts);
        stage.schedule.after(200, Event::BrokerPublishes);
        stage.schedule.after(LOOK_MS, Event::Look);
        Ok(())
    }

    fn look(&mut self) -> Result<(), Violation> {
        let now = self.stage.schedule.now();
        match self.phase {
            Phase::Calm { since } => {
                let late = self.unsettled();
                if late.is_none() && now.saturating_sub(since) > UNSTALLED_MS {
                    self.probe(now)?;
                } else if late.is_some() && now.saturating_sub(since) > CALM_MS {
                    return Err(Violation::new("G4", late.unwrap_or_default()));
                }
            }
            Phase::Probing { until } if now >= until => {
                let late = self.probes.iter().find(|(digest, to)| !self.stage.model.is_shown(*digest, *to));
                if let Some((_, to)) = late {
                    let sentence =
                        format!("a FLASH notice to agency {to} waited for held-up ROUTINE traffic");
                    return Err(Violation::new("G8", sentence));
                }
                self.advance(30 * HOUR_MS, Phase::Expiring { until: now + 60_000 });
            }
            Phase::Expiring { until } if now >= until => {
                let bodies = self.broker.disk.visible.bodies.len();
                Violation::unless(bodies == 0, "G11", || {
                    format!("{bodies} ciphertexts are left after everything expired")
                })?;
                self.advance(30 * HOUR_MS, Phase::Forgetting { until: now + 60_000 });
            }
            Phase::Forgetting { until } if now >= until => {
                let notices = self.broker.disk.visible.notices.len();
                Violation::unless(notices == 0, "G10", || format!("{notices} ids are remembered for ever"))?;
                self.phase = Phase::Over;
            }
            Phase::Turmoil
            | Phase::Probing { .. }
            | Phase::Expiring { .. }
            | Phase::Forgetting { .. }
            | Phase::Over => {}
        }
        self.stage.schedule.after(LOOK_MS, Event::Look);
        Ok(())
    }

    /// The broker's clock moves on.
    fn advance(&mut self, by_ms: i64, phase: Phase) {
        self.broker.skew += by_ms;
        self.phase = phase;
    }

    /// Whatever has not come to an end yet.
    fn unsettled(&self) -> Option<String> {
        let directory = &self.stage.authority.published;
        self.stage.model.unsettled(directory).or_else(|| {
            let active = self
                .agents
                .iter()
                .filter(|agent| directory.agency(&agent.id).is_some_and(|entry| entry.status.is_active()));
            active.clone().find_map(|agent| {
                let now = agent.now(&self.stage);
                let missed = self.stage.model.missed_deadline(agent.index, now);
                let missed = missed.map(|id| format!("nobody was told that the deadline of {id} passed"));
                let unconnected =
                    || format!("agency {} has no connection, or not the newest directory", agent.index);
                missed.or_else(|| (!agent.is_settled(&self.stage)).then(unconnected))
            })
        })
    }

    /// To every agency a ROUTINE notice that is held up on its way, then a FLASH notice.
    fn probe(&mut self, now: u64) -> Result<(), Violation> {
        let Self { stage, agents, probes, .. } = self;
        let active: Vec<usize> = agents
            .iter()
            .filter(|agent| {
                stage.authority.published.agency(&agent.id).is_some_and(|entry| entry.status.is_active())
            })
            .map(|agent| agent.index)
            .collect();
        for (from, to) in active.iter().zip(active.iter().cycle().skip(1)) {
            if from == to {
                continue;
            }
            let (submit, receive) = (Lane::Submit(Precedence::Routine), Lane::Receive(Precedence::Routine));
            stage.net.stall(*from, Side::Broker, submit, STALL_MS, &stage.schedule);
            stage.net.stall(*to, Side::Agent, receive, STALL_MS, &stage.schedule);
            let Some(agent) = agents.get_mut(*from) else { continue };
            agent.compose_plain(*to, Precedence::Routine, stage)?;
            let flash = agent.compose_plain(*to, Precedence::Flash, stage)?;
            probes.extend(flash.map(|digest| (digest, *to)));
        }
        self.phase = Phase::Probing { until: now + FLASH_MS };
        Ok(())
    }
}
