//! A device of a simulated world: the production device and session on a disk that loses power,
//! with a clock that may say anything.

use std::collections::VecDeque;
use std::sync::Arc;

use bukti_client::device::{Applicant, Device, DeviceError, Enrolment, Folders};
use bukti_client::limits::TAIL_RESERVE_BYTES;
use bukti_core::causes::is_for_want_of_space;
use bukti_core::envelope::{Body, DocumentKind, Envelope, Root, Run};
use bukti_core::id::{ChangeHash, DeviceId, DocumentId, Incarnation, RunId, WallMs};
use bukti_core::journal::memory::{Fault, MemoryStorage, Skipped};
use bukti_core::kv::{MemoryKv, MemorySnapshot};
use bukti_core::scope::Scope;
use bukti_sync_protocol::Mono;
use bukti_sync_protocol::client::{ClientSession, Event, Input, Output};
use bukti_sync_protocol::link::InvitationLink;
use ed25519_dalek::SigningKey;

use super::random::Random;
use super::script::{Forgery, Room, Rows};
use super::server::{ConnectionId, PROCESS_ALONE_PERCENT, START_CALLS, START_FAILS_PERCENT};
use super::troubles::{Ended, Troubles, Unstarted};

/// A device as the simulation runs it.
pub type SimDevice = Device<MemoryStorage, MemoryKv>;

/// Snapshots of the confirmed rows that a crash may throw the store back to.
const SNAPSHOTS_KEPT: usize = 6;

/// What a device wants done, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Send a message.
    Send(Vec<u8>),
    /// It took note of this, and has stored what it had to.
    Learned(Event),
    /// Close the connection, and connect again if there is reason to.
    Close,
    /// The process ended; what became of the confirmed rows.
    Died(Ended, Rows),
}

/// A device that can lose power, be copied and be restored.
#[derive(Debug)]
pub struct Phone {
    folders: Folders<MemoryStorage>,
    kv: MemoryKv,
    key: SigningKey,
    device: Option<SimDevice>,
    session: Option<(ConnectionId, ClientSession)>,
    /// What its clock says at time 0.
    clock: WallMs,
    snapshots: Vec<MemorySnapshot>,
    kept: Option<Kept>,
    /// Crashes that are planned. The first is waited for, each other one from the crash before it.
    dooms: VecDeque<Doom>,
    room: Room,
    /// Runs that a dishonest program wants sent, too.
    forged: Vec<(RunId, Vec<u8>)>,
    random: Random,
    /// What befell it.
    pub troubles: Troubles,
    faults: Vec<String>,
    /// Whether the world comes to rest.
    at_rest: bool,
}

/// A crash that is planned.
#[derive(Debug, Clone, Copy)]
struct Doom {
    /// The step that plans it; none plans a start that fails.
    step: Option<u64>,
    disk: Disk,
    /// The call to this disk that fails.
    call: u64,
    rows: Rows,
}

/// One of a device's folders, as if each were on a disk of its own.
#[derive(Debug, Clone, Copy)]
enum Disk {
    Home,
    Tail,
    Quarantine,
}

/// Calls that a start makes to the folders of identity and quarantine, about.
const SMALL_CALLS: u64 = 4;

#[derive(Debug)]
struct Kept {
    folders: Folders<MemoryStorage>,
    rows: MemorySnapshot,
}

impl Phone {
    /// Enrols a device.
    ///
    /// # Errors
    /// What the device says.
    pub fn enrol(
        mut random: Random,
        link: &InvitationLink,
        enrol: impl FnOnce(&SigningKey) -> Enrolment,
    ) -> Result<Self, DeviceError> {
        let folders = Folders {
            home: Arc::new(MemoryStorage::new()),
            tail: Arc::new(MemoryStorage::new()),
            quarantine: Arc::new(MemoryStorage::new()),
        };
        let kv = MemoryKv::new();
        let applicant = Applicant::open(folders.clone(), link, random.bytes())?;
        let key = applicant.key().clone();
        let incarnation = Incarnation(random.bytes());
        let device = applicant.finish(kv.clone(), &enrol(&key), incarnation)?;
        let snapshots = vec![kv.snapshot()];
        Ok(Self {
            folders,
            kv,
            key,
            device: Some(device),
            session: None,
            clock: 0,
            snapshots,
            kept: None,
            dooms: VecDeque::new(),
            room: Room::Plenty,
            forged: Vec::new(),
            random,
            troubles: Troubles::default(),
            faults: Vec::new(),
            at_rest: false,
        })
    }

    /// Lets the tail's syncs do nothing.
    pub fn without_sync(&self) {
        self.folders.tail.without_sync(Skipped::Files);
    }

    /// This device.
    pub fn id(&self) -> DeviceId {
        DeviceId(self.key.verifying_key().to_bytes())
    }

    /// The device, if it has power.
    pub fn device(&mut self) -> Option<&mut SimDevice> {
        self.device.as_mut()
    }

    /// The connection of its session.
    pub fn connection(&self) -> Option<ConnectionId> {
        self.session.as_ref().map(|(connection, _)| *connection)
    }

    /// Whether its disk has no space for anything new.
    pub fn is_short_of_space(&self) -> bool {
        self.room != Room::Plenty
    }

    /// When its session wants a tick.
    pub fn deadline(&self) -> Option<Mono> {
        self.session.as_ref()?.1.deadline()
    }

    /// Sets its clock.
    pub fn set_clock(&mut self, now: Mono, to: WallMs) {
        self.clock = to - now as WallMs;
    }

    /// What its clock says.
    pub fn wall(&self, now: Mono) -> WallMs {
        self.clock + now as WallMs
    }

    /// What went wrong so far that nothing in the world explains.
    pub fn take_faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.faults)
    }

    /// A person or a program does something on the device. `None` if it was refused or the device
    /// has no power; a failing disk ends the device.
    pub fn act<T>(
        &mut self,
        effects: &mut Vec<Effect>,
        act: impl FnOnce(&mut SimDevice, &mut Random) -> Result<T, DeviceError>,
    ) -> Option<T> {
        let device = self.device.as_mut()?;
        match act(device, &mut self.random) {
            Ok(done) => Some(done),
            Err(error) if error.is_refusal() => {
                self.troubles.put_off += u64::from(is_for_want_of_space(&error));
                None
            }
            Err(error) => {
                self.failed(&error, effects);
                None
            }
        }
    }

    /// Opens a session over a connection that stands.
    pub fn connect(&mut self, now: Mono, connection: ConnectionId, effects: &mut Vec<Effect>) {
        let opening = self.act(effects, |device, _| {
            device.opening(Vec::new(), "simulated 1")
        });
        let Some(opening) = opening else {
            return;
        };
        self.session = Some((connection, ClientSession::new(opening, now)));
        self.offer(now, effects);
    }

    /// Offers what waits to the session.
    pub fn offer(&mut self, now: Mono, effects: &mut Vec<Effect>) {
        let Some((_, session)) = &self.session else {
            return;
        };
        let comparing = session.comparing();
        let Some(mut offers) = self.act(effects, |device, _| device.returns(comparing)) else {
            return;
        };
        let Some(device) = &mut self.device else {
            return;
        };
        offers.extend(device.offers());
        offers.extend(self.forged.iter().cloned().map(Into::into));
        self.handle(now, Input::Offer(offers), effects);
    }

    /// Gives the session what happened and performs what it asks for, in order.
    pub fn handle(&mut self, now: Mono, input: Input<'_>, effects: &mut Vec<Effect>) {
        let wall = self.wall(now);
        let Some((_, session)) = &mut self.session else {
            return;
        };
        session.handle(now, input);
        while let Some((_, session)) = &mut self.session {
            match session.poll() {
                None => return,
                Some(Output::Send(bytes)) => effects.push(Effect::Send(bytes)),
                Some(Output::Event(event)) => self.learn(now, wall, event, effects),
                Some(Output::Close) => {
                    self.hang_up(effects);
                    effects.push(Effect::Close);
                }
            }
        }
    }

    fn learn(&mut self, now: Mono, wall: WallMs, event: Event, effects: &mut Vec<Effect>) {
        if let Event::Rejected { run, .. } = &event {
            self.forged.retain(|(forged, _)| forged != run);
        }
        let Some(device) = &mut self.device else {
            return;
        };
        let reaction = match device.handle_event(wall, self.random.bytes(), &event) {
            Ok(reaction) => reaction,
            // What keeps a device from hearing something ends it, a full disk, too.
            Err(error) => return self.failed(&error, effects),
        };
        if self.random.chance(20) {
            self.snapshots.push(self.kv.snapshot());
            if self.snapshots.len() > SNAPSHOTS_KEPT {
                self.snapshots.remove(0);
            }
        }
        effects.push(Effect::Learned(event));
        for input in reaction.into_inputs() {
            self.handle(now, input, effects);
        }
        self.conclude(now, wall, effects);
        self.offer(now, effects);
    }

    /// Tells of differences that stayed when everything was compared.
    fn conclude(&mut self, now: Mono, wall: WallMs, effects: &mut Vec<Effect>) {
        let comparing = self
            .session
            .as_ref()
            .map(|(_, session)| session.comparing());
        let Some(comparing) = comparing else {
            return;
        };
        let survived = self.act(effects, |device, _| device.conclude(wall, comparing));
        for survived in survived.unwrap_or_default() {
            self.handle(now, survived.into(), effects);
        }
    }

    /// The connection is gone.
    pub fn hang_up(&mut self, effects: &mut Vec<Effect>) {
        if let Some((_, session)) = self.session.take() {
            self.act(effects, |device, _| {
                device.keep_partials(session.partials())
            });
        }
    }

    /// A dishonest program does its work with the device's key.
    pub fn forge(&mut self, now: Mono, forgery: Forgery, document: Option<DocumentId>) {
        let random = self.random.bytes();
        let kind = DocumentKind::Evidence;
        let scope: Scope = "13.76.02.2001".parse().expect("a village code is a scope");
        let own = DocumentId::derive(&self.id(), kind.as_str(), &scope, &random);
        let root = Root {
            kind,
            scope,
            random,
        };
        let (document, root) = match forgery {
            Forgery::Elsewhere => (own, Some(root)),
            Forgery::Noise => (document.unwrap_or(own), None),
            Forgery::SecondRoot => (document.unwrap_or(own), Some(root)),
        };
        let body = Body {
            document,
            root,
            incarnation: Incarnation(self.random.bytes()),
            number: 1,
            first_seq: 1,
            count: 1,
            last_hash: ChangeHash(self.random.bytes()),
            publish: false,
            device_time: self.wall(now),
            seen: None,
            device: self.id(),
        };
        let run = Run {
            envelope: Envelope::seal(body, &self.key),
            changes: vec![self.random.bytes::<90>().to_vec()],
        };
        self.forged.push((run.id(), run.to_bytes()));
    }

    /// Copies its store.
    pub fn keep(&mut self) {
        self.kept = Some(Kept {
            folders: duplicate(&self.folders),
            rows: self.kv.snapshot(),
        });
    }

    /// Puts the copy in place of the store; false if there is none.
    pub fn restore(&mut self, effects: &mut Vec<Effect>) -> bool {
        let Some(kept) = &self.kept else {
            return false;
        };
        self.folders = duplicate(&kept.folders);
        // A backup may hold only what cannot be fetched again.
        if self.random.chance(60) {
            self.kv.restore(&kept.rows);
        }
        self.take_space();
        self.end_process(Ended::Restored, Rows::Earlier, effects);
        true
    }

    /// Plans a crash during a call to a disk, or lets it lose power at once. One that does not run
    /// crashes when it starts.
    pub fn crash(&mut self, step: u64, call: Option<u64>, rows: Rows, effects: &mut Vec<Effect>) {
        let call = match call {
            None if self.device.is_some() => return self.lose_power(rows, Ended::Idle, effects),
            None => self.random.between(1, START_CALLS),
            Some(call) => call,
        };
        // A device that runs does not look at its identity.
        let home = u64::from(self.device.is_none());
        let disk =
            self.random
                .weighted(&[(5, Disk::Tail), (1, Disk::Quarantine), (home, Disk::Home)]);
        let step = Some(step);
        self.dooms.push_back(Doom::new(step, disk, call, rows));
        if self.dooms.len() == 1 {
            self.arm();
        }
    }

    /// What a step planned has had its time: if it did not come, the power goes instead. False if
    /// the device has to run first.
    pub fn overdue(&mut self, step: u64, effects: &mut Vec<Effect>) -> bool {
        let planned = self.dooms.iter().position(|doom| doom.step == Some(step));
        let Some(planned) = planned else {
            return true;
        };
        if self.device.is_none() {
            return false;
        }
        if let Some(doom) = self.dooms.remove(planned) {
            self.lose_power(doom.rows, Ended::Idle, effects);
        }
        true
    }

    fn disks(&self) -> [&MemoryStorage; 3] {
        let Folders {
            home,
            tail,
            quarantine,
        } = &self.folders;
        [home, tail, quarantine]
    }

    fn disk(&self, disk: Disk) -> &MemoryStorage {
        let [home, tail, quarantine] = self.disks();
        match disk {
            Disk::Home => home,
            Disk::Tail => tail,
            Disk::Quarantine => quarantine,
        }
    }

    fn disarm(&self) {
        for disk in self.disks() {
            disk.fail_no_more();
        }
    }

    fn arm(&self) {
        self.disarm();
        if let Some(doom) = self.dooms.front() {
            self.disk(doom.disk).fail_at(doom.call, Fault::Io);
        }
    }

    /// The crash whose call failed: what becomes of the rows.
    fn take_struck(&mut self) -> Option<Rows> {
        let doom = self.dooms.front()?;
        if self.disk(doom.disk).is_to_fail() {
            return None;
        }
        self.dooms.pop_front().map(|doom| doom.rows)
    }

    fn failed(&mut self, error: &DeviceError, effects: &mut Vec<Effect>) {
        let (rows, full) = match self.take_struck() {
            Some(rows) => (rows, false),
            None => {
                if !self.is_short_of_space() || !is_for_want_of_space(error) {
                    self.faults
                        .push(format!("a device failed for no reason: {error:?}"));
                }
                (Rows::Stay, true)
            }
        };
        // The call that failed ends the process; the machine and its cache may go on.
        if self.random.chance(PROCESS_ALONE_PERCENT) {
            let how = if full { Ended::NoRoom } else { Ended::Call };
            let rows = self.lose_unflushed(rows);
            return self.end_process(how, rows, effects);
        }
        let how = if full {
            Ended::NoRoom
        } else {
            Ended::CallAndPower
        };
        self.lose_power(rows, how, effects);
    }

    fn end_process(&mut self, how: Ended, rows: Rows, effects: &mut Vec<Effect>) {
        self.troubles.ended(how);
        self.disarm();
        self.device = None;
        self.session = None;
        effects.push(Effect::Died(how, rows));
    }

    fn crash_disks(&mut self) {
        let [home, tail, quarantine] = self.disks().map(MemoryStorage::clone);
        let random = &mut self.random;
        for disk in [home, tail, quarantine] {
            disk.crash(&mut |below| random.index(below));
        }
    }

    fn lose_power(&mut self, rows: Rows, how: Ended, effects: &mut Vec<Effect>) {
        self.crash_disks();
        self.throw_back(rows);
        self.end_process(how, rows, effects);
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

    /// A process that ends alone leaves what it handed to the system, and perhaps no more.
    fn lose_unflushed(&mut self, rows: Rows) -> Rows {
        match rows {
            Rows::Stay => Rows::Stay,
            Rows::Earlier | Rows::Vanish => {
                let before = self.kv.snapshot();
                self.kv.restore(&self.kv.flushed());
                self.troubles.rows_earlier += u64::from(self.kv.snapshot() != before);
                Rows::Earlier
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
        self.take_space();
    }

    fn take_space(&self) {
        for folder in [&self.folders.tail, &self.folders.quarantine] {
            folder.set_free_bytes(match self.room {
                Room::Plenty => u64::MAX / 2,
                Room::Reserve => TAIL_RESERVE_BYTES - 1,
                Room::None => 0,
            });
        }
    }

    /// Comes up again; false if it has to be tried once more.
    pub fn start(&mut self) -> bool {
        if self.device.is_some() {
            return true;
        }
        if !self.at_rest && self.dooms.is_empty() && self.random.chance(START_FAILS_PERCENT) {
            let disk =
                self.random
                    .weighted(&[(1, Disk::Home), (2, Disk::Tail), (1, Disk::Quarantine)]);
            let call = self.random.between(1, START_CALLS);
            self.dooms
                .push_front(Doom::new(None, disk, call, Rows::Stay));
        }
        self.arm();
        let opened = Device::open(self.folders.clone(), self.kv.clone());
        let struck = opened.is_err() && self.take_struck().is_some();
        if self.dooms.front().is_some_and(|doom| doom.step.is_none()) {
            self.dooms.pop_front();
            self.disarm();
        }
        match opened {
            Ok(device) => {
                self.device = Some(device);
                true
            }
            Err(_) if struck => {
                let power = self.random.chance(50);
                if power {
                    self.crash_disks();
                }
                self.troubles.unstarted(match power {
                    true => Unstarted::CallAndPower,
                    false => Unstarted::Call,
                });
                false
            }
            // It is started again once there is space. A store that was thrown back needs a new life
            // before anything else, and that is written down.
            Err(error) if self.is_short_of_space() && is_for_want_of_space(&error) => {
                self.troubles.unstarted(Unstarted::NoRoom);
                true
            }
            Err(error) => {
                self.faults
                    .push(format!("a device does not come up again: {error:?}"));
                true
            }
        }
    }

    /// Makes space and ends the process once more, so that the world can come to rest. Nothing fails
    /// when it starts again: a refused run whose file could not be read is back then.
    pub fn calm(&mut self, effects: &mut Vec<Effect>) {
        self.at_rest = true;
        self.set_room(Room::Plenty);
        if self.device.is_some() {
            self.lose_power(Rows::Stay, Ended::AtRest, effects);
        }
    }
}

impl Doom {
    fn new(step: Option<u64>, disk: Disk, call: u64, rows: Rows) -> Self {
        let call = match disk {
            Disk::Tail => call,
            Disk::Home | Disk::Quarantine => 1 + call % SMALL_CALLS,
        };
        Self {
            step,
            disk,
            call,
            rows,
        }
    }
}

fn duplicate(folders: &Folders<MemoryStorage>) -> Folders<MemoryStorage> {
    Folders {
        home: Arc::new(folders.home.duplicate()),
        tail: Arc::new(folders.tail.duplicate()),
        quarantine: Arc::new(folders.quarantine.duplicate()),
    }
}
