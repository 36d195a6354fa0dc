//! The driver over real sockets on this machine, with a ledger in memory behind them.

use std::cell::{Cell, RefCell};

use bukti_core::authority::Role;
use bukti_core::evidence::Edit;
use bukti_core::id::{Incarnation, ServerId};
use bukti_sync_protocol::bye::{Bye, ByeCode};
use bukti_sync_protocol::frame::{self, Challenge, Features, Frame};
use bukti_sync_protocol::server::{Input, ServerSession};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::device::Applicant;
use crate::device::tests::world::{NOW, Phone, WARD, World};
use crate::limits::{REFUSED_RETRY_MS, RETRY_AFTER_MAX_MS, RETURNED_RUNS_MAX};

#[test]
fn pauses_grow_to_a_minute_and_are_spread_below_their_bound() {
    let backoff = Backoff::default();
    let longest = |attempts| {
        let jitters = 0..200_000;
        jitters
            .map(|jitter| backoff.pause_ms(attempts, jitter))
            .max()
    };
    assert_eq!(longest(1), Some(1_000));
    assert_eq!(longest(2), Some(2_000));
    assert_eq!(longest(6), Some(32_000));
    assert_eq!(longest(7), Some(60_000));
    assert_eq!(longest(u32::MAX), Some(60_000));
    assert_eq!(backoff.pause_ms(9, 0), 0);
}

/// Serves one connection after the other, each cut after as many frames as `cuts` says.
async fn serve(world: &RefCell<World>, listener: &TcpListener, cuts: impl Fn(u32) -> usize) {
    for connection in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut socket) = accept_async(stream).await else {
            continue;
        };
        let nonce = u8::try_from(connection % 250).unwrap();
        let mut session = ServerSession::new([nonce; 32], 0);
        let mut left = cuts(connection);
        'frames: while let Some(Ok(message)) = socket.next().await {
            let Message::Binary(frame) = message else {
                continue;
            };
            let answers = world.borrow_mut().drive(&mut session, Input::Frame(&frame));
            for answer in answers {
                if left == 0 {
                    break 'frames;
                }
                left -= 1;
                if socket.send(Message::Binary(answer.into())).await.is_err() {
                    break 'frames;
                }
            }
        }
    }
}

/// Ends every connection at its first frame.
async fn refuse(listener: &TcpListener, bye: Bye) {
    answer(listener, Frame::Bye(bye)).await;
}

/// Answers the first frame of every connection.
async fn answer(listener: &TcpListener, frame: Frame) {
    let frame = frame::encode(&frame, Features::default());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        socket.next().await.unwrap().unwrap();
        let frame = Message::Binary(frame.clone().into());
        socket.send(frame).await.unwrap();
        // Until the device has read it.
        while let Some(Ok(_)) = socket.next().await {}
    }
}

/// Serves one connection until it is to be silent: then nothing is read or sent, and nothing says
/// that it ended. Counts the pings.
async fn fall_silent(
    world: &RefCell<World>,
    listener: &TcpListener,
    is_silent: &Cell<bool>,
    pings: &Cell<u32>,
) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut socket = accept_async(stream).await.unwrap();
    let mut session = ServerSession::new([1; 32], 0);
    while let Some(Ok(message)) = socket.next().await {
        if is_silent.get() {
            break;
        }
        let frame = match message {
            Message::Binary(frame) => frame,
            Message::Ping(_) => {
                pings.set(pings.get() + 1);
                continue;
            }
            _ => continue,
        };
        let answers = world.borrow_mut().drive(&mut session, Input::Frame(&frame));
        for answer in answers {
            socket.send(Message::Binary(answer.into())).await.unwrap();
        }
    }
    std::future::pending::<()>().await;
}

async fn listening(world: &mut World) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.url = format!("http://{}", listener.local_addr().unwrap());
    listener
}

/// Runs `work` while the server serves.
async fn beside<T>(server: impl Future<Output = ()>, work: impl Future<Output = T>) -> T {
    tokio::select! {
        () = server => panic!("the server never ends"),
        done = work => done,
    }
}

fn settings() -> Settings {
    Settings {
        attempts_max: 2,
        backoff: Backoff {
            first_ms: 1,
            max_ms: 2,
        },
        ..Settings::new("test")
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_device_enrols_and_syncs_over_connections_that_are_cut() {
    let mut world = World::new();
    let listener = listening(&mut world).await;
    let link = world.link([4; 16]);
    world.invite([4; 16], "Siti", Role::Officer, WARD);
    let mut phone = Phone::empty();
    let world = RefCell::new(world);
    let applicant = Applicant::open(phone.folders(), &link, [5; 32]).unwrap();
    let work = async {
        let enrolment = enrol(&applicant, &link).await.unwrap();
        let (life, rows) = (Incarnation([6; 16]), phone.close());
        phone.device = Some(applicant.finish(rows, &enrolment, life).unwrap());
        let id = world.borrow_mut().create(&mut phone, "Papan");
        let text = [Edit::Narrative("Dipasang di depan kantor. ".repeat(400))];
        phone.device().edit(NOW, &id, &text).unwrap();
        let mut cuts = 0;
        let mut progress = |progress: Progress<'_>| {
            cuts += u32::from(matches!(progress, Progress::Cut { .. }));
        };
        let synced = sync_once(phone.device(), &settings(), &mut progress)
            .await
            .unwrap();
        assert!(cuts >= 2, "{cuts}");
        assert_eq!(synced.traffic.connections, cuts + 1);
        assert!(synced.traffic.bytes_sent > 0 && synced.traffic.bytes_received > 0);
        assert_eq!(phone.device().unsent(), 0);
        assert!(
            world
                .borrow()
                .ledger
                .reader()
                .document(&id)
                .unwrap()
                .is_some()
        );
    };
    beside(serve(&world, &listener, |at| 1 + at as usize), work).await;
}

#[tokio::test(flavor = "current_thread")]
async fn without_a_server_everything_is_kept_and_that_is_said() {
    let mut world = World::new();
    let listener = listening(&mut world).await;
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut phone, "Papan");
    drop(listener);
    let failed = sync_once(phone.device(), &settings(), &mut |_| {}).await;
    assert!(
        matches!(failed, Err(SyncError::NotReached { .. })),
        "{failed:?}"
    );
    assert_eq!(phone.device().unsent(), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn a_link_that_is_cut_before_anything_is_learned_is_given_up_in_the_end() {
    let mut world = World::new();
    let listener = listening(&mut world).await;
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let world = RefCell::new(world);
    let settings = settings();
    let mut ignored = |_: Progress<'_>| {};
    let sync = sync_once(phone.device(), &settings, &mut ignored);
    let failed = beside(serve(&world, &listener, |_| 0), sync).await;
    assert!(
        matches!(failed, Err(SyncError::Interrupted { .. })),
        "{failed:?}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_revoked_device_is_refused_and_does_not_try_again() {
    let mut world = World::new();
    let listener = listening(&mut world).await;
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let device = phone.device().id();
    world.ledger.revoke(NOW, device).unwrap();
    let world = RefCell::new(world);
    let settings = settings();
    let mut ignored = |_: Progress<'_>| {};
    let sync = sync_once(phone.device(), &settings, &mut ignored);
    let refused = beside(serve(&world, &listener, |_| usize::MAX), sync).await;
    let Err(SyncError::Refused(bye)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(bye.code, ByeCode::Revoked);
    assert!(phone.device().status().unwrap().revoked);
}

#[tokio::test(flavor = "current_thread")]
async fn a_watch_tries_again_where_somebody_without_proof_says_that_it_may_not() {
    let mut world = World::new();
    let listener = listening(&mut world).await;
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut phone, "Papan");
    let settings = settings();
    let challenge = Challenge {
        nonce: [1; 32],
        server: ServerId([7; 32]),
        journal: phone.device().identity().journal(),
    };
    let said = [
        Frame::Bye(Bye::revoked()),
        Frame::Bye(Bye::new(ByeCode::Unauthorised, "Enrol again.")),
        Frame::Bye(Bye::new(ByeCode::Version, "Update the program.")),
        Frame::Challenge(challenge),
    ];
    for frame in said {
        let (requests, mut asked) = mpsc::channel(1);
        let mut requests = Some(requests);
        let mut cuts = Vec::new();
        let mut progress = |progress: Progress<'_>| {
            if let Progress::Cut { pause, reason } = progress {
                cuts.push((pause, reason.to_owned()));
                requests = None;
            }
        };
        let watching = watch(phone.device(), &settings, &mut progress, &mut asked);
        let goes_on = beside(answer(&listener, frame.clone()), watching).await;
        assert!(goes_on.is_ok(), "{frame:?}: {goes_on:?}");
        let [(pause, reason)] = &cuts[..] else {
            panic!("{frame:?}: {cuts:?}");
        };
        assert_eq!(pause.as_millis(), u128::from(REFUSED_RETRY_MS), "{frame:?}");

        let mut ignore = |_: Progress<'_>| {};
        let syncing = sync_once(phone.device(), &settings, &mut ignore);
        let refused = beside(answer(&listener, frame.clone()), syncing).await;
        let Err(SyncError::Refused(bye)) = refused else {
            panic!("{frame:?}: {refused:?}");
        };
        assert_eq!(bye.sentence, *reason);
    }
    assert!(!phone.device().is_revoked());
    assert_eq!(phone.device().unsent(), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn a_revocation_without_proof_is_told_as_what_was_said_at_the_address() {
    let mut world = World::new();
    let listener = listening(&mut world).await;
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let settings = settings();
    let mut learned = Vec::new();
    let mut progress = |progress: Progress<'_>| {
        if let Progress::Learned(Event::Bye(bye), _) = progress {
            learned.push(bye.sentence.clone());
        }
    };
    let sync = sync_once(phone.device(), &settings, &mut progress);
    let refused = beside(refuse(&listener, Bye::revoked()), sync).await;
    let said = refused.unwrap_err().to_string();
    let expected = format!(
        "Whoever answers at {} says that this device was revoked, without a statement that the \
         server signed.",
        world.url
    );
    assert_eq!(said, expected);
    assert_eq!(learned, [expected]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_revocation_that_the_server_signed_ends_a_watch() {
    let mut world = World::new();
    let listener = listening(&mut world).await;
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let device = phone.device().id();
    world.ledger.revoke(NOW, device).unwrap();
    let world = RefCell::new(world);
    // Bounds a failure; nothing here takes so long.
    let settings = Settings {
        deadline: Some(Duration::from_secs(30)),
        ..settings()
    };
    let (_requests, mut asked) = mpsc::channel(1);
    let mut ignore = |_: Progress<'_>| {};
    let watching = watch(phone.device(), &settings, &mut ignore, &mut asked);
    let ended = beside(serve(&world, &listener, |_| usize::MAX), watching).await;
    let said = ended.unwrap_err().to_string();
    assert_eq!(said, Bye::revoked().sentence);
}

#[tokio::test(flavor = "current_thread")]
async fn a_link_on_which_nothing_comes_any_more_is_noticed() {
    let mut world = World::new();
    let listener = listening(&mut world).await;
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let world = RefCell::new(world);
    let settings = Settings {
        quiet: Duration::from_millis(20),
        // Bounds a failure; nothing here takes so long.
        deadline: Some(Duration::from_secs(30)),
        ..settings()
    };
    let (requests, mut asked) = mpsc::channel(1);
    let mut requests = Some(requests);
    let (asks, mut answer) = oneshot::channel();
    let mut asks = Some(asks);
    let (is_silent, pings) = (Cell::new(false), Cell::new(0));
    let mut cuts = Vec::new();
    let mut progress = |progress: Progress<'_>| match progress {
        Progress::Learned(Event::UpToDate { .. }, _) => {
            is_silent.set(true);
            if let Some(asks) = asks.take() {
                let ask = requests.as_ref().unwrap().try_send(Request::Ask(asks));
                ask.unwrap();
            }
        }
        Progress::Cut { reason, .. } => {
            cuts.push(reason.to_owned());
            requests = None;
        }
        _ => {}
    };
    let watching = watch(phone.device(), &settings, &mut progress, &mut asked);
    let server = fall_silent(&world, &listener, &is_silent, &pings);
    let ended = beside(server, watching).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(cuts, ["nothing comes from the server any more"]);
    assert_eq!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed));
}

#[tokio::test(flavor = "current_thread")]
async fn a_link_on_which_the_server_answers_stays_and_whoever_asked_is_told() {
    let mut world = World::new();
    let listener = listening(&mut world).await;
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let world = RefCell::new(world);
    let settings = Settings {
        quiet: Duration::from_millis(20),
        // Bounds a failure; nothing here takes so long.
        deadline: Some(Duration::from_secs(30)),
        ..settings()
    };
    let (requests, mut asked) = mpsc::channel(1);
    let (asks, mut answer) = oneshot::channel();
    requests.try_send(Request::Ask(asks)).unwrap();
    let mut requests = Some(requests);
    let (is_silent, pings) = (Cell::new(false), Cell::new(0));
    let mut is_told = false;
    let mut progress = |progress: Progress<'_>| {
        if let Progress::Traffic { .. } = progress {
            is_told = is_told || answer.try_recv().is_ok();
            if is_told && pings.get() > 3 {
                requests = None;
            }
        }
    };
    let watching = watch(phone.device(), &settings, &mut progress, &mut asked);
    let server = fall_silent(&world, &listener, &is_silent, &pings);
    let ended = beside(server, watching).await.unwrap();
    assert_eq!(ended.traffic.connections, 1);
    assert!(is_told && pings.get() > 3);
}

#[tokio::test(flavor = "current_thread")]
async fn a_single_sync_does_not_wait_until_somebody_has_repaired_the_server() {
    let mut world = World::new();
    let listener = listening(&mut world).await;
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    // Bounds a failure; nothing here takes so long.
    let settings = Settings {
        deadline: Some(Duration::from_secs(30)),
        ..settings()
    };
    let bye = Bye::new(ByeCode::Fault, "A record cannot be read.");
    for (after_ms, expected) in [(1, 1), (REPAIR_RETRY_MS, 0)] {
        let mut pauses = 0;
        let mut progress = |progress: Progress<'_>| {
            pauses += u32::from(matches!(progress, Progress::Cut { .. }));
        };
        let sync = sync_once(phone.device(), &settings, &mut progress);
        let failed = beside(refuse(&listener, bye.clone().retry_after(after_ms)), sync).await;
        let Err(SyncError::Interrupted { reason, .. }) = failed else {
            panic!("{failed:?}");
        };
        assert_eq!((pauses, &reason), (expected, &bye.sentence));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_server_puts_the_next_attempt_off_by_an_hour_at_most() {
    let mut world = World::new();
    let listener = listening(&mut world).await;
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let settings = settings();
    let (requests, mut asked) = mpsc::channel(1);
    let mut requests = Some(requests);
    let mut pauses = Vec::new();
    let mut progress = |progress: Progress<'_>| {
        if let Progress::Cut { pause, .. } = progress {
            pauses.push(pause);
            requests = None;
        }
    };
    let watching = watch(phone.device(), &settings, &mut progress, &mut asked);
    let bye = Bye::new(ByeCode::Busy, "Come back later.").retry_after(u64::MAX);
    beside(refuse(&listener, bye), watching).await.unwrap();
    assert_eq!(pauses, [Duration::from_millis(RETRY_AFTER_MAX_MS)]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_watch_sends_what_is_entered_meanwhile_and_ends_when_nobody_asks_any_more() {
    let mut world = World::new();
    let listener = listening(&mut world).await;
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut phone, "Papan");
    let world = RefCell::new(world);
    let settings = settings();
    let (requests, mut asked) = mpsc::channel(1);
    let mut requests = Some(requests);
    let mut entered = false;
    let mut progress = |progress: Progress<'_>| {
        let Progress::Traffic { unsent: 0, .. } = progress else {
            return;
        };
        if !entered {
            entered = true;
            let edit = Request::Work(Box::new(move |device| {
                let edits = [Edit::Title("Papan informasi".into())];
                device.edit(NOW, &id, &edits).unwrap().unwrap();
            }));
            requests.as_ref().unwrap().try_send(edit).ok().unwrap();
        } else if world.borrow().ledger.reader().envelopes(&id).unwrap().len() == 2 {
            requests = None;
        }
    };
    let watching = watch(phone.device(), &settings, &mut progress, &mut asked);
    beside(serve(&world, &listener, |_| usize::MAX), watching)
        .await
        .unwrap();
    assert_eq!(phone.device().unsent(), 0);
}

#[tokio::test(flavor = "current_thread")]
async fn whoever_asks_for_an_attempt_does_not_wait_for_the_end_of_a_pause() {
    let mut world = World::new();
    // The port is free again once its listener is dropped, and nobody answers there.
    drop(listening(&mut world).await);
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let settings = settings();
    let (requests, mut asked) = mpsc::channel(1);
    let mut requests = Some(requests);
    let mut attempts = 0;
    let mut progress = |progress: Progress<'_>| {
        let Progress::Cut { .. } = progress else {
            return;
        };
        attempts += 1;
        match attempts {
            // By then a pause takes half a minute on average.
            20 => requests = None,
            _ => requests
                .as_ref()
                .unwrap()
                .try_send(Request::TryNow)
                .unwrap(),
        }
    };
    let started = std::time::Instant::now();
    watch(phone.device(), &settings, &mut progress, &mut asked)
        .await
        .unwrap();
    assert_eq!(attempts, 20);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "current_thread")]
async fn a_sync_ends_by_itself_though_edits_are_received_while_lost_documents_are_given_back() {
    let mut world = World::new();
    let listener = listening(&mut world).await;
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut phone, "Papan");
    world.sync(&mut phone);
    let backup = world.journal.duplicate();
    let ids: Vec<_> = (0..2 * RETURNED_RUNS_MAX)
        .map(|number| world.create(&mut phone, &format!("Baru {number}")))
        .collect();
    world.sync(&mut phone);
    world.restore(backup);
    for id in &ids {
        let edit = [Edit::AddRow("1.1".into())];
        phone.device().edit(NOW, id, &edit).unwrap();
    }
    let world = RefCell::new(world);
    // Bounds a failure; nothing here takes so long.
    let settings = Settings {
        deadline: Some(Duration::from_secs(120)),
        ..settings()
    };
    let mut ignore = |_: Progress<'_>| {};
    let work = sync_once(phone.device(), &settings, &mut ignore);
    let synced = beside(serve(&world, &listener, |_| usize::MAX), work).await;
    assert_eq!(synced.unwrap().traffic.connections, 1);
    assert_eq!(phone.device().unsent(), 0);
}

#[tokio::test(flavor = "current_thread")]
async fn a_watch_ends_when_somebody_elses_work_met_a_failing_disk() {
    for is_connected in [true, false] {
        let mut world = World::new();
        let listener = listening(&mut world).await;
        let mut siti = world.phone("Siti", Role::Officer, WARD);
        let id = world.create(&mut siti, "Papan");
        let tail = siti.tail.clone();
        let (sender, mut requests) = mpsc::channel(1);
        let mut work: Option<Work<_, _>> = Some(Box::new(move |device: &mut _| {
            let device: &mut crate::device::tests::world::TestDevice = device;
            tail.fail_at(1, bukti_core::journal::memory::Fault::Io);
            let edit = [Edit::Narrative("Hilang.".into())];
            assert!(device.edit(NOW, &id, &edit).is_err());
        }));
        let mut progress = |progress: Progress<'_>| {
            let is_due = match progress {
                Progress::Traffic { done, .. } => is_connected && done,
                Progress::Cut { .. } => !is_connected,
                _other => false,
            };
            if is_due && let Some(work) = work.take() {
                let sent = sender.try_send(Request::Work(work));
                assert!(sent.is_ok(), "one request has room");
            }
        };
        let settings = settings();
        let watching = watch(siti.device(), &settings, &mut progress, &mut requests);
        let ended = if is_connected {
            let world = RefCell::new(world);
            let server = serve(&world, &listener, |_| usize::MAX);
            beside(server, watching).await
        } else {
            drop(listener);
            watching.await
        };
        let error = ended.expect_err("the device is not sound any more");
        assert!(matches!(error, SyncError::Device(_)), "{error}");
    }
}
