//! What the log says of refused runs: a line for each device and code a minute, so that nobody fills
//! the disk with lines, or keeps everybody else waiting while they are written.
//!
//! A device is meant that carries runs. Whose they are it may invent.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bukti_core::id::{DeviceId, DocumentId, RunId};
use bukti_core::validate::RefusalCode;

/// How long a line stands for all that is refused for the same reason.
const EVERY: Duration = Duration::from_secs(60);

/// Devices and codes that have lines of their own at a time. Those beyond share one: an honest device
/// is refused for one reason or two, and never a hundred at once.
const TOLD_MAX: usize = 200;

/// A run that was refused, in the words of the log.
#[derive(Debug, Clone, Copy)]
pub struct RefusedRun {
    /// Its name.
    pub run: RunId,
    /// Of what it was to be a part.
    pub document: DocumentId,
    /// Who sealed it, as it says.
    pub device: DeviceId,
    /// Who brought it.
    pub carrier: DeviceId,
    /// Why.
    pub code: RefusalCode,
}

/// What the log was told of late.
#[derive(Debug, Default)]
pub struct Refused {
    told: BTreeMap<(DeviceId, RefusalCode), Told>,
    beyond: Option<Told>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    /// How many were refused since, and the last of them.
    since: u64,
    last: RefusedRun,
}

impl Told {
    fn new(at: Instant, last: RefusedRun) -> Self {
        Self { at, since: 0, last }
    }

    fn count(&mut self, run: RefusedRun) {
        self.since += 1;
        self.last = run;
    }

    /// Says what is due; whether anything is to be kept.
    fn is_kept(&mut self, now: Instant, say: impl FnOnce(&RefusedRun, u64)) -> bool {
        if now.saturating_duration_since(self.at) < EVERY {
            return true;
        }
        if self.since == 0 {
            return false;
        }
        say(&self.last, self.since);
        (self.at, self.since) = (now, 0);
        true
    }
}

impl Refused {
    /// Takes note of runs that were refused; says what is due.
    pub fn note(&mut self, now: Instant, runs: impl IntoIterator<Item = RefusedRun>) {
        self.told.retain(|_, told| told.is_kept(now, line));
        self.beyond.take_if(|told| !told.is_kept(now, line_beyond));
        for run in runs {
            let room = self.told.len() < TOLD_MAX;
            if let Some(told) = self.told.get_mut(&(run.carrier, run.code)) {
                told.count(run);
            } else if room {
                line(&run, 1);
                self.told
                    .insert((run.carrier, run.code), Told::new(now, run));
            } else if let Some(told) = &mut self.beyond {
                told.count(run);
            } else {
                line_beyond(&run, 1);
                self.beyond = Some(Told::new(now, run));
            }
        }
    }

    /// Says what there is to say, at the end.
    pub fn rest(&mut self) {
        let told = std::mem::take(&mut self.told).into_values();
        told.filter(|told| told.since > 0)
            .for_each(|told| line(&told.last, told.since));
        if let Some(told) = self.beyond.take().filter(|told| told.since > 0) {
            line_beyond(&told.last, told.since);
        }
    }
}

/// The run that was refused last of so many.
fn line(run: &RefusedRun, runs: u64) {
    let RefusedRun {
        run,
        document,
        device,
        carrier,
        code,
    } = run;
    tracing::warn!(%run, %document, %device, %carrier, %code, runs, "run refused");
}

fn line_beyond(run: &RefusedRun, runs: u64) {
    let RefusedRun { run, carrier, .. } = run;
    tracing::warn!(%run, %carrier, runs, "runs of more devices refused than have lines of their own");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heard::Heard;

    fn run(carrier: u8, code: RefusalCode) -> RefusedRun {
        RefusedRun {
            run: RunId([1; 16]),
            document: DocumentId([2; 16]),
            device: DeviceId([3; 32]),
            carrier: DeviceId([carrier; 32]),
            code,
        }
    }

    fn many(runs: usize) -> impl Iterator<Item = RefusedRun> {
        std::iter::repeat_n(run(1, RefusalCode::Forbidden), runs)
    }

    #[test]
    fn a_line_a_minute_says_how_many_of_a_device_were_refused_for_one_reason() {
        let (heard, begun) = (Heard::default(), Instant::now());
        let mut refused = Refused::default();
        heard.during(|| refused.note(begun, many(1)));
        assert_eq!(heard.runs(), [1]);
        let soon = begun + EVERY - Duration::from_millis(1);
        heard.during(|| refused.note(soon, many(500)));
        assert_eq!(heard.runs(), [1]);
        heard.during(|| {
            refused.note(
                soon,
                [run(1, RefusalCode::Revoked), run(2, RefusalCode::Forbidden)],
            )
        });
        assert_eq!(heard.runs(), [1, 1, 1], "another reason, another device");
        heard.during(|| refused.note(begun + EVERY, many(3)));
        assert_eq!(heard.runs(), [1, 1, 1, 500]);
        heard.during(|| refused.rest());
        assert_eq!(heard.runs(), [1, 1, 1, 500, 3]);
        heard.during(|| refused.rest());
        assert_eq!(heard.runs().len(), 5, "it is said once");
    }

    #[test]
    fn whoever_was_not_refused_for_a_minute_gives_place_and_comes_at_once_again() {
        let (heard, begun) = (Heard::default(), Instant::now());
        let mut refused = Refused::default();
        refused.note(begun, many(1));
        heard.during(|| refused.note(begun + EVERY, []));
        assert!(refused.told.is_empty());
        heard.during(|| refused.note(begun + EVERY, many(1)));
        assert_eq!(heard.runs(), [1]);
    }

    #[test]
    fn devices_beyond_those_with_lines_of_their_own_share_one() {
        let (heard, begun) = (Heard::default(), Instant::now());
        let mut refused = Refused::default();
        let devices = |from: usize| {
            let carriers = from..from + 2 * TOLD_MAX;
            carriers.map(|carrier| {
                let mut run = run(0, RefusalCode::Forbidden);
                run.carrier.0[..8].copy_from_slice(&carrier.to_be_bytes());
                run
            })
        };
        heard.during(|| refused.note(begun, devices(0)));
        assert_eq!(heard.runs().len(), TOLD_MAX + 1);
        heard.during(|| refused.note(begun, devices(2 * TOLD_MAX)));
        assert_eq!(heard.runs().len(), TOLD_MAX + 1);
        heard.during(|| refused.note(begun + EVERY, []));
        let beyond = 3 * TOLD_MAX as u64 - 1;
        assert_eq!(heard.runs()[TOLD_MAX + 1..], [beyond]);
    }
}
