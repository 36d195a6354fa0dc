//! Units that move: whatever asks about a place follows, on every way to the rows.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::placement::Placements;
use crate::region::{RegionImport, example_csv};

const DISTRICT: &str = "13.07.05";

fn digest(ledger: &MemoryLedger, prefix: &str, audience: Audience) -> u64 {
    let subscription = Subscription {
        prefix: scope(prefix),
        audience,
        except: Vec::new(),
    };
    let (_, digests) = ledger.reader().digests(&[subscription]).unwrap();
    digests[0].documents
}

fn move_unit(ledger: &mut MemoryLedger, unit: &str, parent: &str) -> Option<u64> {
    ledger.move_unit(NOW, &scope(unit), &scope(parent)).unwrap()
}

#[test]
fn a_moved_village_counts_in_its_new_district_and_in_its_old_one_no_more() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let (_, run) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&run]);
    let before = digest(&ledger, "13.76", Audience::Unit);
    assert_eq!(before, 1);
    let at = move_unit(&mut ledger, VILLAGE, DISTRICT).unwrap();
    let counts = ["13.76", "13.76.01", "13.07", DISTRICT, "13", VILLAGE]
        .map(|prefix| digest(&ledger, prefix, Audience::Unit));
    assert_eq!(counts, [0, 0, 1, 1, 1, 1]);
    let reader = ledger.reader();
    assert_eq!(
        reader.changed_scopes(&scope("13.07"), 0).unwrap(),
        [scope(VILLAGE)]
    );
    assert_eq!(reader.changed_scopes(&scope("13.76"), 0).unwrap(), []);
    assert_eq!(reader.placements().version(), at);
    assert!(verify(&reader, &mut |_| {}).unwrap().is_clean());
}

#[test]
fn grants_over_the_new_region_reach_a_moved_village_and_grants_over_the_old_one_do_not() {
    let (mut ledger, _, _) = founded();
    let (mut old, mut new) = (Phone::new(1), Phone::new(2));
    enrol(&mut ledger, &old, Role::Officer, "13.76");
    enrol(&mut ledger, &new, Role::Officer, "13.07");
    let (id, begun) = old.create(VILLAGE);
    submit(&mut ledger, &old, &[&begun]);
    move_unit(&mut ledger, VILLAGE, DISTRICT);
    let late = old.edit(&id, "Too late");
    let refused = submit(&mut ledger, &old, &[&late]);
    assert_eq!(rejected(&refused[0]), RefusalCode::Forbidden);
    let (_, theirs) = new.create(VILLAGE);
    let taken = submit(&mut ledger, &new, &[&theirs]);
    accepted(&taken[0]);
}

#[test]
fn a_village_that_stands_there_already_is_not_moved_again_and_can_come_back() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let (_, run) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&run]);
    assert_eq!(move_unit(&mut ledger, VILLAGE, "13.76.01"), None);
    assert!(move_unit(&mut ledger, VILLAGE, DISTRICT).is_some());
    assert_eq!(move_unit(&mut ledger, VILLAGE, DISTRICT), None);
    assert!(move_unit(&mut ledger, VILLAGE, "13.76.01").is_some());
    assert_eq!(digest(&ledger, "13.76", Audience::Unit), 1);
    assert_eq!(digest(&ledger, "13.07", Audience::Unit), 0);
    assert!(verify(&ledger.reader(), &mut |_| {}).unwrap().is_clean());
}

#[test]
fn a_code_that_the_list_of_regions_lacks_is_not_moved_and_nothing_is_moved_there() {
    let (mut ledger, _, _) = founded();
    let import = RegionImport::from_csv("regions.csv", example_csv(), "2024").unwrap();
    let known = import.sheets()[0].rows[0].code.clone();
    ledger.import_regions(NOW, import).unwrap();
    let before = ledger.reader().watermark();
    for (unit, parent) in [("99.01/dinkes", known.as_str()), (known.as_str(), "99.01")] {
        let refused = ledger.move_unit(NOW, &scope(unit), &scope(parent));
        let sentence = refused.unwrap_err().to_string();
        assert!(sentence.contains("99.01"), "{sentence}");
    }
    assert_eq!(ledger.reader().watermark(), before);
}

/// The decree's list of regions may come before the move that it orders.
#[test]
fn a_code_that_a_newer_list_took_away_is_moved_as_long_as_evidence_stands_there() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let import = RegionImport::from_csv("regions.csv", example_csv(), "2024").unwrap();
    ledger.import_regions(NOW, import).unwrap();
    let refused = ledger.move_unit(NOW, &scope(VILLAGE), &scope(DISTRICT));
    assert!(matches!(refused, Err(AdminError::Invalid(_))));
    let (_, run) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&run]);
    assert!(ledger.reader().knows(&scope(VILLAGE)).unwrap());
    assert!(move_unit(&mut ledger, VILLAGE, DISTRICT).is_some());
}

#[test]
fn rows_made_anew_or_caught_up_in_one_go_stand_as_those_that_grew() {
    let (mut ledger, storage, kv, mut phone, _) = with_officers();
    let (id, run) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&run]);
    let behind = kv.snapshot();
    let moves = [
        (VILLAGE, DISTRICT),
        (DISTRICT, "14.01"),
        (VILLAGE, "13.76.01"),
        (DISTRICT, "13.07"),
        (VILLAGE, DISTRICT),
    ];
    for (step, (unit, parent)) in moves.into_iter().enumerate() {
        move_unit(&mut ledger, unit, parent);
        if parent == DISTRICT || parent == "13.76.01" {
            let run = phone.edit(&id, &format!("{unit} {parent} {step}"));
            submit(&mut ledger, &phone, &[&run]);
        }
    }
    let grown = all_rows(&kv);
    drop(ledger);
    assert_eq!(rebuilt_rows(&storage), grown);
    kv.restore(&behind);
    let (ledger, opened) = reopen(&storage, &kv).unwrap();
    assert!(opened.caught_up > 5 && opened.rebuilt.is_none());
    assert_eq!(all_rows(&kv), grown);
    assert_ne!(*ledger.reader().placements(), Placements::default());
    assert!(verify(&ledger.reader(), &mut |_| {}).unwrap().is_clean());
}

#[test]
fn a_row_that_a_move_should_have_taken_away_is_found() {
    let (mut ledger, _, kv, mut phone, _) = with_officers();
    let (_, run) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&run]);
    move_unit(&mut ledger, VILLAGE, DISTRICT);
    let mut batch = Batch::new();
    batch.put(keys::below(&scope("13.76"), &scope(VILLAGE)), []);
    kv.apply(&batch).unwrap();
    assert!(!verify(&ledger.reader(), &mut |_| {}).unwrap().is_clean());
}

/// Counts the scopes that are looked through for whatever lies in some place.
#[derive(Debug)]
struct CountingKv {
    rows: Arc<MemoryKv>,
    scopes: AtomicUsize,
}

impl Kv for CountingKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.rows.get(key)
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> crate::kv::Rows<'a> {
        let rows = self.rows.scan(from, to, direction);
        Box::new(rows.inspect(|row| {
            let is_scope = |(key, _): &(Vec<u8>, Vec<u8>)| key[0] == keys::LAST;
            let counts = row.as_ref().is_ok_and(is_scope);
            self.scopes
                .fetch_add(usize::from(counts), Ordering::Relaxed);
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
fn moves_that_are_caught_up_together_look_only_at_what_lies_below_them() {
    let (mut ledger, storage, kv, mut phone, _) = with_officers();
    for village in 1_002..1_040 {
        let village = format!("13.76.02.{village}");
        let (_, run) = phone.create(&village);
        submit(&mut ledger, &phone, &[&run]);
    }
    let (_, run) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&run]);
    let before = kv.snapshot();
    // A village into a district, that district into another regency, and out of it again.
    for (unit, parent) in [
        (VILLAGE, DISTRICT),
        (DISTRICT, "13.76"),
        (VILLAGE, "13.76.02"),
        (DISTRICT, "13.07"),
    ] {
        assert!(move_unit(&mut ledger, unit, parent).is_some());
    }
    drop(ledger);
    let grown = all_rows(&kv);
    kv.restore(&before);
    let counting = Arc::new(CountingKv {
        rows: Arc::clone(&kv),
        scopes: AtomicUsize::new(0),
    });
    let opened = Ledger::open(
        storage,
        Arc::clone(&counting),
        server_key(),
        options(),
        &mut |_| {},
    );
    assert_eq!(opened.unwrap().1.rebuilt, None);
    assert_eq!(counting.scopes.load(Ordering::Relaxed), 0);
    assert!(all_rows(&kv) == grown, "rows differ");
}
