//! Comparisons of a session, one for each subscription, and what they ask for.

use bukti_core::authority::Audience;
use bukti_core::digest::Digest;
use bukti_core::id::{ChangeHash, DocumentId, Position};
use bukti_core::scope::Scope;

use crate::frame::{Reconcile, Survived};
use crate::reconcile::{Comparison, Differs, Nonsense, Range};

/// What is being compared.
#[derive(Debug, Default)]
pub(super) struct Comparing {
    open: Vec<Comparison>,
    /// Documents were asked for since the last `up_to_date`.
    needs: bool,
}

impl Comparing {
    pub(super) fn begin(
        &mut self,
        prefix: Scope,
        audience: Audience,
        salt: u64,
        documents: Vec<(DocumentId, Vec<ChangeHash>)>,
    ) -> Reconcile {
        self.open.retain(|open| !open.is_of(&prefix, audience));
        let (comparison, first) = Comparison::begin(prefix, audience, salt, documents);
        self.open.push(comparison);
        first
    }

    pub(super) fn need(
        &mut self,
        prefix: &Scope,
        audience: Audience,
        ranges: Vec<Range>,
    ) -> Vec<Reconcile> {
        let mut open = self.open.iter_mut();
        let Some(comparison) = open.find(|open| open.is_of(prefix, audience)) else {
            return Vec::new();
        };
        let frames = comparison.need(ranges);
        self.needs |= !frames.is_empty();
        frames
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

    /// The server has sent everything up to here. Answers come in order, so once all are in, what
    /// was asked for is here, too.
    pub(super) fn caught_up(&mut self) {
        if !self.awaits_answer() {
            self.needs = false;
            self.open.clear();
        }
    }

    pub(super) fn awaits_answer(&self) -> bool {
        self.open.iter().any(|open| !open.is_done())
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.needs || self.awaits_answer()
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
