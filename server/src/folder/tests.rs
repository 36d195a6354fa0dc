use bukti_core::kv::{Batch, Kv};
use bukti_core::ledger::{Found, code};
use tempfile::TempDir;

use super::*;

const NOW: WallMs = 1_700_000_000_000;

fn empty() -> (TempDir, Folder) {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::new(place.path());
    (place, folder)
}

fn open(folder: &Folder, create: Option<WallMs>) -> Result<Started, FolderError> {
    let config = Config {
        reserve_mib: 0,
        ..Config::default()
    };
    folder.open(None, create, &config, &Metrics::default(), &mut |_| {})
}

/// A folder in which a server was founded that does not run.
fn founded() -> (TempDir, Folder) {
    let (place, folder) = empty();
    drop(open(&folder, Some(NOW)).unwrap());
    (place, folder)
}

#[test]
fn a_folder_that_may_be_somebody_elses_is_not_founded() {
    for (name, is_device) in [
        ("identity.cbor", true),
        ("tail", true),
        (PUBLIC_URL, false),
        (INVITATION, false),
        ("public-url.altered-1", false),
        // What a store leaves that was found damaged.
        ("store/damaged.txt", false),
    ] {
        let (place, folder) = empty();
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "something").unwrap();
        let refused = open(&folder, Some(NOW)).unwrap_err();
        match refused {
            FolderError::Device(_) => assert!(is_device, "{name}"),
            FolderError::JournalMissing(_) => assert!(!is_device, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        assert!(!folder.holds_a_server(), "{name}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "something");
    }
}

#[test]
fn a_command_founds_no_server() {
    let (place, folder) = empty();
    let refused = open(&folder, None).unwrap_err();
    assert!(matches!(refused, FolderError::Empty(_)), "{refused:?}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn no_key_is_made_where_a_journal_stands_or_may_stand() {
    let (place, folder) = founded();
    fs::remove_file(folder.key()).unwrap();
    let (unread, unreadable) = empty();
    // No folder, so nobody can say what is in it.
    fs::write(unreadable.journal(), "something").unwrap();
    for (place, folder) in [(place, folder), (unread, unreadable)] {
        for create in [Some(NOW), None] {
            let refused = open(&folder, create).unwrap_err();
            assert!(matches!(refused, FolderError::NoKey(_)), "{refused:?}");
        }
        assert!(!place.path().join(KEY).exists());
    }
}

#[test]
fn a_damaged_store_is_put_aside_and_told() {
    let (place, folder) = founded();
    fs::write(place.path().join("store/damaged.txt"), "a page is gone").unwrap();
    let started = open(&folder, None).unwrap();
    let aside = started.moved_aside.expect("it was moved");
    let reason = fs::read_to_string(aside.join("damaged.txt")).unwrap();
    assert_eq!(reason, "a page is gone");
    let found = started.ledger.reader().found().unwrap();
    assert!(!found.is_empty() && found.iter().all(Found::waits));
    let name = aside.file_name().unwrap().to_str().unwrap();
    assert!(folder.kept_aside().contains(&name.to_owned()));
}

/// What is found when the folder is opened, and then acknowledged.
fn found_anew(folder: &Folder) -> Vec<Found> {
    let mut ledger = open(folder, None).unwrap().ledger;
    let mut found = ledger.reader().found().unwrap();
    found.retain(|found| found.acknowledged.is_none());
    for found in &found {
        assert!(found.waits());
        ledger.acknowledge(NOW, found.position, "Seen.").unwrap();
    }
    found
}

/// The one thing that is found, by the file that it is about.
fn one_small_file(folder: &Folder) -> String {
    let found = found_anew(folder);
    let [Found { finding, .. }] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(finding.code, code::SMALL_FILE);
    let place = finding.place.as_deref().unwrap();
    assert!(folder.kept_aside().contains(&place.to_owned()));
    small::original(place).unwrap().to_owned()
}

#[test]
fn a_store_that_is_damaged_again_is_told_again_whatever_became_of_the_former() {
    let (place, folder) = founded();
    for _ in 0..2 {
        fs::write(place.path().join("store/damaged.txt"), "a page is gone").unwrap();
        let found = found_anew(&folder);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found_anew(&folder), []);
        let aside = found[0].finding.place.as_deref().unwrap();
        fs::remove_dir_all(place.path().join(aside)).unwrap();
    }
}

#[test]
fn rows_that_were_damaged_are_told_once_each_time() {
    let (place, folder) = founded();
    for _ in 0..2 {
        let kv = SledKv::open(&place.path().join(STORE), MIB).unwrap();
        let mut batch = Batch::new();
        batch.put("m", "not a row");
        kv.apply(&batch).unwrap();
        drop(kv);
        let found = found_anew(&folder);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].finding.code, code::STORE_DAMAGED);
        assert_eq!(found_anew(&folder), []);
    }
}

#[test]
fn a_segment_that_a_repair_replaced_is_told_each_time_whatever_became_of_what_was_kept() {
    let (place, folder) = founded();
    // The same bytes as before are another copy all the same.
    for bytes in [&b"what stood there"[..], b"what stood there", &[]] {
        let kept = folder.keep_segment("0000000001.seg", bytes).unwrap();
        let path = place.path().join(&kept);
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert!(folder.kept_aside().contains(&kept));
        let found = found_anew(&folder);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].finding.code, code::REPAIRED);
        assert_eq!(found[0].finding.place, Some(kept));
        assert_eq!(found_anew(&folder), []);
        fs::remove_file(path).unwrap();
    }
    // Nor is anything else taken for one.
    for name in [
        "1.seg.damaged-1",
        "0000000001.seg.damaged-",
        "0000000001.seg.damaged-1-",
        "0000000001.seg.damaged-1-2",
        "damaged-1",
    ] {
        fs::write(place.path().join(name), "").unwrap();
    }
    assert_eq!(found_anew(&folder), []);
}

#[test]
fn every_flipped_bit_of_what_is_kept_beside_the_journal_is_told_and_what_has_no_sum_passes() {
    let (place, folder) = founded();
    let kept = folder
        .keep_segment("0000000001.seg", b"what stood there")
        .unwrap();
    folder.remember_url("https://bukti.example").unwrap();
    fs::write(place.path().join(PUBLIC_URL), "https://bukti.exampla\n").unwrap();
    assert_eq!(found_anew(&folder).len(), 2);
    // As earlier versions kept them.
    for name in ["0000000001.seg.damaged-7", "public-url.altered-7"] {
        fs::write(place.path().join(name), "changed by nobody knows whom").unwrap();
    }
    let mut aside = folder.kept_aside();
    assert_eq!(aside.len(), 4);
    aside.retain(|name| !name.ends_with("-7"));
    assert!(aside.contains(&kept));
    assert_eq!(folder.check_kept().unwrap(), []);
    let told = |name: &str| {
        let altered = folder.check_kept().unwrap();
        assert_eq!(altered.len(), 1, "{altered:?}");
        assert_eq!(altered[0].name, name);
    };
    for name in aside {
        let path = place.path().join(&name);
        let sound = fs::read(&path).unwrap();
        for bit in 0..8 * sound.len() {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).unwrap();
            told(&name);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        told(&name);
        fs::remove_dir(&path).unwrap();
    }
}

#[test]
fn what_an_interrupted_repair_left_of_a_copy_counts_for_nothing_and_goes_with_the_next() {
    let (place, folder) = founded();
    let sum = "0123456789abcdef0123456789abcdef";
    let unfinished = format!("0000000001.seg.damaged-7-{sum}.new");
    let other = "0000000001.seg.damaged-x.new";
    for name in [&unfinished, other] {
        fs::write(place.path().join(name), "what st").unwrap();
    }
    assert_eq!(found_anew(&folder), []);
    folder
        .keep_segment("0000000002.seg", b"what stood there")
        .unwrap();
    assert!(!place.path().join(unfinished).exists());
    assert!(place.path().join(other).exists(), "it is somebody else's");
    assert_eq!(folder.check_kept().unwrap(), []);
}

#[test]
fn an_altered_address_is_not_used_and_is_found_once_each_time() {
    let (place, folder) = founded();
    let path = place.path().join(PUBLIC_URL);
    let url = "https://bukti.example";
    let refused = || {
        let refused = folder.last_url().unwrap_err();
        assert!(matches!(refused, FolderError::Altered(_)), "{refused:?}");
    };
    // The same twice is two events.
    for _ in 0..2 {
        folder.remember_url(url).unwrap();
        assert_eq!(folder.last_url().unwrap().as_deref(), Some(url));
        assert_eq!(found_anew(&folder), []);
        fs::write(&path, "https://bukti.exampla\n").unwrap();
        refused();
        assert_eq!(one_small_file(&folder), PUBLIC_URL);
        for _ in 0..2 {
            assert_eq!(found_anew(&folder), []);
        }
        refused();
        // Nor once what was put aside is gone, for its name is never used again.
        for aside in folder.kept_aside() {
            fs::remove_file(place.path().join(aside)).unwrap();
        }
    }
}

#[test]
fn altered_sums_are_one_finding_and_accuse_no_file() {
    let (place, folder) = founded();
    let path = place.path().join(small::SUMS);
    folder.remember_url("https://bukti.example").unwrap();
    folder
        .write_invitation("https://bukti.example/i/1")
        .unwrap();
    let lengths = [0, 70, 100, 300].map(|at| {
        let mut sums = fs::read(&path).unwrap();
        let at = at % sums.len();
        sums[at] ^= 1;
        fs::write(&path, sums).unwrap();
        assert_eq!(one_small_file(&folder), small::SUMS, "byte {at}");
        // Each start on a port of its own has another address.
        let url = format!("http://127.0.0.1:{at}");
        folder.remember_url(&url).unwrap();
        assert_eq!(found_anew(&folder), []);
        fs::metadata(&path).unwrap().len()
    });
    assert!(!folder.lacks_invitation() && folder.last_url().unwrap().is_some());
    assert!(lengths.iter().all(|length| *length < 1_000), "{lengths:?}");
}

#[test]
fn small_files_whose_sums_are_gone_are_not_used() {
    let (place, folder) = founded();
    folder.remember_url("https://bukti.example").unwrap();
    fs::remove_file(place.path().join(small::SUMS)).unwrap();
    assert!(folder.last_url().is_err());
    assert_eq!(one_small_file(&folder), PUBLIC_URL);
    assert_eq!(found_anew(&folder), []);
}

#[test]
fn an_altered_invitation_is_put_aside_so_that_another_is_written() {
    let (place, folder) = founded();
    folder
        .write_invitation("https://bukti.example/i/1")
        .unwrap();
    assert!(!folder.lacks_invitation());
    let altered = "https://elsewhere.example/i/1\n";
    fs::write(place.path().join(INVITATION), altered).unwrap();
    assert_eq!(one_small_file(&folder), INVITATION);
    assert!(folder.lacks_invitation());
    folder
        .write_invitation("https://bukti.example/i/2")
        .unwrap();
    assert_eq!(found_anew(&folder), []);
}

#[test]
fn a_key_is_not_looked_for_where_somebody_else_wrote() {
    let (place, folder) = founded();
    let elsewhere = place.path().join("elsewhere");
    fs::rename(folder.key(), &elsewhere).unwrap();
    folder.remember_key(&elsewhere).unwrap();
    assert_eq!(found_anew(&folder), []);
    let copy = place.path().join("copy");
    fs::copy(&elsewhere, &copy).unwrap();
    let altered = format!("{}\n", copy.display());
    fs::write(place.path().join(KEY_PATH), altered).unwrap();
    let config = Config {
        reserve_mib: 0,
        ..Config::default()
    };
    let given = |key| folder.open(key, None, &config, &Metrics::default(), &mut |_| {});
    let refused = given(None).unwrap_err();
    assert!(matches!(refused, FolderError::Altered(_)), "{refused:?}");
    drop(given(Some(&*elsewhere)).unwrap());
    // It was put aside, and nothing says where the key is until a start is told.
    let refused = given(None).unwrap_err();
    assert!(matches!(refused, FolderError::Altered(_)), "{refused:?}");
    folder.remember_key(&elsewhere).unwrap();
    assert_eq!(one_small_file(&folder), KEY_PATH);
    assert_eq!(found_anew(&folder), []);
}

#[test]
fn a_key_is_read_only_from_a_whole_file_of_its_own_kind() {
    let (place, _) = empty();
    let path = place.path().join(KEY);
    let missing = read_key(&path).unwrap_err();
    assert!(matches!(missing, FolderError::NoKey(_)), "{missing:?}");

    let key = SigningKey::from_bytes(&[7; 32]);
    write_key(&path, &key).unwrap();
    assert_eq!(read_key(&path).unwrap(), key);
    let text = fs::read_to_string(&path).unwrap();
    let seed = text.strip_prefix(KEY_WORD).unwrap().trim();
    for at in 0..seed.len() {
        let mut other = seed.as_bytes().to_vec();
        other[at] = if other[at] == b'2' { b'3' } else { b'2' };
        let other = String::from_utf8(other).unwrap();
        fs::write(&path, format!("{KEY_WORD} {other}\n")).unwrap();
        let refused = read_key(&path).unwrap_err();
        assert!(matches!(refused, FolderError::NotAKey(_)), "byte {at}");
    }
    let endless = read_key(Path::new("/dev/zero")).unwrap_err();
    let unread = matches!(endless, FolderError::Io { act: "read", .. });
    assert!(unread, "nobody can say that it is no key: {endless:?}");
    for other in [format!("bukti-device-key-1 {seed}"), seed.to_owned()] {
        fs::write(&path, other).unwrap();
        let refused = read_key(&path).unwrap_err();
        assert!(matches!(refused, FolderError::NotAKey(_)), "{refused:?}");
    }
}

#[test]
fn no_key_is_written_over_what_is_there() {
    let (place, _) = empty();
    let key = SigningKey::from_bytes(&[7; 32]);
    let (file, link) = (place.path().join("file"), place.path().join("link"));
    fs::write(&file, "something").unwrap();
    std::os::unix::fs::symlink(place.path().join("nowhere"), &link).unwrap();
    for path in [&file, &link] {
        let refused = write_key(path, &key).unwrap_err();
        let FolderError::Io { source, .. } = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(source.kind(), io::ErrorKind::AlreadyExists);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "something");
    assert!(fs::read_link(&link).is_ok());
}

#[test]
fn a_folder_with_anything_of_a_server_is_taken() {
    assert!(!empty().1.is_taken());
    assert!(founded().1.is_taken());
    for name in [STORE, JOURNAL] {
        let (place, folder) = empty();
        fs::create_dir(place.path().join(name)).unwrap();
        assert!(folder.is_taken(), "{name}");
    }
}

/// A folder whose last acknowledged group was half overwritten, and the file that keeps the rest of it.
fn torn() -> (TempDir, Folder, String) {
    let (place, folder) = founded();
    let mut started = open(&folder, None).unwrap();
    started.ledger.record_restore(NOW).unwrap();
    drop(started);
    let path = folder.journal().join("0000000001.seg");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[end - 60..].fill(0);
    fs::write(&path, bytes).unwrap();
    let lost = open(&folder, None).unwrap_err();
    let FolderError::Lost { aside, .. } = lost else {
        panic!("{lost:?}");
    };
    assert!(aside[0].starts_with("journal/torn-"), "{aside:?}");
    let [aside] = <[String; 1]>::try_from(aside).unwrap();
    (place, folder, aside)
}

#[track_caller]
fn is_told_as_acknowledged(found: &[Found], aside: &str) {
    let mut cut = found
        .iter()
        .filter(|found| found.finding.place.as_deref() == Some(aside));
    let (cut, other) = (cut.next().unwrap(), cut.next());
    assert_eq!((&*cut.finding.code, other), (code::DAMAGED_END, None));
    let sentence = &cut.finding.sentence;
    assert!(sentence.contains("was acknowledged"), "{sentence}");
}

#[test]
fn what_the_store_had_seen_is_never_told_as_an_unfinished_write() {
    let (_place, folder, aside) = torn();
    let (config, metrics) = (Config::default(), Metrics::default());
    let rebuilt = folder.rebuild(&config, &metrics, &mut |_| {});
    let found = rebuilt.unwrap().0.reader().found().unwrap();
    is_told_as_acknowledged(&found, &aside);
    // Nor at a later start.
    let later = open(&folder, None).unwrap().ledger;
    assert_eq!(later.reader().found().unwrap(), found);
}

#[test]
fn what_the_store_had_seen_is_told_as_that_though_going_on_without_it_was_interrupted() {
    let (_place, folder, aside) = torn();
    let config = Config {
        reserve_mib: 0,
        ..Config::default()
    };
    let disk = folder.open_journal(&Metrics::default()).unwrap();
    let (kv, _) = folder.open_store(&config).unwrap();
    let key = read_key(&folder.key()).unwrap();
    let options = options(&config);
    let gone_on =
        ledger::Ledger::open_after_loss(disk, Arc::new(kv), key, NOW, options, &mut |_| {});
    drop(gone_on.unwrap());
    let found = open(&folder, None)
        .unwrap()
        .ledger
        .reader()
        .found()
        .unwrap();
    is_told_as_acknowledged(&found, &aside);
}

#[test]
fn a_journal_of_another_history_is_put_in_use_only_by_somebody_who_decides() {
    let (_place, folder) = founded();
    let aside = tempfile::tempdir().unwrap();
    let other = aside.path();
    let name = "0000000001.seg";
    fs::copy(folder.journal().join(name), other.join(name)).unwrap();
    let mut started = open(&folder, None).unwrap();
    started.ledger.record_restore(NOW).unwrap();
    drop(started);
    // The other line goes on further, with records of a later time.
    fs::rename(folder.root().join(STORE), other.join(STORE)).unwrap();
    fs::rename(folder.journal().join(name), other.join("own")).unwrap();
    fs::rename(other.join(name), folder.journal().join(name)).unwrap();
    let mut started = open(&folder, None).unwrap();
    for at in 1..4 {
        started.ledger.record_restore(NOW + at).unwrap();
    }
    drop(started);
    fs::remove_dir_all(folder.root().join(STORE)).unwrap();
    fs::rename(other.join(STORE), folder.root().join(STORE)).unwrap();

    let refused = open(&folder, None).unwrap_err().told();
    for says in [
        "of another history than the store, which has seen another record",
        "records were lost",
        "go on without what only the store has seen with bukti-server rebuild --accept-loss",
    ] {
        assert!(refused.contains(says), "{says}: {refused}");
    }
    let rebuilt = folder.rebuild(&Config::default(), &Metrics::default(), &mut |_| {});
    let found = rebuilt.unwrap().0.reader().found().unwrap();
    assert!(found.iter().any(|found| found.finding.code == code::LOST));
    drop(open(&folder, None).unwrap());
}
