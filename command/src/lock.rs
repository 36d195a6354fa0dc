//! One process at a time works in a data folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::folder;

const LOCK_FILE: &str = "lock";
/// A pid has at most seven digits on Linux; what is longer is not ours.
const PID_BYTES_MAX: u64 = 20;

/// Holds a data folder until it is dropped or its process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    dir: PathBuf,
    file: File,
}

impl FolderLock {
    /// Makes the folder `dir` if there is none, closed to other users, and takes hold of it.
    ///
    /// # Errors
    /// [`LockError::Busy`]: another process holds it. [`LockError::Open`]: other users can enter
    /// it, and it holds things that are not ours to close. [`LockError::Io`]: it cannot be used.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        Self::acquire_by(dir, &mut folder::settle)
    }

    /// The same with `settle` to see to it that the folder's name is on the disk.
    fn acquire_by(
        dir: &Path,
        settle: &mut dyn FnMut(&Path) -> io::Result<()>,
    ) -> Result<Self, LockError> {
        let failed = |source| LockError::Io {
            dir: dir.to_owned(),
            source,
        };
        make_private(dir)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join(LOCK_FILE))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let (dir, pid) = (dir.to_owned(), read_pid(&file));
                return Err(LockError::Busy { dir, pid });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Another process may have made it and ended before its name was on the disk.
        settle(dir).map_err(failed)?;
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self {
            dir: dir.to_owned(),
            file,
        })
    }

    /// The folder that is held.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for FolderLock {
    /// Forgets the pid first, so that nobody is told a former holder's. The file stays: removing it
    /// would let two processes lock two files of the same name.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

/// Why a data folder was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process works in it. The pid is missing for the moment in which it takes hold.
    #[error("{} is held by {}", dir.display(), process(*pid))]
    Busy {
        /// The folder.
        dir: PathBuf,
        /// The process that holds it.
        pid: Option<u32>,
    },
    /// Other users can enter the folder, and it was in use before Bukti came to it.
    #[error("{} is open to other users: expected a new folder, or one closed by 'chmod 700'", dir.display())]
    Open {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder cannot be made, entered or written.
    #[error("cannot use {} as data folder: {source}", dir.display())]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

pub(crate) fn process(pid: Option<u32>) -> String {
    pid.map_or("another process".to_owned(), |pid| format!("process {pid}"))
}

/// A folder that is new, empty or ours is closed to other users. One that others can enter and that
/// holds other things (`/tmp`, somebody's home) is left as it is.
fn make_private(dir: &Path) -> Result<(), LockError> {
    let failed = |source| LockError::Io {
        dir: dir.to_owned(),
        source,
    };
    if !dir.is_dir() {
        folder::make(dir).map_err(failed)?;
    }
    let mode = fs::metadata(dir).map_err(failed)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let is_ours = dir.join(LOCK_FILE).exists();
    if !is_ours && fs::read_dir(dir).map_err(failed)?.next().is_some() {
        let dir = dir.to_owned();
        return Err(LockError::Open { dir });
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed)
}

/// The process that holds `dir`, as far as can be told.
pub(crate) fn holder(dir: &Path) -> Option<u32> {
    read_pid(&File::open(dir.join(LOCK_FILE)).ok()?)
}

fn read_pid(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_second_holder_is_refused_with_the_pid_of_the_first() {
        let temp = TempDir::new().unwrap();
        let dir = temp.path().join("a/data");
        let held = FolderLock::acquire(&dir).unwrap();
        assert_eq!(held.dir(), dir);
        let error = FolderLock::acquire(&dir).unwrap_err();
        let LockError::Busy { pid, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*pid, Some(std::process::id()));
        assert!(
            error
                .to_string()
                .ends_with(&format!("held by process {}", std::process::id()))
        );
        drop(held);
        FolderLock::acquire(&dir).unwrap();
    }

    #[test]
    fn a_folder_whose_name_may_not_be_on_the_disk_is_not_used() {
        let temp = TempDir::new().unwrap();
        let dir = temp.path().join("data");
        for _ in 0..2 {
            let mut settled = Vec::new();
            let refused = FolderLock::acquire_by(&dir, &mut |folder| {
                settled.push(folder.to_owned());
                Err(io::Error::other("the disk fails"))
            });
            assert!(matches!(refused, Err(LockError::Io { .. })), "{refused:?}");
            assert_eq!(settled, [dir.as_path()]);
        }
        FolderLock::acquire(&dir).unwrap();
    }

    #[test]
    fn the_folder_and_its_lock_are_closed_to_other_users() {
        let temp = TempDir::new().unwrap();
        let dir = temp.path().join("data");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        drop(FolderLock::acquire(&dir).unwrap());
        assert_eq!((mode(&dir), mode(&dir.join("lock"))), (0o700, 0o600));
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o750)).unwrap();
        drop(FolderLock::acquire(&dir).unwrap());
        assert_eq!(mode(&dir), 0o700);
    }

    #[test]
    fn a_folder_that_others_use_is_left_as_it_is() {
        let temp = TempDir::new().unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(temp.path().join("letter.txt"), "private").unwrap();
        let error = FolderLock::acquire(temp.path()).unwrap_err();
        assert!(matches!(error, LockError::Open { .. }), "{error:?}");
        assert_eq!(mode(temp.path()), 0o755);
        assert!(!temp.path().join("lock").exists());
    }

    #[test]
    fn the_pid_of_a_former_holder_is_not_told() {
        let temp = TempDir::new().unwrap();
        let dir = temp.path().join("data");
        drop(FolderLock::acquire(&dir).unwrap());
        assert_eq!(fs::read_to_string(dir.join("lock")).unwrap(), "");
    }
}
