//! Commands that take members out and let them in again.

use std::path::PathBuf;

use clap::Args;
use valise_proto::id::{AgencyId, Role, Timestamp};

use super::commands::changed;
use super::{Common, Outcome, ValidityArgs, now, render};
use crate::authority::Alarm;
use crate::member;
use crate::state::{RevocationReason, Serial};

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// An agency such as fra/ncb, or a broker
    #[arg(value_name = "ID", value_parser = member::parse, required_unless_present = "serial")]
    member: Option<Role>,
    /// Revoke this one certificate only; its holder stays a member and gets another by the next renewal or bundle
    #[arg(long = "certificate", value_name = "SERIAL", conflicts_with = "member")]
    serial: Option<Serial>,
    /// Why: unspecified, key-compromise, superseded, cessation-of-operation or privilege-withdrawn
    #[arg(long, value_name = "REASON", default_value = "unspecified")]
    reason: RevocationReason,
    #[command(flatten)]
    since: SinceArgs,
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct SinceArgs {
    /// From when on what it signed is not believed, such as 2026-03-01T12:00:00Z; otherwise from now on
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
}

impl SinceArgs {
    pub(super) fn or(self, now: Timestamp) -> Timestamp {
        self.since.unwrap_or(now)
    }
}

pub(super) fn revoke(common: &Common, args: RevokeArgs) -> Outcome {
    let RevokeArgs { member, serial, reason, since } = args;
    let mut authority = common.open()?;
    let now = now();
    let since = since.or(now);
    let member = match (member, serial) {
        (_, Some(serial)) => authority.revoke_certificate(serial, reason, since, now)?,
        (Some(member), None) => {
            authority.revoke_since(&member, reason, since, now)?;
            member
        }
        // The command line asks for one of both.
        (None, None) => return Ok(()),
    };
    changed(common, &authority, &member)
}

pub(super) fn suspend(common: &Common, agency: &AgencyId, since: SinceArgs) -> Outcome {
    let mut authority = common.open()?;
    let now = now();
    authority.suspend_since(agency, since.or(now), now)?;
    changed(common, &authority, &Role::Agency(agency.clone()))
}

pub(super) fn reinstate(common: &Common, agency: &AgencyId, keys_are_safe: bool) -> Outcome {
    let mut authority = common.open()?;
    if keys_are_safe {
        authority.reinstate_with_safe_keys(agency, now())?;
    } else {
        authority.reinstate(agency, now())?;
    }
    changed(common, &authority, &Role::Agency(agency.clone()))
}

#[derive(Debug, Args)]
pub(super) struct EmergencyArgs {
    /// The agency
    #[arg(value_name = "STATE/UNIT")]
    agency: AgencyId,
    /// Why: key-compromise, unspecified, superseded, cessation-of-operation or privilege-withdrawn
    #[arg(long, value_name = "REASON", default_value = "key-compromise")]
    reason: RevocationReason,
    #[command(flatten)]
    since: SinceArgs,
    /// Write what every node must hold to this folder, as `publish` does
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    validity: ValidityArgs,
}

pub(super) fn emergency(common: &Common, args: EmergencyArgs) -> Outcome {
    let EmergencyArgs { agency, reason, since, out, validity } = args;
    let mut authority = common.open()?;
    authority.set_validity(validity.validity());
    let now = now();
    let since = since.or(now);
    let published = authority.emergency(&agency, Alarm { reason, since }, &out, now)?;
    if common.json {
        let member = authority.register().member(&Role::Agency(agency))?;
        return render::json(&serde_json::json!({ "member": member, "published": published }));
    }
    say!("{agency} is SUSPENDED since {since} and its certificates are revoked ({reason}).")?;
    say!(
        "Carry the files of {} to every broker now: directory version {}.",
        out.display(),
        published.version
    )?;
    say!(
        "Once looked into: `valise-ca enrol` with new keys, or `valise-ca revoke {agency}`; where no key was lost,"
    )?;
    say!("`valise-ca reinstate {agency}` (with --keys-are-safe if its key counts as lost).")
}
