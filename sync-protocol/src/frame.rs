//! The frames of the protocol and their codec.
//!
//! One frame is one binary WebSocket message: a byte of encoding, then CBOR `[type, {key: value}]`.
//! [`decode`] takes bytes from anywhere: it bounds size, nesting and counts before anything is
//! built, ignores what later versions add, and never panics.

use bukti_core::authority::Audience;
use bukti_core::digest::Digest;
use bukti_core::envelope::{Seen, decode_exactly};
use bukti_core::id::{
    ChangeHash, DeviceId, DocumentId, Incarnation, JournalId, Position, RunId, ServerId, WallMs,
};
use bukti_core::scope::Scope;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Decoder, Encode, Encoder};

pub use self::losses::{
    HeldStatement, Holding, Listed, Ranged, Reconcile, Statements, Survived, Taken, Void, Wanted,
};
pub(crate) use self::well_formed::well_formed;
use crate::bye::{Bye, sentence};
use crate::deflate::{self, UnpackError};
use crate::fragment::{Held, ItemId};
use crate::item::{FeedItem, PushItem};
use crate::limits;

/// What a peer can read beyond the plain encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Features(#[n(0)] pub u64);

impl Features {
    /// Plain frames only; what a peer reads before it has said more.
    pub const NONE: Self = Self(0);
    /// Reads deflated frames and items.
    pub const DEFLATE: Self = Self(1);

    /// What the server of this version says of itself: it reads DEFLATE, answers [`Holding`] and
    /// answers [`Statements`].
    pub const SERVER: Self = Self(Self::DEFLATE.0 | 2 | 4);

    /// Whether the peer takes back statements that are named first.
    pub fn wants_statements(self) -> bool {
        self.0 & 2 != 0
    }

    /// Whether the peer takes statements back at any time and says whether it has them.
    pub fn answers_statements(self) -> bool {
        self.0 & 4 != 0
    }

    /// Whether the peer reads DEFLATE.
    pub fn deflate(self) -> bool {
        self.0 & Self::DEFLATE.0 != 0
    }
}

/// A run by its number within an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Numbered {
    /// Number of the envelope.
    #[n(0)]
    pub number: u64,
    /// The run.
    #[n(1)]
    pub run: RunId,
}

impl From<(u64, RunId)> for Numbered {
    fn from((number, run): (u64, RunId)) -> Self {
        Self { number, run }
    }
}

impl From<Numbered> for (u64, RunId) {
    fn from(numbered: Numbered) -> Self {
        (numbered.number, numbered.run)
    }
}

/// Opens a session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// Version that the device speaks.
    #[n(0)]
    pub version: u32,
    /// From the last `welcome`.
    #[n(1)]
    pub token: Option<ByteVec>,
    /// Who opens.
    #[n(2)]
    pub device: DeviceId,
    /// Life of the device's store.
    #[n(3)]
    pub incarnation: Incarnation,
    /// The last envelope sealed in that incarnation.
    #[n(4)]
    pub last: Option<Numbered>,
    /// Bytes the device can take.
    #[n(5)]
    pub credit: u64,
    /// Unfinished feed items it holds.
    #[cbor(n(6), skip_if = "Vec::is_empty")]
    pub held: Vec<Held>,
    /// What it reads.
    #[cbor(n(7), default)]
    pub features: Features,
    /// Its program, for the server's log.
    #[cbor(n(8), default)]
    pub agent: String,
}

/// Opens the server's side.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Welcome {
    /// Version that both speak from here on.
    #[n(0)]
    pub version: u32,
    /// For the next `hello`.
    #[n(1)]
    pub token: ByteVec,
    /// What the server takes.
    #[n(2)]
    pub limits: Limits,
    /// The server's clock.
    #[n(3)]
    pub server_time: WallMs,
    /// Its last durable position.
    #[n(4)]
    pub checkpoint: Seen,
    /// The highest envelope it holds of the device's incarnation.
    #[n(5)]
    pub highest: Option<Numbered>,
    /// Bytes the server can take.
    #[n(6)]
    pub credit: u64,
    /// Unfinished runs of the device that it holds.
    #[cbor(n(7), skip_if = "Vec::is_empty")]
    pub held: Vec<Held>,
    /// What it reads.
    #[cbor(n(8), default)]
    pub features: Features,
    /// The device was let in by its certificate and receives nothing until it is confirmed.
    #[cbor(n(9), default, skip_if = "is_false")]
    pub unconfirmed: bool,
}

/// What a server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Limits {
    /// Bytes of a run.
    #[n(0)]
    pub run_bytes: u64,
    /// Credit it gives at once.
    #[n(1)]
    pub credit: u64,
}

/// Asks the device to prove who it is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Challenge {
    /// Drawn for this session.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
    /// The server's journal.
    #[n(1)]
    pub journal: JournalId,
    /// The server.
    #[n(2)]
    pub server: ServerId,
}

impl Challenge {
    /// What a device signs, with domain [`bukti_core::hash::domain::CHALLENGE`].
    pub fn message(&self) -> Vec<u8> {
        [&self.nonce[..], &self.server.0, &self.journal.0].concat()
    }
}

/// Answers a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Proof {
    /// Who signs.
    #[n(0)]
    pub device: DeviceId,
    /// Over [`Challenge::message`].
    #[cbor(n(1), with = "minicbor::bytes")]
    pub signature: [u8; 64],
    /// The statement that enrolled the device, for a server that lost it.
    #[n(2)]
    pub certificate: Option<ByteVec>,
    /// The journal as the device knows it.
    #[n(3)]
    pub journal: Option<JournalId>,
}

/// The device's store was restored or copied.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Stale {
    /// The highest envelope of the incarnation that the server holds.
    #[n(0)]
    pub highest: Numbered,
}

/// Uses an invitation.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Enrol {
    /// From the link.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub secret: [u8; 16],
    /// The device to be enrolled.
    #[n(1)]
    pub device: DeviceId,
    /// Over secret and server id, with domain [`bukti_core::hash::domain::ENROLMENT`].
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

impl std::fmt::Debug for Enrol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Enrol({:?})", self.device)
    }
}

impl Enrol {
    /// What a device signs.
    pub fn message(secret: &[u8; 16], server: &ServerId) -> Vec<u8> {
        [&secret[..], &server.0].concat()
    }
}

/// The device is enrolled. It gets no token yet: `enrol` is no proof of its key, since it can be
/// recorded and sent again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Enrolled {
    /// The journal's first record.
    #[n(0)]
    pub journal: ByteVec,
    /// The device's certificate.
    #[n(1)]
    pub certificate: ByteVec,
}

/// Asks for the feed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Subscribe {
    /// Scopes; none for everything that the grants allow.
    #[n(0)]
    pub scopes: Vec<Scope>,
    /// Where the last feed ended.
    #[n(1)]
    pub cursor: Option<ByteVec>,
    /// The device holds documents and compares rather than being sent everything.
    #[cbor(n(2), default, skip_if = "is_false")]
    pub compare: bool,
    /// The device holds none, and gives back statements where the cursor does not hold.
    #[cbor(n(3), default, skip_if = "is_false")]
    pub gives: bool,
}

/// A page of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Feed {
    /// To be applied in this order.
    #[n(0)]
    pub items: Vec<FeedItem>,
    /// To be stored with them.
    #[n(1)]
    pub cursor: ByteVec,
}

/// Everything in the device's scope was sent.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UpToDate {
    /// To be stored.
    #[n(0)]
    pub cursor: ByteVec,
    /// As of which position.
    #[n(1)]
    pub position: Position,
    /// What the device should hold.
    #[n(2)]
    pub digests: Vec<ScopeDigest>,
    /// Another frame goes on with the digests.
    #[cbor(n(3), default, skip_if = "is_false")]
    pub more: bool,
}

/// Digest of what a subscription should hold.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ScopeDigest {
    /// Scope prefix of the subscription.
    #[n(0)]
    pub prefix: Scope,
    /// Its audience.
    #[n(1)]
    pub audience: Audience,
    /// Sum over its documents, little endian.
    #[n(2)]
    pub digest: Digest,
    /// How many documents.
    #[n(3)]
    pub documents: u64,
}

/// Runs of a device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Push {
    /// In the order of their numbers; returned ones behind those they depend on.
    #[n(0)]
    pub items: Vec<PushItem>,
    /// The runs were confirmed before, by this server.
    #[cbor(n(1), default, skip_if = "is_false")]
    pub returned: bool,
    /// The items are no runs but statements that the server said it wants.
    #[cbor(n(2), default, skip_if = "is_false")]
    pub statements: bool,
}

/// Runs that are valid and on disk.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Accepted {
    /// Which, and where.
    #[n(0)]
    pub runs: Vec<Placed>,
}

/// A run and its place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Placed {
    /// The run.
    #[n(0)]
    pub run: RunId,
    /// Its position.
    #[n(1)]
    pub position: Position,
}

/// A run that depends on what the server has not.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Missing {
    /// The run.
    #[n(0)]
    pub run: RunId,
    /// Changes that the server lacks.
    #[n(1)]
    pub hashes: Vec<ChangeHash>,
}

/// A run that is not valid, for good.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rejected {
    /// The run.
    #[n(0)]
    pub run: RunId,
    /// Why, as a word: one of [`bukti_core::validate`]'s codes, or one of a later version.
    #[n(1)]
    pub code: String,
    /// Why, as one sentence.
    #[n(2)]
    pub sentence: String,
}

/// A document moved out of the device's scope.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LeftScope {
    /// The document.
    #[n(0)]
    pub document: DocumentId,
}

/// A part of a large item.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Fragment {
    /// The item.
    #[n(0)]
    pub item: ItemId,
    /// Where the part begins.
    #[n(1)]
    pub offset: u64,
    /// Bytes of the whole item.
    #[n(2)]
    pub total: u64,
    /// The part.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// Allows bytes beyond those allowed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Credit {
    /// How many.
    #[n(0)]
    pub bytes: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the codec asks by reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

macro_rules! frames {
    ($($(#[$doc:meta])* $name:ident($body:ident) = $kind:literal, $word:literal;)+) => {
        /// Every frame of this version.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Frame {
            $($(#[$doc])* $name($body),)+
        }

        impl Frame {
            /// The number by which the frame is known on the wire.
            pub fn kind(&self) -> u64 {
                match self {
                    $(Self::$name(_) => $kind,)+
                }
            }

            /// The frame's name in the protocol.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $word,)+
                }
            }

            fn body(&self) -> Vec<u8> {
                let written = match self {
                    $(Self::$name(body) => minicbor::to_vec(body),)+
                };
                written.expect("writing to a vector cannot fail")
            }

            fn read(kind: u64, body: &[u8]) -> Result<Option<Self>, minicbor::decode::Error> {
                Ok(Some(match kind {
                    $($kind => Self::$name(decode_exactly(body)?),)+
                    _ => return Ok(None),
                }))
            }
        }

        $(impl From<$body> for Frame {
            fn from(body: $body) -> Self {
                Self::$name(body)
            }
        })+
    };
}

frames! {
    /// See [`Hello`].
    Hello(Hello) = 0, "hello";
    /// See [`Welcome`].
    Welcome(Welcome) = 1, "welcome";
    /// See [`Challenge`].
    Challenge(Challenge) = 2, "challenge";
    /// See [`Proof`].
    Proof(Proof) = 3, "proof";
    /// See [`Stale`].
    Stale(Stale) = 4, "stale";
    /// See [`Enrol`].
    Enrol(Enrol) = 5, "enrol";
    /// See [`Enrolled`].
    Enrolled(Enrolled) = 6, "enrolled";
    /// See [`Subscribe`].
    Subscribe(Subscribe) = 7, "subscribe";
    /// See [`Feed`].
    Feed(Feed) = 8, "feed";
    /// See [`UpToDate`].
    UpToDate(UpToDate) = 9, "up_to_date";
    /// See [`Push`].
    Push(Push) = 10, "push";
    /// See [`Accepted`].
    Accepted(Accepted) = 11, "accepted";
    /// See [`Missing`].
    Missing(Missing) = 12, "missing";
    /// See [`Rejected`].
    Rejected(Rejected) = 13, "rejected";
    /// See [`LeftScope`].
    LeftScope(LeftScope) = 14, "left_scope";
    /// See [`Fragment`].
    Fragment(Fragment) = 15, "fragment";
    /// See [`Credit`].
    Credit(Credit) = 16, "credit";
    /// See [`Bye`].
    Bye(Bye) = 17, "bye";
    /// See [`Reconcile`].
    Reconcile(Reconcile) = 18, "reconcile";
    /// See [`Statements`].
    Statements(Statements) = 19, "statements";
    /// See [`Void`].
    Void(Void) = 20, "void";
    /// See [`Holding`].
    Holding(Holding) = 21, "holding";
    /// See [`Wanted`].
    Wanted(Wanted) = 22, "wanted";
    /// See [`Taken`].
    Taken(Taken) = 23, "taken";
}

/// Bytes that are not a frame. All are answered by `bye(malformed)`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than a frame may be.
    #[error("the frame has {actual} bytes, more than {}", limits::FRAME_BYTES_MAX)]
    TooLarge {
        /// Its size.
        actual: usize,
    },
    /// The encoding does not hold.
    #[error("the frame cannot be unpacked: {0}")]
    Unpack(UnpackError),
    /// Not the CBOR of a frame.
    #[error("the frame cannot be read: {0}")]
    Malformed(String),
    /// More of something than is taken.
    #[error("the frame has too many or too long {0}")]
    Limit(&'static str),
}

impl From<&FrameError> for Bye {
    fn from(error: &FrameError) -> Self {
        Self::malformed(sentence(error))
    }
}

impl Frame {
    /// Whether the frame needs credit; all others are bounded by rate.
    pub fn needs_credit(&self) -> bool {
        match self {
            Self::Feed(_) | Self::Push(_) | Self::Fragment(_) => true,
            Self::Hello(_)
            | Self::Welcome(_)
            | Self::Challenge(_)
            | Self::Proof(_)
            | Self::Stale(_)
            | Self::Enrol(_)
            | Self::Enrolled(_)
            | Self::Subscribe(_)
            | Self::UpToDate(_)
            | Self::Accepted(_)
            | Self::Missing(_)
            | Self::Rejected(_)
            | Self::LeftScope(_)
            | Self::Credit(_)
            | Self::Bye(_)
            | Self::Reconcile(_)
            | Self::Statements(_)
            | Self::Void(_)
            | Self::Holding(_)
            | Self::Wanted(_)
            | Self::Taken(_) => false,
        }
    }

    /// Bounds counts and lengths that the size of a frame does not bound well enough.
    fn check(&self) -> Result<(), FrameError> {
        let bound = |what: &'static str, actual: usize, max: usize| {
            if actual > max {
                Err(FrameError::Limit(what))
            } else {
                Ok(())
            }
        };
        match self {
            Self::Hello(hello) => {
                bound("held items", hello.held.len(), limits::PARTIALS_MAX)?;
                bound("agent bytes", hello.agent.len(), limits::AGENT_BYTES_MAX)?;
                let token = hello.token.as_ref().map_or(0, |token| token.len());
                bound("token bytes", token, limits::TOKEN_BYTES_MAX)
            }
            Self::Welcome(welcome) => {
                bound("held items", welcome.held.len(), limits::PARTIALS_MAX)?;
                bound("token bytes", welcome.token.len(), limits::TOKEN_BYTES_MAX)
            }
            Self::Subscribe(subscribe) => {
                bound("scopes", subscribe.scopes.len(), limits::SCOPES_MAX)?;
                let cursor = subscribe.cursor.as_ref().map_or(0, |cursor| cursor.len());
                bound("cursor bytes", cursor, limits::CURSOR_BYTES_MAX)
            }
            Self::Feed(feed) => bound("cursor bytes", feed.cursor.len(), limits::CURSOR_BYTES_MAX),
            Self::UpToDate(end) => {
                bound("digests", end.digests.len(), limits::DIGESTS_PER_FRAME)?;
                bound("cursor bytes", end.cursor.len(), limits::CURSOR_BYTES_MAX)
            }
            Self::Accepted(accepted) => bound(
                "accepted runs",
                accepted.runs.len(),
                limits::ACCEPTED_PER_FRAME,
            ),
            Self::Missing(missing) => bound(
                "missing hashes",
                missing.hashes.len(),
                limits::MISSING_PER_FRAME,
            ),
            Self::Rejected(rejected) => {
                bound("code bytes", rejected.code.len(), limits::CODE_BYTES_MAX)?;
                bound(
                    "sentence bytes",
                    rejected.sentence.len(),
                    limits::SENTENCE_BYTES_MAX,
                )
            }
            Self::Push(push) => bound("runs", push.items.len(), limits::PUSH_ITEMS_MAX),
            Self::Bye(bye) => bound(
                "sentence bytes",
                bye.sentence.len(),
                limits::SENTENCE_BYTES_MAX,
            ),
            Self::Reconcile(reconcile) => {
                bound("ranges", reconcile.ranges.len(), limits::RANGES_MAX)?;
                bound("lists", reconcile.lists.len(), limits::RANGES_MAX)?;
                bound("needs", reconcile.need.len(), limits::RANGES_MAX)?;
                bound("fingerprints", reconcile.parts(), limits::PARTS_PER_FRAME)?;
                reconcile.check_order()
            }
            Self::Statements(statements) => bound(
                "statements",
                statements.statements.len(),
                limits::STATEMENTS_PER_FRAME,
            ),
            Self::Holding(holding) => {
                bound("names", holding.statements.len(), limits::HOLDING_PER_FRAME)
            }
            Self::Wanted(wanted) => bound("names", wanted.items.len(), limits::HOLDING_PER_FRAME),
            Self::Challenge(_)
            | Self::Proof(_)
            | Self::Stale(_)
            | Self::Enrol(_)
            | Self::Enrolled(_)
            | Self::LeftScope(_)
            | Self::Fragment(_)
            | Self::Credit(_)
            | Self::Void(_)
            | Self::Taken(_) => Ok(()),
        }
    }
}

/// Writes a frame, deflated where the peer reads that and it saves bytes.
///
/// # Panics
/// In debug builds, if the frame is longer than [`limits::FRAME_BYTES_MAX`]: whoever fills it
/// keeps within the limits of its parts.
pub fn encode(frame: &Frame, peer: Features) -> Vec<u8> {
    let body = frame.body();
    let mut bytes = Vec::with_capacity(body.len() + 4);
    let mut encoder = Encoder::new(&mut bytes);
    let head = encoder
        .array(2)
        .and_then(|encoder| encoder.u64(frame.kind()));
    head.expect("writing to a vector cannot fail");
    bytes.extend_from_slice(&body);
    // A fragment is a part of what was deflated whole.
    let deflate = peer.deflate() && !matches!(frame, Frame::Fragment(_));
    let packed = deflate::pack(&bytes, deflate);
    debug_assert!(
        packed.len() <= limits::FRAME_BYTES_MAX,
        "{} is too long",
        frame.name()
    );
    packed
}

/// The kind of [`Frame::Reconcile`].
pub(crate) const RECONCILE: u64 = 18;

/// The kind that a frame says it has, if it can be read so far.
pub(crate) fn kind_of(bytes: &[u8]) -> Option<u64> {
    let inflated_max = limits::FRAME_INFLATED_BYTES_MAX;
    let cbor = deflate::unpack(bytes, inflated_max).ok()?;
    let mut decoder = Decoder::new(&cbor);
    decoder.array().ok()?;
    decoder.u64().ok()
}

/// Reads a frame. `None` is a frame type of a later version, which is to be ignored.
///
/// # Errors
/// [`FrameError`], whatever the bytes are.
pub fn decode(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    if bytes.len() > limits::FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge {
            actual: bytes.len(),
        });
    }
    let cbor =
        deflate::unpack(bytes, limits::FRAME_INFLATED_BYTES_MAX).map_err(FrameError::Unpack)?;
    well_formed(&cbor)?;
    let malformed = |error: minicbor::decode::Error| FrameError::Malformed(error.to_string());
    let mut decoder = Decoder::new(&cbor);
    if decoder.array().map_err(malformed)? != Some(2) {
        return Err(FrameError::Malformed(
            "not an array of type and keys".into(),
        ));
    }
    let kind = decoder.u64().map_err(malformed)?;
    let body = &cbor[decoder.position()..];
    decoder.map().map_err(malformed)?;
    let Some(frame) = Frame::read(kind, body).map_err(malformed)? else {
        return Ok(None);
    };
    frame.check()?;
    Ok(Some(frame))
}

mod losses;
mod well_formed;

#[cfg(test)]
mod tests;
