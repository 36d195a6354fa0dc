//! Eight devices push 2,000 new documents of 20 changes after their creation, a run each.

use std::time::Instant;

use bukti_core::authority::Role;
use bukti_core::envelope::Run;
use bukti_core::validate::{CheckedRun, check_run, judge};
use bukti_tests::process::Server;

use crate::wire::{Address, Wire};
use bukti_tests::folder::{Making, VILLAGE, edited_document};

const DEVICES: usize = 8;
const DOCUMENTS: usize = 2_000;
const EDITS: usize = 20;

pub(crate) async fn measure() -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("server");
    let mut making = Making::found(&root);
    let mut work = Vec::new();
    for _ in 0..DEVICES {
        let mut phone = making.phone(Role::Officer, VILLAGE);
        let documents: Vec<Vec<CheckedRun>> = (0..DOCUMENTS / DEVICES)
            .map(|_| edited_document(&mut phone, EDITS).1)
            .collect();
        work.push((phone, documents));
    }
    let made = making.finish();
    let server = Server::start(&root, &["--metrics-listen", "127.0.0.1:0"]);
    let address = Address::new(server.address(), made);

    let parts = parts_alone(&work[0].1);
    let runs = DOCUMENTS * (EDITS + 1);
    let bytes: usize = work
        .iter()
        .flat_map(|(_, documents)| documents.iter().flatten())
        .map(|run| run.run().to_bytes().len())
        .sum();
    let started = Instant::now();
    let mut pushing = tokio::task::JoinSet::new();
    for (phone, documents) in work {
        let address = address.clone();
        pushing.spawn(async move {
            let mut wire = Wire::open(&address, &phone, None).await;
            let count = documents.iter().map(Vec::len).sum();
            wire.offer(documents.iter().flatten()).await;
            wire.accepted(count).await;
        });
    }
    while let Some(done) = pushing.join_next().await {
        done.expect("a device got everything accepted");
    }
    let took = started.elapsed().as_secs_f64();
    println!(
        "{DEVICES} devices push {DOCUMENTS} new documents of {EDITS} edits, each a signed run: {runs} runs, {:.1} MB",
        bytes as f64 / 1e6
    );
    println!(
        "  accepted and on disk in {took:.1} s: {:.0} documents/s, {:.0} runs/s",
        DOCUMENTS as f64 / took,
        runs as f64 / took
    );
    println!(
        "  the same work alone, one thread, a document's runs together, scaled from {} documents:",
        DOCUMENTS / DEVICES
    );
    let mut sum = 0.0;
    for (name, seconds) in parts {
        let all = seconds * DEVICES as f64;
        sum += all;
        println!("    {name:<44} {all:>6.2} s");
    }
    println!(
        "  accepting takes {:.2} times the sum of its parts alone",
        took / sum
    );
    true
}

/// What signature, reading and judging cost without anything around them.
fn parts_alone(documents: &[Vec<CheckedRun>]) -> [(&'static str, f64); 3] {
    let bytes: Vec<Vec<Vec<u8>>> = documents
        .iter()
        .map(|runs| runs.iter().map(|run| run.run().to_bytes()).collect())
        .collect();
    let started = Instant::now();
    let opened: Vec<Vec<Run>> = bytes
        .iter()
        .map(|runs| {
            runs.iter()
                .map(|run| Run::open(run).expect("a good run"))
                .collect()
        })
        .collect();
    let signatures = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let checked: Vec<Vec<CheckedRun>> = opened
        .into_iter()
        .map(|runs| {
            runs.into_iter()
                .map(|run| check_run(run).expect("a good run"))
                .collect()
        })
        .collect();
    let reading = started.elapsed().as_secs_f64();
    let started = Instant::now();
    for runs in checked {
        assert!(judge(None, runs).document.is_some(), "a good document");
    }
    let judging = started.elapsed().as_secs_f64();
    [
        ("envelopes and signatures", signatures),
        ("reading changes under caps", reading),
        ("judging: apply, save, load, compare", judging),
    ]
}
