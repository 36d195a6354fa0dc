//! The server's state as a fold over its journal: accepts runs, signs statements, answers readers.
//!
//! [`Ledger`] has one owner, the thread that accepts. What it accepts is valid, in the journal and
//! on disk before [`Ledger::accept`] returns; the rows in the store follow from the journal alone
//! and are rebuilt from it whenever they are missing, behind or damaged. [`Reader`] is for
//! everybody else. `docs/storage.md` has the layout of the rows.
//!
//! ```text
//! Submission ─ admit ─ judge ─ journal ─ rows + position, one batch ─ watermark ─> Outcome
//!              accept  validate append    apply                        readers see it
//! ```

use std::sync::Arc;

use ed25519_dalek::SigningKey;

use self::apply::{Fold, FoldError};
use self::cache::Cache;
use self::reader::Shared;
use self::rows::{FORMAT, MetaRow};
use crate::envelope::Seen;
use crate::id::{ChangeHash, DocumentId, JournalId, Position, ServerId, WallMs};
use crate::journal::{
    self, Appended, CreateError, Journal, JournalFailure, OpenError, Recovery, Storage,
};
use crate::kv::{Kv, KvError};
use crate::limits;
use crate::record::{Fact, JournalFact, Record, Signed, Statement};
use crate::validate::Document;

mod accept;
mod admin;
mod apply;
mod cache;
mod found;
mod judging;
mod keys;
mod moving;
mod reader;
mod rebuild;
mod returned;
mod rows;
mod scrub;
mod verify;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use self::accept::{Outcome, Submission, Taken, Verdict};
pub use self::admin::{AdminError, EnrolError, EnrolRefusal, Enrolled};
pub use self::found::{Acknowledged, Found, code, lost_from};
pub use self::reader::{ReadError, Reader, ScopeDigest, Subscription, Whole};
pub use self::rebuild::{Progress, RebuildReason, Stage};
pub use self::returned::{Bulk, Left, TakenBack};
pub use self::rows::{
    DeviceRow, DocumentRow, EnvelopeRow, FactRow, InvitationRow, PlaceBytes, Topic,
};
pub use self::scrub::{Damaged, Scrub, Scrubbed};
pub use self::verify::{
    Fault, FindingPlace, Verification, VerifyFinding, verify, verify_files, verify_segments,
};

/// How a ledger uses its machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the journal uses its disk.
    pub journal: journal::Options,
    /// Threads that judge documents of one batch. Outcomes do not depend on it.
    pub threads: usize,
    /// Bytes of memory for loaded documents.
    pub cache_bytes: usize,
    /// Records after which a checkpoint is signed.
    pub checkpoint_every: u64,
}

impl Options {
    /// What suits most servers: documents in 64 MiB of memory.
    pub fn new(journal: journal::Options, threads: usize) -> Self {
        Self {
            journal,
            threads,
            cache_bytes: limits::CACHE_BYTES,
            checkpoint_every: limits::CHECKPOINT_RECORDS,
        }
    }
}

/// Why a ledger cannot be opened or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The journal could not be made.
    #[error("cannot make the journal")]
    Create(#[from] CreateError),
    /// The journal could not be opened.
    #[error("cannot open the journal")]
    Open(#[from] OpenError),
    /// Rows or records could not be read.
    #[error("cannot read what the ledger holds")]
    Read(#[source] ReadError),
    /// The store cannot be understood and answers nothing more, so its handle cannot remove the
    /// rows either. The owner drops it, moves the store aside, opens an empty one in its place
    /// and calls again: the rows are then made anew. A store on disk also remembers, and its next
    /// opening answers [`KvError::Damaged`].
    #[error("the store is damaged: move it aside and open again")]
    StoreDamaged(#[source] KvError),
    /// Making the journal was interrupted before its first record, and no row says that it ever had
    /// one. Nothing was accepted: [`Ledger::create`] founds it.
    #[error("the journal is empty: it was never finished being made")]
    Empty,
    /// The store holds rows of a journal, and there is none, or one without records: it was lost.
    #[error("the journal is gone: the store holds rows that were made of it")]
    JournalGone,
    /// The journal begins with something else than its own name.
    #[error("the first record does not name the journal and its key")]
    NotFounded,
    /// The key is not the one that signs this journal. Restore the right one from its backup.
    #[error("the journal is signed by {expected}, and the key given is {given}")]
    WrongKey {
        /// Whose journal it is.
        expected: ServerId,
        /// The key that was given.
        given: ServerId,
    },
    /// The store reflects records that the journal does not have: its end was lost, or it is of
    /// another history. Somebody has to decide; see [`Ledger::open_after_loss`].
    #[error(
        "the journal ends at {} with chain {}, but the store has seen it at {} with chain {}: records \
         were lost",
        journal.position, journal.chain, store.position, store.chain
    )]
    Lost {
        /// The last position that the store reflects.
        store: Seen,
        /// The end of the journal.
        journal: Seen,
    },
    /// A record contradicts what acceptance lets in: a fault of this program.
    #[error("record {position} does not follow from what was before it: {reason}")]
    Diverged {
        /// The record.
        position: Position,
        /// What is wrong.
        reason: String,
    },
    /// Writing failed. The process has to end; everything it acknowledged is on disk.
    #[error("cannot {act}; the ledger takes nothing more until it is opened again")]
    Failed {
        /// What was being done.
        act: &'static str,
        /// Why it failed, if this is the call that did.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl From<FoldError> for LedgerError {
    fn from(error: FoldError) -> Self {
        match error {
            FoldError::Read(error) => Self::Read(error),
            FoldError::Diverged { position, reason } => Self::Diverged {
                position,
                reason: reason.to_owned(),
            },
        }
    }
}

impl From<ReadError> for LedgerError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error @ KvError::Damaged(_)) => Self::StoreDamaged(error),
            error => Self::Read(error),
        }
    }
}

impl From<KvError> for LedgerError {
    fn from(error: KvError) -> Self {
        ReadError::from(error).into()
    }
}

impl LedgerError {
    /// Whether rows made anew may be free of it. Of what is wrong with the journal they are not.
    fn blames_rows(&self) -> bool {
        matches!(
            self,
            Self::Read(ReadError::Row { .. }) | Self::StoreDamaged(_) | Self::Diverged { .. }
        )
    }
}

/// What opening a ledger found and did.
#[derive(Debug, Clone)]
pub struct Opened {
    /// What opening the journal found: a torn tail that was cut, for one.
    pub recovery: Recovery,
    /// Records applied to the rows that the store had not seen.
    pub caught_up: u64,
    /// Why all rows were made anew, if they were.
    pub rebuilt: Option<RebuildReason>,
}

/// Accepts runs and signs statements; there is one owner. Time arrives as an argument.
#[derive(Debug)]
pub struct Ledger<S: Storage, K> {
    journal: Journal<S>,
    reader: Reader<S, K>,
    key: SigningKey,
    options: Options,
    meta: MetaRow,
    cache: Cache,
    /// What was being done when the ledger ended.
    failed: Option<&'static str>,
    /// Whether the store still says why its rows were made anew.
    untold: bool,
    /// Documents that were read or tried.
    judged: u64,
}

impl<S: Storage, K: Kv> Ledger<S, K> {
    /// Founds a journal in a folder without one and makes its rows in an empty store. The journal
    /// has its first record from the moment it exists; one that has none gives way.
    ///
    /// # Errors
    /// There is a journal already, [`LedgerError::JournalGone`] if the store knows of one, or
    /// storage or store failed.
    pub fn create(
        storage: S,
        kv: Arc<K>,
        key: SigningKey,
        journal: JournalId,
        now: WallMs,
        options: Options,
    ) -> Result<Self, LedgerError> {
        if rebuild::holds_rows(&*kv)? {
            return Err(LedgerError::JournalGone);
        }
        let server = ServerId(key.verifying_key().to_bytes());
        let fact = Fact::Journal(JournalFact { journal, server });
        let founding = Record::Server(Signed::new(Statement { at: now, fact }, &key)).to_bytes();
        let first = std::slice::from_ref(&founding);
        let journal_file = Journal::create(storage, journal, options.journal, first)?;
        let (position, chain) = journal_file.head();
        let meta = MetaRow {
            format: FORMAT,
            journal,
            applied: Seen { position, chain },
            checkpoint: 0,
        };
        kv.apply(&Fold::new(&*kv)?.finish(Some(&meta))?)?;
        Self::over(journal_file, kv, key, founding, meta, options)
    }

    /// [`Ledger::open_untold`] for whoever tells nobody what opening found.
    ///
    /// # Errors
    /// The same.
    pub fn open(
        storage: S,
        kv: Arc<K>,
        key: SigningKey,
        options: Options,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, Opened), LedgerError> {
        let (mut ledger, opened) = Self::open_untold(storage, kv, key, options, progress)?;
        ledger.told()?;
        Ok((ledger, opened))
    }

    /// Opens a ledger after whatever happened: recovers the journal, then brings the rows to its
    /// end, or makes them anew where they are missing, damaged or of another journal. Why they were,
    /// where that was somebody's or something's fault, the next opening finds again until
    /// [`Ledger::told`] was called.
    ///
    /// # Errors
    /// [`LedgerError::Lost`] if the store has seen what the journal lacks, [`LedgerError::WrongKey`] if
    /// the key is not the journal's, [`LedgerError::StoreDamaged`] if the store has to be moved
    /// aside first, and whatever keeps the journal or the store from being read.
    pub fn open_untold(
        storage: S,
        kv: Arc<K>,
        key: SigningKey,
        options: Options,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, Opened), LedgerError> {
        let (journal, recovery) = Journal::open(storage, options.journal)?;
        let founding = founding_record(&journal, &key, &*kv)?;
        let (position, chain) = journal.head();
        let end = Seen { position, chain };
        let plan = rebuild::plan(&*kv, &journal.reader(), end)?;
        let (meta, caught_up, rebuilt) = match plan {
            rebuild::Plan::Lost { store } => {
                return Err(LedgerError::Lost {
                    store,
                    journal: end,
                });
            }
            rebuild::Plan::CatchUp { meta } => {
                let behind = end.position - meta.applied.position;
                let records = journal.reader();
                match rebuild::catch_up(&*kv, &records, meta, options.threads, progress) {
                    Ok(meta) => (meta, behind, None),
                    Err(error) if error.blames_rows() => {
                        let reason = RebuildReason::Damaged;
                        let meta =
                            rebuild::rebuild(&*kv, &records, reason, options.threads, progress)?;
                        (meta, end.position, Some(reason))
                    }
                    Err(error) => return Err(error),
                }
            }
            rebuild::Plan::Rebuild { reason } => {
                let records = journal.reader();
                let meta = rebuild::rebuild(&*kv, &records, reason, options.threads, progress)?;
                (meta, end.position, Some(reason))
            }
        };
        let mut ledger = Self::over(journal, kv, key, founding, meta, options)?;
        ledger.untold = rebuilt.is_some_and(|reason| reason.is_a_fault());
        Ok((
            ledger,
            Opened {
                recovery,
                caught_up,
                rebuilt,
            },
        ))
    }

    /// Opens a ledger whose journal lost records, once somebody decided to go on without them: keeps the
    /// loss as a finding, then makes the rows anew from what is left. Until the finding is on the disk,
    /// nothing changes that the store knows of the loss.
    ///
    /// # Errors
    /// As [`Ledger::open_untold`]; [`LedgerError::Failed`] if the loss could not be recorded.
    pub fn open_after_loss(
        storage: S,
        kv: Arc<K>,
        key: SigningKey,
        now: WallMs,
        options: Options,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, Opened), LedgerError> {
        let (mut journal, recovery) = Journal::open(storage, options.journal)?;
        let founding = founding_record(&journal, &key, &*kv)?;
        let (position, chain) = journal.head();
        let end = Seen { position, chain };
        let plan = rebuild::plan(&*kv, &journal.reader(), end)?;
        let (store, reason) = match plan {
            rebuild::Plan::Lost { store } => (Some(store), RebuildReason::AfterLoss { store }),
            rebuild::Plan::CatchUp { meta } => (
                None,
                RebuildReason::Asked {
                    applied: meta.applied,
                },
            ),
            rebuild::Plan::Rebuild { reason } => (None, reason),
        };
        let meta = if let Some(store) = store {
            rebuild::read_through(&journal.reader(), progress)?;
            let records = found::loss(store, end).map(|fact| {
                Record::Server(Signed::new(Statement { at: now, fact }, &key)).to_bytes()
            });
            let recorded = journal.append_to_reserve(&records);
            recorded.map_err(|error| failed("record the loss", error))?;
            rebuild::anew(&*kv, &journal.reader(), reason, options.threads, progress)?
        } else {
            rebuild::rebuild(&*kv, &journal.reader(), reason, options.threads, progress)?
        };
        let mut ledger = Self::over(journal, kv, key, founding, meta, options)?;
        ledger.untold = reason.is_a_fault();
        let opened = Opened {
            recovery,
            caught_up: end.position,
            rebuilt: Some(reason),
        };
        Ok((ledger, opened))
    }

    fn over(
        journal: Journal<S>,
        kv: Arc<K>,
        key: SigningKey,
        founding: Vec<u8>,
        meta: MetaRow,
        options: Options,
    ) -> Result<Self, LedgerError> {
        let server = ServerId(key.verifying_key().to_bytes());
        let placements = reader::placements(&*kv)?;
        let (id, applied) = (journal.id(), meta.applied);
        let shared = Shared::new(kv, id, server, founding, applied, placements);
        let reader = Reader {
            shared: Arc::new(shared),
            records: journal.reader(),
        };
        Ok(Self {
            cache: Cache::new(options.cache_bytes),
            journal,
            reader,
            key,
            options,
            meta,
            failed: None,
            untold: false,
            judged: 0,
        })
    }

    /// Lets the store forget why its rows were made anew, now that it stands in the journal or
    /// nobody is to know.
    ///
    /// # Errors
    /// The store failed.
    pub fn told(&mut self) -> Result<(), LedgerError> {
        if std::mem::take(&mut self.untold) {
            rebuild::finish(&*self.reader.shared.kv, &self.meta)?;
        }
        Ok(())
    }

    /// A reader of what counts, now and later.
    pub fn reader(&self) -> Reader<S, K> {
        self.reader.clone()
    }

    /// Whether the ledger ended, so that the process has to.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Bytes that the journal leaves free on its disk.
    pub fn reserve_bytes(&self) -> u64 {
        self.options.journal.reserve_bytes
    }

    /// Bytes of memory that loaded documents take, estimated.
    pub fn cached_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Documents that were read or tried since it was opened: what batches take time for. Runs that the
    /// server holds already, or whose document it does not know, cost nothing beside them.
    pub fn judged_documents(&self) -> u64 {
        self.judged
    }

    fn alive(&self) -> Result<(), LedgerError> {
        match self.failed {
            None => Ok(()),
            Some(act) => Err(LedgerError::Failed { act, source: None }),
        }
    }

    /// Ends the ledger: what was written is unknown, so nothing may be added to it.
    fn fail(
        &mut self,
        act: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> LedgerError {
        self.failed = Some(act);
        self.cache = Cache::new(0);
        failed(act, source)
    }

    /// Ends the ledger over what it could not read or write. Where rows are at fault, the next
    /// opening makes them anew instead of failing at the same row.
    fn end(&mut self, act: &'static str, error: LedgerError) -> LedgerError {
        if self.failed.is_some() {
            return error;
        }
        if error.blames_rows() {
            let kv = &self.reader.shared.kv;
            // A store that takes no write any more has its own way to remember that.
            let _ = rebuild::mark_damaged(&**kv);
        }
        self.fail(act, error)
    }

    /// Ends the ledger over what another reader met, where that is of the rows, as if it had met it
    /// itself. It might never: sessions read before they bring anything, and end at such a row.
    pub fn end_over(&mut self, error: ReadError) {
        if error.is_of_rows() {
            self.end("read the store", error.into());
        }
    }

    /// Reads on behalf of a statement. Who cannot read its rows must not go on; a damaged record
    /// costs what it was read for and nothing else.
    ///
    /// # Errors
    /// [`LedgerError::Read`] of a damaged record; the ledger ended over anything else.
    pub fn read<T>(
        &mut self,
        read: impl FnOnce(&Reader<S, K>) -> Result<T, ReadError>,
    ) -> Result<T, LedgerError> {
        let found = read(&self.reader);
        found.map_err(|error| match error {
            error @ (ReadError::Journal(_) | ReadError::Record(_)) => error.into(),
            error => self.end("read the store", error.into()),
        })
    }

    fn signed(&self, at: WallMs, fact: Fact) -> Record {
        Record::Server(Signed::new(Statement { at, fact }, &self.key))
    }

    /// Puts records into the journal and what follows from them into the store, in that order, and
    /// moves the watermark. `documents` are those with new content.
    fn commit(
        &mut self,
        records: &[Record],
        documents: &[(DocumentId, Settled)],
        room: Room,
    ) -> Result<Committed, LedgerError> {
        let bytes: Vec<Vec<u8>> = records.iter().map(Record::to_bytes).collect();
        let appended = match room {
            Room::Free => self.journal.append(&bytes),
            Room::Reserve => self.journal.append_to_reserve(&bytes),
        };
        let appended = match appended {
            Ok(appended) => appended,
            Err(JournalFailure::Full { .. }) => return Ok(Committed::Full),
            Err(error) => return Err(self.fail("write to the journal", error)),
        };
        let written = self.write_rows(records, documents, &appended);
        written.map_err(|error| self.end("write to the store", error))?;
        Ok(Committed::At(appended.first))
    }

    fn write_rows(
        &mut self,
        records: &[Record],
        documents: &[(DocumentId, Settled)],
        appended: &Appended,
    ) -> Result<(), LedgerError> {
        let shared = Arc::clone(&self.reader.shared);
        let mut fold = Fold::over(&*shared.kv, shared.placements());
        let places = appended.places.iter().copied();
        for (position, (record, place)) in (appended.first..).zip(records.iter().zip(places)) {
            fold.record(position, place, record)?;
        }
        for (id, settled) in documents {
            fold.settle(id, settled.heads.clone(), &settled.saved)?;
        }
        let applied = Seen {
            position: appended.last,
            chain: appended.chain,
        };
        let checkpoint = fold.checkpoint().unwrap_or(self.meta.checkpoint);
        let meta = MetaRow {
            applied,
            checkpoint,
            ..self.meta.clone()
        };
        let moved = fold.moved();
        let batch = fold.finish(Some(&meta))?;
        let mut watermark = shared.advance();
        shared.kv.apply(&batch)?;
        if let Some(placements) = moved {
            shared.move_units(placements);
        }
        *watermark = applied;
        self.meta = meta;
        Ok(())
    }
}

/// What of the disk records may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// What is free above the reserve.
    Free,
    /// The reserve, too.
    Reserve,
}

/// A document's content after a judgement.
#[derive(Debug)]
struct Settled {
    heads: Vec<ChangeHash>,
    saved: Vec<u8>,
}

impl Settled {
    fn of(document: &Document) -> Self {
        Self {
            heads: document.heads(),
            saved: document.saved().to_vec(),
        }
    }

    fn saved_bytes(&self) -> usize {
        self.saved.len()
    }
}

/// What became of records that were to be written.
enum Committed {
    /// On disk and in the rows, the first at this position.
    At(Position),
    /// The disk is below its reserve; nothing was written.
    Full,
}

fn failed(
    act: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> LedgerError {
    LedgerError::Failed {
        act,
        source: Some(source.into()),
    }
}

/// The first record, once it is known to name this journal and to be signed by this key.
fn founding_record<S: Storage, K: Kv>(
    journal: &Journal<S>,
    key: &SigningKey,
    kv: &K,
) -> Result<Vec<u8>, LedgerError> {
    let given = ServerId(key.verifying_key().to_bytes());
    let first = journal.reader().scan(1).next();
    let Some(first) = first else {
        return Err(match rebuild::holds_rows(kv)? {
            true => LedgerError::JournalGone,
            false => LedgerError::Empty,
        });
    };
    let first = first.map_err(ReadError::from)?;
    if first.position != 1 {
        return Err(LedgerError::NotFounded);
    }
    let record = Record::from_bytes(&first.record).map_err(ReadError::from)?;
    let Record::Server(signed) = record else {
        return Err(LedgerError::NotFounded);
    };
    let Fact::Journal(JournalFact {
        journal: id,
        server: expected,
    }) = signed.fact()
    else {
        return Err(LedgerError::NotFounded);
    };
    if *id != journal.id() || signed.verify(expected).is_err() {
        return Err(LedgerError::NotFounded);
    }
    if *expected != given {
        let expected = *expected;
        return Err(LedgerError::WrongKey { expected, given });
    }
    Ok(first.record)
}

#[cfg(test)]
mod tests;
