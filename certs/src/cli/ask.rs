//! What only the person at the terminal can tell: the passphrase, and a fingerprint heard by telephone.

use std::io::{IsTerminal, Write};
use std::path::Path;

use super::{Ended, Outcome};
use crate::passphrase::Passphrase;

/// The passphrase of an authority that is there.
pub(super) fn passphrase(file: Option<&Path>) -> Result<Passphrase, Ended> {
    match file {
        Some(path) => Ok(Passphrase::read(path)?),
        None => prompt("Passphrase of the authority: "),
    }
}

/// The passphrase of a new authority, typed twice.
pub(super) fn new_passphrase(file: Option<&Path>) -> Result<Passphrase, Ended> {
    if let Some(path) = file {
        return Ok(Passphrase::read(path)?);
    }
    prompt_twice("New passphrase of the authority: ")
}

/// The passphrase of a root that is there.
pub(super) fn root_passphrase() -> Result<Passphrase, Ended> {
    prompt("Passphrase of the root: ")
}

/// The passphrase of a new root, typed twice.
pub(super) fn new_root_passphrase() -> Result<Passphrase, Ended> {
    prompt_twice("New passphrase of the root, another than the authority's: ")
}

fn prompt_twice(words: &str) -> Result<Passphrase, Ended> {
    let first = prompt(words)?;
    let second = prompt("The same again: ")?;
    if first == second {
        return Ok(first);
    }
    Err(Ended::Failed(anyhow::anyhow!("the two passphrases differ; nothing was made")))
}

fn prompt(words: &str) -> Result<Passphrase, Ended> {
    if !std::io::stdin().is_terminal() {
        return Err(Ended::Mistakes(anyhow::anyhow!(
            "there is no terminal to ask for the passphrase; give --passphrase-file FILE (for the root: --root-passphrase-file FILE)"
        )));
    }
    Ok(Passphrase::new(rpassword::prompt_password(words)?)?)
}

/// How the fingerprint of a request is compared.
pub(super) enum Compared {
    /// With this one, which the agency read out.
    With(String),
    /// It was, before this command.
    Before,
    /// By asking the person at the terminal.
    AskNow,
}

/// Goes on only if the request is the one that the agency made.
pub(super) fn compare(compared: &Compared, fingerprint: &str) -> Outcome {
    match compared {
        Compared::Before => Ok(()),
        Compared::With(given) => check(given, fingerprint),
        Compared::AskNow if std::io::stdin().is_terminal() => {
            eprint!("Type the fingerprint that the agency reads out by telephone: ");
            std::io::stderr().flush()?;
            let mut typed = String::new();
            std::io::stdin().read_line(&mut typed)?;
            check(typed.trim(), fingerprint)
        }
        Compared::AskNow => Err(Ended::Mistakes(anyhow::anyhow!(
            "compare the request's fingerprint {fingerprint} with the agency's by telephone, then give it: --fingerprint {fingerprint}"
        ))),
    }
}

fn check(given: &str, fingerprint: &str) -> Outcome {
    if plain(given) == plain(fingerprint) {
        return Ok(());
    }
    let shown: String = given.chars().filter(|c| !c.is_control()).take(80).collect();
    Err(Ended::Failed(anyhow::anyhow!(
        "the request's fingerprint is {fingerprint}, not `{shown}`: it is not the request the agency made; nobody was enrolled"
    )))
}

fn plain(fingerprint: &str) -> String {
    fingerprint.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_compared_without_case_and_dashes_but_wholly() {
        let fingerprint = "ABCD-0123-ABCD-0123-ABCD-0123-ABCD-0123";
        for same in
            [fingerprint, "abcd0123abcd0123abcd0123abcd0123", "abcd 0123 abcd 0123 ABCD 0123 ABCD 0123"]
        {
            assert!(check(same, fingerprint).is_ok(), "`{same}`");
        }
        for other in ["", "ABCD-0123", "ABCD-0123-ABCD-0123-ABCD-0123-ABCD-0124"] {
            assert!(check(other, fingerprint).is_err(), "`{other}`");
        }
    }
}
