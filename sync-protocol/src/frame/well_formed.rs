//! The shape of CBOR from anywhere, before anything is built from it.

use super::FrameError;
use crate::limits;

/// Checks that `bytes` are one CBOR value of definite lengths, no deeper than
/// [`limits::NESTING_MAX`], before anything is built from them.
pub(crate) fn well_formed(bytes: &[u8]) -> Result<(), FrameError> {
    let malformed = |text: &str| Err(FrameError::Malformed(text.to_owned()));
    let mut left = [0_u64; limits::NESTING_MAX + 1];
    left[0] = 1;
    let mut depth = 0;
    let mut rest = bytes;
    loop {
        while left[depth] == 0 {
            if depth == 0 {
                return if rest.is_empty() {
                    Ok(())
                } else {
                    malformed("bytes follow the value")
                };
            }
            depth -= 1;
        }
        let Some((major, value, after)) = head(rest) else {
            return malformed("the value is cut, or has no definite length");
        };
        rest = after;
        match major {
            0 | 1 | 7 => left[depth] -= 1,
            2 | 3 => {
                left[depth] -= 1;
                let end = usize::try_from(value).ok().filter(|end| *end <= rest.len());
                let Some(end) = end else {
                    return malformed("a string is longer than the frame");
                };
                rest = &rest[end..];
            }
            4 | 5 => {
                left[depth] -= 1;
                if depth == limits::NESTING_MAX {
                    return malformed("the value is nested too deep");
                }
                let items = value.saturating_mul(if major == 5 { 2 } else { 1 });
                if items > rest.len() as u64 {
                    return malformed("a list is longer than the frame");
                }
                depth += 1;
                left[depth] = items;
            }
            // A tag is followed by the one value it tags.
            6 => {}
            _ => unreachable!("three bits give no more than 7"),
        }
    }
}

/// Reads the head of a CBOR value: its major type, its argument, and what follows.
fn head(bytes: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (major, short) = (first >> 5, first & 0x1f);
    let length = match short {
        0..=23 => return Some((major, u64::from(short), rest)),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return None,
    };
    let (argument, rest) = rest.split_at_checked(length)?;
    let value = argument
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some((major, value, rest))
}
