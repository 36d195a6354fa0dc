//! Tasks of this workspace: `cargo xtask demo | test | sim | hostile | fuzz | guards | bench`.
//!
//! Each task builds what it needs and runs it. Nothing here depends on the other crates, so that a
//! task starts at once; the work is in `tests/src/bin` and `bench`.

use std::env;
use std::process::{Command, ExitCode};
use std::time::Instant;

mod fuzz;

const USAGE: &str = "\
usage: cargo xtask TASK

  demo [--exit] [--keep]
                     build all and show the main job on a bad link; stays with the server running,
                     or ends after its own checks with --exit
  test               every check: format, lints, documentation, tests, simulation
  sim [--storage 0] [--seeds N] [--first SEED] [--devices D] [--documents M] [--edits E]
      [--threads T] [--trace 1]
                     the simulation with more seeds than the tests run: 10,000 small worlds of
                     failing disks, or with --storage 0 300 in which everything happens
  hostile            195,000 altered inputs in process and 5,000 over sockets; tests run a few
  fuzz [--minutes N] [--target NAME]
                     the fuzzer, so many minutes for each target; fails on a finding
  guards [--area NAME] [--only TEXT]
                     takes each guard of tests/guards out of a copy of the workspace; fails if
                     no test notices
  bench [NAME]       measurements, with what each costs and which part dominates";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let rest: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let done = match arguments.first().map(String::as_str) {
        Some("demo") => demo(&rest),
        Some("test") if rest.is_empty() => test(),
        Some("sim") => build_and_run("bukti-tests", "bukti-sim", &rest),
        Some("hostile") if rest.is_empty() => hostile(),
        Some("fuzz") => match fuzz::Asked::read(&rest) {
            Some(asked) => fuzz::fuzz(&asked),
            None => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        },
        Some("guards") => build_and_run("bukti-tests", "bukti-guards", &rest),
        Some("bench") => bench(&rest),
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            true
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The field command and the server, as users run them.
fn build_binaries() -> bool {
    cargo(&[
        "build",
        "--package",
        "bukti-server",
        "--package",
        "bukti-client",
        "--bins",
    ])
}

fn demo(arguments: &[&str]) -> bool {
    build_binaries() && build_and_run("bukti-tests", "bukti-demo", arguments)
}

/// The measurement of what a busy server does is about programs as they are installed.
const IN_RELEASE: &str = "load";

fn bench(arguments: &[&str]) -> bool {
    if !arguments.contains(&IN_RELEASE) {
        return build_binaries() && build_and_run("bukti-bench", "bukti-bench", arguments);
    }
    let build = ["build", "--release", "--package", "bukti-server", "--bins"];
    let mut run = vec!["run", "--quiet", "--release", "--package", "bukti-bench"];
    run.extend(["--bin", "bukti-bench", "--"]);
    run.extend(arguments);
    cargo(&build) && cargo(&run)
}

/// Inputs over sockets in `cargo xtask hostile`.
const HOSTILE_OVER_SOCKETS: &str = "5000";

fn hostile() -> bool {
    build_binaries()
        && build_and_run("bukti-hostile", "bukti-hostile", &[])
        && run(Command::new(cargo_path())
            .args(["test", "--package", "bukti-tests", "--test", "it", "--"])
            .args(["--nocapture", "hostile::"])
            .env("BUKTI_HOSTILE", HOSTILE_OVER_SOCKETS))
}

fn build_and_run(package: &str, binary: &str, arguments: &[&str]) -> bool {
    let mut run = vec![
        "run",
        "--quiet",
        "--package",
        package,
        "--bin",
        binary,
        "--",
    ];
    run.extend(arguments);
    cargo(&run)
}

/// A check and what it is called.
type Step = (&'static str, fn() -> bool);

fn test() -> bool {
    let steps: [Step; 6] = [
        ("format", || cargo(&["fmt", "--all", "--check"])),
        ("lints", || {
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ])
        }),
        ("documentation", documentation),
        ("licences and sources", licences),
        ("binaries", build_binaries),
        ("tests", || {
            cargo(&["test", "--workspace", "--quiet", "--no-fail-fast"])
        }),
    ];
    for (name, step) in steps {
        let started = Instant::now();
        println!("── {name}");
        if !step() {
            eprintln!("── {name}: failed");
            return false;
        }
        println!("── {name}: done in {} s", started.elapsed().as_secs());
    }
    true
}

fn documentation() -> bool {
    run(Command::new(cargo_path())
        .args(["doc", "--workspace", "--no-deps", "--quiet"])
        .env("RUSTDOCFLAGS", "-D warnings"))
}

fn licences() -> bool {
    let installed = Command::new(cargo_path())
        .args(["deny", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !installed {
        println!("not checked: install it with `cargo install cargo-deny`");
        return true;
    }
    cargo(&[
        "deny",
        "--all-features",
        "check",
        "bans",
        "licenses",
        "sources",
    ])
}

fn cargo(arguments: &[&str]) -> bool {
    run(Command::new(cargo_path()).args(arguments))
}

fn cargo_path() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

fn run(command: &mut Command) -> bool {
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("{}: {error}", command.get_program().display());
            false
        }
    }
}
