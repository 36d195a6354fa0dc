//! `bukti status`: whose device this is, what waits, what was received, what is wrong.

use bukti_client::device::{Delivery, Finding, Status, Summary};
use bukti_command::Reply;
use bukti_command::show::{ago, count, plain, show_time};
use bukti_core::authority::Grant;
use bukti_core::id::WallMs;
use serde::Serialize;

use super::desk::{Desk, short};
use super::failure::Failure;

/// Findings that are shown to people; JSON holds all.
const FINDINGS_SHOWN: usize = 5;

/// What a device is told that a server let in again without knowing whether it still may.
pub(super) const AWAITS_CONFIRMATION: &str = "The server lost records, this device's among them. It \
    takes what is sent and gives nothing until an administrator confirms this device.";

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    status: Status,
    /// Documents of which the server has every edit.
    received: usize,
    /// Documents with values that wait for a choice.
    conflicts: usize,
    /// What should not be, the oldest first.
    found: Vec<Finding>,
    delivery: Vec<Delivered>,
}

/// Whether the server has one document.
#[derive(Serialize)]
struct Delivered {
    id: String,
    #[serde(flatten)]
    delivery: Delivery,
}

pub(super) fn run(desk: &mut Desk<'_>) -> Result<Reply, Failure> {
    let summaries = desk.device.list()?;
    let answer = Answer {
        status: desk.device.status()?,
        received: count_of(&summaries, |summary| summary.delivery == Delivery::Received),
        conflicts: count_of(&summaries, |summary| summary.conflicts > 0),
        found: desk.device.findings()?,
        delivery: summaries
            .into_iter()
            .map(|summary| Delivered {
                id: summary.id.to_string(),
                delivery: summary.delivery,
            })
            .collect(),
    };
    Ok(desk.answer(&answer, || text(&answer, desk.now)))
}

fn count_of(summaries: &[Summary], is: impl Fn(&Summary) -> bool) -> usize {
    summaries.iter().filter(|summary| is(summary)).count()
}

fn text(answer: &Answer, now: WallMs) -> String {
    let Answer {
        status,
        received,
        conflicts,
        found,
        ..
    } = answer;
    let grants: Vec<String> = status.grants.iter().map(Grant::to_string).collect();
    let mut lines = vec![
        fact("Person", &status.person),
        fact(
            "Server",
            &format!("{} ({})", status.url, short(&status.server)),
        ),
        fact("Device", &status.device.to_string()),
        fact(
            "Grants",
            &if grants.is_empty() {
                "none".to_owned()
            } else {
                grants.join(", ")
            },
        ),
        fact("Last contact", &last_contact(status.up_to_date_at, now)),
        fact(
            "Evidence",
            &format!(
                "{}, {received} with every edit on the server",
                status.documents
            ),
        ),
        fact("Unsent", &unsent(status)),
        fact("Conflicts", &advise(*conflicts, "see 'bukti conflicts'")),
        fact(
            "Quarantine",
            &advise(status.quarantined, "see 'bukti quarantine list'"),
        ),
        fact("Differences", &differences(status)),
        fact("Findings", &advise(status.findings, "see below")),
    ];
    if status.to_give_back > 0 {
        lines.push(to_give_back(status.to_give_back));
    }
    if status.revoked {
        lines.push("The server revoked this device: it can neither send nor receive.".to_owned());
    }
    if status.awaits_confirmation {
        lines.push(AWAITS_CONFIRMATION.to_owned());
    }
    if status.not_taken_back > 0 {
        lines.push(not_taken_back(status.not_taken_back));
    }
    for finding in found.iter().rev().take(FINDINGS_SHOWN) {
        let at = finding.at.map(|at| show_time(at) + " ");
        lines.push(plain(&format!(
            "  {}{}: {}",
            at.unwrap_or_default(),
            finding.code,
            finding.sentence
        )));
    }
    lines.join("\n")
}

/// What a device is told whose server lost records.
fn to_give_back(documents: usize) -> String {
    format!(
        "The server lost records and may lack {}: kept here, and given back by 'bukti sync'.",
        count(documents, "document")
    )
}

/// What a device is told whose server did not take back what it lost.
pub(super) fn not_taken_back(runs: usize) -> String {
    format!(
        "The server may lack {} that it did not take back or that this phone may not give it any \
         more: kept here, ask its administrator.",
        count(runs, "run")
    )
}

fn fact(name: &str, value: &str) -> String {
    plain(&format!("{name:<13} {value}"))
}

fn last_contact(at: Option<WallMs>, now: WallMs) -> String {
    match at {
        Some(at) => format!("{} ({})", show_time(at), ago(at, now)),
        None => "never: run 'bukti sync' where there is a link".to_owned(),
    }
}

fn unsent(status: &Status) -> String {
    match (status.unsent, status.to_enter_again) {
        (0, 0) => "0".to_owned(),
        (unsent, 0) => count(unsent, "run"),
        (unsent, again) => format!("{}, {again} to be entered again", count(unsent, "run")),
    }
}

fn advise(number: usize, advice: &str) -> String {
    match number {
        0 => "0".to_owned(),
        number => format!("{number}: {advice}"),
    }
}

fn differences(status: &Status) -> String {
    if status.differs.is_empty() {
        return "none".to_owned();
    }
    let scopes: Vec<String> = status.differs.iter().map(ToString::to_string).collect();
    format!("the server's digest differed for {}", scopes.join(", "))
}
