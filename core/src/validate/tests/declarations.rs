//! What a draft says of being ready, which is read once for each of its runs.

use super::*;

const MAX: usize = limits::DRAFT_DECLARATIONS_MAX as usize;

/// Declares so often in one change, and never ready.
fn declare(device: &mut Device, times: usize) -> CheckedRun {
    device.edit(|transaction| {
        for turn in 0..times {
            let word = ["withdrawn", "draft"][turn % 2];
            transaction.put(ROOT, "declared", word).unwrap();
        }
    });
    device.seal()
}

#[test]
fn a_draft_that_declares_more_often_than_anybody_does_is_refused() {
    let (document, mut creator, other) = begun();
    let honest = creator.seal_put("a", 1);
    let mut excessive = other.clone();
    let run = declare(&mut excessive, MAX + 1);
    assert_eq!(
        refusal(&document, honest, run.clone()),
        RefusalCode::TooManyOperations
    );
    let most = declare(&mut other.clone(), MAX);
    assert_eq!(verdict(&document, most), Verdict::Valid);

    // What was recorded before stays, and who declares nothing goes on with it.
    let recorded = judge_recorded(Some(&document), vec![run], false);
    assert_eq!(verdicts(&recorded), [&Verdict::Valid]);
    let recorded = recorded.document.unwrap();
    let plain = excessive.clone().seal_put("a", 2);
    assert_eq!(verdict(&recorded, plain), Verdict::Valid);
    let one_more = excessive.seal_put("declared", "draft");
    assert!(matches!(verdict(&recorded, one_more), Verdict::Refused(_)));
}

#[test]
fn declarations_of_many_runs_add_up_whether_or_not_the_draft_was_loaded_between() {
    let (document, _, mut other) = begun();
    let runs = (0..2).map(|_| declare(&mut other, MAX / 2)).collect();
    let full = judge(Some(&document), runs).document.unwrap();
    let beyond = declare(&mut other, 1);
    let loaded = Document::load(full.saved(), full.kind(), full.published()).unwrap();
    assert_eq!(loaded.costly().declarations, limits::DRAFT_DECLARATIONS_MAX);
    for full in [full, loaded] {
        let Verdict::Refused(refusal) = verdict(&full, beyond.clone()) else {
            panic!("one too many");
        };
        assert_eq!(refusal.code, RefusalCode::TooManyOperations);
    }
}

#[test]
fn what_was_published_declares_as_often_as_it_likes() {
    let (document, mut creator, _) = begun();
    creator.publish = true;
    let ready = creator.seal_put("declared", "ready");
    creator.publish = false;
    let published = judge(Some(&document), vec![ready]).document.unwrap();
    let often = declare(&mut creator, MAX + 1);
    assert_eq!(verdict(&published, often), Verdict::Valid);
}

#[test]
fn other_kinds_declare_as_often_as_they_like() {
    let mut creator = Device::creator(DocumentKind::Statement);
    let often = declare(&mut creator, MAX + 1);
    assert_eq!(verdicts(&judge(None, vec![often])), [&Verdict::Valid]);
}
