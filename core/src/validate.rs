//! Decides whether runs become part of their document.
//!
//! First each run by itself ([`check_run`]): every change is read without Automerge, belongs to
//! the actor that the envelope stands for, and follows the one before it. Then all waiting runs of
//! one document together ([`judge`]): dependency order, numbers and operation counters, and at
//! last a trial on a copy that has to survive saving, loading and editing. Authority and quotas
//! are not looked at here.
//!
//! ```text
//! Run ── check_run ──> CheckedRun ── judge ──> Valid | Known | Missing | Refused
//!                                       └────> the next Document, if any run was valid
//! ```
//!
//! Automerge panics on some inputs. That is caught here and becomes a refusal; programs that do
//! not want the message of each panic on standard error install a panic hook.

use std::collections::HashSet;

use crate::change::{Parsed, inflated_max};
use crate::envelope::{Envelope, Run};
use crate::id::{ChangeHash, RunId};
use crate::limits;
use plan::Plan;

pub use document::{Document, LoadDocumentError};
pub use refusal::{Refusal, RefusalCode, UnknownRefusalCode};

mod document;
mod plan;
mod proof;
mod refusal;
mod survey;

/// A run of which every byte has been looked at, without its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedRun {
    run: Run,
    changes: Vec<Parsed>,
    deps: Vec<ChangeHash>,
}

impl CheckedRun {
    /// The signed envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.run.envelope
    }

    /// The changes, in the order of their numbers. There is at least one.
    pub fn changes(&self) -> &[Parsed] {
        &self.changes
    }

    /// The run as it came.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Gives back the run as it came.
    pub fn into_run(self) -> Run {
        self.run
    }

    /// The name of the run.
    pub fn id(&self) -> RunId {
        self.run.id()
    }

    /// The changes outside of the run that it builds on, ascending.
    pub fn deps(&self) -> &[ChangeHash] {
        &self.deps
    }

    /// Whether the run begins its document.
    pub fn creates_document(&self) -> bool {
        self.envelope().body().root.is_some()
    }

    /// Bytes of its changes as received.
    pub fn received_bytes(&self) -> usize {
        self.changes
            .iter()
            .map(|change| change.received_bytes)
            .sum()
    }

    /// Operations of its changes.
    pub fn operations(&self) -> u64 {
        self.changes.iter().map(|change| change.operations).sum()
    }

    /// Operations of its changes that begin or end a mark.
    fn marks(&self) -> u64 {
        self.changes.iter().map(|change| change.marks).sum()
    }

    /// Operations of its changes that write whether it is ready.
    fn declarations(&self) -> u64 {
        self.changes.iter().map(|change| change.declarations).sum()
    }

    fn inflated_bytes(&self) -> usize {
        self.changes
            .iter()
            .map(|change| change.inflated_bytes)
            .sum()
    }
}

/// Looks at a run whose envelope was opened: bounds, form, actor, numbers and last hash.
///
/// # Errors
/// [`Refusal`] with the first thing that is not right. It does not depend on the document, so it
/// is final.
pub fn check_run(run: Run) -> Result<CheckedRun, Refusal> {
    check_counted(run, &mut 0)
}

/// The same, and adds to `inflated` how many bytes it inflated to, or may have where it is refused.
///
/// # Errors
/// As [`check_run`].
pub fn check_counted(run: Run, inflated: &mut usize) -> Result<CheckedRun, Refusal> {
    let body = run.envelope.body();
    if run.changes.len() != body.count as usize {
        return Err(Refusal::new(
            RefusalCode::Malformed,
            "The envelope counts other changes than the run holds.",
        ));
    }
    let received: usize = run.changes.iter().map(Vec::len).sum();
    if received > limits::RUN_BYTES_MAX {
        return Err(RefusalCode::TooLarge.into());
    }
    let mut changes: Vec<Parsed> = Vec::with_capacity(run.changes.len());
    for bytes in &run.changes {
        let opened = Parsed::open(bytes);
        *inflated += match &opened {
            Ok(change) => change.inflated_bytes,
            Err(_) => inflated_max(bytes.len()),
        };
        let change = opened?;
        check_place(&change, changes.last(), &run.envelope)?;
        changes.push(change);
    }
    if changes.last().map(|change| change.hash) != Some(body.last_hash) {
        return Err(Refusal::new(
            RefusalCode::Malformed,
            "The envelope names another last change than the run holds.",
        ));
    }
    let operations: u64 = changes.iter().map(|change| change.operations).sum();
    if operations > limits::RUN_OPERATIONS_MAX {
        return Err(RefusalCode::TooManyOperations.into());
    }
    let deps = outside_deps(&changes);
    Ok(CheckedRun { run, changes, deps })
}

/// Whether a change belongs where it stands in its run.
fn check_place(
    change: &Parsed,
    previous: Option<&Parsed>,
    envelope: &Envelope,
) -> Result<(), Refusal> {
    let body = envelope.body();
    if change.actor != body.actor() {
        return Err(RefusalCode::Actor.into());
    }
    let expected_seq = previous.map_or(body.first_seq, |previous| previous.seq + 1);
    if change.seq != expected_seq {
        return Err(Refusal::new(
            RefusalCode::Sequence,
            format!(
                "The change has number {} instead of {expected_seq}.",
                change.seq
            ),
        ));
    }
    match (previous, &body.root, change.deps.is_empty()) {
        (None, Some(_), true) | (None, None, false) => Ok(()),
        (_, None, true) => Err(RefusalCode::NoRoot.into()),
        (Some(_), Some(_), true) => Err(RefusalCode::SecondRoot.into()),
        (None, Some(_), false) => Err(Refusal::new(
            RefusalCode::Deps,
            "The first change of a document builds on another change.",
        )),
        (Some(previous), _, false) => {
            if change.deps.binary_search(&previous.hash).is_err() {
                return Err(Refusal::new(
                    RefusalCode::Deps,
                    "A change does not build on the one before it in the run.",
                ));
            }
            Ok(())
        }
    }
}

fn outside_deps(changes: &[Parsed]) -> Vec<ChangeHash> {
    let own: HashSet<ChangeHash> = changes.iter().map(|change| change.hash).collect();
    let mut deps: Vec<ChangeHash> = changes
        .iter()
        .flat_map(|change| &change.deps)
        .filter(|dep| !own.contains(dep))
        .copied()
        .collect();
    deps.sort_unstable();
    deps.dedup();
    deps
}

/// What becomes of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the new document.
    Valid,
    /// All its changes were part of the document before.
    Known,
    /// It builds on changes that are not known, ascending. Nothing is decided.
    Missing(Vec<ChangeHash>),
    /// It will never be part of the document.
    Refused(Refusal),
}

/// The outcome of one judgement.
#[derive(Debug)]
pub struct Judged {
    /// The document with all valid runs in it, if there was any.
    pub document: Option<Document>,
    /// Every run with its verdict, in the order in which they were given.
    pub verdicts: Vec<(CheckedRun, Verdict)>,
    /// Places in `verdicts` of the valid runs, in the order in which they are to be recorded.
    pub order: Vec<usize>,
}

/// What one turn of a judgement came to.
#[derive(Debug)]
pub struct Turn {
    /// The document with all valid runs in it, if there was any.
    pub document: Option<Document>,
    /// Every run in the order in which they were given, with its verdict unless nothing was decided.
    pub verdicts: Vec<(CheckedRun, Option<Verdict>)>,
    /// Places in `verdicts` of the valid runs, in the order in which they are to be recorded.
    pub order: Vec<usize>,
    /// What its trials cost.
    pub cost: u64,
}

impl Turn {
    fn whole(self) -> Judged {
        let verdicts = self.verdicts.into_iter().map(|(run, verdict)| {
            let verdict = verdict.expect("trials without a bound decide about every run");
            (run, verdict)
        });
        Judged {
            document: self.document,
            verdicts: verdicts.collect(),
            order: self.order,
        }
    }
}

/// Judges all waiting runs of one document together. `document` is what was accepted so far, or
/// `None` if nothing was; it stays as it is.
///
/// All that can be tried is tried at once. If that fails, halves are tried one after the other,
/// so that a run falls alone and at the cost of a few trials. What builds on a refused run is
/// missing something, not refused.
///
/// # Panics
/// If the runs belong to different documents.
pub fn judge(document: Option<&Document>, runs: Vec<CheckedRun>) -> Judged {
    judge_as(Asked::Everything, document, runs, u64::MAX).whole()
}

/// The same until trials have cost so much (see [`limits::TURN_COST_MAX`]): at least one run has a
/// verdict then, and those without one are to be judged again, before others of their document that
/// came behind them.
///
/// # Panics
/// If the runs belong to different documents.
pub fn judge_turn(document: Option<&Document>, runs: Vec<CheckedRun>, cost_max: u64) -> Turn {
    judge_as(Asked::Everything, document, runs, cost_max)
}

/// Judges runs that were recorded, in their order, wherever that is cut: between two runs that were
/// accepted together the document may show more than it may in the end, or something that nobody can
/// edit. So bounds and edits are not asked for again, and whoever has a part alone says whether a run
/// behind it publishes the document.
///
/// # Panics
/// If the runs belong to different documents.
pub fn judge_recorded(
    document: Option<&Document>,
    runs: Vec<CheckedRun>,
    published_later: bool,
) -> Judged {
    let published = published_later || runs.iter().any(|run| run.envelope().body().publish);
    judge_as(Asked::Recorded { published }, document, runs, u64::MAX).whole()
}

/// What is asked of a document with runs in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// All that acceptance promises.
    Everything,
    /// That it is what the runs make, loads again, and was published if it reads ready.
    Recorded {
        /// Whether any run that is recorded publishes it.
        published: bool,
    },
}

fn judge_as(
    asked: Asked,
    document: Option<&Document>,
    runs: Vec<CheckedRun>,
    cost_max: u64,
) -> Turn {
    assert!(
        runs.windows(2).all(|pair| {
            pair[0].envelope().body().document == pair[1].envelope().body().document
        }),
        "runs of one document are judged together"
    );
    let mut bench = Bench {
        asked,
        given: document,
        extended: None,
        verdicts: vec![None; runs.len()],
        order: Vec::new(),
        runs: &runs,
        cost: 0,
        cost_max,
        has_settled: false,
    };
    let mut pending: Vec<usize> = (0..runs.len()).collect();
    let is_whole = loop {
        let plan = Plan::draw(bench.document(), &runs, &pending);
        for (place, verdict) in plan.settled {
            bench.verdicts[place] = Some(verdict);
        }
        if plan.placed.is_empty() {
            break true;
        }
        if bench.is_done() {
            break false;
        }
        for batch in batches(&runs, &plan.placed) {
            bench.try_all(batch);
        }
        // Those that fell took others with them, and left room for those they clashed with.
        pending.retain(|place| bench.verdicts[*place].is_none());
    };
    let verdicts = bench
        .verdicts
        .iter()
        .zip(&runs)
        .map(|(verdict, run)| {
            let missing = || is_whole.then(|| bench.missing(run));
            verdict.clone().or_else(missing)
        })
        .collect::<Vec<_>>();
    let (document, order, cost) = (bench.extended, bench.order, bench.cost);
    Turn {
        document,
        verdicts: runs.into_iter().zip(verdicts).collect(),
        order,
        cost,
    }
}

/// Cuts placed runs where one trial would take too much memory.
fn batches<'a>(runs: &[CheckedRun], placed: &'a [usize]) -> Vec<&'a [usize]> {
    let mut batches = Vec::new();
    let (mut start, mut operations, mut inflated) = (0, 0, 0);
    for (at, place) in placed.iter().enumerate() {
        operations += runs[*place].operations();
        inflated += runs[*place].inflated_bytes();
        let full = operations > limits::BATCH_OPERATIONS_MAX
            || inflated > limits::BATCH_INFLATED_BYTES_MAX;
        if full && at > start {
            batches.push(&placed[start..at]);
            start = at;
            operations = runs[*place].operations();
            inflated = runs[*place].inflated_bytes();
        }
    }
    batches.push(&placed[start..]);
    batches
}

/// What reading a document costs: as much as a trial of nothing, at most.
pub fn load_cost(document: &Document) -> u64 {
    trial_cost(Some(document), &[])
}

/// What a trial costs but for marks, as [`limits::TURN_COST_MAX`] counts.
fn trial_cost(document: Option<&Document>, runs: &[&CheckedRun]) -> u64 {
    let held = document.map(Document::index);
    let changes: u64 = runs.iter().map(|run| run.changes().len() as u64).sum();
    let operations: u64 = runs.iter().map(|run| run.operations()).sum();
    let changes = changes + held.map_or(0, |index| index.changes());
    let operations = operations + held.map_or(0, |index| index.operations());
    limits::TRIAL_COST + changes + operations / limits::TRIAL_OPERATIONS
}

/// A judgement in progress.
struct Bench<'a> {
    asked: Asked,
    given: Option<&'a Document>,
    extended: Option<Document>,
    runs: &'a [CheckedRun],
    verdicts: Vec<Option<Verdict>>,
    order: Vec<usize>,
    cost: u64,
    cost_max: u64,
    /// Whether a trial decided about any run.
    has_settled: bool,
}

impl Bench<'_> {
    fn document(&self) -> Option<&Document> {
        self.extended.as_ref().or(self.given)
    }

    /// Whether the rest is for another turn.
    fn is_done(&self) -> bool {
        self.has_settled && self.cost >= self.cost_max
    }

    /// Tries runs that stand in dependency order; leaves those without a verdict that build on
    /// one that fell, and what is for another turn.
    fn try_all(&mut self, places: &[usize]) {
        if self.is_done() {
            return;
        }
        let mut places = self.without_orphans(places);
        if self.cost >= self.cost_max {
            // One all the same: so each turn is short and decides something.
            places.truncate(1);
        }
        let runs: Vec<&CheckedRun> = places.iter().map(|place| &self.runs[*place]).collect();
        if runs.is_empty() {
            return;
        }
        let cost = trial_cost(self.document(), &runs);
        self.cost = self.cost.saturating_add(cost);
        match proof::extend(self.asked, self.document(), &runs) {
            Ok(document) => {
                self.has_settled = true;
                self.extended = Some(document);
                for place in places {
                    self.verdicts[place] = Some(Verdict::Valid);
                    self.order.push(place);
                }
            }
            Err(refusal) if places.len() == 1 => {
                self.has_settled = true;
                self.count_marks(&runs);
                self.verdicts[places[0]] = Some(Verdict::Refused(refusal));
            }
            Err(_) => {
                self.count_marks(&runs);
                let (earlier, later) = places.split_at(places.len() / 2);
                self.try_all(earlier);
                self.try_all(later);
            }
        }
    }

    /// Only after a trial failed, since it can take as long to count them.
    fn count_marks(&mut self, runs: &[&CheckedRun]) {
        let held = self
            .document()
            .map_or(0, |document| document.costly().marks);
        let added: u64 = runs.iter().map(|run| run.marks()).sum();
        let marks = (held + added).min(limits::DOCUMENT_MARKS_MAX);
        self.cost = self.cost.saturating_add(limits::TRIAL_MARK_COST * marks);
    }

    fn without_orphans(&self, places: &[usize]) -> Vec<usize> {
        let mut found: HashSet<ChangeHash> = HashSet::new();
        let mut kept = Vec::new();
        for place in places {
            let run = &self.runs[*place];
            let complete = run.deps().iter().all(|dep| {
                found.contains(dep) || self.document().is_some_and(|doc| doc.has_change(dep))
            });
            if complete {
                found.extend(run.changes().iter().map(|change| change.hash));
                kept.push(*place);
            }
        }
        kept
    }

    fn missing(&self, run: &CheckedRun) -> Verdict {
        let unknown = run.deps().iter().filter(|dep| {
            !self
                .document()
                .is_some_and(|document| document.has_change(dep))
        });
        Verdict::Missing(unknown.copied().collect())
    }
}

#[cfg(test)]
pub(crate) mod tests;
