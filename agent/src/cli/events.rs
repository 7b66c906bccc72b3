//! Following the node.

use clap::Args;

use super::client::{client_of, runtime};
use super::{Common, Ended, Outcome, render};

/// What `events` takes.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Begin behind the event with this id; without it, with what happens from now on
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// End after so many
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

pub(super) fn follow(common: &Common, args: &EventsArgs) -> Outcome {
    let client = client_of(common)?;
    runtime()?.block_on(async {
        let mut following = client.events(args.after.as_deref()).await.map_err(Ended::Client)?;
        let mut told: u64 = 0;
        while args.count.is_none_or(|count| told < count) {
            let Some(event) = following.next().await.map_err(Ended::Client)? else {
                return Err(Ended::Failed(anyhow::anyhow!(
                    "the node ended the stream: it is stopping, or this command read too slowly; go on with `valise-agent events --after ID` and the last id shown"
                )));
            };
            told = told.saturating_add(1);
            if common.json {
                // One event, one line, so that a program reads line by line.
                say!("{}", serde_json::to_string(&event)?)?;
            } else {
                tell!("{}", render::event(&event))?;
            }
        }
        Ok(())
    })
}
