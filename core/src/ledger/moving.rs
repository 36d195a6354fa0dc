//! Moving a unit to another region.

use super::admin::AdminError;
use super::{Committed, Ledger, Room};
use crate::id::{Position, WallMs};
use crate::journal::Storage;
use crate::kv::Kv;
use crate::limits;
use crate::record::{Fact, MoveFact};
use crate::scope::Scope;

impl<S: Storage, K: Kv> Ledger<S, K> {
    /// Puts a unit, with everything below it, under another region; nothing if it stands there
    /// already. Codes and documents stay as they are: what changes is whose grants reach them.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] if a code is not known, or nothing of that kind can stand there.
    pub fn move_unit(
        &mut self,
        now: WallMs,
        unit: &Scope,
        parent: &Scope,
    ) -> Result<Option<Position>, AdminError> {
        self.alive()?;
        for code in [unit, parent] {
            if !self.read(|reader| reader.knows(code))? {
                let sentence = format!("{code} is not in the list of regions");
                return Err(AdminError::Invalid(sentence));
            }
        }
        let mut placements = (*self.reader.placements()).clone();
        let stands = placements.lineage(unit);
        let possible = placements.place(Position::MAX, unit, parent);
        possible.map_err(|error| AdminError::Invalid(error.to_string()))?;
        if stands.parent() == Some(parent) {
            return Ok(None);
        }
        if placements.len() > limits::MOVED_UNITS_MAX {
            return Err(AdminError::Invalid(format!(
                "{} units were moved, the most that are remembered",
                limits::MOVED_UNITS_MAX
            )));
        }
        let fact = Fact::Move(MoveFact {
            unit: unit.clone(),
            parent: parent.clone(),
        });
        let at = self.stating_time(now, &fact)?;
        let record = self.signed(at, fact);
        match self.commit(&[record], &[], Room::Free)? {
            Committed::Full => Err(AdminError::Full),
            Committed::At(position) => Ok(Some(position)),
        }
    }
}
