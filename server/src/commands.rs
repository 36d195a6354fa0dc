//! What administrators ask. The same code answers in the server's process, if one holds the folder,
//! and in the command's own, if none does.

mod backup;
mod findings;
#[cfg(test)]
mod flips;
mod import;
mod list;
mod reach;
mod repair;
mod restore;
mod status;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bukti_command::{Exit, FolderLock, Progress, Reply, Request, parse, read_named, show};
use bukti_core::authority::Grant;
use bukti_core::causes::with_causes;
use bukti_core::id::{DeviceId, ServerId};
use bukti_core::ledger::{self, AdminError, RebuildReason};
use ed25519_dalek::SigningKey;
use serde::Serialize;
use serde_json::json;

use crate::accepting::{Accepting, Reader};
use crate::arguments::{Arguments, Command, Import, Invite};
use crate::config::Config;
use crate::descriptors::SocketRoom;
use crate::folder::{Folder, FolderError, PUBLIC_URL, Started, lost};
use crate::invitation::{self, InviteError};
use crate::links::Links;
use crate::metrics::Metrics;
use crate::scrub::Scrubbing;

/// What answering a command needs.
#[derive(Debug, Clone)]
pub struct Office {
    folder: Folder,
    accepting: Accepting,
    server: ServerId,
    links: Links,
    serving: bool,
    /// Held while a backup is made: one whose folder does not answer, as a network's may not, takes one of
    /// the few places for commands, and no more come to wait behind it.
    backing_up: Arc<Mutex<()>>,
    /// How far the scrub of a running server is.
    pub scrubbing: Option<Arc<Scrubbing>>,
    /// What connections a running server has room for.
    pub room: Option<SocketRoom>,
}

impl Office {
    /// The office of a running server.
    pub fn new(folder: Folder, accepting: Accepting, key: &SigningKey, links: Links) -> Self {
        let server = ServerId(key.verifying_key().to_bytes());
        Self {
            folder,
            accepting,
            server,
            links,
            serving: true,
            backing_up: Arc::default(),
            scrubbing: None,
            room: None,
        }
    }

    /// The ledger.
    pub fn accepting(&self) -> &Accepting {
        &self.accepting
    }

    /// What can be read.
    pub fn reader(&self) -> &Reader {
        self.accepting.reader()
    }

    /// Whose key signs.
    pub fn server(&self) -> ServerId {
        self.server
    }

    /// Where links lead.
    ///
    /// # Errors
    /// [`FolderError::Altered`] if somebody else wrote that.
    pub fn url(&self) -> Result<&str, FolderError> {
        let altered = || FolderError::Altered(self.folder.root().join(PUBLIC_URL));
        self.links.url().ok_or_else(altered)
    }
}

/// A failure that ends a command, with its exit status.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    fn failed(error: &dyn std::error::Error) -> Self {
        Self {
            exit: Exit::Failed,
            text: with_causes(error),
        }
    }

    fn wrong_use(text: impl Into<String>) -> Self {
        Self {
            exit: Exit::WrongUse,
            text: text.into(),
        }
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        let exit = match &error {
            AdminError::Invalid(_) => Exit::WrongUse,
            AdminError::Full | AdminError::Ledger(_) => Exit::Failed,
        };
        Self {
            exit,
            text: with_causes(&error),
        }
    }
}

impl From<ledger::ReadError> for Failure {
    fn from(error: ledger::ReadError) -> Self {
        Self::failed(&error)
    }
}

impl From<crate::accepting::Unqueued> for Failure {
    fn from(error: crate::accepting::Unqueued) -> Self {
        Self::failed(&error)
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        let exit = match &error {
            FolderError::Empty(_)
            | FolderError::Device(_)
            | FolderError::NotAFolder(_)
            | FolderError::NotOfARestore(_)
            | FolderError::NoKey(_)
            | FolderError::NotAKey(_) => Exit::WrongUse,
            FolderError::JournalMissing(_)
            | FolderError::HalfRestored(_)
            | FolderError::Lost { .. }
            | FolderError::Altered(_)
            | FolderError::Io { .. }
            | FolderError::Random(_)
            | FolderError::Store(_)
            | FolderError::Ledger(_) => Exit::Failed,
        };
        Self {
            exit,
            text: error.told(),
        }
    }
}

impl From<InviteError> for Failure {
    fn from(error: InviteError) -> Self {
        match error {
            InviteError::Folder(error) => error.into(),
            InviteError::Closed(error) => error.into(),
            InviteError::Ledger(error) => error.into(),
        }
    }
}

/// Prints JSON or text, as was asked.
fn say(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> Reply {
    if json {
        Reply::json(value)
    } else {
        Reply::done(text())
    }
}

/// Answers a command that another process sent to this server.
pub fn answer(office: &Office, request: &Request, progress: &mut Progress<'_>) -> Reply {
    let args = std::iter::once("bukti-server".to_owned()).chain(request.args.iter().cloned());
    match parse::<Arguments>(args) {
        Ok(arguments) => reply(execute(office, &arguments, request, progress)),
        Err(reply) => reply,
    }
}

/// Refuses a restore that cannot be before its folder is made or locked.
///
/// # Errors
/// The reply to print.
pub fn check_restore(folder: &Folder, from: &Path, key: Option<&Path>) -> Result<(), Reply> {
    match restore::can_restore(folder, from, key) {
        Ok(_) => Ok(()),
        Err(failure) => Err(reply(Err(failure))),
    }
}

/// Runs a command on a folder that no server holds.
pub fn run_stopped(
    folder: &Folder,
    lock: &FolderLock,
    arguments: &Arguments,
    request: &Request,
    progress: &mut Progress<'_>,
) -> Reply {
    let file = arguments.config.as_ref().map(|file| request.cwd.join(file));
    let config = match Config::of_stopped(file.as_deref()) {
        Ok(config) => config,
        Err(error) => return Reply::error(Exit::WrongUse, with_causes(&error)),
    };
    let json = arguments.common.json;
    let result = match &arguments.command {
        Command::Serve(_) => unreachable!("serve has its own way"),
        Command::Restore {
            from,
            key,
            without_manifest,
        } => {
            let from = request.cwd.join(from);
            let key = key.as_ref().map(|key| request.cwd.join(key));
            let manifest = restore::WithManifest(!without_manifest);
            restore::restore(folder, &from, key.as_deref(), manifest, &config, json)
        }
        Command::Repair { from } => {
            repair::repair(folder, &request.cwd.join(from), &config, json, progress)
        }
        Command::Rebuild { accept_loss } => rebuild(folder, *accept_loss, &config, json, progress),
        Command::Verify => verify::stopped(folder, &config, json, progress),
        Command::Invite(_)
        | Command::Devices
        | Command::Grant(_)
        | Command::Move(_)
        | Command::Revoke { .. }
        | Command::Confirm { .. }
        | Command::Import(_)
        | Command::Status
        | Command::Findings(_)
        | Command::Backup { .. } => with_ledger(folder, &config, arguments, request, progress),
    };
    // The lock is held until here, whatever the command did.
    let _ = lock;
    reply(result)
}

fn reply(result: Result<Reply, Failure>) -> Reply {
    result.unwrap_or_else(|failure| Reply::error(failure.exit, failure.text))
}

fn with_ledger(
    folder: &Folder,
    config: &Config,
    arguments: &Arguments,
    request: &Request,
    progress: &mut Progress<'_>,
) -> Result<Reply, Failure> {
    let metrics = Metrics::default();
    // Before opening puts aside what somebody else wrote.
    let links = Links::of_stopped(folder, config.public_url.as_deref())?;
    let started = folder.open(None, None, config, &metrics, &mut tell(progress))?;
    let Started { ledger, key, .. } = started;
    let (accepting, thread) = Accepting::start(
        ledger,
        config.connections_per_device_max,
        Arc::default(),
        Arc::new(metrics),
        tokio_util::sync::CancellationToken::new(),
    );
    let mut office = Office::new(folder.clone(), accepting.clone(), &key, links);
    office.serving = false;
    let result = execute(&office, arguments, request, progress);
    accepting.close();
    let _ = thread.join();
    result
}

fn execute(
    office: &Office,
    arguments: &Arguments,
    request: &Request,
    progress: &mut Progress<'_>,
) -> Result<Reply, Failure> {
    let json = arguments.common.json;
    match &arguments.command {
        Command::Serve(_) => Err(Failure {
            exit: Exit::Failed,
            text: "a server serves this folder already".to_owned(),
        }),
        Command::Rebuild { .. } | Command::Repair { .. } | Command::Restore { .. } => {
            Err(Failure {
                exit: Exit::Failed,
                text: "stop the server first: this needs the folder to itself".to_owned(),
            })
        }
        Command::Invite(options) => invite(office, options, json),
        Command::Devices => list::devices(office, json, request.columns),
        Command::Grant(options) => reach::grant(office, options, json, request.columns),
        Command::Move(options) => reach::moving(office, options, json, request.columns),
        Command::Revoke { device } => revoke(office, device, json),
        Command::Confirm { device } => reach::confirm(office, device, json, request.columns),
        Command::Import(Import::Regions { file, version }) => {
            import::regions(office, &request.cwd.join(file), version.as_deref(), json)
        }
        Command::Import(Import::Framework { file }) => {
            import::framework(office, &request.cwd.join(file), json)
        }
        Command::Verify => verify::serving(office, json, progress),
        Command::Status => status::status(office, json),
        Command::Findings(options) => match (options.acknowledge, &options.note) {
            (Some(finding), Some(note)) => findings::acknowledge(office, finding, note, json),
            (Some(_) | None, _) => findings::list(office, json, request.columns),
        },
        Command::Backup { to } => backup::backup(office, &request.cwd.join(to), json),
    }
}

fn invite(office: &Office, options: &Invite, json: bool) -> Result<Reply, Failure> {
    reach::expect_known(office, &options.regions)?;
    let grants: Vec<Grant> = options
        .regions
        .iter()
        .map(|scope| Grant {
            role: options.role,
            scope: scope.clone(),
        })
        .collect();
    let person = options.name.trim().to_owned();
    if person.is_empty() {
        return Err(Failure::wrong_use(
            "--name is empty: expected the person's name",
        ));
    }
    let invited = invitation::invite(office, person.clone(), grants.clone(), options.expires.ms)?;
    let value = json!({
        "link": invited.link,
        "person": person,
        "grants": grants,
        "expires_at": invited.expires_at,
        "url_known_by": office.links.known_by(),
    });
    Ok(say(json, &value, || {
        let mut text = format!(
            "{}\n\nGood for one device of {person}, until {}.\n",
            invited.link,
            show::show_time(invited.expires_at)
        );
        if let Some(caution) = office.links.caution() {
            text.push_str(&format!("It leads to {caution} and invite again.\n"));
        }
        text
    }))
}

fn revoke(office: &Office, given: &str, json: bool) -> Result<Reply, Failure> {
    let device = find_device(office.reader(), given)?;
    let position = office
        .accepting()
        .ask_blocking(Some(device), move |ledger, now| ledger.revoke(now, device))??;
    let value = json!({ "device": device.to_string(), "position": position });
    Ok(say(json, &value, || format!("revoked {device}\n")))
}

/// Characters of a device id that are enough to name it.
const DEVICE_PREFIX_MIN: usize = 6;

fn find_device(reader: &Reader, given: &str) -> Result<DeviceId, Failure> {
    if let Ok(device) = given.parse() {
        return Ok(device);
    }
    let expected =
        "expected a device id from `bukti-server devices`, or its first 6 characters or more";
    let shown = show::plain(given);
    if given.len() < DEVICE_PREFIX_MIN {
        return Err(Failure::wrong_use(format!(
            "'{shown}' names no device: {expected}"
        )));
    }
    let mut found = Vec::new();
    for device in reader.devices() {
        let (id, _) = device?;
        if id.to_string().starts_with(given) {
            found.push(id);
        }
    }
    match found[..] {
        [device] => Ok(device),
        [] => Err(Failure::wrong_use(format!(
            "'{shown}' names no device: {expected}"
        ))),
        _ => Err(Failure::wrong_use(format!(
            "'{shown}' names {} devices: give more of it",
            found.len()
        ))),
    }
}

fn rebuild(
    folder: &Folder,
    accept_loss: bool,
    config: &Config,
    json: bool,
    progress: &mut Progress<'_>,
) -> Result<Reply, Failure> {
    let metrics = Metrics::default();
    if !accept_loss {
        // A store that has seen more than the journal holds is the only witness of a loss: such a
        // one is not thrown away unasked.
        drop(folder.open(None, None, config, &metrics, &mut tell(progress))?);
    }
    let (ledger, opened) = folder.rebuild(config, &metrics, &mut tell(progress))?;
    let position = ledger.reader().watermark().position;
    let given_up = match opened.rebuilt {
        Some(RebuildReason::AfterLoss { store }) => Some((opened.caught_up, store.position)),
        Some(
            RebuildReason::NoRows
            | RebuildReason::Unfinished
            | RebuildReason::Format { .. }
            | RebuildReason::Damaged
            | RebuildReason::OtherJournal { .. }
            | RebuildReason::Asked { .. },
        )
        | None => None,
    };
    let value = json!({
        "records": position,
        "given_up": given_up.map(|(journal, store)| {
            // Where two histories part nothing says.
            let first = (journal < store).then_some(journal + 1);
            json!({ "first": first, "last": store })
        }),
    });
    Ok(say(json, &value, || {
        let mut text = format!("rebuilt from {position} records\n");
        if let Some((journal, store)) = given_up {
            text.push_str(&format!(
                "given up: {}; what devices hold of it they give back, invitations and what no \
                 device holds are gone. It is kept as a finding: see 'findings'\n",
                lost(journal, store)
            ));
        }
        text
    }))
}

/// Shows whoever called how far opening or rebuilding is.
fn tell<'p>(progress: &'p mut Progress<'_>) -> impl FnMut(ledger::Progress) + 'p {
    at_tenths(|stage, percent| progress.say(&format!("{stage} {percent} %\n")))
}

/// The same for a server's log.
pub fn log_progress() -> impl FnMut(ledger::Progress) {
    at_tenths(|stage, percent| tracing::info!(%stage, percent, "opening"))
}

/// Work on fewer steps than this is over before anybody asks.
const STEPS_TOLD_MIN: u64 = 10_000;

/// Says something at every tenth of long work.
fn at_tenths(mut say: impl FnMut(ledger::Stage, u64)) -> impl FnMut(ledger::Progress) {
    let mut said = 0;
    move |step| {
        let percent = step
            .done
            .saturating_mul(100)
            .checked_div(step.total)
            .unwrap_or(100);
        if step.total > STEPS_TOLD_MIN && percent >= said + 10 {
            said = percent;
            say(step.stage, percent);
        }
        if step.done >= step.total {
            said = 0;
        }
    }
}

/// Reads a file that an administrator named.
fn read_file(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    read_named(path, bytes_max)
        .map_err(|error| Failure::wrong_use(format!("cannot read {}: {error}", path.display())))
}

/// The last part of a path, for messages about a file's content.
fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// The folder of `--data`, which every command needs.
///
/// # Errors
/// The reply to print.
pub fn data_folder(arguments: &Arguments) -> Result<PathBuf, Reply> {
    arguments.common.data.clone().ok_or_else(|| {
        Reply::error(
            Exit::WrongUse,
            "--data DIR is missing: expected the server's data folder",
        )
    })
}
