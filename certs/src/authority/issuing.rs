//! The issuing authority and its root: another one in its place, and those of former times.
//!
//! Claimed: nothing that is out when the issuing authority is renewed stops counting. It holds because the certificates
//! of both lead to the root, each is published as long as nodes meet it, and the former key goes on signing the list of
//! what it issued until the last of that has run out. It is destroyed at the first renewal after that, and not by the
//! clock alone: one that is wrong for a day would destroy what is still needed. What the root's delegation allows changes
//! at the same moment for everybody: with the next directory.
//!
//! Claimed too: whoever stole the folder can sign nothing under what takes its place. It holds because not only the
//! issuing key is another one but the directory's too, unless the caller keeps it; and where it was kept, the root does
//! not revoke the former authority for a lost key before the directory has a key that never lay beside the lost one.

use std::mem;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use thiserror::Error;
use valise_proto::crypto::VerifyingKey;
use valise_proto::delegation::{FORMER_ISSUING_KEYS_MAX, SignedDelegation};
use valise_proto::directory::DirectoryError;
use valise_proto::id::{KeyId, Timestamp};
use valise_proto::label::{Ceiling, LabelError};

use super::known::destroy_keys_over;
use super::{Authority, certificates_pem};
use crate::files::{self, FileError, PLAIN_FILE, SECRET_FILE};
use crate::journal::{Action, Deed};
use crate::keys::{KeysError, Seed};
use crate::passphrase::Passphrase;
use crate::register::{Register, RegisterError};
use crate::root::{Asked, Delegated, Root, RootError, RootPlace};
use crate::state::{self, FormerIssuing, Hex, RevocationReason, Revoked, Serial, State, StateError, Stored};
use crate::transaction;
use crate::x509::{Ca, Period, SignError, read_certificate};

/// Why nothing was done with the root. The authority is as it was; a number the root has noted is not used again.
#[derive(Debug, Error)]
pub enum IssuingError {
    /// The root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The one in force.
    #[error(
        "{0} is the issuing certificate in force; put another in its place first (`valise-ca issuing renew`), then revoke it"
    )]
    InForce(Serial),
    /// Members above the new ceiling, or a directory that cannot be made.
    #[error("{0}; lower the clearance first (`valise-ca clearance set`), or choose another ceiling")]
    Directory(#[from] DirectoryError),
    /// More lists than a publication holds.
    #[error(
        "certificates of {FORMER_ISSUING_KEYS_MAX} issuing authorities of former times are out yet, as many as a publication has lists for; `valise-ca issuing list` shows until when"
    )]
    TooManyFormer,
    /// The ceiling asked for.
    #[error("the ceiling cannot be used: {0}")]
    Ceiling(#[from] LabelError),
    /// More than before, and nobody said so.
    #[error(
        "the ceiling asked for ({asked}) allows more than the one in force ({in_force}); give --widen if that is meant"
    )]
    Wider {
        /// The new one.
        asked: Box<Ceiling>,
        /// The present one.
        in_force: Box<Ceiling>,
    },
    /// The directory's key lay beside the one that was lost.
    #[error(
        "the directory is signed with a key that lay beside that of {0}: whoever has the one has the other; run `valise-ca issuing renew` first (without --keep-directory-key), then revoke it"
    )]
    DirectoryKeyShared(Serial),
    /// A key.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The authority's folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The state could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// One of the authority's own certificates.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// What the next issuing authority is to be.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The most it may grant; otherwise what the present one may.
    pub ceiling: Option<Ceiling>,
    /// Whether that may allow what the present one does not.
    pub widen: bool,
    /// Whether the directory is signed with a new key from now on.
    pub new_directory_key: bool,
    /// How long the root's revocation list counts, which is signed anew too.
    pub root_list: Duration,
}

/// An issuing authority that took over.
#[derive(Clone, Debug, Serialize)]
pub struct Successor {
    /// Its certificate.
    pub serial: Serial,
    /// The certificate before it.
    pub former: Serial,
    /// Of the delegation.
    pub generation: u64,
    /// Its key.
    pub issuing_key: KeyId,
    /// The key that the directory is signed with.
    pub directory_key: KeyId,
    /// Until when it counts.
    pub not_after: Timestamp,
    /// Until when the root's list counts.
    pub root_list_next_update: Timestamp,
}

/// One issuing authority.
#[derive(Clone, Debug, Serialize)]
pub struct IssuingView {
    /// Its certificate.
    pub serial: Serial,
    /// Whether it issues now.
    pub in_force: bool,
    /// First moment at which its certificate counts.
    pub not_before: Timestamp,
    /// Last moment at which it counts.
    pub not_after: Timestamp,
    /// When the last certificate it issued runs out.
    pub issued_until: Option<Timestamp>,
    /// How many certificates it issued.
    pub issued: usize,
    /// When the root revoked it.
    pub revoked_at: Option<Timestamp>,
}

impl Authority {
    /// Signs a new revocation list of the root, which counts for `lifetime`. Gives when it runs out.
    ///
    /// # Errors
    /// [`IssuingError`].
    pub fn renew_root_list(
        &mut self,
        place: &RootPlace,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Timestamp, IssuingError> {
        self.with_root(place, |authority, root| {
            let list = root.list(lifetime, authority.state.root_floor, now)?;
            let deed = Deed::new(Action::RootList, &authority.state.trust_domain, now)
                .with("number", list.number)
                .with("next_update", list.next_update);
            let next_update = list.next_update;
            let mut next = State { root_list: list, ..authority.state.clone() };
            next.take_up_revocations(root);
            authority.commit(next, &deed)?;
            Ok(next_update)
        })
    }

    /// Opens the root for one act. Where that fails, the root's record is as it was, unless the authority's folder may
    /// hold what the root made: then its numbers stay used up.
    fn with_root<T>(
        &mut self,
        place: &RootPlace,
        act: impl FnOnce(&mut Self, &mut Root) -> Result<T, IssuingError>,
    ) -> Result<T, IssuingError> {
        let mut root = Root::open(place, &self.state.root_key.0)?;
        root.catch_up(self.state.known_of_root(self.delegation.delegation().generation)?)?;
        root.keep_former()?;
        let done = act(self, &mut root);
        root.settle(done.is_err() && self.is_as_opened());
        done
    }

    /// Whether the folder holds the state that this process last saw there, and no change that counts is under way.
    fn is_as_opened(&self) -> bool {
        let under_way = self.folder.path().join(transaction::MARKER).exists();
        let on_record = state::load::<State>(&self.folder.state(), None);
        !under_way && on_record.is_ok_and(|found| found.journal == self.state.journal)
    }

    /// Puts another issuing authority in the place of the one in force. `passphrase` is the authority's own.
    ///
    /// # Errors
    /// [`IssuingError`].
    pub fn renew_issuing(
        &mut self,
        place: &RootPlace,
        passphrase: &Passphrase,
        renewal: &Renewal,
        now: Timestamp,
    ) -> Result<Successor, IssuingError> {
        // The new keys are to open with the passphrase that opens the others.
        let former_key = self.folder.issuing_key();
        Seed::read(&former_key, passphrase)?;
        let former_key = files::read(&former_key, 16 * 1024)?;
        let ceiling = renewal.ceiling.clone().unwrap_or_else(|| self.ceiling().clone());
        ceiling.check_sizes()?;
        if !renewal.widen && !ceiling.is_within(self.ceiling()) {
            let in_force = Box::new(self.ceiling().clone());
            return Err(IssuingError::Wider { asked: Box::new(ceiling), in_force });
        }
        self.check_fits(&ceiling, now)?;
        let keys = (former_key, ceiling);
        self.with_root(place, |authority, root| authority.succeed(root, passphrase, keys, (renewal, now)))
    }

    fn succeed(
        &mut self,
        root: &mut Root,
        passphrase: &Passphrase,
        (former_key, ceiling): (Vec<u8>, Ceiling),
        (renewal, now): (&Renewal, Timestamp),
    ) -> Result<Successor, IssuingError> {
        let issuing_seed = Seed::generate();
        let directory_seed = renewal.new_directory_key.then(Seed::generate);
        let directory_key =
            directory_seed.as_ref().map_or_else(|| self.directory_key.clone(), Seed::signing_key);
        let above = self.delegation.delegation().generation.max(self.state.root_floor);
        let mut next = self.state.clone();
        next.retire_issuing(now);
        let asked = Asked {
            issuing: issuing_seed.ca_key()?,
            directory_key: directory_key.verifying_key(),
            former_issuing_keys: self.keys_of_former(&next)?,
            ceiling,
            above,
        };
        let Delegated { issuing, serial, delegation } = root.delegate(asked, now)?;
        next.root_list = root.list(renewal.root_list, next.root_floor, now)?;
        next.take_up_revocations(root);
        let former = next.take_office(serial, &issuing, &delegation);
        let renewed = Successor {
            serial,
            former,
            generation: delegation.delegation().generation,
            issuing_key: delegation.delegation().issuing_key.key_id(),
            directory_key: directory_key.key_id(),
            not_after: issuing.certificate.period.not_after,
            root_list_next_update: next.root_list.next_update,
        };
        let deed = Deed::new(Action::RenewIssuing, serial, now)
            .with("former", former)
            .with("generation", renewed.generation)
            .with("ceiling", &delegation.delegation().ceiling)
            .with("issuing_key", renewed.issuing_key)
            .with("directory_key", renewed.directory_key)
            .with("root_list", next.root_list.number);
        let folder = self.folder.clone();
        let pem = certificates_pem(&[&issuing.certificate.der]);
        let (new_issuing, new_directory) = (
            issuing_seed.encrypt(passphrase)?,
            directory_seed.map(|seed| seed.encrypt(passphrase)).transpose()?,
        );
        let (kept, issuing_path) = (folder.former_issuing_key(former), folder.issuing_key());
        let (directory_path, certificate) = (folder.directory_key(), folder.issuing_certificate());
        let mut others = vec![
            (kept.as_path(), former_key.as_slice(), SECRET_FILE),
            (issuing_path.as_path(), new_issuing.as_bytes(), SECRET_FILE),
            (certificate.as_path(), pem.as_bytes(), PLAIN_FILE),
        ];
        if let Some(text) = &new_directory {
            others.push((directory_path.as_path(), text.as_bytes(), SECRET_FILE));
        }
        let over = self.over_in(&next);
        self.commit_under(next, &deed, others, &directory_key)?;
        self.former.retain(|(serial, _)| !over.contains(serial));
        self.former.push((former, mem::replace(&mut self.issuing, issuing)));
        (self.delegation, self.directory_key) = (delegation, directory_key);
        destroy_keys_over(&folder, &self.state);
        Ok(renewed)
    }

    /// The keys of those that are of former times in `next`: nodes take no list but of keys that the root names.
    fn keys_of_former(&self, next: &State) -> Result<Vec<VerifyingKey>, IssuingError> {
        let present = std::iter::once((self.state.issuing_serial, &self.issuing));
        let all = present.chain(self.former.iter().map(|(serial, ca)| (*serial, ca)));
        let kept = all.filter(|(serial, _)| next.former_issuing.contains_key(serial));
        let keys: Vec<_> = kept.map(|(_, ca)| ca.verifying_key()).collect();
        if keys.len() > FORMER_ISSUING_KEYS_MAX {
            return Err(IssuingError::TooManyFormer);
        }
        Ok(keys)
    }

    /// Has the root revoke an issuing authority of former times, and with it all it issued. For a lost key
    /// (`KEY_COMPROMISE`) only once the directory is signed with a key that never lay beside it.
    /// Whoever was interrupted does it again.
    ///
    /// # Errors
    /// [`IssuingError`].
    pub fn revoke_issuing(
        &mut self,
        place: &RootPlace,
        serial: Serial,
        reason: RevocationReason,
        (lifetime, now): (Duration, Timestamp),
    ) -> Result<Timestamp, IssuingError> {
        if serial == self.state.issuing_serial {
            return Err(IssuingError::InForce(serial));
        }
        let revoked = Revoked { at: now, since: now, reason };
        self.with_root(place, |authority, root| {
            let shared = root.state.issuing.get(&serial).is_some_and(|record| {
                reason == RevocationReason::KeyCompromise
                    && record.generation >= authority.state.directory_key_generation
            });
            if shared {
                return Err(IssuingError::DirectoryKeyShared(serial));
            }
            let mut next = authority.state.clone();
            let taken_up = next.has_taken_up(serial)?;
            next.root_list = root.revoke(serial, (revoked, taken_up), (lifetime, next.root_floor))?;
            next.take_up_revocations(root);
            let next_update = next.root_list.next_update;
            let deed = Deed::new(Action::RevokeIssuing, serial, now)
                .with("reason", reason)
                .with("root_list", next.root_list.number);
            authority.commit(next, &deed)?;
            Ok(next_update)
        })
    }

    /// The lists that every node must hold: the root's, the issuing authority's of `period`, and those of its
    /// predecessors whose certificates are out yet.
    pub(super) fn lists(&self, next: &State, period: Period) -> Result<Vec<Bytes>, SignError> {
        let now = period.not_before;
        let sign = |ca: &Ca, serial| ca.crl(next.crl_number, &next.revoked(serial, now), period);
        let root = Bytes::copy_from_slice(&next.root_list.der.0);
        let mut lists = vec![root, sign(&self.issuing, next.issuing_serial)?];
        for (serial, ca) in &self.former {
            if next.former_issuing.get(serial).is_some_and(|former| former.until > now) {
                lists.push(sign(ca, *serial)?);
            }
        }
        Ok(lists)
    }

    /// Refuses a ceiling that is below what somebody was granted: no directory could be signed any more.
    fn check_fits(&self, ceiling: &Ceiling, now: Timestamp) -> Result<(), DirectoryError> {
        let version = self.state.directory_version;
        for (agency, entry) in self.state.directory(now, now)?.agencies {
            let within = ceiling.check(agency.state(), &entry.clearance, &entry.origination.classifications);
            within.map_err(|above| DirectoryError::AboveCeiling { version, agency, above })?;
        }
        Ok(())
    }

    /// Those whose certificates have all run out by `next`.
    fn over_in(&self, next: &State) -> Vec<Serial> {
        let known = self.state.former_issuing.keys();
        known.filter(|serial| !next.former_issuing.contains_key(serial)).copied().collect()
    }
}

impl State {
    /// The one in force becomes one of former times; those of which nothing is out any more are given up.
    fn retire_issuing(&mut self, now: Timestamp) {
        self.former_issuing.retain(|_, former| former.until > now);
        let until = self.issued_until(self.issuing_serial).unwrap_or(now);
        let former = FormerIssuing { certificate: self.issuing_certificate.clone(), until, revoked: None };
        self.former_issuing.insert(self.issuing_serial, former);
    }

    /// Puts another issuing authority in force, and returns the serial of the one before it.
    fn take_office(&mut self, serial: Serial, issuing: &Ca, signed: &SignedDelegation) -> Serial {
        let delegation = signed.delegation();
        if self.directory_key.0 != delegation.directory_key {
            self.directory_key_generation = delegation.generation;
        }
        self.directory_key = Stored(delegation.directory_key);
        self.issuing_certificate = Hex(issuing.certificate.der.to_vec());
        self.delegation = Hex(signed.encode().to_vec());
        mem::replace(&mut self.issuing_serial, serial)
    }

    fn issued_until(&self, issuer: Serial) -> Option<Timestamp> {
        let issued = self.certificates.values().filter(|record| record.issuer == issuer);
        issued.map(|record| record.not_after).max()
    }
}

impl Register {
    /// The issuing authority, and those of former times whose certificates are out yet.
    ///
    /// # Errors
    /// [`RegisterError::Certificate`].
    pub fn issuing(&self) -> Result<Vec<IssuingView>, RegisterError> {
        let state = self.state();
        let view = |serial: Serial, certificate: &Hex, revoked: Option<Revoked>| {
            let period = read_certificate(Bytes::copy_from_slice(&certificate.0))?.period;
            Ok(IssuingView {
                serial,
                in_force: serial == state.issuing_serial,
                not_before: period.not_before,
                not_after: period.not_after,
                issued_until: state.issued_until(serial),
                issued: state.certificates.values().filter(|record| record.issuer == serial).count(),
                revoked_at: revoked.map(|revoked| revoked.at),
            })
        };
        let former = state.former_issuing.iter();
        std::iter::once(view(state.issuing_serial, &state.issuing_certificate, None))
            .chain(former.map(|(serial, former)| view(*serial, &former.certificate, former.revoked)))
            .collect()
    }
}
