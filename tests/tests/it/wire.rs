//! The protocol over a real WebSocket, in the test's own hands.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bukti_core::id::{ChangeHash, JournalId, Position, RunId, ServerId};
use bukti_sync_protocol::bye::Bye;
use bukti_sync_protocol::client::{ClientSession, Event, Input, Opening, Output};
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
pub(crate) enum Heard {
    Frame(Vec<u8>),
    /// With the close code, if it gave one.
    Closed(Option<u16>),
}

/// One connection.
pub(crate) struct Wire(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Wire {
    pub(crate) async fn open(server: SocketAddr) -> Self {
        let (socket, _) = connect_async(format!("ws://{server}/v1/sync"))
            .await
            .unwrap();
        Self(socket)
    }

    pub(crate) async fn send(&mut self, bytes: Vec<u8>) {
        self.send_message(Message::Binary(bytes.into())).await;
    }

    /// The server may have closed already: what it said shows when it is heard.
    pub(crate) async fn send_message(&mut self, message: Message) {
        let _ = self.0.send(message).await;
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        let heard = async {
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
        };
        timeout(PATIENCE, heard).await.expect("the server answers")
    }

    /// Enrols `key` with an invitation.
    pub(crate) async fn enrol(
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
pub(crate) struct Enrolled {
    pub(crate) server: ServerId,
    pub(crate) id: JournalId,
    pub(crate) journal: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
}

/// What became of the runs of one session.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) accepted: BTreeMap<RunId, Position>,
    pub(crate) missing: BTreeMap<RunId, Vec<ChangeHash>>,
    pub(crate) rejected: BTreeMap<RunId, (String, String)>,
    pub(crate) stale: bool,
    pub(crate) bye: Option<Bye>,
}

/// Pushes `runs` in one session and waits until each has its answer.
pub(crate) async fn push(
    server: SocketAddr,
    opening: Opening,
    runs: Vec<(RunId, Vec<u8>)>,
) -> Answers {
    let wanted = runs.len();
    let mut answers = Answers::default();
    let mut session = ClientSession::new(opening, 0);
    session.handle(0, Input::Offer(runs.into_iter().map(Into::into).collect()));
    let mut wire = Wire::open(server).await;
    loop {
        while let Some(output) = session.poll() {
            match output {
                Output::Send(bytes) => wire.send(bytes).await,
                Output::Event(event) => {
                    if answers.take(event) {
                        session.handle(0, Input::Applied);
                    }
                }
                Output::Close => return answers,
            }
        }
        if answers.accepted.len() + answers.missing.len() + answers.rejected.len() == wanted {
            session.handle(0, Input::Close);
            continue;
        }
        match wire.hear().await {
            Heard::Frame(bytes) => session.handle(0, Input::Frame(&bytes)),
            Heard::Closed(code) => panic!("closed with {code:?} after {answers:?}"),
        }
    }
}

impl Answers {
    /// Takes note; true if the session waits to hear that the event was applied.
    fn take(&mut self, event: Event) -> bool {
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
            | Event::StatementsHeld
            | Event::Readmitted { .. }
            | Event::Differs { .. }
            | Event::LeftScope(_)
            | Event::Progress { .. } => {}
        }
        false
    }
}
