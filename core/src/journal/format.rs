//! The bytes of segments and groups; `docs/storage.md` has the tables.

use super::tail::SideFile;
use crate::hash::{Hasher, domain};
use crate::id::{Chain, JournalId, Position};
use crate::limits::SEGMENT_BYTES_MAX;

/// Version of the format that this code writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Length of the header of a segment.
pub const SEGMENT_HEADER_BYTES: usize = 112;

/// Length of the header of a group.
pub const GROUP_HEADER_BYTES: usize = 120;

/// Length of the number before each record.
pub const RECORD_PREFIX_BYTES: usize = 4;

/// Highest position with which a segment may begin; no journal comes near it.
const FIRST_MAX: Position = u64::MAX >> 1;

const SEGMENT_MAGIC: &[u8; 8] = b"BUKTISEG";
const SEGMENT_HASHED: usize = SEGMENT_HEADER_BYTES - 32;
pub(super) const GROUP_MAGIC: &[u8; 8] = b"BUKTIGRP";
pub(super) const GROUP_HASHED: usize = GROUP_HEADER_BYTES - 32;

/// Where a group's header has the chain after its last record.
pub(super) const AFTER: std::ops::Range<usize> = 56..88;

/// Chain before the first record of a journal.
pub fn chain_start(id: &JournalId) -> Chain {
    Chain(Hasher::new(domain::CHAIN).fixed(&id.0).finish())
}

/// Chain after a record with this hash.
pub fn chain_next(before: &Chain, record_hash: &[u8; 32]) -> Chain {
    Chain(
        Hasher::new(domain::CHAIN)
            .fixed(&before.0)
            .fixed(record_hash)
            .finish(),
    )
}

/// Hash of one record.
pub fn record_hash(record: &[u8]) -> [u8; 32] {
    Hasher::new(domain::RECORD).variable(record).finish()
}

/// Locates one record for [`JournalReader::read`](super::JournalReader::read), with enough of its
/// hash to notice that something else stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Number of the segment.
    pub segment: u32,
    /// Where the record's bytes begin in the segment, behind their length.
    pub offset: u32,
    /// Length of the record in bytes.
    pub length: u32,
    /// First 16 bytes of the record's hash.
    pub check: [u8; 16],
}

impl Place {
    /// Length of [`to_bytes`](Self::to_bytes).
    pub const LENGTH: usize = 28;

    /// Segment, offset, length (little endian) and check.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..4].copy_from_slice(&self.segment.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..].copy_from_slice(&self.check);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    pub fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Self {
        Self {
            segment: u32_at(bytes, 0),
            offset: u32_at(bytes, 4),
            length: u32_at(bytes, 8),
            check: array_at(bytes, 12),
        }
    }
}

/// What a file of the journal's folder is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// A segment with this number.
    Segment(u32),
    /// A segment or side file that was not finished; it never counts.
    Unfinished,
    /// What was cut behind the last whole group when the journal was opened.
    Side,
    /// Not the journal's.
    Unknown,
}

fn before_missing(count: u32) -> String {
    match count {
        1 => "the segment before this one is missing".to_owned(),
        _ => format!("{count} segments before this one are missing"),
    }
}

/// The name of a segment's file.
pub fn segment_name(number: u32) -> String {
    format!("{number:010}.seg")
}

/// The number in the name of a segment's file.
pub fn segment_number(name: &str) -> Option<u32> {
    match file_kind(name) {
        FileKind::Segment(number) => Some(number),
        FileKind::Unfinished | FileKind::Side | FileKind::Unknown => None,
    }
}

/// The name that a file bears until it is whole and synced.
pub(super) fn unfinished_name(name: &str) -> String {
    format!("{name}.new")
}

pub(super) fn file_kind(name: &str) -> FileKind {
    if let Some(whole) = name.strip_suffix(".new") {
        return match file_kind(whole) {
            FileKind::Segment(_) | FileKind::Side => FileKind::Unfinished,
            FileKind::Unfinished | FileKind::Unknown => FileKind::Unknown,
        };
    }
    if let Some(number) = name.strip_suffix(".seg").and_then(|n| n.parse().ok())
        && segment_name(number) == name
        && number > 0
    {
        return FileKind::Segment(number);
    }
    if SideFile::parse(name).is_some() {
        return FileKind::Side;
    }
    FileKind::Unknown
}

/// Header of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) id: JournalId,
    pub(super) number: u32,
    pub(super) length: u32,
    pub(super) first: Position,
    pub(super) before: Chain,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.id.0);
        bytes[32..40].copy_from_slice(&u64::from(self.length).to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first.to_le_bytes());
        bytes[48..80].copy_from_slice(&self.before.0);
        let hash = segment_header_hash(&bytes[..SEGMENT_HASHED]);
        bytes[SEGMENT_HASHED..].copy_from_slice(&hash);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, Damage> {
        let hash = segment_header_hash(&bytes[..SEGMENT_HASHED]);
        if bytes[..8] != *SEGMENT_MAGIC || bytes[SEGMENT_HASHED..] != hash {
            return Err(Damage::SegmentHeader);
        }
        let version = u32_at(bytes, 8);
        if version != FORMAT_VERSION {
            return Err(Damage::FormatVersion { found: version });
        }
        let length = u32::try_from(u64_at(bytes, 32))
            .ok()
            .filter(|&length| length <= SEGMENT_BYTES_MAX)
            .ok_or(Damage::SegmentHeader)?;
        // Records are counted from 1, and there has to be room for those that follow.
        let first = u64_at(bytes, 40);
        if first == 0 || first > FIRST_MAX {
            return Err(Damage::SegmentHeader);
        }
        Ok(Self {
            id: JournalId(array_at(bytes, 16)),
            number: u32_at(bytes, 12),
            length,
            first,
            before: Chain(array_at(bytes, 48)),
        })
    }
}

fn segment_header_hash(header: &[u8]) -> [u8; 32] {
    Hasher::new(domain::JOURNAL_HEADER).fixed(header).finish()
}

/// Header of a group. Its hash also covers where it stands, so that bytes inside a record can
/// hardly pass for a group, and a group at another place is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupHeader {
    pub(super) first: Position,
    pub(super) count: u32,
    pub(super) payload: u32,
    pub(super) before: Chain,
    pub(super) after: Chain,
}

impl GroupHeader {
    pub(super) fn encode(
        &self,
        id: &JournalId,
        segment: u32,
        offset: u32,
    ) -> [u8; GROUP_HEADER_BYTES] {
        let mut bytes = [0; GROUP_HEADER_BYTES];
        bytes[..8].copy_from_slice(GROUP_MAGIC);
        bytes[8..16].copy_from_slice(&self.first.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.count.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.payload.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.before.0);
        bytes[56..88].copy_from_slice(&self.after.0);
        let hash = group_header_hash(id, segment, offset, &bytes[..GROUP_HASHED]);
        bytes[GROUP_HASHED..].copy_from_slice(&hash);
        bytes
    }

    /// Reads the header at the start of `bytes`; `None` where none stands or its hash is wrong.
    pub(super) fn decode(bytes: &[u8], id: &JournalId, segment: u32, offset: u32) -> Option<Self> {
        let bytes = bytes.get(..GROUP_HEADER_BYTES)?;
        if bytes[..8] != *GROUP_MAGIC {
            return None;
        }
        let hash = group_header_hash(id, segment, offset, &bytes[..GROUP_HASHED]);
        if bytes[GROUP_HASHED..] != hash {
            return None;
        }
        let header = Self {
            first: u64_at(bytes, 8),
            count: u32_at(bytes, 16),
            payload: u32_at(bytes, 20),
            before: Chain(array_at(bytes, 24)),
            after: Chain(array_at(bytes, 56)),
        };
        let numbered = header.first > 0 && header.first.checked_add(header.count.into()).is_some();
        (numbered && header.count > 0).then_some(header)
    }

    /// Position of the first record after this group.
    pub(super) fn next(&self) -> Position {
        self.first + u64::from(self.count)
    }

    /// Bytes of the whole group.
    pub(super) fn length(&self) -> u64 {
        GROUP_HEADER_BYTES as u64 + u64::from(self.payload)
    }
}

fn group_header_hash(id: &JournalId, segment: u32, offset: u32, header: &[u8]) -> [u8; 32] {
    Hasher::new(domain::JOURNAL_HEADER)
        .fixed(&id.0)
        .fixed(&segment.to_le_bytes())
        .fixed(&u64::from(offset).to_le_bytes())
        .fixed(header)
        .finish()
}

/// Where the next group header may begin at or after `from`.
pub(super) fn next_magic(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let found = rest
        .windows(GROUP_MAGIC.len())
        .position(|window| window == GROUP_MAGIC)?;
    Some(from + found)
}

/// One record inside a group's payload.
#[derive(Debug, Clone)]
pub(super) struct InGroup {
    /// Where its bytes begin in the payload.
    pub(super) start: u32,
    pub(super) length: u32,
    pub(super) hash: [u8; 32],
    /// Chain after it.
    pub(super) after: Chain,
}

impl InGroup {
    /// The record's place, for a group that begins at `offset` of `segment`.
    pub(super) fn place(&self, segment: u32, offset: u32) -> Place {
        Place {
            segment,
            offset: offset + GROUP_HEADER_BYTES as u32 + self.start,
            length: self.length,
            check: check_of(&self.hash),
        }
    }

    /// The record's bytes in the payload.
    pub(super) fn bytes<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        &payload[self.start as usize..][..self.length as usize]
    }
}

/// The part of a record's hash that a [`Place`] keeps.
pub(super) fn check_of(hash: &[u8; 32]) -> [u8; 16] {
    array_at(hash, 0)
}

/// Takes a group's payload apart and proves it against the header.
pub(super) fn records_in(header: &GroupHeader, payload: &[u8]) -> Result<Vec<InGroup>, Damage> {
    let mut records = Vec::new();
    let mut rest = payload;
    let mut chain = header.before;
    while let Some((prefix, behind)) = rest.split_at_checked(RECORD_PREFIX_BYTES) {
        let length = u32_at(prefix, 0);
        let record = behind.get(..length as usize).ok_or(Damage::Records)?;
        let hash = record_hash(record);
        chain = chain_next(&chain, &hash);
        records.push(InGroup {
            start: u32::try_from(payload.len() - behind.len()).map_err(|_| Damage::Records)?,
            length,
            hash,
            after: chain,
        });
        rest = &behind[length as usize..];
    }
    let whole = rest.is_empty() && records.len() == header.count as usize;
    if whole && chain == header.after {
        Ok(records)
    } else {
        Err(Damage::Records)
    }
}

/// What is wrong at a place of the journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The header of a segment is not whole.
    #[error("the segment header is damaged")]
    SegmentHeader,
    /// A format that this program does not know.
    #[error("the segment has format version {found}, this program knows version {FORMAT_VERSION}")]
    FormatVersion {
        /// The version in the header.
        found: u32,
    },
    /// The segment belongs to another journal.
    #[error("the segment belongs to journal {found}")]
    OtherJournal {
        /// The id in the header.
        found: JournalId,
    },
    /// A segment under the name of another: swapped, copied or renamed.
    #[error("the segment says that it is number {found}")]
    SegmentNumber {
        /// The number in the header.
        found: u32,
    },
    /// The file is not as long as its header says.
    #[error("the segment was made with {expected} bytes and has {found}")]
    SegmentLength {
        /// Bytes in the header.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The segment itself is gone.
    #[error("the segment is missing")]
    Missing,
    /// One or more segments before this one are gone.
    #[error("{}", before_missing(*count))]
    MissingSegments {
        /// How many.
        count: u32,
    },
    /// The segment does not begin where the one before it ends.
    #[error("the segment begins with record {found}, expected {expected}")]
    SegmentStart {
        /// The position that follows the segment before.
        expected: Position,
        /// The position in the header.
        found: Position,
    },
    /// The header of a group is not whole.
    #[error("the group header is damaged")]
    GroupHeader,
    /// A group reaches beyond its segment.
    #[error("the group reaches beyond its segment")]
    GroupLength,
    /// A whole group that does not follow the one before it.
    #[error("the group begins with record {found}, expected {expected}")]
    GroupPosition {
        /// The position that follows the group before.
        expected: Position,
        /// The position in the header.
        found: Position,
    },
    /// A whole group or segment whose chain does not continue the chain before it.
    #[error("the chain is broken")]
    ChainBroken,
    /// The records of a group are not those its header commits to.
    #[error("the records differ from what the group header commits to")]
    Records,
    /// Something stands where only zeros may be.
    #[error("there are bytes where only zeros may be")]
    NotZero,
    /// What follows the last whole group: a write that did not finish.
    #[error("{bytes} bytes of an unfinished write follow the last whole group")]
    TornTail {
        /// Bytes up to the last that is not zero.
        bytes: u64,
    },
    /// The journal ends before a position that is known to have been kept.
    #[error("the journal ends with record {found}, but record {expected} was kept")]
    Lost {
        /// The position that was kept.
        expected: Position,
        /// The last position there is.
        found: Position,
    },
    /// At a known position the chain is another: a different history.
    #[error("the chain at record {position} is not the one that was kept")]
    OtherHistory {
        /// The position.
        position: Position,
    },
    /// A place that does not lead to a record.
    #[error("no record with this length and hash stands here")]
    NotARecord,
    /// What was cut and kept is not what its file's name says that it was.
    #[error("the file is not what was kept under this name")]
    SideFile,
    /// A file that is not the journal's.
    #[error("the file does not belong to the journal")]
    UnknownFile,
    /// The storage could not read the file.
    #[error("the file cannot be read: {message}")]
    Unreadable {
        /// What the system said.
        message: String,
    },
}

impl Damage {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::SegmentHeader => "segment-header",
            Self::FormatVersion { .. } => "format-version",
            Self::OtherJournal { .. } => "other-journal",
            Self::SegmentNumber { .. } => "segment-number",
            Self::SegmentLength { .. } => "segment-length",
            Self::Missing => "missing",
            Self::MissingSegments { .. } => "missing-segments",
            Self::SegmentStart { .. } => "segment-start",
            Self::GroupHeader => "group-header",
            Self::GroupLength => "group-length",
            Self::GroupPosition { .. } => "group-position",
            Self::ChainBroken => "chain-broken",
            Self::Records => "records",
            Self::NotZero => "not-zero",
            Self::TornTail { .. } => "torn-tail",
            Self::Lost { .. } => "lost",
            Self::OtherHistory { .. } => "other-history",
            Self::NotARecord => "not-a-record",
            Self::SideFile => "side-file",
            Self::UnknownFile => "unknown-file",
            Self::Unreadable { .. } => "unreadable",
        }
    }
}

/// One thing that is wrong, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file} at byte {offset} (record {position}): {damage}")]
pub struct Finding {
    /// Name of the file.
    pub file: String,
    /// Byte in the file.
    pub offset: u64,
    /// First record that is concerned; 0 where that is unknown.
    pub position: Position,
    /// What is wrong.
    pub damage: Damage,
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}
