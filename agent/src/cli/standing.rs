//! Commands about the node's standing with the authority: its keys, its certificate, what was carried here by hand.
//!
//! Each asks the running node, and does the same by itself where none runs.

use std::future::Future;
use std::path::Path;

use super::client::{ask, config, unreadable};
use super::{Common, Ended, Outcome, render};
use crate::api::client::{ClientError, LocalClient};
use crate::api::standing;
use crate::api::types::RotateRequest;
use crate::carried::{Carried, CarriedError};
use crate::clock::Clock;
use crate::folder;
use crate::node::handwork;
use crate::node::office::Office;

/// Asks the running node, or where none runs does the work by itself.
fn ask_or_do<T, F>(
    common: &Common,
    question: impl FnOnce(LocalClient) -> F,
    work: impl FnOnce(&Office) -> Result<T, Ended>,
) -> Result<T, Ended>
where
    F: Future<Output = Result<T, ClientError>>,
{
    match ask(common, question) {
        Err(Ended::Client(ClientError::NotRunning { .. })) => {
            // The store's lock keeps out a node that is just being started.
            work(&Office::at_rest(config(common)?, Clock::system())?)
        }
        answered => answered,
    }
}

pub(super) fn keys(common: &Common) -> Outcome {
    let keys =
        ask_or_do(common, |node| async move { node.keys().await }, |office| Ok(standing::keys(office)))?;
    if common.json {
        return render::json(&keys);
    }
    tell!("{}", render::standing::keys(&keys))
}

pub(super) fn rotate(common: &Common, which: RotateRequest) -> Outcome {
    let answer = ask_or_do(
        common,
        |node| async move { node.rotate(which).await },
        |office| Ok(standing::renewal_answer(&handwork::rotate(office, which.which())?, office.now())),
    )?;
    if common.json {
        return render::json(&answer);
    }
    say!("New keys are made; they are in use once the authority has granted this request and published:")?;
    tell!("{}", render::standing::renewal(&answer.renewal))?;
    say!("The node hands it to the broker by itself; to carry it: valise-agent renew --out FILE")
}

pub(super) fn renew(common: &Common, out: Option<&Path>) -> Outcome {
    let answer = ask_or_do(
        common,
        |node| async move { node.renew().await },
        |office| Ok(standing::renewal_answer(&handwork::renew(office)?, office.now())),
    )?;
    if let Some(out) = out {
        folder::replace(out, answer.pem.as_bytes())?;
    }
    if common.json {
        return render::json(&answer);
    }
    tell!("{}", render::standing::renewal(&answer.renewal))?;
    match out {
        Some(out) => say!("Give {} to the authority: valise-ca renew", out.display()),
        None => say!("The node hands it to the broker by itself; to carry it: valise-agent renew --out FILE"),
    }
}

pub(super) fn install(common: &Common, from: &Path) -> Outcome {
    let carried = Carried::read(from).map_err(|error| match error {
        CarriedError::File(error) => unreadable(error),
        CarriedError::Missing { .. } => Ended::Mistakes(error.into()),
        CarriedError::Unreadable { .. } | CarriedError::TooMany { .. } => Ended::Failed(error.into()),
    })?;
    let folder = common.folder()?;
    if !folder.path().exists() {
        return Err(Ended::Mistakes(anyhow::anyhow!(
            "{} is not there: name the node's data folder",
            folder.path().display()
        )));
    }
    // The node reads it from its own folder: it may be confined to that.
    let put = |carried: &Carried| carried.write(&folder.incoming());
    let running = std::os::unix::net::UnixStream::connect(config(common)?.socket).is_ok();
    let installed = if running {
        put(&carried)?;
        ask(common, |node| async move { node.install().await })?
    } else {
        let office = Office::at_rest(config(common)?, Clock::system())?;
        standing::installed_facts(&handwork::install(&office, &carried)?)
    };
    if common.json {
        return render::json(&installed);
    }
    tell!("{}", render::standing::installed(&installed))
}
