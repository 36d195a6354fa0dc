//! A page under construction, and what is put on it.

use bukti_core::id::{DocumentId, Position};

use super::Step;
use super::item::Wholes;
use crate::item::Item;

/// What a place in the journal gives for this device.
#[derive(Debug)]
pub(super) enum Made {
    /// Nothing.
    Nothing,
    /// An item and, for a whole document, the position up to which it contains everything.
    Item(Item, Option<(DocumentId, Position)>),
    /// Something that surely does not fit, of so many bytes or more.
    TooLarge(usize),
}

/// A page under construction.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) items: Vec<Item>,
    pub(super) left: Vec<DocumentId>,
    bytes: usize,
    bytes_max: usize,
    /// What a single item may have that is larger than a page.
    item_bytes_max: usize,
    /// Bytes of the item that there was no room for, though nothing is before it on the page.
    pub(super) wants: Option<usize>,
}

impl Draft {
    pub(super) fn new(bytes_max: usize, item_bytes_max: usize) -> Self {
        Self {
            items: Vec::new(),
            left: Vec::new(),
            bytes: 0,
            bytes_max,
            item_bytes_max,
            wants: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.left.is_empty()
    }

    /// Whether so much may be added: the first item may be larger than a page.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let alone = self.items.is_empty() && bytes <= self.item_bytes_max;
        alone || self.bytes.saturating_add(bytes) <= self.bytes_max
    }

    fn full(&mut self, bytes: usize) {
        self.wants = self.items.is_empty().then_some(bytes);
    }

    /// Adds what was made for `position`, or gives nothing if the page is full without it.
    pub(super) fn place(
        &mut self,
        made: Made,
        wholes: &mut Wholes,
        position: Position,
    ) -> Option<Step> {
        let (item, whole) = match made {
            Made::Nothing => return Some(Step::Passed),
            Made::TooLarge(bytes) => {
                self.full(bytes);
                return None;
            }
            Made::Item(item, whole) => (item, whole),
        };
        let bytes = item.to_bytes().len();
        if !self.has_room(bytes) {
            self.full(bytes);
            return None;
        }
        self.bytes += bytes;
        self.items.push(item);
        if let Some((document, as_of)) = whole.filter(|(_, as_of)| *as_of > position) {
            wholes.remember(document, as_of);
        }
        Some(Step::Passed)
    }
}
