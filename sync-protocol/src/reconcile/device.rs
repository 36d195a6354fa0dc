//! The device's side of a comparison: it asks, and learns which documents differ.

use std::collections::BTreeMap;

use bukti_core::authority::Audience;
use bukti_core::digest::Digest;
use bukti_core::id::{ChangeHash, DocumentId};
use bukti_core::scope::Scope;

use super::{Answer, HeadTag, Range, Ranged, Side};
use crate::frame::{Listed, Reconcile};
use crate::limits;

/// What a comparison found in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Differs {
    /// Documents that only the server holds, one or more.
    Theirs(Range),
    /// A document that only this device holds.
    Ours(DocumentId),
    /// A document that the server holds with these heads; without any, with more than it names.
    Both {
        /// The document.
        document: DocumentId,
        /// The server's heads.
        heads: Vec<HeadTag>,
    },
}

/// One comparison of one subscription.
#[derive(Debug)]
pub struct Comparison {
    prefix: Scope,
    audience: Audience,
    salt: u64,
    side: Side,
    heads: BTreeMap<DocumentId, Vec<ChangeHash>>,
    /// Frames sent whose answer has not ended.
    open: usize,
    /// How many of them up to the last that asks for documents whole; none once those are here.
    needs: Option<usize>,
}

/// The answer is of no use: it names what was not asked, or no parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nonsense;

impl Comparison {
    /// Begins to compare `documents`, what the device holds of the subscription. The salt is drawn
    /// for this comparison. Answers the first frame.
    pub fn begin(
        prefix: Scope,
        audience: Audience,
        salt: u64,
        documents: Vec<(DocumentId, Vec<ChangeHash>)>,
    ) -> (Self, Reconcile) {
        let digest = |(id, heads): &(DocumentId, Vec<ChangeHash>)| (*id, Digest::of(id, heads));
        let mut side = Side::new(documents.iter().map(digest).collect());
        side.salted(salt);
        let mut begun = Self {
            prefix,
            audience,
            salt,
            side,
            heads: documents.into_iter().collect(),
            open: 1,
            needs: None,
        };
        let wanted = (begun.side.len() / DOCUMENTS_PER_PART).next_power_of_two();
        let parts = wanted.clamp(limits::PARTS, limits::PARTS_MAX);
        let first = begun.side.ranged(Range::ALL, parts);
        let mut frame = begun.frame();
        frame.ranges.extend(first);
        begun.open = 1;
        (begun, frame)
    }

    /// Whether the comparison is of this subscription.
    pub fn is_of(&self, prefix: &Scope, audience: Audience) -> bool {
        self.prefix == *prefix && self.audience == audience
    }

    /// Whether all answers are in.
    pub fn is_done(&self) -> bool {
        self.open == 0
    }

    /// Whether all answers are in, and all documents that it asked for.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_done() && self.needs.is_none()
    }

    /// The server has sent everything up to here. Answers come in their order, so what an answered
    /// frame asked for is here, whatever else is under way.
    pub(crate) fn caught_up(&mut self) {
        self.needs = self.needs.filter(|before| *before > 0);
    }

    fn frame(&self) -> Reconcile {
        Reconcile {
            prefix: self.prefix.clone(),
            audience: self.audience,
            salt: self.salt,
            ranges: Vec::new(),
            lists: Vec::new(),
            need: Vec::new(),
            survived: None,
            more: false,
        }
    }

    /// Asks for ranges whole, in whatever order they were found, in one frame or several.
    pub(crate) fn need(&mut self, ranges: Vec<Range>) -> Vec<Reconcile> {
        let mut asked = Answer::new(&self.frame());
        let ranges = Range::apart(ranges);
        ranges.into_iter().for_each(|range| asked.need(range));
        let frames = self.ask(asked);
        if !frames.is_empty() {
            self.needs = Some(self.open);
        }
        frames
    }

    fn ask(&mut self, asked: Answer) -> Vec<Reconcile> {
        let mut frames = asked.finish();
        frames.retain(|frame| !frame.ranges.is_empty() || !frame.need.is_empty());
        // Each frame of a device is answered by itself.
        frames.iter_mut().for_each(|frame| frame.more = false);
        self.open += frames.len();
        frames
    }

    /// Takes one frame of an answer in: what differs, and what to ask next.
    pub(crate) fn answered(
        &mut self,
        answer: &Reconcile,
    ) -> Result<(Vec<Differs>, Vec<Reconcile>), Nonsense> {
        if !self.is_of(&answer.prefix, answer.audience) || answer.salt != self.salt {
            // Of an earlier comparison.
            return Ok((Vec::new(), Vec::new()));
        }
        if !answer.more {
            self.open = self.open.checked_sub(1).ok_or(Nonsense)?;
            self.needs = self.needs.map(|before| before.saturating_sub(1));
        }
        let mut found = Vec::new();
        let mut asked = Answer::new(&self.frame());
        for ranged in &answer.ranges {
            for part in self.side.differing(ranged).ok_or(Nonsense)? {
                match self.side.count(part) {
                    0 => found.push(Differs::Theirs(part)),
                    1..=limits::LISTED_UNASKED_MAX => asked.split(list_of(part)),
                    _ => asked.split(
                        self.side
                            .ranged(part, limits::PARTS)
                            .unwrap_or(list_of(part)),
                    ),
                }
            }
        }
        for listed in &answer.lists {
            self.listed(listed, &mut found);
        }
        Ok((found, self.ask(asked)))
    }

    fn listed(&self, listed: &Listed, found: &mut Vec<Differs>) {
        let Listed { range, documents } = listed;
        let mut named = Vec::with_capacity(documents.len());
        for theirs in documents {
            let mut ours = self.side.documents(*range);
            let Some(document) = ours.find(|document| range.tag(document) == theirs.tag) else {
                found.push(Differs::Theirs(range.tagged(theirs.tag)));
                continue;
            };
            named.push(document);
            let heads = theirs.heads.clone();
            let ours = self.heads.get(&document).map(|heads| HeadTag::all(heads));
            if heads.is_empty() || ours.as_ref() != Some(&heads) {
                found.push(Differs::Both { document, heads });
            }
        }
        let ours = self.side.documents(*range);
        found.extend(ours.filter(|ours| !named.contains(ours)).map(Differs::Ours));
    }
}

fn list_of(range: Range) -> Ranged {
    let fingerprints = Vec::new().into();
    Ranged {
        range,
        fingerprints,
    }
}

/// Documents in one part of the first range, about: few enough that little is split in vain, and
/// so many that the first frame stays short.
const DOCUMENTS_PER_PART: usize = 400;
