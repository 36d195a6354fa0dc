//! Values of fields as a person types them.

use std::collections::BTreeMap;
use std::fmt;

use super::{Field, FieldType};
use crate::limits;

/// A valid value. [`fmt::Display`] writes it in the form in which [`Field::parse`] reads it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum FieldValue {
    /// One line without spaces around it.
    String(String),
    /// Several lines.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number in its shortest decimal form: `-0.5`, `78.3`, `1250000`. Equal numbers are equal
    /// text; nothing is rounded.
    Decimal(String),
    /// A day of the calendar as `yyyy-mm-dd`.
    Date(String),
    /// Yes or no.
    Boolean(bool),
    /// The code of an option.
    Choice(String),
    /// Items in the order given.
    List(Vec<String>),
    /// A number for each group, none negative.
    Counts(BTreeMap<String, i64>),
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text)
            | Self::Text(text)
            | Self::Decimal(text)
            | Self::Date(text)
            | Self::Choice(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(true) => f.write_str("yes"),
            Self::Boolean(false) => f.write_str("no"),
            Self::List(items) => f.write_str(&items.join(";")),
            Self::Counts(counts) => {
                let groups: Vec<String> = counts
                    .iter()
                    .map(|(group, number)| format!("{group}={number}"))
                    .collect();
                f.write_str(&groups.join(";"))
            }
        }
    }
}

/// Text that is no value of its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: '{given}' is not {expected}")]
pub struct FieldError {
    /// Code of the field.
    pub field: String,
    /// What was given, cut to 80 characters.
    pub given: String,
    /// What was expected, with an example.
    pub expected: String,
}

impl Field {
    /// Reads what a person typed for this field. Spaces around it do not count.
    ///
    /// # Errors
    /// [`FieldError`] says what was expected, with an example.
    pub fn parse(&self, text: &str) -> Result<FieldValue, FieldError> {
        let typed = text.trim();
        let (value, expected) = match &self.value_type {
            FieldType::String => (
                line(typed).map(FieldValue::String),
                format!(
                    "a line of 1 to {} bytes such as Balai Nagari Suliki",
                    limits::FIELD_STRING_BYTES_MAX
                ),
            ),
            FieldType::Text => (
                lines(typed).map(FieldValue::Text),
                format!(
                    "a text of 1 to {} bytes, with line breaks but no other control characters, \
                     such as Dihadiri 42 warga.",
                    limits::FIELD_TEXT_BYTES_MAX
                ),
            ),
            FieldType::Integer => (
                typed.parse().ok().map(FieldValue::Integer),
                "a whole number such as 2025".to_owned(),
            ),
            FieldType::Decimal => (
                decimal(typed).map(FieldValue::Decimal),
                format!(
                    "a number of at most {} digits with a point before the fraction and no \
                     thousands separators, such as 78.30",
                    limits::FIELD_DECIMAL_DIGITS_MAX
                ),
            ),
            FieldType::Date => (
                date(typed).map(FieldValue::Date),
                "a day of the calendar as yyyy-mm-dd such as 2025-12-09".to_owned(),
            ),
            FieldType::Boolean => (
                boolean(typed).map(FieldValue::Boolean),
                "yes or no (also true, false, ya, tidak), such as yes".to_owned(),
            ),
            FieldType::Choice(options) => {
                let codes: Vec<&str> = options.iter().map(|option| option.code.as_str()).collect();
                (
                    codes
                        .contains(&typed)
                        .then(|| FieldValue::Choice(typed.to_owned())),
                    format!("one of {}", codes.join(", ")),
                )
            }
            FieldType::List => (
                list(typed).map(FieldValue::List),
                format!(
                    "1 to {} items separated by ';' such as Kepala desa;Ketua BPD",
                    limits::FIELD_ITEMS_MAX
                ),
            ),
            FieldType::Counts => (
                counts(typed).map(FieldValue::Counts),
                format!(
                    "1 to {} groups, each once and with a number from 0, such as men=3;women=4",
                    limits::FIELD_ITEMS_MAX
                ),
            ),
        };
        value.ok_or_else(|| FieldError {
            field: self.code.clone(),
            given: text.chars().take(80).collect(),
            expected,
        })
    }
}

fn line(text: &str) -> Option<String> {
    let ok = (1..=limits::FIELD_STRING_BYTES_MAX).contains(&text.len())
        && !text.contains(char::is_control);
    ok.then(|| text.to_owned())
}

fn lines(text: &str) -> Option<String> {
    let text = text.replace("\r\n", "\n");
    let stray = |c: char| c.is_control() && c != '\n' && c != '\t';
    let ok = (1..=limits::FIELD_TEXT_BYTES_MAX).contains(&text.len()) && !text.contains(stray);
    ok.then_some(text)
}

fn decimal(text: &str) -> Option<String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (digits, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || !all_digits(whole)
        || !all_digits(fraction)
        || whole.len() + fraction.len() > limits::FIELD_DECIMAL_DIGITS_MAX
    {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        significant => significant,
    };
    let fraction = fraction.trim_end_matches('0');
    let sign = if negative && (whole, fraction) != ("0", "") {
        "-"
    } else {
        ""
    };
    Some(if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    })
}

fn date(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !shaped {
        return None;
    }
    let year: u32 = text[0..4].parse().ok()?;
    let month: u32 = text[5..7].parse().ok()?;
    let day: u32 = text[8..10].parse().ok()?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    (year > 0 && (1..=days).contains(&day)).then(|| text.to_owned())
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "true" | "ya" => Some(true),
        "no" | "false" | "tidak" => Some(false),
        _ => None,
    }
}

fn list(text: &str) -> Option<Vec<String>> {
    let items: Vec<String> = text
        .split(';')
        .map(|item| line(item.trim()))
        .collect::<Option<_>>()?;
    (items.len() <= limits::FIELD_ITEMS_MAX).then_some(items)
}

fn counts(text: &str) -> Option<BTreeMap<String, i64>> {
    let mut counts = BTreeMap::new();
    for pair in text.split(';') {
        let (group, number) = pair.split_once('=')?;
        let group = line(group.trim())?;
        let number: i64 = number.trim().parse().ok().filter(|number| *number >= 0)?;
        if counts.insert(group, number).is_some() || counts.len() > limits::FIELD_ITEMS_MAX {
            return None;
        }
    }
    Some(counts)
}
