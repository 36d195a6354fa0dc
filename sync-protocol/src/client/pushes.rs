//! Which runs leave, in which frames.

use std::collections::{BTreeSet, VecDeque};

use bukti_core::id::RunId;

use crate::deflate::pack;
use crate::fragment::{Held, Splitter};
use crate::frame::{Features, Frame, Push};
use crate::item::PushItem;
use crate::limits;

/// Bytes of a `push` frame besides its items: encoding, array, type, map, key and list.
const PUSH_OVERHEAD_BYTES: usize = 8;
/// Bytes of a byte string's head in a frame.
const ITEM_OVERHEAD_BYTES: usize = 3;

/// Offered runs until they are answered, in the order they were offered.
#[derive(Debug, Default)]
pub(super) struct Pushes {
    waiting: VecDeque<(RunId, Vec<u8>)>,
    /// Sent before `welcome`; kept, since a challenge drops them.
    flight: Vec<(RunId, Vec<u8>)>,
    in_flight: BTreeSet<RunId>,
    answered: BTreeSet<RunId>,
    splitting: Option<(RunId, Splitter)>,
}

impl Pushes {
    pub(super) fn offer(&mut self, runs: Vec<(RunId, Vec<u8>)>) {
        let mut waiting: BTreeSet<RunId> = self.waiting.iter().map(|(run, _)| *run).collect();
        for (run, bytes) in runs {
            let known = self.in_flight.contains(&run)
                || self.answered.contains(&run)
                || self
                    .splitting
                    .as_ref()
                    .is_some_and(|(split, _)| *split == run);
            if !known && waiting.insert(run) {
                self.waiting.push_back((run, bytes));
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
        for (run, bytes) in self.flight.drain(..).rev() {
            self.in_flight.remove(&run);
            self.waiting.push_front((run, bytes));
        }
    }

    /// What was sent counts.
    pub(super) fn welcomed(&mut self) {
        self.flight.clear();
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
            let (_, bytes) = self.waiting.front()?;
            let whole = PUSH_OVERHEAD_BYTES + ITEM_OVERHEAD_BYTES + bytes.len();
            if whole <= limits::FRAME_BYTES_MAX {
                return self.batch(Vec::new(), room, held.is_none());
            }
            let held = held?;
            let (run, bytes) = self.waiting.pop_front()?;
            let splitter = Splitter::new(pack(&bytes, peer.deflate()), held);
            // Once it has the whole run the server no longer holds the part.
            held.retain(|held| held.item != splitter.item());
            self.splitting = Some((run, splitter));
        }
        if room < limits::FRAME_BYTES_MAX {
            return None;
        }
        let (run, mut splitter) = self.splitting.take()?;
        if let Some(fragment) = splitter.next_fragment() {
            self.splitting = Some((run, splitter));
            return Some(fragment.into());
        }
        self.in_flight.insert(run);
        self.batch(vec![PushItem::Large(splitter.item())], room, false)
    }

    /// Fills a frame with `items` and the runs that fit behind them.
    fn batch(&mut self, mut items: Vec<PushItem>, room: usize, keep: bool) -> Option<Frame> {
        let mut used = PUSH_OVERHEAD_BYTES + items.len() * (ITEM_OVERHEAD_BYTES + 16);
        while let Some((_, bytes)) = self.waiting.front() {
            used += ITEM_OVERHEAD_BYTES + bytes.len();
            if used > room || items.len() == limits::PUSH_ITEMS_MAX {
                break;
            }
            let (run, bytes) = self.waiting.pop_front()?;
            self.in_flight.insert(run);
            items.push(PushItem::Run(bytes.clone()));
            if keep {
                self.flight.push((run, bytes));
            }
        }
        (!items.is_empty()).then(|| Push { items }.into())
    }
}
