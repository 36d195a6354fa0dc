//! Documents that other programs, newer versions or attackers wrote.

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::Transactable;
use automerge::{ObjType, ROOT, ScalarValue};

use super::*;

#[test]
fn what_a_newer_version_wrote_survives_edits_and_is_shown() {
    let mut document = started();
    make(&mut document, ANI, &[Edit::AddFile(photo())]);
    let mut tx = document.transaction();
    tx.put(ROOT, "sensitivity", "high").unwrap();
    let (_, fields) = tx.get(ROOT, key::FIELDS).unwrap().unwrap();
    tx.put(&fields, "blockchain", 7).unwrap();
    let (_, files) = tx.get(ROOT, key::FILES).unwrap().unwrap();
    let (_, file) = tx.get(&files, photo().hash.to_string()).unwrap().unwrap();
    tx.put(&file, "faces", 3).unwrap();
    let (_, narrative) = tx.get(ROOT, key::NARRATIVE).unwrap().unwrap();
    let bold = Mark::new("bold".to_owned(), true, 6, 12);
    tx.mark(&narrative, bold, ExpandMark::None).unwrap();
    tx.commit();

    let renamed = FileEntry {
        name: "baru.jpg".into(),
        part: None,
        ..photo()
    };
    make(
        &mut document,
        BUDI,
        &[
            Edit::Title("Lain".into()),
            Edit::AddFile(renamed.clone()),
            Edit::Narrative("Awal. Rapat dibuka pukul sembilan. Kepala desa hadir.".into()),
        ],
    );

    let seen = view(&document);
    assert_eq!(seen.files, [renamed]);
    assert_eq!(seen.fields["blockchain"], Content::Integer(7));
    assert_eq!(seen.unknown["sensitivity"], Content::String("high".into()));
    let faces = format!("files/{}/faces", photo().hash);
    assert_eq!(seen.unknown[&faces], Content::Integer(3));
    assert_eq!(seen.marks.len(), 1);
    assert_eq!((seen.marks[0].start, seen.marks[0].end), (12, 18));
    assert_eq!(seen.marks[0].name, "bold");
}

#[test]
fn wrong_types_everywhere_are_shown_as_unknown_without_a_panic() {
    let keys = [
        key::KIND,
        key::FRAMEWORK,
        key::CYCLE,
        key::ROWS,
        key::TITLE,
        key::FIELDS,
        key::NARRATIVE,
        key::MEDIUM,
        key::CAPTURED_AT,
        key::PLACE,
        key::FILES,
        key::PERSONAL_DATA,
        key::DECLARED,
        key::WITHDRAWAL_REASON,
    ];
    for object in [ObjType::Map, ObjType::List, ObjType::Text] {
        for key in keys {
            let mut document = started();
            let mut tx = document.transaction();
            let made = tx.put_object(ROOT, key, object).unwrap();
            match object {
                ObjType::Table => unreachable!("not among those tried"),
                ObjType::Map => tx.put(&made, "x", f64::NAN).unwrap(),
                ObjType::List => tx.insert(&made, 0, ScalarValue::Null).unwrap(),
                ObjType::Text => tx.splice_text(&made, 0, 0, "x").unwrap(),
            }
            tx.commit();
            view_and_edit(&mut document);
        }
    }
    for key in keys {
        for scalar in [
            ScalarValue::Bytes(vec![1, 2]),
            ScalarValue::Null,
            ScalarValue::F64(f64::INFINITY),
            ScalarValue::counter(i64::MIN),
            ScalarValue::Uint(u64::MAX),
        ] {
            let mut document = started();
            let mut tx = document.transaction();
            tx.put(ROOT, key, scalar).unwrap();
            tx.commit();
            view_and_edit(&mut document);
        }
    }
}

/// Everything that reads or writes must end well, refused or not.
fn view_and_edit(document: &mut Automerge) {
    let mut other = document.clone();
    let edits = [
        Edit::Title("t".into()),
        Edit::AddRow("1".into()),
        number("1"),
        Edit::AddFile(photo()),
        Edit::Narrative("n".into()),
        Edit::Place(None),
        Edit::Declare(Declared::Ready),
    ];
    for one in edits {
        let before = json(document);
        if edit(document, BUDI, 0, &[one]).is_err() {
            assert_eq!(json(document), before);
        }
    }
    make(&mut other, CITRA, &[Edit::Medium(Some("scan".into()))]);
    document.merge(&mut other).unwrap();
    assert!(json(document).contains("\"heads\":["));
    assert!(!history(document).is_empty() && !contributions(document).is_empty());
    restage(&started(), document);
}

#[test]
fn a_wrong_type_is_named_and_kept() {
    let mut document = started();
    let mut tx = document.transaction();
    let declared = tx.put_object(ROOT, key::DECLARED, ObjType::Map).unwrap();
    tx.put(&declared, "state", "ready").unwrap();
    tx.put_object(ROOT, key::TITLE, ObjType::List).unwrap();
    tx.put(ROOT, key::ROWS, "all").unwrap();
    tx.put(ROOT, key::MEDIUM, 4).unwrap();
    tx.commit();
    let seen = view(&document);
    assert_eq!((seen.title.as_str(), seen.declared), ("", Declared::Draft));
    assert_eq!(
        serde_json::to_string(&seen.unknown).unwrap(),
        r#"{"declared":{"state":"ready"},"medium":4,"rows":"all","title":[]}"#
    );
    let refused = edit(&mut document, BUDI, 0, &[Edit::AddRow("1".into())]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot write to 'rows': it is not a map in this document"
    );
}

#[test]
fn strings_that_another_program_stored_as_texts_read_as_strings() {
    let mut document = started();
    let mut tx = document.transaction();
    for (key, word) in [(key::TITLE, "Judul"), (key::DECLARED, "ready")] {
        let text = tx.put_object(ROOT, key, ObjType::Text).unwrap();
        tx.splice_text(&text, 0, 0, word).unwrap();
    }
    tx.commit();
    let seen = view(&document);
    assert_eq!(
        (seen.title.as_str(), seen.declared),
        ("Judul", Declared::Ready)
    );
    assert!(reads_ready(&document) && seen.unknown.is_empty());
}

#[test]
fn endless_nesting_is_cut_and_never_written_again() {
    let mut document = started();
    let deep = |document: &mut Automerge, actor: Actor| {
        document.set_actor(actor.to_automerge());
        let mut tx = document.transaction();
        let mut map = tx.put_object(ROOT, "deep", ObjType::Map).unwrap();
        for _ in 0..2_000 {
            map = tx.put_object(&map, "down", ObjType::Map).unwrap();
        }
        tx.commit();
    };
    let mut other = document.clone();
    deep(&mut document, ANI);
    other.set_actor(BUDI.to_automerge());
    let mut tx = other.transaction();
    tx.put(ROOT, "deep", 1).unwrap();
    tx.commit();
    document.merge(&mut other).unwrap();
    assert!(json(&document).contains("…"));

    let conflict = view(&document).conflicts.remove(0);
    let nested = conflict
        .values
        .iter()
        .find(|it| it.value.as_map().is_some())
        .unwrap();
    let refused = edit(&mut document, CITRA, 0, &[keep(&conflict, nested)]).unwrap_err();
    assert!(matches!(refused, EditError::TooDeep { .. }));
    assert!(!history(&document).is_empty());
}

#[test]
fn a_document_of_another_program_without_our_containers_can_be_edited() {
    let mut document = Automerge::new();
    assert_eq!(view(&document).heads, []);
    make(
        &mut document,
        ANI,
        &[
            number("1"),
            Edit::AddRow("1.1".into()),
            Edit::Narrative("n".into()),
        ],
    );
    let seen = view(&document);
    assert_eq!(seen.narrative, "n");
    assert_eq!(seen.fields["number"].as_str(), Some("1"));
}
