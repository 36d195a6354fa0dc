//! Signals that would end a process without a word.

use std::sync::Arc;

use signal_hook::consts::SIGXFSZ;
use signal_hook::flag;

/// Makes a write beyond the size that the system allows a file fail, so that it is told as any other
/// that fails. Where the signal cannot be taken, it ends the process as it always did.
pub fn outlive_file_size_limit() {
    _ = flag::register(SIGXFSZ, Arc::default());
}
