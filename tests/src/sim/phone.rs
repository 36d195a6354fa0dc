//! A device of a simulated world: the production device and session on a disk that loses power,
//! with a clock that may say anything.

use std::sync::Arc;

use bukti_client::device::{Applicant, Device, DeviceError, Enrolment, Folders};
use bukti_client::limits::TAIL_RESERVE_BYTES;
use bukti_core::envelope::{Body, DocumentKind, Envelope, Root, Run};
use bukti_core::id::{ChangeHash, DeviceId, DocumentId, Incarnation, RunId, WallMs};
use bukti_core::journal::memory::{Fault, MemoryStorage, Skipped};
use bukti_core::kv::{Batch, Direction, Kv, KvError, MemoryKv, MemorySnapshot, Rows as KvRows};
use bukti_core::scope::Scope;
use bukti_sync_protocol::Mono;
use bukti_sync_protocol::client::{ClientSession, Event, Input, Output};
use bukti_sync_protocol::link::InvitationLink;
use ed25519_dalek::SigningKey;

use super::random::Random;
use super::script::{Forgery, Room, Rows};
use super::server::{ConnectionId, NEVER, START_FAILS_PERCENT};

/// A device as the simulation runs it.
pub type SimDevice = Device<MemoryStorage, SharedKv>;

/// Snapshots of the confirmed rows that a crash may throw the store back to.
const SNAPSHOTS_KEPT: usize = 6;

/// Rows that outlive the process that uses them.
#[derive(Debug, Clone, Default)]
pub struct SharedKv(Arc<MemoryKv>);

impl Kv for SharedKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.0.get(key)
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> KvRows<'a> {
        self.0.scan(from, to, direction)
    }

    fn apply(&self, batch: &Batch) -> Result<(), KvError> {
        self.0.apply(batch)
    }

    fn flush(&self) -> Result<(), KvError> {
        self.0.flush()
    }

    fn size_on_disk(&self) -> Result<u64, KvError> {
        self.0.size_on_disk()
    }
}

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
    Died(Rows),
}

/// A device that can lose power, be copied and be restored.
#[derive(Debug)]
pub struct Phone {
    folders: Folders<MemoryStorage>,
    kv: SharedKv,
    key: SigningKey,
    device: Option<SimDevice>,
    session: Option<(ConnectionId, ClientSession)>,
    /// What its clock says at time 0.
    clock: WallMs,
    snapshots: Vec<MemorySnapshot>,
    kept: Option<Kept>,
    /// A crash that is planned: what becomes of the rows.
    doom: Option<Rows>,
    room: Room,
    /// Runs that a dishonest program wants sent, too.
    forged: Vec<(RunId, Vec<u8>)>,
    random: Random,
    faults: Vec<String>,
}

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
        let kv = SharedKv::default();
        let applicant = Applicant::open(folders.clone(), link, random.bytes())?;
        let key = applicant.key().clone();
        let incarnation = Incarnation(random.bytes());
        let device = applicant.finish(kv.clone(), &enrol(&key), incarnation)?;
        Ok(Self {
            folders,
            kv,
            key,
            device: Some(device),
            session: None,
            clock: 0,
            snapshots: Vec::new(),
            kept: None,
            doom: None,
            room: Room::Plenty,
            forged: Vec::new(),
            random,
            faults: Vec::new(),
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
            Err(error) if error.is_refusal() => None,
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
            self.snapshots.push(self.kv.0.snapshot());
            if self.snapshots.len() > SNAPSHOTS_KEPT {
                self.snapshots.remove(0);
            }
        }
        effects.push(Effect::Learned(event));
        for input in reaction.into_inputs() {
            self.handle(now, input, effects);
        }
        self.offer(now, effects);
        self.conclude(now, wall, effects);
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
            rows: self.kv.0.snapshot(),
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
            self.kv.0.restore(&kept.rows);
        }
        self.set_room(self.room);
        self.device = None;
        self.session = None;
        effects.push(Effect::Died(Rows::Earlier));
        true
    }

    /// Plans a loss of power during a call to the disk, or loses it at once.
    pub fn crash(&mut self, call: Option<u64>, rows: Rows, effects: &mut Vec<Effect>) {
        if self.device.is_none() || self.doom.is_some() {
            return;
        }
        let Some(call) = call else {
            return self.lose_power(rows, effects);
        };
        self.doom = Some(rows);
        let folder = self.random.weighted(&[(5, 0), (1, 1)]);
        match folder {
            0 => self.folders.tail.fail_at(call, Fault::Io),
            _ => self.folders.quarantine.fail_at(call, Fault::Io),
        }
    }

    fn failed(&mut self, error: &DeviceError, effects: &mut Vec<Effect>) {
        let explained = self.doom.is_some() || self.room != Room::Plenty;
        if explained && self.random.chance(40) {
            // The call that failed ends the process; the machine and its cache go on.
            return self.end_process(Rows::Stay, effects);
        }
        let rows = self.doom.unwrap_or_else(|| {
            if explained {
                return Rows::Stay;
            }
            self.faults
                .push(format!("a device failed for no reason: {error:?}"));
            Rows::Stay
        });
        self.lose_power(rows, effects);
    }

    /// Lets a call to each of its disks fail; the call before that was to fail does not.
    fn fail_at(&self, call: u64) {
        let Folders {
            home,
            tail,
            quarantine,
        } = &self.folders;
        for folder in [home, tail, quarantine] {
            folder.fail_at(call, Fault::Io);
        }
    }

    fn end_process(&mut self, rows: Rows, effects: &mut Vec<Effect>) {
        self.fail_at(NEVER);
        self.device = None;
        self.session = None;
        self.doom = None;
        effects.push(Effect::Died(rows));
    }

    fn crash_disks(&mut self) {
        let random = &mut self.random;
        for folder in [
            &self.folders.home,
            &self.folders.tail,
            &self.folders.quarantine,
        ] {
            folder.crash(&mut |below| random.index(below));
        }
    }

    fn lose_power(&mut self, rows: Rows, effects: &mut Vec<Effect>) {
        self.crash_disks();
        match rows {
            Rows::Stay => {}
            Rows::Earlier => {
                if !self.snapshots.is_empty() {
                    let which = self.random.index(self.snapshots.len());
                    self.kv.0.restore(&self.snapshots[which]);
                }
            }
            Rows::Vanish => self.kv.0.restore(&MemorySnapshot::default()),
        }
        self.end_process(rows, effects);
    }

    /// Sets the space on its disk.
    pub fn set_room(&mut self, room: Room) {
        self.room = room;
        for folder in [&self.folders.tail, &self.folders.quarantine] {
            folder.set_free_bytes(match room {
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
        let fails = self.random.chance(START_FAILS_PERCENT);
        if fails {
            let call = self.random.between(1, 14);
            self.fail_at(call);
        }
        let opened = Device::open(self.folders.clone(), self.kv.clone());
        self.fail_at(NEVER);
        match opened {
            Ok(device) => {
                self.device = Some(device);
                true
            }
            Err(_) if fails => {
                if self.random.chance(50) {
                    self.crash_disks();
                }
                false
            }
            // It is started again once there is space. A store that was thrown back needs a new life
            // before anything else, and that is written down.
            Err(error)
                if self.room != Room::Plenty && (self.room == Room::None || error.is_refusal()) =>
            {
                true
            }
            Err(error) => {
                self.faults
                    .push(format!("a device does not come up again: {error:?}"));
                true
            }
        }
    }

    /// Voids planned crashes and makes space, so that the world can come to rest.
    pub fn calm(&mut self, effects: &mut Vec<Effect>) {
        self.set_room(Room::Plenty);
        if self.device.is_some() {
            self.lose_power(Rows::Stay, effects);
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
