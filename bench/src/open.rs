//! Starting on 100,000 documents, and memory with 1,000 idle connections.

use std::time::Instant;

use bukti_core::authority::Role;
use bukti_core::journal::disk::DiskStorage;
use bukti_core::journal::{self, Journal};
use bukti_core::kv::SledKv;
use bukti_server::folder::Folder;
use bukti_tests::process::Server;

use crate::load::resident_mib;
use crate::verdict;
use crate::wire::{Address, Wire};
use bukti_tests::folder::{Making, VILLAGE};

const DOCUMENTS: usize = 100_000;
const CONNECTIONS: usize = 1_000;
const CONNECTIONS_PER_DEVICE: usize = 4;
const START_S_MAX: f64 = 1.0;
const RESIDENT_MIB_MAX: f64 = 300.0;

pub(crate) async fn measure() -> bool {
    let empty_folder = tempfile::tempdir().expect("a temporary folder");
    let empty = empty_folder.path().join("server");
    drop(Making::found(&empty));
    let empty_start = start(&empty).1;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("server");
    let mut making = Making::found(&root);
    let started = Instant::now();
    making.documents(DOCUMENTS);
    let making_took = started.elapsed().as_secs_f64();
    let readers: Vec<_> = (0..CONNECTIONS / CONNECTIONS_PER_DEVICE)
        .map(|_| making.phone(Role::Officer, "13.07.05.2005"))
        .collect();
    let made = making.finish();
    println!(
        "Starting on {DOCUMENTS} documents of {VILLAGE} (made in {making_took:.0} s) with the store intact"
    );
    let (server, full_start) = start(&root);
    let in_time = full_start <= START_S_MAX;
    println!(
        "  process start to listening: {full_start:.2} s, {} (empty folder: {empty_start:.2} s)",
        verdict(in_time)
    );
    let before = resident_mib(server.pid());
    let address = Address::new(server.address(), made);
    let mut idle = Vec::new();
    for reader in &readers {
        for _ in 0..CONNECTIONS_PER_DEVICE {
            let mut wire = Wire::open(&address, reader, None).await;
            wire.up_to_date().await;
            idle.push(wire);
        }
    }
    let after = resident_mib(server.pid());
    let in_memory = after <= RESIDENT_MIB_MAX;
    println!(
        "  resident: {before:.0} MiB after the start, {after:.0} MiB with {} idle connections, {}",
        idle.len(),
        verdict(in_memory)
    );
    println!(
        "  a connection: {:.1} KiB",
        (after - before) * 1024.0 / idle.len() as f64
    );
    drop(idle);
    drop(server);
    parts_alone(&root);
    in_time && in_memory
}

/// What the two stores take of a start, with everything in the page cache.
fn parts_alone(root: &std::path::Path) {
    let folder = Folder::new(root);
    let started = Instant::now();
    let disk = DiskStorage::open(folder.journal()).expect("the journal's folder");
    let journal = Journal::open(disk, journal::Options::server(0)).expect("the journal");
    println!(
        "  of a start, alone: the journal {:.2} s",
        started.elapsed().as_secs_f64()
    );
    drop(journal);
    let started = Instant::now();
    let store = SledKv::open(&root.join("store"), 64 * 1024 * 1024).expect("the store");
    println!(
        "  of a start, alone: the store {:.2} s",
        started.elapsed().as_secs_f64()
    );
    drop(store);
}

fn start(root: &std::path::Path) -> (Server, f64) {
    let started = Instant::now();
    let server = Server::start(root, &[]);
    let took = started.elapsed().as_secs_f64();
    (server, took)
}
