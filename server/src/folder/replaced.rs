//! Segments of the journal as they were before a repair put back what a backup holds.
//!
//! Each lies beside the journal under a name that is never used again, from before the journal is
//! touched on: whoever opens the folder next states it, however the repair ended.

use std::fs;
use std::io;
use std::path::Path;

use bukti_core::journal::{KeptSum, segment_number};
use bukti_core::kv::number_aside;

use super::aside;
use super::small::replace_by;

/// What stands between a segment's name and a number once it was kept.
const KEPT: &str = ".damaged-";

/// What a file has behind its name until it is whole and synced. The next that is kept removes it.
const UNFINISHED: &str = ".new";

/// Keeps the bytes of a segment in `root`, none of one that was missing, under a number beyond
/// `number_min` and all before it; gives the name.
pub(super) fn keep(
    root: &Path,
    segment: &str,
    bytes: &[u8],
    number_min: u64,
) -> io::Result<String> {
    let there = names(root)?;
    for name in &there {
        let whole = name.strip_suffix(UNFINISHED);
        if whole.and_then(parsed).is_some() {
            fs::remove_file(root.join(name))?;
        }
    }
    let numbers: Vec<u64> = there
        .iter()
        .filter_map(|name| parsed(name))
        .filter(|(of, _)| *of == segment)
        .map(|(_, number)| number)
        .collect();
    let number = number_aside(&numbers, number_min);
    let sum = KeptSum::of(bytes);
    let name = format!("{segment}{KEPT}{}", aside::ending(number, Some(sum)));
    let written = replace_by(&root.join(&name), UNFINISHED, bytes);
    if written.is_err() {
        // Nothing was replaced, so a part of it tells nobody anything.
        _ = fs::remove_file(root.join(format!("{name}{UNFINISHED}")));
    }
    written.map(|()| name)
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
    Some((segment, aside::parsed(number)?.0))
}

fn names(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}
