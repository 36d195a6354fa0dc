//! Kills in the middle of work: what was said to be done is there afterwards, every time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bukti_tests::process::{Phone, Printed};
use serde_json::Value;

use crate::field::{Door, Field, VILLAGE, listed, new_evidence, text};

const PHONES: u64 = 3;
const KILLS_OF_EACH_PHONE: u64 = 5;
const KILLS_OF_THE_SERVER: u64 = 10;

/// Bounds a failure; nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn nothing_that_was_said_to_be_done_is_lost_in_25_kills() {
    let door = Door::open();
    let mut field = Field::open(&["--public-url", &door.url()]);
    door.proxy.lead_to(field.address());
    let shared = {
        let head = field.phone("head", "officer", VILLAGE);
        let shared = new_evidence(&head, "Milik bersama");
        head.run(&["sync"]).ok();
        shared
    };
    let witness = field.phone("witness", "officer", VILLAGE);
    let phones: Vec<Phone> = (1..=PHONES)
        .map(|number| field.phone(&format!("phone{number}"), "officer", VILLAGE))
        .collect();
    let received = Arc::new(Mutex::new(Received::default()));
    let server_stands = Arc::new(AtomicBool::new(false));
    let (sender, events) = channel();
    let lives: Vec<_> = (1..)
        .zip(phones.clone())
        .map(|(seed, phone)| {
            let life = Life {
                phone,
                chance: Chance(seed),
                shared: shared.clone(),
                titles: BTreeMap::new(),
                kills: 0,
                events: sender.clone(),
                received: received.clone(),
                server_stands: server_stands.clone(),
            };
            thread::spawn(move || life.live())
        })
        .collect();
    drop(sender);

    let mut chance = Chance(99);
    for _ in 0..KILLS_OF_THE_SERVER {
        wait_for_load(&events, &mut chance);
        let before = received.lock().unwrap().clone();
        field.kill();
        field.serve(&["--public-url", &door.url()]);
        door.proxy.lead_to(field.address());
        witness.run(&["sync"]).ok();
        before.is_held_by(&witness);
    }
    server_stands.store(true, Ordering::Relaxed);
    let titles: Vec<Titles> = lives.into_iter().map(|life| life.join().unwrap()).collect();

    let devices: Vec<&Phone> = phones.iter().chain([&witness]).collect();
    for _ in 0..2 {
        for device in &devices {
            device.run(&["sync"]).ok();
        }
    }
    let ids = ids(&witness);
    for titles in titles {
        for (id, wrote) in titles {
            assert!(ids.contains(&id), "{id} was entered");
            wrote.stands_on(&witness, &id);
        }
    }
    for id in &ids {
        let show = |device: &Phone| {
            let shown = device.run(&["evidence", "show", id, "--json"]).ok();
            shown.stdout
        };
        let first = show(devices[0]);
        for device in &devices[1..] {
            assert_eq!(show(device), first, "{:?}", device.data());
        }
    }
    received.lock().unwrap().is_held_by(&witness);
    field.verify();
}

/// Waits for a seeded number of commands that were done, then for one more sync to be under way.
fn wait_for_load(events: &Receiver<Event>, chance: &mut Chance) {
    let mut wanted = 2 + chance.below(8);
    loop {
        match events.recv_timeout(PATIENCE) {
            Ok(Event::Done) => wanted = wanted.saturating_sub(1),
            Ok(Event::Syncing) if wanted == 0 => break,
            Ok(Event::Syncing) => {}
            Err(error) => panic!("the phones stand still: {error}"),
        }
    }
    // A moment within that sync, unless something else was done before.
    let _ = events.recv_timeout(Duration::from_micros(chance.below(60_000)));
}

enum Event {
    /// A command ended well.
    Done,
    /// A sync begins.
    Syncing,
}

/// What phones showed as received: documents, and heads that they had then.
#[derive(Debug, Default, Clone)]
struct Received(BTreeMap<String, BTreeSet<String>>);

impl Received {
    /// Fails unless a device that has what the server has holds all of it.
    fn is_held_by(&self, witness: &Phone) {
        let held = ids(witness);
        for (id, heads) in &self.0 {
            assert!(held.contains(id), "{id} was received");
            if heads.is_empty() {
                continue;
            }
            let history = witness.run(&["evidence", "history", id, "--json"]).ok();
            for head in heads {
                assert!(history.stdout.contains(head), "{head} of {id} was received");
            }
        }
    }
}

fn ids(phone: &Phone) -> BTreeSet<String> {
    listed(phone).iter().map(|row| text(&row["id"])).collect()
}

/// What became of the title of one document that only this phone writes.
#[derive(Debug, Default)]
struct Wrote {
    /// The last one of which the command said that it is done.
    done: String,
    /// Later ones whose command did not end well, or not yet: either is right.
    maybe: Vec<String>,
}

impl Wrote {
    fn stands_on(&self, phone: &Phone, id: &str) {
        let shown = phone.run(&["evidence", "show", id, "--json"]).ok().json();
        let title = text(&shown["title"]);
        assert!(
            title == self.done || self.maybe.contains(&title),
            "'{title}' of {self:?}"
        );
    }
}

type Titles = BTreeMap<String, Wrote>;

/// One person who writes and syncs on a phone that is killed again and again.
struct Life {
    phone: Phone,
    chance: Chance,
    shared: String,
    titles: Titles,
    kills: u64,
    events: Sender<Event>,
    received: Arc<Mutex<Received>>,
    server_stands: Arc<AtomicBool>,
}

impl Life {
    fn live(mut self) -> Titles {
        let mut turn = 0;
        loop {
            let finished = self.kills >= KILLS_OF_EACH_PHONE;
            if finished && self.server_stands.load(Ordering::Relaxed) {
                return self.titles;
            }
            turn += 1;
            match self.chance.below(8) {
                0 | 1 => self.begin(turn),
                2 | 3 => self.rename(turn),
                4 => self.rename_shared(turn),
                _ => self.sync(),
            }
        }
    }

    fn begin(&mut self, turn: u64) {
        let title = format!("Baru {turn}");
        let made = self.run(&[
            "evidence",
            "new",
            "--kind",
            "regulation",
            "--row",
            "I.1.3",
            "--title",
            &title,
            "--json",
        ]);
        if let Some(made) = made {
            let id = text(&made.ok().json()["id"]);
            let wrote = Wrote {
                done: title,
                maybe: Vec::new(),
            };
            self.titles.insert(id, wrote);
        }
    }

    fn rename(&mut self, turn: u64) {
        let at = self.chance.below(self.titles.len().max(1) as u64) as usize;
        let Some(id) = self.titles.keys().nth(at).cloned() else {
            return;
        };
        let title = format!("Diubah {turn}");
        let wrote = self.titles.get_mut(&id).unwrap();
        wrote.maybe.push(title.clone());
        if let Some(made) = self.run(&["evidence", "edit", &id, "--title", &title]) {
            made.ok();
            let wrote = Wrote {
                done: title,
                maybe: Vec::new(),
            };
            self.titles.insert(id, wrote);
        }
    }

    fn rename_shared(&mut self, turn: u64) {
        let title = format!("Bersama {turn} dari {:?}", self.phone.data().file_name());
        let shared = self.shared.clone();
        if let Some(made) = self.run(&["evidence", "edit", &shared, "--title", &title]) {
            made.ok();
        }
    }

    fn sync(&mut self) {
        let _ = self.events.send(Event::Syncing);
        let Some(synced) = self.run(&["sync", "--timeout", "20"]) else {
            return;
        };
        assert!(matches!(synced.status, Some(0 | 3)), "{synced:?}");
        let rows = listed(&self.phone);
        let received: Vec<String> = rows.iter().filter_map(received_id).collect();
        let one = self.chance.below(received.len().max(1) as u64) as usize;
        let heads = received.get(one).map(|id| {
            let shown = self.phone.run(&["evidence", "show", id, "--json"]).ok();
            let heads = shown.json()["heads"].as_array().unwrap().clone();
            (id.clone(), heads.iter().map(text).collect::<Vec<_>>())
        });
        let mut all = self.received.lock().unwrap();
        for id in received {
            all.0.entry(id).or_default();
        }
        if let Some((id, heads)) = heads {
            all.0.entry(id).or_default().extend(heads);
        }
    }

    /// Runs a command, and perhaps kills it at some moment; then nothing counts as done, and
    /// everything that was done before must be there.
    fn run(&mut self, arguments: &[&str]) -> Option<Printed> {
        let is_to_die = self.kills < KILLS_OF_EACH_PHONE && self.chance.below(3) == 0;
        if !is_to_die {
            let printed = self.phone.run(arguments);
            if printed.status == Some(0) {
                let _ = self.events.send(Event::Done);
            }
            return Some(printed);
        }
        let moment = Duration::from_micros(self.chance.below(80_000));
        let printed = run_until(&self.phone, arguments, moment);
        if printed.is_none() {
            self.kills += 1;
            self.nothing_is_lost();
        }
        printed
    }

    fn nothing_is_lost(&self) {
        let held = ids(&self.phone);
        for (id, wrote) in &self.titles {
            assert!(held.contains(id), "{id} was entered on this phone");
            wrote.stands_on(&self.phone, id);
        }
    }
}

fn received_id(row: &Value) -> Option<String> {
    (row["delivery"]["state"] == "received").then(|| text(&row["id"]))
}

/// Runs a command for so long at most, then kills it.
fn run_until(phone: &Phone, arguments: &[&str], moment: Duration) -> Option<Printed> {
    let mut child = phone.spawn(arguments);
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let (sender, ended) = channel();
    let reading = thread::spawn(move || {
        let mut text = String::new();
        let _ = stdout.read_to_string(&mut text);
        let _ = sender.send(());
        text
    });
    let in_time = ended.recv_timeout(moment);
    if in_time == Err(RecvTimeoutError::Timeout) {
        let _ = child.kill();
    }
    let status = child.wait().unwrap().code();
    let stdout = reading.join().unwrap();
    let mut text = String::new();
    let _ = stderr.read_to_string(&mut text);
    status?;
    Some(Printed {
        stdout,
        stderr: text,
        status,
    })
}

/// Seeded randomness (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
