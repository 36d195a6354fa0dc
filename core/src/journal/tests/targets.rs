//! Folders that were copied to before: what a copy does to what it finds there.

use std::collections::BTreeMap;
use std::io;

use super::super::copy::CopyError;
use super::super::format::{SEGMENT_HEADER_BYTES, segment_name};
use super::super::memory::MemoryStorage;
use super::super::target::Refused;
use super::super::{Damage, Finding, Journal, JournalReader, Storage, Watermark};
use super::{ID, SMALL, record, small_journal};
use crate::hash::{Hasher, domain};
use crate::id::{JournalId, Position};
use crate::limits::SEGMENT_BYTES_MAX;

type Files = BTreeMap<String, Vec<u8>>;

fn files(disk: &MemoryStorage) -> Files {
    let names = disk.list().unwrap().into_iter();
    names
        .map(|name| (name.clone(), disk.content(&name).unwrap()))
        .collect()
}

fn at<S: Storage>(reader: &JournalReader<S>, position: Position) -> Watermark {
    Watermark {
        position,
        chain: reader.chain_at(position).unwrap(),
    }
}

/// A copy of the small journal up to `position`.
fn copied(reader: &JournalReader<MemoryStorage>, position: Position) -> MemoryStorage {
    let target = MemoryStorage::new();
    reader.copy_to(&target, at(reader, position), 0, 0).unwrap();
    target
}

/// What a copy says that is refused and has to leave everything as it was, an unfinished file
/// included.
fn refused<S: Storage>(
    reader: &JournalReader<S>,
    target: &MemoryStorage,
    up_to: Watermark,
    vouched: Position,
) -> Refused {
    target.set_content("0000000008.seg.new", b"half");
    let before = files(target);
    let refused = match reader.copy_to(target, up_to, vouched, 0) {
        Err(CopyError::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    };
    assert_eq!(files(target), before, "{refused}");
    target.remove("0000000008.seg.new").unwrap();
    refused
}

/// A journal that shares `pairs` of its groups with the small one and goes on otherwise.
fn parted(id: JournalId, pairs: u8, groups: u8) -> Journal<MemoryStorage> {
    let mut journal = Journal::create(MemoryStorage::new(), id, SMALL, &[]).unwrap();
    for pair in 0..groups {
        let shift = if pair < pairs { 1 } else { 101 };
        let records = [2 * pair + shift, 2 * pair + shift + 1];
        journal
            .append(&records.map(|number| record(number, 300)))
            .unwrap();
    }
    journal
}

#[test]
fn a_copy_of_another_journal_is_left_as_it_is() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let other = parted(JournalId([8; 16]), 0, 6).reader();
    for groups in [1, 4, 6] {
        let target = copied(&other, 2 * groups);
        let said = refused(&reader, &target, reader.watermark(), 0);
        let Refused::OtherJournal { file, found } = said else {
            panic!("{said}");
        };
        assert_eq!((file, found), (segment_name(1), JournalId([8; 16])));
    }
    // Its headers are all that names it; without one its groups are strange bytes, and without
    // groups so is the header.
    for records in [0, 4] {
        let target = copied(&other, records);
        let name = segment_name(1);
        let mut content = target.content(&name).unwrap();
        content[20] ^= 1;
        target.set_content(&name, &content);
        let said = refused(&reader, &target, reader.watermark(), 0);
        assert!(matches!(said, Refused::Unproven(_)), "{said}");
    }
}

#[test]
fn a_folder_with_a_later_copy_is_not_taken_for_an_earlier_one() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    for position in [0, 2, 4, 6, 8, 10] {
        let target = copied(&reader, 12);
        let said = refused(&reader, &target, at(&reader, position), position);
        let Refused::Later { here, there, .. } = &said else {
            panic!("{said}");
        };
        assert_eq!((*here, *there), (position, 12));
        assert!(said.to_string().contains(".seg at byte "), "{said}");
    }
}

#[test]
fn a_copy_of_another_history_of_the_same_journal_is_left_as_it_is() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    for pairs in 0..6 {
        for groups in pairs + 1..=6 {
            let other = parted(ID, pairs, groups).reader();
            let target = copied(&other, Position::from(groups) * 2);
            let said = refused(&reader, &target, reader.watermark(), 2 * u64::from(pairs));
            let Refused::OtherHistory { position, .. } = said else {
                panic!("{said}");
            };
            assert_eq!(position, 2 * u64::from(pairs) + 1);
        }
    }
}

#[test]
fn a_segment_of_another_history_behind_the_end_is_not_taken_for_more_of_this_one() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let target = copied(&reader, 8);
    // A third segment as another history begins it behind record 8, and only the header of it.
    let other = parted(ID, 3, 6).reader();
    let third = other.storage().content(&segment_name(3)).unwrap();
    let mut header = third.clone();
    header[SEGMENT_HEADER_BYTES..].fill(0);
    for (third, up_to) in [
        (&third, at(&reader, 8)),
        (&third, reader.watermark()),
        (&header, reader.watermark()),
    ] {
        target.set_content(&segment_name(3), third);
        let said = refused(&reader, &target, up_to, 0);
        let Refused::OtherHistory { position, .. } = said else {
            panic!("{said}");
        };
        assert_eq!(position, 9);
    }
}

/// Runs `judge` for a target with each of its bytes changed: one bit, and to zero.
fn with_each_byte_changed(
    sound: &MemoryStorage,
    mut judge: impl FnMut(&MemoryStorage, &str, usize),
) {
    for (name, content) in files(sound) {
        for at in 0..content.len() {
            for changed in [content[at] ^ 0x10, 0] {
                if changed == content[at] {
                    continue;
                }
                let target = sound.duplicate();
                let mut content = content.clone();
                content[at] = changed;
                target.set_content(&name, &content);
                judge(&target, &name, at);
            }
        }
    }
}

#[test]
fn a_damaged_copy_of_this_history_is_repaired_where_something_vouches_for_it() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let sound = copied(&reader, 10);
    let good = files(&copied(&reader, 12));
    let mut unproven = Vec::new();
    with_each_byte_changed(&sound, |target, name, byte| {
        let vouched = target.duplicate();
        let repaired = reader.copy_to(&vouched, reader.watermark(), 10, 0);
        let repaired = repaired.unwrap().repaired.into_iter();
        assert_eq!(files(&vouched), good, "{name} {byte}");
        // What happens to be what is copied there is no loss.
        let is_right = target.content(name).unwrap()[byte] == good[name][byte];
        let told: Vec<String> = repaired.map(|found| found.file).collect();
        let lost = (!is_right).then(|| name.to_owned());
        assert_eq!(told, Vec::from_iter(lost), "{name} {byte}");

        let before = files(target);
        match reader.copy_to(target, reader.watermark(), 0, 0) {
            Ok(_) => assert_eq!(files(target), good, "{name} {byte}"),
            Err(CopyError::Refused(Refused::Unproven(finding))) => {
                assert_eq!(files(target), before, "{name} {byte}");
                unproven.push((finding.file, byte, finding.damage));
            }
            Err(other) => panic!("{name} {byte}: {other:?}"),
        }
    });
    // Only the header of its very last group has nothing behind it that commits to it.
    let (first, last) = (&unproven[0], &unproven[unproven.len() - 1]);
    let group = 112..112 + 120;
    assert!(
        group.contains(&first.1) && group.contains(&last.1),
        "{first:?} {last:?}"
    );
    for (file, byte, damage) in &unproven {
        assert!(group.contains(byte));
        assert_eq!((&**file, damage), ("0000000003.seg", &Damage::GroupHeader));
    }
}

#[test]
fn no_damage_makes_a_later_copy_or_another_history_pass_for_an_earlier_one() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let later = copied(&reader, 12);
    let parted = copied(&parted(ID, 4, 5).reader(), 10);
    for (target, up_to, vouched) in [
        (&later, at(&reader, 8), 8),
        (&later, at(&reader, 10), 10),
        (&parted, reader.watermark(), 8),
    ] {
        with_each_byte_changed(target, |target, name, byte| {
            let before = files(target);
            let said = reader.copy_to(target, up_to, vouched, 0);
            assert!(
                matches!(said, Err(CopyError::Refused(_))),
                "{name} {byte}: {said:?}"
            );
            assert_eq!(files(target), before, "{name} {byte}");
        });
    }
}

#[test]
fn what_a_copy_held_and_lost_is_told_with_its_place_and_what_it_never_held_is_not() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let good = files(&copied(&reader, 12));
    let second = SEGMENT_HEADER_BYTES + 728;
    let told = |vouched, edit: &dyn Fn(&MemoryStorage)| {
        let target = copied(&reader, 10);
        edit(&target);
        let done = reader.copy_to(&target, reader.watermark(), vouched, 0);
        assert_eq!(files(&target), good);
        let repaired = done.unwrap().repaired.into_iter();
        let place = |found: Finding| (found.file, found.offset, found.position, found.damage);
        repaired.map(place).collect::<Vec<_>>()
    };
    let change = |disk: &MemoryStorage, number, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut content = disk.content(&segment_name(number)).unwrap();
        edit(&mut content);
        disk.set_content(&segment_name(number), &content);
    };
    let first = |number, offset, position, damage| {
        vec![(segment_name(number), offset as u64, position, damage)]
    };

    assert_eq!(told(10, &|_| {}), []);
    assert_eq!(told(0, &|disk| disk.remove(&segment_name(3)).unwrap()), []);
    let gone = told(10, &|disk| disk.remove(&segment_name(3)).unwrap());
    assert_eq!(gone, first(3, 0, 9, Damage::Missing));
    let zeroed = told(10, &|disk| {
        change(disk, 1, &|bytes| bytes[second + 200..second + 300].fill(0));
    });
    assert_eq!(zeroed, first(1, second, 3, Damage::Records));
    let short = told(10, &|disk| {
        change(disk, 2, &|bytes| bytes.truncate(1800));
    });
    let (expected, found) = (1900, 1800);
    let damage = Damage::SegmentLength { expected, found };
    assert_eq!(short, first(2, 0, 5, damage));
    let stray = told(10, &|disk| change(disk, 2, &|bytes| bytes[1700] = 1));
    assert_eq!(stray, first(2, 1700, 9, Damage::NotZero));
    // Of each segment the first.
    let twice = told(10, &|disk| {
        change(disk, 1, &|bytes| {
            bytes[30] ^= 1;
            bytes[second + 200] ^= 1;
        });
    });
    assert_eq!(twice, first(1, 0, 1, Damage::SegmentHeader));
}

#[test]
fn what_is_missing_of_a_copy_is_copied_again() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let good = files(&copied(&reader, 12));
    for number in [1, 2, 3] {
        let target = copied(&reader, 12);
        target.remove(&segment_name(number)).unwrap();
        let again = reader.copy_to(&target, reader.watermark(), 0, 0).unwrap();
        assert_eq!((again.written, again.kept), (1, 2));
        assert_eq!(files(&target), good);
    }
    // The header of a segment vouches for the one before it, also where nothing else is left.
    let target = copied(&reader, 8);
    let (first, second) = (segment_name(1), segment_name(2));
    let mut damaged = target.content(&first).unwrap();
    damaged[SEGMENT_HEADER_BYTES + 728 + 30] ^= 1;
    target.set_content(&first, &damaged);
    let whole = target.content(&second).unwrap();
    target.set_content(&second, &whole[..SEGMENT_HEADER_BYTES]);
    reader.copy_to(&target, reader.watermark(), 0, 0).unwrap();
    assert_eq!(files(&target), good);
    // The end of a file, as long as what is there is this journal's.
    for length in [0, 50, 112, 300, 1500] {
        let target = copied(&reader, 12);
        let whole = target.content(&segment_name(3)).unwrap();
        target.set_content(&segment_name(3), &whole[..length]);
        reader.copy_to(&target, reader.watermark(), 0, 0).unwrap();
        assert_eq!(files(&target), good, "{length}");
    }
}

#[test]
fn what_is_no_copy_at_all_is_left_as_it_is() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let second = copied(&reader, 12).content(&segment_name(2)).unwrap();
    let mut next_version = second.clone();
    next_version[8] = 2;
    let sum = Hasher::new(domain::JOURNAL_HEADER);
    let sum = sum.fixed(&next_version[..80]).finish();
    next_version[80..112].copy_from_slice(&sum);
    let long = vec![0; SEGMENT_BYTES_MAX as usize + 1];
    let cases: [(&str, &[u8], &str); 6] = [
        ("0000000002 (copy).seg", b"?", "unknown-file"),
        ("0000000001.seg", &second, "segment-number"),
        ("0000000002.seg", &next_version, "format-version"),
        ("0000000002.seg", &long, "segment-length"),
        ("0000000004.seg", b"BUKTISEG and no more", "segment-header"),
        ("0000000003.seg", &[7; 1900], "segment-header"),
    ];
    for (name, content, code) in cases {
        let target = copied(&reader, 8);
        target.set_content(name, content);
        let said = refused(&reader, &target, reader.watermark(), 8);
        let Refused::Unproven(Finding { file, damage, .. }) = said else {
            panic!("{said}");
        };
        assert_eq!((&*file, damage.code()), (name, code));
    }
}

/// A disk that keeps other bytes than it was given.
struct Lying {
    disk: MemoryStorage,
    change: fn(&mut Vec<u8>),
}

impl Storage for Lying {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.disk.length(name)
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(name, offset, buffer)
    }

    fn create(&self, name: &str, length: u64) -> io::Result<()> {
        self.disk.create(name, length)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut bytes = bytes.to_vec();
        (self.change)(&mut bytes);
        self.disk.write_at(name, offset, &bytes)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.disk.sync(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.disk.sync_folder()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

#[test]
fn a_copy_that_came_out_otherwise_is_none_and_says_where() {
    let (_disk, journal, _records) = small_journal();
    let reader = journal.reader();
    let said = |up_to, change| {
        let disk = MemoryStorage::new();
        let failed = reader.copy_to(&Lying { disk, change }, up_to, 0, 0);
        assert!(matches!(failed, Err(CopyError::Findings(_))), "{failed:?}");
        failed.unwrap_err().to_string()
    };
    let one = said(at(&reader, 4), |bytes| bytes[250] ^= 1);
    let expected = "the copy is not as it was written: 0000000001.seg at byte 112 (record 1): the \
                    records differ from what the group header commits to (records)";
    assert_eq!(one, expected);
    let many = said(at(&reader, 8), |bytes| bytes[250] ^= 1);
    assert!(many.ends_with("(records), and one finding more"), "{many}");
    let many = said(at(&reader, 12), |bytes| bytes[250] ^= 1);
    assert!(many.ends_with("(records), and 2 findings more"), "{many}");
    // A journal that lacks its end is whole in itself.
    let short = said(at(&reader, 4), |bytes| bytes[112 + 728..].fill(0));
    assert_eq!(
        short,
        "the copy is not as it was written: it ends with record 2"
    );
}
