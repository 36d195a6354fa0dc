//! Statements that are too long to be sent unasked: named first, sent where the server lacks them.
//!
//! What was sent is named once more, so that the device knows whether the journal has it. What is
//! wanted then is not taken, and left for another session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bukti_core::id::WallMs;
use bukti_core::ledger::Bulk;
use bukti_core::record::Record;

use crate::deflate::pack;
use crate::fragment::{Held, ItemId, Splitter};
use crate::frame::{Features, Frame, HeldStatement, Holding, Push, Wanted};
use crate::item::PushItem;
use crate::limits;

/// A wanted item that was not named, or an answer to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unasked;

/// What a session names and gives back of long statements.
#[derive(Debug, Default)]
pub(super) struct Returning {
    statements: BTreeMap<ItemId, (HeldStatement, Vec<u8>)>,
    names: VecDeque<Holding>,
    unanswered: usize,
    wanted: VecDeque<ItemId>,
    splitting: Option<Splitter>,
    sent: BTreeSet<ItemId>,
    /// What was sent was named once more.
    asks_again: bool,
    /// The server still wants what it was sent.
    not_taken: bool,
}

impl Returning {
    /// Takes out of `statements` those that are to be named. Those that were named before are not
    /// named again.
    pub(super) fn take(&mut self, statements: &mut Vec<Vec<u8>>, peer: Features) {
        let mut names = Vec::new();
        statements.retain(|record| {
            let Some((at, about)) = bulk(record) else {
                return true;
            };
            let packed = pack(record, peer.deflate());
            let name = HeldStatement {
                item: ItemId::of(&packed),
                bytes: record.len() as u64,
                at,
                about,
            };
            let known = self.statements.contains_key(&name.item);
            if peer.wants_statements() && !known {
                names.push(name.clone());
                self.statements.insert(name.item, (name, packed));
            }
            false
        });
        self.names.extend(frames(names));
    }

    /// The server lacks these. Tells whether it turned out to lack nothing.
    pub(super) fn answered(&mut self, wanted: &Wanted) -> Result<bool, Unasked> {
        self.unanswered = self.unanswered.checked_sub(1).ok_or(Unasked)?;
        for item in &wanted.items {
            if !self.statements.contains_key(item) {
                return Err(Unasked);
            }
            if self.sent.contains(item) {
                self.not_taken = true;
            } else if !self.wanted.contains(item) {
                self.wanted.push_back(*item);
            }
        }
        Ok(!self.is_under_way() && !self.not_taken)
    }

    /// The next frame that `credit` allows. `held` is what the server has of unfinished items.
    pub(super) fn next(&mut self, credit: u64, held: &mut Vec<Held>) -> Option<Frame> {
        if let Some(names) = self.names.pop_front() {
            self.unanswered += 1;
            return Some(names.into());
        }
        if self.splitting.is_none() && self.wanted.is_empty() {
            if self.unanswered > 0 || !self.asks_again() {
                return None;
            }
            return self.next(credit, held);
        }
        if credit < limits::FRAME_BYTES_MAX as u64 {
            return None;
        }
        if self.splitting.is_none() {
            let item = self.wanted.pop_front()?;
            let (_, packed) = self.statements.get(&item)?;
            self.splitting = Some(Splitter::new(packed.clone(), held));
            // Once it has the whole item the server no longer holds the part.
            held.retain(|held| held.item != item);
        }
        let mut splitter = self.splitting.take()?;
        if let Some(fragment) = splitter.next_fragment() {
            self.splitting = Some(splitter);
            return Some(fragment.into());
        }
        self.sent.insert(splitter.item());
        let push = Push {
            items: vec![PushItem::Large(splitter.item())],
            returned: false,
            statements: true,
        };
        Some(push.into())
    }

    pub(super) fn awaits_answer(&self) -> bool {
        self.unanswered > 0
    }

    pub(super) fn is_under_way(&self) -> bool {
        let names = !self.names.is_empty() || (!self.sent.is_empty() && !self.asks_again);
        names || self.unanswered > 0 || self.splitting.is_some() || !self.wanted.is_empty()
    }

    /// Names what was sent, once.
    fn asks_again(&mut self) -> bool {
        if self.asks_again || self.sent.is_empty() {
            return false;
        }
        self.asks_again = true;
        let sent = self
            .sent
            .iter()
            .filter_map(|item| self.statements.get(item));
        let names = sent.map(|(name, _)| name.clone()).collect();
        self.names.extend(frames(names));
        true
    }
}

/// When a statement was made and what about, if it is of the kinds that are named first.
fn bulk(record: &[u8]) -> Option<(WallMs, Bulk)> {
    let Ok(Record::Server(signed)) = Record::from_bytes(record) else {
        return None;
    };
    Some((signed.at(), Bulk::of(signed.fact())?))
}

fn frames(names: Vec<HeldStatement>) -> Vec<Holding> {
    let mut frames = Vec::new();
    let mut statements: Vec<HeldStatement> = Vec::new();
    let mut used = 0;
    for name in names {
        let written = minicbor::to_vec(&name);
        let bytes = written.expect("writing to a vector cannot fail").len();
        let full = statements.len() == limits::HOLDING_PER_FRAME;
        if full || used + bytes > limits::HOLDING_BYTES {
            frames.push(Holding {
                statements: std::mem::take(&mut statements),
            });
            used = 0;
        }
        used += bytes;
        statements.push(name);
    }
    if !statements.is_empty() {
        frames.push(Holding { statements });
    }
    frames
}

#[cfg(test)]
mod tests {
    use bukti_core::record::{Fact, FrameworkFact};

    use super::*;
    use crate::tests::samples;

    fn framework() -> Vec<u8> {
        let json = br#"{"id":"desa","version":"2024"}"#.to_vec();
        samples::statement(Fact::Framework(FrameworkFact { json }))
    }

    #[test]
    fn a_server_that_answers_no_names_is_not_told_any() {
        let mut returning = Returning::default();
        let mut statements = vec![samples::certificate(), framework()];
        returning.take(&mut statements, Features::DEFLATE);
        assert_eq!(statements, [samples::certificate()]);
        assert!(!returning.is_under_way());
        assert_eq!(returning.next(u64::MAX, &mut Vec::new()), None);
    }

    #[test]
    fn only_what_was_named_is_sent() {
        let mut returning = Returning::default();
        returning.take(&mut vec![framework()], Features::SERVER);
        let named = returning.next(0, &mut Vec::new());
        assert!(matches!(named, Some(Frame::Holding(_))), "{named:?}");
        let unknown = Wanted {
            items: vec![ItemId([9; 16])],
        };
        assert_eq!(returning.answered(&unknown), Err(Unasked));
        assert_eq!(returning.next(u64::MAX, &mut Vec::new()), None);
    }
}
