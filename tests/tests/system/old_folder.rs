//! A broker's store of another version: an older one is taken over whole, a newer one is refused.
//!
//! They come as backups, made of one of this version and written anew as the other would have: format 1 did not keep who
//! had been handed a notice already.

#![allow(clippy::expect_used, reason = "tests stop at the first surprise")]

use std::error::Error;

use valise_broker::care::{self, RestoreError};
use valise_proto::crypto::sha256;
use valise_proto::envelope::Precedence;
use valise_proto::receipt::ReceiptKind;
use valise_tests::raw::Impostor;
use valise_tests::{AgencySpec, Network, notices};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A key of the store, and its value.
type Record = (Vec<u8>, Vec<u8>);

/// The first `len` bytes of what is left.
fn take<'a>(rest: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(len);
    *rest = left;
    taken
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// The backup with every record changed by `change`: a line, blocks of records, each behind its length and before a digest
/// that chains it to the one before (`broker/src/care/archive.rs`).
fn rewritten(backup: &[u8], change: impl Fn(Record) -> Record) -> Vec<u8> {
    let end = backup.iter().position(|byte| *byte == b'\n').expect("a first line") + 1;
    let mut rest = backup;
    let mut out = take(&mut rest, end).to_vec();
    let mut digest = sha256(&[&out]);
    while !rest.is_empty() {
        let len = number(take(&mut rest, 4));
        let mut block = take(&mut rest, len);
        take(&mut rest, 32);
        let mut content = Vec::new();
        while !block.is_empty() {
            content.extend(take(&mut block, 1));
            let field = |block: &mut &[u8]| {
                let len = number(take(block, 4));
                take(block, len).to_vec()
            };
            let record = (field(&mut block), field(&mut block));
            let (key, value) = change(record);
            for field in [key, value] {
                content.extend(u32::try_from(field.len()).expect("a short field").to_be_bytes());
                content.extend(field);
            }
        }
        digest = sha256(&[digest.as_bytes(), &content]);
        out.extend(u32::try_from(content.len()).expect("a short block").to_be_bytes());
        out.extend(&content);
        out.extend(digest.as_bytes());
    }
    out
}

/// Marks the folder as one of format `format`.
fn marked((key, value): Record, format: u32) -> Record {
    if key == b"mformat" { (key, format.to_be_bytes().to_vec()) } else { (key, value) }
}

/// What comes before the fields of a notice's record: digest, cursor, chunks, precedence, expiry.
const NOTICE_HEAD_BYTES: usize = 32 + 8 + 2 + 1 + 8;

/// The record as format 1 had it: without the recipients that have the notice already, whose ids stand behind a `-`, and
/// without the `+` that marks a receipt.
fn of_format_1((key, value): Record) -> Record {
    if key.first() != Some(&b'n') || key.len() != 17 {
        return marked((key, value), 1);
    }
    let mut rest = value.as_slice();
    let mut out = take(&mut rest, NOTICE_HEAD_BYTES).to_vec();
    while !rest.is_empty() {
        let len = take(&mut rest, 2);
        let field = take(&mut rest, number(len));
        if !matches!(field.first(), Some(b'-' | b'+')) {
            out.extend([len, field].concat());
        }
    }
    (key, out)
}

/// Restores what `change` makes of the stopped broker's data, in the place of it.
async fn restored(
    net: &Network,
    name: &str,
    change: impl Fn(Record) -> Record,
) -> Outcome<Result<(), RestoreError>> {
    let (data, backup) = (net.broker().data(), net.folder().join(name));
    let written = net.broker().run(&["backup", "--out", &backup.display().to_string()]).await?;
    assert_eq!(written.code, Some(0), "{written:?}");
    std::fs::write(&backup, rewritten(&std::fs::read(&backup)?, change))?;
    std::fs::remove_dir_all(&data)?;
    Ok(care::restore(&backup, &data).map(drop))
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_g05_g12_a_store_of_the_former_format_is_taken_over_whole_and_one_of_a_later_is_refused()
-> Outcome {
    let net = Network::builder()
        .agency(AgencySpec::new("ken/ncb").not_running())
        .agency(AgencySpec::new("fra/ncb").not_running())
        .agency("tur/border")
        .broker_as_process()
        .start()
        .await?;
    let (fra, tur) = (net.agency("fra/ncb"), net.agency("tur/border"));
    let mut ken = Impostor::of(&net.agency("ken/ncb").folder()?)?;
    ken.set_directory(net.directory()?);
    let mut accepted = Vec::new();
    let session = ken.connect(net.broker().listen_addr().await.expect("the broker listens")).await?;
    let mut stream = session.submit(Precedence::Priority).await?;
    for _ in 0..3 {
        let notice = notices::deportation("KEN", "FRA").of("FRA");
        let envelope = ken.seal(ken.notice_of(&[fra.id()?, tur.id()?], notice)?)?;
        stream.send(envelope.encode()).await?;
        let (_, receipt) = stream.answer().await?;
        assert_eq!(receipt.receipt().kind, ReceiptKind::Accepted, "{receipt:?}");
        // One of its two recipients has it.
        tur.expect_notice(envelope.header().notice_id).await?;
        accepted.push((envelope, receipt));
    }
    tur.stop().await?;
    let before = net.broker().status().await?.log_entries;
    net.broker().stop().await?;

    restored(&net, "of-format-1", of_format_1).await??;
    net.broker().start().await?;
    assert_eq!(net.broker().status().await?.log_entries, before, "the log is another");
    let session = ken.connect(net.broker().listen_addr().await.expect("the broker listens")).await?;
    let mut stream = session.submit(Precedence::Priority).await?;
    fra.start().await?;
    tur.start().await?;
    for (envelope, receipt) in &accepted {
        stream.send(envelope.encode()).await?;
        assert_eq!(stream.answer().await?.1.encode(), receipt.encode(), "another receipt than the first");
        fra.expect_notice(envelope.header().notice_id).await?;
    }
    assert_eq!((fra.inbox().await?.len(), tur.inbox().await?.len()), (3, 3), "each once");
    net.broker().stop().await?;
    let found = net.broker().run(&["verify-store"]).await?;
    assert_eq!(found.code, Some(0), "{found:?}");

    let refused = restored(&net, "of-format-9", |record| marked(record, 9)).await?;
    let refused = refused.expect_err("a store of format 9 was taken").to_string();
    assert!(
        refused.contains("has format 9; this broker knows format 3; run the newer broker again"),
        "{refused}"
    );
    assert!(!net.broker().data().exists(), "something of it was kept");
    net.stop().await;
    Ok(())
}
