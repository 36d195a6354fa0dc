//! Accepting runs.

use super::*;

#[test]
fn a_valid_run_is_accepted_at_the_next_position_and_readers_see_it() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let before = ledger.reader().watermark().position;
    let (id, run) = phone.create(VILLAGE);
    let verdicts = submit(&mut ledger, &phone, &[&run]);
    assert_eq!(verdicts, [Verdict::Accepted(before + 1)]);
    let reader = ledger.reader();
    assert_eq!(reader.watermark().position, before + 1);
    assert_eq!(reader.position_of(&run.id()).unwrap(), Some(before + 1));
    let whole = reader.whole(&id).unwrap().unwrap();
    assert_eq!(whole.row.heads, phone.heads(&id));
    assert_eq!(whole.envelopes.len(), 1);
    assert_eq!(whole.envelopes[0].envelope, run.envelope().bytes());
    let highest = reader.highest(&phone.id(), &phone.incarnation()).unwrap();
    assert_eq!(highest, Some((1, run.id())));
}

#[test]
fn a_repeated_run_is_answered_with_its_first_position() {
    let (mut ledger, _, _, mut phone, other) = with_officers();
    let (_, run) = phone.create(VILLAGE);
    let first = submit(&mut ledger, &phone, &[&run, &run]);
    assert_eq!(first[0], first[1]);
    let head = ledger.reader().watermark();
    assert_eq!(submit(&mut ledger, &other, &[&run]), first[..1]);
    assert_eq!(
        ledger.reader().watermark(),
        head,
        "nothing was recorded again"
    );
}

#[test]
fn runs_in_any_order_within_a_batch_are_recorded_so_that_each_follows_what_it_builds_on() {
    let (mut ledger, _, _, mut one, mut other) = with_officers();
    let (id, root) = one.create(VILLAGE);
    other.learn(&root);
    let by_one = one.edit(&id, "Kepala desa hadir.");
    let by_other = other.edit(&id, "Rapat ditutup.");
    other.learn(&by_one);
    let merge = other.edit(&id, "Keduanya.");
    let verdicts = submit(&mut ledger, &other, &[&merge, &by_other, &by_one, &root]);
    let at: Vec<Position> = verdicts.iter().map(accepted).collect();
    assert!(at[3] < at[1] && at[3] < at[2], "{at:?}");
    assert!(at[1] < at[0] && at[2] < at[0], "{at:?}");
    let row = ledger.reader().document(&id).unwrap().unwrap();
    assert_eq!(row.heads, other.heads(&id));
    assert_eq!(row.runs, 4);
}

#[test]
fn a_run_without_what_it_builds_on_is_missing_and_accepted_once_that_is_there() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    let second = phone.edit(&id, "Kedua.");
    let third = phone.edit(&id, "Ketiga.");
    let head = second.envelope().body().last_hash;
    assert_eq!(
        submit(&mut ledger, &phone, &[&second]),
        [Verdict::Missing(vec![root.envelope().body().last_hash])]
    );
    accepted(&submit(&mut ledger, &phone, &[&root])[0]);
    assert_eq!(
        submit(&mut ledger, &phone, &[&third]),
        [Verdict::Missing(vec![head])]
    );
    submit(&mut ledger, &phone, &[&third, &second])
        .iter()
        .for_each(|verdict| {
            accepted(verdict);
        });
}

#[test]
fn a_copied_store_gets_stale_and_nothing_more_of_its_flight_is_judged() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    let mut copy = phone.clone();
    let edit = phone.edit(&id, "Asli.");
    submit(&mut ledger, &phone, &[&root, &edit]);
    let branch = copy.edit(&id, "Salinan.");
    let (_, unrelated) = copy.create(VILLAGE);
    let known = submit(&mut ledger, &phone, &[&root]).remove(0);
    let stale = Verdict::Stale {
        highest: (2, edit.id()),
    };
    assert_eq!(
        submit(&mut ledger, &copy, &[&root, &branch, &unrelated]),
        [known, stale.clone(), stale]
    );
    copy.start_over();
    copy.learn(&root);
    copy.learn(&edit);
    let again = copy.edit(&id, "Salinan, ditulis lagi.");
    accepted(&submit(&mut ledger, &copy, &[&again])[0]);
}

#[test]
fn of_two_runs_under_one_number_in_one_batch_the_first_stands() {
    let (mut ledger, _, _, mut phone, other) = with_officers();
    let mut copy = phone.clone();
    let (_, first) = phone.create(VILLAGE);
    let (_, second) = copy.create_kind(DocumentKind::Evidence, VILLAGE, true);
    let (_, next) = phone.create(VILLAGE);
    let verdicts = submit(&mut ledger, &other, &[&first, &second, &next]);
    accepted(&verdicts[0]);
    assert_eq!(rejected(&verdicts[1]), RefusalCode::Fork);
    accepted(&verdicts[2]);
}

#[test]
fn of_two_runs_under_one_number_the_second_stands_if_the_first_does_not() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let mut copy = phone.clone();
    let (_, forbidden) = phone.create(OTHER_VILLAGE);
    let (_, allowed) = copy.create(VILLAGE);
    let verdicts = submit(&mut ledger, &phone, &[&forbidden, &allowed]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Forbidden);
    accepted(&verdicts[1]);
}

#[test]
fn a_fork_brought_by_somebody_else_is_refused_and_found_once() {
    let (mut ledger, _, _, mut phone, other) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    let mut copy = phone.clone();
    let edit = phone.edit(&id, "Asli.");
    submit(&mut ledger, &phone, &[&root, &edit]);
    let branch = copy.edit(&id, "Salinan.");
    for _ in 0..2 {
        let verdicts = submit(&mut ledger, &other, &[&branch]);
        assert_eq!(rejected(&verdicts[0]), RefusalCode::Fork);
    }
    let found = findings(&ledger);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].device, found[0].run),
        (Some(phone.id()), Some(branch.id()))
    );
    let row = ledger.reader().document(&id).unwrap().unwrap();
    assert_eq!(row.heads, phone.heads(&id), "the first accepted stands");
}

#[test]
fn a_fork_under_another_number_is_found_in_its_document() {
    let (mut ledger, _, _, mut phone, other) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    let mut copy = phone.clone();
    let edit = phone.edit(&id, "Asli.");
    submit(&mut ledger, &phone, &[&root, &edit]);
    copy.skip_number();
    let branch = copy.edit(&id, "Salinan.");
    let verdicts = submit(&mut ledger, &other, &[&branch]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Fork);
    assert_eq!(findings(&ledger)[0].document, Some(id));
}

#[test]
fn changes_sealed_a_second_time_under_another_number_are_refused() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    let mut again = phone.clone();
    let edit = phone.edit(&id, "Sama.");
    again.skip_number();
    let resealed = again.edit(&id, "Sama.");
    assert_ne!(edit.id(), resealed.id());
    let verdicts = submit(&mut ledger, &phone, &[&root, &edit]);
    accepted(&verdicts[1]);
    let verdicts = submit(&mut ledger, &phone, &[&resealed]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Sequence);
}

#[test]
fn nobody_writes_outside_of_their_scope_or_role() {
    let (mut ledger, _, _, mut officer, _) = with_officers();
    let mut verifier = Phone::new(3);
    enrol(&mut ledger, &verifier, Role::Verifier, "13.76");
    let (_, elsewhere) = officer.create(OTHER_VILLAGE);
    let (id, own) = officer.create(VILLAGE);
    let verdicts = submit(&mut ledger, &officer, &[&elsewhere, &own]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Forbidden);
    let Verdict::Rejected(refusal) = &verdicts[0] else {
        panic!("rejected above")
    };
    assert_eq!(
        refusal.sentence,
        "Someone without a role there may not create evidence of 13.76.02.1001: only officer or \
         unit head may."
    );
    accepted(&verdicts[1]);
    verifier.learn(&own);
    let edit = verifier.edit(&id, "Diperbaiki verifikator.");
    let verdicts = submit(&mut ledger, &verifier, &[&edit]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Forbidden);
}

#[test]
fn a_run_is_judged_by_the_grants_of_its_author_whoever_carries_it() {
    let (mut ledger, _, _, mut officer, _) = with_officers();
    let observer = Phone::new(3);
    enrol(&mut ledger, &observer, Role::Observer, "13");
    let (_, run) = officer.create(VILLAGE);
    accepted(&submit(&mut ledger, &observer, &[&run])[0]);
}

#[test]
fn statements_are_made_whole_by_those_who_sign_and_never_edited() {
    let (mut ledger, _, _, mut officer, _) = with_officers();
    let mut verifier = Phone::new(3);
    enrol(&mut ledger, &verifier, Role::Verifier, "13.76");
    let (_, by_officer) = officer.create_kind(DocumentKind::Statement, VILLAGE, true);
    let verdicts = submit(&mut ledger, &officer, &[&by_officer]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Forbidden);
    let (id, statement) = verifier.create_kind(DocumentKind::Statement, VILLAGE, true);
    let edit = verifier.edit(&id, "Berubah pikiran.");
    let verdicts = submit(&mut ledger, &verifier, &[&statement, &edit]);
    accepted(&verdicts[0]);
    assert_eq!(rejected(&verdicts[1]), RefusalCode::Forbidden);
    let row = ledger.reader().document(&id).unwrap().unwrap();
    assert!(row.published());
}

#[test]
fn documents_without_a_kind_are_not_taken_from_devices() {
    let (mut ledger, _, _, mut officer, _) = with_officers();
    let (_, run) = officer.create_kind(DocumentKind::Unclassified, VILLAGE, false);
    let verdicts = submit(&mut ledger, &officer, &[&run]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Unsupported);
}

#[test]
fn what_first_arrives_after_a_revocation_is_refused_and_what_came_before_stays() {
    let (mut ledger, _, _, mut phone, other) = with_officers();
    let (id, before) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&before]);
    ledger.revoke(NOW, phone.id()).unwrap();
    let after = phone.edit(&id, "Terlambat.");
    for carrier in [&phone, &other] {
        let verdicts = submit(&mut ledger, carrier, &[&after]);
        assert_eq!(rejected(&verdicts[0]), RefusalCode::Revoked);
    }
    assert_eq!(ledger.reader().document(&id).unwrap().unwrap().runs, 1);
    let verdicts = submit(&mut ledger, &other, &[&before]);
    accepted(&verdicts[0]);
}

#[test]
fn a_revoked_device_carries_nothing_for_others() {
    let (mut ledger, _, _, mut phone, other) = with_officers();
    ledger.revoke(NOW, other.id()).unwrap();
    let (_, run) = phone.create(VILLAGE);
    let verdicts = submit(&mut ledger, &other, &[&run]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Revoked);
    accepted(&submit(&mut ledger, &phone, &[&run])[0]);
}

#[test]
fn a_device_that_was_never_enrolled_is_unknown() {
    let (mut ledger, _, _, phone, _) = with_officers();
    let (_, run) = Phone::new(77).create(VILLAGE);
    let verdicts = submit(&mut ledger, &phone, &[&run]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::UnknownDevice);
}

#[test]
fn a_device_begins_only_so_many_documents_a_day() {
    let (mut ledger, _, kv, mut phone, _) = with_officers();
    let full = rows::QuotaRow {
        day: NOW / 86_400_000,
        documents: limits::DEVICE_DOCUMENTS_PER_DAY - 1,
        ..rows::QuotaRow::default()
    };
    let mut batch = Batch::new();
    batch.put(keys::quota(&phone.id()), rows::encode(&full));
    kv.apply(&batch).unwrap();
    let (id, last) = phone.create(VILLAGE);
    let (_, beyond) = phone.create(VILLAGE);
    let edit = phone.edit(&id, "Sunting.");
    let verdicts = submit(&mut ledger, &phone, &[&last, &beyond, &edit]);
    accepted(&verdicts[0]);
    assert_eq!(rejected(&verdicts[1]), RefusalCode::Quota);
    accepted(&verdicts[2]);
    let tomorrow = Submission {
        carrier: phone.id(),
        run: beyond,
        returned: false,
    };
    let outcomes = ledger.accept(NOW + 86_400_000, vec![tomorrow]).unwrap();
    accepted(&outcomes[0].verdict);
}

#[test]
fn a_document_takes_only_so_many_changes_and_gets_back_as_many_again() {
    let (mut ledger, _, kv, mut phone, other) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    accepted(&submit(&mut ledger, &phone, &[&root])[0]);
    let holds = |ledger: &MemoryLedger, changes| {
        let mut row = ledger.reader().document(&id).unwrap().unwrap();
        row.changes = changes;
        let mut batch = Batch::new();
        batch.put(keys::document(&id), rows::encode(&row));
        kv.apply(&batch).unwrap();
    };
    holds(&ledger, limits::DOCUMENT_CHANGES_TAKEN - 1);
    let (last, beyond) = (phone.edit(&id, "Terakhir."), phone.edit(&id, "Lewat."));
    accepted(&submit(&mut ledger, &phone, &[&last])[0]);
    let refused = submit(&mut ledger, &phone, &[&beyond]);
    assert_eq!(rejected(&refused[0]), RefusalCode::DocumentFull);
    let give_back = |ledger: &mut MemoryLedger, run| {
        let given_back = Submission {
            carrier: other.id(),
            run,
            returned: true,
        };
        ledger.accept(NOW, vec![given_back]).unwrap().remove(0)
    };
    accepted(&give_back(&mut ledger, beyond).verdict);
    // What was lost and what came since may be as many each, and no more than that.
    holds(&ledger, limits::DOCUMENT_CHANGES_RETURNED - 1);
    let (last, beyond) = (phone.edit(&id, "Kembali."), phone.edit(&id, "Lebih."));
    accepted(&give_back(&mut ledger, last).verdict);
    let refused = give_back(&mut ledger, beyond).verdict;
    assert_eq!(rejected(&refused), RefusalCode::DocumentFull);
}

#[test]
fn a_full_disk_refuses_for_the_moment_and_keeps_nothing() {
    let (mut ledger, storage, kv, mut phone, _) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&root]);
    let rows = all_rows(&kv);
    ledger = {
        drop(ledger);
        let mut options = options();
        options.journal.reserve_bytes = 1024 * 1024;
        let kv = Arc::clone(&kv);
        Ledger::open(storage.clone(), kv, server_key(), options, &mut |_| {})
            .unwrap()
            .0
    };
    let edit = phone.edit(&id, "Penuh.");
    storage.set_free_bytes(1024);
    assert_eq!(
        submit(&mut ledger, &phone, &[&root, &edit])[1],
        Verdict::Full
    );
    assert_eq!(all_rows(&kv), rows);
    storage.set_free_bytes(1024 * 1024 * 1024);
    accepted(&submit(&mut ledger, &phone, &[&edit])[0]);
    assert_eq!(all_rows(&kv), rebuilt_rows(&storage));
}

/// A ledger with a reserve, on a disk that is below it.
fn on_a_full_disk(storage: &MemoryStorage, kv: &Arc<MemoryKv>) -> MemoryLedger {
    let mut options = options();
    options.journal.reserve_bytes = 1024 * 1024;
    let opened = Ledger::open(
        storage.clone(),
        Arc::clone(kv),
        server_key(),
        options,
        &mut |_| {},
    );
    storage.set_free_bytes(512 * 1024);
    opened.unwrap().0
}

/// What is refused for the sake of a run, or of a finding, that the full disk did not keep.
#[test]
fn nothing_is_refused_for_good_by_what_a_full_disk_did_not_keep() {
    let (ledger, storage, kv, mut phone, other) = with_officers();
    drop(ledger);
    let mut ledger = on_a_full_disk(&storage, &kv);
    let mut copy = phone.clone();
    let (_, first) = phone.create(VILLAGE);
    let (_, second) = copy.create_kind(DocumentKind::Evidence, VILLAGE, true);
    assert_eq!(
        submit(&mut ledger, &other, &[&first]),
        [Verdict::Full],
        "{first:?}"
    );
    storage.set_free_bytes(1024 * 1024 * 1024);
    accepted(&submit(&mut ledger, &other, &[&first])[0]);
    storage.set_free_bytes(512 * 1024);
    assert_eq!(submit(&mut ledger, &other, &[&second]), [Verdict::Full]);
    assert_eq!(findings(&ledger), []);
    storage.set_free_bytes(1024 * 1024 * 1024);
    let verdicts = submit(&mut ledger, &other, &[&second]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Fork);
    assert_eq!(findings(&ledger).len(), 1);
}

/// No finding is made of these: the second is refused since the first would have been kept.
#[test]
fn changes_that_are_sealed_twice_are_both_put_off_on_a_full_disk() {
    let (mut ledger, storage, kv, mut phone, _) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    accepted(&submit(&mut ledger, &phone, &[&root])[0]);
    drop(ledger);
    let mut ledger = on_a_full_disk(&storage, &kv);
    let mut again = phone.clone();
    let edit = phone.edit(&id, "Sama.");
    again.skip_number();
    let resealed = again.edit(&id, "Sama.");
    let verdicts = submit(&mut ledger, &phone, &[&edit, &resealed]);
    assert_eq!(verdicts, [Verdict::Full, Verdict::Full]);
    storage.set_free_bytes(1024 * 1024 * 1024);
    accepted(&submit(&mut ledger, &phone, &[&resealed])[0]);
}

#[test]
fn of_two_changes_under_one_number_the_full_disk_refuses_both() {
    let (mut ledger, storage, kv, mut phone, other) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    accepted(&submit(&mut ledger, &phone, &[&root])[0]);
    drop(ledger);
    let mut ledger = on_a_full_disk(&storage, &kv);
    let mut copy = phone.clone();
    let edit = phone.edit(&id, "Asli.");
    copy.skip_number();
    let branch = copy.edit(&id, "Salinan.");
    let verdicts = submit(&mut ledger, &other, &[&edit, &branch]);
    assert_eq!(verdicts, [Verdict::Full, Verdict::Full]);
    storage.set_free_bytes(1024 * 1024 * 1024);
    let verdicts = submit(&mut ledger, &other, &[&branch, &edit]);
    accepted(&verdicts[0]);
    assert_eq!(rejected(&verdicts[1]), RefusalCode::Fork);
}

#[test]
fn a_failed_sync_is_final_and_nothing_of_the_batch_is_acknowledged() {
    let (mut ledger, storage, kv, mut phone, _) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&root]);
    let head = ledger.reader().watermark();
    let edit = phone.edit(&id, "Gagal.");
    let submission = || Submission {
        carrier: phone.id(),
        run: edit.clone(),
        returned: false,
    };
    // The calls of an append are: free space, write, sync.
    storage.fail_at(3, DiskFault::Io);
    let error = ledger.accept(NOW, vec![submission()]).unwrap_err();
    assert!(matches!(
        error,
        LedgerError::Failed {
            source: Some(_),
            ..
        }
    ));
    assert!(ledger.has_failed());
    assert_eq!(ledger.reader().watermark(), head);
    let error = ledger.accept(NOW, vec![submission()]).unwrap_err();
    assert!(matches!(error, LedgerError::Failed { source: None, .. }));
    assert!(ledger.revoke(NOW, phone.id()).is_err());
    drop(ledger);
    storage.crash(&mut |_| 0);
    let (mut ledger, _) = reopen(&storage, &kv).unwrap();
    accepted(&submit(&mut ledger, &phone, &[&edit])[0]);
}

#[test]
fn outcomes_do_not_depend_on_the_number_of_threads() {
    let outcomes = |threads: usize| {
        let (mut ledger, _, kv, mut one, mut other) = with_officers();
        ledger.options.threads = threads;
        let mut runs = Vec::new();
        for _ in 0..10 {
            let (id, root) = one.create(VILLAGE);
            other.learn(&root);
            runs.push(root);
            runs.push(one.edit(&id, "Satu."));
            runs.push(other.edit(&id, "Dua."));
        }
        let (_, elsewhere) = one.create(OTHER_VILLAGE);
        runs.push(elsewhere);
        let runs: Vec<&CheckedRun> = runs.iter().rev().collect();
        (submit(&mut ledger, &one, &runs), all_rows(&kv))
    };
    assert_eq!(outcomes(1), outcomes(4));
}

#[test]
fn memory_for_documents_follows_its_limit_and_not_their_number() {
    let (mut ledger, storage, kv, mut phone, _) = with_officers();
    let limit = 4 * 12 * 1024;
    ledger.cache = Cache::new(limit);
    let ids: Vec<DocumentId> = (0..20)
        .map(|_| {
            let (id, run) = phone.create(VILLAGE);
            accepted(&submit(&mut ledger, &phone, &[&run])[0]);
            assert!(ledger.cache.bytes() <= limit);
            id
        })
        .collect();
    let edits: Vec<CheckedRun> = ids.iter().map(|id| phone.edit(id, "Lagi.")).collect();
    let edits: Vec<&CheckedRun> = edits.iter().collect();
    submit(&mut ledger, &phone, &edits)
        .iter()
        .for_each(|verdict| {
            accepted(verdict);
        });
    assert!(ledger.cache.bytes() <= limit);
    assert!(ledger.cache.bytes() > 0);
    assert_eq!(all_rows(&kv), rebuilt_rows(&storage));
}

#[test]
fn a_checkpoint_is_signed_every_so_many_records() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    ledger.options.checkpoint_every = 10;
    for _ in 0..25 {
        let (_, run) = phone.create(VILLAGE);
        submit(&mut ledger, &phone, &[&run]);
    }
    let reader = ledger.reader();
    let mut seen = Vec::new();
    for scanned in reader.records.scan(1) {
        let scanned = scanned.unwrap();
        if let Record::Server(signed) = Record::from_bytes(&scanned.record).unwrap()
            && let Fact::Checkpoint(at) = signed.fact()
        {
            assert_eq!(at.position + 1, scanned.position);
            assert_eq!(reader.chain_at(at.position).unwrap(), Some(at.chain));
            seen.push(scanned.position);
        }
    }
    assert_eq!(seen, [11, 22, 33]);
}

#[test]
fn a_run_that_a_revoked_device_carried_first_is_taken_from_the_next_in_the_batch() {
    let (mut ledger, _, _, mut author, revoked) = with_officers();
    ledger.revoke(NOW, revoked.id()).unwrap();
    let (_, run) = author.create(VILLAGE);
    let carried = |by: &Phone| Submission {
        carrier: by.id(),
        run: run.clone(),
        returned: false,
    };
    let batch = vec![carried(&revoked), carried(&author), carried(&revoked)];
    let outcomes = ledger.accept(NOW, batch).unwrap();
    assert_eq!(rejected(&outcomes[0].verdict), RefusalCode::Revoked);
    let position = accepted(&outcomes[1].verdict);
    assert_eq!(
        accepted(&outcomes[2].verdict),
        position,
        "it is held by then"
    );
}

#[test]
fn a_repeat_of_a_run_that_is_not_taken_is_answered_by_who_carries_it() {
    let (mut ledger, _, _, mut author, revoked) = with_officers();
    ledger.revoke(NOW, revoked.id()).unwrap();
    let (id, root) = author.create(VILLAGE);
    submit(&mut ledger, &author, &[&root]);
    let first = author.edit(&id, "Satu.");
    let second = author.edit(&id, "Dua.");
    let batch = [&author, &revoked].map(|by| Submission {
        carrier: by.id(),
        run: second.clone(),
        returned: false,
    });
    let outcomes = ledger.accept(NOW, batch.to_vec()).unwrap();
    assert!(matches!(outcomes[0].verdict, Verdict::Missing(_)));
    assert_eq!(rejected(&outcomes[1].verdict), RefusalCode::Revoked);
    let verdicts = submit(&mut ledger, &author, &[&first, &second]);
    accepted(&verdicts[1]);
}

#[test]
fn a_fork_is_refused_to_who_carries_it_and_stale_to_who_wrote_it_within_one_batch() {
    let (mut ledger, _, _, mut author, other) = with_officers();
    let mut copy = author.clone();
    let (_, held) = author.create(VILLAGE);
    let (_, fork) = copy.create(OTHER_VILLAGE);
    submit(&mut ledger, &author, &[&held]);
    let batch = [&other, &author].map(|by| Submission {
        carrier: by.id(),
        run: fork.clone(),
        returned: false,
    });
    let outcomes = ledger.accept(NOW, batch.to_vec()).unwrap();
    assert_eq!(rejected(&outcomes[0].verdict), RefusalCode::Fork);
    let highest = (1, held.id());
    assert_eq!(outcomes[1].verdict, Verdict::Stale { highest });
}

#[test]
fn a_statement_is_for_everybody_even_if_its_envelope_does_not_say_publish() {
    let (mut ledger, storage, kv, _, _) = with_officers();
    let mut verifier = Phone::new(3);
    enrol(&mut ledger, &verifier, Role::Verifier, "13.76");
    let (id, statement) = verifier.create_kind(DocumentKind::Statement, VILLAGE, false);
    let position = accepted(&submit(&mut ledger, &verifier, &[&statement])[0]);
    let row = ledger.reader().document(&id).unwrap().unwrap();
    assert_eq!(row.entered(Audience::All), Some(position));
    let all = Subscription {
        prefix: scope(VILLAGE),
        audience: Audience::All,
        except: Vec::new(),
    };
    let (_, sums) = ledger.reader().digests(&[all]).unwrap();
    let digest = Digest::of(&id, &verifier.heads(&id));
    assert_eq!(
        sums,
        [ScopeDigest {
            digest,
            documents: 1
        }]
    );
    assert_eq!(all_rows(&kv), rebuilt_rows(&storage));
    let verification = verify(&ledger.reader(), &mut |_| {}).unwrap();
    assert!(verification.is_clean(), "{:?}", verification.findings);
}

#[test]
fn a_device_uses_its_day_up_with_envelopes_too() {
    let (mut ledger, _, kv, mut phone, _) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&root]);
    let size = |run: &CheckedRun| (run.envelope().bytes().len() + run.received_bytes()) as u64;
    let used = reader::quota_row(&*kv, &phone.id()).unwrap();
    assert_eq!(used.bytes, size(&root));
    let edit = phone.edit(&id, "Sunting.");
    let nearly_full = rows::QuotaRow {
        bytes: limits::DEVICE_BYTES_PER_DAY - size(&edit) + 1,
        ..used
    };
    let mut batch = Batch::new();
    batch.put(keys::quota(&phone.id()), rows::encode(&nearly_full));
    kv.apply(&batch).unwrap();
    let verdicts = submit(&mut ledger, &phone, &[&edit]);
    assert_eq!(rejected(&verdicts[0]), RefusalCode::Quota);
}
