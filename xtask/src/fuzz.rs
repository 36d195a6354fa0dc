//! Runs the fuzzer's targets one after the other.
//!
//! The fuzzer needs instrumentation that the stable compiler keeps behind a switch; no sanitizer is
//! used, since no code of this project is unsafe. What a run finds new is kept outside of the
//! repository; what is worth keeping is copied to `fuzz/corpus` by hand.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{cargo_path, run};

/// Every target with the bytes of its longest input.
const TARGETS: [(&str, u32); 6] = [
    ("frame", 4_200),
    ("envelope", 4_096),
    ("change", 2_048),
    ("journal", 4_096),
    ("framework", 20_000),
    ("region", 4_096),
];

/// MiB that a target may take with all that the fuzzer keeps: a reader that trusts a length it was
/// told is found by this.
const RESIDENT_MIB_MAX: u32 = 512;

/// Seconds that one input may take.
const INPUT_SECONDS_MAX: u32 = 10;

/// What was asked for.
pub(crate) struct Asked<'a> {
    minutes: u32,
    target: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// Nothing where it is wrong use.
    pub(crate) fn read(arguments: &[&'a str]) -> Option<Self> {
        let mut asked = Self {
            minutes: 1,
            target: None,
        };
        for pair in arguments.chunks(2) {
            match *pair {
                ["--minutes", minutes] => asked.minutes = minutes.parse().ok()?,
                ["--target", target] if TARGETS.iter().any(|(name, _)| *name == target) => {
                    asked.target = Some(target);
                }
                _ => return None,
            }
        }
        Some(asked)
    }
}

/// Runs each target for so many minutes; false with the first finding.
pub(crate) fn fuzz(asked: &Asked<'_>) -> bool {
    let installed = Command::new(cargo_path())
        .args(["fuzz", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !installed {
        eprintln!("the fuzzer is missing: install it with `cargo install cargo-fuzz`");
        return false;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let chosen = TARGETS
        .iter()
        .filter(|(name, _)| asked.target.is_none_or(|target| target == *name));
    for (name, bytes_max) in chosen {
        println!("── {name}");
        let found = folder.join("found").join(name);
        if let Err(error) = fs::create_dir_all(&found) {
            eprintln!("{}: {error}", found.display());
            return false;
        }
        if !run(&mut fuzzer(&folder, "build", name)) {
            eprintln!("── {name}: it was not built, and no input was tried");
            return false;
        }
        let mut fuzzing = fuzzer(&folder, "run", name);
        if !run(with_limits(
            &mut fuzzing,
            &folder,
            name,
            *bytes_max,
            &found,
            asked.minutes,
        )) {
            eprintln!("── {name}: a finding; its input is under fuzz/artifacts/{name}");
            return false;
        }
    }
    true
}

fn fuzzer(folder: &Path, act: &str, name: &str) -> Command {
    let mut command = Command::new(cargo_path());
    command
        .current_dir(folder)
        // Instrumentation is not offered by a stable compiler otherwise.
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["fuzz", act, "--sanitizer", "none", name]);
    command
}

fn with_limits<'c>(
    command: &'c mut Command,
    folder: &Path,
    name: &str,
    bytes_max: u32,
    found: &Path,
    minutes: u32,
) -> &'c mut Command {
    command
        .arg(found)
        .arg(folder.join("corpus").join(name))
        .arg("--")
        .arg(format!("-max_total_time={}", minutes * 60))
        .arg(format!("-max_len={bytes_max}"))
        .arg(format!("-rss_limit_mb={RESIDENT_MIB_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .args(["-print_final_stats=1", "-verbosity=0"])
}
