//! Restores that are ended by force: a test starts itself as another process, which ends where it
//! was told to.

use std::env;
use std::process::Command;
use std::sync::Arc;

use bukti_core::authority::{Grant, Role};
use bukti_core::id::JournalId;
use bukti_core::journal::disk::DiskStorage;
use bukti_core::kv::SledKv;
use bukti_core::ledger::Ledger;
use bukti_core::ledger::testing::{NOW, Phone, options, scope, server_key};
use bukti_core::record::{Invitation, invitation_hash};
use tempfile::TempDir;

use super::super::flips::run;
use super::*;
use crate::folder::Started;

/// At which step the process is to end.
const STEP: &str = "BUKTI_TEST_STEP";
/// In which folder it works.
const PLACE: &str = "BUKTI_TEST_PLACE";
/// With what it ends there; the harness ends with others.
const ENDED: i32 = 77;

const SECRET: [u8; 16] = [5; 16];

/// A backup with an invitation that was open when it was made, and the key.
struct Place {
    folder: TempDir,
}

impl Place {
    fn make() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let data = place.path("data");
        fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
        write_key(&place.path("data/server.key"), &server_key()).unwrap();
        write_key(&place.path("key"), &server_key()).unwrap();
        let disk = DiskStorage::open(data.join("journal")).unwrap();
        let kv = SledKv::open(&data.join("store"), 1 << 20).unwrap();
        let mut with = options();
        with.journal.segment_bytes = 512;
        let id = JournalId([9; 16]);
        let mut ledger = Ledger::create(disk, Arc::new(kv), server_key(), id, NOW, with).unwrap();
        let invitation = Invitation {
            hash: invitation_hash(&SECRET),
            person: "Sari".to_owned(),
            grants: vec![Grant {
                role: Role::Officer,
                scope: scope("13.07"),
            }],
            expires_at: i64::MAX,
        };
        ledger.invite(NOW, invitation).unwrap();
        drop(ledger);
        let backup = run(
            &data,
            &format!("backup --to {}", place.path("backup").display()),
        );
        assert_eq!(backup.exit, Exit::Done, "{}", backup.stderr);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn restore(&self, folder: &Folder) -> Result<Seen, Failure> {
        let (from, key) = (self.path("backup"), self.path("key"));
        make(
            folder,
            &from,
            Some(&key),
            WithManifest(true),
            &config(),
            &mut |_| {},
        )
    }
}

fn config() -> Config {
    Config {
        reserve_mib: 0,
        ..Config::default()
    }
}

/// Opens a folder as `serve --key` does.
fn serve(folder: &Folder, key: &Path) -> Result<Started, FolderError> {
    let now = Some(wall_now());
    folder.open(Some(key), now, &config(), &Metrics::default(), &mut |_| {})
}

/// Nobody is let in by the invitation, and nothing of the backup is missing.
fn is_whole(folder: &Folder, key: &Path) {
    let mut started = serve(folder, key).unwrap();
    assert!(started.opened.is_some(), "it was not founded");
    let refused = started.ledger.enrol(NOW, &SECRET, Phone::new(1).id());
    assert!(refused.is_err(), "the invitation is void: {refused:?}");
    drop(started);
    let verified = run(folder.root(), "verify");
    assert_eq!(verified.exit, Exit::Done, "{}", verified.stdout);
    assert!(!folder.root().join("restoring").exists());
}

#[test]
fn a_restore_that_is_killed_at_any_step_is_no_server_or_a_whole_one_and_goes_on() {
    if let (Ok(step), Ok(place)) = (env::var(STEP), env::var(PLACE)) {
        return end_at(step.parse().unwrap(), Path::new(&place));
    }
    let place = Place::make();
    let key = place.path("key");
    let mut reached = Vec::new();
    for step in 1.. {
        let folder = Folder::new(place.path(&format!("restored-{step}")));
        let mut private = fs::DirBuilder::new();
        private.mode(0o700).create(folder.root()).unwrap();
        let own = "commands::restore::tests::a_restore_that_is_killed_at_any_step_is_no_server_or_a_whole_one_and_goes_on";
        let ended = Command::new(env::current_exe().unwrap())
            .args(["--exact", own, "--nocapture"])
            .env(STEP, step.to_string())
            .env(PLACE, place.folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        if ended.status.code() != Some(ENDED) {
            assert!(ended.status.success(), "{said}");
            is_whole(&folder, &key);
            break;
        }
        let name = said.lines().find_map(|line| line.split_once("ended at "));
        reached.push(name.unwrap_or_else(|| panic!("{said}")).1.to_owned());

        let is_last = reached.ends_with(&["journal placed".to_owned()]);
        let status = run(folder.root(), "status");
        let served = serve(&folder, &key);
        match served {
            Ok(started) => {
                drop(started);
                assert!(is_last, "{reached:?}");
                is_whole(&folder, &key);
                let again = place.restore(&folder).unwrap_err();
                assert!(again.text.contains("holds a server already"), "{again:?}");
            }
            Err(error) => {
                assert!(!is_last, "{error:?}");
                assert!(matches!(error, FolderError::HalfRestored(_)), "{error:?}");
                let says = "was interrupted: run bukti-server restore again";
                assert!(
                    status.stderr.contains(says),
                    "{reached:?} {}",
                    status.stderr
                );
                assert!(!folder.holds_a_server() && !folder.is_taken());
                place.restore(&folder).unwrap();
                is_whole(&folder, &key);
            }
        }
    }
    let mut steps = reached.clone();
    steps.dedup();
    let expected = [
        "begun",
        "file copied",
        "journal copied",
        "key written",
        "opened",
        "checked",
        "recorded",
        "key placed",
        "store placed",
        "journal placed",
    ];
    assert_eq!(steps, expected);
    assert!(
        reached.len() > expected.len(),
        "several segments: {reached:?}"
    );
}

/// Restores in this process and ends it at a step, with nothing closed or cleaned up.
fn end_at(step: usize, place: &Path) {
    let folder = Folder::new(place.join(format!("restored-{step}")));
    let mut count = 0;
    let (from, key) = (place.join("backup"), place.join("key"));
    make(
        &folder,
        &from,
        Some(&key),
        WithManifest(true),
        &config(),
        &mut |name| {
            count += 1;
            if count == step {
                println!("\nended at {name}");
                std::process::exit(ENDED);
            }
        },
    )
    .unwrap();
}

#[test]
fn a_restore_that_fails_leaves_the_folder_as_it_was_though_one_was_interrupted_before() {
    let place = Place::make();
    let folder = Folder::new(place.path("restored"));
    let half = folder.root().join("restoring/journal");
    fs::create_dir_all(&half).unwrap();
    fs::write(folder.root().join("restoring/unfinished-restore"), "").unwrap();
    fs::write(half.join("0000000001.seg"), "half").unwrap();
    fs::create_dir(folder.root().join("store")).unwrap();
    // Neither is touched by a restore that cannot be.
    let nowhere = place.path("nowhere");
    let make = |from: &Path, key: &Path| {
        make(
            &folder,
            from,
            Some(key),
            WithManifest(true),
            &config(),
            &mut |_| {},
        )
        .unwrap_err()
    };
    let refused = make(&nowhere, &place.path("key"));
    assert_eq!(refused.exit, Exit::WrongUse);
    assert!(half.exists() && folder.root().join("store").exists());

    let other = place.path("other.key");
    let stranger = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);
    write_key(&other, &stranger).unwrap();
    let refused = make(&place.path("backup"), &other);
    assert_eq!(refused.exit, Exit::WrongUse, "{refused:?}");
    assert_eq!(fs::read_dir(folder.root()).unwrap().count(), 0);

    // A key that is there already is not the backup's.
    write_key(&folder.root().join("server.key"), &stranger).unwrap();
    let refused = make(&place.path("backup"), &place.path("key"));
    assert!(refused.text.contains("is another key than"), "{refused:?}");
    assert_eq!(fs::read_dir(folder.root()).unwrap().count(), 1);
}

#[test]
fn a_backup_that_lacks_its_end_makes_no_server() {
    let place = Place::make();
    let journal = place.path("backup/journal");
    let names = fs::read_dir(&journal).unwrap();
    let mut segments: Vec<PathBuf> = names.map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    assert!(segments.len() > 1, "{segments:?}");
    fs::remove_file(segments.last().unwrap()).unwrap();
    let folder = Folder::new(place.path("restored"));
    fs::create_dir(folder.root()).unwrap();
    let refused = place.restore(&folder).unwrap_err();
    assert!(refused.text.contains("nothing was restored"), "{refused:?}");
    assert_eq!(fs::read_dir(folder.root()).unwrap().count(), 0);
}

#[test]
fn a_store_whose_journal_is_gone_is_not_taken_for_a_restore_that_was_interrupted() {
    let place = Place::make();
    let folder = Folder::new(place.path("data"));
    fs::remove_dir_all(folder.journal()).unwrap();
    let refused = place.restore(&folder).unwrap_err();
    assert!(
        refused.text.contains("holds a server already"),
        "{refused:?}"
    );
    assert!(folder.root().join("store").is_dir());
}

#[test]
fn what_a_restore_leaves_is_swept_and_never_mistaken_for_one_that_was_interrupted() {
    let place = Place::make();
    let (folder, key) = (Folder::new(place.path("to")), place.path("key"));
    fs::create_dir(folder.root()).unwrap();
    place.restore(&folder).unwrap();
    let left = folder.root().join("restoring");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("unfinished-restore"), "").unwrap();
    fs::copy(&key, left.join("server.key")).unwrap();
    drop(serve(&folder, &key).unwrap());
    assert!(!left.exists(), "nor does a second copy of the key stay");

    // The journal of a server that had listened is lost: its store is the last of it.
    fs::create_dir(&left).unwrap();
    fs::write(folder.root().join("public-url"), "http://127.0.0.1:8420\n").unwrap();
    fs::remove_dir_all(folder.journal()).unwrap();
    let Err(FolderError::JournalMissing(_)) = serve(&folder, &key) else {
        panic!("it was taken for half restored")
    };
    let refused = place.restore(&folder).unwrap_err();
    assert!(
        refused.text.contains("has no journal any more"),
        "{refused:?}"
    );
    assert!(folder.root().join("store").exists());
}

#[test]
fn where_a_server_had_listened_no_restore_begins_and_every_command_says_why() {
    let place = Place::make();
    for name in ["public-url", "administrator.invitation"] {
        let folder = Folder::new(place.path(&format!("had-{name}")));
        let mut private = fs::DirBuilder::new();
        private.mode(0o700).create(folder.root()).unwrap();
        fs::write(folder.root().join(name), "http://127.0.0.1:8420\n").unwrap();
        let says =
            "has no journal any more, though a server served it: restore a backup into a new";
        let refused = place.restore(&folder).unwrap_err();
        assert!(refused.text.contains(says), "{refused:?}");
        let status = run(folder.root(), "status");
        assert!(status.stderr.contains(says), "{status:?}");
        let verified = run(folder.root(), "verify");
        assert!(verified.stdout.contains(says), "{verified:?}");
        // The lock of these commands is all that is there besides.
        assert!(!folder.root().join("restoring").exists());
        assert!(!folder.journal().exists());
    }
}

#[test]
fn a_folder_that_is_not_of_a_restore_is_not_removed() {
    let place = Place::make();
    let folder = Folder::new(place.path("to"));
    let precious = folder.root().join("restoring/precious");
    fs::create_dir_all(precious.parent().unwrap()).unwrap();
    fs::write(&precious, "photo").unwrap();
    let refused = place.restore(&folder).unwrap_err();
    assert_eq!(refused.exit, Exit::WrongUse);
    assert!(refused.text.contains("is not of a restore"), "{refused:?}");
    assert_eq!(fs::read(&precious).unwrap(), b"photo");
    // Nor by the server that is there.
    let of_a_server = place.path("data/restoring/precious");
    fs::create_dir(of_a_server.parent().unwrap()).unwrap();
    fs::write(&of_a_server, "photo").unwrap();
    drop(serve(&Folder::new(place.path("data")), &place.path("key")).unwrap());
    assert_eq!(fs::read(&of_a_server).unwrap(), b"photo");
}

#[test]
fn a_backup_whose_manifest_is_lost_or_damaged_is_restored_when_that_is_asked_for() {
    let place = Place::make();
    let manifest = place.path("backup/backup.json");
    let sound = fs::read_to_string(&manifest).unwrap();
    let (from, key) = (place.path("backup"), place.path("key"));
    for (number, text) in [None, Some(sound.replace("\"at\": 1", "\"at\": 2"))]
        .iter()
        .enumerate()
    {
        fs::remove_file(&manifest).unwrap();
        if let Some(text) = text {
            assert_ne!(*text, sound);
        }
        if let Some(text) = text {
            fs::write(&manifest, text).unwrap();
        }
        let folder = Folder::new(place.path(&format!("to-{number}")));
        fs::create_dir(folder.root()).unwrap();
        let refused = place.restore(&folder).unwrap_err();
        assert!(refused.text.contains("--without-manifest"), "{refused:?}");
        let without = WithManifest(false);
        make(&folder, &from, Some(&key), without, &config(), &mut |_| {}).unwrap();
        let started = serve(&folder, &key).unwrap();
        let reader = started.ledger.reader();
        let mut invitations = reader.invitations();
        let (_, invitation) = invitations.next().unwrap().unwrap();
        assert!(reader.is_void(&invitation).unwrap());
        fs::write(&manifest, &sound).unwrap();
    }
    // A folder without a segment is no backup whatever is asked.
    fs::remove_dir_all(place.path("backup/journal")).unwrap();
    fs::create_dir(place.path("backup/journal")).unwrap();
    let folder = Folder::new(place.path("to-nothing"));
    fs::create_dir(folder.root()).unwrap();
    let refused = place.restore(&folder).unwrap_err();
    assert!(refused.text.contains("has no segment"), "{refused:?}");
}
