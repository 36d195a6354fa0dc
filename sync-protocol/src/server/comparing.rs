//! The server's side of comparisons: a copy of what one subscription holds, while it is asked about.

use std::collections::VecDeque;

use bukti_core::id::{DeviceId, Position};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::ledger::{ReadError, Reader, Subscription};

use super::outbound::Outbound;
use super::{End, Output, findings};
use crate::bye::{Bye, ByeCode};
use crate::frame::{Features, Reconcile, encode};
use crate::limits;
use crate::reconcile::Side;

/// What a session compares.
#[derive(Debug, Default)]
pub(super) struct Comparing {
    copy: Option<Copy>,
    /// Of what the copy was that was let go of last.
    rested: Option<Subscription>,
    copies: usize,
    statements: usize,
    told: bool,
}

/// What a subscription held when it was first asked about.
#[derive(Debug)]
struct Copy {
    of: Subscription,
    /// Where units stood then.
    placements: Position,
    side: Side,
    /// Ranges, parts and documents that the device asked about.
    asked: usize,
}

impl Copy {
    fn is_of(&self, subscription: &Subscription, placements: Position) -> bool {
        self.of == *subscription && self.placements == placements
    }

    /// Holds the device to what a comparison can have reason to ask.
    fn count(&mut self, more: usize) -> Result<(), Bye> {
        self.asked += more;
        let enough = limits::COMPARED_PER_DOCUMENT * self.side.len() + limits::COMPARED_AT_LEAST;
        if self.asked > enough {
            let sentence = "The device asks about more than there is to compare.";
            return Err(Bye::new(ByeCode::Flood, sentence));
        }
        Ok(())
    }
}

impl Comparing {
    /// Lets go of the copy, since more was recorded; it is made again if more is asked.
    pub(super) fn rest(&mut self) {
        if let Some(copy) = self.copy.take() {
            self.rested = Some(copy.of);
        }
    }

    /// Whether an answer takes another copy.
    pub(super) fn lacks_copy<S: Storage, K: Kv>(
        &self,
        reader: &Reader<S, K>,
        asked: &Reconcile,
        outbound: &Outbound,
    ) -> bool {
        let placements = reader.placements().version();
        let lacks = |of| {
            let held = self.copy.as_ref();
            asked.survived.is_none() && held.is_none_or(|held| !held.is_of(&of, placements))
        };
        let (prefix, audience) = (&asked.prefix, asked.audience);
        outbound.subscription(prefix, audience).is_some_and(lacks)
    }

    /// Holds the device to so many statements as one may have.
    pub(super) fn count_statements(&mut self, more: usize) -> Result<(), Bye> {
        // A frame without any costs an answer all the same.
        self.statements += more.max(1);
        if self.statements > limits::STATEMENTS_MAX {
            let sentence = "The device returns more statements than it can hold.";
            return Err(Bye::new(ByeCode::Flood, sentence));
        }
        Ok(())
    }

    pub(super) fn asked<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        (device, peer): (DeviceId, Features),
        asked: &Reconcile,
        outbound: &mut Outbound,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), End> {
        if let Some(survived) = &asked.survived {
            if !std::mem::replace(&mut self.told, true) {
                let at = survived.position;
                outputs.push_back(Output::Find(findings::mismatch(device, asked, at)));
            }
            return Ok(());
        }
        let of = outbound.subscription(&asked.prefix, asked.audience);
        let mut answers = vec![nothing(asked)];
        if let Some(of) = of {
            let copy = self.copy(reader, of)?;
            let needed = asked.need.iter().map(|range| copy.side.count(*range));
            let needed = needed.sum::<usize>() + asked.need.len();
            copy.count(needed + asked.ranges.len() + asked.parts())?;
            let side = &mut copy.side;
            let heads = |document: &_| -> Result<_, ReadError> {
                let row = reader.document(document)?;
                Ok(row.map(|row| row.heads).unwrap_or_default())
            };
            answers = side.answer(asked, heads)?.ok_or_else(|| {
                Bye::malformed("The device's part of a comparison makes no sense.".to_owned())
            })?;
            let lists = answers.iter().flat_map(|answer| &answer.lists);
            copy.count(lists.map(|listed| listed.documents.len()).sum())?;
            for range in &asked.need {
                outbound.need(copy.side.documents(*range));
            }
        } else if !asked.need.is_empty() {
            // What was asked for is not read any more. The device waits for the word that all that
            // it asked for was sent.
            outbound.need(std::iter::empty());
        }
        let answers = answers.into_iter();
        let answers: Vec<_> = answers.map(|answer| encode(&answer.into(), peer)).collect();
        let waiting = outputs.iter().map(|output| match output {
            Output::Send(bytes) => bytes.len(),
            _other => 0,
        });
        let answered = answers.iter().map(Vec::len).sum::<usize>();
        if waiting.sum::<usize>() + answered > limits::RECONCILE_ANSWER_BYTES_MAX {
            let sentence = "The device asks faster than it reads the answers.";
            return Err(Bye::new(ByeCode::Flood, sentence).into());
        }
        outputs.extend(answers.into_iter().map(Output::Send));
        Ok(())
    }

    fn copy<S: Storage, K: Kv>(
        &mut self,
        reader: &Reader<S, K>,
        of: Subscription,
    ) -> Result<&mut Copy, End> {
        let placements = reader.placements().version();
        let copy = match self.copy.take() {
            Some(held) if held.is_of(&of, placements) => held,
            other => {
                // That more was recorded or a unit moved is not the device's doing.
                let last = other.map(|held| held.of).or(self.rested.take());
                self.copies += usize::from(last.as_ref() != Some(&of));
                if self.copies > limits::COMPARISONS_MAX {
                    let sentence = "The device compares more often than it has reason to.";
                    return Err(Bye::new(ByeCode::Flood, sentence).into());
                }
                let (_, documents) = reader.comparison(&of)?;
                let side = Side::new(documents);
                Copy {
                    of,
                    placements,
                    side,
                    asked: 0,
                }
            }
        };
        Ok(self.copy.insert(copy))
    }
}

fn nothing(asked: &Reconcile) -> Reconcile {
    Reconcile {
        ranges: Vec::new(),
        lists: Vec::new(),
        need: Vec::new(),
        survived: None,
        more: false,
        ..asked.clone()
    }
}
