//! One edit: to its acknowledgement, and to another connected device.

use std::io::Write;
use std::time::Instant;

use bukti_core::authority::Role;
use bukti_core::envelope::Run;
use bukti_core::evidence::Edit;
use bukti_core::validate::{check_run, judge};
use bukti_sync_protocol::client::Event;
use bukti_sync_protocol::item::Item;
use bukti_tests::process::Server;

use crate::percentile;
use crate::wire::{Address, Wire};
use bukti_tests::folder::{Making, VILLAGE};

const EDITS: usize = 300;

pub(crate) async fn measure() -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("server");
    let mut making = Making::found(&root);
    let mut writer = making.phone(Role::Officer, VILLAGE);
    let reader = making.phone(Role::Officer, VILLAGE);
    let made = making.finish();
    let server = Server::start(&root, &[]);
    let address = Address::new(server.address(), made);
    let (document, created) = writer.create(VILLAGE);
    let mut writing = Wire::open(&address, &writer, None).await;
    let mut reading = Wire::open(&address, &reader, None).await;
    writing.up_to_date().await;
    reading.up_to_date().await;
    writing.offer([&created]).await;
    writing.accepted(1).await;
    wait_for_record(&mut reading).await;

    let (mut acknowledged, mut delivered, mut synced) = (Vec::new(), Vec::new(), Vec::new());
    let (mut opened, mut judged) = (Vec::new(), Vec::new());
    let mut state = judge(None, vec![created]).document;
    for number in 0..EDITS {
        let run = writer.edits(&document, &[Edit::Title(format!("Notulensi {number}"))]);
        let started = Instant::now();
        writing.offer([&run]).await;
        let ack = async {
            writing.accepted(1).await;
            started.elapsed().as_secs_f64()
        };
        let feed = async {
            wait_for_record(&mut reading).await;
            started.elapsed().as_secs_f64()
        };
        let (ack, feed) = tokio::join!(ack, feed);
        acknowledged.push(ack);
        delivered.push(feed);
        let bytes = run.run().to_bytes();
        synced.push(sync_beside(&root, &bytes));
        let started = Instant::now();
        let run = check_run(Run::open(&bytes).expect("a good run")).expect("a good run");
        opened.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        state = judge(state.as_ref(), vec![run]).document;
        judged.push(started.elapsed().as_secs_f64());
    }
    for times in [
        &mut acknowledged,
        &mut delivered,
        &mut synced,
        &mut opened,
        &mut judged,
    ] {
        times.sort_by(f64::total_cmp);
    }
    println!(
        "One edit of one document, {EDITS} times, in ms; beside it a write and fdatasync of the same bytes"
    );
    println!(
        "{:<34} {:>8} {:>8} {:>14}",
        "", "p50", "p99", "p50 / fdatasync"
    );
    let base = percentile(&synced, 0.5);
    for (name, times) in [
        ("write and fdatasync, beside", &synced),
        ("signature and reading, alone", &opened),
        ("judging, alone", &judged),
        ("edit to acknowledgement", &acknowledged),
        ("edit to another connected device", &delivered),
    ] {
        println!(
            "{name:<34} {:>8.2} {:>8.2} {:>14.1}",
            percentile(times, 0.5) * 1e3,
            percentile(times, 0.99) * 1e3,
            percentile(times, 0.5) / base
        );
    }
    println!("what is left of an acknowledgement are sockets, threads and the store's rows");
    true
}

async fn wait_for_record(wire: &mut Wire) {
    loop {
        if let Event::Page { items, .. } = wire.next().await
            && items
                .iter()
                .any(|item| matches!(item, Item::Record { .. } | Item::Whole { .. }))
        {
            return;
        }
    }
}

fn sync_beside(root: &std::path::Path, bytes: &[u8]) -> f64 {
    let path = root.join("beside");
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("a file");
    let started = Instant::now();
    file.write_all(bytes).expect("the disk takes it");
    file.sync_data().expect("the disk keeps it");
    started.elapsed().as_secs_f64()
}
