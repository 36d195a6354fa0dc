//! A journal exists with its first record or not at all.

use super::super::memory::{Fault, MemoryStorage};
use super::super::{CreateError, Journal, OpenError, Options, Storage, StorageError};
use super::crash::Choices;
use super::{ID, SMALL, contents, record};

#[test]
fn wherever_founding_is_cut_short_there_is_no_journal_or_one_with_its_record() {
    let founding = [record(1, 200)];
    for fault in [Fault::Io, Fault::Full] {
        let mut calls = 0;
        loop {
            calls += 1;
            let mut failed = false;
            for luck in 0..40 {
                let disk = MemoryStorage::new();
                disk.fail_at(calls, fault);
                let made = Journal::create(disk.clone(), ID, SMALL, &founding);
                failed = made.is_err();
                // Even seeds lose power, odd ones only the process.
                let mut choices = Choices(luck);
                if luck % 2 == 0 {
                    disk.crash(&mut |n| choices.below(n));
                }
                disk.fail_at(u64::MAX / 2, fault);
                let found = match Journal::open(disk.clone(), SMALL) {
                    Ok((journal, _)) => contents(&journal),
                    Err(OpenError::NoJournal) if failed => {
                        let journal = Journal::create(disk, ID, SMALL, &founding).unwrap();
                        contents(&journal)
                    }
                    Err(error) => panic!("{fault:?} at call {calls}, luck {luck}: {error:?}"),
                };
                assert_eq!(found, founding);
            }
            if !failed {
                break;
            }
        }
        assert!(calls > 6, "{calls}");
    }
}

#[test]
fn a_journal_without_a_record_gives_way_and_one_with_a_record_does_not() {
    let disk = MemoryStorage::new();
    drop(Journal::create(disk.clone(), ID, SMALL, &[]).unwrap());
    let founding = [record(1, 200)];
    let journal = Journal::create(disk.clone(), ID, SMALL, &founding).unwrap();
    assert_eq!(contents(&journal), founding);
    drop(journal);
    let again = Journal::create(disk.clone(), ID, SMALL, &[record(2, 5)]).unwrap_err();
    assert_eq!(again, CreateError::Exists);

    // Nor does one whose header or only record is damaged: it is no proof that there was none.
    let sound = disk.content("0000000001.seg").unwrap();
    for at in [20, 300] {
        let mut segment = sound.clone();
        segment[at] ^= 1;
        disk.set_content("0000000001.seg", &segment);
        let again = Journal::create(disk.clone(), ID, SMALL, &founding).unwrap_err();
        assert_eq!(again, CreateError::Exists, "byte {at}");
        assert_eq!(disk.content("0000000001.seg"), Some(segment));
    }
}

#[test]
fn below_the_reserve_no_journal_is_made_and_nothing_is_left_of_it() {
    let disk = MemoryStorage::new();
    disk.set_free_bytes(11_899);
    let options = Options {
        reserve_bytes: 10_000,
        ..SMALL
    };
    let full = Journal::create(disk.clone(), ID, options, &[record(1, 10)]).unwrap_err();
    let (free, needed) = (11_899, 11_900);
    assert_eq!(full, CreateError::Full { free, needed });
    assert_eq!(disk.list().unwrap(), Vec::<String>::new());
    disk.set_free_bytes(11_900);
    Journal::create(disk, ID, options, &[record(1, 10)]).unwrap();
}

#[test]
fn a_disk_that_fails_is_named() {
    let disk = MemoryStorage::new();
    disk.fail_at(3, Fault::Io);
    let Err(CreateError::Storage(StorageError { act, file, .. })) =
        Journal::create(disk, ID, SMALL, &[record(1, 10)])
    else {
        panic!("the failure passed for a journal")
    };
    assert_eq!((act, file.as_str()), ("create", "0000000001.seg.new"));
}
