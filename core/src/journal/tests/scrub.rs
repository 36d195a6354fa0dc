//! Reading a journal again while it is in use.

use std::sync::{Arc, Mutex};

use super::super::format::{
    Damage, GROUP_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name,
};
use super::super::memory::{Fault, MemoryStorage};
use super::super::scrub::Scrub;
use super::super::{Finding, Journal, Options, Storage};
use super::{ID, SMALL, record, small_journal};
use crate::id::{Chain, JournalId, Position};

/// Bytes of a group of two records of 300 bytes.
const GROUP: usize = GROUP_HEADER_BYTES + 2 * (4 + 300);

/// What a pass saw in all its steps.
#[derive(Debug, Default)]
struct Seen {
    bytes: u64,
    position: Position,
    damage: Vec<(String, u64, Position, Damage)>,
    records: Vec<Vec<u8>>,
}

fn rest_of(mut scrub: Scrub<MemoryStorage>) -> Seen {
    let mut seen = Seen::default();
    while let Some(step) = scrub.step() {
        seen.bytes += step.bytes;
        assert!(step.position >= seen.position, "a pass goes forward");
        seen.position = step.position;
        seen.damage.extend(step.damage.map(|finding| {
            let Finding {
                file,
                offset,
                position,
                damage,
            } = finding;
            (file, offset, position, damage)
        }));
        for (position, record) in step.records {
            assert!(position <= seen.position);
            seen.records.push(record);
        }
    }
    seen
}

fn pass(journal: &Journal<MemoryStorage>) -> Seen {
    rest_of(journal.reader().scrub())
}

fn flip(disk: &MemoryStorage, segment: u32, at: usize) {
    let name = segment_name(segment);
    let mut content = disk.content(&name).unwrap();
    content[at] ^= 0x10;
    disk.set_content(&name, &content);
}

#[test]
fn a_pass_reads_every_record_and_every_byte_that_is_finished() {
    let (_disk, mut journal, mut records) = small_journal();
    records.push(record(13, 300));
    journal.append(&records[12..]).unwrap();

    let begun = journal.reader().scrub();
    // What comes later is for the next pass.
    journal.append(&[record(14, 300)]).unwrap();
    let seen = rest_of(begun);
    assert_eq!(seen.damage, []);
    assert!(seen.records == records, "each record once, in order");
    assert_eq!(seen.position, 13);
    let last = SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES + 4 + 300;
    assert_eq!(seen.bytes, 3 * 1900 + last as u64);
}

#[test]
fn a_header_that_is_whole_and_not_the_one_it_was_is_found() {
    let (whole, journal, _records) = small_journal();
    let reader = journal.reader();
    let header = reader.segments_up_to(12)[1].clone();
    let others = [
        SegmentHeader {
            id: JournalId([8; 16]),
            ..header.clone()
        },
        SegmentHeader {
            first: 6,
            ..header.clone()
        },
        SegmentHeader {
            before: Chain([1; 32]),
            ..header.clone()
        },
    ];
    let name = segment_name(2);
    let sound = whole.content(&name).unwrap();
    for other in others {
        let mut content = sound.clone();
        content[..SEGMENT_HEADER_BYTES].copy_from_slice(&other.encode());
        whole.set_content(&name, &content);
        let found = [(name.clone(), 0, 5, Damage::SegmentHeader)];
        assert_eq!(pass(&journal).damage, found, "{other:?}");
    }
}

#[test]
fn a_damaged_header_is_found() {
    for at in 0..SEGMENT_HEADER_BYTES {
        let (disk, journal, _records) = small_journal();
        flip(&disk, 2, at);
        let found = [(segment_name(2), 0, 5, Damage::SegmentHeader)];
        assert_eq!(pass(&journal).damage, found, "byte {at}");
    }
    let (disk, journal, _records) = small_journal();
    let mut content = disk.content(&segment_name(2)).unwrap();
    content.truncate(1800);
    disk.set_content(&segment_name(2), &content);
    let damage = Damage::SegmentLength {
        expected: 1900,
        found: 1800,
    };
    assert_eq!(pass(&journal).damage, [(segment_name(2), 0, 5, damage)]);
}

/// Everything in it fits together, as in a journal of the same name that went another way.
#[test]
fn a_segment_of_another_history_is_found_where_it_ends() {
    let (disk, journal, _records) = small_journal();
    let other = MemoryStorage::new();
    let mut another = Journal::create(other.clone(), ID, SMALL, &[]).unwrap();
    for number in [21, 23] {
        let pair = [record(number, 300), record(number + 1, 300)];
        another.append(&pair).unwrap();
    }
    let name = segment_name(1);
    disk.set_content(&name, &other.content(&name).unwrap());
    let end = (SEGMENT_HEADER_BYTES + 2 * GROUP) as u64;
    let found = [(name, end, 5, Damage::ChainBroken)];
    assert_eq!(pass(&journal).damage, found);
}

#[test]
fn behind_the_groups_of_a_finished_segment_zeros_are_read_to_the_very_end() {
    let options = Options {
        segment_bytes: 200_000,
        ..SMALL
    };
    let disk = MemoryStorage::new();
    let mut journal = Journal::create(disk.clone(), ID, options, &[]).unwrap();
    journal.append(&[record(1, 300)]).unwrap();
    journal.append(&[record(2, 199_700)]).unwrap();
    let zeros = SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES + 4 + 300;
    for at in [zeros, zeros + 64 * 1024, zeros + 150_000, 199_999] {
        flip(&disk, 1, at);
        let found = [(segment_name(1), at as u64, 2, Damage::NotZero)];
        assert_eq!(pass(&journal).damage, found, "byte {at}");
        flip(&disk, 1, at);
    }
    assert_eq!(pass(&journal).damage, []);
}

#[test]
fn damage_in_one_segment_hides_none_in_the_next() {
    let (disk, journal, records) = small_journal();
    let first = SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES + 10;
    let second = SEGMENT_HEADER_BYTES + GROUP + 3;
    flip(&disk, 1, first);
    flip(&disk, 2, second);
    flip(&disk, 3, first + GROUP);
    let header = SEGMENT_HEADER_BYTES as u64;
    let behind = (SEGMENT_HEADER_BYTES + GROUP) as u64;
    let seen = pass(&journal);
    let found = [
        (segment_name(1), header, 1, Damage::Records),
        (segment_name(2), behind, 7, Damage::GroupHeader),
        (segment_name(3), behind, 11, Damage::Records),
    ];
    assert_eq!(seen.damage, found);
    assert!(seen.records == [&records[4..6], &records[8..10]].concat());
    assert_eq!(seen.position, 12);
}

#[test]
fn records_that_are_settled_while_a_pass_runs_are_no_damage() {
    let options = Options {
        prefix_removable: true,
        ..SMALL
    };
    // Each pass is overtaken after other steps: before a header, a group, and zeros.
    for steps in 0..8 {
        let disk = MemoryStorage::new();
        let mut journal = Journal::create(disk.clone(), ID, options, &[]).unwrap();
        for number in (1..=11).step_by(2) {
            let pair = [record(number, 300), record(number + 1, 300)];
            journal.append(&pair).unwrap();
        }
        let mut scrub = journal.reader().scrub();
        for _ in 0..steps {
            assert!(scrub.step().unwrap().damage.is_none());
        }
        assert_eq!(journal.remove_before(9).unwrap(), 2);
        let seen = rest_of(scrub);
        assert_eq!(seen.damage, [], "after {steps} steps");
        assert_eq!(seen.position, 12);

        // A file that is gone and was not settled is damage all the same.
        disk.remove(&segment_name(3)).unwrap();
        let damage = pass(&journal).damage;
        let [(file, 0, 9, Damage::Unreadable { .. })] = &damage[..] else {
            panic!("{damage:?}");
        };
        assert_eq!(*file, segment_name(3));
    }
}

#[test]
fn what_cannot_be_read_for_want_of_descriptors_is_read_again_and_is_no_damage() {
    let (disk, journal, records) = small_journal();
    let mut put_off = 0;
    for call in 1.. {
        disk.fail_at(call, Fault::Scarce);
        let mut scrub = journal.reader().scrub();
        let mut read = Vec::new();
        let mut position = 0;
        while let Some(step) = scrub.step() {
            assert_eq!(step.damage, None, "call {call}");
            assert!(step.position >= position, "a pass goes forward");
            position = step.position;
            put_off += usize::from(step.put_off);
            assert!(!step.put_off || (step.bytes, step.records.len()) == (0, 0));
            read.extend(step.records.into_iter().map(|(_, record)| record));
        }
        assert!(read == records, "each record once, call {call}");
        assert_eq!(position, 12);
        if disk.is_to_fail() {
            break;
        }
    }
    assert!(put_off > 10, "{put_off} steps were put off");
}

#[test]
fn finished_segments_are_read_from_the_disk_and_not_from_memory() {
    let (disk, journal, _records) = small_journal();
    let mut scrub = journal.reader().scrub();
    let mut asked = Vec::new();
    while scrub.step().is_some() {
        asked.push(disk.cache_drops().len());
    }
    let finished = [segment_name(1), segment_name(2)];
    assert_eq!(disk.cache_drops(), finished);
    // A header, two groups and zeros, of the open segment no zeros.
    assert_eq!(asked, [1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2]);
}

#[test]
fn one_segment_is_read_whole_and_no_other() {
    let (disk, journal, _records) = small_journal();
    let whole = pass(&journal);
    let seen = |number| rest_of(journal.reader().scrub_segment(number));
    let each: Vec<Seen> = (1..=3).map(seen).collect();
    assert_eq!(each.iter().map(|seen| seen.bytes).sum::<u64>(), whole.bytes);
    let records = each.into_iter().flat_map(|seen| seen.records);
    assert!(records.eq(whole.records));
    assert_eq!(seen(4).bytes, 0);

    flip(&disk, 2, SEGMENT_HEADER_BYTES + 1);
    let damaged = |number| !seen(number).damage.is_empty();
    assert_eq!([1, 2, 3].map(damaged), [false, true, false]);
}

#[test]
fn whoever_meets_damage_by_reading_sounds_an_alarm_and_nothing_else_does() {
    let (disk, journal, _records) = small_journal();
    let (reader, told) = (journal.reader(), Arc::new(Mutex::new(Vec::new())));
    let alarms = Arc::clone(&told);
    reader.on_damage(move |segment| alarms.lock().unwrap().push(segment));
    let alarms = || std::mem::take(&mut *told.lock().unwrap());
    let place = reader.locate(5).unwrap();
    assert_eq!(place.segment, 2);
    disk.fail_at(1, Fault::Scarce);
    assert!(reader.read(place).is_err());
    assert!(reader.locate(13).is_err() && reader.chain_at(13).is_err());
    assert_eq!(alarms(), [0; 0]);

    disk.fail_at(1, Fault::Io);
    assert!(reader.read(place).is_err());
    assert_eq!(alarms(), [2]);

    flip(&disk, 2, place.offset as usize);
    assert!(journal.reader().read(place).is_err());
    assert!(reader.locate(5).is_err() && reader.chain_at(5).is_err());
    assert_eq!(alarms(), [2, 2, 2]);
    // Its header is whole.
    assert!(reader.chain_at(6).is_ok());
    flip(&disk, 2, SEGMENT_HEADER_BYTES + 1);
    assert!(reader.chain_at(6).is_err());
    assert_eq!(alarms(), [2]);
    // What reads everything tells what it finds itself.
    assert_eq!(pass(&journal).damage.len(), 1);
    assert_eq!(alarms(), [0; 0]);
}
