//! The whole system: real processes, real sockets, real disks, and one thread of virtual time.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod architecture;
mod backup;
mod cuts;
mod damage;
mod demo;
mod door;
mod field;
mod guards;
mod hostile;
mod kill;
mod loss;
mod matrix;
mod reach;
mod readme;
mod recovery;
mod rejection;
mod scale;
mod scarce;
mod service;
mod sim;
mod space;
mod standing;
mod unreadable;
mod unsound;
mod wrong_use;
