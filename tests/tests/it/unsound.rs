//! A server of which a derived row or page is not what it was: the first session that meets it ends the
//! process, and the next start makes everything anew and serves all as if nothing had been.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bukti_core::authority::{Grant, Role};
use bukti_core::id::{DeviceId, Incarnation};
use bukti_core::kv::{Batch, Direction, Kv, SledKv};
use bukti_core::record::{Invitation, invitation_hash};
use bukti_server::accepting::{Asker, Ledger};
use bukti_server::clock::wall_now;
use bukti_sync_protocol::bye::ByeCode;
use bukti_sync_protocol::client::{Event, Input, Opening};
use bukti_sync_protocol::item::Item;
use bukti_sync_protocol::link::InvitationLink;
use bukti_tests::wire::{Answers, Line, Wire, push};
use ed25519_dalek::SigningKey;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::cuts::{Within, document};

const DOCUMENTS: u16 = 6;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn opening(server: &Within, key: &SigningKey) -> Opening {
    let device = DeviceId(key.verifying_key().to_bytes());
    let reader = server.app.accepting.reader();
    let token = server.app.token_key.issue(&device, wall_now() + 1_000_000);
    Opening {
        key: key.clone(),
        server: reader.server(),
        journal: reader.journal(),
        token: Some(token),
        // Nothing is sealed under it.
        incarnation: Incarnation([0xee; 16]),
        last: None,
        scopes: Vec::new(),
        cursor: None,
        held: Vec::new(),
        agent: "test".into(),
        certificate: Vec::new(),
        owed: Vec::new(),
        compare: false,
    }
}

/// A stopped server with long documents of one device, and another that received none of them.
async fn stopped() -> (TempDir, SigningKey) {
    let server = Within::open(4).await;
    let (writer, reader) = (key(1), key(2));
    server.enrol(&writer).await;
    server.enrol(&reader).await;
    let runs = (1..=DOCUMENTS).map(|number| document(&writer, number, 40_000));
    let answers = push(server.address, opening(&server, &writer), runs.collect()).await;
    assert_eq!(
        answers.accepted.len(),
        usize::from(DOCUMENTS),
        "{answers:?}"
    );
    (server.stop().await, reader)
}

/// Puts something else into each row of a table of a stopped server.
fn damage_rows(folder: &TempDir, table: u8) {
    let kv = SledKv::open(&folder.path().join("store"), 0).unwrap();
    let mut batch = Batch::new();
    for row in kv.scan(&[table], &[table + 1], Direction::Ascending) {
        batch.put(row.unwrap().0, "no row");
    }
    assert!(!batch.is_empty());
    kv.apply(&batch).unwrap();
}

/// Puts something else into every file of rows, whoever has them open.
fn overwrite(store: &Path) {
    for name in ["db", "blobs"] {
        let path = store.join(name);
        let files = match path.is_dir() {
            true => fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect(),
            false => vec![path],
        };
        for path in files {
            let mut file = fs::File::options().write(true).open(&path).unwrap();
            let bytes = usize::try_from(file.metadata().unwrap().len()).unwrap();
            file.write_all(&vec![0xa5; bytes]).unwrap();
        }
    }
}

async fn has_ended(server: &Within) {
    let ended = timeout(Duration::from_secs(20), server.failed.cancelled()).await;
    assert!(ended.is_ok(), "it serves on and lets nobody in");
    assert!(!server.app.accepting.healthy());
}

/// The device's session ends the server; behind the next start the device gets all and gives what it has.
async fn ends_and_starts_again(server: Within, reader: &SigningKey) {
    let own = document(reader, 9, 100);
    let answers = push(server.address, opening(&server, reader), vec![own.clone()]).await;
    assert_eq!(answers.count(), 0, "{answers:?}");
    assert_eq!(answers.bye.unwrap().code, ByeCode::Fault);
    has_ended(&server).await;

    let server = Within::open_in(server.stop().await, 4).await;
    let (own, opening) = (vec![own.into()], opening(&server, reader));
    let mut line = Line::open(server.address, opening, own).await;
    let (mut whole, mut answers) = (0, Answers::default());
    while whole < DOCUMENTS || answers.accepted.is_empty() {
        let event = line.next().await.expect("it serves");
        if let Event::Page { items, .. } = &event {
            let is_whole = |item: &&Item| matches!(item, Item::Whole { .. });
            whole += u16::try_from(items.iter().filter(is_whole).count()).unwrap();
        }
        if answers.take(event) {
            line.give(Input::Applied).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_meets_a_damaged_row_ends_the_server_and_the_next_start_feeds_the_device() {
    let (folder, reader) = stopped().await;
    damage_rows(&folder, b'd');
    ends_and_starts_again(Within::open_in(folder, 4).await, &reader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_meets_a_store_overwritten_under_it_ends_the_server_and_is_fed_by_the_next()
{
    let (folder, reader) = stopped().await;
    let store = folder.path().join("store");
    let server = Within::open_in(folder, 4).await;
    overwrite(&store);
    ends_and_starts_again(server, &reader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_that_cannot_be_read_ends_the_server_and_is_good_behind_the_next_start() {
    let server = Within::open(4).await;
    let secret = [9; 16];
    let invite = move |ledger: &mut Ledger, now| {
        let invitation = Invitation {
            hash: invitation_hash(&secret),
            person: "Budi".into(),
            grants: vec![Grant {
                role: Role::Officer,
                scope: "13.07".parse().unwrap(),
            }],
            expires_at: now + 1_000_000,
        };
        ledger.invite(now, invitation).unwrap();
    };
    let accepting = &server.app.accepting;
    accepting.ask(Asker::Session, invite).await.unwrap();
    let link = InvitationLink {
        url: format!("http://{}", server.address),
        secret,
        server: accepting.reader().server(),
    };
    let folder = server.stop().await;
    damage_rows(&folder, b'i');
    let server = Within::open_in(folder, 4).await;
    let refused = Wire::open(server.address).await.enrol(&key(3), &link).await;
    assert_eq!(refused.unwrap_err().code, ByeCode::Fault);
    has_ended(&server).await;

    let server = Within::open_in(server.stop().await, 4).await;
    let enrolled = Wire::open(server.address).await.enrol(&key(3), &link).await;
    enrolled.unwrap();
}
