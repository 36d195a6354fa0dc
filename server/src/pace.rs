//! How much one batch takes on, so that nobody waits long for somebody else's.
//!
//! Whoever comes while a batch is judged waits for the rest of it and for their own turn in the next.
//! What a batch takes follows mostly from how many documents it touches, since each is proven once, however
//! many runs of it there are; what a document costs differs with its history and its runs. So the last
//! batches say how many fit. Documents of which nothing had to be proven say nothing: whoever sends again what
//! the server holds would make it believe that everything is quick.

use std::time::Duration;

/// What judging a batch is meant to take: two of them, and nobody notices.
const JUDGING: Duration = Duration::from_millis(10);

/// Where a sync takes long, judging may take as many times it: the disk is idle for two thirds of
/// the time at most, and a sync serves many.
const JUDGING_PER_SYNC: f64 = 2.0;

/// Documents of the first batch, before anything was learned.
const DOCUMENTS_FIRST: usize = 8;

/// Weight of the last batch among those before it.
const WEIGHT: f64 = 0.25;

/// What documents and syncs took in the last batches.
#[derive(Debug)]
pub struct Pace {
    document_seconds: f64,
    sync_seconds: f64,
}

impl Default for Pace {
    /// Begins with small batches.
    fn default() -> Self {
        Self {
            document_seconds: JUDGING.as_secs_f64() / DOCUMENTS_FIRST as f64,
            sync_seconds: 0.0,
        }
    }
}

impl Pace {
    /// Documents that the next batch may touch, at least one: some take long to prove.
    pub fn documents_max(&self) -> usize {
        let judging = JUDGING
            .as_secs_f64()
            .max(self.sync_seconds * JUDGING_PER_SYNC);
        let fit = judging / self.document_seconds.max(f64::EPSILON);
        // A float beyond an integer's range becomes its largest.
        (fit as usize).max(1)
    }

    /// A batch of which so many documents were judged took so long, of it so long to sync.
    pub fn took(&mut self, judged: usize, elapsed: Duration, synced: Duration) {
        if judged > 0 {
            let judging = elapsed.saturating_sub(synced).as_secs_f64();
            let each = judging / judged as f64;
            self.document_seconds += (each - self.document_seconds) * WEIGHT;
        }
        self.sync_seconds += (synced.as_secs_f64() - self.sync_seconds) * WEIGHT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(count: f64) -> Duration {
        Duration::from_secs_f64(count / 1_000.0)
    }

    /// Documents of a batch once sizes have settled, if a sync and each document take so long.
    fn settled(sync_ms: f64, document_ms: f64) -> usize {
        let mut pace = Pace::default();
        for _ in 0..100 {
            let documents = pace.documents_max();
            let elapsed = milliseconds(sync_ms + document_ms * documents as f64);
            pace.took(documents, elapsed, milliseconds(sync_ms));
        }
        pace.documents_max()
    }

    #[test]
    fn judging_a_batch_takes_ten_milliseconds_on_a_quick_disk() {
        for (document_ms, documents) in [(0.5, 20), (0.1, 100), (1.0, 10)] {
            assert!(settled(0.3, document_ms).abs_diff(documents) <= 1);
        }
    }

    #[test]
    fn a_slow_disk_has_more_judged_for_each_sync() {
        assert!(settled(20.0, 1.0).abs_diff(40) <= 1);
    }

    #[test]
    fn documents_that_take_long_come_one_at_a_time() {
        assert_eq!(Pace::default().documents_max(), DOCUMENTS_FIRST);
        assert_eq!(settled(1.0, 40.0), 1);
    }

    #[test]
    fn a_document_that_takes_long_makes_the_next_batches_smaller_for_a_while() {
        let mut pace = Pace::default();
        let usual = |pace: &mut Pace| pace.took(20, milliseconds(10.0), Duration::ZERO);
        (0..50).for_each(|_| usual(&mut pace));
        let before = pace.documents_max();
        pace.took(1, milliseconds(30.0), Duration::ZERO);
        assert!((1..=2).contains(&pace.documents_max()));
        (0..30).for_each(|_| usual(&mut pace));
        assert!(pace.documents_max().abs_diff(before) <= 1);
    }

    #[test]
    fn what_is_not_judged_makes_no_batch_larger() {
        let mut pace = Pace::default();
        let before = pace.documents_max();
        for _ in 0..100 {
            pace.took(0, milliseconds(0.2), Duration::ZERO);
        }
        assert_eq!(pace.documents_max(), before);
    }
}
