//! Reading the journal of a serving ledger again, statements and their signatures included.

use super::Reader;
use crate::id::{Position, ServerId};
use crate::journal::format::segment_number;
use crate::journal::{Storage, scrub};
use crate::kv::Kv;
use crate::record::Record;

/// One pass, driven a step at a time.
#[derive(Debug)]
pub struct Scrub<S: Storage> {
    journal: scrub::Scrub<S>,
    server: ServerId,
}

/// What one step saw.
#[derive(Debug)]
pub struct Scrubbed {
    /// Bytes that were read.
    pub bytes: u64,
    /// The last position that was passed.
    pub position: Position,
    /// Whether the system lacked descriptors or memory. Nothing was read; the next step reads there.
    pub put_off: bool,
    /// What is not as it was written.
    pub damage: Vec<Damaged>,
}

/// One thing that is not as it was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The segment whose bytes are others; none where a record's content is wrong.
    pub segment: Option<u32>,
    /// Where.
    pub place: String,
    /// What.
    pub fault: String,
}

impl<S: Storage, K: Kv> Reader<S, K> {
    /// Begins a pass up to the last durable record.
    pub fn scrub(&self) -> Scrub<S> {
        Scrub {
            journal: self.records.scrub(),
            server: self.server(),
        }
    }

    /// Begins a pass over one of the journal's segments, up to the last durable record.
    pub fn scrub_segment(&self, number: u32) -> Scrub<S> {
        Scrub {
            journal: self.records.scrub_segment(number),
            server: self.server(),
        }
    }

    /// Has `alarm` called with the number of a segment whenever anybody who reads the journal meets
    /// damage in it; see [`JournalReader::on_damage`](crate::journal::JournalReader::on_damage).
    pub fn on_damage(&self, alarm: impl Fn(u32) + Send + Sync + 'static) {
        self.records.on_damage(alarm);
    }
}

impl<S: Storage> Scrub<S> {
    /// The last record of this pass.
    pub fn head(&self) -> Position {
        self.journal.head()
    }

    /// Reads on, at most one group; `None` at the end of the pass.
    pub fn step(&mut self) -> Option<Scrubbed> {
        let step = self.journal.step()?;
        let in_files = step.damage.map(|finding| Damaged {
            segment: segment_number(&finding.file),
            place: format!("journal/{} at byte {}", finding.file, finding.offset),
            fault: finding.damage.to_string(),
        });
        let in_records = step.records.iter().filter_map(|(position, record)| {
            let fault = match Record::from_bytes(record) {
                Ok(Record::Server(signed)) => signed.verify(&self.server).err()?.to_string(),
                Ok(Record::Changes(_)) => return None,
                Err(error) => error.to_string(),
            };
            Some(Damaged {
                segment: None,
                place: format!("record {position}"),
                fault,
            })
        });
        Some(Scrubbed {
            bytes: step.bytes,
            position: step.position,
            put_off: step.put_off,
            damage: in_files.into_iter().chain(in_records).collect(),
        })
    }
}
