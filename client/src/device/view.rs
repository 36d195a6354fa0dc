//! What a person sees: confirmed + tail, computed and kept for as long as the process lives.

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{Automerge, AutomergeError, Change};
use bukti_core::envelope::DocumentKind;
use bukti_core::id::DocumentId;
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::scope::Scope;

use super::tail::Pending;
use super::{Device, DeviceError};
use crate::limits::OPEN_DOCUMENTS_MAX;

impl<S: Storage, K: Kv> Device<S, K> {
    /// A document with everything this device knows of it; `None` if it knows nothing.
    pub(super) fn document(&mut self, id: &DocumentId) -> Result<Option<&Automerge>, DeviceError> {
        if !self.open.contains_key(id) {
            let Some(document) = self.build(id)? else {
                return Ok(None);
            };
            self.keep_open(*id, document);
        }
        Ok(self.open.get(id))
    }

    pub(super) fn keep_open(&mut self, id: DocumentId, document: Automerge) {
        if self.open.len() >= OPEN_DOCUMENTS_MAX {
            self.open.clear();
        }
        self.open.insert(id, document);
    }

    /// What was fixed when the document was created.
    pub(super) fn origin(
        &self,
        id: &DocumentId,
    ) -> Result<Option<(DocumentKind, Scope)>, DeviceError> {
        if let Some(row) = self.confirmed.document(id)? {
            return Ok(Some((row.kind, row.scope)));
        }
        let mut roots = self
            .tail
            .of(*id)
            .filter_map(|pending| pending.body().root.as_ref());
        Ok(roots.next().map(|root| (root.kind, root.scope.clone())))
    }

    fn build(&self, id: &DocumentId) -> Result<Option<Automerge>, DeviceError> {
        if self.origin(id)?.is_none() {
            return Ok(None);
        }
        let document = self.load_confirmed(id)?.unwrap_or_default();
        self.with_tail(id, document).map(Some)
    }

    /// The confirmed part of a document alone.
    pub(super) fn load_confirmed(&self, id: &DocumentId) -> Result<Option<Automerge>, DeviceError> {
        let Some(saved) = self.confirmed.saved(id)? else {
            return Ok(None);
        };
        let loaded = catch_unwind(|| Automerge::load(&saved));
        let failed = |reason: String| DeviceError::Document {
            document: *id,
            reason,
        };
        match loaded {
            Ok(Ok(document)) => Ok(Some(document)),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("Automerge panicked over it".into())),
        }
    }
}

/// Applies runs in order. One that contradicts the document, as after a fork of the store, is left
/// out: it waits to be entered again.
pub(super) fn extend(document: &mut Automerge, runs: &[&Pending]) {
    let all = runs.iter().flat_map(|pending| &pending.run.changes);
    if let Some(extended) = applied(document, all) {
        *document = extended;
        return;
    }
    for pending in runs {
        if let Some(extended) = applied(document, pending.run.changes.iter()) {
            *document = extended;
        }
    }
}

/// A document with changes on top; `None` if it contradicts them.
pub(super) fn applied<'a>(
    document: &Automerge,
    changes: impl Iterator<Item = &'a Vec<u8>>,
) -> Option<Automerge> {
    let mut extended = document.clone();
    let apply = || -> Result<(), AutomergeError> {
        let changes: Vec<Change> = changes
            .map(|bytes| Change::from_bytes(bytes.clone()))
            .collect::<Result<_, _>>()
            .map_err(|_| AutomergeError::Fail)?;
        extended.apply_changes(changes)
    };
    match catch_unwind(AssertUnwindSafe(apply)) {
        Ok(Ok(())) => Some(extended),
        Ok(Err(_)) | Err(_) => None,
    }
}
