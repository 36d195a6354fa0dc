//! What the command lines of the server and of the device share.
//!
//! A command line is read once ([`wrong_use`]), run by whoever holds the data folder ([`lock`],
//! [`control`]), and answered with a [`Reply`], so a command prints and exits alike whether it ran
//! in its own process or in a server. [`folder`] makes folders that a power cut does not take, and
//! [`mod@file`] reads what a person named. [`table`] and [`show`] say how things look to people. [`signals`] keeps what would end a process without a word.
#![warn(missing_docs)]

pub mod control;
pub mod file;
pub mod folder;
pub mod limits;
pub mod lock;
pub mod log;
pub mod reply;
pub mod show;
pub mod signals;
pub mod table;
pub mod wrong_use;

pub use control::{CallError, ControlServer, Progress, Request};
pub use file::read_named;
pub use lock::{FolderLock, LockError};
pub use reply::{Exit, Reply};
pub use table::{Column, Table};
pub use wrong_use::{Common, parse};
