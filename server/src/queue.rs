//! What waits for the ledger thread: runs of many sessions, and requests of administrators.
//!
//! Fair across sessions: a batch takes one run of each waiting session in turn, so a small sender
//! waits for one turn of a large one and not for all of it. A batch ends where its documents are as
//! many as can be judged in a moment ([`crate::pace`]), so that one turn is short. Each session's part
//! is bounded by the credit it was given, and the whole by [`Unqueued::Crowded`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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

/// Why something was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unqueued {
    /// The server is ending, or its disk failed.
    #[error("the server is stopping and takes no more")]
    Closed,
    /// As much waits as may.
    #[error("the server has more to do than it can hold")]
    Crowded,
}

/// Bytes of changes that wait at most. Credit bounds a session to less than 100 KiB, so this is
/// reached only by sessions that come, fill their credit and go.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Runs that wait at most: small ones cost more than their bytes.
const WAITING_RUNS_MAX: usize = 200_000;

/// Requests that wait at most.
const REQUESTS_MAX: usize = 1_024;

#[derive(Debug)]
struct Waiting<A> {
    requests: VecDeque<A>,
    /// Whether the last work was a request, so that requests and runs take turns.
    request_last: bool,
    bytes: usize,
    runs: BTreeMap<SessionId, VecDeque<Submission>>,
    turns: VecDeque<SessionId>,
    count: usize,
    closed: bool,
}

impl<A> Default for Queue<A> {
    fn default() -> Self {
        let waiting = Waiting {
            requests: VecDeque::new(),
            request_last: false,
            bytes: 0,
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
    /// Adds runs of a session, in their order.
    ///
    /// # Errors
    /// [`Unqueued`]; none of them was added.
    pub fn submit(&self, session: SessionId, runs: Vec<Submission>) -> Result<(), Unqueued> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Unqueued::Closed);
        }
        let bytes: usize = runs.iter().map(|run| run.run.received_bytes()).sum();
        if waiting.bytes + bytes > WAITING_BYTES_MAX
            || waiting.count + runs.len() > WAITING_RUNS_MAX
        {
            return Err(Unqueued::Crowded);
        }
        waiting.bytes += bytes;
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

    /// Adds a request.
    ///
    /// # Errors
    /// [`Unqueued`].
    pub fn request(&self, request: A) -> Result<(), Unqueued> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Unqueued::Closed);
        }
        if waiting.requests.len() >= REQUESTS_MAX {
            return Err(Unqueued::Crowded);
        }
        waiting.requests.push_back(request);
        self.arrived.notify_one();
        Ok(())
    }

    /// Drops what waits of a session: nothing more of its flight is to be judged.
    pub fn forget(&self, session: SessionId) {
        let mut waiting = self.lock();
        let dropped = waiting.runs.remove(&session).unwrap_or_default();
        waiting.turns.retain(|turn| *turn != session);
        waiting.count -= dropped.len();
        waiting.bytes -= dropped
            .iter()
            .map(|run| run.run.received_bytes())
            .sum::<usize>();
    }

    /// Takes no more and drops what waits: whoever asked learns that nobody will answer.
    pub fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.requests.clear();
        waiting.runs.clear();
        waiting.turns.clear();
        (waiting.count, waiting.bytes) = (0, 0);
        self.arrived.notify_all();
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

    /// Waits for work. Requests and batches take turns, so that neither waits for all of the other.
    /// A batch touches at most so many documents.
    pub fn take(&self, documents_max: usize) -> Work<A> {
        let mut waiting = self.lock();
        loop {
            let runs_turn = waiting.request_last && waiting.count > 0;
            if !runs_turn && let Some(request) = waiting.requests.pop_front() {
                waiting.request_last = true;
                return Work::Administer(request);
            }
            if waiting.count > 0 {
                waiting.request_last = false;
                return Work::Accept(waiting.batch(documents_max));
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
    fn batch(&mut self, documents_max: usize) -> Vec<(SessionId, Submission)> {
        let mut batch = Vec::new();
        let mut documents = BTreeSet::new();
        let mut bytes = 0;
        while batch.len() < limits::GROUP_RECORDS_MAX && bytes < limits::GROUP_BYTES {
            let Some(session) = self.turns.front().copied() else {
                break;
            };
            let own = self
                .runs
                .get_mut(&session)
                .expect("a session with a turn has runs");
            let run = own.front().expect("a session with a turn has runs");
            let document = run.run.envelope().body().document;
            if documents.len() >= documents_max && !documents.contains(&document) {
                break;
            }
            documents.insert(document);
            self.turns.pop_front();
            let run = own.pop_front().expect("it was looked at");
            if own.is_empty() {
                self.runs.remove(&session);
            } else {
                self.turns.push_back(session);
            }
            self.count -= 1;
            self.bytes -= run.run.received_bytes();
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
            returned: false,
        };
        (0..count).map(|_| create()).collect()
    }

    fn taken(queue: &Queue<()>, documents_max: usize) -> Vec<SessionId> {
        match queue.take(documents_max) {
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
        assert_eq!(
            taken(&queue, usize::MAX),
            [large, small, large, large, large, large]
        );
        assert_eq!(queue.depth(), 0);
    }

    #[test]
    fn runs_of_one_session_keep_their_order() {
        let queue = Queue::<()>::default();
        let runs = submissions(20);
        let ids: Vec<_> = runs.iter().map(|submission| submission.run.id()).collect();
        queue.submit(SessionId(1), runs).unwrap();
        let Work::Accept(batch) = queue.take(usize::MAX) else {
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
        assert!(matches!(queue.take(usize::MAX), Work::Administer(())));
        assert_eq!(taken(&queue, usize::MAX).len(), limits::GROUP_RECORDS_MAX);
        assert_eq!(taken(&queue, usize::MAX).len(), 1);
    }

    #[test]
    fn a_batch_ends_at_its_documents_and_the_next_goes_on_with_whose_turn_it_is() {
        let queue = Queue::<()>::default();
        let (large, small) = (SessionId(1), SessionId(2));
        let mut phone = Phone::new(3);
        let (document, created) = phone.create("13.07.05.2001");
        let edited = phone.edit(&document, "Rapat ditutup.");
        let carrier = phone.id();
        let one = [created, edited].map(|run| Submission {
            carrier,
            run,
            returned: false,
        });
        queue.submit(large, submissions(2)).unwrap();
        queue.submit(small, one.to_vec()).unwrap();
        assert_eq!(taken(&queue, 2), [large, small]);
        assert_eq!(taken(&queue, 2), [large, small]);
        // A second run of a document that is in the batch costs no further one.
        queue.submit(small, one.to_vec()).unwrap();
        assert_eq!(taken(&queue, 1), [small, small]);
    }

    #[test]
    fn requests_and_batches_take_turns() {
        let queue = Queue::default();
        for _ in 0..2 {
            queue.request(()).unwrap();
        }
        queue.submit(SessionId(1), submissions(1)).unwrap();
        assert!(matches!(queue.take(usize::MAX), Work::Administer(())));
        assert_eq!(taken(&queue, usize::MAX), [SessionId(1)]);
        assert!(matches!(queue.take(usize::MAX), Work::Administer(())));
    }

    #[test]
    fn what_waits_is_bounded_and_a_forgotten_session_makes_room() {
        let queue = Queue::default();
        for _ in 0..REQUESTS_MAX {
            queue.request(()).unwrap();
        }
        assert_eq!(queue.request(()), Err(Unqueued::Crowded));
        let one = submissions(1);
        let many = || vec![one[0].clone(); WAITING_RUNS_MAX / 10];
        for _ in 0..10 {
            queue.submit(SessionId(1), many()).unwrap();
        }
        assert_eq!(
            queue.submit(SessionId(2), one.clone()),
            Err(Unqueued::Crowded)
        );
        queue.forget(SessionId(1));
        assert_eq!(
            (queue.depth(), queue.submit(SessionId(2), one.clone())),
            (0, Ok(()))
        );
    }

    #[test]
    fn a_session_that_sends_again_while_it_waits_has_one_turn() {
        let queue = Queue::<()>::default();
        let (large, small) = (SessionId(1), SessionId(2));
        queue.submit(large, submissions(1)).unwrap();
        queue.submit(large, submissions(2)).unwrap();
        queue.submit(small, submissions(1)).unwrap();
        assert_eq!(taken(&queue, usize::MAX), [large, small, large, large]);
    }

    #[test]
    fn nothing_of_a_forgotten_session_is_given_out() {
        let queue = Queue::<()>::default();
        let (gone, other) = (SessionId(1), SessionId(2));
        queue.submit(gone, submissions(2)).unwrap();
        queue.submit(other, submissions(1)).unwrap();
        queue.forget(gone);
        assert_eq!(taken(&queue, usize::MAX), [other]);
    }

    /// A run of about 30 KiB, however it is compressed.
    fn large_submission() -> Submission {
        let mut phone = Phone::new(2);
        let (document, _) = phone.create("13.07.05.2001");
        let mut state = 1_u64;
        let mut letter = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(b'!' + (state >> 33) as u8 % 90)
        };
        let text: String = (0..40_000).map(|_| letter()).collect();
        Submission {
            carrier: phone.id(),
            run: phone.edit(&document, &text),
            returned: false,
        }
    }

    #[test]
    fn bytes_that_wait_are_bounded_and_make_room_once_taken_or_forgotten() {
        let queue = Queue::<()>::default();
        let large = large_submission();
        let each = large.run.received_bytes();
        let fit = WAITING_BYTES_MAX / each;
        assert!(fit < WAITING_RUNS_MAX / 10, "{each} bytes");
        let (one, other) = (SessionId(1), SessionId(2));
        queue.submit(one, vec![large.clone(); fit]).unwrap();
        let more = || queue.submit(other, vec![large.clone()]);
        assert_eq!(more(), Err(Unqueued::Crowded));

        // A batch ends where its bytes are as many as one group of the journal holds.
        let batch = taken(&queue, usize::MAX).len();
        assert!(batch < limits::GROUP_RECORDS_MAX);
        assert_eq!(batch, limits::GROUP_BYTES.div_ceil(each));
        for _ in 0..batch {
            more().unwrap();
        }
        assert_eq!(more(), Err(Unqueued::Crowded));

        queue.forget(one);
        queue.submit(one, vec![large.clone(); fit - batch]).unwrap();
        assert_eq!(more(), Err(Unqueued::Crowded));
    }

    #[test]
    fn a_closed_queue_gives_out_what_waits_and_takes_no_more() {
        let queue = Queue::<()>::default();
        queue.submit(SessionId(1), submissions(1)).unwrap();
        queue.close();
        assert_eq!(
            queue.submit(SessionId(1), submissions(1)),
            Err(Unqueued::Closed)
        );
        assert_eq!(queue.request(()), Err(Unqueued::Closed));
        assert_eq!(taken(&queue, usize::MAX), [SessionId(1)]);
        assert!(matches!(queue.take(usize::MAX), Work::Closed));
    }
}
