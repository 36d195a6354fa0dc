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
    /// Something that surely does not fit.
    TooLarge,
}

/// A page under construction.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) items: Vec<Item>,
    pub(super) left: Vec<DocumentId>,
    bytes: usize,
    bytes_max: usize,
}

impl Draft {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            items: Vec::new(),
            left: Vec::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.left.is_empty()
    }

    /// Whether so much may be added: the first item always may.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.items.is_empty() || self.bytes.saturating_add(bytes) <= self.bytes_max
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
            Made::TooLarge => return None,
            Made::Item(item, whole) => (item, whole),
        };
        let bytes = item.to_bytes().len();
        if !self.has_room(bytes) {
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
