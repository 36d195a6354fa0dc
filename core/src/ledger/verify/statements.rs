//! The rows that follow from statements, made anew in memory and held against those of the store.

use super::{Audit, Fault, FindingPlace, LedgerError};
use crate::id::Position;
use crate::journal::Storage;
use crate::kv::{Batch, Direction, Kv};
use crate::ledger::keys;
use crate::ledger::reader::{self, ReadError};
use crate::ledger::rebuild::{Progress, Stage};
use crate::ledger::rows::{self, FORMAT, MetaRow};
use crate::limits::VERIFY_HELD_RECORDS;
use crate::record::{Fact, Record};

impl<S: Storage, K: Kv> Audit<'_, S, K> {
    /// Every row that follows from statements, and what devices used of their day. What was added
    /// since the watermark is folded in first: while more comes, until little is left, and the rest
    /// while nothing does.
    pub(super) fn statements(
        &mut self,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), LedgerError> {
        let start = self.report.upto.position;
        let (mut done, mut left_before) = (start, u64::MAX);
        loop {
            let end = self.reader.watermark().position;
            let left = end - done;
            // Less each time, or it never ends on a server that takes in faster than this reads.
            if left <= VERIFY_HELD_RECORDS || left >= left_before {
                break;
            }
            self.fold_between(done, end)?;
            (done, left_before) = (end, left);
            progress(Progress {
                stage: Stage::Statements,
                done: done - start,
                total: done - start,
            });
        }
        let held = self.reader.shared.hold();
        self.fold_between(done, held.position)?;
        let mut batch = Batch::new();
        for (device, row) in &self.quotas {
            batch.put(keys::quota(device), rows::encode(row));
        }
        self.statements.apply(&batch)?;
        let mut faulty = Vec::new();
        for table in [
            keys::DEVICE,
            keys::INVITATION,
            keys::FACT,
            keys::FRAMEWORK,
            keys::REGIONS,
            keys::FINDING,
            keys::FOUND,
            keys::AWAITED,
            keys::STATED,
            keys::HORIZON[0],
            keys::QUOTA,
            keys::PLACEMENT,
            keys::TOLD,
            keys::REVOKED,
        ] {
            if !self.same_rows(table)? {
                faulty.push(table);
            }
        }
        let meta = MetaRow {
            format: FORMAT,
            journal: self.reader.journal(),
            applied: *held,
            checkpoint: self.checkpoint,
        };
        if reader::meta_row(self.kv())? != Some(meta) {
            faulty.push(keys::META[0]);
        }
        drop(held);
        for table in faulty.into_iter().map(char::from) {
            self.add(FindingPlace::Table(table), Fault::Row(table));
        }
        Ok(())
    }

    /// Folds the records behind a position up to another.
    fn fold_between(&mut self, after: Position, upto: Position) -> Result<(), LedgerError> {
        for scanned in self.reader.records.scan(after + 1) {
            let scanned = scanned.map_err(ReadError::from)?;
            if scanned.position > upto {
                break;
            }
            match Record::from_bytes(&scanned.record).map_err(ReadError::from)? {
                Record::Changes(changes) => self.spend(&changes),
                record @ Record::Server(_) => {
                    if let Record::Server(signed) = &record
                        && let Fact::Returned(returned) = signed.fact()
                    {
                        self.spend_returned(signed.at(), returned);
                    }
                    self.fold_statement(scanned.position, scanned.place, &record)?;
                }
            }
        }
        Ok(())
    }

    fn same_rows(&self, table: u8) -> Result<bool, LedgerError> {
        let (from, to) = keys::table(table);
        let mut found = self.kv().scan(&from, &to, Direction::Ascending);
        let mut expected = self.statements.scan(&from, &to, Direction::Ascending);
        loop {
            match (found.next().transpose()?, expected.next().transpose()?) {
                (None, None) => return Ok(true),
                (found, expected) if found == expected => {}
                (_, _) => return Ok(false),
            }
        }
    }
}
