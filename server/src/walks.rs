//! Walks over all that a subscription holds: long reads that nobody else waits for.
//!
//! A comparison begins with a copy of what the server holds, which takes a second where that is a
//! hundred thousand documents, and whoever may read much may ask for it again and again. So the walks
//! of all sessions take turns, in the order of asking, off the threads that serve everybody else: of
//! those one at most is busy walking, whoever asks how often. Each session waits with one walk, and a
//! device holds a few sessions, so an honest one comes soon.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::block_in_place;
use tokio::time::timeout;

/// The turns of all sessions.
#[derive(Debug)]
pub struct Walks {
    turn: Semaphore,
}

impl Default for Walks {
    fn default() -> Self {
        Self {
            turn: Semaphore::new(1),
        }
    }
}

impl Walks {
    /// Walks when it is this one's turn, or not at all if that does not come within `wait_max`: whoever
    /// waited so long may have gone. May be dropped while it waits.
    pub async fn walk<T>(&self, wait_max: Duration, work: impl FnOnce() -> T) -> Option<T> {
        let turn = timeout(wait_max, self.turn.acquire()).await.ok()?;
        let _turn = turn.expect("turns are never closed");
        // Whatever else this thread was to do goes on on another.
        Some(block_in_place(work))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// Waits for another task: only where that cannot run at all it takes so long.
    fn awaited(receiver: &Receiver<()>) -> bool {
        receiver.recv_timeout(LONG).is_ok()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn sessions_are_served_while_one_walks() {
        let (served, serving) = channel();
        let walks = Arc::new(Walks::default());
        let walk = tokio::spawn(async move {
            tokio::spawn(async move { served.send(()) });
            walks.walk(LONG, move || awaited(&serving)).await
        });
        assert_eq!(walk.await.unwrap(), Some(true), "the only worker was held");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn walks_take_turns() {
        let walks = Arc::new(Walks::default());
        let (begun, begins) = channel();
        let (end, ending) = channel();
        let first = tokio::spawn({
            let walks = walks.clone();
            async move {
                let walk = move || {
                    begun.send(()).unwrap();
                    awaited(&ending)
                };
                walks.walk(LONG, walk).await
            }
        });
        assert!(block_in_place(|| awaited(&begins)));
        assert_eq!(walks.walk(Duration::ZERO, || ()).await, None);
        let mut second = std::pin::pin!(walks.walk(LONG, || ()));
        let waits = tokio::select! {
            biased;
            _ = &mut second => false,
            () = std::future::ready(()) => true,
        };
        assert!(waits, "two walk at once");
        end.send(()).unwrap();
        assert_eq!(second.await, Some(()));
        assert_eq!(first.await.unwrap(), Some(true));
    }
}
