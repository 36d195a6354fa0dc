//! The whole system: real processes, real sockets, real disks.

mod architecture;
mod door;
mod field;
mod forge;
mod kill;
mod rejection;
mod scale;
mod service;
mod wire;
mod wrong_use;
