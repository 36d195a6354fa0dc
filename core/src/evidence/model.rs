//! What evidence consists of: the values that go into a document and the paths that name them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::content::Content;
use crate::id::{FileHash, ParseIdError, WallMs};

/// Keys of the root map of an evidence document.
pub mod key {
    /// Code of the evidence kind, fixed at creation.
    pub const KIND: &str = "kind";
    /// Map of `id` and `version` of the framework, fixed at creation.
    pub const FRAMEWORK: &str = "framework";
    /// Year of the programme's cycle, fixed at creation.
    pub const CYCLE: &str = "cycle";
    /// Map of row code to `true`.
    pub const ROWS: &str = "rows";
    /// Title, a short string.
    pub const TITLE: &str = "title";
    /// Map of field code to value.
    pub const FIELDS: &str = "fields";
    /// The narrative, an Automerge text.
    pub const NARRATIVE: &str = "narrative";
    /// How it was recorded: photo, video, scan.
    pub const MEDIUM: &str = "medium";
    /// When the device says it was captured, in milliseconds.
    pub const CAPTURED_AT: &str = "captured_at";
    /// Where it was captured.
    pub const PLACE: &str = "place";
    /// Map of SHA-256 to what is known of the file.
    pub const FILES: &str = "files";
    /// Whether it holds personal data.
    pub const PERSONAL_DATA: &str = "personal_data";
    /// `draft`, `ready` or `withdrawn`.
    pub const DECLARED: &str = "declared";
    /// Why it was withdrawn.
    pub const WITHDRAWAL_REASON: &str = "withdrawal_reason";
}

/// A value of one field as a person enters it. Whether it fits its field is for
/// [`crate::kind`] to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A short string, replaced as a whole.
    String(String),
    /// A long text that several people write at once.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A decimal number as written, so that nothing is rounded.
    Decimal(String),
    /// A date as in ISO 8601.
    Date(String),
    /// Yes or no.
    Boolean(bool),
    /// The code of one choice.
    Choice(String),
    /// Several short strings in order.
    List(Vec<String>),
    /// Numbers by group, such as attendees.
    Counts(BTreeMap<String, i64>),
}

impl Value {
    /// The value as it stands in the document.
    pub(super) fn into_content(self) -> Content {
        match self {
            Self::String(text) | Self::Decimal(text) | Self::Date(text) | Self::Choice(text) => {
                Content::String(text)
            }
            Self::Text(text) => Content::Text(text),
            Self::Integer(number) => Content::Integer(number),
            Self::Boolean(yes) => Content::Boolean(yes),
            Self::List(items) => Content::List(items.into_iter().map(Content::String).collect()),
            Self::Counts(counts) => Content::Map(
                counts
                    .into_iter()
                    .map(|(group, count)| (group, Content::Counter(count)))
                    .collect(),
            ),
        }
    }

    /// The value whose content this is; `None` for shapes that no field type has.
    pub(super) fn from_content(content: &Content) -> Option<Self> {
        match content {
            Content::String(text) => Some(Self::String(text.clone())),
            Content::Text(text) => Some(Self::Text(text.clone())),
            Content::Integer(number) => Some(Self::Integer(*number)),
            Content::Boolean(yes) => Some(Self::Boolean(*yes)),
            Content::List(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .map(Self::List),
            Content::Map(entries) => entries
                .iter()
                .map(|(group, count)| match count {
                    Content::Counter(count) => Some((group.clone(), *count)),
                    _other_shape => None,
                })
                .collect::<Option<_>>()
                .map(Self::Counts),
            Content::Null
            | Content::Unsigned(_)
            | Content::Float(_)
            | Content::Counter(_)
            | Content::Timestamp(_)
            | Content::Bytes(_)
            | Content::Other { .. }
            | Content::TooDeep => None,
        }
    }
}

/// What the officer says of the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Declared {
    /// Being worked on; seen only inside the unit.
    #[default]
    Draft,
    /// Handed in.
    Ready,
    /// Taken back, with a reason; hidden, never deleted.
    Withdrawn,
}

impl Declared {
    /// The word in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Ready => "ready",
            Self::Withdrawn => "withdrawn",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Self::Draft, Self::Ready, Self::Withdrawn]
            .into_iter()
            .find(|declared| declared.as_str() == word)
    }
}

/// Where something was captured. Whole numbers, so that every device prints the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Latitude in units of 10⁻⁷ degrees.
    pub latitude_e7: i64,
    /// Longitude in units of 10⁻⁷ degrees.
    pub longitude_e7: i64,
    /// Radius of the error in metres, where the device tells it.
    pub accuracy_m: Option<i64>,
    /// How the place is known: `gps`, `network`, `map`.
    pub source: String,
}

impl Place {
    const LATITUDE: &str = "latitude_e7";
    const LONGITUDE: &str = "longitude_e7";
    const ACCURACY: &str = "accuracy_m";
    const SOURCE: &str = "source";

    pub(super) fn to_content(&self) -> Content {
        let mut entries = BTreeMap::from([
            (Self::LATITUDE.into(), Content::Integer(self.latitude_e7)),
            (Self::LONGITUDE.into(), Content::Integer(self.longitude_e7)),
            (Self::SOURCE.into(), Content::String(self.source.clone())),
        ]);
        if let Some(metres) = self.accuracy_m {
            entries.insert(Self::ACCURACY.into(), Content::Integer(metres));
        }
        Content::Map(entries)
    }

    pub(super) fn from_content(content: &Content) -> Option<Self> {
        let entries = content.as_map()?;
        Some(Self {
            latitude_e7: entries.get(Self::LATITUDE)?.as_integer()?,
            longitude_e7: entries.get(Self::LONGITUDE)?.as_integer()?,
            accuracy_m: entries.get(Self::ACCURACY).and_then(Content::as_integer),
            source: entries
                .get(Self::SOURCE)
                .and_then(Content::as_str)
                .unwrap_or_default()
                .to_owned(),
        })
    }
}

/// Whether a file is as it came from the camera or scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// As it came; never changed.
    Original,
    /// Made from another file, such as a smaller picture.
    DerivedFrom(FileHash),
}

/// What the document says of one file. The file itself is never in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Names the file.
    pub hash: FileHash,
    /// Such as `image/jpeg`.
    pub media_type: String,
    /// Its size.
    pub bytes: u64,
    /// The name people see.
    pub name: String,
    /// Whether it is an original.
    pub origin: Origin,
    /// Which part of the evidence it is, such as `invitation` or `minutes`.
    pub part: Option<String>,
    /// The rows that this part supports, where they are fewer than the evidence's own.
    pub rows: BTreeSet<String>,
}

impl FileEntry {
    pub(super) const MEDIA_TYPE: &str = "media_type";
    const BYTES: &str = "bytes";
    const NAME: &str = "name";
    const ORIGINAL: &str = "original";
    const DERIVED_FROM: &str = "derived_from";
    const PART: &str = "part";
    pub(super) const ROWS: &str = "rows";
    /// The keys that this version knows; others are of newer versions and stay as they are.
    pub(super) const KEYS: [&str; 7] = [
        Self::MEDIA_TYPE,
        Self::BYTES,
        Self::NAME,
        Self::ORIGINAL,
        Self::DERIVED_FROM,
        Self::PART,
        Self::ROWS,
    ];

    pub(super) fn to_entries(&self) -> BTreeMap<String, Content> {
        let bytes = i64::try_from(self.bytes).unwrap_or(i64::MAX);
        let origin = match self.origin {
            Origin::Original => (Self::ORIGINAL.into(), Content::Boolean(true)),
            Origin::DerivedFrom(hash) => {
                (Self::DERIVED_FROM.into(), Content::String(hash.to_string()))
            }
        };
        let mut entries = BTreeMap::from([
            (
                Self::MEDIA_TYPE.into(),
                Content::String(self.media_type.clone()),
            ),
            (Self::BYTES.into(), Content::Integer(bytes)),
            (Self::NAME.into(), Content::String(self.name.clone())),
            origin,
            (Self::ROWS.into(), rows_content(&self.rows)),
        ]);
        if let Some(part) = &self.part {
            entries.insert(Self::PART.into(), Content::String(part.clone()));
        }
        entries
    }

    pub(super) fn from_content(hash: &str, content: &Content) -> Option<Self> {
        let entries = content.as_map()?;
        let text = |key| Some(entries.get(key)?.as_str()?.to_owned());
        let origin = match text(Self::DERIVED_FROM) {
            Some(original) => Origin::DerivedFrom(original.parse().ok()?),
            None => Origin::Original,
        };
        let rows = match entries.get(Self::ROWS) {
            Some(rows) => rows.as_map()?.keys().cloned().collect(),
            None => BTreeSet::new(),
        };
        Some(Self {
            hash: hash.parse().ok()?,
            media_type: text(Self::MEDIA_TYPE)?,
            bytes: u64::try_from(entries.get(Self::BYTES)?.as_integer()?).ok()?,
            name: text(Self::NAME)?,
            origin,
            part: text(Self::PART),
            rows,
        })
    }
}

impl Serialize for FileEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            hash: String,
            media_type: &'a str,
            bytes: u64,
            name: &'a str,
            original: bool,
            derived_from: Option<String>,
            part: Option<&'a str>,
            rows: &'a BTreeSet<String>,
        }
        let derived_from = match self.origin {
            Origin::Original => None,
            Origin::DerivedFrom(hash) => Some(hash.to_string()),
        };
        Shown {
            hash: self.hash.to_string(),
            media_type: &self.media_type,
            bytes: self.bytes,
            name: &self.name,
            original: derived_from.is_none(),
            derived_from,
            part: self.part.as_deref(),
            rows: &self.rows,
        }
        .serialize(serializer)
    }
}

/// A set of row codes as it stands in the document.
pub(super) fn rows_content(rows: &BTreeSet<String>) -> Content {
    Content::Map(
        rows.iter()
            .map(|row| (row.clone(), Content::Boolean(true)))
            .collect(),
    )
}

/// Everything needed to start a document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewEvidence {
    /// Code of the evidence kind.
    pub kind: String,
    /// The framework whose rows it supports.
    pub framework_id: String,
    /// The version of that framework.
    pub framework_version: String,
    /// Year of the cycle.
    pub cycle: i32,
    /// The rows it supports.
    pub rows: BTreeSet<String>,
    /// Its title.
    pub title: String,
    /// The fields filled in already.
    pub fields: BTreeMap<String, Value>,
    /// Every field of the kind that is a text, filled in or not: the root change makes the object
    /// that concurrent writers share.
    pub text_fields: Vec<String>,
    /// Every field of the kind that is a list, for the same reason.
    pub list_fields: Vec<String>,
    /// Every field of the kind that counts, for the same reason.
    pub count_fields: Vec<String>,
    /// The narrative so far.
    pub narrative: String,
    /// Files attached already.
    pub files: Vec<FileEntry>,
    /// How it was recorded.
    pub medium: Option<String>,
    /// When the device says it was captured.
    pub captured_at: Option<WallMs>,
    /// Where it was captured.
    pub place: Option<Place>,
    /// Whether it holds personal data.
    pub personal_data: bool,
}

/// Names a value inside a document by the keys that lead to it, such as `fields/attendees/women`.
///
/// A `/` within a key is written `~1` and a `~` is written `~0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    /// The value under a key of the root map.
    pub fn root(key: &str) -> Self {
        Self(vec![key.to_owned()])
    }

    /// The value of a field of the kind.
    pub fn field(code: &str) -> Self {
        Self::root(key::FIELDS).child(code)
    }

    /// The value under `key` within this one.
    #[must_use]
    pub fn child(&self, key: &str) -> Self {
        let mut keys = self.0.clone();
        keys.push(key.to_owned());
        Self(keys)
    }

    /// The keys from the root on; never empty.
    pub fn keys(&self) -> &[String] {
        &self.0
    }

    /// The last key.
    pub fn last(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "/" };
            write!(
                f,
                "{separator}{}",
                key.replace('~', "~0").replace('/', "~1")
            )?;
        }
        Ok(())
    }
}

impl FromStr for FieldPath {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.is_empty() {
            return Err(ParseIdError {
                what: "path of a value",
                expected: "keys parted by '/', such as fields/number",
                text: String::new(),
            });
        }
        let key = |part: &str| part.replace("~1", "/").replace("~0", "~");
        Ok(Self(text.split('/').map(key).collect()))
    }
}

impl Serialize for FieldPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Serializes an id the way it prints.
pub(super) fn as_text<T: fmt::Display, S: Serializer>(
    id: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// Serializes several ids the way they print.
pub(super) fn as_texts<T: fmt::Display, S: Serializer>(
    ids: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ids.iter().map(ToString::to_string))
}
