//! Backups: copying a journal that goes on growing.

use super::super::copy::CopyError;
use super::super::format::{SEGMENT_HEADER_BYTES, segment_name};
use super::super::memory::{Fault, MemoryStorage};
use super::super::target::Refused;
use super::super::{Damage, Finding, Journal, ReadError, Storage, Watermark};
use super::{SMALL, contents, record, small_journal};

#[test]
fn a_copy_opens_as_the_journal_it_was_up_to_the_watermark() {
    let (_disk, mut journal, records) = small_journal();
    let mark = journal.reader().watermark();
    journal.append(&[record(13, 900), record(14, 900)]).unwrap();
    let target = MemoryStorage::new();
    let copied = journal.reader().copy_to(&target, mark, 0, 0).unwrap();
    assert_eq!((copied.written, copied.kept), (3, 0));
    assert_eq!(copied.verified.head, Some(mark));
    let (copy, _) = Journal::open(target, SMALL).unwrap();
    assert_eq!(copy.id(), journal.id());
    assert_eq!(contents(&copy), records);
}

#[test]
fn a_repeated_copy_writes_only_what_changed() {
    let (_disk, mut journal, _records) = small_journal();
    let target = MemoryStorage::new();
    let reader = journal.reader();
    reader.copy_to(&target, reader.watermark(), 0, 0).unwrap();
    let again = reader.copy_to(&target, reader.watermark(), 0, 0).unwrap();
    assert_eq!((again.written, again.kept), (0, 3));
    journal.append(&[record(13, 100)]).unwrap();
    journal.append(&[record(14, 1000)]).unwrap();
    let again = reader.copy_to(&target, reader.watermark(), 0, 0).unwrap();
    assert_eq!((again.written, again.kept), (2, 2));
    let (copy, _) = Journal::open(target, SMALL).unwrap();
    assert_eq!(contents(&copy), contents(&journal));
}

#[test]
fn a_damaged_journal_does_not_replace_its_good_copy() {
    let (disk, journal, _records) = small_journal();
    let target = MemoryStorage::new();
    let reader = journal.reader();
    reader.copy_to(&target, reader.watermark(), 0, 0).unwrap();
    let good = target.content(&segment_name(2));
    let sound = disk.content(&segment_name(2)).unwrap();
    // A record, a header, and a header that is whole and says something else.
    let mut other = reader.segments_up_to(5)[1].clone();
    other.before.0[0] ^= 1;
    let other = other.encode().to_vec();
    for (at, bytes) in [
        (SEGMENT_HEADER_BYTES + 200, vec![0]),
        (20, vec![0]),
        (0, other),
    ] {
        let mut content = sound.clone();
        content[at..at + bytes.len()].copy_from_slice(&bytes);
        assert_ne!(content, sound);
        disk.set_content(&segment_name(2), &content);
        let refused = reader.copy_to(&target, reader.watermark(), 0, 0);
        assert!(
            matches!(refused, Err(CopyError::Source(ReadError::Damaged(_)))),
            "byte {at}: {refused:?}"
        );
        assert_eq!(target.content(&segment_name(2)), good);
    }
}

#[test]
fn a_segment_that_is_not_the_same_to_its_last_byte_is_copied_again() {
    let (disk, journal, _records) = small_journal();
    let target = MemoryStorage::new();
    let reader = journal.reader();
    reader.copy_to(&target, reader.watermark(), 0, 0).unwrap();
    let name = segment_name(1);
    let good = target.content(&name).unwrap();
    type Edit = fn(&mut Vec<u8>);
    let edits: [Edit; 5] = [
        |bytes| bytes.truncate(1800),
        |bytes| bytes.push(0),
        |bytes| bytes[1899] = 1,
        |bytes| bytes[300] ^= 1,
        |bytes| bytes[20] ^= 1,
    ];
    for edit in edits {
        let mut content = good.clone();
        edit(&mut content);
        target.set_content(&name, &content);
        let copied = reader.copy_to(&target, reader.watermark(), 0, 0).unwrap();
        assert_eq!((copied.written, copied.kept), (1, 2));
        assert_eq!(target.content(&name), disk.content(&name));
    }
}

#[test]
fn a_copy_removes_what_an_interrupted_one_left() {
    let (_disk, journal, _records) = small_journal();
    let target = MemoryStorage::new();
    let reader = journal.reader();
    target.set_content("0000000009.seg.new", b"half");
    reader.copy_to(&target, reader.watermark(), 0, 0).unwrap();
    assert_eq!(target.list().unwrap(), [1, 2, 3].map(segment_name));
}

/// Into a new folder, and into one whose records were lost here.
#[test]
fn for_want_of_descriptors_nothing_is_said_of_a_copy() {
    for is_later in [false, true] {
        let mut call = 0;
        loop {
            let (_disk, journal, _records) = small_journal();
            let target = MemoryStorage::new();
            let reader = journal.reader();
            if is_later {
                reader.copy_to(&target, reader.watermark(), 0, 0).unwrap();
            }
            let up_to = match is_later {
                true => Watermark {
                    position: 4,
                    chain: reader.chain_at(4).unwrap(),
                },
                false => reader.watermark(),
            };
            call += 1;
            target.fail_at(call, Fault::Scarce);
            let said = reader.copy_to(&target, up_to, 0, 0);
            match said {
                Err(CopyError::Scarce) => {}
                Err(CopyError::Target(error)) => assert!(error.scarce, "call {call}: {error:?}"),
                // It came to its end before.
                Ok(_) | Err(CopyError::Refused(Refused::Later { .. })) => break,
                said => panic!("call {call}: {said:?}"),
            }
        }
        assert!(call > 5, "hardly anything failed");
    }
}

#[test]
fn a_copy_ends_at_the_end_of_a_group_of_this_history() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let target = MemoryStorage::new();
    let chain = reader.chain_at(3).unwrap();
    let inside = reader.copy_to(&target, Watermark { position: 3, chain }, 0, 0);
    assert_eq!(inside, Err(CopyError::InsideGroup(3)));

    let other = reader.copy_to(&target, Watermark { position: 4, chain }, 0, 0);
    let Err(CopyError::Source(ReadError::Damaged(Finding { damage, .. }))) = other else {
        panic!("{other:?}");
    };
    assert_eq!(damage, Damage::OtherHistory { position: 4 });

    let start = Watermark {
        position: 0,
        chain: reader.chain_at(0).unwrap(),
    };
    let nothing = reader.copy_to(&target, start, 0, 0).unwrap();
    assert_eq!(nothing.verified.records, 0);
}

#[test]
fn a_copy_that_fails_leaves_nothing_unfinished_on_a_full_disk() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let mut failed = 0;
    for call in 1.. {
        let target = MemoryStorage::new();
        target.fail_at(call, Fault::Full);
        let copied = reader.copy_to(&target, reader.watermark(), 0, 0);
        if target.is_to_fail() {
            break;
        }
        failed += u32::from(copied.is_err());
        let left = target.list().unwrap();
        assert!(
            left.iter().all(|name| !name.ends_with(".new")),
            "call {call}: {left:?}"
        );
    }
    assert!(failed > 15, "hardly anything failed");
}

#[test]
fn a_copy_after_one_that_failed_is_there_after_a_power_cut() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let mut failed = 0;
    for call in 1.. {
        let target = MemoryStorage::new();
        target.fail_at(call, Fault::Io);
        let first = reader.copy_to(&target, reader.watermark(), 0, 0);
        if target.is_to_fail() {
            break;
        }
        failed += u32::from(first.is_err());
        reader.copy_to(&target, reader.watermark(), 0, 0).unwrap();
        target.crash(&mut |_| 0);
        let opened = Journal::open(target, SMALL);
        let (copy, _) = opened.unwrap_or_else(|error| panic!("call {call}: {error:?}"));
        assert_eq!(copy.reader().watermark(), reader.watermark(), "call {call}");
    }
    assert!(failed > 15, "hardly anything failed");
}

#[test]
fn a_copy_beside_its_journal_leaves_the_reserve() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let (segment, reserve) = (u64::from(SMALL.segment_bytes), 5000);
    for room in 0..4 {
        let target = MemoryStorage::new();
        let free = reserve + (room + 1) * segment - 1;
        target.set_free_bytes(free);
        let copied = reader.copy_to(&target, reader.watermark(), 0, reserve);
        assert!(target.free_bytes().unwrap() >= reserve);
        assert_eq!(target.list().unwrap().len() as u64, room.min(3));
        let needed = reserve + segment;
        match copied {
            Err(CopyError::Full {
                free: found,
                needed: asked,
            }) if room < 3 => assert_eq!((found, asked), (free - room * segment, needed)),
            Ok(_) if room == 3 => {}
            other => panic!("room for {room}: {other:?}"),
        }
    }
    let target = MemoryStorage::new();
    target.set_free_bytes(3 * segment);
    reader.copy_to(&target, reader.watermark(), 0, 0).unwrap();
}
