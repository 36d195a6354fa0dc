//! Looks at a saved document before Automerge does.
//!
//! A device gets documents whole, from whoever answers at its server's address. Automerge inflates
//! their columns without a cap and reads as many rows as these stand for, so both are counted here
//! first, without calling Automerge and without expanding anything. Nothing is said about what the
//! document means: that follows from loading it and from its envelopes.
//!
//! ```text
//! chunk   = 85 6f 4a 83 ‖ checksum(4) ‖ type(1: 0 document) ‖ length ‖ data
//! data    = actors ‖ heads ‖ list of change columns ‖ list of operation columns
//!           ‖ change columns ‖ operation columns ‖ places of the heads
//! list    = count ‖ (specification ‖ length)…
//! ```

use std::io::Read;

use flate2::bufread::DeflateDecoder;

use super::columns::{ACTION_MARK, count_booleans, spec, walk};
use super::reader::Reader;
use super::{ChangeFault, MAGIC, at_most};
use crate::limits;

const TYPE_DOCUMENT: u8 = 0;
/// The bit of a specification that says that the column is deflated.
const DEFLATED: u64 = 0x08;

/// What a column holds, the lower bits of its specification.
mod kind {
    pub(super) const GROUP: u64 = 0;
    pub(super) const DELTA: u64 = 3;
    pub(super) const BOOLEAN: u64 = 4;
    pub(super) const STRING: u64 = 5;
    pub(super) const VALUE: u64 = 7;
}

/// Why a saved document is not even loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SavedFault {
    /// Not in the form that Automerge writes.
    #[error("it is not as documents are saved: {0}")]
    Malformed(ChangeFault),
    /// Its columns are larger than [`limits::DOCUMENT_FED_BYTES_MAX`].
    #[error("it inflates to more than {} bytes", limits::DOCUMENT_FED_BYTES_MAX)]
    Inflates,
    /// A column has more rows than [`limits::DOCUMENT_FED_ROWS_MAX`].
    #[error("it stands for more than {} rows", limits::DOCUMENT_FED_ROWS_MAX)]
    TooManyRows,
    /// More marks begin or end on its texts than [`limits::DOCUMENT_FED_MARKS_MAX`].
    #[error("it has more than {} marks", limits::DOCUMENT_FED_MARKS_MAX)]
    TooManyMarks,
}

impl From<ChangeFault> for SavedFault {
    fn from(fault: ChangeFault) -> Self {
        match fault {
            ChangeFault::TooManyRows => Self::TooManyRows,
            other => Self::Malformed(other),
        }
    }
}

/// Refuses a saved document that takes more memory or time to load than one that was accepted may.
///
/// # Errors
/// [`SavedFault`] with the first thing that is not right.
pub fn check_saved(saved: &[u8]) -> Result<(), SavedFault> {
    let mut reader = Reader::new(saved);
    if reader.array()? != MAGIC {
        return Err(ChangeFault::Malformed("it does not begin like a chunk").into());
    }
    let _checksum: [u8; 4] = reader.array()?;
    let [chunk_type] = reader.array()?;
    if chunk_type != TYPE_DOCUMENT {
        return Err(ChangeFault::Unsupported("only whole documents are loaded").into());
    }
    let length = reader.unsigned()?;
    let mut data = Reader::new(reader.take(length)?);
    if !reader.is_empty() {
        return Err(ChangeFault::Malformed("bytes follow it").into());
    }
    let actors = data.unsigned()?;
    for _ in 0..actors {
        let length = data.unsigned()?;
        data.take(length)?;
    }
    let heads = data.unsigned()?;
    for _ in 0..heads {
        let _head: [u8; 32] = data.array()?;
    }
    let changes = list_of(&mut data)?;
    let operations = list_of(&mut data)?;
    let mut room = limits::DOCUMENT_FED_BYTES_MAX as u64;
    for (spec, length) in changes.into_iter().chain(operations) {
        let bytes = data.take(length)?;
        let inflated;
        let bytes = if spec & DEFLATED == 0 {
            bytes
        } else {
            inflated = inflate(bytes, room)?;
            &inflated
        };
        let left = room.checked_sub(bytes.len() as u64);
        room = left.ok_or(SavedFault::Inflates)?;
        check_column(spec & !DEFLATED, bytes)?;
        if spec & !DEFLATED == spec::ACTION && marks_in(bytes)? > limits::DOCUMENT_FED_MARKS_MAX {
            return Err(SavedFault::TooManyMarks);
        }
    }
    Ok(())
}

fn list_of(data: &mut Reader<'_>) -> Result<Vec<(u64, u64)>, ChangeFault> {
    let count = data.unsigned()?;
    // Each takes two bytes at least, so that the bytes bound how many there are.
    let mut listed = Vec::new();
    for _ in 0..count {
        listed.push((data.unsigned()?, data.unsigned()?));
    }
    Ok(listed)
}

fn inflate(deflated: &[u8], room: u64) -> Result<Vec<u8>, ChangeFault> {
    let mut inflated = Vec::new();
    let decoder = DeflateDecoder::new(deflated);
    decoder
        .take(room + 1)
        .read_to_end(&mut inflated)
        .map_err(|_| ChangeFault::Malformed("it does not inflate"))?;
    Ok(inflated)
}

/// Whether a column stands for no more rows than a document may have. Those of a group say how many
/// rows of other columns belong together.
fn check_column(spec: u64, column: &[u8]) -> Result<(), ChangeFault> {
    let rows_max = limits::DOCUMENT_FED_ROWS_MAX;
    let mut grouped: u64 = 0;
    match spec & 0x07 {
        kind::VALUE => Ok(0),
        kind::BOOLEAN => count_booleans(column, rows_max),
        kind::DELTA => walk(column, rows_max, Reader::signed, |_, _| Ok(())),
        kind::STRING => walk(column, rows_max, read_string, |_, _| Ok(())),
        kind::GROUP => walk(column, rows_max, Reader::unsigned, |count, rows| {
            let count = count.copied().unwrap_or_default();
            grouped = grouped.saturating_add(count.saturating_mul(rows));
            if grouped > rows_max {
                return Err(ChangeFault::TooManyRows);
            }
            Ok(())
        }),
        _actor_or_number => walk(column, rows_max, Reader::unsigned, |_, _| Ok(())),
    }?;
    Ok(())
}

/// Operations that begin or end a mark: whoever reads a text takes time with the cube of them.
fn marks_in(actions: &[u8]) -> Result<u64, ChangeFault> {
    let mut marks: u64 = 0;
    let rows_max = limits::DOCUMENT_FED_ROWS_MAX;
    walk(actions, rows_max, Reader::unsigned, |action, rows| {
        marks += if action == Some(&ACTION_MARK) {
            rows
        } else {
            0
        };
        Ok(())
    })?;
    Ok(marks)
}

fn read_string<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], ChangeFault> {
    let length = reader.unsigned()?;
    // A commit message is the longest there is.
    at_most("a text", length, limits::CHANGE_MESSAGE_BYTES_MAX as u64)?;
    reader.take(length)
}
