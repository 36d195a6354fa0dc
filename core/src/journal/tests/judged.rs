//! What is a tear, what is damage, and what a verification says of either.

use std::collections::BTreeSet;

use super::super::format::{
    Finding, GROUP_HEADER_BYTES, GroupHeader, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name,
};
use super::super::memory::{Fault, MemoryStorage};
use super::super::storage::FOLDER;
use super::super::verify::{Extent, verify, verify_segments};
use super::super::{Damage, Journal, OpenError, ReadError, TailKind, Watermark};
use super::{ID, SMALL, small_journal};
use crate::limits::JOURNAL_FINDINGS_MAX;

/// Bytes of a group of two records of 300 bytes.
const GROUP: usize = GROUP_HEADER_BYTES + 2 * (4 + 300);

fn change(disk: &MemoryStorage, segment: u32, edit: impl FnOnce(&mut [u8])) {
    let name = segment_name(segment);
    let mut content = disk.content(&name).unwrap();
    edit(&mut content);
    disk.set_content(&name, &content);
}

/// Changes what a group's header says and makes its sum right again.
fn reseal(disk: &MemoryStorage, segment: u32, at: usize, edit: impl FnOnce(&mut GroupHeader)) {
    change(disk, segment, |bytes| {
        let offset = at as u32;
        let mut header = GroupHeader::decode(&bytes[at..], &ID, segment, offset).unwrap();
        edit(&mut header);
        let encoded = header.encode(&ID, segment, offset);
        bytes[at..at + GROUP_HEADER_BYTES].copy_from_slice(&encoded);
    });
}

fn judged(disk: &MemoryStorage) -> Vec<(String, Damage)> {
    let findings = verify(disk, &Extent::default()).findings;
    let named = |finding: Finding| (finding.file, finding.damage);
    findings.into_iter().map(named).collect()
}

/// A header that is whole was never half of a write, however little of it fits.
#[test]
fn a_last_group_that_no_unfinished_write_explains_is_never_cut_nor_called_torn() {
    type Edit = fn(&mut GroupHeader);
    let edits: [(Edit, Damage); 4] = [
        (
            |header| header.first = 12,
            Damage::GroupPosition {
                expected: 11,
                found: 12,
            },
        ),
        (
            |header| header.first = 9,
            Damage::GroupPosition {
                expected: 11,
                found: 9,
            },
        ),
        (|header| header.payload = 1900, Damage::GroupLength),
        (|header| header.before.0[0] ^= 1, Damage::ChainBroken),
    ];
    let at = SEGMENT_HEADER_BYTES + GROUP;
    for (edit, damage) in edits {
        let (disk, journal, _records) = small_journal();
        drop(journal);
        reseal(&disk, 3, at, edit);
        let content = disk.content(&segment_name(3));
        let refused = Journal::open(disk.clone(), SMALL).unwrap_err();
        let finding = Finding {
            file: segment_name(3),
            offset: at as u64,
            position: 11,
            damage: damage.clone(),
        };
        assert_eq!(refused, OpenError::Damaged(finding));
        assert_eq!(disk.content(&segment_name(3)), content);
        assert_eq!(judged(&disk)[0], (segment_name(3), damage));
    }
}

#[test]
fn only_a_write_without_its_end_in_the_last_segment_is_called_torn() {
    let last = SEGMENT_HEADER_BYTES + GROUP;
    for (segment, at, torn) in [
        (1, SEGMENT_HEADER_BYTES, false),
        (1, last, false),
        (2, last, false),
        (3, SEGMENT_HEADER_BYTES, false),
        (3, last, true),
    ] {
        let (whole, journal, _records) = small_journal();
        drop(journal);
        let disk = whole.duplicate();
        change(&disk, segment, |bytes| {
            bytes[at + GROUP - 100..at + GROUP].fill(0);
        });
        let (file, damage) = judged(&disk).remove(0);
        assert_eq!(file, segment_name(segment));
        let expected = match torn {
            true => Damage::TornTail {
                bytes: GROUP as u64 - 100,
            },
            false => Damage::Records,
        };
        assert_eq!(damage, expected, "group at {at} of segment {segment}");
        // Which was finished, and somebody may have been told.
        change(&whole, segment, |bytes| {
            bytes[at + GROUP_HEADER_BYTES + 9] ^= 1;
        });
        assert_eq!(judged(&whole).remove(0), (file, Damage::Records));
    }
}

#[test]
fn what_was_acknowledged_is_never_called_an_unfinished_write_and_its_loss_has_its_place() {
    let at = SEGMENT_HEADER_BYTES + GROUP;
    let (disk, journal, _records) = small_journal();
    let mut extent = Extent {
        up_to: Some(journal.reader().watermark()),
        ..Extent::default()
    };
    change(&disk, 3, |bytes| bytes[at + GROUP - 100..].fill(0));
    let finding = |damage| Finding {
        file: segment_name(3),
        offset: at as u64,
        position: 11,
        damage,
    };
    let (expected, found) = (12, 10);
    let lost = finding(Damage::Lost { expected, found });
    let findings = verify(&disk, &extent).findings;
    assert_eq!(findings, [finding(Damage::Records), lost.clone()]);
    change(&disk, 3, |bytes| bytes[at..].fill(0));
    assert_eq!(verify(&disk, &extent).findings, [lost]);
    // Up to the record before it nothing is amiss.
    let chain = journal.reader().chain_at(10).unwrap();
    extent.up_to = Some(Watermark {
        position: 10,
        chain,
    });
    assert!(verify(&disk, &extent).is_clean());
}

#[test]
fn a_group_with_a_sector_missing_in_its_middle_is_an_unfinished_write() {
    let (disk, journal, _records) = small_journal();
    drop(journal);
    // The last group begins in the second sector, fills the third and ends in the fourth.
    change(&disk, 3, |bytes| bytes[1024..1536].fill(0));
    let (_, recovery) = Journal::open(disk, SMALL).unwrap();
    let torn = recovery.torn.unwrap();
    assert_eq!((torn.finding.position, torn.kind), (11, TailKind::Torn));
}

#[test]
fn a_segment_that_begins_before_the_one_in_front_of_it_is_not_opened() {
    let (disk, journal, _records) = small_journal();
    drop(journal);
    change(&disk, 3, |bytes| {
        let start = &mut bytes[..SEGMENT_HEADER_BYTES];
        let mut header = SegmentHeader::decode((&*start).try_into().unwrap()).unwrap();
        header.first = 4;
        start.copy_from_slice(&header.encode());
    });
    let OpenError::Damaged(finding) = Journal::open(disk, SMALL).unwrap_err() else {
        panic!("nothing is damaged");
    };
    let (expected, found) = (5, 4);
    assert_eq!(finding.file, segment_name(3));
    assert_eq!(finding.damage, Damage::SegmentStart { expected, found });
}

#[test]
fn behind_a_damaged_segment_header_the_groups_are_judged_all_the_same() {
    for segment in 1..=3 {
        let (disk, journal, _records) = small_journal();
        drop(journal);
        change(&disk, segment, |bytes| {
            bytes[20] ^= 1;
            bytes[SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES + 9] ^= 1;
        });
        let name = segment_name(segment);
        let expected = [
            (name.clone(), Damage::SegmentHeader),
            (name, Damage::Records),
        ];
        assert_eq!(judged(&disk), expected);
        let findings = verify(&disk, &Extent::default());
        assert_eq!((findings.groups, findings.records), (5, 10));
    }
}

#[test]
fn whatever_cannot_be_read_is_a_finding_in_its_file() {
    let (disk, journal, _records) = small_journal();
    drop(journal);
    let segments = [1, 2, 3].map(segment_name);
    // The folder, then length and header of each segment; then of each that the system is to read it
    // from the disk, which is no more than asked, length and content.
    let headers = segments.iter().flat_map(|name| [Some(name.as_str()); 2]);
    let contents = segments
        .iter()
        .flat_map(|name| [None, Some(name.as_str()), Some(name.as_str())]);
    let calls = [Some(FOLDER)].into_iter().chain(headers).chain(contents);
    let calls: Vec<Option<&str>> = calls.collect();
    let before = disk.calls();
    assert_eq!(judged(&disk), []);
    assert_eq!(disk.calls() - before, calls.len() as u64);
    for (call, file) in (1..).zip(calls) {
        disk.fail_at(call, Fault::Io);
        let Some(file) = file else {
            assert_eq!(judged(&disk), []);
            continue;
        };
        let unreadable = |(found, damage): &(String, Damage)| {
            found == file && matches!(damage, Damage::Unreadable { .. })
        };
        let found = judged(&disk);
        assert!(found.iter().any(unreadable), "call {call}: {found:?}");

        // For want of descriptors nothing is said of the file, and not that all is well.
        disk.fail_at(call, Fault::Scarce);
        let findings = verify(&disk, &Extent::default());
        assert!(findings.scarce && !findings.is_clean(), "call {call}");
        let found = &findings.findings;
        let unreadable = |finding: &Finding| finding.damage.code() == "unreadable";
        assert!(!found.iter().any(unreadable), "call {call}: {found:?}");
    }
}

#[test]
fn of_segments_that_are_not_asked_for_only_headers_are_looked_at() {
    let (disk, journal, _records) = small_journal();
    for segment in 1..=3 {
        change(&disk, segment, |bytes| {
            bytes[SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES + 9] ^= 1;
        });
    }
    let extent = Extent {
        up_to: Some(journal.reader().watermark()),
        ..Extent::default()
    };
    for segment in 1..=3 {
        let names = BTreeSet::from([segment_name(segment)]);
        let findings = verify_segments(&disk, &extent, &names).findings;
        let [found] = &findings[..] else {
            panic!("{findings:?}");
        };
        assert_eq!(
            (&found.file, &found.damage),
            (&segment_name(segment), &Damage::Records)
        );
    }
    let before = disk.calls();
    assert_eq!(
        verify_segments(&disk, &extent, &BTreeSet::new()).findings,
        []
    );
    // The folder, then length and header of each segment.
    assert_eq!(disk.calls() - before, 7);
}

#[test]
fn findings_beyond_the_bound_are_counted() {
    let (disk, journal, _records) = small_journal();
    drop(journal);
    for number in 0..JOURNAL_FINDINGS_MAX + 7 {
        disk.set_content(&format!("strange {number}"), b"?");
    }
    let findings = verify(&disk, &Extent::default());
    assert_eq!(findings.findings.len(), JOURNAL_FINDINGS_MAX);
    assert_eq!(findings.more, 7);
}

#[test]
fn a_group_that_says_otherwise_what_it_holds_is_damage_to_a_reader() {
    type Edit = fn(&mut GroupHeader);
    let position = Damage::GroupPosition {
        expected: 11,
        found: 12,
    };
    let edits: [(Edit, Damage); 4] = [
        (|header| header.first = 12, position),
        (|header| header.before.0[0] ^= 1, Damage::ChainBroken),
        // One byte behind what is on the disk there are zeros.
        (|header| header.payload += 1, Damage::GroupLength),
        (|header| header.payload = u32::MAX, Damage::GroupLength),
    ];
    for (edit, damage) in edits {
        let (disk, journal, _records) = small_journal();
        let reader = journal.reader();
        reseal(&disk, 3, SEGMENT_HEADER_BYTES + GROUP, edit);
        let errors: Vec<ReadError> = reader.scan(1).filter_map(Result::err).collect();
        let [ReadError::Damaged(finding)] = &errors[..] else {
            panic!("{errors:?}");
        };
        assert_eq!((finding.position, &finding.damage), (11, &damage));
        if damage != Damage::ChainBroken {
            let damaged = ReadError::Damaged(finding.clone());
            assert_eq!(reader.locate(11), Err(damaged.clone()));
            assert_eq!(reader.chain_at(12), Err(damaged));
        }
        assert!(reader.locate(10).is_ok());
    }
}
