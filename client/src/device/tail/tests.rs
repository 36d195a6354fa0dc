//! The tail alone, under crashes and over many runs.

use std::sync::Arc;

use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, ROOT};
use bukti_core::envelope::{Body, Envelope, Run};
use bukti_core::id::{ChangeHash, DeviceId, DocumentId, Incarnation, JournalId, RunId};
use bukti_core::journal::memory::{Fault, MemoryStorage};
use bukti_core::journal::{Journal, Options, Storage, segment_name};
use ed25519_dalek::SigningKey;

use super::{Settled, State, Tail, TailError};
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
        tail.seal(std::slice::from_ref(run), Vec::new()).unwrap();
    }
    let mut bytes_max = 0;
    for number in 3..100 {
        let run = run(number, 100_000);
        tail.seal(std::slice::from_ref(&run), Vec::new()).unwrap();
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
fn lives_without_end_give_their_space_back() {
    let disk = MemoryStorage::new();
    let mut tail = open(&disk);
    let kept = run(1, 1_000);
    tail.seal(std::slice::from_ref(&kept), Vec::new()).unwrap();
    let head = |tail: &Tail<MemoryStorage>| (tail.head(), tail.incarnation());
    // Whoever is told so by its server, with something sealed and without.
    tail.start_over(Incarnation([2; 16]), false).unwrap();
    let before = head(&tail);
    tail.start_over(Incarnation([3; 16]), false).unwrap();
    assert_eq!(head(&tail), before);
    // A copied store is never in the life of before.
    tail.settled_bytes = TAIL_SETTLED_BYTES;
    tail.start_over(Incarnation([4; 16]), true).unwrap();
    assert_eq!(tail.incarnation(), Incarnation([4; 16]));
    assert_eq!(tail.settled_bytes, 0);
    let tail = open(&disk);
    assert_eq!(waiting(&tail), [kept.id()]);
    assert!(tail.pending()[0].reenter);
}

/// Its device did not hear yet what was entered again, and may find no room to write it elsewhere.
#[test]
fn a_tail_keeps_all_it_says_until_its_device_wrote_what_replaced_what() {
    let disk = MemoryStorage::new();
    let mut tail = open(&disk);
    let by = run(1, 1_000);
    let refused = run(2, 1_000).id();
    tail.seal(std::slice::from_ref(&by), vec![refused]).unwrap();
    for is_written in [false, true] {
        let (mut tail, opened) = Tail::open(Arc::new(disk.clone())).unwrap().unwrap();
        assert_eq!(opened.replaced.get(&refused), Some(&by.id()));
        if is_written {
            tail.keep_witness(false);
        }
        tail.settled_bytes = TAIL_SETTLED_BYTES;
        tail.start_over(Incarnation([4; 16]), true).unwrap();
        assert_eq!(tail.settled_bytes == 0, is_written);
    }
}

/// What is left of unsynced writes when the process ends.
#[derive(Debug, Clone, Copy)]
enum Left {
    Nothing,
    All,
    /// The machine goes on, and with it what its cache shows.
    Cache,
}

/// Lets a call fail while a settled run gives its space back, segments before it are deleted and
/// others wait. False once no call failed.
fn loses_nothing_that_waits(runs: &[Run; 6], call: u64, fault: Fault, left: Left) -> bool {
    let [settled, kept @ .., filler] = runs;
    let disk = MemoryStorage::new();
    let mut tail = open(&disk);
    for run in runs {
        tail.seal(std::slice::from_ref(run), Vec::new()).unwrap();
    }
    disk.fail_at(call, fault);
    let runs = vec![settled.id(), filler.id()];
    let done = tail.settle(runs, Settled::Confirmed(7));
    match left {
        Left::Nothing => disk.crash(&mut |_| 0),
        Left::All => disk.crash(&mut |_| 1),
        Left::Cache => {}
    }
    disk.fail_at(u64::MAX / 2, fault);
    let ids: Vec<RunId> = kept.iter().map(Run::id).collect();
    for _ in 0..2 {
        let tail = open(&disk);
        let mut found = waiting(&tail);
        if done.is_err() {
            found.retain(|run| *run != settled.id() && *run != filler.id());
        }
        assert_eq!(found, ids, "{fault:?} at call {call}, {left:?} left");
        assert_eq!(tail.last().unwrap().number, 6);
        // What was opened counts from here on.
        disk.crash(&mut |_| 0);
    }
    done.is_err()
}

#[test]
fn whichever_call_fails_while_the_tail_is_written_anew_nothing_that_waits_is_lost() {
    // So much that what still waits is written into another segment.
    let settled = TAIL_SETTLED_BYTES as usize;
    let bytes = [settled, 70_000, 70_000, 70_000, 70_000, 300_000];
    let mut number = 0;
    let runs = bytes.map(|bytes| {
        number += 1;
        run(number, bytes)
    });
    for fault in [Fault::Io, Fault::Full] {
        for left in [Left::Nothing, Left::All, Left::Cache] {
            let mut call = 1;
            while loses_nothing_that_waits(&runs, call, fault, left) {
                call += 1;
            }
            assert!(call > 10, "only {call} calls were tried");
        }
    }
}

#[test]
fn a_new_life_numbers_from_the_start_and_marks_what_was_sealed_before() {
    let disk = MemoryStorage::new();
    let mut tail = open(&disk);
    tail.seal(&[run(1, 10)], Vec::new()).unwrap();
    tail.renew(Incarnation([9; 16]), true).unwrap();
    drop(tail);
    let mut tail = open(&disk);
    assert_eq!(tail.incarnation(), Incarnation([9; 16]));
    assert_eq!(tail.last(), None);
    assert!(tail.pending()[0].reenter);
    let (old, new) = (run(1, 10).id(), run(2, 10));
    tail.seal(std::slice::from_ref(&new), vec![old]).unwrap();
    drop(tail);
    let tail = open(&disk);
    assert_eq!(waiting(&tail), [new.id()]);
    assert!(!tail.pending()[0].reenter);
}

#[test]
fn a_tail_that_was_written_anew_and_damaged_at_its_beginning_is_not_begun_over() {
    let disk = MemoryStorage::new();
    let base = State::start(LIFE).base();
    let options = Options {
        segment_bytes: 4096,
        ..Options::device(0)
    };
    let journal = Journal::create(disk.clone(), JournalId(LIFE.0), options, &base);
    let mut journal = journal.unwrap();
    let mut last = 1;
    while disk.list().unwrap().len() == 1 {
        last = journal.append(&base).unwrap().first;
    }
    journal.remove_before(last).unwrap();
    drop(journal);
    let name = segment_name(2);
    assert!(disk.list().unwrap().iter().eq([&name]));

    let mut bytes = disk.content(&name).unwrap();
    let last = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[last] ^= 1;
    disk.set_content(&name, &bytes);
    for _ in 0..2 {
        let refused = Tail::open_or_create(Arc::new(disk.clone()), LIFE).unwrap_err();
        let said = refused.to_string();
        assert!(
            matches!(
                refused,
                TailError::Beginning {
                    begins_anew: false,
                    ..
                }
            ),
            "{said}"
        );
        assert!(said.contains("0000000002.seg at byte 112"), "{said}");
        assert!(
            said.ends_with("enrol in a new folder and have this device revoked"),
            "{said}"
        );
    }
}

/// Several that replace others, too large for one group and for what is left of the segment.
#[test]
fn runs_that_are_sealed_together_count_all_or_not_at_all() {
    let old = run(9, 100_000);
    let together: Vec<Run> = (1..=4).map(|number| run(number, 300_000)).collect();
    let ids: Vec<RunId> = together.iter().map(Run::id).collect();
    let mut outcomes = [0, 0];
    for call in 1.. {
        let disk = MemoryStorage::new();
        let mut tail = open(&disk);
        tail.seal(std::slice::from_ref(&old), Vec::new()).unwrap();
        disk.fail_at(call, Fault::Io);
        let sealed = tail.seal(&together, vec![old.id()]);
        let failed = !disk.is_to_fail();
        disk.fail_no_more();
        disk.crash(&mut |_| 1);
        let mut tail = open(&disk);
        let found = waiting(&tail);
        let is_whole = found == ids;
        assert!(is_whole || found == [old.id()], "{found:?} at call {call}");
        assert!(is_whole || sealed.is_err());
        outcomes[usize::from(is_whole)] += 1;
        // What a crash left of them belongs to nothing that comes later.
        if !is_whole {
            let next = run(5, 10);
            tail.seal(std::slice::from_ref(&next), Vec::new()).unwrap();
            assert_eq!(waiting(&open(&disk)), [old.id(), next.id()]);
        }
        if !failed {
            break;
        }
    }
    assert!(outcomes[0] > 3 && outcomes[1] > 0, "{outcomes:?}");
}
