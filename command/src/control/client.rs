//! The side that enters a command.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{Answer, CallError, Progress, Request, frame, socket};
use crate::limits::{
    ANSWER_BYTES_MAX, REQUEST_BYTES_MAX, REQUEST_WAIT, SILENCE_MAX, START_LOOK_EVERY, START_WAIT,
};
use crate::lock::{FolderLock, LockError};
use crate::reply::Reply;

/// Runs a command where the data folder is held: by `handler` in this process if the folder is
/// free, else by the process that holds it. Waits up to [`START_WAIT`] for a holder that is
/// starting, or for a short command to let go of the folder.
///
/// # Errors
/// See [`CallError`].
pub fn run(
    dir: &Path,
    request: &Request,
    progress: &mut Progress<'_>,
    handler: impl FnOnce(&FolderLock, &Request, &mut Progress<'_>) -> Reply,
) -> Result<Reply, CallError> {
    let mut patience = Patience::new(START_WAIT);
    loop {
        let pid = match FolderLock::acquire(dir) {
            Ok(lock) => return Ok(handler(&lock, request, progress)),
            Err(LockError::Busy { pid, .. }) => pid,
            Err(error @ (LockError::Open { .. } | LockError::Io { .. })) => {
                return Err(error.into());
            }
        };
        match ask(dir, pid, request, progress) {
            Err(CallError::Starting { .. } | CallError::Crowded { .. }) if patience.waits() => {}
            answered => return answered,
        }
    }
}

/// Has the process that holds `dir` run a command, and gives its reply. Never takes the folder
/// itself. Waits as [`run`] does.
///
/// # Errors
/// See [`CallError`]; [`CallError::Starting`] also when nobody holds the folder.
pub fn call(
    dir: &Path,
    request: &Request,
    progress: &mut Progress<'_>,
) -> Result<Reply, CallError> {
    call_within(START_WAIT, dir, request, progress)
}

pub(super) fn call_within(
    wait: Duration,
    dir: &Path,
    request: &Request,
    progress: &mut Progress<'_>,
) -> Result<Reply, CallError> {
    let mut patience = Patience::new(wait);
    loop {
        match ask(dir, crate::lock::holder(dir), request, progress) {
            Err(CallError::Starting { .. } | CallError::Crowded { .. }) if patience.waits() => {}
            answered => return answered,
        }
    }
}

fn ask(
    dir: &Path,
    pid: Option<u32>,
    request: &Request,
    progress: &mut Progress<'_>,
) -> Result<Reply, CallError> {
    let mut stream = match socket::connect(dir) {
        Ok(stream) => stream,
        // No socket yet, or a stale one of a former holder.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            return Err(CallError::Starting { pid });
        }
        Err(error) => return Err(CallError::Io(error)),
    };
    match frame::write(&mut stream, request, REQUEST_BYTES_MAX, REQUEST_WAIT) {
        Err(error) if error.kind() == ErrorKind::InvalidData => return Err(CallError::Io(error)),
        // A crowded holder does not read the request, so what counts is what it says.
        Ok(()) | Err(_) => {}
    }
    listen(&mut stream, SILENCE_MAX, pid, progress)
}

pub(super) fn listen(
    stream: &mut UnixStream,
    silence_max: Duration,
    pid: Option<u32>,
    progress: &mut Progress<'_>,
) -> Result<Reply, CallError> {
    loop {
        match frame::read(stream, ANSWER_BYTES_MAX, silence_max) {
            Ok(Answer::Stderr(text)) => progress.say(&text),
            Ok(Answer::Alive) => {}
            Ok(Answer::Crowded) => return Err(CallError::Crowded { pid }),
            Ok(Answer::Reply(reply)) => return Ok(reply),
            Err(error) => return Err(silence(pid, error)),
        }
    }
}

fn silence(pid: Option<u32>, error: io::Error) -> CallError {
    match error.kind() {
        ErrorKind::TimedOut
        | ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::BrokenPipe => CallError::NotAnswering { pid },
        _ => CallError::Io(error),
    }
}

struct Patience {
    until: Instant,
}

impl Patience {
    fn new(wait: Duration) -> Self {
        Self {
            until: Instant::now() + wait,
        }
    }

    /// Waits a little and says true, or says false when it has come to its end.
    fn waits(&mut self) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        thread::sleep(left.min(START_LOOK_EVERY));
        !left.is_zero()
    }
}
