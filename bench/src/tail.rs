//! What the slowest of many waits have in common: whether they lie together, and what the server's own
//! clocks say of the same time.

use std::net::SocketAddr;

use bukti_tests::http;

/// Rows of seconds that are named one by one.
const SPELLS_NAMED: usize = 12;

/// One wait, and when it ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    /// Seconds after the start at which it ended.
    pub(crate) at_s: f64,
    /// How long it was.
    pub(crate) ms: f64,
}

/// How many waits were longer than `ms`, and in which seconds they ended: the first and the last of
/// each row of them.
pub(crate) fn spells(waits: &[Wait], ms: f64) -> (usize, Vec<(u64, u64)>) {
    let slow = waits.iter().filter(|wait| wait.ms > ms);
    let mut seconds: Vec<u64> = slow.map(|wait| wait.at_s as u64).collect();
    let count = seconds.len();
    seconds.sort_unstable();
    seconds.dedup();
    let rows = seconds.chunk_by(|one, next| one + 1 == *next);
    (
        count,
        rows.map(|row| (row[0], row[row.len() - 1])).collect(),
    )
}

/// Rows of seconds that a person reads: the first of them, and how many more there are.
pub(crate) fn in_words(spells: &[(u64, u64)]) -> String {
    if spells.is_empty() {
        return "no second".to_owned();
    }
    let named: Vec<_> = spells
        .iter()
        .take(SPELLS_NAMED)
        .map(|(first, last)| match first == last {
            true => format!("second {first}"),
            false => format!("seconds {first} to {last}"),
        })
        .collect();
    let rest = match spells.len().saturating_sub(SPELLS_NAMED) {
        0 => String::new(),
        more => format!(", and {more} times more"),
    };
    format!("{}{rest}", named.join(", "))
}

/// Histograms of a server that Prometheus would read.
#[derive(Debug)]
pub(crate) struct Clocks(String);

/// Values of one histogram.
#[derive(Debug)]
pub(crate) struct Times {
    /// How many there are.
    pub(crate) count: u64,
    /// The bound of the bucket next below what was asked, in seconds.
    pub(crate) bound_s: f64,
    /// How many were longer than that.
    pub(crate) longer: u64,
    /// What none was longer than, in seconds: the bound of a bucket.
    pub(crate) longest_s: f64,
}

impl Clocks {
    /// Reads them where a server shows its metrics.
    pub(crate) fn read(metrics: SocketAddr) -> Self {
        Self(http::get(metrics, "/metrics").1)
    }

    /// The values of a histogram since `before`, and how many of them took about so many seconds or
    /// more.
    pub(crate) fn since(&self, before: &Self, name: &str, long_s: f64) -> Times {
        let (first, last) = (before.buckets(name), self.buckets(name));
        let came: Vec<(f64, u64)> = last
            .into_iter()
            .zip(first)
            .map(|((bound, now), (_, then))| (bound, now - then))
            .collect();
        let count = came.last().map_or(0, |(_, count)| *count);
        let below = came.iter().rfind(|(bound, _)| *bound <= long_s);
        let (bound_s, within) = below.copied().unwrap_or_default();
        let all = came.iter().find(|(_, up_to)| *up_to == count);
        Times {
            count,
            bound_s,
            longer: count - within,
            longest_s: all.map_or(0.0, |(bound, _)| *bound),
        }
    }

    /// Upper bounds, and how many values are at most so long; the last bound is infinite.
    fn buckets(&self, name: &str) -> Vec<(f64, u64)> {
        let start = format!("bukti_{name}_seconds_bucket{{le=\"");
        let lines = self.0.lines().filter_map(|line| line.strip_prefix(&start));
        lines
            .filter_map(|line| {
                let (bound, count) = line.split_once("\"} ")?;
                Some((bound.parse().ok()?, count.trim().parse().ok()?))
            })
            .collect()
    }
}
