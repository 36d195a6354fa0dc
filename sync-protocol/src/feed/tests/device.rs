//! A device that applies pages and holds each to what it may and must receive.

use std::collections::{BTreeMap, BTreeSet};

use bukti_core::authority::{self, Audience, Grant};
use bukti_core::digest::Digest;
use bukti_core::envelope::{DocumentKind, Run};
use bukti_core::id::{DeviceId, DocumentId, Incarnation, Position};
use bukti_core::ledger::Topic;
use bukti_core::placement::Placements;
use bukti_core::record::{Fact, Signed};
use bukti_core::scope::Scope;
use bukti_core::validate::Document;

use super::world::World;
use crate::feed::{Bounds, Feed, Page, UpToDate};
use crate::item::Item;

/// What a device holds, with the cursor that belongs to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    pub(super) documents: BTreeMap<DocumentId, BTreeSet<Position>>,
    /// Statements by position, each with the move that brought it last, 0 if none did.
    pub(super) facts: BTreeMap<Position, Position>,
    pub(super) cursor: Option<Vec<u8>>,
    /// The last moves of units and the last grants of its own that it was told.
    moves: BTreeMap<Scope, (Position, Scope)>,
    told: Option<(Position, Vec<Grant>)>,
}

pub(super) struct Device {
    pub(super) id: DeviceId,
    pub(super) incarnation: Incarnation,
    pub(super) grants: Vec<Grant>,
    pub(super) requested: Vec<Scope>,
    pub(super) held: Held,
    pub(super) bounds: Bounds,
    /// Whether grants changed or units moved on the way: things may come again, or be held from
    /// before.
    pub(super) regranted: bool,
    /// Whether grants changed on the way, so that statements may come again.
    pub(super) granted_anew: bool,
    /// Whether it wrote its cursor itself, so that it may lack what came before.
    pub(super) forging: bool,
    feed: Option<Feed>,
    /// What was read when the last page was made.
    prefixes: Option<BTreeSet<Scope>>,
    /// What came since the last cut.
    uncut: BTreeSet<Position>,
    saves: Vec<Held>,
}

impl Device {
    pub(super) fn new(id: DeviceId, incarnation: Incarnation, grants: Vec<Grant>) -> Self {
        Self {
            id,
            incarnation,
            grants,
            requested: Vec::new(),
            held: Held::default(),
            bounds: Bounds::default(),
            regranted: false,
            granted_anew: false,
            forging: false,
            feed: None,
            prefixes: None,
            uncut: BTreeSet::new(),
            saves: vec![Held::default()],
        }
    }

    pub(super) fn feed(&mut self, world: &World) -> &mut Feed {
        self.feed.get_or_insert_with(|| {
            let cursor = self.held.cursor.as_deref();
            let reader = world.reader();
            let (id, incarnation) = (self.id, self.incarnation);
            let started = Feed::start(
                &reader,
                &self.grants,
                &self.requested,
                cursor,
                id,
                incarnation,
            );
            let mut feed = started.unwrap();
            feed.bounds = self.bounds;
            feed
        })
    }

    /// Reads one page and applies it.
    pub(super) fn page(&mut self, world: &World, budget: usize) -> bool {
        let reader = world.reader();
        let page = self.feed(world).next(&reader, budget).unwrap();
        self.note_prefixes();
        let Some(page) = page else {
            return false;
        };
        self.apply(world, page, budget);
        true
    }

    /// A prefix that came to be read on the way has statements told anew, as a grant has.
    fn note_prefixes(&mut self) {
        let readings = self.feed.iter().flat_map(|feed| &feed.readings);
        let prefixes: BTreeSet<Scope> = readings
            .map(|reading| reading.subscription.prefix.clone())
            .collect();
        let before = self.prefixes.replace(prefixes.clone());
        self.granted_anew |= before.is_some_and(|before| !prefixes.is_subset(&before));
        self.expect_those_ahead_to_owe_all();
    }

    /// A reading that is ahead of another has just begun, and vouches for no document yet.
    fn expect_those_ahead_to_owe_all(&self) {
        let readings = || self.feed.iter().flat_map(|feed| &feed.readings);
        let hindmost = readings().map(|reading| reading.seen.position).min();
        for reading in readings().filter(|reading| Some(reading.seen.position) > hindmost) {
            assert!(
                self.forging || reading.floor == reading.seen.position,
                "{reading:?} is ahead of {hindmost:?}"
            );
        }
    }

    /// Reads until there is nothing more.
    pub(super) fn drain(&mut self, world: &World, budget: usize) {
        let mut pages = 0;
        while self.page(world, budget) {
            pages += 1;
            assert!(pages < 10_000, "the feed comes to an end");
        }
    }

    /// Loses the connection and, for `back` > 0, what the last pages brought.
    pub(super) fn cut(&mut self, back: usize) {
        let keep = self.saves.len().saturating_sub(back).max(1);
        self.saves.truncate(keep);
        self.held = self.saves[keep - 1].clone();
        self.feed = None;
        self.uncut.clear();
    }

    /// Gets other grants, in the session or between two.
    pub(super) fn regrant(&mut self, world: &mut World, grants: Vec<Grant>) {
        world.grant(self.id, grants.clone());
        self.grants = grants;
        (self.regranted, self.granted_anew) = (true, true);
    }

    /// What it may hold by what it was told, without looking at the server.
    fn may_hold(&self, world: &World, document: &DocumentId, at: Position) -> bool {
        let mut moves: Vec<_> = self.held.moves.iter().collect();
        moves.sort_by_key(|(_, (position, _))| *position);
        let mut placements = Placements::default();
        for (unit, (position, parent)) in moves {
            placements.place(*position, unit, parent).unwrap();
        }
        let told = self.held.told.as_ref().map(|(_, grants)| grants.as_slice());
        let grants = told.unwrap_or(&self.grants);
        let audience = authority::audience(grants, placements.lineage(&world.scopes[document]));
        audience.is_some_and(|audience| world.is_in(document, audience, at))
    }

    pub(super) fn up_to_date(&mut self, world: &World) -> Option<UpToDate> {
        let reader = world.reader();
        self.feed(world).up_to_date(&reader).unwrap()
    }

    /// The audience in which the device reads a scope, by rules of its own.
    pub(super) fn audience(&self, world: &World, scope: &Scope) -> Option<Audience> {
        let lineage = world.reader().placements().lineage(scope);
        let asked =
            self.requested.is_empty() || self.requested.iter().any(|one| lineage.is_below(one));
        asked
            .then(|| authority::audience(&self.grants, &lineage))
            .flatten()
    }

    pub(super) fn apply(&mut self, world: &World, page: Page, budget: usize) {
        let bytes: usize = page.items.iter().map(|item| item.to_bytes().len()).sum();
        assert!(
            page.items.len() <= 1 || bytes + page.cursor.len() <= budget,
            "{} items of {bytes} bytes pass {budget}",
            page.items.len(),
        );
        for document in page.left {
            let scope = &world.scopes[&document];
            let watermark = world.reader().watermark().position;
            let audience = self.audience(world, scope);
            assert!(
                audience.is_none_or(|one| !world.is_in(&document, one, watermark)),
                "a document of {scope} leaves {:?}",
                self.grants
            );
            self.held.documents.remove(&document);
        }
        for item in page.items {
            self.take(world, item);
        }
        self.held.cursor = Some(page.cursor);
        self.saves.push(self.held.clone());
    }

    fn take(&mut self, world: &World, item: Item) {
        match item {
            Item::Record {
                position,
                carrier,
                run,
                ..
            } => {
                let run = Run::open(&run).unwrap();
                let written = &world.written[&position];
                assert_eq!((run.id(), carrier), (written.run, written.device));
                assert!(!self.wrote(world, position), "own runs come without bytes");
                self.take_run(world, position);
            }
            Item::Own {
                position,
                run,
                document,
                last_hash,
                ..
            } => {
                let written = &world.written[&position];
                assert_eq!((run, document), (written.run, written.document));
                assert_eq!(last_hash, written.hash);
                assert!(
                    self.wrote(world, position),
                    "the device must have what comes without bytes"
                );
                self.take_run(world, position);
            }
            Item::Whole {
                document,
                as_of,
                published,
                saved,
                envelopes,
            } => {
                let positions: BTreeSet<Position> =
                    envelopes.iter().map(|one| one.position).collect();
                let expected = world.positions(&document);
                assert_eq!(positions, expected, "all runs of the document");
                assert_eq!(Some(&as_of), expected.last());
                assert_eq!(published, world.is_in(&document, Audience::All, as_of));
                let loaded = Document::load(&saved, DocumentKind::Evidence, published).unwrap();
                assert_eq!(loaded.heads(), world.heads(&positions));
                self.expect_visible(world, &document, as_of);
                for position in &positions {
                    self.expect_once(*position);
                }
                self.held
                    .documents
                    .entry(document)
                    .or_default()
                    .extend(positions);
            }
            Item::Fact {
                position,
                statement,
            } => {
                let server = world.reader().server();
                let signed = Signed::open(&statement, &server).unwrap();
                self.learn(position, signed.fact());
                let facts = world.facts();
                let (_, topic) = facts.iter().find(|(at, _)| *at == position).unwrap();
                assert!(
                    self.concerns(world, topic),
                    "{topic:?} does not concern {:?}",
                    self.grants
                );
                let since = self.concerns_since(world, topic);
                let before = self.held.facts.insert(position, since);
                assert!(
                    before.is_none_or(|before| before < since)
                        || self.granted_anew
                        || self.forging
                        || self.reads_nothing(),
                    "the statement at {position} came twice, concerning since {before:?}"
                );
            }
        }
    }

    /// Whether it has no place in the journal: its grants are all it is told.
    pub(super) fn reads_nothing(&self) -> bool {
        self.feed
            .as_ref()
            .is_some_and(|feed| feed.readings.is_empty())
    }

    fn learn(&mut self, position: Position, fact: &Fact) {
        let told = self.held.told.as_ref().map_or(0, |(at, _)| *at);
        match fact {
            Fact::Move(fact) => {
                let before = self.held.moves.get(&fact.unit);
                if before.is_none_or(|(at, _)| *at < position) {
                    let parent = (position, fact.parent.clone());
                    self.held.moves.insert(fact.unit.clone(), parent);
                }
            }
            Fact::Grants(fact) if fact.device == self.id && told < position => {
                self.held.told = Some((position, fact.grants.clone()));
            }
            Fact::Enrolment(fact) if fact.device == self.id && told < position => {
                self.held.told = Some((position, fact.grants.clone()));
            }
            _other => {}
        }
    }

    fn wrote(&self, world: &World, position: Position) -> bool {
        let written = &world.written[&position];
        (written.device, written.incarnation) == (self.id, self.incarnation)
    }

    fn take_run(&mut self, world: &World, position: Position) {
        let document = world.written[&position].document;
        self.expect_visible(world, &document, position);
        self.expect_once(position);
        let held = self.held.documents.entry(document).or_default();
        let before = world.positions(&document);
        let missing: Vec<_> = before
            .range(..position)
            .filter(|at| !held.contains(at))
            .collect();
        assert!(
            self.forging || missing.is_empty(),
            "run {position} came without {missing:?}"
        );
        held.insert(position);
    }

    fn expect_visible(&self, world: &World, document: &DocumentId, at: Position) {
        let scope = &world.scopes[document];
        let audience = self.audience(world, scope);
        assert!(
            audience.is_some_and(|audience| world.is_in(document, audience, at)),
            "a document of {scope} as of {at} shows to {:?}",
            self.grants,
        );
    }

    fn expect_once(&mut self, position: Position) {
        let is_new = self.uncut.insert(position);
        assert!(
            is_new || self.regranted,
            "run {position} came twice without a cut"
        );
    }

    /// Since which move a statement has concerned what is read; 0 if no move brought it.
    fn concerns_since(&self, world: &World, topic: &Topic) -> Position {
        let placements = world.reader().placements();
        let scopes = match topic {
            Topic::Framework | Topic::Revocation(_) | Topic::Move(..) => return 0,
            Topic::Device(device, _) if *device == self.id => return 0,
            Topic::Regions(parent) => std::slice::from_ref(parent),
            Topic::Device(_, scopes) => scopes,
        };
        let since = |prefix: &Scope, scope: &Scope| {
            let below = placements.lineage(scope).since(prefix);
            below.or_else(|| placements.lineage(prefix).since(scope))
        };
        let prefixes = self.prefixes.iter().flatten();
        let all = prefixes.flat_map(|prefix| scopes.iter().filter_map(|one| since(prefix, one)));
        all.min().unwrap_or(0)
    }

    /// Whether a statement is for this device, by rules of its own.
    fn concerns(&self, world: &World, topic: &Topic) -> bool {
        let placements = world.reader().placements();
        let covers = |above: &Scope, scope: &Scope| placements.covers(above, scope);
        let touches = |scope: &Scope| {
            let granted = self.grants.iter().map(|grant| &grant.scope);
            let met: Vec<Scope> = granted
                .flat_map(|granted| match self.requested.as_slice() {
                    [] => vec![granted.clone()],
                    requested => requested
                        .iter()
                        .filter(|one| covers(one, granted) || covers(granted, one))
                        .map(|one| {
                            if covers(one, granted) {
                                granted.clone()
                            } else {
                                one.clone()
                            }
                        })
                        .collect(),
                })
                .collect();
            met.iter()
                .any(|one| covers(one, scope) || covers(scope, one))
        };
        match topic {
            Topic::Framework | Topic::Revocation(_) | Topic::Move(..) => true,
            Topic::Regions(parent) => touches(parent),
            Topic::Device(device, scopes) => *device == self.id || scopes.iter().any(touches),
        }
    }

    /// Checks that the device, having read everything, holds exactly what it should, and lets it
    /// store the last cursor.
    pub(super) fn expect_complete(&mut self, world: &World) {
        let watermark = world.reader().watermark().position;
        let end = self.up_to_date(world).expect("nothing is left to send");
        assert_eq!(end.position, watermark);
        let visible: BTreeMap<DocumentId, BTreeSet<Position>> = world
            .scopes
            .iter()
            .filter(|(document, scope)| {
                let written = !world.positions(document).is_empty();
                let audience = self.audience(world, scope);
                written && audience.is_some_and(|one| world.is_in(document, one, watermark))
            })
            .map(|(document, _)| (*document, world.positions(document)))
            .collect();
        if !self.regranted {
            assert_eq!(self.held.documents, visible);
        }
        let mut held = std::mem::take(&mut self.held.documents);
        held.retain(|document, _| self.may_hold(world, document, watermark));
        self.held.documents = held;
        if self.requested.is_empty() {
            assert_eq!(self.held.documents, visible);
        }
        for (document, positions) in &visible {
            assert_eq!(self.held.documents.get(document), Some(positions));
        }
        self.expect_digests(world, &end, &visible);
        self.expect_facts(world);
        self.held.cursor = Some(end.cursor);
        self.saves.push(self.held.clone());
    }

    fn expect_digests(
        &self,
        world: &World,
        end: &UpToDate,
        visible: &BTreeMap<DocumentId, BTreeSet<Position>>,
    ) {
        let mut counted = 0;
        let placements = world.reader().placements();
        for (prefix, audience, digest, documents) in &end.digests {
            let nested = end.digests.iter().map(|(other, ..)| other);
            let inside: Vec<&Scope> = nested
                .filter(|other| *other != prefix && placements.covers(prefix, other))
                .collect();
            let mine = visible.iter().filter(|(document, _)| {
                let scope = &world.scopes[*document];
                placements.covers(prefix, scope)
                    && !inside.iter().any(|one| placements.covers(one, scope))
            });
            let sums: Vec<Digest> = mine
                .map(|(document, _)| {
                    let held = &self.held.documents[document];
                    Digest::of(document, &world.heads(held))
                })
                .collect();
            assert_eq!(sums.len() as u64, *documents, "{prefix} {audience}");
            assert_eq!(
                sums.into_iter().sum::<Digest>(),
                *digest,
                "{prefix} {audience}"
            );
            counted += documents;
        }
        assert_eq!(
            counted,
            visible.len() as u64,
            "subscriptions do not overlap"
        );
    }

    fn expect_facts(&self, world: &World) {
        if self
            .feed
            .as_ref()
            .is_none_or(|feed| feed.readings.is_empty())
        {
            return;
        }
        let facts = world.facts();
        for (position, topic) in &facts {
            let newest = match topic {
                Topic::Regions(_) => !facts
                    .iter()
                    .any(|(at, other)| at > position && other == topic),
                Topic::Move(unit, _) => !facts.iter().any(|(at, other)| {
                    at > position && matches!(other, Topic::Move(of, _) if of == unit)
                }),
                Topic::Framework | Topic::Revocation(_) | Topic::Device(..) => true,
            };
            if newest && self.concerns(world, topic) {
                assert!(
                    self.held.facts.contains_key(position),
                    "no {topic:?} of {position}"
                );
            }
        }
    }
}
