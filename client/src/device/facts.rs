//! What the server signed for everybody: frameworks, regions, who holds which device.

use std::collections::BTreeMap;

use bukti_core::authority::Grant;
use bukti_core::framework::Framework;
use bukti_core::id::{DeviceId, Position, WallMs};
use bukti_core::kv::Kv;
use bukti_core::placement::Placements;
use bukti_core::record::{Certificate, Fact, Record, Signed};
use bukti_core::region::Regions;

use super::confirmed::{Confirmed, ConfirmedError};

const ENROLMENT: u8 = b'e';
const GRANTS: u8 = b'g';
const REVOCATION: u8 = b'v';
const CONFIRMATION: u8 = b'c';
const FRAMEWORK: u8 = b'w';
const REGIONS: u8 = b'p';
const MOVE: u8 = b'm';

/// Topics in the order in which their statements are given back.
const RETURNED: [u8; 7] = [
    REVOCATION,
    ENROLMENT,
    GRANTS,
    CONFIRMATION,
    MOVE,
    FRAMEWORK,
    REGIONS,
];

/// Somebody who writes, or may write, in the device's scope.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Member {
    /// Who holds the device.
    pub person: String,
    /// What the device may do.
    pub grants: Vec<Grant>,
    /// When it was enrolled, by the server's clock.
    pub enrolled_at: WallMs,
    /// When it was revoked.
    pub revoked_at: Option<WallMs>,
}

/// The row of a statement, or nothing for one that devices have no use for.
pub(super) fn row_of(signed: &Signed, position: Position, bytes: &[u8]) -> Option<KeyAndValue> {
    let key = match signed.fact() {
        Fact::Enrolment(certificate) => of_device(ENROLMENT, &certificate.device),
        Fact::Grants(grants) => of_device(GRANTS, &grants.device),
        Fact::Revocation(revocation) => of_device(REVOCATION, &revocation.device),
        Fact::Framework(fact) => {
            let framework = Framework::from_json("the delivered framework", &fact.json).ok()?;
            let (id, version) = (framework.id().as_bytes(), framework.version().as_bytes());
            [&[b'f', FRAMEWORK], id, &[0], version].concat()
        }
        Fact::Confirmation(confirmation) => of_device(CONFIRMATION, &confirmation.device),
        Fact::Regions(sheet) => [&[b'f', REGIONS], sheet.parent.as_str().as_bytes()].concat(),
        Fact::Move(fact) => [&[b'f', MOVE], fact.unit.as_str().as_bytes()].concat(),
        Fact::Journal(_)
        | Fact::Invitation(_)
        | Fact::Checkpoint(_)
        | Fact::Finding(_)
        | Fact::Returned(_)
        | Fact::Restored(_) => return None,
    };
    Some((key, [position.to_be_bytes().as_slice(), bytes].concat()))
}

/// Whether a statement under this key may change what the device's person reaches.
pub(super) fn reaches(key: &[u8]) -> bool {
    matches!(key.get(1), Some(&(ENROLMENT | GRANTS | MOVE)))
}

/// Whether a statement under this key moves a unit.
pub(super) fn is_move(key: &[u8]) -> bool {
    key.get(1) == Some(&MOVE)
}

pub(super) type KeyAndValue = (Vec<u8>, Vec<u8>);

/// Whether a statement under this key is of a kind that may be long, and by which nothing is judged.
pub(super) fn is_long(key: &[u8]) -> bool {
    matches!(key.get(1), Some(&(FRAMEWORK | REGIONS)))
}

/// The place of a row's topic among what is given back: what protects goes first, since a server
/// takes only so much in a day, then what others build on.
pub(super) fn rank(key: &[u8]) -> usize {
    let topic = key.get(1);
    let place = RETURNED.iter().position(|of| topic == Some(of));
    place.unwrap_or(RETURNED.len())
}

/// The place of the statement in a row's value among all of them: its position, or something below
/// all positions where the server lost the record.
pub(super) fn place_of(value: &[u8]) -> i64 {
    value
        .first_chunk::<8>()
        .map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// Whether a row of a statement replaces or outlasts another on the same matter. The times that the
/// server gave them decide, as they do where it takes one back: they grow on each matter and are
/// signed, which places are not.
pub(super) fn is_behind(later: &[u8], former: &[u8]) -> bool {
    let by_place = place_of(later).cmp(&place_of(former));
    match (time_of(later), time_of(former)) {
        (Some(time), Some(before)) => time.cmp(&before).then(by_place).is_ge(),
        _unreadable => by_place.is_ge(),
    }
}

fn time_of(value: &[u8]) -> Option<WallMs> {
    match Record::from_bytes(value.get(8..)?).ok()? {
        Record::Server(signed) => Some(signed.at()),
        Record::Changes(_) => None,
    }
}

fn of_device(topic: u8, device: &DeviceId) -> Vec<u8> {
    [[b'f', topic].as_slice(), &device.0].concat()
}

impl<K: Kv> Confirmed<K> {
    /// Who is known, by device.
    pub(super) fn directory(&self) -> Result<BTreeMap<DeviceId, Member>, ConfirmedError> {
        let mut directory = BTreeMap::new();
        for (value, signed) in self.statements(&[ENROLMENT])? {
            let Fact::Enrolment(certificate) = signed.fact() else {
                return Err(ConfirmedError::damaged("a certificate"));
            };
            let member = Member {
                person: certificate.person.clone(),
                grants: certificate.grants.clone(),
                enrolled_at: signed.at(),
                revoked_at: None,
            };
            directory.insert(certificate.device, (value, member));
        }
        for (value, signed) in self.statements(&[GRANTS])? {
            if let Fact::Grants(fact) = signed.fact()
                && let Some((enrolled, member)) = directory.get_mut(&fact.device)
                && is_behind(&value, enrolled)
            {
                member.grants.clone_from(&fact.grants);
            }
        }
        for (_, signed) in self.statements(&[REVOCATION])? {
            if let Fact::Revocation(fact) = signed.fact()
                && let Some((_, member)) = directory.get_mut(&fact.device)
            {
                member.revoked_at = Some(signed.at());
            }
        }
        Ok(directory
            .into_iter()
            .map(|(device, (_, member))| (device, member))
            .collect())
    }

    /// The grants of the device that holds `certificate`, stated at `enrolled_at`, as last stated.
    /// Positions decide where the feed brought both statements. Where it did not bring the
    /// certificate, as to a store that was lost and to a device that reads nothing, the times do that
    /// the server gave them: what it states of one device's grants is later than what it stated
    /// before, whatever its clock says.
    pub(super) fn grants_of(
        &self,
        certificate: &Certificate,
        enrolled_at: WallMs,
    ) -> Result<Vec<Grant>, ConfirmedError> {
        let (mut certified, mut enrolled) = (certificate.grants.clone(), None);
        for (value, signed) in self.statements(&of_device(ENROLMENT, &certificate.device)[1..])? {
            if let Fact::Enrolment(stated) = signed.fact()
                && (stated == certificate || signed.at() > enrolled_at)
            {
                certified.clone_from(&stated.grants);
                enrolled = Some(value);
            }
        }
        let changed = self.statements(&of_device(GRANTS, &certificate.device)[1..])?;
        for (value, signed) in changed {
            let is_later = match &enrolled {
                Some(enrolled) => is_behind(&value, enrolled),
                None => signed.at() > enrolled_at,
            };
            if let Fact::Grants(fact) = signed.fact()
                && is_later
            {
                return Ok(fact.grants.clone());
            }
        }
        Ok(certified)
    }

    /// The frameworks in use, by id and version.
    pub(super) fn frameworks(&self) -> Result<Vec<Framework>, ConfirmedError> {
        let mut frameworks = Vec::new();
        for (_, signed) in self.statements(&[FRAMEWORK])? {
            if let Fact::Framework(fact) = signed.fact() {
                let framework = Framework::from_json("the delivered framework", &fact.json);
                frameworks.push(framework.map_err(|_| ConfirmedError::damaged("a framework"))?);
            }
        }
        Ok(frameworks)
    }

    /// The regions in and above the device's scopes.
    pub(super) fn regions(&self) -> Result<Regions, ConfirmedError> {
        let mut regions = Regions::new();
        for (_, signed) in self.statements(&[REGIONS])? {
            if let Fact::Regions(sheet) = signed.fact() {
                regions.apply(sheet);
            }
        }
        Ok(regions)
    }

    /// Where units stand, by the last move of each.
    pub(super) fn placements(&self) -> Result<Placements, ConfirmedError> {
        let mut moves = self.statements(&[MOVE])?;
        moves.sort_by_key(|(value, _)| place_of(value));
        let mut placements = Placements::default();
        // Their order counts: a place in a history that the server lost is no position.
        for (position, (_, signed)) in (1..).zip(moves) {
            if let Fact::Move(fact) = signed.fact() {
                let placed = placements.place(position, &fact.unit, &fact.parent);
                placed.map_err(|_| ConfirmedError::damaged("a unit's move"))?;
            }
        }
        Ok(placements)
    }

    /// Rows of statements, each with what it says.
    fn statements(&self, topic: &[u8]) -> Result<Vec<(Vec<u8>, Signed)>, ConfirmedError> {
        let rows = self.scan(&[b"f", topic].concat())?;
        rows.into_iter()
            .map(|(_, value)| match Record::from_bytes(value.get(8..)?) {
                Ok(Record::Server(signed)) => Some((value, signed)),
                Ok(Record::Changes(_)) | Err(_) => None,
            })
            .collect::<Option<_>>()
            .ok_or_else(|| ConfirmedError::damaged("a statement"))
    }
}
