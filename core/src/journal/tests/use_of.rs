//! Writing, reading, rolling, removing, running full.

use super::super::format::{chain_next, chain_start, check_of, record_hash, segment_name};
use super::super::memory::{Fault, MemoryStorage};
use super::super::verify::{Extent, verify};
use super::super::{
    CreateError, Journal, JournalFailure, OpenError, Options, Place, ReadError, Storage,
};
use super::{ID, SMALL, contents, record, small_journal};
use crate::limits::{GROUP_BYTES, GROUP_RECORDS_MAX, RECORD_BYTES_MAX, SEGMENT_BYTES_MAX};

#[test]
fn what_was_appended_is_read_back_by_place_by_position_and_in_order() {
    let (_disk, mut journal, records) = small_journal();
    let reader = journal.reader();
    let appended = journal.append(&[record(13, 10), Vec::new()]).unwrap();
    assert_eq!((appended.first, appended.last), (13, 14));
    assert_eq!(journal.head(), (14, appended.chain));
    assert_eq!(reader.read(appended.places[0]).unwrap(), record(13, 10));
    assert_eq!(reader.read(appended.places[1]).unwrap(), Vec::<u8>::new());

    let mut chain = chain_start(&ID);
    assert_eq!(reader.chain_at(0).unwrap(), chain);
    let scanned: Vec<_> = reader.scan(1).map(Result::unwrap).collect();
    assert_eq!(scanned.len(), 14);
    for (index, scanned) in scanned.iter().enumerate() {
        let position = index as u64 + 1;
        chain = chain_next(&chain, &record_hash(&scanned.record));
        assert_eq!(scanned.position, position);
        assert_eq!(scanned.chain, chain);
        assert_eq!(reader.chain_at(position).unwrap(), chain);
        assert_eq!(reader.locate(position).unwrap(), scanned.place);
        assert_eq!(reader.read(scanned.place).unwrap(), scanned.record);
        if let Some(expected) = records.get(index) {
            assert_eq!(&scanned.record, expected);
        }
    }
}

#[test]
fn a_scan_begins_anywhere_and_ends_at_the_head_it_started_with() {
    let (_disk, mut journal, records) = small_journal();
    for from in 1..=13 {
        let mut scan = journal.reader().scan(from);
        let found: Vec<_> = scan.by_ref().map(|s| s.unwrap().record).collect();
        assert_eq!(found, records[from as usize - 1..]);
    }
    let mut scan = journal.reader().scan(12);
    journal.append(&[record(13, 10)]).unwrap();
    assert_eq!(scan.next().unwrap().unwrap().position, 12);
    assert!(scan.next().is_none());
}

#[test]
fn a_reopened_journal_continues_its_chain() {
    let (disk, journal, mut records) = small_journal();
    let head = journal.head();
    drop(journal);
    let (mut journal, recovery) = Journal::open(disk.clone(), SMALL).unwrap();
    assert_eq!(journal.id(), ID);
    assert_eq!(journal.head(), head);
    assert_eq!((recovery.first, recovery.head), (1, 12));
    assert_eq!(recovery.segments, 3);
    assert_eq!(recovery.torn, None);
    journal.append(&[record(13, 700)]).unwrap();
    records.push(record(13, 700));
    assert_eq!(contents(&journal), records);
    assert!(verify(&disk, &Extent::default()).is_clean());
}

#[test]
fn a_folder_without_a_journal_is_not_opened_and_one_with_is_not_made_again() {
    let disk = MemoryStorage::new();
    let missing = Journal::open(disk.clone(), SMALL).unwrap_err();
    assert_eq!(missing, OpenError::NoJournal);
    Journal::create(disk.clone(), ID, SMALL, &[record(1, 10)]).unwrap();
    let again = Journal::create(disk, ID, SMALL, &[]).unwrap_err();
    assert_eq!(again, CreateError::Exists);
}

#[test]
fn an_empty_journal_opens_with_the_chain_of_its_id() {
    let disk = MemoryStorage::new();
    Journal::create(disk.clone(), ID, SMALL, &[]).unwrap();
    let (journal, recovery) = Journal::open(disk.clone(), SMALL).unwrap();
    assert_eq!(journal.head(), (0, chain_start(&ID)));
    assert_eq!((recovery.first, recovery.head), (1, 0));
    assert_eq!(contents(&journal), Vec::<Vec<u8>>::new());
    let findings = verify(&disk, &Extent::default());
    assert!(findings.is_clean());
    assert_eq!(findings.head, Some(journal.reader().watermark()));
}

#[test]
fn one_append_is_cut_into_groups_and_segments_without_losing_order() {
    let disk = MemoryStorage::new();
    let options = Options {
        segment_bytes: 64 * 1024,
        ..SMALL
    };
    let mut journal = Journal::create(disk.clone(), ID, options, &[]).unwrap();
    let records: Vec<_> = (0..2 * GROUP_RECORDS_MAX + 1)
        .map(|number| record(number as u8, 100))
        .collect();
    let appended = journal.append(&records).unwrap();
    assert_eq!(appended.last, records.len() as u64);
    assert_eq!(contents(&journal), records);
    let findings = verify(&disk, &Extent::default());
    assert!(findings.is_clean());
    assert_eq!(findings.records, records.len() as u64);
    assert!(findings.groups > 2 && findings.segments > 1);
}

#[test]
fn a_group_takes_no_more_records_once_it_is_as_large_as_groups_get() {
    let disk = MemoryStorage::new();
    let options = Options {
        segment_bytes: 8 * GROUP_BYTES as u32,
        ..SMALL
    };
    let mut journal = Journal::create(disk.clone(), ID, options, &[]).unwrap();
    let records: Vec<_> = (1..=5)
        .map(|number| record(number, GROUP_BYTES / 2))
        .collect();
    journal.append(&records).unwrap();
    let findings = verify(&disk, &Extent::default());
    assert!(findings.is_clean());
    assert_eq!((findings.groups, findings.segments), (3, 1));
}

#[test]
fn no_segment_is_longer_than_segments_may_be() {
    let disk = MemoryStorage::new();
    let options = Options {
        segment_bytes: SEGMENT_BYTES_MAX + 1,
        ..SMALL
    };
    Journal::create(disk.clone(), ID, options, &[]).unwrap();
    let length = disk.length(&segment_name(1)).unwrap();
    assert_eq!(length, u64::from(SEGMENT_BYTES_MAX));
}

#[test]
fn a_record_longer_than_a_segment_gets_one_of_its_own() {
    let (disk, mut journal, mut records) = small_journal();
    for length in [5000, 10, RECORD_BYTES_MAX] {
        journal.append(&[record(13, length)]).unwrap();
        records.push(record(13, length));
    }
    drop(journal);
    let (journal, _) = Journal::open(disk.clone(), SMALL).unwrap();
    assert_eq!(contents(&journal), records);
    assert!(verify(&disk, &Extent::default()).is_clean());
}

#[test]
fn what_cannot_be_appended_is_refused_before_anything_is_written() {
    let (_disk, mut journal, records) = small_journal();
    let bytes = RECORD_BYTES_MAX + 1;
    let too_long = journal.append(&[record(1, 1), vec![1; bytes]]);
    assert_eq!(too_long, Err(JournalFailure::RecordTooLong { bytes }));
    assert_eq!(journal.append(&[]), Err(JournalFailure::NoRecords));
    assert_eq!(contents(&journal), records);
    assert_eq!(journal.failure(), None);
    journal.append(&[record(13, 1)]).unwrap();
}

#[test]
fn below_the_reserve_nothing_is_appended_until_there_is_space_again() {
    let (disk, journal, records) = small_journal();
    drop(journal);
    let options = Options {
        reserve_bytes: 10_000,
        ..SMALL
    };
    let (mut journal, _) = Journal::open(disk.clone(), options).unwrap();
    disk.set_free_bytes(9_999);
    let full = journal.append(&[record(13, 10)]).unwrap_err();
    let (free, needed) = (9_999, 10_000);
    assert_eq!(full, JournalFailure::Full { free, needed });
    assert!(!full.is_final());
    assert_eq!(contents(&journal), records);

    disk.set_free_bytes(10_000);
    journal.append(&[record(13, 10)]).unwrap();
    let rolling = journal.append(&[record(14, 1000)]).unwrap_err();
    let (free, needed) = (10_000, 10_000 + 1900);
    assert_eq!(rolling, JournalFailure::Full { free, needed });
    disk.set_free_bytes(11_900);
    assert_eq!(journal.append(&[record(14, 1000)]).unwrap().last, 14);
}

#[test]
fn after_a_failed_sync_every_append_fails_though_the_disk_works_again() {
    let (disk, mut journal, records) = small_journal();
    // Calls of an append: free space, write, sync.
    disk.fail_at(3, Fault::Io);
    let failure = journal.append(&[record(13, 10)]).unwrap_err();
    assert!(failure.is_final());
    assert_eq!(journal.append(&[record(13, 10)]), Err(failure.clone()));
    assert_eq!(journal.remove_before(3), Err(failure.clone()));
    assert_eq!(journal.failure(), Some(failure));
    assert_eq!(contents(&journal), records);
}

#[test]
fn a_reader_does_not_see_what_was_written_but_not_synced() {
    let (disk, mut journal, _records) = small_journal();
    let (mut twin, _) = Journal::open(disk.duplicate(), SMALL).unwrap();
    let place = twin.append(&[record(13, 10)]).unwrap().places[0];
    disk.fail_at(3, Fault::Io);
    journal.append(&[record(13, 10)]).unwrap_err();
    assert!(journal.reader().read(place).is_err());
    assert_eq!(twin.reader().read(place).unwrap(), record(13, 10));
}

#[test]
fn a_tail_deletes_segments_once_they_are_settled() {
    let disk = MemoryStorage::new();
    let options = Options {
        prefix_removable: true,
        ..SMALL
    };
    let mut journal = Journal::create(disk.clone(), ID, options, &[]).unwrap();
    let mut places = Vec::new();
    for number in 1..=12 {
        places.extend(journal.append(&[record(number, 600)]).unwrap().places);
    }
    let reader = journal.reader();
    let chain = reader.chain_at(6).unwrap();
    assert_eq!(journal.remove_before(6), Ok(2));
    assert_eq!(journal.remove_before(7), Ok(1));
    assert_eq!(journal.remove_before(7), Ok(0));

    assert_eq!(reader.first(), 7);
    let first = 7;
    let removed = ReadError::Removed { first };
    assert_eq!(reader.read(places[0]), Err(removed.clone()));
    assert_eq!(reader.locate(6), Err(removed));
    assert_eq!(reader.chain_at(6), Ok(chain));
    assert_eq!(reader.read(places[6]).unwrap(), record(7, 600));
    assert_eq!(contents(&journal).len(), 6);
    drop(journal);

    let (mut journal, recovery) = Journal::open(disk.clone(), options).unwrap();
    assert_eq!((recovery.first, recovery.head), (7, 12));
    journal.append(&[record(13, 600)]).unwrap();
    let extent = Extent {
        prefix_removable: true,
        ..Extent::default()
    };
    assert!(verify(&disk, &extent).is_clean());
    assert!(!verify(&disk, &Extent::default()).is_clean());
    assert!(matches!(
        Journal::open(disk, SMALL),
        Err(OpenError::Damaged(_))
    ));
}

#[test]
fn a_server_journal_deletes_nothing() {
    let (_disk, mut journal, _records) = small_journal();
    let refused = journal.remove_before(12);
    assert_eq!(refused, Err(JournalFailure::NotRemovable));
    journal.append(&[record(13, 10)]).unwrap();
}

#[test]
fn a_wrong_place_never_gives_bytes() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let place = reader.locate(3).unwrap();
    assert_eq!(Place::from_bytes(&place.to_bytes()), place);
    let mut wrong = vec![
        Place {
            offset: place.offset + 1,
            ..place
        },
        Place { offset: 0, ..place },
        Place {
            offset: u32::MAX,
            ..place
        },
        Place {
            length: place.length - 1,
            ..place
        },
        Place {
            length: u32::MAX,
            ..place
        },
        Place {
            check: [0; 16],
            ..place
        },
        Place {
            segment: 2,
            ..place
        },
        Place {
            segment: 99,
            ..place
        },
    ];
    wrong.push(Place {
        segment: 0,
        ..place
    });
    // A part of a record is none, though its hash is right.
    let record = reader.read(place).unwrap();
    wrong.push(Place {
        offset: place.offset + 10,
        length: 20,
        check: check_of(&record_hash(&record[10..30])),
        ..place
    });
    for place in wrong {
        assert!(reader.read(place).is_err(), "{place:?}");
    }
}

#[test]
fn positions_outside_the_journal_are_refused() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let (position, head) = (13, 12);
    let behind = ReadError::BehindHead { position, head };
    assert_eq!(reader.locate(13), Err(behind.clone()));
    assert_eq!(reader.chain_at(13), Err(behind));
    assert_eq!(reader.locate(0), Err(ReadError::Removed { first: 1 }));
    assert!(reader.chain_at(u64::MAX).is_err());
    assert_eq!(reader.scan(13).count(), 0);
}

#[test]
fn a_position_is_found_in_a_segment_much_longer_than_one_window() {
    let options = Options {
        segment_bytes: 256 * 1024,
        ..SMALL
    };
    let mut journal = Journal::create(MemoryStorage::new(), ID, options, &[]).unwrap();
    let mut places = Vec::new();
    for number in 0..2_000_u32 {
        let group = [record(number as u8, 60), record(number as u8, 80)];
        places.extend(journal.append(&group).unwrap().places);
    }
    let reader = journal.reader();
    for step in [1_999, 7, 389, 1_200, 63] {
        for index in (0..places.len()).step_by(step).rev() {
            let position = index as u64 + 1;
            assert_eq!(reader.locate(position).unwrap(), places[index]);
        }
    }
}

#[test]
fn opening_removes_unfinished_files_and_leaves_strange_ones() {
    let (disk, journal, records) = small_journal();
    drop(journal);
    disk.set_content("0000000004.seg.new", b"half");
    disk.set_content("notes.txt", b"mine");
    let (journal, recovery) = Journal::open(disk.clone(), SMALL).unwrap();
    assert_eq!(recovery.unfinished, ["0000000004.seg.new"]);
    assert_eq!(contents(&journal), records);
    let files = disk.list().unwrap();
    assert!(files.contains(&"notes.txt".to_owned()));
    assert!(!files.contains(&"0000000004.seg.new".to_owned()));
}
