//! Servers that lost what devices hold.

use bukti_core::authority::{Grant, Role};
use bukti_core::envelope::{Envelope, Run};
use bukti_core::evidence::Edit;
use bukti_core::id::{DeviceId, DocumentId, JournalId};
use bukti_core::journal::memory::Fault;
use bukti_core::kv::MemoryKv;
use bukti_core::record::{Fact, JournalFact, Record, Signed, Statement};
use bukti_core::validate::check_run;
use bukti_sync_protocol::bye::ByeCode;
use bukti_sync_protocol::client::Event;
use ed25519_dalek::SigningKey;

use super::super::giving::Part;
use super::world::{NOW, Phone, WARD, World, evidence};
use crate::device::{Delivery, Reaction};
use crate::limits::RETURNED_RUNS_MAX;

fn row(phone: &mut Phone, id: &DocumentId, row: &str) {
    let edit = [Edit::AddRow(row.into())];
    phone.device().edit(NOW, id, &edit).unwrap();
}

fn holds(world: &World, id: &DocumentId) -> bool {
    world.ledger.reader().document(id).unwrap().is_some()
}

fn accepted(events: &[Event]) -> usize {
    let runs = events.iter().map(|event| match event {
        Event::Accepted(runs) => runs.len(),
        _other => 0,
    });
    runs.sum()
}

fn agrees(world: &World, phone: &mut Phone, ids: &[DocumentId]) {
    for id in ids {
        let mut there = world.ledger.reader().document(id).unwrap().unwrap().heads;
        there.sort_unstable();
        let here = phone.device().confirmed.document(id).unwrap().unwrap();
        assert_eq!(here.heads, there);
        for row in phone.device().confirmed.envelopes(id).unwrap() {
            let there = world.ledger.reader().position_of(&row.envelope.run());
            assert_eq!(there.unwrap(), Some(row.position), "of a run");
        }
    }
    let status = phone.device().status().unwrap();
    assert!(status.differs.is_empty());
    assert_eq!(
        (status.unsent, status.findings, status.quarantined),
        (0, 0, 0)
    );
}

#[test]
fn runs_rebuilt_from_a_merged_document_are_the_ones_that_were_sealed() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    world.sync(&mut budi);
    for round in 0..4 {
        row(&mut siti, &id, &format!("1.{round}"));
        row(&mut siti, &id, &format!("2.{round}"));
        // Long enough to be compressed.
        let text = format!("{round} ").repeat(500);
        let edit = [Edit::Narrative(text)];
        budi.device().edit(NOW, &id, &edit).unwrap();
        world.sync(&mut siti);
        world.sync(&mut budi);
        world.sync(&mut siti);
    }
    // One more device gets the document whole.
    let mut ani = world.phone("Ani", Role::Officer, WARD);
    world.sync(&mut ani);
    let reader = world.ledger.reader();
    let sealed: Vec<_> = reader.envelopes(&id).unwrap();
    let opened = sealed
        .iter()
        .map(|row| Envelope::open(&row.envelope).unwrap());
    let sealed: Vec<_> = opened.map(|envelope| envelope.run()).collect();
    for phone in [&mut siti, &mut budi, &mut ani] {
        let all = Part::Beyond(Vec::new());
        let offers = phone.device().runs_of(&id, &all).unwrap();
        let mut runs: Vec<_> = offers.iter().map(|offer| offer.run).collect();
        runs.sort_unstable();
        let mut expected = sealed.clone();
        expected.sort_unstable();
        assert_eq!(runs, expected);
        let mut known = Vec::new();
        for offer in offers {
            let checked = check_run(Run::open(&offer.bytes).unwrap()).unwrap();
            assert_eq!(checked.id(), offer.run);
            assert!(
                checked.deps().iter().all(|dep| known.contains(dep)),
                "each comes after those that it builds on"
            );
            known.extend(checked.changes().iter().map(|change| change.hash));
        }
    }
}

#[test]
fn a_server_rolled_back_gets_everything_back_and_nobody_edits_twice() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    let old = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    world.sync(&mut budi);
    let backup = world.journal.duplicate();
    row(&mut siti, &old, "1.1");
    let new = world.create(&mut siti, "Baru");
    world.sync(&mut siti);
    row(&mut budi, &old, "2.2");
    world.sync(&mut budi);
    world.sync(&mut siti);
    // Longer than a token holds, and into another day of those that what is given back is counted by.
    world.now += 31 * 86_400_000;
    world.restore(backup);
    // Edited offline, on what the server lost.
    row(&mut siti, &old, "3.3");
    row(&mut siti, &new, "4.4");

    let events = world.sync(&mut siti);
    assert!(events.iter().any(|event| matches!(event, Event::Void)));
    assert!(holds(&world, &new));
    agrees(&world, &mut siti, &[old, new]);
    world.sync(&mut budi);
    agrees(&world, &mut budi, &[old, new]);
    assert_eq!(siti.shown(&old), budi.shown(&old));
    let events = world.sync(&mut siti);
    assert!(!events.iter().any(|event| matches!(event, Event::Void)));
    siti.reopen();
    row(&mut siti, &old, "5.5");
    world.sync(&mut siti);
    agrees(&world, &mut siti, &[old, new]);
}

#[test]
fn what_was_received_in_a_session_is_not_given_back_in_it() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let old = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let backup = world.journal.duplicate();
    let lost = world.create(&mut siti, "Baru");
    world.sync(&mut siti);
    world.restore(backup);
    // A frame each: some are fed when the server names one more of them that is not.
    for number in 0..4 {
        let text: String = (0..300_u64)
            .map(|word| format!("{:x} ", (word * 7_919 + number) * 0x1_0000_2b3d))
            .collect();
        let edit = [Edit::Narrative(text)];
        siti.device().edit(NOW, &old, &edit).unwrap();
    }
    world.answers_late = true;
    world.sync(&mut siti);
    agrees(&world, &mut siti, &[old, lost]);
}

#[test]
fn edits_of_many_lost_documents_are_received_while_those_are_given_back() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let kept = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let backup = world.journal.duplicate();
    let mut ids: Vec<_> = (0..2 * RETURNED_RUNS_MAX)
        .map(|number| world.create(&mut siti, &format!("Baru {number}")))
        .collect();
    world.sync(&mut siti);
    world.restore(backup);
    // Each is received once what it builds on is, which is before the last are given.
    for id in &ids {
        row(&mut siti, id, "1.1");
    }
    world.sync(&mut siti);
    ids.push(kept);
    agrees(&world, &mut siti, &ids);
}

#[test]
fn a_run_is_given_back_in_no_session_that_answered_it() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let position = world.ledger.reader().watermark().position;
    for expected in [0, 1] {
        let all = Part::Beyond(Vec::new());
        siti.device().session.giving.add(id, all);
        assert_eq!(siti.device().returns(false).unwrap().len(), expected);
        assert_eq!(siti.device().is_synced(position), expected == 0);
        siti.device().opening(Vec::new(), "").unwrap();
    }
}

#[test]
fn a_server_founded_anew_with_the_same_key_is_given_everything() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let old = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    row(&mut siti, &old, "1.1");
    let mut anew = World::founded(1, JournalId([8; 16]));
    let new = anew.create(&mut siti, "Baru");

    let events = anew.sync(&mut siti);
    let readmitted = |event: &Event| matches!(event, Event::Readmitted { .. });
    assert!(events.iter().any(readmitted));
    let status = siti.device().status().unwrap();
    assert_eq!(status.journal, JournalId([8; 16]));
    assert!(status.awaits_confirmation);
    assert_eq!(status.unsent, 0);
    siti.reopen();
    assert_eq!(siti.titles().len(), 2);
    let device = siti.device().id();
    assert!(holds(&anew, &old) && holds(&anew, &new));
    let events = anew.sync(&mut siti);
    assert_eq!(accepted(&events), 0, "what was received is not sent twice");
    assert_eq!(siti.device().findings().unwrap(), []);
    anew.ledger.confirm(NOW, device).unwrap();
    anew.sync(&mut siti);
    agrees(&anew, &mut siti, &[old, new]);
    assert!(!siti.device().status().unwrap().awaits_confirmation);
}

/// An administrator who founded the server anew sends new links; some had synced, some had not.
#[test]
fn a_new_link_to_a_server_founded_anew_keeps_what_only_the_device_holds() {
    for is_offline in [false, true] {
        let mut world = World::new();
        let mut siti = world.phone("Siti", Role::Officer, WARD);
        let old = world.create(&mut siti, "Papan");
        world.sync(&mut siti);
        if is_offline {
            row(&mut siti, &old, "1.1");
        }
        let mut anew = World::founded(1, JournalId([8; 16]));
        let secret = anew.draw();
        anew.enrol(&mut siti, secret, "Siti", Role::Officer, WARD)
            .unwrap();
        assert_eq!(siti.titles(), ["Papan"], "{is_offline}");
        siti.reopen();
        assert_eq!(siti.titles(), ["Papan"]);
        let new = anew.create(&mut siti, "Baru");
        anew.sync(&mut siti);
        assert!(holds(&anew, &old) && holds(&anew, &new));
        agrees(&anew, &mut siti, &[old, new]);
        assert_eq!(siti.device().status().unwrap().unsent, 0);
        assert_eq!(siti.device().findings().unwrap(), []);

        // And once more, into the journal in which it stands.
        let secret = anew.draw();
        anew.enrol(&mut siti, secret, "Siti", Role::UnitHead, "13.76")
            .unwrap();
        assert_eq!(siti.titles().len(), 2);
    }
}

#[test]
fn a_journal_that_the_server_did_not_sign_changes_nothing() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let other = World::founded(2, JournalId([8; 16]));
    let before = (
        siti.device().incarnation(),
        siti.device().identity().journal(),
    );
    // Of another server, and of this one by a key that is not its own.
    let fact = Fact::Journal(JournalFact {
        journal: JournalId([8; 16]),
        server: siti.device().identity().server(),
    });
    let forged = Statement { at: NOW, fact };
    for journal in [
        other.ledger.reader().founding_record().to_vec(),
        Signed::new(forged, &SigningKey::from_bytes(&[2; 32])).to_bytes(),
    ] {
        let event = Event::Readmitted { journal };
        let reaction = siti.device().handle_event(NOW, [3; 16], &event).unwrap();
        assert!(matches!(reaction, Reaction::Leave(_)));
    }
    let after = (
        siti.device().incarnation(),
        siti.device().identity().journal(),
    );
    assert_eq!(before, after);
    assert!(
        siti.device()
            .opening(Vec::new(), "")
            .unwrap()
            .cursor
            .is_some()
    );
}

#[test]
fn of_three_hundred_documents_seven_that_differ_are_exchanged() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let ids: Vec<_> = (0..297)
        .map(|number| world.create(&mut siti, &format!("Bukti {number}")))
        .collect();
    world.sync(&mut siti);
    let backup = world.journal.duplicate();
    for number in 0..4 {
        row(&mut siti, &ids[number * 70], "1.1");
    }
    let new: Vec<_> = (0..3)
        .map(|number| world.create(&mut siti, &format!("Baru {number}")))
        .collect();
    world.sync(&mut siti);
    world.restore(backup);
    let before = world.ledger.reader().watermark().position;
    let events = world.sync(&mut siti);
    assert_eq!(accepted(&events), 7, "only what the server lacks is pushed");
    assert!(world.ledger.reader().watermark().position >= before + 7);
    let all: Vec<_> = ids.into_iter().chain(new).collect();
    agrees(&world, &mut siti, &all);
}

#[test]
fn a_store_thrown_back_behind_a_rollback_is_noticed_although_positions_began_again() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let elsewhere = "13.76.02.1002";
    let mut budi = world.phone("Budi", Role::Officer, elsewhere);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let backup = world.journal.duplicate();
    // What he wrote and does not give back is what positions fall behind by.
    for _ in 0..20 {
        let (random, scope) = (world.draw(), elsewhere.parse().unwrap());
        let created = budi.device().create(NOW, random, &scope, &evidence("Lain"));
        created.unwrap();
    }
    world.sync(&mut budi);
    row(&mut siti, &id, "1.1");
    world.sync(&mut siti);
    let high = siti.snapshot();
    world.restore(backup);
    world.sync(&mut siti);
    let mut incarnation = siti.device().incarnation();
    let low = siti.snapshot();
    assert_eq!(siti.device().incarnation(), incarnation, "nothing was lost");
    for (store, edit) in [(low, "2.2"), (high, "3.3")] {
        row(&mut siti, &id, edit);
        world.sync(&mut siti);
        siti.close();
        let kv = MemoryKv::new();
        kv.restore(&store);
        siti.open(kv);
        assert_ne!(siti.device().incarnation(), incarnation, "{edit}");
        row(&mut siti, &id, &format!("{edit}.1"));
        world.sync(&mut siti);
        agrees(&world, &mut siti, &[id]);
        incarnation = siti.device().incarnation();
    }
    let rows = siti.device().show(&id).unwrap().evidence.rows;
    assert_eq!(rows.len(), 5, "{rows:?}");
}

#[test]
fn of_a_document_that_both_sides_changed_only_what_the_server_lacks_is_given_back() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    row(&mut siti, &id, "1.1");
    world.sync(&mut siti);
    world.sync(&mut budi);
    let backup = world.journal.duplicate();
    row(&mut siti, &id, "2.2");
    world.sync(&mut siti);
    world.restore(backup);
    row(&mut budi, &id, "3.3");
    world.sync(&mut budi);
    let events = world.sync(&mut siti);
    assert_eq!(accepted(&events), 1, "the server's heads are known by then");
    agrees(&world, &mut siti, &[id]);
    let events = world.sync(&mut budi);
    assert_eq!(accepted(&events), 0);
    agrees(&world, &mut budi, &[id]);
}

#[test]
fn an_unconfirmed_device_is_done_in_one_session_whatever_it_holds() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    let ids: Vec<_> = (0..3)
        .map(|number| world.create(&mut siti, &format!("Bukti {number}")))
        .collect();
    world.sync(&mut siti);
    world.sync(&mut budi);
    let mut anew = World::founded(1, JournalId([8; 16]));
    for late in [false, true] {
        anew.answers_late = late;
        for (phone, name) in [(&mut siti, "1"), (&mut budi, "2")] {
            row(phone, &ids[0], &format!("{name}.{late}"));
            let new = anew.create(phone, name);
            anew.sync(phone);
            let status = phone.device().status().unwrap();
            assert!(status.awaits_confirmation);
            assert_eq!((status.unsent, status.findings), (0, 0));
            assert!(holds(&anew, &new));
            let events = anew.sync(phone);
            assert_eq!(accepted(&events), 0, "what was received is not sent twice");
        }
    }
    for phone in [&mut siti, &mut budi] {
        let device = phone.device().id();
        anew.ledger.confirm(NOW, device).unwrap();
    }
    anew.sync(&mut siti);
    anew.sync(&mut budi);
    anew.sync(&mut siti);
    agrees(&anew, &mut siti, &ids);
    agrees(&anew, &mut budi, &ids);
    assert_eq!(siti.shown(&ids[0]), budi.shown(&ids[0]));
}

#[test]
fn grants_that_a_rolled_back_server_states_count_at_whatever_position() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let backup = world.journal.duplicate();
    let device = siti.device().id();
    for number in 0..9 {
        world.create(&mut siti, &format!("Bukti {number}"));
    }
    world.sync(&mut siti);
    let grant = |scope: &str| Grant {
        role: Role::Officer,
        scope: scope.parse().unwrap(),
    };
    world
        .ledger
        .grant(NOW + 1, device, vec![grant("13.76")])
        .unwrap();
    world.sync(&mut siti);
    world.restore(backup);
    world
        .ledger
        .grant(NOW + 2, device, vec![grant("13.76.01")])
        .unwrap();
    world.sync(&mut siti);
    assert_eq!(siti.device().grants(), [grant("13.76.01")]);
}

/// A server that lost a revocation, a device that holds it, and the device that was revoked.
fn a_lost_revocation() -> (World, Phone, DeviceId) {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut eko = world.phone("Eko", Role::Officer, WARD);
    let eko = eko.device().id();
    world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let backup = world.journal.duplicate();
    world.ledger.revoke(NOW, eko).unwrap();
    world.sync(&mut siti);
    world.restore(backup);
    (world, siti, eko)
}

fn is_revoked(world: &World, device: &DeviceId) -> bool {
    let row = world.ledger.reader().device(device).unwrap().unwrap();
    row.revoked_at.is_some()
}

fn owed(phone: &mut Phone) -> usize {
    phone.device().opening(Vec::new(), "").unwrap().owed.len()
}

#[test]
fn statements_are_given_back_wherever_the_session_was_cut() {
    for answers_late in [false, true] {
        let mut frames = 0;
        let mut last = false;
        while !last {
            let (mut world, mut siti, eko) = a_lost_revocation();
            world.answers_late = answers_late;
            let (events, _) = world.session(&mut siti, frames);
            last = events
                .iter()
                .any(|event| matches!(event, Event::UpToDate { .. }));
            // What the server had not taken in by then is gone.
            world.restart();
            siti.reopen();
            world.sync(&mut siti);
            assert!(is_revoked(&world, &eko), "cut after {frames} frames");
            assert_eq!(owed(&mut siti), 0);
            frames += 1;
        }
        assert!(frames > 5, "it was cut");
    }
}

#[test]
fn statements_that_a_full_disk_left_are_given_in_the_next_session() {
    for answers_late in [false, true] {
        let (mut world, mut siti, eko) = a_lost_revocation();
        world.answers_late = answers_late;
        world.reserve_bytes = 1024 * 1024;
        world.restart();
        world.journal.set_free_bytes(1024);
        let events = world.sync(&mut siti);
        let full = |event: &Event| matches!(event, Event::Bye(bye) if bye.code == ByeCode::Full);
        let fed = |event: &Event| matches!(event, Event::UpToDate { .. });
        assert!(events.iter().any(fed) && events.iter().any(full));
        siti.reopen();
        assert!(!is_revoked(&world, &eko) && owed(&mut siti) > 0);
        world.sync(&mut siti);
        assert!(!is_revoked(&world, &eko), "the disk is as full as before");
        world.journal.set_free_bytes(1024 * 1024 * 1024);
        world.sync(&mut siti);
        assert!(is_revoked(&world, &eko));
        assert_eq!(owed(&mut siti), 0);
    }
}

#[test]
fn a_device_without_documents_gives_back_what_it_knows_wherever_it_was_cut() {
    let mut frames = 0;
    let mut last = false;
    while !last {
        let mut world = World::new();
        let mut rina = world.phone("Rina", Role::Officer, WARD);
        let mut eko = world.phone("Eko", Role::Officer, WARD);
        let eko = eko.device().id();
        world.sync(&mut rina);
        let backup = world.journal.duplicate();
        world.ledger.revoke(NOW, eko).unwrap();
        world.sync(&mut rina);
        world.restore(backup);
        let mut siti = world.phone("Siti", Role::Officer, WARD);
        world.create(&mut siti, "Papan");
        world.sync(&mut siti);
        let (events, _) = world.session(&mut rina, frames);
        last = events
            .iter()
            .any(|event| matches!(event, Event::UpToDate { .. }));
        world.restart();
        rina.reopen();
        world.sync(&mut rina);
        assert!(is_revoked(&world, &eko), "cut after {frames} frames");
        assert_eq!(rina.titles(), ["Papan"], "and it is sent what is there");
        frames += 1;
    }
    assert!(frames > 5, "it was cut");
}

#[test]
fn a_revocation_is_given_back_before_what_protects_nobody() {
    let (_, mut siti, _) = a_lost_revocation();
    let void = siti.device().handle_event(NOW, [3; 16], &Event::Void);
    void.unwrap();
    siti.device().confirmed.void_cursor().unwrap();
    let owed = siti.device().opening(Vec::new(), "").unwrap().owed;
    assert!(owed.len() > 1, "certificates are owed as well");
    let Ok(Record::Server(first)) = Record::from_bytes(&owed[0]) else {
        panic!("a statement is read");
    };
    assert!(matches!(first.fact(), Fact::Revocation(_)));
}

#[test]
fn a_store_of_a_former_version_owes_what_is_long() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let framework = include_bytes!("../../../../core/frameworks/desa-antikorupsi.json");
    let imported = world
        .ledger
        .import_framework(NOW, "desa", framework.to_vec());
    imported.unwrap();
    world.sync(&mut siti);
    let void = siti.device().handle_event(NOW, [3; 16], &Event::Void);
    void.unwrap();
    assert_eq!(owed(&mut siti), 1, "the server waits for what is short");
    let mut change = siti.device().confirmed.change();
    change.owe_nothing().unwrap();
    change.meta().owes_statements = true;
    change.commit().unwrap();
    siti.reopen();
    for _ in 0..2 {
        assert_eq!(owed(&mut siti), 1);
    }
    world.sync(&mut siti);
    assert_eq!(owed(&mut siti), 0);
}

#[test]
fn frameworks_and_regions_are_owed_until_the_server_says_that_it_has_them() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    let framework = include_bytes!("../../../../core/frameworks/desa-antikorupsi.json");
    let imported = world
        .ledger
        .import_framework(NOW, "desa", framework.to_vec());
    imported.unwrap();
    world.sync(&mut siti);
    assert_eq!(siti.device().frameworks().unwrap().len(), 1);
    assert_eq!(owed(&mut siti), 0);
    let mut anew = World::founded(1, JournalId([8; 16]));
    let mut frames = 0;
    while anew.ledger.reader().frameworks().count() == 0 {
        frames += 1;
        anew.session(&mut siti, frames);
        assert!(frames < 60, "it comes in the end");
        siti.reopen();
    }
    anew.sync(&mut siti);
    assert_eq!(owed(&mut siti), 0);
    assert!(holds(&anew, &id));
    assert_eq!(siti.device().frameworks().unwrap().len(), 1);
}

#[test]
fn a_crash_at_any_step_of_a_readmission_loses_nothing() {
    for on_tail in [false, true] {
        for store_is_behind in [false, true] {
            let mut call = 1;
            while !readmission_with_a_crash(call, on_tail, store_is_behind) {
                call += 1;
            }
            assert!(call > 1, "nothing failed");
        }
    }
}

/// Whether the call was behind the last of the readmission.
fn readmission_with_a_crash(call: u64, on_tail: bool, store_is_behind: bool) -> bool {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let old = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let mut anew = World::founded(1, JournalId([8; 16]));
    let new = anew.create(&mut siti, "Baru");
    let before = siti.snapshot();
    let journal = anew.ledger.reader().founding_record().to_vec();
    let disk = if on_tail { &siti.tail } else { &siti.home };
    disk.fail_at(call, Fault::Io);
    let event = Event::Readmitted { journal };
    let done = siti.device().handle_event(NOW, [3; 16], &event).is_ok();
    for disk in [&siti.home, &siti.tail, &siti.quarantine] {
        disk.crash(&mut |_| 0);
    }
    let kv = siti.close();
    if store_is_behind {
        kv.restore(&before);
    }
    siti.open(kv);
    assert_eq!(siti.titles().len(), 2, "call {call}");
    anew.sync(&mut siti);
    assert!(holds(&anew, &old) && holds(&anew, &new), "call {call}");
    assert_eq!(siti.titles().len(), 2, "call {call}");
    done
}

#[test]
fn grants_that_the_server_lost_hold_until_it_states_others() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let device = siti.device().id();
    let mut events = world.sync(&mut siti);
    let wide = Grant {
        role: Role::Officer,
        scope: "13.76".parse().unwrap(),
    };
    world
        .ledger
        .grant(NOW + 1, device, vec![wide.clone()])
        .unwrap();
    world.sync(&mut siti);
    assert_eq!(siti.device().grants(), std::slice::from_ref(&wide));
    siti.device()
        .handle_event(NOW, [3; 16], &Event::Void)
        .unwrap();
    assert_eq!(siti.device().grants(), std::slice::from_ref(&wide));
    // The certificate comes again and stands behind them now.
    events.retain(|event| matches!(event, Event::Page { .. }));
    assert!(!events.is_empty());
    for page in events {
        siti.device().handle_event(NOW, [4; 16], &page).unwrap();
    }
    assert_eq!(siti.device().grants(), [wide]);
}

/// Nobody has to have signed that word.
#[test]
fn a_server_that_says_void_in_every_session_does_not_grow_the_tail() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let mut is_void = || {
        let device = siti.device();
        device.opening(Vec::new(), "").unwrap();
        device
            .handle_event(NOW, world.draw(), &Event::Void)
            .unwrap();
        device.tail.head()
    };
    let once = is_void();
    for _ in 0..10 {
        assert_eq!(is_void(), once);
    }
}

#[test]
fn what_is_given_back_is_read_from_the_store_as_the_server_answers() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let ids: Vec<_> = (0..RETURNED_RUNS_MAX + 10)
        .map(|number| world.create(&mut siti, &format!("Bukti {number}")))
        .collect();
    world.sync(&mut siti);
    siti.device().opening(Vec::new(), "").unwrap();
    for id in ids {
        let all = Part::Beyond(Vec::new());
        siti.device().session.giving.add(id, all);
    }
    let first = siti.device().returns(false).unwrap();
    assert_eq!(first.len(), RETURNED_RUNS_MAX);
    assert_eq!(siti.device().returns(false).unwrap(), []);
    let answer = Event::Accepted(first.iter().map(|offer| (offer.run, 1)).collect());
    siti.device().handle_event(NOW, [5; 16], &answer).unwrap();
    assert_eq!(siti.device().returns(false).unwrap().len(), 10);
}

#[test]
fn a_returned_run_that_is_refused_stays_and_is_counted() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    siti.device().opening(Vec::new(), "").unwrap();
    let all = Part::Beyond(Vec::new());
    siti.device().session.giving.add(id, all);
    let run = siti.device().returns(false).unwrap()[0].run;
    let rejected = Event::Rejected {
        run,
        code: "quota".into(),
        sentence: "Too much.".into(),
    };
    siti.device().handle_event(NOW, [5; 16], &rejected).unwrap();
    let status = siti.device().status().unwrap();
    assert_eq!((status.not_taken_back, status.quarantined), (1, 0));
    assert_eq!(siti.titles(), ["Papan"]);
    let lost = Delivery::NotTakenBack { runs: 1, unsent: 0 };
    assert_eq!(siti.device().delivery(&id).unwrap(), lost);
    assert_eq!(siti.device().list().unwrap()[0].delivery, lost);
    let device = siti.device().id();
    world.ledger.grant(NOW + 1, device, Vec::new()).unwrap();
    world.sync(&mut siti);
    assert_eq!(siti.titles(), ["Papan"], "it may be the last copy");
}
