//! Confirmed runs as they were sealed, for a server that lost them.
//!
//! The store keeps envelopes and one save of each document; the changes that an envelope covers
//! are found in the save by actor and number. A run's name follows from its envelope alone, and
//! its last hash commits to the changes, so what is rebuilt is the same run whichever way a change
//! is compressed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use automerge::{Automerge, Change};
use bukti_core::envelope::{Envelope, Run};
use bukti_core::id::{Actor, ChangeHash, DocumentId, RunId};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::validate::check_run;
use bukti_sync_protocol::client::Offer;
use bukti_sync_protocol::reconcile::HeadTag;

use super::confirmed::EnvelopeRow;
use super::{Device, DeviceError};
use crate::limits::RETURNED_RUNS_MAX;

/// Which runs of a document the server is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Those with changes that none of these heads builds on; without heads, all.
    Beyond(Vec<HeadTag>),
    /// Those that hold these changes or what they build on.
    Behind(Vec<ChangeHash>),
}

/// What the present session is to give back.
#[derive(Debug, Default)]
pub(super) struct Giving {
    /// Documents that are looked at one by one, so that memory does not follow their number.
    documents: VecDeque<(DocumentId, Part)>,
    /// Documents of which the server has more: what it lacks shows once that is here.
    later: Vec<(DocumentId, Part)>,
    /// Runs of the document looked at last.
    ready: VecDeque<Offer>,
    of: Option<DocumentId>,
    /// Given and not answered.
    open: BTreeMap<RunId, DocumentId>,
    /// Given or answered in this session, whoever offered them: of these no answer comes again.
    settled: BTreeSet<RunId>,
    /// Documents whose earlier runs were asked for once.
    behind: BTreeSet<DocumentId>,
}

impl Giving {
    pub(super) fn add(&mut self, document: DocumentId, part: Part) {
        self.documents.push_back((document, part));
    }

    pub(super) fn add_later(&mut self, document: DocumentId, part: Part) {
        self.later.push((document, part));
    }

    /// All that was asked for is here, or will not come: what the server lacks shows.
    pub(super) fn take_up_later(&mut self) {
        self.documents.extend(self.later.drain(..));
    }

    /// Has what `hashes` build on given before anything else of the document; at most once, or
    /// two sides that never agree would talk for ever.
    pub(super) fn add_behind(&mut self, document: DocumentId, hashes: Vec<ChangeHash>) -> bool {
        let first = self.behind.insert(document);
        if first {
            self.add(document, Part::Behind(hashes));
        }
        first
    }

    /// The server answered a run for good; tells the document if it was given back. Own runs count
    /// too: once confirmed they would be given like all others, and nobody would answer again.
    pub(super) fn answered(&mut self, run: &RunId) -> Option<DocumentId> {
        self.settled.insert(*run);
        self.open.remove(run)
    }

    /// The server did not judge a run; tells the document if it was given back. It may be given
    /// again.
    pub(super) fn wanting(&mut self, run: &RunId) -> Option<DocumentId> {
        self.settled.remove(run);
        self.open.remove(run)
    }

    /// Whether runs of the document are still to be given.
    pub(super) fn will_give(&self, document: &DocumentId) -> bool {
        (self.of == Some(*document) && !self.ready.is_empty())
            || self.documents.iter().any(|(next, _)| next == document)
    }

    pub(super) fn is_done(&self) -> bool {
        self.documents.is_empty()
            && self.later.is_empty()
            && self.ready.is_empty()
            && self.open.is_empty()
    }
}

impl<S: Storage, K: Kv> Device<S, K> {
    /// The next runs to give back, while few are unanswered.
    pub(super) fn next_returns(&mut self) -> Result<Vec<Offer>, DeviceError> {
        let mut offers = Vec::new();
        while self.session.giving.open.len() < RETURNED_RUNS_MAX {
            let giving = &mut self.session.giving;
            if let Some(offer) = giving.ready.pop_front() {
                if let Some(document) = giving.of
                    && giving.settled.insert(offer.run)
                {
                    giving.open.insert(offer.run, document);
                    offers.push(offer);
                }
                continue;
            }
            let Some((document, part)) = giving.documents.pop_front() else {
                break;
            };
            let ready = self.runs_of(&document, &part)?;
            let giving = &mut self.session.giving;
            giving.of = Some(document);
            giving.ready = ready.into();
        }
        Ok(offers)
    }

    /// Confirmed runs of a document, each after those that it builds on and each checked again.
    /// One that does not hold any more is passed over and noted.
    pub(super) fn runs_of(
        &mut self,
        id: &DocumentId,
        part: &Part,
    ) -> Result<Vec<Offer>, DeviceError> {
        // With the tail: the server may have taken what the feed has not named yet.
        let Some(document) = self.document(id)? else {
            return Ok(Vec::new());
        };
        let history = History::of(document);
        let envelopes = self.confirmed.envelopes(id)?;
        let mut offers = Vec::new();
        let mut unsound = Vec::new();
        for (envelope, changes) in history.runs(envelopes, part) {
            let run = envelope.run();
            match rebuilt(envelope, changes) {
                Ok(bytes) => offers.push(Offer {
                    run,
                    bytes,
                    returned: true,
                }),
                Err(code) => unsound.push((run, code)),
            }
        }
        self.confirmed.set_unreturned(&unsound)?;
        Ok(offers)
    }
}

/// The bytes of a run that every server would look at; the error is a code.
fn rebuilt(envelope: Envelope, changes: Vec<Vec<u8>>) -> Result<Vec<u8>, &'static str> {
    let bytes = Run { envelope, changes }.to_bytes();
    let run = Run::open(&bytes).map_err(|_| "unreadable")?;
    check_run(run).map_err(|refusal| refusal.code.code())?;
    Ok(bytes)
}

/// The changes of a document, each behind those that it builds on.
struct History {
    changes: Vec<Change>,
    deps: Vec<Vec<usize>>,
    places: BTreeMap<ChangeHash, usize>,
}

impl History {
    fn of(document: &Automerge) -> Self {
        let changes = document.get_changes(&[]);
        let mut places = BTreeMap::new();
        let mut deps = Vec::with_capacity(changes.len());
        for (place, change) in changes.iter().enumerate() {
            let below = change.deps().iter();
            let below = below.filter_map(|dep| places.get(&ChangeHash::from(*dep)).copied());
            deps.push(below.collect());
            places.insert(ChangeHash::from(change.hash()), place);
        }
        Self {
            changes,
            deps,
            places,
        }
    }

    /// Whether each change is among `heads` or below one of them.
    fn below(&self, heads: impl Iterator<Item = usize>) -> Vec<bool> {
        let mut below = vec![false; self.changes.len()];
        heads.for_each(|head| below[head] = true);
        for place in (0..below.len()).rev() {
            if below[place] {
                self.deps[place].iter().for_each(|dep| below[*dep] = true);
            }
        }
        below
    }

    fn wanted(&self, part: &Part) -> Vec<bool> {
        match part {
            Part::Beyond(heads) => {
                let known = self.places.iter();
                let known = known.filter(|(hash, _)| heads.contains(&HeadTag::of(hash)));
                let there = self.below(known.map(|(_, place)| *place));
                there.into_iter().map(|there| !there).collect()
            }
            Part::Behind(hashes) => {
                let places = hashes.iter().filter_map(|hash| self.places.get(hash));
                self.below(places.copied())
            }
        }
    }

    /// The runs of a part with the bytes of their changes, in an order in which a server can take
    /// them.
    fn runs(mut self, envelopes: Vec<EnvelopeRow>, part: &Part) -> Vec<(Envelope, Vec<Vec<u8>>)> {
        let wanted = self.wanted(part);
        let mut by_number: BTreeMap<(Actor, u64), usize> = BTreeMap::new();
        for (place, change) in self.changes.iter().enumerate() {
            if let Ok(actor) = Actor::try_from(change.actor_id().to_bytes()) {
                by_number.insert((actor, change.seq()), place);
            }
        }
        let mut runs = Vec::with_capacity(envelopes.len());
        let mut run_of: Vec<Option<usize>> = vec![None; self.changes.len()];
        for EnvelopeRow { envelope, .. } in envelopes {
            let body = envelope.body();
            let span = (body.actor(), body.first_seq)..=(body.actor(), body.last_seq());
            let places: Vec<usize> = by_number.range(span).map(|(_, place)| *place).collect();
            if places.iter().any(|place| wanted[*place]) {
                places
                    .iter()
                    .for_each(|place| run_of[*place] = Some(runs.len()));
                runs.push((envelope, places));
            }
        }
        let order = self.order(&runs, &run_of);
        let mut runs: Vec<Option<_>> = runs.into_iter().map(Some).collect();
        let mut ordered = Vec::with_capacity(runs.len());
        for run in order {
            if let Some((envelope, places)) = runs[run].take() {
                let changes = places.into_iter();
                let bytes = changes.map(|place| self.changes[place].bytes().into_owned());
                ordered.push((envelope, bytes.collect()));
            }
        }
        ordered
    }

    /// Each run behind those that it builds on; among several that can be next, the one whose last
    /// change comes first.
    fn order(&self, runs: &[(Envelope, Vec<usize>)], run_of: &[Option<usize>]) -> Vec<usize> {
        let mut awaited = vec![0_usize; runs.len()];
        let mut awaiting: Vec<Vec<usize>> = vec![Vec::new(); runs.len()];
        for (run, (_, places)) in runs.iter().enumerate() {
            let deps = places.iter().flat_map(|place| &self.deps[*place]);
            let below: BTreeSet<usize> = deps.filter_map(|dep| run_of[*dep]).collect();
            for dep in below.into_iter().filter(|dep| *dep != run) {
                awaited[run] += 1;
                awaiting[dep].push(run);
            }
        }
        let last = |run: usize| (runs[run].1.last().copied(), run);
        let mut next: BTreeSet<(Option<usize>, usize)> = (0..runs.len())
            .filter(|run| awaited[*run] == 0)
            .map(last)
            .collect();
        let mut order = Vec::with_capacity(runs.len());
        while let Some((_, run)) = next.pop_first() {
            order.push(run);
            for above in &awaiting[run] {
                awaited[*above] -= 1;
                if awaited[*above] == 0 {
                    next.insert(last(*above));
                }
            }
        }
        order
    }
}
