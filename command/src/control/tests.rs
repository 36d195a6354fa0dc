use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::{call_within, listen};
use super::server::{Places, take_each};
use super::*;
use crate::limits::{
    ANSWER_BYTES_MAX, ANSWER_FRAMES_QUEUED, CALLS_MAX, REQUEST_BYTES_MAX, TROUBLE_PAUSE,
};
use crate::lock::FolderLock;

const WAIT: Duration = Duration::from_secs(5);

/// A holder with a server in a thread, stopped when dropped.
struct Holder {
    stop: Stop,
    serving: Option<JoinHandle<()>>,
    _lock: FolderLock,
}

impl Holder {
    fn start(
        dir: &Path,
        handler: impl Fn(Request, &mut Progress<'_>) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let lock = FolderLock::acquire(dir).unwrap();
        let server = ControlServer::bind(&lock).unwrap();
        let stop = server.stopper();
        let serving = thread::spawn(move || server.serve(handler));
        Self {
            stop,
            serving: Some(serving),
            _lock: lock,
        }
    }

    fn end(&mut self) {
        self.stop.stop();
        if let Some(serving) = self.serving.take() {
            serving.join().unwrap();
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.end();
    }
}

fn request(args: &[&str]) -> Request {
    Request {
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        cwd: "/somewhere".into(),
        columns: Some(80),
        token: None,
    }
}

fn silent() -> Progress<'static> {
    Progress::to(|text| panic!("unexpected progress: {text}"))
}

#[expect(clippy::needless_pass_by_value, reason = "handlers own their request")]
fn echo(request: Request, _: &mut Progress<'_>) -> Reply {
    Reply::done(format!(
        "{} in {}",
        request.args.join(" "),
        request.cwd.display()
    ))
}

fn data(temp: &TempDir) -> PathBuf {
    temp.path().join("data")
}

#[test]
fn a_command_runs_in_process_when_nobody_holds_the_folder() {
    let temp = TempDir::new().unwrap();
    let asked = request(&["status"]);
    let reply = run(&data(&temp), &asked, &mut silent(), |lock, request, _| {
        assert!(FolderLock::acquire(lock.dir()).is_err());
        Reply::done(request.args.join(" "))
    });
    assert_eq!(reply.unwrap(), Reply::done("status"));
}

#[test]
fn a_command_runs_in_the_process_that_holds_the_folder() {
    let temp = TempDir::new().unwrap();
    let _holder = Holder::start(&data(&temp), |request, _| {
        assert_eq!(request, self::request(&["verify", "--json"]));
        Reply::done("found 2").with_exit(Exit::Failed)
    });
    let asked = request(&["verify", "--json"]);
    let reply = run(&data(&temp), &asked, &mut silent(), |_, _, _| {
        panic!("the folder is held")
    });
    assert_eq!(
        reply.unwrap(),
        Reply::done("found 2").with_exit(Exit::Failed)
    );
}

#[test]
fn progress_reaches_the_caller_before_the_reply() {
    let temp = TempDir::new().unwrap();
    let (go_on, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let _holder = Holder::start(&data(&temp), move |_, progress| {
        progress.say("half\n");
        wait.lock().unwrap().recv_timeout(WAIT).unwrap();
        progress.say("whole\n");
        Reply::done("")
    });
    let mut said = Vec::new();
    let mut progress = Progress::to(|text| {
        said.push(text.to_owned());
        // The command ends only after its first word has come here.
        let _ = go_on.send(());
    });
    call(&data(&temp), &request(&["verify"]), &mut progress).unwrap();
    drop(progress);
    assert_eq!(said, ["half\n", "whole\n"]);
}

#[test]
fn a_folder_with_a_name_too_long_for_a_socket_is_served_like_any_other() {
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("d".repeat(120)).join("e".repeat(200));
    let _holder = Holder::start(&dir, echo);
    assert!(dir.join("control.sock").exists());
    let reply = call(&dir, &request(&["status"]), &mut silent()).unwrap();
    assert_eq!(reply, Reply::done("status in /somewhere"));
}

#[test]
fn the_socket_is_closed_to_other_users() {
    let temp = TempDir::new().unwrap();
    let _holder = Holder::start(&data(&temp), echo);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data(&temp).join("control.sock")), 0o600);
    assert_eq!(mode(&data(&temp)), 0o700);
}

#[test]
fn a_stale_socket_gives_way_to_the_next_holder() {
    let temp = TempDir::new().unwrap();
    fs::create_dir(data(&temp)).unwrap();
    drop(UnixListener::bind(data(&temp).join("control.sock")).unwrap());
    fs::write(data(&temp).join("lock"), "").unwrap();
    let lock = FolderLock::acquire(&data(&temp)).unwrap();
    let asked = request(&["status"]);
    let before = call_within(Duration::ZERO, &data(&temp), &asked, &mut silent());
    assert!(
        matches!(before, Err(CallError::Starting { .. })),
        "{before:?}"
    );
    drop(lock);
    let _holder = Holder::start(&data(&temp), echo);
    call(&data(&temp), &asked, &mut silent()).unwrap();
}

#[test]
fn a_holder_without_a_socket_is_said_to_be_starting_with_its_pid() {
    let temp = TempDir::new().unwrap();
    let _lock = FolderLock::acquire(&data(&temp)).unwrap();
    let asked = request(&["status"]);
    let error = call_within(Duration::ZERO, &data(&temp), &asked, &mut silent()).unwrap_err();
    let CallError::Starting { pid } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*pid, Some(std::process::id()));
    assert_eq!(error.reply().exit, Exit::ServerNotReached);
    assert!(error.to_string().contains("it is starting"));
}

#[test]
fn a_caller_waits_for_a_holder_that_is_starting() {
    let temp = TempDir::new().unwrap();
    let lock = FolderLock::acquire(&data(&temp)).unwrap();
    let dir = data(&temp);
    let caller = thread::spawn(move || call(&dir, &request(&["status"]), &mut silent()));
    let server = ControlServer::bind(&lock).unwrap();
    let stop = server.stopper();
    let serving = thread::spawn(move || server.serve(echo));
    assert_eq!(
        caller.join().unwrap().unwrap(),
        Reply::done("status in /somewhere")
    );
    stop.stop();
    serving.join().unwrap();
}

#[test]
fn a_server_is_stopped_whatever_became_of_its_socket() {
    type Lose = fn(&Path);
    let losses: [Lose; 3] = [
        |dir| fs::remove_file(dir.join("control.sock")).unwrap(),
        |dir| fs::rename(dir, dir.with_extension("moved")).unwrap(),
        |dir| fs::remove_dir_all(dir).unwrap(),
    ];
    for lose in losses {
        let temp = TempDir::new().unwrap();
        let lock = FolderLock::acquire(&data(&temp)).unwrap();
        let server = ControlServer::bind(&lock).unwrap();
        let stop = server.stopper();
        let (ended, end) = channel();
        thread::spawn(move || {
            server.serve(echo);
            ended.send(()).unwrap();
        });
        lose(&data(&temp));
        stop.stop();
        end.recv_timeout(WAIT).unwrap();
    }
}

#[test]
fn a_holder_that_hangs_up_is_said_not_to_answer() {
    let temp = TempDir::new().unwrap();
    let _lock = FolderLock::acquire(&data(&temp)).unwrap();
    let listener = UnixListener::bind(data(&temp).join("control.sock")).unwrap();
    let holder = thread::spawn(move || drop(listener.accept().unwrap()));
    let error = call(&data(&temp), &request(&["status"]), &mut silent()).unwrap_err();
    assert!(matches!(error, CallError::NotAnswering { .. }), "{error:?}");
    assert_eq!(error.reply().exit, Exit::ServerNotReached);
    holder.join().unwrap();
}

#[test]
fn a_holder_that_falls_silent_is_said_not_to_answer() {
    let (mut caller, mut holder) = UnixStream::pair().unwrap();
    frame::write(&mut holder, &Answer::Alive, ANSWER_BYTES_MAX, WAIT).unwrap();
    let error = listen(&mut caller, Duration::from_millis(20), None, &mut silent()).unwrap_err();
    assert!(matches!(error, CallError::NotAnswering { .. }), "{error:?}");
}

#[test]
fn a_holder_at_work_gives_signs_of_life() {
    let temp = TempDir::new().unwrap();
    let (go_on, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let _holder = Holder::start(&data(&temp), move |request, progress| {
        wait.lock().unwrap().recv_timeout(WAIT).unwrap();
        echo(request, progress)
    });
    let mut stream = socket::connect(&data(&temp)).unwrap();
    frame::write(&mut stream, &request(&["long"]), REQUEST_BYTES_MAX, WAIT).unwrap();
    // The command goes on only after the first sign has come.
    let first: Answer = frame::read(&mut stream, ANSWER_BYTES_MAX, WAIT).unwrap();
    assert_eq!(first, Answer::Alive);
    go_on.send(()).unwrap();
    let reply = listen(&mut stream, WAIT, None, &mut silent()).unwrap();
    assert_eq!(reply, Reply::done("long in /somewhere"));
}

#[test]
fn a_handler_that_panics_is_a_failed_command_and_the_next_one_runs() {
    let temp = TempDir::new().unwrap();
    let _holder = Holder::start(&data(&temp), |request, progress| {
        assert_ne!(request.args, ["break"]);
        echo(request, progress)
    });
    let reply = call(&data(&temp), &request(&["break"]), &mut silent()).unwrap();
    assert_eq!(reply.exit, Exit::Failed);
    assert!(reply.stderr.contains("stopped unexpectedly"));
    call(&data(&temp), &request(&["status"]), &mut silent()).unwrap();
}

#[test]
fn a_malformed_request_is_answered_as_wrong_use_and_blocks_nobody() {
    let temp = TempDir::new().unwrap();
    let _holder = Holder::start(&data(&temp), echo);
    // One that says nothing stays connected throughout.
    let _slow = socket::connect(&data(&temp)).unwrap();
    let too_large = u32::try_from(REQUEST_BYTES_MAX + 1)
        .unwrap()
        .to_be_bytes()
        .to_vec();
    let requests = [
        b"\0\0\0\x05hello".to_vec(),
        b"\0\0\0\x02{}".to_vec(),
        b"\0\0\0\x04\xff\xff\xff\xff".to_vec(),
        too_large,
    ];
    for bytes in requests {
        let mut stream = socket::connect(&data(&temp)).unwrap();
        stream.write_all(&bytes).unwrap();
        let answer: Answer = frame::read(&mut stream, ANSWER_BYTES_MAX, WAIT).unwrap();
        let Answer::Reply(reply) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(reply.exit, Exit::WrongUse);
        assert!(
            reply.stderr.starts_with("cannot read the command"),
            "{reply:?}"
        );
    }
    call(&data(&temp), &request(&["status"]), &mut silent()).unwrap();
}

#[test]
fn a_request_over_the_limit_is_not_sent() {
    let temp = TempDir::new().unwrap();
    let _holder = Holder::start(&data(&temp), echo);
    let long = "x".repeat(REQUEST_BYTES_MAX);
    let error = call(&data(&temp), &request(&[&long]), &mut silent()).unwrap_err();
    assert!(error.to_string().contains("over the limit"), "{error}");
    assert_eq!(error.reply().exit, Exit::Failed);
}

#[test]
fn an_answer_over_the_limit_is_a_failed_command() {
    let temp = TempDir::new().unwrap();
    let _holder = Holder::start(&data(&temp), |_, _| {
        Reply::done("x".repeat(ANSWER_BYTES_MAX))
    });
    let reply = call(&data(&temp), &request(&["list"]), &mut silent()).unwrap();
    assert_eq!(reply.exit, Exit::Failed);
    assert!(reply.stderr.contains("over the limit"), "{}", reply.stderr);
}

#[test]
fn twenty_callers_at_once_are_all_answered_though_sixteen_commands_run() {
    let temp = TempDir::new().unwrap();
    let dir = data(&temp);
    // The first sixteen wait for one another, so four callers find every place taken.
    let barrier = Barrier::new(CALLS_MAX);
    let entered = Mutex::new(0);
    let _holder = Holder::start(&dir, move |request, progress| {
        let nth = {
            let mut entered = entered.lock().unwrap();
            *entered += 1;
            *entered
        };
        if nth <= CALLS_MAX {
            barrier.wait();
        }
        echo(request, progress)
    });
    let callers: Vec<_> = (0..20)
        .map(|nth| {
            let dir = dir.clone();
            thread::spawn(move || call(&dir, &request(&["show", &nth.to_string()]), &mut silent()))
        })
        .collect();
    for (nth, caller) in callers.into_iter().enumerate() {
        let reply = caller.join().unwrap().unwrap();
        assert_eq!(reply, Reply::done(format!("show {nth} in /somewhere")));
    }
}

#[test]
fn a_caller_too_many_is_told_so() {
    let temp = TempDir::new().unwrap();
    let dir = data(&temp);
    let (entered, entries) = channel();
    let gate = Arc::new(Barrier::new(CALLS_MAX + 1));
    let inner = Arc::clone(&gate);
    let _holder = Holder::start(&dir, move |request, progress| {
        entered.send(()).unwrap();
        inner.wait();
        echo(request, progress)
    });
    let callers: Vec<_> = (0..CALLS_MAX)
        .map(|_| {
            let dir = dir.clone();
            thread::spawn(move || call(&dir, &request(&["wait"]), &mut silent()))
        })
        .collect();
    for _ in 0..CALLS_MAX {
        entries.recv_timeout(WAIT).unwrap();
    }
    let error = call_within(Duration::ZERO, &dir, &request(&["more"]), &mut silent()).unwrap_err();
    gate.wait();
    assert!(matches!(error, CallError::Crowded { .. }), "{error:?}");
    for caller in callers {
        caller.join().unwrap().unwrap();
    }
}

#[test]
fn a_server_that_stops_finishes_the_command_it_runs() {
    let temp = TempDir::new().unwrap();
    let dir = data(&temp);
    let (entered, entries) = channel();
    let (go_on, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let mut holder = Holder::start(&dir, move |request, progress| {
        entered.send(()).unwrap();
        wait.lock().unwrap().recv_timeout(WAIT).unwrap();
        echo(request, progress)
    });
    let asked = dir.clone();
    let caller = thread::spawn(move || call(&asked, &request(&["long"]), &mut silent()));
    entries.recv_timeout(WAIT).unwrap();
    holder.stop.stop();
    go_on.send(()).unwrap();
    holder.end();
    assert_eq!(
        caller.join().unwrap().unwrap(),
        Reply::done("long in /somewhere")
    );
    let late = call_within(Duration::ZERO, &dir, &request(&["late"]), &mut silent());
    assert!(matches!(late, Err(CallError::Starting { .. })), "{late:?}");
}

#[test]
fn a_server_that_stops_ends_after_the_command_it_runs() {
    let temp = TempDir::new().unwrap();
    let dir = data(&temp);
    let (entered, entries) = channel();
    let (ended, server_ended) = channel::<()>();
    let (server_ended, overtaken) = (Mutex::new(server_ended), Arc::new(Mutex::new(None)));
    let seen = Arc::clone(&overtaken);
    let mut holder = Holder::start(&dir, move |request, progress| {
        entered.send(()).unwrap();
        // A server that does not wait for this command ends long before it does.
        let end = server_ended.lock().unwrap();
        let overtaken = end.recv_timeout(Duration::from_millis(500)).is_ok();
        *seen.lock().unwrap() = Some(overtaken);
        echo(request, progress)
    });
    let caller = thread::spawn(move || call(&dir, &request(&["long"]), &mut silent()));
    entries.recv_timeout(WAIT).unwrap();
    holder.end();
    let _ = ended.send(());
    caller.join().unwrap().unwrap();
    assert_eq!(*overtaken.lock().unwrap(), Some(false));
}

#[test]
fn a_server_that_stops_waits_for_a_command_without_end_only_for_a_while() {
    let places = Arc::new(Places::default());
    let running = Places::take(&places).unwrap();
    places.wait_until_free(Duration::from_millis(20));
    drop(running);
    places.wait_until_free(Duration::MAX);
}

#[test]
fn a_command_keeps_its_place_though_its_caller_is_gone() {
    let temp = TempDir::new().unwrap();
    let dir = data(&temp);
    let (entered, entries) = channel();
    let (go_on, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let gone = Arc::new(Barrier::new(CALLS_MAX + 1));
    let gate = Arc::clone(&gone);
    let _holder = Holder::start(&dir, move |request, progress| {
        if request.args != ["more"] {
            gate.wait();
            // More than fit between command and caller, so that whoever passes them on has seen
            // that nobody is there.
            for _ in 0..2 * ANSWER_FRAMES_QUEUED {
                progress.say("on");
            }
            entered.send(()).unwrap();
            let _ = wait.lock().unwrap().recv();
        }
        echo(request, progress)
    });
    for _ in 0..CALLS_MAX {
        let mut stream = socket::connect(&dir).unwrap();
        frame::write(&mut stream, &request(&["long"]), REQUEST_BYTES_MAX, WAIT).unwrap();
    }
    gone.wait();
    for _ in 0..CALLS_MAX {
        entries.recv_timeout(WAIT).unwrap();
    }
    let crowded = call_within(Duration::ZERO, &dir, &request(&["more"]), &mut silent());
    drop(go_on);
    assert!(
        matches!(crowded, Err(CallError::Crowded { .. })),
        "{crowded:?}"
    );
}

#[test]
fn a_caller_that_cannot_be_taken_keeps_nobody_else_from_it() {
    let places = Arc::new(Places::default());
    let (mut caller, taken) = UnixStream::pair().unwrap();
    frame::write(&mut caller, &request(&["status"]), REQUEST_BYTES_MAX, WAIT).unwrap();
    // As Linux numbers them: the process has too many files open, the system has.
    let (too_many, too_many_in_all) = (24, 23);
    let callers = [
        Err(io::ErrorKind::ConnectionAborted.into()),
        Err(io::ErrorKind::ConnectionReset.into()),
        Err(io::ErrorKind::OutOfMemory.into()),
        Err(io::Error::from_raw_os_error(too_many)),
        Err(io::Error::from_raw_os_error(too_many_in_all)),
        Ok(taken),
    ];
    let begun = Instant::now();
    take_each(callers.into_iter(), &places, &Arc::new(echo));
    assert!(begun.elapsed() >= 5 * TROUBLE_PAUSE, "it waits for better");
    let reply = listen(&mut caller, WAIT, None, &mut silent()).unwrap();
    assert_eq!(reply, Reply::done("status in /somewhere"));
}

#[test]
fn a_caller_that_takes_nothing_is_given_up() {
    let (mut holder, _caller) = UnixStream::pair().unwrap();
    let long = Answer::Stderr("x".repeat(4 * 1024 * 1024));
    let wait = Duration::from_millis(20);
    let error = frame::write(&mut holder, &long, ANSWER_BYTES_MAX, wait).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_request_shows_no_token_when_it_is_logged() {
    let mut asked = request(&["status"]);
    asked.token = Some("secret".to_owned());
    let shown = format!("{asked:?}");
    assert!(
        shown.contains("status") && shown.contains("has_token: true"),
        "{shown}"
    );
    assert!(!shown.contains("secret"));
}
