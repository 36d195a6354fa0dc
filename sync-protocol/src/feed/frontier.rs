//! The nearest places of many sorted sources, in bounded memory.
//!
//! A reader of a province merges a thousand villages, a reader of everything eighty thousand. Only
//! the nearest are kept; what lies beyond is looked for again once those are used up, which comes
//! after at least as many steps as places are kept.

use std::collections::BTreeMap;

/// Places in rising order with what stands there. No two sources share a place.
#[derive(Debug)]
pub(super) struct Frontier<P, T> {
    nearest: BTreeMap<P, T>,
    most: usize,
    /// The nearest place that was left out: nothing at or behind it is known.
    beyond: Option<P>,
}

impl<P: Ord + Copy, T> Frontier<P, T> {
    /// Keeps up to `most` places.
    pub(super) fn new(most: usize) -> Self {
        Self {
            nearest: BTreeMap::new(),
            most,
            beyond: None,
        }
    }

    /// Takes a source's next place.
    pub(super) fn offer(&mut self, place: P, what: T) {
        if self.beyond.is_some_and(|beyond| place >= beyond) {
            return;
        }
        self.nearest.insert(place, what);
        if self.nearest.len() > self.most {
            self.beyond = self.nearest.pop_last().map(|(place, _)| place);
        }
    }

    /// The nearest place.
    pub(super) fn first(&self) -> Option<(P, &T)> {
        self.nearest
            .first_key_value()
            .map(|(place, what)| (*place, what))
    }

    /// Takes the nearest place out.
    pub(super) fn pop_first(&mut self) -> Option<(P, T)> {
        self.nearest.pop_first()
    }

    /// Whether nothing is kept although something was left out: the sources must be asked again.
    pub(super) fn is_spent(&self) -> bool {
        self.nearest.is_empty() && self.beyond.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Merges `sources` as a feed does: the next place of a source is offered when its former one
    /// is taken, and all are asked again when the frontier is spent.
    fn merge(sources: &[Vec<u64>], most: usize) -> (Vec<u64>, usize) {
        let (mut merged, mut rounds) = (Vec::new(), 0);
        let mut reached = 0;
        let next = |source: &Vec<u64>, after| source.iter().copied().find(|place| *place > after);
        loop {
            rounds += 1;
            let mut frontier = Frontier::new(most);
            for (index, source) in sources.iter().enumerate() {
                next(source, reached)
                    .into_iter()
                    .for_each(|place| frontier.offer(place, index));
                assert!(frontier.nearest.len() <= most);
            }
            while let Some((place, index)) = frontier.pop_first() {
                merged.push(place);
                reached = place;
                next(&sources[index], reached)
                    .into_iter()
                    .for_each(|place| frontier.offer(place, index));
            }
            if !frontier.is_spent() {
                return (merged, rounds);
            }
        }
    }

    proptest! {
        #[test]
        fn any_number_of_sources_merges_in_order_within_the_bound(
            owners in proptest::collection::vec(0_usize..12, 0..120),
            most in 1_usize..6,
        ) {
            let mut sources = vec![Vec::new(); 12];
            for (place, owner) in (1..).zip(&owners) {
                sources[*owner].push(place);
            }
            let (merged, rounds) = merge(&sources, most);
            prop_assert_eq!(merged, (1..=owners.len() as u64).collect::<Vec<_>>());
            prop_assert!(rounds <= owners.len() / most + 1, "{} rounds", rounds);
        }
    }
}
