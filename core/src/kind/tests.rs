use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn field(value_type: FieldType) -> Field {
    Field {
        code: "field".into(),
        label: Label {
            id: "Isian".into(),
            en: None,
        },
        value_type,
        required: false,
    }
}

fn parsed(value_type: FieldType, text: &str) -> Option<FieldValue> {
    field(value_type).parse(text).ok()
}

fn phases() -> FieldType {
    let option = |code: &str| ChoiceOption {
        code: code.into(),
        label: Label {
            id: code.into(),
            en: None,
        },
    };
    FieldType::Choice(vec![option("before"), option("after")])
}

#[test]
fn all_fourteen_kinds_are_there_with_labels_in_both_languages() {
    let kinds = Kinds::built_in();
    let codes: Vec<&str> = kinds.iter().map(|kind| kind.code.as_str()).collect();
    assert_eq!(
        codes,
        [
            "regulation",
            "plan",
            "event",
            "photo",
            "procurement",
            "declaration",
            "letter",
            "audit-follow-up",
            "complaint-channel",
            "survey",
            "public-display",
            "publication",
            "video-testimony",
            "external-score",
        ]
    );
    for kind in kinds.iter() {
        assert!(kind.label.en.is_some(), "{}", kind.code);
        let required = kind.fields.iter().filter(|field| field.required).count();
        assert!(required > 0, "{}", kind.code);
        for field in &kind.fields {
            let place = format!("{}.{}", kind.code, field.code);
            assert!(field.label.en.is_some(), "{place}");
            let snake = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(field.code.bytes().all(snake), "{place}");
            assert_ne!(field.code, "kind");
            if let FieldType::Choice(options) = &field.value_type {
                assert!(
                    options.iter().all(|option| option.label.en.is_some()),
                    "{place}"
                );
            }
        }
    }
}

#[test]
fn a_kind_tells_which_required_fields_are_missing() {
    let kinds = Kinds::built_in();
    let event = kinds.kind("event").unwrap();
    let missing = |present: &[&str]| -> Vec<String> {
        let fields = event.missing_required(present);
        fields.iter().map(|field| field.code.clone()).collect()
    };
    assert_eq!(missing(&[]), ["title", "date", "place"]);
    assert_eq!(missing(&["date", "agenda"]), ["title", "place"]);
    assert_eq!(missing(&["place", "title", "date"]), [""; 0]);
    assert!(event.field("attendees").is_some());
    assert!(event.field("caption").is_none());
    assert!(kinds.kind("meeting").is_none());
}

#[test]
fn whole_numbers_are_read_exactly() {
    let read = |text| parsed(FieldType::Integer, text);
    assert_eq!(read(" 2025 "), Some(FieldValue::Integer(2025)));
    assert_eq!(read("-3"), Some(FieldValue::Integer(-3)));
    assert_eq!(
        read("9223372036854775807"),
        Some(FieldValue::Integer(i64::MAX))
    );
    for bad in ["", "20x5", "1.0", "1,000", "9223372036854775808"] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

#[test]
fn decimals_keep_every_digit_and_equal_numbers_are_equal_text() {
    for (typed, expected) in [
        ("78.30", "78.3"),
        ("0078.3", "78.3"),
        ("1250000", "1250000"),
        ("10.00", "10"),
        ("-0.50", "-0.5"),
        ("-0.0", "0"),
        ("000", "0"),
        ("0.1", "0.1"),
        (
            "123456789012345678901234567.891",
            "123456789012345678901234567.891",
        ),
    ] {
        assert_eq!(
            parsed(FieldType::Decimal, typed),
            Some(FieldValue::Decimal(expected.into())),
            "{typed}"
        );
    }
    for bad in [
        "",
        "-",
        ".5",
        "5.",
        "1,5",
        "1.000.000",
        "1e3",
        "+1",
        "--1",
        "NaN",
        "1 000",
        "١",
        "1234567890123456789012345678901",
    ] {
        assert_eq!(parsed(FieldType::Decimal, bad), None, "{bad}");
    }
}

#[test]
fn dates_are_days_that_the_calendar_has() {
    for good in [
        "2025-12-09",
        "2024-02-29",
        "2000-02-29",
        "0001-01-01",
        "2025-11-30",
    ] {
        assert_eq!(
            parsed(FieldType::Date, good),
            Some(FieldValue::Date(good.into()))
        );
    }
    for bad in [
        "2025-02-29",
        "1900-02-29",
        "2025-04-31",
        "2025-13-01",
        "2025-00-10",
        "2025-01-00",
        "2025-1-1",
        "09-12-2025",
        "2025/12/09",
        "0000-01-01",
        "2025-12-0é",
        "+025-12-09",
        "",
    ] {
        assert_eq!(parsed(FieldType::Date, bad), None, "{bad}");
    }
}

#[test]
fn yes_and_no_are_understood_in_both_languages() {
    for yes in ["yes", "true", "ya"] {
        assert_eq!(
            parsed(FieldType::Boolean, yes),
            Some(FieldValue::Boolean(true))
        );
    }
    for no in ["no", "false", "tidak"] {
        assert_eq!(
            parsed(FieldType::Boolean, no),
            Some(FieldValue::Boolean(false))
        );
    }
    assert_eq!(parsed(FieldType::Boolean, "1"), None);
}

#[test]
fn a_choice_takes_its_options_only() {
    assert_eq!(
        parsed(phases(), "after"),
        Some(FieldValue::Choice("after".into()))
    );
    assert_eq!(parsed(phases(), "After"), None);
}

#[test]
fn lists_and_counts_are_separated_by_semicolons() {
    assert_eq!(
        parsed(FieldType::List, "Kepala desa; Ketua BPD"),
        Some(FieldValue::List(vec![
            "Kepala desa".into(),
            "Ketua BPD".into()
        ]))
    );
    assert_eq!(
        parsed(FieldType::Counts, "women=4; men=3"),
        Some(FieldValue::Counts(BTreeMap::from([
            ("men".into(), 3),
            ("women".into(), 4),
        ])))
    );
    for bad in ["", ";", "a;;b", "a;"] {
        assert_eq!(parsed(FieldType::List, bad), None, "{bad}");
    }
    for bad in [
        "",
        "men",
        "=3",
        "men=",
        "men=-1",
        "men=3;men=4",
        "men=3;",
        "men=1.5",
    ] {
        assert_eq!(parsed(FieldType::Counts, bad), None, "{bad}");
    }
    let many = |count| vec!["x"; count].join(";");
    assert!(parsed(FieldType::List, &many(limits::FIELD_ITEMS_MAX)).is_some());
    assert_eq!(
        parsed(FieldType::List, &many(limits::FIELD_ITEMS_MAX + 1)),
        None
    );
    let groups = |count| {
        (0..count)
            .map(|n| format!("g{n}=1"))
            .collect::<Vec<_>>()
            .join(";")
    };
    assert!(parsed(FieldType::Counts, &groups(limits::FIELD_ITEMS_MAX)).is_some());
    assert_eq!(
        parsed(FieldType::Counts, &groups(limits::FIELD_ITEMS_MAX + 1)),
        None
    );
}

#[test]
fn strings_are_one_line_and_texts_several() {
    let string = |text: &str| parsed(FieldType::String, text);
    assert_eq!(
        string(" Balai Nagari "),
        Some(FieldValue::String("Balai Nagari".into()))
    );
    assert!(string(&"x".repeat(limits::FIELD_STRING_BYTES_MAX)).is_some());
    assert_eq!(
        string(&"x".repeat(limits::FIELD_STRING_BYTES_MAX + 1)),
        None
    );
    for bad in ["", "  ", "a\nb", "a\u{7}b"] {
        assert_eq!(string(bad), None, "{bad:?}");
    }
    let text = |text: &str| parsed(FieldType::Text, text);
    assert_eq!(
        text("satu\r\ndua\n"),
        Some(FieldValue::Text("satu\ndua".into()))
    );
    assert!(text(&"x".repeat(limits::FIELD_TEXT_BYTES_MAX)).is_some());
    assert_eq!(text(&"x".repeat(limits::FIELD_TEXT_BYTES_MAX + 1)), None);
    for bad in ["", "a\u{0}b", "a\rb"] {
        assert_eq!(text(bad), None, "{bad:?}");
    }
}

#[test]
fn a_refused_value_says_what_was_expected_with_an_example() {
    let error = |value_type, text| field(value_type).parse(text).unwrap_err().to_string();
    assert_eq!(
        error(FieldType::Integer, "20x5"),
        "field: '20x5' is not a whole number such as 2025"
    );
    assert_eq!(
        error(FieldType::Date, "2025-02-30"),
        "field: '2025-02-30' is not a day of the calendar as yyyy-mm-dd such as 2025-12-09"
    );
    assert_eq!(
        error(phases(), "later"),
        "field: 'later' is not one of before, after"
    );
    assert_eq!(
        error(FieldType::Counts, "men"),
        "field: 'men' is not 1 to 100 groups, each once and with a number from 0, such as \
         men=3;women=4"
    );
    assert_eq!(
        error(FieldType::Decimal, &"9".repeat(100))
            .matches('9')
            .count(),
        80
    );
}

fn any_type() -> impl Strategy<Value = FieldType> {
    prop::sample::select(vec![
        FieldType::String,
        FieldType::Text,
        FieldType::Integer,
        FieldType::Decimal,
        FieldType::Date,
        FieldType::Boolean,
        phases(),
        FieldType::List,
        FieldType::Counts,
    ])
}

proptest! {
    #[test]
    fn a_value_reads_back_from_what_it_prints(
        value_type in any_type(),
        text in prop_oneof![
            any::<String>(),
            "-?[0-9]{1,20}(\\.[0-9]{1,10})?",
            "[0-9]{4}-[01][0-9]-[0-3][0-9]",
            "[a-z ]{1,5}=[0-9]{1,3};[a-z ]{1,5}=[0-9]{1,3}",
            Just("before".to_owned()),
        ],
    ) {
        let field = field(value_type);
        if let Ok(value) = field.parse(&text) {
            prop_assert_eq!(field.parse(&value.to_string()), Ok(value));
        }
    }
}

fn small() -> Value {
    json!({"kinds": [{
        "code": "photo", "label": {"id": "Foto"},
        "fields": [
            {"code": "caption", "label": {"id": "Keterangan"}, "type": "string", "required": true},
            {"code": "phase", "label": {"id": "Tahap"}, "type": "choice", "required": false,
             "options": [{"code": "before", "label": {"id": "Sebelum"}}]},
        ],
    }]})
}

#[test]
fn a_fault_in_a_kinds_file_is_named_by_its_path() {
    assert!(Kinds::from_json("k.json", small().to_string().as_bytes()).is_ok());
    for (pointer, replacement, expected) in [
        ("/kinds", json!([]), "k.json: kinds: has no item"),
        (
            "/kinds/0/fields/0/type",
            json!("number"),
            "k.json: kinds[0].fields[0].type: 'number' is not a type: expected string, text, integer, decimal, date, boolean, choice, list or counts",
        ),
        (
            "/kinds/0/fields/0/required",
            json!("yes"),
            "k.json: kinds[0].fields[0].required: expected true or false, found text",
        ),
        (
            "/kinds/0/fields/0/code",
            json!("kind"),
            "k.json: kinds[0].fields[0].code: 'kind' names the kind itself: call the field subtype",
        ),
        (
            "/kinds/0/fields/1/code",
            json!("caption"),
            "k.json: kinds[0].fields[1].code: 'caption' is used twice",
        ),
        (
            "/kinds/0/fields/1/type",
            json!("list"),
            "k.json: kinds[0].fields[1].options: only a choice has options",
        ),
        (
            "/kinds/0/fields/0/type",
            json!("choice"),
            "k.json: kinds[0].fields[0].options: is missing",
        ),
        (
            "/kinds/0/fields/1/options",
            json!([]),
            "k.json: kinds[0].fields[1].options: has no item",
        ),
        (
            "/kinds/0/fields/1/options/0/label/id",
            json!(""),
            "k.json: kinds[0].fields[1].options[0].label.id: is empty",
        ),
    ] {
        let mut value = small();
        match value.pointer_mut(pointer) {
            Some(place) => *place = replacement,
            None => panic!("{pointer}"),
        }
        let error = Kinds::from_json("k.json", value.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_field_is_shown_as_json_in_the_shape_of_the_kinds_file() {
    let kinds = Kinds::from_json("k.json", small().to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(&kinds).unwrap(), small());
    assert_eq!(
        serde_json::to_value(FieldValue::Counts(BTreeMap::from([("men".into(), 3)]))).unwrap(),
        json!({"men": 3})
    );
    assert_eq!(
        serde_json::to_value(FieldValue::Decimal("78.3".into())).unwrap(),
        json!("78.3")
    );
}
