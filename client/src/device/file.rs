//! Small files that are replaced as a whole: after a crash there is the former or the next one.

use std::io;

use bukti_core::journal::Storage;

const UNFINISHED: &str = ".unfinished";

/// A small file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {name}")]
pub struct FileError {
    /// What was to be done.
    pub act: &'static str,
    /// The file.
    pub name: String,
    /// What the system said.
    pub source: io::Error,
}

/// Makes sure that the files that are seen are there. A process that ended when its sync failed may
/// have left their names in the cache alone; their content was synced before they got them.
pub(super) fn settle_names<S: Storage>(folder: &S) -> Result<(), FileError> {
    folder.sync_folder().map_err(|source| FileError {
        act: "sync",
        name: "the folder".into(),
        source,
    })
}

/// The names in a folder.
pub(super) fn names<S: Storage>(folder: &S) -> Result<Vec<String>, FileError> {
    folder.list().map_err(|source| FileError {
        act: "list",
        name: "the folder".into(),
        source,
    })
}

/// Reads a file of at most `bytes_max`; `None` where there is none.
pub(super) fn read<S: Storage>(
    folder: &S,
    name: &str,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, FileError> {
    let failed = |source| FileError {
        act: "read",
        name: name.to_owned(),
        source,
    };
    let names = folder.list().map_err(failed)?;
    if !names.iter().any(|other| other == name) {
        return Ok(None);
    }
    let length = folder.length(name).map_err(failed)?;
    if length > bytes_max {
        let text = format!("it has {length} bytes, more than {bytes_max}");
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, text)));
    }
    let mut bytes = vec![0; length as usize];
    folder.read_at(name, 0, &mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

/// Puts `bytes` in place of the file; they are on the disk when this returns.
pub(super) fn replace<S: Storage>(folder: &S, name: &str, bytes: &[u8]) -> Result<(), FileError> {
    let unfinished = format!("{name}{UNFINISHED}");
    let written = || -> io::Result<()> {
        if folder.list()?.contains(&unfinished) {
            folder.remove(&unfinished)?;
        }
        folder.create(&unfinished, bytes.len() as u64)?;
        folder.write_at(&unfinished, 0, bytes)?;
        folder.sync(&unfinished)?;
        folder.rename(&unfinished, name)?;
        folder.sync_folder()
    };
    written().map_err(|source| FileError {
        act: "write",
        name: name.to_owned(),
        source,
    })
}
