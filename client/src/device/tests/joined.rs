//! Devices that meet over a server.

use bukti_core::authority::Role;
use bukti_core::evidence::{Declared, Edit};
use bukti_core::kv::MemoryKv;
use bukti_sync_protocol::client::Event;

use super::world::{NOW, WARD, World};
use crate::device::Delivery;

#[test]
fn two_devices_that_edited_apart_show_the_same_bytes() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut budi = world.phone("Budi", Role::UnitHead, "13.76");
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    world.sync(&mut budi);
    assert_eq!(budi.titles(), ["Papan"]);

    let by_siti = [
        Edit::Title("Papan desa".into()),
        Edit::Narrative("Satu.".into()),
    ];
    let by_budi = [
        Edit::Title("Papan nagari".into()),
        Edit::AddRow("1.1".into()),
    ];
    siti.device().edit(NOW, &id, &by_siti).unwrap();
    budi.device().edit(NOW + 5, &id, &by_budi).unwrap();
    world.sync(&mut siti);
    world.sync(&mut budi);
    world.sync(&mut siti);

    assert_eq!(siti.shown(&id), budi.shown(&id));
    let conflicts = siti.device().conflicts(&id).unwrap();
    assert_eq!(conflicts.len(), 1);
    let mut people: Vec<_> = conflicts[0]
        .values
        .iter()
        .map(|value| value.author.person.clone().unwrap())
        .collect();
    people.sort();
    assert_eq!(people, ["Budi", "Siti"]);
    assert_eq!(budi.device().list().unwrap()[0].conflicts, 1);

    let choice = Edit::Resolve {
        path: conflicts[0].path.clone(),
        keep: conflicts[0].values[0].change,
        expected: conflicts[0].fingerprint,
    };
    siti.device().edit(NOW, &id, &[choice]).unwrap();
    world.sync(&mut siti);
    world.sync(&mut budi);
    assert!(budi.device().conflicts(&id).unwrap().is_empty());
    assert_eq!(siti.shown(&id), budi.shown(&id));
    for phone in [&mut siti, &mut budi] {
        let status = phone.device().status().unwrap();
        assert!(status.differs.is_empty());
        assert_eq!((status.findings, status.unsent), (0, 0));
    }
}

#[test]
fn the_history_says_who_when_and_when_received_on_every_device() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    let before = siti.device().history(&id).unwrap();
    assert_eq!(before[0].author.person.as_deref(), Some("Siti"));
    assert_eq!(before[0].author.received_at, None);
    world.sync(&mut siti);
    world.sync(&mut budi);
    for phone in [&mut siti, &mut budi] {
        let row = &phone.device().history(&id).unwrap()[0];
        assert_eq!(row.author.person.as_deref(), Some("Siti"));
        assert_eq!((row.device_time, row.author.received_at), (NOW, Some(NOW)));
        let contributions = phone.device().contributions(&id).unwrap();
        assert!(
            contributions
                .iter()
                .all(|row| row.author.person.as_deref() == Some("Siti"))
        );
        assert!(
            contributions
                .iter()
                .any(|row| row.path.to_string() == "title")
        );
    }
}

#[test]
fn a_link_that_is_cut_after_every_few_frames_still_ends_equal() {
    for step in [1, 2, 5, 9] {
        let mut world = World::new();
        let mut siti = world.phone("Siti", Role::Officer, WARD);
        let mut budi = world.phone("Budi", Role::Officer, WARD);
        for number in 0..6 {
            let id = world.create(&mut siti, &format!("Bukti {number}"));
            siti.device()
                .edit(NOW, &id, &[Edit::Narrative("x".repeat(3_000))])
                .unwrap();
        }
        for round in 0..40 {
            world.session(&mut siti, step + round);
            world.session(&mut budi, step + round);
            siti.reopen();
            budi.reopen();
        }
        assert_eq!(siti.device().unsent(), 0, "step {step}");
        assert_eq!(siti.titles().len(), 6);
        assert_eq!(siti.titles(), budi.titles());
        assert!(budi.device().status().unwrap().differs.is_empty());
        assert_eq!(budi.device().findings().unwrap(), []);
    }
}

#[test]
fn a_verifier_gets_a_document_with_its_first_ready_and_not_before() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut rina = world.phone("Rina", Role::Verifier, "13.76");
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    world.sync(&mut rina);
    assert!(rina.titles().is_empty());
    siti.device()
        .edit(NOW, &id, &[Edit::Declare(Declared::Ready)])
        .unwrap();
    world.sync(&mut siti);
    world.sync(&mut rina);
    assert_eq!(rina.titles(), ["Papan"]);
    assert_eq!(siti.shown(&id), rina.shown(&id));
    assert!(rina.device().status().unwrap().differs.is_empty());
}

#[test]
fn confirmed_data_that_was_thrown_away_comes_again() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.create(&mut siti, "Foto");
    world.sync(&mut siti);
    siti.device()
        .edit(NOW, &id, &[Edit::Title("Papan baru".into())])
        .unwrap();
    let before = siti.shown(&id);
    siti.close();
    siti.open(MemoryKv::new());
    assert_eq!(siti.device().unsent(), 1);
    world.sync(&mut siti);
    assert_eq!(siti.shown(&id), before);
    assert_eq!(siti.titles(), ["Foto", "Papan baru"]);
    let status = siti.device().status().unwrap();
    assert_eq!((status.unsent, status.findings), (0, 0));
    assert!(status.differs.is_empty());
}

#[test]
fn an_edit_that_the_feed_confirmed_is_there_after_the_process_was_killed() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    siti.device()
        .edit(NOW, &id, &[Edit::Title("Papan baru".into())])
        .unwrap();
    world.sync(&mut siti);
    let before = siti.shown(&id);
    assert_eq!(siti.device().unsent(), 0);
    let kv = siti.close();
    kv.restore(&kv.flushed());
    siti.open(kv);
    assert_eq!(siti.shown(&id), before);
}

#[test]
fn confirmed_data_thrown_back_behind_own_runs_comes_again_whole() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let older = siti.snapshot();
    siti.device()
        .edit(NOW, &id, &[Edit::Title("Papan baru".into())])
        .unwrap();
    world.sync(&mut siti);
    let before = siti.shown(&id);
    let kv = siti.close();
    kv.restore(&older);
    siti.open(kv);
    world.sync(&mut siti);
    assert_eq!(siti.shown(&id), before);
    assert_eq!(siti.device().findings().unwrap(), []);
    assert!(siti.device().status().unwrap().differs.is_empty());
}

#[test]
fn an_edit_made_before_lost_own_runs_came_again_repeats_no_sequence_number() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let older = siti.snapshot();
    siti.device()
        .edit(NOW, &id, &[Edit::Title("Papan baru".into())])
        .unwrap();
    world.sync(&mut siti);
    let kv = siti.close();
    kv.restore(&older);
    siti.open(kv);
    let narrative = Edit::Narrative("Dari depan.".into());
    siti.device().edit(NOW, &id, &[narrative]).unwrap();
    world.sync(&mut siti);
    assert!(siti.device().quarantined().is_empty());
    let shown = siti.device().show(&id).unwrap().evidence;
    assert_eq!(shown.title, "Papan baru");
    assert_eq!(shown.narrative, "Dari depan.");
}

#[test]
fn an_edit_beside_waiting_runs_whose_base_was_lost_repeats_no_sequence_number() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    world.sync(&mut budi);
    let older = budi.snapshot();
    siti.device()
        .edit(NOW, &id, &[Edit::Title("Papan baru".into())])
        .unwrap();
    world.sync(&mut siti);
    world.sync(&mut budi);
    budi.device()
        .edit(NOW, &id, &[Edit::AddRow("1.1".into())])
        .unwrap();
    let kv = budi.close();
    kv.restore(&older);
    budi.open(kv);
    budi.device()
        .edit(NOW, &id, &[Edit::AddRow("1.2".into())])
        .unwrap();
    world.sync(&mut budi);
    assert!(budi.device().quarantined().is_empty());
    let rows = budi.device().show(&id).unwrap().evidence.rows;
    assert!(rows.contains("1.1") && rows.contains("1.2"), "{rows:?}");
}

#[test]
fn a_crash_between_a_page_and_the_tail_loses_and_doubles_nothing() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    let tail = siti.tail.duplicate();
    world.sync(&mut siti);
    // The tail as it was before it let go of the run, the confirmed store as after the page.
    let kv = siti.close();
    siti.tail = tail;
    siti.open(kv);
    assert_eq!(siti.device().unsent(), 0);
    assert_eq!(siti.device().delivery(&id).unwrap(), Delivery::Received);
    assert_eq!(siti.titles(), ["Papan"]);
}

#[test]
fn when_nothing_changed_a_session_brings_no_page() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let events = world.sync(&mut siti);
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::UpToDate { .. }))
    );
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, Event::Page { .. }))
    );
}
