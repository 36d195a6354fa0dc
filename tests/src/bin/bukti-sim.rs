//! Runs the simulation with more seeds than the tests do: by default 10,000 small worlds in which disks
//! fail, fill up and lose power.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use bukti_tests::sim::{self, Setup, Totals};

const USAGE: &str = "usage: bukti-sim [--storage 0] [--seeds N] [--first SEED] [--devices D] \
                     [--documents M] [--edits E] [--threads T] [--trace 1]";

/// Seeds of the small worlds.
const SEEDS: u64 = 10_000;

/// Seeds of the worlds in which everything happens: one takes as long as several small ones.
const SEEDS_OF_EVERYTHING: u64 = 300;

fn main() -> ExitCode {
    let Some(asked) = Asked::read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let started = Instant::now();
    let progress = |totals: &Totals| {
        eprint!(
            "\r{} of {} seeds, {} edits, {} s",
            totals.seeds,
            asked.seeds,
            totals.edits,
            started.elapsed().as_secs()
        );
        // A terminal that is gone is no reason to stop.
        let _ = std::io::stderr().flush();
    };
    let seeds = asked.first..asked.first.saturating_add(asked.seeds);
    let result = sim::run_all(seeds, &asked.setup, asked.threads, &progress);
    eprintln!();
    match result {
        Ok(totals) => {
            println!("{totals}\nin {:.1} s", started.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

struct Asked {
    seeds: u64,
    first: u64,
    threads: usize,
    setup: Setup,
}

impl Asked {
    fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut asked = Self {
            seeds: SEEDS,
            first: 0,
            threads,
            setup: Setup::storage(),
        };
        let mut seeds = None;
        while let Some(name) = arguments.next() {
            let number: u64 = arguments.next()?.parse().ok()?;
            let count = usize::try_from(number).ok();
            match name.as_str() {
                "--seeds" => seeds = Some(number),
                "--first" => asked.first = number,
                "--devices" => asked.setup.devices = count?.max(1),
                "--documents" => asked.setup.documents = count?.max(1),
                "--edits" => asked.setup.edits = count?.max(1),
                // Before the sizes, which it sets.
                "--storage" if number > 0 => asked.setup = Setup::storage(),
                "--storage" => {
                    asked.setup = Setup::new(4, 3);
                    asked.seeds = SEEDS_OF_EVERYTHING;
                }
                "--trace" => asked.setup.trace = number > 0,
                "--threads" => asked.threads = count?.max(1),
                _ => return None,
            }
        }
        asked.seeds = seeds.unwrap_or(asked.seeds);
        Some(asked)
    }
}
