//! Runs that a server refused, with the reason, until somebody deals with them.
//!
//! One file for each run, named after it and durable before the run leaves the tail. The bytes are
//! one CBOR map that says what it is, so an exported file can be read on its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bukti_core::envelope::{EnvelopeError, Run, decode_exactly};
use bukti_core::id::{ChangeHash, DocumentId, RunId, WallMs};
use bukti_core::journal::Storage;
use minicbor::{Decode, Encode};

use super::file::{self, FileError};
use super::tail::Pending;
use crate::limits::{QUARANTINE_BYTES_MAX, QUARANTINE_EDIT_BYTES_MAX, QUARANTINE_EDITS_MAX};

const FORMAT: &str = "bukti.quarantine.1";
const SUFFIX: &str = ".cbor";

/// Why the quarantine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not what its name says.
    #[error("the quarantined run in {name} is damaged: {reason}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong.
        reason: String,
    },
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
}

impl<S: Storage> Quarantine<S> {
    pub(super) fn open(folder: Arc<S>) -> Result<Self, QuarantineError> {
        file::settle_names(&*folder)?;
        let names = folder.list().map_err(|source| FileError {
            act: "list",
            name: "the quarantine".into(),
            source,
        })?;
        let mut runs = BTreeMap::new();
        for name in names.into_iter().filter(|name| name.ends_with(SUFFIX)) {
            let Some(bytes) = file::read(&*folder, &name, QUARANTINE_BYTES_MAX)? else {
                continue;
            };
            let entry = read(&bytes).map_err(|reason| QuarantineError::Damaged { name, reason })?;
            runs.insert(entry.1.id(), entry);
        }
        Ok(Self { folder, runs })
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
        };
        self.write(pending.clone(), stored)
    }

    /// Notes that the edits live on in another run.
    pub(super) fn entered_again(&mut self, run: &RunId, by: RunId) -> Result<(), QuarantineError> {
        let Some((mut stored, pending)) = self.runs.get(run).cloned() else {
            return Ok(());
        };
        stored.entered_again = Some(by);
        self.write(pending, stored)
    }

    fn write(&mut self, pending: Pending, stored: Stored) -> Result<(), QuarantineError> {
        let run = pending.id();
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

fn read(bytes: &[u8]) -> Result<(Stored, Pending), String> {
    let stored: Stored = decode_exactly(bytes).map_err(|error| error.to_string())?;
    if stored.format != FORMAT {
        return Err(format!("it is '{}', not '{FORMAT}'", stored.format));
    }
    let run = Run::open(&stored.run).map_err(|error: EnvelopeError| error.to_string())?;
    let pending = Pending::new(run, true)?;
    Ok((stored, pending))
}

fn name_of(run: &RunId) -> String {
    format!("{run}{SUFFIX}")
}

fn encode(stored: &Stored) -> Vec<u8> {
    minicbor::to_vec(stored).expect("writing to a vector cannot fail")
}
