//! Finding what does not fit together.

use super::*;

fn ledger_with_everything() -> (MemoryLedger, MemoryStorage, Arc<MemoryKv>, Phone) {
    let (mut ledger, storage, kv, mut phone, other) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    let mut copy = phone.clone();
    let ready = phone.ready(&id);
    let (_, draft) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&root, &ready, &draft]);
    let branch = copy.edit(&id, "Salinan.");
    submit(&mut ledger, &other, &[&branch]);
    ledger.revoke(NOW, other.id()).unwrap();
    let (unit, parent) = (scope(OTHER_VILLAGE), scope("13.76.01"));
    ledger.move_unit(NOW, &unit, &parent).unwrap();
    let import =
        crate::region::RegionImport::from_csv("regions.csv", crate::region::example_csv(), "2024");
    ledger.import_regions(NOW, import.unwrap()).unwrap();
    let (name, json) = crate::framework::built_in()[0];
    ledger.import_framework(NOW, name, json.to_vec()).unwrap();
    let lost = |seed: u64| {
        Fact::Revocation(crate::record::Revocation {
            device: Phone::new(seed).id(),
        })
    };
    let returned = statement(NOW, lost(7));
    ledger.take_back(NOW, phone.id(), vec![returned]).unwrap();
    ledger.checkpoint(NOW).unwrap();
    (ledger, storage, kv, phone)
}

fn verified(ledger: &MemoryLedger) -> Verification {
    verify(&ledger.reader(), &mut |_| {}).unwrap()
}

#[test]
fn a_sound_ledger_has_no_findings() {
    let (ledger, _, _, _) = ledger_with_everything();
    let verification = verified(&ledger);
    assert!(
        verification.is_clean(),
        "{:?} {:?}",
        verification.findings,
        verification.journal
    );
    assert_eq!(verification.documents, 2);
    assert_eq!(verification.records, ledger.reader().watermark().position);
}

/// Every table is reached: no row can go, change or come without a finding.
#[test]
fn any_row_that_is_removed_changed_or_added_is_found() {
    let (ledger, _, kv, _) = ledger_with_everything();
    let sound = kv.snapshot();
    let rows = all_rows(&kv);
    let mut tables: Vec<u8> = rows.iter().map(|(key, _)| key[0]).collect();
    tables.dedup();
    assert_eq!(
        tables, b"abcdefghiklmnopqrstuvwxyz",
        "every table has rows here"
    );
    for (key, value) in &rows {
        let table = char::from(key[0]);
        let mut gone = Batch::new();
        gone.delete(key.clone());
        let mut changed = Batch::new();
        let mut other = value.clone();
        if let Some(last) = other.last_mut() {
            *last ^= 1;
            changed.put(key.clone(), other);
        }
        let mut added = Batch::new();
        let mut beside = key.clone();
        if let Some(last) = beside.last_mut() {
            *last ^= 1;
        }
        if kv.get(&beside).unwrap().is_none() && key != keys::META {
            added.put(beside, value.clone());
        }
        for (what, batch) in [("removed", gone), ("changed", changed), ("added", added)] {
            if batch.is_empty() {
                continue;
            }
            kv.apply(&batch).unwrap();
            let verification = verified(&ledger);
            assert!(
                !verification.findings.is_empty(),
                "{what} in {table}: {key:?}"
            );
            kv.restore(&sound);
        }
    }
}

#[test]
fn damage_in_the_journal_is_found_with_its_place() {
    let (ledger, storage, _, _) = ledger_with_everything();
    let name = "0000000001.seg";
    let sound = storage.content(name).unwrap();
    let end = sound.iter().rposition(|byte| *byte != 0).unwrap();
    for at in (0..end).step_by(211) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x10;
        storage.set_content(name, &damaged);
        let verification = verified(&ledger);
        assert!(!verification.journal.is_clean(), "byte {at}");
    }
}

#[test]
fn it_may_run_while_the_ledger_goes_on() {
    let (mut ledger, _, _, mut phone) = ledger_with_everything();
    let reader = ledger.reader();
    let before = reader.watermark();
    let mut more = (0..10)
        .map(|_| phone.create(VILLAGE).1)
        .collect::<Vec<_>>()
        .into_iter();
    let carrier = phone.clone();
    let verification = verify(&reader, &mut |_| {
        if let Some(run) = more.next() {
            submit(&mut ledger, &carrier, &[&run]);
            ledger.checkpoint(NOW).unwrap();
        }
    })
    .unwrap();
    assert!(reader.watermark().position > before.position);
    assert_eq!(verification.upto, before);
    assert!(verification.is_clean(), "{:?}", verification.findings);
}
