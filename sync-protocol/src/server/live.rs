//! A session after `welcome`: pushes come in, their answers and the feed go out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bukti_core::authority::Grant;
use bukti_core::envelope::Run;
use bukti_core::hash::{Hasher, domain};
use bukti_core::id::{DeviceId, Incarnation, RunId};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::ledger::{DeviceRow, Left, Outcome, Reader, Submission, Verdict};
use bukti_core::record::Signed;
use bukti_core::validate::{CheckedRun, Refusal, check_counted};
use minicbor::Decoder;

use super::comparing::Comparing;
use super::inflating::Inflating;
use super::outbound::Outbound;
use super::{End, Output, findings, out_of_place};
use crate::Mono;
use crate::bye::{Bye, ByeCode, sentence};
use crate::credit::{Allowance, Window};
use crate::deflate::unpack;
use crate::feed::{Feed, FeedError, Start};
use crate::fragment::{Assembler, FragmentError};
use crate::frame::{
    Accepted, Features, Frame, Hello, Holding, Missing, Numbered, Placed, Push, Reconcile,
    Rejected, Statements, Subscribe, Taken, Void, Wanted, encode,
};
use crate::item::PushItem;
use crate::limits;
use crate::room::Seat;

/// What a device that is let in has going.
#[derive(Debug)]
pub(super) struct Live {
    device: DeviceId,
    incarnation: Incarnation,
    peer: Features,
    grants: Vec<Grant>,
    /// Whether the device receives, or only gives until somebody confirms it.
    confirmed: bool,
    /// What comes is dropped until the device's statements are in: they count first.
    awaits_statements: bool,
    voided: bool,
    /// Statements that the journal has not taken in, in their order, how many of these the ledger is
    /// asked about, and the runs, names and subscription that wait for that: a cursor that holds says
    /// that they are in.
    taking_back: VecDeque<TakingBack>,
    asked: usize,
    behind_statements: Vec<Submission>,
    named_behind: Vec<Holding>,
    subscribed_behind: Option<Subscribe>,
    subscribed: usize,
    inflating: Inflating,
    comparing: Comparing,
    allowance: Allowance,
    outbound: Outbound,
    unjudged: BTreeMap<RunId, Unjudged>,
    unjudged_bytes: u64,
    /// The disk took none of what was sent.
    full: bool,
    /// It took none of the statements, which come before the device asks for what is there for it.
    statements_wait: bool,
    held: Option<HeldItem>,
    /// When to look again, while an item waits for room.
    looks: Option<Mono>,
    unreadable: Option<Unreadable>,
}

/// An item that is held for the device, of which more is to be sent.
#[derive(Debug, Clone, Copy)]
struct HeldItem {
    since: Mono,
    /// When the device is let go unless it takes more.
    stalled: Mono,
}

/// That the server cannot read what comes next in the feed. What the device gives is taken all the
/// same: it may be on this device alone.
#[derive(Debug)]
struct Unreadable {
    reason: String,
    /// When the device is told, unless it gives more until then.
    until: Mono,
}

/// Statements that the journal has not answered.
#[derive(Debug)]
struct TakingBack {
    /// Empty once the ledger is asked.
    statements: Vec<Vec<u8>>,
    bytes: u64,
    /// The device hears what came of them.
    told: bool,
}

/// A run that the journal has not answered.
#[derive(Debug)]
struct Unjudged {
    /// Its bytes.
    bytes: u64,
    /// Credit that comes back with the answer.
    credit: u64,
}

/// What a look at a pushed run shows.
enum Look {
    /// It can be handed on.
    Fit(Box<CheckedRun>),
    /// The same run waits for the journal already.
    Waits(RunId),
    /// It is answered at once.
    Unfit(Rejected),
}

/// How a session goes on after answers.
#[derive(Debug)]
pub(super) enum Next {
    Go,
    Stale(Numbered),
}

impl Live {
    pub(super) fn new(
        hello: &Hello,
        row: DeviceRow,
        confirmed: bool,
        readmitted: bool,
        seat: Seat,
    ) -> Self {
        Self {
            device: hello.device,
            incarnation: hello.incarnation,
            peer: hello.features,
            grants: row.grants,
            confirmed,
            awaits_statements: readmitted,
            voided: readmitted,
            taking_back: VecDeque::new(),
            asked: 0,
            behind_statements: Vec::new(),
            named_behind: Vec::new(),
            subscribed_behind: None,
            subscribed: 0,
            inflating: Inflating::default(),
            comparing: Comparing::default(),
            allowance: Allowance::new(hello.credit),
            outbound: Outbound::new(hello.held.clone(), seat.of(hello.device)),
            unjudged: BTreeMap::new(),
            unjudged_bytes: 0,
            full: false,
            statements_wait: false,
            held: None,
            looks: None,
            unreadable: None,
        }
    }

    /// The disk took none of what the device sent. It still gets all that is there for it, and no
    /// credit to send more.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Whether the device has what was there for it, so that it may be told to come back later.
    pub(super) fn may_be_put_off(&self) -> bool {
        let waits = self.full || (self.statements_wait && self.outbound.has_begun());
        waits && self.outbound.is_at_rest()
    }

    pub(super) fn device(&self) -> DeviceId {
        self.device
    }

    pub(super) fn peer(&self) -> Features {
        self.peer
    }

    /// Whether so much waits for the journal that the device gets no more credit.
    pub(super) fn is_behind(&self) -> bool {
        let statements = self.taking_back.iter().map(|taking| taking.bytes);
        let bytes = self.unjudged_bytes + statements.sum::<u64>();
        bytes > limits::UNJUDGED_BYTES || self.unjudged.len() > limits::UNJUDGED_RUNS
    }

    /// Whether few enough frames of this kind wait for their answers that it needs no other bound.
    pub(super) fn answers_soon(&self, frame: &Frame) -> bool {
        let told = self.taking_back.iter().filter(|taking| taking.told).count();
        matches!(frame, Frame::Statements(_) | Frame::Holding(_))
            && told + self.named_behind.len() < limits::STATEMENT_FRAMES_AHEAD
    }

    /// When something is due: the device is let go, or looks again whether there is room for it.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let looks = self.looks.filter(|_| self.unreadable.is_none());
        self.lasts_until().into_iter().chain(looks).min()
    }

    /// Whether the device is let go by now.
    pub(super) fn is_late(&self, now: Mono) -> bool {
        self.lasts_until().is_some_and(|until| now >= until)
    }

    /// When the device is let go: for taking nothing of an item or too little while others wait, or
    /// once it gives nothing more to a server that cannot feed it.
    fn lasts_until(&self) -> Option<Mono> {
        match &self.unreadable {
            Some(_) if !self.unjudged.is_empty() || !self.taking_back.is_empty() => None,
            Some(unreadable) => Some(unreadable.until),
            None => self.held.map(|held| self.late_with(held)),
        }
    }

    fn late_with(&self, held: HeldItem) -> Mono {
        let Some(sent) = self.outbound.sent_while_others_wait() else {
            return held.stalled;
        };
        let due_ms = sent * 1_000 / limits::LARGE_BYTES_PER_SECOND;
        let slow = held.since.saturating_add(limits::LARGE_STALLED_MS + due_ms);
        held.stalled.min(slow)
    }

    /// What the device is told once its deadline is over, and what could not be read if that is why.
    pub(super) fn late(&mut self) -> (Bye, Option<String>) {
        match self.unreadable.take() {
            Some(unreadable) => {
                let sentence = "The server cannot read what comes next for this device; its \
                                administrator has to repair its journal.";
                let bye = Bye::new(ByeCode::Fault, sentence);
                let bye = bye.retry_after(limits::REPAIR_RETRY_MS);
                (bye, Some(unreadable.reason))
            }
            None => {
                let sentence = "The device takes too little of what it asked for.";
                (Bye::new(ByeCode::Timeout, sentence), None)
            }
        }
    }

    /// Something came from the device or the journal: more may.
    pub(super) fn heard(&mut self, now: Mono) {
        self.inflating.refill(now);
        if let Some(unreadable) = &mut self.unreadable {
            unreadable.until = now.saturating_add(limits::UNREADABLE_QUIET_MS);
        }
    }

    /// The device's link took a frame, however long that was under way.
    pub(super) fn took(&mut self, now: Mono) {
        if let Some(held) = &mut self.held {
            held.stalled = now.saturating_add(limits::LARGE_STALLED_MS);
        }
    }

    /// Goes on without the feed where that is all that a damaged record takes from the device.
    pub(super) fn bear(&mut self, now: Mono, end: End) -> Result<(), End> {
        let End::Damaged(reason) = end else {
            return Err(end);
        };
        if self.unreadable.is_none() {
            let until = now.saturating_add(limits::UNREADABLE_QUIET_MS);
            self.unreadable = Some(Unreadable { reason, until });
            self.outbound.give_up();
        }
        Ok(())
    }

    /// The next frame of the feed that credit allows.
    pub(super) fn next_frame<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        now: Mono,
    ) -> Result<Option<Vec<u8>>, End> {
        if self.unreadable.is_some() {
            return Ok(None);
        }
        let credit = self.allowance.bytes();
        self.outbound.look_at_room(now);
        let frame = match self.outbound.next(reader, credit, self.peer) {
            Ok(frame) => frame,
            Err(error) => {
                // Why, the device's row says.
                if matches!(error, FeedError::Withdrawn)
                    && let Err(end) = self.advanced(reader)
                {
                    return Err(end);
                }
                self.bear(now, error.into())?;
                return Ok(None);
            }
        };
        let waits = self.outbound.waits_for_room();
        self.looks = waits.then(|| now.saturating_add(limits::LARGE_OFFER_MS));
        let stalled = now.saturating_add(limits::LARGE_STALLED_MS);
        let begun = HeldItem {
            since: now,
            stalled,
        };
        let holds = self.outbound.holds_item();
        self.held = holds.then(|| self.held.unwrap_or(begun));
        let Some(frame) = frame else {
            return Ok(None);
        };
        if matches!(frame, Frame::UpToDate(_)) {
            self.comparing.rest();
        }
        let bytes = encode(&frame, self.peer);
        if frame.needs_credit() {
            self.allowance.spend(bytes.len());
        }
        Ok(Some(bytes))
    }

    /// Whether the answer takes a walk over all that a subscription holds.
    pub(super) fn walks<S: Storage, K: Kv>(
        &self,
        reader: &Reader<S, K>,
        asked: &Reconcile,
    ) -> bool {
        !self.awaits_statements && self.comparing.lacks_copy(reader, asked, &self.outbound)
    }

    pub(super) fn frame<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        frame: Frame,
        frame_bytes: usize,
        assembler: &mut Assembler,
        window: &mut Window,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), End> {
        match frame {
            Frame::Push(_) | Frame::Fragment(_) if self.awaits_statements => {
                window.settle(frame_bytes as u64);
                Ok(())
            }
            Frame::Subscribe(_) | Frame::Reconcile(_) if self.awaits_statements => Ok(()),
            Frame::Statements(statements) => {
                self.statements(reader, statements, outputs)?;
                Ok(())
            }
            Frame::Subscribe(subscribe) if !self.taking_back.is_empty() => {
                self.subscribed_behind = Some(subscribe);
                Ok(())
            }
            Frame::Subscribe(subscribe) => self.subscribe(reader, &subscribe, outputs),
            Frame::Reconcile(asked) => {
                let outbound = &mut self.outbound;
                self.comparing
                    .asked(reader, (self.device, self.peer), &asked, outbound, outputs)
            }
            Frame::Holding(holding) => self.holding(reader, holding, outputs),
            Frame::Push(push) if push.statements => {
                self.returned_statements(reader, push, assembler, outputs)?;
                window.settle(frame_bytes as u64);
                Ok(())
            }
            Frame::Push(push) => {
                let credit = self.push(push, frame_bytes as u64, assembler, outputs)?;
                window.settle(credit);
                Ok(())
            }
            Frame::Fragment(fragment) => {
                assembler
                    .add(&fragment)
                    .map_err(|error| bad_fragment(&error))?;
                window.settle(frame_bytes as u64);
                Ok(())
            }
            Frame::Credit(credit) => {
                let granted = self.allowance.grant(credit.bytes);
                granted.map_err(|error| Bye::new(ByeCode::Credit, sentence(&error)))?;
                Ok(())
            }
            Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Challenge(_)
            | Frame::Proof(_)
            | Frame::Stale(_)
            | Frame::Enrol(_)
            | Frame::Enrolled(_)
            | Frame::Feed(_)
            | Frame::UpToDate(_)
            | Frame::Accepted(_)
            | Frame::Missing(_)
            | Frame::Rejected(_)
            | Frame::LeftScope(_)
            | Frame::Void(_)
            | Frame::Wanted(_)
            | Frame::Taken(_)
            | Frame::Bye(_) => Err(out_of_place(&frame).into()),
        }
    }

    fn subscribe<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        subscribe: &Subscribe,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), End> {
        self.subscribed += 1;
        if self.subscribed > limits::SUBSCRIBED_MAX {
            let sentence = "The device subscribes more often than it has reason to.";
            return Err(Bye::new(ByeCode::Flood, sentence).into());
        }
        let mut feed = Feed::start(
            reader,
            &self.grants,
            &subscribe.scopes,
            subscribe.cursor.as_ref().map(|cursor| cursor.as_slice()),
            self.device,
            self.incarnation,
        )?;
        let gives = subscribe.compare || subscribe.gives;
        if feed.start_was() == Start::Void && gives && !self.voided {
            (self.voided, self.awaits_statements) = (true, true);
            let watermark = reader.watermark();
            outputs.push_back(Output::Find(findings::cursor_void(self.device, watermark)));
            let void = Void { watermark };
            outputs.push_back(Output::Send(encode(&void.into(), self.peer)));
            return Ok(());
        }
        if subscribe.compare && feed.start_was() != Start::Continued {
            feed.owe_nothing();
        }
        if !self.confirmed {
            feed.mute();
        }
        self.outbound.begin(feed);
        Ok(())
    }

    /// Hands on statements that this server signed; others are of no use and passed over.
    fn statements<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        statements: Statements,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), Bye> {
        self.awaits_statements &= !statements.last;
        self.comparing
            .count_statements(statements.statements.len())?;
        let statements = statements.statements.into_iter().map(Vec::from);
        self.take_back(reader, statements.collect(), true, outputs);
        Ok(())
    }

    /// Says which of the named statements the journal lacks, once it has those that came before.
    fn holding<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        holding: Holding,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), End> {
        self.comparing.count_statements(holding.statements.len())?;
        if !self.taking_back.is_empty() {
            self.named_behind.push(holding);
            return Ok(());
        }
        self.answer_holding(reader, holding, outputs)
    }

    fn answer_holding<S: Storage, K: Kv>(
        &self,
        reader: &Reader<S, K>,
        holding: Holding,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), End> {
        let mut items = Vec::new();
        for named in holding.statements {
            let fits = named.bytes <= bukti_core::limits::RETURNED_STATEMENT_BYTES_MAX as u64;
            if fits && reader.lacks(&named.about, named.at)? {
                items.push(named.item);
            }
        }
        let wanted = Wanted { items };
        outputs.push_back(Output::Send(encode(&wanted.into(), self.peer)));
        Ok(())
    }

    /// Takes statements in that are too long for a frame of theirs. Whether they were asked for is
    /// no matter: what the journal has is passed over.
    fn returned_statements<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        push: Push,
        assembler: &mut Assembler,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), Bye> {
        self.comparing.count_statements(push.items.len())?;
        let bytes_max = bukti_core::limits::RETURNED_STATEMENT_BYTES_MAX;
        let items = push.items.into_iter();
        let statements = items.map(|item| bytes_of(item, assembler, bytes_max));
        let statements: Vec<_> = statements.collect::<Result<_, _>>()?;
        let statements = statements.into_iter().map(|(bytes, _)| bytes).collect();
        self.take_back(reader, statements, false, outputs);
        Ok(())
    }

    fn take_back<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        mut statements: Vec<Vec<u8>>,
        told: bool,
        outputs: &mut VecDeque<Output>,
    ) {
        let server = reader.server();
        // A repeated one costs no second check.
        let mut once = BTreeSet::new();
        statements.retain(|bytes| once.insert(bytes.clone()));
        statements.retain(|bytes| Signed::open(bytes, &server).is_ok());
        if statements.is_empty() && !told {
            return;
        }
        let bytes: usize = statements.iter().map(Vec::len).sum();
        self.taking_back.push_back(TakingBack {
            statements,
            bytes: bytes as u64,
            told,
        });
        self.ask_to_take_back(outputs);
    }

    /// Asks the ledger about what waits, one call after the other: answers come in the order of what
    /// they answer, and what comes meanwhile shares a call.
    fn ask_to_take_back(&mut self, outputs: &mut VecDeque<Output>) {
        while self.asked == 0 && !self.taking_back.is_empty() {
            let mut statements = Vec::new();
            for taking in &mut self.taking_back {
                let together = statements.len() + taking.statements.len();
                if together > bukti_core::limits::RETURNED_STATEMENTS_MAX {
                    break;
                }
                statements.append(&mut taking.statements);
                self.asked += 1;
            }
            if statements.is_empty() {
                // None of them can be taken by anybody.
                self.answer_taken(None, outputs);
            } else {
                outputs.push_back(Output::TakeBack {
                    carrier: self.device,
                    statements,
                });
            }
        }
    }

    /// Tells the device what came of the statements that the ledger was asked about.
    fn answer_taken(&mut self, left: Option<Left>, outputs: &mut VecDeque<Output>) {
        let asked = std::mem::take(&mut self.asked);
        for taking in self.taking_back.drain(..asked) {
            if taking.told {
                let all = left.is_none();
                outputs.push_back(Output::Send(encode(&Taken { all }.into(), self.peer)));
            }
        }
    }

    /// Looks at each run by itself and hands on what passes. Answers the credit that is free at
    /// once: all of the frame's, if nothing of it has to wait.
    fn push(
        &mut self,
        push: Push,
        credit: u64,
        assembler: &mut Assembler,
        outputs: &mut VecDeque<Output>,
    ) -> Result<u64, Bye> {
        let mut batch = Vec::new();
        let mut refused = Vec::new();
        // The run whose outcome gives the credit back.
        let mut last = None;
        let (mut received, mut inflated) = (credit as usize, 0);
        for item in push.items {
            let (bytes, fragments) = bytes_of(item, assembler, bukti_core::limits::RUN_BYTES_MAX)?;
            received += fragments;
            match self.look_at(&bytes, &mut inflated)? {
                Look::Fit(run) => {
                    let bytes = bytes.len() as u64;
                    self.unjudged
                        .insert(run.id(), Unjudged { bytes, credit: 0 });
                    self.unjudged_bytes += bytes;
                    last = Some(run.id());
                    batch.push(Submission {
                        carrier: self.device,
                        run: *run,
                        returned: push.returned,
                    });
                }
                // The outcome of the first answers this one, too.
                Look::Waits(run) => last = last.or(Some(run)),
                Look::Unfit(rejected) => refused.push(rejected),
            }
        }
        for rejected in refused {
            outputs.push_back(Output::Send(encode(&rejected.into(), self.peer)));
        }
        self.inflating.spend(received, inflated)?;
        let waits = last.and_then(|run| self.unjudged.get_mut(&run));
        let Some(waits) = waits else {
            return Ok(credit);
        };
        waits.credit += credit;
        if !self.taking_back.is_empty() {
            self.behind_statements.append(&mut batch);
        } else if !batch.is_empty() {
            outputs.push_back(Output::Submit(batch));
        }
        Ok(0)
    }

    /// The journal took statements in: runs may be judged by them, unless the device's cursor shows
    /// that it holds more of them. Those that are left wait on the device, which is told.
    pub(super) fn taken_back<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        left: Option<Left>,
        window: &mut Window,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), End> {
        self.statements_wait |= left == Some(Left::Full);
        self.answer_taken(left, outputs);
        self.ask_to_take_back(outputs);
        if !self.taking_back.is_empty() {
            return Ok(());
        }
        let answered = self.answer_waiting(reader, outputs);
        // Also where that met damage: what the device gives is taken all the same.
        let batch = std::mem::take(&mut self.behind_statements);
        if self.awaits_statements {
            self.drop_unjudged(&batch, window);
        } else if !batch.is_empty() {
            outputs.push_back(Output::Submit(batch));
        }
        answered
    }

    /// Looks at names and a subscription that waited for statements.
    fn answer_waiting<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), End> {
        for holding in std::mem::take(&mut self.named_behind) {
            self.answer_holding(reader, holding, outputs)?;
        }
        match self.subscribed_behind.take() {
            Some(subscribe) => self.subscribe(reader, &subscribe, outputs),
            None => Ok(()),
        }
    }

    /// The flight was dropped behind these runs: they come again, and are judged then.
    fn drop_unjudged(&mut self, batch: &[Submission], window: &mut Window) {
        for submission in batch {
            self.settle(&submission.run.id(), window);
        }
    }

    /// A run waits no more; what it took of the credit is free.
    fn settle(&mut self, run: &RunId, window: &mut Window) {
        if let Some(waited) = self.unjudged.remove(run) {
            self.unjudged_bytes -= waited.bytes;
            window.settle(waited.credit);
        }
    }

    /// Judges what can be judged without a document, and counts what it inflates to. The error is for
    /// bytes that do not even name a run.
    fn look_at(&self, bytes: &[u8], inflated: &mut usize) -> Result<Look, Bye> {
        let run = match Run::open(bytes) {
            Ok(run) => run,
            Err(error) => {
                let run = run_named_in(bytes)
                    .ok_or_else(|| Bye::malformed("A pushed run cannot be read at all."))?;
                return Ok(Look::Unfit(rejected(run, error.into())));
            }
        };
        let id = run.id();
        if self.unjudged.contains_key(&id) {
            return Ok(Look::Waits(id));
        }
        Ok(match check_counted(run, inflated) {
            Ok(run) => Look::Fit(Box::new(run)),
            Err(refusal) => Look::Unfit(rejected(id, refusal)),
        })
    }

    /// Passes the journal's answers on, up to one that ends the flight.
    pub(super) fn judged(
        &mut self,
        outcomes: Vec<Outcome>,
        window: &mut Window,
        outputs: &mut VecDeque<Output>,
    ) -> Next {
        let mut accepted = Vec::new();
        let mut answers: Vec<Frame> = Vec::new();
        let mut next = Next::Go;
        for Outcome { run, verdict } in outcomes {
            self.settle(&run, window);
            match verdict {
                Verdict::Accepted(position) => accepted.push(Placed { run, position }),
                Verdict::Missing(mut hashes) => {
                    hashes.truncate(limits::MISSING_PER_FRAME);
                    answers.push(Missing { run, hashes }.into());
                }
                Verdict::Rejected(refusal) => answers.push(rejected(run, refusal).into()),
                Verdict::Stale { highest } => {
                    next = Next::Stale(highest.into());
                    break;
                }
                Verdict::Full => self.full = true,
            }
        }
        let accepted = accepted.chunks(limits::ACCEPTED_PER_FRAME);
        let accepted = accepted.map(|runs| {
            Frame::from(Accepted {
                runs: runs.to_vec(),
            })
        });
        for frame in accepted.chain(answers) {
            outputs.push_back(Output::Send(encode(&frame, self.peer)));
        }
        next
    }

    /// The journal has grown: the device may have been revoked, its grants may have changed, and
    /// the feed may go on.
    pub(super) fn advanced<S: Storage, K: Kv>(&mut self, reader: &Reader<S, K>) -> Result<(), End> {
        let row = reader.device(&self.device)?;
        let Some(row) = row.filter(|row| row.revoked_at.is_none()) else {
            return Err(super::revoked(reader, &self.device));
        };
        if reader.is_confirmed(&row) != self.confirmed {
            let sentence = if self.confirmed {
                "More is granted to the device by what came back, and an administrator has to \
                 confirm that before it receives: connect again."
            } else {
                "The device was confirmed and may receive: connect again."
            };
            return Err(Bye::new(ByeCode::Shutdown, sentence).into());
        }
        if row.grants != self.grants {
            self.grants = row.grants;
            self.outbound.revise(reader, &self.grants)?;
        }
        // Also where its unit moved.
        self.outbound.withhold(reader, &self.grants)?;
        self.outbound.look();
        Ok(())
    }
}

/// What an item of a push is, as it is or sent before in fragments, of so many bytes.
fn bytes_of(
    item: PushItem,
    assembler: &mut Assembler,
    max: usize,
) -> Result<(Vec<u8>, usize), Bye> {
    match item {
        PushItem::Run(bytes) => Ok((bytes, 0)),
        PushItem::Large(name) => {
            let packed = assembler
                .take(&name)
                .map_err(|error| bad_fragment(&error))?;
            let unpacked = unpack(&packed, max)
                .map_err(|error| Bye::new(ByeCode::Fragment, sentence(&error)))?;
            Ok((unpacked, packed.len()))
        }
    }
}

/// The name of a run whose content does not hold: what its sender calls it.
fn run_named_in(bytes: &[u8]) -> Option<RunId> {
    let mut run = Decoder::new(bytes);
    run.array().ok()?;
    let mut envelope = Decoder::new(run.bytes().ok()?);
    envelope.array().ok()?;
    let body = envelope.bytes().ok()?;
    Some(RunId(Hasher::new(domain::RUN).fixed(body).finish_16()))
}

fn rejected(run: RunId, refusal: Refusal) -> Rejected {
    Rejected {
        run,
        code: refusal.code.code().to_owned(),
        sentence: refusal.sentence,
    }
}

fn bad_fragment(error: &FragmentError) -> Bye {
    Bye::new(ByeCode::Fragment, sentence(error))
}
