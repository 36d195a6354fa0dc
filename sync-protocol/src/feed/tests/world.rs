//! A server in memory, people who write on it, and what it should have told whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bukti_core::authority::{Audience, Grant, Role};
use bukti_core::change::Parsed;
use bukti_core::envelope::{Body, DocumentKind, Envelope, Root, Run};
use bukti_core::evidence::{Edit, NewEvidence, create, edit};
use bukti_core::id::{
    Actor, ChangeHash, DeviceId, DocumentId, Incarnation, JournalId, Position, RunId, WallMs,
};
use bukti_core::journal;
use bukti_core::journal::memory::MemoryStorage;
use bukti_core::kv::{Batch, Direction, Kv, KvError, MemoryKv, Rows};
use bukti_core::ledger::{AdminError, Ledger, Options, Reader, Submission, Topic, Verdict};
use bukti_core::record::{Invitation, invitation_hash};
use bukti_core::region::RegionImport;
use bukti_core::scope::Scope;
use bukti_core::validate::{Document, check_run};
use ed25519_dalek::SigningKey;

pub(super) type TestReader = Reader<MemoryStorage, CountingKv>;

/// Rows in memory that count how often they are read, and let something happen in between.
#[derive(Debug, Default)]
pub(super) struct CountingKv {
    rows: MemoryKv,
    reads: AtomicU64,
    between: Between,
}

/// What happens before a scan to come.
#[derive(Default)]
struct Between(Mutex<Option<(usize, Happening)>>);

type Happening = Box<dyn FnOnce() + Send>;

impl fmt::Debug for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Between")
    }
}

impl Between {
    fn count_down(&self) {
        let due = {
            let mut waiting = self.0.lock().unwrap();
            match waiting.take() {
                Some((0, happens)) => Some(happens),
                Some((scans, happens)) => {
                    *waiting = Some((scans - 1, happens));
                    None
                }
                None => None,
            }
        };
        if let Some(happens) = due {
            happens();
        }
    }
}

impl CountingKv {
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

impl Kv for CountingKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.rows.get(key)
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Rows<'a> {
        self.between.count_down();
        self.reads.fetch_add(1, Ordering::Relaxed);
        let rows = self.rows.scan(from, to, direction);
        Box::new(rows.inspect(|_| {
            self.reads.fetch_add(1, Ordering::Relaxed);
        }))
    }

    fn apply(&self, batch: &Batch) -> Result<(), KvError> {
        self.rows.apply(batch)
    }

    fn flush(&self) -> Result<(), KvError> {
        self.rows.flush()
    }

    fn size_on_disk(&self) -> Result<u64, KvError> {
        self.rows.size_on_disk()
    }
}

/// A run as it was accepted.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) run: RunId,
    pub(super) document: DocumentId,
    pub(super) device: DeviceId,
    pub(super) incarnation: Incarnation,
    pub(super) publish: bool,
    pub(super) hash: ChangeHash,
    pub(super) deps: Vec<ChangeHash>,
}

struct Writer {
    key: SigningKey,
    incarnation: Incarnation,
    number: u64,
}

/// A document as its writers see it.
struct Draft {
    id: DocumentId,
    scope: Scope,
    saved: Vec<u8>,
    /// As it was before the last run, with who wrote that.
    before: Option<(Vec<u8>, usize)>,
    seqs: BTreeMap<usize, u64>,
}

pub(super) struct World {
    ledger: Ledger<MemoryStorage, CountingKv>,
    kv: Arc<CountingKv>,
    now: WallMs,
    writers: Vec<Writer>,
    drafts: Vec<Draft>,
    waiting: Vec<(Submission, Written)>,
    serial: u8,
    pub(super) written: BTreeMap<Position, Written>,
    pub(super) scopes: BTreeMap<DocumentId, Scope>,
}

pub(super) fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

pub(super) fn grant(role: Role, text: &str) -> Grant {
    Grant {
        role,
        scope: scope(text),
    }
}

impl World {
    /// Founds a server and enrols writers who may write everywhere.
    pub(super) fn new(writers: u8) -> Self {
        let kv = Arc::new(CountingKv::default());
        let journal = journal::Options {
            segment_bytes: 1024 * 1024,
            reserve_bytes: 0,
            prefix_removable: false,
        };
        let ledger = Ledger::create(
            MemoryStorage::new(),
            Arc::clone(&kv),
            SigningKey::from_bytes(&[200; 32]),
            JournalId([7; 16]),
            1,
            Options::new(journal, 1),
        )
        .unwrap();
        let mut world = Self {
            ledger,
            kv,
            now: 1_000,
            writers: Vec::new(),
            drafts: Vec::new(),
            waiting: Vec::new(),
            serial: 0,
            written: BTreeMap::new(),
            scopes: BTreeMap::new(),
        };
        for number in 0..writers {
            let key = SigningKey::from_bytes(&[number + 1; 32]);
            world.enrol(DeviceId(key.verifying_key().to_bytes()), "all");
            let incarnation = Incarnation([number; 16]);
            world.writers.push(Writer {
                key,
                incarnation,
                number: 0,
            });
        }
        world
    }

    pub(super) fn reader(&self) -> TestReader {
        self.ledger.reader()
    }

    pub(super) fn reads(&self) -> u64 {
        self.kv.reads()
    }

    /// Lets something happen once so many more scans of the rows have begun.
    pub(super) fn after_scans(&self, scans: usize, happens: impl FnOnce() + Send + 'static) {
        *self.kv.between.0.lock().unwrap() = Some((scans, Box::new(happens)));
    }

    /// Device and incarnation of a writer.
    pub(super) fn writer(&self, at: usize) -> (DeviceId, Incarnation) {
        let writer = &self.writers[at];
        (
            DeviceId(writer.key.verifying_key().to_bytes()),
            writer.incarnation,
        )
    }

    pub(super) fn documents(&self) -> usize {
        self.drafts.len()
    }

    /// Enrols an officer of `place`.
    pub(super) fn enrol(&mut self, device: DeviceId, place: &str) {
        self.serial += 1;
        let secret = [self.serial; 16];
        let invitation = Invitation {
            hash: invitation_hash(&secret),
            person: "Siti".into(),
            grants: vec![grant(Role::Officer, place)],
            expires_at: WallMs::MAX,
        };
        self.ledger.invite(self.now, invitation).unwrap();
        self.ledger.enrol(self.now, &secret, device).unwrap();
    }

    /// Enrols an officer of `place` who never connects.
    pub(super) fn enrol_somebody(&mut self, place: &str) -> DeviceId {
        let mut device = [250; 32];
        device[0] = self.serial;
        self.enrol(DeviceId(device), place);
        DeviceId(device)
    }

    /// Replaces what a device may do.
    pub(super) fn grant(&mut self, device: DeviceId, grants: Vec<Grant>) {
        self.ledger.grant(self.now, device, grants).unwrap();
    }

    /// Moves a unit, if it can stand there.
    pub(super) fn move_unit(&mut self, unit: &Scope, parent: &Scope) {
        match self.ledger.move_unit(self.now, unit, parent) {
            Ok(_) | Err(AdminError::Invalid(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn revoke(&mut self, device: DeviceId) {
        self.ledger.revoke(self.now, device).unwrap();
    }

    /// Imports a list of regions that differs from any other by its version.
    pub(super) fn import_regions(&mut self, version: u8) {
        let csv = "code,name\n13,Sumatera Barat\n13.76,Kota Payakumbuh\n13.76.01,Barat\n\
                   13.76.01.1001,Satu\n14,Riau\n14.01,Kampar\n14.01.01,Bangkinang\n\
                   14.01.01.1001,Dua\n";
        let version = format!("version {version}");
        let import = RegionImport::from_csv("regions.csv", csv.as_bytes(), &version).unwrap();
        self.ledger.import_regions(self.now, import).unwrap();
    }

    pub(super) fn import_framework(&mut self, version: u8) {
        let [(name, json), _] = bukti_core::framework::built_in();
        let mut framework: serde_json::Value = serde_json::from_slice(json).unwrap();
        framework["version"] = format!("test-{version}").into();
        let json = framework.to_string().into_bytes();
        self.ledger.import_framework(self.now, name, json).unwrap();
    }

    /// A writer begins a document; it counts after [`World::commit`].
    pub(super) fn create(&mut self, writer: usize, place: &Scope, publish: bool, title: &str) {
        let (device, incarnation) = self.writer(writer);
        let mut random = [0; 16];
        random[..8].copy_from_slice(&(self.drafts.len() as u64).to_be_bytes());
        let root = Root {
            kind: DocumentKind::Evidence,
            scope: place.clone(),
            random,
        };
        let id = DocumentId::derive(&device, root.kind.as_str(), place, &random);
        let new = NewEvidence {
            title: title.into(),
            ..NewEvidence::default()
        };
        let actor = Actor::derive(&device, &id, &incarnation);
        let (document, change) = create(actor, self.now, &new);
        self.drafts.push(Draft {
            id,
            scope: place.clone(),
            saved: document.save(),
            before: None,
            seqs: BTreeMap::new(),
        });
        self.seal(writer, self.drafts.len() - 1, Some(root), change, publish);
    }

    /// A writer changes a document, if `beside` without having seen the last change of another.
    pub(super) fn edit(
        &mut self,
        writer: usize,
        at: usize,
        publish: bool,
        beside: bool,
        text: &str,
    ) {
        let (device, incarnation) = self.writer(writer);
        let draft = &mut self.drafts[at];
        let actor = Actor::derive(&device, &draft.id, &incarnation);
        let base = match &draft.before {
            Some((before, last)) if beside && *last != writer => before.clone(),
            Some(_) | None => draft.saved.clone(),
        };
        let load = |saved: &[u8]| {
            let kind = DocumentKind::Evidence;
            Document::load(saved, kind, true)
                .unwrap()
                .automerge()
                .clone()
        };
        let mut document = load(&base);
        let edits = [Edit::Title(format!(
            "{text} {}",
            self.written.len() + self.waiting.len()
        ))];
        let change = edit(&mut document, actor, self.now, &edits)
            .unwrap()
            .unwrap();
        let mut merged = load(&draft.saved);
        merged.load_incremental(&change).unwrap();
        draft.before = Some((std::mem::replace(&mut draft.saved, merged.save()), writer));
        self.seal(writer, at, None, change, publish);
    }

    fn seal(&mut self, by: usize, at: usize, root: Option<Root>, change: Vec<u8>, publish: bool) {
        let (device, incarnation) = self.writer(by);
        let (writer, draft) = (&mut self.writers[by], &mut self.drafts[at]);
        writer.number += 1;
        let seq = draft.seqs.entry(by).or_insert(0);
        *seq += 1;
        let parsed = Parsed::open(&change).unwrap();
        let body = Body {
            document: draft.id,
            root,
            incarnation,
            number: writer.number,
            first_seq: *seq,
            count: 1,
            last_hash: parsed.hash,
            publish,
            device_time: self.now,
            seen: None,
            device,
        };
        let run = Run {
            envelope: Envelope::seal(body, &writer.key),
            changes: vec![change],
        };
        self.scopes.insert(draft.id, draft.scope.clone());
        let written = Written {
            run: run.id(),
            document: draft.id,
            device,
            incarnation,
            publish,
            hash: parsed.hash,
            deps: parsed.deps,
        };
        let run = check_run(run).unwrap();
        self.waiting.push((
            Submission {
                carrier: device,
                run,
                returned: false,
            },
            written,
        ));
    }

    /// What waits is given back by another writer, as accepted before.
    pub(super) fn give_back(&mut self, carrier: usize) {
        let (carrier, _) = self.writer(carrier);
        for (submission, _) in &mut self.waiting {
            (submission.carrier, submission.returned) = (carrier, true);
        }
    }

    /// The server accepts what waits, in one batch.
    pub(super) fn commit(&mut self) {
        self.now += 1;
        let (batch, written): (Vec<_>, Vec<_>) = self.waiting.drain(..).unzip();
        let outcomes = self.ledger.accept(self.now, batch).unwrap();
        for (outcome, written) in outcomes.into_iter().zip(written) {
            let Verdict::Accepted(position) = outcome.verdict else {
                panic!("every run of a test is valid: {outcome:?}");
            };
            assert_eq!(outcome.run, written.run);
            self.written.insert(position, written);
        }
    }

    /// Lets the server's day pass, with what devices may do in one.
    pub(super) fn sleep(&mut self) {
        self.now += 24 * 60 * 60 * 1000;
    }

    /// Positions of a document's runs.
    pub(super) fn positions(&self, document: &DocumentId) -> BTreeSet<Position> {
        let of = self
            .written
            .iter()
            .filter(|(_, written)| written.document == *document);
        of.map(|(position, _)| *position).collect()
    }

    /// Whether a document is in an audience as of a position.
    pub(super) fn is_in(&self, document: &DocumentId, audience: Audience, at: Position) -> bool {
        match audience {
            Audience::Unit => true,
            Audience::All => self
                .written
                .range(..=at)
                .any(|(_, written)| written.document == *document && written.publish),
        }
    }

    /// The heads that runs at these positions make.
    pub(super) fn heads(&self, positions: &BTreeSet<Position>) -> Vec<ChangeHash> {
        let runs: Vec<&Written> = positions.iter().map(|at| &self.written[at]).collect();
        let built_on: BTreeSet<&ChangeHash> = runs.iter().flat_map(|run| &run.deps).collect();
        let heads = runs
            .iter()
            .map(|run| run.hash)
            .filter(|hash| !built_on.contains(hash));
        let mut heads: Vec<ChangeHash> = heads.collect();
        heads.sort_unstable();
        heads
    }

    /// Every statement for devices with its topic.
    pub(super) fn facts(&self) -> Vec<(Position, Topic)> {
        let facts = self.reader();
        let facts = facts.facts(0, Position::MAX).map(|fact| fact.unwrap());
        facts.map(|(position, row)| (position, row.topic)).collect()
    }
}
