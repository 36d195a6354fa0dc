//! Comparing what two sides hold of a subscription, by fingerprints of ranges of document ids.
//!
//! Range-based set reconciliation (Meyer, 2023, <https://arxiv.org/abs/2212.13567>) over the trie of
//! ids, which are hashes and so spread evenly. A fingerprint is a salted sum of the documents'
//! digests (multiply-shift hashing, Dietzfelbinger et al., 1997), four bytes long: short, since
//! nothing rests on it. The digest of the whole subscription is compared at the end.

use std::fmt;
use std::ops;

use bukti_core::digest::Digest;
use bukti_core::id::{ChangeHash, DocumentId};
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::frame::{Listed, Ranged, Reconcile};
use crate::limits;

mod device;

pub(crate) use self::device::Nonsense;
pub use self::device::{Comparison, Differs};

/// Bits of a document's id.
const ID_BITS: u8 = 128;
/// Bytes of a fingerprint.
pub(crate) const FINGERPRINT_BYTES: usize = 4;

/// The documents whose ids begin with given bits.
///
/// Written as a byte string: the number of bits, then as many bytes as hold them, the rest zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    start: u128,
    bits: u8,
}

impl Range {
    /// All documents.
    pub const ALL: Self = Self { start: 0, bits: 0 };

    /// The range of one document.
    pub fn of(document: &DocumentId) -> Self {
        Self {
            start: u128::from_be_bytes(document.0),
            bits: ID_BITS,
        }
    }

    /// Whether these ranges rise and share no document.
    pub(crate) fn are_apart(ranges: impl Iterator<Item = Self>) -> bool {
        let mut last = None;
        for range in ranges {
            if last.is_some_and(|last| range.start <= last) {
                return false;
            }
            last = Some(range.last());
        }
        true
    }

    /// The same documents by ranges that rise and share none.
    fn apart(mut ranges: Vec<Self>) -> Vec<Self> {
        // Of two ranges that share documents one lies in the other, and the wider one comes first.
        ranges.sort_unstable();
        ranges.dedup_by(|range, before| range.start <= before.last());
        ranges
    }

    /// One of `2^parts_bits` equal parts; nothing if ids have not so many bits.
    fn part(self, part: usize, parts_bits: u8) -> Option<Self> {
        let bits = self.bits.checked_add(parts_bits)?;
        let shift = ID_BITS.checked_sub(bits)?;
        // A part of all ids by no bits is all ids, and cannot be shifted by all of them.
        let offset = (part as u128).checked_shl(u32::from(shift)).unwrap_or(0);
        let start = self.start | offset;
        Some(Self { start, bits })
    }

    fn last(self) -> u128 {
        let rest = u128::MAX.checked_shr(u32::from(self.bits)).unwrap_or(0);
        self.start | rest
    }

    /// Where the tag of an id begins in it: at the first byte that is not wholly given.
    fn tag_at(self) -> usize {
        usize::from(self.bits / 8).min(DocumentId::LENGTH - 4)
    }

    /// Four bytes that tell a document from the few others in the range.
    pub fn tag(self, document: &DocumentId) -> [u8; 4] {
        let at = self.tag_at();
        let mut tag = [0; 4];
        tag.copy_from_slice(&document.0[at..at + 4]);
        tag
    }

    /// The narrower range that a tag names.
    fn tagged(self, tag: [u8; 4]) -> Self {
        let at = self.tag_at();
        let mut id = [0; DocumentId::LENGTH];
        id[..at].copy_from_slice(&self.start.to_be_bytes()[..at]);
        id[at..at + 4].copy_from_slice(&tag);
        let bits = u8::try_from((at + 4) * 8).unwrap_or(ID_BITS);
        Self {
            start: u128::from_be_bytes(id),
            bits,
        }
    }
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}/{}", self.start, self.bits)
    }
}

impl<C> Encode<C> for Range {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        let start = self.start.to_be_bytes();
        let given = usize::from(self.bits.div_ceil(8));
        let bytes = [&[self.bits], &start[..given]].concat();
        e.bytes(&bytes)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Range {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let malformed = || DecodeError::message("a range is not its bits and their bytes");
        let (bits, given) = d.bytes()?.split_first().ok_or_else(malformed)?;
        if *bits > ID_BITS || given.len() != usize::from(bits.div_ceil(8)) {
            return Err(malformed());
        }
        let mut start = [0; DocumentId::LENGTH];
        start[..given.len()].copy_from_slice(given);
        let range = Self {
            start: u128::from_be_bytes(start),
            bits: *bits,
        };
        let spare = u128::MAX.checked_shr(u32::from(*bits)).unwrap_or(0);
        if range.start & spare != 0 {
            return Err(malformed());
        }
        Ok(range)
    }
}

/// The first eight bytes of a head: enough to find it among the changes of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeadTag(pub [u8; 8]);

impl HeadTag {
    /// What names this change.
    pub fn of(head: &ChangeHash) -> Self {
        let mut tag = [0; 8];
        tag.copy_from_slice(&head.0[..8]);
        Self(tag)
    }

    fn all(heads: &[ChangeHash]) -> Vec<Self> {
        let mut tags: Vec<Self> = heads.iter().map(Self::of).collect();
        tags.sort_unstable();
        tags
    }
}

/// A document in a list, written as one byte string: four bytes of its id, then its heads' tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDocument {
    /// [`Range::tag`] of its id.
    pub tag: [u8; 4],
    /// Its heads, sorted; none where they are too many to name.
    pub heads: Vec<HeadTag>,
}

impl<C> Encode<C> for ListedDocument {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        let heads = self.heads.iter().flat_map(|head| head.0);
        let bytes: Vec<u8> = self.tag.into_iter().chain(heads).collect();
        e.bytes(&bytes)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for ListedDocument {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let listed = d.bytes()?.split_first_chunk::<4>();
        let (tag, (heads, [])) = listed
            .map(|(tag, heads)| (*tag, heads.as_chunks::<8>()))
            .ok_or_else(|| DecodeError::message("a listed document has no tag"))?
        else {
            return Err(DecodeError::message("a listed head is cut"));
        };
        let heads = heads.iter().map(|head| HeadTag(*head)).collect();
        Ok(Self { tag, heads })
    }
}

/// What one side holds of a subscription, ready to be compared: 28 bytes a document.
#[derive(Debug, Clone, Default)]
pub struct Side {
    ids: Vec<u128>,
    values: Vec<u64>,
    /// Fingerprint of the documents before each one, under the salt.
    sums: Vec<u32>,
    salt: Option<u64>,
}

impl Side {
    /// A copy of what a side holds; the order does not matter.
    pub fn new(mut documents: Vec<(DocumentId, Digest)>) -> Self {
        documents.sort_unstable_by_key(|(document, _)| *document);
        documents.dedup_by_key(|(document, _)| *document);
        let ids = documents.iter().map(|(id, _)| u128::from_be_bytes(id.0));
        Self {
            ids: ids.collect(),
            values: documents.iter().map(|(_, digest)| value(digest)).collect(),
            sums: Vec::new(),
            salt: None,
        }
    }

    /// How many documents.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether the side holds none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Takes fingerprints under this salt from here on.
    pub fn salted(&mut self, salt: u64) {
        if self.salt == Some(salt) {
            return;
        }
        let mut sum = 0_u32;
        self.sums.clear();
        self.sums.push(sum);
        self.sums.extend(self.values.iter().map(|value| {
            let salted = value.wrapping_mul(salt | 1) >> 32;
            sum = sum.wrapping_add(salted as u32);
            sum
        }));
        self.salt = Some(salt);
    }

    fn places(&self, range: Range) -> ops::Range<usize> {
        let from = self.ids.partition_point(|id| *id < range.start);
        let last = range.last();
        let to = self.ids.partition_point(|id| *id <= last);
        from..to
    }

    /// How many documents a range holds.
    pub fn count(&self, range: Range) -> usize {
        self.places(range).len()
    }

    /// The documents of a range.
    pub fn documents(&self, range: Range) -> impl Iterator<Item = DocumentId> + '_ {
        self.ids[self.places(range)]
            .iter()
            .map(|id| DocumentId(id.to_be_bytes()))
    }

    fn fingerprint(&self, range: Range) -> u32 {
        let places = self.places(range);
        match (self.sums.get(places.end), self.sums.get(places.start)) {
            (Some(after), Some(before)) => after.wrapping_sub(*before),
            _unsalted => 0,
        }
    }

    /// The range with fingerprints of its parts; nothing if it cannot be split so far.
    fn ranged(&self, range: Range, parts: usize) -> Option<Ranged> {
        let bits = parts_bits(parts)?;
        let mut fingerprints = Vec::with_capacity(parts * FINGERPRINT_BYTES);
        for part in 0..parts {
            let part = range.part(part, bits)?;
            fingerprints.extend_from_slice(&self.fingerprint(part).to_le_bytes());
        }
        let fingerprints = fingerprints.into();
        Some(Ranged {
            range,
            fingerprints,
        })
    }

    /// The parts of a range whose fingerprints are not those of the other side. Nothing if these
    /// are not fingerprints of parts.
    fn differing(&self, ranged: &Ranged) -> Option<Vec<Range>> {
        let (theirs, rest) = ranged.fingerprints.as_chunks::<FINGERPRINT_BYTES>();
        if !rest.is_empty() {
            return None;
        }
        let bits = parts_bits(theirs.len())?;
        let mut differing = Vec::new();
        for (part, theirs) in theirs.iter().enumerate() {
            let part = ranged.range.part(part, bits)?;
            if self.fingerprint(part) != u32::from_le_bytes(*theirs) {
                differing.push(part);
            }
        }
        Some(differing)
    }

    /// The server's answer to the ranges of a device: frames to send in this order. `heads` gives
    /// the heads of a document. Nothing if the ranges cannot be understood.
    ///
    /// # Errors
    /// Whatever `heads` answers.
    pub fn answer<E>(
        &mut self,
        asked: &Reconcile,
        mut heads: impl FnMut(&DocumentId) -> Result<Vec<ChangeHash>, E>,
    ) -> Result<Option<Vec<Reconcile>>, E> {
        self.salted(asked.salt);
        let mut answer = Answer::new(asked);
        for ranged in &asked.ranges {
            if ranged.fingerprints.is_empty() {
                self.answer_part(ranged.range, limits::LISTED_MAX, &mut heads, &mut answer)?;
                continue;
            }
            let Some(differing) = self.differing(ranged) else {
                return Ok(None);
            };
            for part in differing {
                self.answer_part(part, limits::LISTED_UNASKED_MAX, &mut heads, &mut answer)?;
            }
        }
        Ok(Some(answer.finish()))
    }

    fn answer_part<E>(
        &self,
        part: Range,
        listed_max: usize,
        heads: &mut impl FnMut(&DocumentId) -> Result<Vec<ChangeHash>, E>,
        answer: &mut Answer,
    ) -> Result<(), E> {
        let split = || self.ranged(part, limits::PARTS);
        if self.count(part) > listed_max
            && let Some(ranged) = split()
        {
            answer.split(ranged);
            return Ok(());
        }
        let mut documents = Vec::new();
        for document in self.documents(part) {
            let mut heads = HeadTag::all(&heads(&document)?);
            if heads.len() > limits::LISTED_HEADS_MAX {
                heads.clear();
            }
            let tag = part.tag(&document);
            documents.push(ListedDocument { tag, heads });
        }
        answer.list(Listed {
            range: part,
            documents,
        });
        Ok(())
    }
}

/// Frames that are filled up to what one may hold.
#[derive(Debug)]
struct Answer {
    done: Vec<Reconcile>,
    open: Reconcile,
    used: usize,
}

impl Answer {
    fn new(asked: &Reconcile) -> Self {
        let open = Reconcile {
            prefix: asked.prefix.clone(),
            audience: asked.audience,
            salt: asked.salt,
            ranges: Vec::new(),
            lists: Vec::new(),
            need: Vec::new(),
            survived: None,
            more: false,
        };
        Self {
            done: Vec::new(),
            open,
            used: 0,
        }
    }

    fn split(&mut self, ranged: Ranged) {
        self.make_room(&ranged);
        self.open.ranges.push(ranged);
    }

    fn list(&mut self, listed: Listed) {
        self.make_room(&listed);
        self.open.lists.push(listed);
    }

    fn need(&mut self, range: Range) {
        self.make_room(&range);
        self.open.need.push(range);
    }

    fn make_room(&mut self, part: &impl Encode<()>) {
        let bytes = minicbor::to_vec(part).map_or(0, |bytes| bytes.len());
        let open = &self.open;
        let parts = open.ranges.len().max(open.lists.len()).max(open.need.len());
        if self.used + bytes > limits::RECONCILE_BYTES || parts == limits::RANGES_MAX {
            let empty = Reconcile {
                ranges: Vec::new(),
                lists: Vec::new(),
                need: Vec::new(),
                ..self.open.clone()
            };
            let mut full = std::mem::replace(&mut self.open, empty);
            full.more = true;
            self.done.push(full);
            self.used = 0;
        }
        self.used += bytes;
    }

    fn finish(mut self) -> Vec<Reconcile> {
        self.done.push(self.open);
        self.done
    }
}

/// How many bits tell so many parts from one another; parts are a power of two of them.
fn parts_bits(parts: usize) -> Option<u8> {
    let fits = (2..=limits::PARTS_MAX).contains(&parts) && parts.is_power_of_two();
    fits.then(|| u8::try_from(parts.trailing_zeros()).unwrap_or(0))
}

fn value(digest: &Digest) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests;
