//! Commands about the authority, its brokers and what is published.

use std::path::Path;

use valise_proto::enrolment::{
    BUNDLE_PEM_LABEL, REQUEST_PEM_LABEL, SignedEnrolmentBundle, SignedEnrolmentRequest, TRUST_PEM_LABEL,
    Trust,
};
use valise_proto::id::{AgencyId, BrokerName, Role, TrustDomain};
use valise_proto::label::PolicyId;

use super::enrol::PEM_BYTES_MAX;
use super::{Common, Ended, Outcome, ValidityArgs, ask, now, render};
use crate::authority::{self, Authority, Founding, TLS_KEY_FILE, Validity};
use crate::files;
use crate::folder::Folder;
use crate::state::RevocationReason;

pub(super) fn init(common: &Common, trust_domain: TrustDomain, policy: PolicyId) -> Outcome {
    let dir = common.dir()?;
    // Before anybody thinks of a passphrase.
    authority::check_vacant(&Folder::new(dir))?;
    let passphrase = ask::new_passphrase(common.passphrase_file.as_deref())?;
    let authority = Authority::init(dir, &Founding { trust_domain, policy }, &passphrase, now())?;
    let view = authority.register().authority()?;
    if common.json {
        return render::json(&view);
    }
    println!("Authority of {} founded in {}", view.trust_domain, dir.display());
    print!("{}", render::authority(&view));
    println!();
    println!(
        "Keep a copy of the folder and, elsewhere, of the passphrase: without either the exchange ends."
    );
    println!("Next: valise-ca broker issue NAME --dir {} --endpoint HOST:PORT --out DIR", dir.display());
    Ok(())
}

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
    println!("Broker {name} issued; its certificate counts until {}.", kit.not_after);
    for path in written {
        println!("  {}", path.display());
    }
    println!(
        "tls.key and receipt.key are secret and not encrypted: carry them to the broker's machine and keep no copy."
    );
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
    if common.json {
        return render::json(&published);
    }
    println!("Directory version {}, valid until {}.", published.version, published.expires_at);
    println!("Revocation lists number {}, valid until {}.", published.crl_number, published.crls_next_update);
    for path in &published.files {
        println!("  {}", path.display());
    }
    println!("Fingerprint of trust.pem: {}", published.trust_fingerprint);
    Ok(())
}

pub(super) fn list(common: &Common) -> Outcome {
    let register = common.register()?;
    let (authority, members) = (register.authority()?, register.members());
    if common.json {
        return render::json(&serde_json::json!({ "authority": authority, "members": members }));
    }
    print!("{}", render::authority(&authority));
    println!();
    print!("{}", render::members(&members));
    Ok(())
}

pub(super) fn show(common: &Common, member: &Role) -> Outcome {
    let view = common.register()?.member(member)?;
    if common.json {
        return render::json(&view);
    }
    print!("{}", render::member(&view));
    Ok(())
}

pub(super) fn revoke(common: &Common, member: &Role, reason: RevocationReason) -> Outcome {
    let mut authority = common.open()?;
    authority.revoke(member, reason, now())?;
    changed(common, &authority, member)
}

pub(super) fn suspend(common: &Common, agency: &AgencyId) -> Outcome {
    let mut authority = common.open()?;
    authority.suspend(agency, now())?;
    changed(common, &authority, &Role::Agency(agency.clone()))
}

pub(super) fn reinstate(common: &Common, agency: &AgencyId) -> Outcome {
    let mut authority = common.open()?;
    authority.reinstate(agency, now())?;
    changed(common, &authority, &Role::Agency(agency.clone()))
}

/// Tells what a member is now.
pub(super) fn changed(common: &Common, authority: &Authority, member: &Role) -> Outcome {
    let view = authority.register().member(member)?;
    if common.json {
        return render::json(&view);
    }
    print!("{}", render::member(&view));
    println!();
    from_next_publication(common)
}

pub(super) fn from_next_publication(common: &Common) -> Outcome {
    println!(
        "The nodes learn of it from the next publication: valise-ca publish --dir {} --out DIR",
        common.dir()?.display()
    );
    Ok(())
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
    println!("{fingerprint}");
    Ok(())
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
