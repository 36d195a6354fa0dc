//! Applying one page of the feed: all of it and the cursor behind it, or nothing.
//!
//! What does not hold becomes a finding and the cursor goes on, so that one bad item cannot keep
//! everything behind it away.

use std::collections::{BTreeMap, BTreeSet};

use bukti_core::authority::{Action, audience, decide};
use bukti_core::envelope::{DocumentKind, Run};
use bukti_core::evidence;
use bukti_core::id::{DeviceId, DocumentId, Position, RunId, WallMs};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::record::Signed;
use bukti_core::scope::Scope;
use bukti_core::validate::{CheckedRun, Document, Verdict, check_run, judge_recorded};
use bukti_sync_protocol::item::{self, Item};

use super::confirmed::{Change, DocumentRow, EnvelopeRow, Finding, Title};
use super::tail::Settled;
use super::{ConfirmedError, Device, DeviceError, Reaction, facts, whole};

/// What a page brings for one document, in its order.
enum Step<'a> {
    Run(Box<Arrival>),
    Whole {
        saved: &'a [u8],
        envelopes: &'a [item::Envelope],
    },
}

/// What a page brings besides.
struct Rest {
    statements: Vec<facts::KeyAndValue>,
    moved: Vec<Moved>,
    /// A run is named that is not here: its document is owed.
    owed: bool,
}

/// A confirmed own run, perhaps at another position than before.
struct Moved {
    document: DocumentId,
    run: RunId,
    position: Position,
    received_at: WallMs,
}

struct Arrival {
    position: Position,
    received_at: WallMs,
    carrier: DeviceId,
    run: CheckedRun,
}

impl<S: Storage, K: Kv> Device<S, K> {
    /// Applies items in their order; they and the cursor are stored when this returns.
    pub(super) fn apply_page(
        &mut self,
        now: WallMs,
        items: &[Item],
        cursor: &[u8],
    ) -> Result<(), DeviceError> {
        let mut findings = Vec::new();
        let mut steps: BTreeMap<DocumentId, Vec<Step<'_>>> = BTreeMap::new();
        let mut statements = Vec::new();
        let mut owed = false;
        let mut moved = Vec::new();
        for item in items {
            let found = match item {
                Item::Record {
                    position,
                    received_at,
                    carrier,
                    run,
                } => open_run(run).map(|run| {
                    let arrival = Arrival {
                        position: *position,
                        received_at: *received_at,
                        carrier: *carrier,
                        run,
                    };
                    add(&mut steps, arrival);
                }),
                Item::Own {
                    position,
                    received_at,
                    run,
                    document,
                    last_seq,
                    last_hash,
                } => match self.own_run(run, *last_seq, last_hash)? {
                    Own::Waits(checked) => {
                        let arrival = Arrival {
                            position: *position,
                            received_at: *received_at,
                            carrier: self.id(),
                            run: *checked,
                        };
                        add(&mut steps, arrival);
                        Ok(())
                    }
                    Own::Held => {
                        moved.push(Moved {
                            document: *document,
                            run: *run,
                            position: *position,
                            received_at: *received_at,
                        });
                        Ok(())
                    }
                    Own::Lost(sentence) => {
                        owed = true;
                        Err(Unsound {
                            code: "own-run-lost",
                            sentence,
                            document: Some(*document),
                            run: Some(*run),
                        })
                    }
                },
                Item::Whole {
                    document,
                    saved,
                    envelopes,
                    as_of: _,
                    published: _,
                } => {
                    let step = Step::Whole { saved, envelopes };
                    steps.entry(*document).or_default().push(step);
                    Ok(())
                }
                Item::Fact {
                    position,
                    statement,
                } => self.open_fact(*position, statement).map(|row| {
                    statements.extend(row);
                }),
            };
            findings.extend(found.err());
        }
        let rest = Rest {
            statements,
            moved,
            owed,
        };
        self.store_page(now, steps, rest, findings, cursor)
    }

    fn store_page(
        &mut self,
        now: WallMs,
        steps: BTreeMap<DocumentId, Vec<Step<'_>>>,
        rest: Rest,
        findings: Vec<Unsound>,
        cursor: &[u8],
    ) -> Result<(), DeviceError> {
        let Rest {
            statements,
            moved,
            owed,
        } = rest;
        let touched: Vec<DocumentId> = steps.keys().copied().collect();
        let states_change = !statements.is_empty();
        let reaches_change = statements.iter().any(|(key, _)| facts::reaches(key));
        let units_move = statements.iter().any(|(key, _)| facts::is_move(key));
        let mut change = self.confirmed.change();
        let mut unsound = findings;
        let mut confirmed = Vec::new();
        for (id, steps) in steps {
            let mut state = State::load(&change, id)?;
            for step in merge_runs(steps) {
                state.take(step, &mut unsound);
            }
            confirmed.extend(state.store(&mut change, &mut unsound)?);
        }
        for (key, value) in statements {
            if newer(&change, &key, &value)? {
                change.put(key, value);
            }
        }
        let settled: Vec<(RunId, Position)> = confirmed
            .into_iter()
            .filter(|(run, _)| self.tail.find(run).is_some())
            .collect();
        let through = settled.iter().map(|(_, position)| *position).max();
        for moved in moved {
            let (document, run) = (&moved.document, &moved.run);
            let kept = change.move_envelope(document, run, moved.position, moved.received_at)?;
            if kept.is_some_and(|kept| kept.is_earlier) {
                unsound.push(received_otherwise(*document, *run));
            }
        }
        for unsound in unsound {
            change.find(&unsound.at(now));
        }
        let meta = change.meta();
        if let Some(through) = through {
            meta.confirm_own(self.tail.incarnation(), through);
        }
        meta.cursor_is_void |= owed;
        meta.looks_for_left |= reaches_change;
        if units_move {
            meta.units_moved();
        }
        change.set_cursor(cursor);
        change.commit()?;
        // The rows hold the runs from here on, and keep them if this process is killed: only then
        // may the tail let go of them.
        if !settled.is_empty() {
            self.confirmed.flush()?;
        }
        let runs = settled.into_iter().map(|(run, _)| run).collect();
        self.tail
            .settle(runs, Settled::Confirmed(through.unwrap_or(0)))?;
        for id in touched {
            self.open.remove(&id);
            self.remove_if_left(&id)?;
        }
        if units_move {
            self.session.comparisons.units_moved();
        }
        if states_change {
            self.read_grants()?;
        }
        Ok(())
    }

    /// The server says that a document left scope. That is its word alone: what the person may read
    /// follows from what it signed, and is looked at once all of that is here.
    pub(super) fn may_have_left(&mut self, id: &DocumentId) -> Result<Reaction, DeviceError> {
        if self.confirmed.document(id)?.is_some() {
            self.session.left.insert(*id);
            self.confirmed.update(|meta| meta.looks_for_left = true)?;
        }
        Ok(Reaction::None)
    }

    /// Lets go of documents that the person may not read any more, after grants or places changed.
    /// For when everything up to one position is known: between two statements the device may
    /// believe less than what holds. What a server that lost records may not have again stays, as
    /// something that it did not take back.
    pub(super) fn leave_what_is_not_granted(&mut self) -> Result<(), DeviceError> {
        if !self.confirmed.meta().looks_for_left {
            return Ok(());
        }
        for (id, row) in self.confirmed.documents()? {
            let back = DocumentRow {
                left: false,
                ..row.clone()
            };
            if self.admits(&back) {
                if row.left {
                    let mut change = self.confirmed.change();
                    change.put_document(&id, &back, None)?;
                    change.commit()?;
                }
                continue;
            }
            if self.is_not_on_the_server(&id, &row)? {
                continue;
            }
            let left = u64::from(self.leave_scope(&id)?);
            match self.session.left.contains(&id) {
                true => self.tally.moved_away += left,
                false => self.tally.not_granted += left,
            }
        }
        Ok(self.confirmed.update(|meta| meta.looks_for_left = false)?)
    }

    /// Whether the grants let the person read a document that did not leave.
    pub(super) fn admits(&self, row: &DocumentRow) -> bool {
        let admitted = audience(&self.grants, self.placements.lineage(&row.scope));
        admitted.is_some_and(|admitted| row.audiences().any(|of| of == admitted))
    }

    /// Whether a document may be lacking where it belongs: its server lost records and was not found
    /// to have the same since, or did not take it back. A device may not give what is out of its
    /// reach, so that is kept until it is within reach again.
    fn is_not_on_the_server(
        &self,
        id: &DocumentId,
        row: &DocumentRow,
    ) -> Result<bool, DeviceError> {
        let runs = self.confirmed.envelopes(id)?.into_iter();
        let runs: Vec<RunId> = runs.map(|row| row.envelope.run()).collect();
        let lineage = self.placements.lineage(&row.scope);
        if self.confirmed.meta().may_be_lacking(row, &lineage) {
            let kept: Vec<_> = runs.iter().map(|run| (*run, "out-of-reach")).collect();
            self.confirmed.set_unreturned(&kept)?;
            return Ok(true);
        }
        Ok(self.confirmed.is_unreturned(&runs)?)
    }

    /// Lets go of own runs that the server has and will not feed, since the person may not read their
    /// documents any more. It has to have said in this session that it has them: one that was thrown
    /// back may not, so what it said before is asked anew. For when everything up to `position` is
    /// known.
    pub(super) fn let_go_of_received(&mut self, position: Position) -> Result<(), DeviceError> {
        if self.confirmed.meta().unconfirmed {
            return Ok(());
        }
        let (mut left, mut asked) = (Vec::new(), Vec::new());
        for pending in self.tail.pending() {
            let is_known = pending.received.is_some_and(|at| at <= position);
            if is_known && self.is_out_of_reach(&pending.document())? {
                match self.session.accepted.contains(&pending.id()) {
                    true => left.push((pending.id(), pending.document())),
                    false => asked.push((pending.id(), None)),
                }
            }
        }
        if !asked.is_empty() {
            self.confirmed.set_receipts(&asked)?;
            self.read_receipts()?;
        }
        let (runs, documents): (Vec<_>, BTreeSet<_>) = left.into_iter().unzip();
        self.tail.settle(runs.clone(), Settled::Left)?;
        // On a full disk they stay, and so does what is known of them.
        let gone = runs.iter().filter(|run| self.tail.find(run).is_none());
        let receipts: Vec<_> = gone.map(|run| (*run, None)).collect();
        self.confirmed.set_receipts(&receipts)?;
        for id in documents {
            self.open.remove(&id);
            self.remove_if_left(&id)?;
        }
        Ok(())
    }

    /// Whether the person may neither read a document nor work on it.
    pub(super) fn is_out_of_reach(&self, id: &DocumentId) -> Result<bool, DeviceError> {
        if let Some(row) = self.confirmed.document(id)? {
            return Ok(row.left);
        }
        let Some((kind, scope)) = self.origin(id)? else {
            return Ok(false);
        };
        let lineage = self.placements.lineage(&scope);
        let may = |action| decide(&self.grants, action, kind, lineage.clone()).is_ok();
        Ok(!may(Action::ReadDraft) && !may(Action::Create))
    }

    /// A document belongs to another scope. What was not sent yet keeps it here. Tells whether it
    /// was this device's to read until then.
    fn leave_scope(&mut self, id: &DocumentId) -> Result<bool, DeviceError> {
        let held = self.confirmed.document(id)?;
        let leaves = held.as_ref().is_some_and(|row| !row.left);
        if let Some(row) = held {
            let mut change = self.confirmed.change();
            change.put_document(id, &DocumentRow { left: true, ..row }, None)?;
            change.commit()?;
        }
        self.remove_if_left(id)?;
        Ok(leaves)
    }

    pub(super) fn remove_if_left(&mut self, id: &DocumentId) -> Result<(), DeviceError> {
        let row = self.confirmed.document(id)?.filter(|row| row.left);
        if let Some(row) = row
            && self.tail.of(*id).next().is_none()
            && !self.is_not_on_the_server(id, &row)?
        {
            let mut change = self.confirmed.change();
            change.remove_document(id)?;
            change.commit()?;
            self.open.remove(id);
        }
        Ok(())
    }

    /// The bytes of a run that the feed only names.
    fn own_run(
        &self,
        run: &RunId,
        last_seq: u64,
        last_hash: &bukti_core::id::ChangeHash,
    ) -> Result<Own, DeviceError> {
        if let Some(pending) = self.tail.find(run) {
            let body = pending.body();
            if (body.last_seq(), &body.last_hash) != (last_seq, last_hash) {
                let sentence = "The feed names a run of this device with another content.";
                return Ok(Own::Lost(sentence.into()));
            }
            return Ok(match check_run(pending.run.clone()) {
                Ok(checked) => Own::Waits(Box::new(checked)),
                Err(refusal) => Own::Lost(refusal.sentence),
            });
        }
        if self.confirmed.confirmed_at(run)?.is_some() {
            return Ok(Own::Held);
        }
        let sentence = "The feed names a run of this device that is not here any more.";
        Ok(Own::Lost(sentence.into()))
    }

    fn open_fact(
        &self,
        position: Position,
        bytes: &[u8],
    ) -> Result<Option<facts::KeyAndValue>, Unsound> {
        let signed = Signed::open(bytes, &self.identity.server());
        let signed = signed.map_err(|error| Unsound {
            code: "statement",
            sentence: format!("A statement at position {position} does not hold: {error}."),
            document: None,
            run: None,
        })?;
        Ok(facts::row_of(&signed, position, bytes))
    }
}

enum Own {
    Waits(Box<CheckedRun>),
    Held,
    Lost(String),
}

/// Something in a page that does not hold.
struct Unsound {
    code: &'static str,
    sentence: String,
    document: Option<DocumentId>,
    run: Option<RunId>,
}

impl Unsound {
    fn at(self, at: WallMs) -> Finding {
        Finding {
            code: self.code.into(),
            sentence: self.sentence,
            document: self.document,
            run: self.run,
            at: Some(at),
            place: None,
        }
    }
}

/// Of a run that the server says it received before it said so first: when evidence arrived decides
/// what it is worth.
fn received_otherwise(document: DocumentId, run: RunId) -> Unsound {
    Unsound {
        code: "received-otherwise",
        sentence:
            "The server says that it received an edit earlier than it said at first; what it \
                   said first is kept."
                .into(),
        document: Some(document),
        run: Some(run),
    }
}

fn open_run(bytes: &[u8]) -> Result<CheckedRun, Unsound> {
    let run = Run::open(bytes).map_err(|error| Unsound {
        code: "unreadable-run",
        sentence: format!("A run of the feed cannot be read: {error}."),
        document: None,
        run: None,
    })?;
    let (document, name) = (run.envelope.body().document, run.id());
    check_run(run).map_err(|refusal| Unsound {
        code: refusal.code.code(),
        sentence: refusal.sentence,
        document: Some(document),
        run: Some(name),
    })
}

fn add(steps: &mut BTreeMap<DocumentId, Vec<Step<'_>>>, arrival: Arrival) {
    let document = arrival.run.envelope().body().document;
    let step = Step::Run(Box::new(arrival));
    steps.entry(document).or_default().push(step);
}

/// A statement about the same thing may come again, or late.
fn newer<K: Kv>(change: &Change<'_, K>, key: &[u8], value: &[u8]) -> Result<bool, ConfirmedError> {
    let former = change.store().fact(key)?;
    Ok(former.is_none_or(|former| facts::is_behind(value, &former)))
}

/// Steps with consecutive runs put together, since runs are cheaper to judge at once.
enum Batched<'a> {
    Runs(Vec<Arrival>),
    Whole {
        saved: &'a [u8],
        envelopes: &'a [item::Envelope],
    },
}

fn merge_runs(steps: Vec<Step<'_>>) -> Vec<Batched<'_>> {
    let mut merged = Vec::new();
    for step in steps {
        match (step, merged.last_mut()) {
            (Step::Run(arrival), Some(Batched::Runs(runs))) => runs.push(*arrival),
            (Step::Run(arrival), Some(Batched::Whole { .. }) | None) => {
                merged.push(Batched::Runs(vec![*arrival]));
            }
            (Step::Whole { saved, envelopes }, _) => {
                merged.push(Batched::Whole { saved, envelopes });
            }
        }
    }
    merged
}

/// One document while a page is applied.
struct State {
    id: DocumentId,
    row: Option<DocumentRow>,
    document: Option<Document>,
    origin: Option<(DocumentKind, Scope)>,
    added: Vec<EnvelopeRow>,
}

impl State {
    fn load<K: Kv>(change: &Change<'_, K>, id: DocumentId) -> Result<Self, DeviceError> {
        let store = change.store();
        let row = store.document(&id)?;
        let document = match (&row, store.saved(&id)?) {
            (Some(row), Some(saved)) => {
                let loaded = Document::load(&saved, row.kind, row.published);
                Some(loaded.map_err(|error| DeviceError::Document {
                    document: id,
                    reason: error.to_string(),
                })?)
            }
            (_, _) => None,
        };
        Ok(Self {
            id,
            origin: row.as_ref().map(|row| (row.kind, row.scope.clone())),
            row,
            document,
            added: Vec::new(),
        })
    }

    fn take(&mut self, step: Batched<'_>, unsound: &mut Vec<Unsound>) {
        match step {
            Batched::Runs(arrivals) => self.judge(arrivals, unsound),
            Batched::Whole { saved, envelopes } => {
                if let Err(sentence) = self.replace(saved, envelopes) {
                    unsound.push(Unsound {
                        code: "unsound-document",
                        sentence,
                        document: Some(self.id),
                        run: None,
                    });
                }
            }
        }
    }

    fn judge(&mut self, arrivals: Vec<Arrival>, unsound: &mut Vec<Unsound>) {
        let mut places = Vec::with_capacity(arrivals.len());
        let mut runs = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            places.push((arrival.position, arrival.received_at, arrival.carrier));
            runs.push(arrival.run);
        }
        // The page may end between runs that were accepted together.
        let judged = judge_recorded(self.document.as_ref(), runs, false);
        if let Some(document) = judged.document {
            self.document = Some(document);
        }
        for ((run, verdict), (position, received_at, carrier)) in
            judged.verdicts.into_iter().zip(places)
        {
            let (name, envelope) = (run.id(), run.envelope().clone());
            let bad = |code, sentence| Unsound {
                code,
                sentence,
                document: Some(self.id),
                run: Some(name),
            };
            match verdict {
                Verdict::Valid | Verdict::Known => {
                    let root = envelope.body().root.as_ref();
                    if let Some(root) = root.filter(|_| self.origin.is_none()) {
                        self.origin = Some((root.kind, root.scope.clone()));
                    }
                    self.added.push(EnvelopeRow {
                        position,
                        received_at,
                        carrier,
                        envelope,
                    });
                }
                Verdict::Missing(_) => {
                    let sentence = "The feed brought a run before what it builds on.";
                    unsound.push(bad("missing", sentence.into()));
                }
                Verdict::Refused(refusal) => {
                    unsound.push(bad(refusal.code.code(), refusal.sentence));
                }
            }
        }
    }

    fn replace(&mut self, saved: &[u8], envelopes: &[item::Envelope]) -> Result<(), String> {
        let whole = whole::open(&self.id, saved, envelopes)?;
        self.document = Some(whole::joined(self.document.clone(), whole.document)?);
        self.origin = Some((whole.kind, whole.scope));
        self.added.extend(whole.envelopes);
        Ok(())
    }

    /// Writes the document as it stands; answers which runs are confirmed by that, and where.
    fn store<K: Kv>(
        self,
        change: &mut Change<'_, K>,
        unsound: &mut Vec<Unsound>,
    ) -> Result<Vec<(RunId, Position)>, DeviceError> {
        let (Some(document), Some((kind, scope))) = (&self.document, self.origin) else {
            return Ok(Vec::new());
        };
        if self.added.is_empty() {
            return Ok(Vec::new());
        }
        let mut heads = document.heads();
        heads.sort_unstable();
        let former = self.row.as_ref();
        let mut row = DocumentRow {
            kind,
            scope,
            published: former.is_some_and(|row| row.published),
            heads,
            position: former.map_or(0, |row| row.position),
            received_at: former.map_or(0, |row| row.received_at),
            updated_at: former.map_or(WallMs::MIN, |row| row.updated_at),
            left: false,
            title: Title::of(&evidence::view(document.automerge())),
        };
        let mut confirmed = Vec::with_capacity(self.added.len());
        for added in self.added {
            let body = added.envelope.body();
            row.published |= body.publish;
            row.updated_at = row.updated_at.max(body.device_time);
            let run = added.envelope.run();
            let kept = change.put_envelope(added)?;
            if kept.position >= row.position {
                row.position = kept.position;
                row.received_at = kept.received_at;
            }
            if kept.is_earlier {
                unsound.push(received_otherwise(self.id, run));
            }
            confirmed.push((run, kept.position));
        }
        change.put_document(&self.id, &row, Some(document.saved()))?;
        Ok(confirmed)
    }
}
