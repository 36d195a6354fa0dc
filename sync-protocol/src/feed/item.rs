//! What a place in the journal gives for one device.

use std::collections::VecDeque;

use bukti_core::id::{DocumentId, Position};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::ledger::{DocumentRow, EnvelopeRow, FactRow, ReadError, Reader, Topic};
use bukti_core::placement::Placements;
use bukti_core::record::Record;

use super::ahead::Found;
use super::draft::{Draft, Made};
use super::reading::{Reading, has};
use super::{Addressee, FeedError};
use crate::item::{Envelope, Item};
use crate::limits;

/// Bytes that an envelope takes at least in a whole document: its signature, the hashes and ids in
/// it, and its carrier.
const ENVELOPE_BYTES_MIN: u64 = 64 + 32 + 32 + 16 + 16 + 32;

/// Documents sent whole that contain more than the position reached, so that what they contain is
/// not sent again as records. Forgetting one costs bytes only.
#[derive(Debug, Default)]
pub(super) struct Wholes(VecDeque<(DocumentId, Position)>);

impl Wholes {
    /// Takes note that everything of `document` up to `as_of` was sent.
    pub(super) fn remember(&mut self, document: DocumentId, as_of: Position) {
        if self.0.len() >= limits::WHOLES_REMEMBERED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((document, as_of));
    }

    /// Drops what can no longer matter.
    pub(super) fn forget_upto(&mut self, position: Position) {
        self.0.retain(|(_, as_of)| *as_of > position);
        if self.0.is_empty() {
            self.0.shrink_to_fit();
        }
    }

    fn contain(&self, document: &DocumentId, position: Position) -> bool {
        self.0
            .iter()
            .any(|(whole, as_of)| whole == document && position <= *as_of)
    }
}

/// Whether a statement at `position` is to be sent once the feed comes to `at`, where the statement
/// stands or a unit was moved: a reading has it from there on, and none had it before. Of a parent's
/// region sheets only the newest is, and of a unit's moves the last.
pub(super) fn is_due<S: Storage, K: Kv>(
    reader: &Reader<S, K>,
    position: Position,
    topic: &Topic,
    at: Position,
    readings: &[Reading],
    placements: &Placements,
    addressee: &Addressee,
) -> Result<bool, FeedError> {
    let since = |reading: &Reading| match topic {
        Topic::Framework | Topic::Revocation(_) | Topic::Move(..) => Some(0),
        Topic::Regions(parent) => reading.touches(parent, placements),
        Topic::Device(device, _) if *device == addressee.device => Some(0),
        Topic::Device(_, scopes) => {
            let scopes = scopes.iter();
            scopes
                .filter_map(|scope| reading.touches(scope, placements))
                .min()
        }
    };
    let mut is_new = false;
    for reading in readings {
        let Some(since) = since(reading) else {
            continue;
        };
        if reading.has_fact(position, since, at.saturating_sub(1)) {
            return Ok(false);
        }
        is_new |= reading.has_fact(position, since, at);
    }
    if !is_new {
        return Ok(false);
    }
    match topic {
        Topic::Framework | Topic::Revocation(_) | Topic::Device(..) => Ok(true),
        Topic::Move(unit, _) => Ok(placements
            .placement(unit)
            .is_some_and(|last| last.position == position)),
        Topic::Regions(parent) => Ok(reader
            .regions(parent)?
            .is_some_and(|(newest, _)| newest == position)),
    }
}

/// The statement as it travels.
pub(super) fn fact<S: Storage, K: Kv>(
    reader: &Reader<S, K>,
    position: Position,
    row: &FactRow,
) -> Result<Made, FeedError> {
    let statement = reader.statement_bytes(row.place.place())?;
    Ok(Made::Item(
        Item::Fact {
            position,
            statement,
        },
        None,
    ))
}

/// What a record means to the readers of its scope: nothing, the run, or the whole document if it
/// is through this record that the device may see it.
pub(super) fn record<S: Storage, K: Kv>(
    reader: &Reader<S, K>,
    found: &Found,
    readings: &[Reading],
    placements: &Placements,
    addressee: &Addressee,
    wholes: &Wholes,
    draft: &Draft,
) -> Result<Made, FeedError> {
    let Found {
        position, document, ..
    } = found;
    if wholes.contain(document, *position) {
        return Ok(Made::Nothing);
    }
    let row = reader
        .document(document)?
        .ok_or(FeedError::NoDocument(*document))?;
    let lineage = placements.lineage(&found.scope);
    if !has(readings, &row, &lineage, *position) {
        return Ok(Made::Nothing);
    }
    let had = has(readings, &row, &lineage, position.saturating_sub(1));
    if !had && row.entered_unit < *position {
        return whole(reader, document, &row, draft);
    }
    let changes = match reader.record(found.place) {
        Ok(Record::Changes(changes)) => changes,
        Ok(Record::Server(_)) => return Err(FeedError::NoRecord(*position)),
        // What the journal cannot give any more the document has.
        Err(ReadError::Journal(_) | ReadError::Record(_)) => {
            return whole(reader, document, &row, draft);
        }
        Err(error) => return Err(error.into()),
    };
    let body = changes.run.envelope.body();
    // What a device gave back it holds as well as what it sealed.
    let sealed = body.device == addressee.device && body.incarnation == addressee.incarnation;
    let own = sealed || (changes.returned && changes.carrier == addressee.device);
    let item = if own {
        Item::Own {
            position: *position,
            received_at: changes.received_at,
            run: changes.run.id(),
            document: *document,
            last_seq: body.last_seq(),
            last_hash: body.last_hash,
        }
    } else {
        Item::Record {
            position: *position,
            received_at: changes.received_at,
            carrier: changes.carrier,
            run: changes.run.to_bytes(),
        }
    };
    Ok(Made::Item(item, None))
}

/// The document with all its history and envelopes, as of its last run.
///
/// What surely does not fit is not read: the page ends before it, and the next one begins with it.
pub(super) fn whole<S: Storage, K: Kv>(
    reader: &Reader<S, K>,
    document: &DocumentId,
    row: &DocumentRow,
    draft: &Draft,
) -> Result<Made, FeedError> {
    let bytes = row
        .saved_bytes
        .saturating_add(row.runs.saturating_mul(ENVELOPE_BYTES_MIN));
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if !draft.has_room(bytes) {
        return Ok(Made::TooLarge(bytes));
    }
    let whole = reader
        .whole(document)?
        .ok_or(FeedError::NoDocument(*document))?;
    let as_of = whole.row.last_position;
    let envelope = |row: EnvelopeRow| Envelope {
        position: row.position,
        received_at: row.received_at,
        carrier: row.carrier,
        bytes: row.envelope,
    };
    let item = Item::Whole {
        document: *document,
        as_of,
        published: whole.row.published(),
        saved: whole.saved,
        envelopes: whole.envelopes.into_iter().map(envelope).collect(),
    };
    Ok(Made::Item(item, Some((*document, as_of))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_whole_documents_are_remembered_and_no_more() {
        let document = |number: usize| DocumentId([u8::try_from(number).unwrap(); 16]);
        let mut wholes = Wholes::default();
        for number in 0..=limits::WHOLES_REMEMBERED_MAX {
            wholes.remember(document(number), 10);
        }
        assert_eq!(wholes.0.len(), limits::WHOLES_REMEMBERED_MAX);
        assert!(!wholes.contain(&document(0), 10) && wholes.contain(&document(1), 10));
        assert!(!wholes.contain(&document(1), 11));
        wholes.forget_upto(10);
        assert!(wholes.0.is_empty());
    }
}
