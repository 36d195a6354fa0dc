//! The same journal on a real disk, with readers on other threads.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;

use super::super::copy::CopyError;
use super::super::disk::DiskStorage;
use super::super::format::segment_name;
use super::super::verify::{Extent, verify};
use super::super::{Journal, OpenError, Options, Storage};
use super::{ID, SMALL, record};

#[test]
fn a_journal_on_a_real_disk_is_written_read_torn_and_opened_again() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("journal");
    let storage = DiskStorage::open(&folder).unwrap();
    let mut journal = Journal::create(storage, ID, SMALL, &[]).unwrap();
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

/// A real disk that tells which calls changed it.
struct Recorded {
    disk: DiskStorage,
    calls: Mutex<Vec<String>>,
}

impl Recorded {
    fn open(folder: &Path) -> Self {
        let disk = DiskStorage::open(folder).unwrap();
        let calls = Mutex::default();
        Self { disk, calls }
    }

    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }
}

impl Storage for Recorded {
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
        self.note(format!("create {name}"));
        self.disk.create(name, length)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.note(format!("write {name}"));
        self.disk.write_at(name, offset, bytes)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.note(format!("sync {name}"));
        self.disk.sync(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.note("sync the folder".to_owned());
        self.disk.sync_folder()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.note(format!("rename {from} to {to}"));
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.note(format!("remove {name}"));
        self.disk.remove(name)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

/// The cache may show what no disk has, left there by a write whose sync failed. The segment that
/// is appended to is therefore another file after opening, on the disk before it takes the name.
#[test]
fn opening_trusts_no_cache_and_writes_the_open_segment_anew() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("journal");
    let storage = DiskStorage::open(&folder).unwrap();
    let mut journal = Journal::create(storage, ID, SMALL, &[]).unwrap();
    for number in 1..=12 {
        journal.append(&[record(number, 600)]).unwrap();
    }
    let open = journal.reader().locate(12).unwrap().segment;
    drop(journal);
    let file = |number| {
        fs::metadata(folder.join(segment_name(number)))
            .unwrap()
            .ino()
    };
    // A file that lives keeps its number to itself.
    let held = fs::File::open(folder.join(segment_name(open))).unwrap();
    let (finished, before) = (file(open - 1), file(open));

    let (journal, recovery) = Journal::open(Recorded::open(&folder), SMALL).unwrap();
    assert_eq!(recovery.head, 12);
    assert_ne!(
        file(open),
        before,
        "the same file may be in the cache alone"
    );
    assert_eq!(
        file(open - 1),
        finished,
        "finished segments are never written again"
    );
    let name = segment_name(open);
    let calls = journal.reader().storage().calls.lock().unwrap().clone();
    let expected = [
        format!("create {name}.new"),
        format!("write {name}.new"),
        format!("sync {name}.new"),
        format!("rename {name}.new to {name}"),
        "sync the folder".to_owned(),
    ];
    assert_eq!(calls, expected);
    drop(held);
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

/// The system refuses to sync what has nothing to sync, so an answer shows that it was asked.
#[test]
fn syncing_a_file_and_the_folder_asks_the_system_and_passes_its_answer_on() {
    let home = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open(home.path()).unwrap();
    let refused = DiskStorage::open("/proc/self").unwrap().sync("comm");
    let answer = refused.unwrap_err().raw_os_error();
    assert_eq!(answer, Some(Errno::INVAL.raw_os_error()));
    storage.create("other", 1).unwrap();
    storage.sync("other").unwrap();
    storage.sync_folder().unwrap();
    let unsyncable = DiskStorage::open("/proc/self/fd").unwrap();
    let refused = unsyncable.sync_folder().unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn the_space_of_a_file_is_taken_when_it_is_made() {
    let home = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open(home.path()).unwrap();
    storage.create("file", 1024 * 1024).unwrap();
    let made = fs::metadata(home.path().join("file")).unwrap();
    assert_eq!(made.len(), 1024 * 1024);
    assert!(made.blocks() * 512 >= made.len(), "{}", made.blocks());
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
    let mut journal = Journal::create(storage, ID, options, &[]).unwrap();
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
    let copied = reader.copy_to(&copy, reader.watermark(), 0, 0).unwrap();
    assert_eq!(copied.verified.records, total);
}

#[test]
fn a_pipe_in_place_of_a_segment_is_refused_and_waited_for_by_nobody() {
    let home = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let storage = DiskStorage::open(home.path().join(name)).unwrap();
        let mut journal = Journal::create(storage, ID, SMALL, &[]).unwrap();
        for number in 1..=12 {
            journal.append(&[record(number, 600)]).unwrap();
        }
        journal
    };
    let (sound, piped) = (make("sound"), make("piped"));
    drop(piped);
    let name = segment_name(2);
    let path = home.path().join("piped").join(&name);
    fs::remove_file(&path).unwrap();
    let (kind, mode) = (FileType::Fifo, Mode::from_raw_mode(0o600));
    mknodat(CWD, &path, kind, mode, 0).unwrap();

    let open = || DiskStorage::open(home.path().join("piped")).unwrap();
    let refused = Journal::open(open(), SMALL).unwrap_err();
    let OpenError::Storage(refused) = refused else {
        panic!("{refused:?}");
    };
    let says = format!("cannot measure {name}: it is no regular file");
    assert_eq!(refused.to_string(), says);
    let reader = sound.reader();
    let refused = reader
        .copy_to(&open(), reader.watermark(), 12, 0)
        .unwrap_err();
    let CopyError::Target(refused) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.to_string(), says);
    let found = verify(&open(), &Extent::default()).findings;
    let says = "cannot be read: it is no regular file";
    assert!(
        found
            .iter()
            .any(|found| found.file == name && found.to_string().contains(says))
    );
    // Nor is anything written into one that somebody reads.
    let _reader = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let written = open().write_at(&name, 0, b"?").unwrap_err();
    assert_eq!(written.to_string(), "it is no regular file");
}

#[test]
fn a_segment_that_another_file_replaces_takes_nothing_more_and_is_read_as_it_is_now() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("journal");
    let mut journal = Journal::create(DiskStorage::open(&folder).unwrap(), ID, SMALL, &[]).unwrap();
    for number in 1..=3 {
        journal.append(&[record(number, 600)]).unwrap();
    }
    let extent = Extent {
        up_to: Some(journal.reader().watermark()),
        ..Extent::default()
    };
    let storage = DiskStorage::open(&folder).unwrap();
    assert!(verify(&storage, &extent).is_clean());
    // A copy of it as it was, under a name that the journal holds open.
    let replace = |number: u32| {
        let segment = folder.join(segment_name(number));
        let mut bytes = fs::read(&segment).unwrap();
        let middle = bytes.len() / 4;
        bytes[middle] ^= 1;
        fs::write(home.path().join("other"), bytes).unwrap();
        fs::rename(home.path().join("other"), segment).unwrap();
    };
    replace(1);
    assert!(!verify(&storage, &extent).is_clean());
    journal.append(&[record(4, 10)]).unwrap();
    let (last, _) = journal.head();
    replace(journal.reader().locate(last).unwrap().segment);
    let failed = journal.append(&[record(5, 10)]).unwrap_err();
    assert!(failed.is_final());
    assert!(format!("{failed:?}").contains("another file"), "{failed:?}");
}
