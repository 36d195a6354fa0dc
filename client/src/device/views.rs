//! What people are shown of the device and its documents.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use bukti_core::authority::Grant;
use bukti_core::evidence::{
    self, Content, Declared, Difference, EvidenceView, FieldPath, FrameworkVersion,
};
use bukti_core::id::{
    Actor, ChangeHash, DeviceId, DocumentId, Fingerprint, Incarnation, JournalId, Position, RunId,
    ServerId, WallMs,
};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::scope::Scope;
use serde::{Serialize, Serializer};

use super::confirmed::{DocumentRow, Title};
use super::facts::Member;
use super::quarantine::Quarantined;
use super::{Device, DeviceError, PutOff, Tally};

/// Whether the server has a document's edits on its disk. Nothing counts as received before it
/// said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Delivery {
    /// Declared a draft or withdrawn, with edits that no server has confirmed.
    Draft {
        /// Runs that wait.
        unsent: usize,
    },
    /// Declared ready, with edits that no server has confirmed.
    ReadyToSend {
        /// Runs that wait.
        unsent: usize,
    },
    /// A server confirmed every edit.
    Received,
    /// A server confirmed every edit and lost records since. It may lack this, which is kept here and
    /// given back.
    ToGiveBack {
        /// Runs that wait besides.
        unsent: usize,
    },
    /// A server lost edits that it had confirmed, and did not take them back; they are kept here.
    NotTakenBack {
        /// Runs that it lacks.
        runs: usize,
        /// Runs that wait besides.
        unsent: usize,
    },
    /// A server refused edits of this device; they lie in quarantine.
    Rejected {
        /// Runs that were refused.
        runs: usize,
        /// Why the last was, as a word.
        code: String,
        /// Why the last was, as a sentence.
        sentence: String,
        /// Runs that wait besides.
        unsent: usize,
    },
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The document.
    #[serde(serialize_with = "as_text")]
    pub id: DocumentId,
    /// Its title.
    pub title: String,
    /// Code of the evidence kind.
    pub kind: String,
    /// The framework it supports.
    pub framework: Option<FrameworkVersion>,
    /// Year of the cycle.
    pub cycle: Option<i64>,
    /// The rows it supports.
    pub rows: Vec<String>,
    /// Where it belongs.
    #[serde(serialize_with = "as_text")]
    pub scope: Scope,
    /// What the officer says of it.
    pub declared: Declared,
    /// Whether the server has it.
    pub delivery: Delivery,
    /// Values that wait for a choice.
    pub conflicts: u64,
    /// Files that it names.
    pub files: u64,
    /// The latest time that a device gave for an edit.
    pub updated_at: WallMs,
    /// When the server received its last confirmed edit.
    pub received_at: Option<WallMs>,
}

/// The shared facts of a document: the same bytes on every device with the same heads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// The document.
    #[serde(serialize_with = "as_text")]
    pub id: DocumentId,
    /// What it is.
    pub document_kind: &'static str,
    /// Where it belongs.
    #[serde(serialize_with = "as_text")]
    pub scope: Scope,
    /// What it says.
    #[serde(flatten)]
    pub evidence: EvidenceView,
}

/// Who made a change, and what is known of when.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Author {
    /// The device, if a run that says so is here.
    #[serde(serialize_with = "as_text_option")]
    pub device: Option<DeviceId>,
    /// Who holds that device, if the directory says so.
    pub person: Option<String>,
    /// When the server received the run; nothing before it did.
    pub received_at: Option<WallMs>,
    /// Where it stands in the journal.
    pub position: Option<Position>,
    /// The run.
    #[serde(serialize_with = "as_text_option")]
    pub run: Option<RunId>,
}

/// One change of a document's history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangeRow {
    /// The change.
    #[serde(serialize_with = "as_text")]
    pub change: ChangeHash,
    /// Who made it.
    #[serde(flatten)]
    pub author: Author,
    /// When that device said it was.
    pub device_time: WallMs,
    /// What it did.
    pub edits: Vec<Difference>,
}

/// Who wrote a value that is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContributionRow {
    /// Which value.
    pub path: FieldPath,
    /// The value; nothing for texts and lists, which may have several writers.
    pub value: Option<Content>,
    /// How many of the characters or items shown this writer wrote.
    pub parts: usize,
    /// The writer's latest change that is visible here.
    #[serde(serialize_with = "as_text")]
    pub change: ChangeHash,
    /// Who wrote it.
    #[serde(flatten)]
    pub author: Author,
    /// When that device said it was.
    pub device_time: WallMs,
}

/// Values that wait for a choice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConflictRow {
    /// Which value.
    pub path: FieldPath,
    /// Names this set of values; a choice repeats it.
    #[serde(serialize_with = "as_text")]
    pub fingerprint: Fingerprint,
    /// The values.
    pub values: Vec<ValueRow>,
}

/// One of several concurrent values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ValueRow {
    /// What was written.
    pub value: Content,
    /// The change that wrote it; a choice names it.
    #[serde(serialize_with = "as_text")]
    pub change: ChangeHash,
    /// Whether this one is shown until somebody chooses.
    pub shown: bool,
    /// Who wrote it.
    #[serde(flatten)]
    pub author: Author,
    /// When that device said it was.
    pub device_time: Option<WallMs>,
}

/// How the device stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// This device.
    #[serde(serialize_with = "as_text")]
    pub device: DeviceId,
    /// Who holds it.
    pub person: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// Its server's address.
    pub url: String,
    /// Its server.
    #[serde(serialize_with = "as_text")]
    pub server: ServerId,
    /// The journal in which it is enrolled.
    #[serde(serialize_with = "as_text")]
    pub journal: JournalId,
    /// The present life of its store.
    #[serde(serialize_with = "as_text")]
    pub incarnation: Incarnation,
    /// Documents here, confirmed or not.
    pub documents: usize,
    /// Runs that no server has confirmed.
    pub unsent: usize,
    /// Documents that the server may have lost and was not yet given back.
    pub to_give_back: usize,
    /// Runs of a copied or restored store that are entered again after the next sync.
    pub to_enter_again: usize,
    /// Refused runs that nobody dealt with.
    pub quarantined: usize,
    /// Last position of the server's journal up to which everything in scope is here.
    pub position: Position,
    /// When that was, by this device's clock.
    pub up_to_date_at: Option<WallMs>,
    /// Scopes in which the server's digest differed then.
    #[serde(serialize_with = "as_texts")]
    pub differs: Vec<Scope>,
    /// Things that should not be.
    pub findings: usize,
    /// Files in the data folder with what was cut or damaged there, in which may be work that is
    /// nowhere else.
    pub may_be_lost: usize,
    /// Whether the server said that this device was revoked.
    pub revoked: bool,
    /// Whether the server only takes until an administrator confirms this device.
    pub awaits_confirmation: bool,
    /// Confirmed runs that a server which lost them did not take back.
    pub not_taken_back: usize,
    /// What the present session put off for want of space here.
    #[serde(skip)]
    pub put_off: Option<PutOff>,
}

impl<S: Storage, K: Kv> Device<S, K> {
    /// All documents, by scope, then title.
    ///
    /// # Errors
    /// The device's own stores failed.
    pub fn list(&mut self) -> Result<Vec<Summary>, DeviceError> {
        let mut rows = BTreeMap::new();
        for (id, row) in self.confirmed.documents()? {
            if !row.left || self.tail.of(id).next().is_some() {
                rows.insert(id, Some(row));
            }
        }
        for pending in self.tail.pending() {
            rows.entry(pending.document()).or_insert(None);
        }
        let (refused, lost) = (self.refused()?, self.confirmed.unreturned_of()?);
        let mut list = Vec::with_capacity(rows.len());
        for (id, row) in rows {
            let Some((_, scope)) = self.origin(&id)? else {
                continue;
            };
            let waits = self.tail.of(id).next().is_some();
            let title = match &row {
                Some(row) if !waits => row.title.clone(),
                Some(_) | None => match self.document(&id)? {
                    Some(document) => Title::of(&evidence::view(document)),
                    None => continue,
                },
            };
            let unsent = self.unsent_of(id);
            let pending_time = self.tail.of(id).map(|pending| pending.body().device_time);
            let confirmed_time = row.as_ref().map(|row| row.updated_at);
            list.push(Summary {
                id,
                scope,
                declared: title.declared(),
                delivery: Standing {
                    unsent,
                    refused: refused.get(&id),
                    not_taken_back: lost.get(&id),
                    awaits_return: row.as_ref().is_some_and(|row| self.awaits_return(row)),
                }
                .delivery(title.declared()),
                conflicts: title.conflicts,
                files: title.files,
                updated_at: pending_time.chain(confirmed_time).max().unwrap_or_default(),
                received_at: row.map(|row| row.received_at),
                title: title.title,
                kind: title.kind,
                framework: title
                    .framework
                    .map(|(id, version)| FrameworkVersion { id, version }),
                cycle: title.cycle,
                rows: title.rows,
            });
        }
        list.sort_by(|a, b| (&a.scope, &a.title, a.id).cmp(&(&b.scope, &b.title, b.id)));
        Ok(list)
    }

    /// The shared facts of one document.
    ///
    /// # Errors
    /// [`DeviceError::UnknownDocument`], or the device's own stores failed.
    pub fn show(&mut self, id: &DocumentId) -> Result<Shown, DeviceError> {
        let (kind, scope) = self.origin(id)?.ok_or(DeviceError::UnknownDocument(*id))?;
        let document = self.document(id)?;
        let document = document.ok_or(DeviceError::UnknownDocument(*id))?;
        Ok(Shown {
            id: *id,
            document_kind: kind.as_str(),
            scope,
            evidence: evidence::view(document),
        })
    }

    /// How much of one document the server has.
    ///
    /// # Errors
    /// [`DeviceError::UnknownDocument`], or the device's own stores failed.
    pub fn delivery(&mut self, id: &DocumentId) -> Result<Delivery, DeviceError> {
        let declared = self.show(id)?.evidence.declared;
        let (refused, lost) = (self.refused()?, self.confirmed.unreturned_of()?);
        let row = self.confirmed.document(id)?;
        let standing = Standing {
            unsent: self.unsent_of(*id),
            refused: refused.get(id),
            not_taken_back: lost.get(id),
            awaits_return: row.is_some_and(|row| self.awaits_return(&row)),
        };
        Ok(standing.delivery(declared))
    }

    /// Every change of a document, in an order that respects what builds on what.
    ///
    /// # Errors
    /// [`DeviceError::UnknownDocument`], or the device's own stores failed.
    pub fn history(&mut self, id: &DocumentId) -> Result<Vec<ChangeRow>, DeviceError> {
        let authors = self.authors(id)?;
        let document = self
            .document(id)?
            .ok_or(DeviceError::UnknownDocument(*id))?;
        let entries = evidence::history(document).into_iter();
        Ok(entries
            .map(|entry| ChangeRow {
                change: entry.change,
                author: authors.of(&entry.actor, entry.seq),
                device_time: entry.time,
                edits: entry.edits,
            })
            .collect())
    }

    /// Who wrote each value that is shown.
    ///
    /// # Errors
    /// [`DeviceError::UnknownDocument`], or the device's own stores failed.
    pub fn contributions(&mut self, id: &DocumentId) -> Result<Vec<ContributionRow>, DeviceError> {
        let authors = self.authors(id)?;
        let document = self
            .document(id)?
            .ok_or(DeviceError::UnknownDocument(*id))?;
        let rows = evidence::contributions(document).into_iter();
        Ok(rows
            .map(|row| ContributionRow {
                author: authors.of_change(document, &row.change),
                path: row.path,
                value: row.value,
                parts: row.parts,
                change: row.change,
                device_time: row.time,
            })
            .collect())
    }

    /// The values of a document that wait for a choice, with who wrote them.
    ///
    /// # Errors
    /// [`DeviceError::UnknownDocument`], or the device's own stores failed.
    pub fn conflicts(&mut self, id: &DocumentId) -> Result<Vec<ConflictRow>, DeviceError> {
        let authors = self.authors(id)?;
        let document = self
            .document(id)?
            .ok_or(DeviceError::UnknownDocument(*id))?;
        let conflicts = evidence::view(document).conflicts.into_iter();
        Ok(conflicts
            .map(|conflict| ConflictRow {
                values: conflict
                    .values
                    .into_iter()
                    .map(|value| ValueRow {
                        author: authors.of_change(document, &value.change),
                        device_time: time_of(document, &value.change),
                        value: value.value,
                        change: value.change,
                        shown: value.shown,
                    })
                    .collect(),
                path: conflict.path,
                fingerprint: conflict.fingerprint,
            })
            .collect())
    }

    /// How the device stands.
    ///
    /// # Errors
    /// The device's own stores failed.
    pub fn status(&mut self) -> Result<Status, DeviceError> {
        let mut documents: BTreeSet<DocumentId> = BTreeSet::new();
        let mut to_give_back = 0;
        for (id, row) in self.confirmed.documents()? {
            if !row.left {
                documents.insert(id);
                // What is out of reach nobody can give: it is among what was not taken back.
                let is_given = self.awaits_return(&row) && self.admits(&row);
                to_give_back += usize::from(is_given);
            }
        }
        documents.extend(self.tail.pending().iter().map(|pending| pending.document()));
        let meta = self.confirmed.meta();
        let open = |entry: &&Quarantined| entry.entered_again.is_none();
        Ok(Status {
            device: self.id(),
            person: self.identity.person().to_owned(),
            grants: self.grants.clone(),
            url: self.identity.url().to_owned(),
            server: self.identity.server(),
            journal: self.identity.journal(),
            incarnation: self.tail.incarnation(),
            documents: documents.len(),
            unsent: self.unsent(),
            to_give_back,
            to_enter_again: self.tail.pending().iter().filter(|run| run.reenter).count(),
            quarantined: self.quarantine.list().iter().filter(open).count(),
            position: meta.up_to_date_position,
            up_to_date_at: meta.up_to_date_at,
            differs: meta.differs.clone(),
            findings: self.findings()?.len(),
            may_be_lost: self.aside.iter().filter(|aside| aside.may_be_lost).count(),
            revoked: meta.revoked,
            awaits_confirmation: meta.unconfirmed,
            not_taken_back: self.confirmed.unreturned()?,
            put_off: self.put_off(),
        })
    }

    /// What should not be and was found, the oldest first; last what lies aside in the data folder.
    ///
    /// # Errors
    /// The confirmed store failed.
    pub fn findings(&self) -> Result<Vec<super::Finding>, DeviceError> {
        let aside = self.aside.iter().map(|aside| aside.finding.clone());
        Ok(self
            .confirmed
            .findings()?
            .into_iter()
            .chain(aside)
            .collect())
    }

    /// What sessions did since the device was opened.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Whether the server said that it revoked this device.
    pub fn is_revoked(&self) -> bool {
        self.confirmed.meta().revoked
    }

    /// Runs that no server has confirmed.
    pub fn unsent(&self) -> usize {
        let pending = self.tail.pending().iter();
        pending.filter(|run| run.received.is_none()).count()
    }

    /// Own runs that the server has on its disk and that the feed has not named yet.
    pub fn accepted_runs(&self) -> impl Iterator<Item = RunId> {
        let pending = self.tail.pending().iter();
        pending
            .filter(|run| run.received.is_some())
            .map(|run| run.id())
    }

    fn unsent_of(&self, id: DocumentId) -> usize {
        let pending = self.tail.of(id);
        pending.filter(|run| run.received.is_none()).count()
    }

    fn awaits_return(&self, row: &DocumentRow) -> bool {
        let meta = self.confirmed.meta();
        meta.has_lost_history && meta.awaits_return(row, &self.placements.lineage(&row.scope))
    }

    /// Refused runs that nobody dealt with, by document.
    fn refused(&self) -> Result<BTreeMap<DocumentId, Vec<Quarantined>>, DeviceError> {
        let mut refused: BTreeMap<DocumentId, Vec<Quarantined>> = BTreeMap::new();
        for entry in self.quarantine.list() {
            if entry.entered_again.is_none() {
                refused.entry(entry.document).or_default().push(entry);
            }
        }
        Ok(refused)
    }

    fn authors(&self, id: &DocumentId) -> Result<Authors, DeviceError> {
        let mut authors = Authors {
            runs: Vec::new(),
            directory: self.confirmed.directory()?,
        };
        let me = authors
            .directory
            .entry(self.id())
            .or_insert_with(|| Member {
                person: String::new(),
                grants: Vec::new(),
                enrolled_at: self.identity.enrolled_at(),
                revoked_at: None,
            });
        me.person = self.identity.person().to_owned();
        for row in self.confirmed.envelopes(id)? {
            authors.runs.push(Authored {
                actor: row.envelope.body().actor(),
                seqs: row.envelope.body().first_seq..=row.envelope.body().last_seq(),
                author: Author {
                    device: Some(row.envelope.body().device),
                    person: None,
                    received_at: Some(row.received_at),
                    position: Some(row.position),
                    run: Some(row.envelope.run()),
                },
            });
        }
        for pending in self.tail.of(*id) {
            let body = pending.body();
            authors.runs.push(Authored {
                actor: body.actor(),
                seqs: body.first_seq..=body.last_seq(),
                author: Author {
                    device: Some(body.device),
                    run: Some(pending.id()),
                    ..Author::default()
                },
            });
        }
        Ok(authors)
    }
}

/// What is known of a document beside what it says.
struct Standing<'a> {
    unsent: usize,
    refused: Option<&'a Vec<Quarantined>>,
    not_taken_back: Option<&'a usize>,
    awaits_return: bool,
}

impl Standing<'_> {
    /// What is told of it: what somebody has to look at first.
    fn delivery(self, declared: Declared) -> Delivery {
        let unsent = self.unsent;
        if let Some(runs) = self.refused
            && let Some(last) = runs.last()
        {
            return Delivery::Rejected {
                runs: runs.len(),
                code: last.code.clone(),
                sentence: last.sentence.clone(),
                unsent,
            };
        }
        if let Some(&runs) = self.not_taken_back {
            return Delivery::NotTakenBack { runs, unsent };
        }
        if self.awaits_return {
            return Delivery::ToGiveBack { unsent };
        }
        match (unsent, declared) {
            (0, _) => Delivery::Received,
            (_, Declared::Ready) => Delivery::ReadyToSend { unsent },
            (_, Declared::Draft | Declared::Withdrawn) => Delivery::Draft { unsent },
        }
    }
}

/// Which run each change of one document came in.
struct Authors {
    runs: Vec<Authored>,
    directory: BTreeMap<DeviceId, Member>,
}

struct Authored {
    actor: Actor,
    seqs: std::ops::RangeInclusive<u64>,
    author: Author,
}

impl Authors {
    fn of(&self, actor: &automerge::ActorId, seq: u64) -> Author {
        let Some(actor) = evidence::own_actor(actor) else {
            return Author::default();
        };
        let found = self
            .runs
            .iter()
            .find(|run| run.actor == actor && run.seqs.contains(&seq));
        let mut author = found.map(|run| run.author.clone()).unwrap_or_default();
        let member = author.device.and_then(|device| self.directory.get(&device));
        author.person = member.map(|member| member.person.clone());
        author
    }

    fn of_change(&self, document: &automerge::Automerge, change: &ChangeHash) -> Author {
        match document.get_change_meta_by_hash(&(*change).into()) {
            Some(meta) => self.of(&meta.actor, meta.seq),
            None => Author::default(),
        }
    }
}

fn time_of(document: &automerge::Automerge, change: &ChangeHash) -> Option<WallMs> {
    let meta = document.get_change_meta_by_hash(&(*change).into())?;
    Some(meta.timestamp)
}

/// Serializes an id the way it prints.
pub(super) fn as_text<T: Display, S: Serializer>(id: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

pub(super) fn as_text_option<T: Display, S: Serializer>(
    id: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => serializer.collect_str(id),
        None => serializer.serialize_none(),
    }
}

fn as_texts<T: Display, S: Serializer>(ids: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ids.iter().map(ToString::to_string))
}
