//! `backup`: a copy of the journal, of which [`restore`](super::restore) makes a data folder.
//!
//! ```text
//! BACKUP/
//!   journal/        finished segments and the last one up to the watermark, verified
//!   backup.json     which journal, up to where, when
//! ```
//!
//! The store is not copied, since it follows from the journal, nor the key, which whoever keeps the
//! backup should not have.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync;

use bukti_command::{Exit, Reply, folder, read_named, show};
use bukti_core::id::{Position, WallMs};
use bukti_core::journal::Damage;
use bukti_core::journal::copy::{Copied, CopyError};
use bukti_core::journal::disk::DiskStorage;
use bukti_core::journal::target::Refused;
use serde_json::json;

use super::verify::{Shown, in_file};
use super::{Failure, Office, say};
use crate::clock::wall_now;
use crate::folder::Started;
use crate::folder::small::{replace, sum_of};

pub(super) const JOURNAL: &str = "journal";
pub(super) const MANIFEST: &str = "backup.json";
/// Bytes of a manifest that are read; a backup writes some three hundred.
const MANIFEST_BYTES_MAX: usize = 64 * 1024;
const MANIFEST_UNFINISHED: &str = "backup.json.new";

pub(super) fn backup(office: &Office, to: &Path, json: bool) -> Result<Reply, Failure> {
    // Before anything asks the folder, which may never answer.
    let _only = match office.backing_up.try_lock() {
        Err(sync::TryLockError::WouldBlock) => {
            return Err(Failure {
                exit: Exit::Failed,
                text: "another backup of this server runs at this moment; if the folder it writes to does \
                       not answer, it goes on once that does, or ends with the server"
                    .to_owned(),
            });
        }
        only => only,
    };
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
    let _alone = take(to)?;
    let Vouched {
        position: vouched,
        is_altered,
    } = vouched_for(office, to)?;
    let target = DiskStorage::open(to.join(JOURNAL)).map_err(|error| not_written_to(to, &error))?;
    let is_beside = on_one_disk(&office.folder.journal(), target.folder());
    let reserve_bytes = match is_beside.map_err(|error| not_written_to(to, &error))? {
        true => office.accepting().reserve_bytes(),
        false => 0,
    };
    let (copied, upto) = office
        .reader()
        .copy_journal(&target, vouched, reserve_bytes)
        .map_err(|error| not_copied(office, to, &error))?;
    make_private(to).map_err(|error| Failure {
        exit: Exit::Failed,
        text: format!("cannot keep others out of {}: {error}", to.display()),
    })?;
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
    let repaired = repaired(&copied, is_altered);
    for shown in &repaired {
        tracing::warn!(to = %to.display(), "the backup was damaged at {shown}; it is written again");
    }
    let value = json!({
        "to": to.display().to_string(),
        "position": upto.position,
        "segments": copied.written + copied.kept,
        "written": copied.written,
        "repaired": repaired,
        "key": office.folder.key().display().to_string(),
    });
    Ok(say(json, &value, || {
        format!(
            "{}{} in {}, {} of them new, copied to {} and verified.\n\
             Keep the key apart from it: {}\n",
            told(&repaired),
            show::count(upto.position, "record"),
            show::count(copied.written + copied.kept, "segment"),
            copied.written,
            to.display(),
            office.folder.key().display()
        )
    }))
}

/// What an earlier backup had lost.
fn repaired(copied: &Copied, is_altered: bool) -> Vec<Shown> {
    let in_segments = copied.repaired.iter().map(|finding| Shown {
        place: format!("{JOURNAL}/{} at byte {}", finding.file, finding.offset),
        ..in_file(finding)
    });
    let manifest = is_altered.then(|| Shown {
        code: "manifest".to_owned(),
        place: MANIFEST.to_owned(),
        fault: "it was not as a backup wrote it".to_owned(),
    });
    in_segments.chain(manifest).collect()
}

/// For whoever believes that the disk with the backup is sound.
fn told(repaired: &[Shown]) -> String {
    if repaired.is_empty() {
        return String::new();
    }
    let lines = repaired.iter();
    let lines: String = lines
        .map(|shown| format!("damaged at {shown}; written again\n"))
        .collect();
    format!(
        "{lines}The earlier backup was not as it was written: look after the disk it lies on.\n"
    )
}

/// Makes the folder, for its owner only; one that is there stays as it is until what it holds was looked
/// at. Keeps other backups out of it until the answer is dropped, where its file system knows of locks.
fn take(to: &Path) -> Result<File, Failure> {
    let made = folder::make(to).and_then(|()| File::open(to));
    let made = made.map_err(|error| not_written_to(to, &error))?;
    match made.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Failure {
            exit: Exit::Failed,
            text: format!("another backup writes to {} at this moment", to.display()),
        }),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(made),
    }
}

fn not_written_to(to: &Path, error: &io::Error) -> Failure {
    Failure::wrong_use(format!("cannot write to {}: {error}", to.display()))
}

/// Whether what is written to one folder takes the room of the other.
fn on_one_disk(one: &Path, other: &Path) -> io::Result<bool> {
    Ok(fs::metadata(one)?.dev() == fs::metadata(other)?.dev())
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
    let leads_nowhere = fs::symlink_metadata(to).is_ok() && !to.exists();
    if leads_nowhere || fs::metadata(to).is_ok_and(|found| !found.is_dir()) {
        return Err(Failure::wrong_use(format!(
            "{} is no folder: expected a new or empty one, or an earlier backup",
            to.display()
        )));
    }
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

/// What the manifest of an earlier backup says.
struct Vouched {
    /// The record up to which the folder held this server's history; 0 where nothing says so.
    position: Position,
    /// Whether it is not as a backup wrote it.
    is_altered: bool,
}

/// Reads the manifest of an earlier backup, if there is one. An altered one says nothing, so that the
/// journal beside it has to show whose it is.
fn vouched_for(office: &Office, to: &Path) -> Result<Vouched, Failure> {
    let vouched = |position| Vouched {
        position,
        is_altered: false,
    };
    let path = to.join(MANIFEST);
    let bytes = match read_named(&path, MANIFEST_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vouched(0)),
        Err(error) => {
            return Err(Failure::wrong_use(format!(
                "cannot read {}: {error}",
                path.display()
            )));
        }
    };
    let Some(manifest) = Manifest::from_bytes(&bytes) else {
        if holds_segments(&to.join(JOURNAL)) {
            return Ok(Vouched {
                position: 0,
                is_altered: true,
            });
        }
        return Err(Failure::wrong_use(format!(
            "{} is not what a backup wrote, and no journal lies beside it: expected an empty folder \
             or an earlier backup",
            path.display()
        )));
    };
    let reader = office.reader();
    let own = reader.journal().to_string();
    if manifest.journal != own {
        return Err(of_another_journal(office, to, MANIFEST, &manifest.journal));
    }
    let position = manifest.position;
    match reader.chain_at(position)? {
        Some(chain) if chain.to_string() == manifest.chain => Ok(vouched(position)),
        Some(_) => Err(of_another_history(to, position, MANIFEST)),
        None => {
            let here = reader.watermark().position;
            Err(later(to, MANIFEST, position, here))
        }
    }
}

fn holds_segments(journal: &Path) -> bool {
    let entries = fs::read_dir(journal).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|path| path.extension().is_some_and(|end| end == "seg"))
}

/// Why nothing was copied, and what to do instead.
fn not_copied(office: &Office, to: &Path, error: &CopyError) -> Failure {
    if let CopyError::Scarce = error {
        return super::verify::for_want();
    }
    let CopyError::Refused(refused) = error else {
        let Failure { exit, mut text } = Failure::failed(error);
        if matches!(error, CopyError::Source(read) if read.is_damage()) {
            text.push_str("; stop the server and run bukti-server repair --from an earlier backup");
        }
        if let CopyError::Full { .. } = error {
            text.push_str(": back up to another disk");
        }
        return Failure { exit, text };
    };
    match refused {
        Refused::OtherJournal { file, found } => {
            let place = format!("{JOURNAL}/{file}");
            of_another_journal(office, to, &place, &found.to_string())
        }
        Refused::Later {
            file,
            offset,
            here,
            there,
        } => later(
            to,
            &format!("{JOURNAL}/{file} at byte {offset}"),
            *there,
            *here,
        ),
        Refused::OtherHistory {
            file,
            offset,
            position,
        } => of_another_history(to, *position, &format!("{JOURNAL}/{file} at byte {offset}")),
        Refused::Unproven(finding) if finding.damage == Damage::UnknownFile => {
            Failure::wrong_use(format!(
                "{} holds {JOURNAL}/{}: expected an empty folder or an earlier backup",
                to.display(),
                finding.file
            ))
        }
        Refused::Unproven(finding) => nothing_was_changed(
            Exit::Failed,
            &format!(
                "{} is damaged where nothing shows any more that it held this server's records, \
                 {JOURNAL}/{finding}",
                to.display()
            ),
        ),
    }
}

fn of_another_journal(office: &Office, to: &Path, place: &str, found: &str) -> Failure {
    let text = format!(
        "{} holds a backup of journal {found} ({place}), and this server's journal is {}",
        to.display(),
        office.reader().journal()
    );
    nothing_was_changed(Exit::WrongUse, &text)
}

fn later(to: &Path, place: &str, there: Position, here: Position) -> Failure {
    let text = format!(
        "{} holds records up to {there} ({place}), and this server's journal ends with record \
         {here}, as if it had been put back to an earlier state",
        to.display()
    );
    nothing_was_changed(Exit::Failed, &text)
}

fn of_another_history(to: &Path, position: Position, place: &str) -> Failure {
    let text = format!(
        "{} holds other records than this server's journal, from record {position} at the latest \
         ({place}), as if the server had been put back to an earlier state and gone on",
        to.display()
    );
    nothing_was_changed(Exit::Failed, &text)
}

fn nothing_was_changed(exit: Exit, why: &str) -> Failure {
    Failure {
        exit,
        text: format!("{why}: nothing was changed; keep it, and back up into another folder"),
    }
}

/// What a backup says of itself: the witness of how long its journal was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Manifest {
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

    pub(super) fn read(from: &Path) -> Result<Self, Failure> {
        let path = from.join(MANIFEST);
        let bytes = read_named(&path, MANIFEST_BYTES_MAX).map_err(|error| {
            Failure::wrong_use(format!(
                "{} cannot be read ({error}): expected a folder that bukti-server backup made, or \
                 --without-manifest for one that lost it",
                path.display()
            ))
        })?;
        Self::from_bytes(&bytes).ok_or_else(|| Failure {
            exit: Exit::Failed,
            text: format!(
                "{} is damaged: it is not what a backup wrote, and nothing was restored; with \
                 --without-manifest the journal is taken as it is, which proves all but its end",
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
    pub(super) fn kept(&self, started: &Started) -> Result<(), Failure> {
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

/// Keeps others out of a folder, once what it holds was looked at.
fn make_private(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests;
