//! The whole system in one thread and in virtual time, decided by one number.
//!
//! A world has one server and several devices: the same ledger, sessions and devices that run in
//! production, on disks and networks that do the worst they may. What happens is drawn from a seed
//! before it begins ([`script`]); after every event and at the end [`check`] asks whether what was
//! promised still holds. A failure gives the seed, the fewest steps found that still fail, and how
//! to run it again.
//!
//! ```text
//! seed ─ script ─ world ──┬─ phones ─── Device, ClientSession ─┐
//!                  │      ├─ network                           │ bytes, cut anywhere
//!                check    └─ server ─── Ledger, ServerSession ─┘
//! ```

pub mod check;
pub mod network;
mod people;
pub mod phone;
pub mod random;
pub mod script;
pub mod server;
pub mod shrink;
pub mod troubles;
pub mod world;

use std::fmt;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use self::check::Violation;
use self::script::Step;
use self::troubles::Troubles;
use self::world::World;

/// Runs of the world that shrinking may take.
const SHRINKING_RUNS: usize = 150;

/// How large a world is, and what is wrong with it on purpose.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Devices.
    pub devices: usize,
    /// Pieces of evidence.
    pub documents: usize,
    /// Edits at most.
    pub edits: usize,
    /// What happens most.
    pub focus: Focus,
    /// A fault that the checks have to find.
    pub planted: Option<Planted>,
    /// Whether to print what happens, first with all steps, then with the fewest.
    pub trace: bool,
}

impl Setup {
    /// A sound world.
    pub fn new(devices: usize, documents: usize) -> Self {
        Self {
            devices,
            documents,
            edits: 60,
            focus: Focus::Everything,
            planted: None,
            trace: false,
        }
    }

    /// A small world in which disks fail, fill up and lose power all the time.
    pub fn storage() -> Self {
        Self {
            edits: 14,
            focus: Focus::Storage,
            ..Self::new(2, 2)
        }
    }

    /// The same with a fault.
    pub fn with(planted: Planted) -> Self {
        Self {
            planted: Some(planted),
            ..Self::new(4, 3)
        }
    }
}

/// What happens most in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// Everything, in proportions that let people get something done.
    Everything,
    /// Failures of disks.
    Storage,
}

/// A fault that is built into a world to prove that the checks find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// The server's disk says that it synced and did not.
    UnsyncedServer,
    /// The disks of devices say that they synced and did not.
    UnsyncedDevices,
    /// The server's disk says that it synced its folder and did not.
    UnsyncedNames,
    /// The server answers *accepted* before the journal has it.
    EarlyAnswers,
}

/// What happened in worlds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Worlds.
    pub seeds: u64,
    /// Steps of their scripts.
    pub steps: u64,
    /// Events: steps, messages, restarts and the like.
    pub events: u64,
    /// Edits that devices took.
    pub edits: u64,
    /// Runs that devices were told are accepted.
    pub accepted: u64,
    /// Runs that devices were told are refused.
    pub rejected: u64,
    /// Stores that were told they are stale.
    pub stale: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Connections that were cut.
    pub cuts: u64,
    /// What befell the server.
    pub server: Troubles,
    /// What befell the devices.
    pub devices: Troubles,
}

impl Totals {
    /// Losses of power and calls to disks that failed; see [`Troubles::crashes`].
    pub fn crashes(&self) -> u64 {
        self.server.crashes() + self.devices.crashes()
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.events += other.events;
        self.edits += other.edits;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.stale += other.stale;
        self.connections += other.connections;
        self.cuts += other.cuts;
        self.server += other.server;
        self.devices += other.devices;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seeds,
            steps,
            events,
            edits,
            accepted,
            rejected,
            stale,
            connections,
            cuts,
            server,
            devices,
        } = self;
        write!(
            f,
            "{seeds} seeds: {steps} steps, {events} events, {edits} edits, {accepted} accepted, \
             {rejected} rejected, {stale} stale, {connections} connections, {cuts} cut\n\
             server: {server}\ndevices: {devices}"
        )
    }
}

/// A seed whose world broke a promise.
#[derive(Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// Its world.
    pub setup: Setup,
    /// The first check that failed, with all steps.
    pub violation: Violation,
    /// The fewest steps found that fail in the same way.
    pub steps: Vec<Step>,
    /// What they fail with.
    pub shrunk: Violation,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.violation)?;
        let count = self.steps.len();
        writeln!(f, "with {count} steps: {}", self.shrunk)?;
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        write!(
            f,
            "run it again: cargo xtask sim --seeds 1 --first {} --storage {} --devices {} \
             --documents {} --edits {}",
            self.seed,
            u8::from(self.setup.focus == Focus::Storage),
            self.setup.devices,
            self.setup.documents,
            self.setup.edits,
        )
    }
}

/// Runs the world of one seed and checks it.
///
/// # Errors
/// The first promise that was broken, with the fewest steps found that break it.
pub fn run(seed: u64, setup: &Setup) -> Result<Totals, Box<Failure>> {
    let steps = script::draw(seed, setup);
    let violation = match attempt(seed, setup, &steps) {
        Ok(totals) => return Ok(totals),
        Err(violation) => violation,
    };
    let mut shrunk = violation.clone();
    let quiet = Setup {
        trace: false,
        ..setup.clone()
    };
    let steps = shrink::shrink(&steps, SHRINKING_RUNS, |fewer| {
        match attempt(seed, &quiet, fewer) {
            Err(other) if other.check == violation.check => {
                shrunk = other;
                true
            }
            Err(_) | Ok(_) => false,
        }
    });
    if setup.trace {
        // The second run prints the fewest steps alone.
        eprintln!("── with {} steps", steps.len());
        drop(attempt(seed, setup, &steps));
    }
    Err(Box::new(Failure {
        seed,
        setup: setup.clone(),
        violation,
        steps,
        shrunk,
    }))
}

/// Runs the world of one seed and checks it, without looking for fewer steps.
///
/// # Errors
/// The first promise that was broken.
pub fn first_violation(seed: u64, setup: &Setup) -> Result<Totals, Violation> {
    attempt(seed, setup, &script::draw(seed, setup))
}

/// Runs the worlds of several seeds on `threads` threads; stops at the first failure.
///
/// `done` hears of each seed that held.
///
/// # Errors
/// The failure.
pub fn run_all(
    seeds: std::ops::Range<u64>,
    setup: &Setup,
    threads: usize,
    done: &(dyn Fn(&Totals) + Sync),
) -> Result<Totals, Box<Failure>> {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let result = Mutex::new(Ok(Totals::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let ran = run(seed, setup);
                    let mut result = result.lock().unwrap_or_else(PoisonError::into_inner);
                    match (ran, &mut *result) {
                        (Ok(totals), Ok(sum)) => {
                            *sum += totals;
                            done(sum);
                        }
                        (Err(failure), result @ Ok(_)) => {
                            *result = Err(failure);
                            stop.store(true, Ordering::Relaxed);
                        }
                        (_, Err(_)) => {}
                    }
                }
            });
        }
    });
    result.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// One run of some steps. A panic of the machines is a violation like any other.
fn attempt(seed: u64, setup: &Setup, steps: &[Step]) -> Result<Totals, Violation> {
    let ran = catch_unwind(AssertUnwindSafe(|| World::new(seed, setup)?.run(steps)));
    ran.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("without words");
        Err(Violation::new(
            "no panic",
            format!("something panicked: {text}"),
        ))
    })
}
