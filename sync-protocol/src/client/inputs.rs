//! What a device's session takes in and gives out.

use bukti_core::authority::Audience;
use bukti_core::digest::Digest;
use bukti_core::envelope::Seen;
use bukti_core::id::{
    ChangeHash, DocumentId, Incarnation, JournalId, Position, RunId, ServerId, WallMs,
};
use bukti_core::scope::Scope;
use ed25519_dalek::SigningKey;

use super::Offer;
use crate::bye::Bye;
use crate::fragment::{ItemId, PartialItem};
use crate::item::Item;
use crate::reconcile::{Differs, Range};

/// What a device knows when it opens a session.
#[derive(Debug)]
pub struct Opening {
    /// The device's key.
    pub key: SigningKey,
    /// The server it was enrolled with.
    pub server: ServerId,
    /// That server's journal.
    pub journal: JournalId,
    /// The token of the last `welcome`; none before the first.
    pub token: Option<Vec<u8>>,
    /// Life of the store.
    pub incarnation: Incarnation,
    /// The last envelope sealed in it: number and run.
    pub last: Option<(u64, RunId)>,
    /// What to ask for; empty for everything that the grants allow. At most
    /// [`crate::limits::SCOPES_MAX`], longer lists ask for everything.
    pub scopes: Vec<Scope>,
    /// The cursor as stored last.
    pub cursor: Option<Vec<u8>>,
    /// What [`super::ClientSession::partials`] gave at the end of the last session.
    pub held: Vec<PartialItem>,
    /// Name and version of the program, for the server's log.
    pub agent: String,
    /// The statement that enrolled the device, for a server that lost it.
    pub certificate: Vec<u8>,
    /// Statements that the server may have lost, until [`Event::StatementsHeld`] says that it has
    /// them. Frameworks and regions are given behind everything else, others before anything is
    /// asked for or pushed.
    pub owed: Vec<Vec<u8>>,
    /// The device holds documents: where the cursor does not hold it compares rather than being
    /// sent everything.
    pub compare: bool,
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A binary message arrived.
    Frame(&'a [u8]),
    /// Runs to push, in the order of their numbers, durable on this device. Those that were
    /// answered or are under way are passed over.
    Offer(Vec<Offer>),
    /// The answer to [`Event::Void`] and [`Event::Readmitted`]: statements of the server that the
    /// device holds. Frameworks and regions among them are named and sent where they are lacking;
    /// others longer than [`crate::limits::STATEMENT_BYTES_MAX`] are passed over.
    Statements(Vec<Vec<u8>>),
    /// Compares what the device holds of a subscription with what the server does: one after the
    /// other, in an order that the salts draw.
    Compare {
        /// Scope prefix of the subscription.
        prefix: Scope,
        /// Its audience.
        audience: Audience,
        /// Drawn for this comparison.
        salt: u64,
        /// What the device holds: documents and their heads.
        documents: Vec<(DocumentId, Vec<ChangeHash>)>,
    },
    /// Asks for documents whole; they come in [`Event::Page`]s. For what [`Event::Differs`] named.
    Need {
        /// Scope prefix of the subscription.
        prefix: Scope,
        /// Its audience.
        audience: Audience,
        /// Which documents.
        ranges: Vec<Range>,
    },
    /// Tells the server that a subscription differs although all of it was compared.
    Survived {
        /// Scope prefix of the subscription.
        prefix: Scope,
        /// Its audience.
        audience: Audience,
        /// Position of the [`Event::UpToDate`].
        position: Position,
        /// What the device holds.
        digest: Digest,
    },
    /// The oldest [`Event::Page`] or [`Event::UpToDate`] not yet confirmed by this is stored.
    Applied,
    /// Time passed; due at [`super::ClientSession::deadline`].
    Tick,
    /// The connection is gone.
    Disconnected,
    /// The person or program wants no more.
    Close,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a binary message.
    Send(Vec<u8>),
    /// Take note.
    Event(Event),
    /// Close the connection.
    Close,
}

/// What a device learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The session is open. Store the token.
    Welcome {
        /// For the next session.
        token: Vec<u8>,
        /// The server's clock.
        server_time: WallMs,
        /// Its last durable position, to be named in envelopes.
        checkpoint: Seen,
        /// The highest envelope it holds of this incarnation.
        highest: Option<(u64, RunId)>,
        /// Whether the device may receive; otherwise it only gives until an administrator
        /// confirms it.
        confirmed: bool,
    },
    /// The cursor is not of the server's history: it lost records. Forget the cursor, then say
    /// [`Input::Statements`].
    Void,
    /// The server lets the device in under another journal, or again. Check and store its first
    /// record, forget the cursor, then say [`Input::Statements`].
    Readmitted {
        /// The record that names the journal, signed by the server.
        journal: Vec<u8>,
    },
    /// A comparison found documents that differ. Answer with [`Input::Need`] and
    /// [`Input::Offer`].
    Differs {
        /// Scope prefix of the subscription.
        prefix: Scope,
        /// Its audience.
        audience: Audience,
        /// What differs.
        found: Vec<Differs>,
    },
    /// The server has these statements that the device gave back or named, each by the
    /// [`ItemId::of`] its record.
    StatementsHeld(Vec<ItemId>),
    /// Runs are valid and on the server's disk.
    Accepted(Vec<(RunId, Position)>),
    /// A run waits for changes that the server has not.
    Missing {
        /// The run; it may be offered again.
        run: RunId,
        /// What is lacking.
        hashes: Vec<ChangeHash>,
    },
    /// A run is not valid, for good.
    Rejected {
        /// The run.
        run: RunId,
        /// Why, as a word: a [`bukti_core::validate::RefusalCode`], or one of a later version.
        code: String,
        /// Why, as one sentence.
        sentence: String,
    },
    /// The store was restored or copied: a new incarnation is needed. The session closes.
    Stale {
        /// The highest envelope of the incarnation that the server holds.
        highest: (u64, RunId),
    },
    /// Apply the items in order and store the cursor with them, then say [`Input::Applied`].
    Page {
        /// What to apply.
        items: Vec<Item>,
        /// What to store.
        cursor: Vec<u8>,
    },
    /// Everything in scope is here. Store the cursor, compare the digests, then say
    /// [`Input::Applied`].
    UpToDate {
        /// What to store.
        cursor: Vec<u8>,
        /// As of which position.
        position: Position,
        /// Scope prefix, audience, digest and number of documents.
        digests: Vec<(Scope, Audience, Digest, u64)>,
    },
    /// A document moved out of scope.
    LeftScope(DocumentId),
    /// So much of a large item is here.
    Progress {
        /// Bytes held.
        received: u64,
        /// Bytes of the whole.
        total: u64,
    },
    /// The session ends, and why.
    Bye(Bye),
}
