//! A folder of which a restore makes a server: all of it or nothing.
//!
//! ```text
//! DATA/restoring/     there while a restore runs, and after one that was interrupted
//!   unfinished-restore  server.key  store/  journal/
//! ```
//!
//! Everything is made in there, where nobody serves it, down to the record that voids invitations.
//! Then key, store and journal take their places, the journal last: the one rename by which the
//! folder becomes a server. As long as there is `restoring` and no journal beside it, nothing opens
//! the folder but another restore, which begins anew.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::{Folder, FolderError, INVITATION, KEY, PUBLIC_URL, STORE};

const RESTORING: &str = "restoring";

/// Says that a restore made the folder it is in, which may be removed with all that is in it.
const MARK: &str = "unfinished-restore";

impl Folder {
    /// Whether a restore was interrupted before it made a server of the folder. Where one had
    /// listened, its journal was lost since, and what else is there may be the last of it.
    pub fn is_half_restored(&self) -> bool {
        let had_listened = [PUBLIC_URL, INVITATION]
            .iter()
            .any(|name| exists(&self.root.join(name)));
        !self.holds_a_server() && !had_listened && is_of_a_restore(&self.root.join(RESTORING))
    }

    /// Begins to make a server of a folder that is not taken; gives the folder that it is made in.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn begin_restore(&self) -> Result<Self, FolderError> {
        self.forget_restore()?;
        let making = Self::new(self.root.join(RESTORING));
        let made = fs::DirBuilder::new().mode(0o700).create(making.root());
        made.map_err(|source| self.io("make", making.root(), source))?;
        let mark = making.root.join(MARK);
        let marked = fs::File::create_new(&mark).and_then(|mark| mark.sync_all());
        marked.map_err(|source| self.io("make", &mark, source))?;
        self.sync(&making.root)?;
        self.sync(&self.root)?;
        Ok(making)
    }

    /// Removes what an interrupted restore left; what was there before it stays.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn forget_restore(&self) -> Result<(), FolderError> {
        let making = self.root.join(RESTORING);
        if self.holds_a_server() || !exists(&making) {
            return Ok(());
        }
        if !is_of_a_restore(&making) {
            return Err(FolderError::NotOfARestore(making));
        }
        if self.is_half_restored() {
            // It began in a folder without a store.
            self.remove_store()?;
            self.sync(&self.root)?;
        }
        remove(&making).map_err(|source| self.io("remove", &making, source))?;
        self.sync(&self.root)
    }

    /// Makes the folder the server that was made in `making`, of which nothing is open any more.
    /// Says each step once it is done.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn end_restore(
        &self,
        making: &Self,
        reached: &mut dyn FnMut(&'static str),
    ) -> Result<(), FolderError> {
        let take = |name: &str| {
            let place = self.root.join(name);
            fs::rename(making.root.join(name), &place)
                .map_err(|source| self.io("place", &place, source))
        };
        self.sync(&making.root)?;
        if !self.key().exists() {
            take(KEY)?;
            reached("key placed");
        }
        take(STORE)?;
        self.sync(&self.root)?;
        reached("store placed");
        take(super::JOURNAL)?;
        self.sync(&self.root)?;
        reached("journal placed");
        let removed = remove(&making.root);
        removed.map_err(|source| self.io("remove", &making.root, source))?;
        self.sync(&self.root)
    }

    /// Removes what a restore leaves that was interrupted behind its last rename: a key at most.
    pub(super) fn sweep_restore(&self) -> Result<(), FolderError> {
        let making = self.root.join(RESTORING);
        if !is_of_a_restore(&making) {
            return Ok(());
        }
        match remove(&making) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.io("remove", &making, error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn sync(&self, folder: &Path) -> Result<(), FolderError> {
        fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| self.io("sync", folder, source))
    }
}

/// Whether a folder is a restore's: nothing else may be removed. An empty one may be from the moment
/// before its mark.
fn is_of_a_restore(making: &Path) -> bool {
    let is_empty = || fs::read_dir(making).is_ok_and(|mut entries| entries.next().is_none());
    exists(&making.join(MARK)) || is_empty()
}

fn exists(path: &Path) -> bool {
    let found = path.symlink_metadata();
    !found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Removes what a restore makes, its mark last: until then nothing but another restore opens the folder.
fn remove(making: &Path) -> io::Result<()> {
    for entry in fs::read_dir(making)? {
        let entry = entry?;
        if entry.file_name() == MARK {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    fs::File::open(making)?.sync_all()?;
    fs::remove_dir_all(making)
}
