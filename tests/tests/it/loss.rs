//! What was lost is told and never passed over: journals that are gone, backups that are cut.

use std::fs;
use std::path::Path;

use bukti_tests::process::{Server, server_command};

use crate::field::{Field, VILLAGE, listed, new_evidence, text};

#[test]
fn a_server_whose_journal_is_gone_founds_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("server");
    Server::start(&data, &[]).kill();
    fs::remove_dir_all(data.join("journal")).unwrap();
    let refused = Server::try_start(&data, &[]).unwrap_err();
    assert!(refused.contains("has no journal any more"), "{refused}");
    assert!(data.join("store").is_dir() && !data.join("journal").exists());
}

#[test]
fn a_first_start_that_was_killed_at_once_is_made_good() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("server");
    Server::start(&data, &[]).kill();
    // What the first moments leave: a segment that never got its name, no rows, and no word to
    // anybody.
    fs::remove_dir_all(data.join("store")).unwrap();
    let segment = data.join("journal/0000000001.seg");
    fs::rename(&segment, data.join("journal/0000000001.seg.new")).unwrap();
    fs::remove_file(data.join("public-url")).unwrap();
    fs::remove_file(data.join("administrator.invitation")).unwrap();
    Server::start(&data, &[]).kill();
    assert!(data.join("administrator.invitation").is_file());
    // And a start that was killed between the journal and the invitation.
    fs::remove_file(data.join("administrator.invitation")).unwrap();
    Server::start(&data, &[]).kill();
    assert!(data.join("administrator.invitation").is_file());
}

/// Empties the journal as a start left it that was killed between the first segment and the first
/// record, when the one did not come with the other.
fn empty_the_journal(data: &Path) {
    let segment = data.join("journal/0000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[112..].fill(0);
    fs::write(&segment, bytes).unwrap();
}

#[test]
fn a_journal_without_a_record_is_founded_if_nobody_was_ever_told_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("server");
    Server::start(&data, &[]).kill();
    let address = fs::read(data.join("public-url")).unwrap();
    let invitation = fs::read(data.join("administrator.invitation")).unwrap();
    empty_the_journal(&data);
    // Whoever was told: the store, those who were told the address, the administrator.
    let refused = || {
        let refused = Server::try_start(&data, &[]).unwrap_err();
        assert!(refused.contains("has no journal any more"), "{refused}");
    };
    fs::remove_file(data.join("public-url")).unwrap();
    fs::remove_file(data.join("administrator.invitation")).unwrap();
    refused();
    fs::remove_dir_all(data.join("store")).unwrap();
    for (witness, content) in [
        ("public-url", address),
        ("administrator.invitation", invitation),
    ] {
        fs::write(data.join(witness), content).unwrap();
        refused();
        fs::remove_file(data.join(witness)).unwrap();
    }
    Server::start(&data, &[]).kill();
    assert!(data.join("administrator.invitation").is_file());
    server_command(&data, &["verify"]).ok();
}

#[test]
fn a_store_is_witness_enough_that_there_was_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("server");
    Server::start(&data, &[]).kill();
    for gone in ["public-url", "administrator.invitation"] {
        fs::remove_file(data.join(gone)).unwrap();
    }
    fs::remove_dir_all(data.join("journal")).unwrap();
    for _ in 0..2 {
        let refused = Server::try_start(&data, &[]).unwrap_err();
        assert!(refused.contains("has no journal any more"), "{refused}");
    }
    assert!(data.join("store").is_dir());
}

#[test]
fn a_backup_whose_journal_was_cut_is_not_restored() {
    let field = Field::empty(&[]);
    for name in ["Sari", "Budi", "Wati"] {
        field.invite("officer", "13.07.05.2001", name);
    }
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let to = backup.to_str().unwrap();
    field.admin(&["backup", "--to", to]).ok();
    let segment = backup.join("journal/0000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end - 100..].fill(0);
    fs::write(&segment, bytes).unwrap();
    let key = field.data().join("server.key");
    let target = folder.path().join("restored");
    let restore = ["restore", "--from", to, "--key", key.to_str().unwrap()];
    for _ in 0..2 {
        let refused = server_command(&target, &restore);
        assert_eq!(refused.status, Some(1), "{refused:?}");
        assert!(
            refused.stderr.contains("nothing was restored"),
            "{refused:?}"
        );
        assert!(!target.join("journal").exists() && !target.join("store").exists());
    }
}

#[test]
fn a_server_and_a_device_share_no_folder() {
    let field = Field::open(&[]);
    let phone = field.phone("Sari", "officer", "13.07.05.2001");
    let refused = Server::try_start(phone.data(), &[]).unwrap_err();
    assert!(refused.contains("holds a device"), "{refused}");
    let asked = server_command(phone.data(), &["devices"]);
    assert_eq!(asked.status, Some(2), "{asked:?}");
    assert!(asked.stderr.contains("holds a device"), "{asked:?}");
    phone.run(&["status"]).ok();
}

#[test]
fn a_server_whose_folder_was_moved_away_ends_when_it_is_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let (data, away) = (folder.path().join("server"), folder.path().join("away"));
    let config = folder.path().join("no-scrub.toml");
    fs::write(&config, "scrub_kib_per_s = 0\n").unwrap();
    let server = Server::start(&data, &["--config", config.to_str().unwrap()]);
    fs::rename(&data, &away).unwrap();
    let (status, log) = server.stop();
    assert_eq!(status, Some(0), "{log}");
    Server::start(&away, &[]).kill();
}

#[test]
fn a_server_whose_folder_was_removed_ends_by_itself_at_the_next_write() {
    let mut field = Field::open(&[]);
    let phone = field.phone("phone", "officer", VILLAGE);
    let made = new_evidence(&phone, "Jembatan");
    fs::remove_dir_all(field.data()).unwrap();
    let synced = phone.run(&["sync", "--json"]);
    assert_ne!(synced.status, Some(0), "{synced:?}");
    let (status, log) = field.ended();
    assert_eq!(status, Some(1), "{log}");
    assert!(log.contains("acknowledges nothing more"), "{log}");
    let unsent = listed(&phone)
        .into_iter()
        .find(|row| text(&row["id"]) == made);
    assert_ne!(unsent.unwrap()["delivery"]["state"], "received");
}
