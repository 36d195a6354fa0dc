//! What a unit's move means to a reader: its documents come whole, or leave, and statements come.
//!
//! A move stands in the journal like everything else. When a feed comes to it, the documents that
//! are below the unit go by, newest first: those that a reading gained by this move are sent whole
//! unless the device has them by another, and those that no reading holds any more are named as
//! left. Among them go the statements from before the move, if it brought a reading any, by the
//! same order and rule; none is taken back, since what a device was told of people and places it
//! still needs for what it keeps. The feed stays below the move until all went by, and the cursor
//! says how far they did, so that a cut costs no more than elsewhere.

use std::cmp::Reverse;

use bukti_core::authority::Audience;
use bukti_core::id::{DocumentId, Position};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::ledger::{DocumentRow, FactRow, Reader};
use bukti_core::placement::Placements;
use bukti_core::scope::Scope;

use super::FeedError;
use super::frontier::Frontier;
use super::reading::{Reading, has};

/// A move that is being passed.
#[derive(Debug)]
pub(super) struct Transfer {
    /// Position of the move.
    pub(super) at: Position,
    /// Documents that began and statements that stand at or below here have not gone by yet.
    pub(super) below: Position,
    kinds: Option<Kinds>,
    entries: Option<Frontier<Reverse<Position>, (DocumentId, Scope)>>,
    statement: Option<(Position, FactRow)>,
    places_max: usize,
}

/// What has to go by.
#[derive(Debug, Clone, Copy)]
struct Kinds {
    documents: bool,
    statements: bool,
}

/// What goes by next.
#[derive(Debug, Clone)]
pub(super) enum Passing {
    Document(DocumentId),
    Statement { position: Position, row: FactRow },
}

/// What becomes of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// A reading gained it, and no other had it.
    Comes,
    /// It was to be read and is not any more.
    Leaves,
    /// It stays where it was.
    Stays,
}

impl Transfer {
    /// Goes on with the move at `at` where a cursor says, or begins with its newest document.
    pub(super) fn of(at: Position, below: Position, places_max: usize) -> Self {
        Self {
            at,
            below,
            kinds: None,
            entries: None,
            statement: None,
            places_max,
        }
    }

    /// What goes by next: a document below the unit, or any statement from before the move.
    pub(super) fn first<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        unit: &Scope,
        readings: &[Reading],
        placements: &Placements,
    ) -> Result<Option<Passing>, FeedError> {
        let at = self.at;
        let kinds = self.kinds.get_or_insert_with(|| Kinds {
            documents: readings.iter().any(|reading| reading.seen.position < at),
            statements: readings.iter().any(|reading| {
                let prefix = &reading.subscription.prefix;
                reading.moves < at && placements.brought(prefix, unit, at)
            }),
        });
        let Kinds {
            documents,
            statements,
        } = *kinds;
        if statements && self.statement.is_none() {
            let from = self.below.min(at.saturating_sub(1));
            self.statement = reader.facts_down(from).next().transpose()?;
        }
        let document = match documents {
            true => self.first_document(reader, unit)?,
            false => None,
        };
        Ok(match (&self.statement, document) {
            (Some((position, row)), document)
                if document.is_none_or(|(begun, _)| begun < *position) =>
            {
                Some(Passing::Statement {
                    position: *position,
                    row: row.clone(),
                })
            }
            (_, document) => document.map(|(_, document)| Passing::Document(document)),
        })
    }

    fn first_document<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        unit: &Scope,
    ) -> Result<Option<(Position, DocumentId)>, FeedError> {
        let entries = match &mut self.entries {
            Some(entries) if !entries.is_spent() => entries,
            Some(_) | None => {
                let mut entries = Frontier::new(self.places_max);
                for scope in reader.scopes_below(unit) {
                    look_in(reader, &mut entries, scope?, self.below)?;
                }
                self.entries.insert(entries)
            }
        };
        let first = entries.first();
        Ok(first.map(|(Reverse(begun), (document, _))| (begun, *document)))
    }

    /// Leaves `passing`, which [`Transfer::first`] gave, behind.
    pub(super) fn pass<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        passing: &Passing,
    ) -> Result<(), FeedError> {
        if let Passing::Statement { position, row: _ } = passing {
            self.below = position.saturating_sub(1);
            self.statement = None;
            return Ok(());
        }
        let Some(entries) = &mut self.entries else {
            return Ok(());
        };
        if let Some((Reverse(begun), (_, scope))) = entries.pop_first() {
            self.below = begun.saturating_sub(1);
            look_in(reader, entries, scope, self.below)?;
        }
        Ok(())
    }

    /// What the move means for a document of the readings; `from` is what reached its unit before.
    pub(super) fn passage(
        &self,
        row: &DocumentRow,
        from: &[Scope],
        readings: &[Reading],
        placements: &Placements,
    ) -> Passage {
        let lineage = placements.lineage(&row.scope);
        let had = has(readings, row, &lineage, self.at.saturating_sub(1));
        if !had && has(readings, row, &lineage, self.at) {
            return Passage::Comes;
        }
        let entered = |reading: &Reading| row.entered(reading.audience());
        let holds =
            |reading: &Reading| reading.reads(&lineage).is_some() && entered(reading).is_some();
        let held = |reading: &Reading| {
            let was = from.contains(&reading.subscription.prefix);
            let seen = entered(reading).is_some_and(|at| at < self.at);
            reading.seen.position < self.at && was && seen
        };
        let leaves = readings.iter().any(held) && !readings.iter().any(holds);
        if leaves {
            Passage::Leaves
        } else {
            Passage::Stays
        }
    }
}

fn look_in<S: Storage, K: Kv>(
    reader: &Reader<S, K>,
    entries: &mut Frontier<Reverse<Position>, (DocumentId, Scope)>,
    scope: Scope,
    below: Position,
) -> Result<(), FeedError> {
    let mut found = reader.entries(&scope, Audience::Unit, below);
    if let Some((begun, document)) = found.next().transpose()? {
        drop(found);
        entries.offer(Reverse(begun), (document, scope));
    }
    Ok(())
}
