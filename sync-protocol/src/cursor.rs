//! How far a device has read, as bytes that only the server understands.
//!
//! ```text
//! cursor = [ version, [ [position, chain], … ],
//!            [ [prefix, audience, seen, floor, facts, moves?], … ], [move, below]? ]
//! ```
//!
//! Version 1 says nothing of `moves`, and is written as long as there is nothing to say; in version
//! 2 a mark without them has them where its `facts` are.
//!
//! `seen` is an index into the first list, so that a device with many subscriptions at one place
//! repeats the chain value once. A device that is sent no documents has no marks; its cursor names one
//! place, up to which it was told what there is, so that it notices all the same when the server lost
//! records. Cursors from before that name none. A cursor is not signed: it gives no rights and can only make its
//! owner receive less or the same again.

use bukti_core::authority::Audience;
use bukti_core::envelope::Seen;
use bukti_core::id::Position;
use bukti_core::scope::Scope;
use minicbor::encode::Error as EncodeError;
use minicbor::{Decoder, Encoder};

use crate::limits;

/// Without a word on moves.
const VERSION_SILENT: u8 = 1;
const VERSION: u8 = 2;

/// What a device was sent, subscription by subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// One for each subscription.
    pub marks: Vec<Mark>,
    /// Position of a unit's move that is being passed, and of the place below which documents and
    /// statements have not gone by.
    pub passing: Option<(Position, Position)>,
    /// Up to where a device without marks was told what there is.
    pub reached: Option<Seen>,
}

/// How far one subscription has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The scope and everything below it.
    pub prefix: Scope,
    /// Who reads.
    pub audience: Audience,
    /// Everything up to here was sent or is owed.
    pub seen: Seen,
    /// Documents that entered the audience at or below here are owed.
    pub floor: Position,
    /// Statements up to here were sent, as units stood then.
    pub facts: Position,
    /// Statements that a unit's move up to here brought were sent; 0 says nothing.
    pub moves: Position,
}

/// Bytes that are not a cursor of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: {0}")]
pub struct CursorError(String);

impl Cursor {
    /// The bytes to hand to the device.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.write().expect("writing to a vector cannot fail")
    }

    /// Every place that it names, once.
    pub fn places(&self) -> Vec<Seen> {
        let mut places = Vec::new();
        let marks = self.marks.iter().map(|mark| mark.seen);
        for seen in marks.chain(self.reached) {
            if !places.contains(&seen) {
                places.push(seen);
            }
        }
        places
    }

    fn write(&self) -> Result<Vec<u8>, EncodeError<std::convert::Infallible>> {
        let seen = self.places();
        let mut e = Encoder::new(Vec::new());
        let length = 3 + u64::from(self.passing.is_some());
        let is_silent = self.marks.iter().all(|mark| mark.moves == 0);
        let version = if is_silent { VERSION_SILENT } else { VERSION };
        e.array(length)?.u8(version)?.encode(&seen)?;
        e.array(self.marks.len() as u64)?;
        for mark in &self.marks {
            let index = seen.iter().position(|seen| *seen == mark.seen);
            let index = index.expect("every place was collected above");
            let is_apart = !is_silent && mark.moves != mark.facts;
            e.array(5 + u64::from(is_apart))?;
            e.encode(&mark.prefix)?.encode(mark.audience)?;
            e.u64(index as u64)?.u64(mark.floor)?.u64(mark.facts)?;
            if is_apart {
                e.u64(mark.moves)?;
            }
        }
        if let Some((at, below)) = self.passing {
            e.array(2)?.u64(at)?.u64(below)?;
        }
        Ok(e.into_writer())
    }

    /// Reads what a device handed back.
    ///
    /// # Errors
    /// [`CursorError`] if the bytes are not a cursor of this version or hold more than any has.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CursorError> {
        if bytes.len() > limits::CURSOR_BYTES_MAX {
            return Err(CursorError("longer than any cursor".into()));
        }
        read(bytes).map_err(|error| CursorError(error.to_string()))
    }
}

fn read(bytes: &[u8]) -> Result<Cursor, minicbor::decode::Error> {
    let refuse = minicbor::decode::Error::message;
    let mut d = Decoder::new(bytes);
    let length = d.array()?;
    if !matches!(length, Some(3 | 4)) {
        return Err(refuse("an array of another length"));
    }
    let version = d.u8()?;
    if !matches!(version, VERSION_SILENT | VERSION) {
        return Err(refuse("of another version"));
    }
    let mut seen: Vec<Seen> = Vec::new();
    for _ in 0..bounded_array(&mut d)? {
        array_of(&mut d, 2)?;
        seen.push(Seen {
            position: d.u64()?,
            chain: d.decode()?,
        });
    }
    let mut marks = Vec::new();
    for _ in 0..bounded_array(&mut d)? {
        let fields = d.array()?;
        let is_apart = version == VERSION && fields == Some(6);
        if fields != Some(5) && !is_apart {
            return Err(refuse("an array of another length"));
        }
        let (prefix, audience) = (d.decode()?, d.decode()?);
        let index = usize::try_from(d.u64()?).map_err(|_| refuse("no such place"))?;
        let seen = *seen.get(index).ok_or_else(|| refuse("no such place"))?;
        let (floor, facts) = (d.u64()?, d.u64()?);
        let moves = match version {
            VERSION_SILENT => 0,
            _spoken if is_apart => d.u64()?,
            _spoken => facts,
        };
        marks.push(Mark {
            prefix,
            audience,
            seen,
            floor,
            facts,
            moves,
        });
    }
    let passing = match length {
        Some(4) => {
            array_of(&mut d, 2)?;
            Some((d.u64()?, d.u64()?))
        }
        Some(_) | None => None,
    };
    if d.position() != bytes.len() {
        return Err(refuse("bytes follow the cursor"));
    }
    let reached = seen.first().copied().filter(|_| marks.is_empty());
    Ok(Cursor {
        marks,
        passing,
        reached,
    })
}

fn array_of(d: &mut Decoder<'_>, length: u64) -> Result<(), minicbor::decode::Error> {
    match d.array()? {
        Some(found) if found == length => Ok(()),
        Some(_) | None => Err(minicbor::decode::Error::message(
            "an array of another length",
        )),
    }
}

fn bounded_array(d: &mut Decoder<'_>) -> Result<u64, minicbor::decode::Error> {
    match d.array()? {
        Some(found) if found <= limits::SUBSCRIPTIONS_MAX as u64 => Ok(found),
        Some(_) | None => Err(minicbor::decode::Error::message("a list too long")),
    }
}

#[cfg(test)]
mod tests {
    use bukti_core::id::Chain;
    use proptest::prelude::*;

    use super::*;

    fn mark(prefix: &str, position: Position) -> Mark {
        Mark {
            prefix: prefix.parse().unwrap(),
            audience: Audience::Unit,
            seen: Seen {
                position,
                chain: Chain([7; 32]),
            },
            floor: 3,
            facts: position,
            moves: 0,
        }
    }

    fn villages(count: u32) -> Cursor {
        let village = |n| mark(&format!("13.76.01.{}", 1000 + n), 5_000_000);
        Cursor {
            marks: (0..count).map(village).collect(),
            ..Cursor::default()
        }
    }

    #[test]
    fn a_cursor_reads_back_as_it_was_written() {
        for passing in [None, Some((13, 7))] {
            let marks = vec![mark("13.76", 10), mark("13.77", 12), mark("14", 10)];
            let cursor = Cursor {
                marks,
                passing,
                reached: None,
            };
            assert_eq!(Cursor::from_bytes(&cursor.to_bytes()), Ok(cursor));
        }
        assert_eq!(
            Cursor::from_bytes(&Cursor::default().to_bytes()),
            Ok(Cursor::default())
        );
    }

    #[test]
    fn a_cursor_without_marks_names_a_place_and_those_of_before_named_none() {
        let reached = Some(mark("13.76", 10).seen);
        let cursor = Cursor {
            reached,
            ..Cursor::default()
        };
        let bytes = cursor.to_bytes();
        // In the form that servers of before read: a list of places, and no marks.
        assert_eq!(bytes[..4], [0x83, VERSION_SILENT, 0x81, 0x82]);
        assert_eq!(bytes.last(), Some(&0x80));
        assert_eq!(Cursor::from_bytes(&bytes), Ok(cursor));
        let of_before = [0x83, VERSION_SILENT, 0x80, 0x80];
        assert_eq!(Cursor::from_bytes(&of_before), Ok(Cursor::default()));
    }

    #[test]
    fn a_cursor_says_no_more_of_moves_than_there_is_to_say() {
        let moves = |at: &[Position]| {
            let mark = |at: &Position| Mark {
                moves: *at,
                ..mark("13.76", 10)
            };
            let cursor = Cursor {
                marks: at.iter().map(mark).collect(),
                ..Cursor::default()
            };
            let bytes = cursor.to_bytes();
            assert_eq!(Cursor::from_bytes(&bytes), Ok(cursor));
            (bytes[1], bytes.len())
        };
        let silent = moves(&[0, 0]);
        assert_eq!(silent.0, VERSION_SILENT);
        assert_eq!(moves(&[10, 10]), (VERSION, silent.1));
        assert_eq!(moves(&[10, 7]), (VERSION, silent.1 + 1));
        assert_eq!(moves(&[10, 0]), (VERSION, silent.1 + 1));
    }

    #[test]
    fn many_subscriptions_at_one_place_share_its_chain_value() {
        let one = villages(1).to_bytes().len();
        let ten = villages(10).to_bytes().len();
        assert!(one <= 80, "{one} bytes for one");
        assert!(ten - one <= 9 * 28, "{} bytes for nine more", ten - one);
    }

    #[test]
    fn a_cursor_with_more_than_any_device_has_is_refused() {
        let most = u32::try_from(limits::SUBSCRIPTIONS_MAX).unwrap();
        assert!(Cursor::from_bytes(&villages(most).to_bytes()).is_ok());
        assert!(Cursor::from_bytes(&villages(most + 1).to_bytes()).is_err());
        assert!(Cursor::from_bytes(&vec![0x80; limits::CURSOR_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_cursor_longer_than_travels_is_refused_though_nothing_else_is_wrong_with_it() {
        let most = u32::try_from(limits::SUBSCRIPTIONS_MAX).unwrap();
        let mut cursor = villages(most);
        for (number, mark) in cursor.marks.iter_mut().enumerate() {
            let position = Position::MAX - number as u64;
            mark.prefix = format!("13.76.01.1001/{number:0>50}").parse().unwrap();
            mark.seen.position = position;
            (mark.floor, mark.facts, mark.moves) = (position, position, position - 1);
        }
        let bytes = cursor.to_bytes();
        assert!(bytes.len() > limits::CURSOR_BYTES_MAX);
        assert!(read(&bytes).is_ok() && Cursor::from_bytes(&bytes).is_err());
    }

    /// A cursor of one mark, whose arrays claim so many fields and whose mark names such a place.
    fn claiming(fields: u64, of_place: u64, index: u64) -> Vec<u8> {
        let mark = mark("13.76", 10);
        let mut e = Encoder::new(Vec::new());
        e.array(fields).unwrap().u8(VERSION).unwrap();
        e.array(1).unwrap().array(of_place).unwrap();
        e.u64(10).unwrap().encode(mark.seen.chain).unwrap();
        e.array(1).unwrap().array(5).unwrap();
        e.encode(mark.prefix)
            .unwrap()
            .encode(mark.audience)
            .unwrap();
        e.u64(index).unwrap().u64(0).unwrap().u64(10).unwrap();
        e.into_writer()
    }

    #[test]
    fn arrays_that_claim_other_fields_and_places_that_are_not_there_are_refused() {
        assert!(Cursor::from_bytes(&claiming(3, 2, 0)).is_ok());
        for bytes in [claiming(5, 2, 0), claiming(3, 3, 0), claiming(3, 2, 1)] {
            assert!(Cursor::from_bytes(&bytes).is_err());
        }
    }

    #[test]
    fn lists_that_claim_to_be_endless_are_refused() {
        let endless = [
            0x83, 0x01, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ];
        assert!(Cursor::from_bytes(&endless).is_err());
        assert!(Cursor::from_bytes(&[0x83, 0x01, 0x9f, 0xff, 0x80]).is_err());
        assert!(Cursor::from_bytes(&[0x9f, 0x01, 0x80, 0x80, 0xff]).is_err());
    }

    #[test]
    fn a_cursor_of_another_version_or_with_bytes_after_it_is_refused() {
        let bytes = villages(2).to_bytes();
        let mut other = bytes.clone();
        other[1] = 3;
        assert!(Cursor::from_bytes(&other).is_err());
        assert!(Cursor::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_a_cursor_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let _ = Cursor::from_bytes(&bytes);
            let mut mutated = villages(4).to_bytes();
            for (index, byte) in flips {
                let at = index.index(mutated.len());
                mutated[at] = byte;
            }
            if let Ok(cursor) = Cursor::from_bytes(&mutated) {
                prop_assert_eq!(Cursor::from_bytes(&cursor.to_bytes()), Ok(cursor));
            }
        }
    }
}
