//! Reading records by place or position while the owner appends.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Watermark;
use super::format::{
    Damage, Finding, GROUP_HEADER_BYTES, GroupHeader, InGroup, Place, RECORD_PREFIX_BYTES,
    SEGMENT_HEADER_BYTES, SegmentHeader, check_of, record_hash, records_in, segment_name,
};
use super::scan::Scan;
use super::storage::{Doing, Storage, StorageError};
use crate::id::{Chain, JournalId, Position};
use crate::limits::JOURNAL_DIRECTORIES_MAX;

/// Bytes that are read at once to hop from group header to group header, and the distance between
/// remembered group starts.
const WINDOW_BYTES: u32 = 16 * 1024;

/// Why a record or chain was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The journal does not reach this position.
    #[error("record {position} is behind the head {head}")]
    BehindHead {
        /// The position asked for.
        position: Position,
        /// The last position on the disk.
        head: Position,
    },
    /// The segment was deleted once its records were settled.
    #[error("the journal begins with record {first}; what was before it is settled and gone")]
    Removed {
        /// The first position that is kept.
        first: Position,
    },
    /// What stands there is not what was written, or the place is wrong.
    #[error("cannot read the journal where it is damaged")]
    Damaged(#[source] Finding),
    /// The storage failed.
    #[error("cannot read the journal")]
    Storage(#[from] StorageError),
}

impl ReadError {
    /// Whether the bytes are not what was written or the disk does not give them, rather than that
    /// too much was asked for or the system lacks descriptors or memory for the moment.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            Self::Storage(error) => !error.scarce,
            Self::BehindHead { .. } | Self::Removed { .. } => false,
        }
    }
}

/// Is told the number of a segment in which reading met damage.
struct Alarm(Box<dyn Fn(u32) + Send + Sync>);

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alarm(..)")
    }
}

/// Reads what is on the disk; cheap to clone, usable from any thread while the owner appends.
#[derive(Debug)]
pub struct JournalReader<S: Storage> {
    shared: Arc<Shared<S>>,
}

impl<S: Storage> Clone for JournalReader<S> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl<S: Storage> JournalReader<S> {
    pub(super) fn new(shared: Arc<Shared<S>>) -> Self {
        Self { shared }
    }

    /// The journal's id.
    pub fn id(&self) -> JournalId {
        self.shared.id
    }

    /// The last position on the disk and the chain there.
    pub fn head(&self) -> (Position, Chain) {
        let state = self.shared.state();
        (state.head, state.chain)
    }

    /// The head, as something to hold a journal or a copy against.
    pub fn watermark(&self) -> Watermark {
        let (position, chain) = self.head();
        Watermark { position, chain }
    }

    /// Position of the first record that is kept.
    pub fn first(&self) -> Position {
        self.shared.state().first()
    }

    /// The folder's files.
    pub fn storage(&self) -> &S {
        &self.shared.storage
    }

    /// Has `alarm` called with the number of a segment whenever reading by place or position meets
    /// [damage](ReadError::is_damage) in it, on whatever thread that is; it must not wait. The first
    /// alarm of a journal stays.
    pub fn on_damage(&self, alarm: impl Fn(u32) + Send + Sync + 'static) {
        let _ = self.shared.alarm.set(Alarm(Box::new(alarm)));
    }

    /// Reads the record at a place and checks it against the place.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, place: Place) -> Result<Vec<u8>, ReadError> {
        self.told(self.read_record(place), || Some(place.segment))
    }

    fn read_record(&self, place: Place) -> Result<Vec<u8>, ReadError> {
        let view = {
            let state = self.shared.state();
            match state.numbered(place.segment) {
                Some(view) => view,
                None if place.segment < state.segments[0].number => {
                    let first = state.first();
                    return Err(ReadError::Removed { first });
                }
                None => return Err(not_a_record(place)),
            }
        };
        let lowest = SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES + RECORD_PREFIX_BYTES;
        let end = u64::from(place.offset) + u64::from(place.length);
        if (place.offset as usize) < lowest || end > view.end.into() {
            return Err(not_a_record(place));
        }
        let start = place.offset - RECORD_PREFIX_BYTES as u32;
        let mut bytes = vec![0; RECORD_PREFIX_BYTES + place.length as usize];
        self.shared.read_at(&view, start, &mut bytes)?;
        let record = bytes.split_off(RECORD_PREFIX_BYTES);
        if bytes != place.length.to_le_bytes() || check_of(&record_hash(&record)) != place.check {
            return Err(not_a_record(place));
        }
        Ok(record)
    }

    /// Finds where the record at a position stands.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn locate(&self, position: Position) -> Result<Place, ReadError> {
        let group = self.told_at(self.group_of(position), position)?;
        Ok(group.place(group.index_of(position)))
    }

    /// The chain after the record at `position`; the position before the first kept record has
    /// one, too.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn chain_at(&self, position: Position) -> Result<Chain, ReadError> {
        let start = self.shared.state().segments[0].clone();
        if position.checked_add(1) == Some(start.first) {
            return Ok(start.before);
        }
        let (view, offset, header) = self.told_at(self.find_group(position), position)?;
        if position + 1 == header.next() {
            return Ok(header.after);
        }
        let group = self.told_at(self.load(&view, offset, header), position)?;
        Ok(group.records[group.index_of(position)].after)
    }

    /// Sounds the alarm where reading what holds `position` met damage.
    fn told_at<T>(&self, read: Result<T, ReadError>, position: Position) -> Result<T, ReadError> {
        let holding = || self.shared.state().holding(position).ok();
        self.told(read, || holding().map(|view| view.header.number))
    }

    fn told<T>(
        &self,
        read: Result<T, ReadError>,
        segment: impl FnOnce() -> Option<u32>,
    ) -> Result<T, ReadError> {
        if let Err(error) = &read
            && error.is_damage()
            && let Some(Alarm(alarm)) = self.shared.alarm.get()
            && let Some(segment) = segment()
        {
            alarm(segment);
        }
        read
    }

    /// Goes through the records from position `from` to the head of this moment, proving the chain
    /// from group to group. Before the first kept record it begins with that.
    pub fn scan(&self, from: Position) -> Scan<S> {
        let (first, head) = {
            let state = self.shared.state();
            (state.first(), state.head)
        };
        Scan::new(self.clone(), from.max(first), head)
    }

    /// The headers of the segments that hold what comes up to `position`, at least one.
    pub(super) fn segments_up_to(&self, position: Position) -> Vec<SegmentHeader> {
        let state = self.shared.state();
        let behind = state
            .segments
            .partition_point(|segment| segment.first <= position);
        state.segments[..behind.max(1)].to_vec()
    }

    /// The group that holds `position`.
    pub(super) fn group_of(&self, position: Position) -> Result<Group, ReadError> {
        let (view, offset, header) = self.find_group(position)?;
        self.load(&view, offset, header)
    }

    /// The group that begins with `position`, behind a group that ended at `behind`.
    pub(super) fn group_behind(
        &self,
        position: Position,
        behind: &Behind,
    ) -> Result<Group, ReadError> {
        let view = self.shared.state().holding(position)?;
        let offset = if view.header.number == behind.segment {
            behind.offset
        } else {
            SEGMENT_HEADER_BYTES as u32
        };
        let header = Headers::new(&self.shared, &view).at(offset, position)?;
        if header.before != behind.chain {
            return Err(view.damaged(offset, position, Damage::ChainBroken));
        }
        self.load(&view, offset, header)
    }

    /// Hops from group header to group header to the one whose group holds `position`, beginning
    /// at the nearest start that is remembered.
    fn find_group(&self, position: Position) -> Result<(View, u32, GroupHeader), ReadError> {
        let view = self.shared.state().holding(position)?;
        let number = view.header.number;
        let start = (view.header.first, SEGMENT_HEADER_BYTES as u32);
        let (mut next, mut offset) = self
            .shared
            .directories(|known| known.nearest(number, position))
            .unwrap_or(start);
        let mut headers = Headers::new(&self.shared, &view);
        loop {
            let header = headers.at(offset, next)?;
            self.shared
                .directories(|known| known.note(number, next, offset));
            if position < header.next() {
                return Ok((view, offset, header));
            }
            next = header.next();
            // `Headers::at` saw that the group ends within the segment.
            offset += GROUP_HEADER_BYTES as u32 + header.payload;
        }
    }

    fn load(&self, view: &View, offset: u32, header: GroupHeader) -> Result<Group, ReadError> {
        let mut payload = vec![0; header.payload as usize];
        let start = offset + GROUP_HEADER_BYTES as u32;
        self.shared.read_at(view, start, &mut payload)?;
        let records = records_in(&header, &payload)
            .map_err(|damage| view.damaged(offset, header.first, damage))?;
        Ok(Group {
            segment: view.header.number,
            offset,
            header,
            payload,
            records,
        })
    }
}

/// Where a group ended.
#[derive(Debug, Clone)]
pub(super) struct Behind {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) chain: Chain,
}

/// A group in memory, proven against its header.
#[derive(Debug)]
pub(super) struct Group {
    segment: u32,
    offset: u32,
    header: GroupHeader,
    payload: Vec<u8>,
    pub(super) records: Vec<InGroup>,
}

impl Group {
    pub(super) fn index_of(&self, position: Position) -> usize {
        usize::try_from(position - self.header.first).expect("groups are small")
    }

    pub(super) fn place(&self, index: usize) -> Place {
        self.records[index].place(self.segment, self.offset)
    }

    pub(super) fn record(&self, index: usize) -> &[u8] {
        self.records[index].bytes(&self.payload)
    }

    pub(super) fn behind(&self) -> Behind {
        Behind {
            segment: self.segment,
            offset: self.offset + GROUP_HEADER_BYTES as u32 + self.header.payload,
            chain: self.header.after,
        }
    }
}

/// Group headers of one segment, read a window at a time.
struct Headers<'a, S> {
    shared: &'a Shared<S>,
    view: &'a View,
    start: u32,
    window: Vec<u8>,
}

impl<'a, S: Storage> Headers<'a, S> {
    fn new(shared: &'a Shared<S>, view: &'a View) -> Self {
        Self {
            shared,
            view,
            start: 0,
            window: Vec::new(),
        }
    }

    /// The header at `offset`, at most the end of the view. It must begin with record `first`, and
    /// its group end within the view.
    fn at(&mut self, offset: u32, first: Position) -> Result<GroupHeader, ReadError> {
        let view = self.view;
        let damaged = |damage| view.damaged(offset, first, damage);
        let known = self.start + self.window.len() as u32;
        if offset < self.start || offset + GROUP_HEADER_BYTES as u32 > known {
            self.start = offset;
            self.window = vec![0; WINDOW_BYTES.min(view.end - offset) as usize];
            self.shared.read_at(view, offset, &mut self.window)?;
        }
        let bytes = &self.window[(offset - self.start) as usize..];
        let SegmentHeader { id, number, .. } = &view.header;
        let header = GroupHeader::decode(bytes, id, *number, offset)
            .ok_or_else(|| damaged(Damage::GroupHeader))?;
        if header.first != first {
            let (expected, found) = (first, header.first);
            return Err(damaged(Damage::GroupPosition { expected, found }));
        }
        if u64::from(offset) + header.length() > view.end.into() {
            return Err(damaged(Damage::GroupLength));
        }
        Ok(header)
    }
}

/// What the owner and its readers share.
#[derive(Debug)]
pub(super) struct Shared<S> {
    storage: S,
    id: JournalId,
    state: RwLock<State>,
    directories: Mutex<Directories>,
    alarm: OnceLock<Alarm>,
}

impl<S: Storage> Shared<S> {
    pub(super) fn new(storage: S, id: JournalId, state: State) -> Self {
        Self {
            storage,
            id,
            state: RwLock::new(state),
            directories: Mutex::new(Directories::default()),
            alarm: OnceLock::new(),
        }
    }

    pub(super) fn storage(&self) -> &S {
        &self.storage
    }

    pub(super) fn id(&self) -> JournalId {
        self.id
    }

    pub(super) fn rolled(&self, header: &SegmentHeader) {
        let mut state = self.state_mut();
        state.segments.push(header.clone());
        state.end = SEGMENT_HEADER_BYTES as u32;
    }

    pub(super) fn grown(&self, head: Position, chain: Chain, end: u32) {
        let mut state = self.state_mut();
        state.head = head;
        state.chain = chain;
        state.end = end;
    }

    /// Takes the first segment out of sight if all its records come before `position`.
    pub(super) fn forget_first_before(&self, position: Position) -> Option<u32> {
        let mut state = self.state_mut();
        let next = state.segments.get(1)?;
        (next.first <= position).then(|| state.segments.remove(0).number)
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        // The state changes by plain assignments that cannot panic half way.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn directories<T>(&self, act: impl FnOnce(&mut Directories) -> T) -> T {
        let mut directories = self
            .directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        act(&mut directories)
    }

    fn read_at(&self, view: &View, offset: u32, buffer: &mut [u8]) -> Result<(), ReadError> {
        let name = segment_name(view.header.number);
        let read = self.storage.read_at(&name, offset.into(), buffer);
        read.doing("read", &name).map_err(|error| {
            let state = self.state();
            if view.header.number < state.segments[0].number {
                let first = state.first();
                return ReadError::Removed { first };
            }
            ReadError::Storage(error)
        })
    }
}

/// What is on the disk.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The headers of all segments in order; never empty.
    pub(super) segments: Vec<SegmentHeader>,
    pub(super) head: Position,
    pub(super) chain: Chain,
    /// Where the groups of the last segment end.
    pub(super) end: u32,
}

impl State {
    /// A journal that was just made.
    pub(super) fn start(header: SegmentHeader) -> Self {
        Self {
            head: header.first - 1,
            chain: header.before,
            end: SEGMENT_HEADER_BYTES as u32,
            segments: vec![header],
        }
    }

    /// The segment that is appended to.
    pub(super) fn open_segment(&self) -> &SegmentHeader {
        self.segments.last().expect("a journal has a segment")
    }

    fn first(&self) -> Position {
        self.segments[0].first
    }

    /// The segment whose groups hold `position`.
    fn holding(&self, position: Position) -> Result<View, ReadError> {
        let (first, head) = (self.first(), self.head);
        if position < first {
            return Err(ReadError::Removed { first });
        }
        if position > head {
            return Err(ReadError::BehindHead { position, head });
        }
        // Of segments that begin alike all but the last are empty.
        let behind = self
            .segments
            .partition_point(|segment| segment.first <= position);
        Ok(self.view(behind - 1))
    }

    fn numbered(&self, number: u32) -> Option<View> {
        let index = number.checked_sub(self.segments[0].number)? as usize;
        (index < self.segments.len()).then(|| self.view(index))
    }

    fn view(&self, index: usize) -> View {
        let header = self.segments[index].clone();
        let last = index + 1 == self.segments.len();
        let end = if last { self.end } else { header.length };
        View { header, end }
    }
}

/// One segment as it was at one moment.
#[derive(Debug)]
struct View {
    header: SegmentHeader,
    /// No group reaches beyond.
    end: u32,
}

impl View {
    fn damaged(&self, offset: u32, position: Position, damage: Damage) -> ReadError {
        ReadError::Damaged(Finding {
            file: segment_name(self.header.number),
            offset: offset.into(),
            position,
            damage,
        })
    }
}

fn not_a_record(place: Place) -> ReadError {
    ReadError::Damaged(Finding {
        file: segment_name(place.segment),
        offset: place.offset.into(),
        position: 0,
        damage: Damage::NotARecord,
    })
}

/// Where some groups of some segments begin, so that a position is found without reading its
/// segment from the start. Starts lie at least a window apart, segments are forgotten in the
/// order of their last use, and what is forgotten is hopped through again.
#[derive(Debug, Default)]
struct Directories {
    /// The segment used last is in front.
    recent: Vec<Directory>,
}

#[derive(Debug)]
struct Directory {
    segment: u32,
    starts: Vec<(Position, u32)>,
}

impl Directories {
    fn nearest(&mut self, segment: u32, position: Position) -> Option<(Position, u32)> {
        let starts = &self.of(segment)?.starts;
        let behind = starts.partition_point(|&(first, _)| first <= position);
        starts[..behind].last().copied()
    }

    fn note(&mut self, segment: u32, first: Position, offset: u32) {
        let Some(directory) = self.of(segment) else {
            let starts = vec![(first, offset)];
            self.recent.insert(0, Directory { segment, starts });
            self.recent.truncate(JOURNAL_DIRECTORIES_MAX);
            return;
        };
        let far = |&(_, known): &(Position, u32)| offset >= known.saturating_add(WINDOW_BYTES);
        if directory.starts.last().is_none_or(far) {
            directory.starts.push((first, offset));
        }
    }

    fn of(&mut self, segment: u32) -> Option<&mut Directory> {
        let at = self
            .recent
            .iter()
            .position(|known| known.segment == segment)?;
        self.recent[..=at].rotate_right(1);
        self.recent.first_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_starts_are_bounded_in_segments_and_lie_a_window_apart() {
        let mut known = Directories::default();
        let start = SEGMENT_HEADER_BYTES as u32;
        let last = 2 * JOURNAL_DIRECTORIES_MAX as u32;
        for segment in 1..=last {
            known.note(segment, 1, start);
        }
        assert_eq!(known.recent.len(), JOURNAL_DIRECTORIES_MAX);
        assert_eq!(known.nearest(last, 9), Some((1, start)));
        assert_eq!(known.nearest(1, 9), None);

        let groups = 1..10 * WINDOW_BYTES / 100;
        for group in groups.clone() {
            known.note(last, 1 + Position::from(group), start + group * 100);
        }
        assert_eq!(known.recent[0].starts.len(), 10);
        let (first, offset) = known.nearest(last, groups.end.into()).unwrap();
        assert_eq!(u64::from(offset - start) / 100 + 1, first);
    }
}
