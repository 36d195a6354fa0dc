//! A WebSocket with small buffers that carries binary messages.

use std::time::Duration;

use bukti_sync_protocol::limits::FRAME_BYTES_MAX;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::limits::{CONNECT_MS, SOCKET_BUFFER_BYTES, SOCKET_WRITE_BYTES_MAX};

#[derive(Debug)]
pub(super) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

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
        match tokio::time::timeout(Duration::from_millis(CONNECT_MS), connecting).await {
            Ok(Ok((socket, _response))) => Ok(Self(socket)),
            Ok(Err(error)) => Err(reason(&error)),
            Err(_) => Err("it did not answer in time".into()),
        }
    }

    pub(super) async fn send(&mut self, frame: Vec<u8>) -> Result<(), String> {
        let sent = self.0.feed(Message::Binary(frame.into())).await;
        sent.map_err(|error| reason(&error))
    }

    pub(super) async fn flush(&mut self) -> Result<(), String> {
        self.0.flush().await.map_err(|error| reason(&error))
    }

    /// The next binary message; pings are answered on the way. May be cancelled.
    pub(super) async fn receive(&mut self) -> Result<Vec<u8>, String> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Binary(bytes))) => return Ok(bytes.into()),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => return Err("the server sent text".into()),
                Some(Ok(Message::Close(_))) | None => return Err("the server hung up".into()),
                Some(Err(error)) => return Err(reason(&error)),
            }
        }
    }

    /// Says that no more comes, without waiting for an answer.
    pub(super) async fn close(&mut self) {
        if let Err(error) = self.0.close(None).await {
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
