//! What changes say by themselves, where the document that they were made on is not here.

use std::collections::BTreeMap;

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{Change, ScalarValue};

use super::content::{Content, scalar_content};
use super::model::key;

/// What a person can read of changes alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    /// The last title that they give; empty where they give none.
    pub title: String,
    /// One line for each value that is set or cleared and for each stretch of a text.
    pub lines: Vec<String>,
}

/// Reads changes of one document, in their order, without the document.
///
/// What stood there before is not known, nor is the name of a text, list or map that an earlier
/// change made: its entries go by their own keys alone. For changes that were checked; a chunk that
/// Automerge does not read says nothing.
pub fn words(changes: &[Vec<u8>]) -> Words {
    let mut reading = Reading::default();
    for bytes in changes {
        let Ok(change) = Change::from_bytes(bytes.clone()) else {
            continue;
        };
        let change = change.decode();
        for (counter, op) in (change.start_op.get()..).zip(&change.operations) {
            reading.take(op, OpId::new(counter, &change.actor_id));
        }
        reading.end_stretch();
    }
    reading.words
}

#[derive(Default)]
struct Reading {
    words: Words,
    /// Objects that these changes made.
    names: BTreeMap<OpId, String>,
    /// What is being written at one place of a text or list.
    stretch: Option<Stretch>,
}

struct Stretch {
    object: ObjectId,
    last: Option<OpId>,
    written: Vec<Content>,
    removed: usize,
}

impl Reading {
    fn take(&mut self, op: &Op, id: OpId) {
        match &op.key {
            Key::Map(entry) => {
                self.end_stretch();
                self.take_entry(op, entry, id);
            }
            Key::Seq(place) => self.take_item(op, place, id),
        }
    }

    fn take_entry(&mut self, op: &Op, entry: &str, id: OpId) {
        let path = match self.name(&op.obj) {
            Some(name) => format!("{name}/{entry}"),
            None => entry.to_owned(),
        };
        let label = label(&path);
        let line = match &op.action {
            OpType::Make(_) => {
                self.names.insert(id, path);
                return;
            }
            OpType::Put(value) => {
                if let (ObjectId::Root, key::TITLE, ScalarValue::Str(title)) =
                    (&op.obj, entry, value)
                {
                    self.words.title = title.to_string();
                }
                format!("{label}: {}", scalar_content(value))
            }
            OpType::Delete => format!("{label}: cleared"),
            OpType::Increment(by) => format!("{label}: {by:+}"),
            OpType::MarkBegin(_) | OpType::MarkEnd(_) => return,
        };
        self.words.lines.push(line);
    }

    fn take_item(&mut self, op: &Op, place: &ElementId, id: OpId) {
        match &op.action {
            OpType::Put(value) => {
                let stretch = self.stretch_at(&op.obj, |stretch| {
                    stretch.last.as_ref() == place.as_opid() || stretch.written.is_empty()
                });
                stretch.written.push(scalar_content(value));
                stretch.last = Some(id);
            }
            OpType::Delete => {
                let stretch = self.stretch_at(&op.obj, |stretch| stretch.written.is_empty());
                stretch.removed += 1;
            }
            OpType::Make(_) => {
                self.end_stretch();
                let name = self.name(&op.obj).unwrap_or("list").to_owned();
                self.names.insert(id, name);
            }
            OpType::Increment(by) => {
                self.end_stretch();
                let name = self.name(&op.obj).unwrap_or("list");
                let line = format!("{name}: {by:+}");
                self.words.lines.push(line);
            }
            OpType::MarkBegin(_) | OpType::MarkEnd(_) => {}
        }
    }

    /// The stretch under way, if it is of this object and the next operation belongs to it;
    /// another that begins otherwise.
    fn stretch_at(
        &mut self,
        object: &ObjectId,
        goes_on: impl Fn(&Stretch) -> bool,
    ) -> &mut Stretch {
        let stays = |stretch: &Stretch| stretch.object == *object && goes_on(stretch);
        if !self.stretch.as_ref().is_some_and(stays) {
            self.end_stretch();
        }
        self.stretch.get_or_insert_with(|| Stretch {
            object: object.clone(),
            last: None,
            written: Vec::new(),
            removed: 0,
        })
    }

    fn end_stretch(&mut self) {
        let Some(stretch) = self.stretch.take() else {
            return;
        };
        let text = stretch.as_text();
        let shape = if text.is_some() { "text" } else { "list" };
        let name = label(self.name(&stretch.object).unwrap_or(shape)).to_owned();
        if stretch.removed > 0 {
            let line = format!("{name}: −{} characters or items", stretch.removed);
            self.words.lines.push(line);
        }
        if !stretch.written.is_empty() {
            let written = text.unwrap_or(Content::List(stretch.written));
            self.words.lines.push(format!("{name}: {written}"));
        }
    }

    fn name(&self, object: &ObjectId) -> Option<&str> {
        match object {
            ObjectId::Root => None,
            ObjectId::Id(id) => self.names.get(id).map(String::as_str),
        }
    }
}

/// As in a history, a field goes by its code alone.
fn label(path: &str) -> &str {
    path.strip_prefix("fields/").unwrap_or(path)
}

impl Stretch {
    /// What was written if it is of single characters, as a text is and hardly ever a list.
    fn as_text(&self) -> Option<Content> {
        let mut text = String::new();
        for item in &self.written {
            let Content::String(part) = item else {
                return None;
            };
            if part.chars().count() != 1 {
                return None;
            }
            text.push_str(part);
        }
        Some(Content::Text(text))
    }
}
