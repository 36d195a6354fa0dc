//! Copying a journal while its owner appends: a backup.

use super::Watermark;
use super::format::{Damage, Finding, SegmentHeader, segment_name, unfinished_name};
use super::reader::{JournalReader, ReadError};
use super::recover::Folder;
use super::segment::{self, Cursor, Step};
use super::storage::{Doing, FOLDER, Storage, StorageError};
use super::target::Refused;
use super::verify::{Extent, Findings, verify};
use crate::id::Position;

/// What a copy did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Segments that were written.
    pub written: u64,
    /// Segments that were there already, byte for byte.
    pub kept: u64,
    /// What the target had held and lost, the first of each segment. It is written again.
    pub repaired: Vec<Finding>,
    /// The verification of the copy: clean, with the watermark as its head.
    pub verified: Findings,
}

/// Why there is no good copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The journal itself is damaged or does not contain the watermark.
    #[error("the journal cannot be copied")]
    Source(#[from] ReadError),
    /// The watermark is not the end of a group. A [`JournalReader::watermark`] always is.
    #[error("record {0} is not the last of its group")]
    InsideGroup(u64),
    /// The target holds what is not proven to be of this history. Nothing in it was changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The target failed, or something in it is no file.
    #[error("the folder of the copy cannot be used")]
    Target(#[source] StorageError),
    /// The copy would take the room that the journal needs on the disk of both.
    #[error(
        "the copy would lie on the journal's own disk, which has {free} bytes free, and {needed} with the \
         reserve are needed"
    )]
    Full {
        /// Bytes that are free.
        free: u64,
        /// Bytes that must be free: the reserve and the next segment.
        needed: u64,
    },
    /// The system had no descriptor or memory left to look at the copy with, which says nothing of it.
    #[error("the system had no file descriptor or memory left to look at the copy with")]
    Scarce,
    /// The copy was written and is not good.
    #[error("the copy is not as it was written: {}", first_of(.0))]
    Findings(Box<Findings>),
}

/// The first finding with its place and code, and how many there are behind it.
fn first_of(found: &Findings) -> String {
    let Some((first, rest)) = found.findings.split_first() else {
        let end = found.head.map_or(0, |head| head.position);
        return format!("it ends with record {end}");
    };
    let code = first.damage.code();
    match rest.len() as u64 + found.more {
        0 => format!("{first} ({code})"),
        1 => format!("{first} ({code}), and one finding more"),
        more => format!("{first} ({code}), and {more} findings more"),
    }
}

/// What is copied of one segment.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) header: SegmentHeader,
    /// Its last record that is copied.
    pub(super) end: Watermark,
}

/// A segment's bytes up to the last group that is copied.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) content: Vec<u8>,
    pub(super) groups: Vec<ProvenGroup>,
}

/// Where a group stands, and its last record.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProvenGroup {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) last: Watermark,
}

impl<S: Storage> JournalReader<S> {
    /// Copies the journal up to `up_to` into another folder and verifies the copy.
    ///
    /// Finished segments are copied whole, the last one up to the watermark. What the folder holds
    /// is judged before anything in it is changed: it is gone on with where it is a prefix of this
    /// history, repaired where it is damaged and something in it vouches that it was one, and
    /// refused otherwise. `vouched` is the last record up to which the caller knows that the folder
    /// held this history; 0 where it knows nothing. Each segment is proven before it is written, so
    /// a damaged journal never replaces an older good copy; those that the folder holds already are
    /// left as they are, which makes repeated copies cheap to write. `reserve_bytes` stay free on the
    /// target's disk; 0 where it is another than the journal's. Nothing unfinished is left where it is
    /// full. Nobody may append to the target meanwhile.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn copy_to<T: Storage>(
        &self,
        target: &T,
        up_to: Watermark,
        vouched: Position,
        reserve_bytes: u64,
    ) -> Result<Copied, CopyError> {
        let (mut written, mut kept) = (0, 0);
        let parts = self.parts(up_to);
        let folder = Folder::list(target).map_err(CopyError::Target)?;
        let held = self.hold_against(target, &folder, &parts, vouched)?;
        folder
            .remove_unfinished(target)
            .map_err(CopyError::Target)?;
        for Part { header, end } in &parts {
            if held.segments.contains(&header.number) {
                kept += 1;
                continue;
            }
            let content = self.proven(header, end)?.content;
            room_for(target, header.length, reserve_bytes)?;
            let name = segment_name(header.number);
            let published = segment::publish(target, &name, header.length, &content);
            if published.is_err() {
                // It would keep a full disk full. Where it is not there, or stays, nothing is worse.
                let _ = target.remove(&unfinished_name(&name));
            }
            published.map_err(CopyError::Target)?;
            written += 1;
        }
        // What is there already may have its name in the cache alone: from a copy that ended when that
        // sync failed, or before it.
        target
            .sync_folder()
            .doing("sync", FOLDER)
            .map_err(CopyError::Target)?;
        let verified = verify(
            target,
            &Extent {
                from: 0,
                up_to: None,
                id: Some(self.id()),
                prefix_removable: parts[0].header.number != 1,
            },
        );
        if verified.scarce {
            return Err(CopyError::Scarce);
        }
        if verified.is_clean() && verified.head == Some(up_to) {
            return Ok(Copied {
                written,
                kept,
                repaired: held.lost,
                verified,
            });
        }
        Err(CopyError::Findings(Box::new(verified)))
    }

    /// The segments up to the watermark; at least one.
    fn parts(&self, up_to: Watermark) -> Vec<Part> {
        let segments = self.segments_up_to(up_to.position);
        let ends = segments.iter().skip(1).map(|following| Watermark {
            position: following.first - 1,
            chain: following.before,
        });
        let ends: Vec<_> = ends.chain([up_to]).collect();
        let parts = segments.into_iter().zip(ends);
        parts.map(|(header, end)| Part { header, end }).collect()
    }

    /// A segment's bytes up to the group that ends at `end`, its last one or the watermark's.
    pub(super) fn proven(
        &self,
        header: &SegmentHeader,
        end: &Watermark,
    ) -> Result<Proven, CopyError> {
        let name = segment_name(header.number);
        let damaged = |offset: usize, position, damage| {
            CopyError::Source(ReadError::Damaged(Finding {
                file: name.clone(),
                offset: offset as u64,
                position,
                damage,
            }))
        };
        let storage = self.storage();
        let read = segment::inspect(storage, header.number).map_err(ReadError::Storage)?;
        let damage = match read {
            (Some(found), None) if found == *header => None,
            (Some(_) | None, None) => Some(Damage::SegmentHeader),
            (Some(_) | None, Some(damage)) => Some(damage),
        };
        if let Some(damage) = damage {
            return Err(damaged(0, header.first, damage));
        }
        let length = header.length.into();
        let mut bytes = segment::read_whole(storage, &name, length).map_err(ReadError::Storage)?;
        let mut cursor = Cursor::start(header);
        let mut groups = Vec::new();
        while cursor.next <= end.position {
            let start = cursor.offset;
            match segment::step(&bytes, header, &mut cursor) {
                Step::Group(group, _) => groups.push(ProvenGroup {
                    start,
                    end: cursor.offset,
                    last: Watermark {
                        position: group.next() - 1,
                        chain: group.after,
                    },
                }),
                Step::End => {
                    let (expected, found) = (end.position, cursor.next - 1);
                    let damage = Damage::Lost { expected, found };
                    return Err(damaged(cursor.offset, cursor.next, damage));
                }
                Step::Broken(broken) => {
                    return Err(damaged(broken.offset, cursor.next, broken.damage));
                }
            }
        }
        let position = end.position;
        if cursor.next != position + 1 {
            return Err(CopyError::InsideGroup(position));
        }
        if cursor.chain != end.chain {
            return Err(damaged(
                cursor.offset,
                position,
                Damage::OtherHistory { position },
            ));
        }
        bytes.truncate(cursor.offset);
        Ok(Proven {
            content: bytes,
            groups,
        })
    }
}

/// Whether a segment leaves the reserve on the target's disk.
fn room_for<T: Storage>(target: &T, length: u32, reserve_bytes: u64) -> Result<(), CopyError> {
    if reserve_bytes == 0 {
        return Ok(());
    }
    let free = target.free_bytes().doing("measure", FOLDER);
    let free = free.map_err(CopyError::Target)?;
    let needed = reserve_bytes.saturating_add(length.into());
    match free < needed {
        true => Err(CopyError::Full { free, needed }),
        false => Ok(()),
    }
}
