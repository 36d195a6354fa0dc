//! The same journal on a real disk, with readers on other threads.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::thread;

use super::super::disk::DiskStorage;
use super::super::format::segment_name;
use super::super::verify::{Extent, verify};
use super::super::{Journal, Options, Storage};
use super::{ID, SMALL, record};

#[test]
fn a_journal_on_a_real_disk_is_written_read_torn_and_opened_again() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("journal");
    let storage = DiskStorage::open(&folder).unwrap();
    let mut journal = Journal::create(storage, ID, SMALL).unwrap();
    for number in 1..=12 {
        journal.append(&[record(number, 600)]).unwrap();
    }
    let head = journal.head();
    drop(journal);

    let (journal, recovery) = Journal::open(DiskStorage::open(&folder).unwrap(), SMALL).unwrap();
    assert_eq!((journal.head(), recovery.torn), (head, None));
    let place = journal.reader().locate(12).unwrap();
    drop(journal);

    let file = folder.join(segment_name(place.segment));
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&[0; 100], u64::from(place.offset) + 200)
        .unwrap();
    let (mut journal, recovery) =
        Journal::open(DiskStorage::open(&folder).unwrap(), SMALL).unwrap();
    let torn = recovery.torn.unwrap();
    assert_eq!(recovery.head, 11);
    assert!(folder.join(torn.side_file).is_file());
    assert_eq!(journal.append(&[record(13, 10)]).unwrap().first, 12);
    assert!(verify(journal.reader().storage(), &Extent::default()).is_clean());
}

#[test]
fn a_folder_is_made_for_its_owner_only_and_files_too() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("journal");
    let storage = DiskStorage::open(&folder).unwrap();
    storage.create("file", 100_000).unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.clone()), 0o700);
    assert_eq!(mode(folder.join("file")), 0o600);
    assert_eq!(storage.length("file").unwrap(), 100_000);
    assert!(storage.create("file", 1).is_err());
    assert!(storage.free_bytes().unwrap() > 0);
    assert!(DiskStorage::open(home.path().join("no/such/folder")).is_err());
}

#[test]
fn a_file_is_written_and_read_under_its_latest_name() {
    let home = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open(home.path().join("journal")).unwrap();
    let read = |name| {
        let mut byte = [0];
        storage.read_at(name, 0, &mut byte).map(|()| byte[0])
    };
    storage.create("old", 1).unwrap();
    storage.write_at("old", 0, &[1]).unwrap();
    storage.create("new", 1).unwrap();
    storage.write_at("new", 0, &[2]).unwrap();
    assert_eq!((read("old").unwrap(), read("new").unwrap()), (1, 2));
    storage.rename("new", "old").unwrap();
    assert_eq!(read("old").unwrap(), 2);
    assert!(read("new").is_err());
    storage.write_at("old", 0, &[3]).unwrap();
    storage.sync("old").unwrap();
    assert_eq!(read("old").unwrap(), 3);
    storage.remove("old").unwrap();
    assert!(read("old").is_err());
    assert_eq!(storage.list().unwrap(), Vec::<String>::new());
}

#[test]
fn readers_copies_and_verification_run_while_the_owner_appends() {
    let home = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open(home.path().join("journal")).unwrap();
    let options = Options {
        segment_bytes: 16 * 1024,
        ..SMALL
    };
    let mut journal = Journal::create(storage, ID, options).unwrap();
    let reader = journal.reader();
    let total = 400;
    thread::scope(|scope| {
        let owner = scope.spawn(move || {
            for number in 0..total / 2 {
                let pair = [record(number as u8, 50), record(number as u8, 400)];
                journal.append(&pair).unwrap();
            }
        });
        let follower = scope.spawn(|| {
            let mut next = 1;
            while next <= total {
                for scanned in reader.scan(next) {
                    let scanned = scanned.unwrap();
                    assert_eq!(scanned.position, next);
                    assert_eq!(reader.read(scanned.place).unwrap(), scanned.record);
                    next += 1;
                }
                thread::yield_now();
            }
        });
        let mut seen = 0;
        while seen < total {
            let mark = reader.watermark();
            let extent = Extent {
                up_to: Some(mark),
                ..Extent::default()
            };
            let findings = verify(reader.storage(), &extent);
            assert!(findings.is_clean(), "{findings:?}");
            assert_eq!(findings.head, Some(mark));
            seen = mark.position;
        }
        owner.join().unwrap();
        follower.join().unwrap();
    });
    let copy = DiskStorage::open(home.path().join("copy")).unwrap();
    let copied = reader.copy_to(&copy, reader.watermark()).unwrap();
    assert_eq!(copied.verified.records, total);
}
