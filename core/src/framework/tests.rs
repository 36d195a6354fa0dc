use serde_json::json;

use super::*;
use crate::limits;

fn village() -> Framework {
    let [(name, bytes), _] = built_in();
    Framework::from_json(name, bytes).unwrap()
}

fn city() -> Framework {
    let [_, (name, bytes)] = built_in();
    Framework::from_json(name, bytes).unwrap()
}

/// A framework of one component, two indicators and one row, in which nothing is wrong.
fn small() -> Value {
    json!({
        "id": "small", "version": "1", "title": {"id": "Kecil"}, "applies_to": ["village"],
        "pass_mark": 90, "pass_rule": "above",
        "components": [{
            "code": "A", "title": {"id": "Tata kelola"}, "weight": 10, "weight_status": "official",
            "indicators": [
                {
                    "code": "A.1", "title": {"id": "Anggaran"}, "weight": 6,
                    "weight_status": "official",
                    "rows": [{"code": "A.1.1", "title": {"id": "APBDes"}}],
                },
                {
                    "code": "A.2", "title": {"id": "Pengawasan"}, "weight": 4,
                    "weight_status": "official",
                },
            ],
        }],
    })
}

fn read(value: &Value) -> Result<Framework, FrameworkError> {
    Framework::from_json("small.json", value.to_string().as_bytes())
}

/// The fault of `small` after the value at `pointer` is replaced, or removed with nothing given.
fn fault(pointer: &str, replacement: Option<Value>) -> String {
    let mut value = small();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap();
    match (replacement, parent) {
        (Some(replacement), Value::Array(items)) => {
            items[key.parse::<usize>().unwrap()] = replacement;
        }
        (Some(replacement), parent) => parent[key] = replacement,
        (None, parent) => {
            parent.as_object_mut().unwrap().remove(key).unwrap();
        }
    }
    read(&value).unwrap_err().to_string()
}

#[test]
fn the_village_framework_has_every_component_indicator_and_row() {
    let framework = village();
    assert_eq!(
        framework.reference().to_string(),
        "desa-antikorupsi@2021+checklist-2025"
    );
    assert_eq!(framework.components().len(), 5);
    assert_eq!(framework.indicators().count(), 18);
    assert_eq!(framework.rows().count(), 91);
    let numbers: Vec<Option<u32>> = framework.indicators().map(|each| each.number).collect();
    assert_eq!(numbers, (1..=18).map(Some).collect::<Vec<_>>());
    let pass = framework.pass().unwrap();
    assert_eq!(pass.rating.as_ref().unwrap().id, "AA / Istimewa");
    assert!(pass.reached_by(90.0) && !pass.reached_by(89.99));
    assert_eq!(framework.applies_to(), [UnitType::Village]);
}

#[test]
fn the_city_framework_has_every_component_and_indicator() {
    let framework = city();
    assert_eq!(
        framework.reference().to_string(),
        "kabkota-antikorupsi@2024"
    );
    assert_eq!(framework.components().len(), 6);
    assert_eq!(framework.indicators().count(), 19);
    assert_eq!(framework.rows().count(), 0);
    let pass = framework.pass().unwrap();
    assert!(pass.reached_by(94.75) && !pass.reached_by(90.0));
    assert_eq!(
        framework
            .extra("entry_criteria")
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        8
    );
    assert_eq!(framework.extra("grouping_status"), Some(&json!("inferred")));
}

#[test]
fn only_published_weights_count_and_unknown_ones_stay_null() {
    let framework = village();
    let known: Vec<(&str, f64)> = framework
        .indicators()
        .filter_map(|indicator| Some((indicator.code.as_str(), indicator.weight.official()?)))
        .collect();
    assert_eq!(known, [("I.1", 5.0)]);
    assert_eq!(framework.components()[0].weight.official(), Some(25.0));
    let unknown = &framework.components()[1].weight;
    assert_eq!(
        (unknown.points(), unknown.status()),
        (None, Some("unknown"))
    );
    assert!(!framework.weights_complete());

    let written: Value = serde_json::from_slice(&framework.to_json()).unwrap();
    assert_eq!(written["components"][1].get("weight"), Some(&Value::Null));
}

#[test]
fn a_total_needs_every_weight_to_be_official() {
    assert!(read(&small()).unwrap().weights_complete());
    for pointer in ["/components/0", "/components/0/indicators/1"] {
        let mut guessed = small();
        guessed.pointer_mut(pointer).unwrap()["weight_status"] = json!("inferred");
        assert!(!read(&guessed).unwrap().weights_complete(), "{pointer}");

        let mut unsaid = small();
        unsaid
            .pointer_mut(pointer)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove("weight_status");
        assert!(!read(&unsaid).unwrap().weights_complete(), "{pointer}");
    }
}

#[test]
fn a_code_finds_its_item_and_what_it_lies_in() {
    let framework = village();
    assert!(matches!(framework.find("II"), Some(Item::Component(found)) if found.code == "II"));
    assert!(matches!(framework.find("II.1"), Some(Item::Indicator(found)) if found.code == "II.1"));
    assert!(matches!(framework.find("I.1.10"), Some(Item::Row(found)) if found.code == "I.1.10"));
    assert_eq!(framework.find("I.1.11"), None);
    assert_eq!(
        framework.find("I.1.1").unwrap().title().english(),
        "RPJMDes"
    );
    assert_eq!(framework.indicator_of("IV.2.8").unwrap().code, "IV.2");
    assert_eq!(framework.indicator_of("IV.2").unwrap().code, "IV.2");
    assert_eq!(framework.indicator_of("IV"), None);
    assert_eq!(framework.component_of("IV.2.8").unwrap().code, "IV");
    for row in framework.rows() {
        assert_eq!(framework.find(&row.code), Some(Item::Row(row)));
    }
}

#[test]
fn a_unit_is_assessed_where_the_framework_applies_to_its_type() {
    let scope = |text: &str| text.parse::<Scope>().unwrap();
    assert!(village().assesses(&scope("13.07.01.2001")));
    assert!(!village().assesses(&scope("13.76.01.1021")));
    assert!(!village().assesses(&scope("13.07")));
    assert!(city().assesses(&scope("13.76")));
    assert!(city().assesses(&scope("13.07")));
    assert!(city().assesses(&scope("13.76/dinkes")));
    assert!(!city().assesses(&scope("13/dinkes")));
    assert!(!city().assesses(&scope("all")));
}

#[test]
fn unknown_keys_are_kept_and_written_back() {
    let mut value = small();
    value["decree"] = json!({"number": 7});
    value["components"][0]["indicators"][0]["rows"][0]["media"] = json!(["paper", "website"]);
    let framework = read(&value).unwrap();
    let written = framework.to_json();
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), value);
    assert_eq!(Framework::from_json("again.json", &written), Ok(framework));
}

#[test]
fn a_missing_or_mistyped_field_is_named_by_its_path() {
    for (pointer, replacement, expected) in [
        ("/id", None, "small.json: id: is missing"),
        (
            "/version",
            Some(json!(1)),
            "small.json: version: expected text, found a number",
        ),
        (
            "/version",
            Some(json!("a b")),
            "small.json: version: 'a b' is not allowed: expected letters, digits and any of . + - _",
        ),
        (
            "/id",
            Some(json!("Desa")),
            "small.json: id: 'Desa' is not allowed: expected lowercase letters, digits and hyphens",
        ),
        (
            "/title",
            Some(json!("Kecil")),
            "small.json: title: expected an object, found text",
        ),
        (
            "/title/id",
            Some(json!(" ")),
            "small.json: title.id: is empty",
        ),
        (
            "/title/id",
            Some(json!("a\nb")),
            "small.json: title.id: holds a line break or another control character",
        ),
        (
            "/title/en",
            Some(json!(7)),
            "small.json: title.en: expected text, found a number",
        ),
        (
            "/applies_to",
            Some(json!([])),
            "small.json: applies_to: names no type of unit",
        ),
        (
            "/applies_to/0",
            Some(json!("desa")),
            "small.json: applies_to[0]: 'desa' is not a type of unit: expected province, regency, city, district, ward, village, customary_village or agency",
        ),
        (
            "/pass_rule",
            Some(json!("over")),
            "small.json: pass_rule: 'over' is not a pass rule: expected at_least or above",
        ),
        ("/pass_rule", None, "small.json: pass_rule: is missing"),
        (
            "/pass_mark",
            None,
            "small.json: pass_rule: needs a pass_mark beside it",
        ),
        (
            "/pass_mark",
            Some(json!("90")),
            "small.json: pass_mark: expected a number, found text",
        ),
        ("/components", None, "small.json: components: is missing"),
        (
            "/components",
            Some(json!([])),
            "small.json: components: has no item",
        ),
        (
            "/components/0",
            Some(json!(true)),
            "small.json: components[0]: expected an object, found true or false",
        ),
        (
            "/components/0/indicators",
            Some(json!({})),
            "small.json: components[0].indicators: expected a list, found an object",
        ),
        (
            "/components/0/indicators/0/code",
            Some(json!("A 1")),
            "small.json: components[0].indicators[0].code: 'A 1' is not a code: expected letters, digits, dots, hyphens and underscores",
        ),
        (
            "/components/0/indicators/0/number",
            Some(json!(1.5)),
            "small.json: components[0].indicators[0].number: expected a whole number from 0, found a number",
        ),
        (
            "/components/0/indicators/0/title/id",
            None,
            "small.json: components[0].indicators[0].title.id: is missing",
        ),
        (
            "/components/0/indicators/0/rows/0/title",
            None,
            "small.json: components[0].indicators[0].rows[0].title: is missing",
        ),
        (
            "/components/0/weight",
            None,
            "small.json: components[0].weight: is missing",
        ),
        (
            "/components/0/weight",
            Some(json!(-1)),
            "small.json: components[0].weight: -1 is negative",
        ),
        (
            "/components/0/indicators/1/weight",
            Some(json!("4")),
            "small.json: components[0].indicators[1].weight: expected a number, found text",
        ),
        (
            "/components/0/weight",
            Some(Value::Null),
            "small.json: components[0].weight: is null although weight_status says official",
        ),
    ] {
        assert_eq!(fault(pointer, replacement), expected);
    }
}

#[test]
fn a_code_used_twice_is_refused_at_its_second_place() {
    assert_eq!(
        fault("/components/0/indicators/1/code", Some(json!("A.1"))),
        "small.json: components[0].indicators[1].code: 'A.1' is used twice"
    );
    assert_eq!(
        fault("/components/0/indicators/1/code", Some(json!("A"))),
        "small.json: components[0].indicators[1].code: 'A' is used twice"
    );
}

#[test]
fn a_row_of_another_indicator_is_refused() {
    for stray in ["A.2.1", "A.11", "A.1.", "B"] {
        assert_eq!(
            fault("/components/0/indicators/0/rows/0/code", Some(json!(stray))),
            format!(
                "small.json: components[0].indicators[0].rows[0].code: '{stray}' does not belong \
                 to indicator A.1: expected A.1. and a number"
            )
        );
    }
}

#[test]
fn what_is_not_one_json_object_is_refused_as_a_whole() {
    let refused = |bytes: &[u8]| {
        Framework::from_json("a.json", bytes)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(b"").starts_with("a.json: not JSON: EOF"));
    assert!(refused(b"{\"id\": \"a\",\n}").ends_with("at line 2 column 1"));
    assert!(refused(b"{\"id\": \"\xff\"}").starts_with("a.json: not JSON: "));
    assert_eq!(refused(b"[]"), "a.json: expected an object, found a list");
    let twice = small()
        .to_string()
        .replacen("\"weight\":10", "\"weight\":10,\"weight\":20", 1);
    assert!(
        refused(twice.as_bytes()).starts_with("a.json: not JSON: the key 'weight' stands twice")
    );
    let huge = small()
        .to_string()
        .replacen("\"weight\":10", "\"weight\":1e999", 1);
    assert!(refused(huge.as_bytes()).starts_with("a.json: not JSON: number out of range"));
}

#[test]
fn nesting_is_bounded_and_brackets_in_text_do_not_count() {
    let nested = |depth: usize| {
        let mut value = small();
        value["more"] = (1..depth).fold(json!(1), |inner, _| json!([inner]));
        read(&value)
    };
    assert!(nested(limits::DEFINITION_NESTING_MAX).is_ok());
    assert_eq!(
        nested(limits::DEFINITION_NESTING_MAX + 1)
            .unwrap_err()
            .to_string(),
        "small.json: nests 33 deep, more than 32"
    );
    let deep = "[".repeat(500_000);
    let error = Framework::from_json("a.json", deep.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "a.json: nests 500000 deep, more than 32");

    let mut quoted = small();
    quoted["more"] = json!(format!("\\\"{}", "[{".repeat(100)));
    assert!(read(&quoted).is_ok());
}

#[test]
fn sizes_and_counts_are_bounded() {
    let large = vec![b' '; limits::FRAMEWORK_BYTES_MAX + 1];
    assert_eq!(
        Framework::from_json("a.json", &large)
            .unwrap_err()
            .to_string(),
        "a.json: the file has 1048577 bytes, more than 1048576"
    );
    let title = "t".repeat(limits::DEFINITION_TITLE_BYTES_MAX + 1);
    assert_eq!(
        fault("/title/id", Some(json!(title))),
        "small.json: title.id: has 1025 bytes, more than 1024"
    );
    let rows = |count: usize| {
        let mut value = small();
        let row = |number| json!({"code": format!("A.1.{number}"), "title": {"id": "x"}});
        value["components"][0]["indicators"][0]["rows"] = (0..count).map(row).collect();
        read(&value)
    };
    let others = 3;
    assert!(rows(limits::FRAMEWORK_ITEMS_MAX - others).is_ok());
    assert_eq!(
        rows(limits::FRAMEWORK_ITEMS_MAX - others + 1)
            .unwrap_err()
            .to_string(),
        "small.json: components[0].indicators[1].code: is beyond the 5000 components, indicators \
         and rows that a framework may have"
    );
    assert_eq!(
        rows(limits::FRAMEWORK_ITEMS_MAX + 1)
            .unwrap_err()
            .to_string(),
        "small.json: components[0].indicators[0].rows: has 5001 items, more than 5000"
    );
}

#[test]
fn a_reference_names_one_version_or_any() {
    let read = |text: &str| text.parse::<FrameworkRef>();
    let any = read("desa-antikorupsi").unwrap();
    let exact = read("desa-antikorupsi@2021+checklist-2025").unwrap();
    let other = read("desa-antikorupsi@2026").unwrap();
    assert!(any.matches(&village()) && exact.matches(&village()));
    assert!(!other.matches(&village()) && !any.matches(&city()));
    assert_eq!(exact, village().reference());
    assert_eq!(
        (exact.id(), exact.version()),
        ("desa-antikorupsi", Some("2021+checklist-2025"))
    );
    assert_eq!(any.to_string(), "desa-antikorupsi");
    let long = "x".repeat(limits::DEFINITION_CODE_BYTES_MAX + 1);
    for bad in ["", "@1", "a@", "A", "a@b@c", "a b", "a@1 2", &long] {
        assert!(read(bad).is_err(), "{bad}");
    }
}
