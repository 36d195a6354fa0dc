//! Reconnecting when nothing changed: at most 2 frames and 600 bytes each way, whatever exists.

use bukti_core::authority::Role;
use bukti_tests::process::Server;
use bukti_tests::wire::Traffic;
use std::time::Instant;

use crate::verdict;
use crate::wire::{Address, Wire};
use bukti_tests::folder::{Making, VILLAGE};

const FRAMES_MAX: u64 = 2;
const BYTES_MAX: u64 = 600;
const REPEATS: u32 = 20;

pub(crate) async fn measure() -> bool {
    println!("Reconnect, nothing changed, live token (WebSocket payload after the upgrade)");
    println!(
        "{:>10} {:>10} {:>10} {:>10} {:>10} {:>12} {:>9}",
        "documents", "frames up", "bytes up", "frames dn", "bytes dn", "time ratio", "bound"
    );
    let mut within = true;
    let mut base = None;
    for documents in [0, 2_000, 20_000] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("server");
        let mut making = Making::found(&root);
        let reader = making.phone(Role::Officer, VILLAGE);
        making.documents(documents);
        let made = making.finish();
        let server = Server::start(&root, &[]);
        let address = Address::new(server.address(), made);
        let mut first = Wire::open(&address, &reader, None).await;
        first.up_to_date().await;
        let cursor = first.cursor.clone();
        drop(first);
        let started = Instant::now();
        let mut traffic = Traffic::default();
        for _ in 0..REPEATS {
            let mut again = Wire::open(&address, &reader, cursor.clone()).await;
            assert_eq!(again.up_to_date().await, 0, "nothing changed");
            traffic = again.traffic();
        }
        let each = started.elapsed().as_secs_f64() / f64::from(REPEATS);
        let ratio = each / *base.get_or_insert(each);
        let kept = traffic.frames_up <= FRAMES_MAX
            && traffic.frames_down <= FRAMES_MAX
            && traffic.bytes_up <= BYTES_MAX
            && traffic.bytes_down <= BYTES_MAX;
        within &= kept;
        println!(
            "{documents:>10} {:>10} {:>10} {:>10} {:>10} {ratio:>12.2} {:>9}",
            traffic.frames_up,
            traffic.bytes_up,
            traffic.frames_down,
            traffic.bytes_down,
            verdict(kept)
        );
    }
    println!("time ratio: against an empty server, connection and upgrade included");
    within
}
