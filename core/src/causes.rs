//! What an error says with everything that caused it.

use std::error::Error;
use std::{io, iter};

use crate::journal::{StorageError, is_scarce};

/// An error with all its causes in one line.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Whether an error came because the system had no descriptor or memory left: it says nothing about
/// the files then, and the same call may be answered a moment later.
pub fn is_for_want(error: &(dyn Error + 'static)) -> bool {
    let mut causes = iter::successors(Some(error), |error| (*error).source());
    causes.any(|error| {
        let storage = error.downcast_ref::<StorageError>();
        storage.is_some_and(|error| error.scarce)
            || error.downcast_ref::<io::Error>().is_some_and(is_scarce)
    })
}
