//! Values of the derived rows, and how they are written.
//!
//! Rows that exist once per record are fixed bytes; the others are CBOR. All of them can be
//! rebuilt, so the format changes by raising [`FORMAT`] and never migrates.

use minicbor::{Decode, Encode};

use super::keys;
use crate::authority::{Audience, Grant};
use crate::digest::Digest;
use crate::envelope::{DocumentKind, Seen, decode_exactly};
use crate::id::{ChangeHash, DeviceId, DocumentId, JournalId, Position, WallMs};
use crate::journal::Place;
use crate::placement::Placements;
use crate::scope::Scope;

/// Version of keys and rows. A store with another one is rebuilt.
pub(super) const FORMAT: u32 = 6;

/// What stands for it while rows are made anew.
pub(super) const UNFINISHED: u32 = 0;

/// Which journal the rows were made from, and how far.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct MetaRow {
    #[n(0)]
    pub(super) format: u32,
    #[n(1)]
    pub(super) journal: JournalId,
    #[n(2)]
    pub(super) applied: Seen,
    /// Position of the last checkpoint; 0 before the first.
    #[n(3)]
    pub(super) checkpoint: Position,
}

/// A document as the catalogue knows it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct DocumentRow {
    /// What it is.
    #[n(0)]
    pub kind: DocumentKind,
    /// Where it belongs.
    #[n(1)]
    pub scope: Scope,
    /// The device that created it.
    #[n(2)]
    pub creator: DeviceId,
    /// Confirmed heads, ascending.
    #[n(3)]
    pub heads: Vec<ChangeHash>,
    /// Position of its root: where it entered the audience `unit`.
    #[n(4)]
    pub entered_unit: Position,
    /// Position of its first run that says *publish*: where it entered the audience `all`.
    #[n(5)]
    pub entered_all: Option<Position>,
    /// Position of its last run.
    #[n(6)]
    pub last_position: Position,
    /// Runs it is made of.
    #[n(7)]
    pub runs: u64,
    /// Changes in those runs.
    #[n(8)]
    pub changes: u64,
    /// Bytes of its saved form.
    #[n(9)]
    pub saved_bytes: u64,
}

impl DocumentRow {
    /// Whether everybody may see it: any of its runs says *publish*, or it is a statement.
    pub fn published(&self) -> bool {
        self.entered_all.is_some()
    }

    /// Where it entered `audience`, if it did.
    pub fn entered(&self, audience: Audience) -> Option<Position> {
        match audience {
            Audience::Unit => Some(self.entered_unit),
            Audience::All => self.entered_all,
        }
    }

    /// The audiences it is in.
    pub(super) fn audiences(&self) -> impl Iterator<Item = Audience> {
        let all = self.published().then_some(Audience::All);
        [Some(Audience::Unit), all].into_iter().flatten()
    }
}

/// A run of a document without its changes: who wrote it, who brought it, when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeRow {
    /// Its place in the order of the journal.
    pub position: Position,
    /// When the server's clock said it arrived.
    pub received_at: WallMs,
    /// Who carried it.
    pub carrier: DeviceId,
    /// Where the record with the changes stands.
    pub place: Place,
    /// The envelope as sealed.
    pub envelope: Vec<u8>,
}

impl EnvelopeRow {
    const FIXED: usize = 8 + DeviceId::LENGTH + Place::LENGTH;

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::FIXED + self.envelope.len());
        bytes.extend_from_slice(&self.received_at.to_be_bytes());
        bytes.extend_from_slice(&self.carrier.0);
        bytes.extend_from_slice(&self.place.to_bytes());
        bytes.extend_from_slice(&self.envelope);
        bytes
    }

    pub(super) fn from_bytes(position: Position, bytes: &[u8]) -> Option<Self> {
        let (received_at, rest) = bytes.split_first_chunk::<8>()?;
        let (carrier, rest) = rest.split_first_chunk::<{ DeviceId::LENGTH }>()?;
        let (place, envelope) = rest.split_first_chunk::<{ Place::LENGTH }>()?;
        Some(Self {
            position,
            received_at: i64::from_be_bytes(*received_at),
            carrier: DeviceId(*carrier),
            place: Place::from_bytes(place),
            envelope: envelope.to_vec(),
        })
    }
}

/// A device as its certificate, grants and revocation leave it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct DeviceRow {
    /// Who holds it.
    #[n(0)]
    pub person: String,
    /// What it may do.
    #[n(1)]
    pub grants: Vec<Grant>,
    /// When it was enrolled, by the server's clock.
    #[n(2)]
    pub enrolled_at: WallMs,
    /// When it was revoked.
    #[n(3)]
    pub revoked_at: Option<WallMs>,
    /// Where its certificate stands.
    #[n(4)]
    pub certificate: PlaceBytes,
    /// Position of the certificate.
    #[n(5)]
    pub enrolled: Position,
    /// Whether it was enrolled here, or confirmed after it was let in again by its certificate.
    #[n(6)]
    pub(super) confirmed: bool,
    /// The latest time for which grants were stated. Returned ones from before say nothing.
    #[n(7)]
    pub(super) grants_at: WallMs,
    /// What it might do before grants that were returned took the place of others, and what an
    /// administrator gave it since; nothing where no returned grants did. Not kept before it is
    /// confirmed.
    #[n(8)]
    pub(super) vouched: Option<Vec<Grant>>,
}

impl DeviceRow {
    /// Whether it is in good standing, and receives. Grants that were returned and give more, as
    /// units stand, than this journal knew have to be confirmed, as a device has to: what narrowed
    /// them may be lost.
    pub(super) fn is_confirmed(&self, placements: &Placements) -> bool {
        let vouched = self.vouched.as_ref();
        self.confirmed
            && vouched.is_none_or(|vouched| {
                let mut grants = self.grants.iter();
                let is_known = |grant: &Grant| {
                    vouched
                        .iter()
                        .any(|known| known.includes(grant, placements))
                };
                grants.all(is_known)
            })
    }

    /// Notes what the device might do, before grants that were returned are put in its place.
    pub(super) fn vouch(&mut self) {
        if self.confirmed && self.vouched.is_none() {
            self.vouched = Some(self.grants.clone());
        }
    }
}

/// What was returned of a device before its certificate came: it binds once that does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(array)]
pub(super) struct AwaitedRow {
    /// When it was revoked.
    #[n(0)]
    pub(super) revoked_at: Option<WallMs>,
    /// Its newest grants.
    #[n(1)]
    pub(super) grants: Option<AwaitedGrants>,
}

/// Grants of a device whose certificate is awaited.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct AwaitedGrants {
    #[n(0)]
    pub(super) grants: Vec<Grant>,
    /// For when they were stated.
    #[n(1)]
    pub(super) at: WallMs,
    /// Where the record that returned them stands.
    #[n(2)]
    pub(super) place: PlaceBytes,
}

/// Up to where history may have been lost: what was open then may have been closed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(array)]
pub(super) struct HorizonRow {
    /// The latest time for which something returned proves a loss.
    #[n(0)]
    pub(super) at: WallMs,
    /// Position of the last record that returned something.
    #[n(1)]
    pub(super) returned: Position,
    /// Position of the last record that tells of a restore or a loss.
    #[n(2)]
    pub(super) restored: Position,
}

impl HorizonRow {
    /// Whether an invitation may have been used in what was lost.
    pub(super) fn voids(&self, invitation: &InvitationRow) -> bool {
        invitation.position < self.restored
            || (invitation.position < self.returned && invitation.at <= self.at)
    }
}

/// An invitation, used or not.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct InvitationRow {
    /// Who is invited.
    #[n(0)]
    pub person: String,
    /// What the device will be allowed.
    #[n(1)]
    pub grants: Vec<Grant>,
    /// Until when, by the server's clock.
    #[n(2)]
    pub expires_at: WallMs,
    /// The device that used it.
    #[n(3)]
    pub used_by: Option<DeviceId>,
    /// Position of the invitation.
    #[n(4)]
    pub position: Position,
    /// When it was made, by the server's clock.
    #[n(5)]
    pub at: WallMs,
}

/// Which devices a statement concerns.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Topic {
    /// A framework version, for everyone.
    #[n(0)]
    Framework,
    /// The regions below one, for those inside it and below.
    #[n(1)]
    Regions(#[n(0)] Scope),
    /// A revocation, for everyone.
    #[n(2)]
    Revocation(#[n(0)] DeviceId),
    /// An enrolment or grants: the device and the scopes it was granted.
    #[n(3)]
    Device(#[n(0)] DeviceId, #[n(1)] Vec<Scope>),
    /// A unit's move, for everyone: the unit, and what reached it before.
    #[n(4)]
    Move(#[n(0)] Scope, #[n(1)] Vec<Scope>),
}

/// A statement that devices receive.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct FactRow {
    /// Whom it concerns.
    #[n(0)]
    pub topic: Topic,
    /// Where the signed statement stands.
    #[n(1)]
    pub place: PlaceBytes,
}

/// A [`Place`] inside a CBOR row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct PlaceBytes(#[cbor(with = "minicbor::bytes")] [u8; Place::LENGTH]);

impl PlaceBytes {
    /// The place.
    pub fn place(&self) -> Place {
        Place::from_bytes(&self.0)
    }
}

impl From<Place> for PlaceBytes {
    fn from(place: Place) -> Self {
        Self(place.to_bytes())
    }
}

/// What a device used of its day. A clock that is set back begins another day: use that was counted
/// for a day to come would count for every day until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(array)]
pub(super) struct QuotaRow {
    /// Days since 1970 by the server's clock.
    #[n(0)]
    pub(super) day: i64,
    #[n(1)]
    pub(super) documents: u64,
    #[n(2)]
    pub(super) bytes: u64,
    /// Statements that it gave back.
    #[n(3)]
    pub(super) statements: u64,
    /// Bytes of runs and statements that it gave back, whoever wrote them.
    #[n(4)]
    pub(super) returned_bytes: u64,
}

impl QuotaRow {
    /// The use at a time: nothing yet on a new day.
    pub(super) fn at(self, at: WallMs) -> Self {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        let day = at.div_euclid(DAY_MS);
        if day != self.day {
            Self {
                day,
                ..Self::default()
            }
        } else {
            self
        }
    }

    /// The use after one more run of the device.
    pub(super) fn after(self, at: WallMs, creates: bool, bytes: u64) -> Self {
        let today = self.at(at);
        Self {
            documents: today.documents + u64::from(creates),
            bytes: today.bytes + bytes,
            ..today
        }
    }

    /// The use after one more run that the device gave back.
    pub(super) fn after_returned(self, at: WallMs, bytes: u64) -> Self {
        let today = self.at(at);
        Self {
            returned_bytes: today.returned_bytes + bytes,
            ..today
        }
    }

    /// The use after one more statement that the device gave back.
    pub(super) fn after_statement(self, at: WallMs, bytes: u64) -> Self {
        let today = self.after_returned(at, bytes);
        Self {
            statements: today.statements + 1,
            ..today
        }
    }
}

/// Sum and number of the documents below a prefix that an audience sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct DigestRow {
    pub(super) digest: Digest,
    pub(super) documents: u64,
}

impl DigestRow {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        [
            self.digest.as_bytes().as_slice(),
            &self.documents.to_be_bytes(),
        ]
        .concat()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (digest, documents) = bytes.split_first_chunk::<{ Digest::LENGTH }>()?;
        Some(Self {
            digest: Digest::from(*digest),
            documents: u64::from_be_bytes(documents.try_into().ok()?),
        })
    }
}

/// A place behind the position it belongs to, where the key does not hold that.
pub(super) fn located(position: Position, place: Place) -> Vec<u8> {
    [position.to_be_bytes().as_slice(), &place.to_bytes()].concat()
}

pub(super) fn read_located(bytes: &[u8]) -> Option<(Position, Place)> {
    let (position, place) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*position), read_place(place)?))
}

pub(super) fn read_place(bytes: &[u8]) -> Option<Place> {
    Some(Place::from_bytes(bytes.try_into().ok()?))
}

/// The value of a scope's record: whose it is and where it stands.
pub(super) fn scope_record(document: &DocumentId, place: Place) -> Vec<u8> {
    [document.0.as_slice(), &place.to_bytes()].concat()
}

pub(super) fn read_scope_record(key: &[u8], value: &[u8]) -> Option<(Position, DocumentId, Place)> {
    let (document, place) = value.split_first_chunk::<{ DocumentId::LENGTH }>()?;
    Some((
        keys::last_number(key)?,
        DocumentId(*document),
        read_place(place)?,
    ))
}

pub(super) fn read_position(bytes: &[u8]) -> Option<Position> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

pub(super) fn encode<T: Encode<()>>(row: &T) -> Vec<u8> {
    minicbor::to_vec(row).expect("writing to a vector cannot fail")
}

pub(super) fn decode<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Option<T> {
    decode_exactly(bytes).ok()
}
