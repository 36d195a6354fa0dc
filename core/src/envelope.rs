//! Signed runs: what a device seals, what travels, what the journal keeps for ever.
//!
//! A *run* is an [`Envelope`] and the Automerge changes it covers: consecutive changes of one
//! (document, actor). The envelope commits to the changes through the hash of the last one, since
//! each change names its predecessors by hash, and is valid whoever carries it.
//!
//! ```text
//! envelope = [ bstr body, bstr signature(64) ]        signature over domain ‖ body, Ed25519
//! run      = [ envelope bytes as bstr, [ bstr change, … ] ]
//! ```
//!
//! The body is CBOR with integer keys; unknown keys are ignored, and kept because the bytes are.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::hash::{Hasher, domain, signing_bytes};
use crate::id::{
    Actor, Chain, ChangeHash, DeviceId, DocumentId, Incarnation, Position, RunId, WallMs,
};
use crate::limits;
use crate::scope::Scope;

/// The parts from which a document's id is derived; only in the envelope that creates it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Root {
    /// Kind of document: `evidence`, `statement`, `reference` or `unclassified`.
    #[n(0)]
    pub kind: DocumentKind,
    /// Where the document belongs.
    #[n(1)]
    pub scope: Scope,
    /// Drawn by the creator.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub random: [u8; 16],
}

/// What a document is, fixed by its root envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum DocumentKind {
    /// A piece of evidence, edited by many.
    #[n(0)]
    Evidence,
    /// A score, sign-off or decision by one writer about exact heads.
    #[n(1)]
    Statement,
    /// Reference material.
    #[n(2)]
    Reference,
    /// A document that came through a gateway without a kind.
    #[n(3)]
    Unclassified,
}

impl DocumentKind {
    /// The word used in ids, records and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::Statement => "statement",
            Self::Reference => "reference",
            Self::Unclassified => "unclassified",
        }
    }
}

/// A place in the journal with its chain value: what a device saw last of the server's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Seen {
    /// Position.
    #[n(0)]
    pub position: Position,
    /// Chain value at that position.
    #[n(1)]
    pub chain: Chain,
}

/// The signed part of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Body {
    /// The document.
    #[n(0)]
    pub document: DocumentId,
    /// Only where the run creates the document.
    #[n(1)]
    pub root: Option<Root>,
    /// Life of the device's store in which the run was sealed.
    #[n(2)]
    pub incarnation: Incarnation,
    /// Grows by at least one with each envelope of the incarnation; starts at 1.
    #[n(3)]
    pub number: u64,
    /// Automerge sequence number of the first change.
    #[n(4)]
    pub first_seq: u64,
    /// How many changes.
    #[n(5)]
    pub count: u32,
    /// Hash of the last change.
    #[n(6)]
    pub last_hash: ChangeHash,
    /// True from the first *ready* of the document on this device.
    #[n(7)]
    pub publish: bool,
    /// What the device's clock said when the run was sealed.
    #[n(8)]
    pub device_time: WallMs,
    /// The last checkpoint of the server the device had seen.
    #[n(9)]
    pub seen: Option<Seen>,
    /// Who sealed it.
    #[n(10)]
    pub device: DeviceId,
}

impl Body {
    /// The actor that must have written the changes.
    pub fn actor(&self) -> Actor {
        Actor::derive(&self.device, &self.document, &self.incarnation)
    }

    /// Sequence number of the last change.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + u64::from(self.count) - 1
    }
}

/// Why an envelope or a run cannot be read or trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not the CBOR of an envelope or run.
    #[error("not an envelope: {0}")]
    Malformed(String),
    /// A bound of [`limits`] is exceeded.
    #[error("{what} is {actual}, more than {max}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        actual: u64,
        /// The most that is taken.
        max: u64,
    },
    /// The signature is not by the device that the body names.
    #[error("the signature does not belong to the device that the envelope names")]
    Signature,
    /// The document id does not follow from the root's parts.
    #[error("the document id does not follow from device, kind, scope and random bytes")]
    DocumentId,
}

/// An envelope whose signature has been checked, with the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    body: Body,
    bytes: Vec<u8>,
    run: RunId,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Signed {
    #[n(0)]
    body: ByteVec,
    #[n(1)]
    signature: ByteVec,
}

impl Envelope {
    /// Seals a body with the key of its device.
    ///
    /// # Panics
    /// If the body names another device than the key's.
    pub fn seal(body: Body, key: &SigningKey) -> Self {
        assert_eq!(
            body.device.0,
            key.verifying_key().to_bytes(),
            "a device seals in its own name"
        );
        let encoded = minicbor::to_vec(&body).expect("writing to a vector cannot fail");
        let signature = key.sign(&signing_bytes(domain::ENVELOPE, &encoded));
        let run = run_id(&encoded);
        let bytes = minicbor::to_vec(Signed {
            body: encoded.into(),
            signature: signature.to_bytes().to_vec().into(),
        })
        .expect("writing to a vector cannot fail");
        Self { body, bytes, run }
    }

    /// Reads an envelope and checks its signature strictly, its count and its document id.
    ///
    /// # Errors
    /// [`EnvelopeError`]; nothing about the changes is known yet.
    pub fn open(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let (body, signed) = read(bytes)?;
        let malformed = |text: &str| EnvelopeError::Malformed(text.to_owned());
        let key = VerifyingKey::from_bytes(&body.device.0).map_err(|_| EnvelopeError::Signature)?;
        let signature = Signature::from_slice(&signed.signature)
            .map_err(|_| malformed("the signature is not 64 bytes"))?;
        key.verify_strict(&signing_bytes(domain::ENVELOPE, &signed.body), &signature)
            .map_err(|_| EnvelopeError::Signature)?;
        if let Some(root) = &body.root {
            let expected =
                DocumentId::derive(&body.device, root.kind.as_str(), &root.scope, &root.random);
            if expected != body.document {
                return Err(EnvelopeError::DocumentId);
            }
        }
        Ok(Self {
            run: run_id(&signed.body),
            body,
            bytes: bytes.to_vec(),
        })
    }

    /// Reads an envelope out of our own store, where its signature was checked on the way in.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`] if the store is damaged.
    pub fn open_stored(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let (body, signed) = read(bytes)?;
        Ok(Self {
            run: run_id(&signed.body),
            body,
            bytes: bytes.to_vec(),
        })
    }

    /// The signed part.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The bytes as sealed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The name of the run.
    pub fn run(&self) -> RunId {
        self.run
    }
}

fn run_id(body: &[u8]) -> RunId {
    RunId(Hasher::new(domain::RUN).fixed(body).finish_16())
}

fn read(bytes: &[u8]) -> Result<(Body, Signed), EnvelopeError> {
    let malformed = |error: minicbor::decode::Error| EnvelopeError::Malformed(error.to_string());
    at_most("the envelope", bytes.len(), limits::ENVELOPE_BYTES_MAX)?;
    let signed: Signed = decode_exactly(bytes).map_err(malformed)?;
    let body: Body = decode_exactly(&signed.body).map_err(malformed)?;
    at_most(
        "the number of changes",
        body.count as usize,
        limits::RUN_CHANGES_MAX,
    )?;
    if body.count == 0 || body.first_seq == 0 || body.number == 0 {
        return Err(EnvelopeError::Malformed(
            "count, first seq and number start at 1".into(),
        ));
    }
    if body.first_seq > u64::from(u32::MAX) || body.number > u64::from(u32::MAX) {
        return Err(EnvelopeError::Malformed(
            "seq and number end at 2^32 - 1".into(),
        ));
    }
    if body.root.is_some() && body.first_seq != 1 {
        return Err(EnvelopeError::Malformed(
            "a document begins with seq 1".into(),
        ));
    }
    Ok((body, signed))
}

/// Decodes one value that must fill all of `bytes`.
///
/// # Errors
/// A decode error if the bytes are not such a value or if something follows it.
pub fn decode_exactly<'b, T: Decode<'b, ()>>(
    bytes: &'b [u8],
) -> Result<T, minicbor::decode::Error> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode()?;
    if decoder.position() != bytes.len() {
        return Err(minicbor::decode::Error::message("bytes follow the value"));
    }
    Ok(value)
}

fn at_most(what: &'static str, actual: usize, max: usize) -> Result<(), EnvelopeError> {
    if actual > max {
        return Err(EnvelopeError::TooLarge {
            what,
            actual: actual as u64,
            max: max as u64,
        });
    }
    Ok(())
}

/// An envelope and the bytes of the changes it covers, as received. The changes have been counted
/// and measured, and nothing else: [`crate::validate`] judges them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The checked envelope.
    pub envelope: Envelope,
    /// Automerge change chunks, one each.
    pub changes: Vec<Vec<u8>>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct RunParts {
    #[n(0)]
    envelope: ByteVec,
    #[n(1)]
    changes: Vec<ByteVec>,
}

impl Run {
    /// The run as it travels and as the journal keeps it.
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(RunParts {
            envelope: self.envelope.bytes.clone().into(),
            changes: self
                .changes
                .iter()
                .map(|change| change.clone().into())
                .collect(),
        })
        .expect("writing to a vector cannot fail")
    }

    /// Reads a run that came from outside; the envelope's signature is checked.
    ///
    /// # Errors
    /// [`EnvelopeError`] as for [`Envelope::open`], or if count and changes disagree.
    pub fn open(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Self::read(bytes, Envelope::open)
    }

    /// Reads a run out of our own store.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`] if the store is damaged.
    pub fn open_stored(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Self::read(bytes, Envelope::open_stored)
    }

    fn read(
        bytes: &[u8],
        open: fn(&[u8]) -> Result<Envelope, EnvelopeError>,
    ) -> Result<Self, EnvelopeError> {
        at_most("the run", bytes.len(), limits::RUN_BYTES_MAX)?;
        let parts: RunParts =
            decode_exactly(bytes).map_err(|error| EnvelopeError::Malformed(error.to_string()))?;
        let envelope = open(&parts.envelope)?;
        if envelope.body.count as usize != parts.changes.len() {
            return Err(EnvelopeError::Malformed(
                "the envelope counts other changes than the run holds".into(),
            ));
        }
        let changes = parts.changes.into_iter().map(Vec::from).collect();
        Ok(Self { envelope, changes })
    }

    /// The name of the run.
    pub fn id(&self) -> RunId {
        self.envelope.run
    }
}

#[cfg(test)]
mod tests;
