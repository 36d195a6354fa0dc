//! What was cut or put aside in the device's own folders, as findings.
//!
//! They are made from the names of the files at each opening and last as long as the files do: what
//! an opening cut that ended before it could say so is told by the next one, and a confirmed store
//! that is thrown away takes nothing of it along.

use std::io;

use bukti_core::id::RunId;
use bukti_core::journal::{SideFile, TailKind};

use super::confirmed::Finding;

/// What looks like an unfinished write was cut from the tail's end.
const TORN: &str = "torn";

/// A group that was written to its end was cut from the tail's end.
const DAMAGED_END: &str = "damaged-end";

/// Bytes stood behind the tail's end where no record was.
const STRAY_BYTES: &str = "stray-bytes";

/// A file of the quarantine was put aside.
const QUARANTINE_DAMAGED: &str = "quarantine-damaged";

/// The disk does not give a file of the quarantine.
const QUARANTINE_UNREAD: &str = "quarantine-unread";

/// A confirmed store of another journal was put aside.
pub const STORE_SET_ASIDE: &str = "store-set-aside";

/// A confirmed store was damaged and put aside.
pub const STORE_DAMAGED: &str = "store-damaged";

/// The folder of unsent work was gone when the device was enrolled again.
pub const TAIL_MISSING: &str = "tail-missing";

/// The file in the data folder by which that stays known.
pub(super) const TAIL_MISSING_MARK: &str = "tail.missing";

/// How the name of a store begins that was put aside since it is of another journal; a number follows.
pub const OTHER_STORE: &str = "store.other-";

/// The same of one that was damaged.
pub const DAMAGED_STORE: &str = "store.damaged-";

/// Something that lies beside what is sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aside {
    pub(super) finding: Finding,
    /// Whether work that was kept here may be in it and nowhere else.
    pub(super) may_be_lost: bool,
}

/// What openings cut from the end of the tail, one for each file that keeps some of it.
pub(super) fn cut_tails(side_files: &[String]) -> impl Iterator<Item = Aside> {
    let parsed = side_files.iter().filter_map(|name| SideFile::parse(name));
    parsed.map(|side| cut_tail(&side))
}

fn cut_tail(side: &SideFile) -> Aside {
    let place = place_in_tail(side);
    let (code, may_be_lost, sentence) = match side.kind {
        TailKind::Damaged => (
            DAMAGED_END,
            true,
            format!(
                "An edit that was kept here may be lost: the end of the unsent work was damaged and \
                 cut, {side}. What was cut is in {place}; show it to the server's administrator."
            ),
        ),
        TailKind::Torn => (
            TORN,
            true,
            format!(
                "The end of the unsent work was not whole and was cut, {side}. It looks like a write \
                 that was interrupted, of which nobody was told that it is kept; if the disk damaged \
                 it later, an edit that was kept here may be lost. What was cut is in {place}; show it \
                 to the server's administrator."
            ),
        ),
        TailKind::Stray => (
            STRAY_BYTES,
            false,
            format!(
                "Bytes stood behind the end of the unsent work where only zeros may be, {side}; the \
                 disk changed them. No edit was there. They are in {place}."
            ),
        ),
    };
    Aside {
        finding: finding(code, sentence, place),
        may_be_lost,
    }
}

/// Stores that were put aside, and that a tail was missing, by the names in the data folder.
pub(super) fn in_home(mut names: Vec<String>) -> impl Iterator<Item = Aside> {
    let missing = names.iter().any(|name| name == TAIL_MISSING_MARK);
    names.sort_unstable();
    let stores = names.into_iter().filter_map(|name| {
        if name.starts_with(DAMAGED_STORE) {
            return Some(damaged_store(name));
        }
        name.starts_with(OTHER_STORE).then(|| other_store(name))
    });
    missing.then(tail_missing).into_iter().chain(stores)
}

/// What the mark says to whoever reads it.
pub(super) fn tail_missing_sentence() -> String {
    format!(
        "The folder of unsent work was missing when this device was enrolled again: edits that were \
         kept there are lost. Enter again what is not there, and delete {TAIL_MISSING_MARK} when that \
         is done."
    )
}

fn tail_missing() -> Aside {
    let (sentence, place) = (tail_missing_sentence(), TAIL_MISSING_MARK.to_owned());
    Aside {
        finding: finding(TAIL_MISSING, sentence, place),
        may_be_lost: true,
    }
}

fn other_store(place: String) -> Aside {
    Aside {
        finding: finding(
            STORE_SET_ASIDE,
            format!(
                "Evidence of another server, or of another journal of this one, lay in this folder and \
                 was put aside as {place}. It may be nowhere else: ask the administrator before it is \
                 deleted."
            ),
            place,
        ),
        may_be_lost: false,
    }
}

fn damaged_store(place: String) -> Aside {
    Aside {
        finding: finding(
            STORE_DAMAGED,
            format!(
                "The evidence that was received in this folder was damaged and put aside as {place}. What \
                 the server has comes again with a sync; what it lost may be nowhere else: ask the \
                 administrator before it is deleted."
            ),
            place,
        ),
        may_be_lost: false,
    }
}

/// A damaged file of the quarantine under the name that it has since.
pub(super) fn damaged_refusal(run: Option<RunId>, name: &str) -> Aside {
    let place = format!("quarantine/{name}");
    let sentence = format!(
        "Edits that the server had refused were damaged and cannot be shown or entered again. The file \
         was put aside as {place}; show it to the server's administrator."
    );
    Aside {
        finding: Finding {
            run,
            ..finding(QUARANTINE_DAMAGED, sentence, place)
        },
        may_be_lost: true,
    }
}

/// A file of the quarantine that this opening went on without.
pub(super) fn unread_refusal(run: Option<RunId>, name: &str, why: &io::Error) -> Aside {
    let place = format!("quarantine/{name}");
    let sentence = format!(
        "Edits that the server had refused are not shown, since the disk does not give {place}: {why}. \
         They are shown again when it does; show it to the server's administrator."
    );
    Aside {
        finding: Finding {
            run,
            ..finding(QUARANTINE_UNREAD, sentence, place)
        },
        may_be_lost: true,
    }
}

/// Where a side file of the tail lies in the data folder.
pub(super) fn place_in_tail(side: &SideFile) -> String {
    format!("tail/{}", side.name())
}

fn finding(code: &str, sentence: String, place: String) -> Finding {
    Finding {
        code: code.to_owned(),
        sentence,
        document: None,
        run: None,
        at: None,
        place: Some(place),
    }
}
