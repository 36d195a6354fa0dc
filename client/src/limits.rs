//! Every bound of the device, with its reason.

use bukti_sync_protocol::limits::{PING_MS, SUBSCRIPTIONS_MAX};

/// Bytes of disk that the tail leaves free: two of its segments and as much again, so that it can
/// be opened on a disk that is nearly full.
pub const TAIL_RESERVE_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes of settled runs that the tail carries along before it is written anew; a quarter of a
/// segment.
pub const TAIL_SETTLED_BYTES: u64 = 256 * 1024;

/// Documents kept open in memory. Each takes about ten times its saved bytes.
pub const OPEN_DOCUMENTS_MAX: usize = 64;

/// Findings that are kept; of more, the oldest are dropped.
pub const FINDINGS_MAX: u64 = 500;

/// Bytes of the file that holds the device's identity: a key, an address and two statements.
pub const IDENTITY_BYTES_MAX: u64 = 64 * 1024;

/// After which time edits of a copied store are tried to be entered again where the disk had no room:
/// as long as somebody takes to make some, since each try may write a few bytes.
pub const ENTERING_RETRY_MS: u64 = 60_000;

/// Bytes of one quarantined run with its readable edits: a run of the greatest size, and the same
/// again in words.
pub const QUARANTINE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// Lines of readable edits kept with a quarantined run. The run's bytes hold all of them.
pub const QUARANTINE_EDITS_MAX: usize = 200;

/// Bytes of one line of readable edits.
pub const QUARANTINE_EDIT_BYTES_MAX: usize = 1024;

/// Runs that a session holds at once; more are offered as these are answered.
pub const OFFERED_RUNS_MAX: usize = 256;

/// Runs given back and not answered; more of what a server lost is read from the store as these
/// are answered.
pub const RETURNED_RUNS_MAX: usize = 64;

/// Milliseconds for which a difference that stayed although everything was compared is left alone, once
/// it was told: the day of the server's quotas, behind which it takes what it refused for one.
pub const SURVIVED_LEFT_ALONE_MS: u64 = 24 * 60 * 60 * 1_000;

/// Former journals of its server that a device remembers: each is a server founded anew.
pub const FORMER_JOURNALS_MAX: usize = 64;

/// Milliseconds that connecting may take. TCP and TLS need four round trips, and a round trip on
/// 2G may take several seconds.
pub const CONNECT_MS: u64 = 30_000;

/// Milliseconds of the first pause between two attempts. Each pause is drawn between nothing and
/// its bound, so that devices cut together do not come back together.
pub const BACKOFF_FIRST_MS: u64 = 1_000;

/// Milliseconds of the longest pause between two attempts.
pub const BACKOFF_MAX_MS: u64 = 60_000;

/// Milliseconds that a server may put off the next attempt by. Whoever answers at its address may
/// name any time, and must not keep a device from the real one for longer than an hour.
pub const RETRY_AFTER_MAX_MS: u64 = 60 * 60 * 1000;

/// Milliseconds after which a device that stays in sync tries an address again at which it was
/// refused. No signature says that the real server did, and somebody has to put it right if it did.
pub const REFUSED_RETRY_MS: u64 = RETRY_AFTER_MAX_MS;

/// Milliseconds without any message after which the server is asked whether it is there, and for its
/// answer: together three intervals of its pings, so that one that pings is not asked, and a link
/// over which two of them were lost is dead.
pub const QUIET_MS: u64 = 3 * PING_MS / 2;

/// Bytes of the buffers of a WebSocket: two frames.
pub const SOCKET_BUFFER_BYTES: usize = 8 * 1024;

/// Bytes written but not yet taken by the connection before it counts as broken: all credit that a
/// server may give at once, and as much again.
pub const SOCKET_WRITE_BYTES_MAX: usize = 512 * 1024;

/// Bytes of cache of the confirmed store. A device holds a few hundred documents of a few KiB.
pub const STORE_CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// Attempts in a row without any progress before `bukti sync` says that the server is not reached.
pub const SYNC_ATTEMPTS_MAX: u32 = 3;

/// Commands that wait for the process that syncs.
pub const REQUESTS_QUEUED: usize = 16;

/// Milliseconds between two looks of a command that waits for the process that syncs.
pub const SYNC_LOOK_EVERY_MS: u64 = 100;

/// Lines that `bukti sync --watch` holds for whoever reads them, some 200 bytes each: all findings that
/// it may begin with, and as many again. Of more, it says how many were left out.
pub const WATCH_LINES_QUEUED: usize = 2 * FINDINGS_MAX as usize;

/// Milliseconds that a watch which ends waits for its last lines to be read.
pub const WATCH_LAST_LINES_MS: u64 = 1_000;

/// Subscriptions that a device notes as compared since its server lost records: what one may read at
/// most, and as many again where its grants change meanwhile.
pub const AGREED_MAX: usize = 2 * SUBSCRIPTIONS_MAX;
