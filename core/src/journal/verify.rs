//! Finding silent damage: every header, length, chain value and zero of a journal's folder.

use std::collections::BTreeSet;

use super::Watermark;
use super::format::{Damage, Finding, GroupHeader, SegmentHeader, chain_start, segment_name};
use super::kept::KeptSum;
use super::recover::{Folder, misfit};
use super::segment::{self, Broken, Cursor, Step};
use super::storage::{Doing, FOLDER, Storage, StorageError};
use super::tail::{self, SideFile, TailKind};
use crate::id::{Chain, JournalId, Position};
use crate::limits::{JOURNAL_FINDINGS_MAX, SEGMENT_BYTES_MAX};

/// What [`verify`] looks at and holds the journal against.
#[derive(Debug, Clone, Default)]
pub struct Extent {
    /// Records from here on are read; of segments that end before only the headers.
    pub from: Position,
    /// Nothing behind this position is judged, so the owner may go on appending; and the journal
    /// must contain it. Without one everything is judged, and nobody may append meanwhile.
    pub up_to: Option<Watermark>,
    /// Which journal it must be, if that is known.
    pub id: Option<JournalId>,
    /// Whether the journal may begin behind record 1, as a device's tail does.
    pub prefix_removable: bool,
}

/// What a verification saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is wrong, in the order of the files, at most
    /// [`JOURNAL_FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many findings were left out of the list.
    pub more: u64,
    /// Whether something was not read because the system had no descriptor or memory for it.
    pub scarce: bool,
    /// The id in the headers.
    pub id: Option<JournalId>,
    /// The last record that was reached, and the chain there.
    pub head: Option<Watermark>,
    /// Segments whose header was read.
    pub segments: u64,
    /// Whole groups that were read.
    pub groups: u64,
    /// Whole records that were read.
    pub records: u64,
    /// Side files with what was cut earlier; [`SideFile::parse`](super::SideFile::parse)
    /// tells what each keeps.
    pub side_files: Vec<String>,
    /// Unfinished files: being made, or left from a crash until the next opening.
    pub unfinished: Vec<String>,
}

impl Findings {
    /// Whether everything was read and nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && !self.scarce
    }

    fn unreadable(&mut self, file: &str, position: Position, error: StorageError) {
        if error.scarce {
            self.scarce = true;
            return;
        }
        let message = error.message;
        self.add(file, 0, position, Damage::Unreadable { message });
    }

    fn add(&mut self, file: &str, offset: usize, position: Position, damage: Damage) {
        if self.findings.len() == JOURNAL_FINDINGS_MAX {
            self.more += 1;
            return;
        }
        self.findings.push(Finding {
            file: file.to_owned(),
            offset: offset as u64,
            position,
            damage,
        });
    }
}

/// Walks through a journal's folder and names everything that is not as it was written.
///
/// One segment is in memory at a time. Nothing is changed.
pub fn verify<S: Storage>(storage: &S, extent: &Extent) -> Findings {
    look_through(storage, extent, None)
}

/// The same for the segments of some names; of the others only the headers are looked at, so that
/// what was met in one place is named without reading everything.
pub fn verify_segments<S: Storage>(
    storage: &S,
    extent: &Extent,
    names: &BTreeSet<String>,
) -> Findings {
    look_through(storage, extent, Some(names))
}

fn look_through<S: Storage>(
    storage: &S,
    extent: &Extent,
    names: Option<&BTreeSet<String>>,
) -> Findings {
    let mut findings = Findings::default();
    let folder = match Folder::list(storage) {
        Ok(folder) => folder,
        Err(error) => {
            findings.unreadable(FOLDER, 0, error);
            return findings;
        }
    };
    for name in &folder.unknown {
        findings.add(name, 0, 0, Damage::UnknownFile);
    }
    for name in &folder.side {
        if names.is_none_or(|names| names.contains(name)) {
            check_side_file(storage, name, &mut findings);
        }
    }
    findings.side_files = folder.side;
    findings.unfinished = folder.unfinished;

    let mut walk = Walk::new(storage, extent, findings);
    walk.read_headers(&folder.segments);
    for index in 0..walk.segments.len() {
        if walk.is_done() {
            break;
        }
        match names.is_none_or(|names| names.contains(&segment_name(walk.segments[index].0))) {
            true => walk.segment(index),
            false => walk.pass_over(index),
        }
    }
    walk.finish()
}

struct Walk<'a, S> {
    storage: &'a S,
    extent: &'a Extent,
    findings: Findings,
    segments: Vec<(u32, Option<SegmentHeader>)>,
    /// The next record and the chain before it, from what was read so far.
    reached: Option<(Position, Chain)>,
    /// The byte of the last segment at which its walk ended.
    end: usize,
    /// The chain at the watermark, once it was passed.
    marked: Option<Chain>,
}

impl<'a, S: Storage> Walk<'a, S> {
    fn new(storage: &'a S, extent: &'a Extent, findings: Findings) -> Self {
        Self {
            storage,
            extent,
            findings,
            segments: Vec::new(),
            reached: None,
            end: 0,
            marked: None,
        }
    }

    fn read_headers(&mut self, numbers: &[u32]) {
        let mut expected_number = 1;
        let mut id = self.extent.id;
        for &number in numbers {
            let name = segment_name(number);
            let may_begin_here = self.segments.is_empty() && self.extent.prefix_removable;
            if number > expected_number && !may_begin_here {
                let count = number - expected_number;
                self.findings
                    .add(&name, 0, 0, Damage::MissingSegments { count });
            }
            expected_number = number.saturating_add(1);
            let (mut header, damage) = match segment::inspect(self.storage, number) {
                Ok(read) => read,
                Err(error) => {
                    self.findings.unreadable(&name, 0, error);
                    (None, None)
                }
            };
            if let Some(damage) = damage {
                self.findings.add(&name, 0, 0, damage);
            }
            if let Some(found) = header.as_ref().map(|header| header.id)
                && *id.get_or_insert(found) != found
            {
                self.findings
                    .add(&name, 0, 0, Damage::OtherJournal { found });
                header = None;
            }
            self.findings.segments += 1;
            self.segments.push((number, header));
        }
        self.findings.id = id;
        if self.segments.is_empty() {
            self.findings
                .add(FOLDER, 0, 0, Damage::MissingSegments { count: 1 });
        }
    }

    /// Whether the watermark was passed: what follows may be in the making.
    fn is_done(&self) -> bool {
        match (self.extent.up_to, self.reached) {
            (Some(mark), Some((next, _))) => next > mark.position,
            (Some(_), None) | (None, _) => false,
        }
    }

    /// Goes on with what the header of the next segment says; behind the last one nothing is known.
    fn pass_over(&mut self, index: usize) {
        let following = self.segments.get(index + 1);
        let following = following.and_then(|(_, header)| header.as_ref());
        self.reached = following.map(|following| (following.first, following.before));
    }

    fn segment(&mut self, index: usize) {
        let (number, header) = self.segments[index].clone();
        let name = segment_name(number);
        self.end = 0;
        let Some(header) = self.begin(number, header, &name) else {
            return;
        };
        let following = self.segments.get(index + 1);
        let following = following.and_then(|(_, header)| header.as_ref());
        if let Some(following) = following
            && following.first <= self.extent.from
        {
            self.reached = Some((following.first, following.before));
            return;
        }
        // What the system keeps in memory says nothing about the disk.
        let _ = self.storage.drop_cached(&name);
        let length = match self.storage.length(&name) {
            Ok(length) => length.min(SEGMENT_BYTES_MAX.into()),
            Err(error) => {
                let error = StorageError::new("measure", &name, &error);
                return self.unreadable(&name, error);
            }
        };
        match segment::read_whole(self.storage, &name, length) {
            Ok(bytes) => {
                let is_last = index + 1 == self.segments.len();
                self.walk(&name, &bytes, &header, is_last);
            }
            Err(error) => self.unreadable(&name, error),
        }
    }

    fn unreadable(&mut self, name: &str, error: StorageError) {
        let position = self.reached.map_or(0, |(next, _)| next);
        self.findings.unreadable(name, position, error);
    }

    /// Holds a segment's header against what was read before it. A damaged header is replaced by
    /// what it had to say, so that the groups behind it are still read.
    fn begin(
        &mut self,
        number: u32,
        header: Option<SegmentHeader>,
        name: &str,
    ) -> Option<SegmentHeader> {
        let Some(header) = header else {
            let id = self.findings.id?;
            let start = (number == 1).then(|| (1, chain_start(&id)));
            let (first, before) = self.reached.or(start)?;
            return Some(SegmentHeader {
                id,
                number,
                length: SEGMENT_BYTES_MAX,
                first,
                before,
            });
        };
        match self.reached {
            None => {
                if let Some(damage) = misfit(None, &header) {
                    self.findings.add(name, 0, header.first, damage);
                }
            }
            Some((expected, _)) if expected != header.first => {
                let found = header.first;
                let damage = Damage::SegmentStart { expected, found };
                self.findings.add(name, 0, expected.min(found), damage);
            }
            Some((next, chain)) if chain != header.before => {
                self.findings.add(name, 0, next, Damage::ChainBroken);
            }
            Some(_) => {}
        }
        self.reached = Some((header.first, header.before));
        Some(header)
    }

    fn walk(&mut self, name: &str, bytes: &[u8], header: &SegmentHeader, is_last: bool) {
        let mut cursor = Cursor::start(header);
        while !self.is_done() {
            match segment::step(bytes, header, &mut cursor) {
                Step::Group(group, chains) => {
                    self.passed(&group, &chains);
                    self.reached = Some((cursor.next, cursor.chain));
                }
                Step::End => {
                    self.end = cursor.offset;
                    return;
                }
                Step::Broken(broken) => {
                    let later = segment::later_group(bytes, header, broken.search_from);
                    let Broken {
                        damage,
                        offset,
                        may_be_torn,
                        ..
                    } = broken;
                    let is_tail = is_last && may_be_torn && later.is_none();
                    let damage = if is_tail && self.is_unfinished(bytes, header, &cursor) {
                        torn(bytes, cursor.offset)
                    } else {
                        damage
                    };
                    self.findings.add(name, offset, cursor.next, damage);
                    let Some((offset, group)) = later else {
                        self.end = cursor.offset;
                        return;
                    };
                    cursor = Cursor {
                        offset,
                        next: group.first,
                        chain: group.before,
                    };
                }
            }
        }
    }

    /// Whether what stands at the cursor is a write of which nobody was told: nothing up to the
    /// watermark is, nor what looks as if it had been written to its end.
    fn is_unfinished(&self, bytes: &[u8], header: &SegmentHeader, cursor: &Cursor) -> bool {
        let mark = self.extent.up_to;
        let was_kept = mark.is_some_and(|mark| cursor.next <= mark.position);
        !was_kept && tail::judge(bytes, header, cursor) == TailKind::Torn
    }

    fn passed(&mut self, group: &GroupHeader, chains: &[Chain]) {
        self.findings.groups += 1;
        self.findings.records += u64::from(group.count);
        let Some(mark) = self.extent.up_to else {
            return;
        };
        let index = mark.position.checked_sub(group.first);
        let chain = index.and_then(|index| chains.get(usize::try_from(index).ok()?));
        self.marked = self.marked.or(chain.copied());
    }

    fn finish(mut self) -> Findings {
        self.findings.head = self.reached.map(|(next, chain)| Watermark {
            position: next - 1,
            chain,
        });
        let (Some(mark), Some(head)) = (self.extent.up_to, self.findings.head) else {
            return self.findings;
        };
        let last = self.segments.last().map_or(1, |&(number, _)| number);
        let name = segment_name(last);
        let position = mark.position;
        if head.position < position {
            let (expected, found) = (position, head.position);
            let lost = Damage::Lost { expected, found };
            self.findings.add(&name, self.end, found + 1, lost);
            return self.findings;
        }
        let at_head = (head.position == position).then_some(head.chain);
        if let Some(chain) = self.marked.or(at_head)
            && chain != mark.chain
        {
            self.findings
                .add(&name, 0, position, Damage::OtherHistory { position });
        }
        self.findings
    }
}

/// Holds what a side file keeps against the sum in its name. Former versions gave none.
fn check_side_file<S: Storage>(storage: &S, name: &str, findings: &mut Findings) {
    let Some((side, sum)) = SideFile::parse(name).and_then(|side| Some((side, side.sum?))) else {
        return;
    };
    let _ = storage.drop_cached(name);
    let length = storage.length(name).doing("measure", name);
    let read = length.and_then(|length| {
        let may_be_kept = length <= SEGMENT_BYTES_MAX.into();
        let read = may_be_kept.then(|| segment::read_whole(storage, name, length));
        read.transpose()
    });
    match read {
        Ok(Some(bytes)) if KeptSum::of(&bytes) == sum => {}
        Ok(Some(_) | None) => findings.add(name, 0, side.position, Damage::SideFile),
        Err(error) => findings.unreadable(name, side.position, error),
    }
}

fn torn(bytes: &[u8], offset: usize) -> Damage {
    let tail = &bytes[offset.min(bytes.len())..];
    let used = tail
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    Damage::TornTail { bytes: used as u64 }
}
