//! Reading a whole journal again, a little at a time, while its owner appends.
//!
//! A disk loses bits in files that nobody reads. [`Scrub`] reads every segment from its first byte
//! to its last: header, groups, records, the chain across them, and the zeros behind. It holds one
//! group in memory and gives control back after each, so whoever drives it decides how fast it is.

use super::format::{Damage, Finding, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use super::reader::{Behind, JournalReader, ReadError};
use super::segment;
use super::storage::Storage;
use crate::id::Position;

/// Bytes of a segment's end that are read at once.
const ZEROS_BYTES: u32 = 64 * 1024;

/// One pass over a journal, up to its end when the pass began.
#[derive(Debug)]
pub struct Scrub<S: Storage> {
    reader: JournalReader<S>,
    /// Those that are read, and one behind them where there is one.
    segments: Vec<SegmentHeader>,
    /// The last record of this pass.
    head: Position,
    index: usize,
    /// Where the pass ends among the segments.
    end: usize,
    at: At,
}

#[derive(Debug)]
enum At {
    Header,
    /// Before the group that begins with this position.
    Group(Position, Behind),
    /// Behind the groups of a finished segment.
    Zeros(u32),
}

/// What one step did.
#[derive(Debug)]
pub struct Scrubbed {
    /// Bytes that were read.
    pub bytes: u64,
    /// The last position that was passed.
    pub position: Position,
    /// Whether the system lacked descriptors or memory. Nothing was read; the next step reads there.
    pub put_off: bool,
    /// What is not as it was written. The pass goes on with the next segment.
    pub damage: Option<Finding>,
    /// The records that were read, whole.
    pub records: Vec<(Position, Vec<u8>)>,
}

impl<S: Storage> JournalReader<S> {
    /// Begins a pass.
    pub fn scrub(&self) -> Scrub<S> {
        let (head, _) = self.head();
        let segments = self.segments_up_to(head);
        Scrub {
            end: segments.len(),
            segments,
            reader: self.clone(),
            head,
            index: 0,
            at: At::Header,
        }
    }

    /// Begins a pass over one segment; it ends at once where that is gone.
    pub fn scrub_segment(&self, number: u32) -> Scrub<S> {
        let whole = self.scrub();
        let mut segments = whole.segments.iter();
        let index = segments.position(|header| header.number == number);
        let index = index.unwrap_or(whole.end);
        let end = (index + 1).min(whole.end);
        Scrub {
            index,
            end,
            ..whole
        }
    }
}

impl<S: Storage> Scrub<S> {
    /// The last record of this pass.
    pub fn head(&self) -> Position {
        self.head
    }

    /// Reads on; `None` at the end of the pass.
    pub fn step(&mut self) -> Option<Scrubbed> {
        let ahead = &self.segments[..self.end];
        let header = ahead.get(self.index)?.clone();
        let done = match &self.at {
            At::Header => self.header(&header),
            At::Group(position, behind) => {
                let (position, behind) = (*position, behind.clone());
                self.group(&header, position, &behind)
            }
            At::Zeros(offset) => {
                let offset = *offset;
                self.zeros(&header, offset)
            }
        };
        Some(match done {
            Ok(done) => done,
            // That says nothing about the disk, and a finding would stay for ever.
            Err(ReadError::Storage(error)) if error.scarce => Scrubbed {
                put_off: true,
                ..self.passed(0, self.before(&header))
            },
            Err(error) => self.damaged(&header, error),
        })
    }

    /// The last position before what is read next.
    fn before(&self, header: &SegmentHeader) -> Position {
        match self.at {
            At::Header => header.first - 1,
            At::Group(position, _) => position - 1,
            At::Zeros(_) => self.last_of_segment(),
        }
    }

    /// The last record of the segment, as far as this pass goes.
    fn last_of_segment(&self) -> Position {
        let next = self.segments.get(self.index + 1);
        next.map_or(self.head, |next| next.first - 1)
    }

    fn header(&mut self, header: &SegmentHeader) -> Result<Scrubbed, ReadError> {
        let name = segment_name(header.number);
        let storage = self.reader.storage();
        // What the system keeps in memory says nothing about the disk.
        if self.index + 1 < self.segments.len() {
            let _ = storage.drop_cached(&name);
        }
        let damage = match segment::inspect(storage, header.number)? {
            (Some(found), None) if found == *header => None,
            (Some(_) | None, None) => Some(Damage::SegmentHeader),
            (Some(_) | None, Some(damage)) => Some(damage),
        };
        if let Some(damage) = damage {
            return Err(ReadError::Damaged(Finding {
                file: name,
                offset: 0,
                position: header.first,
                damage,
            }));
        }
        let start = Behind {
            segment: header.number,
            offset: SEGMENT_HEADER_BYTES as u32,
            chain: header.before,
        };
        self.go_on(header, header.first, start)?;
        Ok(self.passed(SEGMENT_HEADER_BYTES as u64, header.first - 1))
    }

    fn group(
        &mut self,
        header: &SegmentHeader,
        position: Position,
        behind: &Behind,
    ) -> Result<Scrubbed, ReadError> {
        let group = self.reader.group_behind(position, behind)?;
        let next = position + group.records.len() as u64;
        let end = group.behind();
        let records = (position..next)
            .map(|position| {
                let record = group.record(group.index_of(position));
                (position, record.to_vec())
            })
            .collect();
        let bytes = u64::from(end.offset - behind.offset);
        self.go_on(header, next, end)?;
        Ok(Scrubbed {
            records,
            ..self.passed(bytes, next - 1)
        })
    }

    /// What comes behind a group, or behind the header: a group, zeros, or the next segment.
    fn go_on(
        &mut self,
        header: &SegmentHeader,
        next: Position,
        behind: Behind,
    ) -> Result<(), ReadError> {
        if next <= self.last_of_segment() {
            self.at = At::Group(next, behind);
            return Ok(());
        }
        match self.segments.get(self.index + 1) {
            Some(following) if following.before != behind.chain => {
                Err(ReadError::Damaged(Finding {
                    file: segment_name(header.number),
                    offset: behind.offset.into(),
                    position: next,
                    damage: Damage::ChainBroken,
                }))
            }
            Some(_) => {
                self.at = At::Zeros(behind.offset);
                Ok(())
            }
            // The rest of the open segment is being written.
            None => {
                self.next_segment();
                Ok(())
            }
        }
    }

    fn zeros(&mut self, header: &SegmentHeader, offset: u32) -> Result<Scrubbed, ReadError> {
        let name = segment_name(header.number);
        let position = self.last_of_segment();
        let length = ZEROS_BYTES.min(header.length - offset);
        let bytes = segment::read_part(self.reader.storage(), &name, offset, length)?;
        if let Some(at) = bytes.iter().position(|&byte| byte != 0) {
            return Err(ReadError::Damaged(Finding {
                file: name,
                offset: u64::from(offset) + at as u64,
                position: position + 1,
                damage: Damage::NotZero,
            }));
        }
        if offset + length == header.length {
            self.next_segment();
        } else {
            self.at = At::Zeros(offset + length);
        }
        Ok(self.passed(length.into(), position))
    }

    fn next_segment(&mut self) {
        self.index += 1;
        self.at = At::Header;
    }

    fn passed(&self, bytes: u64, position: Position) -> Scrubbed {
        Scrubbed {
            bytes,
            position,
            put_off: false,
            damage: None,
            records: Vec::new(),
        }
    }

    /// One finding a segment: [`verify`](super::verify::verify) tells all.
    fn damaged(&mut self, header: &SegmentHeader, error: ReadError) -> Scrubbed {
        let kept = self.reader.segments_up_to(0);
        let position = self.last_of_segment();
        self.next_segment();
        let damage = match error {
            // Its records were settled meanwhile, however the file that went shows it.
            _ if header.number < kept[0].number => None,
            ReadError::Damaged(finding) => Some(finding),
            error @ (ReadError::Storage(_)
            | ReadError::BehindHead { .. }
            | ReadError::Removed { .. }) => Some(Finding {
                file: segment_name(header.number),
                offset: 0,
                position: header.first,
                damage: Damage::Unreadable {
                    message: error.to_string(),
                },
            }),
        };
        Scrubbed {
            damage,
            ..self.passed(0, position)
        }
    }
}
