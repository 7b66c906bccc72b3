//! Taking newer certificates, revocation lists and directories into force while running.
//!
//! Each is taken or refused by itself, so that one bad file does not hold a good one back. What is refused leaves in
//! force what was; what is taken is in the data folder first, then in force as a whole.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::oneshot;
use valise_proto::directory::Directory;
use valise_proto::id::Timestamp;
use valise_proto::wire::session::Publication;
use valise_transport::{Anchors, CertificateError, Credentials, Usage};

use super::certificates::Certificates;
use super::driver::Input;
use super::files::{self, FileProblem, FilesError};
use super::{InForce, Shared, held, now};
use crate::config::Config;

/// Length, time of the last change and number of each file that is watched; `None` where it cannot be told.
type Prints = Vec<Option<(u64, Option<SystemTime>, u64)>>;

/// Reloads whenever a file has changed, until the broker stops.
pub(super) async fn watch(shared: Arc<Shared>) {
    // Nothing has been seen yet: what changed since the start is found by the first look.
    let mut seen: Option<Prints> = None;
    let mut refused = false;
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(shared.config.reload_interval) => {}
        }
        let found = prints(&shared.config);
        let changed = seen.as_ref() != Some(&found);
        // What was refused is tried again, since it may depend on the clock; it is told of only once.
        if !changed && !refused {
            continue;
        }
        seen = Some(found);
        refused = match reload(&shared).await {
            Ok(()) => false,
            Err(error) => {
                if changed || !refused {
                    tracing::error!(%error, "what was in force stays in force");
                }
                true
            }
        };
    }
}

fn prints(config: &Config) -> Prints {
    let print = |path: &std::path::Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.len(), found.modified().ok(), found.ino()))
    };
    [
        &config.certificates,
        &config.tls_key,
        &config.directory(),
        &config.crls(),
        &config.published_certificates(),
    ]
    .map(|path| print(path))
    .into()
}

/// What is to come into force.
#[derive(Default)]
struct Newer {
    credentials: Option<Credentials>,
    crls: Option<(Vec<Bytes>, Anchors)>,
    directory: Option<Directory>,
    certificates: Option<Arc<Certificates>>,
}

/// Reads the files now and takes what is newer into force.
///
/// # Errors
/// [`FilesError`] for what was refused; the rest is in force.
pub(super) async fn reload(shared: &Arc<Shared>) -> Result<(), FilesError> {
    let _one_at_a_time = shared.reloading.lock().await;
    let reading = Arc::clone(shared);
    let Ok((newer, problems)) = tokio::task::spawn_blocking(move || read(&reading, now())).await else {
        // The runtime is ending.
        return Ok(());
    };
    put_in_force(shared, newer).await;
    shared.replace_refused(&problems);
    if problems.is_empty() { Ok(()) } else { Err(FilesError { problems }) }
}

fn read(shared: &Shared, now: Timestamp) -> (Newer, Vec<FileProblem>) {
    let config = &shared.config;
    let (in_force, policy) = (shared.in_force(), shared.policy());
    let mut problems = Vec::new();
    let mut newer = Newer::default();
    let credentials = load_credentials(shared).map_err(|problem| problems.push(problem)).ok();
    let chains = [Some(&in_force.credentials), credentials.as_ref()];
    match load_crls(shared, &in_force, chains, now) {
        Ok(crls) => newer.crls = crls,
        Err(problem) => problems.push(problem),
    }
    if let Some(credentials) = credentials {
        let held = shared.transport.anchors();
        let anchors = newer.crls.as_ref().map_or(&*held, |(_, anchors)| anchors);
        match files::check_certificate(config, &credentials, anchors, now) {
            Ok(()) => newer.credentials = Some(credentials),
            Err(problem) => problems.push(problem),
        }
    }
    let held = shared.transport.anchors();
    let anchors = newer.crls.as_ref().map_or(&*held, |(_, anchors)| anchors);
    // Newer lists may revoke what was in order.
    let unchanged = newer.crls.is_none().then_some(&*in_force.certificates);
    match Certificates::load(config, anchors, now, unchanged) {
        Ok(None) => {}
        Ok(Some(certificates)) => {
            newer.certificates = Some(Arc::new(certificates));
        }
        Err(problem) => problems.push(problem),
    }
    match load_directory(shared, now) {
        Ok(directory) => newer.directory = directory,
        Err(problem) => problems.push(problem),
    }
    let directory = newer.directory.as_ref().unwrap_or(&policy.directory);
    let certificates = newer.certificates.as_ref().unwrap_or(&in_force.certificates);
    if newer.directory.is_some() || newer.certificates.is_some() {
        let before = (&*in_force.certificates, &*policy.directory);
        shared.spool.settle(|request| certificates.grants(request, directory, before));
    }
    (newer, problems)
}

fn load_credentials(shared: &Shared) -> Result<Credentials, FileProblem> {
    let credentials = files::load_credentials(&shared.config)?;
    if *credentials.identity() == shared.identity {
        return Ok(credentials);
    }
    let path = shared.config.certificates.clone();
    let (expected, got) = (shared.identity.clone(), credentials.identity().clone());
    Err(FileProblem::Identity { path, expected, got })
}

/// Lists whose signatures nothing vouches for must not shut every agency out, so they are tried on this broker's own
/// chain first. That it is found revoked is an answer too.
fn load_crls(
    shared: &Shared,
    in_force: &InForce,
    chains: [Option<&Credentials>; 2],
    now: Timestamp,
) -> Result<Option<(Vec<Bytes>, Anchors)>, FileProblem> {
    let config = &shared.config;
    let (mut crls, mut anchors) = files::load_crls(config, &shared.trust, now)?;
    // The directory that names a new issuing CA comes with its list.
    let (directory, published) =
        (&shared.policy().directory, files::load_directory(config, &shared.trust, now));
    let named: Vec<&Directory> = std::iter::once(&**directory).chain(published.as_ref().ok()).collect();
    files::check_signed(config, &anchors, &named)?;
    let held = shared.transport.anchors();
    let carried =
        held::carried(config, (&in_force.crls, held.revocations()), (&crls, anchors.revocations()), now);
    let carries = !carried.is_empty();
    crls.extend(carried);
    if crls == in_force.crls {
        return Ok(None);
    }
    if carries {
        tracing::warn!(file = %config.crls().display(), "lists that are missing here stay in force until they run out");
        anchors = files::anchors_of(config, &shared.trust, &crls)?;
        files::check_one_list_each(config, &anchors, &named)?;
    }
    held::check_newer(config, held.revocations(), anchors.revocations(), now)?;
    let forged = |problem| FileProblem::Crls { path: config.crls(), problem };
    in_force.certificates.check_lists(&anchors, now).map_err(forged)?;
    let mut last = None;
    for chain in chains.into_iter().flatten() {
        match chain.verify(&anchors, Usage::Server, now) {
            Ok(_) | Err(CertificateError::Revoked) => {
                held::keep_crls(config, &crls)?;
                return Ok(Some((crls, anchors)));
            }
            Err(error) => last = Some(error),
        }
    }
    let problem =
        last.map(|error| format!("tried on this broker's own certificate: {error}")).unwrap_or_default();
    Err(FileProblem::Crls { path: config.crls(), problem })
}

fn load_directory(shared: &Shared, now: Timestamp) -> Result<Option<Directory>, FileProblem> {
    let config = &shared.config;
    let directory = files::load_directory(config, &shared.trust, now)?;
    let in_force = Arc::clone(&shared.policy().directory);
    let refused = |source| FileProblem::Directory { path: config.directory(), source };
    directory.check_may_replace(&in_force).map_err(refused)?;
    if directory.encoded() == in_force.encoded() {
        return Ok(None);
    }
    files::check_publication_len(config, &directory, &shared.in_force().crls)?;
    // The authority's word on who may see what counts even if it has left this broker's key out.
    let key_id = shared.receipt_key.key_id();
    if let Err(problem) = files::check_listed(config, &directory, &shared.identity, key_id, now) {
        tracing::error!(%problem, "agencies will not accept this broker's receipts");
    }
    held::keep_directory(config, &directory)?;
    Ok(Some(directory))
}

async fn put_in_force(shared: &Shared, newer: Newer) {
    let Newer { credentials, crls, directory, certificates } = newer;
    let before = shared.in_force();
    let mut after = InForce::clone(&before);
    if let Some(credentials) = credentials {
        if credentials.not_after() != before.credentials.not_after() {
            tracing::info!(expires_at = %credentials.not_after(), "a newer certificate is in force");
        }
        shared.transport.swap_credentials(credentials.clone());
        after.credentials = credentials;
    }
    let published = crls.is_some() || directory.is_some();
    if let Some((crls, anchors)) = crls {
        tracing::info!("newer revocation lists are in force");
        shared.transport.swap_anchors(anchors);
        after.crls = crls;
    }
    if let Some(certificates) = certificates {
        tracing::debug!(agencies = certificates.len(), "published certificates are in force");
        after.certificates = certificates;
    }
    let publication_crls = after.crls.clone();
    shared.replace_in_force(after);
    if !published {
        return;
    }
    let directory = directory.map_or_else(|| Arc::clone(&shared.policy().directory), Arc::new);
    tracing::info!(version = directory.version(), expires_at = %directory.content().expires_at, "directory in force");
    let publication = Publication { directory: directory.encoded().clone(), crls: publication_crls };
    let (done, in_effect) = oneshot::channel();
    // The driver is gone only when the broker is stopping.
    if shared.inputs.send(Input::Published { directory, publication, done }).await.is_ok() {
        let _ = in_effect.await;
    }
}
