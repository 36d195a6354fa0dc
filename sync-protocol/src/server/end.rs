//! Why sessions end.

use bukti_core::causes::with_causes;
use bukti_core::ledger::ReadError;

use crate::bye::{Bye, ByeCode, sentence};
use crate::feed::FeedError;

/// Why a session ends: the peer's fault, or the server's own.
#[derive(Debug)]
pub(super) enum End {
    Bye(Bye),
    Failed(String),
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
        match is_damage(&error) {
            true => Self::Damaged(reason),
            false => Self::Failed(reason),
        }
    }
}

/// Whether a record is damaged. A failing store is not meant: the next attempt may find it well.
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
            FeedError::Read(error) => error.into(),
            FeedError::NoDocument(_) | FeedError::NoRecord(_) => Self::Failed(with_causes(&error)),
        }
    }
}
