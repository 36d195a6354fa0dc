//! A device on the wire: an honest session without a store of its own, so that what is measured is
//! the server and the protocol.

use std::net::SocketAddr;
use std::time::Duration;

use bukti_core::id::DeviceId;
use bukti_core::ledger::testing::Phone;
use bukti_core::validate::CheckedRun;
use bukti_sync_protocol::client::{Event, Input, Opening};
use bukti_tests::folder::Made;
use bukti_tests::wire::{Line, Traffic};

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

/// A session over a socket.
pub(crate) struct Wire {
    line: Line,
    /// The cursor that came last.
    pub(crate) cursor: Option<Vec<u8>>,
}

/// How long a listener waits at a time.
const LISTENING: Duration = Duration::from_secs(3_600);

/// Tokens of this program hold until the year 2100.
const TOKEN_UNTIL: i64 = 4_102_444_800_000;

impl Wire {
    /// Opens a session on a token that holds.
    pub(crate) async fn open(address: &Address, phone: &Phone, cursor: Option<Vec<u8>>) -> Self {
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
        Self {
            line: Line::open(address.socket, opening, Vec::new()).await,
            cursor: None,
        }
    }

    /// Pushes runs, in order.
    pub(crate) async fn offer(&mut self, runs: impl IntoIterator<Item = &CheckedRun>) {
        let runs = runs
            .into_iter()
            .map(|run| (run.id(), run.run().to_bytes()).into())
            .collect();
        self.line.give(Input::Offer(runs)).await;
    }

    /// What went over the socket.
    pub(crate) fn traffic(&self) -> Traffic {
        self.line.traffic()
    }

    /// The next thing that happens; pages and positions count as stored at once.
    ///
    /// # Panics
    /// If the server ends the session.
    pub(crate) async fn next(&mut self) -> Event {
        let event = self.line.next().await;
        let event = event.expect("the server keeps the connection");
        self.store(&event).await;
        event
    }

    /// The same, or nothing if nothing happens until `deadline`.
    ///
    /// # Panics
    /// As [`Wire::next`].
    pub(crate) async fn next_until(&mut self, deadline: tokio::time::Instant) -> Option<Event> {
        let event = self.line.next_until(deadline).await;
        assert!(
            !self.line.is_closed() || event.is_some(),
            "the server keeps the connection"
        );
        let event = event?;
        self.store(&event).await;
        Some(event)
    }

    /// Takes in whatever comes, for as long as the task lives.
    pub(crate) async fn listen(mut self) {
        loop {
            let later = tokio::time::Instant::now() + LISTENING;
            self.next_until(later).await;
        }
    }

    async fn store(&mut self, event: &Event) {
        match event {
            Event::Page { cursor, .. } | Event::UpToDate { cursor, .. } => {
                self.cursor = Some(cursor.clone());
                self.line.give(Input::Applied).await;
            }
            Event::Bye(bye) => panic!("the server ended the session: {bye}"),
            Event::Stale { highest } => panic!("the server holds up to {highest:?}"),
            _ => {}
        }
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
}
