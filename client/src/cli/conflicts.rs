//! `bukti conflicts` and `bukti resolve`: values that several people wrote at once.

use bukti_client::device::{ConflictRow, Summary, ValueRow};
use bukti_command::show::plain;
use bukti_command::{Column, Reply, Table};
use bukti_core::evidence::{Edit, FieldPath};
use bukti_core::id::{ChangeHash, DocumentId};
use serde::Serialize;
use serde_json::json;

use super::desk::{Desk, is_doubtful, short, when, who};
use super::evidence::changed;
use super::failure::Failure;
use super::listing::Listing;

/// Characters of a change hash by which a value may be named, as tables show them.
const HASH_PREFIX_MIN: usize = 6;

/// Fewer digits than this are a number in the listing.
const NUMBER_DIGITS_MAX: usize = 3;

#[derive(Serialize)]
struct Listed {
    id: String,
    title: String,
    #[serde(flatten)]
    conflict: ConflictRow,
}

/// Lists what waits for a choice, of one document or of all, and remembers the sets as shown.
pub(super) fn list(desk: &mut Desk<'_>, typed: Option<&str>) -> Result<Reply, Failure> {
    let one = typed.map(|typed| desk.document(typed)).transpose()?;
    let open: Vec<Summary> = desk
        .device
        .list()?
        .into_iter()
        .filter(|summary| summary.conflicts > 0)
        .collect();
    let mut listing = Listing::load(desk.folder);
    let still_open: Vec<DocumentId> = open.iter().map(|summary| summary.id).collect();
    listing.keep_only(&still_open);
    let mut listed = Vec::new();
    for summary in open
        .iter()
        .filter(|summary| one.is_none_or(|one| one == summary.id))
    {
        let conflicts = desk.device.conflicts(&summary.id)?;
        let paths: Vec<String> = conflicts.iter().map(|row| row.path.to_string()).collect();
        let sets = paths.iter().zip(&conflicts);
        listing.show(
            summary.id,
            sets.map(|(path, row)| (path.as_str(), row.fingerprint)),
        );
        listed.extend(conflicts.into_iter().map(|conflict| Listed {
            id: summary.id.to_string(),
            title: summary.title.clone(),
            conflict,
        }));
    }
    listing
        .save(desk.folder)
        .map_err(|error| Failure::Failed(format!("cannot keep what was listed: {error}")))?;
    Ok(desk.answer(&json!({ "conflicts": listed }), || {
        text(&listed, desk.columns)
    }))
}

fn text(listed: &[Listed], columns: Option<u16>) -> String {
    let Some(first) = listed.first() else {
        return "Nothing to choose: nobody wrote the same value at once.\n".to_owned();
    };
    let mut text = String::new();
    for Listed {
        id,
        title,
        conflict,
    } in listed
    {
        let path = field(conflict);
        text.push_str(&plain(&format!("{} {title}: {path}", short(id))));
        text.push_str("\n\n");
        let mut table = Table::new([
            Column::number("No."),
            Column::text("Value"),
            Column::text("Who"),
            Column::text("Device said"),
            Column::text("Change"),
        ]);
        for (at, row) in conflict.values.iter().enumerate() {
            table.row([
                (at + 1).to_string(),
                value(row),
                who(&row.author),
                said(row),
                short(&row.change),
            ]);
        }
        text.push_str(&table.draw(columns));
        text.push('\n');
    }
    let (id, path) = (short(&first.id), field(&first.conflict));
    text.push_str(&plain(&format!(
        "* is shown until somebody chooses, such as with: bukti resolve {id} {path} --keep 1"
    )));
    text
}

fn value(row: &ValueRow) -> String {
    match row.shown {
        true => format!("{} *", row.value),
        false => row.value.to_string(),
    }
}

fn said(row: &ValueRow) -> String {
    row.device_time
        .map(|time| when(time, is_doubtful(time, row.author.received_at)))
        .unwrap_or_default()
}

fn field(conflict: &ConflictRow) -> String {
    field_name(&conflict.path)
}

/// The name by which people choose: fields of the kind by their code alone.
pub(super) fn field_name(path: &FieldPath) -> String {
    let path = path.to_string();
    match path.strip_prefix("fields/") {
        Some(code) => code.to_owned(),
        None => path,
    }
}

/// Makes a choice among exactly the values that were listed.
pub(super) fn resolve(
    desk: &mut Desk<'_>,
    id: &str,
    typed_field: &str,
    keep: &str,
) -> Result<Reply, Failure> {
    let id = desk.document(id)?;
    let keep: Keep = keep.parse()?;
    let conflicts = desk.device.conflicts(&id)?;
    let listing = Listing::load(desk.folder);
    let look = short(&id);
    let changed_since = || {
        Failure::Wrong(format!(
            "the values changed since they were listed; look again with bukti conflicts {look}"
        ))
    };
    let conflict = find(&conflicts, typed_field).map_err(|nothing| {
        let paths = [typed_field.to_owned(), format!("fields/{typed_field}")];
        let was_listed = paths.iter().any(|path| listing.shown(id, path).is_some());
        if was_listed { changed_since() } else { nothing }
    })?;
    match (listing.shown(id, &conflict.path.to_string()), &keep) {
        (Some(listed), _) if listed != conflict.fingerprint.to_string() => {
            return Err(changed_since());
        }
        (None, Keep::Number(_)) => {
            return Err(Failure::Wrong(format!(
                "the values of {typed_field} were not listed yet; look with bukti conflicts {look}"
            )));
        }
        (Some(_), _) | (None, Keep::Hash(_)) => {}
    }
    let keep = keep.among(conflict)?;
    let edit = Edit::Resolve {
        path: conflict.path.clone(),
        keep,
        expected: conflict.fingerprint,
    };
    let run = desk.device.edit(desk.now, &id, &[edit])?;
    Ok(changed(desk, id, run, ""))
}

fn find<'c>(conflicts: &'c [ConflictRow], typed: &str) -> Result<&'c ConflictRow, Failure> {
    let found = conflicts
        .iter()
        .find(|conflict| conflict.path.to_string() == typed)
        .or_else(|| conflicts.iter().find(|conflict| field(conflict) == typed));
    found.ok_or_else(|| {
        let open: Vec<String> = conflicts.iter().map(field).collect();
        let given: String = typed.chars().take(80).collect();
        Failure::Wrong(match open.as_slice() {
            [] => format!("nothing to choose in '{given}': this evidence has no conflict"),
            open => format!(
                "nothing to choose in '{given}': expected one of {}",
                open.join(", ")
            ),
        })
    })
}

/// Which value to keep, as typed.
#[derive(Debug, PartialEq, Eq)]
enum Keep {
    /// From 1 on, in the order of the listing.
    Number(usize),
    /// The beginning of a change hash, in lowercase.
    Hash(String),
}

impl std::str::FromStr for Keep {
    type Err = Failure;

    fn from_str(typed: &str) -> Result<Self, Failure> {
        let number = (typed.len() <= NUMBER_DIGITS_MAX)
            .then(|| typed.parse().ok())
            .flatten();
        let is_hash = (HASH_PREFIX_MIN..=2 * ChangeHash::LENGTH).contains(&typed.len())
            && typed.bytes().all(|byte| byte.is_ascii_hexdigit());
        match number {
            Some(number) => Ok(Self::Number(number)),
            None if is_hash => Ok(Self::Hash(typed.to_ascii_lowercase())),
            None => {
                let given: String = typed.chars().take(80).collect();
                Err(Failure::Wrong(format!(
                    "'{given}' names no value: expected --keep with its number in the listing, or \
                     with at least {HASH_PREFIX_MIN} characters of its change"
                )))
            }
        }
    }
}

impl Keep {
    fn among(&self, conflict: &ConflictRow) -> Result<ChangeHash, Failure> {
        let values = &conflict.values;
        let matching: Vec<&ValueRow> = match self {
            Self::Number(number) => {
                let row = number.checked_sub(1).and_then(|at| values.get(at));
                row.into_iter().collect()
            }
            Self::Hash(prefix) => values
                .iter()
                .filter(|row| row.change.to_string().starts_with(prefix))
                .collect(),
        };
        match matching.as_slice() {
            [row] => Ok(row.change),
            _none_or_several => {
                let changes: Vec<String> = values.iter().map(|row| short(&row.change)).collect();
                Err(Failure::Wrong(format!(
                    "--keep names none of the values or several: expected 1 to {}, or one of {}",
                    values.len(),
                    changes.join(", ")
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bukti_core::evidence::Content;
    use bukti_core::id::Fingerprint;

    use super::*;

    fn conflict(path: FieldPath) -> ConflictRow {
        let row = |byte: u8, text: &str| ValueRow {
            value: Content::String(text.into()),
            change: ChangeHash([byte; 32]),
            shown: byte == 0xab,
            author: Default::default(),
            device_time: Some(1_795_453_500_000),
        };
        ConflictRow {
            path,
            fingerprint: Fingerprint([1; 16]),
            values: vec![row(0x11, "Balai desa"), row(0xab, "Balai Nagari Suliki")],
        }
    }

    fn wrong<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
        let Failure::Wrong(text) = result.unwrap_err() else {
            panic!("expected wrong use");
        };
        text
    }

    #[test]
    fn a_value_is_named_by_number_or_by_its_change() {
        let conflict = conflict(FieldPath::root("title"));
        let keep = |typed: &str| typed.parse::<Keep>()?.among(&conflict);
        assert_eq!(keep("1"), Ok(ChangeHash([0x11; 32])));
        assert_eq!(keep("2"), Ok(ChangeHash([0xab; 32])));
        assert_eq!(keep("ABABAB"), Ok(ChangeHash([0xab; 32])));
        assert_eq!(keep("111111"), Ok(ChangeHash([0x11; 32])));
        let said = "--keep names none of the values or several: expected 1 to 2, or one of 11111111, abababab";
        for typed in ["0", "3", "cdcdcd"] {
            assert_eq!(wrong(keep(typed)), said);
        }
        for typed in ["", "-1", "first", "abab", "ab ab ab"] {
            assert!(wrong(keep(typed)).contains("names no value"), "{typed}");
        }
    }

    #[test]
    fn a_field_is_named_by_its_code_or_by_its_whole_path() {
        let conflicts = [
            conflict(FieldPath::root("title")),
            conflict(FieldPath::field("place")),
        ];
        for typed in ["place", "fields/place"] {
            assert_eq!(
                find(&conflicts, typed).unwrap().path,
                FieldPath::field("place")
            );
        }
        assert_eq!(
            wrong(find(&conflicts, "agenda")),
            "nothing to choose in 'agenda': expected one of title, place"
        );
        assert!(wrong(find(&[], "title")).contains("has no conflict"));
    }

    #[test]
    fn values_are_listed_with_numbers_and_with_the_one_that_is_shown() {
        let listed = [Listed {
            id: DocumentId([1; 16]).to_string(),
            title: "Rapat".into(),
            conflict: conflict(FieldPath::field("place")),
        }];
        let text = text(&listed, None);
        assert!(text.contains(" Rapat: place\n"), "{text}");
        assert!(text.contains("\n  1   \"Balai desa\" "), "{text}");
        assert!(text.contains("\n  2   \"Balai Nagari Suliki\" *"), "{text}");
        assert!(text.contains(" place --keep 1"), "{text}");
    }
}
