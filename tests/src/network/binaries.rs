//! Where the binaries are, for nodes that run as processes.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::NetworkError;

/// Names a folder that holds `valise-broker`, `valise-agent` and `valise-ca`; otherwise cargo is asked to build them.
pub const BINARIES_ENV: &str = "VALISE_BIN_DIR";

/// The path of one of the binaries.
///
/// Cargo builds the binaries of a package for that package's own tests only, so a test of another package has to ask
/// for them. Where they are up to date that takes a moment.
///
/// # Errors
/// [`NetworkError::State`] where it cannot be found or built.
pub fn binary(name: &str) -> Result<PathBuf, NetworkError> {
    if let Some(folder) = std::env::var_os(BINARIES_ENV) {
        return existing(&Path::new(&folder).join(name));
    }
    if let Some(cargo) = std::env::var_os("CARGO") {
        build(Path::new(&cargo))?;
    }
    existing(&target_folder()?.join(name))
}

fn existing(path: &Path) -> Result<PathBuf, NetworkError> {
    let missing = || {
        let sentence = format!(
            "{} does not exist: run `cargo build --workspace`, or set {BINARIES_ENV} to the folder of the binaries",
            path.display()
        );
        NetworkError::State(sentence)
    };
    path.is_file().then(|| path.to_owned()).ok_or_else(missing)
}

/// The folder above `deps`, in which this test's own binary lies.
fn target_folder() -> Result<PathBuf, NetworkError> {
    let me = std::env::current_exe().map_err(NetworkError::io("this program"))?;
    let above = me.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == "deps"));
    let folder = above.and_then(Path::parent).or_else(|| me.parent());
    folder.map(Path::to_owned).ok_or_else(|| NetworkError::State("this program lies in no folder".to_owned()))
}

fn build(cargo: &Path) -> Result<(), NetworkError> {
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--bins"]);
    command.args(["-p", "valise-broker", "-p", "valise-agent", "-p", "valise-certs"]);
    if target_folder()?.file_name().is_some_and(|name| name == "release") {
        command.arg("--release");
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let status = command.status().map_err(NetworkError::io(cargo))?;
    if status.success() {
        Ok(())
    } else {
        Err(NetworkError::State("the binaries cannot be built".to_owned()))
    }
}
