//! Renewal requests that wait to be carried to the authority: one PEM file for each agency, in a folder of their own.
//!
//! Claimed, against a hostile agency: it can have nothing kept in another's name, nor more than one small file, nor make
//! this broker wait for its disk more than [`RENEWALS_PER_MINUTE_MAX`] times a minute. Against a power cut: what was
//! answered with its digest is on stable storage, whole. It holds because a request is kept only where the connection,
//! the request and a signature under a key that the directory lists name the same agency, because the file's name
//! follows from that agency alone, and because the file is replaced whole and synced before the answer. A request holds
//! nothing secret. Whether it is granted is for the authority, which checks everything again.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use thiserror::Error;
use valise_proto::id::{AgencyId, Digest, Timestamp};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::renewal::{RENEWAL_BYTES_MAX, RenewalError, RenewalRequest, SignedRenewalRequest};
use valise_proto::wire::WireError;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::core::Policy;
use crate::folder;

/// Requests of one agency that are looked at in a minute.
const RENEWALS_PER_MINUTE_MAX: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// Longest PEM text of a request, in bytes: base64, line ends and the two label lines.
const FILE_BYTES_MAX: usize = RENEWAL_BYTES_MAX * 3 / 2 + 256;
/// Most files looked at: far more than a directory lists agencies.
const FILES_MAX: usize = 4096;
/// When to try again after the disk refused.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The spool cannot be used, or not carried out of. What is in it stays there.
#[derive(Debug, Error)]
#[error("{path}: {problem}", path = path.display())]
pub struct SpoolError {
    /// The file or folder.
    pub path: PathBuf,
    /// Why, and what to do.
    pub problem: String,
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Whose it is.
    pub agency: AgencyId,
    /// When it was made, by the agency's clock.
    pub created_at: Timestamp,
    /// When it was kept, by this broker's clock.
    pub spooled_at: Timestamp,
    /// What people may compare.
    pub fingerprint: String,
    /// Where it lies.
    pub file: PathBuf,
}

/// What lies in a spool.
#[derive(Debug, Default)]
pub struct Contents {
    /// The requests, by agency.
    pub waiting: Vec<Waiting>,
    /// Files that are no requests; the authority's tool would pass them over too.
    pub unreadable: Vec<SpoolError>,
}

/// What was carried out of a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Written now.
    pub written: Vec<PathBuf>,
    /// There already, the same to the byte.
    pub unchanged: Vec<PathBuf>,
}

/// The requests of one agency in the minute that began at `since`.
#[derive(Clone, Copy, Debug)]
struct Rate {
    since: Timestamp,
    count: u32,
}

/// The folder.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    /// Held while a file is compared and replaced, or removed.
    rates: Mutex<BTreeMap<AgencyId, Rate>>,
}

impl Spool {
    /// The spool in `folder`, which need not be there to be looked at.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), rates: Mutex::new(BTreeMap::new()) }
    }

    /// Makes the folder where there is none.
    pub(super) fn create(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    /// Keeps the request that `peer` sent, and returns its digest once it is on stable storage. The same request again
    /// is no error; a newer one takes the older one's place. May wait for the disk.
    ///
    /// # Errors
    /// The [`Refusal`] to send back. Nothing was changed.
    pub(super) fn keep(
        &self,
        peer: &AgencyId,
        bytes: Bytes,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Digest, Refusal> {
        let mut rates = self.lock();
        count(&mut rates, peer, now)?;
        let signed = check(peer, bytes, policy, now)?;
        let path = self.path(peer);
        if let Some(kept) = read_kept(&path).map_err(|error| unavailable(&path, &error))? {
            if kept.digest() == signed.digest() {
                return Ok(kept.digest());
            }
            check_newer(&kept, &signed)?;
        }
        folder::replace(&path, signed.to_pem().as_bytes()).map_err(|error| unavailable(&path, &error))?;
        tracing::info!(agency = %peer, fingerprint = signed.fingerprint(), "a renewal request waits to be carried to the authority");
        Ok(signed.digest())
    }

    /// How many requests wait, and since when.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn depth(&self) -> Result<(usize, Option<Timestamp>), SpoolError> {
        let times = self.files()?.into_iter().filter_map(|path| changed_at(&path)).collect::<Vec<_>>();
        Ok((times.len(), times.into_iter().min()))
    }

    /// Everything in it. Works beside a running broker: files are replaced whole.
    ///
    /// # Errors
    /// [`SpoolError`] where the folder itself cannot be read.
    pub fn contents(&self) -> Result<Contents, SpoolError> {
        let mut contents = Contents::default();
        for path in self.files()? {
            match read_request(&path) {
                Ok(signed) => {
                    let request = signed.request();
                    contents.waiting.push(Waiting {
                        agency: request.agency.clone(),
                        created_at: request.created_at,
                        spooled_at: changed_at(&path).unwrap_or(request.created_at),
                        fingerprint: signed.fingerprint(),
                        file: path,
                    });
                }
                // Granted and removed since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => contents.unreadable.push(SpoolError { path, problem: error.to_string() }),
            }
        }
        contents.waiting.sort_by(|a, b| a.agency.cmp(&b.agency));
        Ok(contents)
    }

    /// Copies every request into `out`, which is made where there is none. They stay here until the authority has
    /// published what it granted, so a medium that is lost on the way costs nothing, and to copy twice is harmless.
    ///
    /// # Errors
    /// [`SpoolError`]. What was copied until then is whole.
    pub fn export(&self, out: &Path) -> Result<(Contents, Exported), SpoolError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| SpoolError { path, problem: format!("cannot be written: {error}") }
        };
        let contents = self.contents()?;
        DirBuilder::new().recursive(true).mode(0o700).create(out).map_err(failed(out))?;
        let mut exported = Exported::default();
        for Waiting { file, .. } in &contents.waiting {
            let to = out.join(file.file_name().unwrap_or_default());
            let text = match folder::read(file, FILE_BYTES_MAX) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(file)(error)),
            };
            if folder::read(&to, FILE_BYTES_MAX).is_ok_and(|there| there == text) {
                exported.unchanged.push(to);
                continue;
            }
            folder::replace(&to, &text).map_err(failed(&to))?;
            exported.written.push(to);
        }
        Ok((contents, exported))
    }

    /// Removes the requests that `is_granted` says the authority has granted. What cannot be removed stays, which costs
    /// the operator a line of the authority's refusals and nothing else.
    pub(super) fn settle(&self, is_granted: impl Fn(&RenewalRequest) -> bool) {
        let _no_other_writer = self.lock();
        let Ok(contents) = self.contents() else { return };
        for Waiting { agency, file, fingerprint, .. } in contents.waiting {
            if !read_request(&file).is_ok_and(|signed| is_granted(signed.request())) {
                continue;
            }
            match fs::remove_file(&file) {
                Ok(()) => {
                    tracing::info!(%agency, fingerprint, "a renewal was granted; its request is removed");
                }
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "a request that was granted cannot be removed");
                }
            }
        }
    }

    /// The requests' files, in the order of their names.
    fn files(&self) -> Result<Vec<PathBuf>, SpoolError> {
        let failed = |error: io::Error| SpoolError {
            path: self.folder.clone(),
            problem: format!("the spool cannot be read: {error}"),
        };
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut files = Vec::new();
        for entry in entries.take(FILES_MAX) {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// Names of units hold no dot, so no two agencies share a file.
    fn path(&self, agency: &AgencyId) -> PathBuf {
        let state = agency.state().to_string().to_ascii_lowercase();
        self.folder.join(format!("{state}.{}.pem", agency.unit()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgencyId, Rate>> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(rates: &mut BTreeMap<AgencyId, Rate>, peer: &AgencyId, now: Timestamp) -> Result<(), Refusal> {
    let current = |rate: &Rate| rate.since <= now && now < rate.since.plus(MINUTE);
    // Whoever asked longer ago than that is forgotten, so there are no more than agencies that connect in a minute.
    rates.retain(|_, rate| current(rate));
    let rate = rates.entry(peer.clone()).or_insert(Rate { since: now, count: 0 });
    rate.count = rate.count.saturating_add(1);
    if rate.count <= RENEWALS_PER_MINUTE_MAX {
        return Ok(());
    }
    let detail = format!("an agency may send {RENEWALS_PER_MINUTE_MAX} renewal requests a minute");
    Err(Refusal::new(RefusalCode::Quota, detail).retry_after(rate.since.plus(MINUTE).since(now)))
}

fn check(
    peer: &AgencyId,
    bytes: Bytes,
    policy: &Policy,
    now: Timestamp,
) -> Result<SignedRenewalRequest, Refusal> {
    policy.check_directory(now)?;
    if bytes.len() > RENEWAL_BYTES_MAX {
        let detail =
            format!("the renewal request has {} bytes; it may have {RENEWAL_BYTES_MAX}", bytes.len());
        return Err(Refusal::new(RefusalCode::TooLarge, detail));
    }
    let signed = SignedRenewalRequest::decode(bytes).map_err(refusal)?;
    let RenewalRequest { trust_domain, agency, csr_der, created_at, .. } = signed.request();
    let expected = &policy.directory.content().trust_domain;
    if agency != peer || trust_domain != expected {
        let detail = format!(
            "the connection is of {peer} in {expected}; the renewal request is of {agency} in {trust_domain}"
        );
        return Err(Refusal::new(RefusalCode::NotOriginator, detail));
    }
    if *created_at > now.plus(policy.limits.clock_ahead_max) {
        let detail = format!(
            "the renewal request was made at {created_at}, ahead of the broker's clock {now}; set the clock and make a new one"
        );
        return Err(Refusal::new(RefusalCode::ClockSkew, detail));
    }
    if X509CertificationRequest::from_der(csr_der).is_err() {
        let detail = "the certificate request (PKCS#10) in the renewal request cannot be read";
        return Err(Refusal::new(RefusalCode::Malformed, detail));
    }
    signed.verify_by(policy.active(peer, "agency")?, now).map_err(refusal)?;
    Ok(signed)
}

fn refusal(error: RenewalError) -> Refusal {
    let code = match &error {
        RenewalError::Malformed(WireError::Version { .. }) => RefusalCode::UnsupportedVersion,
        RenewalError::Malformed(
            WireError::TooMany { .. }
            | WireError::Protobuf { .. }
            | WireError::Field { .. }
            | WireError::Unknown { .. },
        ) => RefusalCode::Malformed,
        RenewalError::NoPossession | RenewalError::BadSignature => RefusalCode::BadSignature,
        RenewalError::UnknownKey { .. } => RefusalCode::KeyNotActive,
    };
    Refusal::new(code, error)
}

/// Someone who recorded an older request must not put it in the place of a newer one.
fn check_newer(kept: &SignedRenewalRequest, signed: &SignedRenewalRequest) -> Result<(), Refusal> {
    let (held, got) = (kept.request().created_at, signed.request().created_at);
    if got > held {
        return Ok(());
    }
    let detail = format!(
        "the renewal request was made at {got}; one of {held}, which is not older, waits already: make a new one"
    );
    Err(Refusal::new(RefusalCode::Expired, detail))
}

/// The operator reads why in the log; the agency is told no more than it needs.
fn unavailable(path: &Path, error: &io::Error) -> Refusal {
    tracing::error!(file = %path.display(), %error, "a renewal request cannot be kept");
    let detail =
        "the broker cannot keep renewal requests at present; try again, or carry it to the authority by hand";
    Refusal::new(RefusalCode::StoreUnavailable, detail).retry_after(RETRY_AFTER)
}

/// The request in the file; `None` where there is none that can be read, which then may be replaced.
fn read_kept(path: &Path) -> io::Result<Option<SignedRenewalRequest>> {
    match read_request(path) {
        Ok(signed) => Ok(Some(signed)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(None),
            io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge => {
                tracing::warn!(file = %path.display(), %error, "a spooled file is no renewal request; it is replaced");
                Ok(None)
            }
            _ => Err(error),
        },
    }
}

fn read_request(path: &Path) -> io::Result<SignedRenewalRequest> {
    let text = folder::read_text(path, FILE_BYTES_MAX)?;
    SignedRenewalRequest::from_pem(&text)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

fn changed_at(path: &Path) -> Option<Timestamp> {
    let since = fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(u64::try_from(since.as_millis()).ok()?))
}
