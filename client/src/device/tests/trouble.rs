//! Refusals, copies, restores and servers thrown back.

use bukti_core::authority::{Grant, Role};
use bukti_core::evidence::Edit;
use bukti_core::id::{DocumentId, Incarnation, JournalId};
use bukti_core::journal::memory::MemoryStorage;
use bukti_core::kv::MemoryKv;
use bukti_sync_protocol::bye::Bye;
use bukti_sync_protocol::client::Event;
use bukti_sync_protocol::item::Item;

use super::world::{NOW, Phone, WARD, World, evidence};
use crate::device::{Delivery, DeviceError, Reaction};
use crate::limits::TAIL_RESERVE_BYTES;

/// A person without the right to write uses an app that does not care.
fn dishonest(world: &mut World) -> Phone {
    let mut phone = world.phone("Budi", Role::Observer, WARD);
    phone.device().set_local_checks(false);
    phone
}

#[test]
fn a_refused_run_and_what_builds_on_it_lie_in_quarantine_with_their_words() {
    let mut world = World::new();
    let mut budi = dishonest(&mut world);
    let id = world.create(&mut budi, "Papan");
    budi.device()
        .edit(NOW, &id, &[Edit::Title("Papan palsu".into())])
        .unwrap();
    let before = budi.device().incarnation();
    world.sync(&mut budi);

    let refused = budi.device().quarantined();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|entry| entry.code == "forbidden"));
    let words: Vec<&String> = refused.iter().flat_map(|entry| &entry.edits).collect();
    assert!(
        words.iter().any(|line| line.contains("Papan palsu")),
        "{words:?}"
    );
    assert_eq!(budi.device().unsent(), 0);
    assert_ne!(
        budi.device().incarnation(),
        before,
        "a sealed number is never used again"
    );

    budi.crash(&mut |_| 0);
    assert_eq!(budi.device().quarantined(), refused);
    let bytes = budi.device().export_quarantined(&refused[0].run).unwrap();
    assert!(bytes.windows(18).any(|part| part == b"bukti.quarantine.2"));
}

#[test]
fn other_documents_go_on_when_one_is_refused() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    siti.device().set_local_checks(false);
    let kept = world.create(&mut siti, "Papan");
    let (random, elsewhere) = (world.draw(), "13.76.02.1002".parse().unwrap());
    let created = siti
        .device()
        .create(NOW, random, &elsewhere, &evidence("Bukan"));
    let refused = created.unwrap().0;
    world.sync(&mut siti);
    assert_eq!(siti.device().delivery(&kept).unwrap(), Delivery::Received);
    assert!(matches!(
        siti.device().delivery(&refused),
        Err(DeviceError::UnknownDocument(_))
    ));
    siti.device()
        .edit(NOW, &kept, &[Edit::Title("Papan baru".into())])
        .unwrap();
    world.sync(&mut siti);
    assert_eq!(siti.device().unsent(), 0);
    assert_eq!(siti.titles(), ["Papan baru"]);
}

#[test]
fn refused_edits_are_entered_again_once_they_are_allowed() {
    let mut world = World::new();
    let mut budi = dishonest(&mut world);
    let id = world.create(&mut budi, "Papan");
    let edits = [
        Edit::Narrative("Dipasang di kantor.".into()),
        Edit::AddRow("1.1".into()),
    ];
    budi.device().edit(NOW, &id, &edits).unwrap();
    let wanted = budi.device().show(&id).unwrap().evidence;
    world.sync(&mut budi);
    budi.device().set_local_checks(true);
    let run = budi.device().quarantined()[0].run;
    let (incarnation, random) = (Incarnation(world.draw()), world.draw());
    let denied = budi.device().enter_again(NOW, incarnation, random, &run);
    assert!(matches!(denied, Err(DeviceError::Denied(_))));

    let secret = world.draw();
    world
        .enrol(&mut budi, secret, "Budi", Role::Officer, WARD)
        .unwrap();
    let (again, sealed) = budi
        .device()
        .enter_again(NOW, incarnation, random, &run)
        .unwrap();
    assert_ne!(again, id);
    world.sync(&mut budi);
    assert_eq!(budi.device().delivery(&again).unwrap(), Delivery::Received);
    let shown = budi.device().show(&again).unwrap().evidence;
    assert_eq!(
        (&shown.title, &shown.narrative, &shown.rows),
        (&wanted.title, &wanted.narrative, &wanted.rows)
    );
    let entries = budi.device().quarantined();
    assert!(entries.iter().all(|entry| entry.entered_again == sealed));
    assert_eq!(budi.device().status().unwrap().quarantined, 0);
    let twice = budi.device().enter_again(NOW, incarnation, random, &run);
    assert!(twice.is_err(), "they would stand there twice");
}

#[test]
fn of_two_copies_of_a_store_both_keep_their_edits() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    siti.device()
        .edit(NOW, &id, &[Edit::Narrative("Awal.".into())])
        .unwrap();
    world.sync(&mut siti);
    let mut copy = siti.duplicate();
    siti.device()
        .edit(NOW, &id, &[Edit::AddRow("1.1".into())])
        .unwrap();
    copy.device()
        .edit(NOW, &id, &[Edit::Narrative("Awal. Dari salinan.".into())])
        .unwrap();
    let new = world.create(&mut copy, "Hanya di salinan");
    world.sync(&mut siti);

    let before = copy.device().incarnation();
    world.sync(&mut copy);
    assert_ne!(copy.device().incarnation(), before);
    let status = copy.device().status().unwrap();
    assert_eq!(
        (status.unsent, status.to_enter_again, status.quarantined),
        (0, 0, 0)
    );
    world.sync(&mut siti);
    for phone in [&mut siti, &mut copy] {
        let shown = phone.device().show(&id).unwrap().evidence;
        assert_eq!(shown.narrative, "Awal. Dari salinan.");
        assert!(shown.rows.contains("1.1"));
        assert_eq!(phone.device().delivery(&new).unwrap(), Delivery::Received);
        assert!(phone.device().status().unwrap().differs.is_empty());
    }
    assert_eq!(siti.shown(&id), copy.shown(&id));
}

#[test]
fn a_restored_store_doubles_nothing_that_the_server_has() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    siti.device()
        .edit(NOW, &id, &[Edit::Narrative("Satu.".into())])
        .unwrap();
    let mut backup = siti.duplicate();
    siti.device()
        .edit(NOW, &id, &[Edit::AddRow("1.1".into())])
        .unwrap();
    world.sync(&mut siti);

    world.sync(&mut backup);
    let shown = backup.device().show(&id).unwrap().evidence;
    assert_eq!(shown.narrative, "Satu.");
    assert!(shown.rows.contains("1.1"));
    assert_eq!(backup.titles().len(), 1);
    let history = backup.device().history(&id).unwrap();
    assert_eq!(history.len(), 3, "nothing was entered a second time");
    assert_eq!(backup.device().unsent(), 0);
}

#[test]
fn edits_made_on_a_restored_store_before_it_knew_are_kept() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let mut backup = siti.duplicate();
    siti.device()
        .edit(NOW, &id, &[Edit::AddRow("1.1".into())])
        .unwrap();
    world.sync(&mut siti);
    backup
        .device()
        .edit(NOW, &id, &[Edit::AddRow("2.2".into())])
        .unwrap();

    // The first connection ends with the news; what is edited before the next counts, too.
    let (_, restarts) = world.session(&mut backup, usize::MAX);
    assert!(restarts);
    backup
        .device()
        .edit(NOW, &id, &[Edit::AddRow("3.3".into())])
        .unwrap();
    backup.crash(&mut |_| 0);
    world.sync(&mut backup);
    let rows = backup.device().show(&id).unwrap().evidence.rows;
    assert_eq!(rows.into_iter().collect::<Vec<_>>(), ["1.1", "2.2", "3.3"]);
    let status = backup.device().status().unwrap();
    assert_eq!(
        (status.unsent, status.to_enter_again, status.quarantined),
        (0, 0, 0)
    );
}

/// One was sealed before, the other behind what the store had sealed under the same number before it
/// was restored.
#[test]
fn edits_of_a_restored_store_that_contradict_each_other_are_all_kept() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let mut restored = siti.duplicate();
    let row = |phone: &mut Phone, row: &str| {
        let edit = [Edit::AddRow(row.into())];
        phone.device().edit(NOW, &id, &edit).unwrap();
    };
    row(&mut siti, "1.1");
    world.sync(&mut siti);
    row(&mut restored, "2.2");
    // What the store had sealed comes to it in a document that is sent whole, say.
    let rows = restored.close();
    rows.restore(&siti.snapshot());
    restored.open(rows);
    row(&mut restored, "3.3");
    world.sync(&mut restored);
    let rows = restored.device().show(&id).unwrap().evidence.rows;
    assert_eq!(rows.into_iter().collect::<Vec<_>>(), ["1.1", "2.2", "3.3"]);
    let status = restored.device().status().unwrap();
    assert_eq!(
        (status.unsent, status.to_enter_again, status.quarantined),
        (0, 0, 0)
    );
    assert!(status.differs.is_empty());
}

/// Siti edited on a copy of her folder, and what the copy had of the evidence is gone.
fn an_edit_on_a_copy_without_its_store(edits: &[Edit]) -> (World, Phone, Phone, DocumentId) {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let mut restored = siti.duplicate();
    let edit = [Edit::AddRow("1.1".into())];
    siti.device().edit(NOW, &id, &edit).unwrap();
    restored.device().edit(NOW, &id, edits).unwrap();
    world.sync(&mut siti);
    restored.close();
    restored.open(MemoryKv::new());
    (world, siti, restored, id)
}

fn grant(world: &mut World, phone: &mut Phone, roles: &[(Role, &str)]) {
    let grants = roles.iter().map(|(role, scope)| Grant {
        role: *role,
        scope: scope.parse().unwrap(),
    });
    let (device, grants) = (phone.device().id(), grants.collect());
    world.ledger.grant(NOW + 1, device, grants).unwrap();
}

/// What is unsent, of that to be entered again, and in quarantine.
fn waiting(phone: &mut Phone) -> (usize, usize, usize) {
    let status = phone.device().status().unwrap();
    (status.unsent, status.to_enter_again, status.quarantined)
}

#[test]
fn a_restored_store_that_may_edit_nothing_any_more_has_its_edits_in_quarantine() {
    let edit = [Edit::AddRow("2.2".into())];
    let (mut world, _, mut restored, _) = an_edit_on_a_copy_without_its_store(&edit);
    grant(&mut world, &mut restored, &[(Role::Observer, WARD)]);
    world.sync(&mut restored);
    assert_eq!(waiting(&mut restored), (0, 0, 1));
    assert_eq!(restored.device().quarantined()[0].code, "forbidden");
}

#[test]
fn a_restored_store_without_any_grant_has_its_edits_in_quarantine() {
    let edit = [Edit::AddRow("2.2".into())];
    let (mut world, _, mut restored, _) = an_edit_on_a_copy_without_its_store(&edit);
    grant(&mut world, &mut restored, &[]);
    world.sync(&mut restored);
    assert_eq!(restored.device().grants(), []);
    assert_eq!(waiting(&mut restored), (0, 0, 1));
    assert_eq!(restored.device().quarantined()[0].code, "forbidden");
}

#[test]
fn a_restored_store_of_somebody_who_moved_has_its_edits_in_quarantine() {
    let edit = [Edit::AddRow("2.2".into())];
    let (mut world, _, mut restored, _) = an_edit_on_a_copy_without_its_store(&edit);
    let elsewhere = [(Role::Officer, "13.76.02.1002")];
    grant(&mut world, &mut restored, &elsewhere);
    let before = restored.device().incarnation();
    world.sync(&mut restored);
    assert_eq!(waiting(&mut restored), (0, 0, 1));
    assert_eq!(restored.device().quarantined()[0].code, "base-missing");
    assert_ne!(restored.device().incarnation(), before);
    restored.reopen();
    assert_eq!(waiting(&mut restored), (0, 0, 1));
}

#[test]
fn edits_without_what_they_build_on_keep_their_words_and_are_entered_again_with_it() {
    let edits = [
        Edit::Title("Dari salinan".into()),
        Edit::Narrative("Dipasang di kantor.".into()),
    ];
    let (mut world, _, mut restored, id) = an_edit_on_a_copy_without_its_store(&edits);
    grant(&mut world, &mut restored, &[(Role::Observer, WARD)]);
    world.sync(&mut restored);
    let refused = restored.device().quarantined();
    assert_eq!(refused[0].title, "Dari salinan");
    let lines = ["title: \"Dari salinan\"", "text: \"Dipasang di kantor.\""];
    assert_eq!(refused[0].edits, lines);

    let (incarnation, random, run) = (Incarnation(world.draw()), world.draw(), refused[0].run);
    let again = |phone: &mut Phone| {
        let device = phone.device();
        device.enter_again(NOW, incarnation, random, &run)
    };
    let lacking = again(&mut restored);
    assert!(matches!(lacking, Err(DeviceError::BaseMissing(_))));
    assert_eq!(restored.device().quarantined(), refused);
    grant(&mut world, &mut restored, &[(Role::Officer, WARD)]);
    world.sync(&mut restored);
    again(&mut restored).unwrap();
    world.sync(&mut restored);
    assert_eq!(waiting(&mut restored), (0, 0, 0));
    let shown = restored.device().show(&id).unwrap().evidence;
    assert_eq!(shown.title, "Dari salinan");
    assert_eq!(shown.narrative, "Dipasang di kantor.");
    assert!(shown.rows.contains("1.1"));
}

#[test]
fn edits_wait_for_what_others_give_back_while_a_device_is_not_confirmed() {
    let edit = [Edit::AddRow("2.2".into())];
    let (mut world, mut siti, mut restored, id) = an_edit_on_a_copy_without_its_store(&edit);
    let (_, restarts) = world.session(&mut restored, usize::MAX);
    assert!(restarts);
    let mut anew = World::founded(1, JournalId([8; 16]));
    anew.sync(&mut restored);
    assert!(restored.device().status().unwrap().awaits_confirmation);
    assert_eq!(waiting(&mut restored), (1, 1, 0));
    anew.sync(&mut siti);
    let device = restored.device().id();
    anew.ledger.confirm(NOW, device).unwrap();
    anew.sync(&mut restored);
    assert_eq!(waiting(&mut restored), (0, 0, 0));
    let rows = restored.device().show(&id).unwrap().evidence.rows;
    assert_eq!(rows.into_iter().collect::<Vec<_>>(), ["1.1", "2.2"]);
}

#[test]
fn edits_wait_while_less_is_asked_for_than_the_grants_allow() {
    let edit = [Edit::AddRow("2.2".into())];
    let (mut world, _, mut restored, _) = an_edit_on_a_copy_without_its_store(&edit);
    grant(
        &mut world,
        &mut restored,
        &[(Role::Officer, "13.76.02.1002")],
    );
    let (_, restarts) = world.session(&mut restored, usize::MAX);
    assert!(restarts);
    let up_to_date = Event::UpToDate {
        cursor: vec![7],
        position: 1,
        digests: Vec::new(),
    };
    let scope = "13.76.02.1002".parse().unwrap();
    for (scopes, expected) in [(vec![scope], (1, 1, 0)), (Vec::new(), (0, 0, 1))] {
        let device = restored.device();
        device.opening(scopes, "").unwrap();
        device.conclude(NOW, false).unwrap();
        device.handle_event(NOW, [4; 16], &up_to_date).unwrap();
        device.conclude(NOW, true).unwrap();
        assert_eq!(device.status().unwrap().quarantined, 0, "it compares");
        device.conclude(NOW, false).unwrap();
        assert_eq!(waiting(&mut restored), expected);
    }
}

#[test]
fn a_phone_that_lost_its_store_and_every_grant_believes_the_server() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    siti.close();
    siti.open(MemoryKv::new());
    grant(&mut world, &mut siti, &[]);
    world.sync(&mut siti);
    assert_eq!(siti.device().grants(), []);
    siti.reopen();
    assert_eq!(siti.device().grants(), []);

    // What a later invitation certifies counts before the feed brought it, and behind that again.
    let secret = world.draw();
    world
        .enrol(&mut siti, secret, "Siti", Role::UnitHead, WARD)
        .unwrap();
    for _ in 0..2 {
        assert_eq!(siti.device().grants()[0].role, Role::UnitHead);
        world.sync(&mut siti);
    }
}

#[test]
fn a_restored_identity_believes_the_certificate_that_came_after_its_own() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.sync(&mut siti);
    let mut restored = siti.duplicate();
    let secret = world.draw();
    world
        .enrol(&mut siti, secret, "Siti", Role::UnitHead, WARD)
        .unwrap();
    world.sync(&mut restored);
    assert_eq!(restored.device().grants()[0].role, Role::UnitHead);
}

#[test]
fn a_server_that_is_behind_its_own_receipts_gets_the_runs_again() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.sync(&mut siti);
    let id = world.create(&mut siti, "Papan");
    let run = siti.device().offers()[0].run;
    let receipt = Event::Accepted(vec![(run, 1_000)]);
    siti.device().handle_event(NOW, [0; 16], &receipt).unwrap();
    siti.reopen();
    assert_eq!(siti.device().delivery(&id).unwrap(), Delivery::Received);
    assert!(siti.device().offers().is_empty());

    world.sync(&mut siti);
    assert!(world.ledger.reader().document(&id).unwrap().is_some());
    assert_eq!(siti.device().delivery(&id).unwrap(), Delivery::Received);
}

#[test]
fn a_revoked_device_keeps_what_was_not_received_in_quarantine() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    siti.device()
        .edit(NOW, &id, &[Edit::Title("Setelah".into())])
        .unwrap();
    let device = siti.device().id();
    world.ledger.revoke(NOW, device).unwrap();
    world.sync(&mut siti);
    let status = siti.device().status().unwrap();
    assert!(status.revoked);
    assert_eq!((status.unsent, status.quarantined), (0, 1));
    assert_eq!(siti.device().quarantined()[0].code, "revoked");
    assert_eq!(siti.titles(), ["Papan"]);
}

#[test]
fn a_revocation_that_the_server_did_not_sign_moves_no_work() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    let forged = Bye::revoked().vouched(Some(vec![1, 2, 3]));
    for bye in [Bye::revoked(), forged] {
        let event = Event::Bye(bye);
        siti.device().handle_event(NOW, [1; 16], &event).unwrap();
        let status = siti.device().status().unwrap();
        assert_eq!((status.unsent, status.quarantined), (1, 0));
        assert!(!status.revoked);
    }
}

#[test]
fn a_page_counts_whole_or_not_at_all() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    world.sync(&mut budi);
    world.create(&mut siti, "Papan");
    let events = world.sync(&mut siti);
    drop(events);
    let before = budi.snapshot();
    let events = world.sync(&mut budi);
    let page = events
        .into_iter()
        .find(|event| matches!(event, Event::Page { .. }))
        .unwrap();
    // Back to before the page; then the page alone: its rows and its cursor come together.
    let kv = budi.close();
    kv.restore(&before);
    budi.open(kv);
    assert!(budi.titles().is_empty());
    let cursor = |phone: &mut Phone| phone.device().opening(Vec::new(), "").unwrap().cursor;
    let earlier = cursor(&mut budi);
    let reaction = budi.device().handle_event(NOW, [0; 16], &page).unwrap();
    assert_eq!(reaction, Reaction::Applied);
    assert_ne!(cursor(&mut budi), earlier);
    assert_eq!(budi.titles(), ["Papan"]);
}

#[test]
fn a_feed_that_lies_leaves_findings_and_goes_on() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let events = world.sync(&mut budi);
    let mut items: Vec<Item> = events
        .into_iter()
        .filter_map(|event| match event {
            Event::Page { items, .. } => Some(items),
            _other => None,
        })
        .flatten()
        .filter(|item| !matches!(item, Item::Fact { .. }))
        .collect();
    assert_eq!(items.len(), 1);
    for item in &mut items {
        match item {
            Item::Record { run, .. } => *run.last_mut().unwrap() ^= 1,
            Item::Whole { envelopes, .. } => envelopes.clear(),
            Item::Own { .. } | Item::Fact { .. } => unreachable!("neither is in the list"),
        }
    }
    items.push(Item::Fact {
        position: 1,
        statement: vec![1, 2, 3],
    });
    budi.close();
    budi.open(MemoryKv::new());
    let lie = Event::Page {
        items,
        cursor: vec![7],
    };
    assert_eq!(
        budi.device().handle_event(NOW, [0; 16], &lie).unwrap(),
        Reaction::Applied
    );
    assert_eq!(budi.device().findings().unwrap().len(), 2);
    assert!(matches!(
        budi.device().show(&id),
        Err(DeviceError::UnknownDocument(_))
    ));
    assert_eq!(
        budi.device().opening(Vec::new(), "").unwrap().cursor,
        Some(vec![7])
    );
}

/// What Siti did was accepted, and the link was cut before anything else came; and a backup of the
/// server from before it.
fn accepted_without_its_page(
    edit_it: impl Fn(&mut World, &mut Phone, DocumentId) -> DocumentId,
) -> (World, Phone, DocumentId, MemoryStorage) {
    for frames in 1.. {
        let mut world = World::new();
        let mut siti = world.phone("Siti", Role::Officer, WARD);
        let id = world.create(&mut siti, "Papan");
        world.sync(&mut siti);
        let id = edit_it(&mut world, &mut siti, id);
        let backup = world.journal.duplicate();
        let (events, _) = world.session(&mut siti, frames);
        let is_accepted = |event: &Event| matches!(event, Event::Accepted(_));
        if events.iter().any(is_accepted) {
            assert_eq!(siti.device().accepted_runs().count(), 1);
            return (world, siti, id, backup);
        }
    }
    unreachable!()
}

fn an_accepted_edit_without_its_page() -> (World, Phone, DocumentId, MemoryStorage) {
    accepted_without_its_page(|_, siti, id| {
        let edit = [Edit::AddRow("1.1".into())];
        siti.device().edit(NOW, &id, &edit).unwrap();
        id
    })
}

#[test]
fn an_accepted_edit_does_not_keep_evidence_that_is_not_to_be_read_any_more() {
    let elsewhere = (Role::Officer, "13.76.02.1002");
    for roles in [&[][..], &[elsewhere], &[(Role::Observer, WARD)]] {
        let (mut world, mut siti, id, _) = an_accepted_edit_without_its_page();
        grant(&mut world, &mut siti, roles);
        world.sync(&mut siti);
        assert_eq!(siti.titles(), [""; 0], "{roles:?}");
        assert_eq!(waiting(&mut siti), (0, 0, 0));
        assert_eq!(siti.device().accepted_runs().count(), 0);
        siti.reopen();
        assert_eq!(siti.titles(), [""; 0]);

        grant(&mut world, &mut siti, &[(Role::Officer, WARD)]);
        world.sync(&mut siti);
        let shown = siti.device().show(&id).unwrap().evidence;
        assert!(shown.rows.contains("1.1"));
        assert_eq!(siti.device().findings().unwrap(), []);
        let more = [Edit::AddRow("2.2".into())];
        siti.device().edit(NOW, &id, &more).unwrap();
        world.sync(&mut siti);
        assert_eq!(waiting(&mut siti), (0, 0, 0));
    }
}

#[test]
fn an_accepted_edit_that_a_full_disk_keeps_is_not_called_unsent() {
    let (mut world, mut siti, _, _) = an_accepted_edit_without_its_page();
    grant(&mut world, &mut siti, &[]);
    siti.tail.set_free_bytes(TAIL_RESERVE_BYTES - 1);
    world.sync(&mut siti);
    for _ in 0..2 {
        let device = siti.device();
        assert_eq!((device.accepted_runs().count(), device.unsent()), (1, 0));
        siti.reopen();
    }
    siti.tail.set_free_bytes(u64::MAX);
    siti.reopen();
    world.sync(&mut siti);
    assert_eq!(siti.device().accepted_runs().count(), 0);
    assert_eq!(siti.titles(), [""; 0]);
}

#[test]
fn an_accepted_edit_that_the_server_lost_meanwhile_goes_to_quarantine() {
    let (mut world, mut siti, _, backup) = an_accepted_edit_without_its_page();
    let lost = world.ledger.reader().watermark().position;
    world.restore(backup);
    // The server is further than it was when it lost the edit.
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    while world.ledger.reader().watermark().position <= lost {
        world.create(&mut budi, "Lain");
        world.sync(&mut budi);
    }
    grant(&mut world, &mut siti, &[]);
    world.sync(&mut siti);
    assert_eq!(siti.titles(), [""; 0]);
    assert_eq!(waiting(&mut siti), (0, 0, 1));
    let refused = siti.device().quarantined();
    assert_eq!(
        (&*refused[0].code, refused[0].edits.len()),
        ("forbidden", 1)
    );
}

#[test]
fn an_accepted_edit_of_a_restored_store_does_not_wait_in_evidence_that_is_out_of_reach() {
    let (mut world, mut siti, id, _) = an_accepted_edit_without_its_page();
    let mut restored = siti.duplicate();
    let more = [Edit::AddRow("2.2".into())];
    siti.device().edit(NOW, &id, &more).unwrap();
    world.sync(&mut siti);
    grant(&mut world, &mut restored, &[]);
    world.sync(&mut restored);
    assert_eq!(restored.titles(), [""; 0]);
    assert_eq!(waiting(&mut restored), (0, 0, 1));
    assert_eq!(restored.device().accepted_runs().count(), 0);
}

/// What `edit_it` does is accepted of a store, goes to quarantine of a copy of it whose grants do not
/// reach it for a while, and is entered by hand behind that. Answers what is shown then.
fn of_a_restored_store_out_of_reach_for_a_while(
    is_known: bool,
    edit_it: impl Fn(&mut World, &mut Phone, DocumentId) -> DocumentId,
) -> Vec<String> {
    let backup = std::cell::RefCell::new(None);
    let (mut world, mut siti, id, _) = accepted_without_its_page(|world, siti, id| {
        let id = edit_it(world, siti, id);
        *backup.borrow_mut() = Some(siti.duplicate());
        id
    });
    let mut restored = match is_known {
        true => siti.duplicate(),
        false => backup.take().unwrap(),
    };
    let accepted = restored.device().tail.pending()[0].id();
    let more = [Edit::AddRow("2.2".into())];
    siti.device().edit(NOW, &id, &more).unwrap();
    world.sync(&mut siti);
    grant(&mut world, &mut restored, &[]);
    world.sync(&mut restored);
    assert_eq!(waiting(&mut restored), (0, 0, 1));
    // As it was sealed: nothing was made in its place.
    assert_eq!(restored.device().quarantined()[0].run, accepted);
    grant(&mut world, &mut restored, &[(Role::Officer, WARD)]);
    world.sync(&mut restored);
    let (incarnation, random) = (Incarnation(world.draw()), world.draw());
    let device = restored.device();
    let entered = device.enter_again(NOW, incarnation, random, &accepted);
    assert_eq!(entered.unwrap(), (id, None));
    world.sync(&mut restored);
    assert_eq!(waiting(&mut restored), (0, 0, 0));
    world.sync(&mut siti);
    let shown = siti.device().list().unwrap().into_iter();
    shown
        .map(|of| siti.device().show(&of.id).unwrap().evidence)
        .map(|evidence| evidence.title + ": " + &evidence.narrative)
        .collect()
}

#[test]
fn an_accepted_edit_of_a_restored_store_that_was_out_of_reach_for_a_while_is_not_doubled() {
    for is_known in [true, false] {
        let shown = of_a_restored_store_out_of_reach_for_a_while(is_known, |_, siti, id| {
            let edit = [Edit::Narrative("Satu. ".into())];
            siti.device().edit(NOW, &id, &edit).unwrap();
            id
        });
        assert_eq!(shown, ["Papan: Satu. "], "{is_known}");
        let shown = of_a_restored_store_out_of_reach_for_a_while(is_known, |world, siti, _| {
            world.create(siti, "Baru")
        });
        assert_eq!(shown.len(), 2, "{is_known}: {shown:?}");
    }
}

#[test]
fn an_edit_accepted_behind_all_that_is_known_waits_for_its_page() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    siti.device().set_local_checks(false);
    grant(&mut world, &mut siti, &[]);
    world.sync(&mut siti);
    let known = siti.device().status().unwrap().position;
    world.create(&mut siti, "Papan");
    let run = siti.device().offers()[0].run;
    // By grants that come behind it.
    let accept = |phone: &mut Phone, position| {
        let receipt = Event::Accepted(vec![(run, position)]);
        phone.device().handle_event(NOW, [0; 16], &receipt).unwrap();
        phone.device().accepted_runs().count()
    };
    assert_eq!(accept(&mut siti, known + 1), 1);
    assert_eq!(accept(&mut siti, known), 0);
    assert_eq!(siti.titles(), [""; 0]);
}
