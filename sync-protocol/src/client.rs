//! The device's side of a session.
//!
//! [`ClientSession::handle`] takes in what happened, [`ClientSession::poll`] gives out what to do
//! until it gives `None`; outputs are performed in the order given. The session sends only runs
//! that were offered to it, and the driver offers only runs whose bytes are durable.

use std::collections::VecDeque;

use bukti_core::hash::{domain, signing_bytes};
use bukti_core::id::{DeviceId, RunId};
use bukti_core::limits::GRANTS_MAX;
use ed25519_dalek::Signer;

use self::comparing::Comparing;
pub use self::inputs::{Event, Input, Opening, Output};
pub use self::pushes::Offer;
use self::pushes::Pushes;
use self::returning::Returning;
pub use self::returning::is_short;
use crate::Mono;
use crate::bye::{Bye, ByeCode, cut, sentence};
use crate::credit::{Allowance, Rate, Window};
use crate::deflate::unpack;
use crate::fragment::{Assembler, Held, ItemId, PartialItem};
use crate::frame::{
    Challenge, Credit, Features, Feed, Fragment, Frame, Hello, Proof, Reconcile, ScopeDigest,
    Subscribe, UpToDate, Welcome, decode, encode,
};
use crate::item::{FeedItem, Item};
use crate::limits;

mod comparing;
mod inputs;
mod pushes;
mod returning;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was sent.
    Fresh,
    /// `hello` is out.
    Greeting,
    /// `proof` is out.
    Proving,
    /// `welcome` is in.
    Live,
    Closed,
}

/// One session, from connecting to closing. Sessions are cheap: after a cut the driver makes
/// another from what is stored.
#[derive(Debug)]
pub struct ClientSession {
    opening: Opening,
    phase: Phase,
    outputs: VecDeque<Output>,
    pushes: Pushes,
    peer: Features,
    allowance: Allowance,
    window: Window,
    /// What the server holds of unfinished runs.
    theirs: Vec<Held>,
    assembler: Assembler,
    /// Bytes that each page not yet applied will free; 0 for an `up_to_date`.
    unapplied: VecDeque<u64>,
    /// Digests of an `up_to_date` that goes on in another frame.
    ending: Vec<ScopeDigest>,
    comparing: Comparing,
    /// What the server takes of the frames by which this side compares.
    rate: Rate,
    returning: Returning,
    /// The flight was dropped, or is held back: statements have to go before it is sent.
    dropped: bool,
    /// The server dropped it and waits for them.
    awaited: bool,
    /// What to send before the flight, once the session is open.
    statements: Option<Vec<Vec<u8>>>,
    /// The statements are being sent.
    giving: bool,
    /// The server named another journal and has to show its first record.
    moved: bool,
    /// What a server says once a session at most, since a device writes for each: `enrolled` and `void`.
    readmitted: bool,
    voided: bool,
    caught_up: bool,
    now: Mono,
    /// Since when an answer is awaited and nothing was heard.
    quiet_since: Mono,
}

impl ClientSession {
    /// Prepares a session over a connection that stands at `now`. Offer runs before the first
    /// [`Self::poll`], so that they leave in one flight with `hello`.
    pub fn new(mut opening: Opening, now: Mono) -> Self {
        let mut assembler =
            Assembler::new(limits::FEED_ITEM_BYTES_MAX, limits::FEED_ITEM_BYTES_MAX);
        assembler.restore(std::mem::take(&mut opening.held));
        // Runs are judged by short statements, so these go first, once it is known whether the
        // server takes them.
        let holds_back = opening.owed.iter().any(|record| is_short(record));
        let statements = holds_back.then(|| std::mem::take(&mut opening.owed));
        Self {
            opening,
            phase: Phase::Fresh,
            outputs: VecDeque::new(),
            pushes: Pushes::default(),
            peer: Features::NONE,
            allowance: Allowance::new(limits::FLIGHT_BYTES),
            window: Window::new(limits::CREDIT_WINDOW),
            theirs: Vec::new(),
            assembler,
            unapplied: VecDeque::new(),
            ending: Vec::new(),
            comparing: Comparing::default(),
            rate: Rate::new(now),
            returning: Returning::default(),
            dropped: statements.is_some(),
            awaited: false,
            statements,
            giving: false,
            moved: false,
            readmitted: false,
            voided: false,
            caught_up: false,
            now,
            quiet_since: now,
        }
    }

    /// Takes in what happened at `now`.
    pub fn handle(&mut self, now: Mono, input: Input<'_>) {
        let waited = self.awaits_answer();
        self.now = self.now.max(now);
        if !waited {
            self.quiet_since = self.now;
        }
        if self.phase == Phase::Closed {
            return;
        }
        match input {
            Input::Frame(bytes) => {
                self.quiet_since = self.now;
                if let Err(bye) = self.frame(bytes) {
                    self.leave(bye);
                }
            }
            Input::Offer(runs) => self.pushes.offer(runs),
            Input::Statements(statements) => {
                self.statements = Some(statements);
                self.resume();
            }
            Input::Compare {
                prefix,
                audience,
                salt,
                documents,
            } => self.comparing.begin(prefix, audience, salt, documents),
            Input::Need {
                prefix,
                audience,
                ranges,
            } => {
                let frames = self.comparing.need(&prefix, audience, ranges);
                self.ask(frames);
            }
            Input::Survived {
                prefix,
                audience,
                position,
                digest,
            } => {
                let survived = comparing::survived(prefix, audience, position, digest);
                self.send(&survived.into());
            }
            Input::Applied => self.applied(),
            Input::Tick => self.tick(),
            Input::Disconnected => self.phase = Phase::Closed,
            Input::Close => self.leave(Bye::done()),
        }
        if self.phase == Phase::Live
            && let Some(bytes) = self.window.grant()
        {
            self.send(&Credit { bytes }.into());
        }
    }

    /// Gives out what to do next, until there is nothing.
    pub fn poll(&mut self) -> Option<Output> {
        if self.phase == Phase::Fresh {
            self.phase = Phase::Greeting;
            self.greet();
        }
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        let waited = self.awaits_answer();
        let credit = self.allowance.bytes();
        let frame = match self.phase {
            Phase::Fresh | Phase::Closed => None,
            Phase::Live if self.dropped => self.next_statements(),
            Phase::Greeting | Phase::Proving if self.dropped => None,
            Phase::Greeting | Phase::Proving => self.pushes.next(credit, None, self.peer),
            Phase::Live => {
                // What was found before was told by now, and what is needed of it asked for.
                let frame = self.begin_comparison();
                let theirs = &mut self.theirs;
                let frame = frame.or_else(|| self.pushes.next(credit, Some(theirs), self.peer));
                // Evidence goes first.
                frame.or_else(|| self.returning.next(credit, &mut self.theirs))
            }
        }?;
        if !waited {
            self.quiet_since = self.now;
        }
        let bytes = encode(&frame, self.peer);
        if frame.needs_credit() {
            self.allowance.spend(bytes.len());
        }
        Some(Output::Send(bytes))
    }

    /// When to send [`Input::Tick`], if an answer is awaited or the next comparison waits for time to
    /// pass.
    pub fn deadline(&self) -> Option<Mono> {
        let compares = self.phase == Phase::Live && self.comparing.may_begin_next();
        let next = compares.then(|| self.rate.half_full_at());
        self.answer_due().into_iter().chain(next).min()
    }

    fn answer_due(&self) -> Option<Mono> {
        self.awaits_answer()
            .then(|| self.quiet_since.saturating_add(limits::ANSWER_MS))
    }

    /// Unfinished items of the feed, to be stored and given to the next [`Opening`].
    pub fn partials(&self) -> Vec<PartialItem> {
        self.assembler.partials()
    }

    /// Whether a comparison is under way, or documents that it asked for are.
    pub fn comparing(&self) -> bool {
        self.comparing.is_under_way()
    }

    /// Whether statements that the server may have lost are being named or sent.
    pub fn returning(&self) -> bool {
        self.returning.is_under_way()
    }

    /// Runs offered and not answered.
    pub fn unanswered(&self) -> usize {
        self.pushes.unanswered()
    }

    fn awaits_answer(&self) -> bool {
        match self.phase {
            Phase::Fresh | Phase::Closed => false,
            Phase::Greeting | Phase::Proving => true,
            Phase::Live => {
                self.pushes.in_flight()
                    || self.comparing.awaits_answer()
                    || self.returning.awaits_answer()
                    || (!self.caught_up && self.unapplied.is_empty())
            }
        }
    }

    fn greet(&mut self) {
        let agent = cut(self.opening.agent.clone(), limits::AGENT_BYTES_MAX);
        let hello = Hello {
            version: limits::VERSION,
            token: self.opening.token.clone().map(Into::into),
            device: self.device(),
            incarnation: self.opening.incarnation,
            last: self.opening.last.map(Into::into),
            credit: limits::CREDIT_WINDOW,
            held: self.assembler.held(),
            features: Features::DEFLATE,
            agent,
        };
        self.quiet_since = self.now;
        self.send(&hello.into());
        if !self.dropped {
            self.subscribe();
        }
    }

    fn subscribe(&mut self) {
        let scopes = &self.opening.scopes;
        let narrowed = scopes.len() <= limits::SCOPES_MAX;
        let subscribe = Subscribe {
            scopes: if narrowed { scopes.clone() } else { Vec::new() },
            cursor: self.opening.cursor.clone().map(Into::into),
            compare: self.opening.compare,
            gives: !self.opening.compare && self.opening.cursor.is_some(),
        };
        self.send(&subscribe.into());
    }

    fn device(&self) -> DeviceId {
        DeviceId(self.opening.key.verifying_key().to_bytes())
    }

    fn frame(&mut self, bytes: &[u8]) -> Result<(), Bye> {
        let Some(frame) = decode(bytes).map_err(|error| Bye::from(&error))? else {
            return Ok(());
        };
        if frame.needs_credit() {
            self.window
                .receive(bytes.len())
                .map_err(|error| Bye::new(ByeCode::Credit, sentence(&error)))?;
        }
        let greeting = matches!(self.phase, Phase::Greeting | Phase::Proving);
        match frame {
            Frame::Bye(bye) => {
                self.close(bye);
                Ok(())
            }
            Frame::Stale(stale) => {
                self.stale(stale.highest.into());
                Ok(())
            }
            Frame::Welcome(welcome) if greeting => self.welcome(welcome),
            Frame::Enrolled(enrolled) if self.phase == Phase::Proving && !self.readmitted => {
                (self.moved, self.readmitted) = (false, true);
                self.drop_flight(Event::Readmitted {
                    journal: enrolled.journal.into(),
                });
                Ok(())
            }
            Frame::Challenge(challenge) if self.phase == Phase::Greeting => self.prove(&challenge),
            frame if self.phase == Phase::Live => self.live(frame, bytes.len()),
            other => Err(out_of_place(&other)),
        }
    }

    fn prove(&mut self, challenge: &Challenge) -> Result<(), Bye> {
        if challenge.server != self.opening.server {
            return Err(other_server());
        }
        // The proof is worth nothing elsewhere, and without the first record of that journal,
        // signed by the server, nothing follows from it.
        self.moved = challenge.journal != self.opening.journal;
        let message = signing_bytes(domain::CHALLENGE, &challenge.message());
        let signature = self.opening.key.sign(&message).to_bytes();
        self.phase = Phase::Proving;
        self.allowance = Allowance::new(limits::FLIGHT_BYTES);
        self.pushes.dropped();
        let device = self.device();
        let proof = Proof {
            device,
            signature,
            certificate: Some(self.opening.certificate.clone().into()),
            journal: Some(self.opening.journal),
        };
        self.send(&proof.into());
        if !self.dropped {
            self.subscribe();
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: Welcome) -> Result<(), Bye> {
        if welcome.version != limits::VERSION {
            let sentence = format!(
                "The server speaks version {}, this device version {}.",
                welcome.version,
                limits::VERSION
            );
            return Err(Bye::new(ByeCode::Version, sentence));
        }
        if self.moved {
            return Err(other_server());
        }
        let highest = welcome.highest.map(Into::into);
        self.outputs.push_back(Output::Event(Event::Welcome {
            token: welcome.token.into(),
            server_time: welcome.server_time,
            checkpoint: welcome.checkpoint,
            highest,
            confirmed: !welcome.unconfirmed,
        }));
        self.phase = Phase::Live;
        self.peer = welcome.features;
        self.theirs = welcome.held;
        self.allowance = Allowance::new(welcome.credit);
        let owed = std::mem::take(&mut self.opening.owed);
        self.returning.take(owed, self.peer);
        self.resume();
        if let Some(highest) = highest.filter(|highest| self.lacks(highest)) {
            self.stale(highest);
        }
        Ok(())
    }

    /// The server dropped the flight: it is sent again behind the device's statements.
    fn drop_flight(&mut self, why: Event) {
        (self.dropped, self.awaited) = (true, true);
        (self.statements, self.giving) = (None, false);
        self.caught_up = false;
        self.opening.cursor = None;
        self.pushes.dropped();
        self.event(why);
    }

    /// Begins to give statements, once there are some and the session is open. A server that does
    /// not wait for them and does not say whether it has them gets none unasked.
    fn resume(&mut self) {
        if self.phase != Phase::Live || !self.dropped {
            return;
        }
        let Some(mut statements) = self.statements.take() else {
            return;
        };
        self.giving = self.awaited || self.peer.answers_statements();
        if !self.giving {
            statements.retain(|record| !is_short(record));
        }
        self.returning.take(statements, self.peer);
        if !self.giving {
            self.dropped = false;
            self.subscribe();
        }
    }

    /// The next frame of statements; behind the last of them the flight is sent.
    fn next_statements(&mut self) -> Option<Frame> {
        if !self.giving {
            return None;
        }
        let statements = self.returning.next_short(self.peer)?;
        if statements.last {
            (self.dropped, self.awaited, self.giving) = (false, false, false);
            self.subscribe();
        }
        Some(statements.into())
    }

    fn held(&mut self, statements: Vec<ItemId>) {
        if !statements.is_empty() {
            self.event(Event::StatementsHeld(statements));
        }
    }

    /// Whether the server holds an envelope of this incarnation that this store never sealed.
    fn lacks(&self, (number, run): &(u64, RunId)) -> bool {
        match &self.opening.last {
            None => true,
            Some((last, last_run)) => last < number || (last == number && last_run != run),
        }
    }

    fn stale(&mut self, highest: (u64, RunId)) {
        self.outputs
            .push_back(Output::Event(Event::Stale { highest }));
        self.outputs.push_back(Output::Close);
        self.phase = Phase::Closed;
    }

    fn live(&mut self, frame: Frame, frame_bytes: usize) -> Result<(), Bye> {
        match frame {
            Frame::Feed(_) | Frame::UpToDate(_) if self.dropped => {
                return Err(out_of_place(&frame));
            }
            Frame::Feed(feed) => self.page(feed, frame_bytes)?,
            Frame::Fragment(fragment) => self.fragment(&fragment, frame_bytes)?,
            Frame::UpToDate(end) => self.up_to_date(end)?,
            Frame::Accepted(accepted) => {
                let runs = accepted
                    .runs
                    .iter()
                    .map(|placed| (placed.run, placed.position));
                let runs: Vec<_> = runs.collect();
                runs.iter().for_each(|(run, _)| self.pushes.answered(*run));
                self.event(Event::Accepted(runs));
            }
            Frame::Missing(missing) => {
                self.pushes.wanting(missing.run);
                self.event(Event::Missing {
                    run: missing.run,
                    hashes: missing.hashes,
                });
            }
            Frame::Rejected(rejected) => {
                // Whoever had no room to keep the refusal offers the run again.
                self.pushes.wanting(rejected.run);
                let (run, code) = (rejected.run, rejected.code);
                self.event(Event::Rejected {
                    run,
                    code,
                    sentence: rejected.sentence,
                });
            }
            Frame::Wanted(wanted) => {
                let held = self.returning.answered(&wanted);
                self.held(held.map_err(|_| out_of_place(&Frame::Wanted(wanted)))?);
            }
            Frame::Taken(taken) => {
                let held = self.returning.taken(taken.all);
                self.held(held.map_err(|_| out_of_place(&Frame::Taken(taken)))?);
            }
            Frame::Void(_) if self.dropped || self.voided => return Err(out_of_place(&frame)),
            Frame::Void(_) => {
                self.voided = true;
                self.drop_flight(Event::Void);
            }
            Frame::Reconcile(answer) => self.compared(&answer)?,
            Frame::LeftScope(left) => self.event(Event::LeftScope(left.document)),
            Frame::Credit(credit) => self
                .allowance
                .grant(credit.bytes)
                .map_err(|error| Bye::new(ByeCode::Credit, sentence(&error)))?,
            Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Challenge(_)
            | Frame::Proof(_)
            | Frame::Stale(_)
            | Frame::Enrol(_)
            | Frame::Enrolled(_)
            | Frame::Subscribe(_)
            | Frame::Push(_)
            | Frame::Statements(_)
            | Frame::Holding(_)
            | Frame::Bye(_) => return Err(out_of_place(&frame)),
        }
        Ok(())
    }

    /// The next comparison begins, unless so much was compared just now that the server would take it
    /// for a flood.
    fn begin_comparison(&mut self) -> Option<Frame> {
        if self.now < self.rate.half_full_at() {
            return None;
        }
        let first = self.comparing.begin_next()?;
        self.count_asked();
        Some(first.into())
    }

    fn ask(&mut self, frames: Vec<Reconcile>) {
        for frame in frames {
            self.count_asked();
            self.send(&frame.into());
        }
    }

    /// What has begun goes on whatever was counted.
    fn count_asked(&mut self) {
        let _ = self.rate.count(self.now);
    }

    fn compared(&mut self, answer: &Reconcile) -> Result<(), Bye> {
        let heard = self.comparing.answered(answer);
        let (found, asked) = heard.map_err(|_| {
            Bye::malformed("The server's part of a comparison makes no sense.".to_owned())
        })?;
        self.ask(asked);
        if !found.is_empty() {
            self.event(Event::Differs {
                prefix: answer.prefix.clone(),
                audience: answer.audience,
                found,
            });
        }
        Ok(())
    }

    fn fragment(&mut self, fragment: &Fragment, frame_bytes: usize) -> Result<(), Bye> {
        let received = self
            .assembler
            .add(fragment)
            .map_err(|error| Bye::new(ByeCode::Fragment, sentence(&error)))?;
        // Given back at once: an item may be larger than all credit.
        self.window.settle(frame_bytes as u64);
        self.caught_up = false;
        self.event(Event::Progress {
            received,
            total: fragment.total,
        });
        Ok(())
    }

    fn page(&mut self, feed: Feed, frame_bytes: usize) -> Result<(), Bye> {
        self.ending.clear();
        let mut items = Vec::with_capacity(feed.items.len());
        for item in feed.items {
            items.push(match item {
                FeedItem::Inline(item) => item,
                FeedItem::Large(name) => {
                    let packed = self
                        .assembler
                        .take(&name)
                        .map_err(|error| Bye::new(ByeCode::Fragment, sentence(&error)))?;
                    let bytes = unpack(&packed, limits::FEED_ITEM_BYTES_MAX)
                        .map_err(|error| Bye::new(ByeCode::Fragment, sentence(&error)))?;
                    Item::from_bytes(&bytes).map_err(|error| Bye::from(&error))?
                }
            });
        }
        self.caught_up = false;
        self.pushes.settled();
        self.unapplied.push_back(frame_bytes as u64);
        self.event(Event::Page {
            items,
            cursor: feed.cursor.into(),
        });
        Ok(())
    }

    /// The device is told once all digests are here: what it concludes rests on all of them.
    fn up_to_date(&mut self, mut end: UpToDate) -> Result<(), Bye> {
        self.ending.append(&mut end.digests);
        if self.ending.len() > GRANTS_MAX {
            let sentence = "The server names more digests than grants can need.";
            return Err(Bye::new(ByeCode::Malformed, sentence));
        }
        if end.more {
            return Ok(());
        }
        self.caught_up = true;
        self.pushes.settled();
        self.comparing.caught_up();
        let held = self.returning.caught_up();
        self.held(held);
        self.unapplied.push_back(0);
        let digests = std::mem::take(&mut self.ending).into_iter();
        self.event(Event::UpToDate {
            cursor: end.cursor.into(),
            position: end.position,
            digests: digests
                .map(|digest| {
                    (
                        digest.prefix,
                        digest.audience,
                        digest.digest,
                        digest.documents,
                    )
                })
                .collect(),
        });
        Ok(())
    }

    fn applied(&mut self) {
        let bytes = self.unapplied.pop_front();
        debug_assert!(bytes.is_some(), "only what was given out is applied");
        self.window.settle(bytes.unwrap_or(0));
    }

    fn tick(&mut self) {
        if self.answer_due().is_some_and(|due| self.now >= due) {
            self.leave(Bye::new(
                ByeCode::Timeout,
                "The server has not answered for a minute.",
            ));
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn send(&mut self, frame: &Frame) {
        self.outputs
            .push_back(Output::Send(encode(frame, self.peer)));
    }

    /// Ends the session on this side's account.
    fn leave(&mut self, bye: Bye) {
        if self.phase != Phase::Fresh {
            self.send(&bye.clone().into());
        }
        self.close(bye);
    }

    fn close(&mut self, bye: Bye) {
        self.event(Event::Bye(bye));
        self.outputs.push_back(Output::Close);
        self.phase = Phase::Closed;
    }
}

fn other_server() -> Bye {
    let sentence = "This is another server than the one that enrolled this device.";
    Bye::new(ByeCode::Unauthorised, sentence)
}

fn out_of_place(frame: &Frame) -> Bye {
    Bye::malformed(format!(
        "The frame '{}' does not belong here.",
        frame.name()
    ))
}
