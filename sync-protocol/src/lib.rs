//! The sync protocol of Bukti as pure state machines.
//!
//! What travels is in [`frame`] and [`item`], how the two sides behave in [`client`], [`enrol`]
//! and [`server`], and why in `docs/protocol.md`. Nothing here reads a clock, a random source or a
//! socket: bytes, time and randomness arrive as arguments, so the same machines run on a phone, on
//! a server and in a simulator.
//!
//! # Contract
//!
//! - Every machine has `handle`, which takes in one thing that happened, `poll`, which gives out
//!   one thing to do, and `deadline`, which says when to hand in a tick. After each `handle` the
//!   driver polls until there is nothing, and performs outputs in the order given.
//! - **Persist, then send.** A device offers a run only once its bytes are durable, and says
//!   [`client::Input::Applied`] only once items and cursor are stored. A server hands in
//!   [`server::Input::Judged`] and [`server::Input::Enrolled`] only once the journal is synced.
//!   The machines acknowledge nothing before that.
//! - After `Close` the driver drops the connection; the machine hears nothing more. Unfinished
//!   items are taken from it (`partials`, `shelf`) and given to the next session.
//! - No bytes from a peer make a machine panic or hold more than [`limits`] allow. Whatever a peer
//!   does wrong ends the session with a [`bye::Bye`] that says so in one sentence.
//!
//! A driver is one loop around the device's side:
//!
//! ```
//! use bukti_core::id::{Incarnation, JournalId, ServerId};
//! use bukti_sync_protocol::client::{ClientSession, Event, Input, Opening, Output};
//! use bukti_sync_protocol::frame::{Features, Frame, Stale, encode};
//! # use bukti_sync_protocol::frame::Numbered;
//! # use bukti_core::id::RunId;
//! # let highest = Numbered { number: 9, run: RunId([9; 16]) };
//! # let mut socket = vec![encode(&Frame::from(Stale { highest }), Features::NONE)];
//! # let (mut sent, mut events) = (Vec::new(), Vec::new());
//!
//! let opening = Opening {
//!     key: ed25519_dalek::SigningKey::from_bytes(&[1; 32]),
//!     server: ServerId([2; 32]),
//!     journal: JournalId([3; 16]),
//!     token: None,
//!     incarnation: Incarnation([4; 16]),
//!     last: None,
//!     scopes: Vec::new(),
//!     cursor: None,
//!     held: Vec::new(),
//!     agent: "example 1.0".into(),
//!     certificate: Vec::new(),
//!     owed: Vec::new(),
//!     compare: false,
//! };
//! let mut session = ClientSession::new(opening, 0);
//! session.handle(0, Input::Offer(Vec::new()));
//! 'open: loop {
//!     while let Some(output) = session.poll() {
//!         match output {
//!             Output::Send(bytes) => sent.push(bytes),
//!             Output::Event(event) => {
//!                 // Store what it says; then, and only then, confirm it.
//!                 let stored = matches!(event, Event::Page { .. } | Event::UpToDate { .. });
//!                 events.push(event);
//!                 if stored {
//!                     session.handle(0, Input::Applied);
//!                 }
//!             }
//!             Output::Close => break 'open,
//!         }
//!     }
//!     // Waits for a message, for more runs, or for `session.deadline()`.
//!     match socket.pop() {
//!         Some(bytes) => session.handle(5, Input::Frame(&bytes)),
//!         None => session.handle(5, Input::Disconnected),
//!     }
//! }
//! assert_eq!(sent.len(), 2, "hello and subscribe in one flight");
//! assert!(matches!(events[..], [Event::Stale { .. }]));
//! ```
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
pub mod reconcile;
pub mod room;
pub mod server;
pub mod token;

#[cfg(test)]
mod tests;
