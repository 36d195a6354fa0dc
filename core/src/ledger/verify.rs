//! Holds journal and store against each other: everything either says must be what the other says.
//!
//! It runs beside a serving ledger. Records up to the watermark of its start are judged; rows are
//! compared in pieces that are read together, so none of them is half old and half new. Memory
//! grows with devices and statements, not with runs or documents.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::LedgerError;
use super::apply::{Fold, publishes, used_by};
use super::keys;
use super::reader::{self, ReadError, Reader};
use super::rebuild::{self, Progress, Stage};
use super::rows::{self, DocumentRow, EnvelopeRow, QuotaRow};
use crate::causes::{is_for_want, with_causes};
use crate::envelope::{Envelope, Seen};
use crate::id::{DeviceId, DocumentId, Position, WallMs};
use crate::journal::verify::{self as files, Extent, Findings, verify as verify_journal};
use crate::journal::{Storage, Watermark};
use crate::kv::{Direction, Kv, MemoryKv};
use crate::limits::VERIFY_FINDINGS_MAX;
use crate::placement::Placements;
use crate::record::{Changes, Fact, Record, Returned, Signed};
use crate::scope::Scope;
use crate::validate::check_run;

mod scopes;
mod statements;

/// What a verification saw.
#[derive(Debug, Clone)]
pub struct Verification {
    /// Up to where records were judged.
    pub upto: Seen,
    /// What is wrong with the journal's files.
    pub journal: Findings,
    /// Records that were read.
    pub records: u64,
    /// Documents that were built anew and compared.
    pub documents: u64,
    /// What is wrong with records and rows, at most [`VERIFY_FINDINGS_MAX`].
    pub findings: Vec<VerifyFinding>,
    /// How many findings were left out of the list.
    pub more: u64,
    /// Whether something was not read because the system had no descriptor or memory for it.
    pub scarce: bool,
}

impl Verification {
    /// Whether everything was read and nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.journal.is_clean() && self.findings.is_empty() && !self.scarce
    }
}

/// One thing that is wrong, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct VerifyFinding {
    /// Where.
    pub place: FindingPlace,
    /// What.
    pub fault: Fault,
}

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindingPlace {
    /// A record of the journal.
    Record(Position),
    /// A document in the store.
    Document(DocumentId),
    /// A scope in the store.
    Scope(Scope),
    /// A table of the store, by the first letter of its keys.
    Table(char),
}

impl fmt::Display for FindingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(position) => write!(f, "record {position}"),
            Self::Document(id) => write!(f, "document {id}"),
            Self::Scope(scope) => write!(f, "scope {scope}"),
            Self::Table(table) => write!(f, "table {table}"),
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A record that cannot be read or trusted, or contradicts those before it.
    #[error("{0}")]
    Record(String),
    /// What the server signed about its journal is not so.
    #[error(
        "it was signed behind record {} with chain {}, and the journal has another history there",
        named.position,
        named.chain
    )]
    History {
        /// What the server signed.
        named: Seen,
    },
    /// A row that the journal demands is missing or another.
    #[error("the row in table '{0}' is not what the journal says")]
    Row(char),
    /// A table has rows that the journal does not explain.
    #[error("{found} rows stand where the journal explains {expected}")]
    Count {
        /// Rows there are.
        found: u64,
        /// Rows there should be.
        expected: u64,
    },
    /// A document's content is not what its runs make.
    #[error("the content is not what the runs make")]
    Content,
    /// The digest of a prefix is not the sum of its documents.
    #[error("the digest is not the sum of the documents")]
    Digest,
    /// Something could not be read.
    #[error("{reason}")]
    Unreadable {
        /// Why not.
        reason: String,
        /// Whether only for want of descriptors or memory, which is no finding.
        scarce: bool,
    },
}

impl Fault {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Record(_) => "record",
            Self::History { .. } => "history",
            Self::Row(_) => "row",
            Self::Count { .. } => "rows",
            Self::Content => "content",
            Self::Digest => "digest",
            Self::Unreadable { .. } => "unreadable",
        }
    }
}

/// Verifies the journal's files alone, up to what the ledger has seen of them.
pub fn verify_files<S: Storage, K: Kv>(reader: &Reader<S, K>, upto: Seen) -> Findings {
    verify_journal(reader.records.storage(), &extent(reader, upto))
}

/// The same for some of the files, by their names; of the others only headers are read.
pub fn verify_segments<S: Storage, K: Kv>(
    reader: &Reader<S, K>,
    upto: Seen,
    names: &BTreeSet<String>,
) -> Findings {
    files::verify_segments(reader.records.storage(), &extent(reader, upto), names)
}

fn extent<S: Storage, K: Kv>(reader: &Reader<S, K>, upto: Seen) -> Extent {
    Extent {
        from: 1,
        up_to: Some(Watermark {
            position: upto.position,
            chain: upto.chain,
        }),
        id: Some(reader.journal()),
        prefix_removable: false,
    }
}

/// Verifies all of a ledger up to its present watermark, while it serves.
///
/// # Errors
/// The journal's chain at the watermark could not be read. Whatever else fails is a finding.
pub fn verify<S: Storage, K: Kv>(
    reader: &Reader<S, K>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verification, LedgerError> {
    let upto = reader.watermark();
    let mut audit = Audit {
        reader,
        report: Verification {
            upto,
            journal: verify_files(reader, upto),
            records: 0,
            documents: 0,
            findings: Vec::new(),
            more: 0,
            scarce: false,
        },
        expected: Expected::default(),
        statements: MemoryKv::new(),
        placements: Arc::new(Placements::default()),
        checkpoint: 0,
        before: Seen {
            position: 0,
            chain: reader.records.chain_at(0).map_err(ReadError::from)?,
        },
        quotas: BTreeMap::new(),
    };
    audit.records(progress);
    audit.documents(progress);
    let counted = audit.counts();
    audit.note(counted, keys::RUN);
    let scopes = audit.scopes(progress);
    audit.note(scopes, keys::LAST);
    let statements = audit.statements(progress);
    audit.note(statements, keys::DEVICE);
    Ok(audit.report)
}

/// How many rows the records up to the watermark explain.
#[derive(Debug, Default)]
struct Expected {
    runs: u64,
    documents: u64,
    published: u64,
}

struct Audit<'r, S: Storage, K> {
    reader: &'r Reader<S, K>,
    report: Verification,
    expected: Expected,
    /// Rows that follow from statements alone.
    statements: MemoryKv,
    /// Where those rows have units.
    placements: Arc<Placements>,
    checkpoint: Position,
    /// The record that was read last.
    before: Seen,
    quotas: BTreeMap<DeviceId, QuotaRow>,
}

impl<'r, S: Storage, K: Kv> Audit<'r, S, K> {
    fn add(&mut self, place: FindingPlace, fault: Fault) {
        if matches!(fault, Fault::Unreadable { scarce: true, .. }) {
            self.report.scarce = true;
            return;
        }
        if self.report.findings.len() == VERIFY_FINDINGS_MAX {
            self.report.more += 1;
            return;
        }
        self.report.findings.push(VerifyFinding { place, fault });
    }

    fn note(&mut self, result: Result<(), LedgerError>, table: u8) {
        if let Err(error) = result {
            let place = FindingPlace::Table(char::from(table));
            self.add(place, unreadable(error));
        }
    }

    fn kv(&self) -> &'r K {
        &self.reader.shared.kv
    }

    /// Every record up to the watermark, with the rows that belong to it alone.
    fn records(&mut self, progress: &mut dyn FnMut(Progress)) {
        let total = self.report.upto.position;
        for scanned in self.reader.records.scan(1) {
            let scanned = match scanned {
                Ok(scanned) if scanned.position > total => break,
                Ok(scanned) => scanned,
                Err(error) => {
                    let place = FindingPlace::Record(self.report.records + 1);
                    self.add(place, unreadable(error));
                    break;
                }
            };
            let position = scanned.position;
            self.report.records += 1;
            let checked = self.record(position, scanned.place, &scanned.record);
            if let Err(fault) = checked {
                self.add(FindingPlace::Record(position), fault);
            }
            self.before = Seen {
                position,
                chain: scanned.chain,
            };
            if position.is_multiple_of(1_000) || position == total {
                progress(Progress {
                    stage: Stage::Index,
                    done: position,
                    total,
                });
            }
        }
    }

    fn record(
        &mut self,
        position: Position,
        place: crate::journal::Place,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let record = Record::from_bytes(bytes).map_err(record_fault)?;
        match record {
            Record::Server(signed) => {
                let server = self.reader.server();
                signed.verify(&server).map_err(record_fault)?;
                if let Fact::Checkpoint(named) | Fact::Restored(named) = signed.fact()
                    && let Err(fault) = self.expect_history(*named)
                {
                    self.add(FindingPlace::Record(position), fault);
                }
                if let Fact::Returned(returned) = signed.fact() {
                    Signed::open(&returned.statement, &server).map_err(record_fault)?;
                    self.spend_returned(signed.at(), returned);
                }
                self.fold_statement(position, place, &Record::Server(signed))
                    .map_err(record_fault)
            }
            Record::Changes(changes) => {
                self.spend(&changes);
                self.changes(position, place, changes)
            }
        }
    }

    /// Whether the journal has the history that the server signed in the record after `before`. Most
    /// of these name the record right before them; for any other a group is read again.
    fn expect_history(&self, named: Seen) -> Result<(), Fault> {
        let before = self.before;
        let chain = match named.position.cmp(&before.position) {
            Ordering::Greater => None,
            Ordering::Equal => Some(before.chain),
            Ordering::Less => {
                let chain = self.reader.records.chain_at(named.position);
                Some(chain.map_err(unreadable)?)
            }
        };
        match chain {
            Some(chain) if chain == named.chain => Ok(()),
            _other => Err(Fault::History { named }),
        }
    }

    fn fold_statement(
        &mut self,
        position: Position,
        place: crate::journal::Place,
        record: &Record,
    ) -> Result<(), LedgerError> {
        let mut fold = Fold::over(&self.statements, Arc::clone(&self.placements));
        fold.record(position, place, record)?;
        if let Some(moved) = fold.moved() {
            self.placements = Arc::new(moved);
        }
        self.checkpoint = fold.checkpoint().unwrap_or(self.checkpoint);
        Ok(self.statements.apply(&fold.finish(None)?)?)
    }

    fn spend(&mut self, changes: &Changes) {
        let (spender, used) = used_by(changes);
        let row = self.quotas.entry(spender).or_default();
        *row = used(*row);
    }

    fn spend_returned(&mut self, at: WallMs, returned: &Returned) {
        let row = self.quotas.entry(returned.by).or_default();
        *row = row.after_statement(at, returned.statement.len() as u64);
    }

    fn changes(
        &mut self,
        position: Position,
        place: crate::journal::Place,
        changes: Changes,
    ) -> Result<(), Fault> {
        Envelope::open(changes.run.envelope.bytes()).map_err(record_fault)?;
        let run = check_run(changes.run).map_err(record_fault)?;
        let body = run.envelope().body();
        self.expected.runs += 1;
        self.expected.documents += u64::from(body.root.is_some());
        let known = reader::document_row(self.kv(), &body.document).map_err(unreadable)?;
        let known = known.ok_or(Fault::Row(char::from(keys::DOCUMENT)))?;
        let envelope = EnvelopeRow {
            position,
            received_at: changes.received_at,
            carrier: changes.carrier,
            place,
            envelope: run.envelope().bytes().to_vec(),
        };
        let rows = [
            (keys::run(&run.id()), position.to_be_bytes().to_vec()),
            (
                keys::number(&body.device, &body.incarnation, body.number),
                run.id().0.to_vec(),
            ),
            (
                keys::envelope(&body.document, position),
                envelope.to_bytes(),
            ),
            (
                keys::scope_record(&known.scope, position),
                rows::scope_record(&body.document, place),
            ),
        ];
        for (key, value) in rows {
            let found = self.kv().get(&key).map_err(unreadable)?;
            if found.as_deref() != Some(&value) {
                return Err(Fault::Row(char::from(key[0])));
            }
        }
        Ok(())
    }

    /// Every document, built anew from its runs.
    fn documents(&mut self, progress: &mut dyn FnMut(Progress)) {
        let (mut from, to) = keys::table(keys::DOCUMENT);
        let total = self.expected.documents;
        while let Some(row) = {
            let mut rows = self.kv().scan(&from, &to, Direction::Ascending);
            rows.next()
        } {
            let key = match row {
                Ok((key, _)) => key,
                Err(error) => {
                    self.note(Err(error.into()), keys::DOCUMENT);
                    return;
                }
            };
            let id = keys::tail(&key, 1).and_then(|id| DocumentId::try_from(id).ok());
            match id {
                None => self.note(Err(ReadError::row(keys::DOCUMENT).into()), keys::DOCUMENT),
                Some(id) => {
                    if let Err(fault) = self.document(&id) {
                        self.add(FindingPlace::Document(id), fault);
                    }
                }
            }
            self.report.documents += 1;
            if self.report.documents.is_multiple_of(1_000) || self.report.documents == total {
                progress(Progress {
                    stage: Stage::Documents,
                    done: self.report.documents,
                    total: total.max(self.report.documents),
                });
            }
            from = key;
            from.push(0);
        }
    }

    fn document(&mut self, id: &DocumentId) -> Result<(), Fault> {
        let whole = self.reader.whole(id).map_err(unreadable)?;
        let whole = whole.ok_or(Fault::Row(char::from(keys::DOCUMENT)))?;
        let mut expected = DocumentRow {
            heads: Vec::new(),
            entered_unit: 0,
            entered_all: None,
            last_position: 0,
            runs: 0,
            changes: 0,
            saved_bytes: 0,
            ..whole.row.clone()
        };
        let mut runs = Vec::new();
        for envelope in whole.envelopes {
            let record = self.reader.record(envelope.place).map_err(unreadable)?;
            let Record::Changes(changes) = record else {
                return Err(Fault::Row(char::from(keys::ENVELOPE)));
            };
            let body = changes.run.envelope.body();
            let position = envelope.position;
            if let Some(root) = &body.root {
                expected.kind = root.kind;
                expected.scope = root.scope.clone();
                expected.creator = body.device;
                expected.entered_unit = position;
            }
            if publishes(expected.kind, body) {
                expected.entered_all.get_or_insert(position);
            }
            expected.last_position = position;
            expected.runs += 1;
            expected.changes += u64::from(body.count);
            let run = check_run(changes.run).map_err(record_fault)?;
            runs.push((position, run));
        }
        let built = rebuild::build(None, runs, || Ok(false)).map_err(record_fault)?;
        if built.saved() != whole.saved {
            return Err(Fault::Content);
        }
        expected.heads = built.heads();
        expected.saved_bytes = built.saved().len() as u64;
        if expected != whole.row {
            return Err(Fault::Row(char::from(keys::DOCUMENT)));
        }
        built.try_out().map_err(record_fault)?;
        for audience in whole.row.audiences() {
            let entered = whole.row.entered(audience).unwrap_or_default();
            let key = keys::entry(&whole.row.scope, audience, entered);
            let found = self.kv().get(&key).map_err(unreadable)?;
            if found.as_deref() != Some(&id.0) {
                return Err(Fault::Row(char::from(keys::ENTRY)));
            }
        }
        let before = |position: Position| position <= self.report.upto.position;
        self.expected.published += u64::from(whole.row.entered_all.is_some_and(before));
        Ok(())
    }

    /// Since every record has its own rows, as many rows as records means that there are no
    /// others.
    fn counts(&mut self) -> Result<(), LedgerError> {
        let upto = self.report.upto.position;
        let kv = self.kv();
        let by_key = |key: &[u8], _: &[u8]| keys::last_number(key);
        let by_run = |_: &[u8], run: &[u8]| {
            let run = kv.get(&[&[keys::RUN], run].concat()).ok().flatten()?;
            rows::read_position(&run)
        };
        let by_begin =
            |_: &[u8], row: &[u8]| rows::decode::<DocumentRow>(row).map(|row| row.entered_unit);
        let Expected {
            runs,
            documents,
            published,
        } = self.expected;
        let counted = [
            (
                keys::RUN,
                runs,
                self.count(keys::RUN, upto, |_, at| rows::read_position(at))?,
            ),
            (keys::NUMBER, runs, self.count(keys::NUMBER, upto, by_run)?),
            (
                keys::ENVELOPE,
                runs,
                self.count(keys::ENVELOPE, upto, by_key)?,
            ),
            (
                keys::SCOPE_RECORD,
                runs,
                self.count(keys::SCOPE_RECORD, upto, by_key)?,
            ),
            (
                keys::ENTRY,
                documents + published,
                self.count(keys::ENTRY, upto, by_key)?,
            ),
            (
                keys::DOCUMENT,
                documents,
                self.count(keys::DOCUMENT, upto, by_begin)?,
            ),
            (
                keys::CONTENT,
                documents,
                self.count(keys::CONTENT, upto, |key, _| {
                    let row = kv.get(&[&[keys::DOCUMENT], keys::tail(key, 1)?].concat());
                    by_begin(key, &row.ok().flatten()?)
                })?,
            ),
        ];
        for (table, expected, found) in counted {
            if found != expected {
                let place = FindingPlace::Table(char::from(table));
                self.add(place, Fault::Count { found, expected });
            }
        }
        Ok(())
    }

    /// Rows of a table that belong to positions up to `upto`, or to none that can be told.
    fn count(
        &self,
        table: u8,
        upto: Position,
        position: impl Fn(&[u8], &[u8]) -> Option<Position>,
    ) -> Result<u64, LedgerError> {
        let (from, to) = keys::table(table);
        let mut count = 0;
        for row in self.kv().scan(&from, &to, Direction::Ascending) {
            let (key, value) = row?;
            count += u64::from(position(&key, &value).is_none_or(|position| position <= upto));
        }
        Ok(count)
    }
}

fn record_fault(error: impl std::error::Error + 'static) -> Fault {
    Fault::Record(with_causes(&error))
}

fn unreadable(error: impl std::error::Error + 'static) -> Fault {
    Fault::Unreadable {
        reason: with_causes(&error),
        scarce: is_for_want(&error),
    }
}
