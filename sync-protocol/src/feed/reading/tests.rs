//! Grants, requests and cursors against one another, without a ledger.

use std::time::Duration;

use bukti_core::authority::Role;
use bukti_core::id::Chain;

use super::*;

const WATERMARK: Seen = Seen {
    position: 1_000,
    chain: Chain([9; 32]),
};

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

fn officer(text: &str) -> Grant {
    Grant {
        role: Role::Officer,
        scope: scope(text),
    }
}

fn verifier(text: &str) -> Grant {
    Grant {
        role: Role::Verifier,
        scope: scope(text),
    }
}

fn subscription(prefix: &str, audience: Audience, except: &[&str]) -> Subscription {
    Subscription {
        prefix: scope(prefix),
        audience,
        except: except.iter().map(|text| scope(text)).collect(),
    }
}

fn mark(prefix: &str, audience: Audience, position: Position, floor: Position) -> Mark {
    Mark {
        prefix: scope(prefix),
        audience,
        seen: Seen {
            position,
            chain: Chain([1; 32]),
        },
        floor,
        facts: position,
        moves: 0,
    }
}

/// Position, floor and statements of a resumed reading.
fn resumed(subscription: Subscription, marks: &[Mark]) -> (Position, Position, Position) {
    let cursor = Cursor {
        marks: marks.to_vec(),
        ..Cursor::default()
    };
    let placements = Placements::default();
    let reading = Resuming::new(&cursor, &placements, WATERMARK).resume(subscription);
    (reading.seen.position, reading.floor, reading.facts)
}

const ANEW: (Position, Position, Position) = (1_000, 1_000, 0);

#[test]
fn without_a_request_everything_granted_is_read_without_overlap() {
    let grants = [
        verifier("13"),
        officer("13.76.01"),
        officer("13.76.01.1001"),
        officer("14"),
    ];
    let expected = vec![
        subscription("13", Audience::All, &["13.76.01"]),
        subscription("13.76.01", Audience::Unit, &[]),
        subscription("14", Audience::Unit, &[]),
    ];
    assert_eq!(
        wanted(&grants, &[], &Placements::default()).unwrap(),
        expected
    );
}

#[test]
fn a_request_narrows_what_is_granted_and_keeps_the_wider_audience() {
    let grants = [verifier("13"), officer("13.76.01")];
    let expected = vec![
        subscription("13.76", Audience::All, &["13.76.01"]),
        subscription("13.76.01", Audience::Unit, &[]),
    ];
    assert_eq!(
        wanted(&grants, &[scope("13.76")], &Placements::default()).unwrap(),
        expected
    );
    let village = vec![subscription("13.76.01.1001", Audience::Unit, &[])];
    assert_eq!(
        wanted(&grants, &[scope("13.76.01.1001")], &Placements::default()).unwrap(),
        village
    );
    assert_eq!(
        wanted(&grants, &[scope("all")], &Placements::default()).unwrap(),
        wanted(&grants, &[], &Placements::default()).unwrap()
    );
}

#[test]
fn a_request_outside_of_the_grants_is_dropped_and_never_widened() {
    let grants = [officer("13.76")];
    assert_eq!(
        wanted(&grants, &[scope("14")], &Placements::default()).unwrap(),
        vec![]
    );
    let rest = vec![subscription("13.76.01", Audience::Unit, &[])];
    assert_eq!(
        wanted(
            &grants,
            &[scope("14"), scope("13.76.01")],
            &Placements::default()
        )
        .unwrap(),
        rest
    );
    assert_eq!(wanted(&[], &[], &Placements::default()).unwrap(), vec![]);
}

#[test]
fn more_subscriptions_than_a_session_may_have_are_refused() {
    let villages = |count: usize| -> Vec<Scope> {
        (0..count)
            .map(|n| scope(&format!("13.76.01.{}", 1_000 + n)))
            .collect()
    };
    let most = limits::SUBSCRIPTIONS_MAX;
    assert_eq!(
        wanted(&[officer("13")], &villages(most), &Placements::default())
            .unwrap()
            .len(),
        most
    );
    let refused = wanted(
        &[officer("13")],
        &villages(most + 1),
        &Placements::default(),
    );
    assert!(
        matches!(refused, Err(FeedError::TooManyScopes { subscriptions }) if subscriptions == most + 1)
    );
}

#[test]
fn a_known_subscription_goes_on_and_an_unknown_one_owes_everything() {
    let known = mark("13.76", Audience::Unit, 600, 40);
    let village = || subscription("13.76", Audience::Unit, &[]);
    assert_eq!(
        resumed(village(), std::slice::from_ref(&known)),
        (600, 40, 600)
    );
    assert_eq!(
        resumed(subscription("14", Audience::Unit, &[]), &[known]),
        ANEW
    );
    assert_eq!(resumed(village(), &[]), ANEW);
}

#[test]
fn a_narrower_prefix_goes_on_from_the_one_around_it() {
    let around = mark("13", Audience::All, 600, 40);
    let inside = subscription("13.76", Audience::All, &[]);
    assert_eq!(
        resumed(inside, std::slice::from_ref(&around)),
        (600, 40, 600)
    );
    let wider = subscription("all", Audience::All, &[]);
    assert_eq!(
        resumed(wider, &[around]),
        ANEW,
        "what lies beside was never read"
    );
}

#[test]
fn a_raised_audience_owes_every_document_and_no_statement() {
    let all = mark("13.76", Audience::All, 600, 0);
    assert_eq!(
        resumed(subscription("13.76", Audience::Unit, &[]), &[all]),
        (1_000, 1_000, 600)
    );
}

#[test]
fn a_lowered_audience_goes_on_only_if_nothing_was_owed() {
    let lowered = || subscription("13.76", Audience::All, &[]);
    assert_eq!(
        resumed(lowered(), &[mark("13.76", Audience::Unit, 600, 0)]),
        (600, 0, 600)
    );
    assert_eq!(
        resumed(lowered(), &[mark("13.76", Audience::Unit, 600, 1)]),
        (1_000, 1_000, 600)
    );
}

#[test]
fn a_mark_stands_alone_whatever_lay_inside_it() {
    let outer = || mark("13", Audience::All, 600, 0);
    let whole = || subscription("13", Audience::All, &[]);
    for inside in [
        mark("13.76", Audience::Unit, 500, 0),
        mark("13.76", Audience::Unit, 700, 3),
    ] {
        assert_eq!(resumed(whole(), &[outer(), inside.clone()]), (600, 0, 600));
        let apart = subscription("13", Audience::All, &["13.76"]);
        assert_eq!(resumed(apart, &[outer(), inside]), (600, 0, 600));
    }
}

#[test]
fn of_several_marks_that_serve_the_one_that_owes_least_and_came_furthest_does() {
    let inside = || subscription("13.76.01", Audience::All, &[]);
    let marks = [
        mark("13.76", Audience::All, 900, 40),
        mark("13", Audience::Unit, 500, 0),
        mark("all", Audience::All, 600, 0),
    ];
    assert_eq!(resumed(inside(), &marks), (600, 0, 600));
    let own = mark("13.76.01", Audience::All, 700, 0);
    let marks = [marks.as_slice(), &[own]].concat();
    assert_eq!(resumed(inside(), &marks), (700, 0, 700));
}

/// A reading of a prefix by a mark, mostly of another prefix, where units were moved.
fn resumed_where(moves: &[(Position, &str, &str)], prefix: &str, mark: Mark) -> Reading {
    let mut placements = Placements::default();
    for (position, unit, parent) in moves {
        placements
            .place(*position, &scope(unit), &scope(parent))
            .unwrap();
    }
    let cursor = Cursor {
        marks: vec![mark],
        ..Cursor::default()
    };
    let read = subscription(prefix, Audience::All, &[]);
    Resuming::new(&cursor, &placements, WATERMARK).resume(read)
}

#[test]
fn a_mark_serves_a_prefix_inside_it_only_if_it_was_read_with_all_that_is_in_it() {
    let around = || mark("13", Audience::All, 600, 0);
    let resumed = |moves: &[_], prefix| resumed_where(moves, prefix, around()).seen.position;
    let known = [(500, "14.01", "13")];
    assert_eq!(resumed(&known, "14.01"), 600, "it came before the mark");
    let late = [(700, "14.01", "13")];
    assert_eq!(resumed(&late, "14.01"), 1_000, "it came behind it");
    let inside = [(500, "14.01", "13"), (700, "14.01.01", "13.76")];
    assert_eq!(resumed(&inside, "13.76"), 1_000, "a part of it came behind");
    let elsewhere = [(700, "14.01.01", "14.02"), (800, "13.76.01", "13.77")];
    assert_eq!(resumed(&elsewhere, "13.76"), 600);
    let itself = [(700, "13.76.01", "13.77")];
    assert_eq!(resumed(&itself, "13.76.01"), 600, "it never left");
}

/// Up to where a reading has statements and those that moves brought.
fn told_where(moves: &[(Position, &str, &str)], prefix: &str, mark: Mark) -> (Position, Position) {
    let reading = resumed_where(moves, prefix, mark);
    (reading.facts, reading.moves)
}

#[test]
fn a_mark_silent_on_moves_vouches_for_statements_up_to_the_first_that_brought_it_any() {
    let silent = |prefix| mark(prefix, Audience::All, 600, 0);
    let moves = [
        (400, "13.77.01", "13.78"),
        (500, "14.01", "13"),
        (700, "14.02", "13"),
    ];
    assert_eq!(told_where(&moves, "13", silent("13")), (600, 499));
    assert_eq!(told_where(&moves, "13.78", silent("13.78")), (600, 399));
    assert_eq!(
        told_where(&moves, "14.01.01", silent("14.01.01")),
        (600, 499)
    );
    for elsewhere in ["13.76", "14", "all", "14.02"] {
        assert_eq!(told_where(&moves, elsewhere, silent(elsewhere)), (600, 600));
    }
    let mut told = silent("13");
    told.moves = 500;
    assert_eq!(told_where(&moves, "13", told), (600, 600));
}

#[test]
fn a_mark_around_says_of_statements_what_it_was_told_when_its_moves_were() {
    let around = |moves| Mark {
        moves,
        ..mark("13", Audience::All, 600, 0)
    };
    let moves = [(500, "14.01", "13")];
    assert_eq!(told_where(&moves, "14.01", around(600)), (600, 600));
    assert_eq!(
        told_where(&moves, "14.01", around(0)),
        (0, 500),
        "what stands in it was never sent for the mark"
    );
    let within = [(500, "14.01", "13"), (550, "14.01.01", "13.76")];
    assert_eq!(told_where(&within, "13.76", around(520)), (0, 550));
    assert_eq!(told_where(&within, "13.77", around(520)), (600, 549));
}

#[test]
fn what_begins_is_told_everything_where_it_stands() {
    let moves = [(500, "14.01", "13")];
    let elsewhere = mark("12", Audience::All, 600, 0);
    assert_eq!(told_where(&moves, "13", elsewhere), (0, 500));
}

#[test]
fn numbers_that_no_feed_wrote_are_cut_to_what_can_be() {
    let mut forged = mark("13.76", Audience::Unit, 600, Position::MAX);
    (forged.facts, forged.moves) = (Position::MAX, Position::MAX);
    let all = Mark {
        audience: Audience::All,
        ..forged.clone()
    };
    assert_eq!(told_where(&[], "13.76", all), (600, 600));
    assert_eq!(
        resumed(subscription("13.76", Audience::Unit, &[]), &[forged]),
        (600, 1_000, 600)
    );
}

/// 600 villages that were moved.
fn many_moved() -> Placements {
    let mut placements = Placements::default();
    for village in 0..600 {
        let unit = scope(&format!("13.07.05.{}", 2_001 + village));
        let parent = scope("13.76.01");
        placements.place(1 + village, &unit, &parent).unwrap();
    }
    placements
}

/// The shortest time of several in which a subscription goes on from a cursor. Whoever asks writes the cursor, and each look at all moves costs as much as there are.
#[expect(
    clippy::disallowed_methods,
    reason = "two times are compared with each other"
)]
fn quickest(cursor: &Cursor, placements: &Placements) -> Duration {
    let once = || {
        let asked = subscription("13.76", Audience::Unit, &[]);
        let started = std::time::Instant::now();
        let resuming = Resuming::new(cursor, placements, WATERMARK);
        assert_eq!(resuming.resume(asked).floor, WATERMARK.position);
        started.elapsed()
    };
    (0..20).map(|_| once()).min().unwrap()
}

#[test]
fn marks_that_do_not_reach_a_subscription_cost_nothing_by_what_was_moved() {
    let placements = many_moved();
    let provinces = (14..45).map(|province| format!("{province}"));
    let elsewhere = provinces.map(|place| mark(&place, Audience::Unit, 900, 0));
    let many = Cursor {
        marks: elsewhere.collect(),
        ..Cursor::default()
    };
    let least = quickest(&Cursor::default(), &placements);
    let most = quickest(&many, &placements);
    assert!(most < 8 * least, "{most:?} beside {least:?}");
}

#[test]
fn what_was_moved_is_looked_at_once_for_a_mark_that_reaches_and_not_for_others() {
    let placements = many_moved();
    let cursor = Cursor {
        marks: vec![
            mark("13.76", Audience::Unit, 1_000, 1_000),
            mark("14", Audience::Unit, 1_000, 1_000),
        ],
        ..Cursor::default()
    };
    let resuming = Resuming::new(&cursor, &placements, WATERMARK);
    let asked = subscription("13.76", Audience::Unit, &[]);
    resuming.resume(asked);
    let kept: Vec<_> = resuming.untold.iter().map(|cell| cell.get()).collect();
    assert_eq!(kept, [Some(&Some(1)), None]);
}
