//! The scrub: reads the journal of a serving server again, slowly, so that what a disk loses is
//! found while there are still backups and devices that have it.
//!
//! It is a reconciler: a pass may end anywhere, and the next one begins anew. What it finds becomes
//! a finding in the journal, once for each place. Accepting goes on: nothing that is accepted from
//! here on depends on the damaged bytes, and refusing would leave evidence on phones alone.
//!
//! Where somebody else's reading meets damage meanwhile, [`look`] reads that segment again at once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bukti_core::causes::with_causes;
use bukti_core::id::{Position, WallMs};
use bukti_core::journal::{Storage, segment_name};
use bukti_core::ledger::{Damaged, Scrub, code};
use bukti_core::record::Finding;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::accepting::{Accepting, Asker};
use crate::clock::wall_now;
use crate::config::Config;

/// How long the scrub reads before it rests, which bounds both its bursts and its overhead.
const BURST: Duration = Duration::from_millis(250);

/// How long it waits where the system has no descriptor or memory for it.
const SCARCE_PAUSE: Duration = Duration::from_secs(1);

/// How long a segment that was read for an alarm is not read for another: every phone that comes may
/// meet the same damage.
const LOOKED_FOR: Duration = Duration::from_secs(60);

/// Segments with an alarm that wait. The alarm of one more sounds again when it is read again.
const ALARMS_MAX: usize = 64;

/// How far the scrub is, for whoever asks.
#[derive(Debug, Default)]
pub struct Scrubbing {
    seen: Mutex<Seen>,
}

/// What [`Scrubbing`] says.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Seen {
    /// The last record that this pass has read.
    pub position: Position,
    /// The record at which it ends; 0 before the first pass.
    pub end: Position,
    /// Percent of the records of this pass that were read.
    pub percent: u64,
    /// When the last whole pass ended.
    pub completed_at: Option<WallMs>,
    /// Whole passes since the start.
    pub passes: u64,
    /// Bytes read since the start.
    pub bytes: u64,
    /// Bytes a second of the pass that runs or, between two, of the last one.
    pub bytes_per_second: u64,
    /// Places found damaged in this pass or, between two, in the last one.
    pub damaged: u64,
    /// Whether damage was found by this pass or the one before it, or met during either.
    pub degraded: bool,
    /// Whether reading met damage since this pass began: it may have been past that place.
    #[serde(skip)]
    alarmed: bool,
}

impl Scrubbing {
    /// How far it is.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn begin_pass(&self, end: Position) {
        let mut seen = self.lock();
        seen.position = 0;
        seen.end = end;
        seen.damaged = 0;
        seen.alarmed = false;
    }

    fn end_pass(&self, now: WallMs) {
        let mut seen = self.lock();
        seen.completed_at = Some(now);
        seen.passes += 1;
        seen.percent = 100;
        seen.degraded = seen.damaged > 0 || seen.alarmed;
    }

    fn alarm(&self) {
        let mut seen = self.lock();
        seen.degraded = true;
        seen.alarmed = true;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How fast, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    bytes_per_second: u64,
    every: Duration,
}

impl Pace {
    /// As configured; `None` if the scrub is turned off.
    pub fn of(config: &Config) -> Option<Self> {
        (config.scrub_kib_per_s > 0).then(|| Self {
            bytes_per_second: config.scrub_kib_per_s * 1024,
            every: Duration::from_secs(config.scrub_interval_s),
        })
    }
}

/// Scrubs until `stopping`.
pub async fn run(
    accepting: Accepting,
    scrubbing: std::sync::Arc<Scrubbing>,
    pace: Pace,
    stopping: CancellationToken,
) {
    loop {
        let begun = Instant::now();
        tokio::select! {
            () = stopping.cancelled() => return,
            () = pass(&accepting, &scrubbing, pace) => {}
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep_until(begun + pace.every) => {}
        }
    }
}

/// Numbers of segments in which reading meets damage from here on.
pub fn alarms(accepting: &Accepting) -> mpsc::Receiver<u32> {
    let (alarm, alarms) = mpsc::channel(ALARMS_MAX);
    accepting.reader().on_damage(move |segment| {
        let _ = alarm.try_send(segment);
    });
    alarms
}

/// Reads segments again in which reading met damage, until `stopping`.
pub async fn look(
    accepting: Accepting,
    scrubbing: std::sync::Arc<Scrubbing>,
    mut alarms: mpsc::Receiver<u32>,
    stopping: CancellationToken,
) {
    let mut looked = Looked::default();
    loop {
        let segment = tokio::select! {
            () = stopping.cancelled() => return,
            segment = alarms.recv() => segment,
        };
        let Some(segment) = segment else { return };
        if looked.is_recent(segment, Instant::now()) {
            continue;
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = look_into(&accepting, &scrubbing, segment) => {}
        }
        looked.0.insert(segment, Instant::now());
    }
}

/// Segments that were read for an alarm, and when.
#[derive(Debug, Default)]
struct Looked(BTreeMap<u32, Instant>);

impl Looked {
    /// Whether a segment was read so lately that another alarm says nothing more. Forgets the others.
    fn is_recent(&mut self, segment: u32, now: Instant) -> bool {
        self.0.retain(|_, at| now.duration_since(*at) < LOOKED_FOR);
        self.0.contains_key(&segment)
    }
}

async fn look_into(accepting: &Accepting, scrubbing: &Scrubbing, segment: u32) {
    let mut scrub = accepting.reader().scrub_segment(segment);
    let mut damage = Vec::new();
    loop {
        let read = tokio::task::spawn_blocking(move || read_burst(scrub, u64::MAX)).await;
        let Ok((rest, read)) = read else {
            tracing::error!("reading a damaged segment ended with a fault of its own");
            return;
        };
        damage.extend(read.damage);
        let Some(rest) = rest else { break };
        scrub = rest;
        tokio::time::sleep(SCARCE_PAUSE).await;
    }
    scrubbing.alarm();
    if damage.is_empty() {
        let sentence = "A record could not be read, and the file is as it was written when it was \
                        read again: its disk does not answer reliably, or the store names a wrong \
                        place, which bukti-server verify tells.";
        let place = format!("journal/{}", segment_name(segment));
        keep(accepting, place, sentence.to_owned()).await;
    }
    for damaged in damage {
        record(accepting, damaged).await;
    }
}

async fn pass(accepting: &Accepting, scrubbing: &Scrubbing, pace: Pace) {
    let mut scrub = accepting.reader().scrub();
    scrubbing.begin_pass(scrub.head());
    let begun = Instant::now();
    let (mut bytes, mut told) = (0, false);
    loop {
        // Reading blocks, so it happens beside the tasks of sessions.
        let burst = pace.bytes_per_second * BURST.as_millis() as u64 / 1000;
        let read = tokio::task::spawn_blocking(move || read_burst(scrub, burst)).await;
        let Ok((rest, read)) = read else {
            tracing::error!("the scrub ended with a fault of its own");
            return;
        };
        bytes += read.bytes;
        note(scrubbing, &read, bytes, begun.elapsed());
        for damaged in read.damage {
            record(accepting, damaged).await;
        }
        let Some(rest) = rest else { break };
        scrub = rest;
        if read.put_off {
            if !told {
                tracing::warn!(
                    "the scrub waits: the system has no file descriptor or memory for it"
                );
                told = true;
            }
            tokio::time::sleep(SCARCE_PAUSE).await;
        }
        let due = Duration::from_secs_f64(bytes as f64 / pace.bytes_per_second as f64);
        tokio::time::sleep_until(begun + due).await;
    }
    scrubbing.end_pass(wall_now());
}

struct Burst {
    bytes: u64,
    position: Position,
    put_off: bool,
    damage: Vec<Damaged>,
}

/// Reads at least one step and about `limit` bytes. Gives the scrub back unless its pass ended.
fn read_burst<S: Storage>(mut scrub: Scrub<S>, limit: u64) -> (Option<Scrub<S>>, Burst) {
    let mut burst = Burst {
        bytes: 0,
        position: 0,
        put_off: false,
        damage: Vec::new(),
    };
    while let Some(step) = scrub.step() {
        burst.bytes += step.bytes;
        burst.position = step.position;
        burst.damage.extend(step.damage);
        burst.put_off = step.put_off;
        if burst.bytes >= limit || burst.put_off {
            return (Some(scrub), burst);
        }
    }
    burst.position = scrub.head();
    (None, burst)
}

fn note(scrubbing: &Scrubbing, read: &Burst, pass_bytes: u64, elapsed: Duration) {
    let mut seen = scrubbing.lock();
    seen.position = read.position;
    seen.percent = seen.position * 100 / seen.end.max(1);
    seen.bytes += read.bytes;
    let seconds = elapsed.as_secs_f64().max(BURST.as_secs_f64());
    seen.bytes_per_second = (pass_bytes as f64 / seconds) as u64;
    seen.damaged += read.damage.len() as u64;
    seen.degraded |= !read.damage.is_empty();
}

async fn record(accepting: &Accepting, damaged: Damaged) {
    let Damaged {
        segment,
        place,
        fault,
    } = damaged;
    let sentence = format!(
        "The journal is not as it was written: {fault}. Stop the server and put these bytes back with \
         bukti-server repair --from BACKUP."
    );
    if let Some(segment) = segment {
        // The finding, and all that is accepted from here on, stand behind the damage otherwise.
        let left = accepting.ask(Asker::Office, move |ledger, _| {
            ledger.leave_segment(segment)
        });
        match left.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::error!(error = %with_causes(&error), "a damaged segment was not left");
            }
            Err(error) => tracing::error!(%error, "a damaged segment was not left"),
        }
    }
    keep(accepting, place, sentence).await;
}

async fn keep(accepting: &Accepting, place: String, sentence: String) {
    tracing::error!(%place, %sentence, "the journal is damaged");
    let finding = Finding {
        code: code::DAMAGE.to_owned(),
        sentence,
        device: None,
        document: None,
        run: None,
        place: Some(place),
    };
    let recorded = accepting
        .ask(Asker::Office, move |ledger, now| ledger.find(now, finding))
        .await;
    match recorded {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::error!(error = %with_causes(&error), "a finding was not recorded")
        }
        Err(error) => tracing::error!(%error, "a finding was not recorded"),
    }
}

#[cfg(test)]
mod tests {
    use bukti_core::journal::memory::Fault;
    use bukti_core::ledger::testing::{NOW, founded};

    use super::*;

    #[test]
    fn the_scrub_can_be_turned_off() {
        let config = |kib| Config {
            scrub_kib_per_s: kib,
            scrub_interval_s: 60,
            ..Config::default()
        };
        assert!(Pace::of(&config(0)).is_none());
        let pace = Pace::of(&config(3)).unwrap();
        let of = (pace.bytes_per_second, pace.every);
        assert_eq!(of, (3 * 1024, Duration::from_secs(60)));
    }

    #[test]
    fn of_many_alarms_in_one_segment_one_a_minute_is_looked_into() {
        let begun = Instant::now();
        let mut looked = Looked::default();
        assert!(!looked.is_recent(1, begun));
        looked.0.insert(1, begun);
        let almost = begun + LOOKED_FOR - Duration::from_millis(1);
        assert!(looked.is_recent(1, begun) && looked.is_recent(1, almost));
        assert!(!looked.is_recent(2, almost));
        assert!(!looked.is_recent(1, begun + LOOKED_FOR));
        assert!(looked.0.is_empty(), "nothing is remembered for ever");
    }

    #[test]
    fn damage_that_was_met_during_a_pass_is_over_only_with_the_next() {
        let scrubbing = Scrubbing::default();
        scrubbing.begin_pass(9);
        scrubbing.alarm();
        scrubbing.end_pass(NOW);
        assert!(
            scrubbing.seen().degraded,
            "it may have been past that place"
        );
        scrubbing.begin_pass(9);
        scrubbing.end_pass(NOW);
        assert!(!scrubbing.seen().degraded);
    }

    #[test]
    fn a_burst_ends_where_there_is_no_descriptor_and_the_next_reads_the_rest() {
        let (mut ledger, disk, _) = founded();
        for _ in 0..9 {
            ledger.checkpoint(NOW).unwrap();
        }
        let scrub = ledger.reader().scrub();
        disk.fail_at(4, Fault::Scarce);
        let (rest, burst) = read_burst(scrub, u64::MAX);
        assert!(burst.put_off && burst.damage.is_empty());
        let (rest, burst) = read_burst(rest.expect("the pass goes on"), u64::MAX);
        assert!(rest.is_none() && !burst.put_off && burst.damage.is_empty());
        assert_eq!(burst.position, ledger.reader().watermark().position);
    }

    #[test]
    fn a_burst_ends_at_its_limit_and_the_next_goes_on_where_it_ended() {
        let (mut ledger, ..) = founded();
        for _ in 0..9 {
            ledger.checkpoint(NOW).unwrap();
        }
        let head = ledger.reader().watermark().position;
        let step = |limit| {
            let mut bursts = Vec::new();
            let mut rest = Some(ledger.reader().scrub());
            while let Some(scrub) = rest {
                let (left, burst) = read_burst(scrub, limit);
                assert_eq!(burst.damage, []);
                bursts.push((burst.bytes, burst.position));
                rest = left;
            }
            bursts
        };
        let whole = step(u64::MAX);
        let [(bytes, position)] = whole[..] else {
            panic!("{whole:?}");
        };
        assert_eq!(position, head);

        // One step at least, however little may be read, and a last burst that finds the end.
        let small = step(1);
        let positions: Vec<Position> = small.iter().map(|(_, position)| *position).collect();
        let expected: Vec<Position> = (0..=head).chain([head]).collect();
        assert_eq!(positions, expected);
        assert_eq!(small.iter().map(|(bytes, _)| bytes).sum::<u64>(), bytes);

        let halves = step(bytes / 2);
        assert!(halves[0].0 >= bytes / 2 && halves[0].1 < head, "{halves:?}");
    }
}
