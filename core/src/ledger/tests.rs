//! What the ledger promises, on storage in memory that crashes and fails.

use std::sync::Arc;

use proptest::prelude::*;

use super::testing::{NOW, Phone, enrol, founded, options, scope, server_key, submit};
use super::*;
use crate::authority::{Audience, Grant, Role};
use crate::digest::Digest;
use crate::envelope::DocumentKind;
use crate::id::{ChangeHash, DeviceId};
use crate::journal::memory::{Fault as DiskFault, MemoryStorage};
use crate::kv::{Batch, Direction, Kv, KvError, MemoryKv};
use crate::record::{Invitation, invitation_hash};
use crate::validate::{CheckedRun, RefusalCode};

mod accepting;
mod clocks;
mod comparing;
mod cutting;
mod faults;
mod given_back;
mod losing;
mod moving;
mod opening;
mod reading;
mod rebuilding;
mod returning;
mod scrub;
mod statements;
mod turns;
mod verifying;
mod vouching;
mod witnessing;

const VILLAGE: &str = "13.76.01.1001";
const OTHER_VILLAGE: &str = "13.76.02.1001";

type MemoryLedger = Ledger<MemoryStorage, MemoryKv>;

/// A ledger with two officers of one village.
fn with_officers() -> (MemoryLedger, MemoryStorage, Arc<MemoryKv>, Phone, Phone) {
    let (mut ledger, storage, kv) = founded();
    let (one, other) = (Phone::new(1), Phone::new(2));
    enrol(&mut ledger, &one, Role::Officer, VILLAGE);
    enrol(&mut ledger, &other, Role::Officer, VILLAGE);
    (ledger, storage, kv, one, other)
}

fn accepted(verdict: &Verdict) -> Position {
    match verdict {
        Verdict::Accepted(position) => *position,
        other => panic!("not accepted: {other:?}"),
    }
}

fn rejected(verdict: &Verdict) -> RefusalCode {
    match verdict {
        Verdict::Rejected(refusal) => refusal.code,
        other => panic!("not rejected: {other:?}"),
    }
}

fn all_rows(kv: &MemoryKv) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (from, to) = keys::everything();
    kv.scan(&from, &to, Direction::Ascending)
        .map(Result::unwrap)
        .collect()
}

fn reopen(
    storage: &MemoryStorage,
    kv: &Arc<MemoryKv>,
) -> Result<(MemoryLedger, Opened), LedgerError> {
    Ledger::open(
        storage.clone(),
        Arc::clone(kv),
        server_key(),
        options(),
        &mut |_| {},
    )
}

/// The rows that a rebuild makes from a journal.
fn rebuilt_rows(storage: &MemoryStorage) -> Vec<(Vec<u8>, Vec<u8>)> {
    let kv = Arc::new(MemoryKv::new());
    let (_, opened) = reopen(&storage.duplicate(), &kv).unwrap();
    assert_eq!(opened.rebuilt, Some(RebuildReason::NoRows));
    all_rows(&kv)
}

/// A statement by the server's key, as a device keeps it.
fn statement(at: WallMs, fact: Fact) -> Vec<u8> {
    Signed::new(Statement { at, fact }, &server_key()).to_bytes()
}

fn a_finding() -> crate::record::Finding {
    crate::record::Finding {
        code: code::DAMAGE.to_owned(),
        sentence: "Nothing is wrong.".into(),
        device: None,
        document: None,
        run: None,
        place: None,
    }
}

fn findings(ledger: &MemoryLedger) -> Vec<crate::record::Finding> {
    let reader = ledger.reader();
    reader
        .findings()
        .map(|found| match reader.record(found.unwrap().1).unwrap() {
            Record::Server(signed) => match signed.fact() {
                Fact::Finding(finding) => finding.clone(),
                other => panic!("not a finding: {other:?}"),
            },
            Record::Changes(_) => panic!("not a statement"),
        })
        .collect()
}
