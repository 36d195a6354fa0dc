//! Damaged bytes that come back from an earlier copy.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::format::{GROUP_HEADER_BYTES, GROUP_MAGIC, SEGMENT_HEADER_BYTES, segment_name};
use super::super::memory::{Fault, MemoryStorage};
use super::super::repair::{Repair, is_mended, journals, repair};
use super::super::verify::{Extent, verify};
use super::super::{Damage, Finding, Journal, JournalFailure, Options, Storage, StorageError};
use super::{ID, SMALL, record, small_journal};

fn mend(own: &MemoryStorage, copy: &MemoryStorage) -> Result<Repair, StorageError> {
    repair(own, copy, &mut |_, _| Ok(()))
}

fn all(disk: &MemoryStorage) -> Vec<Vec<u8>> {
    (1..=9)
        .filter_map(|number| disk.content(&segment_name(number)))
        .collect()
}

/// What was wrong with the one segment that was put right.
#[track_caller]
fn only_in(done: &Repair, number: u32) -> &[Finding] {
    assert_eq!(done.mended.len(), 1, "{:?}", done.mended);
    &done.mended[&segment_name(number)]
}

/// A journal of twelve records, and a copy of it as it was after so many pairs.
fn with_copy(pairs: usize) -> (MemoryStorage, MemoryStorage) {
    let disk = MemoryStorage::new();
    let mut journal = Journal::create(disk.clone(), ID, SMALL, &[]).unwrap();
    let records: Vec<_> = (1..=12).map(|number| record(number, 300)).collect();
    let mut copy = disk.duplicate();
    for (number, pair) in records.chunks(2).enumerate() {
        journal.append(pair).unwrap();
        if number + 1 == pairs {
            copy = disk.duplicate();
        }
    }
    (disk, copy)
}

#[test]
fn whatever_byte_is_damaged_comes_back_where_the_copy_has_it_and_all_else_stays() {
    for pairs in [1, 3, 6] {
        let (disk, copy) = with_copy(pairs);
        let sound = all(&disk);
        for (number, bytes) in (1..).zip(&sound) {
            let name = segment_name(number);
            let had = copy.content(&name).unwrap_or_default();
            for at in (0..bytes.len()).step_by(7) {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                disk.set_content(&name, &damaged);
                let mut kept = Vec::new();
                let done = repair(&disk, &copy, &mut |name, bytes| {
                    kept.push((name.to_owned(), bytes.to_vec()));
                    Ok(())
                })
                .unwrap();
                // The copy has a byte of this place that is written to, or all of the segment.
                let in_copy = had.get(at).is_some_and(|byte| *byte == bytes[at]);
                let in_copy = in_copy && (bytes[at] != 0 || had == *bytes);
                let place = format!("{pairs} {number} {at}");
                let is_sound = all(&disk) == sound;
                if in_copy {
                    assert!(
                        is_sound && is_mended(&done.left),
                        "{place}: {:?}",
                        done.left
                    );
                    assert!(kept == [(name.clone(), damaged)], "{place}");
                    let [(segment, were)] = &Vec::from_iter(done.mended)[..] else {
                        panic!("{place}");
                    };
                    assert!(*segment == name && !were.is_empty(), "{place}");
                } else if !is_sound {
                    assert!(disk.content(&name).unwrap() == damaged, "{place}");
                    assert!(done.mended.is_empty() && kept.is_empty(), "{place}");
                    assert!(!done.left.is_clean(), "{place}");
                    disk.set_content(&name, bytes);
                }
            }
        }
    }
}

#[test]
fn a_segment_that_is_gone_or_cut_comes_back_from_a_copy_that_has_it_whole() {
    let (disk, copy) = with_copy(6);
    let sound = all(&disk);
    for number in [1, 2] {
        disk.remove(&segment_name(number)).unwrap();
        let done = mend(&disk, &copy).unwrap();
        assert!(done.left.is_clean(), "{:?}", done.left);
        assert!(all(&disk) == sound);
        let were = only_in(&done, number);
        let told: Vec<_> = were.iter().map(|was| (&*was.file, &was.damage)).collect();
        assert_eq!(told, [(&*segment_name(number), &Damage::Missing)]);
        let cut = &sound[number as usize - 1][..700];
        disk.set_content(&segment_name(number), cut);
        assert!(mend(&disk, &copy).unwrap().left.is_clean());
        assert!(all(&disk) == sound);
    }
    // Half of it would shorten the history.
    let (_, half) = with_copy(3);
    disk.remove(&segment_name(2)).unwrap();
    let done = mend(&disk, &half).unwrap();
    assert!(done.mended.is_empty() && !done.left.is_clean());
    assert_eq!(disk.content(&segment_name(2)), None);
    let cut = &sound[1][..700];
    disk.set_content(&segment_name(2), cut);
    assert!(mend(&disk, &half).unwrap().mended.is_empty());
    assert!(disk.content(&segment_name(2)).unwrap() == cut);
}

#[test]
fn segments_that_are_missing_in_a_row_come_back() {
    for gone in [&[1, 2][..], &[2, 3], &[4, 5], &[1, 2, 4], &[1, 2, 3, 4, 5]] {
        let (disk, _) = parted(0, 12, 0);
        let (copy, sound) = (disk.duplicate(), all(&disk));
        assert_eq!(sound.len(), 6);
        for &number in gone {
            disk.remove(&segment_name(number)).unwrap();
        }
        let done = mend(&disk, &copy).unwrap();
        assert!(done.left.is_clean(), "{gone:?}: {:?}", done.left);
        assert!(all(&disk) == sound, "{gone:?}");
        let missing = |number: &u32| (segment_name(*number), Damage::Missing);
        let told = done.mended.into_values().flatten();
        let told: Vec<_> = told.map(|was| (was.file, was.damage)).collect();
        assert_eq!(told, Vec::from_iter(gone.iter().map(missing)));
    }
}

/// Whoever opens the journal sees that they are lost, and nothing that is here says which they were.
#[test]
fn the_last_segments_do_not_come_back_once_they_are_gone() {
    let (disk, _) = parted(0, 12, 0);
    let copy = disk.duplicate();
    for number in [5, 6] {
        disk.remove(&segment_name(number)).unwrap();
    }
    let before = all(&disk);
    assert!(mend(&disk, &copy).unwrap().mended.is_empty());
    assert!(all(&disk) == before);
}

#[test]
fn no_other_history_takes_the_place_of_segments_that_are_missing_in_a_row() {
    // From a group in the first segment on, to one in the third.
    for shared in 1..6 {
        for lacking in [None, Some(2), Some(3)] {
            let (disk, copy) = parted(shared, 10 - shared, 10 - shared);
            for number in [2, 3] {
                disk.remove(&segment_name(number)).unwrap();
            }
            if let Some(number) = lacking {
                copy.remove(&segment_name(number)).unwrap();
            }
            let before = all(&disk);
            let done = mend(&disk, &copy).unwrap();
            let place = format!("{shared} {lacking:?}: {done:?}");
            assert!(done.mended.is_empty() && !is_mended(&done.left), "{place}");
            assert!(all(&disk) == before, "{place}");
        }
    }
}

/// A bit that flipped in a name makes any number of it.
#[test]
fn a_segment_under_a_name_of_a_high_number_comes_back_at_once_and_nothing_gets_in_before_that() {
    let (disk, other) = parted(8, 0, 2);
    let (copy, sound) = (disk.duplicate(), all(&disk));
    let (name, stray) = (segment_name(2), "0100000002.seg");
    disk.rename(&name, stray).unwrap();
    let calls = disk.calls();
    let done = mend(&disk, &copy).unwrap();
    assert!(disk.calls() - calls < 1000, "{}", disk.calls() - calls);
    assert_eq!(only_in(&done, 2)[0].damage, Damage::Missing);
    assert!(all(&disk) == sound);
    assert!(disk.content(stray).unwrap() == sound[1]);
    assert!(done.left.findings.iter().any(|left| left.file == stray));
    assert!(!is_mended(&done.left));
    // A history that goes on behind the last segment is not taken for what is missing before that name.
    let longer = all(&other);
    assert!(longer.len() == 5 && longer[..4] == sound);
    assert!(mend(&disk, &other).unwrap().mended.is_empty());
    assert!(all(&disk) == sound);
}

#[test]
fn what_is_missing_before_a_segment_is_nothing_against_it() {
    let (disk, other) = parted(1, 9, 9);
    let copy = disk.duplicate();
    let (second, third) = (segment_name(2), segment_name(3));
    let sound = disk.content(&third).unwrap();
    for damaged in [other.content(&third).unwrap(), {
        let mut damaged = sound.clone();
        damaged[group(1) + 200] ^= 1;
        damaged
    }] {
        for disk in [&disk, &copy] {
            let _ = disk.remove(&second);
        }
        disk.set_content(&third, &damaged);
        let done = mend(&disk, &copy).unwrap();
        let is_of_it = |was: &Finding| matches!(was.damage, Damage::Records | Damage::ChainBroken);
        let were = only_in(&done, 3);
        assert!(were.iter().all(is_of_it), "{were:?}");
        assert!(disk.content(&third).unwrap() == sound);
        let missing = Damage::MissingSegments { count: 1 };
        let left = done.left.findings.iter();
        assert!(left.clone().any(|left| left.damage == missing));
    }
}

/// Where the end of one is damaged, nothing says whether the header of the next belongs there.
#[test]
fn the_last_segment_comes_back_once_the_one_before_it_did() {
    let (disk, copy) = with_copy(6);
    let sound = all(&disk);
    for (number, at) in [(2, group(1) + 200), (3, 20)] {
        let name = segment_name(number);
        let mut damaged = disk.content(&name).unwrap();
        damaged[at] ^= 1;
        disk.set_content(&name, &damaged);
    }
    let done = mend(&disk, &copy).unwrap();
    assert!(done.left.is_clean(), "{:?}", done.left);
    assert!(done.mended.len() == 2 && all(&disk) == sound);
}

#[test]
fn all_that_was_wrong_with_a_segment_is_told() {
    let (disk, copy) = with_copy(6);
    let name = segment_name(1);
    let mut damaged = disk.content(&name).unwrap();
    let groups: Vec<usize> = (0..damaged.len())
        .filter(|at| damaged[*at..].starts_with(GROUP_MAGIC))
        .collect();
    assert!(groups.len() > 1);
    for group in &groups {
        damaged[group + GROUP_HEADER_BYTES + 9] ^= 1;
    }
    disk.set_content(&name, &damaged);
    let done = mend(&disk, &copy).unwrap();
    assert_eq!(only_in(&done, 1).len(), groups.len(), "{:?}", done.mended);
}

#[test]
fn a_copy_of_another_history_gives_nothing() {
    let (disk, _, _) = small_journal();
    let other = MemoryStorage::new();
    let mut journal = Journal::create(other.clone(), ID, SMALL, &[]).unwrap();
    for number in 1..=6 {
        let pair = [record(number, 300), record(number + 99, 300)];
        journal.append(&pair).unwrap();
    }
    let sound = all(&disk);
    for number in [1, 2] {
        let name = segment_name(number);
        let mut damaged = sound[number as usize - 1].clone();
        damaged[SEGMENT_HEADER_BYTES + 99] ^= 1;
        disk.set_content(&name, &damaged);
        let done = mend(&disk, &other).unwrap();
        assert!(done.mended.is_empty() && !is_mended(&done.left));
        assert!(disk.content(&name).unwrap() == damaged);
        disk.set_content(&name, &sound[number as usize - 1]);
    }
}

/// Byte of segment at which group `number`, counted from 0, begins where all have two records of 300.
fn group(number: usize) -> usize {
    SEGMENT_HEADER_BYTES + number * (GROUP_HEADER_BYTES + 2 * (4 + 300))
}

/// Two journals of one history that go on with other pairs each behind the first `shared`.
fn parted(shared: u8, own: u8, other: u8) -> (MemoryStorage, MemoryStorage) {
    let pair = |number| [record(number, 300), record(number + 50, 300)];
    let disk = MemoryStorage::new();
    let mut journal = Journal::create(disk.clone(), ID, SMALL, &[]).unwrap();
    for number in 1..=shared {
        journal.append(&pair(number)).unwrap();
    }
    let copy = disk.duplicate();
    let (mut elsewhere, _) = Journal::open(copy.clone(), SMALL).unwrap();
    for number in 1..=own {
        journal.append(&pair(100 + number)).unwrap();
    }
    for number in 1..=other {
        elsewhere.append(&pair(150 + number)).unwrap();
    }
    (disk, copy)
}

#[track_caller]
fn stays_as_it_is(disk: &MemoryStorage, copy: &MemoryStorage, number: u32, flips: &[usize]) {
    let name = segment_name(number);
    let mut damaged = disk.content(&name).unwrap();
    for &at in flips {
        damaged[at] ^= 1;
    }
    disk.set_content(&name, &damaged);
    let done = mend(disk, copy).unwrap();
    assert!(done.mended.is_empty() && !is_mended(&done.left));
    assert!(disk.content(&name).unwrap() == damaged);
}

#[test]
fn no_other_history_takes_the_place_of_the_last_segment() {
    let payload = GROUP_HEADER_BYTES + 9;
    // Inside it: a group of ours that is whole stands against the copy.
    let (disk, copy) = parted(3, 1, 2);
    stays_as_it_is(&disk, &copy, 2, &[group(0) + payload]);
    // One segment before: its header does, or where nothing in it is whole, the segment before.
    for flips in [
        &[group(0) + payload][..],
        &[20, group(0) + payload],
        &[20, group(0) + 9],
    ] {
        let (disk, copy) = parted(1, 2, 3);
        stays_as_it_is(&disk, &copy, 2, flips);
    }
    // Where the end of that one is damaged, too, the header alone does.
    let (disk, copy) = parted(1, 2, 3);
    stays_as_it_is(&disk, &copy, 1, &[group(1) + payload]);
    stays_as_it_is(&disk, &copy, 2, &[group(0) + 9]);
}

#[test]
fn a_group_behind_those_of_the_copy_stays_though_its_header_is_damaged() {
    let (disk, copy) = with_copy(5);
    stays_as_it_is(&disk, &copy, 3, &[group(1) + 9]);
}

/// What a write left that did not finish is for the opening, which keeps it.
#[test]
fn a_torn_end_is_no_reason_to_take_a_longer_history() {
    let (disk, copy) = parted(3, 1, 1);
    let name = segment_name(2);
    let mut torn = disk.content(&name).unwrap();
    torn[group(1) + 300..].fill(0);
    disk.set_content(&name, &torn);
    let done = mend(&disk, &copy).unwrap();
    assert!(done.mended.is_empty() && is_mended(&done.left));
    assert!(disk.content(&name).unwrap() == torn);
}

#[test]
fn a_finished_segment_of_another_history_gives_way_to_the_one_that_fits() {
    let (disk, other) = parted(1, 4, 4);
    let (copy, name) = (disk.duplicate(), segment_name(2));
    let sound = disk.content(&name).unwrap();
    disk.set_content(&name, &other.content(&name).unwrap());
    assert!(mend(&disk, &copy).unwrap().left.is_clean());
    assert!(disk.content(&name).unwrap() == sound);
    // What is there fits, and nothing of the other does.
    stays_as_it_is(&disk, &other, 2, &[group(0) + 200]);
}

/// The damage of the one before is none of its own, and no reason to leave it.
#[test]
fn a_segment_comes_back_behind_one_that_does_not() {
    for flips in [&[group(0) + 200][..], &[group(0) + 200, group(1) + 200]] {
        let (disk, copy) = with_copy(6);
        let sound = copy.content(&segment_name(2)).unwrap();
        for (disk, number, flips) in [
            (&disk, 1, &[group(1) + 200][..]),
            (&copy, 1, &[group(1) + 200]),
            (&disk, 2, flips),
        ] {
            let name = segment_name(number);
            let mut damaged = disk.content(&name).unwrap();
            for &at in flips {
                damaged[at] ^= 1;
            }
            disk.set_content(&name, &damaged);
        }
        let done = mend(&disk, &copy).unwrap();
        let were = only_in(&done, 2);
        assert!(were.iter().all(|was| was.file == segment_name(2)));
        assert!(disk.content(&segment_name(2)).unwrap() == sound);
    }
}

/// A disk that does not give one sector of a file until another file has its name.
struct BadSector {
    disk: MemoryStorage,
    name: String,
    at: u64,
    fault: io::ErrorKind,
    is_replaced: AtomicBool,
}

impl Storage for BadSector {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.disk.length(name)
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let is_bad = offset < self.at + 512 && offset + buffer.len() as u64 > self.at;
        if name == self.name && is_bad && !self.is_replaced.load(Ordering::Relaxed) {
            return Err(self.fault.into());
        }
        self.disk.read_at(name, offset, buffer)
    }

    fn create(&self, name: &str, length: u64) -> io::Result<()> {
        self.disk.create(name, length)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(name, offset, bytes)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.disk.sync(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.disk.sync_folder()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.is_replaced
            .fetch_or(to == self.name, Ordering::Relaxed);
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

/// Segments of more than one piece that the system reads at once, with 22 groups in each.
const LARGE: Options = Options {
    segment_bytes: 16 * 1024 + 112,
    ..SMALL
};

/// A journal of three segments, the last with 7 groups, and its copy.
fn large() -> (MemoryStorage, MemoryStorage) {
    let disk = MemoryStorage::new();
    let mut journal = Journal::create(disk.clone(), ID, LARGE, &[]).unwrap();
    for number in 0..51 {
        let pair = [record(2 * number, 300), record(2 * number + 1, 300)];
        journal.append(&pair).unwrap();
    }
    let copy = disk.duplicate();
    (disk, copy)
}

fn with_bad_sector(disk: &MemoryStorage, number: u32, at: u64) -> BadSector {
    BadSector {
        disk: disk.clone(),
        name: segment_name(number),
        at,
        fault: io::ErrorKind::Other,
        is_replaced: Default::default(),
    }
}

#[test]
fn a_sector_that_cannot_be_read_comes_back_and_all_else_of_its_segment_stays() {
    for at in [0, 4608] {
        let (disk, copy) = large();
        let sound = all(&disk);
        // The copy lacks the end of this segment.
        let (second, third) = (segment_name(2), segment_name(3));
        let mut short = copy.content(&second).unwrap();
        short[group(12)..].fill(0);
        copy.set_content(&second, &short);
        let mut damaged = disk.content(&third).unwrap();
        damaged[group(0) + 200] ^= 1;
        disk.set_content(&third, &damaged);

        let own = with_bad_sector(&disk, 2, at);
        let mut kept = BTreeMap::new();
        let done = repair(&own, &copy, &mut |name, bytes| {
            kept.insert(name.to_owned(), bytes.to_vec());
            Ok(())
        })
        .unwrap();
        assert!(done.left.is_clean(), "{at}: {:?}", done.left);
        assert_eq!(done.mended.len(), 2, "{at}");
        assert!(all(&disk) == sound, "{at}");
        let piece = (at as usize / 4096) * 4096;
        let mut zeroed = sound[1].clone();
        zeroed[piece..piece + 4096].fill(0);
        assert!(
            kept[&second] == zeroed,
            "{at}: all that the disk gave is kept"
        );
    }
}

#[test]
fn a_sector_of_the_last_segment_that_the_copy_lacks_is_not_given_up() {
    let (disk, copy) = large();
    let third = segment_name(3);
    let sound = disk.content(&third).unwrap();
    let mut short = sound.clone();
    // The last group stands in what is not read, so nothing says that it is there.
    short[group(6)..].fill(0);
    copy.set_content(&third, &short);
    assert!(group(6) > 4096 && group(7) < 8192);
    let own = with_bad_sector(&disk, 3, 4096);
    let done = repair(&own, &copy, &mut |_, _| Ok(())).unwrap();
    assert!(done.mended.is_empty() && !done.left.is_clean());
    assert!(disk.content(&third).unwrap() == sound);
}

#[test]
fn a_segment_that_nobody_had_memory_to_read_is_not_called_unreadable() {
    let (disk, copy) = large();
    let sound = all(&disk);
    for at in [0, 4608] {
        let mut own = with_bad_sector(&disk, 2, at);
        own.fault = io::ErrorKind::OutOfMemory;
        let done = repair(&own, &copy, &mut |_, _| Ok(()));
        assert!(done.map_or(true, |done| done.mended.is_empty()), "{at}");
        assert!(all(&disk) == sound);
        assert!(journals(&own).is_err() == (at == 0), "{at}");
        own.fault = io::ErrorKind::Other;
        assert_eq!(journals(&own).unwrap(), [ID].into(), "{at}");
    }
}

#[test]
fn wherever_a_repair_fails_the_segment_is_the_damaged_one_or_the_sound_one() {
    let (disk, copy) = with_copy(3);
    let name = segment_name(1);
    let sound = disk.content(&name).unwrap();
    let mut damaged = sound.clone();
    damaged[SEGMENT_HEADER_BYTES + 9] ^= 1;
    for call in 1.. {
        disk.set_content(&name, &damaged);
        disk.fail_at(call, Fault::Io);
        let _ = mend(&disk, &copy);
        let is_over = disk.is_to_fail();
        disk.fail_no_more();
        let found = disk.content(&name).unwrap();
        assert!(found == sound || found == damaged, "call {call}");
        // Whatever it left does not stand in the way of the next one.
        disk.set_content(&name, &damaged);
        assert!(is_mended(&mend(&disk, &copy).unwrap().left), "call {call}");
        assert!(disk.content(&name).unwrap() == sound);
        if is_over {
            break;
        }
    }
    let refused = repair(&disk, &copy, &mut |_, _| Err(io::Error::other("full")));
    assert!(refused.is_ok(), "nothing is kept where nothing is damaged");
    disk.set_content(&name, &damaged);
    let refused = repair(&disk, &copy, &mut |_, _| Err(io::Error::other("full")));
    assert!(refused.is_err());
    assert!(disk.content(&name).unwrap() == damaged);
}

#[test]
fn a_damaged_segment_is_left_and_the_journal_opens_again() {
    let disk = MemoryStorage::new();
    let mut journal = Journal::create(disk.clone(), ID, SMALL, &[record(1, 300)]).unwrap();
    journal.append(&[record(2, 300)]).unwrap();
    let name = segment_name(1);
    let mut damaged = disk.content(&name).unwrap();
    damaged[SEGMENT_HEADER_BYTES + 99] ^= 1;
    disk.set_content(&name, &damaged);
    assert!(Journal::open(disk.duplicate(), SMALL).is_err());

    assert!(!journal.leave_segment(2).unwrap());
    assert!(journal.leave_segment(1).unwrap());
    assert!(!journal.leave_segment(2).unwrap(), "there is nothing in it");
    journal.append(&[record(3, 300)]).unwrap();
    let (opened, _) = Journal::open(disk.duplicate(), SMALL).unwrap();
    assert_eq!((opened.head(), opened.head().0), (journal.head(), 3));

    disk.set_free_bytes(0);
    assert!(matches!(
        journal.leave_segment(2),
        Err(JournalFailure::Full { .. })
    ));
    assert!(journal.failure().is_none());
    assert_eq!(verify(&disk, &Extent::default()).findings.len(), 1);
}
