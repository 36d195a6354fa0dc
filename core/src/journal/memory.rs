//! A disk in memory that can lose what was not synced, fail on purpose and run full.
//!
//! For simulations and tests: it is as unkind as a disk may be. A crash keeps any part of what
//! was not synced, torn at sectors of 512 bytes, and any subset of unsynced names; a sync that
//! failed has dropped its writes from the cache, so a second one that succeeds proves nothing.

use std::collections::BTreeMap;
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

    /// Lets one kind of sync do nothing and report success.
    pub fn without_sync(&self, skipped: Skipped) {
        self.disk().skipped = Some(skipped);
    }

    /// Sets the free space; new files take theirs from it. Without this call it has no end.
    pub fn set_free_bytes(&self, free: u64) {
        self.disk().free = Some(free);
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.disk().calls
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
            pending: Vec::new(),
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
        let space = disk.free.is_none_or(|free| free >= length);
        let zeros = if failed.is_err() || !space { 0 } else { length };
        disk.free = disk.free.map(|free| free - zeros);
        let file = disk.files.len();
        let mut contents = Contents::default();
        contents.write(0, vec![0; usize::try_from(zeros).unwrap_or(usize::MAX)]);
        disk.files.push(contents);
        disk.rename_later(Rename::Appear(name.to_owned(), file));
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
        disk.file(name)?.write(start, bytes[..written].to_vec());
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
        disk.call()?;
        let file = *disk.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        disk.rename_later(Rename::Move(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call()?;
        let length = disk.file(name)?.seen.len() as u64;
        disk.free = disk.free.map(|free| free.saturating_add(length));
        disk.rename_later(Rename::Vanish(name.to_owned()));
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let mut disk = self.disk();
        disk.call()?;
        Ok(disk.free.unwrap_or(u64::MAX))
    }
}

#[derive(Debug, Default)]
struct Disk {
    /// All files that ever were; names point into it.
    files: Vec<Contents>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    pending_names: Vec<Rename>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    skipped: Option<Skipped>,
    free: Option<u64>,
}

impl Disk {
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.fault {
            Some((at, fault)) if at == self.calls => Err(fault.error()),
            Some(_) | None => Ok(()),
        }
    }

    fn file(&mut self, name: &str) -> io::Result<&mut Contents> {
        let file = *self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.files[file])
    }

    fn rename_later(&mut self, change: Rename) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Io => io::Error::other("the device reports an error on purpose"),
            Self::Full => io::ErrorKind::StorageFull.into(),
        }
    }
}

/// A change of names.
#[derive(Debug)]
enum Rename {
    Appear(String, usize),
    Move(String, String, usize),
    Vanish(String),
}

impl Rename {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Appear(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Move(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
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
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    offset: usize,
    bytes: Vec<u8>,
    /// A failed sync dropped it from the cache: no later sync brings it to the disk.
    lost: bool,
}

impl Contents {
    fn write(&mut self, offset: usize, bytes: Vec<u8>) {
        overwrite(&mut self.seen, offset, &bytes);
        self.pending.push(Pending {
            offset,
            bytes,
            lost: false,
        });
    }

    fn sync(&mut self) {
        for write in &self.pending {
            if !write.lost {
                overwrite(&mut self.synced, write.offset, &write.bytes);
            }
        }
        self.pending.retain(|write| write.lost);
    }

    fn lose(&mut self) {
        for write in &mut self.pending {
            write.lost = true;
        }
    }

    fn crash(&mut self, choice: &mut dyn FnMut(usize) -> usize) {
        for write in std::mem::take(&mut self.pending) {
            match choice(3) {
                0 => {}
                1 => overwrite(&mut self.synced, write.offset, &write.bytes),
                _ => write.tear(&mut self.synced, choice),
            }
        }
        self.seen.clone_from(&self.synced);
    }
}

impl Pending {
    /// Keeps some of the sectors that the write touches.
    fn tear(&self, image: &mut Vec<u8>, choice: &mut dyn FnMut(usize) -> usize) {
        let mut start = 0;
        while start < self.bytes.len() {
            let in_sector = (self.offset + start) % SECTOR_BYTES;
            let end = self.bytes.len().min(start + SECTOR_BYTES - in_sector);
            if choice(2) == 1 {
                overwrite(image, self.offset + start, &self.bytes[start..end]);
            }
            start = end;
        }
    }
}

fn overwrite(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}
