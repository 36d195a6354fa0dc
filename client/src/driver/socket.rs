//! A WebSocket with small buffers that carries binary messages.

use std::time::Duration;

use bukti_sync_protocol::limits::FRAME_BYTES_MAX;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::limits::{CONNECT_MS, SOCKET_BUFFER_BYTES, SOCKET_WRITE_BYTES_MAX};

#[derive(Debug)]
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// When the last message came, of whatever kind.
    heard_at: Instant,
    /// When the server was asked whether it is there, if nothing came since.
    asked_at: Option<Instant>,
    pings: u64,
}

/// What waiting for the server brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A binary message.
    Frame(Vec<u8>),
    /// All pings up to this number were answered.
    Answer(u64),
    /// Nothing for so long that the server is to be asked with [`Socket::ping`].
    Nothing,
}

impl Socket {
    /// Connects within [`CONNECT_MS`]; the error is for people.
    pub(super) async fn connect(url: &str) -> Result<Self, String> {
        let config = WebSocketConfig::default()
            .read_buffer_size(SOCKET_BUFFER_BYTES)
            .write_buffer_size(SOCKET_BUFFER_BYTES)
            .max_write_buffer_size(SOCKET_WRITE_BYTES_MAX)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let connecting = connect_async_with_config(url, Some(config), true);
        match timeout(Duration::from_millis(CONNECT_MS), connecting).await {
            Ok(Ok((stream, _response))) => Ok(Self {
                stream,
                heard_at: Instant::now(),
                asked_at: None,
                pings: 0,
            }),
            Ok(Err(error)) => Err(reason(&error)),
            Err(_) => Err("it did not answer in time".into()),
        }
    }

    pub(super) async fn send(&mut self, frame: Vec<u8>) -> Result<(), String> {
        let sent = self.stream.feed(Message::Binary(frame.into())).await;
        sent.map_err(|error| reason(&error))
    }

    /// Asks the server whether it is there; answers the number of the ping. Goes with the next
    /// [`Socket::flush`].
    pub(super) async fn ping(&mut self) -> Result<u64, String> {
        self.pings += 1;
        let number = self.pings.to_be_bytes().to_vec();
        let sent = self.stream.feed(Message::Ping(number.into())).await;
        sent.map_err(|error| reason(&error))?;
        self.asked_at.get_or_insert_with(Instant::now);
        Ok(self.pings)
    }

    pub(super) async fn flush(&mut self) -> Result<(), String> {
        self.stream.flush().await.map_err(|error| reason(&error))
    }

    /// What the server sends next; its pings are answered on the way. After `quiet` without any
    /// message it is to be asked, and after as long again without one the link is dead: where a
    /// radio dropped the flow, nothing else ever says so. May be cancelled.
    pub(super) async fn receive(&mut self, quiet: Duration) -> Result<Heard, String> {
        loop {
            let due = self.asked_at.unwrap_or(self.heard_at) + quiet;
            // What came by then is taken first.
            let Ok(next) = timeout_at(due, self.stream.next()).await else {
                return match self.asked_at {
                    Some(_) => Err("nothing comes from the server any more".into()),
                    None => Ok(Heard::Nothing),
                };
            };
            (self.heard_at, self.asked_at) = (Instant::now(), None);
            match next {
                Some(Ok(Message::Binary(bytes))) => return Ok(Heard::Frame(bytes.into())),
                Some(Ok(Message::Pong(number))) => {
                    if let Ok(number) = <[u8; 8]>::try_from(&*number) {
                        return Ok(Heard::Answer(u64::from_be_bytes(number)));
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => return Err("the server sent text".into()),
                Some(Ok(Message::Close(_))) | None => return Err("the server hung up".into()),
                Some(Err(error)) => return Err(reason(&error)),
            }
        }
    }

    /// Says that no more comes, without waiting for an answer.
    pub(super) async fn close(&mut self) {
        if let Err(error) = self.stream.close(None).await {
            tracing::debug!(error = %reason(&error), "the connection was gone before it was closed");
        }
    }
}

fn reason(error: &Error) -> String {
    match error {
        Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}
