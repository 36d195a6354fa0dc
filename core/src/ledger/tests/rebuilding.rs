//! Making rows anew and catching up: in bounded parts, and of nothing but what acceptance lets in.

use super::*;
use crate::evidence::{Declared, Edit};
use crate::journal::format::SEGMENT_HEADER_BYTES;
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
    let finding = signed(Fact::Finding(a_finding()));
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
    for call in (3..).step_by(FOLD_RECORDS_MAX / 4) {
        kv.restore(&whole);
        kv.fail_at(call, KvFault::Io);
        let cleared = rebuild::clear(&*kv);
        kv.open_anew(false);
        if cleared.is_ok() {
            break;
        }
        failed += 1;
        assert_ne!(kv.snapshot(), whole);
        let meta = reader::meta_row(&*kv).unwrap().unwrap();
        assert_eq!(meta.format, rows::UNFINISHED, "call {call}");
    }
    assert!(failed > 4);
    let [(key, _)] = &all_rows(&kv)[..] else {
        panic!("{:?}", all_rows(&kv).len());
    };
    assert_eq!(key, keys::META);
}

/// They may be the last copy of what was in it.
#[test]
fn rows_are_never_thrown_away_over_a_damaged_journal() {
    type Age = fn(&MemoryKv);
    let ages: [(&str, Age); 4] = [
        ("a few records behind", |_| {}),
        ("of another format", |kv| {
            let meta = reader::meta_row(kv).unwrap().unwrap();
            let format = FORMAT + 1;
            put(kv, keys::META, &rows::encode(&MetaRow { format, ..meta }));
        }),
        ("found damaged", |kv| put(kv, keys::DAMAGED, b"")),
        ("of nobody knows what", |kv| {
            put(kv, keys::META, b"not a row")
        }),
    ];
    for (what, age) in ages {
        let storage = MemoryStorage::new();
        let kv = Arc::new(MemoryKv::new());
        let mut options = options();
        options.journal.segment_bytes = 2 * 1024;
        let (id, key) = (JournalId([9; 16]), server_key());
        let made = Ledger::create(storage.clone(), kv.clone(), key, id, NOW, options);
        let mut ledger = made.unwrap();
        let mut phone = Phone::new(1);
        enrol(&mut ledger, &phone, Role::Officer, VILLAGE);
        let (document, created) = phone.create(VILLAGE);
        accepted(&submit(&mut ledger, &phone, &[&created])[0]);
        let behind = kv.snapshot();
        let mut places = Vec::new();
        for n in 0..6 {
            let edit = phone.edit(&document, &format!("Ke-{n}. {}", "isi ".repeat(100)));
            let position = accepted(&submit(&mut ledger, &phone, &[&edit])[0]);
            places.push(ledger.reader().records.locate(position).unwrap());
        }
        drop(ledger);
        kv.restore(&behind);
        age(&kv);
        let rows = all_rows(&kv);
        // Not in the last segment, which is looked through when the journal is opened.
        assert!(places[1].segment < places[5].segment);
        let name = format!("{:010}.seg", places[1].segment);
        let mut content = storage.content(&name).unwrap();
        assert!(places[1].offset as usize > SEGMENT_HEADER_BYTES);
        content[places[1].offset as usize + 40] ^= 1;
        storage.set_content(&name, &content);

        let error = reopen(&storage, &kv).unwrap_err();
        let LedgerError::Read(ReadError::Journal(_)) = error else {
            panic!("{what}: {error:?}");
        };
        assert_eq!(all_rows(&kv), rows, "{what}");
    }
}

#[test]
fn a_journal_that_cannot_be_read_is_not_blamed_on_the_rows() {
    let (mut ledger, storage, kv) = founded();
    let (name, json) = crate::framework::built_in()[0];
    let mut import = || ledger.import_framework(NOW, name, json.to_vec());
    let position = import().unwrap();
    let rows = all_rows(&kv);
    // What was imported before is read to see whether it is the same.
    let segment = "0000000001.seg";
    let mut content = storage.content(segment).unwrap();
    let last = content.iter().rposition(|byte| *byte != 0).unwrap();
    content[last] ^= 1;
    storage.set_content(segment, &content);
    import().unwrap_err();
    assert_eq!(ledger.reader().watermark().position, position);
    assert_eq!(all_rows(&kv), rows);
}

fn put(kv: &MemoryKv, key: &[u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(key, value);
    kv.apply(&batch).unwrap();
}

#[test]
fn a_row_that_another_reader_met_damaged_ends_the_ledger_and_all_are_made_anew() {
    let (mut ledger, storage, kv, mut phone, _) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&root]);
    let sound = all_rows(&kv);
    kv.apply(Batch::new().put(keys::document(&id), "no row"))
        .unwrap();
    let met = ledger.reader().document(&id).unwrap_err();
    ledger.end_over(met);
    assert!(ledger.has_failed());
    let refused = ledger.checkpoint(NOW).unwrap_err();
    assert!(
        matches!(&refused, AdminError::Ledger(LedgerError::Failed { .. })),
        "{refused}"
    );
    drop(ledger);
    let (_, opened) = reopen(&storage, &kv).unwrap();
    assert_eq!(opened.rebuilt, Some(RebuildReason::Damaged));
    assert_eq!(all_rows(&kv), sound);
}

#[test]
fn a_ledger_ends_over_what_others_met_of_the_store_and_over_no_record_and_no_scarce_moment() {
    let io = |errno| KvError::Io {
        act: "read",
        source: std::io::Error::from_raw_os_error(errno),
    };
    // As Linux numbers them: no memory, too many files of the system, and of the process; and that the
    // device reports an error.
    let met = [
        (ReadError::from(io(12)), false),
        (io(23).into(), false),
        (io(24).into(), false),
        (io(5).into(), true),
        (KvError::Damaged("a page is gone".into()).into(), true),
        (
            crate::record::RecordError::Malformed("not a record".into()).into(),
            false,
        ),
        (
            journal::ReadError::BehindHead {
                position: 9,
                head: 8,
            }
            .into(),
            false,
        ),
    ];
    for (error, ends) in met {
        let (mut ledger, ..) = with_officers();
        let told = error.to_string();
        ledger.end_over(error);
        assert_eq!(ledger.has_failed(), ends, "{told}");
    }
}
