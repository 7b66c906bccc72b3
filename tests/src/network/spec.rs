//! What a network is to be made of.

use valise_certs::{Grant, Profile};
use valise_proto::directory::Function;
use valise_proto::label::Classification;

use super::NetworkError;

/// One agency of a network: by default cleared up to SECRET, affiliated with its own State, allowed to originate
/// everything it is cleared for, the contact point of its State if it is the first of that State, and running.
#[derive(Clone, Debug)]
pub struct AgencySpec {
    pub(super) id: String,
    pub(super) class: Classification,
    pub(super) compartments: Vec<String>,
    pub(super) affiliations: Vec<String>,
    pub(super) functions: Vec<Function>,
    pub(super) contact_point: Option<bool>,
    pub(super) running: bool,
    pub(super) config: String,
}

impl AgencySpec {
    /// The agency `id`, such as `fra/ncb`.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            class: Classification::Secret,
            compartments: Vec::new(),
            affiliations: Vec::new(),
            functions: Vec::new(),
            contact_point: None,
            running: true,
            config: String::new(),
        }
    }

    /// Cleared for `class` and everything below.
    #[must_use]
    pub fn cleared_to(mut self, class: Classification) -> Self {
        self.class = class;
        self
    }

    /// Holds a compartment.
    #[must_use]
    pub fn holding(mut self, compartment: &str) -> Self {
        self.compartments.push(compartment.to_owned());
        self
    }

    /// Affiliated with an organisation, beside its own State.
    #[must_use]
    pub fn affiliated_with(mut self, organisation: &str) -> Self {
        self.affiliations.push(organisation.to_owned());
        self
    }

    /// With this function, by which agencies of its State can address it.
    #[must_use]
    pub fn with_function(mut self, function: Function) -> Self {
        self.functions.push(function);
        self
    }

    /// Paragraph-3 notices for its State do not go to it.
    #[must_use]
    pub fn not_contact_point(mut self) -> Self {
        self.contact_point = Some(false);
        self
    }

    /// Enrolled, but not started with the network.
    #[must_use]
    pub fn not_running(mut self) -> Self {
        self.running = false;
        self
    }

    /// Lines of its node's configuration, beside the brokers.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.config);
        self
    }

    /// What it may see, if cleared for `class`.
    pub(super) fn grant(&self, class: Classification) -> Result<Grant, NetworkError> {
        let words = |list: &[String]| list.join(", ");
        let unreadable = |error: &dyn std::fmt::Display| NetworkError::Value(format!("{}: {error}", self.id));
        let mut grant = Grant::up_to(class);
        for word in &self.compartments {
            grant.compartments.insert(word.parse().map_err(|error| unreadable(&error))?);
        }
        for word in &self.affiliations {
            grant.affiliations.insert(word.parse().map_err(|error| unreadable(&error))?);
        }
        grant.validate().map_err(|error| {
            unreadable(&format!("{error} ({}; {})", words(&self.compartments), words(&self.affiliations)))
        })?;
        Ok(grant)
    }

    /// What the authority is to enrol it as; `first` says that it is the first of its State.
    pub(super) fn profile(&self, first: bool) -> Result<Profile, NetworkError> {
        let mut profile = Profile::up_to(self.class);
        profile.clearance = self.grant(self.class)?;
        profile.functions.extend(self.functions.iter().copied());
        profile.contact_point = self.contact_point.unwrap_or(first);
        Ok(profile)
    }
}

impl From<&str> for AgencySpec {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

/// How nodes run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    InProcess,
    Process,
}
