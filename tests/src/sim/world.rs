//! One world: its server, its devices and the network between them, event by event.

use std::collections::{BTreeMap, BTreeSet};

use bukti_core::id::DocumentId;
use bukti_sync_protocol::Mono;
use bukti_sync_protocol::bye::ByeCode;
use bukti_sync_protocol::client::{Event as Learned, Input as ClientInput};
use bukti_sync_protocol::link::InvitationLink;
use bukti_sync_protocol::server::Input as ServerInput;

use super::check::{Oracle, Standing, Violation};
use super::network::{Agenda, Connection, End, Sent, Signal};
use super::people::grants_of;
use super::phone::{self, Phone};
use super::random::Random;
use super::script::{Room, Rows, Step};
use super::server::{self, ConnectionId, Server};
use super::{Planted, Setup, Totals};

mod step;

/// Events in one world, far above what any has needed: beyond it, something goes in circles.
const EVENTS_MAX: u64 = 200_000;
/// Times that all devices connect anew until nothing more is recorded.
const ROUNDS_MAX: u32 = 12;
/// How long the queue collects runs.
const QUEUE_MS: u64 = 2;

/// The promise that a world without news falls silent.
const REST: &str = "the world comes to rest";
/// The promise that the machines explain what ends them.
const SOUND: &str = "nothing fails without a cause";

#[derive(Debug)]
enum Event {
    Step(usize),
    Dial(usize),
    Arrive {
        connection: ConnectionId,
        to: End,
        message: Vec<u8>,
    },
    Heard {
        connection: ConnectionId,
        end: End,
    },
    Tick {
        connection: ConnectionId,
        end: End,
    },
    Commit,
    ServerUp,
    DeviceUp(usize),
    /// There is space again, on the disk of a device or of the server.
    Space(Option<usize>),
    /// The crash that a step planned has had its time, on a device or the server.
    Overdue(Option<usize>, u64),
}

/// A world in the middle of what happens to it.
#[derive(Debug)]
pub struct World {
    seed: u64,
    trace: bool,
    agenda: Agenda<Event>,
    server: Server,
    phones: Vec<Phone>,
    /// The connection of each device's session.
    current: Vec<Option<ConnectionId>>,
    signals: Vec<Signal>,
    standing: Vec<Standing>,
    dialling: BTreeSet<usize>,
    /// Steps of people whose device does not run: they wait for it.
    postponed: Vec<Vec<usize>>,
    lines: BTreeMap<ConnectionId, Line>,
    connections: ConnectionId,
    /// Ticks that are planned, by connection and whether for the server.
    ticks: BTreeMap<(ConnectionId, bool), Mono>,
    committing: bool,
    documents: Vec<Option<DocumentId>>,
    oracle: Oracle,
    random: Random,
    totals: Totals,
}

#[derive(Debug)]
struct Line {
    device: usize,
    connection: Connection,
}

impl World {
    /// A server with enrolled devices at time 0.
    ///
    /// # Errors
    /// The machines do not even begin.
    pub fn new(seed: u64, setup: &Setup) -> Result<Self, Violation> {
        let sound = |error: String| Violation::new(SOUND, error);
        let mut random = Random::of(seed, 2, 0);
        let found = Server::found(Random::of(seed, 3, 0), setup.planted);
        let mut server = found.map_err(|error| sound(format!("{error:?}")))?;
        if seed.is_multiple_of(4) {
            let (name, json) = bukti_core::framework::built_in()[0];
            server.administer(0, &mut Vec::new(), |ledger, wall| {
                ledger.import_framework(wall, name, json.to_vec())
            });
        }
        let mut phones = Vec::new();
        let mut standing = Vec::new();
        for device in 0..setup.devices {
            let grants = grants_of(device, &mut random);
            let secret = server.invite(&format!("Person {device}"), grants.clone());
            let secret = secret.map_err(|error| sound(format!("{error:?}")))?;
            let link = InvitationLink {
                url: "https://bukti.example".into(),
                secret,
                server: server.id(),
            };
            let random = Random::of(seed, 4, device as u64);
            let phone = Phone::enrol(random, &link, |key| server.enrol(&secret, key));
            let phone = phone.map_err(|error| sound(format!("{error:?}")))?;
            if setup.planted == Some(Planted::UnsyncedDevices) {
                phone.without_sync();
            }
            phones.push(phone);
            standing.push(Standing {
                enrolled: grants.clone(),
                grants,
                revoked: false,
            });
        }
        server.begin();
        Ok(Self {
            seed,
            trace: setup.trace,
            agenda: Agenda::default(),
            server,
            current: vec![None; phones.len()],
            signals: vec![Signal::None; phones.len()],
            phones,
            standing,
            dialling: BTreeSet::new(),
            postponed: vec![Vec::new(); setup.devices],
            lines: BTreeMap::new(),
            connections: 0,
            ticks: BTreeMap::new(),
            committing: false,
            documents: vec![None; setup.documents],
            oracle: Oracle::default(),
            random,
            totals: Totals {
                seeds: 1,
                ..Totals::default()
            },
        })
    }

    /// Lets the steps happen, then lets the world come to rest, and checks it all the while.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn run(mut self, steps: &[Step]) -> Result<Totals, Violation> {
        for (index, step) in steps.iter().enumerate() {
            self.agenda.plan(step.at, Event::Step(index));
        }
        self.until_silent(steps)?;
        self.come_to_rest(steps)?;
        self.oracle
            .at_rest(&self.server, &mut self.phones, &self.standing)?;
        self.totals.steps = steps.len() as u64;
        self.totals.server = self.server.troubles;
        for phone in &self.phones {
            self.totals.devices += phone.troubles;
        }
        Ok(self.totals)
    }

    fn until_silent(&mut self, steps: &[Step]) -> Result<(), Violation> {
        while let Some(event) = self.agenda.advance() {
            self.totals.events += 1;
            if self.totals.events > EVENTS_MAX {
                let story = format!("{EVENTS_MAX} events, and {event:?} is next");
                return Err(Violation::new(REST, story));
            }
            if self.trace {
                self.tell(&event, steps);
            }
            let device = self.happen(event, steps)?;
            self.nothing_failed()?;
            if let (Some(device), Some(reader)) = (device, self.server.reader()) {
                let phone = &mut self.phones[device];
                self.oracle.received_is_received(device, phone, &reader)?;
            }
        }
        Ok(())
    }

    /// Power and network come back for good, and everybody connects until nothing is new.
    fn come_to_rest(&mut self, steps: &[Step]) -> Result<(), Violation> {
        let mut effects = Vec::new();
        self.server.calm(&mut effects);
        self.perform_server(effects)?;
        for device in 0..self.phones.len() {
            self.set_signal(device, Signal::Good);
            self.with_phone(device, |phone, _, effects| phone.calm(effects))?;
        }
        self.until_silent(steps)?;
        let mut before = None;
        for _ in 0..ROUNDS_MAX {
            for device in 0..self.phones.len() {
                self.with_phone(device, |phone, now, effects| {
                    phone.handle(now, ClientInput::Close, effects);
                })?;
                self.dial(device, 1_000);
            }
            self.until_silent(steps)?;
            let watermark = self.server.reader().map(|reader| reader.watermark());
            if watermark.is_some() && watermark == before {
                return self.learn_standing();
            }
            before = watermark;
        }
        Err(Violation::new(
            REST,
            format!("{before:?} after {ROUNDS_MAX} rounds"),
        ))
    }

    /// What became of administrators' wishes that a crash may have cut short.
    fn learn_standing(&mut self) -> Result<(), Violation> {
        let Some(reader) = self.server.reader() else {
            return Ok(());
        };
        for (phone, standing) in self.phones.iter().zip(&mut self.standing) {
            let row = reader.device(&phone.id())?;
            let row = row.ok_or_else(|| Violation::new(SOUND, "a device is not enrolled"))?;
            standing.revoked = row.revoked_at.is_some();
            standing.grants = row.grants;
        }
        Ok(())
    }

    fn nothing_failed(&mut self) -> Result<(), Violation> {
        let mut faults = self.server.take_faults();
        for (device, phone) in self.phones.iter_mut().enumerate() {
            let theirs = phone.take_faults().into_iter();
            faults.extend(theirs.map(|fault| format!("device {device}: {fault}")));
        }
        match faults.into_iter().next() {
            None => Ok(()),
            Some(fault) => Err(Violation::new(SOUND, fault)),
        }
    }

    fn tell(&self, event: &Event, steps: &[Step]) {
        let now = self.agenda.now();
        match event {
            Event::Step(index) => eprintln!("{}", steps[*index]),
            Event::Arrive {
                connection,
                to,
                message,
            } => {
                let frame = bukti_sync_protocol::frame::decode(message);
                let name = match &frame {
                    Ok(Some(frame)) => frame.name(),
                    Ok(None) => "unknown",
                    Err(_) => "unreadable",
                };
                eprintln!("      {now:>12} ms  {connection} {to:?} gets {name}");
            }
            Event::Dial(_)
            | Event::Heard { .. }
            | Event::Tick { .. }
            | Event::Commit
            | Event::ServerUp
            | Event::DeviceUp(_)
            | Event::Space(_)
            | Event::Overdue(..) => eprintln!("      {now:>12} ms  {event:?}"),
        }
    }

    /// One event; gives the device that it was about.
    fn happen(&mut self, event: Event, steps: &[Step]) -> Result<Option<usize>, Violation> {
        let now = self.agenda.now();
        match event {
            Event::Step(index) => self.step(index, &steps[index]),
            Event::Dial(device) => {
                self.dialling.remove(&device);
                self.connect(device)?;
                Ok(Some(device))
            }
            Event::Arrive {
                connection,
                to,
                message,
            } => self.arrive(connection, to, &message),
            Event::Heard { connection, end } => {
                self.heard(connection, end)?;
                Ok(None)
            }
            Event::Tick { connection, end } => {
                self.tick(connection, end)?;
                Ok(None)
            }
            Event::Commit => {
                self.committing = false;
                let mut effects = Vec::new();
                self.server.commit(now, &mut effects);
                self.perform_server(effects)?;
                Ok(None)
            }
            Event::ServerUp => {
                if !self.server.start() {
                    self.agenda.plan(now + 1_000, Event::ServerUp);
                }
                if let Some(reader) = self.server.reader() {
                    self.oracle.accepted_is_kept(&reader)?;
                }
                Ok(None)
            }
            Event::DeviceUp(device) => {
                if !self.phones[device].start() {
                    self.agenda.plan(now + 1_000, Event::DeviceUp(device));
                }
                if self.phones[device].device().is_some() {
                    for index in std::mem::take(&mut self.postponed[device]) {
                        self.agenda.plan(now, Event::Step(index));
                    }
                }
                self.dial(device, 500);
                Ok(Some(device))
            }
            Event::Space(None) => {
                self.server.set_room(Room::Plenty);
                self.agenda.plan(now + 1_000, Event::ServerUp);
                Ok(None)
            }
            Event::Space(Some(device)) => {
                self.phones[device].set_room(Room::Plenty);
                self.agenda.plan(now + 1_000, Event::DeviceUp(device));
                Ok(Some(device))
            }
            Event::Overdue(machine, step) => {
                if !self.overdue(machine, step)? {
                    let later = Event::Overdue(machine, step);
                    self.agenda.plan(now + 5_000, later);
                }
                Ok(machine)
            }
        }
    }

    fn overdue(&mut self, machine: Option<usize>, step: u64) -> Result<bool, Violation> {
        let mut done = false;
        match machine {
            Some(device) => self.with_phone(device, |phone, _, effects| {
                done = phone.overdue(step, effects);
            })?,
            None => {
                let mut effects = Vec::new();
                done = self.server.overdue(step, &mut effects);
                self.perform_server(effects)?;
            }
        }
        Ok(done)
    }

    fn arrive(
        &mut self,
        connection: ConnectionId,
        to: End,
        message: &[u8],
    ) -> Result<Option<usize>, Violation> {
        let now = self.agenda.now();
        let Some(line) = self.lines.get(&connection) else {
            return Ok(None);
        };
        let device = line.device;
        if !line.connection.delivers(now, to) {
            return Ok(None);
        }
        match to {
            End::Server => {
                let mut effects = Vec::new();
                self.server
                    .handle(now, connection, ServerInput::Frame(message), &mut effects);
                self.perform_server(effects)?;
                self.plan_tick(connection, End::Server);
                Ok(None)
            }
            End::Device if self.current[device] == Some(connection) => {
                self.with_phone(device, |phone, now, effects| {
                    phone.handle(now, ClientInput::Frame(message), effects);
                })?;
                Ok(Some(device))
            }
            End::Device => Ok(None),
        }
    }

    fn heard(&mut self, connection: ConnectionId, end: End) -> Result<(), Violation> {
        let now = self.agenda.now();
        let Some(line) = self.lines.get(&connection) else {
            return Ok(());
        };
        let device = line.device;
        match end {
            End::Server => {
                let mut effects = Vec::new();
                let gone = ServerInput::Disconnected;
                self.server.handle(now, connection, gone, &mut effects);
                self.perform_server(effects)
            }
            End::Device if self.current[device] == Some(connection) => {
                self.with_phone(device, |phone, now, effects| {
                    phone.handle(now, ClientInput::Disconnected, effects);
                    phone.hang_up(effects);
                })?;
                self.current[device] = None;
                self.dial(device, 2_000);
                Ok(())
            }
            End::Device => Ok(()),
        }
    }

    fn plan_tick(&mut self, connection: ConnectionId, end: End) {
        let deadline = match end {
            End::Server => self.server.deadline(connection),
            End::Device => self
                .lines
                .get(&connection)
                .filter(|line| self.current[line.device] == Some(connection))
                .and_then(|line| self.phones[line.device].deadline()),
        };
        let Some(deadline) = deadline else {
            return;
        };
        let key = (connection, end == End::Server);
        if self
            .ticks
            .get(&key)
            .is_none_or(|planned| *planned > deadline)
        {
            self.ticks.insert(key, deadline);
            self.agenda.plan(deadline, Event::Tick { connection, end });
        }
    }

    fn tick(&mut self, connection: ConnectionId, end: End) -> Result<(), Violation> {
        let now = self.agenda.now();
        self.ticks.remove(&(connection, end == End::Server));
        match end {
            End::Server => {
                if self
                    .server
                    .deadline(connection)
                    .is_some_and(|deadline| deadline <= now)
                {
                    let mut effects = Vec::new();
                    self.server
                        .handle(now, connection, ServerInput::Tick, &mut effects);
                    self.perform_server(effects)?;
                }
            }
            End::Device => {
                let device = self.lines.get(&connection).map(|line| line.device);
                let device = device.filter(|device| self.current[*device] == Some(connection));
                if let Some(device) = device
                    && self.phones[device]
                        .deadline()
                        .is_some_and(|deadline| deadline <= now)
                {
                    self.with_phone(device, |phone, now, effects| {
                        phone.handle(now, ClientInput::Tick, effects);
                    })?;
                }
            }
        }
        self.plan_tick(connection, end);
        Ok(())
    }

    /// Plans that a device connects, if it has to.
    fn dial(&mut self, device: usize, after_ms: u64) {
        if self.dialling.insert(device) {
            let wait = after_ms + self.random.below(after_ms.max(1));
            let at = self.agenda.now() + wait;
            self.agenda.plan(at, Event::Dial(device));
        }
    }

    fn connect(&mut self, device: usize) -> Result<(), Violation> {
        let now = self.agenda.now();
        let signal = self.signals[device];
        let idle = self.current[device].is_none() && self.phones[device].device().is_some();
        if signal == Signal::None || !idle || self.standing[device].revoked {
            return Ok(());
        }
        let connection = self.connections + 1;
        if !self.server.accept(now, connection) {
            self.dial(device, 10_000);
            return Ok(());
        }
        self.connections = connection;
        self.totals.connections += 1;
        let random = Random::of(self.seed, 5, connection);
        let line = Line {
            device,
            connection: Connection::new(random, signal),
        };
        self.lines.insert(connection, line);
        self.current[device] = Some(connection);
        self.plan_tick(connection, End::Server);
        self.with_phone(device, |phone, now, effects| {
            phone.connect(now, connection, effects);
        })
    }

    /// Lets a device do something and performs what it asks for.
    fn with_phone(
        &mut self,
        device: usize,
        act: impl FnOnce(&mut Phone, Mono, &mut Vec<phone::Effect>),
    ) -> Result<(), Violation> {
        let now = self.agenda.now();
        let mut effects = Vec::new();
        act(&mut self.phones[device], now, &mut effects);
        for effect in effects {
            match effect {
                phone::Effect::Send(message) => {
                    if let Some(connection) = self.current[device] {
                        self.send(connection, End::Device, message);
                    }
                }
                phone::Effect::Learned(event) => self.learned(device, &event)?,
                phone::Effect::Close => {
                    if let Some(connection) = self.current[device].take() {
                        self.finish(connection, End::Device);
                    }
                    self.dial(device, 1_000);
                }
                phone::Effect::Died(how, rows) => {
                    if self.trace {
                        eprintln!("        device {device} ended: {how:?}; its rows: {rows:?}");
                    }
                    if rows != Rows::Stay {
                        self.oracle.thrown_back(device);
                    }
                    if let Some(connection) = self.current[device].take() {
                        self.cut(connection);
                    }
                    let back = now + self.random.between(200, 20_000);
                    self.agenda.plan(back, Event::DeviceUp(device));
                }
            }
        }
        if let Some(connection) = self.current[device] {
            self.plan_tick(connection, End::Device);
        }
        Ok(())
    }

    fn learned(&mut self, device: usize, event: &Learned) -> Result<(), Violation> {
        if self.trace {
            eprintln!("        device {device}: {event:?}");
        }
        match event {
            Learned::Accepted(runs) => self.totals.accepted += runs.len() as u64,
            Learned::Rejected { .. } => self.totals.rejected += 1,
            Learned::Stale { .. } => self.totals.stale += 1,
            Learned::Bye(bye) if bye.code == ByeCode::Revoked => {
                self.standing[device].revoked = true;
            }
            Learned::Page { .. } => self.page_on_full_disks(device),
            Learned::Bye(_)
            | Learned::Welcome { .. }
            | Learned::Void
            | Learned::Readmitted { .. }
            | Learned::Differs { .. }
            | Learned::Missing { .. }
            | Learned::UpToDate { .. }
            | Learned::LeftScope(_)
            | Learned::StatementsHeld(_)
            | Learned::Progress { .. } => {}
        }
        let reader = self.server.reader();
        let grants = &self.standing[device].enrolled;
        self.oracle.learned(device, grants, reader.as_ref(), event)
    }

    fn page_on_full_disks(&mut self, device: usize) {
        let phone = &mut self.phones[device];
        phone.troubles.read_meanwhile += u64::from(phone.is_short_of_space());
        let short = self.server.is_short_of_space() && self.server.is_up();
        self.server.troubles.read_meanwhile += u64::from(short);
    }

    fn perform_server(&mut self, effects: Vec<server::Effect>) -> Result<(), Violation> {
        let now = self.agenda.now();
        for effect in effects {
            match effect {
                server::Effect::Send(connection, message) => {
                    self.send(connection, End::Server, message);
                }
                server::Effect::Close(connection) => self.finish(connection, End::Server),
                server::Effect::Queued => {
                    if !self.committing {
                        self.committing = true;
                        self.agenda.plan(now + QUEUE_MS, Event::Commit);
                    }
                }
                server::Effect::Died(how) => {
                    if self.trace {
                        eprintln!("        the server ended: {how:?}");
                    }
                    let back = now + self.random.between(100, 15_000);
                    self.agenda.plan(back, Event::ServerUp);
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, connection: ConnectionId, from: End, message: Vec<u8>) {
        let now = self.agenda.now();
        let Some(line) = self.lines.get_mut(&connection) else {
            return;
        };
        let to = match from {
            End::Device => End::Server,
            End::Server => End::Device,
        };
        match line.connection.send(now, from, message.len()) {
            Sent::Arrives(at) => {
                let event = Event::Arrive {
                    connection,
                    to,
                    message,
                };
                self.agenda.plan(at, event);
            }
            Sent::Cut => self.cut(connection),
        }
    }

    /// One end closes in order: the other hears of it behind all that was sent.
    fn finish(&mut self, connection: ConnectionId, by: End) {
        let now = self.agenda.now();
        let Some(line) = self.lines.get_mut(&connection) else {
            return;
        };
        let at = line.connection.finish(now, by);
        let end = match by {
            End::Device => End::Server,
            End::Server => End::Device,
        };
        self.agenda.plan(at, Event::Heard { connection, end });
    }

    fn cut(&mut self, connection: ConnectionId) {
        let now = self.agenda.now();
        let Some(line) = self.lines.get_mut(&connection) else {
            return;
        };
        if line.connection.is_cut() {
            return;
        }
        self.totals.cuts += 1;
        line.connection.cut(now);
        let (device_at, server_at) = line.connection.heard_at(now);
        let end = End::Device;
        self.agenda
            .plan(device_at, Event::Heard { connection, end });
        let end = End::Server;
        self.agenda
            .plan(server_at, Event::Heard { connection, end });
    }

    fn set_signal(&mut self, device: usize, signal: Signal) {
        self.signals[device] = signal;
        if let Some(connection) = self.current[device] {
            if signal == Signal::None {
                self.cut(connection);
            } else if let Some(line) = self.lines.get_mut(&connection) {
                line.connection.set_signal(signal);
            }
        }
        if signal != Signal::None {
            self.dial(device, 1_000);
        }
    }
}
