//! What readers see.

use super::*;
use crate::scope::Scope;

fn position(ledger: &mut MemoryLedger, phone: &Phone, run: &CheckedRun) -> Position {
    accepted(&submit(ledger, phone, &[run])[0])
}

#[test]
fn a_document_enters_the_readers_with_its_first_run_that_publishes() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    let began = position(&mut ledger, &phone, &root);
    let reader = ledger.reader();
    let village = scope(VILLAGE);
    let entered = |audience| -> Vec<(Position, DocumentId)> {
        reader
            .entries(&village, audience, Position::MAX - 1)
            .map(Result::unwrap)
            .collect()
    };
    assert_eq!(entered(Audience::Unit), [(began, id)]);
    assert_eq!(entered(Audience::All), []);
    let ready = phone.ready(&id);
    let published = position(&mut ledger, &phone, &ready);
    let after = phone.edit(&id, "Ditambah.");
    position(&mut ledger, &phone, &after);
    assert_eq!(entered(Audience::All), [(published, id)]);
    let row = reader.document(&id).unwrap().unwrap();
    assert_eq!(
        (row.entered_unit, row.entered_all),
        (began, Some(published))
    );
}

#[test]
fn entries_come_last_first_from_a_position_down() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let began: Vec<Position> = (0..4)
        .map(|_| {
            let (_, run) = phone.create(VILLAGE);
            position(&mut ledger, &phone, &run)
        })
        .collect();
    let reader = ledger.reader();
    let from: Vec<Position> = reader
        .entries(&scope(VILLAGE), Audience::Unit, began[2])
        .map(|entry| entry.unwrap().0)
        .collect();
    assert_eq!(from, [began[2], began[1], began[0]]);
}

#[test]
fn records_and_changed_scopes_are_found_below_every_ancestor_and_nowhere_else() {
    let (mut ledger, _, _, _, _) = with_officers();
    let mut phone = Phone::new(3);
    enrol(&mut ledger, &phone, Role::Officer, "13");
    let (first, run) = phone.create(VILLAGE);
    let first_at = position(&mut ledger, &phone, &run);
    let (second, run) = phone.create(OTHER_VILLAGE);
    let second_at = position(&mut ledger, &phone, &run);
    let edit = phone.edit(&first, "Lagi.");
    let edit_at = position(&mut ledger, &phone, &edit);
    let reader = ledger.reader();
    let (one, other) = (scope(VILLAGE), scope(OTHER_VILLAGE));
    let changed = |prefix: &str, after| reader.changed_scopes(&scope(prefix), after).unwrap();
    for prefix in ["all", "13", "13.76"] {
        assert_eq!(changed(prefix, 0), [one.clone(), other.clone()]);
        assert_eq!(changed(prefix, second_at), std::slice::from_ref(&one));
        assert_eq!(changed(prefix, edit_at), []);
    }
    assert_eq!(changed("13.76.02", 0), std::slice::from_ref(&other));
    assert_eq!(changed("13.77", 0), []);
    let records = |after, upto| -> Vec<(Position, DocumentId)> {
        let records = reader.scope_records(&one, after, upto);
        records
            .map(|record| record.unwrap())
            .map(|(at, id, _)| (at, id))
            .collect()
    };
    assert_eq!(records(0, edit_at), [(first_at, first), (edit_at, first)]);
    assert_eq!(records(first_at, edit_at), [(edit_at, first)]);
    assert_eq!(records(0, edit_at - 1), [(first_at, first)]);
    let (_, _, place) = reader
        .scope_records(&one, first_at, edit_at)
        .next()
        .unwrap()
        .unwrap();
    let Record::Changes(changes) = reader.record(place).unwrap() else {
        panic!("the place leads to the run")
    };
    assert_eq!(changes.run.id(), edit.id());
    let below: Vec<Scope> = reader
        .scopes_below(&scope("13"))
        .map(Result::unwrap)
        .collect();
    assert_eq!(below, [one, other]);
    let listed: Vec<DocumentId> = reader
        .documents(&Scope::all())
        .map(|document| document.unwrap().0)
        .collect();
    assert_eq!(listed, [first, second]);
}

#[test]
fn the_chain_is_known_up_to_the_watermark_and_not_behind_it() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let reader = ledger.reader();
    let before = reader.watermark();
    let (_, run) = phone.create(VILLAGE);
    let (_, other) = phone.create(VILLAGE);
    assert_eq!(reader.chain_at(before.position + 1).unwrap(), None);
    submit(&mut ledger, &phone, &[&run, &other]);
    assert_eq!(
        reader.chain_at(before.position).unwrap(),
        Some(before.chain)
    );
    let inside = reader.chain_at(before.position + 1).unwrap();
    assert!(inside.is_some() && inside != Some(reader.watermark().chain));
}

#[test]
fn subscriptions_do_not_overlap_and_their_digests_leave_out_what_others_cover() {
    let grants = [
        Grant {
            role: Role::Verifier,
            scope: scope("13"),
        },
        Grant {
            role: Role::Officer,
            scope: scope(VILLAGE),
        },
    ];
    let subscriptions = Subscription::of(&grants, &crate::placement::Placements::default());
    assert_eq!(subscriptions.len(), 2);
    let [broad, narrow] = &subscriptions[..] else {
        panic!("two of them")
    };
    assert_eq!(
        (broad.audience, &broad.except[..]),
        (Audience::All, &[scope(VILLAGE)][..])
    );
    assert_eq!((narrow.audience, narrow.except.len()), (Audience::Unit, 0));
    assert!(broad.covers(&scope(OTHER_VILLAGE)) && !broad.covers(&scope(VILLAGE)));

    let (mut ledger, _, _, _, _) = with_officers();
    let mut phone = Phone::new(3);
    enrol(&mut ledger, &phone, Role::Officer, "13");
    let (inside, run) = phone.create_kind(DocumentKind::Evidence, VILLAGE, true);
    submit(&mut ledger, &phone, &[&run]);
    let (beside, run) = phone.create_kind(DocumentKind::Evidence, OTHER_VILLAGE, true);
    submit(&mut ledger, &phone, &[&run]);
    let (seen, sums) = ledger.reader().digests(&subscriptions).unwrap();
    assert_eq!(seen, ledger.reader().watermark());
    let only = |id: &DocumentId| ScopeDigest {
        digest: Digest::of(id, &phone.heads(id)),
        documents: 1,
    };
    assert_eq!(sums, [only(&beside), only(&inside)]);
}

/// Readers on other threads never see a digest that belongs to another position.
#[test]
fn digests_belong_to_their_position_while_the_ledger_accepts() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let reader = ledger.reader();
    let everything = [Subscription {
        prefix: Scope::all(),
        audience: Audience::Unit,
        except: Vec::new(),
    }];
    let before = reader.watermark().position;
    std::thread::scope(|threads| {
        let watching = threads.spawn(|| {
            loop {
                let (seen, sums) = reader.digests(&everything).unwrap();
                assert_eq!(sums[0].documents, seen.position - before);
                if sums[0].documents == 60 {
                    break;
                }
            }
        });
        for _ in 0..20 {
            let runs: Vec<CheckedRun> = (0..3).map(|_| phone.create(VILLAGE).1).collect();
            submit(&mut ledger, &phone, &runs.iter().collect::<Vec<_>>());
        }
        watching.join().unwrap();
    });
}
