//! Length-prefixed JSON over a stream, with a cap and a moment by which it must be through.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes `value` whole within `wait`.
pub(super) fn write(
    stream: &mut UnixStream,
    value: &impl Serialize,
    bytes_max: usize,
    wait: Duration,
) -> io::Result<()> {
    let json = serde_json::to_vec(value)?;
    let length = u32::try_from(json.len())
        .ok()
        .filter(|_| json.len() <= bytes_max);
    let length = length.ok_or_else(|| too_large(json.len(), bytes_max))?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(json);

    let until = Instant::now() + wait;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(timed_out(error)),
        }
    }
    Ok(())
}

/// Reads one value whole within `wait`. A stream that ends before is `UnexpectedEof`.
pub(super) fn read<T: DeserializeOwned>(
    stream: &mut UnixStream,
    bytes_max: usize,
    wait: Duration,
) -> io::Result<T> {
    let until = Instant::now() + wait;
    let length = read_bytes(stream, 4, until)?;
    let length = length
        .iter()
        .fold(0, |length, &byte| length << 8 | usize::from(byte));
    if length > bytes_max {
        return Err(too_large(length, bytes_max));
    }
    let json = read_bytes(stream, length, until)?;
    serde_json::from_slice(&json).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// Takes memory as bytes come in, not as they are announced.
fn read_bytes(stream: &mut UnixStream, length: usize, until: Instant) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    while bytes.len() < length {
        stream.set_read_timeout(Some(left(until)?))?;
        let wanted = piece.len().min(length - bytes.len());
        match stream.read(&mut piece[..wanted]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(timed_out(error)),
        }
    }
    Ok(bytes)
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// A socket's timeout shows as `WouldBlock`.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
        _ => error,
    }
}

fn too_large(bytes: usize, bytes_max: usize) -> io::Error {
    let text = format!("a message of {bytes} bytes is over the limit of {bytes_max}");
    io::Error::new(ErrorKind::InvalidData, text)
}
