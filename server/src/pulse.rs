//! Whether a peer is there.
//!
//! While a session has something to send nothing of its peer is read, and that may take long on a slow
//! link. So a peer is not silent because nothing was read of it for a while, but because it let a ping
//! go unanswered until the next one was due, with all that had arrived read by then.

use futures_util::{Stream, StreamExt};

/// A peer and the pings it is sent.
#[derive(Debug, Default)]
pub struct Pulse {
    unanswered: bool,
}

/// What comes first of a peer's messages and the time for a ping.
#[derive(Debug, PartialEq, Eq)]
pub enum Beat<M> {
    /// A message, or the end of them.
    Heard(Option<M>),
    /// It is time for a ping. Its answer has the time until the next one.
    Ping,
    /// The last ping was not answered.
    Silent,
}

impl Pulse {
    /// Waits for a message, or for `tick` where none is there. May be dropped and called again.
    pub async fn next<M>(
        &mut self,
        messages: &mut (impl Stream<Item = M> + Unpin),
        tick: impl Future<Output = ()>,
    ) -> Beat<M> {
        tokio::select! {
            biased;
            message = messages.next() => {
                self.unanswered = false;
                Beat::Heard(message)
            }
            () = tick => match std::mem::replace(&mut self.unanswered, true) {
                true => Beat::Silent,
                false => Beat::Ping,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn a_peer_whose_answer_waits_to_be_read_is_not_silent() {
        let mut pulse = Pulse::default();
        let mut nothing = stream::pending::<u8>();
        assert_eq!(pulse.next(&mut nothing, ready(())).await, Beat::Ping);
        // However late it is: the next ping is due as well.
        let mut answers = stream::iter([1, 2]);
        for answer in [1, 2] {
            let beat = pulse.next(&mut answers, ready(())).await;
            assert_eq!(beat, Beat::Heard(Some(answer)));
        }
        assert_eq!(pulse.next(&mut answers, pending()).await, Beat::Heard(None));
    }

    #[tokio::test]
    async fn a_peer_that_was_not_pinged_is_not_silent_and_one_that_does_not_answer_is() {
        let mut pulse = Pulse::default();
        let mut nothing = stream::pending::<u8>();
        let mut beats = Vec::new();
        beats.push(pulse.next(&mut nothing, ready(())).await);
        let beat = pulse.next(&mut stream::iter([7]), pending()).await;
        assert_eq!(beat, Beat::Heard(Some(7)));
        for _ in 0..2 {
            beats.push(pulse.next(&mut nothing, ready(())).await);
        }
        assert_eq!(beats, [Beat::Ping, Beat::Ping, Beat::Silent]);
    }
}
