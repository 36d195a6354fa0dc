//! What an error says with everything that caused it.

use std::error::Error;
use std::{io, iter};

use crate::journal::{CreateError, JournalFailure, StorageError, is_scarce};

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
    causes(error).any(|error| {
        let storage = error.downcast_ref::<StorageError>();
        storage.is_some_and(|error| error.scarce)
            || error.downcast_ref::<io::Error>().is_some_and(is_scarce)
    })
}

/// Whether an error comes of a disk without space.
pub fn is_for_want_of_space(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        let full = io::ErrorKind::StorageFull;
        let system = cause.downcast_ref::<io::Error>();
        let storage = cause.downcast_ref::<StorageError>();
        let append = cause.downcast_ref::<JournalFailure>();
        let create = cause.downcast_ref::<CreateError>();
        system.is_some_and(|error| error.kind() == full)
            || storage.is_some_and(|error| error.kind == full)
            || append.is_some_and(|error| matches!(error, JournalFailure::Full { .. }))
            || create.is_some_and(|error| matches!(error, CreateError::Full { .. }))
    })
}

/// What helps then.
pub const WHERE_FULL: &str =
    "the disk is full: what is kept there stays, so free some space and try again";

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error| (*error).source())
}
