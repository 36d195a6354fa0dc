//! `findings`: what should not be, and what somebody said to it.

use bukti_command::{Column, Exit, Reply, Table, show};
use bukti_core::id::Position;
use bukti_core::ledger::Found;
use serde_json::{Value, json};

use super::{Failure, Office, say, verify};

/// All findings, the oldest first.
pub(super) fn list(office: &Office, json: bool, columns: Option<u16>) -> Result<Reply, Failure> {
    let (found, unread) = office.reader().readable_findings();
    // Places of what cannot be read are those that `verify` names.
    let damaged = match unread.is_empty() {
        true => Vec::new(),
        false => verify::damaged(office.reader(), &unread),
    };
    let value = json!({
        "findings": found.iter().map(|found| with_person(office, found)).collect::<Vec<Value>>(),
        "damaged": damaged,
    });
    let exit = match damaged.is_empty() {
        true => Exit::Done,
        false => Exit::Failed,
    };
    let reply = say(json, &value, || {
        let mut text = match found.is_empty() && !damaged.is_empty() {
            true => String::new(),
            false => drawn(office, &found, columns),
        };
        for shown in &damaged {
            text.push_str(&format!("damaged: {shown}\n"));
        }
        if !damaged.is_empty() {
            text.push_str("What was found and stood there is not listed.\n");
        }
        text
    });
    Ok(reply.with_exit(exit))
}

/// Findings one below another.
fn drawn(office: &Office, found: &[Found], columns: Option<u16>) -> String {
    if found.is_empty() {
        return "Nothing was found that should not be.\n".to_owned();
    }
    let mut table = Table::new([
        Column::number("record"),
        Column::text("when"),
        Column::text("what"),
        Column::text("where"),
        Column::text("sentence"),
    ]);
    for found in found {
        let said = found.acknowledged.as_ref();
        let said = said.map(|said| format!(" Acknowledged: {}", said.note));
        table.row([
            found.position.to_string(),
            show::show_time(found.at),
            found.finding.code.clone(),
            match person(office, found) {
                None => place(found),
                Some(person) => format!("{} of {person}", place(found)),
            },
            format!("{}{}", found.finding.sentence, said.unwrap_or_default()),
        ]);
    }
    table.draw(columns)
}

/// Records that somebody has looked into a finding.
pub(super) fn acknowledge(
    office: &Office,
    finding: Position,
    note: &str,
    json: bool,
) -> Result<Reply, Failure> {
    let note = note.to_owned();
    let position = office.accepting().ask_blocking(None, move |ledger, now| {
        ledger.acknowledge(now, finding, &note)
    })??;
    let value = json!({ "finding": finding, "position": position });
    Ok(say(json, &value, || format!("acknowledged {finding}\n")))
}

/// A finding as JSON.
pub(super) fn shown(found: &Found) -> Value {
    let finding = &found.finding;
    let acknowledged = found
        .acknowledged
        .as_ref()
        .map(|said| json!({ "position": said.position, "at": said.at, "note": said.note }));
    json!({
        "position": found.position,
        "at": found.at,
        "code": finding.code,
        "sentence": finding.sentence,
        "place": finding.place,
        "document": finding.document.map(|id| id.to_string()),
        "device": finding.device.map(|id| id.to_string()),
        "run": finding.run.map(|id| id.to_string()),
        "acknowledged": acknowledged,
    })
}

/// The same with whose device it names, so that somebody can be asked.
fn with_person(office: &Office, found: &Found) -> Value {
    let mut value = shown(found);
    value["person"] = person(office, found).into();
    value
}

fn person(office: &Office, found: &Found) -> Option<String> {
    let device = found
        .finding
        .device
        .filter(|_| found.finding.document.is_none())?;
    let row = office.reader().device(&device).ok().flatten();
    row.map(|row| row.person)
}

/// Where to look: a file, a document, or a device.
pub(super) fn place(found: &Found) -> String {
    let finding = &found.finding;
    let document = finding.document.map(|id| format!("document {id}"));
    let device = finding.device.map(|id| format!("device {id}"));
    let place = finding.place.clone();
    place
        .or(document)
        .or(device)
        .unwrap_or_else(|| "journal".to_owned())
}
