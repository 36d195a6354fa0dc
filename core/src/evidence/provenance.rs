//! Who wrote what, and when their devices say they did.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use automerge::{ActorId, Automerge, ObjId, ROOT, ReadDoc};
use serde::Serialize;

use super::conflict::{as_actor, writer};
use super::content::{Alternative, Content, Reader};
use super::model::{FieldPath, as_text, key};
use super::text;
use super::view::{EvidenceView, read};
use crate::id::{ChangeHash, FileHash, WallMs};

/// Who wrote a value that is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contribution {
    /// Which value; a row is `rows/…`, a file `files/…`.
    pub path: FieldPath,
    /// The value; `None` for texts and lists, which may have several writers.
    pub value: Option<Content>,
    /// How many of the characters or items that are shown this writer wrote; 1 for a single value.
    pub parts: usize,
    /// The writer's latest change that is still visible here.
    #[serde(serialize_with = "as_text")]
    pub change: ChangeHash,
    /// The writer. The caller knows which device and person that is.
    #[serde(serialize_with = "as_actor")]
    pub actor: ActorId,
    /// When the writer's device says it was.
    pub time: WallMs,
}

/// One change and what it did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistoryEntry {
    /// The change.
    #[serde(serialize_with = "as_text")]
    pub change: ChangeHash,
    /// Who made it.
    #[serde(serialize_with = "as_actor")]
    pub actor: ActorId,
    /// Its number among the changes of this actor, from 1.
    pub seq: u64,
    /// When the device says it was.
    pub time: WallMs,
    /// What became different; each prints as one line.
    pub edits: Vec<Difference>,
}

/// One difference between two states of a piece of evidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "edit", rename_all = "snake_case")]
pub enum Difference {
    /// A value was set.
    Set {
        /// Which value.
        path: FieldPath,
        /// What stood there.
        from: Option<Content>,
        /// What stands there instead.
        to: Content,
    },
    /// A value was taken away.
    Cleared {
        /// Which value.
        path: FieldPath,
        /// What stood there.
        from: Content,
    },
    /// A text was written on.
    Written {
        /// Which text.
        path: FieldPath,
        /// Characters that came.
        added: usize,
        /// Characters that went.
        removed: usize,
    },
    /// One of several concurrent values was chosen, or another put in their place.
    Chosen {
        /// Which value.
        path: FieldPath,
        /// What stands there since; `None` where all were taken away.
        value: Option<Content>,
        /// The other values that stood there.
        over: Vec<Content>,
    },
    /// A row was added to those that it supports.
    RowAdded {
        /// The row.
        row: String,
    },
    /// A row was removed.
    RowRemoved {
        /// The row.
        row: String,
    },
    /// A file was attached.
    FileAdded {
        /// Which file.
        #[serde(serialize_with = "as_text")]
        hash: FileHash,
        /// Its name.
        name: String,
    },
    /// What is said of a file was corrected.
    FileChanged {
        /// Which file.
        #[serde(serialize_with = "as_text")]
        hash: FileHash,
        /// Its name.
        name: String,
    },
    /// A file was taken off.
    FileRemoved {
        /// Which file.
        #[serde(serialize_with = "as_text")]
        hash: FileHash,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set {
                path,
                from: None,
                to,
            } => write!(f, "{}: {to}", label(path)),
            Self::Set {
                path,
                from: Some(from),
                to,
            } => {
                write!(f, "{}: {from} → {to}", label(path))
            }
            Self::Cleared { path, from } => write!(f, "{}: {from} cleared", label(path)),
            Self::Written {
                path,
                added,
                removed,
            } => {
                write!(f, "{}: +{added} −{removed} characters", label(path))
            }
            Self::Chosen { path, value, over } => {
                match value {
                    Some(value) => write!(f, "{}: chose {value}", label(path))?,
                    None => write!(f, "{}: chose none", label(path))?,
                }
                for (index, other) in over.iter().enumerate() {
                    let joint = if index == 0 { " over" } else { " and" };
                    write!(f, "{joint} {other}")?;
                }
                Ok(())
            }
            Self::RowAdded { row } => write!(f, "row {row} added"),
            Self::RowRemoved { row } => write!(f, "row {row} removed"),
            Self::FileAdded { name, .. } => write!(f, "file \"{name}\" added"),
            Self::FileChanged { name, .. } => write!(f, "file \"{name}\" corrected"),
            Self::FileRemoved { name, .. } => write!(f, "file \"{name}\" removed"),
        }
    }
}

/// Fields are named by their code alone; their codes read better so and people know no other
/// level.
fn label(path: &FieldPath) -> String {
    let text = path.to_string();
    match text.strip_prefix("fields/") {
        Some(code) => code.to_owned(),
        None => text,
    }
}

/// Who wrote each value that is shown, in the order of the paths.
pub fn contributions(document: &Automerge) -> Vec<Contribution> {
    let reader = Reader::now(document);
    let mut found = Credits {
        counted: last_counts(document),
        document,
        list: Vec::new(),
    };
    for key in reader.keys(&ROOT) {
        let path = FieldPath::root(&key);
        let Some(shown) = reader.shown(&ROOT, &key) else {
            continue;
        };
        if [key::ROWS, key::FIELDS, key::FILES].contains(&key.as_str()) {
            found.credit_entries(&reader, &shown.id, &path);
        } else {
            found.credit(path, shown);
        }
    }
    found.list
}

/// The changes in an order that respects their dependencies and is the same on every device, each
/// with what it did. Where the dependencies leave it open, the device's time decides, then the
/// hash.
///
/// Reads the document once for each change, a second for about 500: for when a person asks.
pub fn history(document: &Automerge) -> Vec<HistoryEntry> {
    let mut entries: Vec<HistoryEntry> = Vec::new();
    let mut last: Option<(automerge::ChangeHash, EvidenceView)> = None;
    for change in in_causal_order(document) {
        let before = match last {
            Some((hash, view)) if change.deps == [hash] => view,
            Some(_) | None => read(&Reader::at(document, &change.deps)),
        };
        let after = read(&Reader::at(document, &[change.hash]));
        entries.push(HistoryEntry {
            change: change.hash.into(),
            actor: change.actor.into_owned(),
            seq: change.seq,
            time: change.timestamp,
            edits: differences(&before, &after),
        });
        last = Some((change.hash, after));
    }
    entries
}

/// What became different from one state to another.
pub fn differences(before: &EvidenceView, after: &EvidenceView) -> Vec<Difference> {
    let mut found = Vec::new();
    let (old, new) = (values(before), values(after));
    let settled = settled(before, after);
    let paths: BTreeSet<&FieldPath> = old.keys().chain(new.keys()).chain(settled.keys()).collect();
    for path in paths {
        let (from, to) = (old.get(path), new.get(path));
        if let Some(over) = settled.get(path) {
            let value = to.cloned();
            let over = over
                .iter()
                .filter(|other| Some(*other) != to)
                .cloned()
                .collect();
            found.push(Difference::Chosen {
                path: path.clone(),
                value,
                over,
            });
        } else if from != to {
            found.extend(difference(path, from, to));
        }
    }
    found.extend(row_differences(before, after));
    found.extend(file_differences(before, after));
    found
}

fn difference(
    path: &FieldPath,
    from: Option<&Content>,
    to: Option<&Content>,
) -> Option<Difference> {
    let path = path.clone();
    Some(match (from, to) {
        (Some(Content::Text(old)), Some(Content::Text(new))) => written(path, old, new),
        (None, Some(Content::Text(new))) => written(path, "", new),
        (Some(Content::Text(old)), None) => written(path, old, ""),
        (from, Some(to)) => Difference::Set {
            path,
            from: from.cloned(),
            to: to.clone(),
        },
        (Some(from), None) => Difference::Cleared {
            path,
            from: from.clone(),
        },
        (None, None) => return None,
    })
}

fn written(path: FieldPath, old: &str, new: &str) -> Difference {
    let splices = text::splices(old, new);
    Difference::Written {
        path,
        added: splices
            .iter()
            .map(|splice| splice.insert.chars().count())
            .sum(),
        removed: splices.iter().map(|splice| splice.remove).sum(),
    }
}

fn row_differences(before: &EvidenceView, after: &EvidenceView) -> Vec<Difference> {
    let added = after.rows.difference(&before.rows).cloned();
    let removed = before.rows.difference(&after.rows).cloned();
    added
        .map(|row| Difference::RowAdded { row })
        .chain(removed.map(|row| Difference::RowRemoved { row }))
        .collect()
}

fn file_differences(before: &EvidenceView, after: &EvidenceView) -> Vec<Difference> {
    let mut found = Vec::new();
    for file in &after.files {
        let (hash, name) = (file.hash, file.name.clone());
        match before.file(&hash) {
            None => found.push(Difference::FileAdded { hash, name }),
            Some(old) if old != file => found.push(Difference::FileChanged { hash, name }),
            Some(_) => {}
        }
    }
    for file in &before.files {
        let (hash, name) = (file.hash, file.name.clone());
        if after.file(&hash).is_none() {
            found.push(Difference::FileRemoved { hash, name });
        }
    }
    found
}

/// The conflicts of `before` that are gone in `after`, with their values.
fn settled(before: &EvidenceView, after: &EvidenceView) -> BTreeMap<FieldPath, Vec<Content>> {
    let open: BTreeSet<&FieldPath> = after.conflicts.iter().map(|open| &open.path).collect();
    before
        .conflicts
        .iter()
        .filter(|conflict| !open.contains(&conflict.path))
        .map(|conflict| {
            let values = conflict.values.iter().map(|value| value.value.clone());
            (conflict.path.clone(), values.collect())
        })
        .collect()
}

/// All values of a view except rows and files, by path.
fn values(view: &EvidenceView) -> BTreeMap<FieldPath, Content> {
    let string = |text: &str| (!text.is_empty()).then(|| Content::String(text.to_owned()));
    let framework = view.framework.as_ref();
    let framework = framework.map(|it| Content::String(format!("{} {}", it.id, it.version)));
    let narrative = Content::Text(view.narrative.clone());
    let root = [
        (key::KIND, string(&view.kind)),
        (key::FRAMEWORK, framework),
        (key::CYCLE, view.cycle.map(Content::Integer)),
        (key::TITLE, string(&view.title)),
        (
            key::NARRATIVE,
            Some(narrative).filter(|text| !text.is_empty_container()),
        ),
        (key::MEDIUM, view.medium.clone().map(Content::String)),
        (key::CAPTURED_AT, view.captured_at.map(Content::Integer)),
        (
            key::PLACE,
            view.place.as_ref().map(super::model::Place::to_content),
        ),
        (
            key::PERSONAL_DATA,
            view.personal_data.then_some(Content::Boolean(true)),
        ),
        (key::DECLARED, string(view.declared.as_str())),
        (
            key::WITHDRAWAL_REASON,
            view.withdrawal_reason.clone().map(Content::String),
        ),
    ];
    let root = root
        .into_iter()
        .map(|(key, value)| (FieldPath::root(key), value));
    let fields = view.fields.iter();
    let fields = fields.map(|(code, value)| (FieldPath::field(code), Some(value.clone())));
    let unknown = view.unknown.iter();
    let unknown =
        unknown.filter_map(|(path, value)| Some((path.parse().ok()?, Some(value.clone()))));
    root.chain(fields)
        .chain(unknown)
        .filter_map(|(path, value)| Some((path, value?)))
        .collect()
}

fn in_causal_order(document: &Automerge) -> Vec<automerge::ChangeMetadata<'_>> {
    let mut waiting: BTreeMap<automerge::ChangeHash, automerge::ChangeMetadata<'_>> = document
        .get_changes_meta(&[])
        .into_iter()
        .map(|change| (change.hash, change))
        .collect();
    let mut followers: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut missing = BTreeMap::new();
    let mut free = BTreeSet::new();
    for change in waiting.values() {
        missing.insert(change.hash, change.deps.len());
        for dep in &change.deps {
            followers.entry(*dep).or_default().push(change.hash);
        }
        if change.deps.is_empty() {
            free.insert((change.timestamp, change.hash));
        }
    }
    let mut ordered = Vec::with_capacity(waiting.len());
    while let Some((_time, hash)) = free.pop_first() {
        for follower in followers.remove(&hash).unwrap_or_default() {
            let Some(count) = missing.get_mut(&follower) else {
                continue;
            };
            *count -= 1;
            if *count == 0
                && let Some(change) = waiting.get(&follower)
            {
                free.insert((change.timestamp, follower));
            }
        }
        ordered.extend(waiting.remove(&hash));
    }
    ordered
}

/// For each counter, by the operation that made it, the last change that counted on.
fn last_counts(document: &Automerge) -> BTreeMap<(u64, ActorId), automerge::ChangeHash> {
    let mut last = BTreeMap::new();
    for meta in in_causal_order(document) {
        let Some(change) = document.get_change_by_hash(&meta.hash) else {
            continue;
        };
        for operation in change.decode().operations {
            if let automerge::legacy::OpType::Increment(_) = operation.action {
                for counter in operation.pred.iter() {
                    last.insert((counter.counter(), counter.actor().clone()), meta.hash);
                }
            }
        }
    }
    last
}

struct Credits<'a> {
    document: &'a Automerge,
    counted: BTreeMap<(u64, ActorId), automerge::ChangeHash>,
    list: Vec<Contribution>,
}

impl Credits<'_> {
    /// Credits each entry of a map by itself: rows, fields, files, and the groups of a count.
    fn credit_entries(&mut self, reader: &Reader<'_, Automerge>, map: &ObjId, path: &FieldPath) {
        for key in reader.keys(map) {
            let path = path.child(&key);
            let Some(shown) = reader.shown(map, &key) else {
                continue;
            };
            let is_field = path.keys().len() == 2 && path.keys()[0] == key::FIELDS;
            if is_field && shown.content.as_map().is_some() {
                self.credit_entries(reader, &shown.id, &path);
            } else {
                self.credit(path, shown);
            }
        }
    }

    fn credit(&mut self, path: FieldPath, shown: Alternative) {
        match shown.content {
            Content::Text(_) | Content::List(_) => self.credit_parts(&path, &shown.id),
            Content::Counter(_) => {
                let counted = operation(&shown.id).and_then(|id| self.counted.get(&id).copied());
                let change = counted.or_else(|| self.document.hash_for_opid(&shown.id));
                self.add(path, Some(shown.content), 1, change);
            }
            value => {
                let change = self.document.hash_for_opid(&shown.id);
                self.add(path, Some(value), 1, change);
            }
        }
    }

    /// Credits each writer of a text or list with the characters or items that are left.
    fn credit_parts(&mut self, path: &FieldPath, sequence: &ObjId) {
        let mut parts: BTreeMap<ActorId, (usize, ObjId)> = BTreeMap::new();
        for item in self.document.list_range(sequence, ..) {
            let id = item.id();
            let Some(actor) = writer(&id) else { continue };
            let (count, latest) = parts.entry(actor.clone()).or_insert((0, id.clone()));
            *count += 1;
            if id > *latest {
                *latest = id;
            }
        }
        for (_actor, (count, latest)) in parts {
            let change = self.document.hash_for_opid(&latest);
            self.add(path.clone(), None, count, change);
        }
    }

    fn add(
        &mut self,
        path: FieldPath,
        value: Option<Content>,
        parts: usize,
        change: Option<automerge::ChangeHash>,
    ) {
        let change = change.and_then(|hash| self.document.get_change_meta_by_hash(&hash));
        if let Some(change) = change {
            self.list.push(Contribution {
                path,
                value,
                parts,
                change: change.hash.into(),
                actor: change.actor.into_owned(),
                time: change.timestamp,
            });
        }
    }
}

fn operation(id: &ObjId) -> Option<(u64, ActorId)> {
    match id {
        ObjId::Root => None,
        ObjId::Id(counter, actor, _) => Some((*counter, actor.clone())),
    }
}
