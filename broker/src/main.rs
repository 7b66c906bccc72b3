//! The `valise-broker` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    valise_broker::cli::main()
}
