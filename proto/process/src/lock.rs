//! Locks on folders that one process has to itself.

use std::fs::{File, TryLockError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a lock that somebody holds is waited for: a process that was just killed, or that has just been started and
/// not yet closed what it inherited, holds it for a moment more.
const LET_GO_MAX: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Locks a file for this process alone, for as long as the file is open.
///
/// # Errors
/// As [`File::try_lock`]; [`TryLockError::WouldBlock`] only where it is still held after half a second.
pub fn lock(file: &File) -> Result<(), TryLockError> {
    let deadline = Instant::now() + LET_GO_MAX;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(LOOK_EVERY),
            locked => return locked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_let_go_in_a_moment_is_waited_for_and_one_that_is_held_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().write(true).open(file.path()).unwrap();
        let (first, second) = (open(), open());
        lock(&first).unwrap();
        assert!(matches!(lock(&second), Err(TryLockError::WouldBlock)));
        let waiting = std::thread::spawn(move || lock(&second));
        drop(first);
        waiting.join().unwrap().unwrap();
    }
}
