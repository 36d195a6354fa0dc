//! Torn tails, flipped bits, and everything that can be moved, removed or added.

use std::collections::BTreeSet;

use super::super::format::{
    GROUP_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name, unfinished_name,
};
use super::super::memory::MemoryStorage;
use super::super::repair::is_mended;
use super::super::verify::{Extent, verify, verify_segments};
use super::super::{
    Damage, Finding, Journal, KeptSum, OpenError, Options, ReadError, SideFile, Storage, TailKind,
    Watermark,
};
use super::{ID, SMALL, contents, record, small_journal};
use crate::id::JournalId;

/// Bytes of a group of two records of 300 bytes.
const GROUP: usize = GROUP_HEADER_BYTES + 2 * (4 + 300);

fn change(disk: &MemoryStorage, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut content = disk.content(name).unwrap();
    edit(&mut content);
    disk.set_content(name, &content);
}

fn damage_on_opening(disk: &MemoryStorage) -> Finding {
    let before = disk.duplicate();
    let error = Journal::open(disk.clone(), SMALL).unwrap_err();
    for name in before.list().unwrap() {
        assert_eq!(
            disk.content(&name),
            before.content(&name),
            "{name} was changed"
        );
    }
    match error {
        OpenError::Damaged(finding) => finding,
        OpenError::NoJournal | OpenError::Storage(_) => panic!("{error:?}"),
    }
}

fn judged(disk: &MemoryStorage) -> Vec<(String, Damage)> {
    let findings = verify(disk, &Extent::default()).findings;
    let named = |finding: Finding| (finding.file, finding.damage);
    findings.into_iter().map(named).collect()
}

#[test]
fn a_tail_torn_at_any_byte_of_the_last_group_is_cut_kept_and_told() {
    let (whole, journal, records) = small_journal();
    drop(journal);
    let name = segment_name(3);
    let start = SEGMENT_HEADER_BYTES + GROUP;
    for cut in start..start + GROUP {
        let disk = whole.duplicate();
        change(&disk, &name, |bytes| bytes[cut..].fill(0));
        let torn_bytes = disk.content(&name).unwrap()[start..cut].to_vec();
        let (mut journal, recovery) = Journal::open(disk.clone(), SMALL).unwrap();
        assert_eq!(contents(&journal), records[..10]);
        if cut == start {
            assert_eq!(recovery.torn, None);
            continue;
        }
        let torn = recovery.torn.unwrap();
        // Whoever sees the end of a group cannot tell that a byte of it was never written.
        let (kind, name_of_side_file) = if cut > start + GROUP - 4 {
            (TailKind::Damaged, "damaged-11-3-840-1-")
        } else {
            (TailKind::Torn, "torn-11-3-840-1-")
        };
        assert_eq!(torn.kind, kind);
        assert!(torn.side_file.starts_with(name_of_side_file));
        assert_eq!(torn.finding.file, name);
        assert_eq!(torn.finding.position, 11);
        let kept = disk.content(&torn.side_file).unwrap();
        assert_eq!(kept.len() as u64, torn.bytes);
        // Zeros at the end of what was written cannot be told from those of the file.
        assert_eq!(kept, torn_bytes[..kept.len()]);
        assert!(torn_bytes[kept.len()..].iter().all(|&byte| byte == 0));

        journal.append(&[record(20, 10)]).unwrap();
        let findings = verify(&disk, &Extent::default());
        assert!(findings.is_clean(), "{findings:?}");
        assert_eq!(findings.side_files, [torn.side_file]);
    }
}

#[test]
fn a_second_torn_tail_at_one_position_gets_a_file_of_its_own() {
    let (disk, journal, _records) = small_journal();
    drop(journal);
    // One that an earlier version kept counts as well.
    disk.set_content("stray-13-3-1568-1.bin", b"?");
    for (number, changed) in [(2, 1), (3, 1), (4, 2)] {
        change(&disk, &segment_name(3), |bytes| {
            bytes[SEGMENT_HEADER_BYTES + 2 * GROUP + 3] = changed;
        });
        let (_, recovery) = Journal::open(disk.clone(), SMALL).unwrap();
        let expected = format!("stray-13-3-1568-{number}-");
        assert!(recovery.torn.unwrap().side_file.starts_with(&expected));
    }
}

#[test]
fn every_flipped_bit_of_a_side_file_is_found_and_keeps_nothing_from_being_mended() {
    let (disk, journal, _records) = small_journal();
    drop(journal);
    change(&disk, &segment_name(3), |bytes| {
        bytes[SEGMENT_HEADER_BYTES + 2 * GROUP - 3] ^= 1;
    });
    let (journal, recovery) = Journal::open(disk.clone(), SMALL).unwrap();
    drop(journal);
    let name = recovery.torn.unwrap().side_file;
    assert!(name.starts_with("damaged-11-3-840-1-"), "{name}");
    assert_eq!(judged(&disk), []);
    let kept = disk.content(&name).unwrap();
    let changed = |bytes: &[u8]| {
        let disk = disk.duplicate();
        disk.set_content(&name, bytes);
        let findings = verify(&disk, &Extent::default());
        let first = &findings.findings[0];
        assert_eq!(
            (&first.file, first.position, &first.damage),
            (&name, 11, &Damage::SideFile)
        );
        assert!(is_mended(&findings));
        // It is no segment, so whoever looks into one does not look here.
        let one = BTreeSet::from([segment_name(3)]);
        assert!(verify_segments(&disk, &Extent::default(), &one).is_clean());
    };
    for bit in 0..8 * kept.len() {
        let mut flipped = kept.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        changed(&flipped);
    }
    changed(&kept[..kept.len() - 1]);
    changed(&[&kept[..], &[0]].concat());
    changed(&[]);
}

#[test]
fn a_side_file_of_an_earlier_version_has_no_sum_and_passes() {
    let (disk, journal, _records) = small_journal();
    drop(journal);
    disk.set_content("damaged-13-3-1568-1.bin", b"what was cut");
    assert_eq!(judged(&disk), []);
    let old = SideFile::parse("damaged-13-3-1568-1.bin").unwrap();
    assert_eq!(old.sum, None);
    let kept = SideFile {
        sum: Some(KeptSum::of(b"what was cut")),
        ..old
    };
    assert_eq!(SideFile::parse(&kept.name()), Some(kept));
}

#[test]
fn a_whole_group_behind_a_damaged_one_is_never_cut() {
    let (whole, journal, _records) = small_journal();
    drop(journal);
    for at in SEGMENT_HEADER_BYTES..SEGMENT_HEADER_BYTES + GROUP {
        for length in [1, 100, GROUP] {
            let disk = whole.duplicate();
            let end = (at + length).min(SEGMENT_HEADER_BYTES + GROUP);
            change(&disk, &segment_name(3), |bytes| bytes[at..end].fill(0));
            if disk.content(&segment_name(3)) == whole.content(&segment_name(3)) {
                continue;
            }
            let finding = damage_on_opening(&disk);
            assert_eq!((finding.file, finding.position), (segment_name(3), 9));
        }
    }
}

#[test]
fn every_flipped_bit_is_found_and_none_passes_for_an_unfinished_write() {
    let options = Options {
        segment_bytes: 540,
        ..SMALL
    };
    let disk = MemoryStorage::new();
    let mut journal = Journal::create(disk.clone(), ID, options, &[]).unwrap();
    for number in 1..=5 {
        let group = [record(number, 9), record(number + 50, 20)];
        journal.append(&group).unwrap();
    }
    let head = journal.reader().watermark();
    drop(journal);
    let last_start = SEGMENT_HEADER_BYTES;
    let last_end = last_start + GROUP_HEADER_BYTES + 4 + 9 + 4 + 20;
    let mut cut = 0;
    for number in 1..=3 {
        let name = segment_name(number);
        let whole = disk.content(&name).unwrap();
        for bit in 0..8 * whole.len() {
            let at = bit / 8;
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (bit % 8);
            let damaged = disk.duplicate();
            damaged.set_content(&name, &flipped);

            let findings = verify(&damaged, &Extent::default()).findings;
            assert!(
                findings.iter().any(|finding| finding.file == name),
                "bit {bit} of {name}: {findings:?}"
            );
            let opened = Journal::open(damaged, options);
            match opened {
                Err(OpenError::Damaged(finding)) => {
                    assert_eq!(finding.file, name);
                    assert!(at < SEGMENT_HEADER_BYTES, "byte {at} of {name}");
                }
                Ok((_, recovery)) if number == 3 => {
                    assert!(at >= last_start);
                    let (kept, kind) = if at < last_end {
                        (8, TailKind::Damaged)
                    } else {
                        (10, TailKind::Stray)
                    };
                    let tail = recovery.torn.unwrap();
                    assert_eq!((recovery.head, tail.kind), (kept, kind), "bit {bit}");
                    cut += 1;
                }
                // Of earlier segments opening reads the headers; the rest is for `verify`.
                Ok((journal, recovery)) => {
                    assert!(at >= SEGMENT_HEADER_BYTES);
                    assert_eq!(recovery.torn, None);
                    assert_eq!(journal.reader().watermark(), head);
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    // The last group and the zeros behind it, in the last segment.
    assert_eq!(cut, 8 * (540 - SEGMENT_HEADER_BYTES));
}

#[test]
fn a_flipped_bit_in_an_earlier_group_of_the_last_segment_is_never_a_tear() {
    let (whole, journal, _records) = small_journal();
    drop(journal);
    let name = segment_name(3);
    for at in 0..SEGMENT_HEADER_BYTES + GROUP {
        let disk = whole.duplicate();
        change(&disk, &name, |bytes| bytes[at] ^= 1 << (at % 8));
        assert_eq!(damage_on_opening(&disk).file, name);
    }
}

#[test]
fn damage_in_one_group_does_not_hide_damage_in_another() {
    let (disk, journal, _records) = small_journal();
    drop(journal);
    for number in [1, 2] {
        change(&disk, &segment_name(number), |bytes| {
            bytes[SEGMENT_HEADER_BYTES + 5] ^= 1;
            bytes[SEGMENT_HEADER_BYTES + GROUP + 300] ^= 1;
        });
    }
    let damage = judged(&disk);
    let places: Vec<_> = damage.iter().map(|(file, _)| file.as_str()).collect();
    let (one, two) = (segment_name(1), segment_name(2));
    // The second group was the last of its segment, so the next one's start is missed, too.
    assert!(
        places.iter().filter(|&&file| file == one).count() >= 2,
        "{damage:?}"
    );
    assert!(
        places.iter().filter(|&&file| file == two).count() >= 2,
        "{damage:?}"
    );
}

#[test]
fn missing_segments_are_found() {
    let (whole, journal, _records) = small_journal();
    let mark = journal.reader().watermark();
    drop(journal);
    for number in [1, 2] {
        let disk = whole.duplicate();
        disk.remove(&segment_name(number)).unwrap();
        let finding = damage_on_opening(&disk);
        let missing = Damage::MissingSegments { count: 1 };
        assert_eq!(
            (finding.file, finding.damage),
            (segment_name(number + 1), missing.clone())
        );
        assert!(judged(&disk).contains(&(segment_name(number + 1), missing)));
    }
    // The loss of whole last groups shows only against somebody who knew them.
    let disk = whole.duplicate();
    disk.remove(&segment_name(3)).unwrap();
    assert_eq!(judged(&disk), []);
    let extent = Extent {
        up_to: Some(mark),
        ..Extent::default()
    };
    let (expected, found) = (12, 8);
    let findings = verify(&disk, &extent).findings;
    assert_eq!(findings[0].damage, Damage::Lost { expected, found });
}

#[test]
fn swapped_duplicated_and_foreign_segments_are_found() {
    let (whole, journal, _records) = small_journal();
    drop(journal);
    let content = |number| whole.content(&segment_name(number)).unwrap();

    let swapped = whole.duplicate();
    swapped.set_content(&segment_name(1), &content(2));
    swapped.set_content(&segment_name(2), &content(1));
    assert_eq!(
        damage_on_opening(&swapped).damage,
        Damage::SegmentNumber { found: 2 }
    );
    let damage = judged(&swapped);
    assert!(damage.contains(&(segment_name(1), Damage::SegmentNumber { found: 2 })));
    assert!(damage.contains(&(segment_name(2), Damage::SegmentNumber { found: 1 })));

    let twice = whole.duplicate();
    twice.set_content(&segment_name(4), &content(3));
    let expected = Damage::SegmentNumber { found: 3 };
    assert_eq!(damage_on_opening(&twice).damage, expected);
    assert!(judged(&twice).contains(&(segment_name(4), expected)));

    let other = MemoryStorage::new();
    let id = JournalId([8; 16]);
    let mut journal = Journal::create(other.clone(), id, SMALL, &[]).unwrap();
    for number in 1..=6 {
        journal.append(&[record(number, 700)]).unwrap();
    }
    let foreign = whole.duplicate();
    foreign.set_content(&segment_name(2), &other.content(&segment_name(2)).unwrap());
    let expected = Damage::OtherJournal { found: id };
    assert_eq!(damage_on_opening(&foreign).damage, expected);
    assert!(judged(&foreign).contains(&(segment_name(2), expected)));
}

/// The same journal with another past: same id, positions and lengths, other records.
fn other_history() -> MemoryStorage {
    let disk = MemoryStorage::new();
    let mut journal = Journal::create(disk.clone(), ID, SMALL, &[]).unwrap();
    for number in 1..=6 {
        let pair = [record(100 + number, 300), record(200 + number, 300)];
        journal.append(&pair).unwrap();
    }
    disk
}

#[test]
fn a_segment_of_another_history_is_found_where_the_chain_breaks() {
    for number in 1..=3 {
        let (disk, journal, _records) = small_journal();
        drop(journal);
        let name = segment_name(number);
        disk.set_content(&name, &other_history().content(&name).unwrap());
        let broken = if number == 1 { segment_name(2) } else { name };
        assert!(judged(&disk).contains(&(broken.clone(), Damage::ChainBroken)));

        let (journal, _) = Journal::open(disk, SMALL).unwrap();
        let error = journal.reader().scan(1).find_map(Result::err).unwrap();
        let ReadError::Damaged(finding) = error else {
            panic!("{error:?}");
        };
        assert_eq!(
            (finding.file, finding.damage),
            (broken, Damage::ChainBroken)
        );
    }
}

#[test]
fn a_group_of_another_history_is_damage_even_as_the_last() {
    let (disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let name = segment_name(3);
    let group = SEGMENT_HEADER_BYTES + GROUP..SEGMENT_HEADER_BYTES + 2 * GROUP;
    let other = other_history().content(&name).unwrap();
    change(&disk, &name, |bytes| {
        bytes[group.clone()].copy_from_slice(&other[group]);
    });
    let errors: Vec<_> = reader.scan(1).filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1);
    assert_eq!(judged(&disk), [(name.clone(), Damage::ChainBroken)]);
    let finding = damage_on_opening(&disk);
    assert_eq!((finding.file, finding.position), (name, 11));
    assert_eq!(finding.damage, Damage::ChainBroken);
}

#[test]
fn a_journal_must_begin_with_record_one_and_the_chain_of_its_id() {
    type Edit = fn(&mut SegmentHeader);
    let edits: [(Edit, Damage); 4] = [
        (|header| header.before.0[0] ^= 1, Damage::ChainBroken),
        (|header| header.first = 0, Damage::SegmentHeader),
        (|header| header.first = u64::MAX, Damage::SegmentHeader),
        (
            |header| header.first = 2,
            Damage::SegmentStart {
                expected: 1,
                found: 2,
            },
        ),
    ];
    for (edit, expected) in edits {
        let (disk, journal, _records) = small_journal();
        drop(journal);
        let name = segment_name(1);
        change(&disk, &name, |bytes| {
            let start = bytes[..SEGMENT_HEADER_BYTES].try_into().unwrap();
            let mut header = SegmentHeader::decode(start).unwrap();
            edit(&mut header);
            bytes[..SEGMENT_HEADER_BYTES].copy_from_slice(&header.encode());
        });
        assert_eq!(damage_on_opening(&disk).damage, expected);
        assert!(judged(&disk).contains(&(name, expected)));
    }
}

#[test]
fn a_last_segment_without_groups_must_go_on_where_the_one_before_it_ends() {
    type Edit = fn(&mut SegmentHeader);
    let edits: [(Edit, Option<Damage>); 4] = [
        (|_| {}, None),
        (|header| header.before.0[0] ^= 1, Some(Damage::ChainBroken)),
        (
            |header| header.first += 1,
            Some(Damage::SegmentStart {
                expected: 13,
                found: 14,
            }),
        ),
        (
            |header| header.first -= 1,
            Some(Damage::SegmentStart {
                expected: 13,
                found: 12,
            }),
        ),
    ];
    for (edit, expected) in edits {
        let (disk, journal, records) = small_journal();
        let (head, before) = journal.head();
        let mut header = SegmentHeader {
            id: ID,
            number: 4,
            length: SMALL.segment_bytes,
            first: head + 1,
            before,
        };
        drop(journal);
        edit(&mut header);
        let mut content = vec![0; SMALL.segment_bytes as usize];
        content[..SEGMENT_HEADER_BYTES].copy_from_slice(&header.encode());
        disk.set_content(&segment_name(4), &content);
        match expected {
            None => {
                let (journal, _) = Journal::open(disk, SMALL).unwrap();
                assert_eq!(contents(&journal), records);
            }
            Some(damage) => {
                assert_eq!(damage_on_opening(&disk).damage, damage);
                assert!(judged(&disk).contains(&(segment_name(4), damage.clone())));
                // What stands behind the last group of the one before does not hide it.
                change(&disk, &segment_name(3), |bytes| {
                    bytes[SEGMENT_HEADER_BYTES + 2 * GROUP] = 1;
                });
                if header.first <= head + 1 {
                    assert_eq!(damage_on_opening(&disk).damage, damage);
                }
            }
        }
    }
}

#[test]
fn a_group_inside_a_record_does_not_pass_for_a_later_group() {
    let (disk, mut journal, _records) = small_journal();
    let content = disk.content(&segment_name(3)).unwrap();
    let group = content[SEGMENT_HEADER_BYTES..SEGMENT_HEADER_BYTES + GROUP].to_vec();
    journal.append(&[group]).unwrap();
    drop(journal);
    change(&disk, &segment_name(4), |bytes| {
        bytes[SEGMENT_HEADER_BYTES + 20] ^= 1
    });
    let (journal, recovery) = Journal::open(disk, SMALL).unwrap();
    assert_eq!(journal.head().0, 12);
    assert_eq!(recovery.torn.unwrap().finding.damage, Damage::GroupHeader);
}

#[test]
fn a_group_copied_to_another_place_is_not_a_group() {
    let (disk, journal, _records) = small_journal();
    drop(journal);
    // The last group moved by one byte: its own bytes are whole, its place is not.
    let start = SEGMENT_HEADER_BYTES + GROUP;
    change(&disk, &segment_name(3), |bytes| {
        bytes.copy_within(start..start + GROUP, start + 1);
        bytes[start] = 0;
    });
    let (journal, recovery) = Journal::open(disk, SMALL).unwrap();
    assert_eq!(journal.head().0, 10);
    assert_eq!(recovery.torn.unwrap().bytes, GROUP as u64 + 1);
}

#[test]
fn swapped_removed_and_duplicated_groups_and_records_are_found() {
    let start = SEGMENT_HEADER_BYTES;
    let second = start + GROUP;
    type Edit = fn(&mut Vec<u8>, usize, usize);
    let edits: [(&str, Edit); 5] = [
        ("groups swapped", |bytes, start, second| {
            bytes[start..second + GROUP].rotate_left(GROUP);
        }),
        ("a group removed", |bytes, start, second| {
            bytes.copy_within(second..second + GROUP, start);
            bytes[second..second + GROUP].fill(0);
        }),
        ("records swapped", |bytes, start, _| {
            bytes[start + GROUP_HEADER_BYTES..start + GROUP].rotate_left(304);
        }),
        ("a record doubled", |bytes, start, _| {
            let first = start + GROUP_HEADER_BYTES;
            bytes.copy_within(first..first + 304, first + 304);
        }),
        ("a group doubled", |bytes, start, second| {
            bytes.copy_within(start..second, second);
        }),
    ];
    for (what, edit) in edits {
        for number in 1..=3 {
            let (disk, journal, _records) = small_journal();
            drop(journal);
            change(&disk, &segment_name(number), |bytes| {
                edit(bytes, start, second)
            });
            let damage = judged(&disk);
            assert!(
                damage.iter().any(|(file, _)| *file == segment_name(number)),
                "{what} in segment {number}: {damage:?}"
            );
        }
    }
}

#[test]
fn last_groups_missing_from_an_earlier_segment_are_found_at_the_next() {
    let (disk, journal, _records) = small_journal();
    drop(journal);
    change(&disk, &segment_name(1), |bytes| {
        bytes[SEGMENT_HEADER_BYTES + GROUP..].fill(0)
    });
    let (expected, found) = (3, 5);
    let damage = Damage::SegmentStart { expected, found };
    assert_eq!(judged(&disk), [(segment_name(2), damage)]);
    let (journal, _) = Journal::open(disk, SMALL).unwrap();
    let errors = journal.reader().scan(0).filter(Result::is_err).count();
    assert_eq!(errors, 1);
    assert!(journal.reader().locate(3).is_err());
    assert!(journal.reader().locate(5).is_ok());
}

#[test]
fn a_segment_of_another_length_is_damage_and_not_a_tear() {
    for number in 1..=3 {
        for length in [0, 50, SEGMENT_HEADER_BYTES, 1500, 1899, 1901] {
            let (disk, journal, _records) = small_journal();
            drop(journal);
            let name = segment_name(number);
            change(&disk, &name, |bytes| bytes.resize(length, 0));
            assert_eq!(damage_on_opening(&disk).file, name);
            assert!(judged(&disk).iter().any(|(file, _)| *file == name));
        }
    }
}

#[test]
fn a_journal_that_continues_another_history_is_told_from_the_one_that_was_kept() {
    let (disk, journal, _records) = small_journal();
    for position in 0..=12 {
        let chain = journal.reader().chain_at(position).unwrap();
        let extent = |chain| Extent {
            up_to: Some(Watermark { position, chain }),
            id: Some(ID),
            ..Extent::default()
        };
        let findings = verify(&disk, &extent(chain));
        assert!(findings.is_clean(), "{position}: {findings:?}");
        let mut other = chain;
        other.0[0] ^= 1;
        let findings = verify(&disk, &extent(other)).findings;
        assert_eq!(findings.len(), 1, "{position}");
        assert_eq!(findings[0].damage, Damage::OtherHistory { position });
    }
    let extent = Extent {
        id: Some(JournalId([9; 16])),
        ..Extent::default()
    };
    assert!(!verify(&disk, &extent).is_clean());
}

#[test]
fn behind_the_watermark_nothing_is_judged() {
    let (disk, mut journal, _records) = small_journal();
    let up_to = Some(journal.reader().watermark());
    journal.append(&[record(13, 100)]).unwrap();
    change(&disk, &segment_name(3), |bytes| {
        bytes[SEGMENT_HEADER_BYTES + 2 * GROUP + 130] ^= 1
    });
    disk.set_content(&unfinished_name(&segment_name(4)), &[0; 10]);
    let extent = Extent {
        up_to,
        ..Extent::default()
    };
    let findings = verify(&disk, &extent);
    assert!(findings.is_clean(), "{findings:?}");
    assert_eq!(findings.head, up_to);
    assert_eq!(findings.unfinished, ["0000000004.seg.new"]);
    assert!(!verify(&disk, &Extent::default()).is_clean());
}

#[test]
fn of_segments_before_the_asked_position_only_headers_are_read() {
    let (disk, journal, _records) = small_journal();
    drop(journal);
    change(&disk, &segment_name(1), |bytes| {
        bytes[SEGMENT_HEADER_BYTES + 5] ^= 1
    });
    let extent = |from| Extent {
        from,
        ..Extent::default()
    };
    assert!(!verify(&disk, &extent(4)).is_clean());
    let findings = verify(&disk, &extent(5));
    assert!(findings.is_clean(), "{findings:?}");
    assert_eq!((findings.records, findings.segments), (8, 3));
    change(&disk, &segment_name(1), |bytes| bytes[20] ^= 1);
    assert!(!verify(&disk, &extent(5)).is_clean());
}

#[test]
fn strange_files_and_empty_folders_are_named() {
    let (disk, journal, _records) = small_journal();
    drop(journal);
    for name in [
        "3.seg",
        "0000000002 (copy).seg",
        "0000000000.seg",
        "torn-x-1.bin",
        "stray-01-3-840-1.bin",
        "lost-1-3-840-1.bin",
        "torn-1-3-840-1-.bin",
        "torn-1-3-840-1-0123456789abcdef.bin",
        "torn-1-3-840-1-0123456789ABCDEF0123456789abcdef.bin",
        "torn-1-3-840-1-0123456789abcdef0123456789abcdef-1.bin",
        "a.new",
    ] {
        disk.set_content(name, b"?");
        assert!(judged(&disk).contains(&(name.to_owned(), Damage::UnknownFile)));
    }
    assert!(!verify(&MemoryStorage::new(), &Extent::default()).is_clean());
}

#[test]
fn a_reader_never_gives_a_record_that_was_changed_on_the_disk() {
    let (disk, journal, records) = small_journal();
    let reader = journal.reader();
    let place = reader.locate(7).unwrap();
    change(&disk, &segment_name(place.segment), |bytes| {
        bytes[place.offset as usize + 9] ^= 4
    });
    assert!(reader.read(place).is_err());
    let scanned: Vec<_> = reader.scan(1).collect();
    assert_eq!(scanned.len(), 7);
    for (scanned, record) in scanned.iter().zip(&records[..6]) {
        assert_eq!(&scanned.as_ref().unwrap().record, record);
    }
    assert!(scanned[6].is_err());
}
