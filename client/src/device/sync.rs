//! The device's side of a sync session, without the socket.

use std::collections::{BTreeMap, BTreeSet};

use automerge::ReadDoc;
use bukti_core::authority::Audience;
use bukti_core::causes::is_for_want_of_space;
use bukti_core::digest::Digest;
use bukti_core::envelope::{DocumentKind, Seen};
use bukti_core::id::{ChangeHash, DocumentId, Incarnation, Position, RunId, WallMs};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::ledger::Subscription;
use bukti_core::scope::Scope;
use bukti_sync_protocol::bye::{Bye, ByeCode};
use bukti_sync_protocol::client::{Event, Input, Offer, Opening};
use bukti_sync_protocol::fragment::PartialItem;
use bukti_sync_protocol::reconcile::Range;

use super::comparing::{Compare, Comparisons, Survived};
use super::giving::Giving;
use super::tail::Pending;
use super::{Device, DeviceError};
use crate::limits::{ENTERING_RETRY_MS, OFFERED_RUNS_MAX};

/// What the session has to be told after an event was handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing.
    None,
    /// What the event brought is stored: give the session
    /// [`Input::Applied`](bukti_sync_protocol::client::Input::Applied).
    Applied,
    /// As [`Reaction::Applied`]; then compare, and tell of what stayed different.
    Compare {
        /// Subscriptions to compare.
        compare: Vec<Compare>,
        /// Subscriptions that stay different.
        survived: Vec<Survived>,
    },
    /// Documents are needed whole: give the session
    /// [`Input::Need`](bukti_sync_protocol::client::Input::Need).
    Need {
        /// Scope prefix of the subscription.
        prefix: Scope,
        /// Its audience.
        audience: Audience,
        /// Which documents.
        ranges: Vec<Range>,
    },
    /// What the device holds of the server's statements: give the session
    /// [`Input::Statements`](bukti_sync_protocol::client::Input::Statements).
    Statements(Vec<Vec<u8>>),
    /// The store began a new life: open another session.
    Reconnect,
    /// The server showed what does not hold: end the session. Nothing was changed.
    Leave(Bye),
}

impl Reaction {
    /// What to give the session, in this order.
    pub fn into_inputs(self) -> Vec<Input<'static>> {
        match self {
            Self::None => Vec::new(),
            Self::Applied => vec![Input::Applied],
            Self::Compare { compare, survived } => {
                let compare = compare.into_iter().map(Input::from);
                let survived = survived.into_iter().map(Input::from);
                let applied = std::iter::once(Input::Applied);
                applied.chain(compare).chain(survived).collect()
            }
            Self::Need {
                prefix,
                audience,
                ranges,
            } => vec![Input::Need {
                prefix,
                audience,
                ranges,
            }],
            Self::Statements(statements) => vec![Input::Statements(statements)],
            Self::Reconnect | Self::Leave(_) => vec![Input::Close],
        }
    }
}

/// What sessions did since a device was opened, as far as no event says it by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Runs that were confirmed here, that the server had lost and took back.
    pub gave_back: u64,
    /// Documents that are no longer this device's to read since they were moved.
    pub moved_away: u64,
    /// The same since its grants do not reach them any more.
    pub not_granted: u64,
}

/// What a session put off since the device's disk had no room for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutOff {
    /// Edits that the server refused, in its words: they are to lie in quarantine.
    Refusal(String),
    /// Edits of a copied or restored store that are to be entered again.
    Entering,
}

/// Whether what is to be entered again was since the last `up_to_date`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Entering {
    /// It was not looked at.
    #[default]
    Due,
    /// At this time the disk had no room for it.
    PutOff(WallMs),
    /// What could be was.
    Done,
}

/// Which runs the present session was given.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Less is asked for than the grants allow.
    pub(super) is_narrowed: bool,
    /// Given and not answered.
    offered: BTreeSet<RunId>,
    /// Answered by *accepted*.
    pub(super) accepted: BTreeSet<RunId>,
    /// Answered by *missing*: not before the next session.
    waiting: BTreeSet<RunId>,
    /// Answered by *missing*, with what is lacking here: again once that is given back.
    behind: BTreeMap<RunId, DocumentId>,
    /// Offered again for that reason, once.
    repeated: BTreeSet<RunId>,
    pub(super) giving: Giving,
    pub(super) comparisons: Comparisons,
    /// Documents of which the server said that they left scope.
    pub(super) left: BTreeSet<DocumentId>,
    pub(super) entering: Entering,
    /// Refused, and not kept as that for want of space.
    unkept: BTreeMap<RunId, Unkept>,
}

/// A refusal for which the device's disk had no room.
#[derive(Debug)]
struct Unkept {
    /// What the server said.
    sentence: String,
    at: WallMs,
}

impl Session {
    /// Forgets what a server answered that lost records. What was not answered is still offered.
    pub(super) fn forget_answers(&mut self) {
        let offered = std::mem::take(&mut self.offered);
        *self = Self {
            is_narrowed: self.is_narrowed,
            offered,
            ..Self::default()
        };
    }
}

impl<S: Storage, K: Kv> Device<S, K> {
    /// What a session is opened with. `scopes` narrows what is asked for; empty asks for all that
    /// the grants allow. `agent` is the program's name and version.
    ///
    /// # Errors
    /// The confirmed store failed.
    pub fn opening(&mut self, scopes: Vec<Scope>, agent: &str) -> Result<Opening, DeviceError> {
        self.session = Session {
            is_narrowed: !scopes.is_empty(),
            ..Session::default()
        };
        if self.confirmed.meta().cursor_is_void {
            self.confirmed.void_cursor()?;
        }
        let last = self.tail.last();
        Ok(Opening {
            key: self.identity.key().clone(),
            server: self.identity.server(),
            journal: self.identity.journal(),
            token: self.confirmed.token()?,
            incarnation: self.tail.incarnation(),
            last: last.map(|last| (last.number, last.run)),
            scopes,
            cursor: self.confirmed.cursor()?,
            held: self.confirmed.partials()?,
            agent: agent.to_owned(),
            certificate: self.identity.certificate_record().to_vec(),
            owed: self.owed()?,
            compare: self.confirmed.holds_documents()?,
        })
    }

    /// Runs to give back that the server lost, while few are unanswered. Ask after every event and
    /// before [`Device::offers`]: own runs may build on them. `comparing` is
    /// [`ClientSession::comparing`](bukti_sync_protocol::client::ClientSession::comparing).
    ///
    /// # Errors
    /// The confirmed store failed.
    pub fn returns(&mut self, comparing: bool) -> Result<Vec<Offer>, DeviceError> {
        if !comparing {
            self.session.giving.take_up_later();
        }
        let offers = self.next_returns()?;
        let giving = &self.session.giving;
        let behind = &mut self.session.behind;
        behind.retain(|_, document| giving.will_give(document));
        Ok(offers)
    }

    /// Runs that the session has not been given yet, in the order in which they are to be pushed.
    /// Ask again after every event, and after every edit while a session is open.
    pub fn offers(&mut self) -> Vec<Offer> {
        let room = OFFERED_RUNS_MAX.saturating_sub(self.session.offered.len());
        let mut offers = Vec::new();
        for pending in self.sendable_runs() {
            let run = pending.id();
            if offers.len() < room && !self.session.offered.contains(&run) {
                offers.push(Offer::from((run, pending.bytes().to_vec())));
            }
        }
        self.session
            .offered
            .extend(offers.iter().map(|offer| offer.run));
        offers
    }

    /// What the present session, or the last one, put off for want of space on the device's disk.
    pub fn put_off(&self) -> Option<PutOff> {
        let session = &self.session;
        let mut unkept = session.unkept.iter();
        let unkept = unkept.find(|(run, _)| self.tail.find(run).is_some());
        let refusal = unkept.map(|(_, unkept)| PutOff::Refusal(unkept.sentence.clone()));
        let enters = matches!(session.entering, Entering::PutOff(_)).then_some(PutOff::Entering);
        refusal.or(enters)
    }

    /// Whether a session that is up to date to `position` has nothing more to do.
    pub fn is_synced(&self, position: Position) -> bool {
        let received = self.tail.pending().iter().filter_map(|run| run.received);
        self.sendable_runs().next().is_none()
            && self.session.behind.is_empty()
            && self.session.giving.is_done()
            && self.session.comparisons.are_concluded()
            && received.max().is_none_or(|last| last <= position)
    }

    /// Runs that a server may take in this session, in order: not what is to be entered again, nor
    /// what builds on that.
    fn sendable_runs(&self) -> impl Iterator<Item = &Pending> {
        let mut held_back: BTreeSet<ChangeHash> = BTreeSet::new();
        self.tail.pending().iter().filter(move |pending| {
            if pending.reenter || pending.deps.iter().any(|dep| held_back.contains(dep)) {
                held_back.extend(&pending.hashes);
                return false;
            }
            let run = pending.id();
            let waits = self.session.waiting.contains(&run)
                || self.session.behind.contains_key(&run)
                || self.session.unkept.contains_key(&run);
            pending.received.is_none() && !waits
        })
    }

    /// Whether nothing of what was given in this session waits for an answer.
    pub(super) fn has_every_answer(&self) -> bool {
        self.session.offered.is_empty()
    }

    /// Lets runs be offered again whose refusal had no room some time ago: there may be some by now, and
    /// a session may last for days.
    pub(super) fn retry_unkept(&mut self, now: WallMs) {
        let is_recent = |unkept: &Unkept| now.abs_diff(unkept.at) < ENTERING_RETRY_MS;
        self.session.unkept.retain(|_, unkept| is_recent(unkept));
    }

    /// Keeps the beginnings of large items for the next session.
    ///
    /// # Errors
    /// The confirmed store failed.
    pub fn keep_partials(&self, partials: Vec<PartialItem>) -> Result<(), DeviceError> {
        Ok(self.confirmed.set_partials(partials)?)
    }

    /// Takes in what a session learned; what it answers is stored when this returns. `now` is what
    /// the clock says, `random` is drawn anew for every event.
    ///
    /// # Errors
    /// The device's own stores failed: close the session and open the device again.
    pub fn handle_event(
        &mut self,
        now: WallMs,
        random: [u8; 16],
        event: &Event,
    ) -> Result<Reaction, DeviceError> {
        match event {
            Event::Welcome {
                token,
                checkpoint,
                server_time: _,
                highest: _,
                confirmed,
            } => self.welcome(token, *checkpoint, *confirmed),
            Event::Accepted(runs) => self.accepted(runs),
            Event::Missing { run, hashes } => self.missing(now, random, *run, hashes),
            Event::Rejected {
                run,
                code,
                sentence,
            } => self.rejected(now, random, *run, (code, sentence)),
            Event::Stale { highest: _ } => {
                self.tail.start_over(Incarnation(random), true)?;
                Ok(Reaction::Reconnect)
            }
            Event::Page { items, cursor } => {
                self.session.comparisons.followed = None;
                self.apply_page(now, items, cursor)?;
                Ok(Reaction::Applied)
            }
            Event::UpToDate {
                cursor,
                position,
                digests,
            } => self.up_to_date(now, random, cursor, *position, digests),
            Event::LeftScope(document) => self.may_have_left(document),
            Event::StatementsHeld(statements) => {
                self.confirmed.settle(statements)?;
                Ok(Reaction::None)
            }
            Event::Void => self.lost(Incarnation(random)),
            Event::Readmitted { journal } => self.readmitted(Incarnation(random), journal),
            Event::Differs {
                prefix,
                audience,
                found,
            } => self.differing(prefix, *audience, found),
            Event::Progress { .. } => Ok(Reaction::None),
            Event::Bye(bye) => {
                let identity = &self.identity;
                if bye.code == ByeCode::Revoked && bye.revokes(&self.id(), &identity.server()) {
                    self.revoked(now, random, &bye.sentence)?;
                }
                Ok(Reaction::None)
            }
        }
    }

    fn welcome(
        &mut self,
        token: &[u8],
        checkpoint: Seen,
        confirmed: bool,
    ) -> Result<Reaction, DeviceError> {
        self.confirmed.set_token(token)?;
        self.confirmed.update(|meta| {
            meta.seen = Some(checkpoint);
            meta.revoked = false;
            meta.unconfirmed = !confirmed;
        })?;
        // A server that is behind its own receipts was thrown back: it gets those runs again.
        self.forget_receipts(|_, position| position > checkpoint.position)?;
        Ok(Reaction::None)
    }

    fn accepted(&mut self, runs: &[(RunId, Position)]) -> Result<Reaction, DeviceError> {
        let mut receipts = Vec::new();
        for (run, position) in runs {
            self.session.offered.remove(run);
            self.session.accepted.insert(*run);
            let own = self.tail.find(run).is_some();
            if self.session.giving.answered(run).is_some() {
                self.session.comparisons.taken(*position);
                self.tally.gave_back += u64::from(!own);
            }
            if own {
                receipts.push((*run, Some(*position)));
            }
        }
        self.confirmed.set_receipts(&receipts)?;
        self.read_receipts()?;
        if let Some(position) = self.session.comparisons.followed {
            self.let_go_of_received(position)?;
        }
        Ok(Reaction::None)
    }

    fn missing(
        &mut self,
        now: WallMs,
        random: [u8; 16],
        run: RunId,
        hashes: &[ChangeHash],
    ) -> Result<Reaction, DeviceError> {
        self.session.offered.remove(&run);
        if let Some(document) = self.session.giving.wanting(&run) {
            let last = self.last_hash(&document, &run)?;
            let hashes = hashes.iter().copied().chain(last).collect();
            if !self.session.giving.add_behind(document, hashes) {
                self.confirmed.set_unreturned(&[(run, "missing")])?;
            }
            return Ok(Reaction::None);
        }
        let Some(document) = self.tail.find(&run).map(Pending::document) else {
            return Ok(Reaction::None);
        };
        let held = self.held_among(&document, hashes)?;
        if held.is_empty() && self.quarantine.holds_any(hashes) {
            let sentence = "It builds on an edit that the server refused.";
            return self.rejected(now, random, run, ("builds-on-refused", sentence));
        }
        let waits = self.tail.of(document).flat_map(|pending| &pending.hashes);
        let waits: BTreeSet<ChangeHash> = waits.copied().collect();
        let is_here = |hash: &ChangeHash| held.contains(hash) || waits.contains(hash);
        // Once in a session: if it is missing again, giving back did not help.
        if hashes.iter().all(is_here) && self.session.repeated.insert(run) {
            if !held.is_empty() {
                self.session.giving.add_behind(document, held);
            }
            self.session.behind.insert(run, document);
        } else {
            self.session.waiting.insert(run);
        }
        Ok(Reaction::None)
    }

    /// Which of these changes the confirmed document holds.
    fn held_among(
        &self,
        document: &DocumentId,
        hashes: &[ChangeHash],
    ) -> Result<Vec<ChangeHash>, DeviceError> {
        let Some(held) = self.load_confirmed(document)? else {
            return Ok(Vec::new());
        };
        let hashes = hashes.iter().copied();
        Ok(hashes
            .filter(|hash| held.get_change_by_hash(&(*hash).into()).is_some())
            .collect())
    }

    /// The last change of a confirmed run.
    fn last_hash(
        &self,
        document: &DocumentId,
        run: &RunId,
    ) -> Result<Option<ChangeHash>, DeviceError> {
        let envelopes = self.confirmed.envelopes(document)?.into_iter();
        let mut named = envelopes.filter(|row| row.envelope.run() == *run);
        Ok(named.next().map(|row| row.envelope.body().last_hash))
    }

    /// Moves a refused run and what builds on it to quarantine. Its sequence number is used, so
    /// whatever is sealed from here on belongs to a new incarnation.
    fn rejected(
        &mut self,
        now: WallMs,
        random: [u8; 16],
        run: RunId,
        (code, sentence): (&str, &str),
    ) -> Result<Reaction, DeviceError> {
        self.session.offered.remove(&run);
        if self.session.giving.answered(&run).is_some() {
            // It was confirmed, and stays so here.
            self.confirmed.set_unreturned(&[(run, code)])?;
            return Ok(Reaction::None);
        }
        if self.tail.find(&run).is_some() {
            let renewed = self.tail.renew(Incarnation(random), false);
            let renewed = renewed.map_err(DeviceError::from);
            match renewed.and_then(|()| self.refuse(now, &[run], (code, sentence))) {
                // It is offered and refused again later, and keeps nothing else away meanwhile.
                Err(error) if is_for_want_of_space(&error) => {
                    let sentence = sentence.to_owned();
                    let unkept = Unkept { sentence, at: now };
                    self.session.unkept.insert(run, unkept);
                }
                refused => refused?,
            }
        }
        Ok(Reaction::None)
    }

    fn revoked(
        &mut self,
        now: WallMs,
        random: [u8; 16],
        sentence: &str,
    ) -> Result<(), DeviceError> {
        let pending = self.tail.pending().iter();
        let unsent: Vec<RunId> = pending
            .filter(|pending| pending.received.is_none())
            .map(|pending| pending.id())
            .collect();
        if !unsent.is_empty() {
            // A server may have taken some of it all the same.
            self.tail.renew(Incarnation(random), false)?;
        }
        self.refuse(now, &unsent, ("revoked", sentence))?;
        Ok(self.confirmed.update(|meta| meta.revoked = true)?)
    }

    fn up_to_date(
        &mut self,
        now: WallMs,
        random: [u8; 16],
        cursor: &[u8],
        position: Position,
        digests: &[(Scope, Audience, Digest, u64)],
    ) -> Result<Reaction, DeviceError> {
        self.session.entering = Entering::Due;
        self.write_notes()?;
        // What stayed for want of space, if there is some by now.
        self.settle_confirmed()?;
        self.leave_what_is_not_granted()?;
        let (differs, reaction) = self.look_at_digests(now, random, position, digests)?;
        let own = Subscription::of(&self.grants, &self.placements);
        let mut change = self.confirmed.change();
        change.set_cursor(cursor);
        let meta = change.meta();
        meta.agreed_on(&own);
        meta.differs = differs;
        meta.up_to_date_at = Some(now);
        meta.up_to_date_position = position;
        change.commit()?;
        if self.confirmed.meta().unconfirmed {
            // What it sent is not fed to it, and yet received.
            return Ok(reaction);
        }
        // What the server took and does not feed although it is in scope, it does not have.
        let placements = self.placements.clone();
        self.forget_receipts(|(least, scope), received| {
            let lineage = placements.lineage(scope);
            let is_fed = |(prefix, audience, ..): &(Scope, Audience, Digest, u64)| {
                lineage.is_below(prefix) && audience.includes(least)
            };
            received <= position && digests.iter().any(is_fed)
        })?;
        self.let_go_of_received(position)?;
        Ok(reaction)
    }

    /// Forgets receipts of an earlier session that `void` says hold no more, of the least audience
    /// and the scope of the run and where it was received.
    fn forget_receipts(
        &mut self,
        void: impl Fn((Audience, &Scope), Position) -> bool,
    ) -> Result<(), DeviceError> {
        let mut receipts = Vec::new();
        for pending in self.tail.pending() {
            let Some(position) = pending.received else {
                continue;
            };
            let run = pending.id();
            let is_confirmed = self.confirmed.confirmed_at(&run)?.is_some();
            if is_confirmed || self.session.accepted.contains(&run) {
                continue;
            }
            let Some((kind, scope)) = self.origin(&pending.document())? else {
                continue;
            };
            // A statement is published by being made.
            let published = pending.body().publish || kind == DocumentKind::Statement;
            let least = match published {
                true => Audience::All,
                false => Audience::Unit,
            };
            if void((least, &scope), position) {
                receipts.push((run, None));
            }
        }
        if receipts.is_empty() {
            return Ok(());
        }
        self.confirmed.set_receipts(&receipts)?;
        self.read_receipts()
    }
}
