//! Names of what is kept aside: the name of what it was, a number that is never used again, and the sum
//! of what the file keeps.
//!
//! Former versions gave no sum, and what cannot be read has none.

use std::io;
use std::path::Path;

use bukti_command::read_named;
use bukti_core::journal::{KeptSum, is_scarce};
use bukti_core::limits::SEGMENT_BYTES_MAX;

/// What stands behind the name of what it was.
pub(super) fn ending(number: u64, sum: Option<KeptSum>) -> String {
    match sum {
        None => number.to_string(),
        Some(sum) => format!("{number}-{sum}"),
    }
}

/// The number and the sum in what stands there; nothing if it is no name of something kept aside.
pub(super) fn parsed(ending: &str) -> Option<(u64, Option<KeptSum>)> {
    let (number, sum) = match ending.split_once('-') {
        None => (ending, None),
        Some((number, sum)) => (number, Some(KeptSum::parse(sum)?)),
    };
    Some((number.parse().ok()?, sum))
}

/// Why a file does not keep what its name says that it did. One without a sum is not looked at.
///
/// # Errors
/// The system had no descriptor or memory for it, which says nothing about the file.
pub(super) fn fault(root: &Path, name: &str) -> io::Result<Option<String>> {
    let sum = name
        .rsplit_once('-')
        .and_then(|(_, sum)| KeptSum::parse(sum));
    let Some(sum) = sum else {
        return Ok(None);
    };
    match read_named(&root.join(name), SEGMENT_BYTES_MAX as usize) {
        Ok(bytes) if KeptSum::of(&bytes) == sum => Ok(None),
        Ok(_) => Ok(Some(
            "the file is not what was kept under this name".to_owned(),
        )),
        Err(error) if is_scarce(&error) => Err(error),
        Err(error) => Ok(Some(format!("the file cannot be read: {error}"))),
    }
}
