//! Edits that are entered again: once, wherever that is interrupted, and however many they are.

use bukti_core::authority::Role;
use bukti_core::evidence::{Edit, Value};
use bukti_core::id::{DocumentId, Incarnation};
use bukti_core::journal::memory::Fault;

use super::world::{NOW, Phone, WARD, World};
use crate::device::{DeviceError, PutOff};

fn edit(phone: &mut Phone, id: &DocumentId, edit: Edit) {
    phone.device().edit(NOW, id, &[edit]).unwrap();
}

fn waiting(phone: &mut Phone) -> (usize, usize, usize) {
    let status = phone.device().status().unwrap();
    (status.unsent, status.to_enter_again, status.quarantined)
}

/// A text that no run can hold three of.
fn long(word: &str) -> String {
    word.repeat(60_000 / word.len())
}

/// Three edits, more together than one run may hold.
fn write_much(phone: &mut Phone, id: &DocumentId) {
    let field = |code: &str, word: &str| Edit::Field {
        code: code.into(),
        value: Value::Text(long(word)),
    };
    edit(phone, id, Edit::Narrative(long("satu ")));
    edit(phone, id, field("note", "dua "));
    edit(phone, id, field("place_note", "tiga "));
}

/// A document, a phone, and a copy of it whose next run the server knows under another content.
fn copied() -> (World, Phone, Phone, DocumentId) {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let copy = siti.duplicate();
    edit(&mut siti, &id, Edit::AddRow("1.1".into()));
    world.sync(&mut siti);
    (world, siti, copy, id)
}

#[test]
fn edits_of_a_copy_that_are_too_many_for_one_run_become_more() {
    let (mut world, mut siti, mut copy, id) = copied();
    write_much(&mut copy, &id);
    let wanted = copy.device().show(&id).unwrap().evidence;
    world.sync(&mut copy);
    assert_eq!(waiting(&mut copy), (0, 0, 0));
    world.sync(&mut siti);
    let shown = siti.device().show(&id).unwrap().evidence;
    assert_eq!(shown.narrative, wanted.narrative);
    assert_eq!(shown.fields, wanted.fields);
    assert!(shown.rows.contains("1.1"));
    assert_eq!(siti.shown(&id), copy.shown(&id));
}

#[test]
fn a_new_document_of_a_copy_that_is_too_much_for_one_run_becomes_more() {
    let (mut world, _, mut copy, _) = copied();
    let new = world.create(&mut copy, "Baru");
    write_much(&mut copy, &new);
    let wanted = copy.device().show(&new).unwrap().evidence;
    world.sync(&mut copy);
    assert_eq!(waiting(&mut copy), (0, 0, 0));
    let shown = copy.device().show(&new).unwrap().evidence;
    assert_eq!(
        (shown.narrative, shown.fields),
        (wanted.narrative, wanted.fields)
    );
}

/// Others filled the document meanwhile: what is entered again would be refused in every session.
#[test]
fn edits_of_a_copy_that_no_server_would_take_go_to_quarantine_and_nothing_waits_for_them() {
    let (mut world, mut siti, mut copy, id) = copied();
    let other = world.create(&mut siti, "Lain");
    world.sync(&mut siti);
    let noise = |seed: u32| -> String {
        let mut state = seed;
        let mut letters = std::iter::from_fn(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from_u32(0x4e00 + (state >> 16) % 0x5000)
        });
        letters.by_ref().take(20_000).collect()
    };
    for place in 0.. {
        let field = Edit::Field {
            code: format!("field{place}"),
            value: Value::String(noise(place)),
        };
        if siti.device().edit(NOW, &id, &[field]).is_err() {
            break;
        }
    }
    world.sync(&mut siti);
    let field = Edit::Field {
        code: "mine".into(),
        value: Value::String(noise(99)),
    };
    edit(&mut copy, &id, field);
    let new = world.create(&mut copy, "Hanya di salinan");
    world.sync(&mut copy);
    assert_eq!(waiting(&mut copy), (0, 0, 1));
    let refused = copy.device().quarantined();
    assert_eq!(refused[0].code, "not-entered-again");
    assert!(refused[0].sentence.contains("full"), "{refused:?}");
    for id in [other, new] {
        assert!(copy.device().show(&id).is_ok());
    }
    world.sync(&mut siti);
    assert!(siti.device().show(&new).is_ok());
}

/// It waits in the tail as it was: the next session with room enters it.
#[test]
fn edits_of_a_copy_wait_on_a_full_disk_and_end_no_session() {
    let (mut world, _, mut copy, id) = copied();
    edit(&mut copy, &id, Edit::AddRow("2.2".into()));
    let (_, restarts) = world.session(&mut copy, usize::MAX);
    assert!(restarts);
    copy.tail.set_free_bytes(0);
    world.sync(&mut copy);
    assert_eq!(waiting(&mut copy), (1, 1, 0));
    assert_eq!(copy.device().put_off(), Some(PutOff::Entering));
    copy.tail.set_free_bytes(u64::MAX);
    world.sync(&mut copy);
    assert_eq!(copy.device().put_off(), None);
    assert_eq!(waiting(&mut copy), (0, 0, 0));
}

/// The copy's cursor is void, and it holds documents: what the server has of them comes by
/// comparing, behind the first word that everything was fed.
#[test]
fn edits_of_a_copy_that_the_server_has_are_not_entered_before_they_come() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    edit(&mut siti, &id, Edit::Narrative("Satu. ".into()));
    let mut copy = siti.duplicate();
    edit(&mut siti, &id, Edit::AddRow("1.1".into()));
    world.sync(&mut siti);
    edit(&mut copy, &id, Edit::AddRow("2.2".into()));
    let (_, restarts) = world.session(&mut copy, usize::MAX);
    assert!(restarts);
    let device = copy.device();
    device
        .confirmed
        .update(|meta| meta.cursor_is_void = true)
        .unwrap();
    world.sync(&mut copy);
    let shown = copy.device().show(&id).unwrap().evidence;
    assert_eq!(shown.narrative, "Satu. ");
    assert_eq!(shown.rows.into_iter().collect::<Vec<_>>(), ["1.1", "2.2"]);
    assert_eq!(waiting(&mut copy), (0, 0, 0));
}

#[test]
fn a_device_that_ends_between_sealing_and_noting_enters_nothing_twice() {
    let mut world = World::new();
    let mut budi = world.phone("Budi", Role::Observer, WARD);
    budi.device().set_local_checks(false);
    let id = world.create(&mut budi, "Papan");
    edit(&mut budi, &id, Edit::Narrative("Satu.".into()));
    world.sync(&mut budi);
    budi.device().set_local_checks(true);
    let secret = world.draw();
    world
        .enrol(&mut budi, secret, "Budi", Role::Officer, WARD)
        .unwrap();
    let refused = budi.device().quarantined();
    assert_eq!(refused.len(), 2);
    let run = refused[0].run;
    let (incarnation, random) = (Incarnation(world.draw()), world.draw());
    budi.quarantine.fail_at(1, Fault::Io);
    let failed = budi
        .device()
        .enter_again(NOW, incarnation, random, &run)
        .unwrap_err();
    assert!(matches!(failed, DeviceError::Quarantine(_)), "{failed}");
    budi.quarantine.fail_no_more();
    budi.crash(&mut |_| 0);
    assert_eq!(waiting(&mut budi), (1, 0, 0));
    let by = budi.device().tail.pending()[0].id();
    let noted = budi.device().quarantined();
    assert!(noted.iter().all(|entry| entry.entered_again == Some(by)));
    let (incarnation, random) = (Incarnation(world.draw()), world.draw());
    let twice = budi.device().enter_again(NOW, incarnation, random, &run);
    assert!(matches!(twice, Err(DeviceError::UnknownQuarantined(_))));
    world.sync(&mut budi);
    assert_eq!(budi.titles(), ["Papan"]);
}
