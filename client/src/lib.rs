//! The device side of Bukti: what a person enters is durable before a command returns, and meets
//! everybody else's work when there is a link.
//!
//! [`device`] keeps one person's evidence in a folder and speaks the sync protocol without a
//! socket, a clock or a random source of its own; a simulation drives the same code as the field
//! command does.
#![warn(missing_docs)]

pub mod device;
pub mod limits;
