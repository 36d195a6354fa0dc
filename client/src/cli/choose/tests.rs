use bukti_core::authority::Role;
use bukti_core::framework::built_in;
use bukti_core::region::{RegionRow, RegionSheet};

use super::*;

fn at(text: &str) -> Scope {
    text.parse().unwrap()
}

fn grant(role: Role, scope: &str) -> Grant {
    Grant {
        role,
        scope: at(scope),
    }
}

fn wrong<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    let Failure::Wrong(text) = result.unwrap_err() else {
        panic!("expected wrong use");
    };
    text
}

fn frameworks() -> Vec<Framework> {
    built_in()
        .into_iter()
        .map(|(name, bytes)| Framework::from_json(name, bytes).unwrap())
        .collect()
}

fn village_framework(version: &str) -> Framework {
    let json = format!(
        r#"{{"id": "desa-antikorupsi", "version": "{version}", "title": {{"id": "Desa"}},
            "applies_to": ["village"], "components": [{{"code": "I", "title": {{"id": "I"}},
            "weight": null, "indicators": [{{"code": "I.1", "title": {{"id": "I.1"}},
            "weight": null, "rows": []}}]}}]}}"#
    );
    Framework::from_json("test.json", json.as_bytes()).unwrap()
}

fn regions() -> Regions {
    let mut regions = Regions::new();
    let row = |code: &str, name: &str| RegionRow {
        code: at(code),
        name: name.into(),
    };
    regions.apply(&RegionSheet {
        version: "2025".into(),
        parent: at("13.76"),
        rows: vec![
            row("13.76.01", "Payakumbuh Barat"),
            row("13.76.01.1001", "Bulakan Balai Kandi"),
        ],
    });
    regions
}

fn unmoved() -> Placements {
    Placements::default()
}

#[test]
fn an_id_is_found_by_its_beginning_where_only_one_begins_so() {
    let ids: Vec<DocumentId> = (0..40).map(|n| DocumentId([n; 16])).collect();
    for id in &ids {
        assert_eq!(document(&id.to_string(), ids.clone()), Ok(*id));
    }
    let text = ids[7].to_string();
    assert_eq!(document(&text[..12], ids.clone()), Ok(ids[7]));
}

#[test]
fn an_id_that_is_too_short_unknown_or_ambiguous_is_refused() {
    let [a, b] = [
        DocumentId([9; 16]),
        DocumentId([9; 16].map(|byte| byte + 1)),
    ];
    let text = a.to_string();
    assert!(wrong(document(&text[..5], [a])).contains("at least its first 6 characters"));
    assert!(wrong(document("über-lang", [a])).contains("is not an id"));
    assert!(wrong(document(&text, [b])).contains("no evidence here has an id that begins with"));
    let mut near = [9; 16];
    near[15] = 10;
    let said = wrong(document(&text[..6], [a, DocumentId(near)]));
    assert!(
        said.contains("begins 2 ids") && said.contains(&text),
        "{said}"
    );
}

#[test]
fn the_only_scope_of_the_grants_is_meant_where_none_is_given() {
    let officer = [grant(Role::Officer, "13.76"), grant(Role::Observer, "all")];
    assert_eq!(
        scope(None, &officer, &unmoved(), &Regions::new()),
        Ok(at("13.76"))
    );
    let two = [
        grant(Role::Officer, "13.76"),
        grant(Role::UnitHead, "13.77/dinkes"),
    ];
    assert_eq!(
        wrong(scope(None, &two, &unmoved(), &Regions::new())),
        "several regions are possible: expected --region with one of 13.76, 13.77/dinkes"
    );
    assert!(
        wrong(scope(
            None,
            &[grant(Role::Officer, "all")],
            &unmoved(),
            &Regions::new()
        ))
        .contains("--region")
    );
    assert!(
        wrong(scope(
            None,
            &[grant(Role::Verifier, "13")],
            &unmoved(),
            &Regions::new()
        ))
        .contains("verifier on 13; expected officer or unit-head")
    );
}

#[test]
fn a_region_outside_of_the_grants_is_refused_with_the_grants() {
    let officer = [grant(Role::Officer, "13.76")];
    assert_eq!(
        scope(Some("13.76.01.1001"), &officer, &unmoved(), &Regions::new()),
        Ok(at("13.76.01.1001"))
    );
    let said = wrong(scope(Some("13.77"), &officer, &unmoved(), &Regions::new()));
    assert!(said.ends_with("your grants: officer on 13.76"), "{said}");
    assert!(
        wrong(scope(Some("13.7"), &officer, &unmoved(), &Regions::new()))
            .contains("is not a scope")
    );
}

#[test]
fn a_region_that_the_official_list_lacks_is_refused_where_the_list_is_known() {
    let officer = [grant(Role::Officer, "13")];
    let named = |code| scope(Some(code), &officer, &unmoved(), &regions());
    assert!(named("13.76.01.1001").is_ok());
    assert!(named("13.76.01.1001/posyandu").is_ok());
    assert_eq!(
        wrong(named("13.76.01.1009")),
        "13.76.01.1009 is not in the list of regions: expected one within Payakumbuh Barat, 13.76, 13"
    );
    assert!(wrong(named("13.76.09/dinkes")).contains("13.76.09 is not in the list"));
    // The sheet that would list it is not here.
    assert!(named("13.77.01").is_ok());
}

#[test]
fn the_framework_follows_from_the_unit() {
    let in_use = frameworks();
    let chosen = |scope: &str| framework(None, &at(scope), &[], &in_use).map(Framework::id);
    assert_eq!(chosen("32.04.05.2001"), Ok("desa-antikorupsi"));
    assert_eq!(chosen("13.76"), Ok("kabkota-antikorupsi"));
    assert_eq!(chosen("13.76/dinkes"), Ok("kabkota-antikorupsi"));
    assert_eq!(chosen("13.76.01"), Ok("kabkota-antikorupsi"));
    assert!(wrong(chosen("13")).starts_with("no framework in use assesses 13: "));
}

#[test]
fn rows_tell_the_framework_where_several_are_possible() {
    let in_use = frameworks();
    let ward = at("13.76.01.1001");
    let chosen = |codes: &[&str]| {
        let codes: Vec<String> = codes.iter().map(|code| (*code).to_owned()).collect();
        framework(None, &ward, &codes, &in_use).map(Framework::id)
    };
    assert_eq!(chosen(&["A.1"]), Ok("kabkota-antikorupsi"));
    assert_eq!(chosen(&["I.1.3"]), Ok("desa-antikorupsi"));
    let said = wrong(chosen(&[]));
    assert_eq!(
        said,
        "several frameworks are possible: expected --framework with one of \
         desa-antikorupsi@2021+checklist-2025, kabkota-antikorupsi@2024"
    );
    assert_eq!(
        framework(None, &ward, &[], &in_use[..1]).unwrap().id(),
        "desa-antikorupsi"
    );
}

#[test]
fn a_framework_is_named_with_its_version_where_several_versions_are_in_use() {
    let in_use = [village_framework("2024"), village_framework("2025")];
    let unit = at("32.04.05.2001");
    let chosen = |name: &str| {
        framework(Some(&name.parse().unwrap()), &unit, &[], &in_use).map(Framework::version)
    };
    assert_eq!(chosen("desa-antikorupsi@2024"), Ok("2024"));
    assert!(
        wrong(chosen("desa-antikorupsi")).contains("desa-antikorupsi@2024, desa-antikorupsi@2025")
    );
    assert!(wrong(chosen("desa-antikorupsi@2023")).contains("is not a framework in use"));
    let city = at("13.76");
    let said = wrong(framework(Some(&in_use[0].reference()), &city, &[], &in_use));
    assert_eq!(
        said,
        "desa-antikorupsi@2024 assesses village: 13.76 is none and is part of none"
    );
    assert!(matches!(
        framework(None, &unit, &[], &[]),
        Err(Failure::Failed(_))
    ));
}

#[test]
fn a_row_that_is_not_in_the_framework_is_answered_with_those_that_are() {
    let in_use = frameworks();
    let (village, city) = (&in_use[0], &in_use[1]);
    assert_eq!(row(village, "I.1.3"), Ok("I.1.3".into()));
    assert_eq!(supportable(village, "I.1"), Ok("I.1".into()));
    assert_eq!(
        wrong(row(village, "I.1")),
        "I.1 is an indicator: expected one of its rows I.1.1 to I.1.10, or --indicator I.1"
    );
    assert_eq!(
        wrong(row(city, "A.1")),
        "A.1 is an indicator without rows: expected --indicator A.1"
    );
    let said = [
        wrong(row(village, "I.1.99")),
        wrong(row(village, "i.4.2")),
        wrong(row(village, "II")),
        wrong(row(village, "X.1")),
        wrong(row(city, "A.1.1")),
    ];
    let place = "desa-antikorupsi@2021+checklist-2025";
    assert_eq!(
        said,
        [
            format!("'I.1.99' is not in {place}: expected a row of indicator I.1: I.1.1 to I.1.10"),
            format!("'i.4.2' is not in {place}: expected perhaps I.4.2"),
            format!(
                "II is a component of {place}: expected one of its indicators II.1, II.2, II.3 or a row of them"
            ),
            format!("'X.1' is not in {place}: expected one of its indicators I.1 to V.2"),
            "'A.1.1' is not in kabkota-antikorupsi@2024: expected indicator A.1, which has no rows"
                .to_owned(),
        ]
    );
    assert_eq!(indicator(village, "I.1"), Ok("I.1".into()));
    assert_eq!(
        wrong(indicator(village, "I.1.3")),
        "I.1.3 is a row: expected an indicator such as I.1, or --row I.1.3"
    );
}

#[test]
fn the_cycle_is_the_year_of_the_best_known_time() {
    let november_2026 = 1_795_453_500_000;
    let march_2027 = november_2026 + 120 * 86_400_000;
    let march_2035 = november_2026 + 3_000 * 86_400_000;
    assert_eq!(cycle(Some(2025), november_2026, november_2026), Ok(2025));
    assert_eq!(cycle(None, november_2026, march_2027), Ok(2027));
    assert_eq!(cycle(None, november_2026, 60_000), Ok(2026));
    assert_eq!(cycle(None, november_2026, march_2035), Ok(2026));
    for typed in [20, 1970, -1, 2100] {
        assert_eq!(
            wrong(cycle(Some(typed), november_2026, november_2026)),
            format!("'{typed}' is not a cycle: expected --cycle with a year from 2000 to 2099")
        );
    }
    assert!(wrong(cycle(None, i64::MAX, 0)).contains("is not a cycle"));
}
