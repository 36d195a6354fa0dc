//! What every device holds at every moment, and what came to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bukti_client::device::{Applicant, Device, Enrolment, Folders, Reaction};
use bukti_core::envelope::{DocumentKind, Envelope, Run};
use bukti_core::id::{DeviceId, DocumentId, Incarnation, Position, RunId};
use bukti_core::journal::memory::MemoryStorage;
use bukti_core::kv::MemoryKv;
use bukti_core::ledger::testing::Phone;
use bukti_core::validate::CheckedRun;
use bukti_sync_protocol::bye::Bye;
use bukti_sync_protocol::client::Event;
use bukti_sync_protocol::item::Item;
use bukti_sync_protocol::link::InvitationLink;
use bukti_tests::wire::{Enrolled, Line, push};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::table::{Grants, MOVING_AGENCY, MOVING_VILLAGE, Person, ROLES, Standing, places, reads};
use super::{
    bell, called, command, enrol, giving, id_of, invitations, key, moving, regrant, revoking, ring,
};
use crate::field::Field;

/// What happens, in this order: what becomes of everybody's grants, whether units are away, and
/// what the author does.
const MOMENTS: [Moment; 11] = [
    Moment::of("before", Standing::Before),
    Moment::of("granted", Standing::Granted),
    Moment {
        declares: true,
        ..Moment::of("declared ready and edited", Standing::Granted)
    },
    Moment::of("narrowed", Standing::Narrowed),
    Moment::of("added", Standing::Added),
    Moment {
        away: true,
        moves: true,
        ..Moment::of("units moved", Standing::Added)
    },
    Moment {
        moves: true,
        ..Moment::of("units moved back", Standing::Added)
    },
    Moment::of("removed", Standing::Removed),
    Moment::of("granted again", Standing::Granted),
    Moment::of("demoted", Standing::Demoted),
    Moment {
        revoked: true,
        ..Moment::of("revoked", Standing::Demoted)
    },
];

/// In each manner, at every moment, each document.
const CELLS_OF_A_PERSON: usize = 3 * 11 * (12 * 8);

/// Devices that hear at once: a machine that is shared is to answer each in time.
const HEARING_AT_ONCE: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Moment {
    name: &'static str,
    standing: Standing,
    /// Units stand where they were moved to.
    away: bool,
    /// Units are moved, between two edits of what is below them.
    moves: bool,
    /// The author declares some drafts ready and goes on with the others.
    declares: bool,
    revoked: bool,
}

impl Moment {
    const fn of(name: &'static str, standing: Standing) -> Self {
        Self {
            name,
            standing,
            away: false,
            moves: false,
            declares: false,
            revoked: false,
        }
    }
}

/// How a device is connected while things happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// All the time.
    Connected,
    /// Only afterwards.
    Offline,
    /// All the time, but for a cut behind each page that brings documents or takes them away.
    Cut,
}

macro_rules! readers_of {
    ($($name:ident: $role:literal,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                hold_exactly_what_they_may_read($role).await;
            }
        )+

        #[test]
        fn every_role_reads() {
            assert_eq!([$($role),+], ROLES);
        }
    };
}

// A server for each: whoever reads hears of everybody's grants there.
readers_of! {
    officers_hold_exactly_what_they_may_read: "officer",
    unit_heads_hold_exactly_what_they_may_read: "unit-head",
    verifiers_hold_exactly_what_they_may_read: "verifier",
    assessors_hold_exactly_what_they_may_read: "assessor",
    administrators_hold_exactly_what_they_may_read: "administrator",
    observers_and_nobody_hold_exactly_what_they_may_read: "observer",
}

async fn hold_exactly_what_they_may_read(role: &'static str) {
    let field = super::programme();
    let mut library = Library::open(&field).await;
    let bell = bell(&field).await;
    let mut people = Person::everybody();
    people.retain(|person| person.role() == role);
    let mut readers = enrolled(&field, &people).await;
    let mut cells = 0;
    for (index, moment) in MOMENTS.into_iter().enumerate() {
        let changed = change(&field, &mut readers, &mut library, &moment).await;
        let rung = ring(&field, bell, index);
        readers = hear(field.address(), readers, &moment, &changed, rung).await;
        for reader in &mut readers {
            cells += reader.check(&library, &moment, &changed);
        }
    }
    println!("{cells} cells of what {role}s read");
    assert_eq!(cells, people.len() * CELLS_OF_A_PERSON);
    let nobody = usize::from(role == "observer");
    assert_eq!(people.len(), 10 + nobody);
    field.verify();
}

/// What the commands of a moment did.
#[derive(Debug, Default, Clone)]
struct Changed {
    /// Position of the first of them, if there was any.
    first: Option<Position>,
    /// Position of the last that concerned the device itself.
    own: BTreeMap<DeviceId, Position>,
}

/// Does what happens at a moment.
async fn change(
    field: &Field,
    readers: &mut [Reader],
    library: &mut Library,
    moment: &Moment,
) -> Changed {
    let mut commands = Vec::new();
    let mut whose = Vec::new();
    for reader in readers.iter_mut() {
        let grants = reader.person.grants(moment.standing);
        let own = match moment.revoked {
            true => vec![revoking(reader.id)],
            false => regrant(reader.id, &reader.grants, &grants),
        };
        reader.grants = if moment.revoked { Vec::new() } else { grants };
        // The commands of one device follow one another.
        whose.push((reader.id, own.len()));
        commands.push(own);
    }
    let rounds = commands.iter().map(Vec::len).max().unwrap_or_default();
    let mut changed = Changed::default();
    for round in 0..rounds {
        let due: Vec<(DeviceId, Vec<String>)> = whose
            .iter()
            .zip(&commands)
            .filter_map(|((id, _), own)| Some((*id, own.get(round)?.clone())))
            .collect();
        let words: Vec<Vec<String>> = due.iter().map(|(_, words)| words.clone()).collect();
        for ((id, _), position) in due.iter().zip(command(field, &words)) {
            changed.own.insert(*id, position);
            let first = changed.first.get_or_insert(position);
            *first = position.min(*first);
        }
    }
    if moment.moves {
        library.edit_moving(field).await;
        changed.first = command(field, &moving(moment.away)).into_iter().min();
        library.edit_moving(field).await;
    }
    if moment.declares {
        library.declare(field).await;
    }
    if moment.revoked {
        library.edit_moving(field).await;
    }
    changed
}

/// Lets everybody hear of it, all at once.
async fn hear(
    server: SocketAddr,
    readers: Vec<Reader>,
    moment: &Moment,
    changed: &Changed,
    rung: Position,
) -> Vec<Reader> {
    let mut hearing = JoinSet::new();
    let turns = Arc::new(Semaphore::new(HEARING_AT_ONCE));
    for (index, mut reader) in readers.into_iter().enumerate() {
        let own = changed.own.get(&reader.id).copied();
        let due = if reader.grants.is_empty() {
            own
        } else {
            Some(rung)
        };
        let (revoked, turns) = (moment.revoked, Arc::clone(&turns));
        hearing.spawn(async move {
            let _turn = turns.acquire_owned().await.unwrap();
            if revoked {
                reader.hear_out(server).await;
            } else {
                reader.hear(server, due).await;
            }
            (index, reader)
        });
    }
    let mut readers: Vec<(usize, Reader)> = hearing.join_all().await;
    readers.sort_by_key(|(index, _)| *index);
    readers.into_iter().map(|(_, reader)| reader).collect()
}

/// Everything that there is to read.
struct Library {
    author: Phone,
    enrolled: Enrolled,
    books: Vec<Book>,
    edits: usize,
}

/// A document.
struct Book {
    id: DocumentId,
    kind: DocumentKind,
    state: State,
    place: &'static str,
    /// Whether everybody may read it.
    published: bool,
    /// All of it.
    runs: BTreeSet<RunId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Draft,
    Ready,
    /// A draft that is declared ready later.
    Later,
}

const BOOKS: [(DocumentKind, State); 8] = [
    (DocumentKind::Evidence, State::Draft),
    (DocumentKind::Evidence, State::Ready),
    (DocumentKind::Evidence, State::Later),
    (DocumentKind::Statement, State::Draft),
    (DocumentKind::Statement, State::Ready),
    (DocumentKind::Reference, State::Draft),
    (DocumentKind::Reference, State::Ready),
    (DocumentKind::Reference, State::Later),
];

impl Library {
    /// A document of every kind and state in every place.
    async fn open(field: &Field) -> Self {
        let mut author = Phone::new(1);
        let enrolled = super::author(field, author.key()).await;
        let mut books = Vec::new();
        let mut runs = Vec::new();
        for place in places() {
            for (kind, state) in BOOKS {
                let publish = state == State::Ready;
                let (id, run) = author.create_kind(kind, place, publish);
                // A statement is published by being made.
                let published = publish || kind == DocumentKind::Statement;
                books.push(Book {
                    id,
                    kind,
                    state,
                    place,
                    published,
                    runs: BTreeSet::new(),
                });
                runs.push(run);
            }
        }
        let mut library = Self {
            author,
            enrolled,
            books,
            edits: 0,
        };
        library.write(field, runs).await;
        library
    }

    /// Has runs of the author accepted.
    async fn write(&mut self, field: &Field, runs: Vec<CheckedRun>) {
        let opening = giving(self.author.key(), &self.enrolled, None);
        let sealed = runs.iter().map(|run| (run.id(), run.run().to_bytes()));
        let answers = push(field.address(), opening, sealed.collect()).await;
        assert_eq!(answers.accepted.len(), runs.len(), "{answers:?}");
        for run in runs {
            let id = run.envelope().body().document;
            let mut books = self.books.iter_mut();
            let book = books.find(|book| book.id == id).unwrap();
            book.runs.insert(run.id());
        }
    }

    /// Declares drafts ready, and goes on with all other evidence.
    async fn declare(&mut self, field: &Field) {
        let mut runs = Vec::new();
        for book in &mut self.books {
            if book.state == State::Later {
                runs.push(self.author.ready(&book.id));
                book.published = true;
            } else if book.kind == DocumentKind::Evidence {
                runs.push(self.author.edit(&book.id, "Rapat dilanjutkan."));
            }
        }
        self.write(field, runs).await;
    }

    /// Goes on with the evidence of the units that are moved.
    async fn edit_moving(&mut self, field: &Field) {
        self.edits += 1;
        let narrative = format!("Rapat ke-{}.", self.edits);
        let moving = [MOVING_VILLAGE[0], MOVING_AGENCY[0]];
        let mut runs = Vec::new();
        for book in &self.books {
            if moving.contains(&book.place) && book.kind == DocumentKind::Evidence {
                runs.push(self.author.edit(&book.id, &narrative));
            }
        }
        self.write(field, runs).await;
    }
}

/// Enrols people, once for each manner.
async fn enrolled(field: &Field, people: &[Person]) -> Vec<Reader> {
    let manners = [Manner::Connected, Manner::Offline, Manner::Cut];
    let everybody: Vec<(Person, Manner)> = people
        .iter()
        .flat_map(|person| manners.map(|manner| (*person, manner)))
        .collect();
    let asked = everybody
        .iter()
        .flat_map(|(person, _)| person.grants(Standing::Before));
    let links = invitations(field, &asked.collect());
    let mut readers = Vec::new();
    for (number, ((person, manner), link)) in everybody.into_iter().zip(links).enumerate() {
        readers.push(Reader::enrol(field, number, person, manner, &link).await);
    }
    readers
}

/// A device with the real library, on disks in memory.
struct Reader {
    person: Person,
    manner: Manner,
    id: DeviceId,
    device: Device<MemoryStorage, MemoryKv>,
    line: Option<Line>,
    events: u64,
    /// What it is granted at present.
    grants: Grants,
    /// Up to where it was told that it has everything.
    up_to: Position,
    /// How the server ended its session.
    bye: Option<Bye>,
    /// What it held when the moment began.
    held: BTreeSet<DocumentId>,
    /// What frames brought of each document since it was there last.
    runs: BTreeMap<DocumentId, BTreeSet<RunId>>,
    /// What frames brought at this moment, and as of where.
    came: Vec<(DocumentId, Position)>,
    /// What frames called left.
    left: BTreeSet<DocumentId>,
    /// How many of these there were at the last page.
    stepped: (usize, usize),
}

/// What an event means for how a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Documents came or left.
    Documents,
    UpToDate,
    Other,
}

impl Reader {
    async fn enrol(
        field: &Field,
        number: usize,
        person: Person,
        manner: Manner,
        link: &InvitationLink,
    ) -> Self {
        let folders = Folders {
            home: Arc::new(MemoryStorage::new()),
            tail: Arc::new(MemoryStorage::new()),
            quarantine: Arc::new(MemoryStorage::new()),
        };
        let seed = key(number).to_bytes();
        let applicant = Applicant::open(folders, link, seed).unwrap();
        let id = id_of(applicant.key());
        let answer = enrol(field, applicant.key(), link).await;
        let enrolment = Enrolment {
            journal: answer.journal,
            certificate: answer.certificate,
        };
        let incarnation = Incarnation([1; 16]);
        let device = applicant.finish(MemoryKv::new(), &enrolment, incarnation);
        Self {
            person,
            manner,
            id,
            device: device.unwrap(),
            line: None,
            events: 0,
            grants: person.grants(Standing::Before),
            up_to: 0,
            bye: None,
            held: BTreeSet::new(),
            runs: BTreeMap::new(),
            came: Vec::new(),
            left: BTreeSet::new(),
            stepped: (0, 0),
        }
    }

    fn name(&self) -> String {
        format!("{}, {:?}", self.person.name(), self.manner)
    }

    async fn connect(&mut self, server: SocketAddr) {
        let opening = self.device.opening(Vec::new(), "test").unwrap();
        self.line = Some(Line::open(server, opening, Vec::new()).await);
    }

    /// Hears of everything up to a position, in its manner. Nothing is to come to who reads
    /// nothing and was granted nothing either.
    async fn hear(&mut self, server: SocketAddr, due: Option<Position>) {
        match self.manner {
            Manner::Connected => {
                if self.line.is_none() {
                    self.connect(server).await;
                }
                while due.is_some_and(|due| self.up_to < due) {
                    self.step().await;
                }
            }
            Manner::Offline => {
                self.connect(server).await;
                while self.step().await != Step::UpToDate {}
                assert!(due.is_none_or(|due| due <= self.up_to), "{}", self.name());
                self.line = None;
            }
            Manner::Cut => {
                if self.line.is_some() && due.is_some() {
                    while self.step().await == Step::Other {}
                }
                self.connect(server).await;
                loop {
                    match self.step().await {
                        Step::Documents => self.connect(server).await,
                        Step::UpToDate => break,
                        Step::Other => {}
                    }
                }
                assert!(due.is_none_or(|due| due <= self.up_to), "{}", self.name());
            }
        }
    }

    /// Hears how its session ends.
    async fn hear_out(&mut self, server: SocketAddr) {
        if self.line.is_none() {
            self.connect(server).await;
        }
        while let Some(event) = self.line.as_mut().unwrap().next().await {
            self.take(event).await;
        }
    }

    async fn step(&mut self) -> Step {
        let event = self.line.as_mut().unwrap().next().await;
        let event = event.unwrap_or_else(|| panic!("{} was left: {:?}", self.name(), self.bye));
        let is_page = matches!(event, Event::Page { .. });
        let is_end = matches!(event, Event::UpToDate { .. });
        self.take(event).await;
        let documents = (self.came.len(), self.left.len());
        if is_end {
            return Step::UpToDate;
        }
        if is_page && documents != self.stepped {
            self.stepped = documents;
            return Step::Documents;
        }
        Step::Other
    }

    /// Takes note of what an event brings, and has the device store it.
    async fn take(&mut self, event: Event) {
        match &event {
            Event::Page { items, .. } => items.iter().for_each(|item| self.note(item)),
            Event::UpToDate { position, .. } => self.up_to = *position,
            Event::LeftScope(document) => {
                self.left.insert(*document);
            }
            Event::Bye(bye) => self.bye = Some(bye.clone()),
            Event::Welcome { .. } | Event::Progress { .. } => {}
            other => panic!("{} learned {other:?}", self.name()),
        }
        self.events += 1;
        let mut random = [0; 16];
        random[..8].copy_from_slice(&self.events.to_le_bytes());
        let reaction = self.device.handle_event(0, random, &event).unwrap();
        let goes_on = matches!(reaction, Reaction::None | Reaction::Applied);
        assert!(goes_on, "{}: {reaction:?}", self.name());
        for input in reaction.into_inputs() {
            self.line.as_mut().unwrap().give(input).await;
        }
    }

    fn note(&mut self, item: &Item) {
        let (document, position, runs) = match item {
            Item::Record { position, run, .. } => {
                let run = Run::open(run).unwrap();
                let document = run.envelope.body().document;
                (document, *position, vec![run.id()])
            }
            Item::Whole {
                document,
                as_of,
                envelopes,
                ..
            } => {
                let envelopes = envelopes.iter();
                let runs = envelopes.map(|sent| Envelope::open(&sent.bytes).unwrap().run());
                (*document, *as_of, runs.collect())
            }
            Item::Fact { .. } => return,
            Item::Own { .. } => panic!("{} wrote nothing: {item:?}", self.name()),
        };
        self.came.push((document, position));
        self.runs.entry(document).or_default().extend(runs);
    }

    /// Compares what it holds, and what came, with the table; gives the number of documents.
    fn check(&mut self, library: &Library, moment: &Moment, changed: &Changed) -> usize {
        let list = self.device.list().unwrap();
        let here: BTreeSet<DocumentId> = list.into_iter().map(|row| row.id).collect();
        let of = |book: &Book| {
            let state = format!("{:?}", book.state).to_lowercase();
            let what = called(book.kind, &state, book.place);
            format!("{what} for {} when {}", self.name(), moment.name)
        };
        let books: BTreeSet<DocumentId> = library.books.iter().map(|book| book.id).collect();
        let named = self
            .came
            .iter()
            .map(|(id, _)| id)
            .chain(&self.left)
            .chain(&here);
        assert!(
            named.into_iter().all(|id| books.contains(id)),
            "{}",
            self.name()
        );
        for book in &library.books {
            let before = self.held.contains(&book.id);
            let after = reads(&self.grants, book.place, book.published, moment.away);
            // Whoever is revoked is told so and nothing else; what he has, nobody can take.
            let holds = after || (moment.revoked && before);
            assert_eq!(here.contains(&book.id), holds, "holds the {}", of(book));
            let came = self.came.iter().filter(|(id, _)| *id == book.id);
            for (_, position) in came {
                let in_time = changed.first.is_some_and(|first| *position < first);
                let then = before && in_time && self.manner != Manner::Offline;
                assert!(after || then, "got the {}", of(book));
            }
            // What grants take, the device lets go of by itself; what a move takes, it is told.
            let leaves = moment.moves && before && !after;
            assert_eq!(
                self.left.contains(&book.id),
                leaves,
                "left the {}",
                of(book)
            );
            if after {
                let runs = self.runs.get(&book.id);
                assert_eq!(runs, Some(&book.runs), "all of the {}", of(book));
            }
        }
        let revoked = self.bye.as_ref();
        let revoked = revoked.is_some_and(|bye| bye.revokes(&self.id, &library.enrolled.server));
        assert_eq!(revoked, moment.revoked, "{}: {:?}", self.name(), self.bye);
        assert!(
            self.device.status().unwrap().differs.is_empty(),
            "{}",
            self.name()
        );
        assert!(
            self.device.findings().unwrap().is_empty(),
            "{}",
            self.name()
        );
        self.runs.retain(|id, _| here.contains(id));
        (self.held, self.came, self.left) = (here, Vec::new(), BTreeSet::new());
        self.stepped = (0, 0);
        library.books.len()
    }
}
