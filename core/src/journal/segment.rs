//! Reading one segment: its header alone, or group by group when it is in memory whole.

use super::format::{
    Damage, GROUP_HEADER_BYTES, GroupHeader, SEGMENT_HEADER_BYTES, SegmentHeader, next_magic,
    records_in, segment_name, unfinished_name,
};
use super::storage::{Doing, FOLDER, Storage, StorageError};
use crate::id::{Chain, Position};

/// Where a walk stands: in front of a group.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    pub(super) offset: usize,
    /// Position of the next record.
    pub(super) next: Position,
    /// Chain before it.
    pub(super) chain: Chain,
}

impl Cursor {
    pub(super) fn start(header: &SegmentHeader) -> Self {
        Self {
            offset: SEGMENT_HEADER_BYTES,
            next: header.first,
            chain: header.before,
        }
    }
}

/// What stands at a cursor.
#[derive(Debug)]
pub(super) enum Step {
    /// A whole group; the chain after each of its records.
    Group(GroupHeader, Vec<Chain>),
    /// Zeros to the end of the segment.
    End,
    /// Something else.
    Broken(Broken),
}

/// Why a walk cannot go on.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) damage: Damage,
    /// The first byte that is not as it should be.
    pub(super) offset: usize,
    /// Where a later group may be looked for.
    pub(super) search_from: usize,
    /// Whether a write that did not finish can leave this, if nothing whole follows.
    pub(super) may_be_torn: bool,
}

/// Reads the group at `cursor` and moves the cursor behind it.
pub(super) fn step(bytes: &[u8], segment: &SegmentHeader, cursor: &mut Cursor) -> Step {
    let at = cursor.offset;
    let rest = bytes.get(at..).unwrap_or_default();
    let start = &rest[..rest.len().min(GROUP_HEADER_BYTES)];
    if start.iter().all(|&byte| byte == 0) {
        return match rest.iter().position(|&byte| byte != 0) {
            None => Step::End,
            Some(behind) => Step::Broken(Broken {
                damage: Damage::NotZero,
                offset: at + behind,
                search_from: at + 1,
                may_be_torn: true,
            }),
        };
    }
    let Some(header) = header_at(bytes, segment, at) else {
        return Step::Broken(Broken {
            damage: Damage::GroupHeader,
            offset: at,
            search_from: at + 1,
            may_be_torn: true,
        });
    };
    let broken = |damage, search_from, may_be_torn| {
        Step::Broken(Broken {
            damage,
            offset: at,
            search_from,
            may_be_torn,
        })
    };
    // A header that is whole but does not fit here was never half of a write to this place.
    if header.first != cursor.next {
        let (expected, found) = (cursor.next, header.first);
        return broken(Damage::GroupPosition { expected, found }, at, false);
    }
    if header.before != cursor.chain {
        return broken(Damage::ChainBroken, at, false);
    }
    let Some(payload) = rest[GROUP_HEADER_BYTES..].get(..header.payload as usize) else {
        return broken(Damage::GroupLength, at + 1, false);
    };
    let behind = at + GROUP_HEADER_BYTES + payload.len();
    match records_in(&header, payload) {
        // Bytes inside the group are its records and not a later group.
        Err(damage) => broken(damage, behind, true),
        Ok(records) => {
            *cursor = Cursor {
                offset: behind,
                next: header.next(),
                chain: header.after,
            };
            Step::Group(header, records.iter().map(|record| record.after).collect())
        }
    }
}

/// The next whole group header at or behind `from`, with its offset.
pub(super) fn later_group(
    bytes: &[u8],
    segment: &SegmentHeader,
    mut from: usize,
) -> Option<(usize, GroupHeader)> {
    while let Some(at) = next_magic(bytes, from) {
        if let Some(header) = header_at(bytes, segment, at) {
            return Some((at, header));
        }
        from = at + 1;
    }
    None
}

fn header_at(bytes: &[u8], segment: &SegmentHeader, at: usize) -> Option<GroupHeader> {
    let offset = u32::try_from(at).ok()?;
    GroupHeader::decode(&bytes[at..], &segment.id, segment.number, offset)
}

/// Reads the header of segment `number`: what it says, and what is wrong with it. There is no
/// header where it cannot be trusted.
pub(super) fn inspect<S: Storage>(
    storage: &S,
    number: u32,
) -> Result<(Option<SegmentHeader>, Option<Damage>), StorageError> {
    let name = segment_name(number);
    let found = storage.length(&name).doing("measure", &name)?;
    if found < SEGMENT_HEADER_BYTES as u64 {
        return Ok((None, Some(Damage::SegmentHeader)));
    }
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    storage.read_at(&name, 0, &mut bytes).doing("read", &name)?;
    let header = match SegmentHeader::decode(&bytes) {
        Ok(header) => header,
        Err(damage) => return Ok((None, Some(damage))),
    };
    if header.number != number {
        let found = header.number;
        return Ok((None, Some(Damage::SegmentNumber { found })));
    }
    let expected = u64::from(header.length);
    let damage = (found != expected).then_some(Damage::SegmentLength { expected, found });
    Ok((Some(header), damage))
}

/// Makes a file that appears under its name only whole and synced: `content`, then zeros up to
/// `length`. The folder is synced, too.
pub(super) fn publish<S: Storage>(
    storage: &S,
    name: &str,
    length: u32,
    content: &[u8],
) -> Result<(), StorageError> {
    let unfinished = unfinished_name(name);
    storage
        .create(&unfinished, length.into())
        .doing("create", &unfinished)?;
    storage
        .write_at(&unfinished, 0, content)
        .doing("write", &unfinished)?;
    storage.sync(&unfinished).doing("sync", &unfinished)?;
    storage.rename(&unfinished, name).doing("rename", name)?;
    storage.sync_folder().doing("sync", FOLDER)
}

/// Makes an empty segment.
pub(super) fn make<S: Storage>(storage: &S, header: &SegmentHeader) -> Result<(), StorageError> {
    let name = segment_name(header.number);
    publish(storage, &name, header.length, &header.encode())
}

/// Reads a file whole.
pub(super) fn read_whole<S: Storage>(
    storage: &S,
    name: &str,
    length: u64,
) -> Result<Vec<u8>, StorageError> {
    let length = u32::try_from(length).expect("segments are at most 64 MiB");
    read_part(storage, name, 0, length)
}

/// Reads a part of a file.
pub(super) fn read_part<S: Storage>(
    storage: &S,
    name: &str,
    offset: u32,
    length: u32,
) -> Result<Vec<u8>, StorageError> {
    let mut bytes = vec![0; length as usize];
    storage
        .read_at(name, offset.into(), &mut bytes)
        .doing("read", name)?;
    Ok(bytes)
}
