//! Segments of a journal that somebody wrote or damaged.

use bukti_core::hash::{Hasher, domain};
use bukti_core::id::{Chain, JournalId, Position};
use bukti_core::journal::format::{
    GROUP_HEADER_BYTES, RECORD_PREFIX_BYTES, SEGMENT_HEADER_BYTES, chain_next, chain_start,
    record_hash,
};
use bukti_core::journal::memory::MemoryStorage;
use bukti_core::journal::verify::{Extent, verify};
use bukti_core::journal::{Journal, JournalReader, Options, Storage};

use super::Took;

const SEGMENTS: [&str; 2] = ["0000000001.seg", "0000000002.seg"];

const ID: JournalId = JournalId([9; 16]);

/// The first byte says what the rest is: one or two segments as they are, the same with hashes of
/// headers and chain values set right, or a script that damages a journal which was whole.
///
/// # Panics
/// If a record comes out of the reader whose chain does not hold, if a damaged byte escapes
/// `verify`, or if a journal that `verify` finds whole does not open.
pub fn journal(bytes: &[u8]) -> Took {
    let Some((kind, rest)) = bytes.split_first() else {
        return Took::Refused;
    };
    match kind % 4 {
        0 => open_segments(&split(rest)),
        1 => open_segments(&split(rest).map(|segment| reseal(&segment, false))),
        2 => open_segments(&split(rest).map(|segment| reseal(&segment, true))),
        _ => damage(rest),
    }
}

/// The first two bytes say where the second segment begins, if there is one.
fn split(bytes: &[u8]) -> [Vec<u8>; 2] {
    let Some((at, content)) = bytes.split_at_checked(2) else {
        return [bytes.to_vec(), Vec::new()];
    };
    let at = usize::from(u16::from_le_bytes([at[0], at[1]])).min(content.len());
    [content[..at].to_vec(), content[at..].to_vec()]
}

/// Sets the hashes of headers right, and the chain values, too, if asked, so that content that was
/// altered is looked at and not only its hash.
pub fn reseal(segment: &[u8], chains: bool) -> Vec<u8> {
    let mut bytes = segment.to_vec();
    if bytes.len() < SEGMENT_HEADER_BYTES {
        return bytes;
    }
    let header = Hasher::new(domain::JOURNAL_HEADER).fixed(&bytes[..80]);
    bytes[80..SEGMENT_HEADER_BYTES].copy_from_slice(&header.finish());
    let (number, id) = (bytes[12..16].to_vec(), bytes[16..32].to_vec());
    let mut chain = Chain(array(&bytes, 48));
    let mut at = SEGMENT_HEADER_BYTES;
    while at + GROUP_HEADER_BYTES <= bytes.len() && bytes[at..].starts_with(b"BUKTIGRP") {
        let payload = u32::from_le_bytes(array(&bytes, at + 20)) as usize;
        let start = at + GROUP_HEADER_BYTES;
        let end = start.saturating_add(payload).min(bytes.len());
        if chains {
            bytes[at + 24..at + 56].copy_from_slice(&chain.0);
            chain = chain_after(&bytes[start..end], chain);
            bytes[at + 56..at + 88].copy_from_slice(&chain.0);
        }
        let hash = Hasher::new(domain::JOURNAL_HEADER)
            .fixed(&id)
            .fixed(&number)
            .fixed(&(at as u64).to_le_bytes())
            .fixed(&bytes[at..at + GROUP_HEADER_BYTES - 32]);
        bytes[start - 32..start].copy_from_slice(&hash.finish());
        at = end;
    }
    bytes
}

fn chain_after(payload: &[u8], mut chain: Chain) -> Chain {
    let mut rest = payload;
    while let Some((prefix, behind)) = rest.split_at_checked(RECORD_PREFIX_BYTES) {
        let length = u32::from_le_bytes(array(prefix, 0)) as usize;
        let Some(record) = behind.get(..length) else {
            break;
        };
        chain = chain_next(&chain, &record_hash(record));
        rest = &behind[length..];
    }
    chain
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn options() -> Options {
    Options {
        segment_bytes: 1_024,
        reserve_bytes: 0,
        prefix_removable: false,
    }
}

fn open_segments(segments: &[Vec<u8>; 2]) -> Took {
    let storage = MemoryStorage::new();
    for (name, content) in SEGMENTS.iter().zip(segments) {
        if !content.is_empty() {
            storage.set_content(name, content);
        }
    }
    let found = verify(&storage, &Extent::default());
    let opened = Journal::open(storage, options());
    let (journal, recovery) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            assert!(
                !found.is_clean() || segments[0].is_empty(),
                "whole for verify and yet {error}"
            );
            return Took::Refused;
        }
    };
    if found.is_clean() {
        assert_eq!(recovery.torn, None);
        assert_eq!(found.head, Some(journal.reader().watermark()));
    }
    expect_chained(&journal.reader());
    Took::Read
}

/// Every record that the reader gives stands in the chain from the journal's name to its head.
fn expect_chained<S: Storage>(reader: &JournalReader<S>) -> Vec<Vec<u8>> {
    let (head, last) = reader.head();
    let mut chain = chain_start(&reader.id());
    let mut records = Vec::new();
    for scanned in reader.scan(1) {
        let Ok(scanned) = scanned else {
            return records;
        };
        records.push(scanned.record.clone());
        assert_eq!(scanned.position, records.len() as Position, "in order");
        chain = chain_next(&chain, &record_hash(&scanned.record));
        assert_eq!(scanned.chain, chain, "record {}", scanned.position);
        assert_eq!(reader.chain_at(scanned.position), Ok(chain));
        assert_eq!(reader.locate(scanned.position), Ok(scanned.place));
        assert_eq!(reader.read(scanned.place), Ok(scanned.record));
    }
    assert_eq!((records.len() as Position, chain), (head, last));
    records
}

/// Appends records as the script says, then damages single bytes, and holds what is found to what
/// was written.
///
/// The script is: groups, records in each, bytes in each record; then, four bytes each, which
/// segment and how, where (little endian), and with what.
fn damage(script: &[u8]) -> Took {
    let Some((shape, flaws)) = script.split_at_checked(3) else {
        return Took::Refused;
    };
    let storage = MemoryStorage::new();
    let mut journal = Journal::create(storage.clone(), ID, options(), &[])
        .expect("an empty folder takes a journal");
    let mut written = Vec::new();
    for group in 0..=shape[0] % 6 {
        let records: Vec<Vec<u8>> = (0..=shape[1] % 4)
            .map(|record| vec![group ^ record ^ 0x5a; usize::from(shape[2])])
            .collect();
        journal.append(&records).expect("memory takes it");
        written.extend(records);
    }
    let watermark = journal.reader().watermark();
    let whole = storage.duplicate();
    for flaw in flaws.chunks_exact(4).take(8) {
        inflict(&storage, flaw);
    }
    let mut names = Storage::list(&storage).expect("memory lists");
    names.sort_unstable();
    let damaged = names
        .iter()
        .any(|name| storage.content(name) != whole.content(name));
    // Whole groups that are gone from the end leave a shorter journal: only a mark shows that.
    let held = Extent {
        up_to: Some(watermark),
        ..Extent::default()
    };
    let found = verify(&storage, &Extent::default());
    let is_whole = verify(&storage, &held).is_clean();
    let shorter = found.head.map(|head| head.position) < Some(watermark.position);
    assert_eq!(
        found.is_clean() && !shorter,
        !damaged,
        "{:?}",
        found.findings
    );
    assert!(is_whole || damaged, "a mark of its own is not held");
    assert!(
        !is_whole || !shorter,
        "records are gone and no mark shows it"
    );

    // What an owner that is still alive reads is what it wrote, or an error.
    let alive = expect_written(&journal.reader(), &written);
    assert!(damaged || alive == written.len());
    drop(journal);
    match Journal::open(storage.clone(), options()) {
        Ok((journal, recovery)) => {
            let kept = expect_chained(&journal.reader());
            assert!(
                written.starts_with(&kept),
                "another record than was written"
            );
            assert!(damaged || recovery.torn.is_none());
            let lost = !verify(&storage, &held).is_clean();
            assert!(
                lost || kept == written,
                "records are gone and nobody says so"
            );
            Took::Read
        }
        Err(error) => {
            assert!(damaged, "nothing was damaged and yet {error}");
            Took::Refused
        }
    }
}

fn expect_written<S: Storage>(reader: &JournalReader<S>, written: &[Vec<u8>]) -> usize {
    let mut read = 0;
    for (position, record) in (1..).zip(written) {
        if let Ok(place) = reader.locate(position)
            && let Ok(found) = reader.read(place)
        {
            assert_eq!(&found, record, "record {position}");
            read += 1;
        }
    }
    read
}

fn inflict(storage: &MemoryStorage, flaw: &[u8]) {
    let mut names = Storage::list(storage).expect("memory lists");
    names.sort_unstable();
    if names.is_empty() {
        return;
    }
    let name = &names[usize::from(flaw[0] >> 2) % names.len()];
    let Some(mut content) = storage.content(name) else {
        return;
    };
    if content.is_empty() {
        return;
    }
    let at = usize::from(u16::from_le_bytes([flaw[1], flaw[2]])) % content.len();
    match flaw[0] % 4 {
        0 => content[at] ^= flaw[3],
        1 => content[at..].fill(0),
        2 => content.truncate(at),
        _ => {
            let end = (at + 64).min(content.len());
            let part = content[at..end].to_vec();
            let to = usize::from(flaw[3]) * 4 % (content.len() - part.len() + 1);
            content[to..to + part.len()].copy_from_slice(&part);
        }
    }
    storage.set_content(name, &content);
}

/// An input of this body: how many groups, records and bytes are written, and what is damaged then.
pub fn script(groups: u8, records: u8, bytes: u8, flaws: &[[u8; 4]]) -> Vec<u8> {
    [&[3, groups, records, bytes][..], &flaws.concat()].concat()
}

/// The segments of a journal that is whole, as an input of this body.
pub(crate) fn whole(kind: u8, records: &[Vec<u8>]) -> Vec<u8> {
    let storage = MemoryStorage::new();
    let mut journal = Journal::create(storage.clone(), ID, options(), &[])
        .expect("an empty folder takes a journal");
    for record in records {
        journal
            .append(std::slice::from_ref(record))
            .expect("memory takes it");
    }
    let segments = SEGMENTS.map(|name| storage.content(name).unwrap_or_default());
    let at = u16::try_from(segments[0].len()).expect("short segments");
    [&[kind], &at.to_le_bytes()[..], &segments.concat()].concat()
}
