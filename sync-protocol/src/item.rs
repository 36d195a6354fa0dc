//! What the feed carries: runs as accepted, whole documents, statements of the server.
//!
//! ```text
//! [0, position, received_at, carrier, run]                                  record
//! [1, position, received_at, run id, document, last seq, last hash]         own
//! [2, document, as_of, published, saved, [[position, received_at, carrier, envelope], …]]
//! [3, position, statement record]                                           fact
//! [4, item]                                    one of the above, sent before in fragments
//! ```
//!
//! Two encodings of the same item are the same bytes, so that one that was cut goes on where it
//! stopped. A sender keeps to that by filling `as_of` from the document, never from the moment.

use bukti_core::envelope::decode_exactly;
use bukti_core::id::{ChangeHash, DeviceId, DocumentId, Position, RunId, WallMs};
use minicbor::data::Type;
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::fragment::ItemId;
use crate::frame::{FrameError, well_formed};

/// One thing a device applies.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Item {
    /// A run, as accepted.
    #[n(0)]
    Record {
        /// Its place in the journal.
        #[n(0)]
        position: Position,
        /// When the server received it.
        #[n(1)]
        received_at: WallMs,
        /// Who carried it.
        #[n(2)]
        carrier: DeviceId,
        /// The run's bytes.
        #[cbor(n(3), with = "minicbor::bytes")]
        run: Vec<u8>,
    },
    /// A run of the session's own incarnation, which the device has.
    #[n(1)]
    Own {
        /// Its place in the journal.
        #[n(0)]
        position: Position,
        /// When the server received it.
        #[n(1)]
        received_at: WallMs,
        /// Which run.
        #[n(2)]
        run: RunId,
        /// Its document.
        #[n(3)]
        document: DocumentId,
        /// Sequence number of its last change.
        #[n(4)]
        last_seq: u64,
        /// Hash of its last change.
        #[n(5)]
        last_hash: ChangeHash,
    },
    /// A document with all its history and envelopes.
    #[n(2)]
    Whole {
        /// Which document.
        #[n(0)]
        document: DocumentId,
        /// Position of the last record that is in it.
        #[n(1)]
        as_of: Position,
        /// Whether an envelope of it says `publish`.
        #[n(2)]
        published: bool,
        /// One Automerge save.
        #[cbor(n(3), with = "minicbor::bytes")]
        saved: Vec<u8>,
        /// The envelopes of its runs, by rising position.
        #[n(4)]
        envelopes: Vec<Envelope>,
    },
    /// A statement signed by the server.
    #[n(3)]
    Fact {
        /// Its place in the journal.
        #[n(0)]
        position: Position,
        /// The record's bytes, for [`bukti_core::record::Signed::open`].
        #[cbor(n(1), with = "minicbor::bytes")]
        statement: Vec<u8>,
    },
}

/// An envelope with what the server knows of its run.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Envelope {
    /// Place of the run in the journal.
    #[n(0)]
    pub position: Position,
    /// When the server received it.
    #[n(1)]
    pub received_at: WallMs,
    /// Who carried it.
    #[n(2)]
    pub carrier: DeviceId,
    /// The envelope's bytes.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

impl Item {
    /// The item's encoding, the same for equal items.
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to a vector cannot fail")
    }

    /// Reads an item that came in fragments.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] if the bytes are not exactly one item.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrameError> {
        well_formed(bytes)?;
        decode_exactly(bytes).map_err(|error| FrameError::Malformed(error.to_string()))
    }
}

/// An item of a `feed` frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedItem {
    /// As it is.
    Inline(Item),
    /// Sent before in fragments.
    Large(ItemId),
}

const LARGE: u8 = 4;

impl<C> Encode<C> for FeedItem {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match self {
            Self::Inline(item) => item.encode(e, ctx),
            Self::Large(item) => e.array(2)?.u8(LARGE)?.encode(item)?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for FeedItem {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        let mut ahead = d.probe();
        let length = ahead.array()?;
        if length == Some(2) && ahead.u8()? == LARGE {
            d.array()?;
            d.u8()?;
            return Ok(Self::Large(d.decode()?));
        }
        Ok(Self::Inline(Item::decode(d, ctx)?))
    }
}

/// An item of a `push` frame. A byte string of 16 is the name of a run that came in fragments;
/// every run is longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushItem {
    /// A run's bytes.
    Run(Vec<u8>),
    /// Sent before in fragments.
    Large(ItemId),
}

impl<C> Encode<C> for PushItem {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match self {
            Self::Run(bytes) => e.bytes(bytes)?.ok(),
            Self::Large(item) => e.bytes(&item.0)?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for PushItem {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        if d.datatype()? != Type::Bytes {
            return Err(minicbor::decode::Error::message(
                "a pushed item is a byte string",
            ));
        }
        let bytes = d.bytes()?;
        Ok(match bytes.try_into() {
            Ok(name) => Self::Large(ItemId(name)),
            Err(_) => Self::Run(bytes.to_vec()),
        })
    }
}
