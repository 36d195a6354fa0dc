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
        tables, b"abcdefghijklmnopqrstuvwxyz",
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
                !verification.findings.is_empty() && !verification.is_clean(),
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
        assert!(!verification.is_clean(), "byte {at}");
        // Of a segment that is open already only the groups are read again with the records.
        let unread = |finding: &VerifyFinding| {
            matches!(finding.place, FindingPlace::Record(_))
                && matches!(finding.fault, Fault::Unreadable { .. })
        };
        assert!(
            at < 112 || verification.findings.iter().any(unread),
            "byte {at}"
        );
    }
}

/// At each of its steps something is added, and a unit with evidence moves.
#[test]
fn it_may_run_while_the_ledger_goes_on() {
    let (mut ledger, _, _, mut phone) = ledger_with_everything();
    let reader = ledger.reader();
    let before = reader.watermark();
    let mut stages = Vec::new();
    let verification = verify(&reader, &mut |progress| {
        stages.push(progress.stage);
        let run = phone.create(VILLAGE).1;
        let parent = ["13.76.01", "13.07.05"][stages.len() % 2];
        match progress.stage {
            Stage::Index | Stage::Documents => {}
            Stage::Scopes => add(&mut ledger, 2 * limits::VERIFY_HELD_RECORDS),
            Stage::Statements if stages.len() < 5 => {
                add(&mut ledger, limits::VERIFY_HELD_RECORDS);
            }
            Stage::Statements => return,
            Stage::CatchUp | Stage::Read => panic!("{:?}", progress.stage),
        }
        submit(&mut ledger, &phone, &[&run]);
        let (unit, parent) = (scope(VILLAGE), scope(parent));
        ledger.move_unit(NOW, &unit, &parent).unwrap();
    })
    .unwrap();
    let [.., Stage::Scopes, Stage::Statements, Stage::Statements] = stages[..] else {
        panic!("{stages:?}");
    };
    assert!(reader.watermark().position > before.position);
    assert_eq!(verification.upto, before);
    assert!(verification.is_clean(), "{:?}", verification.findings);
}

#[test]
fn a_server_that_takes_in_more_than_is_read_meanwhile_waits_for_it_once() {
    let (mut ledger, _, _, _) = ledger_with_everything();
    let reader = ledger.reader();
    let (mut rounds, mut added) = (0, limits::VERIFY_HELD_RECORDS);
    let verification = verify(&reader, &mut |progress| {
        rounds += u64::from(progress.stage == Stage::Statements);
        if rounds < 4 && matches!(progress.stage, Stage::Scopes | Stage::Statements) {
            added += 1;
            add(&mut ledger, added);
        }
    })
    .unwrap();
    assert_eq!(rounds, 1);
    assert!(verification.is_clean(), "{:?}", verification.findings);
}

fn add(ledger: &mut MemoryLedger, records: u64) {
    for _ in 0..records {
        ledger.checkpoint(NOW).unwrap();
    }
}

/// Between the two steps of a commit the journal is ahead of the rows.
#[test]
fn records_whose_rows_are_not_written_yet_are_not_judged() {
    let (mut ledger, _, _, _) = ledger_with_everything();
    let upto = ledger.reader().watermark();
    let fact = Fact::Restored(upto);
    ledger.journal.append(&[statement(NOW, fact)]).unwrap();
    let verification = verified(&ledger);
    assert_eq!(verification.upto, upto);
    assert_eq!(verification.records, upto.position);
    assert!(verification.is_clean(), "{:?}", verification.findings);
}

/// A journal may end before the run that makes it good again.
#[test]
fn a_document_that_nobody_can_edit_is_built_of_its_records_and_told() {
    let (ledger, storage, kv, phone) = ledger_with_everything();
    drop(ledger);
    let runs = crate::validate::tests::crafted::uneditable_runs();
    let document = runs[0].envelope().body().document;
    let records = runs.map(|run| {
        Record::Changes(crate::record::Changes {
            run: run.into_run(),
            received_at: NOW,
            carrier: phone.id(),
            returned: false,
        })
        .to_bytes()
    });
    let (mut journal, _) = Journal::open(storage.clone(), options().journal).unwrap();
    journal.append(&records).unwrap();
    drop(journal);
    let (ledger, _) = reopen(&storage, &kv).unwrap();
    let verification = verified(&ledger);
    let [finding] = &verification.findings[..] else {
        panic!("{:?}", verification.findings);
    };
    assert_eq!(finding.place, FindingPlace::Document(document));
    assert!(finding.fault.to_string().contains("edited"), "{finding}");
}

/// What is said once the store has changed so.
fn said(ledger: &MemoryLedger, kv: &MemoryKv, change: &Batch) -> Vec<VerifyFinding> {
    let sound = kv.snapshot();
    kv.apply(change).unwrap();
    let said = verified(ledger).findings;
    kv.restore(&sound);
    said
}

#[test]
fn a_row_that_is_wrong_is_told_of_what_it_belongs_to() {
    let (ledger, _, kv, _) = ledger_with_everything();
    let rows_of = |table: u8| -> Vec<(Vec<u8>, Vec<u8>)> {
        let rows = all_rows(&kv).into_iter();
        rows.filter(|(key, _)| key[0] == table).collect()
    };
    let told = |batch: &Batch, of: &str, fault: &Fault| {
        let said = said(&ledger, &kv, batch);
        let found = said
            .iter()
            .any(|finding| finding.place.to_string().starts_with(of) && finding.fault == *fault);
        assert!(found, "{fault:?} of a {of} is not among {said:?}");
    };
    let missed = |table: u8| Fault::Row(char::from(table));
    for (table, of) in [
        (keys::DOCUMENT, "record"),
        (keys::ENTRY, "document"),
        (keys::CHANGED, "scope"),
        (keys::BELOW, "scope"),
    ] {
        for (key, _) in rows_of(table) {
            let mut gone = Batch::new();
            gone.delete(key);
            told(&gone, of, &missed(table));
        }
    }
    for (key, value) in rows_of(keys::LAST) {
        let mut later = value;
        *later.last_mut().unwrap() += 1;
        told(Batch::new().put(key, later), "scope", &missed(keys::LAST));
    }
    let upto = ledger.reader().watermark().position;
    let statement = ledger.reader().facts(0, upto).next().unwrap().unwrap().1;
    for (key, value) in rows_of(keys::ENVELOPE) {
        let mut row = EnvelopeRow::from_bytes(1, &value).unwrap();
        row.place = statement.place.place();
        let batch = &mut Batch::new();
        told(
            batch.put(key, row.to_bytes()),
            "document",
            &missed(keys::ENVELOPE),
        );
    }
    let nowhere = keys::digest(&scope("99"), Audience::All);
    let digest = rows_of(keys::DIGEST).remove(0).1;
    let stray = Fault::Count {
        found: 1,
        expected: 0,
    };
    told(Batch::new().put(nowhere, digest), "table g", &stray);
    let nameless = Batch::new().put([keys::DOCUMENT, 1, 2, 3], [0]).clone();
    let said = said(&ledger, &kv, &nameless);
    let unreadable = |finding: &VerifyFinding| {
        finding.place == FindingPlace::Table('d')
            && matches!(finding.fault, Fault::Unreadable { .. })
    };
    assert!(said.iter().any(unreadable), "{said:?}");
}

#[test]
fn what_is_not_read_for_want_of_descriptors_is_no_finding_and_not_passed_over() {
    let (ledger, storage, _, _) = ledger_with_everything();
    let (before, dropped) = (storage.calls(), storage.cache_drops().len());
    assert!(!verified(&ledger).scarce);
    let calls = storage.calls() - before;
    // That the system is to read a segment from the disk is no more than asked.
    let asked = storage.cache_drops().len() - dropped;
    let mut clean = 0;
    for call in 1..=calls {
        storage.fail_at(call, DiskFault::Scarce);
        let verification = verified(&ledger);
        let scarce = verification.scarce || verification.journal.scarce;
        assert_eq!(scarce, !verification.is_clean(), "call {call} of {calls}");
        clean += usize::from(!scarce);
        let mut findings = verification.findings.iter();
        assert!(findings.all(|found| found.fault.code() != "unreadable"));
    }
    assert_eq!(clean, asked);
    assert!(verified(&ledger).is_clean());
}

#[test]
fn findings_beyond_the_bound_are_counted() {
    let (ledger, _, kv, _) = ledger_with_everything();
    let mut batch = Batch::new();
    for number in 0..=limits::VERIFY_FINDINGS_MAX {
        let mut id = [0xff; 16];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        batch.put(keys::document(&DocumentId(id)), [0]);
    }
    kv.apply(&batch).unwrap();
    let verification = verified(&ledger);
    assert_eq!(verification.findings.len(), limits::VERIFY_FINDINGS_MAX);
    assert!(verification.more > 0);
}

/// Records that nothing but verification looks at again, each with a chain that is whole.
#[test]
fn signatures_are_checked_again_in_every_record() {
    let (ledger, storage, kv, mut phone) = ledger_with_everything();
    drop(ledger);
    let stranger = Phone::new(66);
    let fact = |seed: u64| {
        Fact::Revocation(crate::record::Revocation {
            device: Phone::new(seed).id(),
        })
    };
    let by =
        |key: &SigningKey, fact: Fact| Signed::new(Statement { at: NOW, fact }, key).to_bytes();
    let returned = Fact::Returned(crate::record::Returned {
        by: phone.id(),
        statement: by(stranger.key(), fact(9)),
    });
    let run = phone.create(VILLAGE).1.into_run();
    let mut bytes = run.to_bytes();
    let envelope = run.envelope.bytes().to_vec();
    let at = bytes
        .windows(envelope.len())
        .position(|part| part == envelope)
        .unwrap();
    bytes[at + envelope.len() - 1] ^= 1;
    let changes = Record::Changes(crate::record::Changes {
        run: crate::envelope::Run::open_stored(&bytes).unwrap(),
        received_at: NOW,
        carrier: phone.id(),
        returned: false,
    });
    let forged = [
        by(stranger.key(), Fact::Finding(a_finding())),
        by(&server_key(), returned),
        changes.to_bytes(),
    ];
    let (mut journal, _) = Journal::open(storage.clone(), options().journal).unwrap();
    let first = journal.append(&forged).unwrap().first;
    drop(journal);

    let (ledger, _) = reopen(&storage, &kv).unwrap();
    let verification = verified(&ledger);
    assert!(verification.journal.is_clean());
    for position in first..first + 3 {
        let signature = |finding: &VerifyFinding| {
            finding.place == FindingPlace::Record(position)
                && matches!(&finding.fault, Fault::Record(text) if text.contains("sign"))
        };
        assert!(
            verification.findings.iter().any(signature),
            "record {position}: {:?}",
            verification.findings
        );
    }
}
