//! Headers and groups whose sums are right and which are wrong all the same.

use super::super::format::{
    Damage, GROUP_HEADER_BYTES, GroupHeader, SEGMENT_HEADER_BYTES, SegmentHeader, chain_next,
    chain_start, record_hash, records_in,
};
use super::ID;
use crate::hash::{Hasher, domain};
use crate::id::{Chain, JournalId};
use crate::limits::SEGMENT_BYTES_MAX;

const SEGMENT: SegmentHeader = SegmentHeader {
    id: ID,
    number: 3,
    length: 4_096,
    first: 9,
    before: Chain([1; 32]),
};

const GROUP: GroupHeader = GroupHeader {
    first: 9,
    count: 2,
    payload: 20,
    before: Chain([1; 32]),
    after: Chain([2; 32]),
};

/// A segment's header with some bytes changed and its sum made right again.
fn sealed(edit: impl FnOnce(&mut [u8])) -> Result<SegmentHeader, Damage> {
    let mut bytes = SEGMENT.encode();
    let (header, sum) = bytes.split_at_mut(SEGMENT_HEADER_BYTES - 32);
    edit(header);
    let hash = Hasher::new(domain::JOURNAL_HEADER).fixed(header).finish();
    sum.copy_from_slice(&hash);
    SegmentHeader::decode(&bytes)
}

#[test]
fn a_segment_needs_its_magic_its_version_and_a_possible_length() {
    assert_eq!(sealed(|_| {}), Ok(SEGMENT));
    assert_eq!(
        sealed(|header| header[0] = b'b'),
        Err(Damage::SegmentHeader)
    );
    let other = sealed(|header| header[8] = 2);
    assert_eq!(other, Err(Damage::FormatVersion { found: 2 }));
    let length = |bytes: u64| {
        sealed(|header| header[32..40].copy_from_slice(&bytes.to_le_bytes()))
            .map(|header| header.length)
    };
    assert_eq!(length(SEGMENT_BYTES_MAX.into()), Ok(SEGMENT_BYTES_MAX));
    for longer in [u64::from(SEGMENT_BYTES_MAX) + 1, 1 << 40] {
        assert_eq!(length(longer), Err(Damage::SegmentHeader));
    }
}

#[test]
fn a_group_counts_only_in_its_place_with_records_that_can_be_counted() {
    let read = |header: &GroupHeader| {
        GroupHeader::decode(&header.encode(&ID, 3, 112), &ID, 3, 112).is_some()
    };
    assert!(read(&GROUP));
    assert!(!read(&GroupHeader { first: 0, ..GROUP }));
    assert!(!read(&GroupHeader { count: 0, ..GROUP }));
    let first = u64::MAX - 1;
    assert!(!read(&GroupHeader { first, ..GROUP }));
    let bytes = GROUP.encode(&ID, 3, 112);
    for (id, segment, offset) in [(JournalId([8; 16]), 3, 112), (ID, 4, 112), (ID, 3, 113)] {
        assert_eq!(GroupHeader::decode(&bytes, &id, segment, offset), None);
    }
}

#[test]
fn a_group_needs_its_magic() {
    let mut bytes = GROUP.encode(&ID, 3, 112);
    bytes[0] = b'b';
    let (header, sum) = bytes.split_at_mut(GROUP_HEADER_BYTES - 32);
    let hash = Hasher::new(domain::JOURNAL_HEADER)
        .fixed(&ID.0)
        .fixed(&3_u32.to_le_bytes())
        .fixed(&112_u64.to_le_bytes())
        .fixed(header)
        .finish();
    sum.copy_from_slice(&hash);
    assert_eq!(GroupHeader::decode(&bytes, &ID, 3, 112), None);
}

#[test]
fn the_records_of_a_group_are_as_many_and_as_long_as_it_says() {
    let before = chain_start(&ID);
    let records: [&[u8]; 2] = [b"one", b"three"];
    let mut payload = Vec::new();
    let mut after = before;
    for record in records {
        payload.extend_from_slice(&u32::try_from(record.len()).unwrap().to_le_bytes());
        payload.extend_from_slice(record);
        after = chain_next(&after, &record_hash(record));
    }
    let header = GroupHeader {
        first: 9,
        count: 2,
        payload: u32::try_from(payload.len()).unwrap(),
        before,
        after,
    };
    let of =
        |header: &GroupHeader, payload: &[u8]| records_in(header, payload).map(|all| all.len());
    assert_eq!(of(&header, &payload), Ok(2));
    let counts_three = GroupHeader {
        count: 3,
        ..header.clone()
    };
    assert_eq!(of(&counts_three, &payload), Err(Damage::Records));
    for more in [&[0][..], &[0; 3]] {
        let longer = [&payload, more].concat();
        assert_eq!(of(&header, &longer), Err(Damage::Records));
    }
    assert_eq!(
        of(&header, &payload[..payload.len() - 1]),
        Err(Damage::Records)
    );
    let other = GroupHeader {
        after: before,
        ..header
    };
    assert_eq!(of(&other, &payload), Err(Damage::Records));
}
