//! The `valise-ca` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    valise_certs::cli::main()
}
