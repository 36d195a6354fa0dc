//! Concurrent values of one thing, kept side by side until a person chooses.

use automerge::{Automerge, ROOT};
use serde::Serialize;

use super::content::{Alternative, Content, Reader};
use super::model::{FieldPath, as_text};
use crate::hash::{Hasher, domain};
use crate::id::{Actor, ChangeHash, Fingerprint};
use crate::limits::EVIDENCE_DEPTH_MAX;

/// A value that several people wrote without knowing of each other, and differently.
///
/// The same value written twice is no conflict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conflict {
    /// Which value.
    pub path: FieldPath,
    /// Names this very set of values; a choice repeats it.
    #[serde(serialize_with = "as_text")]
    pub fingerprint: Fingerprint,
    /// The values, ordered by change hash.
    pub values: Vec<ConcurrentValue>,
}

/// One of several concurrent values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConcurrentValue {
    /// What was written.
    pub value: Content,
    /// The change that wrote it, by which a choice names it.
    #[serde(serialize_with = "as_text")]
    pub change: ChangeHash,
    /// Who wrote it.
    #[serde(serialize_with = "as_actor")]
    pub actor: automerge::ActorId,
    /// Whether the view shows this one until somebody chooses: of the operations the one with
    /// the highest counter, then the highest actor, as Automerge orders them.
    pub shown: bool,
}

impl Conflict {
    /// The conflict at one path; `None` while all agree.
    pub(super) fn at(document: &Automerge, path: &FieldPath) -> Option<Self> {
        let reader = Reader::now(document);
        let (last, parents) = path.keys().split_last()?;
        let map = reader.map_at(parents)?;
        Self::among(document, path.clone(), reader.alternatives(&map, last))
    }

    fn among(document: &Automerge, path: FieldPath, found: Vec<Alternative>) -> Option<Self> {
        let shown = found.last()?.clone();
        if found
            .iter()
            .all(|alternative| alternative.content == shown.content)
        {
            return None;
        }
        let mut values: Vec<ConcurrentValue> = found
            .into_iter()
            .filter_map(|alternative| {
                Some(ConcurrentValue {
                    shown: alternative.id == shown.id,
                    change: document.hash_for_opid(&alternative.id)?.into(),
                    actor: writer(&alternative.id)?.clone(),
                    value: alternative.content,
                })
            })
            .collect();
        values.sort_by_key(|value| value.change);
        let fingerprint = fingerprint(&path, &values);
        Some(Self {
            path,
            fingerprint,
            values,
        })
    }
}

/// All conflicts in the values that are shown, in the order of their keys.
pub(super) fn conflicts(reader: &Reader<'_, Automerge>) -> Vec<Conflict> {
    let mut found = Vec::new();
    for key in reader.keys(&ROOT) {
        collect(reader, &ROOT, FieldPath::root(&key), &mut found);
    }
    found
}

fn collect(
    reader: &Reader<'_, Automerge>,
    map: &automerge::ObjId,
    path: FieldPath,
    found: &mut Vec<Conflict>,
) {
    let writers = reader.writers(map, path.last());
    let Some(shown) = writers.last() else {
        return;
    };
    if path.keys().len() < EVIDENCE_DEPTH_MAX {
        for key in reader.keys(shown) {
            collect(reader, shown, path.child(&key), found);
        }
    }
    if writers.len() > 1 {
        let alternatives = reader.alternatives(map, path.last());
        found.extend(Conflict::among(reader.document(), path, alternatives));
    }
}

fn fingerprint(path: &FieldPath, values: &[ConcurrentValue]) -> Fingerprint {
    let mut hasher = Hasher::new(domain::CONFLICT).variable(path.to_string().as_bytes());
    for value in values {
        let json = serde_json::to_vec(&value.value).expect("content has string keys only");
        hasher = hasher.fixed(&value.change.0).variable(&json);
    }
    Fingerprint(hasher.finish_16())
}

/// The actor of an operation; the root map has none.
pub(super) fn writer(id: &automerge::ObjId) -> Option<&automerge::ActorId> {
    match id {
        automerge::ObjId::Root => None,
        automerge::ObjId::Id(_, actor, _) => Some(actor),
    }
}

/// Our own actors have 16 bytes; those of other programs may have any length.
pub(super) fn as_actor<S: serde::Serializer>(
    actor: &automerge::ActorId,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&actor.to_hex_string())
}

/// The actor as ours; `None` for an actor of another length, written by another program.
pub fn own_actor(actor: &automerge::ActorId) -> Option<Actor> {
    Actor::try_from(actor.to_bytes()).ok()
}
