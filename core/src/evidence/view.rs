//! What a document says, read so that nothing it may contain can fail or be lost.

use std::collections::{BTreeMap, BTreeSet};

use automerge::{Automerge, ObjId, ROOT};
use serde::Serialize;

use super::conflict::{Conflict, conflicts};
use super::content::{Content, Reader};
use super::model::{Declared, FieldPath, FileEntry, Place, as_texts, key};
use crate::id::{ChangeHash, FileHash, WallMs};

/// The facts of one piece of evidence that are the same for everybody with the same heads.
///
/// Its JSON is the same byte for byte on every device. What differs between devices (delivery,
/// which files are here) is not part of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvidenceView {
    /// Code of the evidence kind; empty where the document says none.
    pub kind: String,
    /// The framework whose rows it supports.
    pub framework: Option<FrameworkVersion>,
    /// Year of the cycle.
    pub cycle: Option<i64>,
    /// Its title.
    pub title: String,
    /// The rows it supports.
    pub rows: BTreeSet<String>,
    /// The fields that are filled in, known to the kind or not.
    pub fields: BTreeMap<String, Content>,
    /// The narrative.
    pub narrative: String,
    /// How it was recorded.
    pub medium: Option<String>,
    /// When the device said it was captured.
    pub captured_at: Option<WallMs>,
    /// Where it was captured.
    pub place: Option<Place>,
    /// Its files, ordered by hash.
    pub files: Vec<FileEntry>,
    /// Whether it is said to hold personal data.
    pub personal_data: bool,
    /// What the officer declares; an unknown word counts as a draft and is kept in `unknown`.
    pub declared: Declared,
    /// Why it was withdrawn.
    pub withdrawal_reason: Option<String>,
    /// Formatting that another program put on the narrative or a text field.
    pub marks: Vec<MarkView>,
    /// What this version does not know or cannot read, by path.
    pub unknown: BTreeMap<String, Content>,
    /// The values that wait for a choice.
    pub conflicts: Vec<Conflict>,
    /// The heads this was read at, sorted.
    #[serde(serialize_with = "as_texts")]
    pub heads: Vec<ChangeHash>,
}

/// One version of a framework.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FrameworkVersion {
    /// The framework.
    pub id: String,
    /// Its version.
    pub version: String,
}

/// Formatting of a stretch of a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MarkView {
    /// Which text.
    pub path: FieldPath,
    /// Such as `bold`.
    pub name: String,
    /// The value of the mark.
    pub value: Content,
    /// First character, counted from 0.
    pub start: usize,
    /// The character behind the last.
    pub end: usize,
}

/// Reads a document; whatever it holds, this gives a view.
pub fn view(document: &Automerge) -> EvidenceView {
    let reader = Reader::now(document);
    EvidenceView {
        marks: marks(&reader),
        ..read(&reader)
    }
}

/// Whether any of the concurrent declarations says *ready*: such a document counts as handed in
/// until somebody chooses otherwise.
pub fn reads_ready(document: &Automerge) -> bool {
    Reader::now(document)
        .alternatives(&ROOT, key::DECLARED)
        .iter()
        .any(|value| value.content.as_str() == Some(Declared::Ready.as_str()))
}

/// Reads what `reader` shows, except marks, which nothing compares.
pub(super) fn read(reader: &Reader<'_, Automerge>) -> EvidenceView {
    let mut sorter = Sorter::of(reader);
    EvidenceView {
        kind: sorter.take(key::KIND, string).unwrap_or_default(),
        framework: sorter.take(key::FRAMEWORK, framework),
        cycle: sorter.take(key::CYCLE, Content::as_integer),
        title: sorter.take(key::TITLE, string).unwrap_or_default(),
        rows: sorter.take_rows(),
        fields: sorter.take_fields(),
        narrative: sorter.take(key::NARRATIVE, string).unwrap_or_default(),
        medium: sorter.take(key::MEDIUM, string),
        captured_at: sorter.take(key::CAPTURED_AT, Content::as_integer),
        place: sorter.take(key::PLACE, Place::from_content),
        files: sorter.take_files(),
        personal_data: sorter
            .take(key::PERSONAL_DATA, Content::as_boolean)
            .unwrap_or_default(),
        declared: sorter.take(key::DECLARED, declared).unwrap_or_default(),
        withdrawal_reason: sorter.take(key::WITHDRAWAL_REASON, string),
        marks: Vec::new(),
        unknown: sorter.unknown(),
        conflicts: conflicts(reader),
        heads: reader.heads(),
    }
}

/// Hands out what is known of the root map and keeps the rest.
struct Sorter {
    left: BTreeMap<String, Content>,
    unknown: BTreeMap<String, Content>,
}

impl Sorter {
    fn of(reader: &Reader<'_, Automerge>) -> Self {
        let left = reader
            .keys(&ROOT)
            .into_iter()
            .filter_map(|key| Some((key.clone(), reader.shown(&ROOT, &key)?.content)))
            .collect();
        Self {
            left,
            unknown: BTreeMap::new(),
        }
    }

    fn take<T>(&mut self, key: &str, understand: impl Fn(&Content) -> Option<T>) -> Option<T> {
        let content = self.left.remove(key)?;
        let understood = understand(&content);
        if understood.is_none() {
            self.set_aside(&FieldPath::root(key), content);
        }
        understood
    }

    fn take_map(&mut self, key: &str) -> BTreeMap<String, Content> {
        self.take(key, |content| content.as_map().cloned())
            .unwrap_or_default()
    }

    fn take_rows(&mut self) -> BTreeSet<String> {
        let mut rows = BTreeSet::new();
        for (row, supported) in self.take_map(key::ROWS) {
            if supported == Content::Boolean(true) {
                rows.insert(row);
            } else {
                self.set_aside(&FieldPath::root(key::ROWS).child(&row), supported);
            }
        }
        rows
    }

    fn take_fields(&mut self) -> BTreeMap<String, Content> {
        let mut fields = self.take_map(key::FIELDS);
        fields.retain(|_code, value| !value.is_empty_container());
        fields
    }

    fn take_files(&mut self) -> Vec<FileEntry> {
        let mut files = Vec::new();
        for (hash, content) in self.take_map(key::FILES) {
            let path = FieldPath::root(key::FILES).child(&hash);
            let Some(file) = FileEntry::from_content(&hash, &content) else {
                self.set_aside(&path, content);
                continue;
            };
            files.push(file);
            let Content::Map(entries) = content else {
                continue;
            };
            for (key, value) in entries {
                if !FileEntry::KEYS.contains(&key.as_str()) {
                    self.set_aside(&path.child(&key), value);
                }
            }
        }
        files
    }

    fn set_aside(&mut self, path: &FieldPath, content: Content) {
        self.unknown.insert(path.to_string(), content);
    }

    fn unknown(mut self) -> BTreeMap<String, Content> {
        for (key, content) in self.left {
            self.unknown
                .insert(FieldPath::root(&key).to_string(), content);
        }
        self.unknown
    }
}

fn string(content: &Content) -> Option<String> {
    content.as_str().map(str::to_owned)
}

fn framework(content: &Content) -> Option<FrameworkVersion> {
    let entries = content.as_map()?;
    Some(FrameworkVersion {
        id: string(entries.get("id")?)?,
        version: string(entries.get("version")?)?,
    })
}

fn declared(content: &Content) -> Option<Declared> {
    Declared::from_word(content.as_str()?)
}

fn marks(reader: &Reader<'_, Automerge>) -> Vec<MarkView> {
    let fields = FieldPath::root(key::FIELDS);
    let mut found = marks_at(reader, &ROOT, &FieldPath::root(key::NARRATIVE));
    if let Some(map) = reader.map_at(fields.keys()) {
        for code in reader.keys(&map) {
            found.extend(marks_at(reader, &map, &fields.child(&code)));
        }
    }
    found
}

fn marks_at(reader: &Reader<'_, Automerge>, map: &ObjId, path: &FieldPath) -> Vec<MarkView> {
    let Some(text) = reader.text_object(map, path.last()) else {
        return Vec::new();
    };
    let mut marks: Vec<MarkView> = reader
        .marks(&text)
        .into_iter()
        .map(|mark| MarkView {
            path: path.clone(),
            name: mark.name().to_owned(),
            value: super::content::scalar_content(mark.value()),
            start: mark.start,
            end: mark.end,
        })
        .collect();
    marks.sort_by(|a, b| (a.start, a.end, &a.name).cmp(&(b.start, b.end, &b.name)));
    marks
}

impl EvidenceView {
    /// The file of this hash.
    pub fn file(&self, hash: &FileHash) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.hash == *hash)
    }
}
