//! Backups onto earlier ones, and restores that were interrupted: what is there may be the only copy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bukti_tests::folder::copy_folder;
use bukti_tests::process::{Phone, Printed, Server, server_command};
use serde_json::Value;

use crate::damage::{flip, segment};
use crate::field::{Field, VILLAGE};

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Every file of a folder with its bytes.
fn files(folder: &Path) -> Files {
    let mut all = Files::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => drop(all.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    all
}

const NOTHING: [&Path; 0] = [];

/// The files that are not as they were.
fn changed<'f>(before: &'f Files, after: &'f Files) -> Vec<&'f Path> {
    let names = before.keys().chain(after.keys());
    let changed: BTreeSet<_> = names
        .filter(|name| before.get(*name) != after.get(*name))
        .collect();
    changed.into_iter().map(PathBuf::as_path).collect()
}

/// A backup that has to be refused, with its words, and to leave every byte in place.
fn is_refused(field: &Field, backup: &Path, status: i32, words: &[&str]) {
    // Nor is an unfinished file taken away.
    fs::write(backup.join("journal/0000000009.seg.new"), "half").unwrap();
    let before = files(backup);
    fs::set_permissions(backup, fs::Permissions::from_mode(0o755)).unwrap();
    let refused = field.admin(&["backup", "--to", backup.to_str().unwrap()]);
    assert_eq!(changed(&before, &files(backup)), NOTHING, "{refused:?}");
    let mode = fs::metadata(backup).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755, "{refused:?}");
    fs::set_permissions(backup, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(refused.status, Some(status), "{refused:?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    for words in words
        .iter()
        .chain(&["nothing was changed", "another folder"])
    {
        assert!(refused.stderr.contains(words), "{words}: {refused:?}");
    }
    fs::remove_file(backup.join("journal/0000000009.seg.new")).unwrap();
}

fn back_up(field: &Field, to: &Path) -> Value {
    let made = field.admin(&["backup", "--to", to.to_str().unwrap(), "--json"]);
    made.ok().json()
}

fn restore(data: &Path, backup: &Path, key: &Path) -> Printed {
    let (from, key) = (backup.to_str().unwrap(), key.to_str().unwrap());
    server_command(data, &["restore", "--from", from, "--key", key])
}

fn invite(field: &Field, names: &[&str]) {
    for name in names {
        field.invite("officer", VILLAGE, name);
    }
}

#[test]
fn a_backup_of_another_server_is_left_as_it_is() {
    let (one, other) = (Field::empty(&[]), Field::empty(&[]));
    invite(&one, &["Sari", "Budi"]);
    let backup = one.path("backup");
    back_up(&one, &backup);
    let manifest = fs::read(backup.join("backup.json")).unwrap();
    let words = ["holds a backup of journal", "this server's journal is"];
    is_refused(&other, &backup, 2, &words);
    is_refused(&other, &backup, 2, &["(backup.json)"]);
    // A backup that was interrupted has no manifest, and one that was altered is no witness.
    flip(&backup.join("backup.json"), manifest.len() / 2);
    is_refused(&other, &backup, 2, &["(journal/0000000001.seg)"]);
    fs::remove_file(backup.join("backup.json")).unwrap();
    is_refused(&other, &backup, 2, &words);
    // The manifest alone says whose it is, too.
    fs::write(backup.join("backup.json"), &manifest).unwrap();
    fs::remove_file(segment(&backup, 1)).unwrap();
    is_refused(&other, &backup, 2, &words);
    assert_eq!(back_up(&one, &backup)["written"], 1);
    let strange = other.path("strange");
    fs::create_dir(&strange).unwrap();
    fs::write(strange.join("backup.json"), "{}").unwrap();
    let refused = other.admin(&["backup", "--to", strange.to_str().unwrap()]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("backup.json is not what a backup wrote")
    );
    assert_eq!(files(&strange).len(), 1);
}

#[test]
fn a_server_founded_anew_with_its_old_key_does_not_write_over_its_old_history() {
    let mut field = Field::empty(&[]);
    invite(&field, &["Sari", "Budi"]);
    let backup = field.path("backup");
    back_up(&field, &backup);
    let key = field.path("kept.key");
    fs::copy(field.data().join("server.key"), &key).unwrap();
    field.stop();
    fs::remove_dir_all(field.data()).unwrap();
    field.serve(&["--key", key.to_str().unwrap()]);
    is_refused(&field, &backup, 2, &["holds a backup of journal"]);
    let restored = field.path("restored");
    restore(&restored, &backup, &key).ok();
}

#[test]
fn a_server_that_was_put_back_does_not_write_over_what_it_lost() {
    let mut field = Field::empty(&[]);
    invite(&field, &["Sari"]);
    let earlier = field.path("earlier");
    field.stop();
    copy_folder(&field.data(), &earlier);
    field.serve(&[]);
    invite(&field, &["Budi", "Wati", "Eko"]);
    let backup = field.path("backup");
    let position = back_up(&field, &backup)["position"].to_string();
    let manifest = backup.join("backup.json");
    let made = fs::read(&manifest).unwrap();
    let key = field.data().join("server.key");

    field.stop();
    copy_folder(&earlier, &field.data());
    field.serve(&[]);
    let here = field.position();
    let ends = format!("ends with record {here}");
    let later = [
        &*ends,
        &format!("holds records up to {position} ("),
        "put back",
    ];
    is_refused(&field, &backup, 1, &later);
    is_refused(&field, &backup, 1, &["(backup.json)"]);
    fs::remove_file(&manifest).unwrap();
    is_refused(&field, &backup, 1, &later);
    is_refused(&field, &backup, 1, &["(journal/0000000001.seg at byte "]);

    // And once it went on, as far as the backup and farther.
    for _ in 0..2 {
        invite(&field, &["Nina", "Rudi"]);
        let other = format!(
            "holds other records than this server's journal, from record {}",
            here + 1
        );
        is_refused(&field, &backup, 1, &[&other, "0000000001.seg at byte "]);
    }
    fs::write(&manifest, made).unwrap();
    is_refused(
        &field,
        &backup,
        1,
        &["holds other records", "(backup.json)"],
    );
    let restored = field.path("restored");
    restore(&restored, &backup, &key).ok();
    let status = server_command(&restored, &["status", "--json"]).ok().json();
    assert_eq!(
        status["position"].to_string(),
        (position.parse::<u64>().unwrap() + 1).to_string()
    );
    back_up(&field, &field.path("another"));
}

#[test]
fn a_backup_of_several_segments_is_left_as_it_is_and_can_still_be_restored() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small.toml");
    fs::write(&small, "segment_mib = 1\nreserve_mib = 0\n").unwrap();
    let with = ["--config", small.to_str().unwrap()];
    let mut field = Field::empty(&with);
    let earlier = field.path("earlier");
    let regions = folder.path().join("regions.csv");
    let mut csv = "code,name\n13,Sumatera Barat\n".to_owned();
    for regency in 1..=25 {
        csv.push_str(&format!(
            "13.{regency:02},Kabupaten {regency}\n13.{regency:02}.01,K\n"
        ));
        for village in 2001..=2480 {
            let name = "Nagari nan panjang namonyo ".repeat(3);
            csv.push_str(&format!("13.{regency:02}.01.{village},{name}{village}\n"));
        }
    }
    fs::write(&regions, csv).unwrap();
    let import = |field: &Field, version: &str| {
        let file = regions.to_str().unwrap();
        let line = ["import", "regions", file, "--version", version];
        field.admin(&line).ok();
    };
    import(&field, "one");
    field.stop();
    copy_folder(&field.data(), &earlier);
    field.serve(&with);
    import(&field, "two");
    let backup = field.path("backup");
    let position = back_up(&field, &backup)["position"].as_u64().unwrap();
    assert!(segment(&backup, 3).is_file());

    field.stop();
    copy_folder(&earlier, &field.data());
    field.serve(&with);
    for manifest in [true, false] {
        if !manifest {
            fs::remove_file(backup.join("backup.json")).unwrap();
        }
        is_refused(
            &field,
            &backup,
            1,
            &[&format!("records up to {position} (")],
        );
    }
    import(&field, "other");
    is_refused(
        &field,
        &backup,
        1,
        &["holds other records than this server's"],
    );

    // Without its manifest nothing can be restored from it; it was interrupted, and its own server
    // could have gone on with it. The journal is whole.
    let key = field.data().join("server.key");
    let whole = field.path("whole");
    fs::create_dir(&whole).unwrap();
    copy_folder(&backup.join("journal"), &whole.join("journal"));
    fs::set_permissions(&whole, fs::metadata(&backup).unwrap().permissions()).unwrap();
    fs::copy(key, whole.join("server.key")).unwrap();
    server_command(&whole, &["verify"]).ok();
    let status = server_command(&whole, &["status", "--json"]).ok().json();
    assert_eq!(status["position"], position);
}

#[test]
fn a_damaged_backup_is_repaired_if_it_is_known_to_be_this_servers_and_left_otherwise() {
    let field = Field::empty(&[]);
    invite(&field, &["Sari", "Budi"]);
    let backup = field.path("backup");
    back_up(&field, &backup);
    let sound = files(&backup.join("journal"));
    let path = segment(&backup, 1);
    let bytes = fs::read(&path).unwrap();
    let groups: Vec<usize> = (0..bytes.len())
        .filter(|&at| bytes[at..].starts_with(b"BUKTIGRP"))
        .collect();
    let last = *groups.last().unwrap();
    // The segment's header, a record, the header of the last group, and a byte behind the groups.
    for at in [20, groups[1] + 200, last + 30, bytes.len() - 1] {
        flip(&path, at);
        let done = back_up(&field, &backup);
        assert_eq!(done["written"], 1, "{at}");
        let place = done["repaired"][0]["place"].as_str().unwrap();
        assert!(place.starts_with("journal/0000000001.seg at byte "), "{at}");
        let now = files(&backup.join("journal"));
        assert_eq!(changed(&sound, &now), NOTHING, "{at}");
    }
    // Without the manifest a later group vouches for what is before it, and nothing for the last.
    fs::remove_file(backup.join("backup.json")).unwrap();
    flip(&path, groups[1] + 200);
    assert_eq!(back_up(&field, &backup)["written"], 1);
    fs::remove_file(backup.join("backup.json")).unwrap();
    flip(&path, last + 30);
    let place = format!("journal/0000000001.seg at byte {last} (record ");
    is_refused(&field, &backup, 1, &["is damaged", &place]);
    flip(&path, last + 30);
    fs::write(backup.join("journal/letter.txt"), "mine").unwrap();
    let before = files(&backup);
    let refused = field.admin(&["backup", "--to", backup.to_str().unwrap()]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("journal/letter.txt"), "{refused:?}");
    assert_eq!(changed(&before, &files(&backup)), NOTHING);
}

/// The folder as a restore leaves it that was killed before its last rename, or earlier.
fn interrupt(data: &Path, is_early: bool) {
    let half = data.join("restoring");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("unfinished-restore"), "").unwrap();
    fs::rename(data.join("journal"), half.join("journal")).unwrap();
    if is_early {
        fs::rename(data.join("store"), half.join("store")).unwrap();
        fs::rename(data.join("server.key"), half.join("server.key")).unwrap();
    }
}

#[test]
fn a_restore_that_was_interrupted_lets_nobody_in_until_it_was_done_again() {
    let mut field = Field::open(&[]);
    let link = field.invite("officer", VILLAGE, "Sari");
    let backup = field.path("backup");
    back_up(&field, &backup);
    Phone::new(&field.path("first")).run(&["enrol", &link]).ok();
    let key = field.path("kept.key");
    fs::copy(field.data().join("server.key"), &key).unwrap();
    field.stop();
    for is_early in [true, false] {
        fs::remove_dir_all(field.data()).unwrap();
        restore(&field.data(), &backup, &key).ok();
        interrupt(&field.data(), is_early);

        let before = files(&field.data());
        let says = "was interrupted: run bukti-server restore again";
        for with in [&["--key", key.to_str().unwrap()][..], &[]] {
            let refused = Server::try_start(&field.data(), with).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
        let to = field.path("another");
        for line in [
            &["status"][..],
            &["verify"],
            &["devices"],
            &["rebuild", "--accept-loss"],
            &[
                "invite", "--role", "officer", "--region", "all", "--name", "x",
            ],
            &["backup", "--to", to.to_str().unwrap()],
        ] {
            let refused = field.admin(line);
            assert_eq!(refused.status, Some(1), "{refused:?}");
            assert!(refused.stderr.contains(says), "{refused:?}");
        }
        assert_eq!(changed(&before, &files(&field.data())), NOTHING);
        restore(&field.data(), &backup, &key).ok();
        assert!(!field.data().join("restoring").exists());
        field.verify();
    }
    field.serve(&[]);
    let port = field.address().port().to_string();
    let (host, rest) = link.split_once("/enrol").unwrap();
    let (host, _) = host.rsplit_once(':').unwrap();
    let second = Phone::new(&field.path("second"));
    let refused = second.run(&["enrol", &format!("{host}:{port}/enrol{rest}")]);
    assert_ne!(refused.status, Some(0), "{refused:?}");
    assert!(refused.stderr.contains("may have been used"), "{refused:?}");
    field.verify();
}
