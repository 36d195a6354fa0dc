//! Taking back what the journal lost.

use super::*;
use crate::framework;
use crate::id::WallMs;
use crate::limits;
use crate::record::{
    Confirmation, Finding, GrantsFact, JournalFact, MoveFact, Returned, Revocation, Signed,
    Statement,
};
use crate::region::{RegionImport, example_csv};

pub(super) fn grants(at: &str) -> Vec<Grant> {
    vec![Grant {
        role: Role::Officer,
        scope: scope(at),
    }]
}

pub(super) fn certificate(at: WallMs, device: DeviceId, reaches: &str) -> Vec<u8> {
    let certificate = crate::record::Certificate {
        device,
        person: format!("Siti {at}"),
        grants: grants(reaches),
        journal: JournalId([9; 16]),
        invitation: [7; 32],
    };
    statement(at, Fact::Enrolment(certificate))
}

pub(super) fn granted(at: WallMs, device: DeviceId, reaches: &str) -> Vec<u8> {
    let grants = grants(reaches);
    statement(at, Fact::Grants(GrantsFact { device, grants }))
}

fn revoked(at: WallMs, device: DeviceId) -> Vec<u8> {
    statement(at, Fact::Revocation(Revocation { device }))
}

pub(super) fn confirmed(at: WallMs, device: DeviceId) -> Vec<u8> {
    statement(at, Fact::Confirmation(Confirmation { device }))
}

pub(super) fn stands(ledger: &MemoryLedger, device: &Phone) -> bool {
    ledger.reader().is_confirmed(&row(ledger, device))
}

pub(super) fn row(ledger: &MemoryLedger, device: &Phone) -> DeviceRow {
    ledger.reader().device(&device.id()).unwrap().unwrap()
}

fn position(ledger: &MemoryLedger) -> Position {
    ledger.reader().watermark().position
}

/// The journal that is kept, the rows made from it, and what verification says, all agree.
pub(super) fn holds_together(ledger: &MemoryLedger, storage: &MemoryStorage, kv: &MemoryKv) {
    assert!(all_rows(kv) == rebuilt_rows(storage), "a rebuild differs");
    let verification = verify(&ledger.reader(), &mut |_| {}).unwrap();
    assert!(verification.is_clean(), "{:?}", verification.findings);
}

#[test]
fn a_device_that_shows_its_certificate_is_let_in_and_waits_for_good_standing() {
    let (mut ledger, storage, kv) = founded();
    let phone = Phone::new(1);
    let shown = certificate(NOW - 9, phone.id(), VILLAGE);
    let enrolled = ledger.readmit(NOW, phone.id(), &shown).unwrap().unwrap();
    assert_eq!(enrolled.certificate, shown, "it is given as it was shown");
    assert_eq!(enrolled.founding_record, ledger.reader().founding_record());
    let known = row(&ledger, &phone);
    assert!(!ledger.reader().is_confirmed(&known));
    assert_eq!(known.grants, grants(VILLAGE));
    assert_eq!(known.enrolled_at, NOW - 9);
    let again = ledger.readmit(NOW, phone.id(), &shown).unwrap().unwrap();
    assert_eq!((enrolled, position(&ledger)), (again, 2));
    ledger.confirm(NOW, phone.id()).unwrap();
    assert!(stands(&ledger, &phone));
    ledger.readmit(NOW, phone.id(), &shown).unwrap().unwrap();
    assert!(stands(&ledger, &phone), "it keeps its standing");
    holds_together(&ledger, &storage, &kv);
}

#[test]
fn only_a_device_that_waits_can_be_confirmed() {
    let (mut ledger, _, _, enrolled, other) = with_officers();
    ledger.revoke(NOW, other.id()).unwrap();
    let before = position(&ledger);
    for (device, says) in [
        (Phone::new(8).id(), "is not enrolled"),
        (enrolled.id(), "is confirmed already"),
        (other.id(), "was revoked before"),
    ] {
        let error = ledger.confirm(NOW, device).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(position(&ledger), before);
}

#[test]
fn nothing_but_its_own_certificate_by_this_server_lets_a_device_in() {
    let (mut ledger, _, _) = founded();
    let (phone, other) = (Phone::new(1), Phone::new(2));
    let forged = Signed::open(
        &certificate(NOW, phone.id(), VILLAGE),
        &ledger.reader().server(),
    )
    .unwrap();
    let forged = Statement {
        at: NOW,
        fact: forged.fact().clone(),
    };
    let forged = Signed::new(forged, phone.key()).to_bytes();
    let mut longer = certificate(NOW, phone.id(), VILLAGE);
    longer.resize(limits::RETURNED_STATEMENT_BYTES_MAX + 1, 0);
    let founding = ledger.reader().founding_record().to_vec();
    let returned = statement(
        NOW,
        Fact::Returned(Returned {
            by: phone.id(),
            statement: certificate(NOW, phone.id(), VILLAGE),
        }),
    );
    for wrong in [
        certificate(NOW, other.id(), VILLAGE),
        granted(NOW, phone.id(), VILLAGE),
        forged,
        longer,
        founding,
        returned,
        Vec::new(),
    ] {
        let refusal = ledger.readmit(NOW, phone.id(), &wrong).unwrap();
        assert_eq!(refusal, Err(EnrolRefusal::Certificate));
    }
    assert_eq!(position(&ledger), 1, "nothing was recorded");
}

#[test]
fn a_revocation_binds_before_and_after_the_certificate_it_ends() {
    for certificate_first in [false, true] {
        let (mut ledger, storage, kv, carrier, _) = with_officers();
        let phone = Phone::new(7);
        let shown = certificate(NOW - 9, phone.id(), VILLAGE);
        if certificate_first {
            ledger.readmit(NOW, phone.id(), &shown).unwrap().unwrap();
        }
        let ends = revoked(NOW - 5, phone.id());
        assert_eq!(
            ledger
                .take_back(NOW, carrier.id(), vec![ends])
                .unwrap()
                .news,
            1
        );
        let refused = ledger.readmit(NOW, phone.id(), &shown).unwrap();
        assert_eq!(refused, Err(EnrolRefusal::Revoked));
        let invitation = Invitation {
            hash: invitation_hash(&[4; 16]),
            person: "Siti".into(),
            grants: grants(VILLAGE),
            expires_at: NOW + 9,
        };
        ledger.invite(NOW, invitation).unwrap();
        let refused = ledger.enrol(NOW, &[4; 16], phone.id()).unwrap_err();
        assert!(matches!(
            refused,
            EnrolError::Refused(EnrolRefusal::Revoked)
        ));
        ledger.take_back(NOW, carrier.id(), vec![shown]).unwrap();
        assert_eq!(row(&ledger, &phone).revoked_at, Some(NOW - 5));
        holds_together(&ledger, &storage, &kv);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// What is known of a device depends on what came back, not on the order or on who brought it.
    #[test]
    fn the_newest_statement_on_each_matter_counts_in_whatever_order_they_come(
        order in Just((0..5usize).collect::<Vec<_>>()).prop_shuffle(),
        cuts in proptest::collection::vec(any::<bool>(), 5),
        last in 1..=5usize,
    ) {
        let (mut ledger, storage, kv, one, other) = with_officers();
        let phone = Phone::new(7);
        let all = [
            certificate(NOW - 90, phone.id(), "14"),
            granted(NOW - 80, phone.id(), VILLAGE),
            certificate(NOW - 70, phone.id(), "13.76"),
            granted(NOW - 60, phone.id(), OTHER_VILLAGE),
            revoked(NOW - 50, phone.id()),
        ];
        let mut waiting = Vec::new();
        for (at, cut) in order.iter().zip(cuts) {
            if *at < last {
                waiting.push(all[*at].clone());
            }
            if cut {
                ledger.take_back(NOW, one.id(), std::mem::take(&mut waiting)).unwrap();
            }
        }
        ledger.take_back(NOW, other.id(), waiting).unwrap();
        let known = row(&ledger, &phone);
        let reaches = ["14", VILLAGE, "13.76", OTHER_VILLAGE, OTHER_VILLAGE][last - 1];
        prop_assert_eq!(&known.grants, &grants(reaches));
        prop_assert_eq!(&known.vouched, &None, "it waits as it is");
        prop_assert_eq!(known.enrolled_at, if last < 3 { NOW - 90 } else { NOW - 70 });
        prop_assert_eq!(known.revoked_at, (last == 5).then_some(NOW - 50));
        prop_assert!(!ledger.reader().is_confirmed(&known));
        let before = position(&ledger);
        prop_assert_eq!(ledger.take_back(NOW, one.id(), all[..last].to_vec()).unwrap().news, 0);
        prop_assert_eq!(position(&ledger), before, "all of it is known");
        holds_together(&ledger, &storage, &kv);
    }
}

#[test]
fn wide_grants_from_before_do_not_come_back_over_narrow_ones() {
    let (mut ledger, _, _, phone, other) = with_officers();
    let wide = granted(NOW + 5, phone.id(), "13");
    ledger.grant(NOW + 9, phone.id(), grants(VILLAGE)).unwrap();
    assert_eq!(
        ledger.take_back(NOW, phone.id(), vec![wide]).unwrap().news,
        0
    );
    // The clock ran ahead for a while: what was stated then is newer only by that clock.
    ledger.grant(NOW + 900, other.id(), grants("13")).unwrap();
    let wide = facts(&ledger).pop().unwrap();
    let narrow = GrantsFact {
        device: other.id(),
        grants: grants(VILLAGE),
    };
    record(&mut ledger, NOW + 20, Fact::Grants(narrow));
    let between = granted(NOW + 500, other.id(), "13");
    let replayed = vec![wide, between];
    assert_eq!(ledger.take_back(NOW, other.id(), replayed).unwrap().news, 0);
    for phone in [&phone, &other] {
        assert_eq!(row(&ledger, phone).grants, grants(VILLAGE));
    }
}

/// Every statement that the ledger has for devices, as it travels.
fn facts(ledger: &MemoryLedger) -> Vec<Vec<u8>> {
    let reader = ledger.reader();
    let rows = reader.facts(0, position(ledger)).map(Result::unwrap);
    rows.map(|(_, fact)| reader.statement_bytes(fact.place.place()).unwrap())
        .collect()
}

#[test]
fn devices_are_fed_returned_statements_as_they_were_signed_first_and_grants_behind_certificates() {
    let (mut ledger, storage, kv, carrier, _) = with_officers();
    let phone = Phone::new(7);
    let before = facts(&ledger);
    let (shown, narrower) = (
        certificate(NOW - 9, phone.id(), "13.76"),
        granted(NOW - 5, phone.id(), VILLAGE),
    );
    let taken = ledger.take_back(NOW, carrier.id(), vec![narrower.clone()]);
    assert_eq!(
        (taken.unwrap().news, facts(&ledger).len()),
        (1, before.len())
    );
    ledger.readmit(NOW, phone.id(), &shown).unwrap().unwrap();
    let fed = facts(&ledger).split_off(before.len());
    assert_eq!(fed, [shown, narrower]);
    holds_together(&ledger, &storage, &kv);
}

#[test]
fn other_kinds_other_keys_and_whatever_else_is_sent_are_passed_over() {
    let (mut ledger, _, _, mut carrier, _) = with_officers();
    let phone = Phone::new(7);
    let finding = Finding {
        code: "fork".into(),
        sentence: "Bohong.".into(),
        device: Some(carrier.id()),
        document: None,
        run: None,
        place: None,
    };
    let seen = ledger.reader().watermark();
    let server = ledger.reader().server();
    let mut forged = granted(NOW, carrier.id(), "13");
    *forged.last_mut().unwrap() ^= 1;
    let mut longer = granted(NOW + 1, carrier.id(), "13");
    longer.resize(limits::RETURNED_STATEMENT_BYTES_MAX + 1, 0);
    let unsigned = Statement {
        at: NOW + 99,
        fact: Fact::Revocation(Revocation { device: phone.id() }),
    };
    let run = Record::Changes(crate::record::Changes {
        run: carrier.create(VILLAGE).1.into_run(),
        received_at: NOW,
        carrier: carrier.id(),
        returned: true,
    });
    let junk = vec![
        statement(
            NOW,
            Fact::Journal(JournalFact {
                journal: JournalId([8; 16]),
                server,
            }),
        ),
        statement(
            NOW,
            Fact::Invitation(Invitation {
                hash: invitation_hash(&[4; 16]),
                person: "Siti".into(),
                grants: grants("13"),
                expires_at: NOW + 9,
            }),
        ),
        statement(NOW, Fact::Checkpoint(seen)),
        statement(NOW, Fact::Restored(seen)),
        statement(NOW, Fact::Finding(finding)),
        statement(
            NOW,
            Fact::Returned(Returned {
                by: carrier.id(),
                statement: revoked(NOW, phone.id()),
            }),
        ),
        forged,
        longer,
        Signed::new(unsigned, carrier.key()).to_bytes(),
        run.to_bytes(),
        b"bukan pernyataan".to_vec(),
        Vec::new(),
    ];
    assert_eq!(ledger.take_back(NOW, carrier.id(), junk).unwrap().news, 0);
    let stranger = vec![revoked(NOW, phone.id())];
    let taken = ledger.take_back(NOW, phone.id(), stranger.clone());
    assert_eq!(taken.unwrap().news, 0, "who is not known gives nothing");
    ledger.revoke(NOW, carrier.id()).unwrap();
    assert_eq!(
        ledger.take_back(NOW, carrier.id(), stranger).unwrap().news,
        0
    );
    assert_eq!(position(&ledger), seen.position + 1);
}

#[test]
fn a_forgery_that_claims_to_be_newer_does_not_push_the_true_one_out() {
    let (mut ledger, _, _, carrier, _) = with_officers();
    let phone = Phone::new(7);
    let later = Statement {
        at: NOW + 99,
        fact: Fact::Revocation(Revocation { device: phone.id() }),
    };
    let forged = Signed::new(later, phone.key()).to_bytes();
    let given = vec![forged, revoked(NOW, phone.id())];
    assert_eq!(ledger.take_back(NOW, carrier.id(), given).unwrap().news, 1);
    let bound = ledger.reader().revocation_awaiting(&phone.id()).unwrap();
    assert_eq!(bound, Some(NOW));
}

#[test]
fn frameworks_regions_and_moves_come_back_once_and_in_their_newest_version() {
    let (mut former, _, _) = founded();
    let (name, json) = framework::built_in()[0];
    former
        .import_framework(NOW - 9, name, json.to_vec())
        .unwrap();
    for (at, list) in [(NOW - 8, "2023"), (NOW - 7, "2024")] {
        let import = RegionImport::from_csv("regions.csv", example_csv(), list).unwrap();
        former.import_regions(at, import).unwrap();
    }
    let mut held = facts(&former);
    for (at, parent) in [(NOW - 6, "13.76.01"), (NOW - 5, "13.76.02")] {
        let (unit, parent) = (scope(VILLAGE), scope(parent));
        held.push(statement(at, Fact::Move(MoveFact { unit, parent })));
    }
    held.reverse();
    let (mut ledger, storage, kv, carrier, _) = with_officers();
    let sheets = (held.len() - 3) / 2;
    let taken = ledger.take_back(NOW, carrier.id(), held.clone()).unwrap();
    assert_eq!(taken.news, 1 + sheets + 1);
    let known = facts(&ledger);
    let newest: Vec<_> = held.iter().filter(|it| known.contains(it)).collect();
    assert_eq!(
        newest.len(),
        1 + sheets + 1,
        "devices get them as they were"
    );
    assert_eq!(ledger.take_back(NOW, carrier.id(), held).unwrap().news, 0);
    let import = RegionImport::from_csv("regions.csv", example_csv(), "2024").unwrap();
    let before = position(&ledger);
    assert_eq!(ledger.import_regions(NOW, import).unwrap(), before);
    let again = ledger.import_framework(NOW, name, json.to_vec()).unwrap();
    assert!(again <= before, "what came back counts as imported");
    holds_together(&ledger, &storage, &kv);
}

/// Records a statement for whatever time, as a server of before this did whose clock was set back.
pub(super) fn record(ledger: &mut MemoryLedger, at: WallMs, fact: Fact) {
    let record = ledger.signed(at, fact);
    let committed = ledger.commit(&[record], &[], Room::Free).unwrap();
    assert!(matches!(committed, Committed::At(_)));
}

#[test]
fn regions_and_moves_from_before_do_not_come_back_over_those_of_a_clock_set_back() {
    let (mut ledger, storage, kv, carrier, _) = with_officers();
    let csv = |list: &str| RegionImport::from_csv("regions.csv", example_csv(), list).unwrap();
    let unit = scope("13.07.05.2001");
    let parents = ["12.07.28", "13.07.01", "13.07.04"].map(scope);
    // The clock ran ahead for a while: what was stated then is newer only by that clock.
    ledger.import_regions(NOW + 900, csv("2025")).unwrap();
    for sheet in csv("2026").into_sheets() {
        record(&mut ledger, NOW + 20, Fact::Regions(sheet));
    }
    ledger.move_unit(NOW + 900, &unit, &parents[1]).unwrap();
    let (moved, parent) = (unit.clone(), parents[2].clone());
    let moved = MoveFact {
        unit: moved,
        parent,
    };
    record(&mut ledger, NOW + 20, Fact::Move(moved));
    let (mut other, _, _) = founded();
    other.import_regions(NOW + 500, csv("2024")).unwrap();
    let mut held = facts(&other);
    let parent = parents[0].clone();
    held.push(statement(NOW + 500, Fact::Move(MoveFact { unit, parent })));
    for statement in &held {
        let Ok(Record::Server(signed)) = Record::from_bytes(statement) else {
            panic!("a statement is read");
        };
        if let Some(bulk) = Bulk::of(signed.fact()) {
            assert!(!ledger.reader().lacks(&bulk, signed.at()).unwrap());
        }
    }
    let before = position(&ledger);
    assert_eq!(ledger.take_back(NOW, carrier.id(), held).unwrap().news, 0);
    assert_eq!(position(&ledger), before);
    holds_together(&ledger, &storage, &kv);
}

#[test]
fn a_returned_framework_is_lacking_until_it_is_there() {
    let (mut ledger, _, _, carrier, _) = with_officers();
    let (mut former, _, _) = founded();
    let (name, json) = framework::built_in()[0];
    former
        .import_framework(NOW - 9, name, json.to_vec())
        .unwrap();
    let held = facts(&former);
    let Ok(Record::Server(signed)) = Record::from_bytes(&held[0]) else {
        panic!("a statement is read");
    };
    let bulk = Bulk::of(signed.fact()).unwrap();
    assert!(ledger.reader().lacks(&bulk, NOW - 9).unwrap());
    assert_eq!(ledger.take_back(NOW, carrier.id(), held).unwrap().news, 1);
    for at in [NOW - 9, NOW + 9] {
        assert!(!ledger.reader().lacks(&bulk, at).unwrap());
    }
}

#[test]
fn one_device_returns_only_so_much_at_once_and_in_a_day() {
    let (mut ledger, _, kv, carrier, _) = with_officers();
    let many: Vec<_> = (0..=limits::RETURNED_STATEMENTS_MAX as u64)
        .map(|seed| revoked(NOW, Phone::new(1_000 + seed).id()))
        .collect();
    let all = |news| TakenBack { news, left: None };
    let some = |news| TakenBack {
        news,
        left: Some(Left::Beyond),
    };
    let taken = ledger.take_back(NOW, carrier.id(), many.clone()).unwrap();
    assert_eq!(taken, some(limits::RETURNED_STATEMENTS_MAX));
    let rest = many[taken.news..].to_vec();
    let taken = ledger.take_back(NOW, carrier.id(), rest).unwrap();
    assert_eq!(taken, all(1));
    let today = reader::quota_row(&*kv, &carrier.id()).unwrap();
    assert_eq!(today.statements, many.len() as u64);

    let full = rows::QuotaRow {
        statements: limits::RETURNED_STATEMENTS_PER_DAY - 1,
        ..today
    };
    let mut batch = Batch::new();
    batch.put(keys::quota(&carrier.id()), rows::encode(&full));
    kv.apply(&batch).unwrap();
    let phone = Phone::new(7);
    let given = vec![
        certificate(NOW, phone.id(), VILLAGE),
        granted(NOW, phone.id(), VILLAGE),
        revoked(NOW, phone.id()),
    ];
    for news in [1, 0] {
        let taken = ledger.take_back(NOW, carrier.id(), given.clone()).unwrap();
        assert_eq!(taken, some(news));
    }
    assert!(ledger.reader().device(&phone.id()).unwrap().is_none());
    let bound = ledger.reader().revocation_awaiting(&phone.id()).unwrap();
    assert_eq!(bound, Some(NOW), "what protects goes first");
    let told: Vec<String> = findings(&ledger).into_iter().map(|it| it.code).collect();
    assert_eq!(told, ["returned-too-many"], "and it is told once");
    let tomorrow = NOW + 86_400_000;
    assert_eq!(
        ledger.take_back(tomorrow, carrier.id(), given).unwrap(),
        all(2)
    );
}

#[test]
fn one_device_returns_only_so_many_bytes_of_statements_in_a_day() {
    let (mut ledger, _, kv, carrier, _) = with_officers();
    let given = [8, 9].map(|seed| revoked(NOW, Phone::new(seed).id()));
    let spent = rows::QuotaRow {
        day: NOW / 86_400_000,
        returned_bytes: limits::RETURNED_BYTES_PER_DAY - given[0].len() as u64,
        ..rows::QuotaRow::default()
    };
    let mut batch = Batch::new();
    batch.put(keys::quota(&carrier.id()), rows::encode(&spent));
    kv.apply(&batch).unwrap();
    let take = |ledger: &mut MemoryLedger, now| {
        let taken = ledger.take_back(now, carrier.id(), given.to_vec());
        let taken = taken.unwrap();
        (taken.news, taken.left)
    };
    assert_eq!(take(&mut ledger, NOW), (1, Some(Left::Beyond)));
    assert_eq!(take(&mut ledger, NOW), (0, Some(Left::Beyond)));
    assert_eq!(take(&mut ledger, NOW + 86_400_000), (1, None));
}

#[test]
fn a_disk_below_its_reserve_leaves_every_statement_and_takes_it_later() {
    let (ledger, storage, kv, carrier, _) = with_officers();
    drop(ledger);
    let mut options = options();
    options.journal.reserve_bytes = 1024 * 1024;
    let opened = Ledger::open(storage.clone(), kv, server_key(), options, &mut |_| {});
    let (mut ledger, _) = opened.unwrap();
    let phone = Phone::new(7);
    let lost = revoked(NOW, phone.id());
    let take = |ledger: &mut MemoryLedger| {
        let taken = ledger.take_back(NOW, carrier.id(), vec![lost.clone()]);
        let taken = taken.unwrap();
        (taken.news, taken.left)
    };
    storage.set_free_bytes(1024);
    assert_eq!(take(&mut ledger), (0, Some(Left::Full)));
    let bound = |ledger: &MemoryLedger| ledger.reader().revocation_awaiting(&phone.id()).unwrap();
    assert_eq!(bound(&ledger), None);
    storage.set_free_bytes(1024 * 1024 * 1024);
    assert_eq!(take(&mut ledger), (1, None));
    assert_eq!(bound(&ledger), Some(NOW));
    assert_eq!(
        take(&mut ledger),
        (0, None),
        "what is known is left by nobody"
    );
}

#[test]
fn invitations_from_before_what_came_back_are_void_and_later_ones_hold() {
    let (mut ledger, storage, kv, carrier, _) = with_officers();
    let invite = |ledger: &mut MemoryLedger, secret: u8, now| {
        let invitation = Invitation {
            hash: invitation_hash(&[secret; 16]),
            person: "Siti".into(),
            grants: grants(VILLAGE),
            expires_at: NOW + 900,
        };
        ledger.invite(now, invitation).unwrap();
    };
    invite(&mut ledger, 1, NOW);
    invite(&mut ledger, 2, NOW);
    invite(&mut ledger, 3, NOW + 6);
    let (used, phone) = (Phone::new(5), Phone::new(6));
    let first = ledger.enrol(NOW, &[1; 16], used.id()).unwrap();
    let lost = revoked(NOW + 5, Phone::new(7).id());
    ledger.take_back(NOW + 9, carrier.id(), vec![lost]).unwrap();
    invite(&mut ledger, 4, NOW + 5);
    let enrol = |ledger: &mut MemoryLedger, secret: u8| {
        let enrolled = ledger.enrol(NOW + 9, &[secret; 16], phone.id());
        enrolled.map_err(|error| match error {
            EnrolError::Refused(refusal) => refusal,
            EnrolError::Ledger(error) => panic!("{error}"),
        })
    };
    assert_eq!(enrol(&mut ledger, 2), Err(EnrolRefusal::Void));
    assert!(enrol(&mut ledger, 3).is_ok(), "made after the loss");
    assert!(enrol(&mut ledger, 4).is_ok(), "made since, by a slow clock");
    let again = ledger.enrol(NOW + 9, &[1; 16], used.id()).unwrap();
    assert_eq!(again, first, "a used one gives its device its certificate");
    holds_together(&ledger, &storage, &kv);
}

#[test]
fn a_restore_and_a_loss_void_the_invitations_that_were_open() {
    let (mut ledger, storage, kv, _, _) = with_officers();
    let invitation = |secret: u8| Invitation {
        hash: invitation_hash(&[secret; 16]),
        person: "Siti".into(),
        grants: grants(VILLAGE),
        expires_at: NOW + 900,
    };
    ledger.invite(NOW + 5, invitation(1)).unwrap();
    ledger.record_restore(NOW).unwrap();
    ledger.invite(NOW, invitation(2)).unwrap();
    let open = |ledger: &MemoryLedger| {
        let reader = ledger.reader();
        let open = reader.invitations().map(Result::unwrap);
        open.filter(|(_, row)| row.used_by.is_none() && !reader.is_void(row).unwrap())
            .map(|(hash, _)| hash)
            .collect::<Vec<_>>()
    };
    assert_eq!(open(&ledger), [invitation_hash(&[2; 16])]);
    holds_together(&ledger, &storage, &kv);

    let shorter = storage.duplicate();
    ledger.checkpoint(NOW).unwrap();
    drop(ledger);
    let (ledger, _) = Ledger::open_after_loss(
        shorter,
        Arc::clone(&kv),
        server_key(),
        NOW,
        options(),
        &mut |_| {},
    )
    .unwrap();
    assert_eq!(findings(&ledger)[0].code, "lost");
    assert!(open(&ledger).is_empty());
}

#[test]
fn a_finding_is_kept_once_for_each_code_device_and_document() {
    let (mut ledger, storage, kv) = founded();
    let finding = |code: &str, device, document| Finding {
        code: code.to_owned(),
        sentence: "Ada yang janggal.".to_owned(),
        device,
        document,
        run: None,
        place: None,
    };
    let (device, document) = (Some(DeviceId([1; 32])), Some(DocumentId([1; 16])));
    let different = [
        finding("cursor-void", device, None),
        finding("cursor-void", Some(DeviceId([2; 32])), None),
        finding("digest-mismatch", device, None),
        finding("digest-mismatch", device, document),
        finding("digest-mismatch", None, document),
        finding("digest-mismatch", None, None),
    ];
    for _ in 0..2 {
        for it in &different {
            ledger.find(NOW, it.clone()).unwrap();
        }
    }
    assert_eq!(findings(&ledger), different);
    holds_together(&ledger, &storage, &kv);
}

#[test]
fn those_who_lose_sight_of_a_device_learn_of_its_new_grants() {
    let (mut ledger, _, _, phone, _) = with_officers();
    let position = ledger
        .grant(NOW, phone.id(), grants(OTHER_VILLAGE))
        .unwrap();
    let reader = ledger.reader();
    let fact = reader.facts(position - 1, position).next().unwrap();
    let both = vec![scope(VILLAGE), scope(OTHER_VILLAGE)];
    assert_eq!(fact.unwrap().1.topic, Topic::Device(phone.id(), both));
}

#[test]
fn a_journal_with_a_returned_statement_that_the_server_did_not_sign_is_found() {
    let (mut ledger, _, _, carrier, _) = with_officers();
    let forged = Statement {
        at: NOW,
        fact: Fact::Revocation(Revocation {
            device: carrier.id(),
        }),
    };
    let forged = Signed::new(forged, carrier.key()).to_bytes();
    let returned = Returned {
        by: carrier.id(),
        statement: forged,
    };
    record(&mut ledger, NOW, Fact::Returned(returned));
    let verification = verify(&ledger.reader(), &mut |_| {}).unwrap();
    let place = FindingPlace::Record(position(&ledger));
    assert_eq!(verification.findings[0].place, place);
}
