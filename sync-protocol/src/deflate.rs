//! One byte of encoding before everything that travels: as it is, or deflated.
//!
//! Raw DEFLATE (RFC 1951) is what browsers inflate natively. Inflating is capped, since raw
//! DEFLATE reaches 1,032 to 1 and the peer may be hostile.

use std::cell::RefCell;
use std::io::Read;

use flate2::read::DeflateDecoder;
use flate2::{Compress, Compression, FlushCompress, Status};

const PLAIN: u8 = 0;
const DEFLATED: u8 = 1;

/// Bytes that cannot be unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// Nothing, not even the byte of encoding.
    #[error("there is no byte that tells the encoding")]
    Empty,
    /// An encoding of a later version.
    #[error("encoding {0} is not known")]
    Encoding(u8),
    /// Not a raw DEFLATE stream, or more than one.
    #[error("the bytes are not raw deflate")]
    Deflate,
    /// More bytes than are taken.
    #[error("more than {max} bytes after inflating")]
    TooLarge {
        /// The most that is taken.
        max: usize,
    },
}

thread_local! {
    /// A compressor takes 300 KB. One for each thread, reset before each use, carries nothing from
    /// one call to the next; one for each frame would leave the allocator's heap full of holes
    /// (measured: 165 KiB for each idle connection of a server instead of 19).
    static COMPRESSOR: RefCell<Compress> =
        RefCell::new(Compress::new(Compression::default(), false));
}

/// Puts the byte of encoding before `bytes`, deflated if `deflate` allows it and it saves bytes.
pub fn pack(bytes: &[u8], deflate: bool) -> Vec<u8> {
    if deflate && let Some(packed) = deflated(bytes) {
        return packed;
    }
    let mut packed = Vec::with_capacity(1 + bytes.len());
    packed.push(PLAIN);
    packed.extend_from_slice(bytes);
    packed
}

fn deflated(bytes: &[u8]) -> Option<Vec<u8>> {
    // Room for what does not deflate at all, so that every stream comes to its end: a compressor
    // that is reset before its end keeps symbols, and panics once they are too many.
    let mut packed = Vec::with_capacity(64 + bytes.len() + bytes.len() / 8);
    packed.push(DEFLATED);
    let ended = COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        let written = compressor.compress_vec(bytes, &mut packed, FlushCompress::Finish);
        let ended = matches!(written, Ok(Status::StreamEnd));
        if !ended {
            *compressor = Compress::new(Compression::default(), false);
        }
        ended
    });
    (ended && packed.len() <= bytes.len()).then_some(packed)
}

/// Takes the encoding away again.
///
/// # Errors
/// [`UnpackError`]; never more than `max` bytes are inflated.
pub fn unpack(packed: &[u8], max: usize) -> Result<Vec<u8>, UnpackError> {
    let (encoding, bytes) = packed.split_first().ok_or(UnpackError::Empty)?;
    match *encoding {
        PLAIN if bytes.len() > max => Err(UnpackError::TooLarge { max }),
        PLAIN => Ok(bytes.to_vec()),
        DEFLATED => inflate(bytes, max),
        other => Err(UnpackError::Encoding(other)),
    }
}

fn inflate(bytes: &[u8], max: usize) -> Result<Vec<u8>, UnpackError> {
    let mut decoder = DeflateDecoder::new(bytes);
    let mut inflated = Vec::new();
    (&mut decoder)
        .take(max as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(|_| UnpackError::Deflate)?;
    if inflated.len() > max {
        return Err(UnpackError::TooLarge { max });
    }
    if decoder.total_in() != bytes.len() as u64 {
        return Err(UnpackError::Deflate);
    }
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn bytes_are_deflated_only_where_that_saves() {
        let text = b"bukti ".repeat(50);
        let packed = pack(&text, true);
        assert!(packed[0] == DEFLATED && packed.len() < text.len() / 4);
        assert_eq!(unpack(&packed, 4_096), Ok(text));
        assert_eq!(pack(&[1, 2, 3], true), [PLAIN, 1, 2, 3]);
        assert_eq!(pack(&[7; 100], false)[0], PLAIN);
    }

    #[test]
    fn a_bomb_is_refused_at_the_cap() {
        let bomb = pack(&vec![0; 1 << 20], true);
        assert!(bomb.len() < 2_048);
        assert_eq!(
            unpack(&bomb, 65_536),
            Err(UnpackError::TooLarge { max: 65_536 })
        );
        assert_eq!(unpack(&[0, 1, 2], 1), Err(UnpackError::TooLarge { max: 1 }));
        // Nothing behind the cap is looked at.
        assert_eq!(
            unpack(&bomb[..bomb.len() - 8], 65_536),
            Err(UnpackError::TooLarge { max: 65_536 })
        );
    }

    #[test]
    fn what_is_cut_or_followed_by_something_is_refused() {
        let packed = pack(&b"bukti ".repeat(50), true);
        assert_eq!(
            unpack(&packed[..packed.len() - 1], 4_096),
            Err(UnpackError::Deflate)
        );
        let followed = [packed.as_slice(), &[0]].concat();
        assert_eq!(unpack(&followed, 4_096), Err(UnpackError::Deflate));
        assert_eq!(unpack(&[], 4_096), Err(UnpackError::Empty));
        assert_eq!(unpack(&[2, 1], 4_096), Err(UnpackError::Encoding(2)));
    }

    /// Bytes of every kind: a part drawn at random, a part of few letters.
    fn mixed(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        (0..length)
            .map(|at| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let drawn = state.to_le_bytes()[0];
                if (at / 512 + seed as usize).is_multiple_of(3) {
                    drawn
                } else {
                    b'a' + drawn % 3
                }
            })
            .collect()
    }

    #[test]
    fn much_that_does_not_deflate_leaves_nothing_behind() {
        for seed in 1..2_000_u64 {
            let random: Vec<u8> = (0..10)
                .flat_map(|part| Sha256::digest([seed, part].map(u64::to_le_bytes).concat()))
                .collect();
            let packed = pack(&random, true);
            assert_eq!(packed[0], PLAIN, "seed {seed}");
            assert_eq!(unpack(&packed, random.len()), Ok(random), "seed {seed}");
        }
    }

    #[test]
    fn one_compressor_packs_whatever_comes_after_whatever_came() {
        for seed in 0..4_000_u64 {
            let length = (seed as usize * 7_919)
                % if seed.is_multiple_of(50) {
                    300_000
                } else {
                    6_000
                };
            let bytes = mixed(seed, length);
            let packed = pack(&bytes, true);
            assert!(packed.len() <= bytes.len() + 1, "seed {seed}");
            assert_eq!(unpack(&packed, length), Ok(bytes), "seed {seed}");
        }
    }
}
