//! The sync protocol of Bukti as pure state machines.
#![warn(missing_docs)]

pub mod bye;
pub mod credit;
pub mod cursor;
pub mod deflate;
pub mod feed;
pub mod fragment;
pub mod frame;
pub mod item;
pub mod limits;
pub mod link;
pub mod token;
