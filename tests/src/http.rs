//! What a server says over HTTP to whoever asks: its health, and its metrics on a listener of their
//! own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How long an answer may take before a test fails.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A port that was free a moment ago; only the metrics' port cannot be asked for afterwards.
///
/// # Panics
/// If the system gives none.
pub fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

/// A connection to a server, whose answers do not take for ever.
///
/// # Panics
/// If nobody listens there.
pub fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).expect("a server listens");
    stream
        .set_read_timeout(Some(ANSWER_MAX))
        .expect("a time limit");
    stream
}

/// Status and body of a page.
///
/// # Panics
/// If the server does not answer, or not in HTTP.
pub fn get(server: SocketAddr, path: &str) -> (u16, String) {
    ask(connect(server), path).expect("an answer")
}

/// The same over a connection that the server may close without a word.
///
/// # Panics
/// If the answer is not HTTP.
pub fn ask(mut stream: TcpStream, path: &str) -> Option<(u16, String)> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: bukti\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((status_of(head), body.to_owned()))
}

/// The status that the first line of an answer names.
///
/// # Panics
/// If it is not HTTP.
pub fn status_of(head: &str) -> u16 {
    let status = head.split(' ').nth(1).expect("a status line");
    status.parse().expect("a status")
}
