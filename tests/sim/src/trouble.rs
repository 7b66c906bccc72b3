//! What goes wrong, and what administrators do meanwhile.

use valise_proto::envelope::Precedence;

use crate::Violation;
use crate::exchange::Act;
use crate::network::{Lane, Side};
use crate::schedule::{Event, Mending};
use crate::world::World;

/// What may go wrong.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    BrokerCrash,
    AgentCrash,
    Cut,
    Sever,
    Stall,
    BrokerClock,
    AgentClock,
    BrokerDiskFull,
    AgentDiskFull,
    Suspend,
    Revoke,
    Clear,
    Rotate,
    NewCertificate,
}

/// Each as often as it stands here.
const TROUBLES: [Trouble; 24] = [
    Trouble::BrokerCrash,
    Trouble::BrokerCrash,
    Trouble::BrokerCrash,
    Trouble::AgentCrash,
    Trouble::AgentCrash,
    Trouble::AgentCrash,
    Trouble::Cut,
    Trouble::Cut,
    Trouble::Sever,
    Trouble::Sever,
    Trouble::Stall,
    Trouble::Stall,
    Trouble::BrokerClock,
    Trouble::AgentClock,
    Trouble::BrokerDiskFull,
    Trouble::AgentDiskFull,
    Trouble::Suspend,
    Trouble::Revoke,
    Trouble::Clear,
    Trouble::Clear,
    Trouble::Clear,
    Trouble::Rotate,
    Trouble::NewCertificate,
    Trouble::NewCertificate,
];

/// By how much a clock may jump, in milliseconds.
const JUMPS: [i64; 8] = [-600_000, -60_000, -2_000, 2_000, 60_000, 240_000, 900_000, 26 * 3_600_000];

impl World {
    /// Something goes wrong.
    pub(crate) fn trouble(&mut self) -> Result<(), Violation> {
        let dice = &mut self.stage.dice;
        let index = dice.count(0, self.agents.len().saturating_sub(1));
        let wait = dice.between(300, 40_000);
        let jump = dice.pick(&JUMPS).copied().unwrap_or_default();
        let Some(trouble) = dice.pick(&TROUBLES).copied() else { return Ok(()) };
        self.stage.note(|| format!("trouble: {trouble:?} of agency {index}, {wait} ms"));
        match trouble {
            Trouble::BrokerCrash => {
                self.broker.crash(&mut self.stage)?;
                self.stage.schedule.after(wait / 4, Event::BrokerStarts);
            }
            Trouble::AgentCrash => {
                if let Some(agent) = self.agents.get_mut(index) {
                    agent.crash(&mut self.stage)?;
                }
                self.stage.schedule.after(wait / 4, Event::AgentStarts(index));
            }
            Trouble::Cut => self.cut(index, wait),
            Trouble::Sever => self.stage.net.sever(index, &mut self.stage.schedule),
            Trouble::Stall => self.stall(index, wait),
            Trouble::BrokerClock => self.broker.skew = jump,
            Trouble::AgentClock => {
                if let Some(agent) = self.agents.get_mut(index) {
                    agent.skew = jump;
                }
            }
            Trouble::BrokerDiskFull => {
                self.broker.disk.ailment.full = true;
                self.stage.schedule.after(wait / 2, Event::Mend(Mending::BrokerDisk));
            }
            Trouble::AgentDiskFull => {
                if let Some(agent) = self.agents.get_mut(index) {
                    agent.ailment.full = true;
                }
                self.stage.schedule.after(wait / 2, Event::Mend(Mending::AgentDisk(index)));
            }
            Trouble::Suspend => {
                self.act(Act::Suspend(index))?;
                self.stage.schedule.after(wait, Event::Mend(Mending::Suspension(index)));
            }
            Trouble::Revoke => self.act(Act::Revoke(index))?,
            Trouble::Clear => self.act(Act::Clear(index))?,
            Trouble::Rotate => self.act(Act::Rotate(index))?,
            Trouble::NewCertificate => {
                if let Some(agent) = self.agents.get_mut(index) {
                    agent.renewed(&mut self.stage)?;
                }
            }
        }
        Ok(())
    }

    /// Both directions are cut, or one of them.
    fn cut(&mut self, index: usize, wait: u64) {
        let stage = &mut self.stage;
        let which = stage.dice.between(0, 2);
        if which != 0 {
            stage.net.cut(index, Side::Agent, &mut stage.schedule);
        }
        if which != 1 {
            stage.net.cut(index, Side::Broker, &mut stage.schedule);
        }
        stage.schedule.after(wait, Event::Mend(Mending::Cut(index)));
    }

    fn stall(&mut self, index: usize, wait: u64) {
        let stage = &mut self.stage;
        let precedence = stage.dice.pick(&Precedence::ALL).copied().unwrap_or(Precedence::Routine);
        let (side, lane) = if stage.dice.chance(500) {
            (Side::Agent, Lane::Receive(precedence))
        } else {
            (Side::Broker, Lane::Submit(precedence))
        };
        stage.net.stall(index, side, lane, wait, &stage.schedule);
    }
}
