//! The protocol over a real WebSocket, in the hands of whoever tests or measures: [`Wire`] sends
//! and hears frames of any kind, [`Line`] has an honest session on top of it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bukti_core::id::{ChangeHash, JournalId, Position, RunId, ServerId};
use bukti_sync_protocol::bye::Bye;
use bukti_sync_protocol::client::{ClientSession, Event, Input, Offer, Opening, Output};
use bukti_sync_protocol::enrol::{self, EnrolSession};
use bukti_sync_protocol::link::InvitationLink;
use ed25519_dalek::SigningKey;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Bounds a failure; nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came from the server.
#[derive(Debug)]
pub enum Heard {
    /// A binary message.
    Frame(Vec<u8>),
    /// With the close code, if it gave one.
    Closed(Option<u16>),
}

/// One connection.
#[derive(Debug)]
pub struct Wire(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Wire {
    /// Connects.
    ///
    /// # Panics
    /// If the server does not take connections.
    pub async fn open(server: SocketAddr) -> Self {
        let (socket, _) = connect_async(format!("ws://{server}/v1/sync"))
            .await
            .expect("the server listens");
        Self(socket)
    }

    /// Sends a binary message.
    pub async fn send(&mut self, bytes: Vec<u8>) {
        self.send_message(Message::Binary(bytes.into())).await;
    }

    /// Sends any message. The server may have closed already: what it said shows when it is heard.
    pub async fn send_message(&mut self, message: Message) {
        let _ = self.0.send(message).await;
    }

    /// The next frame, or the end.
    ///
    /// # Panics
    /// If the server says nothing for long.
    pub async fn hear(&mut self) -> Heard {
        let heard = timeout(PATIENCE, self.wait()).await;
        heard.expect("the server answers")
    }

    /// The same, for as long as it takes.
    async fn wait(&mut self) -> Heard {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Binary(bytes))) => return Heard::Frame(bytes.into()),
                Some(Ok(Message::Close(frame))) => {
                    return Heard::Closed(frame.map(|frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Closed(None),
            }
        }
    }

    /// The connection itself, for whoever minds how it ends. What was received of frames that nobody
    /// heard is lost.
    pub fn into_stream(self) -> MaybeTlsStream<TcpStream> {
        self.0.into_inner()
    }

    /// Enrols `key` with an invitation.
    ///
    /// # Errors
    /// What the server says instead.
    ///
    /// # Panics
    /// If it closes without a word.
    pub async fn enrol(
        &mut self,
        key: &SigningKey,
        link: &InvitationLink,
    ) -> Result<Enrolled, Bye> {
        let mut session = EnrolSession::new(key, &link.secret, link.server, 0);
        loop {
            while let Some(output) = session.poll() {
                match output {
                    enrol::Output::Send(bytes) => self.send(bytes).await,
                    enrol::Output::Event(enrol::Event::Enrolled {
                        id,
                        journal,
                        certificate,
                    }) => {
                        return Ok(Enrolled {
                            server: link.server,
                            id,
                            journal,
                            certificate,
                        });
                    }
                    enrol::Output::Event(enrol::Event::Bye(bye)) => return Err(bye),
                    enrol::Output::Close => panic!("closed without a word"),
                }
            }
            match self.hear().await {
                Heard::Frame(bytes) => session.handle(&bytes),
                Heard::Closed(code) => panic!("closed with {code:?} while enrolling"),
            }
        }
    }
}

/// What a server answers to an enrolment.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// The server's key.
    pub server: ServerId,
    /// Its journal.
    pub id: JournalId,
    /// The journal's first record.
    pub journal: Vec<u8>,
    /// The record with the certificate.
    pub certificate: Vec<u8>,
}

/// WebSocket messages and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages sent.
    pub frames_up: u64,
    /// Their bytes.
    pub bytes_up: u64,
    /// Messages received.
    pub frames_down: u64,
    /// Their bytes.
    pub bytes_down: u64,
}

/// A device's session over a connection. Whoever holds it deals with the events and says
/// [`Input::Applied`] as [`ClientSession`] wants it.
#[derive(Debug)]
pub struct Line {
    wire: Wire,
    session: ClientSession,
    events: VecDeque<Event>,
    opened: Instant,
    closed: bool,
    traffic: Traffic,
}

impl Line {
    /// Connects and opens a session; `offers` leave in the first flight.
    ///
    /// # Panics
    /// As [`Wire::open`].
    pub async fn open(server: SocketAddr, opening: Opening, offers: Vec<Offer>) -> Self {
        let mut line = Self {
            wire: Wire::open(server).await,
            session: ClientSession::new(opening, 0),
            events: VecDeque::new(),
            opened: Instant::now(),
            closed: false,
            traffic: Traffic::default(),
        };
        line.give(Input::Offer(offers)).await;
        line
    }

    /// Gives the session what happened on this side.
    pub async fn give(&mut self, input: Input<'_>) {
        let now = self.now();
        self.session.handle(now, input);
        self.perform().await;
    }

    /// The next thing that the device learns, or nothing once the connection is closed.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.closed {
                return None;
            }
            let heard = self.wire.hear().await;
            self.take_in(heard).await;
        }
    }

    /// The same, or nothing if nothing happens until `deadline` either.
    pub async fn next_until(&mut self, deadline: tokio::time::Instant) -> Option<Event> {
        while self.events.is_empty() && !self.closed {
            // Only the reading is given up: what was read is dealt with whole.
            let heard = tokio::time::timeout_at(deadline, self.wire.wait()).await;
            self.take_in(heard.ok()?).await;
        }
        self.events.pop_front()
    }

    /// Whether nothing more will come.
    pub fn is_closed(&self) -> bool {
        self.closed && self.events.is_empty()
    }

    /// What went over the connection.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn take_in(&mut self, heard: Heard) {
        match heard {
            Heard::Frame(bytes) => {
                self.traffic.frames_down += 1;
                self.traffic.bytes_down += bytes.len() as u64;
                self.give(Input::Frame(&bytes)).await;
            }
            Heard::Closed(_) => self.closed = true,
        }
    }

    async fn perform(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(bytes) => {
                    self.traffic.frames_up += 1;
                    self.traffic.bytes_up += bytes.len() as u64;
                    self.wire.send(bytes).await;
                }
                Output::Event(event) => self.events.push_back(event),
                Output::Close => self.closed = true,
            }
        }
    }
}

/// What became of the runs of one session.
#[derive(Debug, Default)]
pub struct Answers {
    /// Where each stands.
    pub accepted: BTreeMap<RunId, Position>,
    /// What each lacks.
    pub missing: BTreeMap<RunId, Vec<ChangeHash>>,
    /// Code and sentence.
    pub rejected: BTreeMap<RunId, (String, String)>,
    /// The server took the store for a copy.
    pub stale: bool,
    /// How the session ended.
    pub bye: Option<Bye>,
}

/// Pushes `runs` in one session and waits until each has its answer.
///
/// # Panics
/// If the connection closes before without a word.
pub async fn push(server: SocketAddr, opening: Opening, runs: Vec<(RunId, Vec<u8>)>) -> Answers {
    let wanted = runs.len();
    let offers = runs.into_iter().map(Into::into).collect();
    let mut line = Line::open(server, opening, offers).await;
    let mut answers = Answers::default();
    while answers.count() < wanted {
        let Some(event) = line.next().await else {
            assert!(answers.bye.is_some(), "closed after {answers:?}");
            return answers;
        };
        if answers.take(event) {
            line.give(Input::Applied).await;
        }
    }
    line.give(Input::Close).await;
    while let Some(event) = line.next().await {
        answers.take(event);
    }
    answers
}

impl Answers {
    /// How many runs have their answer.
    pub fn count(&self) -> usize {
        self.accepted.len() + self.missing.len() + self.rejected.len()
    }

    /// Takes note; true if the session waits to hear that the event was applied.
    pub fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Accepted(runs) => self.accepted.extend(runs),
            Event::Missing { run, hashes } => {
                self.missing.insert(run, hashes);
            }
            Event::Rejected {
                run,
                code,
                sentence,
            } => {
                self.rejected.insert(run, (code, sentence));
            }
            Event::Stale { .. } => self.stale = true,
            Event::Bye(bye) => self.bye = Some(bye),
            Event::Page { .. } | Event::UpToDate { .. } => return true,
            Event::Welcome { .. }
            | Event::Void
            | Event::StatementsHeld(_)
            | Event::Readmitted { .. }
            | Event::Differs { .. }
            | Event::LeftScope(_)
            | Event::Progress { .. } => {}
        }
        false
    }
}
