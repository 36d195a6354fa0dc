//! Frames and what they carry.

use bukti_sync_protocol::bye::{Bye, ByeCode};
use bukti_sync_protocol::deflate::{pack, unpack};
use bukti_sync_protocol::frame::{Features, Frame, FrameError, decode, encode};
use bukti_sync_protocol::item::{FeedItem, Item};
use bukti_sync_protocol::limits;

use super::Took;
use crate::dice::is_cbor;

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
    // What fits deflated may be too long as it is.
    let again = encode(&frame, Features::NONE);
    if again.len() <= limits::FRAME_BYTES_MAX {
        assert_eq!(decode(&again).as_ref(), Ok(&Some(frame.clone())));
    }
    let deflated = encode(&frame, Features::DEFLATE);
    if deflated.len() <= limits::FRAME_BYTES_MAX {
        assert_eq!(decode(&deflated), Ok(Some(frame.clone())));
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
