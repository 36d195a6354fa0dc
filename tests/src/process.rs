//! Real processes: the server and the field command, each with a folder of its own.
//!
//! Everything here blocks; the tests give each device a thread. A process that a test leaves behind
//! is killed when its handle is dropped.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// How long a server may take until it listens, rebuilds included. Generous, since it only bounds
/// a failure: machines that run tests are shared.
const START_MAX: Duration = Duration::from_secs(60);

/// The path of a binary of this workspace, beside the running test or tool.
///
/// # Panics
/// If it has not been built: `cargo xtask test` and `cargo xtask demo` build it first.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let found = own
        .ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built: run `cargo build --workspace --bins`"))
}

/// What a command printed and how it ended.
#[derive(Debug, Clone)]
pub struct Printed {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit status; none if a signal ended it.
    pub status: Option<i32>,
}

impl Printed {
    /// Standard output as the one JSON document it must be.
    ///
    /// # Panics
    /// If it is not, with all that was printed.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The same, if the command ended with 0.
    ///
    /// # Panics
    /// If it did not, with all that was printed.
    pub fn ok(self) -> Self {
        assert_eq!(self.status, Some(0), "{self:?}");
        self
    }
}

/// Runs a binary of this workspace to its end.
///
/// # Panics
/// If it cannot be started.
pub fn run<A: AsRef<OsStr>>(
    name: &str,
    arguments: &[A],
    environment: &[(&str, String)],
) -> Printed {
    let mut program = Command::new(binary(name));
    program.envs(environment.iter().map(|(key, value)| (key, value)));
    printed(program.args(arguments))
}

fn printed(program: &mut Command) -> Printed {
    let output = program
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("start {program:?}: {error}"));
    Printed {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        status: output.status.code(),
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    data: PathBuf,
    log: Option<thread::JoinHandle<String>>,
}

impl Server {
    /// Starts a server on a free port and waits until it listens.
    ///
    /// # Panics
    /// If it does not, with its log.
    pub fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::try_start(data, arguments).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// The same, for a program that people watch.
    ///
    /// # Errors
    /// What it said instead of listening.
    pub fn try_start(data: &Path, arguments: &[&str]) -> Result<Self, String> {
        Self::spawn(Command::new(binary("bukti-server")), data, arguments)
    }

    /// Starts a server that the system lets have so many files and sockets open, whatever it asks for.
    ///
    /// # Panics
    /// If it does not listen, with its log.
    pub fn start_within(descriptors: usize, data: &Path, arguments: &[&str]) -> Self {
        Self::spawn(server_within(descriptors), data, arguments)
            .unwrap_or_else(|failure| panic!("{failure}"))
    }

    fn spawn(mut program: Command, data: &Path, arguments: &[&str]) -> Result<Self, String> {
        let mut child = program
            .args(["serve", "--data"])
            .arg(data)
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("start bukti-server: {error}"))?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let log = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let (sender, first_line) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = first_line.recv_timeout(START_MAX).unwrap_or_default();
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .and_then(|text| text.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!(
                "the server did not start: '{line}' {}",
                log.join().unwrap_or_default()
            ));
        };
        Ok(Self {
            child,
            address,
            data: data.to_owned(),
            log: Some(log),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Kills it as a power cut of the process would: SIGKILL, nothing flushed by the program.
    pub fn kill(mut self) -> String {
        let _ = self.child.kill();
        self.ended()
    }

    /// Asks it to end in order (SIGTERM) and waits; gives its exit status and log.
    ///
    /// # Panics
    /// If the signal cannot be sent.
    pub fn stop(self) -> (Option<i32>, String) {
        let asked = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        assert!(asked.is_ok_and(|status| status.success()), "send SIGTERM");
        self.wait()
    }

    /// Waits until it ends by itself; gives its exit status and log.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().ok().and_then(|status| status.code());
        (status, self.ended())
    }

    fn ended(&mut self) -> String {
        let _ = self.child.wait();
        self.log
            .take()
            .and_then(|log| log.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `bukti-server COMMAND --data DATA …`.
pub fn server_command(data: &Path, arguments: &[&str]) -> Printed {
    run("bukti-server", &with_data(data, arguments), &[])
}

/// The same where the system lets it have so many files and sockets open.
pub fn server_command_within(descriptors: usize, data: &Path, arguments: &[&str]) -> Printed {
    printed(server_within(descriptors).args(with_data(data, arguments)))
}

/// The same where the system lets no file grow beyond so many KiB.
pub fn server_command_with_files_of(kib: usize, data: &Path, arguments: &[&str]) -> Printed {
    // Blocks of the shell's builtin are 512 bytes.
    let mut program = limited(&format!("ulimit -f {}", kib * 2), "bukti-server");
    printed(program.args(with_data(data, arguments)))
}

fn server_within(descriptors: usize) -> Command {
    limited(&format!("ulimit -n {descriptors}"), "bukti-server")
}

/// Sets the limit and the most that it may be raised to.
fn limited(limit: &str, program: &str) -> Command {
    let mut shell = Command::new("sh");
    let script = format!("{limit}; exec \"$0\" \"$@\"");
    shell.args(["-c", &script]).arg(binary(program));
    shell
}

/// A field device: a folder and, if the test wants, a wrong clock.
#[derive(Debug, Clone)]
pub struct Phone {
    data: PathBuf,
    clock_skew_ms: i64,
}

impl Phone {
    /// A device in an empty folder.
    pub fn new(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            clock_skew_ms: 0,
        }
    }

    /// The same with a clock that is wrong by so much.
    #[must_use]
    pub fn with_clock_skew(mut self, clock_skew_ms: i64) -> Self {
        self.clock_skew_ms = clock_skew_ms;
        self
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Runs `bukti … --data DATA`.
    pub fn run(&self, arguments: &[&str]) -> Printed {
        run(
            "bukti",
            &with_data(&self.data, arguments),
            &self.environment(),
        )
    }

    /// Starts `bukti … --data DATA` and does not wait.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.spawn_into(Stdio::piped(), arguments)
    }

    /// The same with a standard output of the caller's.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn_into(&self, stdout: Stdio, arguments: &[&str]) -> Child {
        Command::new(binary("bukti"))
            .args(with_data(&self.data, arguments))
            .envs(self.environment())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .expect("start bukti")
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("BUKTI_CLOCK_SKEW_MS", self.clock_skew_ms.to_string())]
    }
}

fn with_data(data: &Path, arguments: &[&str]) -> Vec<std::ffi::OsString> {
    let mut all: Vec<std::ffi::OsString> = arguments.iter().map(Into::into).collect();
    all.push("--data".into());
    all.push(data.into());
    all
}
