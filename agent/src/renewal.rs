//! Renewal from the agency's side: the request that leaves, kept until it is answered.
//!
//! Claimed: from two thirds of the certificate's life on there is one request, whose bytes stay the same however often
//! it is sent or written out, until a certificate that was not held when it was made and every key it brings are in
//! use. It holds because the request is on stable storage before anybody is shown it, and because a new one is made
//! only where the old one could not be granted any more: keys it does not bring are to follow, the key that signed it
//! is no longer in use, it was made by a clock that ran ahead, or it has gone unanswered for weeks.
//!
//! What one broker says of it counts for that broker alone: one that says it keeps the request, and does not, keeps no
//! other from being handed it.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use valise_proto::crypto::{SigningKey, sha256};
use valise_proto::enrolment::EnrolmentError;
use valise_proto::id::{AgencyId, Digest, SpiffeId, Timestamp, TrustDomain};
use valise_proto::renewal::{RENEWAL_BYTES_MAX, RenewalRequest, SignedRenewalRequest};
use valise_transport::Credentials;

use crate::enrol;
use crate::folder::{self, FileError, Folder};
use crate::vault::Vault;

/// Longest PEM text of a request.
const PEM_BYTES_MAX: usize = RENEWAL_BYTES_MAX * 2;
/// Longest record of what became of it.
const STATE_BYTES_MAX: usize = 16 * 1024;
/// After this a request that nobody answered is made anew: the authority may take the old one for a replay.
const UNANSWERED_MAX: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// After this a request that a broker keeps is handed to it again, should it have lost it.
const SPOOLED_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);
/// After this a request that a broker keeps and that nobody answered is warned of.
const UNANSWERED_WARNED: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Most brokers that are remembered to keep it.
const BROKERS_MAX: usize = 16;
/// After this a request that a broker refused is handed to it again.
const REFUSED_AGAIN: Duration = Duration::from_secs(60 * 60);
/// A request from further ahead than this was made by a clock that has been set back since.
const AHEAD_MAX: Duration = Duration::from_secs(5 * 60);

/// Why no renewal request was made or read. Nothing was changed.
#[derive(Debug, Error)]
pub enum RenewError {
    /// A file.
    #[error("{0}")]
    File(#[from] FileError),
    /// The certificate request.
    #[error("the certificate request could not be made: {0}")]
    Request(#[from] rcgen::Error),
    /// The request that is kept cannot be read.
    #[error("{path}: {source}; remove this file, and another is made", path = path.display())]
    Unreadable {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        source: EnrolmentError,
    },
}

/// That a broker keeps the request for the authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spooled {
    /// Since when.
    pub at: Timestamp,
    /// Which broker.
    pub broker: SpiffeId,
}

/// That a broker did not take the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// Which broker.
    pub broker: SpiffeId,
    /// Why.
    pub reason: String,
}

/// What became of a request, as it is kept beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Which request.
    request: Digest,
    /// SHA-256 of the certificate chain held when it was made.
    certificate: Digest,
    /// One for each broker, the latest last.
    #[serde(default)]
    spools: Vec<Spooled>,
    refused: Option<Refused>,
}

/// A request that waits for its answer.
#[derive(Clone, Debug)]
pub struct Pending {
    request: SignedRenewalRequest,
    state: State,
}

/// Who asks for a renewal, and with what it holds now.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// Its data folder.
    pub folder: &'a Folder,
    /// Its keys.
    pub vault: &'a Vault,
    /// Which agency.
    pub agency: &'a AgencyId,
    /// Of which exchange.
    pub trust_domain: &'a TrustDomain,
    /// The certificate in use.
    pub credentials: &'a Credentials,
}

/// From when on a certificate is to be renewed: two thirds of its life.
#[must_use]
pub fn due_at(credentials: &Credentials) -> Timestamp {
    let life = credentials.not_after().since(credentials.not_before());
    credentials.not_before().plus(life.saturating_mul(2) / 3)
}

impl Pending {
    /// The request that is kept, if there is one.
    ///
    /// # Errors
    /// [`RenewError`].
    pub fn read(folder: &Folder) -> Result<Option<Self>, RenewError> {
        let path = folder.renewal();
        if !path.exists() {
            return Ok(None);
        }
        let text = folder::read_text(&path, PEM_BYTES_MAX)?;
        let request = SignedRenewalRequest::from_pem(&text);
        let request = request.map_err(|source| RenewError::Unreadable { path, source })?;
        let kept = folder::read(&folder.renewal_state(), STATE_BYTES_MAX).ok();
        let kept = kept.and_then(|bytes| serde_json::from_slice::<State>(&bytes).ok());
        // A power cut between the two files leaves the state of an earlier request, or none.
        let state = match kept.filter(|state| state.request == request.digest()) {
            Some(state) => state,
            None => State::of(&request, folder)?,
        };
        Ok(Some(Self { request, state }))
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> &SignedRenewalRequest {
        &self.request
    }

    /// Which broker keeps it, if one does: the last that said so.
    #[must_use]
    pub fn spooled(&self) -> Option<&Spooled> {
        self.state.spools.last()
    }

    /// Whether a broker has kept it for so long without an answer that somebody should ask the authority.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.spooled().is_some() && now > self.request.request().created_at.plus(UNANSWERED_WARNED)
    }

    /// Why a broker did not take it, if one did not.
    #[must_use]
    pub fn refused(&self) -> Option<&Refused> {
        self.state.refused.as_ref()
    }

    /// Its bytes, where this broker is to be asked to keep them now. A clock that was set back asks once more.
    #[must_use]
    pub fn to_send(&self, broker: &SpiffeId, now: Timestamp) -> Option<Bytes> {
        let recently = |at: Timestamp, pause| at <= now && now < at.plus(pause);
        let by_it = |spooled: &Spooled| spooled.broker == *broker && recently(spooled.at, SPOOLED_AGAIN);
        let spooled = self.state.spools.iter().any(by_it);
        let by_it = |refused: &Refused| refused.broker == *broker && recently(refused.at, REFUSED_AGAIN);
        let refused = self.state.refused.as_ref().is_some_and(by_it);
        (!spooled && !refused).then(|| self.request.encode())
    }

    /// Remembers that a broker keeps it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn note_spooled(&mut self, folder: &Folder, spooled: Spooled) -> Result<(), FileError> {
        self.state.refused = None;
        let spools = &mut self.state.spools;
        spools.retain(|other| other.broker != spooled.broker);
        spools.push(spooled);
        spools.drain(..spools.len().saturating_sub(BROKERS_MAX));
        self.state.write(folder)
    }

    /// Remembers that a broker did not take it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn note_refused(&mut self, folder: &Folder, refused: Refused) -> Result<(), FileError> {
        self.state.refused = Some(refused);
        self.state.write(folder)
    }

    /// Whether what it asks for has come: another certificate than the one held when it was made, and every key it
    /// brings in use.
    fn is_answered(&self, holder: &Holder<'_>) -> Result<bool, RenewError> {
        let next = holder.vault.next();
        let none_follows = next.tls.is_none() && next.signing.is_none() && next.sealing.is_none();
        Ok(none_follows && held_certificate(holder.folder)? != self.state.certificate)
    }

    /// Whether the key it brings signs already, in place of the one that signed it: the authority has granted it, and its
    /// certificate is on the way. The directory may come first, and a second request would only wait for nothing.
    fn is_listed(&self, holder: &Holder<'_>) -> bool {
        let signing = holder.vault.signing_key().key_id();
        holder.vault.next().signing.is_none()
            && signing == self.request.request().signing_key.key_id()
            && signing != self.request.signed_by()
    }

    /// Whether the authority could still grant it, and would grant all that is wanted.
    fn is_current(&self, holder: &Holder<'_>, now: Timestamp) -> bool {
        let RenewalRequest { agency, trust_domain, csr_der, signing_key, sealing_key, created_at } =
            self.request.request();
        let brought = brought(holder.vault);
        // An Ed25519 signature follows from key and message, so the same key makes the same certificate request.
        certificate_request(holder).is_ok_and(|same| same == *csr_der)
            && (self.request.signed_by() == holder.vault.signing_key().key_id() || self.is_listed(holder))
            && (agency, trust_domain) == (holder.agency, holder.trust_domain)
            && signing_key.key_id() == brought.signing.key_id()
            && Some(sealing_key.key_id()) == brought.sealing.map(|key| key.key_id())
            && *created_at <= now.plus(AHEAD_MAX)
            && now < created_at.plus(UNANSWERED_MAX)
    }
}

impl State {
    fn of(request: &SignedRenewalRequest, folder: &Folder) -> Result<Self, RenewError> {
        let certificate = held_certificate(folder)?;
        Ok(Self { request: request.digest(), certificate, spools: Vec::new(), refused: None })
    }

    fn write(&self, folder: &Folder) -> Result<(), FileError> {
        // Of these types nothing fails to be written as JSON.
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        folder::replace(&folder.renewal_state(), &text)
    }
}

fn held_certificate(folder: &Folder) -> Result<Digest, FileError> {
    Ok(sha256(&[&folder::read(&folder.certificates(), enrol::PEM_BYTES_MAX)?]))
}

/// The keys that a request made now would bring.
struct Brought<'a> {
    signing: &'a SigningKey,
    sealing: Option<&'a valise_proto::crypto::SealingPublicKey>,
}

fn brought(vault: &Vault) -> Brought<'_> {
    let next = vault.next();
    let sealing = next.sealing.as_ref().or(vault.sealing_keys().first());
    Brought {
        signing: next.signing.as_ref().unwrap_or(vault.signing_key()),
        sealing: sealing.map(valise_proto::crypto::SealingKey::public),
    }
}

/// The request that waits, after one that was answered is put away and one that is due, or `wanted`, is made.
///
/// # Errors
/// [`RenewError`].
pub fn keep_up(holder: &Holder<'_>, wanted: bool, now: Timestamp) -> Result<Option<Pending>, RenewError> {
    let pending = match Pending::read(holder.folder) {
        Ok(pending) => pending,
        Err(error @ RenewError::Unreadable { .. }) => {
            tracing::warn!(%error, "a renewal request cannot be read; another is made");
            None
        }
        Err(error) => return Err(error),
    };
    let next = holder.vault.next();
    let follows = next.tls.is_some() || next.signing.is_some() || next.sealing.is_some();
    let due = follows || now >= due_at(holder.credentials);
    match pending {
        Some(pending) if pending.is_answered(holder)? => {
            forget(holder.folder)?;
            if wanted || due { make(holder, now).map(Some) } else { Ok(None) }
        }
        Some(pending) if pending.is_current(holder, now) => Ok(Some(pending)),
        Some(_) => make(holder, now).map(Some),
        None if wanted || due => make(holder, now).map(Some),
        None => Ok(None),
    }
}

/// Makes a request in place of the one that is kept.
///
/// # Errors
/// [`RenewError`].
pub fn make(holder: &Holder<'_>, now: Timestamp) -> Result<Pending, RenewError> {
    let Holder { folder, vault, agency, trust_domain, .. } = *holder;
    let csr_der = certificate_request(holder)?;
    let Brought { signing, sealing } = brought(vault);
    let sealing = sealing.ok_or(rcgen::Error::CouldNotParseKeyPair)?;
    let request = RenewalRequest {
        trust_domain: trust_domain.clone(),
        agency: agency.clone(),
        csr_der,
        signing_key: signing.verifying_key(),
        sealing_key: sealing.clone(),
        created_at: now,
    };
    let request = request.sign(vault.signing_key(), signing);
    let state = State::of(&request, folder)?;
    folder::replace(&folder.renewal(), request.to_pem().as_bytes())?;
    state.write(folder)?;
    tracing::info!(fingerprint = request.fingerprint(), "a renewal request was made");
    Ok(Pending { request, state })
}

fn certificate_request(holder: &Holder<'_>) -> Result<Bytes, rcgen::Error> {
    let identity = SpiffeId::agency(holder.trust_domain.clone(), holder.agency.clone());
    let tls = holder.vault.next().tls.as_ref().unwrap_or(holder.vault.tls_key_pem());
    enrol::certificate_request(tls, &identity)
}

/// Puts an answered request away.
fn forget(folder: &Folder) -> Result<(), FileError> {
    for path in [folder.renewal(), folder.renewal_state()] {
        folder::remove(&path)?;
    }
    tracing::info!("the renewal request is answered");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    /// A request of a folder that holds a certificate.
    fn pending() -> (tempfile::TempDir, Folder, Pending) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::new(temp.path().join("node"));
        let vault = Vault::create(&folder).unwrap();
        folder::replace(&folder.certificates(), b"a chain").unwrap();
        let (agency, trust_domain) = (fixture::agency("fra/ncb"), "exchange.example".parse().unwrap());
        let identity = SpiffeId::agency(trust_domain, agency.clone());
        let request = RenewalRequest {
            trust_domain: "exchange.example".parse().unwrap(),
            agency,
            csr_der: enrol::certificate_request(vault.tls_key_pem(), &identity).unwrap(),
            signing_key: vault.signing_key().verifying_key(),
            sealing_key: vault.sealing_keys().first().unwrap().public().clone(),
            created_at: fixture::now(),
        };
        let request = request.sign(vault.signing_key(), vault.signing_key());
        let state = State::of(&request, &folder).unwrap();
        folder::replace(&folder.renewal(), request.to_pem().as_bytes()).unwrap();
        (temp, folder, Pending { request, state })
    }

    fn broker(name: &str) -> SpiffeId {
        SpiffeId::broker("exchange.example".parse().unwrap(), name.parse().unwrap())
    }

    #[test]
    fn g12_what_one_broker_says_keeps_no_other_from_being_handed_the_request_and_silence_is_warned_of() {
        let (_temp, folder, mut pending) = pending();
        let (lying, honest, at) = (broker("b1"), broker("b2"), fixture::now());
        assert!(pending.to_send(&lying, at).is_some() && !pending.is_overdue(at.plus(UNANSWERED_WARNED * 2)));
        pending.note_spooled(&folder, Spooled { at, broker: lying.clone() }).unwrap();
        let mut pending = Pending::read(&folder).unwrap().unwrap();
        assert!(pending.to_send(&lying, at).is_none() && pending.to_send(&honest, at).is_some());
        let reason = "full".to_owned();
        pending.note_refused(&folder, Refused { at, broker: lying.clone(), reason }).unwrap();
        assert!(pending.to_send(&honest, at).is_some());
        pending.note_spooled(&folder, Spooled { at, broker: honest.clone() }).unwrap();
        assert_eq!(pending.spooled().map(|spooled| &spooled.broker), Some(&honest));
        assert!([&lying, &honest].iter().all(|broker| pending.to_send(broker, at).is_none()));
        let week = pending.request().request().created_at.plus(UNANSWERED_WARNED);
        assert!(!pending.is_overdue(week) && pending.is_overdue(week.plus(Duration::from_secs(1))));
        assert!(pending.to_send(&lying, at.plus(SPOOLED_AGAIN)).is_some());
    }
}
