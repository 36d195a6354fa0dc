//! What one record does to the rows: the fold from which everything derived follows.
//!
//! Accepting, catching up and rebuilding all go through [`Fold`], so that the rows depend on the
//! journal alone. What records do to rows is staged in memory and becomes one batch; a row that
//! many records touch is written once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

mod moves;

use super::ReadError;
use super::keys;
use super::rows::{
    self, AwaitedRow, DeviceRow, DigestRow, DocumentRow, EnvelopeRow, FactRow, HorizonRow,
    InvitationRow, MetaRow, QuotaRow, Topic,
};
use crate::authority::{Audience, Grant};
use crate::digest::Digest;
use crate::envelope::{Body, DocumentKind, Run};
use crate::id::{ChangeHash, DeviceId, DocumentId, Position, WallMs};
use crate::journal::Place;
use crate::kv::{Batch, Kv};
use crate::placement::Placements;
use crate::record::{Certificate, Changes, Fact, Finding, FrameworkFact, Record, Signed};
use crate::region::RegionSheet;
use crate::scope::Scope;

mod returned;

/// Why a record could not be folded.
#[derive(Debug, thiserror::Error)]
pub(super) enum FoldError {
    /// The rows could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The journal says something that acceptance never lets in.
    #[error("record {position} does not follow from what was before it: {reason}")]
    Diverged {
        position: Position,
        reason: &'static str,
    },
}

/// Rows as they will be once the staged batch is written.
#[derive(Debug)]
pub(super) struct Fold<'k, K> {
    kv: &'k K,
    documents: BTreeMap<DocumentId, Option<DocumentRow>>,
    devices: BTreeMap<DeviceId, Option<DeviceRow>>,
    invitations: BTreeMap<[u8; 32], InvitationRow>,
    quotas: BTreeMap<DeviceId, QuotaRow>,
    /// What was returned of devices that are not known.
    awaited: BTreeMap<DeviceId, AwaitedRow>,
    horizon: Option<HorizonRow>,
    /// For when matters without rows of their own were stated, by key.
    stated: BTreeMap<Vec<u8>, WallMs>,
    /// Last position of each scope touched: before, and staged.
    lasts: BTreeMap<Scope, (Option<Position>, Position)>,
    /// What is to be added to the digests of a scope and of what reaches it.
    sums: BTreeMap<(Scope, Audience), DigestRow>,
    /// Digests as the batch will leave them.
    digests: BTreeMap<(Scope, Audience), DigestRow>,
    /// Where units stood before the batch.
    placements: Arc<Placements>,
    /// Where they stand behind what was staged, if that moved any.
    moved: Option<Placements>,
    /// Which were moved by that.
    moved_units: BTreeSet<Scope>,
    checkpoint: Option<Position>,
    batch: Batch,
}

impl<'k, K: Kv> Fold<'k, K> {
    /// A fold over rows that nobody else writes to.
    pub(super) fn new(kv: &'k K) -> Result<Self, ReadError> {
        let placements = super::reader::placements(kv)?;
        Ok(Self::over(kv, Arc::new(placements)))
    }

    /// A fold over rows in which units stand as `placements` say.
    pub(super) fn over(kv: &'k K, placements: Arc<Placements>) -> Self {
        Self {
            kv,
            documents: BTreeMap::new(),
            devices: BTreeMap::new(),
            invitations: BTreeMap::new(),
            quotas: BTreeMap::new(),
            awaited: BTreeMap::new(),
            horizon: None,
            stated: BTreeMap::new(),
            lasts: BTreeMap::new(),
            sums: BTreeMap::new(),
            digests: BTreeMap::new(),
            placements,
            moved: None,
            moved_units: BTreeSet::new(),
            checkpoint: None,
            batch: Batch::new(),
        }
    }

    /// Stages what a record says, but for the content of its document.
    pub(super) fn record(
        &mut self,
        position: Position,
        place: Place,
        record: &Record,
    ) -> Result<(), FoldError> {
        match record {
            Record::Changes(changes) => self.changes(position, place, changes),
            Record::Server(signed) => self.statement(position, place, signed),
        }
    }

    /// Stages a document's content after the runs recorded so far.
    pub(super) fn settle(
        &mut self,
        document: &DocumentId,
        heads: Vec<ChangeHash>,
        saved: &[u8],
    ) -> Result<(), FoldError> {
        let Some(row) = self.document(document)? else {
            return Ok(());
        };
        let before = digest_of(document, &row.heads);
        row.heads = heads;
        row.saved_bytes = saved.len() as u64;
        let after = digest_of(document, &row.heads);
        let (scope, audiences) = (row.scope.clone(), row.audiences().collect::<Vec<_>>());
        for audience in audiences {
            let sum = self.sums.entry((scope.clone(), audience)).or_default();
            sum.digest += after;
            sum.digest -= before;
        }
        self.batch.put(keys::content(document), saved);
        Ok(())
    }

    /// Position of the last checkpoint among the staged records.
    pub(super) fn checkpoint(&self) -> Option<Position> {
        self.checkpoint
    }

    /// Bytes staged so far, roughly, to bound a batch by.
    pub(super) fn staged_bytes(&self) -> usize {
        self.batch.encoded_bytes()
    }

    /// The batch, with the position it leads to where that is known.
    pub(super) fn finish(mut self, meta: Option<&MetaRow>) -> Result<Batch, FoldError> {
        self.spread()?;
        for ((prefix, audience), row) in &self.digests {
            let key = keys::digest(prefix, *audience);
            // Nothing is left below a prefix that its units moved out of.
            match row.documents {
                0 => self.batch.delete(key),
                _ => self.batch.put(key, row.to_bytes()),
            };
        }
        for (id, row) in &self.documents {
            if let Some(row) = row {
                self.batch.put(keys::document(id), rows::encode(row));
            }
        }
        for (id, row) in &self.devices {
            if let Some(row) = row {
                self.batch.put(keys::device(id), rows::encode(row));
            }
        }
        for (hash, row) in &self.invitations {
            self.batch.put(keys::invitation(hash), rows::encode(row));
        }
        for (device, row) in &self.quotas {
            self.batch.put(keys::quota(device), rows::encode(row));
        }
        for (device, row) in &self.awaited {
            if *row == AwaitedRow::default() {
                self.batch.delete(keys::awaited(device));
            } else {
                self.batch.put(keys::awaited(device), rows::encode(row));
            }
        }
        if let Some(horizon) = &self.horizon {
            self.batch.put(keys::HORIZON, rows::encode(horizon));
        }
        for (key, at) in &self.stated {
            self.batch.put(key.clone(), at.to_be_bytes());
        }
        if let Some(meta) = meta {
            self.batch.put(keys::META, rows::encode(meta));
        }
        Ok(self.batch)
    }

    fn changes(
        &mut self,
        position: Position,
        place: Place,
        changes: &Changes,
    ) -> Result<(), FoldError> {
        let run = &changes.run;
        let body = run.envelope.body();
        let diverged = |reason| FoldError::Diverged { position, reason };
        let known = self.document(&body.document)?;
        match (&body.root, known) {
            (None, Some(_)) => {}
            (None, None) => return Err(diverged("the document has no beginning")),
            (Some(_), Some(_)) => return Err(diverged("the document has a beginning already")),
            (Some(root), None) => {
                let row = DocumentRow {
                    kind: root.kind,
                    scope: root.scope.clone(),
                    creator: body.device,
                    heads: Vec::new(),
                    entered_unit: position,
                    entered_all: None,
                    last_position: position,
                    runs: 0,
                    changes: 0,
                    saved_bytes: 0,
                };
                self.documents.insert(body.document, Some(row));
                self.enter(&root.scope, Audience::Unit, position, &body.document, &[]);
            }
        }
        let row = self
            .document(&body.document)?
            .ok_or_else(|| diverged("the document is gone"))?;
        row.last_position = position;
        row.runs += 1;
        row.changes += u64::from(body.count);
        let scope = row.scope.clone();
        if publishes(row.kind, body) && row.entered_all.is_none() {
            row.entered_all = Some(position);
            let heads = row.heads.clone();
            self.enter(&scope, Audience::All, position, &body.document, &heads);
        }
        self.touch(&scope, position)?;

        let envelope = EnvelopeRow {
            position,
            received_at: changes.received_at,
            carrier: changes.carrier,
            place,
            envelope: run.envelope.bytes().to_vec(),
        };
        let (spender, used) = used_by(changes);
        let before = self.used(&spender)?;
        self.quotas.insert(spender, used(before));
        self.batch
            .put(
                keys::envelope(&body.document, position),
                envelope.to_bytes(),
            )
            .put(keys::run(&run.id()), position.to_be_bytes())
            .put(
                keys::number(&body.device, &body.incarnation, body.number),
                run.id().0,
            )
            .put(
                keys::scope_record(&scope, position),
                rows::scope_record(&body.document, place),
            );
        Ok(())
    }

    fn enter(
        &mut self,
        scope: &Scope,
        audience: Audience,
        position: Position,
        document: &DocumentId,
        heads: &[ChangeHash],
    ) {
        self.batch
            .put(keys::entry(scope, audience, position), document.0);
        let sum = self.sums.entry((scope.clone(), audience)).or_default();
        sum.documents += 1;
        sum.digest += digest_of(document, heads);
    }

    fn touch(&mut self, scope: &Scope, position: Position) -> Result<(), ReadError> {
        if let Some((_, last)) = self.lasts.get_mut(scope) {
            *last = position;
            return Ok(());
        }
        let before = super::reader::last_of(self.kv, scope)?;
        self.lasts.insert(scope.clone(), (before, position));
        Ok(())
    }

    /// What a device used of its day.
    fn used(&self, device: &DeviceId) -> Result<QuotaRow, ReadError> {
        match self.quotas.get(device) {
            Some(row) => Ok(*row),
            None => super::reader::quota_row(self.kv, device),
        }
    }

    fn statement(
        &mut self,
        position: Position,
        place: Place,
        signed: &Signed,
    ) -> Result<(), FoldError> {
        let diverged = |reason| FoldError::Diverged { position, reason };
        let at = signed.at();
        match signed.fact() {
            Fact::Journal(_) if position == 1 => {}
            Fact::Journal(_) => return Err(diverged("only the first record names the journal")),
            Fact::Invitation(invitation) => {
                let row = InvitationRow {
                    person: invitation.person.clone(),
                    grants: invitation.grants.clone(),
                    expires_at: invitation.expires_at,
                    used_by: None,
                    position,
                    at,
                };
                self.invitations.insert(invitation.hash, row);
            }
            Fact::Enrolment(certificate) => self.enrolment(position, place, at, certificate)?,
            Fact::Grants(fact) => {
                let placements = self.placements_now();
                let row = self.device(&fact.device)?;
                let row = row.ok_or_else(|| diverged("the device is not enrolled"))?;
                let topic = about(fact.device, &[&row.grants, &fact.grants]);
                if let Some(vouched) = row.vouched.take() {
                    let lies_in = |grant: &Grant| {
                        vouched
                            .iter()
                            .any(|known| known.includes(grant, &placements))
                    };
                    let mut known = fact.grants.clone();
                    known.retain(|grant| !row.grants.contains(grant) || lies_in(grant));
                    row.vouched = (known.len() < fact.grants.len()).then_some(known);
                }
                row.grants.clone_from(&fact.grants);
                row.grants_at = row.grants_at.max(at);
                self.tell_grants(&fact.device, position);
                self.fact(position, place, topic);
            }
            Fact::Revocation(fact) => {
                let row = self.device(&fact.device)?;
                let row = row.ok_or_else(|| diverged("the device is not enrolled"))?;
                row.revoked_at.get_or_insert(at);
                self.revocation(position, place, fact.device);
            }
            Fact::Framework(fact) => self.framework(position, place, fact)?,
            Fact::Regions(sheet) => self.regions(position, place, at, sheet)?,
            Fact::Move(fact) => self.move_unit(position, place, at, fact)?,
            Fact::Checkpoint(_) => self.checkpoint = Some(position),
            Fact::Finding(finding) => {
                self.batch.put(keys::finding(position), place.to_bytes());
                self.batch.put(finding_key(finding), position.to_be_bytes());
            }
            Fact::Confirmation(fact) => {
                let row = self.device(&fact.device)?;
                let row = row.ok_or_else(|| diverged("the device is not enrolled"))?;
                (row.confirmed, row.vouched) = (true, None);
                let topic = about(fact.device, &[&row.grants]);
                self.fact(position, place, topic);
            }
            Fact::Returned(returned) => self.returned(position, place, at, returned)?,
            Fact::Restored(_) => self.horizon()?.restored = position,
        }
        Ok(())
    }

    fn framework(
        &mut self,
        position: Position,
        place: Place,
        fact: &FrameworkFact,
    ) -> Result<(), FoldError> {
        let named = framework_name(fact).ok_or(FoldError::Diverged {
            position,
            reason: "the framework has no name",
        });
        let (id, version) = named?;
        let key = keys::framework(&id, &version);
        self.batch.put(key, rows::located(position, place));
        self.fact(position, place, Topic::Framework);
        Ok(())
    }

    fn regions(
        &mut self,
        position: Position,
        place: Place,
        at: WallMs,
        sheet: &RegionSheet,
    ) -> Result<(), FoldError> {
        self.state(keys::stated_regions(&sheet.parent), at)?;
        let key = keys::regions(&sheet.parent);
        self.batch.put(key, rows::located(position, place));
        self.fact(position, place, Topic::Regions(sheet.parent.clone()));
        Ok(())
    }

    /// Notes for when a matter was stated. The latest time stays, so that a clock that was set
    /// back lets nothing from before come back as newer.
    fn state(&mut self, key: Vec<u8>, at: WallMs) -> Result<(), FoldError> {
        let before = self.stated_at(&key)?;
        self.stated
            .insert(key, before.map_or(at, |before| before.max(at)));
        Ok(())
    }

    fn stated_at(&self, key: &[u8]) -> Result<Option<WallMs>, ReadError> {
        match self.stated.get(key) {
            Some(at) => Ok(Some(*at)),
            None => super::reader::stated_at(self.kv, key),
        }
    }

    fn horizon(&mut self) -> Result<&mut HorizonRow, ReadError> {
        let before = match self.horizon {
            Some(horizon) => horizon,
            None => super::reader::horizon_row(self.kv)?,
        };
        Ok(self.horizon.insert(before))
    }

    fn enrolment(
        &mut self,
        position: Position,
        place: Place,
        at: WallMs,
        certificate: &Certificate,
    ) -> Result<(), FoldError> {
        let device = certificate.device;
        let awaited = self.take_awaited(&device)?;
        let before = self.device(&device)?.as_deref().cloned();
        let grants_at = [
            before.as_ref().map(|row| row.grants_at),
            awaited.grants.map(|grants| grants.at),
        ];
        let topic = match &before {
            Some(row) => about(device, &[&row.grants, &certificate.grants]),
            None => about(device, &[&certificate.grants]),
        };
        let row = DeviceRow {
            person: certificate.person.clone(),
            grants: certificate.grants.clone(),
            enrolled_at: before.as_ref().map_or(at, |row| row.enrolled_at.max(at)),
            revoked_at: before.map_or(awaited.revoked_at, |row| row.revoked_at),
            certificate: place.into(),
            enrolled: position,
            confirmed: true,
            grants_at: grants_at.into_iter().flatten().fold(at, WallMs::max),
            vouched: None,
        };
        self.devices.insert(device, Some(row));
        self.use_invitation(certificate)?;
        self.tell_grants(&device, position);
        self.fact(position, place, topic);
        Ok(())
    }

    fn use_invitation(&mut self, certificate: &Certificate) -> Result<(), ReadError> {
        let hash = certificate.invitation;
        let invitation = match self.invitations.remove(&hash) {
            Some(row) => Some(row),
            None => super::reader::invitation_row(self.kv, &hash)?,
        };
        if let Some(mut row) = invitation {
            row.used_by = Some(certificate.device);
            self.invitations.insert(hash, row);
        }
        Ok(())
    }

    fn revocation(&mut self, position: Position, place: Place, device: DeviceId) {
        self.batch
            .put(keys::revoked(&device), position.to_be_bytes());
        self.fact(position, place, Topic::Revocation(device));
    }

    /// Whatever a device may do from here on, it is told with the statement at this position.
    fn tell_grants(&mut self, device: &DeviceId, position: Position) {
        self.batch.put(keys::told(device), position.to_be_bytes());
    }

    fn fact(&mut self, position: Position, place: Place, topic: Topic) {
        let row = FactRow {
            topic,
            place: place.into(),
        };
        self.batch.put(keys::fact(position), rows::encode(&row));
    }

    fn document(&mut self, id: &DocumentId) -> Result<Option<&mut DocumentRow>, ReadError> {
        use std::collections::btree_map::Entry;
        let row = match self.documents.entry(*id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(super::reader::document_row(self.kv, id)?),
        };
        Ok(row.as_mut())
    }

    fn device(&mut self, id: &DeviceId) -> Result<Option<&mut DeviceRow>, ReadError> {
        use std::collections::btree_map::Entry;
        let row = match self.devices.entry(*id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(super::reader::device_row(self.kv, id)?),
        };
        Ok(row.as_mut())
    }
}

/// Whether everybody may see the document from this run on. A statement is published by being
/// made, whatever its envelope says.
pub(super) fn publishes(kind: DocumentKind, body: &Body) -> bool {
    body.publish || kind == DocumentKind::Statement
}

/// Bytes of a run that count against its author's day.
pub(super) fn run_bytes(run: &Run) -> u64 {
    let changes: usize = run.changes.iter().map(Vec::len).sum();
    (run.envelope.bytes().len() + changes) as u64
}

/// A document whose content was not built yet counts with no digest.
fn digest_of(document: &DocumentId, heads: &[ChangeHash]) -> Digest {
    if heads.is_empty() {
        return Digest::default();
    }
    Digest::of(document, heads)
}

/// Whom a device's grants concern: those who read where they reach, and where they reached.
fn about(device: DeviceId, grants: &[&[Grant]]) -> Topic {
    let scopes = grants.iter().copied().flatten();
    let mut scopes: Vec<Scope> = scopes.map(|grant| grant.scope.clone()).collect();
    scopes.sort_unstable();
    scopes.dedup();
    Topic::Device(device, scopes)
}

/// Whose day a run counts to, and how: its author's, or its carrier's if it was returned.
pub(super) fn used_by(changes: &Changes) -> (DeviceId, impl Fn(QuotaRow) -> QuotaRow) {
    let body = changes.run.envelope.body();
    let (at, bytes) = (changes.received_at, run_bytes(&changes.run));
    let (returned, creates) = (changes.returned, body.root.is_some());
    let spender = if returned {
        changes.carrier
    } else {
        body.device
    };
    let used = move |before: QuotaRow| {
        if returned {
            before.after_returned(at, bytes)
        } else {
            before.after(at, creates, bytes)
        }
    };
    (spender, used)
}

/// Where a finding is remembered: by its code, place, device and document.
pub(super) fn finding_key(finding: &Finding) -> Vec<u8> {
    keys::found(
        &finding.code,
        finding.place.as_deref(),
        finding.device.as_ref(),
        finding.document.as_ref(),
    )
}

/// Id and version in a framework file.
pub(super) fn framework_name(fact: &FrameworkFact) -> Option<(String, String)> {
    #[derive(serde::Deserialize)]
    struct Named {
        id: String,
        version: String,
    }
    let json = crate::json::without_mark(&fact.json);
    let named: Named = serde_json::from_slice(json).ok()?;
    Some((named.id, named.version))
}
