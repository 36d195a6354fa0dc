//! Ten minutes of a busy country: 10,000 devices that only listen, 1,000 changes a second on
//! distinct documents, 200 readers, and in the end one device that floods.
//!
//! `BUKTI_LOAD_SECONDS`, `BUKTI_LOAD_RATE` and `BUKTI_LOAD_IDLE` make it shorter, slower and smaller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bukti_core::authority::Role;
use bukti_core::id::{DocumentId, RunId};
use bukti_core::ledger::testing::Phone;
use bukti_sync_protocol::client::Event;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use bukti_tests::folder::Making;
use bukti_tests::http::free_port;
use bukti_tests::process::Server;

use crate::tail::{Clocks, Wait, in_words, spells};
use crate::wire::{Address, Wire};
use crate::{percentile, verdict};

const SECONDS: u64 = 600;
const RATE: u64 = 1_000;
const IDLE: u64 = 10_000;
const WRITERS: u64 = 100;
const DOCUMENTS_EACH: usize = 600;
const READERS_OF_EACH: u64 = 2;
const CONNECTIONS_PER_DEVICE: u64 = 4;
/// Connections of the idle, the writers, the readers and those of the last part.
const CONNECTIONS_MAX: u64 = 20_000;
/// How long readers may take behind the last acknowledgement.
const CATCHING_UP_MAX: Duration = Duration::from_secs(10);
const P99_MS_MAX: f64 = 250.0;
/// Part of the rate that is offered which must be accepted until the last is.
const RATE_KEPT: f64 = 0.99;
/// What takes so long makes those wait who come meanwhile.
const LONG_S: f64 = 0.11;
const GROWTH_MAX: f64 = 0.05;
/// Part of the time in which caches fill, before memory is held to stay as it is.
const WARM_UP: f64 = 0.2;
/// Long enough that the hundredth part of what a small sender sends is more than a few.
const FLOOD_SECONDS: u64 = 60;
const FLOOD_DOCUMENTS: usize = 100;
/// Documents of the small sender: no history gets long.
const STEADY_DOCUMENTS: usize = 10;
/// Runs that the flood always has waiting; the server lets a session have 128 under way.
const FLOOD_WAITING: usize = 512;
/// A small sender that waits for one turn of a large one waits no longer than this many times what
/// it waits alone.
const UNFAIR_MAX: f64 = 4.0;

pub(crate) async fn measure() -> bool {
    let seconds = asked("BUKTI_LOAD_SECONDS", SECONDS);
    let rate = asked("BUKTI_LOAD_RATE", RATE);
    let idle = asked("BUKTI_LOAD_IDLE", IDLE);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("server");
    let mut making = Making::found(&root);
    let mut writers = Vec::new();
    let mut readers = Vec::new();
    for number in 0..WRITERS {
        let village = format!("13.07.05.{}", 2_001 + number);
        let mut phone = making.phone(Role::Officer, &village);
        let documents: Vec<DocumentId> = (0..DOCUMENTS_EACH)
            .map(|_| {
                let (document, run) = phone.create(&village);
                making.accept(&phone, vec![run]);
                document
            })
            .collect();
        writers.push((phone, documents));
        readers.extend((0..READERS_OF_EACH).map(|_| making.phone(Role::Officer, &village)));
    }
    let idlers: Vec<Phone> = (0..idle / CONNECTIONS_PER_DEVICE)
        .map(|number| making.phone(Role::Officer, &format!("13.07.06.{}", 2_001 + number)))
        .collect();
    let large = making.phone(Role::Officer, "13.07.07.2001");
    let mut small = making.phone(Role::Officer, "13.07.08.2001");
    let made = making.finish();
    let config = folder.path().join("server.toml");
    let text = format!(
        "connections_max = {CONNECTIONS_MAX}\nconnections_per_address_max = {CONNECTIONS_MAX}\n"
    );
    std::fs::write(&config, text).expect("a configuration");
    let metrics = free_port();
    let arguments = [
        "--config",
        config.to_str().expect("a path"),
        "--metrics-listen",
        &metrics.to_string(),
    ];
    let server = Server::start(&root, &arguments);
    let address = Address::new(server.address(), made);

    let mut listening = listen(&address, &idlers).await;
    println!(
        "{} connections listen: {:.0} MiB resident",
        listening.len(),
        resident_mib(server.pid())
    );
    let readings = Arc::new(AtomicU64::new(0));
    let mut reading = read(&address, &readers, &readings).await;

    let mut ready = Vec::new();
    for (phone, documents) in writers {
        let mut wire = Wire::open(&address, &phone, None).await;
        wire.up_to_date().await;
        ready.push(Writer {
            phone,
            documents,
            wire,
        });
    }

    println!(
        "{rate} changes a second on {} documents for {seconds} s, {} readers",
        WRITERS as usize * DOCUMENTS_EACH,
        readers.len()
    );
    let clocks = Clocks::read(metrics);
    let cpu_before = (cpu_seconds(server.pid()), cpu_seconds(std::process::id()));
    let started = Instant::now();
    let until = started + Duration::from_secs(seconds);
    let mut writing = JoinSet::new();
    for (number, writer) in ready.into_iter().enumerate() {
        // Spread over a turn, as people are.
        let every = Duration::from_secs_f64(WRITERS as f64 / rate as f64);
        let first = started + every.mul_f64(number as f64 / WRITERS as f64);
        writing.spawn(async move {
            let mut writer = writer;
            let waits = writer.write(started, first, every, until).await;
            // Letting go of its documents would keep others from hearing their last answers.
            (waits, writer)
        });
    }
    let sampling = tokio::spawn(sample(server.pid(), until));
    let (mut waits, mut offered, mut done) = (Vec::new(), 0, Vec::new());
    while let Some(ended) = writing.join_next().await {
        let ((sent, took), writer) = ended.expect("a writer got everything accepted");
        offered += sent;
        waits.extend(took);
        done.push(writer);
    }
    let took = started.elapsed().as_secs_f64();
    let cpu = (
        cpu_seconds(server.pid()) - cpu_before.0,
        cpu_seconds(std::process::id()) - cpu_before.1,
    );
    drop(done);
    let samples = sampling.await.expect("samples");
    let (slow, spells) = spells(&waits, P99_MS_MAX);
    let waits = sorted(&waits);
    let p99 = percentile(&waits, 0.99);
    let in_time = p99 <= P99_MS_MAX;
    let achieved = waits.len() as f64 / took;
    let kept_up = achieved >= rate as f64 * RATE_KEPT;
    println!(
        "  {offered} offered, {} accepted in {took:.0} s: {achieved:.0} a second, {}",
        waits.len(),
        verdict(kept_up)
    );
    println!(
        "  from the moment it was due to its acknowledgement: p50 {:.1} ms, p99 {p99:.1} ms, {}",
        percentile(&waits, 0.5),
        verdict(in_time)
    );
    println!(
        "  {slow} waited longer than {P99_MS_MAX:.0} ms, answered in {}",
        in_words(&spells)
    );
    let clocks = (Clocks::read(metrics), clocks);
    for (name, what) in [
        ("commit", "batches judged, synced and derived"),
        ("journal_sync", "syncs of the journal"),
    ] {
        let times = clocks.0.since(&clocks.1, name, LONG_S);
        println!(
            "  {what}: {}, of them {} longer than {:.1} ms, none longer than {:.1} ms",
            times.count,
            times.longer,
            times.bound_s * 1_000.0,
            times.longest_s * 1_000.0
        );
    }
    println!(
        "  processors busy: server {:.2}, this program {:.2}, of {}",
        cpu.0 / took,
        cpu.1 / took,
        std::thread::available_parallelism().map_or(1, usize::from)
    );
    // Whoever writes is in a village with so many readers, and each of them is sent every change.
    let owed = waits.len() as u64 * READERS_OF_EACH;
    let taken_in = caught_up(&readings, owed).await;
    let informed = taken_in >= owed;
    println!(
        "  readers took in {taken_in} items of {owed} at least, {}",
        verdict(informed)
    );
    let read_on = went_on(&mut reading);
    println!(
        "  {} of them read to the end, {}",
        reading.len(),
        verdict(read_on)
    );
    let (first, last, growth) = growth(&samples);
    let flat = growth.abs() <= GROWTH_MAX;
    println!(
        "  resident: {first:.0} MiB once warm, {last:.0} MiB at the end, {:+.1} %, {}",
        growth * 100.0,
        verdict(flat)
    );
    reading.shutdown().await;
    let fair = fair(&address, large, &mut small).await;
    let kept = went_on(&mut listening);
    println!(
        "{} connections listen to the end, {}",
        listening.len(),
        verdict(kept)
    );
    listening.shutdown().await;
    kept_up && in_time && flat && informed && read_on && fair && kept
}

/// Whether none of the tasks has ended: a connection that the server drops ends its own.
fn went_on(tasks: &mut JoinSet<()>) -> bool {
    tasks.try_join_next().is_none()
}

/// Waits a while for readers to take in what they are owed; gives what they took in.
async fn caught_up(readings: &AtomicU64, owed: u64) -> u64 {
    let until = Instant::now() + CATCHING_UP_MAX;
    loop {
        let taken_in = readings.load(Ordering::Relaxed);
        if taken_in >= owed || Instant::now() >= until {
            return taken_in;
        }
        sleep_until(Instant::now() + Duration::from_millis(10)).await;
    }
}

fn asked(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// Connects devices that only listen and answer pings.
async fn listen(address: &Address, phones: &[Phone]) -> JoinSet<()> {
    let mut listening = JoinSet::new();
    for phone in phones {
        for _ in 0..CONNECTIONS_PER_DEVICE {
            let mut wire = Wire::open(address, phone, None).await;
            wire.up_to_date().await;
            listening.spawn(wire.listen());
        }
    }
    listening
}

async fn read(address: &Address, phones: &[Phone], readings: &Arc<AtomicU64>) -> JoinSet<()> {
    let mut reading = JoinSet::new();
    for phone in phones {
        let mut wire = Wire::open(address, phone, None).await;
        wire.up_to_date().await;
        let readings = Arc::clone(readings);
        reading.spawn(async move {
            loop {
                if let Event::Page { items, .. } = wire.next().await {
                    readings.fetch_add(items.len() as u64, Ordering::Relaxed);
                }
            }
        });
    }
    reading
}

/// A device that edits one of its documents after the other.
struct Writer {
    phone: Phone,
    documents: Vec<DocumentId>,
    wire: Wire,
}

impl Writer {
    /// Edits once a turn; gives the number of edits and how long each waited to be accepted.
    async fn write(
        &mut self,
        started: Instant,
        first: Instant,
        every: Duration,
        until: Instant,
    ) -> (u64, Vec<Wait>) {
        let mut due = first;
        let mut turn = 0_usize;
        let mut open: BTreeMap<RunId, Instant> = BTreeMap::new();
        let mut waits = Vec::new();
        while due < until || !open.is_empty() {
            if due < until && Instant::now() >= due {
                let document = self.documents[turn % self.documents.len()];
                turn += 1;
                let narrative = format!("Musyawarah ke-{turn} membahas anggaran.");
                let run = self.phone.edit(&document, &narrative);
                open.insert(run.id(), due);
                self.wire.offer([&run]).await;
                due += every;
                continue;
            }
            let wake = if due < until {
                due
            } else {
                Instant::now() + Duration::from_secs(60)
            };
            match self.wire.next_until(wake).await {
                Some(Event::Accepted(runs)) => {
                    let now = Instant::now();
                    waits.extend(runs.into_iter().filter_map(|(run, _)| {
                        let due = open.remove(&run)?;
                        Some(Wait {
                            at_s: now.duration_since(started).as_secs_f64(),
                            ms: now.duration_since(due).as_secs_f64() * 1_000.0,
                        })
                    }));
                }
                Some(Event::Rejected { code, sentence, .. }) => panic!("{code}: {sentence}"),
                Some(_) | None => {}
            }
        }
        (turn as u64, waits)
    }
}

/// Whether a small sender gets its turn while a large one always has more waiting than the server
/// lets it send.
async fn fair(address: &Address, large: Phone, small: &mut Phone) -> bool {
    let alone = steady(address, small).await;
    let (over, is_over) = oneshot::channel();
    let flood = tokio::spawn(flood(address.clone(), large, is_over));
    let beside = steady(address, small).await;
    over.send(()).expect("the flood lasts until it is told");
    let flooded = flood.await.expect("the flood goes on");
    let ratio = percentile(&beside, 0.99) / percentile(&alone, 0.99);
    let kept = ratio <= UNFAIR_MAX && percentile(&beside, 0.99) <= P99_MS_MAX;
    println!(
        "A small sender, ten changes a second: p99 {:.1} ms alone, {:.1} ms beside one that floods \
         and gets {} accepted a second ({ratio:.1} times), {}",
        percentile(&alone, 0.99),
        percentile(&beside, 0.99),
        flooded / FLOOD_SECONDS,
        verdict(kept)
    );
    kept
}

/// Sends all that credit allows until it is told that it is over; gives how many were accepted.
async fn flood(address: Address, mut phone: Phone, mut is_over: oneshot::Receiver<()>) -> u64 {
    let mut documents = Vec::new();
    let mut runs = Vec::new();
    for _ in 0..FLOOD_DOCUMENTS {
        let (document, created) = phone.create("13.07.07.2001");
        documents.push(document);
        runs.push(created);
    }
    let mut wire = Wire::open(&address, &phone, None).await;
    let (mut waiting, mut accepted, mut turn) = (0, 0, 0);
    while is_over.try_recv().is_err() {
        while waiting + runs.len() < FLOOD_WAITING {
            let document = documents[turn % documents.len()];
            turn += 1;
            runs.push(phone.edit(&document, &format!("Baris {turn}.")));
        }
        waiting += runs.len();
        wire.offer(runs.iter()).await;
        runs.clear();
        match wire.next().await {
            Event::Accepted(taken) => {
                waiting -= taken.len();
                accepted += taken.len() as u64;
            }
            Event::Rejected { code, sentence, .. } => panic!("{code}: {sentence}"),
            _ => {}
        }
    }
    accepted
}

async fn steady(address: &Address, phone: &mut Phone) -> Vec<f64> {
    let begun = (0..STEADY_DOCUMENTS).map(|_| phone.create("13.07.08.2001"));
    let (documents, created): (Vec<_>, Vec<_>) = begun.unzip();
    let mut wire = Wire::open(address, phone, None).await;
    wire.offer(&created).await;
    wire.accepted(created.len()).await;
    let mut writer = Writer {
        phone: phone.clone(),
        documents,
        wire,
    };
    let now = Instant::now();
    let every = Duration::from_millis(100);
    let (_, waits) = writer
        .write(now, now, every, now + Duration::from_secs(FLOOD_SECONDS))
        .await;
    // The copy used numbers that this one does not know.
    phone.start_over();
    sorted(&waits)
}

/// How long they were, in milliseconds.
fn sorted(waits: &[Wait]) -> Vec<f64> {
    let mut waits: Vec<f64> = waits.iter().map(|wait| wait.ms).collect();
    waits.sort_by(f64::total_cmp);
    waits
}

/// Resident memory over time.
async fn sample(pid: u32, until: Instant) -> Vec<f64> {
    let mut samples = Vec::new();
    let mut at = Instant::now();
    while at < until {
        sleep_until(at).await;
        samples.push(resident_mib(pid));
        at += Duration::from_secs(2);
    }
    samples
}

/// Medians of a fifth once warm and of the last fifth, and by how much they differ.
fn growth(samples: &[f64]) -> (f64, f64, f64) {
    let fifth = (samples.len() / 5).max(1);
    let warm = ((samples.len() as f64 * WARM_UP) as usize).min(samples.len().saturating_sub(fifth));
    let median = |part: &[f64]| {
        let mut part = part.to_vec();
        part.sort_by(f64::total_cmp);
        percentile(&part, 0.5)
    };
    let first = median(&samples[warm..(warm + fifth).min(samples.len())]);
    let last = median(&samples[samples.len() - fifth..]);
    (first, last, last / first - 1.0)
}

pub(crate) fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<f64> =
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// Seconds of processor time that a process has used; Linux counts hundredths.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    fields.iter().sum::<f64>() / 100.0
}
