//! What `bukti sync --watch` tells, a line for each thing.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bukti_client::clock;
use bukti_client::device::Finding;
use bukti_client::driver::Progress;
use bukti_client::limits::{WATCH_LAST_LINES_MS, WATCH_LINES_QUEUED};
use bukti_command::show::{count, plain, show_time};
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

    /// What is told in place of lines that nobody took.
    fn left_out(lines: u64) -> Self {
        Self {
            text: format!(
                "{} left out since nobody read them in time",
                count(usize::try_from(lines).unwrap_or(usize::MAX), "line")
            ),
            json: json!({ "event": "left_out", "lines": lines }),
        }
    }

    fn line(&self, json: bool) -> String {
        match json {
            true => self.json.to_string(),
            false => plain(&format!("{} {}", show_time(clock::wall()), self.text)),
        }
    }
}

/// Prints news on a thread of its own: a reader that stops reading stops nothing else, and one that has
/// gone away does not end the sync.
pub(super) struct Printer {
    json: bool,
    lines: mpsc::SyncSender<String>,
    /// Hears of it when the last line was printed.
    ended: mpsc::Receiver<()>,
    /// Lines for which there was no room.
    left_out: u64,
}

impl Printer {
    /// The thread holds no lock of the standard output while it waits for a reader.
    pub(super) fn to_stdout(json: bool) -> io::Result<Self> {
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        Self::to(File::from(stdout), json)
    }

    fn to(mut out: impl Write + Send + 'static, json: bool) -> io::Result<Self> {
        let (lines, printed) = mpsc::sync_channel::<String>(WATCH_LINES_QUEUED);
        let (ends, ended) = mpsc::sync_channel(1);
        thread::Builder::new().name("print".into()).spawn(move || {
            for line in printed {
                let _ = out.write_all(format!("{line}\n").as_bytes());
            }
            let _ = ends.send(());
        })?;
        Ok(Self {
            json,
            lines,
            ended,
            left_out: 0,
        })
    }

    pub(super) fn print(&mut self, news: &News) {
        let mut line = news.line(self.json);
        if self.left_out > 0 {
            let left_out = News::left_out(self.left_out).line(self.json);
            line = format!("{left_out}\n{line}");
        }
        match self.lines.try_send(line) {
            Ok(()) => self.left_out = 0,
            Err(_) => self.left_out += 1,
        }
    }

    /// Waits for the last lines, as long as somebody may take to read them.
    pub(super) fn finish(self) {
        drop(self.lines);
        let _ = self
            .ended
            .recv_timeout(Duration::from_millis(WATCH_LAST_LINES_MS));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A standard output that takes nothing more until it is read.
    fn full() -> (UnixStream, UnixStream) {
        let (reader, writer) = UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        for lines in [&[b'\n'; 4096][..], b"\n"] {
            while (&writer).write(lines).is_ok() {}
        }
        writer.set_nonblocking(false).unwrap();
        (reader, writer)
    }

    fn number(number: usize) -> News {
        News {
            text: String::new(),
            json: json!({ "number": number }),
        }
    }

    #[test]
    fn a_reader_that_stops_holds_nothing_up_and_is_told_how_many_lines_it_missed() {
        let (reader, writer) = full();
        let mut printer = Printer::to(writer, true).unwrap();
        let last = WATCH_LINES_QUEUED + 10;
        (0..last).for_each(|place| printer.print(&number(place)));
        let left_out = printer.left_out;
        // One may be with the thread.
        assert!((9..=10).contains(&left_out), "{left_out}");
        let lines = thread::spawn(|| -> Vec<Value> {
            let lines = BufReader::new(reader).lines().map(Result::unwrap);
            let lines = lines.filter(|line| !line.is_empty());
            lines
                .map(|line| serde_json::from_str(&line).unwrap())
                .collect()
        });
        while printer.left_out > 0 {
            printer.print(&number(last));
            thread::yield_now();
        }
        printer.finish();
        let lines = lines.join().unwrap();
        let [first, .., missed, end] = &lines[..] else {
            panic!("{lines:?}")
        };
        assert_eq!(
            (&first["number"], &end["number"]),
            (&json!(0), &json!(last))
        );
        assert_eq!(missed["event"], "left_out");
        assert!(missed["lines"].as_u64() >= Some(left_out));
    }

    #[test]
    fn a_watch_ends_though_nobody_reads_its_last_lines() {
        let (reader, writer) = full();
        let mut printer = Printer::to(writer, true).unwrap();
        printer.print(&number(1));
        printer.finish();
        drop(reader);
    }
}
