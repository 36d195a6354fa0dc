//! `bukti quarantine`: what the server refused is kept, shown, exported and entered again.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use bukti_client::clock;
use bukti_client::device::Quarantined;
use bukti_command::show::{count, plain, show_time};
use bukti_command::{Column, Reply, Table};
use bukti_core::id::{Incarnation, RunId};
use serde::Serialize;
use serde_json::json;

use super::desk::{Desk, short};
use super::failure::Failure;
use super::line;

#[derive(Serialize)]
struct Numbered<'a> {
    number: usize,
    #[serde(flatten)]
    entry: &'a Quarantined,
}

pub(super) fn run(desk: &mut Desk<'_>, command: &line::Quarantine) -> Result<Reply, Failure> {
    let entries = desk.device.quarantined();
    match command {
        line::Quarantine::List => Ok(list(desk, &entries)),
        line::Quarantine::Show { entry } => {
            let shown = named(&entries, entry)?;
            Ok(desk.answer(&shown, || text(&shown)))
        }
        line::Quarantine::Reenter { entry } => reenter(desk, named(&entries, entry)?.entry),
        line::Quarantine::Export { file } => export(desk, &entries, file),
    }
}

/// The run that is typed as its number in the list or as its id.
fn named<'e>(entries: &'e [Quarantined], typed: &str) -> Result<Numbered<'e>, Failure> {
    let (number, run) = (typed.parse::<usize>().ok(), typed.parse::<RunId>().ok());
    let mut listed = numbered(entries).into_iter();
    let found =
        listed.find(|listed| number == Some(listed.number) || run == Some(listed.entry.run));
    found.ok_or_else(|| {
        Failure::Wrong(match entries.len() {
            0 => format!("'{typed}' is not in quarantine: nothing is"),
            held => format!(
                "'{typed}' is not in quarantine: expected a number from 1 to {held}, or the id of a \
                 run as 'bukti quarantine list --json' gives it"
            ),
        })
    })
}

fn numbered(entries: &[Quarantined]) -> Vec<Numbered<'_>> {
    let numbers = 1..;
    numbers
        .zip(entries)
        .map(|(number, entry)| Numbered { number, entry })
        .collect()
}

fn list(desk: &Desk<'_>, entries: &[Quarantined]) -> Reply {
    let listed = numbered(entries);
    desk.answer(&json!({ "quarantine": listed }), || {
        table(&listed, desk.columns, desk.device.is_revoked())
    })
}

fn table(listed: &[Numbered<'_>], columns: Option<u16>, is_revoked: bool) -> String {
    if listed.is_empty() {
        return "Nothing is in quarantine.\n".to_owned();
    }
    let mut table = Table::new([
        Column::number("No."),
        Column::text("Refused"),
        Column::text("Evidence"),
        Column::number("Edits"),
        Column::text("Why"),
    ]);
    for Numbered { number, entry } in listed {
        let why = match entry.entered_again {
            Some(_) => format!("{} Entered again.", entry.sentence),
            None => entry.sentence.clone(),
        };
        let title = format!("{} {}", short(&entry.document), entry.title);
        let edits = entry.edits.len().to_string();
        table.row([number.to_string(), show_time(entry.at), title, edits, why]);
    }
    let then = match is_revoked {
        false => "Enter edits again, as new ones, with: bukti quarantine reenter NUMBER",
        true => "The server revoked this device: edits that are entered again stay on it.",
    };
    format!("{}\n{then}\n", table.draw(columns))
}

fn text(Numbered { number, entry }: &Numbered<'_>) -> String {
    let mut lines = vec![
        format!("{number}. {}", entry.title),
        format!("Evidence  {}", entry.document),
        format!("Run       {}", entry.run),
        format!("Refused   {} ({})", show_time(entry.at), entry.code),
        format!("Why       {}", entry.sentence),
    ];
    if let Some(run) = &entry.entered_again {
        lines.push(format!("Entered again in run {run}."));
    }
    lines.push(String::new());
    lines.push(format!("{}:", count(entry.edits.len(), "edit")));
    lines.extend(entry.edits.iter().map(|edit| format!("  {edit}")));
    lines
        .iter()
        .map(|line| plain(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn reenter(desk: &mut Desk<'_>, entry: &Quarantined) -> Result<Reply, Failure> {
    if let Some(run) = &entry.entered_again {
        return Err(Failure::Wrong(format!(
            "these edits were entered again already, in run {run}"
        )));
    }
    let incarnation = Incarnation(clock::draw());
    let (document, run) =
        desk.device
            .enter_again(desk.now, incarnation, clock::draw(), &entry.run)?;
    let value = json!({
        "document": document.to_string(),
        "changed": run.is_some(),
        "run": run.map(|run| run.to_string()),
    });
    Ok(desk.answer(&value, || match run {
        Some(_) => {
            format!("Entered again in {document}. {}", desk.kept())
        }
        None => "Nothing to enter again: the evidence says so already.".to_owned(),
    }))
}

fn export(desk: &Desk<'_>, entries: &[Quarantined], file: &Path) -> Result<Reply, Failure> {
    let path = desk.path(file);
    let mut exported = Vec::with_capacity(entries.len());
    for Numbered { number, entry } in numbered(entries) {
        let bytes = desk.device.export_quarantined(&entry.run)?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        exported.push(json!({
            "number": number,
            "entry": entry,
            "words": desk.device.quarantined_words(&entry.run)?,
            "cbor_hex": hex,
        }));
    }
    let document = json!({ "format": "bukti.quarantine-export.1", "quarantine": exported });
    write_new(&path, &document).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Wrong(format!(
            "{} exists already: expected the name of a new file",
            path.display()
        )),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Failure::Wrong(format!(
            "{} cannot be made: expected a file in a folder that exists",
            path.display()
        )),
        _ => Failure::Failed(format!("cannot write {}: {error}", path.display())),
    })?;
    let value = json!({ "file": path.display().to_string(), "entries": entries.len() });
    Ok(desk.answer(&value, || {
        format!(
            "{} written to {}.",
            count(entries.len(), "refused run"),
            path.display()
        )
    }))
}

/// The file holds personal data, so only its owner may read it; it is on the disk on return.
fn write_new(path: &Path, document: &serde_json::Value) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&serde_json::to_vec_pretty(document)?)?;
    file.write_all(b"\n")?;
    file.sync_all()
}
