use proptest::prelude::*;

use super::*;

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

fn grant(role: Role, on: &str) -> Grant {
    Grant {
        role,
        scope: scope(on),
    }
}

const KINDS: [DocumentKind; 4] = [
    DocumentKind::Evidence,
    DocumentKind::Statement,
    DocumentKind::Reference,
    DocumentKind::Unclassified,
];

/// The rules once more, written independently of the code. One letter for each action in the order
/// of the columns; a dot refuses.
const MATRIX: &str = "
                read readdraft create edit declareready attach withdraw sign decide score administer
evidence
  officer        x      x        x     x        x          x      x       .     .      .       .
  unit-head      x      x        x     x        x          x      x       .     .      .       .
  verifier       x      .        .     .        .          .      .       .     .      .       .
  assessor       x      .        .     .        .          .      .       .     .      .       .
  administrator  x      .        .     .        .          .      .       .     .      .       x
  observer       x      .        .     .        .          .      .       .     .      .       .
statement
  officer        x      x        .     .        .          .      .       .     .      .       .
  unit-head      x      x        x     .        .          .      .       x     .      .       .
  verifier       x      .        x     .        .          .      .       .     x      .       .
  assessor       x      .        x     .        .          .      .       .     .      x       .
  administrator  x      .        .     .        .          .      .       .     .      .       x
  observer       x      .        .     .        .          .      .       .     .      .       .
reference
  officer        x      x        .     .        .          .      .       .     .      .       .
  unit-head      x      x        .     .        .          .      .       .     .      .       .
  verifier       x      .        .     .        .          .      .       .     .      .       .
  assessor       x      .        .     .        .          .      .       .     .      .       .
  administrator  x      .        x     x        x          x      x       .     .      .       x
  observer       x      .        .     .        .          .      .       .     .      .       .
unclassified
  officer        x      x        x     x        x          x      x       .     .      .       .
  unit-head      x      x        x     x        x          x      x       .     .      .       .
  verifier       x      .        .     .        .          .      .       .     .      .       .
  assessor       x      .        .     .        .          .      .       .     .      .       .
  administrator  x      .        .     .        .          .      .       .     .      .       x
  observer       x      .        .     .        .          .      .       .     .      .       .
";

/// How a grant's scope can lie to a document's, and whether it reaches.
const RELATIONS: [(&str, &str, &str, bool); 12] = [
    ("the same", "13.76.01", "13.76.01", true),
    ("one above", "13.76", "13.76.01", true),
    ("far above", "13", "13.76.01.1001", true),
    ("all above", "all", "13.76.01.1001", true),
    ("below", "13.76.01.1001", "13.76.01", false),
    ("below all", "13.76", "all", false),
    ("beside", "13.76.02", "13.76.01", false),
    ("beside in another province", "12.76.01", "13.76.01", false),
    ("region of an agency", "13.76", "13.76/dinkes", true),
    ("agency of a region", "13.76/dinkes", "13.76", false),
    (
        "agency beside an agency",
        "13.76/dinkes-2",
        "13.76/dinkes",
        false,
    ),
    (
        "agency and a district of its region",
        "13.76/dinkes",
        "13.76.01",
        false,
    ),
];

fn matrix() -> Vec<(DocumentKind, Role, Action, bool)> {
    let mut cells = Vec::new();
    let mut lines = MATRIX.lines().filter(|line| !line.is_empty());
    let columns: Vec<Action> = lines
        .next()
        .unwrap()
        .split_whitespace()
        .map(|word| {
            let named = |action: &Action| format!("{action:?}").to_lowercase() == word;
            Action::ALL.into_iter().find(named).unwrap()
        })
        .collect();
    let mut kind = None;
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [word] = words[..] {
            kind = KINDS.into_iter().find(|kind| kind.as_str() == word);
            continue;
        }
        assert_eq!(words.len(), 1 + columns.len(), "{line}");
        for (action, mark) in columns.iter().zip(&words[1..]) {
            cells.push((
                kind.unwrap(),
                words[0].parse().unwrap(),
                *action,
                *mark == "x",
            ));
        }
    }
    cells
}

#[test]
fn every_role_may_do_what_the_table_says_in_every_kind_and_place_and_nothing_else() {
    let cells = matrix();
    assert_eq!(cells.len(), 4 * 6 * 11);
    for (kind, role, action, allowed) in cells {
        for (relation, held, asked, reaches) in RELATIONS {
            assert_eq!(
                decide(&[grant(role, held)], action, kind, &scope(asked)).is_ok(),
                allowed && reaches,
                "{role} on {held}, {relation}: {action:?} of {} in {asked}",
                kind.as_str(),
            );
        }
    }
}

#[test]
fn several_grants_add_up_where_each_reaches() {
    let grants = [
        grant(Role::Officer, "13.76.01"),
        grant(Role::Verifier, "13.76"),
    ];
    let evidence = DocumentKind::Evidence;
    let statement = DocumentKind::Statement;
    let inside = scope("13.76.01.1002");
    let beside = scope("13.76.02.1002");
    assert_eq!(decide(&grants, Action::Edit, evidence, &inside), Ok(()));
    assert_eq!(decide(&grants, Action::Decide, statement, &inside), Ok(()));
    assert_eq!(decide(&grants, Action::Decide, statement, &beside), Ok(()));
    assert!(decide(&grants, Action::Edit, evidence, &beside).is_err());
}

#[test]
fn a_refusal_is_one_sentence_that_names_who_could() {
    let refusal = |grants: &[Grant], action, kind| {
        decide(grants, action, kind, &scope("13.76.01.1001"))
            .unwrap_err()
            .to_string()
    };
    let verifier = grant(Role::Verifier, "13.76");
    assert_eq!(
        refusal(
            std::slice::from_ref(&verifier),
            Action::Edit,
            DocumentKind::Evidence
        ),
        "a verifier may not edit evidence of 13.76.01.1001: only officer or unit head may"
    );
    assert_eq!(
        refusal(&[], Action::Read, DocumentKind::Evidence),
        "someone without a role there may not read evidence of 13.76.01.1001: only officer, \
         unit head, verifier, assessor, administrator or observer may"
    );
    assert_eq!(
        refusal(
            &[
                grant(Role::Administrator, "all"),
                verifier.clone(),
                verifier
            ],
            Action::Edit,
            DocumentKind::Statement
        ),
        "a verifier and administrator may not edit statements of 13.76.01.1001: no role may"
    );
    assert_eq!(
        refusal(
            &[grant(Role::Observer, "13")],
            Action::Administer,
            DocumentKind::Evidence
        ),
        "an observer may not administer 13.76.01.1001: only administrator may"
    );
}

#[test]
fn a_role_reads_back_from_its_word_and_an_unknown_word_lists_all() {
    for role in Role::ALL {
        assert_eq!(role.as_str().parse(), Ok(role));
    }
    assert_eq!(
        "chief".parse::<Role>().unwrap_err().to_string(),
        "'chief' is not a role: expected officer, unit-head, verifier, assessor, administrator \
         or observer"
    );
    assert!("Officer".parse::<Role>().is_err());
}

#[test]
fn the_stored_form_of_a_grant_never_changes() {
    let bytes = |role| minicbor::to_vec(grant(role, "13.76")).unwrap();
    for (number, role) in (0..).zip(Role::ALL) {
        assert_eq!(
            bytes(role),
            [0x82, number, 0x65, b'1', b'3', b'.', b'7', b'6']
        );
        let read: Grant = minicbor::decode(&bytes(role)).unwrap();
        assert_eq!(read, grant(role, "13.76"));
    }
    assert!(minicbor::decode::<Grant>(&[0x82, 6, 0x62, b'1', b'3']).is_err());
    assert_eq!(
        serde_json::to_string(&grant(Role::UnitHead, "13.76/dinkes")).unwrap(),
        r#"{"role":"unit-head","scope":"13.76/dinkes"}"#
    );
}

#[test]
fn drafts_reach_only_those_who_work_in_the_unit() {
    for role in Role::ALL {
        let expected = match role {
            Role::Officer | Role::UnitHead => Audience::Unit,
            Role::Verifier | Role::Assessor | Role::Administrator | Role::Observer => Audience::All,
        };
        let grants = [grant(role, "13.76")];
        assert_eq!(audience(&grants, &scope("13.76.01")), Some(expected));
        assert_eq!(audience(&grants, &scope("13.07")), None);
    }
    let both = [grant(Role::Observer, "all"), grant(Role::Officer, "13.76")];
    assert_eq!(audience(&both, &scope("13.76.01")), Some(Audience::Unit));
    assert_eq!(audience(&both, &scope("13.07")), Some(Audience::All));
}

#[test]
fn a_broader_subscription_swallows_narrower_ones_unless_they_add_drafts() {
    let shown = |grants: &[Grant]| -> Vec<String> {
        subscriptions(grants, &Placements::default())
            .iter()
            .map(|(scope, audience)| format!("{scope} {audience}"))
            .collect()
    };
    assert_eq!(shown(&[]), [""; 0]);
    assert_eq!(
        shown(&[
            grant(Role::Officer, "13.76.01"),
            grant(Role::Verifier, "13.76")
        ]),
        ["13.76 all", "13.76.01 unit"]
    );
    assert_eq!(
        shown(&[
            grant(Role::Observer, "13.76.01"),
            grant(Role::UnitHead, "13.76")
        ]),
        ["13.76 unit"]
    );
    assert_eq!(
        shown(&[
            grant(Role::Assessor, "13.76"),
            grant(Role::Officer, "13.76")
        ]),
        ["13.76 unit"]
    );
    assert_eq!(
        shown(&[
            grant(Role::Verifier, "13.76"),
            grant(Role::Observer, "13.76"),
            grant(Role::Assessor, "13.76/dinkes"),
            grant(Role::Assessor, "13.07"),
        ]),
        ["13.07 all", "13.76 all"]
    );
}

fn any_grants() -> impl Strategy<Value = Vec<Grant>> {
    let scopes = prop::sample::select(vec![
        "all",
        "13",
        "12",
        "13.76",
        "13.07",
        "13.76.01",
        "13.76.01.1001",
        "13.76/dinkes",
    ]);
    let one =
        (prop::sample::select(Role::ALL.to_vec()), scopes).prop_map(|(role, on)| grant(role, on));
    prop::collection::vec(one, 0..6)
}

proptest! {
    #[test]
    fn subscriptions_carry_exactly_what_may_be_read(grants in any_grants()) {
        let entries = subscriptions(&grants, &Placements::default());
        for at in ["all", "13", "12", "13.76", "13.07", "13.76.01", "13.76.01.1001", "13.76/dinkes"] {
            let at = scope(at);
            let carried = entries
                .iter()
                .filter(|(prefix, _)| prefix.covers(&at))
                .map(|(_, audience)| *audience)
                .min();
            prop_assert_eq!(carried, audience(&grants, &at));
            for kind in KINDS {
                let reads = decide(&grants, Action::Read, kind, &at).is_ok();
                let drafts = decide(&grants, Action::ReadDraft, kind, &at).is_ok();
                prop_assert_eq!(reads, carried.is_some());
                prop_assert_eq!(drafts, carried == Some(Audience::Unit));
            }
        }
        for (index, (prefix, audience)) in entries.iter().enumerate() {
            for (other, wider) in entries.iter().take(index).chain(&entries[index + 1..]) {
                prop_assert!(!(other.covers(prefix) && wider.includes(*audience)));
            }
        }
    }
}
