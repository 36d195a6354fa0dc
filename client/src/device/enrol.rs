//! From an invitation to an enrolled device.

use std::sync::Arc;

use bukti_core::id::{Incarnation, ServerId};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_sync_protocol::link::InvitationLink;
use ed25519_dalek::SigningKey;

use super::aside::{self, TAIL_MISSING_MARK};
use super::confirmed::Confirmed;
use super::identity::{self, Found};
use super::tail::{Tail, TailError};
use super::{Device, DeviceError, Folders, IdentityError, file};

/// The device is enrolled elsewhere and holds what only that server may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtherServer {
    /// Work that was not sent.
    #[error(
        "{unsent} edits are not yet received by {url}: sync there first, or enrol in another data \
         folder"
    )]
    Unsent {
        /// Runs that wait.
        unsent: usize,
        /// The server they wait for.
        url: String,
    },
    /// Evidence that this server lost or did not take back.
    #[error(
        "{url} lost records, and what this folder holds may be the last copy of some: sync there until \
         it says 'Up to date', or enrol in another data folder"
    )]
    MayBeLacking {
        /// The server that lost it.
        url: String,
    },
}

/// A folder with a key, about to use an invitation.
#[derive(Debug)]
pub struct Applicant<S: Storage> {
    folders: Folders<S>,
    key: SigningKey,
    url: String,
    server: ServerId,
}

/// What a server answers to an enrolment.
#[derive(Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The journal's first record.
    pub journal: Vec<u8>,
    /// The record with the certificate.
    pub certificate: Vec<u8>,
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Enrolment(..)")
    }
}

impl<S: Storage> Applicant<S> {
    /// Prepares a folder for an invitation; its key is on the disk when this returns.
    ///
    /// `seed` becomes the key unless the folder has one: a folder that is enrolled already keeps
    /// its key, its unsent work and its quarantine.
    ///
    /// # Errors
    /// [`DeviceError::OtherServer`] where unsent work belongs to another server, or what cannot be
    /// read or written.
    pub fn open(
        folders: Folders<S>,
        link: &InvitationLink,
        seed: [u8; 32],
    ) -> Result<Self, DeviceError> {
        let found = identity::load(&*folders.home)?;
        if let Found::Enrolled(identity) = &found
            && identity.server() != link.server
        {
            refuse_unsent(&folders, identity.url())?;
        }
        let key = match found.key() {
            Some(key) => key.clone(),
            None => {
                let key = SigningKey::from_bytes(&seed);
                identity::keep_key(&*folders.home, &key)?;
                key
            }
        };
        Ok(Self {
            folders,
            key,
            url: link.url.clone(),
            server: link.server,
        })
    }

    /// The key that the server is to certify. It stays within this process.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Looks whether the folder may leave its server, before an invitation is used for it.
    ///
    /// # Errors
    /// [`DeviceError::OtherServer`] where its server lost records of which `kv`, the confirmed store,
    /// may hold the last copy, or what cannot be read.
    pub fn check<K: Kv>(&self, kv: &K) -> Result<(), DeviceError> {
        match identity::load(&*self.folders.home)? {
            Found::Enrolled(identity) if identity.server() != self.server => {
                refuse_lacking(kv, identity.url())
            }
            Found::Nothing | Found::Key(_) | Found::Enrolled(_) => Ok(()),
        }
    }

    /// Keeps what the server answered and opens the device, as [`Applicant::keep`] and [`Device::open`]
    /// do one after the other.
    ///
    /// # Errors
    /// As both of them.
    pub fn finish<K: Kv>(
        self,
        kv: K,
        enrolment: &Enrolment,
        incarnation: Incarnation,
    ) -> Result<Device<S, K>, DeviceError> {
        let folders = self.keep(&kv, enrolment, incarnation)?;
        Device::open(folders, kv)
    }

    /// Keeps what the server answered. The folders that it answers are those of an enrolled device, even
    /// where that opens with another store only; after an error they belong to whom they did before.
    ///
    /// `kv` is the confirmed store. `incarnation` is drawn by the caller and used where the folder has
    /// no life of its own for this journal yet.
    ///
    /// # Errors
    /// [`super::IdentityError::Answer`] if a statement does not hold,
    /// [`DeviceError::OtherServer`] as in [`Applicant::open`] and [`Applicant::check`], or what cannot
    /// be read or written.
    pub fn keep<K: Kv>(
        self,
        kv: &K,
        enrolment: &Enrolment,
        incarnation: Incarnation,
    ) -> Result<Folders<S>, DeviceError> {
        let former = match identity::load(&*self.folders.home)? {
            Found::Enrolled(identity) => Some(identity),
            Found::Nothing | Found::Key(_) => None,
        };
        let mut answer = identity::Answer {
            url: &self.url,
            server: self.server,
            journal_statement: &enrolment.journal,
            certificate: &enrolment.certificate,
            former: &[],
        };
        let next = identity::check(&self.key, &answer)?;
        let known = former.as_ref();
        let carried = known.map_or_else(Vec::new, |known| identity::former_of(known, &next));
        answer.former = &carried;
        let is_enrolled = former.is_some();
        let left = former.filter(|former| former.journal() != next.journal());
        // A server that was founded anew is given back what it had, as one that lets a device in again.
        let is_elsewhere = left
            .as_ref()
            .is_some_and(|left| left.server() != next.server());
        if let Some(left) = left.as_ref().filter(|_| is_elsewhere) {
            refuse_unsent(&self.folders, left.url())?;
            refuse_lacking(kv, left.url())?;
        }
        if is_enrolled {
            mark_missing_tail(&self.folders)?;
        }
        let tail = Arc::clone(&self.folders.tail);
        let mut tail = Tail::open_or_create(tail, incarnation)?;
        if left.is_some() {
            tail.renew(incarnation, is_elsewhere)?;
        }
        drop(tail);
        identity::keep(&*self.folders.home, &self.key, &answer)?;
        Ok(self.folders)
    }
}

fn refuse_unsent<S: Storage>(folders: &Folders<S>, url: &str) -> Result<(), DeviceError> {
    let unsent = match Tail::open(Arc::clone(&folders.tail)) {
        Ok(tail) => tail.map_or(0, |(tail, _)| tail.pending().len()),
        // Nothing of it can be sent anywhere.
        Err(TailError::Beginning { .. }) => 0,
        Err(error) => return Err(error.into()),
    };
    if unsent > 0 {
        let url = url.to_owned();
        return Err(OtherServer::Unsent { unsent, url }.into());
    }
    Ok(())
}

/// Notes that the tail of an enrolled device is gone, before another begins: nothing else would tell.
fn mark_missing_tail<S: Storage>(folders: &Folders<S>) -> Result<(), DeviceError> {
    if let Ok(None) = Tail::open(Arc::clone(&folders.tail)) {
        let sentence = aside::tail_missing_sentence();
        file::replace(&*folders.home, TAIL_MISSING_MARK, sentence.as_bytes())
            .map_err(IdentityError::from)?;
    }
    Ok(())
}

fn refuse_lacking<K: Kv>(kv: &K, url: &str) -> Result<(), DeviceError> {
    if Confirmed::awaits_return(kv)? {
        let url = url.to_owned();
        return Err(OtherServer::MayBeLacking { url }.into());
    }
    Ok(())
}
