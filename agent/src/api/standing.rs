//! How the node stands with the authority: its keys, its certificate, its renewal, and what runs out.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use valise_proto::crypto::sha256;
use valise_proto::directory::{AgencyStatus, KeyEntry};
use valise_proto::id::{KeyId, Timestamp};
use valise_proto::refusal::RefusalCode;
use valise_transport::Usage;

use crate::node::handwork::Installed;
use crate::node::installing::destroyed_at;
use crate::node::office::{NotTaken, Office, Skew};
use crate::node::{Exclusion, LinkState, freshness};
use crate::renewal::{self, Pending};
use crate::vault::Which;

/// One private key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyFacts {
    /// TLS, SIGNING or SEALING.
    pub kind: String,
    /// Its name: of signing and sealing keys as in the directory, of TLS keys the SHA-256 of the public key, cut to as
    /// many digits.
    pub key_id: String,
    /// NEXT, CURRENT or FORMER.
    pub state: String,
    /// Whether the directory in force lists it at present; of a TLS key, whether the certificate in use is for it.
    pub listed: bool,
    /// From when it counts, by the directory or the certificate.
    #[schema(value_type = Option<String>)]
    pub not_before: Option<Timestamp>,
    /// Until when it counts.
    #[schema(value_type = Option<String>)]
    pub not_after: Option<Timestamp>,
    /// FORMER: since when another is in use.
    #[schema(value_type = Option<String>)]
    pub since: Option<Timestamp>,
    /// FORMER: since when the directory no longer lists it.
    #[schema(value_type = Option<String>)]
    pub unlisted_at: Option<Timestamp>,
    /// FORMER, once no longer listed: when it is destroyed.
    #[schema(value_type = Option<String>)]
    pub destroyed_at: Option<Timestamp>,
}

/// The certificate in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateFacts {
    /// From when it counts.
    #[schema(value_type = String)]
    pub not_before: Timestamp,
    /// Until when it counts.
    #[schema(value_type = String)]
    pub not_after: Timestamp,
    /// From when on the node asks for another.
    #[schema(value_type = String)]
    pub renewal_due_at: Timestamp,
    /// Why no broker accepts it, if none does.
    pub problem: Option<String>,
    /// Why the last one that was offered was not taken, if it was not.
    pub refused: Option<RefusedFacts>,
}

/// Something that was offered and not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedFacts {
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// A renewal request that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RenewalFacts {
    /// What people may compare.
    pub fingerprint: String,
    /// When it was made.
    #[schema(value_type = String)]
    pub made_at: Timestamp,
    /// The signing key it brings.
    #[schema(value_type = String)]
    pub signing_key: KeyId,
    /// The sealing key it brings.
    #[schema(value_type = String)]
    pub sealing_key: KeyId,
    /// Which broker keeps it for the authority, if one does.
    pub spooled_by: Option<String>,
    /// Since when.
    #[schema(value_type = Option<String>)]
    pub spooled_at: Option<Timestamp>,
    /// Why a broker did not take it, if one did not.
    pub refused: Option<RefusedFacts>,
    /// What to do, where a broker has kept it for more than a week and nobody has answered.
    pub unanswered: Option<String>,
}

/// The answer to a renewal by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RenewalAnswer {
    /// The request.
    pub renewal: RenewalFacts,
    /// Its text, to be carried to the authority.
    pub pem: String,
}

/// Which keys are to be followed by new ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// The key of the certificate.
    #[serde(default)]
    pub tls: bool,
    /// The key that signs.
    #[serde(default)]
    pub signing: bool,
    /// The key that envelopes are sealed to.
    #[serde(default)]
    pub sealing: bool,
}

/// What was installed by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstalledFacts {
    /// The version of a newer directory, if there was one.
    pub directory: Option<u64>,
    /// Whether there were newer revocation lists.
    pub revocation_lists: bool,
    /// The end of a newer certificate, if there was one.
    #[schema(value_type = Option<String>)]
    pub certificate_not_after: Option<Timestamp>,
}

/// Something that runs out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunsOut {
    /// What.
    pub name: String,
    /// Where it lies.
    pub file: String,
    /// When it was issued.
    #[schema(value_type = String)]
    pub issued_at: Timestamp,
    /// When it runs out.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
    /// Until when this node goes by it.
    #[schema(value_type = String)]
    pub counts_until: Timestamp,
    /// FRESH, HALF_OVER, LAST_DAY, LAST_HOUR or OVER.
    pub urgency: String,
    /// What mends it, unless FRESH.
    pub advice: Option<String>,
}

/// This node's clock and a broker's, when they last met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClockFacts {
    /// This node's.
    #[schema(value_type = String)]
    pub ours: Timestamp,
    /// The broker's.
    #[schema(value_type = String)]
    pub brokers: Timestamp,
    /// How far this node's is ahead, in milliseconds; negative where it is behind.
    pub ahead_millis: i64,
}

/// That the authority has taken this agency out, or its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExclusionFacts {
    /// SUSPENDED or REVOKED.
    pub code: String,
    /// Since when, where the directory in force tells.
    #[schema(value_type = Option<String>)]
    pub since: Option<Timestamp>,
    /// When a broker first said so.
    #[schema(value_type = Option<String>)]
    pub told_at: Option<Timestamp>,
    /// In whose words.
    pub reason: String,
    /// What to do.
    pub advice: String,
}

const SUSPENDED_ADVICE: &str = "nothing is sent or received until the authority reinstates this agency: ask it why; the node asks the broker again every few minutes, and what waits there is kept until it expires";
const REVOKED_ADVICE: &str = "this agency, or its certificate, counts no longer: ask the authority; where only the certificate was revoked, a renewal request carried by hand brings another (valise-agent renew --out FILE, then valise-agent install DIR)";

pub(super) fn exclusion(link: &LinkState, office: &Office) -> Option<ExclusionFacts> {
    let directory = office.directory();
    let listed = directory.agency(office.agency()).map(|entry| entry.status);
    let since = listed.and_then(AgencyStatus::ended_at);
    let advice = |code: &str| {
        if code == RefusalCode::Suspended.as_str() { SUSPENDED_ADVICE } else { REVOKED_ADVICE }.to_owned()
    };
    match link {
        LinkState::Up { .. } => None,
        LinkState::Down { exclusion: Some(Exclusion { refusal, told_at }), .. } => {
            let (code, reason) = (refusal.code.to_string(), refusal.detail.clone());
            Some(ExclusionFacts { advice: advice(&code), code, since, told_at: Some(*told_at), reason })
        }
        LinkState::Down { exclusion: None, .. } => {
            let code = listed.filter(|status| !status.is_active())?.to_string();
            let reason = format!("directory version {} says so", directory.version());
            Some(ExclusionFacts { advice: advice(&code), code, since, told_at: None, reason })
        }
    }
}

pub(super) fn clock(skew: &Skew) -> ClockFacts {
    ClockFacts { ours: skew.ours, brokers: skew.brokers, ahead_millis: skew.ahead_millis() }
}

pub(super) fn refused(not_taken: NotTaken) -> RefusedFacts {
    RefusedFacts { at: not_taken.at, reason: not_taken.reason }
}

pub(super) fn certificate(office: &Office, now: Timestamp) -> CertificateFacts {
    let credentials = office.credentials();
    let verified = credentials.verify(&office.transport().anchors(), Usage::Client, now);
    CertificateFacts {
        not_before: credentials.not_before(),
        not_after: credentials.not_after(),
        renewal_due_at: renewal::due_at(&credentials),
        problem: verified.err().map(|error| error.to_string()),
        refused: office.certificate_refused().map(refused),
    }
}

pub(super) fn runs_out(office: &Office, now: Timestamp) -> Vec<RunsOut> {
    let facts = |document: freshness::Freshness| RunsOut {
        file: document.file.display().to_string(),
        issued_at: document.issued_at,
        expires_at: document.expires_at,
        counts_until: document.counts_until,
        urgency: document.urgency.as_str().to_owned(),
        advice: document.is_near().then(|| document.advice.to_owned()),
        name: document.name,
    };
    freshness::of(office, now).into_iter().map(facts).collect()
}

const UNANSWERED_ADVICE: &str = "a broker says that it keeps this request, and for more than 7 days nobody has answered: ask the authority whether it has it, and carry it there otherwise (valise-agent renew --out FILE, then valise-agent install DIR)";

/// What is told of a request.
#[must_use]
pub fn renewal_facts(pending: &Pending, now: Timestamp) -> RenewalFacts {
    let request = pending.request().request();
    let refused = pending.refused().map(|no| RefusedFacts { at: no.at, reason: no.reason.clone() });
    RenewalFacts {
        fingerprint: pending.request().fingerprint(),
        made_at: request.created_at,
        signing_key: request.signing_key.key_id(),
        sealing_key: request.sealing_key.key_id(),
        spooled_by: pending.spooled().map(|spooled| spooled.broker.to_string()),
        spooled_at: pending.spooled().map(|spooled| spooled.at),
        refused,
        unanswered: pending.is_overdue(now).then(|| UNANSWERED_ADVICE.to_owned()),
    }
}

/// A request and its text.
#[must_use]
pub fn renewal_answer(pending: &Pending, now: Timestamp) -> RenewalAnswer {
    RenewalAnswer { renewal: renewal_facts(pending, now), pem: pending.request().to_pem() }
}

/// What is told of an installation.
#[must_use]
pub fn installed_facts(installed: &Installed) -> InstalledFacts {
    let Installed { directory, lists, certificate } = *installed;
    InstalledFacts { directory, revocation_lists: lists, certificate_not_after: certificate }
}

impl RotateRequest {
    /// Which keys; where none is named, all of them.
    #[must_use]
    pub fn which(self) -> Which {
        let Self { tls, signing, sealing } = self;
        if tls || signing || sealing {
            Which { tls, signing, sealing }
        } else {
            Which { tls: true, signing: true, sealing: true }
        }
    }
}

/// Every key that is held, those in use first, then those to follow, then those of former times.
#[must_use]
pub fn keys(office: &Office) -> Vec<KeyFacts> {
    let (vault, now, directory) = (office.vault(), office.now(), office.directory());
    let entry = directory.agency(office.agency());
    let signing = entry.map(|entry| entry.signing_keys.as_slice()).unwrap_or_default();
    let sealing = entry.map(|entry| entry.sealing_keys.as_slice()).unwrap_or_default();
    let credentials = office.credentials();
    let mut tls = tls_key("CURRENT", vault.tls_key_pem());
    (tls.not_before, tls.not_after) = (Some(credentials.not_before()), Some(credentials.not_after()));
    tls.listed = true;
    let mut keys = vec![tls, of_entry("SIGNING", "CURRENT", vault.signing_key().key_id(), signing, now)];
    let current = vault.sealing_keys().first().map(|key| key.public().key_id());
    keys.extend(current.map(|id| of_entry("SEALING", "CURRENT", id, sealing, now)));
    let next = vault.next();
    keys.extend(next.tls.as_ref().map(|key| tls_key("NEXT", key)));
    keys.extend(next.signing.as_ref().map(|key| of_entry("SIGNING", "NEXT", key.key_id(), signing, now)));
    let next_sealing = next.sealing.as_ref().map(|key| key.public().key_id());
    keys.extend(next_sealing.map(|id| of_entry("SEALING", "NEXT", id, sealing, now)));
    for former in vault.former() {
        keys.push(KeyFacts {
            since: Some(former.since),
            unlisted_at: former.unlisted,
            destroyed_at: destroyed_at(office, former),
            ..of_entry("SEALING", "FORMER", former.key_id, sealing, now)
        });
    }
    keys
}

fn of_entry<K>(kind: &str, state: &str, key_id: KeyId, listed: &[KeyEntry<K>], now: Timestamp) -> KeyFacts {
    let entry = listed.iter().find(|entry| entry.key_id == key_id);
    KeyFacts {
        kind: kind.to_owned(),
        key_id: key_id.to_string(),
        state: state.to_owned(),
        listed: entry.is_some_and(|entry| entry.is_valid_at(now)),
        not_before: entry.map(|entry| entry.not_before),
        not_after: entry.map(|entry| entry.not_after),
        since: None,
        unlisted_at: None,
        destroyed_at: None,
    }
}

fn tls_key(state: &str, pem: &str) -> KeyFacts {
    let key = rcgen::KeyPair::from_pem(pem).ok();
    let digest = key.map(|key| sha256(&[key.public_key_raw()]).to_string());
    let short = digest.and_then(|digest| digest.get(..2 * KeyId::LEN).map(ToOwned::to_owned));
    KeyFacts {
        kind: "TLS".to_owned(),
        key_id: short.unwrap_or_default(),
        state: state.to_owned(),
        listed: false,
        not_before: None,
        not_after: None,
        since: None,
        unlisted_at: None,
        destroyed_at: None,
    }
}
