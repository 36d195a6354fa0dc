//! Edits as a person makes them, stored as the smallest change to the document.

use std::collections::BTreeMap;

use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{Automerge, AutomergeError, ObjId, ObjType, ROOT, ScalarValue};

use super::conflict::Conflict;
use super::content::{Alternative, Content, Reader};
use super::model::{Declared, FieldPath, FileEntry, NewEvidence, Place, Value, key, rows_content};
use super::text;
use crate::id::{Actor, ChangeHash, FileHash, Fingerprint, WallMs};

/// One edit.
///
/// Setting what already stands is no change, unless concurrent values stand there: then it is a
/// choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Gives it another title.
    Title(String),
    /// Sets a field of the kind. A text is given whole and stored as the smallest replacements,
    /// a list alike; counts are stored as differences, so that concurrent ones add up.
    Field {
        /// Code of the field.
        code: String,
        /// What it says from here on.
        value: Value,
    },
    /// Empties a field.
    ClearField(String),
    /// Gives the whole text of the narrative, stored as the smallest replacements.
    Narrative(String),
    /// Says that it supports a row.
    AddRow(String),
    /// Says that it does not support a row.
    RemoveRow(String),
    /// Attaches a file or corrects what is said of it.
    AddFile(FileEntry),
    /// Takes a file off the evidence; the file itself stays where it is stored.
    RemoveFile(FileHash),
    /// Says how it was recorded.
    Medium(Option<String>),
    /// Says when it was captured.
    CapturedAt(Option<WallMs>),
    /// Says where it was captured. A place is one value: two halves never mix.
    Place(Option<Place>),
    /// Says whether it holds personal data.
    PersonalData(bool),
    /// Declares a draft or readiness; [`Edit::Withdraw`] withdraws.
    Declare(Declared),
    /// Withdraws it.
    Withdraw {
        /// Why; never empty.
        reason: String,
    },
    /// Chooses one of several concurrent values. Every choice is checked against the document as
    /// it was before all edits.
    Resolve {
        /// Which value, as [`Conflict::path`] says.
        path: FieldPath,
        /// The change that wrote the value to keep.
        keep: ChangeHash,
        /// [`Conflict::fingerprint`] of the set that was shown.
        expected: Fingerprint,
    },
}

/// Why edits were not made; the document is as before.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Nobody disagrees about this value.
    #[error("cannot choose a value of '{path}': there are no concurrent values")]
    NoConflict {
        /// Which value.
        path: FieldPath,
    },
    /// Values came or went since the choice was offered: list them again.
    #[error("cannot choose a value of '{path}': the values changed since they were listed")]
    Stale {
        /// Which value.
        path: FieldPath,
    },
    /// The change to keep wrote none of the concurrent values.
    #[error("cannot choose a value of '{path}': none is of change {keep}")]
    NoSuchValue {
        /// Which value.
        path: FieldPath,
        /// The change that was named.
        keep: ChangeHash,
    },
    /// Evidence is withdrawn with a reason only.
    #[error("cannot withdraw without a reason")]
    ReasonMissing,
    /// Another program put something else where this edit belongs.
    #[error("cannot write to '{path}': it is not a {expected} in this document")]
    Shape {
        /// Where.
        path: FieldPath,
        /// What the layout puts there.
        expected: &'static str,
    },
    /// The value holds something that cannot be written again in full.
    #[error("cannot write '{path}' again: it is nested too deeply")]
    TooDeep {
        /// Which value.
        path: FieldPath,
    },
    /// Automerge refused an operation.
    #[error("cannot edit the document")]
    Automerge(#[from] AutomergeError),
}

/// Starts a document with the one change that has no dependencies; returns both.
///
/// That change makes every object that several people write to (`rows`, `fields`, `files`, the
/// narrative, and the texts, lists and counts among the fields), so that first edits made
/// concurrently meet in the same object. `time` is stored as it is, in milliseconds.
pub fn create(actor: Actor, time: WallMs, new: &NewEvidence) -> (Automerge, Vec<u8>) {
    let mut document = Automerge::new().with_actor(actor.to_automerge());
    let mut transaction = document.transaction();
    write_root(&mut transaction, new).expect("an empty document takes every value");
    transaction.commit_with(CommitOptions::default().with_time(time));
    let bytes = last_change(&document);
    (document, bytes)
}

/// Makes all edits as one change and returns its bytes; `None` when nothing changes.
///
/// The bytes are an Automerge change chunk, compressed (chunk type 2) where that is smaller.
/// `actor` must be the device's own for this document; `time` is what its clock says.
///
/// # Errors
///
/// A choice on an outdated set of values, a withdrawal without a reason, or a document whose
/// layout another program broke. No edit is made then.
pub fn edit(
    document: &mut Automerge,
    actor: Actor,
    time: WallMs,
    edits: &[Edit],
) -> Result<Option<Vec<u8>>, EditError> {
    let mut steps = Vec::with_capacity(edits.len());
    for edit in edits {
        steps.push(match edit {
            Edit::Resolve {
                path,
                keep,
                expected,
            } => Step::Put(chosen(document, path, *keep, *expected)?),
            other => Step::Edit(other),
        });
    }
    document.set_actor(actor.to_automerge());
    let mut transaction = document.transaction();
    for step in steps {
        match step {
            Step::Edit(edit) => apply(&mut transaction, edit)?,
            Step::Put(Chosen { map, path, content }) => {
                put(&mut transaction, &map, path, &content)?;
            }
        }
    }
    if transaction.pending_ops() == 0 {
        transaction.rollback();
        return Ok(None);
    }
    transaction.commit_with(CommitOptions::default().with_time(time));
    Ok(Some(last_change(document)))
}

enum Step<'a> {
    Edit(&'a Edit),
    Put(Chosen<'a>),
}

struct Chosen<'a> {
    map: ObjId,
    path: &'a FieldPath,
    content: Content,
}

fn chosen<'a>(
    document: &Automerge,
    path: &'a FieldPath,
    keep: ChangeHash,
    expected: Fingerprint,
) -> Result<Chosen<'a>, EditError> {
    let conflict =
        Conflict::at(document, path).ok_or_else(|| EditError::NoConflict { path: path.clone() })?;
    if conflict.fingerprint != expected {
        return Err(EditError::Stale { path: path.clone() });
    }
    let mut values = conflict.values.into_iter();
    let value =
        values
            .find(|value| value.change == keep)
            .ok_or_else(|| EditError::NoSuchValue {
                path: path.clone(),
                keep,
            })?;
    let parents = &path.keys()[..path.keys().len() - 1];
    let map = Reader::now(document)
        .map_at(parents)
        .ok_or_else(|| EditError::Shape {
            path: path.clone(),
            expected: "map",
        })?;
    Ok(Chosen {
        map,
        path,
        content: value.value,
    })
}

fn last_change(document: &Automerge) -> Vec<u8> {
    let mut change = document
        .get_last_local_change()
        .expect("a change was just committed under this actor");
    let compressed = change.bytes().into_owned();
    if compressed.len() < change.raw_bytes().len() {
        compressed
    } else {
        change.raw_bytes().to_vec()
    }
}

fn write_root(tx: &mut Transaction<'_>, new: &NewEvidence) -> Result<(), EditError> {
    let scalars = [
        (key::KIND, Some(Content::String(new.kind.clone()))),
        (key::CYCLE, Some(Content::Integer(new.cycle.into()))),
        (key::TITLE, Some(Content::String(new.title.clone()))),
        (
            key::DECLARED,
            Some(Content::String(Declared::Draft.as_str().into())),
        ),
        (
            key::PERSONAL_DATA,
            Some(Content::Boolean(new.personal_data)),
        ),
        (key::MEDIUM, new.medium.clone().map(Content::String)),
        (key::CAPTURED_AT, new.captured_at.map(Content::Integer)),
        (key::PLACE, new.place.as_ref().map(Place::to_content)),
        (
            key::FRAMEWORK,
            Some(Content::Map(BTreeMap::from([
                ("id".into(), Content::String(new.framework_id.clone())),
                (
                    "version".into(),
                    Content::String(new.framework_version.clone()),
                ),
            ]))),
        ),
        (key::ROWS, Some(rows_content(&new.rows))),
        (key::FIELDS, Some(Content::Map(BTreeMap::new()))),
        (key::FILES, Some(Content::Map(BTreeMap::new()))),
        (key::NARRATIVE, Some(Content::Text(new.narrative.clone()))),
    ];
    for (key, content) in scalars {
        if let Some(content) = content {
            put(tx, &ROOT, &FieldPath::root(key), &content)?;
        }
    }
    let shared = [
        (&new.text_fields, Content::Text(String::new())),
        (&new.list_fields, Content::List(Vec::new())),
        (&new.count_fields, Content::Map(BTreeMap::new())),
    ];
    for (codes, empty) in shared {
        for code in codes {
            set_field(tx, code, &empty)?;
        }
    }
    for (code, value) in &new.fields {
        set_field(tx, code, &value.clone().into_content())?;
    }
    for file in &new.files {
        add_file(tx, file)?;
    }
    Ok(())
}

fn apply(tx: &mut Transaction<'_>, edit: &Edit) -> Result<(), EditError> {
    match edit {
        Edit::Title(title) => set_root(tx, key::TITLE, Some(Content::String(title.clone()))),
        Edit::Field { code, value } => set_field(tx, code, &value.clone().into_content()),
        Edit::ClearField(code) => clear_field(tx, code),
        Edit::Narrative(text) => set_root(tx, key::NARRATIVE, Some(Content::Text(text.clone()))),
        Edit::AddRow(row) => {
            let rows = container(tx, key::ROWS)?;
            let path = FieldPath::root(key::ROWS).child(row);
            assign(tx, &rows, &path, &Content::Boolean(true))
        }
        Edit::RemoveRow(row) => {
            let rows = container(tx, key::ROWS)?;
            remove(tx, &rows, row)
        }
        Edit::AddFile(file) => add_file(tx, file),
        Edit::RemoveFile(hash) => {
            let files = container(tx, key::FILES)?;
            remove(tx, &files, &hash.to_string())
        }
        Edit::Medium(medium) => set_root(tx, key::MEDIUM, medium.clone().map(Content::String)),
        Edit::CapturedAt(time) => set_root(tx, key::CAPTURED_AT, time.map(Content::Integer)),
        Edit::Place(place) => set_place(tx, place.as_ref()),
        Edit::PersonalData(yes) => set_root(tx, key::PERSONAL_DATA, Some(Content::Boolean(*yes))),
        Edit::Declare(declared) => declare(tx, *declared, None),
        Edit::Withdraw { reason } => declare(tx, Declared::Withdrawn, Some(reason)),
        Edit::Resolve { .. } => unreachable!("choices were made into values before"),
    }
}

fn declare(
    tx: &mut Transaction<'_>,
    declared: Declared,
    reason: Option<&String>,
) -> Result<(), EditError> {
    let reason = reason.filter(|reason| !reason.trim().is_empty());
    if declared == Declared::Withdrawn && reason.is_none() {
        return Err(EditError::ReasonMissing);
    }
    set_root(
        tx,
        key::DECLARED,
        Some(Content::String(declared.as_str().into())),
    )?;
    set_root(
        tx,
        key::WITHDRAWAL_REASON,
        reason.cloned().map(Content::String),
    )
}

fn set_place(tx: &mut Transaction<'_>, place: Option<&Place>) -> Result<(), EditError> {
    let path = FieldPath::root(key::PLACE);
    let Some(content) = place.map(Place::to_content) else {
        return remove(tx, &ROOT, key::PLACE);
    };
    if stands(tx, &ROOT, key::PLACE).as_ref() == Some(&content) {
        return Ok(());
    }
    put(tx, &ROOT, &path, &content)
}

fn set_root(tx: &mut Transaction<'_>, key: &str, value: Option<Content>) -> Result<(), EditError> {
    match value {
        Some(content) => assign(tx, &ROOT, &FieldPath::root(key), &content),
        None => remove(tx, &ROOT, key),
    }
}

fn set_field(tx: &mut Transaction<'_>, code: &str, content: &Content) -> Result<(), EditError> {
    let fields = container(tx, key::FIELDS)?;
    assign(tx, &fields, &FieldPath::field(code), content)
}

/// Empties a text, list or map and keeps the object, so that what others add meanwhile merges;
/// deletes anything else.
fn clear_field(tx: &mut Transaction<'_>, code: &str) -> Result<(), EditError> {
    let fields = container(tx, key::FIELDS)?;
    let path = FieldPath::field(code);
    match stands(tx, &fields, code) {
        Some(Content::Text(_)) => assign(tx, &fields, &path, &Content::Text(String::new())),
        Some(Content::List(_)) => assign(tx, &fields, &path, &Content::List(Vec::new())),
        Some(Content::Map(_)) => assign(tx, &fields, &path, &Content::Map(BTreeMap::new())),
        Some(_) | None => remove(tx, &fields, code),
    }
}

fn add_file(tx: &mut Transaction<'_>, file: &FileEntry) -> Result<(), EditError> {
    let files = container(tx, key::FILES)?;
    let hash = file.hash.to_string();
    let path = FieldPath::root(key::FILES).child(&hash);
    let mut entries = file.to_entries();
    let Some(Content::Map(held)) = stands(tx, &files, &hash) else {
        return put(tx, &files, &path, &Content::Map(entries));
    };
    if Reader::now(tx).alternatives(&files, &hash).len() > 1 {
        let same = |known: &&str| held.get(*known) == entries.get(*known);
        if FileEntry::KEYS.iter().all(same) {
            return Ok(());
        }
        // Written into one of several equal entries, the change would leave the others behind.
        let is_unknown = |key: &String| !FileEntry::KEYS.contains(&key.as_str());
        entries.extend(held.into_iter().filter(|(key, _)| is_unknown(key)));
        return put(tx, &files, &path, &Content::Map(entries));
    }
    let Some(entry) = Reader::now(tx).map_at(path.keys()) else {
        return put(tx, &files, &path, &Content::Map(entries));
    };
    for known in FileEntry::KEYS {
        match entries.get(known) {
            Some(content) => assign(tx, &entry, &path.child(known), content)?,
            None => remove(tx, &entry, known)?,
        }
    }
    Ok(())
}

/// The map under a root key, made where another program left it out.
fn container(tx: &mut Transaction<'_>, key: &str) -> Result<ObjId, EditError> {
    match Reader::now(tx).shown(&ROOT, key) {
        None => Ok(tx.put_object(ROOT, key, ObjType::Map)?),
        Some(found) if found.content.as_map().is_some() => Ok(found.id),
        Some(_) => Err(EditError::Shape {
            path: FieldPath::root(key),
            expected: "map",
        }),
    }
}

/// The value on which all agree; `None` where there is none or several stand concurrently.
fn stands(tx: &Transaction<'_>, map: &ObjId, key: &str) -> Option<Content> {
    let mut values = Reader::now(tx)
        .alternatives(map, key)
        .into_iter()
        .map(|value| value.content);
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

fn remove(tx: &mut Transaction<'_>, map: &ObjId, key: &str) -> Result<(), EditError> {
    if !Reader::now(tx).alternatives(map, key).is_empty() {
        tx.delete(map, key)?;
    }
    Ok(())
}

/// Brings the value at `path`, whose map is `map`, to `wanted` with the fewest operations.
fn assign(
    tx: &mut Transaction<'_>,
    map: &ObjId,
    path: &FieldPath,
    wanted: &Content,
) -> Result<(), EditError> {
    if stands(tx, map, path.last()).as_ref() == Some(wanted) {
        return Ok(());
    }
    // Several objects stand here: editing one of them would make the others differ from it.
    let mut found = Reader::now(tx).alternatives(map, path.last());
    let (
        Some(Alternative {
            content,
            id: object,
        }),
        true,
    ) = (found.pop(), found.is_empty())
    else {
        return put(tx, map, path, wanted);
    };
    match (&content, wanted) {
        (Content::Text(old), Content::Text(new)) => {
            for splice in text::splices(old, new) {
                let removed = isize::try_from(splice.remove).expect("a text fits in memory");
                tx.splice_text(&object, splice.at, removed, &splice.insert)?;
            }
            Ok(())
        }
        (Content::List(old), Content::List(new)) => assign_list(tx, &object, path, old, new),
        (Content::Map(old), Content::Map(new)) => {
            for gone in old.keys().filter(|key| !new.contains_key(*key)) {
                tx.delete(&object, gone.as_str())?;
            }
            for (key, wanted) in new {
                assign(tx, &object, &path.child(key), wanted)?;
            }
            Ok(())
        }
        (Content::Counter(old), Content::Counter(new)) => {
            tx.increment(map, path.last(), new.wrapping_sub(*old))?;
            Ok(())
        }
        _another_type => put(tx, map, path, wanted),
    }
}

fn assign_list(
    tx: &mut Transaction<'_>,
    list: &ObjId,
    path: &FieldPath,
    old: &[Content],
    new: &[Content],
) -> Result<(), EditError> {
    for hunk in text::hunks(old, new).into_iter().rev() {
        for _ in hunk.old.clone() {
            tx.delete(list, hunk.old.start)?;
        }
        for (offset, item) in new[hunk.new].iter().enumerate() {
            insert(tx, list, hunk.old.start + offset, path, item)?;
        }
    }
    Ok(())
}

/// Writes a value over whatever stands at `path`.
fn put(
    tx: &mut Transaction<'_>,
    map: &ObjId,
    path: &FieldPath,
    content: &Content,
) -> Result<(), EditError> {
    match scalar_or_type(path, content)? {
        Written::Scalar(scalar) => tx.put(map, path.last(), scalar)?,
        Written::Object(object) => {
            let object = tx.put_object(map, path.last(), object)?;
            fill(tx, &object, path, content)?;
        }
    }
    Ok(())
}

fn insert(
    tx: &mut Transaction<'_>,
    list: &ObjId,
    index: usize,
    path: &FieldPath,
    content: &Content,
) -> Result<(), EditError> {
    match scalar_or_type(path, content)? {
        Written::Scalar(scalar) => tx.insert(list, index, scalar)?,
        Written::Object(object) => {
            let object = tx.insert_object(list, index, object)?;
            fill(tx, &object, path, content)?;
        }
    }
    Ok(())
}

/// Fills an object that was just made.
fn fill(
    tx: &mut Transaction<'_>,
    object: &ObjId,
    path: &FieldPath,
    content: &Content,
) -> Result<(), EditError> {
    match content {
        Content::Text(text) if !text.is_empty() => tx.splice_text(object, 0, 0, text)?,
        Content::List(items) => {
            for (index, item) in items.iter().enumerate() {
                insert(tx, object, index, path, item)?;
            }
        }
        Content::Map(entries) => {
            for (key, value) in entries {
                put(tx, object, &path.child(key), value)?;
            }
        }
        _nothing_to_fill => {}
    }
    Ok(())
}

enum Written {
    Scalar(ScalarValue),
    Object(ObjType),
}

fn scalar_or_type(path: &FieldPath, content: &Content) -> Result<Written, EditError> {
    Ok(Written::Scalar(match content {
        Content::Text(_) => return Ok(Written::Object(ObjType::Text)),
        Content::List(_) => return Ok(Written::Object(ObjType::List)),
        Content::Map(_) => return Ok(Written::Object(ObjType::Map)),
        Content::TooDeep => return Err(EditError::TooDeep { path: path.clone() }),
        Content::Null => ScalarValue::Null,
        Content::Boolean(yes) => ScalarValue::Boolean(*yes),
        Content::Integer(number) => ScalarValue::Int(*number),
        Content::Unsigned(number) => ScalarValue::Uint(*number),
        Content::Float(number) => ScalarValue::F64(*number),
        Content::String(text) => ScalarValue::Str(text.into()),
        Content::Counter(count) => ScalarValue::counter(*count),
        Content::Timestamp(ms) => ScalarValue::Timestamp(*ms),
        Content::Bytes(bytes) => ScalarValue::Bytes(bytes.clone()),
        Content::Other { type_code, bytes } => ScalarValue::Unknown {
            type_code: *type_code,
            bytes: bytes.clone(),
        },
    }))
}
