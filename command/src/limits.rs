//! Every bound of the command lines, with its reason.

use std::time::Duration;

/// Bytes of one request: arguments and a folder name. The kernel takes 128 KiB for one argument.
pub const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// Bytes of one frame of an answer. A listing of 100,000 documents in JSON takes about half.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Commands that a holder runs at once. The next is told to come again.
pub const CALLS_MAX: usize = 16;

/// Frames of one answer that wait for a slow reader before its command waits too.
pub const ANSWER_FRAMES_QUEUED: usize = 64;

/// A request that has not come in whole by then is dropped.
pub const REQUEST_WAIT: Duration = Duration::from_secs(5);

/// A reader that has not taken a frame by then is dropped.
pub const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// A holder that works says so this often.
pub const ALIVE_EVERY: Duration = Duration::from_secs(2);

/// A holder that has said nothing for this long does not answer: five signs of life are missing.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A caller waits this long for a holder that starts.
pub const START_WAIT: Duration = Duration::from_secs(5);

/// A caller that waits looks this often.
pub const START_LOOK_EVERY: Duration = Duration::from_millis(25);

/// A server that stops waits this long for commands that still run.
pub const STOP_WAIT: Duration = Duration::from_secs(10);

/// A holder that cannot take a caller, for want of file descriptors or memory, tries again after this.
pub const TROUBLE_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of a socket's path that every Unix takes; Linux takes 107, macOS 103.
pub const SOCKET_PATH_BYTES_MAX: usize = 103;
