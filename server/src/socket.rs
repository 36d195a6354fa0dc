//! One WebSocket: the only place where a session's bytes, its clock and the ledger meet.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bukti_core::id::DeviceId;
use bukti_core::ledger::{EnrolError, EnrolRefusal, Enrolled, Outcome, Subscription};
use bukti_sync_protocol::bye::{Bye, ByeCode};
use bukti_sync_protocol::server::{Input, Output, ServerSession};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::app::App;
use crate::clock::mono_now;
use crate::folder::random;
use crate::sessions::Place;

/// How long a peer may take to read one frame: 4 KiB at 50 kbit/s take 0.7 s, and a link may stall
/// for a while without being cut.
const SEND_MAX: Duration = Duration::from_secs(60);

/// Drives a session until either side ends it.
pub async fn drive(mut socket: WebSocket, place: Place, app: Arc<App>) {
    let nonce = match random() {
        Ok(nonce) => nonce,
        Err(error) => {
            tracing::error!(%error, "no random bytes for a session");
            return;
        }
    };
    let mut connection = Connection::new(place, nonce, app.clone());
    let bye = connection.run(&mut socket).await;
    connection.session.handle(&app.cx(), Input::Disconnected);
    if let Some(device) = connection.device {
        app.partials
            .keep(device, connection.session.take_partials());
    }
    if let Some(bye) = bye {
        tracing::debug!(
            session = connection.place.id.0,
            code = bye.code.as_str(),
            "session ended"
        );
        let frame = CloseFrame {
            code: bye.code.close_code(),
            reason: bye.code.as_str().to_owned().into(),
        };
        // The peer may be gone already.
        let _ = timeout(SEND_MAX, socket.send(Message::Close(Some(frame)))).await;
    }
}

struct Connection {
    session: ServerSession,
    device: Option<DeviceId>,
    place: Place,
    app: Arc<App>,
    enrolled: mpsc::Receiver<Result<Enrolled, EnrolRefusal>>,
    enrolling: mpsc::Sender<Result<Enrolled, EnrolRefusal>>,
    heard_at: Instant,
}

/// Why a connection ends without a word to the peer.
struct Gone;

enum Happened {
    Message(Option<Result<Message, axum::Error>>),
    Outcomes(Option<Vec<Outcome>>),
    Enrolled(Option<Result<Enrolled, EnrolRefusal>>),
    Woken,
    Ping,
    Deadline,
    Shutdown,
}

impl Connection {
    fn new(place: Place, nonce: [u8; 32], app: Arc<App>) -> Self {
        let (enrolling, enrolled) = mpsc::channel(1);
        Self {
            session: ServerSession::new(nonce, mono_now()),
            device: None,
            place,
            app,
            enrolled,
            enrolling,
            heard_at: Instant::now(),
        }
    }

    async fn run(&mut self, socket: &mut WebSocket) -> Option<Bye> {
        let mut pings = interval(self.app.config.ping_interval());
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        loop {
            match self.perform(socket).await {
                Ok(None) => {}
                Ok(Some(bye)) => return Some(bye),
                Err(Gone) => return None,
            }
            let happened = self.wait(socket, &mut pings).await;
            if let Err(Gone) = self.take_in(socket, happened).await {
                return None;
            }
        }
    }

    /// Performs the session's outputs in the order given.
    async fn perform(&mut self, socket: &mut WebSocket) -> Result<Option<Bye>, Gone> {
        while let Some(output) = self.session.poll(&self.app.cx()) {
            match output {
                Output::Send(bytes) => self.send(socket, bytes).await?,
                Output::Submit(runs) => {
                    if self.app.accepting.submit(self.place.id, runs).is_err() {
                        return Ok(Some(Bye::new(ByeCode::Shutdown, "The server is stopping.")));
                    }
                }
                Output::Enrol { secret, device } => self.enrol(secret, device),
                Output::Bound(device) => self.bind(device),
                Output::Failed(reason) => {
                    tracing::error!(session = self.place.id.0, %reason, "a session could not read");
                }
                Output::Close(bye) => return Ok(Some(bye)),
            }
        }
        Ok(None)
    }

    async fn send(&self, socket: &mut WebSocket, bytes: Vec<u8>) -> Result<(), Gone> {
        self.app.metrics.sent(bytes.len());
        match timeout(SEND_MAX, socket.send(Message::Binary(bytes.into()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    fn enrol(&self, secret: [u8; 16], device: DeviceId) {
        let (app, answer) = (self.app.clone(), self.enrolling.clone());
        self.app.tracker.spawn(async move {
            let asked = app
                .accepting
                .ask(move |ledger, now| ledger.enrol(now, &secret, device));
            let enrolled = match asked.await {
                Ok(Ok(enrolled)) => Ok(enrolled),
                Ok(Err(EnrolError::Refused(refusal))) => Err(refusal),
                // The server is ending: the connection closes, and the link still holds.
                Ok(Err(EnrolError::Ledger(_))) | Err(_) => return,
            };
            let _ = answer.send(enrolled).await;
        });
    }

    fn bind(&mut self, device: DeviceId) {
        self.device = Some(device);
        let row = self.app.accepting.reader().device(&device).ok().flatten();
        let prefixes = row
            .map(|row| Subscription::of(&row.grants))
            .unwrap_or_default()
            .into_iter()
            .map(|subscription| subscription.prefix)
            .collect();
        self.place
            .bind(device, prefixes, self.app.config.connections_per_device_max);
        let held = self.app.partials.take(device);
        self.session.handle(&self.app.cx(), Input::Held(held));
    }

    async fn wait(
        &mut self,
        socket: &mut WebSocket,
        pings: &mut tokio::time::Interval,
    ) -> Happened {
        let deadline = self.session.deadline().map(|deadline| {
            Instant::now() + Duration::from_millis(deadline.saturating_sub(mono_now()))
        });
        let deadline_passed = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.app.stopping.cancelled() => Happened::Shutdown,
            outcomes = self.place.outcomes.recv() => Happened::Outcomes(outcomes),
            () = self.place.signals.wake.notified() => Happened::Woken,
            enrolled = self.enrolled.recv() => Happened::Enrolled(enrolled),
            message = socket.recv() => Happened::Message(message),
            _ = pings.tick() => Happened::Ping,
            () = deadline_passed => Happened::Deadline,
        }
    }

    async fn take_in(&mut self, socket: &mut WebSocket, happened: Happened) -> Result<(), Gone> {
        let cx = self.app.cx();
        match happened {
            Happened::Message(Some(Ok(message))) => {
                self.heard_at = Instant::now();
                return self.message(message);
            }
            Happened::Message(Some(Err(_)) | None) => return Err(Gone),
            Happened::Outcomes(Some(outcomes)) => self.session.handle(&cx, Input::Judged(outcomes)),
            Happened::Enrolled(Some(enrolled)) => {
                self.session.handle(&cx, Input::Enrolled(enrolled))
            }
            Happened::Outcomes(None) | Happened::Enrolled(None) => return Err(Gone),
            Happened::Woken => self.woken(),
            Happened::Ping => {
                if self.heard_at.elapsed() > 2 * self.app.config.ping_interval() {
                    return Err(Gone);
                }
                let ping = socket.send(Message::Ping(Vec::new().into()));
                if !matches!(timeout(SEND_MAX, ping).await, Ok(Ok(()))) {
                    return Err(Gone);
                }
            }
            Happened::Deadline => self.session.handle(&cx, Input::Tick),
            Happened::Shutdown => self.session.handle(&cx, Input::Shutdown),
        }
        Ok(())
    }

    fn message(&mut self, message: Message) -> Result<(), Gone> {
        let cx = self.app.cx();
        match message {
            Message::Binary(bytes) => {
                self.app.metrics.received(bytes.len());
                self.session.handle(&cx, Input::Frame(&bytes));
                Ok(())
            }
            Message::Text(text) => {
                // Text is no frame of this protocol; the session says so in its own words.
                self.session.handle(&cx, Input::Frame(text.as_bytes()));
                Ok(())
            }
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Close(_) => Err(Gone),
        }
    }

    fn woken(&mut self) {
        let cx = self.app.cx();
        let signals = self.place.signals.clone();
        if signals.revoked() {
            self.session.handle(&cx, Input::Revoked);
        } else if signals.replaced() {
            let sentence = "Newer connections of this device took its place.";
            self.session
                .handle(&cx, Input::End(Bye::new(ByeCode::Busy, sentence)));
        } else if signals.take_advanced() {
            self.session.handle(&cx, Input::Advanced);
        }
    }
}
