//! What may keep somebody from reading, and whom that concerns.

use crate::journal::{self, is_scarce};
use crate::kv::KvError;
use crate::record::RecordError;

/// Why something could not be read. None of it is the peer's fault.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed or is damaged.
    #[error("cannot read the store")]
    Store(#[from] KvError),
    /// The journal failed or is damaged.
    #[error("cannot read the journal")]
    Journal(#[from] journal::ReadError),
    /// A row that nothing of this program wrote: the store is damaged.
    #[error("a row of table '{table}' in the store is damaged")]
    Row {
        /// First letter of its key.
        table: char,
    },
    /// A record that is none.
    #[error("a record of the journal is damaged")]
    Record(#[from] RecordError),
}

impl ReadError {
    /// Whether whoever owns the rows has to end over it, wherever it was met: the store failed, which
    /// it does for good, or holds what was never written. A record that is damaged costs what it was
    /// read for, and so does a moment without descriptors or memory.
    pub fn is_of_rows(&self) -> bool {
        match self {
            Self::Store(KvError::Io { source, .. }) => !is_scarce(source),
            Self::Store(KvError::Damaged(_) | KvError::Busy) | Self::Row { .. } => true,
            Self::Journal(_) | Self::Record(_) => false,
        }
    }

    pub(in crate::ledger) fn row(table: u8) -> Self {
        Self::Row {
            table: char::from(table),
        }
    }
}
