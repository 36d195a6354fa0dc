//! Frames and what they carry.

use bukti_sync_protocol::bye::{Bye, ByeCode};
use bukti_sync_protocol::deflate::{pack, unpack};
use bukti_sync_protocol::frame::{Features, Frame, FrameError, decode, encode};
use bukti_sync_protocol::item::{FeedItem, Item};
use bukti_sync_protocol::limits;

use super::Took;
use crate::dice::is_cbor;

/// Bytes that a frame may grow by when it is written: keys that have a value of their own where they
/// are absent, and the byte of encoding.
const KEYS_THAT_MAY_BE_ABSENT: usize = 64;

/// A frame as it comes from a socket.
///
/// # Panics
/// If a frame that was read does not read back the same from both encodings, if it is not the CBOR
/// of a frame, if more was inflated than is allowed, or if it is refused with another word than
/// `malformed`.
pub fn frame(bytes: &[u8]) -> Took {
    let frame = match decode(bytes) {
        Ok(Some(frame)) => frame,
        Ok(None) => return Took::Ignored,
        Err(error) => {
            expect_reason(&error);
            return Took::Refused;
        }
    };
    assert!(bytes.len() <= limits::FRAME_BYTES_MAX);
    let plain = unpack(bytes, limits::FRAME_INFLATED_BYTES_MAX).expect("it was read");
    assert!(plain.len() <= limits::FRAME_INFLATED_BYTES_MAX);
    assert!(is_cbor(&plain), "a frame that is no CBOR was read");
    // What fits deflated may be too long as it is, and nobody writes that.
    if plain.len() + KEYS_THAT_MAY_BE_ABSENT <= limits::FRAME_BYTES_MAX {
        for peer in [Features::NONE, Features::DEFLATE] {
            assert_eq!(
                decode(&encode(&frame, peer)).as_ref(),
                Ok(&Some(frame.clone()))
            );
        }
    }
    carried(&frame);
    Took::Read
}

fn expect_reason(error: &FrameError) {
    let bye = Bye::from(error);
    assert_eq!(bye.code, ByeCode::Malformed);
    assert!(!bye.sentence.is_empty() && bye.sentence.len() <= limits::SENTENCE_BYTES_MAX);
}

fn carried(frame: &Frame) {
    if let Frame::Feed(feed) = frame {
        for entry in &feed.items {
            if let FeedItem::Inline(inside) = entry {
                item(&inside.to_bytes());
            }
        }
    }
}

/// An item of the feed, as it comes in fragments.
///
/// # Panics
/// If an item that was read does not read back the same, or does not survive being packed.
pub fn item(bytes: &[u8]) -> Took {
    let Ok(item) = Item::from_bytes(bytes) else {
        return Took::Refused;
    };
    let again = item.to_bytes();
    assert_eq!(Item::from_bytes(&again), Ok(item));
    for deflate in [false, true] {
        let packed = pack(&again, deflate);
        assert_eq!(unpack(&packed, again.len()), Ok(again.clone()));
    }
    Took::Read
}
