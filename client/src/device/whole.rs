//! A document that came whole: every change of it has to be signed for.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bukti_core::change::check_saved;
use bukti_core::envelope::{DocumentKind, Envelope};
use bukti_core::evidence::reads_ready;
use bukti_core::id::{Actor, ChangeHash, DocumentId};
use bukti_core::scope::Scope;
use bukti_core::validate::Document;
use bukti_sync_protocol::item;

use super::confirmed::EnvelopeRow;

/// A document with the envelopes that cover all of it.
pub(super) struct Whole {
    pub(super) document: Document,
    pub(super) kind: DocumentKind,
    pub(super) scope: Scope,
    pub(super) envelopes: Vec<EnvelopeRow>,
}

/// Opens what the server sent; the error is a sentence.
pub(super) fn open(
    id: &DocumentId,
    saved: &[u8],
    envelopes: &[item::Envelope],
) -> Result<Whole, String> {
    let mut rows = Vec::with_capacity(envelopes.len());
    for sent in envelopes {
        let envelope = Envelope::open(&sent.bytes);
        let envelope = envelope.map_err(|error| format!("An envelope does not hold: {error}."))?;
        if envelope.body().document != *id {
            return Err("An envelope belongs to another document.".into());
        }
        rows.push(EnvelopeRow {
            position: sent.position,
            received_at: sent.received_at,
            carrier: sent.carrier,
            envelope,
        });
    }
    let mut roots = rows
        .iter()
        .filter_map(|row| row.envelope.body().root.as_ref());
    let (Some(root), None) = (roots.next(), roots.next()) else {
        return Err("Not exactly one envelope creates the document.".into());
    };
    let (kind, scope) = (root.kind, root.scope.clone());
    let published = rows.iter().any(|row| row.envelope.body().publish);
    // Automerge inflates and reads whatever it is given.
    check_saved(saved).map_err(|fault| format!("The document cannot be loaded: {fault}."))?;
    let document = Document::load(saved, kind, published)
        .map_err(|error| format!("The document cannot be loaded: {error}."))?;
    covered(&document, &rows)?;
    if !published && reads_ready(document.automerge()) {
        return Err("The document is declared ready but not published.".into());
    }
    Ok(Whole {
        document,
        kind,
        scope,
        envelopes: rows,
    })
}

/// Whether the envelopes sign for every change of the document and for nothing else.
fn covered(document: &Document, rows: &[EnvelopeRow]) -> Result<(), String> {
    let mut spans: BTreeMap<(Actor, u64), (u64, ChangeHash)> = BTreeMap::new();
    let mut claimed = 0;
    for row in rows {
        let body = row.envelope.body();
        claimed += u64::from(body.count);
        let span = (body.last_seq(), body.last_hash);
        spans.insert((body.actor(), body.first_seq), span);
        if !document.has_change(&body.last_hash) {
            return Err("An envelope names a change that the document lacks.".into());
        }
    }
    let mut found = 0;
    for meta in document.automerge().get_changes_meta(&[]) {
        found += 1;
        let actor = Actor::try_from(meta.actor.to_bytes());
        let actor = actor.map_err(|_| "A change is written by nobody's actor.".to_owned())?;
        let span = spans.range((actor, 0)..=(actor, meta.seq)).next_back();
        let Some((_, (last_seq, last_hash))) = span.filter(|(_, (last, _))| meta.seq <= *last)
        else {
            return Err("Nobody signed for one of the document's changes.".into());
        };
        if meta.seq == *last_seq && ChangeHash::from(meta.hash) != *last_hash {
            return Err("A change is another than the one that was signed for.".into());
        }
    }
    if found != claimed {
        return Err("The envelopes count other changes than the document holds.".into());
    }
    Ok(())
}

/// What results for a document that is held already: what is held is never lost.
pub(super) fn joined(held: Option<Document>, next: Document) -> Result<Document, String> {
    let Some(held) = held else {
        return Ok(next);
    };
    if held.heads().iter().all(|head| next.has_change(head)) {
        return Ok(next);
    }
    let published = held.published() || next.published();
    if next.heads().iter().all(|head| held.has_change(head)) && published == held.published() {
        return Ok(held);
    }
    let saved = catch_unwind(AssertUnwindSafe(|| {
        let mut union = held.automerge().clone();
        union
            .merge(&mut next.automerge().clone())
            .map(|_| union.save())
    }));
    let saved = saved
        .map_err(|_| "The document cannot be joined with the one held.".to_owned())?
        .map_err(|error| format!("The document contradicts the one held: {error}."))?;
    Document::load(&saved, held.kind(), published).map_err(|error| error.to_string())
}
