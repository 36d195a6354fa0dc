//! The server's side of a session.
//!
//! [`ServerSession::handle`] takes in what happened, [`ServerSession::poll`] gives out what to do
//! until it gives `None`; outputs are performed in the order given. Nothing is said to be accepted
//! before [`Input::Judged`] says so, and the driver gives that only once the journal has it.
//!
//! Pages of the feed are read when they can be sent, so a session that waits holds no page, and a
//! peer that is hostile finds every queue bounded by what it was granted.

use std::collections::VecDeque;

use bukti_core::hash::{domain, signing_bytes};
use bukti_core::id::{DeviceId, ServerId};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::ledger::{DeviceRow, EnrolRefusal, Enrolled, Outcome, ReadError, Reader};
use bukti_core::record::Signed;
use ed25519_dalek::{Signature, VerifyingKey};

use self::end::End;
pub(crate) use self::end::is_damage;
pub use self::exchange::{Cx, Input, Output};
use self::live::Live;
use crate::Mono;
use crate::bye::{Bye, ByeCode, sentence};
use crate::credit::{Rate, Window};
use crate::fragment::{Assembler, PartialItem, Shelf};
use crate::frame::{
    self, Challenge, Enrol, Features, Frame, Hello, Limits, Numbered, Proof, Stale, Welcome,
    decode, encode,
};
use crate::limits;
use crate::room::Seat;

mod comparing;
mod end;
mod exchange;
mod findings;
mod inflating;
mod live;
mod outbound;

#[derive(Debug)]
enum Phase {
    /// Waits for `hello`, or for `enrol` if there was none.
    First {
        until: Mono,
        enrolled: bool,
    },
    /// Waits for the journal to hold the certificate.
    Enrolling {
        until: Mono,
    },
    /// Waits for `proof`.
    Challenged {
        until: Mono,
        hello: Box<Hello>,
    },
    /// Waits for the journal to hold the certificate of a device that it may not have known.
    Readmitting {
        until: Mono,
        hello: Box<Hello>,
    },
    /// Waits for what earlier sessions left.
    Bound {
        hello: Box<Hello>,
    },
    /// Pushes and feeds.
    Live(Box<Live>),
    /// Said that the device's store is stale; hears nothing more.
    Stale {
        until: Mono,
    },
    Closed,
}

/// One session, from accepting a connection to its end.
#[derive(Debug)]
pub struct ServerSession {
    nonce: [u8; 32],
    phase: Phase,
    outputs: VecDeque<Output>,
    rate: Rate,
    window: Window,
    frames_before_welcome: u32,
    shelf: Shelf,
    /// The device was let in by its certificate: its flight is dropped and comes again.
    readmitted: bool,
    /// Room for large items, until the session is live.
    seat: Seat,
    /// What was given out last is to be sent; whoever asks for more has sent it.
    sending: bool,
}

impl ServerSession {
    /// Begins a session over a connection that was accepted at `now`. The nonce is drawn for this
    /// session alone.
    pub fn new(nonce: [u8; 32], now: Mono) -> Self {
        let until = now.saturating_add(limits::FIRST_FRAME_MS);
        Self {
            nonce,
            phase: Phase::First {
                until,
                enrolled: false,
            },
            outputs: VecDeque::new(),
            rate: Rate::new(now),
            window: Window::new(limits::FLIGHT_BYTES),
            frames_before_welcome: 0,
            readmitted: false,
            seat: Seat::default(),
            sending: false,
            shelf: Shelf::new(Assembler::new(
                limits::STATEMENT_ITEM_BYTES_MAX,
                limits::PARTIAL_BYTES_SERVER,
            )),
        }
    }

    /// Shares room for large items with other sessions. Poll it again when the seat's waker is woken.
    #[must_use]
    pub fn seated(mut self, seat: Seat) -> Self {
        self.seat = seat;
        self
    }

    /// Takes in what happened.
    pub fn handle<S: Storage, K: Kv>(&mut self, cx: &Cx<'_, S, K>, input: Input<'_>) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        let done = match input {
            Input::Frame(bytes) => self.frame(cx, bytes),
            Input::Held(items) => {
                self.welcome(cx, items);
                Ok(())
            }
            Input::Judged(outcomes) => {
                self.judged(cx, outcomes);
                Ok(())
            }
            Input::Enrolled(result) => self.enrolled(cx, result),
            Input::TakenBack(left) => match &mut self.phase {
                Phase::Live(live) => {
                    let done =
                        live.taken_back(cx.reader, left, &mut self.window, &mut self.outputs);
                    live.heard(cx.now);
                    done.or_else(|end| live.bear(cx.now, end))
                }
                Phase::First { .. }
                | Phase::Enrolling { .. }
                | Phase::Challenged { .. }
                | Phase::Readmitting { .. }
                | Phase::Bound { .. }
                | Phase::Stale { .. }
                | Phase::Closed => Ok(()),
            },
            Input::Advanced => self.advanced(cx),
            Input::Revoked => self.to_be_revoked(cx),
            Input::Shutdown => Err(Bye::new(ByeCode::Shutdown, "The server stops.").into()),
            Input::End(bye) => Err(bye.into()),
            Input::Unqueued(bye) => {
                self.submit_nothing();
                Err(bye.into())
            }
            Input::Tick => self.tick(cx.now),
            Input::Disconnected => {
                self.phase = Phase::Closed;
                self.outputs.clear();
                Ok(())
            }
        };
        match done {
            Ok(()) => self.give_credit(),
            Err(end) => self.end(end),
        }
    }

    /// Whether taking in a frame means a walk over all that a subscription holds, which can take a
    /// second: the driver sees to it that nobody else waits for that.
    pub fn walks<S: Storage, K: Kv>(&self, cx: &Cx<'_, S, K>, frame: &[u8]) -> bool {
        let Phase::Live(live) = &self.phase else {
            return false;
        };
        frame::kind_of(frame) == Some(frame::RECONCILE)
            && matches!(decode(frame), Ok(Some(Frame::Reconcile(asked)))
                if live.walks(cx.reader, &asked))
    }

    /// Gives out what to do next, until there is nothing.
    pub fn poll<S: Storage, K: Kv>(&mut self, cx: &Cx<'_, S, K>) -> Option<Output> {
        if std::mem::take(&mut self.sending)
            && let Phase::Live(live) = &mut self.phase
        {
            live.took(cx.now);
        }
        let output = self.next_output(cx);
        self.sending = matches!(output, Some(Output::Send(_)));
        output
    }

    fn next_output<S: Storage, K: Kv>(&mut self, cx: &Cx<'_, S, K>) -> Option<Output> {
        // While there is always more to send, nobody has time to hand in a tick.
        if matches!(self.phase, Phase::Live(_))
            && let Err(end) = self.tick(cx.now)
        {
            self.end(end);
        }
        if self.outputs.is_empty()
            && let Phase::Live(live) = &mut self.phase
        {
            match live.next_frame(cx.reader, cx.now) {
                Ok(Some(bytes)) => return Some(Output::Send(bytes)),
                Ok(None) if live.may_be_put_off() => {
                    let sentence =
                        "The server's disk is full; what was sent is kept on this device.";
                    let bye =
                        Bye::new(ByeCode::Full, sentence).retry_after(limits::REPAIR_RETRY_MS);
                    self.end(bye.into());
                }
                Ok(None) => {}
                Err(end) => self.end(end),
            }
        }
        self.outputs.pop_front()
    }

    /// When to send [`Input::Tick`].
    pub fn deadline(&self) -> Option<Mono> {
        match &self.phase {
            Phase::First { until, .. }
            | Phase::Enrolling { until }
            | Phase::Challenged { until, .. }
            | Phase::Readmitting { until, .. }
            | Phase::Stale { until } => Some(*until),
            Phase::Live(live) => live.deadline(),
            Phase::Bound { .. } | Phase::Closed => None,
        }
    }

    /// Unfinished items of the device, for its next session: that may begin before this one is known
    /// to be over. Keep what is left in a store that is bounded, since devices may never come back.
    pub fn shelf(&self) -> Shelf {
        self.shelf.clone()
    }

    fn frame<S: Storage, K: Kv>(&mut self, cx: &Cx<'_, S, K>, bytes: &[u8]) -> Result<(), End> {
        let frame = decode(bytes).map_err(|error| Bye::from(&error))?;
        self.count(cx.now, frame.as_ref(), bytes.len())?;
        let Some(frame) = frame else {
            return Ok(());
        };
        if let Frame::Bye(bye) = frame {
            self.outputs.push_back(Output::Close(bye));
            self.phase = Phase::Closed;
            return Ok(());
        }
        if matches!(self.phase, Phase::Bound { .. }) {
            self.welcome(cx, Vec::new());
        }
        // The phases that the frame moves on are taken out; all others stay.
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::First { enrolled, .. } => match frame {
                Frame::Hello(hello) => self.hello(cx, hello),
                Frame::Enrol(enrol) if !enrolled => self.enrol(cx, &enrol),
                other => Err(out_of_place(&other).into()),
            },
            Phase::Challenged { until, hello } => match frame {
                Frame::Proof(proof) => self.proof(cx, *hello, &proof),
                // What else was in the flight of `hello` is dropped and sent again.
                Frame::Subscribe(_) | Frame::Push(_) | Frame::Fragment(_) => {
                    self.phase = Phase::Challenged { until, hello };
                    Ok(())
                }
                other => Err(out_of_place(&other).into()),
            },
            Phase::Readmitting { until, hello } => match frame {
                // Comes again behind the device's statements.
                Frame::Subscribe(_) | Frame::Push(_) | Frame::Fragment(_) => {
                    self.phase = Phase::Readmitting { until, hello };
                    Ok(())
                }
                other => Err(out_of_place(&other).into()),
            },
            Phase::Live(mut live) => {
                let done = live.frame(
                    cx.reader,
                    frame,
                    bytes.len(),
                    &mut self.shelf.lock(),
                    &mut self.window,
                    &mut self.outputs,
                );
                live.heard(cx.now);
                let done = done.or_else(|end| live.bear(cx.now, end));
                self.phase = Phase::Live(live);
                done
            }
            Phase::Stale { until } => {
                self.phase = Phase::Stale { until };
                Ok(())
            }
            Phase::Enrolling { .. } | Phase::Bound { .. } | Phase::Closed => {
                Err(out_of_place(&frame).into())
            }
        }
    }

    /// Holds the peer to what it may send: bytes by credit, other frames by rate.
    fn count(&mut self, now: Mono, frame: Option<&Frame>, bytes: usize) -> Result<(), Bye> {
        if frame.is_some_and(Frame::needs_credit) {
            let received = self.window.receive(bytes);
            received.map_err(|error| Bye::new(ByeCode::Credit, sentence(&error)))?;
        }
        // Credit worth a frame is bounded by what the session has sent.
        let worth = matches!(frame, Some(Frame::Credit(credit))
            if credit.bytes >= limits::FRAME_BYTES_MAX as u64);
        let answered = match (&self.phase, frame) {
            (Phase::Live(live), Some(frame)) => live.answers_soon(frame),
            _before => false,
        };
        if !worth && !answered && !frame.is_some_and(Frame::needs_credit) {
            let counted = self.rate.count(now);
            counted.map_err(|error| Bye::new(ByeCode::Flood, sentence(&error)))?;
        }
        if !matches!(self.phase, Phase::Live(_)) {
            self.frames_before_welcome += 1;
            if self.frames_before_welcome > limits::FRAMES_BEFORE_WELCOME_MAX {
                let sentence = "Too many frames were sent before the session opened.";
                return Err(Bye::new(ByeCode::Flood, sentence));
            }
        }
        Ok(())
    }

    fn hello<S: Storage, K: Kv>(&mut self, cx: &Cx<'_, S, K>, hello: Hello) -> Result<(), End> {
        if hello.version < limits::VERSION {
            let sentence = format!(
                "This server speaks version {}, the device version {}.",
                limits::VERSION,
                hello.version
            );
            return Err(Bye::new(ByeCode::Version, sentence).into());
        }
        let token = hello
            .token
            .as_ref()
            .map(|token| cx.token_key.check(token, cx.wall));
        // A device that is not known here may hold a certificate, which goes with the proof.
        if token == Some(Ok(hello.device)) && cx.reader.device(&hello.device)?.is_some() {
            return self.bind(cx, hello);
        }
        let challenge = Challenge {
            nonce: self.nonce,
            journal: cx.reader.journal(),
            server: cx.reader.server(),
        };
        self.send(&challenge.into());
        let until = cx.now.saturating_add(limits::ANSWER_MS);
        self.phase = Phase::Challenged {
            until,
            hello: Box::new(hello),
        };
        Ok(())
    }

    fn proof<S: Storage, K: Kv>(
        &mut self,
        cx: &Cx<'_, S, K>,
        hello: Hello,
        proof: &Proof,
    ) -> Result<(), End> {
        let challenge = Challenge {
            nonce: self.nonce,
            journal: cx.reader.journal(),
            server: cx.reader.server(),
        };
        let message = signing_bytes(domain::CHALLENGE, &challenge.message());
        if proof.device != hello.device || !signed(&proof.device, &message, &proof.signature) {
            let sentence = "The proof does not hold.";
            return Err(Bye::new(ByeCode::Unauthorised, sentence).into());
        }
        self.window = Window::new(limits::FLIGHT_BYTES);
        let known = cx.reader.device(&hello.device)?;
        let moved = proof
            .journal
            .is_some_and(|journal| journal != challenge.journal);
        match &proof.certificate {
            Some(certificate) if known.is_none() || moved => {
                if Signed::open(certificate, &challenge.server).is_err() {
                    let sentence = "The device's certificate is not from this server.";
                    return Err(Bye::new(ByeCode::Unauthorised, sentence).into());
                }
                self.outputs.push_back(Output::Readmit {
                    device: hello.device,
                    certificate: certificate.to_vec(),
                });
                self.phase = Phase::Readmitting {
                    until: cx.now.saturating_add(limits::ANSWER_MS),
                    hello: Box::new(hello),
                };
                Ok(())
            }
            Some(_) | None => self.bind(cx, hello),
        }
    }

    /// Gives the session to a device that has shown who it is.
    fn bind<S: Storage, K: Kv>(&mut self, cx: &Cx<'_, S, K>, hello: Hello) -> Result<(), End> {
        in_standing(cx.reader, &hello.device)?;
        if let Some(highest) = stale(cx.reader, &hello)? {
            self.stale(cx.now, hello.device, highest);
            return Ok(());
        }
        self.outputs.push_back(Output::Bound(hello.device));
        self.phase = Phase::Bound {
            hello: Box::new(hello),
        };
        Ok(())
    }

    /// Says that the device's store is stale, and that nothing more of the flight is judged.
    fn stale(&mut self, now: Mono, device: DeviceId, highest: Numbered) {
        self.submit_nothing();
        let finding = findings::stale_store(device, highest);
        self.outputs.push_back(Output::Find(finding));
        self.send(&Stale { highest }.into());
        let until = now.saturating_add(limits::FIRST_FRAME_MS);
        self.phase = Phase::Stale { until };
    }

    fn submit_nothing(&mut self) {
        self.outputs
            .retain(|output| !matches!(output, Output::Submit(_)));
    }

    fn welcome<S: Storage, K: Kv>(&mut self, cx: &Cx<'_, S, K>, items: Vec<PartialItem>) {
        if !matches!(self.phase, Phase::Bound { .. }) {
            return;
        }
        let Phase::Bound { hello } = std::mem::replace(&mut self.phase, Phase::Closed) else {
            return;
        };
        // What an administrator did since the session was bound is news to nobody else.
        let row = match in_standing(cx.reader, &hello.device) {
            Ok(row) => row,
            Err(end) => return self.end(end),
        };
        let highest = match cx.reader.highest(&hello.device, &hello.incarnation) {
            Ok(highest) => highest,
            Err(error) => return self.end(error.into()),
        };
        self.shelf.lock().restore(items);
        let expires_at = cx.wall.saturating_add(limits::TOKEN_LIFE_MS);
        let confirmed = cx.reader.is_confirmed(&row);
        let welcome = Welcome {
            version: limits::VERSION,
            token: cx.token_key.issue(&hello.device, expires_at).into(),
            limits: Limits {
                run_bytes: bukti_core::limits::RUN_BYTES_MAX as u64,
                credit: limits::CREDIT_WINDOW,
            },
            server_time: cx.wall,
            checkpoint: cx.reader.watermark(),
            highest: highest.map(Into::into),
            credit: limits::CREDIT_WINDOW,
            held: self.shelf.lock().held(),
            features: Features::SERVER,
            unconfirmed: !confirmed,
        };
        self.outputs
            .push_back(Output::Send(encode(&welcome.into(), hello.features)));
        // What is left of the flight's allowance stays, since the flight may still be under way.
        self.window.widen(limits::CREDIT_WINDOW);
        let seat = std::mem::take(&mut self.seat);
        let live = Live::new(&hello, row, confirmed, self.readmitted, seat);
        self.phase = Phase::Live(Box::new(live));
    }

    fn enrol<S: Storage, K: Kv>(&mut self, cx: &Cx<'_, S, K>, enrol: &Enrol) -> Result<(), End> {
        let server: ServerId = cx.reader.server();
        let message = signing_bytes(domain::ENROLMENT, &Enrol::message(&enrol.secret, &server));
        if !signed(&enrol.device, &message, &enrol.signature) {
            let sentence = "The enrolment is not signed by the device that it names.";
            return Err(Bye::new(ByeCode::Unauthorised, sentence).into());
        }
        let (secret, device) = (enrol.secret, enrol.device);
        self.outputs.push_back(Output::Enrol { secret, device });
        let until = cx.now.saturating_add(limits::ANSWER_MS);
        self.phase = Phase::Enrolling { until };
        Ok(())
    }

    fn enrolled<S: Storage, K: Kv>(
        &mut self,
        cx: &Cx<'_, S, K>,
        result: Result<Enrolled, EnrolRefusal>,
    ) -> Result<(), End> {
        let readmits = matches!(self.phase, Phase::Readmitting { .. });
        if !readmits && !matches!(self.phase, Phase::Enrolling { .. }) {
            return Ok(());
        }
        let enrolled = match result {
            Ok(enrolled) => enrolled,
            Err(EnrolRefusal::Revoked) => return Err(self.revoked(cx)),
            Err(refusal) => return Err(refused(&refusal).into()),
        };
        let answer = frame::Enrolled {
            journal: enrolled.founding_record.into(),
            certificate: enrolled.certificate.into(),
        };
        self.send(&answer.into());
        let until = cx.now.saturating_add(limits::FIRST_FRAME_MS);
        let first = Phase::First {
            until,
            enrolled: true,
        };
        match std::mem::replace(&mut self.phase, first) {
            Phase::Readmitting { hello, .. } => {
                self.readmitted = true;
                self.bind(cx, *hello)
            }
            _enrolling => Ok(()),
        }
    }

    fn judged<S: Storage, K: Kv>(&mut self, cx: &Cx<'_, S, K>, outcomes: Vec<Outcome>) {
        let Phase::Live(live) = &mut self.phase else {
            return;
        };
        live.heard(cx.now);
        let device = live.device();
        match live.judged(outcomes, &mut self.window, &mut self.outputs) {
            live::Next::Go => {}
            live::Next::Stale(highest) => self.stale(cx.now, device, highest),
        }
    }

    /// Somebody meant to revoke the device; the journal may not have taken it.
    fn to_be_revoked<S: Storage, K: Kv>(&self, cx: &Cx<'_, S, K>) -> Result<(), End> {
        if let Some(device) = self.device()
            && let Some(row) = cx.reader.device(&device)?
            && row.revoked_at.is_none()
        {
            return Ok(());
        }
        Err(self.revoked(cx))
    }

    fn revoked<S: Storage, K: Kv>(&self, cx: &Cx<'_, S, K>) -> End {
        match self.device() {
            Some(device) => revoked(cx.reader, &device),
            None => Bye::revoked().into(),
        }
    }

    /// Whose session it is, once that is proven.
    fn device(&self) -> Option<DeviceId> {
        match &self.phase {
            Phase::Live(live) => Some(live.device()),
            Phase::Bound { hello, .. } | Phase::Readmitting { hello, .. } => Some(hello.device),
            Phase::First { .. }
            | Phase::Enrolling { .. }
            | Phase::Challenged { .. }
            | Phase::Stale { .. }
            | Phase::Closed => None,
        }
    }

    fn advanced<S: Storage, K: Kv>(&mut self, cx: &Cx<'_, S, K>) -> Result<(), End> {
        let Phase::Live(live) = &mut self.phase else {
            return Ok(());
        };
        let done = live.advanced(cx.reader);
        done.or_else(|end| live.bear(cx.now, end))
    }

    fn tick(&mut self, now: Mono) -> Result<(), End> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        match &mut self.phase {
            Phase::Stale { .. } => Err(Bye::done().into()),
            Phase::Enrolling { .. } | Phase::Readmitting { .. } => {
                let sentence = "The server could not enrol the device in time.";
                Err(Bye::new(ByeCode::Fault, sentence).into())
            }
            // It looks for room when it is polled.
            Phase::Live(live) if !live.is_late(now) => Ok(()),
            Phase::Live(live) => {
                let (bye, unread) = live.late();
                self.outputs.extend(unread.map(Output::Failed));
                Err(bye.into())
            }
            Phase::First { .. }
            | Phase::Challenged { .. }
            | Phase::Bound { .. }
            | Phase::Closed => {
                let sentence = "The device did not say what it wants in time.";
                Err(Bye::new(ByeCode::Timeout, sentence).into())
            }
        }
    }

    fn give_credit(&mut self) {
        let Phase::Live(live) = &self.phase else {
            return;
        };
        if !live.is_behind()
            && !live.is_full()
            && let Some(bytes) = self.window.grant()
        {
            self.send(&frame::Credit { bytes }.into());
        }
    }

    fn send(&mut self, frame: &Frame) {
        let peer = match &self.phase {
            Phase::Live(live) => live.peer(),
            Phase::First { .. }
            | Phase::Enrolling { .. }
            | Phase::Challenged { .. }
            | Phase::Readmitting { .. }
            | Phase::Bound { .. }
            | Phase::Stale { .. }
            | Phase::Closed => Features::NONE,
        };
        self.outputs.push_back(Output::Send(encode(frame, peer)));
    }

    fn end(&mut self, end: End) {
        let fault = || {
            let sentence =
                "The server has a fault; what it did not receive is kept on this device.";
            Bye::new(ByeCode::Fault, sentence)
        };
        let bye = match end {
            End::Bye(bye) => bye,
            End::Failed(reason) | End::Damaged(reason) => {
                self.outputs.push_back(Output::Failed(reason));
                fault()
            }
            End::Unsound { reason, error } => {
                self.outputs.push_back(Output::Unsound { reason, error });
                fault()
            }
        };
        self.send(&bye.clone().into());
        self.outputs.push_back(Output::Close(bye));
        self.phase = Phase::Closed;
    }
}

/// What is known of a device that is enrolled and was not revoked.
fn in_standing<S: Storage, K: Kv>(
    reader: &Reader<S, K>,
    device: &DeviceId,
) -> Result<DeviceRow, End> {
    let Some(row) = reader.device(device)? else {
        let sentence = "This device is not enrolled here.";
        return Err(Bye::new(ByeCode::Unauthorised, sentence).into());
    };
    match row.revoked_at {
        None => Ok(row),
        Some(_) => Err(revoked(reader, device)),
    }
}

/// Ends the session of a revoked device, with the statement that says so unless it is damaged.
fn revoked<S: Storage, K: Kv>(reader: &Reader<S, K>, device: &DeviceId) -> End {
    match reader.revocation(device) {
        Ok(statement) => Bye::revoked().vouched(statement).into(),
        Err(error) if is_damage(&error) => Bye::revoked().into(),
        Err(error) => error.into(),
    }
}

/// The highest envelope held, if `hello` shows that the device's store is older than it or another.
fn stale<S: Storage, K: Kv>(
    reader: &Reader<S, K>,
    hello: &Hello,
) -> Result<Option<Numbered>, ReadError> {
    let Some(highest) = reader.highest(&hello.device, &hello.incarnation)? else {
        return Ok(None);
    };
    let highest = Numbered::from(highest);
    let Some(last) = hello.last else {
        return Ok(Some(highest));
    };
    let same = last.number > highest.number || last == highest;
    Ok((!same).then_some(highest))
}

fn refused(refusal: &EnrolRefusal) -> Bye {
    let code = match refusal {
        EnrolRefusal::Unknown => ByeCode::InvitationUnknown,
        EnrolRefusal::Used => ByeCode::InvitationUsed,
        EnrolRefusal::Expired | EnrolRefusal::Void => ByeCode::InvitationExpired,
        EnrolRefusal::Certificate | EnrolRefusal::Taken => ByeCode::Unauthorised,
        EnrolRefusal::Revoked => ByeCode::Revoked,
        EnrolRefusal::Full => ByeCode::Full,
    };
    Bye::new(code, sentence(refusal))
}

fn signed(device: &DeviceId, message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(&device.0).is_ok_and(|key| {
        key.verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    })
}

fn out_of_place(frame: &Frame) -> Bye {
    Bye::malformed(format!(
        "The frame '{}' does not belong here.",
        frame.name()
    ))
}
