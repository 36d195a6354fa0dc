//! Large items cut into frames, put together again, and gone on with after a cut.
//!
//! An *item* is a packed run or feed item (see [`crate::deflate`]), named by a hash of the packed
//! bytes. A [`Splitter`] sends it from any offset; an [`Assembler`] keeps what arrived, within
//! bounds, and gives it away as [`PartialItem`]s when the session ends. Where a link may be gone
//! without a word, a [`Shelf`] gives a copy before that.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bukti_core::hash::{Hasher, domain};
use minicbor::{Decode, Encode};

use crate::frame::Fragment;
use crate::limits;

/// Name of an item: a hash of its packed bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ItemId(#[cbor(with = "minicbor::bytes")] pub [u8; 16]);

impl ItemId {
    /// The name of `packed`.
    pub fn of(packed: &[u8]) -> Self {
        Self(Hasher::new(domain::ITEM).variable(packed).finish_16())
    }
}

impl std::fmt::Debug for ItemId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ItemId(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// How much of an item a side holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Held {
    /// The item.
    #[n(0)]
    pub item: ItemId,
    /// Bytes held from its start.
    #[n(1)]
    pub offset: u64,
}

/// The beginning of an item, kept over a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialItem {
    /// The item.
    pub item: ItemId,
    /// Bytes that the whole of it has.
    pub total: u64,
    /// What is there of it.
    pub bytes: Vec<u8>,
}

/// Fragments that do not make the item they name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// The item is larger than what is taken.
    #[error("the item has {total} bytes, more than {max}")]
    TooLarge {
        /// Its size as announced.
        total: u64,
        /// The most that is taken.
        max: u64,
    },
    /// Bytes between what is held and this fragment are not there.
    #[error("the fragment starts at {offset}, but {held} bytes are held")]
    Gap {
        /// Where the fragment starts.
        offset: u64,
        /// What is held.
        held: u64,
    },
    /// The fragment contradicts an earlier one, or its own total.
    #[error("the fragment goes beyond the item, or gives it another size")]
    Size,
    /// All bytes are there, but they make another item.
    #[error("the bytes do not have the sum that names the item")]
    Sum,
    /// An item that was never sent, or was sent too long ago to be held still.
    #[error("the item was not sent in fragments before it was named")]
    Unknown,
    /// An item is named before its last byte is there.
    #[error("the item is not complete")]
    Incomplete,
}

/// Puts fragments together. Holds at most [`limits::PARTIALS_MAX`] items; when another begins, or
/// the bytes pass their bound, the one that waited longest is forgotten, which costs its sender
/// bytes but never its content.
#[derive(Debug)]
pub struct Assembler {
    item_bytes_max: usize,
    bytes_max: usize,
    items: VecDeque<PartialItem>,
}

impl Assembler {
    /// Takes items of at most `item_bytes_max` bytes, and `bytes_max` together.
    pub fn new(item_bytes_max: usize, bytes_max: usize) -> Self {
        Self {
            item_bytes_max,
            bytes_max,
            items: VecDeque::new(),
        }
    }

    /// Takes back what an earlier session left; what is out of bounds is dropped.
    pub fn restore(&mut self, items: Vec<PartialItem>) {
        for item in items {
            let held = item.bytes.len() as u64;
            let sound =
                held < item.total || (held == item.total && ItemId::of(&item.bytes) == item.item);
            let known = self.items.iter().any(|other| other.item == item.item);
            if sound && !known && item.total <= self.item_bytes_max as u64 {
                self.items.push_back(item);
                self.trim();
            }
        }
    }

    /// Adds a fragment. Bytes that are held already are passed over, since a sender may not know
    /// yet what is held. Answers how much of the item is there.
    ///
    /// # Errors
    /// [`FragmentError`]; the item is forgotten where it cannot become whole.
    pub fn add(&mut self, fragment: &Fragment) -> Result<u64, FragmentError> {
        let end = fragment.offset.checked_add(fragment.bytes.len() as u64);
        if fragment.total > self.item_bytes_max as u64 {
            let (total, max) = (fragment.total, self.item_bytes_max as u64);
            return Err(FragmentError::TooLarge { total, max });
        }
        let Some(end) = end.filter(|end| *end <= fragment.total && fragment.total > 0) else {
            return Err(FragmentError::Size);
        };
        let mut item = match self
            .items
            .iter()
            .position(|item| item.item == fragment.item)
        {
            Some(index) => self
                .items
                .remove(index)
                .expect("the position was just found"),
            None => PartialItem {
                item: fragment.item,
                total: fragment.total,
                bytes: Vec::new(),
            },
        };
        let held = item.bytes.len() as u64;
        if item.total != fragment.total {
            return Err(FragmentError::Size);
        }
        if fragment.offset > held {
            return Err(FragmentError::Gap {
                offset: fragment.offset,
                held,
            });
        }
        if end > held {
            let skip = usize::try_from(held - fragment.offset).map_err(|_| FragmentError::Size)?;
            item.bytes.extend_from_slice(&fragment.bytes[skip..]);
            if end == item.total && ItemId::of(&item.bytes) != item.item {
                return Err(FragmentError::Sum);
            }
        }
        let held = item.bytes.len() as u64;
        self.items.push_back(item);
        self.trim();
        Ok(held)
    }

    /// Gives away a whole item, still packed.
    ///
    /// # Errors
    /// [`FragmentError::Unknown`] or [`FragmentError::Incomplete`].
    pub fn take(&mut self, item: &ItemId) -> Result<Vec<u8>, FragmentError> {
        let index = self.items.iter().position(|held| held.item == *item);
        let index = index.ok_or(FragmentError::Unknown)?;
        let held = &self.items[index];
        if (held.bytes.len() as u64) < held.total {
            return Err(FragmentError::Incomplete);
        }
        let item = self
            .items
            .remove(index)
            .expect("the position was just found");
        Ok(item.bytes)
    }

    /// What is held, to be named in `hello` or `welcome`.
    pub fn held(&self) -> Vec<Held> {
        let held = |item: &PartialItem| Held {
            item: item.item,
            offset: item.bytes.len() as u64,
        };
        self.items.iter().map(held).collect()
    }

    /// Gives away everything at the end of a session.
    pub fn take_partials(&mut self) -> Vec<PartialItem> {
        std::mem::take(&mut self.items).into()
    }

    /// A copy of everything held.
    pub fn partials(&self) -> Vec<PartialItem> {
        self.items.iter().cloned().collect()
    }

    /// Forgets what waited longest. The item that was touched last always stays: one alone is
    /// within the bounds.
    fn trim(&mut self) {
        let bytes = |items: &VecDeque<PartialItem>| -> usize {
            items.iter().map(|item| item.bytes.len()).sum()
        };
        while self.items.len() > limits::PARTIALS_MAX
            || (self.items.len() > 1 && bytes(&self.items) > self.bytes_max)
        {
            self.items.pop_front();
        }
    }
}

/// What a session puts together, in the hands of its driver as well.
#[derive(Debug, Clone)]
pub struct Shelf(Arc<Mutex<Assembler>>);

impl Shelf {
    pub(crate) fn new(assembler: Assembler) -> Self {
        Self(Arc::new(Mutex::new(assembler)))
    }

    /// A copy of everything held, for the device's next session.
    pub fn copy(&self) -> Vec<PartialItem> {
        self.lock().partials()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Assembler> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What several sessions of a device left, the older first: of each item the longer part, and of
/// more than [`limits::PARTIALS_MAX`] items or [`limits::PARTIAL_BYTES_SERVER`] the last.
pub fn merged(kept: Vec<PartialItem>, more: Vec<PartialItem>) -> Vec<PartialItem> {
    let mut all = kept;
    for item in more {
        let known = all.iter().position(|known| known.item == item.item);
        let known = known.map(|at| all.remove(at));
        let longer = known.filter(|known| known.bytes.len() > item.bytes.len());
        all.push(longer.unwrap_or(item));
    }
    let (mut kept, mut bytes) = (0, 0);
    for item in all.iter().rev().take(limits::PARTIALS_MAX) {
        bytes += item.bytes.len();
        if kept > 0 && bytes > limits::PARTIAL_BYTES_SERVER {
            break;
        }
        kept += 1;
    }
    all.split_off(all.len() - kept)
}

/// Cuts an item into fragments, from the offset that the other side holds.
#[derive(Debug)]
pub struct Splitter {
    item: ItemId,
    packed: Vec<u8>,
    offset: usize,
}

impl Splitter {
    /// Cuts `packed`, going on where one of `held` says the other side stands.
    pub fn new(packed: Vec<u8>, held: &[Held]) -> Self {
        let item = ItemId::of(&packed);
        let there = held
            .iter()
            .find(|held| held.item == item)
            .map_or(0, |held| held.offset);
        let offset = usize::try_from(there).map_or(packed.len(), |there| there.min(packed.len()));
        Self {
            item,
            packed,
            offset,
        }
    }

    /// The item's name.
    pub fn item(&self) -> ItemId {
        self.item
    }

    /// Whether every byte was given.
    pub fn is_done(&self) -> bool {
        self.offset == self.packed.len()
    }

    /// The next fragment of at most [`limits::FRAGMENT_BYTES`], until all is sent.
    pub fn next_fragment(&mut self) -> Option<Fragment> {
        if self.is_done() {
            return None;
        }
        let end = self.packed.len().min(self.offset + limits::FRAGMENT_BYTES);
        let fragment = Fragment {
            item: self.item,
            offset: self.offset as u64,
            total: self.packed.len() as u64,
            bytes: self.packed[self.offset..end].to_vec(),
        };
        self.offset = end;
        Some(fragment)
    }
}

#[cfg(test)]
mod tests;
