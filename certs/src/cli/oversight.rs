//! Commands that look: who is a member, what is on record, what runs out. None needs the passphrase.

use std::time::Duration;

use clap::{Args, ValueEnum};
use valise_proto::id::{Role, State};

use super::render::{self, Table};
use super::{Common, Ended, Outcome, now};
use crate::expiry::Expiring;
use crate::register::MemberView;
use crate::state::Standing;

const DAY_SECONDS: u64 = 24 * 60 * 60;
/// What `list` looks ahead for: a third of a certificate's usual life, which is when agents begin to ask for renewal,
/// less a week in which they should have got it.
const LIST_LOOKS_AHEAD: Duration = Duration::from_secs(23 * DAY_SECONDS);

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only agencies of these States or organisations, such as FRA
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',')]
    states: Vec<State>,
    /// Only members that are so
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',', ignore_case = true)]
    statuses: Vec<Status>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Status {
    Active,
    Suspended,
    Revoked,
}

impl Status {
    fn of(standing: Standing) -> Self {
        match standing {
            Standing::Active => Self::Active,
            Standing::Suspended { .. } => Self::Suspended,
            Standing::Revoked { .. } => Self::Revoked,
        }
    }
}

impl ListArgs {
    fn wants(&self, member: &MemberView) -> bool {
        let (state, standing) = match member {
            MemberView::Agency(agency) => (Some(agency.id.state()), agency.standing),
            MemberView::Broker(broker) => (None, broker.standing),
        };
        let of_state = self.states.is_empty() || state.is_some_and(|state| self.states.contains(&state));
        of_state && (self.statuses.is_empty() || self.statuses.contains(&Status::of(standing)))
    }

    fn is_filter(&self) -> bool {
        !self.states.is_empty() || !self.statuses.is_empty()
    }
}

pub(super) fn list(common: &Common, args: &ListArgs) -> Outcome {
    let register = common.register()?;
    let authority = register.authority()?;
    let members: Vec<_> = register.members().into_iter().filter(|member| args.wants(member)).collect();
    if common.json {
        return render::json(&serde_json::json!({ "authority": authority, "members": members }));
    }
    tell!("{}", render::authority(&authority))?;
    say!("")?;
    if members.is_empty() && args.is_filter() {
        say!("No member matches.")?;
    } else {
        tell!("{}", render::members(&members))?;
    }
    // A clock that is wrong is no reason to show nobody.
    let soon = register.expiring(LIST_LOOKS_AHEAD, now()).map_or(0, |expiring| expiring.len());
    if soon > 0 {
        say!("")?;
        say!("Running out within {}: {soon}; `valise-ca expiring` tells what.", span(LIST_LOOKS_AHEAD))?;
    }
    Ok(())
}

pub(super) fn show(common: &Common, member: &Role) -> Outcome {
    let view = common.register()?.member(member)?;
    if common.json {
        return render::json(&view);
    }
    tell!("{}", render::member(&view))
}

#[derive(Debug, Args)]
pub(super) struct ExpiringArgs {
    /// Look ahead for so long: days, hours or minutes, such as 30d, 36h or 90m
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_span)]
    within: Duration,
}

pub(super) fn expiring(common: &Common, args: &ExpiringArgs) -> Outcome {
    let now = now();
    let expiring = common.register()?.expiring(args.within, now)?;
    if common.json {
        render::json(&serde_json::json!({
            "now": now,
            "within_seconds": args.within.as_secs(),
            "expiring": expiring,
        }))?;
    } else if expiring.is_empty() {
        say!("Nothing runs out within {}.", span(args.within))?;
    } else {
        tell!("{}", table(&expiring))?;
    }
    if expiring.is_empty() { Ok(()) } else { Err(Ended::Attention) }
}

fn table(expiring: &[Expiring]) -> Table<5> {
    let mut table = Table::new(["UNTIL", "WHAT", "OF", "NAME", "MEND"]);
    for item in expiring {
        let until =
            if item.expired { format!("{} OVER", item.not_after) } else { item.not_after.to_string() };
        table.push([until, item.kind.to_string(), item.of.clone(), item.name.clone(), item.mend.clone()]);
    }
    table
}

/// A time in words of whole days, hours or minutes.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds % DAY_SECONDS, seconds % 3600) {
        (0, _) => format!("{} days", seconds / DAY_SECONDS),
        (_, 0) => format!("{} hours", seconds / 3600),
        (_, _) => format!("{} minutes", seconds / 60),
    }
}

fn parse_span(text: &str) -> Result<Duration, String> {
    let mistake =
        || format!("`{text}` is not a time: give a number and d, h or m, such as 30d; at most 36525d");
    let unit = text.chars().next_back().ok_or_else(mistake)?;
    let seconds = match unit {
        'd' => DAY_SECONDS,
        'h' => 3600,
        'm' => 60,
        _ => return Err(mistake()),
    };
    let number: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| mistake())?;
    let time = number.checked_mul(seconds).filter(|time| *time <= 36_525 * DAY_SECONDS);
    time.map(Duration::from_secs).ok_or_else(mistake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_its_unit() {
        assert_eq!(parse_span("30d"), Ok(Duration::from_secs(30 * DAY_SECONDS)));
        assert_eq!(parse_span("36h").map(span).as_deref(), Ok("36 hours"));
        assert_eq!(parse_span("90m").map(span).as_deref(), Ok("90 minutes"));
        for bad in ["", "d", "30", "30dd", "-1d", "30 d", "1.5d", "36526d", "99999999999999999999d", "30ä"] {
            assert!(parse_span(bad).unwrap_err().contains("such as 30d"), "`{bad}`");
        }
    }
}
