//! What stands behind the last whole group: an unfinished write, or bytes that were whole once.
//!
//! Both are cut, kept and told when a journal is opened. They are told apart because they mean
//! different things: nothing in an unfinished write was ever acknowledged, while a group that was
//! finished and damaged later may hold what somebody was promised.

use std::fmt;

use super::format::{
    AFTER, GROUP_HASHED, GROUP_HEADER_BYTES, GROUP_MAGIC, GroupHeader, RECORD_PREFIX_BYTES,
    SegmentHeader, chain_next, record_hash, segment_name, u32_at,
};
use super::kept::KeptSum;
use super::segment::Cursor;
use crate::id::Position;

/// What disks write as a whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Bytes at the end of a group that a write which stopped early leaves zero.
const END_BYTES: usize = 4;

/// Bytes other than zero, from which on they are taken for a write of ours rather than for single
/// bytes that changed where only zeros were.
const STRAY_BYTES_MAX: usize = 8;

/// What was cut behind the last whole group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailKind {
    /// A write that did not finish: parts of a group, with sectors that were never written.
    Torn,
    /// A group that was written to its end, and which is not what its sums demand. It may
    /// have been finished, and acknowledged, and damaged afterwards.
    Damaged,
    /// Single bytes where only zeros may be. No record was there.
    Stray,
}

impl TailKind {
    const ALL: [Self; 3] = [Self::Torn, Self::Damaged, Self::Stray];

    /// With what the names of side files of this kind begin.
    fn prefix(self) -> &'static str {
        match self {
            Self::Torn => "torn",
            Self::Damaged => "damaged",
            Self::Stray => "stray",
        }
    }
}

/// A file that keeps what was cut; its name says all of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideFile {
    /// What it keeps.
    pub kind: TailKind,
    /// The position that a record there would have had.
    pub position: Position,
    /// The segment it was cut from.
    pub segment: u32,
    /// The byte of the segment at which it was cut.
    pub offset: u32,
    /// Counts from 1 where the same place was cut before.
    pub number: u32,
    /// What it keeps by its sum; former versions gave none.
    pub sum: Option<KeptSum>,
}

impl SideFile {
    /// The name of the file.
    pub fn name(&self) -> String {
        let Self {
            kind,
            position,
            segment,
            offset,
            number,
            sum,
        } = self;
        let sum = sum.map_or(String::new(), |sum| format!("-{sum}"));
        format!(
            "{}-{position}-{segment}-{offset}-{number}{sum}.bin",
            kind.prefix()
        )
    }

    /// Whether it keeps something of the same kind, place and count as another.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        let sum = self.sum;
        *self == Self { sum, ..*other }
    }

    /// What a file keeps by its name; nothing if it is no side file.
    pub fn parse(name: &str) -> Option<Self> {
        let (prefix, rest) = name.strip_suffix(".bin")?.split_once('-')?;
        let kind = TailKind::ALL
            .into_iter()
            .find(|kind| kind.prefix() == prefix)?;
        let mut numbers = rest.split('-');
        let parsed = Self {
            kind,
            position: numbers.next()?.parse().ok()?,
            segment: numbers.next()?.parse().ok()?,
            offset: numbers.next()?.parse().ok()?,
            number: numbers.next()?.parse().ok()?,
            sum: match numbers.next() {
                None => None,
                Some(sum) => Some(KeptSum::parse(sum)?),
            },
        };
        (parsed.name() == name).then_some(parsed)
    }
}

/// The place in the segment, for people.
impl fmt::Display for SideFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", segment_name(self.segment), self.offset)
    }
}

/// Judges the bytes behind the last whole group, of which not all are zero.
pub(super) fn judge(bytes: &[u8], segment: &SegmentHeader, cursor: &Cursor) -> TailKind {
    let tail = &bytes[cursor.offset..];
    let written = tail.iter().filter(|&&byte| byte != 0).count();
    if written <= STRAY_BYTES_MAX && tail.first() != GROUP_MAGIC.first() {
        return TailKind::Stray;
    }
    let offset = u32::try_from(cursor.offset).expect("segments are at most 64 MiB");
    let group = GroupHeader::decode(tail, &segment.id, segment.number, offset)
        .or_else(|| header_demanded(tail, segment, cursor, offset));
    let was_whole =
        group.is_some_and(|group| was_written_to_its_end(tail, cursor.offset, group.length()));
    if was_whole {
        TailKind::Damaged
    } else {
        TailKind::Torn
    }
}

/// Whether a group of `length` bytes reached the disk to its end, with bytes in each sector. A
/// segment is filled with zeros when it is made, so what was never written has none.
fn was_written_to_its_end(tail: &[u8], offset: usize, length: u64) -> bool {
    let group = usize::try_from(length).ok().and_then(|end| tail.get(..end));
    let Some(group) = group else { return false };
    let has_bytes = |part: &[u8]| part.iter().any(|&byte| byte != 0);
    let first = (SECTOR_BYTES - offset % SECTOR_BYTES).min(group.len());
    let (head, rest) = group.split_at(first);
    let end = &group[group.len() - END_BYTES.min(group.len())..];
    std::iter::once(head)
        .chain(rest.chunks(SECTOR_BYTES))
        .chain(std::iter::once(end))
        .all(has_bytes)
}

/// The header that the records behind a damaged one demand, if they are whole: it shares the chain
/// behind them, or the sum, with the one that stands there.
fn header_demanded(
    tail: &[u8],
    segment: &SegmentHeader,
    cursor: &Cursor,
    offset: u32,
) -> Option<GroupHeader> {
    let (stated, payload) = tail.split_at_checked(GROUP_HEADER_BYTES)?;
    let mut header = GroupHeader {
        first: cursor.next,
        count: 0,
        payload: 0,
        before: cursor.chain,
        after: cursor.chain,
    };
    let mut rest = payload;
    while let Some((prefix, behind)) = rest.split_at_checked(RECORD_PREFIX_BYTES) {
        let length = u32_at(prefix, 0);
        let record = behind.get(..length as usize).filter(|_| length > 0)?;
        header.count += 1;
        header.payload += RECORD_PREFIX_BYTES as u32 + length;
        header.after = chain_next(&header.after, &record_hash(record));
        let demanded = header.encode(&segment.id, segment.number, offset);
        if stated[AFTER] == demanded[AFTER] || stated[GROUP_HASHED..] == demanded[GROUP_HASHED..] {
            return Some(header);
        }
        rest = &behind[record.len()..];
    }
    None
}
