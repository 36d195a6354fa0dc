//! What Prometheus reads, on a listener of its own.

use std::time::Duration;

use bukti_core::journal::Space;
use bukti_core::journal::disk::DiskStorage;
use bukti_core::ledger::{Outcome, Verdict};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::disk::{MeasuredDisk, Syncs};
use crate::scrub::Seen;

/// Counters of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    connections: Gauge,
    opened: Counter,
    refused: Family<[(&'static str, &'static str); 1], Counter>,
    accepted: Counter,
    missing: Counter,
    rejected: Family<[(&'static str, String); 1], Counter>,
    commit_seconds: Histogram,
    batch_runs: Histogram,
    queue: Gauge,
    position: Gauge,
    cache_bytes: Gauge,
    scrub_position: Gauge,
    scrub_bytes: Gauge,
    scrub_passes: Gauge,
    scrub_completed: Gauge,
    scrub_damaged: Gauge,
    disk_free_bytes: Gauge,
    disk_reserve_bytes: Gauge,
    syncs: Syncs,
    bytes_in: Counter,
    bytes_out: Counter,
}

/// Values that are read when Prometheus asks.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    /// Connections at present.
    pub connections: usize,
    /// Runs that wait for the ledger.
    pub queue: usize,
    /// Last durable position.
    pub position: u64,
    /// Bytes of loaded documents.
    pub cache_bytes: usize,
    /// How far the scrub is.
    pub scrub: Seen,
    /// Room on the journal's disk, if it says.
    pub space: Option<Space>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("bukti");
        let metrics = Self {
            connections: Gauge::default(),
            opened: Counter::default(),
            refused: Family::default(),
            accepted: Counter::default(),
            missing: Counter::default(),
            rejected: Family::default(),
            // 0.1 ms to 3.3 s
            commit_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            batch_runs: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            queue: Gauge::default(),
            position: Gauge::default(),
            cache_bytes: Gauge::default(),
            scrub_position: Gauge::default(),
            scrub_bytes: Gauge::default(),
            scrub_passes: Gauge::default(),
            scrub_completed: Gauge::default(),
            scrub_damaged: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            disk_reserve_bytes: Gauge::default(),
            syncs: Syncs::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            registry: Registry::default(),
        };
        registry.register(
            "connections",
            "Connections at present",
            metrics.connections.clone(),
        );
        registry.register(
            "connections_opened",
            "Connections taken",
            metrics.opened.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections not taken, by reason",
            metrics.refused.clone(),
        );
        registry.register("runs_accepted", "Runs accepted", metrics.accepted.clone());
        registry.register(
            "runs_missing",
            "Runs answered missing, for want of what they depend on",
            metrics.missing.clone(),
        );
        registry.register(
            "runs_rejected",
            "Runs rejected, by code",
            metrics.rejected.clone(),
        );
        registry.register_with_unit(
            "commit",
            "From taking a batch to all of it judged, synced and derived",
            Unit::Seconds,
            metrics.commit_seconds.clone(),
        );
        registry.register_with_unit(
            "journal_sync",
            "One sync of a journal file or of its folder",
            Unit::Seconds,
            metrics.syncs.seconds().clone(),
        );
        registry.register(
            "batch_runs",
            "Runs taken at once",
            metrics.batch_runs.clone(),
        );
        registry.register("queue_runs", "Runs that wait", metrics.queue.clone());
        registry.register(
            "journal_position",
            "Last durable position",
            metrics.position.clone(),
        );
        registry.register_with_unit(
            "document_cache",
            "Loaded documents, estimated",
            Unit::Bytes,
            metrics.cache_bytes.clone(),
        );
        for (name, help, gauge) in [
            (
                "scrub_position",
                "Last record the pass of the scrub has read",
                &metrics.scrub_position,
            ),
            (
                "scrub_read_bytes",
                "Bytes the scrub has read since the start",
                &metrics.scrub_bytes,
            ),
            (
                "scrub_passes",
                "Whole passes of the scrub since the start",
                &metrics.scrub_passes,
            ),
            (
                "scrub_completed_timestamp_seconds",
                "When the last whole pass of the scrub ended; 0 before",
                &metrics.scrub_completed,
            ),
            (
                "scrub_damaged",
                "Places found damaged by the pass of the scrub",
                &metrics.scrub_damaged,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        registry.register_with_unit(
            "disk_free",
            "Free on the journal's disk",
            Unit::Bytes,
            metrics.disk_free_bytes.clone(),
        );
        registry.register_with_unit(
            "disk_reserve",
            "Free bytes below which writes are answered full",
            Unit::Bytes,
            metrics.disk_reserve_bytes.clone(),
        );
        registry.register_with_unit(
            "received",
            "Payload of frames from devices",
            Unit::Bytes,
            metrics.bytes_in.clone(),
        );
        registry.register_with_unit(
            "sent",
            "Payload of frames to devices",
            Unit::Bytes,
            metrics.bytes_out.clone(),
        );
        Self {
            registry,
            ..metrics
        }
    }
}

impl Metrics {
    /// The same disk, with its syncs observed.
    pub fn measure(&self, disk: DiskStorage) -> MeasuredDisk {
        MeasuredDisk::new(disk, self.syncs.clone())
    }

    /// How long syncs of the journal took in all.
    pub fn synced(&self) -> Duration {
        self.syncs.total()
    }

    /// A connection was taken.
    pub fn opened(&self) {
        self.opened.inc();
    }

    /// A connection was not taken.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }

    /// A frame came.
    pub fn received(&self, bytes: usize) {
        self.bytes_in.inc_by(bytes as u64);
    }

    /// A frame was handed to the socket.
    pub fn sent(&self, bytes: usize) {
        self.bytes_out.inc_by(bytes as u64);
    }

    /// A batch was judged and what was valid of it is on disk.
    pub fn accepted_batch(&self, took: Duration, outcomes: &[Outcome]) {
        self.commit_seconds.observe(took.as_secs_f64());
        self.batch_runs.observe(outcomes.len() as f64);
        for outcome in outcomes {
            match &outcome.verdict {
                Verdict::Accepted(_) => {
                    self.accepted.inc();
                }
                Verdict::Missing(_) => {
                    self.missing.inc();
                }
                Verdict::Rejected(refusal) => {
                    self.rejected
                        .get_or_create(&[("code", refusal.code.to_string())])
                        .inc();
                }
                Verdict::Stale { .. } => {
                    self.rejected
                        .get_or_create(&[("code", "stale".to_owned())])
                        .inc();
                }
                Verdict::Full => {
                    self.rejected
                        .get_or_create(&[("code", "full".to_owned())])
                        .inc();
                }
            }
        }
    }

    /// The text that Prometheus reads (OpenMetrics).
    pub fn text(&self, readings: &Readings) -> String {
        let gauge = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        gauge(&self.connections, readings.connections as u64);
        gauge(&self.queue, readings.queue as u64);
        gauge(&self.position, readings.position);
        gauge(&self.cache_bytes, readings.cache_bytes as u64);
        gauge(&self.scrub_position, readings.scrub.position);
        gauge(&self.scrub_bytes, readings.scrub.bytes);
        gauge(&self.scrub_passes, readings.scrub.passes);
        gauge(&self.scrub_damaged, readings.scrub.damaged);
        let completed = readings.scrub.completed_at.unwrap_or_default() / 1000;
        self.scrub_completed.set(completed);
        if let Some(space) = readings.space {
            gauge(&self.disk_free_bytes, space.free_bytes);
            gauge(&self.disk_reserve_bytes, space.reserve_bytes);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }
}
