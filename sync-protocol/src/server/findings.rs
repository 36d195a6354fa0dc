//! What a server keeps for its administrators of what devices showed.
//!
//! Each is about a device; the ledger keeps one of a kind until somebody has looked into it.

use bukti_core::envelope::Seen;
use bukti_core::id::DeviceId;
use bukti_core::record::Finding;

use crate::frame::{Numbered, Reconcile};

/// A device came with a store that lacks what it had sent.
pub(super) fn stale_store(device: DeviceId, highest: Numbered) -> Finding {
    about(
        "stale-store",
        device,
        format!(
            "A device came with a store that lacks its own run {}, number {}, which the server \
             holds: it was put back to a backup, or copied to a second phone.",
            highest.run, highest.number
        ),
    )
}

/// A device showed a cursor of a history that this journal does not have.
pub(super) fn cursor_void(device: DeviceId, watermark: Seen) -> Finding {
    about(
        "cursor-void",
        device,
        format!(
            "A device showed a cursor that this journal, now at record {}, does not have: records \
             were lost, or the device invents it.",
            watermark.position
        ),
    )
}

/// A comparison is through and the device still holds something else.
pub(super) fn mismatch(device: DeviceId, asked: &Reconcile, at: u64) -> Finding {
    about(
        "digest-mismatch",
        device,
        format!(
            "A device says that it holds other documents in {} than the server at record {at}, \
             although all were compared.",
            asked.prefix
        ),
    )
}

fn about(code: &str, device: DeviceId, sentence: String) -> Finding {
    Finding {
        code: code.to_owned(),
        sentence,
        device: Some(device),
        document: None,
        run: None,
        place: None,
    }
}
