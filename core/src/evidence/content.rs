//! One value as it stands in a document, whatever wrote it, and the reader that never fails.

use std::collections::BTreeMap;
use std::fmt;

use automerge::{Automerge, ObjId, ObjType, ROOT, ReadDoc, ScalarValue};
use serde::{Serialize, Serializer};

use crate::id::ChangeHash;
use crate::limits::EVIDENCE_DEPTH_MAX;

/// A value of a document with everything needed to show it and to write it again.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing, said explicitly.
    Null,
    /// Yes or no.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A whole number that another program wrote without a sign.
    Unsigned(u64),
    /// A floating-point number that another program wrote.
    Float(f64),
    /// A string that is replaced as a whole.
    String(String),
    /// A text that merges by character.
    Text(String),
    /// A number that merges by adding.
    Counter(i64),
    /// A time in milliseconds that another program wrote.
    Timestamp(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A scalar of a type that this version of Automerge does not know.
    Other {
        /// Automerge's number of the type.
        type_code: u8,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A list.
    List(Vec<Self>),
    /// A map.
    Map(BTreeMap<String, Self>),
    /// Something nested deeper than [`EVIDENCE_DEPTH_MAX`].
    TooDeep,
}

impl Content {
    /// The text of a string or a text: programs in JavaScript write every string as a text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Text(text) => Some(text),
            _other_shape => None,
        }
    }

    /// The number of anything that is a whole number.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) | Self::Counter(number) | Self::Timestamp(number) => {
                Some(*number)
            }
            Self::Unsigned(number) => i64::try_from(*number).ok(),
            _other_shape => None,
        }
    }

    /// Yes or no.
    pub fn as_boolean(&self) -> Option<bool> {
        match self {
            Self::Boolean(yes) => Some(*yes),
            _other_shape => None,
        }
    }

    /// The entries of a map.
    pub fn as_map(&self) -> Option<&BTreeMap<String, Self>> {
        match self {
            Self::Map(entries) => Some(entries),
            _other_shape => None,
        }
    }

    /// Whether it is a text, list or map without anything in it, which the root change makes for
    /// fields that nobody has filled in yet.
    pub(super) fn is_empty_container(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
            _other_shape => false,
        }
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Boolean(yes) => serializer.serialize_bool(*yes),
            Self::Integer(number) | Self::Counter(number) | Self::Timestamp(number) => {
                serializer.serialize_i64(*number)
            }
            Self::Unsigned(number) => serializer.serialize_u64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::String(text) | Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) | Self::Other { bytes, .. } => {
                serializer.collect_str(&Hexadecimal(bytes))
            }
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(entries) => serializer.collect_map(entries),
            Self::TooDeep => serializer.serialize_str("…"),
        }
    }
}

/// As people read it in a line of the history.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Boolean(true) => f.write_str("yes"),
            Self::Boolean(false) => f.write_str("no"),
            Self::Integer(number) | Self::Counter(number) | Self::Timestamp(number) => {
                write!(f, "{number}")
            }
            Self::Unsigned(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::String(text) | Self::Text(text) => write!(f, "\"{text}\""),
            Self::Bytes(bytes) | Self::Other { bytes, .. } => Hexadecimal(bytes).fmt(f),
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Map(entries) => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key} {value}", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::TooDeep => f.write_str("…"),
        }
    }
}

struct Hexadecimal<'a>(&'a [u8]);

impl fmt::Display for Hexadecimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One of the values that stand under a key, with the operation that wrote it.
#[derive(Debug, Clone)]
pub(super) struct Alternative {
    pub(super) content: Content,
    /// The operation; for a text, list or map also the name of the object.
    pub(super) id: ObjId,
}

/// Reads a document, or a transaction in the making, as of now or as of earlier heads. What is
/// missing or of another type reads as nothing.
#[derive(Debug)]
pub(super) struct Reader<'a, D> {
    source: &'a D,
    heads: Option<Vec<automerge::ChangeHash>>,
}

impl<'a, D: ReadDoc> Reader<'a, D> {
    pub(super) fn now(source: &'a D) -> Self {
        Self {
            source,
            heads: None,
        }
    }

    /// The keys of a map in order; none for anything else.
    pub(super) fn keys(&self, map: &ObjId) -> Vec<String> {
        if !matches!(
            self.source.object_type(map),
            Ok(ObjType::Map | ObjType::Table)
        ) {
            return Vec::new();
        }
        match &self.heads {
            None => self.source.keys(map).collect(),
            Some(heads) => self.source.keys_at(map, heads).collect(),
        }
    }

    /// All concurrent values under a key; the last is the one that Automerge shows.
    pub(super) fn alternatives(&self, map: &ObjId, key: &str) -> Vec<Alternative> {
        self.alternatives_within(map, key, 1)
    }

    /// The operations behind the concurrent values under a key, in the same order, without
    /// reading the values.
    pub(super) fn writers(&self, map: &ObjId, key: &str) -> Vec<ObjId> {
        self.raw(map, key)
            .into_iter()
            .map(|(_value, id)| id)
            .collect()
    }

    /// The object under a key if it is a text.
    pub(super) fn text_object(&self, map: &ObjId, key: &str) -> Option<ObjId> {
        match self.raw(map, key).pop()? {
            (automerge::Value::Object(ObjType::Text), id) => Some(id),
            _another_type => None,
        }
    }

    /// The value that Automerge shows under a key.
    pub(super) fn shown(&self, map: &ObjId, key: &str) -> Option<Alternative> {
        let (value, id) = self.raw(map, key).pop()?;
        let content = self.content(&value, &id, 1);
        Some(Alternative { content, id })
    }

    /// The map that a path of keys leads to; the root for an empty path.
    pub(super) fn map_at(&self, keys: &[String]) -> Option<ObjId> {
        let mut map = ROOT;
        for key in keys {
            match self.raw(&map, key).pop()? {
                (automerge::Value::Object(ObjType::Map | ObjType::Table), id) => map = id,
                _another_type => return None,
            }
        }
        Some(map)
    }

    fn alternatives_within(&self, map: &ObjId, key: &str, depth: usize) -> Vec<Alternative> {
        let values = self.raw(map, key).into_iter();
        values
            .map(|(value, id)| Alternative {
                content: self.content(&value, &id, depth),
                id,
            })
            .collect()
    }

    fn raw(&self, map: &ObjId, key: &str) -> Vec<(automerge::Value<'_>, ObjId)> {
        match &self.heads {
            None => self.source.get_all(map, key),
            Some(heads) => self.source.get_all_at(map, key, heads),
        }
        .unwrap_or_default()
    }

    fn content(&self, value: &automerge::Value<'_>, id: &ObjId, depth: usize) -> Content {
        let object = match value {
            automerge::Value::Scalar(scalar) => return scalar_content(scalar),
            automerge::Value::Object(object) => object,
        };
        if depth > EVIDENCE_DEPTH_MAX {
            return Content::TooDeep;
        }
        match object {
            ObjType::Text => Content::Text(self.text(id)),
            ObjType::List => Content::List(self.items(id, depth)),
            ObjType::Map | ObjType::Table => Content::Map(self.entries(id, depth)),
        }
    }

    fn text(&self, id: &ObjId) -> String {
        match &self.heads {
            None => self.source.text(id),
            Some(heads) => self.source.text_at(id, heads),
        }
        .unwrap_or_default()
    }

    fn items(&self, list: &ObjId, depth: usize) -> Vec<Content> {
        let items = match &self.heads {
            None => self.source.list_range(list, ..),
            Some(heads) => self.source.list_range_at(list, .., heads),
        };
        items
            .map(|item| self.content(&item.value.clone().into_value(), &item.id(), depth + 1))
            .collect()
    }

    fn entries(&self, map: &ObjId, depth: usize) -> BTreeMap<String, Content> {
        let keys = self.keys(map).into_iter();
        keys.filter_map(|key| {
            let shown = self.raw(map, &key).pop()?;
            Some((key, self.content(&shown.0, &shown.1, depth + 1)))
        })
        .collect()
    }
}

impl<'a> Reader<'a, Automerge> {
    /// Reads the document as it was at `heads`.
    pub(super) fn at(document: &'a Automerge, heads: &[automerge::ChangeHash]) -> Self {
        Self {
            source: document,
            heads: Some(heads.to_vec()),
        }
    }

    /// The document itself.
    pub(super) fn document(&self) -> &'a Automerge {
        self.source
    }

    /// The heads that are read, sorted.
    pub(super) fn heads(&self) -> Vec<ChangeHash> {
        let heads = match &self.heads {
            None => self.source.get_heads(),
            Some(heads) => heads.clone(),
        };
        let mut heads: Vec<ChangeHash> = heads.into_iter().map(ChangeHash::from).collect();
        heads.sort_unstable();
        heads
    }

    /// The marks of a text.
    pub(super) fn marks(&self, text: &ObjId) -> Vec<automerge::marks::Mark> {
        match &self.heads {
            None => self.source.marks(text),
            Some(heads) => self.source.marks_at(text, heads),
        }
        .unwrap_or_default()
    }
}

/// A scalar as content.
pub(super) fn scalar_content(scalar: &ScalarValue) -> Content {
    match scalar {
        ScalarValue::Null => Content::Null,
        ScalarValue::Boolean(yes) => Content::Boolean(*yes),
        ScalarValue::Int(number) => Content::Integer(*number),
        ScalarValue::Uint(number) => Content::Unsigned(*number),
        ScalarValue::F64(number) => Content::Float(*number),
        ScalarValue::Str(text) => Content::String(text.to_string()),
        ScalarValue::Counter(counter) => Content::Counter(counter.into()),
        ScalarValue::Timestamp(ms) => Content::Timestamp(*ms),
        ScalarValue::Bytes(bytes) => Content::Bytes(bytes.clone()),
        ScalarValue::Unknown { type_code, bytes } => Content::Other {
            type_code: *type_code,
            bytes: bytes.clone(),
        },
    }
}
