//! What holds without any server.

use automerge::transaction::Transactable;
use automerge::{ActorId, ROOT};
use bukti_core::authority::Role;
use bukti_core::evidence::{Declared, Edit};
use bukti_core::id::Incarnation;
use bukti_core::journal::memory::{Fault, Skipped};
use bukti_core::kv::{Batch, Kv, KvError, KvFault, MemoryKv};
use bukti_core::limits::DOCUMENT_CHANGES_TAKEN;

use super::world::{NOW, Phone, WARD, World, evidence};
use crate::device::{ConfirmedError, Delivery, DeviceError};

#[test]
fn an_edit_survives_the_power_going_right_after_it() {
    let mut world = World::new();
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut phone, "Papan");
    phone.crash(&mut |_| 0);
    let edits = [Edit::Title("Papan informasi".into())];
    phone.device().edit(NOW, &id, &edits).unwrap().unwrap();
    phone.crash(&mut |_| 0);
    assert_eq!(
        phone.device().show(&id).unwrap().evidence.title,
        "Papan informasi"
    );
    assert_eq!(phone.device().unsent(), 2);
}

#[test]
fn without_sync_calls_the_power_would_take_the_edit() {
    let mut world = World::new();
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    phone.tail.without_sync(Skipped::Files);
    world.create(&mut phone, "Papan");
    phone.crash(&mut |_| 0);
    assert!(phone.titles().is_empty());
}

#[test]
fn an_edit_that_the_disk_does_not_take_is_an_error_and_not_shown_after_reopening() {
    let mut world = World::new();
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut phone, "Papan");
    // Measuring free space and writing succeed; the sync fails.
    phone.tail.fail_at(3, Fault::Io);
    let edits = [Edit::Title("Lain".into())];
    let error = phone.device().edit(NOW, &id, &edits).unwrap_err();
    assert!(!error.is_refusal());
    phone.crash(&mut |_| 0);
    assert_eq!(phone.titles(), ["Papan"]);
}

#[test]
fn a_full_disk_refuses_the_edit_and_nothing_else() {
    let mut world = World::new();
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut phone, "Papan");
    phone.tail.set_free_bytes(1);
    let error = phone
        .device()
        .edit(NOW, &id, &[Edit::Title("Lain".into())])
        .unwrap_err();
    assert!(error.is_refusal());
    assert_eq!(phone.titles(), ["Papan"]);
    phone.tail.set_free_bytes(u64::MAX);
    assert!(
        phone
            .device()
            .edit(NOW, &id, &[Edit::Title("Lain".into())])
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_document_takes_as_many_changes_as_a_server_accepts_and_no_more() {
    let mut world = World::new();
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut phone, "Papan");
    let mut full = phone.device().document(&id).unwrap().unwrap().clone();
    full.set_actor(ActorId::from([7]));
    for number in 2..DOCUMENT_CHANGES_TAKEN {
        let mut transaction = full.transaction();
        transaction.put(ROOT, "lain", number).unwrap();
        transaction.commit();
    }
    phone.device().keep_open(id, full);
    let title = |title: &str| [Edit::Title(title.into())];
    phone.device().edit(NOW, &id, &title("Lain")).unwrap();
    let refused = phone.device().edit(NOW, &id, &title("Lagi")).unwrap_err();
    assert!(refused.is_refusal());
    assert!(refused.to_string().contains("is full"), "{refused}");
    assert_eq!(phone.titles(), ["Lain"]);
    assert_eq!(phone.device().unsent(), 2);
}

#[test]
fn what_the_grants_do_not_allow_is_denied_before_it_is_sealed() {
    let mut world = World::new();
    let mut phone = world.phone("Budi", Role::Observer, WARD);
    let (random, scope) = (world.draw(), WARD.parse().unwrap());
    let denied = phone
        .device()
        .create(NOW, random, &scope, &evidence("Papan"));
    assert!(matches!(denied, Err(DeviceError::Denied(_))));
    assert_eq!(phone.device().unsent(), 0);
}

#[test]
fn nothing_is_received_before_a_server_said_so() {
    let mut world = World::new();
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut phone, "Papan");
    assert_eq!(
        phone.device().delivery(&id).unwrap(),
        Delivery::Draft { unsent: 1 }
    );
    let ready = [Edit::Declare(Declared::Ready)];
    phone.device().edit(NOW, &id, &ready).unwrap();
    assert_eq!(
        phone.device().delivery(&id).unwrap(),
        Delivery::ReadyToSend { unsent: 2 }
    );
    world.sync(&mut phone);
    assert_eq!(phone.device().delivery(&id).unwrap(), Delivery::Received);
}

#[test]
fn setting_what_stands_already_seals_nothing() {
    let mut world = World::new();
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut phone, "Papan");
    let same = [Edit::Title("Papan".into())];
    assert_eq!(phone.device().edit(NOW, &id, &same).unwrap(), None);
    assert_eq!(phone.device().unsent(), 1);
}

#[test]
fn enrolling_again_keeps_unsent_work_and_brings_other_grants() {
    let mut world = World::new();
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut phone, "Papan");
    let before = phone.device().id();
    let secret = world.draw();
    world
        .enrol(&mut phone, secret, "Siti", Role::UnitHead, "13.76")
        .unwrap();
    assert_eq!(phone.device().id(), before);
    assert_eq!(phone.device().grants()[0].role, Role::UnitHead);
    assert_eq!(phone.titles(), ["Papan"]);
    assert_eq!(phone.device().unsent(), 1);
    world.sync(&mut phone);
    assert_eq!(phone.device().unsent(), 0);
}

#[test]
fn another_server_is_refused_while_work_waits_for_the_first() {
    let mut world = World::new();
    let mut other = World::founded(2, bukti_core::id::JournalId([8; 16]));
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut phone, "Papan");
    let kv = phone.close();
    let secret = other.draw();
    let refused = other
        .enrol(&mut phone, secret, "Siti", Role::Officer, WARD)
        .unwrap_err();
    assert!(matches!(refused, DeviceError::OtherServer(_)), "{refused}");
    phone.open(kv);
    world.sync(&mut phone);
    let secret = other.draw();
    other
        .enrol(&mut phone, secret, "Siti", Role::Officer, WARD)
        .unwrap();
    assert!(
        phone.titles().is_empty(),
        "the other server's evidence is elsewhere"
    );
    other.create(&mut phone, "Baru");
    other.sync(&mut phone);
    assert_eq!(phone.device().unsent(), 0);
    assert!(phone.device().status().unwrap().differs.is_empty());
}

#[test]
fn a_store_of_which_nobody_can_say_what_it_is_is_not_emptied() {
    let mut world = World::new();
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut phone, "Papan");
    world.sync(&mut phone);
    let kv = phone.close();
    for is_gone in [false, true] {
        let mut batch = Batch::new();
        match is_gone {
            false => batch.put("m", "not a row"),
            true => batch.delete("m"),
        };
        kv.apply(&batch).unwrap();
        let before = kv.snapshot();
        let refused = phone.try_open(kv.clone()).unwrap_err();
        let is_damaged = matches!(refused, DeviceError::Confirmed(ConfirmedError::Damaged(_)));
        assert!(is_damaged, "{refused:?}");
        assert!(kv.snapshot() == before);
    }
    // What a disk does not give at this moment says nothing of what is there.
    for call in [1, 2] {
        let kv = MemoryKv::new();
        kv.fail_at(call, KvFault::Io);
        let refused = phone.try_open(kv).unwrap_err();
        let is_unread = matches!(
            refused,
            DeviceError::Confirmed(ConfirmedError::Kv(KvError::Io { .. }))
        );
        assert!(is_unread, "call {call}: {refused:?}");
    }
}

#[test]
fn a_cut_enrolment_goes_on_with_the_same_key() {
    let mut world = World::new();
    let phone = Phone::empty();
    let link = world.link([3; 16]);
    let first = crate::device::Applicant::open(phone.folders(), &link, [1; 32]).unwrap();
    for disk in [&phone.home, &phone.tail] {
        disk.crash(&mut |_| 0);
    }
    let second = crate::device::Applicant::open(phone.folders(), &link, [2; 32]).unwrap();
    assert_eq!(first.key().to_bytes(), second.key().to_bytes());
    let forged = crate::device::Enrolment {
        journal: vec![1],
        certificate: vec![2],
    };
    let incarnation = Incarnation(world.draw());
    assert!(
        second
            .finish(MemoryKv::new(), &forged, incarnation)
            .is_err()
    );
}
