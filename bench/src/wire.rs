//! A device on the wire: a [`ClientSession`] over a real WebSocket, without a store of its own, so
//! that what is measured is the server and the protocol.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use bukti_core::id::DeviceId;
use bukti_core::ledger::testing::Phone;
use bukti_core::validate::CheckedRun;
use bukti_sync_protocol::client::{ClientSession, Event, Input, Opening, Output};
use bukti_tests::folder::Made;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Where a server is and how devices are let in.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// Its socket.
    pub(crate) socket: SocketAddr,
    /// How devices are let in.
    pub(crate) made: Made,
}

impl Address {
    pub(crate) fn new(socket: SocketAddr, made: Made) -> Self {
        Self { socket, made }
    }
}

/// WebSocket messages and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Messages sent.
    pub(crate) frames_up: u64,
    /// Their bytes.
    pub(crate) bytes_up: u64,
    /// Messages received.
    pub(crate) frames_down: u64,
    /// Their bytes.
    pub(crate) bytes_down: u64,
}

/// A session over a socket.
pub(crate) struct Wire {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: ClientSession,
    events: VecDeque<Event>,
    opened: Instant,
    /// What went over the wire.
    pub(crate) traffic: Traffic,
    /// The cursor that came last.
    pub(crate) cursor: Option<Vec<u8>>,
}

/// Tokens of this program hold until the year 2100.
const TOKEN_UNTIL: i64 = 4_102_444_800_000;

impl Wire {
    /// Opens a session on a token that holds.
    pub(crate) async fn open(address: &Address, phone: &Phone, cursor: Option<Vec<u8>>) -> Self {
        let url = format!("ws://{}/v1/sync", address.socket);
        let (socket, _) = tokio_tungstenite::connect_async(url)
            .await
            .expect("the server listens");
        let device: DeviceId = phone.id();
        let opening = Opening {
            key: phone.key().clone(),
            server: address.made.server,
            journal: address.made.journal,
            token: Some(address.made.tokens.issue(&device, TOKEN_UNTIL)),
            incarnation: phone.incarnation(),
            last: phone.last(),
            scopes: Vec::new(),
            cursor,
            held: Vec::new(),
            agent: "bukti-bench".to_owned(),
            certificate: Vec::new(),
            owed: Vec::new(),
            compare: false,
        };
        let opened = Instant::now();
        let mut wire = Self {
            socket,
            session: ClientSession::new(opening, 0),
            events: VecDeque::new(),
            opened,
            traffic: Traffic::default(),
            cursor: None,
        };
        wire.perform().await;
        wire
    }

    /// Pushes runs, in order.
    pub(crate) async fn offer(&mut self, runs: impl IntoIterator<Item = &CheckedRun>) {
        let runs = runs
            .into_iter()
            .map(|run| (run.id(), run.run().to_bytes()).into())
            .collect();
        let now = self.now();
        self.session.handle(now, Input::Offer(runs));
        self.perform().await;
    }

    /// The next thing that happens; pages and positions count as stored at once.
    ///
    /// # Panics
    /// If the server ends the session.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                match &event {
                    Event::Page { cursor, .. } | Event::UpToDate { cursor, .. } => {
                        self.cursor = Some(cursor.clone());
                        let now = self.now();
                        self.session.handle(now, Input::Applied);
                        self.perform().await;
                    }
                    Event::Bye(bye) => panic!("the server ended the session: {bye}"),
                    Event::Stale { highest } => panic!("the server holds up to {highest:?}"),
                    _ => {}
                }
                return event;
            }
            self.receive().await;
        }
    }

    /// The same, or nothing if nothing happens until `deadline`.
    ///
    /// # Panics
    /// As [`Wire::next`].
    pub(crate) async fn next_until(&mut self, deadline: tokio::time::Instant) -> Option<Event> {
        while self.events.is_empty() {
            // Only the reading is given up: what was read is dealt with whole.
            let message = tokio::time::timeout_at(deadline, self.socket.next()).await;
            self.take_in(message.ok()?).await;
        }
        Some(self.next().await)
    }

    /// Reads until everything in scope is here; gives the items that came.
    pub(crate) async fn up_to_date(&mut self) -> usize {
        let mut items = 0;
        loop {
            match self.next().await {
                Event::Page { items: page, .. } => items += page.len(),
                Event::UpToDate { .. } => return items,
                _ => {}
            }
        }
    }

    /// Reads until `runs` were accepted.
    ///
    /// # Panics
    /// If one is refused.
    pub(crate) async fn accepted(&mut self, runs: usize) {
        let mut accepted = 0;
        while accepted < runs {
            match self.next().await {
                Event::Accepted(some) => accepted += some.len(),
                Event::Rejected { code, sentence, .. } => panic!("{code}: {sentence}"),
                Event::Missing { hashes, .. } => panic!("missing {hashes:?}"),
                _ => {}
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn receive(&mut self) {
        let message = self.socket.next().await;
        self.take_in(message).await;
    }

    async fn take_in(&mut self, message: Option<Result<Message, WsError>>) {
        match message {
            Some(Ok(Message::Binary(bytes))) => {
                self.traffic.frames_down += 1;
                self.traffic.bytes_down += bytes.len() as u64;
                let now = self.now();
                self.session.handle(now, Input::Frame(&bytes));
                self.perform().await;
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => panic!("the connection broke: {error}"),
            None => panic!("the server closed the connection"),
        }
    }

    async fn perform(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(bytes) => {
                    self.traffic.frames_up += 1;
                    self.traffic.bytes_up += bytes.len() as u64;
                    self.socket
                        .send(Message::Binary(bytes.into()))
                        .await
                        .expect("the server reads");
                }
                Output::Event(event) => self.events.push_back(event),
                Output::Close => return,
            }
        }
    }
}
