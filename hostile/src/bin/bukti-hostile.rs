//! The whole mass of altered inputs, and the valid inputs that the fuzzer begins with.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use bukti_hostile::body::TARGETS;
use bukti_hostile::{mass, seeds};

const USAGE: &str = "\
usage: bukti-hostile [--inputs N] [--seed SEED]
       bukti-hostile seeds FOLDER";

/// What a process that reads hostile input may take, the same as is asked of a server.
const RESIDENT_KIB_MAX: u64 = 300 * 1024;

/// The last panic; the caught ones of Automerge are of no interest.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["seeds", folder] => write_seeds(Path::new(folder)),
        _ => match numbers(&words) {
            Some((inputs, seed)) => whole_mass(inputs, seed),
            None => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        },
    };
    if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn numbers(words: &[&str]) -> Option<(usize, u64)> {
    let (mut inputs, mut seed) = (mass::WHOLE, 1);
    for pair in words.chunks(2) {
        match pair {
            ["--inputs", number] => inputs = number.parse().ok()?,
            ["--seed", number] => seed = number.parse().ok()?,
            _ => return None,
        }
    }
    Some((inputs, seed))
}

fn whole_mass(inputs: usize, seed: u64) -> bool {
    set_hook(Box::new(|panic| {
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
    let started = Instant::now();
    let tally = catch_unwind(AssertUnwindSafe(|| mass::run(seed, inputs)));
    let Ok(tally) = tally else {
        let panic = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!("a promise does not hold with seed {seed} and {inputs} inputs: {panic}");
        return false;
    };
    let resident = peak_resident_kib();
    print!("{tally}");
    println!(
        "{} inputs with seed {seed} in {} s; at most {} MiB resident",
        tally.inputs(),
        started.elapsed().as_secs(),
        resident / 1024
    );
    if resident > RESIDENT_KIB_MAX {
        eprintln!("more than {} MiB were resident", RESIDENT_KIB_MAX / 1024);
    }
    resident <= RESIDENT_KIB_MAX
}

/// 0 where the system does not tell.
fn peak_resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or_default()
}

/// One folder for each target, the valid inputs in it by number.
fn write_seeds(folder: &Path) -> bool {
    for target in TARGETS {
        let folder = folder.join(target.name);
        let written = fs::create_dir_all(&folder).and_then(|()| {
            let inputs = seeds::of(target.name).into_iter().enumerate();
            inputs
                .map(|(number, input)| fs::write(folder.join(format!("seed-{number:02}")), input))
                .collect::<std::io::Result<Vec<()>>>()
        });
        if let Err(error) = written {
            eprintln!("{}: {error}", folder.display());
            return false;
        }
    }
    true
}
