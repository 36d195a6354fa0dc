//! Who is connected: so that outcomes, news and revocations reach the sessions they concern.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

use bukti_core::id::DeviceId;
use bukti_core::ledger::Outcome;
use bukti_core::placement::Placements;
use bukti_core::scope::Scope;
use bukti_sync_protocol::fragment::{PartialItem, Shelf, merged};
use tokio::sync::{Notify, mpsc};

use crate::queue::SessionId;

/// Batches of outcomes that wait for one session. Its credit bounds the runs it may have under
/// judgement to fewer, so a full channel means a session that stopped reading.
const OUTCOMES_WAITING_MAX: usize = 1024;

/// Sessions at once that have not proven whose they are: more than honest devices need, which take
/// a round trip for it, and few enough that strangers cannot take all connections: of a server that
/// takes few, no more than half. The oldest gives way.
const UNBOUND_MAX: usize = 1_000;

/// What the ledger thread holds of a session.
#[derive(Debug)]
struct Connected {
    outcomes: mpsc::Sender<Vec<Outcome>>,
    signals: Arc<Signals>,
    address: IpAddr,
    device: Option<DeviceId>,
    prefixes: Vec<Scope>,
    shelf: Option<Shelf>,
}

/// Signals that need no queue: each is a state, however often it is raised.
#[derive(Debug, Default)]
pub struct Signals {
    /// Wakes the session when one of the flags was raised.
    pub wake: Notify,
    advanced: AtomicBool,
    facts: AtomicBool,
    revoked: AtomicBool,
    replaced: AtomicBool,
}

impl Signals {
    /// Whether there is news in the session's scopes since last asked.
    pub fn take_advanced(&self) -> bool {
        self.advanced.swap(false, Ordering::AcqRel)
    }

    /// Whether statements were made that may concern the session's device since last asked.
    pub fn take_facts(&self) -> bool {
        self.facts.swap(false, Ordering::AcqRel)
    }

    /// Whether the session has to end.
    pub fn ended(&self) -> bool {
        self.revoked() || self.replaced()
    }

    /// Whether the session's device was revoked.
    pub fn revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Whether newer connections of the same device took this one's place.
    pub fn replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    fn raise(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// Wakes the session to look again: there is room for what it has to send.
impl Wake for Signals {
    fn wake(self: Arc<Self>) {
        self.wake.notify_one();
    }
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The server holds as many as it may.
    #[error("the server has as many connections as it takes")]
    Server,
    /// The address holds as many as it may.
    #[error("this address has as many connections as the server takes from one")]
    Address,
}

/// All sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    next: AtomicU64,
    connected: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: BTreeMap<SessionId, Connected>,
    by_prefix: BTreeMap<Scope, BTreeSet<SessionId>>,
    by_device: BTreeMap<DeviceId, BTreeSet<SessionId>>,
    by_address: BTreeMap<IpAddr, usize>,
    /// Sessions that have not said yet, or not proven, whose they are.
    unbound: BTreeSet<SessionId>,
}

/// A session's place in the table; leaving it is dropping this.
#[derive(Debug)]
pub struct Place {
    /// Its name.
    pub id: SessionId,
    /// What it is woken for.
    pub signals: Arc<Signals>,
    /// Outcomes of the runs it submitted.
    pub outcomes: mpsc::Receiver<Vec<Outcome>>,
    sessions: Arc<Sessions>,
}

impl Sessions {
    /// Takes a connection from `address`.
    ///
    /// # Errors
    /// [`Refused`] if a limit is reached.
    pub fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        connections_max: usize,
        per_address_max: usize,
    ) -> Result<Place, Refused> {
        let mut table = self.lock();
        if table.sessions.len() >= connections_max {
            return Err(Refused::Server);
        }
        let from_address = table.by_address.entry(address).or_default();
        if *from_address >= per_address_max {
            return Err(Refused::Address);
        }
        *from_address += 1;
        let id = SessionId(self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, outcomes) = mpsc::channel(OUTCOMES_WAITING_MAX);
        let signals = Arc::new(Signals::default());
        if table.unbound.len() >= UNBOUND_MAX.min(connections_max.div_ceil(2))
            && let Some(oldest) = table.unbound.pop_first()
            && let Some(old) = table.sessions.get(&oldest)
        {
            old.signals.raise(&old.signals.replaced);
        }
        table.unbound.insert(id);
        table.sessions.insert(
            id,
            Connected {
                outcomes: sender,
                signals: signals.clone(),
                address,
                device: None,
                prefixes: Vec::new(),
                shelf: None,
            },
        );
        Ok(Place {
            id,
            signals,
            outcomes,
            sessions: self.clone(),
        })
    }

    /// Connections at present.
    pub fn count(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Hands outcomes to their session, if it is still there.
    pub fn answer(&self, session: SessionId, outcomes: Vec<Outcome>) {
        if let Some(connected) = self.lock().sessions.get(&session) {
            // A full channel is a session that stopped reading; it learns the outcome when it
            // connects again and repeats the run.
            let _ = connected.outcomes.try_send(outcomes);
        }
    }

    /// Wakes the sessions that read one of `scopes` or something above.
    pub fn advance(&self, scopes: &BTreeSet<Scope>, placements: &Placements) {
        let lineages = scopes.iter().map(|scope| placements.lineage(scope));
        let above: BTreeSet<Scope> = lineages
            .flat_map(|lineage| lineage.iter().cloned().collect::<Vec<_>>())
            .collect();
        let table = self.lock();
        let concerned: BTreeSet<SessionId> = above
            .iter()
            .filter_map(|prefix| table.by_prefix.get(prefix))
            .flatten()
            .copied()
            .collect();
        for session in concerned {
            if let Some(connected) = table.sessions.get(&session) {
                connected.signals.raise(&connected.signals.advanced);
            }
        }
    }

    /// Wakes every session: there is news that may concern any of them.
    pub fn advance_all(&self) {
        for connected in self.lock().sessions.values() {
            connected.signals.facts.store(true, Ordering::Release);
            connected.signals.raise(&connected.signals.advanced);
        }
    }

    /// Ends the sessions of a device.
    pub fn revoke(&self, device: &DeviceId) {
        let table = self.lock();
        for session in table.by_device.get(device).into_iter().flatten() {
            if let Some(connected) = table.sessions.get(session) {
                connected.signals.raise(&connected.signals.revoked);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn forget_prefixes(&mut self, session: SessionId, prefixes: &[Scope]) {
        for prefix in prefixes {
            if let Some(readers) = self.by_prefix.get_mut(prefix) {
                readers.remove(&session);
                if readers.is_empty() {
                    self.by_prefix.remove(prefix);
                }
            }
        }
    }
}

impl Place {
    /// Lets the device's next sessions see what this one holds of unfinished items.
    pub fn lend(&self, shelf: Shelf) {
        if let Some(connected) = self.sessions.lock().sessions.get_mut(&self.id) {
            connected.shelf = Some(shelf);
        }
    }

    /// What other sessions of `device` hold of unfinished items. The link of one may be gone without a
    /// word, and it goes on until nothing answers.
    pub fn held_beside(&self, device: DeviceId) -> Vec<PartialItem> {
        let table = self.sessions.lock();
        let same = table.by_device.get(&device).into_iter().flatten();
        let others = same.filter(|session| **session != self.id);
        let shelves = others.filter_map(|session| table.sessions.get(session)?.shelf.clone());
        let shelves: Vec<Shelf> = shelves.collect();
        drop(table);
        let held = shelves.iter().map(Shelf::copy);
        held.fold(Vec::new(), merged)
    }

    /// Ties the session to its device and to the scope prefixes it reads. Beyond
    /// `per_device_max` sessions of the device, the oldest give way.
    pub fn bind(&self, device: DeviceId, prefixes: Vec<Scope>, per_device_max: usize) {
        let mut guard = self.sessions.lock();
        let table = &mut *guard;
        let Some(connected) = table.sessions.get_mut(&self.id) else {
            return;
        };
        connected.device = Some(device);
        let before = std::mem::replace(&mut connected.prefixes, prefixes.clone());
        table.unbound.remove(&self.id);
        table.forget_prefixes(self.id, &before);
        for prefix in prefixes {
            table.by_prefix.entry(prefix).or_default().insert(self.id);
        }
        let same = table.by_device.entry(device).or_default();
        same.insert(self.id);
        let too_many = same.len().saturating_sub(per_device_max.max(1));
        for oldest in same.iter().take(too_many) {
            if let Some(old) = table.sessions.get(oldest) {
                old.signals.raise(&old.signals.replaced);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guard = self.sessions.lock();
        let table = &mut *guard;
        let Some(gone) = table.sessions.remove(&self.id) else {
            return;
        };
        table.unbound.remove(&self.id);
        table.forget_prefixes(self.id, &gone.prefixes);
        if let Some(device) = gone.device
            && let Some(same) = table.by_device.get_mut(&device)
        {
            same.remove(&self.id);
            if same.is_empty() {
                table.by_device.remove(&device);
            }
        }
        if let Some(count) = table.by_address.get_mut(&gone.address) {
            *count -= 1;
            if *count == 0 {
                table.by_address.remove(&gone.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> IpAddr {
        IpAddr::from([127, 0, 0, 1])
    }

    fn scope(text: &str) -> Scope {
        text.parse().unwrap()
    }

    fn unmoved() -> Placements {
        Placements::default()
    }

    #[test]
    fn news_of_a_moved_unit_wakes_its_new_region_and_not_its_old_one() {
        let sessions = Arc::new(Sessions::default());
        let old = sessions.enter(address(), 9, 9).unwrap();
        let new = sessions.enter(address(), 9, 9).unwrap();
        old.bind(DeviceId([1; 32]), vec![scope("13.76")], 4);
        new.bind(DeviceId([2; 32]), vec![scope("13.71")], 4);
        let mut moved = Placements::default();
        moved
            .place(1, &scope("13.76/dinkes"), &scope("13.71"))
            .unwrap();
        sessions.advance(&BTreeSet::from([scope("13.76/dinkes")]), &moved);
        assert!(new.signals.take_advanced() && !old.signals.take_advanced());
    }

    #[test]
    fn news_wakes_those_who_read_the_scope_and_nobody_else() {
        let sessions = Arc::new(Sessions::default());
        let village = sessions.enter(address(), 9, 9).unwrap();
        let regency = sessions.enter(address(), 9, 9).unwrap();
        let beside = sessions.enter(address(), 9, 9).unwrap();
        village.bind(DeviceId([1; 32]), vec![scope("13.76.01.1001")], 4);
        regency.bind(DeviceId([2; 32]), vec![scope("13.76")], 4);
        beside.bind(DeviceId([3; 32]), vec![scope("13.76.01.1002")], 4);
        sessions.advance(&BTreeSet::from([scope("13.76.01.1001")]), &unmoved());
        let woken = [&village, &regency, &beside].map(|place| place.signals.take_advanced());
        assert_eq!(woken, [true, true, false]);
    }

    #[test]
    fn a_device_with_too_many_connections_loses_the_oldest() {
        let sessions = Arc::new(Sessions::default());
        let places: Vec<Place> = (0..3)
            .map(|_| sessions.enter(address(), 9, 9).unwrap())
            .collect();
        for place in &places {
            place.bind(DeviceId([1; 32]), Vec::new(), 2);
        }
        let replaced: Vec<bool> = places
            .iter()
            .map(|place| place.signals.replaced())
            .collect();
        assert_eq!(replaced, [true, false, false]);
        assert!(places[0].signals.ended(), "and ends for it");
    }

    #[test]
    fn a_revocation_ends_every_session_of_its_device_and_no_other() {
        let sessions = Arc::new(Sessions::default());
        let places = [1, 1, 2].map(|device| {
            let place = sessions.enter(address(), 9, 9).unwrap();
            place.bind(DeviceId([device; 32]), Vec::new(), 4);
            place
        });
        let stranger = sessions.enter(address(), 9, 9).unwrap();
        sessions.revoke(&DeviceId([1; 32]));
        let ended = places.each_ref().map(|place| {
            assert!(!place.signals.replaced());
            (place.signals.revoked(), place.signals.ended())
        });
        assert_eq!(ended, [(true, true), (true, true), (false, false)]);
        assert!(!stranger.signals.ended());
    }

    #[test]
    fn statements_are_news_for_every_session() {
        let sessions = Arc::new(Sessions::default());
        let reader = sessions.enter(address(), 9, 9).unwrap();
        reader.bind(DeviceId([1; 32]), vec![scope("13.76")], 4);
        let stranger = sessions.enter(address(), 9, 9).unwrap();
        sessions.advance_all();
        for place in [&reader, &stranger] {
            assert!(place.signals.take_facts() && place.signals.take_advanced());
            assert!(!place.signals.take_facts() && !place.signals.take_advanced());
        }
        sessions.advance(&BTreeSet::from([scope("13.76")]), &unmoved());
        assert!(!reader.signals.take_facts(), "a run is no statement");
    }

    #[test]
    fn strangers_give_way_to_strangers_and_never_take_a_devices_place() {
        let sessions = Arc::new(Sessions::default());
        let most = 2 * UNBOUND_MAX;
        let device = sessions.enter(address(), most, most).unwrap();
        device.bind(DeviceId([1; 32]), Vec::new(), 1);
        let strangers: Vec<Place> = (0..=UNBOUND_MAX)
            .map(|_| sessions.enter(address(), most, most).unwrap())
            .collect();
        assert!(!device.signals.ended() && strangers[0].signals.replaced());
        assert!(!strangers[1].signals.ended());
    }

    #[test]
    fn strangers_take_no_more_than_half_of_few_connections() {
        let sessions = Arc::new(Sessions::default());
        let strangers = [(); 4].map(|()| sessions.enter(address(), 6, 6).unwrap());
        let ended = strangers.each_ref().map(|place| place.signals.ended());
        assert_eq!(ended, [true, false, false, false]);
    }

    #[test]
    fn a_stranger_that_leaves_makes_room_for_another() {
        let sessions = Arc::new(Sessions::default());
        let most = 2 * UNBOUND_MAX;
        let mut strangers: Vec<Place> = (0..UNBOUND_MAX)
            .map(|_| sessions.enter(address(), most, most).unwrap())
            .collect();
        strangers.pop();
        strangers.push(sessions.enter(address(), most, most).unwrap());
        assert!(strangers.iter().all(|place| !place.signals.ended()));
    }

    #[test]
    fn a_session_is_woken_for_what_its_device_may_read_at_present() {
        let sessions = Arc::new(Sessions::default());
        let place = sessions.enter(address(), 9, 9).unwrap();
        place.bind(DeviceId([1; 32]), vec![scope("13.76")], 4);
        place.bind(DeviceId([1; 32]), vec![scope("13.07")], 4);
        sessions.advance(&BTreeSet::from([scope("13.76.01.1001")]), &unmoved());
        assert!(!place.signals.take_advanced());
        sessions.advance(&BTreeSet::from([scope("13.07.05.2001")]), &unmoved());
        assert!(place.signals.take_advanced());
    }

    #[tokio::test]
    async fn a_session_that_waits_for_room_is_woken_without_any_other_news() {
        let sessions = Arc::new(Sessions::default());
        let place = sessions.enter(address(), 9, 9).unwrap();
        std::task::Waker::from(place.signals.clone()).wake();
        place.signals.wake.notified().await;
        assert!(!place.signals.take_advanced() && !place.signals.ended());
    }

    #[test]
    fn leaving_makes_room_and_leaves_nothing_behind() {
        let sessions = Arc::new(Sessions::default());
        let place = sessions.enter(address(), 1, 1).unwrap();
        place.bind(DeviceId([1; 32]), vec![scope("13")], 1);
        assert_eq!(sessions.enter(address(), 1, 9).err(), Some(Refused::Server));
        assert_eq!(
            sessions.enter(address(), 9, 1).err(),
            Some(Refused::Address)
        );
        drop(place);
        let table = sessions.lock();
        assert!(table.by_prefix.is_empty() && table.by_device.is_empty());
        assert!(table.by_address.is_empty() && table.sessions.is_empty());
    }
}
