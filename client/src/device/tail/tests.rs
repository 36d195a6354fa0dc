//! The tail alone, under crashes and over many runs.

use std::sync::Arc;

use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, ROOT};
use bukti_core::envelope::{Body, Envelope, Run};
use bukti_core::id::{ChangeHash, DeviceId, DocumentId, Incarnation, RunId};
use bukti_core::journal::Storage;
use bukti_core::journal::memory::{Fault, MemoryStorage};
use ed25519_dalek::SigningKey;

use super::{Settled, Tail};
use crate::limits::TAIL_SETTLED_BYTES;

const LIFE: Incarnation = Incarnation([1; 16]);

/// A run of about `bytes` bytes, which do not deflate.
fn run(number: u64, bytes: usize) -> Run {
    let key = SigningKey::from_bytes(&[3; 32]);
    let mut noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let noise = std::iter::repeat_with(|| {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise as u8
    });
    let actor = ActorId::from(number.to_be_bytes());
    let mut document = Automerge::new().with_actor(actor);
    let mut transaction = document.transaction();
    transaction
        .put(ROOT, "noise", noise.take(bytes).collect::<Vec<u8>>())
        .unwrap();
    transaction.commit();
    let mut change = document.get_last_local_change().unwrap();
    let body = Body {
        document: DocumentId([2; 16]),
        root: None,
        incarnation: LIFE,
        number,
        first_seq: 1,
        count: 1,
        last_hash: ChangeHash::from(change.hash()),
        publish: false,
        device_time: 0,
        seen: None,
        device: DeviceId(key.verifying_key().to_bytes()),
    };
    Run {
        envelope: Envelope::seal(body, &key),
        changes: vec![change.bytes().into_owned()],
    }
}

fn open(disk: &MemoryStorage) -> Tail<MemoryStorage> {
    Tail::open_or_create(Arc::new(disk.clone()), LIFE).unwrap()
}

fn waiting(tail: &Tail<MemoryStorage>) -> Vec<RunId> {
    tail.pending().iter().map(super::Pending::id).collect()
}

fn bytes_on(disk: &MemoryStorage) -> u64 {
    let names = disk.list().unwrap();
    names.iter().map(|name| disk.length(name).unwrap()).sum()
}

#[test]
fn settled_runs_give_their_space_back_and_waiting_ones_stay_in_order() {
    let disk = MemoryStorage::new();
    let mut tail = open(&disk);
    let kept = [run(1, 1_000), run(2, 1_000)];
    for run in &kept {
        tail.seal(run, Vec::new()).unwrap();
    }
    let mut bytes_max = 0;
    for number in 3..100 {
        let run = run(number, 100_000);
        tail.seal(&run, Vec::new()).unwrap();
        tail.settle(vec![run.id()], Settled::Confirmed(number))
            .unwrap();
        bytes_max = bytes_max.max(bytes_on(&disk));
    }
    assert!(bytes_max <= 3 * 1024 * 1024, "{bytes_max}");
    let tail = open(&disk);
    assert_eq!(waiting(&tail), kept.map(|run| run.id()));
    assert_eq!(tail.last().unwrap().number, 99);
    assert_eq!(tail.settled_through(), 99);
}

#[test]
fn whatever_fails_while_the_tail_is_written_anew_nothing_that_waits_is_lost() {
    for call in 1..40 {
        for keep in 0..2 {
            let disk = MemoryStorage::new();
            let mut tail = open(&disk);
            let settled = run(1, TAIL_SETTLED_BYTES as usize + 1_000);
            tail.seal(&settled, Vec::new()).unwrap();
            let kept: Vec<Run> = (2..6).map(|number| run(number, 400)).collect();
            for run in &kept {
                tail.seal(run, Vec::new()).unwrap();
            }
            disk.fail_at(call, Fault::Io);
            let done = tail.settle(vec![settled.id()], Settled::Confirmed(7));
            disk.crash(&mut |choices| keep.min(choices - 1));
            let tail = open(&disk);
            let ids: Vec<RunId> = kept.iter().map(Run::id).collect();
            let mut found = waiting(&tail);
            if done.is_err() {
                found.retain(|run| *run != settled.id());
            }
            assert_eq!(found, ids, "call {call}, keep {keep}");
            assert_eq!(tail.last().unwrap().number, 5);
        }
    }
}

#[test]
fn a_new_life_numbers_from_the_start_and_marks_what_was_sealed_before() {
    let disk = MemoryStorage::new();
    let mut tail = open(&disk);
    tail.seal(&run(1, 10), Vec::new()).unwrap();
    tail.renew(Incarnation([9; 16]), true).unwrap();
    drop(tail);
    let mut tail = open(&disk);
    assert_eq!(tail.incarnation(), Incarnation([9; 16]));
    assert_eq!(tail.last(), None);
    assert!(tail.pending()[0].reenter);
    let (old, new) = (run(1, 10).id(), run(2, 10));
    tail.seal(&new, vec![old]).unwrap();
    drop(tail);
    let tail = open(&disk);
    assert_eq!(waiting(&tail), [new.id()]);
    assert!(!tail.pending()[0].reenter);
}
