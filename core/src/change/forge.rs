//! Takes changes apart and puts them together again, as an attacker would.

use sha2::{Digest, Sha256};

use super::reader::Reader;
use super::{MAGIC, TYPE_CHANGE};

/// The parts of a change, each free to be anything.
#[derive(Debug, Clone)]
pub(crate) struct Forge {
    pub(crate) deps: Vec<[u8; 32]>,
    pub(crate) actor: Vec<u8>,
    pub(crate) seq: u64,
    pub(crate) start_op: u64,
    pub(crate) time: i64,
    pub(crate) message: Vec<u8>,
    pub(crate) other_actors: Vec<Vec<u8>>,
    pub(crate) columns: Vec<(u64, Vec<u8>)>,
    pub(crate) extra: Vec<u8>,
}

impl Forge {
    /// An otherwise proper first change without operations.
    pub(crate) fn empty() -> Self {
        Self {
            deps: Vec::new(),
            actor: vec![7; 16],
            seq: 1,
            start_op: 1,
            time: 0,
            message: Vec::new(),
            other_actors: Vec::new(),
            columns: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// A proper first change whose `times` operations set the key "k" of the root to null.
    pub(crate) fn puts(times: i64) -> Self {
        Self::empty()
            .with_column(0x15, &run(times, &prefixed(b"k")))
            .with_column(0x34, &unsigned(times.unsigned_abs()))
            .with_column(0x42, &run(times, &unsigned(1)))
            .with_column(0x56, &run(times, &unsigned(0)))
            .with_column(0x70, &run(times, &unsigned(0)))
    }

    /// Takes a change apart that Automerge made and did not deflate.
    pub(crate) fn of(raw: &[u8]) -> Self {
        let mut reader = Reader::new(raw);
        reader.take(9).unwrap();
        reader.unsigned().unwrap();
        let mut forge = Self::empty();
        let deps = reader.unsigned().unwrap();
        forge.deps = (0..deps).map(|_| reader.array().unwrap()).collect();
        forge.actor = take_prefixed(&mut reader);
        forge.seq = reader.unsigned().unwrap();
        forge.start_op = reader.unsigned().unwrap();
        forge.time = reader.signed().unwrap();
        forge.message = take_prefixed(&mut reader);
        let others = reader.unsigned().unwrap();
        forge.other_actors = (0..others).map(|_| take_prefixed(&mut reader)).collect();
        let columns = reader.unsigned().unwrap();
        let listed: Vec<(u64, u64)> = (0..columns)
            .map(|_| (reader.unsigned().unwrap(), reader.unsigned().unwrap()))
            .collect();
        forge.columns = listed
            .into_iter()
            .map(|(spec, length)| (spec, reader.take(length).unwrap().to_vec()))
            .collect();
        forge.extra = reader.rest().to_vec();
        forge
    }

    pub(crate) fn with_column(mut self, spec: u64, bytes: &[u8]) -> Self {
        self.columns.retain(|(other, _)| *other != spec);
        self.columns.push((spec, bytes.to_vec()));
        self.columns.sort();
        self
    }

    pub(crate) fn data(&self) -> Vec<u8> {
        let mut data = unsigned(self.deps.len() as u64);
        data.extend(self.deps.concat());
        data.extend(prefixed(&self.actor));
        data.extend(unsigned(self.seq));
        data.extend(unsigned(self.start_op));
        data.extend(signed(self.time));
        data.extend(prefixed(&self.message));
        data.extend(unsigned(self.other_actors.len() as u64));
        for actor in &self.other_actors {
            data.extend(prefixed(actor));
        }
        data.extend(unsigned(self.columns.len() as u64));
        for (spec, bytes) in &self.columns {
            data.extend(unsigned(*spec));
            data.extend(unsigned(bytes.len() as u64));
        }
        for (_, bytes) in &self.columns {
            data.extend(bytes);
        }
        data.extend(&self.extra);
        data
    }

    /// The change with a right checksum.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        chunk(TYPE_CHANGE, &self.data())
    }
}

/// A chunk around `data` with the checksum that fits.
pub(crate) fn chunk(chunk_type: u8, data: &[u8]) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update([chunk_type]);
    hasher.update(unsigned(data.len() as u64));
    hasher.update(data);
    framed(chunk_type, &hasher.finalize()[..4], data)
}

/// A chunk of which nothing has to be right.
pub(crate) fn framed(chunk_type: u8, checksum: &[u8], data: &[u8]) -> Vec<u8> {
    let length = unsigned(data.len() as u64);
    [&MAGIC[..], checksum, &[chunk_type], &length, data].concat()
}

/// The shortest unsigned LEB128 of a number.
pub(crate) fn unsigned(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// The shortest signed LEB128 of a number.
pub(crate) fn signed(mut value: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !(-64..64).contains(&value) {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8 & 0x7f);
    bytes
}

/// A run of a run-length encoded column: `value` repeated `times`. Automerge writes a single value
/// as a list of one.
pub(crate) fn run(times: i64, value: &[u8]) -> Vec<u8> {
    let head = if times == 1 { -1 } else { times };
    [signed(head), value.to_vec()].concat()
}

pub(crate) fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [unsigned(bytes.len() as u64), bytes.to_vec()].concat()
}

fn take_prefixed(reader: &mut Reader<'_>) -> Vec<u8> {
    let length = reader.unsigned().unwrap();
    reader.take(length).unwrap().to_vec()
}
