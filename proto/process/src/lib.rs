//! What a process that holds keys, or listens, has to itself, and what it gives up for the rest of its life.
//!
//! [`lock`] keeps a folder to one process. [`keep_memory_private`] turns core files and tracing off; [`Confinement`] has the kernel refuse every file, port and
//! program that the process has no business with, so that whoever takes it over finds nothing else. Both are for the
//! shells; nothing here knows of notices.

mod confinement;
mod lock;
mod memory;

pub use confinement::{Confined, Confinement, NotConfined};
pub use lock::lock;
pub use memory::keep_memory_private;
