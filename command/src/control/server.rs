//! The side that holds the data folder.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;

use super::{Answer, Progress, Request, frame, socket};
use crate::limits::{
    ALIVE_EVERY, ANSWER_BYTES_MAX, ANSWER_FRAMES_QUEUED, ANSWER_WAIT, CALLS_MAX, REQUEST_BYTES_MAX,
    REQUEST_WAIT, STOP_WAIT, TROUBLE_PAUSE,
};
use crate::lock::FolderLock;
use crate::reply::{Exit, Reply};

/// Takes commands for the process that holds a data folder.
#[derive(Debug)]
pub struct ControlServer {
    callers: Callers,
    stop: Stop,
}

/// Ends [`ControlServer::serve`] from another thread, whatever became of the socket's name.
#[derive(Debug, Clone)]
pub struct Stop(Arc<UnixStream>);

impl Stop {
    /// Has the server take no more commands.
    pub fn stop(&self) {
        // Fails only where that was done before.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl ControlServer {
    /// Listens in the folder that `lock` holds, in place of a former holder's socket. From here on
    /// callers wait instead of being told that the holder is starting.
    ///
    /// # Errors
    /// The folder cannot be written, or its name is too long for a socket where there is no `/proc`.
    pub fn bind(lock: &FolderLock) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let listener = socket::bind(&lock.dir().canonicalize()?)?;
        Ok(Self {
            callers: Callers { listener, stopped },
            stop: Stop(Arc::new(stop)),
        })
    }

    /// What ends [`ControlServer::serve`].
    pub fn stopper(&self) -> Stop {
        self.stop.clone()
    }

    /// Runs `handler` for each command, each in a thread of its own, until it is stopped; then waits
    /// up to [`STOP_WAIT`] for commands that still run. The lock must be held until it returns.
    ///
    /// Nothing that goes wrong with a caller, or with the process while it takes one, ends it: who
    /// cannot be taken at this moment may be the one who revokes a lost phone at the next.
    pub fn serve<H>(self, handler: H)
    where
        H: Fn(Request, &mut Progress<'_>) -> Reply + Send + Sync + 'static,
    {
        let handler = Arc::new(handler);
        let places = Arc::new(Places::default());
        take_each(self.callers, &places, &handler);
        places.wait_until_free(STOP_WAIT);
    }
}

/// Callers as they come, until the server is stopped.
#[derive(Debug)]
struct Callers {
    listener: UnixListener,
    /// Is closed by [`Stop`].
    stopped: UnixStream,
}

impl Iterator for Callers {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut either = [
            PollFd::new(&self.stopped, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        match retry_on_intr(|| poll(&mut either, None)) {
            Err(error) => Some(Err(error.into())),
            Ok(_) if !either[0].revents().is_empty() => None,
            Ok(_) => Some(self.listener.accept().map(|(caller, _)| caller)),
        }
    }
}

/// Takes callers as they come.
pub(super) fn take_each<H>(
    callers: impl Iterator<Item = io::Result<UnixStream>>,
    places: &Arc<Places>,
    handler: &Arc<H>,
) where
    H: Fn(Request, &mut Progress<'_>) -> Reply + Send + Sync + 'static,
{
    let mut told = false;
    for stream in callers {
        match stream {
            Ok(stream) => {
                told = false;
                take(stream, Places::take(places), Arc::clone(handler));
            }
            Err(error) => {
                // Once until a caller is taken again: it may last.
                if !told {
                    tracing::error!(%error, "commands cannot be taken at this moment");
                    told = true;
                }
                thread::sleep(TROUBLE_PAUSE);
            }
        }
    }
}

/// Starts a thread for one caller, or turns it away.
fn take<H>(mut stream: UnixStream, place: Option<Place>, handler: Arc<H>)
where
    H: Fn(Request, &mut Progress<'_>) -> Reply + Send + Sync + 'static,
{
    let Some(place) = place else {
        // The frame fits into the socket's buffer, so this does not wait for the caller.
        let _ = frame::write(&mut stream, &Answer::Crowded, ANSWER_BYTES_MAX, ANSWER_WAIT);
        return;
    };
    // Without a thread the stream is dropped, and the caller sees that nobody answers.
    let _ = thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || attend(stream, place, handler));
}

fn attend<H>(mut stream: UnixStream, place: Place, handler: Arc<H>)
where
    H: Fn(Request, &mut Progress<'_>) -> Reply + Send + Sync + 'static,
{
    let request = match frame::read(&mut stream, REQUEST_BYTES_MAX, REQUEST_WAIT) {
        Ok(request) => request,
        Err(error) => {
            let reply = Reply::error(Exit::WrongUse, format!("cannot read the command: {error}"));
            answer(&mut stream, &Answer::Reply(reply));
            return;
        }
    };
    let (answers, queue) = sync_channel(ANSWER_FRAMES_QUEUED);
    // A place is taken until the command has ended, which runs on when its caller has gone away,
    // and its reply is sent.
    let place = Arc::new(place);
    let command_place = Arc::clone(&place);
    let work = move || {
        let _place = command_place;
        let reply = run(&*handler, request, &answers);
        let _ = answers.send(Answer::Reply(reply));
    };
    let running = thread::Builder::new()
        .name("command".to_owned())
        .spawn(work);
    match running {
        Ok(_) => pass_on(&mut stream, &queue),
        Err(error) => {
            let reply = Reply::error(Exit::Failed, format!("cannot run the command: {error}"));
            answer(&mut stream, &Answer::Reply(reply));
        }
    }
    drop(place);
}

fn run<H>(handler: &H, request: Request, answers: &SyncSender<Answer>) -> Reply
where
    H: Fn(Request, &mut Progress<'_>) -> Reply,
{
    let mut progress = Progress::to(|text: &str| {
        let _ = answers.send(Answer::Stderr(text.to_owned()));
    });
    handler(request, &mut progress)
}

/// Hands answers to the caller until the reply, with signs of life between.
fn pass_on(stream: &mut UnixStream, queue: &Receiver<Answer>) {
    loop {
        let next = match queue.recv_timeout(ALIVE_EVERY) {
            Ok(next) => next,
            Err(RecvTimeoutError::Timeout) => Answer::Alive,
            Err(RecvTimeoutError::Disconnected) => {
                let text = "the command stopped unexpectedly; the holder's log says why";
                Answer::Reply(Reply::error(Exit::Failed, text))
            }
        };
        let is_last = matches!(next, Answer::Reply(_));
        if !answer(stream, &next) || is_last {
            return;
        }
    }
}

/// Writes one frame; one that is too large becomes a reply that says so. False when the caller is
/// not to be written to again.
fn answer(stream: &mut UnixStream, next: &Answer) -> bool {
    match frame::write(stream, next, ANSWER_BYTES_MAX, ANSWER_WAIT) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let reply = Reply::error(Exit::Failed, format!("cannot send the answer: {error}"));
            let _ = frame::write(stream, &Answer::Reply(reply), ANSWER_BYTES_MAX, ANSWER_WAIT);
            false
        }
        Err(_) => false,
    }
}

/// Counts running commands.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: Mutex<usize>,
    freed: Condvar,
}

/// One running command.
pub(super) struct Place(Arc<Places>);

impl Places {
    pub(super) fn take(places: &Arc<Self>) -> Option<Place> {
        let mut taken = places.lock();
        if *taken == CALLS_MAX {
            return None;
        }
        *taken += 1;
        Some(Place(Arc::clone(places)))
    }

    /// Waits until no command runs, at most so long.
    pub(super) fn wait_until_free(&self, at_most: Duration) {
        let _ = self
            .freed
            .wait_timeout_while(self.lock(), at_most, |taken| *taken > 0)
            .unwrap_or_else(PoisonError::into_inner);
    }

    // A count cannot be left half changed.
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.freed.notify_all();
    }
}
