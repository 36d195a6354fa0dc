//! Which runs leave, in which frames.

use std::collections::{BTreeSet, VecDeque};

use bukti_core::id::RunId;

use crate::deflate::pack;
use crate::fragment::{Held, Splitter};
use crate::frame::{Features, Frame, Push};
use crate::item::PushItem;
use crate::limits;

/// Bytes of a `push` frame besides its items: encoding, array, type, map, two keys, list and flag.
const PUSH_OVERHEAD_BYTES: usize = 10;
/// Bytes of a byte string's head in a frame.
const ITEM_OVERHEAD_BYTES: usize = 3;

/// A run to push, durable on this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The run.
    pub run: RunId,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// It was confirmed before, by this server, which lost it.
    pub returned: bool,
}

impl From<(RunId, Vec<u8>)> for Offer {
    /// A run of this device that no server confirmed yet.
    fn from((run, bytes): (RunId, Vec<u8>)) -> Self {
        Self {
            run,
            bytes,
            returned: false,
        }
    }
}

/// Offered runs until they are answered, in the order they were offered.
#[derive(Debug)]
pub(super) struct Pushes {
    waiting: VecDeque<Offer>,
    /// Sent before the server said that the flight counts; kept, since it may drop them.
    flight: Vec<Offer>,
    /// Whether what is sent may still be dropped.
    unsettled: bool,
    in_flight: BTreeSet<RunId>,
    answered: BTreeSet<RunId>,
    splitting: Option<(Offer, Splitter)>,
}

impl Default for Pushes {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            flight: Vec::new(),
            unsettled: true,
            in_flight: BTreeSet::new(),
            answered: BTreeSet::new(),
            splitting: None,
        }
    }
}

impl Pushes {
    pub(super) fn offer(&mut self, offers: Vec<Offer>) {
        let mut waiting: BTreeSet<RunId> = self.waiting.iter().map(|offer| offer.run).collect();
        for offer in offers {
            let known = self.in_flight.contains(&offer.run)
                || self.answered.contains(&offer.run)
                || self
                    .splitting
                    .as_ref()
                    .is_some_and(|(split, _)| split.run == offer.run);
            if !known && waiting.insert(offer.run) {
                self.waiting.push_back(offer);
            }
        }
    }

    pub(super) fn in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    pub(super) fn unanswered(&self) -> usize {
        self.waiting.len() + self.in_flight.len() + usize::from(self.splitting.is_some())
    }

    /// The answer is final: the run is never sent again.
    pub(super) fn answered(&mut self, run: RunId) {
        if self.in_flight.remove(&run) {
            self.answered.insert(run);
        }
    }

    /// The run was not judged, and may be offered again.
    pub(super) fn wanting(&mut self, run: RunId) {
        self.in_flight.remove(&run);
    }

    /// What was sent did not count.
    pub(super) fn dropped(&mut self) {
        if let Some((offer, _)) = self.splitting.take() {
            self.waiting.push_front(offer);
        }
        for offer in self.flight.drain(..).rev() {
            if self.in_flight.remove(&offer.run) {
                self.waiting.push_front(offer);
            }
        }
    }

    /// What was sent counts, and so does what is sent from here on.
    pub(super) fn settled(&mut self) {
        self.flight.clear();
        self.unsettled = false;
    }

    /// The next frame that `credit` allows. `held` is what the server has of unfinished runs, once
    /// it said so in `welcome`: before that no run is cut, since part of it may be there.
    pub(super) fn next(
        &mut self,
        credit: u64,
        held: Option<&mut Vec<Held>>,
        peer: Features,
    ) -> Option<Frame> {
        let room = usize::try_from(credit).map_or(limits::FRAME_BYTES_MAX, |credit| {
            credit.min(limits::FRAME_BYTES_MAX)
        });
        if self.splitting.is_none() {
            let bytes = &self.waiting.front()?.bytes;
            let whole = PUSH_OVERHEAD_BYTES + ITEM_OVERHEAD_BYTES + bytes.len();
            if whole <= limits::FRAME_BYTES_MAX {
                return self.batch(room);
            }
            let held = held?;
            let offer = self.waiting.pop_front()?;
            let splitter = Splitter::new(pack(&offer.bytes, peer.deflate()), held);
            // Once it has the whole run the server no longer holds the part.
            held.retain(|held| held.item != splitter.item());
            self.splitting = Some((offer, splitter));
        }
        if room < limits::FRAME_BYTES_MAX {
            return None;
        }
        let (offer, mut splitter) = self.splitting.take()?;
        if let Some(fragment) = splitter.next_fragment() {
            self.splitting = Some((offer, splitter));
            return Some(fragment.into());
        }
        let push = Push {
            items: vec![PushItem::Large(splitter.item())],
            returned: offer.returned,
            statements: false,
        };
        self.sent(offer);
        Some(push.into())
    }

    /// Fills a frame with the runs that fit, all returned or none.
    fn batch(&mut self, room: usize) -> Option<Frame> {
        let mut items = Vec::new();
        let returned = self.waiting.front()?.returned;
        let mut used = PUSH_OVERHEAD_BYTES;
        while let Some(offer) = self.waiting.front() {
            used += ITEM_OVERHEAD_BYTES + offer.bytes.len();
            let fits = used <= room && items.len() < limits::PUSH_ITEMS_MAX;
            if !fits || offer.returned != returned {
                break;
            }
            let offer = self.waiting.pop_front()?;
            items.push(PushItem::Run(offer.bytes.clone()));
            self.sent(offer);
        }
        let push = Push {
            items,
            returned,
            statements: false,
        };
        (!push.items.is_empty()).then(|| push.into())
    }

    fn sent(&mut self, offer: Offer) {
        self.in_flight.insert(offer.run);
        if self.unsettled {
            self.flight.push(offer);
        }
    }
}
