//! Statements that the server signs.

use super::*;
use crate::framework;
use crate::record::Signed;
use crate::region::{RegionImport, example_csv};

const SECRET: [u8; 16] = [4; 16];

fn invitation(expires_at: WallMs) -> Invitation {
    Invitation {
        hash: invitation_hash(&SECRET),
        person: "Siti".into(),
        grants: vec![Grant {
            role: Role::Officer,
            scope: scope(VILLAGE),
        }],
        expires_at,
    }
}

fn device(seed: u64) -> DeviceId {
    Phone::new(seed).id()
}

fn refusal(result: Result<Enrolled, EnrolError>) -> EnrolRefusal {
    match result {
        Err(EnrolError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn an_invitation_enrols_one_device_and_gives_that_one_its_certificate_again() {
    let (mut ledger, _, _) = founded();
    assert_eq!(
        refusal(ledger.enrol(NOW, &SECRET, device(1))),
        EnrolRefusal::Unknown
    );
    ledger.invite(NOW, invitation(NOW + 1000)).unwrap();
    let first = ledger.enrol(NOW + 1000, &SECRET, device(1)).unwrap();
    let again = ledger.enrol(NOW + 5000, &SECRET, device(1)).unwrap();
    assert_eq!(first, again, "a cut at the wrong moment costs nothing");
    assert_eq!(
        refusal(ledger.enrol(NOW, &SECRET, device(2))),
        EnrolRefusal::Used
    );
    let server = ledger.reader().server();
    let signed = Signed::open(&first.certificate, &server).unwrap();
    let Fact::Enrolment(certificate) = signed.fact() else {
        panic!("not a certificate")
    };
    assert_eq!(
        (certificate.device, certificate.person.as_str()),
        (device(1), "Siti")
    );
    assert_eq!(certificate.journal, ledger.reader().journal());
    assert!(Signed::open(&first.founding_record, &server).is_ok());
    let row = ledger.reader().device(&device(1)).unwrap().unwrap();
    assert_eq!(row.grants, invitation(0).grants);
}

#[test]
fn an_invitation_ends_with_its_time() {
    let (mut ledger, _, _) = founded();
    ledger.invite(NOW, invitation(NOW + 1000)).unwrap();
    assert_eq!(
        refusal(ledger.enrol(NOW + 1001, &SECRET, device(1))),
        EnrolRefusal::Expired
    );
    assert!(
        ledger.invite(NOW, invitation(NOW + 1000)).is_err(),
        "the secret was used"
    );
}

#[test]
fn a_revoked_device_is_not_enrolled_again() {
    let (mut ledger, _, _, phone, _) = with_officers();
    ledger.revoke(NOW, phone.id()).unwrap();
    assert!(ledger.revoke(NOW, phone.id()).is_err());
    assert!(ledger.grant(NOW, phone.id(), invitation(0).grants).is_err());
    ledger.invite(NOW, invitation(NOW + 1000)).unwrap();
    assert_eq!(
        refusal(ledger.enrol(NOW, &SECRET, phone.id())),
        EnrolRefusal::Revoked
    );
    let row = ledger.reader().device(&phone.id()).unwrap().unwrap();
    assert_eq!(row.revoked_at, Some(NOW));
}

#[test]
fn grants_count_from_the_statement_on() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let (_, run) = phone.create(OTHER_VILLAGE);
    assert_eq!(
        rejected(&submit(&mut ledger, &phone, &[&run])[0]),
        RefusalCode::Forbidden
    );
    let grants = vec![Grant {
        role: Role::Officer,
        scope: scope("13.76"),
    }];
    ledger.grant(NOW, phone.id(), grants).unwrap();
    accepted(&submit(&mut ledger, &phone, &[&run])[0]);
}

#[test]
fn what_cannot_be_meant_is_refused_with_a_sentence() {
    let (mut ledger, _, _) = founded();
    let nobody = Invitation {
        person: " ".into(),
        ..invitation(NOW + 1)
    };
    let nothing = Invitation {
        grants: Vec::new(),
        ..invitation(NOW + 1)
    };
    for wrong in [nobody, nothing, invitation(NOW)] {
        let error = ledger.invite(NOW, wrong).unwrap_err();
        assert!(matches!(error, AdminError::Invalid(_)), "{error:?}");
    }
    assert!(ledger.revoke(NOW, device(1)).is_err());
    assert_eq!(
        ledger.reader().watermark().position,
        1,
        "nothing was recorded"
    );
}

#[test]
fn a_framework_version_is_imported_once_and_never_changed() {
    let (mut ledger, _, _) = founded();
    let (name, json) = framework::built_in()[0];
    let first = ledger.import_framework(NOW, name, json.to_vec()).unwrap();
    let again = ledger.import_framework(NOW, name, json.to_vec()).unwrap();
    assert_eq!(first, again);
    let mut changed = json.to_vec();
    changed.push(b'\n');
    let error = ledger.import_framework(NOW, name, changed).unwrap_err();
    assert!(error.to_string().contains("another version"), "{error}");
    assert!(
        ledger
            .import_framework(NOW, "x.json", b"{}".to_vec())
            .is_err()
    );
    let frameworks: Vec<_> = ledger.reader().frameworks().map(Result::unwrap).collect();
    assert_eq!(frameworks.len(), 1);
}

#[test]
fn regions_are_imported_sheet_by_sheet_and_only_where_they_differ() {
    let (mut ledger, _, _) = founded();
    let import = || RegionImport::from_csv("regions.csv", example_csv(), "2024").unwrap();
    let sheets = import().sheets().len() as u64;
    let last = ledger.import_regions(NOW, import()).unwrap();
    assert_eq!(last, 1 + sheets);
    assert_eq!(ledger.import_regions(NOW, import()).unwrap(), last);
    assert_eq!(ledger.reader().watermark().position, last);
    for sheet in import().sheets() {
        let (_, place) = ledger.reader().regions(&sheet.parent).unwrap().unwrap();
        let Record::Server(signed) = ledger.reader().record(place).unwrap() else {
            panic!("not a statement")
        };
        assert_eq!(signed.fact(), &Fact::Regions(sheet.clone()));
    }
}

#[test]
fn facts_for_devices_are_listed_by_topic_and_position() {
    let (mut ledger, _, _, phone, other) = with_officers();
    ledger.revoke(NOW, other.id()).unwrap();
    let (name, json) = framework::built_in()[0];
    let framework = ledger.import_framework(NOW, name, json.to_vec()).unwrap();
    let reader = ledger.reader();
    let topics: Vec<Topic> = reader
        .facts(0, framework)
        .map(|fact| fact.unwrap().1.topic)
        .collect();
    let village = vec![scope(VILLAGE)];
    assert_eq!(
        topics,
        [
            Topic::Device(phone.id(), village.clone()),
            Topic::Device(other.id(), village),
            Topic::Revocation(other.id()),
            Topic::Framework,
        ]
    );
    assert_eq!(reader.facts(framework - 1, framework).count(), 1);
    assert_eq!(reader.facts(framework, framework).count(), 0);
    let down = |from: Position| {
        let facts = reader.facts_down(from).map(|fact| fact.unwrap().1.topic);
        facts.collect::<Vec<_>>()
    };
    let reversed: Vec<Topic> = topics.into_iter().rev().collect();
    assert_eq!(down(framework), reversed);
    assert_eq!(down(framework - 1), reversed[1..]);
    assert_eq!(down(0), []);
}

#[test]
fn a_finding_is_acknowledged_once_and_in_one_bounded_line() {
    let (mut ledger, _, _) = founded();
    let find = |ledger: &mut MemoryLedger, sentence: &str, place: &str| {
        let finding = crate::record::Finding {
            code: code::DAMAGE.to_owned(),
            sentence: sentence.to_owned(),
            device: None,
            document: None,
            run: None,
            place: Some(place.to_owned()),
        };
        ledger.find(NOW, finding).unwrap();
        ledger.reader().watermark().position
    };
    let first = find(&mut ledger, "Bytes differ.", "journal");
    // Only a word of its own acknowledges, whatever place a finding names.
    let second = find(&mut ledger, "Bytes differ.", &format!("record {first}"));
    let waiting = |ledger: &MemoryLedger| -> Vec<Position> {
        let found = ledger.reader().found().unwrap().into_iter();
        found
            .filter(Found::waits)
            .map(|found| found.position)
            .collect()
    };
    assert_eq!(waiting(&ledger), [first, second]);

    let most = "a".repeat(limits::NOTE_BYTES_MAX);
    for note in ["", " ", "two\nlines", &format!("{most}a")] {
        let refused = ledger.acknowledge(NOW, first, note);
        assert!(matches!(refused, Err(AdminError::Invalid(_))), "{note}");
    }
    let no_finding = ledger.acknowledge(NOW, 1, "Restored.");
    assert!(matches!(no_finding, Err(AdminError::Invalid(_))));
    assert_eq!(waiting(&ledger), [first, second]);

    ledger.acknowledge(NOW, first, &most).unwrap();
    assert_eq!(waiting(&ledger), [second]);
    let again = ledger.acknowledge(NOW, first, "Restored.");
    assert!(matches!(again, Err(AdminError::Invalid(_))));
}

fn cursor_void() -> crate::record::Finding {
    crate::record::Finding {
        code: "cursor-void".to_owned(),
        sentence: "The device knew records that the journal has not.".to_owned(),
        device: Some(device(1)),
        document: None,
        run: None,
        place: None,
    }
}

#[test]
fn what_happens_again_is_found_again_once_somebody_looked_into_it_and_what_stays_is_not() {
    let (mut ledger, storage, kv) = founded();
    let damage = crate::record::Finding {
        code: code::DAMAGE.to_owned(),
        place: Some("journal/0000000001.seg at byte 64".to_owned()),
        ..cursor_void()
    };
    // The file that keeps it is looked at whenever the folder is opened.
    let cut_end = crate::record::Finding {
        code: code::DAMAGED_END.to_owned(),
        place: Some("journal/damaged-9-1-800-1.bin".to_owned()),
        ..cursor_void()
    };
    let first = ledger.find(NOW, cursor_void()).unwrap().unwrap();
    let damaged = ledger.find(NOW, damage.clone()).unwrap().unwrap();
    let cut = ledger.find(NOW, cut_end.clone()).unwrap().unwrap();
    assert_eq!(ledger.find(NOW, cursor_void()).unwrap(), None);
    ledger.acknowledge(NOW, first, "Restored.").unwrap();
    ledger.acknowledge(NOW, damaged, "Known.").unwrap();
    ledger.acknowledge(NOW, cut, "Known.").unwrap();
    assert_eq!(ledger.find(NOW, damage).unwrap(), None);
    assert_eq!(ledger.find(NOW, cut_end).unwrap(), None);
    let again = ledger.find(NOW, cursor_void()).unwrap().unwrap();
    assert!(again > damaged);
    assert_eq!(ledger.find(NOW, cursor_void()).unwrap(), None);
    let all = ledger.reader().found().unwrap();
    let looked_into = |position| {
        let found = all.iter().find(|found| found.position == position);
        found.unwrap().acknowledged.is_some()
    };
    assert_eq!(
        [first, damaged, cut, again].map(looked_into),
        [true, true, true, false]
    );
    assert_eq!(all_rows(&kv), rebuilt_rows(&storage));
    assert!(verify(&ledger.reader(), &mut |_| {}).unwrap().is_clean());
}

#[test]
fn on_a_disk_below_its_reserve_findings_and_revocations_are_kept_and_other_statements_are_not() {
    let (ledger, storage, kv, phone, other) = with_officers();
    drop(ledger);
    let mut options = options();
    options.journal.reserve_bytes = 1024 * 1024;
    let opened = Ledger::open(storage.clone(), kv, server_key(), options, &mut |_| {});
    let (mut ledger, _) = opened.unwrap();
    storage.set_free_bytes(512 * 1024);
    assert!(matches!(ledger.checkpoint(NOW), Err(AdminError::Full)));
    assert!(matches!(
        ledger.grant(NOW, other.id(), Vec::new()),
        Err(AdminError::Full)
    ));
    assert!(ledger.find(NOW, cursor_void()).unwrap().is_some());
    ledger.revoke(NOW, phone.id()).unwrap();
    let row = ledger.reader().device(&phone.id()).unwrap().unwrap();
    assert!(row.revoked_at.is_some());
    storage.set_free_bytes(0);
    let other = crate::record::Finding {
        device: None,
        ..cursor_void()
    };
    // The open segment has its room already.
    assert!(ledger.find(NOW, other).unwrap().is_some());
}

#[test]
fn a_device_is_not_enrolled_for_somebody_else() {
    let (mut ledger, _, _) = founded();
    ledger.invite(NOW, invitation(NOW + 1000)).unwrap();
    ledger.enrol(NOW, &SECRET, device(1)).unwrap();
    let secret = [77; 16];
    let others = Invitation {
        hash: invitation_hash(&secret),
        person: "Lain".to_owned(),
        ..invitation(NOW + 1000)
    };
    ledger.invite(NOW, others).unwrap();
    let before = ledger.reader().watermark();
    let refused = refusal(ledger.enrol(NOW, &secret, device(1)));
    assert_eq!(refused, EnrolRefusal::Taken);
    assert_eq!(ledger.reader().watermark(), before);
    let known = ledger.reader().device(&device(1)).unwrap().unwrap();
    assert_eq!(known.person, "Siti");
    ledger.enrol(NOW, &secret, device(2)).unwrap();
}

#[test]
fn a_ledger_that_failed_acknowledges_no_finding() {
    let (mut ledger, storage, _) = founded();
    storage.fail_at(1, DiskFault::Io);
    ledger.checkpoint(NOW).unwrap_err();
    let refused = ledger.acknowledge(NOW, 1, "Restored.");
    assert!(matches!(refused, Err(AdminError::Ledger(_))), "{refused:?}");
}

/// Flips a bit of the record at `position`.
fn damage(ledger: &MemoryLedger, storage: &MemoryStorage, position: Position) {
    let place = ledger.reader().records.locate(position).unwrap();
    let name = format!("{:010}.seg", place.segment);
    let mut content = storage.content(&name).unwrap();
    content[place.offset as usize + place.length as usize / 2] ^= 1;
    storage.set_content(&name, &content);
}

#[test]
fn a_damaged_record_costs_what_it_was_read_for_and_nothing_else() {
    let (mut ledger, storage, _, phone, _) = with_officers();
    ledger.invite(NOW, invitation(NOW + 1000)).unwrap();
    let enrolled = ledger.enrol(NOW, &SECRET, device(9)).unwrap();
    let (name, json) = framework::built_in()[0];
    let framework = ledger.import_framework(NOW, name, json.to_vec()).unwrap();
    let regions = || RegionImport::from_csv("regions.csv", example_csv(), "example").unwrap();
    ledger.import_regions(NOW, regions()).unwrap();
    let (sheet, _) = ledger.reader().regions(&scope("13.07")).unwrap().unwrap();
    let [whole, broken] = ["one", "two"].map(|place| {
        let place = Some(place.to_owned());
        let finding = crate::record::Finding {
            place,
            ..a_finding()
        };
        ledger.find(NOW, finding).unwrap().unwrap()
    });
    for position in [enrolled.position, framework, sheet, broken] {
        damage(&ledger, &storage, position);
    }
    let unreadable =
        |error: &LedgerError| matches!(error, LedgerError::Read(ReadError::Journal(_)));
    let refused = |result: Result<(), AdminError>| {
        let Err(AdminError::Ledger(error)) = result else {
            panic!("{result:?}")
        };
        assert!(unreadable(&error), "{error:?}");
    };

    let Err(EnrolError::Ledger(error)) = ledger.enrol(NOW, &SECRET, device(9)) else {
        panic!("the certificate was read")
    };
    assert!(unreadable(&error), "{error:?}");
    let error = ledger.readmit(NOW, device(9), &enrolled.certificate);
    assert!(unreadable(&error.unwrap_err()));
    refused(ledger.import_framework(NOW, name, json.to_vec()).map(drop));
    refused(
        ledger
            .move_unit(NOW, &scope("13.07.05"), &scope("13.76"))
            .map(drop),
    );
    refused(ledger.acknowledge(NOW, broken, "seen").map(drop));

    ledger.acknowledge(NOW, whole, "seen").unwrap();
    // A list of regions that comes again is stated where it cannot be compared.
    let again = ledger.import_regions(NOW, regions()).unwrap();
    assert_eq!(
        ledger.reader().regions(&scope("13.07")).unwrap().unwrap().0,
        again
    );
    let moved = ledger.move_unit(NOW, &scope("13.07.05"), &scope("13.76"));
    assert_eq!(moved.unwrap(), Some(again + 1));
    let (_, run) = { phone }.create(VILLAGE);
    let other = Phone::new(2);
    accepted(&submit(&mut ledger, &other, &[&run])[0]);
}

#[test]
fn a_framework_file_may_begin_with_a_byte_order_mark() {
    let (mut ledger, storage, kv) = founded();
    let (name, json) = framework::built_in()[0];
    let marked = [b"\xef\xbb\xbf", json].concat();
    let position = ledger.import_framework(NOW, name, marked.clone()).unwrap();
    assert_eq!(
        ledger.import_framework(NOW, name, marked).unwrap(),
        position
    );
    // It is of the same version as the file without it.
    ledger
        .import_framework(NOW, name, json.to_vec())
        .unwrap_err();
    assert!(all_rows(&kv) == rebuilt_rows(&storage), "a rebuild differs");
}
