//! Runs that were accepted together, judged again from their records in other parts.

use automerge::ReadDoc;

use super::bounds::dig;
use super::crafted::uneditable;
use super::*;

/// Judges two runs as acceptance does and from their records in two parts, which gives the same
/// document; the first alone is refused.
fn expect_only_together(document: &Document, runs: [CheckedRun; 2]) -> Document {
    let [first, second] = runs;
    let alone = judge(Some(document), vec![first.clone()]);
    assert!(matches!(alone.verdicts[0].1, Verdict::Refused(_)));
    let together = judge(Some(document), vec![first.clone(), second.clone()]);
    assert_eq!(verdicts(&together), [&Verdict::Valid, &Verdict::Valid]);

    let half = judge_recorded(Some(document), vec![first], false);
    assert_eq!(verdicts(&half), [&Verdict::Valid]);
    let half = half.document.unwrap();
    let loaded = Document::load(half.saved(), half.kind(), half.published()).unwrap();
    let whole = judge_recorded(Some(&loaded), vec![second], false);
    assert_eq!(verdicts(&whole), [&Verdict::Valid]);
    let whole = whole.document.unwrap();
    assert_eq!(whole.saved(), together.document.unwrap().saved());
    assert_eq!(whole.try_out(), Ok(()));
    half
}

#[test]
fn bounds_are_not_asked_of_recorded_runs_wherever_they_are_cut() {
    let (document, mut creator, _) = begun();
    creator.edit(|transaction| {
        let object = transaction.put_object(ROOT, "deep", ObjType::Map).unwrap();
        dig(transaction, object);
    });
    let deep = creator.seal();
    creator.edit(|transaction| transaction.delete(ROOT, "deep").unwrap());
    let half = expect_only_together(&document, [deep, creator.seal()]);
    assert_eq!(half.try_out(), Ok(()));

    let (document, mut creator, _) = begun();
    creator.edit(|transaction| {
        let list = transaction.put_object(ROOT, "list", ObjType::List).unwrap();
        let values =
            (0..limits::DOCUMENT_PLACES_MAX).map(|_| automerge::hydrate::Value::from(1_i64));
        transaction.splice(&list, 0, 0, values).unwrap();
    });
    let many = creator.seal();
    creator.edit(|transaction| {
        let (_, list) = transaction.get(ROOT, "list").unwrap().unwrap();
        (0..500).for_each(|_| transaction.delete(&list, 0).unwrap());
    });
    let half = expect_only_together(&document, [many, creator.seal()]);
    assert_eq!(half.try_out(), Ok(()));
}

#[test]
fn what_nobody_can_edit_is_built_of_records_and_told_when_it_is_tried() {
    let (document, mut creator, bad) = uneditable();
    creator.take(&bad);
    creator.edit(|transaction| transaction.delete(ROOT, "text").unwrap());
    let half = expect_only_together(&document, [bad, creator.seal()]);
    let refusal = half.try_out().unwrap_err();
    assert!(refusal.sentence.contains("edited"), "{refusal}");
}

#[test]
fn recorded_runs_that_read_ready_are_valid_if_any_publishes() {
    let (document, mut creator, _) = begun();
    let ready = creator.seal_put("declared", "ready");
    creator.publish = true;
    let publishing = creator.seal_put("a", 1);
    let both = vec![ready.clone(), publishing];
    let judged = judge(Some(&document), both.clone());
    let refused = Verdict::Refused(RefusalCode::UnpublishedReady.into());
    assert_eq!(judged.verdicts[0].1, refused);
    let judged = judge_recorded(Some(&document), both, false);
    assert_eq!(verdicts(&judged), [&Verdict::Valid, &Verdict::Valid]);

    let judged = judge_recorded(Some(&document), vec![ready.clone()], false);
    assert_eq!(verdicts(&judged), [&refused]);
    let judged = judge_recorded(Some(&document), vec![ready], true);
    assert_eq!(verdicts(&judged), [&Verdict::Valid]);
    assert!(!judged.document.unwrap().published());
}
