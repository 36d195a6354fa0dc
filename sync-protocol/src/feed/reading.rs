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
//! The same holds of statements, which have neither audience nor floor. A mark says two things of
//! them: that those up to `facts` were sent as units stood then, and that those which a unit's move
//! up to `moves` brought were sent, too. Of a statement that *stands* at one position and has
//! concerned the prefix *since* another without a break:
//!
//! | stands | since | |
//! |---|---|---|
//! | up to `facts` | up to where it stands, or up to `moves` | the device has it |
//! | up to `facts` | behind both | it comes at the move that stands at `since` |
//! | behind `facts` | up to where it stands, or up to `moves` | it comes where it stands |
//! | behind `facts` | behind both | it comes at the move that stands at `since` |
//!
//! The two advance together, but for a mark that just began: its `facts` are 0, and its `moves` the
//! last move, so that a new device is told everything where it stands and no move is gone through
//! for it. The cursors of a server that let no statements come with moves have no `moves`.
//! They vouch for the same up to the first move that brought their prefix anything
//! ([`Reading::told`]). `since` never sinks here either while a scope goes on concerning a prefix.
//!
//! Marks may stand at different places: one that just began is ahead of the others, and owes every
//! document up to where it stands. So none that is past a move has what comes there for another.
//!
//! What the device has by one mark is not sent whole for another ([`has`]): then both say it, and
//! either remains true without the other.
//!
//! A subscription that has no mark of its own takes over another if all that it says is true of the
//! subscription, too; by which rule stands at [`Resuming::resume`]. What it says of statements is
//! taken over by the same rule, with `moves` for `seen`.

use std::cell::OnceCell;
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
    pub(super) moves: Position,
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

/// A cursor that readings go on from.
pub(super) struct Resuming<'a> {
    cursor: &'a Cursor,
    placements: &'a Placements,
    watermark: Seen,
    /// Of each mark the first move behind it that brought its prefix anything. Looked for once, however
    /// many subscriptions the mark reaches, since that looks at every unit that was ever moved.
    untold: Vec<OnceCell<Option<Position>>>,
}

impl<'a> Resuming<'a> {
    pub(super) fn new(cursor: &'a Cursor, placements: &'a Placements, watermark: Seen) -> Self {
        Self {
            cursor,
            placements,
            watermark,
            untold: vec![OnceCell::new(); cursor.marks.len()],
        }
    }

    /// Goes on where the cursor says, or starts with every document owed.
    ///
    /// A mark of the same prefix serves as it stands. One of another serves if that has reached this
    /// one since `seen` or longer and no unit inside was moved behind `seen`: whatever lies inside
    /// has lain below the mark's prefix all the time then. A mark of the wider audience serves for
    /// the narrower one only if it owes nothing, since a document enters the two at different
    /// positions.
    pub(super) fn resume(&self, subscription: Subscription) -> Reading {
        let reached = Reached::new(&subscription.prefix, self.placements);
        let known = self.known(&subscription, &reached);
        let (seen, floor) = known.map_or((self.watermark, self.watermark.position), |mark| {
            (mark.seen, mark.floor)
        });
        let marks = self.cursor.marks.iter().zip(&self.untold);
        let told = marks.filter_map(|(mark, untold)| self.told(mark, untold, &reached));
        let told = told.max_by_key(|(facts, moves)| (*facts).min(*moves));
        let (facts, moves) = told.unwrap_or((0, self.placements.version()));
        Reading {
            subscription,
            seen,
            floor: floor.min(self.watermark.position),
            // A rollback is noticed at `seen` only, so no statement counts as sent beyond it.
            facts: facts.min(seen.position),
            moves: moves.min(seen.position),
        }
    }

    /// What a mark says of the statements that concern `prefix`: up to where they were sent, and
    /// those of units moved up to where. A mark that says nothing of moves vouches for none that
    /// brought its prefix anything.
    fn told(
        &self,
        mark: &Mark,
        untold: &OnceCell<Option<Position>>,
        reached: &Reached<'_>,
    ) -> Option<(Position, Position)> {
        // First, since what follows looks at every unit that was ever moved.
        let since = reached.since(mark)?;
        let facts = mark.facts.min(mark.seen.position);
        let untold =
            *untold.get_or_init(|| self.placements.first_brought(&mark.prefix, mark.moves));
        let moves = match untold.filter(|at| *at <= facts) {
            Some(at) => at.saturating_sub(1),
            None => mark.moves.max(facts),
        };
        (since <= moves).then_some((facts, moves))
    }

    fn known(&self, subscription: &Subscription, reached: &Reached<'_>) -> Option<&'a Mark> {
        let audience = subscription.audience;
        let reaches = |mark: &&Mark| {
            let since = reached.since(mark);
            since.is_some_and(|since| since <= mark.seen.position)
        };
        let includes = |mark: &&Mark| {
            mark.audience == audience || (mark.audience.includes(audience) && mark.floor == 0)
        };
        let serving = self.cursor.marks.iter().filter(reaches).filter(includes);
        serving.min_by_key(|mark| (mark.floor, Reverse(mark.seen.position)))
    }
}

impl Reading {
    /// Takes note that the statements up to `position` were sent, and those of moves up to there.
    pub(super) fn settle_facts(&mut self, position: Position) {
        self.facts = self.facts.max(position);
        self.moves = self.moves.max(position);
    }

    /// The reading as a cursor keeps it.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            prefix: self.subscription.prefix.clone(),
            audience: self.subscription.audience,
            seen: self.seen,
            floor: self.floor,
            facts: self.facts,
            moves: self.moves,
        }
    }

    /// Whether `scope` lies inside the prefix or above it; gives since when.
    pub(super) fn touches(&self, scope: &Scope, placements: &Placements) -> Option<Position> {
        placements.along(&self.subscription.prefix, scope)
    }

    /// Whether the device has a statement by this reading, once the feed has come to `upto`: one
    /// at `position` that has concerned the prefix `since`. Nobody asks for a place farther back
    /// than just below the statement, so `upto` reaches whatever move came before it.
    pub(super) fn has_fact(&self, position: Position, since: Position, upto: Position) -> bool {
        position <= self.facts.max(upto) && since <= self.moves.max(upto)
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

/// What reaches the prefix of a subscription, and how long all inside has lain there.
struct Reached<'a> {
    prefix: &'a Scope,
    lineage: Lineage,
    moved_inside: Position,
}

impl<'a> Reached<'a> {
    fn new(prefix: &'a Scope, placements: &Placements) -> Self {
        Self {
            prefix,
            lineage: placements.lineage(prefix),
            moved_inside: placements.last_move_inside(prefix),
        }
    }

    /// Since when a mark has reached the prefix and all inside; always, where it is of the prefix itself.
    fn since(&self, mark: &Mark) -> Option<Position> {
        if mark.prefix == *self.prefix {
            return Some(0);
        }
        let since = self.lineage.since(&mark.prefix)?;
        Some(since.max(self.moved_inside))
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
