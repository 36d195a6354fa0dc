use bukti_core::ledger::testing::Phone;

use super::*;

/// As many sessions of one device as a server takes by default.
const SESSIONS: usize = 4;

fn queue<A>() -> Queue<A> {
    Queue::new(SESSIONS)
}

/// Runs that a device carries, each of a document of its own.
fn submissions(device: u64, count: usize) -> Vec<Submission> {
    let mut phone = Phone::new(device);
    let carrier = phone.id();
    let mut create = || Submission {
        carrier,
        run: phone.create("13.07.05.2001").1,
        returned: false,
    };
    (0..count).map(|_| create()).collect()
}

fn taken(queue: &Queue<()>, documents_max: usize) -> Vec<SessionId> {
    match queue.take(documents_max) {
        Work::Accept(batch) => batch.into_iter().map(|(session, _)| session).collect(),
        Work::Administer(()) | Work::Closed => Vec::new(),
    }
}

#[test]
fn a_small_sender_waits_for_one_turn_of_a_large_one() {
    let queue = queue::<()>();
    let (large, small) = (SessionId(1), SessionId(2));
    queue.submit(large, submissions(1, 5)).unwrap();
    queue.submit(small, submissions(2, 1)).unwrap();
    assert_eq!(
        taken(&queue, usize::MAX),
        [large, small, large, large, large, large]
    );
    assert_eq!(queue.depth(), 0);
}

/// Each by itself would be proven anew. Other documents between them would wait for their own if they
/// were passed over.
#[test]
fn a_turn_takes_what_follows_of_one_document_up_to_a_bound() {
    let queue = queue::<()>();
    let (large, small) = (SessionId(1), SessionId(2));
    let mut phone = Phone::new(1);
    let carrier = phone.id();
    let (document, created) = phone.create("13.07.05.2001");
    let (between, begun) = phone.create("13.07.05.2001");
    let mut runs = vec![created];
    runs.extend((0..2 * TURN_RUNS_MAX).map(|at| phone.edit(&document, &format!("Baris {at}."))));
    runs.insert(4, begun);
    runs.insert(6, phone.edit(&between, "Rapat ditutup."));
    let submission = |run| Submission {
        carrier,
        run,
        returned: false,
    };
    let ids: Vec<_> = runs.iter().map(|run| run.id()).collect();
    queue
        .submit(large, runs.into_iter().map(submission).collect())
        .unwrap();
    queue.submit(small, submissions(2, 6)).unwrap();
    let Work::Accept(batch) = queue.take(usize::MAX) else {
        panic!("runs wait")
    };
    let sessions: Vec<_> = batch.iter().map(|(session, _)| *session).collect();
    let turns: Vec<usize> = sessions
        .split(|session| *session == small)
        .map(<[_]>::len)
        .collect();
    assert_eq!(turns[..6], [4, 1, 1, 1, TURN_RUNS_MAX, TURN_RUNS_MAX - 4]);
    let of_large = batch.iter().filter(|(session, _)| *session == large);
    assert_eq!(
        of_large.map(|(_, run)| run.run.id()).collect::<Vec<_>>(),
        ids
    );
    assert_eq!(queue.depth(), 0);
}

#[test]
fn of_many_devices_each_has_a_turn_in_a_batch_however_much_follows_of_one_document() {
    let queue = queue::<()>();
    let devices = limits::GROUP_RECORDS_MAX as u64 / 4;
    for device in 1..=devices {
        let mut phone = Phone::new(device);
        let carrier = phone.id();
        let (document, created) = phone.create("13.07.05.2001");
        let mut runs = vec![created];
        runs.extend((0..5).map(|at| phone.edit(&document, &format!("Baris {at}."))));
        let submission = |run| Submission {
            carrier,
            run,
            returned: false,
        };
        let runs = runs.into_iter().map(submission).collect();
        queue.submit(SessionId(device), runs).unwrap();
    }
    let each = (1..=devices).flat_map(|device| [SessionId(device); 4]);
    assert_eq!(taken(&queue, usize::MAX), each.collect::<Vec<_>>());
}

#[test]
fn runs_of_one_session_keep_their_order() {
    let queue = queue::<()>();
    let runs = submissions(1, 20);
    let ids: Vec<_> = runs.iter().map(|submission| submission.run.id()).collect();
    queue.submit(SessionId(1), runs).unwrap();
    let Work::Accept(batch) = queue.take(usize::MAX) else {
        panic!("runs wait")
    };
    assert_eq!(
        batch
            .iter()
            .map(|(_, run)| run.run.id())
            .collect::<Vec<_>>(),
        ids
    );
}

#[test]
fn a_batch_ends_at_its_limit_and_requests_go_first() {
    let queue = queue();
    queue
        .submit(SessionId(1), submissions(1, limits::GROUP_RECORDS_MAX + 1))
        .unwrap();
    queue.request(Asker::Session, ()).unwrap();
    assert!(matches!(queue.take(usize::MAX), Work::Administer(())));
    assert_eq!(taken(&queue, usize::MAX).len(), limits::GROUP_RECORDS_MAX);
    assert_eq!(taken(&queue, usize::MAX).len(), 1);
}

#[test]
fn a_batch_ends_at_its_documents_and_the_next_goes_on_with_whose_turn_it_is() {
    let queue = queue::<()>();
    let (large, small) = (SessionId(1), SessionId(2));
    let mut phone = Phone::new(3);
    let (document, created) = phone.create("13.07.05.2001");
    let edited = phone.edit(&document, "Rapat ditutup.");
    let carrier = phone.id();
    let one = [created, edited].map(|run| Submission {
        carrier,
        run,
        returned: false,
    });
    queue.submit(large, submissions(1, 2)).unwrap();
    queue.submit(small, one.to_vec()).unwrap();
    // A second run of a document that is in the batch costs no further one.
    assert_eq!(taken(&queue, 2), [large, small, small]);
    assert_eq!(taken(&queue, 2), [large]);
}

#[test]
fn requests_and_batches_take_turns() {
    let queue = queue();
    for _ in 0..2 {
        queue.request(Asker::Session, ()).unwrap();
    }
    queue.submit(SessionId(1), submissions(1, 1)).unwrap();
    assert!(matches!(queue.take(usize::MAX), Work::Administer(())));
    assert_eq!(taken(&queue, usize::MAX), [SessionId(1)]);
    assert!(matches!(queue.take(usize::MAX), Work::Administer(())));
}

#[test]
fn what_waits_is_bounded_and_a_forgotten_session_makes_room() {
    let queue = queue();
    for _ in 0..REQUESTS_MAX {
        queue.request(Asker::Session, ()).unwrap();
    }
    assert_eq!(queue.request(Asker::Session, ()), Err(Unqueued::Crowded));
    let run = submissions(1, 1).remove(0);
    let of = |device: u64, count: usize| {
        let carrier = DeviceId([device as u8; 32]);
        let one = Submission {
            carrier,
            ..run.clone()
        };
        (SessionId(device), vec![one; count])
    };
    let each = Share::of(SESSIONS).runs;
    let devices = (WAITING_RUNS_MAX / each) as u64;
    for device in 0..devices {
        let (session, many) = of(device, each);
        queue.submit(session, many).unwrap();
    }
    let (session, rest) = of(devices, WAITING_RUNS_MAX % each);
    queue.submit(session, rest).unwrap();
    let one_more = || {
        let (session, one) = of(devices + 1, 1);
        queue.submit(session, one)
    };
    assert_eq!(one_more(), Err(Unqueued::Crowded));
    queue.forget(DeviceId([0; 32]), SessionId(0));
    assert_eq!(
        (queue.depth(), one_more()),
        (WAITING_RUNS_MAX - each, Ok(()))
    );
}

#[test]
fn a_session_that_sends_again_while_it_waits_has_one_turn() {
    let queue = queue::<()>();
    let (large, small) = (SessionId(1), SessionId(2));
    let mut first = submissions(1, 3);
    let later = first.split_off(1);
    queue.submit(large, first).unwrap();
    queue.submit(large, later).unwrap();
    queue.submit(small, submissions(2, 1)).unwrap();
    assert_eq!(taken(&queue, usize::MAX), [large, small, large, large]);
}

#[test]
fn nothing_of_a_forgotten_session_is_given_out() {
    let queue = queue::<()>();
    let (gone, other) = (SessionId(1), SessionId(2));
    queue.submit(gone, submissions(1, 2)).unwrap();
    queue.submit(other, submissions(2, 1)).unwrap();
    queue.forget(DeviceId([9; 32]), gone);
    assert_eq!(queue.depth(), 3, "of another device");
    queue.forget(submissions(1, 1)[0].carrier, gone);
    assert_eq!(taken(&queue, usize::MAX), [other]);
}

/// A run of about 30 KiB, however it is compressed.
fn large_submission() -> Submission {
    let mut phone = Phone::new(2);
    let (document, _) = phone.create("13.07.05.2001");
    let mut state = 1_u64;
    let mut letter = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'!' + (state >> 33) as u8 % 90)
    };
    let text: String = (0..40_000).map(|_| letter()).collect();
    Submission {
        carrier: phone.id(),
        run: phone.edit(&document, &text),
        returned: false,
    }
}

#[test]
fn bytes_that_wait_are_bounded_and_make_room_once_taken_or_forgotten() {
    let queue = queue::<()>();
    let large = large_submission();
    let each = large.run.received_bytes();
    let of = |device: u8, count: usize| {
        let carrier = DeviceId([device; 32]);
        let one = Submission {
            carrier,
            ..large.clone()
        };
        queue.submit(SessionId(device.into()), vec![one; count])
    };
    let share = Share::of(SESSIONS).bytes / each;
    let (fit, full) = (WAITING_BYTES_MAX / each, WAITING_BYTES_MAX / each / share);
    assert!(fit < WAITING_RUNS_MAX / 10, "{each} bytes");
    let full = u8::try_from(full).unwrap();
    for device in 0..full {
        of(device, share).unwrap();
    }
    of(full, fit % share).unwrap();
    let mut others = (full + 1..=u8::MAX).cycle();
    let mut more = || of(others.next().unwrap(), 1);
    assert_eq!(more(), Err(Unqueued::Crowded));

    // A batch ends where its bytes are as many as one group of the journal holds.
    let batch = taken(&queue, usize::MAX).len();
    assert!(batch < limits::GROUP_RECORDS_MAX);
    assert_eq!(batch, limits::GROUP_BYTES.div_ceil(each));
    for _ in 0..batch {
        more().unwrap();
    }
    assert_eq!(more(), Err(Unqueued::Crowded));

    let before = queue.depth();
    queue.forget(DeviceId([0; 32]), SessionId(0));
    for _ in queue.depth()..before {
        more().unwrap();
    }
    assert_eq!(more(), Err(Unqueued::Crowded));
}

#[test]
fn a_device_with_many_sessions_has_one_turn() {
    let queue = queue::<()>();
    for session in 1..=50 {
        queue.submit(SessionId(session), submissions(1, 2)).unwrap();
    }
    let small = SessionId(99);
    queue.submit(small, submissions(2, 2)).unwrap();
    let order = taken(&queue, usize::MAX);
    assert_eq!(order[..4], [SessionId(1), small, SessionId(1), small]);
    // What sessions left behind is judged all the same, the oldest first.
    assert_eq!(order[4..8], [2, 2, 3, 3].map(SessionId));
    assert_eq!(order.len(), 102);
}

#[test]
fn a_device_that_fills_its_share_is_told_so_and_nobody_else_is() {
    let share = Share::of(SESSIONS);
    let small = submissions(1, 1).remove(0);
    let large = Submission {
        carrier: small.carrier,
        ..large_submission()
    };
    let by_bytes = share.bytes / large.run.received_bytes();
    for (one, most) in [(large, by_bytes), (small, share.runs)] {
        let queue = queue::<()>();
        let mut session = 0;
        let mut more = || {
            session += 1;
            queue.submit(SessionId(session), vec![one.clone()])
        };
        for _ in 0..most {
            more().unwrap();
        }
        assert_eq!(more(), Err(Unqueued::Ahead), "after {most}");
        let other = || queue.submit(SessionId(0), submissions(2, 1));
        assert_eq!((other(), other()), (Ok(()), Ok(())));

        // Room comes back as its runs are taken, and when they are forgotten.
        let batch = taken(&queue, usize::MAX);
        let of_others = batch.iter().filter(|session| **session == SessionId(0));
        for _ in of_others.count()..batch.len() {
            more().unwrap();
        }
        assert_eq!(more(), Err(Unqueued::Ahead), "after {most}");
        queue.forget(one.carrier, SessionId(most as u64));
        assert_eq!((more(), more()), (Ok(()), Err(Unqueued::Ahead)));
    }
}

#[test]
fn forgetting_a_session_keeps_what_others_of_its_device_sent() {
    let queue = queue::<()>();
    let (copied, other) = (SessionId(1), SessionId(2));
    queue.submit(copied, submissions(1, 2)).unwrap();
    queue.submit(other, submissions(1, 1)).unwrap();
    queue.submit(copied, submissions(1, 1)).unwrap();
    queue.forget(submissions(1, 1)[0].carrier, copied);
    assert_eq!(queue.depth(), 1);
    assert_eq!(taken(&queue, usize::MAX), [other]);
}

#[test]
fn a_devices_share_holds_what_its_sessions_may_send_and_never_the_whole() {
    let one = Share::of(1);
    assert!(one.bytes >= limits::RUN_BYTES_MAX, "the largest run fits");
    assert_eq!(Share::of(4).bytes, 4 * one.bytes);
    assert_eq!(Share::of(4).runs, 4 * one.runs);
    let most = Share::of(1_000);
    assert_eq!(most.bytes * DEVICE_PART, WAITING_BYTES_MAX);
    assert_eq!(most.runs * DEVICE_PART, WAITING_RUNS_MAX);
}

#[test]
fn a_closed_queue_gives_out_what_waits_and_takes_no_more() {
    let queue = queue::<()>();
    queue.submit(SessionId(1), submissions(1, 1)).unwrap();
    queue.close();
    assert_eq!(
        queue.submit(SessionId(1), submissions(1, 1)),
        Err(Unqueued::Closed)
    );
    assert_eq!(queue.request(Asker::Session, ()), Err(Unqueued::Closed));
    assert_eq!(taken(&queue, usize::MAX), [SessionId(1)]);
    assert!(matches!(queue.take(usize::MAX), Work::Closed));
}

/// Who was served comes behind all others and who was not before them, so that nobody waits for more
/// than one turn of whoever brings what takes long.
#[test]
fn what_is_put_back_keeps_its_order_and_comes_before_others_where_its_device_was_not_served() {
    let queue = queue::<()>();
    let (failing, honest, elsewhere) = (SessionId(1), SessionId(2), SessionId(3));
    let own = submissions(1, 5);
    let ids: Vec<_> = own.iter().map(|submission| submission.run.id()).collect();
    queue.submit(failing, own).unwrap();
    queue.submit(honest, submissions(2, 1)).unwrap();
    queue.submit(elsewhere, submissions(3, 3)).unwrap();
    let Work::Accept(mut batch) = queue.take(4) else {
        panic!("runs wait")
    };
    let order: Vec<_> = batch.iter().map(|(session, _)| *session).collect();
    assert_eq!(order, [failing, honest, elsewhere, failing]);
    // The first is refused and the third accepted.
    let served = [batch.remove(2), batch.remove(0)];
    let served = served.into_iter().map(|(_, run)| run.carrier).collect();
    queue.put_back(batch, &served);
    assert_eq!(queue.depth(), 7);
    let Work::Accept(batch) = queue.take(usize::MAX) else {
        panic!("runs wait")
    };
    let order: Vec<_> = batch.iter().map(|(session, _)| *session).collect();
    assert_eq!(order[..3], [honest, elsewhere, failing]);
    let of_failing = batch.iter().filter(|(session, _)| *session == failing);
    let kept: Vec<_> = of_failing.map(|(_, run)| run.run.id()).collect();
    assert_eq!(kept, ids[1..]);
    assert_eq!(queue.depth(), 0);
}

#[test]
fn what_is_put_back_counts_as_what_waits() {
    let queue = queue::<()>();
    let share = Share::of(SESSIONS).runs;
    let one = submissions(1, 1).remove(0);
    queue
        .submit(SessionId(1), vec![one.clone(); share])
        .unwrap();
    let Work::Accept(batch) = queue.take(usize::MAX) else {
        panic!("runs wait")
    };
    queue.put_back(batch, &BTreeSet::new());
    let one = vec![one];
    assert_eq!(queue.submit(SessionId(1), one), Err(Unqueued::Ahead));
}

#[test]
fn the_office_is_not_kept_out_by_sessions_and_goes_first() {
    let queue = queue();
    for _ in 0..REQUESTS_MAX {
        queue.request(Asker::Session, "session").unwrap();
    }
    assert_eq!(
        queue.request(Asker::Session, "session"),
        Err(Unqueued::Crowded)
    );
    queue.request(Asker::Office, "office").unwrap();
    assert!(matches!(queue.take(usize::MAX), Work::Administer("office")));
    assert!(matches!(
        queue.take(usize::MAX),
        Work::Administer("session")
    ));
}
