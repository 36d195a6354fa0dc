//! `devices` and `status`.

use bukti_command::{Column, Reply, Table, show};
use bukti_core::authority::Grant;
use bukti_core::framework::Framework;
use bukti_core::record::Fact;
use bukti_core::scope::Scope;
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
    for device in office.reader().devices() {
        let (id, row) = device?;
        let state = match row.revoked_at {
            Some(at) => format!("revoked {}", show::show_time(at)),
            None if !row.confirmed => "unconfirmed".to_owned(),
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
            "confirmed": row.confirmed,
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

pub(super) fn status(office: &Office, json: bool) -> Result<Reply, Failure> {
    let reader = office.reader();
    let seen = reader.watermark();
    let mut documents = (0_u64, 0_u64);
    for document in reader.documents(&Scope::all()) {
        let (_, row) = document?;
        documents.0 += 1;
        documents.1 += u64::from(row.published());
    }
    let mut devices = (0_u64, 0_u64);
    for device in reader.devices() {
        let (_, row) = device?;
        devices.0 += u64::from(row.revoked_at.is_none());
        devices.1 += u64::from(row.revoked_at.is_some());
    }
    let frameworks = frameworks(office)?;
    let mut findings = Vec::new();
    for finding in reader.findings() {
        let (position, place) = finding?;
        if let Fact::Finding(finding) = reader.statement(place)?.fact() {
            findings.push(json!({
                "position": position, "code": finding.code, "sentence": finding.sentence,
            }));
        }
    }
    let value = json!({
        "serving": office.serving,
        "healthy": office.accepting().healthy(),
        "journal": reader.journal().to_string(),
        "server": office.server().to_string(),
        "url": office.url(),
        "position": seen.position,
        "chain": seen.chain.to_string(),
        "documents": documents.0,
        "documents_published": documents.1,
        "devices": devices.0,
        "devices_revoked": devices.1,
        "frameworks": frameworks,
        "findings": findings,
    });
    Ok(say(json, &value, || {
        let state = if !office.serving {
            "stopped"
        } else if office.accepting().healthy() {
            "serving"
        } else {
            "failed"
        };
        let mut text = format!(
            "state       {state}\n\
             links to    {}\n\
             server      {}\n\
             journal     {}\n\
             records     {}\n\
             chain       {}\n\
             documents   {} ({} published)\n\
             devices     {} ({} revoked)\n\
             frameworks  {}\n",
            office.url(),
            office.server(),
            reader.journal(),
            seen.position,
            seen.chain,
            documents.0,
            documents.1,
            devices.0,
            devices.1,
            if frameworks.is_empty() {
                "none".to_owned()
            } else {
                frameworks.join(", ")
            },
        );
        if findings.is_empty() {
            text.push_str("findings    none\n");
        }
        for finding in &findings {
            text.push_str(&format!(
                "finding     record {}: {}\n",
                finding["position"],
                finding["sentence"].as_str().unwrap_or_default()
            ));
        }
        text
    }))
}

fn frameworks(office: &Office) -> Result<Vec<String>, Failure> {
    let reader = office.reader();
    let mut names = Vec::new();
    for framework in reader.frameworks() {
        let (_, place) = framework?;
        if let Fact::Framework(fact) = reader.statement(place)?.fact()
            && let Ok(framework) = Framework::from_json("framework", &fact.json)
        {
            names.push(framework.reference().to_string());
        }
    }
    Ok(names)
}
