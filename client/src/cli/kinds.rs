//! `bukti kinds`: what can be recorded, and how its fields are written.

use bukti_command::{Column, Reply, Table};
use bukti_core::kind::{Field, FieldType, Kind, Kinds};

use super::failure::Failure;
use super::setting;

/// Needs no data folder: the kinds are part of the program.
pub(super) fn run(code: Option<&str>, json: bool, columns: Option<u16>) -> Result<Reply, Failure> {
    let kinds = Kinds::built_in();
    Ok(match code {
        None if json => Reply::json(&kinds),
        None => Reply::done(overview(&kinds, columns)),
        Some(code) => {
            let kind = setting::kind(&kinds, code)?;
            match json {
                true => Reply::json(kind),
                false => Reply::done(fields(kind, columns)),
            }
        }
    })
}

fn overview(kinds: &Kinds, columns: Option<u16>) -> String {
    let mut table = Table::new([
        Column::text("Kind"),
        Column::text("Name"),
        Column::text("In Indonesian"),
        Column::number("Fields"),
    ]);
    for kind in kinds.iter() {
        let (english, indonesian) = (kind.label.english(), kind.label.id.as_str());
        table.row([
            &kind.code,
            english,
            indonesian,
            &kind.fields.len().to_string(),
        ]);
    }
    table.draw(columns)
}

fn fields(kind: &Kind, columns: Option<u16>) -> String {
    let mut table = Table::new([
        Column::text("Field"),
        Column::text("Name"),
        Column::text("Required"),
        Column::text("Written as"),
    ]);
    for field in &kind.fields {
        let required = if field.required { "yes" } else { "" };
        table.row([
            &field.code,
            field.label.english(),
            required,
            &written_as(field),
        ]);
    }
    format!(
        "{} – {} ({})\n\n{}",
        kind.code,
        kind.label.english(),
        kind.label.id,
        table.draw(columns)
    )
}

fn written_as(field: &Field) -> String {
    match &field.value_type {
        FieldType::String => "one line".to_owned(),
        FieldType::Text => "text".to_owned(),
        FieldType::Integer => "whole number".to_owned(),
        FieldType::Decimal => "number such as 78.30".to_owned(),
        FieldType::Date => "yyyy-mm-dd".to_owned(),
        FieldType::Boolean => "yes or no".to_owned(),
        FieldType::Choice(options) => {
            let codes: Vec<&str> = options.iter().map(|option| option.code.as_str()).collect();
            codes.join(", ")
        }
        FieldType::List => "items such as A;B".to_owned(),
        FieldType::Counts => "counts such as men=3;women=4".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_every_field_is_listed() {
        let kinds = Kinds::built_in();
        let overview = run(None, false, None).unwrap().stdout;
        assert_eq!(overview.lines().count(), 2 + kinds.iter().count());
        for kind in kinds.iter() {
            assert!(overview.contains(&kind.code));
            let listed = run(Some(&kind.code), false, None).unwrap().stdout;
            assert!(listed.starts_with(&format!("{} – ", kind.code)));
            for field in &kind.fields {
                assert!(
                    listed.lines().any(|line| line.starts_with(&field.code)),
                    "{}",
                    field.code
                );
            }
        }
    }

    #[test]
    fn tables_fit_a_terminal_of_80_columns() {
        for code in [None, Some("regulation"), Some("procurement"), Some("event")] {
            let text = run(code, false, Some(80)).unwrap().stdout;
            assert!(
                text.lines().all(|line| line.chars().count() <= 80),
                "{text}"
            );
        }
    }

    #[test]
    fn a_kind_in_json_is_one_document_with_its_fields() {
        let reply = run(Some("regulation"), true, None).unwrap();
        let kind: serde_json::Value = serde_json::from_str(&reply.stdout).unwrap();
        assert_eq!(kind["code"], "regulation");
        assert_eq!(kind["fields"][0]["type"], "choice");
        assert!(run(Some("film"), true, None).is_err());
    }
}
