//! What the feed brought: documents, who wrote them, and where the device stands in the feed.
//!
//! All of it can be lost. Whatever one page of the feed brings is written in one batch with the
//! cursor behind it, so the rows never say more or less than the cursor does.
//!
//! | key | value |
//! |---|---|
//! | `m` | [`Meta`] |
//! | `p` | unfinished items of the feed |
//! | `c` | cursor |
//! | `t` | token |
//! | `d` document | [`DocumentRow`] |
//! | `s` document | Automerge save |
//! | `e` document, position, run | [`EnvelopeRow`] |
//! | `r` run | position at which it was confirmed |
//! | `a` run | position of its receipt |
//! | `u` run | why a server that lost it did not take it back |
//! | `g` scope, 0, audience | digest and number of documents |
//! | `f` topic, … | position and statement record |
//! | `o` statement | key of its row, while a server may have lost it |
//! | `x` number | [`Finding`] |

use std::collections::{BTreeMap, BTreeSet};

use bukti_core::authority::Audience;
use bukti_core::digest::Digest;
use bukti_core::envelope::{Envelope, decode_exactly};
use bukti_core::id::{
    ChangeHash, DeviceId, DocumentId, Incarnation, JournalId, Position, RunId, WallMs,
};
use bukti_core::kv::{Batch, Direction, Kv, KvError, Row};
use bukti_core::placement::Placements;
use bukti_core::scope::Scope;
use bukti_sync_protocol::fragment::PartialItem;
use minicbor::{Decode, Encode};

pub use self::rows::Finding;
use self::rows::{DigestRow, StoredPartial, audience_byte};
pub(super) use self::rows::{DocumentRow, EnvelopeRow, Meta, SurvivedDifference, Title};
use super::facts::place_of;
use crate::limits::FINDINGS_MAX;

mod owed;
mod rows;

const FORMAT: u32 = 1;

/// Why the confirmed store cannot be used: move it aside and open an empty one. What it held of the
/// device's journal comes again with the feed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmedError {
    /// The store failed.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A row cannot be read.
    #[error("the confirmed store is damaged: {0}")]
    Damaged(String),
    /// It holds evidence of a journal that is neither the device's nor a former one of its server.
    /// That may be the last copy: nothing of it was changed.
    #[error("the confirmed store holds evidence of another server or of another journal")]
    OtherJournal,
}

impl ConfirmedError {
    pub(super) fn damaged(what: &str) -> Self {
        Self::Damaged(format!("{what} cannot be read"))
    }
}

/// The rows of the confirmed store.
#[derive(Debug)]
pub(super) struct Confirmed<K: Kv> {
    kv: K,
    meta: Meta,
}

impl<K: Kv> Confirmed<K> {
    /// Opens the store for one journal. Rows of a former journal of the same server stay, without
    /// what only that journal gave a meaning; rows of any other journal are removed where no document
    /// is among them.
    ///
    /// # Errors
    /// [`ConfirmedError::Damaged`] where nobody can say what the rows are, and
    /// [`ConfirmedError::OtherJournal`]: no row is removed.
    pub(super) fn open(
        kv: K,
        journal: JournalId,
        former: &[JournalId],
    ) -> Result<Self, ConfirmedError> {
        let stored = kv.get(b"m")?;
        if let Some(stored) = stored {
            let meta = decode::<Meta>(&stored).filter(|meta| meta.format == FORMAT);
            let meta = meta.ok_or_else(|| ConfirmedError::damaged("its first row"))?;
            let (is_of, was_of) = (meta.journal == journal, former.contains(&meta.journal));
            let mut store = Self { kv, meta };
            if was_of && !is_of {
                store.forget_history(journal)?;
            }
            if is_of || was_of {
                return Ok(store);
            }
            if store.holds_documents()? {
                return Err(ConfirmedError::OtherJournal);
            }
            return Self::empty(store.kv, journal);
        }
        let first = kv.scan(&[], &[0xff], Direction::Ascending).next();
        if first.transpose()?.is_some() {
            return Err(ConfirmedError::damaged("its first row"));
        }
        Self::empty(kv, journal)
    }

    /// Whether a store that no device holds may have the last copy of something: its server lost
    /// records and was not found to have them again, or did not take them back.
    ///
    /// # Errors
    /// The store failed. One of which nobody can say what it is answers no; opening it says so.
    pub(super) fn awaits_return(kv: &K) -> Result<bool, ConfirmedError> {
        let stored = kv.get(b"m")?;
        let Some(meta) = stored.and_then(|stored| decode::<Meta>(&stored)) else {
            return Ok(false);
        };
        let mut unreturned = kv.scan(b"u", b"v", Direction::Ascending);
        Ok(meta.has_lost_history || unreturned.next().transpose()?.is_some())
    }

    fn empty(kv: K, journal: JournalId) -> Result<Self, ConfirmedError> {
        clear(&kv)?;
        let meta = Meta {
            format: FORMAT,
            journal,
            own_through: 0,
            seen: None,
            up_to_date_at: None,
            up_to_date_position: 0,
            differs: Vec::new(),
            next_finding: 0,
            revoked: false,
            cursor_is_void: false,
            cursor_is_lost: false,
            looks_for_left: false,
            owes_statements: false,
            has_lost_history: false,
            agreed: Vec::new(),
            compared: Vec::new(),
            own_incarnation: None,
            unconfirmed: false,
            survived: Vec::new(),
        };
        let store = Self { kv, meta };
        store.put_meta()?;
        Ok(store)
    }

    pub(super) fn meta(&self) -> &Meta {
        &self.meta
    }

    fn put_meta(&self) -> Result<(), ConfirmedError> {
        let mut batch = Batch::new();
        batch.put(*b"m", encode(&self.meta));
        Ok(self.kv.apply(&batch)?)
    }

    /// Changes the meta row alone.
    pub(super) fn update(&mut self, change: impl FnOnce(&mut Meta)) -> Result<(), ConfirmedError> {
        let before = self.meta.clone();
        change(&mut self.meta);
        if before == self.meta {
            return Ok(());
        }
        self.put_meta()
    }

    /// Where the device stands in the feed; nothing if every document is to come whole.
    pub(super) fn cursor(&self) -> Result<Option<Vec<u8>>, ConfirmedError> {
        Ok(self.kv.get(b"c")?)
    }

    /// Forgets where the device stands, so that the next session compares what is held or, where
    /// nothing is, brings every document whole.
    pub(super) fn void_cursor(&mut self) -> Result<(), ConfirmedError> {
        let mut change = self.change();
        change.batch.delete(*b"c");
        let meta = change.meta();
        (meta.cursor_is_void, meta.cursor_is_lost) = (false, false);
        change.commit()?;
        self.flush()
    }

    /// The highest position at which an own run was confirmed in this incarnation.
    pub(super) fn own_through(&self, incarnation: Incarnation) -> Position {
        let of = self.meta.own_incarnation;
        match of.is_none_or(|of| of == incarnation) {
            true => self.meta.own_through,
            false => 0,
        }
    }

    /// Forgets what a server said of a history that it lost; documents and statements stay. Their
    /// positions say nothing about `journal`, so statements keep their order and stand before all
    /// that it will bring. The cursor stays, void as it is, until the new history brings another: a
    /// session that is cut before the server has the statements is answered as this one was. All of
    /// them are owed from here on.
    pub(super) fn forget_history(&mut self, journal: JournalId) -> Result<(), ConfirmedError> {
        let receipts = self.rows(b'a')?;
        let mut statements = self.rows(b'f')?;
        statements.sort_by_key(|(_, value)| place_of(value));
        let has_cursor = self.cursor()?.is_some();
        let mut change = self.change();
        for (key, _) in receipts {
            change.batch.delete(key);
        }
        change.owe_nothing()?;
        let places = (i64::MIN / 2..).zip(statements);
        for (place, (key, value)) in places {
            let statement = value.get(8..).unwrap_or_default();
            change.owe(&key, statement);
            let value = [place.to_be_bytes().as_slice(), statement].concat();
            change.batch.put(key, value);
        }
        let meta = change.meta();
        meta.journal = journal;
        meta.own_through = 0;
        meta.own_incarnation = None;
        meta.seen = None;
        meta.up_to_date_position = 0;
        meta.cursor_is_void = false;
        meta.cursor_is_lost = has_cursor;
        meta.owes_statements = false;
        meta.lost_history();
        meta.looks_for_left = true;
        change.commit()?;
        self.flush()
    }

    /// Notes runs that a server which lost them did not take back, and why.
    pub(super) fn set_unreturned(&self, runs: &[(RunId, &str)]) -> Result<(), ConfirmedError> {
        let mut batch = Batch::new();
        for (run, code) in runs {
            batch.put(run_key(b'u', run), code.as_bytes());
        }
        Ok(self.kv.apply(&batch)?)
    }

    /// Whether one of these runs is one that a server which lost it did not take back.
    pub(super) fn is_unreturned(&self, runs: &[RunId]) -> Result<bool, ConfirmedError> {
        for run in runs {
            if self.kv.get(&run_key(b'u', run))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many runs a server which lost them did not take back.
    pub(super) fn unreturned(&self) -> Result<usize, ConfirmedError> {
        Ok(self.rows(b'u')?.len())
    }

    /// The same by document.
    pub(super) fn unreturned_of(&self) -> Result<BTreeMap<DocumentId, usize>, ConfirmedError> {
        let rows = self.rows(b'u')?.into_iter();
        let runs: BTreeSet<RunId> = rows.filter_map(|(key, _)| run_in(&key)).collect();
        let mut documents = BTreeMap::new();
        if runs.is_empty() {
            return Ok(documents);
        }
        for (key, _) in self.rows(b'e')? {
            let document = key.get(1..17).and_then(|id| id.try_into().ok());
            if let Some(document) = document.map(DocumentId)
                && run_in(&key).is_some_and(|run| runs.contains(&run))
            {
                *documents.entry(document).or_default() += 1;
            }
        }
        Ok(documents)
    }

    /// Documents of a subscription and their heads, as they stand here.
    pub(super) fn held_of(
        &self,
        prefix: &Scope,
        audience: Audience,
        except: &[Scope],
        placements: &Placements,
    ) -> Result<Vec<(DocumentId, Vec<ChangeHash>)>, ConfirmedError> {
        let held = self.documents()?.into_iter().filter(|(_, row)| {
            let lineage = placements.lineage(&row.scope);
            lineage.is_below(prefix)
                && !except.iter().any(|except| lineage.is_below(except))
                && row.audiences().any(|of| of == audience)
        });
        Ok(held.map(|(id, row)| (id, row.heads)).collect())
    }

    /// Whether any document is held.
    pub(super) fn holds_documents(&self) -> Result<bool, ConfirmedError> {
        let mut rows = self.kv.scan(b"d", b"e", Direction::Ascending);
        Ok(rows.next().transpose()?.is_some())
    }

    /// Hands all that was stored to the operating system.
    pub(super) fn flush(&self) -> Result<(), ConfirmedError> {
        Ok(self.kv.flush()?)
    }

    pub(super) fn token(&self) -> Result<Option<Vec<u8>>, ConfirmedError> {
        Ok(self.kv.get(b"t")?)
    }

    pub(super) fn set_token(&self, token: &[u8]) -> Result<(), ConfirmedError> {
        let mut batch = Batch::new();
        batch.put(*b"t", token);
        Ok(self.kv.apply(&batch)?)
    }

    /// What came of large items before the last session was cut.
    pub(super) fn partials(&self) -> Result<Vec<PartialItem>, ConfirmedError> {
        let Some(bytes) = self.kv.get(b"p")? else {
            return Ok(Vec::new());
        };
        let stored: Vec<StoredPartial> =
            decode(&bytes).ok_or_else(|| ConfirmedError::damaged("an unfinished item"))?;
        Ok(stored
            .into_iter()
            .map(|stored| PartialItem {
                item: stored.item,
                total: stored.total,
                bytes: stored.bytes.into(),
            })
            .collect())
    }

    pub(super) fn set_partials(&self, partials: Vec<PartialItem>) -> Result<(), ConfirmedError> {
        let stored: Vec<StoredPartial> = partials
            .into_iter()
            .map(|partial| StoredPartial {
                item: partial.item,
                total: partial.total,
                bytes: partial.bytes.into(),
            })
            .collect();
        let mut batch = Batch::new();
        if stored.is_empty() {
            batch.delete(*b"p");
        } else {
            batch.put(*b"p", encode(&stored));
        }
        Ok(self.kv.apply(&batch)?)
    }

    pub(super) fn document(&self, id: &DocumentId) -> Result<Option<DocumentRow>, ConfirmedError> {
        let Some(bytes) = self.kv.get(&document_key(id))? else {
            return Ok(None);
        };
        let row = decode(&bytes).ok_or_else(|| ConfirmedError::damaged("a document's row"))?;
        Ok(Some(row))
    }

    pub(super) fn saved(&self, id: &DocumentId) -> Result<Option<Vec<u8>>, ConfirmedError> {
        Ok(self.kv.get(&saved_key(id))?)
    }

    pub(super) fn documents(&self) -> Result<Vec<(DocumentId, DocumentRow)>, ConfirmedError> {
        self.rows(b'd')?
            .into_iter()
            .map(|(key, value)| {
                let id = DocumentId::try_from(&key[1..]).ok();
                id.zip(decode(&value))
                    .ok_or_else(|| ConfirmedError::damaged("a document's row"))
            })
            .collect()
    }

    /// The runs of a document, by rising position.
    pub(super) fn envelopes(&self, id: &DocumentId) -> Result<Vec<EnvelopeRow>, ConfirmedError> {
        let prefix = [b"e", id.0.as_slice()].concat();
        self.scan(&prefix)?
            .into_iter()
            .map(|(key, value)| {
                read_envelope(&key, &value).ok_or_else(|| ConfirmedError::damaged("an envelope"))
            })
            .collect()
    }

    /// A confirmed run of a document.
    pub(super) fn envelope(
        &self,
        document: &DocumentId,
        run: &RunId,
    ) -> Result<Option<EnvelopeRow>, ConfirmedError> {
        let Some(position) = self.confirmed_at(run)? else {
            return Ok(None);
        };
        let key = envelope_key(document, position, run);
        let Some(value) = self.kv.get(&key)? else {
            return Ok(None);
        };
        let row = read_envelope(&key, &value);
        Ok(Some(
            row.ok_or_else(|| ConfirmedError::damaged("an envelope"))?,
        ))
    }

    /// Where a run was confirmed.
    pub(super) fn confirmed_at(&self, run: &RunId) -> Result<Option<Position>, ConfirmedError> {
        self.position(b'r', run)
    }

    /// Where a server said it took a run that is not confirmed yet.
    pub(super) fn receipt(&self, run: &RunId) -> Result<Option<Position>, ConfirmedError> {
        self.position(b'a', run)
    }

    fn position(&self, table: u8, run: &RunId) -> Result<Option<Position>, ConfirmedError> {
        let key = run_key(table, run);
        let Some(bytes) = self.kv.get(&key)? else {
            return Ok(None);
        };
        let bytes = bytes.as_slice().try_into();
        let bytes = bytes.map_err(|_| ConfirmedError::damaged("a run's position"))?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }

    /// Keeps what a server said it took, and forgets what it turned out not to have.
    pub(super) fn set_receipts(
        &self,
        receipts: &[(RunId, Option<Position>)],
    ) -> Result<(), ConfirmedError> {
        let mut batch = Batch::new();
        for (run, position) in receipts {
            match position {
                Some(position) => batch.put(run_key(b'a', run), position.to_be_bytes()),
                None => batch.delete(run_key(b'a', run)),
            };
        }
        Ok(self.kv.apply(&batch)?)
    }

    /// Sum and number of the documents that a subscription carries, as they stand here.
    pub(super) fn digest(
        &self,
        prefix: &Scope,
        audience: Audience,
        except: &[Scope],
        placements: &Placements,
    ) -> Result<(Digest, u64), ConfirmedError> {
        let (mut sum, mut documents) = (Digest::default(), 0);
        for (key, value) in self.rows(b'g')? {
            let (scope, of) =
                read_digest_key(&key).ok_or_else(|| ConfirmedError::damaged("a digest"))?;
            let lineage = placements.lineage(&scope);
            let within = of == audience
                && lineage.is_below(prefix)
                && !except.iter().any(|except| lineage.is_below(except));
            if within {
                let row: DigestRow =
                    decode(&value).ok_or_else(|| ConfirmedError::damaged("a digest"))?;
                sum += row.digest;
                documents += row.documents;
            }
        }
        Ok((sum, documents))
    }

    pub(super) fn findings(&self) -> Result<Vec<Finding>, ConfirmedError> {
        let rows = self.rows(b'x')?;
        let read =
            |(_, value): Row| decode(&value).ok_or_else(|| ConfirmedError::damaged("a finding"));
        rows.into_iter().map(read).collect()
    }

    /// The row of a statement.
    pub(super) fn fact(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ConfirmedError> {
        Ok(self.kv.get(key)?)
    }

    pub(super) fn rows(&self, table: u8) -> Result<Vec<Row>, ConfirmedError> {
        self.scan(&[table])
    }

    pub(super) fn scan(&self, prefix: &[u8]) -> Result<Vec<Row>, ConfirmedError> {
        let rows = self
            .kv
            .scan(prefix, &behind(prefix), Direction::Ascending)
            .collect::<Result<_, _>>()?;
        Ok(rows)
    }

    /// Starts what is to be written as one.
    pub(super) fn change(&mut self) -> Change<'_, K> {
        let meta = self.meta.clone();
        Change {
            store: self,
            batch: Batch::new(),
            digests: BTreeMap::new(),
            touched: BTreeSet::new(),
            meta,
        }
    }
}

/// A confirmed run as it is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) position: Position,
    pub(super) received_at: WallMs,
    /// Whether the server says that it was received earlier than it said at first.
    pub(super) is_earlier: bool,
}

/// Writes that become one batch: a page with its cursor, or a removal.
pub(super) struct Change<'a, K: Kv> {
    store: &'a mut Confirmed<K>,
    batch: Batch,
    digests: BTreeMap<Vec<u8>, DigestRow>,
    touched: BTreeSet<DocumentId>,
    meta: Meta,
}

impl<K: Kv> Change<'_, K> {
    pub(super) fn store(&self) -> &Confirmed<K> {
        self.store
    }

    pub(super) fn meta(&mut self) -> &mut Meta {
        &mut self.meta
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.batch.put(key, value);
    }

    pub(super) fn set_cursor(&mut self, cursor: &[u8]) {
        self.batch.put(*b"c", cursor);
        self.meta.cursor_is_lost = false;
    }

    /// Sets a document's row and content. At most once for a document in one change.
    pub(super) fn put_document(
        &mut self,
        id: &DocumentId,
        row: &DocumentRow,
        saved: Option<&[u8]>,
    ) -> Result<(), ConfirmedError> {
        self.forget_digest(id)?;
        for audience in row.audiences() {
            let entry = self.digest_row(&row.scope, audience)?;
            entry.digest += Digest::of(id, &row.heads);
            entry.documents += 1;
        }
        self.batch.put(document_key(id), encode(row));
        if let Some(saved) = saved {
            self.batch.put(saved_key(id), saved);
        }
        Ok(())
    }

    /// Adds a confirmed run. One that is known moves to this position: the server lost it and took it
    /// back. It stays received when it was first, from whom it came then, whatever is said later.
    pub(super) fn put_envelope(&mut self, row: EnvelopeRow) -> Result<Kept, ConfirmedError> {
        let document = row.envelope.body().document;
        let run = row.envelope.run();
        let (mut kept, mut is_earlier) = (row, false);
        if let Some(former) = self.store.envelope(&document, &run)? {
            self.batch
                .delete(envelope_key(&document, former.position, &run));
            is_earlier = kept.received_at < former.received_at;
            kept = EnvelopeRow {
                position: kept.position,
                ..former
            };
        }
        let value = [
            &kept.received_at.to_be_bytes()[..],
            &kept.carrier.0,
            kept.envelope.bytes(),
        ]
        .concat();
        self.batch
            .put(envelope_key(&document, kept.position, &run), value);
        self.batch
            .put(run_key(b'r', &run), kept.position.to_be_bytes());
        self.batch.delete(run_key(b'a', &run));
        self.batch.delete(run_key(b'u', &run));
        Ok(Kept {
            position: kept.position,
            received_at: kept.received_at,
            is_earlier,
        })
    }

    /// What the server says of a confirmed run that it does not send again.
    pub(super) fn move_envelope(
        &mut self,
        document: &DocumentId,
        run: &RunId,
        position: Position,
        received_at: WallMs,
    ) -> Result<Option<Kept>, ConfirmedError> {
        let row = self.store.envelope(document, run)?;
        let is_news = |row: &EnvelopeRow| row.position != position || received_at < row.received_at;
        let moved = row.filter(is_news).map(|row| EnvelopeRow {
            position,
            received_at,
            ..row
        });
        moved.map(|row| self.put_envelope(row)).transpose()
    }

    /// Removes a document with all that belongs to it.
    pub(super) fn remove_document(&mut self, id: &DocumentId) -> Result<(), ConfirmedError> {
        self.forget_digest(id)?;
        for row in self.store.envelopes(id)? {
            let run = row.envelope.run();
            self.batch.delete(envelope_key(id, row.position, &run));
            self.batch.delete(run_key(b'r', &run));
        }
        self.batch.delete(saved_key(id));
        self.batch.delete(document_key(id));
        Ok(())
    }

    pub(super) fn find(&mut self, finding: &Finding) {
        let number = self.meta.next_finding;
        self.meta.next_finding += 1;
        self.batch.put(finding_key(number), encode(finding));
        if let Some(dropped) = number.checked_sub(FINDINGS_MAX) {
            self.batch.delete(finding_key(dropped));
        }
    }

    /// Writes all of it, or none.
    pub(super) fn commit(mut self) -> Result<(), ConfirmedError> {
        for (key, row) in &self.digests {
            if row.documents == 0 {
                self.batch.delete(key.clone());
            } else {
                self.batch.put(key.clone(), encode(row));
            }
        }
        if self.meta != self.store.meta {
            self.batch.put(*b"m", encode(&self.meta));
        }
        self.store.kv.apply(&self.batch)?;
        self.store.meta = self.meta;
        Ok(())
    }

    /// Takes the stored row of a document out of the sums.
    fn forget_digest(&mut self, id: &DocumentId) -> Result<(), ConfirmedError> {
        assert!(
            self.touched.insert(*id),
            "a document is written once in a change"
        );
        let Some(former) = self.store.document(id)? else {
            return Ok(());
        };
        for audience in former.audiences() {
            let entry = self.digest_row(&former.scope, audience)?;
            entry.digest -= Digest::of(id, &former.heads);
            entry.documents = entry.documents.saturating_sub(1);
        }
        Ok(())
    }

    fn digest_row(
        &mut self,
        scope: &Scope,
        audience: Audience,
    ) -> Result<&mut DigestRow, ConfirmedError> {
        let key = digest_key(scope, audience);
        let stored = match self.digests.contains_key(&key) {
            true => None,
            false => self.store.kv.get(&key)?,
        };
        let stored = match stored {
            Some(bytes) => decode(&bytes).ok_or_else(|| ConfirmedError::damaged("a digest"))?,
            None => DigestRow::default(),
        };
        Ok(self.digests.entry(key).or_insert(stored))
    }
}

fn clear<K: Kv>(kv: &K) -> Result<(), KvError> {
    let mut batch = Batch::new();
    for row in kv.scan(&[], &[0xff], Direction::Ascending) {
        batch.delete(row?.0);
    }
    kv.apply(&batch)
}

fn document_key(id: &DocumentId) -> Vec<u8> {
    [b"d", id.0.as_slice()].concat()
}

fn saved_key(id: &DocumentId) -> Vec<u8> {
    [b"s", id.0.as_slice()].concat()
}

fn envelope_key(id: &DocumentId, position: Position, run: &RunId) -> Vec<u8> {
    [b"e", id.0.as_slice(), &position.to_be_bytes(), &run.0].concat()
}

fn run_key(table: u8, run: &RunId) -> Vec<u8> {
    [[table].as_slice(), &run.0].concat()
}

/// The run with which a key ends.
fn run_in(key: &[u8]) -> Option<RunId> {
    key.last_chunk().copied().map(RunId)
}

fn finding_key(number: u64) -> Vec<u8> {
    [b"x", number.to_be_bytes().as_slice()].concat()
}

fn digest_key(scope: &Scope, audience: Audience) -> Vec<u8> {
    let end = [0, audience_byte(audience)];
    [b"g", scope.as_str().as_bytes(), &end].concat()
}

fn read_digest_key(key: &[u8]) -> Option<(Scope, Audience)> {
    let (scope, audience) = key.get(1..)?.split_last_chunk::<2>()?;
    let audience = match audience {
        [0, 0] => Audience::Unit,
        [0, 1] => Audience::All,
        _other => return None,
    };
    let scope = std::str::from_utf8(scope).ok()?.parse().ok()?;
    Some((scope, audience))
}

fn read_envelope(key: &[u8], value: &[u8]) -> Option<EnvelopeRow> {
    let (position, _) = key
        .get(1 + DocumentId::LENGTH..)?
        .split_first_chunk::<8>()?;
    let (received_at, rest) = value.split_first_chunk::<8>()?;
    let (carrier, envelope) = rest.split_first_chunk::<{ DeviceId::LENGTH }>()?;
    Some(EnvelopeRow {
        position: u64::from_be_bytes(*position),
        received_at: i64::from_be_bytes(*received_at),
        carrier: DeviceId(*carrier),
        envelope: Envelope::open_stored(envelope).ok()?,
    })
}

/// The first key behind all that begin with `prefix`.
fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![u8::MAX; 64]
}

pub(super) fn encode<T: Encode<()>>(row: &T) -> Vec<u8> {
    minicbor::to_vec(row).expect("writing to a vector cannot fail")
}

pub(super) fn decode<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Option<T> {
    decode_exactly(bytes).ok()
}
