//! What waits for the ledger thread: runs of many sessions, and requests of administrators.
//!
//! Fair across sessions: a batch takes one run of each waiting session in turn, so a small sender
//! waits for one turn of a large one and not for all of it. Each session's part is bounded by the
//! credit it was given, so the whole is bounded by the number of connections.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, PoisonError};

use bukti_core::ledger::Submission;
use bukti_core::limits;

/// One connection, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What the ledger thread does next.
#[derive(Debug)]
pub enum Work<A> {
    /// Judge and record these, fairly chosen.
    Accept(Vec<(SessionId, Submission)>),
    /// Answer an administrator or an enrolling device.
    Administer(A),
    /// End: nothing more will come.
    Closed,
}

/// The queue between sessions and the ledger thread; `A` is a request of another kind.
#[derive(Debug)]
pub struct Queue<A> {
    waiting: Mutex<Waiting<A>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Waiting<A> {
    requests: VecDeque<A>,
    runs: BTreeMap<SessionId, VecDeque<Submission>>,
    turns: VecDeque<SessionId>,
    count: usize,
    closed: bool,
}

impl<A> Default for Queue<A> {
    fn default() -> Self {
        let waiting = Waiting {
            requests: VecDeque::new(),
            runs: BTreeMap::new(),
            turns: VecDeque::new(),
            count: 0,
            closed: false,
        };
        Self {
            waiting: Mutex::new(waiting),
            arrived: Condvar::new(),
        }
    }
}

impl<A> Queue<A> {
    /// Adds runs of a session, in their order. Gives them back if the queue is closed.
    pub fn submit(&self, session: SessionId, runs: Vec<Submission>) -> Result<(), Vec<Submission>> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(runs);
        }
        waiting.count += runs.len();
        let own = waiting.runs.entry(session).or_default();
        let waits_already = !own.is_empty();
        own.extend(runs);
        if !waits_already && !own.is_empty() {
            waiting.turns.push_back(session);
        }
        self.arrived.notify_one();
        Ok(())
    }

    /// Adds a request. Gives it back if the queue is closed.
    pub fn request(&self, request: A) -> Result<(), A> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(request);
        }
        waiting.requests.push_back(request);
        self.arrived.notify_one();
        Ok(())
    }

    /// Runs that wait.
    pub fn depth(&self) -> usize {
        self.lock().count
    }

    /// Takes no more; what waits is still given out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Waits for work. Requests go first: they are few, and one of them may be a revocation.
    pub fn take(&self) -> Work<A> {
        let mut waiting = self.lock();
        loop {
            if let Some(request) = waiting.requests.pop_front() {
                return Work::Administer(request);
            }
            if waiting.count > 0 {
                return Work::Accept(waiting.batch());
            }
            if waiting.closed {
                return Work::Closed;
            }
            waiting = self
                .arrived
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting<A>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> Waiting<A> {
    fn batch(&mut self) -> Vec<(SessionId, Submission)> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < limits::GROUP_RECORDS_MAX && bytes < limits::GROUP_BYTES {
            let Some(session) = self.turns.pop_front() else {
                break;
            };
            let own = self
                .runs
                .get_mut(&session)
                .expect("a session with a turn has runs");
            let run = own.pop_front().expect("a session with a turn has runs");
            if own.is_empty() {
                self.runs.remove(&session);
            } else {
                self.turns.push_back(session);
            }
            self.count -= 1;
            bytes += run.run.run().changes.iter().map(Vec::len).sum::<usize>();
            batch.push((session, run));
        }
        batch
    }
}
