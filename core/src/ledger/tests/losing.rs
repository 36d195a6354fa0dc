//! A loss of records that is decided upon, and stores that are made anew, interrupted anywhere: what the
//! store had seen is known until it is a finding or the store is whole.

use super::*;
use crate::kv::KvFault;

/// How a process ends that goes on without lost records.
#[derive(Debug, Clone, Copy)]
enum End {
    Rows { with_batch: bool },
    Disk(DiskFault),
}

const ENDS: [End; 4] = [
    End::Rows { with_batch: false },
    End::Rows { with_batch: true },
    End::Disk(DiskFault::Io),
    End::Disk(DiskFault::Full),
];

fn go_on(storage: &MemoryStorage, kv: &Arc<MemoryKv>) -> Result<MemoryLedger, LedgerError> {
    let (kv, key) = (Arc::clone(kv), server_key());
    let opened = Ledger::open_after_loss(storage.clone(), kv, key, NOW, options(), &mut |_| {});
    opened.map(|(ledger, _)| ledger)
}

fn invitation() -> Invitation {
    Invitation {
        hash: invitation_hash(&[1; 16]),
        person: "Siti".into(),
        grants: vec![Grant {
            role: Role::Officer,
            scope: scope(VILLAGE),
        }],
        expires_at: NOW + 900,
    }
}

/// An open invitation and what was lost behind it: its use, and more.
fn lost(records: u64) -> (MemoryStorage, Arc<MemoryKv>) {
    let (mut ledger, storage, kv, ..) = with_officers();
    ledger.invite(NOW, invitation()).unwrap();
    let shorter = storage.duplicate();
    let used = Phone::new(7).id();
    ledger.enrol(NOW, &[1; 16], used).unwrap();
    for _ in 1..records {
        ledger.checkpoint(NOW).unwrap();
    }
    (shorter, kv)
}

fn knows_of_the_loss(ledger: &MemoryLedger) {
    let codes: Vec<String> = findings(ledger)
        .into_iter()
        .map(|found| found.code)
        .collect();
    assert!(codes.contains(&code::LOST.to_owned()), "{codes:?}");
    let reader = ledger.reader();
    let mut open = reader.invitations().map(Result::unwrap);
    assert!(open.all(|(_, row)| row.used_by.is_some() || reader.is_void(&row).unwrap()));
}

#[test]
fn wherever_going_on_after_a_loss_is_interrupted_the_loss_stays_known() {
    // Behind the two records that state it, and before.
    for records in [1, 2, 3, 9] {
        for end in ENDS {
            let mut call = 1;
            while is_known_though_interrupted(records, end, call) {
                call += 1;
            }
            assert!(call > 5, "{end:?}: hardly anything failed");
        }
    }
}

/// False once the call lies behind the end.
fn is_known_though_interrupted(records: u64, end: End, call: u64) -> bool {
    let (storage, kv) = lost(records);
    match end {
        End::Rows { .. } => kv.fail_at(call, KvFault::Io),
        End::Disk(fault) => storage.fail_at(call, fault),
    }
    let gone_on = go_on(&storage, &kv);
    let is_done = gone_on.is_ok();
    let is_to_come = match end {
        End::Rows { .. } => !kv.has_failed(),
        End::Disk(_) => storage.is_to_fail(),
    };
    assert_eq!(is_done, is_to_come, "{records} lost, {end:?}, call {call}");
    drop(gone_on);
    kv.open_anew(matches!(end, End::Rows { with_batch: true }));
    storage.fail_no_more();
    storage.crash(&mut |_| 0);
    match reopen(&storage, &kv) {
        Ok((ledger, _)) => knows_of_the_loss(&ledger),
        Err(LedgerError::Lost { .. }) if !is_done => {
            knows_of_the_loss(&go_on(&storage, &kv).unwrap());
        }
        opened => panic!("{records} lost, {end:?}, call {call}: {opened:?}"),
    }
    !is_done
}

#[test]
fn a_journal_of_another_history_is_a_loss_and_voids_what_may_have_been_used_in_the_lost_one() {
    for gone_on_by in [1, 3] {
        let (other, kv) = lost(1);
        let (mut elsewhere, _) = reopen(&other, &Arc::new(MemoryKv::new())).unwrap();
        for _ in 0..gone_on_by {
            elsewhere.checkpoint(NOW).unwrap();
        }
        let end = elsewhere.reader().watermark();
        drop(elsewhere);
        let rows = all_rows(&kv);
        let Err(LedgerError::Lost { store, journal }) = reopen(&other, &kv) else {
            panic!("rebuilt over without a word");
        };
        assert!(store.position <= end.position && journal == end);
        assert_eq!(all_rows(&kv), rows, "nothing was touched");

        let mut ledger = go_on(&other, &kv).unwrap();
        knows_of_the_loss(&ledger);
        let found = findings(&ledger);
        assert!(
            found.iter().all(|found| lost_from(found).is_none()),
            "nothing says from where on"
        );
        let again = ledger.enrol(NOW, &[1; 16], Phone::new(8).id());
        assert!(
            matches!(again, Err(EnrolError::Refused(EnrolRefusal::Void))),
            "{again:?}"
        );
        drop(ledger);
        assert_eq!(reopen(&other, &kv).unwrap().1.rebuilt, None);
        assert_eq!(all_rows(&kv), rebuilt_rows(&other));
    }
}

/// The reserve is kept for what went wrong.
#[test]
fn a_loss_is_stated_on_a_disk_below_its_reserve() {
    let (storage, kv) = lost(3);
    let mut options = options();
    options.journal.reserve_bytes = u64::MAX / 2;
    storage.set_free_bytes(u64::MAX / 4);
    let key = server_key();
    let opened = Ledger::open_after_loss(storage, kv, key, NOW, options, &mut |_| {});
    knows_of_the_loss(&opened.unwrap().0);
}

#[test]
fn rows_of_another_format_are_witnesses_of_a_loss_all_the_same() {
    let (storage, kv) = lost(3);
    let meta = reader::meta_row(&*kv).unwrap().unwrap();
    let mut batch = Batch::new();
    let format = FORMAT + 1;
    batch.put(keys::META, rows::encode(&MetaRow { format, ..meta }));
    kv.apply(&batch).unwrap();
    let opened = reopen(&storage, &kv);
    assert!(
        matches!(opened, Err(LedgerError::Lost { .. })),
        "{opened:?}"
    );
}

/// A sound journal and rows that something befell.
fn with_rows(mishap: impl Fn(&MetaRow, &mut Batch)) -> (MemoryStorage, Arc<MemoryKv>) {
    let (ledger, storage, kv, ..) = with_officers();
    drop(ledger);
    let meta = reader::meta_row(&*kv).unwrap().unwrap();
    let mut batch = Batch::new();
    mishap(&meta, &mut batch);
    kv.apply(&batch).unwrap();
    (storage, kv)
}

/// Opens it with one call to the rows failing, each in turn: why they are made anew is told as long as
/// they are not whole.
fn is_told_until_whole(made: impl Fn() -> (MemoryStorage, Arc<MemoryKv>), reason: RebuildReason) {
    let (storage, kv) = made();
    // A process that ends before anybody was told, and one that tells.
    for _ in 0..2 {
        let (kv, key) = (Arc::clone(&kv), server_key());
        let opened = Ledger::open_untold(storage.clone(), kv, key, options(), &mut |_| {});
        assert_eq!(opened.unwrap().1.rebuilt, Some(reason));
    }
    for rebuilt in [Some(reason), None] {
        let (_, opened) = reopen(&storage, &kv).unwrap();
        assert_eq!(opened.rebuilt, rebuilt);
        assert_eq!(all_rows(&kv), rebuilt_rows(&storage));
    }

    let mut call = 1;
    loop {
        let (storage, kv) = made();
        kv.fail_at(call, KvFault::Io);
        let opened = reopen(&storage, &kv);
        assert_eq!(opened.is_err(), kv.has_failed(), "call {call}");
        kv.open_anew(false);
        if let Ok((_, opened)) = opened {
            assert_eq!(opened.rebuilt, Some(reason));
            break;
        }
        drop(opened);
        let (_, opened) = reopen(&storage, &kv).unwrap();
        assert_eq!(opened.rebuilt, Some(reason), "call {call}");
        assert_eq!(all_rows(&kv), rebuilt_rows(&storage));
        call += 1;
    }
    assert!(call > 5, "{reason:?}: hardly anything failed");
}

#[test]
fn that_a_store_was_damaged_stays_known_until_it_is_made_anew() {
    let unreadable = |_: &MetaRow, batch: &mut Batch| {
        batch.put(keys::META, "not a row");
    };
    let marked = |_: &MetaRow, batch: &mut Batch| {
        batch.put(keys::DAMAGED, []);
    };
    is_told_until_whole(|| with_rows(unreadable), RebuildReason::Damaged);
    is_told_until_whole(|| with_rows(marked), RebuildReason::Damaged);
    let met_while_catching_up = || {
        let (mut ledger, storage, kv, mut phone, _) = with_officers();
        let (id, root) = phone.create(VILLAGE);
        accepted(&submit(&mut ledger, &phone, &[&root])[0]);
        let behind = kv.snapshot();
        let edit = phone.edit(&id, "Satu.");
        accepted(&submit(&mut ledger, &phone, &[&edit])[0]);
        drop(ledger);
        kv.restore(&behind);
        let mut batch = Batch::new();
        batch.put(keys::content(&id), "damaged");
        kv.apply(&batch).unwrap();
        (storage, kv)
    };
    is_told_until_whole(met_while_catching_up, RebuildReason::Damaged);
}

#[test]
fn that_a_store_was_of_another_journal_stays_known_until_it_is_made_anew() {
    let found = JournalId([1; 16]);
    let of_another = |meta: &MetaRow, batch: &mut Batch| {
        let journal = found;
        let meta = MetaRow {
            journal,
            ..meta.clone()
        };
        batch.put(keys::META, rows::encode(&meta));
    };
    let reason = RebuildReason::OtherJournal { found };
    is_told_until_whole(|| with_rows(of_another), reason);
}

/// As one that somebody asked for.
#[test]
fn a_store_that_is_made_anew_for_no_fault_is_made_anew_until_it_is_whole() {
    let (storage, kv) = (lost(1).0, Arc::new(MemoryKv::new()));
    drop(reopen(&storage, &kv).unwrap());
    let before = kv.snapshot();
    let mut call = 1;
    loop {
        kv.restore(&before);
        kv.fail_at(call, KvFault::Io);
        let gone_on = go_on(&storage, &kv);
        assert_eq!(gone_on.is_err(), kv.has_failed(), "call {call}");
        kv.open_anew(false);
        if gone_on.is_ok() {
            break;
        }
        let (_, opened) = reopen(&storage, &kv).unwrap();
        let expected = [None, Some(RebuildReason::Unfinished)];
        assert!(expected.contains(&opened.rebuilt), "{opened:?}");
        assert_eq!(all_rows(&kv), rebuilt_rows(&storage), "call {call}");
        call += 1;
    }
    assert!(call > 5, "hardly anything failed");
}
