//! A store in memory that the simulation can throw back to any earlier state, and that fails on
//! purpose.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Batch, Direction, Kv, KvError, Row, Rows};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Rows in memory; clones share them. What is dropped with the last of them is lost, as with a
/// store whose folder was deleted.
#[derive(Debug, Clone, Default)]
pub struct MemoryKv {
    store: Arc<Store>,
}

#[derive(Debug, Default)]
struct Store {
    rows: RwLock<Arc<Map>>,
    flushed: RwLock<Arc<Map>>,
    failing: Mutex<Failing>,
}

#[derive(Debug, Default)]
struct Failing {
    calls: u64,
    planned: Option<(u64, KvFault)>,
    /// The failure that every later call is answered with.
    failed: Option<KvFault>,
    /// The batch whose writing failed: it may be found written or not.
    in_doubt: Option<Batch>,
}

/// How a store fails on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvFault {
    /// The disk under it reports an error.
    Io,
    /// It finds itself damaged.
    Damaged,
}

/// All rows of a [`MemoryKv`] at one moment. Taking one costs nothing; the first write after it
/// copies the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemorySnapshot(Arc<Map>);

impl MemoryKv {
    /// Starts empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the present rows for [`MemoryKv::restore`].
    pub fn snapshot(&self) -> MemorySnapshot {
        MemorySnapshot(Arc::clone(&self.read()))
    }

    /// The rows at the last flush: all that is certain to outlive a process that is killed.
    pub fn flushed(&self) -> MemorySnapshot {
        let flushed = self.store.flushed.read();
        MemorySnapshot(Arc::clone(&flushed.unwrap_or_else(PoisonError::into_inner)))
    }

    /// Goes back, or forward, to the rows of `snapshot`.
    pub fn restore(&self, snapshot: &MemorySnapshot) {
        *self.write() = Arc::clone(&snapshot.0);
    }

    /// Lets call number `call`, counted from 1 and from here, fail, and every later one until the
    /// store is opened anew.
    pub fn fail_at(&self, call: u64, fault: KvFault) {
        let mut failing = self.failing();
        let at = failing.calls + call;
        failing.planned = Some((at, fault));
    }

    /// Whether it failed and was not opened anew since.
    pub fn has_failed(&self) -> bool {
        self.failing().failed.is_some()
    }

    /// Opens the store anew after it failed, or voids a failure that is planned. A batch whose
    /// writing failed is there if `with_batch`.
    pub fn open_anew(&self, with_batch: bool) {
        let failing = std::mem::take(&mut *self.failing());
        if let Some(batch) = failing.in_doubt.filter(|_| with_batch) {
            self.put(&batch);
        }
    }

    fn call(&self) -> Result<(), KvError> {
        let mut failing = self.failing();
        failing.calls += 1;
        let calls = failing.calls;
        if let Some((_, fault)) = failing.planned.take_if(|(at, _)| *at == calls) {
            failing.failed = Some(fault);
        }
        match failing.failed {
            None => Ok(()),
            Some(fault) => Err(fault.error()),
        }
    }

    fn put(&self, batch: &Batch) {
        let mut rows = self.write();
        let rows = Arc::make_mut(&mut rows);
        for (key, value) in batch.writes() {
            match value {
                Some(value) => rows.insert(key.to_vec(), value.to_vec()),
                None => rows.remove(key),
            };
        }
    }

    // Nothing panics between two changes of the map, so even a poisoned lock holds whole batches.
    fn read(&self) -> RwLockReadGuard<'_, Arc<Map>> {
        let rows = self.store.rows.read();
        rows.unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Arc<Map>> {
        let rows = self.store.rows.write();
        rows.unwrap_or_else(PoisonError::into_inner)
    }

    fn failing(&self) -> MutexGuard<'_, Failing> {
        let failing = self.store.failing.lock();
        failing.unwrap_or_else(PoisonError::into_inner)
    }
}

impl KvFault {
    fn error(self) -> KvError {
        match self {
            Self::Io => KvError::Io {
                act: "use",
                source: io::Error::other("the device reports an error on purpose"),
            },
            Self::Damaged => KvError::Damaged("it is damaged on purpose".to_owned()),
        }
    }
}

impl Kv for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.call()?;
        Ok(self.read().get(key).cloned())
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Rows<'a> {
        Box::new(Scan {
            kv: self,
            from: Bound::Included(from.to_vec()),
            to: Bound::Excluded(to.to_vec()),
            direction,
        })
    }

    fn apply(&self, batch: &Batch) -> Result<(), KvError> {
        let sound = !self.has_failed();
        if let Err(error) = self.call() {
            if sound {
                self.failing().in_doubt = Some(batch.clone());
            }
            return Err(error);
        }
        self.put(batch);
        Ok(())
    }

    fn flush(&self) -> Result<(), KvError> {
        self.call()?;
        let rows = Arc::clone(&self.read());
        let flushed = self.store.flushed.write();
        *flushed.unwrap_or_else(PoisonError::into_inner) = rows;
        Ok(())
    }

    fn size_on_disk(&self) -> Result<u64, KvError> {
        self.call()?;
        let bytes = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.len() + value.len()) as u64;
        Ok(self.read().iter().map(bytes).sum())
    }
}

/// Looks up each row anew, so a batch applied during the scan shows as it does on disk.
struct Scan<'a> {
    kv: &'a MemoryKv,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    direction: Direction,
}

impl Scan<'_> {
    fn is_over(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to)) => from >= to,
            (_, Bound::Included(_) | Bound::Unbounded) | (Bound::Unbounded, _) => false,
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Row, KvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over() {
            return None;
        }
        if let Err(error) = self.kv.call() {
            // After an error a scan yields nothing more.
            self.from = Bound::Excluded(Vec::new());
            self.to = Bound::Excluded(Vec::new());
            return Some(Err(error));
        }
        let rows = self.kv.read();
        let mut range = rows.range((self.from.clone(), self.to.clone()));
        let (key, value) = match self.direction {
            Direction::Ascending => range.next(),
            Direction::Descending => range.next_back(),
        }?;
        let passed = Bound::Excluded(key.clone());
        match self.direction {
            Direction::Ascending => self.from = passed,
            Direction::Descending => self.to = passed,
        }
        Some(Ok((key.clone(), value.clone())))
    }
}
