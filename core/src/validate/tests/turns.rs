//! Judgements that end once their trials cost enough.

use super::*;

/// A document whose history has two heads.
fn forked() -> Document {
    let (document, mut creator, mut other) = begun();
    for number in 0..50 {
        creator.put("a", number);
    }
    let runs = vec![creator.seal(), other.seal_put("b", 1)];
    let document = judge(Some(&document), runs).document.unwrap();
    assert_eq!(document.heads().len(), 2);
    document
}

/// A device in another life that holds the document.
fn device(document: &Document, life: u8) -> Device {
    let (_, creator, _) = begun();
    let mut device = Device::beside(5, &creator);
    device.incarnation = Incarnation([life; 16]);
    device.automerge = document.automerge().clone();
    device.automerge.set_actor(device.actor().to_automerge());
    device
}

fn unready(document: &Document, life: u8) -> CheckedRun {
    device(document, life).seal_put("declared", "ready")
}

#[test]
fn runs_that_fail_are_settled_in_turns_that_cost_little_each() {
    let document = forked();
    let bad: Vec<CheckedRun> = (0..40).map(|life| unready(&document, life)).collect();
    let honest = device(&document, 100).seal_put("c", 1);
    let mut waiting = bad;
    waiting.insert(20, honest.clone());
    let refused = Verdict::Refused(RefusalCode::UnpublishedReady.into());

    let one = trial_cost(Some(&document), &[&honest]);
    let (cost_max, mut turns) = (4 * one, 0);
    let mut held = document;
    while !waiting.is_empty() {
        let before: Vec<_> = waiting.iter().map(CheckedRun::id).collect();
        let turn = judge_turn(Some(&held), waiting, cost_max);
        // A trial of all of them, and one that fails alone, may come on top.
        assert!(turn.cost < cost_max + 3 * one, "{} of {one}", turn.cost);
        turns += 1;
        held = turn.document.unwrap_or(held);
        let ids: Vec<_> = turn.verdicts.iter().map(|(run, _)| run.id()).collect();
        assert_eq!(ids, before);
        waiting = Vec::new();
        for (run, verdict) in turn.verdicts {
            match verdict {
                None => waiting.push(run),
                Some(Verdict::Valid) => assert_eq!(run.id(), honest.id()),
                Some(verdict) => assert_eq!(verdict, refused),
            }
        }
        assert!(waiting.len() < before.len());
    }
    assert!(turns > 10, "{turns}");
    assert!(held.has_change(&honest.changes()[0].hash));
}

#[test]
fn what_builds_on_a_run_that_is_left_is_left_and_not_missing_it() {
    let document = forked();
    let mut honest = device(&document, 100);
    let (first, second) = (honest.seal_put("c", 1), honest.seal_put("c", 2));
    let bad = unready(&document, 1);
    let alone = trial_cost(Some(&document), &[&bad]);
    let turn = judge_turn(Some(&document), vec![bad, second, first], 0);
    assert_eq!(turn.cost, alone);
    let refused = Verdict::Refused(RefusalCode::UnpublishedReady.into());
    let verdicts: Vec<_> = turn.verdicts.iter().map(|(_, v)| v.clone()).collect();
    assert_eq!(verdicts, [Some(refused), None, None]);
    let left = turn.verdicts.into_iter().skip(1).map(|(run, _)| run);
    let left = judge_turn(Some(&document), left.collect(), 1_000_000);
    assert_eq!(left.order, [1, 0]);
}

#[test]
fn marks_make_a_failed_trial_cost_more() {
    use automerge::ReadDoc;
    use automerge::marks::{ExpandMark, Mark};
    let cost = |marks: usize| {
        let (document, mut creator, _) = begun();
        creator.edit(|transaction| {
            let text = transaction.put_object(ROOT, "text", ObjType::Text).unwrap();
            transaction.splice_text(&text, 0, 0, "abc").unwrap();
        });
        let text = creator.seal();
        creator.edit(|transaction| {
            let (_, text) = ReadDoc::get(transaction, ROOT, "text").unwrap().unwrap();
            for _ in 0..marks {
                let mark = Mark::new("bold".into(), true, 0, 3);
                transaction.mark(&text, mark, ExpandMark::None).unwrap();
            }
            transaction.put(ROOT, "filler", 1).unwrap();
        });
        let runs = vec![text, creator.seal()];
        let document = judge(Some(&document), runs).document.unwrap();
        let loaded = Document::load(document.saved(), document.kind(), false).unwrap();
        let bad = unready(&loaded, 1);
        judge_turn(Some(&loaded), vec![bad], 0).cost
    };
    assert_eq!(cost(10), cost(0) + 2 * 10 * limits::TRIAL_MARK_COST + 1);
}

#[test]
fn a_trial_costs_what_its_document_and_its_runs_hold() {
    let cost = |changes: u64, operations: i64| {
        let (document, mut creator, _) = begun();
        let run = |device: &mut Device| {
            for number in 0..changes {
                device.put("a", number);
            }
            device.edit(|transaction| {
                for number in 0..operations {
                    transaction.put(ROOT, "b", number).unwrap();
                }
            });
            device.seal()
        };
        let held = vec![run(&mut creator)];
        let document = judge(Some(&document), held).document.unwrap();
        let run = run(&mut creator);
        trial_cost(Some(&document), &[&run]) - limits::TRIAL_COST
    };
    // The document's first change and the two long ones are changes as well.
    assert_eq!(
        cost(5, 100),
        3 + 2 * 5 + (1 + 2 * 105) / limits::TRIAL_OPERATIONS
    );
    assert_eq!(
        cost(9, 400),
        3 + 2 * 9 + (1 + 2 * 409) / limits::TRIAL_OPERATIONS
    );
}
