//! The journal on a disk in memory and on a real one.

mod copies;
mod crash;
mod damage;
mod disk_model;
mod founding;
mod judged;
mod real_disk;
mod repairing;
mod scrub;
mod sealed;
mod targets;
mod use_of;

use super::memory::MemoryStorage;
use super::{Journal, Options};
use crate::id::JournalId;

const ID: JournalId = JournalId([7; 16]);

/// Segments with room for two groups of two records of 300 bytes.
const SMALL: Options = Options {
    segment_bytes: 1900,
    reserve_bytes: 0,
    prefix_removable: false,
};

fn record(number: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| number.wrapping_mul(31).wrapping_add(at as u8) | 1)
        .collect()
}

/// Six groups of two records in three segments.
fn small_journal() -> (MemoryStorage, Journal<MemoryStorage>, Vec<Vec<u8>>) {
    let disk = MemoryStorage::new();
    let mut journal = Journal::create(disk.clone(), ID, SMALL, &[]).unwrap();
    let records: Vec<_> = (1..=12).map(|number| record(number, 300)).collect();
    for pair in records.chunks(2) {
        journal.append(pair).unwrap();
    }
    (disk, journal, records)
}

/// All records that a scan gives.
fn contents(journal: &Journal<MemoryStorage>) -> Vec<Vec<u8>> {
    let scan = journal.reader().scan(0);
    scan.map(|scanned| scanned.unwrap().record).collect()
}
