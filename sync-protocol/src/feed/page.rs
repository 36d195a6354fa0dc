//! What a feed gives out, and why it cannot go on.

use bukti_core::authority::Audience;
use bukti_core::digest::Digest;
use bukti_core::id::{DocumentId, Position};
use bukti_core::ledger::ReadError;
use bukti_core::scope::Scope;

use crate::item::Item;
use crate::limits;

/// Items for one frame, and the cursor that is right once they are applied.
///
/// Without items only the cursor moved on: much was passed over that the device may not see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In the order in which they are to be applied.
    pub items: Vec<Item>,
    /// Documents that no reading holds any more; to be said before the cursor is.
    pub left: Vec<DocumentId>,
    /// To be stored with them.
    pub cursor: Vec<u8>,
}

/// What a device that received everything must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpToDate {
    /// The cursor.
    pub cursor: Vec<u8>,
    /// The position as of which the digests were taken.
    pub position: Position,
    /// For each subscription: prefix, audience, digest and number of its documents.
    pub digests: Vec<(Scope, Audience, Digest, u64)>,
}

/// Why a feed cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Grants and requested scopes make more subscriptions than a session may have.
    #[error("{subscriptions} subscriptions, more than {max}", max = limits::SUBSCRIPTIONS_MAX)]
    TooManyScopes {
        /// How many they make.
        subscriptions: usize,
    },
    /// An index names a document that is not there.
    #[error("the index names document {0}, which is not there")]
    NoDocument(DocumentId),
    /// An index places something at a position that is not there.
    #[error("the index names position {0}, where no such record is")]
    NoRecord(Position),
    /// Meanwhile the device was revoked, or given what an administrator has to confirm: it receives
    /// nothing. The feed stands where it stood.
    #[error("the device does not receive any more")]
    Withdrawn,
    /// The ledger cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}
