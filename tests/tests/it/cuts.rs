//! Links that go silent and a queue that is full, with a server in this process: its ledger can be
//! made to wait.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bukti_core::authority::{Grant, Role};
use bukti_core::id::{DeviceId, Incarnation, RunId};
use bukti_core::record::{Invitation, invitation_hash};
use bukti_hostile::dice::Dice;
use bukti_hostile::pen::{Pen, Sealed};
use bukti_server::accepting::{Accepting, Asker};
use bukti_server::app::{App, Partials};
use bukti_server::clock::wall_now;
use bukti_server::config::Config;
use bukti_server::folder::Folder;
use bukti_server::http;
use bukti_server::metrics::Metrics;
use bukti_server::scrub::Scrubbing;
use bukti_server::sessions::Sessions;
use bukti_server::sockets::Sockets;
use bukti_server::walks::Walks;
use bukti_sync_protocol::bye::{Bye, ByeCode};
use bukti_sync_protocol::deflate::pack;
use bukti_sync_protocol::fragment::{Held, Splitter};
use bukti_sync_protocol::frame::{Features, Frame, Hello, Holding, Push, decode, encode};
use bukti_sync_protocol::item::PushItem;
use bukti_sync_protocol::limits;
use bukti_sync_protocol::room::Room;
use bukti_sync_protocol::token::TokenKey;
use bukti_tests::wire::{Heard, Wire};
use ed25519_dalek::SigningKey;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::field::VILLAGE;

/// A server that takes devices, and nothing else.
pub(crate) struct Within {
    pub(crate) app: Arc<App>,
    pub(crate) address: SocketAddr,
    /// Cancelled if its ledger fails.
    pub(crate) failed: CancellationToken,
    thread: JoinHandle<()>,
    folder: TempDir,
}

impl Within {
    pub(crate) async fn open(connections_per_device_max: usize) -> Self {
        Self::open_in(tempfile::tempdir().unwrap(), connections_per_device_max).await
    }

    pub(crate) async fn open_in(folder: TempDir, connections_per_device_max: usize) -> Self {
        let config = Config {
            connections_per_device_max,
            reserve_mib: 0,
            ..Config::default()
        };
        let metrics = Arc::new(Metrics::default());
        let started = Folder::new(folder.path())
            .open(None, Some(wall_now()), &config, &metrics, &mut |_| {})
            .unwrap();
        let sessions = Arc::new(Sessions::default());
        let failed = CancellationToken::new();
        let (accepting, thread) = Accepting::start(
            started.ledger,
            connections_per_device_max,
            sessions.clone(),
            metrics.clone(),
            failed.clone(),
        );
        let app = Arc::new(App {
            config,
            accepting,
            sessions,
            metrics,
            scrubbing: Arc::new(Scrubbing::default()),
            partials: Partials::default(),
            room: Room::new(limits::LARGE_BYTES_MAX),
            walks: Walks::default(),
            token_key: TokenKey::derive(&started.key),
            stopping: CancellationToken::new(),
            tracker: TaskTracker::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        app.tracker.spawn(http::serve(
            listener,
            http::devices(app.clone()),
            Sockets::new(100, 100),
            Duration::from_secs(10),
            app.stopping.clone(),
            app.tracker.clone(),
        ));
        Self {
            app,
            address,
            failed,
            thread,
            folder,
        }
    }

    /// Ends it; gives the folder, for the next one.
    pub(crate) async fn stop(self) -> TempDir {
        let Self {
            app,
            thread,
            folder,
            ..
        } = self;
        app.stopping.cancel();
        app.tracker.close();
        app.tracker.wait().await;
        app.accepting.close();
        thread.join().unwrap();
        folder
    }

    pub(crate) async fn enrol(&self, key: &SigningKey) {
        let device = DeviceId(key.verifying_key().to_bytes());
        let mut secret = [7; 16];
        secret.copy_from_slice(&device.0[..16]);
        let enrol = move |ledger: &mut bukti_server::accepting::Ledger, now| {
            let invitation = Invitation {
                hash: invitation_hash(&secret),
                person: "Siti".into(),
                grants: vec![Grant {
                    role: Role::Officer,
                    scope: VILLAGE.parse().unwrap(),
                }],
                expires_at: now + 1_000_000,
            };
            ledger.invite(now, invitation).unwrap();
            ledger.enrol(now, &secret, device).unwrap();
        };
        self.app.accepting.ask(Asker::Session, enrol).await.unwrap();
    }

    /// A session that is open, and what the server holds of items.
    async fn enter(&self, key: &SigningKey) -> (Wire, Vec<Held>) {
        let device = DeviceId(key.verifying_key().to_bytes());
        let token = self.app.token_key.issue(&device, wall_now() + 1_000_000);
        let hello = Hello {
            version: limits::VERSION,
            token: Some(token.into()),
            device,
            // Nothing is sealed under it.
            incarnation: Incarnation([0xee; 16]),
            last: None,
            credit: limits::CREDIT_WINDOW,
            held: Vec::new(),
            features: Features::NONE,
            agent: "test".into(),
        };
        let mut wire = Wire::open(self.address).await;
        wire.send(plain(hello)).await;
        let welcome = next(&mut wire).await;
        let Frame::Welcome(welcome) = welcome else {
            panic!("{welcome:?}");
        };
        (wire, welcome.held)
    }
}

fn plain(frame: impl Into<Frame>) -> Vec<u8> {
    encode(&frame.into(), Features::NONE)
}

fn push_of(item: PushItem) -> Vec<u8> {
    plain(Push {
        items: vec![item],
        returned: false,
        statements: false,
    })
}

async fn next(wire: &mut Wire) -> Frame {
    match wire.hear().await {
        Heard::Frame(bytes) => decode(&bytes).unwrap().unwrap(),
        Heard::Closed(code) => panic!("closed with {code:?}"),
    }
}

/// Waits until the server has dealt with all that was sent, or says goodbye.
async fn dealt_with(wire: &mut Wire) -> Option<Bye> {
    let statements = Vec::new();
    wire.send(plain(Holding { statements })).await;
    loop {
        match next(wire).await {
            Frame::Wanted(_) => return None,
            Frame::Bye(bye) => return Some(bye),
            _other => {}
        }
    }
}

/// Says goodbye and waits until the server has closed.
async fn leave(mut wire: Wire) {
    wire.send(plain(Bye::done())).await;
    while let Heard::Frame(_) = wire.hear().await {}
}

async fn accepted(wire: &mut Wire, run: RunId) {
    loop {
        if let Frame::Accepted(accepted) = next(wire).await
            && accepted.runs.iter().any(|placed| placed.run == run)
        {
            return;
        }
    }
}

/// A document with so many letters that hardly deflate.
pub(crate) fn document(key: &SigningKey, number: u16, letters: usize) -> Sealed {
    let mut dice = Dice::new(u64::from(number));
    let letters = (0..letters).map(|_| char::from(b'!' + dice.below(90) as u8));
    let mut pen = Pen::begin(key, VILLAGE, number, number);
    pen.write("body", &letters.collect::<String>());
    pen.seal()
}

/// The link of the first session is gone, and the server does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_of_a_large_run_before_its_link_went_silent_is_not_sent_again() {
    const FIRST: u64 = 3;
    const SECOND: u64 = 6;
    let server = Within::open(4).await;
    let key = SigningKey::from_bytes(&[1; 32]);
    server.enrol(&key).await;
    let (run, bytes) = document(&key, 1, 40_000);
    let packed = pack(&bytes, false);
    let each = limits::FRAGMENT_BYTES as u64;

    let (mut silent, held) = server.enter(&key).await;
    assert_eq!(held, []);
    let mut splitter = Splitter::new(packed.clone(), &held);
    for _ in 0..FIRST {
        silent.send(plain(splitter.next_fragment().unwrap())).await;
    }
    assert_eq!(dealt_with(&mut silent).await, None);

    let (mut second, held) = server.enter(&key).await;
    let of = |fragments: u64| Held {
        item: splitter.item(),
        offset: fragments * each,
    };
    assert_eq!(held, [of(FIRST)]);
    let mut rest = Splitter::new(packed.clone(), &held);
    for _ in FIRST..SECOND {
        second.send(plain(rest.next_fragment().unwrap())).await;
    }
    assert_eq!(dealt_with(&mut second).await, None);
    leave(second).await;
    // It ends after the one that brought more.
    leave(silent).await;

    let (mut third, held) = server.enter(&key).await;
    assert_eq!(held, [of(SECOND)]);
    let mut rest = Splitter::new(packed, &held);
    while let Some(fragment) = rest.next_fragment() {
        third.send(plain(fragment)).await;
    }
    third.send(push_of(PushItem::Large(rest.item()))).await;
    accepted(&mut third, run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_of_which_too_much_waits_is_told_so_and_when_to_come_back() {
    /// Of a session, within its credit.
    const RUNS: u16 = 15;
    let server = Within::open(1).await;
    let key = SigningKey::from_bytes(&[1; 32]);
    server.enrol(&key).await;
    let (begun, begins) = oneshot::channel();
    let (go_on, held_up) = mpsc::channel::<()>();
    let accepting = server.app.accepting.clone();
    let waiting = tokio::spawn(async move {
        let wait = move |_: &mut _, _| {
            begun.send(()).unwrap();
            held_up.recv().unwrap();
        };
        accepting.ask(Asker::Session, wait).await.unwrap();
    });
    begins.await.unwrap();

    let mut numbers = 1..=20 * RUNS;
    let mut bye = None;
    while bye.is_none() {
        let (mut wire, _) = server.enter(&key).await;
        for number in numbers.by_ref().take(RUNS.into()) {
            let (_, bytes) = document(&key, number, 4_000);
            wire.send(push_of(PushItem::Run(bytes))).await;
        }
        assert!(!numbers.is_empty(), "more waits than may");
        bye = dealt_with(&mut wire).await;
        if bye.is_some() {
            assert!(matches!(wire.hear().await, Heard::Closed(Some(1013))));
        } else {
            leave(wire).await;
        }
    }
    let bye = bye.unwrap();
    assert_eq!((bye.code, bye.retry_after_ms), (ByeCode::Busy, Some(5_000)));
    assert!(bye.sentence.contains("of this device"), "{}", bye.sentence);

    go_on.send(()).unwrap();
    waiting.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_reaches_a_device_that_is_still_sending() {
    let server = Within::open(1).await;
    let key = SigningKey::from_bytes(&[1; 32]);
    server.enrol(&key).await;
    let (mut wire, _) = server.enter(&key).await;
    wire.send(vec![0xff]).await;
    for _ in 0..30 {
        wire.send(vec![0xff; limits::FRAME_BYTES_MAX]).await;
    }
    let Frame::Bye(bye) = next(&mut wire).await else {
        panic!("it is the first word and the last");
    };
    assert_eq!(bye.code, ByeCode::Malformed);
    let closed = wire.hear().await;
    assert!(matches!(closed, Heard::Closed(Some(1008))), "{closed:?}");
}

/// On one thread, so that a server that closes at once has closed before the device goes on.
#[tokio::test]
async fn a_server_that_stops_reads_on_what_a_device_sends_behind_the_goodbye() {
    let server = Within::open(1).await;
    let key = SigningKey::from_bytes(&[1; 32]);
    server.enrol(&key).await;
    let (wire, _) = server.enter(&key).await;
    let mut stream = wire.into_stream();
    server.app.stopping.cancel();
    // A message that closes with 1001 and this word.
    let goodbye = [&[0x88, 10, 0x03, 0xe9], &b"shutdown"[..]].concat();
    let mut heard = Vec::new();
    while !heard.ends_with(&goodbye) {
        let read = timeout(Duration::from_secs(60), stream.read_buf(&mut heard)).await;
        assert_ne!(read.unwrap().unwrap(), 0, "closed without a word");
    }
    // What a closed socket is sent resets the connection, and what is sent next fails. One binary byte
    // under a mask of nothing.
    for _ in 0..3 {
        let sent = stream.write_all(&[0x82, 0x81, 0, 0, 0, 0, 0xff]).await;
        sent.expect("it still reads");
    }
    stream.shutdown().await.expect("it still reads");
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest).await;
    end.expect("it closes in order");
    assert!(rest.is_empty(), "the goodbye is the last word: {rest:?}");
}

/// Says nothing more and does not close.
async fn is_closed_within(stream: &mut TcpStream, time: Duration) -> bool {
    let mut rest = Vec::new();
    timeout(time, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_device_keeps_no_socket_behind_the_goodbye() {
    let server = Within::open(1).await;
    let mut stranger = TcpStream::connect(server.address).await.unwrap();
    let asks = "GET /v1/sync HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stranger.write_all(asks.as_bytes()).await.unwrap();
    // One binary byte that is no frame, under a mask of nothing.
    let frame = [0x82, 0x81, 0, 0, 0, 0, 0xff];
    stranger.write_all(&frame).await.unwrap();
    assert!(is_closed_within(&mut stranger, Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_keeps_its_place_behind_the_goodbye_until_another_session_of_it_comes() {
    let server = Within::open(1).await;
    let key = SigningKey::from_bytes(&[1; 32]);
    server.enrol(&key).await;
    let (mut first, _) = server.enter(&key).await;
    first.send(vec![0xff]).await;
    assert!(matches!(next(&mut first).await, Frame::Bye(_)));
    assert_eq!(server.app.sessions.count(), 1, "it counts");
    let (_second, _) = server.enter(&key).await;
    let over = async {
        while server.app.sessions.count() > 1 {
            tokio::task::yield_now().await;
        }
    };
    let over = timeout(Duration::from_secs(5), over).await;
    assert!(over.is_ok(), "the first has not closed");
}
