//! Writing, reading, rolling, removing, copying.

use super::super::Journal;
use super::super::format::{chain_next, chain_start, record_hash};
use super::super::verify::{Extent, verify};
use super::{ID, SMALL, contents, record, small_journal};

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
