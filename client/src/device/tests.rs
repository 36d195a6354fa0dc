//! A device by itself, and devices with a ledger and both sides of the protocol in memory.

mod alone;
mod damage;
mod differing;
mod elsewhere;
mod entering;
mod faults;
mod fed;
mod joined;
mod lost;
mod reach;
mod returning;
mod trouble;
pub(crate) mod world;
