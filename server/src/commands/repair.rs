//! `repair`: damaged bytes of the journal come back from a backup, and what was written since stays.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bukti_command::{Exit, Progress, Reply};
use bukti_core::causes::with_causes;
use bukti_core::journal::disk::DiskStorage;
use bukti_core::journal::repair::{Repair, is_mended, repair as mend};
use bukti_core::ledger::code;
use bukti_core::record::Finding;
use serde::Serialize;

use super::backup::JOURNAL;
use super::verify::{Shown, in_file};
use super::{Failure, say, tell};
use crate::clock::wall_now;
use crate::config::Config;
use crate::folder::{Folder, FolderError};
use crate::metrics::Metrics;

/// Everything that is said.
#[derive(Debug, Serialize)]
struct Report {
    /// What was wrong and is put right.
    repaired: Vec<Repaired>,
    /// What is wrong still.
    findings: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Repaired {
    #[serde(flatten)]
    was: Shown,
    /// The file beside the journal that keeps what stood there.
    kept: Option<String>,
}

pub(super) fn repair(
    folder: &Folder,
    from: &Path,
    config: &Config,
    json: bool,
    progress: &mut Progress<'_>,
) -> Result<Reply, Failure> {
    let source = from.join(JOURNAL);
    if !source.is_dir() {
        return Err(Failure::wrong_use(format!(
            "{} is no backup: expected a folder that bukti-server backup made",
            from.display()
        )));
    }
    let open = |path: &Path| {
        DiskStorage::open(path).map_err(|source| FolderError::Io {
            act: "open",
            path: path.to_owned(),
            source,
        })
    };
    let (own, copy) = (open(&folder.journal())?, open(&source)?);
    let mut kept = Vec::new();
    let mended = mend(&own, &copy, &mut |name, bytes| {
        let aside = keep(folder.root(), name, bytes)?;
        kept.push((name.to_owned(), aside));
        Ok(())
    });
    let Repair { mended, left } = mended.map_err(|error| Failure::failed(&error))?;
    if left.scarce {
        return Err(super::verify::for_want());
    }
    let kept_of = |file: &str| {
        let of_file = kept.iter().rev().find(|(name, _)| name == file);
        of_file.map(|(_, aside)| aside.clone())
    };
    let repaired = mended.iter().map(|finding| Repaired {
        was: in_file(finding),
        kept: kept_of(&finding.file),
    });
    let report = Report {
        repaired: repaired.collect(),
        findings: left.findings.iter().map(in_file).collect(),
    };
    let is_mended = is_mended(&left);
    if is_mended && !report.repaired.is_empty() {
        remember(folder, &report.repaired, config, progress)?;
    }
    let mut reply = say(json, &report, || text(&report, is_mended, from));
    if !is_mended {
        reply.exit = Exit::Failed;
    }
    Ok(reply)
}

fn text(report: &Report, is_mended: bool, from: &Path) -> String {
    let mut text = String::new();
    for Repaired { was, kept } in &report.repaired {
        text.push_str(&format!("repaired {}: {}", was.place, was.fault));
        if let Some(kept) = kept {
            text.push_str(&format!("; what stood there is kept in {kept}"));
        }
        text.push('\n');
    }
    if is_mended {
        text.push_str(match report.repaired.is_empty() {
            true => "No file of the journal is damaged; bukti-server verify looks at all the rest.\n",
            false => "The journal is as it was written. What was found and repaired waits to be acknowledged.\n",
        });
        return text;
    }
    for finding in &report.findings {
        text.push_str(&format!("{finding}\n"));
    }
    text.push_str(&format!(
        "{} does not have these bytes: repair from another backup, or restore the newest one into a new \
         folder.\n",
        from.display()
    ));
    text
}

/// Keeps a damaged segment beside the journal, under a name that nothing has; gives the name.
fn keep(root: &Path, name: &str, bytes: &[u8]) -> io::Result<String> {
    let mut number = 1_u64;
    let (aside, mut file) = loop {
        let aside = format!("{name}.damaged-{number}");
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(root.join(&aside));
        match opened {
            Ok(file) => break (aside, file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    };
    file.write_all(bytes)?;
    file.sync_all()?;
    File::open(root)?.sync_all()?;
    Ok(aside)
}

/// States in the journal what was repaired, so that it cannot be forgotten.
fn remember(
    folder: &Folder,
    repaired: &[Repaired],
    config: &Config,
    progress: &mut Progress<'_>,
) -> Result<(), Failure> {
    let metrics = Metrics::default();
    let mut started = folder.open(None, None, config, &metrics, &mut tell(progress))?;
    for Repaired { was, kept } in repaired {
        let kept = kept.as_ref().map_or_else(
            || "The segment was gone.".to_owned(),
            |kept| format!("What stood there is kept in {kept}."),
        );
        let finding = Finding {
            code: code::REPAIRED.to_owned(),
            sentence: format!(
                "The journal was not as it was written and was repaired from a backup: {}. {kept}",
                was.fault
            ),
            device: None,
            document: None,
            run: None,
            place: Some(was.place.clone()),
        };
        let found = started.ledger.find(wall_now(), finding);
        found.map_err(|error| Failure {
            exit: Exit::Failed,
            text: format!(
                "the journal was repaired, and that cannot be stated in it: {}",
                with_causes(&error)
            ),
        })?;
    }
    Ok(())
}
