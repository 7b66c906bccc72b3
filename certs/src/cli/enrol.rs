//! Commands about agencies' enrolment and clearance.

use std::path::{Path, PathBuf};

use clap::Args;
use valise_proto::directory::Origination;
use valise_proto::enrolment::{ENROLMENT_BYTES_MAX, SignedEnrolmentBundle, SignedEnrolmentRequest};
use valise_proto::id::AgencyId;
use valise_proto::label::PolicyId;

use super::ask::{self, Compared};
use super::{Common, Ended, LeafArgs, Outcome, ValidityArgs, commands, now, render};
use crate::authority::Validity;
use crate::files::{self, PLAIN_FILE};
use crate::profile::{Classes, Draft, PROFILE_BYTES_MAX, Profile, ProfileError};

/// Longest PEM text of a request or bundle: base64 is a third longer than what it carries.
pub(super) const PEM_BYTES_MAX: usize = ENROLMENT_BYTES_MAX * 3 / 2;

#[derive(Debug, Args)]
pub(super) struct EnrolArgs {
    /// The agency's enrolment request
    #[arg(value_name = "REQUEST.pem")]
    request: PathBuf,
    /// Write the bundle here
    #[arg(long, value_name = "BUNDLE.pem")]
    out: PathBuf,
    /// The request's fingerprint, as the agency read it out by telephone
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "accept_fingerprint")]
    fingerprint: Option<String>,
    /// The fingerprint was compared with the agency's before
    #[arg(long)]
    accept_fingerprint: bool,
    /// What the agency is to be, TOML; options go before it
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    #[command(flatten)]
    options: ProfileArgs,
    #[command(flatten)]
    validity: ValidityArgs,
    #[command(flatten)]
    leaf: LeafArgs,
}

#[derive(Clone, Debug, Args)]
struct ProfileArgs {
    /// Its name for people; otherwise its id
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// What it does: LAW_ENFORCEMENT, BORDER, CUSTOMS, INTELLIGENCE, MILITARY, JUDICIAL, INTERNATIONAL
    #[arg(long = "function", value_name = "FUNCTION", value_delimiter = ',')]
    functions: Option<Vec<String>>,
    /// A classification, meaning it and all below, such as SECRET; or exactly those of a list, such as UNCLASSIFIED,SECRET
    #[arg(long, value_name = "CLASSES")]
    clearance: Option<String>,
    #[command(flatten)]
    categories: CategoryArgs,
    /// Kinds of notice it may originate; otherwise TRAVEL, ARRIVAL, DEPORTATION, RESPONSE, CORRECTION, WITHDRAWAL
    #[arg(long = "originate-kind", value_name = "KIND", value_delimiter = ',')]
    originate_kinds: Option<Vec<String>>,
    /// Classifications it may originate; otherwise those of its clearance
    #[arg(long = "originate-classification", value_name = "CLASS", value_delimiter = ',')]
    originate_classifications: Option<Vec<String>>,
    /// Paragraph-3 notices for its State go to it
    #[arg(long)]
    contact_point: bool,
}

#[derive(Clone, Debug, Args)]
struct CategoryArgs {
    /// Compartments held
    #[arg(long = "compartment", value_name = "NAME", value_delimiter = ',')]
    compartments: Option<Vec<String>>,
    /// Organisations it belongs to beside its State, which is always held
    #[arg(long = "affiliation", value_name = "NAME", value_delimiter = ',')]
    affiliations: Option<Vec<String>>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ClearanceArgs {
    /// A classification, meaning it and all below, such as SECRET; or exactly those of a list, such as UNCLASSIFIED,SECRET
    #[arg(long, value_name = "CLASSES")]
    clearance: String,
    #[command(flatten)]
    categories: CategoryArgs,
}

impl ProfileArgs {
    fn draft(self) -> Draft {
        Draft {
            display_name: self.display_name,
            functions: self.functions,
            clearance: self.clearance.as_deref().map(Classes::from_option),
            compartments: self.categories.compartments,
            affiliations: self.categories.affiliations,
            originate_kinds: self.originate_kinds,
            originate_classifications: self.originate_classifications,
            contact_point: self.contact_point.then_some(true),
            mistakes: Vec::new(),
        }
    }
}

fn profile_of(file: Option<&Path>, options: ProfileArgs) -> Result<Profile, Ended> {
    let draft = match file {
        Some(path) => Draft::from_toml(&files::read_text(path, PROFILE_BYTES_MAX)?),
        None => Draft::default(),
    };
    draft.overlaid(options.draft()).build().map_err(mistakes)
}

fn mistakes(error: ProfileError) -> Ended {
    Ended::Mistakes(error.into())
}

pub(super) fn enrol(common: &Common, args: EnrolArgs) -> Outcome {
    let EnrolArgs { request, out, fingerprint, accept_fingerprint, profile, options, validity, leaf } = args;
    let policy = common.register()?.authority()?.policy;
    // Before anybody takes up the telephone: can this become an enrolment at all?
    let profile = profile_of(profile.as_deref(), options)?;
    let signed = read_request(&request)?;
    files::check_writable(out.parent().unwrap_or(Path::new(".")))?;
    if !common.json {
        say!("Request of:  {} ({})", signed.request().agency, signed.request().trust_domain)?;
        say!("Made at:     {}", signed.request().created_at)?;
        say!("Fingerprint: {}", signed.fingerprint())?;
        granted(&signed.request().agency, &profile, &policy)?;
    }
    let compared = match fingerprint {
        Some(fingerprint) => Compared::With(fingerprint),
        None if accept_fingerprint => Compared::Before,
        None => Compared::AskNow,
    };
    ask::compare(&compared, &signed.fingerprint())?;
    let mut authority = common.open()?;
    authority.set_validity(validity.with_leaf(&leaf));
    let bundle = authority.enrol(&signed, &profile, now())?;
    written(common, &bundle, &out, "Enrolled")
}

/// Tells what is about to be granted, while it can still be stopped.
fn granted(agency: &AgencyId, profile: &Profile, policy: &PolicyId) -> Outcome {
    let Origination { kinds, classifications } = profile.origination();
    say!("To be:       {}", profile.display_name.as_deref().unwrap_or(&agency.to_string()))?;
    say!("  functions:     {}", render::listed(&profile.functions))?;
    say!("  clearance:     {}", profile.clearance.to_clearance(agency.state(), policy))?;
    say!("  may originate: {}", render::listed(&kinds))?;
    say!("  classified:    {}", render::listed(&classifications))?;
    say!("  contact point: {}", if profile.contact_point { "yes" } else { "no" })
}

fn read_request(path: &Path) -> Result<SignedEnrolmentRequest, Ended> {
    let text = files::read_text(path, PEM_BYTES_MAX)?;
    let told = |error| anyhow::Error::new(error).context(path.display().to_string());
    Ok(SignedEnrolmentRequest::from_pem(&text).map_err(told)?)
}

pub(super) fn bundle(common: &Common, agency: &AgencyId, out: &Path, validity: Validity) -> Outcome {
    files::check_writable(out.parent().unwrap_or(Path::new(".")))?;
    let mut authority = common.open()?;
    authority.set_validity(validity);
    let bundle = authority.bundle(agency, now())?;
    written(common, &bundle, out, "A fresh bundle for")
}

fn written(common: &Common, bundle: &SignedEnrolmentBundle, out: &Path, what: &str) -> Outcome {
    let identity = &bundle.bundle().identity;
    files::replace(out, bundle.to_pem().as_bytes(), PLAIN_FILE)?;
    if common.json {
        return render::json(&serde_json::json!({
            "agency": identity.as_agency(),
            "identity": identity,
            "bundle": out,
            "fingerprint": bundle.fingerprint(),
        }));
    }
    say!("{what} {identity}.")?;
    say!("Bundle:      {}", out.display())?;
    say!("Fingerprint: {}", bundle.fingerprint())?;
    say!("")?;
    say!("Give the bundle to the agency and read its fingerprint to them by telephone.")?;
    commands::from_next_publication(common)
}

pub(super) fn set_clearance(common: &Common, agency: &AgencyId, args: ClearanceArgs) -> Outcome {
    let draft = Draft {
        clearance: Some(Classes::from_option(&args.clearance)),
        compartments: args.categories.compartments,
        affiliations: args.categories.affiliations,
        ..Draft::default()
    };
    let grant = draft.build().map_err(mistakes)?.clearance;
    let mut authority = common.open()?;
    authority.set_clearance(agency, grant, now())?;
    commands::changed(common, &authority, &valise_proto::id::Role::Agency(agency.clone()))
}
