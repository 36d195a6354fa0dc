//! What lies above a scope: rows of its ancestors, and a unit's move to others.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Fold, FoldError, ReadError, Topic};
use crate::authority::Audience;
use crate::id::{Position, WallMs};
use crate::journal::Place;
use crate::kv::{Direction, Kv};
use crate::ledger::rows::{self, DigestRow};
use crate::ledger::{keys, reader};
use crate::placement::{Moved, Placements};
use crate::record::MoveFact;
use crate::scope::Scope;

impl<K: Kv> Fold<'_, K> {
    /// Where units stand behind what was staged, if that moved any.
    pub(in crate::ledger) fn moved(&self) -> Option<Placements> {
        self.moved.clone()
    }

    /// Where units stand behind what was staged, to keep.
    pub(super) fn placements_now(&self) -> Arc<Placements> {
        match &self.moved {
            Some(moved) => Arc::new(moved.clone()),
            None => Arc::clone(&self.placements),
        }
    }

    fn placements(&self) -> &Placements {
        self.moved.as_ref().unwrap_or(&self.placements)
    }

    /// Stages the rows of everything above the scopes touched so far, as units stand at this point.
    pub(super) fn spread(&mut self) -> Result<(), ReadError> {
        let mut lasts = std::mem::take(&mut self.lasts);
        for (scope, (before, last)) in &mut lasts {
            let lineage = self.placements().lineage(scope);
            for ancestor in lineage.iter() {
                if let Some(before) = before.filter(|before| before != last) {
                    self.batch.delete(keys::changed(ancestor, before, scope));
                }
                self.batch.put(keys::changed(ancestor, *last, scope), []);
                self.batch.put(keys::below(ancestor, scope), []);
            }
            self.batch.put(keys::last(scope), last.to_be_bytes());
            *before = Some(*last);
        }
        self.lasts = lasts;
        for ((scope, audience), added) in std::mem::take(&mut self.sums) {
            let lineage = self.placements().lineage(&scope);
            for prefix in lineage.iter() {
                let row = self.digest(prefix, audience)?;
                row.digest += added.digest;
                row.documents += added.documents;
            }
        }
        Ok(())
    }

    /// Stages a unit's move: everything below it leaves what reached it before and comes under its
    /// new parent. Documents, their records and entries stay where they are, by scope.
    pub(super) fn move_unit(
        &mut self,
        position: Position,
        place: Place,
        at: WallMs,
        fact: &MoveFact,
    ) -> Result<(), FoldError> {
        self.state(keys::stated_move(&fact.unit), at)?;
        self.spread()?;
        let below = self.scopes_below(&fact.unit)?;
        let mut placements = self.placements().clone();
        let moved = placements.place(position, &fact.unit, &fact.parent);
        let Moved { from, to } = moved.map_err(|_| FoldError::Diverged {
            position,
            reason: "the unit cannot stand there",
        })?;
        let lost: Vec<&Scope> = from.iter().filter(|scope| !to.contains(scope)).collect();
        let gained: Vec<&Scope> = to.iter().filter(|scope| !from.contains(scope)).collect();
        for (scope, last) in &below {
            for ancestor in &lost {
                self.batch.delete(keys::changed(ancestor, *last, scope));
                self.batch.delete(keys::below(ancestor, scope));
            }
            for ancestor in &gained {
                self.batch.put(keys::changed(ancestor, *last, scope), []);
                self.batch.put(keys::below(ancestor, scope), []);
            }
        }
        for audience in [Audience::Unit, Audience::All] {
            let DigestRow { digest, documents } = *self.digest(&fact.unit, audience)?;
            for ancestor in &lost {
                let row = self.digest(ancestor, audience)?;
                row.digest -= digest;
                row.documents = row.documents.saturating_sub(documents);
            }
            for ancestor in &gained {
                let row = self.digest(ancestor, audience)?;
                row.digest += digest;
                row.documents += documents;
            }
        }
        if let Some(placement) = placements.placement(&fact.unit) {
            self.batch
                .put(keys::placement(&fact.unit), rows::encode(placement));
        }
        self.moved = Some(placements);
        self.moved_units.insert(fact.unit.clone());
        self.fact(position, place, Topic::Move(fact.unit.clone(), from));
        Ok(())
    }

    /// The scopes with records below a unit, itself included, each with its last position. Whatever
    /// lies below it by now lay there when the rows were written, or came with a unit that moved since.
    fn scopes_below(&self, unit: &Scope) -> Result<Vec<(Scope, Position)>, ReadError> {
        let mut scopes: BTreeSet<Scope> = self.lasts.keys().cloned().collect();
        let moved = self.moved_units.iter();
        let came = moved.filter(|other| self.placements().covers(unit, other));
        for top in std::iter::once(unit).chain(came) {
            let stored = keys::all_below(top);
            let skip = 1 + top.as_str().len() + 1;
            for row in self.kv.scan(&stored.0, &stored.1, Direction::Ascending) {
                let (key, _) = row?;
                let scope = keys::tail(&key, skip).and_then(keys::scope);
                scopes.insert(scope.ok_or_else(|| ReadError::row(key[0]))?);
            }
        }
        let below = scopes
            .into_iter()
            .filter(|scope| self.placements().covers(unit, scope));
        below
            .map(|scope| {
                let staged = self.lasts.get(&scope).map(|(_, last)| *last);
                let last = match staged {
                    Some(last) => Some(last),
                    None => reader::last_of(self.kv, &scope)?,
                };
                Ok((scope, last.ok_or_else(|| ReadError::row(keys::LAST))?))
            })
            .collect()
    }

    fn digest(&mut self, prefix: &Scope, audience: Audience) -> Result<&mut DigestRow, ReadError> {
        use std::collections::btree_map::Entry;
        Ok(match self.digests.entry((prefix.clone(), audience)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(reader::digest_row(self.kv, prefix, audience)?),
        })
    }
}
