//! A server and devices in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use bukti_core::authority::{Grant, Role};
use bukti_core::evidence::NewEvidence;
use bukti_core::id::{DeviceId, DocumentId, Incarnation, JournalId, ServerId};
use bukti_core::journal;
use bukti_core::journal::memory::MemoryStorage;
use bukti_core::kv::{MemoryKv, MemorySnapshot};
use bukti_core::ledger::{EnrolError, Ledger, Left, Options, Outcome, Submission};
use bukti_core::record::{Invitation, invitation_hash};
use bukti_core::scope::Scope;
use bukti_sync_protocol::client::{Event, Input};
use bukti_sync_protocol::frame::{Frame, decode};
use bukti_sync_protocol::link::InvitationLink;
use bukti_sync_protocol::server::{self, Cx, ServerSession};
use bukti_sync_protocol::token::TokenKey;
use ed25519_dalek::SigningKey;

use crate::device::{Applicant, ConfirmedError, Device, DeviceError, Enrolment, Folders};
use crate::exchange::{Exchange, Moment};

pub(crate) const NOW: i64 = 1_760_000_000_000;
pub(crate) const WARD: &str = "13.76.01.1001";

pub(crate) type TestDevice = Device<MemoryStorage, MemoryKv>;

pub(crate) struct World {
    pub(crate) ledger: Ledger<MemoryStorage, MemoryKv>,
    pub(crate) journal: MemoryStorage,
    key: SigningKey,
    token_key: TokenKey,
    /// What invitation links name.
    pub(crate) url: String,
    /// What all clocks say.
    pub(crate) now: i64,
    /// How often devices asked what differs.
    pub(crate) comparisons: usize,
    drawn: u64,
    /// What devices ask for; everything where there is none.
    pub(crate) scopes: Vec<Scope>,
    /// Whether the journal takes runs and statements in between two frames and the session hears of
    /// it after the second, as where a thread of its own does the taking.
    pub(crate) answers_late: bool,
    submitted: Vec<Submission>,
    given: Vec<(DeviceId, Vec<Vec<u8>>)>,
    /// What is kept free of the server's disk from its next start on.
    pub(crate) reserve_bytes: u64,
}

/// How a connection ended.
struct Ended {
    events: Vec<Event>,
    /// The device wants another.
    restarts: bool,
    /// The device has nothing more to do, or the connection is closed.
    done: bool,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::founded(1, JournalId([9; 16]))
    }

    pub(crate) fn founded(seed: u8, id: JournalId) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let journal = MemoryStorage::new();
        let ledger = Ledger::create(
            journal.clone(),
            Arc::new(MemoryKv::new()),
            key.clone(),
            id,
            NOW,
            options(),
        );
        Self {
            ledger: ledger.unwrap(),
            journal,
            token_key: TokenKey::derive(&key),
            key,
            url: "https://bukti.example".into(),
            now: NOW,
            comparisons: 0,
            // What two worlds draw is never the same.
            drawn: u64::from(id.0[0]) << 32,
            scopes: Vec::new(),
            answers_late: false,
            submitted: Vec::new(),
            given: Vec::new(),
            reserve_bytes: 0,
        }
    }

    /// Throws the server back to a copy of its journal.
    pub(crate) fn restore(&mut self, journal: MemoryStorage) {
        let kv = Arc::new(MemoryKv::new());
        let key = self.key.clone();
        let mut options = options();
        options.journal.reserve_bytes = self.reserve_bytes;
        let opened = Ledger::open(journal.clone(), kv, key, options, &mut |_| {});
        (self.ledger, self.journal) = (opened.unwrap().0, journal);
    }

    /// Ends the server's process, with what it was about to take in, and starts it again.
    pub(crate) fn restart(&mut self) {
        (self.submitted, self.given) = (Vec::new(), Vec::new());
        self.restore(self.journal.clone());
    }

    pub(crate) fn link(&self, secret: [u8; 16]) -> InvitationLink {
        InvitationLink {
            url: self.url.clone(),
            secret,
            server: ServerId(self.key.verifying_key().to_bytes()),
        }
    }

    /// Invites and enrols a new device.
    pub(crate) fn phone(&mut self, person: &str, role: Role, scope: &str) -> Phone {
        let seed = self.draw();
        let mut phone = Phone::empty();
        self.enrol(&mut phone, seed, person, role, scope).unwrap();
        phone
    }

    pub(crate) fn invite(&mut self, secret: [u8; 16], person: &str, role: Role, scope: &str) {
        let grant = Grant {
            role,
            scope: scope.parse().unwrap(),
        };
        let invitation = Invitation {
            hash: invitation_hash(&secret),
            person: person.into(),
            grants: vec![grant],
            expires_at: self.now + 1_000_000,
        };
        self.ledger.invite(self.now, invitation).unwrap();
    }

    pub(crate) fn enrol(
        &mut self,
        phone: &mut Phone,
        secret: [u8; 16],
        person: &str,
        role: Role,
        scope: &str,
    ) -> Result<(), DeviceError> {
        self.invite(secret, person, role, scope);
        self.use_invitation(phone, secret)
    }

    /// Enrols with an invitation that was made.
    pub(crate) fn use_invitation(
        &mut self,
        phone: &mut Phone,
        secret: [u8; 16],
    ) -> Result<(), DeviceError> {
        let kv = phone.close();
        let seed = [self.draw(), self.draw()].concat().try_into().unwrap();
        let applicant = Applicant::open(phone.folders(), &self.link(secret), seed)?;
        let device = super::super::identity::device_of(applicant.key());
        let enrolled = self.ledger.enrol(self.now, &secret, device).unwrap();
        let enrolment = Enrolment {
            journal: enrolled.founding_record,
            certificate: enrolled.certificate,
        };
        let incarnation = Incarnation(self.draw());
        match applicant.finish(kv, &enrolment, incarnation) {
            // As the command does: it stays where it is, and another one begins.
            Err(DeviceError::Confirmed(ConfirmedError::OtherJournal)) => {
                return phone.try_open(MemoryKv::new());
            }
            finished => phone.device = Some(finished?),
        }
        Ok(())
    }

    pub(crate) fn draw(&mut self) -> [u8; 16] {
        self.drawn += 1;
        let mut bytes = [0x5a; 16];
        bytes[..8].copy_from_slice(&self.drawn.to_le_bytes());
        bytes
    }

    /// Syncs until both sides have nothing more to say, over as many connections as that takes. The
    /// device is done then: it would wait for ever otherwise.
    pub(crate) fn sync(&mut self, phone: &mut Phone) -> Vec<Event> {
        self.try_sync(phone).unwrap()
    }

    /// The same on a disk that may fail.
    pub(crate) fn try_sync(&mut self, phone: &mut Phone) -> Result<Vec<Event>, DeviceError> {
        let mut events = Vec::new();
        for _ in 0..5 {
            let ended = self.try_session(phone, usize::MAX)?;
            events.extend(ended.events);
            if !ended.restarts {
                assert!(ended.done, "the device waits for what never comes");
                return Ok(events);
            }
        }
        panic!("the device begins one life after the other");
    }

    /// One connection, cut after so many frames; tells whether the device wants another.
    pub(crate) fn session(&mut self, phone: &mut Phone, frames: usize) -> (Vec<Event>, bool) {
        let ended = self.try_session(phone, frames).unwrap();
        (ended.events, ended.restarts)
    }

    fn try_session(&mut self, phone: &mut Phone, frames: usize) -> Result<Ended, DeviceError> {
        let device = phone.device();
        let mut exchange = Exchange::open(device, 0, self.scopes.clone(), "test")?;
        let nonce = [self.draw(), self.draw()].concat().try_into().unwrap();
        let mut session = ServerSession::new(nonce, 0);
        let (mut up, mut down) = (VecDeque::new(), VecDeque::<Vec<u8>>::new());
        let mut events = Vec::new();
        let mut left = frames;
        let mut input = None;
        loop {
            let mut learned = |event: &Event, _| events.push(event.clone());
            let mut moment = Moment {
                mono: 0,
                wall: self.now,
                draw: &mut || self.draw(),
            };
            let sent = match input.take() {
                Some(bytes) => {
                    let bytes: Vec<u8> = bytes;
                    let input = Input::Frame(&bytes);
                    exchange.handle(device, &mut moment, input, &mut learned)
                }
                None => exchange.pump(device, &mut moment, &mut learned),
            };
            up.extend(sent?);
            if left == 0 || exchange.is_closed() {
                break;
            }
            left -= 1;
            let judged = self.judge_submitted();
            let taken = self.take_given();
            if let Some(frame) = up.pop_front() {
                let asks = matches!(decode(&frame), Ok(Some(Frame::Reconcile(_))));
                self.comparisons += usize::from(asks);
                down.extend(self.drive(&mut session, server::Input::Frame(&frame)));
            } else if judged.is_none() && taken.is_empty() {
                let Some(frame) = down.pop_front() else {
                    break;
                };
                input = Some(frame);
            }
            if let Some(outcomes) = judged {
                down.extend(self.drive(&mut session, server::Input::Judged(outcomes)));
                down.extend(self.drive(&mut session, server::Input::Advanced));
            }
            for left in taken {
                down.extend(self.drive(&mut session, server::Input::TakenBack(left)));
            }
        }
        let restarts = exchange.restarts();
        let done = exchange.is_closed() || exchange.is_done(device);
        exchange.finish(device)?;
        Ok(Ended {
            events,
            restarts,
            done,
        })
    }

    /// What the journal says to runs that were put off.
    fn judge_submitted(&mut self) -> Option<Vec<Outcome>> {
        let batch = std::mem::take(&mut self.submitted);
        (!batch.is_empty()).then(|| self.ledger.accept(self.now, batch).unwrap())
    }

    /// What the journal leaves of statements that were put off, for each time that it was asked.
    fn take_given(&mut self) -> Vec<Option<Left>> {
        let given = std::mem::take(&mut self.given);
        let taken = given.into_iter().map(|(carrier, statements)| {
            let taken = self.ledger.take_back(self.now, carrier, statements);
            taken.unwrap().left
        });
        taken.collect()
    }

    pub(crate) fn drive(
        &mut self,
        session: &mut ServerSession,
        input: server::Input<'_>,
    ) -> Vec<Vec<u8>> {
        let reader = self.ledger.reader();
        let token_key = self.token_key.clone();
        let cx = Cx {
            now: 0,
            wall: self.now,
            reader: &reader,
            token_key: &token_key,
        };
        let mut frames = Vec::new();
        session.handle(&cx, input);
        while let Some(output) = session.poll(&cx) {
            let answer = match output {
                server::Output::Send(bytes) => {
                    frames.push(bytes);
                    continue;
                }
                server::Output::Submit(batch) if self.answers_late => {
                    self.submitted.extend(batch);
                    continue;
                }
                server::Output::Submit(batch) => {
                    let outcomes = self.ledger.accept(self.now, batch).unwrap();
                    session.handle(&cx, server::Input::Judged(outcomes));
                    server::Input::Advanced
                }
                server::Output::Bound(_) => server::Input::Held(Vec::new()),
                server::Output::Enrol { secret, device } => {
                    let enrolled = self.ledger.enrol(self.now, &secret, device);
                    server::Input::Enrolled(enrolled.map_err(|error| match error {
                        EnrolError::Refused(refusal) => refusal,
                        EnrolError::Ledger(error) => panic!("{error}"),
                    }))
                }
                server::Output::Readmit {
                    device,
                    certificate,
                } => {
                    let certified = self.ledger.readmit(self.now, device, &certificate);
                    server::Input::Enrolled(certified.unwrap())
                }
                server::Output::TakeBack {
                    carrier,
                    statements,
                } if self.answers_late => {
                    self.given.push((carrier, statements));
                    continue;
                }
                server::Output::TakeBack {
                    carrier,
                    statements,
                } => {
                    let taken = self.ledger.take_back(self.now, carrier, statements);
                    server::Input::TakenBack(taken.unwrap().left)
                }
                server::Output::Find(finding) => {
                    self.ledger.find(self.now, finding).unwrap();
                    continue;
                }
                server::Output::Failed(error) | server::Output::Unsound { reason: error, .. } => {
                    panic!("{error}")
                }
                server::Output::Close(_) => continue,
            };
            session.handle(&cx, answer);
        }
        frames
    }

    /// Starts a piece of evidence on a device.
    pub(crate) fn create(&mut self, phone: &mut Phone, title: &str) -> DocumentId {
        let random = self.draw();
        let scope = WARD.parse().unwrap();
        let created = phone
            .device()
            .create(self.now, random, &scope, &evidence(title));
        created.unwrap().0
    }
}

fn options() -> Options {
    Options::new(journal::Options::server(1024 * 1024), 1)
}

pub(crate) fn evidence(title: &str) -> NewEvidence {
    NewEvidence {
        kind: "photo".into(),
        framework_id: "desa-antikorupsi".into(),
        framework_version: "2024".into(),
        cycle: 2026,
        title: title.into(),
        ..NewEvidence::default()
    }
}

/// A device's folders and, while it runs, the device.
pub(crate) struct Phone {
    pub(crate) home: MemoryStorage,
    pub(crate) tail: MemoryStorage,
    pub(crate) quarantine: MemoryStorage,
    /// The confirmed store; the device has a clone of it.
    pub(crate) rows: MemoryKv,
    pub(crate) device: Option<TestDevice>,
}

impl Phone {
    pub(crate) fn empty() -> Self {
        Self {
            home: MemoryStorage::new(),
            tail: MemoryStorage::new(),
            quarantine: MemoryStorage::new(),
            rows: MemoryKv::new(),
            device: None,
        }
    }

    pub(crate) fn folders(&self) -> Folders<MemoryStorage> {
        Folders {
            home: Arc::new(self.home.clone()),
            tail: Arc::new(self.tail.clone()),
            quarantine: Arc::new(self.quarantine.clone()),
        }
    }

    pub(crate) fn device(&mut self) -> &mut TestDevice {
        self.device.as_mut().unwrap()
    }

    /// Ends the process; answers the confirmed store.
    pub(crate) fn close(&mut self) -> MemoryKv {
        self.device = None;
        self.rows.clone()
    }

    pub(crate) fn open(&mut self, kv: MemoryKv) {
        self.try_open(kv).unwrap();
    }

    /// The same with disks and rows that may fail.
    pub(crate) fn try_open(&mut self, kv: MemoryKv) -> Result<(), DeviceError> {
        self.rows = kv.clone();
        self.device = Some(Device::open(self.folders(), kv)?);
        Ok(())
    }

    pub(crate) fn reopen(&mut self) {
        let kv = self.close();
        self.open(kv);
    }

    pub(crate) fn snapshot(&mut self) -> MemorySnapshot {
        let kv = self.close();
        let snapshot = kv.snapshot();
        self.open(kv);
        snapshot
    }

    /// Another device folder with the same content, as a backup or a cloned phone has it.
    pub(crate) fn duplicate(&mut self) -> Self {
        let kv = MemoryKv::new();
        kv.restore(&self.snapshot());
        let mut copy = Self {
            home: self.home.duplicate(),
            tail: self.tail.duplicate(),
            quarantine: self.quarantine.duplicate(),
            rows: MemoryKv::new(),
            device: None,
        };
        copy.open(kv);
        copy
    }

    /// Loses power, and with it whatever was not synced.
    pub(crate) fn crash(&mut self, choice: &mut dyn FnMut(usize) -> usize) {
        let kv = self.close();
        for disk in [&self.home, &self.tail, &self.quarantine] {
            disk.crash(choice);
        }
        self.open(kv);
    }

    /// What everybody with the same heads sees, as bytes.
    pub(crate) fn shown(&mut self, id: &DocumentId) -> String {
        serde_json::to_string(&self.device().show(id).unwrap()).unwrap()
    }

    pub(crate) fn titles(&mut self) -> Vec<String> {
        let list = self.device().list().unwrap();
        list.into_iter().map(|summary| summary.title).collect()
    }
}
