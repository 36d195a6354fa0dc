//! One WebSocket: the only place where a session's bytes, its clock and the ledger meet.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bukti_core::causes::with_causes;
use bukti_core::id::DeviceId;
use bukti_core::ledger::{
    EnrolError, EnrolRefusal, Enrolled, LedgerError, Left, Outcome, Subscription,
};
use bukti_core::record::{Finding, invitation_hash};
use bukti_sync_protocol::bye::{Bye, ByeCode};
use bukti_sync_protocol::credit::Rate;
use bukti_sync_protocol::fragment::merged;
use bukti_sync_protocol::limits;
use bukti_sync_protocol::room::Seat;
use bukti_sync_protocol::server::{Input, Output, ServerSession};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};

use crate::accepting::{Asker, Ledger, Unqueued};
use crate::app::App;
use crate::clock::mono_now;
use crate::folder::random;
use crate::linger::{is_read_on, linger};
use crate::pulse::{Beat, Pulse};
use crate::sessions::Place;

/// How long a peer may take to read one frame: 4 KiB at 50 kbit/s take 0.7 s, and a link may stall
/// for a while without being cut.
const SEND_MAX: Duration = Duration::from_secs(60);

/// How long a session waits for its turn to walk: a third of what a device waits for any answer, so that
/// it is still there when the walk is over.
const WALK_WAIT_MAX: Duration = Duration::from_millis(limits::ANSWER_MS / 3);

/// When a device that found the server crowded may come back.
const RETRY_MS: u64 = 5_000;

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
        app.partials.keep(device, connection.session.shelf().copy());
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
        let closed = timeout(SEND_MAX, socket.send(Message::Close(Some(frame)))).await;
        let is_bound = connection.device.is_some();
        if matches!(closed, Ok(Ok(()))) && is_read_on(is_bound, &bye.code) {
            linger(&mut socket, &connection.place.signals, &app).await;
        }
    }
}

struct Connection {
    session: ServerSession,
    device: Option<DeviceId>,
    place: Place,
    app: Arc<App>,
    answers: mpsc::Receiver<Answer>,
    asking: mpsc::Sender<Answer>,
    pings: Interval,
    pulse: Pulse,
    control_frames: Rate,
    /// Whether the session was told to end.
    ending: bool,
}

/// What the ledger answers to what a session asked of it besides judging runs.
enum Answer {
    /// What became of an enrolment; nothing if the ledger could not say.
    Enrolled(Option<Result<Enrolled, EnrolRefusal>>),
    /// What was left of statements that were given back; nothing if the ledger could not say.
    TakenBack(Option<Option<Left>>),
    /// It was not asked.
    NotAsked(Unqueued),
}

/// What a device is told whose session could not ask the ledger.
fn not_asked(why: Unqueued) -> Bye {
    let code = match why {
        Unqueued::Closed => ByeCode::Shutdown,
        Unqueued::Crowded | Unqueued::Ahead => ByeCode::Busy,
    };
    Bye::new(code, format!("{why}.")).retry_after(RETRY_MS)
}

/// Why a connection ends without a word to the peer.
struct Gone;

enum Happened {
    Message(Option<Result<Message, axum::Error>>),
    Outcomes(Option<Vec<Outcome>>),
    Answered(Option<Answer>),
    Woken,
    Ping,
    Silent,
    Deadline,
}

impl Connection {
    fn new(place: Place, nonce: [u8; 32], app: Arc<App>) -> Self {
        let (asking, answers) = mpsc::channel(1);
        let seat = Seat::new(app.room.clone(), Waker::from(place.signals.clone()));
        let session = ServerSession::new(nonce, mono_now()).seated(seat);
        place.lend(session.shelf());
        let mut pings = interval(app.config.ping_interval());
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        Self {
            session,
            device: None,
            place,
            app,
            answers,
            asking,
            pings,
            pulse: Pulse::default(),
            control_frames: Rate::new(mono_now()),
            ending: false,
        }
    }

    async fn run(&mut self, socket: &mut WebSocket) -> Option<Bye> {
        loop {
            // One output at a time: a peer that reads slowly must not put off its own revocation,
            // the outcomes of its runs or the server's end.
            self.notice();
            let done = match self.session.poll(&self.app.cx()) {
                Some(output) => self.perform(socket, output).await,
                None => {
                    let happened = self.wait(socket).await;
                    self.take_in(socket, happened).await.map(|()| None)
                }
            };
            match done {
                Ok(None) => {}
                Ok(Some(bye)) => return Some(bye),
                Err(Gone) => return None,
            }
        }
    }

    /// Tells the session what was raised for it, whether or not it was woken.
    fn notice(&mut self) {
        let signals = self.place.signals.clone();
        if !self.ending && (self.app.stopping.is_cancelled() || signals.ended()) {
            self.ending = true;
            let input = if signals.revoked() {
                Input::Revoked
            } else if signals.replaced() {
                let sentence = "Newer connections took this one's place.";
                Input::End(Bye::new(ByeCode::Busy, sentence))
            } else {
                Input::Shutdown
            };
            self.session.handle(&self.app.cx(), input);
        }
        if signals.take_facts() {
            self.read_prefixes();
        }
        if signals.take_advanced() {
            self.session.handle(&self.app.cx(), Input::Advanced);
        }
        while let Ok(outcomes) = self.place.outcomes.try_recv() {
            self.session.handle(&self.app.cx(), Input::Judged(outcomes));
        }
    }

    async fn perform(
        &mut self,
        socket: &mut WebSocket,
        output: Output,
    ) -> Result<Option<Bye>, Gone> {
        match output {
            Output::Send(bytes) => self.send(socket, bytes).await?,
            Output::Submit(runs) => {
                if let Err(refused) = self.app.accepting.submit(self.place.id, runs) {
                    let input = Input::Unqueued(not_asked(refused));
                    self.session.handle(&self.app.cx(), input);
                }
            }
            Output::Enrol { secret, device } => self.enrol(secret, device),
            Output::Readmit {
                device,
                certificate,
            } => self.readmit(device, certificate),
            Output::TakeBack {
                carrier,
                statements,
            } => self.take_back(carrier, statements),
            Output::Find(finding) => self.find(finding),
            Output::Bound(device) => self.bind(device),
            Output::Failed(reason) => {
                tracing::error!(session = self.place.id.0, %reason, "a session could not read");
            }
            Output::Unsound { reason, error } => {
                tracing::error!(session = self.place.id.0, %reason, "a session could not read");
                self.app.accepting.end_over(error);
            }
            Output::Close(bye) => return Ok(Some(bye)),
        }
        Ok(None)
    }

    /// Sends one frame. A peer that does not read it is left when its session has ended.
    async fn send(&mut self, socket: &mut WebSocket, bytes: Vec<u8>) -> Result<(), Gone> {
        self.app.metrics.sent(bytes.len());
        let sending = timeout(SEND_MAX, socket.send(Message::Binary(bytes.into())));
        tokio::pin!(sending);
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => return match sent {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) | Err(_) => Err(Gone),
                },
                // What it was woken for stays raised until it is noticed.
                () = self.place.signals.wake.notified() => {
                    if !self.ending && self.place.signals.ended() {
                        return Err(Gone);
                    }
                }
            }
        }
    }

    fn enrol(&self, secret: [u8; 16], device: DeviceId) {
        let (app, answer) = (self.app.clone(), self.asking.clone());
        self.app.tracker.spawn(async move {
            let enrolled = match app.accepting.reader().invitation(&invitation_hash(&secret)) {
                // A guess costs the guesser's session one look-up, and nobody else anything.
                Ok(None) => Some(Err(EnrolRefusal::Unknown)),
                Ok(Some(_)) => {
                    let enrol = move |ledger: &mut Ledger, now| ledger.enrol(now, &secret, device);
                    match app.accepting.ask(Asker::Session, enrol).await {
                        Ok(Ok(enrolled)) => Some(Ok(enrolled)),
                        Ok(Err(EnrolError::Refused(refusal))) => Some(Err(refusal)),
                        Ok(Err(EnrolError::Ledger(error))) => {
                            tracing::error!(error = %with_causes(&error), "a device was not enrolled");
                            None
                        }
                        Err(why) => {
                            let _ = answer.send(Answer::NotAsked(why)).await;
                            return;
                        }
                    }
                }
                Err(error) => {
                    tracing::error!(error = %with_causes(&error), "an invitation cannot be read");
                    app.accepting.end_over(error);
                    None
                }
            };
            let _ = answer.send(Answer::Enrolled(enrolled)).await;
        });
    }

    fn readmit(&self, device: DeviceId, certificate: Vec<u8>) {
        let (app, answer) = (self.app.clone(), self.asking.clone());
        self.app.tracker.spawn(async move {
            let readmit = move |ledger: &mut Ledger, now| {
                let certified = ledger.readmit(now, device, &certificate)?;
                let reader = ledger.reader();
                let row = reader.device(&device);
                let waits = matches!(row, Ok(Some(row)) if !reader.is_confirmed(&row));
                Ok::<_, LedgerError>((certified, waits))
            };
            let certified = match app.accepting.ask(Asker::Session, readmit).await {
                Ok(Ok((certified, waits))) => {
                    if certified.is_ok() && waits {
                        tracing::warn!(
                            %device,
                            "a device was let in again whose record was lost; it receives nothing \
                             until 'bukti-server confirm'"
                        );
                    }
                    Some(certified)
                }
                Ok(Err(error)) => {
                    tracing::error!(error = %with_causes(&error), "a device was not let in again");
                    None
                }
                Err(why) => {
                    let _ = answer.send(Answer::NotAsked(why)).await;
                    return;
                }
            };
            let _ = answer.send(Answer::Enrolled(certified)).await;
        });
    }

    fn take_back(&self, carrier: DeviceId, statements: Vec<Vec<u8>>) {
        let (app, answer) = (self.app.clone(), self.asking.clone());
        self.app.tracker.spawn(async move {
            let take = move |ledger: &mut Ledger, now| ledger.take_back(now, carrier, statements);
            let taken = match app.accepting.ask(Asker::Session, take).await {
                Ok(Ok(taken)) => {
                    if taken.news > 0 {
                        let taken = taken.news;
                        tracing::warn!(%carrier, taken, "statements that were lost came back");
                    }
                    Some(taken.left)
                }
                Ok(Err(error)) => {
                    tracing::error!(error = %with_causes(&error), "statements were not taken back");
                    None
                }
                Err(why) => {
                    let _ = answer.send(Answer::NotAsked(why)).await;
                    return;
                }
            };
            let _ = answer.send(Answer::TakenBack(taken)).await;
        });
    }

    fn find(&self, finding: Finding) {
        let app = self.app.clone();
        self.app.tracker.spawn(async move {
            let (code, sentence) = (finding.code.clone(), finding.sentence.clone());
            let find = move |ledger: &mut Ledger, now| ledger.find(now, finding);
            match app.accepting.ask(Asker::Session, find).await {
                Ok(Ok(Some(_))) => tracing::warn!(%code, "{sentence}"),
                // It is known, or a full disk took nothing, which the log has from the disk's own side.
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    tracing::error!(error = %with_causes(&error), "a finding was not kept");
                }
                Err(why) => tracing::error!(%why, "a finding was not kept"),
            }
        });
    }

    fn bind(&mut self, device: DeviceId) {
        self.device = Some(device);
        self.read_prefixes();
        let beside = self.place.held_beside(device);
        let held = merged(self.app.partials.take(device), beside);
        self.session.handle(&self.app.cx(), Input::Held(held));
    }

    /// Has the session woken for what its device may read at present.
    fn read_prefixes(&mut self) {
        let Some(device) = self.device else { return };
        let row = self.app.accepting.reader().device(&device).ok().flatten();
        // A revocation may have come between the session's own look and its place in the table.
        if row.as_ref().is_some_and(|row| row.revoked_at.is_some()) && !self.ending {
            self.ending = true;
            self.session.handle(&self.app.cx(), Input::Revoked);
        }
        let prefixes = row
            .map(|row| {
                let placements = self.app.accepting.reader().placements();
                Subscription::of(&row.grants, &placements)
            })
            .unwrap_or_default()
            .into_iter()
            .map(|subscription| subscription.prefix)
            .collect();
        self.place
            .bind(device, prefixes, self.app.config.connections_per_device_max);
    }

    async fn wait(&mut self, socket: &mut WebSocket) -> Happened {
        let deadline = self.session.deadline().map(|deadline| {
            Instant::now() + Duration::from_millis(deadline.saturating_sub(mono_now()))
        });
        let deadline_passed = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let pings = &mut self.pings;
        let tick = async {
            pings.tick().await;
        };
        tokio::select! {
            biased;
            () = self.app.stopping.cancelled(), if !self.ending => Happened::Woken,
            () = self.place.signals.wake.notified() => Happened::Woken,
            outcomes = self.place.outcomes.recv() => Happened::Outcomes(outcomes),
            answer = self.answers.recv() => Happened::Answered(answer),
            // Before messages, so that a peer that never pauses cannot put them off.
            () = deadline_passed => Happened::Deadline,
            beat = self.pulse.next(socket, tick) => match beat {
                Beat::Heard(message) => Happened::Message(message),
                Beat::Ping => Happened::Ping,
                Beat::Silent => Happened::Silent,
            }
        }
    }

    async fn take_in(&mut self, socket: &mut WebSocket, happened: Happened) -> Result<(), Gone> {
        let cx = self.app.cx();
        match happened {
            Happened::Message(Some(Ok(message))) => return self.message(message).await,
            Happened::Message(Some(Err(_)) | None) | Happened::Silent => return Err(Gone),
            Happened::Outcomes(Some(outcomes)) => self.session.handle(&cx, Input::Judged(outcomes)),
            Happened::Answered(Some(Answer::Enrolled(Some(enrolled)))) => {
                self.session.handle(&cx, Input::Enrolled(enrolled))
            }
            Happened::Answered(Some(Answer::TakenBack(Some(left)))) => {
                self.session.handle(&cx, Input::TakenBack(left))
            }
            Happened::Answered(Some(Answer::TakenBack(None))) => {
                let bye = Bye::new(ByeCode::Fault, "The server could not take statements back.");
                self.session.handle(&cx, Input::End(bye));
            }
            Happened::Answered(Some(Answer::Enrolled(None))) => {
                let bye = Bye::new(ByeCode::Fault, "The server could not enrol the device.");
                self.session.handle(&cx, Input::End(bye));
            }
            Happened::Answered(Some(Answer::NotAsked(why))) => {
                self.session.handle(&cx, Input::End(not_asked(why)));
            }
            Happened::Outcomes(None) | Happened::Answered(None) => return Err(Gone),
            // The loop notices what was raised.
            Happened::Woken => {}
            Happened::Ping => {
                let ping = socket.send(Message::Ping(Vec::new().into()));
                if !matches!(timeout(SEND_MAX, ping).await, Ok(Ok(()))) {
                    return Err(Gone);
                }
                // However long that took, the peer has all the time to answer.
                self.pings.reset();
            }
            Happened::Deadline => self.session.handle(&cx, Input::Tick),
        }
        Ok(())
    }

    /// Takes in a frame that means a long walk, when it is this session's turn. Whatever ends the
    /// session goes first: the frame is dropped then. A device that would have waited too long comes
    /// again, so that nobody walks for one that has gone.
    async fn walk(&mut self, frame: &[u8]) {
        let (app, signals) = (self.app.clone(), self.place.signals.clone());
        let ended = async {
            // What it was woken for stays raised until it is noticed.
            while !signals.ended() {
                signals.wake.notified().await;
            }
        };
        let session = &mut self.session;
        let walk = || session.handle(&app.cx(), Input::Frame(frame));
        let walked = tokio::select! {
            biased;
            () = app.stopping.cancelled(), if !self.ending => Some(()),
            () = ended, if !self.ending => Some(()),
            walked = app.walks.walk(WALK_WAIT_MAX, walk) => walked,
        };
        if walked.is_none() {
            let sentence = "Many devices compare what they hold: come back soon.";
            let bye = Bye::new(ByeCode::Busy, sentence).retry_after(RETRY_MS);
            self.session.handle(&app.cx(), Input::End(bye));
        }
    }

    async fn message(&mut self, message: Message) -> Result<(), Gone> {
        let app = self.app.clone();
        let cx = app.cx();
        match message {
            Message::Binary(bytes) => {
                self.app.metrics.received(bytes.len());
                if self.session.walks(&cx, &bytes) {
                    self.walk(&bytes).await;
                } else {
                    self.session.handle(&cx, Input::Frame(&bytes));
                }
                Ok(())
            }
            Message::Text(_) => {
                let bye = Bye::new(ByeCode::Malformed, "A frame is a binary message, not text.");
                self.session.handle(&cx, Input::End(bye));
                Ok(())
            }
            Message::Ping(_) | Message::Pong(_) => {
                if self.control_frames.count(mono_now()).is_err() {
                    let bye = Bye::new(ByeCode::Flood, "Too many pings and pongs.");
                    self.session.handle(&cx, Input::End(bye));
                }
                Ok(())
            }
            Message::Close(_) => Err(Gone),
        }
    }
}
