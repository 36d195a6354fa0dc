//! Where units stand by now: what decrees moved out of the regions that their codes name.
//!
//! A document keeps the scope of its root envelope for good, and with it the code of its unit. A
//! move changes only what lies above that unit: [`Placements`] gives each scope its [`Lineage`],
//! the scopes that reach it, and everything that asks whether a grant or a prefix reaches a scope
//! asks the lineage. Where nothing was moved, that is the code's own.
//!
//! Beside each scope of a lineage stands the position from which it has been there without a
//! break, so that a reader of it can tell what came by a move from what was written under its eyes.

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::id::Position;
use crate::scope::Scope;

/// A scope with everything that reaches it, nearest first and `all` last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage(Vec<(Scope, Position)>);

impl Lineage {
    /// The scope itself.
    pub fn scope(&self) -> &Scope {
        &self.0[0].0
    }

    /// The scope and everything above it, nearest first.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter().map(|(scope, _)| scope)
    }

    /// Whether `prefix` is the scope or lies above it.
    pub fn is_below(&self, prefix: &Scope) -> bool {
        self.since(prefix).is_some()
    }

    /// From which position on `prefix` has reached the scope without a break: 0 where it always
    /// did, nothing where it does not.
    pub fn since(&self, prefix: &Scope) -> Option<Position> {
        let found = self.0.iter().find(|(scope, _)| scope == prefix);
        found.map(|(_, since)| *since)
    }

    /// The scope directly above, or nothing for `all`.
    pub fn parent(&self) -> Option<&Scope> {
        self.0.get(1).map(|(scope, _)| scope)
    }
}

/// The lineage of a scope that nothing moved.
impl From<&Scope> for Lineage {
    fn from(scope: &Scope) -> Self {
        Self(scope.self_and_ancestors().map(|scope| (scope, 0)).collect())
    }
}

impl From<&Self> for Lineage {
    fn from(lineage: &Self) -> Self {
        lineage.clone()
    }
}

/// Where the last move put a unit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Placement {
    /// What it stands under.
    #[n(0)]
    pub parent: Scope,
    /// Position of the move.
    #[n(1)]
    pub position: Position,
    /// What reached it before the move as it does now.
    #[n(2)]
    kept: Vec<Scope>,
}

/// What a move changed above its unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// What reached the unit before, the unit itself left out.
    pub from: Vec<Scope>,
    /// What reaches it from here on.
    pub to: Vec<Scope>,
}

/// Why a unit cannot be moved to a region.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// There is nothing above `all`.
    #[error("all is not a unit: expected a region code or an agency such as 13.76/dinkes")]
    All,
    /// Onto itself.
    #[error("{0} cannot be moved onto itself")]
    Itself(Scope),
    /// Under an agency or `all`.
    #[error("{unit} cannot be moved under {parent}: expected the code of a region")]
    NotARegion {
        /// What was to be moved.
        unit: Scope,
        /// Where to.
        parent: Scope,
    },
    /// Under something of its own level or a lower one, its own parts among them.
    #[error("{unit} cannot be moved under {parent}: expected a region of a higher level")]
    NotAbove {
        /// What was to be moved.
        unit: Scope,
        /// Where to.
        parent: Scope,
    },
}

/// What codes of one district begin with.
const DISTRICT_BYTES: usize = "13.07".len();

/// Every unit that was moved.
///
/// Each move makes a copy, since readers keep what they have. Copies share the districts that the move
/// left as they are, so that one among ten thousand does not cost ten thousand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placements {
    /// By what their codes begin with, which keeps their order.
    districts: BTreeMap<[u8; DISTRICT_BYTES], Arc<BTreeMap<Scope, Placement>>>,
    count: usize,
    version: Position,
}

impl Placements {
    /// Those that rows or statements name.
    pub fn of(units: impl IntoIterator<Item = (Scope, Placement)>) -> Self {
        let mut placements = Self::default();
        for (unit, placement) in units {
            placements.put(unit, placement);
        }
        placements
    }

    fn put(&mut self, unit: Scope, placement: Placement) {
        self.version = self.version.max(placement.position);
        let district = self.districts.entry(district(&unit)).or_default();
        let before = Arc::make_mut(district).insert(unit, placement);
        self.count += usize::from(before.is_none());
    }

    /// Position of the last move; 0 before the first.
    pub fn version(&self) -> Position {
        self.version
    }

    /// How many units were moved.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing was ever moved.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Where a unit was put, if it was ever moved.
    pub fn placement(&self, unit: &Scope) -> Option<&Placement> {
        self.districts.get(&district(unit))?.get(unit)
    }

    /// Every unit that was ever moved with where it was put, in the order of their codes.
    pub fn moved(&self) -> impl Iterator<Item = (&Scope, &Placement)> {
        self.districts.values().flat_map(|units| units.iter())
    }

    /// Position of the last move of a unit that stands inside `prefix` by now; 0 if none there was
    /// ever moved. The prefix itself does not count.
    pub fn last_move_inside(&self, prefix: &Scope) -> Position {
        let inside = self
            .moved()
            .filter(|(unit, _)| *unit != prefix && self.covers(prefix, unit));
        let last = inside.map(|(_, placement)| placement.position).max();
        last.unwrap_or(0)
    }

    /// A scope with everything that reaches it.
    pub fn lineage(&self, scope: &Scope) -> Lineage {
        let mut steps = vec![(scope.clone(), 0)];
        let mut passed: Vec<&Placement> = Vec::new();
        while let Some((last, _)) = steps.last() {
            let placed = self.placement(last);
            passed.extend(placed);
            let Some(next) = placed.map_or_else(|| last.parent(), |at| Some(at.parent.clone()))
            else {
                break;
            };
            let breaks = passed.iter().filter(|at| !at.kept.contains(&next));
            let since = breaks.map(|at| at.position).max();
            steps.push((next, since.unwrap_or(0)));
        }
        Lineage(steps)
    }

    /// Whether `prefix` reaches `scope`.
    pub fn covers(&self, prefix: &Scope, scope: &Scope) -> bool {
        if self.is_empty() {
            return prefix.covers(scope);
        }
        self.lineage(scope).is_below(prefix)
    }

    /// From which position on one of two scopes has reached the other without a break: 0 where it
    /// always did, nothing where neither does.
    pub fn along(&self, one: &Scope, other: &Scope) -> Option<Position> {
        if self.is_empty() {
            return (one.covers(other) || other.covers(one)).then_some(0);
        }
        let above = self.lineage(one).since(other);
        above.or_else(|| self.lineage(other).since(one))
    }

    /// Whether the move of `unit` at `at` brought anything inside `prefix` or above it.
    pub fn brought(&self, prefix: &Scope, unit: &Scope, at: Position) -> bool {
        let inside = self.lineage(unit).since(prefix) == Some(at);
        inside || self.lineage(prefix).0.iter().any(|(_, since)| *since == at)
    }

    /// Position of the first move behind `after` that brought anything inside `prefix` or above it.
    pub fn first_brought(&self, prefix: &Scope, after: Position) -> Option<Position> {
        let above = self.lineage(prefix).0.into_iter().map(|(_, since)| since);
        let inside = self.moved();
        let inside = inside.filter_map(|(unit, _)| self.lineage(unit).since(prefix));
        above.chain(inside).filter(|since| *since > after).min()
    }

    /// Puts a unit under a region from `position` on. Levels rise along every lineage, so none
    /// ever leads back to its beginning.
    ///
    /// # Errors
    /// [`MoveError`]; nothing was changed.
    pub fn place(
        &mut self,
        position: Position,
        unit: &Scope,
        parent: &Scope,
    ) -> Result<Moved, MoveError> {
        check(unit, parent)?;
        let before = self.lineage(unit);
        let above = self.lineage(parent);
        // Only what never lost the unit counts as having kept it: whoever got it by an earlier move
        // gets it by this one again.
        let kept = above.iter().filter(|scope| before.since(scope) == Some(0));
        let placement = Placement {
            parent: parent.clone(),
            position,
            kept: kept.cloned().collect(),
        };
        self.put(unit.clone(), placement);
        Ok(Moved {
            from: before.iter().skip(1).cloned().collect(),
            to: above.iter().cloned().collect(),
        })
    }
}

fn district(unit: &Scope) -> [u8; DISTRICT_BYTES] {
    let mut district = [0; DISTRICT_BYTES];
    for (to, byte) in district.iter_mut().zip(unit.as_str().bytes()) {
        *to = byte;
    }
    district
}

fn check(unit: &Scope, parent: &Scope) -> Result<(), MoveError> {
    let Some(level) = unit.level() else {
        return Err(MoveError::All);
    };
    if unit == parent {
        return Err(MoveError::Itself(unit.clone()));
    }
    let (unit_of, above) = (unit.clone(), parent.clone());
    let Some(upper) = parent.level().filter(|_| parent.agency().is_none()) else {
        return Err(MoveError::NotARegion {
            unit: unit_of,
            parent: above,
        });
    };
    if unit.agency().is_some() || upper < level {
        return Ok(());
    }
    Err(MoveError::NotAbove {
        unit: unit_of,
        parent: above,
    })
}

#[cfg(test)]
mod tests;
