//! Comparisons of a session, one for each subscription, and what they ask for.

use bukti_core::authority::Audience;
use bukti_core::digest::Digest;
use bukti_core::id::{ChangeHash, DocumentId, Position};
use bukti_core::scope::Scope;

use crate::frame::{Reconcile, Survived};
use crate::reconcile::{Comparison, Differs, Nonsense, Range};

/// What is being compared: one subscription after the other, since the server holds a copy of one and
/// takes only so many in a session.
#[derive(Debug, Default)]
pub(super) struct Comparing {
    open: Vec<Comparison>,
    waiting: Vec<Waiting>,
}

/// A comparison whose turn has not come.
#[derive(Debug)]
struct Waiting {
    prefix: Scope,
    audience: Audience,
    salt: u64,
    documents: Vec<(DocumentId, Vec<ChangeHash>)>,
}

impl Comparing {
    pub(super) fn begin(
        &mut self,
        prefix: Scope,
        audience: Audience,
        salt: u64,
        documents: Vec<(DocumentId, Vec<ChangeHash>)>,
    ) {
        self.waiting.push(Waiting {
            prefix,
            audience,
            salt,
            documents,
        });
    }

    /// Whether the next comparison may begin: the one before has all its answers, those to what it
    /// needs among them. What it needs may still be on its way, so that much of one subscription
    /// does not keep the others waiting.
    pub(super) fn may_begin_next(&self) -> bool {
        !self.waiting.is_empty() && !self.awaits_answer()
    }

    /// The first frame of the next comparison, if that may begin. For when what was found before was
    /// told and answered.
    ///
    /// The salts are drawn, and so is which comes first: one that a session never gets to the end of
    /// does not come before the others in every session.
    pub(super) fn begin_next(&mut self) -> Option<Reconcile> {
        if !self.may_begin_next() {
            return None;
        }
        let waiting = self.waiting.iter().enumerate();
        let (at, _) = waiting.min_by_key(|(_, waiting)| waiting.salt)?;
        let Waiting {
            prefix,
            audience,
            salt,
            documents,
        } = self.waiting.swap_remove(at);
        self.open.retain(|open| !open.is_of(&prefix, audience));
        let (comparison, first) = Comparison::begin(prefix, audience, salt, documents);
        self.open.push(comparison);
        Some(first)
    }

    pub(super) fn need(
        &mut self,
        prefix: &Scope,
        audience: Audience,
        ranges: Vec<Range>,
    ) -> Vec<Reconcile> {
        let mut open = self.open.iter_mut();
        match open.find(|open| open.is_of(prefix, audience)) {
            Some(comparison) => comparison.need(ranges),
            None => Vec::new(),
        }
    }

    pub(super) fn answered(
        &mut self,
        answer: &Reconcile,
    ) -> Result<(Vec<Differs>, Vec<Reconcile>), Nonsense> {
        let mut open = self.open.iter_mut();
        match open.find(|open| open.is_of(&answer.prefix, answer.audience)) {
            Some(comparison) => comparison.answered(answer),
            None => Err(Nonsense),
        }
    }

    /// The server has sent everything up to here.
    pub(super) fn caught_up(&mut self) {
        self.open.iter_mut().for_each(Comparison::caught_up);
        self.open.retain(|open| !open.is_settled());
    }

    pub(super) fn awaits_answer(&self) -> bool {
        self.open.iter().any(|open| !open.is_done())
    }

    pub(super) fn is_under_way(&self) -> bool {
        !self.waiting.is_empty() || self.open.iter().any(|open| !open.is_settled())
    }
}

/// A frame that tells of a difference that stays.
pub(super) fn survived(
    prefix: Scope,
    audience: Audience,
    position: Position,
    digest: Digest,
) -> Reconcile {
    Reconcile {
        prefix,
        audience,
        salt: 0,
        ranges: Vec::new(),
        lists: Vec::new(),
        need: Vec::new(),
        survived: Some(Survived { position, digest }),
        more: false,
    }
}
