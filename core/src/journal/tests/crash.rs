//! Power cuts and failing calls at every moment: what an append returned is never lost.

use proptest::prelude::*;

use super::super::format::segment_name;
use super::super::memory::{Fault, MemoryStorage, Skipped};
use super::super::verify::{Extent, verify};
use super::super::{Damage, Journal, OpenError, Options, ReadError, TailKind};
use super::{ID, SMALL, contents, record, small_journal};

/// A stream of choices from a seed (SplitMix64).
pub(super) struct Choices(pub(super) u64);

impl Choices {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// One life of the process: appends of these record lengths, one call that fails, then a crash.
#[derive(Debug, Clone)]
struct Life {
    appends: Vec<Vec<usize>>,
    fails_at: u64,
    fault: Fault,
    /// Whether the machine loses power, or only the process ends.
    power_cut: bool,
}

fn lives() -> impl Strategy<Value = Vec<Life>> {
    let lengths = prop::collection::vec(0_usize..900, 1..5);
    let life = (
        prop::collection::vec(lengths, 1..6),
        1_u64..60,
        prop_oneof![Just(Fault::Io), Just(Fault::Full)],
        prop::bool::weighted(0.8),
    )
        .prop_map(|(appends, fails_at, fault, power_cut)| Life {
            appends,
            fails_at,
            fault,
            power_cut,
        });
    prop::collection::vec(life, 1..5)
}

/// What must be in the journal, and what may follow it.
#[derive(Default)]
struct Model {
    kept: Vec<Vec<u8>>,
    in_doubt: Vec<Vec<u8>>,
    written: u8,
}

impl Model {
    /// Appends until a call fails.
    fn live(&mut self, disk: &MemoryStorage, life: &Life) -> Result<(), String> {
        disk.fail_at(life.fails_at, life.fault);
        let mut journal = match Journal::open(disk.clone(), SMALL) {
            Ok((journal, recovery)) => {
                // Nothing that a crash leaves may look like a group that was whole once.
                if let Some(tail) = recovery.torn.filter(|tail| tail.kind == TailKind::Damaged) {
                    return Err(format!("taken for damage: {tail:?}"));
                }
                journal
            }
            Err(OpenError::NoJournal) if self.kept.is_empty() => {
                match Journal::create(disk.clone(), ID, SMALL, &[]) {
                    Ok(journal) => journal,
                    Err(_) => return Ok(()),
                }
            }
            Err(OpenError::Storage(_)) => return Ok(()),
            Err(error) => return Err(format!("not opened: {error:?}")),
        };
        let found: Result<Vec<_>, _> = journal.reader().scan(0).collect();
        match found {
            Ok(found) => self.compare(found.into_iter().map(|scanned| scanned.record).collect())?,
            Err(ReadError::Storage(_)) => return Ok(()),
            Err(error) => return Err(format!("not read: {error:?}")),
        }
        for lengths in &life.appends {
            let records: Vec<_> = lengths.iter().map(|&length| self.next(length)).collect();
            match journal.append(&records) {
                Ok(_) => self.kept.extend(records),
                Err(_) => {
                    self.in_doubt = records;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn next(&mut self, length: usize) -> Vec<u8> {
        self.written = self.written.wrapping_add(1);
        record(self.written, length)
    }

    /// What is there must be what was kept and a beginning of what was in doubt; from then on it
    /// is kept.
    fn compare(&mut self, found: Vec<Vec<u8>>) -> Result<(), String> {
        let all: Vec<_> = self.kept.iter().chain(&self.in_doubt).cloned().collect();
        if found.len() < self.kept.len() {
            return Err(format!("{} of {} kept", found.len(), self.kept.len()));
        }
        if !all.starts_with(&found) {
            return Err("other records than were appended".to_owned());
        }
        self.kept = found;
        self.in_doubt.clear();
        Ok(())
    }
}

fn survive(disk: &MemoryStorage, lives: &[Life], seed: u64) -> Result<(), String> {
    let mut model = Model::default();
    let mut choices = Choices(seed);
    for life in lives {
        model.live(disk, life)?;
        if life.power_cut {
            disk.crash(&mut |n| choices.below(n));
        }
    }
    disk.fail_at(u64::MAX / 2, Fault::Io);
    match Journal::open(disk.clone(), SMALL) {
        Ok((journal, _)) => model.compare(contents(&journal))?,
        Err(OpenError::NoJournal) if model.kept.is_empty() => return Ok(()),
        Err(error) => return Err(format!("not opened: {error:?}")),
    }
    let findings = verify(disk, &Extent::default());
    if findings.is_clean() {
        Ok(())
    } else {
        Err(format!("{findings:?}"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn what_an_append_returned_survives_any_crash(lives in lives(), seed in any::<u64>()) {
        survive(&MemoryStorage::new(), &lives, seed).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn a_group_with_a_sector_that_was_never_written_is_an_unfinished_write() {
    // The header of the last group begins 26 bytes before a sector does.
    let (start, sector, end) = (998, 1_024, 1_510);
    for unwritten in [start..sector, sector..end] {
        let disk = MemoryStorage::new();
        let mut journal = Journal::create(disk.clone(), ID, SMALL, &[]).unwrap();
        journal.append(&[record(1, 193), record(2, 565)]).unwrap();
        journal.append(&[record(3, 388)]).unwrap();
        drop(journal);
        let mut content = disk.content("0000000001.seg").unwrap();
        assert!(content[end..].iter().all(|&byte| byte == 0));
        content[unwritten].fill(0);
        disk.set_content("0000000001.seg", &content);

        let (_, recovery) = Journal::open(disk, SMALL).unwrap();
        let torn = recovery.torn.unwrap();
        assert_eq!((recovery.head, torn.kind), (2, TailKind::Torn));
        assert_eq!(torn.finding.offset, start as u64);
    }
}

/// Whether some crash loses a kept record on a disk that skips a kind of sync.
fn loses_something(skipped: Skipped) -> bool {
    let life = Life {
        appends: vec![vec![300, 300], vec![700], vec![900], vec![900], vec![200]],
        fails_at: 1_000,
        fault: Fault::Io,
        power_cut: true,
    };
    let lives = [life.clone(), life];
    (0..500).any(|seed| {
        let disk = MemoryStorage::new();
        disk.without_sync(skipped);
        survive(&disk, &lives, seed).is_err()
    })
}

#[test]
fn the_crash_test_notices_a_missing_sync_of_content() {
    assert!(loses_something(Skipped::Files));
}

#[test]
fn the_crash_test_notices_a_missing_sync_of_names() {
    assert!(loses_something(Skipped::Folder));
}

#[test]
fn a_failure_of_any_call_loses_nothing_that_was_returned() {
    let life = |fails_at, fault| Life {
        appends: vec![
            vec![300, 300],
            vec![700],
            vec![900, 10],
            vec![3_000],
            vec![200],
        ],
        fails_at,
        fault,
        power_cut: true,
    };
    for fault in [Fault::Io, Fault::Full] {
        let mut call = 1;
        loop {
            let disk = MemoryStorage::new();
            let lives = [life(call, fault), life(call, fault), life(call + 7, fault)];
            let result = survive(&disk, &lives, call);
            assert_eq!(result, Ok(()), "{fault:?} at call {call}");
            if call > calls_of(&lives[0]) {
                break;
            }
            call += 1;
        }
        assert!(call > 30);
    }
}

/// How many calls a life makes at most when nothing fails: it opens what it made before.
fn calls_of(life: &Life) -> u64 {
    let disk = MemoryStorage::new();
    let mut model = Model::default();
    let whole = Life {
        fails_at: u64::MAX / 2,
        ..life.clone()
    };
    model.live(&disk, &whole).unwrap();
    let made = disk.calls();
    model.live(&disk, &whole).unwrap();
    made.max(disk.calls() - made)
}

#[test]
fn what_a_failed_sync_left_in_the_cache_counts_only_once_it_is_on_the_disk() {
    let (disk, mut journal, mut records) = small_journal();
    disk.fail_at(3, Fault::Io);
    journal.append(&[record(13, 10)]).unwrap_err();
    drop(journal);

    // The process starts anew on the same machine, and the cache shows the group whole.
    let (mut journal, recovery) = Journal::open(disk.clone(), SMALL).unwrap();
    assert_eq!(recovery.head, 13);
    journal.append(&[record(14, 10)]).unwrap();
    drop(journal);
    disk.crash(&mut |_| 0);

    records.extend([record(13, 10), record(14, 10)]);
    let (journal, recovery) = Journal::open(disk, SMALL).unwrap();
    assert_eq!(recovery.torn, None);
    assert_eq!(contents(&journal), records);
}

#[test]
fn a_whole_group_of_another_history_is_never_cut_for_a_tear() {
    let (disk, mut journal, _records) = small_journal();
    let (mut twin, _) = Journal::open(disk.duplicate(), SMALL).unwrap();
    // Too long for the third segment.
    journal.append(&[record(13, 900)]).unwrap();
    twin.append(&[record(14, 900)]).unwrap();
    twin.append(&[record(15, 100)]).unwrap();
    let name = segment_name(twin.reader().locate(14).unwrap().segment);
    drop(journal);
    let mut mixed = disk.content(&name).unwrap();
    let theirs = twin.reader().storage().content(&name).unwrap();
    let end = mixed.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    mixed[end..].copy_from_slice(&theirs[end..]);
    disk.set_content(&name, &mixed);
    let Err(OpenError::Damaged(finding)) = Journal::open(disk.clone(), SMALL) else {
        panic!("it was cut")
    };
    assert_eq!(finding.damage, Damage::ChainBroken);
    assert_eq!(disk.content(&name), Some(mixed));
}

#[test]
fn a_crash_while_a_tail_is_deleted_leaves_no_gap() {
    let options = Options {
        prefix_removable: true,
        ..SMALL
    };
    for call in 1..8 {
        for seed in 0..50 {
            let disk = MemoryStorage::new();
            let mut journal = Journal::create(disk.clone(), ID, options, &[]).unwrap();
            for number in 1..=12 {
                journal.append(&[record(number, 900)]).unwrap();
            }
            disk.fail_at(call, Fault::Io);
            let removed = journal.remove_before(9);
            drop(journal);
            let mut choices = Choices(seed);
            disk.crash(&mut |n| choices.below(n));
            let (journal, recovery) = Journal::open(disk.clone(), options).unwrap();
            assert!(recovery.first <= 9, "{removed:?}");
            let found = contents(&journal);
            assert_eq!(found.last(), Some(&record(12, 900)));
            assert_eq!(found.len() as u64, 13 - recovery.first);
        }
    }
}
