//! What runs out, when, and who says so in time.
//!
//! Claimed: nobody has to find out from standing traffic that a directory, a delegation, a revocation list or this
//! broker's own certificate ran out. The log tells at half-life, a day and an hour before the end, and at the end, each
//! once for each file, with its times, this node's clock and the command that mends it; the status tells all the time. A
//! grace (`freshness_grace_minutes`) puts off the end, not the warnings.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use valise_proto::directory::Directory;
use valise_proto::freshness::Urgency;
use valise_proto::id::Timestamp;
use valise_transport::{Credentials, Revocation};

use super::held::decimal;
use super::{Shared, now};
use crate::config::Config;

/// What it is that runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    /// The directory.
    Directory,
    /// What the root let the authority do.
    Delegation,
    /// A revocation list.
    RevocationList,
    /// This broker's own certificate.
    Certificate,
}

impl Kind {
    /// Every kind.
    pub(super) const ALL: [Self; 4] =
        [Self::Directory, Self::Delegation, Self::RevocationList, Self::Certificate];

    /// The word for it in numbers and JSON.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "DIRECTORY",
            Self::Delegation => "DELEGATION",
            Self::RevocationList => "REVOCATION_LIST",
            Self::Certificate => "CERTIFICATE",
        }
    }

    /// Who makes a new one, and how.
    pub(super) fn mend(self) -> &'static str {
        match self {
            Self::Directory | Self::RevocationList => {
                "publish and copy the new files here: valise-ca publish"
            }
            Self::Delegation => "have the authority make a new one and publish: valise-ca issuing renew",
            Self::Certificate => "issue a new one for this broker: valise-ca broker issue --replace",
        }
    }
}

/// Something that runs out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// What it is.
    pub kind: Kind,
    /// Which one, for people.
    pub name: String,
    /// The file it came from.
    pub file: PathBuf,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it runs out.
    pub expires_at: Timestamp,
    /// Until when this broker goes by it: a grace may be added.
    pub counts_until: Timestamp,
    /// How near its end is: FRESH, HALF_OVER, LAST_DAY, LAST_HOUR or OVER.
    pub urgency: String,
}

/// How far it has come: rises with time.
type Stage = (Urgency, bool);

impl Freshness {
    fn stage(&self, now: Timestamp) -> Stage {
        (Urgency::of(self.issued_at, self.expires_at, now), now > self.counts_until)
    }

    /// Whether there is nothing to do about it.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.urgency == Urgency::Fresh.as_str()
    }
}

/// The sentence without the clock, which the asker has.
impl fmt::Display for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, file, issued_at, expires_at, counts_until, urgency } = self;
        let verb = if urgency == Urgency::Over.as_str() { "ran" } else { "runs" };
        write!(f, "{}: {name}, issued at {issued_at}, {verb} out at {expires_at}", file.display())?;
        if counts_until > expires_at {
            write!(f, " and is gone by until {counts_until}")?;
        }
        write!(f, "; {}", kind.mend())
    }
}

/// Everything that is in force and runs out.
pub(super) fn of(
    config: &Config,
    credentials: &Credentials,
    directory: &Directory,
    lists: &[Revocation],
    now: Timestamp,
) -> Vec<Freshness> {
    let grace = config.freshness_grace;
    let (content, delegation) = (directory.content(), directory.delegation());
    let make = |kind, name, file, (issued_at, expires_at): (Timestamp, Timestamp), grace: Duration| {
        let urgency = Urgency::of(issued_at, expires_at, now).as_str().to_owned();
        Freshness { kind, name, file, issued_at, expires_at, counts_until: expires_at.plus(grace), urgency }
    };
    let mut all = vec![
        make(
            Kind::Directory,
            format!("directory version {}", content.version),
            config.directory(),
            (content.issued_at, content.expires_at),
            grace,
        ),
        make(
            Kind::Delegation,
            format!("delegation {} of the root", delegation.generation),
            config.directory(),
            (delegation.not_before, delegation.not_after),
            grace,
        ),
        make(
            Kind::Certificate,
            format!("the certificate of {}", credentials.identity()),
            config.certificates.clone(),
            (credentials.not_before(), credentials.not_after()),
            Duration::ZERO,
        ),
    ];
    all.extend(lists.iter().map(|list| {
        let name = format!("revocation list {} of {}", decimal(&list.number), list.issuer);
        make(Kind::RevocationList, name, config.crls(), (list.this_update, list.next_update), grace)
    }));
    all
}

/// Everything that this broker goes by at present.
pub(super) fn of_shared(shared: &Shared, now: Timestamp) -> Vec<Freshness> {
    let (in_force, anchors) = (shared.in_force(), shared.transport.anchors());
    of(&shared.config, &in_force.credentials, &shared.policy().directory, anchors.revocations(), now)
}

/// How often the log may have something to be told, at most.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Tells the log until the broker stops.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut warner = Warner::default();
    let interval = shared.config.reload_interval.min(LOOK_INTERVAL_MAX);
    loop {
        warner.look(&shared);
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// Tells the log, each thing once.
#[derive(Debug, Default)]
struct Warner {
    /// The stage last told of each thing, by its name and the time it was issued.
    told: HashMap<(String, Timestamp), Stage>,
}

impl Warner {
    fn look(&mut self, shared: &Shared) {
        let now = now();
        for (thing, stage) in self.due(of_shared(shared, now), now) {
            tell(&thing, stage, now);
        }
    }

    /// What is to be told of now, and was not before.
    fn due(&mut self, all: Vec<Freshness>, now: Timestamp) -> Vec<(Freshness, Stage)> {
        let key = |thing: &Freshness| (thing.name.clone(), thing.issued_at);
        let mut told = HashMap::new();
        let mut due = Vec::new();
        for thing in all {
            let stage = thing.stage(now);
            // Of a delegation, which counts for years, half of the time is long.
            let long = thing.kind == Kind::Delegation && stage.0 == Urgency::HalfOver;
            let before = self.told.get(&key(&thing)).copied().unwrap_or((Urgency::Fresh, false));
            told.insert(key(&thing), stage.max(before));
            if stage > before && !long {
                due.push((thing, stage));
            }
        }
        // What is in force no more is forgotten.
        self.told = told;
        due
    }
}

fn tell(thing: &Freshness, (urgency, ended): Stage, now: Timestamp) {
    match urgency {
        Urgency::Fresh => {}
        Urgency::HalfOver | Urgency::LastDay => tracing::warn!(clock = %now, "{urgency}: {thing}"),
        Urgency::LastHour => tracing::error!(clock = %now, "{urgency}: {thing}"),
        Urgency::Over if ended => {
            tracing::error!(clock = %now, "{urgency}, and nothing is done by it any more: {thing}");
        }
        Urgency::Over => tracing::error!(clock = %now, "{urgency}, and only the grace is left: {thing}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;

    fn list(number: u64, issued: u64) -> Freshness {
        let at = |hours: u64| Timestamp::from_millis(hours * HOUR);
        Freshness {
            kind: Kind::RevocationList,
            name: format!("revocation list {number}"),
            file: "crls.pem".into(),
            issued_at: at(issued),
            expires_at: at(issued + 240),
            counts_until: at(issued + 242),
            urgency: String::new(),
        }
    }

    #[test]
    fn g12_each_stage_of_a_file_is_told_once_and_a_newer_file_begins_anew() {
        let mut warner = Warner::default();
        let mut told = |things: &[Freshness], hours: u64| {
            let due = warner.due(things.to_vec(), Timestamp::from_millis(hours * HOUR));
            due.into_iter().map(|(_, stage)| stage).collect::<Vec<_>>()
        };
        let one = [list(1, 1000)];
        assert_eq!(told(&one, 1000), []);
        assert_eq!(told(&one, 1120), [(Urgency::HalfOver, false)]);
        assert_eq!(told(&one, 1121), [], "told twice");
        assert_eq!(told(&one, 1216), [(Urgency::LastDay, false)]);
        assert_eq!(told(&one, 1239), [(Urgency::LastHour, false)]);
        assert_eq!(told(&one, 1241), [(Urgency::Over, false)], "the grace hides the end");
        assert_eq!(told(&one, 1243), [(Urgency::Over, true)], "the end of the grace is not told");
        // The clock was set back and forth: nothing new.
        assert_eq!(told(&one, 1120), []);
        assert_eq!(told(&one, 1243), []);
        assert_eq!(told(&[list(2, 1240)], 1243), []);
        assert_eq!(told(&[list(2, 1240)], 1400), [(Urgency::HalfOver, false)]);
    }

    #[test]
    fn the_sentence_names_the_file_its_times_and_the_command_that_mends_it() {
        let sentence = list(7, 1000).to_string();
        for part in [
            "crls.pem",
            "revocation list 7",
            "1970-02-11T16:00:00",
            "1970-02-21T16:00:00",
            "valise-ca publish",
        ] {
            assert!(sentence.contains(part), "`{part}` is missing: {sentence}");
        }
    }
}
