//! `verify`: the journal's files, every record, and everything derived from them.

use bukti_command::{Exit, Progress, Reply};
use bukti_core::journal::OpenError;
use bukti_core::journal::disk::DiskStorage;
use bukti_core::journal::verify::{Extent, verify as verify_journal};
use bukti_core::ledger::{self, LedgerError, Verification};
use serde::Serialize;
use serde_json::json;

use super::{Failure, Office, tell};
use crate::accepting::{Reader, chain};
use crate::config::Config;
use crate::folder::{Folder, FolderError};
use crate::metrics::Metrics;

/// One thing that is wrong, as it is printed.
#[derive(Debug, Serialize)]
struct Shown {
    place: String,
    fault: String,
}

/// While a server serves: up to the present watermark.
pub(super) fn serving(
    office: &Office,
    json: bool,
    progress: &mut Progress<'_>,
) -> Result<Reply, Failure> {
    with_reader(office.reader(), json, &[], progress)
}

/// While none does: opening finds what keeps a server from starting, too.
pub(super) fn stopped(
    folder: &Folder,
    json: bool,
    progress: &mut Progress<'_>,
) -> Result<Reply, Failure> {
    let metrics = Metrics::default();
    let config = Config::default();
    let opened = folder.open(None, None, &config, &metrics, &mut tell(progress));
    match opened {
        Ok(started) => {
            let mut notes = Vec::new();
            if let Some(tear) = started
                .opened
                .as_ref()
                .and_then(|opened| opened.recovery.torn.as_ref())
            {
                notes.push(format!(
                    "a torn end of {} bytes was cut and kept as {}",
                    tear.bytes, tear.side_file
                ));
            }
            if let Some(aside) = &started.moved_aside {
                notes.push(format!(
                    "the store was damaged: it was put aside as {} and built again",
                    aside.display()
                ));
            }
            if let Some(reason) = started.opened.as_ref().and_then(|opened| opened.rebuilt) {
                notes.push(format!("the store was built again before: {reason}"));
            }
            with_reader(&started.ledger.reader(), json, &notes, progress)
        }
        Err(FolderError::Ledger(LedgerError::Open(OpenError::Damaged(found)))) => {
            let disk =
                DiskStorage::open(folder.journal()).map_err(|error| Failure::failed(&error))?;
            let mut shown = vec![Shown {
                place: "journal".into(),
                fault: found.to_string(),
            }];
            let extent = Extent {
                from: 1,
                ..Extent::default()
            };
            for finding in verify_journal(&disk, &extent).findings {
                let finding = finding.to_string();
                if shown.iter().all(|known| known.fault != finding) {
                    shown.push(Shown {
                        place: "journal".into(),
                        fault: finding,
                    });
                }
            }
            Ok(report(json, &shown, 0, "the journal cannot be opened", &[]))
        }
        Err(FolderError::Ledger(error @ LedgerError::Lost { .. })) => {
            let shown = [Shown {
                place: "journal".into(),
                fault: chain(&error),
            }];
            Ok(report(
                json,
                &shown,
                0,
                "the end of the journal was lost",
                &[],
            ))
        }
        Err(error) => Err(error.into()),
    }
}

fn with_reader(
    reader: &Reader,
    json: bool,
    notes: &[String],
    progress: &mut Progress<'_>,
) -> Result<Reply, Failure> {
    let seen =
        ledger::verify(reader, &mut tell(progress)).map_err(|error| Failure::failed(&error))?;
    let Verification {
        upto,
        journal,
        records,
        documents,
        findings,
        more,
    } = seen;
    let in_files = journal.findings.iter().map(|finding| Shown {
        place: format!("{} at byte {}", finding.file, finding.offset),
        fault: finding.damage.to_string(),
    });
    let in_rows = findings.iter().map(|finding| Shown {
        place: finding.place.to_string(),
        fault: finding.fault.to_string(),
    });
    let shown: Vec<Shown> = in_files.chain(in_rows).collect();
    let torn = journal.side_files.iter().map(|file| {
        format!("{file} keeps a torn end that was cut earlier: what was in it is in no record")
    });
    let notes: Vec<String> = notes.iter().cloned().chain(torn).collect();
    let what = format!(
        "{records} records and {documents} documents up to record {}, chain {}",
        upto.position, upto.chain
    );
    Ok(report(json, &shown, journal.more + more, &what, &notes))
}

fn report(json: bool, shown: &[Shown], more: u64, what: &str, notes: &[String]) -> Reply {
    let ok = shown.is_empty();
    let exit = if ok { Exit::Done } else { Exit::Failed };
    if json {
        let value = json!({
            "ok": ok, "findings": shown, "more": more, "verified": what, "notes": notes,
        });
        return Reply::json(&value).with_exit(exit);
    }
    let mut text = String::new();
    for Shown { place, fault } in shown {
        text.push_str(&format!("{place}: {fault}\n"));
    }
    if more > 0 {
        text.push_str(&format!("and {more} more\n"));
    }
    for note in notes {
        text.push_str(&format!("note: {note}\n"));
    }
    let verdict = if ok {
        "ok".to_owned()
    } else {
        format!("{} findings", shown.len() as u64 + more)
    };
    text.push_str(&format!("verify: {verdict} ({what})\n"));
    Reply::done(text).with_exit(exit)
}
