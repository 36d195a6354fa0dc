//! What people may rely on when several of them write at once.

mod hostile;
mod law;
mod past;

use std::collections::{BTreeMap, BTreeSet};

use automerge::{ActorId, Automerge, ReadDoc};

use super::*;
use crate::id::{Actor, FileHash, Fingerprint};

const ANI: Actor = Actor([1; 16]);
const BUDI: Actor = Actor([2; 16]);
const CITRA: Actor = Actor([3; 16]);

fn meeting() -> NewEvidence {
    NewEvidence {
        kind: "event".into(),
        framework_id: "desa-antikorupsi".into(),
        framework_version: "2024".into(),
        cycle: 2026,
        rows: BTreeSet::from(["1.1".into()]),
        title: "Musyawarah desa".into(),
        text_fields: vec!["agenda".into()],
        list_fields: vec!["signatories".into()],
        count_fields: vec!["attendees".into()],
        narrative: "Rapat dibuka pukul sembilan. Kepala desa hadir.".into(),
        ..NewEvidence::default()
    }
}

fn started() -> Automerge {
    create(ANI, 1_000, &meeting()).0
}

fn field(code: &str, value: Value) -> Edit {
    Edit::Field {
        code: code.into(),
        value,
    }
}

fn number(value: &str) -> Edit {
    field("number", Value::String(value.into()))
}

fn counts<const N: usize>(groups: [(&str, i64); N]) -> Value {
    Value::Counts(BTreeMap::from(
        groups.map(|(group, count)| (group.into(), count)),
    ))
}

fn photo() -> FileEntry {
    FileEntry {
        hash: FileHash([0xaa; 32]),
        media_type: "image/jpeg".into(),
        bytes: 350_000,
        name: "undangan.jpg".into(),
        origin: Origin::Original,
        part: Some("invitation".into()),
        rows: BTreeSet::from(["1.1".into()]),
    }
}

/// Makes edits that must change something.
fn make(document: &mut Automerge, actor: Actor, edits: &[Edit]) -> Vec<u8> {
    edit(document, actor, 2_000, edits)
        .expect("the edits are allowed")
        .expect("the edits change something")
}

/// Ani and Budi edit copies of `base` without seeing each other, then both get both.
fn concurrently(base: &Automerge, ani: &[Edit], budi: &[Edit]) -> Automerge {
    let (mut first, mut second) = (base.clone(), base.clone());
    make(&mut first, ANI, ani);
    make(&mut second, BUDI, budi);
    let mut other_way = second.clone();
    other_way.merge(&mut first.clone()).unwrap();
    first.merge(&mut second).unwrap();
    assert_eq!(json(&first), json(&other_way));
    first
}

fn json(document: &Automerge) -> String {
    serde_json::to_string(&view(document)).unwrap()
}

#[test]
fn a_view_shows_what_was_entered() {
    let mut document = started();
    let place = Place {
        latitude_e7: -2_294_700,
        longitude_e7: 1_006_330_000,
        accuracy_m: Some(8),
        source: "gps".into(),
    };
    let edits = [
        number("140/12/2026"),
        field("agenda", Value::Text("Penetapan APBDes".into())),
        field(
            "signatories",
            Value::List(vec!["Wali nagari".into(), "BPD".into()]),
        ),
        field("attendees", counts([("men", 12), ("women", 15)])),
        field("date", Value::Date("2026-03-01".into())),
        field("value", Value::Decimal("1250000.50".into())),
        field("year", Value::Integer(2026)),
        field("stamped", Value::Boolean(true)),
        Edit::AddRow("1.2".into()),
        Edit::AddFile(photo()),
        Edit::Medium(Some("photo".into())),
        Edit::CapturedAt(Some(1_700_000_000_000)),
        Edit::Place(Some(place.clone())),
        Edit::PersonalData(true),
        Edit::Declare(Declared::Ready),
    ];
    make(&mut document, ANI, &edits);

    let seen = view(&document);

    assert_eq!(seen.kind, "event");
    assert_eq!(seen.framework.as_ref().unwrap().id, "desa-antikorupsi");
    assert_eq!(seen.cycle, Some(2026));
    assert_eq!(seen.rows, BTreeSet::from(["1.1".into(), "1.2".into()]));
    assert_eq!(seen.files, [photo()]);
    assert_eq!(seen.place, Some(place));
    assert_eq!(seen.captured_at, Some(1_700_000_000_000));
    assert_eq!(seen.declared, Declared::Ready);
    assert!(seen.personal_data && seen.unknown.is_empty() && seen.conflicts.is_empty());
    assert_eq!(
        serde_json::to_string(&seen.fields).unwrap(),
        r#"{"agenda":"Penetapan APBDes","attendees":{"men":12,"women":15},"date":"2026-03-01","number":"140/12/2026","signatories":["Wali nagari","BPD"],"stamped":true,"value":"1250000.50","year":2026}"#
    );
}

#[test]
fn a_document_starts_with_one_change_without_dependencies_that_reads_back() {
    let (document, bytes) = create(ANI, -5, &meeting());
    let change = automerge::Change::from_bytes(bytes).unwrap();
    assert_eq!((change.seq(), change.deps().len()), (1, 0));
    assert_eq!(change.actor_id(), &ANI.to_automerge());
    assert_eq!((change.timestamp(), change.message()), (-5, None));
    assert!(change.author().is_none());
    assert_eq!(document.get_heads(), [change.hash()]);

    let mut copy = Automerge::new();
    copy.apply_changes([change]).unwrap();
    assert_eq!(json(&copy), json(&document));
}

#[test]
fn a_long_change_travels_compressed() {
    let mut new = meeting();
    new.narrative = "Rapat dibuka oleh kepala desa. ".repeat(100);
    let (document, bytes) = create(ANI, 0, &new);
    let change = document.get_last_local_change().unwrap();
    assert!(bytes.len() < change.raw_bytes().len() / 2);
    assert_eq!(
        automerge::Change::from_bytes(bytes).unwrap().hash(),
        change.hash()
    );
}

#[test]
fn setting_what_already_stands_is_no_change() {
    let mut document = started();
    let edits = [
        number("1"),
        field("signatories", Value::List(vec!["BPD".into()])),
        field("attendees", counts([("men", 3)])),
        Edit::AddFile(photo()),
        Edit::Declare(Declared::Ready),
        Edit::Narrative("Lain.".into()),
        Edit::AddRow("1.1".into()),
        Edit::Place(None),
        Edit::RemoveRow("9.9".into()),
        Edit::ClearField("never-set".into()),
        Edit::RemoveFile(FileHash([9; 32])),
    ];
    make(&mut document, ANI, &edits);
    let heads = document.get_heads();
    assert!(matches!(edit(&mut document, BUDI, 3_000, &edits), Ok(None)));
    assert_eq!(document.get_heads(), heads);
    document.save_and_verify().unwrap();
}

#[test]
fn edits_of_different_sentences_made_offline_both_survive() {
    let merged = concurrently(
        &started(),
        &[Edit::Narrative(
            "Rapat dibuka pukul delapan. Kepala desa hadir.".into(),
        )],
        &[Edit::Narrative(
            "Rapat dibuka pukul sembilan. Kepala desa dan camat hadir.".into(),
        )],
    );
    let seen = view(&merged);
    assert_eq!(
        seen.narrative,
        "Rapat dibuka pukul delapan. Kepala desa dan camat hadir."
    );
    assert!(seen.conflicts.is_empty());
}

#[test]
fn an_emoji_does_not_shift_an_edit_behind_it() {
    let mut document = started();
    make(
        &mut document,
        ANI,
        &[Edit::Narrative("Rapat 👩‍👩‍👧 selesai é.".into())],
    );
    let merged = concurrently(
        &document,
        &[Edit::Narrative("Rapat 👩‍👩‍👧 selesai é dan sah.".into())],
        &[Edit::Narrative("Rapat besar 👩‍👩‍👧 selesai é.".into())],
    );
    assert_eq!(view(&merged).narrative, "Rapat besar 👩‍👩‍👧 selesai é dan sah.");
}

#[test]
fn first_words_of_two_people_in_an_empty_text_field_both_survive() {
    let merged = concurrently(
        &started(),
        &[field("agenda", Value::Text("APBDes".into()))],
        &[field("agenda", Value::Text("Laporan".into()))],
    );
    let seen = view(&merged);
    let agenda = seen.fields["agenda"].as_str().unwrap();
    assert!(agenda.contains("APBDes") && agenda.contains("Laporan"));
    assert!(seen.conflicts.is_empty());
}

#[test]
fn a_text_field_made_by_two_devices_shows_both_texts_and_one_can_be_kept() {
    let mut merged = concurrently(
        &started(),
        &[field("of-a-later-version", Value::Text("satu".into()))],
        &[field("of-a-later-version", Value::Text("dua".into()))],
    );
    let conflict = view(&merged).conflicts.remove(0);
    assert_eq!(conflict.path, FieldPath::field("of-a-later-version"));
    let kept = conflict.values.iter().find(|value| !value.shown).unwrap();
    make(&mut merged, CITRA, &[keep(&conflict, kept)]);
    let seen = view(&merged);
    assert_eq!(seen.fields["of-a-later-version"], kept.value);
    assert!(seen.conflicts.is_empty());
}

fn keep(conflict: &Conflict, value: &ConcurrentValue) -> Edit {
    Edit::Resolve {
        path: conflict.path.clone(),
        keep: value.change,
        expected: conflict.fingerprint,
    }
}

#[test]
fn concurrent_values_stay_visible_until_a_person_chooses() {
    let mut merged = concurrently(
        &started(),
        &[Edit::Title("Rapat A".into()), number("12")],
        &[Edit::Title("Rapat B".into()), number("21")],
    );
    let seen = view(&merged);
    let paths: Vec<String> = seen
        .conflicts
        .iter()
        .map(|it| it.path.to_string())
        .collect();
    assert_eq!(paths, ["fields/number", "title"]);
    let title = &seen.conflicts[1];
    assert!(title.values.is_sorted_by_key(|value| value.change));
    let shown: Vec<&ConcurrentValue> = title.values.iter().filter(|it| it.shown).collect();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].value.as_str(), Some(seen.title.as_str()));

    for value in &title.values {
        let mut chosen = merged.clone();
        make(&mut chosen, CITRA, &[keep(title, value)]);
        let seen = view(&chosen);
        assert_eq!(Some(seen.title.as_str()), value.value.as_str());
        assert_eq!(seen.conflicts.len(), 1);
    }

    make(&mut merged, CITRA, &[Edit::Title(seen.title.clone())]);
    assert_eq!(
        view(&merged).conflicts.len(),
        1,
        "setting the shown value again chooses it"
    );
}

#[test]
fn the_same_value_written_twice_is_no_conflict() {
    let mut merged = concurrently(&started(), &[number("12")], &[number("12")]);
    assert!(view(&merged).conflicts.is_empty());
    assert!(matches!(
        edit(&mut merged, CITRA, 0, &[number("12")]),
        Ok(None)
    ));
}

#[test]
fn a_choice_on_values_that_changed_since_is_refused() {
    let mut merged = concurrently(&started(), &[number("12")], &[number("21")]);
    let conflict = view(&merged).conflicts.remove(0);
    let mut third = started();
    make(&mut third, CITRA, &[number("99")]);
    merged.merge(&mut third).unwrap();
    let before = json(&merged);

    let choice = keep(&conflict, &conflict.values[0]);
    let edits = [Edit::Title("Not made either".into()), choice];
    let refused = edit(&mut merged, CITRA, 0, &edits).unwrap_err();
    assert!(matches!(refused, EditError::Stale { .. }));
    assert_eq!(json(&merged), before);

    let current = view(&merged).conflicts.remove(0);
    assert_eq!(current.values.len(), 3);
    make(&mut merged, CITRA, &[keep(&current, &current.values[2])]);
    let gone = edit(&mut merged, CITRA, 0, &[keep(&current, &current.values[2])]).unwrap_err();
    assert_eq!(
        gone.to_string(),
        "cannot choose a value of 'fields/number': there are no concurrent values"
    );
}

#[test]
fn a_choice_must_name_one_of_the_values() {
    let mut merged = concurrently(&started(), &[number("12")], &[number("21")]);
    let conflict = view(&merged).conflicts.remove(0);
    let root = view(&started()).heads[0];
    let choice = Edit::Resolve {
        path: conflict.path.clone(),
        keep: root,
        expected: conflict.fingerprint,
    };
    let refused = edit(&mut merged, CITRA, 0, &[choice]).unwrap_err();
    assert!(matches!(refused, EditError::NoSuchValue { .. }));
    let other = Edit::Resolve {
        path: conflict.path.clone(),
        keep: conflict.values[0].change,
        expected: Fingerprint([0; 16]),
    };
    let refused = edit(&mut merged, CITRA, 0, &[other]).unwrap_err();
    assert!(matches!(refused, EditError::Stale { .. }));
}

#[test]
fn concurrent_declarations_are_a_conflict_and_count_as_ready() {
    let reason = "Salah desa".to_owned();
    let merged = concurrently(
        &started(),
        &[Edit::Declare(Declared::Ready)],
        &[Edit::Withdraw { reason }],
    );
    let seen = view(&merged);
    assert_eq!(seen.conflicts[0].path, FieldPath::root("declared"));
    assert_eq!(
        seen.declared,
        Declared::Withdrawn,
        "Budi's actor is the higher"
    );
    assert!(reads_ready(&merged));
    assert!(!reads_ready(&started()));
}

#[test]
fn evidence_is_withdrawn_with_a_reason_only() {
    let mut document = started();
    for edits in [
        Edit::Withdraw {
            reason: "  ".into(),
        },
        Edit::Declare(Declared::Withdrawn),
    ] {
        let refused = edit(&mut document, ANI, 0, &[edits]).unwrap_err();
        assert_eq!(refused.to_string(), "cannot withdraw without a reason");
    }
    make(
        &mut document,
        ANI,
        &[Edit::Withdraw {
            reason: "Ganda".into(),
        }],
    );
    assert_eq!(view(&document).withdrawal_reason.as_deref(), Some("Ganda"));
    make(&mut document, ANI, &[Edit::Declare(Declared::Draft)]);
    assert_eq!(view(&document).withdrawal_reason, None);
}

#[test]
fn a_row_added_again_survives_a_removal_made_without_knowing() {
    let mut base = started();
    make(&mut base, ANI, &[Edit::AddRow("1.2".into())]);
    let (mut remover, mut adder) = (base.clone(), base.clone());
    make(&mut remover, ANI, &[Edit::RemoveRow("1.2".into())]);
    make(&mut adder, BUDI, &[Edit::RemoveRow("1.2".into())]);
    make(&mut adder, BUDI, &[Edit::AddRow("1.2".into())]);
    remover.merge(&mut adder).unwrap();
    assert!(view(&remover).rows.contains("1.2"));
}

#[test]
fn lists_and_counts_of_two_people_merge() {
    let mut base = started();
    let people = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        field("signatories", Value::List(names))
    };
    make(
        &mut base,
        ANI,
        &[
            people(&["Ani", "Budi"]),
            field("attendees", counts([("men", 10), ("women", 10)])),
        ],
    );
    let merged = concurrently(
        &base,
        &[
            people(&["Wali", "Ani", "Budi"]),
            field("attendees", counts([("men", 12), ("women", 10)])),
        ],
        &[
            people(&["Ani", "Budi", "Camat"]),
            field("attendees", counts([("men", 9), ("youth", 4)])),
        ],
    );
    let seen = view(&merged);
    assert_eq!(
        serde_json::to_string(&seen.fields).unwrap(),
        r#"{"attendees":{"men":11,"youth":4},"signatories":["Wali","Ani","Budi","Camat"]}"#
    );
    assert!(seen.conflicts.is_empty());
}

#[test]
fn a_place_is_one_value_whose_halves_never_mix() {
    let place = |degrees: i64| Place {
        latitude_e7: degrees,
        longitude_e7: degrees,
        accuracy_m: None,
        source: "gps".into(),
    };
    let mut base = started();
    make(&mut base, ANI, &[Edit::Place(Some(place(1)))]);
    let merged = concurrently(
        &base,
        &[Edit::Place(Some(place(2)))],
        &[Edit::Place(Some(Place {
            source: "map".into(),
            ..place(3)
        }))],
    );
    let seen = view(&merged);
    let shown = seen.place.unwrap();
    assert_eq!(shown.latitude_e7, shown.longitude_e7);
    assert_eq!(seen.conflicts.len(), 1);
    assert_eq!(seen.conflicts[0].path, FieldPath::root("place"));
}

#[test]
fn a_cleared_text_keeps_what_another_person_adds_meanwhile() {
    let mut base = started();
    make(
        &mut base,
        ANI,
        &[field("agenda", Value::Text("Lama".into())), number("1")],
    );
    let merged = concurrently(
        &base,
        &[
            Edit::ClearField("agenda".into()),
            Edit::ClearField("number".into()),
        ],
        &[field("agenda", Value::Text("Lama dan baru".into()))],
    );
    let seen = view(&merged);
    assert_eq!(seen.fields["agenda"].as_str(), Some(" dan baru"));
    assert!(!seen.fields.contains_key("number"));
}

#[test]
fn a_path_reads_back_from_what_it_prints() {
    let path = FieldPath::field("a/b~1").child("c");
    assert_eq!(path.to_string(), "fields/a~1b~01/c");
    assert_eq!(path.to_string().parse::<FieldPath>().unwrap(), path);
    assert!("".parse::<FieldPath>().is_err());
}

#[test]
fn only_actors_of_our_length_are_ours() {
    assert_eq!(own_actor(&BUDI.to_automerge()), Some(BUDI));
    assert_eq!(own_actor(&ActorId::from(vec![7_u8; 4])), None);
}
