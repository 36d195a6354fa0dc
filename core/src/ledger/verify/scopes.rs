//! The rows of places: what was recorded last in each, and what lies below what reaches it.

use std::collections::BTreeSet;

use super::{Audit, Fault, FindingPlace, LedgerError};
use crate::authority::Audience;
use crate::digest::Digest;
use crate::id::Position;
use crate::journal::Storage;
use crate::kv::{Direction, Kv};
use crate::ledger::keys;
use crate::ledger::reader::{self, ReadError};
use crate::ledger::rebuild::{Progress, Stage};
use crate::ledger::rows::DigestRow;
use crate::scope::Scope;

impl<S: Storage, K: Kv> Audit<'_, S, K> {
    /// Every scope with its last position, its places below its ancestors, and every prefix with
    /// its digests.
    pub(super) fn scopes(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), LedgerError> {
        let (from, to) = keys::table(keys::LAST);
        let mut rows = self.kv().scan(&from, &to, Direction::Ascending).peekable();
        let mut done = 0;
        while let Some(row) = rows.next() {
            let scope = scope_of(&row?.0)?;
            if let Some(fault) = self.scope(&scope)? {
                self.add(FindingPlace::Scope(scope), fault);
            }
            done += 1;
            if done % 1_000 == 0 || rows.peek().is_none() {
                progress(Progress {
                    stage: Stage::Scopes,
                    done,
                    total: done,
                });
            }
        }
        for prefix in &self.scope_counts()? {
            for audience in [Audience::Unit, Audience::All] {
                if !self.digest_holds(prefix, audience)? {
                    self.add(FindingPlace::Scope(prefix.clone()), Fault::Digest);
                }
            }
        }
        Ok(())
    }

    /// Rows of the scope tables that no scope explains, as scopes and what reaches them are at one
    /// moment: more may come and units may move meanwhile. Gives all that reaches any.
    fn scope_counts(&mut self) -> Result<BTreeSet<Scope>, LedgerError> {
        let held = self.reader.shared.hold();
        let placements = self.reader.shared.placements();
        let mut prefixes = BTreeSet::new();
        let mut pairs = 0;
        let (from, to) = keys::table(keys::LAST);
        for row in self.kv().scan(&from, &to, Direction::Ascending) {
            let lineage = placements.lineage(&scope_of(&row?.0)?);
            pairs += lineage.iter().count() as u64;
            prefixes.extend(lineage.iter().cloned());
        }
        let all = |_: &[u8], _: &[u8]| None;
        let changed = self.count(keys::CHANGED, 0, all)?;
        let below = self.count(keys::BELOW, 0, all)?;
        let (from, to) = keys::table(keys::DIGEST);
        let mut strays = 0;
        for row in self.kv().scan(&from, &to, Direction::Ascending) {
            let (key, _) = row?;
            let named = key
                .get(1..key.len().saturating_sub(2))
                .and_then(keys::scope);
            strays += u64::from(!named.is_some_and(|prefix| prefixes.contains(&prefix)));
        }
        drop(held);
        for (table, expected, found) in [
            (keys::CHANGED, pairs, changed),
            (keys::BELOW, pairs, below),
            (keys::DIGEST, 0, strays),
        ] {
            if found != expected {
                let place = FindingPlace::Table(char::from(table));
                self.add(place, Fault::Count { found, expected });
            }
        }
        Ok(prefixes)
    }

    fn scope(&self, scope: &Scope) -> Result<Option<Fault>, LedgerError> {
        let _held = self.reader.shared.hold();
        let lineage = self.reader.shared.placements().lineage(scope);
        let (from, to) = keys::scope_records(scope, 0, Position::MAX - 1);
        let newest = self.kv().scan(&from, &to, Direction::Descending).next();
        let newest = newest
            .transpose()?
            .and_then(|(key, _)| keys::last_number(&key));
        let last = reader::last_of(self.kv(), scope)?;
        let Some(last) = last.filter(|last| newest == Some(*last)) else {
            return Ok(Some(Fault::Row(char::from(keys::LAST))));
        };
        for ancestor in lineage.iter() {
            if self
                .kv()
                .get(&keys::changed(ancestor, last, scope))?
                .is_none()
            {
                return Ok(Some(Fault::Row(char::from(keys::CHANGED))));
            }
            if self.kv().get(&keys::below(ancestor, scope))?.is_none() {
                return Ok(Some(Fault::Row(char::from(keys::BELOW))));
            }
        }
        Ok(None)
    }

    /// Whether the digest of a prefix is the sum of its own documents and of the prefixes directly
    /// below it.
    fn digest_holds(&self, prefix: &Scope, audience: Audience) -> Result<bool, LedgerError> {
        let _held = self.reader.shared.hold();
        let mut sum = DigestRow::default();
        for entry in self.reader.entries(prefix, audience, Position::MAX - 1) {
            let (_, id) = entry?;
            let row = reader::document_row(self.kv(), &id)?;
            let row = row.ok_or_else(|| ReadError::row(keys::DOCUMENT))?;
            sum.digest += Digest::of(&id, &row.heads);
            sum.documents += 1;
        }
        let placements = self.reader.shared.placements();
        let mut children = BTreeSet::new();
        for scope in self.reader.scopes_below(prefix) {
            let lineage = placements.lineage(&scope?);
            let steps: Vec<&Scope> = lineage.iter().collect();
            let child = steps.windows(2).find(|pair| pair[1] == prefix);
            children.extend(child.map(|pair| pair[0].clone()));
        }
        for child in children {
            let row = reader::digest_row(self.kv(), &child, audience)?;
            sum.digest += row.digest;
            sum.documents += row.documents;
        }
        Ok(sum == reader::digest_row(self.kv(), prefix, audience)?)
    }
}

/// The scope of a row of the table of scopes.
fn scope_of(key: &[u8]) -> Result<Scope, ReadError> {
    let scope = keys::tail(key, 1).and_then(keys::scope);
    scope.ok_or_else(|| ReadError::row(keys::LAST))
}
