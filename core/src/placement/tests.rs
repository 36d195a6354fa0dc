use proptest::prelude::*;

use super::*;

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

fn chain(placements: &Placements, of: &str) -> Vec<String> {
    let lineage = placements.lineage(&scope(of));
    lineage.iter().map(Scope::to_string).collect()
}

fn place(placements: &mut Placements, at: Position, unit: &str, parent: &str) {
    placements.place(at, &scope(unit), &scope(parent)).unwrap();
}

#[test]
fn a_moved_village_keeps_its_code_and_gets_what_is_above_its_new_district() {
    let mut placements = Placements::default();
    place(&mut placements, 7, "11.01.01.2001", "11.02.03");
    assert_eq!(
        chain(&placements, "11.01.01.2001"),
        ["11.01.01.2001", "11.02.03", "11.02", "11", "all"]
    );
    assert!(placements.covers(&scope("11.02"), &scope("11.01.01.2001/bumdes")));
    assert!(!placements.covers(&scope("11.01"), &scope("11.01.01.2001")));
    assert!(placements.covers(&scope("11.01"), &scope("11.01.01.2002")));
}

#[test]
fn what_never_lost_a_unit_has_it_from_the_beginning() {
    let mut placements = Placements::default();
    place(&mut placements, 7, "13.76/dinkes", "13.71");
    let lineage = placements.lineage(&scope("13.76/dinkes"));
    let since = |prefix: &str| lineage.since(&scope(prefix));
    assert_eq!(
        [
            since("13.76/dinkes"),
            since("13.71"),
            since("13"),
            since("all"),
            since("13.76")
        ],
        [Some(0), Some(7), Some(0), Some(0), None]
    );
}

#[test]
fn a_unit_that_comes_back_comes_back_at_that_position() {
    let mut placements = Placements::default();
    place(&mut placements, 7, "13.76/dinkes", "13.71");
    place(&mut placements, 9, "13.76/dinkes", "13.76");
    assert_eq!(
        chain(&placements, "13.76/dinkes"),
        ["13.76/dinkes", "13.76", "13", "all"]
    );
    let lineage = placements.lineage(&scope("13.76/dinkes"));
    assert_eq!(lineage.since(&scope("13.76")), Some(9));
    assert_eq!(lineage.since(&scope("13")), Some(0));
}

#[test]
fn a_move_of_what_is_above_takes_everything_below_along() {
    let mut placements = Placements::default();
    place(&mut placements, 3, "11.01.01.2001", "11.02.03");
    place(&mut placements, 5, "11.02.03", "12.07");
    let lineage = placements.lineage(&scope("11.01.01.2001"));
    let steps: Vec<_> = lineage.iter().map(|step| lineage.since(step)).collect();
    assert_eq!(
        chain(&placements, "11.01.01.2001"),
        ["11.01.01.2001", "11.02.03", "12.07", "12", "all"]
    );
    assert_eq!(steps, [Some(0), Some(3), Some(5), Some(5), Some(0)]);
}

#[test]
fn a_copy_with_one_more_move_shares_the_districts_that_it_leaves_as_they_are() {
    let mut placements = Placements::default();
    for district in 10..99 {
        place(&mut placements, 1, &format!("13.{district}.01.2001"), "11");
    }
    let mut copy = placements.clone();
    place(&mut copy, 2, "13.76.02.2002", "11");
    let pairs = placements.districts.values().zip(copy.districts.values());
    let shared = pairs.filter(|(one, other)| Arc::ptr_eq(one, other));
    assert_eq!((shared.count(), placements.districts.len()), (88, 89));
    assert_eq!((placements.len(), copy.len()), (89, 90));
}

#[test]
fn moved_units_come_in_the_order_of_their_codes_and_count_once() {
    let mut placements = Placements::default();
    let units = [
        "13.76.01.2001",
        "13/dinkes",
        "13.07.05",
        "13.07/dinkes",
        "13.07.05",
    ];
    for (at, unit) in (1..).zip(units) {
        place(&mut placements, at, unit, "11");
    }
    let moved: Vec<String> = placements
        .moved()
        .map(|(unit, _)| unit.to_string())
        .collect();
    let in_order = ["13.07.05", "13.07/dinkes", "13.76.01.2001", "13/dinkes"];
    assert_eq!(
        (moved, placements.len()),
        (in_order.map(String::from).to_vec(), 4)
    );
}

#[test]
fn nothing_is_moved_onto_itself_below_itself_or_out_of_all_regions() {
    for (unit, parent) in [
        ("all", "13"),
        ("13.76", "13.76"),
        ("13.76", "13.76.01"),
        ("13", "13.76"),
        ("13.76", "13.71"),
        ("13.76.01", "all"),
        ("13.76/dinkes", "13.71/dinkes"),
        ("13.76.01.1001", "13.71/dinkes"),
    ] {
        let mut placements = Placements::default();
        let refused = placements.place(1, &scope(unit), &scope(parent));
        assert!(refused.is_err(), "{unit} under {parent}");
        assert_eq!(placements, Placements::default());
    }
}

const MOVED: [&str; 8] = [
    "11",
    "12",
    "11.01",
    "11.02",
    "12.01",
    "11.01.01",
    "12.01.02",
    "11.01.01.2001",
];

/// Moves those of `moves` that are possible, one a position, and shows each to `look`.
fn moved(moves: Vec<(usize, usize)>, mut look: impl FnMut(&Placements, &Placements)) -> Placements {
    let mut placements = Placements::default();
    for (position, (unit, parent)) in (1..).zip(moves) {
        let before = placements.clone();
        let _ = placements.place(position, &scope(MOVED[unit]), &scope(MOVED[parent]));
        look(&before, &placements);
    }
    placements
}

/// Every pair of scopes that moves are made of, and what lies above those by their codes.
fn pairs() -> impl Iterator<Item = (Scope, Scope)> {
    let above = MOVED
        .map(scope)
        .into_iter()
        .flat_map(|unit| unit.self_and_ancestors().collect::<Vec<_>>());
    let scopes: std::collections::BTreeSet<Scope> = above.collect();
    let others = scopes.clone();
    scopes.into_iter().flat_map(move |one| {
        let others = others.clone().into_iter();
        others.map(move |other| (one.clone(), other))
    })
}

proptest! {
    #[test]
    fn every_lineage_ends_with_all_whatever_was_moved(
        moves in proptest::collection::vec((0_usize..8, 0_usize..8), 0..30),
    ) {
        const UNITS: [&str; 8] = MOVED;
        let mut placements = Placements::default();
        for (position, (unit, parent)) in (1..).zip(moves) {
            let before = placements.lineage(&scope(UNITS[unit]));
            let moved = placements.place(position, &scope(UNITS[unit]), &scope(UNITS[parent]));
            let after = placements.lineage(&scope(UNITS[unit]));
            if let Ok(moved) = moved {
                prop_assert_eq!(moved.from.iter().collect::<Vec<_>>(), before.iter().skip(1).collect::<Vec<_>>());
                prop_assert_eq!(moved.to.iter().collect::<Vec<_>>(), after.iter().skip(1).collect::<Vec<_>>());
                for step in after.iter().skip(1) {
                    let since = after.since(step);
                    // What comes anew comes now, and what has it from the beginning always had it.
                    prop_assert!(before.is_below(step) || since == Some(position));
                    prop_assert!(since != Some(0) || before.since(step) == Some(0));
                }
            }
            for unit in UNITS {
                let lineage = placements.lineage(&scope(unit));
                prop_assert!(lineage.iter().count() <= 5);
                prop_assert!(lineage.is_below(&Scope::all()));
            }
        }
    }

    #[test]
    fn since_never_sinks_while_a_scope_goes_on_being_reached(
        moves in proptest::collection::vec((0_usize..8, 0_usize..8), 0..30),
    ) {
        moved(moves, |before, after| {
            for unit in MOVED.map(scope) {
                let (before, after) = (before.lineage(&unit), after.lineage(&unit));
                for prefix in after.iter().filter(|prefix| before.is_below(prefix)) {
                    assert!(before.since(prefix) <= after.since(prefix), "{unit} of {prefix}");
                }
            }
        });
    }

    #[test]
    fn one_scope_lies_along_another_since_the_later_lineage_and_that_never_sinks(
        moves in proptest::collection::vec((0_usize..8, 0_usize..8), 0..30),
    ) {
        moved(moves, |before, after| {
            for (one, other) in pairs() {
                let (was, is) = (before.along(&one, &other), after.along(&one, &other));
                assert_eq!(is, after.along(&other, &one));
                assert_eq!(is.is_some(), after.covers(&one, &other) || after.covers(&other, &one));
                assert!(was.is_none() || is.is_none() || was <= is, "{one} and {other}");
            }
        });
    }

    #[test]
    fn a_move_brought_a_prefix_what_lies_along_it_since_then(
        moves in proptest::collection::vec((0_usize..8, 0_usize..8), 0..30),
        after in 0_u64..30,
    ) {
        let placements = moved(moves, |_, _| {});
        for prefix in MOVED.map(scope) {
            let along = pairs().filter(|(one, _)| *one == prefix);
            let along: Vec<_> = along.filter_map(|(_, other)| placements.along(&prefix, &other)).collect();
            for unit in MOVED.map(scope) {
                if let Some(placement) = placements.placement(&unit) {
                    let at = placement.position;
                    prop_assert_eq!(placements.brought(&prefix, &unit, at), along.contains(&at));
                }
            }
            let first = along.iter().copied().filter(|at| *at > after).min();
            prop_assert_eq!(placements.first_brought(&prefix, after), first);
        }
    }

    #[test]
    fn what_lies_along_a_prefix_lies_along_what_reached_that_and_all_inside_it_by_then(
        moves in proptest::collection::vec((0_usize..8, 0_usize..8), 0..30),
        at in 0_u64..30,
    ) {
        let placements = moved(moves, |_, _| {});
        for (prefix, other) in pairs() {
            let lineage = placements.lineage(&prefix);
            let Some(along) = placements.along(&prefix, &other) else {
                continue;
            };
            for outer in lineage.iter().filter(|outer| **outer != prefix) {
                let since = lineage.since(outer).max(Some(placements.last_move_inside(&prefix)));
                if since <= Some(at) {
                    let of_outer = placements.along(outer, &other);
                    prop_assert!(of_outer.is_some() && of_outer <= Some(along.max(at)), "{} of {} in {}", other, prefix, outer);
                }
            }
        }
    }

    #[test]
    fn what_lay_inside_a_prefix_since_its_last_move_lay_in_all_that_reached_the_prefix(
        moves in proptest::collection::vec((0_usize..8, 0_usize..8), 0..30),
        at in 0_u64..30,
    ) {
        let placements = moved(moves, |_, _| {});
        for unit in MOVED.map(scope) {
            let lineage = placements.lineage(&unit);
            for prefix in lineage.iter().filter(|one| placements.last_move_inside(one) <= at) {
                let above = placements.lineage(prefix);
                for outer in above.iter().filter(|outer| above.since(outer) <= Some(at)) {
                    prop_assert!(lineage.since(outer) <= Some(at), "{} in {} in {}", unit, prefix, outer);
                }
            }
        }
    }
}
