//! Grants that change and a village that moves, with real processes: who reads and writes what
//! before and after, by the programme's own table of roles.

use bukti_tests::process::Phone;

use crate::field::{Field, VILLAGE, listed, new_evidence, quarantined};

/// The regency that the village moves to, and its district.
const NEW_REGENCY: &str = "13.76";
const NEW_DISTRICT: &str = "13.76.01";

/// What roles see of a unit that they reach: (role, drafts as well, writes evidence).
const ROLES: [(&str, bool, bool); 6] = [
    ("officer", true, true),
    ("unit-head", true, true),
    ("verifier", false, false),
    ("assessor", false, false),
    ("administrator", false, false),
    ("observer", false, false),
];

fn sees(phone: &Phone) -> Vec<String> {
    phone.run(&["sync"]).ok();
    let mut titles: Vec<String> = listed(phone)
        .iter()
        .map(|row| row["title"].as_str().unwrap().to_owned())
        .collect();
    titles.sort();
    titles
}

fn id_of(phone: &Phone) -> String {
    let status = phone.run(&["status", "--json"]).ok().json();
    crate::field::text(&status["device"])
}

#[test]
fn every_role_gets_or_loses_a_village_with_its_move_and_with_its_grants() {
    let mut field = Field::open(&[]);
    let author = field.phone("author", "officer", VILLAGE);
    let ready = new_evidence(&author, "Ready");
    author.run(&["evidence", "ready", &ready]).ok();
    new_evidence(&author, "Draft");
    author.run(&["sync"]).ok();
    let shown = |drafts: bool| -> Vec<&str> {
        if drafts {
            vec!["Draft", "Ready"]
        } else {
            vec!["Ready"]
        }
    };
    let phones: Vec<(Phone, Phone)> = ROLES
        .iter()
        .map(|(role, ..)| {
            let old = field.phone(&format!("old-{role}"), role, "13.07");
            (old, field.phone(&format!("new-{role}"), role, NEW_REGENCY))
        })
        .collect();
    for ((old, new), (role, drafts, _)) in phones.iter().zip(ROLES) {
        assert_eq!(sees(old), shown(drafts), "{role} of the old regency");
        assert!(sees(new).is_empty(), "{role} of the new regency");
    }
    // Unsent work of somebody who will not reach the village any more.
    let (late, _) = &phones[0];
    let of_village = ["--region", VILLAGE];
    let new = [
        "evidence",
        "new",
        "--kind",
        "regulation",
        "--row",
        "I.1.3",
        "--title",
        "Late",
    ];
    late.run(&[&new[..], &of_village].concat()).ok();
    field.admin(&["move", VILLAGE, "--to", NEW_DISTRICT]).ok();
    for ((old, new), (role, drafts, _)) in phones.iter().zip(ROLES) {
        old.run(&["sync"]);
        assert!(sees(old).is_empty(), "{role} of the old regency");
        assert_eq!(sees(new), shown(drafts), "{role} of the new regency");
    }
    assert_eq!(quarantined(late)[0]["code"], "forbidden");
    assert_eq!(
        sees(&author),
        shown(true),
        "the village's own officer goes on"
    );
    let page = author.run(&["evidence", "show", &ready]).ok().stdout;
    assert!(
        page.contains("Payakumbuh Barat, Kota Payakumbuh, Sumatera Barat"),
        "{page}"
    );
    for ((_, new), (role, drafts, _)) in phones.iter().zip(ROLES) {
        let device = id_of(new);
        let granting = ["grant", &device, "--role", role, "--region"];
        let exactly = [&granting[..], &[NEW_REGENCY, "--remove", "--json"]].concat();
        let left = field.admin(&exactly).ok().json();
        assert_eq!(left["grants"].as_array().map(Vec::len), Some(0));
        assert!(sees(new).is_empty(), "{role} without a grant");
        let again = field.admin(&exactly);
        assert_eq!(again.status, Some(2), "{again:?}");
        assert!(again.stderr.contains("it has no grant"), "{again:?}");
        field.admin(&[&granting[..], &[VILLAGE]].concat()).ok();
        assert_eq!(sees(new), shown(drafts), "{role} of the village");
    }
    for ((_, phone), (role, _, writes)) in phones.iter().zip(ROLES) {
        let made = phone.run(&[&new[..], &of_village].concat());
        assert_eq!(made.status == Some(0), writes, "{role}: {made:?}");
    }
    field.verify();
    // Whoever reads the log finds whose run was refused, and of what.
    let (log, device) = (field.stop(), id_of(late));
    let refused = log
        .lines()
        .find(|line| line.contains("run refused"))
        .unwrap();
    for says in [format!("device={device}"), "document=".to_owned()] {
        assert!(refused.contains(&says), "{refused}");
    }
}

#[test]
fn a_grant_that_is_not_there_cannot_be_removed_and_what_is_there_is_named() {
    let field = Field::open(&[]);
    let device = id_of(&field.phone("sari", "officer", VILLAGE));
    let granting = ["grant", &device, "--role", "officer", "--region"];
    let before = field.position();
    for named in [&["13.07"][..], &[VILLAGE, "13.07"]] {
        let refused = field.admin(&[&granting[..], named, &["--remove"]].concat());
        assert_eq!(
            (refused.status, refused.stdout.as_str()),
            (Some(2), ""),
            "{refused:?}"
        );
        let says = format!(
            "no grant 'officer on 13.07', so none was removed: it has officer on {VILLAGE}"
        );
        assert!(refused.stderr.contains(&says), "{refused:?}");
    }
    assert_eq!(field.position(), before);
}

#[test]
fn a_sync_says_how_many_documents_are_no_longer_to_be_read_and_why() {
    let field = Field::open(&[]);
    let author = field.phone("author", "officer", VILLAGE);
    for title in ["One", "Two"] {
        new_evidence(&author, title);
    }
    author.run(&["sync"]).ok();
    let above = field.phone("above", "officer", "13.07");
    let beside = field.phone("beside", "officer", "13.07");
    assert_eq!(listed(&above).len(), 2);

    let device = id_of(&beside);
    let grant = [
        "grant", &device, "--role", "officer", "--region", "13.07", "--remove",
    ];
    field.admin(&grant).ok();
    let told = beside.run(&["sync"]).ok().stdout;
    let says = "2 documents are no longer this device's to read: its grants do not reach";
    assert!(told.contains(says), "{told}");
    assert!(!beside.run(&["sync"]).ok().stdout.contains("no longer"));

    field.admin(&["move", VILLAGE, "--to", NEW_DISTRICT]).ok();
    let told = above.run(&["sync", "--json"]).ok().json();
    let left = told["moved_away"].as_u64().unwrap() + told["not_granted"].as_u64().unwrap();
    assert_eq!((left, &told["moved_away"]), (2, &2.into()), "{told}");
    assert!(listed(&above).is_empty() && listed(&beside).is_empty());
}

#[test]
fn a_mistyped_agency_is_noticed_when_it_is_moved_and_what_was_moved_is_listed() {
    let field = Field::open(&[]);
    let none = field.admin(&["move"]).ok().stdout;
    assert_eq!(none, "No unit was moved.\n");
    let officer = field.phone("officer", "officer", VILLAGE);
    new_evidence(&officer, "One");
    officer.run(&["sync"]).ok();
    for (unit, to, mistyped) in [
        (VILLAGE, NEW_DISTRICT, false),
        ("13.07/dinkse", NEW_REGENCY, true),
    ] {
        let told = field.admin(&["move", unit, "--to", to]).ok();
        assert_eq!(told.stdout.contains("Mistyped?"), mistyped, "{told:?}");
        let told = field.admin(&["move", unit, "--to", to, "--json"]).ok();
        let told = told.json();
        let has_evidence = unit == VILLAGE;
        assert_eq!(
            (&told["evidence"], &told["changed"]),
            (&has_evidence.into(), &false.into())
        );
    }
    let told = field.admin(&["move", "--json"]).ok().json();
    let moved = told["moved"].as_array().unwrap();
    let units: Vec<&str> = moved
        .iter()
        .map(|row| row["unit"].as_str().unwrap())
        .collect();
    assert_eq!(units, [VILLAGE, "13.07/dinkse"]);
    assert_eq!(moved[1]["above"], serde_json::json!(["13.76", "13", "all"]));
    let table = field.admin(&["move"]).ok().stdout;
    assert!(table.contains("13.07/dinkse    13.76, 13, all"), "{table}");
}

/// A mistyped code would be a village that does not exist, in which somebody collects evidence.
#[test]
fn nobody_is_invited_or_granted_to_a_region_that_the_list_lacks() {
    let field = Field::open(&[]);
    let sari = id_of(&field.phone("sari", "officer", VILLAGE));
    for lacking in ["13.07.05.2999", "99", "13.07.05.2999/dinkes"] {
        let invite = ["invite", "--role", "officer", "--name", "x", "--region"];
        let grant = ["grant", &sari, "--role", "officer", "--region"];
        for command in [&invite[..], &grant[..]] {
            let refused = field.admin(&[command, &[lacking]].concat());
            assert_eq!(refused.status, Some(2), "{}", refused.stdout);
            let sentence = format!("{lacking} is not in the list of regions");
            assert!(refused.stderr.contains(&sentence), "{}", refused.stderr);
        }
    }
}
