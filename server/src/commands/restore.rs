//! `restore`: a data folder from a backup and its key, whole or not at all.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bukti_command::{Exit, Reply, show};
use bukti_core::causes::with_causes;
use bukti_core::envelope::Seen;
use bukti_core::ledger::LedgerError;
use serde_json::json;

use super::backup::{JOURNAL, Manifest};
use super::{Failure, say};
use crate::clock::wall_now;
use crate::config::Config;
use crate::folder::{Folder, FolderError, read_key, write_key};
use crate::metrics::Metrics;

/// Whether the journal is held against what the backup says of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct WithManifest(pub(super) bool);

pub(super) fn restore(
    folder: &Folder,
    from: &Path,
    key: Option<&Path>,
    manifest: WithManifest,
    config: &Config,
    json: bool,
) -> Result<Reply, Failure> {
    let seen = make(folder, from, key, manifest, config, &mut |_| {})?;
    let value = json!({ "position": seen.position, "chain": seen.chain.to_string() });
    let unproven = match manifest {
        WithManifest(true) => "",
        WithManifest(false) => {
            "Nothing says whether the backup had ended there: records at its end may be lost.\n"
        }
    };
    Ok(say(json, &value, || {
        format!(
            "restored {}, chain {}, at {}\n{unproven}\
             What devices sent after the backup is not here until they send it again. Invitations\n\
             that were open are void, since they may have been used after it.\n",
            show::count(seen.position, "record"),
            seen.chain,
            show::show_time(wall_now())
        )
    }))
}

/// Makes the folder a server; gives what the backup held. Says each step to `reached` once it is
/// done, so that tests can end the process there.
fn make(
    folder: &Folder,
    from: &Path,
    key: Option<&Path>,
    manifest: WithManifest,
    config: &Config,
    reached: &mut dyn FnMut(&'static str),
) -> Result<Seen, Failure> {
    let (source, given) = can_restore(folder, from, key)?;
    let promised = match manifest {
        WithManifest(true) => Some(Manifest::read(from)?),
        WithManifest(false) => None,
    };
    let making = folder.begin_restore()?;
    reached("begun");
    let made = fill(&making, &source, &given, promised.as_ref(), config, reached)
        .and_then(|seen| Ok(folder.end_restore(&making, reached).map(|()| seen)?));
    if made.is_err() {
        // A journal that this key does not sign, or a damaged one, leaves the folder as it was.
        let _ = folder.forget_restore();
    }
    made
}

/// Makes the server where nobody serves it, down to the record of the restore.
fn fill(
    making: &Folder,
    source: &Path,
    given: &Path,
    promised: Option<&Manifest>,
    config: &Config,
    reached: &mut dyn FnMut(&'static str),
) -> Result<Seen, Failure> {
    copy_segments(source, &making.journal(), reached).map_err(|error| Failure {
        exit: Exit::Failed,
        text: format!("cannot copy {}: {error}", source.display()),
    })?;
    reached("journal copied");
    write_key(&making.key(), &read_key(given)?)?;
    reached("key written");
    let opened = making.open(Some(given), None, config, &Metrics::default(), &mut |_| {});
    let mut started = opened.map_err(|error| Failure {
        exit: wrong_key_or_damage(&error),
        text: with_causes(&error),
    })?;
    reached("opened");
    let seen = started.ledger.reader().watermark();
    if let Some(promised) = promised {
        promised.kept(&started)?;
    }
    reached("checked");
    started.ledger.record_restore(wall_now())?;
    reached("recorded");
    Ok(seen)
}

/// What can be said before anything is touched: where the segments are, and which key to use.
pub(super) fn can_restore(
    folder: &Folder,
    from: &Path,
    key: Option<&Path>,
) -> Result<(PathBuf, PathBuf), Failure> {
    // Where a server had listened, what is left may be the last of it, and whoever found this restore
    // interrupted could not tell the two apart.
    if !folder.holds_a_server()
        && let gone @ FolderError::JournalMissing(_) = folder.lacks_a_server()
    {
        return Err(gone.into());
    }
    if folder.is_taken() {
        return Err(Failure::wrong_use(format!(
            "{} holds a server already: restore into an empty folder",
            folder.root().display()
        )));
    }
    let source = from.join(JOURNAL);
    if !source.is_dir() {
        return Err(Failure::wrong_use(format!(
            "{} is no backup: expected a folder that bukti-server backup made",
            from.display()
        )));
    }
    if !Folder::new(from).holds_a_server() {
        return Err(Failure::wrong_use(format!(
            "{} has no segment of a journal in it: expected a folder that bukti-server backup made",
            source.display()
        )));
    }
    let own = folder.key();
    let given = key.map_or_else(|| own.clone(), Path::to_owned);
    let is_same = |key: &ed25519_dalek::SigningKey| read_key(&own).map(|own| own == *key);
    if own.exists() && !is_same(&read_key(&given)?)? {
        return Err(Failure::wrong_use(format!(
            "{} is another key than {}: restore into an empty folder",
            own.display(),
            given.display()
        )));
    }
    read_key(&given)?;
    Ok((source, given))
}

fn wrong_key_or_damage(error: &FolderError) -> Exit {
    match error {
        FolderError::Ledger(LedgerError::WrongKey { .. })
        | FolderError::NoKey(_)
        | FolderError::NotAKey(_)
        | FolderError::Empty(_)
        | FolderError::Device(_) => Exit::WrongUse,
        FolderError::Ledger(_)
        | FolderError::JournalMissing(_)
        | FolderError::HalfRestored(_)
        | FolderError::NotOfARestore(_)
        | FolderError::Io { .. }
        | FolderError::Random(_)
        | FolderError::Lost { .. }
        | FolderError::Altered(_)
        | FolderError::NotAFolder(_)
        | FolderError::Store(_) => Exit::Failed,
    }
}

/// Copies the files of a journal; they are on the disk when this returns.
fn copy_segments(
    from: &Path,
    to: &Path,
    reached: &mut dyn FnMut(&'static str),
) -> std::io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let copy = to.join(entry.file_name());
            fs::copy(entry.path(), &copy)?;
            fs::File::open(&copy)?.sync_all()?;
            reached("file copied");
        }
    }
    fs::File::open(to)?.sync_all()
}

#[cfg(test)]
mod tests;
