//! Damage is never silent: what was cut, moved, flipped or put aside is named, with its place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bukti_tests::folder::copy_folder;
use bukti_tests::process::{Printed, Server, server_command};
use serde_json::Value;

use crate::field::Field;

/// A stopped server whose journal has several segments.
struct Stopped {
    field: Field,
}

impl Stopped {
    fn with_segments() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let small = folder.path().join("small.toml");
        fs::write(&small, "segment_mib = 1\nreserve_mib = 0\n").unwrap();
        let mut field = Field::empty(&["--config", small.to_str().unwrap()]);
        let regions = folder.path().join("regions.csv");
        fs::write(&regions, many_regions()).unwrap();
        for version in ["one", "two"] {
            let file = regions.to_str().unwrap();
            field
                .admin(&["import", "regions", file, "--version", version])
                .ok();
        }
        field.stop();
        assert!(segment(&field.data(), 3).is_file());
        Self { field }
    }

    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.field.path(name);
        copy_folder(&self.field.data(), &copy);
        copy
    }
}

/// Enough of them to fill a segment; a regency's sheet has at most 64 KiB.
fn many_regions() -> String {
    let mut csv = "code,name\n13,Sumatera Barat\n".to_owned();
    for regency in 1..=25 {
        csv.push_str(&format!("13.{regency:02},Kabupaten {regency}\n"));
        csv.push_str(&format!("13.{regency:02}.01,Kecamatan {regency}\n"));
        for village in 2001..=2480 {
            let name = "Nagari nan panjang namonyo ".repeat(3);
            csv.push_str(&format!("13.{regency:02}.01.{village},{name}{village}\n"));
        }
    }
    csv
}

pub(crate) fn segment(data: &Path, number: u32) -> PathBuf {
    data.join(format!("journal/{number:010}.seg"))
}

fn last_segment(data: &Path) -> u32 {
    let numbers = 1..;
    numbers
        .take_while(|number| segment(data, *number).is_file())
        .last()
        .unwrap()
}

pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Where the last byte stands that is not zero.
fn end_of(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap();
    bytes.iter().rposition(|&byte| byte != 0).unwrap()
}

/// Where the groups of a segment end, by the lengths in their headers. A record may end in zeros, so
/// the last byte that is none does not tell.
fn groups_end(bytes: &[u8]) -> usize {
    const HEADER_BYTES: usize = 120;
    let begins = |at: &usize| bytes[*at..].starts_with(b"BUKTIGRP");
    let mut at = (0..bytes.len()).find(begins).unwrap();
    while begins(&at) {
        let payload = bytes[at + 20..at + 24].try_into().unwrap();
        at += HEADER_BYTES + u32::from_le_bytes(payload) as usize;
    }
    at
}

fn verified(data: &Path) -> (Option<i32>, Value) {
    let printed = server_command(data, &["verify", "--json"]);
    (printed.status, printed.json())
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect()
}

fn journal_of(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(data.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

type Mishap = fn(&Path, &Path);

#[test]
fn segments_that_are_not_in_their_place_are_reported_as_what_they_are() {
    let stopped = Stopped::with_segments();
    let other = Field::empty(&[]);
    let other = other.data();
    let mishaps: [(&str, Mishap, &str, &str, bool); 10] = [
        (
            "the first is missing",
            |data, _| fs::remove_file(segment(data, 1)).unwrap(),
            "missing-segments",
            "0000000002.seg",
            true,
        ),
        (
            "one is missing",
            |data, _| fs::remove_file(segment(data, 2)).unwrap(),
            "missing-segments",
            "0000000003.seg",
            true,
        ),
        (
            "two in a row are missing",
            |data, _| {
                for number in [1, 2] {
                    fs::remove_file(segment(data, number)).unwrap();
                }
            },
            "missing-segments",
            "0000000003.seg",
            true,
        ),
        (
            "the last is missing",
            |data, _| fs::remove_file(segment(data, last_segment(data))).unwrap(),
            "lost",
            "records were lost",
            false,
        ),
        (
            "two are swapped",
            |data, _| {
                let (one, two) = (segment(data, 1), segment(data, 2));
                fs::rename(&one, data.join("journal/between")).unwrap();
                fs::rename(&two, &one).unwrap();
                fs::rename(data.join("journal/between"), &two).unwrap();
            },
            "segment-number",
            "says that it is number 2",
            true,
        ),
        (
            "one is there twice",
            |data, _| {
                let last = last_segment(data);
                fs::copy(segment(data, last), segment(data, last + 1)).unwrap();
            },
            "segment-number",
            "the segment says that it is number",
            false,
        ),
        (
            "one is from another journal",
            |data, other| {
                fs::copy(segment(other, 1), segment(data, 1)).unwrap();
            },
            "other-journal",
            "the segment belongs to journal",
            true,
        ),
        (
            "all are from another journal",
            |data, other| {
                for number in 1..=last_segment(data) {
                    fs::remove_file(segment(data, number)).unwrap();
                }
                fs::copy(segment(other, 1), segment(data, 1)).unwrap();
            },
            "wrong-key",
            "the journal is signed by",
            false,
        ),
        (
            "one has another name",
            |data, _| fs::rename(segment(data, 2), data.join("journal/2.seg")).unwrap(),
            "missing-segments",
            "missing",
            false,
        ),
        (
            "one is cut short",
            |data, _| {
                let file = fs::File::options().write(true).open(segment(data, 2));
                file.unwrap().set_len(500_000).unwrap();
            },
            "segment-length",
            "was made with 1048576 bytes and has 500000",
            true,
        ),
    ];
    for (index, (what, mishap, code, says, is_mended)) in mishaps.into_iter().enumerate() {
        let data = stopped.copy(&format!("copy-{index}"));
        mishap(&data, &other);
        let before = journal_of(&data);

        let refused = Server::try_start(&data, &[]).expect_err(what);
        assert!(refused.contains(says), "{what}: {refused}");
        let refused = server_command(&data, &["serve", "--listen", "127.0.0.1:0"]);
        assert_eq!(refused.status, Some(1), "{what}: {refused:?}");
        for _ in 0..2 {
            let (status, report) = verified(&data);
            assert_eq!(status, Some(1), "{what}: {report}");
            assert!(codes(&report).contains(&code), "{what}: {report}");
            assert!(report.to_string().contains(says), "{what}: {report}");
        }
        assert_eq!(journal_of(&data), before, "{what}: nothing was changed");
        assert!(data.join("store").is_dir());
        let mut names = fs::read_dir(&data)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        assert!(names.all(|name| !name.to_string_lossy().contains("damaged-")));

        let copy = stopped.field.data();
        let repair = ["repair", "--json", "--from", copy.to_str().unwrap()];
        let repaired = server_command(&data, &repair);
        let told = (repaired.status == Some(0)).then(|| repaired.json());
        let told = told.as_ref().and_then(|told| told["repaired"].as_array());
        let told = told.map_or(&[][..], |told| told);
        assert_eq!(!told.is_empty(), is_mended, "{what}: {repaired:?}");
        for one in told {
            let (place, kept) = (
                one["place"].as_str().unwrap(),
                one["kept"].as_str().unwrap(),
            );
            let (segment, _) = place.split_once(" at byte ").unwrap();
            // Whose the journal is was read from its first segment, and told of the others.
            let is_told_of_others = code == "other-journal";
            assert!(
                is_told_of_others || kept.starts_with(&format!("{segment}.damaged-")),
                "{what}: {one}"
            );
        }
        if is_mended {
            let (_, report) = verified(&data);
            let codes = codes(&report);
            assert!(!codes.is_empty(), "{what}: {report}");
            assert!(
                codes.iter().all(|code| *code == "repaired"),
                "{what}: {report}"
            );
            Server::start(&data, &[]).kill();
        }
    }
}

/// Whatever becomes of the rest.
#[test]
fn what_a_repair_replaced_is_a_finding_once_the_folder_opens_again() {
    let stopped = Stopped::with_segments();
    let (data, backup) = (stopped.copy("damaged"), stopped.copy("backup"));
    for number in [1, 2] {
        flip(&segment(&data, number), 5_000);
    }
    let damaged = fs::read(segment(&data, 1)).unwrap();
    fs::remove_file(segment(&backup, 2)).unwrap();
    let (_, report) = verified(&data);
    let advice = "put the bytes back with bukti-server repair --from BACKUP";
    assert!(report["notes"].to_string().contains(advice), "{report}");

    let repair = |backup: &Path| {
        let repair = ["repair", "--json", "--from", backup.to_str().unwrap()];
        server_command(&data, &repair)
    };
    let partly = repair(&backup);
    assert_eq!(partly.status, Some(1), "{partly:?}");
    let partly = partly.json();
    let kept = partly["repaired"][0]["kept"].as_str().unwrap().to_owned();
    assert!(kept.starts_with("0000000001.seg.damaged-"), "{partly}");
    assert!(fs::read(data.join(&kept)).unwrap() == damaged, "{kept}");
    let place = partly["findings"][0]["place"].as_str().unwrap();
    assert!(place.starts_with("0000000002.seg at byte "), "{partly}");

    let other = Field::empty(&[]);
    let foreign = repair(&other.data());
    assert_eq!(foreign.status, Some(2), "{foreign:?}");
    let says = "expected a backup of this server";
    assert!(foreign.stderr.contains(says), "{foreign:?}");

    // Somebody who then has the other by other means.
    flip(&segment(&data, 2), 5_000);
    for _ in 0..2 {
        let (exit, report) = verified(&data);
        assert_eq!(exit, Some(1), "{report}");
        assert_eq!(codes(&report), ["repaired"], "{report}");
        assert_eq!(report["findings"][0]["place"], kept.as_str());
        Server::start(&data, &[]).kill();
    }

    // One that is gone has nothing to keep, and is told all the same; so is the same again.
    let mut told = 1;
    for _ in 0..2 {
        fs::remove_file(segment(&data, 1)).unwrap();
        let repaired = repair(&stopped.field.data()).ok().json();
        let kept = repaired["repaired"][0]["kept"].as_str().unwrap();
        assert_eq!(fs::read(data.join(kept)).unwrap(), [0; 0]);
        fs::remove_file(data.join(kept)).unwrap();
        told += 1;
        let (_, report) = verified(&data);
        assert_eq!(codes(&report), vec!["repaired"; told], "{report}");
    }
}

#[test]
fn an_unfinished_write_is_kept_and_told_and_alarms_nobody() {
    let mut field = Field::empty(&[]);
    let sound = field.position();
    field.kill();
    let data = field.data();
    let path = segment(&data, 1);
    let mut bytes = fs::read(&path).unwrap();
    let end = groups_end(&bytes);
    // The beginning of a group whose other sectors never reached the disk.
    bytes[end..end + 8].copy_from_slice(b"BUKTIGRP");
    fs::write(&path, bytes).unwrap();

    field.serve(&[]);
    let status = field.admin(&["status", "--json"]).ok().json();
    assert_eq!(status["position"], sound + 1, "the finding is a record");
    let kept = status["kept_aside"].as_array().unwrap();
    let file = kept[0].as_str().unwrap();
    assert!(file.starts_with("journal/torn-"), "{status}");
    assert!(data.join(file).is_file());
    for _ in 0..2 {
        let found = field.admin(&["findings", "--json"]).ok().json();
        let found = found["findings"].as_array().unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (&found[0]["code"], &found[0]["place"]),
            (&"torn".into(), &file.into())
        );
        let at = format!("0000000001.seg at byte {end}");
        assert!(found[0]["sentence"].to_string().contains(&at), "{found:?}");
        // Nor is it recorded again at the next start.
        field.kill();
        field.serve(&[]);
    }
    field.verify();
    let told = field.admin(&["findings"]).ok();
    assert!(told.stdout.contains("torn"), "{told:?}");
}

#[test]
fn a_damaged_last_group_is_reported_until_somebody_acknowledges_it() {
    let mut field = Field::empty(&[]);
    field.invite("officer", "13.07.05.2001", "Sari");
    field.stop();
    let data = field.data();
    let last = end_of(&segment(&data, 1));
    flip(&segment(&data, 1), last - 20);
    // Without the store, nobody else knows that the group was whole.
    fs::remove_dir_all(data.join("store")).unwrap();

    for _ in 0..2 {
        let (status, report) = verified(&data);
        assert_eq!(
            (status, codes(&report)),
            (Some(1), vec!["damaged-end"]),
            "{report}"
        );
        assert!(report.to_string().contains("journal/damaged-"), "{report}");
    }
    field.serve(&[]);
    let (status, report) = verified(&data);
    assert_eq!(
        (status, codes(&report)),
        (Some(1), vec!["damaged-end"]),
        "{report}"
    );

    let found = field.admin(&["findings", "--json"]).ok().json();
    let number = found["findings"][0]["position"].to_string();
    let said = |arguments: &[&str]| field.admin(arguments);
    let unknown = said(&["findings", "--acknowledge", "1", "--note", "?"]);
    assert_eq!(unknown.status, Some(2), "{unknown:?}");
    let note = "The invitation is made again.";
    said(&["findings", "--acknowledge", &number, "--note", note]).ok();
    let twice = said(&["findings", "--acknowledge", &number, "--note", note]);
    assert_eq!(twice.status, Some(2), "{twice:?}");
    field.verify();
    let found = field.admin(&["findings", "--json"]).ok().json();
    assert_eq!(found["findings"][0]["acknowledged"]["note"], note);
    let told: Printed = field.admin(&["status"]).ok();
    assert!(
        told.stdout.contains("kept aside  journal/damaged-"),
        "{told:?}"
    );
}

#[test]
fn a_lost_end_is_told_with_what_is_kept_of_it_and_with_what_going_on_gives_up() {
    let mut field = Field::empty(&[]);
    field.invite("officer", "13.07.05.2001", "Sari");
    let end = field.position();
    field.stop();
    let data = field.data();
    let last = end_of(&segment(&data, 1));
    flip(&segment(&data, 1), last - 20);
    for command in [&["status"][..], &["verify"], &["rebuild"]] {
        let told = server_command(&data, command);
        assert_eq!(told.status, Some(1), "{told:?}");
        let text = told.stdout + &told.stderr;
        for says in [
            "records were lost",
            "kept in journal/damaged-",
            "restore the newest backup",
            "rebuild --accept-loss",
        ] {
            assert!(text.contains(says), "{says}: {text}");
        }
    }
    let refused = Server::try_start(&data, &[]).unwrap_err();
    assert!(refused.contains("kept in journal/damaged-"), "{refused}");
    let rebuilt = server_command(&data, &["rebuild", "--accept-loss"])
        .ok()
        .stdout;
    assert!(
        rebuilt.contains(&format!("given up: record {end};")),
        "{rebuilt}"
    );
    let again = server_command(&data, &["rebuild", "--json"]).ok().json();
    assert_eq!(again["given_up"], Value::Null);
}

#[test]
fn a_store_that_was_made_again_is_reported_until_somebody_acknowledges_it() {
    let mut field = Field::empty(&[]);
    field.stop();
    let data = field.data();
    fs::write(data.join("store/damaged.txt"), "a page is gone").unwrap();
    let (status, report) = verified(&data);
    assert_eq!(
        (status, codes(&report)),
        (Some(1), vec!["store-damaged"]),
        "{report}"
    );
    assert!(report.to_string().contains("store.damaged-"), "{report}");
    let found = server_command(&data, &["findings", "--json"]).ok().json();
    let number = found["findings"][0]["position"].to_string();
    let note = [
        "findings",
        "--acknowledge",
        &number,
        "--note",
        "Disk replaced.",
    ];
    server_command(&data, &note).ok();
    field.verify();
}

#[test]
fn a_backup_is_private_and_its_manifest_is_whole_or_refused() {
    let field = Field::empty(&[]);
    let backup = field.path("backup");
    let to = backup.to_str().unwrap();
    field.admin(&["backup", "--to", to]).ok();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let manifest = backup.join("backup.json");
    assert_eq!(
        (mode(backup.clone()), mode(manifest.clone())),
        (0o700, 0o600)
    );
    assert!(!backup.join("backup.json.new").exists());
    // What an interrupted backup leaves is no obstacle: newer segments than the manifest says.
    let older = fs::read(&manifest).unwrap();
    field.invite("officer", "13.07.05.2001", "Sari");
    field.admin(&["backup", "--to", to]).ok();
    fs::write(&manifest, &older).unwrap();
    fs::write(backup.join("backup.json.new"), "{").unwrap();
    let restored = field.path("restored");
    let key = field.data().join("server.key");
    let restore = ["restore", "--from", to, "--key", key.to_str().unwrap()];
    server_command(&restored, &restore).ok();
    let status = server_command(&restored, &["status", "--json"]).ok().json();
    // A restore is a record, too.
    assert_eq!(status["position"], field.position() + 1);
    field.admin(&["backup", "--to", to]).ok();

    // A manifest that is not what a backup wrote is no witness.
    flip(&manifest, older.len() / 2);
    let refused = server_command(&field.path("refused"), &restore);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("backup.json is damaged"),
        "{refused:?}"
    );

    // And a journal with a tear before what the manifest says is not what was backed up.
    field.admin(&["backup", "--to", to]).ok();
    let segment = segment(&backup, 1);
    flip(&segment, end_of(&segment) - 20);
    let refused = server_command(&field.path("refused"), &restore);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("nothing was restored"),
        "{refused:?}"
    );
}

#[test]
fn the_scrub_of_a_serving_server_finds_a_flipped_byte_and_names_its_place() {
    let mut stopped = Stopped::with_segments();
    let config = stopped.field.path("scrub.toml");
    let quick = "scrub_kib_per_s = 65536\nscrub_interval_s = 1\nmetrics_listen = '127.0.0.1:0'\n";
    fs::write(&config, quick).unwrap();
    stopped.field.serve(&["--config", config.to_str().unwrap()]);
    let field = &stopped.field;
    let status = || field.admin(&["status", "--json"]).ok().json();
    let sound = eventually(status, |status| {
        status["scrub"]["passes"].as_u64() > Some(0)
    });
    assert_eq!(
        (&sound["degraded"], &sound["findings"]),
        (&false.into(), &Value::Array(vec![]))
    );
    assert_eq!(sound["scrub"]["position"], sound["position"]);

    let damaged = segment(&field.data(), 2);
    flip(&damaged, 5_000);
    let told = eventually(status, |status| status["degraded"] == true);
    assert!(told["healthy"] == true, "it accepts all the same: {told}");
    let findings = || field.admin(&["findings", "--json"]).ok().json();
    let found = eventually(findings, |found| found["findings"][0].is_object());
    let (code, place) = (
        &found["findings"][0]["code"],
        &found["findings"][0]["place"],
    );
    assert_eq!(code, "damage");
    assert!(
        place.as_str().unwrap().contains("0000000002.seg at byte"),
        "{found}"
    );
    let (exit, report) = verified(&field.data());
    assert_eq!(exit, Some(1), "{report}");
    assert!(
        field
            .admin(&["status"])
            .ok()
            .stdout
            .contains("the journal is damaged")
    );
    field.invite("officer", "all", "Sari");

    // Once the bytes are as they were, the next pass says so; the finding stays, and once only.
    flip(&damaged, 5_000);
    eventually(status, |status| status["degraded"] == false);
    assert_eq!(findings()["findings"].as_array().unwrap().len(), 1);
}

#[test]
fn status_of_a_serving_server_shows_what_it_can_and_names_damage_as_verify_does() {
    let field = Field::open(&[]);
    // The framework's statement is the first that is read and stands early.
    let bytes = fs::read(segment(&field.data(), 1)).unwrap();
    let named = |at: &usize| bytes[*at..].starts_with(b"desa-antikorupsi");
    let at = (0..bytes.len()).find(named).unwrap();
    flip(&segment(&field.data(), 1), at);

    let (exit, report) = verified(&field.data());
    let place = report["findings"][0]["place"].as_str().unwrap();
    assert_eq!(exit, Some(1), "{report}");
    let told = field.admin(&["status"]);
    assert_eq!(told.status, Some(1), "{told:?}");
    for line in [
        "frameworks  cannot be read",
        "devices     0",
        "findings    none",
    ] {
        assert!(told.stdout.contains(line), "{told:?}");
    }
    assert!(
        told.stdout.contains(&format!("damaged     {place}: ")),
        "{told:?}"
    );
    let told = field.admin(&["status", "--json"]);
    assert_eq!(told.status, Some(1), "{told:?}");
    let told = told.json();
    assert_eq!(told["damaged"][0], report["findings"][0]);
    assert_eq!(
        (&told["frameworks"], &told["degraded"]),
        (&Value::Null, &true.into())
    );
}

/// Acknowledges everything that waits, and answers how much that was.
pub(crate) fn acknowledge_all(field: &Field) -> usize {
    let found = field.admin(&["findings", "--json"]).ok().json();
    let found = found["findings"].as_array().unwrap();
    let waiting = found.iter().filter(|found| found["acknowledged"].is_null());
    let waiting = waiting.map(|found| found["position"].to_string());
    waiting
        .map(|number| {
            let note = ["findings", "--acknowledge", &number, "--note", "Seen."];
            field.admin(&note).ok();
        })
        .count()
}

/// Each start here is on a port of its own, so that the address is written anew each time.
#[test]
fn each_altered_small_file_is_told_once_until_it_is_acknowledged_and_so_is_the_same_again() {
    let mut field = Field::open(&[]);
    let foreign = "https://elsewhere.example\n";
    for name in [
        "sums",
        "administrator.invitation",
        "public-url",
        "public-url",
    ] {
        field.stop();
        let path = field.data().join(name);
        match name {
            "public-url" => fs::write(&path, foreign).unwrap(),
            _ => flip(&path, 9),
        }
        for _ in 0..2 {
            let (exit, report) = verified(&field.data());
            assert_eq!(
                (exit, codes(&report)),
                (Some(1), vec!["small-file"]),
                "{report}"
            );
            assert!(
                report.to_string().contains(&format!("{name}.altered-")),
                "{report}"
            );
            field.serve(&[]);
            field.stop();
        }
        assert_eq!(acknowledge_all(&field), 1, "{name}");
        field.serve(&[]);
        assert_eq!(acknowledge_all(&field), 0, "{name}");
        field.verify();
    }
    let status = field.admin(&["status", "--json"]).ok().json();
    assert_eq!(
        status["kept_aside"].as_array().unwrap().len(),
        4,
        "{status}"
    );
}

/// Links would lead wherever the file says.
#[test]
fn an_altered_address_is_not_used_and_stays_told_though_the_next_start_writes_it_again() {
    let mut field = Field::open(&[]);
    let altered = field.data().join("public-url");
    let invite = [
        "invite", "--role", "officer", "--region", "all", "--name", "Sari",
    ];
    for (times, at) in [(1, 9), (2, 10)] {
        field.stop();
        flip(&altered, at);
        let refused = field.admin(&invite);
        assert_eq!(
            (refused.status, refused.stdout.as_str()),
            (Some(1), ""),
            "{refused:?}"
        );
        assert!(
            refused.stderr.contains("is not as the server wrote it"),
            "{refused:?}"
        );
        let status = field.admin(&["status"]).ok().stdout;
        assert!(
            status.contains("links to    nowhere (the file public-url was altered"),
            "{status}"
        );
        let status = field.admin(&["status", "--json"]).ok().json();
        let said = (&status["url"], &status["url_known_by"]);
        assert_eq!(said, (&Value::Null, &"altered".into()));
        let (_, report) = verified(&field.data());
        let named = |code: &&str| **code == *"small-file";
        assert_eq!(
            codes(&report).iter().filter(|code| named(code)).count(),
            times
        );
        field.serve(&[]);
        field.admin(&invite).ok();
        let found = field.admin(&["findings", "--json"]).ok().json();
        assert_eq!(found["findings"].as_array().unwrap().len(), times);
        assert_eq!(found["findings"][times - 1]["code"], "small-file");
    }
}

#[test]
fn findings_that_can_be_read_are_listed_though_the_journal_is_damaged_at_another() {
    let mut field = Field::open(&[]);
    for at in [9, 10] {
        field.stop();
        flip(&field.data().join("public-url"), at);
        field.serve(&[]);
    }
    let journal = segment(&field.data(), 1);
    let bytes = fs::read(&journal).unwrap();
    let first = |at: &usize| bytes[*at..].starts_with(b"The file public-url");
    flip(&journal, (0..bytes.len()).find(first).unwrap());

    let told = field.admin(&["findings", "--json"]);
    assert_eq!(told.status, Some(1), "{told:?}");
    let (told, (_, report)) = (told.json(), verified(&field.data()));
    let listed = told["findings"].as_array().unwrap();
    assert_eq!(listed.len(), 1, "{told}");
    assert_eq!(listed[0]["code"], "small-file");
    assert_eq!(told["damaged"][0], report["findings"][0]);
    let place = report["findings"][0]["place"].as_str().unwrap();
    for command in ["findings", "status"] {
        let told = field.admin(&[command]);
        assert_eq!(told.status, Some(1), "{told:?}");
        assert!(told.stdout.contains("The file public-url"), "{told:?}");
        assert!(told.stdout.contains(place), "{told:?}");
    }
}

/// Asks until the answer is as wanted. Each question is a process of its own, which takes its time.
pub(crate) fn eventually(ask: impl Fn() -> Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let answer = ask();
        if wanted(&answer) {
            return answer;
        }
        assert!(begun.elapsed().as_secs() < 60, "{answer}");
    }
}
