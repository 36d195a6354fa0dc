//! What opening a folder found becomes findings in the journal, so that nobody has to read logs.
//!
//! What was cut from the end of the journal lies in side files. A finding is made for each that has
//! none, also for those of an earlier opening that ended before it could say so.

use std::path::Path;

use bukti_core::journal::{Recovery, SideFile, TailKind};
use bukti_core::ledger::{AdminError, LedgerError, Opened, RebuildReason, code};
use bukti_core::record::Finding;

use crate::accepting::Ledger;
use crate::clock::wall_now;

/// Records what was found and is not recorded yet. On a disk below its reserve nothing is; the side
/// files wait for the next opening.
///
/// # Errors
/// The ledger ended.
pub fn record(
    ledger: &mut Ledger,
    opened: &Opened,
    moved_aside: Option<&Path>,
) -> Result<(), LedgerError> {
    let once = cut_tails(&opened.recovery).chain(moved_aside.map(store_moved_aside));
    for finding in once {
        ledger.find(wall_now(), finding)?;
    }
    let Some(finding) = opened.rebuilt.and_then(rebuilt) else {
        return Ok(());
    };
    match ledger.record_finding(wall_now(), finding) {
        Err(AdminError::Ledger(error)) => Err(error),
        Err(error @ (AdminError::Full | AdminError::Invalid(_))) => {
            tracing::warn!(%error, "what opening found is not recorded");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

fn finding(code: &str, sentence: String, place: String) -> Finding {
    Finding {
        code: code.to_owned(),
        sentence,
        device: None,
        document: None,
        run: None,
        place: Some(place),
    }
}

/// One finding for each side file.
fn cut_tails(recovery: &Recovery) -> impl Iterator<Item = Finding> {
    let files = recovery.side_files.iter();
    files.filter_map(|name| Some(cut_tail(name, &SideFile::parse(name)?)))
}

/// The finding for a side file.
pub fn cut_tail(name: &str, side: &SideFile) -> Finding {
    let (code, what) = match side.kind {
        TailKind::Torn => (
            code::TORN,
            "An unfinished write was cut from the end of the journal; it was never acknowledged.",
        ),
        TailKind::Damaged => (
            code::DAMAGED_END,
            "The last group of the journal was damaged and cut. It looks finished, so what was in \
             it may have been acknowledged: devices that hold it, or a backup, can tell.",
        ),
        TailKind::Stray => (
            code::STRAY_BYTES,
            "Bytes stood behind the end of the journal where only zeros may be. No record was \
             there; the disk changed them.",
        ),
    };
    let sentence = format!(
        "{what} It stood in {side}, where record {} would be.",
        side.position
    );
    finding(code, sentence, format!("journal/{name}"))
}

fn store_moved_aside(aside: &Path) -> Finding {
    let name = aside.file_name().unwrap_or_default().to_string_lossy();
    finding(
        code::STORE_DAMAGED,
        "The store was damaged. It was put aside and made again from the journal.".to_owned(),
        name.into_owned(),
    )
}

/// Rows that are made anew for an ordinary reason are no finding.
fn rebuilt(reason: RebuildReason) -> Option<Finding> {
    let code = match reason {
        RebuildReason::Damaged => code::STORE_DAMAGED,
        RebuildReason::OtherJournal { .. } | RebuildReason::OtherHistory { .. } => {
            code::OTHER_HISTORY
        }
        RebuildReason::NoRows
        | RebuildReason::Format { .. }
        | RebuildReason::AfterLoss { .. }
        | RebuildReason::Asked { .. } => return None,
    };
    let sentence = format!("The store was made again from the journal: {reason}.");
    Some(finding(code, sentence, "store".to_owned()))
}
