//! Commands about the authority, its brokers and what is published.

use std::path::Path;

use valise_proto::enrolment::{
    BUNDLE_PEM_LABEL, REQUEST_PEM_LABEL, SignedEnrolmentBundle, SignedEnrolmentRequest, TRUST_PEM_LABEL,
    Trust,
};
use valise_proto::id::{BrokerName, Role};

use super::enrol::PEM_BYTES_MAX;
use super::{Common, Ended, Outcome, ValidityArgs, now, render};
use crate::authority::{Authority, TLS_KEY_FILE, Validity};
use crate::backup;
use crate::files::{self, PLAIN_FILE};

/// Where a broker's kit goes and how long it counts.
pub(super) struct Kit<'a> {
    pub(super) out: &'a Path,
    pub(super) replace: bool,
    pub(super) validity: Validity,
}

pub(super) fn issue_broker(
    common: &Common,
    name: &BrokerName,
    endpoints: Vec<String>,
    kit: &Kit<'_>,
) -> Outcome {
    let Kit { out, replace, validity } = *kit;
    common.register()?;
    let key = out.join(TLS_KEY_FILE);
    if backup::lies_within(&key, common.dir()?) {
        return Err(Ended::Failed(anyhow::anyhow!(
            "{} lies in the authority's own folder, whose backups would hold the broker's keys unencrypted; name a place outside",
            out.display()
        )));
    }
    if key.exists() && !replace {
        return Err(Ended::Failed(anyhow::anyhow!(
            "{} holds a broker's key already; name another folder, or give --replace to put the new keys in its place",
            key.display()
        )));
    }
    files::make_private(out)?;
    files::check_writable(out)?;
    let mut authority = common.open()?;
    authority.set_validity(validity);
    let kit = authority.issue_broker(name, endpoints, now())?;
    let written = kit.write(out)?;
    if common.json {
        return render::json(&serde_json::json!({
            "broker": name,
            "identity": kit.identity,
            "not_after": kit.not_after,
            "files": written,
        }));
    }
    say!("Broker {name} issued; its certificate counts until {}.", kit.not_after)?;
    for path in written {
        say!("  {}", path.display())?;
    }
    say!(
        "tls.key and receipt.key are secret and not encrypted: carry them to the broker's machine and keep no copy."
    )?;
    from_next_publication(common)
}

pub(super) fn set_endpoints(common: &Common, name: &BrokerName, endpoints: Vec<String>) -> Outcome {
    let mut authority = common.open()?;
    authority.set_endpoints(name, endpoints, now())?;
    changed(common, &authority, &Role::Broker(name.clone()))
}

pub(super) fn publish(common: &Common, out: &Path, validity: &ValidityArgs) -> Outcome {
    let mut authority = common.open()?;
    authority.set_validity(validity.validity());
    let published = authority.publish(out, now())?;
    let (entries, head) = authority.journal_head();
    if common.json {
        let mut told = serde_json::to_value(&published)?;
        if let Some(told) = told.as_object_mut() {
            told.insert("journal".to_owned(), serde_json::json!({ "entries": entries, "head": head }));
        }
        return render::json(&told);
    }
    say!("Directory version {}, valid until {}.", published.version, published.expires_at)?;
    say!("Revocation lists number {}, valid until {}.", published.crl_number, published.crls_next_update)?;
    for path in &published.files {
        say!("  {}", path.display())?;
    }
    say!("Fingerprint of trust.pem: {}", published.trust_fingerprint)?;
    say!("Journal: {entries} entries; note its head elsewhere: {head}")?;
    Ok(())
}

/// Tells what a member is now.
pub(super) fn changed(common: &Common, authority: &Authority, member: &Role) -> Outcome {
    let view = authority.register().member(member)?;
    if common.json {
        return render::json(&view);
    }
    tell!("{}", render::member(&view))?;
    say!("")?;
    from_next_publication(common)
}

pub(super) fn from_next_publication(common: &Common) -> Outcome {
    let dir = common.dir()?.display();
    say!("Look at what the next publication changes: valise-ca directory diff --dir {dir}")?;
    say!("The nodes learn of it from the next publication: valise-ca publish --dir {dir} --out DIR")
}

pub(super) fn fingerprint(common: &Common, file: Option<&Path>) -> Outcome {
    let (what, fingerprint) = match file {
        None => ("trust", common.register()?.trust().fingerprint()),
        Some(path) => fingerprint_of(&files::read_text(path, PEM_BYTES_MAX)?)
            .map_err(|error| error.context(path.display().to_string()))?,
    };
    if common.json {
        return render::json(&serde_json::json!({ "what": what, "fingerprint": fingerprint }));
    }
    say!("{fingerprint}")?;
    Ok(())
}

/// Writes a page for the tool and one for each of its commands.
pub(super) fn man(common: &Common, tool: clap::Command, out: &Path) -> Outcome {
    files::make_folder(out)?;
    files::check_writable(out)?;
    let mut tool = tool.disable_help_subcommand(true);
    tool.build();
    let mut written = Vec::new();
    let mut waiting = vec![tool];
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().filter(|below| !below.is_hide_set()).cloned());
        let page = clap_mangen::Man::new(command);
        let path = out.join(page.get_filename());
        let mut text = Vec::new();
        page.render(&mut text)?;
        files::replace(&path, &text, PLAIN_FILE)?;
        written.push(path);
    }
    written.sort();
    if common.json {
        return render::json(&serde_json::json!({ "files": written }));
    }
    say!("{} pages written to {}", written.len(), out.display())
}

fn fingerprint_of(text: &str) -> Result<(&'static str, String), anyhow::Error> {
    let label = pem::parse(text).map(|found| found.tag().to_owned()).unwrap_or_default();
    match label.as_str() {
        REQUEST_PEM_LABEL => Ok(("request", SignedEnrolmentRequest::from_pem(text)?.fingerprint())),
        BUNDLE_PEM_LABEL => Ok(("bundle", SignedEnrolmentBundle::from_pem(text)?.fingerprint())),
        TRUST_PEM_LABEL => Ok(("trust", Trust::from_pem(text)?.fingerprint())),
        _ => anyhow::bail!("this is neither an enrolment request, an enrolment bundle nor a trust.pem"),
    }
}
