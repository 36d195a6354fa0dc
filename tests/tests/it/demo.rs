//! The demo checks itself; here it does so on a faster link.

use std::process::{Command, Stdio};

use bukti_tests::process::binary;

/// Bits a second, round trip and life of a connection in milliseconds: cut often, over soon.
const LINK: &str = "150000,40,1000";

fn demo(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(binary("bukti-demo"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn the_demo_shows_the_main_job_and_finds_that_everything_held() {
    let (status, stdout, stderr) = demo(&["--exit", "--link", LINK]);
    assert_eq!(status, Some(0), "{stdout}\n{stderr}");
    for told in [
        "Sari",
        "Budi",
        "Wati",
        "1970-01-01",
        "The narrative, merged by itself",
        "04 of 2025",
        "(SIGKILL)",
        "forbidden",
        "verify: ok",
        "Everything held",
    ] {
        assert!(stdout.contains(told), "'{told}' is missing in:\n{stdout}");
    }
    assert!(
        !stdout.contains('\u{1b}'),
        "a pipe is no terminal:\n{stdout}"
    );
    let widest = stdout.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?} columns in:\n{stdout}");
}

#[test]
fn a_wrong_option_of_the_demo_is_named_in_one_line() {
    let (status, stdout, stderr) = demo(&["--quit"]);
    assert_eq!((status, stdout.as_str()), (Some(2), ""));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}
