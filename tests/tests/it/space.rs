//! A server whose disk falls below its reserve while it serves, and is given space again.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bukti_tests::http::get;
use bukti_tests::process::{Server, server_command};

use crate::field::{Field, VILLAGE, listed, new_evidence, text};

const MIB: u64 = 1024 * 1024;

/// Held by the one test that reckons with the space of the file system of memory.
static ALONE: Mutex<()> = Mutex::new(());

/// A folder on a file system of memory, which no other test here fills or empties while the guard is
/// held. What other processes take or give back meanwhile is to stay below [`MARGIN_MIB`].
fn own_disk() -> (MutexGuard<'static, ()>, tempfile::TempDir) {
    // A test that failed has given its space back.
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let free_mib = free_mib(folder.path());
    assert!(
        free_mib >= OWN_DISK_MIB,
        "this test needs {OWN_DISK_MIB} MiB free in /dev/shm, and {free_mib} are"
    );
    (alone, folder)
}

/// What the tests here fill together with what they leave free.
const OWN_DISK_MIB: u64 = 256;

/// Free space on either side of what a test makes of it.
const MARGIN_MIB: u64 = 32;

fn free_mib(path: &Path) -> u64 {
    let disk = rustix::fs::statvfs(path).unwrap();
    disk.f_bavail * disk.f_frsize / MIB
}

#[test]
fn a_command_on_a_stopped_server_keeps_the_reserve_of_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml");
    // More than any disk has.
    fs::write(&config, "reserve_mib = 1048576\n").unwrap();
    let config = config.to_str().unwrap();
    let mut field = Field::empty(&[]);
    field.stop();
    let invite = "invite --role officer --region 13.07 --name Sari";
    let invite: Vec<&str> = invite.split(' ').collect();
    let refused = field.admin(&[&invite[..], &["--config", config]].concat());
    assert_eq!(refused.status, Some(1), "{refused:?}");
    field.admin(&invite).ok();
    let status = field.admin(&["status", "--json", "--config", config]);
    assert_eq!(status.ok().json()["full"], true);
    let wrong = field.admin(&["status", "--config", "/nowhere/server.toml"]);
    assert_eq!(wrong.status, Some(2), "{wrong:?}");
}

fn full(field: &Field) -> bool {
    let status = field.admin(&["status", "--json"]).ok().json();
    status["full"].as_bool().unwrap()
}

#[test]
fn below_the_reserve_reads_are_served_writes_are_put_off_and_both_go_on_with_space() {
    let (_alone, disk) = own_disk();
    let config = disk.path().join("server.toml");
    // What the server takes for itself is little, and is in the second margin.
    let room = 2 * MARGIN_MIB;
    let reserve = free_mib(disk.path()).saturating_sub(room);
    let settings = format!("reserve_mib = {reserve}\nsegment_mib = 1\n");
    fs::write(&config, settings).unwrap();
    let field = Field::open_in(disk, &["--config", config.to_str().unwrap()]);
    let sari = field.phone("sari", "officer", VILLAGE);
    let budi = field.phone("budi", "officer", VILLAGE);
    new_evidence(&sari, "Perdes");
    sari.run(&["sync"]).ok();
    assert!(!full(&field));
    let ready = (200, "ready\n".to_owned());
    assert_eq!(get(field.address(), "/health/ready"), ready);

    let filler = field.path("filler");
    fs::write(&filler, vec![1; ((room + MARGIN_MIB) * MIB) as usize]).unwrap();
    let before = field.position();
    let own = new_evidence(&budi, "Papan");
    // It says so at once, and does not wait for space until its time is over.
    let asked = std::time::Instant::now();
    let put_off = budi.run(&["sync", "--timeout", "250"]);
    assert!(asked.elapsed().as_secs() < 200, "{put_off:?}");
    assert_eq!(put_off.status, Some(3), "{put_off:?}");
    let says = "disk is full, and it takes nothing for now; everything entered is kept here";
    assert!(put_off.stderr.contains(says), "{put_off:?}");
    // What was there for it came all the same, and its own is kept and not called received.
    let shown = listed(&budi);
    assert_eq!(shown.len(), 2);
    let kept = shown.iter().find(|row| text(&row["id"]) == own).unwrap();
    assert_ne!(kept["delivery"]["state"], "received");
    assert_eq!(field.position(), before);
    let refused = field.admin(&[
        "invite", "--role", "officer", "--region", VILLAGE, "--name", "Wati",
    ]);
    assert_eq!(refused.status, Some(1), "{refused:?}");

    assert!(full(&field));
    let told = field.admin(&["status"]).ok().stdout;
    assert!(told.contains("full"), "{told}");
    let (status, ready) = get(field.address(), "/health/ready");
    assert!(
        status == 200 && ready.contains("below its reserve"),
        "{status} {ready}"
    );

    fs::remove_file(&filler).unwrap();
    assert!(!full(&field));
    budi.run(&["sync"]).ok();
    sari.run(&["sync"]).ok();
    assert_eq!(listed(&sari).len(), 2);
    assert!(
        listed(&budi)
            .iter()
            .all(|row| row["delivery"]["state"] == "received")
    );
    field.verify();
}

#[test]
fn a_backup_beside_its_server_leaves_the_reserve_and_one_elsewhere_is_made() {
    let (_alone, disk) = own_disk();
    let config = disk.path().join("server.toml");
    let segment = 2 * MARGIN_MIB;
    let reserve = free_mib(disk.path()).saturating_sub(3 * segment);
    let settings = format!("reserve_mib = {reserve}\nsegment_mib = {segment}\n");
    fs::write(&config, settings).unwrap();
    let field = Field::open_in(disk, &["--config", config.to_str().unwrap()]);
    // Room for what the store grows by, and not for another segment.
    let room = free_mib(&field.data()) - reserve;
    assert!(room > segment, "a segment fits: {room}");
    let filler = field.path("filler");
    fs::write(&filler, vec![1; ((room - MARGIN_MIB) * MIB) as usize]).unwrap();

    let beside = field.path("backup");
    let to = beside.to_str().unwrap();
    let refused = field.admin(&["backup", "--to", to]);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    let says = "with the reserve are needed: back up to another disk";
    assert!(refused.stderr.contains(says), "{refused:?}");
    assert_eq!(fs::read_dir(beside.join("journal")).unwrap().count(), 0);
    assert!(!full(&field));
    field.invite("officer", VILLAGE, "Wati");

    let elsewhere = tempfile::tempdir().unwrap();
    let other = elsewhere.path().join("backup");
    field
        .admin(&["backup", "--to", other.to_str().unwrap()])
        .ok();
    fs::remove_file(&filler).unwrap();
    field.admin(&["backup", "--to", to]).ok();
    field.verify();
}

#[test]
fn a_first_start_without_space_founds_nothing_and_the_next_one_does() {
    let (_alone, disk) = own_disk();
    let data = disk.path().join("server");
    let config = disk.path().join("server.toml");
    let more = free_mib(disk.path()) + MARGIN_MIB;
    fs::write(&config, format!("reserve_mib = {more}\n")).unwrap();
    let config = config.to_str().unwrap();
    let refused = Server::try_start(&data, &["--config", config]).unwrap_err();
    assert!(refused.contains("bytes free"), "{refused}");
    Server::start(&data, &[]).kill();
    assert!(data.join("administrator.invitation").is_file());
    server_command(&data, &["verify"]).ok();
}
