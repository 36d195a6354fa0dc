//! The device's side of a sync session, without the socket.

use std::collections::BTreeSet;

use bukti_core::authority::Audience;
use bukti_core::digest::Digest;
use bukti_core::envelope::Seen;
use bukti_core::id::{ChangeHash, Incarnation, Position, RunId, WallMs};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::ledger::Subscription;
use bukti_core::scope::Scope;
use bukti_sync_protocol::bye::ByeCode;
use bukti_sync_protocol::client::{Event, Offer, Opening};
use bukti_sync_protocol::fragment::PartialItem;

use super::tail::Pending;
use super::{Device, DeviceError};
use crate::limits::OFFERED_RUNS_MAX;

/// What the session has to be told after an event was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing.
    None,
    /// What the event brought is stored: give the session
    /// [`Input::Applied`](bukti_sync_protocol::client::Input::Applied).
    Applied,
    /// The store began a new life: open another session.
    Reconnect,
}

/// Which runs the present session was given.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Given and not answered.
    offered: BTreeSet<RunId>,
    /// Answered by *accepted*.
    accepted: BTreeSet<RunId>,
    /// Answered by *missing*: not before the next session.
    waiting: BTreeSet<RunId>,
}

impl<S: Storage, K: Kv> Device<S, K> {
    /// What a session is opened with. `scopes` narrows what is asked for; empty asks for all that
    /// the grants allow. `agent` is the program's name and version.
    ///
    /// # Errors
    /// The confirmed store failed.
    pub fn opening(&mut self, scopes: Vec<Scope>, agent: &str) -> Result<Opening, DeviceError> {
        self.session = Session::default();
        if self.confirmed.meta().cursor_is_void {
            self.confirmed.void_cursor(self.tail.settled_through())?;
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
            certificate: Vec::new(),
            compare: false,
        })
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

    /// Whether a session that is up to date to `position` has nothing more to do.
    pub fn is_synced(&self, position: Position) -> bool {
        let received = self.tail.pending().iter().filter_map(|run| run.received);
        self.sendable_runs().next().is_none() && received.max().is_none_or(|last| last <= position)
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
            pending.received.is_none() && !self.session.waiting.contains(&pending.id())
        })
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
                confirmed: _,
            } => self.welcome(token, *checkpoint),
            Event::Accepted(runs) => self.accepted(runs),
            Event::Missing { run, hashes } => self.missing(now, random, *run, hashes),
            Event::Rejected {
                run,
                code,
                sentence,
            } => self.rejected(now, random, *run, (code, sentence)),
            Event::Stale { highest: _ } => {
                self.tail.renew(Incarnation(random), true)?;
                Ok(Reaction::Reconnect)
            }
            Event::Page { items, cursor } => {
                self.apply_page(now, items, cursor)?;
                Ok(Reaction::Applied)
            }
            Event::UpToDate {
                cursor,
                position,
                digests,
            } => self.up_to_date(now, random, cursor, *position, digests),
            Event::LeftScope(document) => {
                self.leave_scope(document)?;
                Ok(Reaction::None)
            }
            Event::Void
            | Event::Readmitted { .. }
            | Event::Differs { .. }
            | Event::Progress { .. } => Ok(Reaction::None),
            Event::Bye(bye) => {
                let identity = &self.identity;
                if bye.code == ByeCode::Revoked && bye.revokes(&self.id(), &identity.server()) {
                    self.revoked(now, &bye.sentence)?;
                }
                Ok(Reaction::None)
            }
        }
    }

    fn welcome(&mut self, token: &[u8], checkpoint: Seen) -> Result<Reaction, DeviceError> {
        self.confirmed.set_token(token)?;
        self.confirmed.update(|meta| {
            meta.seen = Some(checkpoint);
            meta.revoked = false;
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
            if self.tail.find(run).is_some() {
                receipts.push((*run, Some(*position)));
            }
        }
        self.confirmed.set_receipts(&receipts)?;
        self.read_receipts()?;
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
        if self.quarantine.holds_any(hashes) {
            let sentence = "It builds on an edit that the server refused.";
            return self.rejected(now, random, run, ("builds-on-refused", sentence));
        }
        self.session.waiting.insert(run);
        Ok(Reaction::None)
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
        if self.tail.find(&run).is_some() {
            self.tail.renew(Incarnation(random), false)?;
            self.refuse(now, &[run], (code, sentence))?;
        }
        Ok(Reaction::None)
    }

    fn revoked(&mut self, now: WallMs, sentence: &str) -> Result<(), DeviceError> {
        let pending = self.tail.pending().iter();
        let unsent: Vec<RunId> = pending
            .filter(|pending| pending.received.is_none())
            .map(|pending| pending.id())
            .collect();
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
        self.leave_what_is_not_granted()?;
        let subscriptions = Subscription::of(&self.grants, &self.placements);
        let mut differs = self.confirmed.meta().differs.clone();
        differs.retain(|scope| subscriptions.iter().any(|own| own.prefix == *scope));
        for (prefix, audience, digest, documents) in digests {
            let except = subscriptions
                .iter()
                .find(|own| own.prefix == *prefix && own.audience == *audience);
            let except = except.map_or(&[][..], |own| &own.except);
            let placements = &self.placements;
            let here = self
                .confirmed
                .digest(prefix, *audience, except, placements)?;
            differs.retain(|scope| scope != prefix);
            if here != (*digest, *documents) {
                differs.push(prefix.clone());
            }
        }
        let mut change = self.confirmed.change();
        change.set_cursor(cursor);
        let meta = change.meta();
        meta.differs = differs;
        meta.up_to_date_at = Some(now);
        meta.up_to_date_position = position;
        change.commit()?;
        // What the server took and does not feed although it is in scope, it does not have.
        let drafts_of: Vec<&Scope> = digests
            .iter()
            .filter(|(_, audience, ..)| *audience == Audience::Unit)
            .map(|(prefix, ..)| prefix)
            .collect();
        let placements = self.placements.clone();
        self.forget_receipts(|scope, received| {
            let lineage = placements.lineage(scope);
            received <= position && drafts_of.iter().any(|prefix| lineage.is_below(prefix))
        })?;
        self.enter_stale_again(now, Incarnation(random))?;
        Ok(Reaction::Applied)
    }

    fn forget_receipts(
        &mut self,
        void: impl Fn(&Scope, Position) -> bool,
    ) -> Result<(), DeviceError> {
        let mut receipts = Vec::new();
        for pending in self.tail.pending() {
            let Some(position) = pending.received else {
                continue;
            };
            if self.session.accepted.contains(&pending.id()) {
                continue;
            }
            let origin = self.origin(&pending.document())?;
            if origin.is_some_and(|(_, scope)| void(&scope, position)) {
                receipts.push((pending.id(), None));
            }
        }
        if receipts.is_empty() {
            return Ok(());
        }
        self.confirmed.set_receipts(&receipts)?;
        self.read_receipts()
    }
}
