//! Valid inputs altered by the ten thousand, each handed to what would read it in earnest, with
//! honest work beside it.

use std::collections::BTreeMap;
use std::fmt;

use bukti_core::change::forge::{Forge, chunk};
use bukti_core::ledger::Verdict;
use bukti_core::validate::Refusal;
use bukti_sync_protocol::client::{self, ClientSession};
use bukti_sync_protocol::frame::decode;

use crate::altered;
use crate::body::{self, Took};
use crate::dice::{Dice, mutate, mutate_cbor};
use crate::house::House;
use crate::pen::Pen;
use crate::seeds;

/// Inputs of the whole run.
pub const WHOLE: usize = 195_000;

/// Inputs of each kind among 39.
const SHARES: [(Kind, usize); 7] = [
    (Kind::Frame, 12),
    (Kind::Item, 3),
    (Kind::Envelope, 4),
    (Kind::Run, 4),
    (Kind::Change, 12),
    (Kind::Statement, 2),
    (Kind::Record, 2),
];

/// Batches that one ledger takes before another is founded, so that documents stay small.
const BATCHES_PER_HOUSE: usize = 150;

/// Hostile runs in a batch with an honest one.
const RUNS_PER_BATCH: usize = 4;

/// What is altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Frames, read by themselves and by sessions of either side.
    Frame,
    /// Items of the feed.
    Item,
    /// Bodies of envelopes, signed again.
    Envelope,
    /// Runs, as they are or with their changes moved about.
    Run,
    /// Changes, with right checksums and signatures.
    Change,
    /// Statements, signed again.
    Statement,
    /// Records of the journal.
    Record,
}

/// What became of the inputs: how many of each kind, and the words they were answered with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// By kind and answer.
    pub answers: BTreeMap<(Kind, String), usize>,
    /// Honest runs that were accepted in batches with hostile ones and behind hostile frames.
    pub honest: usize,
}

impl Tally {
    /// How many inputs there were.
    pub fn inputs(&self) -> usize {
        self.answers.values().sum()
    }

    /// How many of a kind were answered so.
    pub fn count(&self, kind: Kind, answer: &str) -> usize {
        let answers = self.answers.get(&(kind, answer.to_owned()));
        answers.copied().unwrap_or_default()
    }

    fn note(&mut self, kind: Kind, answer: impl Into<String>) {
        *self.answers.entry((kind, answer.into())).or_default() += 1;
    }

    fn took(&mut self, kind: Kind, took: Took) {
        self.note(kind, format!("{took:?}").to_lowercase());
    }

    fn verdict(&mut self, kind: Kind, verdict: &Result<Verdict, Refusal>) {
        let answer = match verdict {
            Ok(Verdict::Accepted(_)) => "accepted",
            Ok(Verdict::Missing(_)) => "missing",
            Ok(Verdict::Stale { .. }) => "stale",
            Ok(Verdict::Full) => "full",
            Ok(Verdict::Rejected(refusal)) | Err(refusal) => refusal.code.code(),
        };
        self.note(kind, answer);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, _) in SHARES {
            let mine = self.answers.iter().filter(|((other, _), _)| *other == kind);
            let parts: Vec<String> = mine
                .map(|((_, answer), count)| format!("{answer} {count}"))
                .collect();
            writeln!(f, "{kind:?}: {}", parts.join(", "))?;
        }
        writeln!(f, "honest runs beside them, all accepted: {}", self.honest)
    }
}

/// Alters and hands in about `inputs` inputs, the same for the same seed.
///
/// # Panics
/// If anything promised does not hold.
pub fn run(seed: u64, inputs: usize) -> Tally {
    let mut mass = Mass {
        dice: Dice::new(seed),
        tally: Tally::default(),
        house: House::new(),
        batches: 0,
        incarnation: 10,
    };
    let all: usize = SHARES.iter().map(|(_, share)| share).sum();
    for (kind, share) in SHARES {
        let count = inputs * share / all;
        match kind {
            Kind::Frame => mass.frames(count),
            Kind::Item => mass.items(count),
            Kind::Envelope => mass.envelopes(count),
            Kind::Run => mass.runs(count),
            Kind::Change => mass.changes(count),
            Kind::Statement => mass.statements(count),
            Kind::Record => mass.records(count),
        }
    }
    mass.house.verify();
    mass.tally
}

struct Mass {
    dice: Dice,
    tally: Tally,
    house: House,
    batches: usize,
    incarnation: u16,
}

impl Mass {
    /// The house to hand the next batch to.
    fn house(&mut self) -> &mut House {
        self.batches += 1;
        if self.batches.is_multiple_of(BATCHES_PER_HOUSE) {
            self.house.verify();
            self.house = House::new();
        }
        &mut self.house
    }

    /// A life of the hostile device that has written nothing.
    fn pen(&mut self) -> Pen {
        self.incarnation = self.incarnation.wrapping_add(1).max(10);
        self.house.hostile(self.incarnation)
    }

    fn altered(&mut self, make: fn(&mut Pen, &mut Dice) -> Vec<u8>) -> Vec<u8> {
        let mut pen = self.pen();
        make(&mut pen, &mut self.dice)
    }

    fn frames(&mut self, count: usize) {
        let mut seeds = seeds::frames();
        seeds.extend(self.real_frames());
        for round in 0..count {
            let bytes = altered::frame(&mut self.dice, &seeds);
            let took = body::frame(&bytes);
            self.tally.took(Kind::Frame, took);
            match round % 4 {
                0 => self.knock(&bytes, took),
                1 => self.session_hears(&bytes, took),
                2 => self.device_hears(&bytes),
                _ => {}
            }
        }
    }

    /// What both sides say when a session opens and a run is pushed in it.
    fn real_frames(&mut self) -> Vec<Vec<u8>> {
        let run = self.house.hostile(5).put("a", 1).seal();
        let mut client = ClientSession::new(self.house.opening(5), 0);
        client.handle(0, client::Input::Offer(vec![run.into()]));
        let mut server = self.house.knock();
        let mut frames = Vec::new();
        while let Some(output) = client.poll() {
            if let client::Output::Send(bytes) = output {
                let heard = self.house.hear(&mut server, &bytes);
                frames.push(bytes);
                for answer in heard.sent {
                    client.handle(0, client::Input::Frame(&answer));
                    frames.push(answer);
                }
            }
        }
        assert!(frames.len() >= 6, "{} frames", frames.len());
        frames
    }

    /// A session that begins with the frame, and goes on with it once more.
    fn knock(&mut self, bytes: &[u8], took: Took) {
        let mut session = self.house.knock();
        let heard = self.house.hear(&mut session, bytes);
        expect_end(took, heard.ended.is_some());
        if heard.ended.is_none() {
            self.house.hear(&mut session, bytes);
        }
    }

    /// A session that is open when the frame comes, and an honest edit after it.
    fn session_hears(&mut self, bytes: &[u8], took: Took) {
        self.house();
        let (mut session, _, _) = self.house.open(6);
        let heard = self.house.hear(&mut session, bytes);
        expect_end(took, heard.ended.is_some());
        for frame in &heard.sent {
            assert!(matches!(decode(frame), Ok(Some(_))), "it sends frames only");
        }
        self.house.accept_beside_honest(Vec::new());
        self.tally.honest += 1;
    }

    /// The other way round: a server that is not honest, to the session of a device.
    fn device_hears(&mut self, bytes: &[u8]) {
        let (_, mut client, from_server) = self.house.open(6);
        let welcome = &from_server[..from_server.len().min(1 + self.dice.below(3))];
        for frame in welcome {
            client.handle(0, client::Input::Frame(frame));
        }
        client.handle(1, client::Input::Frame(bytes));
        let mut outputs = 0;
        while let Some(output) = client.poll() {
            if let client::Output::Send(bytes) = output {
                assert!(
                    matches!(decode(&bytes), Ok(Some(_))),
                    "it sends frames only"
                );
            }
            outputs += 1;
            assert!(outputs < 1_000, "it never ends");
        }
    }

    fn items(&mut self, count: usize) {
        let frames = seeds::frames();
        let seeds: Vec<Vec<u8>> = frames
            .iter()
            .filter(|frame| matches!(frame[..], [0, 0x82, 8, ..]))
            .flat_map(|frame| items_in(&frame[1..]))
            .collect();
        assert!(seeds.len() >= 4, "an item of every kind");
        for _ in 0..count {
            let mut bytes = self.dice.pick(&seeds).clone();
            mutate_cbor(&mut self.dice, &mut bytes, &seeds);
            let took = body::item(&bytes);
            self.tally.took(Kind::Item, took);
        }
    }

    fn envelopes(&mut self, count: usize) {
        for _ in 0..count / RUNS_PER_BATCH {
            self.house();
            let runs = (0..RUNS_PER_BATCH)
                .map(|_| self.altered(altered::envelope))
                .collect();
            self.hand_in(Kind::Envelope, runs);
        }
    }

    fn runs(&mut self, count: usize) {
        for _ in 0..count / RUNS_PER_BATCH {
            self.house();
            let runs = (0..RUNS_PER_BATCH)
                .map(|_| {
                    let foreign = self.house.honest_change();
                    let mut pen = self.pen();
                    altered::run(&mut pen, &mut self.dice, &foreign)
                })
                .collect();
            self.hand_in(Kind::Run, runs);
        }
    }

    fn changes(&mut self, count: usize) {
        let data = seeds::change_data();
        // Half of them one by one against every promise about documents, half to the ledger.
        for _ in 0..count / 2 {
            let mut input = self.dice.pick(&data).clone();
            let kind = 1 + self.dice.below(3) as u8;
            if self.dice.once_in(2) {
                mutate(&mut self.dice, &mut input, &data);
                let took = body::change(&[&[kind], &input[..]].concat());
                self.tally.took(Kind::Change, took);
            } else {
                let raw = chunk(1, &input);
                let mut forge = Forge::of(&raw);
                altered::parts(&mut self.dice, &mut forge);
                let took = body::change(&[&[kind], &forge.data()[..]].concat());
                self.tally.took(Kind::Change, took);
            }
        }
        for _ in 0..(count - count / 2) / RUNS_PER_BATCH {
            self.house();
            let runs = (0..RUNS_PER_BATCH)
                .map(|_| self.altered(altered::change))
                .collect();
            self.hand_in(Kind::Change, runs);
        }
    }

    fn hand_in(&mut self, kind: Kind, runs: Vec<Vec<u8>>) {
        for run in &runs {
            body::envelope(&[&[3], &run[..]].concat());
        }
        for verdict in self.house.accept_beside_honest(runs) {
            self.tally.verdict(kind, &verdict);
        }
        self.tally.honest += 1;
    }

    fn statements(&mut self, count: usize) {
        let statements = seeds::statements();
        for _ in 0..count {
            let mut bytes = self.dice.pick(&statements).clone();
            mutate_cbor(&mut self.dice, &mut bytes, &statements);
            let took = body::envelope(&[&[1], &bytes[..]].concat());
            self.tally.took(Kind::Statement, took);
        }
    }

    fn records(&mut self, count: usize) {
        let records = seeds::records();
        for _ in 0..count {
            let mut bytes = self.dice.pick(&records).clone();
            mutate_cbor(&mut self.dice, &mut bytes, &records);
            let took = body::envelope(&[&[4], &bytes[..]].concat());
            self.tally.took(Kind::Record, took);
        }
    }
}

/// What cannot be read ends the session, and nothing else does so without a reason of its own.
fn expect_end(took: Took, ended: bool) {
    match took {
        Took::Refused => assert!(ended, "a frame that cannot be read and no word"),
        Took::Ignored => assert!(!ended, "a frame of a later version ends nothing"),
        Took::Read => {}
    }
}

/// The items of a feed frame.
fn items_in(cbor: &[u8]) -> Vec<Vec<u8>> {
    use bukti_sync_protocol::frame::Frame;
    use bukti_sync_protocol::item::FeedItem;
    let Ok(Some(Frame::Feed(feed))) = decode(&[&[0], cbor].concat()) else {
        return Vec::new();
    };
    let inline = feed.items.into_iter().filter_map(|item| match item {
        FeedItem::Inline(item) => Some(item.to_bytes()),
        FeedItem::Large(_) => None,
    });
    inline.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_thousand_altered_inputs_harm_nobody_and_each_has_its_answer() {
        let tally = run(1, 20_000);
        assert!(tally.inputs() > 19_500, "{tally}");
        assert!(tally.honest > 3_000, "{tally}");
        for kind in [Kind::Frame, Kind::Item, Kind::Statement, Kind::Record] {
            assert!(tally.count(kind, "read") > 100, "{tally}");
            assert!(tally.count(kind, "refused") > 100, "{tally}");
        }
        for kind in [Kind::Envelope, Kind::Run, Kind::Change] {
            assert!(tally.count(kind, "accepted") > 10, "{tally}");
            assert!(tally.count(kind, "malformed") > 10, "{tally}");
        }
        for code in ["bad-start-op", "bad-deps", "bad-actor", "unreadable"] {
            assert!(tally.count(Kind::Change, code) > 10, "{code}: {tally}");
        }
    }
}
