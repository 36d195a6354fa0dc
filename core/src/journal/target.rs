//! What the folder of a copy holds already, held against the journal that is copied.
//!
//! A folder that was copied to before may be all that is left of records which the journal has
//! lost. So nothing in it is replaced unless it is the journal's own: equal bytes, or damaged ones
//! of which something whole behind them says that they were. The chain in the header of a group or
//! segment commits to all records before it; if that header is the journal's, so was what stood
//! before it.

use std::collections::BTreeSet;

use super::Watermark;
use super::copy::{CopyError, Part, Proven, ProvenGroup};
use super::format::{
    Damage, Finding, GROUP_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name,
};
use super::reader::JournalReader;
use super::recover::Folder;
use super::segment::{self, Cursor};
use super::storage::{Doing, Storage};
use super::tail::{self, TailKind};
use super::verify::{Extent, verify};
use crate::id::{JournalId, Position};
use crate::limits::SEGMENT_BYTES_MAX;

/// Why a folder is not copied to. Nothing in it was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It holds another journal.
    #[error("{file} belongs to journal {found}")]
    OtherJournal {
        /// The segment that says so.
        file: String,
        /// The id in its header.
        found: JournalId,
    },
    /// It goes on where the journal that is copied ends.
    #[error("{file} at byte {offset} goes on behind record {here}, up to record {there}")]
    Later {
        /// The segment that goes on.
        file: String,
        /// Where in it.
        offset: u64,
        /// The last record that would be copied.
        here: Position,
        /// The last one in the folder.
        there: Position,
    },
    /// From some record on it holds another history of the same journal.
    #[error("{file} at byte {offset} (record {position}) is of another history of this journal")]
    OtherHistory {
        /// The first segment that differs.
        file: String,
        /// Where in it.
        offset: u64,
        /// The first record there.
        position: Position,
    },
    /// Something in it is not as it was written, and nothing vouches that it was of this history.
    #[error("{0}, and nothing shows that it was of this history")]
    Unproven(Finding),
}

/// What a folder holds that may be copied to.
#[derive(Debug)]
pub(super) struct Held {
    /// Segments that it has already, byte for byte.
    pub(super) segments: BTreeSet<u32>,
    /// What it had and lost, the first of each segment.
    pub(super) lost: Vec<Finding>,
}

impl<S: Storage> JournalReader<S> {
    /// Finds out whether `parts` may be copied to the folder, and what it holds of them.
    pub(super) fn hold_against<T: Storage>(
        &self,
        target: &T,
        folder: &Folder,
        parts: &[Part],
        vouched: Position,
    ) -> Result<Held, CopyError> {
        if let Some(name) = folder.unknown.first() {
            return Err(Refused::Unproven(Finding {
                file: name.clone(),
                offset: 0,
                position: 0,
                damage: Damage::UnknownFile,
            })
            .into());
        }
        let mut judging = Judging {
            target,
            vouched,
            doubts: Vec::new(),
            held: BTreeSet::new(),
        };
        judging.headers(self.id(), folder, parts)?;
        for part in parts {
            if folder.segments.contains(&part.header.number) {
                judging.segment(part, &self.proven(&part.header, &part.end)?)?;
            } else {
                judging.missing(&part.header);
            }
        }
        let last = parts.last().expect("a journal has a segment");
        for &number in &folder.segments {
            if number > last.header.number {
                judging.segment_behind(number, last)?;
            }
        }
        judging.finish()
    }
}

struct Judging<'a, T> {
    target: &'a T,
    /// The last record up to which the folder is known to have held the journal's history.
    vouched: Position,
    doubts: Vec<Doubt>,
    held: BTreeSet<u32>,
}

impl<T: Storage> Judging<'_, T> {
    /// Looks at all headers first: one of another journal says what the folder is, and one of ours
    /// vouches for the segments before it.
    fn headers(&mut self, id: JournalId, folder: &Folder, parts: &[Part]) -> Result<(), CopyError> {
        for &number in &folder.segments {
            let (header, _) = segment::inspect(self.target, number).map_err(CopyError::Target)?;
            let Some(header) = header else { continue };
            if header.id != id {
                let (file, found) = (segment_name(number), header.id);
                return Err(Refused::OtherJournal { file, found }.into());
            }
            if parts.iter().any(|part| part.header == header) {
                self.vouch(header.first - 1);
            }
        }
        Ok(())
    }

    fn vouch(&mut self, position: Position) {
        self.vouched = self.vouched.max(position);
    }

    /// Judges a segment of the folder that the journal has, too.
    fn segment(&mut self, part: &Part, ours: &Proven) -> Result<(), CopyError> {
        let Part { header, end } = part;
        let name = segment_name(header.number);
        let bytes = self.read(&name, header)?;
        if is_same(&bytes, header, &ours.content) {
            self.vouch(end.position);
            self.held.insert(header.number);
            return Ok(());
        }
        check_header(&bytes, header, &name)?;
        let mut there = Cursor::start(header);
        for group in &ours.groups {
            if ours.is_header_at(&bytes, group.start) {
                self.vouch(group.last.position);
                there = group.behind();
            }
        }
        if let Some((offset, position)) = ours.first_foreign(&bytes, header) {
            return Err(self.foreign(&name, offset, position, part, ours));
        }
        // Single bytes where only zeros may be were never a record.
        there.offset = there.offset.min(bytes.len());
        let is_stray = tail::judge(&bytes, header, &there) == TailKind::Stray;
        for mut doubt in ours.doubts(&bytes, part, &name) {
            if doubt.is_strange && is_stray && doubt.at >= there.offset {
                doubt.needs = 0;
                doubt.finding.offset = doubt.at as u64;
                doubt.finding.position = there.next;
                doubt.finding.damage = Damage::NotZero;
            }
            self.doubts.push(doubt);
        }
        Ok(())
    }

    /// A segment that is not there: nothing was lost, unless it had been copied before.
    fn missing(&mut self, header: &SegmentHeader) {
        self.doubts.push(Doubt {
            at: 0,
            is_strange: false,
            needs: header.first,
            finding: Finding {
                file: segment_name(header.number),
                offset: 0,
                position: header.first,
                damage: Damage::Missing,
            },
        });
    }

    fn read(&self, name: &str, header: &SegmentHeader) -> Result<Vec<u8>, CopyError> {
        let found = self.target.length(name).doing("measure", name);
        let found = found.map_err(CopyError::Target)?;
        if found > SEGMENT_BYTES_MAX.into() {
            let expected = header.length.into();
            let damage = Damage::SegmentLength { expected, found };
            return Err(unproven(name, header.first, damage));
        }
        segment::read_whole(self.target, name, found).map_err(CopyError::Target)
    }

    /// A whole group that is not the journal's: it goes on behind it, or is of another history.
    fn foreign(
        &self,
        name: &str,
        offset: usize,
        position: Position,
        part: &Part,
        ours: &Proven,
    ) -> CopyError {
        let here = part.end.position;
        let goes_on = offset >= ours.content.len() && position > here;
        self.refuse(name, offset, position, goes_on.then_some(here))
    }

    /// Judges a segment of the folder behind the last one of the journal.
    fn segment_behind(&self, number: u32, last: &Part) -> Result<(), CopyError> {
        let name = segment_name(number);
        let (header, damage) = segment::inspect(self.target, number).map_err(CopyError::Target)?;
        let Watermark { position, chain } = last.end;
        let Some(header) = header else {
            let damage = damage.unwrap_or(Damage::SegmentHeader);
            return Err(unproven(&name, position + 1, damage));
        };
        let goes_on = match header.first.checked_sub(position + 1) {
            Some(0) => header.before == chain,
            Some(_) => true,
            None => false,
        };
        Err(self.refuse(&name, 0, header.first, goes_on.then_some(position)))
    }

    fn refuse(
        &self,
        file: &str,
        offset: usize,
        position: Position,
        goes_on_behind: Option<Position>,
    ) -> CopyError {
        let (file, offset) = (file.to_owned(), offset as u64);
        let there = verify(self.target, &Extent::default());
        if there.scarce {
            return CopyError::Scarce;
        }
        let there = there.head.map_or(0, |head| head.position);
        let refused = match goes_on_behind {
            Some(here) if there > here => Refused::Later {
                file,
                offset,
                here,
                there,
            },
            Some(_) | None => Refused::OtherHistory {
                file,
                offset,
                position,
            },
        };
        refused.into()
    }

    /// Whether all that is damaged is known to have been the journal's.
    fn finish(self) -> Result<Held, CopyError> {
        let (vouched, doubts) = (self.vouched, self.doubts);
        let mut strange = doubts.iter().filter(|doubt| doubt.is_strange);
        if let Some(doubt) = strange.find(|doubt| doubt.needs > vouched) {
            return Err(Refused::Unproven(doubt.finding.clone()).into());
        }
        let lost = doubts.into_iter().filter(|doubt| doubt.needs <= vouched);
        let mut lost: Vec<Finding> = lost.map(|doubt| doubt.finding).collect();
        lost.dedup_by(|next, first| next.file == first.file);
        Ok(Held {
            segments: self.held,
            lost,
        })
    }
}

/// Bytes that are not the journal's.
struct Doubt {
    at: usize,
    /// Whether they are more than zeros, which say that nothing was copied there yet, or was lost.
    is_strange: bool,
    /// The record that has to be vouched for, so that they may be replaced, and are known to have
    /// been others.
    needs: Position,
    finding: Finding,
}

impl Proven {
    /// Whether the header of a group that stands at `at` of `bytes` is the journal's.
    fn is_header_at(&self, bytes: &[u8], at: usize) -> bool {
        let header = at..at + GROUP_HEADER_BYTES;
        let ours = self.content.get(header.clone());
        ours.is_some() && bytes.get(header) == ours
    }

    /// The first whole header of a group that the journal does not have there, with its first record.
    fn first_foreign(&self, bytes: &[u8], header: &SegmentHeader) -> Option<(usize, Position)> {
        let mut from = SEGMENT_HEADER_BYTES;
        while let Some((at, group)) = segment::later_group(bytes, header, from) {
            if !self.is_header_at(bytes, at) {
                return Some((at, group.first));
            }
            from = at + 1;
        }
        None
    }

    /// One for each group that has some, and for the header, the length and what is behind the groups.
    fn doubts(&self, bytes: &[u8], part: &Part, name: &str) -> Vec<Doubt> {
        let Part { header, end } = part;
        let doubt = |at: usize, is_strange, needs, damage| Doubt {
            at,
            is_strange,
            needs,
            finding: Finding {
                file: name.to_owned(),
                offset: at as u64,
                position: needs,
                damage,
            },
        };
        let mut doubts = Vec::new();
        if let Some((at, is_strange)) = self.differs(bytes, 0, SEGMENT_HEADER_BYTES) {
            let mut header = doubt(at, is_strange, header.first, Damage::SegmentHeader);
            header.finding.offset = 0;
            doubts.push(header);
        }
        let mut first = header.first;
        for group in &self.groups {
            let last = group.last.position;
            if let Some((at, is_strange)) = self.differs(bytes, group.start, group.end) {
                let damage = match at < group.start + GROUP_HEADER_BYTES {
                    true => Damage::GroupHeader,
                    false => Damage::Records,
                };
                let mut group_doubt = doubt(at, is_strange, last, damage);
                group_doubt.finding.offset = group.start as u64;
                group_doubt.finding.position = first;
                doubts.push(group_doubt);
            }
            first = last + 1;
        }
        if let Some((at, true)) = self.differs(bytes, self.content.len(), bytes.len()) {
            doubts.push(doubt(at, true, end.position + 1, Damage::NotZero));
        }
        let (expected, found) = (u64::from(header.length), bytes.len() as u64);
        if found != expected {
            // Whatever is in it, a copy makes no segment of another length.
            let damage = Damage::SegmentLength { expected, found };
            let mut length = doubt(0, false, 0, damage);
            length.finding.position = header.first;
            doubts.push(length);
        }
        doubts
    }

    /// The first byte that is neither the journal's nor zero; else the first that is not the journal's.
    /// Says which it is.
    fn differs(&self, bytes: &[u8], from: usize, to: usize) -> Option<(usize, bool)> {
        let ours = |at: usize| self.content.get(at).copied().unwrap_or_default();
        let there = |at: usize| bytes.get(at).copied().unwrap_or_default();
        let strange = (from..to).find(|&at| there(at) != 0 && there(at) != ours(at));
        if let Some(at) = strange {
            return Some((at, true));
        }
        let lost = (from..to).find(|&at| there(at) != ours(at));
        lost.map(|at| (at, false))
    }
}

impl ProvenGroup {
    fn behind(&self) -> Cursor {
        let Watermark { position, chain } = self.last;
        Cursor {
            offset: self.end,
            next: position + 1,
            chain,
        }
    }
}

/// Whether the folder has the segment already: the content, then zeros.
fn is_same(bytes: &[u8], header: &SegmentHeader, content: &[u8]) -> bool {
    if bytes.len() != header.length as usize {
        return false;
    }
    let (start, rest) = bytes.split_at(content.len());
    start == content && rest.iter().all(|&byte| byte == 0)
}

/// A header that is whole has to be the journal's; what a damaged one said, only others can vouch
/// for.
fn check_header(bytes: &[u8], ours: &SegmentHeader, name: &str) -> Result<(), CopyError> {
    let Some(start) = bytes.first_chunk() else {
        return Ok(());
    };
    match SegmentHeader::decode(start) {
        Ok(found) if found == *ours => Ok(()),
        Ok(found) if found.number != ours.number => {
            let found = found.number;
            Err(unproven(name, ours.first, Damage::SegmentNumber { found }))
        }
        Ok(found) => Err(Refused::OtherHistory {
            file: name.to_owned(),
            offset: 0,
            position: ours.first.min(found.first),
        }
        .into()),
        Err(damage @ Damage::FormatVersion { .. }) => Err(unproven(name, ours.first, damage)),
        Err(_) => Ok(()),
    }
}

fn unproven(name: &str, position: Position, damage: Damage) -> CopyError {
    Refused::Unproven(Finding {
        file: name.to_owned(),
        offset: 0,
        position,
        damage,
    })
    .into()
}
