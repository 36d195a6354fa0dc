//! How much a session may have the server inflate beyond what it sent.
//!
//! What one run inflates to is bounded, and refused runs cost their sender nothing: 4 KB may be thirty
//! changes of a mebibyte each, which take a tenth of a second to read before the last turns out to be
//! none. Whoever sends such runs again and again would keep the threads that serve everybody.

use crate::Mono;
use crate::bye::{Bye, ByeCode};
use crate::limits;

/// Bytes that may be inflated for nothing.
#[derive(Debug)]
pub(super) struct Inflating {
    left: u64,
    at: Mono,
}

impl Default for Inflating {
    fn default() -> Self {
        Self {
            left: limits::INFLATED_FREE_BYTES,
            at: 0,
        }
    }
}

impl Inflating {
    pub(super) fn refill(&mut self, now: Mono) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let refill = passed.saturating_mul(limits::INFLATED_FREE_BYTES_PER_SECOND) / 1_000;
        self.left = self
            .left
            .saturating_add(refill)
            .min(limits::INFLATED_FREE_BYTES);
    }

    /// Counts what came in so many bytes and was inflated to so many.
    pub(super) fn spend(&mut self, received: usize, inflated: usize) -> Result<(), Bye> {
        let earned = received.saturating_mul(limits::INFLATED_RATIO_HONEST);
        let spent = inflated.saturating_sub(earned) as u64;
        let left = self.left.checked_sub(spent);
        self.left = left.ok_or_else(|| {
            let sentence = "The device sends what inflates to far more than evidence does.";
            Bye::new(ByeCode::Flood, sentence)
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: usize = limits::INFLATED_FREE_BYTES_PER_SECOND as usize;

    #[test]
    fn what_inflates_as_text_does_is_never_too_much() {
        let mut inflating = Inflating::default();
        for _ in 0..10_000 {
            let inflated = 100_000 * limits::INFLATED_RATIO_HONEST;
            assert_eq!(inflating.spend(100_000, inflated), Ok(()));
        }
    }

    #[test]
    fn what_inflates_to_more_is_taken_once_and_then_by_time() {
        let mut inflating = Inflating::default();
        let whole = limits::INFLATED_FREE_BYTES as usize;
        assert_eq!(inflating.spend(0, whole), Ok(()));
        let bye = inflating.spend(0, 1).unwrap_err();
        assert_eq!(bye.code, ByeCode::Flood);
        inflating.refill(1_000);
        assert_eq!(inflating.spend(0, SECOND), Ok(()));
        assert!(inflating.spend(0, 1).is_err());
        // A clock that stands still gives nothing, and a long pause no more than once the whole.
        inflating.refill(1_000);
        assert!(inflating.spend(0, 1).is_err());
        inflating.refill(Mono::MAX);
        assert_eq!(inflating.spend(0, whole), Ok(()));
        assert!(inflating.spend(0, 1).is_err());
    }
}
