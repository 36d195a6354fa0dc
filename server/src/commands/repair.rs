//! `repair`: damaged bytes of the journal come back from a backup, and what was written since stays.

use std::collections::BTreeMap;
use std::path::Path;

use bukti_command::{Exit, Progress, Reply};
use bukti_core::journal::Damage;
use bukti_core::journal::disk::DiskStorage;
use bukti_core::journal::repair::{Repair, is_mended, journals, repair as mend};
use serde::Serialize;

use super::backup::JOURNAL;
use super::verify::{Shown, in_file};
use super::{Failure, say, tell};
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
    /// Why the folder cannot be opened though nothing is.
    refused: Option<String>,
}

#[derive(Debug, Serialize)]
struct Repaired {
    #[serde(flatten)]
    was: Shown,
    /// The file beside the journal that keeps what stood there.
    kept: String,
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
    let held = |disk| journals(disk).map_err(|error| Failure::failed(&error));
    let (here, there) = (held(&own)?, held(&copy)?);
    if here.is_disjoint(&there)
        && let (Some(here), Some(other)) = (here.first(), there.first())
    {
        return Err(Failure::wrong_use(format!(
            "{} is of journal {other}, and this is journal {here}: expected a backup of this server",
            from.display()
        )));
    }
    let mut kept = BTreeMap::new();
    let mended = mend(&own, &copy, &mut |name, bytes| {
        kept.insert(name.to_owned(), folder.keep_segment(name, bytes)?);
        Ok(())
    });
    let Repair { mended, left } = mended.map_err(|error| Failure::failed(&error))?;
    if left.scarce {
        return Err(super::verify::for_want());
    }
    // One was kept for each that was replaced.
    let repaired = mended.iter().flat_map(|(segment, were)| {
        were.iter().map(|finding| Repaired {
            was: in_file(finding),
            kept: kept[segment].clone(),
        })
    });
    let mut report = Report {
        repaired: repaired.collect(),
        findings: left.findings.iter().map(in_file).collect(),
        refused: None,
    };
    let is_mended = is_mended(&left);
    if is_mended && !report.repaired.is_empty() {
        // What was kept becomes a finding now, and not at the next start.
        let metrics = Metrics::default();
        let opened = folder.open(None, None, config, &metrics, &mut tell(progress));
        report.refused = opened.err().map(|error| error.told());
    }
    let exit = match is_mended && report.refused.is_none() {
        true => Exit::Done,
        false => Exit::Failed,
    };
    Ok(say(json, &report, || text(&report, is_mended, from)).with_exit(exit))
}

fn text(report: &Report, is_mended: bool, from: &Path) -> String {
    let mut text = String::new();
    for Repaired { was, kept } in &report.repaired {
        text.push_str(&format!(
            "repaired {}: {}; what stood there is kept in {kept}\n",
            was.place, was.fault
        ));
    }
    if let Some(refused) = &report.refused {
        text.push_str(&format!(
            "No file of the journal is damaged any more, and the folder cannot be opened: {refused}\n"
        ));
        return text;
    }
    if is_mended {
        text.push_str(match report.repaired.is_empty() {
            true => "No file of the journal is damaged; bukti-server verify looks at all the rest.\n",
            false => "The journal is as it was written. What was found and repaired waits to be acknowledged.\n",
        });
        // What was kept aside is in no backup.
        for finding in report
            .findings
            .iter()
            .filter(|finding| finding.code == Damage::SideFile.code())
        {
            text.push_str(&format!("{finding}\n"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_repaired_is_told_with_what_keeps_it() {
        let repaired = Repaired {
            was: Shown {
                code: Damage::Records.code().to_owned(),
                place: "0000000002.seg at byte 112".to_owned(),
                fault: Damage::Records.to_string(),
            },
            kept: "0000000002.seg.damaged-1".to_owned(),
        };
        let report = Report {
            repaired: vec![repaired],
            findings: Vec::new(),
            refused: None,
        };
        let said = text(&report, true, Path::new("backup"));
        let line = "repaired 0000000002.seg at byte 112: the records differ from what the group header \
                    commits to; what stood there is kept in 0000000002.seg.damaged-1\n";
        assert!(said.starts_with(line), "{said}");
    }

    #[test]
    fn what_was_kept_and_is_changed_is_told_beside_a_journal_that_is_sound() {
        let changed = Shown {
            code: Damage::SideFile.code().to_owned(),
            place: "torn-1-1-112-1.bin at byte 0".to_owned(),
            fault: Damage::SideFile.to_string(),
        };
        let line = format!("{changed}\n");
        let report = Report {
            repaired: Vec::new(),
            findings: vec![changed],
            refused: None,
        };
        let said = text(&report, true, Path::new("backup"));
        assert!(
            said.starts_with("No file of the journal is damaged"),
            "{said}"
        );
        assert!(said.ends_with(&line), "{said}");
    }
}
