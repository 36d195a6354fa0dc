//! Runs that devices give back after the journal lost them.

use super::*;
use crate::evidence::{Declared, Edit};
use crate::limits;
use crate::record::Changes;
use crate::scope::Scope;

fn give_back(ledger: &mut MemoryLedger, carrier: &Phone, runs: &[&CheckedRun]) -> Vec<Verdict> {
    let batch = runs.iter().map(|run| Submission {
        carrier: carrier.id(),
        run: (*run).clone(),
        returned: true,
    });
    let outcomes = ledger.accept(NOW, batch.collect()).unwrap();
    outcomes.into_iter().map(|it| it.verdict).collect()
}

fn recorded(ledger: &MemoryLedger, document: &DocumentId) -> Vec<Changes> {
    let reader = ledger.reader();
    let rows = reader.envelopes(document).unwrap();
    rows.into_iter()
        .map(|row| match reader.record(row.place).unwrap() {
            Record::Changes(changes) => changes,
            Record::Server(_) => panic!("not a run"),
        })
        .collect()
}

/// A device that was let in by its certificate and waits.
fn waiting(ledger: &mut MemoryLedger, seed: u64) -> Phone {
    let (mut former, _, _) = founded();
    let phone = Phone::new(seed);
    enrol(&mut former, &phone, Role::Officer, VILLAGE);
    let reader = former.reader();
    let place = reader.device(&phone.id()).unwrap().unwrap().certificate;
    let certificate = reader.statement_bytes(place.place()).unwrap();
    ledger
        .readmit(NOW, phone.id(), &certificate)
        .unwrap()
        .unwrap();
    phone
}

#[test]
fn a_device_in_good_standing_gives_back_what_its_author_may_not_send_any_more() {
    let (mut ledger, storage, kv, carrier, mut ended) = with_officers();
    let mut moved = Phone::new(3);
    enrol(&mut ledger, &moved, Role::Observer, VILLAGE);
    let mut stranger = Phone::new(4);
    let mut spent = Phone::new(5);
    enrol(&mut ledger, &spent, Role::Officer, VILLAGE);
    let full = rows::QuotaRow {
        day: NOW / 86_400_000,
        documents: limits::DEVICE_DOCUMENTS_PER_DAY,
        ..rows::QuotaRow::default()
    };
    let mut batch = Batch::new();
    batch.put(keys::quota(&spent.id()), rows::encode(&full));
    kv.apply(&batch).unwrap();
    let authors = [
        (ended.create(VILLAGE), RefusalCode::Revoked),
        (moved.create(VILLAGE), RefusalCode::Forbidden),
        (stranger.create(VILLAGE), RefusalCode::UnknownDevice),
        (spent.create(VILLAGE), RefusalCode::Quota),
    ];
    ledger.revoke(NOW, ended.id()).unwrap();
    for ((id, run), code) in &authors {
        assert_eq!(rejected(&submit(&mut ledger, &carrier, &[run])[0]), *code);
        accepted(&give_back(&mut ledger, &carrier, &[run])[0]);
        let [changes] = &recorded(&ledger, id)[..] else {
            panic!("one run")
        };
        assert_eq!((changes.returned, changes.carrier), (true, carrier.id()));
    }
    let bytes = |run: &CheckedRun| apply::run_bytes(run.run());
    let given: u64 = authors.iter().map(|((_, run), _)| bytes(run)).sum();
    let used = reader::quota_row(&*kv, &carrier.id()).unwrap();
    assert_eq!(
        (used.returned_bytes, used.bytes, used.documents),
        (given, 0, 0)
    );
    let before = reader::quota_row(&*kv, &spent.id()).unwrap();
    assert_eq!(before, full, "the author's day does not count");
    // A row that was written by hand follows from no record.
    let mut batch = Batch::new();
    batch.delete(keys::quota(&spent.id()));
    kv.apply(&batch).unwrap();
    assert!(all_rows(&kv) == rebuilt_rows(&storage), "a rebuild differs");
    let verification = verify(&ledger.reader(), &mut |_| {}).unwrap();
    assert!(verification.is_clean(), "{:?}", verification.findings);
}

#[test]
fn whoever_is_in_no_good_standing_is_not_taken_at_its_word() {
    let (mut ledger, _, _, ended, mut author) = with_officers();
    let unconfirmed = waiting(&mut ledger, 6);
    let mut elsewhere = Phone::new(7);
    enrol(&mut ledger, &elsewhere, Role::Officer, OTHER_VILLAGE);
    let mut stranger = Phone::new(8);
    let (_, lost) = stranger.create(VILLAGE);
    let (id, own) = author.create(VILLAGE);
    ledger.revoke(NOW, ended.id()).unwrap();
    for carrier in [&unconfirmed, &elsewhere, &Phone::new(9)] {
        let verdicts = give_back(&mut ledger, carrier, &[&lost]);
        assert_eq!(rejected(&verdicts[0]), RefusalCode::UnknownDevice);
    }
    assert_eq!(
        rejected(&give_back(&mut ledger, &ended, &[&own])[0]),
        RefusalCode::Revoked
    );
    let (_, foreign) = elsewhere.create(VILLAGE);
    let verdicts = give_back(&mut ledger, &elsewhere, &[&foreign]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Forbidden);
    // What its author may send itself is taken from whoever carries it, as ever.
    accepted(&give_back(&mut ledger, &unconfirmed, &[&own])[0]);
    assert!(!recorded(&ledger, &id)[0].returned);
    ledger.confirm(NOW, unconfirmed.id()).unwrap();
    accepted(&give_back(&mut ledger, &unconfirmed, &[&lost])[0]);
}

#[test]
fn all_else_about_a_returned_run_is_judged_as_ever() {
    let (mut ledger, _, _, carrier, mut author) = with_officers();
    let (id, root) = author.create(VILLAGE);
    let mut copy = author.clone();
    let edit = author.edit(&id, "Sunting.");
    let mut stranger = Phone::new(8);
    stranger.learn(&root);
    let unpublished = stranger.edits(&id, &[Edit::Declare(Declared::Ready)]);
    let verdicts = give_back(&mut ledger, &carrier, &[&edit]);
    assert!(matches!(verdicts[0], Verdict::Missing(_)), "{verdicts:?}");
    let verdicts = give_back(&mut ledger, &carrier, &[&unpublished]);
    assert!(matches!(verdicts[0], Verdict::Missing(_)), "{verdicts:?}");
    let verdicts = give_back(&mut ledger, &carrier, &[&edit, &root, &unpublished]);
    accepted(&verdicts[0]);
    accepted(&verdicts[1]);
    assert_eq!(rejected(&verdicts[2]), RefusalCode::UnpublishedReady);
    let branch = copy.edit(&id, "Salinan.");
    let verdicts = give_back(&mut ledger, &carrier, &[&branch]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Fork);
    let kind = DocumentKind::Unclassified;
    let (_, unclassified) = stranger.create_kind(kind, VILLAGE, false);
    let verdicts = give_back(&mut ledger, &carrier, &[&unclassified]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Unsupported);
}

/// Nobody may, so no server can have accepted it before.
#[test]
fn a_decision_or_score_is_not_changed_by_what_is_given_back() {
    let (mut ledger, _, _, carrier, _) = with_officers();
    let mut verifier = Phone::new(3);
    enrol(&mut ledger, &verifier, Role::Verifier, VILLAGE);
    let (id, decision) = verifier.create_kind(DocumentKind::Statement, VILLAGE, true);
    let altered = verifier.edit(&id, "Lain dari yang diputuskan.");
    let verdicts = give_back(&mut ledger, &carrier, &[&decision, &altered]);
    accepted(&verdicts[0]);
    assert_eq!(rejected(&verdicts[1]), RefusalCode::Forbidden);
    let verdicts = give_back(&mut ledger, &carrier, &[&altered]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Forbidden);
    let verdicts = submit(&mut ledger, &verifier, &[&altered]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Forbidden);
}

#[test]
fn a_device_gives_back_only_so_much_in_a_day() {
    let (mut ledger, _, kv, carrier, mut author) = with_officers();
    let (_, first) = author.create(VILLAGE);
    let (_, second) = author.create(VILLAGE);
    let spent = rows::QuotaRow {
        day: NOW / 86_400_000,
        returned_bytes: limits::RETURNED_BYTES_PER_DAY - apply::run_bytes(first.run()),
        ..rows::QuotaRow::default()
    };
    let mut batch = Batch::new();
    batch.put(keys::quota(&carrier.id()), rows::encode(&spent));
    kv.apply(&batch).unwrap();
    let verdicts = give_back(&mut ledger, &carrier, &[&first, &second]);
    accepted(&verdicts[0]);
    assert_eq!(rejected(&verdicts[1]), RefusalCode::Quota);
    let tomorrow = Submission {
        carrier: carrier.id(),
        run: second,
        returned: true,
    };
    let outcomes = ledger.accept(NOW + 86_400_000, vec![tomorrow]).unwrap();
    accepted(&outcomes[0].verdict);
}

#[test]
fn a_run_that_comes_from_its_author_and_from_another_at_once_is_answered_to_both() {
    let (mut ledger, _, _, carrier, _) = with_officers();
    let mut stranger = Phone::new(8);
    let (id, run) = stranger.create(VILLAGE);
    let batch = [(&stranger, false), (&carrier, true), (&stranger, false)];
    let batch = batch.map(|(by, returned)| Submission {
        carrier: by.id(),
        run: run.clone(),
        returned,
    });
    let outcomes = ledger.accept(NOW, batch.to_vec()).unwrap();
    let code = rejected(&outcomes[0].verdict);
    assert_eq!(code, RefusalCode::UnknownDevice, "nobody had it then");
    let position = accepted(&outcomes[1].verdict);
    assert_eq!(accepted(&outcomes[2].verdict), position);
    assert!(recorded(&ledger, &id)[0].returned);
}

#[test]
fn records_of_runs_that_were_not_returned_are_written_as_ever() {
    let (_, run) = Phone::new(1).create(VILLAGE);
    let changes = |returned| {
        Record::Changes(Changes {
            run: run.run().clone(),
            received_at: NOW,
            carrier: DeviceId([3; 32]),
            returned,
        })
    };
    let bytes = changes(false).to_bytes();
    // [ 0, run, received at, carrier ], as before there was a fifth.
    let mut expected = minicbor::Encoder::new(Vec::new());
    expected.array(4).unwrap().u8(0).unwrap();
    expected.bytes(&run.run().to_bytes()).unwrap();
    expected.i64(NOW).unwrap().bytes(&[3; 32]).unwrap();
    assert_eq!(bytes, expected.into_writer());
    for returned in [false, true] {
        let record = changes(returned);
        assert_eq!(Record::from_bytes(&record.to_bytes()), Ok(record));
    }
}

#[test]
fn one_side_of_a_comparison_is_all_documents_as_of_one_position() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let reader = ledger.reader();
    let everything = Subscription {
        prefix: Scope::all(),
        audience: Audience::Unit,
        except: Vec::new(),
    };
    let before = reader.watermark().position;
    std::thread::scope(|threads| {
        let watching = threads.spawn(|| {
            loop {
                let (seen, documents) = reader.comparison(&everything).unwrap();
                assert_eq!(documents.len() as u64, seen.position - before);
                if documents.len() == 60 {
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

#[test]
fn a_comparison_holds_what_its_subscription_covers_in_the_order_of_ids() {
    let (mut ledger, _, _) = founded();
    let mut phone = Phone::new(1);
    enrol(&mut ledger, &phone, Role::Officer, "13");
    let mut runs = Vec::new();
    for at in ["13", VILLAGE, VILLAGE, OTHER_VILLAGE] {
        let (id, root) = phone.create(at);
        runs.extend([root, phone.edit(&id, "Sunting.")]);
        runs.push(phone.create_kind(DocumentKind::Evidence, at, true).1);
    }
    for verdict in submit(&mut ledger, &phone, &runs.iter().collect::<Vec<_>>()) {
        accepted(&verdict);
    }
    let reader = ledger.reader();
    for (prefix, audience, except, count) in [
        ("all", Audience::Unit, vec![], 8),
        ("all", Audience::All, vec![], 4),
        ("13.76.01", Audience::Unit, vec![], 4),
        ("13", Audience::Unit, vec![scope("13.76.01")], 4),
        ("14", Audience::Unit, vec![], 0),
    ] {
        let subscription = Subscription {
            prefix: scope(prefix),
            audience,
            except,
        };
        let (seen, documents) = reader.comparison(&subscription).unwrap();
        let (also_seen, sums) = reader.digests(std::slice::from_ref(&subscription)).unwrap();
        assert_eq!((seen, documents.len()), (also_seen, count), "{prefix}");
        let digest: Digest = documents.iter().map(|(_, digest)| *digest).sum();
        assert_eq!(digest, sums[0].digest, "{prefix}");
        assert!(documents.is_sorted_by(|one, next| one.0 < next.0));
    }
}
