//! The server of a simulated world: the production ledger and sessions, with the queue, the locks
//! and the restarts that its driver adds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bukti_client::device::Enrolment;
use bukti_core::authority::Grant;
use bukti_core::causes::is_for_want_of_space;
use bukti_core::id::{DeviceId, JournalId, Position, ServerId, WallMs};
use bukti_core::journal::memory::{Fault, MemoryStorage, Skipped};
use bukti_core::journal::{self};
use bukti_core::kv::{MemoryKv, MemorySnapshot};
use bukti_core::ledger::{
    AdminError, Ledger, LedgerError, Options, Outcome, Reader, Submission, Verdict,
};
use bukti_core::record::{Invitation, invitation_hash};
use bukti_sync_protocol::Mono;
use bukti_sync_protocol::bye::{Bye, ByeCode};
use bukti_sync_protocol::enrol::{self, EnrolSession};
use bukti_sync_protocol::fragment::{PartialItem, merged};
use bukti_sync_protocol::server::{Cx, Input, Output, ServerSession};
use bukti_sync_protocol::token::TokenKey;
use ed25519_dalek::SigningKey;

use super::Planted;
use super::random::Random;
use super::script::{Room, Rows, SERVER_START, Stage};
use super::troubles::{Ended, Troubles, Unstarted};

/// Names one connection for good.
pub type ConnectionId = u64;

/// A ledger as the simulation runs it.
pub type SimLedger = Ledger<MemoryStorage, MemoryKv>;
/// Its reader.
pub type SimReader = Reader<MemoryStorage, MemoryKv>;

/// Runs that one commit takes from the queue at most.
const BATCH_RUNS_MAX: usize = 16;
/// Snapshots of the rows that a crash may throw the store back to.
const SNAPSHOTS_KEPT: usize = 6;
/// Starts of a hundred during which a call to the disk fails.
pub(super) const START_FAILS_PERCENT: u64 = 12;
/// Calls to the disk that a start makes, about.
pub(super) const START_CALLS: u64 = 14;
/// Ends of a hundred, over a call that failed, after which the machine and its cache go on.
pub(super) const PROCESS_ALONE_PERCENT: u64 = 40;
/// Connections of one device at a time; the oldest gives way.
const CONNECTIONS_PER_DEVICE: usize = 4;

/// The connection over which devices enrol, one after the other, before others are made.
const ENROLMENT: ConnectionId = 0;

/// What the server wants done, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Send a message.
    Send(ConnectionId, Vec<u8>),
    /// Close the connection.
    Close(ConnectionId),
    /// Something waits in the queue.
    Queued,
    /// The process ended.
    Died(Ended),
}

/// A server that can lose power.
#[derive(Debug)]
pub struct Server {
    storage: MemoryStorage,
    kv: Arc<MemoryKv>,
    key: SigningKey,
    token_key: TokenKey,
    ledger: Option<SimLedger>,
    sessions: BTreeMap<ConnectionId, Serving>,
    queue: VecDeque<Queued>,
    partials: BTreeMap<DeviceId, Vec<PartialItem>>,
    snapshots: VecDeque<MemorySnapshot>,
    /// Crashes that are planned. The first is waited for, each other one from the crash before it.
    dooms: VecDeque<Doom>,
    room: Room,
    planted: Option<Planted>,
    random: Random,
    /// The last position that readers saw.
    watermark: Position,
    /// What befell it.
    pub troubles: Troubles,
    /// What went wrong that nothing in the world explains.
    faults: Vec<String>,
}

/// A crash that is planned.
#[derive(Debug, Clone, Copy)]
struct Doom {
    /// The step that plans it; none plans a start that fails.
    step: Option<u64>,
    stage: Stage,
    rows: Rows,
}

#[derive(Debug)]
struct Serving {
    session: ServerSession,
    device: Option<DeviceId>,
}

#[derive(Debug)]
struct Queued {
    connection: ConnectionId,
    submission: Submission,
    /// Answered before it was written, by a planted fault.
    answered: bool,
}

/// The wall clock of the server.
pub fn wall(now: Mono) -> WallMs {
    SERVER_START + now as WallMs
}

const SEGMENT_BYTES: u32 = 64 * 1024;
/// Enough to be opened on a disk that has reached it.
const RESERVE_BYTES: u64 = 3 * SEGMENT_BYTES as u64;

fn options() -> Options {
    let journal = journal::Options {
        segment_bytes: SEGMENT_BYTES,
        ..journal::Options::server(RESERVE_BYTES)
    };
    Options {
        cache_bytes: 256 * 1024,
        checkpoint_every: 40,
        ..Options::new(journal, 1)
    }
}

impl Server {
    /// Founds a server.
    ///
    /// # Errors
    /// What the ledger says.
    pub fn found(mut random: Random, planted: Option<Planted>) -> Result<Self, LedgerError> {
        let storage = MemoryStorage::new();
        let kv = Arc::new(MemoryKv::new());
        let key = SigningKey::from_bytes(&random.bytes());
        let journal = JournalId(random.bytes());
        let ledger = Ledger::create(
            storage.clone(),
            Arc::clone(&kv),
            key.clone(),
            journal,
            wall(0),
            options(),
        )?;
        Ok(Self {
            token_key: TokenKey::derive(&key),
            storage,
            kv,
            key,
            ledger: Some(ledger),
            sessions: BTreeMap::new(),
            queue: VecDeque::new(),
            partials: BTreeMap::new(),
            snapshots: VecDeque::new(),
            dooms: VecDeque::new(),
            room: Room::Plenty,
            planted,
            random,
            watermark: 0,
            troubles: Troubles::default(),
            faults: Vec::new(),
        })
    }

    /// From here on a planted fault has its effect, and rows may be thrown back to what they are.
    pub fn begin(&mut self) {
        if self.snapshots.is_empty() {
            self.snapshots.push_back(self.kv.snapshot());
        }
        match self.planted {
            Some(Planted::UnsyncedServer) => self.storage.without_sync(Skipped::Files),
            Some(Planted::UnsyncedNames) => self.storage.without_sync(Skipped::Folder),
            Some(Planted::UnsyncedDevices | Planted::EarlyAnswers) | None => {}
        }
    }

    /// The server's public key.
    pub fn id(&self) -> ServerId {
        ServerId(self.key.verifying_key().to_bytes())
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.ledger.is_some()
    }

    /// Whether its disk has no space for anything new.
    pub fn is_short_of_space(&self) -> bool {
        self.room != Room::Plenty
    }

    /// Reads what counts, if it runs.
    pub fn reader(&self) -> Option<SimReader> {
        self.ledger.as_ref().map(Ledger::reader)
    }

    /// The ledger, for what an administrator does.
    pub fn ledger(&mut self) -> Option<&mut SimLedger> {
        self.ledger.as_mut()
    }

    /// What went wrong so far that nothing in the world explains.
    pub fn take_faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.faults)
    }

    /// Makes an invitation; gives its secret.
    ///
    /// # Errors
    /// What the ledger says.
    pub fn invite(&mut self, person: &str, grants: Vec<Grant>) -> Result<[u8; 16], AdminError> {
        let secret = self.random.bytes();
        let invitation = Invitation {
            hash: invitation_hash(&secret),
            person: person.to_owned(),
            grants,
            expires_at: wall(3_600_000),
        };
        let ledger = self
            .ledger
            .as_mut()
            .expect("people are invited by a server that runs");
        ledger.invite(wall(0), invitation)?;
        Ok(secret)
    }

    /// Uses an invitation, over a session of its own.
    pub fn enrol(&mut self, secret: &[u8; 16], key: &SigningKey) -> Enrolment {
        let mut session = EnrolSession::new(key, secret, self.id(), 0);
        self.accept(0, ENROLMENT);
        loop {
            match session.poll() {
                Some(enrol::Output::Send(bytes)) => {
                    let mut effects = Vec::new();
                    self.handle(0, ENROLMENT, Input::Frame(&bytes), &mut effects);
                    for effect in effects {
                        if let Effect::Send(_, answer) = effect {
                            session.handle(&answer);
                        }
                    }
                }
                Some(enrol::Output::Event(enrol::Event::Enrolled {
                    journal,
                    certificate,
                    id: _,
                })) => {
                    self.handle(0, ENROLMENT, Input::Disconnected, &mut Vec::new());
                    return Enrolment {
                        journal,
                        certificate,
                    };
                }
                other => panic!("the invitation was made a moment ago: {other:?}"),
            }
        }
    }

    /// A connection is accepted; false if nobody listens.
    pub fn accept(&mut self, now: Mono, connection: ConnectionId) -> bool {
        if self.ledger.is_none() {
            return false;
        }
        let session = ServerSession::new(self.random.bytes(), now);
        let device = None;
        self.sessions
            .insert(connection, Serving { session, device });
        true
    }

    /// When a session wants a tick.
    pub fn deadline(&self, connection: ConnectionId) -> Option<Mono> {
        self.sessions.get(&connection)?.session.deadline()
    }

    /// Gives a session what happened and performs what it asks for, in order.
    pub fn handle(
        &mut self,
        now: Mono,
        connection: ConnectionId,
        input: Input<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(reader) = self.reader() else {
            return;
        };
        let Some(mut serving) = self.sessions.remove(&connection) else {
            return;
        };
        let gone = matches!(input, Input::Disconnected);
        let cx = Cx {
            now,
            wall: wall(now),
            reader: &reader,
            token_key: &self.token_key.clone(),
        };
        serving.session.handle(&cx, input);
        let mut closed = gone;
        let mut ahead = VecDeque::new();
        while let Some(output) = ahead.pop_front().or_else(|| serving.session.poll(&cx)) {
            match output {
                Output::Send(bytes) => effects.push(Effect::Send(connection, bytes)),
                Output::Submit(submissions) => {
                    if let Some(outcomes) = self.submit(connection, submissions, &reader) {
                        serving.session.handle(&cx, Input::Judged(outcomes));
                    }
                    effects.push(Effect::Queued);
                }
                Output::Enrol { secret, device } => {
                    let ledger = self.ledger.as_mut().expect("it was up a moment ago");
                    let enrolled = match ledger.enrol(wall(now), &secret, device) {
                        Ok(enrolled) => Ok(enrolled),
                        Err(bukti_core::ledger::EnrolError::Refused(refusal)) => Err(refusal),
                        Err(bukti_core::ledger::EnrolError::Ledger(error)) => {
                            return self.ended_serving(connection, &error, effects);
                        }
                    };
                    serving.session.handle(&cx, Input::Enrolled(enrolled));
                }
                Output::Readmit {
                    device,
                    certificate,
                } => {
                    let ledger = self.ledger.as_mut().expect("it was up a moment ago");
                    match ledger.readmit(wall(now), device, &certificate) {
                        Ok(enrolled) => serving.session.handle(&cx, Input::Enrolled(enrolled)),
                        Err(error) => return self.ended_serving(connection, &error, effects),
                    }
                }
                Output::TakeBack {
                    carrier,
                    statements,
                } => {
                    let ledger = self.ledger.as_mut().expect("it was up a moment ago");
                    match ledger.take_back(wall(now), carrier, statements) {
                        Ok(taken) => {
                            serving.session.handle(&cx, Input::TakenBack(taken.left));
                        }
                        Err(error) => return self.ended_serving(connection, &error, effects),
                    }
                }
                Output::Find(finding) => {
                    let ledger = self.ledger.as_mut().expect("it was up a moment ago");
                    if let Err(error) = ledger.find(wall(now), finding) {
                        return self.ended_serving(connection, &error, effects);
                    }
                }
                Output::Bound(device) => {
                    serving.device = Some(device);
                    let theirs = self.sessions.values();
                    let theirs = theirs.filter(|serving| serving.device == Some(device));
                    let beside = theirs.map(|serving| serving.session.shelf().copy());
                    let kept = self.partials.remove(&device).unwrap_or_default();
                    let held = beside.fold(kept, merged);
                    serving.session.handle(&cx, Input::Held(held));
                    ahead.extend(self.make_room(device, effects));
                }
                Output::Failed(reason) => {
                    return self.ended_serving(connection, &reason, effects);
                }
                Output::Unsound { reason, error } => {
                    let ledger = self.ledger.as_mut().expect("it was up a moment ago");
                    ledger.end_over(error);
                    return self.ended_serving(connection, &reason, effects);
                }
                Output::Close(bye) => {
                    if bye.code == ByeCode::Malformed || bye.code == ByeCode::Credit {
                        self.faults
                            .push(format!("the server closed an honest session: {bye:?}"));
                    }
                    closed = true;
                    break;
                }
            }
        }
        if closed {
            if let Some(device) = serving.device {
                let kept = self.partials.remove(&device).unwrap_or_default();
                let partials = merged(kept, serving.session.shelf().copy());
                self.partials.insert(device, partials);
            }
            if !gone {
                effects.push(Effect::Close(connection));
            }
        } else {
            self.sessions.insert(connection, serving);
        }
    }

    /// Closes the oldest of a device's sessions where it has too many.
    fn make_room(&mut self, device: DeviceId, effects: &mut Vec<Effect>) -> Option<Output> {
        let mut theirs = self
            .sessions
            .iter()
            .filter(|(_, serving)| serving.device == Some(device));
        let oldest = *theirs.next()?.0;
        if theirs.count() + 2 > CONNECTIONS_PER_DEVICE {
            self.sessions.remove(&oldest);
            effects.push(Effect::Close(oldest));
        }
        None
    }

    /// Queues runs. With the planted fault, answers before anything is written.
    fn submit(
        &mut self,
        connection: ConnectionId,
        submissions: Vec<Submission>,
        reader: &SimReader,
    ) -> Option<Vec<Outcome>> {
        let early = self.planted == Some(Planted::EarlyAnswers);
        let next = reader.watermark().position + 1 + self.queue.len() as u64;
        let outcomes = (next..)
            .zip(&submissions)
            .map(|(position, submission)| Outcome {
                run: submission.run.id(),
                verdict: Verdict::Accepted(position),
            })
            .collect();
        let queued = submissions.into_iter().map(|submission| Queued {
            connection,
            submission,
            answered: early,
        });
        self.queue.extend(queued);
        early.then_some(outcomes)
    }

    /// Commits what is queued and answers it.
    pub fn commit(&mut self, now: Mono, effects: &mut Vec<Effect>) {
        if self.queue.is_empty() || !self.is_up() {
            return;
        }
        if let Some(rows) = self.take_doom(Stage::BeforeWriting) {
            return self.lose_power(rows, Ended::Unwritten, effects);
        }
        let many = self.random.between(1, BATCH_RUNS_MAX as u64) as usize;
        let taken: Vec<Queued> = self.queue.drain(..many.min(self.queue.len())).collect();
        let batch = taken
            .iter()
            .map(|queued| queued.submission.clone())
            .collect();
        let ledger = self.ledger.as_mut().expect("it was up a moment ago");
        let outcomes = match ledger.accept(wall(now), batch) {
            Ok(outcomes) => outcomes,
            Err(error) => return self.ended(&error, effects),
        };
        if let Some(rows) = self.take_doom(Stage::BeforeAnswering) {
            return self.lose_power(rows, Ended::Unanswered, effects);
        }
        let full = |outcome: &&Outcome| matches!(outcome.verdict, Verdict::Full);
        self.troubles.put_off += outcomes.iter().filter(full).count() as u64;
        if self.random.chance(30) {
            self.snapshots.push_back(self.kv.snapshot());
            if self.snapshots.len() > SNAPSHOTS_KEPT {
                self.snapshots.pop_front();
            }
        }
        let mut answers: Vec<(ConnectionId, Vec<Outcome>)> = Vec::new();
        for (queued, outcome) in taken.into_iter().zip(outcomes) {
            if queued.answered {
                continue;
            }
            match answers.last_mut() {
                Some((connection, outcomes)) if *connection == queued.connection => {
                    outcomes.push(outcome);
                }
                Some(_) | None => answers.push((queued.connection, vec![outcome])),
            }
        }
        for (connection, outcomes) in answers {
            self.handle(now, connection, Input::Judged(outcomes), effects);
        }
        self.advanced(now, effects);
        if !self.queue.is_empty() {
            effects.push(Effect::Queued);
        }
    }

    /// Tells every session that the journal has grown.
    pub fn advanced(&mut self, now: Mono, effects: &mut Vec<Effect>) {
        let Some(reader) = self.reader() else {
            return;
        };
        let position = reader.watermark().position;
        if position < self.watermark {
            let before = self.watermark;
            self.faults.push(format!(
                "the watermark went back from {before} to {position}"
            ));
        }
        self.watermark = position;
        let connections: Vec<ConnectionId> = self.sessions.keys().copied().collect();
        for connection in connections {
            self.handle(now, connection, Input::Advanced, effects);
        }
    }

    /// An administrator's statement.
    pub fn administer<T>(
        &mut self,
        now: Mono,
        effects: &mut Vec<Effect>,
        act: impl FnOnce(&mut SimLedger, WallMs) -> Result<T, AdminError>,
    ) {
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        match act(ledger, wall(now)) {
            Ok(_) => self.advanced(now, effects),
            Err(AdminError::Invalid(_)) => {}
            Err(AdminError::Full) => self.troubles.put_off += 1,
            Err(AdminError::Ledger(error)) => self.ended(&error, effects),
        }
    }

    /// Plans where the server crashes, or lets it lose power at once. One that does not run crashes
    /// when it starts.
    pub fn crash(&mut self, step: u64, stage: Stage, rows: Rows, effects: &mut Vec<Effect>) {
        let stage = match stage {
            Stage::Idle if self.is_up() => return self.lose_power(rows, Ended::Idle, effects),
            Stage::Idle => Stage::Call(self.random.between(1, START_CALLS)),
            Stage::BeforeWriting | Stage::BeforeAnswering | Stage::Call(_) => stage,
        };
        let step = Some(step);
        self.dooms.push_back(Doom { step, stage, rows });
        if self.dooms.len() == 1 {
            self.arm();
        }
    }

    /// What a step planned has had its time: if it did not come, the power goes instead. False if
    /// the server has to run first.
    pub fn overdue(&mut self, step: u64, effects: &mut Vec<Effect>) -> bool {
        let planned = self.dooms.iter().position(|doom| doom.step == Some(step));
        let Some(planned) = planned else {
            return true;
        };
        if !self.is_up() {
            return false;
        }
        if let Some(doom) = self.dooms.remove(planned) {
            self.lose_power(doom.rows, Ended::Idle, effects);
        }
        true
    }

    fn arm(&self) {
        match self.dooms.front().map(|doom| doom.stage) {
            Some(Stage::Call(call)) => self.storage.fail_at(call, Fault::Io),
            Some(Stage::Idle | Stage::BeforeWriting | Stage::BeforeAnswering) | None => {
                self.storage.fail_no_more();
            }
        }
    }

    /// The crash that is due if it was planned for this stage: what becomes of the rows.
    fn take_doom(&mut self, stage: Stage) -> Option<Rows> {
        self.take_first(|doom| doom.stage == stage)
    }

    /// The crash whose call failed.
    fn take_struck(&mut self) -> Option<Rows> {
        let to_fail = self.storage.is_to_fail();
        self.take_first(|doom| matches!(doom.stage, Stage::Call(_)) && !to_fail)
    }

    fn take_first(&mut self, is_due: impl FnOnce(&Doom) -> bool) -> Option<Rows> {
        let due = self.dooms.front().is_some_and(is_due);
        let doom = due.then(|| self.dooms.pop_front()).flatten();
        doom.map(|doom| doom.rows)
    }

    /// The process ends while it does what a session asked for.
    fn ended_serving(
        &mut self,
        connection: ConnectionId,
        error: &dyn std::fmt::Debug,
        effects: &mut Vec<Effect>,
    ) {
        effects.push(Effect::Close(connection));
        self.ended(error, effects);
    }

    fn ended(&mut self, error: &dyn std::fmt::Debug, effects: &mut Vec<Effect>) {
        match self.take_struck() {
            // The call that failed ends the process; the machine and its cache may go on.
            Some(rows) if self.random.chance(PROCESS_ALONE_PERCENT) => {
                self.throw_back(rows);
                self.end_process(Ended::Call, effects);
            }
            Some(rows) => self.lose_power(rows, Ended::CallAndPower, effects),
            None => {
                self.faults
                    .push(format!("the ledger ended for no reason: {error:?}"));
                self.lose_power(Rows::Stay, Ended::Idle, effects);
            }
        }
    }

    fn end_process(&mut self, how: Ended, effects: &mut Vec<Effect>) {
        self.troubles.ended(how);
        self.storage.fail_no_more();
        self.ledger = None;
        for connection in std::mem::take(&mut self.sessions).into_keys() {
            effects.push(Effect::Close(connection));
        }
        self.queue.clear();
        self.partials.clear();
        effects.push(Effect::Died(how));
    }

    fn lose_power(&mut self, rows: Rows, how: Ended, effects: &mut Vec<Effect>) {
        self.crash_disk();
        self.throw_back(rows);
        self.end_process(how, effects);
    }

    fn crash_disk(&mut self) {
        let random = &mut self.random;
        self.storage.crash(&mut |below| random.index(below));
    }

    fn throw_back(&mut self, rows: Rows) {
        let before = self.kv.snapshot();
        match rows {
            Rows::Stay => {}
            Rows::Earlier => {
                let which = self.random.index(self.snapshots.len());
                self.kv.restore(&self.snapshots[which]);
                self.troubles.rows_earlier += u64::from(self.kv.snapshot() != before);
            }
            Rows::Vanish => {
                self.kv.restore(&MemorySnapshot::default());
                self.troubles.rows_gone += 1;
            }
        }
    }

    /// Sets the space on its disk.
    pub fn set_room(&mut self, room: Room) {
        self.room = room;
        match room {
            Room::Plenty => {}
            Room::Reserve => self.troubles.reserve += 1,
            Room::None => self.troubles.full += 1,
        }
        self.storage.set_free_bytes(match room {
            Room::Plenty => u64::MAX / 2,
            Room::Reserve => RESERVE_BYTES - 1,
            Room::None => 0,
        });
    }

    /// Comes up again; false if it has to be tried once more.
    pub fn start(&mut self) -> bool {
        if self.ledger.is_some() {
            return true;
        }
        self.plan_start();
        self.arm();
        let opened = Ledger::open(
            self.storage.clone(),
            Arc::clone(&self.kv),
            self.key.clone(),
            options(),
            &mut |_progress| {},
        );
        let struck = opened.is_err() && self.take_struck().is_some();
        if self.take_first(|doom| doom.step.is_none()).is_some() {
            self.storage.fail_no_more();
        }
        match opened {
            Ok((ledger, _opened)) => {
                self.ledger = Some(ledger);
                self.begin();
                true
            }
            Err(_) if struck => {
                let power = self.random.chance(50);
                if power {
                    self.crash_disk();
                }
                self.troubles.unstarted(match power {
                    true => Unstarted::CallAndPower,
                    false => Unstarted::Call,
                });
                false
            }
            // It is started again once there is space.
            Err(error) if self.room == Room::None && is_for_want_of_space(&error) => {
                self.troubles.unstarted(Unstarted::NoRoom);
                true
            }
            Err(error) => {
                self.faults
                    .push(format!("the server does not come up again: {error:?}"));
                true
            }
        }
    }

    /// Lets a call of this start fail now and then, unless one is to fail anyway.
    fn plan_start(&mut self) {
        let planned = self.dooms.front().map(|doom| doom.stage);
        if !matches!(planned, Some(Stage::Call(_))) && self.random.chance(START_FAILS_PERCENT) {
            self.dooms.push_front(Doom {
                step: None,
                stage: Stage::Call(self.random.between(1, START_CALLS)),
                rows: Rows::Stay,
            });
        }
    }

    /// Makes space and ends the process once more, so that the world can come to rest.
    pub fn calm(&mut self, effects: &mut Vec<Effect>) {
        self.set_room(Room::Plenty);
        if self.ledger.is_some() {
            self.lose_power(Rows::Stay, Ended::AtRest, effects);
        }
    }

    /// What a second server makes of a copy of the journal alone: its rows.
    ///
    /// # Errors
    /// What the ledger says.
    pub fn rows_made_anew(&self) -> Result<MemorySnapshot, LedgerError> {
        let kv = Arc::new(MemoryKv::new());
        let copy = self.storage.duplicate();
        Ledger::open(
            copy,
            Arc::clone(&kv),
            self.key.clone(),
            options(),
            &mut |_progress| {},
        )?;
        Ok(kv.snapshot())
    }

    /// The rows as they are.
    pub fn rows(&self) -> MemorySnapshot {
        self.kv.snapshot()
    }

    /// Ends a device's sessions at once, as the driver does on revocation.
    pub fn revoked(&mut self, now: Mono, device: DeviceId, effects: &mut Vec<Effect>) {
        let theirs: Vec<ConnectionId> = self
            .sessions
            .iter()
            .filter(|(_, serving)| serving.device == Some(device))
            .map(|(connection, _)| *connection)
            .collect();
        for connection in theirs {
            self.handle(now, connection, Input::Revoked, effects);
        }
    }

    /// Ends a session on the driver's account.
    pub fn end(&mut self, now: Mono, connection: ConnectionId, effects: &mut Vec<Effect>) {
        let bye = Bye::new(ByeCode::Timeout, "Nothing was heard for a minute.");
        self.handle(now, connection, Input::End(bye), effects);
    }
}
