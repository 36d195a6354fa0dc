//! The clock on the wall and the randomness of the machine. Only the driver and the command read
//! them.

use std::time::{SystemTime, UNIX_EPOCH};

use bukti_core::id::WallMs;

/// Milliseconds by which [`wall`] is off on purpose, so that a test can give a device a wrong
/// clock without touching the machine's.
pub const SKEW_VARIABLE: &str = "BUKTI_CLOCK_SKEW_MS";

/// What the clock says, with the skew that [`SKEW_VARIABLE`] asks for.
pub fn wall() -> WallMs {
    let now = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    };
    let skew = std::env::var(SKEW_VARIABLE).ok();
    let skew = skew.and_then(|text| text.trim().parse::<i64>().ok());
    now.saturating_add(skew.unwrap_or(0))
}

/// Random bytes from the system.
///
/// # Panics
/// If the system has none: keys and ids drawn without would not be unique.
pub fn draw<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}
