//! Changes of Automerge, from their bytes to a document.

use std::io::Write;
use std::sync::OnceLock;

use bukti_core::change::forge::{chunk, framed};
use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::Took;
use crate::ground::{Fate, Ground};

const TYPE_CHANGE: u8 = 1;
const TYPE_DEFLATED: u8 = 2;

/// The first byte says what the rest is: a chunk as it is, or the data of one that gets its right
/// checksum here, deflated or not, so that it goes on to Automerge.
///
/// # Panics
/// See [`Ground::judge`].
pub fn change(bytes: &[u8]) -> Took {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    let Some((kind, rest)) = bytes.split_first() else {
        return Took::Refused;
    };
    let fate = GROUND.get_or_init(Ground::new).judge(&sum(*kind, rest));
    match fate {
        Fate::Unread(_) | Fate::Refused(_) => Took::Refused,
        Fate::Valid | Fate::Missing => Took::Read,
    }
}

/// Makes a chunk of `data` in the way that `kind` says.
///
/// # Panics
/// If a vector cannot be written to.
pub fn sum(kind: u8, data: &[u8]) -> Vec<u8> {
    match kind % 4 {
        0 => data.to_vec(),
        1 | 2 => chunk(TYPE_CHANGE, data),
        _ => {
            let plain = chunk(TYPE_CHANGE, data);
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(data).expect("writing to a vector");
            let deflated = encoder.finish().expect("writing to a vector");
            // The checksum is that of the change as it was.
            framed(TYPE_DEFLATED, &plain[4..8], &deflated)
        }
    }
}
