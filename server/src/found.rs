//! What opening a folder found becomes findings in the journal, so that nobody has to read logs.
//!
//! What was cut from the end of the journal lies in side files, and damaged stores, altered small
//! files and segments that a repair replaced lie beside the live ones. A finding is made for each that
//! has none, also for those of an earlier opening that ended, or met a disk without room, before it could
//! say so. Their names are never used again, so what happens again is another finding.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bukti_core::id::Position;
use bukti_core::journal::{SideFile, TailKind};
use bukti_core::ledger::{AdminError, LedgerError, Opened, RebuildReason, code, lost_from};
use bukti_core::record::Finding;

use crate::accepting::Ledger;
use crate::clock::wall_now;
use crate::folder::replaced;
use crate::folder::small::{self, SUMS};
use crate::folder::{INVITATION, KEY_PATH, PUBLIC_URL};

/// Records what was found and is not recorded yet, into the disk's reserve if need be. Where not even
/// that has room nothing is: the files wait for the next opening.
///
/// # Errors
/// The ledger ended.
pub fn record(
    ledger: &mut Ledger,
    opened: Option<&Opened>,
    kept_aside: &[String],
) -> Result<(), LedgerError> {
    // First, since what the store still knows of it goes with the next record.
    let rebuilt = opened.and_then(|opened| opened.rebuilt).and_then(rebuilt);
    match rebuilt.map(|finding| ledger.record_finding(wall_now(), finding)) {
        Some(Err(AdminError::Ledger(error))) => return Err(error),
        Some(Err(error @ (AdminError::Full | AdminError::Invalid(_)))) => {
            tracing::warn!(%error, "what opening found is not recorded");
        }
        Some(Ok(_)) | None => ledger.told()?,
    }
    let kept = cut_though_kept(ledger, kept_aside);
    for finding in aside(kept_aside) {
        let is_kept = finding.place.as_ref();
        let finding = match is_kept.is_some_and(|place| kept.contains(place)) {
            true => acknowledged_end(finding),
            false => finding,
        };
        ledger.find(wall_now(), finding)?;
    }
    Ok(())
}

/// Side files with records that the store had seen and somebody went on without, where they look like
/// unfinished writes: of each place at which the journal states a loss the last one. Earlier ones of the
/// same place are what they look like.
fn cut_though_kept(ledger: &Ledger, kept_aside: &[String]) -> BTreeSet<String> {
    let torn = kept_aside.iter().filter_map(|name| {
        let side = SideFile::parse(Path::new(name).file_name()?.to_str()?)?;
        (side.kind == TailKind::Torn).then_some((side.position, side.number, name))
    });
    let mut torn: Vec<_> = torn.collect();
    if torn.is_empty() {
        return BTreeSet::new();
    }
    let (found, _) = ledger.reader().readable_findings();
    let lost = found.iter().filter_map(|found| lost_from(&found.finding));
    let lost: BTreeSet<Position> = lost.collect();
    torn.retain(|(position, ..)| lost.contains(position));
    torn.sort_unstable();
    let last: BTreeMap<Position, &String> = torn
        .into_iter()
        .map(|(position, _, name)| (position, name))
        .collect();
    last.into_values().cloned().collect()
}

fn acknowledged_end(torn: Finding) -> Finding {
    let what = "The last group of the journal was damaged and cut. The store had seen it, so what was \
                in it was acknowledged: devices that hold it, or a backup, can bring it back.";
    Finding {
        code: code::DAMAGED_END.to_owned(),
        sentence: what.to_owned(),
        ..torn
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

/// One finding for each that is kept aside: what was cut from the journal, damaged stores, small
/// files that were altered, and segments that were replaced.
pub fn aside(kept_aside: &[String]) -> impl Iterator<Item = Finding> {
    kept_aside.iter().map(|name| {
        let file = Path::new(name).file_name().and_then(|name| name.to_str());
        if let Some(side) = file.and_then(SideFile::parse) {
            cut_tail(name, &side)
        } else if let Some(original) = small::original(name) {
            small_file(name, original)
        } else if let Some(segment) = replaced::segment(name) {
            replaced_segment(name, segment)
        } else {
            store_moved_aside(name)
        }
    })
}

fn cut_tail(place: &str, side: &SideFile) -> Finding {
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
    finding(code, sentence, place.to_owned())
}

fn store_moved_aside(name: &str) -> Finding {
    finding(
        code::STORE_DAMAGED,
        "The store was damaged. It was put aside and made again from the journal.".to_owned(),
        name.to_owned(),
    )
}

fn replaced_segment(kept: &str, segment: &str) -> Finding {
    finding(
        code::REPAIRED,
        format!(
            "The segment {segment} was not as it was written, and a repair set out to put back what a \
             backup holds of it. This file keeps what stood there; it is empty where the segment was gone."
        ),
        kept.to_owned(),
    )
}

fn small_file(aside: &str, name: &str) -> Finding {
    let then = match name {
        PUBLIC_URL => "The next start writes it again, and no invitation is made until then.",
        KEY_PATH => "A start with --key writes it again.",
        INVITATION => {
            "Do not use the link in it. While nobody is enrolled, the next start writes another."
        }
        SUMS => "It was written again with what it still said of files that bear it out.",
        _ => "It is not used.",
    };
    finding(
        code::SMALL_FILE,
        format!("The file {name} was not as the server wrote it and was put aside. {then}"),
        aside.to_owned(),
    )
}

/// Rows that are made anew for an ordinary reason are no finding.
fn rebuilt(reason: RebuildReason) -> Option<Finding> {
    let code = match reason {
        RebuildReason::Damaged => code::STORE_DAMAGED,
        RebuildReason::OtherJournal { .. } => code::OTHER_HISTORY,
        RebuildReason::NoRows
        | RebuildReason::Unfinished
        | RebuildReason::Format { .. }
        | RebuildReason::AfterLoss { .. }
        | RebuildReason::Asked { .. } => return None,
    };
    let sentence = format!("The store was made again from the journal: {reason}.");
    Some(finding(code, sentence, "store".to_owned()))
}
