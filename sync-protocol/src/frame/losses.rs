//! Frames about what one side lost and the other holds.

use bukti_core::authority::Audience;
use bukti_core::digest::Digest;
use bukti_core::envelope::Seen;
use bukti_core::id::{Position, WallMs};
use bukti_core::ledger::Bulk;
use bukti_core::scope::Scope;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use super::{FrameError, is_false};
use crate::fragment::ItemId;
use crate::reconcile::{FINGERPRINT_BYTES, ListedDocument, Range};

/// Compares what both sides hold of a subscription. See [`crate::reconcile`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reconcile {
    /// Scope prefix of the subscription.
    #[n(0)]
    pub prefix: Scope,
    /// Its audience.
    #[n(1)]
    pub audience: Audience,
    /// What the fingerprints are salted with.
    #[n(2)]
    pub salt: u64,
    /// Ranges with the sender's fingerprints of their parts; without any, to ask for a list. Like
    /// lists and needs in rising order, none within another.
    #[cbor(n(3), skip_if = "Vec::is_empty")]
    pub ranges: Vec<Ranged>,
    /// What the server holds in ranges.
    #[cbor(n(4), skip_if = "Vec::is_empty")]
    pub lists: Vec<Listed>,
    /// Ranges that the device wants whole.
    #[cbor(n(5), skip_if = "Vec::is_empty")]
    pub need: Vec<Range>,
    /// The digests differ at a position although all was compared.
    #[n(6)]
    pub survived: Option<Survived>,
    /// More frames belong to this answer.
    #[cbor(n(7), default, skip_if = "is_false")]
    pub more: bool,
}

impl Reconcile {
    /// How many parts the ranges have, by their fingerprints.
    pub(crate) fn parts(&self) -> usize {
        let parts = self.ranges.iter().map(Ranged::parts);
        parts.sum()
    }

    /// Looks that no range is named twice, wholly or in part: each costs its receiver what is in it.
    pub(super) fn check_order(&self) -> Result<(), FrameError> {
        let ranges = self.ranges.iter().map(|ranged| ranged.range);
        let lists = self.lists.iter().map(|listed| listed.range);
        let need = self.need.iter().copied();
        if Range::are_apart(ranges) && Range::are_apart(lists) && Range::are_apart(need) {
            return Ok(());
        }
        let sentence = "its ranges are not in order or lie within one another";
        Err(FrameError::Malformed(sentence.to_owned()))
    }
}

/// A range with fingerprints of its equal parts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Ranged {
    /// The range.
    #[n(0)]
    pub range: Range,
    /// Four bytes for each part, little endian.
    #[n(1)]
    pub fingerprints: ByteVec,
}

impl Ranged {
    fn parts(&self) -> usize {
        self.fingerprints.len() / FINGERPRINT_BYTES
    }
}

/// Everything that the server holds in a range.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Listed {
    /// The range.
    #[n(0)]
    pub range: Range,
    /// Its documents.
    #[n(1)]
    pub documents: Vec<ListedDocument>,
}

/// What a device holds after all was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Survived {
    /// The position of the `up_to_date`.
    #[n(0)]
    pub position: Position,
    /// The device's digest.
    #[n(1)]
    pub digest: Digest,
}

/// Statements of the server that a device holds.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Statements {
    /// Their records.
    #[n(0)]
    pub statements: Vec<ByteVec>,
    /// None follow before the device subscribes.
    #[n(1)]
    pub last: bool,
}

/// Answers one [`Statements`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Taken {
    /// All of it that counts is on the server's disk; otherwise the device keeps it for another
    /// session.
    #[n(0)]
    pub all: bool,
}

/// Names statements of the server that a device holds and that are too long to be sent unasked.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Holding {
    /// Which.
    #[n(0)]
    pub statements: Vec<HeldStatement>,
}

/// The name of a statement, and what tells whether it is needed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct HeldStatement {
    /// The item as which it would be sent.
    #[n(0)]
    pub item: ItemId,
    /// Bytes of its record.
    #[n(1)]
    pub bytes: u64,
    /// When it was stated, by the server's clock.
    #[n(2)]
    pub at: WallMs,
    /// What it is about.
    #[n(3)]
    pub about: Bulk,
}

/// Answers one [`Holding`]: what of it the server lacks.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Wanted {
    /// Which items; none where it lacks nothing.
    #[n(0)]
    pub items: Vec<ItemId>,
}

/// The cursor is not of this journal's history. What else came in the flight is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Void {
    /// Where the journal ends.
    #[n(0)]
    pub watermark: Seen,
}
