//! Judging the waiting runs of documents, each document by itself and several at once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{LedgerError, ReadError, Settled, keys};
use crate::envelope::DocumentKind;
use crate::id::DocumentId;
use crate::limits;
use crate::scope::Scope;
use crate::validate::{self, CheckedRun, Document, Turn, judge_turn, load_cost};

/// What has to be known of a document before its runs are looked at.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) kind: DocumentKind,
    pub(super) scope: Scope,
    pub(super) published: bool,
    /// Whether it exists, or is begun by a run of this part.
    pub(super) exists: bool,
    pub(super) saved_bytes: u64,
    pub(super) changes: u64,
}

/// The waiting runs of one document.
pub(super) struct Job {
    pub(super) document: DocumentId,
    pub(super) places: Vec<usize>,
    pub(super) runs: Vec<CheckedRun>,
    pub(super) known: Known,
    pub(super) loaded: Option<Document>,
    pub(super) cost_max: u64,
}

/// What the jobs of a part took, all together: once it is enough, the rest is for another turn.
pub(super) struct Spending {
    cost_max: u64,
    cost: AtomicU64,
    saved_bytes: AtomicUsize,
}

impl Spending {
    pub(super) fn new(cost_max: u64) -> Self {
        Self {
            cost_max,
            cost: AtomicU64::new(0),
            saved_bytes: AtomicUsize::new(0),
        }
    }

    pub(super) fn is_enough(&self) -> bool {
        let saved_bytes = self.saved_bytes.load(Ordering::Relaxed);
        self.cost.load(Ordering::Relaxed) >= self.cost_max || saved_bytes >= limits::FOLD_BYTES
    }

    pub(super) fn add(&self, judged: &JudgedDocument) {
        let saved_bytes = judged.content.as_ref().map_or(0, Settled::saved_bytes);
        self.saved_bytes.fetch_add(saved_bytes, Ordering::Relaxed);
        self.cost.fetch_add(judged.cost, Ordering::Relaxed);
    }
}

/// What became of them.
pub(super) struct JudgedDocument {
    pub(super) id: DocumentId,
    pub(super) places: Vec<usize>,
    pub(super) verdicts: Vec<(CheckedRun, Option<validate::Verdict>)>,
    pub(super) order: Vec<usize>,
    /// The document's content, if it changed.
    pub(super) content: Option<Settled>,
    /// The document for the cache and the bytes it takes, while there is room.
    pub(super) keep: Option<(usize, Document)>,
    /// What reading it and trying its runs cost, as [`limits::TURN_COST_MAX`] counts.
    pub(super) cost: u64,
}

impl Job {
    /// Decides nothing.
    pub(super) fn leave(self, room: &AtomicUsize) -> JudgedDocument {
        JudgedDocument {
            id: self.document,
            places: self.places,
            verdicts: self.runs.into_iter().map(|run| (run, None)).collect(),
            order: Vec::new(),
            content: None,
            keep: self.loaded.and_then(|document| kept(document, room)),
            cost: 0,
        }
    }

    pub(super) fn carry_out(
        self,
        saved: Option<&[u8]>,
        room: &AtomicUsize,
    ) -> Result<JudgedDocument, LedgerError> {
        let mut reading_cost = 0;
        let loaded = match (self.loaded, saved) {
            (Some(loaded), _) => Some(loaded),
            (None, Some(saved)) => {
                let loaded = Document::load(saved, self.known.kind, self.known.published);
                let loaded = loaded.map_err(|_| ReadError::row(keys::CONTENT))?;
                reading_cost = load_cost(&loaded);
                Some(loaded)
            }
            (None, None) => None,
        };
        let Turn {
            document,
            verdicts,
            order,
            cost,
        } = judge_turn(loaded.as_ref(), self.runs, self.cost_max);
        let content = document.as_ref().map(Settled::of);
        // One that was loaded for nothing is loaded again when it is wanted.
        let keep = document.or(loaded);
        Ok(JudgedDocument {
            id: self.document,
            places: self.places,
            verdicts,
            order,
            content,
            keep: keep.and_then(|document| kept(document, room)),
            cost: cost.saturating_add(reading_cost),
        })
    }
}

/// The document with the bytes it takes, if there is room.
fn kept(document: Document, room: &AtomicUsize) -> Option<(usize, Document)> {
    let bytes = document.memory_bytes()?;
    let taken = |room: usize| room.checked_sub(bytes);
    room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
        .ok()
        .map(|_| (bytes, document))
}

/// Does every job, each on one of at most `threads` threads, and gives the results in the order
/// of the jobs.
pub(super) fn in_parallel<J: Send, R: Send>(
    threads: usize,
    jobs: Vec<J>,
    work: impl Fn(J) -> R + Sync,
) -> Vec<R> {
    if threads <= 1 || jobs.len() <= 1 {
        return jobs.into_iter().map(work).collect();
    }
    let threads = threads.min(jobs.len());
    let jobs: Vec<Mutex<Option<J>>> = jobs.into_iter().map(|job| Mutex::new(Some(job))).collect();
    let results: Vec<Mutex<Option<R>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(at) else {
                        break;
                    };
                    let job = job.lock().unwrap_or_else(PoisonError::into_inner).take();
                    let result = work(job.expect("each job is taken once"));
                    *results[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                }
            });
        }
    });
    results
        .into_iter()
        .map(|result| {
            let result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
            result.expect("every job was done")
        })
        .collect()
}
