//! A copy of the workspace in which guards are taken out and tests are run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::time::timeout;

use super::list::{Guard, PROGRAM, Selection};
use super::outcome::{Built, Outcome, Unbuilt, built, errors_in};
use super::switch::{ASKED, Switched, VARIABLE, switched};

/// How long a build may take, the first with all dependencies included.
const BUILD_MAX: Duration = Duration::from_secs(30 * 60);

/// How long the tests for one guard may take. The harness names a test that runs for a minute.
const TESTS_MAX: Duration = Duration::from_secs(150);

/// How often what tests printed is looked at: the first of them that fails ends the trial.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// KiB of memory that the tests for one guard may take: without its guard a bomb goes off.
const TESTS_KIB_MAX: u64 = 8 * 1024 * 1024;

/// Why a trial cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// A file, or a program that cannot be started.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was done.
        act: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Git does not list the files of the workspace.
    #[error("git does not list the files of the workspace: {0}")]
    NoList(String),
    /// Another trial is under way in the same folder.
    #[error("another trial is under way in {}", .0.display())]
    Busy(PathBuf),
    /// The guard's piece of its file is not there once.
    #[error("the piece to take out of {} occurs {count} times", file.display())]
    NotFound {
        /// The file.
        file: PathBuf,
        /// How often the piece occurs.
        count: usize,
    },
}

/// The copy, in which each guard goes by its number: its place in the list, from 1.
#[derive(Debug)]
pub struct Trial {
    guards: Vec<Guard>,
    /// The files with guards, as they are.
    sources: BTreeMap<PathBuf, String>,
    /// The same files as they lie in the copy.
    switched: BTreeMap<PathBuf, Switched>,
    /// Guards that need a build of their own.
    alone: BTreeSet<u32>,
    built: BTreeMap<(String, Option<String>), Result<Built, String>>,
    /// The workspace's files.
    work: PathBuf,
    /// What is built from them.
    target: PathBuf,
    /// What the last command printed.
    printed: PathBuf,
    /// Held while the copy is in use.
    _lock: File,
}

impl Trial {
    /// Copies the files of the workspace that git knows or would know into `folder`, as they are
    /// in the working tree, with a switch for each of the guards. Files that are there already and
    /// equal are left alone, so that nothing is built twice.
    ///
    /// # Errors
    /// The first file that cannot be copied, or a guard that is not where the list says.
    pub async fn prepare(
        workspace: &Path,
        folder: &Path,
        guards: Vec<Guard>,
    ) -> Result<Self, TrialError> {
        let work = folder.join("work");
        fs::create_dir_all(&work).map_err(failed("create", &work))?;
        let lock = folder.join("lock");
        let lock_file = File::create(&lock).map_err(failed("create", &lock))?;
        match lock_file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(TrialError::Busy(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &lock)(error)),
        }
        let mut sources = BTreeMap::new();
        for guard in &guards {
            let path = workspace.join(&guard.file);
            let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
            guard
                .taken_out_of(&text)
                .map_err(|count| TrialError::NotFound {
                    file: guard.file.clone(),
                    count,
                })?;
            sources.insert(guard.file.clone(), text);
        }
        let roots: BTreeSet<PathBuf> = sources.keys().filter_map(|file| root_of(file)).collect();
        let mut trial = Self {
            guards,
            sources,
            switched: BTreeMap::new(),
            alone: BTreeSet::new(),
            built: BTreeMap::new(),
            work,
            target: folder.join("target"),
            printed: folder.join("printed"),
            _lock: lock_file,
        };
        trial.switch();
        let names = files_of(workspace).await?;
        for name in &names {
            let to = trial.work.join(name);
            match trial.switched.get(name) {
                Some(switched) => put(&to, with_root(name, &switched.text, &roots).as_bytes())?,
                None => {
                    let path = workspace.join(name);
                    let mut content = fs::read(&path).map_err(failed("read", &path))?;
                    if roots.contains(name) {
                        content.extend_from_slice(ASKED.as_bytes());
                    }
                    put(&to, &content)?;
                }
            }
        }
        remove_others(&trial.work, &trial.work, &names)?;
        Ok(trial)
    }

    /// The numbers of the guards, those that need a build of their own last.
    ///
    /// # Errors
    /// A program that cannot be started.
    pub async fn build(&mut self) -> Result<Vec<u32>, TrialError> {
        let selections: Vec<Selection> = self.guards.iter().map(Guard::selection).collect();
        for selection in selections {
            let of = (selection.package.clone(), selection.binary.clone());
            while !self.built.contains_key(&of) {
                let built = match self.build_once(&selection).await? {
                    Ok(built) => Ok(built),
                    Err(errors) if self.set_apart(&errors)? => continue,
                    Err(errors) => Err(errors
                        .into_iter()
                        .next()
                        .map_or_else(|| "the build did not end".to_owned(), |error| error.text)),
                };
                self.built.insert(of.clone(), built);
            }
        }
        let mut numbers: Vec<u32> = (1..).take(self.guards.len()).collect();
        numbers.sort_by_key(|number| self.alone.contains(number));
        Ok(numbers)
    }

    /// Whether the guards to blame for what does not compile could be set apart.
    fn set_apart(&mut self, errors: &[Unbuilt]) -> Result<bool, TrialError> {
        let before = self.alone.len();
        let blamed = |places: &[(PathBuf, usize)]| -> Vec<u32> {
            let switched = places.iter().filter_map(|(file, line)| {
                let switched = self.switched.get(file)?;
                Some(switched.blamed(*line))
            });
            switched.flatten().copied().collect()
        };
        let mut blamed_for = Vec::new();
        for error in errors {
            match blamed(&error.places) {
                none if none.is_empty() => blamed_for.extend(blamed(&error.around)),
                some => blamed_for.extend(some),
            }
        }
        self.alone.extend(blamed_for);
        if self.alone.len() == before {
            return Ok(false);
        }
        self.switch();
        for file in self.sources.keys() {
            self.put_back(file)?;
        }
        // What was built before may hold what has just changed.
        self.built.clear();
        Ok(true)
    }

    fn switch(&mut self) {
        for (file, text) in &self.sources {
            let guards: Vec<(u32, &Guard)> = (1..)
                .zip(&self.guards)
                .filter(|(number, guard)| guard.file == *file && !self.alone.contains(number))
                .collect();
            let has_root = root_of(file).is_some();
            let switched = if has_root {
                switched(text, &guards)
            } else {
                Switched {
                    text: text.clone(),
                    lines: Vec::new(),
                    unplaced: guards.iter().map(|(number, _)| *number).collect(),
                }
            };
            self.alone.extend(&switched.unplaced);
            self.switched.insert(file.clone(), switched);
        }
    }

    fn put_back(&self, file: &Path) -> Result<(), TrialError> {
        let roots: BTreeSet<PathBuf> = root_of(file).into_iter().collect();
        let text = with_root(file, &self.switched[file].text, &roots);
        put(&self.work.join(file), text.as_bytes())
    }

    /// Runs tests with all guards.
    ///
    /// # Errors
    /// A program that cannot be started.
    pub async fn run_whole(&self, selection: &Selection) -> Result<Outcome, TrialError> {
        let of = (selection.package.clone(), selection.binary.clone());
        match &self.built[&of] {
            Ok(built) => self.test(built, selection, 0).await,
            Err(error) => Ok(Outcome::NotBuilt(error.clone())),
        }
    }

    /// Runs a guard's tests without the guard, and puts it back.
    ///
    /// # Errors
    /// A program that cannot be started, or a file that cannot be written.
    pub async fn run_without(&self, number: u32) -> Result<Outcome, TrialError> {
        let guard = self.guard(number);
        let selection = guard.selection();
        if !self.alone.contains(&number) {
            let of = (selection.package.clone(), selection.binary.clone());
            return match &self.built[&of] {
                Ok(built) => self.test(built, &selection, number).await,
                Err(error) => Ok(Outcome::NotBuilt(error.clone())),
            };
        }
        let roots: BTreeSet<PathBuf> = root_of(&guard.file).into_iter().collect();
        let without = guard
            .taken_out_of(&self.sources[&guard.file])
            .map_err(|count| TrialError::NotFound {
                file: guard.file.clone(),
                count,
            })?;
        let without = with_root(&guard.file, &without, &roots);
        put(&self.work.join(&guard.file), without.as_bytes())?;
        let outcome = match self.build_once(&selection).await? {
            Ok(built) => self.test(&built, &selection, 0).await,
            Err(errors) => Ok(errors
                .into_iter()
                .next()
                .map_or(Outcome::BuildHung, |error| Outcome::NotBuilt(error.text))),
        };
        self.put_back(&guard.file)?;
        outcome
    }

    /// The guard with this number.
    pub fn guard(&self, number: u32) -> &Guard {
        &self.guards[number as usize - 1]
    }

    /// Builds a test binary; no errors at all mean that the build did not end.
    async fn build_once(
        &self,
        selection: &Selection,
    ) -> Result<Result<Built, Vec<Unbuilt>>, TrialError> {
        if selection.binary.is_some() {
            let mut programs = self.cargo("build");
            programs.args(["--message-format=json", "--bins"]);
            programs.args(["--package", "bukti-server", "--package", "bukti-client"]);
            let Some(said) = self.wait(programs, BUILD_MAX, None).await?.ended() else {
                return Ok(Err(Vec::new()));
            };
            // The tests start these programs, so they are built first.
            if let Some(errors) = errors_in(&said) {
                return Ok(Err(errors));
            }
        }
        let mut build = self.cargo("test");
        build.args(["--no-run", "--message-format=json"]);
        build.args(["--package", &selection.package]);
        match &selection.binary {
            Some(name) if name == PROGRAM => build.args(["--bin", name]),
            Some(name) => build.args(["--test", name]),
            None => build.arg("--lib"),
        };
        let said = self.wait(build, BUILD_MAX, None).await?.ended();
        Ok(said.map_or_else(|| Err(Vec::new()), |said| built(&said)))
    }

    async fn test(
        &self,
        built: &Built,
        selection: &Selection,
        out: u32,
    ) -> Result<Outcome, TrialError> {
        // What is ended in its middle cleans nothing up.
        let folder = tempfile::tempdir().map_err(failed("create", &std::env::temp_dir()))?;
        // Tests that start programs end them themselves.
        let decide: Option<Decide> = selection.binary.is_none().then_some(Outcome::of_running);
        let mut tests = Command::new("sh");
        tests
            .arg("-c")
            .arg(format!("ulimit -v {TESTS_KIB_MAX} && exec \"$0\" \"$@\""))
            .arg(&built.binary)
            .args(&selection.filters)
            .current_dir(&built.folder)
            .env(VARIABLE, out.to_string())
            .env("TMPDIR", folder.path())
            .env("INSTA_UPDATE", "no")
            // The same cases each time, and none that another guard's absence let fail.
            .env("PROPTEST_RNG_SEED", "1")
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
        Ok(match self.wait(tests, TESTS_MAX, decide).await? {
            Waited::Ended(printed) => Outcome::of_ended(&printed),
            Waited::Decided(outcome) => outcome,
            Waited::EndedByBound(printed) => Outcome::of_ended_by_bound(&printed),
        })
    }

    fn cargo(&self, task: &str) -> Command {
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
        cargo
            .args([task, "--locked", "--target-dir"])
            .arg(&self.target)
            .current_dir(&self.work)
            // Nobody looks at a backtrace here, and a build is made for each guard.
            .env("CARGO_PROFILE_DEV_DEBUG", "false");
        cargo
    }

    /// Waits for a program and all that it started, which die together at the bound, or once what it
    /// printed decides.
    async fn wait(
        &self,
        mut command: Command,
        bound: Duration,
        decide: Option<Decide>,
    ) -> Result<Waited, TrialError> {
        // A program that outlived an interrupted trial goes on writing to the file it was given.
        match fs::remove_file(&self.printed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &self.printed)(error));
            }
            Ok(()) | Err(_) => {}
        }
        let printed = File::create(&self.printed).map_err(failed("create", &self.printed))?;
        let errors = printed.try_clone().map_err(failed("open", &self.printed))?;
        let program = PathBuf::from(command.as_std().get_program());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(printed)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed("start", &program))?;
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let printed = || {
            let bytes = fs::read(&self.printed).map_err(failed("read", &self.printed));
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let until = Instant::now() + bound;
        let (in_time, decided) = loop {
            match timeout(LOOK_EVERY, child.wait()).await {
                Ok(ended) => {
                    ended.map_err(failed("wait for", &program))?;
                    break (true, None);
                }
                Err(_) if Instant::now() >= until => break (false, None),
                Err(_) => {
                    if let Some(decide) = decide
                        && let Some(outcome) = decide(&printed()?)
                    {
                        break (false, Some(outcome));
                    }
                }
            }
        };
        // What a failed test left running goes, too. An error means that nothing was left.
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        if !in_time {
            child.wait().await.map_err(failed("wait for", &program))?;
        }
        Ok(match (in_time, decided) {
            (_, Some(outcome)) => Waited::Decided(outcome),
            (true, None) => Waited::Ended(printed()?),
            (false, None) => Waited::EndedByBound(printed()?),
        })
    }
}

/// What the tests came to, if what they printed so far decides it.
type Decide = fn(&str) -> Option<Outcome>;

/// What a program printed until it ended, or what that had decided before.
enum Waited {
    Ended(String),
    Decided(Outcome),
    EndedByBound(String),
}

impl Waited {
    fn ended(self) -> Option<String> {
        match self {
            Self::Ended(printed) => Some(printed),
            Self::Decided(_) | Self::EndedByBound(_) => None,
        }
    }
}

/// Paths of the workspace's files, from its root.
async fn files_of(workspace: &Path) -> Result<BTreeSet<PathBuf>, TrialError> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others"])
        .arg("--exclude-standard")
        .current_dir(workspace)
        .output()
        .await
        .map_err(failed("start", Path::new("git")))?;
    if !listed.status.success() {
        let said = String::from_utf8_lossy(&listed.stderr).trim().to_owned();
        return Err(TrialError::NoList(said));
    }
    let names = String::from_utf8_lossy(&listed.stdout);
    // A file that was removed and not yet committed is listed, too.
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty() && workspace.join(name).is_file())
        .map(PathBuf::from)
        .collect())
}

/// The root of the library or program that a file belongs to, where its switch stands.
fn root_of(file: &Path) -> Option<PathBuf> {
    let of_program = ["client/src/main.rs", "client/src/cli.rs", "client/src/cli"];
    if of_program.iter().any(|part| file.starts_with(part)) {
        return Some("client/src/main.rs".into());
    }
    let mut parts = file.components();
    let (package, folder) = (parts.next()?, parts.next()?);
    (folder.as_os_str() == "src").then(|| Path::new(package.as_os_str()).join("src/lib.rs"))
}

fn with_root(file: &Path, text: &str, roots: &BTreeSet<PathBuf>) -> String {
    let asked = if roots.contains(file) { ASKED } else { "" };
    format!("{text}{asked}")
}

/// Writes a file unless it is there already.
fn put(to: &Path, content: &[u8]) -> Result<(), TrialError> {
    if fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
    }
    fs::write(to, content).map_err(failed("write", to))
}

/// Removes what an earlier copy or the tests left behind.
fn remove_others(folder: &Path, work: &Path, names: &BTreeSet<PathBuf>) -> Result<(), TrialError> {
    for entry in fs::read_dir(folder).map_err(failed("list", folder))? {
        let path = entry.map_err(failed("list", folder))?.path();
        if path.is_dir() {
            remove_others(&path, work, names)?;
        } else if !path
            .strip_prefix(work)
            .is_ok_and(|name| names.contains(name))
        {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
    }
    Ok(())
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TrialError {
    let path = path.to_owned();
    move |source| TrialError::Io { act, path, source }
}

#[cfg(test)]
mod tests {
    use super::super::list::Ending;
    use super::super::outcome::Verdict;
    use super::*;

    /// A workspace of one package with a guard that a test misses and one that none does.
    fn small_workspace() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let manifest = "[package]\nname = \"small\"\nedition = \"2024\"\n";
        let source = "\
pub fn bounded(n: u32) -> bool {
    if n == 0 {
        return false;
    }
    n < 10
}
pub fn few(n: u32) -> bool {
    n < MOST
}
const MOST: u32 = 10;
#[cfg(test)]
mod tests {
    #[test]
    fn ten_is_too_many() {
        assert!(!super::bounded(10) && !super::few(10));
    }
    #[test]
    fn nine_is_not() {
        assert!(super::bounded(9));
    }
    #[test]
    fn what_has_no_bound_is_waited_for() {
        while super::bounded(10) {
            std::thread::park();
        }
    }
}
";
        let lock = "version = 4\n\n[[package]]\nname = \"small\"\nversion = \"0.0.0\"\n";
        fs::create_dir_all(root.join("small/src")).unwrap();
        for (name, content) in [
            (
                "Cargo.toml",
                "[workspace]\nresolver = \"3\"\nmembers = [\"small\"]\n",
            ),
            ("small/Cargo.toml", manifest),
            ("Cargo.lock", lock),
            ("small/src/lib.rs", source),
            (".gitignore", "scratch\n"),
        ] {
            fs::write(root.join(name), content).unwrap();
        }
        let made = std::process::Command::new("git")
            .args(["init", "--quiet"])
            .current_dir(root)
            .status()
            .unwrap();
        assert!(made.success());
        folder
    }

    fn guard(find: &str, replace: &str, tests: &str) -> Guard {
        Guard {
            holds: "a number is bounded".into(),
            file: "small/src/lib.rs".into(),
            find: find.into(),
            replace: replace.into(),
            package: "small".into(),
            tests: tests.into(),
            binary: None,
            ends: Ending::Fails,
        }
    }

    #[tokio::test]
    async fn a_guard_is_missed_by_its_test_and_by_no_other() {
        let folder = small_workspace();
        let scratch = folder.path().join("scratch");
        let missed = || Outcome::Failed(vec!["tests::ten_is_too_many".into()]);
        let cases = [
            (guard("n < 10", "true", "tests::"), missed()),
            (guard("n == 0", "false", "tests::"), Outcome::Passed(3)),
            (guard("n < 10", "true", "nine"), Outcome::Passed(1)),
            (guard("n < 10", "true", "eleven"), Outcome::NoTest),
            // Outside of functions there is no switch.
            (
                guard("const MOST: u32 = 10;", "const MOST: u32 = 99;", "tests::"),
                missed(),
            ),
        ];
        let guards = cases.iter().map(|(guard, _)| guard.clone()).collect();
        let mut trial = Trial::prepare(folder.path(), &scratch, guards)
            .await
            .unwrap();
        assert_eq!(trial.build().await.unwrap(), [1, 2, 3, 4, 5]);
        let whole = trial.run_whole(&cases[0].0.selection()).await.unwrap();
        assert_eq!(whole, Outcome::Passed(3));
        // One failure is enough: without the bound another test would never end.
        for (number, (_, expected)) in (1..).zip(cases) {
            assert_eq!(trial.run_without(number).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn a_guard_that_cannot_be_built_keeps_no_other_from_being_tried() {
        let folder = small_workspace();
        let scratch = folder.path().join("scratch");
        let guards = vec![
            guard("n < 10", "n", "tests::"),
            guard("n < 10", "true", "tests::"),
        ];
        let mut trial = Trial::prepare(folder.path(), &scratch, guards)
            .await
            .unwrap();
        assert_eq!(trial.build().await.unwrap(), [2, 1]);
        let held = trial.run_without(2).await.unwrap().verdict(Ending::Fails);
        assert!(matches!(held, Verdict::Held(_)), "{held:?}");
        let unbuilt = trial.run_without(1).await.unwrap();
        assert!(matches!(unbuilt, Outcome::NotBuilt(_)), "{unbuilt:?}");
        let verdict = unbuilt.verdict(Ending::Fails);
        assert!(matches!(verdict, Verdict::Unnoticed(_)), "{verdict:?}");
        // And it is put back.
        let kept = fs::read_to_string(scratch.join("work/small/src/lib.rs")).unwrap();
        assert!(
            kept.contains("2 => {") && !kept.contains("1 => {"),
            "{kept}"
        );
    }

    #[tokio::test]
    async fn a_program_without_end_is_ended_with_what_it_started() {
        let folder = small_workspace();
        let scratch = folder.path().join("scratch");
        let trial = Trial::prepare(folder.path(), &scratch, Vec::new())
            .await
            .unwrap();
        let mut endless = Command::new("sh");
        endless.args(["-c", "echo begun; sleep 1000 & wait"]);
        let waited = trial.wait(endless, Duration::from_millis(300), None).await;
        let Waited::EndedByBound(printed) = waited.unwrap() else {
            panic!("it ended by itself")
        };
        assert_eq!(printed, "begun\n");
    }

    #[tokio::test]
    async fn two_trials_never_share_a_folder() {
        let folder = small_workspace();
        let scratch = folder.path().join("scratch");
        let first = Trial::prepare(folder.path(), &scratch, Vec::new())
            .await
            .unwrap();
        let second = Trial::prepare(folder.path(), &scratch, Vec::new()).await;
        assert!(matches!(second, Err(TrialError::Busy(_))), "{second:?}");
        drop(first);
        Trial::prepare(folder.path(), &scratch, Vec::new())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_an_earlier_copy_left_behind_is_gone() {
        let folder = small_workspace();
        let scratch = folder.path().join("scratch");
        drop(
            Trial::prepare(folder.path(), &scratch, Vec::new())
                .await
                .unwrap(),
        );
        let left = scratch.join("work/small/src/left.txt");
        fs::write(&left, "left").unwrap();
        fs::write(scratch.join("work/small/src/lib.rs"), "altered").unwrap();
        drop(
            Trial::prepare(folder.path(), &scratch, Vec::new())
                .await
                .unwrap(),
        );
        assert!(!left.exists());
        let source = fs::read_to_string(scratch.join("work/small/src/lib.rs")).unwrap();
        assert!(source.starts_with("pub fn bounded"));
    }
}
