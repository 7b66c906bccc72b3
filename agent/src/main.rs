//! The `valise-agent` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    valise_agent::cli::main()
}
