use automerge::transaction::Transactable;
use automerge::{ObjType, ROOT};

use super::*;
use crate::change::forge::Forge;
use crate::envelope::DocumentKind;
use crate::evidence::{self, Edit, NewEvidence};
use crate::id::{Actor, Incarnation};
use device::Device;

mod bounds;
mod convergence;
pub(crate) mod crafted;
mod declarations;
mod device;
mod marks;
mod recorded;
mod turns;

/// A document with one change, its creator and another device.
fn begun() -> (Document, Device, Device) {
    let mut creator = Device::creator(DocumentKind::Evidence);
    let root = creator.seal_put("title", "Jembatan");
    let other = Device::beside(2, &creator);
    let judged = judge(None, vec![root]);
    (judged.document.unwrap(), creator, other)
}

fn verdicts(judged: &Judged) -> Vec<&Verdict> {
    judged.verdicts.iter().map(|(_, verdict)| verdict).collect()
}

fn verdict(document: &Document, run: CheckedRun) -> Verdict {
    judge(Some(document), vec![run]).verdicts.remove(0).1
}

/// The code with which a run is refused, once it is clear that an honest run beside it is not.
fn refusal(document: &Document, honest: CheckedRun, run: CheckedRun) -> RefusalCode {
    let judged = judge(Some(document), vec![run, honest]);
    assert_eq!(judged.verdicts[1].1, Verdict::Valid);
    assert_eq!(judged.order, [1]);
    match &judged.verdicts[0].1 {
        Verdict::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_run_makes_a_document_and_is_known_from_then_on() {
    let mut creator = Device::creator(DocumentKind::Evidence);
    creator.put("title", "Jembatan");
    let root = creator.seal_put("amount", 4_000_000);
    let judged = judge(None, vec![root.clone()]);
    assert_eq!(verdicts(&judged), [&Verdict::Valid]);
    assert_eq!(judged.order, [0]);
    let document = judged.document.unwrap();
    assert_eq!(document.heads(), [root.changes()[1].hash]);
    assert!(document.has_change(&root.changes()[0].hash));
    assert_eq!(document.kind(), DocumentKind::Evidence);

    let again = judge(Some(&document), vec![root]);
    assert_eq!(verdicts(&again), [&Verdict::Known]);
    assert!(again.document.is_none());
}

#[test]
fn a_document_loads_from_its_saved_bytes() {
    let (document, mut creator, _) = begun();
    let loaded = Document::load(document.saved(), DocumentKind::Evidence, false).unwrap();
    assert_eq!(loaded.heads(), document.heads());
    let run = creator.seal_put("title", "Jalan");
    let extended = |document| judge(Some(document), vec![run.clone()]).document.unwrap();
    assert_eq!(extended(&loaded).saved(), extended(&document).saved());
}

#[test]
fn a_damaged_saved_document_is_an_error() {
    let (document, ..) = begun();
    for at in 0..document.saved().len() {
        let mut saved = document.saved().to_vec();
        saved[at] ^= 0x10;
        assert!(
            Document::load(&saved, DocumentKind::Evidence, false).is_err(),
            "byte {at}"
        );
    }
}

#[test]
fn what_builds_on_something_unknown_is_missing_that_and_counts_once_it_came() {
    let (document, mut creator, _) = begun();
    let first = creator.seal_put("a", 1);
    let second = creator.seal_put("a", 2);
    let missing = Verdict::Missing(vec![first.changes()[0].hash]);
    assert_eq!(verdict(&document, second.clone()), missing);

    let judged = judge(Some(&document), vec![second.clone(), first]);
    assert_eq!(verdicts(&judged), [&Verdict::Valid, &Verdict::Valid]);
    assert_eq!(judged.order, [1, 0]);

    let unbegun = judge(None, vec![second]);
    assert_eq!(verdicts(&unbegun), [&missing]);
    assert!(unbegun.document.is_none());
}

#[test]
fn what_builds_on_a_refused_run_is_missing_it() {
    let (document, mut creator, mut other) = begun();
    let bad = other.seal_forged(&with_idle_actor(&other.forge(&document), creator.actor()));
    let mut next = other.forge(&document);
    next.seq = 2;
    next.deps = vec![bad.changes()[0].hash.0];
    next.start_op += 1;
    let next = other.seal_forged(&next);
    let honest = creator.seal_put("a", 1);

    let judged = judge(Some(&document), vec![next, honest, bad.clone()]);
    let missing = Verdict::Missing(vec![bad.changes()[0].hash]);
    assert_eq!(judged.verdicts[0].1, missing);
    assert_eq!(judged.verdicts[1].1, Verdict::Valid);
    assert!(matches!(&judged.verdicts[2].1, Verdict::Refused(_)));
    assert_eq!(judged.order, [1]);
}

#[test]
fn a_number_that_skips_one_is_refused() {
    let (document, mut creator, mut other) = begun();
    let mut forge = other.forge(&document);
    forge.seq = 2;
    let run = other.seal_forged(&forge);
    assert_eq!(
        refusal(&document, creator.seal_put("a", 1), run),
        RefusalCode::Sequence
    );
}

#[test]
fn a_change_that_leaves_out_its_predecessor_is_refused() {
    let (document, mut creator, mut other) = begun();
    let first = other.seal_put("a", 1);
    let base = other.forge(&document);
    let document = judge(Some(&document), vec![first]).document.unwrap();
    let second = Forge { seq: 2, ..base };
    let run = other.seal_forged(&second);
    assert_eq!(
        refusal(&document, creator.seal_put("a", 1), run),
        RefusalCode::Deps
    );
}

#[test]
fn an_operation_counter_that_is_not_the_next_one_is_refused() {
    let (document, mut creator, other) = begun();
    let honest = creator.seal_put("a", 1);
    for start_op in [1, 3, 1 << 30] {
        let mut other = other.clone();
        let forge = Forge {
            start_op,
            ..other.forge(&document)
        };
        let run = other.seal_forged(&forge);
        assert_eq!(
            refusal(&document, honest.clone(), run),
            RefusalCode::StartOp
        );
    }
    let mut other = other;
    let forge = other.forge(&document);
    assert_eq!(forge.start_op, 2);
    let proper = other.seal_forged(&forge);
    assert_eq!(verdict(&document, proper), Verdict::Valid);
}

#[test]
fn of_two_changes_with_one_number_the_first_accepted_stands() {
    let (document, mut creator, other) = begun();
    let (mut one, mut two) = (other.clone(), other);
    let (kept, late) = (one.seal_put("a", 1), two.seal_put("a", 2));
    let later = two.seal_put("a", 3);
    let extended = judge(Some(&document), vec![kept.clone()]).document.unwrap();
    assert_eq!(
        refusal(&extended, creator.seal_put("b", 1), late.clone()),
        RefusalCode::Fork
    );
    let missing = Verdict::Missing(vec![late.changes()[0].hash]);
    assert_eq!(verdict(&extended, later), missing);

    let together = judge(Some(&document), vec![late, kept]);
    assert_eq!(together.verdicts[0].1, Verdict::Valid);
    assert_eq!(
        together.verdicts[1].1,
        Verdict::Refused(RefusalCode::Fork.into())
    );
}

#[test]
fn a_branch_stands_if_the_one_before_it_falls_for_another_reason() {
    let (document, creator, other) = begun();
    let (mut one, mut two) = (other.clone(), other);
    let bad = one.seal_forged(&with_idle_actor(&one.forge(&document), creator.actor()));
    let good = two.seal_put("a", 1);
    let judged = judge(Some(&document), vec![bad, good]);
    assert!(matches!(&judged.verdicts[0].1, Verdict::Refused(_)));
    assert_eq!(judged.verdicts[1].1, Verdict::Valid);
}

#[test]
fn the_same_run_twice_in_a_batch_counts_once() {
    let (document, mut creator, _) = begun();
    let run = creator.seal_put("a", 1);
    let judged = judge(Some(&document), vec![run.clone(), run]);
    assert_eq!(verdicts(&judged), [&Verdict::Valid, &Verdict::Known]);
    assert_eq!(judged.order, [0]);
}

#[test]
fn a_run_cut_anew_over_accepted_changes_is_refused() {
    let (document, mut creator, _) = begun();
    creator.put("a", 1);
    let mut again = creator.clone();
    let first = creator.seal();
    again.put("a", 2);
    let longer = again.seal();
    let document = judge(Some(&document), vec![first]).document.unwrap();
    let mut other = Device::beside(5, &creator);
    assert_eq!(
        refusal(&document, other.seal_put("b", 1), longer),
        RefusalCode::Sequence
    );
}

#[test]
fn a_second_beginning_is_refused_whenever_it_comes() {
    let (document, mut creator, _) = begun();
    let mut twin = Device::creator(DocumentKind::Evidence);
    twin.incarnation = Incarnation([4; 16]);
    twin.automerge.set_actor(twin.actor().to_automerge());
    let second = twin.seal_put("title", "Irigasi");
    let honest = creator.seal_put("a", 1);
    assert_eq!(
        refusal(&document, honest, second.clone()),
        RefusalCode::SecondRoot
    );

    let first = Device::creator(DocumentKind::Evidence).seal_put("title", "Jembatan");
    let together = judge(None, vec![first, second]);
    assert_eq!(together.verdicts[0].1, Verdict::Valid);
    assert_eq!(
        together.verdicts[1].1,
        Verdict::Refused(RefusalCode::SecondRoot.into())
    );
}

#[test]
fn a_run_by_itself_is_refused_for_what_needs_no_document() {
    let refuse = |run: Run| check_run(run).unwrap_err().code;
    let (document, creator, other) = begun();
    let proper = || other.forge(&document);
    let sealed = |forge: &Forge| other.clone().seal_bytes(vec![forge.bytes()]);

    let foreign = Forge {
        actor: creator.actor().0.to_vec(),
        ..proper()
    };
    assert_eq!(refuse(sealed(&foreign)), RefusalCode::Actor);
    let rootless = Forge {
        deps: Vec::new(),
        ..proper()
    };
    assert_eq!(refuse(sealed(&rootless)), RefusalCode::NoRoot);

    let next = Forge { seq: 3, ..proper() };
    let pair = vec![proper().bytes(), next.bytes()];
    assert_eq!(
        refuse(other.clone().seal_bytes(pair)),
        RefusalCode::Sequence
    );
    let loose = Forge { seq: 2, ..proper() };
    let pair = vec![proper().bytes(), loose.bytes()];
    assert_eq!(refuse(other.clone().seal_bytes(pair)), RefusalCode::Deps);

    let mut fresh = Device::creator(DocumentKind::Evidence);
    let rooted = Forge {
        actor: fresh.actor().0.to_vec(),
        ..proper()
    };
    assert_eq!(
        refuse(fresh.seal_bytes(vec![rooted.bytes()])),
        RefusalCode::Deps
    );
    let first = Forge {
        deps: Vec::new(),
        start_op: 1,
        ..rooted
    };
    let second = Forge {
        seq: 2,
        ..first.clone()
    };
    let pair = vec![first.bytes(), second.bytes()];
    assert_eq!(refuse(fresh.seal_bytes(pair)), RefusalCode::SecondRoot);

    let renamed = other
        .clone()
        .seal_as(vec![proper().bytes()], 1, ChangeHash([0; 32]));
    assert_eq!(refuse(renamed), RefusalCode::Malformed);
    let mut short = sealed(&proper());
    short.changes.clear();
    assert_eq!(refuse(short), RefusalCode::Malformed);
    let mut damaged = sealed(&proper());
    *damaged.changes[0].last_mut().unwrap() ^= 1;
    assert_eq!(refuse(damaged), RefusalCode::Malformed);
}

#[test]
fn faults_of_a_change_become_codes_of_the_run() {
    let (document, _, other) = begun();
    let refuse = |forge: &Forge| {
        let run = other
            .clone()
            .seal_as(vec![forge.bytes()], 1, ChangeHash([0; 32]));
        check_run(run).unwrap_err().code
    };
    let proper = || other.forge(&document);
    let authored = Forge {
        extra: vec![1, 1, b'x'],
        ..proper()
    };
    assert_eq!(refuse(&authored), RefusalCode::AuthorFooter);
    let footed = Forge {
        extra: vec![2, 1, b'x'],
        ..proper()
    };
    assert_eq!(refuse(&footed), RefusalCode::Unsupported);
    let wordy = Forge {
        message: vec![b'x'; 2_000],
        ..proper()
    };
    assert_eq!(refuse(&wordy), RefusalCode::TooLarge);
    assert_eq!(
        refuse(&Forge::puts(
            limits::CHANGE_OPERATIONS_MAX.cast_signed() + 1
        )),
        RefusalCode::TooManyOperations
    );
    let unsorted = Forge {
        deps: vec![[2; 32], [1; 32]],
        ..proper()
    };
    assert_eq!(refuse(&unsorted), RefusalCode::Deps);
    let high = Forge {
        start_op: 1 << 32,
        ..proper()
    };
    assert_eq!(refuse(&high), RefusalCode::StartOp);
}

#[test]
fn a_text_of_the_largest_size_is_replaced_by_another_in_one_change() {
    let mut creator = Device::creator(DocumentKind::Evidence);
    let words = |word: &str| word.repeat(limits::FIELD_TEXT_BYTES_MAX / word.len());
    let new = NewEvidence {
        kind: "photo".into(),
        narrative: words("desa bersih "),
        ..NewEvidence::default()
    };
    let (mut document, begun) = evidence::create(creator.actor(), 0, &new);
    let edits = [Edit::Narrative(words("-"))];
    let replaced = evidence::edit(&mut document, creator.actor(), 0, &edits)
        .unwrap()
        .unwrap();
    let run = creator.seal_bytes(vec![begun]);
    assert!(check_run(run).is_ok());
    assert!(Parsed::open(&replaced).is_ok());
}

#[test]
fn a_run_of_many_large_changes_is_refused() {
    let mut creator = Device::creator(DocumentKind::Evidence);
    let mut forge = Forge::puts(limits::CHANGE_OPERATIONS_MAX.cast_signed() / 2);
    forge.actor = creator.actor().0.to_vec();
    let mut changes = Vec::new();
    for seq in 1..=3 {
        forge.seq = seq;
        let parsed = Parsed::open(&forge.bytes()).unwrap();
        changes.push(forge.bytes());
        forge.deps = vec![parsed.hash.0];
        forge.start_op = parsed.max_op() + 1;
    }
    let run = creator.seal_bytes(changes);
    assert_eq!(
        check_run(run).unwrap_err().code,
        RefusalCode::TooManyOperations
    );
}

/// Lists an actor that no operation refers to. Automerge applies that, forgets the actor, and
/// cannot find the hash again when it loads what it saved.
fn with_idle_actor(forge: &Forge, actor: Actor) -> Forge {
    Forge {
        other_actors: vec![actor.0.to_vec()],
        ..forge.clone()
    }
}

#[test]
fn a_document_nested_too_deep_to_be_read_is_refused() {
    let nested = |depth: usize| {
        let mut creator = Device::creator(DocumentKind::Evidence);
        creator.edit(|transaction| {
            let mut object = ROOT;
            for _ in 1..depth {
                object = transaction.put_object(&object, "in", ObjType::Map).unwrap();
            }
        });
        judge(None, vec![creator.seal()]).verdicts.remove(0).1
    };
    assert_eq!(nested(limits::DOCUMENT_DEPTH_MAX), Verdict::Valid);
    let Verdict::Refused(refusal) = nested(10_000) else {
        panic!("it was not refused");
    };
    assert_eq!(refusal.code, RefusalCode::TooLarge);
}

#[test]
fn ready_without_publish_is_refused_and_with_it_accepted() {
    let (document, creator, mut other) = begun();
    let ready = creator.clone().seal_put("declared", "ready");
    assert_eq!(
        refusal(&document, other.seal_put("a", 1), ready),
        RefusalCode::UnpublishedReady
    );

    let mut publishing = creator;
    publishing.publish = true;
    let ready = publishing.seal_put("declared", "ready");
    let judged = judge(Some(&document), vec![ready]);
    assert_eq!(judged.verdicts[0].1, Verdict::Valid);
    let published = judged.document.unwrap();
    assert!(published.published() && !document.published());
    publishing.publish = false;
    let again = publishing.seal_put("a", 1);
    let judged = judge(Some(&published), vec![again]);
    let still = judged.document.expect("it is accepted");
    assert!(still.published());
    let more = publishing.seal_put("a", 2);
    assert_eq!(verdict(&still, more), Verdict::Valid);
}

#[test]
fn ready_in_one_run_and_withdrawn_in_the_next_is_refused_all_the_same() {
    let (document, mut creator, mut other) = begun();
    let ready = creator.seal_put("declared", "ready");
    let withdrawn = creator.seal_put("declared", "withdrawn");
    let honest = other.seal_put("a", 1);
    let judged = judge(Some(&document), vec![ready.clone(), withdrawn, honest]);
    let early = Verdict::Refused(RefusalCode::UnpublishedReady.into());
    let missing = Verdict::Missing(vec![ready.changes()[0].hash]);
    assert_eq!(verdicts(&judged), [&early, &missing, &Verdict::Valid]);
}

#[test]
fn ready_beside_a_concurrent_value_is_ready() {
    let (document, creator, mut other) = begun();
    let (mut hides, mut reads) = (creator.clone(), creator);
    hides.put("declared", "draft");
    let draft = hides.seal();
    let extended = judge(Some(&document), vec![draft.clone()])
        .document
        .unwrap();
    reads.incarnation = Incarnation([8; 16]);
    reads.automerge.set_actor(reads.actor().to_automerge());
    reads.root = None;
    reads.sealed_seq = 0;
    let ready = reads.seal_put("declared", "ready");
    other.take(&draft);
    let honest = other.seal_put("a", 1);
    assert_eq!(
        refusal(&extended, honest, ready),
        RefusalCode::UnpublishedReady
    );
}

#[test]
fn only_evidence_has_to_be_published_to_read_ready() {
    let mut creator = Device::creator(DocumentKind::Statement);
    let run = creator.seal_put("declared", "ready");
    assert_eq!(verdicts(&judge(None, vec![run])), [&Verdict::Valid]);
}

/// Bytes that do not compress.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    });
    next.take(length).collect()
}

#[test]
fn a_full_document_takes_no_more_bytes_but_still_small_ones() {
    let (document, mut creator, mut other) = begun();
    let photographs: Vec<CheckedRun> = (0..6)
        .map(|n| creator.seal_put(&format!("photo{n}"), noise(n, 200_000)))
        .collect();
    let small = other.seal_put("a", 1);
    let runs = photographs.iter().cloned().chain([small]).collect();
    let judged = judge(Some(&document), runs);
    let valid = |verdict: &Verdict| *verdict == Verdict::Valid;
    assert!(
        judged.verdicts[..5]
            .iter()
            .all(|(_, verdict)| valid(verdict))
    );
    assert_eq!(
        judged.verdicts[5].1,
        Verdict::Refused(RefusalCode::DocumentFull.into())
    );
    assert!(valid(&judged.verdicts[6].1));
    assert!(judged.document.unwrap().saved().len() <= limits::DOCUMENT_BYTES_MAX);
}

#[test]
fn a_document_that_deflates_well_is_full_by_what_it_inflates_to() {
    let (mut document, mut creator, _) = begun();
    let block: Vec<u8> = noise(1, 30_000);
    let mut full = None;
    for n in 0..20 {
        let text: Vec<u8> = block.iter().cycle().take(900_000).copied().collect();
        let run = creator.seal_put(&format!("copy{n}"), text);
        let mut judged = judge(Some(&document), vec![run]);
        match judged.verdicts.remove(0).1 {
            Verdict::Valid => document = judged.document.unwrap(),
            other => {
                full = Some(other);
                break;
            }
        }
    }
    assert_eq!(
        full,
        Some(Verdict::Refused(RefusalCode::DocumentFull.into()))
    );
    assert!(document.saved().len() < limits::DOCUMENT_BYTES_MAX);
}

#[test]
fn every_code_reads_back_from_its_word_and_its_number() {
    for (number, code) in RefusalCode::ALL.iter().enumerate() {
        assert_eq!(code.code().parse(), Ok(*code));
        let bytes = minicbor::to_vec(code).unwrap();
        assert_eq!(minicbor::decode::<u16>(&bytes).unwrap(), number as u16);
        assert_eq!(minicbor::decode::<RefusalCode>(&bytes).unwrap(), *code);
    }
    assert!("unheard-of".parse::<RefusalCode>().is_err());
}

#[test]
fn a_long_sentence_is_cut_between_letters() {
    let refusal = Refusal::new(RefusalCode::Fork, "é".repeat(400));
    assert_eq!(refusal.sentence.len(), 300);
    let odd = Refusal::new(RefusalCode::Fork, format!("x{}", "é".repeat(400)));
    assert_eq!(odd.sentence.len(), 299);
}

#[test]
#[should_panic(expected = "runs of one document")]
fn runs_of_two_documents_are_not_judged_together() {
    let one = Device::creator(DocumentKind::Evidence).seal_put("a", 1);
    let two = Device::creator(DocumentKind::Statement).seal_put("a", 1);
    judge(None, vec![one, two]);
}
