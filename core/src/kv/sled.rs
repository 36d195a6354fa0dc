//! The store on disk: the only place that names sled.
//!
//! sled 0.34.7 syncs files by `sync_file_range`, not `fsync`, and large values go to files that it
//! never syncs; some damage makes it panic. It keeps only what can be rebuilt, so a panic or an
//! error in it becomes an answer, and the handle gives up for good: sled's pages in memory may
//! then hold half a batch.

use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use super::{Batch, Direction, Kv, KvError, Row, Rows};
use crate::journal::is_scarce;
use crate::limits::{
    STORE_CACHE_BYTES_MIN, STORE_CLOSE_SECONDS, STORE_FLUSH_EVERY_MS, STORES_DAMAGED_MAX,
};

/// In the folder of a store that was found damaged: why. sled itself opens such a store again
/// without noticing, as long as nobody reads the damaged page.
const DAMAGED: &str = "damaged.txt";

/// A store in a folder of its own.
#[derive(Debug)]
pub struct SledKv {
    path: PathBuf,
    /// `None` only while it is being dropped.
    db: Option<::sled::Db>,
    /// The first failure. Later calls are answered with it.
    failed: OnceLock<String>,
}

impl SledKv {
    /// Opens the store in the folder `path`, or makes an empty one, with `cache_bytes` of cache.
    ///
    /// Damage that shows only in one page is found when that page is read, and then remembered:
    /// the store is not opened again.
    ///
    /// # Errors
    /// [`KvError::Damaged`]: the owner calls [`move_aside`], opens again and rebuilds.
    /// [`KvError::Busy`]: another handle, here or in another process, is open.
    /// [`KvError::Io`]: the folder cannot be made, read or written.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, KvError> {
        // First, since a failed handle holds its files until the process ends.
        refuse_if_damaged(path)?;
        #[expect(clippy::disallowed_methods, reason = "sled reads the clock next")]
        refuse_before_1970(SystemTime::now())?;
        wait_until_free(path)?;
        let config = ::sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes.max(STORE_CACHE_BYTES_MIN))
            .flush_every_ms(Some(STORE_FLUSH_EVERY_MS));
        let db = guarded("open", || config.open())?;
        Ok(Self {
            path: path.to_owned(),
            db: Some(db),
            failed: OnceLock::new(),
        })
    }

    fn run<T>(
        &self,
        act: &'static str,
        work: impl FnOnce(&::sled::Db) -> ::sled::Result<T>,
    ) -> Result<T, KvError> {
        self.attempt(act, work)
            .inspect_err(|error| self.give_up(error))
    }

    /// Like [`run`](Self::run), for what only reads: sled opens a file for each large value, and where
    /// the system has no descriptor or memory for that, nothing was left half done and the rows are
    /// as they were.
    fn read<T>(&self, work: impl FnOnce(&::sled::Db) -> ::sled::Result<T>) -> Result<T, KvError> {
        self.attempt("read", work).inspect_err(|error| match error {
            KvError::Io { source, .. } if is_scarce(source) => {}
            KvError::Io { .. } | KvError::Busy | KvError::Damaged(_) => self.give_up(error),
        })
    }

    fn attempt<T>(
        &self,
        act: &'static str,
        work: impl FnOnce(&::sled::Db) -> ::sled::Result<T>,
    ) -> Result<T, KvError> {
        match self.failed.get() {
            Some(reason) => Err(KvError::Damaged(reason.clone())),
            None => guarded(act, || work(self.db())),
        }
    }

    fn db(&self) -> &::sled::Db {
        self.db.as_ref().expect("only drop takes it")
    }

    fn give_up(&self, error: &KvError) {
        let reason = match error {
            KvError::Damaged(reason) => {
                // A disk that takes no file keeps the damage from being remembered; it shows again.
                let _ = fs::write(self.path.join(DAMAGED), reason);
                reason.clone()
            }
            KvError::Busy => error.to_string(),
            KvError::Io { act, source } => format!("it could not {act} before: {source}"),
        };
        // Another thread's reason may have been first; either will do.
        let _ = self.failed.set(reason);
    }
}

impl Kv for SledKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let value = self.read(|db| db.get(key))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Rows<'a> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        match self.read(|db| Ok(db.range(from..to))) {
            Ok(rows) => Box::new(Scan {
                kv: self,
                rows: Some(rows),
                direction,
            }),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn apply(&self, batch: &Batch) -> Result<(), KvError> {
        let mut writes = ::sled::Batch::default();
        for (key, value) in batch.writes() {
            match value {
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        self.run("write", |db| db.apply_batch(writes))
    }

    fn flush(&self) -> Result<(), KvError> {
        self.run("flush", |db| db.flush()).map(|_bytes| ())
    }

    fn size_on_disk(&self) -> Result<u64, KvError> {
        self.run("measure", ::sled::Db::size_on_disk)
    }
}

impl Drop for SledKv {
    /// Writes out what is left. A store that failed is not closed but forgotten, until the process
    /// ends: closing writes, and waits for a thread of sled's that may be gone.
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        if self.failed.get().is_some() {
            std::mem::forget(db);
            return;
        }
        let (closed, wait) = mpsc::channel();
        let close = move || {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
            let _ = closed.send(());
        };
        if thread::Builder::new().spawn(close).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(STORE_CLOSE_SECONDS));
        }
    }
}

struct Scan<'a> {
    kv: &'a SledKv,
    /// `None` after an error.
    rows: Option<::sled::Iter>,
    direction: Direction,
}

impl Iterator for Scan<'_> {
    type Item = Result<Row, KvError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.rows.as_mut()?;
        let step = self.kv.read(|_db| {
            match self.direction {
                Direction::Ascending => rows.next(),
                Direction::Descending => rows.next_back(),
            }
            .transpose()
        });
        match step {
            Ok(Some((key, value))) => Some(Ok((key.to_vec(), value.to_vec()))),
            Ok(None) => None,
            Err(error) => {
                // A panic may have left it anywhere; dropping it could panic too.
                std::mem::forget(self.rows.take());
                Some(Err(error))
            }
        }
    }
}

/// How far beyond now a number is taken for one that was drawn here: a clock that was set back.
const ASIDE_AHEAD_MS: u64 = 10 * 365 * 24 * 60 * 60 * 1000;

/// A number for what is put aside: at least `number_min`, which is the time, beyond those in `kept` and
/// none of them. One that lies years ahead is somebody's invention: to go beyond it would lead to
/// where there are no more.
pub fn number_aside(kept: &[u64], number_min: u64) -> u64 {
    let drawn = kept
        .iter()
        .filter(|number| **number <= number_min.saturating_add(ASIDE_AHEAD_MS));
    let next = drawn.max().map_or(0, |last| last.saturating_add(1));
    let mut number = next.max(number_min);
    while kept.contains(&number) {
        number = number.wrapping_add(1);
    }
    number
}

/// Renames the folder of a store to `….damaged-N` beside it and returns that name, so that the
/// next [`SledKv::open`] starts empty. N is `number_min` or more, and more than the others there have.
/// Only the last [`STORES_DAMAGED_MAX`] are kept.
///
/// # Errors
/// [`KvError::Io`]: the folder cannot be renamed, or a former one cannot be removed.
pub fn move_aside(path: &Path, number_min: u64) -> Result<PathBuf, KvError> {
    let failed = |source| KvError::Io {
        act: "move aside",
        source,
    };
    let no_name = || failed(io::Error::from(io::ErrorKind::InvalidInput));
    let name = path.file_name().and_then(|name| name.to_str());
    let prefix = format!("{}.damaged-", name.ok_or_else(no_name)?);
    let parent = path.parent().unwrap_or(Path::new(""));
    let listed = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };

    // By the names that were found: a number may be written in more than one way.
    let mut kept = Vec::new();
    for entry in fs::read_dir(listed).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        let number = number.and_then(|number| number.parse::<u64>().ok());
        kept.extend(number.map(|number| (number, name)));
    }
    kept.sort_unstable();
    let numbers: Vec<u64> = kept.iter().map(|(number, _)| *number).collect();
    let number = number_aside(&numbers, number_min);
    let aside = parent.join(format!("{prefix}{number}"));
    fs::rename(path, &aside).map_err(failed)?;
    let surplus = (kept.len() + 1).saturating_sub(STORES_DAMAGED_MAX);
    for (_, old) in kept.drain(..surplus) {
        fs::remove_dir_all(parent.join(old)).map_err(failed)?;
    }
    Ok(aside)
}

/// Waits for a handle of this process that is being closed: sled lets go of its file only when its
/// last thread has ended, which may be after the handle was dropped. The owner of the data folder
/// holds that folder's lock, so nobody else can be meant.
fn wait_until_free(path: &Path) -> Result<(), KvError> {
    for _ in 0..CLOSING_LOOKS {
        match refuse_if_held(path) {
            Err(KvError::Busy) => thread::sleep(CLOSING_LOOK_EVERY),
            answered => return answered,
        }
    }
    refuse_if_held(path)
}

/// How often, and how long apart, a store that is being closed is looked at: 2 s in all.
const CLOSING_LOOKS: u32 = 100;
const CLOSING_LOOK_EVERY: Duration = Duration::from_millis(20);

/// sled reports a held lock as an error like any other, which must not pass for damage.
fn refuse_if_held(path: &Path) -> Result<(), KvError> {
    let failed = |source| KvError::Io {
        act: "open",
        source,
    };
    let file = match File::open(path.join("db")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(KvError::Busy),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn refuse_if_damaged(path: &Path) -> Result<(), KvError> {
    match fs::read(path.join(DAMAGED)) {
        Ok(reason) => Err(KvError::Damaged(format!(
            "it was found damaged before: {}",
            String::from_utf8_lossy(&reason)
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(KvError::Io {
            act: "open",
            source,
        }),
    }
}

/// sled ends the process where its clock stands before 1970.
fn refuse_before_1970(now: SystemTime) -> Result<(), KvError> {
    match now < SystemTime::UNIX_EPOCH {
        true => Err(KvError::Io {
            act: "open",
            source: io::Error::other("the clock of this machine stands before 1970: set it"),
        }),
        false => Ok(()),
    }
}

fn guarded<T>(act: &'static str, work: impl FnOnce() -> ::sled::Result<T>) -> Result<T, KvError> {
    // Nothing that a panic leaves half done is looked at again: the handle gives up.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(classify(act, error)),
        Err(panic) => Err(KvError::Damaged(format!("{act}: {}", reason(&*panic)))),
    }
}

fn classify(act: &'static str, error: ::sled::Error) -> KvError {
    match error {
        ::sled::Error::Io(source) => match source.kind() {
            // The files do not hold what they should.
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotFound => KvError::Damaged(format!("{act}: {source}")),
            _ => KvError::Io { act, source },
        },
        ::sled::Error::CollectionNotFound(_)
        | ::sled::Error::Unsupported(_)
        | ::sled::Error::ReportableBug(_)
        | ::sled::Error::Corruption { .. } => KvError::Damaged(format!("{act}: {error}")),
    }
}

fn reason(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it stopped without saying why").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_for_which_there_is_no_descriptor_or_memory_is_no_damage() {
        let dir = tempfile::TempDir::new().unwrap();
        let kv = SledKv::open(&dir.path().join("store"), 0).unwrap();
        kv.apply(Batch::new().put("a", "1")).unwrap();
        // As Linux numbers them: no memory, too many files of the system, and of the process.
        for errno in [12, 23, 24] {
            let scarce = || Err(io::Error::from_raw_os_error(errno).into());
            let read = kv.read::<()>(|_db| scarce()).unwrap_err();
            assert!(matches!(read, KvError::Io { .. }), "{read:?}");
            assert_eq!(kv.get(b"a").unwrap().as_deref(), Some(b"1".as_slice()));
        }
        // What a write left behind is unknown.
        let scarce = || Err(io::Error::from_raw_os_error(24).into());
        assert!(kv.run::<()>("write", |_db| scarce()).is_err());
        assert!(matches!(kv.get(b"a"), Err(KvError::Damaged(_))));
    }

    #[test]
    fn any_other_error_of_a_read_is_final() {
        let dir = tempfile::TempDir::new().unwrap();
        let kv = SledKv::open(&dir.path().join("store"), 0).unwrap();
        let failing = || Err(io::Error::other("the device reports an error").into());
        assert!(kv.read::<()>(|_db| failing()).is_err());
        assert!(matches!(kv.get(b"a"), Err(KvError::Damaged(_))));
    }

    #[test]
    fn a_clock_before_1970_is_told_and_damages_nothing() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        let refused = refuse_before_1970(before).unwrap_err();
        assert!(
            matches!(refused, KvError::Io { act: "open", .. }),
            "{refused}"
        );
        refuse_before_1970(SystemTime::UNIX_EPOCH).unwrap();
    }

    #[test]
    fn a_panic_in_sled_is_damage_and_the_handle_gives_up_for_good() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("store");
        let kv = SledKv::open(&path, 0).unwrap();
        kv.apply(Batch::new().put("a", "1")).unwrap();
        let mut rows = kv.scan(b"", b"z", Direction::Ascending);

        let broken = kv.run::<()>("write", |_db| panic!("page {} is gone", 7));

        let is_damage = |error: &KvError| matches!(error, KvError::Damaged(reason) if reason == "write: page 7 is gone");
        assert!(is_damage(&broken.unwrap_err()));
        assert!(is_damage(&kv.get(b"a").unwrap_err()));
        assert!(is_damage(&kv.apply(&Batch::new()).unwrap_err()));
        assert!(is_damage(&rows.next().unwrap().unwrap_err()));
        assert!(rows.next().is_none());
        drop(rows);
        drop(kv);
        let again = SledKv::open(&path, 0);
        assert!(matches!(again, Err(KvError::Damaged(_))), "{again:?}");
        move_aside(&path, 1).unwrap();
        assert_eq!(SledKv::open(&path, 0).unwrap().get(b"a").unwrap(), None);
    }
}
