//! What every command works with: the device, where it was called from, and how it answers.

use std::path::{Path, PathBuf};

use bukti_client::device::{Author, Device, DeviceError, Summary};
use bukti_command::Reply;
use bukti_command::show::show_time;
use bukti_core::causes::with_causes;
use bukti_core::id::{DocumentId, WallMs};
use bukti_core::journal::disk::DiskStorage;
use bukti_core::kv::sled::SledKv;
use serde::Serialize;

use super::choose;
use super::failure::Failure;

/// A device as a data folder holds it.
pub(super) type FieldDevice = Device<DiskStorage, SledKv>;

/// Characters of an id or hash in tables; enough to tell a device's documents apart.
const SHORT_ID: usize = 8;

/// A clock may be this much ahead before it counts as wrong.
const CLOCK_TOLERANCE_MS: WallMs = 60_000;

/// 2020-01-01, before which no clock was right.
const CLOCK_MIN: WallMs = 1_577_836_800_000;

/// One command's place of work.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    pub(super) device: &'a mut FieldDevice,
    /// The data folder.
    pub(super) folder: &'a Path,
    /// Where relative paths start from.
    pub(super) cwd: &'a Path,
    /// Width of the caller's terminal.
    pub(super) columns: Option<u16>,
    pub(super) json: bool,
    pub(super) now: WallMs,
}

impl Desk<'_> {
    /// The document whose id begins with `typed`.
    pub(super) fn document(&mut self, typed: &str) -> Result<DocumentId, Failure> {
        let known = self.device.list()?;
        choose::document(typed, known.into_iter().map(|summary| summary.id))
    }

    /// What becomes of edits that are on the disk.
    pub(super) fn kept(&self) -> &'static str {
        match self.device.is_revoked() {
            false => "Kept on this device; 'bukti sync' sends it.",
            true => "Kept on this device only: the server revoked it and takes nothing from it.",
        }
    }

    /// What the list says of one document.
    pub(super) fn summary(&mut self, id: DocumentId) -> Result<Summary, Failure> {
        let mut known = self.device.list()?.into_iter();
        known
            .find(|summary| summary.id == id)
            .ok_or_else(|| DeviceError::UnknownDocument(id).into())
    }

    /// The server's last known time.
    pub(super) fn server_time(&mut self) -> Result<WallMs, Failure> {
        let received = self
            .device
            .list()?
            .into_iter()
            .filter_map(|summary| summary.received_at);
        Ok(received.fold(self.device.identity().enrolled_at(), WallMs::max))
    }

    pub(super) fn path(&self, typed: &Path) -> PathBuf {
        self.cwd.join(typed)
    }

    /// Answers in JSON or, for people, with `text`.
    pub(super) fn answer(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Reply {
        match self.json {
            true => Reply::json(value),
            false => Reply::done(text()),
        }
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        let text = with_causes(&error);
        match error {
            DeviceError::Denied(_)
            | DeviceError::OtherServer(_)
            | DeviceError::UnknownDocument(_)
            | DeviceError::Edit(_)
            | DeviceError::Unsendable(_)
            | DeviceError::UnknownQuarantined(_) => Self::Wrong(text),
            DeviceError::NotEnrolled => Self::Failed(
                "this device is not enrolled: run 'bukti enrol LINK' with an invitation link"
                    .into(),
            ),
            DeviceError::TailMissing => Self::Failed(format!(
                "{text}: put it back from a copy of the data folder, or run 'bukti enrol LINK' with a \
                 new link, which begins another; edits that were not sent are lost then"
            )),
            DeviceError::BaseMissing(_)
            | DeviceError::Identity(_)
            | DeviceError::Tail(_)
            | DeviceError::Confirmed(_)
            | DeviceError::Quarantine(_)
            | DeviceError::Document { .. } => Self::Failed(text),
        }
    }
}

/// The beginning of an id or hash, by which it can be named.
pub(super) fn short(id: &impl ToString) -> String {
    id.to_string().chars().take(SHORT_ID).collect()
}

/// Who made a change, for tables.
pub(super) fn who(author: &Author) -> String {
    match (&author.person, &author.device) {
        (Some(person), _) => person.clone(),
        (None, Some(device)) => format!("device {}", short(device)),
        (None, None) => "another program".to_owned(),
    }
}

/// Whether a device's clock cannot have been right: before 2020, or after the server received what
/// the device had made before.
pub(super) fn is_doubtful(device_time: WallMs, received_at: Option<WallMs>) -> bool {
    let ahead = |received: WallMs| device_time > received.saturating_add(CLOCK_TOLERANCE_MS);
    device_time < CLOCK_MIN || received_at.is_some_and(ahead)
}

/// A device's time, marked where the clock cannot have been right.
pub(super) fn when(time: WallMs, doubtful: bool) -> String {
    match doubtful {
        true => format!("{} clock?", show_time(time)),
        false => show_time(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_doubted_before_2020_and_after_the_server() {
        let received = 1_795_453_500_000;
        assert!(is_doubtful(0, None));
        assert!(is_doubtful(CLOCK_MIN - 1, Some(received)));
        assert!(is_doubtful(
            received + 2 * CLOCK_TOLERANCE_MS,
            Some(received)
        ));
        assert!(!is_doubtful(received + CLOCK_TOLERANCE_MS, Some(received)));
        assert!(!is_doubtful(received, None));
        assert!(!is_doubtful(CLOCK_MIN, Some(received)));
    }
}
