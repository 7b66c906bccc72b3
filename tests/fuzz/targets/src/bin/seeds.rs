//! Writes what fuzzing begins with into a folder for each target: `seeds FOLDER`.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> std::io::Result<ExitCode> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("name the folder to write to: seeds tests/fuzz/corpus");
        return Ok(ExitCode::FAILURE);
    };
    for seed in valise_fuzz::seeds::all() {
        let folder = folder.join(seed.target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(&seed.name), &seed.bytes)?;
    }
    Ok(ExitCode::SUCCESS)
}
