//! Accepting runs: who may, whether they are valid, then journal, rows and watermark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;

use super::apply::{finding_key, run_bytes};
use super::cache::guessed_bytes;
use super::found::code::FORK;
use super::judging::{Job, JudgedDocument, Known, Spending, in_parallel};
use super::rows::{DeviceRow, QuotaRow};
use super::{Committed, Ledger, LedgerError, ReadError, Room, keys, reader};
use crate::authority::{Action, audience, decide};
use crate::envelope::{Body, DocumentKind};
use crate::id::{ChangeHash, DeviceId, DocumentId, Position, RunId, WallMs};
use crate::journal::Storage;
use crate::kv::Kv;
use crate::limits;
use crate::record::{Changes, Fact, Finding, Record};
use crate::scope::Scope;
use crate::validate::{self, CheckedRun, Document, Refusal, RefusalCode};

/// A run with who carried it here.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The device of the session.
    pub carrier: DeviceId,
    /// The run, looked at by itself.
    pub run: CheckedRun,
    /// Whether the device says that it was accepted before. Who is in good standing is believed.
    pub returned: bool,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The run.
    pub run: RunId,
    /// What became of it.
    pub verdict: Verdict,
}

/// What one turn made of a submission.
#[derive(Debug, Clone)]
pub enum Taken {
    /// It is answered.
    Settled(Outcome),
    /// Nothing was decided. It is to be submitted again, before whatever its carrier brought behind it.
    Left(Box<Submission>),
}

/// The answer to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Valid and on disk at this position, perhaps for long.
    Accepted(Position),
    /// It builds on changes that the server has not; nothing was decided.
    Missing(Vec<ChangeHash>),
    /// It will not be accepted.
    Rejected(Refusal),
    /// Its author's store was restored or copied: the server holds another run under the number.
    /// Nothing that the author carried behind it in the batch was looked at.
    Stale {
        /// The highest number held, and its run.
        highest: (u64, RunId),
    },
    /// The disk is below its reserve; nothing was kept.
    Full,
}

impl<S: Storage, K: Kv> Ledger<S, K> {
    /// Takes runs from many sessions. Whatever is answered `Accepted` is valid and on disk, and
    /// readers see it. Outcomes stand in the order of the submissions.
    ///
    /// # Errors
    /// [`LedgerError::Failed`] if journal or store failed, now or before: nothing of the batch is
    /// acknowledged then, and the process has to end. Where rows are damaged, the next
    /// [`Ledger::open`] makes them anew.
    pub fn accept(
        &mut self,
        now: WallMs,
        batch: Vec<Submission>,
    ) -> Result<Vec<Outcome>, LedgerError> {
        let mut outcomes = vec![None; batch.len()];
        let mut places: Vec<usize> = (0..batch.len()).collect();
        let mut waiting = batch;
        while !waiting.is_empty() {
            let taken = self.accept_turn(now, waiting, u64::MAX)?;
            waiting = Vec::new();
            let mut left = Vec::new();
            for (place, taken) in places.into_iter().zip(taken) {
                match taken {
                    Taken::Settled(outcome) => outcomes[place] = Some(outcome),
                    Taken::Left(submission) => {
                        left.push(place);
                        waiting.push(*submission);
                    }
                }
            }
            places = left;
        }
        let outcomes = outcomes.into_iter();
        Ok(outcomes.map(|it| it.expect("each is settled")).collect())
    }

    /// The same until documents and their trials have cost so much ([`limits::TURN_COST_MAX`]), or
    /// what is to be stored is [`limits::FOLD_BYTES`] long: whoever brings something to many long
    /// documents, or fails one many times, must not keep everybody else waiting. At least one
    /// document is judged in each turn, and at least one run of each that is judged is settled; each of
    /// the ledger's threads may end what it began.
    ///
    /// # Errors
    /// As [`Ledger::accept`].
    pub fn accept_turn(
        &mut self,
        now: WallMs,
        batch: Vec<Submission>,
        cost_max: u64,
    ) -> Result<Vec<Taken>, LedgerError> {
        self.alive()?;
        let mut all = Vec::with_capacity(batch.len());
        let mut stale = BTreeMap::new();
        let mut rest = batch.into_iter().peekable();
        let (mut cost, mut is_over) = (0_u64, false);
        while rest.peek().is_some() && !is_over {
            let mut numbers = BTreeMap::new();
            let mut part = Vec::new();
            while let Some(next) = rest.next_if(|next| is_independent(&mut numbers, next)) {
                part.push(next);
            }
            let part = Part::new(self, now, part, &mut stale, cost_max - cost).accept();
            let (taken, more) = part.map_err(|error| self.end("read the store", error))?;
            cost = cost.saturating_add(more);
            let is_left = |taken: &Taken| matches!(taken, Taken::Left(_));
            is_over = cost >= cost_max || taken.iter().any(is_left);
            all.extend(taken);
        }
        all.extend(rest.map(|next| Taken::Left(Box::new(next))));
        self.checkpoint_if_due(now)?;
        Ok(all)
    }
}

/// Whether a run can be judged without knowing what becomes of those before it in its part: no
/// other run in it bears the same number of the same incarnation.
fn is_independent(
    numbers: &mut BTreeMap<(DeviceId, [u8; 16], u64), RunId>,
    submission: &Submission,
) -> bool {
    let body = submission.run.envelope().body();
    let place = (body.device, body.incarnation.0, body.number);
    *numbers.entry(place).or_insert(submission.run.id()) == submission.run.id()
}

/// Runs that are judged and recorded together.
struct Part<'l, S: Storage, K> {
    ledger: &'l mut Ledger<S, K>,
    now: WallMs,
    /// Carriers that were told `stale`, with what they were told.
    stale: &'l mut BTreeMap<DeviceId, (u64, RunId)>,
    /// What its trials may cost, and what they did.
    cost_max: u64,
    cost: u64,
    carriers: Vec<DeviceId>,
    /// Which runs are said to have been accepted before.
    given_back: Vec<bool>,
    /// Of which that is believed.
    returned: Vec<bool>,
    ids: Vec<RunId>,
    /// Runs that wait for their document's judgement, and after it those that are left.
    waiting: Vec<Option<CheckedRun>>,
    verdicts: Vec<Option<Verdict>>,
    devices: BTreeMap<DeviceId, Option<DeviceRow>>,
    documents: BTreeMap<DocumentId, Option<Known>>,
    quotas: BTreeMap<DeviceId, QuotaRow>,
    findings: Vec<Finding>,
    /// Forks that are found already, in the store or in this part.
    forks: BTreeSet<Vec<u8>>,
}

/// A run that waits already, brought once more: answered as if it had come after the first was.
struct Repeat {
    run: CheckedRun,
    /// Where the one that waits is.
    first: usize,
    stale: Option<(u64, RunId)>,
    /// Why this carrier may not bring it, unless it is held by then.
    refusal: Option<Refusal>,
}

impl<'l, S: Storage, K: Kv> Part<'l, S, K> {
    fn new(
        ledger: &'l mut Ledger<S, K>,
        now: WallMs,
        submissions: Vec<Submission>,
        stale: &'l mut BTreeMap<DeviceId, (u64, RunId)>,
        cost_max: u64,
    ) -> Self {
        let verdicts = vec![None; submissions.len()];
        let mut part = Self {
            ledger,
            now,
            stale,
            cost_max,
            cost: 0,
            carriers: Vec::new(),
            given_back: Vec::new(),
            returned: Vec::new(),
            ids: Vec::new(),
            waiting: Vec::new(),
            verdicts,
            devices: BTreeMap::new(),
            documents: BTreeMap::new(),
            quotas: BTreeMap::new(),
            findings: Vec::new(),
            forks: BTreeSet::new(),
        };
        for submission in submissions {
            part.carriers.push(submission.carrier);
            part.given_back.push(submission.returned);
            part.returned.push(submission.returned);
            part.ids.push(submission.run.id());
            part.waiting.push(Some(submission.run));
        }
        part
    }

    fn accept(mut self) -> Result<(Vec<Taken>, u64), LedgerError> {
        self.learn_beginnings()?;
        let mut admitted: BTreeMap<RunId, usize> = BTreeMap::new();
        let mut repeats = Vec::new();
        for at in 0..self.ids.len() {
            let run = self.waiting[at].take().expect("a run is looked at once");
            if let Some(first) = admitted.get(&run.id()) {
                repeats.push((at, self.repeat(at, *first, run)?));
                continue;
            }
            let given_back = self.given_back[at];
            self.returned[at] = given_back && self.believes(self.carriers[at], &run)?;
            match self.admit(at, &run, given_back)? {
                Some(verdict) => self.verdicts[at] = Some(verdict),
                None => {
                    admitted.insert(run.id(), at);
                    self.waiting[at] = Some(run);
                }
            }
        }
        let judged = self.judge()?;
        self.record(judged)?;
        for (at, repeat) in repeats {
            let first = self.verdicts[repeat.first].clone();
            if first.is_none() {
                self.waiting[at] = Some(repeat.run);
                continue;
            }
            let accepted = matches!(first, Some(Verdict::Accepted(_)));
            self.verdicts[at] = match (repeat.stale, repeat.refusal) {
                (Some(highest), _) => Some(Verdict::Stale { highest }),
                (None, Some(refusal)) if !accepted => Some(Verdict::Rejected(refusal)),
                (None, _) => first,
            };
        }
        let taken = (0..self.ids.len()).map(|at| match self.verdicts[at].take() {
            Some(verdict) => Taken::Settled(Outcome {
                run: self.ids[at],
                verdict,
            }),
            None => Taken::Left(Box::new(Submission {
                carrier: self.carriers[at],
                run: self.waiting[at].take().expect("what is left waits"),
                returned: self.given_back[at],
            })),
        });
        Ok((taken.collect(), self.cost))
    }

    /// A run's document may begin in a run behind it.
    fn learn_beginnings(&mut self) -> Result<(), ReadError> {
        for at in 0..self.waiting.len() {
            let body = self.waiting[at].as_ref().map(body_of);
            let Some((document, root)) = body.map(|body| (body.document, body.root.clone())) else {
                continue;
            };
            let known = match self.documents.get(&document) {
                Some(known) => known.clone(),
                None => self.ledger.reader.document(&document)?.map(|row| Known {
                    kind: row.kind,
                    published: row.published(),
                    scope: row.scope,
                    exists: true,
                    saved_bytes: row.saved_bytes,
                    changes: row.changes,
                }),
            };
            let known = known.or(root.map(|root| Known {
                kind: root.kind,
                scope: root.scope,
                published: false,
                exists: false,
                saved_bytes: 0,
                changes: 0,
            }));
            self.documents.insert(document, known);
        }
        Ok(())
    }

    /// What of the answer to a repeated run depends on who carries it.
    fn repeat(&mut self, at: usize, first: usize, run: CheckedRun) -> Result<Repeat, ReadError> {
        let carrier = self.carriers[at];
        let returned = self.returned[at] && self.believes(carrier, &run)?;
        Ok(Repeat {
            first,
            stale: self.stale.get(&carrier).copied(),
            refusal: self.standing(carrier, &run, returned)?,
            run,
        })
    }

    /// Whether a device is taken at its word that a run was accepted before: if it is in good
    /// standing and may read where the document belongs, since otherwise it cannot hold it.
    fn believes(&mut self, carrier: DeviceId, run: &CheckedRun) -> Result<bool, ReadError> {
        let document = body_of(run).document;
        let scope = self.documents.get(&document).cloned().flatten();
        let scope = scope.map(|known| known.scope);
        let placements = self.ledger.reader.shared.placements();
        Ok(self.device(carrier)?.is_some_and(|row| {
            let reads = |scope: &Scope| audience(&row.grants, placements.lineage(scope)).is_some();
            row.is_confirmed(&placements)
                && row.revoked_at.is_none()
                && scope.as_ref().is_none_or(reads)
        }))
    }

    /// `given_back` is what the carrier says of the run, believed or not.
    fn admit(
        &mut self,
        at: usize,
        run: &CheckedRun,
        given_back: bool,
    ) -> Result<Option<Verdict>, LedgerError> {
        let (carrier, returned) = (self.carriers[at], self.returned[at]);
        if let Some(highest) = self.stale.get(&carrier) {
            return Ok(Some(Verdict::Stale { highest: *highest }));
        }
        if let Some(position) = self.ledger.reader.position_of(&run.id())? {
            return Ok(Some(Verdict::Accepted(position)));
        }
        if let Some(verdict) = self.clash(carrier, run, given_back)? {
            return Ok(Some(verdict));
        }
        if let Some(refusal) = self.standing(carrier, run, returned)? {
            return Ok(Some(Verdict::Rejected(refusal)));
        }
        let body = body_of(run);
        let Some(known) = self.documents.get(&body.document).cloned().flatten() else {
            return Ok(Some(Verdict::Missing(run.deps().to_vec())));
        };
        // A document that comes through a gateway has no kind; devices always give one.
        if known.kind == DocumentKind::Unclassified {
            return Ok(Some(Verdict::Rejected(Refusal::new(
                RefusalCode::Unsupported,
                "Documents without a kind are not taken from devices.",
            ))));
        }
        if let Some(refusal) = self.authority(body, &known, returned)? {
            return Ok(Some(Verdict::Rejected(refusal)));
        }
        let most = match returned {
            true => limits::DOCUMENT_CHANGES_RETURNED,
            false => limits::DOCUMENT_CHANGES_TAKEN,
        };
        // Before anything of it is judged, since that is what takes long.
        if known.changes + run.changes().len() as u64 > most {
            return Ok(Some(Verdict::Rejected(RefusalCode::DocumentFull.into())));
        }
        let refusal = match returned {
            true => self.returned_quota(carrier, run)?,
            false => self.quota(run)?,
        };
        Ok(refusal.map(Verdict::Rejected))
    }

    /// Another run stands under the number already. An author that gives it back was told that it was
    /// received, and would give it back again from a new life.
    fn clash(
        &mut self,
        carrier: DeviceId,
        run: &CheckedRun,
        given_back: bool,
    ) -> Result<Option<Verdict>, LedgerError> {
        let body = body_of(run);
        let reader = &self.ledger.reader;
        if reader
            .run_at(&body.device, &body.incarnation, body.number)?
            .is_none()
        {
            return Ok(None);
        }
        if carrier != body.device || given_back {
            self.find_fork(run, None)?;
            return Ok(Some(Verdict::Rejected(Refusal::new(
                RefusalCode::Fork,
                format!(
                    "Another run with number {} of this device was accepted before.",
                    body.number
                ),
            ))));
        }
        let highest = reader
            .highest(&body.device, &body.incarnation)?
            .ok_or_else(|| ReadError::row(keys::NUMBER))?;
        self.stale.insert(carrier, highest);
        Ok(Some(Verdict::Stale { highest }))
    }

    /// Whether author and carrier may give anything. Of a returned run the author was looked at
    /// when it was accepted first.
    fn standing(
        &mut self,
        carrier: DeviceId,
        run: &CheckedRun,
        returned: bool,
    ) -> Result<Option<Refusal>, ReadError> {
        if returned {
            return Ok(None);
        }
        let author = body_of(run).device;
        for device in [author, carrier] {
            let refusal = match self.device(device)? {
                None if device == author => Some(RefusalCode::UnknownDevice.into()),
                None => Some(Refusal::new(
                    RefusalCode::UnknownDevice,
                    "The device that brought this is not enrolled.",
                )),
                Some(row) if row.revoked_at.is_some() => Some(if device == author {
                    RefusalCode::Revoked.into()
                } else {
                    Refusal::new(
                        RefusalCode::Revoked,
                        "The device that brought this was revoked.",
                    )
                }),
                Some(_) => None,
            };
            if refusal.is_some() {
                return Ok(refusal);
            }
        }
        Ok(None)
    }

    fn device(&mut self, id: DeviceId) -> Result<Option<&DeviceRow>, ReadError> {
        use std::collections::btree_map::Entry;
        let row = match self.devices.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(self.ledger.reader.device(&id)?),
        };
        Ok(row.as_ref())
    }

    /// What the author may do, by the grants of this moment; of a returned run only what nobody may,
    /// since no server accepted that before.
    ///
    /// What a statement or reference says is not looked at: the envelope proves who wrote it, and their
    /// role decides what it is worth to whoever reads it.
    fn authority(
        &mut self,
        body: &Body,
        known: &Known,
        returned: bool,
    ) -> Result<Option<Refusal>, ReadError> {
        let (kind, scope) = (known.kind, &known.scope);
        let publishes = body.publish && !known.published;
        let declares = match kind {
            // A statement is published by being made.
            DocumentKind::Statement => false,
            DocumentKind::Evidence | DocumentKind::Reference | DocumentKind::Unclassified => {
                publishes
            }
        };
        let act = if body.root.is_some() {
            Action::Create
        } else {
            Action::Edit
        };
        let acts = [Some(act), declares.then_some(Action::DeclareReady)];
        let lineage = self.ledger.reader.shared.placements().lineage(scope);
        let row = self.device(body.device)?;
        let grants = row.map(|row| row.grants.as_slice()).unwrap_or_default();
        let denied = acts
            .into_iter()
            .flatten()
            .filter_map(|act| decide(grants, act, kind, &lineage).err())
            .find(|denied| !returned || denied.is_to_everybody());
        Ok(denied.map(|denied| Refusal::new(RefusalCode::Forbidden, as_sentence(&denied))))
    }

    /// What the author uses of its day, whoever carries it.
    fn quota(&mut self, run: &CheckedRun) -> Result<Option<Refusal>, ReadError> {
        let author = body_of(run).device;
        let used = self.used(author)?;
        let after = used.after(self.now, run.creates_document(), run_bytes(run.run()));
        if after.documents > limits::DEVICE_DOCUMENTS_PER_DAY {
            return Ok(Some(Refusal::new(
                RefusalCode::Quota,
                format!(
                    "The device has begun {} documents today, the most that are taken.",
                    limits::DEVICE_DOCUMENTS_PER_DAY
                ),
            )));
        }
        if after.bytes > limits::DEVICE_BYTES_PER_DAY {
            return Ok(Some(Refusal::new(
                RefusalCode::Quota,
                format!(
                    "The device has sent {} bytes today, close to the {} that are taken.",
                    used.bytes,
                    limits::DEVICE_BYTES_PER_DAY
                ),
            )));
        }
        self.quotas.insert(author, after);
        Ok(None)
    }

    /// What the carrier gives back in its day, whoever wrote it.
    fn returned_quota(
        &mut self,
        carrier: DeviceId,
        run: &CheckedRun,
    ) -> Result<Option<Refusal>, ReadError> {
        let used = self.used(carrier)?;
        let after = used.after_returned(self.now, run_bytes(run.run()));
        if after.returned_bytes > limits::RETURNED_BYTES_PER_DAY {
            return Ok(Some(Refusal::new(
                RefusalCode::Quota,
                format!(
                    "The device that brought this has returned {} bytes today, close to the {} \
                     that are taken.",
                    used.returned_bytes,
                    limits::RETURNED_BYTES_PER_DAY
                ),
            )));
        }
        self.quotas.insert(carrier, after);
        Ok(None)
    }

    fn used(&self, device: DeviceId) -> Result<QuotaRow, ReadError> {
        match self.quotas.get(&device) {
            Some(used) => Ok(*used),
            None => reader::quota_row(&*self.ledger.reader.shared.kv, &device),
        }
    }

    /// Notes a fork, if it was not found before. One for each device and document, so that nobody
    /// can fill the journal with them.
    fn find_fork(
        &mut self,
        run: &CheckedRun,
        document: Option<DocumentId>,
    ) -> Result<(), ReadError> {
        let body = body_of(run);
        let finding = Finding {
            code: FORK.to_owned(),
            sentence: match document {
                None => format!(
                    "The device sealed two runs under number {} of incarnation {}.",
                    body.number, body.incarnation
                ),
                Some(document) => {
                    format!("The device wrote two changes under one number in document {document}.")
                }
            },
            device: Some(body.device),
            document,
            run: Some(run.id()),
            place: None,
        };
        if !self.ledger.reader.knows_finding(&finding)? && self.forks.insert(finding_key(&finding))
        {
            self.findings.push(finding);
        }
        Ok(())
    }

    /// Judges the waiting runs, document by document, on as many threads as the options allow.
    fn judge(&mut self) -> Result<Vec<JudgedDocument>, LedgerError> {
        let mut places: BTreeMap<DocumentId, Vec<usize>> = BTreeMap::new();
        for (at, run) in self.waiting.iter().enumerate() {
            if let Some(run) = run {
                places.entry(body_of(run).document).or_default().push(at);
            }
        }
        let mut jobs = Vec::with_capacity(places.len());
        let cost_max = self.cost_max / places.len().max(1) as u64;
        let mut expected = 0;
        for (document, places) in places {
            let runs: Vec<CheckedRun> = places
                .iter()
                .map(|at| self.waiting[*at].take().expect("the run waits"))
                .collect();
            let known = self.documents.get(&document).cloned().flatten();
            let known = known.expect("runs wait only for documents that are known");
            let received: usize = runs.iter().map(CheckedRun::received_bytes).sum();
            let changes: usize = runs.iter().map(|run| run.changes().len()).sum();
            expected += guessed_bytes(
                known.saved_bytes + received as u64,
                known.changes + changes as u64,
            );
            let loaded = self.ledger.cache.take(&document);
            jobs.push(Job {
                document,
                places,
                runs,
                known,
                loaded,
                cost_max,
            });
        }
        // Nobody comes first by the name of their document.
        jobs.sort_unstable_by_key(|job| job.places[0]);
        let first = jobs.first().map(|job| job.document);
        let spending = Spending::new(self.cost_max);
        let keep = AtomicUsize::new(self.ledger.cache.make_room(expected));
        let reader = &self.ledger.reader;
        let threads = self.ledger.options.threads;
        in_parallel(threads, jobs, |job| {
            if Some(job.document) != first && spending.is_enough() {
                return Ok(job.leave(&keep));
            }
            let saved = if job.known.exists && job.loaded.is_none() {
                let saved = reader.saved(&job.document)?;
                Some(saved.ok_or_else(|| ReadError::row(keys::CONTENT))?)
            } else {
                None
            };
            let judged = job.carry_out(saved.as_deref(), &keep)?;
            spending.add(&judged);
            Ok(judged)
        })
        .into_iter()
        .collect()
    }

    /// Records what is valid, in the order of arrival, but for what builds on another run of its
    /// document.
    fn record(&mut self, judged: Vec<JudgedDocument>) -> Result<(), LedgerError> {
        let mut slots: BTreeMap<usize, Changes> = BTreeMap::new();
        let mut origins: BTreeMap<usize, usize> = BTreeMap::new();
        let mut judged_at = Vec::new();
        let mut settled = Vec::new();
        let mut loaded = Vec::new();
        for document in judged {
            let JudgedDocument {
                id,
                places,
                verdicts,
                order,
                content,
                keep,
                cost,
            } = document;
            self.cost = self.cost.saturating_add(cost);
            self.ledger.judged += u64::from(cost > 0);
            judged_at.extend_from_slice(&places);
            let mut runs = Vec::with_capacity(verdicts.len());
            for (at, (run, verdict)) in places.iter().zip(verdicts) {
                let Some(verdict) = verdict else {
                    self.waiting[*at] = Some(run);
                    runs.push(None);
                    continue;
                };
                self.verdicts[*at] = self.settle(&run, verdict)?;
                runs.push(Some(run.into_run()));
            }
            let mut free: Vec<usize> = order.iter().map(|place| places[*place]).collect();
            free.sort_unstable();
            for (slot, place) in free.into_iter().zip(order) {
                let carrier = self.carriers[places[place]];
                let returned = self.returned[places[place]];
                let run = runs[place].take().expect("a run is ordered once");
                let received_at = self.now;
                slots.insert(
                    slot,
                    Changes {
                        run,
                        received_at,
                        carrier,
                        returned,
                    },
                );
                origins.insert(slot, places[place]);
            }
            settled.extend(content.map(|content| (id, content)));
            loaded.extend(keep.map(|(bytes, document)| (id, bytes, document)));
        }
        let mut records: Vec<Record> = slots.into_values().map(Record::Changes).collect();
        let findings = std::mem::take(&mut self.findings);
        let told: BTreeSet<RunId> = findings.iter().filter_map(|finding| finding.run).collect();
        let clashed = (0..self.ids.len()).filter(|at| told.contains(&self.ids[*at]));
        let clashed: Vec<usize> = clashed.collect();
        let now = self.now;
        records.extend(
            findings
                .into_iter()
                .map(|finding| self.ledger.signed(now, Fact::Finding(finding))),
        );
        if records.is_empty() {
            self.keep(loaded);
            return Ok(());
        }
        match self.ledger.commit(&records, &settled, Room::Free)? {
            // What was refused beside a run that is not kept, or for a reason that is not kept
            // either, is to come again with it.
            Committed::Full => {
                for at in judged_at.into_iter().chain(clashed) {
                    self.verdicts[at] = Some(Verdict::Full);
                }
            }
            Committed::At(first) => {
                for (position, at) in (first..).zip(origins.into_values()) {
                    self.verdicts[at] = Some(Verdict::Accepted(position));
                }
                self.keep(loaded);
            }
        }
        Ok(())
    }

    fn keep(&mut self, documents: Vec<(DocumentId, usize, Document)>) {
        for (id, bytes, document) in documents {
            self.ledger.cache.put(id, bytes, document);
        }
    }

    /// The answer that follows from a verdict; what is valid has to be recorded first.
    fn settle(
        &mut self,
        run: &CheckedRun,
        verdict: validate::Verdict,
    ) -> Result<Option<Verdict>, ReadError> {
        Ok(match verdict {
            validate::Verdict::Valid => None,
            // Its changes came sealed otherwise: a run is never cut anew.
            validate::Verdict::Known => Some(Verdict::Rejected(Refusal::new(
                RefusalCode::Sequence,
                "The changes were accepted before as part of another run.",
            ))),
            validate::Verdict::Missing(hashes) => Some(Verdict::Missing(hashes)),
            validate::Verdict::Refused(refusal) => {
                if refusal.code == RefusalCode::Fork {
                    self.find_fork(run, Some(body_of(run).document))?;
                }
                Some(Verdict::Rejected(refusal))
            }
        })
    }
}

fn body_of(run: &CheckedRun) -> &Body {
    run.envelope().body()
}

/// Denials begin small and end bare; sentences do not.
fn as_sentence(denied: &impl std::fmt::Display) -> String {
    let text = denied.to_string();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => text,
    }
}
