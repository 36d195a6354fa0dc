//! The journal's disk with a clock beside it, so that metrics tell how long syncs take.

use std::io;
use std::time::Instant;

use bukti_core::journal::Storage;
use bukti_core::journal::disk::DiskStorage;
use prometheus_client::metrics::histogram::Histogram;

/// [`DiskStorage`] that observes each sync.
#[derive(Debug)]
pub struct MeasuredDisk {
    disk: DiskStorage,
    sync_seconds: Histogram,
}

impl MeasuredDisk {
    /// Measures `disk`'s syncs into `sync_seconds`.
    pub fn new(disk: DiskStorage, sync_seconds: Histogram) -> Self {
        Self { disk, sync_seconds }
    }

    fn measured<T>(&self, act: impl FnOnce(&DiskStorage) -> T) -> T {
        let started = Instant::now();
        let result = act(&self.disk);
        self.sync_seconds.observe(started.elapsed().as_secs_f64());
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
