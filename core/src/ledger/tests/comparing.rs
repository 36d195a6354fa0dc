//! One side of a comparison, while others write.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use super::*;
use crate::ledger::reader::Shared;

const DISTRICT: &str = "13.07.05";
const OUTSIDE: &str = "13.07.05.2001";

type Meddle = Box<dyn FnOnce() + Send>;

/// Does something once when the first document of a place is read, and counts those that are read
/// while nobody can write.
#[derive(Default)]
struct MeddlingKv {
    rows: Arc<MemoryKv>,
    meddle: Mutex<Option<Meddle>>,
    shared: OnceLock<Arc<Shared<Self>>>,
    read_held: AtomicUsize,
}

impl fmt::Debug for MeddlingKv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeddlingKv").finish_non_exhaustive()
    }
}

impl MeddlingKv {
    fn read_entry(&self) {
        let meddle = self.meddle.lock().unwrap().take();
        if let Some(meddle) = meddle {
            meddle();
        }
        let is_held = self.shared.get().is_some_and(|shared| shared.is_held());
        self.read_held
            .fetch_add(usize::from(is_held), Ordering::Relaxed);
    }
}

impl Kv for MeddlingKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.rows.get(key)
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> crate::kv::Rows<'a> {
        let is_entry = from[0] == keys::ENTRY;
        let rows = self.rows.scan(from, to, direction);
        Box::new(rows.inspect(move |_| {
            if is_entry {
                self.read_entry();
            }
        }))
    }

    fn apply(&self, batch: &Batch) -> Result<(), KvError> {
        self.rows.apply(batch)
    }

    fn flush(&self) -> Result<(), KvError> {
        self.rows.flush()
    }

    fn size_on_disk(&self) -> Result<u64, KvError> {
        self.rows.size_on_disk()
    }
}

#[test]
fn nobody_waits_for_a_comparison_though_a_unit_is_moved_meanwhile() {
    for (unit, parent, back, documents) in [
        // Out of what is compared, into it, and out of it and back.
        (VILLAGE, DISTRICT, None, 5),
        (OUTSIDE, "13.76.01", None, 16),
        (VILLAGE, DISTRICT, Some("13.76.01"), 13),
    ] {
        let (mut ledger, storage, kv) = founded();
        let mut phone = Phone::new(1);
        enrol(&mut ledger, &phone, Role::Officer, "13");
        for (at, count) in [(VILLAGE, 8), ("13.76.02.1002", 5), (OUTSIDE, 3)] {
            for _ in 0..count {
                let (_, run) = phone.create(at);
                accepted(&submit(&mut ledger, &phone, &[&run])[0]);
            }
        }
        drop(ledger);
        let meddling = Arc::new(MeddlingKv {
            rows: kv,
            ..MeddlingKv::default()
        });
        let kv = Arc::clone(&meddling);
        let opened = Ledger::open(storage, kv, server_key(), options(), &mut |_| {});
        let mut ledger = opened.unwrap().0;
        let reader = ledger.reader();
        meddling.shared.set(Arc::clone(&reader.shared)).unwrap();
        let subscription = Subscription {
            prefix: scope("13.76"),
            audience: Audience::Unit,
            except: Vec::new(),
        };
        let meddle = move || {
            for parent in [Some(parent), back].into_iter().flatten() {
                let moved = ledger.move_unit(NOW, &scope(unit), &scope(parent));
                assert!(moved.unwrap().is_some());
            }
        };
        *meddling.meddle.lock().unwrap() = Some(Box::new(meddle));
        let (seen, compared) = reader.comparison(&subscription).unwrap();
        assert!(
            meddling.meddle.lock().unwrap().is_none(),
            "nothing was read"
        );
        assert_eq!(compared.len(), documents);
        let read_held = meddling.read_held.load(Ordering::Relaxed);
        assert_eq!(read_held, 0, "{unit} to {parent}");
        let (then, sums) = reader.digests(&[subscription]).unwrap();
        assert_eq!(seen, then);
        let digest: Digest = compared.iter().map(|(_, digest)| *digest).sum();
        assert_eq!(digest, sums[0].digest);
    }
}
