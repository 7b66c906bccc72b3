//! What is in force, kept in the data folder, so that older files are refused after a restart too.

use std::cmp::Ordering;
use std::path::PathBuf;

use bytes::Bytes;
use valise_proto::directory::Directory;
use valise_proto::enrolment::Trust;
use valise_proto::wire::limits::DIRECTORY_BYTES_MAX;
use valise_transport::{Anchors, Revocation};

use super::files::{CRL_PEM_LABEL, FileProblem, FilesError, NodeFiles, PEM_BYTES_MAX, parse_crls};
use crate::config::{CRLS_NAME, Config, DIRECTORY_NAME};
use crate::folder;

fn directory_path(config: &Config) -> PathBuf {
    config.data.join(DIRECTORY_NAME)
}

fn crls_path(config: &Config) -> PathBuf {
    config.data.join(CRLS_NAME)
}

/// Whether what was loaded may take the place of what was in force when the broker last ran.
///
/// # Errors
/// [`FilesError`].
pub(super) fn check(config: &Config, files: &NodeFiles) -> Result<(), FilesError> {
    let mut problems = Vec::new();
    if let Some(held) = read_directory(config, &files.trust)
        && let Err(source) = files.directory.check_may_replace(&held)
    {
        problems.push(FileProblem::Directory { path: config.directory(), source });
    }
    if let Some(held) = read_revocations(config, &files.trust) {
        problems.extend(check_newer(config, &held, files.anchors.revocations()).err());
    }
    if problems.is_empty() { Ok(()) } else { Err(FilesError { problems }) }
}

/// Without this check a revocation could be hidden by a list from before it.
pub(super) fn check_newer(
    config: &Config,
    held: &[Revocation],
    got: &[Revocation],
) -> Result<(), FileProblem> {
    let refused = |problem: String| Err(FileProblem::Crls { path: config.crls(), problem });
    for Revocation { issuer, number, .. } in held {
        let newest =
            got.iter().filter(|list| list.issuer == *issuer).max_by(|a, b| compare(&a.number, &b.number));
        match newest {
            None => return refused(format!("the list of {issuer} is missing, which this broker holds")),
            Some(list) if compare(&list.number, number) == Ordering::Less => {
                return refused(format!("the list of {issuer} is older than the one this broker holds"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Compares two big-endian numbers of any length.
fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let significant = |bytes: &[u8]| bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let left = left.get(significant(left)..).unwrap_or_default();
    let right = right.get(significant(right)..).unwrap_or_default();
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// What cannot be read any more holds nobody back: whoever can write here could as well delete it.
fn read_directory(config: &Config, trust: &Trust) -> Option<Directory> {
    let path = directory_path(config);
    let bytes = folder::read(&path, DIRECTORY_BYTES_MAX).ok()?;
    let directory = Directory::verify(bytes.into(), trust);
    directory
        .inspect_err(
            |error| tracing::warn!(path = %path.display(), %error, "the directory last in force is not used"),
        )
        .ok()
}

fn read_revocations(config: &Config, trust: &Trust) -> Option<Vec<Revocation>> {
    let path = crls_path(config);
    let text = folder::read(&path, PEM_BYTES_MAX).ok()?;
    let anchors = parse_crls(&text).and_then(|crls| {
        Anchors::new(trust.trust_domain.clone(), &trust.anchors, &crls).map_err(|error| error.to_string())
    });
    let anchors = anchors
        .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "the revocation lists last in force are not used"));
    anchors.ok().map(|anchors| anchors.revocations().to_vec())
}

/// Keeps a directory that is about to come into force.
pub(super) fn keep_directory(config: &Config, directory: &Directory) -> Result<(), FileProblem> {
    let path = directory_path(config);
    folder::replace(&path, directory.encoded()).map_err(|source| FileProblem::Write { path, source })
}

/// Keeps revocation lists that are about to come into force.
pub(super) fn keep_crls(config: &Config, crls: &[Bytes]) -> Result<(), FileProblem> {
    let path = crls_path(config);
    let blocks: Vec<_> = crls.iter().map(|crl| pem::Pem::new(CRL_PEM_LABEL, crl.to_vec())).collect();
    folder::replace(&path, pem::encode_many(&blocks).as_bytes())
        .map_err(|source| FileProblem::Write { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crl_numbers_compare_by_value_not_by_length() {
        assert_eq!(compare(&[0, 0, 2], &[1]), Ordering::Greater);
        assert_eq!(compare(&[1, 0], &[255]), Ordering::Greater);
        assert_eq!(compare(&[0, 7], &[7]), Ordering::Equal);
    }
}
