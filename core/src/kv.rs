//! One ordered keyspace for everything that is derived from the journal.
//!
//! Documents, the catalogue, indexes, digests and the journal position they reflect share one
//! keyspace, because one batch must cover them all: a store that says "position 900" holds exactly
//! what the first 900 records make. All of it can be deleted and rebuilt, so a store that fails is
//! not repaired: it answers [`KvError::Damaged`], is moved aside and made again.

use std::collections::BTreeMap;
use std::{fmt, io};

pub use self::memory::{KvFault, MemoryKv, MemorySnapshot};
pub use self::sled::{SledKv, move_aside, number_aside};

mod memory;
pub mod sled;

/// One row: its key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Rows of a scan. After an error it yields nothing more.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Row, KvError>> + 'a>;

/// Keeps rows in the order of their keys and writes any number of them at once.
///
/// Nothing written here counts as durable: whoever needs durability writes to the journal first.
/// After any `Err` the store may hold half of what was being written, so it answers every later
/// call with an error too; the owner drops it and opens or rebuilds it again. A read for which the
/// system had no descriptor or memory is that read's error alone.
pub trait Kv: fmt::Debug + Send + Sync {
    /// Reads the value under `key`.
    ///
    /// # Errors
    /// See [`KvError`]; all operations share its causes.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;

    /// Walks the rows with `from <= key < to`, by rising or falling key.
    ///
    /// A scan is not a snapshot: a row written while it runs shows or does not. Whoever needs rows
    /// that belong together keeps writers out meanwhile.
    fn scan<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Rows<'a>;

    /// Writes all of `batch` or, if the process dies meanwhile, none of it.
    ///
    /// # Errors
    /// As [`Kv::get`]. After an error none of the batch counts.
    fn apply(&self, batch: &Batch) -> Result<(), KvError>;

    /// Hands everything applied to the operating system. Promises nothing about power loss.
    ///
    /// # Errors
    /// As [`Kv::get`].
    fn flush(&self) -> Result<(), KvError>;

    /// Bytes that the store takes on disk; for one in memory, the bytes of its rows.
    ///
    /// # Errors
    /// As [`Kv::get`].
    fn size_on_disk(&self) -> Result<u64, KvError>;
}

/// Which end of a range a scan starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// By rising key.
    Ascending,
    /// By falling key.
    Descending,
}

/// Puts and deletes that are applied together. Of several for one key the last counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Batch {
    /// What one write costs besides its key and value: two lengths of four bytes.
    const WRITE_OVERHEAD_BYTES: usize = 8;

    /// Starts with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value under `key`.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.write(key.into(), Some(value.into()))
    }

    /// Removes the row under `key`, if there is one.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.write(key.into(), None)
    }

    /// The writes in key order: `Some` value to put, `None` to delete.
    pub fn writes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.writes
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// Number of keys written.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether nothing would be written.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of all keys and values with eight for each write, to bound a batch by.
    pub fn encoded_bytes(&self) -> usize {
        self.bytes
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> &mut Self {
        let key_bytes = key.len() + Self::WRITE_OVERHEAD_BYTES;
        self.bytes += key_bytes + value.as_ref().map_or(0, Vec::len);
        if let Some(former) = self.writes.insert(key, value) {
            self.bytes -= key_bytes + former.map_or(0, |former| former.len());
        }
        self
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// Its files cannot be understood, or it failed before: move it aside and rebuild.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Somebody else holds it open.
    #[error("the store is held open by another process")]
    Busy,
    /// The disk, or the right to use it, failed. The rows may be sound.
    #[error("cannot {act} the store")]
    Io {
        /// What was being done.
        act: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests;
