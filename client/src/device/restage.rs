//! Work that cannot be pushed as it was sealed: to quarantine, or entered again.
//!
//! Edits are entered again where they were made, on the state that they were made on, under an
//! actor of a new incarnation: what others wrote meanwhile merges as it would have merged with the
//! first sealing.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::catch_unwind;

use automerge::Automerge;
use bukti_core::authority::{Action, Grant, decide};
use bukti_core::causes::is_for_want_of_space;
use bukti_core::envelope::{DocumentKind, Root, Run};
use bukti_core::evidence::{self, Edit, NewEvidence, restage};
use bukti_core::id::{ChangeHash, DocumentId, Incarnation, RunId, WallMs};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::validate::RefusalCode;
use bukti_sync_protocol::client::is_short;

use super::edit::{change_with, with_shared_fields};
use super::quarantine::{Quarantined, RefusedEdits};
use super::sync::Entering;
use super::tail::{Pending, Settled};
use super::view::extend;
use super::{Device, DeviceError};
use crate::limits::ENTERING_RETRY_MS;

/// Edits about to be sealed again.
struct Staged {
    document: DocumentId,
    root: Option<Root>,
    /// The changes of each run that they become: as few as can be sent.
    runs: Vec<Vec<Vec<u8>>>,
}

/// The code of runs of a former store that would not be taken as one run or more.
const NOT_ENTERED_AGAIN: &str = "not-entered-again";

/// Why runs of a former store are not entered again where nothing may be edited.
const NOT_TO_BE_ENTERED: &str =
    "The evidence is not this device's to read any more, and its grants let it edit nothing.";

/// Why they are not where something may.
const BUILDS_ON_NOTHING: (&str, &str) = (
    "base-missing",
    "The evidence that it builds on did not come to this device: it is where the grants do not \
     reach, or the server lost it.",
);

impl<S: Storage, K: Kv> Device<S, K> {
    /// Refused runs, the oldest first.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.quarantine.list()
    }

    /// One refused run.
    ///
    /// # Errors
    /// [`DeviceError::UnknownQuarantined`].
    pub fn quarantined_run(&self, run: &RunId) -> Result<Quarantined, DeviceError> {
        let shown = self.quarantine.show(run);
        shown.ok_or(DeviceError::UnknownQuarantined(*run))
    }

    /// All that a refused run says by itself, one line for each edit with every character of its
    /// texts. The lines of [`Quarantined`] may be cut.
    ///
    /// # Errors
    /// [`DeviceError::UnknownQuarantined`].
    pub fn quarantined_words(&self, run: &RunId) -> Result<Vec<String>, DeviceError> {
        let pending = self.quarantine.pending(run);
        let pending = pending.ok_or(DeviceError::UnknownQuarantined(*run))?;
        Ok(words_of(pending).lines)
    }

    /// A refused run as bytes that say what they are, for somebody else to look into.
    ///
    /// # Errors
    /// [`DeviceError::UnknownQuarantined`].
    pub fn export_quarantined(&self, run: &RunId) -> Result<Vec<u8>, DeviceError> {
        let bytes = self.quarantine.export(run);
        bytes.ok_or(DeviceError::UnknownQuarantined(*run))
    }

    /// Enters the edits of a refused run, and of the refused runs that it builds on or that build
    /// on it, again as new ones. A document that was refused as a whole gets a new id.
    ///
    /// `incarnation` and `random` are drawn by the caller. Answers the document and the run that
    /// holds the edits, the last if they are too many for one; no run if nothing of them is left to
    /// do.
    ///
    /// # Errors
    /// A refusal ([`DeviceError::is_refusal`]), or a failing disk. The quarantine stays as it was
    /// then, unless what failed came behind the sealing: this device knows, and opening it again notes
    /// it there.
    pub fn enter_again(
        &mut self,
        now: WallMs,
        incarnation: Incarnation,
        random: [u8; 16],
        run: &RunId,
    ) -> Result<(DocumentId, Option<RunId>), DeviceError> {
        let entry = self.quarantined_run(run)?;
        let waiting = self.quarantine.open_of(&entry.document);
        if !waiting.iter().any(|pending| pending.id() == *run) {
            return Err(DeviceError::UnknownQuarantined(*run));
        }
        let chosen = connected(&waiting, *run);
        let runs: Vec<&Pending> = waiting
            .iter()
            .filter(|pending| chosen.contains(&pending.id()))
            .collect();
        self.allow_again(&runs)?;
        self.tail.renew(incarnation, false)?;
        let staged = self.stage(now, entry.document, &runs, Some(random))?;
        let staged = staged.ok_or(DeviceError::BaseMissing(entry.document))?;
        let document = staged.document;
        let replaces = chosen.iter().copied().collect();
        let sealed = self.seal_staged(now, staged, replaces)?;
        let by = sealed.unwrap_or(*run);
        for run in chosen {
            self.quarantine.entered_again(&run, by)?;
        }
        Ok((document, sealed))
    }

    /// Notes in the quarantine what was entered again before the note could be written.
    pub(super) fn note_entered_again(
        &mut self,
        replaced: BTreeMap<RunId, RunId>,
    ) -> Result<(), DeviceError> {
        for (run, by) in replaced {
            match self
                .quarantine
                .entered_again(&run, by)
                .map_err(DeviceError::from)
            {
                // A device opens on a full disk, too, and nothing is entered there.
                Err(error) if is_for_want_of_space(&error) => {}
                noted => noted?,
            }
        }
        Ok(())
    }

    /// Enters what a copied or restored store had sealed and no server has, again under a new
    /// incarnation, once what the server has is here: it may have some of it. For when nothing is
    /// compared. What builds on something else waits for [`Device::give_up_stale`], and everything
    /// does where the disk has no room for it.
    pub(super) fn enter_stale_again(&mut self, now: WallMs) -> Result<(), DeviceError> {
        let meta = self.confirmed.meta();
        let follows = self.session.comparisons.followed.is_some();
        let is_everything = !meta.unconfirmed && !meta.cursor_is_void && !self.session.is_narrowed;
        let is_due = match self.session.entering {
            Entering::Due => true,
            Entering::PutOff(at) => now.abs_diff(at) >= ENTERING_RETRY_MS,
            Entering::Done => false,
        };
        if !(follows && is_everything && is_due) {
            return Ok(());
        }
        self.session.entering = match self.enter_stale(now) {
            Err(error) if is_for_want_of_space(&error) => Entering::PutOff(now),
            entered => entered.map(|()| Entering::Done)?,
        };
        Ok(())
    }

    fn enter_stale(&mut self, now: WallMs) -> Result<(), DeviceError> {
        let documents: BTreeSet<DocumentId> = self.stale().map(Pending::document).collect();
        if documents.is_empty() {
            return Ok(());
        }
        self.tail.renew(self.tail.successor(), false)?;
        for id in documents {
            let all: Vec<Pending> = self.tail.of(id).cloned().collect();
            let seeds = all.iter().filter(|pending| pending.reenter);
            let chosen = dependents(&all, seeds.map(Pending::id).collect());
            let mut left: Vec<Pending> = all;
            left.retain(|pending| chosen.contains(&pending.id()));
            // Runs that do not build on each other may contradict each other: one was sealed before
            // what a copy of the store had sealed under its number came here, the other behind that.
            // Each gets a life of its own, on the state that it was made on.
            let mut first = true;
            while let Some(run) = left.first().map(Pending::id) {
                let together = connected(&left, run);
                let (runs, rest): (Vec<_>, Vec<_>) = left
                    .into_iter()
                    .partition(|pending| together.contains(&pending.id()));
                left = rest;
                if !first {
                    self.tail.renew(self.tail.successor(), false)?;
                }
                first = false;
                let runs: Vec<&Pending> = runs.iter().collect();
                match self.enter_together(now, id, &runs) {
                    Err(error) if is_for_want_of_space(&error) => return Err(error),
                    // It would be refused in every session.
                    Err(error) if error.is_refusal() => {
                        let why = (NOT_ENTERED_AGAIN, &*error.to_string());
                        let runs: Vec<RunId> = runs.iter().map(|run| run.id()).collect();
                        self.refuse(now, &runs, why)?;
                    }
                    entered => entered?,
                }
            }
            self.open.remove(&id);
        }
        Ok(())
    }

    /// Enters runs again that build on each other; where what they build on is not here, they wait.
    fn enter_together(
        &mut self,
        now: WallMs,
        id: DocumentId,
        runs: &[&Pending],
    ) -> Result<(), DeviceError> {
        let Some(staged) = self.stage(now, id, runs, None)? else {
            return Ok(());
        };
        let replaces = runs.iter().map(|run| run.id()).collect();
        self.seal_staged(now, staged, replaces)?;
        Ok(())
    }

    fn stale(&self) -> impl Iterator<Item = &Pending> {
        let pending = self.tail.pending().iter();
        pending.filter(|pending| pending.reenter && pending.received.is_none())
    }

    /// Moves what could not be entered again to quarantine once nothing is to come any more that it
    /// may build on: it would wait for ever. Since the attempt to enter it, what is sealed belongs to
    /// another incarnation, so that no number is used again.
    pub(super) fn give_up_stale(&mut self, now: WallMs) -> Result<(), DeviceError> {
        let stale: Vec<RunId> = self.stale().map(Pending::id).collect();
        if stale.is_empty()
            || self.session.entering != Entering::Done
            || !self.has_all_there_is()?
        {
            return Ok(());
        }
        let why = match self.edits_nothing() {
            true => (RefusalCode::Forbidden.code(), NOT_TO_BE_ENTERED),
            false => BUILDS_ON_NOTHING,
        };
        self.refuse(now, &stale, why)
    }

    /// Whether everything is here that the server holds for this device, as far as both can tell.
    /// To one that is not confirmed nothing is sent; one whose cursor is void compares in its next
    /// session; statements that the server lost may widen what it sends.
    fn has_all_there_is(&mut self) -> Result<bool, DeviceError> {
        let meta = self.confirmed.meta();
        if meta.unconfirmed || meta.cursor_is_void || self.session.is_narrowed {
            return Ok(false);
        }
        let followed = self.session.comparisons.followed;
        if !followed.is_some_and(|position| self.is_synced(position)) {
            return Ok(false);
        }
        let owed = self.confirmed.owed()?;
        Ok(!owed.iter().any(|statement| is_short(statement)))
    }

    /// Whether no grant of the device lets it edit evidence anywhere.
    fn edits_nothing(&self) -> bool {
        let edits = |grant: &Grant| {
            let evidence = DocumentKind::Evidence;
            decide(&self.grants, Action::Edit, evidence, &grant.scope).is_ok()
        };
        !self.grants.iter().any(edits)
    }

    /// Moves runs and everything in the tail that builds on them to quarantine.
    pub(super) fn refuse(
        &mut self,
        now: WallMs,
        runs: &[RunId],
        why: (&str, &str),
    ) -> Result<(), DeviceError> {
        let all: Vec<Pending> = self.tail.pending().to_vec();
        let refused = dependents(&all, runs.iter().copied().collect());
        let mut documents = BTreeSet::new();
        for pending in all.iter().filter(|run| refused.contains(&run.id())) {
            let edits = self.readable(pending)?;
            self.quarantine.put(pending, why, now, edits)?;
            documents.insert(pending.document());
        }
        self.tail
            .settle(refused.into_iter().collect(), Settled::Quarantined)?;
        for id in documents {
            self.open.remove(&id);
            self.remove_if_left(&id)?;
        }
        Ok(())
    }

    fn readable(&mut self, pending: &Pending) -> Result<RefusedEdits, DeviceError> {
        let id = pending.document();
        if let Some(document) = self.document(&id)? {
            let edits = edits_in(document, pending);
            if !edits.lines.is_empty() {
                return Ok(edits);
            }
        }
        // The document leaves out what contradicts it, so its state before is looked for.
        let Some(mut document) = self.base_of(&id, &[pending])? else {
            return Ok(words_of(pending));
        };
        extend(&mut document, &[pending]);
        Ok(edits_in(&document, pending))
    }

    /// Makes the edits of `runs` again under the present incarnation; `None` if the state that
    /// they were made on is not here. With `random` a new document gets a new id.
    fn stage(
        &self,
        now: WallMs,
        id: DocumentId,
        runs: &[&Pending],
        random: Option<[u8; 16]>,
    ) -> Result<Option<Staged>, DeviceError> {
        let root = runs.iter().find_map(|pending| pending.body().root.clone());
        if let Some(root) = root {
            let root = Root {
                random: random.unwrap_or(root.random),
                ..root
            };
            return self.stage_new(now, root, runs).map(Some);
        }
        let Some(mut base) = self.base_of(&id, runs)? else {
            return Ok(None);
        };
        let mut wanted = base.clone();
        extend(&mut wanted, runs);
        let edits = restage(&base, &wanted);
        let mut staged = Staged {
            document: id,
            root: None,
            runs: Vec::new(),
        };
        self.divide(now, &mut base, &mut staged, Vec::new(), &edits)?;
        Ok(Some(staged))
    }

    /// Makes edits in one run behind `changes`, or in more where one would be more than a server
    /// takes: what several runs did may be too much for one.
    fn divide(
        &self,
        now: WallMs,
        document: &mut Automerge,
        staged: &mut Staged,
        mut changes: Vec<Vec<u8>>,
        edits: &[Edit],
    ) -> Result<(), DeviceError> {
        let id = staged.document;
        let mut edited = document.clone();
        let before = changes.clone();
        changes.extend(change_with(&mut edited, self.actor(&id), now, edits, &id)?);
        let root = staged.root.clone().filter(|_| staged.runs.is_empty());
        if edits.len() > 1 && self.is_too_much(now, id, root, &changes)? {
            let (first, rest) = edits.split_at(edits.len() / 2);
            self.divide(now, document, staged, before, first)?;
            return self.divide(now, document, staged, Vec::new(), rest);
        }
        if !changes.is_empty() {
            staged.runs.push(changes);
        }
        *document = edited;
        Ok(())
    }

    fn stage_new(&self, now: WallMs, root: Root, runs: &[&Pending]) -> Result<Staged, DeviceError> {
        let mut wanted = Automerge::new();
        extend(&mut wanted, runs);
        let view = evidence::view(&wanted);
        let framework = view.framework.unwrap_or(evidence::FrameworkVersion {
            id: String::new(),
            version: String::new(),
        });
        let new = with_shared_fields(NewEvidence {
            kind: view.kind,
            framework_id: framework.id,
            framework_version: framework.version,
            cycle: view
                .cycle
                .and_then(|year| i32::try_from(year).ok())
                .unwrap_or_default(),
            title: view.title,
            ..NewEvidence::default()
        });
        let id = DocumentId::derive(&self.id(), root.kind.as_str(), &root.scope, &root.random);
        let actor = self.actor(&id);
        let (mut document, first) = evidence::create(actor, now, &new);
        let edits = restage(&document, &wanted);
        let mut staged = Staged {
            document: id,
            root: Some(root),
            runs: Vec::new(),
        };
        self.divide(now, &mut document, &mut staged, vec![first], &edits)?;
        Ok(staged)
    }

    /// The document as it was when the first of `runs` was made.
    fn base_of(
        &self,
        id: &DocumentId,
        runs: &[&Pending],
    ) -> Result<Option<Automerge>, DeviceError> {
        let own: BTreeSet<ChangeHash> = runs.iter().flat_map(|run| &run.hashes).copied().collect();
        let deps = runs.iter().flat_map(|run| &run.deps);
        let deps: Vec<automerge::ChangeHash> = deps
            .filter(|dep| !own.contains(dep))
            .map(|dep| (*dep).into())
            .collect();
        let Some(mut document) = self.load_confirmed(id)? else {
            return Ok(None);
        };
        let chosen: BTreeSet<RunId> = runs.iter().map(|run| run.id()).collect();
        let others: Vec<&Pending> = self
            .tail
            .of(*id)
            .filter(|pending| !chosen.contains(&pending.id()))
            .collect();
        extend(&mut document, &others);
        Ok(document.fork_at(&deps).ok())
    }

    fn seal_staged(
        &mut self,
        now: WallMs,
        staged: Staged,
        replaces: Vec<RunId>,
    ) -> Result<Option<RunId>, DeviceError> {
        let id = staged.document;
        if staged.runs.is_empty() {
            self.tail.settle(replaces, Settled::Dropped)?;
            return Ok(None);
        }
        let mut document = self.load_confirmed(&id)?.unwrap_or_default();
        let others: Vec<&Pending> = self
            .tail
            .of(id)
            .filter(|pending| !replaces.contains(&pending.id()))
            .collect();
        extend(&mut document, &others);
        let mut root = staged.root;
        let mut sealed: Vec<Run> = Vec::with_capacity(staged.runs.len());
        for changes in staged.runs {
            for bytes in &changes {
                let change = automerge::Change::from_bytes(bytes.clone());
                let applied = change.map(|change| document.apply_changes([change]));
                debug_assert!(matches!(applied, Ok(Ok(()))), "it was just made on a part");
            }
            sealed.push(self.sign(now, id, root.take(), changes, &document, sealed.last())?);
        }
        let last = sealed.last().map(Run::id);
        self.tail.seal(&sealed, replaces)?;
        self.open.remove(&id);
        Ok(last)
    }
}

/// What a run did, in words, if the document has it.
fn edits_in(document: &Automerge, pending: &Pending) -> RefusedEdits {
    let entries = evidence::history(document).into_iter();
    let own = entries.filter(|entry| pending.hashes.contains(&entry.change));
    RefusedEdits {
        lines: own
            .flat_map(|entry| entry.edits)
            .map(|edit| edit.to_string())
            .collect(),
        title: evidence::view(document).title,
    }
}

/// What a run says by itself, where what it builds on is not here.
fn words_of(pending: &Pending) -> RefusedEdits {
    let read = catch_unwind(|| evidence::words(&pending.run.changes));
    let words = read.unwrap_or_default();
    RefusedEdits {
        title: words.title,
        lines: words.lines,
    }
}

/// `seeds` with every run that builds on one of them, over any number of steps.
fn dependents(runs: &[Pending], seeds: BTreeSet<RunId>) -> BTreeSet<RunId> {
    let mut chosen = seeds;
    let mut reached: BTreeSet<ChangeHash> = BTreeSet::new();
    loop {
        let before = (chosen.len(), reached.len());
        for run in runs {
            if chosen.contains(&run.id()) || run.deps.iter().any(|dep| reached.contains(dep)) {
                chosen.insert(run.id());
                reached.extend(&run.hashes);
            }
        }
        if before == (chosen.len(), reached.len()) {
            return chosen;
        }
    }
}

/// The runs that are joined to one by what builds on what.
fn connected(runs: &[Pending], run: RunId) -> BTreeSet<RunId> {
    let mut chosen = BTreeSet::from([run]);
    loop {
        let before = chosen.len();
        chosen = dependents(runs, chosen);
        let inside = runs.iter().filter(|run| chosen.contains(&run.id()));
        let deps: BTreeSet<ChangeHash> = inside.flat_map(|run| &run.deps).copied().collect();
        let below = runs
            .iter()
            .filter(|run| run.hashes.iter().any(|hash| deps.contains(hash)));
        let below: Vec<RunId> = below.map(Pending::id).collect();
        chosen.extend(below);
        if before == chosen.len() {
            return chosen;
        }
    }
}
