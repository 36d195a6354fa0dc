//! The append-only journal: the truth from which everything else is rebuilt.
//!
//! A journal is a chain of opaque records in a folder of segments. [`Journal::append`] returns
//! once its records are on the disk; [`JournalReader`] reads what is there while the owner goes on
//! appending; [`verify`](verify::verify) finds every flipped, missing, moved or added byte. The
//! same machine keeps a server's journal and a device's unsent runs. `docs/storage.md` has the
//! format; what the records mean is in [`record`](crate::record).
//!
//! Whoever opens a journal holds the lock of its folder: two owners would destroy each other's
//! work.

pub mod copy;
pub mod disk;
pub mod format;
mod kept;
pub mod memory;
mod reader;
mod recover;
pub mod repair;
pub mod scan;
pub mod scrub;
mod segment;
pub mod storage;
mod tail;
pub mod target;
pub mod verify;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

pub use self::format::{Damage, Finding, Place, segment_name, segment_number};
use self::format::{
    GROUP_HEADER_BYTES, GroupHeader, InGroup, RECORD_PREFIX_BYTES, SEGMENT_HEADER_BYTES,
    SegmentHeader, chain_next, chain_start, record_hash,
};
pub use self::kept::KeptSum;
pub use self::reader::{JournalReader, ReadError};
use self::reader::{Shared, State};
pub use self::recover::{OpenError, Recovery, TornTail};
use self::storage::{Doing, FOLDER};
pub use self::storage::{Storage, StorageError, is_scarce};
pub use self::tail::{SideFile, TailKind};
use crate::id::{Chain, JournalId, Position};
use crate::limits::{
    GROUP_BYTES, GROUP_RECORDS_MAX, RECORD_BYTES_MAX, SEGMENT_BYTES_DEVICE, SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_SERVER,
};

/// How a journal uses its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a segment that is made. A record that needs more gets a segment of its own size;
    /// more than [`SEGMENT_BYTES_MAX`] counts as that.
    pub segment_bytes: u32,
    /// Free bytes below which nothing is appended. Opening needs room for one more segment, so
    /// the reserve should exceed two.
    pub reserve_bytes: u64,
    /// Whether [`Journal::remove_before`] is allowed and a journal may begin behind record 1.
    pub prefix_removable: bool,
}

impl Options {
    /// The whole history in large segments.
    pub fn server(reserve_bytes: u64) -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES_SERVER,
            reserve_bytes,
            prefix_removable: false,
        }
    }

    /// A tail of unsettled records in small segments.
    pub fn device(reserve_bytes: u64) -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES_DEVICE,
            reserve_bytes,
            prefix_removable: true,
        }
    }
}

/// A position and the chain there: what a journal has to contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// The last record that counts; 0 where none does.
    pub position: Position,
    /// Chain after it.
    pub chain: Chain,
}

/// Room on the disk of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes that are kept free.
    pub reserve_bytes: u64,
}

impl Space {
    /// Whether nothing is appended until there is more.
    pub fn is_at_reserve(&self) -> bool {
        self.free_bytes < self.reserve_bytes
    }
}

/// What one append added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Position of the first record.
    pub first: Position,
    /// Position of the last record, the head from here on.
    pub last: Position,
    /// Chain after the last record.
    pub chain: Chain,
    /// Where each record stands.
    pub places: Vec<Place>,
}

/// Why a journal was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// There is a journal already.
    #[error("the folder holds a journal already")]
    Exists,
    /// The disk is nearly full. Nothing was written.
    #[error("the disk has {free} bytes free, and {needed} with the reserve are needed")]
    Full {
        /// Free bytes.
        free: u64,
        /// Bytes that must be free: the reserve and the first segment.
        needed: u64,
    },
    /// The storage failed.
    #[error("cannot make the journal")]
    Storage(#[from] StorageError),
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalFailure {
    /// The disk is nearly full. Nothing was written; the next append may succeed.
    #[error("the disk has {free} bytes free, and {needed} with the reserve are needed")]
    Full {
        /// Free bytes.
        free: u64,
        /// Bytes that must be free: the reserve and the segments this append would make.
        needed: u64,
    },
    /// A record is longer than [`RECORD_BYTES_MAX`]. Nothing was written.
    #[error("a record of {bytes} bytes is longer than {RECORD_BYTES_MAX}")]
    RecordTooLong {
        /// Its length.
        bytes: usize,
    },
    /// There was nothing to append.
    #[error("an append needs at least one record")]
    NoRecords,
    /// The journal keeps its whole history.
    #[error("this journal keeps its whole history")]
    NotRemovable,
    /// A write or sync failed. What it left on the disk is unknown, so this journal takes nothing
    /// any more: the process has to end and open it anew.
    #[error("the journal failed and takes nothing more until it is opened again")]
    Storage(#[source] StorageError),
}

impl JournalFailure {
    /// Whether every later append will fail, too.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Storage(_) => true,
            Self::Full { .. }
            | Self::RecordTooLong { .. }
            | Self::NoRecords
            | Self::NotRemovable => false,
        }
    }
}

/// Appends to a journal; there is one owner.
#[derive(Debug)]
pub struct Journal<S: Storage> {
    shared: Arc<Shared<S>>,
    options: Options,
    /// The segment that is appended to.
    open: SegmentHeader,
    /// Where its next group goes.
    end: u32,
    head: Position,
    chain: Chain,
    failed: Option<StorageError>,
}

impl<S: Storage> Journal<S> {
    /// Makes a journal that begins with `records`; all of it is on the disk when this returns.
    ///
    /// Wherever this is cut short, the folder holds no journal, or this one with these records. A
    /// journal without any record gives way: it was never founded.
    ///
    /// # Errors
    /// The folder holds a journal already, the disk is nearly full, or the storage failed.
    ///
    /// # Panics
    /// If the records are more than one group holds.
    pub fn create(
        storage: S,
        id: JournalId,
        options: Options,
        records: &[Vec<u8>],
    ) -> Result<Self, CreateError> {
        let bytes: usize = records.iter().map(Vec::len).sum();
        assert!(
            records.len() <= GROUP_RECORDS_MAX && bytes <= GROUP_BYTES,
            "a journal begins with one group"
        );
        let needed = GROUP_HEADER_BYTES + records.len() * RECORD_PREFIX_BYTES + bytes;
        let header = SegmentHeader {
            id,
            number: 1,
            length: segment_length(&options, needed),
            first: 1,
            before: chain_start(&id),
        };
        let mut state = State::start(header.clone());
        let mut content = header.encode().to_vec();
        if !records.is_empty() {
            let group = EncodedGroup::of(records, &header, state.end, 1, header.before);
            content.extend_from_slice(&group.bytes);
            state.head = group.header.next() - 1;
            state.chain = group.header.after;
            state.end = u32::try_from(content.len()).expect("a group fits into its segment");
        }
        let free = storage
            .free_bytes()
            .doing("measure free space of", FOLDER)?;
        let needed = options.reserve_bytes.saturating_add(header.length.into());
        if free < needed {
            return Err(CreateError::Full { free, needed });
        }
        recover::make_first(&storage, &header, &content)?;
        Ok(Self::over(storage, id, state, options))
    }

    /// Opens a journal after whatever happened to it.
    ///
    /// The last segment is read whole and written anew up to its last whole group before anything
    /// in it counts; of the segments before it the headers are checked. What follows the last
    /// whole group is cut, kept in a side file and told in [`Recovery`].
    ///
    /// # Errors
    /// There is no journal, the storage failed, or something is damaged that no unfinished write
    /// explains: then nothing was changed.
    pub fn open(storage: S, options: Options) -> Result<(Self, Recovery), OpenError> {
        let (id, state, recovery) = recover::recover(&storage, &options)?;
        Ok((Self::over(storage, id, state, options), recovery))
    }

    fn over(storage: S, id: JournalId, state: State, options: Options) -> Self {
        let open = state.open_segment().clone();
        Self {
            open,
            end: state.end,
            head: state.head,
            chain: state.chain,
            shared: Arc::new(Shared::new(storage, id, state)),
            options,
            failed: None,
        }
    }

    /// The journal's id.
    pub fn id(&self) -> JournalId {
        self.shared.id()
    }

    /// The last position and the chain there.
    pub fn head(&self) -> (Position, Chain) {
        (self.head, self.chain)
    }

    /// The failure that ended this journal, if one did.
    pub fn failure(&self) -> Option<JournalFailure> {
        self.failed.clone().map(JournalFailure::Storage)
    }

    /// A reader of what is on the disk, now and later.
    pub fn reader(&self) -> JournalReader<S> {
        JournalReader::new(Arc::clone(&self.shared))
    }

    /// Appends records in order; they are on the disk when this returns.
    ///
    /// They form one group, or several where they exceed its limits or the segment's end. Each
    /// group is one write and one sync.
    ///
    /// # Errors
    /// See [`JournalFailure`]. After a final one, a part of the records may be in the journal.
    pub fn append(&mut self, records: &[Vec<u8>]) -> Result<Appended, JournalFailure> {
        self.append_above(self.options.reserve_bytes, records)
    }

    /// The same for the few records that the reserve is kept for: they need only the room that they
    /// take themselves.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_to_reserve(&mut self, records: &[Vec<u8>]) -> Result<Appended, JournalFailure> {
        self.append_above(0, records)
    }

    fn append_above(
        &mut self,
        reserve_bytes: u64,
        records: &[Vec<u8>],
    ) -> Result<Appended, JournalFailure> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        if records.is_empty() {
            return Err(JournalFailure::NoRecords);
        }
        if let Some(record) = records
            .iter()
            .find(|record| record.len() > RECORD_BYTES_MAX)
        {
            let bytes = record.len();
            return Err(JournalFailure::RecordTooLong { bytes });
        }
        let plan = self.plan(records);
        let made = plan.iter().filter_map(|group| group.segment);
        self.room_for(reserve_bytes, made.map(u64::from).sum())?;
        let first = self.head + 1;
        let mut places = Vec::with_capacity(records.len());
        for group in plan {
            if let Some(length) = group.segment {
                self.roll(length).map_err(|error| self.fail(error))?;
            }
            let written = self.write_group(&records[group.records]);
            places.extend(written.map_err(|error| self.fail(error))?);
        }
        Ok(Appended {
            first,
            last: self.head,
            chain: self.chain,
            places,
        })
    }

    /// Begins a segment if the one that is appended to has this number and is damaged: opening
    /// refuses damage in a last segment, and of those before it reads the headers alone. Tells
    /// whether it did, which takes room on the disk.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn leave_segment(&mut self, number: u32) -> Result<bool, JournalFailure> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        if number != self.open.number || self.end == SEGMENT_HEADER_BYTES as u32 {
            return Ok(false);
        }
        let length = segment_length(&self.options, 0);
        self.room_for(self.options.reserve_bytes, length.into())?;
        self.roll(length).map_err(|error| self.fail(error))?;
        Ok(true)
    }

    /// Deletes the segments that hold only records before `position`, and tells how many. The
    /// segment that is appended to stays.
    ///
    /// # Errors
    /// The journal keeps its history, or the storage failed, which is final.
    pub fn remove_before(&mut self, position: Position) -> Result<usize, JournalFailure> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        if !self.options.prefix_removable {
            return Err(JournalFailure::NotRemovable);
        }
        let mut removed = 0;
        while let Some(number) = self.shared.forget_first_before(position) {
            // One at a time: a crash must not leave a gap between segments.
            self.remove_segment(number)
                .map_err(|error| self.fail(error))?;
            removed += 1;
        }
        Ok(removed)
    }

    fn remove_segment(&self, number: u32) -> Result<(), StorageError> {
        let name = segment_name(number);
        let storage = self.shared.storage();
        storage.remove(&name).doing("remove", &name)?;
        storage.sync_folder().doing("sync", FOLDER)
    }

    fn room_for(&mut self, reserve_bytes: u64, made: u64) -> Result<(), JournalFailure> {
        let free = self.shared.storage().free_bytes();
        let free = free.doing("measure free space of", FOLDER);
        let free = free.map_err(|error| self.fail(error))?;
        let needed = reserve_bytes.saturating_add(made);
        match free < needed {
            true => Err(JournalFailure::Full { free, needed }),
            false => Ok(()),
        }
    }

    fn fail(&mut self, error: StorageError) -> JournalFailure {
        self.failed = Some(error.clone());
        JournalFailure::Storage(error)
    }

    /// Cuts records into groups and says which of them begin a segment.
    fn plan(&self, records: &[Vec<u8>]) -> Vec<PlannedGroup> {
        let mut room = (self.open.length - self.end) as usize;
        let mut plan = Vec::new();
        let mut start = 0;
        while start < records.len() {
            let mut bytes = RECORD_PREFIX_BYTES + records[start].len();
            let needed = GROUP_HEADER_BYTES + bytes;
            let segment = (needed > room).then(|| segment_length(&self.options, needed));
            if let Some(length) = segment {
                room = length as usize - SEGMENT_HEADER_BYTES;
            }
            let mut end = start + 1;
            for record in records.iter().skip(end).take(GROUP_RECORDS_MAX - 1) {
                let more = bytes + RECORD_PREFIX_BYTES + record.len();
                if bytes >= GROUP_BYTES || GROUP_HEADER_BYTES + more > room {
                    break;
                }
                bytes = more;
                end += 1;
            }
            room -= GROUP_HEADER_BYTES + bytes;
            let records = start..end;
            plan.push(PlannedGroup { segment, records });
            start = end;
        }
        plan
    }

    fn roll(&mut self, length: u32) -> Result<(), StorageError> {
        let header = SegmentHeader {
            id: self.open.id,
            number: self.open.number + 1,
            length,
            first: self.head + 1,
            before: self.chain,
        };
        segment::make(self.shared.storage(), &header)?;
        self.shared.rolled(&header);
        self.open = header;
        self.end = SEGMENT_HEADER_BYTES as u32;
        Ok(())
    }

    fn write_group(&mut self, records: &[Vec<u8>]) -> Result<Vec<Place>, StorageError> {
        let group = EncodedGroup::of(records, &self.open, self.end, self.head + 1, self.chain);
        let name = segment_name(self.open.number);
        let storage = self.shared.storage();
        storage
            .write_at(&name, self.end.into(), &group.bytes)
            .doing("write", &name)?;
        storage.sync(&name).doing("sync", &name)?;
        // Only from here on do the records exist, for the owner and for readers alike.
        self.end += u32::try_from(group.bytes.len()).expect("a group fits into its segment");
        self.head = group.header.next() - 1;
        self.chain = group.header.after;
        self.shared.grown(self.head, self.chain, self.end);
        Ok(group.places)
    }
}

/// A group as it is written.
struct EncodedGroup {
    header: GroupHeader,
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl EncodedGroup {
    /// Encodes records that stand in `segment` from `offset` on, the first at position `first`
    /// behind the chain `before`.
    fn of(
        records: &[Vec<u8>],
        segment: &SegmentHeader,
        offset: u32,
        first: Position,
        before: Chain,
    ) -> Self {
        let mut bytes = vec![0; GROUP_HEADER_BYTES];
        let mut places = Vec::with_capacity(records.len());
        let mut after = before;
        for record in records {
            let length = u32::try_from(record.len()).expect("records are at most 2 MiB");
            bytes.extend_from_slice(&length.to_le_bytes());
            let start = (bytes.len() - GROUP_HEADER_BYTES) as u32;
            bytes.extend_from_slice(record);
            let hash = record_hash(record);
            after = chain_next(&after, &hash);
            let record = InGroup {
                start,
                length,
                hash,
                after,
            };
            places.push(record.place(segment.number, offset));
        }
        let header = GroupHeader {
            first,
            count: u32::try_from(records.len()).expect("groups have at most 512 records"),
            payload: u32::try_from(bytes.len() - GROUP_HEADER_BYTES)
                .expect("a group fits into its segment"),
            before,
            after,
        };
        let encoded = header.encode(&segment.id, segment.number, offset);
        bytes[..GROUP_HEADER_BYTES].copy_from_slice(&encoded);
        Self {
            header,
            bytes,
            places,
        }
    }
}

struct PlannedGroup {
    /// Length of the segment to make first, if one is needed.
    segment: Option<u32>,
    records: Range<usize>,
}

/// Length of a segment that has room for a first group of `needed` bytes.
fn segment_length(options: &Options, needed: usize) -> u32 {
    let needed = u32::try_from(SEGMENT_HEADER_BYTES + needed).expect("records are at most 2 MiB");
    options.segment_bytes.min(SEGMENT_BYTES_MAX).max(needed)
}
