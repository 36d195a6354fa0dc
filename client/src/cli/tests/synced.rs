//! What a sync says of how the device stands.

use bukti_client::device::Status;
use bukti_core::authority::Audience;
use bukti_core::id::DocumentId;
use bukti_sync_protocol::reconcile::Differs;

use super::*;

impl Person {
    fn handle(&self, events: &[Event]) -> Status {
        let mut device = folder::open(&self.folder).unwrap();
        for event in events {
            device.handle_event(clock::wall(), [0; 16], event).unwrap();
        }
        device.status().unwrap()
    }
}

#[test]
fn evidence_that_the_server_lost_and_did_not_take_back_is_nowhere_called_received() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    let id = ani.new_evidence(PERDES);
    ani.text(&format!("evidence ready {id}"));
    server.pass_on(&ani, &[]);
    let document: DocumentId = id.parse().unwrap();
    let mut device = folder::open(&ani.folder).unwrap();
    let differs = Event::Differs {
        prefix: VILLAGE.parse().unwrap(),
        audience: Audience::Unit,
        found: vec![Differs::Ours(document)],
    };
    device
        .handle_event(clock::wall(), [0; 16], &differs)
        .unwrap();
    for offer in device.returns(false).unwrap() {
        let rejected = Event::Rejected {
            run: offer.run,
            code: "quota".into(),
            sentence: "Too much.".into(),
        };
        device
            .handle_event(clock::wall(), [0; 16], &rejected)
            .unwrap();
    }
    drop(device);

    let listed = &ani.json("evidence list")["evidence"][0];
    assert_eq!(listed["shown_as"], "Not taken back");
    assert_eq!(listed["delivery"]["state"], "not-taken-back");
    let status = ani.json("status");
    assert_eq!(status["received"], 0);
    assert_eq!(status["delivery"][0]["state"], "not-taken-back");
    let shown = ani.on_terminal(&format!("evidence show {id}"));
    assert!(shown.contains("2 not taken back"), "{shown}");

    let mut summary = sync::Summary::default();
    summary.stand(&ani.handle(&[]));
    assert!(!summary.is_settled());
    let said = summary.reply(false).stdout;
    assert!(
        said.contains("Nothing waits that the server takes."),
        "{said}"
    );
    assert!(
        said.contains("The server lost 2 runs that it did not take back"),
        "{said}"
    );
    let said: Value = serde_json::from_str(&summary.reply(true).stdout).unwrap();
    assert_eq!(said["not_taken_back"], 2);

    // Nobody is told of what is no longer this device's to read.
    let status = ani.handle(&[Event::LeftScope(document)]);
    assert_eq!((status.documents, status.not_taken_back), (0, 0));
}

#[test]
fn a_sync_after_which_both_sides_hold_something_else_is_not_called_up_to_date() {
    let ani = Server::new().officer("Ani");
    let status = ani.handle(&[]);
    let mut summary = sync::Summary::default();
    summary.stand(&status);
    assert!(summary.is_settled());
    let status = Status {
        differs: vec![VILLAGE.parse().unwrap()],
        ..status
    };
    summary.stand(&status);
    assert!(!summary.is_settled());
    let said = summary.reply(false).stdout;
    assert!(
        said.contains("The server holds something else of 32.04.05.2001 than this device"),
        "{said}"
    );
    let said: Value = serde_json::from_str(&summary.reply(true).stdout).unwrap();
    assert_eq!(said["differs"], serde_json::json!([VILLAGE]));

    // What a device that is not confirmed sent does not come back to it.
    summary.stand(&Status {
        awaits_confirmation: true,
        ..status
    });
    let said = summary.reply(false).stdout;
    assert!(!said.contains("something else"), "{said}");
}
