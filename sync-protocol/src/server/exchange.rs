//! What a session is told, what it wants done, and what it sees meanwhile.

use bukti_core::id::{DeviceId, WallMs};
use bukti_core::journal::Storage;
use bukti_core::ledger::{EnrolRefusal, Enrolled, Left, Outcome, ReadError, Reader, Submission};
use bukti_core::record::Finding;

use crate::Mono;
use crate::bye::Bye;
use crate::fragment::PartialItem;
use crate::token::TokenKey;

/// What a session sees of the world, at one moment.
#[derive(Debug)]
pub struct Cx<'a, S: Storage, K> {
    /// A clock that never goes back.
    pub now: Mono,
    /// The clock on the wall.
    pub wall: WallMs,
    /// What is accepted.
    pub reader: &'a Reader<S, K>,
    /// The server's key for tokens.
    pub token_key: &'a TokenKey,
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A binary message arrived.
    Frame(&'a [u8]),
    /// What other sessions hold or left on their [`Shelf`](crate::fragment::Shelf) for the
    /// device that [`Output::Bound`] named, or nothing. Due at once after that output.
    Held(Vec<PartialItem>),
    /// The journal has judged runs of an [`Output::Submit`]; all it accepted is durable.
    Judged(Vec<Outcome>),
    /// The answer to [`Output::Enrol`] or [`Output::Readmit`]; the certificate is durable.
    Enrolled(Result<Enrolled, EnrolRefusal>),
    /// The answer to [`Output::TakeBack`]: what was taken is durable, and so much was left.
    TakenBack(Option<Left>),
    /// The journal has grown.
    Advanced,
    /// The device of this session was revoked.
    Revoked,
    /// The server stops.
    Shutdown,
    /// The driver ends the session: `busy`, `full`, or `timeout` for a ping without an answer.
    End(Bye),
    /// The runs of an [`Output::Submit`] were not taken, and for that the session ends: none behind
    /// them is handed on.
    Unqueued(Bye),
    /// Time passed; due at [`ServerSession::deadline`](super::ServerSession::deadline).
    Tick,
    /// The connection is gone.
    Disconnected,
}

/// What to do.
#[derive(Debug)]
pub enum Output {
    /// Send a binary message.
    Send(Vec<u8>),
    /// Have runs judged, in this order, behind those submitted before.
    Submit(Vec<Submission>),
    /// Use an invitation.
    Enrol {
        /// Its secret.
        secret: [u8; 16],
        /// For whom.
        device: DeviceId,
    },
    /// Let in a device that the journal may not know, by the certificate it holds; answer with
    /// [`Input::Enrolled`].
    Readmit {
        /// Who proved that it is.
        device: DeviceId,
        /// What it says enrolled it; not checked yet.
        certificate: Vec<u8>,
    },
    /// Take back statements of this server that a device holds; answer with [`Input::TakenBack`].
    /// Runs of the session wait for that.
    TakeBack {
        /// Who returns them.
        carrier: DeviceId,
        /// Their records, signed by this server.
        statements: Vec<Vec<u8>>,
    },
    /// Keep a finding, unless the same is known.
    Find(Finding),
    /// The session is this device's. Answer with [`Input::Held`].
    Bound(DeviceId),
    /// Reading failed: the server has a fault, to be logged.
    Failed(String),
    /// Rows could not be read, or are not what the journal makes: the server has a fault, to be logged,
    /// and whoever owns the rows has to end over it ([`Ledger::end_over`]). No other session may get so
    /// far as to bring what lets the ledger meet it.
    ///
    /// [`Ledger::end_over`]: bukti_core::ledger::Ledger::end_over
    Unsound {
        /// What it was.
        reason: String,
        /// For the ledger.
        error: ReadError,
    },
    /// Close the connection with the code's [`close_code`](crate::bye::ByeCode::close_code).
    Close(Bye),
}
