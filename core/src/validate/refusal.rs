//! Why a run is refused, as a word for programs and a sentence for people.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::change::ChangeFault;
use crate::envelope::EnvelopeError;

macro_rules! refusal_codes {
    ($($(#[$doc:meta])* $name:ident = $index:literal, $word:literal, $sentence:literal;)+) => {
        /// Why a run is refused. [`code`](Self::code) is the word on the wire, `Display` one
        /// sentence for people.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(index_only)]
        pub enum RefusalCode {
            $($(#[$doc])* #[n($index)] $name,)+
        }

        impl RefusalCode {
            /// Every code, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word by which programs know it.
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => $sentence,)+
                }
            }
        }
    };
}

refusal_codes! {
    /// Not in the form that devices write.
    Malformed = 0, "malformed", "The bytes are not in the form that devices write.";
    /// Not signed by the device it names.
    Signature = 1, "bad-signature", "The signature does not belong to the device that is named.";
    /// Uses something that is not taken from devices.
    Unsupported = 2, "unsupported", "The change uses something that is not taken from devices.";
    /// Written under an actor that is not the device's own.
    Actor = 3, "bad-actor", "The change is written under an actor that is not the device's.";
    /// The sequence number does not follow the actor's last one.
    Sequence = 4, "bad-sequence", "The sequence number does not follow the one before.";
    /// The operation counter does not follow what the change builds on.
    StartOp = 5, "bad-start-op", "The operation counter does not follow what the change builds on.";
    /// The dependencies leave out the actor's change before, or are not as Automerge writes them.
    Deps = 6, "bad-deps", "The change does not name what it builds on as it must.";
    /// A second beginning of a document.
    SecondRoot = 7, "second-root", "The document has a beginning already.";
    /// A change that builds on nothing, in a run that does not create the document.
    NoRoot = 8, "no-root", "The change builds on nothing but does not create the document.";
    /// The document id does not follow from its parts.
    DocumentId = 9, "bad-document-id", "The document id does not follow from its creation.";
    /// Names an Automerge author.
    AuthorFooter = 10, "author-footer", "The change names an author besides its actor.";
    /// More bytes than are taken.
    TooLarge = 11, "too-large", "The change or the run is larger than what is taken.";
    /// More operations than are taken.
    TooManyOperations = 12, "too-many-operations", "The change or the run has too many operations.";
    /// Inflates too far.
    Inflates = 13, "inflates", "The change inflates to more than what is taken.";
    /// Another change of the same actor and number was accepted first.
    Fork = 14, "fork", "Another change with the same number was accepted before.";
    /// The document could not be used with it.
    Unreadable = 15, "unreadable", "The document could not be saved, read or edited with this.";
    /// The document would read ready without a signed word to publish it.
    UnpublishedReady = 16, "unpublished-ready", "The document is declared ready but not published.";
    /// The document has reached its bounds.
    DocumentFull = 17, "document-full", "The document is full; continue in a new one.";
    /// The person may not do this here.
    Forbidden = 18, "forbidden", "The person may not do this here.";
    /// The device was revoked.
    Revoked = 19, "revoked", "The device was revoked.";
    /// The device is not enrolled.
    UnknownDevice = 20, "unknown-device", "The device is not enrolled.";
    /// A daily or total bound of the device is reached.
    Quota = 21, "quota", "The device has used up what it may send for now.";
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// A word that is no [`RefusalCode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a refusal code")]
pub struct UnknownRefusalCode(String);

impl FromStr for RefusalCode {
    type Err = UnknownRefusalCode;

    fn from_str(word: &str) -> Result<Self, UnknownRefusalCode> {
        Self::ALL
            .iter()
            .find(|code| code.code() == word)
            .copied()
            .ok_or_else(|| UnknownRefusalCode(word.chars().take(40).collect()))
    }
}

/// A refusal with what exactly was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(array)]
#[error("{sentence}")]
pub struct Refusal {
    /// For programs.
    #[n(0)]
    pub code: RefusalCode,
    /// For people, at most [`Refusal::SENTENCE_BYTES_MAX`] bytes.
    #[n(1)]
    pub sentence: String,
}

impl Refusal {
    /// Bytes of a sentence.
    pub const SENTENCE_BYTES_MAX: usize = 300;

    /// A refusal with its own sentence, cut where it is too long.
    pub fn new(code: RefusalCode, sentence: impl Into<String>) -> Self {
        let mut sentence = sentence.into();
        let mut length = sentence.len().min(Self::SENTENCE_BYTES_MAX);
        while !sentence.is_char_boundary(length) {
            length -= 1;
        }
        sentence.truncate(length);
        Self { code, sentence }
    }
}

impl From<RefusalCode> for Refusal {
    fn from(code: RefusalCode) -> Self {
        Self::new(code, code.sentence())
    }
}

impl From<ChangeFault> for Refusal {
    fn from(fault: ChangeFault) -> Self {
        let code = match &fault {
            ChangeFault::Malformed(_)
            | ChangeFault::Checksum
            | ChangeFault::TooManyRows
            | ChangeFault::Time(_) => RefusalCode::Malformed,
            ChangeFault::Unsupported(_) => RefusalCode::Unsupported,
            ChangeFault::TooLarge { .. } => RefusalCode::TooLarge,
            ChangeFault::Inflates { .. } => RefusalCode::Inflates,
            ChangeFault::TooManyOperations => RefusalCode::TooManyOperations,
            ChangeFault::Actor => RefusalCode::Actor,
            ChangeFault::Sequence(_) => RefusalCode::Sequence,
            ChangeFault::StartOp(_) => RefusalCode::StartOp,
            ChangeFault::Deps => RefusalCode::Deps,
            ChangeFault::AuthorFooter => RefusalCode::AuthorFooter,
        };
        Self::new(code, as_sentence(&fault))
    }
}

impl From<EnvelopeError> for Refusal {
    fn from(error: EnvelopeError) -> Self {
        let code = match &error {
            EnvelopeError::Malformed(_) => RefusalCode::Malformed,
            EnvelopeError::TooLarge { .. } => RefusalCode::TooLarge,
            EnvelopeError::Signature => RefusalCode::Signature,
            EnvelopeError::DocumentId => RefusalCode::DocumentId,
        };
        Self::new(code, as_sentence(&error))
    }
}

/// Errors begin small and end bare; sentences do not.
fn as_sentence(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => text,
    }
}
