//! Segments of the journal as they were before a repair put back what a backup holds.
//!
//! Each lies beside the journal under a name that is never used again, from before the journal is
//! touched on: whoever opens the folder next states it, however the repair ended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bukti_core::journal::segment_number;
use bukti_core::kv::number_aside;

/// What stands between a segment's name and a number once it was kept.
const KEPT: &str = ".damaged-";

/// Keeps the bytes of a segment in `root`, none of one that was missing, under a number beyond
/// `number_min` and all before it; gives the name.
pub(super) fn keep(
    root: &Path,
    segment: &str,
    bytes: &[u8],
    number_min: u64,
) -> io::Result<String> {
    let numbers: Vec<u64> = names(root)?
        .iter()
        .filter_map(|name| parsed(name))
        .filter(|(of, _)| *of == segment)
        .map(|(_, number)| number)
        .collect();
    let name = format!("{segment}{KEPT}{}", number_aside(&numbers, number_min));
    let path = root.join(&name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Nothing was replaced, so a part of it tells nobody anything.
        _ = fs::remove_file(&path);
        return Err(error);
    }
    File::open(root)?.sync_all()?;
    Ok(name)
}

/// Names of what is kept, in order.
pub(super) fn kept(root: &Path) -> io::Result<Vec<String>> {
    let mut kept = names(root)?;
    kept.retain(|name| segment(name).is_some());
    kept.sort_unstable();
    Ok(kept)
}

/// The segment of which something is kept under `name`.
pub(crate) fn segment(name: &str) -> Option<&str> {
    parsed(name).map(|(segment, _)| segment)
}

fn parsed(name: &str) -> Option<(&str, u64)> {
    let (segment, number) = name.split_once(KEPT)?;
    segment_number(segment)?;
    Some((segment, number.parse().ok()?))
}

fn names(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}
