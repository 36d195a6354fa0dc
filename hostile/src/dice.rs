//! Chance from a seed, and what it does to bytes: flips, cuts, splices, and lies about lengths.

use minicbor::Decoder;
use minicbor::data::Type;

/// Draws the same numbers for the same seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice of their own for every seed.
    pub fn new(seed: u64) -> Self {
        // Seeds that lie close together would begin alike without the first rounds.
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| {
            dice.next();
        });
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    /// A number below `bound`, 0 where there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).unwrap_or_default() % bound.max(1)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    /// One of a list.
    ///
    /// # Panics
    /// If the list is empty.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// A number at which programs stumble.
    pub fn odd_number(&mut self) -> u64 {
        let near = self.below(3) as u64;
        let bound = *self.pick(&[
            0,
            1,
            1 << 7,
            1 << 14,
            1 << 16,
            1 << 31,
            1 << 32,
            1 << 53,
            1 << 63,
            u64::MAX,
        ]);
        bound.wrapping_add(near).wrapping_sub(1)
    }
}

/// Alters bytes in one place, or in a few; `others` are what parts are taken from.
pub fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..few(dice) {
        mutate_once(dice, bytes, others);
    }
}

/// One as often as all others together, since what was altered once is read furthest.
fn few(dice: &mut Dice) -> usize {
    if dice.once_in(2) {
        1
    } else {
        2 + dice.below(3)
    }
}

fn mutate_once(dice: &mut Dice, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    if bytes.is_empty() {
        bytes.push(dice.byte());
        return;
    }
    let at = dice.below(bytes.len());
    match dice.below(8) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = dice.byte(),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, dice.byte()),
        4 => {
            let end = at + dice.below(bytes.len() - at);
            bytes.drain(at..end);
        }
        5 => bytes[at] = *dice.pick(&[0x00, 0x7f, 0x80, 0xff, bytes[at].wrapping_add(1)]),
        6 => {
            let end = at + dice.below(bytes.len() - at).min(64);
            let part = bytes[at..end].to_vec();
            let to = dice.below(bytes.len());
            bytes.splice(to..to, part);
        }
        _ if others.is_empty() => bytes.push(dice.byte()),
        _ => {
            let other = dice.pick(others);
            let from = dice.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}

/// Alters CBOR where its structure is: replaces, repeats, drops and swaps values, and lets heads
/// lie about what follows. What is no CBOR is altered as bytes.
pub fn mutate_cbor(dice: &mut Dice, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..few(dice) {
        let spans = spans(bytes);
        if spans.is_empty() || dice.once_in(6) {
            mutate_once(dice, bytes, others);
            continue;
        }
        let span = *dice.pick(&spans);
        let value = bytes[span.start..span.end].to_vec();
        match dice.below(12) {
            0 => {
                let odd = oddity(dice);
                bytes.splice(span.start..span.end, odd);
            }
            1 => {
                let head = head(span.major, dice.odd_number());
                bytes.splice(span.start..span.content, head);
            }
            2 => {
                let real = (span.end - span.content) as u64;
                let lie = real.wrapping_add(dice.below(3) as u64).wrapping_sub(1);
                bytes.splice(span.start..span.content, head(span.major, lie));
            }
            3 => {
                bytes.drain(span.start..span.end);
            }
            4 => {
                bytes.splice(span.end..span.end, value);
            }
            5 => {
                let other = *dice.pick(&spans);
                bytes.splice(other.start..other.end, value);
            }
            // Another value of the same kind, so that what stands around it stays whole.
            _ => {
                let another = another(dice, span.major, &value[span.content - span.start..]);
                if let Some(another) = another {
                    bytes.splice(span.start..span.end, another);
                }
            }
        }
    }
}

/// A value of CBOR in its encoding.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    /// Behind the head.
    content: usize,
    end: usize,
    major: u8,
}

/// Every value, values within values and within byte strings included.
fn spans(bytes: &[u8]) -> Vec<Span> {
    let mut found = Vec::new();
    collect(bytes, 0, &mut found, 0);
    found
}

const DEPTH_MAX: usize = 16;

fn collect(bytes: &[u8], offset: usize, found: &mut Vec<Span>, depth: usize) -> Option<usize> {
    let mut at = offset;
    if depth > DEPTH_MAX {
        return None;
    }
    let (major, argument, length) = read_head(bytes.get(at..)?)?;
    let start = at;
    at += length;
    let content = at;
    let place = found.len();
    found.push(Span {
        start,
        content,
        end: content,
        major,
    });
    let argument_size = usize::try_from(argument).ok()?;
    match major {
        2 | 3 => {
            let end = content.checked_add(argument_size)?;
            let inner = bytes.get(content..end)?;
            let looks_nested = matches!(inner.first(), Some(0x80..=0xbf)) && major == 2;
            if looks_nested {
                let known = found.len();
                let whole = collect(&bytes[..end], content, found, depth + 1);
                if whole != Some(end) {
                    found.truncate(known);
                }
            }
            at = end;
        }
        4 | 5 => {
            let values = argument_size.checked_mul(if major == 5 { 2 } else { 1 })?;
            for _ in 0..values {
                at = collect(bytes, at, found, depth + 1)?;
            }
        }
        _ => {}
    }
    found[place].end = at;
    Some(at)
}

/// Major type, argument and length of a head; nothing for tags and lengths without an end.
fn read_head(bytes: &[u8]) -> Option<(u8, u64, usize)> {
    let (major, low) = (bytes.first()? >> 5, bytes[0] & 0x1f);
    let size = match low {
        0..=23 => return Some((major, u64::from(low), 1)),
        24..=27 => 1 << (low - 24),
        _ => return None,
    };
    let argument = bytes.get(1..1 + size)?;
    let argument = argument
        .iter()
        .fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    Some((major, argument, 1 + size))
}

/// The shortest head.
fn head(major: u8, argument: u64) -> Vec<u8> {
    let bytes = argument.to_be_bytes();
    let (low, tail) = match argument {
        0..=23 => (bytes[7], &bytes[8..]),
        24..=0xff => (24, &bytes[7..]),
        0x100..=0xffff => (25, &bytes[6..]),
        0x1_0000..=0xffff_ffff => (26, &bytes[4..]),
        _ => (27, &bytes[..]),
    };
    [&[(major << 5) | low], tail].concat()
}

/// A number, or a string of the same length; nothing where the value is neither.
fn another(dice: &mut Dice, major: u8, content: &[u8]) -> Option<Vec<u8>> {
    let often = 1 + content.len() / 8;
    match major {
        0 | 1 => Some(head(major, dice.odd_number())),
        2 | 3 => {
            let text = major == 3;
            let alter = |byte: &u8| match (dice.once_in(often), text) {
                (true, true) => dice.byte() & 0x7f,
                (true, false) => dice.byte(),
                (false, _) => *byte,
            };
            let altered: Vec<u8> = content.iter().map(alter).collect();
            Some([head(major, content.len() as u64), altered].concat())
        }
        _ => None,
    }
}

/// A value that is rarely expected.
fn oddity(dice: &mut Dice) -> Vec<u8> {
    match dice.below(12) {
        0 | 1 => head(0, dice.odd_number()),
        2 => head(1, dice.odd_number()),
        3 => [head(2, 16), vec![0; 16]].concat(),
        4 => [head(2, 32), vec![0xff; 32]].concat(),
        5 => vec![0x40],
        6 => vec![0x80],
        7 => vec![0xa0],
        8 => vec![0xf6],
        9 => vec![0x81; 1 + dice.below(200)],
        // A byte string, an array and a map without an end.
        10 => vec![*dice.pick(&[0x5f, 0x9f, 0xbf])],
        _ => [head(3, 4), vec![0xff, 0xfe, 0x80, 0x00]].concat(),
    }
}

/// Whether all of `bytes` is one value of CBOR.
pub fn is_cbor(bytes: &[u8]) -> bool {
    let mut decoder = Decoder::new(bytes);
    decoder.skip().is_ok() && decoder.position() == bytes.len()
}

/// The byte strings that stand in a value of CBOR, at any depth.
pub fn byte_strings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let strings = spans(bytes).into_iter().filter(|span| {
        let mut decoder = Decoder::new(&bytes[span.start..span.end]);
        matches!(decoder.datatype(), Ok(Type::Bytes)) && decoder.bytes().is_ok()
    });
    strings
        .map(|span| bytes[span.content..span.end].to_vec())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_cbor_is_found_also_inside_byte_strings() {
        // [1, h'8203', {0: "a"}]
        let bytes = [0x83, 0x01, 0x43, 0x82, 0x03, 0x04, 0xa1, 0x00, 0x61, b'a'];
        let found: Vec<(usize, usize)> = spans(&bytes)
            .iter()
            .map(|span| (span.start, span.end))
            .collect();
        let expected = [
            (0, 10),
            (1, 2),
            (2, 6),
            (3, 6),
            (4, 5),
            (5, 6),
            (6, 10),
            (7, 8),
            (8, 10),
        ];
        assert_eq!(found, expected);
        assert!(is_cbor(&bytes));
        assert_eq!(byte_strings(&bytes), [vec![0x82, 0x03, 0x04]]);
    }

    #[test]
    fn the_same_seed_alters_the_same_bytes_and_another_seed_others() {
        let altered = |seed| {
            let mut dice = Dice::new(seed);
            let mut bytes = vec![0x82, 0x01, 0x43, 0x82, 0x03, 0x04];
            (0..20).for_each(|_| mutate_cbor(&mut dice, &mut bytes, &[]));
            bytes
        };
        assert_eq!(altered(1), altered(1));
        assert_ne!(altered(1), altered(2));
    }
}
