//! What a run, a trial and a document hold at most, and what is looked at to find out.

use automerge::Automerge;

use super::super::document::Index;
use super::super::plan::Plan;
use super::*;

#[test]
fn a_run_holds_the_changes_that_its_envelope_counts() {
    let (document, _, other) = begun();
    let first = other.forge(&document);
    let parsed = Parsed::open(&first.bytes()).unwrap();
    let second = Forge {
        seq: 2,
        deps: vec![parsed.hash.0],
        start_op: parsed.max_op() + 1,
        ..first.clone()
    };
    let last = Parsed::open(&second.bytes()).unwrap();
    let proper = other
        .clone()
        .seal_bytes(vec![first.bytes(), second.bytes()]);
    assert!(check_run(proper).is_ok());
    let none = other.clone().seal_as(Vec::new(), 1, last.hash);
    assert_eq!(check_run(none).unwrap_err().code, RefusalCode::Malformed);
    let mut uncounted = other.clone().seal_as(vec![second.bytes()], 1, last.hash);
    uncounted.changes.insert(0, first.bytes());
    assert_eq!(
        check_run(uncounted).unwrap_err().code,
        RefusalCode::Malformed
    );
}

#[test]
fn a_run_has_a_bounded_number_of_bytes() {
    let sealed = |changes: u64| {
        let mut creator = Device::creator(DocumentKind::Evidence);
        for number in 0..changes {
            creator.put(&format!("photo{number}"), noise(number, 200_000));
        }
        let actor = creator.actor().to_automerge();
        let made = creator.automerge.get_changes(&[]).into_iter();
        let made = made.filter(|change| *change.actor_id() == actor);
        let changes = made.map(|mut change| change.bytes().into_owned()).collect();
        check_run(creator.seal_bytes(changes)).map(|run| run.received_bytes())
    };
    assert!(sealed(1).unwrap() <= limits::RUN_BYTES_MAX);
    const { assert!(4 * 200_000 > limits::RUN_BYTES_MAX) };
    assert_eq!(sealed(4).unwrap_err().code, RefusalCode::TooLarge);
}

/// Runs are tried together as far as they fit, and each at least alone.
#[test]
fn a_trial_takes_a_bounded_number_of_operations_and_inflated_bytes() {
    type Edit = fn(&mut Parsed, u64);
    let cut = |sizes: &[u64], edit: Edit| -> Vec<usize> {
        let (_, creator, _) = begun();
        let runs: Vec<CheckedRun> = (2..)
            .zip(sizes)
            .map(|(seed, size)| {
                let mut run = Device::beside(seed, &creator).seal_put("a", 1);
                edit(&mut run.changes[0], *size);
                run
            })
            .collect();
        let placed: Vec<usize> = (0..runs.len()).collect();
        let cut = batches(&runs, &placed);
        cut.iter().map(|batch| batch.len()).collect()
    };
    let operations: Edit = |change, size| {
        change.operations = size * limits::BATCH_OPERATIONS_MAX / 4;
        change.inflated_bytes = 0;
    };
    let inflated: Edit = |change, size| {
        change.operations = 1;
        change.inflated_bytes = size as usize * limits::BATCH_INFLATED_BYTES_MAX / 4;
    };
    for edit in [operations, inflated] {
        assert_eq!(cut(&[1, 1, 1], edit), [3]);
        assert_eq!(cut(&[2, 1, 2, 2], edit), [2, 2]);
        assert_eq!(cut(&[5, 5, 1], edit), [1, 1, 1]);
        assert_eq!(cut(&[3, 2, 2, 3], edit), [1, 2, 1]);
    }
}

/// One that waited is placed in the same look, so that a chain in the wrong order takes one look
/// and not one for each of its runs.
#[test]
fn a_run_that_waits_is_looked_at_when_what_it_builds_on_is_placed() {
    let (document, mut creator, _) = begun();
    let mut chain: Vec<CheckedRun> = (0..4).map(|n| creator.seal_put("a", n)).collect();
    chain.reverse();
    let plan = Plan::draw(Some(&document), &chain, &[0, 1, 2, 3]);
    assert_eq!(plan.placed, [3, 2, 1, 0]);
    assert!(plan.settled.is_empty());
}

#[test]
fn a_document_has_a_bounded_number_of_changes_and_of_operations() {
    let (document, mut creator, _) = begun();
    let run = creator.seal_put("a", 1);
    let with = |changes: u64, operations: u64| {
        let mut index = Index::default();
        for change in document.automerge().get_changes(&[]) {
            index.insert(&Parsed::open(change.raw_bytes()).unwrap());
        }
        let mut filler = run.changes()[0].clone();
        filler.operations = 0;
        for number in index.changes()..changes {
            filler.hash.0[..8].copy_from_slice(&number.to_be_bytes());
            filler.actor.0[..8].copy_from_slice(&number.to_be_bytes());
            index.insert(&filler);
        }
        filler.operations = operations - index.operations();
        // The last filler again, so that no change is added.
        index.insert(&filler);
        let full = Document::proven(
            document.automerge().clone(),
            document.saved().to_vec(),
            (DocumentKind::Evidence, false),
            index,
            0,
            0,
        );
        verdict(&full, run.clone())
    };
    let full = Verdict::Refused(RefusalCode::DocumentFull.into());
    let (changes, operations) = (
        limits::DOCUMENT_CHANGES_MAX,
        limits::DOCUMENT_OPERATIONS_MAX,
    );
    assert_eq!(with(changes - 1, 10), Verdict::Valid);
    assert_eq!(with(changes, 10), full);
    assert_eq!(with(10, operations - 1), Verdict::Valid);
    assert_eq!(with(10, operations), full);
}

#[test]
fn a_loaded_document_counts_the_changes_and_operations_it_has() {
    let (document, mut creator, _) = begun();
    creator.edit(|transaction| {
        for number in 0..5 {
            transaction
                .put(ROOT, format!("key{number}"), number)
                .unwrap();
        }
    });
    let document = judge(Some(&document), vec![creator.seal()])
        .document
        .unwrap();
    let loaded = Document::load(document.saved(), DocumentKind::Evidence, false).unwrap();
    for document in [&document, &loaded] {
        assert_eq!(document.index().changes(), 2);
        assert_eq!(document.index().operations(), 6);
    }
}

/// Nests maps in `object`, deeper than anybody may.
pub(super) fn dig(
    transaction: &mut automerge::transaction::Transaction<'_>,
    object: automerge::ObjId,
) {
    let mut object = object;
    for _ in 0..limits::DOCUMENT_DEPTH_MAX {
        object = transaction.put_object(&object, "in", ObjType::Map).unwrap();
    }
}

fn refused_for_depth(document: &Document, run: CheckedRun) {
    let Verdict::Refused(refusal) = verdict(document, run) else {
        panic!("it was not refused");
    };
    assert_eq!(refusal.code, RefusalCode::TooLarge);
    assert!(refusal.sentence.contains("nested"), "{refusal}");
}

/// A value that another one hides comes to the front when that one is deleted.
#[test]
fn objects_below_a_hidden_concurrent_value_count_as_well() {
    let (document, mut creator, mut other) = begun();
    creator.edit(|transaction| {
        transaction.put(ROOT, "filler", 1).unwrap();
        transaction.put(ROOT, "place", "in front").unwrap();
    });
    other.edit(|transaction| {
        let object = transaction.put_object(ROOT, "place", ObjType::Map).unwrap();
        dig(transaction, object);
    });
    let document = judge(Some(&document), vec![creator.seal()])
        .document
        .unwrap();
    let run = other.seal();
    let mut both: Automerge = document.automerge().clone();
    let changes = run.run().changes.iter();
    both.apply_changes(changes.map(|bytes| automerge::Change::try_from(&bytes[..]).unwrap()))
        .unwrap();
    let (in_front, _) = automerge::ReadDoc::get(&both, ROOT, "place")
        .unwrap()
        .unwrap();
    assert!(in_front.is_scalar(), "the nested one is hidden");
    refused_for_depth(&document, run);
}

#[test]
fn objects_inside_a_text_count_as_well() {
    let (document, mut creator, _) = begun();
    creator.edit(|transaction| {
        let text = transaction.put_object(ROOT, "text", ObjType::Text).unwrap();
        transaction.splice_text(&text, 0, 0, "ab").unwrap();
        let block = transaction.split_block(&text, 1).unwrap();
        dig(transaction, block);
    });
    refused_for_depth(&document, creator.seal());
}

/// At the head of a run that merges another one's value, both are seen.
#[test]
fn ready_is_ready_beside_a_concurrent_value_that_its_run_merges() {
    let (document, creator, mut other) = begun();
    let mut drafting = creator.clone();
    let draft = drafting.seal_put("declared", "draft");
    let document = judge(Some(&document), vec![draft.clone()])
        .document
        .unwrap();
    let mut merging = Device::beside(5, &creator);
    merging.put("declared", "ready");
    merging.take(&draft);
    merging.put("title", "Jalan");
    other.take(&draft);
    let honest = other.seal_put("a", 1);
    assert_eq!(
        refusal(&document, honest, merging.seal()),
        RefusalCode::UnpublishedReady
    );
}

/// A list of `values` in one run, by the creator of a document that has nothing else.
fn with_list(values: usize) -> Judged {
    let (document, mut creator, _) = begun();
    let mut transaction = creator.automerge.transaction();
    let list = transaction.put_object(ROOT, "list", ObjType::List).unwrap();
    let values = (0..values).map(|_| automerge::hydrate::Value::from(1_i64));
    transaction.splice(&list, 0, 0, values).unwrap();
    transaction.commit();
    let run = creator.seal_put("title", "Jembatan");
    judge(Some(&document), vec![run])
}

/// The list and the title are values, too.
#[test]
fn a_document_shows_a_bounded_number_of_values() {
    let max = limits::DOCUMENT_PLACES_MAX;
    assert_eq!(verdicts(&with_list(max - 2)), [&Verdict::Valid]);
    let refused = Verdict::Refused(Refusal::new(
        RefusalCode::TooLarge,
        format!("The document shows more than {max} values."),
    ));
    assert_eq!(verdicts(&with_list(max - 1)), [&refused]);
}

#[test]
fn memory_is_counted_by_what_a_document_holds_and_not_by_how_well_it_deflates() {
    let extended = |edit: &dyn Fn(&mut Device)| {
        let (document, mut creator, _) = begun();
        edit(&mut creator);
        let run = creator.seal_put("title", "Jembatan");
        judge(Some(&document), vec![run]).document.unwrap()
    };
    let string = extended(&|creator| {
        creator.put("long", "a".repeat(60_000));
    });
    assert!(string.saved().len() < 2_000);
    assert!(string.memory_bytes().unwrap() > 60_000);

    let maps = extended(&|creator| {
        let mut transaction = creator.automerge.transaction();
        let list = transaction.put_object(ROOT, "list", ObjType::List).unwrap();
        for _ in 0..1_000 {
            transaction.insert_object(&list, 0, ObjType::Map).unwrap();
        }
        transaction.commit();
    });
    assert!(maps.saved().len() < 2_000);
    assert!(maps.memory_bytes().unwrap() > 1_000 * 36);
}
