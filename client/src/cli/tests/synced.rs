//! What a sync says of how the device stands, above all where it did not end well.

use std::net::TcpListener;
use std::thread;

use bukti_client::device::{PutOff, Status, Tally};
use bukti_client::driver::Progress;
use bukti_core::authority::Audience;
use bukti_core::id::DocumentId;
use bukti_core::record::Revocation;
use bukti_sync_protocol::bye::Bye;
use bukti_sync_protocol::frame::{self, Features, Frame};
use bukti_sync_protocol::reconcile::Differs;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use super::*;

/// Answers the first frame of one connection with `bye`, after `meanwhile`.
fn answer(listener: TcpListener, bye: Bye, meanwhile: impl FnOnce() + Send + 'static) {
    let bye = frame::encode(&Frame::Bye(bye), Features::default());
    thread::spawn(move || {
        sync::runtime().unwrap().block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = accept_async(stream).await.unwrap();
            socket.next().await.unwrap().unwrap();
            meanwhile();
            socket.send(Message::Binary(bye.into())).await.unwrap();
            // Until the device has read it.
            while let Some(Ok(_)) = socket.next().await {}
        });
    });
}

impl Server {
    fn listening() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = Self::new();
        server.url = format!("http://{}", listener.local_addr().unwrap());
        (server, listener)
    }

    fn revocation_of(&self, person: &Person) -> Bye {
        let device = person.device;
        let revocation = self.state(Fact::Revocation(Revocation { device }));
        Bye::revoked().vouched(Some(revocation))
    }
}

impl Person {
    /// Has the run that was entered last find no place among what was refused.
    fn hinder_last(&self) {
        let (run, _) = self.offers().pop().unwrap();
        let taken = self.folder.join("quarantine").join(format!("{run}.cbor"));
        fs::create_dir(taken).unwrap();
    }

    /// What a sync that fails says in JSON.
    fn failed_sync(&self) -> Value {
        let reply = self.bukti("sync --json");
        assert_eq!(reply.exit, Exit::Failed, "{reply:?}");
        serde_json::from_str(&reply.stdout).unwrap()
    }

    fn handle(&self, events: &[Event]) -> Status {
        let mut device = folder::open(&self.folder).unwrap();
        for event in events {
            device.handle_event(clock::wall(), [0; 16], event).unwrap();
        }
        device.status().unwrap()
    }
}

/// Of a life of the store that is not the one of the greeting, as behind a refusal in a watch, the feed
/// brings each run whole.
#[test]
fn an_own_run_that_the_feed_brings_whole_counts_as_sent_once_and_never_as_received() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    ani.new_evidence(PERDES);
    let (run, bytes) = ani.offers().pop().unwrap();
    let receipt = Event::Accepted(vec![(run, 7)]);
    let page = Event::Page {
        items: vec![Item::Record {
            position: 7,
            received_at: SERVER_TIME,
            carrier: ani.device,
            run: bytes,
        }],
        cursor: vec![1],
    };
    for (events, sent) in [
        (&[&receipt, &page][..], 1),
        (&[&page, &receipt], 1),
        // Of a store that was put back, say.
        (&[&page], 0),
    ] {
        let mut summary = sync::Summary::starting_from(&folder::open(&ani.folder).unwrap());
        for event in events {
            summary.note(&Progress::Learned(event, Tally::default()));
        }
        assert_eq!((summary.sent, summary.received), (sent, 0));
        summary.note(&Progress::Connected);
        assert!(summary.sightings.agree(), "{summary:?}");
    }
}

#[test]
fn a_sync_whose_store_fails_says_what_is_on_the_disk_by_then() {
    let (mut server, listener) = Server::listening();
    let ani = server.officer("Ani");
    ani.new_evidence(PERDES);
    ani.refuse("The device was not allowed to.");
    ani.new_evidence(PERDES);
    ani.new_evidence(PERDES);
    ani.hinder_last();
    answer(listener, server.revocation_of(&ani), || {});
    let summary = ani.failed_sync();
    // Of the two that were refused, the first was kept.
    assert_eq!(summary["quarantined"], 2, "{summary}");
    assert_eq!(summary["findings"], 1, "{summary}");
    assert_eq!(summary["up_to_date"], false, "{summary}");
}

#[test]
fn a_sync_after_which_the_folder_does_not_open_says_how_it_stood_before() {
    let (mut server, listener) = Server::listening();
    let ani = server.officer("Ani");
    ani.new_evidence(PERDES);
    ani.refuse("The device was not allowed to.");
    ani.new_evidence(PERDES);
    ani.hinder_last();
    let (tail, gone) = (ani.folder.join("tail"), ani.folder.join("gone"));
    let meanwhile = move || fs::rename(tail, gone).unwrap();
    answer(listener, server.revocation_of(&ani), meanwhile);
    let summary = ani.failed_sync();
    assert_eq!(summary["quarantined"], 1, "{summary}");
    assert_eq!(summary["findings"], 1, "{summary}");
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
        said.contains("The server may lack 2 runs that it did not take back"),
        "{said}"
    );
    let said: Value = serde_json::from_str(&summary.reply(true).stdout).unwrap();
    assert_eq!(said["not_taken_back"], 2);
}

#[test]
fn evidence_that_the_server_lost_is_to_be_given_back_and_nowhere_called_received() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    let id = ani.new_evidence(PERDES);
    ani.text(&format!("evidence ready {id}"));
    server.pass_on(&ani, &[]);
    let mut summary = sync::Summary::default();
    summary.stand(&ani.handle(&[Event::Void]));

    let listed = &ani.json("evidence list")["evidence"][0];
    assert_eq!(listed["shown_as"], "To give back");
    assert_eq!(listed["delivery"]["state"], "to-give-back");
    let status = ani.json("status");
    assert_eq!(status["received"], 0);
    assert_eq!(status["to_give_back"], 1);
    assert_eq!(status["delivery"][0]["state"], "to-give-back");
    let status = ani.text("status");
    assert!(
        status.contains("may lack 1 document: kept here"),
        "{status}"
    );
    let shown = ani.on_terminal(&format!("evidence show {id}"));
    assert!(shown.contains("to be given back"), "{shown}");

    assert!(!summary.is_settled());
    let said = summary.reply(false).stdout;
    assert!(
        said.contains("received 0. 1 document to be given back."),
        "{said}"
    );
    let mut also_unsent = summary.clone();
    also_unsent.unsent = 2;
    let said = also_unsent.reply(false).stdout;
    assert!(
        said.contains("2 runs still to send. 1 document to be"),
        "{said}"
    );
    let said: Value = serde_json::from_str(&summary.reply(true).stdout).unwrap();
    assert_eq!(said["to_give_back"], 1);
}

#[test]
fn a_sync_that_put_something_off_for_want_of_space_says_so_and_blames_no_server() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    ani.new_evidence(PERDES);
    let status = ani.handle(&[]);
    let mut summary = sync::Summary::default();
    summary.stand(&status);
    let said = |put_off| {
        let status = Status {
            put_off,
            ..status.clone()
        };
        let reply = sync::ended_in_order(&summary, &status, false);
        assert_eq!((reply.exit, reply.stdout.as_str()), (Exit::Failed, ""));
        reply.stderr
    };
    let refusal = said(Some(PutOff::Refusal("Only an officer may edit.".into())));
    assert!(
        refusal.contains("Only an officer may edit. The disk is full"),
        "{refusal}"
    );
    let entering = said(Some(PutOff::Entering));
    assert!(
        entering.contains("could not be entered again; the disk is full"),
        "{entering}"
    );
    for said in [refusal, entering] {
        assert!(!said.contains("the server lacks"), "{said}");
    }
    assert!(said(None).contains("the server lacks"));
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
