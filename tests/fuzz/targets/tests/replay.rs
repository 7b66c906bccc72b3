//! What is kept for the targets is replayed: the corpora, what fuzzers once found, and what fuzzing begins with.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use valise_fuzz::{TARGETS, Target, seeds};

/// Longest file that is kept, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// All that is kept, in bytes.
const ALL_BYTES_MAX: u64 = 2 * 1024 * 1024;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}"))
}

/// The files kept in `corpus` or `regressions`, each with its target.
fn kept(name: &str) -> Vec<(&'static Target, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder(name)).unwrap().map(Result::unwrap) {
        let target = target(entry.file_name().to_str().unwrap());
        let files = fs::read_dir(entry.path()).unwrap().map(|file| (target, file.unwrap().path()));
        found.extend(files);
    }
    found.sort_by(|a, b| a.1.cmp(&b.1));
    found
}

/// A file that fails is named by the last line before the failure.
fn replay(files: Vec<(&'static Target, PathBuf)>) {
    for (target, file) in files {
        println!("{}: {}", target.name, file.display());
        (target.check)(&fs::read(&file).unwrap());
    }
}

#[test]
fn g10_g12_everything_in_the_corpora_is_accepted_or_refused_as_claimed() {
    let files = kept("corpus");
    let with_corpus: BTreeSet<_> = files.iter().map(|(target, _)| target.name).collect();
    let all: BTreeSet<_> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(with_corpus, all, "a target has no corpus");
    replay(files);
}

#[test]
fn g10_g12_what_fuzzers_once_found_stays_mended() {
    replay(kept("regressions"));
}

#[test]
fn what_is_right_is_accepted_and_what_is_wrong_is_not() {
    let mut reached = BTreeSet::new();
    for seed in seeds::all() {
        println!("{}: {}", seed.target, seed.name);
        assert_eq!((target(seed.target).check)(&seed.bytes), seed.right, "{}: {}", seed.target, seed.name);
        reached.insert(seed.target);
    }
    assert_eq!(reached.len(), TARGETS.len(), "a target has nothing to begin with: {reached:?}");
}

#[test]
fn g10_nothing_makes_a_target_stop() {
    for target in &TARGETS {
        for byte in [0x00, 0x08, 0x0a, 0x30, 0x7f, 0x80, 0xff, b'[', b'<', b'X'] {
            for len in [0, 1, 2, 3, 64, 4096] {
                (target.check)(&vec![byte; len]);
            }
        }
    }
}

#[test]
fn what_is_kept_is_small() {
    let files: Vec<_> = ["corpus", "regressions"].into_iter().flat_map(kept).collect();
    let lengths: Vec<_> = files.iter().map(|(_, file)| (fs::metadata(file).unwrap().len(), file)).collect();
    for (len, file) in &lengths {
        assert!(*len <= FILE_BYTES_MAX, "{}: {len} bytes; at most {FILE_BYTES_MAX}", file.display());
    }
    let all: u64 = lengths.iter().map(|(len, _)| len).sum();
    assert!(all <= ALL_BYTES_MAX, "{all} bytes are kept; at most {ALL_BYTES_MAX}: cargo fuzz cmin");
}

#[test]
fn every_target_is_one_that_can_be_fuzzed() {
    let files: BTreeSet<_> = fs::read_dir(folder("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let names: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(files, names, "fuzz_targets and TARGETS are not the same");
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in Cargo.toml");
        let source = fs::read_to_string(folder(&format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(
            source.contains(&format!("valise_fuzz::{name}(")),
            "fuzz_targets/{name}.rs calls another target"
        );
    }
}

/// Bytes that are cheap to write and could be dear to read, each repeated to about the length of an envelope, which no
/// fuzzer tries.
#[test]
fn g10_a_megabyte_of_anything_takes_neither_memory_nor_time_out_of_proportion() {
    /// Unoptimised; what grows with the square of the length would take minutes.
    const EACH_MAX: Duration = Duration::from_secs(20);
    let repeated: [&[u8]; 14] = [
        b"\"\":0,",
        b"\"kind\":0,",
        b"[",
        b"{\"a\":",
        b"0,",
        b"{},",
        b"\"religion\":1,",
        b"\x1a\x00",
        b"\x22\x00",
        b"\x3a\x02\x3a\x00",
        b"//",
        b"H1/",
        b"a=1\n",
        b"[a]\n",
    ];
    let around: [(&[u8], &[u8]); 5] = [
        (b"", b""),
        (b"{", b"\"b\":0}"),
        (b"{\"parts\":[", b"0]}"),
        (b"{\"parts\":[{", b"\"b\":0}]}"),
        (b"\x08\x01", b""),
    ];
    for unit in repeated {
        for (before, after) in around {
            let bytes = [before, &unit.repeat(1024 * 1024 / unit.len() - 16), after].concat();
            for target in &TARGETS {
                let began = Instant::now();
                (target.check)(&bytes);
                let took = began.elapsed();
                let shown = String::from_utf8_lossy(unit);
                assert!(took < EACH_MAX, "{}: {took:?} for a megabyte of `{shown}`", target.name);
            }
        }
    }
    // A name that is known, after many that are not: whether it stands there twice must not be looked up one by one.
    let json =
        [b"{".to_vec(), b"\"\":0,".repeat(100_000), b"\"kind\":0,".repeat(50_000), b"\"b\":0}".to_vec()]
            .concat();
    let began = Instant::now();
    assert!(!(target("notice_json").check)(&json));
    assert!(began.elapsed() < EACH_MAX, "{:?} for fields that stand there twice", began.elapsed());
}
