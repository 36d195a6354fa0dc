//! Comparing 20,000 documents of which seven differ: at most 4 round trips and 200 bytes a document.

use bukti_tests::comparing::{BYTES_EACH_MAX, DIFFERING, ROUND_TRIPS_MAX, seven_that_differ};

use crate::verdict;

pub(crate) fn measure() -> bool {
    println!(
        "A server put back to before the last {DIFFERING} documents of a phone that holds all \
         (WebSocket payload)"
    );
    println!(
        "{:>10} {:>11} {:>10} {:>10} {:>11} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "documents",
        "round trips",
        "comparing",
        "of it each",
        "runs pushed",
        "all up",
        "all down",
        "seconds",
        "first",
        "bound"
    );
    let mut within = true;
    for documents in [2_000, 20_000] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let compared = seven_that_differ(folder.path(), documents);
        let kept = compared.is_within();
        within &= kept;
        let counted = compared.counted;
        println!(
            "{documents:>10} {:>11} {:>10} {:>10} {:>11} {:>9} {:>9} {:>9.2} {:>9.2} {:>7}",
            compared.round_trips,
            counted.comparing_bytes,
            counted.comparing_bytes / DIFFERING,
            counted.pushing_bytes,
            counted.bytes_up,
            counted.bytes_down,
            compared.took.as_secs_f64(),
            compared.first_took.as_secs_f64(),
            verdict(kept)
        );
    }
    println!("bound: {ROUND_TRIPS_MAX} round trips, {BYTES_EACH_MAX} bytes of comparing each");
    within
}
