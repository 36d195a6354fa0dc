//! The command line of a device.
//!
//! [`mod@line`] says how it is typed. A command takes hold of the data folder and runs in this process,
//! or is handed to the process that holds the folder (`bukti sync --watch`); either way it works at
//! a [`desk`] and answers with a [`Reply`]. Words that people leave out or shorten are filled in by
//! [`choose`]; whatever is typed wrongly ends as one line and changes nothing ([`failure`]).

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use bukti_client::clock;
use bukti_command::control::{self, Progress, Request};
use bukti_command::{Reply, log, parse, signals};

use self::desk::{Desk, FieldDevice};
use self::failure::Failure;
use self::line::{Command, Line};

mod choose;
mod conflicts;
mod coverage;
mod desk;
mod enrol;
mod evidence;
mod failure;
mod folder;
mod indicators;
mod kinds;
mod line;
mod listing;
mod quarantine;
mod setting;
mod state;
mod status;
mod sync;
mod watch;
mod words;

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    signals::outlive_file_size_limit();
    // Warnings do not mix with what a command prints.
    log::start(tracing::Level::WARN, log::Lines::Bare);
    run(&env::args_os().collect::<Vec<_>>()).print()
}

fn run(args: &[OsString]) -> Reply {
    match parse::<Line>(args) {
        Ok(line) => place(&line, args).unwrap_or_else(|failure| failure.reply()),
        Err(reply) => reply,
    }
}

/// Finds where a command runs.
fn place(line: &Line, args: &[OsString]) -> Result<Reply, Failure> {
    let texts: Option<Vec<String>> = args
        .iter()
        .skip(1)
        .map(|arg| arg.to_str().map(str::to_owned))
        .collect();
    let texts = texts.ok_or_else(|| Failure::Wrong("expected arguments in UTF-8".into()))?;
    let request = Request::here(texts)
        .map_err(|error| Failure::Failed(format!("this folder cannot be used: {error}")))?;
    if let Command::Kinds { kind } = &line.command {
        return kinds::run(kind.as_deref(), line.common.json, request.columns);
    }
    let folder = folder::locate(line.common.data.as_deref(), &request.cwd)?;
    folder::is_no_server(&folder)?;
    match &line.command {
        Command::Enrol { link } => drop(enrol::link(link)?),
        Command::Kinds { .. }
        | Command::Indicators(_)
        | Command::Evidence { .. }
        | Command::Conflicts { .. }
        | Command::Resolve { .. }
        | Command::Sync(_)
        | Command::Status
        | Command::Quarantine { .. } => folder::must_exist(&folder)?,
    }
    if let Command::Sync(typed) = &line.command
        && typed.watch
    {
        return watch::run(&folder, line.common.json);
    }
    let mut progress = Progress::to(|text: &str| {
        // Whoever does not read the progress any more may still want the result.
        let _ = io::stderr().write_all(text.as_bytes());
    });
    let reply = control::run(
        &folder,
        &request,
        &mut progress,
        |_lock, request, _progress| {
            alone(&folder, line, request).unwrap_or_else(|failure| failure.reply())
        },
    );
    Ok(reply.unwrap_or_else(|error| error.reply()))
}

/// Runs a command in this process, which holds the folder.
fn alone(folder: &Path, line: &Line, request: &Request) -> Result<Reply, Failure> {
    if let Command::Enrol { link } = &line.command {
        return enrol::run(folder, link, line.common.json);
    }
    let mut device = folder::open(folder)?;
    if let Command::Sync(typed) = &line.command {
        return sync::run(device, folder, *typed, line.common.json);
    }
    at_desk(&mut device, folder, line, request)
}

/// Runs a command on an enrolled device.
fn at_desk(
    device: &mut FieldDevice,
    folder: &Path,
    line: &Line,
    request: &Request,
) -> Result<Reply, Failure> {
    let desk = &mut Desk {
        device,
        folder,
        cwd: &request.cwd,
        columns: request.columns,
        json: line.common.json,
        now: clock::wall(),
    };
    match &line.command {
        Command::Kinds { kind } => kinds::run(kind.as_deref(), desk.json, desk.columns),
        Command::Indicators(typed) => indicators::run(desk, typed),
        Command::Evidence { command } => evidence::run(desk, command),
        Command::Conflicts { id } => conflicts::list(desk, id.as_deref()),
        Command::Resolve { id, field, keep } => conflicts::resolve(desk, id, field, keep),
        Command::Status => status::run(desk),
        Command::Quarantine { command } => quarantine::run(desk, command),
        Command::Sync(_) => unreachable!("whoever calls has a device to give away, or a watch"),
        Command::Enrol { .. } => unreachable!("whoever calls enrols without an open device"),
    }
}

#[cfg(test)]
mod tests;
