//! `backup` and `restore`: a copy of the journal, and a data folder from one.
//!
//! ```text
//! BACKUP/
//!   journal/        finished segments and the last one up to the watermark, verified
//!   backup.json     which journal, up to where, when
//! ```
//!
//! The store is not copied, since it follows from the journal, nor the key, which whoever keeps the
//! backup should not have.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bukti_command::{Exit, Reply, show};
use bukti_core::id::WallMs;
use bukti_core::journal::disk::DiskStorage;
use serde_json::json;

use super::{Failure, Office, say};
use crate::accepting::chain;
use crate::clock::wall_now;
use crate::config::Config;
use crate::folder::small::{replace, sum_of};
use crate::folder::{Folder, FolderError, Started, read_key, write_key};
use crate::metrics::Metrics;

const JOURNAL: &str = "journal";
pub(super) const MANIFEST: &str = "backup.json";
const MANIFEST_UNFINISHED: &str = "backup.json.new";

pub(super) fn backup(office: &Office, to: &Path, json: bool) -> Result<Reply, Failure> {
    let data = office
        .folder
        .root()
        .canonicalize()
        .unwrap_or_else(|_| office.folder.root().to_owned());
    if lies_in(to, &data) {
        return Err(Failure::wrong_use(format!(
            "{} lies in the data folder: expected a folder elsewhere, best on another disk",
            to.display()
        )));
    }
    refuse_other_content(to)?;
    let target = make_private(to).and_then(|()| DiskStorage::open(to.join(JOURNAL)));
    let target = target.map_err(|error| {
        Failure::wrong_use(format!("cannot write to {}: {error}", to.display()))
    })?;
    let (copied, upto) = office
        .reader()
        .copy_journal(&target)
        .map_err(|error| Failure::failed(&error))?;
    let manifest = Manifest {
        journal: office.reader().journal().to_string(),
        server: office.server().to_string(),
        position: upto.position,
        chain: upto.chain.to_string(),
        at: wall_now(),
    };
    let path = to.join(MANIFEST);
    replace(&path, manifest.to_text().as_bytes()).map_err(|error| Failure {
        exit: Exit::Failed,
        text: format!("cannot write {}: {error}", path.display()),
    })?;
    let value = json!({
        "to": to.display().to_string(),
        "position": upto.position,
        "segments": copied.written + copied.kept,
        "written": copied.written,
        "key": office.folder.key().display().to_string(),
    });
    Ok(say(json, &value, || {
        format!(
            "{} in {}, {} of them new, copied to {} and verified.\n\
             Keep the key apart from it: {}\n",
            show::count(upto.position, "record"),
            show::count(copied.written + copied.kept, "segment"),
            copied.written,
            to.display(),
            office.folder.key().display()
        )
    }))
}

/// Whether a path that need not exist yet is below `folder`.
fn lies_in(path: &Path, folder: &Path) -> bool {
    let known = path
        .ancestors()
        .find_map(|ancestor| ancestor.canonicalize().ok());
    known.is_some_and(|known| known.starts_with(folder))
}

/// A backup goes to a new or empty folder, or onto an earlier backup of the same journal, whose
/// segments are then kept.
fn refuse_other_content(to: &Path) -> Result<(), Failure> {
    let Ok(entries) = fs::read_dir(to) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name != JOURNAL && name != MANIFEST && name != MANIFEST_UNFINISHED {
            return Err(Failure::wrong_use(format!(
                "{} holds {}: expected an empty folder or an earlier backup",
                to.display(),
                name.to_string_lossy()
            )));
        }
    }
    Ok(())
}

pub(super) fn restore(
    folder: &Folder,
    from: &Path,
    key: Option<&Path>,
    config: &Config,
    json: bool,
) -> Result<Reply, Failure> {
    let (source, given) = can_restore(folder, from, key)?;
    let promised = Manifest::read(from)?;
    let key_path = folder.key();
    let key = read_key(&given)?;
    let copying = folder.root().join("journal.restoring");
    let result = copy_segments(&source, &copying).and_then(|()| {
        fs::rename(&copying, folder.journal())?;
        fs::File::open(folder.root())?.sync_all()
    });
    result.map_err(|error| Failure {
        exit: Exit::Failed,
        text: format!("cannot copy {}: {error}", source.display()),
    })?;
    let opened = folder.open(Some(&given), None, config, &Metrics::default(), &mut |_| {});
    let mut started = match opened {
        Ok(started) => started,
        Err(error) => {
            // A journal that this key does not sign, or a damaged one, leaves the folder as it was.
            let _ = fs::remove_dir_all(folder.journal());
            let _ = folder.remove_store();
            return Err(Failure {
                exit: wrong_key_or_damage(&error),
                text: chain(&error),
            });
        }
    };
    let seen = started.ledger.reader().watermark();
    let noted = promised
        .kept(&started)
        .and_then(|()| Ok(started.ledger.record_restore(wall_now())?));
    if let Err(failure) = noted {
        drop(started);
        let _ = fs::remove_dir_all(folder.journal());
        let _ = folder.remove_store();
        return Err(failure);
    }
    if !key_path.exists() {
        write_key(&key_path, &key)?;
    }
    let value = json!({ "position": seen.position, "chain": seen.chain.to_string() });
    Ok(say(json, &value, || {
        format!(
            "restored {} records, chain {}, at {}\n\
             What devices sent after the backup is not here until they send it again. Invitations\n\
             that were open are void, since they may have been used after it.\n",
            seen.position,
            seen.chain,
            show::show_time(wall_now())
        )
    }))
}

/// What a backup says of itself: the witness of how long its journal was.
#[derive(Debug, PartialEq, Eq)]
struct Manifest {
    journal: String,
    server: String,
    position: u64,
    chain: String,
    at: WallMs,
}

impl Manifest {
    /// JSON for people and programs, with a sum over what it says.
    fn to_text(&self) -> String {
        let value = json!({
            "journal": self.journal,
            "server": self.server,
            "position": self.position,
            "chain": self.chain,
            "at": self.at,
            "sum": self.sum(),
        });
        format!("{value:#}\n")
    }

    fn sum(&self) -> String {
        let Self {
            journal,
            server,
            position,
            chain,
            at,
        } = self;
        sum_of(format!("{journal} {server} {position} {chain} {at}").as_bytes())
    }

    fn read(from: &Path) -> Result<Self, Failure> {
        let path = from.join(MANIFEST);
        let bytes = fs::read(&path).map_err(|error| {
            Failure::wrong_use(format!(
                "{} cannot be read ({error}): expected a folder that bukti-server backup made",
                path.display()
            ))
        })?;
        Self::from_bytes(&bytes).ok_or_else(|| Failure {
            exit: Exit::Failed,
            text: format!(
                "{} is damaged: it is not what a backup wrote, and nothing was restored",
                path.display()
            ),
        })
    }

    /// Only the very bytes that a backup writes count: a changed one may mean another backup.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let manifest = Self {
            journal: value["journal"].as_str()?.to_owned(),
            server: value["server"].as_str()?.to_owned(),
            position: value["position"].as_u64()?,
            chain: value["chain"].as_str()?.to_owned(),
            at: value["at"].as_i64()?,
        };
        (manifest.to_text().as_bytes() == bytes).then_some(manifest)
    }

    /// Whether the restored journal is the one that was backed up and holds at least what it held
    /// then. It may be longer: a backup that was interrupted has newer segments than this says.
    fn kept(&self, started: &Started) -> Result<(), Failure> {
        let reader = started.ledger.reader();
        let seen = reader.watermark();
        let there = reader.chain_at(self.position)?;
        let same = self.journal == reader.journal().to_string()
            && there.is_some_and(|chain| chain.to_string() == self.chain);
        if same {
            return Ok(());
        }
        let found = there.map_or_else(
            || format!("ends at record {}", seen.position),
            |chain| format!("has chain {chain} there"),
        );
        Err(Failure {
            exit: Exit::Failed,
            text: format!(
                "the backup was made of record {} with chain {}, and its journal {found}: it is \
                 damaged, and nothing was restored",
                self.position, self.chain
            ),
        })
    }
}

/// Makes a folder, with those above it, that only its owner may enter.
fn make_private(folder: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// What can be said before anything is touched: where the segments are, and which key to use.
pub(super) fn can_restore(
    folder: &Folder,
    from: &Path,
    key: Option<&Path>,
) -> Result<(PathBuf, PathBuf), Failure> {
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
    let given = key.map_or_else(|| folder.key(), Path::to_owned);
    read_key(&given)?;
    Ok((source, given))
}

fn wrong_key_or_damage(error: &FolderError) -> Exit {
    match error {
        FolderError::Ledger(bukti_core::ledger::LedgerError::WrongKey { .. })
        | FolderError::NoKey(_)
        | FolderError::NotAKey(_)
        | FolderError::Empty(_)
        | FolderError::Device(_) => Exit::WrongUse,
        FolderError::Ledger(_)
        | FolderError::JournalMissing(_)
        | FolderError::Io { .. }
        | FolderError::Random(_)
        | FolderError::Lost { .. }
        | FolderError::Altered(_)
        | FolderError::NotAFolder(_)
        | FolderError::Store(_) => Exit::Failed,
    }
}

fn copy_segments(from: &Path, to: &Path) -> std::io::Result<()> {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let copy = to.join(entry.file_name());
            fs::copy(entry.path(), &copy)?;
            fs::File::open(&copy)?.sync_all()?;
        }
    }
    fs::File::open(to)?.sync_all()
}
