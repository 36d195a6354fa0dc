//! Documents that were loaded or judged last, within a bound of memory.

use std::collections::{BTreeMap, HashMap};

use crate::id::DocumentId;
use crate::validate::Document;

/// Bytes that a loaded document takes for each byte of its saved form. Measured with evidence of
/// 1 to 200 changes; small ones lie above, which [`DOCUMENT_BYTES`] covers.
const BYTES_PER_SAVED_BYTE: usize = 12;

/// Bytes that the smallest loaded document takes.
const DOCUMENT_BYTES: usize = 16 * 1024;

/// Bytes of memory that a document of this saved length is counted with.
pub(super) fn loaded_bytes(saved_bytes: usize) -> usize {
    DOCUMENT_BYTES + saved_bytes * BYTES_PER_SAVED_BYTE
}

/// Keeps documents, drops those that were not used for longest.
#[derive(Debug)]
pub(super) struct Cache {
    bytes_max: usize,
    bytes: usize,
    clock: u64,
    documents: HashMap<DocumentId, (u64, Document)>,
    by_use: BTreeMap<u64, DocumentId>,
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
        let (used, document) = self.documents.remove(id)?;
        self.by_use.remove(&used);
        self.bytes -= loaded_bytes(document.saved().len());
        Some(document)
    }

    /// Keeps a document, if it fits at all.
    pub(super) fn put(&mut self, id: DocumentId, document: Document) {
        self.take(&id);
        let bytes = loaded_bytes(document.saved().len());
        if bytes > self.bytes_max {
            return;
        }
        self.make_room(bytes);
        self.clock += 1;
        self.bytes += bytes;
        self.by_use.insert(self.clock, id);
        self.documents.insert(id, (self.clock, document));
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
