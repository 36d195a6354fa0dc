//! The disk in memory is as unkind as it says: other tests rely on what is shown here.

use std::collections::BTreeSet;

use super::super::Storage;
use super::super::memory::{Fault, MemoryStorage};
use super::crash::Choices;

/// A synced file of `length` zeros.
fn with_file(length: u64) -> MemoryStorage {
    let disk = MemoryStorage::new();
    disk.create("file", length).unwrap();
    disk.sync("file").unwrap();
    disk.sync_folder().unwrap();
    disk
}

/// What crashes of different luck leave, each told by `look`.
fn left_by_crashes<T: Ord>(
    make: impl Fn() -> MemoryStorage,
    look: impl Fn(&MemoryStorage) -> T,
) -> BTreeSet<T> {
    let crash = |seed| {
        let disk = make();
        let mut choices = Choices(seed);
        disk.crash(&mut |n| choices.below(n));
        look(&disk)
    };
    (0..400).map(crash).collect()
}

#[test]
fn a_crash_keeps_what_was_synced_and_only_parts_of_the_rest() {
    let disk = MemoryStorage::new();
    disk.create("file", 2048).unwrap();
    disk.sync("file").unwrap();
    disk.sync_folder().unwrap();
    disk.write_at("file", 100, &[1; 1500]).unwrap();
    // Tear the write and keep its second sector only.
    let mut choices = [2, 0, 1, 0, 0].into_iter();
    disk.crash(&mut |_| choices.next().unwrap_or(0));
    let content = disk.content("file").unwrap();
    assert_eq!(content.len(), 2048);
    let kept: Vec<_> = (0..2048).filter(|&at| content[at] == 1).collect();
    assert_eq!(kept, (512..1024).collect::<Vec<_>>());

    disk.create("unsynced", 10).unwrap();
    disk.crash(&mut |_| 0);
    assert_eq!(disk.list().unwrap(), ["file"]);
}

#[test]
fn of_unsynced_sectors_any_subset_is_left() {
    let written = || {
        let disk = with_file(2048);
        disk.write_at("file", 0, &[1; 2048]).unwrap();
        disk
    };
    let sectors = |disk: &MemoryStorage| -> Vec<bool> {
        let content = disk.content("file").unwrap();
        let whole = |sector: &[u8]| sector.iter().all(|byte| *byte == sector[0]);
        assert!(content.chunks(512).all(whole), "a sector is torn inside");
        content.chunks(512).map(|sector| sector[0] == 1).collect()
    };
    assert_eq!(left_by_crashes(written, sectors).len(), 16);
}

#[test]
fn a_sector_that_was_written_twice_is_left_as_it_was_at_some_moment() {
    let written = || {
        let disk = with_file(512);
        disk.write_at("file", 0, &[1; 300]).unwrap();
        disk.write_at("file", 200, &[2; 300]).unwrap();
        disk
    };
    let bytes = |disk: &MemoryStorage| {
        let content = disk.content("file").unwrap();
        [content[0], content[250], content[450]]
    };
    let expected = BTreeSet::from([[0, 0, 0], [1, 1, 0], [1, 2, 2]]);
    assert_eq!(left_by_crashes(written, bytes), expected);
}

#[test]
fn an_unsynced_file_is_left_at_any_length() {
    let made = || {
        let disk = MemoryStorage::new();
        disk.create("file", 1300).unwrap();
        disk.sync_folder().unwrap();
        disk
    };
    let length = |disk: &MemoryStorage| disk.content("file").unwrap().len();
    let expected = BTreeSet::from([0, 512, 1024, 1300]);
    assert_eq!(left_by_crashes(made, length), expected);
}

#[test]
fn of_unsynced_names_any_subset_is_left_and_of_a_rename_perhaps_one_half() {
    let changed = || {
        let disk = with_file(1);
        disk.create("other", 1).unwrap();
        disk.sync_folder().unwrap();
        disk.rename("file", "renamed").unwrap();
        disk.remove("other").unwrap();
        disk
    };
    let names = |disk: &MemoryStorage| disk.list().unwrap();
    assert_eq!(left_by_crashes(changed, names).len(), 8);
}

#[test]
fn what_a_failed_sync_dropped_is_seen_and_not_brought_to_the_disk_by_the_next() {
    let disk = with_file(1024);
    disk.write_at("file", 0, &[1; 600]).unwrap();
    disk.fail_at(1, Fault::Io);
    disk.sync("file").unwrap_err();
    disk.write_at("file", 700, &[2; 10]).unwrap();
    disk.sync("file").unwrap();
    assert_eq!(disk.content("file").unwrap()[0], 1);
    disk.crash(&mut |_| 0);
    let content = disk.content("file").unwrap();
    // The second sector was written to again, so all of it was.
    assert_eq!((content[0], content[590], content[705]), (0, 1, 2));
}

#[test]
fn space_is_taken_by_files_with_a_name_and_given_back_when_a_crash_takes_it() {
    let disk = with_file(300);
    disk.set_free_bytes(1_000);
    let free = || disk.free_bytes().unwrap();
    disk.create("other", 600).unwrap();
    assert_eq!(free(), 400);
    let full = disk.create("third", 401).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    disk.rename("other", "file").unwrap();
    assert_eq!(free(), 700);
    // The rename is undone, and the file that was made goes with it.
    disk.crash(&mut |_| 0);
    assert_eq!(disk.list().unwrap(), ["file"]);
    assert_eq!(free(), 1_000);
    disk.remove("file").unwrap();
    assert_eq!(free(), 1_300);
}

#[test]
fn a_removal_that_failed_may_show_after_a_crash() {
    let failed = || {
        let disk = with_file(1);
        disk.fail_at(1, Fault::Io);
        disk.remove("file").unwrap_err();
        assert_eq!(disk.list().unwrap(), ["file"]);
        disk
    };
    let names = |disk: &MemoryStorage| disk.list().unwrap().len();
    assert_eq!(left_by_crashes(failed, names), BTreeSet::from([0, 1]));
}
