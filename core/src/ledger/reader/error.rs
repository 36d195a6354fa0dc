//! What may keep somebody from reading, and whom that concerns.

use crate::journal;
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
    pub(in crate::ledger) fn row(table: u8) -> Self {
        Self::Row {
            table: char::from(table),
        }
    }
}
