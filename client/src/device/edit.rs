//! Entering evidence: checked against the person's grants, sealed, and on the disk on return.

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{Automerge, Change, ReadDoc};
use bukti_core::authority::{Action, decide};
use bukti_core::envelope::{Body, DocumentKind, Envelope, Root, Run, Seen};
use bukti_core::evidence::{self, Declared, Edit, NewEvidence, reads_ready};
use bukti_core::id::{Actor, DocumentId, Incarnation, RunId, WallMs};
use bukti_core::journal::Storage;
use bukti_core::kind::{FieldType, Kinds};
use bukti_core::kv::Kv;
use bukti_core::limits::{DOCUMENT_BYTES_MAX, DOCUMENT_CHANGES_TAKEN};
use bukti_core::scope::Scope;
use bukti_core::validate::check_run;

use super::tail::Pending;
use super::{Device, DeviceError};

/// What a run says of when it was sealed, and in which life of the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) incarnation: Incarnation,
    /// The number of the run before it in this life, 0 if it is the first.
    pub(super) behind: u64,
    pub(super) time: WallMs,
    pub(super) seen: Option<Seen>,
}

impl<S: Storage, K: Kv> Device<S, K> {
    /// Starts a piece of evidence in `scope`; it is on the disk when this returns.
    ///
    /// `random` is drawn by the caller, `now` is what its clock says. The fields that several
    /// people share are taken from the kind where the kind is known.
    ///
    /// # Errors
    /// A refusal ([`DeviceError::is_refusal`]), or a failing disk.
    pub fn create(
        &mut self,
        now: WallMs,
        random: [u8; 16],
        scope: &Scope,
        new: &NewEvidence,
    ) -> Result<(DocumentId, RunId), DeviceError> {
        let kind = DocumentKind::Evidence;
        self.allow(Action::Create, kind, scope)?;
        let root = Root {
            kind,
            scope: scope.clone(),
            random,
        };
        let id = DocumentId::derive(&self.id(), kind.as_str(), scope, &random);
        let (document, change) =
            evidence::create(self.actor(&id), now, &with_shared_fields(new.clone()));
        let run = self.seal(now, id, Some(root), vec![change], &document)?;
        self.keep_open(id, document);
        Ok((id, run))
    }

    /// Makes all edits as one run; it is on the disk when this returns. `None` if nothing changed.
    ///
    /// # Errors
    /// A refusal ([`DeviceError::is_refusal`]), or a failing disk. No edit is made then.
    pub fn edit(
        &mut self,
        now: WallMs,
        id: &DocumentId,
        edits: &[Edit],
    ) -> Result<Option<RunId>, DeviceError> {
        let (kind, scope) = self.origin(id)?.ok_or(DeviceError::UnknownDocument(*id))?;
        for edit in edits {
            self.allow(action_of(edit), kind, &scope)?;
        }
        self.enter_what_is_shown(now, id)?;
        let document = self
            .document(id)?
            .ok_or(DeviceError::UnknownDocument(*id))?;
        let mut edited = document.clone();
        if self.hides_own_changes(id, &edited) {
            self.tail.renew(self.tail.successor(), false)?;
        }
        let actor = self.actor(id);
        let Some(change) = change_with(&mut edited, actor, now, edits, id)? else {
            return Ok(None);
        };
        let run = self.seal(now, *id, None, vec![change], &edited)?;
        self.keep_open(*id, edited);
        Ok(Some(run))
    }

    /// Whether the tail holds changes of the present actor that the document lacks, because what
    /// they build on was lost with the confirmed store: an edit would repeat their sequence
    /// numbers.
    fn hides_own_changes(&self, id: &DocumentId, document: &Automerge) -> bool {
        self.tail.of(*id).any(|pending| {
            let body = pending.body();
            let last = body.last_hash.into();
            body.incarnation == self.tail.incarnation()
                && document.get_change_meta_by_hash(&last).is_none()
        })
    }

    fn allow(&self, action: Action, kind: DocumentKind, scope: &Scope) -> Result<(), DeviceError> {
        if self.local_checks {
            decide(&self.grants, action, kind, self.placements.lineage(scope))?;
        }
        Ok(())
    }

    /// Whether the person may enter refused runs again: by today's grants.
    pub(super) fn allow_again(&self, runs: &[&Pending]) -> Result<(), DeviceError> {
        for pending in runs {
            let document = pending.document();
            match &pending.body().root {
                Some(root) => self.allow(Action::Create, root.kind, &root.scope)?,
                None => {
                    if let Some((kind, scope)) = self.origin(&document)? {
                        self.allow(Action::Edit, kind, &scope)?;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn actor(&self, id: &DocumentId) -> Actor {
        Actor::derive(&self.id(), id, &self.tail.incarnation())
    }

    /// The present moment of the store, where the clock says `now`.
    pub(super) fn moment(&self, now: WallMs) -> Moment {
        Moment {
            incarnation: self.tail.incarnation(),
            behind: self.tail.last().map_or(0, |last| last.number),
            time: now,
            seen: self.confirmed.meta().seen,
        }
    }

    /// Seals changes that were just made under the present actor, and keeps them. `document` is the
    /// document with them.
    fn seal(
        &mut self,
        now: WallMs,
        id: DocumentId,
        root: Option<Root>,
        changes: Vec<Vec<u8>>,
        document: &Automerge,
    ) -> Result<RunId, DeviceError> {
        let publish = self.publishes(&id, document)?;
        let run = self.enclose(&self.moment(now), id, root, changes, publish)?;
        sendable(&run, document)?;
        let name = run.id();
        self.tail.seal(&[run], Vec::new())?;
        Ok(name)
    }

    /// A run of changes that were made under the actor of `moment`.
    pub(super) fn enclose(
        &self,
        moment: &Moment,
        id: DocumentId,
        root: Option<Root>,
        changes: Vec<Vec<u8>>,
        publish: bool,
    ) -> Result<Run, DeviceError> {
        let unreadable = |reason: String| DeviceError::Document {
            document: id,
            reason,
        };
        let count = u32::try_from(changes.len()).map_err(|error| unreadable(error.to_string()))?;
        let last = changes.last().cloned().unwrap_or_default();
        let last = Change::from_bytes(last).map_err(|error| unreadable(error.to_string()))?;
        let body = Body {
            document: id,
            root,
            incarnation: moment.incarnation,
            number: moment.behind + 1,
            first_seq: last.seq() + 1 - u64::from(count),
            count,
            last_hash: last.hash().into(),
            publish,
            device_time: moment.time,
            seen: moment.seen,
            device: self.id(),
        };
        let envelope = Envelope::seal(body, self.identity.key());
        Ok(Run { envelope, changes })
    }

    /// From the first *ready* on, every run says that the document is published.
    pub(super) fn publishes(
        &self,
        id: &DocumentId,
        document: &Automerge,
    ) -> Result<bool, DeviceError> {
        let confirmed = self.confirmed.document(id)?;
        Ok(confirmed.is_some_and(|row| row.published)
            || self.tail.of(*id).any(|pending| pending.body().publish)
            || reads_ready(document))
    }
}

/// Refuses what no server would take, before it is sealed. `document` is the document with it.
pub(super) fn sendable(run: &Run, document: &Automerge) -> Result<(), DeviceError> {
    check_bytes(run)?;
    check_room(document)
}

/// Refuses what makes a document larger than a server takes.
pub(super) fn check_room(document: &Automerge) -> Result<(), DeviceError> {
    let is_full = document.stats().num_changes > DOCUMENT_CHANGES_TAKEN
        || document.save().len() > DOCUMENT_BYTES_MAX;
    if is_full {
        let sentence = "the document is full; continue in a new one";
        return Err(DeviceError::Unsendable(sentence.into()));
    }
    Ok(())
}

/// Refuses a run that no server takes, whatever its document is.
pub(super) fn check_bytes(run: &Run) -> Result<(), DeviceError> {
    let checked = Run::open(&run.to_bytes());
    let run = checked.map_err(|error| DeviceError::Unsendable(error.to_string()))?;
    check_run(run).map_err(|refusal| DeviceError::Unsendable(refusal.sentence))?;
    Ok(())
}

/// Edits a document, whatever other programs put into it.
pub(super) fn change_with(
    document: &mut Automerge,
    actor: Actor,
    now: WallMs,
    edits: &[Edit],
    id: &DocumentId,
) -> Result<Option<Vec<u8>>, DeviceError> {
    let edited = catch_unwind(AssertUnwindSafe(|| {
        evidence::edit(document, actor, now, edits)
    }));
    match edited {
        Ok(change) => Ok(change?),
        Err(_) => Err(DeviceError::Document {
            document: *id,
            reason: "Automerge panicked over an edit".into(),
        }),
    }
}

/// Names the fields that the root change makes for everybody.
pub(super) fn with_shared_fields(mut new: NewEvidence) -> NewEvidence {
    let kinds = Kinds::built_in();
    let Some(kind) = kinds.kind(&new.kind) else {
        return new;
    };
    for field in &kind.fields {
        let shared = match &field.value_type {
            FieldType::Text => &mut new.text_fields,
            FieldType::List => &mut new.list_fields,
            FieldType::Counts => &mut new.count_fields,
            FieldType::String
            | FieldType::Integer
            | FieldType::Decimal
            | FieldType::Date
            | FieldType::Boolean
            | FieldType::Choice(_) => continue,
        };
        if !shared.contains(&field.code) {
            shared.push(field.code.clone());
        }
    }
    new
}

fn action_of(edit: &Edit) -> Action {
    match edit {
        Edit::Declare(Declared::Ready) => Action::DeclareReady,
        Edit::Declare(Declared::Withdrawn) | Edit::Withdraw { .. } => Action::Withdraw,
        Edit::AddFile(_) | Edit::RemoveFile(_) => Action::Attach,
        Edit::Declare(Declared::Draft)
        | Edit::Title(_)
        | Edit::Field { .. }
        | Edit::ClearField(_)
        | Edit::Narrative(_)
        | Edit::AddRow(_)
        | Edit::RemoveRow(_)
        | Edit::Medium(_)
        | Edit::CapturedAt(_)
        | Edit::Place(_)
        | Edit::PersonalData(_)
        | Edit::Resolve { .. } => Action::Edit,
    }
}
