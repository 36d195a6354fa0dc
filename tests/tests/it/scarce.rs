//! A server that the system lets have few files and sockets open, and strangers who want them all.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use bukti_tests::process::{server_command_with_files_of, server_command_within};
use futures_util::future::join_all;

use crate::field::{Field, VILLAGE, listed, new_evidence, text};
use crate::hostile::Honest;

/// What the system allows, and far fewer than strangers ask for.
const DESCRIPTORS: usize = 256;
const STRANGERS: usize = 400;

/// Devices, edits of each and letters in each edit, which fill several segments of the least size.
const WRITERS: u8 = 3;
const EDITS: usize = 40;
const LETTERS: usize = 30_000;

/// A journal of small segments that is read again all the time.
const CONFIG: &str = "segment_mib = 1\nscrub_interval_s = 1\nscrub_kib_per_s = 16777216\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_take_every_socket_stop_no_segment_no_command_and_no_phone() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml");
    fs::write(&config, CONFIG).unwrap();
    let field = Field::open_within(DESCRIPTORS, &["--config", config.to_str().unwrap()]);
    let server = field.address();
    let mut writers = Vec::new();
    for seed in 1..=WRITERS {
        let mut writer = Honest::enrol(&field, seed).await;
        writer.letters = LETTERS;
        writers.push(writer);
    }
    let phone = field.phone("phone", "officer", VILLAGE);

    let over = Arc::new(AtomicBool::new(false));
    let (strangers, opened) = (OnceLock::new(), AtomicU8::new(0));
    let go_on = |edits: usize| {
        // Once all their sessions are open. They stay so, and every edit is accepted.
        if edits == 0 && opened.fetch_add(1, Ordering::Relaxed) + 1 == WRITERS {
            strangers.get_or_init(|| {
                let over = Arc::clone(&over);
                thread::spawn(move || crowd(server, &over))
            });
        }
        edits < EDITS
    };
    let works = writers.iter_mut().map(|writer| writer.work(server, &go_on));
    for times in join_all(works).await {
        assert_eq!(times.len(), EDITS);
    }
    let segments = fs::read_dir(field.data().join("journal")).unwrap().count();
    assert!(segments >= 3, "{segments} segments");

    // Commands are taken, and say how it stands.
    let status = field.admin(&["status"]).ok().stdout;
    assert!(status.contains("connections at most"), "{status}");
    let status = field.admin(&["status", "--json"]).ok().json();
    assert_eq!(status["healthy"], true, "{status}");
    let most = status["connections"]["max"].as_u64().unwrap() as usize;
    assert!((32..DESCRIPTORS).contains(&most), "{most}");
    field
        .admin(&["revoke", &writers[0].device().to_string()])
        .ok();

    over.store(true, Ordering::Relaxed);
    let opened = strangers.into_inner().unwrap().join().unwrap();
    assert!(opened > STRANGERS);
    // Whoever was not let in meanwhile is, once they are gone.
    let made = new_evidence(&phone, "Jembatan");
    while phone.run(&["sync"]).status != Some(0) {}
    assert!(listed(&phone).iter().any(|row| text(&row["id"]) == made));
    let findings = field.admin(&["findings", "--json"]).ok().json();
    assert_eq!(findings["findings"], serde_json::json!([]), "{findings}");
    field.verify();
}

/// Descriptors with which a command surely reads everything.
const ENOUGH: usize = 64;

#[test]
fn a_command_without_descriptors_accuses_nothing() {
    let mut field = Field::open(&[]);
    let made = new_evidence(&field.phone("phone", "officer", VILLAGE), "Jembatan");
    assert!(!made.is_empty());
    field.stop();
    let before = names_in(&field.data());
    // The program itself is not loaded with less.
    for descriptors in 4..=ENOUGH {
        let verified = server_command_within(descriptors, &field.data(), &["verify", "--json"]);
        // It says that it lacks descriptors, or that all is well.
        let is_sound = verified.status == Some(0);
        assert_eq!(
            is_sound,
            !verified.stdout.is_empty(),
            "{descriptors}: {verified:?}"
        );
        assert!(
            is_sound || verified.status == Some(1),
            "{descriptors}: {verified:?}"
        );
        assert_eq!(
            names_in(&field.data()),
            before,
            "{descriptors}: {verified:?}"
        );
        assert!(is_sound || descriptors < ENOUGH, "{verified:?}");
    }
}

#[test]
fn a_backup_without_descriptors_accuses_no_copy() {
    let mut field = Field::open(&[]);
    field.stop();
    let sound = field.path("sound");
    let args = |to: &Path| ["backup", "--to", to.to_str().unwrap()].map(str::to_owned);
    field
        .admin(&args(&sound).each_ref().map(String::as_str))
        .ok();
    for descriptors in 4..=ENOUGH {
        for to in [&field.path(&format!("new-{descriptors}")), &sound] {
            let args = args(to);
            let args = args.each_ref().map(String::as_str);
            let said = server_command_within(descriptors, &field.data(), &args);
            let is_done = said.status == Some(0);
            assert!(
                is_done || said.status != Some(101),
                "{descriptors}: {said:?}"
            );
            let accuses = ["not as it was written", "damaged", "history"];
            let accuses = accuses.iter().any(|word| said.stderr.contains(word));
            assert!(!accuses, "{descriptors}: {said:?}");
            assert!(is_done || descriptors < ENOUGH, "{said:?}");
        }
    }
}

/// The system ends a process that does not mind.
#[test]
fn a_file_that_may_not_grow_is_told_as_a_write_that_failed() {
    let mut field = Field::open(&[]);
    field.stop();
    let to = field.path("backup");
    let backup = ["backup", "--to", to.to_str().unwrap()];
    let refused = server_command_with_files_of(100, &field.data(), &backup);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("File too large"), "{refused:?}");
    field.admin(&backup).ok();
}

fn names_in(folder: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

/// Opens one socket after the other and holds as many as it may until it is over; gives how many it
/// opened.
fn crowd(server: SocketAddr, over: &AtomicBool) -> usize {
    let mut held = VecDeque::new();
    let mut opened = 0;
    while !over.load(Ordering::Relaxed) || opened <= STRANGERS {
        let Ok(stream) = TcpStream::connect(server) else {
            continue;
        };
        opened += 1;
        held.push_back(stream);
        if held.len() > STRANGERS
            && let Some(mut oldest) = held.pop_front()
        {
            // It is closed by now, or is given up a moment later.
            let patience = oldest.set_read_timeout(Some(Duration::from_millis(20)));
            let _ = patience.and_then(|()| oldest.read(&mut [0]));
        }
    }
    opened
}
