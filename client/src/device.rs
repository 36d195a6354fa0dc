//! One person's evidence on one device: identity, unsent work, what is confirmed, what was refused.
//!
//! ```text
//! home/        identity.cbor                          the key and where it is enrolled
//! tail/        segments                               own runs until the feed names them
//! quarantine/  one file for each refused run
//! a Kv         documents, envelopes, facts, cursor    may be lost; the feed brings it again
//! ```
//!
//! What a person sees is *confirmed + tail*, computed. [`Device::create`] and [`Device::edit`]
//! return once the run is on the disk. [`Device::opening`], [`Device::offers`] and
//! [`Device::handle_event`] are the device's side of a sync session; whoever drives them owns the
//! socket, the clock and the randomness.
//!
//! After any error other than a refusal of what was asked, the device is dropped and opened again:
//! what is on the disk then counts.

mod aside;
mod comparing;
mod confirmed;
mod edit;
mod enrol;
mod facts;
mod file;
mod giving;
mod identity;
mod losing;
mod page;
mod quarantine;
mod restage;
mod stale;
mod sync;
mod tail;
mod view;
mod views;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use automerge::Automerge;
use bukti_core::authority::{Denied, Grant};
use bukti_core::evidence::EditError;
use bukti_core::framework::Framework;
use bukti_core::id::{DeviceId, DocumentId, Incarnation, RunId};
use bukti_core::journal::disk::DiskStorage;
use bukti_core::journal::{JournalFailure, Storage};
use bukti_core::kv::Kv;
use bukti_core::placement::Placements;
use bukti_core::region::Regions;

use self::aside::Aside;
pub use self::aside::{DAMAGED_STORE, OTHER_STORE, STORE_DAMAGED, STORE_SET_ASIDE, TAIL_MISSING};
pub use self::comparing::{Compare, Survived};
use self::confirmed::Confirmed;
pub use self::confirmed::{ConfirmedError, Finding};
pub use self::enrol::{Applicant, Enrolment, OtherServer};
pub use self::facts::Member;
pub use self::file::FileError;
pub use self::identity::{Identity, IdentityError};
use self::quarantine::Quarantine;
pub use self::quarantine::{QuarantineError, Quarantined, RefusedEdits};
use self::sync::Session;
pub use self::sync::{PutOff, Reaction, Tally};
use self::tail::Tail;
pub use self::tail::TailError;
pub use self::views::{
    Author, ChangeRow, ConflictRow, ContributionRow, Delivery, Shown, Status, Summary, ValueRow,
};

/// The three folders whose content is never lost.
#[derive(Debug)]
pub struct Folders<S> {
    /// The identity.
    pub home: Arc<S>,
    /// Runs that wait.
    pub tail: Arc<S>,
    /// Runs that were refused.
    pub quarantine: Arc<S>,
}

impl<S> Clone for Folders<S> {
    fn clone(&self) -> Self {
        Self {
            home: Arc::clone(&self.home),
            tail: Arc::clone(&self.tail),
            quarantine: Arc::clone(&self.quarantine),
        }
    }
}

impl Folders<DiskStorage> {
    /// The folders inside `data`, made where they are missing; the folder above must exist.
    ///
    /// # Errors
    /// What the system says.
    pub fn on_disk(data: &Path) -> io::Result<Self> {
        Ok(Self {
            home: Arc::new(DiskStorage::open(data)?),
            tail: Arc::new(DiskStorage::open(data.join("tail"))?),
            quarantine: Arc::new(DiskStorage::open(data.join("quarantine"))?),
        })
    }
}

/// Why a device did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The folder belongs to no enrolled device yet.
    #[error("this device is not enrolled: open the invitation link first")]
    NotEnrolled,
    /// Unsent work would be orphaned.
    #[error(transparent)]
    OtherServer(#[from] OtherServer),
    /// The person's grants do not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// There is no such document here.
    #[error("there is no document {0} on this device")]
    UnknownDocument(DocumentId),
    /// The edit does not fit the document as it stands.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// Every server would refuse it.
    #[error("this cannot be sent to any server: {0}")]
    Unsendable(String),
    /// Refused edits cannot be made again on a document that is not here as it was.
    #[error(
        "evidence {0}, on which these edits build, is not on this device as it was then: sync once \
         this device may read it again or another device gave it back to the server, then enter them again"
    )]
    BaseMissing(DocumentId),
    /// There is no such refused run.
    #[error("there is no run {0} in quarantine")]
    UnknownQuarantined(RunId),
    /// The identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The folder of unsent work is gone. Enrolling again begins a new one.
    #[error("the folder of unsent work, 'tail', is missing or empty")]
    TailMissing,
    /// The tail failed.
    #[error(transparent)]
    Tail(#[from] TailError),
    /// The confirmed store failed; without it, everything it held comes again.
    #[error(transparent)]
    Confirmed(#[from] ConfirmedError),
    /// The quarantine failed.
    #[error(transparent)]
    Quarantine(#[from] QuarantineError),
    /// A document that was checked before cannot be read.
    #[error("document {document} cannot be read: {reason}")]
    Document {
        /// Which document.
        document: DocumentId,
        /// What went wrong.
        reason: String,
    },
}

impl DeviceError {
    /// Whether only what was asked is refused and the device goes on as before.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Denied(_)
            | Self::OtherServer(_)
            | Self::UnknownDocument(_)
            | Self::BaseMissing(_)
            | Self::Edit(_)
            | Self::Unsendable(_)
            | Self::UnknownQuarantined(_) => true,
            Self::Tail(TailError::Append(failure)) => match failure {
                JournalFailure::Full { .. } | JournalFailure::RecordTooLong { .. } => true,
                JournalFailure::NoRecords
                | JournalFailure::NotRemovable
                | JournalFailure::Storage(_) => false,
            },
            Self::NotEnrolled
            | Self::Identity(_)
            | Self::TailMissing
            | Self::Tail(_)
            | Self::Confirmed(_)
            | Self::Quarantine(_)
            | Self::Document { .. } => false,
        }
    }
}

/// An enrolled device with everything it keeps.
#[derive(Debug)]
pub struct Device<S: Storage, K: Kv> {
    home: Arc<S>,
    identity: Identity,
    tail: Tail<S>,
    confirmed: Confirmed<K>,
    quarantine: Quarantine<S>,
    /// What lies beside what is sound in the folders.
    aside: Vec<Aside>,
    /// Confirmed + tail, as far as it was asked for in this process.
    open: BTreeMap<DocumentId, Automerge>,
    grants: Vec<Grant>,
    placements: Placements,
    local_checks: bool,
    session: Session,
    tally: Tally,
}

impl<S: Storage, K: Kv> Device<S, K> {
    /// Opens an enrolled device after whatever happened to it.
    ///
    /// `kv` may be empty or older than the folders: the next session brings what it lacks.
    ///
    /// # Errors
    /// [`DeviceError::NotEnrolled`], or what cannot be read.
    pub fn open(folders: Folders<S>, kv: K) -> Result<Self, DeviceError> {
        let identity::Found::Enrolled(identity) = identity::load(&*folders.home)? else {
            return Err(DeviceError::NotEnrolled);
        };
        let (mut tail, opened) = Tail::open(folders.tail)?.ok_or(DeviceError::TailMissing)?;
        let mut confirmed = Confirmed::open(kv, identity.journal(), identity.former_journals())?;
        if confirmed.own_through(tail.incarnation()) < tail.settled_through() {
            // The store was thrown back behind runs whose bytes are gone from the tail. Until they
            // come again, an edit would repeat their sequence numbers under the same actor.
            // A feed that goes on from an earlier place would bring them in full to the new
            // incarnation; what else the store lost is found by comparing. That goes first: with a new
            // incarnation nothing says any more that the store was thrown back.
            confirmed.void_cursor()?;
            tail.start_over(tail.successor(), false)?;
        }
        let (quarantine, unusable) = Quarantine::open(folders.quarantine, tail.head())?;
        let cut = aside::cut_tails(&opened.recovery.side_files);
        let other = aside::in_home(file::names(&*folders.home).map_err(IdentityError::from)?);
        let mut device = Self {
            home: folders.home,
            grants: Vec::new(),
            placements: Placements::default(),
            quarantine,
            aside: cut.chain(unusable).chain(other).collect(),
            open: BTreeMap::new(),
            local_checks: true,
            session: Session::default(),
            tally: Tally::default(),
            identity: *identity,
            tail,
            confirmed,
        };
        device.note_entered_again(opened.replaced)?;
        device.settle_confirmed()?;
        device.read_receipts()?;
        device.read_grants()?;
        Ok(device)
    }

    /// Who this device is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// This device.
    pub fn id(&self) -> DeviceId {
        self.identity.device()
    }

    /// What its person may do, as last stated.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Where units stand that were moved.
    pub fn placements(&self) -> &Placements {
        &self.placements
    }

    /// The present life of its store.
    pub fn incarnation(&self) -> Incarnation {
        self.tail.incarnation()
    }

    /// Lets edits through that the person's grants do not allow, as a dishonest app would. The
    /// server refuses them. For tests and demonstrations.
    pub fn set_local_checks(&mut self, on: bool) {
        self.local_checks = on;
    }

    /// Who writes, or may write, in the device's scopes.
    ///
    /// # Errors
    /// The confirmed store failed.
    pub fn directory(&self) -> Result<BTreeMap<DeviceId, Member>, DeviceError> {
        Ok(self.confirmed.directory()?)
    }

    /// The frameworks in use.
    ///
    /// # Errors
    /// The confirmed store failed.
    pub fn frameworks(&self) -> Result<Vec<Framework>, DeviceError> {
        Ok(self.confirmed.frameworks()?)
    }

    /// The regions in and above the device's scopes.
    ///
    /// # Errors
    /// The confirmed store failed.
    pub fn regions(&self) -> Result<Regions, DeviceError> {
        Ok(self.confirmed.regions()?)
    }

    /// Whether the device is still to be used: after an error that is no refusal it is to be opened
    /// again, and whoever met one may not be who goes on with it.
    ///
    /// # Errors
    /// What failed.
    pub fn check(&self) -> Result<(), DeviceError> {
        Ok(self.tail.check()?)
    }

    fn read_receipts(&mut self) -> Result<(), DeviceError> {
        let mut receipts = BTreeMap::new();
        for pending in self.tail.pending() {
            let run = pending.id();
            let receipt = match self.confirmed.receipt(&run)? {
                // It stays in the tail for want of space, and nothing is awaited of it.
                None => self.confirmed.confirmed_at(&run)?.map(|_| 0),
                receipt => receipt,
            };
            receipts.extend(receipt.map(|position| (run, position)));
        }
        self.tail
            .set_received(|pending| receipts.get(&pending.id()).copied());
        Ok(())
    }

    fn read_grants(&mut self) -> Result<(), DeviceError> {
        let (certificate, at) = (self.identity.certificate(), self.identity.enrolled_at());
        self.grants = self.confirmed.grants_of(certificate, at)?;
        self.placements = self.confirmed.placements()?;
        Ok(())
    }

    /// Takes out of the tail what the confirmed store holds: a crash may come between the two.
    fn settle_confirmed(&mut self) -> Result<(), DeviceError> {
        let (mut settled, mut documents) = (Vec::new(), BTreeSet::new());
        let mut through = 0;
        for pending in self.tail.pending() {
            if let Some(position) = self.confirmed.confirmed_at(&pending.id())? {
                settled.push(pending.id());
                documents.insert(pending.document());
                through = through.max(position);
            }
        }
        // A run may have been confirmed at a position of a history that the server lost since.
        let through = through.min(self.confirmed.own_through(self.tail.incarnation()));
        self.tail
            .settle(settled, tail::Settled::Confirmed(through))?;
        for id in documents {
            self.remove_if_left(&id)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
