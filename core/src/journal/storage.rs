//! What the journal asks of a disk: one folder of named files.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;

/// Gives the journal one folder of named files.
///
/// Calls are synchronous. A write counts only after [`sync`](Self::sync) of the same file returned,
/// a new or changed name only after [`sync_folder`](Self::sync_folder). After a failed call the
/// journal never repeats it: what a failed sync left behind is unknown.
pub trait Storage: Send + Sync {
    /// Names of all files in the folder, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Length of a file in bytes.
    fn length(&self, name: &str) -> io::Result<u64>;

    /// Fills `buffer` from `offset`; fails with `UnexpectedEof` where the file ends before.
    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Makes a file of `length` zeros whose space is taken; fails where the name exists.
    fn create(&self, name: &str, length: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns once the file's content and length are on the disk.
    fn sync(&self, name: &str) -> io::Result<()>;

    /// Returns once created, renamed and removed names are on the disk.
    fn sync_folder(&self) -> io::Result<()>;

    /// Gives a file another name, replacing what has that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Bytes that may still be written before the disk is full.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Asks the system to read a file from the disk the next time, not from memory, and whatever has
    /// the name by then.
    fn drop_cached(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Storage + ?Sized> Storage for Arc<S> {
    fn list(&self) -> io::Result<Vec<String>> {
        (**self).list()
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        (**self).length(name)
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_at(name, offset, buffer)
    }

    fn create(&self, name: &str, length: u64) -> io::Result<()> {
        (**self).create(name, length)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).write_at(name, offset, bytes)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        (**self).sync(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        (**self).sync_folder()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (**self).rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        (**self).remove(name)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        (**self).free_bytes()
    }

    fn drop_cached(&self, name: &str) -> io::Result<()> {
        (**self).drop_cached(name)
    }
}

/// A call to the storage that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {act} {file}: {message}")]
pub struct StorageError {
    /// What was to be done.
    pub act: &'static str,
    /// The file, or `the folder`.
    pub file: String,
    /// The kind of failure.
    pub kind: io::ErrorKind,
    /// What the system said.
    pub message: String,
    /// Whether the system lacked descriptors or memory, which says nothing about the file.
    pub scarce: bool,
}

impl StorageError {
    pub(super) fn new(act: &'static str, file: &str, source: &io::Error) -> Self {
        Self {
            act,
            file: file.to_owned(),
            kind: source.kind(),
            message: source.to_string(),
            scarce: is_scarce(source),
        }
    }
}

/// Whether the system had no descriptor or memory left for a call, so that the same call may be
/// answered a moment later.
pub fn is_scarce(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    error.kind() == io::ErrorKind::OutOfMemory
        || errno.is_some_and(|errno| {
            [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS].contains(&errno)
        })
}

/// Names the act and the file in an `io::Error`.
pub(super) trait Doing<T> {
    fn doing(self, act: &'static str, file: &str) -> Result<T, StorageError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, act: &'static str, file: &str) -> Result<T, StorageError> {
        self.map_err(|source| StorageError::new(act, file, &source))
    }
}

/// The name of the folder in a [`StorageError`].
pub(super) const FOLDER: &str = "the folder";
