//! The journal's folder on a real disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::OFlags;

use super::storage::Storage;

/// Files that are kept open for reading: a feed works in one or two segments, a few feeds at once.
const READERS_MAX: usize = 16;

/// Files that are kept open for writing: the open segment, and the one that is being made.
const WRITERS_MAX: usize = 2;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// A folder that only its owner may enter.
///
/// The file that is written to stays open between write and sync, so that the error of a write
/// that the system made in the background reaches the sync that follows it.
#[derive(Debug)]
pub struct DiskStorage {
    folder: PathBuf,
    readers: Mutex<Handles>,
    writers: Mutex<Handles>,
}

impl DiskStorage {
    /// Opens `folder`, making it with mode 0700 where it is missing; the folder above must exist.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => sync_folder(above(&folder))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            folder,
            readers: Mutex::new(Handles::new(READERS_MAX)),
            writers: Mutex::new(Handles::new(WRITERS_MAX)),
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn reader(&self, name: &str) -> io::Result<Arc<File>> {
        locked(&self.readers, |readers| {
            readers.take(name, || {
                open_regular(OpenOptions::new().read(true), &self.path(name))
            })
        })
    }

    fn writer(&self, name: &str) -> io::Result<Arc<File>> {
        locked(&self.writers, |writers| {
            writers.take(name, || {
                open_regular(OpenOptions::new().write(true), &self.path(name))
            })
        })
    }
}

impl Storage for DiskStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(self.reader(name)?.metadata()?.len())
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.reader(name)?.read_exact_at(buffer, offset)
    }

    fn create(&self, name: &str, length: u64) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path(name))?;
        // Zeros are written, not implied: the space is taken, and a later sync of a group has no
        // extents to allocate.
        let mut left = length;
        while left > 0 {
            let part = left.min(ZEROS.len() as u64);
            file.write_all(&ZEROS[..usize::try_from(part).expect("at most the length of ZEROS")])?;
            left -= part;
        }
        locked(&self.writers, |writers| writers.put(name, file));
        Ok(())
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.writer(name)?.write_all_at(bytes, offset)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let file = self.writer(name)?;
        file.sync_data()?;
        // What is on the disk under no name, or under another, is lost to whoever opens the folder.
        let (held, named) = (file.metadata()?, fs::metadata(self.path(name))?);
        match (held.dev(), held.ino()) == (named.dev(), named.ino()) {
            true => Ok(()),
            false => Err(io::Error::other("another file was put in its place")),
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        sync_folder(&self.folder)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))?;
        locked(&self.readers, |readers| readers.rename(from, to));
        locked(&self.writers, |writers| writers.rename(from, to));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        locked(&self.readers, |readers| readers.forget(name));
        locked(&self.writers, |writers| writers.forget(name));
        fs::remove_file(self.path(name))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.folder)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn drop_cached(&self, name: &str) -> io::Result<()> {
        locked(&self.readers, |readers| readers.forget(name));
        let file = self.reader(name)?;
        Ok(rustix::fs::fadvise(
            &*file,
            0,
            None,
            rustix::fs::Advice::DontNeed,
        )?)
    }
}

/// Open files by name, the one used last in front.
#[derive(Debug)]
struct Handles {
    most: usize,
    open: Vec<(String, Arc<File>)>,
}

impl Handles {
    fn new(most: usize) -> Self {
        Self {
            most,
            open: Vec::with_capacity(most + 1),
        }
    }

    fn take(
        &mut self,
        name: &str,
        open: impl FnOnce() -> io::Result<File>,
    ) -> io::Result<Arc<File>> {
        if let Some(at) = self.open.iter().position(|(known, _)| known == name) {
            self.open[..=at].rotate_right(1);
            return Ok(Arc::clone(&self.open[0].1));
        }
        Ok(self.put(name, open()?))
    }

    fn put(&mut self, name: &str, file: File) -> Arc<File> {
        self.forget(name);
        let file = Arc::new(file);
        self.open.insert(0, (name.to_owned(), Arc::clone(&file)));
        self.open.truncate(self.most);
        file
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.forget(to);
        for (name, _) in &mut self.open {
            if name == from {
                to.clone_into(name);
            }
        }
    }

    fn forget(&mut self, name: &str) {
        self.open.retain(|(known, _)| known != name);
    }
}

fn locked<T>(handles: &Mutex<Handles>, act: impl FnOnce(&mut Handles) -> T) -> T {
    // A panic while the lock was held leaves at most one handle fewer.
    act(&mut handles.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Opens a file of a journal, and nothing that somebody else put in its place: a pipe would be waited
/// for without end, by a thread that nobody can stop.
fn open_regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let at_once = OFlags::NONBLOCK.bits().cast_signed();
    let file = options.custom_flags(at_once).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    Ok(file)
}

fn above(folder: &Path) -> &Path {
    match folder.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        Some(_) | None => Path::new("."),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
