//! The data folder: where it is and what a command finds in it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bukti_client::device::{ConfirmedError, DAMAGED_STORE, DeviceError, Folders, OTHER_STORE};
use bukti_client::limits::STORE_CACHE_BYTES;
use bukti_core::causes::with_causes;
use bukti_core::kv::sled::SledKv;
use bukti_core::kv::{KvError, number_aside};

use super::desk::FieldDevice;
use super::failure::Failure;

/// Folder of the confirmed store within the data folder.
const STORE: &str = "store";

/// The folder named by `--data`, or the platform's for programs' data.
pub(super) fn locate(named: Option<&Path>, cwd: &Path) -> Result<PathBuf, Failure> {
    match named {
        Some(folder) => Ok(cwd.join(folder)),
        None => dirs::data_dir()
            .map(|folder| folder.join("bukti"))
            .ok_or_else(|| {
                Failure::Failed("this system names no folder for data: give --data".into())
            }),
    }
}

/// Opens the device that `folder` holds.
pub(super) fn open(folder: &Path) -> Result<FieldDevice, Failure> {
    let folders = Folders::on_disk(folder).map_err(|error| cannot_use(folder, &error))?;
    match FieldDevice::open(folders.clone(), store(folder)?) {
        // What a disk does not give at this moment may be sound.
        Err(DeviceError::Confirmed(
            ConfirmedError::Damaged(_) | ConfirmedError::Kv(KvError::Damaged(_)),
        )) => {
            set_damaged_aside(folder)?;
            Ok(FieldDevice::open(folders, store(folder)?)?)
        }
        Err(DeviceError::Confirmed(ConfirmedError::OtherJournal)) => {
            // Nothing of it comes again, so it stays for ever.
            let moved = set_aside(folder, OTHER_STORE)?;
            tracing::warn!(
                %moved,
                "the confirmed store holds evidence of another server or journal and was put aside \
                 in the data folder: it may be nowhere else"
            );
            Ok(FieldDevice::open(folders, store(folder)?)?)
        }
        opened => Ok(opened?),
    }
}

/// The confirmed store of `folder`. A damaged one is moved aside and begun anew.
pub(super) fn store(folder: &Path) -> Result<SledKv, Failure> {
    let path = folder.join(STORE);
    let opened = match SledKv::open(&path, STORE_CACHE_BYTES) {
        Err(KvError::Damaged { .. }) => {
            set_damaged_aside(folder)?;
            SledKv::open(&path, STORE_CACHE_BYTES)
        }
        opened => opened,
    };
    opened.map_err(|error| Failure::failed(&error))
}

/// What the server has of a damaged store comes again. What it lost may be in there alone, and whether it
/// lost something is not read any more: so it stays for ever as well.
fn set_damaged_aside(folder: &Path) -> Result<(), Failure> {
    let moved = set_aside(folder, DAMAGED_STORE)?;
    tracing::warn!(
        %moved,
        "the confirmed store was damaged, was put aside in the data folder and begins anew: what the \
         server has comes again with the next sync"
    );
    Ok(())
}

/// Renames the store, which takes no room on a disk, to `prefix` and a number that nothing here has
/// behind it. The next opening begins an empty one, and tells of this one by its name.
fn set_aside(folder: &Path, prefix: &str) -> Result<String, Failure> {
    let renamed = || -> io::Result<String> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        let moved = format!("{prefix}{}", number_aside(&numbers, 1));
        fs::rename(folder.join(STORE), folder.join(&moved))?;
        File::open(folder)?.sync_all()?;
        Ok(moved)
    };
    renamed().map_err(|error| cannot_use(folder, &error))
}

/// Whether there is a data folder at all. A mistyped name must not make one.
pub(super) fn must_exist(folder: &Path) -> Result<(), Failure> {
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Failure::Wrong(format!(
            "{} is not a folder: expected the data folder of a device",
            folder.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::Failed(format!(
            "no device is enrolled in {}: run 'bukti enrol LINK' with an invitation link",
            folder.display()
        ))),
        Err(error) => Err(cannot_use(folder, &error)),
    }
}

/// A server's folder is no device's: what one keeps there the other would take for damage.
pub(super) fn is_no_server(folder: &Path) -> Result<(), Failure> {
    if folder.join("journal").is_dir() || folder.join("server.key").is_file() {
        return Err(Failure::Wrong(format!(
            "{} holds a server: expected the data folder of a device",
            folder.display()
        )));
    }
    Ok(())
}

pub(super) fn cannot_use(folder: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!(
        "cannot use {} as data folder: {}",
        folder.display(),
        with_causes(error)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_folder_starts_where_the_command_was_called() {
        let found = locate(Some(Path::new("d")), Path::new("/home/ani")).unwrap();
        assert_eq!(found, Path::new("/home/ani/d"));
        let found = locate(Some(Path::new("/d")), Path::new("/home/ani")).unwrap();
        assert_eq!(found, Path::new("/d"));
    }

    #[test]
    fn a_servers_folder_is_no_devices() {
        let temp = tempfile::tempdir().unwrap();
        assert!(is_no_server(temp.path()).is_ok());
        fs::create_dir(temp.path().join("journal")).unwrap();
        assert!(matches!(is_no_server(temp.path()), Err(Failure::Wrong(_))));
    }

    #[test]
    fn a_folder_without_a_device_is_no_device() {
        let temp = tempfile::tempdir().unwrap();
        let missing = temp.path().join("mistyped");
        assert!(
            matches!(must_exist(&missing), Err(Failure::Failed(text)) if text.contains("enrol"))
        );
        assert!(!missing.exists());
        assert!(
            matches!(open(temp.path()), Err(Failure::Failed(text)) if text.contains("not enrolled"))
        );
    }
}
