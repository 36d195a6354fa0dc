//! A disk in memory that can lose what was not synced, fail on purpose and run full.
//!
//! For simulations and tests: it is as unkind as a disk may be.
//!
//! - A crash leaves each sector of 512 bytes as it was at any moment since it was last synced,
//!   whatever became of the sectors beside it, and a file as long as it was at any moment.
//! - Of names that were made, changed or removed since the folder was synced it keeps any subset;
//!   of a rename perhaps one half.
//! - A sync that failed has dropped its sectors from what is still to be written, while readers go
//!   on seeing them: a second sync that succeeds proves nothing.
//! - A rename or removal that failed may have been done all the same, which shows after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::storage::Storage;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// How a call fails on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The device reports an error.
    Io,
    /// The device is full.
    Full,
    /// The process has no descriptor left for the call.
    Scarce,
}

/// A syncing call that does nothing, to prove that tests notice when it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// Content is never synced.
    Files,
    /// Names are never synced.
    Folder,
}

/// One folder on a disk in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    disk: Arc<Mutex<Disk>>,
}

impl MemoryStorage {
    /// An empty folder on a disk without end.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses power: of what was not synced, `choice` decides what stays.
    ///
    /// `choice(n)` gives a number below `n`. Afterwards the disk holds what a machine would find
    /// when it comes up again, and nothing is unsynced; planned faults are void.
    pub fn crash(&self, choice: &mut dyn FnMut(usize) -> usize) {
        let mut disk = self.disk();
        let Disk {
            files,
            synced_names,
            pending_names,
            ..
        } = &mut *disk;
        for file in files.iter_mut() {
            file.crash(choice);
        }
        let mut names = std::mem::take(synced_names);
        for change in std::mem::take(pending_names) {
            if choice(2) == 1 {
                change.apply(&mut names);
            }
        }
        disk.synced_names.clone_from(&names);
        disk.names = names;
        disk.fault = None;
    }

    /// Lets call number `call`, counted from 1 and from here, fail once. What it was to do is done
    /// in part or not at all.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        let mut disk = self.disk();
        let at = disk.calls + call;
        disk.fault = Some((at, fault));
    }

    /// Voids a failure that is planned and has not happened.
    pub fn fail_no_more(&self) {
        self.disk().fault = None;
    }

    /// Whether a failure is planned and has not happened.
    pub fn is_to_fail(&self) -> bool {
        self.disk().fault.is_some()
    }

    /// Lets one kind of sync do nothing and report success.
    pub fn without_sync(&self, skipped: Skipped) {
        self.disk().skipped = Some(skipped);
    }

    /// Sets the free space; new files take theirs from it, and give it back when their last name is
    /// gone. Without this call it has no end.
    pub fn set_free_bytes(&self, free: u64) {
        let mut disk = self.disk();
        disk.capacity = Some(free.saturating_add(disk.used()));
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.disk().calls
    }

    /// The files that are to be read from the disk the next time, in the order of the calls.
    pub fn cache_drops(&self) -> Vec<String> {
        self.disk().cache_drops.clone()
    }

    /// The content of a file as a reader sees it.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        let file = *disk.names.get(name)?;
        Some(disk.files[file].seen.clone())
    }

    /// Sets a file's content behind the owner's back, synced; makes the file where it is missing.
    pub fn set_content(&self, name: &str, content: &[u8]) {
        let mut disk = self.disk();
        let file = disk.files.len();
        disk.files.push(Contents {
            synced: content.to_vec(),
            seen: content.to_vec(),
            ..Contents::default()
        });
        disk.names.insert(name.to_owned(), file);
        disk.synced_names.insert(name.to_owned(), file);
    }

    /// Another disk with what a reader sees on this one, all of it synced.
    pub fn duplicate(&self) -> Self {
        let disk = self.disk();
        let other = Self::new();
        for (name, &file) in &disk.names {
            other.set_content(name, &disk.files[file].seen);
        }
        other
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for MemoryStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut disk = self.disk();
        disk.call()?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        let mut disk = self.disk();
        disk.call()?;
        Ok(disk.file(name)?.seen.len() as u64)
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call()?;
        let seen = &disk.file(name)?.seen;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = seen.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn create(&self, name: &str, length: u64) -> io::Result<()> {
        let mut disk = self.disk();
        let failed = disk.call();
        if disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let space = disk.free() >= length;
        let zeros = if failed.is_err() || !space { 0 } else { length };
        let file = disk.files.len();
        disk.files.push(Contents {
            seen: vec![0; usize::try_from(zeros).unwrap_or(usize::MAX)],
            ..Contents::default()
        });
        disk.change_names([NameChange::Appear(name.to_owned(), file)], true);
        failed?;
        if space {
            Ok(())
        } else {
            Err(Fault::Full.error())
        }
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let failed = disk.call();
        let written = if failed.is_err() {
            bytes.len() / 2
        } else {
            bytes.len()
        };
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        disk.file(name)?.write(start, &bytes[..written]);
        failed
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        let failed = disk.call();
        let skip = disk.skipped == Some(Skipped::Files);
        let file = disk.file(name)?;
        match (&failed, skip) {
            (Err(_), _) => file.lose(),
            (Ok(()), true) => {}
            (Ok(()), false) => file.sync(),
        }
        failed
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call()?;
        if disk.skipped != Some(Skipped::Folder) {
            disk.pending_names.clear();
            disk.synced_names = disk.names.clone();
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        let done = disk.call();
        let file = *disk.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let changes = [
            NameChange::Appear(to.to_owned(), file),
            NameChange::Vanish(from.to_owned()),
        ];
        disk.change_names(changes, done.is_ok());
        done
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        let done = disk.call();
        disk.file(name)?;
        disk.change_names([NameChange::Vanish(name.to_owned())], done.is_ok());
        done
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let mut disk = self.disk();
        disk.call()?;
        Ok(disk.free())
    }

    fn drop_cached(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call()?;
        disk.cache_drops.push(name.to_owned());
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Disk {
    /// All files that ever were; names point into it.
    files: Vec<Contents>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// Changes since the folder was synced, in order.
    pending_names: Vec<NameChange>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    skipped: Option<Skipped>,
    /// Bytes of all files that fit.
    capacity: Option<u64>,
    cache_drops: Vec<String>,
}

impl Disk {
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.fault {
            Some((at, fault)) if at == self.calls => {
                self.fault = None;
                Err(fault.error())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        let files: BTreeSet<usize> = self.names.values().copied().collect();
        files
            .iter()
            .map(|file| self.files[*file].seen.len() as u64)
            .sum()
    }

    fn free(&self) -> u64 {
        self.capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    fn file(&mut self, name: &str) -> io::Result<&mut Contents> {
        let file = *self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.files[file])
    }

    /// Changes names until the next crash at least; for good once the folder is synced. What was
    /// not seen to be done may only come to light in a crash.
    fn change_names<const N: usize>(&mut self, changes: [NameChange; N], seen: bool) {
        for change in changes {
            if seen {
                change.apply(&mut self.names);
            }
            self.pending_names.push(change);
        }
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Io => io::Error::other("the device reports an error on purpose"),
            Self::Full => io::ErrorKind::StorageFull.into(),
            Self::Scarce => rustix::io::Errno::MFILE.into(),
        }
    }
}

/// Half of a rename, or all of a creation or removal.
#[derive(Debug)]
enum NameChange {
    Appear(String, usize),
    Vanish(String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Appear(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Vanish(name) => {
                names.remove(name);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Contents {
    /// What is on the disk for certain.
    synced: Vec<u8>,
    /// What a reader sees.
    seen: Vec<u8>,
    /// Sectors that may be on the disk otherwise than in `synced`, by number.
    unsynced: BTreeMap<usize, Sector>,
}

#[derive(Debug, Default)]
struct Sector {
    /// What it held after each write, the oldest first.
    versions: Vec<Vec<u8>>,
    /// A failed sync dropped it from what is still to be written. A later write takes it up again.
    dropped: bool,
}

impl Contents {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        overwrite(&mut self.seen, offset, bytes);
        if bytes.is_empty() {
            return;
        }
        let last = (offset + bytes.len() - 1) / SECTOR_BYTES;
        for number in offset / SECTOR_BYTES..=last {
            let start = number * SECTOR_BYTES;
            let end = self.seen.len().min(start + SECTOR_BYTES);
            let sector = self.unsynced.entry(number).or_default();
            sector.versions.push(self.seen[start..end].to_vec());
            sector.dropped = false;
        }
    }

    fn sync(&mut self) {
        self.synced.resize(self.seen.len(), 0);
        let Self {
            synced, unsynced, ..
        } = self;
        unsynced.retain(|number, sector| {
            if let Some(newest) = sector.versions.last().filter(|_| !sector.dropped) {
                overwrite(synced, number * SECTOR_BYTES, newest);
            }
            sector.dropped
        });
    }

    fn lose(&mut self) {
        for sector in self.unsynced.values_mut() {
            sector.dropped = true;
        }
    }

    /// Everything, nothing, or each sector by itself: a choice for each alone would hardly ever
    /// come to all or none of a long write.
    fn crash(&mut self, choice: &mut dyn FnMut(usize) -> usize) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let grown = self.seen.len() != self.synced.len();
        if grown || !unsynced.is_empty() {
            let how = choice(3);
            let (short, long) = (self.synced.len(), self.seen.len());
            let length = match how {
                0 => short,
                1 => long,
                _ if !grown => long,
                _ => long.min(short + choice((long - short) / SECTOR_BYTES + 2) * SECTOR_BYTES),
            };
            self.synced.resize(length, 0);
            for (number, sector) in unsynced {
                let written = sector.versions.len();
                let reached = match how {
                    0 => 0,
                    1 => written,
                    _ => choice(written + 1),
                };
                if let Some(version) = reached.checked_sub(1) {
                    let start = number * SECTOR_BYTES;
                    let room = length.saturating_sub(start);
                    let version = &sector.versions[version];
                    let kept = &version[..version.len().min(room)];
                    self.synced[start.min(length)..][..kept.len()].copy_from_slice(kept);
                }
            }
        }
        self.seen.clone_from(&self.synced);
    }
}

fn overwrite(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}
