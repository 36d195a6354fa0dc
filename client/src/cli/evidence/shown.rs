//! Evidence as people read it: lists, one piece, its history.

use std::collections::BTreeSet;

use bukti_client::device::{ChangeRow, Shown, Summary};
use bukti_command::show::{count, plain, show_bytes, show_time};
use bukti_command::{Column, Reply, Table};
use bukti_core::evidence::{Content, EvidenceView};
use bukti_core::id::DocumentId;
use bukti_core::kind::Kinds;
use bukti_core::scope::Scope;
use serde::Serialize;
use serde_json::json;

use crate::cli::conflicts::field_name;
use crate::cli::desk::{Desk, is_doubtful, short, when, who};
use crate::cli::failure::Failure;
use crate::cli::state::{delivery, state};

/// Rows named in a list; more are counted.
const ROWS_LISTED: usize = 2;

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    /// As people see it.
    shown_as: &'static str,
}

pub(super) fn list(desk: &mut Desk<'_>) -> Result<Reply, Failure> {
    let summaries = desk.device.list()?;
    let listed: Vec<Listed<'_>> = summaries
        .iter()
        .map(|summary| Listed {
            summary,
            shown_as: state(summary),
        })
        .collect();
    Ok(desk.answer(&json!({ "evidence": listed }), || {
        match summaries.is_empty() {
            true => "No evidence on this device yet.\n".to_owned(),
            false => table(&summaries, desk.columns),
        }
    }))
}

fn table(summaries: &[Summary], columns: Option<u16>) -> String {
    let scopes: BTreeSet<&Scope> = summaries.iter().map(|summary| &summary.scope).collect();
    let in_one = scopes.len() == 1;
    let mut headings = vec![Column::text("Id"), Column::text("Title")];
    if !in_one {
        headings.push(Column::text("Region"));
    }
    headings.extend(["Kind", "Rows", "State", "Delivery"].map(Column::text));
    let mut table = Table::new(headings);
    for summary in summaries {
        let mut cells = vec![short(&summary.id), summary.title.clone()];
        if !in_one {
            cells.push(summary.scope.to_string());
        }
        cells.extend([
            summary.kind.clone(),
            few_rows(&summary.rows),
            state(summary).to_owned(),
            delivery(&summary.delivery),
        ]);
        table.row(cells);
    }
    table.draw(columns)
}

fn few_rows(rows: &[String]) -> String {
    match rows.split_at_checked(ROWS_LISTED) {
        None => rows.join(", "),
        Some((rows, [])) => rows.join(", "),
        Some((first, more)) => format!("{} +{}", first.join(", "), more.len()),
    }
}

pub(super) fn show(desk: &mut Desk<'_>, typed: &str) -> Result<Reply, Failure> {
    let id = desk.document(typed)?;
    let shown = desk.device.show(&id)?;
    if desk.json {
        return Ok(Reply::json(&shown));
    }
    let regions = desk.device.regions()?;
    let page = Page {
        place: regions.path_name(&shown.scope, desk.device.placements()),
        frameworks: desk.device.frameworks()?,
        summary: desk.summary(id)?,
        shown,
    };
    Ok(Reply::done(page.text(desk.columns)))
}

/// One piece of evidence for people: what everybody sees, and how it stands here.
struct Page {
    shown: Shown,
    summary: Summary,
    place: String,
    frameworks: Vec<bukti_core::framework::Framework>,
}

impl Page {
    fn text(&self, columns: Option<u16>) -> String {
        let view = &self.shown.evidence;
        let facts = self.facts(view);
        let facts: Vec<String> = facts
            .iter()
            .map(|(name, value)| fact(name, value))
            .collect();
        let narrative: Vec<String> = view.narrative.lines().map(plain).collect();
        let parts = [
            Some(plain(&view.title)),
            Some(facts.join("\n")),
            fields(view, columns).map(|table| table.trim_end().to_owned()),
            Some(files(view).join("\n")),
            Some(narrative.join("\n")),
            self.choices(view),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
            .collect();
        parts.join("\n\n")
    }

    fn choices(&self, view: &EvidenceView) -> Option<String> {
        let paths: Vec<String> = view
            .conflicts
            .iter()
            .map(|conflict| field_name(&conflict.path))
            .collect();
        (!paths.is_empty()).then(|| {
            plain(&format!(
                "Several people wrote {} at once: see 'bukti conflicts {}'.",
                paths.join(" and "),
                short(&self.shown.id)
            ))
        })
    }

    fn facts(&self, view: &EvidenceView) -> Vec<(&'static str, String)> {
        let framework = match (&view.framework, view.cycle) {
            (Some(at), Some(cycle)) => format!("{}@{}, cycle {cycle}", at.id, at.version),
            (Some(at), None) => format!("{}@{}", at.id, at.version),
            (None, Some(cycle)) => format!("none, cycle {cycle}"),
            (None, None) => "none".to_owned(),
        };
        let declared = match &view.withdrawal_reason {
            Some(reason) => format!("{} ({reason})", view.declared.as_str()),
            None => view.declared.as_str().to_owned(),
        };
        let mut facts = vec![
            ("Id", self.shown.id.to_string()),
            ("Kind", kind_name(&view.kind)),
            ("Region", format!("{} {}", self.shown.scope, self.place)),
            ("Framework", framework),
            ("Declared", declared),
            ("State", state(&self.summary).to_owned()),
            ("Delivery", delivery(&self.summary.delivery)),
        ];
        let rows = view.rows.iter().map(|code| ("Row", self.row(view, code)));
        facts.extend(rows);
        facts
    }

    fn row(&self, view: &EvidenceView, code: &str) -> String {
        let framework = self.frameworks.iter().find(|framework| {
            view.framework
                .as_ref()
                .is_some_and(|at| at.id == framework.id() && at.version == framework.version())
        });
        let item = framework.and_then(|framework| framework.find(code));
        match item {
            Some(item) => format!("{code} {}", item.title().english()),
            None => code.to_owned(),
        }
    }
}

fn fact(name: &str, value: &str) -> String {
    plain(&format!("{name:<10} {value}"))
}

fn fields(view: &EvidenceView, columns: Option<u16>) -> Option<String> {
    if view.fields.is_empty() {
        return None;
    }
    let kinds = Kinds::built_in();
    let kind = kinds.kind(&view.kind);
    let mut table = Table::new(["Field", "Name", "Value"].map(Column::text));
    for (code, content) in &view.fields {
        let field = kind.and_then(|kind| kind.field(code));
        let name = field.map_or("", |field| field.label.english());
        table.row([code, name, &value(content)]);
    }
    Some(table.draw(columns))
}

fn kind_name(code: &str) -> String {
    match Kinds::built_in().kind(code) {
        Some(kind) => format!("{code} ({})", kind.label.english()),
        None => code.to_owned(),
    }
}

/// A text stands as it is; everything else as the history writes it.
fn value(content: &Content) -> String {
    match content.as_str() {
        Some(text) => text.to_owned(),
        None => content.to_string(),
    }
}

fn files(view: &EvidenceView) -> Vec<String> {
    let mut lines = Vec::new();
    if !view.files.is_empty() {
        lines.push(count(view.files.len(), "file"));
    }
    for file in &view.files {
        let part = file
            .part
            .as_ref()
            .map(|part| format!(" ({part})"))
            .unwrap_or_default();
        lines.push(plain(&format!(
            "{} {}{part}, {}, {}",
            short(&file.hash),
            file.name,
            file.media_type,
            show_bytes(file.bytes)
        )));
    }
    lines
}

#[derive(Serialize)]
struct Change<'a> {
    #[serde(flatten)]
    row: &'a ChangeRow,
    /// Whether the device's clock cannot have been right.
    clock_doubtful: bool,
}

pub(super) fn history(desk: &mut Desk<'_>, typed: &str) -> Result<Reply, Failure> {
    let id = desk.document(typed)?;
    let rows = desk.device.history(&id)?;
    let changes: Vec<Change<'_>> = rows
        .iter()
        .map(|row| Change {
            row,
            clock_doubtful: is_doubtful(row.device_time, row.author.received_at),
        })
        .collect();
    let value = json!({ "id": id.to_string(), "changes": changes });
    Ok(desk.answer(&value, || changes_table(id, &changes, desk.columns)))
}

fn changes_table(id: DocumentId, changes: &[Change<'_>], columns: Option<u16>) -> String {
    let mut table = Table::new(["Device said", "Received", "Who", "What"].map(Column::text));
    for Change {
        row,
        clock_doubtful,
    } in changes
    {
        let said = when(row.device_time, *clock_doubtful);
        let received = row
            .author
            .received_at
            .map_or_else(|| "not yet".to_owned(), show_time);
        let mut first = [said, received, who(&row.author)];
        if row.edits.is_empty() {
            let [said, received, who] = &first;
            table.row([said, received, who, "nothing that is shown"]);
        }
        for edit in &row.edits {
            let [said, received, who] = &first;
            table.row([said, received, who, &edit.to_string()]);
            first = Default::default();
        }
    }
    format!("{id}\n\n{}", table.draw(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_a_few_rows_and_counts_the_rest() {
        let rows = |n: usize| (1..=n).map(|n| format!("I.1.{n}")).collect::<Vec<_>>();
        assert_eq!(few_rows(&rows(0)), "");
        assert_eq!(few_rows(&rows(2)), "I.1.1, I.1.2");
        assert_eq!(few_rows(&rows(3)), "I.1.1, I.1.2 +1");
    }
}
