//! Journals that are cut between runs that were accepted together: what is built of them does not
//! depend on where.

use automerge::transaction::Transactable;
use automerge::{ObjType, ROOT, ReadDoc};

use super::*;
use crate::evidence::{Declared, Edit};
use crate::id::DocumentId;
use crate::kv::MemorySnapshot;
use crate::limits::{DOCUMENT_PLACES_MAX, FOLD_RECORDS_MAX};
use crate::record::Changes;

/// Shows more values than a document may, and then no more.
fn too_much_and_less(phone: &mut Phone, id: &DocumentId) -> [CheckedRun; 2] {
    let more = phone.change(id, |transaction| {
        let list = transaction.put_object(ROOT, "list", ObjType::List).unwrap();
        let values = (0..DOCUMENT_PLACES_MAX).map(|_| automerge::hydrate::Value::from(1_i64));
        transaction.splice(&list, 0, 0, values).unwrap();
    });
    let less = phone.change(id, |transaction| {
        let (_, list) = transaction.get(ROOT, "list").unwrap().unwrap();
        for _ in 0..1_100 {
            transaction.delete(&list, 0).unwrap();
        }
    });
    [more, less]
}

/// A document as it begins, with a text so long that building it is cut behind `behind` more
/// operations.
fn begun(ledger: &mut MemoryLedger, phone: &mut Phone, behind: u64) -> DocumentId {
    let (id, root) = phone.create(VILLAGE);
    accepted(&submit(ledger, phone, &[&root])[0]);
    let characters = limits::BATCH_OPERATIONS_MAX - root.operations() - behind - 1;
    let long = phone.change(&id, |transaction| {
        let text = transaction.put_object(ROOT, "text", ObjType::Text).unwrap();
        let long = "x".repeat(characters as usize);
        transaction.splice_text(&text, 0, 0, &long).unwrap();
    });
    accepted(&submit(ledger, phone, &[&long])[0]);
    id
}

/// Adds so many records that catching up from here is cut behind the next one.
fn pad(ledger: MemoryLedger, storage: &MemoryStorage, kv: &Arc<MemoryKv>) -> MemoryLedger {
    let mut ledger = ledger;
    let finding = statement(NOW, Fact::Finding(a_finding()));
    let padding = vec![finding; FOLD_RECORDS_MAX - 1];
    ledger.journal.append(&padding).unwrap();
    drop(ledger);
    reopen(storage, kv).unwrap().0
}

/// Rows that are made anew, and those that are caught up from `behind`, are the same, and verification
/// finds nothing.
fn expect_same_however_built(storage: &MemoryStorage, kv: &Arc<MemoryKv>, behind: &MemorySnapshot) {
    let rows = rebuilt_rows(storage);
    kv.restore(behind);
    let mut parts = 0;
    let opened = Ledger::open(
        storage.clone(),
        Arc::clone(kv),
        server_key(),
        options(),
        &mut |progress| parts += usize::from(progress.stage == Stage::CatchUp),
    );
    let (ledger, _) = opened.unwrap();
    assert_eq!(parts, 2, "it is cut once");
    assert!(all_rows(kv) == rows, "rows differ");
    let verification = verify(&ledger.reader(), &mut |_| {}).unwrap();
    assert!(verification.is_clean(), "{:?}", verification.findings);
}

#[test]
fn runs_that_were_accepted_together_are_built_wherever_the_journal_is_cut_between_them() {
    let (mut ledger, storage, kv, mut phone, _) = with_officers();
    let places = DOCUMENT_PLACES_MAX as u64;
    let id = begun(&mut ledger, &mut phone, places + 1_000);
    let behind = kv.snapshot();
    let mut ledger = pad(ledger, &storage, &kv);
    let [more, less] = too_much_and_less(&mut phone, &id);
    let alone = &submit(&mut ledger, &phone, &[&more])[0];
    assert_eq!(rejected(alone), RefusalCode::TooLarge);
    for verdict in submit(&mut ledger, &phone, &[&more, &less]) {
        accepted(&verdict);
    }
    assert!(more.operations() < places + 1_000 && more.operations() + less.operations() > places);
    drop(ledger);
    expect_same_however_built(&storage, &kv, &behind);
}

/// Journals of before hold such runs.
#[test]
fn a_run_that_reads_ready_is_built_where_one_behind_it_publishes() {
    let (ledger, storage, kv, mut phone, _) = with_officers();
    let mut ledger = ledger;
    let id = begun(&mut ledger, &mut phone, 100);
    let behind = kv.snapshot();
    drop(pad(ledger, &storage, &kv));
    let ready = phone.edits(&id, &[Edit::Declare(Declared::Ready)]);
    phone.publish(&id);
    let publishing = phone.edit(&id, &"Terbit. ".repeat(100));
    assert!(ready.operations() < 100 && ready.operations() + publishing.operations() > 100);
    let record = |run: CheckedRun| {
        let run = run.into_run();
        Record::Changes(Changes {
            run,
            received_at: NOW,
            carrier: phone.id(),
            returned: false,
        })
        .to_bytes()
    };
    let (mut journal, _) = Journal::open(storage.clone(), options().journal).unwrap();
    journal
        .append(&[record(ready), record(publishing)])
        .unwrap();
    drop(journal);
    expect_same_however_built(&storage, &kv, &behind);
}

#[test]
fn a_run_that_reads_ready_is_refused_before_one_that_publishes() {
    let (mut ledger, _, _, mut phone, mut other) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    accepted(&submit(&mut ledger, &phone, &[&root])[0]);
    other.learn(&root);
    other.publish(&id);
    let ready = phone.edits(&id, &[Edit::Declare(Declared::Ready)]);
    let publishing = other.edit(&id, "Terbit.");
    let verdicts = submit(&mut ledger, &phone, &[&ready, &publishing]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::UnpublishedReady);
    accepted(&verdicts[1]);
    accepted(&submit(&mut ledger, &phone, &[&ready])[0]);
}
