//! The transcript of a ceremony: one page, to be printed, filled in by hand and signed by those who were there.
//!
//! It says what was made, under which fingerprints and parameters, on which machine's clock and in which files; whoever
//! holds it can tell later whether a root, a certificate or a folder is the one of that day. It holds no secret. Lines
//! have at most 80 columns.

use std::fmt::{self, Write};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use valise_proto::crypto::sha256;
use valise_proto::id::Timestamp;

use crate::files::{self, FileError, PLAIN_FILE};
use crate::folder::{Folder, FolderError};
use crate::register::{Register, RegisterError};

/// Columns of a line.
const COLUMNS: usize = 80;
/// Columns before a value.
const INDENT: usize = 22;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ceremony {
    /// The authority was founded.
    Founding,
    /// The issuing authority was renewed.
    Renewal,
    /// Nothing: how the authority stands is put on paper.
    Standing,
}

impl fmt::Display for Ceremony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Founding => "founding of the authority",
            Self::Renewal => "renewal of the issuing authority",
            Self::Standing => "none: how the authority stands",
        })
    }
}

/// The folders of a ceremony, as they were typed.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The authority's.
    pub dir: &'a Path,
    /// The root's, where it was there.
    pub root: Option<&'a Path>,
}

/// The text of a transcript.
///
/// # Errors
/// [`RegisterError`].
pub fn compose(
    register: &Register,
    ceremony: Ceremony,
    places: Places<'_>,
    now: Timestamp,
) -> Result<String, RegisterError> {
    let mut page = Page::default();
    page.heading("TRANSCRIPT OF A CEREMONY");
    page.line("Ceremony", ceremony);
    page.line("At (UTC)", format_args!("{now}, by this machine's clock"));
    page.line("Software", format_args!("valise-ca {}", env!("CARGO_PKG_VERSION")));
    parameters(&mut page, register)?;
    fingerprints(&mut page, register);
    page.heading("Files");
    for folder in [Some(places.dir), places.root].into_iter().flatten() {
        page.files(folder).map_err(FolderError::from)?;
    }
    page.by_hand();
    Ok(page.0)
}

/// Writes a transcript into the authority's folder and the root's, and to one more place if wanted; gives the files.
///
/// # Errors
/// [`FileError`]; the ceremony counts all the same, and `valise-ca transcript` writes the page again.
pub fn write(
    text: &str,
    places: Places<'_>,
    further: Option<&Path>,
    now: Timestamp,
) -> Result<Vec<PathBuf>, FileError> {
    let time: String = now.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let name = format!("ceremony-{time}.txt");
    let folders = [Some(places.dir), places.root].into_iter().flatten();
    let mut paths: Vec<PathBuf> = folders.map(|folder| folder.join(&name)).collect();
    paths.extend(further.map(ToOwned::to_owned));
    for path in &paths {
        files::replace(path, text.as_bytes(), PLAIN_FILE)?;
    }
    Ok(paths)
}

fn parameters(page: &mut Page, register: &Register) -> Result<(), RegisterError> {
    let (state, view) = (register.state(), register.authority()?);
    page.heading("Parameters");
    page.line("Trust domain", &view.trust_domain);
    page.line("Policy", &view.policy);
    page.line("Founded", view.founded_at);
    page.line("Root until", view.root_not_after);
    page.line("Root's list until", state.root_list.next_update);
    page.line("Issuing until", view.issuing_not_after);
    // A delegation that cannot be read stops every command that opens the authority; here its lines are missing.
    if let Ok(signed) = state.root_delegation() {
        let delegation = signed.delegation();
        page.line("Delegation", format_args!("generation {}", delegation.generation));
        page.line("  from", delegation.not_before);
        page.line("  until", delegation.not_after);
        page.line("Ceiling", &delegation.ceiling);
        page.line("Issuing key", delegation.issuing_key.key_id());
    }
    page.line("Root key", state.root_key.0.key_id());
    page.line("Directory key", state.directory_key.0.key_id());
    Ok(())
}

fn fingerprints(page: &mut Page, register: &Register) {
    let state = register.state();
    page.heading("Fingerprints");
    page.line("Trust (trust.pem)", register.trust().fingerprint());
    for (name, der) in [
        ("Root certificate", &state.root_certificate.0),
        ("Issuing certificate", &state.issuing_certificate.0),
    ] {
        page.line(name, groups(&hex::encode(plain_sha256(der))));
    }
    page.line("Journal", format_args!("{} entries; head", state.journal.entries));
    page.line("", groups(&state.journal.digest.to_string()));
}

/// The digest that other tools show of a certificate.
fn plain_sha256(der: &[u8]) -> Vec<u8> {
    sha256(&[der]).as_bytes().to_vec()
}

/// Eight digits at a time, for the eye.
fn groups(hex: &str) -> String {
    let chars: Vec<char> = hex.chars().collect();
    let groups: Vec<String> = chars.chunks(8).map(|group| group.iter().collect()).collect();
    groups.join(" ")
}

/// A page that is being written.
#[derive(Default)]
struct Page(String);

impl Page {
    fn heading(&mut self, words: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{words}\n{}", "-".repeat(words.chars().count()));
    }

    /// A name and its value, which goes on below itself where it is long.
    fn line(&mut self, name: &str, value: impl fmt::Display) {
        let value: String = value.to_string().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let mut name = name;
        for part in wrapped(&value, COLUMNS - INDENT) {
            let _ = writeln!(self.0, "{}", format!("{name:<INDENT$}{part}").trim_end());
            name = "";
        }
    }

    /// The files of a folder with their modes.
    fn files(&mut self, folder: &Path) -> Result<(), FileError> {
        let refused = |source| FileError::new("read this folder", folder, source);
        self.line("Folder", folder.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            let metadata = entry.metadata().map_err(refused)?;
            if metadata.is_file() && entry.path() != Folder::new(folder).lock_file() {
                let mode = metadata.permissions().mode() & 0o7777;
                found.push((entry.file_name().to_string_lossy().into_owned(), mode));
            }
        }
        found.sort();
        for (name, mode) in found {
            self.line("", format_args!("{mode:04o}  {name}"));
        }
        Ok(())
    }

    fn by_hand(&mut self) {
        self.heading("To be filled in by hand");
        let blank = "_".repeat(COLUMNS - INDENT);
        for name in ["Place", "Time by another clock", "Machine, network off", "Media, where kept", "Remarks"]
        {
            let _ = writeln!(self.0, "\n{name:<INDENT$}{blank}");
        }
        for name in ["Carried out by", "Witness", "Witness"] {
            let _ = writeln!(self.0, "\n{name:<INDENT$}{blank}");
            let _ = writeln!(self.0, "\n{:<INDENT$}{blank}", "  signature, date");
        }
    }
}

/// Parts of at most `columns` characters, broken at spaces where there are any.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    for word in text.split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        if !part.is_empty() && part.chars().count().saturating_add(rest.len()) >= columns {
            parts.push(std::mem::take(&mut part));
        } else if !part.is_empty() {
            part.push(' ');
        }
        while rest.len() > columns {
            let after = rest.split_off(columns);
            parts.push(rest.into_iter().collect());
            rest = after;
        }
        part.extend(rest);
    }
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_goes_on_below_and_nothing_is_lost() {
        let text = format!("States FRA, KEN and {} end", "x".repeat(150));
        let parts = wrapped(&text, 58);
        assert!(parts.len() > 3 && parts.iter().all(|part| part.chars().count() <= 58), "{parts:?}");
        let letters = |text: &str| text.replace(' ', "");
        assert_eq!(letters(&parts.concat()), letters(&text));
        assert_eq!(wrapped("", 58), [""]);
    }

    #[test]
    fn a_name_with_control_characters_does_not_shape_the_page() {
        let mut page = Page::default();
        page.line("Folder", "a\nSigned by: nobody\u{1b}[2J");
        assert_eq!(page.0.lines().count(), 1, "{}", page.0);
        assert!(!page.0.contains('\u{1b}'));
    }
}
