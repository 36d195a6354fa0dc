//! Putting damaged bytes of a journal back from a copy that was made earlier.
//!
//! A copy of a segment that was open then holds the beginning of it. What the copy has whole takes
//! the place of the same bytes, and what comes behind stays: the chain, which every group continues,
//! says whether the two belong together. So nothing that the copy lacks is lost, and nothing that it
//! has otherwise gets in. Behind the last segment nothing continues what the copy gave. There each
//! header of a group that is whole here has to stand in the copy as well, and what is behind the copy's
//! groups stays; what that cannot show, whoever opens the journal sees, who holds its end against what the
//! rows say.
//!
//! Of a segment that the disk does not give whole, the rest is read piece by piece.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::format::{
    Damage, Finding, GROUP_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name,
    segment_number, unfinished_name,
};
use super::segment::{self, Cursor, Step};
use super::storage::{Doing, FOLDER, Storage, StorageError};
use super::tail::{self, SideFile, TailKind};
use super::verify::{Extent, Findings, verify, verify_segments};
use crate::id::JournalId;

/// Bytes that are given up together where the disk does not give them: a page, of which the system
/// reads all or nothing.
const PIECE_BYTES: usize = 4096;

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The segments that are put right, by name, each with what was wrong with it.
    pub mended: BTreeMap<String, Vec<Finding>>,
    /// What is seen now.
    pub left: Findings,
}

/// Puts right what is damaged in `own`, whose owner appends nothing meanwhile, with what `copy` holds.
/// `keep` is given the name and the bytes of each segment before it is replaced, zeros where the disk does
/// not give them, and no bytes of one that is missing.
///
/// # Errors
/// A storage failed, or `keep` did. What was replaced until then is whole.
pub fn repair<S: Storage, C: Storage>(
    own: &S,
    copy: &C,
    keep: &mut dyn FnMut(&str, &[u8]) -> io::Result<()>,
) -> Result<Repair, StorageError> {
    let extent = whole_journal();
    let mut mended = BTreeMap::new();
    // The end of a segment that is damaged hides whether the one behind it belongs there.
    loop {
        let before = mended.len();
        // From behind: what came back says what belongs before it.
        for number in damaged(own, copy, &verify(own, &extent))?.into_iter().rev() {
            let name = segment_name(number);
            if !mended.contains_key(&name)
                && let Some(findings) = mend(own, copy, number, keep)?
            {
                mended.insert(name, findings);
            }
        }
        if mended.len() == before {
            break;
        }
    }
    let left = verify(own, &extent);
    Ok(Repair { mended, left })
}

fn whole_journal() -> Extent {
    Extent {
        from: 1,
        ..Extent::default()
    }
}

/// Replaces one segment if the copy has a better one; gives what was wrong with it.
fn mend<S: Storage, C: Storage>(
    own: &S,
    copy: &C,
    number: u32,
    keep: &mut dyn FnMut(&str, &[u8]) -> io::Result<()>,
) -> Result<Option<Vec<Finding>>, StorageError> {
    let extent = whole_journal();
    let name = segment_name(number);
    let held = own.list().doing("list", FOLDER)?;
    let is_there = held.contains(&name);
    let there = match is_there {
        true => Found::read(own, &name)?,
        false => Found::default(),
    };
    let (previous, next) = (number.saturating_sub(1), number.saturating_add(1));
    // What the segments beside this one say of it counts, too.
    let names = BTreeSet::from([previous, number, next].map(segment_name));
    let mut before = verify_segments(own, &extent, &names);
    let is_followed = held.contains(&segment_name(next));
    let better = offered(copy, number, &there.bytes);
    let better = better.into_iter().find(|offer| {
        let replaced = Replaced {
            own,
            name: &name,
            bytes: &offer.bytes,
        };
        let after = verify_segments(&replaced, &extent, &names);
        // Where nothing stands, nobody else says whose history it is.
        let is_kept = is_there && there.is_kept_by(offer);
        let belongs = is_followed && is_continued(&after, number) || is_kept;
        belongs && is_better(&before, &after, number, offer)
    });
    let Some(Offer { bytes, .. }) = better else {
        return Ok(None);
    };
    let there = there.bytes;
    keep(&name, &there).doing("keep a copy of", &name)?;
    let unfinished = unfinished_name(&name);
    if own.list().doing("list", FOLDER)?.contains(&unfinished) {
        own.remove(&unfinished).doing("remove", &unfinished)?;
    }
    let length = u32::try_from(bytes.len()).expect("segments are at most 64 MiB");
    segment::publish(own, &name, length, &bytes)?;
    let stays = segment_name(previous);
    before
        .findings
        .retain(|finding| finding.file != stays && missing_before(finding) == 0);
    Ok(Some(wrong_with(&name, there.is_empty(), before)))
}

/// What was wrong with a segment that came back; at least one.
fn wrong_with(name: &str, is_gone: bool, before: Findings) -> Vec<Finding> {
    let position = before.findings.first().map_or(0, |first| first.position);
    let missing = Finding {
        file: name.to_owned(),
        offset: 0,
        position,
        damage: Damage::Missing,
    };
    let (own, others): (Vec<_>, Vec<_>) = before
        .findings
        .into_iter()
        .partition(|finding| finding.file == name);
    match (is_gone, own.is_empty()) {
        (true, _) => vec![missing],
        (false, true) => others,
        (false, false) => own,
    }
}

/// The journals of which a folder holds segments, by the headers that can be read.
///
/// # Errors
/// The storage failed otherwise.
pub fn journals<S: Storage>(storage: &S) -> Result<BTreeSet<JournalId>, StorageError> {
    let mut journals = BTreeSet::new();
    for name in storage.list().doing("list", FOLDER)? {
        if let Some(number) = segment_number(&name) {
            match segment::inspect(storage, number) {
                Ok((header, _)) => journals.extend(header.map(|header| header.id)),
                Err(error) if error.scarce => return Err(error),
                Err(_) => {}
            }
        }
    }
    Ok(journals)
}

/// Numbers of the segments with something wrong, and of those that are missing and the copy holds: a
/// number in a name may be any, so nothing is counted up to one.
fn damaged<S: Storage, C: Storage>(
    own: &S,
    copy: &C,
    found: &Findings,
) -> Result<BTreeSet<u32>, StorageError> {
    let held = numbers(own)?;
    let last = held.last().copied().unwrap_or(1);
    let mut damaged: BTreeSet<u32> = numbers(copy)?.range(..last).copied().collect();
    damaged.retain(|number| !held.contains(number));
    for finding in &found.findings {
        // Whose the journal is was read from its first segment.
        if let Damage::OtherJournal { .. } = finding.damage {
            damaged.extend(held);
            break;
        }
        damaged.extend(segment_number(&finding.file));
    }
    Ok(damaged)
}

/// Numbers of the segments in a folder.
fn numbers<S: Storage>(storage: &S) -> Result<BTreeSet<u32>, StorageError> {
    let names = storage.list().doing("list", FOLDER)?;
    Ok(names
        .iter()
        .filter_map(|name| segment_number(name))
        .collect())
}

/// A segment as it stands.
#[derive(Default)]
struct Found {
    bytes: Vec<u8>,
    /// The end of the last piece that the disk did not give; 0 where it gave all.
    unread_to: usize,
}

impl Found {
    /// Reads a segment, zeros where the disk does not give it.
    fn read<S: Storage>(own: &S, name: &str) -> Result<Self, StorageError> {
        let length = length(own, name)?;
        match segment::read_whole(own, name, length) {
            Err(error) if !error.scarce => {}
            read => {
                return read.map(|bytes| Self {
                    bytes,
                    unread_to: 0,
                });
            }
        }
        let length = usize::try_from(length).expect("segments are at most 64 MiB");
        let (mut bytes, mut unread_to) = (vec![0; length], 0);
        for (number, piece) in bytes.chunks_mut(PIECE_BYTES).enumerate() {
            let at = number * PIECE_BYTES;
            match own.read_at(name, at as u64, piece).doing("read", name) {
                Ok(()) => {}
                Err(error) if error.scarce => return Err(error),
                Err(_) => {
                    piece.fill(0);
                    unread_to = at + piece.len();
                }
            }
        }
        Ok(Self { bytes, unread_to })
    }

    /// Whether nothing that stands here is given up for an offer. The copy has all that could not be
    /// read, each header that is whole here is the offered one, and what stands behind the copy's groups
    /// stays, unless it was never a record.
    fn is_kept_by(&self, offer: &Offer) -> bool {
        let own = self.bytes.first_chunk().map(SegmentHeader::decode);
        if let Some(Ok(own)) = own
            && own != offer.header
        {
            return false;
        }
        let mut from = SEGMENT_HEADER_BYTES;
        while let Some((at, _)) = segment::later_group(&self.bytes, &offer.header, from) {
            let header = at..at + GROUP_HEADER_BYTES;
            if offer.bytes.get(header.clone()) != self.bytes.get(header) {
                return false;
            }
            from = at + 1;
        }
        let end = offer.end.offset;
        let behind = self.bytes.get(end..).unwrap_or_default();
        let stays = offer.bytes.get(end..end + behind.len()) == Some(behind)
            || tail::judge(&self.bytes, &offer.header, &offer.end) == TailKind::Stray;
        stays && self.unread_to <= end
    }
}

/// What a segment may be replaced with.
struct Offer {
    header: SegmentHeader,
    /// Where the copy's groups end.
    end: Cursor,
    bytes: Vec<u8>,
    /// How many of them are the copy's, from the first on.
    given: usize,
}

/// The beginning of a segment that the copy has whole, with what stands behind it here; then all that
/// the copy has of it. Nothing where the copy has nothing whole.
fn offered<C: Storage>(copy: &C, number: u32, there: &[u8]) -> Vec<Offer> {
    let name = segment_name(number);
    let header = segment::inspect(copy, number).ok();
    let header = header.and_then(|(header, _)| header);
    let (Some(header), Ok(mut bytes)) = (header, read(copy, &name)) else {
        return Vec::new();
    };
    let mut cursor = Cursor::start(&header);
    while let Step::Group(..) = segment::step(&bytes, &header, &mut cursor) {}
    let given = cursor.offset;
    let mut joined = bytes[..given].to_vec();
    joined.extend(there.get(given..).unwrap_or_default());
    let length = header.length as usize;
    joined.resize(length, 0);
    bytes.resize(length, 0);
    let joined = Offer {
        header: header.clone(),
        end: cursor.clone(),
        bytes: joined,
        given,
    };
    let whole = Offer {
        header,
        end: cursor,
        bytes,
        given: length,
    };
    match there.len() > given {
        true => vec![joined, whole],
        false => vec![whole],
    }
}

/// Whether nothing is wrong in a segment and the one behind it, which is there, goes on where it ends: the
/// chain shows then that all of it is this history's.
fn is_continued(after: &Findings, number: u32) -> bool {
    let (name, next) = (segment_name(number), segment_name(number.saturating_add(1)));
    let speaks = |finding: &Finding| {
        let is_here = finding.file == name && missing_before(finding) == 0;
        is_here || finding.file == next && finding.offset == 0
    };
    !after.findings.iter().any(speaks)
}

/// How many segments a finding says are missing before its file, which is nothing against the file.
fn missing_before(finding: &Finding) -> u32 {
    if let Damage::MissingSegments { count } = finding.damage {
        return count;
    }
    0
}

/// Whether a segment is better replaced: less is wrong, nothing in what the copy gave, and nothing that
/// was reached is not. Where the copy gave all of it, the next segment has to begin where it ends: it
/// may have ended earlier then.
fn is_better(before: &Findings, after: &Findings, number: u32, offer: &Offer) -> bool {
    let (name, next) = (segment_name(number), segment_name(number.saturating_add(1)));
    // Each segment of a gap counts, so that it is better once one of them is back.
    let weight = |finding: &Finding| u64::from(missing_before(finding).max(1));
    let wrong =
        |findings: &Findings| findings.findings.iter().map(weight).sum::<u64>() + findings.more;
    let is_whole = offer.given == offer.bytes.len();
    let blamed = |finding: &Finding| {
        finding.file == name
            && missing_before(finding) == 0
            && finding.offset < offer.given as u64
            && !before.findings.contains(finding)
            || is_whole && finding.file == next && finding.offset == 0
    };
    let reached = |findings: &Findings| findings.head.map_or(0, |head| head.position);
    wrong(after) < wrong(before)
        && !after.findings.iter().any(blamed)
        && reached(after) >= reached(before)
        && !before.scarce
        && !after.scarce
}

/// Whether what is left is only what the next opening cuts by itself, or lies in what earlier ones kept,
/// of which nothing else holds a copy.
pub fn is_mended(left: &Findings) -> bool {
    let torn = |finding: &Finding| matches!(finding.damage, Damage::TornTail { .. });
    let is_kept = |finding: &Finding| SideFile::parse(&finding.file).is_some();
    left.findings
        .iter()
        .all(|finding| torn(finding) || is_kept(finding))
        && left.more == 0
        && !left.scarce
}

fn read<S: Storage>(storage: &S, name: &str) -> Result<Vec<u8>, StorageError> {
    segment::read_whole(storage, name, length(storage, name)?)
}

/// Bytes of a segment that are looked at.
fn length<S: Storage>(storage: &S, name: &str) -> Result<u64, StorageError> {
    let length = storage.length(name).doing("measure", name)?;
    Ok(length.min(crate::limits::SEGMENT_BYTES_MAX.into()))
}

/// A journal with other bytes in one segment, to look at.
struct Replaced<'a, S> {
    own: &'a S,
    name: &'a str,
    bytes: &'a [u8],
}

impl<S: Storage> Storage for Replaced<'_, S> {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = self.own.list()?;
        if !names.iter().any(|name| name == self.name) {
            names.push(self.name.to_owned());
        }
        Ok(names)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        match name == self.name {
            true => Ok(self.bytes.len() as u64),
            false => self.own.length(name),
        }
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if name != self.name {
            return self.own.read_at(name, offset, buffer);
        }
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = self
            .bytes
            .get(offset..)
            .and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn create(&self, _: &str, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn write_at(&self, _: &str, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_folder(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
