//! Statements the server signs: who may enrol, who did, what they may do, what they need to know.

use super::apply::framework_name;
use super::{Committed, Ledger, LedgerError, Room};
use crate::authority::Grant;
use crate::envelope::Seen;
use crate::framework::Framework;
use crate::id::{DeviceId, Position, WallMs};
use crate::journal::{JournalFailure, Storage};
use crate::kv::Kv;
use crate::limits;
use crate::record::{
    Certificate, Confirmation, Fact, Finding, FrameworkFact, GrantsFact, Invitation, Revocation,
    invitation_hash,
};
use crate::region::RegionImport;

/// Why a statement was not made.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// What was asked cannot be; the sentence says why.
    #[error("{0}")]
    Invalid(String),
    /// The disk is below its reserve; nothing was written.
    #[error("the disk is below its reserve; nothing was written")]
    Full,
    /// The ledger ended.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What a device is given when it is enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The device.
    pub device: DeviceId,
    /// Position of its certificate.
    pub position: Position,
    /// The journal's first record.
    pub founding_record: Vec<u8>,
    /// The signed certificate, as a record.
    pub certificate: Vec<u8>,
}

/// Why a device is not enrolled, as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnrolRefusal {
    /// There is no such invitation.
    #[error("the invitation is not known")]
    Unknown,
    /// The device is somebody else's already.
    #[error(
        "the device is enrolled for somebody else; whoever takes it over enrols with a data folder \
         of their own"
    )]
    Taken,
    /// Its time has passed.
    #[error("the invitation has expired")]
    Expired,
    /// The server lost records since it was made, and with them perhaps its use.
    #[error("the invitation is older than a loss of records and may have been used")]
    Void,
    /// Another device used it.
    #[error("the invitation was used by another device")]
    Used,
    /// The device was revoked; a new start needs a new key.
    #[error("the device was revoked")]
    Revoked,
    /// What the device shows is not its certificate by this server.
    #[error("what the device shows is not its certificate by this server")]
    Certificate,
    /// The disk is below its reserve.
    #[error("the disk is below its reserve; nothing was written")]
    Full,
}

/// Why a device is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The device is told so.
    #[error(transparent)]
    Refused(#[from] EnrolRefusal),
    /// The ledger ended.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl<S: Storage, K: Kv> Ledger<S, K> {
    /// Lets somebody enrol one device. The secret stays with the caller; its hash is kept.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] if name, grants or time are not usable or the secret was used.
    pub fn invite(&mut self, now: WallMs, invitation: Invitation) -> Result<Position, AdminError> {
        self.alive()?;
        check_person(&invitation.person)?;
        check_grants(&invitation.grants)?;
        if invitation.expires_at <= now {
            return Err(AdminError::Invalid(
                "an invitation has to last beyond the present moment".into(),
            ));
        }
        let known = self.read(|reader| reader.invitation(&invitation.hash))?;
        if known.is_some() {
            return Err(AdminError::Invalid(
                "the secret of the invitation was used before; draw another".into(),
            ));
        }
        self.state(now, vec![Fact::Invitation(invitation)])
    }

    /// Enrols the device that shows an invitation's secret. Once it returns, the certificate is on
    /// disk. A device that asks again gets the certificate it has; one that is enrolled and
    /// shows another invitation for the same person gets a certificate that replaces the grants.
    ///
    /// # Errors
    /// [`EnrolRefusal`], to be told to the device.
    pub fn enrol(
        &mut self,
        now: WallMs,
        secret: &[u8; 16],
        device: DeviceId,
    ) -> Result<Enrolled, EnrolError> {
        self.alive()?;
        let hash = invitation_hash(secret);
        let invitation = self.read(|reader| reader.invitation(&hash))?;
        let invitation = invitation.ok_or(EnrolRefusal::Unknown)?;
        let enrolled = self.read(|reader| reader.device(&device))?;
        let revoked_at = match &enrolled {
            Some(row) => row.revoked_at,
            None => self.read(|reader| reader.revocation_awaiting(&device))?,
        };
        if revoked_at.is_some() {
            return Err(EnrolRefusal::Revoked.into());
        }
        match (invitation.used_by, &enrolled) {
            (None, _) => {}
            (Some(user), Some(row)) if user == device => {
                let place = row.certificate.place();
                let certificate = self.read(|reader| reader.statement_bytes(place))?;
                return Ok(self.enrolled(device, row.enrolled, certificate));
            }
            (Some(_), _) => return Err(EnrolRefusal::Used.into()),
        }
        // Everything that the device signed would be told as the other person's from then on.
        if enrolled.is_some_and(|row| row.person != invitation.person) {
            return Err(EnrolRefusal::Taken.into());
        }
        if now > invitation.expires_at {
            return Err(EnrolRefusal::Expired.into());
        }
        if self.read(|reader| reader.is_void(&invitation))? {
            return Err(EnrolRefusal::Void.into());
        }
        let fact = Fact::Enrolment(Certificate {
            device,
            person: invitation.person,
            grants: invitation.grants,
            journal: self.reader.journal(),
            invitation: hash,
        });
        let at = self.stating_time(now, &fact)?;
        let record = self.signed(at, fact);
        match self.commit(std::slice::from_ref(&record), &[], Room::Free)? {
            Committed::Full => Err(EnrolRefusal::Full.into()),
            Committed::At(position) => Ok(self.enrolled(device, position, record.to_bytes())),
        }
    }

    /// Replaces the grants of a device; none at all leaves it enrolled and reading nothing.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] if the device is not enrolled or was revoked, or the grants are
    /// not usable.
    pub fn grant(
        &mut self,
        now: WallMs,
        device: DeviceId,
        grants: Vec<Grant>,
    ) -> Result<Position, AdminError> {
        self.alive()?;
        if !grants.is_empty() {
            check_grants(&grants)?;
        }
        self.expect_standing(&device)?;
        self.state(now, vec![Fact::Grants(GrantsFact { device, grants })])
    }

    /// Ends a device: from here on it neither gives nor receives. What it gave stays. The reserve of the
    /// disk is there for it, since reads go on where nobody else may write.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] if the device is not enrolled or was revoked before.
    pub fn revoke(&mut self, now: WallMs, device: DeviceId) -> Result<Position, AdminError> {
        self.alive()?;
        self.expect_standing(&device)?;
        self.state_in(
            Room::Reserve,
            now,
            vec![Fact::Revocation(Revocation { device })],
        )
    }

    /// Gives a device good standing that was let in again by its certificate, or to which more is
    /// granted by what devices gave back: from here on it receives.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] if the device is not enrolled, was revoked, or is in good standing.
    pub fn confirm(&mut self, now: WallMs, device: DeviceId) -> Result<Position, AdminError> {
        self.alive()?;
        self.expect_standing(&device)?;
        let row = self.read(|reader| reader.device(&device))?;
        if row.is_some_and(|row| self.reader.is_confirmed(&row)) {
            return Err(AdminError::Invalid(format!(
                "device {device} is confirmed already"
            )));
        }
        self.state(now, vec![Fact::Confirmation(Confirmation { device })])
    }

    /// Notes that the journal was put back from a backup. Invitations in it that look unused may
    /// have been used in what came behind, so they are void.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn record_restore(&mut self, now: WallMs) -> Result<Position, AdminError> {
        self.alive()?;
        let (position, chain) = self.journal.head();
        self.state(now, vec![Fact::Restored(Seen { position, chain })])
    }

    /// Keeps what was found, once for each code, place, device and document, so that nobody can
    /// fill the journal with it. What happens again after somebody has looked into it is found
    /// again; what has a place and stays there is not. Gives its position, or nothing if it is kept already or the
    /// disk has no room at all.
    ///
    /// # Errors
    /// [`LedgerError::Failed`] if journal or store failed.
    pub fn find(&mut self, now: WallMs, finding: Finding) -> Result<Option<Position>, LedgerError> {
        self.alive()?;
        if self.read(|reader| reader.knows_finding(&finding))? {
            return Ok(None);
        }
        match self.record_finding(now, finding) {
            Ok(position) => Ok(Some(position)),
            Err(AdminError::Full | AdminError::Invalid(_)) => Ok(None),
            Err(AdminError::Ledger(error)) => Err(error),
        }
    }

    /// Appends nothing more to a segment of the journal that is damaged, so that what is accepted
    /// from here on stands in another, and the journal can be opened again.
    ///
    /// # Errors
    /// [`LedgerError`]. A full disk is none.
    pub fn leave_segment(&mut self, number: u32) -> Result<bool, LedgerError> {
        self.alive()?;
        match self.journal.leave_segment(number) {
            Ok(left) => Ok(left),
            Err(JournalFailure::Full { .. }) => Ok(false),
            Err(error) => Err(self.fail("begin a segment of the journal", error)),
        }
    }

    /// Imports a version of a framework. The same file again changes nothing.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] if the file is not a framework, or another file was imported under
    /// the same id and version.
    pub fn import_framework(
        &mut self,
        now: WallMs,
        name: &str,
        json: Vec<u8>,
    ) -> Result<Position, AdminError> {
        self.alive()?;
        if json.len() > limits::FRAMEWORK_BYTES_MAX {
            return Err(AdminError::Invalid(format!(
                "{name} has {} bytes, more than {}",
                json.len(),
                limits::FRAMEWORK_BYTES_MAX
            )));
        }
        Framework::from_json(name, &json)
            .map_err(|error| AdminError::Invalid(error.to_string()))?;
        let fact = FrameworkFact { json };
        let unnamed = || AdminError::Invalid(format!("{name} has no id or no version"));
        let (id, version) = framework_name(&fact).ok_or_else(unnamed)?;
        let known = self.read(|reader| reader.framework(&id, &version))?;
        if let Some((position, place)) = known {
            let known = self.read(|reader| reader.statement(place))?;
            if *known.fact() == Fact::Framework(fact) {
                return Ok(position);
            }
            return Err(AdminError::Invalid(format!(
                "version {version} of {id} was imported before with other content; give the \
                 changed file another version"
            )));
        }
        self.state(now, vec![Fact::Framework(fact)])
    }

    /// Imports a list of regions: those of its sheets that differ from what is known. Gives the
    /// position of the last, or of the watermark where none differs.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn import_regions(
        &mut self,
        now: WallMs,
        import: RegionImport,
    ) -> Result<Position, AdminError> {
        self.alive()?;
        let mut facts = Vec::new();
        for sheet in import.into_sheets() {
            let known = match self.read(|reader| reader.regions(&sheet.parent))? {
                None => None,
                // A sheet that cannot be read any more is stated anew.
                Some((_, place)) => match self.read(|reader| reader.statement(place)) {
                    Ok(known) => Some(known),
                    Err(LedgerError::Read(_)) => None,
                    Err(error) => return Err(error.into()),
                },
            };
            let fact = Fact::Regions(sheet);
            if known.is_none_or(|known| *known.fact() != fact) {
                facts.push(fact);
            }
        }
        if facts.is_empty() {
            return Ok(self.reader.watermark().position);
        }
        self.state(now, facts)
    }

    /// Signs where the journal stands.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn checkpoint(&mut self, now: WallMs) -> Result<Position, AdminError> {
        self.alive()?;
        let (position, chain) = self.journal.head();
        self.state(now, vec![Fact::Checkpoint(Seen { position, chain })])
    }

    /// Keeps something that should not be, for administrators to see. The reserve of the disk is
    /// there for it: what went wrong is said while nobody else may write.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn record_finding(
        &mut self,
        now: WallMs,
        finding: Finding,
    ) -> Result<Position, AdminError> {
        self.alive()?;
        self.state_in(Room::Reserve, now, vec![Fact::Finding(finding)])
    }

    /// Signs a checkpoint if the last is long past. A full disk is no reason to fail: the next
    /// batch asks again.
    pub(super) fn checkpoint_if_due(&mut self, now: WallMs) -> Result<(), LedgerError> {
        let since = self.meta.applied.position - self.meta.checkpoint;
        if since < self.options.checkpoint_every {
            return Ok(());
        }
        match self.checkpoint(now) {
            Ok(_) | Err(AdminError::Full | AdminError::Invalid(_)) => Ok(()),
            Err(AdminError::Ledger(error)) => Err(error),
        }
    }

    /// Signs facts and records them in one group; gives the position of the last.
    fn state(&mut self, now: WallMs, facts: Vec<Fact>) -> Result<Position, AdminError> {
        self.state_in(Room::Free, now, facts)
    }

    fn state_in(
        &mut self,
        room: Room,
        now: WallMs,
        facts: Vec<Fact>,
    ) -> Result<Position, AdminError> {
        let mut records = Vec::with_capacity(facts.len());
        for fact in facts {
            let at = self.stating_time(now, &fact)?;
            records.push(self.signed(at, fact));
        }
        match self.commit(&records, &[], room)? {
            Committed::Full => Err(AdminError::Full),
            Committed::At(first) => Ok(first + records.len() as u64 - 1),
        }
    }

    fn expect_standing(&mut self, device: &DeviceId) -> Result<(), AdminError> {
        match self.read(|reader| reader.device(device))? {
            None => Err(AdminError::Invalid(format!(
                "device {device} is not enrolled"
            ))),
            Some(row) if row.revoked_at.is_some() => Err(AdminError::Invalid(format!(
                "device {device} was revoked before"
            ))),
            Some(_) => Ok(()),
        }
    }
}

fn check_person(person: &str) -> Result<(), AdminError> {
    let fits = !person.trim().is_empty()
        && person.len() <= limits::PERSON_BYTES_MAX
        && !person.contains(char::is_control);
    fits.then_some(()).ok_or_else(|| {
        AdminError::Invalid(format!(
            "a person's name has 1 to {} bytes on one line",
            limits::PERSON_BYTES_MAX
        ))
    })
}

fn check_grants(grants: &[Grant]) -> Result<(), AdminError> {
    let fits = !grants.is_empty() && grants.len() <= limits::GRANTS_MAX;
    fits.then_some(()).ok_or_else(|| {
        AdminError::Invalid(format!("a device has 1 to {} grants", limits::GRANTS_MAX))
    })
}
