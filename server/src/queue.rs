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

#[cfg(test)]
mod tests {
    use bukti_core::ledger::testing::Phone;

    use super::*;

    fn submissions(count: usize) -> Vec<Submission> {
        let mut phone = Phone::new(1);
        let carrier = phone.id();
        let mut create = || Submission {
            carrier,
            run: phone.create("13.07.05.2001").1,
        };
        (0..count).map(|_| create()).collect()
    }

    fn taken(queue: &Queue<()>) -> Vec<SessionId> {
        match queue.take() {
            Work::Accept(batch) => batch.into_iter().map(|(session, _)| session).collect(),
            Work::Administer(()) | Work::Closed => Vec::new(),
        }
    }

    #[test]
    fn a_small_sender_waits_for_one_turn_of_a_large_one() {
        let queue = Queue::<()>::default();
        let (large, small) = (SessionId(1), SessionId(2));
        queue.submit(large, submissions(5)).unwrap();
        queue.submit(small, submissions(1)).unwrap();
        assert_eq!(taken(&queue), [large, small, large, large, large, large]);
        assert_eq!(queue.depth(), 0);
    }

    #[test]
    fn runs_of_one_session_keep_their_order() {
        let queue = Queue::<()>::default();
        let runs = submissions(20);
        let ids: Vec<_> = runs.iter().map(|submission| submission.run.id()).collect();
        queue.submit(SessionId(1), runs).unwrap();
        let Work::Accept(batch) = queue.take() else {
            panic!("runs wait")
        };
        assert_eq!(
            batch
                .iter()
                .map(|(_, run)| run.run.id())
                .collect::<Vec<_>>(),
            ids
        );
    }

    #[test]
    fn a_batch_ends_at_its_limit_and_requests_go_first() {
        let queue = Queue::default();
        queue
            .submit(SessionId(1), submissions(limits::GROUP_RECORDS_MAX + 1))
            .unwrap();
        queue.request(()).unwrap();
        assert!(matches!(queue.take(), Work::Administer(())));
        assert_eq!(taken(&queue).len(), limits::GROUP_RECORDS_MAX);
        assert_eq!(taken(&queue).len(), 1);
    }

    #[test]
    fn a_closed_queue_gives_out_what_waits_and_takes_no_more() {
        let queue = Queue::<()>::default();
        queue.submit(SessionId(1), submissions(1)).unwrap();
        queue.close();
        assert!(queue.submit(SessionId(1), submissions(1)).is_err());
        assert_eq!(taken(&queue), [SessionId(1)]);
        assert!(matches!(queue.take(), Work::Closed));
    }
}
