//! What single rules of the feed promise, each by a case that breaks without it.

use std::sync::{Arc, Mutex};

use super::grants_and_moves::{finish, one_item, rest};
use super::*;

const DISTRICT: &str = "13.76.01";
const OTHER_DISTRICT: &str = "13.76.02";

/// A world in which `device` has read everything but one edit in each of two villages.
fn with_two_edits(device: &mut Device) -> World {
    let mut world = World::new(1);
    for place in [VILLAGE, NEIGHBOUR] {
        world.create(0, &scope(place), false, "Begun");
    }
    world.commit();
    finish(device, &world);
    for document in 0..2 {
        world.edit(0, document, false, false, "Edited");
    }
    world.commit();
    device.regranted = true;
    world
}

/// Gives a page during which, once so many scans have begun, something happens.
fn page_during(
    device: &mut Device,
    world: World,
    scans: usize,
    happens: impl FnOnce(&mut World) + Send + 'static,
) -> (Result<Option<Page>, FeedError>, World) {
    let reader = world.reader();
    let feed = device.feed(&world);
    let world = Arc::new(Mutex::new(world));
    let theirs = Arc::clone(&world);
    let happens = move || happens(&mut theirs.lock().unwrap());
    world.lock().unwrap().after_scans(scans, happens);
    let page = feed.next(&reader, PAGE_BYTES);
    let world = Arc::into_inner(world).expect("it happened");
    (page, world.into_inner().unwrap())
}

/// Gives a page during which, once so many scans have begun, the village is moved away.
fn page_with_a_move(device: &mut Device, world: World, scans: usize) -> (Page, World) {
    let moves = |world: &mut World| world.move_unit(&scope(VILLAGE), &scope(OTHER_DISTRICT));
    let (page, world) = page_during(device, world, scans, moves);
    (page.unwrap().unwrap(), world)
}

/// A world in which an enrolled `device` is owed a document of each of two villages.
fn owing_two(device: &Device) -> World {
    let mut world = World::new(1);
    world.enrol(device.id, DISTRICT);
    for place in [VILLAGE, NEIGHBOUR] {
        world.create(0, &scope(place), false, "Begun");
    }
    world.commit();
    world
}

/// Scans after which the statements were told, and no document was looked at.
const BEFORE_DOCUMENTS: usize = 4;

#[test]
fn what_is_written_once_grants_were_narrowed_comes_in_no_page_that_was_begun_before() {
    let mut device = device(142, &[(Role::Officer, DISTRICT)]);
    let (world, id) = (owing_two(&device), device.id);
    let narrower = vec![grant(Role::Officer, NEIGHBOUR)];
    let theirs = narrower.clone();
    let (page, world) = page_during(&mut device, world, BEFORE_DOCUMENTS, move |world| {
        world.grant(id, theirs);
        world.edit(0, 0, false, false, "Not to be read");
        world.commit();
    });
    device.grants = narrower;
    (device.regranted, device.granted_anew) = (true, true);
    device.apply(&world, page.unwrap().unwrap(), PAGE_BYTES);
    finish(&mut device, &world);
    let held = device.held.documents.keys();
    let places: Vec<&Scope> = held.map(|document| &world.scopes[document]).collect();
    assert_eq!(places, [&scope(NEIGHBOUR)]);
}

#[test]
fn a_device_that_is_revoked_while_a_page_is_made_does_not_get_it() {
    let mut device = device(143, &[(Role::Officer, DISTRICT)]);
    let (world, id) = (owing_two(&device), device.id);
    let (page, _) = page_during(&mut device, world, BEFORE_DOCUMENTS, move |world| {
        world.revoke(id);
        world.edit(0, 0, false, false, "Not to be read");
        world.commit();
    });
    assert!(matches!(page, Err(FeedError::Withdrawn)), "{page:?}");
}

#[test]
fn a_unit_that_moves_while_a_page_is_made_shows_nothing_more_and_nothing_else_is_lost() {
    let mut device = device(140, &[(Role::Officer, DISTRICT)]);
    let world = with_two_edits(&mut device);
    // The statements, the scopes that changed and the records of the first were looked for.
    let (page, world) = page_with_a_move(&mut device, world, 3);
    assert_eq!(kinds(&page), ["record"]);
    assert_eq!(page.left.len(), 1);
    device.apply(&world, page, PAGE_BYTES);
    finish(&mut device, &world);
}

#[test]
fn what_a_device_asked_for_comes_though_a_unit_moves_meanwhile() {
    let mut device = device(141, &[(Role::Officer, DISTRICT)]);
    let world = with_two_edits(&mut device);
    let neighbours = world.scopes.iter().find(|(_, at)| **at == scope(NEIGHBOUR));
    let asked = *neighbours.unwrap().0;
    device.feed(&world).need([asked].into_iter());
    // Its envelopes were read before.
    let (page, world) = page_with_a_move(&mut device, world, 4);
    assert_eq!(kinds(&page), ["whole"]);
    device.apply(&world, page, PAGE_BYTES);
    finish(&mut device, &world);
}

#[test]
fn what_a_device_asked_for_does_not_come_once_its_grants_do_not_reach_it() {
    let mut world = World::new(1);
    world.create(0, &scope(VILLAGE), false, "Draft");
    world.create(0, &scope(VILLAGE), true, "Published");
    world.create(0, &scope("14.01.01.1001"), true, "Elsewhere");
    world.commit();
    let mut device = device(142, &[(Role::Officer, "13"), (Role::Officer, "14")]);
    world.enrol(device.id, "13");
    device.regrant(&mut world, device.grants.clone());
    finish(&mut device, &world);
    let everything: Vec<_> = world.scopes.keys().copied().collect();
    device.feed(&world).need(everything.into_iter());
    device.regrant(&mut world, vec![grant(Role::Verifier, "13")]);
    let page = device.feed(&world).next(&world.reader(), 60_000).unwrap();
    let page = page.unwrap();
    assert_eq!(kinds(&page), ["whole"]);
    device.apply(&world, page, 60_000);
    finish(&mut device, &world);
}

#[test]
fn a_device_that_only_gives_is_kept_nothing_for() {
    let world = world_with(3);
    let mut device = officer();
    let feed = device.feed(&world);
    feed.mute();
    feed.need(world.scopes.keys().copied());
    assert_eq!(feed.next(&world.reader(), PAGE_BYTES).unwrap(), None);
    assert!(feed.needs.is_empty());
    let end = feed.up_to_date(&world.reader()).unwrap().unwrap();
    let nowhere = Cursor {
        reached: Some(world.reader().watermark()),
        ..Cursor::default()
    };
    assert_eq!(Cursor::from_bytes(&end.cursor), Ok(nowhere));
    device.cut(0);
    device.held.cursor = Some(end.cursor);
    assert_eq!(device.feed(&world).start_was(), Start::New);
}

#[test]
fn a_device_that_reads_nothing_shows_where_it_was_told_that() {
    let mut world = world_with(1);
    let mut nobody = device(149, &[]);
    world.enrol(nobody.id, VILLAGE);
    let before = world.reader().watermark();
    nobody.regrant(&mut world, Vec::new());
    let starts = |nobody: &mut Device, world: &World, cursor: &Cursor| {
        nobody.cut(0);
        nobody.held.cursor = Some(cursor.to_bytes());
        nobody.feed(world).start_was()
    };
    let told = |cursor: &[u8]| Cursor::from_bytes(cursor).unwrap();
    let page = nobody.feed(&world).next(&world.reader(), PAGE_BYTES);
    let page = page.unwrap().unwrap();
    let with_page = told(&page.cursor);
    let last = told(&nobody.up_to_date(&world).unwrap().cursor);
    // The statement that ended its grants is not behind it.
    for cursor in [with_page, last] {
        let reached = cursor.reached.unwrap();
        assert!(cursor.marks.is_empty() && reached.position > before.position);
        assert_eq!(starts(&mut nobody, &world, &cursor), Start::New);
        let mut elsewhere = cursor.clone();
        elsewhere.reached = Some(Seen {
            chain: Chain([0; 32]),
            ..reached
        });
        assert_eq!(starts(&mut nobody, &world, &elsewhere), Start::Void);
        elsewhere.reached = Some(Seen {
            position: reached.position + 1,
            ..reached
        });
        assert_eq!(starts(&mut nobody, &world, &elsewhere), Start::Void);
    }
    assert_eq!(
        starts(&mut nobody, &world, &Cursor::default()),
        Start::New,
        "as servers wrote it before"
    );
}

#[test]
fn nothing_is_up_to_date_before_what_is_owed_or_asked_for_and_the_last_grants_are_told() {
    let mut world = world_with(2);
    let mut device = officer();
    while device.held.documents.is_empty() {
        one_item(&mut device, &world);
    }
    assert_eq!(device.up_to_date(&world), None, "one is owed");
    finish(&mut device, &world);
    device.cut(0);
    device.feed(&world).need(world.scopes.keys().copied());
    assert_eq!(device.up_to_date(&world), None);
    device.drain(&world, PAGE_BYTES);
    assert!(device.up_to_date(&world).is_some());

    let mut nobody = super::device(143, &[]);
    world.enrol(nobody.id, VILLAGE);
    nobody.regrant(&mut world, Vec::new());
    assert_eq!(nobody.up_to_date(&world), None);
    assert!(nobody.page(&world, PAGE_BYTES));
    assert!(nobody.up_to_date(&world).is_some());
}

#[test]
fn every_place_in_a_cursor_is_held_against_the_journal() {
    let mut world = world_with(1);
    let mut device = device(148, &[(Role::Officer, "13"), (Role::Officer, "14")]);
    finish(&mut device, &world);
    let mut cursor = Cursor::from_bytes(device.held.cursor.as_ref().unwrap()).unwrap();
    world.create(0, &scope(VILLAGE), true, "Another place");
    world.commit();
    cursor.marks[1].seen = world.reader().watermark();
    device.cut(0);
    device.held.cursor = Some(cursor.to_bytes());
    assert_eq!(device.feed(&world).start_was(), Start::Continued);
    cursor.marks[1].seen.chain = Chain([0; 32]);
    device.cut(0);
    device.held.cursor = Some(cursor.to_bytes());
    assert_eq!(device.feed(&world).start_was(), Start::Void);
}

#[test]
fn how_far_one_move_was_passed_says_nothing_of_another() {
    let mut world = world_with(3);
    let mut device = device(144, &[(Role::Verifier, OTHER_DISTRICT)]);
    finish(&mut device, &world);
    world.move_unit(&scope(VILLAGE), &scope(OTHER_DISTRICT));
    let mut cursor = Cursor::from_bytes(device.held.cursor.as_ref().unwrap()).unwrap();
    cursor.passing = Some((world.reader().watermark().position + 1, 0));
    device.cut(0);
    device.held.cursor = Some(cursor.to_bytes());
    device.regranted = true;
    finish(&mut device, &world);
    assert_eq!(device.held.documents.len(), 3);
}

#[test]
fn what_left_a_prefix_before_it_was_granted_is_not_named_as_left() {
    let mut world = World::new(1);
    world.create(0, &scope(VILLAGE), true, "Never seen");
    world.commit();
    let mut device = device(145, &[(Role::Verifier, "14")]);
    world.enrol(device.id, "14");
    device.regrant(&mut world, device.grants.clone());
    finish(&mut device, &world);
    world.move_unit(&scope(VILLAGE), &scope(OTHER_DISTRICT));
    let both = ["14", DISTRICT].map(|at| grant(Role::Verifier, at));
    device.regrant(&mut world, both.to_vec());
    let page = device.feed(&world).next(&world.reader(), PAGE_BYTES);
    assert_eq!(page.unwrap().unwrap().left, []);
}

/// What one page names as left where the village, with a draft and a published document, moves.
fn left_by_a_move(grants: &[(Role, &str)]) -> Vec<DocumentId> {
    let mut world = World::new(1);
    let mut device = device(159, grants);
    world.create(0, &scope(VILLAGE), false, "Draft");
    world.commit();
    world.create(0, &scope(VILLAGE), true, "Published");
    world.commit();
    finish(&mut device, &world);
    world.move_unit(&scope(VILLAGE), &scope(OTHER_DISTRICT));
    let page = device.feed(&world).next(&world.reader(), PAGE_BYTES);
    let left = page.unwrap().unwrap().left;
    let is_draft = |id: &DocumentId| {
        let watermark = world.reader().watermark().position;
        !world.is_in(id, Audience::All, watermark)
    };
    left.into_iter().filter(is_draft).collect()
}

#[test]
fn a_draft_that_a_grant_reaches_and_does_not_show_is_named_as_left() {
    let left = left_by_a_move(&[(Role::Verifier, "13"), (Role::Officer, DISTRICT)]);
    assert_eq!(left.len(), 1);
}

#[test]
fn a_draft_that_a_grant_never_showed_is_not_named_as_left() {
    assert_eq!(left_by_a_move(&[(Role::Verifier, DISTRICT)]), []);
    assert_eq!(left_by_a_move(&[(Role::Officer, DISTRICT)]).len(), 1);
}

#[test]
fn a_page_names_a_bounded_number_of_documents_as_left() {
    let mut world = world_with(limits::LEFT_PER_PAGE + 6);
    let mut device = device(146, &[(Role::Officer, DISTRICT)]);
    finish(&mut device, &world);
    world.move_unit(&scope(VILLAGE), &scope(OTHER_DISTRICT));
    device.regranted = true;
    let mut left = Vec::new();
    while let Some(page) = device
        .feed(&world)
        .next(&world.reader(), PAGE_BYTES)
        .unwrap()
    {
        left.push(page.left.len());
        device.apply(&world, page, PAGE_BYTES);
    }
    assert_eq!(left.iter().sum::<usize>(), limits::LEFT_PER_PAGE + 6);
    assert!(left.iter().all(|one| *one <= limits::LEFT_PER_PAGE));
    device.expect_complete(&world);
}

/// Rows read by the page that tells of an added grant, where so many documents moved long ago.
fn reads_to_be_granted_more(documents: usize) -> u64 {
    let mut world = world_with(documents);
    world.move_unit(&scope(VILLAGE), &scope(OTHER_DISTRICT));
    let mut device = device(147, &[(Role::Officer, "13")]);
    world.enrol(device.id, "13");
    device.regrant(&mut world, device.grants.clone());
    device.drain(&world, 60_000);
    let both = ["13", "14"].map(|at| grant(Role::Officer, at));
    device.regrant(&mut world, both.to_vec());
    let before = world.reads();
    device.drain(&world, PAGE_BYTES);
    world.reads() - before
}

#[test]
fn a_grant_that_is_added_looks_at_nothing_that_moved_before() {
    assert_eq!(reads_to_be_granted_more(5), reads_to_be_granted_more(50));
}

/// Rows read until the newest of two documents has come and the other, with so many edits, does
/// not fit beside it.
fn reads_before_a_document_with(edits: usize) -> u64 {
    let mut world = world_with(2);
    for _ in 0..edits {
        world.edit(0, 0, false, false, "Edited");
    }
    world.commit();
    let mut device = officer();
    let before = world.reads();
    while device.held.documents.is_empty() {
        one_item(&mut device, &world);
    }
    assert_eq!(device.held.documents.len(), 1);
    world.reads() - before
}

#[test]
fn a_document_that_does_not_fit_a_page_is_not_read_for_it() {
    assert_eq!(
        reads_before_a_document_with(2),
        reads_before_a_document_with(20)
    );
}

#[test]
fn another_device_that_names_an_incarnation_as_its_own_gets_the_runs_of_it_with_their_bytes() {
    let mut world = World::new(1);
    let (_, incarnation) = world.writer(0);
    let mut other = Device::new(
        DeviceId([149; 32]),
        incarnation,
        vec![grant(Role::Officer, VILLAGE)],
    );
    finish(&mut other, &world);
    world.create(0, &scope(VILLAGE), false, "Not its own");
    world.commit();
    assert_eq!(rest(&mut other, &world), ["record"]);
}

#[test]
fn a_run_that_was_given_back_comes_without_its_bytes_to_who_gave_it_and_to_its_author_alone() {
    let mut world = World::new(2);
    let all = || vec![grant(Role::Officer, "all")];
    let (author, incarnation) = world.writer(0);
    let (giver, _) = world.writer(1);
    let elsewhere = Incarnation([99; 16]);
    let mut devices = [
        Device::new(author, incarnation, all()),
        Device::new(giver, elsewhere, all()),
        Device::new(author, elsewhere, all()),
        officer(),
    ];
    for device in &mut devices {
        finish(device, &world);
    }
    world.create(0, &scope(VILLAGE), false, "Lost and given back");
    world.give_back(1);
    world.commit();
    let came = devices.map(|mut device| rest(&mut device, &world));
    assert_eq!(came, [["own"], ["own"], ["record"], ["record"]]);
}

#[test]
fn a_device_that_was_cut_while_it_was_owed_gets_the_rest() {
    let world = world_with(4);
    let mut device = officer();
    while device.held.documents.len() < 2 {
        one_item(&mut device, &world);
    }
    device.cut(0);
    assert_eq!(rest(&mut device, &world), ["whole"; 2]);
}
