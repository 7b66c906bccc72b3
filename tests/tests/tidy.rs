//! The walls of the house (ARCHITECTURE.md, "Walls"), held by reading the source.
//!
//! Each rule forbids names to a set of files. Files are parsed, what is compiled for tests only is dropped, and the
//! remaining identifiers are looked at, so comments and strings do not count. That the rules can fail is shown at the
//! bottom: each is broken once, in a file made up for it.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use walkdir::WalkDir;

/// Lines a source file may have before its tests begin.
const FILE_LINES_MAX: usize = 500;

/// Paths (`std::fs`), whole identifiers (`quinn`), that the files chosen by `covers` must not name.
struct Rule {
    why: &'static str,
    covers: fn(&str) -> bool,
    forbidden: &'static [&'static str],
}

const CLOCKS: [&str; 2] = ["SystemTime", "Instant"];

const RULES: &[Rule] = &[
    Rule {
        why: "proto is pure: no runtime, transport, store, socket, file or clock",
        covers: |file| file.starts_with("proto/src/"),
        forbidden: &[
            "tokio",
            "quinn",
            "rustls",
            "sled",
            "std::net",
            "std::fs",
            "std::env",
            "std::process",
            "SystemTime",
            "Instant",
            "getrandom",
            "SysRng",
        ],
    },
    Rule {
        why: "proto::label imports no other module of proto but id",
        covers: |file| file.starts_with("proto/src/label/"),
        forbidden: &[
            "crate::crypto",
            "crate::directory",
            "crate::enrolment",
            "crate::envelope",
            "crate::log",
            "crate::notice",
            "crate::receipt",
            "crate::refusal",
            "crate::wire",
        ],
    },
    Rule {
        why: "generated protobuf types never leave proto::wire",
        covers: |file| !file.starts_with("proto/src/wire/"),
        forbidden: &["pb", "prost"],
    },
    Rule {
        why: "the broker's core does no I/O, reads no clock and draws no randomness",
        covers: |file| file.starts_with("broker/src/core/"),
        forbidden: &[
            "tokio",
            "quinn",
            "sled",
            "valise_transport",
            "crate::store",
            "crate::server",
            "crate::config",
            "std::net",
            "std::fs",
            "SystemTime",
            "Instant",
            "getrandom",
            "SysRng",
        ],
    },
    Rule {
        why: "the agent's core does no I/O, reads no clock and draws no randomness",
        covers: |file| file.starts_with("agent/src/core/"),
        forbidden: &[
            "tokio",
            "quinn",
            "sled",
            "valise_transport",
            "crate::store",
            "crate::node",
            "crate::vault",
            "crate::clock",
            "std::net",
            "std::fs",
            "SystemTime",
            "Instant",
            "getrandom",
            "SysRng",
        ],
    },
    Rule {
        why: "the broker can neither seal nor open, and knows neither agents nor the authority",
        covers: |file| file.starts_with("broker/src/"),
        forbidden: &[
            "valise_agent",
            "valise_certs",
            "SealingKey",
            "SealFor",
            "PlainPortion",
            "OpenedPortion",
            "HeaderDraft",
            "envelope::seal",
            "verify_disclosure",
            "notice",
        ],
    },
    Rule {
        why: "the agent knows neither the broker's inside nor the authority's keys",
        covers: |file| file.starts_with("agent/src/"),
        forbidden: &["valise_broker", "valise_certs"],
    },
    Rule {
        why: "the authority's tool works offline",
        covers: |file| file.starts_with("certs/src/"),
        forbidden: &[
            "tokio",
            "quinn",
            "sled",
            "valise_transport",
            "valise_broker",
            "valise_agent",
            "std::net::UdpSocket",
            "std::net::TcpStream",
            "std::net::TcpListener",
        ],
    },
    Rule {
        why: "what a simulated world does follows from its seed: not from a clock, the machine or the order of a hash",
        covers: |file| file.starts_with("tests/sim/src/") || file.starts_with("broker/src/core/"),
        forbidden: &[
            "tokio",
            "std::net",
            "std::fs",
            "SystemTime",
            "Instant",
            "getrandom",
            "SysRng",
            "HashMap",
            "HashSet",
            "RandomState",
        ],
    },
    Rule {
        why: "only the transport names quinn and builds rustls configurations",
        covers: |file| !file.starts_with("proto/transport/"),
        forbidden: &["quinn", "rustls", "ClientConfig", "ServerConfig"],
    },
    Rule {
        why: "only the stores name sled",
        covers: |file| !file.starts_with("broker/src/store/") && !file.starts_with("agent/src/store/"),
        forbidden: &["sled"],
    },
];

/// The names of a module that are words of the language of the house too. Where a rule forbids `notice`, it means the
/// content model: `valise_proto::notice`, not a variable of that name.
const PATHS_ONLY: [(&str, &str); 1] = [("notice", "valise_proto::notice")];

/// Which workspace crates each crate may depend on.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("proto/process", &[]),
    ("proto/transport", &["valise-proto"]),
    ("broker", &["valise-process", "valise-proto", "valise-transport"]),
    ("agent", &["valise-process", "valise-proto", "valise-transport"]),
    ("certs", &["valise-process", "valise-proto"]),
];

#[test]
fn the_walls_stand() {
    let mut broken = Vec::new();
    for (name, text) in sources() {
        broken.extend(violations(&name, &text));
    }
    assert!(broken.is_empty(), "walls are broken:\n{}", broken.join("\n"));
}

#[test]
fn dependencies_run_one_way() {
    let mut broken = Vec::new();
    for (folder, allowed) in DEPENDENCIES {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        broken.extend(wrong_dependencies(folder, &manifest, allowed));
    }
    assert!(broken.is_empty(), "dependencies run the wrong way:\n{}", broken.join("\n"));
}

#[test]
fn files_stay_readable() {
    let too_long: Vec<String> = sources()
        .into_iter()
        .map(|(name, text)| (name, lines_before_tests(&text)))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(name, lines)| format!("{name}: {lines} lines; at most {FILE_LINES_MAX} before the tests"))
        .collect();
    assert!(too_long.is_empty(), "where is the seam?\n{}", too_long.join("\n"));
}

#[test]
fn the_binaries_begin_in_short_files() {
    for (name, text) in sources() {
        if name.ends_with("/src/main.rs") {
            assert!(text.lines().count() < 100, "{name} has {} lines", text.lines().count());
        }
    }
}

const SOURCES: [&str; 9] = [
    "proto/src",
    "proto/process/src",
    "proto/transport/src",
    "broker/src",
    "agent/src",
    "certs/src",
    "tests/src",
    "tests/fuzz/targets/src",
    "tests/sim/src",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The source files of the shipped crates, by their path from the root. Tests, and files of tests, are left out.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    for folder in SOURCES {
        for entry in WalkDir::new(root.join(folder)).sort_by_file_name() {
            let entry = entry.unwrap();
            let path = entry.path();
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            if path.extension().is_some_and(|end| end == "rs") && !is_test_file(&name) {
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(found.len() > 50, "only {} source files were found", found.len());
    found
}

/// Modules that their parent compiles for tests only.
fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.ends_with("/fixture.rs") || name.contains("/tests/")
}

fn violations(name: &str, text: &str) -> Vec<String> {
    // The library for tests may name everything but what belongs to the transport and the stores.
    let words = words_of(text);
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|rule| (rule.covers)(name)) {
        for forbidden in rule.forbidden {
            let sought =
                PATHS_ONLY.iter().find(|(word, _)| word == forbidden).map_or(*forbidden, |(_, path)| path);
            if names(&words, sought) {
                found.push(format!("{name} names `{sought}`: {}", rule.why));
            }
        }
    }
    found
}

/// Every path that can be read off the tokens: `use a::{b, c::d}` gives `a`, `a::b`, `a::c` and `a::c::d`.
fn words_of(text: &str) -> BTreeSet<String> {
    let mut file = syn::parse_file(text).unwrap();
    file.items.retain(|item| !is_for_tests(item));
    let mut words = BTreeSet::new();
    collect(file.to_token_stream(), "", &mut words);
    words
}

fn is_for_tests(item: &syn::Item) -> bool {
    let attributes = match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.to_token_stream().to_string().replace(' ', "").contains("cfg(test")
    })
}

fn collect(tokens: TokenStream, prefix: &str, words: &mut BTreeSet<String>) {
    let mut path = prefix.to_owned();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                let joins = colons == 2 && !path.is_empty();
                path = if joins { format!("{path}::{ident}") } else { join(prefix, &ident.to_string()) };
                words.insert(path.clone());
                words.insert(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                let inner = if colons == 2 { path.clone() } else { String::new() };
                collect(group.stream(), &inner, words);
                path = prefix.to_owned();
                colons = 0;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {
                path = prefix.to_owned();
                colons = 0;
            }
        }
    }
}

fn join(prefix: &str, ident: &str) -> String {
    if prefix.is_empty() { ident.to_owned() } else { format!("{prefix}::{ident}") }
}

/// Whether one of the paths is `sought`, begins with it, or ends with it.
fn names(words: &BTreeSet<String>, sought: &str) -> bool {
    words.iter().any(|word| {
        word == sought
            || word.strip_prefix(sought).is_some_and(|rest| rest.starts_with("::"))
            || (sought.contains("::") && word.ends_with(&format!("::{sought}")))
    })
}

fn wrong_dependencies(folder: &str, manifest: &str, allowed: &[&str]) -> Vec<String> {
    let parsed: toml::Table = toml::from_str(manifest).unwrap();
    let dependencies =
        parsed.get("dependencies").and_then(|value| value.as_table()).cloned().unwrap_or_default();
    let ours = dependencies.keys().filter(|name| name.starts_with("valise-"));
    ours.filter(|name| !allowed.contains(&name.as_str()))
        .map(|name| format!("{folder} depends on {name}; allowed: {allowed:?}"))
        .collect()
}

fn lines_before_tests(text: &str) -> usize {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
}

mod the_rules_can_fail {
    use super::{CLOCKS, DEPENDENCIES, RULES, lines_before_tests, violations, wrong_dependencies};

    #[test]
    fn each_forbidden_name_is_found_where_it_is_forbidden() {
        let files = [
            "proto/src/id/mod.rs",
            "proto/src/label/mod.rs",
            "proto/transport/src/lib.rs",
            "broker/src/core/mod.rs",
            "broker/src/server/mod.rs",
            "agent/src/core/mod.rs",
            "agent/src/node/mod.rs",
            "certs/src/lib.rs",
        ];
        for rule in RULES {
            let file = files.iter().find(|file| (rule.covers)(file)).expect("a rule covers no file at all");
            for forbidden in rule.forbidden {
                let path = if *forbidden == "notice" { "valise_proto::notice" } else { forbidden };
                let text = format!("use {path}::Something;\n");
                let found = violations(file, &text);
                assert!(
                    found.iter().any(|line| line.contains(rule.why)),
                    "`{path}` in {file} went unnoticed"
                );
            }
        }
    }

    #[test]
    fn names_are_found_in_nested_imports_and_in_the_middle_of_code() {
        for text in [
            "use std::{collections::BTreeMap, fs::{self, File}};",
            "fn f() { let _ = std::fs::read(\"x\"); }",
            "mod inner { use std::fs; }",
            "pub fn f() -> Result<(), std::fs::TryLockError> { g!(std::fs::File) }",
        ] {
            let found = violations("proto/src/id/mod.rs", text);
            assert!(found.iter().any(|line| line.contains("std::fs")), "went unnoticed: {text}");
        }
        for clock in CLOCKS {
            let text = format!("fn now() {{ std::time::{clock}::now(); }}");
            assert!(!violations("broker/src/core/mod.rs", &text).is_empty(), "{clock} went unnoticed");
        }
    }

    #[test]
    fn comments_strings_tests_and_other_words_are_no_violations() {
        let text = "//! Not tokio, quinn or sled.\n/// std::fs\nfn f() { let file_sled = \"tokio\"; }\n\
                    #[cfg(test)]\nmod tests { use std::fs; use sled; }\n";
        assert_eq!(violations("proto/src/id/mod.rs", text), Vec::<String>::new());
    }

    #[test]
    fn a_dependency_the_wrong_way_is_found() {
        let (folder, allowed) = DEPENDENCIES[0];
        let manifest = "[dependencies]\nvalise-agent.workspace = true\nbytes = \"1\"\n";
        assert_eq!(wrong_dependencies(folder, manifest, allowed).len(), 1);
    }

    #[test]
    fn lines_are_counted_up_to_the_tests() {
        assert_eq!(lines_before_tests("a\nb\n#[cfg(test)]\nmod tests {}\n"), 2);
    }
}
