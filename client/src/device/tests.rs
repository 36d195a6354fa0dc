//! A device by itself, and devices with a ledger and both sides of the protocol in memory.

mod alone;
mod damage;
mod faults;
mod joined;
mod lost;
mod trouble;
pub(crate) mod world;
