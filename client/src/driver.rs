//! The sync protocol over a WebSocket: connecting, pausing, coming back.
//!
//! [`sync_once`] ends when both sides hold the same; [`watch`] stays. Both come back after a cut
//! with pauses that grow from one second to a minute and are drawn at random below their bound.
//! All work on the disk happens between two frames, on the task that runs this.

use std::pin::pin;
use std::time::Duration;

use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::scope::Scope;
use bukti_sync_protocol::Mono;
use bukti_sync_protocol::bye::{Bye, ByeCode};
use bukti_sync_protocol::client::{Event, Input};
use bukti_sync_protocol::limits::{ANSWER_MS, REPAIR_RETRY_MS};
use bukti_sync_protocol::link::sync_url;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::clock;
use crate::device::{Device, DeviceError, Tally};
use crate::exchange::{Exchange, Moment};
use crate::limits::{
    BACKOFF_FIRST_MS, BACKOFF_MAX_MS, QUIET_MS, REFUSED_RETRY_MS, RETRY_AFTER_MAX_MS,
};

mod enrol;
mod socket;

pub use enrol::{EnrolError, enrol};
use socket::{Heard, Socket};

/// How to sync.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name and version of the program, for the server's log.
    pub agent: String,
    /// What to ask for; empty for all that the grants allow.
    pub scopes: Vec<Scope>,
    /// How long it may take in all.
    pub deadline: Option<Duration>,
    /// Attempts in a row without any progress before [`sync_once`] gives up.
    pub attempts_max: u32,
    /// How long to pause between two attempts.
    pub backoff: Backoff,
    /// How long a link may be silent before the server is asked whether it is there; after as long
    /// again without an answer it is dead.
    pub quiet: Duration,
}

/// Pauses between attempts: each is drawn between nothing and a bound that doubles with every
/// attempt that came to nothing, so that devices cut together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first bound.
    pub first_ms: u64,
    /// The last bound.
    pub max_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first_ms: BACKOFF_FIRST_MS,
            max_ms: BACKOFF_MAX_MS,
        }
    }
}

impl Backoff {
    /// Milliseconds to wait after so many attempts in a row came to nothing.
    fn pause_ms(self, attempts: u32, jitter: u64) -> u64 {
        let doublings = attempts.saturating_sub(1).min(16);
        let bound = self.first_ms.saturating_mul(1 << doublings);
        jitter % (bound.min(self.max_ms) + 1)
    }
}

impl Settings {
    /// Everything that the grants allow, five attempts, no deadline.
    pub fn new(agent: impl Into<String>) -> Self {
        Self {
            agent: agent.into(),
            scopes: Vec::new(),
            deadline: None,
            attempts_max: 5,
            backoff: Backoff::default(),
            quiet: Duration::from_millis(QUIET_MS),
        }
    }
}

/// What went over the wire, as WebSocket messages and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Connections that stood.
    pub connections: u32,
    /// Messages sent.
    pub frames_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Messages received.
    pub frames_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
}

/// What somebody who waits may want to see.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A connection is being made; counted from 1 since the last progress.
    Connecting {
        /// Which attempt.
        attempt: u32,
    },
    /// It stands.
    Connected,
    /// Frames went or came.
    Traffic {
        /// All so far.
        traffic: Traffic,
        /// Runs that no server has confirmed.
        unsent: usize,
        /// Whether all that is in scope is here and all that the server may take was received.
        done: bool,
    },
    /// The session learned something, and it is stored; with what was counted by then.
    Learned(&'a Event, Tally),
    /// The connection is gone or was not made.
    Cut {
        /// Why.
        reason: &'a str,
        /// When the next attempt is made.
        pause: Duration,
    },
}

/// A finished sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced {
    /// What it took.
    pub traffic: Traffic,
}

/// Why a sync did not finish. Everything is kept, and the next one goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// No connection stood.
    #[error("the server was not reached: {reason}")]
    NotReached {
        /// What the last attempt met.
        reason: String,
    },
    /// Connections stood, but were cut too often or the time is over.
    #[error("the sync was interrupted: {reason}")]
    Interrupted {
        /// What the last attempt met.
        reason: String,
        /// What was sent and received until then.
        traffic: Traffic,
    },
    /// The server's disk is full: it gave what it has, and takes nothing until there is space.
    #[error("the server's disk is full, and it takes nothing for now")]
    Full {
        /// What was sent and received until then.
        traffic: Traffic,
    },
    /// Whoever answers at the server's address does not serve this device.
    #[error("{}", .0.sentence)]
    Refused(Bye),
    /// The device's own stores failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Something that another task wants while [`watch`] holds the device.
pub enum Request<S: Storage, K: Kv> {
    /// Work on the device.
    Work(Work<S, K>),
    /// Another attempt now, if one is being waited for.
    TryNow,
    /// Word of the server: it is asked over the connection that stands, or the next, and whoever
    /// waits is told when it answered. All that it sent before that was dealt with by then. If the
    /// connection ends first, the sender is dropped.
    Ask(oneshot::Sender<()>),
}

/// What is to be done on the device.
pub type Work<S, K> = Box<dyn FnOnce(&mut Device<S, K>) + Send>;

impl<S: Storage, K: Kv> std::fmt::Debug for Request<S, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Work(_) => f.write_str("Work(..)"),
            Self::TryNow => f.write_str("TryNow"),
            Self::Ask(_) => f.write_str("Ask(..)"),
        }
    }
}

/// Syncs until the device is up to date and everything sendable was received.
///
/// # Errors
/// See [`SyncError`].
pub async fn sync_once<S: Storage, K: Kv>(
    device: &mut Device<S, K>,
    settings: &Settings,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Synced, SyncError> {
    let (_none, mut requests) = mpsc::channel(1);
    Driver::new(settings, true, progress)
        .run(device, &mut requests)
        .await
}

/// Stays in sync, and lets others use the device meanwhile, until `requests` is closed.
///
/// # Errors
/// [`SyncError::Device`], or [`SyncError::Refused`] where a statement that the server signed revokes
/// the device; it never gives up on a bad link or on what anybody may say at the server's address,
/// unless a deadline was set.
pub async fn watch<S: Storage, K: Kv>(
    device: &mut Device<S, K>,
    settings: &Settings,
    progress: &mut dyn FnMut(Progress<'_>),
    requests: &mut mpsc::Receiver<Request<S, K>>,
) -> Result<Synced, SyncError> {
    Driver::new(settings, false, progress)
        .run(device, requests)
        .await
}

/// How one connection ended.
enum End {
    /// Nothing more to do.
    Done,
    /// Try again: at once, or not before so many milliseconds.
    Again {
        reason: String,
        after_ms: Option<u64>,
    },
    /// The server puts off what it would have to write, for minutes.
    Full(Bye),
    /// Whoever answered does not serve this device.
    Refused(Bye),
    TimeOver,
}

struct Driver<'a> {
    settings: &'a Settings,
    /// Whether being up to date is the end.
    once: bool,
    progress: &'a mut dyn FnMut(Progress<'_>),
    started: Instant,
    traffic: Traffic,
    /// Attempts since something came of one.
    attempt: u32,
    /// Who wants word of the server, which was not asked yet.
    unasked: Vec<oneshot::Sender<()>>,
    /// The same with the number of the ping that asked.
    asked: Vec<(u64, oneshot::Sender<()>)>,
}

impl<'a> Driver<'a> {
    fn new(settings: &'a Settings, once: bool, progress: &'a mut dyn FnMut(Progress<'_>)) -> Self {
        Self {
            settings,
            once,
            progress,
            started: Instant::now(),
            traffic: Traffic::default(),
            attempt: 0,
            unasked: Vec::new(),
            asked: Vec::new(),
        }
    }

    async fn run<S: Storage, K: Kv>(
        mut self,
        device: &mut Device<S, K>,
        requests: &mut mpsc::Receiver<Request<S, K>>,
    ) -> Result<Synced, SyncError> {
        let Some(url) = sync_url(device.identity().url()) else {
            let reason = format!("'{}' is no address", device.identity().url());
            return Err(SyncError::NotReached { reason });
        };
        let mut last = "the time was over before it began".to_owned();
        loop {
            self.attempt += 1;
            let end = self.attempt(&url, device, requests).await?;
            self.unasked.clear();
            self.asked.clear();
            let (reason, after_ms) = match end {
                End::Done => {
                    let traffic = self.traffic;
                    return Ok(Synced { traffic });
                }
                // A signed statement says so, and is kept.
                End::Refused(bye) if bye.code == ByeCode::Revoked && device.is_revoked() => {
                    return Err(SyncError::Refused(bye));
                }
                End::Refused(bye) if self.once => return Err(SyncError::Refused(bye)),
                // Anybody who answers at the address may say that.
                End::Refused(bye) => (bye.sentence, Some(REFUSED_RETRY_MS)),
                End::TimeOver => return Err(self.gave_up(last)),
                // Whoever syncs once does not wait for somebody to make space.
                End::Full(_) if self.once => {
                    let traffic = self.traffic;
                    return Err(SyncError::Full { traffic });
                }
                End::Full(bye) => (bye.sentence, bye.retry_after_ms),
                End::Again { reason, after_ms } => (reason, after_ms),
            };
            last.clone_from(&reason);
            // Whoever syncs once does not wait for somebody to repair something.
            let repaired = after_ms.is_some_and(|ms| ms >= REPAIR_RETRY_MS);
            if self.once && (repaired || self.attempt >= self.settings.attempts_max) {
                return Err(self.gave_up(last));
            }
            let pause = self.pause(after_ms);
            (self.progress)(Progress::Cut {
                reason: &reason,
                pause,
            });
            if !self.wait(pause, device, requests).await {
                return match self.time_is_over() {
                    true => Err(self.gave_up(last)),
                    false => Ok(Synced {
                        traffic: self.traffic,
                    }),
                };
            }
        }
    }

    /// Connects, and follows the session to its end.
    async fn attempt<S: Storage, K: Kv>(
        &mut self,
        url: &str,
        device: &mut Device<S, K>,
        requests: &mut mpsc::Receiver<Request<S, K>>,
    ) -> Result<End, DeviceError> {
        device.check()?;
        let attempt = self.attempt;
        (self.progress)(Progress::Connecting { attempt });
        let mut socket = match self.connect(url, device, requests).await {
            Ok(socket) => socket,
            Err(end) => return Ok(end),
        };
        self.traffic.connections += 1;
        (self.progress)(Progress::Connected);
        let (now, scopes) = (self.now(), self.settings.scopes.clone());
        let mut exchange = Exchange::open(device, now, scopes, &self.settings.agent)?;
        let end = self
            .converse(&mut socket, &mut exchange, device, requests)
            .await?;
        if exchange.progressed() {
            self.attempt = 0;
        }
        exchange.finish(device)?;
        Ok(end)
    }

    /// Connects, serving requests meanwhile: an address that answers nothing takes long to fail.
    async fn connect<S: Storage, K: Kv>(
        &mut self,
        url: &str,
        device: &mut Device<S, K>,
        requests: &mut mpsc::Receiver<Request<S, K>>,
    ) -> Result<Socket, End> {
        let mut connecting = pin!(Socket::connect(url));
        loop {
            tokio::select! {
                connected = &mut connecting => return connected.map_err(|reason| End::Again {
                    reason,
                    after_ms: None,
                }),
                () = self.until_deadline() => return Err(End::TimeOver),
                request = requests.recv(), if !self.once => match request {
                    Some(Request::Work(work)) => work(device),
                    Some(Request::TryNow) => {}
                    Some(Request::Ask(asks)) => self.ask(asks),
                    None => return Err(End::Done),
                },
            }
        }
    }

    async fn converse<S: Storage, K: Kv>(
        &mut self,
        socket: &mut Socket,
        exchange: &mut Exchange,
        device: &mut Device<S, K>,
        requests: &mut mpsc::Receiver<Request<S, K>>,
    ) -> Result<End, DeviceError> {
        let mut input = None;
        let mut received = None;
        let mut asked = false;
        let mut is_quiet = false;
        loop {
            let frames = self.step(exchange, device, received.as_deref(), input.take())?;
            received = None;
            let asks = std::mem::take(&mut is_quiet) || !self.unasked.is_empty();
            if let Err(reason) = self.transmit(socket, frames, asks).await {
                return Ok(ended(exchange, asked, reason));
            }
            let done = exchange.is_done(device);
            (self.progress)(Progress::Traffic {
                traffic: self.traffic,
                unsent: device.unsent(),
                done,
            });
            if exchange.is_closed() {
                socket.close().await;
                return Ok(ended(exchange, asked, "the session was closed".into()));
            }
            if self.once && done {
                asked = true;
                input = Some(Input::Close);
                continue;
            }
            let due = exchange.deadline();
            tokio::select! {
                heard = socket.receive(self.settings.quiet) => match heard {
                    Ok(Heard::Frame(frame)) => {
                        self.traffic.frames_received += 1;
                        self.traffic.bytes_received += frame.len() as u64;
                        received = Some(frame);
                    }
                    Ok(Heard::Answer(number)) => self.answered(number),
                    Ok(Heard::Nothing) => is_quiet = true,
                    Err(reason) => return Ok(ended(exchange, asked, reason)),
                },
                () = self.until(due) => input = Some(Input::Tick),
                () = self.until_deadline() => return Ok(End::TimeOver),
                request = requests.recv(), if !self.once => match request {
                    Some(Request::Work(work)) => work(device),
                    Some(Request::TryNow) => {}
                    Some(Request::Ask(asks)) => self.ask(asks),
                    None => {
                        asked = true;
                        input = Some(Input::Close);
                    }
                },
            }
        }
    }

    /// Notes who wants word of the server. Whoever does not wait any more is forgotten, so there are
    /// no more of them than commands under way.
    fn ask(&mut self, asks: oneshot::Sender<()>) {
        self.unasked.retain(|asks| !asks.is_closed());
        self.asked.retain(|(_, asks)| !asks.is_closed());
        self.unasked.push(asks);
    }

    /// The server answered all pings up to `number`.
    fn answered(&mut self, number: u64) {
        for (_, asks) in self.asked.extract_if(.., |(asked, _)| *asked <= number) {
            // Whoever asked may have given up.
            let _ = asks.send(());
        }
    }

    /// Sends frames, and a ping where the server is asked whether it is there; a link that takes
    /// nothing for as long as an answer may take is dead.
    async fn transmit(
        &mut self,
        socket: &mut Socket,
        frames: Vec<Vec<u8>>,
        asks: bool,
    ) -> Result<(), String> {
        let mut traffic = self.traffic;
        let mut ping = None;
        let sending = async {
            if asks {
                ping = Some(socket.ping().await?);
            }
            for frame in frames {
                traffic.frames_sent += 1;
                traffic.bytes_sent += frame.len() as u64;
                socket.send(frame).await?;
            }
            socket.flush().await
        };
        let sent = tokio::select! {
            sent = tokio::time::timeout(Duration::from_millis(ANSWER_MS), sending) => {
                sent.unwrap_or_else(|_| Err("the link takes nothing any more".into()))
            }
            () = self.until_deadline() => Err("the time is over".into()),
        };
        self.traffic = traffic;
        if let Some(number) = ping {
            let unasked = self.unasked.drain(..);
            self.asked.extend(unasked.map(|asks| (number, asks)));
        }
        sent
    }

    fn step<S: Storage, K: Kv>(
        &mut self,
        exchange: &mut Exchange,
        device: &mut Device<S, K>,
        received: Option<&[u8]>,
        input: Option<Input<'_>>,
    ) -> Result<Vec<Vec<u8>>, DeviceError> {
        // Work of somebody else may have met an error that only they were told.
        device.check()?;
        let mut moment = Moment {
            mono: self.now(),
            wall: clock::wall(),
            draw: &mut clock::draw,
        };
        let progress = &mut *self.progress;
        let mut learned = |event: &Event, tally| progress(Progress::Learned(event, tally));
        match received.map(Input::Frame).or(input) {
            Some(input) => exchange.handle(device, &mut moment, input, &mut learned),
            None => exchange.pump(device, &mut moment, &mut learned),
        }
    }

    /// Waits, serving requests; false if there is no reason to go on.
    async fn wait<S: Storage, K: Kv>(
        &mut self,
        pause: Duration,
        device: &mut Device<S, K>,
        requests: &mut mpsc::Receiver<Request<S, K>>,
    ) -> bool {
        let until = Instant::now() + pause;
        // The next attempt says what is wrong with the device.
        while device.check().is_ok() {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return true,
                () = self.until_deadline() => return false,
                request = requests.recv(), if !self.once => match request {
                    Some(Request::Work(work)) => work(device),
                    Some(Request::TryNow) => return true,
                    Some(Request::Ask(asks)) => self.ask(asks),
                    None => return false,
                },
            }
        }
        true
    }

    fn now(&self) -> Mono {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn until(&self, due: Option<Mono>) {
        match due {
            Some(due) => tokio::time::sleep_until(self.started + Duration::from_millis(due)).await,
            None => std::future::pending().await,
        }
    }

    async fn until_deadline(&self) {
        match self.settings.deadline {
            Some(deadline) => tokio::time::sleep_until(self.started + deadline).await,
            None => std::future::pending().await,
        }
    }

    fn time_is_over(&self) -> bool {
        let deadline = self.settings.deadline;
        deadline.is_some_and(|deadline| self.started.elapsed() >= deadline)
    }

    fn pause(&self, after_ms: Option<u64>) -> Duration {
        let jitter = u64::from_le_bytes(clock::draw());
        let pause_ms = self.settings.backoff.pause_ms(self.attempt, jitter);
        let asked_ms = after_ms.unwrap_or(0).min(RETRY_AFTER_MAX_MS);
        Duration::from_millis(pause_ms.max(asked_ms))
    }

    fn gave_up(&self, reason: String) -> SyncError {
        if self.traffic.connections == 0 {
            return SyncError::NotReached { reason };
        }
        let traffic = self.traffic;
        SyncError::Interrupted { reason, traffic }
    }
}

/// What follows from how a connection ended; `asked` says that this side wanted it to.
fn ended(exchange: &Exchange, asked: bool, reason: String) -> End {
    if exchange.restarts() {
        return End::Again {
            reason: "the store begins a new life".into(),
            after_ms: Some(0),
        };
    }
    let Some(bye) = exchange.bye() else {
        return End::Again {
            reason,
            after_ms: None,
        };
    };
    let again = || End::Again {
        reason: bye.sentence.clone(),
        after_ms: bye.retry_after_ms,
    };
    match bye.code {
        ByeCode::Done if asked => End::Done,
        ByeCode::Done => again(),
        ByeCode::Version | ByeCode::Unauthorised | ByeCode::Revoked => End::Refused(bye.clone()),
        ByeCode::InvitationUsed | ByeCode::InvitationExpired | ByeCode::InvitationUnknown => {
            End::Refused(bye.clone())
        }
        ByeCode::Full => End::Full(bye.clone()),
        ByeCode::Shutdown
        | ByeCode::Malformed
        | ByeCode::Credit
        | ByeCode::Fragment
        | ByeCode::Flood
        | ByeCode::Timeout
        | ByeCode::Busy
        | ByeCode::Fault
        | ByeCode::Other(_) => again(),
    }
}

#[cfg(test)]
mod tests;
