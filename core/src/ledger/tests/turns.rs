//! Turns of the ledger that end once they cost or hold enough.

use automerge::ROOT;
use automerge::transaction::Transactable;

use super::*;
use crate::evidence::{Declared, Edit};
use crate::id::RunId;
use crate::validate::tests::noise;

/// Whoever fails a document often costs others a turn, and nothing of theirs.
#[test]
fn what_a_turn_leaves_is_given_back_in_its_order_and_nothing_of_it_is_decided() {
    let (mut ledger, _, _, mut phone, mut other) = with_officers();
    let (id, created) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&created]);
    other.learn(&created);
    let unready = other.edits(&id, &[Edit::Declare(Declared::Ready)]);
    let edits = ["Rapat dibuka.", "Rapat ditutup."].map(|text| phone.edit(&id, text));
    let (_, elsewhere) = phone.create(VILLAGE);
    // Does not read there, so that it is not believed; what it says is kept all the same.
    let far = Phone::new(9);
    enrol(&mut ledger, &far, Role::Officer, "13.71.01");
    let submission = |carrier: &Phone, run: &CheckedRun, returned| Submission {
        carrier: carrier.id(),
        run: run.clone(),
        returned,
    };
    let batch = vec![
        submission(&other, &unready, false),
        submission(&far, &edits[0], true),
        submission(&other, &edits[0], true),
        submission(&phone, &edits[1], false),
        submission(&phone, &elsewhere, false),
    ];
    let before = ledger.reader().watermark().position;
    let mut left = Vec::new();
    let mut settled = Vec::new();
    for taken in ledger.accept_turn(NOW, batch, 0).unwrap() {
        match taken {
            Taken::Settled(outcome) => settled.push(outcome.verdict),
            Taken::Left(submission) => left.push(*submission),
        }
    }
    let refused = Verdict::Rejected(RefusalCode::UnpublishedReady.into());
    assert_eq!(settled, [refused]);
    let named = |left: &[Submission]| -> Vec<_> {
        let named = left.iter();
        let named = named.map(|left| (left.carrier, left.run.id(), left.returned));
        named.collect()
    };
    let (phone, other, far) = (phone.id(), other.id(), far.id());
    let [first, second] = edits.map(|run| run.id());
    assert_eq!(
        named(&left),
        [
            (far, first, true),
            (other, first, true),
            (phone, second, false),
            (phone, elsewhere.id(), false)
        ]
    );

    let outcomes = ledger.accept(NOW, left).unwrap();
    let at = [1, 1, 2, 3].map(|behind| Verdict::Accepted(before + behind));
    let verdicts = outcomes.into_iter().map(|outcome| outcome.verdict);
    assert_eq!(verdicts.collect::<Vec<_>>(), at);
}

/// Runs that bear one number are judged one behind the other, which is no way around the bound.
#[test]
fn a_turn_that_cost_enough_leaves_all_that_comes_behind() {
    let (mut ledger, _, _, mut phone, other) = with_officers();
    let (id, created) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&created]);
    let mut batch = Vec::new();
    for text in ["satu", "dua", "tiga"] {
        let mut copy = phone.clone();
        let text = Edit::Narrative(text.to_owned());
        let run = copy.edits(&id, &[text, Edit::Declare(Declared::Ready)]);
        batch.push(Submission {
            carrier: other.id(),
            run,
            returned: false,
        });
    }
    let taken = ledger.accept_turn(NOW, batch, 0).unwrap();
    let left = taken.iter().filter(|taken| matches!(taken, Taken::Left(_)));
    assert_eq!(left.count(), 2);
}

/// Edits of so many documents of one officer, last created first.
fn edits_of_many(ledger: &mut MemoryLedger, phone: &mut Phone, documents: u8) -> Vec<Submission> {
    let mut edits = Vec::new();
    for _ in 0..documents {
        let (id, created) = phone.create(VILLAGE);
        accepted(&submit(ledger, phone, &[&created])[0]);
        edits.push(Submission {
            carrier: phone.id(),
            run: phone.edit(&id, "Rapat dibuka."),
            returned: false,
        });
    }
    edits.reverse();
    edits
}

/// The runs that each of the turns settled, until none is left.
fn turns(
    ledger: &mut MemoryLedger,
    mut waiting: Vec<Submission>,
    cost_max: u64,
) -> Vec<Vec<RunId>> {
    let mut turns = Vec::new();
    while !waiting.is_empty() {
        let mut settled = Vec::new();
        let mut left = Vec::new();
        for taken in ledger.accept_turn(NOW, waiting, cost_max).unwrap() {
            match taken {
                Taken::Settled(outcome) => {
                    accepted(&outcome.verdict);
                    settled.push(outcome.run);
                }
                Taken::Left(submission) => left.push(*submission),
            }
        }
        turns.push(settled);
        waiting = left;
    }
    turns
}

/// One edit each of many long documents is no way around the bound either.
#[test]
fn a_turn_that_cost_enough_leaves_other_documents_in_the_order_of_arrival() {
    let (mut ledger, storage, kv, mut phone, _) = with_officers();
    let edits = edits_of_many(&mut ledger, &mut phone, 8);
    let one_each: Vec<_> = edits.iter().map(|edit| vec![edit.run.id()]).collect();
    // Held in memory, and read from the store.
    assert_eq!(turns(&mut ledger, edits[..4].to_vec(), 1), one_each[..4]);
    ledger.cache = Cache::new(0);
    assert_eq!(turns(&mut ledger, edits[4..].to_vec(), 1), one_each[4..]);
    assert_eq!(all_rows(&kv), rebuilt_rows(&storage));
}

/// Such runs use none of anybody's day.
#[test]
fn runs_that_only_have_a_document_read_cost_its_reading() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let mut batch = Vec::new();
    for _ in 0..2 {
        let (id, created) = phone.create(VILLAGE);
        accepted(&submit(&mut ledger, &phone, &[&created])[0]);
        phone.edit(&id, "Rapat dibuka.");
        batch.push(Submission {
            carrier: phone.id(),
            run: phone.edit(&id, "Rapat ditutup."),
            returned: false,
        });
    }
    ledger.cache = Cache::new(0);
    let taken = ledger.accept_turn(NOW, batch, 1).unwrap();
    let [Taken::Settled(outcome), Taken::Left(_)] = &taken[..] else {
        panic!("{taken:?}")
    };
    assert!(
        matches!(outcome.verdict, Verdict::Missing(_)),
        "{outcome:?}"
    );
}

#[test]
fn a_turn_stores_a_bounded_number_of_bytes_and_at_least_one_document() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let mut edits = Vec::new();
    for seed in 0..50 {
        let (id, created) = phone.create(VILLAGE);
        let bytes = noise(seed, limits::FOLD_BYTES / 40);
        let long = phone.change(&id, |document| {
            document.put(ROOT, "noise", bytes).unwrap();
        });
        let runs = [&created, &long];
        submit(&mut ledger, &phone, &runs)
            .iter()
            .for_each(|verdict| {
                accepted(verdict);
            });
        edits.push(Submission {
            carrier: phone.id(),
            run: phone.edit(&id, "Rapat dibuka."),
            returned: false,
        });
    }
    let settled = turns(&mut ledger, edits.clone(), u64::MAX);
    let settled: Vec<usize> = settled.iter().map(Vec::len).collect();
    assert_eq!(settled, [40, 10]);
}
