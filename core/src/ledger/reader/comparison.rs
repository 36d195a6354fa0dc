//! One side of a comparison: every document of a subscription with its digest.

use std::collections::BTreeMap;

use super::{ReadError, Reader, Subscription};
use crate::digest::Digest;
use crate::envelope::Seen;
use crate::id::{DocumentId, Position};
use crate::journal::Storage;
use crate::kv::Kv;
use crate::record::{Fact, Record};
use crate::scope::Scope;

/// Records that are looked at while nothing more is recorded: some milliseconds' worth.
const HELD_RECORDS_MAX: u64 = 64;

/// Times that what was recorded meanwhile is looked at without keeping anybody out. Each has to do only
/// with what came during the one before, so that more are never needed where the machine keeps up.
const ROUNDS_MAX: u32 = 20;

impl<S: Storage, K: Kv> Reader<S, K> {
    /// The documents of a subscription by id, each with the digest of its heads, all as of the
    /// position given with them. Their sum is what [`Reader::digests`] says there.
    ///
    /// Nobody is kept out by the walk over all of them, nor by looking again at what was recorded and
    /// moved meanwhile, but for the last few records.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn comparison(
        &self,
        subscription: &Subscription,
    ) -> Result<(Seen, Vec<(DocumentId, Digest)>), ReadError> {
        let mut caught_up = self.watermark();
        let mut documents = self.walk(subscription)?;
        let mut rounds = 0;
        loop {
            let held = self.shared.hold();
            let is_last = rounds == ROUNDS_MAX || self.is_little(caught_up.position, *held)?;
            let upto = *held;
            let _held = is_last.then_some(held);
            self.catch_up(subscription, caught_up.position, upto, &mut documents)?;
            if is_last {
                return Ok((upto, documents.into_iter().collect()));
            }
            caught_up = upto;
            rounds += 1;
        }
    }

    fn walk(&self, subscription: &Subscription) -> Result<BTreeMap<DocumentId, Digest>, ReadError> {
        let mut documents = BTreeMap::new();
        for scope in self.scopes_below(&subscription.prefix) {
            let scope = scope?;
            if !subscription.covers(self.shared.placements().lineage(&scope)) {
                continue;
            }
            for entry in self.entries(&scope, subscription.audience, Position::MAX - 1) {
                let (_, id) = entry?;
                self.look_at(subscription, id, &mut documents)?;
            }
        }
        Ok(documents)
    }

    /// Whether what was recorded behind a position is caught up with so soon that writing may wait.
    fn is_little(&self, after: Position, upto: Seen) -> Result<bool, ReadError> {
        if upto.position.saturating_sub(after) > HELD_RECORDS_MAX {
            return Ok(false);
        }
        for record in self.records_behind(after, upto) {
            if moved_unit(record?)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes in what was recorded behind a position. Documents of a unit that was moved have no record
    /// of it: all that lie below it by now are looked at, and those that left it since have a move of
    /// their own behind it.
    fn catch_up(
        &self,
        subscription: &Subscription,
        after: Position,
        upto: Seen,
        documents: &mut BTreeMap<DocumentId, Digest>,
    ) -> Result<(), ReadError> {
        for record in self.records_behind(after, upto) {
            let record = record?;
            if let Record::Changes(changes) = &record {
                let id = changes.run.envelope.body().document;
                self.look_at(subscription, id, documents)?;
            } else if let Some(unit) = moved_unit(record)? {
                for scope in self.scopes_below(&unit) {
                    let scope = scope?;
                    for entry in self.entries(&scope, subscription.audience, Position::MAX - 1) {
                        let (_, id) = entry?;
                        self.look_at(subscription, id, documents)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn records_behind(
        &self,
        after: Position,
        upto: Seen,
    ) -> impl Iterator<Item = Result<Record, ReadError>> {
        let scanned = self.records.scan(after + 1);
        let scanned = scanned.take_while(move |scanned| {
            scanned
                .as_ref()
                .map_or(true, |it| it.position <= upto.position)
        });
        scanned.map(|scanned| Ok(Record::from_bytes(&scanned?.record)?))
    }

    fn look_at(
        &self,
        subscription: &Subscription,
        id: DocumentId,
        documents: &mut BTreeMap<DocumentId, Digest>,
    ) -> Result<(), ReadError> {
        let row = self.document(&id)?;
        let seen = row.filter(|row| {
            let lineage = self.shared.placements().lineage(&row.scope);
            row.entered(subscription.audience).is_some() && subscription.covers(lineage)
        });
        if let Some(row) = seen {
            documents.insert(id, Digest::of(&id, &row.heads));
        } else {
            documents.remove(&id);
        }
        Ok(())
    }
}

#[cfg(test)]
impl<K> super::Shared<K> {
    /// Whether whoever writes has to wait.
    pub(in crate::ledger) fn is_held(&self) -> bool {
        self.watermark.try_write().is_err()
    }
}

/// The unit that a record moves, if it moves one.
fn moved_unit(record: Record) -> Result<Option<Scope>, ReadError> {
    let Record::Server(signed) = record else {
        return Ok(None);
    };
    let original = signed.into_original()?;
    let Fact::Move(fact) = original.fact() else {
        return Ok(None);
    };
    Ok(Some(fact.unit.clone()))
}
