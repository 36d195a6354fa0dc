//! What a device is told of people and places when units move.

use super::grants_and_moves::{finish, one_item};
use super::*;

const DISTRICT: &str = "13.76.01";
const OTHER_DISTRICT: &str = "13.76.02";

/// Positions of the statements in a page.
fn told(page: &Page) -> Vec<Position> {
    let position = |item: &Item| match item {
        Item::Fact { position, .. } => Some(*position),
        Item::Record { .. } | Item::Own { .. } | Item::Whole { .. } => None,
    };
    page.items.iter().filter_map(position).collect()
}

fn next(device: &mut Device, world: &World) -> Page {
    let page = device.feed(world).next(&world.reader(), 60_000).unwrap();
    page.expect("something is to be sent")
}

/// A world with somebody in each of two villages and one of the district, and their positions.
fn with_people() -> (World, Vec<Position>) {
    let mut world = World::new(1);
    let people = [VILLAGE, NEIGHBOUR, DISTRICT].map(|place| {
        world.enrol_somebody(place);
        world.reader().watermark().position
    });
    (world, people.to_vec())
}

#[test]
fn the_people_of_a_unit_become_known_above_its_new_region_with_the_move() {
    for is_cut in [false, true] {
        let (mut world, people) = with_people();
        let mut device = device(150, &[(Role::Verifier, OTHER_DISTRICT)]);
        finish(&mut device, &world);
        if is_cut {
            device.cut(0);
        }
        world.move_unit(&scope(VILLAGE), &scope(OTHER_DISTRICT));
        device.regranted = true;
        let moved = world.reader().watermark().position;
        let page = next(&mut device, &world);
        assert_eq!(told(&page), [people[0], moved]);
        device.apply(&world, page, 60_000);
        finish(&mut device, &world);
        device.cut(0);
        finish(&mut device, &world);
    }
}

#[test]
fn the_sheet_of_a_moved_region_comes_with_it_and_none_that_was_replaced() {
    let mut world = World::new(1);
    world.import_regions(1);
    world.import_regions(2);
    let mut device = device(151, &[(Role::Verifier, "13")]);
    finish(&mut device, &world);
    world.move_unit(&scope("14.01"), &scope("13"));
    device.regranted = true;
    let of_regency = Topic::Regions(scope("14.01"));
    let sheets: Vec<_> = world
        .facts()
        .into_iter()
        .filter(|(_, topic)| *topic == of_regency)
        .collect();
    assert_eq!(sheets.len(), 2);
    let page = next(&mut device, &world);
    let moved = world.reader().watermark().position;
    assert_eq!(told(&page), [sheets[1].0, moved]);
    device.apply(&world, page, 60_000);
    finish(&mut device, &world);
}

#[test]
fn of_moves_of_a_unit_only_the_last_is_told() {
    let mut world = World::new(1);
    world.move_unit(&scope(VILLAGE), &scope(OTHER_DISTRICT));
    world.move_unit(&scope(VILLAGE), &scope("13.76"));
    let mut device = device(158, &[(Role::Verifier, "14")]);
    let page = next(&mut device, &world);
    assert_eq!(
        told(&page).last(),
        Some(&world.reader().watermark().position)
    );
    assert!(!told(&page).contains(&(world.reader().watermark().position - 1)));
}

#[test]
fn who_reads_a_unit_learns_who_stands_above_it_since_the_move() {
    let (mut world, _) = with_people();
    world.import_regions(1);
    let mut device = device(152, &[(Role::Officer, "14.01.01.1001")]);
    finish(&mut device, &world);
    world.move_unit(&scope("14.01.01.1001"), &scope(DISTRICT));
    device.regranted = true;
    let concerned = |(at, topic): (Position, Topic)| match topic {
        Topic::Device(_, scopes) => scopes.contains(&scope(DISTRICT)).then_some(at),
        Topic::Regions(parent) => {
            let above = ["13.76", "13"].map(scope);
            above.contains(&parent).then_some(at)
        }
        Topic::Framework | Topic::Revocation(_) | Topic::Move(..) => None,
    };
    let mut expected: Vec<_> = world.facts().into_iter().filter_map(concerned).collect();
    assert_eq!(expected.len(), 3, "a person and two sheets");
    expected.reverse();
    expected.push(world.reader().watermark().position);
    let page = next(&mut device, &world);
    assert_eq!(told(&page), expected);
    device.apply(&world, page, 60_000);
    finish(&mut device, &world);
}

#[test]
fn a_cut_behind_each_statement_of_a_moved_unit_repeats_none() {
    let mut world = World::new(1);
    let mut device = device(153, &[(Role::Verifier, OTHER_DISTRICT)]);
    finish(&mut device, &world);
    for number in 0..3 {
        world.enrol_somebody(VILLAGE);
        world.create(0, &scope(VILLAGE), true, &format!("Document {number}"));
        world.commit();
    }
    finish(&mut device, &world);
    world.move_unit(&scope(VILLAGE), &scope(OTHER_DISTRICT));
    device.regranted = true;
    // Three people, three documents, the move.
    for _ in 0..7 {
        one_item(&mut device, &world);
        device.cut(0);
    }
    assert_eq!(device.held.documents.len(), 3);
    assert!(!device.page(&world, PAGE_BYTES));
    device.expect_complete(&world);
}

#[test]
fn a_cursor_from_before_statements_came_with_moves_is_told_what_it_lacks_and_nothing_else() {
    let (mut world, people) = with_people();
    let mut device = device(154, &[(Role::Verifier, OTHER_DISTRICT)]);
    finish(&mut device, &world);
    world.move_unit(&scope(VILLAGE), &scope(OTHER_DISTRICT));
    device.regranted = true;
    let moved = world.reader().watermark();
    world.import_framework(1);
    let mut cursor = Cursor::from_bytes(device.held.cursor.as_ref().unwrap()).unwrap();
    for mark in &mut cursor.marks {
        (mark.seen, mark.facts, mark.moves) = (moved, moved.position, 0);
    }
    device.cut(0);
    device.held.facts.insert(moved.position, 0);
    device.held.cursor = Some(cursor.to_bytes());
    let page = next(&mut device, &world);
    assert_eq!(
        told(&page),
        [people[0], world.reader().watermark().position]
    );
    device.apply(&world, page, 60_000);
    finish(&mut device, &world);
}

#[test]
fn as_long_as_nothing_was_moved_a_cursor_says_nothing_of_moves() {
    let (mut world, _) = with_people();
    let mut device = device(155, &[(Role::Verifier, OTHER_DISTRICT)]);
    finish(&mut device, &world);
    let moves = |device: &Device| {
        let cursor = Cursor::from_bytes(device.held.cursor.as_ref().unwrap()).unwrap();
        cursor.marks[0].moves
    };
    assert_eq!(moves(&device), 0);
    world.move_unit(&scope(VILLAGE), &scope(OTHER_DISTRICT));
    device.regranted = true;
    finish(&mut device, &world);
    assert_eq!(moves(&device), world.reader().watermark().position);
}

#[test]
fn a_cursor_says_nothing_of_a_move_that_was_passed() {
    let (mut world, _) = with_people();
    let mut device = device(157, &[(Role::Verifier, OTHER_DISTRICT)]);
    finish(&mut device, &world);
    world.move_unit(&scope(VILLAGE), &scope(OTHER_DISTRICT));
    device.regranted = true;
    let passing = |device: &Device| {
        let cursor = Cursor::from_bytes(device.held.cursor.as_ref().unwrap());
        cursor.unwrap().passing
    };
    one_item(&mut device, &world);
    assert!(passing(&device).is_some());
    finish(&mut device, &world);
    assert_eq!(passing(&device), None);
}

/// Rows read to pass a move, where so many people are known, by a reader of `place`.
fn reads_to_pass_a_move(place: &str, people: usize, is_new: bool) -> u64 {
    let mut world = World::new(1);
    for _ in 0..people {
        world.enrol_somebody(NEIGHBOUR);
    }
    let mut device = device(156, &[(Role::Verifier, place)]);
    if !is_new {
        finish(&mut device, &world);
    }
    world.move_unit(&scope(VILLAGE), &scope(OTHER_DISTRICT));
    device.regranted = true;
    let (before, reader) = (world.reads(), world.reader());
    while device.feed(&world).next(&reader, 60_000).unwrap().is_some() {}
    world.reads() - before
}

#[test]
fn a_move_that_brings_a_reader_nothing_is_passed_without_a_look_at_statements() {
    for place in ["13.76", DISTRICT, "14"] {
        assert_eq!(
            reads_to_pass_a_move(place, 5, false),
            reads_to_pass_a_move(place, 50, false),
        );
    }
}

#[test]
fn a_new_reader_goes_through_the_statements_once_whatever_was_moved() {
    let of_one = |place| {
        let (few, many) = (
            reads_to_pass_a_move(place, 5, true),
            reads_to_pass_a_move(place, 50, true),
        );
        (many - few) / 45
    };
    assert_eq!(of_one(OTHER_DISTRICT), of_one("13.77"));
}
