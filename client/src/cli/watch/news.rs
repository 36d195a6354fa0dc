//! What `bukti sync --watch` tells, a line for each thing.

use std::io::{self, Write};

use bukti_client::clock;
use bukti_client::device::Finding;
use bukti_client::driver::Progress;
use bukti_command::show::{plain, show_time};
use bukti_sync_protocol::client::Event;
use serde_json::{Value, json};

use super::View;
use crate::cli::status::AWAITS_CONFIRMATION;
use crate::cli::sync::Summary;

/// Something worth a line.
pub(super) struct News {
    pub(super) text: String,
    pub(super) json: Value,
}

impl News {
    pub(super) fn of(progress: &Progress<'_>, view: &View, since: &Summary) -> Option<Self> {
        let (text, json) = match progress {
            Progress::Connecting { .. } | Progress::Traffic { .. } => return None,
            Progress::Connected => ("connected".to_owned(), json!({ "event": "connected" })),
            Progress::Cut { reason, pause } => (
                format!(
                    "not connected: {reason}; next attempt in {} s",
                    pause.as_secs() + 1
                ),
                json!({ "event": "cut", "reason": reason, "pause_ms": pause.as_millis() as u64 }),
            ),
            Progress::Learned(event, _) => Self::learned(event, view, since)?,
        };
        Some(Self { text, json })
    }

    /// Documents that are no longer this device's to read since its grants changed. Nobody names
    /// each of them.
    pub(super) fn left(since: &Summary) -> Option<Self> {
        (since.not_granted > 0).then(|| Self {
            text: since.left_text(),
            json: json!({ "event": "not_granted", "documents": since.not_granted }),
        })
    }

    /// What lies aside in the data folder, before anything else is told.
    pub(super) fn aside(findings: &[Finding]) -> impl Iterator<Item = Self> {
        let aside = findings.iter().filter(|finding| finding.place.is_some());
        aside.map(|finding| Self {
            text: finding.sentence.clone(),
            json: json!({ "event": "finding", "finding": finding }),
        })
    }

    fn learned(event: &Event, view: &View, since: &Summary) -> Option<(String, Value)> {
        let summary = &view.summary;
        Some(match event {
            Event::Accepted(runs) => {
                let given = since.gave_back;
                let sent = (runs.len() as u64).saturating_sub(given);
                let text = match (sent, given) {
                    (sent, 0) => format!("sent {sent}"),
                    (0, given) => format!("gave back {given}"),
                    (sent, given) => format!("sent {sent}, gave back {given}"),
                };
                (
                    text,
                    json!({ "event": "sent", "runs": sent, "gave_back": given }),
                )
            }
            Event::UpToDate { position, .. } if view.awaits_confirmation => (
                AWAITS_CONFIRMATION.to_owned(),
                json!({
                    "event": "awaits_confirmation",
                    "position": position,
                    "sent": summary.sent,
                    "gave_back": summary.gave_back,
                    "unsent": summary.unsent,
                }),
            ),
            Event::Page { items, .. } => (
                format!("received {}", items.len()),
                json!({ "event": "received", "items": items.len() }),
            ),
            Event::UpToDate { position, .. } => (
                format!("up to date, {} to send", summary.unsent),
                json!({
                    "event": "up_to_date",
                    "position": position,
                    "sent": summary.sent,
                    "received": summary.received,
                    "unsent": summary.unsent,
                }),
            ),
            Event::Rejected {
                run,
                code,
                sentence,
            } => (
                format!("refused: {sentence} See 'bukti quarantine list'."),
                json!({
                    "event": "refused",
                    "run": run.to_string(),
                    "code": code,
                    "sentence": sentence,
                }),
            ),
            Event::Bye(bye) => (
                format!("the session ended: {}", bye.sentence),
                json!({ "event": "bye", "code": bye.code.as_str(), "sentence": bye.sentence }),
            ),
            Event::LeftScope(document) => (
                format!("{document} moved out of your scope"),
                json!({ "event": "left_scope", "document": document.to_string() }),
            ),
            Event::Welcome { .. }
            | Event::Void
            | Event::StatementsHeld(_)
            | Event::Readmitted { .. }
            | Event::Differs { .. }
            | Event::Missing { .. }
            | Event::Stale { .. }
            | Event::Progress { .. } => return None,
        })
    }

    /// A reader that has gone away does not end the sync.
    pub(super) fn print(&self, json: bool) {
        let line = match json {
            true => self.json.to_string(),
            false => plain(&format!("{} {}", show_time(clock::wall()), self.text)),
        };
        let mut stdout = io::stdout().lock();
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    }
}
