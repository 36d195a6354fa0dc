//! Taking back what the journal lost: statements of this server that devices kept, and devices by
//! their certificates.
//!
//! A statement is worth what the server's signature is, whoever brings it. What it cannot show is
//! that it still holds: of what was stated on one matter the latest counts, and who comes with a
//! certificate alone waits for an administrator.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::apply::framework_name;
use super::reader::{awaited_row, quota_row, stated_at};
use super::rows::DeviceRow;
use super::{
    Committed, EnrolRefusal, Enrolled, Ledger, LedgerError, ReadError, Reader, Room, keys,
};
use crate::id::{DeviceId, Position, ServerId, WallMs};
use crate::journal::Storage;
use crate::kv::Kv;
use crate::limits;
use crate::record::{Fact, Finding, Record, Returned, Signed};
use crate::scope::Scope;

/// What a statement is about that is too long to be given back unasked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(flat)]
pub enum Bulk {
    /// A version of a framework.
    #[n(0)]
    Framework {
        /// Its id.
        #[n(0)]
        id: String,
        /// Its version.
        #[n(1)]
        version: String,
    },
    /// The regions below one.
    #[n(1)]
    Regions {
        /// That one.
        #[n(0)]
        parent: Scope,
    },
}

impl Bulk {
    /// What a statement is about, if it is of these kinds.
    pub fn of(fact: &Fact) -> Option<Self> {
        match fact {
            Fact::Framework(fact) => {
                let (id, version) = framework_name(fact)?;
                Some(Self::Framework { id, version })
            }
            Fact::Regions(sheet) => Some(Self::Regions {
                parent: sheet.parent.clone(),
            }),
            Fact::Enrolment(_)
            | Fact::Grants(_)
            | Fact::Revocation(_)
            | Fact::Confirmation(_)
            | Fact::Move(_)
            | Fact::Journal(_)
            | Fact::Invitation(_)
            | Fact::Checkpoint(_)
            | Fact::Finding(_)
            | Fact::Returned(_)
            | Fact::Restored(_) => None,
        }
    }
}

/// What a statement is about: of all on one matter the latest counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Matter {
    Revocation(DeviceId),
    Certificate(DeviceId),
    Grants(DeviceId),
    Move(Scope),
    Bulk(Bulk),
}

impl Matter {
    /// The matter of a statement, or nothing for kinds that are not taken back.
    fn of(fact: &Fact) -> Option<Self> {
        Some(match fact {
            Fact::Enrolment(certificate) => Self::Certificate(certificate.device),
            Fact::Grants(fact) => Self::Grants(fact.device),
            Fact::Revocation(fact) => Self::Revocation(fact.device),
            Fact::Framework(_) | Fact::Regions(_) => Self::Bulk(Bulk::of(fact)?),
            Fact::Move(fact) => Self::Move(fact.unit.clone()),
            Fact::Journal(_)
            | Fact::Invitation(_)
            | Fact::Checkpoint(_)
            | Fact::Finding(_)
            | Fact::Returned(_)
            | Fact::Restored(_)
            // What came behind it may be lost, a revocation or narrower grants among it.
            | Fact::Confirmation(_) => return None,
        })
    }

    /// The place among statements that come together: each finds what it builds on, and a bound
    /// cuts what matters least.
    fn rank(&self) -> u8 {
        match self {
            Self::Revocation(_) => 0,
            Self::Certificate(_) => 1,
            Self::Grants(_) => 2,
            Self::Move(_) => 3,
            Self::Bulk(Bulk::Framework { .. }) => 4,
            Self::Bulk(Bulk::Regions { .. }) => 5,
        }
    }

    /// The latest time for which the matter was stated, where the latest counts.
    fn stated_at<S: Storage, K: Kv>(
        &self,
        reader: &Reader<S, K>,
    ) -> Result<Option<WallMs>, ReadError> {
        let kv = &*reader.shared.kv;
        Ok(match self {
            Self::Certificate(device) => reader.device(device)?.map(|row| row.enrolled_at),
            Self::Grants(device) => match reader.device(device)? {
                Some(row) => Some(row.grants_at),
                None => awaited_row(kv, device)?.grants.map(|grants| grants.at),
            },
            Self::Bulk(Bulk::Regions { parent }) => stated_at(kv, &keys::stated_regions(parent))?,
            Self::Move(unit) => stated_at(kv, &keys::stated_move(unit))?,
            Self::Revocation(_) | Self::Bulk(Bulk::Framework { .. }) => None,
        })
    }

    /// Whether a statement of this time says what the rows do not say already.
    fn is_news<S: Storage, K: Kv>(
        &self,
        at: WallMs,
        reader: &Reader<S, K>,
    ) -> Result<bool, ReadError> {
        Ok(match self {
            Self::Certificate(_)
            | Self::Grants(_)
            | Self::Move(_)
            | Self::Bulk(Bulk::Regions { .. }) => is_before(self.stated_at(reader)?, at),
            Self::Revocation(device) => match reader.device(device)? {
                Some(row) => row.revoked_at.is_none(),
                None => awaited_row(&*reader.shared.kv, device)?
                    .revoked_at
                    .is_none(),
            },
            Self::Bulk(bulk) => reader.lacks(bulk, at)?,
        })
    }
}

fn is_before(known: Option<WallMs>, at: WallMs) -> bool {
    known.is_none_or(|known| known < at)
}

impl<S: Storage, K: Kv> Reader<S, K> {
    /// Whether a device is in good standing, and receives: it was enrolled here or confirmed, and
    /// nothing that came back gives it more than was known here, as units stand. What narrowed
    /// that may be lost.
    pub fn is_confirmed(&self, device: &DeviceRow) -> bool {
        device.is_confirmed(&self.placements())
    }

    /// Whether a statement of this time says what the journal does not say already. A version of a
    /// framework never changes; of regions the latest counts.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn lacks(&self, bulk: &Bulk, at: WallMs) -> Result<bool, ReadError> {
        Ok(match bulk {
            Bulk::Framework { id, version } => self.framework(id, version)?.is_none(),
            Bulk::Regions { parent } => {
                let stated = stated_at(&*self.shared.kv, &keys::stated_regions(parent))?;
                is_before(stated, at)
            }
        })
    }
}

/// What became of statements that a device gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenBack {
    /// How many of them the journal lacked; they are on disk.
    pub news: usize,
    /// Why others that it may lack were left; nothing if it has all that counts.
    pub left: Option<Left>,
}

/// Why statements that the journal may lack were not taken in. The device keeps them and can give
/// them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The disk is below its reserve.
    Full,
    /// They were more than one call or one device's day may bring, or the device is not known.
    Beyond,
}

impl<S: Storage, K: Kv> Ledger<S, K> {
    /// The time for which a fact is stated: the clock's, but behind all that was stated on its
    /// matter, however far ahead the clock was then. Times are all that says which came later once
    /// devices give statements back.
    pub(super) fn stating_time(&mut self, now: WallMs, fact: &Fact) -> Result<WallMs, LedgerError> {
        let matter = match Matter::of(fact) {
            // It replaces the grants, and a device may hold it and the last change of them without
            // their positions.
            Some(Matter::Certificate(device)) => Matter::Grants(device),
            Some(matter) => matter,
            None => return Ok(now),
        };
        let before = self.read(|reader| matter.stated_at(reader))?;
        Ok(before.map_or(now, |before| now.max(before.saturating_add(1))))
    }

    /// Takes in statements of this server that a device gives back; those that the journal lacked
    /// are on disk when it returns. Known ones, older ones on the same matter, and what no device
    /// can give back are passed over. What comes behind [`limits::RETURNED_STATEMENTS_MAX`] of one
    /// call or behind what one device may return in a day is left, and everything while the disk is
    /// below its reserve.
    ///
    /// # Errors
    /// [`LedgerError::Failed`] if journal or store failed.
    pub fn take_back(
        &mut self,
        now: WallMs,
        carrier: DeviceId,
        statements: Vec<Vec<u8>>,
    ) -> Result<TakenBack, LedgerError> {
        self.alive()?;
        let left = |left| TakenBack {
            news: 0,
            left: Some(left),
        };
        let known = self.read(|reader| reader.device(&carrier))?;
        if known.is_none_or(|row| row.revoked_at.is_some()) {
            return Ok(left(Left::Beyond));
        }
        let cut = statements.len() > limits::RETURNED_STATEMENTS_MAX;
        let news = self.read(|reader| news(reader, statements))?;
        let used = self.read(|reader| quota_row(&*reader.shared.kv, &carrier))?;
        let mut used = used.at(now);
        let (mut records, mut taken) = (Vec::new(), 0);
        for signed in &news {
            used = used.after_statement(now, signed.to_bytes().len() as u64);
            if used.statements > limits::RETURNED_STATEMENTS_PER_DAY
                || used.returned_bytes > limits::RETURNED_BYTES_PER_DAY
            {
                break;
            }
            records.extend(self.returned(now, carrier, signed)?);
            taken += 1;
        }
        if !records.is_empty()
            && let Committed::Full = self.commit(&records, &[], Room::Free)?
        {
            return Ok(left(Left::Full));
        }
        let beyond = taken < news.len();
        if beyond {
            self.find(now, too_many(carrier))?;
        }
        Ok(TakenBack {
            news: taken,
            left: (beyond || cut).then_some(Left::Beyond),
        })
    }

    /// Lets a device in that this journal does not know and that shows its certificate by this
    /// server: not in good standing, since what ended it may be among what was lost. Once it
    /// returns, the certificate is on disk. A device that is known keeps its standing.
    ///
    /// The caller made sure that the device has the key that the certificate names.
    ///
    /// # Errors
    /// [`LedgerError::Failed`] if journal or store failed. The refusal inside is for the device.
    pub fn readmit(
        &mut self,
        now: WallMs,
        device: DeviceId,
        certificate: &[u8],
    ) -> Result<Result<Enrolled, EnrolRefusal>, LedgerError> {
        self.alive()?;
        if let Some(row) = self.read(|reader| reader.device(&device))? {
            if row.revoked_at.is_some() {
                return Ok(Err(EnrolRefusal::Revoked));
            }
            let place = row.certificate.place();
            let certificate = self.read(|reader| reader.statement_bytes(place))?;
            return Ok(Ok(self.enrolled(device, row.enrolled, certificate)));
        }
        let awaited = self.read(|reader| awaited_row(&*reader.shared.kv, &device))?;
        if awaited.revoked_at.is_some() {
            return Ok(Err(EnrolRefusal::Revoked));
        }
        let Some(signed) = certificate_of(&device, certificate, &self.reader.server()) else {
            return Ok(Err(EnrolRefusal::Certificate));
        };
        let records = self.returned(now, device, &signed)?;
        Ok(match self.commit(&records, &[], Room::Free)? {
            Committed::Full => Err(EnrolRefusal::Full),
            Committed::At(position) => Ok(self.enrolled(device, position, signed.to_bytes())),
        })
    }

    pub(super) fn enrolled(
        &self,
        device: DeviceId,
        position: Position,
        certificate: Vec<u8>,
    ) -> Enrolled {
        Enrolled {
            device,
            position,
            founding_record: self.reader.founding_record().to_vec(),
            certificate,
        }
    }

    /// The records of a statement that came back. Grants that were returned before the certificate
    /// they belong to stand behind it once more, where devices that read in order can use them.
    fn returned(
        &mut self,
        now: WallMs,
        by: DeviceId,
        signed: &Signed,
    ) -> Result<Vec<Record>, LedgerError> {
        let mut statements = vec![signed.to_bytes()];
        if let Fact::Enrolment(certificate) = signed.fact() {
            let device = certificate.device;
            let awaited = self.read(|reader| awaited_row(&*reader.shared.kv, &device))?;
            let newer = awaited.grants.filter(|grants| grants.at > signed.at());
            if let Some(grants) = newer {
                let place = grants.place.place();
                statements.push(self.read(|reader| reader.statement_bytes(place))?);
            }
        }
        Ok(statements
            .into_iter()
            .map(|statement| self.signed(now, Fact::Returned(Returned { by, statement })))
            .collect())
    }
}

/// What of `statements` this server signed and its journal lacks, the newest on each matter, in the
/// order in which they are to be recorded.
fn news<S: Storage, K: Kv>(
    reader: &Reader<S, K>,
    statements: Vec<Vec<u8>>,
) -> Result<Vec<Signed>, ReadError> {
    let server = reader.server();
    let mut newest: BTreeMap<Matter, Signed> = BTreeMap::new();
    let taken = statements
        .into_iter()
        .take(limits::RETURNED_STATEMENTS_MAX)
        .filter(|bytes| bytes.len() <= limits::RETURNED_STATEMENT_BYTES_MAX);
    for bytes in taken {
        let Ok(Record::Server(signed)) = Record::from_bytes(&bytes) else {
            continue;
        };
        let Some(matter) = Matter::of(signed.fact()) else {
            continue;
        };
        let at = signed.at();
        if newest.get(&matter).is_some_and(|held| held.at() >= at)
            || !matter.is_news(at, reader)?
            // The dearest look comes last: most of what devices return is known.
            || signed.verify(&server).is_err()
        {
            continue;
        }
        newest.insert(matter, signed);
    }
    let mut news: Vec<(Matter, Signed)> = newest.into_iter().collect();
    // Moves follow one another; the other matters do not depend on more of their kind.
    news.sort_by_key(|(matter, signed)| (matter.rank(), signed.at()));
    Ok(news.into_iter().map(|(_, signed)| signed).collect())
}

/// A device's certificate, if that is what it is.
fn certificate_of(device: &DeviceId, bytes: &[u8], server: &ServerId) -> Option<Signed> {
    let fits = bytes.len() <= limits::RETURNED_STATEMENT_BYTES_MAX;
    let signed = fits.then(|| Signed::open(bytes, server).ok()).flatten()?;
    match signed.fact() {
        Fact::Enrolment(certificate) if certificate.device == *device => Some(signed),
        Fact::Enrolment(_)
        | Fact::Journal(_)
        | Fact::Invitation(_)
        | Fact::Grants(_)
        | Fact::Revocation(_)
        | Fact::Framework(_)
        | Fact::Regions(_)
        | Fact::Move(_)
        | Fact::Checkpoint(_)
        | Fact::Finding(_)
        | Fact::Confirmation(_)
        | Fact::Returned(_)
        | Fact::Restored(_) => None,
    }
}

fn too_many(carrier: DeviceId) -> Finding {
    Finding {
        code: "returned-too-many".to_owned(),
        sentence: format!(
            "Device {carrier} returned more statements in a day than are taken from one: {} of {} \
             bytes together. It keeps the rest and can return it another day.",
            limits::RETURNED_STATEMENTS_PER_DAY,
            limits::RETURNED_BYTES_PER_DAY
        ),
        device: Some(carrier),
        document: None,
        run: None,
        place: None,
    }
}
