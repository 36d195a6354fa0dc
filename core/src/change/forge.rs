//! Takes changes apart and puts them together again, as an attacker would. For tests, also of other
//! packages.

use sha2::{Digest, Sha256};

use super::reader::Reader;
use super::{MAGIC, TYPE_CHANGE};

const WHOLE: &str = "a whole change that is not deflated";

/// The parts of a change, each free to be anything.
#[derive(Debug, Clone)]
pub struct Forge {
    /// Hashes of the changes it builds on.
    pub deps: Vec<[u8; 32]>,
    /// Who wrote it.
    pub actor: Vec<u8>,
    /// Its number among the changes of its actor.
    pub seq: u64,
    /// Counter of its first operation.
    pub start_op: u64,
    /// What the writer's clock said.
    pub time: i64,
    /// Commit message.
    pub message: Vec<u8>,
    /// Actors besides its own.
    pub other_actors: Vec<Vec<u8>>,
    /// Columns by their specification.
    pub columns: Vec<(u64, Vec<u8>)>,
    /// Bytes behind the columns.
    pub extra: Vec<u8>,
}

impl Forge {
    /// An otherwise proper first change without operations.
    pub fn empty() -> Self {
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
    pub fn puts(times: i64) -> Self {
        Self::empty()
            .with_column(0x15, &run(times, &prefixed(b"k")))
            .with_column(0x34, &unsigned(times.unsigned_abs()))
            .with_column(0x42, &run(times, &unsigned(1)))
            .with_column(0x56, &run(times, &unsigned(0)))
            .with_column(0x70, &run(times, &unsigned(0)))
    }

    /// Takes a change apart that Automerge made and did not deflate.
    ///
    /// # Panics
    /// If the bytes are anything else.
    pub fn of(raw: &[u8]) -> Self {
        let mut reader = Reader::new(raw);
        reader.take(9).expect(WHOLE);
        reader.unsigned().expect(WHOLE);
        let mut forge = Self::empty();
        let deps = reader.unsigned().expect(WHOLE);
        forge.deps = (0..deps).map(|_| reader.array().expect(WHOLE)).collect();
        forge.actor = take_prefixed(&mut reader);
        forge.seq = reader.unsigned().expect(WHOLE);
        forge.start_op = reader.unsigned().expect(WHOLE);
        forge.time = reader.signed().expect(WHOLE);
        forge.message = take_prefixed(&mut reader);
        let others = reader.unsigned().expect(WHOLE);
        forge.other_actors = (0..others).map(|_| take_prefixed(&mut reader)).collect();
        let columns = reader.unsigned().expect(WHOLE);
        let listed: Vec<(u64, u64)> = (0..columns)
            .map(|_| {
                (
                    reader.unsigned().expect(WHOLE),
                    reader.unsigned().expect(WHOLE),
                )
            })
            .collect();
        forge.columns = listed
            .into_iter()
            .map(|(spec, length)| (spec, reader.take(length).expect(WHOLE).to_vec()))
            .collect();
        forge.extra = reader.rest().to_vec();
        forge
    }

    /// The same with another content of one column.
    #[must_use]
    pub fn with_column(mut self, spec: u64, bytes: &[u8]) -> Self {
        self.columns.retain(|(other, _)| *other != spec);
        self.columns.push((spec, bytes.to_vec()));
        self.columns.sort();
        self
    }

    /// What the checksum is over, without chunk type and length.
    pub fn data(&self) -> Vec<u8> {
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
    pub fn bytes(&self) -> Vec<u8> {
        chunk(TYPE_CHANGE, &self.data())
    }
}

/// A chunk around `data` with the checksum that fits.
pub fn chunk(chunk_type: u8, data: &[u8]) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update([chunk_type]);
    hasher.update(unsigned(data.len() as u64));
    hasher.update(data);
    framed(chunk_type, &hasher.finalize()[..4], data)
}

/// A saved document of one actor with these columns, by their specification, of changes and of
/// operations. The checksum is right.
pub fn saved(changes: &[(u64, Vec<u8>)], operations: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut data = [unsigned(1), prefixed(&[7; 16]), unsigned(1), vec![8; 32]].concat();
    for columns in [changes, operations] {
        data.extend(unsigned(columns.len() as u64));
        for (spec, bytes) in columns {
            data.extend([unsigned(*spec), unsigned(bytes.len() as u64)].concat());
        }
    }
    for (_, bytes) in changes.iter().chain(operations) {
        data.extend(bytes);
    }
    data.push(0);
    chunk(0, &data)
}

/// A chunk of which nothing has to be right.
pub fn framed(chunk_type: u8, checksum: &[u8], data: &[u8]) -> Vec<u8> {
    let length = unsigned(data.len() as u64);
    [&MAGIC[..], checksum, &[chunk_type], &length, data].concat()
}

/// The shortest unsigned LEB128 of a number.
pub fn unsigned(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// The shortest signed LEB128 of a number.
pub fn signed(mut value: i64) -> Vec<u8> {
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
pub fn run(times: i64, value: &[u8]) -> Vec<u8> {
    let head = if times == 1 { -1 } else { times };
    [signed(head), value.to_vec()].concat()
}

/// Bytes behind their length.
pub fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [unsigned(bytes.len() as u64), bytes.to_vec()].concat()
}

fn take_prefixed(reader: &mut Reader<'_>) -> Vec<u8> {
    let length = reader.unsigned().expect(WHOLE);
    reader.take(length).expect(WHOLE).to_vec()
}
