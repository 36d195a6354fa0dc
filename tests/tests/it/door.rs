//! What the server says to those who knock: HTTP, origins, and messages that are no frames.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use bukti_server::descriptors::SOCKETS_SPARE;
use bukti_sync_protocol::bye::ByeCode;
use bukti_sync_protocol::frame::{Frame, decode};
use bukti_sync_protocol::limits::FRAME_BYTES_MAX;
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::Message;

use crate::field::Field;
use bukti_tests::http::{ask, connect, free_port, get, status_of};
use bukti_tests::wire::{Heard, Wire};

/// Closed because of what was sent.
const POLICY: Option<u16> = Some(1008);

#[test]
fn health_is_told_to_whoever_asks_and_metrics_on_their_own_port_only() {
    let metrics = free_port();
    let field = Field::open(&["--metrics-listen", &metrics.to_string()]);
    assert_eq!(
        get(field.address(), "/health/live"),
        (200, "live\n".to_owned())
    );
    assert_eq!(
        get(field.address(), "/health/ready"),
        (200, "ready\n".to_owned())
    );
    assert_eq!(get(field.address(), "/metrics").0, 404);
    assert_eq!(get(field.address(), "/").0, 404);
    let (status, text) = get(metrics, "/metrics");
    assert_eq!(status, 200);
    let position = format!("bukti_journal_position {}", field.position());
    assert!(text.contains(&position), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(get(metrics, "/health/live").0, 404);
}

#[test]
fn a_browser_gets_in_from_a_listed_origin_only() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml");
    std::fs::write(&config, "origins = [\"https://bukti.example\"]\n").unwrap();
    let field = Field::empty(&["--config", config.to_str().unwrap()]);
    for (origin, status) in [
        ("Origin: https://bukti.example\r\n", 101),
        ("", 101),
        ("Origin: https://elsewhere.example\r\n", 403),
        ("Origin: http://bukti.example\r\n", 403),
        ("Origin: https://bukti.example:8443\r\n", 403),
        ("Origin: null\r\n", 403),
    ] {
        assert_eq!(upgrade(field.address(), origin), status, "{origin}");
    }
}

#[tokio::test]
async fn what_is_no_frame_is_answered_with_its_reason_and_ends_the_connection() {
    let field = Field::empty(&[]);
    let messages = [
        Message::Text("hello".into()),
        Message::Binary(Vec::new().into()),
        Message::Binary(vec![0xff; 100].into()),
        Message::Binary(vec![0; FRAME_BYTES_MAX].into()),
        Message::Binary(vec![0; FRAME_BYTES_MAX + 1].into()),
    ];
    for message in messages {
        let mut wire = Wire::open(field.address()).await;
        let shown = format!("{message:?}");
        wire.send_message(message).await;
        let (bye, code) = farewell(&mut wire).await;
        assert_eq!(bye, Some(ByeCode::Malformed), "{shown}");
        assert_eq!(code, POLICY, "{shown}");
    }
}

#[tokio::test]
async fn a_message_far_longer_than_a_frame_drops_its_connection_only() {
    let field = Field::empty(&[]);
    let mut wire = Wire::open(field.address()).await;
    let long = vec![0; 1024 * 1024];
    wire.send_message(Message::Binary(long.into())).await;
    let (bye, _) = farewell(&mut wire).await;
    assert_eq!(bye, None);
    assert_eq!(get(field.address(), "/health/ready").0, 200);
}

#[tokio::test]
async fn who_connects_and_says_nothing_is_sent_away() {
    let field = Field::empty(&[]);
    let mut wire = Wire::open(field.address()).await;
    let (bye, code) = farewell(&mut wire).await;
    assert_eq!((bye, code), (Some(ByeCode::Timeout), POLICY));
}

#[tokio::test]
async fn pongs_put_off_no_limit_and_are_counted_themselves() {
    let field = Field::empty(&[]);
    let mut wire = Wire::open(field.address()).await;
    for _ in 0..200 {
        wire.send_message(Message::Pong(Vec::new().into())).await;
    }
    // The connection may be reset before the last word is read; it never waits for the timeout.
    let (bye, _) = farewell(&mut wire).await;
    assert!(matches!(bye, Some(ByeCode::Flood) | None), "{bye:?}");
    assert_eq!(get(field.address(), "/health/ready").0, 200);
}

#[test]
fn a_head_of_http_that_never_ends_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml");
    std::fs::write(&config, "handshake_timeout_s = 1\n").unwrap();
    let field = Field::empty(&["--config", config.to_str().unwrap()]);
    let mut stream = connect(field.address());
    stream.write_all(b"GET /v1/sync HTTP/1.1\r\nHost:").unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.is_empty() || rest.contains(" 408 "), "{rest}");
}

#[tokio::test]
async fn an_address_holds_so_many_sockets_whatever_it_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml");
    let text = "connections_per_address_max = 1\nhandshake_timeout_s = 3600\n";
    std::fs::write(&config, text).unwrap();
    let field = Field::empty(&["--config", config.to_str().unwrap()]);
    let silent: Vec<TcpStream> = (0..=SOCKETS_SPARE)
        .map(|_| connect(field.address()))
        .collect();
    let mut one_more = connect(field.address());
    let mut nothing = Vec::new();
    one_more.read_to_end(&mut nothing).unwrap();
    assert!(nothing.is_empty(), "closed without a word");

    let elsewhere = TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let elsewhere = elsewhere.connect(field.address()).await.unwrap();
    let elsewhere = elsewhere.into_std().unwrap();
    elsewhere.set_nonblocking(false).unwrap();
    assert_eq!(ask(elsewhere, "/health/live").unwrap().0, 200);
    drop(silent);
}

#[test]
fn who_connects_and_asks_for_nothing_gives_way_to_who_asks() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml");
    // Nobody who is silent is sent away for that.
    let text = format!("connections_max = {SOCKETS_SPARE}\nhandshake_timeout_s = 3600\n");
    std::fs::write(&config, text).unwrap();
    let field = Field::empty(&["--config", config.to_str().unwrap()]);
    let silent: Vec<TcpStream> = (0..3 * SOCKETS_SPARE)
        .map(|_| connect(field.address()))
        .collect();
    // Those that give way take a moment to end.
    let mut asked = (0..1_000).filter_map(|_| ask(connect(field.address()), "/health/live"));
    assert_eq!(asked.next().map(|(status, _)| status), Some(200));
    drop(silent);
}

/// What the server says last, and with which code it closes.
async fn farewell(wire: &mut Wire) -> (Option<ByeCode>, Option<u16>) {
    let mut bye = None;
    loop {
        match wire.hear().await {
            Heard::Frame(bytes) => {
                if let Ok(Some(Frame::Bye(said))) = decode(&bytes) {
                    bye = Some(said.code);
                }
            }
            Heard::Closed(code) => return (bye, code),
        }
    }
}

/// The status of an upgrade to a WebSocket with one more header.
fn upgrade(server: SocketAddr, header: &str) -> u16 {
    let mut stream = connect(server);
    let head = format!(
        "GET /v1/sync HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{header}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    status_of(&line)
}
