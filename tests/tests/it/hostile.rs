//! A device that sends anything at all, against a real server over real sockets, with honest
//! devices working beside it.
//!
//! `BUKTI_HOSTILE=5000` sends so many inputs instead of the few of every test run.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bukti_core::change::forge::{Forge, framed, run as repeated, unsigned};
use bukti_core::id::{DeviceId, Incarnation};
use bukti_hostile::dice::Dice;
use bukti_hostile::pen::{Pen, Sealed};
use bukti_hostile::{altered, seeds};
use bukti_sync_protocol::bye::ByeCode;
use bukti_sync_protocol::client::{ClientSession, Event, Input, Opening, Output};
use bukti_sync_protocol::frame::{Features, Frame, Push, decode, encode};
use bukti_sync_protocol::item::PushItem;
use bukti_sync_protocol::limits::FRAME_BYTES_MAX;
use ed25519_dalek::SigningKey;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::field::{Field, VILLAGE, listed, text};
use bukti_tests::wire::{Answers, Enrolled, Heard, Line, Wire, push};

/// Inputs of an ordinary test run.
const INPUTS: usize = 500;

/// What the server may take at its highest.
const RESIDENT_KIB_MAX: u64 = 300 * 1024;

/// Hostile runs in one session, with an honest one behind them.
const RUNS_PER_SESSION: usize = 20;

/// Edits of the honest device before the attack, to compare with.
const EDITS_IN_PEACE: usize = 40;

/// Edits of it at least that are accepted while an attack goes on: a device that is shut out has the one
/// that it began with.
const EDITS_BESIDE_MIN: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_inputs_over_real_sockets_stop_nothing_and_nobody_else_notices() {
    let inputs = std::env::var("BUKTI_HOSTILE").map_or(INPUTS, |it| it.parse().unwrap());
    let field = Field::open(&[]);
    let server = field.address();
    let mut honest = Honest::enrol(&field, 1).await;
    let attacker = Attacker::enrol(&field, 2).await;

    let peace = honest.work(server, |edits| edits < EDITS_IN_PEACE).await;
    let beside = Beside::begin(honest, server).await;
    let done = attacker.attack(server, inputs).await;
    let (honest, war) = beside.end().await;

    let resident = within_memory(&field);
    println!(
        "{done:?}; edits accepted in {:?} before and {:?} under attack (median of {} and {}), \
         {:?} at most; the server took {} MiB at its highest",
        median(&peace),
        median(&war),
        peace.len(),
        war.len(),
        war.iter().max().unwrap(),
        resident / 1024,
    );
    assert_eq!(done.runs + done.frames, inputs);
    assert!(
        done.rejected > done.runs / 4 && done.byes > done.frames / 2,
        "{done:?}"
    );
    // Machines that run tests are shared; a device that had to wait for an attacker would wait for
    // all of its inputs.
    assert!(
        median(&war) < median(&peace) * 4 + Duration::from_millis(100),
        "{:?} before, {:?} under attack",
        median(&peace),
        median(&war)
    );

    let witness = field.phone("witness", "officer", VILLAGE);
    let shown = witness.run(&[
        "evidence",
        "show",
        &honest.pen.document.to_string(),
        "--json",
    ]);
    let seen: Vec<String> = shown.ok().json()["heads"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect();
    assert_eq!(
        seen,
        honest.pen.heads(),
        "every honest edit and nothing else"
    );
    assert!(!listed(&witness).is_empty());
    field.verify();
}

/// Strangers who send frames all the time, and inputs of each of the two devices beside them.
const STRANGERS: u64 = 3;
const INPUTS_OF_EACH: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_attackers_at_once_keep_nobody_else_waiting() {
    let field = Field::open(&[]);
    let server = field.address();
    let mut honest = Honest::enrol(&field, 1).await;
    let attackers = [
        Attacker::enrol(&field, 2).await,
        Attacker::enrol(&field, 3).await,
    ];

    let peace = honest.work(server, |edits| edits < EDITS_IN_PEACE).await;
    let beside = Beside::begin(honest, server).await;
    let over = Arc::new(AtomicBool::new(false));
    let strangers = (0..STRANGERS).map(|seed| tokio::spawn(intrude(server, seed, over.clone())));
    let strangers: Vec<_> = strangers.collect();
    let attacks = attackers
        .map(|attacker| tokio::spawn(async move { attacker.attack(server, INPUTS_OF_EACH).await }));
    for attack in attacks {
        let done = attack.await.unwrap();
        assert_eq!(done.runs + done.frames, INPUTS_OF_EACH);
    }
    let (_, war) = beside.end().await;
    over.store(true, Ordering::Relaxed);
    for stranger in strangers {
        assert!(stranger.await.unwrap() > 0);
    }
    println!(
        "an edit was accepted in {:?} before and {:?} under attack (medians of {} and {}), \
         {:?} and {:?} at p99",
        median(&peace),
        median(&war),
        peace.len(),
        war.len(),
        percentile(&peace, 99),
        percentile(&war, 99),
    );
    hold_to(&peace, &war);
    within_memory(&field);
    field.verify();
}

/// Connects and sends a frame that it altered, again and again; gives how often.
async fn intrude(server: SocketAddr, seed: u64, over: Arc<AtomicBool>) -> usize {
    let (mut dice, frames) = (Dice::new(seed), seeds::frames());
    let mut times = 0;
    while !over.load(Ordering::Relaxed) {
        let mut wire = Wire::open(server).await;
        wire.send(altered::frame(&mut dice, &frames)).await;
        wire.send(vec![0xff]).await;
        while let Heard::Frame(_) = wire.hear().await {}
        times += 1;
    }
    times
}

/// Sessions that the quick device opens and leaves, runs in each, and letters in each run, which make
/// it short to send and long to judge.
const QUICK_SESSIONS: u16 = 120;
const RUNS_IN_A_QUICK_SESSION: u16 = 20;
const LETTERS_IN_A_QUICK_RUN: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_of_many_quick_sessions_keeps_nobody_else_waiting() {
    let field = Field::open(&[]);
    let server = field.address();
    let mut honest = Honest::enrol(&field, 1).await;
    let quick = Arc::new(Attacker::enrol(&field, 2).await);
    let token = quick.token(server).await;
    let flights: Vec<Vec<Sealed>> = (0..QUICK_SESSIONS)
        .map(|session| quick.flight(session))
        .collect();
    let last = flights.last().unwrap().last().unwrap().clone();

    let peace = honest.work(server, |edits| edits < EDITS_IN_PEACE).await;
    // Any goodbye to it, `busy` among them, ends the test.
    let beside = Beside::begin(honest, server).await;
    for flight in flights {
        quick.push_and_leave(server, &token, flight).await;
    }
    // What waits of the quick device is before its last run, so all of it was judged by then.
    let answers = push_until_taken(server, &quick, &token, last).await;
    let (_, war) = beside.end().await;
    println!(
        "an edit was accepted in {:?} alone and {:?} beside it (medians of {} and {}), {:?} at most",
        median(&peace),
        median(&war),
        peace.len(),
        war.len(),
        war.iter().max().unwrap(),
    );
    assert_eq!(answers.accepted.len(), 1);
    hold_to(&peace, &war);
    within_memory(&field);
    field.verify();
}

/// Enrols a key that the test holds.
async fn enrol(field: &Field, seed: u8) -> (SigningKey, Enrolled) {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let link = field.invite("officer", VILLAGE, "somebody");
    let mut wire = Wire::open(field.address()).await;
    let enrolled = wire.enrol(&key, &link.parse().unwrap()).await.unwrap();
    (key, enrolled)
}

fn opening(key: &SigningKey, enrolled: &Enrolled, token: Option<Vec<u8>>) -> Opening {
    Opening {
        key: key.clone(),
        server: enrolled.server,
        journal: enrolled.id,
        token,
        // Nothing is ever sealed under it, so nothing looks like a copied store.
        incarnation: Incarnation([0xee; 16]),
        last: None,
        scopes: Vec::new(),
        cursor: None,
        held: Vec::new(),
        agent: "test".into(),
        certificate: Vec::new(),
        owed: Vec::new(),
        compare: false,
    }
}

/// A device that edits one document in one long session.
pub(crate) struct Honest {
    key: SigningKey,
    enrolled: Enrolled,
    pen: Pen,
    edits: usize,
    /// Letters that each edit has besides its number.
    pub(crate) letters: usize,
}

impl Honest {
    pub(crate) async fn enrol(field: &Field, seed: u8) -> Self {
        let (key, enrolled) = enrol(field, seed).await;
        let mut pen = Pen::begin(&key, VILLAGE, 1, 1);
        let root = pen.seal();
        let first = opening(&key, &enrolled, None);
        let answers = push(field.address(), first, vec![root]).await;
        assert_eq!(answers.accepted.len(), 1);
        Self {
            key,
            enrolled,
            pen,
            edits: 0,
            letters: 0,
        }
    }

    /// Its name.
    pub(crate) fn device(&self) -> DeviceId {
        self.pen.device()
    }

    fn title(&mut self) -> String {
        self.edits += 1;
        let mut dice = Dice::new(self.edits as u64);
        let letters = (0..self.letters).map(|_| char::from(b'a' + dice.below(26) as u8));
        format!("Jembatan {} {}", self.edits, letters.collect::<String>())
    }

    /// Makes one edit after the other, each once the last was accepted; gives how long each took.
    pub(crate) async fn work(
        &mut self,
        server: SocketAddr,
        go_on: impl Fn(usize) -> bool,
    ) -> Vec<Duration> {
        let mut times = Vec::new();
        let first = opening(&self.key, &self.enrolled, None);
        let mut session = ClientSession::new(first, 0);
        let mut wire = Wire::open(server).await;
        let mut waits = None;
        let mut open = false;
        loop {
            if open && waits.is_none() {
                if !go_on(times.len()) {
                    return times;
                }
                let title = self.title();
                let run = self.pen.put("title", title).seal();
                waits = Some((run.0, Instant::now()));
                session.handle(0, Input::Offer(vec![run.into()]));
            }
            while let Some(output) = session.poll() {
                match output {
                    Output::Send(bytes) => wire.send(bytes).await,
                    Output::Event(Event::Welcome { .. }) => open = true,
                    Output::Event(Event::Accepted(runs)) => {
                        let (run, since) = waits.take().expect("one edit waits");
                        assert_eq!(runs[0].0, run);
                        times.push(since.elapsed());
                    }
                    Output::Event(Event::Page { .. } | Event::UpToDate { .. }) => {
                        session.handle(0, Input::Applied);
                    }
                    Output::Event(Event::Progress { .. }) => {}
                    other => panic!("an honest device hears {other:?}"),
                }
            }
            if open && waits.is_none() {
                continue;
            }
            match wire.hear().await {
                Heard::Frame(bytes) => session.handle(0, Input::Frame(&bytes)),
                Heard::Closed(code) => panic!("an honest session was closed with {code:?}"),
            }
        }
    }
}

/// The honest device at work while an attack goes on.
struct Beside {
    over: Arc<AtomicBool>,
    working: JoinHandle<(Honest, Vec<Duration>)>,
}

impl Beside {
    /// Has it work; its session is open when this returns.
    async fn begin(mut honest: Honest, server: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let open = Arc::new(Notify::new());
        let mut working = tokio::spawn({
            let (over, open) = (Arc::clone(&over), Arc::clone(&open));
            async move {
                let go_on = |edits| {
                    if edits == 0 {
                        open.notify_one();
                    }
                    !over.load(Ordering::Relaxed)
                };
                let times = honest.work(server, go_on).await;
                (honest, times)
            }
        });
        tokio::select! {
            () = open.notified() => {}
            ended = &mut working => panic!("it ended before the attack began: {:?}", ended.err()),
        }
        Self { over, working }
    }

    /// Ends it with the attack; gives how long each edit took meanwhile.
    async fn end(self) -> (Honest, Vec<Duration>) {
        self.over.store(true, Ordering::Relaxed);
        let (honest, times) = self.working.await.unwrap();
        assert!(
            times.len() >= EDITS_BESIDE_MIN,
            "the honest device was shut out: {} edits were accepted during the attack",
            times.len()
        );
        (honest, times)
    }
}

/// What an attack came to.
#[derive(Debug, Default)]
struct Done {
    runs: usize,
    frames: usize,
    rejected: usize,
    accepted: usize,
    missing: usize,
    byes: usize,
}

/// Somebody with an enrolled key who keeps to nothing.
struct Attacker {
    key: SigningKey,
    enrolled: Enrolled,
}

impl Attacker {
    async fn enrol(field: &Field, seed: u8) -> Self {
        let (key, enrolled) = enrol(field, seed).await;
        Self { key, enrolled }
    }

    /// Two runs for each frame, since a frame that cannot be read ends its connection.
    async fn attack(&self, server: SocketAddr, inputs: usize) -> Done {
        let mut dice = Dice::new(1);
        let mut done = Done::default();
        let token = self.token(server).await;
        let frames = seeds::frames();
        let mut session = 0;
        while done.runs + done.frames < inputs {
            session += 1;
            let left = inputs - done.runs - done.frames;
            let (runs, nameless) = self.runs(&mut dice, session, RUNS_PER_SESSION.min(left));
            self.push(server, &token, runs, &mut done).await;
            for bytes in nameless {
                let push = Push {
                    items: vec![PushItem::Run(bytes)],
                    returned: false,
                    statements: false,
                };
                let frame = encode(&push.into(), Features::NONE);
                self.send(server, Some(token.clone()), frame, &mut done)
                    .await;
            }
            for _ in 0..(RUNS_PER_SESSION / 2).min(inputs - done.runs - done.frames) {
                let frame = match dice.below(20) {
                    0 => [vec![1], zeros(3 * 1024 * 1024)].concat(),
                    1 => vec![0; 1 + dice.below(2 * FRAME_BYTES_MAX)],
                    _ => altered::frame(&mut dice, &frames),
                };
                let opened = dice.once_in(2).then(|| token.clone());
                self.send(server, opened, frame, &mut done).await;
            }
        }
        done
    }

    /// Runs that begin documents.
    fn flight(&self, session: u16) -> Vec<Sealed> {
        let first = 20_000 + session * RUNS_IN_A_QUICK_SESSION;
        let numbers = first..first + RUNS_IN_A_QUICK_SESSION;
        numbers
            .map(|number| {
                let mut pen = Pen::begin(&self.key, VILLAGE, number, number);
                pen.write("body", &"a".repeat(LETTERS_IN_A_QUICK_RUN));
                pen.seal()
            })
            .collect()
    }

    /// Sends all that credit allows and goes away without a word.
    async fn push_and_leave(&self, server: SocketAddr, token: &[u8], runs: Vec<Sealed>) {
        let first = opening(&self.key, &self.enrolled, Some(token.to_vec()));
        let offers = runs.into_iter().map(Into::into).collect();
        let mut line = Line::open(server, first, offers).await;
        while let Some(event) = line.next().await {
            if matches!(event, Event::Welcome { .. } | Event::Bye(_)) {
                return;
            }
        }
    }

    async fn token(&self, server: SocketAddr) -> Vec<u8> {
        let (_, token) = self.enter(server, None).await;
        token
    }

    /// Hostile runs on a document of their own, between two honest ones; and those that do not even
    /// name themselves, which end a session.
    fn runs(&self, dice: &mut Dice, session: u16, hostile: usize) -> (Vec<Sealed>, Vec<Vec<u8>>) {
        // No life is ever used twice: that would be a copied store.
        let lives = 100 + session * (RUNS_PER_SESSION as u16 + 1);
        let mut author = Pen::begin(&self.key, VILLAGE, 1_000 + session, lives);
        let mut runs = vec![author.seal()];
        let mut nameless = Vec::new();
        let foreign = author.clone().put("title", "Sungai").last_raw();
        for life in (lives + 1..).take(hostile) {
            let mut pen = author.beside(&self.key, life);
            let bytes = match life % 7 {
                0 => altered::envelope(&mut pen, dice),
                1 | 2 => altered::run(&mut pen, dice, &foreign),
                3 => bomb(&mut pen, dice),
                _ => altered::change(&mut pen, dice),
            };
            match altered::name(&bytes) {
                Some(name) if runs.iter().all(|(other, _)| *other != name) => {
                    runs.push((name, bytes));
                }
                // Longer ones would come in fragments, whose sums hold whatever they carry.
                Some(_) | None if bytes.len() < FRAME_BYTES_MAX / 2 => nameless.push(bytes),
                Some(_) | None => {}
            }
        }
        runs.push(author.put("title", "Jalan").seal());
        (runs, nameless)
    }

    /// Pushes runs in one session: each has its answer, and the honest ones are accepted.
    async fn push(&self, server: SocketAddr, token: &[u8], runs: Vec<Sealed>, done: &mut Done) {
        let honest = [runs[0].0, runs[runs.len() - 1].0];
        let hostile = runs.len() - honest.len();
        let first = opening(&self.key, &self.enrolled, Some(token.to_vec()));
        let answers: Answers = push(server, first, runs).await;
        assert!(
            honest.iter().all(|run| answers.accepted.contains_key(run)),
            "honest runs in the same flight: {answers:?}"
        );
        // The device's own goodbye is all there is.
        let bye = answers.bye.as_ref();
        assert!(bye.is_none_or(|bye| bye.code == ByeCode::Done), "{bye:?}");
        for (word, sentence) in answers.rejected.values() {
            assert!(
                !word.is_empty() && sentence.ends_with('.') && sentence.len() > 20,
                "{word}: '{sentence}'"
            );
        }
        done.runs += hostile;
        done.rejected += answers.rejected.len();
        done.accepted += answers.accepted.len() - honest.len();
        done.missing += answers.missing.len();
    }

    /// Sends one frame, before `hello` or in an open session; and, where it may be one, behind it
    /// what is certainly none.
    async fn send(
        &self,
        server: SocketAddr,
        token: Option<Vec<u8>>,
        frame: Vec<u8>,
        done: &mut Done,
    ) {
        let mut wire = match token {
            Some(token) => self.enter(server, Some(token)).await.0,
            None => Wire::open(server).await,
        };
        let decoded = decode(&frame);
        let (readable, is_bye) = (decoded.is_ok(), matches!(decoded, Ok(Some(Frame::Bye(_)))));
        wire.send(frame).await;
        if readable {
            wire.send(vec![0xff]).await;
        }
        let mut said = None;
        while let Heard::Frame(bytes) = wire.hear().await {
            if let Ok(Some(Frame::Bye(bye))) = decode(&bytes) {
                said = Some(bye);
            }
        }
        done.frames += 1;
        let Some(bye) = said else {
            // A goodbye is not answered.
            assert!(is_bye, "closed without a word");
            return;
        };
        if !readable {
            let codes = [ByeCode::Malformed, ByeCode::Flood, ByeCode::Credit];
            assert!(codes.contains(&bye.code), "{bye:?}");
        }
        assert!(
            !matches!(bye.code, ByeCode::Fault),
            "the server's own fault: {bye:?}"
        );
        assert!(!bye.sentence.is_empty());
        done.byes += 1;
    }

    /// Opens a session; gives the connection and the next token.
    async fn enter(&self, server: SocketAddr, token: Option<Vec<u8>>) -> (Wire, Vec<u8>) {
        let mut session = ClientSession::new(opening(&self.key, &self.enrolled, token), 0);
        let mut wire = Wire::open(server).await;
        loop {
            while let Some(output) = session.poll() {
                match output {
                    Output::Send(bytes) => wire.send(bytes).await,
                    Output::Event(Event::Welcome { token, .. }) => return (wire, token),
                    Output::Event(_) => {}
                    Output::Close => panic!("not let in"),
                }
            }
            match wire.hear().await {
                Heard::Frame(bytes) => session.handle(0, Input::Frame(&bytes)),
                Heard::Closed(code) => panic!("closed with {code:?}"),
            }
        }
    }
}

/// A run around a change that is far larger than it looks.
fn bomb(pen: &mut Pen, dice: &mut Dice) -> Vec<u8> {
    let raw = pen.put("a", 1).last_raw();
    let proper = Forge::of(&raw);
    let change = match dice.below(3) {
        0 => framed(2, &raw[4..8], &zeros(16 * 1024 * 1024)),
        1 => {
            let columns = Forge::puts(1_000_000).columns;
            Forge { columns, ..proper }.bytes()
        }
        _ => {
            let billion = repeated(1, &unsigned(1_000_000_000));
            proper.with_column(0x70, &billion).bytes()
        }
    };
    pen.seal_run(vec![change], |_| {}).to_bytes()
}

/// So many zeros, deflated.
fn zeros(count: usize) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; count]).unwrap();
    encoder.finish().unwrap()
}

/// Pushes a run again until the server takes it: it says `busy` while more of the device waits than
/// it holds of one.
async fn push_until_taken(
    server: SocketAddr,
    device: &Attacker,
    token: &[u8],
    run: Sealed,
) -> Answers {
    loop {
        let first = opening(&device.key, &device.enrolled, Some(token.to_vec()));
        let answers = push(server, first, vec![run.clone()]).await;
        match &answers.bye {
            Some(bye) if bye.code == ByeCode::Busy => {
                assert!(bye.retry_after_ms.is_some(), "{bye:?}");
            }
            Some(_) | None => return answers,
        }
    }
}

/// Machines that run tests are shared; a device that had to wait for an attacker would wait for all
/// that this one left.
fn hold_to(peace: &[Duration], war: &[Duration]) {
    for (per_cent, of, shared_ms) in [(50, "median", 200), (99, "p99", 1_000)] {
        let (before, beside) = (percentile(peace, per_cent), percentile(war, per_cent));
        assert!(
            beside < before * 4 + Duration::from_millis(shared_ms),
            "{of}: {before:?} before, {beside:?} under attack"
        );
    }
}

fn median(times: &[Duration]) -> Duration {
    percentile(times, 50)
}

fn percentile(times: &[Duration], per_cent: u64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = sorted.len() * per_cent as usize / 100;
    *sorted.get(at).expect("times of some edits")
}

/// The most KiB that the server took so far, which are within its bound.
fn within_memory(field: &Field) -> u64 {
    let resident = peak_resident_kib(field.server().pid());
    assert!(resident < RESIDENT_KIB_MAX, "{resident} KiB");
    resident
}

fn peak_resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .unwrap();
    kib.parse().unwrap()
}
