//! The whole country's regions, where the official file is at hand.

use std::time::{Duration, Instant};

use crate::field::{Field, VILLAGE};

const REGIONS: u64 = 91_599;
/// Sheets above a village: the country, its province, its regency and its district, with room for
/// the programme.
const FIRST_SYNC_BYTES_MAX: u64 = 64 * 1024;
const IMPORT_MAX: Duration = Duration::from_secs(60);

#[test]
fn a_village_carries_its_own_sheets_of_a_whole_country() {
    let Ok(path) = std::env::var("BUKTI_REGIONS") else {
        println!("skipped: BUKTI_REGIONS is not set");
        return;
    };
    let field = Field::open(&[]);
    let started = Instant::now();
    let import = ["import", "regions", &path, "--version", "all", "--json"];
    let imported = field.admin(&import).ok().json();
    let took = started.elapsed();
    assert_eq!(imported["regions"], REGIONS);
    assert!(took < IMPORT_MAX, "{took:?}");
    // The same list once more changes nothing.
    let again = field.admin(&import).ok().json();
    assert_eq!(again["changed"], 0, "{again}");

    let sari = field.phone("sari", "officer", VILLAGE);
    let synced = sari.run(&["sync", "--json"]).ok().json();
    let bytes = synced["bytes_down"].as_u64().unwrap();
    assert!((1..FIRST_SYNC_BYTES_MAX).contains(&bytes), "{bytes} bytes");
    field.verify();
}
