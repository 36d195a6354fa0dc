//! What a device reads and how far it is: its grants, narrowed to what it asked for, and its
//! cursor, as far as that still fits them.

use bukti_core::authority::{Audience, Grant};
use bukti_core::envelope::Seen;
use bukti_core::id::Position;
use bukti_core::ledger::Subscription;
use bukti_core::placement::{Lineage, Placements};
use bukti_core::scope::Scope;

use super::FeedError;
use crate::cursor::{Cursor, Mark};
use crate::limits;

/// One subscription and how far it has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) subscription: Subscription,
    pub(super) seen: Seen,
    pub(super) floor: Position,
    pub(super) facts: Position,
}

/// The subscriptions that `grants` allow within `requested` scopes, where none means all.
///
/// A scope outside of the grants is dropped and never widened to what is granted: a device whose
/// grants became fewer goes on with the rest.
pub(super) fn wanted(
    grants: &[Grant],
    requested: &[Scope],
    placements: &Placements,
) -> Result<Vec<Subscription>, FeedError> {
    let subscriptions = if requested.is_empty() {
        Subscription::of(grants, placements)
    } else {
        Subscription::of(&narrowed(grants, requested, placements), placements)
    };
    if subscriptions.len() > limits::SUBSCRIPTIONS_MAX {
        return Err(FeedError::TooManyScopes {
            subscriptions: subscriptions.len(),
        });
    }
    Ok(subscriptions)
}

fn narrowed(grants: &[Grant], requested: &[Scope], placements: &Placements) -> Vec<Grant> {
    let meet = |granted: &Scope, requested: &Scope| {
        if placements.covers(granted, requested) {
            Some(requested.clone())
        } else {
            placements
                .covers(requested, granted)
                .then(|| granted.clone())
        }
    };
    let each = |grant: &Grant| -> Vec<Grant> {
        let scopes = requested
            .iter()
            .filter_map(|requested| meet(&grant.scope, requested));
        scopes
            .map(|scope| Grant {
                role: grant.role,
                scope,
            })
            .collect()
    };
    grants.iter().flat_map(each).collect()
}

impl Reading {
    /// Goes on where the cursor says, or starts with every document owed.
    pub(super) fn resume(
        subscription: Subscription,
        cursor: &Cursor,
        placements: &Placements,
        watermark: Seen,
    ) -> Self {
        let known = Self::known(&subscription, cursor, placements);
        let (seen, floor, facts) = known.unwrap_or((watermark, watermark.position, 0));
        Self {
            subscription,
            seen,
            floor: floor.min(watermark.position),
            // A rollback is noticed at `seen` only, so no statement counts as sent beyond it.
            facts: facts.min(seen.position),
        }
    }

    /// What the cursor's marks say together about the subscription, if they speak for all of it.
    ///
    /// Its prefix must lie in one of them, and must have when that was made: what came under it by
    /// a later move was not sent for it. Marks inside the prefix speak for their part instead;
    /// they remain after a grant on a narrower scope was taken back. A mark of the wider audience
    /// speaks for the narrower one only if it owes nothing, since a document enters the two at
    /// different positions.
    fn known(
        subscription: &Subscription,
        cursor: &Cursor,
        placements: &Placements,
    ) -> Option<(Seen, Position, Position)> {
        let Subscription {
            prefix,
            audience,
            except,
        } = subscription;
        let lineage = placements.lineage(prefix);
        let around = cursor.marks.iter().filter(|mark| {
            let since = lineage.since(&mark.prefix);
            since.is_some_and(|since| since <= mark.seen.position)
        });
        let base = around.max_by_key(|mark| placements.lineage(&mark.prefix).iter().count())?;
        let within = cursor.marks.iter().filter(|mark| {
            let inside = placements.lineage(&mark.prefix);
            mark.prefix != *prefix
                && inside.is_below(prefix)
                && !except.iter().any(|except| inside.is_below(except))
        });
        let (mut seen, mut floor) = (base.seen, 0);
        for mark in within.chain([base]) {
            let speaks = mark.audience == *audience
                || (mark.audience.includes(*audience) && mark.floor == 0);
            if !speaks {
                return None;
            }
            if mark.seen.position < seen.position {
                seen = mark.seen;
            }
            floor = floor.max(mark.floor);
        }
        Some((seen, floor, base.facts))
    }

    /// The reading as a cursor keeps it.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            prefix: self.subscription.prefix.clone(),
            audience: self.subscription.audience,
            seen: self.seen,
            floor: self.floor,
            facts: self.facts,
        }
    }

    /// Whether `scope` lies inside the prefix or above it.
    pub(super) fn touches(&self, scope: &Scope, placements: &Placements) -> bool {
        let prefix = &self.subscription.prefix;
        placements.covers(prefix, scope) || placements.covers(scope, prefix)
    }

    /// Whether documents of a scope are read here; gives since when.
    pub(super) fn reads(&self, lineage: &Lineage) -> Option<Position> {
        let since = lineage.since(&self.subscription.prefix);
        since.filter(|_| self.subscription.covers(lineage))
    }

    /// The reader's audience.
    pub(super) fn audience(&self) -> Audience {
        self.subscription.audience
    }
}

#[cfg(test)]
mod tests;
