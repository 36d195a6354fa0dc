//! Findings as administrators read them: what should not be, and what they said to it.
//!
//! A finding is a statement in the journal, so it stays for ever. Somebody who has looked into one
//! says so with another statement; until then [`verify`](super::verify()) and whoever watches the
//! server are reminded of those that speak of damage.

use super::admin::AdminError;
use super::apply::finding_key;
use super::reader::{ReadError, Reader};
use super::{Ledger, keys};
use crate::envelope::Seen;
use crate::id::{Position, WallMs};
use crate::journal::Storage;
use crate::kv::Kv;
use crate::limits::NOTE_BYTES_MAX;
use crate::record::{Fact, Finding, Record};

/// The words of findings that this program makes.
pub mod code {
    /// Two runs for one place in a device's history.
    pub const FORK: &str = "fork";
    /// The store had seen records that the journal lost, and somebody decided to go on.
    pub const LOST: &str = "lost";
    /// An unfinished write was cut from the end of the journal.
    pub const TORN: &str = "torn";
    /// A group that may have been finished was cut from the end of the journal.
    pub const DAMAGED_END: &str = "damaged-end";
    /// Single bytes were cut from where only zeros may be.
    pub const STRAY_BYTES: &str = "stray-bytes";
    /// Something in the journal's files is not as it was written.
    pub const DAMAGE: &str = "damage";
    /// Something in the journal's files was not as it was written and came back from a backup.
    pub const REPAIRED: &str = "repaired";
    /// The store was damaged and made again from the journal.
    pub const STORE_DAMAGED: &str = "store-damaged";
    /// A small file beside the journal is not as the server wrote it.
    pub const SMALL_FILE: &str = "small-file";
    /// The store had seen another journal. Former versions told so of another history of this one, too.
    pub const OTHER_HISTORY: &str = "other-history";
    /// Somebody has looked into the finding that is named as the place.
    pub(super) const ACKNOWLEDGED: &str = "acknowledged";
}

/// The place of a loss, before the number of the first record that was lost.
const LOST_FROM: &str = "record ";

/// The first record that a finding tells was lost.
pub fn lost_from(finding: &Finding) -> Option<Position> {
    let place = finding
        .place
        .as_deref()
        .filter(|_| finding.code == code::LOST)?;
    place.strip_prefix(LOST_FROM)?.parse().ok()
}

/// What is stated of a journal that lacks what the store had seen.
pub(super) fn loss(store: Seen, end: Seen) -> [Fact; 2] {
    let is_shorter = end.position < store.position;
    let lost = match is_shorter {
        true => "What lay between is lost unless devices still hold it.",
        false => {
            "They are of two histories: what only the store had seen is lost unless devices still hold it."
        }
    };
    let finding = Finding {
        code: code::LOST.to_owned(),
        sentence: format!(
            "The journal ends at record {} with chain {}; the store had seen record {} with chain {}. {lost}",
            end.position, end.chain, store.position, store.chain
        ),
        device: None,
        document: None,
        run: None,
        // Where two histories part nothing says.
        place: is_shorter.then(|| format!("{LOST_FROM}{}", end.position + 1)),
    };
    // What voids invitations first: the two may come to stand in two groups.
    [Fact::Restored(end), Fact::Finding(finding)]
}

/// A finding with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where its statement stands.
    pub position: Position,
    /// When it was recorded, by the server's clock.
    pub at: WallMs,
    /// What should not be.
    pub finding: Finding,
    /// Who has looked into it, if somebody has.
    pub acknowledged: Option<Acknowledged>,
}

/// That somebody has looked into a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// Where the statement stands.
    pub position: Position,
    /// When it was made.
    pub at: WallMs,
    /// What was said.
    pub note: String,
}

impl Found {
    /// Whether it speaks of damage that nobody has looked into yet.
    pub fn waits(&self) -> bool {
        self.acknowledged.is_none()
            && [
                code::DAMAGED_END,
                code::STRAY_BYTES,
                code::DAMAGE,
                code::REPAIRED,
                code::STORE_DAMAGED,
                code::SMALL_FILE,
                code::OTHER_HISTORY,
            ]
            .contains(&&*self.finding.code)
    }
}

impl<S: Storage, K: Kv> Reader<S, K> {
    /// Whether a finding is kept already and still stands for what it tells. What has a place, as
    /// damage and cut ends have, stays there; everything else happens, and is news again once somebody
    /// has looked into it.
    pub(super) fn knows_finding(&self, finding: &Finding) -> Result<bool, ReadError> {
        let kv = &*self.shared.kv;
        let damaged = || ReadError::row(keys::FOUND);
        let Some(position) = kv.get(&finding_key(finding))? else {
            return Ok(false);
        };
        if finding.place.is_some() {
            return Ok(true);
        }
        let position = position.as_slice().try_into().map_err(|_| damaged())?;
        let acknowledgement = acknowledgement(Position::from_be_bytes(position), "");
        Ok(kv.get(&finding_key(&acknowledgement))?.is_none())
    }

    /// All findings, the oldest first.
    ///
    /// # Errors
    /// [`ReadError`], also if a single one cannot be read.
    pub fn found(&self) -> Result<Vec<Found>, ReadError> {
        let (all, unread) = self.readable_findings();
        match unread.into_iter().next() {
            None => Ok(all),
            Some(error) => Err(error),
        }
    }

    /// The findings that can be read, the oldest first, and what kept others from being read: where
    /// the journal is damaged, what was found elsewhere is still to be seen.
    pub fn readable_findings(&self) -> (Vec<Found>, Vec<ReadError>) {
        let mut all: Vec<Found> = Vec::new();
        let mut unread = Vec::new();
        for row in self.findings() {
            let (position, place) = match row {
                Ok(row) => row,
                Err(error) => {
                    unread.push(error);
                    break;
                }
            };
            let signed = match self.record(place) {
                Ok(Record::Server(signed)) => signed,
                Ok(_) => continue,
                Err(error) => {
                    unread.push(error);
                    continue;
                }
            };
            let Fact::Finding(finding) = signed.fact() else {
                continue;
            };
            let at = signed.at();
            match acknowledges(finding) {
                None => all.push(Found {
                    position,
                    at,
                    finding: finding.clone(),
                    acknowledged: None,
                }),
                Some(meant) => {
                    let meant = all.iter_mut().find(|found| found.position == meant);
                    if let Some(found) = meant {
                        let note = finding.sentence.clone();
                        found.acknowledged = Some(Acknowledged { position, at, note });
                    }
                }
            }
        }
        (all, unread)
    }
}

impl<S: Storage, K: Kv> Ledger<S, K> {
    /// Records that somebody has looked into a finding, and what they say to it.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] if there is no such finding, it was acknowledged before, or the
    /// note is not one line of bounded length.
    pub fn acknowledge(
        &mut self,
        now: WallMs,
        position: Position,
        note: &str,
    ) -> Result<Position, AdminError> {
        self.alive()?;
        let note = note.trim();
        if note.is_empty() || note.len() > NOTE_BYTES_MAX || note.contains(char::is_control) {
            return Err(AdminError::Invalid(format!(
                "a note has 1 to {NOTE_BYTES_MAX} bytes on one line"
            )));
        }
        let (found, unread) = self.reader.readable_findings();
        let meant = found.iter().find(|found| found.position == position);
        if meant.is_none()
            && let Some(error) = unread.into_iter().next()
        {
            // It may be the one.
            self.read(|_| Err::<(), _>(error))?;
        }
        match meant {
            None => Err(AdminError::Invalid(format!(
                "record {position} is no finding: expected a number from the list of findings"
            ))),
            Some(Found {
                acknowledged: Some(former),
                ..
            }) => Err(AdminError::Invalid(format!(
                "finding {position} was acknowledged before, in record {}",
                former.position
            ))),
            Some(_) => self.record_finding(now, acknowledgement(position, note)),
        }
    }
}

fn acknowledgement(position: Position, note: &str) -> Finding {
    Finding {
        code: code::ACKNOWLEDGED.to_owned(),
        sentence: note.to_owned(),
        device: None,
        document: None,
        run: None,
        place: Some(format!("record {position}")),
    }
}

/// The finding that a statement acknowledges.
fn acknowledges(finding: &Finding) -> Option<Position> {
    let place = finding.place.as_deref();
    let named = place.filter(|_| finding.code == code::ACKNOWLEDGED)?;
    named.strip_prefix("record ")?.parse().ok()
}
