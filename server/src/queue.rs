//! What waits for the ledger thread: runs of many devices, requests of their sessions, and of the server's
//! administrators and its own care for the journal, which go before those.
//!
//! Fair across the devices that carry the runs: a batch takes runs of one document of each in turn, so a
//! small sender waits for one turn of a large one and not for all of it, over however many connections that
//! one sends. They are taken together since the document is proven once for all of them: each by itself
//! would cost as much. A batch ends where its documents are as many as can be judged in a moment
//! ([`crate::pace`]), so that one turn is short. What a session left behind when it ended is judged in
//! its device's turns like everything else of it. What a turn left undecided, since what came before it
//! cost enough, is put back. Each device's part is bounded by [`Unqueued::Ahead`], and the whole by
//! [`Unqueued::Crowded`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, PoisonError};

use bukti_core::id::DeviceId;
use bukti_core::ledger::Submission;
use bukti_core::limits;
use bukti_sync_protocol::limits as protocol;

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
    share: Share,
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
    /// As much waits of this device as may, whoever else has room.
    #[error("more of this device waits than the server holds of one")]
    Ahead,
}

/// Bytes of changes that wait at most, of all devices.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Runs that wait at most: small ones cost more than their bytes.
const WAITING_RUNS_MAX: usize = 200_000;

/// Bytes of changes that one session can have waiting: what it may have unjudged and still earn
/// credit, the largest run after that, and all the credit that is out then.
const SESSION_BYTES_MAX: usize = protocol::UNJUDGED_BYTES as usize
    + limits::RUN_BYTES_MAX
    + (protocol::FLIGHT_BYTES + protocol::CREDIT_WINDOW) as usize;

/// Runs that one session can have waiting: the same in runs, of which none takes less than 96 bytes
/// of credit ([`protocol::UNJUDGED_RUNS`]).
const SESSION_RUNS_MAX: usize =
    protocol::UNJUDGED_RUNS + (protocol::FLIGHT_BYTES + protocol::CREDIT_WINDOW) as usize / 96;

/// The part of the whole that one device has at most, however many sessions it may hold: one in so
/// many.
const DEVICE_PART: usize = 8;

/// Runs of one document that a device's turn takes at most: what each costs beside the proof of its
/// document, a signature that was checked and rows, is little, and not nothing.
const TURN_RUNS_MAX: usize = 32;

/// Requests that wait at most, of sessions or of the office.
const REQUESTS_MAX: usize = 1_024;

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// An administrator or the server itself: goes first, since nobody who is to be shut out may keep
    /// that from being done.
    Office,
    /// A device's session.
    Session,
}

#[derive(Debug)]
struct Waiting<A> {
    office: VecDeque<A>,
    requests: VecDeque<A>,
    /// Whether the last work was a request, so that requests and runs take turns.
    request_last: bool,
    bytes: usize,
    /// Of each device that has some waiting.
    runs: BTreeMap<DeviceId, Own>,
    turns: VecDeque<DeviceId>,
    count: usize,
    closed: bool,
}

/// What waits of one device, in the order in which it came, over whichever of its sessions.
#[derive(Debug, Default)]
struct Own {
    runs: VecDeque<(SessionId, Submission)>,
    bytes: usize,
}

/// What may wait of one device.
#[derive(Debug, Clone, Copy)]
struct Share {
    bytes: usize,
    runs: usize,
}

impl Share {
    /// As much as its sessions can have waiting at once.
    fn of(sessions: usize) -> Self {
        let part =
            |each: usize, whole: usize| each.saturating_mul(sessions).min(whole / DEVICE_PART);
        Self {
            bytes: part(SESSION_BYTES_MAX, WAITING_BYTES_MAX),
            runs: part(SESSION_RUNS_MAX, WAITING_RUNS_MAX),
        }
    }
}

impl<A> Queue<A> {
    /// An empty queue for devices that hold so many sessions at once.
    pub fn new(sessions_per_device: usize) -> Self {
        let waiting = Waiting {
            office: VecDeque::new(),
            requests: VecDeque::new(),
            request_last: false,
            bytes: 0,
            runs: BTreeMap::new(),
            turns: VecDeque::new(),
            count: 0,
            closed: false,
        };
        Self {
            share: Share::of(sessions_per_device),
            waiting: Mutex::new(waiting),
            arrived: Condvar::new(),
        }
    }

    /// Adds runs of a session, all carried by its device, in their order.
    ///
    /// # Errors
    /// [`Unqueued`]; none of them was added.
    pub fn submit(&self, session: SessionId, runs: Vec<Submission>) -> Result<(), Unqueued> {
        let Some(device) = runs.first().map(|run| run.carrier) else {
            return Ok(());
        };
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Unqueued::Closed);
        }
        let bytes: usize = runs.iter().map(|run| run.run.received_bytes()).sum();
        let of_device = waiting.runs.get(&device);
        let (own_bytes, own_count) = of_device.map_or((0, 0), |own| (own.bytes, own.runs.len()));
        if own_bytes + bytes > self.share.bytes || own_count + runs.len() > self.share.runs {
            return Err(Unqueued::Ahead);
        }
        if waiting.bytes + bytes > WAITING_BYTES_MAX
            || waiting.count + runs.len() > WAITING_RUNS_MAX
        {
            return Err(Unqueued::Crowded);
        }
        waiting.bytes += bytes;
        waiting.count += runs.len();
        let own = waiting.runs.entry(device).or_default();
        let waits_already = !own.runs.is_empty();
        own.bytes += bytes;
        own.runs.extend(runs.into_iter().map(|run| (session, run)));
        if !waits_already {
            waiting.turns.push_back(device);
        }
        self.arrived.notify_one();
        Ok(())
    }

    /// Puts back, in their order, runs that were taken and about which nothing was decided: before what
    /// else waits of their devices. Devices of which something was decided (`served`) have their turns
    /// behind those of all others then, and those of which nothing was have theirs before: so whoever
    /// brings what takes long keeps nobody waiting for more than one turn. For that moment more may wait
    /// than is taken.
    pub fn put_back(&self, left: Vec<(SessionId, Submission)>, served: &BTreeSet<DeviceId>) {
        let mut guard = self.lock();
        let waiting = &mut *guard;
        let mut turns = Vec::new();
        let mut devices = BTreeSet::new();
        for (_, run) in &left {
            if devices.insert(run.carrier) {
                turns.push(run.carrier);
            }
        }
        waiting.turns.retain(|turn| !devices.contains(turn));
        let (behind, before): (Vec<_>, Vec<_>) =
            turns.into_iter().partition(|turn| served.contains(turn));
        before
            .into_iter()
            .rev()
            .for_each(|turn| waiting.turns.push_front(turn));
        waiting.turns.extend(behind);
        for (session, run) in left.into_iter().rev() {
            let bytes = run.run.received_bytes();
            let own = waiting.runs.entry(run.carrier).or_default();
            own.runs.push_front((session, run));
            own.bytes += bytes;
            waiting.bytes += bytes;
            waiting.count += 1;
        }
    }

    /// Adds a request.
    ///
    /// # Errors
    /// [`Unqueued`].
    pub fn request(&self, asker: Asker, request: A) -> Result<(), Unqueued> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Unqueued::Closed);
        }
        let requests = match asker {
            Asker::Office => &mut waiting.office,
            Asker::Session => &mut waiting.requests,
        };
        if requests.len() >= REQUESTS_MAX {
            return Err(Unqueued::Crowded);
        }
        requests.push_back(request);
        self.arrived.notify_one();
        Ok(())
    }

    /// Drops what waits of a session of `device`: nothing more of its flight is to be judged. What
    /// other sessions of the device sent stays.
    pub fn forget(&self, device: DeviceId, session: SessionId) {
        let mut guard = self.lock();
        let waiting = &mut *guard;
        let Some(own) = waiting.runs.get_mut(&device) else {
            return;
        };
        let (count, bytes) = (own.runs.len(), own.bytes);
        own.runs.retain(|(of, _)| *of != session);
        own.bytes = own
            .runs
            .iter()
            .map(|(_, run)| run.run.received_bytes())
            .sum();
        waiting.count -= count - own.runs.len();
        waiting.bytes -= bytes - own.bytes;
        if own.runs.is_empty() {
            waiting.runs.remove(&device);
            waiting.turns.retain(|turn| *turn != device);
        }
    }

    /// Takes no more and drops what waits: whoever asked learns that nobody will answer.
    pub fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.office.clear();
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

    /// Requests of the office that wait.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> usize {
        self.lock().office.len()
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
            if !runs_turn && let Some(request) = waiting.next_request() {
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
    fn next_request(&mut self) -> Option<A> {
        let office = self.office.pop_front();
        office.or_else(|| self.requests.pop_front())
    }

    fn batch(&mut self, documents_max: usize) -> Vec<(SessionId, Submission)> {
        let mut batch = Vec::new();
        let mut documents = BTreeSet::new();
        let mut bytes = 0;
        // Where many wait, each has a turn in this batch.
        let part = limits::GROUP_RECORDS_MAX / self.turns.len().max(1);
        let runs_max = TURN_RUNS_MAX.min(part.max(1));
        while !is_full(batch.len(), bytes) {
            let Some(device) = self.turns.front().copied() else {
                break;
            };
            let own = self
                .runs
                .get_mut(&device)
                .expect("a device with a turn has runs");
            let (_, run) = own.runs.front().expect("a device with a turn has runs");
            let document = run.run.envelope().body().document;
            if documents.len() >= documents_max && !documents.contains(&document) {
                break;
            }
            documents.insert(document);
            self.turns.pop_front();
            let follows = |(_, next): &&(SessionId, Submission)| {
                next.run.envelope().body().document == document
            };
            let together = own.runs.iter().take(runs_max).take_while(follows);
            for _ in 0..together.count() {
                if is_full(batch.len(), bytes) {
                    break;
                }
                let (session, run) = own.runs.pop_front().expect("it was looked at");
                own.bytes -= run.run.received_bytes();
                self.count -= 1;
                self.bytes -= run.run.received_bytes();
                bytes += run.run.run().changes.iter().map(Vec::len).sum::<usize>();
                batch.push((session, run));
            }
            if own.runs.is_empty() {
                self.runs.remove(&device);
            } else {
                self.turns.push_back(device);
            }
        }
        batch
    }
}

/// Whether a batch is as much as the journal writes at once.
fn is_full(runs: usize, bytes: usize) -> bool {
    runs >= limits::GROUP_RECORDS_MAX || bytes >= limits::GROUP_BYTES
}

#[cfg(test)]
mod tests;
