//! The standing of devices to which something comes back: it never gives more than the journal
//! knew, before an administrator confirms it.

use std::collections::BTreeSet;

use super::returning::{
    certificate, confirmed, granted, grants, holds_together, record, row, stands,
};
use super::*;
use crate::record::{GrantsFact, Returned};

#[test]
fn a_confirmation_does_not_come_back_since_what_came_behind_it_may_be_lost() {
    let (mut ledger, storage, kv, carrier, _) = with_officers();
    let phone = Phone::new(7);
    let given = confirmed(NOW + 5, phone.id());
    let shown = certificate(NOW - 9, phone.id(), VILLAGE);
    ledger.readmit(NOW, phone.id(), &shown).unwrap().unwrap();
    let taken = ledger.take_back(NOW + 9, carrier.id(), vec![given.clone()]);
    assert_eq!(taken.unwrap().news, 0);
    assert!(!stands(&ledger, &phone));
    // Earlier versions recorded it.
    let by = carrier.id();
    let statement = given;
    record(
        &mut ledger,
        NOW + 10,
        Fact::Returned(Returned { by, statement }),
    );
    assert!(!stands(&ledger, &phone));
    holds_together(&ledger, &storage, &kv);
}

#[test]
fn returned_grants_that_give_more_wait_for_an_administrator_and_narrower_ones_do_not() {
    for (before, returned, still_stands) in [
        ("13.76", VILLAGE, true),
        (VILLAGE, VILLAGE, true),
        (VILLAGE, "13.76", false),
        (VILLAGE, OTHER_VILLAGE, false),
    ] {
        let (mut ledger, storage, kv, carrier, phone) = with_officers();
        ledger.grant(NOW + 1, phone.id(), grants(before)).unwrap();
        let back = vec![granted(NOW + 9, phone.id(), returned)];
        assert_eq!(ledger.take_back(NOW, carrier.id(), back).unwrap().news, 1);
        let known = row(&ledger, &phone);
        assert_eq!(known.grants, grants(returned));
        assert_eq!(
            stands(&ledger, &phone),
            still_stands,
            "{before} to {returned}"
        );
        assert_eq!(ledger.confirm(NOW, phone.id()).is_ok(), !still_stands);
        assert!(stands(&ledger, &phone));
        // What an administrator confirmed is what the next loss is measured by.
        let wider = vec![granted(NOW + 19, phone.id(), "13")];
        ledger.take_back(NOW, carrier.id(), wider).unwrap();
        assert!(!stands(&ledger, &phone));
        holds_together(&ledger, &storage, &kv);
    }
}

#[test]
fn a_role_that_came_back_waits_for_an_administrator_wherever_it_reaches() {
    let (mut ledger, _, _, carrier, phone) = with_officers();
    let grants = vec![Grant {
        role: Role::Verifier,
        scope: scope(VILLAGE),
    }];
    let device = phone.id();
    let back = statement(NOW + 9, Fact::Grants(GrantsFact { device, grants }));
    ledger.take_back(NOW, carrier.id(), vec![back]).unwrap();
    assert!(!stands(&ledger, &phone));
}

#[test]
fn what_an_administrator_adds_is_vouched_for_and_what_came_back_beside_it_is_not() {
    let (mut ledger, storage, kv, carrier, phone) = with_officers();
    let both = |one: &str, other: &str| [grants(one), grants(other)].concat();
    ledger.grant(NOW + 1, phone.id(), grants(VILLAGE)).unwrap();
    let back = vec![granted(NOW + 5, phone.id(), "14")];
    ledger.take_back(NOW, carrier.id(), back).unwrap();
    let added = both("14", OTHER_VILLAGE);
    ledger.grant(NOW + 9, phone.id(), added).unwrap();
    assert!(!stands(&ledger, &phone), "14 came back");
    let narrowed = both(VILLAGE, OTHER_VILLAGE);
    ledger.grant(NOW + 9, phone.id(), narrowed).unwrap();
    assert!(stands(&ledger, &phone));
    holds_together(&ledger, &storage, &kv);
}

/// What a loss leaves is what the journal knew last, and not what it knew at any time.
#[test]
fn what_an_administrator_took_waits_when_it_comes_back() {
    let (mut ledger, storage, kv, carrier, phone) = with_officers();
    ledger.grant(NOW + 1, phone.id(), grants("13.76")).unwrap();
    let narrower = vec![granted(NOW + 5, phone.id(), VILLAGE)];
    ledger.take_back(NOW, carrier.id(), narrower).unwrap();
    assert!(stands(&ledger, &phone));
    ledger
        .grant(NOW + 9, phone.id(), grants(OTHER_VILLAGE))
        .unwrap();
    let wide = vec![granted(NOW + 19, phone.id(), "13.76")];
    ledger.take_back(NOW, carrier.id(), wide).unwrap();
    assert!(!stands(&ledger, &phone));
    holds_together(&ledger, &storage, &kv);
}

#[test]
fn a_unit_that_was_moved_away_is_more_than_what_was_above_it() {
    let (mut ledger, storage, kv, carrier, phone) = with_officers();
    ledger.grant(NOW + 1, phone.id(), grants("13.76")).unwrap();
    let back = vec![granted(NOW + 5, phone.id(), VILLAGE)];
    ledger.take_back(NOW, carrier.id(), back).unwrap();
    assert!(stands(&ledger, &phone));
    let (village, to) = (scope(VILLAGE), scope("13.07"));
    ledger.move_unit(NOW + 9, &village, &to).unwrap();
    assert!(!stands(&ledger, &phone));
    holds_together(&ledger, &storage, &kv);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Grants of a device in good standing, in whatever order they come back: the newest count,
    /// and it waits for an administrator if those give more than was known, however narrow what
    /// came before them is.
    #[test]
    fn whether_returned_grants_wait_does_not_depend_on_the_order_in_which_they_come(
        order in Just((0..4usize).collect::<Vec<_>>()).prop_shuffle(),
        cuts in proptest::collection::vec(any::<bool>(), 4),
        withheld in proptest::collection::vec(any::<bool>(), 4),
    ) {
        let (mut ledger, storage, kv, one, phone) = with_officers();
        ledger.grant(NOW + 1, phone.id(), grants("13.76")).unwrap();
        let reaches = ["13", VILLAGE, "14", "13.76"];
        let all = [
            granted(NOW + 5, phone.id(), reaches[0]),
            granted(NOW + 6, phone.id(), reaches[1]),
            certificate(NOW + 7, phone.id(), reaches[2]),
            granted(NOW + 8, phone.id(), reaches[3]),
        ];
        let mut waiting = Vec::new();
        for (at, cut) in order.into_iter().zip(cuts) {
            if !withheld[at] {
                waiting.push(all[at].clone());
            }
            if cut {
                ledger.take_back(NOW, one.id(), std::mem::take(&mut waiting)).unwrap();
            }
        }
        ledger.take_back(NOW, one.id(), waiting).unwrap();
        let last = (0..4).rfind(|at| !withheld[*at]);
        let known = row(&ledger, &phone);
        prop_assert_eq!(&known.grants, &grants(last.map_or("13.76", |at| reaches[at])));
        prop_assert_eq!(stands(&ledger, &phone), last.is_none_or(|at| at % 2 == 1));
        let counts: BTreeSet<_> = known.vouched.iter().map(|it| it.len()).collect();
        prop_assert_eq!(counts.len(), usize::from(last.is_some()));
        holds_together(&ledger, &storage, &kv);
    }
}
