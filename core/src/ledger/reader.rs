//! What sessions, feeds and commands read: rows of the store and records of the journal.

use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::keys;
use super::rows::{
    self, AwaitedRow, DeviceRow, DigestRow, DocumentRow, EnvelopeRow, FactRow, HorizonRow,
    InvitationRow, MetaRow, QuotaRow,
};
use crate::authority::{self, Audience, Grant};
use crate::digest::Digest;
use crate::envelope::Seen;
use crate::id::{
    Chain, DeviceId, DocumentId, Incarnation, JournalId, Position, RunId, ServerId, WallMs,
};
use crate::journal::copy::{Copied, CopyError};
use crate::journal::{JournalReader, Place, Storage, Watermark};
use crate::kv::{Direction, Kv};
use crate::placement::{Lineage, Placements};
use crate::record::{Fact, Record, RecordError, Signed};
use crate::region::sheet_parent;
use crate::scope::Scope;

mod comparison;
mod error;

pub use self::error::ReadError;

/// The documents below a prefix that an audience sees, but for those below other prefixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// What it reaches.
    pub prefix: Scope,
    /// Who sees.
    pub audience: Audience,
    /// Prefixes inside that another subscription of the same device covers.
    pub except: Vec<Scope>,
}

impl Subscription {
    /// The subscriptions that carry everything `grants` let a device receive, without overlap.
    pub fn of(grants: &[Grant], placements: &Placements) -> Vec<Self> {
        let entries = authority::subscriptions(grants, placements);
        let inside = |prefix: &Scope| -> Vec<Scope> {
            entries
                .iter()
                .map(|(other, _)| other)
                .filter(|other| *other != prefix && placements.covers(prefix, other))
                .cloned()
                .collect()
        };
        entries
            .iter()
            .map(|(prefix, audience)| Self {
                prefix: prefix.clone(),
                audience: *audience,
                except: inside(prefix),
            })
            .collect()
    }

    /// Whether documents of a scope belong to it.
    pub fn covers(&self, at: impl Into<Lineage>) -> bool {
        let lineage = at.into();
        let excepted = self.except.iter().any(|except| lineage.is_below(except));
        lineage.is_below(&self.prefix) && !excepted
    }
}

/// Digest and number of the documents of a [`Subscription`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScopeDigest {
    /// Sum over the documents.
    pub digest: Digest,
    /// How many they are.
    pub documents: u64,
}

/// A document with all that travels with it, as of one position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// The position of which it is.
    pub as_of: Seen,
    /// What the catalogue says.
    pub row: DocumentRow,
    /// One Automerge save.
    pub saved: Vec<u8>,
    /// Its envelopes, in the order of the journal.
    pub envelopes: Vec<EnvelopeRow>,
}

/// What the ledger and its readers share.
#[derive(Debug)]
pub(super) struct Shared<K> {
    pub(super) kv: Arc<K>,
    pub(super) journal: JournalId,
    pub(super) server: ServerId,
    /// The first record as it stands in the journal.
    pub(super) founding: Vec<u8>,
    watermark: RwLock<Seen>,
    /// Changed only while the watermark is held for writing, together with the rows.
    placements: RwLock<Arc<Placements>>,
}

impl<K> Shared<K> {
    pub(super) fn new(
        kv: Arc<K>,
        journal: JournalId,
        server: ServerId,
        founding: Vec<u8>,
        watermark: Seen,
        placements: Placements,
    ) -> Self {
        Self {
            kv,
            journal,
            server,
            founding,
            watermark: RwLock::new(watermark),
            placements: RwLock::new(Arc::new(placements)),
        }
    }

    /// Keeps rows and watermark as they are until it is dropped.
    pub(super) fn hold(&self) -> RwLockReadGuard<'_, Seen> {
        // A writer that panicked ends the ledger; what readers see is at worst a batch ahead.
        self.watermark
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Where units stand. Asked while the watermark is held, it belongs to the rows.
    pub(super) fn placements(&self) -> Arc<Placements> {
        let placements = self.placements.read();
        Arc::clone(&placements.unwrap_or_else(PoisonError::into_inner))
    }

    /// Units stand elsewhere from here on; for who holds the watermark for writing.
    pub(super) fn move_units(&self, placements: Placements) {
        let held = self.placements.write();
        *held.unwrap_or_else(PoisonError::into_inner) = Arc::new(placements);
    }

    /// Keeps readers of several rows out until it is dropped.
    pub(super) fn advance(&self) -> RwLockWriteGuard<'_, Seen> {
        self.watermark
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads rows and records; cheap to clone, for any number of threads while the ledger accepts.
///
/// A row may be newer than a watermark that was read before it. Where several rows have to belong
/// together, one method reads them all and says as of which position.
#[derive(Debug)]
pub struct Reader<S: Storage, K> {
    pub(super) shared: Arc<Shared<K>>,
    pub(super) records: JournalReader<S>,
}

impl<S: Storage, K> Clone for Reader<S, K> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            records: self.records.clone(),
        }
    }
}

/// Errors are the store's or the journal's own: see [`ReadError`].
impl<S: Storage, K: Kv> Reader<S, K> {
    /// Bytes that are free on the journal's disk.
    ///
    /// # Errors
    /// The disk does not say.
    pub fn free_bytes(&self) -> io::Result<u64> {
        self.records.storage().free_bytes()
    }

    /// The last position that counts: on disk and in the rows.
    pub fn watermark(&self) -> Seen {
        *self.shared.hold()
    }

    /// Where units stand, as the rows of this moment have it. Whoever reads rows one by one asks
    /// again behind the last: if the version is another, a move came in between.
    pub fn placements(&self) -> Arc<Placements> {
        let _held = self.shared.hold();
        self.shared.placements()
    }

    /// Whether the list of regions, where one was imported, has the region of `scope`, or evidence
    /// stands there: a newer list may have taken a code away that was in use.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn knows(&self, scope: &Scope) -> Result<bool, ReadError> {
        let region = scope
            .self_and_ancestors()
            .find(|step| step.agency().is_none());
        let listed = region.and_then(|region| Some((sheet_parent(&region)?, region)));
        let Some((parent, region)) = listed else {
            return Ok(true);
        };
        if self.regions(&Scope::all())?.is_none() {
            return Ok(true);
        }
        if self.holds_evidence_of(&region)? {
            return Ok(true);
        }
        let Some((_, place)) = self.regions(&parent)? else {
            return Ok(false);
        };
        match self.statement(place)?.fact() {
            Fact::Regions(sheet) => Ok(sheet.rows.iter().any(|row| row.code == region)),
            _other => Err(ReadError::row(keys::REGIONS)),
        }
    }

    /// Whether any document, a draft included, stands in a unit or below it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn holds_evidence_of(&self, unit: &Scope) -> Result<bool, ReadError> {
        let digest = self.shared.kv.get(&keys::digest(unit, Audience::Unit))?;
        Ok(digest.is_some())
    }

    /// The journal.
    pub fn journal(&self) -> JournalId {
        self.shared.journal
    }

    /// The key that signs the journal.
    pub fn server(&self) -> ServerId {
        self.shared.server
    }

    /// The first record: the signed statement that names the journal and its key.
    pub fn founding_record(&self) -> &[u8] {
        &self.shared.founding
    }

    /// The chain after `position`, or nothing behind the watermark.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn chain_at(&self, position: Position) -> Result<Option<Chain>, ReadError> {
        let watermark = self.watermark();
        if position == watermark.position {
            return Ok(Some(watermark.chain));
        }
        if position > watermark.position {
            return Ok(None);
        }
        Ok(Some(self.records.chain_at(position)?))
    }

    /// A device, if it was ever enrolled.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn device(&self, id: &DeviceId) -> Result<Option<DeviceRow>, ReadError> {
        device_row(&*self.shared.kv, id)
    }

    /// Every device that was ever enrolled, by id.
    pub fn devices(&self) -> impl Iterator<Item = Result<(DeviceId, DeviceRow), ReadError>> {
        self.rows(keys::table(keys::DEVICE), keys::DEVICE, |key, value| {
            let id = DeviceId::try_from(keys::tail(key, 1)?).ok()?;
            Some((id, rows::decode(value)?))
        })
    }

    /// An invitation by the hash of its secret.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn invitation(&self, hash: &[u8; 32]) -> Result<Option<InvitationRow>, ReadError> {
        invitation_row(&*self.shared.kv, hash)
    }

    /// Every invitation, used or not, by hash.
    pub fn invitations(
        &self,
    ) -> impl Iterator<Item = Result<([u8; 32], InvitationRow), ReadError>> {
        let range = keys::table(keys::INVITATION);
        self.rows(range, keys::INVITATION, |key, value| {
            let hash = keys::tail(key, 1)?.try_into().ok()?;
            Some((hash, rows::decode(value)?))
        })
    }

    /// When a device was revoked whose certificate this journal lacks.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn revocation_awaiting(&self, device: &DeviceId) -> Result<Option<WallMs>, ReadError> {
        Ok(awaited_row(&*self.shared.kv, device)?.revoked_at)
    }

    /// Whether an invitation that was not used here may have been used in history that was lost.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn is_void(&self, invitation: &InvitationRow) -> Result<bool, ReadError> {
        let horizon = horizon_row(&*self.shared.kv)?;
        Ok(invitation.used_by.is_none() && horizon.voids(invitation))
    }

    /// The highest run held of a device's incarnation.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn highest(
        &self,
        device: &DeviceId,
        incarnation: &Incarnation,
    ) -> Result<Option<(u64, RunId)>, ReadError> {
        let (from, to) = keys::numbers(device, incarnation);
        let last = self
            .shared
            .kv
            .scan(&from, &to, Direction::Descending)
            .next();
        let Some((key, value)) = last.transpose()? else {
            return Ok(None);
        };
        let number = keys::last_number(&key);
        let run = RunId::try_from(value.as_slice()).ok();
        number
            .zip(run)
            .map(Some)
            .ok_or_else(|| ReadError::row(keys::NUMBER))
    }

    /// The run that stands under a number of a device's incarnation.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn run_at(
        &self,
        device: &DeviceId,
        incarnation: &Incarnation,
        number: u64,
    ) -> Result<Option<RunId>, ReadError> {
        let key = keys::number(device, incarnation, number);
        get(&*self.shared.kv, &key, |bytes| RunId::try_from(bytes).ok())
    }

    /// Where a run was recorded, if it was.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn position_of(&self, run: &RunId) -> Result<Option<Position>, ReadError> {
        get(&*self.shared.kv, &keys::run(run), rows::read_position)
    }

    /// What the catalogue says of a document.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn document(&self, id: &DocumentId) -> Result<Option<DocumentRow>, ReadError> {
        document_row(&*self.shared.kv, id)
    }

    /// The saved form of a document.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn saved(&self, id: &DocumentId) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.shared.kv.get(&keys::content(id))?)
    }

    /// A document with content and envelopes that belong together.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn whole(&self, id: &DocumentId) -> Result<Option<Whole>, ReadError> {
        let held = self.shared.hold();
        let Some(row) = self.document(id)? else {
            return Ok(None);
        };
        let saved = self.saved(id)?;
        Ok(Some(Whole {
            as_of: *held,
            row,
            saved: saved.ok_or_else(|| ReadError::row(keys::CONTENT))?,
            envelopes: self.envelopes(id)?,
        }))
    }

    /// The envelopes of a document in the order of the journal.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn envelopes(&self, id: &DocumentId) -> Result<Vec<EnvelopeRow>, ReadError> {
        self.rows(keys::envelopes(id), keys::ENVELOPE, |key, value| {
            EnvelopeRow::from_bytes(keys::last_number(key)?, value)
        })
        .collect()
    }

    /// The documents below `prefix`, by scope and there in order of their beginning.
    pub fn documents<'a>(
        &'a self,
        prefix: &Scope,
    ) -> impl Iterator<Item = Result<(DocumentId, DocumentRow), ReadError>> + use<'a, S, K> {
        self.scopes_below(prefix).flat_map(move |scope| {
            let ids: Vec<Result<DocumentId, ReadError>> = match scope {
                Ok(scope) => {
                    let range = keys::entries(&scope, Audience::Unit, Position::MAX - 1);
                    self.rows(range, keys::ENTRY, |_, id| DocumentId::try_from(id).ok())
                        .collect()
                }
                Err(error) => vec![Err(error)],
            };
            ids.into_iter().map(|id| {
                let id = id?;
                let row = self.document(&id)?;
                Ok((id, row.ok_or_else(|| ReadError::row(keys::DOCUMENT))?))
            })
        })
    }

    /// The scopes below `prefix`, itself included, that got records behind `after`. None is left
    /// out that had one when the call began, even while more are recorded.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn changed_scopes(&self, prefix: &Scope, after: Position) -> Result<Vec<Scope>, ReadError> {
        let range = keys::changed_after(prefix, after);
        let mut scopes: Vec<Scope> = self
            .rows(range, keys::CHANGED, |key, _| {
                keys::scope(keys::behind_scope(key, prefix)?.get(8..)?)
            })
            .collect::<Result<_, _>>()?;
        // A scope that moves on while the scan runs shows at its old and its new place.
        scopes.sort_unstable();
        scopes.dedup();
        Ok(scopes)
    }

    /// The records of one scope behind `after` up to `upto`, ascending.
    pub fn scope_records<'a>(
        &'a self,
        scope: &Scope,
        after: Position,
        upto: Position,
    ) -> impl Iterator<Item = Result<(Position, DocumentId, Place), ReadError>> + use<'a, S, K>
    {
        let range = keys::scope_records(scope, after, upto);
        self.rows(range, keys::SCOPE_RECORD, rows::read_scope_record)
    }

    /// The documents of one scope that entered an audience at or below a position, the last first.
    pub fn entries<'a>(
        &'a self,
        scope: &Scope,
        audience: Audience,
        at_or_below: Position,
    ) -> impl Iterator<Item = Result<(Position, DocumentId), ReadError>> + use<'a, S, K> {
        let range = keys::entries(scope, audience, at_or_below);
        let direction = Direction::Descending;
        scan(
            &*self.shared.kv,
            range,
            direction,
            keys::ENTRY,
            |key, id| Some((keys::last_number(key)?, DocumentId::try_from(id).ok()?)),
        )
    }

    /// The scopes below `prefix`, itself included, that hold documents.
    pub fn scopes_below<'a>(
        &'a self,
        prefix: &Scope,
    ) -> impl Iterator<Item = Result<Scope, ReadError>> + use<'a, S, K> {
        let range = keys::all_below(prefix);
        let prefix = prefix.clone();
        self.rows(range, keys::BELOW, move |key, _| {
            keys::scope(keys::behind_scope(key, &prefix)?)
        })
    }

    /// The statements for devices behind `after` up to `upto`, ascending.
    pub fn facts(
        &self,
        after: Position,
        upto: Position,
    ) -> impl Iterator<Item = Result<(Position, FactRow), ReadError>> {
        self.rows(keys::facts(after, upto), keys::FACT, |key, value| {
            Some((keys::last_number(key)?, rows::decode(value)?))
        })
    }

    /// The statements for devices at or below a position, the last first.
    pub fn facts_down(
        &self,
        at_or_below: Position,
    ) -> impl Iterator<Item = Result<(Position, FactRow), ReadError>> {
        let range = keys::facts(0, at_or_below);
        scan(
            &*self.shared.kv,
            range,
            Direction::Descending,
            keys::FACT,
            |key, value| Some((keys::last_number(key)?, rows::decode(value)?)),
        )
    }

    /// The last enrolment or grants of a device.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn grants_told(&self, device: &DeviceId) -> Result<Option<(Position, FactRow)>, ReadError> {
        self.fact_by(&keys::told(device))
    }

    /// The last revocation of a device, as it was signed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn revocation(&self, device: &DeviceId) -> Result<Option<Vec<u8>>, ReadError> {
        let Some((_, fact)) = self.fact_by(&keys::revoked(device))? else {
            return Ok(None);
        };
        self.statement_bytes(fact.place.place()).map(Some)
    }

    /// The statement for devices whose position a row has.
    fn fact_by(&self, key: &[u8]) -> Result<Option<(Position, FactRow)>, ReadError> {
        let Some(position) = get(&*self.shared.kv, key, rows::read_position)? else {
            return Ok(None);
        };
        self.facts(position.saturating_sub(1), position)
            .next()
            .transpose()
    }

    /// The statement that holds a version of a framework.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn framework(
        &self,
        id: &str,
        version: &str,
    ) -> Result<Option<(Position, Place)>, ReadError> {
        let key = keys::framework(id, version);
        get(&*self.shared.kv, &key, rows::read_located)
    }

    /// Every version of a framework, as the position and place of its statement.
    pub fn frameworks(&self) -> impl Iterator<Item = Result<(Position, Place), ReadError>> {
        let range = keys::table(keys::FRAMEWORK);
        self.rows(range, keys::FRAMEWORK, |_, value| rows::read_located(value))
    }

    /// The statement with the regions below one, in their newest version.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn regions(&self, parent: &Scope) -> Result<Option<(Position, Place)>, ReadError> {
        get(&*self.shared.kv, &keys::regions(parent), rows::read_located)
    }

    /// Every finding, as the position and place of its statement, ascending.
    pub fn findings(&self) -> impl Iterator<Item = Result<(Position, Place), ReadError>> {
        self.rows(keys::table(keys::FINDING), keys::FINDING, |key, value| {
            Some((keys::last_number(key)?, rows::read_place(value)?))
        })
    }

    /// Reads a record at the place a row names.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn record(&self, place: Place) -> Result<Record, ReadError> {
        Ok(Record::from_bytes(&self.record_bytes(place)?)?)
    }

    /// The bytes of a record, as statements travel.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn record_bytes(&self, place: Place) -> Result<Vec<u8>, ReadError> {
        Ok(self.records.read(place)?)
    }

    /// The statement at the place a row names, as it was signed first: of one that was returned,
    /// what came back.
    ///
    /// # Errors
    /// [`ReadError`], also if there is a run.
    pub fn statement(&self, place: Place) -> Result<Signed, ReadError> {
        match self.record(place)? {
            Record::Server(signed) => Ok(signed.into_original()?),
            Record::Changes(_) => Err(RecordError::Malformed("not a statement".into()).into()),
        }
    }

    /// The same as it travels.
    ///
    /// # Errors
    /// See [`Reader::statement`].
    pub fn statement_bytes(&self, place: Place) -> Result<Vec<u8>, ReadError> {
        Ok(self.statement(place)?.to_bytes())
    }

    /// Copies the journal up to the watermark into another folder, of which the caller knows that
    /// it held this history up to the record `vouched`, and verifies the copy; gives the watermark,
    /// too. So many bytes stay free on the disk of the copy.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn copy_journal<T: Storage>(
        &self,
        target: &T,
        vouched: Position,
        reserve_bytes: u64,
    ) -> Result<(Copied, Seen), CopyError> {
        let upto = self.watermark();
        let Seen { position, chain } = upto;
        let mark = Watermark { position, chain };
        let copied = self.records.copy_to(target, mark, vouched, reserve_bytes)?;
        Ok((copied, upto))
    }

    /// The digests of subscriptions, all as of the position given with them.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn digests(
        &self,
        subscriptions: &[Subscription],
    ) -> Result<(Seen, Vec<ScopeDigest>), ReadError> {
        let held = self.shared.hold();
        let sums = subscriptions
            .iter()
            .map(|subscription| self.digest(subscription))
            .collect::<Result<_, _>>()?;
        Ok((*held, sums))
    }

    fn digest(&self, subscription: &Subscription) -> Result<ScopeDigest, ReadError> {
        let Subscription {
            prefix,
            audience,
            except,
        } = subscription;
        let (kv, placements) = (&*self.shared.kv, self.shared.placements());
        let mut sum = digest_row(kv, prefix, *audience)?;
        for (at, inside) in except.iter().enumerate() {
            let twice = except.iter().enumerate().any(|(other_at, other)| {
                other_at != at
                    && placements.covers(other, inside)
                    && (other != inside || other_at < at)
            });
            if placements.covers(prefix, inside) && !twice {
                let row = digest_row(kv, inside, *audience)?;
                sum.digest -= row.digest;
                sum.documents = sum.documents.saturating_sub(row.documents);
            }
        }
        Ok(ScopeDigest {
            digest: sum.digest,
            documents: sum.documents,
        })
    }

    pub(super) fn rows<'a, T: 'a>(
        &'a self,
        range: keys::Range,
        table: u8,
        read: impl Fn(&[u8], &[u8]) -> Option<T> + 'a,
    ) -> impl Iterator<Item = Result<T, ReadError>> + 'a {
        scan(&*self.shared.kv, range, Direction::Ascending, table, read)
    }
}

pub(super) fn meta_row<K: Kv>(kv: &K) -> Result<Option<MetaRow>, ReadError> {
    get(kv, keys::META, rows::decode)
}

pub(super) fn document_row<K: Kv>(
    kv: &K,
    id: &DocumentId,
) -> Result<Option<DocumentRow>, ReadError> {
    get(kv, &keys::document(id), rows::decode)
}

pub(super) fn device_row<K: Kv>(kv: &K, id: &DeviceId) -> Result<Option<DeviceRow>, ReadError> {
    get(kv, &keys::device(id), rows::decode)
}

pub(super) fn invitation_row<K: Kv>(
    kv: &K,
    hash: &[u8; 32],
) -> Result<Option<InvitationRow>, ReadError> {
    get(kv, &keys::invitation(hash), rows::decode)
}

pub(super) fn placements<K: Kv>(kv: &K) -> Result<Placements, ReadError> {
    let range = keys::table(keys::PLACEMENT);
    let rows = scan(
        kv,
        range,
        Direction::Ascending,
        keys::PLACEMENT,
        |key, value| Some((keys::scope(keys::tail(key, 1)?)?, rows::decode(value)?)),
    );
    Ok(Placements::of(rows.collect::<Result<Vec<_>, _>>()?))
}

pub(super) fn quota_row<K: Kv>(kv: &K, device: &DeviceId) -> Result<QuotaRow, ReadError> {
    let row = get(kv, &keys::quota(device), rows::decode)?;
    Ok(row.unwrap_or_default())
}

/// What was returned of a device that is not known; nothing of one that is.
pub(super) fn awaited_row<K: Kv>(kv: &K, device: &DeviceId) -> Result<AwaitedRow, ReadError> {
    let row = get(kv, &keys::awaited(device), rows::decode)?;
    Ok(row.unwrap_or_default())
}

pub(super) fn horizon_row<K: Kv>(kv: &K) -> Result<HorizonRow, ReadError> {
    Ok(get(kv, keys::HORIZON, rows::decode)?.unwrap_or_default())
}

/// The latest time for which a matter was stated, by one of the keys for that.
pub(super) fn stated_at<K: Kv>(kv: &K, key: &[u8]) -> Result<Option<WallMs>, ReadError> {
    get(kv, key, |bytes| {
        Some(WallMs::from_be_bytes(bytes.try_into().ok()?))
    })
}

pub(super) fn last_of<K: Kv>(kv: &K, scope: &Scope) -> Result<Option<Position>, ReadError> {
    get(kv, &keys::last(scope), rows::read_position)
}

pub(super) fn digest_row<K: Kv>(
    kv: &K,
    prefix: &Scope,
    audience: Audience,
) -> Result<DigestRow, ReadError> {
    let row = get(kv, &keys::digest(prefix, audience), DigestRow::from_bytes)?;
    Ok(row.unwrap_or_default())
}

fn get<K: Kv, T>(
    kv: &K,
    key: &[u8],
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<Option<T>, ReadError> {
    let Some(bytes) = kv.get(key)? else {
        return Ok(None);
    };
    read(&bytes).map(Some).ok_or_else(|| ReadError::row(key[0]))
}

fn scan<'a, K: Kv, T>(
    kv: &'a K,
    (from, to): keys::Range,
    direction: Direction,
    table: u8,
    read: impl Fn(&[u8], &[u8]) -> Option<T> + 'a,
) -> impl Iterator<Item = Result<T, ReadError>> + 'a {
    kv.scan(&from, &to, direction).map(move |row| {
        let (key, value) = row?;
        read(&key, &value).ok_or_else(|| ReadError::row(table))
    })
}
