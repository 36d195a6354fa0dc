//! Room for large items: what the sessions of a server hold in memory of them, all together.
//!
//! A page of the feed is made when it can be sent, but an item that does not fit a frame is held
//! from its first fragment to its last, at the pace of whoever reads it. A [`Room`] bounds the sum.
//! Each session has a [`Seat`] in it; one that finds no room waits, in the order of asking, and is
//! woken when there is enough for it. The sessions of one device hold a part of it together, and one
//! that waits for that part alone stands in nobody's way. One that does not take the room it waited for,
//! since it is still sending or has no credit, is soon passed over by those behind it. A session that
//! holds an item and takes too little of it is ended by its own rule, which gives its room back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bukti_core::id::DeviceId;

use crate::{Mono, limits};

/// The room that sessions share.
#[derive(Debug)]
pub struct Room {
    bytes_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    /// Of that, by whose sessions it is held.
    by_device: BTreeMap<DeviceId, usize>,
    next: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    seat: u64,
    device: Option<DeviceId>,
    bytes: usize,
    waker: Waker,
    /// Since when others saw that it left the room that is there for it.
    idle: Option<Mono>,
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

    /// What a session of `device` may take if nobody is before. Where nothing is held that is
    /// anything: what is larger than all room goes by itself.
    fn free(&self, taken: &Taken, device: Option<&DeviceId>) -> usize {
        left_of(self.bytes_max, taken.bytes).min(self.share(taken, device))
    }

    /// What the sessions of `device` may hold besides what they hold.
    fn share(&self, taken: &Taken, device: Option<&DeviceId>) -> usize {
        let held = device.and_then(|device| taken.by_device.get(device));
        let share_max = self.bytes_max / limits::LARGE_PARTS;
        left_of(share_max, held.copied().unwrap_or_default())
    }

    /// Who waited longest of those that wait for others, and not for their own device alone.
    fn first<'a>(&self, taken: &'a Taken) -> Option<&'a Waiting> {
        let mut waiting = taken.waiting.iter();
        waiting.find(|waiting| waiting.bytes <= self.share(taken, waiting.device.as_ref()))
    }

    /// Whether there is room for it, if nobody is before.
    fn fits(&self, taken: &Taken, waiting: &Waiting) -> bool {
        waiting.bytes <= self.free(taken, waiting.device.as_ref())
    }

    /// Whoever is first leaves no room while there is none for it.
    fn clear_idle(&self, taken: &mut Taken) {
        let first = self.first(taken).filter(|it| !self.fits(taken, it));
        let Some(seat) = first.map(|first| first.seat) else {
            return;
        };
        let first = taken.waiting.iter_mut().find(|it| it.seat == seat);
        if let Some(first) = first {
            first.idle = None;
        }
    }

    /// Wakes who waited longest, if there is room for it.
    fn wake(&self, taken: &Taken) {
        if let Some(first) = self.first(taken)
            && self.fits(taken, first)
        {
            first.waker.wake_by_ref();
        }
    }
}

/// What may be held of so much besides `held`.
fn left_of(bytes_max: usize, held: usize) -> usize {
    match held {
        0 => usize::MAX,
        held => bytes_max.saturating_sub(held),
    }
}

/// What one session holds of a room. Dropping it gives that back.
#[derive(Debug)]
pub struct Seat {
    room: Arc<Room>,
    id: u64,
    device: Option<DeviceId>,
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
            device: None,
            held: 0,
            waits: false,
            waker,
        }
    }

    /// The same seat, of a session of `device`. It holds nothing yet.
    pub(crate) fn of(mut self, device: DeviceId) -> Self {
        self.device = Some(device);
        self
    }

    /// Whether it holds something.
    pub(crate) fn holds(&self) -> bool {
        self.held > 0
    }

    /// Bytes of an item that may be taken at this moment: none while others were before.
    pub(crate) fn open(&self) -> usize {
        let taken = self.room.lock();
        match self.room.first(&taken) {
            Some(first) if first.seat != self.id => 0,
            Some(_) | None => self.room.free(&taken, self.device.as_ref()),
        }
    }

    /// Whether others wait for what is held: there is not enough besides.
    pub(crate) fn is_waited_for(&self) -> bool {
        let taken = self.room.lock();
        let first = self.room.first(&taken);
        first.is_some_and(|first| first.seat != self.id && !self.room.fits(&taken, first))
    }

    /// Whether it waits; it looks again after [`limits::LARGE_OFFER_MS`] at the latest.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// Passes over others that were before and left the room that was there for them: they wait
    /// behind all others once they look.
    pub(crate) fn look(&self, now: Mono) {
        let mut guard = self.room.lock();
        let taken = &mut *guard;
        while let Some(first) = self.room.first(taken) {
            let (seat, fits) = (first.seat, self.room.fits(taken, first));
            if seat == self.id {
                return;
            }
            let at = taken.waiting.iter().position(|it| it.seat == seat);
            let at = at.expect("the first is one of those that wait");
            let first = &mut taken.waiting[at];
            if !fits {
                return;
            }
            let since = *first.idle.get_or_insert(now);
            if now < since.saturating_add(limits::LARGE_OFFER_MS) {
                return;
            }
            if let Some(passed) = taken.waiting.remove(at) {
                passed.waker.wake();
            }
            self.room.wake(taken);
        }
    }

    /// Whether it waits, and there is no room for what it waits for. It does not if it was passed over.
    pub(crate) fn has_to_wait(&self) -> bool {
        if !self.waits {
            return false;
        }
        let taken = self.room.lock();
        if !taken.waiting.iter().any(|it| it.seat == self.id) {
            return false;
        }
        let first = self.room.first(&taken);
        !first.is_some_and(|first| first.seat == self.id && self.room.fits(&taken, first))
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
                device: self.device,
                bytes,
                waker: self.waker.clone(),
                idle: None,
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
        if let Some(device) = self.device {
            let of_device = taken.by_device.entry(device).or_default();
            *of_device = *of_device - self.held + bytes;
            if *of_device == 0 {
                taken.by_device.remove(&device);
            }
        }
        self.held = bytes;
        self.room.clear_idle(&mut taken);
        self.room.wake(&taken);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.stop_waiting();
        self.hold(0);
    }
}
