//! Invitations: a secret drawn here, its hash in the journal, the link to whoever asked.

use bukti_core::authority::Grant;
use bukti_core::id::WallMs;
use bukti_core::ledger::AdminError;
use bukti_core::record::{Invitation, invitation_hash};
use bukti_sync_protocol::link::InvitationLink;

use crate::accepting::Unqueued;
use crate::commands::Office;
use crate::folder::{FolderError, random};

/// A link that enrols one device, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// To be opened on the device, or shown to it.
    pub link: String,
    /// By the server's clock.
    pub expires_at: WallMs,
}

/// Why nobody was invited.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// No secret can be drawn, or nobody knows where a link is to lead.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The ledger takes nothing more.
    #[error(transparent)]
    Closed(#[from] Unqueued),
    /// The ledger refuses the invitation.
    #[error(transparent)]
    Ledger(#[from] AdminError),
}

/// Invites `person` for `holds_ms` from here on.
///
/// # Errors
/// [`InviteError`].
pub fn invite(
    office: &Office,
    person: String,
    grants: Vec<Grant>,
    holds_ms: i64,
) -> Result<Link, InviteError> {
    let url = office.url()?.to_owned();
    let secret: [u8; 16] = random()?;
    let asked = office.accepting().ask_blocking(None, move |ledger, now| {
        let hash = invitation_hash(&secret);
        let expires_at = now.saturating_add(holds_ms);
        ledger.invite(
            now,
            Invitation {
                hash,
                person,
                grants,
                expires_at,
            },
        )?;
        Ok::<WallMs, AdminError>(expires_at)
    });
    let expires_at = asked??;
    let link = InvitationLink {
        url,
        secret,
        server: office.server(),
    };
    Ok(Link {
        link: link.to_string(),
        expires_at,
    })
}
