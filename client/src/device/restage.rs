//! Work that a server refused: to quarantine, and entered again by its person.
//!
//! Edits are entered again where they were made, on the state that they were made on, under an
//! actor of another incarnation: what others wrote meanwhile merges as it would have merged with the
//! first sealing.

use std::collections::BTreeSet;
use std::panic::catch_unwind;

use automerge::Automerge;
use bukti_core::causes::is_for_want_of_space;
use bukti_core::envelope::{Root, Run};
use bukti_core::evidence::{self, Edit, NewEvidence, restage};
use bukti_core::id::{Actor, ChangeHash, DocumentId, Incarnation, RunId, WallMs};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;

use super::edit::{Moment, change_with, check_bytes, sendable, with_shared_fields};
use super::quarantine::{Quarantined, RefusedEdits};
use super::tail::{Pending, Settled};
use super::view::{applied, extend};
use super::{Device, DeviceError};

/// Edits about to be sealed again.
struct Staged {
    document: DocumentId,
    moment: Moment,
    root: Option<Root>,
    /// The changes of each run that they become: as few as can be sent.
    runs: Vec<Vec<Vec<u8>>>,
    /// The document that they were made on, with them.
    made: Automerge,
}

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
        if !self.standing_in(&entry.document, &runs)?.is_empty() {
            return self.enter_rest_again(entry.document, &runs, *run);
        }
        self.tail.renew(incarnation, false)?;
        let staged = self.stage(self.moment(now), entry.document, &runs, random)?;
        let staged = staged.ok_or(DeviceError::BaseMissing(entry.document))?;
        let document = staged.document;
        let sealed = self.seal_staged(staged, &runs)?;
        let by = sealed.unwrap_or(*run);
        self.note_entered_again(chosen.into_iter().map(|run| (run, by)))?;
        Ok((document, sealed))
    }

    /// The same for runs of which a copy of this store entered or delivered some: they are not a second
    /// time.
    fn enter_rest_again(
        &mut self,
        id: DocumentId,
        runs: &[&Pending],
        asked: RunId,
    ) -> Result<(DocumentId, Option<RunId>), DeviceError> {
        let entered = self.make_each(id, runs)?;
        let entered = entered.ok_or(DeviceError::BaseMissing(id))?;
        let replaces = entered.by.keys().copied().collect();
        self.open.remove(&id);
        self.tail.seal(&entered.sealed, replaces)?;
        let by = entered.by.get(&asked).copied();
        self.note_entered_again(entered.by)?;
        Ok((id, by.filter(|by| *by != asked)))
    }

    /// Notes in the quarantine what was entered again, each run with the one that holds its edits.
    pub(super) fn note_entered_again(
        &mut self,
        replaced: impl IntoIterator<Item = (RunId, RunId)>,
    ) -> Result<(), DeviceError> {
        for (run, by) in replaced {
            self.quarantine.entered_again(&run, by);
        }
        self.write_notes()
    }

    /// Writes the notes for which the disk had no room so far. The tail is the only witness until they
    /// are written, and keeps what it knows.
    pub(super) fn write_notes(&mut self) -> Result<(), DeviceError> {
        let written = self.quarantine.write_notes().map_err(DeviceError::from);
        self.tail.keep_witness(!self.quarantine.is_written());
        match written {
            // A device opens on a full disk, too, and nothing is entered there.
            Err(error) if is_for_want_of_space(&error) => Ok(()),
            written => written,
        }
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

    /// Makes the edits of `runs` again as one, under the actor of `moment`; `None` if the state that
    /// they were made on is not here. A new document gets a new id from `random`.
    fn stage(
        &self,
        moment: Moment,
        id: DocumentId,
        runs: &[&Pending],
        random: [u8; 16],
    ) -> Result<Option<Staged>, DeviceError> {
        let base = self.base_of(&id, runs)?;
        let mut wanted = base.clone().unwrap_or_default();
        extend(&mut wanted, runs);
        let root = runs.iter().find_map(|pending| pending.body().root.clone());
        if let Some(root) = root {
            let root = Root { random, ..root };
            return self.stage_new(moment, root, &wanted).map(Some);
        }
        let Some(base) = base else {
            return Ok(None);
        };
        let edits = restage(&base, &wanted);
        let mut staged = Staged {
            document: id,
            moment,
            root: None,
            runs: Vec::new(),
            made: base,
        };
        self.divide(&mut staged, Vec::new(), &edits)?;
        Ok(Some(staged))
    }

    /// Makes edits in one run behind `changes`, or in more where one would be more than a server
    /// takes: what several runs did may be too much for one.
    fn divide(
        &self,
        staged: &mut Staged,
        mut changes: Vec<Vec<u8>>,
        edits: &[Edit],
    ) -> Result<(), DeviceError> {
        let (id, moment) = (staged.document, staged.moment);
        let actor = Actor::derive(&self.id(), &id, &moment.incarnation);
        let mut edited = staged.made.clone();
        let before = changes.clone();
        changes.extend(change_with(&mut edited, actor, moment.time, edits, &id)?);
        let root = staged.root.clone().filter(|_| staged.runs.is_empty());
        if edits.len() > 1 && !changes.is_empty() {
            let run = self.enclose(&moment, id, root, changes.clone(), false)?;
            if check_bytes(&run).is_err() {
                let (first, rest) = edits.split_at(edits.len() / 2);
                self.divide(staged, before, first)?;
                return self.divide(staged, Vec::new(), rest);
            }
        }
        if !changes.is_empty() {
            staged.runs.push(changes);
        }
        staged.made = edited;
        Ok(())
    }

    /// Begins a document that reads as `wanted`, under the actor of `moment`.
    fn stage_new(
        &self,
        moment: Moment,
        root: Root,
        wanted: &Automerge,
    ) -> Result<Staged, DeviceError> {
        let id = DocumentId::derive(&self.id(), root.kind.as_str(), &root.scope, &root.random);
        let actor = Actor::derive(&self.id(), &id, &moment.incarnation);
        let (document, first) = evidence::create(actor, moment.time, &beginning_of(wanted));
        let edits = restage(&document, wanted);
        let mut staged = Staged {
            document: id,
            moment,
            root: Some(root),
            runs: Vec::new(),
            made: document,
        };
        self.divide(&mut staged, vec![first], &edits)?;
        Ok(staged)
    }

    /// The document as it was when the first of `runs` was made.
    pub(super) fn base_of(
        &self,
        id: &DocumentId,
        runs: &[&Pending],
    ) -> Result<Option<Automerge>, DeviceError> {
        let own: BTreeSet<ChangeHash> = runs.iter().flat_map(|run| &run.hashes).copied().collect();
        let deps = runs.iter().flat_map(|run| &run.deps);
        let deps: Vec<ChangeHash> = deps.filter(|dep| !own.contains(dep)).copied().collect();
        if deps.is_empty() {
            return Ok(Some(Automerge::new()));
        }
        let document = self.without(id, runs)?;
        Ok(at(&document, &deps))
    }

    /// What is here of a document besides `runs`.
    pub(super) fn without(
        &self,
        id: &DocumentId,
        runs: &[&Pending],
    ) -> Result<Automerge, DeviceError> {
        let mut document = self.load_confirmed(id)?.unwrap_or_default();
        let left: BTreeSet<RunId> = runs.iter().map(|run| run.id()).collect();
        let others = self
            .tail
            .of(*id)
            .filter(|pending| !left.contains(&pending.id()));
        let others: Vec<&Pending> = others.collect();
        extend(&mut document, &others);
        Ok(document)
    }

    fn seal_staged(
        &mut self,
        staged: Staged,
        runs: &[&Pending],
    ) -> Result<Option<RunId>, DeviceError> {
        let replaces = runs.iter().map(|run| run.id()).collect();
        let id = staged.document;
        if staged.runs.is_empty() {
            self.tail.settle(replaces, Settled::Dropped)?;
            return Ok(None);
        }
        let mut document = self.without(&id, runs)?;
        let (mut moment, mut root, mut publish) = (staged.moment, staged.root, false);
        let mut sealed: Vec<Run> = Vec::with_capacity(staged.runs.len());
        for changes in staged.runs {
            let extended = applied(&document, changes.iter());
            debug_assert!(extended.is_some(), "it was just made on a part");
            document = extended.unwrap_or(document);
            publish |= self.publishes(&id, &document)?;
            let run = self.enclose(&moment, id, root.take(), changes, publish)?;
            sendable(&run, &document)?;
            sealed.push(run);
            moment.behind += 1;
        }
        let last = sealed.last().map(Run::id);
        self.tail.seal(&sealed, replaces)?;
        self.open.remove(&id);
        Ok(last)
    }
}

/// What a document that reads as `wanted` begins with.
pub(super) fn beginning_of(wanted: &Automerge) -> NewEvidence {
    let view = evidence::view(wanted);
    let framework = view.framework.unwrap_or(evidence::FrameworkVersion {
        id: String::new(),
        version: String::new(),
    });
    with_shared_fields(NewEvidence {
        kind: view.kind,
        framework_id: framework.id,
        framework_version: framework.version,
        cycle: view
            .cycle
            .and_then(|year| i32::try_from(year).ok())
            .unwrap_or_default(),
        title: view.title,
        ..NewEvidence::default()
    })
}

/// A document as it was at `heads`; `None` if it lacks one of them.
pub(super) fn at(document: &Automerge, heads: &[ChangeHash]) -> Option<Automerge> {
    if are_heads(document, heads) {
        return Some(document.clone());
    }
    let heads: Vec<automerge::ChangeHash> = heads.iter().map(|head| (*head).into()).collect();
    document.fork_at(&heads).ok()
}

/// Whether these are a document's heads, in any order.
pub(super) fn are_heads(document: &Automerge, heads: &[ChangeHash]) -> bool {
    let wanted: BTreeSet<ChangeHash> = heads.iter().copied().collect();
    let present: BTreeSet<ChangeHash> = document.get_heads().into_iter().map(Into::into).collect();
    wanted == present
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
pub(super) fn dependents(runs: &[Pending], seeds: BTreeSet<RunId>) -> BTreeSet<RunId> {
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
pub(super) fn connected(runs: &[Pending], run: RunId) -> BTreeSet<RunId> {
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
