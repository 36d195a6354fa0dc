//! What a manifest says of a folder that is backed up to.

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use bukti_command::{Progress, Request};
use bukti_core::authority::Role;
use bukti_core::id::JournalId;
use bukti_core::kv::SledKv;
use bukti_core::ledger::Ledger;
use bukti_core::ledger::testing::{NOW, Phone, enrol, options, server_key};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::super::answer;
use super::super::flips::{all_files, run};
use super::*;
use crate::accepting::Accepting;
use crate::config::Config;
use crate::folder::{Folder, write_key};
use crate::links::Links;
use crate::metrics::Metrics;

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files(folder: &Path) -> Files {
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    };
    all_files(folder).into_iter().map(read).collect()
}

/// A stopped server with so many devices, beginning with one of a seed.
fn server(id: u8, seed: u64, devices: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    folder::make(&data).unwrap();
    write_key(&data.join("server.key"), &server_key()).unwrap();
    let disk = DiskStorage::open(data.join("journal")).unwrap();
    let kv = SledKv::open(&data.join("store"), 1 << 20).unwrap();
    let (id, key) = (JournalId([id; 16]), server_key());
    let mut ledger = Ledger::create(disk, Arc::new(kv), key, id, NOW, options()).unwrap();
    for number in 0..devices {
        enrol(
            &mut ledger,
            &Phone::new(seed + number),
            Role::Officer,
            "13.07",
        );
    }
    folder
}

#[test]
fn two_backups_do_not_write_to_one_folder() {
    let server = server(1, 1, 1);
    let to = server.path().join("backup");
    let other = take(&to).unwrap();
    let refused = back_up(&server, &to);
    assert_eq!(refused.exit, Exit::Failed);
    assert!(
        refused.stderr.contains("another backup writes to"),
        "{refused:?}"
    );
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
    drop(other);
    assert_eq!(back_up(&server, &to).exit, Exit::Done);
}

#[test]
fn a_backup_that_never_ends_takes_one_place_for_commands_and_no_revocation() {
    let server = server(1, 1, 1);
    let folder = Folder::new(server.path().join("data"));
    let (config, metrics) = (Config::default(), Metrics::default());
    let links = Links::of_stopped(&folder, None).unwrap();
    let Started { ledger, key, .. } = folder
        .open(None, None, &config, &metrics, &mut |_| {})
        .unwrap();
    let (sessions, failed) = (Arc::default(), CancellationToken::new());
    let (accepting, thread) = Accepting::start(ledger, 4, sessions, Arc::new(metrics), failed);
    let office = Office::new(folder, accepting.clone(), &key, links);
    let call = |line: &str| {
        let args = line.split(' ').map(str::to_owned).collect();
        let request = Request::here(args).unwrap();
        answer(&office, &request, &mut Progress::to(|_| {}))
    };
    let to = server.path().join("backup");
    let backup = format!("backup --to {}", to.display());
    // One that is looked at before the other is refused as what it is.
    std::os::unix::fs::symlink("nowhere", &to).unwrap();
    let other = office.backing_up.lock().unwrap();
    let refused = call(&backup);
    assert_eq!(refused.exit, Exit::Failed);
    let says = "another backup of this server runs";
    assert!(refused.stderr.contains(says), "{refused:?}");
    let revoked = call(&format!("revoke {}", Phone::new(1).id()));
    assert_eq!(revoked.exit, Exit::Done, "{revoked:?}");
    drop(other);
    fs::remove_file(&to).unwrap();
    assert_eq!(call(&backup).exit, Exit::Done);
    accepting.close();
    thread.join().unwrap();
}

#[test]
fn the_reserve_is_kept_where_the_backup_lies_beside_the_journal() {
    let server = server(1, 1, 1);
    let config = server.path().join("server.toml");
    // More than any disk has.
    fs::write(&config, "reserve_mib = 1048576\n").unwrap();
    let line = |to: &Path| format!("backup --to {} --config {}", to.display(), config.display());
    let to = server.path().join("backup");
    let refused = run(&server.path().join("data"), &line(&to));
    assert_eq!(refused.exit, Exit::Failed);
    let says = "with the reserve are needed: back up to another disk";
    assert!(refused.stderr.contains(says), "{refused:?}");
    assert_eq!(fs::read_dir(to.join(JOURNAL)).unwrap().count(), 0);

    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let copied = run(&server.path().join("data"), &line(elsewhere.path()));
    assert_eq!(copied.exit, Exit::Done, "{copied:?}");
}

#[test]
fn a_link_that_leads_nowhere_is_no_place_for_a_backup() {
    let server = server(1, 1, 1);
    let to = server.path().join("link");
    std::os::unix::fs::symlink("nowhere", &to).unwrap();
    let refused = back_up(&server, &to);
    assert_eq!(refused.exit, Exit::WrongUse);
    assert!(refused.stderr.contains("is no folder"), "{refused:?}");
}

fn back_up(server: &TempDir, to: &Path) -> Reply {
    let line = format!("backup --to {}", to.display());
    run(&server.path().join("data"), &line)
}

/// A backup that is refused for what the manifest says: no journal lies beside it.
#[track_caller]
fn is_refused(server: &TempDir, manifest: &[u8], exit: Exit, says: &str) {
    let to = tempfile::tempdir().unwrap();
    fs::write(to.path().join(MANIFEST), manifest).unwrap();
    let before = files(to.path());
    let refused = back_up(server, to.path());
    assert_eq!(refused.exit, exit, "{}", refused.stderr);
    assert!(refused.stderr.contains(says), "{}", refused.stderr);
    assert_eq!(files(to.path()), before);
    assert!(!to.path().join(JOURNAL).exists());
}

#[test]
fn a_manifest_alone_keeps_a_folder_from_those_whose_backup_it_is_not() {
    let made = |server: &TempDir| {
        let to = server.path().join("backup");
        let reply = back_up(server, &to);
        assert_eq!(reply.exit, Exit::Done, "{}", reply.stderr);
        fs::read(to.join(MANIFEST)).unwrap()
    };
    let own = server(1, 1, 2);
    let manifest = made(&own);
    let other = made(&server(2, 1, 2));
    is_refused(&own, &other, Exit::WrongUse, "holds a backup of journal");
    let later = made(&server(1, 1, 3));
    is_refused(
        &own,
        &later,
        Exit::Failed,
        "(backup.json), and this server's journal ends with record",
    );
    let parted = made(&server(1, 8, 2));
    is_refused(
        &own,
        &parted,
        Exit::Failed,
        "other records than this server's",
    );
    let says = "is not what a backup wrote, and no journal lies beside it";
    is_refused(&own, &manifest[1..], Exit::WrongUse, says);
    is_refused(&own, b"", Exit::WrongUse, says);
    let endless = vec![b' '; MANIFEST_BYTES_MAX + 1];
    is_refused(&own, &endless, Exit::WrongUse, "it has more than the");

    // Its own with its journal gone is a backup to go on with.
    let to = own.path().join("backup");
    let before = files(&to.join(JOURNAL));
    fs::remove_dir_all(to.join(JOURNAL)).unwrap();
    assert_eq!(back_up(&own, &to).exit, Exit::Done);
    assert_eq!(files(&to.join(JOURNAL)), before);
    // One that was altered says nothing; then the journal does.
    fs::write(to.join(MANIFEST), &manifest[1..]).unwrap();
    let repaired = back_up(&own, &to);
    assert_eq!(repaired.exit, Exit::Done);
    let says = "damaged at backup.json: it was not as a backup wrote it; written again";
    assert!(repaired.stdout.contains(says), "{}", repaired.stdout);
    fs::write(to.join(MANIFEST), &manifest[1..]).unwrap();
    let before = files(&to);
    let refused = back_up(&server(2, 1, 2), &to);
    assert_eq!(refused.exit, Exit::WrongUse, "{}", refused.stderr);
    assert_eq!(files(&to), before);
}

#[test]
fn a_manifest_vouches_for_the_last_group_of_its_own_backup() {
    let own = server(1, 1, 2);
    let to = own.path().join("backup");
    back_up(&own, &to);
    let before = files(&to.join(JOURNAL));
    let path = to.join("journal/0000000001.seg");
    let mut bytes = fs::read(&path).unwrap();
    let is_group = |at: &usize| bytes[*at..].starts_with(b"BUKTIGRP");
    let last = (0..bytes.len()).rfind(is_group).unwrap();
    bytes[last + 30] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let repaired = back_up(&own, &to);
    assert_eq!(repaired.exit, Exit::Done);
    assert_eq!(files(&to.join(JOURNAL)), before);
    // Whoever trusts that disk has to learn it.
    let says = format!("damaged at journal/0000000001.seg at byte {last}: ");
    assert!(repaired.stdout.contains(&says), "{}", repaired.stdout);
    let again = back_up(&own, &to);
    assert!(!again.stdout.contains("damaged"), "{}", again.stdout);

    fs::write(&path, &bytes).unwrap();
    fs::remove_file(to.join(MANIFEST)).unwrap();
    let refused = back_up(&own, &to);
    assert_eq!(refused.exit, Exit::Failed, "{}", refused.stderr);
    let place = format!("journal/0000000001.seg at byte {last} (record ");
    assert!(refused.stderr.contains(&place), "{}", refused.stderr);
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn what_lies_in_place_of_a_manifest_and_is_no_file_is_not_opened() {
    let own = server(1, 1, 2);
    let to = own.path().join("backup");
    back_up(&own, &to);
    fs::remove_file(to.join(MANIFEST)).unwrap();
    let _listener = UnixListener::bind(to.join(MANIFEST)).unwrap();
    let refused = back_up(&own, &to);
    assert_eq!(refused.exit, Exit::WrongUse, "{}", refused.stderr);
    assert!(refused.stderr.contains("not a file"), "{}", refused.stderr);
    let unread = Manifest::read(&to).err().unwrap();
    assert!(unread.text.contains("(not a file)"), "{}", unread.text);
}
