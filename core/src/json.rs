//! Reading definitions people write in JSON, so that every fault names its place.
//!
//! [`parse`] bounds and reads the text; a [`Node`] is a value that knows its path
//! (`components[2].indicators[0].code`) and gives typed parts or a [`Fault`] there.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::limits;

/// What is wrong, and where in the JSON; the path is empty for the whole text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) path: String,
    pub(crate) reason: String,
}

/// Writes a fault of `file` as one line.
pub(crate) fn write_fault(
    f: &mut fmt::Formatter<'_>,
    file: &str,
    path: &str,
    reason: &str,
) -> fmt::Result {
    if path.is_empty() {
        write!(f, "{file}: {reason}")
    } else {
        write!(f, "{file}: {path}: {reason}")
    }
}

/// Reads JSON of at most `bytes_max` bytes that nests no deeper than
/// [`limits::DEFINITION_NESTING_MAX`] and names no key of an object twice.
pub(crate) fn parse(bytes: &[u8], bytes_max: usize) -> Result<Value, Fault> {
    let whole = |reason: String| Fault {
        path: String::new(),
        reason,
    };
    if bytes.len() > bytes_max {
        let length = bytes.len();
        return Err(whole(format!(
            "the file has {length} bytes, more than {bytes_max}"
        )));
    }
    let bytes = without_mark(bytes);
    let depth = nesting(bytes);
    if depth > limits::DEFINITION_NESTING_MAX {
        let most = limits::DEFINITION_NESTING_MAX;
        return Err(whole(format!("nests {depth} deep, more than {most}")));
    }
    let Strict(value) =
        serde_json::from_slice(bytes).map_err(|error| whole(format!("not JSON: {error}")))?;
    Ok(value)
}

/// The text without the byte order mark that some editors put before it.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The deepest nesting of brackets outside of strings.
fn nesting(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A JSON value in which no key was given twice: of two weights, neither may silently win.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format!("the key '{key}' stands twice")));
            }
            let Strict(value) = entries.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// A value and the path that leads to it.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    pub(crate) fn root(value: &'a Value) -> Self {
        Self {
            path: String::new(),
            value,
        }
    }

    /// A fault at this place.
    pub(crate) fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault {
            path: self.path.clone(),
            reason: reason.into(),
        }
    }

    fn mistyped(&self, expected: &str) -> Fault {
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.fault(format!("expected {expected}, found {found}"))
    }

    fn child(&self, key: &str, value: &'a Value) -> Self {
        let path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        Self { path, value }
    }

    /// The part under `key` if there is one; null counts as none.
    pub(crate) fn optional(&self, key: &str) -> Result<Option<Self>, Fault> {
        let object = self
            .value
            .as_object()
            .ok_or_else(|| self.mistyped("an object"))?;
        let found = object.get(key).filter(|value| !value.is_null());
        Ok(found.map(|value| self.child(key, value)))
    }

    /// The part under `key`, which must be there; it may be null.
    pub(crate) fn required(&self, key: &str) -> Result<Self, Fault> {
        let object = self
            .value
            .as_object()
            .ok_or_else(|| self.mistyped("an object"))?;
        match object.get(key) {
            Some(value) => Ok(self.child(key, value)),
            None => Err(self.child(key, &Value::Null).fault("is missing")),
        }
    }

    pub(crate) fn items(&self, most: usize) -> Result<Vec<Self>, Fault> {
        let items = self
            .value
            .as_array()
            .ok_or_else(|| self.mistyped("a list"))?;
        if items.len() > most {
            let count = items.len();
            return Err(self.fault(format!("has {count} items, more than {most}")));
        }
        let node = |(index, value)| Self {
            path: format!("{}[{index}]", self.path),
            value,
        };
        Ok(items.iter().enumerate().map(node).collect())
    }

    /// Text of one line that says something.
    pub(crate) fn text(&self, bytes_max: usize) -> Result<&'a str, Fault> {
        let text = self.value.as_str().ok_or_else(|| self.mistyped("text"))?;
        if text.trim().is_empty() {
            return Err(self.fault("is empty"));
        }
        if text.len() > bytes_max {
            let length = text.len();
            return Err(self.fault(format!("has {length} bytes, more than {bytes_max}")));
        }
        if text.contains(char::is_control) {
            return Err(self.fault("holds a line break or another control character"));
        }
        Ok(text)
    }

    /// A code: letters, digits, dots, hyphens and underscores.
    pub(crate) fn code(&self) -> Result<&'a str, Fault> {
        let code = self.text(limits::DEFINITION_CODE_BYTES_MAX)?;
        let ok = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if code.bytes().all(ok) {
            Ok(code)
        } else {
            Err(self.fault(format!(
                "'{code}' is not a code: expected letters, digits, dots, hyphens and underscores"
            )))
        }
    }

    /// A number that is not negative.
    pub(crate) fn amount(&self) -> Result<f64, Fault> {
        let number = self
            .value
            .as_f64()
            .ok_or_else(|| self.mistyped("a number"))?;
        if number < 0.0 {
            return Err(self.fault(format!("{number} is negative")));
        }
        Ok(number)
    }

    pub(crate) fn whole(&self) -> Result<u32, Fault> {
        self.value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| self.mistyped("a whole number from 0"))
    }

    pub(crate) fn boolean(&self) -> Result<bool, Fault> {
        self.value
            .as_bool()
            .ok_or_else(|| self.mistyped("true or false"))
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value.is_null()
    }
}
