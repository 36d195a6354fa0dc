//! The server: takes what devices send, merges it, and keeps it in an append-only journal.
//!
//! [`run`] is the whole of `bukti-server`. A socket's task ([`socket`]) drives a session of
//! `bukti-sync-protocol`; what it submits waits in a fair [`queue`] for the ledger thread
//! ([`accepting`]), the only place where something is accepted. [`commands`] answers
//! administrators, in the process that holds the data [`folder`].

pub mod accepting;
pub mod app;
pub mod arguments;
pub mod clock;
pub mod commands;
pub mod config;
pub mod descriptors;
pub mod disk;
pub mod folder;
pub mod found;
#[cfg(test)]
mod heard;
pub mod http;
pub mod invitation;
pub mod linger;
pub mod links;
pub mod metrics;
pub mod pace;
pub mod pulse;
pub mod queue;
pub mod refused;
pub mod scrub;
pub mod serve;
pub mod sessions;
pub mod socket;
pub mod sockets;
pub mod walks;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use bukti_command::{
    Exit, FolderLock, LockError, Progress, Reply, Request, control, log, parse, signals,
};
use bukti_core::causes::with_causes;

use crate::arguments::{Arguments, Command, Serve};
use crate::config::{Config, Flags};
use crate::folder::{Folder, FolderError};

/// Runs one command line to its end.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    signals::outlive_file_size_limit();
    let mut texts = Vec::new();
    for arg in args {
        match arg.into_string() {
            Ok(text) => texts.push(text),
            Err(arg) => {
                let text = format!(
                    "{} is not UTF-8: expected readable arguments",
                    arg.display()
                );
                return Reply::error(Exit::WrongUse, text).print();
            }
        }
    }
    let arguments = match parse::<Arguments>(texts.clone()) {
        Ok(arguments) => arguments,
        Err(reply) => return reply.print(),
    };
    let root = match commands::data_folder(&arguments) {
        Ok(root) => root,
        Err(reply) => return reply.print(),
    };
    if root.exists() && !root.is_dir() {
        let file = FolderError::NotAFolder(root);
        return Reply::error(Exit::WrongUse, file.to_string()).print();
    }
    match &arguments.command {
        Command::Serve(options) => serve(&root, options, arguments.config.as_deref()),
        Command::Restore { from, key, .. } => {
            let folder = Folder::new(&root);
            // A folder that is taken has a server to ask, or a better answer once it is locked.
            let checked = match folder.is_taken() {
                true => Ok(()),
                false => commands::check_restore(&folder, from, key.as_deref()),
            };
            match checked {
                Ok(()) => elsewhere_or_here(&folder, &arguments, &texts).print(),
                Err(reply) => reply.print(),
            }
        }
        Command::Invite(_)
        | Command::Devices
        | Command::Grant(_)
        | Command::Move(_)
        | Command::Revoke { .. }
        | Command::Confirm { .. }
        | Command::Import(_)
        | Command::Verify
        | Command::Rebuild { .. }
        | Command::Repair { .. }
        | Command::Status
        | Command::Findings(_)
        | Command::Backup { .. } => {
            let folder = Folder::new(&root);
            if !folder.holds_a_server() {
                let lacking = folder.lacks_a_server();
                let exit = match &lacking {
                    FolderError::HalfRestored(_) | FolderError::JournalMissing(_) => Exit::Failed,
                    _nobodys => Exit::WrongUse,
                };
                return Reply::error(exit, lacking.to_string()).print();
            }
            elsewhere_or_here(&folder, &arguments, &texts).print()
        }
    }
}

fn elsewhere_or_here(folder: &Folder, arguments: &Arguments, texts: &[String]) -> Reply {
    quiet_log();
    let request = match Request::here(texts.iter().skip(1).cloned().collect()) {
        Ok(request) => request,
        Err(error) => {
            return Reply::error(
                Exit::Failed,
                format!("cannot tell the present folder: {error}"),
            );
        }
    };
    let mut progress = Progress::to(|text| eprint!("{text}"));
    let here = |lock: &FolderLock, request: &Request, progress: &mut Progress<'_>| {
        commands::run_stopped(folder, lock, arguments, request, progress)
    };
    control::run(folder.root(), &request, &mut progress, here).unwrap_or_else(|error| error.reply())
}

fn serve(root: &Path, options: &Serve, file: Option<&Path>) -> ExitCode {
    let flags = Flags {
        listen: options.listen,
        metrics_listen: options.metrics_listen,
        public_url: options.public_url.clone(),
        log: options.log,
    };
    let environment = |name: &str| std::env::var(name).ok();
    let config = match Config::assemble(file, environment, flags) {
        Ok(config) => config,
        Err(error) => return Reply::error(Exit::WrongUse, with_causes(&error)).print(),
    };
    start_log(config.log);
    silence_caught_panics();
    let lock = match FolderLock::acquire(root) {
        Ok(lock) => lock,
        Err(error @ LockError::Busy { .. }) => {
            return Reply::error(Exit::Failed, format!("{error}: one server to a folder")).print();
        }
        Err(error) => return Reply::error(Exit::Failed, with_causes(&error)).print(),
    };
    match serve::serve(&lock, &Folder::new(root), options.key.as_deref(), config) {
        Ok(code) => code,
        Err(text) => Reply::error(Exit::Failed, text).print(),
    }
}

fn start_log(level: config::LogLevel) {
    let level = match level {
        config::LogLevel::Error => tracing::Level::ERROR,
        config::LogLevel::Warn => tracing::Level::WARN,
        config::LogLevel::Info => tracing::Level::INFO,
        config::LogLevel::Debug => tracing::Level::DEBUG,
        config::LogLevel::Trace => tracing::Level::TRACE,
    };
    log::start(level, log::Lines::Timed);
}

/// Commands say what matters in their reply; a log beside it would only repeat it.
fn quiet_log() {
    log::start(tracing::Level::ERROR, log::Lines::Timed);
    silence_caught_panics();
}

/// Automerge and sled panic on some bytes. Those panics are caught where they happen and become a
/// refusal or a rebuild; printing each would let a hostile device fill the log.
fn silence_caught_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let ours = info.location().is_none_or(|place| {
            !["automerge", "hexane", "sled", "pagecache"]
                .iter()
                .any(|name| place.file().contains(name))
        });
        if ours {
            usual(info);
        }
    }));
}
