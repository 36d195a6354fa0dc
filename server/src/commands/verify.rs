//! `verify`: the journal's files, every record, and everything derived from them.

use std::fmt;

use bukti_command::{Exit, Progress, Reply, show};
use bukti_core::causes::{is_for_want, with_causes};
use bukti_core::journal::disk::DiskStorage;
use bukti_core::journal::repair::is_mended;
use bukti_core::journal::verify::{Extent, Findings, verify as verify_journal};
use bukti_core::journal::{Damage, Finding, OpenError, ReadError, SideFile, TailKind};
use bukti_core::ledger::{self, Found, LedgerError, Verification, code};
use bukti_core::record;
use serde::Serialize;

use super::{Failure, Office, findings, tell};
use crate::accepting::Reader;
use crate::config::Config;
use crate::folder::small::Altered;
use crate::folder::{Folder, FolderError, Started, WHERE_DAMAGED};
use crate::found;
use crate::metrics::Metrics;

/// One thing that is wrong, as it is printed.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Shown {
    pub(super) code: String,
    pub(super) place: String,
    pub(super) fault: String,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.fault)
    }
}

/// Everything that is said.
#[derive(Debug, Default, Serialize)]
struct Report {
    ok: bool,
    findings: Vec<Shown>,
    /// Findings that were left out of the list.
    more: u64,
    /// What was looked at.
    verified: String,
    /// What is worth knowing and not wrong.
    notes: Vec<String>,
}

/// While a server serves: up to the present watermark.
pub(super) fn serving(
    office: &Office,
    json: bool,
    progress: &mut Progress<'_>,
) -> Result<Reply, Failure> {
    let report = with_reader(&office.folder, office.reader(), Vec::new(), progress)?;
    Ok(report.reply(json))
}

/// While none does: opening finds what keeps a server from starting, too.
pub(super) fn stopped(
    folder: &Folder,
    config: &Config,
    json: bool,
    progress: &mut Progress<'_>,
) -> Result<Reply, Failure> {
    let metrics = Metrics::default();
    let opened = folder.open(None, None, config, &metrics, &mut tell(progress));
    let report = match opened {
        Ok(started) => with_reader(folder, &started.ledger.reader(), notes(&started), progress)?,
        Err(error) => unopened(folder, error)?,
    };
    Ok(report.reply(json))
}

/// What is wrong with the segments in which a reader met `unread`, as [`serving`] names it; if they
/// are sound, what it met. The others are not read: somebody waits for the answer, and nobody is told
/// how far it is.
pub(super) fn damaged(reader: &Reader, unread: &[ledger::ReadError]) -> Vec<Shown> {
    let segments = unread.iter().filter_map(file_of).collect();
    let journal = ledger::verify_segments(reader, reader.watermark(), &segments);
    let shown: Vec<Shown> = journal.findings.iter().map(in_file).collect();
    if !shown.is_empty() {
        return shown;
    }
    let unread = unread.iter().map(|error| Shown {
        code: "unreadable".to_owned(),
        place: "server".to_owned(),
        fault: with_causes(error),
    });
    unread.collect()
}

/// The file of the journal that an error is about.
fn file_of(error: &ledger::ReadError) -> Option<String> {
    match error {
        ledger::ReadError::Journal(ReadError::Damaged(finding)) => Some(finding.file.clone()),
        ledger::ReadError::Journal(ReadError::Storage(error)) => Some(error.file.clone()),
        ledger::ReadError::Journal(ReadError::BehindHead { .. } | ReadError::Removed { .. })
        | ledger::ReadError::Store(_)
        | ledger::ReadError::Row { .. }
        | ledger::ReadError::Record(_) => None,
    }
}

/// What opening did that is no finding.
fn notes(started: &Started) -> Vec<String> {
    let Some(opened) = &started.opened else {
        return Vec::new();
    };
    match opened.rebuilt {
        Some(reason) => vec![format!("the store was built again before: {reason}")],
        None if opened.caught_up > 0 => vec![format!(
            "the store was {} records behind the journal and caught up",
            opened.caught_up
        )],
        None => Vec::new(),
    }
}

fn with_reader(
    folder: &Folder,
    reader: &Reader,
    mut notes: Vec<String>,
    progress: &mut Progress<'_>,
) -> Result<Report, Failure> {
    let seen =
        ledger::verify(reader, &mut tell(progress)).map_err(|error| Failure::failed(&error))?;
    let Verification {
        upto,
        journal,
        records,
        documents,
        findings,
        more,
        scarce,
    } = seen;
    if scarce || journal.scarce {
        return Err(for_want());
    }
    let in_rows = findings.iter().map(|finding| Shown {
        code: finding.fault.code().to_owned(),
        place: finding.place.to_string(),
        fault: finding.fault.to_string(),
    });
    let in_files = journal.findings.iter().map(in_file);
    let mut shown: Vec<Shown> = in_files.chain(in_rows).collect();
    let altered = folder.check_small_files()?;
    let kept = folder.check_kept()?;
    let mut cut_for_damage = Vec::new();
    // What was found earlier and repaired is not as it should be until somebody has looked into it.
    match reader.found() {
        Ok(found) => {
            let damaged_end = found.iter().map(|found| &found.finding);
            let damaged_end = damaged_end.filter(|finding| finding.code == code::DAMAGED_END);
            cut_for_damage.extend(damaged_end.filter_map(|finding| finding.place.clone()));
            let waiting = found.iter().filter(|found| found.waits());
            shown.extend(waiting.map(recorded));
            shown.extend(unrecorded(folder, &found));
        }
        Err(error) if is_for_want(&error) => return Err(for_want()),
        Err(error) => shown.push(Shown {
            code: "unreadable".to_owned(),
            place: "findings".to_owned(),
            fault: with_causes(&error),
        }),
    }
    let torn = journal.side_files.iter().filter_map(|file| {
        let is_damage = cut_for_damage.contains(&format!("journal/{file}"));
        let side = SideFile::parse(file)?;
        let kept = match side.kind {
            TailKind::Torn if is_damage => {
                "a last group that was damaged and cut earlier: what was in it"
            }
            TailKind::Torn => "an unfinished write that was cut earlier: what was in it",
            TailKind::Damaged => "a damaged last group that was cut earlier: what was in it",
            TailKind::Stray => "stray bytes that were cut earlier: what was in them",
        };
        let unproven = match side.sum {
            Some(_) => "",
            None => "; an earlier version kept it, so nothing tells whether it is as it was",
        };
        Some(format!("{file} keeps {kept} is in no record{unproven}"))
    });
    shown.extend(altered.into_iter().map(small_file));
    shown.extend(kept.into_iter().map(side_file));
    notes.extend(torn);
    notes.extend(advice(&journal));
    Ok(Report {
        ok: false,
        findings: shown,
        more: journal.more + more,
        verified: format!(
            "{records} records and {documents} documents up to record {}, chain {}",
            upto.position, upto.chain
        ),
        notes,
    })
}

/// What was not read is not judged, nor is what it was to be held against.
pub(super) fn for_want() -> Failure {
    Failure {
        exit: Exit::Failed,
        text: "the system had no file descriptor or memory left, so not everything was read and \
               nothing is said of it: run the command again"
            .to_owned(),
    }
}

/// What keeps the folder from being opened, and what is wrong with the journal's files. A command
/// line that names no server is no finding.
fn unopened(folder: &Folder, error: FolderError) -> Result<Report, Failure> {
    if is_for_want(&error) {
        return Err(error.into());
    }
    let altered = folder.check_small_files()?;
    let kept = folder.check_kept()?;
    let (code, place) = match &error {
        FolderError::Ledger(error) => match error {
            LedgerError::Open(OpenError::Damaged(found))
            | LedgerError::Read(ledger::ReadError::Journal(ReadError::Damaged(found))) => {
                (found.damage.code(), file_place(found))
            }
            LedgerError::Lost { .. } | LedgerError::JournalGone => {
                ("lost", "the end of the journal".to_owned())
            }
            LedgerError::WrongKey { .. } => ("wrong-key", "server.key".to_owned()),
            LedgerError::Open(OpenError::NoJournal)
            | LedgerError::Empty
            | LedgerError::NotFounded => ("not-founded", "record 1".to_owned()),
            LedgerError::Diverged { position, .. } => ("record", format!("record {position}")),
            LedgerError::Read(_) | LedgerError::Open(OpenError::Storage(_)) => {
                ("unreadable", "journal".to_owned())
            }
            LedgerError::StoreDamaged(_) => ("store-damaged", "store".to_owned()),
            LedgerError::Create(_) | LedgerError::Failed { .. } => {
                return Err(Failure::failed(error));
            }
        },
        FolderError::Lost { .. } => ("lost", "the end of the journal".to_owned()),
        FolderError::NotAKey(path) => ("key", path.display().to_string()),
        FolderError::Store(_) => ("store-damaged", "store".to_owned()),
        FolderError::JournalMissing(_) => ("lost", "the journal".to_owned()),
        FolderError::Altered(path) => {
            let name = path.file_name().unwrap_or_default();
            (code::SMALL_FILE, name.to_string_lossy().into_owned())
        }
        FolderError::NoKey(path) => ("key", path.display().to_string()),
        FolderError::Empty(_)
        | FolderError::Device(_)
        | FolderError::HalfRestored(_)
        | FolderError::NotOfARestore(_)
        | FolderError::NotAFolder(_)
        | FolderError::Io { .. }
        | FolderError::Random(_) => return Err(error.into()),
    };
    let journal = match folder.journal().is_dir() {
        // Opening would make it.
        false => Findings::default(),
        true => {
            let disk = DiskStorage::open(folder.journal());
            let disk = disk.map_err(|error| Failure::failed(&error))?;
            let extent = Extent {
                from: 1,
                ..Extent::default()
            };
            verify_journal(&disk, &extent)
        }
    };
    if journal.scarce {
        return Err(for_want());
    }
    let mut findings = vec![Shown {
        code: code.to_owned(),
        place,
        fault: with_causes(&error),
    }];
    for shown in journal.findings.iter().map(in_file) {
        if (&shown.code, &shown.place) != (&findings[0].code, &findings[0].place) {
            findings.push(shown);
        }
    }
    let altered = altered.into_iter().map(small_file);
    let named = findings[0].place.clone();
    findings.extend(altered.filter(|shown| shown.place != named));
    findings.extend(kept.into_iter().map(side_file));
    // Nothing could be recorded, so what was cut is named here, too.
    findings.extend(unrecorded(folder, &[]));
    Ok(Report {
        ok: false,
        findings,
        more: journal.more,
        verified: "the folder cannot be opened".to_owned(),
        notes: advice(&journal),
    })
}

/// What to do about files of the journal that are not as they were written.
fn advice(journal: &Findings) -> Vec<String> {
    match is_mended(journal) {
        true => Vec::new(),
        false => vec![WHERE_DAMAGED.to_owned()],
    }
}

fn small_file(altered: Altered) -> Shown {
    Shown {
        code: code::SMALL_FILE.to_owned(),
        place: altered.name,
        fault: altered.fault,
    }
}

/// What is kept beside the journal, as what was cut from it is named.
fn side_file(altered: Altered) -> Shown {
    Shown {
        code: Damage::SideFile.code().to_owned(),
        place: altered.name,
        fault: altered.fault,
    }
}

/// What was cut or put aside for damage and is no finding yet, as on a disk that had no room for one.
fn unrecorded(folder: &Folder, found: &[Found]) -> Vec<Shown> {
    let kept_aside = folder.kept_aside();
    let aside = found::aside(&kept_aside);
    let is_recorded = |finding: &record::Finding| {
        let mut recorded = found.iter().map(|found| &found.finding.place);
        recorded.any(|place| *place == finding.place)
    };
    aside
        .filter(|finding| finding.code != code::TORN && !is_recorded(finding))
        .map(|finding| Shown {
            code: finding.code,
            place: finding.place.unwrap_or_default(),
            fault: finding.sentence,
        })
        .collect()
}

fn file_place(finding: &Finding) -> String {
    format!("{} at byte {}", finding.file, finding.offset)
}

pub(super) fn in_file(finding: &Finding) -> Shown {
    Shown {
        code: finding.damage.code().to_owned(),
        place: file_place(finding),
        fault: finding.damage.to_string(),
    }
}

fn recorded(found: &Found) -> Shown {
    Shown {
        code: found.finding.code.clone(),
        place: findings::place(found),
        fault: format!(
            "{} (finding {}, not acknowledged)",
            found.finding.sentence, found.position
        ),
    }
}

impl Report {
    fn reply(mut self, json: bool) -> Reply {
        self.ok = self.findings.is_empty();
        let exit = if self.ok { Exit::Done } else { Exit::Failed };
        if json {
            return Reply::json(&self).with_exit(exit);
        }
        let mut text = String::new();
        for shown in &self.findings {
            text.push_str(&format!("{shown}\n"));
        }
        if self.more > 0 {
            text.push_str(&format!("and {} more\n", self.more));
        }
        for note in &self.notes {
            text.push_str(&format!("note: {note}\n"));
        }
        let verdict = if self.ok {
            "ok".to_owned()
        } else {
            show::count(self.findings.len() as u64 + self.more, "finding")
        };
        text.push_str(&format!("verify: {verdict} ({})\n", self.verified));
        Reply::done(text).with_exit(exit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_held_against_its_sum_also_where_the_folder_cannot_be_opened() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        let config = Config {
            reserve_mib: 0,
            ..Config::default()
        };
        let created = folder.open(None, Some(1), &config, &Metrics::default(), &mut |_| {});
        drop(created.unwrap());
        let kept = folder.keep_segment("0000000001.seg", b"whole").unwrap();
        std::fs::write(place.path().join(&kept), "other").unwrap();
        let old = "torn-9-1-5000-1.bin";
        std::fs::write(folder.journal().join(old), "cut").unwrap();
        let said = || {
            let reply = stopped(&folder, &config, false, &mut Progress::to(|_| {})).unwrap();
            assert_eq!(reply.exit, Exit::Failed);
            reply.stdout
        };
        let told = format!("{kept}: the file is not what was kept under this name\n");
        let opened = said();
        assert!(opened.contains(&told), "{opened}");
        let line = opened.lines().find(|line| line.contains(old)).unwrap();
        assert!(
            line.ends_with("so nothing tells whether it is as it was"),
            "{opened}"
        );
        std::fs::remove_file(folder.key()).unwrap();
        let refused = said();
        assert!(
            refused.contains("cannot be opened") && refused.contains(&told),
            "{refused}"
        );
    }

    /// A disk without room for the finding leaves what was cut.
    #[test]
    fn what_was_kept_aside_is_told_until_it_is_a_finding_but_for_unfinished_writes() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        let config = Config {
            reserve_mib: 0,
            ..Config::default()
        };
        let open = |create| folder.open(None, create, &config, &Metrics::default(), &mut |_| {});
        drop(open(Some(1_700_000_000_000)).unwrap());
        for kind in [TailKind::Torn, TailKind::Damaged, TailKind::Stray] {
            let side = SideFile {
                kind,
                position: 9,
                segment: 1,
                offset: 5_000,
                number: 1,
                sum: None,
            };
            std::fs::write(folder.journal().join(side.name()), "cut").unwrap();
        }
        std::fs::create_dir(place.path().join("store.damaged-1")).unwrap();
        let told = unrecorded(&folder, &[]);
        let codes: Vec<&str> = told.iter().map(|shown| &*shown.code).collect();
        assert_eq!(
            codes,
            [code::DAMAGED_END, code::STRAY_BYTES, code::STORE_DAMAGED]
        );
        let started = open(None).unwrap();
        let found = started.ledger.reader().found().unwrap();
        assert_eq!(found.len(), 4);
        assert_eq!(unrecorded(&folder, &found), []);
        assert_eq!(unrecorded(&folder, &found[1..]).len(), 1);
    }
}
