//! What the journal holds: runs of changes, and statements signed by the server.
//!
//! ```text
//! record    = [ 0, run bytes, received_at ms, carrier device, returned ]     changes
//!           | [ 1, statement bytes, signature(64) ]                          server
//! statement = [ at ms, kind, … ]                                             CBOR
//! ```
//!
//! A record of changes keeps the run as received, and beside it what only the server knows. A
//! statement is signed by the server's key, so that a device can show it to anybody. The first
//! record of a journal is the statement that names the journal and its key.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::authority::Grant;
use crate::envelope::{EnvelopeError, Run, Seen, decode_exactly};
use crate::hash::{Hasher, domain, signing_bytes};
use crate::id::{DeviceId, DocumentId, JournalId, RunId, ServerId, WallMs};
use crate::limits;
use crate::region::RegionSheet;
use crate::scope::Scope;

/// One record of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A run that a device authored.
    Changes(Changes),
    /// What the server decided.
    Server(Signed),
}

/// A run and what only the server knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The run as received.
    pub run: Run,
    /// When the server's clock said it arrived.
    pub received_at: WallMs,
    /// Who carried it; often, not always, its author.
    pub carrier: DeviceId,
    /// Whether it was taken on the word of its carrier, a device in good standing, that it had been
    /// accepted before: then neither its author's grants nor revocation nor day counted.
    pub returned: bool,
}

/// A statement with the bytes that were signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    statement: Statement,
    bytes: Vec<u8>,
    signature: [u8; 64],
}

/// What a server states, with the time it did.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Statement {
    /// The server's clock.
    #[n(0)]
    pub at: WallMs,
    /// What is stated.
    #[n(1)]
    pub fact: Fact,
}

/// The kinds of statement.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Fact {
    /// First record: which journal this is and whose key signs.
    #[n(0)]
    Journal(#[n(0)] JournalFact),
    /// Somebody may enrol a device.
    #[n(1)]
    Invitation(#[n(0)] Invitation),
    /// A device was enrolled: its certificate.
    #[n(2)]
    Enrolment(#[n(0)] Certificate),
    /// A device's grants from here on.
    #[n(3)]
    Grants(#[n(0)] GrantsFact),
    /// A device may no longer give or receive.
    #[n(4)]
    Revocation(#[n(0)] Revocation),
    /// A framework, as imported.
    #[n(5)]
    Framework(#[n(0)] FrameworkFact),
    /// A sheet of an imported list of regions.
    #[n(6)]
    Regions(#[n(0)] RegionSheet),
    /// A unit belongs under another region from here on.
    #[n(7)]
    Move(#[n(0)] MoveFact),
    /// Position, chain and time, signed.
    #[n(8)]
    Checkpoint(#[n(0)] Seen),
    /// Something that should not be: kept, shown to administrators, never acted on by itself.
    #[n(9)]
    Finding(#[n(0)] Finding),
    /// A device that was let in again by its certificate is in good standing from here on.
    #[n(10)]
    Confirmation(#[n(0)] Confirmation),
    /// A statement of this server that its journal had lost, as a device gave it back.
    #[n(11)]
    Returned(#[n(0)] Returned),
    /// The journal goes on behind this place after a restore or a loss: what else had followed it
    /// may be lost.
    #[n(12)]
    Restored(#[n(0)] Seen),
}

/// The journal's own name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JournalFact {
    /// The journal.
    #[n(0)]
    pub journal: JournalId,
    /// The key that signs all of it.
    #[n(1)]
    pub server: ServerId,
}

/// A one-time permission to enrol. Only a hash of the secret is kept.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Invitation {
    /// [`invitation_hash`] of the secret.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub hash: [u8; 32],
    /// Who is invited.
    #[n(1)]
    pub person: String,
    /// What the device will be allowed.
    #[n(2)]
    pub grants: Vec<Grant>,
    /// Until when, by the server's clock.
    #[n(3)]
    pub expires_at: WallMs,
}

/// Which person holds which device, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Certificate {
    /// The device.
    #[n(0)]
    pub device: DeviceId,
    /// Who holds it.
    #[n(1)]
    pub person: String,
    /// What it may do from here on.
    #[n(2)]
    pub grants: Vec<Grant>,
    /// The journal in which it is enrolled.
    #[n(3)]
    pub journal: JournalId,
    /// The invitation that was used.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub invitation: [u8; 32],
}

/// The grants that replace a device's earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GrantsFact {
    /// The device.
    #[n(0)]
    pub device: DeviceId,
    /// All of its grants.
    #[n(1)]
    pub grants: Vec<Grant>,
}

/// The end of a device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Revocation {
    /// The device.
    #[n(0)]
    pub device: DeviceId,
}

/// A framework file.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FrameworkFact {
    /// The file as imported, checked by [`crate::framework`].
    #[cbor(n(0), with = "minicbor::bytes")]
    pub json: Vec<u8>,
}

/// A unit's move to another region.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MoveFact {
    /// The unit.
    #[n(0)]
    pub unit: Scope,
    /// What it belongs under from here on.
    #[n(1)]
    pub parent: Scope,
}

/// Something that should not be.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Finding {
    /// A word for programs, such as `fork`.
    #[n(0)]
    pub code: String,
    /// A sentence for people.
    #[n(1)]
    pub sentence: String,
    /// The device concerned.
    #[n(2)]
    pub device: Option<DeviceId>,
    /// The document concerned.
    #[n(3)]
    pub document: Option<DocumentId>,
    /// The run concerned.
    #[n(4)]
    pub run: Option<RunId>,
    /// Where in the server's files it is.
    #[n(5)]
    pub place: Option<String>,
}

/// A device's good standing.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Confirmation {
    /// The device.
    #[n(0)]
    pub device: DeviceId,
}

/// A statement that came back.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Returned {
    /// The device that gave it back.
    #[n(0)]
    pub by: DeviceId,
    /// The record of the statement, as it was signed then.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub statement: Vec<u8>,
}

/// The stored form of an invitation secret.
pub fn invitation_hash(secret: &[u8; 16]) -> [u8; 32] {
    Hasher::new(domain::INVITATION).fixed(secret).finish()
}

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not the CBOR of a record, or of a kind this version does not know.
    #[error("not a journal record: {0}")]
    Malformed(String),
    /// The run inside cannot be read.
    #[error("the run in the record cannot be read")]
    Run(#[source] EnvelopeError),
    /// A statement that the server's key did not sign.
    #[error("the statement is not signed by the server")]
    Signature,
}

impl Signed {
    /// Signs a statement.
    pub fn new(statement: Statement, key: &SigningKey) -> Self {
        let bytes = minicbor::to_vec(&statement).expect("writing to a vector cannot fail");
        let signature = key
            .sign(&signing_bytes(domain::STATEMENT, &bytes))
            .to_bytes();
        Self {
            statement,
            bytes,
            signature,
        }
    }

    /// Reads a statement that came from outside and checks that `server` signed it.
    ///
    /// # Errors
    /// [`RecordError`] if it is malformed or signed by somebody else.
    pub fn open(bytes: &[u8], server: &ServerId) -> Result<Self, RecordError> {
        match Record::from_bytes(bytes)? {
            Record::Server(signed) => {
                signed.verify(server)?;
                Ok(signed)
            }
            Record::Changes(_) => Err(RecordError::Malformed("not a statement".into())),
        }
    }

    /// Checks that `server` signed the statement.
    ///
    /// # Errors
    /// [`RecordError::Signature`] if not.
    pub fn verify(&self, server: &ServerId) -> Result<(), RecordError> {
        let key = VerifyingKey::from_bytes(&server.0).map_err(|_| RecordError::Signature)?;
        key.verify_strict(
            &signing_bytes(domain::STATEMENT, &self.bytes),
            &Signature::from_bytes(&self.signature),
        )
        .map_err(|_| RecordError::Signature)
    }

    /// The statement as the journal keeps it and as it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        let parts = ServerParts {
            tag: SERVER,
            statement: self.bytes.clone().into(),
            signature: self.signature.to_vec().into(),
        };
        minicbor::to_vec(parts).expect("writing to a vector cannot fail")
    }

    /// What was stated first: the statement inside one that says it was returned, or itself.
    ///
    /// # Errors
    /// [`RecordError`] if what is inside is no statement.
    pub fn into_original(self) -> Result<Self, RecordError> {
        let Fact::Returned(returned) = &self.statement.fact else {
            return Ok(self);
        };
        match Record::from_bytes(&returned.statement)? {
            Record::Server(original) => Ok(original),
            Record::Changes(_) => Err(RecordError::Malformed("not a statement".into())),
        }
    }

    /// What is stated.
    pub fn fact(&self) -> &Fact {
        &self.statement.fact
    }

    /// When, by the server's clock.
    pub fn at(&self) -> WallMs {
        self.statement.at
    }
}

const CHANGES: u8 = 0;
const SERVER: u8 = 1;

#[derive(Encode, Decode)]
#[cbor(array)]
struct ChangesParts {
    #[n(0)]
    tag: u8,
    #[n(1)]
    run: ByteVec,
    #[n(2)]
    received_at: WallMs,
    #[n(3)]
    carrier: DeviceId,
    /// Left out where it is not so, as by all journals from before it could be.
    #[n(4)]
    returned: Option<bool>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct ServerParts {
    #[n(0)]
    tag: u8,
    #[n(1)]
    statement: ByteVec,
    #[n(2)]
    signature: ByteVec,
}

impl Record {
    /// The record as the journal keeps it and as statements travel.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Changes(changes) => minicbor::to_vec(ChangesParts {
                tag: CHANGES,
                run: changes.run.to_bytes().into(),
                received_at: changes.received_at,
                carrier: changes.carrier,
                returned: changes.returned.then_some(true),
            })
            .expect("writing to a vector cannot fail"),
            Self::Server(signed) => signed.to_bytes(),
        }
    }

    /// Reads a record out of our own journal. Signatures were checked on the way in and can be
    /// checked again with [`Signed::verify`] and [`crate::envelope::Envelope::open`].
    ///
    /// # Errors
    /// [`RecordError`] if the bytes are not a record.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        let malformed = |error: minicbor::decode::Error| RecordError::Malformed(error.to_string());
        if bytes.len() > limits::RECORD_BYTES_MAX {
            return Err(RecordError::Malformed("longer than any record".into()));
        }
        match tag(bytes).map_err(malformed)? {
            CHANGES => {
                let parts: ChangesParts = decode_exactly(bytes).map_err(malformed)?;
                let run = Run::open_stored(&parts.run).map_err(RecordError::Run)?;
                Ok(Self::Changes(Changes {
                    run,
                    received_at: parts.received_at,
                    carrier: parts.carrier,
                    returned: parts.returned.unwrap_or(false),
                }))
            }
            SERVER => {
                let parts: ServerParts = decode_exactly(bytes).map_err(malformed)?;
                let statement = decode_exactly(&parts.statement).map_err(malformed)?;
                let signature = parts.signature[..]
                    .try_into()
                    .map_err(|_| RecordError::Malformed("the signature is not 64 bytes".into()))?;
                Ok(Self::Server(Signed {
                    statement,
                    bytes: parts.statement.into(),
                    signature,
                }))
            }
            other => Err(RecordError::Malformed(format!(
                "record of unknown kind {other}"
            ))),
        }
    }
}

fn tag(bytes: &[u8]) -> Result<u8, minicbor::decode::Error> {
    let mut decoder = minicbor::Decoder::new(bytes);
    decoder.array()?;
    decoder.u8()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_proves_who_signed_it() {
        let key = SigningKey::from_bytes(&[8; 32]);
        let server = ServerId(key.verifying_key().to_bytes());
        let fact = Fact::Revocation(Revocation {
            device: DeviceId([1; 32]),
        });
        let signed = Signed::new(Statement { at: 5, fact }, &key);
        let bytes = Record::Server(signed.clone()).to_bytes();
        assert_eq!(Signed::open(&bytes, &server), Ok(signed));
        assert_eq!(
            Signed::open(&bytes, &ServerId([1; 32])),
            Err(RecordError::Signature)
        );
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Signed::open(&flipped, &server).is_err(), "bit {bit}");
        }
    }
    #[test]
    fn a_run_is_no_statement_of_a_server() {
        let mut phone = crate::ledger::testing::Phone::new(1);
        let run = phone.create("13.76.01.1001").1.into_run();
        let record = Record::Changes(Changes {
            run,
            received_at: 5,
            carrier: phone.id(),
            returned: false,
        });
        let refused = Signed::open(&record.to_bytes(), &ServerId([1; 32]));
        assert!(matches!(refused, Err(RecordError::Malformed(_))));
    }

    #[test]
    fn a_record_has_a_bounded_number_of_bytes() {
        let key = SigningKey::from_bytes(&[8; 32]);
        let stated = |length: usize| {
            let fact = Fact::Returned(Returned {
                by: DeviceId([1; 32]),
                statement: vec![7; length],
            });
            Signed::new(Statement { at: 5, fact }, &key).to_bytes()
        };
        assert!(Record::from_bytes(&stated(1_000_000)).is_ok());
        let longer = stated(limits::RECORD_BYTES_MAX);
        assert!(matches!(
            Record::from_bytes(&longer),
            Err(RecordError::Malformed(_))
        ));
    }
}
