//! Names of things as fixed bytes: documents, devices, actors, changes, runs, journals.
//!
//! Ids that people see are written in bs58check (Base58 with a four-byte checksum, as Bitcoin and
//! automerge-repo write them), so a mistyped id is refused rather than not found. Hashes are
//! written in lowercase hexadecimal.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::hash::{Hasher, domain};
use crate::scope::Scope;

/// An id that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}: expected {expected}")]
pub struct ParseIdError {
    /// What was to be read.
    pub what: &'static str,
    /// What a right one looks like.
    pub expected: &'static str,
    /// What was given, cut to 80 characters.
    pub text: String,
}

macro_rules! bytes_newtype {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(with = "minicbor::bytes")] pub [u8; $length]);

        impl $name {
            /// Length in bytes.
            pub const LENGTH: usize = $length;

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = std::array::TryFromSliceError;

            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                Ok(Self(bytes.try_into()?))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

macro_rules! shown_as_bs58check {
    ($name:ident, $what:literal, $expected:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&bs58::encode(self.0).with_check().into_string())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let refuse = || ParseIdError {
                    what: $what,
                    expected: $expected,
                    text: text.chars().take(80).collect(),
                };
                if text.len() > 80 {
                    return Err(refuse());
                }
                let bytes = bs58::decode(text)
                    .with_check(None)
                    .into_vec()
                    .map_err(|_| refuse())?;
                Self::try_from(bytes.as_slice()).map_err(|_| refuse())
            }
        }
    };
}

macro_rules! shown_as_hex {
    ($name:ident, $what:literal, $expected:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let bytes = from_hex(text).ok_or_else(|| ParseIdError {
                    what: $what,
                    expected: $expected,
                    text: text.chars().take(80).collect(),
                })?;
                Ok(Self(bytes))
            }
        }
    };
}

/// Reads two hexadecimal digits a byte.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        if pair.starts_with('+') {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}

bytes_newtype! {
    /// A document: the first 16 bytes of a hash over who created it, its kind, its scope and 16
    /// random bytes, so nobody can claim an id under another scope.
    DocumentId, 16
}
shown_as_bs58check!(
    DocumentId,
    "document id",
    "16 bytes in bs58check, about 28 characters"
);

bytes_newtype! {
    /// A device: its Ed25519 public key.
    DeviceId, 32
}
shown_as_bs58check!(
    DeviceId,
    "device id",
    "an Ed25519 public key in bs58check, about 50 characters"
);

bytes_newtype! {
    /// A server: its Ed25519 public key.
    ServerId, 32
}
shown_as_bs58check!(
    ServerId,
    "server id",
    "an Ed25519 public key in bs58check, about 50 characters"
);

bytes_newtype! {
    /// A journal: 16 random bytes chosen when it was made.
    JournalId, 16
}
shown_as_bs58check!(
    JournalId,
    "journal id",
    "16 bytes in bs58check, about 28 characters"
);

bytes_newtype! {
    /// One life of a device's store: 16 random bytes, drawn anew when a store was copied or
    /// restored, so that a sealed sequence number is never used twice.
    Incarnation, 16
}
shown_as_hex!(Incarnation, "incarnation", "32 hexadecimal digits");

bytes_newtype! {
    /// An Automerge actor: anyone can recompute it from the device, the document and the
    /// incarnation.
    Actor, 16
}
shown_as_hex!(Actor, "actor", "32 hexadecimal digits");

bytes_newtype! {
    /// The SHA-256 that names an Automerge change.
    ChangeHash, 32
}
shown_as_hex!(ChangeHash, "change hash", "64 hexadecimal digits");

bytes_newtype! {
    /// The name of a run: a hash of the signed body of its envelope.
    RunId, 16
}
shown_as_hex!(RunId, "run id", "32 hexadecimal digits");

bytes_newtype! {
    /// The value of the journal's chain after one record.
    Chain, 32
}
shown_as_hex!(Chain, "chain value", "64 hexadecimal digits");

bytes_newtype! {
    /// A file: the SHA-256 of its bytes as they are, without a domain, so that any tool can check it.
    FileHash, 32
}
shown_as_hex!(FileHash, "file hash", "64 hexadecimal digits");

bytes_newtype! {
    /// A set of concurrent values as somebody saw it, so that a choice made on an older set is
    /// refused.
    Fingerprint, 16
}
shown_as_hex!(Fingerprint, "fingerprint", "32 hexadecimal digits");

/// Place of a record in the journal, counted from 1; 0 is before the first.
pub type Position = u64;

/// Milliseconds since 1970-01-01T00:00:00Z as somebody's clock said. May be wrong, and negative.
pub type WallMs = i64;

impl DocumentId {
    /// Derives the id that a root envelope with these parts must have.
    pub fn derive(creator: &DeviceId, kind: &str, scope: &Scope, random: &[u8; 16]) -> Self {
        Self(
            Hasher::new(domain::DOCUMENT)
                .fixed(&creator.0)
                .variable(kind.as_bytes())
                .variable(scope.as_str().as_bytes())
                .fixed(random)
                .finish_16(),
        )
    }
}

impl Actor {
    /// Derives the actor under which `device` writes in `document` during `incarnation`.
    pub fn derive(device: &DeviceId, document: &DocumentId, incarnation: &Incarnation) -> Self {
        Self(
            Hasher::new(domain::ACTOR)
                .fixed(&device.0)
                .fixed(&document.0)
                .fixed(&incarnation.0)
                .finish_16(),
        )
    }

    /// The same actor in Automerge's own type.
    pub fn to_automerge(self) -> automerge::ActorId {
        automerge::ActorId::from(self.0)
    }
}

impl From<automerge::ChangeHash> for ChangeHash {
    fn from(hash: automerge::ChangeHash) -> Self {
        Self(hash.0)
    }
}

impl From<ChangeHash> for automerge::ChangeHash {
    fn from(hash: ChangeHash) -> Self {
        Self(hash.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_what_it_prints() {
        let id = DocumentId([7; 16]);
        assert_eq!(id.to_string().parse::<DocumentId>(), Ok(id));
        let hash = ChangeHash([0xab; 32]);
        assert_eq!(hash.to_string().parse::<ChangeHash>(), Ok(hash));
    }

    #[test]
    fn a_mistyped_id_is_refused_with_what_was_expected() {
        let mut text = DocumentId([7; 16]).to_string();
        let last = if text.ends_with('2') { "3" } else { "2" };
        text.replace_range(text.len() - 1.., last);
        let error = text.parse::<DocumentId>().unwrap_err();
        assert!(error.to_string().contains("expected 16 bytes in bs58check"));
        assert!("+f".repeat(16).parse::<Incarnation>().is_err());
        assert!("é".repeat(16).parse::<Incarnation>().is_err());
    }

    #[test]
    fn every_part_of_an_identity_changes_it() {
        let device = DeviceId([1; 32]);
        let scope: Scope = "13.76.01.1001".parse().unwrap();
        let other: Scope = "13.76.01.1002".parse().unwrap();
        let id = DocumentId::derive(&device, "evidence", &scope, &[2; 16]);
        assert_ne!(
            id,
            DocumentId::derive(&device, "evidence", &other, &[2; 16])
        );
        assert_ne!(
            id,
            DocumentId::derive(&device, "statement", &scope, &[2; 16])
        );
        assert_ne!(
            id,
            DocumentId::derive(&device, "evidence", &scope, &[3; 16])
        );
        let actor = Actor::derive(&device, &id, &Incarnation([4; 16]));
        assert_ne!(actor, Actor::derive(&device, &id, &Incarnation([5; 16])));
    }
}
