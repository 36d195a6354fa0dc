//! How sessions end: a word for programs, a sentence for people, a WebSocket close code.

use std::fmt;
use std::str::FromStr;

use bukti_core::id::{DeviceId, ServerId};
use bukti_core::record::{Fact, Signed};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::limits;

/// The end of a session, as either side says it before it closes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Bye {
    /// Why.
    #[n(0)]
    pub code: ByeCode,
    /// The same as one sentence for people.
    #[n(1)]
    pub sentence: String,
    /// When it makes sense to come back, if that is known.
    #[n(2)]
    pub retry_after_ms: Option<u64>,
    /// What vouches for `revoked`: the record with the signed statement.
    #[n(3)]
    pub statement: Option<ByteVec>,
}

impl Bye {
    /// Ends a session for `code`, explained by `sentence`.
    pub fn new(code: ByeCode, sentence: impl Into<String>) -> Self {
        Self {
            code,
            sentence: cut(sentence.into(), limits::SENTENCE_BYTES_MAX),
            retry_after_ms: None,
            statement: None,
        }
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The session did all it was asked.
    pub fn done() -> Self {
        Self::new(ByeCode::Done, "The session is done.")
    }

    /// The device was revoked.
    pub fn revoked() -> Self {
        Self::new(ByeCode::Revoked, "This device was revoked.")
    }

    /// Adds the record that vouches for it.
    #[must_use]
    pub fn vouched(mut self, statement: Option<Vec<u8>>) -> Self {
        self.statement = statement.map(Into::into);
        self
    }

    /// Whether `server` signed that `device` is revoked. A code alone may come from anybody who
    /// stands in between.
    pub fn revokes(&self, device: &DeviceId, server: &ServerId) -> bool {
        let signed = self.statement.as_ref();
        let signed = signed.and_then(|bytes| Signed::open(bytes, server).ok());
        signed.is_some_and(
            |signed| matches!(signed.fact(), Fact::Revocation(fact) if fact.device == *device),
        )
    }

    /// Something that cannot be read, or does not belong where it stands.
    pub fn malformed(sentence: impl Into<String>) -> Self {
        Self::new(ByeCode::Malformed, sentence)
    }
}

impl fmt::Display for Bye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.sentence)
    }
}

/// Cuts a text to at most `bytes`, at a character.
pub(crate) fn cut(mut text: String, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text
}

/// Errors begin small and end bare; sentences do not.
pub(crate) fn sentence(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(letters).chain(['.']).collect()
}

macro_rules! bye_codes {
    ($($(#[$doc:meta])* $name:ident, $word:literal, $close:literal;)+) => {
        /// Why a session ends. What a device does about each is in `docs/protocol.md`.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ByeCode {
            $($(#[$doc])* $name,)+
            /// A code of a later version, kept as it was said.
            Other(String),
        }

        impl ByeCode {
            /// Every code of this version.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $word,)+
                    Self::Other(word) => word,
                }
            }

            /// The code with which the WebSocket is closed.
            pub fn close_code(&self) -> u16 {
                match self {
                    $(Self::$name => $close,)+
                    Self::Other(_) => 1008,
                }
            }
        }
    };
}

bye_codes! {
    /// Asked to close.
    Done, "done", 1000;
    /// The server stops.
    Shutdown, "shutdown", 1001;
    /// A frame that cannot be read or does not belong where it stands.
    Malformed, "malformed", 1008;
    /// No common version.
    Version, "version", 1008;
    /// Proof or token does not hold, or the device is not enrolled.
    Unauthorised, "unauthorised", 1008;
    /// The device was revoked.
    Revoked, "revoked", 1008;
    /// The invitation was used by another device.
    InvitationUsed, "invitation-used", 1008;
    /// The invitation has expired.
    InvitationExpired, "invitation-expired", 1008;
    /// There is no such invitation.
    InvitationUnknown, "invitation-unknown", 1008;
    /// More bytes than the credit.
    Credit, "credit", 1008;
    /// Fragments that do not make the item they name.
    Fragment, "fragment", 1008;
    /// More frames than are taken.
    Flood, "flood", 1008;
    /// Nothing heard in time.
    Timeout, "timeout", 1008;
    /// Too many connections, or the queue is full.
    Busy, "busy", 1013;
    /// The disk is below its reserve.
    Full, "full", 1013;
    /// The side that says it has a fault of its own.
    Fault, "fault", 1011;
}

/// A code word that is empty, too long, or not of lowercase letters and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a code word")]
pub struct NotACode;

impl FromStr for ByeCode {
    type Err = NotACode;

    fn from_str(word: &str) -> Result<Self, NotACode> {
        let letters = word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if word.is_empty() || word.len() > limits::CODE_BYTES_MAX || !letters {
            return Err(NotACode);
        }
        let known = Self::ALL.iter().find(|code| code.as_str() == word);
        Ok(known
            .cloned()
            .unwrap_or_else(|| Self::Other(word.to_owned())))
    }
}

impl<C> Encode<C> for ByeCode {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(self.as_str())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for ByeCode {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.str()?.parse().map_err(minicbor::decode::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_and_later_ones_are_kept() {
        for code in ByeCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(code.clone()));
        }
        assert_eq!("moved".parse(), Ok(ByeCode::Other("moved".into())));
        for bad in ["", "Bad", "a b", &"x".repeat(41)] {
            assert_eq!(bad.parse::<ByeCode>(), Err(NotACode));
        }
    }

    #[test]
    fn a_long_sentence_is_cut_at_a_character() {
        let bye = Bye::malformed("é".repeat(400));
        assert_eq!(bye.sentence.len(), limits::SENTENCE_BYTES_MAX);
    }
}
