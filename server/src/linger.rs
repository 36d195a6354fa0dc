//! Reading on behind the last word to a device.
//!
//! A connection that is closed over what was not read is reset, and the peer may lose what was said
//! last. What is read is dropped, and bounded in time and bytes.

use std::time::Duration;

use axum::extract::ws::Message;
use bukti_sync_protocol::bye::ByeCode;
use bukti_sync_protocol::limits;
use futures_util::{Stream, StreamExt};
use tokio::time::sleep;

use crate::app::App;
use crate::sessions::Signals;

/// How long a device is read from: what it has under way takes seconds on a slow link.
const TIME_MAX: Duration = Duration::from_secs(10);

/// The same of a server that stops, of the ten seconds that it has by default.
const STOPPING_MAX: Duration = Duration::from_secs(1);

/// Bytes that are read: what a device sends within its credit, and as much that needs none.
const BYTES_MAX: usize = 2 * limits::CREDIT_WINDOW as usize;

/// Bytes that the shortest message of a peer takes on the link.
const MESSAGE_BYTES: usize = 6;

/// Whether the last word of a session is worth reading on for. Strangers would keep sockets for
/// nothing; who is told that it was revoked showed that it is that device, before it was bound. A
/// connection counts until that is over.
pub fn is_read_on(is_bound: bool, code: &ByeCode) -> bool {
    is_bound || *code == ByeCode::Revoked
}

/// Reads on until the peer closes as well, a newer connection of the device needs the place, or it
/// took as long or as many bytes as it may.
pub async fn linger<E>(
    messages: &mut (impl Stream<Item = Result<Message, E>> + Unpin),
    signals: &Signals,
    app: &App,
) {
    let patience = Duration::from_secs(app.config.shutdown_timeout_s);
    let stopped = async {
        app.stopping.cancelled().await;
        sleep(STOPPING_MAX.min(patience / 2)).await;
    };
    let replaced = async {
        while !signals.replaced() {
            signals.wake.notified().await;
        }
    };
    tokio::select! {
        () = rest(messages, BYTES_MAX) => {}
        () = sleep(TIME_MAX) => {}
        () = stopped => {}
        () = replaced => {}
    }
}

/// Reads until the end, or so many bytes.
async fn rest<E>(
    messages: &mut (impl Stream<Item = Result<Message, E>> + Unpin),
    bytes_max: usize,
) {
    let mut bytes = 0;
    while bytes < bytes_max
        && let Some(Ok(message)) = messages.next().await
    {
        bytes += MESSAGE_BYTES
            + match message {
                Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
                Message::Text(text) => text.len(),
                Message::Close(_) => 0,
            };
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    #[test]
    fn strangers_are_not_read_on_and_a_device_that_is_told_of_its_revocation_is() {
        assert!(!is_read_on(false, &ByeCode::Malformed));
        assert!(is_read_on(true, &ByeCode::Malformed));
        assert!(is_read_on(false, &ByeCode::Revoked));
    }

    #[tokio::test]
    async fn no_more_is_read_of_a_device_than_may_be_under_way() {
        let mut read = 0;
        let endless = stream::repeat_with(|| {
            read += 1;
            Ok::<_, Infallible>(Message::Binary(vec![0; 94].into()))
        });
        rest(&mut Box::pin(endless), 1_000).await;
        assert_eq!(read, 10);
        let mut empty =
            stream::repeat_with(|| Ok::<_, Infallible>(Message::Ping(Vec::new().into())));
        rest(&mut empty, 1_000).await;
        let mut few = stream::iter([Ok::<_, Infallible>(Message::Text("a".into()))]);
        rest(&mut few, 1_000).await;
        assert!(few.next().await.is_none());
    }
}
