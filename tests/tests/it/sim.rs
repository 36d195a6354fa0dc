//! The simulation over many seeds, and proof that it would notice.

use std::num::NonZero;
use std::thread;

use bukti_tests::sim::troubles::Troubles;
use bukti_tests::sim::{self, Planted, Setup, Totals};

fn threads() -> usize {
    thread::available_parallelism().map_or(2, NonZero::get)
}

fn holds(seeds: std::ops::Range<u64>, setup: &Setup) -> Totals {
    match sim::run_all(seeds, setup, threads(), &|_| ()) {
        Ok(totals) => totals,
        Err(failure) => panic!("{failure}"),
    }
}

/// The checks that fail first in worlds with a planted fault.
fn noticed(planted: Planted) -> Vec<&'static str> {
    let setup = Setup::with(planted);
    let failures = (0..12).filter_map(|seed| sim::first_violation(seed, &setup).err());
    failures.map(|violation| violation.check).collect()
}

#[test]
fn four_devices_lose_nothing_and_end_equal_over_300_seeds() {
    let totals = holds(0..300, &Setup::new(4, 3));
    assert!(totals.edits > 5_000, "too little happened: {totals}");
    assert!(totals.accepted > 5_000, "too little arrived: {totals}");
    assert!(totals.rejected > 100, "nothing was refused: {totals}");
    assert!(totals.stale > 10, "no store was restored: {totals}");
    assert!(totals.cuts > 1_000, "the network was too kind: {totals}");
    assert!(totals.crashes() > 1_000, "the power was too good: {totals}");
}

#[test]
fn twenty_devices_lose_nothing_and_end_equal_over_10_seeds() {
    let setup = Setup {
        edits: 100,
        ..Setup::new(20, 3)
    };
    let totals = holds(1_000..1_010, &setup);
    assert!(totals.edits > 200, "too little happened: {totals}");
}

#[test]
fn small_worlds_whose_disks_fail_all_the_time_lose_nothing_over_500_seeds() {
    let totals = holds(10_000..10_500, &Setup::storage());
    assert!(totals.edits > 2_500, "too little happened: {totals}");
    assert!(totals.accepted > 2_500, "too little arrived: {totals}");
    assert!(
        totals.crashes() > 4_000,
        "the disks were too kind: {totals}"
    );
    // About half of what happens: a kind that is drawn and has no effect any more shows here.
    let server = Troubles {
        idle: 500,
        unwritten: 90,
        unanswered: 100,
        calls_and_power: 200,
        calls: 130,
        starts_and_power: 250,
        starts: 250,
        no_room: 15,
        restored: 0,
        rows_earlier: 250,
        rows_gone: 150,
        reserve: 200,
        full: 100,
        put_off: 1_000,
        read_meanwhile: 40,
    };
    let devices = Troubles {
        idle: 700,
        unwritten: 0,
        unanswered: 0,
        calls_and_power: 150,
        calls: 80,
        starts_and_power: 300,
        starts: 300,
        no_room: 8,
        restored: 100,
        rows_earlier: 250,
        rows_gone: 150,
        reserve: 200,
        full: 100,
        put_off: 90,
        read_meanwhile: 60,
    };
    for (whose, happened, least) in [
        ("the server", totals.server, server),
        ("devices", totals.devices, devices),
    ] {
        for ((kind, happened), (_, least)) in happened.kinds().into_iter().zip(least.kinds()) {
            assert!(
                happened >= least,
                "{whose}: {happened} {kind} of at least {least}: {totals}"
            );
        }
    }
}

/// In each of them something was lost, entered twice or waited for ever once.
#[test]
fn small_worlds_that_showed_a_fault_lose_nothing() {
    for seed in [683, 2_758, 5_305, 5_446, 5_520, 10_013] {
        holds(seed..seed + 1, &Setup::storage());
    }
}

#[test]
fn in_small_worlds_too_each_sync_that_is_left_out_is_noticed() {
    for planted in [
        Planted::UnsyncedServer,
        Planted::UnsyncedNames,
        Planted::UnsyncedDevices,
    ] {
        let setup = Setup {
            planted: Some(planted),
            ..Setup::storage()
        };
        let failures = (0..30).filter(|seed| sim::first_violation(*seed, &setup).is_err());
        let failures = failures.count();
        assert!(failures >= 3, "{planted:?}: {failures} of 30 seeds");
    }
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let setup = Setup::new(4, 3);
    let once = sim::run(7, &setup).unwrap();
    assert_eq!(sim::run(7, &setup).unwrap(), once);
}

#[test]
fn a_server_that_does_not_sync_is_noticed() {
    assert!(noticed(Planted::UnsyncedServer).len() >= 3);
}

#[test]
fn devices_that_do_not_sync_are_noticed() {
    assert!(noticed(Planted::UnsyncedDevices).len() >= 3);
}

#[test]
fn an_answer_before_the_journal_has_it_is_noticed() {
    let checks = noticed(Planted::EarlyAnswers);
    assert!(checks.contains(&"accepted is kept"), "{checks:?}");
}

#[test]
fn a_failure_names_its_seed_its_steps_and_how_to_repeat_it() {
    let setup = Setup::with(Planted::EarlyAnswers);
    let failure = (0..12).find_map(|seed| sim::run(seed, &setup).err());
    let failure = failure.expect("some seed notices");
    let text = failure.to_string();
    assert!(
        text.contains(&format!("--first {}", failure.seed)),
        "{text}"
    );
    assert!(failure.steps.len() < 20, "not shrunk: {text}");
    assert!(!failure.steps.is_empty(), "{text}");
}
