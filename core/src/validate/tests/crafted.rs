//! Changes that are well formed and harm the document.

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::Transactable;
use automerge::{Automerge, Change, ObjType, ROOT, ReadDoc, ScalarValue};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::*;
use crate::change::forge::{run as column_run, signed, unsigned};

/// Applies a forged change as a careless program would.
fn apply_carelessly(document: &Document, forge: &Forge) -> Automerge {
    let mut automerge = document.automerge().clone();
    let change = Change::from_bytes(forge.bytes()).unwrap();
    automerge.apply_changes([change]).unwrap();
    automerge
}

#[test]
fn a_change_that_is_applied_but_cannot_be_loaded_again_is_refused() {
    let (document, mut creator, mut other) = begun();
    let forge = with_idle_actor(&other.forge(&document), creator.actor());
    let automerge = apply_carelessly(&document, &forge);
    assert!(Automerge::load(&automerge.save()).is_err());
    let run = other.seal_forged(&forge);
    assert_eq!(
        refusal(&document, creator.seal_put("a", 1), run),
        RefusalCode::Unreadable
    );
}

#[test]
fn a_change_in_another_spelling_than_automerges_is_refused() {
    let (document, mut creator, mut other) = begun();
    let forge = other
        .forge(&document)
        .with_column(0x42, &[signed(1), unsigned(1)].concat());
    apply_carelessly(&document, &forge);
    let run = other.seal_forged(&forge);
    assert_eq!(
        refusal(&document, creator.seal_put("a", 1), run),
        RefusalCode::Unreadable
    );
}

#[test]
fn an_operation_on_an_object_that_is_not_there_is_refused() {
    let (document, mut creator, mut other) = begun();
    let forge = other
        .forge(&document)
        .with_column(0x01, &column_run(1, &unsigned(0)))
        .with_column(0x02, &column_run(1, &unsigned(1)));
    let run = other.seal_forged(&forge);
    assert_eq!(
        refusal(&document, creator.seal_put("a", 1), run),
        RefusalCode::Unreadable
    );
}

#[test]
fn an_operation_that_replaces_nothing_there_is_refused() {
    let (document, mut creator, mut other) = begun();
    let forge = other
        .forge(&document)
        .with_column(0x70, &column_run(1, &unsigned(1)))
        .with_column(0x71, &column_run(1, &unsigned(0)))
        .with_column(0x73, &column_run(1, &signed(1)));
    let run = other.seal_forged(&forge);
    assert_eq!(
        refusal(&document, creator.seal_put("a", 1), run),
        RefusalCode::Unreadable
    );
}

#[test]
fn an_insertion_behind_an_element_that_is_not_there_is_refused() {
    let (_, mut creator, _) = begun();
    creator.edit(|transaction| {
        transaction.put_object(ROOT, "list", ObjType::List).unwrap();
    });
    let mut fresh = Device::creator(DocumentKind::Evidence);
    fresh.edit(|transaction| {
        transaction.put_object(ROOT, "list", ObjType::List).unwrap();
    });
    let document = judge(None, vec![fresh.seal()]).document.unwrap();
    let mut other = Device::beside(2, &fresh);
    let mut forge = other.forge(&document);
    forge.other_actors = vec![fresh.actor().0.to_vec()];
    forge.columns.retain(|(spec, _)| *spec != 0x15);
    let forge = forge
        .with_column(0x01, &column_run(1, &unsigned(1)))
        .with_column(0x02, &column_run(1, &unsigned(1)))
        .with_column(0x11, &column_run(1, &unsigned(1)))
        .with_column(0x13, &column_run(1, &signed(1)))
        .with_column(0x34, &[0, 1]);
    let run = other.seal_forged(&forge);
    assert_eq!(
        refusal(&document, fresh.seal_put("a", 1), run),
        RefusalCode::Unreadable
    );
}

#[test]
fn a_mark_that_ends_before_it_begins_is_refused() {
    let mut creator = Device::creator(DocumentKind::Evidence);
    creator.edit(|transaction| {
        let text = transaction.put_object(ROOT, "text", ObjType::Text).unwrap();
        transaction.splice_text(&text, 0, 0, "ab").unwrap();
    });
    let document = judge(None, vec![creator.seal()]).document.unwrap();
    let mut marking = Device::beside(2, &creator);
    marking.edit(|transaction| {
        let (_, text) = transaction.get(ROOT, "text").unwrap().unwrap();
        let mark = Mark::new("bold".into(), true, 0, 1);
        transaction.mark(&text, mark, ExpandMark::None).unwrap();
    });
    let made = marking.automerge.get_last_local_change().unwrap();
    let proper = Forge::of(made.raw_bytes());
    let run = marking.clone().seal_forged(&proper);
    assert_eq!(verdict(&document, run), Verdict::Valid);

    // It begins at the head and ends behind "a", operation 2; now the other way round.
    let places = [signed(-2), signed(2), signed(-2)].concat();
    let actors = [column_run(1, &unsigned(1)), vec![0, 1]].concat();
    assert_ne!(proper.columns[2], (0x11, actors.clone()));
    let forge = proper.with_column(0x11, &actors).with_column(0x13, &places);
    let run = marking.seal_forged(&forge);
    let Verdict::Refused(refusal) = verdict(&document, run) else {
        panic!("it was not refused");
    };
    assert_eq!(refusal.code, RefusalCode::Unreadable);
    assert!(refusal.sentence.contains("mark"), "{refusal}");
}

/// A document with a text, a list and a value; a device beside its creator; and that device's change
/// of all of them, to be altered.
fn changed_all_over() -> (Document, Device, Device, Forge) {
    let mut creator = Device::creator(DocumentKind::Evidence);
    creator.edit(|transaction| {
        let text = transaction.put_object(ROOT, "text", ObjType::Text).unwrap();
        transaction.splice_text(&text, 0, 0, "jalan desa").unwrap();
        let list = transaction.put_object(ROOT, "list", ObjType::List).unwrap();
        transaction
            .insert(&list, 0, ScalarValue::counter(1))
            .unwrap();
        transaction.put(ROOT, "a", 1).unwrap();
    });
    let document = judge(None, vec![creator.seal()]).document.unwrap();
    let mut editing = Device::beside(2, &creator);
    editing.edit(|transaction| {
        let (_, text) = transaction.get(ROOT, "text").unwrap().unwrap();
        let (_, list) = transaction.get(ROOT, "list").unwrap().unwrap();
        transaction.splice_text(&text, 3, 4, "xyz").unwrap();
        let mark = Mark::new("bold".into(), true, 1, 4);
        transaction.mark(&text, mark, ExpandMark::After).unwrap();
        transaction.increment(&list, 0, 2).unwrap();
        transaction.insert(&list, 1, "b").unwrap();
        transaction.delete(ROOT, "a").unwrap();
        transaction.put_object(ROOT, "c", ObjType::Map).unwrap();
    });
    let made = editing.automerge.get_last_local_change().unwrap();
    let proper = Forge::of(made.raw_bytes());
    (document, creator, editing, proper)
}

/// A document, its creator, and a run that puts an object into its text that nobody can edit.
pub(super) fn uneditable() -> (Document, Device, CheckedRun) {
    const ACTIONS: u64 = 0x42;
    const MARK: u8 = 7;
    const TABLE: u8 = 6;
    let (document, creator, mut editing, proper) = changed_all_over();
    let (_, actions) = &proper.columns[6];
    assert_eq!(proper.columns[6].0, ACTIONS);
    let marks = actions.iter().position(|byte| *byte == MARK).unwrap();
    let mut tables = actions.clone();
    tables[marks] = TABLE;
    let forge = proper.with_column(ACTIONS, &tables);
    let automerge = apply_carelessly(&document, &forge);
    assert!(Automerge::load(&automerge.save()).is_ok());
    (document, creator, editing.seal_forged(&forge))
}

/// The runs of that document, which acceptance takes together with one that deletes the text alone.
pub(crate) fn uneditable_runs() -> [CheckedRun; 2] {
    let (_, mut creator, bad) = uneditable();
    (creator.number, creator.sealed_seq) = (0, 0);
    [creator.seal(), bad]
}

#[test]
fn an_object_in_a_text_that_nobody_can_edit_is_refused() {
    let (document, _, run) = uneditable();
    let Verdict::Refused(refusal) = verdict(&document, run) else {
        panic!("it was not refused");
    };
    assert_eq!(refusal.code, RefusalCode::Unreadable);
    assert!(refusal.sentence.contains("edited"), "{refusal}");
}

#[test]
fn a_saved_document_over_which_automerge_panics_is_an_error() {
    const REPLACED_COUNTERS: u64 = 0x73;
    let (document, _, _, proper) = changed_all_over();
    let (column, counters) = &proper.columns[11];
    assert_eq!(*column, REPLACED_COUNTERS);
    let mut others = counters.clone();
    others[5] -= 1;
    let saved = apply_carelessly(&document, &proper.with_column(REPLACED_COUNTERS, &others)).save();
    assert_eq!(
        Document::load(&saved, DocumentKind::Evidence, false).unwrap_err(),
        LoadDocumentError::Panicked
    );
}

#[test]
fn whatever_is_accepted_leaves_a_document_that_all_others_can_go_on_with() {
    let (document, mut creator, editing, proper) = changed_all_over();
    let honest = creator.seal_put("title", "Jalan");

    let mut runner = TestRunner::new_with_rng(
        ProptestConfig::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]),
    );
    let index = any::<proptest::sample::Index>;
    let damage = (index(), index(), any::<u8>(), 0..4_u8);
    let (mut accepted, mut unreadable) = (0, 0);
    for _ in 0..3_000 {
        let (column, at, byte, how) = damage.new_tree(&mut runner).unwrap().current();
        let mut forge = proper.clone();
        let (_, bytes) = &mut forge.columns[column.index(proper.columns.len())];
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => bytes[at] ^= 1 << (byte % 8),
            2 => bytes.insert(at, byte % 4),
            _ => bytes[at] = bytes[at].wrapping_add(byte % 3).wrapping_sub(1),
        }
        if Parsed::open(&forge.bytes()).is_err() {
            continue;
        }
        let run = editing.clone().seal_forged(&forge);
        let judged = judge(Some(&document), vec![run]);
        let Some(extended) = judged.document else {
            unreadable += 1;
            continue;
        };
        accepted += 1;
        let stored = Document::load(extended.saved(), DocumentKind::Evidence, false).unwrap();
        let next = judge(Some(&stored), vec![honest.clone()]);
        assert_eq!(next.verdicts[0].1, Verdict::Valid);
    }
    assert!(
        accepted > 50 && unreadable > 50,
        "{accepted} accepted, {unreadable} unreadable"
    );
}
