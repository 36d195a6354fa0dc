//! What judging one edit costs on a document with a short and a long history.

use std::time::Instant;

use bukti_core::evidence::Edit;
use bukti_core::id::DocumentId;
use bukti_core::ledger::testing::Phone;
use bukti_core::limits::RUN_CHANGES_MAX;
use bukti_core::validate::{CheckedRun, Document, judge};
use bukti_tests::folder::VILLAGE;

use crate::percentile;

/// Changes of the documents, the last close to the most that any may have.
const CHANGES: [usize; 5] = [10, 100, 1_000, 10_000, 19_900];

/// Runs that are judged together while a document is made.
const RUNS_AT_ONCE: usize = 64;

/// Edits that are timed on each.
const EDITS: usize = 9;

pub(crate) fn measure() -> bool {
    println!("Judging one edit of a title, by the changes of its document; medians of {EDITS}");
    println!(
        "{:>10} {:>10} {:>14} {:>10} {:>14} {:>10}",
        "changes", "saved KiB", "one line, ms", "ratio", "two heads, ms", "ratio"
    );
    let mut shortest = None;
    for changes in CHANGES {
        let (mut writer, mut other) = (Phone::new(1), Phone::new(2));
        let (id, created) = writer.create(VILLAGE);
        other.learn(&created);
        let mut document = extended(None, vec![created]);
        let mut titles = (0_u64..).map(|number| Edit::Title(format!("Notulensi {number}")));
        let written: Vec<Edit> = titles.by_ref().take(changes).collect();
        for runs in written.chunks(RUN_CHANGES_MAX * RUNS_AT_ONCE) {
            let runs = runs.chunks(RUN_CHANGES_MAX);
            let runs = runs.map(|edits| writer.edits(&id, edits)).collect();
            document = extended(Some(&document), runs);
        }
        let saved = document.saved().len() / 1024;
        let line = edits(&mut document, &mut writer, &id, &mut titles);
        document = extended(Some(&document), vec![other.edit(&id, "Lain.")]);
        let branched = edits(&mut document, &mut writer, &id, &mut titles);
        let base = *shortest.get_or_insert(line);
        println!(
            "{changes:>10} {saved:>10} {:>14.2} {:>10.1} {:>14.2} {:>10.1}",
            line * 1e3,
            line / base,
            branched * 1e3,
            branched / base
        );
    }
    true
}

/// Seconds that one edit takes to judge.
fn edits(
    document: &mut Document,
    writer: &mut Phone,
    id: &DocumentId,
    titles: &mut impl Iterator<Item = Edit>,
) -> f64 {
    let mut times = Vec::with_capacity(EDITS);
    for title in titles.take(EDITS) {
        let run = writer.edits(id, &[title]);
        let started = Instant::now();
        *document = extended(Some(document), vec![run]);
        times.push(started.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    percentile(&times, 0.5)
}

fn extended(document: Option<&Document>, runs: Vec<CheckedRun>) -> Document {
    judge(document, runs).document.expect("valid runs")
}
