//! Marks on texts, of which a document has so many and no more.

use automerge::ReadDoc;
use automerge::marks::{ExpandMark, Mark};
use std::ops::Range;

use super::*;

/// Passages that a document may have.
const PASSAGES_MAX: usize = limits::DOCUMENT_MARKS_MAX as usize / 2;

/// A document with a long text, its creator and another device.
fn with_text() -> (Document, Device, Device) {
    let mut creator = Device::creator(DocumentKind::Evidence);
    creator.edit(|transaction| {
        let text = transaction.put_object(ROOT, "text", ObjType::Text).unwrap();
        let long = "a".repeat(2 * PASSAGES_MAX);
        transaction.splice_text(&text, 0, 0, &long).unwrap();
    });
    let root = creator.seal();
    let other = Device::beside(2, &creator);
    (judge(None, vec![root]).document.unwrap(), creator, other)
}

/// Formats letters of the text, each by itself, in one change.
fn format(device: &mut Device, letters: Range<usize>) -> CheckedRun {
    device.edit(|transaction| {
        let (_, text) = ReadDoc::get(transaction, ROOT, "text").unwrap().unwrap();
        for at in letters {
            let mark = Mark::new("bold".into(), true, at, at + 1);
            transaction.mark(&text, mark, ExpandMark::None).unwrap();
        }
    });
    device.seal()
}

#[test]
fn a_run_with_more_marks_than_a_document_may_have_is_refused() {
    let (document, mut creator, mut other) = with_text();
    let run = format(&mut other, 0..PASSAGES_MAX + 1);
    assert_eq!(run.marks(), limits::DOCUMENT_MARKS_MAX + 2);
    let honest = creator.seal_put("a", 1);
    assert_eq!(
        refusal(&document, honest, run.clone()),
        RefusalCode::TooManyOperations
    );
    // What was recorded before stays, and who adds no mark goes on with it.
    let recorded = judge_recorded(Some(&document), vec![run], false);
    assert_eq!(verdicts(&recorded), [&Verdict::Valid]);
    let next = other.seal_put("a", 2);
    let document = recorded.document.unwrap();
    assert_eq!(verdict(&document, next), Verdict::Valid);
}

#[test]
fn marks_of_many_runs_add_up_whether_or_not_the_document_was_loaded_between() {
    const EACH: usize = PASSAGES_MAX / 4;
    let (document, creator, mut other) = with_text();
    let mut runs: Vec<CheckedRun> = (0..5)
        .map(|part| format(&mut other, part * EACH..(part + 1) * EACH))
        .collect();
    let beyond = runs.pop().unwrap();
    let mut third = Device::beside(3, &creator);
    let plain = third.seal_put("a", 1);
    let too_many = |verdict: Verdict| matches!(verdict, Verdict::Refused(refusal) if refusal.code == RefusalCode::TooManyOperations);

    let all = runs.iter().chain([&beyond, &plain]).cloned().collect();
    let mut judged = judge(Some(&document), all);
    assert_eq!(judged.order, [0, 1, 2, 3, 5]);
    assert!(too_many(judged.verdicts.remove(4).1));

    let full = judge(Some(&document), runs).document.unwrap();
    let loaded = Document::load(full.saved(), full.kind(), full.published()).unwrap();
    assert_eq!(loaded.costly().marks, limits::DOCUMENT_MARKS_MAX);
    for full in [full, loaded] {
        assert!(too_many(verdict(&full, beyond.clone())));
        assert_eq!(verdict(&full, plain.clone()), Verdict::Valid);
    }
}
