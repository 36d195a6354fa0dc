//! A document that passed, with what the next judgement needs to know about it.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use automerge::legacy::{Key, OpType};
use automerge::{ActorId, Automerge, ROOT, ReadDoc, ScalarValue, Value};

use super::proof::unreadable;
use super::survey::Survey;
use super::{CheckedRun, Refusal};
use crate::change::Parsed;
use crate::envelope::DocumentKind;
use crate::evidence::key;
use crate::id::{Actor, ChangeHash};
use crate::limits;

/// What evidence that is ready declares.
const READY: &str = "ready";

/// An Automerge document in which every change was judged valid. Only [`super::judge`] and
/// [`super::judge_recorded`] make changed ones, so holding one is proof that it saves and loads, and,
/// where it is of the former, that it can be edited.
#[derive(Clone)]
pub struct Document {
    automerge: Automerge,
    saved: Vec<u8>,
    kind: DocumentKind,
    published: bool,
    index: Index,
    memory_bytes: Option<usize>,
}

/// Bytes of memory that a proven document is counted with, from the bytes of its saved form with and
/// without compression, its changes and its objects. Measured with what the allocator was asked
/// for: evidence with 2,001 changes takes 794 kB (36 kB plain), with twenty texts and 401 changes
/// 350 kB (136 kB plain), seven values of a megabyte 7.2 MB (91 kB saved), 600 kB that do not
/// deflate 1.2 MB, a text of 390,000 characters 405 kB, 9,900 empty maps 357 kB (208 bytes plain).
/// The sum lies 9 to 50 % above all of them.
fn memory(saved: usize, plain: usize, changes: u64, objects: usize) -> usize {
    let changes = usize::try_from(changes).unwrap_or(usize::MAX);
    [
        8 * 1024,
        saved,
        plain.saturating_mul(3) / 2,
        changes.saturating_mul(400),
        objects.saturating_mul(48),
    ]
    .into_iter()
    .fold(0, usize::saturating_add)
}

/// A document of our own store that cannot be read: the store is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadDocumentError {
    /// Automerge does not take the bytes.
    #[error("the saved document is damaged: {0}")]
    Damaged(String),
    /// Automerge panicked over the bytes.
    #[error("the saved document cannot be read at all")]
    Panicked,
}

impl Document {
    /// Reads a document out of our own store.
    ///
    /// `published` says whether any accepted envelope of the document says so.
    ///
    /// # Errors
    /// [`LoadDocumentError`] if the store is damaged.
    pub fn load(
        saved: &[u8],
        kind: DocumentKind,
        published: bool,
    ) -> Result<Self, LoadDocumentError> {
        let (automerge, index) = catch_unwind(|| {
            let automerge = load_automerge(saved)?;
            let index = Index::of(&automerge);
            Ok((automerge, index))
        })
        .map_err(|_| LoadDocumentError::Panicked)?
        .map_err(|error: automerge::AutomergeError| {
            LoadDocumentError::Damaged(error.to_string())
        })?;
        Ok(Self {
            automerge,
            saved: saved.to_vec(),
            kind,
            published,
            index,
            memory_bytes: None,
        })
    }

    /// What a proof leaves behind: `plain_bytes` saved without compression, and how many objects it
    /// shows.
    pub(super) fn proven(
        automerge: Automerge,
        saved: Vec<u8>,
        (kind, published): (DocumentKind, bool),
        index: Index,
        plain_bytes: usize,
        objects: usize,
    ) -> Self {
        let memory_bytes = memory(saved.len(), plain_bytes, index.changes(), objects);
        Self {
            automerge,
            saved,
            kind,
            published,
            index,
            memory_bytes: Some(memory_bytes),
        }
    }

    /// What runs make that were accepted before.
    pub(super) fn recorded(
        automerge: Automerge,
        saved: Vec<u8>,
        (kind, published): (DocumentKind, bool),
        index: Index,
    ) -> Self {
        Self {
            automerge,
            saved,
            kind,
            published,
            index,
            memory_bytes: None,
        }
    }

    /// Bytes of memory it takes, estimated from above; not known of one that was only loaded, or made
    /// of recorded runs.
    pub fn memory_bytes(&self) -> Option<usize> {
        self.memory_bytes
    }

    /// The bytes to store; they were loaded again before anything was accepted.
    pub fn saved(&self) -> &[u8] {
        &self.saved
    }

    /// The changes nothing builds on yet, ascending.
    pub fn heads(&self) -> Vec<ChangeHash> {
        self.automerge
            .get_heads()
            .into_iter()
            .map(ChangeHash::from)
            .collect()
    }

    /// The document for reading. Its actor is nobody's: set one before editing a copy.
    pub fn automerge(&self) -> &Automerge {
        &self.automerge
    }

    /// What the document is.
    pub fn kind(&self) -> DocumentKind {
        self.kind
    }

    /// Whether any envelope of it says publish.
    pub fn published(&self) -> bool {
        self.published
    }

    /// Whether the change is part of the document.
    pub fn has_change(&self, hash: &ChangeHash) -> bool {
        self.index.max_op(hash).is_some()
    }

    /// Whether somebody can read all of it and go on editing: asked of what only recorded runs made.
    ///
    /// # Errors
    /// [`Refusal`] with what cannot be done.
    pub fn try_out(&self) -> Result<(), Refusal> {
        let mut automerge = self.automerge.clone();
        catch_unwind(AssertUnwindSafe(|| {
            Survey::unbounded(&automerge)?.try_edits(&mut automerge)
        }))
        .unwrap_or_else(|_| Err(unreadable("Automerge fails over the document.")))
    }

    /// Operations of its changes that cost more than others. They are counted once, and only where
    /// somebody asks: of a document that was loaded that takes as long as reading all of it.
    pub(super) fn costly(&self) -> Costly {
        *self
            .index
            .costly
            .get_or_init(|| Costly::of(&self.automerge))
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }
}

impl fmt::Debug for Document {
    /// Leaves out the content, which has no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("kind", &self.kind)
            .field("published", &self.published)
            .field("heads", &self.heads())
            .field("changes", &self.index.changes())
            .field("saved_bytes", &self.saved.len())
            .finish_non_exhaustive()
    }
}

/// Loads with full verification, under an actor that is nobody's: Automerge would draw one.
pub(super) fn load_automerge(saved: &[u8]) -> Result<Automerge, automerge::AutomergeError> {
    let mut automerge = Automerge::load(saved)?;
    automerge.set_actor(nobody());
    Ok(automerge)
}

/// An empty document under an actor that is nobody's.
pub(super) fn empty_automerge() -> Automerge {
    Automerge::new().with_actor(nobody())
}

fn nobody() -> ActorId {
    ActorId::from([0; Actor::LENGTH])
}

/// Whether the document as of `heads` declares itself ready, in any of its concurrent values.
pub(super) fn reads_ready(automerge: &Automerge, heads: &[automerge::ChangeHash]) -> bool {
    automerge
        .get_all_at(ROOT, key::DECLARED, heads)
        .is_ok_and(|values| values.iter().any(|(value, _)| is_ready(value)))
}

fn is_ready(value: &Value<'_>) -> bool {
    match value {
        Value::Scalar(scalar) => {
            matches!(scalar.as_ref(), ScalarValue::Str(text) if text == READY)
        }
        Value::Object(_) => false,
    }
}

/// Operations of a document of which it may have few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Costly {
    /// Those that begin or end a mark.
    pub(super) marks: u64,
    /// Those under a key that is called `declared`.
    pub(super) declarations: u64,
}

impl Costly {
    /// Where Automerge fails over it there are as many as may be.
    fn of(automerge: &Automerge) -> Self {
        let count = || {
            let mut costly = Self::default();
            for change in automerge.get_changes(&[]) {
                for op in change.decode().operations {
                    let is_mark = matches!(op.action, OpType::MarkBegin(_) | OpType::MarkEnd(_));
                    let declares = matches!(&op.key, Key::Map(name) if name == key::DECLARED);
                    costly.marks += u64::from(is_mark);
                    costly.declarations += u64::from(declares);
                }
            }
            costly
        };
        catch_unwind(AssertUnwindSafe(count)).unwrap_or(Self {
            marks: limits::DOCUMENT_MARKS_MAX,
            declarations: limits::DRAFT_DECLARATIONS_MAX,
        })
    }
}

/// Which changes a document has, by hash and by (actor, seq), and how far its counters went.
#[derive(Debug, Clone)]
pub(super) struct Index {
    max_ops: HashMap<ChangeHash, u64>,
    by_seq: HashMap<(Actor, u64), ChangeHash>,
    operations: u64,
    /// Not known of a document that was loaded, until somebody asks.
    costly: OnceLock<Costly>,
}

impl Default for Index {
    /// Of a document without changes.
    fn default() -> Self {
        Self {
            max_ops: HashMap::new(),
            by_seq: HashMap::new(),
            operations: 0,
            costly: OnceLock::from(Costly::default()),
        }
    }
}

impl Index {
    fn of(automerge: &Automerge) -> Self {
        let mut index = Self {
            costly: OnceLock::new(),
            ..Self::default()
        };
        for change in automerge.get_changes_meta(&[]) {
            let hash = ChangeHash::from(change.hash);
            index.max_ops.insert(hash, change.max_op);
            index.operations += change.max_op + 1 - change.start_op;
            // Actors of other lengths come through a gateway and are never a device's.
            if let Ok(actor) = Actor::try_from(change.actor.to_bytes()) {
                index.by_seq.insert((actor, change.seq), hash);
            }
        }
        index
    }

    pub(super) fn insert(&mut self, change: &Parsed) {
        self.max_ops.insert(change.hash, change.max_op());
        self.by_seq.insert((change.actor, change.seq), change.hash);
        self.operations += change.operations;
        if let Some(costly) = self.costly.take() {
            self.costly = OnceLock::from(Costly {
                marks: costly.marks + change.marks,
                declarations: costly.declarations + change.declarations,
            });
        }
    }

    pub(super) fn insert_run(&mut self, run: &CheckedRun) {
        run.changes().iter().for_each(|change| self.insert(change));
    }

    pub(super) fn max_op(&self, hash: &ChangeHash) -> Option<u64> {
        self.max_ops.get(hash).copied()
    }

    pub(super) fn at(&self, actor: Actor, seq: u64) -> Option<ChangeHash> {
        self.by_seq.get(&(actor, seq)).copied()
    }

    pub(super) fn changes(&self) -> u64 {
        self.max_ops.len() as u64
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }
}
