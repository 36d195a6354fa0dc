//! Tries runs on a copy of their document: apply, save, load again, compare, edit.
//!
//! Some changes are well formed, are applied without complaint and leave a document that nobody
//! can save, load or edit any more. Nothing short of doing it tells them apart.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{Automerge, Change};

use super::document::{Costly, Index, empty_automerge, load_automerge, reads_ready};
use super::survey::Survey;
use super::{Asked, CheckedRun, Document, Refusal, RefusalCode};
use crate::change::Parsed;
use crate::envelope::DocumentKind;
use crate::id::ChangeHash;
use crate::limits;

/// The document with the runs in it, or why it cannot be.
///
/// `runs` stand in dependency order and their numbers follow; the first creates the document if
/// there is none.
pub(super) fn extend(
    asked: Asked,
    document: Option<&Document>,
    runs: &[&CheckedRun],
) -> Result<Document, Refusal> {
    // Automerge may stop anywhere; all it worked on are copies that are dropped then.
    catch_unwind(AssertUnwindSafe(|| {
        Attempt::new(asked, document, runs)?.carry_out()
    }))
    .unwrap_or_else(|_| Err(unreadable("Automerge fails over the change.")))
}

struct Attempt<'a> {
    asked: Asked,
    document: Option<&'a Document>,
    runs: &'a [&'a CheckedRun],
    kind: DocumentKind,
    published: bool,
    index: Index,
}

impl<'a> Attempt<'a> {
    fn new(
        asked: Asked,
        document: Option<&'a Document>,
        runs: &'a [&'a CheckedRun],
    ) -> Result<Self, Refusal> {
        let root = runs
            .first()
            .and_then(|run| run.envelope().body().root.as_ref());
        let kind = document.map(Document::kind).or(root.map(|root| root.kind));
        let Some(kind) = kind else {
            return Err(RefusalCode::NoRoot.into());
        };
        if asked == Asked::Everything {
            expect_few_marks(document, runs)?;
            if kind == DocumentKind::Evidence && !document.is_some_and(Document::published) {
                expect_few_declarations(document, runs)?;
            }
        }
        let mut index = document
            .map(|document| document.index().clone())
            .unwrap_or_default();
        runs.iter().for_each(|run| index.insert_run(run));
        if index.changes() > limits::DOCUMENT_CHANGES_MAX
            || index.operations() > limits::DOCUMENT_OPERATIONS_MAX
        {
            return Err(RefusalCode::DocumentFull.into());
        }
        Ok(Self {
            asked,
            document,
            runs,
            kind,
            published: document.is_some_and(Document::published)
                || runs.iter().any(|run| run.envelope().body().publish),
            index,
        })
    }

    fn carry_out(self) -> Result<Document, Refusal> {
        let prediction = self.predict();
        let mut applied = self.apply(prediction.one_line)?;
        expect_heads(&applied, &prediction.heads, "after the change")?;
        self.expect_no_early_ready(&applied)?;
        let plain = applied.save_nocompress();
        let asks_all = self.asked == Asked::Everything;
        if asks_all && plain.len() > limits::DOCUMENT_INFLATED_BYTES_MAX {
            return Err(RefusalCode::DocumentFull.into());
        }
        let saved = applied.save();
        if asks_all && saved.len() > limits::DOCUMENT_BYTES_MAX {
            return Err(RefusalCode::DocumentFull.into());
        }
        let loaded = load_automerge(&saved)
            .map_err(|error| unreadable(format!("The document does not load again: {error}.")))?;
        expect_heads(&loaded, &prediction.heads, "once loaded again")?;
        // Equal before compression is equal after it.
        if loaded.save_nocompress() != plain {
            return Err(otherwise());
        }
        let shape = (self.kind, self.published);
        if !asks_all {
            return Ok(Document::recorded(loaded, saved, shape, self.index));
        }
        let survey = Survey::of(&applied)?;
        if Survey::of(&loaded)?.digest() != survey.digest() {
            return Err(otherwise());
        }
        survey.try_edits(&mut applied)?;
        Ok(Document::proven(
            loaded,
            saved,
            shape,
            self.index,
            plain.len(),
            survey.objects(),
        ))
    }

    fn new_changes(&self) -> impl Iterator<Item = &'a Parsed> {
        self.runs.iter().flat_map(|run| run.changes())
    }

    fn predict(&self) -> Prediction {
        let mut heads: BTreeSet<ChangeHash> = self
            .document
            .map(Document::heads)
            .unwrap_or_default()
            .into_iter()
            .collect();
        let mut one_line = heads.len() <= 1;
        for change in self.new_changes() {
            for dep in &change.deps {
                heads.remove(dep);
            }
            heads.insert(change.hash);
            one_line &= heads.len() == 1;
        }
        Prediction { heads, one_line }
    }

    /// A copy of the document with the new changes, whose saved bytes follow from the set of its
    /// changes alone.
    ///
    /// Automerge saves changes in the order in which they arrived. Where history is one line
    /// there is only one order. Elsewhere all changes are applied to an empty document at once,
    /// sorted by hash, from which Automerge derives the same order everywhere.
    fn apply(&self, one_line: bool) -> Result<Automerge, Refusal> {
        let mut changes = Vec::new();
        for run in self.runs {
            for (bytes, parsed) in run.run().changes.iter().zip(run.changes()) {
                changes.push(read_change(bytes, parsed)?);
            }
        }
        let mut automerge = match self.document {
            Some(document) if one_line => document.automerge().clone(),
            Some(document) => {
                changes.extend(document.automerge().get_changes(&[]));
                changes.sort_unstable_by_key(Change::hash);
                empty_automerge()
            }
            None => {
                changes.sort_unstable_by_key(Change::hash);
                empty_automerge()
            }
        };
        automerge.apply_changes(changes).map_err(|error| {
            unreadable(format!("Automerge does not apply the change: {error}."))
        })?;
        Ok(automerge)
    }

    /// Each run shows the document as its device saw it; whoever takes part of the history must
    /// not see ready there either. A run that publishes counts from where it stands, so that the
    /// answer does not hang on what else is tried with it.
    fn expect_no_early_ready(&self, applied: &Automerge) -> Result<(), Refusal> {
        match self.kind {
            DocumentKind::Evidence => {}
            DocumentKind::Statement | DocumentKind::Reference | DocumentKind::Unclassified => {
                return Ok(());
            }
        }
        let mut published = self.document.is_some_and(Document::published)
            || self.asked == Asked::Recorded { published: true };
        for run in self.runs {
            let body = run.envelope().body();
            published |= body.publish;
            if !published && reads_ready(applied, &[body.last_hash.into()]) {
                return Err(RefusalCode::UnpublishedReady.into());
            }
        }
        if !published && reads_ready(applied, &applied.get_heads()) {
            return Err(RefusalCode::UnpublishedReady.into());
        }
        Ok(())
    }
}

struct Prediction {
    heads: BTreeSet<ChangeHash>,
    /// Every new change builds on all there was before it.
    one_line: bool,
}

/// Refuses marks beyond those that a document may have. Whoever adds none is not concerned, whatever
/// was accepted before.
fn expect_few_marks(document: Option<&Document>, runs: &[&CheckedRun]) -> Result<(), Refusal> {
    let max = limits::DOCUMENT_MARKS_MAX;
    let added = runs.iter().map(|run| run.marks()).sum::<u64>();
    if added == 0 {
        return Ok(());
    }
    if added > max || held(document).marks + added > max {
        return Err(Refusal::new(
            RefusalCode::TooManyOperations,
            format!(
                "The texts of a document are formatted in at most {} places.",
                max / 2
            ),
        ));
    }
    Ok(())
}

/// The same of how often a draft declared whether it is ready; of what was published nobody asks any more
/// what it was once.
fn expect_few_declarations(draft: Option<&Document>, runs: &[&CheckedRun]) -> Result<(), Refusal> {
    let max = limits::DRAFT_DECLARATIONS_MAX;
    let added = runs.iter().map(|run| run.declarations()).sum::<u64>();
    if added != 0 && held(draft).declarations + added > max {
        return Err(Refusal::new(
            RefusalCode::TooManyOperations,
            format!("A draft declares whether it is ready at most {max} times."),
        ));
    }
    Ok(())
}

fn held(document: Option<&Document>) -> Costly {
    document.map(Document::costly).unwrap_or_default()
}

/// Lets Automerge read a change, and holds it to what we read.
fn read_change(bytes: &[u8], parsed: &Parsed) -> Result<Change, Refusal> {
    let change = Change::try_from(bytes)
        .map_err(|error| unreadable(format!("Automerge does not read the change: {error}.")))?;
    let same = ChangeHash::from(change.hash()) == parsed.hash
        && change.actor_id().to_bytes() == parsed.actor.0
        && change.seq() == parsed.seq
        && change.start_op().get() == parsed.start_op
        && change.len() as u64 == parsed.operations
        && change
            .deps()
            .iter()
            .map(|dep| dep.0)
            .eq(parsed.deps.iter().map(|dep| dep.0));
    if !same {
        return Err(unreadable("Automerge reads the change otherwise."));
    }
    Ok(change)
}

fn expect_heads(
    automerge: &Automerge,
    expected: &BTreeSet<ChangeHash>,
    when: &str,
) -> Result<(), Refusal> {
    let heads = automerge.get_heads();
    if !heads
        .iter()
        .map(|head| head.0)
        .eq(expected.iter().map(|head| head.0))
    {
        return Err(unreadable(format!("The document has other heads {when}.")));
    }
    Ok(())
}

fn otherwise() -> Refusal {
    unreadable("The document reads otherwise once loaded again.")
}

pub(super) fn unreadable(sentence: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::Unreadable, sentence)
}
