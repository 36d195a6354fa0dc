//! What a copied or restored store had sealed and no server has, entered again.
//!
//! A copy of a store may be put back again, or used beside it, while edits wait in it that the other
//! entered again: whoever enters them must not count them twice. So each run is made again by itself,
//! and the one that stands for it follows from it: the life, hence the actor, from its name; the time
//! and what was seen from its envelope; the changes from the state that it was made on. All copies
//! make the same, byte for byte. One that is confirmed is passed over, and a server that gets one
//! twice knows it.

use std::collections::{BTreeMap, BTreeSet};

use automerge::Automerge;
use bukti_core::authority::{Action, Grant, decide};
use bukti_core::causes::is_for_want_of_space;
use bukti_core::envelope::{DocumentKind, Run};
use bukti_core::evidence::{self, reads_ready, restage};
use bukti_core::hash::{Hasher, domain};
use bukti_core::id::{Actor, ChangeHash, DocumentId, Incarnation, RunId, WallMs};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::validate::RefusalCode;
use bukti_sync_protocol::client::is_short;

use super::edit::{Moment, change_with, check_bytes, check_room};
use super::restage::{are_heads, at, beginning_of, connected, dependents};
use super::sync::Entering;
use super::tail::{Pending, Settled};
use super::view::{applied, extend};
use super::{Device, DeviceError};
use crate::limits::ENTERING_RETRY_MS;

/// The code of runs of a former store for which no server would take what stands for them.
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

/// A confirmed run, with its last change.
type Here = (RunId, ChangeHash);

/// A document while runs of it are made again.
struct Worlds {
    /// With the runs as they were sealed first.
    was: Automerge,
    /// All that is here, with what stands for them instead.
    is: Automerge,
    /// Both as they were at the last of the runs: the next one mostly follows on it.
    latest: Option<(Automerge, Automerge)>,
    /// The heads that stand for a change of theirs.
    became: BTreeMap<ChangeHash, Vec<ChangeHash>>,
}

impl Worlds {
    /// Both as they were at `heads`, the document as it is at what stands for them.
    fn at(&mut self, heads: &[ChangeHash]) -> Option<(Automerge, Automerge)> {
        let stands_for = |head: &ChangeHash| match self.became.get(head) {
            Some(heads) => heads.clone(),
            None => vec![*head],
        };
        let present: Vec<ChangeHash> = heads.iter().flat_map(stands_for).collect();
        if let Some((was, is)) = self.latest.take()
            && are_heads(&was, heads)
            && are_heads(&is, &present)
        {
            return Some((was, is));
        }
        at(&self.was, heads).zip(at(&self.is, &present))
    }
}

/// What stands for runs of a group.
pub(super) struct Entered {
    /// Those that are not here yet.
    pub(super) sealed: Vec<Run>,
    /// Each run with the one that stands for it; itself where nothing of it is left to do.
    pub(super) by: BTreeMap<RunId, RunId>,
}

/// The moment of what stands for a run. Its life holds nothing else, so that every number in it means
/// the same in every copy.
fn moment_of(run: &Pending) -> Moment {
    Moment {
        incarnation: stands_for(&run.id()),
        behind: 0,
        time: run.body().device_time,
        seen: run.body().seen,
    }
}

/// Each behind those that it builds on, as far as they are among them.
fn in_order<'a>(runs: &[&'a Pending]) -> Vec<&'a Pending> {
    let hashes = runs.iter().flat_map(|run| &run.hashes);
    let mut unplaced: BTreeSet<ChangeHash> = hashes.copied().collect();
    let mut waiting: Vec<&Pending> = runs.to_vec();
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let before = ordered.len();
        waiting.retain(|run| {
            let waits = run.deps.iter().any(|dep| unplaced.contains(dep));
            if !waits {
                run.hashes.iter().for_each(|hash| {
                    unplaced.remove(hash);
                });
                ordered.push(*run);
            }
            waits
        });
        assert!(ordered.len() > before, "hashes build no circle");
    }
    ordered
}

fn stands_for(run: &RunId) -> Incarnation {
    Incarnation(Hasher::new(domain::ENTERED_AGAIN).fixed(&run.0).finish_16())
}

impl<S: Storage, K: Kv> Device<S, K> {
    /// Enters what a copied or restored store had sealed and no server has, again under a new
    /// incarnation, once what the server has is here: it may have some of it. For when nothing is
    /// compared. What builds on something else waits for [`Device::give_up_stale`], and everything
    /// does where the disk has no room for it.
    pub(super) fn enter_stale_again(&mut self, now: WallMs) -> Result<(), DeviceError> {
        let meta = self.confirmed.meta();
        let follows = self.session.comparisons.followed.is_some();
        // A run that is answered as stale marks all that wait, what stands for others included.
        let is_answered = self.has_every_answer();
        // To a device that is not confirmed nothing is sent; one whose cursor is void compares in its
        // next session.
        let is_everything = !meta.unconfirmed && !meta.cursor_is_void && !self.session.is_narrowed;
        let is_due = match self.session.entering {
            Entering::Due => true,
            Entering::PutOff(at) => now.abs_diff(at) >= ENTERING_RETRY_MS,
            Entering::Done => false,
        };
        if !(follows && is_everything && is_answered && is_due) {
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
        // Runs of the present life go with those that they build on, and their numbers stay used.
        self.tail.renew(self.tail.successor(), false)?;
        for id in documents {
            // The server may have it, and nothing out of reach comes to tell.
            if self.is_out_of_reach(&id)? {
                continue;
            }
            let seeds = self.stale().map(Pending::id).collect();
            for runs in self.groups(id, seeds) {
                self.enter_together(now, id, &runs)?;
            }
        }
        Ok(())
    }

    /// Runs of a document that are seeds or build on one, with those that they build on, one group for
    /// all that hangs together. Those that do not may contradict each other: one was sealed before what
    /// a copy of the store had sealed under its number came here, the other behind that.
    fn groups(&self, id: DocumentId, seeds: BTreeSet<RunId>) -> Vec<Vec<Pending>> {
        let all: Vec<Pending> = self.tail.of(id).cloned().collect();
        let chosen = dependents(&all, seeds);
        let mut left: Vec<Pending> = all;
        left.retain(|pending| chosen.contains(&pending.id()));
        let mut groups = Vec::new();
        while let Some(run) = left.first().map(Pending::id) {
            let together = connected(&left, run);
            let (group, rest) = left
                .into_iter()
                .partition(|pending| together.contains(&pending.id()));
            groups.push(group);
            left = rest;
        }
        groups
    }

    /// Enters runs again that build on each other, all or none; where what they build on is not here,
    /// they wait.
    fn enter_together(
        &mut self,
        now: WallMs,
        id: DocumentId,
        runs: &[Pending],
    ) -> Result<(), DeviceError> {
        let runs: Vec<&Pending> = runs.iter().collect();
        let entered = match self.make_each(id, &runs) {
            // It would be refused in every session. What it builds on is kept beside it, to be entered
            // with it by hand.
            Err(error) if error.is_refusal() => {
                let why = (NOT_ENTERED_AGAIN, &*error.to_string());
                let runs: Vec<RunId> = runs.iter().map(|run| run.id()).collect();
                return self.refuse(now, &runs, why);
            }
            entered => entered?,
        };
        let Some(entered) = entered else {
            return Ok(());
        };
        self.open.remove(&id);
        let replaces = entered.by.keys().copied().collect();
        match entered.sealed.is_empty() {
            true => self.tail.settle(replaces, Settled::Dropped)?,
            false => self.tail.seal(&entered.sealed, replaces)?,
        }
        self.note_entered_again(entered.by)
    }

    /// Groups of a document of which another copy of this store entered something. What waits of them
    /// is shown as it will be entered: to show both would show an edit twice, and what is written on
    /// both would hold it twice.
    fn half_entered(&self, id: &DocumentId) -> Result<Vec<Vec<Pending>>, DeviceError> {
        let stale: Vec<&Pending> = self.tail.of(*id).filter(|run| run.reenter).collect();
        let here = self.standing_in(id, &stale)?;
        match here.is_empty() {
            true => Ok(Vec::new()),
            false => Ok(self.groups(*id, here.into_keys().collect())),
        }
    }

    /// A document with all that the tail holds of it.
    pub(super) fn with_tail(
        &self,
        id: &DocumentId,
        mut document: Automerge,
    ) -> Result<Automerge, DeviceError> {
        let mut runs: Vec<&Pending> = self.tail.of(*id).collect();
        let groups = self.half_entered(id)?;
        for group in &groups {
            let group: Vec<&Pending> = group.iter().collect();
            let entered = match self.make_each(*id, &group) {
                // They go to quarantine as they are.
                Err(error) if error.is_refusal() => continue,
                entered => entered?,
            };
            if let Some(Entered { sealed, by }) = entered {
                runs.retain(|run| !by.contains_key(&run.id()));
                let changes = sealed.iter().flat_map(|run| &run.changes);
                document = applied(&document, changes).unwrap_or(document);
            }
        }
        extend(&mut document, &runs);
        Ok(document)
    }

    /// Enters what of a document is shown as entered and is not yet, so that an edit can build on it.
    pub(super) fn enter_what_is_shown(
        &mut self,
        now: WallMs,
        id: &DocumentId,
    ) -> Result<(), DeviceError> {
        let groups = self.half_entered(id)?;
        if !groups.is_empty() {
            self.tail.renew(self.tail.successor(), false)?;
        }
        for group in groups {
            self.enter_together(now, *id, &group)?;
        }
        Ok(())
    }

    /// Makes runs again that build on each other, each by itself; `None` where what they build on is
    /// not here.
    ///
    /// # Errors
    /// A refusal where no server would take one of them.
    pub(super) fn make_each(
        &self,
        id: DocumentId,
        runs: &[&Pending],
    ) -> Result<Option<Entered>, DeviceError> {
        let Some(was) = self.base_of(&id, runs)? else {
            return Ok(None);
        };
        let here = self.standing_in(&id, runs)?;
        let mut worlds = Worlds {
            was,
            is: self.without(&id, runs)?,
            latest: None,
            became: BTreeMap::new(),
        };
        let mut entered = Entered {
            sealed: Vec::new(),
            by: BTreeMap::new(),
        };
        for run in in_order(runs) {
            let here = here.get(&run.id()).copied();
            let (by, sealed) = self.make_alone(run, here, &mut worlds)?;
            entered.by.insert(run.id(), by);
            entered.sealed.extend(sealed);
        }
        if !entered.sealed.is_empty() {
            check_room(&worlds.is)?;
        }
        Ok(Some(entered))
    }

    /// Makes the edits of one run again, in a life that stands for it alone, if that is not here.
    fn make_alone(
        &self,
        run: &Pending,
        here: Option<Here>,
        worlds: &mut Worlds,
    ) -> Result<(RunId, Option<Run>), DeviceError> {
        let missing = || DeviceError::BaseMissing(run.document());
        let (before, base) = worlds.at(&run.deps).ok_or_else(missing)?;
        let after = applied(&before, run.run.changes.iter()).ok_or_else(missing)?;
        worlds.was = applied(&worlds.was, run.run.changes.iter()).ok_or_else(missing)?;
        let (made, by, sealed) = match here {
            Some((name, last)) => (at(&worlds.is, &[last]).ok_or_else(missing)?, name, None),
            None => {
                let (made, again) = self.seal_alone(run, base, (&before, &after))?;
                let name = again.as_ref().map_or(run.id(), Run::id);
                if let Some(again) = &again {
                    let extended = applied(&worlds.is, again.changes.iter());
                    worlds.is = extended.ok_or_else(missing)?;
                }
                (made, name, again)
            }
        };
        let end: Vec<ChangeHash> = made.get_heads().into_iter().map(Into::into).collect();
        let places = run.hashes.iter().map(|hash| (*hash, end.clone()));
        worlds.became.extend(places);
        worlds.latest = Some((after, made));
        Ok((by, sealed))
    }

    /// The run that stands for another, none where nothing of it is left to do, and the document that
    /// it was made on with it.
    fn seal_alone(
        &self,
        run: &Pending,
        mut base: Automerge,
        (before, after): (&Automerge, &Automerge),
    ) -> Result<(Automerge, Option<Run>), DeviceError> {
        let (id, moment) = (run.document(), moment_of(run));
        let actor = Actor::derive(&self.id(), &id, &moment.incarnation);
        let root = run.body().root.clone();
        let (mut changes, edits) = match &root {
            Some(_) => {
                let (begun, first) = evidence::create(actor, moment.time, &beginning_of(after));
                base = begun;
                (vec![first], restage(&base, after))
            }
            None => (Vec::new(), restage(before, after)),
        };
        changes.extend(change_with(&mut base, actor, moment.time, &edits, &id)?);
        if changes.is_empty() {
            return Ok((base, None));
        }
        let publish = run.body().publish || reads_ready(&base);
        let again = self.enclose(&moment, id, root, changes, publish)?;
        check_bytes(&again)?;
        Ok((base, Some(again)))
    }

    /// Which of some runs of a document are confirmed: as what stands for them, as they are, or as what
    /// they stand for, which the server may have had all the while.
    pub(super) fn standing_in(
        &self,
        id: &DocumentId,
        runs: &[&Pending],
    ) -> Result<BTreeMap<RunId, Here>, DeviceError> {
        if runs.is_empty() {
            return Ok(BTreeMap::new());
        }
        let lives = runs.iter().map(|run| (stands_for(&run.id()), run.id()));
        let lives: BTreeMap<Incarnation, RunId> = lives.collect();
        let made = runs.iter().map(|run| (run.body().incarnation, run.id()));
        let made: BTreeMap<Incarnation, RunId> = made.collect();
        let mut here = BTreeMap::new();
        for row in self.confirmed.envelopes(id)? {
            let (name, body) = (row.envelope.run(), row.envelope.body());
            if body.device != self.id() {
                continue;
            }
            let stands_in = lives.get(&body.incarnation).copied();
            let itself = || runs.iter().any(|run| run.id() == name).then_some(name);
            let stood_for = || made.get(&stands_for(&name)).copied();
            if let Some(run) = stands_in.or_else(itself).or_else(stood_for) {
                here.insert(run, (name, body.last_hash));
            }
        }
        Ok(here)
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

    /// Whether everything is here that the server holds for this device, as far as both can tell,
    /// where what waits was entered already: statements that the server lost may widen what it sends.
    fn has_all_there_is(&mut self) -> Result<bool, DeviceError> {
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
}
