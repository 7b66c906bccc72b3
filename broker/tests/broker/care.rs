//! Backups, their restoration, and a look at every record.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use valise_broker::care::{self, ArchiveError, BackupError, RestoreError};
use valise_broker::store::{SledStore, StoreError, Verification};
use valise_proto::envelope::Precedence;
use valise_proto::id::NoticeId;

use crate::office::Office;
use crate::restart::waiting;

const PRIORITY: Precedence = Precedence::Priority;
/// Notices that are accepted before the backup is asked for, and after it at least.
const BEFORE: usize = 200;
const MEANWHILE: usize = 50;

fn verified(data: &Path) -> Verification {
    let found = SledStore::open(data).unwrap().verify(false, &mut |_| {}).unwrap();
    assert!(found.is_sound(), "{:?}", found.findings);
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g04_a_backup_taken_under_load_holds_every_notice_accepted_before_it_began() {
    let mut office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let mut stream = kenya.submit(PRIORITY).await;
    let mut accepted: BTreeSet<NoticeId> = BTreeSet::new();
    let done = Arc::new(AtomicBool::new(false));
    let (data, out) = (office.config.data.clone(), office.path("backup"));
    let mut taking = None;
    let (mut before, mut meanwhile) = (BTreeSet::new(), 0);
    while !done.load(Ordering::Acquire) || meanwhile < MEANWHILE {
        stream.send(office.exchange.envelope("ken/ncb", &["fra/ncb"]).encode()).await;
        let (_, receipt) = stream.answer().await;
        assert_eq!(office.check(&receipt), Ok(()));
        accepted.insert(receipt.receipt().notice_id.unwrap());
        meanwhile += 1;
        if accepted.len() == BEFORE {
            (before, meanwhile) = (accepted.clone(), 0);
            let (data, out, done) = (data.clone(), out.clone(), Arc::clone(&done));
            taking = Some(tokio::task::spawn_blocking(move || {
                let taken = care::backup(&data, &out);
                done.store(true, Ordering::Release);
                taken
            }));
        }
    }
    let taken = taking.unwrap().await.unwrap().unwrap();
    assert!(taken.online);
    assert_eq!(taken.bytes, std::fs::metadata(&out).unwrap().len());
    broker.stop().await;

    office.config.data = office.path("restored");
    let restored = care::restore(&out, &office.config.data).unwrap();
    let found = verified(&office.config.data);
    assert_eq!(found.log_entries, restored.log_entries);
    assert_eq!(found.waiting, found.log_entries);
    let broker = office.start().await;
    let held = waiting(&office, &broker).await;
    assert!(before.is_subset(&held), "{} were accepted before, {} are held", before.len(), held.len());
    assert!(held.is_subset(&accepted));
    // It goes on: what is submitted now stands behind what was restored.
    let kenya = office.connect(&broker, "ken/ncb").await;
    kenya.send(&office.exchange.envelope("ken/ncb", &["fra/ncb"])).await;
    assert_eq!(waiting(&office, &broker).await.len(), held.len() + 1);
    broker.stop().await;
    verified(&office.config.data);
}

#[tokio::test]
async fn g12_a_stopped_broker_is_backed_up_too_and_nothing_is_restored_over_something_or_from_half_a_file() {
    let office = Office::of_three();
    let (data, out) = (office.config.data.clone(), office.path("backup"));
    assert!(matches!(care::backup(&data, &out), Err(BackupError::NoStore(_))));
    assert!(!out.exists() && !data.exists());
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    kenya.send(&office.exchange.envelope("ken/ncb", &["fra/ncb"])).await;
    broker.stop().await;
    assert!(!care::backup(&data, &out).unwrap().online);
    assert!(matches!(care::backup(&data, &out), Err(BackupError::Exists(_))));

    assert!(matches!(care::restore(&out, &data), Err(RestoreError::Exists(_))));
    let (whole, new) = (std::fs::read(&out).unwrap(), office.path("new"));
    let half = office.path("half");
    std::fs::write(&half, &whole[..whole.len() - 1]).unwrap();
    let short =
        |error: &RestoreError| matches!(error, RestoreError::Archive { source: ArchiveError::Short, .. });
    let error = care::restore(&half, &new).unwrap_err();
    assert!(short(&error), "{error}");
    assert!(!new.exists() && !office.path("new.restoring").exists(), "half a folder is left");
    care::restore(&out, &new).unwrap();
    assert_eq!(verified(&new).log_entries, 1);
    for name in ["directory.valise", "crls.pem"] {
        assert_eq!(std::fs::read(new.join(name)).unwrap(), std::fs::read(data.join(name)).unwrap());
    }
}

#[tokio::test]
async fn a_store_in_use_is_not_verified_and_only_its_user_may_ask_for_a_backup() {
    use std::os::unix::fs::PermissionsExt;
    let office = Office::of_three();
    let broker = office.start().await;
    let socket = office.config.data.join("control.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(SledStore::open(&office.config.data), Err(StoreError::InUse { .. })));
    broker.stop().await;
    assert!(!socket.exists());
}
