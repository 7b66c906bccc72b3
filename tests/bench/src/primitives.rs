//! What the primitives cost by themselves, here and now.
//!
//! They are measured on every core at once, because that is how the broker works while it is measured: cores of one
//! machine share caches, memory and, where they are hyperthreads, arithmetic units.

use std::fs::File;
use std::hint::black_box;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rand_core::UnwrapErr;
use serde::Serialize;
use valise_proto::crypto::{SigningKey, context, sha256};

/// How long each primitive is measured.
const MEASURED: Duration = Duration::from_millis(400);
/// Rounds of which the median is taken.
const ROUNDS: usize = 9;

/// Microseconds of each primitive, for one notice; medians.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Primitives {
    /// Strict Ed25519 verification of a header.
    pub(crate) verify_us: f64,
    /// Ed25519 signature of a receipt.
    pub(crate) sign_us: f64,
    /// SHA-256 of the header and the ciphertexts.
    pub(crate) hash_us: f64,
    /// AES-256-GCM over the envelope, as QUIC does it on the way in.
    pub(crate) aead_us: f64,
    /// fdatasync after a write of 64 KiB.
    pub(crate) fdatasync_us: f64,
}

/// Measures with a header of `header_bytes`, and an envelope of `envelope_bytes`; files are written in `folder`.
pub(crate) fn measure(
    header_bytes: usize,
    envelope_bytes: usize,
    folder: &Path,
) -> anyhow::Result<Primitives> {
    let key = SigningKey::generate(&mut UnwrapErr(getrandom::SysRng));
    let public = key.verifying_key();
    let header = vec![7; header_bytes];
    let signature = key.sign(context::HEADER, &header);
    let envelope = vec![9; envelope_bytes];
    let cipher =
        UnboundKey::new(&AES_256_GCM, &[3; 32]).map(LessSafeKey::new).map_err(|_| anyhow!("AES-256-GCM"))?;
    Ok(Primitives {
        verify_us: everywhere(|| {
            median(|| {
                black_box(public.verify(context::HEADER, &header, &signature).is_ok());
            })
        }),
        sign_us: everywhere(|| {
            median(|| {
                black_box(key.sign(context::RECEIPT, &header));
            })
        }),
        hash_us: everywhere(|| {
            median(|| {
                black_box(sha256(&[&envelope]));
            })
        }),
        aead_us: everywhere(|| {
            let mut buffer = envelope.clone();
            median(|| {
                let nonce = Nonce::assume_unique_for_key([0; 12]);
                black_box(cipher.seal_in_place_separate_tag(nonce, Aad::empty(), &mut buffer).is_ok());
            })
        }),
        fdatasync_us: fdatasync(folder)?,
    })
}

/// The mean of what `measure` gives on every core at once.
fn everywhere(measure: impl Fn() -> f64 + Sync) -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let values: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(&measure)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    values.iter().sum::<f64>() / values.iter().map(|_| 1.0).sum::<f64>()
}

fn fdatasync(folder: &Path) -> anyhow::Result<f64> {
    let mut file: File = tempfile::tempfile_in(folder)?;
    let block = vec![1; 64 * 1024];
    let mut micros = Vec::new();
    for _ in 0..100 {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&block)?;
        let start = Instant::now();
        file.sync_data()?;
        micros.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(middle(&mut micros))
}

/// The median over rounds of the mean time of one call, in microseconds.
fn median(mut work: impl FnMut()) -> f64 {
    let each = MEASURED / u32::try_from(ROUNDS).unwrap_or(u32::MAX);
    let mut micros: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (start, mut calls) = (Instant::now(), 0_u32);
            while start.elapsed() < each {
                work();
                calls += 1;
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(calls.max(1))
        })
        .collect();
    middle(&mut micros)
}

fn middle(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
