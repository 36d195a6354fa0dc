//! What a returned statement does to the rows.
//!
//! It was true when it was signed, and may not be any more: of what was stated on one matter the
//! latest by its own time counts. Nothing here depends on the order in which devices come.

use super::{Fold, FoldError, about};
use crate::id::{DeviceId, Position, WallMs};
use crate::journal::Place;
use crate::kv::Kv;
use crate::ledger::ReadError;
use crate::ledger::keys;
use crate::ledger::reader;
use crate::ledger::rows::{AwaitedGrants, AwaitedRow, DeviceRow};
use crate::record::{Certificate, Fact, GrantsFact, Record, Returned};

impl<K: Kv> Fold<'_, K> {
    pub(super) fn returned(
        &mut self,
        position: Position,
        place: Place,
        at: WallMs,
        returned: &Returned,
    ) -> Result<(), FoldError> {
        let diverged = |reason| FoldError::Diverged { position, reason };
        let Ok(Record::Server(original)) = Record::from_bytes(&returned.statement) else {
            return Err(diverged("what was returned is no statement"));
        };
        let used = self.used(&returned.by)?;
        let bytes = returned.statement.len() as u64;
        self.quotas
            .insert(returned.by, used.after_statement(at, bytes));
        let stated_at = original.at();
        let horizon = self.horizon()?;
        horizon.at = horizon.at.max(stated_at);
        horizon.returned = position;
        match original.fact() {
            Fact::Enrolment(certificate) => {
                self.returned_enrolment(position, place, stated_at, certificate)?;
            }
            Fact::Grants(fact) => self.returned_grants(position, place, stated_at, fact)?,
            Fact::Revocation(fact) => {
                match self.device(&fact.device)? {
                    Some(row) => row.revoked_at.get_or_insert(stated_at),
                    None => {
                        let awaited = self.awaited(&fact.device)?;
                        awaited.revoked_at.get_or_insert(stated_at)
                    }
                };
                self.revocation(position, place, fact.device);
            }
            // Earlier versions took it back. What came behind it may be lost.
            Fact::Confirmation(_) => {}
            Fact::Framework(fact) => self.framework(position, place, fact)?,
            Fact::Regions(sheet) => {
                let before = self.stated_at(&keys::stated_regions(&sheet.parent))?;
                if before.is_none_or(|before| before < stated_at) {
                    self.regions(position, place, stated_at, sheet)?;
                }
            }
            Fact::Move(fact) => {
                let before = self.stated_at(&keys::stated_move(&fact.unit))?;
                if before.is_none_or(|before| before < stated_at) {
                    self.move_unit(position, place, stated_at, fact)?;
                }
            }
            Fact::Journal(_)
            | Fact::Invitation(_)
            | Fact::Checkpoint(_)
            | Fact::Finding(_)
            | Fact::Returned(_)
            | Fact::Restored(_) => {
                return Err(diverged("statements of that kind are not taken back"));
            }
        }
        Ok(())
    }

    /// A device that was not known is let in, but in no good standing: what ended it may have been
    /// lost. One that is known keeps its standing.
    fn returned_enrolment(
        &mut self,
        position: Position,
        place: Place,
        stated_at: WallMs,
        certificate: &Certificate,
    ) -> Result<(), FoldError> {
        let device = certificate.device;
        let known = self.device(&device)?.as_deref().cloned();
        let scopes_before = known
            .as_ref()
            .map(|row| row.grants.clone())
            .unwrap_or_default();
        let mut row = match known {
            Some(row) if stated_at <= row.enrolled_at => return Ok(()),
            Some(row) => DeviceRow {
                person: certificate.person.clone(),
                enrolled_at: stated_at,
                certificate: place.into(),
                enrolled: position,
                ..row
            },
            None => {
                let awaited = self.take_awaited(&device)?;
                let (grants, grants_at) = match awaited.grants {
                    Some(newer) if newer.at > stated_at => (newer.grants, newer.at),
                    Some(_) | None => (certificate.grants.clone(), stated_at),
                };
                DeviceRow {
                    person: certificate.person.clone(),
                    grants,
                    enrolled_at: stated_at,
                    revoked_at: awaited.revoked_at,
                    certificate: place.into(),
                    enrolled: position,
                    confirmed: false,
                    grants_at,
                    vouched: None,
                }
            }
        };
        if stated_at > row.grants_at {
            row.vouch();
            row.grants.clone_from(&certificate.grants);
            row.grants_at = stated_at;
        }
        if stated_at == row.grants_at {
            self.tell_grants(&device, position);
        }
        let topic = about(device, &[&scopes_before, &certificate.grants, &row.grants]);
        self.devices.insert(device, Some(row));
        self.use_invitation(certificate)?;
        self.fact(position, place, topic);
        Ok(())
    }

    /// The same grants may be returned once more behind the certificate that they were returned
    /// before: devices read both in the order of the journal.
    fn returned_grants(
        &mut self,
        position: Position,
        place: Place,
        stated_at: WallMs,
        fact: &GrantsFact,
    ) -> Result<(), FoldError> {
        match self.device(&fact.device)? {
            Some(row) if row.grants_at <= stated_at => {
                let topic = about(fact.device, &[&row.grants, &fact.grants]);
                row.vouch();
                row.grants.clone_from(&fact.grants);
                row.grants_at = stated_at;
                self.tell_grants(&fact.device, position);
                self.fact(position, place, topic);
            }
            Some(_) => {}
            None => {
                let awaited = self.awaited(&fact.device)?;
                let older = awaited.grants.as_ref().is_none_or(|it| it.at < stated_at);
                if older {
                    awaited.grants = Some(AwaitedGrants {
                        grants: fact.grants.clone(),
                        at: stated_at,
                        place: place.into(),
                    });
                }
            }
        }
        Ok(())
    }

    fn awaited(&mut self, device: &DeviceId) -> Result<&mut AwaitedRow, ReadError> {
        use std::collections::btree_map::Entry;
        Ok(match self.awaited.entry(*device) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(reader::awaited_row(self.kv, device)?),
        })
    }

    /// What was returned of a device until its certificate came.
    pub(super) fn take_awaited(&mut self, device: &DeviceId) -> Result<AwaitedRow, ReadError> {
        Ok(std::mem::take(self.awaited(device)?))
    }
}
