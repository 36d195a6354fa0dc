//! Documents that entered at or below a floor, newest entry first.

use std::cmp::Reverse;

use bukti_core::id::{DocumentId, Position};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::ledger::Reader;
use bukti_core::scope::Scope;

use super::FeedError;
use super::frontier::Frontier;
use super::reading::Reading;

/// What is still owed. It holds no state of its own: the floors say all, and the frontier only
/// saves looking again.
#[derive(Debug)]
pub(super) struct Owed {
    /// A document may be owed to several readings, by one entry.
    entries: Option<Frontier<(Reverse<Position>, usize), Source>>,
    places_max: usize,
}

/// The next document that is owed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    pub(super) entered: Position,
    pub(super) document: DocumentId,
    /// Index of the reading.
    pub(super) reading: usize,
}

#[derive(Debug)]
struct Source {
    document: DocumentId,
    scope: Scope,
}

impl Owed {
    pub(super) fn new(places_max: usize) -> Self {
        Self {
            entries: None,
            places_max,
        }
    }

    /// The owed document that entered last.
    pub(super) fn first<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        readings: &[Reading],
    ) -> Result<Option<Next>, FeedError> {
        let entries = match &mut self.entries {
            Some(entries) if !entries.is_spent() => entries,
            Some(_) | None => {
                self.entries
                    .insert(look_everywhere(reader, readings, self.places_max)?)
            }
        };
        Ok(entries
            .first()
            .map(|((Reverse(entered), reading), source)| Next {
                entered,
                document: source.document,
                reading,
            }))
    }

    /// Leaves the first one behind; its reading's floor lies below it by then.
    pub(super) fn pass<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        readings: &[Reading],
    ) -> Result<(), FeedError> {
        let Some(entries) = &mut self.entries else {
            return Ok(());
        };
        if let Some(((_, reading), source)) = entries.pop_first() {
            look_in(reader, entries, source.scope, reading, &readings[reading])?;
        }
        Ok(())
    }
}

fn look_everywhere<S: Storage, K: Kv>(
    reader: &Reader<S, K>,
    readings: &[Reading],
    places_max: usize,
) -> Result<Frontier<(Reverse<Position>, usize), Source>, FeedError> {
    let mut entries = Frontier::new(places_max);
    for (index, reading) in readings.iter().enumerate() {
        if reading.floor == 0 {
            continue;
        }
        for scope in reader.scopes_below(&reading.subscription.prefix) {
            look_in(reader, &mut entries, scope?, index, reading)?;
        }
    }
    Ok(entries)
}

fn look_in<S: Storage, K: Kv>(
    reader: &Reader<S, K>,
    entries: &mut Frontier<(Reverse<Position>, usize), Source>,
    scope: Scope,
    index: usize,
    reading: &Reading,
) -> Result<(), FeedError> {
    let mut found = reader.entries(&scope, reading.audience(), reading.floor);
    if let Some((entered, document)) = found.next().transpose()? {
        drop(found);
        entries.offer((Reverse(entered), index), Source { document, scope });
    }
    Ok(())
}
