//! What the pages say of tests and commands is so.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use valise_tests::network::binary;
use walkdir::WalkDir;

const CRATES: [&str; 5] = ["proto", "broker", "agent", "certs", "tests"];

/// The names of all functions that are tests, or could be.
fn functions() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = CRATES.iter().flat_map(|folder| WalkDir::new(root.join(folder))).map(Result::unwrap);
    let sources = files.filter(|entry| entry.path().extension().is_some_and(|end| end == "rs"));
    sources.flat_map(|source| named(&fs::read_to_string(source.path()).unwrap())).collect()
}

fn named(source: &str) -> Vec<String> {
    let name = |rest: &str| rest.split('(').next().unwrap_or_default().to_owned();
    source.split("fn ").skip(1).map(name).collect()
}

/// The words between backticks that have the form of a test's name.
fn tests_of(page: &str) -> BTreeSet<&str> {
    let is_name = |word: &&str| {
        word.matches('_').count() > 1
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    page.split('`').skip(1).step_by(2).filter(is_name).collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../SECURITY.md")).unwrap();
    let (functions, told) = (functions(), tests_of(&page));
    assert!(told.len() > 40, "only {} tests were found in the page", told.len());
    let missing: Vec<_> = told.into_iter().filter(|name| !functions.contains(*name)).collect();
    assert!(missing.is_empty(), "SECURITY.md names tests that do not exist: {missing:?}");
}

#[test]
fn every_promise_has_a_test_that_bears_its_number() {
    let functions = functions();
    for promise in 1..=12 {
        let number = format!("g{promise:02}_");
        assert!(functions.iter().any(|name| name.starts_with(&number)), "no test bears {number}");
    }
}

/// The rows of the table below this heading, without its head.
fn rows<'p>(page: &'p str, heading: &str) -> Vec<&'p str> {
    let below = page.split(heading).nth(1).unwrap_or_default().split("\n## ").next().unwrap_or_default();
    below.lines().filter(|line| line.starts_with("| ")).skip(1).collect()
}

/// The promises that the rows do not set a fault against, and the rows that name no test.
fn empty_places(rows: &[&str]) -> Vec<String> {
    let covered: BTreeSet<_> = rows.iter().filter_map(|row| row.split('|').nth(1)).map(str::trim).collect();
    let promises = (1..=12).map(|promise| format!("G{promise}"));
    let uncovered = promises.filter(|promise| !covered.contains(promise.as_str()));
    let without_test = rows.iter().filter(|row| tests_of(row.rsplit('|').nth(1).unwrap()).is_empty());
    uncovered.chain(without_test.map(ToString::to_string)).collect()
}

#[test]
fn every_promise_has_its_faults_and_every_fault_its_test() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../SECURITY.md")).unwrap();
    let rows = rows(&page, "## Promise, fault, test\n");
    assert!(rows.len() > 40, "only {} rows were found", rows.len());
    assert_eq!(empty_places(&rows), Vec::<String>::new());
    // And it can fail.
    assert_eq!(empty_places(&["| G1 | a fault |  |"]).len(), 12);
}

#[test]
fn names_are_found_where_they_stand() {
    assert_eq!(named("async fn g01_a_b() {}\nfn other(x: u8)"), ["g01_a_b", "other"]);
    assert_eq!(tests_of("| `g01_a_b`, `created_at` and `Upper_a_b` |"), BTreeSet::from(["g01_a_b"]));
}

/// Some notice's id.
const NOTICE: &str = "0198c1f0-7a00-7000-8000-000000000001";

/// The command lines of a page: those of its `sh` blocks that begin with one of the three commands.
fn command_lines(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).map(str::trim);
    lines.filter(|line| line.starts_with("valise-")).map(str::to_owned).collect()
}

/// The words of a line as a shell would pass them, as far as the pages need one.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            letter => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    // What stands for a notice on a page.
    for word in words.iter_mut().filter(|word| *word == "ID") {
        NOTICE.clone_into(word);
    }
    words
}

/// With `--help` at its end a command says whether it knows the words before, and does nothing.
fn is_known(line: &str) -> Result<(), String> {
    let mut words = words(line).into_iter();
    let program = binary(&words.next().unwrap()).unwrap();
    let asked = Command::new(program).args(words).arg("--help").output().unwrap();
    let told = String::from_utf8_lossy(&asked.stderr).lines().next().unwrap_or_default().to_owned();
    if asked.status.success() { Ok(()) } else { Err(format!("{line}: {told}")) }
}

#[test]
fn every_command_line_of_the_pages_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut lines = Vec::new();
    for page in ["README.md", "ADMINISTRATION.md"] {
        lines.extend(command_lines(&fs::read_to_string(root.join(page)).unwrap()));
    }
    assert!(lines.len() > 30, "only {} command lines were found", lines.len());
    let unknown: Vec<_> = lines.iter().filter_map(|line| is_known(line).err()).collect();
    assert!(unknown.is_empty(), "the pages show commands that do not exist:\n{}", unknown.join("\n"));
    // And it can fail.
    assert!(is_known("valise-ca enrol ken.pem --colour red").is_err());
    assert!(is_known("valise-ca dance").is_err());
}
