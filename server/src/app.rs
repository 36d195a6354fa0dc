//! What every connection shares.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bukti_core::id::DeviceId;
use bukti_sync_protocol::fragment::{PartialItem, merged};
use bukti_sync_protocol::room::Room;
use bukti_sync_protocol::server::Cx;
use bukti_sync_protocol::token::TokenKey;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accepting::{Accepting, Disk, Store};
use crate::clock::{mono_now, wall_now};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::scrub::Scrubbing;
use crate::sessions::Sessions;
use crate::walks::Walks;

/// Bytes of unfinished items that are kept for devices that are not connected. Past this the
/// oldest device's are forgotten, which costs it only the sending again.
const PARTIAL_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The running server, seen from a connection.
#[derive(Debug)]
pub struct App {
    /// Settings.
    pub config: Config,
    /// The ledger.
    pub accepting: Accepting,
    /// Who is connected.
    pub sessions: Arc<Sessions>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How far the scrub is.
    pub scrubbing: Arc<Scrubbing>,
    /// Unfinished items of devices.
    pub partials: Partials,
    /// Room for the large items that sessions send.
    pub room: Arc<Room>,
    /// Turns of sessions that read all that a subscription holds.
    pub walks: Walks,
    /// Key of session tokens.
    pub token_key: TokenKey,
    /// Cancelled when the server begins to stop.
    pub stopping: CancellationToken,
    /// Everything that was spawned.
    pub tracker: TaskTracker,
}

impl App {
    /// What a session sees at this moment.
    pub fn cx(&self) -> Cx<'_, Disk, Store> {
        Cx {
            now: mono_now(),
            wall: wall_now(),
            reader: self.accepting.reader(),
            token_key: &self.token_key,
        }
    }
}

/// Unfinished items of devices that may come back for them.
#[derive(Debug, Default)]
pub struct Partials {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    items: BTreeMap<DeviceId, Vec<PartialItem>>,
    oldest_first: VecDeque<DeviceId>,
    bytes: usize,
}

impl Partials {
    /// Keeps what a device sent of items that are not whole, beside what is kept of it. Its sessions
    /// end in any order: the one that sent more may have ended before.
    pub fn keep(&self, device: DeviceId, items: Vec<PartialItem>) {
        if items.is_empty() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let items = merged(kept.forget(&device), items);
        kept.bytes += bytes_of(&items);
        kept.items.insert(device, items);
        kept.oldest_first.push_back(device);
        while kept.bytes > PARTIAL_BYTES_MAX {
            let Some(oldest) = kept.oldest_first.front().copied() else {
                break;
            };
            kept.forget(&oldest);
        }
    }

    /// Gives back what was kept for a device.
    pub fn take(&self, device: DeviceId) -> Vec<PartialItem> {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .forget(&device)
    }
}

impl Kept {
    fn forget(&mut self, device: &DeviceId) -> Vec<PartialItem> {
        let items = self.items.remove(device).unwrap_or_default();
        self.bytes -= bytes_of(&items);
        self.oldest_first.retain(|kept| kept != device);
        items
    }
}

fn bytes_of(items: &[PartialItem]) -> usize {
    items.iter().map(|item| item.bytes.len()).sum()
}

#[cfg(test)]
mod tests {
    use bukti_sync_protocol::fragment::ItemId;

    use super::*;

    const DEVICE: DeviceId = DeviceId([1; 32]);

    fn part(name: u8, bytes: usize) -> PartialItem {
        PartialItem {
            item: ItemId([name; 16]),
            total: 64 * 1024 * 1024,
            bytes: vec![name; bytes],
        }
    }

    #[test]
    fn a_session_that_ends_late_takes_nothing_from_what_another_left() {
        let partials = Partials::default();
        partials.keep(DEVICE, vec![part(1, 200)]);
        partials.keep(DEVICE, vec![part(1, 90), part(2, 5)]);
        partials.keep(DEVICE, Vec::new());
        assert_eq!(partials.take(DEVICE), [part(1, 200), part(2, 5)]);
        assert_eq!(partials.take(DEVICE), []);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_devices_are_forgotten() {
        let partials = Partials::default();
        let half = PARTIAL_BYTES_MAX / 2;
        let [first, second, third] = [1, 2, 3].map(|name| DeviceId([name; 32]));
        partials.keep(first, vec![part(1, half)]);
        partials.keep(second, vec![part(2, half)]);
        partials.keep(first, vec![part(1, 10)]);
        partials.keep(third, vec![part(3, 1)]);
        let kept = [first, second, third].map(|device| partials.take(device).len());
        assert_eq!(kept, [1, 0, 1]);
    }
}
