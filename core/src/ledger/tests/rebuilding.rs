//! Making rows anew and catching up: in bounded parts, and of nothing but what acceptance lets in.

use super::*;
use crate::evidence::{Declared, Edit};
use crate::kv::KvFault;
use crate::limits::{FOLD_BYTES, FOLD_RECORDS_MAX};
use crate::record::Changes;

/// Opens a ledger; how many records each batch for the store ended at, while records were read.
fn read_in_parts(storage: &MemoryStorage, kv: &Arc<MemoryKv>) -> Vec<(Stage, u64)> {
    let mut parts = Vec::new();
    let mut note = |progress: Progress| {
        if progress.stage != Stage::Documents {
            parts.push((progress.stage, progress.done));
        }
    };
    let kv = Arc::clone(kv);
    Ledger::open(storage.clone(), kv, server_key(), options(), &mut note).unwrap();
    parts
}

fn signed(fact: Fact) -> Vec<u8> {
    statement(NOW, fact)
}

#[test]
fn rows_are_written_after_a_bounded_number_of_records() {
    let (mut ledger, storage, kv, ..) = with_officers();
    let before = ledger.reader().watermark().position;
    let finding = signed(Fact::Finding(crate::record::Finding {
        code: "damage".into(),
        sentence: "Nothing is wrong.".into(),
        device: None,
        document: None,
        run: None,
        place: None,
    }));
    let most = FOLD_RECORDS_MAX as u64;
    let records = vec![finding; FOLD_RECORDS_MAX + 100];
    ledger.journal.append(&records).unwrap();
    drop(ledger);
    assert_eq!(
        read_in_parts(&storage, &kv),
        [(Stage::CatchUp, most), (Stage::CatchUp, most + 100)]
    );
    let anew = Arc::new(MemoryKv::new());
    assert_eq!(
        read_in_parts(&storage, &anew),
        [(Stage::Index, most), (Stage::Index, before + most + 100)]
    );
    assert_eq!(all_rows(&kv), all_rows(&anew));
}

#[test]
fn catching_up_writes_rows_after_a_bounded_number_of_bytes() {
    let (mut ledger, storage, kv, ..) = with_officers();
    let padding = "x".repeat(FOLD_BYTES / 5);
    let json = format!(r#"{{"id":"a","version":"1","padding":"{padding}"}}"#);
    let framework = signed(Fact::Framework(crate::record::FrameworkFact {
        json: json.into_bytes(),
    }));
    ledger.journal.append(&vec![framework; 7]).unwrap();
    drop(ledger);
    assert_eq!(
        read_in_parts(&storage, &kv),
        [(Stage::CatchUp, 5), (Stage::CatchUp, 7)]
    );
}

#[test]
fn runs_that_acceptance_never_lets_in_are_told_and_not_built() {
    let (mut ledger, storage, kv, mut phone, _) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&root]);
    drop(ledger);
    let first = phone.edit(&id, "Satu.");
    let second = phone.clone().edit(&id, "Dua.");
    let ready = phone.edits(&id, &[Edit::Declare(Declared::Ready)]);
    let mut mixed = first.clone().into_run();
    mixed.changes.clone_from(&second.run().changes);
    let whole = |run: &CheckedRun| run.clone().into_run();
    let cases = [
        (vec![mixed], 0, "has number 3 instead of 2"),
        (vec![whole(&first), whole(&first)], 1, "recorded before"),
        (vec![whole(&second)], 0, "were not recorded"),
        (vec![whole(&first), whole(&ready)], 1, "publish"),
    ];
    let rows = kv.snapshot();
    for (runs, at, expected) in cases {
        let storage = storage.duplicate();
        let (mut journal, _) = Journal::open(storage.clone(), options().journal).unwrap();
        let records: Vec<Vec<u8>> = runs
            .into_iter()
            .map(|run| {
                Record::Changes(Changes {
                    run,
                    received_at: NOW,
                    carrier: phone.id(),
                    returned: false,
                })
                .to_bytes()
            })
            .collect();
        let wrong = journal.append(&records).unwrap().first + at;
        drop(journal);
        kv.restore(&rows);
        for kv in [Arc::clone(&kv), Arc::new(MemoryKv::new())] {
            let opened = reopen(&storage, &kv);
            let Err(LedgerError::Diverged { position, reason }) = opened else {
                panic!("{expected}: {opened:?}");
            };
            assert_eq!(position, wrong, "{reason}");
            assert!(reason.contains(expected), "{expected}: {reason}");
        }
    }
}

/// They may be the last copy of what was in it.
#[test]
fn rows_are_not_thrown_away_over_a_damaged_journal() {
    let mut small = options();
    small.journal.segment_bytes = 2 * 1024;
    let (storage, kv) = (MemoryStorage::new(), Arc::new(MemoryKv::new()));
    let mut ledger = Ledger::create(
        storage.clone(),
        Arc::clone(&kv),
        server_key(),
        JournalId([9; 16]),
        NOW,
        small.clone(),
    )
    .unwrap();
    let mut phone = Phone::new(1);
    enrol(&mut ledger, &phone, Role::Officer, VILLAGE);
    let behind = kv.snapshot();
    for _ in 0..8 {
        let (_, run) = phone.create(VILLAGE);
        submit(&mut ledger, &phone, &[&run]);
    }
    drop(ledger);
    kv.restore(&behind);

    // A finished segment: opening the journal reads no more than the headers of those.
    let mut segments = storage.list().unwrap();
    segments.sort();
    assert!(segments.len() > 3, "{segments:?}");
    let damaged = &segments[segments.len() - 2];
    let mut content = storage.content(damaged).unwrap();
    content[112 + 120 + 9] ^= 1;
    storage.set_content(damaged, &content);

    let opened = Ledger::open(storage, Arc::clone(&kv), server_key(), small, &mut |_| {});
    assert!(
        matches!(opened, Err(LedgerError::Read(ReadError::Journal(_)))),
        "{opened:?}"
    );
    assert_eq!(kv.snapshot(), behind);
}

#[test]
fn rows_that_are_half_removed_never_pass_for_all() {
    let (ledger, _, kv, ..) = with_officers();
    drop(ledger);
    let mut more = Batch::new();
    for number in 0..2 * FOLD_RECORDS_MAX as u32 {
        let mut key = vec![keys::META[0] - 1];
        key.extend(number.to_be_bytes());
        more.put(key, [0]);
    }
    kv.apply(&more).unwrap();
    let whole = kv.snapshot();
    let mut failed = 0;
    for call in (2..).step_by(FOLD_RECORDS_MAX / 4) {
        kv.restore(&whole);
        kv.fail_at(call, KvFault::Io);
        let cleared = rebuild::clear(&*kv);
        kv.open_anew(false);
        if cleared.is_ok() {
            break;
        }
        failed += 1;
        assert_ne!(kv.snapshot(), whole);
        assert!(reader::meta_row(&*kv).unwrap().is_none(), "call {call}");
    }
    assert!(failed > 4);
    assert_eq!(all_rows(&kv), []);
}
