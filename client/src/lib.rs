//! The device side of Bukti: what a person enters is durable before a command returns, and meets
//! everybody else's work when there is a link.
//!
//! [`device`] keeps one person's evidence in a folder. [`exchange`] joins it to the protocol's
//! state machine, without a socket, a clock or a random source of its own, so that a simulation
//! drives the same code as the field command. [`driver`] adds the WebSocket, [`clock`] the time.
#![warn(missing_docs)]

pub mod clock;
pub mod device;
pub mod driver;
pub mod exchange;
pub mod limits;
