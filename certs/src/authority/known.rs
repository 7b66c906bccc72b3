//! What the authority knows of its root, for a root whose folder was put back from an older copy.

use std::collections::BTreeMap;

use bytes::Bytes;
use valise_proto::id::Timestamp;
use x509_parser::prelude::{CertificateRevocationList, FromDer, ReasonCode, X509Certificate};

use crate::files;
use crate::folder::Folder;
use crate::root::{IssuingRecord, Known, Root};
use crate::state::{RevocationReason, Revoked, Serial, State};
use crate::x509::{SignError, read_certificate};

impl State {
    /// All that the root did, as far as it is known here.
    pub(super) fn known_of_root(&self, generation: u64) -> Result<Known, SignError> {
        let mut issuing = BTreeMap::new();
        issuing.insert(self.issuing_serial, record_of(&self.issuing_certificate.0)?);
        for (serial, former) in &self.former_issuing {
            issuing.insert(*serial, record_of(&former.certificate.0)?);
        }
        let mut revoked = listed(&self.root_list.der.0)?;
        for (serial, former) in &self.former_issuing {
            revoked.extend(former.revoked.map(|former| (*serial, former)));
        }
        let floor = self.root_floor;
        Ok(Known {
            generation: generation.max(floor),
            list_number: self.root_list.number.max(floor),
            issuing,
            revoked,
        })
    }

    /// Whether it is known here that the root revoked this issuing authority.
    pub(super) fn has_taken_up(&self, serial: Serial) -> Result<bool, SignError> {
        match self.former_issuing.get(&serial) {
            Some(former) => Ok(former.revoked.is_some()),
            None => Ok(listed(&self.root_list.der.0)?.contains_key(&serial)),
        }
    }

    /// Notes which issuing authorities of former times the root has revoked.
    pub(super) fn take_up_revocations(&mut self, root: &Root) {
        for (serial, former) in &mut self.former_issuing {
            let on_record = root.state.issuing.get(serial);
            former.revoked = former.revoked.or(on_record.and_then(|record| record.revoked));
        }
    }
}

/// Destroys the keys of issuing authorities that the state no longer knows. One that cannot be removed now is removed
/// at the next opening.
pub(super) fn destroy_keys_over(folder: &Folder, state: &State) {
    for path in folder.key_files().unwrap_or_default() {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let serial: Option<Serial> = name.strip_prefix("issuing-").and_then(|serial| serial.parse().ok());
        let is_over =
            |serial: Serial| serial != state.issuing_serial && !state.former_issuing.contains_key(&serial);
        if serial.is_some_and(is_over) {
            let _ = files::remove_if_there(&path);
        }
    }
}

/// What the root noted when it made this certificate. Its generation is the end of its name.
fn record_of(der: &[u8]) -> Result<IssuingRecord, SignError> {
    let bad = |problem: &str| SignError::Issuer(problem.to_owned());
    let period = read_certificate(Bytes::copy_from_slice(der))?.period;
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| bad(&error.to_string()))?;
    let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let name = name.ok_or_else(|| bad("it has no name"))?.to_owned();
    let key = <[u8; 32]>::try_from(parsed.public_key().subject_public_key.data.as_ref());
    let key = key.ok().and_then(|key| valise_proto::crypto::VerifyingKey::from_bytes(&key).ok());
    let generation = name.rsplit_once('G').and_then(|(_, number)| number.parse().ok()).unwrap_or_default();
    Ok(IssuingRecord {
        name,
        key: key.ok_or_else(|| bad("its key is none of Ed25519"))?.key_id(),
        generation,
        issued_at: period.not_before,
        not_before: period.not_before,
        not_after: period.not_after,
        revoked: None,
    })
}

/// What a list of the root says.
fn listed(der: &[u8]) -> Result<BTreeMap<Serial, Revoked>, SignError> {
    let (_, list) = CertificateRevocationList::from_der(der)
        .map_err(|error| SignError::Issuer(format!("the root's list: {error}")))?;
    let entries = list.iter_revoked_certificates().filter_map(|entry| {
        // A first bit that is set is written after a zero byte.
        let bytes = entry.raw_serial();
        let serial = Serial::new(bytes.strip_prefix(&[0]).unwrap_or(bytes).try_into().ok()?);
        let seconds = u64::try_from(entry.revocation_date.timestamp()).unwrap_or_default();
        let at = Timestamp::from_millis(seconds.saturating_mul(1000));
        let reason = entry.reason_code().map_or(RevocationReason::Unspecified, |(_, code)| reason_of(code));
        Some((serial, Revoked { at, since: at, reason }))
    });
    Ok(entries.collect())
}

fn reason_of(code: ReasonCode) -> RevocationReason {
    match code {
        ReasonCode::KeyCompromise => RevocationReason::KeyCompromise,
        ReasonCode::Superseded => RevocationReason::Superseded,
        ReasonCode::CessationOfOperation => RevocationReason::CessationOfOperation,
        ReasonCode::PrivilegeWithdrawn => RevocationReason::PrivilegeWithdrawn,
        _ => RevocationReason::Unspecified,
    }
}
