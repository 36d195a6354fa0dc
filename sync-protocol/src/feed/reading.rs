//! What a device reads and how far it is: its grants, narrowed to what it asked for, and its
//! cursor, as far as that still fits them.
//!
//! # What a mark vouches for
//!
//! A mark is a prefix, an audience, a position `seen` and a `floor`. It speaks of every document
//! that the prefix reaches by now and that is in the audience, wherever other marks of the device
//! lie: each mark stands alone, so that grants which come and go beside it change nothing about it.
//! Of such a document, which *entered* the audience at one position and has been reached *since*
//! another without a break, it says one of these:
//!
//! | entered | since | |
//! |---|---|---|
//! | up to `floor` | | owed: it comes whole |
//! | above `floor`, up to `seen` | up to `seen` | the device has all of it up to `seen` |
//! | above `floor`, before `since` | behind `seen` | it comes whole at the move that stands at `since` |
//! | behind `seen` and `since` | | it comes by its records, from that entry on |
//!
//! The feed keeps this true. `seen` advances over records and moves in the order of the journal,
//! and each is sent as what it means by the table. `floor` sinks only while `seen` stands at the
//! watermark, and below a document only when the device has it. A move that comes later can turn
//! the second line into the third, which sends more than it must. It cannot turn the third into the
//! second, since `since` never sinks while the prefix goes on reaching the document.
//!
//! What the device has by one mark is not sent whole for another ([`has`]): then both say it, and
//! either remains true without the other.
//!
//! A subscription that has no mark of its own takes over another if all that it says is true of the
//! subscription, too; by which rule stands at [`Reading::resume`].

use std::cmp::Reverse;

use bukti_core::authority::{Audience, Grant};
use bukti_core::envelope::Seen;
use bukti_core::id::Position;
use bukti_core::ledger::{DocumentRow, Subscription};
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
    ///
    /// A mark of the same prefix serves as it stands. One of another serves if that has reached this
    /// one since `seen` or longer and no unit inside was moved behind `seen`: whatever lies inside
    /// has lain below the mark's prefix all the time then. A mark of the wider audience serves for
    /// the narrower one only if it owes nothing, since a document enters the two at different
    /// positions.
    pub(super) fn resume(
        subscription: Subscription,
        cursor: &Cursor,
        placements: &Placements,
        watermark: Seen,
    ) -> Self {
        let known = Self::known(&subscription, cursor, placements)
            .map(|mark| (mark.seen, mark.floor, mark.facts));
        let (seen, floor, facts) = known.unwrap_or((watermark, watermark.position, 0));
        Self {
            subscription,
            seen,
            floor: floor.min(watermark.position),
            // A rollback is noticed at `seen` only, so no statement counts as sent beyond it.
            facts: facts.min(seen.position),
        }
    }

    fn known<'a>(
        subscription: &Subscription,
        cursor: &'a Cursor,
        placements: &Placements,
    ) -> Option<&'a Mark> {
        let Subscription {
            prefix, audience, ..
        } = subscription;
        let lineage = placements.lineage(prefix);
        let moved_inside = placements.last_move_inside(prefix);
        let reaches = |mark: &&Mark| {
            let since = lineage.since(&mark.prefix);
            mark.prefix == *prefix
                || since.is_some_and(|since| since.max(moved_inside) <= mark.seen.position)
        };
        let includes = |mark: &&Mark| {
            mark.audience == *audience || (mark.audience.includes(*audience) && mark.floor == 0)
        };
        let serving = cursor.marks.iter().filter(reaches).filter(includes);
        serving.min_by_key(|mark| (mark.floor, Reverse(mark.seen.position)))
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
        lineage.since(&self.subscription.prefix)
    }

    /// Whether the device has everything of a document up to `position` by this reading, once the
    /// feed has come so far.
    fn vouches(&self, row: &DocumentRow, lineage: &Lineage, position: Position) -> bool {
        let reached = self.reads(lineage).is_some_and(|since| since <= position);
        let entered = row.entered(self.audience());
        reached && entered.is_some_and(|entered| self.floor < entered && entered <= position)
    }

    /// The reader's audience.
    pub(super) fn audience(&self) -> Audience {
        self.subscription.audience
    }
}

/// Whether the device has everything of a document up to `position` by any of the readings, once
/// the feed has come so far.
///
/// This alone says what a place in the journal brings: nothing, if the device does not have the
/// document behind it; what stands there, if it had it before; the whole document otherwise.
pub(super) fn has(
    readings: &[Reading],
    row: &DocumentRow,
    lineage: &Lineage,
    position: Position,
) -> bool {
    let mut readings = readings.iter();
    readings.any(|reading| reading.vouches(row, lineage, position))
}

#[cfg(test)]
mod tests;
