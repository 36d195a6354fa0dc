//! What a device gives back of the server's statements.
//!
//! Short ones are sent unasked, since everything else is judged by them. Long ones are named first
//! and sent where the server lacks them; what was sent is named once more, so that the device knows
//! whether the journal has it. What is wanted then is not taken, and left for another session, as
//! are short ones that the server says it did not take.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bukti_core::id::WallMs;
use bukti_core::ledger::Bulk;
use bukti_core::record::Record;

use crate::deflate::pack;
use crate::fragment::{Held, ItemId, Splitter};
use crate::frame::{Features, Frame, HeldStatement, Holding, Push, Statements, Wanted};
use crate::item::PushItem;
use crate::limits;

/// A wanted item that was not named, or an answer to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unasked;

/// What a session names and gives back of statements.
#[derive(Debug)]
pub(super) struct Returning {
    /// How many more the session may send or name. The server takes no more from one.
    left: usize,
    short: VecDeque<Vec<u8>>,
    /// Short ones that were sent, frame by frame, until the server says whether it has them.
    untaken: VecDeque<Vec<ItemId>>,
    /// The server did not take all of a frame.
    not_taken: bool,
    /// Short ones that were sent to a server that does not say whether it has them.
    unanswered: Vec<ItemId>,
    long: BTreeMap<ItemId, Long>,
    names: VecDeque<Vec<HeldStatement>>,
    /// Names that were sent, frame by frame, until they are answered.
    named: VecDeque<Vec<ItemId>>,
    wanted: VecDeque<ItemId>,
    splitting: Option<Splitter>,
    sent: BTreeSet<ItemId>,
    /// What of that is still to be named once more.
    unconfirmed: Vec<ItemId>,
}

/// A statement that is named first.
#[derive(Debug)]
struct Long {
    name: HeldStatement,
    packed: Vec<u8>,
    /// The name of its record, by which the device knows it.
    record: ItemId,
}

impl Default for Returning {
    fn default() -> Self {
        Self {
            // A frame without any counts as one: the last one before each of two subscriptions.
            left: limits::STATEMENTS_MAX - 2,
            short: VecDeque::new(),
            untaken: VecDeque::new(),
            not_taken: false,
            unanswered: Vec::new(),
            long: BTreeMap::new(),
            names: VecDeque::new(),
            named: VecDeque::new(),
            wanted: VecDeque::new(),
            splitting: None,
            sent: BTreeSet::new(),
            unconfirmed: Vec::new(),
        }
    }
}

impl Returning {
    /// Takes statements that are to be given back in place of the short ones that were not sent yet.
    /// Long ones that were named before are not named again. What the session may not give any more
    /// is left for another one.
    pub(super) fn take(&mut self, statements: Vec<Vec<u8>>, peer: Features) {
        self.left += self.short.len();
        self.short.clear();
        let mut long = Vec::new();
        for record in statements {
            if let Some((at, about)) = bulk(&record) {
                long.push((at, about, record));
            } else if record.len() <= limits::STATEMENT_BYTES_MAX && self.left > 0 {
                self.left -= 1;
                self.short.push_back(record);
            }
        }
        let mut names = Vec::new();
        for (at, about, record) in long {
            // What is lacking is named, sent and named again.
            if !peer.wants_statements() || self.left < 3 {
                break;
            }
            let packed = pack(&record, peer.deflate());
            let name = HeldStatement {
                item: ItemId::of(&packed),
                bytes: record.len() as u64,
                at,
                about,
            };
            if self.long.contains_key(&name.item) {
                continue;
            }
            self.left -= 3;
            names.push(name.clone());
            let record = ItemId::of(&record);
            let (item, long) = (
                name.item,
                Long {
                    name,
                    packed,
                    record,
                },
            );
            self.long.insert(item, long);
        }
        self.names.extend(frames(names));
    }

    /// The next frame of short statements, the last of which says so; one at least, if it holds none.
    /// Nothing while too many wait for an answer.
    pub(super) fn next_short(&mut self, peer: Features) -> Option<Statements> {
        if peer.answers_statements() && self.are_many_ahead() {
            return None;
        }
        if self.not_taken {
            self.short.clear();
        }
        let (mut statements, mut names, mut used) = (Vec::new(), Vec::new(), 0);
        while let Some(statement) = self.short.front() {
            used += statement.len() + 3;
            let full = statements.len() == limits::STATEMENTS_PER_FRAME;
            if full || used > limits::STATEMENT_BYTES_MAX + 3 {
                break;
            }
            names.push(ItemId::of(statement));
            statements.extend(self.short.pop_front().map(Into::into));
        }
        if peer.answers_statements() {
            self.untaken.push_back(names);
        } else {
            self.unanswered.append(&mut names);
        }
        let last = self.short.is_empty();
        Some(Statements { statements, last })
    }

    /// The server answered a frame of short statements. Gives the names of those it has.
    pub(super) fn taken(&mut self, all: bool) -> Result<Vec<ItemId>, Unasked> {
        let names = self.untaken.pop_front().ok_or(Unasked)?;
        self.not_taken |= !all;
        Ok(if all { names } else { Vec::new() })
    }

    /// Gives the names of short statements that the server was sent and will say nothing about. What
    /// it sends behind them shows that it read them.
    pub(super) fn caught_up(&mut self) -> Vec<ItemId> {
        std::mem::take(&mut self.unanswered)
    }

    /// The server lacks these of a frame of names. Gives the names of the records that it has.
    pub(super) fn answered(&mut self, wanted: &Wanted) -> Result<Vec<ItemId>, Unasked> {
        let named = self.named.pop_front().ok_or(Unasked)?;
        for item in &wanted.items {
            if !named.contains(item) {
                return Err(Unasked);
            }
            // What is wanted although it was sent is not taken.
            if !self.sent.contains(item) && !self.wanted.contains(item) {
                self.wanted.push_back(*item);
            }
        }
        let held = named.iter().filter(|item| !wanted.items.contains(item));
        let held = held.filter_map(|item| self.long.get(item));
        Ok(held.map(|long| long.record).collect())
    }

    /// The next frame that `credit` allows. `held` is what the server has of unfinished items.
    pub(super) fn next(&mut self, credit: u64, held: &mut Vec<Held>) -> Option<Frame> {
        if !self.names.is_empty() {
            if self.are_many_ahead() {
                return None;
            }
            let statements = self.names.pop_front()?;
            let items = statements.iter().map(|name| name.item);
            self.named.push_back(items.collect());
            return Some(Holding { statements }.into());
        }
        if self.splitting.is_none() && self.wanted.is_empty() {
            if !self.named.is_empty() || self.unconfirmed.is_empty() {
                return None;
            }
            let sent = std::mem::take(&mut self.unconfirmed).into_iter();
            let sent = sent.filter_map(|item| self.long.get(&item));
            self.names
                .extend(frames(sent.map(|long| long.name.clone()).collect()));
            return self.next(credit, held);
        }
        if credit < limits::FRAME_BYTES_MAX as u64 {
            return None;
        }
        if self.splitting.is_none() {
            let item = self.wanted.pop_front()?;
            let packed = self.long.get(&item)?.packed.clone();
            self.splitting = Some(Splitter::new(packed, held));
            // Once it has the whole item the server no longer holds the part.
            held.retain(|held| held.item != item);
        }
        let mut splitter = self.splitting.take()?;
        if let Some(fragment) = splitter.next_fragment() {
            self.splitting = Some(splitter);
            return Some(fragment.into());
        }
        self.sent.insert(splitter.item());
        self.unconfirmed.push(splitter.item());
        let push = Push {
            items: vec![PushItem::Large(splitter.item())],
            returned: false,
            statements: true,
        };
        Some(push.into())
    }

    pub(super) fn awaits_answer(&self) -> bool {
        !self.named.is_empty() || !self.untaken.is_empty()
    }

    pub(super) fn is_under_way(&self) -> bool {
        let sends = self.splitting.is_some() || !self.wanted.is_empty();
        let names = !self.names.is_empty() || !self.unconfirmed.is_empty();
        self.awaits_answer() || sends || names || !self.short.is_empty()
    }

    fn are_many_ahead(&self) -> bool {
        self.untaken.len() + self.named.len() >= limits::STATEMENT_FRAMES_AHEAD
    }
}

/// Whether a statement is given back without being named first: frameworks and regions are not.
pub fn is_short(record: &[u8]) -> bool {
    bulk(record).is_none()
}

/// When a statement was made and what about, if it is of the kinds that are named first.
fn bulk(record: &[u8]) -> Option<(WallMs, Bulk)> {
    let Ok(Record::Server(signed)) = Record::from_bytes(record) else {
        return None;
    };
    Some((signed.at(), Bulk::of(signed.fact())?))
}

/// Names in the frames they go in.
fn frames(names: Vec<HeldStatement>) -> Vec<Vec<HeldStatement>> {
    let mut frames = Vec::new();
    let mut statements: Vec<HeldStatement> = Vec::new();
    let mut used = 0;
    for name in names {
        let written = minicbor::to_vec(&name);
        let bytes = written.expect("writing to a vector cannot fail").len();
        let full = statements.len() == limits::HOLDING_PER_FRAME;
        if full || used + bytes > limits::HOLDING_BYTES {
            frames.push(std::mem::take(&mut statements));
            used = 0;
        }
        used += bytes;
        statements.push(name);
    }
    if !statements.is_empty() {
        frames.push(statements);
    }
    frames
}

#[cfg(test)]
mod tests {
    use bukti_core::record::{Fact, FrameworkFact};

    use super::*;
    use crate::tests::samples;

    fn framework(id: &str) -> Vec<u8> {
        let json = format!("{{\"id\":\"{id}\",\"version\":\"2024\"}}").into_bytes();
        samples::statement(Fact::Framework(FrameworkFact { json }))
    }

    #[test]
    fn a_server_that_answers_no_names_is_not_told_any() {
        let mut returning = Returning::default();
        let statements = vec![samples::certificate(), framework("desa")];
        returning.take(statements, Features::DEFLATE);
        let sent = returning.next_short(Features::DEFLATE);
        let statements = vec![samples::certificate().into()];
        let last = true;
        assert_eq!(sent, Some(Statements { statements, last }));
        assert!(!returning.is_under_way());
        assert_eq!(returning.next(u64::MAX, &mut Vec::new()), None);
        // What it sends later is all that it says.
        let name = ItemId::of(&samples::certificate());
        assert_eq!(returning.caught_up(), [name]);
        assert_eq!(returning.caught_up(), []);
    }

    #[test]
    fn only_what_was_named_is_sent() {
        let mut returning = Returning::default();
        returning.take(vec![framework("desa")], Features::SERVER);
        let named = returning.next(0, &mut Vec::new());
        assert!(matches!(named, Some(Frame::Holding(_))), "{named:?}");
        let unknown = Wanted {
            items: vec![ItemId([9; 16])],
        };
        assert_eq!(returning.answered(&unknown), Err(Unasked));
        assert_eq!(returning.next(u64::MAX, &mut Vec::new()), None);
    }

    #[test]
    fn what_is_named_after_the_second_question_is_asked_about_as_well() {
        let mut returning = Returning::default();
        let answer = |returning: &mut Returning, wanted: bool| {
            let frame = returning.next(u64::MAX, &mut Vec::new());
            let Some(Frame::Holding(named)) = frame else {
                panic!("names are due, not {frame:?}");
            };
            let items = named.statements.iter().map(|name| name.item);
            let items = items.filter(|_| wanted).collect();
            returning.answered(&Wanted { items }).unwrap()
        };
        for id in ["first", "second"] {
            returning.take(vec![framework(id)], Features::SERVER);
            assert_eq!(answer(&mut returning, true), []);
            while let Some(frame) = returning.next(u64::MAX, &mut Vec::new()) {
                if matches!(frame, Frame::Push(_)) {
                    break;
                }
            }
            let held = answer(&mut returning, false);
            assert_eq!(held, [ItemId::of(&framework(id))]);
            assert!(!returning.is_under_way());
        }
    }

    #[test]
    fn only_so_many_frames_go_ahead_of_their_answers() {
        let mut returning = Returning::default();
        let many = vec![samples::certificate(); 32 * limits::STATEMENTS_PER_FRAME];
        returning.take(many, Features::SERVER);
        for _ in 0..limits::STATEMENT_FRAMES_AHEAD {
            let sent = returning.next_short(Features::SERVER);
            assert!(!sent.expect("more may be sent").last);
        }
        for _ in 0..3 {
            assert_eq!(returning.next_short(Features::SERVER), None);
            assert!(!returning.taken(true).unwrap().is_empty());
            assert!(returning.next_short(Features::SERVER).is_some());
        }
        assert!(returning.awaits_answer());
    }
}
