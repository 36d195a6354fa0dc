//! A store in memory that the simulation can throw back to any earlier state.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Batch, Direction, Kv, KvError, Row, Rows};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Rows in memory. What is dropped with it is lost, as with a store whose folder was deleted.
#[derive(Debug, Default)]
pub struct MemoryKv {
    rows: RwLock<Arc<Map>>,
    flushed: RwLock<Arc<Map>>,
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
        let flushed = self.flushed.read().unwrap_or_else(PoisonError::into_inner);
        MemorySnapshot(Arc::clone(&flushed))
    }

    /// Goes back, or forward, to the rows of `snapshot`.
    pub fn restore(&self, snapshot: &MemorySnapshot) {
        *self.write() = Arc::clone(&snapshot.0);
    }

    // Nothing panics between two changes of the map, so even a poisoned lock holds whole batches.
    fn read(&self) -> RwLockReadGuard<'_, Arc<Map>> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Arc<Map>> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kv for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
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
        let mut rows = self.write();
        let rows = Arc::make_mut(&mut rows);
        for (key, value) in batch.writes() {
            match value {
                Some(value) => rows.insert(key.to_vec(), value.to_vec()),
                None => rows.remove(key),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), KvError> {
        let rows = Arc::clone(&self.read());
        *self.flushed.write().unwrap_or_else(PoisonError::into_inner) = rows;
        Ok(())
    }

    fn size_on_disk(&self) -> Result<u64, KvError> {
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
