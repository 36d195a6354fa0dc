//! Walks through everything a document shows, and tries to edit it.

use std::fmt::{self, Write};

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{Automerge, AutomergeError, ObjId, ObjType, Prop, ROOT, ReadDoc, Value};
use sha2::{Digest, Sha256};

use super::proof::unreadable;
use super::{Refusal, RefusalCode};
use crate::limits;

const TRIAL_KEY: &str = "trial";

/// What Automerge shows in a text for everything that is not a string, objects among it.
const NO_STRING: char = '\u{fffc}';

/// What a document shows, as a digest, and the objects in it.
#[derive(Debug)]
pub(super) struct Survey {
    digest: [u8; 32],
    objects: Vec<(ObjId, ObjType)>,
}

impl Survey {
    /// Visits every visible object, without recursion: the depth is what is to be found out.
    pub(super) fn of(automerge: &Automerge) -> Result<Self, Refusal> {
        let (depth, places) = (limits::DOCUMENT_DEPTH_MAX, limits::DOCUMENT_PLACES_MAX);
        Self::within(automerge, depth, places)
    }

    /// The same however much there is.
    pub(super) fn unbounded(automerge: &Automerge) -> Result<Self, Refusal> {
        Self::within(automerge, usize::MAX, usize::MAX)
    }

    fn within(automerge: &Automerge, depth_max: usize, places_max: usize) -> Result<Self, Refusal> {
        let mut surveyor = Surveyor {
            automerge,
            hasher: Sha256::new(),
            part: String::new(),
            places: 0,
            places_max,
            pending: vec![(ROOT, ObjType::Map, 1)],
        };
        let mut objects = Vec::new();
        while let Some((object, object_type, depth)) = surveyor.pending.pop() {
            if depth > depth_max {
                return Err(Refusal::new(
                    RefusalCode::TooLarge,
                    format!("The document is nested deeper than {depth_max} objects."),
                ));
            }
            surveyor.visit(&object, object_type, depth)?;
            objects.push((object, object_type));
        }
        Ok(Self {
            digest: surveyor.hasher.finalize().into(),
            objects,
        })
    }

    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Objects that the document shows.
    pub(super) fn objects(&self) -> usize {
        self.objects.len()
    }

    /// Edits every object of the document that was surveyed; what comes of it is thrown away.
    pub(super) fn try_edits(&self, automerge: &mut Automerge) -> Result<(), Refusal> {
        let mut transaction = automerge.transaction();
        for (object, object_type) in &self.objects {
            edit(&mut transaction, object, *object_type)
                .map_err(|error| unreadable(format!("The document cannot be edited: {error}.")))?;
        }
        let (made, _) = transaction.commit_with(CommitOptions::default().with_time(0));
        let kept = made.and_then(|hash| automerge.get_change_by_hash(&hash));
        if kept.is_none() {
            return Err(unreadable("An edit of the document is not kept."));
        }
        Ok(())
    }
}

struct Surveyor<'a> {
    automerge: &'a Automerge,
    hasher: Sha256,
    /// What is noted next.
    part: String,
    places: usize,
    places_max: usize,
    pending: Vec<(ObjId, ObjType, usize)>,
}

impl Surveyor<'_> {
    fn visit(&mut self, object: &ObjId, object_type: ObjType, depth: usize) -> Result<(), Refusal> {
        self.note(format_args!("{object} {object_type:?}"));
        let automerge = self.automerge;
        match object_type {
            ObjType::Map | ObjType::Table => {
                for item in automerge.map_range(object, ..) {
                    self.note(format_args!("{} {:?}", item.key, item.conflict));
                    self.note_all(object, item.key.as_ref().into(), depth)?;
                }
            }
            ObjType::List => {
                for item in automerge.list_range(object, ..) {
                    self.note(format_args!("{} {:?}", item.index, item.conflict));
                    self.note_all(object, item.index.into(), depth)?;
                }
            }
            ObjType::Text => {
                let text = automerge.text(object).map_err(|error| unread(&error))?;
                self.note(format_args!("{text}"));
                let marks = automerge.marks(object).map_err(|error| unread(&error))?;
                self.note(format_args!("{marks:?}"));
                if text.contains(NO_STRING) {
                    for item in automerge.list_range(object, ..) {
                        if let automerge::ValueRef::Object(object_type) = &item.value {
                            self.count_place()?;
                            self.pending.push((item.id(), *object_type, depth + 1));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes all concurrent values of a place: any of them may come to the front later.
    fn note_all(&mut self, object: &ObjId, prop: Prop, depth: usize) -> Result<(), Refusal> {
        for (value, id) in self
            .automerge
            .get_all(object, prop)
            .map_err(|error| unread(&error))?
        {
            self.count_place()?;
            self.note(format_args!("{id} {value:?}"));
            if let Value::Object(object_type) = value {
                self.pending.push((id, object_type, depth + 1));
            }
        }
        Ok(())
    }

    fn count_place(&mut self) -> Result<(), Refusal> {
        self.places += 1;
        if self.places > self.places_max {
            return Err(Refusal::new(
                RefusalCode::TooLarge,
                format!("The document shows more than {} values.", self.places_max),
            ));
        }
        Ok(())
    }

    fn note(&mut self, part: fmt::Arguments<'_>) {
        self.part.clear();
        // Writing to a string never fails.
        let _ = self.part.write_fmt(part);
        self.hasher.update((self.part.len() as u64).to_le_bytes());
        self.hasher.update(self.part.as_bytes());
    }
}

fn unread(error: &AutomergeError) -> Refusal {
    unreadable(format!("The document cannot be read: {error}."))
}

fn edit(
    transaction: &mut impl Transactable,
    object: &ObjId,
    object_type: ObjType,
) -> Result<(), AutomergeError> {
    match object_type {
        ObjType::Map | ObjType::Table => transaction.put(object, TRIAL_KEY, 1),
        ObjType::List => {
            transaction.insert(object, transaction.length(object), 1)?;
            transaction.insert(object, 0, 1)?;
            transaction.put(object, 0, 2)?;
            transaction.delete(object, 0)
        }
        ObjType::Text => {
            transaction.splice_text(object, transaction.length(object), 0, "x")?;
            transaction.splice_text(object, 0, 0, "x")?;
            transaction.splice_text(object, 0, 1, "")
        }
    }
}
