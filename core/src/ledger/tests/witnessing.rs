//! What the server signed about its journal, held against a journal that somebody wrote anew.

use super::*;
use crate::id::{Chain, DocumentId};

type Records = Vec<Vec<u8>>;

/// A journal of many segments, with checkpoints, and a run and a revocation in its first ones.
fn records() -> (Records, DocumentId, Vec<Position>) {
    let (storage, kv) = (MemoryStorage::new(), Arc::new(MemoryKv::new()));
    let id = JournalId([9; 16]);
    let made = Ledger::create(storage, kv, server_key(), id, NOW, small());
    let mut ledger = made.unwrap();
    let (mut phone, ended) = (Phone::new(1), Phone::new(2));
    enrol(&mut ledger, &phone, Role::Officer, VILLAGE);
    enrol(&mut ledger, &ended, Role::Officer, VILLAGE);
    let first = ledger.checkpoint(NOW).unwrap();
    let (document, root) = phone.create(VILLAGE);
    let edit = phone.edit(&document, "Sunting.");
    for verdict in submit(&mut ledger, &phone, &[&root, &edit]) {
        accepted(&verdict);
    }
    ledger.revoke(NOW, ended.id()).unwrap();
    let mut checkpoints = vec![first];
    for _ in 0..3 {
        for _ in 0..4 {
            let (_, run) = phone.create(VILLAGE);
            accepted(&submit(&mut ledger, &phone, &[&run])[0]);
        }
        checkpoints.push(ledger.checkpoint(NOW).unwrap());
    }
    let scanned = ledger.reader().records.scan(1);
    let records = scanned.map(|scanned| scanned.unwrap().record.clone());
    (records.collect(), document, checkpoints)
}

fn small() -> Options {
    let mut options = options();
    options.journal.segment_bytes = 2 * 1024;
    options
}

/// Writes a journal of records, each in a group of its own and with the sums and the chain that belong
/// to them, as anybody can who has the disk; the rows are made anew.
fn written_anew(records: &[Vec<u8>]) -> MemoryLedger {
    let storage = MemoryStorage::new();
    let id = JournalId([9; 16]);
    let first = &records[..1];
    let made = Journal::create(storage.clone(), id, small().journal, first);
    let mut journal = made.unwrap();
    for record in &records[1..] {
        journal.append(std::slice::from_ref(record)).unwrap();
    }
    drop(journal);
    let kv = Arc::new(MemoryKv::new());
    let opened = Ledger::open(storage, kv, server_key(), small(), &mut |_| {});
    opened.unwrap().0
}

fn verified(ledger: &MemoryLedger) -> Vec<VerifyFinding> {
    let verification = verify(&ledger.reader(), &mut |_| {}).unwrap();
    assert!(verification.journal.is_clean());
    verification.findings
}

/// Places of the records that say that the journal has another history.
fn contradicted(ledger: &MemoryLedger) -> Vec<Position> {
    let places = verified(ledger).into_iter().map(|finding| {
        assert!(matches!(finding.fault, Fault::History { .. }), "{finding}");
        match finding.place {
            FindingPlace::Record(position) => position,
            other => panic!("{other}"),
        }
    });
    places.collect()
}

#[test]
fn a_record_that_somebody_took_out_of_a_journal_is_missed_by_every_checkpoint_behind_it() {
    let (records, document, checkpoints) = records();
    assert!(contradicted(&written_anew(&records)).is_empty());
    let is_edit = |record: &Record| match record {
        Record::Changes(changes) => {
            let body = changes.run.envelope.body();
            body.document == document && body.root.is_none()
        }
        Record::Server(_) => false,
    };
    let is_revocation = |record: &Record| match record {
        Record::Server(signed) => matches!(signed.fact(), Fact::Revocation(_)),
        Record::Changes(_) => false,
    };
    for is_taken in [&is_edit as &dyn Fn(&Record) -> bool, &is_revocation] {
        let kept = records.iter();
        let kept = kept.filter(|bytes| !is_taken(&Record::from_bytes(bytes).unwrap()));
        let kept: Records = kept.cloned().collect();
        assert_eq!(kept.len() + 1, records.len());
        let behind: Vec<Position> = checkpoints[1..].iter().map(|at| at - 1).collect();
        assert_eq!(contradicted(&written_anew(&kept)), behind);
    }
}

#[test]
fn what_is_signed_about_a_journal_names_a_place_before_its_own_with_the_chain_there() {
    let (records, _, checkpoints) = records();
    let ledger = written_anew(&records);
    let head = ledger.reader().watermark();
    let chain_at = |position| ledger.reader().records.chain_at(position).unwrap();
    let (earlier, next) = (checkpoints[0], head.position + 1);
    let seen = |position, chain| Seen { position, chain };
    let other = Chain([7; 32]);
    for fact in [Fact::Checkpoint as fn(Seen) -> Fact, Fact::Restored] {
        for (named, is_so) in [
            (head, true),
            (seen(earlier, chain_at(earlier)), true),
            (seen(0, chain_at(0)), true),
            (seen(head.position, other), false),
            (seen(earlier, other), false),
            (seen(next, head.chain), false),
            (seen(next + 9, other), false),
        ] {
            let mut more = records.clone();
            more.push(statement(NOW, fact(named)));
            let expected: &[Position] = if is_so { &[] } else { &[next] };
            assert_eq!(contradicted(&written_anew(&more)), expected, "{named:?}");
        }
    }
}
