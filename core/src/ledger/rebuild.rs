//! Bringing the rows to the end of the journal, or making them anew.
//!
//! Both run the same fold as acceptance, in batches of bounded size. A rebuild goes through the
//! journal once for everything but content, then builds each document once from all its runs.

use std::collections::BTreeMap;
use std::fmt;

use super::apply::Fold;
use super::judging::in_parallel;
use super::keys;
use super::reader::{self, ReadError};
use super::rows::{DocumentRow, EnvelopeRow, FORMAT, MetaRow, UNFINISHED};
use super::{LedgerError, Settled};
use crate::envelope::Seen;
use crate::id::{DocumentId, JournalId, Position};
use crate::journal::{JournalReader, Storage};
use crate::kv::{Batch, Direction, Kv, KvError};
use crate::limits::{FOLD_BYTES, FOLD_RECORDS_MAX};
use crate::record::Record;
use crate::validate::{CheckedRun, Document, RefusalCode, Verdict, check_run, judge_recorded};

/// How far opening or verifying has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How much of it is done.
    pub done: u64,
    /// How much there is.
    pub total: u64,
}

/// What opening does to the rows, or verifying with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Applies records that the store had not seen; counted in records.
    CatchUp,
    /// Reads the journal before the rows that were made of it are removed; counted in records.
    Read,
    /// Makes the rows of records; counted in records.
    Index,
    /// Builds documents; counted in runs.
    Documents,
    /// Compares what is kept of each place.
    Scopes,
    /// Reads what was added since verifying began; counted in records.
    Statements,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CatchUp => "catching up with the journal",
            Self::Read => "checking that the journal is whole",
            Self::Index => "reading the journal",
            Self::Documents => "building documents",
            Self::Scopes => "comparing places",
            Self::Statements => "reading what was added meanwhile",
        })
    }
}

/// Why all rows are made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebuildReason {
    /// The store is empty or does not say what it reflects.
    NoRows,
    /// A row cannot be read, or could not while the ledger ran.
    Damaged,
    /// Making them anew was interrupted.
    Unfinished,
    /// Rows of another version of this program.
    Format {
        /// Version of the rows.
        found: u32,
    },
    /// Rows of another journal.
    OtherJournal {
        /// Whose.
        found: JournalId,
    },
    /// Somebody decided to go on without records that were lost.
    AfterLoss {
        /// What the rows reflected.
        store: Seen,
    },
    /// Somebody asked for it.
    Asked {
        /// What the rows reflected.
        applied: Seen,
    },
}

impl RebuildReason {
    /// Whether somebody has to know.
    pub fn is_a_fault(&self) -> bool {
        match self {
            Self::Damaged | Self::OtherJournal { .. } => true,
            Self::NoRows
            | Self::Unfinished
            | Self::Format { .. }
            | Self::AfterLoss { .. }
            | Self::Asked { .. } => false,
        }
    }
}

impl fmt::Display for RebuildReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRows => f.write_str("the store was empty"),
            Self::Damaged => f.write_str("the store was damaged"),
            Self::Unfinished => f.write_str("making it again was interrupted"),
            Self::Format { found } => write!(f, "the store was of version {found}"),
            Self::OtherJournal { found } => write!(f, "the store was of journal {found}"),
            Self::AfterLoss { store } => {
                write!(
                    f,
                    "records up to {} were lost and somebody decided to go on",
                    store.position
                )
            }
            Self::Asked { .. } => f.write_str("somebody asked for it"),
        }
    }
}

/// What has to be done to the rows.
pub(super) enum Plan {
    CatchUp { meta: MetaRow },
    Rebuild { reason: RebuildReason },
    Lost { store: Seen },
}

pub(super) fn plan<S: Storage, K: Kv>(
    kv: &K,
    journal: &JournalReader<S>,
    end: Seen,
) -> Result<Plan, LedgerError> {
    let rebuild = |reason| Ok(Plan::Rebuild { reason });
    let is_damaged = kv.get(keys::DAMAGED)?.is_some();
    let meta = match reader::meta_row(kv) {
        Ok(Some(meta)) => meta,
        Ok(None) if is_damaged => return rebuild(RebuildReason::Damaged),
        Ok(None) => return rebuild(RebuildReason::NoRows),
        Err(ReadError::Row { .. }) => return rebuild(RebuildReason::Damaged),
        Err(error) => return Err(error.into()),
    };
    if meta.journal != journal.id() {
        let found = meta.journal;
        return rebuild(RebuildReason::OtherJournal { found });
    }
    let applied = meta.applied;
    if applied.position > end.position {
        return Ok(Plan::Lost { store: applied });
    }
    // What the store has seen is not in this journal, however long it is.
    let chain = journal
        .chain_at(applied.position)
        .map_err(ReadError::from)?;
    if chain != applied.chain {
        return Ok(Plan::Lost { store: applied });
    }
    match meta.format {
        _any if is_damaged => rebuild(RebuildReason::Damaged),
        FORMAT => Ok(Plan::CatchUp { meta }),
        UNFINISHED => rebuild(RebuildReason::Unfinished),
        found => rebuild(RebuildReason::Format { found }),
    }
}

/// Lets the next opening make all rows anew, as rows that are not to be believed. What they reflect
/// stays known, so that a journal that lost its end meanwhile is noticed all the same.
pub(super) fn mark_damaged<K: Kv>(kv: &K) -> Result<(), KvError> {
    let mut batch = Batch::new();
    batch.put(keys::DAMAGED, []);
    kv.apply(&batch)?;
    kv.flush()
}

/// Whether anything was ever made of a journal here: a witness that there was one.
pub(super) fn holds_rows<K: Kv>(kv: &K) -> Result<bool, LedgerError> {
    let (from, to) = keys::everything();
    match kv.scan(&from, &to, Direction::Ascending).next() {
        None => Ok(false),
        Some(Ok(_)) => Ok(true),
        Some(Err(error)) => Err(error.into()),
    }
}

/// Removes all rows that were made of records. What they reflected stays known until others are made,
/// marked first, so that half of them never pass for all, and so that no interruption makes the store
/// forget a journal that lost its end, or that it was damaged.
pub(super) fn clear<K: Kv>(kv: &K) -> Result<(), LedgerError> {
    let mut batch = Batch::new();
    match reader::meta_row(kv) {
        Ok(Some(meta)) => {
            let format = UNFINISHED;
            let meta = MetaRow { format, ..meta };
            batch.put(keys::META, super::rows::encode(&meta));
        }
        Ok(None) => {}
        Err(ReadError::Row { .. }) => {
            batch.delete(keys::META);
        }
        Err(error) => return Err(error.into()),
    }
    kv.apply(&batch)?;
    let (from, to) = keys::everything();
    let stays = |key: &[u8]| key == keys::META || key == keys::DAMAGED;
    loop {
        let mut batch = Batch::new();
        let rows = kv.scan(&from, &to, Direction::Ascending);
        for row in rows
            .filter(|row| !row.as_ref().is_ok_and(|(key, _)| stays(key)))
            .take(FOLD_RECORDS_MAX)
        {
            batch.delete(row?.0);
        }
        if batch.is_empty() {
            return Ok(());
        }
        kv.apply(&batch)?;
    }
}

/// Applies what the journal has behind the position that the rows reflect.
pub(super) fn catch_up<S: Storage, K: Kv>(
    kv: &K,
    journal: &JournalReader<S>,
    mut meta: MetaRow,
    threads: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<MetaRow, LedgerError> {
    let start = meta.applied.position;
    let mut scan = journal.scan(start + 1).peekable();
    let total = journal.head().0 - start;
    while scan.peek().is_some() {
        let mut fold = Fold::new(kv)?;
        let mut waiting: BTreeMap<DocumentId, Vec<(Position, CheckedRun)>> = BTreeMap::new();
        let (mut records, mut bytes) = (0, 0);
        while records < FOLD_RECORDS_MAX && bytes < FOLD_BYTES {
            let Some(scanned) = scan.next() else { break };
            let scanned = scanned.map_err(ReadError::from)?;
            let record = Record::from_bytes(&scanned.record).map_err(ReadError::from)?;
            fold.record(scanned.position, scanned.place, &record)?;
            if let Record::Changes(changes) = record {
                let document = changes.run.envelope.body().document;
                let run = checked(scanned.position, changes.run)?;
                waiting
                    .entry(document)
                    .or_default()
                    .push((scanned.position, run));
            }
            meta.applied = Seen {
                position: scanned.position,
                chain: scanned.chain,
            };
            records += 1;
            bytes += scanned.record.len();
        }
        let upto = meta.applied.position;
        let built = in_parallel(threads, waiting.into_iter().collect(), |(id, runs)| {
            let before = loaded(kv, &id)?;
            let later = || published_behind(journal, upto, &id);
            let document = build(before.as_ref(), runs, later)?;
            Ok::<_, LedgerError>((id, Settled::of(&document)))
        });
        for built in built {
            let (id, settled) = built?;
            fold.settle(&id, settled.heads, &settled.saved)?;
        }
        meta.checkpoint = fold.checkpoint().unwrap_or(meta.checkpoint);
        kv.apply(&fold.finish(Some(&meta))?)?;
        progress(Progress {
            stage: Stage::CatchUp,
            done: meta.applied.position - start,
            total,
        });
    }
    Ok(meta)
}

/// Makes all rows anew. Rows that there are go only once every record could be read: of what is
/// damaged in the journal they may be the last copy.
pub(super) fn rebuild<S: Storage, K: Kv>(
    kv: &K,
    journal: &JournalReader<S>,
    reason: RebuildReason,
    threads: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<MetaRow, LedgerError> {
    if holds_rows(kv)? {
        read_through(journal, progress)?;
    }
    anew(kv, journal, reason, threads, progress)
}

/// The same once every record was read. What the rows reflected, and that they were damaged, is left
/// where it is a fault, for somebody to tell first.
pub(super) fn anew<S: Storage, K: Kv>(
    kv: &K,
    journal: &JournalReader<S>,
    reason: RebuildReason,
    threads: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<MetaRow, LedgerError> {
    if reason.is_a_fault() {
        mark_damaged(kv)?;
    }
    clear(kv)?;
    let mut meta = MetaRow {
        format: FORMAT,
        journal: journal.id(),
        applied: Seen {
            position: 0,
            chain: journal.chain_at(0).map_err(ReadError::from)?,
        },
        checkpoint: 0,
    };
    let runs = index(kv, journal, &mut meta, progress)?;
    build_documents(kv, journal, threads, runs, progress)?;
    if !reason.is_a_fault() {
        finish(kv, &meta)?;
    }
    Ok(meta)
}

/// Says what the rows reflect, so that they count.
pub(super) fn finish<K: Kv>(kv: &K, meta: &MetaRow) -> Result<(), LedgerError> {
    let mut batch = Batch::new();
    batch.put(keys::META, super::rows::encode(meta));
    batch.delete(keys::DAMAGED);
    Ok(kv.apply(&batch)?)
}

/// Reads every record.
pub(super) fn read_through<S: Storage>(
    journal: &JournalReader<S>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), LedgerError> {
    let total = journal.head().0;
    for scanned in journal.scan(1) {
        let scanned = scanned.map_err(ReadError::from)?;
        Record::from_bytes(&scanned.record).map_err(ReadError::from)?;
        let done = scanned.position;
        if done.is_multiple_of(FOLD_RECORDS_MAX as u64) || done == total {
            progress(Progress {
                stage: Stage::Read,
                done,
                total,
            });
        }
    }
    Ok(())
}

/// Writes everything but the content of documents; gives the number of runs.
fn index<S: Storage, K: Kv>(
    kv: &K,
    journal: &JournalReader<S>,
    meta: &mut MetaRow,
    progress: &mut dyn FnMut(Progress),
) -> Result<u64, LedgerError> {
    let mut scan = journal.scan(1).peekable();
    let total = journal.head().0;
    let mut runs = 0;
    while scan.peek().is_some() {
        let mut fold = Fold::new(kv)?;
        let mut records = 0;
        while records < FOLD_RECORDS_MAX && fold.staged_bytes() < FOLD_BYTES {
            let Some(scanned) = scan.next() else { break };
            let scanned = scanned.map_err(ReadError::from)?;
            let record = Record::from_bytes(&scanned.record).map_err(ReadError::from)?;
            fold.record(scanned.position, scanned.place, &record)?;
            runs += u64::from(matches!(record, Record::Changes(_)));
            records += 1;
            meta.applied = Seen {
                position: scanned.position,
                chain: scanned.chain,
            };
        }
        meta.checkpoint = fold.checkpoint().unwrap_or(meta.checkpoint);
        kv.apply(&fold.finish(None)?)?;
        progress(Progress {
            stage: Stage::Index,
            done: meta.applied.position,
            total,
        });
    }
    Ok(runs)
}

/// Builds every document from the runs that its envelopes lead to.
fn build_documents<S: Storage, K: Kv>(
    kv: &K,
    journal: &JournalReader<S>,
    threads: usize,
    total: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), LedgerError> {
    let (mut from, to) = keys::table(keys::DOCUMENT);
    let mut done = 0;
    loop {
        let (batch, runs) = next_documents(kv, &mut from, &to)?;
        if batch.is_empty() {
            return Ok(());
        }
        let built = in_parallel(threads, batch, |id| {
            let runs = recorded_runs(kv, journal, &id)?;
            Ok::<_, LedgerError>((id, Settled::of(&build(None, runs, || Ok(false))?)))
        });
        let mut fold = Fold::new(kv)?;
        for built in built {
            let (id, settled) = built?;
            fold.settle(&id, settled.heads, &settled.saved)?;
        }
        kv.apply(&fold.finish(None)?)?;
        done += runs;
        progress(Progress {
            stage: Stage::Documents,
            done,
            total,
        });
    }
}

/// The next documents by id, as many as have about [`FOLD_RECORDS_MAX`] runs or [`FOLD_BYTES`] of
/// records, and moves behind them.
fn next_documents<K: Kv>(
    kv: &K,
    from: &mut Vec<u8>,
    to: &[u8],
) -> Result<(Vec<DocumentId>, u64), LedgerError> {
    let mut documents = Vec::new();
    let (mut runs, mut bytes) = (0, 0);
    let mut last = None;
    for row in kv.scan(from, to, Direction::Ascending) {
        let (key, value) = row?;
        let damaged = || ReadError::row(keys::DOCUMENT);
        let id = keys::tail(&key, 1).and_then(|id| DocumentId::try_from(id).ok());
        let row: DocumentRow = super::rows::decode(&value).ok_or_else(damaged)?;
        let id = id.ok_or_else(damaged)?;
        documents.push(id);
        runs += row.runs;
        bytes += recorded_bytes(kv, &id)?;
        last = Some(key);
        if runs >= FOLD_RECORDS_MAX as u64 || bytes >= FOLD_BYTES {
            break;
        }
    }
    if let Some(mut key) = last {
        key.push(0);
        *from = key;
    }
    Ok((documents, runs))
}

/// Bytes of the records that a document is built of.
fn recorded_bytes<K: Kv>(kv: &K, document: &DocumentId) -> Result<usize, LedgerError> {
    let (from, to) = keys::envelopes(document);
    let mut bytes = 0;
    for row in kv.scan(&from, &to, Direction::Ascending) {
        let row = EnvelopeRow::from_bytes(0, &row?.1);
        let row = row.ok_or_else(|| ReadError::row(keys::ENVELOPE))?;
        bytes += row.place.length as usize;
    }
    Ok(bytes)
}

/// The runs of a document out of the journal, in its order.
pub(super) fn recorded_runs<S: Storage, K: Kv>(
    kv: &K,
    journal: &JournalReader<S>,
    document: &DocumentId,
) -> Result<Vec<(Position, CheckedRun)>, LedgerError> {
    let (from, to) = keys::envelopes(document);
    let mut runs = Vec::new();
    for row in kv.scan(&from, &to, Direction::Ascending) {
        let (key, value) = row?;
        let row = keys::last_number(&key)
            .and_then(|position| EnvelopeRow::from_bytes(position, &value))
            .ok_or_else(|| ReadError::row(keys::ENVELOPE))?;
        let record = journal.read(row.place).map_err(ReadError::from)?;
        match Record::from_bytes(&record).map_err(ReadError::from)? {
            Record::Changes(changes) => {
                runs.push((row.position, checked(row.position, changes.run)?));
            }
            Record::Server(_) => return Err(ReadError::row(keys::ENVELOPE).into()),
        }
    }
    Ok(runs)
}

fn loaded<K: Kv>(kv: &K, id: &DocumentId) -> Result<Option<Document>, LedgerError> {
    let Some(row) = reader::document_row(kv, id)? else {
        return Ok(None);
    };
    let damaged = || ReadError::row(keys::CONTENT);
    let saved = kv.get(&keys::content(id))?.ok_or_else(damaged)?;
    let document = Document::load(&saved, row.kind, row.published()).map_err(|_| damaged())?;
    Ok(Some(document))
}

fn checked(position: Position, run: crate::envelope::Run) -> Result<CheckedRun, LedgerError> {
    check_run(run).map_err(|refusal| LedgerError::Diverged {
        position,
        reason: refusal.sentence,
    })
}

/// Whether a run behind a position publishes the document.
fn published_behind<S: Storage>(
    journal: &JournalReader<S>,
    position: Position,
    document: &DocumentId,
) -> Result<bool, LedgerError> {
    for scanned in journal.scan(position + 1) {
        let scanned = scanned.map_err(ReadError::from)?;
        if let Record::Changes(changes) =
            Record::from_bytes(&scanned.record).map_err(ReadError::from)?
        {
            let body = changes.run.envelope.body();
            if body.publish && body.document == *document {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The document with all of `runs` in it, which were accepted once. Where the journal was cut to come
/// to them may be between two that were judged together, so `published_later` is asked before one is
/// told that reads ready unpublished.
pub(super) fn build(
    before: Option<&Document>,
    runs: Vec<(Position, CheckedRun)>,
    published_later: impl FnOnce() -> Result<bool, LedgerError>,
) -> Result<Document, LedgerError> {
    let (positions, runs): (Vec<Position>, Vec<CheckedRun>) = runs.into_iter().unzip();
    let first = positions.first().copied().unwrap_or_default();
    let mut judged = judge_recorded(before, runs, false);
    let is_early = |verdict: &Verdict| matches!(verdict, Verdict::Refused(refusal) if refusal.code == RefusalCode::UnpublishedReady);
    if judged.verdicts.iter().any(|(_, verdict)| is_early(verdict)) && published_later()? {
        let runs = judged.verdicts.into_iter().map(|(run, _)| run);
        judged = judge_recorded(before, runs.collect(), true);
    }
    for (position, (_, verdict)) in positions.into_iter().zip(judged.verdicts) {
        let reason = match verdict {
            Verdict::Valid => continue,
            Verdict::Known => "its changes were recorded before".to_owned(),
            Verdict::Missing(_) => "it builds on changes that were not recorded".to_owned(),
            Verdict::Refused(refusal) => refusal.sentence,
        };
        return Err(LedgerError::Diverged { position, reason });
    }
    judged.document.ok_or_else(|| LedgerError::Diverged {
        position: first,
        reason: "the document has no runs".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::DocumentKind;
    use crate::id::DeviceId;
    use crate::journal::Place;
    use crate::kv::MemoryKv;

    fn document_row(runs: u64) -> DocumentRow {
        DocumentRow {
            kind: DocumentKind::Evidence,
            scope: crate::scope::Scope::all(),
            creator: DeviceId([1; 32]),
            heads: Vec::new(),
            entered_unit: 1,
            entered_all: None,
            last_position: 1,
            runs,
            changes: 1,
            saved_bytes: 0,
        }
    }

    /// Four documents, and which of them are built together.
    fn built_together(runs: u64, record_bytes: u32) -> Vec<Vec<u8>> {
        let kv = MemoryKv::new();
        let mut batch = Batch::new();
        for id in (1..=4).map(|number| DocumentId([number; 16])) {
            let row = document_row(runs);
            batch.put(keys::document(&id), super::super::rows::encode(&row));
            let envelope = EnvelopeRow {
                position: 1,
                received_at: 0,
                carrier: row.creator,
                place: Place {
                    segment: 1,
                    offset: 0,
                    length: record_bytes,
                    check: [0; 16],
                },
                envelope: Vec::new(),
            };
            batch.put(keys::envelope(&id, 1), envelope.to_bytes());
        }
        kv.apply(&batch).unwrap();
        let (mut from, to) = keys::table(keys::DOCUMENT);
        let mut together = Vec::new();
        loop {
            let (documents, counted) = next_documents(&kv, &mut from, &to).unwrap();
            assert_eq!(counted, documents.len() as u64 * runs);
            if documents.is_empty() {
                return together;
            }
            together.push(documents.iter().map(|id| id.0[0]).collect());
        }
    }

    #[test]
    fn documents_are_built_a_bounded_number_of_runs_at_once() {
        let runs = FOLD_RECORDS_MAX as u64 - 1;
        assert_eq!(built_together(runs, 1), [[1, 2], [3, 4]]);
    }

    #[test]
    fn documents_are_built_of_a_bounded_number_of_bytes_at_once() {
        let bytes = FOLD_BYTES as u32 - 1;
        assert_eq!(built_together(1, bytes), [[1, 2], [3, 4]]);
        assert_eq!(built_together(1, 1), [[1, 2, 3, 4]]);
    }
}
