//! How much one batch takes on, so that nobody waits long for somebody else's.
//!
//! Whoever comes while a batch is judged waits for the rest of it and for their own turn in the next.
//! What a batch takes follows from how many documents it touches, since each is proven once, however
//! many runs of it there are; what a document costs differs with its history and with the disk. So
//! the last batches say how many documents fit.

use std::time::Duration;

/// What a batch is meant to take: two of them, and nobody notices; one sync of a usual disk in it
/// is little beside the work.
const BATCH: Duration = Duration::from_millis(50);

/// Documents of a batch whatever they take: a sync for less would cost more than it.
const DOCUMENTS_MIN: usize = 8;

/// Weight of the last batch among those before it.
const WEIGHT: f64 = 0.25;

/// What a document took in the last batches.
#[derive(Debug)]
pub struct Pace {
    seconds_each: f64,
}

impl Default for Pace {
    /// Begins with batches that are small whatever a document takes.
    fn default() -> Self {
        Self {
            seconds_each: BATCH.as_secs_f64() / DOCUMENTS_MIN as f64,
        }
    }
}

impl Pace {
    /// Documents that the next batch may touch, at least eight.
    pub fn documents_max(&self) -> usize {
        let fit = BATCH.as_secs_f64() / self.seconds_each.max(f64::EPSILON);
        // A float beyond an integer's range becomes its largest.
        (fit as usize).max(DOCUMENTS_MIN)
    }

    /// A batch with so many documents took so long.
    pub fn took(&mut self, documents: usize, elapsed: Duration) {
        let each = elapsed.as_secs_f64() / documents.max(1) as f64;
        self.seconds_each += (each - self.seconds_each) * WEIGHT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size at which batches settle if a sync and each document take so long.
    fn settled(sync_ms: f64, document_ms: f64) -> (usize, f64) {
        let mut pace = Pace::default();
        let cost = |documents: usize| sync_ms + document_ms * documents as f64;
        for _ in 0..200 {
            let documents = pace.documents_max();
            pace.took(
                documents,
                Duration::from_secs_f64(cost(documents) / 1_000.0),
            );
        }
        (pace.documents_max(), cost(pace.documents_max()))
    }

    #[test]
    fn batches_settle_near_what_they_are_meant_to_take() {
        for (sync_ms, document_ms) in [(1.0, 0.5), (5.0, 0.2), (20.0, 1.0), (1.0, 5.0)] {
            let (documents, took) = settled(sync_ms, document_ms);
            assert!((40.0..=55.0).contains(&took), "{documents} took {took} ms");
        }
    }

    #[test]
    fn slow_documents_still_come_eight_at_a_time() {
        assert_eq!(settled(1.0, 40.0).0, DOCUMENTS_MIN);
        assert_eq!(settled(300.0, 1.0).0, DOCUMENTS_MIN);
    }

    #[test]
    fn one_slow_batch_does_not_decide() {
        let mut pace = Pace::default();
        for _ in 0..50 {
            pace.took(50, Duration::from_millis(50));
        }
        let before = pace.documents_max();
        pace.took(1, Duration::from_millis(20));
        assert!(pace.documents_max() >= DOCUMENTS_MIN && pace.documents_max() < before);
        for _ in 0..20 {
            pace.took(50, Duration::from_millis(50));
        }
        assert!(pace.documents_max() > before * 9 / 10);
    }
}
