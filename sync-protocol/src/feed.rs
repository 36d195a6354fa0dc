//! The reading side of a session: what a device is to receive next, in pages.
//!
//! A [`Feed`] goes from the device's cursor to the journal's watermark. Its work follows what
//! changed: it asks which scopes have records behind the cursor and merges those by position,
//! statements of the server among them. Documents that were there before the device first asked
//! are *owed*; they come whole, newest first, whenever nothing newer waits.
//!
//! Everything is sent that the grants allow and nothing else. The cursor comes from outside and is
//! believed only about what the device already has.

mod ahead;
mod draft;
mod frontier;
mod item;
mod owed;
mod page;
mod reading;
mod transfer;

use std::collections::BTreeSet;
use std::sync::Arc;

use bukti_core::authority::{Audience, Grant};
use bukti_core::envelope::Seen;
use bukti_core::id::{DeviceId, DocumentId, Incarnation, Position};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::ledger::{DocumentRow, ReadError, Reader, Subscription, Topic};
use bukti_core::placement::Placements;
use bukti_core::scope::Scope;

use self::ahead::{Ahead, Next};
use self::draft::{Draft, Made};
use self::item::{Wholes, fact, is_due, record, whole};
use self::owed::Owed;
pub use self::page::{FeedError, Page, UpToDate};
use self::reading::{Reading, Resuming, has, wanted};
use self::transfer::{Passage, Passing, Transfer};
use crate::cursor::{Cursor, Mark};
use crate::item::Item;
use crate::limits;
use crate::server::is_damage;

/// What one device is to receive, page by page.
///
/// [`Feed::next`] until it gives nothing, then [`Feed::up_to_date`]; again when the journal
/// advanced. After an error the feed is dropped and the device subscribes anew.
#[derive(Debug)]
pub struct Feed {
    reader: Addressee,
    grants: Vec<Grant>,
    requested: Vec<Scope>,
    /// Where units stand, as the readings take it.
    placements: Arc<Placements>,
    readings: Vec<Reading>,
    /// A device that reads nothing is told its grants all the same, once.
    tells_grants: bool,
    start: Start,
    /// What lies between the readings and a watermark; present while it is being sent.
    ahead: Option<Ahead>,
    /// Documents at or below the floors; present while they are being sent.
    owed: Option<Owed>,
    /// A unit's move whose documents and statements are going by.
    transfer: Option<Transfer>,
    wholes: Wholes,
    /// Documents that the device asked for.
    needs: BTreeSet<DocumentId>,
    /// Only digests are sent.
    muted: bool,
    /// What an item may have at present that is larger than a page.
    item_bytes_max: usize,
    /// Bytes of the next item, if that is more.
    wants: Option<usize>,
    bounds: Bounds,
}

/// How much a feed does and keeps at a time; smaller in tests, so that few records reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    frontier: usize,
    steps: usize,
}

impl Bounds {
    fn transfer(self, at: Position, below: Position) -> Transfer {
        Transfer::of(at, below, self.frontier)
    }

    /// How far a move has gone by that was being passed. Whatever readings go on from the cursor's
    /// marks gain no more by it than those did, and others begin behind it.
    fn transfer_of(self, cursor: &Cursor) -> Option<Transfer> {
        cursor.passing.map(|(at, below)| self.transfer(at, below))
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            frontier: limits::FRONTIER_MAX,
            steps: limits::FEED_STEPS_PER_PAGE,
        }
    }
}

/// Whose session it is. Runs of this incarnation are named without their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addressee {
    pub(crate) device: DeviceId,
    pub(crate) incarnation: Incarnation,
}

/// How a feed began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The device came without a cursor.
    New,
    /// The device's cursor holds.
    Continued,
    /// The cursor cannot be read, or this journal does not have its chain values: the device asks
    /// another server, or one that lost records. Everything is owed anew.
    Void,
}

impl Feed {
    /// Begins where the cursor says. `grants` are those of the device at this moment; `requested`
    /// scopes narrow them, none means everything. A requested scope without a grant is dropped,
    /// and the digests of [`Feed::up_to_date`] show which were served.
    ///
    /// # Errors
    /// [`FeedError::TooManyScopes`], or if the ledger cannot be read. A bad cursor is not an
    /// error: see [`Start::Void`].
    pub fn start<S: Storage, K: Kv>(
        reader: &Reader<S, K>,
        grants: &[Grant],
        requested: &[Scope],
        cursor: Option<&[u8]>,
        device: DeviceId,
        incarnation: Incarnation,
    ) -> Result<Self, FeedError> {
        let placements = reader.placements();
        let wanted = wanted(grants, requested, &placements)?;
        let watermark = reader.watermark();
        let (start, cursor) = match cursor {
            None => (Start::New, Cursor::default()),
            Some(bytes) => match Cursor::from_bytes(bytes) {
                Ok(cursor) if is_ours(reader, &cursor)? => match cursor.marks.is_empty() {
                    // No document was ever sent under it.
                    true => (Start::New, cursor),
                    false => (Start::Continued, cursor),
                },
                Ok(_) | Err(_) => (Start::Void, Cursor::default()),
            },
        };
        let resuming = Resuming::new(&cursor, &placements, watermark);
        let readings = wanted.into_iter().map(|of| resuming.resume(of));
        let readings: Vec<Reading> = readings.collect();
        let bounds = Bounds::default();
        Ok(Self {
            reader: Addressee {
                device,
                incarnation,
            },
            grants: grants.to_vec(),
            requested: requested.to_vec(),
            tells_grants: readings.is_empty(),
            transfer: bounds.transfer_of(&cursor),
            readings,
            placements,
            start,
            ahead: None,
            owed: None,
            wholes: Wholes::default(),
            needs: BTreeSet::new(),
            muted: false,
            item_bytes_max: usize::MAX,
            wants: None,
            bounds,
        })
    }

    /// How it began.
    pub fn start_was(&self) -> Start {
        self.start
    }

    /// Owes no documents: the device holds some and compares. For a feed that just began anew.
    pub fn owe_nothing(&mut self) {
        self.readings
            .iter_mut()
            .for_each(|reading| reading.floor = 0);
    }

    /// Sends nothing but digests, under a cursor that says so.
    pub fn mute(&mut self) {
        self.muted = true;
    }

    /// Makes no page of an item that is larger than a page and than this.
    pub(crate) fn bound_items(&mut self, item_bytes_max: usize) {
        self.item_bytes_max = item_bytes_max;
    }

    /// Bytes of the item for which [`Feed::next`] gave nothing: more than it may have.
    pub(crate) fn wants(&self) -> Option<usize> {
        self.wants
    }

    /// Whether only digests are sent, and others than the last ones may be right by now.
    pub fn is_muted_behind<S: Storage, K: Kv>(&self, reader: &Reader<S, K>) -> bool {
        self.muted && self.is_behind(&reader.watermark())
    }

    /// The subscription with this prefix and audience, if it is read.
    pub fn subscription(&self, prefix: &Scope, audience: Audience) -> Option<Subscription> {
        let mut subscriptions = self.readings.iter().map(|reading| &reading.subscription);
        subscriptions
            .find(|read| read.prefix == *prefix && read.audience == audience)
            .cloned()
    }

    /// Sends these documents whole before anything owed, as far as the device may see them.
    pub fn need(&mut self, documents: impl Iterator<Item = DocumentId>) {
        if !self.muted {
            self.needs.extend(documents);
        }
    }

    /// The next page, or nothing if everything up to the watermark of this moment was sent.
    ///
    /// Items and cursor take at most `budget_bytes`, unless a single item is larger: it makes a
    /// page of its own. One call does a bounded number of steps besides finding out which scopes
    /// changed.
    ///
    /// # Errors
    /// If the ledger cannot be read or contradicts itself. The feed is of no use then.
    pub fn next<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        budget_bytes: usize,
    ) -> Result<Option<Page>, FeedError> {
        loop {
            let granted = self.keep_up(reader)?;
            if self.muted {
                return Ok(None);
            }
            let (readings, tells) = (self.readings.clone(), self.tells_grants);
            let passing = self.transfer.as_ref().map(|moved| (moved.at, moved.below));
            let page = self.page(reader, budget_bytes)?;
            // Behind the rows, so that none is shown that was written once it was not to be read.
            let standing = self.standing(reader, granted)?;
            let is_moved = reader.placements().version() != self.placements.version();
            if standing == Standing::Unchanged && !is_moved {
                return Ok(page);
            }
            let items = page.map(|page| page.items).unwrap_or_default();
            let wholes = items.iter().filter_map(|item| match item {
                Item::Whole { document, .. } => Some(*document),
                Item::Record { .. } | Item::Own { .. } | Item::Fact { .. } => None,
            });
            self.needs.extend(wholes);
            // Grants changed or a unit was moved while rows were read one by one: they may belong to
            // both sides.
            (self.readings, self.tells_grants) = (readings, tells);
            (self.ahead, self.owed, self.wholes) = (None, None, Wholes::default());
            self.transfer = passing.map(|(at, below)| self.bounds.transfer(at, below));
            if standing == Standing::Withdrawn {
                return Err(FeedError::Withdrawn);
            }
        }
    }

    /// Grants or places may have changed since the last page: nothing more is sent by the old ones,
    /// and no cursor speaks of them behind the statement that ended them. Gives the grants, if there is
    /// such a device.
    fn keep_up<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
    ) -> Result<Option<Vec<Grant>>, FeedError> {
        let row = reader.device(&self.reader.device)?;
        let grants = row.map(|row| row.grants);
        let granted = grants.clone();
        let changed = grants.filter(|grants| *grants != self.grants);
        if changed.is_some() || reader.placements().version() != self.placements.version() {
            let grants = changed.unwrap_or_else(|| self.grants.clone());
            self.revise(reader, &grants)?;
        }
        Ok(granted)
    }

    /// Whether the device may receive by now what it might when it had these grants.
    fn standing<S: Storage, K: Kv>(
        &self,
        reader: &Reader<S, K>,
        granted: Option<Vec<Grant>>,
    ) -> Result<Standing, FeedError> {
        let Some(row) = reader.device(&self.reader.device)? else {
            return Ok(Standing::Unchanged);
        };
        Ok(if row.revoked_at.is_some() || !reader.is_confirmed(&row) {
            Standing::Withdrawn
        } else if granted.is_some_and(|granted| row.grants != granted) {
            Standing::Changed
        } else {
            Standing::Unchanged
        })
    }

    /// A page over rows that belong together if no unit is moved meanwhile.
    fn page<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        budget_bytes: usize,
    ) -> Result<Option<Page>, FeedError> {
        let watermark = reader.watermark();
        let page_bytes = budget_bytes.saturating_sub(self.cursor_bytes_at_most());
        let mut draft = Draft::new(page_bytes, self.item_bytes_max);
        self.wants = None;
        for _ in 0..self.bounds.steps {
            match self.step(reader, watermark, &mut draft) {
                Ok(Step::Passed) => {}
                Ok(Step::Full) if draft.is_empty() && draft.wants.is_some() => {
                    self.wants = draft.wants;
                    return Ok(None);
                }
                Ok(Step::Done) if draft.is_empty() => return Ok(None),
                Ok(Step::Full | Step::Done) => break,
                // What stands before a damaged record is sent; the next call meets it again.
                Err(FeedError::Read(error)) if is_damage(&error) && !draft.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        self.settle_midway(reader)?;
        Ok(Some(Page {
            items: draft.items,
            left: draft.left,
            cursor: self.cursor_bytes(watermark),
        }))
    }

    /// Digests to compare with, or nothing if something is to be sent first.
    ///
    /// For after a page, and once at the start: while others write elsewhere it would say the
    /// same again.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn up_to_date<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
    ) -> Result<Option<UpToDate>, FeedError> {
        let owes = !self.needs.is_empty() || self.owes() || self.tells_grants;
        if (self.ahead.is_some() || owes) && !self.muted {
            return Ok(None);
        }
        let subscriptions: Vec<Subscription> = self
            .readings
            .iter()
            .map(|reading| reading.subscription.clone())
            .collect();
        let (seen, digests) = reader.digests(&subscriptions)?;
        if self.muted {
            self.settle(seen);
        } else if self.is_behind(&seen) {
            return Ok(None);
        }
        let named = subscriptions.into_iter().zip(digests);
        let digests = named
            .map(|(of, found)| (of.prefix, of.audience, found.digest, found.documents))
            .collect();
        Ok(Some(UpToDate {
            cursor: self.cursor_bytes(seen),
            position: seen.position,
            digests,
        }))
    }

    /// Goes on with other grants. What they add starts with everything owed; what they take away
    /// is not sent from here on.
    ///
    /// # Errors
    /// As [`Feed::start`].
    pub fn revise<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        grants: &[Grant],
    ) -> Result<(), FeedError> {
        let placements = reader.placements();
        let wanted = wanted(grants, &self.requested, &placements)?;
        let watermark = reader.watermark();
        let cursor = self.cursor(watermark);
        let resuming = Resuming::new(&cursor, &placements, watermark);
        let readings = wanted.into_iter().map(|of| resuming.resume(of));
        self.readings = readings.collect();
        (self.ahead, self.owed) = (None, None);
        self.transfer = self.bounds.transfer_of(&cursor);
        self.tells_grants = self.readings.is_empty();
        (self.grants, self.placements) = (grants.to_vec(), placements);
        Ok(())
    }

    fn step<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        watermark: Seen,
        draft: &mut Draft,
    ) -> Result<Step, FeedError> {
        if let Some(document) = self.needs.first().copied() {
            return self.step_needed(reader, document, draft);
        }
        if self.ahead.is_none() && self.is_behind(&watermark) {
            self.ahead = Some(Ahead::new(watermark, self.bounds.frontier));
        }
        if self.ahead.is_some() {
            return self.step_ahead(reader, draft);
        }
        if self.owes() {
            return self.step_owed(reader, draft);
        }
        if self.tells_grants {
            return self.tell_grants(reader, draft);
        }
        Ok(Step::Done)
    }

    fn step_needed<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        document: DocumentId,
        draft: &mut Draft,
    ) -> Result<Step, FeedError> {
        let row = reader.document(&document)?;
        let reads = |row: &DocumentRow| {
            let mut readings = self.readings.iter();
            readings
                .find(|reading| {
                    reading
                        .reads(&self.placements.lineage(&row.scope))
                        .is_some()
                        && row.entered(reading.audience()).is_some()
                })
                .map(|reading| reading.seen.position)
        };
        if let Some((row, sent_upto)) = row.and_then(|row| reads(&row).map(|upto| (row, upto))) {
            let made = whole(reader, &document, &row, draft)?;
            let Some(step) = draft.place(made, &mut self.wholes, sent_upto) else {
                return Ok(Step::Full);
            };
            self.needs.remove(&document);
            return Ok(step);
        }
        self.needs.remove(&document);
        Ok(Step::Passed)
    }

    /// What the device may do by now, for one that reads nothing and has no place in the journal.
    fn tell_grants<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        draft: &mut Draft,
    ) -> Result<Step, FeedError> {
        let made = match reader.grants_told(&self.reader.device)? {
            Some((position, row)) => fact(reader, position, &row)?,
            None => Made::Nothing,
        };
        let Some(step) = draft.place(made, &mut self.wholes, 0) else {
            return Ok(Step::Full);
        };
        self.tells_grants = false;
        Ok(step)
    }

    fn step_ahead<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        draft: &mut Draft,
    ) -> Result<Step, FeedError> {
        let Some(ahead) = &mut self.ahead else {
            return Ok(Step::Done);
        };
        let Some(next) = ahead.first(reader, &self.readings)? else {
            let upto = ahead.upto();
            self.ahead = None;
            self.settle(upto);
            return Ok(Step::Passed);
        };
        if let Next::Fact { position, row } = &next
            && let Topic::Move(unit, from) = &row.topic
            && let Some(step) = self.step_transfer(reader, *position, unit, from, draft)?
        {
            return Ok(step);
        }
        let made = match &next {
            Next::Fact { position, row } => {
                let (readings, placements) = (&self.readings, &self.placements);
                if is_due(
                    reader,
                    *position,
                    &row.topic,
                    *position,
                    readings,
                    placements,
                    &self.reader,
                )? {
                    fact(reader, *position, row)?
                } else {
                    Made::Nothing
                }
            }
            Next::Record(found) => {
                let (readings, placements) = (&self.readings, &self.placements);
                let (to, wholes) = (&self.reader, &self.wholes);
                record(reader, found, readings, placements, to, wholes, draft)?
            }
        };
        let passed = next.position();
        let Some(step) = draft.place(made, &mut self.wholes, passed) else {
            return Ok(Step::Full);
        };
        if let Some(ahead) = &mut self.ahead {
            ahead.pass(reader, next)?;
        }
        if self
            .transfer
            .as_ref()
            .is_some_and(|moved| moved.at <= passed)
        {
            self.transfer = None;
        }
        Ok(step)
    }

    /// The next document or statement that goes by at a move, or nothing once all went by.
    fn step_transfer<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        at: Position,
        unit: &Scope,
        from: &[Scope],
        draft: &mut Draft,
    ) -> Result<Option<Step>, FeedError> {
        let bounds = self.bounds;
        let under_way = self.transfer.take().filter(|moved| moved.at == at);
        let mut moved = under_way.unwrap_or_else(|| bounds.transfer(at, at));
        let step = self.carry(reader, &mut moved, unit, from, draft);
        self.transfer = Some(moved);
        step
    }

    fn carry<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        moved: &mut Transfer,
        unit: &Scope,
        from: &[Scope],
        draft: &mut Draft,
    ) -> Result<Option<Step>, FeedError> {
        let Some(passing) = moved.first(reader, unit, &self.readings, &self.placements)? else {
            return Ok(None);
        };
        let is_full = match &passing {
            Passing::Document(document) => {
                self.carry_document(reader, moved, *document, from, draft)?
            }
            Passing::Statement { position, row } => {
                let (readings, placements) = (&self.readings, &self.placements);
                let (at, to) = (moved.at, &self.reader);
                let is_due = is_due(reader, *position, &row.topic, at, readings, placements, to)?;
                let made = match is_due {
                    true => fact(reader, *position, row)?,
                    false => Made::Nothing,
                };
                draft.place(made, &mut self.wholes, at).is_none()
            }
        };
        if is_full {
            return Ok(Some(Step::Full));
        }
        moved.pass(reader, &passing)?;
        Ok(Some(Step::Passed))
    }

    /// Sends a document or names it as left, as the move means it; gives whether the page is full
    /// without it.
    fn carry_document<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        moved: &Transfer,
        document: DocumentId,
        from: &[Scope],
        draft: &mut Draft,
    ) -> Result<bool, FeedError> {
        let row = reader
            .document(&document)?
            .ok_or(FeedError::NoDocument(document))?;
        match moved.passage(&row, from, &self.readings, &self.placements) {
            Passage::Stays => Ok(false),
            Passage::Leaves if draft.left.len() < limits::LEFT_PER_PAGE => {
                draft.left.push(document);
                Ok(false)
            }
            Passage::Leaves => Ok(true),
            Passage::Comes => {
                let made = whole(reader, &document, &row, draft)?;
                Ok(draft.place(made, &mut self.wholes, moved.at).is_none())
            }
        }
    }

    fn step_owed<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        draft: &mut Draft,
    ) -> Result<Step, FeedError> {
        let owed = self
            .owed
            .get_or_insert_with(|| Owed::new(self.bounds.frontier));
        let Some(next) = owed.first(reader, &self.readings)? else {
            self.owed = None;
            self.readings
                .iter_mut()
                .for_each(|reading| reading.floor = 0);
            return Ok(Step::Passed);
        };
        let row = reader
            .document(&next.document)?
            .ok_or(FeedError::NoDocument(next.document))?;
        let lineage = self.placements.lineage(&row.scope);
        let sent_upto = self.readings[next.reading].seen.position;
        let made = if has(&self.readings, &row, &lineage, sent_upto) {
            Made::Nothing
        } else {
            whole(reader, &next.document, &row, draft)?
        };
        let Some(step) = draft.place(made, &mut self.wholes, sent_upto) else {
            return Ok(Step::Full);
        };
        let below = next.entered.saturating_sub(1);
        self.readings
            .iter_mut()
            .for_each(|reading| reading.floor = reading.floor.min(below));
        owed.pass(reader, &self.readings)?;
        Ok(step)
    }

    fn is_behind(&self, watermark: &Seen) -> bool {
        let behind = |reading: &Reading| {
            let told = reading.facts.min(reading.moves);
            reading.seen.position.min(told) < watermark.position
        };
        self.readings.iter().any(behind)
    }

    fn owes(&self) -> bool {
        self.readings.iter().any(|reading| reading.floor > 0)
    }

    /// Moves the readings to where a page ends that did not reach the watermark.
    fn settle_midway<S: Storage, K: Kv>(&mut self, reader: &Reader<S, K>) -> Result<(), FeedError> {
        let Some(ahead) = &self.ahead else {
            return Ok(());
        };
        let position = ahead.reached();
        if self
            .readings
            .iter()
            .all(|reading| reading.seen.position >= position)
        {
            self.readings
                .iter_mut()
                .for_each(|reading| reading.settle_facts(position));
            return Ok(());
        }
        match reader.chain_at(position) {
            Ok(Some(chain)) => self.settle(Seen { position, chain }),
            Ok(None) => return Err(FeedError::NoRecord(position)),
            // The page ends in a damaged group, where no cursor can: it keeps the one before.
            Err(ReadError::Journal(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn settle(&mut self, seen: Seen) {
        for reading in &mut self.readings {
            if reading.seen.position < seen.position {
                reading.seen = seen;
            }
            reading.settle_facts(seen.position);
        }
        self.wholes.forget_upto(seen.position);
    }

    /// The cursor of a device that was told what there is up to `reached`, as which it shows if the
    /// device reads nothing.
    fn cursor(&self, reached: Seen) -> Cursor {
        if self.muted {
            return Cursor {
                reached: Some(reached),
                ..Cursor::default()
            };
        }
        let nothing_moved = self.placements.is_empty();
        let mark = |reading: &Reading| match nothing_moved {
            // There is nothing to say of moves, so that servers which do not know how can read it.
            true => Mark {
                moves: 0,
                ..reading.mark()
            },
            false => reading.mark(),
        };
        Cursor {
            marks: self.readings.iter().map(mark).collect(),
            reached: self.readings.is_empty().then_some(reached),
            passing: self.transfer.as_ref().map(|moved| (moved.at, moved.below)),
        }
    }

    /// The cursor, at most [`limits::CURSOR_BYTES_MAX`] long. If subscriptions with the longest
    /// names stand at many places, all go back to the first, and what is said of statements to
    /// where both numbers of it hold: that repeats, and misses nothing.
    fn cursor_bytes(&self, reached: Seen) -> Vec<u8> {
        let mut cursor = self.cursor(reached);
        let bytes = cursor.to_bytes();
        if bytes.len() <= limits::CURSOR_BYTES_MAX {
            return bytes;
        }
        let first = cursor
            .marks
            .iter()
            .map(|mark| mark.seen)
            .min_by_key(|seen| seen.position);
        for mark in &mut cursor.marks {
            mark.seen = first.unwrap_or(mark.seen);
            if mark.moves > 0 {
                mark.facts = mark.facts.min(mark.moves);
                mark.moves = mark.facts;
            }
        }
        cursor.passing = None;
        cursor.to_bytes()
    }

    /// Bytes that the cursor may take after any page: numbers at their longest, one more place.
    fn cursor_bytes_at_most(&self) -> usize {
        const MARK: usize = 1 + 2 + 1 + 2 + 9 + 9 + 9;
        const PLACE: usize = 1 + 9 + 2 + 32;
        const PASSING: usize = 1 + 9 + 9;
        let mut places: Vec<Position> = self
            .readings
            .iter()
            .map(|reading| reading.seen.position)
            .collect();
        places.sort_unstable();
        places.dedup();
        let prefixes = self
            .readings
            .iter()
            .map(|reading| reading.subscription.prefix.as_str());
        let marks: usize = prefixes.map(|prefix| MARK + prefix.len()).sum();
        (8 + marks + PASSING + PLACE * (places.len() + 1)).min(limits::CURSOR_BYTES_MAX)
    }
}

/// Whether this journal has every chain value that the cursor names.
fn is_ours<S: Storage, K: Kv>(reader: &Reader<S, K>, cursor: &Cursor) -> Result<bool, FeedError> {
    for seen in cursor.places() {
        if reader.chain_at(seen.position)? != Some(seen.chain) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What became of what a device may receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Unchanged,
    /// It has other grants.
    Changed,
    /// It receives nothing.
    Withdrawn,
}

/// What one step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Something was sent, or passed over.
    Passed,
    /// The page holds no more.
    Full,
    /// Nothing is left.
    Done,
}

#[cfg(test)]
mod tests;
