//! Keys stay in this process's memory.
//!
//! Claimed: a crash writes no core file, and no other process of the same user reads this one's memory. It holds because
//! the kernel is told so before any key is read: a process that is not dumpable leaves no core and cannot be attached to
//! but by whoever may trace every process, and a limit of no bytes stands beside that. Against root nothing helps.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Turns core files and tracing off for the rest of this process's life.
///
/// # Errors
/// As the kernel says; what could be turned off is off.
pub fn keep_memory_private() -> std::io::Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let limit = setrlimit(Resource::Core, none);
    Ok(dumpable.and(limit)?)
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn g02_no_core_file_is_written() {
        keep_memory_private().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
    }
}
