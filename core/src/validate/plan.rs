//! Puts waiting runs in dependency order and checks all that follows from numbers and hashes.

use std::collections::{BTreeSet, HashMap};

use super::document::Index;
use super::{CheckedRun, Document, Refusal, RefusalCode, Verdict};
use crate::id::{Actor, ChangeHash};

/// What one look at the waiting runs gives, by their places in the list. Those that are neither
/// placed nor settled build on something unknown, or clash with a placed one and may stand if
/// that one falls.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In an order in which each finds what it builds on.
    pub(super) placed: Vec<usize>,
    /// Those about which nothing more can be learned.
    pub(super) settled: Vec<(usize, Verdict)>,
}

enum Finding {
    Placed,
    Settled(Verdict),
    Contested,
    WaitsFor(ChangeHash),
}

impl Plan {
    pub(super) fn draw(
        document: Option<&Document>,
        runs: &[CheckedRun],
        pending: &[usize],
    ) -> Self {
        let mut plan = Self::default();
        let mut known = Known::new(document);
        // What was waited for frees what came before it, and that is placed before what came later: so
        // each stands where it would if every run had been looked at when it came.
        let mut queue: BTreeSet<usize> = pending.iter().copied().collect();
        let mut waiting: HashMap<ChangeHash, Vec<usize>> = HashMap::new();
        while let Some(place) = queue.pop_first() {
            let run = &runs[place];
            match known.examine(run) {
                Finding::Placed => {
                    known.planned.insert_run(run);
                    known.root_planned |= run.creates_document();
                    plan.placed.push(place);
                    let freed = run.changes().iter().filter_map(|c| waiting.remove(&c.hash));
                    queue.extend(freed.flatten());
                }
                Finding::Settled(verdict) => plan.settled.push((place, verdict)),
                Finding::Contested => {}
                Finding::WaitsFor(dep) => waiting.entry(dep).or_default().push(place),
            }
        }
        plan
    }
}

/// The document's changes and those of the runs placed so far.
struct Known<'a> {
    accepted: Option<&'a Index>,
    planned: Index,
    root_planned: bool,
}

impl<'a> Known<'a> {
    fn new(document: Option<&'a Document>) -> Self {
        Self {
            accepted: document.map(Document::index),
            planned: Index::default(),
            root_planned: false,
        }
    }

    fn examine(&self, run: &CheckedRun) -> Finding {
        if let Some(finding) = self.clash(run) {
            return finding;
        }
        if let Some(dep) = run.deps().iter().find(|dep| self.max_op(dep).is_none()) {
            return Finding::WaitsFor(*dep);
        }
        match self.follows(run) {
            Ok(()) => Finding::Placed,
            Err(refusal) => Finding::Settled(Verdict::Refused(refusal)),
        }
    }

    /// Whether numbers of the run are taken already, by itself or by another.
    fn clash(&self, run: &CheckedRun) -> Option<Finding> {
        let taken_by = |index: &Index, same: bool| {
            run.changes()
                .iter()
                .filter_map(|change| Some((change.hash, index.at(change.actor, change.seq)?)))
                .filter(|(own, other)| (own == other) == same)
                .count()
        };
        if let Some(accepted) = self.accepted {
            if taken_by(accepted, false) > 0 {
                return Some(Finding::Settled(Verdict::Refused(RefusalCode::Fork.into())));
            }
            let repeated = taken_by(accepted, true);
            if repeated == run.changes().len() {
                return Some(Finding::Settled(Verdict::Known));
            }
            let code = match (repeated > 0, run.creates_document()) {
                (true, _) => Some(RefusalCode::Sequence),
                (false, true) => Some(RefusalCode::SecondRoot),
                (false, false) => None,
            };
            if let Some(code) = code {
                return Some(Finding::Settled(Verdict::Refused(code.into())));
            }
        }
        let clashes = taken_by(&self.planned, false) + taken_by(&self.planned, true) > 0;
        (clashes || (self.root_planned && run.creates_document())).then_some(Finding::Contested)
    }

    /// Whether number, predecessor and operation counters follow from what the run builds on.
    fn follows(&self, run: &CheckedRun) -> Result<(), Refusal> {
        let first = &run.changes()[0];
        if first.seq > 1 {
            let Some(previous) = self.at(first.actor, first.seq - 1) else {
                return Err(RefusalCode::Sequence.into());
            };
            if first.deps.binary_search(&previous).is_err() {
                return Err(Refusal::new(
                    RefusalCode::Deps,
                    "The change does not build on the one before it by the same device.",
                ));
            }
        }
        let mut own: HashMap<ChangeHash, u64> = HashMap::new();
        for change in run.changes() {
            // Each change is numbered above all it builds on, so its direct deps are enough.
            let before = change
                .deps
                .iter()
                .filter_map(|dep| own.get(dep).copied().or_else(|| self.max_op(dep)))
                .max()
                .unwrap_or(0);
            if change.start_op != before + 1 {
                return Err(Refusal::new(
                    RefusalCode::StartOp,
                    format!(
                        "Operations of the change are counted from {} instead of {}.",
                        change.start_op,
                        before + 1
                    ),
                ));
            }
            own.insert(change.hash, change.max_op());
        }
        Ok(())
    }

    fn max_op(&self, hash: &ChangeHash) -> Option<u64> {
        self.accepted
            .and_then(|index| index.max_op(hash))
            .or_else(|| self.planned.max_op(hash))
    }

    fn at(&self, actor: Actor, seq: u64) -> Option<ChangeHash> {
        self.accepted
            .and_then(|index| index.at(actor, seq))
            .or_else(|| self.planned.at(actor, seq))
    }
}
