use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use valise_proto::directory::AgencyEntry;
use valise_proto::id::{KeyId, Timestamp};
use valise_proto::label::Classification;

use super::*;
use crate::fixture::{self, Exchange, agency};

fn folder() -> (tempfile::TempDir, Folder) {
    let temp = tempfile::tempdir().unwrap();
    let folder = Folder::new(temp.path().join("node"));
    (temp, folder)
}

#[test]
fn keys_come_back_and_only_their_owner_can_read_them() {
    let (_temp, folder) = folder();
    let made = Vault::create(&folder).unwrap();
    let read = Vault::open(&folder).unwrap();
    assert_eq!(made.signing_key().key_id(), read.signing_key().key_id());
    assert_eq!(made.sealing_keys()[0].public(), read.sealing_keys()[0].public());
    assert_eq!(made.tls_key_pem().as_str(), read.tls_key_pem().as_str());
    for name in ["tls.key", "signing.key", "sealing.key", "store.key"] {
        let mode = fs::metadata(folder.keys().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name} must be for its owner only");
    }
    assert_eq!(fs::metadata(folder.keys()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_second_creation_leaves_the_keys_as_they_are() {
    let (_temp, folder) = folder();
    let first = Vault::create(&folder).unwrap().signing_key().key_id();
    assert!(matches!(Vault::create(&folder), Err(VaultError::Exists(_))));
    assert_eq!(Vault::open(&folder).unwrap().signing_key().key_id(), first);
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let (_temp, folder) = folder();
    Vault::create(&folder).unwrap();
    let path = folder.keys().join("signing.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Vault::open(&folder).unwrap_err().to_string();
    assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(folder.keys(), fs::Permissions::from_mode(0o755)).unwrap();
    let error = Vault::open(&folder).unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
}

#[test]
fn debug_of_the_vault_shows_key_names_only() {
    let (_temp, folder) = folder();
    let vault = Vault::create(&folder).unwrap();
    let shown = format!("{vault:?}");
    let expected = format!("Vault({:?}, {:?})", vault.signing_key(), vault.sealing_keys());
    assert_eq!(shown, expected);
    assert_eq!(format!("{:?}", vault.store_key()), "StoreKey");
}

#[test]
fn a_record_decrypts_in_its_own_place_only() {
    let key = StoreKey::generate(&mut randomness());
    let record = key.encrypt(b"place 1", b"words").unwrap();
    assert_eq!(key.decrypt(b"place 1", &record).unwrap().as_slice(), b"words");
    assert_eq!(key.decrypt(b"place 2", &record), Err(CannotDecrypt));
    assert!(!record.windows(5).any(|window| window == b"words"));
}

const FRANCE: &str = "fra/ncb";
const ALL: Which = Which { tls: true, signing: true, sealing: true };

/// France's entry, listing the keys in use and, if asked, those to follow.
fn entry(vault: &Vault, with_next: bool) -> AgencyEntry {
    let mut exchange = Exchange::new(&[]);
    let sealing = vault.sealing_keys()[0].public().clone();
    exchange.list(&agency(FRANCE), Classification::Secret, (vault.signing_key().verifying_key(), sealing));
    let mut entry = exchange.content.agencies[&agency(FRANCE)].clone();
    if with_next {
        let (signing, sealing) = (entry.signing_keys[0].clone(), entry.sealing_keys[0].clone());
        entry.signing_keys.extend(vault.next().signing.as_ref().map(|key| {
            valise_proto::directory::KeyEntry { key_id: key.key_id(), key: key.verifying_key(), ..signing }
        }));
        entry.sealing_keys.extend(vault.next().sealing.as_ref().map(|key| {
            let key = key.public().clone();
            valise_proto::directory::KeyEntry { key_id: key.key_id(), key, ..sealing }
        }));
    }
    entry
}

fn sealing_ids(vault: &Vault) -> Vec<KeyId> {
    vault.sealing_keys().iter().map(|key| key.public().key_id()).collect()
}

/// By a directory that was issued at this moment.
fn adopt(
    folder: &Folder,
    vault: &Vault,
    entry: &AgencyEntry,
    at: Timestamp,
) -> Result<rotation::Adopted, VaultError> {
    rotation::adopt(folder, vault, (entry, at), at)
}

/// A vault with keys to follow.
fn rotating() -> (tempfile::TempDir, Folder, Vault) {
    let (temp, folder) = folder();
    let vault = Vault::create(&folder).unwrap();
    rotation::make_next(&folder, &vault, ALL).unwrap();
    let vault = Vault::open(&folder).unwrap();
    (temp, folder, vault)
}

#[test]
fn g01_a_key_to_follow_signs_nothing_before_it_is_listed_but_opens_at_once() {
    let (_temp, folder, vault) = rotating();
    let old = vault.signing_key().key_id();
    let next = vault.next().sealing.as_ref().unwrap().public().key_id();
    let adopted = adopt(&folder, &vault, &entry(&vault, false), fixture::now()).unwrap();
    assert!(!adopted.any(), "{adopted:?}");
    assert_eq!(Vault::open(&folder).unwrap().signing_key().key_id(), old);
    assert!(sealing_ids(&vault).contains(&next), "who holds a newer directory seals to it already");
    // A second rotation before the first is over makes no other keys: the first may be with the authority.
    rotation::make_next(&folder, &vault, ALL).unwrap();
    assert_eq!(Vault::open(&folder).unwrap().next().sealing.as_ref().unwrap().public().key_id(), next);
}

#[test]
fn g01_once_listed_the_next_keys_are_in_use_and_the_former_sealing_key_still_opens() {
    let (_temp, folder, vault) = rotating();
    let (old, now) = (sealing_ids(&vault)[0], fixture::now());
    let (signing, sealing) = (vault.next().signing.as_ref().unwrap().key_id(), sealing_ids(&vault)[1]);
    let listed = entry(&vault, true);
    let adopted = adopt(&folder, &vault, &listed, now).unwrap();
    assert_eq!((adopted.signing, adopted.sealing), (Some(signing), Some(sealing)));
    let after = Vault::open(&folder).unwrap();
    assert_eq!(after.signing_key().key_id(), signing);
    assert_eq!(sealing_ids(&after), [sealing, old]);
    assert_eq!(after.former(), [Former { key_id: old, since: now, unlisted: None }]);
    assert!(after.next().signing.is_none() && after.next().sealing.is_none());
    // Listed still: nothing changes. Then it leaves the list, and at last it is destroyed.
    assert!(!adopt(&folder, &after, &listed, now).unwrap().any());
    let later = now.plus(Duration::from_secs(60));
    let mut without = listed;
    without.sealing_keys.retain(|key| key.key_id != old);
    assert!(adopt(&folder, &after, &without, later).unwrap().unlisted);
    let after = Vault::open(&folder).unwrap();
    assert_eq!(after.former(), [Former { key_id: old, since: now, unlisted: Some(later) }]);
    rotation::destroy(&folder, old).unwrap();
    assert_eq!(sealing_ids(&Vault::open(&folder).unwrap()), [sealing]);
    assert_eq!(fs::read_dir(folder.former_keys()).unwrap().count(), 0);
}

#[test]
fn g04_a_power_cut_between_the_renames_loses_no_key_and_parts_no_certificate_from_its_key() {
    let (_temp, folder, vault) = rotating();
    let next_tls = vault.next().tls.clone().unwrap();
    // Cut after the former copy was made: it is the key in use, so it counts for nothing.
    let current = &vault.sealing_keys()[0];
    let copy = folder.former_keys().join(format!("sealing-{}.5.key", current.public().key_id()));
    folder::make_private(&folder.former_keys()).unwrap();
    files::write_sealing(&copy, current).unwrap();
    let vault = Vault::open(&folder).unwrap();
    assert_eq!(vault.former(), []);
    assert_eq!(sealing_ids(&vault).len(), 2);
    adopt(&folder, &vault, &entry(&vault, true), fixture::now()).unwrap();
    let held: BTreeSet<_> = sealing_ids(&Vault::open(&folder).unwrap()).into_iter().collect();
    assert_eq!(held, sealing_ids(&vault).into_iter().collect());

    // Cut after the certificate for the next key was written, and after the key was renamed.
    folder::replace(&folder.certificates(), b"old chain").unwrap();
    for renamed in [false, true] {
        folder::replace(&folder.next_certificates(), b"new chain").unwrap();
        assert_eq!(folder.next_keys().join("tls.key").exists(), !renamed);
        let vault = Vault::open(&folder).unwrap();
        assert_eq!(vault.tls_key_pem().as_str(), next_tls.as_str());
        assert_eq!(fs::read(folder.certificates()).unwrap(), b"new chain");
        assert!(vault.next().tls.is_none() && !folder.next_certificates().exists());
    }
}

#[test]
fn g10_no_more_sealing_keys_are_made_than_can_be_held() {
    let (_temp, folder) = folder();
    let mut vault = Vault::create(&folder).unwrap();
    for _ in 1..SEALING_KEYS_MAX {
        rotation::make_next(&folder, &vault, ALL).unwrap();
        vault = Vault::open(&folder).unwrap();
        adopt(&folder, &vault, &entry(&vault, true), fixture::now()).unwrap();
        vault = Vault::open(&folder).unwrap();
    }
    let refused = rotation::make_next(&folder, &vault, ALL).unwrap_err();
    assert!(matches!(refused, VaultError::TooManyFormer { held: SEALING_KEYS_MAX }), "{refused}");
    assert!(!folder.next_keys().join("sealing.key").exists());
    Vault::open(&folder).unwrap();
}

#[test]
fn g02_a_former_key_leaves_the_list_by_the_authoritys_clock_and_comes_back_when_it_is_listed_again() {
    let (_temp, folder, vault) = rotating();
    let (old, now) = (sealing_ids(&vault)[0], fixture::now());
    let day = Duration::from_secs(24 * 60 * 60);
    let listed = entry(&vault, true);
    adopt(&folder, &vault, &listed, now).unwrap();
    let mut without = listed.clone();
    without.sealing_keys.retain(|key| key.key_id != old);
    let mut after = Vault::open(&folder).unwrap();
    let mut unlisted_by = |entry: &AgencyEntry, issued_at: Timestamp, ours: Timestamp| {
        rotation::adopt(&folder, &after, (entry, issued_at), ours).unwrap();
        after = Vault::open(&folder).unwrap();
        after.former().iter().find(|former| former.key_id == old).unwrap().unlisted
    };
    // A clock that is wrong, within the directory's life, neither dates it back nor ahead.
    let issued_at = now.plus(day);
    assert_eq!(unlisted_by(&without, issued_at, now.plus(20 * day)), Some(issued_at));
    assert_eq!(
        unlisted_by(&without, issued_at.plus(day), now),
        Some(issued_at),
        "the first directory counts"
    );
    assert_eq!(unlisted_by(&listed, issued_at.plus(day), now), None);
    // Nor is it unlisted because our clock has passed its end: the next directory tells.
    let end = listed.sealing_keys.iter().find(|key| key.key_id == old).unwrap().not_after;
    assert_eq!(unlisted_by(&listed, now, end.plus(day)), None);
    assert_eq!(unlisted_by(&listed, end.plus(day), end.plus(day)), Some(end.plus(day)));
    assert_eq!(unlisted_by(&listed, now, now), None);
    // Never before another took its place.
    let long_ago = Timestamp::from_millis(5);
    assert_eq!(unlisted_by(&without, long_ago, now), Some(now));
}

#[test]
fn g04_a_vault_opens_after_a_power_cut_while_a_former_key_was_destroyed() {
    let (_temp, folder, vault) = rotating();
    adopt(&folder, &vault, &entry(&vault, true), fixture::now()).unwrap();
    let former = fs::read_dir(folder.former_keys()).unwrap().next().unwrap().unwrap().path();
    let doomed = format!("{}.destroyed", former.display());
    fs::rename(&former, &doomed).unwrap();
    fs::write(&doomed, [0; 99]).unwrap();
    assert_eq!(Vault::open(&folder).unwrap().former(), []);
    assert_eq!(fs::read_dir(folder.former_keys()).unwrap().count(), 0);
}
