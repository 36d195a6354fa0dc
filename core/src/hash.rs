//! SHA-256 with a domain, so that a hash made for one purpose can never stand for another.
//!
//! Every hash of this project is `SHA-256(len(domain) ‖ domain ‖ part₁ ‖ part₂ ‖ …)` where the
//! length of the domain is one byte and each part of variable length is preceded by its length as
//! eight bytes, little endian. Parts of fixed length stand as they are.

use sha2::{Digest, Sha256};

/// The purposes a hash or a signature can have. The text is part of the format.
pub mod domain {
    /// Document id from its root.
    pub const DOCUMENT: &str = "bukti.document.1";
    /// Automerge actor of a device in one document.
    pub const ACTOR: &str = "bukti.actor.1";
    /// Name of a run, from the body of its envelope.
    pub const RUN: &str = "bukti.run.1";
    /// Signature of a device over an envelope body.
    pub const ENVELOPE: &str = "bukti.envelope.1";
    /// Hash of one journal record.
    pub const RECORD: &str = "bukti.record.1";
    /// Journal chain.
    pub const CHAIN: &str = "bukti.chain.1";
    /// Header of a journal group or segment.
    pub const JOURNAL_HEADER: &str = "bukti.journal-header.1";
    /// Signature of the server over a statement.
    pub const STATEMENT: &str = "bukti.statement.1";
    /// Digest of the confirmed heads of one document.
    pub const DIGEST: &str = "bukti.digest.1";
    /// Stored form of an invitation secret.
    pub const INVITATION: &str = "bukti.invitation.1";
    /// Signature of a device over a challenge.
    pub const CHALLENGE: &str = "bukti.challenge.1";
    /// Signature of a device over its enrolment.
    pub const ENROLMENT: &str = "bukti.enrolment.1";
    /// Key of session tokens, derived from the server's key.
    pub const TOKEN: &str = "bukti.token.1";
    /// Name of an item that travels in fragments.
    pub const ITEM: &str = "bukti.item.1";
    /// The incarnation that follows another without a random draw.
    pub const INCARNATION: &str = "bukti.incarnation.1";
    /// The incarnation of what is entered again in place of a run, from the run's name.
    pub const ENTERED_AGAIN: &str = "bukti.entered-again.1";
    /// Fingerprint of a set of concurrent values.
    pub const CONFLICT: &str = "bukti.conflict.1";
    /// Sum of a device's identity file.
    pub const IDENTITY: &str = "bukti.identity.1";
    /// Sum of a file that keeps a refused run.
    pub const QUARANTINE: &str = "bukti.quarantine.2";
}

/// A SHA-256 under construction for one domain.
#[derive(Debug, Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Starts a hash for `domain`, one of [`domain`]'s texts.
    pub fn new(domain: &str) -> Self {
        let length = u8::try_from(domain.len()).expect("domains are short constants");
        let mut hasher = Sha256::new();
        hasher.update([length]);
        hasher.update(domain.as_bytes());
        Self(hasher)
    }

    /// Adds a part whose length is fixed by its meaning.
    #[must_use]
    pub fn fixed(mut self, part: &[u8]) -> Self {
        self.0.update(part);
        self
    }

    /// Adds a part of variable length, preceded by that length.
    #[must_use]
    pub fn variable(mut self, part: &[u8]) -> Self {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// The 32 bytes of the hash.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// The first 16 bytes of the hash.
    pub fn finish_16(self) -> [u8; 16] {
        let mut short = [0; 16];
        short.copy_from_slice(&self.finish()[..16]);
        short
    }
}

/// What is signed for `domain`: the domain with its length, then the message.
pub fn signing_bytes(domain: &str, message: &[u8]) -> Vec<u8> {
    let length = u8::try_from(domain.len()).expect("domains are short constants");
    let mut bytes = Vec::with_capacity(1 + domain.len() + message.len());
    bytes.push(length);
    bytes.extend_from_slice(domain.as_bytes());
    bytes.extend_from_slice(message);
    bytes
}
