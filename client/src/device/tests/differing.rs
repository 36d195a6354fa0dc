//! Differences that comparing does not remove.

use bukti_core::authority::Role;
use bukti_core::digest::Digest;

use super::super::confirmed::encode;
use super::world::{Phone, WARD, World};
use crate::limits::SURVIVED_LEFT_ALONE_MS;

fn spoil(phone: &mut Phone) {
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
