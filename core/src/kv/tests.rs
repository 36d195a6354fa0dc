use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tempfile::TempDir;

use super::*;

const CACHE: u64 = 4 * 1024 * 1024;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Clone)]
enum Step {
    Apply(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Get(Vec<u8>),
    Scan(Vec<u8>, Vec<u8>, Direction),
    Flush,
    Reopen,
}

/// Keys that collide, are prefixes of one another, and sit at both ends of the order.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0), Just(1), Just(b'k'), Just(0xff)], 0..5)
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![
        vec(any::<u8>(), 0..20),
        (any::<u8>(), 0..3000_usize).prop_map(|(byte, length)| vec![byte; length]),
    ];
    let direction = prop_oneof![Just(Direction::Ascending), Just(Direction::Descending)];
    prop_oneof![
        4 => vec((key(), proptest::option::weighted(0.7, value)), 0..30).prop_map(Step::Apply),
        2 => key().prop_map(Step::Get),
        4 => (key(), key(), direction).prop_map(|(from, to, way)| Step::Scan(from, to, way)),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

/// Runs `steps` on a store and on a plain map, and demands the same answers. `reopen` gets the
/// store and gives it back with the same rows.
fn conforms(
    steps: &[Step],
    mut kv: Box<dyn Kv>,
    reopen: impl Fn(Box<dyn Kv>) -> Box<dyn Kv>,
) -> Result<(), TestCaseError> {
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Apply(writes) => {
                let mut batch = Batch::new();
                for (key, value) in writes {
                    match value {
                        Some(value) => {
                            batch.put(key.as_slice(), value.as_slice());
                            model.insert(key.clone(), value.clone());
                        }
                        None => {
                            batch.delete(key.as_slice());
                            model.remove(key);
                        }
                    }
                }
                kv.apply(&batch).unwrap();
            }
            Step::Get(key) => prop_assert_eq!(kv.get(key).unwrap(), model.get(key).cloned()),
            Step::Scan(from, to, direction) => {
                let rows: Vec<Row> = kv.scan(from, to, *direction).map(Result::unwrap).collect();
                prop_assert_eq!(rows, expected_scan(&model, from, to, *direction));
            }
            Step::Flush => kv.flush().unwrap(),
            Step::Reopen => kv = reopen(kv),
        }
    }
    let all: Vec<Row> = rows_of(kv.as_ref()).map(Result::unwrap).collect();
    prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
    Ok(())
}

fn expected_scan(model: &Model, from: &[u8], to: &[u8], direction: Direction) -> Vec<Row> {
    let inside = |(key, _): &(&Vec<u8>, &Vec<u8>)| from <= key.as_slice() && key.as_slice() < to;
    let rows = model.iter().filter(inside);
    let mut rows: Vec<Row> = rows
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if direction == Direction::Descending {
        rows.reverse();
    }
    rows
}

fn rows_of(kv: &dyn Kv) -> Rows<'_> {
    kv.scan(b"", &[0xff; 8], Direction::Ascending)
}

fn open(path: &Path) -> SledKv {
    SledKv::open(path, CACHE).unwrap()
}

proptest! {
    #[test]
    fn a_store_in_memory_answers_as_a_sorted_map(steps in vec(step(), 1..60)) {
        conforms(&steps, Box::new(MemoryKv::new()), |kv| kv)?;
    }

    #[test]
    fn the_size_of_a_batch_counts_each_key_once(writes in vec((key(), proptest::option::of(key())), 0..40)) {
        let mut batch = Batch::new();
        for (key, value) in writes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            };
        }
        let bytes = |(key, value): (&[u8], Option<&[u8]>)| 8 + key.len() + value.map_or(0, <[u8]>::len);
        prop_assert_eq!(batch.encoded_bytes(), batch.writes().map(bytes).sum::<usize>());
        prop_assert_eq!(batch.len(), batch.writes().count());
    }
}

proptest! {
    // Each case opens and closes files several times.
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_store_on_disk_answers_as_a_sorted_map_and_keeps_its_rows_when_closed(
        steps in vec(step(), 1..60),
    ) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("store");
        conforms(&steps, Box::new(open(&path)), |kv| {
            drop(kv);
            Box::new(open(&path))
        })?;
    }
}

fn two_rows(kv: &dyn Kv) {
    let mut batch = Batch::new();
    batch.put("a", "1").put("b", "2");
    kv.apply(&batch).unwrap();
}

#[test]
fn of_several_writes_to_one_key_the_last_counts() {
    let mut batch = Batch::new();
    batch.put("a", "1").delete("a").put("a", "22");
    assert_eq!(batch.len(), 1);
    assert_eq!(batch.encoded_bytes(), 8 + 1 + 2);
    batch.delete("a");
    assert_eq!(batch.writes().collect::<Vec<_>>(), [(&b"a"[..], None)]);
    assert_eq!(batch.encoded_bytes(), 8 + 1);
}

#[test]
fn a_store_in_memory_is_thrown_back_to_an_earlier_state_and_forward_again() {
    let kv = MemoryKv::new();
    let empty = kv.snapshot();
    two_rows(&kv);
    let full = kv.snapshot();
    kv.restore(&empty);
    assert_eq!(kv.get(b"a").unwrap(), None);
    kv.apply(Batch::new().put("c", "3")).unwrap();
    kv.restore(&full);
    assert_eq!(kv.get(b"a").unwrap(), Some(b"1".to_vec()));
    assert_eq!(kv.get(b"c").unwrap(), None);
    assert_eq!(kv.snapshot(), full);
}

#[test]
fn a_scan_may_be_interleaved_with_writes() {
    let dir = TempDir::new().unwrap();
    for kv in [
        &MemoryKv::new() as &dyn Kv,
        &open(&dir.path().join("store")),
    ] {
        two_rows(kv);
        let mut rows = rows_of(kv);
        assert_eq!(rows.next().unwrap().unwrap().0, b"a");
        kv.apply(Batch::new().delete("a").put("c", "3")).unwrap();
        let rest: Vec<Row> = rows.map(Result::unwrap).collect();
        assert_eq!(rest.first().unwrap().0, b"b");
    }
}

#[test]
fn a_store_that_is_open_is_busy_and_not_damaged() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let held = open(&path);
    assert!(matches!(SledKv::open(&path, CACHE), Err(KvError::Busy)));
    drop(held);
    open(&path);
}

#[test]
fn a_folder_that_cannot_be_made_is_the_disks_fault_and_not_damage() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = SledKv::open(&file.join("store"), CACHE).unwrap_err();
    assert!(
        matches!(error, KvError::Io { act: "open", .. }),
        "{error:?}"
    );
}

#[test]
fn a_store_whose_settings_are_rubbish_is_damaged_and_opens_empty_once_moved_aside() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    two_rows(&open(&path));
    fs::write(path.join("conf"), [0xff; 64]).unwrap();
    let error = SledKv::open(&path, CACHE).unwrap_err();
    assert!(matches!(error, KvError::Damaged(_)), "{error:?}");

    let aside = move_aside(&path, 7).unwrap();
    assert_eq!(aside, dir.path().join("store.damaged-7"));
    assert!(aside.join("db").exists());
    assert_eq!(open(&path).get(b"a").unwrap(), None);
}

#[test]
fn only_the_last_damaged_stores_are_kept() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    // Whoever wrote their numbers otherwise.
    for strange in ["store.damaged-+0", "store.damaged-000"] {
        fs::create_dir(dir.path().join(strange)).unwrap();
    }
    for _ in 0..5 {
        fs::create_dir(&path).unwrap();
        move_aside(&path, 1).unwrap();
    }
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["store.damaged-3", "store.damaged-4", "store.damaged-5"]
    );
}

#[test]
fn a_number_for_what_is_put_aside_is_none_that_was_there_whatever_was_planted() {
    let most = u64::MAX;
    assert_eq!(number_aside(&[], 7), 7);
    assert_eq!(number_aside(&[3], 7), 7);
    assert_eq!(number_aside(&[7, 8], 7), 9);
    assert_eq!(number_aside(&[7, most], 7), 8);
    assert_eq!(number_aside(&[most - 1, most], 7), 7);
    let ahead = (1..=u64::from(u8::MAX)).map(|more| 7 + 10 * 365 * 86_400_000 + more);
    let planted: Vec<u64> = ahead.collect();
    assert!(!planted.contains(&number_aside(&planted, 7)));
}

#[test]
fn the_size_on_disk_grows_with_what_is_kept() {
    let dir = TempDir::new().unwrap();
    let kv = open(&dir.path().join("store"));
    let before = kv.size_on_disk().unwrap();
    kv.apply(Batch::new().put("large", vec![7; 3_000_000]))
        .unwrap();
    kv.flush().unwrap();
    assert!(kv.size_on_disk().unwrap() >= before + 3_000_000);
}

/// Every file of a small store is damaged at many places, a byte or a cut at a time. A panic that
/// passed the interface would fail this test, as would a hang.
#[test]
fn damage_to_any_file_of_a_store_is_an_answer_and_never_a_panic() {
    let dir = TempDir::new().unwrap();
    let sound = dir.path().join("sound");
    small_store(&sound);
    let mut refused = 0;
    for file in files_under(&sound) {
        let bytes = fs::read(sound.join(&file)).unwrap();
        // Most of a segment is padding, so places are taken from where something is written.
        let written: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
        for nth in 0..100 {
            let at = written[nth * (written.len() - 1) / 99];
            let mut hurt = bytes.clone();
            match nth % 10 {
                9 => hurt.truncate(at),
                bit => hurt[at] ^= 1 << (bit % 8),
            }
            let path = dir.path().join("hurt");
            copy_store(&sound, &path);
            fs::write(path.join(&file), hurt).unwrap();
            refused += usize::from(exercise(&path).is_err());
            fs::remove_dir_all(&path).unwrap();
        }
    }
    assert!(
        refused > 50,
        "only {refused} of the damaged stores were refused"
    );
}

fn small_store(path: &Path) {
    let kv = open(path);
    for round in 0..40_u8 {
        let mut batch = Batch::new();
        for row in 0..20_u8 {
            batch.put([row, round % 7], vec![round; 40]);
        }
        kv.apply(&batch).unwrap();
    }
    kv.apply(Batch::new().put("large", vec![9; 600_000]))
        .unwrap();
    kv.flush().unwrap();
}

fn exercise(path: &Path) -> Result<(), KvError> {
    let kv = SledKv::open(path, CACHE)?;
    for row in rows_of(&kv) {
        row?;
    }
    kv.get(b"large")?;
    kv.apply(Batch::new().put("new", "row").delete([3, 3]))?;
    kv.flush()
}

fn files_under(path: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                folders.push(entry);
            } else {
                files.push(entry.strip_prefix(path).unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

fn copy_store(from: &Path, to: &Path) {
    for file in files_under(from) {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(&file), target).unwrap();
    }
}
