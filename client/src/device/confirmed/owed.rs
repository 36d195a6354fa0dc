//! Statements that a server may have lost, from the moment it showed a loss until it says that it
//! has them.
//!
//! What the feed brings anew is there again, and what it brings in its place is newer: a row whose
//! place is a position is owed no longer.

use bukti_core::kv::{Batch, Kv};
use bukti_sync_protocol::fragment::ItemId;
use bukti_sync_protocol::limits::STATEMENT_BYTES_MAX;

use super::{Change, Confirmed, ConfirmedError};
use crate::device::facts::{is_long, place_of, rank};

impl<K: Kv> Confirmed<K> {
    /// The owed statements as their bytes, in the order in which a server needs them.
    pub(in crate::device) fn owed(&mut self) -> Result<Vec<Vec<u8>>, ConfirmedError> {
        if self.meta.owes_statements {
            self.owe_long_ones()?;
        }
        let (mut owed, mut settled) = (Vec::new(), Batch::new());
        for (marker, key) in self.rows(b'o')? {
            match self.fact(&key)? {
                Some(value) if place_of(&value) < 0 => owed.push((rank(&key), key, value)),
                Some(_) | None => {
                    settled.delete(marker);
                }
            }
        }
        if !settled.is_empty() {
            self.kv.apply(&settled)?;
        }
        owed.sort_by(|(rank, key, _), (other, behind, _)| (rank, key).cmp(&(other, behind)));
        let statements = owed.into_iter();
        Ok(statements
            .filter_map(|(_, _, value)| value.get(8..).map(<[u8]>::to_vec))
            .collect())
    }

    /// The server has these.
    pub(in crate::device) fn settle(&self, statements: &[ItemId]) -> Result<(), ConfirmedError> {
        let mut settled = Batch::new();
        for name in statements {
            settled.delete(marker(name));
        }
        Ok(self.kv.apply(&settled)?)
    }

    /// Stores of former versions note only that some of the long ones are owed.
    fn owe_long_ones(&mut self) -> Result<(), ConfirmedError> {
        let mut statements = self.rows(b'f')?;
        statements.retain(|(key, value)| is_long(key) && place_of(value) < 0);
        let mut change = self.change();
        for (key, value) in statements {
            change.owe(&key, value.get(8..).unwrap_or_default());
        }
        change.meta().owes_statements = false;
        change.commit()
    }
}

impl<K: Kv> Change<'_, K> {
    /// Notes that a server may have lost the statement of this row.
    pub(super) fn owe(&mut self, key: &[u8], statement: &[u8]) {
        // None is: a device's grants are bounded, and so are its person's name and a unit's code.
        if is_long(key) || statement.len() <= STATEMENT_BYTES_MAX {
            self.batch.put(marker(&ItemId::of(statement)), key);
        }
    }

    /// Forgets what was owed of another loss.
    pub(in crate::device) fn owe_nothing(&mut self) -> Result<(), ConfirmedError> {
        for (marker, _) in self.store.rows(b'o')? {
            self.batch.delete(marker);
        }
        Ok(())
    }
}

fn marker(statement: &ItemId) -> Vec<u8> {
    [b"o", statement.0.as_slice()].concat()
}
