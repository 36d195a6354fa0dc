//! What must hold in every world, after every event and once it has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use automerge::Automerge;
use bukti_client::device::{Delivery, DeviceError, Quarantined};
use bukti_core::authority::{Audience, Grant, audience};
use bukti_core::evidence::{self, EvidenceView};
use bukti_core::id::{DocumentId, Position, RunId};
use bukti_core::ledger::{DocumentRow, ReadError, verify};
use bukti_sync_protocol::client::Event;
use bukti_sync_protocol::item::Item;

use super::people::{marks_in, steps_in};
use super::phone::{Phone, SimDevice};
use super::server::{Server, SimReader};

/// The word by which a device tells of a refused run whose file it cannot read.
const QUARANTINE_UNREAD: &str = "quarantine-unread";

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The promise.
    pub check: &'static str,
    /// How it was broken.
    pub story: String,
}

impl Violation {
    /// A broken promise with its story.
    pub fn new(check: &'static str, story: impl Into<String>) -> Self {
        let story = story.into();
        Self { check, story }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.check, self.story)
    }
}

impl From<ReadError> for Violation {
    fn from(error: ReadError) -> Self {
        Self::new("the server can read what it wrote", format!("{error:?}"))
    }
}

impl From<DeviceError> for Violation {
    fn from(error: DeviceError) -> Self {
        Self::new("a device can read what it wrote", format!("{error:?}"))
    }
}

/// Nothing that a device was told is accepted is missing from the server.
const ACCEPTED: &str = "accepted is kept";
/// No device gets what its grants do not let it see, and no reader of `all` a draft.
const AUDIENCE: &str = "only the audience sees a document";
/// Positions that a device names or is named never go back.
const POSITIONS: &str = "positions never go back";
/// Nothing says received before the server has it.
const RECEIVED: &str = "received means received";
/// An edit that returned is on the server, on its device or in its quarantine.
const EDITS: &str = "no edit is lost";
/// An edit counts once, and all of it does.
const ONCE: &str = "an edit counts once";
/// At rest, everybody who may see a document sees the same.
const CONVERGED: &str = "replicas are equal at rest";
/// At rest, the server's rows follow from its journal.
const DERIVED: &str = "rows follow from the journal";
/// Quarantine holds what was refused and nothing else.
const QUARANTINE: &str = "quarantine holds what was refused";

/// An edit that a device took.
#[derive(Debug, Clone)]
struct Promise {
    device: usize,
    document: DocumentId,
    /// A row that only this edit adds, by which it is found again.
    mark: String,
    run: RunId,
    /// The store was put back to a copy made before the edit.
    rolled_back: bool,
}

/// Remembers what was promised.
#[derive(Debug, Default)]
pub struct Oracle {
    accepted: BTreeMap<RunId, Position>,
    refused: BTreeMap<usize, BTreeMap<RunId, String>>,
    promises: Vec<Promise>,
    /// Up to where each device was told that it has everything.
    followed: BTreeMap<usize, Position>,
    /// Devices whose confirmed rows were lost in part: a refused run may have had no document to be
    /// read in.
    thrown_back: BTreeSet<usize>,
    /// Devices with edits under a new name: their stores were stale.
    renewed: BTreeSet<usize>,
    /// Number of promises when a device's store was copied.
    copied_at: BTreeMap<usize, usize>,
    /// Accepted runs of a device that was put back to a copy and was not told again.
    forgotten: BTreeSet<(usize, RunId)>,
}

impl Oracle {
    /// Whether an edit with this mark is still owed.
    pub fn promise(&mut self, device: usize, document: DocumentId, mark: String, run: RunId) {
        self.promises.push(Promise {
            device,
            document,
            mark,
            run,
            rolled_back: false,
        });
    }

    /// A device's store was copied.
    pub fn copied(&mut self, device: usize) {
        self.copied_at.insert(device, self.promises.len());
    }

    /// The copy was put back.
    pub fn restored(&mut self, device: usize) {
        let since = self.copied_at.get(&device).copied().unwrap_or_default();
        for promise in &mut self.promises[since..] {
            if promise.device == device {
                promise.rolled_back = true;
            }
        }
        let own = self
            .promises
            .iter()
            .filter(|promise| promise.device == device);
        let accepted = own.filter(|promise| self.accepted.contains_key(&promise.run));
        let forgotten = accepted.map(|promise| (device, promise.run));
        self.forgotten.extend(forgotten);
        self.renewed.insert(device);
        self.thrown_back(device);
    }

    /// A device's confirmed rows may be older than before.
    pub fn thrown_back(&mut self, device: usize) {
        self.followed.remove(&device);
        self.thrown_back.insert(device);
    }

    /// A device took note of something.
    ///
    /// # Errors
    /// What it was told must not have been said.
    pub fn learned(
        &mut self,
        device: usize,
        grants: &[Grant],
        reader: Option<&SimReader>,
        event: &Event,
    ) -> Result<(), Violation> {
        match event {
            Event::Accepted(runs) => {
                for (run, position) in runs {
                    self.forgotten.remove(&(device, *run));
                    self.was_accepted(*run, *position, reader)?;
                }
            }
            Event::Rejected { run, code, .. } => {
                let refused = self.refused.entry(device).or_default();
                refused.insert(*run, code.clone());
            }
            Event::Page { items, .. } => {
                for item in items {
                    if let Item::Own { run, .. } = item {
                        self.forgotten.remove(&(device, *run));
                    }
                    may_see(device, grants, reader, item)?;
                }
            }
            Event::UpToDate { position, .. } => {
                let before = self.followed.insert(device, *position);
                if let Some(before) = before.filter(|before| before > position) {
                    let story = format!("device {device} was at {before} and is at {position}");
                    return Err(Violation::new(POSITIONS, story));
                }
            }
            Event::Stale { .. } => {
                self.renewed.insert(device);
            }
            Event::Welcome { .. }
            | Event::Void
            | Event::StatementsHeld(_)
            | Event::Readmitted { .. }
            | Event::Differs { .. }
            | Event::Missing { .. }
            | Event::LeftScope(_)
            | Event::Progress { .. }
            | Event::Bye(_) => {}
        }
        Ok(())
    }

    fn was_accepted(
        &mut self,
        run: RunId,
        position: Position,
        reader: Option<&SimReader>,
    ) -> Result<(), Violation> {
        let before = self.accepted.insert(run, position);
        if let Some(before) = before.filter(|before| *before != position) {
            let story = format!("run {run} was accepted at {before} and then at {position}");
            return Err(Violation::new(POSITIONS, story));
        }
        match reader {
            Some(reader) => is_kept(reader, run, position),
            None => Ok(()),
        }
    }

    /// Nothing that was accepted is missing; asked whenever the server came up.
    ///
    /// # Errors
    /// The first run that is.
    pub fn accepted_is_kept(&self, reader: &SimReader) -> Result<(), Violation> {
        for (run, position) in &self.accepted {
            is_kept(reader, *run, *position)?;
        }
        Ok(())
    }

    /// No document of a device says *received* while one of its edits is not.
    ///
    /// # Errors
    /// The document.
    pub fn received_is_received(
        &self,
        device: usize,
        phone: &mut Phone,
        reader: &SimReader,
    ) -> Result<(), Violation> {
        let Some(owner) = phone.device() else {
            return Ok(());
        };
        // What such a store had sealed goes by other names since.
        let renamed = self.renewed.contains(&device);
        // A refused run whose file the disk did not give is told as that until the next opening.
        let told = owner.findings()?.into_iter();
        let unread: BTreeSet<RunId> = told
            .filter(|finding| finding.code == QUARANTINE_UNREAD)
            .filter_map(|finding| finding.run)
            .collect();
        let mut said: BTreeMap<DocumentId, bool> = BTreeMap::new();
        let theirs = self.promises.iter().rev().take(8);
        for promise in theirs.filter(|promise| promise.device == device && !promise.rolled_back) {
            if reader.position_of(&promise.run)?.is_some() || unread.contains(&promise.run) {
                continue;
            }
            let received = match said.get(&promise.document) {
                Some(received) => *received,
                None => match owner.delivery(&promise.document) {
                    Ok(delivery) => delivery == Delivery::Received,
                    Err(error) if error.is_refusal() => false,
                    Err(error) => return Err(error.into()),
                },
            };
            said.insert(promise.document, received);
            // Under another name it may be the one that the disk does not give.
            let is_told = renamed && (!unread.is_empty() || is_marked(reader, promise)?);
            if received && !is_told {
                let story = format!(
                    "device {device} shows {} as received, and the server lacks run {}",
                    promise.document, promise.run
                );
                return Err(Violation::new(RECEIVED, story));
            }
        }
        Ok(())
    }

    /// Everything that must hold at rest.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn at_rest(
        &self,
        server: &Server,
        phones: &mut [Phone],
        standing: &[Standing],
    ) -> Result<(), Violation> {
        let Some(reader) = server.reader() else {
            return Err(Violation::new(DERIVED, "the server is not up"));
        };
        self.accepted_is_kept(&reader)?;
        derived(server, &reader)?;
        let documents = documents(&reader)?;
        for (device, (phone, standing)) in phones.iter_mut().zip(standing).enumerate() {
            let Some(owner) = phone.device() else {
                return Err(Violation::new(
                    CONVERGED,
                    format!("device {device} has no power"),
                ));
            };
            if !standing.revoked {
                converged(device, owner, standing, &documents, &reader)?;
            }
            self.quarantined(device, owner, standing, &documents)?;
        }
        self.edits_are_kept(phones, standing, &documents)
    }

    fn quarantined(
        &self,
        device: usize,
        owner: &SimDevice,
        standing: &Standing,
        documents: &BTreeMap<DocumentId, Held>,
    ) -> Result<(), Violation> {
        let held: BTreeSet<RunId> = owner.quarantined().iter().map(|entry| entry.run).collect();
        let refused = self.refused.get(&device);
        let own = self
            .promises
            .iter()
            .filter(|promise| promise.device == device);
        for promise in own.filter(|promise| !promise.rolled_back) {
            let was_refused = refused.is_some_and(|runs| runs.contains_key(&promise.run));
            if was_refused && !held.contains(&promise.run) {
                let story = format!(
                    "device {device} lost run {}, which was refused",
                    promise.run
                );
                return Err(Violation::new(QUARANTINE, story));
            }
        }
        // One that was revoked, or may not see the document any more, is told nothing of its runs, so one
        // that was put back keeps them.
        let is_seen = |run: &RunId| {
            let promise = self.promises.iter().find(|promise| promise.run == *run);
            let document = promise.and_then(|promise| documents.get(&promise.document));
            document.is_some_and(|document| document.is_visible(&standing.grants))
        };
        let is_unknown = |run: &RunId| {
            self.forgotten.contains(&(device, *run)) && (standing.revoked || !is_seen(run))
        };
        for run in held.iter().filter(|run| !is_unknown(run)) {
            if let Some(position) = self.accepted.get(run) {
                let story = format!(
                    "device {device} holds run {run} in quarantine, accepted at {position}"
                );
                return Err(Violation::new(QUARANTINE, story));
            }
        }
        Ok(())
    }

    /// Every edit is on the server, in quarantine, or waits on a device that was revoked.
    fn edits_are_kept(
        &self,
        phones: &mut [Phone],
        standing: &[Standing],
        documents: &BTreeMap<DocumentId, Held>,
    ) -> Result<(), Violation> {
        for (id, held) in documents {
            let (marks, steps) = (marks_in(&held.view), steps_in(&held.view));
            if marks != steps {
                let story = format!("document {id} holds {marks} edits and counts {steps}");
                return Err(Violation::new(ONCE, story));
            }
        }
        for promise in &self.promises {
            if documents
                .get(&promise.document)
                .is_some_and(|held| held.view.rows.contains(&promise.mark))
            {
                continue;
            }
            if self.accepted.contains_key(&promise.run) {
                let story = format!(
                    "the edit {} was accepted and is not in document {}",
                    promise.mark, promise.document
                );
                return Err(Violation::new(ACCEPTED, story));
            }
            if promise.rolled_back {
                continue;
            }
            let Some(owner) = phones[promise.device].device() else {
                continue;
            };
            let quarantine = owner.quarantined();
            let readable = |line: &String| line.contains(&promise.mark);
            let tells = |entry: &Quarantined| {
                entry.edits.iter().any(readable)
                    || (entry.run == promise.run && self.thrown_back.contains(&promise.device))
            };
            if quarantine.iter().any(tells) {
                continue;
            }
            let waits = owner
                .show(&promise.document)
                .is_ok_and(|shown| shown.evidence.rows.contains(&promise.mark));
            if standing[promise.device].revoked && (waits || still_pending(owner, promise.run)?) {
                continue;
            }
            let whereabouts = if waits {
                "only on its device"
            } else {
                "nowhere"
            };
            let story = format!(
                "the edit {} of device {} (run {}) is {whereabouts} at rest",
                promise.mark, promise.device, promise.run
            );
            return Err(Violation::new(EDITS, story));
        }
        Ok(())
    }
}

/// Whether a run lies in the tail. A revoked device whose confirmed rows were lost has no document
/// to show it in.
fn still_pending(owner: &mut SimDevice, run: RunId) -> Result<bool, DeviceError> {
    owner.opening(Vec::new(), "a look at the tail")?;
    Ok(owner.offers().iter().any(|offer| offer.run == run))
}

/// What a device may do at the end.
#[derive(Debug, Clone)]
pub struct Standing {
    /// What it was enrolled with.
    pub enrolled: Vec<Grant>,
    /// What it has.
    pub grants: Vec<Grant>,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// A document as the server has it.
struct Held {
    row: DocumentRow,
    view: EvidenceView,
    json: String,
}

impl Held {
    /// Whether somebody with these grants sees it.
    fn is_visible(&self, grants: &[Grant]) -> bool {
        match audience(grants, &self.row.scope) {
            Some(Audience::Unit) => true,
            Some(Audience::All) => self.row.published(),
            None => false,
        }
    }
}

fn is_kept(reader: &SimReader, run: RunId, position: Position) -> Result<(), Violation> {
    let found = reader.position_of(&run)?;
    if found == Some(position) {
        return Ok(());
    }
    let story = format!("run {run} was accepted at {position}; the server has it at {found:?}");
    Err(Violation::new(ACCEPTED, story))
}

fn may_see(
    device: usize,
    grants: &[Grant],
    reader: Option<&SimReader>,
    item: &Item,
) -> Result<(), Violation> {
    let (document, position) = match item {
        Item::Record { position, run, .. } => {
            let run = bukti_core::envelope::Run::open_stored(run);
            let run = run.map_err(|error| Violation::new(AUDIENCE, format!("{error}")))?;
            (run.envelope.body().document, *position)
        }
        Item::Own {
            document, position, ..
        } => (*document, *position),
        Item::Whole {
            document, as_of, ..
        } => (*document, *as_of),
        Item::Fact { .. } => return Ok(()),
    };
    let Some(reader) = reader else {
        return Ok(());
    };
    let Some(row) = reader.document(&document)? else {
        return Ok(());
    };
    let story = match audience(grants, &row.scope) {
        Some(Audience::Unit) => return Ok(()),
        Some(Audience::All) => match row.entered_all {
            Some(entered) if entered <= position => return Ok(()),
            Some(entered) => format!("it was a draft until {entered}"),
            None => "it is a draft".to_owned(),
        },
        None => "it has no role there".to_owned(),
    };
    let scope = row.scope;
    let story = format!("device {device} got {document} of {scope} as of {position}; {story}");
    Err(Violation::new(AUDIENCE, story))
}

/// The journal is whole, and another server makes the same rows of it.
fn derived(server: &Server, reader: &SimReader) -> Result<(), Violation> {
    let failed = |error: &dyn fmt::Debug| Violation::new(DERIVED, format!("{error:?}"));
    let verification = verify(reader, &mut |_progress| {}).map_err(|error| failed(&error))?;
    if !verification.is_clean() {
        let story = format!("{:?} {:?}", verification.journal, verification.findings);
        return Err(Violation::new(DERIVED, story));
    }
    let anew = server.rows_made_anew().map_err(|error| failed(&error))?;
    if anew != server.rows() {
        return Err(Violation::new(DERIVED, "rows differ from those made anew"));
    }
    Ok(())
}

fn documents(reader: &SimReader) -> Result<BTreeMap<DocumentId, Held>, Violation> {
    let all = bukti_core::scope::Scope::all();
    let mut documents = BTreeMap::new();
    for listed in reader.documents(&all) {
        let (id, row) = listed?;
        let saved = reader.saved(&id)?.unwrap_or_default();
        let document = Automerge::load(&saved)
            .map_err(|error| Violation::new(DERIVED, format!("document {id}: {error}")))?;
        let view = evidence::view(&document);
        let json = json(&view);
        documents.insert(id, Held { row, view, json });
    }
    Ok(documents)
}

fn json(view: &EvidenceView) -> String {
    serde_json::to_string(view).expect("a view has string keys only")
}

/// Whether the server has an edit, by whatever name.
fn is_marked(reader: &SimReader, promise: &Promise) -> Result<bool, Violation> {
    let Some(saved) = reader.saved(&promise.document)? else {
        return Ok(false);
    };
    let document = Automerge::load(&saved)
        .map_err(|error| Violation::new(DERIVED, format!("{}: {error}", promise.document)))?;
    Ok(evidence::view(&document).rows.contains(&promise.mark))
}

/// The device holds what it may see, as the server has it, and nothing else.
fn converged(
    device: usize,
    owner: &mut SimDevice,
    standing: &Standing,
    documents: &BTreeMap<DocumentId, Held>,
    reader: &SimReader,
) -> Result<(), Violation> {
    let broken = |story: String| Err(Violation::new(CONVERGED, story));
    let held: BTreeSet<DocumentId> = owner.list()?.into_iter().map(|row| row.id).collect();
    for (id, document) in documents {
        let scope = &document.row.scope;
        if !document.is_visible(&standing.enrolled) && held.contains(id) {
            let story = format!("device {device} holds {id} of {scope} and may not see it");
            return Err(Violation::new(AUDIENCE, story));
        }
        if !document.is_visible(&standing.grants) {
            continue;
        }
        if !held.contains(id) {
            return broken(format!("device {device} lacks {id} of {scope}"));
        }
        let shown = json(&owner.show(id)?.evidence);
        if shown != document.json {
            return broken(format!(
                "device {device} shows {id} otherwise:\n  device {shown}\n  server {}",
                document.json
            ));
        }
    }
    let status = owner.status()?;
    if status.unsent > 0 || status.to_enter_again > 0 {
        return broken(format!(
            "device {device} still has {} runs to send and {} to enter again",
            status.unsent, status.to_enter_again
        ));
    }
    if !status.differs.is_empty() {
        return broken(format!(
            "digests of device {device} differ in {:?}",
            status.differs
        ));
    }
    let watermark = reader.watermark().position;
    if status.position != watermark {
        return broken(format!(
            "device {device} is at {} and the watermark at {watermark}",
            status.position
        ));
    }
    Ok(())
}
