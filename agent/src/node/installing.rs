//! Exchanging what this node shows and signs with: its certificate and its keys.
//!
//! Claimed: a certificate is put in place only if every broker would accept it (it chains to our roots, is for this
//! agency and for a key held here, counts now and is not revoked by the lists held), and never in place of one that
//! counts and was issued later; what is put in place is the leaf and the issuers that lead to a root of ours, nothing
//! that a messenger adds; a key signs only once the directory in force lists it; a former sealing key is destroyed only after
//! its grace, and what was received under it stays readable here, kept under `store.key`.

use bytes::Bytes;
use thiserror::Error;
use valise_proto::id::{KeyId, SpiffeId, Timestamp};
use valise_transport::{Anchors, CertificateError, Credentials, CredentialsError, Usage};

use super::office::Office;
use super::showing::{self, NotShown};
use crate::enrol;
use crate::renewal::{self, RenewError};
use crate::store::StoreError;
use crate::vault::{Former, Vault, VaultError, rotation};

/// Why a certificate was not put in place. The one in use stays.
#[derive(Debug, Error)]
pub(crate) enum NotInstalled {
    /// It cannot be used.
    #[error("the certificate that is offered is refused: {0}")]
    Credentials(#[from] CredentialsError),
    /// It is for a key that is not here.
    #[error(
        "the certificate that is offered is for a TLS key that this node does not hold: renew with the keys held here (valise-agent renew), or restore keys/ from a backup"
    )]
    OtherKey,
    /// It names someone else.
    #[error("the certificate that is offered is for {got}; this node is {expected}")]
    Identity {
        /// This node.
        expected: SpiffeId,
        /// The certificate's.
        got: SpiffeId,
    },
    /// No broker would accept it.
    #[error("the certificate that is offered is refused, as every broker would refuse it: {0}")]
    Certificate(#[from] CertificateError),
    /// Peers would not take it in a handshake.
    #[error(
        "the certificate chain that is offered is refused: {certificates} certificates of {bytes} bytes; it may have {CHAIN_MAX} of {CHAIN_BYTES_MAX} bytes"
    )]
    TooLong {
        /// How many certificates.
        certificates: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The keys.
    #[error("{0}")]
    Vault(#[from] VaultError),
}

/// Most certificates of a chain that a broker serves: a leaf, its issuer, and one between that and the root.
const CHAIN_MAX: usize = 3;
/// Most bytes of it.
const CHAIN_BYTES_MAX: usize = 16 * 1024;

/// A certificate that may take the place of the one in use.
pub(super) struct Candidate {
    pub(super) credentials: Credentials,
    chain: Vec<Bytes>,
    /// Whether it is for the key that follows the one in use.
    next: bool,
}

/// Finds the key that a chain is for, and whether it is newer than the one in use; `None` where it is not. One that
/// verifies is newer than one in use that does not. Whether it is to be believed is for [`Candidate::verify`].
pub(super) fn candidate(office: &Office, chain: &[Bytes]) -> Result<Option<Candidate>, NotInstalled> {
    let pem = enrol::chain_pem(chain);
    let vault = office.vault();
    let held = office.credentials();
    let keys = [(Some(vault.tls_key_pem()), false), (vault.next().tls.as_ref(), true)];
    for (key, next) in keys {
        let Some(key) = key else { continue };
        let credentials = match Credentials::from_pem(pem.as_bytes(), key.as_bytes()) {
            Err(CredentialsError::Mismatch(_)) => continue,
            other => other?,
        };
        if *credentials.identity() != office.identity() {
            let got = credentials.identity().clone();
            return Err(NotInstalled::Identity { expected: office.identity(), got });
        }
        let key_of = |of: &Credentials| (of.not_before(), of.not_after());
        let verifies =
            |of: &Credentials| of.verify(&office.transport().anchors(), Usage::Client, office.now()).is_ok();
        let newer =
            next || key_of(&credentials) > key_of(&held) || (!verifies(&held) && verifies(&credentials));
        return Ok(newer.then(|| Candidate { credentials, chain: chain.to_vec(), next }));
    }
    Err(NotInstalled::OtherKey)
}

impl Candidate {
    pub(super) fn verify(&self, office: &Office) -> Result<(), NotInstalled> {
        self.credentials.verify(&office.transport().anchors(), Usage::Client, office.now())?;
        Ok(())
    }

    /// The same without the certificates that do not lead from the leaf to a root of `anchors`, by which it verifies.
    pub(super) fn on_path(mut self, office: &Office, anchors: &Anchors) -> Result<Self, NotInstalled> {
        let vault = office.vault();
        let key = if self.next { vault.next().tls.as_ref() } else { Some(vault.tls_key_pem()) };
        let key = key.ok_or(NotInstalled::OtherKey)?;
        for index in (1..self.chain.len()).rev() {
            let others = self.chain.iter().enumerate().filter(|(at, _)| *at != index);
            let fewer: Vec<Bytes> = others.map(|(_, der)| der.clone()).collect();
            let credentials = Credentials::from_pem(enrol::chain_pem(&fewer).as_bytes(), key.as_bytes())?;
            if credentials.verify(anchors, Usage::Client, office.now()).is_ok() {
                (self.credentials, self.chain) = (credentials, fewer);
            }
        }
        Ok(self)
    }

    /// Puts it in place; connections made from now on show it.
    pub(super) fn install(self, office: &Office) -> Result<(), NotInstalled> {
        let folder = &office.config().folder;
        let installed = rotation::install_chain(folder, enrol::chain_pem(&self.chain).as_bytes(), self.next);
        if self.next {
            reopen_vault(office, &installed)?;
            // Once the chain lies beside the next key, whoever opens the vault finishes the exchange.
            if office.vault().next().tls.is_some() {
                installed?;
            }
        } else {
            installed?;
        }
        tracing::info!(not_after = %self.credentials.not_after(), new_key = self.next, "a newer certificate is in use");
        office.replace_credentials(self.credentials);
        Ok(())
    }
}

/// Puts a certificate in place that the broker serves, if it is newer; returns whether it was.
///
/// # Errors
/// [`NotInstalled`].
pub(super) fn take_chain(office: &Office, chain: &[Bytes]) -> Result<bool, NotInstalled> {
    let _alone = office.publishing();
    let bytes = chain.iter().map(Bytes::len).sum();
    if chain.len() > CHAIN_MAX || bytes > CHAIN_BYTES_MAX {
        return Err(NotInstalled::TooLong { certificates: chain.len(), bytes });
    }
    let Some(candidate) = candidate(office, chain)? else { return Ok(false) };
    candidate.verify(office)?;
    candidate.on_path(office, &office.transport().anchors())?.install(office)?;
    Ok(true)
}

/// Why keys were not exchanged. What was exchanged before stays so, and the rest is tried again.
#[derive(Debug, Error)]
pub(crate) enum NotAdopted {
    /// The keys.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// The renewal request.
    #[error("{0}")]
    Renewal(#[from] RenewError),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Takes into use the keys that the directory in force lists, destroys former ones whose grace is over, and keeps the
/// renewal request up to date.
///
/// # Errors
/// [`NotAdopted`].
pub(super) fn keep_up(office: &Office) -> Result<(), NotAdopted> {
    let _alone = office.publishing();
    let (folder, now) = (&office.config().folder, office.now());
    let directory = office.directory();
    // By a clock outside the life of what the authority signed, nothing is exchanged or destroyed.
    let fresh = directory.check_fresh(now).is_ok();
    if let Some(entry) = directory.agency(office.agency()).filter(|_| fresh) {
        let listing = (entry, directory.content().issued_at);
        let adopted = rotation::adopt(folder, &office.vault(), listing, now);
        if !matches!(&adopted, Ok(adopted) if !adopted.any()) {
            reopen_vault(office, &adopted)?;
        }
        let adopted = adopted?;
        if let Some(key) = adopted.signing {
            tracing::info!(%key, "the new signing key is in use");
        }
        if let Some(key) = adopted.sealing {
            tracing::info!(%key, "the new sealing key is in use; the former one goes on opening");
        }
    }
    if fresh {
        destroy_due(office, now)?;
    }
    let before = office.as_holder(|holder| renewal::Pending::read(holder.folder));
    let after = office.as_holder(|holder| renewal::keep_up(holder, false, now))?;
    let digest = |pending: &renewal::Pending| pending.request().digest();
    if before.ok().flatten().as_ref().map(digest) != after.as_ref().map(digest) {
        office.stir();
    }
    Ok(())
}

/// When a former key is destroyed, if nothing changes; `None` while the authority still lists it.
pub(crate) fn destroyed_at(office: &Office, former: &Former) -> Option<Timestamp> {
    former.unlisted.map(|at| at.plus(office.config().sealing_key_grace))
}

fn destroy_due(office: &Office, now: Timestamp) -> Result<(), NotAdopted> {
    let vault = office.vault();
    let due = |former: &&Former| destroyed_at(office, former).is_some_and(|at| at <= now);
    let due: Vec<KeyId> = vault.former().iter().filter(due).map(|former| former.key_id).collect();
    let destroyed = due.iter().try_for_each(|key_id| -> Result<(), NotAdopted> {
        keep_what_it_opened(office, *key_id)?;
        rotation::destroy(&office.config().folder, *key_id)?;
        tracing::info!(key = %key_id, "a former sealing key was destroyed: its grace is over");
        Ok(())
    });
    if !due.is_empty() {
        reopen_vault(office, &destroyed)?;
    }
    destroyed
}

/// Opens the vault anew after its files were changed, or some of them were: what failed halfway is tried again from what
/// the files hold, and would fail for ever from what they held before. Where that fails too, the first error tells more.
fn reopen_vault<T, E>(office: &Office, changed: &Result<T, E>) -> Result<(), VaultError> {
    match Vault::open(&office.config().folder) {
        Ok(vault) => office.replace_vault(vault),
        Err(error) if changed.is_ok() => return Err(error),
        Err(error) => tracing::warn!(%error, "the keys cannot be read after an exchange that failed"),
    }
    Ok(())
}

/// Received notices are kept sealed; what only this key opens is kept under the store's key before it is destroyed.
fn keep_what_it_opened(office: &Office, key_id: KeyId) -> Result<(), NotAdopted> {
    for notice_id in office.store().sealed_to(key_id)? {
        match showing::open_to_keep(office, &notice_id) {
            Ok((_, opened)) => office.store().keep_portions(&notice_id, &opened)?,
            Err(NotShown::Store(error)) => return Err(error.into()),
            // What cannot be shown now is lost to nobody.
            Err(error) => tracing::warn!(notice = %notice_id, %error, "a kept notice does not open"),
        }
    }
    Ok(())
}
