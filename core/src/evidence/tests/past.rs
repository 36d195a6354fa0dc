//! Who wrote what, and work entered again.

use super::*;

/// The history as lines, without the change that started the document.
fn lines(document: &Automerge) -> Vec<String> {
    let entries = history(document).into_iter().skip(1);
    entries
        .flat_map(|entry| entry.edits)
        .map(|edit| edit.to_string())
        .collect()
}

#[test]
fn the_history_reads_as_what_people_did() {
    let mut document = started();
    make(
        &mut document,
        ANI,
        &[
            number("12"),
            field("attendees", counts([("men", 12)])),
            Edit::AddRow("1.2".into()),
            Edit::AddFile(photo()),
        ],
    );
    make(
        &mut document,
        BUDI,
        &[
            Edit::Title("Musyawarah nagari".into()),
            number("13"),
            Edit::Narrative("Rapat dibuka pukul delapan. Kepala desa hadir.".into()),
            Edit::RemoveRow("1.1".into()),
            Edit::AddFile(FileEntry {
                part: None,
                ..photo()
            }),
            Edit::PersonalData(true),
        ],
    );
    make(
        &mut document,
        ANI,
        &[
            Edit::ClearField("number".into()),
            Edit::RemoveFile(photo().hash),
            Edit::Withdraw {
                reason: "Ganda".into(),
            },
        ],
    );
    assert_eq!(
        lines(&document),
        [
            "attendees: men 12",
            "number: \"12\"",
            "row 1.2 added",
            "file \"undangan.jpg\" added",
            "number: \"12\" → \"13\"",
            "narrative: +5 −6 characters",
            "personal_data: yes",
            "title: \"Musyawarah desa\" → \"Musyawarah nagari\"",
            "row 1.1 removed",
            "file \"undangan.jpg\" corrected",
            "declared: \"draft\" → \"withdrawn\"",
            "number: \"13\" cleared",
            "withdrawal_reason: \"Ganda\"",
            "file \"undangan.jpg\" removed",
        ]
    );
}

#[test]
fn the_history_names_the_choice_and_what_it_was_chosen_over() {
    let mut merged = concurrently(&started(), &[number("12")], &[number("21")]);
    let conflict = view(&merged).conflicts.remove(0);
    let ani = conflict
        .values
        .iter()
        .find(|it| it.actor == ANI.to_automerge())
        .unwrap();
    make(&mut merged, CITRA, &[keep(&conflict, ani)]);
    assert_eq!(
        lines(&merged).last().map(String::as_str),
        Some("number: chose \"12\" over \"21\"")
    );
    let last = history(&merged).pop().unwrap();
    assert_eq!(
        (own_actor(&last.actor), last.seq, last.time),
        (Some(CITRA), 1, 2_000)
    );
}

#[test]
fn each_value_names_its_last_writer() {
    let mut document = started();
    make(
        &mut document,
        ANI,
        &[
            field("attendees", counts([("men", 1), ("women", 1)])),
            number("1"),
        ],
    );
    make(
        &mut document,
        BUDI,
        &[
            field("attendees", counts([("men", 5), ("women", 1)])),
            Edit::AddRow("1.2".into()),
            Edit::Narrative("Rapat dibuka pukul sembilan. Kepala desa hadir. Selesai.".into()),
        ],
    );
    let found = contributions(&document);
    let writers = |path: &str| -> Vec<(Actor, usize)> {
        let at = found.iter().filter(|it| it.path.to_string() == path);
        at.map(|it| (own_actor(&it.actor).unwrap(), it.parts))
            .collect()
    };
    assert_eq!(writers("title"), [(ANI, 1)]);
    assert_eq!(writers("rows/1.1"), [(ANI, 1)]);
    assert_eq!(writers("rows/1.2"), [(BUDI, 1)]);
    assert_eq!(writers("fields/number"), [(ANI, 1)]);
    assert_eq!(writers("fields/attendees/men"), [(BUDI, 1)]);
    assert_eq!(writers("fields/attendees/women"), [(ANI, 1)]);
    assert_eq!(writers("narrative"), [(ANI, 47), (BUDI, 9)]);
    let root = view(&started()).heads[0];
    let title = found
        .iter()
        .find(|it| it.path == FieldPath::root("title"))
        .unwrap();
    assert_eq!((title.change, title.time), (root, 1_000));
}

#[test]
fn refused_work_beside_a_confirmed_value_is_entered_again() {
    for (writer, refused_writer) in [(ANI, BUDI), (BUDI, ANI)] {
        let mut confirmed = started();
        make(&mut confirmed, writer, &[number("12")]);
        let mut refused = started();
        make(
            &mut refused,
            refused_writer,
            &[number("21"), Edit::AddRow("3".into())],
        );
        let mut wanted = confirmed.clone();
        wanted.merge(&mut refused).unwrap();

        let again = restage(&confirmed, &wanted);

        assert_eq!(again, [Edit::AddRow("3".into()), number("21")]);
    }
}

#[test]
fn a_choice_that_was_refused_is_made_again() {
    let mut confirmed = concurrently(&started(), &[number("12")], &[number("21")]);
    let conflict = view(&confirmed).conflicts.remove(0);
    for value in &conflict.values {
        let mut wanted = confirmed.clone();
        make(&mut wanted, CITRA, &[keep(&conflict, value)]);
        let again = restage(&confirmed, &wanted);
        assert_eq!(again, [number(value.value.as_str().unwrap())]);
    }
    let wanted = confirmed.clone();
    assert_eq!(
        restage(&confirmed, &wanted),
        [],
        "an open conflict stays open"
    );
    make(&mut confirmed, BUDI, &[number("21")]);
    assert!(view(&confirmed).conflicts.is_empty());
}

#[test]
fn changes_tell_their_words_where_their_document_is_not() {
    let (mut document, root) = create(ANI, 1_000, &meeting());
    let edits = [
        Edit::Title("Dari salinan".into()),
        number("140/12/2026"),
        field("agenda", Value::Text("Penetapan".into())),
        field(
            "signatories",
            Value::List(vec!["Wali nagari".into(), "BPD".into()]),
        ),
        field("attendees", counts([("men", 12)])),
        Edit::AddRow("1.2".into()),
        Edit::RemoveRow("1.1".into()),
        Edit::AddFile(photo()),
        Edit::Narrative("Rapat dibuka pukul sepuluh. Kepala desa hadir semua.".into()),
    ];
    let change = make(&mut document, ANI, &edits);

    let alone = words(std::slice::from_ref(&change));
    assert_eq!(alone.title, "Dari salinan");
    for line in [
        "title: \"Dari salinan\"",
        "number: \"140/12/2026\"",
        "text: \"Penetapan\"",
        "list: \"Wali nagari\", \"BPD\"",
        "1.2: yes",
        "1.1: cleared",
        "text: \" semua\"",
    ] {
        let lines = &alone.lines;
        assert!(
            lines.iter().any(|told| told == line),
            "{line} in {lines:#?}"
        );
    }
    let named = |part: &str| alone.lines.iter().any(|line| line.contains(part));
    assert!(named("undangan.jpg") && named("12") && named("characters or items"));

    let with_root = words(&[root, change]);
    assert!(with_root.lines.contains(&"rows/1.2: yes".to_owned()));
    assert!(
        with_root
            .lines
            .contains(&"agenda: \"Penetapan\"".to_owned())
    );
    assert_eq!(words(&[b"no change".to_vec()]), Words::default());
}
