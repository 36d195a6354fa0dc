//! Making and opening a journal: what must be true of the folder before anything in it counts.

use super::format::{
    Damage, FileKind, Finding, SEGMENT_HEADER_BYTES, SegmentHeader, chain_start, file_kind,
    segment_name,
};
use super::kept::KeptSum;
use super::reader::State;
use super::segment::{self, Broken, Cursor, Step};
use super::storage::{Doing, FOLDER, Storage, StorageError};
use super::tail::{self, SideFile, TailKind};
use super::{CreateError, Options};
use crate::id::{Chain, JournalId, Position};

/// Tells what opening a journal found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// How many segments there are.
    pub segments: usize,
    /// Position of the first record that is kept.
    pub first: Position,
    /// Position of the last record; `first` − 1 where there is none.
    pub head: Position,
    /// Chain after the last record.
    pub chain: Chain,
    /// What was cut after the last whole group.
    pub torn: Option<TornTail>,
    /// All side files there are, of this opening and of earlier ones.
    pub side_files: Vec<String>,
    /// Unfinished files that were removed.
    pub unfinished: Vec<String>,
}

/// What was cut behind the last whole group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// What it looks like.
    pub kind: TailKind,
    /// Where it began, and what was wrong there.
    pub finding: Finding,
    /// Bytes up to the last that was not zero.
    pub bytes: u64,
    /// The side file that keeps them.
    pub side_file: String,
}

/// Why a journal was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The folder has no segments.
    #[error("the folder holds no journal")]
    NoJournal,
    /// Something is damaged that no unfinished write explains. Nothing was changed.
    #[error("the journal is damaged")]
    Damaged(#[source] Finding),
    /// The storage failed.
    #[error("cannot open the journal")]
    Storage(#[from] StorageError),
}

/// Writes the first segment of a journal into a folder without one.
pub(super) fn make_first<S: Storage>(
    storage: &S,
    header: &SegmentHeader,
    content: &[u8],
) -> Result<(), CreateError> {
    let folder = Folder::list(storage)?;
    match folder.segments[..] {
        [] => {}
        [1] if was_never_founded(storage)? => {}
        _ => return Err(CreateError::Exists),
    }
    folder.remove_unfinished(storage)?;
    let name = segment_name(header.number);
    Ok(segment::publish(storage, &name, header.length, content)?)
}

/// Whether segment 1 is whole and nothing was ever written behind its header, or that was torn and
/// opening put it aside.
fn was_never_founded<S: Storage>(storage: &S) -> Result<bool, StorageError> {
    let (Some(header), None) = segment::inspect(storage, 1)? else {
        return Ok(false);
    };
    let bytes = segment::read_whole(storage, &segment_name(1), header.length.into())?;
    Ok(matches!(
        segment::step(&bytes, &header, &mut Cursor::start(&header)),
        Step::End
    ))
}

/// Brings the folder to a state in which everything up to the head is on the disk.
pub(super) fn recover<S: Storage>(
    storage: &S,
    options: &Options,
) -> Result<(JournalId, State, Recovery), OpenError> {
    let folder = Folder::list(storage)?;
    let headers = check_headers(storage, &folder.segments, options)?;
    let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
        return Err(OpenError::NoJournal);
    };
    let name = segment_name(last.number);
    let bytes = segment::read_whole(storage, &name, last.length.into())?;
    let (cursor, broken) = last_whole_group(&bytes, last)?;
    if cursor.offset == SEGMENT_HEADER_BYTES
        && let [.., before, _] = &headers[..]
    {
        check_continues(storage, before, last)?;
    }

    folder.remove_unfinished(storage)?;
    let torn = match broken {
        None => None,
        Some(broken) => {
            let kind = tail::judge(&bytes, last, &cursor);
            let finding = Finding {
                file: name.clone(),
                offset: broken.offset as u64,
                position: cursor.next,
                damage: broken.damage,
            };
            let side = SideFile {
                kind,
                position: cursor.next,
                segment: last.number,
                offset: u32::try_from(cursor.offset).expect("segments are at most 64 MiB"),
                number: 1,
                sum: None,
            };
            let tail = &bytes[cursor.offset..];
            Some(keep_tail(storage, &folder, side, tail, finding)?)
        }
    };
    // What was read may be in the page cache only, left there by a write whose sync failed. The
    // copy is synced before it takes the name, so what counts from here on is on the disk.
    segment::publish(storage, &name, last.length, &bytes[..cursor.offset])?;

    let mut side_files = folder.side;
    side_files.extend(torn.iter().map(|torn| torn.side_file.clone()));
    let recovery = Recovery {
        side_files,
        segments: headers.len(),
        first: first.first,
        head: cursor.next - 1,
        chain: cursor.chain,
        torn,
        unfinished: folder.unfinished,
    };
    let id = first.id;
    let state = State {
        segments: headers,
        head: cursor.next - 1,
        chain: cursor.chain,
        end: u32::try_from(cursor.offset).expect("segments are at most 64 MiB"),
    };
    Ok((id, state, recovery))
}

/// The journal's folder by kinds of files.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Numbers in order.
    pub(super) segments: Vec<u32>,
    pub(super) unfinished: Vec<String>,
    pub(super) side: Vec<String>,
    pub(super) unknown: Vec<String>,
}

impl Folder {
    pub(super) fn list<S: Storage>(storage: &S) -> Result<Self, StorageError> {
        let mut folder = Self::default();
        for name in storage.list().doing("list", FOLDER)? {
            match file_kind(&name) {
                FileKind::Segment(number) => folder.segments.push(number),
                FileKind::Unfinished => folder.unfinished.push(name),
                FileKind::Side => folder.side.push(name),
                FileKind::Unknown => folder.unknown.push(name),
            }
        }
        folder.segments.sort_unstable();
        folder.unfinished.sort_unstable();
        folder.side.sort_unstable();
        folder.unknown.sort_unstable();
        Ok(folder)
    }

    pub(super) fn remove_unfinished<S: Storage>(&self, storage: &S) -> Result<(), StorageError> {
        for name in &self.unfinished {
            storage.remove(name).doing("remove", name)?;
        }
        Ok(())
    }
}

/// Reads the headers of all segments: numbers without gaps, one journal, positions in order.
fn check_headers<S: Storage>(
    storage: &S,
    numbers: &[u32],
    options: &Options,
) -> Result<Vec<SegmentHeader>, OpenError> {
    let mut headers: Vec<SegmentHeader> = Vec::with_capacity(numbers.len());
    for &number in numbers {
        let damaged = |damage| damaged(number, 0, 0, damage);
        let before = headers.last();
        let expected = match before {
            Some(before) => before.number + 1,
            None if options.prefix_removable => number,
            None => 1,
        };
        if number != expected {
            let count = number - expected;
            return Err(damaged(Damage::MissingSegments { count }));
        }
        let header = match segment::inspect(storage, number)? {
            (Some(header), None) => header,
            (Some(_), Some(damage)) | (None, Some(damage)) => return Err(damaged(damage)),
            (None, None) => return Err(damaged(Damage::SegmentHeader)),
        };
        if let Some(damage) = misfit(before, &header) {
            return Err(damaged(damage));
        }
        headers.push(header);
    }
    Ok(headers)
}

/// Why a segment's header cannot follow the one before it, as far as headers show.
pub(super) fn misfit(before: Option<&SegmentHeader>, header: &SegmentHeader) -> Option<Damage> {
    let found = header.first;
    match before {
        Some(before) if before.id != header.id => Some(Damage::OtherJournal { found: header.id }),
        Some(before) if before.first > found => {
            let expected = before.first;
            Some(Damage::SegmentStart { expected, found })
        }
        None if header.number == 1 && found != 1 => {
            Some(Damage::SegmentStart { expected: 1, found })
        }
        None if header.number == 1 && header.before != chain_start(&header.id) => {
            Some(Damage::ChainBroken)
        }
        Some(_) | None => None,
    }
}

/// Holds the header of a segment without groups to the end of the one before it: no group vouches
/// for what it says, and what is appended would take it for the head. Records that damage hides
/// are left to those who read them.
fn check_continues<S: Storage>(
    storage: &S,
    before: &SegmentHeader,
    empty: &SegmentHeader,
) -> Result<(), OpenError> {
    let name = segment_name(before.number);
    let bytes = segment::read_whole(storage, &name, before.length.into())?;
    let mut cursor = Cursor::start(before);
    let is_whole = loop {
        match segment::step(&bytes, before, &mut cursor) {
            Step::Group(..) => {}
            Step::Broken(_) => break false,
            Step::End => break true,
        }
    };
    let (expected, found) = (cursor.next, empty.first);
    if !is_whole && expected < found {
        return Ok(());
    }
    let damage = if expected != found {
        Damage::SegmentStart { expected, found }
    } else if cursor.chain != empty.before {
        Damage::ChainBroken
    } else {
        return Ok(());
    };
    Err(damaged(empty.number, 0, expected.min(found), damage))
}

/// Walks the last segment to where its whole groups end, and tells what is torn there.
fn last_whole_group(
    bytes: &[u8],
    header: &SegmentHeader,
) -> Result<(Cursor, Option<Broken>), OpenError> {
    let mut cursor = Cursor::start(header);
    loop {
        match segment::step(bytes, header, &mut cursor) {
            Step::Group(..) => {}
            Step::End => return Ok((cursor, None)),
            Step::Broken(broken) => {
                // Each group was synced before the next was written, so only the last can be torn.
                let whole_follows =
                    segment::later_group(bytes, header, broken.search_from).is_some();
                if broken.may_be_torn && !whole_follows {
                    return Ok((cursor, Some(broken)));
                }
                let Broken { damage, offset, .. } = broken;
                return Err(damaged(header.number, offset as u64, cursor.next, damage));
            }
        }
    }
}

/// Keeps what follows the last whole group in a side file, before it is cut.
fn keep_tail<S: Storage>(
    storage: &S,
    folder: &Folder,
    mut side: SideFile,
    tail: &[u8],
    finding: Finding,
) -> Result<TornTail, StorageError> {
    let used = tail
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    let beside: Vec<SideFile> = folder
        .side
        .iter()
        .filter_map(|name| SideFile::parse(name))
        .collect();
    while beside.iter().any(|other| other.is_beside(&side)) {
        side.number += 1;
    }
    side.sum = Some(KeptSum::of(&tail[..used]));
    let (kind, side_file) = (side.kind, side.name());
    let length = u32::try_from(used).expect("segments are at most 64 MiB");
    segment::publish(storage, &side_file, length, &tail[..used])?;
    Ok(TornTail {
        kind,
        finding,
        bytes: used as u64,
        side_file,
    })
}

fn damaged(number: u32, offset: u64, position: Position, damage: Damage) -> OpenError {
    OpenError::Damaged(Finding {
        file: segment_name(number),
        offset,
        position,
        damage,
    })
}
