//! One flipped bit anywhere in a data folder or a backup: harmless, repaired and said, or reported
//! with its place. Never silent, never a panic, never a wait without end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bukti_core::authority::{Audience, Role};
use bukti_core::journal::disk::DiskStorage;
use bukti_core::journal::segment_name;
use bukti_core::kv::SledKv;
use bukti_core::ledger::testing::{NOW, Phone, enrol, options, server_key, submit};
use bukti_core::ledger::{Ledger, Subscription};
use bukti_core::scope::Scope;
use serde_json::Value;
use tempfile::TempDir;

use super::backup::{JOURNAL, MANIFEST};
use super::restore::{WithManifest, restore};
use super::*;
use crate::folder::{PUBLIC_URL, write_key};

const VILLAGE: &str = "13.07.05.2001";

/// What files of the sample are, and how many of a hundred flips hit each kind.
const KINDS: [(&str, usize); 10] = [
    ("journal", 46),
    ("store", 30),
    ("side file", 4),
    ("kept aside", 6),
    (MANIFEST, 4),
    ("server.key", 2),
    ("key-path", 2),
    ("administrator.invitation", 2),
    ("public-url", 2),
    ("sums", 2),
];

/// Flips of the ordinary run. `BUKTI_FLIPS` asks for more, `BUKTI_FLIPS_SEED` for others.
const FLIPS: u64 = 2_000;

/// Flips at a time: much of one is waiting for sled's threads to end.
const WORKERS: u64 = 8;

/// How long one flip may take, on a machine that many share.
const FLIP_MAX: Duration = Duration::from_secs(60);

#[test]
fn no_flipped_bit_of_a_server_is_silent() {
    let asked = |name: &str| std::env::var(name).ok()?.parse().ok();
    let flips = asked("BUKTI_FLIPS").unwrap_or(FLIPS);
    let seed = asked("BUKTI_FLIPS_SEED").unwrap_or(1);
    silence_caught_panics();
    let sound = Sound::make();
    let flipped: Vec<Flipped> = thread::scope(|scope| {
        let sound = &sound;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                scope.spawn(move || {
                    let own = (worker..flips).step_by(WORKERS as usize);
                    own.map(|flip| sound.flip(seed.wrapping_mul(1_000_003) + flip))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| {
                worker
                    .join()
                    .expect("a flip that was silent is named above")
            })
            .collect()
    });
    let mut all = BTreeMap::<(&str, &str), u64>::new();
    for Flipped { kind, fate, .. } in &flipped {
        *all.entry((kind, fate)).or_default() += 1;
    }
    let bytes: usize = all_files(sound.folder.path())
        .iter()
        .map(|path| fs::metadata(path).unwrap().len() as usize)
        .sum();
    println!("{all:?} in folders of {bytes} bytes");
    assert_eq!(all.values().sum::<u64>(), flips);
    for fate in ["harmless", "repaired", "reported"] {
        assert!(
            all.keys().any(|(_, found)| *found == fate),
            "none was {fate}"
        );
    }
    let hit: BTreeSet<&PathBuf> = flipped.iter().filter_map(|one| one.file.as_ref()).collect();
    let missed = sound.files.values().flatten().filter(|file| {
        let has_bits = fs::metadata(sound.folder.path().join(file)).unwrap().len() > 0;
        has_bits && !hit.contains(file)
    });
    let missed: Vec<_> = missed.collect();
    assert!(missed.is_empty() || flips < FLIPS, "never hit: {missed:?}");
}

/// What became of one flip.
struct Flipped {
    kind: &'static str,
    /// Nothing, if it hit a file without a bit.
    file: Option<PathBuf>,
    fate: &'static str,
}

/// What must be the same after opening, up to the record at which the folder was sound.
#[derive(Debug, PartialEq)]
struct State {
    chain: Option<String>,
    documents: Vec<String>,
    devices: Vec<String>,
    digests: String,
}

/// A small server that stopped, its backup, and what it held.
struct Sound {
    folder: TempDir,
    position: u64,
    state: State,
    /// By their kind.
    files: BTreeMap<String, Vec<PathBuf>>,
}

impl Sound {
    fn make() -> Self {
        let folder = in_memory();
        let data = folder.path().join("data");
        make_folder(&data);
        write_key(&data.join("server.key"), &server_key()).unwrap();
        fill(&data);
        write_small_files(&Folder::new(&data));
        damage_everywhere(&data, &folder.path().join("backup"));
        // Once more, so that the store is as a server leaves it.
        let status = done(&data, "status --json");
        let position = status["position"].as_u64().unwrap();
        done(&data, "verify --json");
        let state = state(&data, position);
        let mut files = BTreeMap::<String, Vec<PathBuf>>::new();
        for path in all_files(folder.path()) {
            let name = path.strip_prefix(folder.path()).unwrap();
            let first = name.components().nth(1).unwrap().as_os_str();
            let is_aside = |first: &str| first.contains(".damaged-") || first.contains(".altered-");
            let kind = match (name.starts_with("backup"), first.to_str().unwrap()) {
                // The copy is a journal like the other.
                (true, JOURNAL) => continue,
                (false, "lock") if fs::metadata(&path).unwrap().len() == 0 => continue,
                (false, _) if name.extension().is_some_and(|end| end == "bin") => "side file",
                (false, first) if is_aside(first) => "kept aside",
                (_, other) => other,
            };
            files
                .entry(kind.to_owned())
                .or_default()
                .push(name.to_owned());
        }
        let drawn = KINDS.map(|(kind, _)| kind);
        assert!(
            files.keys().all(|kind| drawn.contains(&&**kind)),
            "{files:?}"
        );
        assert!(
            drawn.iter().all(|kind| files.contains_key(*kind)),
            "{files:?}"
        );
        assert_eq!(files["kept aside"].len(), 2, "{files:?}");
        Self {
            folder,
            position,
            state,
            files,
        }
    }

    /// Flips one bit in a copy and says in what file, and what became of it.
    fn flip(&self, number: u64) -> Flipped {
        let mut chance = Chance(number);
        let kind = drawn(chance.below(100));
        let files = &self.files[kind];
        let name = &files[chance.below(files.len())];
        let copy = in_memory();
        copy_folder(self.folder.path(), copy.path());
        let path = copy.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        if bytes.is_empty() {
            return Flipped {
                kind,
                file: None,
                fate: "harmless",
            };
        }
        let at = place_in(&bytes, &mut chance);
        let file = name.file_name().unwrap().to_str().unwrap();
        let places = match kind {
            "journal" => places_in_segment(file, &bytes, at),
            "store" => vec!["store".to_owned()],
            _ => vec![file.to_owned()],
        };
        bytes[at] ^= 1 << chance.below(8);
        fs::write(&path, bytes).unwrap();
        let what = format!("flip {number}, byte {at} of {}", name.display());
        let fate = bounded(&what, || self.fate(&copy, kind, &places, &what));
        Flipped {
            kind,
            file: Some(name.clone()),
            fate,
        }
    }

    fn fate(&self, copy: &TempDir, kind: &str, places: &[String], what: &str) -> &'static str {
        let data = copy.path().join("data");
        if kind == MANIFEST {
            let target = Folder::new(copy.path().join("restored"));
            make_folder(target.root());
            let key = data.join("server.key");
            let refused = restore(
                &target,
                &copy.path().join("backup"),
                Some(&key),
                WithManifest(true),
                &Config::default(),
                true,
            );
            let text = refused.expect_err(what).text;
            assert!(text.contains(MANIFEST), "{what}: {text}");
            return "reported";
        }
        let verified = run(&data, "verify --json");
        let said: Value = serde_json::from_str(&verified.stdout).unwrap_or_default();
        if verified.exit != Exit::Done {
            let all = format!("{}{}", verified.stdout, verified.stderr);
            assert!(
                places.iter().any(|place| says(&all, place)),
                "{what} is reported without its place, one of {places:?}: {all}"
            );
            // Reported may still be opened: then it holds what the journal proves, and no more.
            if let Some(mut opened) = opened(&data, self.position) {
                if kind == "journal" && opened.chain.is_none() {
                    opened.chain.clone_from(&self.state.chain);
                }
                assert_eq!(opened, self.state, "{what}");
            }
            return match (kind, all.contains("store-damaged")) {
                ("store", true) => "repaired",
                _ => "reported",
            };
        }
        assert_eq!(said["findings"], serde_json::json!([]), "{what}");
        assert_eq!(state(&data, self.position), self.state, "{what} is silent");
        match said["notes"].to_string().contains("built again") {
            true => "repaired",
            false => "harmless",
        }
    }
}

/// The kind that a draw from a hundred hits.
fn drawn(mut draw: usize) -> &'static str {
    for (kind, share) in KINDS {
        if draw < share {
            return kind;
        }
        draw -= share;
    }
    panic!("the shares are a hundred");
}

/// Fills a folder as a server does, with several small segments.
fn fill(data: &Path) {
    let disk = DiskStorage::open(data.join("journal")).unwrap();
    let kv = SledKv::open(&data.join("store"), 1 << 20).unwrap();
    let mut with = options();
    with.journal.segment_bytes = 8 * 1024;
    with.checkpoint_every = 20;
    let id = bukti_core::id::JournalId([9; 16]);
    let mut ledger = Ledger::create(disk, Arc::new(kv), server_key(), id, NOW, with).unwrap();
    let mut phone = Phone::new(1);
    enrol(&mut ledger, &phone, Role::Officer, "13.07");
    for _ in 0..12 {
        let (id, root) = phone.create(VILLAGE);
        let edit = phone.edit(&id, "Rapat dibuka pukul delapan.");
        let ready = phone.ready(&id);
        submit(&mut ledger, &phone, &[&root, &edit, &ready]);
    }
    ledger.revoke(NOW, phone.id()).unwrap();
}

fn write_small_files(folder: &Folder) {
    let url = "https://bukti.example";
    folder.remember_url(url).unwrap();
    let link = format!("{url}/enrol#not-looked-at");
    folder.write_invitation(&link).unwrap();
    // From a start that was told of another place.
    let elsewhere = Path::new("/elsewhere/server.key");
    folder.remember_key(elsewhere).unwrap();
}

/// Damages a folder in each way that has something kept aside, lets commands put it right, and
/// acknowledges what they found.
fn damage_everywhere(data: &Path, backup: &Path) {
    let segment = |number: u32| data.join(JOURNAL).join(segment_name(number));
    let flip = |path: &Path, from: usize| {
        let mut bytes = fs::read(path).unwrap();
        let at = from + bytes[from..].iter().position(|byte| *byte != 0).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    // A record of the last group, of which no store knows.
    let segments = fs::read_dir(data.join(JOURNAL)).unwrap().count();
    let last = segment(u32::try_from(segments).unwrap());
    let bytes = fs::read(&last).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    flip(&last, end - 20);
    fs::remove_dir_all(data.join("store")).unwrap();
    done(data, "status --json");

    done(data, &format!("backup --json --to {}", backup.display()));
    flip(&segment(1), 1_000);
    done(data, &format!("repair --json --from {}", backup.display()));

    let url = data.join(PUBLIC_URL);
    let sound = fs::read(&url).unwrap();
    flip(&url, 0);
    done(data, "status --json");
    fs::write(&url, sound).unwrap();

    let found = done(data, "findings --json");
    let found = found["findings"].as_array().unwrap();
    assert_eq!(found.len(), 3, "{found:?}");
    for finding in found {
        let number = &finding["position"];
        done(
            data,
            &format!("findings --json --acknowledge {number} --note seen"),
        );
    }
}

/// What a command answers that does all it is asked for.
fn done(data: &Path, line: &str) -> Value {
    let reply = run(data, line);
    assert_eq!(
        reply.exit,
        Exit::Done,
        "{line}: {}{}",
        reply.stdout,
        reply.stderr
    );
    serde_json::from_str(&reply.stdout).unwrap()
}

fn state(data: &Path, position: u64) -> State {
    opened(data, position).expect("it was opened a moment ago")
}

/// What a folder holds, if it opens. There is no chain where the group that ends with it is damaged.
fn opened(data: &Path, position: u64) -> Option<State> {
    let (config, metrics) = (Config::default(), Metrics::default());
    let folder = Folder::new(data);
    let started = folder.open(None, None, &config, &metrics, &mut |_| {});
    let reader = started.ok()?.ledger.reader();
    let subscriptions = [Audience::Unit, Audience::All].map(|audience| Subscription {
        prefix: Scope::all(),
        audience,
        except: Vec::new(),
    });
    let chain = reader.chain_at(position).ok().flatten();
    Some(State {
        chain: chain.map(|chain| chain.to_string()),
        documents: reader
            .documents(&Scope::all())
            .map(|row| format!("{:?}", row.unwrap()))
            .collect(),
        devices: reader
            .devices()
            .map(|row| format!("{:?}", row.unwrap()))
            .collect(),
        digests: format!("{:?}", reader.digests(&subscriptions).unwrap().1),
    })
}

/// Runs a command on a folder that no server holds.
pub(super) fn run(data: &Path, line: &str) -> Reply {
    let line = format!("bukti-server {line} --data {}", data.display());
    let arguments = parse::<Arguments>(line.split(' ').map(str::to_owned)).unwrap();
    let request = Request::here(Vec::new()).unwrap();
    let lock = FolderLock::acquire(data).unwrap();
    let mut progress = Progress::to(|_| {});
    let folder = Folder::new(data);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        run_stopped(&folder, &lock, &arguments, &request, &mut progress)
    }));
    ran.expect("no damage makes a command panic")
}

/// Ends the tests with a word if `work` never ends.
fn bounded<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (done, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if wait.recv_timeout(FLIP_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{what}: no end after {FLIP_MAX:?}");
                std::process::abort();
            }
        });
        let value = work();
        drop(done);
        value
    })
}

/// Where a byte of a segment is to be reported: its header at 0, a group where it begins, and what
/// is behind the groups there or where it stands itself.
fn places_in_segment(file: &str, bytes: &[u8], at: usize) -> Vec<String> {
    let (segment_header, group_header) = (112, 120);
    let payload_of = |group: usize| {
        let length = bytes.get(group + 20..group + 24)?;
        let is_group = bytes[group..].starts_with(b"BUKTIGRP");
        is_group.then(|| u32::from_le_bytes(length.try_into().unwrap()) as usize)
    };
    let mut start = segment_header;
    let offsets = loop {
        if at < segment_header {
            break vec![0];
        }
        let Some(payload) = payload_of(start) else {
            break vec![start, at];
        };
        let end = start + group_header + payload;
        if at < end {
            break vec![start];
        }
        start = end;
    };
    let offsets = offsets.iter();
    offsets
        .map(|offset| format!("{file} at byte {offset}"))
        .collect()
}

/// Whether a text names a place, and not another one that begins so.
fn says(text: &str, place: &str) -> bool {
    text.match_indices(place).any(|(found, _)| {
        let behind = text[found + place.len()..].chars().next();
        behind.is_none_or(|next| !next.is_ascii_digit())
    })
}

/// Half of the flips hit bytes that say something: most of a small folder is zeros.
fn place_in(bytes: &[u8], chance: &mut Chance) -> usize {
    let at = chance.below(bytes.len());
    if chance.below(2) == 0 {
        return at;
    }
    let behind = bytes[at..].iter().position(|&byte| byte != 0);
    behind.map_or(at, |behind| at + behind)
}

/// A folder in memory where the system has one: nothing here is about a disk's time.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

pub(super) fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort_unstable();
    paths
        .into_iter()
        .flat_map(|path| match path.is_dir() {
            true => all_files(&path),
            false => vec![path],
        })
        .collect()
}

fn make_folder(folder: &Path) {
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700).create(folder).unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    for path in all_files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        make_folder(target.parent().unwrap());
        fs::copy(path, target).unwrap();
    }
}

/// sled's panics are caught and answered; printing each would bury what matters.
fn silence_caught_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(|place| place.file().to_owned());
        let ours = place.is_none_or(|file| !file.contains("sled") && !file.contains("pagecache"));
        if ours {
            usual(info);
        }
    }));
}

/// A stream of choices from a seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}
