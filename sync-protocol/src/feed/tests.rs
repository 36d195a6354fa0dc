//! Feeds over a real ledger: one property against a reference, and what single rules promise.

mod device;
mod grants_and_moves;
mod histories;
mod promises;
mod told;
mod world;

use bukti_core::authority::Role;
use bukti_core::id::{Chain, DeviceId, Incarnation};

use self::device::Device;
use self::world::{World, grant, scope};
use super::*;
use crate::cursor::Mark;
use crate::limits::PAGE_BYTES;

const VILLAGE: &str = "13.76.01.1001";
const NEIGHBOUR: &str = "13.76.01.1002";

fn device(number: u8, grants: &[(Role, &str)]) -> Device {
    let grants = grants
        .iter()
        .map(|(role, place)| grant(*role, place))
        .collect();
    Device::new(DeviceId([number; 32]), Incarnation([number; 16]), grants)
}

fn officer() -> Device {
    device(101, &[(Role::Officer, VILLAGE)])
}

fn verifier() -> Device {
    device(102, &[(Role::Verifier, "13")])
}

/// A world in which one writer began so many documents in the village.
fn world_with(documents: usize) -> World {
    let mut world = World::new(2);
    for number in 0..documents {
        world.create(0, &scope(VILLAGE), true, &format!("Document {number}"));
        if number % 100 == 99 {
            world.commit();
        }
        if number % 1_000 == 999 {
            world.sleep();
        }
    }
    world.commit();
    world
}

fn kinds(page: &Page) -> Vec<&'static str> {
    let kind = |item: &Item| match item {
        Item::Record { .. } => "record",
        Item::Own { .. } => "own",
        Item::Whole { .. } => "whole",
        Item::Fact { .. } => "fact",
    };
    page.items
        .iter()
        .map(kind)
        .filter(|kind| *kind != "fact")
        .collect()
}

#[test]
fn a_new_device_gets_documents_whole_and_the_newest_first() {
    let world = world_with(3);
    let mut device = officer();
    let page = device
        .feed(&world)
        .next(&world.reader(), 60_000)
        .unwrap()
        .unwrap();
    assert_eq!(kinds(&page), ["whole"; 3]);
    let positions: Vec<Position> = page
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Whole { as_of, .. } => Some(*as_of),
            Item::Record { .. } | Item::Own { .. } | Item::Fact { .. } => None,
        })
        .collect();
    assert!(
        positions.is_sorted_by(|newer, older| newer > older),
        "{positions:?}"
    );
}

#[test]
fn what_is_written_during_a_long_first_read_comes_before_the_rest_of_it() {
    let mut world = world_with(5);
    let mut device = officer();
    while device.held.documents.is_empty() {
        assert!(device.page(&world, 700));
    }
    let debts = 5 - device.held.documents.len();
    world.create(1, &scope(VILLAGE), false, "Made meanwhile");
    world.commit();
    let page = device
        .feed(&world)
        .next(&world.reader(), 60_000)
        .unwrap()
        .unwrap();
    assert_eq!(kinds(&page)[0], "record");
    assert_eq!(kinds(&page)[1..], vec!["whole"; debts]);
}

#[test]
fn a_draft_stays_with_its_unit_until_it_is_published_and_comes_whole_then() {
    let mut world = World::new(2);
    let (mut officer, mut verifier) = (officer(), verifier());
    officer.drain(&world, PAGE_BYTES);
    verifier.drain(&world, PAGE_BYTES);
    world.create(0, &scope(VILLAGE), false, "Draft");
    world.edit(0, 0, false, false, "Still a draft");
    world.commit();
    officer.drain(&world, PAGE_BYTES);
    verifier.drain(&world, PAGE_BYTES);
    assert_eq!(
        (officer.held.documents.len(), verifier.held.documents.len()),
        (1, 0)
    );
    world.edit(0, 0, true, false, "Ready");
    world.commit();
    let to_officer = officer
        .feed(&world)
        .next(&world.reader(), PAGE_BYTES)
        .unwrap()
        .unwrap();
    let to_verifier = verifier
        .feed(&world)
        .next(&world.reader(), PAGE_BYTES)
        .unwrap()
        .unwrap();
    assert_eq!(kinds(&to_officer), ["record"]);
    assert_eq!(kinds(&to_verifier), ["whole"]);
}

#[test]
fn a_document_published_from_its_first_run_comes_as_a_record() {
    let mut world = World::new(1);
    let mut verifier = verifier();
    verifier.drain(&world, PAGE_BYTES);
    world.create(0, &scope(VILLAGE), true, "Ready");
    world.commit();
    let page = verifier
        .feed(&world)
        .next(&world.reader(), PAGE_BYTES)
        .unwrap()
        .unwrap();
    assert_eq!(kinds(&page), ["record"]);
}

#[test]
fn own_runs_come_without_their_bytes_to_their_own_incarnation_only() {
    let mut world = World::new(1);
    let (id, incarnation) = world.writer(0);
    let grants = vec![grant(Role::Officer, "all")];
    let mut writer = Device::new(id, incarnation, grants.clone());
    let mut restored = Device::new(id, Incarnation([99; 16]), grants);
    writer.drain(&world, PAGE_BYTES);
    restored.drain(&world, PAGE_BYTES);
    world.create(0, &scope(VILLAGE), false, "Mine");
    world.commit();
    let page = writer
        .feed(&world)
        .next(&world.reader(), PAGE_BYTES)
        .unwrap()
        .unwrap();
    assert_eq!(kinds(&page), ["own"]);
    let page = restored
        .feed(&world)
        .next(&world.reader(), PAGE_BYTES)
        .unwrap()
        .unwrap();
    assert_eq!(kinds(&page), ["record"]);
}

#[test]
fn an_item_larger_than_the_budget_makes_a_page_of_its_own() {
    let mut world = World::new(1);
    let mut device = officer();
    device.drain(&world, PAGE_BYTES);
    let noise: String = (0..9_000_u32)
        .map(|n| char::from(b'a' + (n * n % 26) as u8))
        .collect();
    world.create(0, &scope(VILLAGE), false, "Small");
    world.create(0, &scope(VILLAGE), false, &format!("Large {noise}"));
    world.create(0, &scope(VILLAGE), false, "Small");
    world.commit();
    for _ in 0..3 {
        let page = device
            .feed(&world)
            .next(&world.reader(), 900)
            .unwrap()
            .unwrap();
        assert_eq!(page.items.len(), 1);
    }
    assert_eq!(
        device.feed(&world).next(&world.reader(), 900).unwrap(),
        None
    );
}

#[test]
fn of_region_sheets_only_the_newest_arrive() {
    let mut world = World::new(1);
    world.import_regions(1);
    world.import_regions(2);
    let mut device = officer();
    device.drain(&world, PAGE_BYTES);
    device.expect_complete(&world);
    let sheets = world.facts();
    let sheets = sheets.iter().filter(|(at, topic)| {
        matches!(topic, Topic::Regions(_)) && device.held.facts.contains_key(at)
    });
    let parents: Vec<String> = sheets.map(|(_, topic)| format!("{topic:?}")).collect();
    let mut once = parents.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(parents.len(), once.len(), "{parents:?}");
    assert_eq!(
        once.len(),
        3,
        "of everything, the province and the city: {once:?}"
    );
}

#[test]
fn an_added_grant_brings_only_statements_that_were_not_sent_before() {
    let mut world = World::new(1);
    world.import_regions(1);
    world.import_framework(1);
    let mut device = officer();
    world.enrol(device.id, VILLAGE);
    device.drain(&world, PAGE_BYTES);
    let before = device.held.facts.clone();
    let both = [VILLAGE, "14.01.01.1001"].map(|place| grant(Role::Officer, place));
    device.regrant(&mut world, both.to_vec());
    let page = device
        .feed(&world)
        .next(&world.reader(), PAGE_BYTES)
        .unwrap()
        .unwrap();
    let positions: Vec<Position> = page
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Fact { position, .. } => Some(*position),
            Item::Record { .. } | Item::Own { .. } | Item::Whole { .. } => None,
        })
        .collect();
    assert_eq!(
        positions.len(),
        3,
        "its own grants and the sheets of the other province and regency"
    );
    assert!(
        positions
            .iter()
            .all(|position| !before.contains_key(position))
    );
}

#[test]
fn another_journals_cursor_is_void_and_everything_is_owed_anew() {
    let mut world = world_with(2);
    let mut device = officer();
    device.drain(&world, PAGE_BYTES);
    let read = |cursor: &[u8]| {
        let reader = world.reader();
        let mut feed = Feed::start(
            &reader,
            &[grant(Role::Officer, VILLAGE)],
            &[],
            Some(cursor),
            DeviceId([101; 32]),
            Incarnation([101; 16]),
        )
        .unwrap();
        (
            feed.start_was(),
            feed.next(&reader, 60_000).unwrap().map(|page| kinds(&page)),
        )
    };
    let good = device.held.cursor.clone().unwrap();
    assert_eq!(read(&good), (Start::Continued, None));
    let all = Some(vec!["whole", "whole"]);
    let mut cursor = Cursor::from_bytes(&good).unwrap();
    cursor.marks[0].seen.chain = Chain([0; 32]);
    assert_eq!(read(&cursor.to_bytes()), (Start::Void, all.clone()));
    let mut cursor = Cursor::from_bytes(&good).unwrap();
    cursor.marks[0].seen.position += 1;
    assert_eq!(read(&cursor.to_bytes()), (Start::Void, all.clone()));
    assert_eq!(read(b"no cursor"), (Start::Void, all));
    world.commit();
}

#[test]
fn a_session_without_grants_has_nothing_to_read() {
    let world = world_with(1);
    let mut device = device(103, &[]);
    assert!(!device.page(&world, PAGE_BYTES));
    assert_eq!(device.up_to_date(&world).unwrap().digests, vec![]);
}

#[test]
fn nothing_is_up_to_date_before_everything_was_sent() {
    let mut world = world_with(3);
    let mut device = officer();
    assert_eq!(device.up_to_date(&world), None);
    device.drain(&world, PAGE_BYTES);
    assert!(device.up_to_date(&world).is_some());
    world.create(0, &scope(NEIGHBOUR), true, "Elsewhere");
    world.commit();
    assert_eq!(
        device.up_to_date(&world),
        None,
        "the digests would be of another position"
    );
    assert!(!device.page(&world, PAGE_BYTES));
    assert!(device.up_to_date(&world).is_some());
}

#[test]
fn a_reader_who_may_see_little_moves_on_through_much_in_bounded_calls() {
    let mut world = World::new(1);
    let mut verifier = verifier();
    verifier.bounds = Bounds {
        frontier: 8,
        steps: 5,
    };
    verifier.drain(&world, PAGE_BYTES);
    for _ in 0..20 {
        world.create(0, &scope(VILLAGE), false, "Draft");
    }
    world.create(0, &scope(VILLAGE), true, "Ready");
    world.commit();
    let page = verifier
        .feed(&world)
        .next(&world.reader(), PAGE_BYTES)
        .unwrap()
        .unwrap();
    assert_eq!(page.items, vec![]);
    assert_ne!(Some(page.cursor), verifier.held.cursor);
    verifier.drain(&world, PAGE_BYTES);
    verifier.expect_complete(&world);
    assert_eq!(verifier.held.documents.len(), 1);
}

#[test]
fn an_idle_feed_is_small() {
    let world = world_with(20);
    let mut device = device(104, &[(Role::Verifier, "13"), (Role::Officer, VILLAGE)]);
    device.drain(&world, PAGE_BYTES);
    let feed = device.feed(&world);
    assert!(feed.ahead.is_none() && feed.owed.is_none());
    let subscriptions = feed.readings.iter().map(|reading| {
        let of = &reading.subscription;
        let scopes = of.except.iter().chain([&of.prefix]);
        size_of::<Reading>()
            + scopes
                .map(|one| size_of_val(one) + one.as_str().len())
                .sum::<usize>()
    });
    let bytes = size_of::<Feed>() + subscriptions.sum::<usize>();
    assert!(bytes < 1_024, "{bytes} bytes");
}

#[test]
fn the_longest_cursor_still_fits_where_cursors_travel() {
    let long = |n: usize| scope(&format!("13.76.01.1001/{:0>50}", n));
    let world = world_with(1);
    let seen = world.reader().watermark();
    let mut device = device(105, &[]);
    let feed = device.feed(&world);
    let reading = |n: usize| {
        let place = Seen {
            position: Position::MAX - n as u64,
            chain: Chain([n as u8; 32]),
        };
        let mark = Mark {
            prefix: long(n),
            audience: Audience::Unit,
            seen: place,
            floor: Position::MAX,
            facts: Position::MAX,
            moves: 1,
        };
        let subscription = Subscription {
            prefix: long(n),
            audience: Audience::Unit,
            except: vec![],
        };
        let cursor = Cursor {
            marks: vec![mark],
            ..Cursor::default()
        };
        let seen = Seen {
            position: Position::MAX,
            ..seen
        };
        Resuming::new(&cursor, &Placements::default(), seen).resume(subscription)
    };
    feed.readings = (0..limits::SUBSCRIPTIONS_MAX).map(reading).collect();
    let bytes = feed.cursor_bytes(seen);
    assert!(
        bytes.len() <= limits::CURSOR_BYTES_MAX,
        "{} bytes",
        bytes.len()
    );
    let first = feed.readings.last().unwrap().seen;
    let cursor = Cursor::from_bytes(&bytes).unwrap();
    assert!(cursor.marks.iter().all(|mark| mark.seen == first));

    let mut placements = Placements::default();
    placements
        .place(1, &scope(VILLAGE), &scope("13.76.02"))
        .unwrap();
    feed.placements = Arc::new(placements);
    for reading in &mut feed.readings {
        reading.moves = Position::MAX / 2;
    }
    let bytes = feed.cursor_bytes(seen);
    let cursor = Cursor::from_bytes(&bytes).unwrap();
    let told = |mark: &Mark| (mark.facts, mark.moves);
    assert!(
        cursor
            .marks
            .iter()
            .all(|mark| told(mark) == (Position::MAX / 2, Position::MAX / 2))
    );
}

/// Rows read by a session that resumes and finds nothing, and by one that finds one record.
fn reads_to_resume(documents: usize) -> (u64, u64) {
    let mut world = world_with(documents);
    let mut device = officer();
    device.drain(&world, 60_000);
    device.cut(0);
    let before = world.reads();
    assert!(!device.page(&world, PAGE_BYTES));
    let idle = world.reads() - before;
    world.edit(0, documents / 2, true, false, "One edit");
    world.commit();
    let before = world.reads();
    assert!(device.page(&world, PAGE_BYTES) && !device.page(&world, PAGE_BYTES));
    (idle, world.reads() - before)
}

#[test]
fn resuming_costs_what_changed_and_not_what_there_is() {
    let few = reads_to_resume(200);
    let many = reads_to_resume(2_000);
    assert_eq!(few, many);
    assert!(few.0 <= 4 && few.1 <= 24, "{few:?} rows read");
}
