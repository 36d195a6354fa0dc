//! `devices`: who was let in and may do what.

use bukti_command::{Column, Reply, Table, show};
use bukti_core::authority::Grant;
use serde_json::{Value, json};

use super::{Failure, Office, say};
use crate::clock::wall_now;

pub(super) fn devices(office: &Office, json: bool, columns: Option<u16>) -> Result<Reply, Failure> {
    let mut listed = Vec::new();
    let mut table = Table::new([
        Column::text("device"),
        Column::text("person"),
        Column::text("may"),
        Column::text("enrolled"),
        Column::text("state"),
    ]);
    let reader = office.reader();
    for device in reader.devices() {
        let (id, row) = device?;
        let confirmed = reader.is_confirmed(&row);
        let state = match row.revoked_at {
            Some(at) => format!("revoked {}", show::show_time(at)),
            None if !confirmed => "unconfirmed".to_owned(),
            None => "active".to_owned(),
        };
        let enrolled = show::show_time(row.enrolled_at);
        table.row([
            id.to_string(),
            row.person.clone(),
            grants(&row.grants),
            enrolled,
            state,
        ]);
        listed.push(json!({
            "device": id.to_string(),
            "person": row.person,
            "grants": row.grants,
            "enrolled_at": row.enrolled_at,
            "revoked_at": row.revoked_at,
            "confirmed": confirmed,
        }));
    }
    let (open, open_table) = invitations(office)?;
    let value = json!({ "devices": listed, "invitations": open });
    Ok(say(json, &value, || {
        let mut text = if listed.is_empty() {
            "No device is enrolled yet.\n".to_owned()
        } else {
            table.draw(columns)
        };
        if !open.is_empty() {
            text.push_str("\nOpen invitations\n");
            text.push_str(&open_table.draw(columns));
        }
        text
    }))
}

fn invitations(office: &Office) -> Result<(Vec<Value>, Table), Failure> {
    let now = wall_now();
    let mut open = Vec::new();
    let mut table = Table::new([
        Column::text("person"),
        Column::text("may"),
        Column::text("until"),
    ]);
    for invitation in office.reader().invitations() {
        let (_, row) = invitation?;
        if row.used_by.is_some() || row.expires_at < now || office.reader().is_void(&row)? {
            continue;
        }
        table.row([
            row.person.clone(),
            grants(&row.grants),
            show::show_time(row.expires_at),
        ]);
        open.push(json!({
            "person": row.person, "grants": row.grants, "expires_at": row.expires_at,
        }));
    }
    Ok((open, table))
}

fn grants(grants: &[Grant]) -> String {
    let words: Vec<String> = grants.iter().map(Grant::to_string).collect();
    words.join(", ")
}
