//! A server whose clock ran ahead for a while, and was set right.

use super::*;
use crate::limits;

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn grants(at: &str) -> Vec<Grant> {
    vec![Grant {
        role: Role::Officer,
        scope: scope(at),
    }]
}

/// The latest statement that devices are sent, as it travels.
fn told(ledger: &MemoryLedger) -> Vec<u8> {
    let reader = ledger.reader();
    let upto = reader.watermark().position;
    let (_, fact) = reader.facts(0, upto).last().unwrap().unwrap();
    reader.statement_bytes(fact.place.place()).unwrap()
}

#[test]
fn what_was_stated_last_counts_in_a_new_journal_though_the_clock_was_set_back_before() {
    let (mut ledger, _, _, phone, carrier) = with_officers();
    let certificate = {
        let place = ledger.reader().device(&phone.id()).unwrap().unwrap();
        let place = place.certificate.place();
        ledger.reader().statement_bytes(place).unwrap()
    };
    ledger
        .grant(NOW + HOUR_MS, phone.id(), grants("13"))
        .unwrap();
    let wide = told(&ledger);
    ledger.grant(NOW + 1, phone.id(), grants(VILLAGE)).unwrap();
    let narrow = told(&ledger);
    let (village, district) = (scope(VILLAGE), scope("13.07.05"));
    ledger
        .move_unit(NOW + HOUR_MS, &village, &district)
        .unwrap();
    let moved = told(&ledger);
    ledger
        .move_unit(NOW + 2, &village, &scope("13.76.01"))
        .unwrap();
    let moved_back = told(&ledger);

    let all = [&wide, &narrow, &moved, &moved_back];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]] {
        let (mut lost, storage, kv) = founded();
        enrol(&mut lost, &carrier, Role::Officer, VILLAGE);
        lost.readmit(NOW, phone.id(), &certificate)
            .unwrap()
            .unwrap();
        for at in order {
            lost.take_back(NOW, carrier.id(), vec![all[at].clone()])
                .unwrap();
        }
        let row = lost.reader().device(&phone.id()).unwrap().unwrap();
        assert_eq!(row.grants, grants(VILLAGE), "{order:?}");
        let placements = lost.reader().placements();
        assert_eq!(
            placements.lineage(&village).parent(),
            Some(&scope("13.76.01"))
        );
        assert_eq!(all_rows(&kv), rebuilt_rows(&storage));
    }
}

#[test]
fn a_day_that_was_used_up_by_a_clock_that_ran_ahead_does_not_last_until_then() {
    let (mut ledger, storage, kv, mut phone, _) = with_officers();
    let ahead = NOW + 1_000 * DAY_MS;
    let used = rows::QuotaRow {
        day: ahead / DAY_MS,
        documents: limits::DEVICE_DOCUMENTS_PER_DAY,
        ..rows::QuotaRow::default()
    };
    let mut batch = Batch::new();
    batch.put(keys::quota(&phone.id()), rows::encode(&used));
    kv.apply(&batch).unwrap();
    let (_, run) = phone.create(VILLAGE);
    let submission = Submission {
        carrier: phone.id(),
        run,
        returned: false,
    };
    let outcomes = ledger.accept(ahead, vec![submission.clone()]).unwrap();
    assert_eq!(rejected(&outcomes[0].verdict), RefusalCode::Quota);
    let outcomes = ledger.accept(NOW, vec![submission]).unwrap();
    accepted(&outcomes[0].verdict);
    assert_eq!(all_rows(&kv), rebuilt_rows(&storage));
}

#[test]
fn a_certificate_is_stated_for_later_than_the_grants_that_it_replaces() {
    let (mut ledger, _, _, phone, _) = with_officers();
    ledger
        .grant(NOW + HOUR_MS, phone.id(), grants("13"))
        .unwrap();
    let invitation = Invitation {
        hash: invitation_hash(&[9; 16]),
        person: ledger.reader().device(&phone.id()).unwrap().unwrap().person,
        grants: grants(VILLAGE),
        expires_at: NOW + DAY_MS,
    };
    ledger.invite(NOW, invitation).unwrap();
    ledger.enrol(NOW, &[9; 16], phone.id()).unwrap();
    let row = ledger.reader().device(&phone.id()).unwrap().unwrap();
    assert_eq!(row.grants, grants(VILLAGE));
    assert_eq!(row.enrolled_at, NOW + HOUR_MS + 1);
}
