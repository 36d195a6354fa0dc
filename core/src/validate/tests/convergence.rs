//! The same runs give the same document, however they arrive.

use automerge::transaction::Transactable;
use automerge::{ObjType, ROOT, ReadDoc};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Put(u8, i64),
    Type(u16, u8, String),
    Insert(u16),
    Declare(bool),
    Publish,
    Seal,
    TakeFrom(usize),
}

/// A step of a device; how often it declares a state or begins to publish, beside the others.
fn step(declaring: u32) -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_u8, any::<i64>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (any::<u16>(), 0..5_u8, "[a-z]{0,8}")
            .prop_map(|(at, deleted, text)| Step::Type(at, deleted, text)),
        2 => any::<u16>().prop_map(Step::Insert),
        declaring => any::<bool>().prop_map(Step::Declare),
        declaring => Just(Step::Publish),
        4 => Just(Step::Seal),
        3 => (0..3_usize).prop_map(Step::TakeFrom),
    ]
}

/// Three devices work on one document; every run they seal.
fn play(steps: &[(usize, Step)]) -> Vec<CheckedRun> {
    let mut creator = Device::creator(DocumentKind::Evidence);
    creator.edit(|transaction| {
        transaction.put_object(ROOT, "text", ObjType::Text).unwrap();
        transaction.put_object(ROOT, "list", ObjType::List).unwrap();
    });
    let root = creator.seal();
    let others = [Device::beside(2, &creator), Device::beside(3, &creator)];
    let mut devices: Vec<Device> = [creator].into_iter().chain(others).collect();
    let mut runs = vec![root];
    for (who, step) in steps {
        let device = &mut devices[*who];
        match step {
            Step::Put(key, value) => device.put(&format!("key{key}"), *value),
            Step::Type(at, deleted, text) => device.edit(|transaction| {
                let (_, object) = transaction.get(ROOT, "text").unwrap().unwrap();
                let length = transaction.length(&object);
                let at = usize::from(*at) % (length + 1);
                let deleted = usize::from(*deleted).min(length - at);
                transaction
                    .splice_text(&object, at, deleted as isize, text)
                    .unwrap();
            }),
            Step::Insert(at) => device.edit(|transaction| {
                let (_, object) = transaction.get(ROOT, "list").unwrap().unwrap();
                let at = usize::from(*at) % (transaction.length(&object) + 1);
                transaction
                    .insert(&object, at, i64::from(*who as u32))
                    .unwrap();
            }),
            Step::Declare(ready) => {
                device.put("declared", if *ready { "ready" } else { "draft" });
            }
            Step::Publish => device.publish = true,
            Step::Seal => runs.extend(device.seal_if_changed()),
            Step::TakeFrom(other) => {
                // Only what is sealed travels.
                runs.extend(devices[*other].seal_if_changed());
                let mut copy = devices[*other].automerge.clone();
                devices[*who].automerge.merge(&mut copy).unwrap();
            }
        }
    }
    runs.extend(devices.iter_mut().filter_map(Device::seal_if_changed));
    runs
}

/// Hands over runs in batches as they come; what is missing something comes again.
fn judge_in_batches(runs: &[CheckedRun], sizes: &[usize]) -> Document {
    let mut document = None;
    let mut waiting: Vec<CheckedRun> = Vec::new();
    let mut sizes = sizes.iter().cycle();
    let mut coming = runs.iter().cloned().peekable();
    while coming.peek().is_some() {
        waiting.extend(coming.by_ref().take(*sizes.next().unwrap()));
        let judged = judge(document.as_ref(), std::mem::take(&mut waiting));
        let recorded: Vec<&CheckedRun> = judged
            .order
            .iter()
            .map(|place| &judged.verdicts[*place].0)
            .collect();
        expect_dependency_order(document.as_ref(), &recorded);
        for (run, verdict) in judged.verdicts {
            match verdict {
                Verdict::Valid => {}
                Verdict::Missing(_) => waiting.push(run),
                Verdict::Known | Verdict::Refused(_) => panic!("{verdict:?}"),
            }
        }
        document = judged.document.or(document);
    }
    assert!(waiting.is_empty());
    document.unwrap()
}

fn expect_dependency_order(document: Option<&Document>, recorded: &[&CheckedRun]) {
    let mut seen: HashSet<ChangeHash> = HashSet::new();
    for run in recorded {
        for dep in run.deps() {
            assert!(seen.contains(dep) || document.is_some_and(|known| known.has_change(dep)));
        }
        seen.extend(run.changes().iter().map(|change| change.hash));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_arrival_order_and_batching_gives_the_same_bytes(
        steps in proptest::collection::vec((0..3_usize, step(0)), 1..60),
        shuffles in proptest::collection::vec(any::<proptest::sample::Index>(), 60),
        sizes in proptest::collection::vec(1..6_usize, 1..4),
    ) {
        let runs = play(&steps);
        let expected = judge_in_batches(&runs, &[runs.len()]);
        let mut shuffled = runs;
        for (place, index) in shuffles.iter().enumerate().take(shuffled.len()) {
            let other = index.index(shuffled.len());
            shuffled.swap(place, other);
        }
        let document = judge_in_batches(&shuffled, &sizes);
        prop_assert_eq!(document.heads(), expected.heads());
        prop_assert_eq!(document.saved(), expected.saved());
    }

    /// Nor does it matter for what is refused.
    #[test]
    fn no_verdict_depends_on_what_else_is_judged_with_a_run(
        steps in proptest::collection::vec((0..3_usize, step(2)), 1..60),
        shuffles in proptest::collection::vec(any::<proptest::sample::Index>(), 60),
        sizes in proptest::collection::vec(1..6_usize, 1..4),
        cuts in proptest::collection::vec(1..6_usize, 1..4),
    ) {
        let mut runs = play(&steps);
        for (place, index) in shuffles.iter().enumerate().take(runs.len()) {
            let other = index.index(runs.len());
            runs.swap(place, other);
        }
        let alone = recorded_in_batches(&runs, &[1]);
        for sizes in [&sizes[..], &[runs.len()]] {
            let recorded = recorded_in_batches(&runs, sizes);
            prop_assert_eq!(names(&recorded), names(&alone), "batches of {:?}", sizes);
        }
        if !alone.is_empty() {
            let expected = judge(None, alone.clone()).document.unwrap();
            prop_assert_eq!(rebuilt_in_parts(&alone, &cuts), expected.saved());
        }
    }
}

/// The runs that are valid, in the order in which they are recorded.
fn recorded_in_batches(runs: &[CheckedRun], sizes: &[usize]) -> Vec<CheckedRun> {
    let mut document = None;
    let (mut waiting, mut recorded) = (Vec::new(), Vec::new());
    let mut sizes = sizes.iter().cycle();
    let mut coming = runs.iter().cloned().peekable();
    while coming.peek().is_some() {
        waiting.extend(coming.by_ref().take(*sizes.next().unwrap()));
        let judged = judge(document.as_ref(), std::mem::take(&mut waiting));
        let valid = judged.order.iter().map(|place| &judged.verdicts[*place].0);
        recorded.extend(valid.cloned());
        let missing = judged.verdicts.into_iter();
        let missing = missing.filter(|(_, verdict)| matches!(verdict, Verdict::Missing(_)));
        waiting.extend(missing.map(|(run, _)| run));
        document = judged.document.or(document);
    }
    recorded
}

fn names(runs: &[CheckedRun]) -> Vec<RunId> {
    runs.iter().map(CheckedRun::id).collect()
}

/// What records make that are cut anywhere, each part from what was stored of the one before.
fn rebuilt_in_parts(recorded: &[CheckedRun], sizes: &[usize]) -> Vec<u8> {
    let mut stored: Option<Document> = None;
    let mut sizes = sizes.iter().cycle();
    let mut rest = recorded;
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        let judged = judge_recorded(stored.as_ref(), part.to_vec(), false);
        assert!(judged.verdicts.iter().all(|it| it.1 == Verdict::Valid));
        let document = judged.document.unwrap();
        let (saved, kind) = (document.saved(), document.kind());
        stored = Some(Document::load(saved, kind, document.published()).unwrap());
        rest = behind;
    }
    stored.unwrap().saved().to_vec()
}
