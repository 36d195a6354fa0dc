//! What came after a device's position: records of the scopes that changed, and statements.

use std::collections::BTreeMap;

use bukti_core::envelope::Seen;
use bukti_core::id::{DocumentId, Position};
use bukti_core::journal::{Place, Storage};
use bukti_core::kv::Kv;
use bukti_core::ledger::{FactRow, Reader};
use bukti_core::scope::Scope;

use super::FeedError;
use super::frontier::Frontier;
use super::reading::Reading;

/// The way from the readings to a watermark, in the order of the journal.
#[derive(Debug)]
pub(super) struct Ahead {
    upto: Seen,
    /// Everything up to here was passed.
    reached: Position,
    records: Option<Frontier<Position, Source>>,
    fact: NextFact,
    places_max: usize,
}

/// What stands next on the way.
#[derive(Debug, Clone)]
pub(super) enum Next {
    Record(Found),
    Fact { position: Position, row: FactRow },
}

/// A record of a scope that is read.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) position: Position,
    pub(super) document: DocumentId,
    pub(super) place: Place,
    pub(super) scope: Scope,
}

/// A [`Found`] without what the frontier keys it by.
#[derive(Debug)]
struct Source {
    document: DocumentId,
    place: Place,
    scope: Scope,
}

#[derive(Debug)]
enum NextFact {
    Unasked,
    At(Position, FactRow),
    None,
}

impl Next {
    pub(super) fn position(&self) -> Position {
        match self {
            Self::Record(found) => found.position,
            Self::Fact { position, row: _ } => *position,
        }
    }
}

impl Ahead {
    pub(super) fn new(upto: Seen, places_max: usize) -> Self {
        Self {
            upto,
            reached: 0,
            records: None,
            fact: NextFact::Unasked,
            places_max,
        }
    }

    pub(super) fn upto(&self) -> Seen {
        self.upto
    }

    pub(super) fn reached(&self) -> Position {
        self.reached
    }

    /// What stands next, or nothing up to the watermark.
    pub(super) fn first<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        readings: &[Reading],
    ) -> Result<Option<Next>, FeedError> {
        if matches!(self.fact, NextFact::Unasked) {
            self.fact = self.next_fact(reader, readings)?;
        }
        let records = match &mut self.records {
            Some(records) if !records.is_spent() => records,
            Some(_) | None => {
                let records = self.look_for_records(reader, readings)?;
                self.records.insert(records)
            }
        };
        let record = records.first();
        Ok(match (&self.fact, record) {
            (NextFact::At(position, row), record)
                if record.is_none_or(|(of_record, _)| *position < of_record) =>
            {
                Some(Next::Fact {
                    position: *position,
                    row: row.clone(),
                })
            }
            (_, Some((position, source))) => Some(Next::Record(Found {
                position,
                document: source.document,
                place: source.place,
                scope: source.scope.clone(),
            })),
            (NextFact::At(..) | NextFact::Unasked | NextFact::None, None) => None,
        })
    }

    /// Leaves `next`, which [`Ahead::first`] gave, behind.
    pub(super) fn pass<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        next: Next,
    ) -> Result<(), FeedError> {
        self.reached = next.position();
        match next {
            Next::Fact { .. } => self.fact = NextFact::Unasked,
            Next::Record(found) => {
                let Some(mut records) = self.records.take() else {
                    return Ok(());
                };
                records.pop_first();
                self.look_in(reader, &mut records, found.scope, found.position)?;
                self.records = Some(records);
            }
        }
        Ok(())
    }

    fn next_fact<S: Storage, K: Kv>(
        &self,
        reader: &Reader<S, K>,
        readings: &[Reading],
    ) -> Result<NextFact, FeedError> {
        let sent = readings
            .iter()
            .map(|reading| reading.facts.min(reading.moves))
            .min()
            .unwrap_or(0);
        let after = sent.max(self.reached);
        Ok(
            match reader.facts(after, self.upto.position).next().transpose()? {
                Some((position, row)) => NextFact::At(position, row),
                None => NextFact::None,
            },
        )
    }

    fn look_for_records<S: Storage, K: Kv>(
        &self,
        reader: &Reader<S, K>,
        readings: &[Reading],
    ) -> Result<Frontier<Position, Source>, FeedError> {
        // A scope that several prefixes reach is read once, from where the hindmost of them stands:
        // one ahead of it vouches for no document up to there.
        let mut changed: BTreeMap<Scope, Position> = BTreeMap::new();
        for reading in readings {
            let after = reading.seen.position.max(self.reached);
            if after >= self.upto.position {
                continue;
            }
            for scope in reader.changed_scopes(&reading.subscription.prefix, after)? {
                let from = changed.entry(scope).or_insert(after);
                *from = (*from).min(after);
            }
        }
        let mut records = Frontier::new(self.places_max);
        for (scope, after) in changed {
            self.look_in(reader, &mut records, scope, after)?;
        }
        Ok(records)
    }

    fn look_in<S: Storage, K: Kv>(
        &self,
        reader: &Reader<S, K>,
        records: &mut Frontier<Position, Source>,
        scope: Scope,
        after: Position,
    ) -> Result<(), FeedError> {
        let mut found = reader.scope_records(&scope, after, self.upto.position);
        if let Some((position, document, place)) = found.next().transpose()? {
            drop(found);
            records.offer(
                position,
                Source {
                    document,
                    place,
                    scope,
                },
            );
        }
        Ok(())
    }
}
