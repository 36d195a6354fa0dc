//! Folders whose names are on the disk before anything in them counts.
//!
//! What was synced in a folder is lost all the same once a power cut takes the folder's own name. That
//! stands in the folder above, which has to be synced: by whoever makes the folder, and again by whoever
//! finds it there, since the process that made it may have ended before.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a folder, with those above it that are missing, each for its owner only. Its name and those
/// above it that were made are on the disk when this returns.
///
/// # Errors
/// What the system says. See [`settle`].
pub fn make(folder: &Path) -> io::Result<()> {
    make_by(folder, &mut sync)
}

/// Makes sure that the name of a folder which is there is on the disk.
///
/// # Errors
/// What the system says where it could not write the name. Where it does not let this process ask for
/// that, the folder is used as it is.
pub fn settle(folder: &Path) -> io::Result<()> {
    settle_by(folder, &mut sync)
}

type Sync<'a> = &'a mut dyn FnMut(&Path) -> io::Result<()>;

fn make_by(folder: &Path, sync: Sync<'_>) -> io::Result<()> {
    if !folder.is_dir() {
        // From above down, so that a process which ends in between leaves one name at most that is
        // owed: the last, and that is settled by whoever finds it.
        if let Some(above) = above(folder) {
            make_by(above, sync)?;
        }
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            made => made?,
        }
    }
    settle_by(folder, sync)
}

fn settle_by(folder: &Path, sync: Sync<'_>) -> io::Result<()> {
    match above(folder).map_or(Ok(()), sync) {
        Err(error) if cannot_be_asked(error.kind()) => Ok(()),
        synced => synced,
    }
}

/// Whether a folder was not synced because that cannot be: this process may not read it, as a system's
/// service may not read what its own folder was made in for it; its file system does not sync folders; or
/// nothing is written to it. Whoever was served there before is served still.
fn cannot_be_asked(kind: io::ErrorKind) -> bool {
    [
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::InvalidInput,
        io::ErrorKind::Unsupported,
        io::ErrorKind::ReadOnlyFilesystem,
    ]
    .contains(&kind)
}

fn above(folder: &Path) -> Option<&Path> {
    let above = folder.parent()?;
    match above.as_os_str().is_empty() {
        true => Some(Path::new(".")),
        false => Some(above),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    fn names_in(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_folder_is_made_with_those_above_it_and_each_name_is_synced_before_the_next_is_made() {
        let temp = TempDir::new().unwrap();
        let top = temp.path();
        let [a, b, c] = ["a", "a/b", "a/b/c"].map(|name| top.join(name));
        let mut synced = Vec::new();
        make_by(&c, &mut |folder| {
            let made = [&a, &b, &c].iter().filter(|made| made.is_dir()).count();
            synced.push((folder.to_owned(), made));
            Ok(())
        })
        .unwrap();
        let names = [(top.parent().unwrap(), 0), (top, 1), (&a, 2), (&b, 3)];
        assert_eq!(synced, names.map(|(name, made)| (name.to_owned(), made)));
        synced.clear();
        for act in [make_by, settle_by] {
            let mut sync = |folder: &Path| {
                synced.push((folder.to_owned(), 3));
                Ok(())
            };
            act(&c, &mut sync).unwrap();
        }
        assert_eq!(synced, [(b.clone(), 3), (b, 3)]);
        make(&top.join("d/e")).unwrap();
        settle(&top.join("d/e")).unwrap();
        settle(Path::new("/")).unwrap();
        assert!(top.join("d/e").is_dir());
    }

    #[test]
    fn whoever_makes_a_folder_after_a_sync_that_failed_owes_no_name_in_the_end() {
        for failing in 1..=4 {
            let temp = TempDir::new().unwrap();
            let folder = temp.path().join("a/b/c");
            let (mut calls, mut on_disk) = (0, BTreeSet::new());
            let mut sync = |synced: &Path| {
                calls += 1;
                if calls == failing {
                    return Err(io::Error::other("the disk fails"));
                }
                if synced.starts_with(temp.path()) {
                    on_disk.extend(names_in(synced));
                }
                Ok(())
            };
            make_by(&folder, &mut sync).unwrap_err();
            make_by(&folder, &mut sync).unwrap();
            for name in ["a", "a/b", "a/b/c"] {
                assert!(
                    on_disk.contains(&temp.path().join(name)),
                    "{failing} {name}"
                );
            }
        }
    }

    #[test]
    fn a_folder_above_that_cannot_be_synced_keeps_nobody_from_using_one_that_is_there() {
        let temp = TempDir::new().unwrap();
        for (errno, is_passed_over) in [
            (rustix::io::Errno::ACCESS, true),
            (rustix::io::Errno::PERM, true),
            (rustix::io::Errno::INVAL, true),
            (rustix::io::Errno::NOTSUP, true),
            (rustix::io::Errno::ROFS, true),
            (rustix::io::Errno::IO, false),
            (rustix::io::Errno::MFILE, false),
        ] {
            let settled = settle_by(temp.path(), &mut |_| Err(errno.into()));
            assert_eq!(settled.is_ok(), is_passed_over, "{errno}");
        }
    }
}
