//! `bukti enrol`: joins the device to a server.

use std::path::Path;

use bukti_client::clock;
use bukti_client::device::{
    Applicant, Enrolment, Folders, STORE_DAMAGED, STORE_SET_ASIDE, TAIL_MISSING,
};
use bukti_client::driver::{self, EnrolError};
use bukti_command::Reply;
use bukti_core::authority::Grant;
use bukti_core::id::Incarnation;
use bukti_core::journal::disk::DiskStorage;
use bukti_core::kv::Kv;
use bukti_sync_protocol::bye::ByeCode;
use bukti_sync_protocol::link::InvitationLink;
use serde_json::json;

use super::desk::FieldDevice;
use super::failure::Failure;
use super::{folder, sync};

/// What helps whose device was revoked: its key is out for good, and the folder has no other.
const WHERE_REVOKED: &str = "Enrol in a data folder of its own, 'bukti enrol LINK --data FOLDER'; what \
                             lies in quarantine here is taken along with 'bukti quarantine export FILE'.";

/// Reads a link before anything is made for it.
pub(super) fn link(typed: &str) -> Result<InvitationLink, Failure> {
    typed.trim().parse().map_err(Failure::wrong)
}

/// Runs in the process that holds the folder and nothing else in it.
pub(super) fn run(folder: &Path, typed: &str, json: bool) -> Result<Reply, Failure> {
    let link = link(typed)?;
    let folders = Folders::on_disk(folder).map_err(|error| folder::cannot_use(folder, &error))?;
    let applicant = Applicant::open(folders, &link, clock::draw())?;
    let store = folder::store(folder)?;
    applicant.check(&store)?;
    let enrolment = sync::runtime()?
        .block_on(driver::enrol(&applicant, &link))
        .map_err(refused)?;
    let device = finish(folder, applicant, store, &enrolment)?;
    answer(&device, json)
}

/// Opens the device as the server certified it. What its store holds of another journal is put aside by
/// that, and a damaged one begins anew; before, the device is not enrolled.
pub(super) fn finish<K: Kv>(
    folder: &Path,
    applicant: Applicant<DiskStorage>,
    store: K,
    enrolment: &Enrolment,
) -> Result<FieldDevice, Failure> {
    applicant.keep(&store, enrolment, Incarnation(clock::draw()))?;
    drop(store);
    folder::open(folder)
}

fn refused(error: EnrolError) -> Failure {
    match error {
        EnrolError::NotReached { .. } => Failure::NotReached(error.to_string()),
        EnrolError::Refused(bye) => match bye.code {
            ByeCode::InvitationUsed | ByeCode::InvitationExpired | ByeCode::InvitationUnknown => {
                Failure::Wrong(format!("{} Ask for another link.", bye.sentence))
            }
            ByeCode::Revoked => Failure::Failed(format!("{} {WHERE_REVOKED}", bye.sentence)),
            ByeCode::Timeout | ByeCode::Busy | ByeCode::Full | ByeCode::Shutdown => {
                Failure::NotReached(format!("the server does not enrol now: {}", bye.sentence))
            }
            ByeCode::Done
            | ByeCode::Version
            | ByeCode::Malformed
            | ByeCode::Unauthorised
            | ByeCode::Credit
            | ByeCode::Fragment
            | ByeCode::Flood
            | ByeCode::Fault
            | ByeCode::Other(_) => Failure::Failed(bye.sentence),
        },
    }
}

pub(super) fn answer(device: &FieldDevice, json: bool) -> Result<Reply, Failure> {
    let mut found = device.findings()?;
    let told = [STORE_DAMAGED, STORE_SET_ASIDE, TAIL_MISSING];
    found.retain(|finding| told.contains(&finding.code.as_str()));
    let identity = device.identity();
    let grants: Vec<String> = device.grants().iter().map(Grant::to_string).collect();
    if json {
        return Ok(Reply::json(&json!({
            "person": identity.person(),
            "device": device.id().to_string(),
            "grants": device.grants(),
            "url": identity.url(),
            "server": identity.server().to_string(),
            "journal": identity.journal().to_string(),
            "found": found,
        })));
    }
    let mut text = format!(
        "Enrolled with {} as {}: {}.\nRun 'bukti sync' to receive frameworks, regions and evidence.",
        identity.url(),
        identity.person(),
        grants.join(", ")
    );
    for finding in found {
        text += &format!("\n{}", finding.sentence);
    }
    Ok(Reply::done(text))
}

#[cfg(test)]
mod tests {
    use bukti_sync_protocol::bye::Bye;

    use super::*;

    #[test]
    fn a_revoked_device_is_told_how_its_person_goes_on() {
        let revoked = EnrolError::Refused(Bye::revoked());
        let Failure::Failed(said) = refused(revoked) else {
            panic!("it was not called wrongly")
        };
        assert!(
            said.starts_with("This device was revoked. Enrol in a data folder"),
            "{said}"
        );
        assert!(said.contains("'bukti quarantine export FILE'"), "{said}");
    }

    #[test]
    fn a_link_that_cannot_be_right_is_refused_before_a_folder_is_made() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("data");
        for typed in [
            "",
            "https://bukti.example/enrol",
            "ftp://x/enrol#a.b",
            "https://x/enrol#a.b",
        ] {
            assert!(
                matches!(run(&folder, typed, false), Err(Failure::Wrong(_))),
                "{typed}"
            );
        }
        assert!(!folder.exists());
    }
}
