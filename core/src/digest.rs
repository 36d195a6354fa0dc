//! One number for the confirmed state of many documents, cheap to keep and to compare.
//!
//! The digest of a document is a hash over its id and its heads; the digest of a set is the sum
//! modulo 2^256. Sums do not depend on an order and can be taken back, so one edit costs one
//! subtraction and one addition however many documents there are.

use std::fmt;
use std::iter::Sum;
use std::ops::{AddAssign, SubAssign};

use minicbor::{Decode, Encode};

use crate::hash::{Hasher, domain};
use crate::id::{ChangeHash, DocumentId};

/// A sum of document digests: a number modulo 2^256, little endian. Zero for no documents.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Digest(#[cbor(with = "minicbor::bytes")] [u8; 32]);

impl Digest {
    /// Length in bytes.
    pub const LENGTH: usize = 32;

    /// The digest of one document at these heads, in whatever order they are given.
    pub fn of(document: &DocumentId, heads: &[ChangeHash]) -> Self {
        let mut heads = heads.to_vec();
        heads.sort_unstable();
        let hasher = Hasher::new(domain::DIGEST).fixed(&document.0);
        let hasher = heads
            .iter()
            .fold(hasher, |hasher, head| hasher.fixed(&head.0));
        Self(hasher.finish())
    }

    /// The number, little endian.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn limbs(self) -> [u64; 4] {
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(self.0.as_chunks::<8>().0) {
            *limb = u64::from_le_bytes(*bytes);
        }
        limbs
    }

    fn combine(&mut self, other: Self, step: fn(u64, u64, bool) -> (u64, bool)) {
        let mut carry = false;
        let pairs = self.limbs().into_iter().zip(other.limbs());
        for (bytes, (left, right)) in self.0.as_chunks_mut::<8>().0.iter_mut().zip(pairs) {
            let (limb, next) = step(left, right, carry);
            *bytes = limb.to_le_bytes();
            carry = next;
        }
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl AddAssign for Digest {
    fn add_assign(&mut self, other: Self) {
        self.combine(other, |left, right, carry| {
            let (sum, over) = left.overflowing_add(right);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            (sum, over || over_again)
        });
    }
}

impl SubAssign for Digest {
    fn sub_assign(&mut self, other: Self) {
        self.combine(other, |left, right, borrow| {
            let (rest, under) = left.overflowing_sub(right);
            let (rest, under_again) = rest.overflowing_sub(u64::from(borrow));
            (rest, under || under_again)
        });
    }
}

impl Sum for Digest {
    fn sum<I: Iterator<Item = Self>>(digests: I) -> Self {
        digests.fold(Self::default(), |mut sum, digest| {
            sum += digest;
            sum
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn carries_run_through_all_of_the_number() {
        let mut digest = Digest([0xff; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        digest += Digest(one);
        assert_eq!(digest, Digest::default());
        digest -= Digest(one);
        assert_eq!(digest, Digest([0xff; 32]));
    }

    #[test]
    fn a_digest_names_the_document_and_the_set_of_heads() {
        let (one, other) = (DocumentId([1; 16]), DocumentId([2; 16]));
        let heads = [ChangeHash([3; 32]), ChangeHash([4; 32])];
        let turned = [heads[1], heads[0]];
        assert_eq!(Digest::of(&one, &heads), Digest::of(&one, &turned));
        assert_ne!(Digest::of(&one, &heads), Digest::of(&other, &heads));
        assert_ne!(Digest::of(&one, &heads), Digest::of(&one, &heads[..1]));
    }

    proptest! {
        #[test]
        fn what_was_added_can_be_taken_back(numbers in proptest::collection::vec(any::<[u8; 32]>(), 0..8), at: usize) {
            let digests: Vec<Digest> = numbers.into_iter().map(Digest).collect();
            let mut reversed: Digest = digests.iter().rev().copied().sum();
            prop_assert_eq!(reversed, digests.iter().copied().sum());
            if let Some(gone) = digests.get(at % digests.len().max(1)).copied() {
                reversed -= gone;
                let mut rest = digests.clone();
                rest.swap_remove(at % digests.len());
                prop_assert_eq!(reversed, rest.into_iter().sum());
            }
        }
    }
}
