//! What a person types for the values of evidence, held to its kind.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;

use bukti_command::read_named;
use bukti_core::evidence::Value;
use bukti_core::kind::{FieldValue, Kind, Kinds};
use bukti_core::limits::{FIELD_STRING_BYTES_MAX, FIELD_TEXT_BYTES_MAX};

use super::failure::Failure;

/// `field=value` as typed; without a value it clears the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    code: String,
    text: String,
}

impl FromStr for Setting {
    type Err = &'static str;

    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        let (code, text) = typed
            .split_once('=')
            .filter(|(code, _text)| !code.trim().is_empty())
            .ok_or("expected field=value such as year=2025")?;
        Ok(Self {
            code: code.trim().to_owned(),
            text: text.to_owned(),
        })
    }
}

/// The kind called `code`.
pub(super) fn kind<'k>(kinds: &'k Kinds, code: &str) -> Result<&'k Kind, Failure> {
    kinds.kind(code).ok_or_else(|| {
        let known: Vec<&str> = kinds.iter().map(|kind| kind.code.as_str()).collect();
        Failure::Wrong(format!(
            "'{code}' is not a kind of evidence: expected one of {}",
            known.join(", ")
        ))
    })
}

/// The values that `settings` give to fields of `kind`; `None` clears.
pub(super) fn values(
    kind: &Kind,
    settings: &[Setting],
) -> Result<Vec<(String, Option<FieldValue>)>, Failure> {
    let mut seen = BTreeSet::new();
    let mut values = Vec::with_capacity(settings.len());
    for Setting { code, text } in settings {
        let field = kind.field(code).ok_or_else(|| {
            let known: Vec<&str> = kind
                .fields
                .iter()
                .map(|field| field.code.as_str())
                .collect();
            Failure::Wrong(format!(
                "'{code}' is not a field of {}: expected one of {}",
                kind.code,
                known.join(", ")
            ))
        })?;
        if !seen.insert(code) {
            return Err(Failure::Wrong(format!(
                "--set gives {code} twice, expected once"
            )));
        }
        let value = match text.trim() {
            "" => None,
            text => Some(field.parse(text).map_err(Failure::wrong)?),
        };
        values.push((code.clone(), value));
    }
    Ok(values)
}

/// A valid value as it goes into a document.
pub(super) fn stored(value: FieldValue) -> Value {
    match value {
        FieldValue::String(text) => Value::String(text),
        FieldValue::Text(text) => Value::Text(text),
        FieldValue::Integer(number) => Value::Integer(number),
        FieldValue::Decimal(text) => Value::Decimal(text),
        FieldValue::Date(text) => Value::Date(text),
        FieldValue::Boolean(yes) => Value::Boolean(yes),
        FieldValue::Choice(code) => Value::Choice(code),
        FieldValue::List(items) => Value::List(items),
        FieldValue::Counts(counts) => Value::Counts(counts),
    }
}

/// A line that a person must fill in, such as a title or a reason.
pub(super) fn line(what: &str, typed: &str) -> Result<String, Failure> {
    let text = typed.trim();
    let fits = (1..=FIELD_STRING_BYTES_MAX).contains(&text.len());
    if fits && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    let given: String = text.chars().take(80).collect();
    Err(Failure::Wrong(format!(
        "'{given}' is not a {what}: expected one line of 1 to {FIELD_STRING_BYTES_MAX} bytes"
    )))
}

/// Reads the narrative from a text file. An empty file is an empty narrative.
pub(super) fn narrative(path: &Path) -> Result<String, Failure> {
    let expected = format!("expected a text file in UTF-8 of at most {FIELD_TEXT_BYTES_MAX} bytes");
    let refuse = |reason: &str| Failure::Wrong(format!("{}: {reason}: {expected}", path.display()));
    let read = read_named(path, FIELD_TEXT_BYTES_MAX);
    let bytes = read.map_err(|error| refuse(&error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| refuse("not UTF-8"))?;
    // What Windows editors put around text is not part of it.
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let stray = |c: char| c.is_control() && c != '\n' && c != '\t';
    match text.contains(stray) {
        true => Err(refuse("control characters in it")),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(kind_code: &str, typed: &[&str]) -> Result<Vec<(String, Option<FieldValue>)>, Failure> {
        let kinds = Kinds::built_in();
        let settings: Vec<Setting> = typed.iter().map(|text| text.parse().unwrap()).collect();
        values(kind(&kinds, kind_code)?, &settings)
    }

    fn wrong<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
        let Failure::Wrong(text) = result.unwrap_err() else {
            panic!("expected wrong use");
        };
        text
    }

    #[test]
    fn a_setting_is_split_at_its_first_equals_sign() {
        let setting: Setting = "attendees=men=3;women=4".parse().unwrap();
        assert_eq!(
            (setting.code.as_str(), setting.text.as_str()),
            ("attendees", "men=3;women=4")
        );
        for typed in ["year", "=2025", " =x", ""] {
            assert!(typed.parse::<Setting>().is_err(), "{typed}");
        }
    }

    #[test]
    fn values_are_read_by_the_fields_of_the_kind() {
        assert_eq!(
            read("regulation", &["year=2025", "number= 4/2025 ", "subject="]),
            Ok(vec![
                ("year".into(), Some(FieldValue::Integer(2025))),
                ("number".into(), Some(FieldValue::String("4/2025".into()))),
                ("subject".into(), None),
            ])
        );
    }

    #[test]
    fn a_wrong_kind_field_or_value_is_answered_with_what_was_expected() {
        let text = wrong(read("film", &[]));
        assert!(
            text.starts_with("'film' is not a kind of evidence: expected one of regulation, plan"),
            "{text}"
        );
        let text = wrong(read("regulation", &["yaer=2025"]));
        assert!(
            text.starts_with(
                "'yaer' is not a field of regulation: expected one of subtype, number"
            ),
            "{text}"
        );
        assert_eq!(
            wrong(read("regulation", &["year=last"])),
            "year: 'last' is not a whole number such as 2025"
        );
        assert_eq!(
            wrong(read("regulation", &["year=2024", "year=2025"])),
            "--set gives year twice, expected once"
        );
    }

    #[test]
    fn a_title_is_one_line_with_something_in_it() {
        assert_eq!(line("title", "  Notulen  "), Ok("Notulen".into()));
        for typed in ["", "  \t", "a\nb", &"x".repeat(FIELD_STRING_BYTES_MAX + 1)] {
            assert!(wrong(line("title", typed)).contains("is not a title: expected one line"));
        }
    }

    #[test]
    fn a_narrative_is_read_without_the_marks_of_other_systems() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("narrative.txt");
        fs::write(&path, "\u{feff}Rapat\r\nselesai.\n").unwrap();
        assert_eq!(narrative(&path), Ok("Rapat\nselesai.\n".into()));
        fs::write(&path, "").unwrap();
        assert_eq!(narrative(&path), Ok(String::new()));
    }

    #[test]
    fn a_narrative_that_is_no_text_of_a_fitting_size_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("narrative.txt");
        assert!(wrong(narrative(&path)).contains("expected a text file in UTF-8"));
        assert!(wrong(narrative(folder.path())).contains(": not a file: "));
        for (content, reason) in [
            (b"\xff\xfe".to_vec(), ": not UTF-8: "),
            (b"a\0b".to_vec(), ": control characters in it: "),
            (vec![b'x'; FIELD_TEXT_BYTES_MAX + 1], ": it has more than "),
        ] {
            fs::write(&path, content).unwrap();
            assert!(wrong(narrative(&path)).contains(reason));
        }
        fs::write(&path, vec![b'x'; FIELD_TEXT_BYTES_MAX]).unwrap();
        assert!(narrative(&path).is_ok());
    }
}
