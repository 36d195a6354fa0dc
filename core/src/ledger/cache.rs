//! Documents that were loaded or judged last, within a bound of memory.

use std::collections::{BTreeMap, HashMap};

use crate::id::DocumentId;
use crate::validate::Document;

/// Bytes of memory that a document will take, guessed before it is loaded: enough for evidence with
/// few and with many changes. What it is counted with once it is proven is
/// [`Document::memory_bytes`].
pub(super) fn guessed_bytes(saved_bytes: u64, changes: u64) -> usize {
    let bytes = 8 * 1024 + 16 * saved_bytes + 400 * changes;
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Keeps documents, drops those that were not used for longest.
#[derive(Debug)]
pub(super) struct Cache {
    bytes_max: usize,
    bytes: usize,
    clock: u64,
    documents: HashMap<DocumentId, Kept>,
    by_use: BTreeMap<u64, DocumentId>,
}

#[derive(Debug)]
struct Kept {
    used: u64,
    bytes: usize,
    document: Document,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            clock: 0,
            documents: HashMap::new(),
            by_use: BTreeMap::new(),
        }
    }

    /// Gives a document away; who changes it puts the next one back.
    pub(super) fn take(&mut self, id: &DocumentId) -> Option<Document> {
        let kept = self.documents.remove(id)?;
        self.by_use.remove(&kept.used);
        self.bytes -= kept.bytes;
        Some(kept.document)
    }

    /// Keeps a document that takes `bytes`, if it fits at all.
    pub(super) fn put(&mut self, id: DocumentId, bytes: usize, document: Document) {
        self.take(&id);
        if bytes > self.bytes_max {
            return;
        }
        self.make_room(bytes);
        self.clock += 1;
        self.bytes += bytes;
        self.by_use.insert(self.clock, id);
        let used = self.clock;
        self.documents.insert(
            id,
            Kept {
                used,
                bytes,
                document,
            },
        );
    }

    /// Drops documents until `bytes` more fit, and says how many then do.
    pub(super) fn make_room(&mut self, bytes: usize) -> usize {
        while self.bytes_max - self.bytes < bytes {
            let Some((_, id)) = self.by_use.first_key_value() else {
                break;
            };
            let id = *id;
            self.take(&id);
        }
        self.bytes_max - self.bytes
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
