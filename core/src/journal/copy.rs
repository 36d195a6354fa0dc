//! Copying a journal while its owner appends: a backup.

use super::Watermark;
use super::format::{Damage, Finding, SegmentHeader, segment_name};
use super::reader::{JournalReader, ReadError};
use super::recover::Folder;
use super::segment::{self, Cursor, Step};
use super::storage::{Doing, Storage, StorageError};
use super::verify::{Extent, Findings, verify};

/// What a copy did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Segments that were written.
    pub written: u64,
    /// Segments that were there already, byte for byte.
    pub kept: u64,
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
    /// The target failed.
    #[error("the copy cannot be written")]
    Target(#[source] StorageError),
    /// The copy was written and is not good.
    #[error("the copy has {} findings", .0.findings.len())]
    Findings(Box<Findings>),
}

impl<S: Storage> JournalReader<S> {
    /// Copies the journal up to `up_to` into another folder and verifies the copy.
    ///
    /// Finished segments are copied whole, the last one up to the watermark. Each is proven before
    /// it is written, so a damaged journal never replaces an older good copy; segments that the
    /// folder holds already are left as they are, which makes repeated copies cheap to write.
    /// Nobody may append to the target meanwhile.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn copy_to<T: Storage>(&self, target: &T, up_to: Watermark) -> Result<Copied, CopyError> {
        let (mut written, mut kept) = (0, 0);
        let segments = self.segments_up_to(up_to.position);
        let folder = Folder::list(target).map_err(CopyError::Target)?;
        folder
            .remove_unfinished(target)
            .map_err(CopyError::Target)?;
        for (index, header) in segments.iter().enumerate() {
            let end = match segments.get(index + 1) {
                Some(following) => Watermark {
                    position: following.first - 1,
                    chain: following.before,
                },
                None => up_to,
            };
            let content = self.proven(header, &end)?;
            let name = segment_name(header.number);
            if holds(target, &name, header, &content) {
                kept += 1;
                continue;
            }
            segment::publish(target, &name, header.length, &content).map_err(CopyError::Target)?;
            written += 1;
        }
        let verified = verify(
            target,
            &Extent {
                from: 0,
                up_to: None,
                id: Some(self.id()),
                prefix_removable: segments[0].number != 1,
            },
        );
        if verified.is_clean() && verified.head == Some(up_to) {
            return Ok(Copied {
                written,
                kept,
                verified,
            });
        }
        Err(CopyError::Findings(Box::new(verified)))
    }

    /// A segment's bytes up to the group that ends at `end`, its last one or the watermark's.
    fn proven(&self, header: &SegmentHeader, end: &Watermark) -> Result<Vec<u8>, CopyError> {
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
        while cursor.next <= end.position {
            match segment::step(&bytes, header, &mut cursor) {
                Step::Group(..) => {}
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
        Ok(bytes)
    }
}

/// Whether the target has the segment already: the content, then zeros.
fn holds<T: Storage>(target: &T, name: &str, header: &SegmentHeader, content: &[u8]) -> bool {
    let length = u64::from(header.length);
    if target.length(name).doing("measure", name) != Ok(length) {
        return false;
    }
    let Ok(bytes) = segment::read_whole(target, name, length) else {
        return false;
    };
    let (start, rest) = bytes.split_at(content.len());
    start == content && rest.iter().all(|&byte| byte == 0)
}
