//! The sync protocol of Bukti as pure state machines.
#![warn(missing_docs)]

/// Milliseconds on a clock that never goes back; only differences count.
pub type Mono = u64;

pub mod bye;
pub mod client;
pub mod credit;
pub mod cursor;
pub mod deflate;
pub mod enrol;
pub mod feed;
pub mod fragment;
pub mod frame;
pub mod item;
pub mod limits;
pub mod link;
pub mod server;
pub mod token;

#[cfg(test)]
mod tests;
