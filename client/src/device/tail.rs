//! The device's own runs that the server has not fed back yet, in order, with their bytes.
//!
//! Kept in segments of the journal machine, so that an edit is on the disk when [`Tail::seal`]
//! returns. `docs/storage.md` lists the records under "Device tail". Of several records of one
//! append a crash may keep the first ones only; each record therefore stands for one whole step:
//! a run replaces others in the record that adds it, and those that are sealed with it count by that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use automerge::Change;
use bukti_core::envelope::{Body, Run, decode_exactly};
use bukti_core::hash::{Hasher, domain};
use bukti_core::id::{ChangeHash, DocumentId, Incarnation, JournalId, Position, RunId};
use bukti_core::journal::{
    CreateError, Journal, JournalFailure, OpenError, Options, ReadError, Recovery, SideFile,
    Storage,
};
use minicbor::{Decode, Encode};

use super::aside::place_in_tail;
use crate::limits::{TAIL_RESERVE_BYTES, TAIL_SETTLED_BYTES};

/// Why the tail cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// It could not be made.
    #[error("cannot make the tail")]
    Create(#[from] CreateError),
    /// It could not be opened.
    #[error("cannot open the tail")]
    Open(#[from] OpenError),
    /// It could not be read.
    #[error("cannot read the tail")]
    Read(#[from] ReadError),
    /// Nothing was added to it.
    #[error("cannot write the tail")]
    Append(#[from] JournalFailure),
    /// What all of it rests on was damaged, and opening cut it.
    #[error(
        "the beginning of the unsent work is damaged, {}, and what stood there is kept in {}: show \
         it to the server's administrator, then {}", .cut, place_in_tail(.cut), going_on(*.begins_anew)
    )]
    Beginning {
        /// The file that keeps it.
        cut: SideFile,
        /// Whether a tail can begin in the same folder.
        begins_anew: bool,
    },
    /// A record of it cannot be understood.
    #[error("record {position} of the tail cannot be read: {reason}")]
    Record {
        /// Which record.
        position: Position,
        /// What is wrong.
        reason: String,
    },
}

fn going_on(begins_anew: bool) -> &'static str {
    match begins_anew {
        true => "open a new invitation link, with which this device begins anew",
        false => "enrol in a new folder and have this device revoked",
    }
}

/// How a run left the tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) enum Settled {
    /// The feed named it at this position.
    #[n(0)]
    Confirmed(#[n(0)] Position),
    /// It lies in quarantine.
    #[n(1)]
    Quarantined,
    /// Its edits had no effect any more when they were to be entered again.
    #[n(2)]
    Dropped,
    /// The server has it, in a document that the person may not read any more.
    #[n(3)]
    Left,
}

/// One record of the tail.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
enum TailRecord {
    /// Everything so far, with as many [`Kept`](Self::Kept) behind it as it counts. Counts for
    /// nothing unless all of them follow.
    #[n(0)]
    Base {
        #[n(0)]
        incarnation: Incarnation,
        #[n(1)]
        last: Option<Last>,
        #[n(2)]
        settled_through: Position,
        #[n(3)]
        kept: u32,
    },
    #[n(1)]
    Kept {
        #[cbor(n(0), with = "minicbor::bytes")]
        run: Vec<u8>,
        #[n(1)]
        reenter: bool,
    },
    /// A new life of the store. With `reenter`, no run so far may be pushed any more.
    #[n(2)]
    Incarnation {
        #[n(0)]
        incarnation: Incarnation,
        #[n(1)]
        reenter: bool,
    },
    /// A run, in place of others that hold the same edits.
    #[n(3)]
    Sealed {
        #[cbor(n(0), with = "minicbor::bytes")]
        run: Vec<u8>,
        #[n(1)]
        replaces: Vec<RunId>,
        /// How many [`Begun`](Self::Begun) right before it are sealed with it.
        #[cbor(n(2), default)]
        begun: u32,
    },
    /// A run that counts with a later one or not at all.
    #[n(5)]
    Begun {
        #[cbor(n(0), with = "minicbor::bytes")]
        run: Vec<u8>,
    },
    #[n(4)]
    Settled {
        #[n(0)]
        runs: Vec<RunId>,
        #[n(1)]
        how: Settled,
    },
}

/// The last run sealed in an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Last {
    #[n(0)]
    pub(super) number: u64,
    #[n(1)]
    pub(super) run: RunId,
}

/// A run that waits to be confirmed.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) run: Run,
    bytes: Vec<u8>,
    pub(super) hashes: Vec<ChangeHash>,
    /// What it builds on outside of itself.
    pub(super) deps: Vec<ChangeHash>,
    /// Sealed by a store that was copied or restored: its edits are to be entered again, it is
    /// never pushed.
    pub(super) reenter: bool,
    /// Where the server said it took it. Remembered by the confirmed store, not by the tail.
    pub(super) received: Option<Position>,
}

impl Pending {
    pub(super) fn new(run: Run, reenter: bool) -> Result<Self, String> {
        let mut hashes = Vec::with_capacity(run.changes.len());
        let mut deps = BTreeSet::new();
        for bytes in &run.changes {
            let change = Change::from_bytes(bytes.clone()).map_err(|error| error.to_string())?;
            deps.extend(change.deps().iter().copied().map(ChangeHash::from));
            hashes.push(ChangeHash::from(change.hash()));
        }
        deps.retain(|dep| !hashes.contains(dep));
        Ok(Self {
            bytes: run.to_bytes(),
            deps: deps.into_iter().collect(),
            hashes,
            run,
            reenter,
            received: None,
        })
    }

    fn read(bytes: &[u8], reenter: bool) -> Result<Self, String> {
        let run = Run::open_stored(bytes).map_err(|error| error.to_string())?;
        Self::new(run, reenter)
    }

    pub(super) fn id(&self) -> RunId {
        self.run.id()
    }

    pub(super) fn body(&self) -> &Body {
        self.run.envelope.body()
    }

    pub(super) fn document(&self) -> DocumentId {
        self.body().document
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The runs that wait, and how the store numbers its next one.
#[derive(Debug)]
pub(super) struct Tail<S: Storage> {
    journal: Journal<Arc<S>>,
    state: State,
    /// Bytes of records that say nothing any more.
    settled_bytes: u64,
    /// Nothing else on the disk says of some run that it was entered again.
    is_witness: bool,
}

/// What opening a tail showed.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) recovery: Recovery,
    /// Runs that others were sealed in place of, each with that, as far as the tail still says so.
    pub(super) replaced: BTreeMap<RunId, RunId>,
}

#[derive(Debug, Clone)]
struct State {
    incarnation: Incarnation,
    last: Option<Last>,
    settled_through: Position,
    pending: Vec<Pending>,
    /// Runs that count once the one comes that they are sealed with.
    begun: Vec<Pending>,
}

impl<S: Storage> Tail<S> {
    /// Opens the tail after whatever happened; starts one in an empty folder.
    pub(super) fn open_or_create(
        storage: Arc<S>,
        incarnation: Incarnation,
    ) -> Result<Self, TailError> {
        match Self::open(Arc::clone(&storage)) {
            Ok(Some((tail, _))) => return Ok(tail),
            // What was cut stays beside the one that begins here.
            Ok(None)
            | Err(TailError::Beginning {
                begins_anew: true, ..
            }) => {}
            Err(error) => return Err(error),
        }
        let state = State::start(incarnation);
        // The journal's own id only binds its segments to each other.
        let id = JournalId(incarnation.0);
        let options = Options::device(TAIL_RESERVE_BYTES);
        let journal = Journal::create(storage, id, options, &state.base())?;
        Ok(Self {
            journal,
            state,
            settled_bytes: 0,
            is_witness: false,
        })
    }

    /// Opens the tail after whatever happened; `None` where none ever began.
    pub(super) fn open(storage: Arc<S>) -> Result<Option<(Self, Opened)>, TailError> {
        let options = Options::device(TAIL_RESERVE_BYTES);
        let (journal, recovery) = match Journal::open(storage, options) {
            Ok(opened) => opened,
            Err(OpenError::NoJournal) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let beginning = beginning_cut(&recovery);
        if recovery.head == 0 {
            return beginning.map_or(Ok(None), Err);
        }
        let mut replay = Replay::default();
        for scanned in journal.reader().scan(recovery.first) {
            let scanned = scanned?;
            let failed = |reason| TailError::Record {
                position: scanned.position,
                reason,
            };
            let record: TailRecord =
                decode_exactly(&scanned.record).map_err(|error| failed(error.to_string()))?;
            replay
                .take(record, scanned.record.len() as u64)
                .map_err(failed)?;
        }
        let settled_bytes = replay.settled_bytes;
        let no_base = TailError::Record {
            position: recovery.first,
            reason: "there is no base record".into(),
        };
        let state = replay.state.ok_or(beginning.unwrap_or(no_base))?;
        let replaced = replay.replaced;
        let tail = Self {
            journal,
            state,
            settled_bytes,
            is_witness: !replaced.is_empty(),
        };
        Ok(Some((tail, Opened { recovery, replaced })))
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        self.state.incarnation
    }

    /// Bytes that the next compaction gives back.
    #[cfg(test)]
    pub(super) fn settled_bytes(&self) -> u64 {
        self.settled_bytes
    }

    /// Whether more can be written.
    pub(super) fn check(&self) -> Result<(), TailError> {
        match self.journal.failure() {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    }

    /// The position of its last record.
    pub(super) fn head(&self) -> Position {
        self.journal.head().0
    }

    pub(super) fn last(&self) -> Option<Last> {
        self.state.last
    }

    /// The highest position at which a run left the tail as confirmed in the present incarnation:
    /// what the confirmed store has to know, or it was thrown back. Earlier incarnations do not
    /// count: their sequence numbers are never continued, and a server that lost records gives
    /// their positions out again.
    pub(super) fn settled_through(&self) -> Position {
        self.state.settled_through
    }

    pub(super) fn pending(&self) -> &[Pending] {
        &self.state.pending
    }

    pub(super) fn find(&self, run: &RunId) -> Option<&Pending> {
        self.state
            .pending
            .iter()
            .find(|pending| pending.id() == *run)
    }

    /// Notes what the confirmed store knows of receipts.
    pub(super) fn set_received(&mut self, receipt: impl Fn(&Pending) -> Option<Position>) {
        for pending in &mut self.state.pending {
            pending.received = receipt(pending);
        }
    }

    pub(super) fn of(&self, document: DocumentId) -> impl Iterator<Item = &Pending> {
        self.state
            .pending
            .iter()
            .filter(move |pending| pending.document() == document)
    }

    /// Adds sealed runs in place of others, all or none; they are on the disk when this returns. The
    /// last names what they replace, in the tail or in quarantine.
    pub(super) fn seal(&mut self, runs: &[Run], replaces: Vec<RunId>) -> Result<(), TailError> {
        let Some((last, begun)) = runs.split_last() else {
            return Ok(());
        };
        let records = begun.iter().map(|run| TailRecord::Begun {
            run: run.to_bytes(),
        });
        let mut records: Vec<TailRecord> = records.collect();
        let begun = u32::try_from(begun.len()).expect("a tail holds fewer than 2^32 runs");
        records.push(TailRecord::Sealed {
            run: last.to_bytes(),
            replaces,
            begun,
        });
        self.append(records)
    }

    /// Takes runs out; that they left is on the disk when this returns. On a full disk, runs that
    /// the server has stay until the tail is opened again with space: that it has them is written
    /// elsewhere, and a device must be opened and fed on a full disk, too.
    pub(super) fn settle(&mut self, runs: Vec<RunId>, how: Settled) -> Result<(), TailError> {
        if runs.is_empty() {
            return Ok(());
        }
        let mut records = Vec::new();
        if let Settled::Left = how {
            // The store may be thrown back to before they left, and would use their numbers again.
            let (incarnation, reenter) = (self.successor(), false);
            records.push(TailRecord::Incarnation {
                incarnation,
                reenter,
            });
        }
        records.push(TailRecord::Settled { runs, how });
        match (self.append(records), how) {
            (Ok(()), _) => self.compact(),
            (
                Err(TailError::Append(JournalFailure::Full { .. })),
                Settled::Confirmed(_) | Settled::Left,
            ) => Ok(()),
            (Err(error), _) => Err(error),
        }
    }

    /// An incarnation for a store that finds out by itself that it needs another. It follows from
    /// all that the tail ever wrote, so no earlier one of this store is like it; a copy that comes
    /// to the same one is stale as copies are.
    pub(super) fn successor(&self) -> Incarnation {
        let (_, chain) = self.journal.head();
        let hasher = Hasher::new(domain::INCARNATION).fixed(&self.state.incarnation.0);
        Incarnation(hasher.fixed(&chain.0).finish_16())
    }

    /// Begins a new incarnation; with `reenter`, nothing sealed so far is pushed any more.
    pub(super) fn renew(
        &mut self,
        incarnation: Incarnation,
        reenter: bool,
    ) -> Result<(), TailError> {
        self.append(vec![TailRecord::Incarnation {
            incarnation,
            reenter,
        }])
    }

    /// The same for a store that was copied or thrown back, or whose server was. The reserve of the disk
    /// is there for it: such a device must be opened and fed on a full disk, too. Whoever answers at the
    /// server's address may say so in every session: a life that holds nothing yet is as good as another.
    pub(super) fn start_over(
        &mut self,
        incarnation: Incarnation,
        reenter: bool,
    ) -> Result<(), TailError> {
        let holds_nothing = self.state.last.is_none() && self.state.settled_through == 0;
        if holds_nothing && !reenter {
            return Ok(());
        }
        let record = TailRecord::Incarnation {
            incarnation,
            reenter,
        };
        let bytes = vec![encode(&record)];
        self.journal.append_to_reserve(&bytes)?;
        self.take(vec![record], &bytes)?;
        self.compact()
    }

    /// Writes records. A crash may keep the first ones only.
    fn append(&mut self, records: Vec<TailRecord>) -> Result<(), TailError> {
        let bytes: Vec<Vec<u8>> = records.iter().map(encode).collect();
        self.journal.append(&bytes)?;
        self.take(records, &bytes)
    }

    /// Follows records that were written.
    fn take(&mut self, records: Vec<TailRecord>, bytes: &[Vec<u8>]) -> Result<(), TailError> {
        let position = self.journal.head().0;
        for (record, bytes) in records.into_iter().zip(bytes) {
            self.settled_bytes += self
                .state
                .take(record, bytes.len() as u64)
                .map_err(|reason| TailError::Record { position, reason })?;
        }
        Ok(())
    }

    /// Keeps all records, or none that say nothing of what waits, from here on: whether those of runs
    /// that replaced others are written elsewhere.
    pub(super) fn keep_witness(&mut self, is_witness: bool) {
        self.is_witness = is_witness;
    }

    /// Writes what still waits anew and gives the space of the rest back.
    fn compact(&mut self) -> Result<(), TailError> {
        let waiting: usize = self.state.pending.iter().map(|run| run.bytes.len()).sum();
        if self.is_witness || self.settled_bytes < TAIL_SETTLED_BYTES.max(waiting as u64) {
            return Ok(());
        }
        match self.journal.append(&self.state.base()) {
            Ok(appended) => {
                self.journal.remove_before(appended.first)?;
                self.settled_bytes = 0;
                Ok(())
            }
            Err(JournalFailure::Full { .. }) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}

impl State {
    fn start(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            last: None,
            settled_through: 0,
            pending: Vec::new(),
            begun: Vec::new(),
        }
    }

    /// The records from which this state is read again.
    fn base(&self) -> Vec<Vec<u8>> {
        let base = TailRecord::Base {
            incarnation: self.incarnation,
            last: self.last,
            settled_through: self.settled_through,
            kept: u32::try_from(self.pending.len()).expect("a tail holds fewer than 2^32 runs"),
        };
        let kept = self.pending.iter().map(|pending| TailRecord::Kept {
            run: pending.bytes.clone(),
            reenter: pending.reenter,
        });
        std::iter::once(base)
            .chain(kept)
            .map(|record| encode(&record))
            .collect()
    }

    /// Applies a record that stands alone; answers how many bytes of the tail say nothing from
    /// here on.
    fn take(&mut self, record: TailRecord, length: u64) -> Result<u64, String> {
        match record {
            TailRecord::Base { .. } | TailRecord::Kept { .. } => Ok(length),
            TailRecord::Incarnation {
                incarnation,
                reenter,
            } => {
                self.incarnation = incarnation;
                self.last = None;
                self.settled_through = 0;
                for pending in &mut self.pending {
                    pending.reenter |= reenter;
                }
                Ok(length)
            }
            TailRecord::Begun { run } => {
                self.begun.push(Pending::read(&run, false)?);
                Ok(0)
            }
            TailRecord::Sealed {
                run,
                replaces,
                begun,
            } => {
                // What a crash left of others stands before them.
                let others = self.begun.len().checked_sub(begun as usize);
                let others = others.ok_or("a run is sealed with others that are not there")?;
                let mut sealed = self.begun.split_off(others);
                sealed.push(Pending::read(&run, false)?);
                let mut freed: u64 = self.begun.drain(..).map(|it| it.bytes.len() as u64).sum();
                freed += self.remove(&replaces);
                for pending in sealed {
                    let body = pending.body();
                    if body.incarnation == self.incarnation {
                        self.last = Some(Last {
                            number: body.number,
                            run: pending.id(),
                        });
                    }
                    self.pending.push(pending);
                }
                Ok(freed)
            }
            TailRecord::Settled { runs, how } => {
                match how {
                    Settled::Confirmed(position) => {
                        self.settled_through = self.settled_through.max(position);
                    }
                    Settled::Quarantined | Settled::Dropped | Settled::Left => {}
                }
                Ok(length + self.remove(&runs))
            }
        }
    }

    fn remove(&mut self, runs: &[RunId]) -> u64 {
        let mut freed = 0;
        self.pending.retain(|pending| {
            let leaves = runs.contains(&pending.id());
            freed += if leaves {
                pending.bytes.len() as u64
            } else {
                0
            };
            !leaves
        });
        freed
    }
}

/// Reads records in order. A base that was cut off counts for nothing. Where a prefix was removed,
/// the first records may belong to it: a base that replaces them stands further on.
#[derive(Default)]
struct Replay {
    state: Option<State>,
    base: Option<(State, u32)>,
    settled_bytes: u64,
    replaced: BTreeMap<RunId, RunId>,
}

impl Replay {
    fn take(&mut self, record: TailRecord, length: u64) -> Result<(), String> {
        match record {
            TailRecord::Base {
                incarnation,
                last,
                settled_through,
                kept,
            } => {
                let state = State {
                    incarnation,
                    last,
                    settled_through,
                    pending: Vec::new(),
                    begun: Vec::new(),
                };
                self.base = Some((state, kept));
            }
            TailRecord::Kept { run, reenter } => match (&mut self.base, &self.state) {
                (Some((state, _)), _) => state.pending.push(Pending::read(&run, reenter)?),
                (None, None) => {}
                (None, Some(_)) => return Err("a kept run without a base".into()),
            },
            other @ (TailRecord::Incarnation { .. }
            | TailRecord::Sealed { .. }
            | TailRecord::Begun { .. }
            | TailRecord::Settled { .. }) => {
                self.base = None;
                if let TailRecord::Sealed { run, replaces, .. } = &other
                    && !replaces.is_empty()
                {
                    let by = Pending::read(run, false)?.id();
                    self.replaced.extend(replaces.iter().map(|of| (*of, by)));
                }
                if let Some(state) = &mut self.state {
                    self.settled_bytes += state.take(other, length)?;
                }
                return Ok(());
            }
        }
        if let Some((state, kept)) = &self.base
            && state.pending.len() == *kept as usize
            && let Some((state, _)) = self.base.take()
        {
            self.state = Some(state);
            self.settled_bytes = 0;
        }
        Ok(())
    }
}

/// Says of a tail without a base what was cut where it ends, by this opening or an earlier one.
fn beginning_cut(recovery: &Recovery) -> Option<TailError> {
    let names = recovery.side_files.iter();
    let cut = names.filter_map(|name| SideFile::parse(name));
    let cut = cut.filter(|cut| cut.position == recovery.head + 1);
    cut.max_by_key(|cut| cut.number)
        .map(|cut| TailError::Beginning {
            cut,
            begins_anew: recovery.head == 0,
        })
}

fn encode(record: &TailRecord) -> Vec<u8> {
    minicbor::to_vec(record).expect("writing to a vector cannot fail")
}

#[cfg(test)]
mod tests;
