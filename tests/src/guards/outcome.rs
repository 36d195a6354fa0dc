//! What a build and a run of tests came to, read from what cargo and the tests print.

use std::path::PathBuf;

use serde_json::Value;

use super::list::Ending;

/// What a run of some tests came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What was to be tested does not compile; the first error.
    NotBuilt(String),
    /// The build did not end within its time.
    BuildHung,
    /// No test has such a name.
    NoTest,
    /// All passed.
    Passed(u32),
    /// These failed, or one that did before the others had their turn.
    Failed(Vec<String>),
    /// The bound on their time ended them; the test that ran longest, if it was named.
    Hung(Option<String>),
    /// They ended without a result; the thread that was named last, which is a test's name.
    BrokeOff(Option<String>),
}

impl Outcome {
    /// Reads what a test binary printed until it ended by itself.
    pub fn of_ended(printed: &str) -> Self {
        let Some((passed, failed)) = printed.lines().rev().find_map(counts) else {
            return Self::BrokeOff(last_thread(printed));
        };
        match (passed, failed) {
            (0, 0) => Self::NoTest,
            (_, 0) => Self::Passed(passed),
            (_, _) => Self::Failed(failures(printed)),
        }
    }

    /// The first failure in what a test binary printed so far: one says all that is asked.
    pub fn of_running(printed: &str) -> Option<Self> {
        let failed = printed.lines().find_map(|line| {
            let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
            (!name.contains(' ')).then(|| name.to_owned())
        })?;
        Some(Self::Failed(vec![failed]))
    }

    /// Reads what a test binary printed until the bound on its time ended it.
    pub fn of_ended_by_bound(printed: &str) -> Self {
        let long = printed.lines().find_map(|line| {
            let (name, _) = line.split_once(" has been running for over ")?;
            Some(name.strip_prefix("test ").unwrap_or(name).to_owned())
        });
        Self::Hung(long)
    }

    /// The verdict on a guard whose tests came to this without it.
    pub fn verdict(&self, ends: Ending) -> Verdict {
        match (self, ends) {
            (Self::Failed(tests), Ending::Fails | Ending::Hangs | Ending::Aborts) => {
                let first = tests.first().cloned().unwrap_or_default();
                let more = tests.len().saturating_sub(1);
                Verdict::Held(if more == 0 {
                    first
                } else {
                    format!("{first} and {more} more")
                })
            }
            (Self::Hung(test), Ending::Hangs) => {
                let test = test.as_deref().unwrap_or("a test");
                Verdict::Held(format!("{test} hangs"))
            }
            (Self::BrokeOff(test), Ending::Aborts) => {
                let test = test.as_deref().unwrap_or("a test");
                Verdict::Held(format!("{test} breaks off"))
            }
            (Self::Passed(count), _) => Verdict::Unnoticed(format!("{count} tests pass")),
            (Self::NoTest, _) => Verdict::Unnoticed("no test has such a name".into()),
            (Self::NotBuilt(error), _) => Verdict::Unnoticed(format!("not built: {error}")),
            (Self::BuildHung, _) => Verdict::Unnoticed("the build did not end".into()),
            (Self::Hung(test), Ending::Fails | Ending::Aborts) => {
                let test = test.as_deref().unwrap_or("a test");
                Verdict::Unnoticed(format!("{test} hangs and is not said to"))
            }
            (Self::BrokeOff(test), Ending::Fails | Ending::Hangs) => {
                let test = test.as_deref().unwrap_or("a test");
                Verdict::Unnoticed(format!("{test} breaks off and is not said to"))
            }
        }
    }
}

/// Whether a guard is missed when it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// By this test.
    Held(String),
    /// By none, or nothing could be shown; why.
    Unnoticed(String),
}

/// Passed and failed tests, from a line of the harness.
fn counts(line: &str) -> Option<(u32, u32)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |of: &str| {
        let part = counts.split("; ").find(|part| part.ends_with(of))?;
        part.split(' ').next()?.parse().ok()
    };
    Some((count(" passed")?, count(" failed")?))
}

/// The names in the last list of failures. The lines `test NAME ... FAILED` do not name them all: what
/// child processes print stands in the middle of some.
fn failures(printed: &str) -> Vec<String> {
    let Some((_, list)) = printed.rsplit_once("\nfailures:\n") else {
        return Vec::new();
    };
    list.lines()
        .map_while(|line| line.strip_prefix("    "))
        .map(str::to_owned)
        .collect()
}

fn last_thread(printed: &str) -> Option<String> {
    let (_, rest) = printed.rsplit_once("thread '")?;
    let (name, _) = rest.split_once('\'')?;
    Some(name.to_owned())
}

/// A test binary, and the folder of its package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The program.
    pub binary: PathBuf,
    /// Where tests are run.
    pub folder: PathBuf,
}

/// An error of the compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbuilt {
    /// What is wrong, in one line.
    pub text: String,
    /// The files and lines that are wrong.
    pub places: Vec<(PathBuf, usize)>,
    /// Those that it follows from.
    pub around: Vec<(PathBuf, usize)>,
}

/// Reads what cargo says of a build of one test binary, one JSON object a line.
///
/// # Errors
/// All errors of the compiler, or the last thing that cargo said.
pub fn built(printed: &str) -> Result<Built, Vec<Unbuilt>> {
    if let Some(errors) = errors_in(printed) {
        return Err(errors);
    }
    let found = messages(printed).find_map(|message| {
        let is_tests = message["profile"]["test"] == true;
        let binary = message["executable"].as_str().filter(|_| is_tests)?;
        let manifest = PathBuf::from(message["manifest_path"].as_str()?);
        Some(Built {
            binary: binary.into(),
            folder: manifest.parent()?.to_owned(),
        })
    });
    found.ok_or_else(|| {
        let said = printed.lines().rfind(|line| !line.starts_with('{'));
        vec![Unbuilt {
            text: said.unwrap_or("cargo named no test binary").to_owned(),
            places: Vec::new(),
            around: Vec::new(),
        }]
    })
}

/// All errors of the compiler, if there are any.
pub fn errors_in(printed: &str) -> Option<Vec<Unbuilt>> {
    let errors: Vec<Unbuilt> = messages(printed)
        .filter(|message| message["message"]["level"] == "error")
        .map(|message| unbuilt(&message["message"]))
        .collect();
    (!errors.is_empty()).then_some(errors)
}

fn messages(printed: &str) -> impl Iterator<Item = Value> {
    let lines = printed.lines();
    lines.filter_map(|line| serde_json::from_str(line).ok())
}

fn unbuilt(message: &Value) -> Unbuilt {
    let (mut places, mut around) = (Vec::new(), Vec::new());
    for span in message["spans"].as_array().into_iter().flatten() {
        let line = span["line_start"].as_u64();
        let line = line.and_then(|line| usize::try_from(line).ok());
        let Some(place) = span["file_name"].as_str().map(PathBuf::from).zip(line) else {
            continue;
        };
        if span["is_primary"] == true {
            places.push(place);
        } else {
            around.push(place);
        }
    }
    let text = message["message"].as_str().unwrap_or_default();
    let text = text.lines().next().unwrap_or_default();
    let place = places.first();
    let place = place.map(|(file, line)| format!(" ({}:{line})", file.display()));
    Unbuilt {
        text: format!("{text}{}", place.unwrap_or_default()),
        places,
        around,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &str = "
running 3 tests
test journal::tests::one ... ok
test journal::tests::two ... a child says somethingFAILED
test journal::tests::three ... FAILED

failures:

---- journal::tests::two stdout ----
thread 'journal::tests::two' panicked at core/src/journal.rs:1:1:
failures:
    not::a::name

---- journal::tests::three stdout ----

failures:
    journal::tests::three
    journal::tests::two

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 90 filtered out; finished in 0.10s
";

    #[test]
    fn failed_tests_are_read_from_the_last_list() {
        let outcome = Outcome::of_ended(FAILED);
        let expected = ["journal::tests::three", "journal::tests::two"];
        assert_eq!(outcome, Outcome::Failed(expected.map(str::to_owned).into()));
        let held = Verdict::Held("journal::tests::three and 1 more".into());
        assert_eq!(outcome.verdict(Ending::Fails), held);
    }

    #[test]
    fn the_first_failure_is_read_while_others_go_on() {
        let (begun, _) = FAILED.split_once("test journal::tests::three").unwrap();
        assert_eq!(Outcome::of_running(begun), None);
        let one = Outcome::Failed(vec!["journal::tests::three".into()]);
        assert_eq!(Outcome::of_running(FAILED), Some(one));
    }

    #[test]
    fn all_passed_and_none_matched_are_told_apart_and_neither_holds() {
        let result = |passed| {
            format!(
                "\nrunning {passed} tests\n\ntest result: ok. {passed} passed; 0 failed; 0 ignored; \
                 0 measured; 90 filtered out; finished in 0.00s\n"
            )
        };
        let passed = Outcome::of_ended(&result(7));
        assert_eq!(passed, Outcome::Passed(7));
        let none = Outcome::of_ended(&result(0));
        assert_eq!(none, Outcome::NoTest);
        for outcome in [passed, none] {
            for ends in [Ending::Fails, Ending::Hangs, Ending::Aborts] {
                assert!(matches!(outcome.verdict(ends), Verdict::Unnoticed(_)));
            }
        }
    }

    #[test]
    fn a_hanging_test_counts_only_where_the_list_says_so() {
        let printed = "
running 2 tests
test a::quick ... ok
test a::waits has been running for over 60 seconds
";
        let outcome = Outcome::of_ended_by_bound(printed);
        assert_eq!(outcome, Outcome::Hung(Some("a::waits".into())));
        let held = Verdict::Held("a::waits hangs".into());
        assert_eq!(outcome.verdict(Ending::Hangs), held);
        for ends in [Ending::Fails, Ending::Aborts] {
            assert!(matches!(outcome.verdict(ends), Verdict::Unnoticed(_)));
        }
    }

    #[test]
    fn a_process_that_breaks_off_counts_only_where_the_list_says_so() {
        let printed = "
running 2 tests
test a::quick ... ok

thread 'a::deep' (77) has overflowed its stack
fatal runtime error: stack overflow, aborting
";
        let outcome = Outcome::of_ended(printed);
        assert_eq!(outcome, Outcome::BrokeOff(Some("a::deep".into())));
        let held = Verdict::Held("a::deep breaks off".into());
        assert_eq!(outcome.verdict(Ending::Aborts), held);
        for ends in [Ending::Fails, Ending::Hangs] {
            assert!(matches!(outcome.verdict(ends), Verdict::Unnoticed(_)));
        }
    }

    #[test]
    fn a_build_gives_the_test_binary_or_its_errors_with_their_places() {
        let artifact = |test: bool, name: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/core/Cargo.toml","profile":{{"test":{test}}},"executable":"/t/{name}"}}"#
            )
        };
        let finished = r#"{"reason":"build-finished","success":true}"#;
        let (program, tests) = (artifact(false, "bukti"), artifact(true, "deps/core-1"));
        let printed = format!("{program}\n{tests}\n{finished}\n");
        let expected = Built {
            binary: "/t/deps/core-1".into(),
            folder: "/w/core".into(),
        };
        assert_eq!(built(&printed), Ok(expected));

        let message = |level: &str, text: &str| {
            format!(
                r#"{{"reason":"compiler-message","message":{{"level":"{level}","message":"{text}","spans":[{{"file_name":"core/src/a.rs","line_start":7,"is_primary":true}}]}}}}"#
            )
        };
        let (warning, first) = (message("warning", "unused"), message("error", "mismatched"));
        let unbuilt = Unbuilt {
            text: "mismatched (core/src/a.rs:7)".into(),
            places: vec![("core/src/a.rs".into(), 7)],
            around: Vec::new(),
        };
        assert_eq!(built(&format!("{warning}\n{first}\n")), Err(vec![unbuilt]));
        let unknown = Unbuilt {
            text: "error: no package `bukti-none`".into(),
            places: Vec::new(),
            around: Vec::new(),
        };
        assert_eq!(
            built("error: no package `bukti-none`\n"),
            Err(vec![unknown])
        );
    }
}
