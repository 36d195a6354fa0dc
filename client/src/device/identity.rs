//! Who this device is, and where it is enrolled.
//!
//! The key is on the disk before the server hears of it: an enrolment that is cut after the server
//! wrote it down is taken up again with the same key.

use bukti_core::envelope::decode_exactly;
use bukti_core::hash::{Hasher, domain};
use bukti_core::id::{DeviceId, JournalId, ServerId, WallMs};
use bukti_core::journal::Storage;
use bukti_core::record::{Certificate, Fact, Signed};
use ed25519_dalek::SigningKey;
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use super::file::{self, FileError};
use crate::limits::{FORMER_JOURNALS_MAX, IDENTITY_BYTES_MAX};

const NAME: &str = "identity.cbor";
const FORMAT: u32 = 1;

/// The file, one CBOR map.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    format: u32,
    #[cbor(n(1), with = "minicbor::bytes")]
    seed: [u8; 32],
    #[n(2)]
    enrolment: Option<StoredEnrolment>,
    /// Over the other values, as they are written without it. Files of before have none. No one
    /// flipped bit makes another's number of this one or this one of another's.
    #[n(7)]
    sum: Option<ByteArray<32>>,
}

impl Stored {
    fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to a vector cannot fail")
    }

    /// With the sum over everything else.
    fn summed(self) -> Self {
        let plain = Self { sum: None, ..self };
        let hasher = Hasher::new(domain::IDENTITY).variable(&plain.to_bytes());
        let sum = Some(hasher.finish().into());
        Self { sum, ..plain }
    }
}

#[derive(Clone, Encode, Decode)]
#[cbor(map)]
struct StoredEnrolment {
    #[n(0)]
    url: String,
    #[n(1)]
    server: ServerId,
    #[cbor(n(2), with = "minicbor::bytes")]
    journal_statement: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    certificate: Vec<u8>,
    /// Journals that this server had before, the first one first.
    #[cbor(n(4), default)]
    former: Vec<JournalId>,
}

/// Why there is no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not one of this version's.
    #[error("{NAME} is damaged: {0}")]
    Damaged(String),
    /// A statement is not what the server named in the link signed.
    #[error("the server's answer does not hold: {0}")]
    Answer(String),
}

/// What an enrolled device knows of itself. The key never leaves it.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
    url: String,
    server: ServerId,
    journal: JournalId,
    certificate: Certificate,
    enrolled_at: WallMs,
    stored: StoredEnrolment,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("device", &self.device())
            .field("url", &self.url)
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// This device.
    pub fn device(&self) -> DeviceId {
        device_of(&self.key)
    }

    /// The person who holds it, as its certificate says.
    pub fn person(&self) -> &str {
        &self.certificate.person
    }

    /// What the server certified when it was enrolled.
    pub(super) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The address of its server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its server.
    pub fn server(&self) -> ServerId {
        self.server
    }

    /// The journal in which it is enrolled.
    pub fn journal(&self) -> JournalId {
        self.journal
    }

    /// Journals that its server had before.
    pub(super) fn former_journals(&self) -> &[JournalId] {
        &self.stored.former
    }

    /// The record with its certificate, as the server signed it.
    pub(super) fn certificate_record(&self) -> &[u8] {
        &self.stored.certificate
    }

    /// When it was enrolled, by the server's clock.
    pub fn enrolled_at(&self) -> WallMs {
        self.enrolled_at
    }

    pub(super) fn key(&self) -> &SigningKey {
        &self.key
    }
}

/// What the folder says of the device.
pub(super) enum Found {
    Nothing,
    /// A key that is not enrolled yet.
    Key(Box<SigningKey>),
    Enrolled(Box<Identity>),
}

impl Found {
    pub(super) fn key(&self) -> Option<&SigningKey> {
        match self {
            Self::Nothing => None,
            Self::Key(key) => Some(key),
            Self::Enrolled(identity) => Some(&identity.key),
        }
    }
}

pub(super) fn load<S: Storage>(home: &S) -> Result<Found, IdentityError> {
    file::settle_names(home)?;
    let Some(bytes) = file::read(home, NAME, IDENTITY_BYTES_MAX)? else {
        return Ok(Found::Nothing);
    };
    let stored: Stored =
        decode_exactly(&bytes).map_err(|error| IdentityError::Damaged(error.to_string()))?;
    if stored.format != FORMAT {
        let text = format!("format {} instead of {FORMAT}", stored.format);
        return Err(IdentityError::Damaged(text));
    }
    if stored.sum.is_some() && stored.clone().summed().to_bytes() != bytes {
        return Err(IdentityError::Damaged(
            "it is not as it was written; put it back from a copy of this folder, or enrol in a new \
             folder and have this device revoked"
                .into(),
        ));
    }
    let key = SigningKey::from_bytes(&stored.seed);
    let Some(enrolment) = stored.enrolment else {
        return Ok(Found::Key(Box::new(key)));
    };
    let identity = read_enrolment(key, &enrolment).map_err(IdentityError::Damaged)?;
    Ok(Found::Enrolled(Box::new(identity)))
}

/// Keeps a key that no server knows yet.
pub(super) fn keep_key<S: Storage>(home: &S, key: &SigningKey) -> Result<(), IdentityError> {
    write(home, key, None)
}

/// What a server answered to an enrolment.
pub(super) struct Answer<'a> {
    pub(super) url: &'a str,
    pub(super) server: ServerId,
    pub(super) journal_statement: &'a [u8],
    pub(super) certificate: &'a [u8],
    /// Journals that the same server had before.
    pub(super) former: &'a [JournalId],
}

/// Checks what the server answered.
pub(super) fn check(key: &SigningKey, answer: &Answer<'_>) -> Result<Identity, IdentityError> {
    read_enrolment(key.clone(), &stored(answer)).map_err(IdentityError::Answer)
}

/// Keeps an answer that was checked.
pub(super) fn keep<S: Storage>(
    home: &S,
    key: &SigningKey,
    answer: &Answer<'_>,
) -> Result<(), IdentityError> {
    write(home, key, Some(stored(answer)))
}

fn stored(answer: &Answer<'_>) -> StoredEnrolment {
    StoredEnrolment {
        url: answer.url.to_owned(),
        server: answer.server,
        journal_statement: answer.journal_statement.to_vec(),
        certificate: answer.certificate.to_vec(),
        former: answer.former.to_vec(),
    }
}

/// The journals that a server had before it answers again, by what a device knows of it: what it holds
/// of them may be the last copy.
pub(super) fn former_of(known: &Identity, next: &Identity) -> Vec<JournalId> {
    if known.server != next.server {
        return Vec::new();
    }
    let known = known.stored.former.iter().chain([&known.journal]);
    let mut former: Vec<JournalId> = known.copied().collect();
    former.retain(|journal| *journal != next.journal);
    former.drain(..former.len().saturating_sub(FORMER_JOURNALS_MAX));
    former
}

/// Checks that a journal is the server's by its first record, signed with the server's key, and
/// answers the identity under it. The certificate stays that of the journal in which the device was
/// enrolled.
pub(super) fn check_move(
    identity: &Identity,
    journal_statement: &[u8],
) -> Result<Identity, IdentityError> {
    let mut stored = identity.stored.clone();
    stored.journal_statement = journal_statement.to_vec();
    stored.former.push(identity.journal);
    if stored.former.len() > FORMER_JOURNALS_MAX {
        let certified = identity.certificate.journal;
        let other = stored.former.iter().position(|one| *one != certified);
        stored.former.remove(other.unwrap_or(0));
    }
    let moved = read_enrolment(identity.key.clone(), &stored).map_err(IdentityError::Answer)?;
    Ok(match moved.journal == identity.journal {
        true => identity.clone(),
        false => moved,
    })
}

/// Keeps an identity that was checked.
pub(super) fn keep_move<S: Storage>(home: &S, identity: &Identity) -> Result<(), IdentityError> {
    write(home, &identity.key, Some(identity.stored.clone()))
}

fn write<S: Storage>(
    home: &S,
    key: &SigningKey,
    enrolment: Option<StoredEnrolment>,
) -> Result<(), IdentityError> {
    let stored = Stored {
        format: FORMAT,
        seed: key.to_bytes(),
        enrolment,
        sum: None,
    };
    Ok(file::replace(home, NAME, &stored.summed().to_bytes())?)
}

fn read_enrolment(key: SigningKey, enrolment: &StoredEnrolment) -> Result<Identity, String> {
    let server = &enrolment.server;
    let first = Signed::open(&enrolment.journal_statement, server);
    let first = first.map_err(|error| format!("the journal's first record: {error}"))?;
    let signed = Signed::open(&enrolment.certificate, server);
    let signed = signed.map_err(|error| format!("the certificate: {error}"))?;
    let Fact::Journal(journal) = first.fact() else {
        return Err("the first statement does not name the journal".into());
    };
    let Fact::Enrolment(certificate) = signed.fact() else {
        return Err("the second statement is not a certificate".into());
    };
    if journal.server != *server {
        return Err("the journal belongs to another server".into());
    }
    if certificate.device != device_of(&key) {
        return Err("the certificate is for another device".into());
    }
    let of_former = enrolment.former.contains(&certificate.journal);
    if certificate.journal != journal.journal && !of_former {
        return Err("the certificate is for another journal".into());
    }
    Ok(Identity {
        key,
        url: enrolment.url.clone(),
        server: *server,
        journal: journal.journal,
        certificate: certificate.clone(),
        enrolled_at: signed.at(),
        stored: enrolment.clone(),
    })
}

pub(super) fn device_of(key: &SigningKey) -> DeviceId {
    DeviceId(key.verifying_key().to_bytes())
}

#[cfg(test)]
mod tests {
    use bukti_core::authority::Role;
    use bukti_core::journal::memory::MemoryStorage;

    use super::*;
    use crate::device::tests::world::{WARD, World};

    /// What a file says, or why it is refused.
    fn read(bytes: &[u8]) -> Result<String, String> {
        let home = MemoryStorage::new();
        home.set_content(NAME, bytes);
        match load(&home) {
            Err(error) => Err(error.to_string()),
            Ok(Found::Nothing) => panic!("there is a file"),
            Ok(Found::Key(key)) => Ok(format!("{:?}", key.to_bytes())),
            Ok(Found::Enrolled(identity)) => {
                let (key, former) = (identity.key.to_bytes(), identity.former_journals());
                let certificate = identity.certificate_record();
                Ok(format!("{identity:?} {key:?} {former:?} {certificate:?}"))
            }
        }
    }

    #[test]
    fn every_flipped_bit_of_an_identity_is_refused_or_means_the_same() {
        let mut world = World::new();
        let enrolled = world.phone("Siti", Role::Officer, WARD).home;
        let fresh = MemoryStorage::new();
        keep_key(&fresh, &SigningKey::from_bytes(&[3; 32])).unwrap();
        for home in [enrolled, fresh] {
            let sound = home.content(NAME).unwrap();
            let says = read(&sound).unwrap();
            let mut same = 0;
            for bit in 0..8 * sound.len() {
                let mut flipped = sound.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                match read(&flipped) {
                    Ok(other) => {
                        assert_eq!(other, says, "bit {bit}");
                        same += 1;
                    }
                    Err(text) => assert!(text.starts_with("identity.cbor is damaged: "), "{text}"),
                }
            }
            // Where the number of the sum is another, there is none.
            assert!(same < 8, "{same} flipped bits were read over");
        }
    }

    #[test]
    fn an_identity_of_before_is_read_and_has_a_sum_once_it_is_written_again() {
        let mut world = World::new();
        let phone = world.phone("Siti", Role::Officer, WARD);
        let sound = phone.home.content(NAME).unwrap();
        let mut stored: Stored = decode_exactly(&sound).unwrap();
        stored.sum = None;
        assert_eq!(read(&stored.to_bytes()), read(&sound));

        phone.home.set_content(NAME, &stored.to_bytes());
        let Found::Enrolled(identity) = load(&phone.home).unwrap() else {
            panic!("it is enrolled")
        };
        keep_move(&phone.home, &identity).unwrap();
        assert_eq!(phone.home.content(NAME).unwrap(), sound);
    }
}
