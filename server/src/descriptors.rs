//! How many files and sockets the system lets this process have open at once, and what of that is for
//! sockets.
//!
//! Without a descriptor no segment of the journal begins, no row that lies in a file of its own is
//! read and no command is taken. So sockets never get those that files need: the server takes fewer
//! connections than configured rather than fail for want of them.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Sockets beyond the sessions' limit: health checks, and those that are told that it is reached.
pub const SOCKETS_SPARE: usize = 64;

/// Sockets of whoever reads metrics.
pub const METRICS_SOCKETS_MAX: usize = 8;

/// What the process needs besides sockets of devices: about 20 for standard streams, the runtime,
/// listeners, the lock and one socket that is about to be refused; 20 for segments that the journal
/// keeps open and its folder; 24 for the store and rows of it that threads read from files of their
/// own; 16 commands at once with three files each, or fewer that copy a whole journal; and metrics.
const RESERVED: usize = 20 + 20 + 24 + 3 * bukti_command::limits::CALLS_MAX + METRICS_SOCKETS_MAX;

/// Sockets that must be left for it to be worth a start.
const SOCKETS_MIN: usize = 16;

/// Raises what the system allows to the most that it may be raised to, and gives what is allowed
/// then; nothing if there is no bound.
pub fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            // Some systems refuse to go without a bound. What is allowed already stays.
            tracing::warn!(%error, "the limit of open files was not raised");
            current
        }
    }
}

/// Room for sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketRoom {
    /// Sockets of any kind at once.
    pub sockets: usize,
    /// Sessions among them.
    pub sessions: usize,
    /// Sessions that were asked for.
    pub configured: usize,
    /// Files and sockets that the process may have open, if that is why they are fewer.
    pub narrowed_by: Option<NonZeroUsize>,
}

/// The system lets the process open too little to serve at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the system lets this process have {allowed} files and sockets open, and a server needs {}: \
     raise the limit (`ulimit -n`, or LimitNOFILE of its systemd unit)",
    RESERVED + SOCKETS_MIN
)]
pub struct TooFew {
    allowed: usize,
}

impl SocketRoom {
    /// What is left for `configured` sessions where so many descriptors are `allowed`.
    ///
    /// # Errors
    /// [`TooFew`].
    pub fn within(allowed: Option<u64>, configured: usize) -> Result<Self, TooFew> {
        let allowed = allowed.map_or(usize::MAX, |most| {
            usize::try_from(most).unwrap_or(usize::MAX)
        });
        let left = allowed.saturating_sub(RESERVED);
        let wanted = configured.saturating_add(SOCKETS_SPARE);
        if left >= wanted {
            return Ok(Self {
                sockets: wanted,
                sessions: configured,
                configured,
                narrowed_by: None,
            });
        }
        if left < SOCKETS_MIN {
            return Err(TooFew { allowed });
        }
        // Of few sockets no more than a quarter is kept from sessions.
        let sessions = configured.min(left - SOCKETS_SPARE.min(left / 4));
        Ok(Self {
            sockets: left,
            sessions,
            configured,
            narrowed_by: NonZeroUsize::new(allowed).filter(|_| sessions < configured),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_get_what_files_leave() {
        let enough = (RESERVED + 10_000 + SOCKETS_SPARE) as u64;
        for allowed in [None, Some(u64::MAX), Some(enough)] {
            let room = SocketRoom::within(allowed, 10_000).unwrap();
            assert_eq!((room.sessions, room.sockets), (10_000, 10_064));
            assert_eq!(room.narrowed_by, None);
        }
        let room = SocketRoom::within(Some(enough - 1), 10_000).unwrap();
        assert_eq!((room.sessions, room.sockets), (9_999, 10_063));
        let room = SocketRoom::within(Some(1_024), 10_000).unwrap();
        assert_eq!(room.sockets, 1_024 - RESERVED);
        assert_eq!(room.sessions, 1_024 - RESERVED - SOCKETS_SPARE);
        assert_eq!(room.narrowed_by.map(NonZeroUsize::get), Some(1_024));
        let room = SocketRoom::within(Some(256), 10_000).unwrap();
        assert_eq!(room.sockets, 256 - RESERVED);
        assert!(room.sessions >= room.sockets * 3 / 4, "{room:?}");
    }

    #[test]
    fn a_server_that_could_open_nothing_is_not_started() {
        let least = (RESERVED + SOCKETS_MIN) as u64;
        assert!(SocketRoom::within(Some(least), 10_000).is_ok());
        let refused = SocketRoom::within(Some(least - 1), 10_000).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains(&least.to_string()), "{text}");
        assert!(SocketRoom::within(Some(0), 1).is_err());
    }
}
