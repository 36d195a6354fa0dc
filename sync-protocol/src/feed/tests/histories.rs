//! Whatever happens in whatever order, every reader ends with what is theirs and never sees more.

use bukti_core::authority::{Audience, Role};
use bukti_core::id::DeviceId;
use bukti_core::scope::Scope;
use proptest::prelude::*;
use proptest::sample::Index;

use super::device as new_device;
use super::device::Device;
use super::world::{World, grant, scope};
use crate::cursor::{Cursor, Mark};
use crate::feed::Bounds;
use crate::limits::{self, PAGE_BYTES};

const SCOPES: [&str; 6] = [
    "13.76.01.1001",
    "13.76.01.1002",
    "13.76.02.1001",
    "13.76/dinkes",
    "14.01.01.1001",
    "13.76",
];
const WRITERS: u8 = 3;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Event {
    Create {
        writer: Index,
        scope: Index,
        publish: bool,
    },
    Edit {
        writer: Index,
        document: Index,
        publish: bool,
        beside: bool,
    },
    Commit,
    Page {
        reader: Index,
        budget: usize,
    },
    Cut {
        reader: Index,
        back: usize,
    },
    Regions(u8),
    Framework(u8),
    Enrol(Index),
    Revoke,
    Regrant {
        reader: Index,
        to: Index,
    },
    Move {
        unit: Index,
        parent: Index,
    },
}

const UNITS: [&str; 5] = [
    "13.76.01.1001",
    "13.76/dinkes",
    "13.76.01",
    "14.01.01.1001",
    "14.01",
];
const PARENTS: [&str; 7] = [
    "13.76.01", "13.76", "13.76.02", "14.01.01", "14.01", "14", "13",
];

fn event() -> impl Strategy<Value = Event> {
    let index = any::<Index>;
    prop_oneof![
        6 => (index(), index(), any::<bool>())
            .prop_map(|(writer, scope, publish)| Event::Create { writer, scope, publish }),
        10 => (index(), index(), prop::bool::weighted(0.3), any::<bool>()).prop_map(
            |(writer, document, publish, beside)| Event::Edit { writer, document, publish, beside }
        ),
        6 => Just(Event::Commit),
        24 => (index(), 100_usize..3_000)
            .prop_map(|(reader, budget)| Event::Page { reader, budget }),
        4 => (index(), 0_usize..4).prop_map(|(reader, back)| Event::Cut { reader, back }),
        1 => any::<u8>().prop_map(Event::Regions),
        1 => any::<u8>().prop_map(Event::Framework),
        1 => index().prop_map(Event::Enrol),
        1 => Just(Event::Revoke),
    ]
}

fn event_with_grants() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => event(),
        1 => (any::<Index>(), any::<Index>())
            .prop_map(|(reader, to)| Event::Regrant { reader, to }),
    ]
}

fn event_with_moves() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => event_with_grants(),
        2 => (any::<Index>(), any::<Index>())
            .prop_map(|(unit, parent)| Event::Move { unit, parent }),
    ]
}

/// Grants that overlap in every way: alone, nested, beside one another, everything.
fn grants() -> Vec<Vec<(Role, &'static str)>> {
    vec![
        vec![(Role::Officer, SCOPES[0])],
        vec![(Role::Verifier, "13.76")],
        vec![(Role::Verifier, "13"), (Role::Officer, "13.76.01")],
        vec![(Role::Observer, "all")],
        vec![
            (Role::Observer, "all"),
            (Role::UnitHead, SCOPES[3]),
            (Role::Officer, SCOPES[0]),
        ],
        vec![(Role::Officer, SCOPES[0]), (Role::Assessor, SCOPES[4])],
        vec![(Role::Officer, "13.76"), (Role::Verifier, "14")],
        vec![(Role::UnitHead, "14.01"), (Role::Observer, "13.76.01.1001")],
        Vec::new(),
    ]
}

/// What a reader may be granted instead: the same, and what is a step up, down or aside from it.
fn other_grants() -> Vec<Vec<(Role, &'static str)>> {
    let beside = vec![
        vec![(Role::Verifier, "13"), (Role::Officer, SCOPES[0])],
        vec![(Role::Officer, "13.76.01")],
        vec![(Role::Verifier, "13.76.01")],
        vec![(Role::Officer, "13.76"), (Role::Officer, "14")],
        vec![(Role::Officer, "13.76.02"), (Role::Officer, "14.01")],
        vec![(Role::Observer, "14"), (Role::Officer, SCOPES[3])],
    ];
    [grants(), beside].concat()
}

fn readers(world: &World, bounds: Bounds) -> Vec<Device> {
    let mut readers: Vec<Device> = (101..)
        .zip(grants())
        .map(|(number, grants)| new_device(number, &grants))
        .collect();
    let (id, incarnation) = world.writer(0);
    readers.push(Device::new(
        id,
        incarnation,
        vec![grant(Role::Officer, "all")],
    ));
    let mut narrow = new_device(120, &[(Role::Verifier, "13"), (Role::Officer, "13.76.01")]);
    narrow.requested = [SCOPES[0], SCOPES[2], "14"].map(scope).to_vec();
    readers.push(narrow);
    readers.iter_mut().for_each(|reader| reader.bounds = bounds);
    readers
}

struct Play {
    world: World,
    readers: Vec<Device>,
    scopes: Vec<Scope>,
    enrolled: Vec<DeviceId>,
}

impl Play {
    fn new(bounds: Bounds) -> Self {
        let mut world = World::new(WRITERS);
        let readers = readers(&world, bounds);
        for reader in &readers {
            world.enrol(reader.id, "all");
            world.grant(reader.id, reader.grants.clone());
        }
        Self {
            world,
            readers,
            scopes: SCOPES.map(scope).to_vec(),
            enrolled: Vec::new(),
        }
    }

    fn happen(&mut self, event: &Event) {
        let writers = usize::from(WRITERS);
        match event {
            Event::Create {
                writer,
                scope,
                publish,
            } => {
                let place = &self.scopes[scope.index(self.scopes.len())];
                self.world
                    .create(writer.index(writers), place, *publish, "Begun");
            }
            Event::Edit {
                writer,
                document,
                publish,
                beside,
            } => {
                if self.world.documents() > 0 {
                    let document = document.index(self.world.documents());
                    self.world
                        .edit(writer.index(writers), document, *publish, *beside, "Edited");
                }
            }
            Event::Commit => self.world.commit(),
            Event::Page { reader, budget } => {
                let at = reader.index(self.readers.len());
                self.readers[at].page(&self.world, *budget);
            }
            Event::Cut { reader, back } => {
                let at = reader.index(self.readers.len());
                self.readers[at].cut(*back);
            }
            Event::Regions(version) => self.world.import_regions(*version),
            Event::Framework(version) => self.world.import_framework(*version),
            Event::Enrol(place) => {
                let place = SCOPES[place.index(SCOPES.len())];
                self.enrolled.push(self.world.enrol_somebody(place));
            }
            Event::Revoke => {
                self.enrolled
                    .pop()
                    .into_iter()
                    .for_each(|device| self.world.revoke(device));
            }
            Event::Regrant { reader, to } => {
                let kinds = other_grants();
                let roles = &kinds[to.index(kinds.len())];
                let roles = roles
                    .iter()
                    .map(|(role, place)| grant(*role, place))
                    .collect();
                let at = reader.index(self.readers.len());
                // Who writes goes on writing.
                if self.readers[at].id != self.world.writer(0).0 {
                    self.readers[at].regrant(&mut self.world, roles);
                }
            }
            Event::Move { unit, parent } => {
                let unit = scope(UNITS[unit.index(UNITS.len())]);
                let parent = scope(PARENTS[parent.index(PARENTS.len())]);
                self.world.move_unit(&unit, &parent);
                self.readers
                    .iter_mut()
                    .for_each(|reader| reader.regranted = true);
            }
        }
    }

    fn end(&mut self) {
        self.world.commit();
        for reader in &mut self.readers {
            reader.drain(&self.world, PAGE_BYTES);
            reader.expect_complete(&self.world);
            reader.cut(0);
            let again = reader.page(&self.world, PAGE_BYTES);
            assert!(
                !again || reader.reads_nothing(),
                "nothing that was stored comes again"
            );
            reader.expect_complete(&self.world);
        }
    }
}

/// These histories are long: 48 of each in an ordinary run, more in proportion with
/// `PROPTEST_CASES`.
fn config() -> ProptestConfig {
    let told = ProptestConfig::default();
    ProptestConfig {
        cases: (told.cases * 3 / 16).max(1),
        ..told
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_reader_ends_with_exactly_what_is_theirs(
        events in proptest::collection::vec(event(), 20..140),
        frontier in 1_usize..6,
        steps in 1_usize..40,
    ) {
        let mut play = Play::new(Bounds { frontier, steps });
        events.iter().for_each(|event| play.happen(event));
        play.end();
    }

    #[test]
    fn whoever_is_granted_other_scopes_on_the_way_ends_with_what_is_theirs_then(
        events in proptest::collection::vec(event_with_grants(), 20..140),
        frontier in 1_usize..6,
    ) {
        let mut play = Play::new(Bounds { frontier, ..Bounds::default() });
        events.iter().for_each(|event| play.happen(event));
        play.end();
    }

    #[test]
    fn whoever_is_granted_other_scopes_while_units_move_ends_with_what_is_theirs_then(
        events in proptest::collection::vec(event_with_moves(), 20..140),
        frontier in 1_usize..6,
    ) {
        let mut play = Play::new(Bounds { frontier, ..Bounds::default() });
        events.iter().for_each(|event| play.happen(event));
        play.end();
    }

    #[test]
    fn a_forged_cursor_gives_nothing_beyond_the_grants(
        events in proptest::collection::vec(event(), 20..60),
        forgery in forgery(),
        (from, to) in (any::<Index>(), any::<Index>()),
    ) {
        let mut play = Play::new(Bounds::default());
        events.iter().for_each(|event| play.happen(event));
        play.world.commit();
        let (from, to) = (from.index(play.readers.len()), to.index(play.readers.len()));
        play.readers[from].drain(&play.world, PAGE_BYTES);
        let held = play.readers[from].held.cursor.clone().unwrap_or_default();
        let reader = &mut play.readers[to];
        reader.cut(0);
        reader.regranted = true;
        reader.held.cursor = Some(forgery.apply(held, &play.world));
        reader.forging = true;
        reader.drain(&play.world, PAGE_BYTES);
    }
}

/// What a device may do to a cursor, its own or another's.
#[derive(Debug, Clone)]
enum Forgery {
    Bytes(Vec<(Index, u8)>),
    Cut(Index),
    Raised,
    Everything,
    Numbers { floor: u64, facts: u64 },
    Many,
}

fn forgery() -> impl Strategy<Value = Forgery> {
    let number = || prop_oneof![0_u64..100, any::<u64>(), Just(u64::MAX)];
    prop_oneof![
        proptest::collection::vec((any::<Index>(), any::<u8>()), 1..4).prop_map(Forgery::Bytes),
        any::<Index>().prop_map(Forgery::Cut),
        Just(Forgery::Raised),
        Just(Forgery::Everything),
        (number(), number()).prop_map(|(floor, facts)| Forgery::Numbers { floor, facts }),
        Just(Forgery::Many),
    ]
}

impl Forgery {
    fn apply(&self, mut bytes: Vec<u8>, world: &World) -> Vec<u8> {
        let seen = world.reader().watermark();
        let everything = |audience| Mark {
            prefix: Scope::all(),
            audience,
            seen,
            floor: 0,
            facts: 0,
            moves: 0,
        };
        let mut cursor = Cursor::from_bytes(&bytes).unwrap_or_default();
        match self {
            Self::Bytes(changes) => {
                for (index, byte) in changes {
                    let at = index.index(bytes.len().max(1));
                    bytes.get_mut(at).into_iter().for_each(|old| *old = *byte);
                }
                return bytes;
            }
            Self::Cut(index) => {
                bytes.truncate(index.index(bytes.len() + 1));
                return bytes;
            }
            Self::Raised => cursor
                .marks
                .iter_mut()
                .for_each(|mark| mark.audience = Audience::Unit),
            Self::Everything => cursor.marks.push(everything(Audience::Unit)),
            Self::Numbers { floor, facts } => {
                for mark in &mut cursor.marks {
                    (mark.floor, mark.facts) = (*floor, *facts);
                }
            }
            Self::Many => cursor.marks = vec![everything(Audience::All); limits::SUBSCRIPTIONS_MAX],
        }
        cursor.to_bytes()
    }
}
