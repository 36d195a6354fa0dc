//! Looks at an Automerge change before Automerge does.
//!
//! Automerge trusts what it loads: it inflates without a cap, expands a kilobyte into a million
//! operations and panics on some crafted bytes. So every change that comes from outside is first
//! read here, without calling Automerge and without expanding anything: framing, checksum, sizes,
//! counts and the canonical form that Automerge itself writes. What passes is small enough and
//! well enough formed to be tried in earnest, which [`crate::validate`] does.
//!
//! ```text
//! chunk   = 85 6f 4a 83 ‖ checksum(4) ‖ type(1: 1 change, 2 deflated change) ‖ length ‖ data
//! data    = deps ‖ actor ‖ seq ‖ start op ‖ time ‖ message ‖ other actors ‖ columns ‖ extra bytes
//! hash    = SHA-256(01 ‖ length ‖ data), data inflated; the checksum is its first four bytes
//! ```

use std::io::Read;

use flate2::bufread::DeflateDecoder;
use sha2::{Digest, Sha256};

use crate::id::{Actor, ChangeHash, WallMs};
use crate::limits;
use reader::Reader;

mod columns;
#[cfg(any(test, feature = "testing"))]
pub mod forge;
mod reader;
mod saved;

pub use self::saved::{SavedFault, check_saved};

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const TYPE_CHANGE: u8 = 1;
const TYPE_DEFLATED: u8 = 2;
const FOOTER_AUTHOR: u64 = 1;

/// What one change says about itself; its bytes keep every bound and its hash is its own.
///
/// Nothing is known yet about the document it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The hash that names it.
    pub hash: ChangeHash,
    /// Who wrote it.
    pub actor: Actor,
    /// Its number among the changes of its actor, from 1.
    pub seq: u64,
    /// Counter of its first operation, from 1.
    pub start_op: u64,
    /// How many operations it has; may be none.
    pub operations: u64,
    /// How many of them begin or end a mark on a text.
    pub marks: u64,
    /// How many of them are under a key that is called `declared`.
    pub declarations: u64,
    /// The changes it builds on, ascending.
    pub deps: Vec<ChangeHash>,
    /// What the writer's clock said, in the unit the writer chose.
    pub time: WallMs,
    /// Commit message.
    pub message: Option<String>,
    /// Actors its operations refer to besides its own, ascending.
    pub other_actors: Vec<Actor>,
    /// Length as received.
    pub received_bytes: usize,
    /// Length of its data once inflated.
    pub inflated_bytes: usize,
}

/// Why a change is not even tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeFault {
    /// Not in the form that Automerge writes.
    #[error("not a change: {0}")]
    Malformed(&'static str),
    /// The checksum is not that of the data.
    #[error("the checksum of the change is wrong")]
    Checksum,
    /// A kind of chunk, column, operation or footer that devices do not send.
    #[error("the change is not supported: {0}")]
    Unsupported(&'static str),
    /// A bound of [`limits`] is exceeded.
    #[error("{what} has {actual} of at most {max}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        actual: u64,
        /// The most that is taken.
        max: u64,
    },
    /// Inflates beyond the bounds for bytes or ratio.
    #[error("the change inflates to more than {max} bytes")]
    Inflates {
        /// The most that is taken from a change of its size.
        max: u64,
    },
    /// More operations, or predecessors of operations, than one change may have.
    #[error(
        "the change has more than {} operations",
        limits::CHANGE_OPERATIONS_MAX
    )]
    TooManyOperations,
    /// A column has more rows than there are operations.
    #[error("a column of the change has more rows than there are operations")]
    TooManyRows,
    /// An actor is not 16 bytes, or the other actors are not ascending.
    #[error("an actor of the change is not as devices derive them")]
    Actor,
    /// The sequence number is 0 or beyond 2^32 - 1.
    #[error("the sequence number {0} cannot be")]
    Sequence(u64),
    /// The operation counter is 0 or beyond its bound.
    #[error("the operation counter {0} cannot be")]
    StartOp(u64),
    /// The time is further from 1970 than [`limits::CHANGE_TIME_MAX`].
    #[error("the time {0} cannot be")]
    Time(i64),
    /// Dependencies are too many, repeated or not ascending.
    #[error("the dependencies of the change are too many or not ascending")]
    Deps,
    /// It names an Automerge author, who would replace the actor.
    #[error("the change names an author; devices are known by their actor")]
    AuthorFooter,
}

impl Parsed {
    /// Reads one change chunk that fills all of `bytes`.
    ///
    /// Memory stays below the bounds of [`limits`] and time below a small multiple of the bytes,
    /// whatever they say.
    ///
    /// # Errors
    /// [`ChangeFault`] with the first thing that is not right.
    pub fn open(bytes: &[u8]) -> Result<Self, ChangeFault> {
        at_most(
            "the change",
            bytes.len() as u64,
            limits::CHANGE_BYTES_MAX as u64,
        )?;
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(ChangeFault::Malformed("it does not begin like a chunk"));
        }
        let checksum: [u8; 4] = reader.array()?;
        let [chunk_type] = reader.array()?;
        let length = reader.unsigned()?;
        let data = reader.take(length)?;
        if !reader.is_empty() {
            return Err(ChangeFault::Malformed("bytes follow it"));
        }
        let inflated;
        let data = match chunk_type {
            TYPE_CHANGE => data,
            TYPE_DEFLATED => {
                inflated = inflate(data)?;
                &inflated
            }
            _ => return Err(ChangeFault::Unsupported("only single changes are taken")),
        };
        let hash = hash(data);
        if hash.0[..4] != checksum {
            return Err(ChangeFault::Checksum);
        }
        read_data(data, hash, bytes.len())
    }

    /// Counter of its last operation; one below its first if it has none.
    pub fn max_op(&self) -> u64 {
        self.start_op + self.operations - 1
    }
}

fn read_data(data: &[u8], hash: ChangeHash, received_bytes: usize) -> Result<Parsed, ChangeFault> {
    let mut reader = Reader::new(data);
    let deps = read_deps(&mut reader)?;
    let actor = read_actor(&mut reader)?;
    let seq = reader.unsigned()?;
    if seq == 0 || seq > u64::from(u32::MAX) {
        return Err(ChangeFault::Sequence(seq));
    }
    let start_op = reader.unsigned()?;
    if start_op == 0 || start_op > limits::OPERATION_COUNTER_MAX {
        return Err(ChangeFault::StartOp(start_op));
    }
    let time = reader.signed()?;
    if time.unsigned_abs() > limits::CHANGE_TIME_MAX {
        return Err(ChangeFault::Time(time));
    }
    let message = read_message(&mut reader)?;
    let other_actors = read_other_actors(&mut reader, &actor)?;
    let measure = columns::measure(&mut reader, 1 + other_actors.len() as u64, start_op)?;
    refuse_extra_bytes(reader.rest())?;
    let parsed = Parsed {
        hash,
        actor,
        seq,
        start_op,
        operations: measure.operations,
        marks: measure.marks,
        declarations: measure.declarations,
        deps,
        time,
        message,
        other_actors,
        received_bytes,
        inflated_bytes: data.len(),
    };
    if parsed.max_op() > limits::OPERATION_COUNTER_MAX {
        return Err(ChangeFault::StartOp(start_op));
    }
    Ok(parsed)
}

fn read_deps(reader: &mut Reader<'_>) -> Result<Vec<ChangeHash>, ChangeFault> {
    let count = reader.unsigned()?;
    if count > limits::CHANGE_DEPS_MAX as u64 {
        return Err(ChangeFault::Deps);
    }
    let mut deps = Vec::new();
    for _ in 0..count {
        let dep = ChangeHash(reader.array()?);
        // Automerge sorts them when it writes; another order would not survive a save.
        if deps.last().is_some_and(|before| *before >= dep) {
            return Err(ChangeFault::Deps);
        }
        deps.push(dep);
    }
    Ok(deps)
}

fn read_actor(reader: &mut Reader<'_>) -> Result<Actor, ChangeFault> {
    let length = reader.unsigned()?;
    if length != Actor::LENGTH as u64 {
        return Err(ChangeFault::Actor);
    }
    Ok(Actor(reader.array()?))
}

fn read_message(reader: &mut Reader<'_>) -> Result<Option<String>, ChangeFault> {
    let length = reader.unsigned()?;
    at_most(
        "the message",
        length,
        limits::CHANGE_MESSAGE_BYTES_MAX as u64,
    )?;
    let message = std::str::from_utf8(reader.take(length)?)
        .map_err(|_| ChangeFault::Malformed("the message is not UTF-8"))?;
    Ok((!message.is_empty()).then(|| message.to_owned()))
}

fn read_other_actors(reader: &mut Reader<'_>, own: &Actor) -> Result<Vec<Actor>, ChangeFault> {
    let count = reader.unsigned()?;
    at_most(
        "the list of actors",
        count,
        limits::CHANGE_ACTORS_MAX as u64,
    )?;
    let mut others = Vec::new();
    for _ in 0..count {
        let other = read_actor(reader)?;
        if other == *own || others.last().is_some_and(|before| *before >= other) {
            return Err(ChangeFault::Actor);
        }
        others.push(other);
    }
    Ok(others)
}

/// Devices write nothing after the columns. Automerge keeps footers there, of which it knows one:
/// the author, as footer number, length and bytes, read without insisting on shortest numbers.
fn refuse_extra_bytes(extra: &[u8]) -> Result<(), ChangeFault> {
    if extra.is_empty() {
        return Ok(());
    }
    let number = extra
        .iter()
        .take(10)
        .position(|byte| byte & 0x80 == 0)
        .map(|last| {
            extra[..=last]
                .iter()
                .rev()
                .fold(0_u64, |number, byte| (number << 7) | u64::from(byte & 0x7f))
        });
    if number == Some(FOOTER_AUTHOR) {
        return Err(ChangeFault::AuthorFooter);
    }
    Err(ChangeFault::Unsupported("bytes follow its columns"))
}

/// Bytes that so many deflated ones may inflate to.
pub(crate) fn inflated_max(deflated: usize) -> usize {
    let by_ratio = deflated.saturating_mul(limits::CHANGE_INFLATE_RATIO_MAX);
    by_ratio.clamp(
        limits::CHANGE_INFLATED_BYTES_FREE,
        limits::CHANGE_INFLATED_BYTES_MAX,
    )
}

fn inflate(deflated: &[u8]) -> Result<Vec<u8>, ChangeFault> {
    let max = inflated_max(deflated.len());
    let mut decoder = DeflateDecoder::new(deflated).take(max as u64 + 1);
    let mut inflated = Vec::new();
    decoder
        .read_to_end(&mut inflated)
        .map_err(|_| ChangeFault::Malformed("it does not inflate"))?;
    if inflated.len() > max {
        return Err(ChangeFault::Inflates { max: max as u64 });
    }
    if decoder.into_inner().total_in() != deflated.len() as u64 {
        return Err(ChangeFault::Malformed("bytes follow what it inflates to"));
    }
    Ok(inflated)
}

fn hash(data: &[u8]) -> ChangeHash {
    let mut hasher = Sha256::new();
    hasher.update([TYPE_CHANGE]);
    let mut length = data.len();
    while length >= 0x80 {
        hasher.update([(length & 0x7f) as u8 | 0x80]);
        length >>= 7;
    }
    hasher.update([length as u8]);
    hasher.update(data);
    ChangeHash(hasher.finalize().into())
}

fn at_most(what: &'static str, actual: u64, max: u64) -> Result<(), ChangeFault> {
    if actual > max {
        return Err(ChangeFault::TooLarge { what, actual, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
