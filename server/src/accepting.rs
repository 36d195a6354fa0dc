//! The ledger thread: the only place where something is accepted.
//!
//! It takes a fair batch from the [`Queue`], has the ledger judge, append, sync and derive, and only
//! then answers the sessions and wakes those who read the scopes concerned. While it syncs, the
//! queue fills: that is the group commit. If the ledger fails, the thread ends and the process with
//! it, with nothing acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;
use std::{fmt, io};

use bukti_core::causes::with_causes;
use bukti_core::id::{DeviceId, DocumentId, WallMs};
use bukti_core::journal::Space;
use bukti_core::kv::SledKv;
use bukti_core::ledger::{self, LedgerError, Outcome, ReadError, Submission, Taken, Verdict};
use bukti_core::limits;
use bukti_core::scope::Scope;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::clock::wall_now;
use crate::disk::MeasuredDisk;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::queue::{Queue, SessionId, Work};
use crate::refused::{Refused, RefusedRun};

pub use crate::queue::{Asker, Unqueued};
use crate::sessions::Sessions;

/// Where the server's journal is.
pub type Disk = MeasuredDisk;

/// Where its derived rows are.
pub type Store = SledKv;

/// The ledger as the server keeps it.
pub type Ledger = ledger::Ledger<Disk, Store>;

/// What sessions read.
pub type Reader = ledger::Reader<Disk, Store>;

/// Something that needs the ledger to itself for a moment; says whose sessions it ends.
pub type Task = Box<dyn FnOnce(&mut Ledger) -> Option<DeviceId> + Send>;

/// The ledger thread and what leads to it.
#[derive(Clone)]
pub struct Accepting {
    queue: Arc<Queue<Task>>,
    reader: Reader,
    healthy: Arc<AtomicBool>,
    cached_bytes: Arc<AtomicUsize>,
    reserve_bytes: u64,
}

impl fmt::Debug for Accepting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepting")
            .field("healthy", &self.healthy())
            .finish_non_exhaustive()
    }
}

impl Accepting {
    /// Starts the thread for devices that hold so many sessions at once. `failed` is cancelled if
    /// the ledger fails.
    ///
    /// # Panics
    /// If the system gives no thread.
    pub fn start(
        ledger: Ledger,
        sessions_per_device: usize,
        sessions: Arc<Sessions>,
        metrics: Arc<Metrics>,
        failed: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (accepting, thread) =
            Self::beside(ledger, sessions_per_device, sessions, metrics, failed);
        let handle = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || thread.run())
            .expect("the system gives a thread at the start");
        (accepting, handle)
    }

    fn beside(
        ledger: Ledger,
        sessions_per_device: usize,
        sessions: Arc<Sessions>,
        metrics: Arc<Metrics>,
        failed: CancellationToken,
    ) -> (Self, LedgerThread) {
        let accepting = Self {
            queue: Arc::new(Queue::new(sessions_per_device)),
            reserve_bytes: ledger.reserve_bytes(),
            reader: ledger.reader(),
            healthy: Arc::new(AtomicBool::new(true)),
            cached_bytes: Arc::default(),
        };
        let thread = LedgerThread {
            ledger,
            queue: accepting.queue.clone(),
            healthy: accepting.healthy.clone(),
            cached_bytes: accepting.cached_bytes.clone(),
            sessions,
            metrics,
            failed,
            pace: Pace::default(),
            refused: Refused::default(),
            in_order: false,
        };
        (accepting, thread)
    }

    /// What sessions read.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Whether the ledger still takes anything.
    pub fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    /// Bytes that the journal leaves free on its disk.
    pub fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    /// Room on the journal's disk.
    ///
    /// # Errors
    /// The disk does not say.
    pub fn space(&self) -> io::Result<Space> {
        Ok(Space {
            free_bytes: self.reader.free_bytes()?,
            reserve_bytes: self.reserve_bytes,
        })
    }

    /// Bytes of memory that loaded documents take, estimated.
    pub fn cached_bytes(&self) -> usize {
        self.cached_bytes.load(Ordering::Relaxed)
    }

    /// Runs that wait.
    pub fn depth(&self) -> usize {
        self.queue.depth()
    }

    /// Queues runs of a session; the outcomes come through its place in [`Sessions`].
    ///
    /// # Errors
    /// [`Unqueued`].
    pub fn submit(&self, session: SessionId, runs: Vec<Submission>) -> Result<(), Unqueued> {
        self.queue.submit(session, runs)
    }

    /// Has the ledger thread do something and gives its answer.
    ///
    /// # Errors
    /// [`Unqueued`].
    pub async fn ask<T: Send + 'static>(
        &self,
        asker: Asker,
        task: impl FnOnce(&mut Ledger, WallMs) -> T + Send + 'static,
    ) -> Result<T, Unqueued> {
        let (sender, receiver) = oneshot::channel();
        self.enqueue(asker, None, task, sender)?;
        receiver.await.map_err(|_| Unqueued::Closed)
    }

    /// The same for an administrator, from a thread that may block. The sessions of `ends` are ended
    /// afterwards.
    ///
    /// # Errors
    /// [`Unqueued`].
    pub fn ask_blocking<T: Send + 'static>(
        &self,
        ends: Option<DeviceId>,
        task: impl FnOnce(&mut Ledger, WallMs) -> T + Send + 'static,
    ) -> Result<T, Unqueued> {
        let (sender, receiver) = oneshot::channel();
        self.enqueue(Asker::Office, ends, task, sender)?;
        receiver.blocking_recv().map_err(|_| Unqueued::Closed)
    }

    /// Has the ledger end over what somebody else could not read of its rows; nobody waits for that.
    pub fn end_over(&self, error: ReadError) {
        let task: Task = Box::new(move |ledger| {
            ledger.end_over(error);
            None
        });
        // A ledger that takes nothing more ends anyway; where too much waits, the next who reads says
        // the same again.
        let _ = self.queue.request(Asker::Office, task);
    }

    /// Takes no more; what waits is still done.
    pub fn close(&self) {
        self.queue.close();
    }

    /// Requests of the office that wait.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> usize {
        self.queue.asked()
    }

    fn enqueue<T: Send + 'static>(
        &self,
        asker: Asker,
        ends: Option<DeviceId>,
        task: impl FnOnce(&mut Ledger, WallMs) -> T + Send + 'static,
        answer: oneshot::Sender<T>,
    ) -> Result<(), Unqueued> {
        let boxed: Task = Box::new(move |ledger| {
            // Whoever asked may have gone; what was done stands all the same.
            let _ = answer.send(task(ledger, wall_now()));
            ends
        });
        self.queue.request(asker, boxed)
    }
}

struct LedgerThread {
    ledger: Ledger,
    queue: Arc<Queue<Task>>,
    healthy: Arc<AtomicBool>,
    cached_bytes: Arc<AtomicUsize>,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
    failed: CancellationToken,
    pace: Pace,
    refused: Refused,
    in_order: bool,
}

impl LedgerThread {
    fn run(mut self) {
        loop {
            match self.queue.take(self.pace.documents_max()) {
                Work::Accept(batch) => {
                    if let Err(error) = self.accept(batch) {
                        tracing::error!(error = %with_causes(&error), "a batch was not accepted");
                    }
                }
                Work::Administer(task) => self.administer(task),
                Work::Closed => {
                    self.refused.rest();
                    self.in_order = true;
                    break;
                }
            }
            let cached = self.ledger.cached_bytes();
            self.cached_bytes.store(cached, Ordering::Relaxed);
            if self.ledger.has_failed() {
                break;
            }
        }
    }

    fn administer(&mut self, task: Task) {
        let before = self.ledger.reader().watermark().position;
        let ends = task(&mut self.ledger);
        if self.ledger.reader().watermark().position > before {
            self.sessions.advance_all();
        }
        // A full disk may have kept the statement from being made.
        if let Some(device) = ends.filter(|device| self.is_revoked(device)) {
            self.sessions.revoke(&device);
        }
    }

    fn is_revoked(&self, device: &DeviceId) -> bool {
        let row = self.ledger.reader().device(device).ok().flatten();
        row.is_none_or(|row| row.revoked_at.is_some())
    }

    fn accept(&mut self, batch: Vec<(SessionId, Submission)>) -> Result<(), LedgerError> {
        let (sessions, runs): (Vec<SessionId>, Vec<Submission>) = batch.into_iter().unzip();
        let carriers = runs.iter().map(|submission| submission.carrier);
        let from: Vec<(DeviceId, SessionId)> = carriers.zip(sessions).collect();
        let bodies = runs
            .iter()
            .map(|submission| submission.run.envelope().body());
        let sealed: Vec<(DocumentId, DeviceId)> =
            bodies.map(|body| (body.document, body.device)).collect();
        let (started, synced) = (Instant::now(), self.metrics.synced());
        let (cost_max, judged) = (limits::TURN_COST_MAX, self.ledger.judged_documents());
        let taken = self.ledger.accept_turn(wall_now(), runs, cost_max)?;
        let (elapsed, synced) = (started.elapsed(), self.metrics.synced() - synced);
        let judged = usize::try_from(self.ledger.judged_documents() - judged).unwrap_or(usize::MAX);
        self.pace.took(judged, elapsed, synced);
        let Settled {
            from,
            sealed,
            outcomes,
            left,
        } = Settled::of(from, sealed, taken);
        // Before any session is told to send nothing more, which concerns these as well.
        let served = from.iter().map(|(device, _)| *device).collect();
        self.queue.put_back(left, &served);
        let documents: Vec<DocumentId> = sealed.iter().map(|(document, _)| *document).collect();
        self.metrics.accepted_batch(elapsed, &outcomes);
        let changed = self.changed_scopes(&documents, &outcomes);
        let refused = refused(&from, &sealed, &outcomes);
        // Receipts first: a device that has everything may leave when the feed has named its runs.
        self.answer(&from, outcomes);
        match changed {
            Some(scopes) => {
                let placements = self.ledger.reader().placements();
                self.sessions.advance(&scopes, &placements);
            }
            None => self.sessions.advance_all(),
        }
        // Last, since nobody waits for it.
        self.refused.note(Instant::now(), refused);
        Ok(())
    }

    /// Outcomes stand in the order of the runs.
    fn answer(&self, from: &[(DeviceId, SessionId)], outcomes: Vec<Outcome>) {
        assert_eq!(
            from.len(),
            outcomes.len(),
            "the ledger gives one outcome for each run"
        );
        let mut by_session = BTreeMap::<SessionId, Vec<Outcome>>::new();
        for ((carrier, session), outcome) in from.iter().zip(outcomes) {
            if matches!(outcome.verdict, Verdict::Stale { .. }) {
                self.queue.forget(*carrier, *session);
            }
            by_session.entry(*session).or_default().push(outcome);
        }
        for (session, outcomes) in by_session {
            self.sessions.answer(session, outcomes);
        }
    }

    /// Where something was accepted, or nothing if that cannot be read: then all are woken, and
    /// whoever reads will find out.
    fn changed_scopes(
        &self,
        documents: &[DocumentId],
        outcomes: &[Outcome],
    ) -> Option<BTreeSet<Scope>> {
        let changed: BTreeSet<&DocumentId> = documents
            .iter()
            .zip(outcomes)
            .filter(|(_, outcome)| matches!(outcome.verdict, Verdict::Accepted(_)))
            .map(|(document, _)| document)
            .collect();
        let reader = self.ledger.reader();
        let rows = changed
            .into_iter()
            .map(|document| reader.document(document).ok().flatten());
        rows.map(|row| row.map(|row| row.scope)).collect()
    }
}

/// The runs of a batch that were refused.
fn refused(
    from: &[(DeviceId, SessionId)],
    sealed: &[(DocumentId, DeviceId)],
    outcomes: &[Outcome],
) -> Vec<RefusedRun> {
    let runs = from.iter().zip(sealed).zip(outcomes);
    let refused = runs.filter_map(|(((carrier, _), (document, device)), outcome)| {
        let Verdict::Rejected(refusal) = &outcome.verdict else {
            return None;
        };
        Some(RefusedRun {
            run: outcome.run,
            document: *document,
            device: *device,
            carrier: *carrier,
            code: refusal.code,
        })
    });
    refused.collect()
}

/// A batch after its turn: what was settled, in its order, and what is left.
#[derive(Default)]
struct Settled {
    from: Vec<(DeviceId, SessionId)>,
    sealed: Vec<(DocumentId, DeviceId)>,
    outcomes: Vec<Outcome>,
    left: Vec<(SessionId, Submission)>,
}

impl Settled {
    fn of(
        from: Vec<(DeviceId, SessionId)>,
        sealed: Vec<(DocumentId, DeviceId)>,
        taken: Vec<Taken>,
    ) -> Self {
        let mut settled = Self::default();
        for ((from, sealed), taken) in from.into_iter().zip(sealed).zip(taken) {
            match taken {
                Taken::Settled(outcome) => {
                    settled.from.push(from);
                    settled.sealed.push(sealed);
                    settled.outcomes.push(outcome);
                }
                Taken::Left(submission) => settled.left.push((from.1, *submission)),
            }
        }
        settled
    }
}

/// However the thread ends, by a failed disk or a panic, nobody may wait for it or trust it.
impl Drop for LedgerThread {
    fn drop(&mut self) {
        if !self.in_order {
            tracing::error!("the ledger failed; the server ends and acknowledges nothing more");
            self.healthy.store(false, Ordering::Release);
            self.failed.cancel();
        }
        self.queue.abandon();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    use bukti_core::authority::Role;
    use bukti_core::ledger::testing::{Phone, enrol};

    use super::*;
    use crate::config::Config;
    use crate::folder::Folder;
    use crate::heard::Heard;

    #[test]
    fn a_device_of_which_a_thousand_runs_are_refused_gets_its_answers_first_and_a_line_or_two() {
        const RUNS: usize = 1_000;
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            reserve_mib: 0,
            ..Config::default()
        };
        let metrics = Arc::new(Metrics::default());
        let started = Folder::new(folder.path())
            .open(None, Some(wall_now()), &config, &metrics, &mut |_| {})
            .unwrap();
        let mut ledger = started.ledger;
        let mut phone = Phone::new(1);
        enrol(&mut ledger, &phone, Role::Officer, "13.07");
        let sessions = Arc::new(Sessions::default());
        let place = sessions.enter(Ipv4Addr::LOCALHOST.into(), 1, 1).unwrap();
        let failed = CancellationToken::new();
        let (accepting, thread) = Accepting::beside(ledger, 4, sessions, metrics, failed);
        let runs = (0..RUNS).map(|_| Submission {
            carrier: phone.id(),
            run: phone.create("14.01").1,
            returned: false,
        });
        accepting.submit(place.id, runs.collect()).unwrap();
        accepting.close();

        let place = Arc::new(Mutex::new(place));
        let told_before = Arc::new(AtomicUsize::new(0));
        let (asked, before) = (place.clone(), told_before.clone());
        let heard = Heard::asking(move || {
            let unanswered = asked.lock().unwrap().outcomes.is_empty();
            before.fetch_add(unanswered.into(), Ordering::Relaxed);
        });
        heard.during(|| thread.run());

        let mut refused = 0;
        while let Ok(outcomes) = place.lock().unwrap().outcomes.try_recv() {
            let is_refused = |outcome: &Outcome| matches!(outcome.verdict, Verdict::Rejected(_));
            refused += outcomes.into_iter().filter(is_refused).count();
        }
        assert_eq!(refused, RUNS);
        let lines = heard.messages();
        assert!(lines.len() < 5, "{lines:?}");
        assert_eq!(lines[0], "run refused");
        assert_eq!(
            heard.runs().iter().sum::<u64>(),
            RUNS as u64,
            "none is left out"
        );
        assert_eq!(told_before.load(Ordering::Relaxed), 0, "answers come first");
    }
}
