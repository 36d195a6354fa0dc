//! Going through the journal in order.

use super::format::Place;
use super::reader::{Behind, Group, JournalReader, ReadError};
use super::storage::Storage;
use crate::id::{Chain, Position};

/// One record of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Its position.
    pub position: Position,
    /// Where it stands.
    pub place: Place,
    /// The record.
    pub record: Vec<u8>,
    /// Chain after it.
    pub chain: Chain,
}

/// Gives records in order up to a head fixed at its start; ends after the first error.
///
/// One group is in memory at a time.
#[derive(Debug)]
pub struct Scan<S: Storage> {
    reader: JournalReader<S>,
    next: Position,
    last: Position,
    at: At,
}

#[derive(Debug)]
enum At {
    Start,
    In(Group),
    Behind(Behind),
    Failed,
}

impl<S: Storage> Scan<S> {
    pub(super) fn new(reader: JournalReader<S>, from: Position, last: Position) -> Self {
        Self {
            reader,
            next: from,
            last,
            at: At::Start,
        }
    }

    /// The last position that this scan gives.
    pub fn last(&self) -> Position {
        self.last
    }

    fn load(&mut self) -> Result<(), ReadError> {
        let group = match &self.at {
            At::In(_) | At::Failed => return Ok(()),
            At::Start => self.reader.group_of(self.next)?,
            At::Behind(behind) => self.reader.group_behind(self.next, behind)?,
        };
        self.at = At::In(group);
        Ok(())
    }
}

impl<S: Storage> Iterator for Scan<S> {
    type Item = Result<Scanned, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.last {
            return None;
        }
        if let Err(error) = self.load() {
            self.at = At::Failed;
            return Some(Err(error));
        }
        let At::In(group) = &self.at else {
            return None;
        };
        let index = group.index_of(self.next);
        let scanned = Scanned {
            position: self.next,
            place: group.place(index),
            record: group.record(index).to_vec(),
            chain: group.records[index].after,
        };
        self.next += 1;
        if index + 1 == group.records.len() {
            self.at = At::Behind(group.behind());
        }
        Some(Ok(scanned))
    }
}
