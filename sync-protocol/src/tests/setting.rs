//! A server, devices, and a pipe between them that can be cut.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bukti_core::authority::{Grant, Role};
use bukti_core::envelope::{Body, DocumentKind, Envelope, Root, Run};
use bukti_core::evidence::{self, Edit, NewEvidence};
use bukti_core::id::{
    Actor, ChangeHash, DeviceId, DocumentId, Incarnation, JournalId, RunId, ServerId,
};
use bukti_core::journal;
use bukti_core::journal::memory::{Fault, MemoryStorage};
use bukti_core::kv::{Batch, Kv, MemoryKv};
use bukti_core::ledger::{EnrolError, Ledger, Left, Options, Outcome, Submission};
use bukti_core::record::{Invitation, invitation_hash};
use ed25519_dalek::SigningKey;

use crate::Mono;
use crate::bye::{Bye, ByeCode};
use crate::client::{self, ClientSession, Event, Opening};
use crate::fragment::PartialItem;
use crate::frame::{Features, Frame, decode, encode};
use crate::reconcile::Differs;
use crate::server::{self, Cx, ServerSession};
use crate::token::TokenKey;

pub(super) const VILLAGE: &str = "13.76.01.1001";
pub(super) const WALL: i64 = 1_760_000_000_000;

pub(super) struct Server {
    pub(super) ledger: Ledger<MemoryStorage, MemoryKv>,
    pub(super) kv: Arc<MemoryKv>,
    storage: MemoryStorage,
    damaged: bool,
    pub(super) now: Mono,
    pub(super) wall: i64,
    key: SigningKey,
    token_key: TokenKey,
    pub(super) partials: BTreeMap<DeviceId, Vec<PartialItem>>,
    sessions: u8,
    /// Whether the journal answers.
    pub(super) judges: bool,
    /// Whether a device is confirmed between being let in and its welcome.
    pub(super) confirms: bool,
    /// Why it leaves every statement that is given back, if it does.
    pub(super) leaves: Option<Left>,
}

impl Server {
    pub(super) fn new() -> Self {
        Self::founded(JournalId([9; 16]), WALL)
    }

    /// The same server, by its key, with a journal of its own.
    pub(super) fn founded(journal: JournalId, wall: i64) -> Self {
        let key = SigningKey::from_bytes(&[1; 32]);
        let kv = Arc::new(MemoryKv::new());
        let storage = MemoryStorage::new();
        let ledger = Ledger::create(
            storage.clone(),
            kv.clone(),
            key.clone(),
            journal,
            wall,
            Options::new(journal::Options::server(0), 1),
        )
        .unwrap();
        let token_key = TokenKey::derive(&key);
        let partials = BTreeMap::new();
        Self {
            ledger,
            kv,
            storage,
            damaged: false,
            now: 1_000,
            wall,
            key,
            token_key,
            partials,
            sessions: 0,
            judges: true,
            confirms: false,
            leaves: None,
        }
    }

    pub(super) fn id(&self) -> ServerId {
        ServerId(self.key.verifying_key().to_bytes())
    }

    pub(super) fn invite(&mut self, secret: [u8; 16], role: Role, scopes: &[&str]) {
        let grant = |scope: &&str| Grant {
            role,
            scope: scope.parse().unwrap(),
        };
        let invitation = Invitation {
            hash: invitation_hash(&secret),
            person: "Siti".into(),
            grants: scopes.iter().map(grant).collect(),
            expires_at: self.wall + 1_000_000,
        };
        self.ledger.invite(self.wall, invitation).unwrap();
    }

    /// A device that is enrolled already, without a session.
    pub(super) fn enrolled(&mut self, seed: u8, role: Role, scopes: &[&str]) -> Phone {
        let mut phone = Phone::new(seed, self);
        self.invite([seed; 16], role, scopes);
        let enrolled = self
            .ledger
            .enrol(self.wall, &[seed; 16], phone.device())
            .unwrap();
        phone.certificate = enrolled.certificate;
        phone.token = Some(self.token_key.issue(&phone.device(), self.wall + 1_000_000));
        phone
    }

    /// Flips a bit where these bytes stand in the journal.
    pub(super) fn damage(&mut self, bytes: &[u8]) {
        self.flip(|content| {
            let mut windows = content.windows(bytes.len());
            windows.position(|window| window == bytes).unwrap() + bytes.len() / 2
        });
    }

    /// Flips a bit in the header of the journal's last group.
    pub(super) fn damage_last_header(&mut self) {
        self.flip(|content| {
            let mut windows = content.windows(8);
            windows.rposition(|window| window == b"BUKTIGRP").unwrap() + 30
        });
    }

    fn flip(&mut self, at: impl FnOnce(&[u8]) -> usize) {
        const SEGMENT: &str = "0000000001.seg";
        let mut content = self.storage.content(SEGMENT).unwrap();
        let at = at(&content);
        content[at] ^= 1;
        self.storage.set_content(SEGMENT, &content);
        self.damaged = true;
    }

    /// Puts something else in the place of a row, or nothing.
    pub(super) fn damage_row(&mut self, key: &[u8], value: Option<&[u8]>) {
        let mut batch = Batch::new();
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        };
        self.kv.apply(&batch).unwrap();
        self.damaged = true;
    }

    /// Begins anew on what is on the disk; says whether the rows were made anew.
    pub(super) fn start_again(&mut self) -> bool {
        let (storage, kv) = (self.storage.clone(), self.kv.clone());
        let options = Options::new(journal::Options::server(0), 1);
        let opened = Ledger::open(storage, kv, self.key.clone(), options, &mut |_| {});
        let (ledger, opened) = opened.unwrap();
        self.ledger = ledger;
        opened.rebuilt.is_some()
    }

    /// Has the system lack descriptors when the journal is read next.
    pub(super) fn lack_descriptors(&mut self) {
        self.storage.fail_at(1, Fault::Scarce);
        self.damaged = true;
    }

    pub(super) fn accept(&mut self, carrier: DeviceId, runs: &[Run]) -> Vec<Outcome> {
        let submit = |run: &Run| Submission {
            carrier,
            run: bukti_core::validate::check_run(run.clone()).unwrap(),
            returned: false,
        };
        self.ledger
            .accept(self.wall, runs.iter().map(submit).collect())
            .unwrap()
    }

    pub(super) fn session(&mut self) -> ServerSession {
        self.sessions += 1;
        ServerSession::new([self.sessions; 32], self.now)
    }

    /// Whether a session would have to walk for a frame.
    pub(super) fn walks(&self, session: &ServerSession, bytes: &[u8]) -> bool {
        let reader = self.ledger.reader();
        let cx = Cx {
            now: self.now,
            wall: self.wall,
            reader: &reader,
            token_key: &self.token_key,
        };
        session.walks(&cx, bytes)
    }

    /// Hands a frame to a session whose peer takes nothing in.
    pub(super) fn press(&mut self, session: &mut ServerSession, bytes: &[u8]) {
        let reader = self.ledger.reader();
        let cx = Cx {
            now: self.now,
            wall: self.wall,
            reader: &reader,
            token_key: &self.token_key,
        };
        session.handle(&cx, server::Input::Frame(bytes));
    }

    /// Hands an input to a session and takes what it gives out first.
    pub(super) fn step(
        &mut self,
        session: &mut ServerSession,
        input: server::Input<'_>,
    ) -> Option<server::Output> {
        let reader = self.ledger.reader();
        let cx = Cx {
            now: self.now,
            wall: self.wall,
            reader: &reader,
            token_key: &self.token_key,
        };
        session.handle(&cx, input);
        session.poll(&cx)
    }

    /// Hands an input to a session and performs what it wants but for sending.
    pub(super) fn drive(&mut self, session: &mut ServerSession, input: server::Input<'_>) -> Sent {
        let mut sent = Sent::default();
        let reader = self.ledger.reader();
        let token_key = self.token_key.clone();
        let cx = Cx {
            now: self.now,
            wall: self.wall,
            reader: &reader,
            token_key: &token_key,
        };
        session.handle(&cx, input);
        while let Some(output) = session.poll(&cx) {
            let answer = match output {
                server::Output::Send(bytes) => {
                    sent.frames.push(bytes);
                    continue;
                }
                server::Output::Submit(batch) => {
                    sent.submitted += batch.len();
                    if !self.judges {
                        continue;
                    }
                    let outcomes = self.ledger.accept(self.wall, batch).unwrap();
                    session.handle(&cx, server::Input::Judged(outcomes));
                    server::Input::Advanced
                }
                server::Output::Enrol { .. } | server::Output::Readmit { .. } if !self.judges => {
                    continue;
                }
                server::Output::Enrol { secret, device } => {
                    let enrolled = self.ledger.enrol(self.wall, &secret, device);
                    server::Input::Enrolled(enrolled.map_err(|error| match error {
                        EnrolError::Refused(refusal) => refusal,
                        EnrolError::Ledger(error) => panic!("{error}"),
                    }))
                }
                server::Output::Readmit {
                    device,
                    certificate,
                } => {
                    let certified = self.ledger.readmit(self.wall, device, &certificate);
                    server::Input::Enrolled(certified.unwrap())
                }
                server::Output::TakeBack { .. } if !self.judges => continue,
                server::Output::TakeBack { .. } if self.leaves.is_some() => {
                    server::Input::TakenBack(self.leaves)
                }
                server::Output::TakeBack {
                    carrier,
                    statements,
                } => {
                    let taken = self.ledger.take_back(self.wall, carrier, statements);
                    let taken = taken.unwrap();
                    sent.taken_back += taken.news;
                    server::Input::TakenBack(taken.left)
                }
                server::Output::Find(finding) => {
                    sent.found.push(finding.code.clone());
                    self.ledger.find(self.wall, finding).unwrap();
                    continue;
                }
                server::Output::Bound(device) => {
                    if self.confirms {
                        self.ledger.confirm(self.wall, device).unwrap();
                        session.handle(&cx, server::Input::Advanced);
                    }
                    server::Input::Held(self.partials.remove(&device).unwrap_or_default())
                }
                server::Output::Failed(error) => {
                    assert!(self.damaged, "{error}");
                    continue;
                }
                server::Output::Unsound { reason, error } => {
                    assert!(self.damaged, "{reason}");
                    self.ledger.end_over(error);
                    continue;
                }
                server::Output::Close(bye) => {
                    sent.closed = Some(bye);
                    continue;
                }
            };
            session.handle(&cx, answer);
        }
        sent
    }
}

/// What came out of a session.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) frames: Vec<Vec<u8>>,
    pub(super) submitted: usize,
    pub(super) taken_back: usize,
    pub(super) found: Vec<String>,
    pub(super) closed: Option<Bye>,
}

impl Sent {
    pub(super) fn decoded(&self) -> Vec<Frame> {
        self.frames
            .iter()
            .map(|bytes| decode(bytes).unwrap().unwrap())
            .collect()
    }
}

/// A device: its key, its runs, and what it stored.
pub(super) struct Phone {
    pub(super) key: SigningKey,
    server: ServerId,
    pub(super) token: Option<Vec<u8>>,
    pub(super) incarnation: Incarnation,
    pub(super) cursor: Option<Vec<u8>>,
    pub(super) tail: Vec<(RunId, Vec<u8>)>,
    pub(super) last: Option<(u64, RunId)>,
    pub(super) partials: Vec<PartialItem>,
    pub(super) journal: JournalId,
    pub(super) certificate: Vec<u8>,
    /// What it holds of the server's statements.
    pub(super) statements: Vec<Vec<u8>>,
    /// What of them it owes to a server that lost records.
    pub(super) owed: Vec<Vec<u8>>,
    pub(super) compare: bool,
}

impl Phone {
    pub(super) fn new(seed: u8, server: &Server) -> Self {
        Self {
            key: SigningKey::from_bytes(&[seed; 32]),
            server: server.id(),
            token: None,
            incarnation: Incarnation([seed; 16]),
            cursor: None,
            tail: Vec::new(),
            last: None,
            partials: Vec::new(),
            journal: server.ledger.reader().journal(),
            certificate: Vec::new(),
            statements: Vec::new(),
            owed: Vec::new(),
            compare: false,
        }
    }

    pub(super) fn device(&self) -> DeviceId {
        DeviceId(self.key.verifying_key().to_bytes())
    }

    pub(super) fn opening(&self) -> Opening {
        Opening {
            key: self.key.clone(),
            server: self.server,
            journal: self.journal,
            token: self.token.clone(),
            incarnation: self.incarnation,
            last: self.last,
            scopes: Vec::new(),
            cursor: self.cursor.clone(),
            held: self.partials.clone(),
            agent: "bukti-test 0.1.0".into(),
            certificate: self.certificate.clone(),
            owed: self.owed.clone(),
            compare: self.compare,
        }
    }

    pub(super) fn offers(&self) -> Vec<client::Offer> {
        self.tail.iter().cloned().map(Into::into).collect()
    }

    /// Creates a document and keeps the sealed run in the tail.
    pub(super) fn create(&mut self, scope: &str, random: u8, narrative: &str) -> Run {
        let scope: bukti_core::scope::Scope = scope.parse().unwrap();
        let kind = DocumentKind::Evidence;
        let random = [random; 16];
        let document = DocumentId::derive(&self.device(), kind.as_str(), &scope, &random);
        let actor = Actor::derive(&self.device(), &document, &self.incarnation);
        let new = NewEvidence {
            kind: "dokumen".into(),
            framework_id: "desa".into(),
            framework_version: "2024".into(),
            cycle: 2026,
            title: "Papan informasi".into(),
            narrative: narrative.into(),
            ..NewEvidence::default()
        };
        let (document_state, change) = evidence::create(actor, WALL, &new);
        let last_hash = ChangeHash::from(document_state.get_heads()[0]);
        let root = Some(Root {
            kind,
            scope,
            random,
        });
        self.seal(document, root, 1, last_hash, vec![change])
    }

    /// Creates a document and edits it once: two runs, of which the second needs the first.
    pub(super) fn create_and_edit(&mut self, scope: &str, random: u8) -> [Run; 2] {
        let first = self.create(scope, random, "");
        let body = first.envelope.body().clone();
        let new = NewEvidence {
            kind: "dokumen".into(),
            framework_id: "desa".into(),
            framework_version: "2024".into(),
            cycle: 2026,
            title: "Papan informasi".into(),
            ..NewEvidence::default()
        };
        let (mut state, change) = evidence::create(body.actor(), WALL, &new);
        assert_eq!(change, first.changes[0]);
        let edits = [Edit::Title("Papan informasi desa".into())];
        let change = evidence::edit(&mut state, body.actor(), WALL, &edits)
            .unwrap()
            .unwrap();
        let last_hash = ChangeHash::from(state.get_heads()[0]);
        let second = self.seal(body.document, None, 2, last_hash, vec![change]);
        [first, second]
    }

    pub(super) fn seal(
        &mut self,
        document: DocumentId,
        root: Option<Root>,
        first_seq: u64,
        last_hash: ChangeHash,
        changes: Vec<Vec<u8>>,
    ) -> Run {
        let number = self.last.map_or(1, |(number, _)| number + 1);
        let body = Body {
            document,
            root,
            incarnation: self.incarnation,
            number,
            first_seq,
            count: u32::try_from(changes.len()).unwrap(),
            last_hash,
            publish: false,
            device_time: WALL,
            seen: None,
            device: self.device(),
        };
        let run = Run {
            envelope: Envelope::seal(body, &self.key),
            changes,
        };
        self.last = Some((number, run.id()));
        self.tail.push((run.id(), run.to_bytes()));
        run
    }

    /// Stores what an event says, as a device would.
    fn store(&mut self, event: &Event) {
        match event {
            Event::Welcome { token, .. } => self.token = Some(token.clone()),
            Event::Accepted(runs) => {
                self.tail
                    .retain(|(run, _)| !runs.iter().any(|(accepted, _)| accepted == run));
            }
            Event::Rejected { run, .. } => self.tail.retain(|(kept, _)| kept != run),
            Event::Page { cursor, .. } | Event::UpToDate { cursor, .. } => {
                self.cursor = Some(cursor.clone());
            }
            Event::Void | Event::Readmitted { .. } => self.cursor = None,
            Event::Missing { .. }
            | Event::Stale { .. }
            | Event::LeftScope(_)
            | Event::StatementsHeld(_)
            | Event::Progress { .. }
            | Event::Differs { .. }
            | Event::Bye(_) => {}
        }
    }
}

/// A connection with a session at each end.
pub(super) struct Pipe {
    pub(super) client: ClientSession,
    pub(super) session: ServerSession,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
    /// Every frame that was delivered, by direction.
    pub(super) sent_up: Vec<Vec<u8>>,
    pub(super) sent_down: Vec<Vec<u8>>,
    pub(super) events: Vec<Event>,
    /// Whether the device applies what it gets.
    pub(super) applies: bool,
    /// Whether it asks for what it learns that the server alone holds.
    pub(super) asks: bool,
    pub(super) closed: Option<Bye>,
    pub(super) submitted: usize,
    pub(super) taken_back: usize,
    pub(super) found: Vec<String>,
}

impl Pipe {
    pub(super) fn open(server: &mut Server, phone: &Phone) -> Self {
        let mut client = ClientSession::new(phone.opening(), server.now);
        client.handle(server.now, client::Input::Offer(phone.offers()));
        Self {
            client,
            session: server.session(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            sent_up: Vec::new(),
            sent_down: Vec::new(),
            events: Vec::new(),
            applies: true,
            asks: false,
            closed: None,
            submitted: 0,
            taken_back: 0,
            found: Vec::new(),
        }
    }

    /// Connects and runs until both sides are quiet.
    pub(super) fn run(server: &mut Server, phone: &mut Phone) -> Self {
        let mut pipe = Self::open(server, phone);
        pipe.flow(server, phone, usize::MAX);
        pipe
    }

    /// Delivers up to `frames` frames, until both sides are quiet.
    pub(super) fn flow(&mut self, server: &mut Server, phone: &mut Phone, frames: usize) {
        let mut left = frames;
        loop {
            self.poll_client(server, phone);
            if left == 0 {
                return;
            }
            if let Some(bytes) = self.up.pop_front() {
                let sent = server.drive(&mut self.session, server::Input::Frame(&bytes));
                self.sent_up.push(bytes);
                self.take(sent);
            } else if let Some(bytes) = self.down.pop_front() {
                self.client.handle(server.now, client::Input::Frame(&bytes));
                self.sent_down.push(bytes);
            } else {
                return;
            }
            left -= 1;
        }
    }

    /// Delivers what the server sent, while nothing of the device's leaves.
    pub(super) fn hear(&mut self, server: &mut Server, phone: &mut Phone) {
        self.poll_client(server, phone);
        while let Some(bytes) = self.down.pop_front() {
            self.client.handle(server.now, client::Input::Frame(&bytes));
            self.sent_down.push(bytes);
            self.poll_client(server, phone);
        }
    }

    /// Gives the server's session an input.
    pub(super) fn tell(&mut self, server: &mut Server, input: server::Input<'_>) {
        let sent = server.drive(&mut self.session, input);
        self.take(sent);
    }

    /// Loses what is under way, and keeps on both sides what is to be kept.
    pub(super) fn cut(mut self, server: &mut Server, phone: &mut Phone) -> Self {
        self.tell(server, server::Input::Disconnected);
        let left = self.session.shelf().copy();
        server.partials.insert(phone.device(), left);
        phone.partials = self.client.partials();
        self
    }

    pub(super) fn said(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }

    /// The runs that were said to be accepted, in that order.
    pub(super) fn accepted(&self) -> Vec<RunId> {
        let runs = self.events.iter().filter_map(|event| match event {
            Event::Accepted(runs) => Some(runs.iter().map(|(run, _)| *run)),
            _ => None,
        });
        runs.flatten().collect()
    }

    /// Why the device's session ended, if it did.
    pub(super) fn bye(&self) -> Option<ByeCode> {
        self.events.iter().find_map(|event| match event {
            Event::Bye(bye) => Some(bye.code.clone()),
            _ => None,
        })
    }

    /// Bytes that the server sent and nobody took yet.
    pub(super) fn waiting_down(&self) -> usize {
        self.down.iter().map(Vec::len).sum()
    }

    pub(super) fn kinds_up(&self) -> Vec<&'static str> {
        kinds(&self.sent_up)
    }

    pub(super) fn kinds_down(&self) -> Vec<&'static str> {
        kinds(&self.sent_down)
    }

    fn take(&mut self, sent: Sent) {
        self.down.extend(sent.frames);
        self.submitted += sent.submitted;
        self.taken_back += sent.taken_back;
        self.found.extend(sent.found);
        self.closed = self.closed.take().or(sent.closed);
    }

    fn poll_client(&mut self, server: &Server, phone: &mut Phone) {
        while let Some(output) = self.client.poll() {
            match output {
                client::Output::Send(bytes) => self.up.push_back(bytes),
                client::Output::Event(event) => {
                    phone.store(&event);
                    let applied = matches!(event, Event::Page { .. } | Event::UpToDate { .. });
                    if matches!(event, Event::Void | Event::Readmitted { .. }) {
                        let statements = phone.statements.clone();
                        let input = client::Input::Statements(statements);
                        self.client.handle(server.now, input);
                    }
                    if self.asks
                        && let Some(need) = needed(&event)
                    {
                        self.client.handle(server.now, need);
                    }
                    if applied && self.applies {
                        self.client.handle(server.now, client::Input::Applied);
                    }
                    self.events.push(event);
                }
                client::Output::Close => {}
            }
        }
    }
}

/// What a device asks for that holds none of what the server alone does.
pub(super) fn needed(event: &Event) -> Option<client::Input<'static>> {
    let Event::Differs {
        prefix,
        audience,
        found,
    } = event
    else {
        return None;
    };
    let theirs = found.iter().filter_map(|found| match found {
        Differs::Theirs(range) => Some(*range),
        Differs::Ours(_) | Differs::Both { .. } => None,
    });
    Some(client::Input::Need {
        prefix: prefix.clone(),
        audience: *audience,
        ranges: theirs.collect(),
    })
}

fn kinds(frames: &[Vec<u8>]) -> Vec<&'static str> {
    frames
        .iter()
        .map(|bytes| decode(bytes).unwrap().unwrap().name())
        .collect()
}

pub(super) fn plain(frame: impl Into<Frame>) -> Vec<u8> {
    encode(&frame.into(), Features::NONE)
}

/// Text that hardly deflates, so that a run with it has to be cut.
pub(super) fn noise(characters: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + u8::try_from(state % 90).unwrap())
    };
    (0..characters).map(|_| next()).collect()
}
