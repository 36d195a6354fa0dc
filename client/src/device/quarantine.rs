//! Runs that a server refused, with the reason, until somebody deals with them.
//!
//! One file for each run, named after it and durable before the run leaves the tail. The bytes are
//! one CBOR map that says what it is, so an exported file can be read on its own. One that is not as
//! it was written is put aside and told ([`super::aside`]); the others go on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bukti_core::envelope::{Run, decode_exactly};
use bukti_core::hash::{Hasher, domain};
use bukti_core::id::{ChangeHash, DocumentId, RunId, WallMs};
use bukti_core::journal::{Storage, is_scarce};
use bukti_core::kv::number_aside;
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use super::aside::{self, Aside};
use super::file::{self, FileError};
use super::tail::Pending;
use crate::limits::{QUARANTINE_BYTES_MAX, QUARANTINE_EDIT_BYTES_MAX, QUARANTINE_EDITS_MAX};

const FORMAT: &str = "bukti.quarantine.2";

/// The format of before, without a sum. No one flipped bit makes either of the other.
const FORMAT_WITHOUT_SUM: &str = "bukti.quarantine.1";

const SUFFIX: &str = ".cbor";

/// What stands between the name of a file and a number once it was put aside.
const ASIDE: &str = ".damaged-";

/// Why the quarantine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A refused run as it is kept and exported.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    format: String,
    #[n(1)]
    code: String,
    #[n(2)]
    sentence: String,
    #[n(3)]
    at: WallMs,
    #[cbor(n(4), with = "minicbor::bytes")]
    run: Vec<u8>,
    #[n(5)]
    title: String,
    #[n(6)]
    edits: Vec<String>,
    #[n(7)]
    entered_again: Option<RunId>,
    /// Over the other values, as they are written without it.
    #[n(8)]
    sum: Option<ByteArray<32>>,
}

impl Stored {
    /// In the present format, with the sum over everything else.
    fn summed(self) -> Self {
        let plain = Self {
            format: FORMAT.into(),
            sum: None,
            ..self
        };
        let sum = Hasher::new(domain::QUARANTINE).variable(&encode(&plain));
        Self {
            sum: Some(sum.finish().into()),
            ..plain
        }
    }
}

/// What a file of the quarantine turned out to be.
enum Looked {
    Sound(Box<(Stored, Pending)>),
    /// It is not as it was written.
    Damaged,
    /// The disk does not give it, and may do so later.
    Unreadable(io::Error),
}

/// What was in a refused run, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefusedEdits {
    /// Title of the evidence when it was refused.
    pub title: String,
    /// One line for each edit.
    pub lines: Vec<String>,
}

/// A refused run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Quarantined {
    /// Its name.
    #[serde(serialize_with = "super::views::as_text")]
    pub run: RunId,
    /// Its document.
    #[serde(serialize_with = "super::views::as_text")]
    pub document: DocumentId,
    /// Title of the evidence when it was refused.
    pub title: String,
    /// Why, as a word.
    pub code: String,
    /// Why, as a sentence.
    pub sentence: String,
    /// When this device's clock said it was.
    pub at: WallMs,
    /// What was in it, one line for each edit.
    pub edits: Vec<String>,
    /// The run that holds its edits by now, if they were entered again.
    #[serde(serialize_with = "super::views::as_text_option")]
    pub entered_again: Option<RunId>,
}

#[derive(Debug)]
pub(super) struct Quarantine<S: Storage> {
    folder: Arc<S>,
    runs: BTreeMap<RunId, (Stored, Pending)>,
    /// Of which it is known here and not on the disk that they were entered again.
    unwritten: BTreeSet<RunId>,
}

impl<S: Storage> Quarantine<S> {
    /// Opens what is kept, and answers what cannot be used of it. What is damaged is put aside under
    /// a number from `number_min` on, which grows with all that is written here.
    pub(super) fn open(
        folder: Arc<S>,
        number_min: u64,
    ) -> Result<(Self, Vec<Aside>), QuarantineError> {
        file::settle_names(&*folder)?;
        let mut names = folder.list().map_err(|source| FileError {
            act: "list",
            name: "the quarantine".into(),
            source,
        })?;
        names.sort_unstable();
        let (mut runs, mut unusable) = (BTreeMap::new(), Vec::new());
        for name in names.iter().filter(|name| name.ends_with(SUFFIX)) {
            match look(&*folder, name)? {
                Looked::Sound(entry) => drop(runs.insert(entry.1.id(), *entry)),
                Looked::Damaged => {
                    let kept = put_aside(&*folder, name, &names, number_min)?;
                    unusable.push(aside::damaged_refusal(run_in(name), &kept));
                }
                Looked::Unreadable(why) => {
                    unusable.push(aside::unread_refusal(run_in(name), name, &why));
                }
            }
        }
        // Of earlier openings.
        let earlier = names.iter().filter(|name| number_in(name).is_some());
        unusable.extend(earlier.map(|name| aside::damaged_refusal(run_in(name), name)));
        let unwritten = BTreeSet::new();
        let quarantine = Self {
            folder,
            runs,
            unwritten,
        };
        Ok((quarantine, unusable))
    }

    /// Keeps a refused run; it is on the disk when this returns.
    pub(super) fn put(
        &mut self,
        pending: &Pending,
        (code, sentence): (&str, &str),
        at: WallMs,
        edits: RefusedEdits,
    ) -> Result<(), QuarantineError> {
        let mut lines = edits.lines;
        lines.truncate(QUARANTINE_EDITS_MAX);
        for line in &mut lines {
            let mut ends = (0..=QUARANTINE_EDIT_BYTES_MAX).rev();
            let end = ends.find(|end| line.is_char_boundary(*end));
            line.truncate(end.unwrap_or(0));
        }
        let stored = Stored {
            format: FORMAT.into(),
            code: code.into(),
            sentence: sentence.into(),
            at,
            run: pending.bytes().to_vec(),
            title: edits.title,
            edits: lines,
            entered_again: None,
            sum: None,
        };
        self.write(pending.clone(), stored)
    }

    /// Knows that the edits live on in another run, whether or not the disk takes it:
    /// [`Self::write_notes`] writes it.
    pub(super) fn entered_again(&mut self, run: &RunId, by: RunId) {
        if let Some((stored, _)) = self.runs.get_mut(run)
            && stored.entered_again.is_none()
        {
            stored.entered_again = Some(by);
            self.unwritten.insert(*run);
        }
    }

    /// Writes what is known and not written.
    pub(super) fn write_notes(&mut self) -> Result<(), QuarantineError> {
        while let Some(run) = self.unwritten.first().copied() {
            if let Some((stored, pending)) = self.runs.get(&run).cloned() {
                self.write(pending, stored)?;
            }
            self.unwritten.remove(&run);
        }
        Ok(())
    }

    /// Whether all that is known is written.
    pub(super) fn is_written(&self) -> bool {
        self.unwritten.is_empty()
    }

    fn write(&mut self, pending: Pending, stored: Stored) -> Result<(), QuarantineError> {
        let (run, stored) = (pending.id(), stored.summed());
        file::replace(&*self.folder, &name_of(&run), &encode(&stored))?;
        self.runs.insert(run, (stored, pending));
        Ok(())
    }

    /// Whether one of these changes was refused.
    pub(super) fn holds_any(&self, hashes: &[ChangeHash]) -> bool {
        let mut refused = self.runs.values().flat_map(|(_, pending)| &pending.hashes);
        refused.any(|hash| hashes.contains(hash))
    }

    /// All refused runs, the oldest first.
    pub(super) fn list(&self) -> Vec<Quarantined> {
        let mut list: Vec<Quarantined> = self.runs.values().map(shown).collect();
        list.sort_by_key(|shown| (shown.at, shown.run));
        list
    }

    pub(super) fn show(&self, run: &RunId) -> Option<Quarantined> {
        self.runs.get(run).map(shown)
    }

    pub(super) fn export(&self, run: &RunId) -> Option<Vec<u8>> {
        self.runs.get(run).map(|(stored, _)| encode(stored))
    }

    pub(super) fn pending(&self, run: &RunId) -> Option<&Pending> {
        self.runs.get(run).map(|(_, pending)| pending)
    }

    /// The runs of a document that wait for somebody to deal with them, in the order in which
    /// they were sealed.
    pub(super) fn open_of(&self, document: &DocumentId) -> Vec<Pending> {
        let open = self.runs.values().filter(|(stored, pending)| {
            stored.entered_again.is_none() && pending.document() == *document
        });
        let mut open: Vec<Pending> = open.map(|(_, pending)| pending.clone()).collect();
        open.sort_by_key(|pending| (pending.body().device_time, pending.body().number));
        open
    }
}

fn shown((stored, pending): &(Stored, Pending)) -> Quarantined {
    Quarantined {
        run: pending.id(),
        document: pending.document(),
        title: stored.title.clone(),
        code: stored.code.clone(),
        sentence: stored.sentence.clone(),
        at: stored.at,
        edits: stored.edits.clone(),
        entered_again: stored.entered_again,
    }
}

fn look<S: Storage>(folder: &S, name: &str) -> Result<Looked, FileError> {
    let bytes = || -> io::Result<Option<Vec<u8>>> {
        let length = folder.length(name)?;
        if length > QUARANTINE_BYTES_MAX {
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        folder.read_at(name, 0, &mut bytes)?;
        Ok(Some(bytes))
    };
    match bytes() {
        Ok(bytes) => {
            let entry = bytes.and_then(|bytes| read(name, &bytes));
            Ok(entry.map_or(Looked::Damaged, |entry| Looked::Sound(Box::new(entry))))
        }
        // That says nothing about the file.
        Err(source) if is_scarce(&source) => Err(FileError {
            act: "read",
            name: name.to_owned(),
            source,
        }),
        Err(source) => Ok(Looked::Unreadable(source)),
    }
}

/// What a file says, if it is as it was written.
fn read(name: &str, bytes: &[u8]) -> Option<(Stored, Pending)> {
    let stored: Stored = decode_exactly(bytes).ok()?;
    let is_whole = match stored.format.as_str() {
        FORMAT => encode(&stored.clone().summed()) == bytes,
        FORMAT_WITHOUT_SUM => stored.sum.is_none(),
        _other => false,
    };
    let run = Run::open(&stored.run).ok().filter(|_| is_whole)?;
    let pending = Pending::new(run, true).ok()?;
    (name_of(&pending.id()) == name).then_some((stored, pending))
}

/// Gives a damaged file a name that none of `names` is, and answers it.
fn put_aside<S: Storage>(
    folder: &S,
    name: &str,
    names: &[String],
    number_min: u64,
) -> Result<String, FileError> {
    let of_name = names.iter().filter(|other| run_in(other) == run_in(name));
    let numbers: Vec<u64> = of_name.filter_map(|other| number_in(other)).collect();
    let kept = format!("{name}{ASIDE}{}", number_aside(&numbers, number_min));
    let renamed = folder.rename(name, &kept);
    let renamed = renamed.and_then(|()| folder.sync_folder());
    renamed.map_err(|source| FileError {
        act: "put aside",
        name: name.to_owned(),
        source,
    })?;
    Ok(kept)
}

/// The number under which a file was put aside, if it was.
fn number_in(name: &str) -> Option<u64> {
    let (file, number) = name.rsplit_once(ASIDE)?;
    number.parse().ok().filter(|_| file.ends_with(SUFFIX))
}

/// The run that a file is named after.
fn run_in(name: &str) -> Option<RunId> {
    name.split_once(SUFFIX)?.0.parse().ok()
}

fn name_of(run: &RunId) -> String {
    format!("{run}{SUFFIX}")
}

fn encode(stored: &Stored) -> Vec<u8> {
    minicbor::to_vec(stored).expect("writing to a vector cannot fail")
}

/// A file as a former version wrote it.
#[cfg(test)]
pub(super) fn without_sum(bytes: &[u8]) -> Vec<u8> {
    let stored: Stored = decode_exactly(bytes).expect("it was just written");
    encode(&Stored {
        format: FORMAT_WITHOUT_SUM.into(),
        sum: None,
        ..stored
    })
}
