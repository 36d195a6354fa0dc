//! Differences that comparing does not remove.

use bukti_core::authority::{Audience, Grant, Role};
use bukti_core::digest::Digest;
use bukti_core::evidence::{Declared, Edit};
use bukti_core::id::DocumentId;
use bukti_sync_protocol::client::Event;
use bukti_sync_protocol::reconcile::{Differs, Range};

use super::super::confirmed::encode;
use super::world::{NOW, Phone, WARD, World};
use crate::limits::SURVIVED_LEFT_ALONE_MS;

/// Makes what is held differ from what the server holds, whatever is compared.
pub(super) fn spoil(phone: &mut Phone) {
    let sum = encode(&(Digest::from([7; 32]), 1_u64));
    let mut change = phone.device().confirmed.change();
    change.put([b"g", WARD.as_bytes(), &[0, 0]].concat(), sum);
    change.commit().unwrap();
}

/// Whether the sync compares anything.
fn compares(world: &mut World, phone: &mut Phone) -> bool {
    let before = world.comparisons;
    world.sync(phone);
    world.comparisons > before
}

#[test]
fn a_difference_that_stays_is_one_finding_and_no_loop() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    // The sum is wrong, whatever is compared.
    spoil(&mut siti);
    world.sync(&mut siti);
    assert_eq!(
        siti.device().findings().unwrap(),
        [],
        "the digest may be older than what was compared"
    );
    for _ in 0..3 {
        siti.reopen();
        world.sync(&mut siti);
    }
    let findings = siti.device().findings().unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].code, "digest-mismatch");
    assert!(!compares(&mut world, &mut siti));
    assert!(!siti.device().status().unwrap().differs.is_empty());
    let reader = world.ledger.reader();
    assert_eq!(reader.findings().count(), 1);
    assert!(reader.document(&id).unwrap().is_some());
}

/// The server may take by then what it refused for a quota.
#[test]
fn a_difference_that_stays_is_compared_again_after_a_day_and_told_once() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    spoil(&mut siti);
    assert!(compares(&mut world, &mut siti));
    world.sync(&mut siti);
    for clock_goes_back in [false, true, true] {
        assert!(!compares(&mut world, &mut siti));
        let day = SURVIVED_LEFT_ALONE_MS as i64;
        world.now += if clock_goes_back { 1 - day } else { day - 1 };
        assert!(!compares(&mut world, &mut siti));
        world.now += if clock_goes_back { -1 } else { 1 };
        assert!(compares(&mut world, &mut siti));
    }
    assert_eq!(siti.device().findings().unwrap().len(), 1);
    assert_eq!(world.ledger.reader().findings().count(), 1);
}

#[test]
fn a_device_that_asks_for_less_than_its_grants_sees_no_difference_that_is_none() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    let ready = [Edit::Declare(Declared::Ready)];
    siti.device().edit(NOW, &id, &ready).unwrap();
    world.sync(&mut siti);
    let mut budi = world.phone("Budi", Role::Verifier, "13");
    let device = budi.device().id();
    let grants = [(Role::Verifier, "13"), (Role::Officer, "13.76.01")];
    let grants = grants.map(|(role, scope)| Grant {
        role,
        scope: scope.parse().unwrap(),
    });
    world.ledger.grant(NOW, device, grants.to_vec()).unwrap();
    world.sync(&mut budi);
    assert_eq!(budi.titles(), ["Papan"]);
    world.scopes = vec!["13.76".parse().unwrap()];
    for _ in 0..3 {
        assert!(!compares(&mut world, &mut budi));
    }
    assert_eq!(budi.device().tally().gave_back, 0);
    assert_eq!(budi.device().findings().unwrap(), []);
    assert!(budi.device().status().unwrap().differs.is_empty());
}

#[test]
fn what_is_not_read_any_more_when_all_was_compared_is_no_finding() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    siti.device().opening(Vec::new(), "").unwrap();
    let none = Event::UpToDate {
        cursor: b"cursor".to_vec(),
        position: 9,
        digests: Vec::new(),
    };
    for event in [end(), differs(), none] {
        siti.device().handle_event(NOW, [3; 16], &event).unwrap();
    }
    assert_eq!(siti.device().conclude(NOW, false).unwrap(), []);
    assert_eq!(siti.device().findings().unwrap(), []);
}

/// A copy of a phone wrote under the number that the phone's own run had before the server lost it.
#[test]
fn an_own_run_whose_number_a_copy_took_since_is_told_and_ends_no_session() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let backup = world.journal.duplicate();
    let mut copy = siti.duplicate();
    let row = |code: &str| [Edit::AddRow(code.into())];
    siti.device().edit(NOW, &id, &row("1.1")).unwrap();
    world.sync(&mut siti);
    world.restore(backup);
    copy.device().edit(NOW, &id, &row("1.2")).unwrap();
    world.sync(&mut copy);
    let new = world.create(&mut siti, "Baru");
    world.sync(&mut siti);
    assert!(world.ledger.reader().document(&new).unwrap().is_some());
    let status = siti.device().status().unwrap();
    assert_eq!((status.not_taken_back, status.unsent), (1, 0));
}

/// Digests that differ from whatever is held.
fn end() -> Event {
    let digest = Digest::from([7; 32]);
    Event::UpToDate {
        cursor: b"cursor".to_vec(),
        position: 9,
        digests: vec![(WARD.parse().unwrap(), Audience::Unit, digest, 1)],
    }
}

fn page() -> Event {
    Event::Page {
        items: Vec::new(),
        cursor: b"cursor".to_vec(),
    }
}

/// Documents that only the server holds.
fn differs() -> Event {
    Event::Differs {
        prefix: WARD.parse().unwrap(),
        audience: Audience::Unit,
        found: vec![Differs::Theirs(Range::of(&DocumentId([1; 16])))],
    }
}

/// A session that learns these things, each with whether it still compares then: what it tells the
/// server, and how many findings there are.
fn session(phone: &mut Phone, now: i64, events: &[(Event, bool)]) -> (usize, usize) {
    let device = phone.device();
    device.opening(Vec::new(), "").unwrap();
    let mut told = 0;
    for (event, comparing) in events {
        device.handle_event(now, [3; 16], event).unwrap();
        told += device.conclude(now, *comparing).unwrap().len();
    }
    (told, device.findings().unwrap().len())
}

#[test]
fn a_difference_that_was_compared_until_the_digests_came_is_told_by_the_next_session() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let late = [(end(), true), (differs(), true), (end(), false)];
    assert_eq!(session(&mut siti, NOW, &late), (0, 0));
    // The same in the next session: it is told as it comes.
    let device = siti.device();
    device.opening(Vec::new(), "").unwrap();
    device.handle_event(NOW, [3; 16], &end()).unwrap();
    assert_eq!(device.findings().unwrap().len(), 1);
}

#[test]
fn a_difference_that_stays_behind_what_was_asked_for_is_told_once() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let events = [
        (end(), true),
        (differs(), true),
        (page(), false),
        (end(), false),
    ];
    assert_eq!(session(&mut siti, NOW, &events), (1, 1));
    let later = NOW + SURVIVED_LEFT_ALONE_MS as i64;
    assert_eq!(session(&mut siti, later, &events), (0, 1));
}
