//! Room for large items: what the sessions of a server hold in memory of them, all together.
//!
//! A page of the feed is made when it can be sent, but an item that does not fit a frame is held
//! from its first fragment to its last, at the pace of whoever reads it. A [`Room`] bounds the sum.
//! Each session has a [`Seat`] in it; one that finds no room waits, in the order of asking, and is
//! woken when there is enough for it. A room does not know clocks: a session that holds an item and
//! takes nothing of it is ended by its own rule, which gives its room back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::limits;

/// The room that sessions share.
#[derive(Debug)]
pub struct Room {
    bytes_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    next: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    seat: u64,
    bytes: usize,
    waker: Waker,
}

impl Room {
    /// Room for so many bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            taken: Mutex::default(),
        })
    }

    /// Bytes that are held at present. What is read at one moment by several threads that each
    /// found room may pass the bound by an item for each of them.
    pub fn held(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may be taken if nobody is before. Where nothing is held that is anything: what is
    /// larger than all room goes by itself.
    fn free(&self, taken: &Taken) -> usize {
        match taken.bytes {
            0 => usize::MAX,
            held => self.bytes_max.saturating_sub(held),
        }
    }

    /// Wakes who waited longest, if there is room for it.
    fn wake(&self, taken: &Taken) {
        if let Some(first) = taken.waiting.front()
            && first.bytes <= self.free(taken)
        {
            first.waker.wake_by_ref();
        }
    }
}

/// What one session holds of a room. Dropping it gives that back.
#[derive(Debug)]
pub struct Seat {
    room: Arc<Room>,
    id: u64,
    held: usize,
    waits: bool,
    waker: Waker,
}

impl Default for Seat {
    /// In a room of its own.
    fn default() -> Self {
        Self::new(Room::new(limits::LARGE_BYTES_MAX), Waker::noop().clone())
    }
}

impl Seat {
    /// A seat of whoever is woken by `waker` when there is room for what it waits for.
    pub fn new(room: Arc<Room>, waker: Waker) -> Self {
        let mut taken = room.lock();
        let id = taken.next;
        taken.next += 1;
        drop(taken);
        Self {
            room,
            id,
            held: 0,
            waits: false,
            waker,
        }
    }

    /// Bytes of an item that may be taken at this moment: none while others were before.
    pub(crate) fn open(&self) -> usize {
        let taken = self.room.lock();
        match taken.waiting.front() {
            Some(first) if first.seat != self.id => 0,
            Some(_) | None => self.room.free(&taken),
        }
    }

    /// Whether it waits, and there is no room for what it waits for.
    pub(crate) fn has_to_wait(&self) -> bool {
        if !self.waits {
            return false;
        }
        let taken = self.room.lock();
        let first = taken.waiting.front();
        !first.is_some_and(|first| first.seat == self.id && first.bytes <= self.room.free(&taken))
    }

    /// Waits for room for an item, in the place it has or behind all others.
    pub(crate) fn wait(&mut self, bytes: usize) {
        let mut taken = self.room.lock();
        // What is larger than all room goes once nothing else is held.
        let bytes = bytes.min(self.room.bytes_max);
        match taken.waiting.iter_mut().find(|it| it.seat == self.id) {
            Some(waiting) => waiting.bytes = bytes,
            None => taken.waiting.push_back(Waiting {
                seat: self.id,
                bytes,
                waker: self.waker.clone(),
            }),
        }
        self.waits = true;
    }

    /// Waits no longer: what it waited for is here, or not wanted any more.
    pub(crate) fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.waits) {
            let mut taken = self.room.lock();
            taken.waiting.retain(|waiting| waiting.seat != self.id);
            self.room.wake(&taken);
        }
    }

    /// Holds so many bytes from here on.
    pub(crate) fn hold(&mut self, bytes: usize) {
        if bytes == self.held {
            return;
        }
        let mut taken = self.room.lock();
        taken.bytes = taken.bytes - self.held + bytes;
        self.held = bytes;
        self.room.wake(&taken);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.stop_waiting();
        self.hold(0);
    }
}
