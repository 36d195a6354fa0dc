//! Why sessions end.

use bukti_core::causes::with_causes;
use bukti_core::ledger::ReadError;

use crate::bye::{Bye, ByeCode, sentence};
use crate::feed::FeedError;

/// Why a session ends: the peer's fault, or the server's own.
#[derive(Debug)]
pub(super) enum End {
    Bye(Bye),
    /// Something could not be read this time.
    Failed(String),
    /// The rows cannot be read, or are not what the journal makes: their owner has to end over that.
    Unsound {
        reason: String,
        error: ReadError,
    },
    /// What the journal holds cannot be read until somebody repairs it.
    Damaged(String),
}

impl From<Bye> for End {
    fn from(bye: Bye) -> Self {
        Self::Bye(bye)
    }
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> Self {
        let reason = with_causes(&error);
        if error.is_of_rows() {
            return Self::Unsound { reason, error };
        }
        match is_damage(&error) {
            true => Self::Damaged(reason),
            false => Self::Failed(reason),
        }
    }
}

/// Whether a record is damaged. Rows are not meant: there is nothing of them that a repair brings back.
pub(crate) fn is_damage(error: &ReadError) -> bool {
    match error {
        ReadError::Journal(error) => error.is_damage(),
        ReadError::Record(_) => true,
        ReadError::Store(_) | ReadError::Row { .. } => false,
    }
}

impl From<FeedError> for End {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::TooManyScopes { .. } => {
                Self::Bye(Bye::new(ByeCode::Unauthorised, sentence(&error)))
            }
            FeedError::Withdrawn => {
                let sentence = "What the device may receive changed: connect again.";
                Self::Bye(Bye::new(ByeCode::Shutdown, sentence))
            }
            FeedError::Read(error) => error.into(),
            // Rows alone lead there, and nothing that a device says.
            FeedError::NoDocument(_) => Self::lacking('d', &error),
            FeedError::NoRecord(_) => Self::lacking('s', &error),
        }
    }
}

impl End {
    /// A row of a table, named as in its keys, is missing or leads nowhere.
    fn lacking(table: char, error: &FeedError) -> Self {
        Self::Unsound {
            reason: with_causes(error),
            error: ReadError::Row { table },
        }
    }
}
