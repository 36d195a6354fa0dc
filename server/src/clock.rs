//! The server's clocks; the parts below get their time as an argument.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bukti_core::id::WallMs;

/// Milliseconds since 1970 as this machine's clock says.
pub fn wall_now() -> WallMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    WallMs::try_from(since.as_millis()).unwrap_or(WallMs::MAX)
}

/// Milliseconds since the first call; never goes back.
pub fn mono_now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
