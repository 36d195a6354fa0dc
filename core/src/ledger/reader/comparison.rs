//! One side of a comparison: every document of a subscription with its digest.

use std::collections::BTreeMap;

use super::{ReadError, Reader, Subscription};
use crate::digest::Digest;
use crate::envelope::Seen;
use crate::id::{DocumentId, Position};
use crate::journal::Storage;
use crate::kv::Kv;
use crate::record::{Fact, Record};

impl<S: Storage, K: Kv> Reader<S, K> {
    /// The documents of a subscription by id, each with the digest of its heads, all as of the
    /// position given with them. Their sum is what [`Reader::digests`] says there.
    ///
    /// The walk over all of them keeps nobody out. What was recorded meanwhile is read again at
    /// the end while nothing more is.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn comparison(
        &self,
        subscription: &Subscription,
    ) -> Result<(Seen, Vec<(DocumentId, Digest)>), ReadError> {
        let begun = self.watermark();
        let mut documents = self.walk(subscription)?;
        let held = self.shared.hold();
        if self.catch_up(subscription, begun.position, *held, &mut documents)? {
            documents = self.walk(subscription)?;
        }
        Ok((*held, documents.into_iter().collect()))
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

    /// Takes in what was recorded behind a position; says whether only another walk can, since a
    /// unit was moved with documents that have no record of it.
    fn catch_up(
        &self,
        subscription: &Subscription,
        after: Position,
        upto: Seen,
        documents: &mut BTreeMap<DocumentId, Digest>,
    ) -> Result<bool, ReadError> {
        for scanned in self.records.scan(after + 1) {
            let scanned = scanned?;
            if scanned.position > upto.position {
                break;
            }
            match Record::from_bytes(&scanned.record)? {
                Record::Changes(changes) => {
                    let id = changes.run.envelope.body().document;
                    self.look_at(subscription, id, documents)?;
                }
                Record::Server(signed) => {
                    if matches!(signed.into_original()?.fact(), Fact::Move(_)) {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
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
