//! Comparisons of a session, one for each subscription, and what they ask for.

use bukti_core::authority::Audience;
use bukti_core::digest::Digest;
use bukti_core::id::{ChangeHash, DocumentId, Position};
use bukti_core::scope::Scope;

use crate::frame::{Reconcile, Statements, Survived};
use crate::limits;
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

/// Statements in frames, the last of which says so.
pub(super) fn statements(statements: Vec<Vec<u8>>) -> Vec<Statements> {
    let mut frames = Vec::new();
    let mut open = Vec::new();
    let mut used = 0;
    for statement in statements {
        let bytes = statement.len() + 3;
        if statement.len() > limits::STATEMENT_BYTES_MAX {
            continue;
        }
        let full = open.len() == limits::STATEMENTS_PER_FRAME;
        if full || used + bytes > limits::STATEMENT_BYTES_MAX + 3 {
            frames.push(Statements {
                statements: std::mem::take(&mut open),
                last: false,
            });
            used = 0;
        }
        used += bytes;
        open.push(statement.into());
    }
    frames.push(Statements {
        statements: open,
        last: true,
    });
    frames
}
