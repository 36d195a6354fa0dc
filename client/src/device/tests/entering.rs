//! Edits that are entered again: once, wherever that is interrupted, and however many they are.

use std::collections::BTreeSet;

use bukti_core::authority::Role;
use bukti_core::evidence::{Declared, Edit, EvidenceView, Value};
use bukti_core::id::{DocumentId, Incarnation, RunId};
use bukti_core::journal::memory::Fault;
use bukti_sync_protocol::client::Event;

use super::world::{NOW, Phone, WARD, World};
use crate::device::{DeviceError, PutOff};
use crate::limits::TAIL_SETTLED_BYTES;

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

/// Text that takes all its room.
fn noise(seed: u32) -> String {
    let mut state = seed;
    let mut letters = std::iter::from_fn(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_u32(0x4e00 + (state >> 16) % 0x5000)
    });
    letters.by_ref().take(20_000).collect()
}

/// Enters text until the document takes no more, and sends it.
fn fill(world: &mut World, phone: &mut Phone, id: &DocumentId) {
    for place in 0.. {
        let field = Edit::Field {
            code: format!("field{place}"),
            value: Value::String(noise(place)),
        };
        if phone.device().edit(NOW, id, &[field]).is_err() {
            break;
        }
    }
    world.sync(phone);
}

fn narrative(phone: &mut Phone, id: &DocumentId) -> String {
    phone.device().show(id).unwrap().evidence.narrative
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
fn edits_of_a_copy_that_are_too_many_for_one_run_are_entered_each() {
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
fn a_new_document_of_a_copy_that_is_too_much_for_one_run_is_entered_run_by_run() {
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
    fill(&mut world, &mut siti, &id);
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

/// A copy of a store that holds an edit still to be entered again, with the store and a word that shows
/// how often it was.
fn copied_while_it_waits(edit_it: impl FnOnce(&mut World, &mut Phone, &DocumentId)) -> Twins {
    let (mut world, siti, mut one, id) = copied();
    edit_it(&mut world, &mut one, &id);
    let (_, restarts) = world.session(&mut one, usize::MAX);
    assert!(restarts);
    let other = one.duplicate();
    Twins {
        world,
        siti,
        one,
        other,
        id,
    }
}

struct Twins {
    world: World,
    siti: Phone,
    one: Phone,
    other: Phone,
    id: DocumentId,
}

impl Twins {
    /// Lets all meet; each ends with nothing that waits, and with what `siti` sees of `id`.
    fn meet(&mut self) -> EvidenceView {
        for _ in 0..2 {
            for phone in [&mut self.one, &mut self.other, &mut self.siti] {
                self.world.sync(phone);
            }
        }
        for phone in [&mut self.one, &mut self.other] {
            assert_eq!(waiting(phone), (0, 0, 0));
            assert_eq!(phone.shown(&self.id), self.siti.shown(&self.id));
        }
        self.siti.device().show(&self.id).unwrap().evidence
    }

    /// How many runs of the document are received.
    fn runs(&mut self) -> usize {
        let envelopes = self.siti.device().confirmed.envelopes(&self.id);
        envelopes.unwrap().len()
    }
}

fn write_a_word(_: &mut World, phone: &mut Phone, id: &DocumentId) {
    edit(phone, id, Edit::Narrative("Satu. ".into()));
}

#[test]
fn an_edit_that_was_entered_again_is_not_by_a_copy_that_is_put_back() {
    let mut twins = copied_while_it_waits(write_a_word);
    assert_eq!(waiting(&mut twins.other), (1, 1, 0));
    twins.world.sync(&mut twins.one);
    let events = twins.world.sync(&mut twins.other);
    let is_answer = |event: &Event| matches!(event, Event::Accepted(_));
    assert!(!events.iter().any(is_answer), "{events:?}");
    assert_eq!(twins.meet().narrative, "Satu. ");
    // What the document began with, what was in the way, and one more.
    assert_eq!(twins.runs(), 3);
    let envelopes = twins.siti.device().confirmed.envelopes(&twins.id).unwrap();
    let stands_in = envelopes[2].envelope.body().incarnation;
    for phone in [&mut twins.one, &mut twins.other] {
        assert_ne!(phone.device().incarnation(), stands_in);
    }
}

/// A session that ends right behind the sealing; answers what was sealed.
fn enter_and_send_nothing(world: &mut World, phone: &mut Phone) -> RunId {
    let mut cut = (1..100).map(|frames| {
        let mut phone = phone.duplicate();
        world.session(&mut phone, frames);
        phone
    });
    *phone = cut
        .find_map(|mut phone| (waiting(&mut phone) == (1, 0, 0)).then_some(phone))
        .expect("a session that ends behind the sealing");
    phone.device().tail.pending()[0].id()
}

/// Neither learns of the other before it has sealed.
#[test]
fn two_copies_that_enter_an_edit_again_beside_each_other_make_one_run() {
    let mut twins = copied_while_it_waits(write_a_word);
    let received = twins.world.ledger.reader().watermark().position;
    let mut sealed = BTreeSet::new();
    for phone in [&mut twins.one, &mut twins.other] {
        sealed.insert(enter_and_send_nothing(&mut twins.world, phone));
    }
    let still = twins.world.ledger.reader().watermark().position;
    assert_eq!(still, received);
    assert_eq!(sealed.len(), 1);
    assert_eq!(twins.meet().narrative, "Satu. ");
    assert_eq!(twins.runs(), 3);
}

/// Not on the run as it was sealed first, which is nowhere any more and was in sight until then.
#[test]
fn an_edit_right_behind_the_entering_builds_on_what_was_entered() {
    let mut twins = copied_while_it_waits(write_a_word);
    let (id, one, world) = (twins.id, &mut twins.one, &mut twins.world);
    let mut until = |one: &mut Phone, is_reached: &dyn Fn(&mut Phone) -> bool| {
        let cut = (1..100).find(|frames| {
            world.session(one, *frames);
            is_reached(one)
        });
        cut.expect("a session that ends there");
    };
    until(one, &|one| {
        one.device().confirmed.envelopes(&id).unwrap().len() == 2
    });
    assert_eq!(waiting(one), (1, 1, 0));
    one.shown(&id);
    until(one, &|one| waiting(one).1 == 0);
    edit(one, &id, Edit::Narrative("Satu. Dua. ".into()));
    assert_eq!(twins.meet().narrative, "Satu. Dua. ");
}

/// What one of them enters on top changes nothing of that.
#[test]
fn copies_that_go_on_from_an_edit_that_waits_enter_it_once() {
    let mut twins = copied_while_it_waits(write_a_word);
    edit(
        &mut twins.one,
        &twins.id,
        Edit::Narrative("Satu. Dua. ".into()),
    );
    edit(&mut twins.one, &twins.id, Edit::AddRow("1.2".into()));
    edit(&mut twins.other, &twins.id, Edit::AddRow("1.3".into()));
    let former = twins.one.device().incarnation();
    let shown = twins.meet();
    assert_ne!(twins.one.device().incarnation(), former);
    assert_eq!(shown.narrative, "Satu. Dua. ");
    let rows: Vec<String> = shown.rows.into_iter().collect();
    assert_eq!(rows, ["1.1", "1.2", "1.3"]);
    assert_eq!(twins.runs(), 6);
}

#[test]
fn a_new_document_of_more_runs_than_one_is_entered_again_once() {
    let mut made = None;
    let mut twins = copied_while_it_waits(|world, phone, _| {
        let id = world.create(phone, "Baru");
        write_much(phone, &id);
        made = Some(id);
    });
    twins.id = made.unwrap();
    let wanted = twins.one.device().show(&twins.id).unwrap().evidence;
    let shown = twins.meet();
    assert_eq!(
        (shown.title, shown.narrative, shown.fields),
        (wanted.title, wanted.narrative, wanted.fields)
    );
    assert_eq!(twins.runs(), 4);
}

/// What came by the feed and what waits to be entered are one edit: what is written on both would hold
/// it twice. What waits on top of it is not out of sight meanwhile.
#[test]
fn an_edit_that_another_copy_entered_is_shown_once_before_it_is_passed_over() {
    let mut twins = copied_while_it_waits(write_a_word);
    twins.world.sync(&mut twins.one);
    let (id, other) = (twins.id, &mut twins.other);
    edit(other, &id, Edit::AddRow("1.2".into()));
    let is_between = |frames: &usize| {
        twins.world.session(other, *frames);
        other.device().confirmed.envelopes(&id).unwrap().len() == 3
    };
    let cut = (1..100).find(is_between);
    cut.expect("a session that ends behind the page");
    assert_eq!(waiting(other), (2, 1, 0));
    let shown = other.device().show(&id).unwrap().evidence;
    assert_eq!(shown.narrative, "Satu. ");
    assert!(shown.rows.contains("1.2"));
    edit(other, &id, Edit::Narrative("Satu. Dua. ".into()));
    assert_eq!(waiting(other), (2, 0, 0));
    let shown = twins.meet();
    assert_eq!(shown.narrative, "Satu. Dua. ");
    assert!(shown.rows.contains("1.2"));
    assert_eq!(twins.runs(), 5);
}

/// An answer of *stale* marks all that waits. What stands for a run, marked as well, would become yet
/// another run, beside that which another copy makes.
#[test]
fn nothing_is_entered_again_while_a_run_waits_for_its_answer() {
    let mut twins = copied_while_it_waits(write_a_word);
    twins.world.create(&mut twins.one, "Baru");
    let device = twins.one.device();
    device.opening(Vec::new(), "").unwrap();
    let run = device.offers()[0].run;
    let up_to_date = Event::UpToDate {
        cursor: vec![7],
        position: 1,
        digests: Vec::new(),
    };
    let answered = Event::Accepted(vec![(run, 2)]);
    for (event, to_enter) in [(up_to_date, 1), (answered, 0)] {
        device.handle_event(NOW, [4; 16], &event).unwrap();
        device.conclude(NOW, false).unwrap();
        assert_eq!(device.status().unwrap().to_enter_again, to_enter);
    }
}

#[test]
fn an_edit_for_which_a_document_has_no_room_goes_to_quarantine_with_what_it_builds_on() {
    let mut twins = copied_while_it_waits(write_a_word);
    twins.world.sync(&mut twins.one);
    let field = Edit::Field {
        code: "mine".into(),
        value: Value::String(noise(99)),
    };
    edit(&mut twins.other, &twins.id, field);
    let new = twins.world.create(&mut twins.other, "Lain");
    twins.world.sync(&mut twins.siti);
    fill(&mut twins.world, &mut twins.siti, &twins.id);
    twins.world.sync(&mut twins.other);
    assert_eq!(waiting(&mut twins.other), (0, 0, 2));
    assert!(
        twins
            .world
            .ledger
            .reader()
            .document(&new)
            .unwrap()
            .is_some()
    );
    let refused = twins.other.device().quarantined();
    assert!(
        refused
            .iter()
            .all(|entry| entry.code == "not-entered-again")
    );
    assert_eq!(narrative(&mut twins.other, &twins.id), "Satu. ");
    let (incarnation, random) = (Incarnation(twins.world.draw()), twins.world.draw());
    let device = twins.other.device();
    let again = device.enter_again(NOW, incarnation, random, &refused[0].run);
    assert!(
        matches!(again, Err(DeviceError::Unsendable(_))),
        "{again:?}"
    );
    assert_eq!(waiting(&mut twins.other), (0, 0, 2));
}

/// Its server refused it that day, and took the same from the copy the next.
#[test]
fn a_refused_run_that_another_copy_delivered_is_not_entered_by_hand() {
    let mut twins = copied_while_it_waits(write_a_word);
    let run = enter_and_send_nothing(&mut twins.world, &mut twins.one);
    let why = ("quota", "Too much for a day.");
    twins.one.device().refuse(NOW, &[run], why).unwrap();
    twins.world.sync(&mut twins.other);
    twins.world.sync(&mut twins.one);
    let (incarnation, random) = (Incarnation(twins.world.draw()), twins.world.draw());
    let device = twins.one.device();
    let entered = device.enter_again(NOW, incarnation, random, &run);
    assert_eq!(entered.unwrap(), (twins.id, None));
    assert_eq!(twins.meet().narrative, "Satu. ");
    assert_eq!(twins.runs(), 3);
}

/// Its server refused what stands for it that day, and the store of which this is a copy delivered it.
#[test]
fn a_refused_run_is_not_entered_by_hand_where_what_it_stands_for_was_delivered() {
    for is_new in [false, true] {
        let mut world = World::new();
        let mut siti = world.phone("Siti", Role::Officer, WARD);
        let mut id = world.create(&mut siti, "Papan");
        world.sync(&mut siti);
        match is_new {
            true => id = world.create(&mut siti, "Baru"),
            false => edit(&mut siti, &id, Edit::Narrative("Satu. ".into())),
        }
        let mut copy = siti.duplicate();
        let told = Incarnation(world.draw());
        copy.device().tail.start_over(told, true).unwrap();
        let run = enter_and_send_nothing(&mut world, &mut copy);
        let why = ("quota", "Too much for a day.");
        copy.device().refuse(NOW, &[run], why).unwrap();
        world.sync(&mut siti);
        world.sync(&mut copy);
        let (incarnation, random) = (Incarnation(world.draw()), world.draw());
        let entered = copy.device().enter_again(NOW, incarnation, random, &run);
        let (again, by) = entered.unwrap();
        assert_eq!((again, by.is_some()), (id, true));
        world.sync(&mut copy);
        assert_eq!(waiting(&mut copy), (0, 0, 0));
        world.sync(&mut siti);
        assert_eq!(siti.shown(&id), copy.shown(&id));
        assert_eq!(siti.titles().len(), 1 + usize::from(is_new));
        let narrative = narrative(&mut siti, &id);
        assert_eq!(narrative, if is_new { "" } else { "Satu. " });
    }
}

/// It went to quarantine since the evidence was not this copy's to read, and it is again.
#[test]
fn an_edit_that_another_copy_entered_is_not_entered_by_hand() {
    let mut twins = copied_while_it_waits(write_a_word);
    edit(&mut twins.other, &twins.id, Edit::AddRow("1.2".into()));
    let run = twins.other.device().tail.pending()[0].id();
    let why = ("forbidden", "The grants do not reach it.");
    twins.other.device().refuse(NOW, &[run], why).unwrap();
    assert_eq!(waiting(&mut twins.other), (0, 0, 2));
    twins.world.sync(&mut twins.one);
    twins.world.sync(&mut twins.other);
    let (incarnation, random) = (Incarnation(twins.world.draw()), twins.world.draw());
    let device = twins.other.device();
    let (id, _) = device.enter_again(NOW, incarnation, random, &run).unwrap();
    assert_eq!(id, twins.id);
    assert!(
        device
            .quarantined()
            .iter()
            .all(|entry| entry.entered_again.is_some())
    );
    let shown = twins.meet();
    assert_eq!(shown.narrative, "Satu. ");
    assert_eq!(shown.rows.into_iter().collect::<Vec<_>>(), ["1.1", "1.2"]);
}

/// The evidence is published by the word of the run, and stays so by what stands for it.
#[test]
fn evidence_that_a_copy_declared_ready_is_entered_as_that_once() {
    let mut twins = copied_while_it_waits(|_, phone, id| {
        edit(phone, id, Edit::Declare(Declared::Ready));
        edit(phone, id, Edit::Declare(Declared::Draft));
    });
    assert_eq!(twins.meet().declared, Declared::Draft);
    assert_eq!(twins.runs(), 4);
    let envelopes = twins.siti.device().confirmed.envelopes(&twins.id).unwrap();
    let publish = envelopes.iter().map(|row| row.envelope.body().publish);
    assert_eq!(publish.collect::<Vec<_>>(), [false, false, true, true]);
}

/// A person who was let in only later: what several refused runs did is too much for one.
#[test]
fn refused_edits_that_are_too_much_for_one_run_become_more() {
    let mut world = World::new();
    let mut budi = world.phone("Budi", Role::Observer, WARD);
    budi.device().set_local_checks(false);
    let id = world.create(&mut budi, "Papan");
    write_much(&mut budi, &id);
    let wanted = budi.device().show(&id).unwrap().evidence;
    world.sync(&mut budi);
    budi.device().set_local_checks(true);
    let secret = world.draw();
    world
        .enrol(&mut budi, secret, "Budi", Role::Officer, WARD)
        .unwrap();
    let run = budi.device().quarantined()[0].run;
    let (incarnation, random) = (Incarnation(world.draw()), world.draw());
    let entered = budi.device().enter_again(NOW, incarnation, random, &run);
    let (again, _) = entered.unwrap();
    assert!(waiting(&mut budi).0 > 1);
    world.sync(&mut budi);
    assert_eq!(waiting(&mut budi), (0, 0, 0));
    let shown = budi.device().show(&again).unwrap().evidence;
    assert_eq!(
        (shown.narrative, shown.fields),
        (wanted.narrative, wanted.fields)
    );
}

/// Runs that were refused, of a person who may enter them by now.
fn refused_and_allowed() -> (World, Phone, Vec<RunId>) {
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
    let runs = refused.iter().map(|entry| entry.run).collect();
    (world, budi, runs)
}

#[test]
fn a_device_that_ends_between_sealing_and_noting_enters_nothing_twice() {
    let (mut world, mut budi, refused) = refused_and_allowed();
    let run = refused[0];
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

/// The tail alone says so until there is room for the note, and would be written anew without it.
#[test]
fn a_device_without_room_for_a_note_enters_nothing_twice() {
    let (mut world, mut budi, refused) = refused_and_allowed();
    let settle_much = |world: &mut World, budi: &mut Phone| {
        let id = world.create(budi, "Lain");
        loop {
            let before = budi.device().tail.settled_bytes();
            edit(budi, &id, Edit::Narrative(noise(7)));
            edit(budi, &id, Edit::Narrative(String::new()));
            world.sync(budi);
            let after = budi.device().tail.settled_bytes();
            if after < before || after >= TAIL_SETTLED_BYTES {
                return after < before;
            }
        }
    };
    let (incarnation, random) = (Incarnation(world.draw()), world.draw());
    budi.quarantine.set_free_bytes(0);
    let device = budi.device();
    let entered = device.enter_again(NOW, incarnation, random, &refused[0]);
    let by = entered.unwrap().1;
    assert!(!settle_much(&mut world, &mut budi), "it is written anew");
    let is_noted = |budi: &mut Phone| {
        budi.reopen();
        let noted = budi.device().quarantined().into_iter();
        noted
            .map(|entry| entry.entered_again)
            .all(|noted| noted == by)
    };
    assert!(is_noted(&mut budi));
    world.sync(&mut budi);
    assert!(is_noted(&mut budi));

    budi.quarantine.set_free_bytes(u64::MAX);
    world.sync(&mut budi);
    assert!(settle_much(&mut world, &mut budi), "it is not written anew");
    assert!(is_noted(&mut budi));
    assert_eq!(waiting(&mut budi), (0, 0, 0));
}
