//! The `valise-broker` command.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// An envelope's memory is taken on one thread and given back on another, which the C library's allocator answers with
/// locks and with returning pages to the kernel; this one spends a fifth less CPU per notice here.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    valise_broker::cli::main()
}
