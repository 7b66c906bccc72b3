//! What is in force, kept in the data folder, so that older files are refused after a restart too.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use valise_proto::crypto::sha256;
use valise_proto::directory::Directory;
use valise_proto::id::Timestamp;
use valise_proto::wire::limits::DIRECTORY_BYTES_MAX;
use valise_transport::{Anchors, Revocation};

use super::files::{
    CRL_PEM_LABEL, CRLS_MAX, FileProblem, FilesError, NodeFiles, PEM_BYTES_MAX, anchors_of, parse_crls,
};
use crate::config::{CRLS_NAME, Config, DIRECTORY_NAME};
use crate::folder;

fn directory_path(config: &Config) -> PathBuf {
    config.data.join(DIRECTORY_NAME)
}

fn crls_path(config: &Config) -> PathBuf {
    config.data.join(CRLS_NAME)
}

/// Whether what was loaded may take the place of what was in force when the broker last ran. Lists that are missing now
/// are added to it ([`carried`]).
///
/// # Errors
/// [`FilesError`].
pub(super) fn check(config: &Config, files: &mut NodeFiles, now: Timestamp) -> Result<(), FilesError> {
    let mut problems = Vec::new();
    problems.extend(check_directory(config, files).err());
    problems.extend(check_crls(config, files, now).err());
    if problems.is_empty() { Ok(()) } else { Err(FilesError { problems }) }
}

fn check_directory(config: &Config, files: &NodeFiles) -> Result<(), FileProblem> {
    let path = directory_path(config);
    let Some(bytes) = read(&path, DIRECTORY_BYTES_MAX)? else { return Ok(()) };
    let held = Directory::verify(bytes.into(), &files.trust).map_err(|error| unreadable(&path, error))?;
    let refused = |source| FileProblem::Directory { path: config.directory(), source };
    files.directory.check_may_replace(&held).map_err(refused)
}

fn check_crls(config: &Config, files: &mut NodeFiles, now: Timestamp) -> Result<(), FileProblem> {
    let path = crls_path(config);
    let Some(bytes) = read(&path, PEM_BYTES_MAX)? else { return Ok(()) };
    let crls = parse_crls(&bytes).map_err(|error| unreadable(&path, error))?;
    let held = Anchors::new(files.trust.trust_domain.clone(), &files.trust.anchors, &crls);
    let held = held.map_err(|error| unreadable(&path, error))?;
    let carried =
        carried(config, (&crls, held.revocations()), (&files.crls, files.anchors.revocations()), now);
    if !carried.is_empty() {
        files.crls.extend(carried);
        files.anchors = anchors_of(config, &files.trust, &files.crls)?;
    }
    check_newer(config, held.revocations(), files.anchors.revocations(), now)
}

/// The lists that this broker holds and that `got` has none of the same issuer for, as long as they count: an issuing
/// authority that is done with signs no more. They stay in force rather than keep the others out, and rather than make
/// room for an older one to be put in their place.
pub(super) fn carried(
    config: &Config,
    (held_crls, held): (&[Bytes], &[Revocation]),
    (got_crls, got): (&[Bytes], &[Revocation]),
    now: Timestamp,
) -> Vec<Bytes> {
    let counts = |list: &&Revocation| now <= list.next_update.plus(config.freshness_grace);
    let missing = |list: &&Revocation| got.iter().all(|other| other.issuer != list.issuer);
    let encoded = |list: &Revocation| held_crls.iter().find(|crl| sha256(&[crl]) == list.digest).cloned();
    let room = CRLS_MAX.saturating_sub(got_crls.len());
    held.iter().filter(counts).filter(missing).filter_map(encoded).take(room).collect()
}

/// Only what was never there counts as none: otherwise a disk that does not answer would let older files in (G12).
fn read(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, FileProblem> {
    match folder::read(path, bytes_max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, error)),
    }
}

fn unreadable(path: &Path, problem: impl std::fmt::Display) -> FileProblem {
    FileProblem::Held { path: path.to_owned(), problem: problem.to_string() }
}

/// Without this check a revocation could be hidden by a list from before it.
pub(super) fn check_newer(
    config: &Config,
    held: &[Revocation],
    got: &[Revocation],
    now: Timestamp,
) -> Result<(), FileProblem> {
    let refused = |problem: String| Err(FileProblem::Crls { path: config.crls(), problem });
    for Revocation { issuer, number, digest, next_update, .. } in held {
        let newest =
            got.iter().filter(|list| list.issuer == *issuer).max_by(|a, b| compare(&a.number, &b.number));
        match newest {
            // Whatever is put back in the place of one that ran out ran out as well.
            None if now > next_update.plus(config.freshness_grace) => {}
            None => {
                return refused(format!("the list of {issuer} is missing, and there is no room to keep it"));
            }
            Some(list) if compare(&list.number, number) == Ordering::Less => {
                return refused(format!(
                    "the list of {issuer} (number {}) is older than the one this broker holds (number {})",
                    decimal(&list.number),
                    decimal(number)
                ));
            }
            // The authority's state was restored from a backup: what it revoked in between would be forgotten.
            Some(list) if compare(&list.number, number) == Ordering::Equal && list.digest != *digest => {
                return refused(format!(
                    "two different lists of {issuer} carry the same number, {}: the authority's state was forked or \
                     restored; publish again until the number is higher",
                    decimal(number)
                ));
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

/// A big-endian number of any length, as people and other tools write it.
pub(super) fn decimal(bytes: &[u8]) -> String {
    let mut rest = bytes.to_vec();
    let mut digits = Vec::new();
    while rest.iter().any(|byte| *byte != 0) {
        let mut remainder = 0;
        for byte in &mut rest {
            let value = remainder * 256 + u32::from(*byte);
            *byte = u8::try_from(value / 10).unwrap_or(u8::MAX);
            remainder = value % 10;
        }
        digits.extend(char::from_digit(remainder, 10));
    }
    if digits.is_empty() { "0".to_owned() } else { digits.iter().rev().collect() }
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
    fn crl_numbers_are_told_in_decimal() {
        let longest = [0xff; 20];
        assert_eq!(decimal(&longest), "1461501637330902918203684832716283019655932542975");
        assert_eq!(
            [decimal(&[]), decimal(&[0]), decimal(&[1, 0]), decimal(&[0, 42])],
            ["0", "0", "256", "42"]
        );
    }

    #[test]
    fn crl_numbers_compare_by_value_not_by_length() {
        assert_eq!(compare(&[0, 0, 2], &[1]), Ordering::Greater);
        assert_eq!(compare(&[1, 0], &[255]), Ordering::Greater);
        assert_eq!(compare(&[0, 7], &[7]), Ordering::Equal);
    }
}
