//! The journal's disk with a clock beside it, so that metrics tell how long syncs take.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bukti_core::journal::Storage;
use bukti_core::journal::disk::DiskStorage;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// How long syncs take; clones share what they count.
#[derive(Debug, Clone)]
pub struct Syncs {
    seconds: Histogram,
    total_ns: Arc<AtomicU64>,
}

impl Default for Syncs {
    /// Buckets from 25 µs to 0.8 s.
    fn default() -> Self {
        Self {
            seconds: Histogram::new(exponential_buckets(0.000_025, 2.0, 16)),
            total_ns: Arc::default(),
        }
    }
}

impl Syncs {
    /// For metrics.
    pub fn seconds(&self) -> &Histogram {
        &self.seconds
    }

    /// All of them together.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.total_ns.load(Ordering::Relaxed))
    }

    fn observe(&self, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.total_ns.fetch_add(took_ns, Ordering::Relaxed);
    }
}

/// [`DiskStorage`] that observes each sync.
#[derive(Debug)]
pub struct MeasuredDisk {
    disk: DiskStorage,
    syncs: Syncs,
}

impl MeasuredDisk {
    /// Measures `disk`'s syncs into `syncs`.
    pub fn new(disk: DiskStorage, syncs: Syncs) -> Self {
        Self { disk, syncs }
    }

    fn measured<T>(&self, act: impl FnOnce(&DiskStorage) -> T) -> T {
        let started = Instant::now();
        let result = act(&self.disk);
        self.syncs.observe(started.elapsed());
        result
    }
}

impl Storage for MeasuredDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.disk.length(name)
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(name, offset, buffer)
    }

    fn create(&self, name: &str, length: u64) -> io::Result<()> {
        self.disk.create(name, length)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(name, offset, bytes)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.measured(|disk| disk.sync(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.measured(DiskStorage::sync_folder)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn drop_cached(&self, name: &str) -> io::Result<()> {
        self.disk.drop_cached(name)
    }
}
