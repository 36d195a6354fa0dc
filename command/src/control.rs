//! A command runs where the data folder is held.
//!
//! The folder's lock decides. A command that gets it runs its handler in its own process; one that
//! does not sends its arguments to the holder's Unix socket, `control.sock` in the folder, and
//! prints what comes back. Both run the same handler, so a command does not know where it runs.
//!
//! A request and each part of an answer is one frame: four bytes of length, most significant
//! first, and that many bytes of JSON. The caller sends `{"args": […], "cwd": "…"}`. The holder
//! sends any number of `{"stderr": "…"}` (progress) and `"alive"`, then `{"reply": {…}}`; or
//! `"crowded"` at once when it runs as many commands as it can.

use std::fmt;
use std::path::PathBuf;
use std::{env, io};

use serde::{Deserialize, Serialize};

use crate::lock::{LockError, process};
use crate::reply::{Exit, Reply};
use crate::table::terminal_columns;

mod client;
mod frame;
mod server;
mod socket;

pub use client::{call, run};
pub use server::{ControlServer, Stop};

/// A command as it was entered.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The arguments, without the program's name.
    pub args: Vec<String>,
    /// The folder that relative paths among them start from.
    pub cwd: PathBuf,
    /// Width of the caller's terminal, or `None` when the text goes elsewhere.
    #[serde(default)]
    pub columns: Option<u16>,
    /// What the caller proves a right with, for commands that ask for one.
    #[serde(default)]
    pub token: Option<String>,
}

impl Request {
    /// A command entered in this process's folder and terminal.
    ///
    /// # Errors
    /// The folder was removed, or may not be read.
    pub fn here(args: Vec<String>) -> io::Result<Self> {
        Ok(Self {
            args,
            cwd: env::current_dir()?,
            columns: terminal_columns(),
            token: None,
        })
    }
}

impl fmt::Debug for Request {
    /// Without the token, which must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("args", &self.args)
            .field("cwd", &self.cwd)
            .field("columns", &self.columns)
            .field("has_token", &self.token.is_some())
            .finish()
    }
}

/// One frame from the holder to the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Stderr(String),
    Alive,
    Crowded,
    Reply(Reply),
}

/// Shows a handler's progress on the standard error of whoever called.
pub struct Progress<'a>(Box<dyn FnMut(&str) + 'a>);

impl<'a> Progress<'a> {
    /// Hands each text to `show`.
    pub fn to(show: impl FnMut(&str) + 'a) -> Self {
        Self(Box::new(show))
    }

    /// Shows `text` as it is. A caller that has gone away is no failure.
    pub fn say(&mut self, text: &str) {
        (self.0)(text);
    }
}

impl fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// Why a command that another process should run was not answered.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The holder takes no commands yet.
    #[error(
        "{} holds the data folder and takes no commands yet: it is starting, or busy with one of its own; try again in a moment",
        process(*pid)
    )]
    Starting {
        /// The holder.
        pid: Option<u32>,
    },
    /// The holder took the command and fell silent. It may have done it.
    #[error("{} holds the data folder and does not answer", process(*pid))]
    NotAnswering {
        /// The holder.
        pid: Option<u32>,
    },
    /// The holder runs as many commands as it can.
    #[error("{} runs too many commands at once: try again in a moment", process(*pid))]
    Crowded {
        /// The holder.
        pid: Option<u32>,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] LockError),
    /// The command could not be sent, or what came back was no answer.
    #[error("cannot pass the command to the process that holds the data folder: {0}")]
    Io(#[source] io::Error),
}

impl CallError {
    /// What to print, and the exit code that belongs to it.
    pub fn reply(&self) -> Reply {
        let exit = match self {
            Self::Starting { .. } | Self::NotAnswering { .. } | Self::Crowded { .. } => {
                Exit::ServerNotReached
            }
            Self::Folder(_) | Self::Io(_) => Exit::Failed,
        };
        Reply::error(exit, self.to_string())
    }
}

#[cfg(test)]
mod tests;
