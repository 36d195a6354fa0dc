//! `bukti sync --watch`: stays in sync, and serves the commands of others meanwhile.
//!
//! One task owns the device and the connection. A command that comes over the control socket is a
//! closure sent to that task; what it enters is pushed as soon as it has answered.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bukti_client::device::Status;
use bukti_client::driver::{self, Progress, SyncError};
use bukti_client::limits::{REQUESTS_QUEUED, SYNC_LOOK_EVERY_MS};
use bukti_command::control::{ControlServer, Request};
use bukti_command::{FolderLock, LockError, Reply, parse};
use bukti_core::journal::disk::DiskStorage;
use bukti_core::kv::sled::SledKv;
use bukti_sync_protocol::client::Event;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::desk::FieldDevice;
use super::failure::{Failure, going_on};
use super::line::{self, Command, Line};
use super::sync::{self, Summary};
use super::{at_desk, folder};

mod news;

use self::news::{News, Printer};

type Wish = driver::Request<DiskStorage, SledKv>;

/// Holds the folder until Ctrl-C.
pub(super) fn run(folder: &Path, json: bool) -> Result<Reply, Failure> {
    let lock = FolderLock::acquire(folder).map_err(|error| match error {
        LockError::Busy { .. } => Failure::Failed(format!(
            "{error}: it syncs already, or a command runs; try again when it has ended"
        )),
        LockError::Open { .. } | LockError::Io { .. } => Failure::failed(&error),
    })?;
    let control = ControlServer::bind(&lock)
        .map_err(|error| Failure::Failed(format!("cannot take commands: {error}")))?;
    let mut device = folder::open(folder)?;
    let mut printer = Printer::to_stdout(json)
        .map_err(|error| Failure::Failed(format!("cannot print: {error}")))?;
    let findings = device.findings()?;
    News::aside(&findings).for_each(|news| printer.print(&news));
    let (sender, requests) = tokio::sync::mpsc::channel(REQUESTS_QUEUED);
    let hub = Arc::new(Hub {
        folder: folder.to_owned(),
        sender: Mutex::new(Some(sender)),
        view: Arc::new(Mutex::new(View {
            summary: Summary::starting_from(&device),
            ..View::default()
        })),
    });
    let stop = control.stopper();
    let serving = thread::Builder::new()
        .name("control".into())
        .spawn({
            let hub = Arc::clone(&hub);
            move || control.serve(move |request, _progress| hub.serve(&request))
        })
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    let ended = sync::runtime()?.block_on(follow(&mut device, &hub, requests, &mut printer));
    hub.close();
    printer.finish();
    stop.stop();
    if serving.join().is_err() {
        tracing::warn!("the thread that takes commands stopped unexpectedly");
    }
    match ended? {
        Ok(_synced) => Ok(Reply::done("")),
        Err(error) => Err(match &error {
            SyncError::NotReached { .. }
            | SyncError::Interrupted { .. }
            | SyncError::Full { .. } => Failure::NotReached(error.to_string()),
            SyncError::Refused(_) | SyncError::Device(_) => Failure::failed(&error),
        }),
    }
}

/// Syncs until a signal asks to end; then says goodbye in order.
async fn follow(
    device: &mut FieldDevice,
    hub: &Hub,
    mut requests: tokio::sync::mpsc::Receiver<Wish>,
    printer: &mut Printer,
) -> Result<Result<driver::Synced, SyncError>, Failure> {
    let cannot = |error: io::Error| Failure::Failed(format!("cannot take signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let settings = sync::settings();
    let mut show = |progress: Progress<'_>| {
        let mut view = hub.view();
        let before = view.summary.clone();
        view.note(&progress);
        let since = view.summary.since(&before);
        let news = News::of(&progress, &view, &since);
        drop(view);
        news.into_iter()
            .chain(News::left(&since))
            .for_each(|news| printer.print(&news));
    };
    let mut watching = pin!(driver::watch(device, &settings, &mut show, &mut requests));
    loop {
        tokio::select! {
            ended = &mut watching => return Ok(ended),
            _ = interrupt.recv() => hub.close(),
            _ = terminate.recv() => hub.close(),
        }
    }
}

/// Where commands and the task that owns the device meet.
#[derive(Debug)]
struct Hub {
    folder: PathBuf,
    /// `None` once the end is near.
    sender: Mutex<Option<tokio::sync::mpsc::Sender<Wish>>>,
    view: Arc<Mutex<View>>,
}

/// What the session is known to be doing.
#[derive(Debug, Clone, Default)]
struct View {
    summary: Summary,
    connected: bool,
    up_to_date: bool,
    /// Whether the session has nothing more to do.
    done: bool,
    /// Whether the server only takes until an administrator confirms this device.
    awaits_confirmation: bool,
    /// Why the last connection ended or was not made.
    cut: Option<String>,
    /// How many did.
    cuts: u64,
}

impl View {
    fn note(&mut self, progress: &Progress<'_>) {
        self.summary.note(progress);
        match progress {
            Progress::Connecting { .. } => {}
            Progress::Traffic { done, .. } => self.done = *done,
            Progress::Connected => {
                (self.connected, self.up_to_date, self.done) = (true, false, false);
                self.cut = None;
            }
            Progress::Learned(event, _) => match event {
                Event::UpToDate { .. } => self.up_to_date = true,
                Event::Progress { .. } | Event::Page { .. } => self.up_to_date = false,
                Event::Welcome { confirmed, .. } => self.awaits_confirmation = !confirmed,
                Event::Void
                | Event::StatementsHeld(_)
                | Event::Readmitted { .. }
                | Event::Differs { .. }
                | Event::Accepted(_)
                | Event::Missing { .. }
                | Event::Rejected { .. }
                | Event::Stale { .. }
                | Event::LeftScope(_)
                | Event::Bye(_) => {}
            },
            Progress::Cut { reason, .. } => {
                (self.connected, self.up_to_date, self.done) = (false, false, false);
                self.cut = Some((*reason).to_owned());
                self.cuts += 1;
            }
        }
    }
}

impl Hub {
    /// Runs one command where the device is.
    fn serve(&self, request: &Request) -> Reply {
        let words = std::iter::once("bukti").chain(request.args.iter().map(String::as_str));
        match parse::<Line>(words) {
            Ok(line) => self
                .place(line, request)
                .unwrap_or_else(|failure| failure.reply()),
            Err(reply) => reply,
        }
    }

    fn place(&self, line: Line, request: &Request) -> Result<Reply, Failure> {
        match &line.command {
            Command::Enrol { .. } => Err(Failure::Failed(
                "this folder is held by 'bukti sync --watch': end it, then enrol".into(),
            )),
            Command::Sync(typed) => self.wait_for_sync(*typed, line.common.json),
            Command::Kinds { .. }
            | Command::Indicators(_)
            | Command::Evidence { .. }
            | Command::Conflicts { .. }
            | Command::Resolve { .. }
            | Command::Status
            | Command::Quarantine { .. } => {
                let (folder, request) = (self.folder.clone(), request.clone());
                self.ask(move |device| at_desk(device, &folder, &line, &request))?
            }
        }
    }

    /// Has the task that owns the device do `work`.
    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut FieldDevice) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.wish(Wish::Work(Box::new(move |device| {
            // Whoever asked waits for the answer; the channel has room for it.
            let _ = answer.send(work(device));
        })))?;
        answered.recv().map_err(|_| ending())
    }

    /// How the device and its session stand at one moment: what comes between two looks would make
    /// edits that are received look left behind.
    fn look(&self) -> Result<(Status, View), Failure> {
        let view = Arc::clone(&self.view);
        let (status, view) = self.ask(move |device| (device.status(), locked(&view).clone()))?;
        Ok((status?, view))
    }

    fn wish(&self, wish: Wish) -> Result<(), Failure> {
        let sender = locked(&self.sender).clone().ok_or_else(ending)?;
        sender.blocking_send(wish).map_err(|_| ending())
    }

    /// `bukti sync` beside a watch: waits until the watch has nothing more to do and the server
    /// said something since. A link that a radio dropped looks up to date until it does not answer.
    fn wait_for_sync(&self, typed: line::Sync, json: bool) -> Result<Reply, Failure> {
        if typed.watch {
            return Err(Failure::Failed(
                "another process syncs this folder already".into(),
            ));
        }
        let before = self.view().clone();
        if !before.connected {
            self.wish(Wish::TryNow)?;
        }
        let (asks, mut answer) = oneshot::channel();
        self.wish(Wish::Ask(asks))?;
        let mut is_there = false;
        let until = Instant::now() + typed.timeout;
        loop {
            // Where the sender is gone, the connection ended, and that is told below.
            is_there = is_there || answer.try_recv().is_ok();
            let (status, view) = self.look()?;
            let mut summary = view.summary.since(&before.summary);
            summary.stand(&status);
            if view.up_to_date && view.done && is_there {
                summary.up_to_date = summary.is_settled();
                return Ok(sync::ended_in_order(&summary, &status, json));
            }
            let cut_since = view.cut.filter(|_| view.cuts > before.cuts);
            let reason = match cut_since {
                Some(reason) => reason,
                None if Instant::now() < until => {
                    thread::sleep(Duration::from_millis(SYNC_LOOK_EVERY_MS));
                    continue;
                }
                None => "the time is over".to_owned(),
            };
            let failure = Failure::NotReached(going_on(
                &format!("the server was not reached: {reason}"),
                "everything entered is kept, and 'bukti sync --watch' goes on trying",
            ));
            return Ok(sync::not_finished(&summary, &failure, json));
        }
    }

    /// Takes no more commands, which ends the session.
    fn close(&self) {
        locked(&self.sender).take();
    }

    fn view(&self) -> MutexGuard<'_, View> {
        locked(&self.view)
    }
}

/// What a command is told that came too late.
fn ending() -> Failure {
    Failure::NotReached("'bukti sync --watch' is ending: nothing was done, try again".into())
}

/// Neither a sender nor a view can be left half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use bukti_client::device::Tally;
    use bukti_command::Exit;
    use bukti_core::id::RunId;

    use super::*;
    use crate::cli::status::AWAITS_CONFIRMATION;
    use crate::cli::tests::{Person, Server};

    /// What comes of asking whether the server is there.
    #[derive(Clone, Copy)]
    enum Link {
        Stands,
        /// What is awaited comes as soon as somebody looked.
        Late,
        Dead,
    }

    /// A hub whose device is owned by a thread that does what it is asked, and the end of it.
    fn hub(person: &Person, link: Link) -> (Arc<Hub>, thread::JoinHandle<()>) {
        let (sender, mut wishes) = tokio::sync::mpsc::channel(REQUESTS_QUEUED);
        let hub = Arc::new(Hub {
            folder: person.folder().to_owned(),
            sender: Mutex::new(Some(sender)),
            view: Arc::default(),
        });
        let (mut device, asked) = (folder::open(person.folder()).unwrap(), Arc::clone(&hub));
        let owner = thread::spawn(move || {
            let (mut waits, mut looks, mut late) = (Vec::new(), 0, false);
            while let Some(wish) = wishes.blocking_recv() {
                match wish {
                    Wish::Work(work) => {
                        looks += usize::from(!waits.is_empty());
                        // Whoever asked has looked once by then.
                        if looks == 2 {
                            waits.clear();
                            asked.view().note(&Progress::Cut {
                                reason: "nothing comes any more",
                                pause: Duration::ZERO,
                            });
                        }
                        work(&mut device);
                        if std::mem::take(&mut late) {
                            asked.learn(&up_to_date());
                            asked.carry(0, true);
                            device.opening(Vec::new(), "").unwrap();
                            let runs = device.offers().into_iter().map(|offer| (offer.run, 7));
                            let accepted = Event::Accepted(runs.collect());
                            device.handle_event(7, [0; 16], &accepted).unwrap();
                        }
                    }
                    Wish::Ask(asks) => match link {
                        Link::Stands | Link::Late => {
                            late = matches!(link, Link::Late);
                            asks.send(()).unwrap();
                        }
                        Link::Dead => waits.push(asks),
                    },
                    // An attempt was asked for, and it fails.
                    Wish::TryNow => asked.view().note(&Progress::Cut {
                        reason: "connection refused",
                        pause: Duration::ZERO,
                    }),
                }
            }
        });
        (hub, owner)
    }

    fn up_to_date() -> Event {
        Event::UpToDate {
            cursor: Vec::new(),
            position: 7,
            digests: Vec::new(),
        }
    }

    impl Hub {
        fn learn(&self, event: &Event) {
            let learned = Progress::Learned(event, Tally::default());
            self.view().note(&learned);
        }

        fn carry(&self, unsent: usize, done: bool) {
            self.view().note(&Progress::Traffic {
                traffic: driver::Traffic::default(),
                unsent,
                done,
            });
        }
    }

    fn ask(hub: &Hub, typed: &str) -> Reply {
        let args = typed.split(' ').map(str::to_owned).collect();
        hub.serve(&Request {
            args,
            ..Request::default()
        })
    }

    #[test]
    fn commands_work_where_the_device_is_and_are_turned_away_at_the_end() {
        let ani = Server::new().officer("Ani");
        let (hub, owner) = hub(&ani, Link::Stands);
        let made = ask(
            &hub,
            "evidence new --kind photo --title Papan --row I.1.3 --json",
        );
        assert_eq!(made.exit, Exit::Done, "{}", made.stderr);
        let status = ask(&hub, "status --json");
        assert!(status.stdout.contains("\"unsent\": 1"), "{}", status.stdout);
        assert_eq!(ask(&hub, "evidence show abc").exit, Exit::WrongUse);
        assert_eq!(ask(&hub, "evidnce").exit, Exit::WrongUse);
        let link = format!("enrol {}", "https://bukti.example/enrol#a.b");
        assert!(ask(&hub, &link).stderr.contains("end it, then enrol"));
        assert!(ask(&hub, "sync --watch").stderr.contains("already"));
        hub.close();
        owner.join().unwrap();
        let late = ask(&hub, "status");
        assert_eq!(late.exit, Exit::ServerNotReached);
        assert!(
            late.stderr.contains("nothing was done, try again"),
            "{}",
            late.stderr
        );
    }

    #[test]
    fn a_sync_beside_a_watch_waits_for_it_and_says_whether_it_succeeded() {
        let ani = Server::new().officer("Ani");
        let (hub, owner) = hub(&ani, Link::Stands);
        let reply = ask(&hub, "sync --json");
        assert_eq!(reply.exit, Exit::ServerNotReached);
        assert!(
            reply.stderr.contains("connection refused"),
            "{}",
            reply.stderr
        );
        assert!(
            reply.stdout.contains("\"up_to_date\": false"),
            "{}",
            reply.stdout
        );
        hub.view().note(&Progress::Connected);
        hub.learn(&up_to_date());
        hub.carry(0, true);
        let reply = ask(&hub, "sync --json");
        assert_eq!((reply.exit, reply.stderr.as_str()), (Exit::Done, ""));
        hub.close();
        owner.join().unwrap();
    }

    #[test]
    fn a_sync_beside_a_watch_does_not_wait_for_what_no_server_takes_now() {
        let ani = Server::new().officer("Ani");
        let (hub, owner) = hub(&ani, Link::Stands);
        ask(&hub, "evidence new --kind photo --title Papan --row I.1.3");
        hub.view().note(&Progress::Connected);
        hub.learn(&up_to_date());
        hub.carry(1, true);
        let reply = ask(&hub, "sync");
        assert_eq!(reply.exit, Exit::Failed, "{}", reply.stderr);
        assert!(!reply.stderr.contains("not reached"), "{}", reply.stderr);
        hub.close();
        owner.join().unwrap();
    }

    #[test]
    fn a_sync_beside_a_watch_takes_nothing_for_left_behind_that_is_received_while_it_looks() {
        let ani = Server::new().officer("Ani");
        let (hub, owner) = hub(&ani, Link::Late);
        ask(&hub, "evidence new --kind photo --title Papan --row I.1.3");
        hub.view().note(&Progress::Connected);
        let reply = ask(&hub, "sync");
        assert_eq!((reply.exit, reply.stderr.as_str()), (Exit::Done, ""));
        hub.close();
        owner.join().unwrap();
    }

    #[test]
    fn a_sync_beside_a_watch_waits_for_what_is_given_back_and_for_what_comes_in_parts() {
        let ani = Server::new().officer("Ani");
        let (hub, owner) = hub(&ani, Link::Stands);
        let waits = || {
            let reply = ask(&hub, "sync --timeout 1");
            assert_eq!(reply.exit, Exit::ServerNotReached, "{reply:?}");
            assert!(reply.stderr.contains("the time is over"), "{reply:?}");
        };
        hub.view().note(&Progress::Connected);
        hub.learn(&up_to_date());
        // Nothing is unsent, and lost records are given back.
        hub.carry(0, false);
        waits();
        hub.carry(0, true);
        assert_eq!(ask(&hub, "sync").exit, Exit::Done);
        let (received, total) = (1, 2);
        hub.learn(&Event::Progress { received, total });
        hub.carry(0, true);
        waits();
        hub.learn(&up_to_date());
        assert_eq!(ask(&hub, "sync").exit, Exit::Done);
        hub.close();
        owner.join().unwrap();
    }

    #[test]
    fn a_sync_beside_a_watch_over_a_dead_link_does_not_say_that_it_is_up_to_date() {
        let ani = Server::new().officer("Ani");
        let (hub, owner) = hub(&ani, Link::Dead);
        hub.view().note(&Progress::Connected);
        hub.learn(&up_to_date());
        hub.carry(0, true);
        let reply = ask(&hub, "sync");
        assert_eq!(reply.exit, Exit::ServerNotReached);
        assert!(
            reply.stdout.starts_with("Not up to date"),
            "{}",
            reply.stdout
        );
        assert!(
            reply.stderr.contains("nothing comes any more"),
            "{}",
            reply.stderr
        );
        hub.close();
        owner.join().unwrap();
    }

    #[test]
    fn a_watch_says_what_left_what_went_back_and_that_it_waits_to_be_confirmed() {
        let mut view = View::default();
        let up_to_date = up_to_date();
        let news = |view: &View, event: &Event, since: &Summary| {
            let progress = Progress::Learned(event, Tally::default());
            let news = News::of(&progress, view, since).unwrap();
            (news.text, news.json["event"].clone())
        };
        let nothing = Summary::default();
        assert_eq!(news(&view, &up_to_date, &nothing).1, "up_to_date");
        view.awaits_confirmation = true;
        let (text, event) = news(&view, &up_to_date, &nothing);
        assert_eq!(
            (text.as_str(), event),
            (AWAITS_CONFIRMATION, "awaits_confirmation".into())
        );

        let mut since = Summary::default();
        let tally = Tally {
            gave_back: 1,
            not_granted: 2,
            ..Tally::default()
        };
        since.note(&Progress::Learned(&Event::Void, tally));
        let accepted = Event::Accepted(vec![(RunId([1; 16]), 7), (RunId([2; 16]), 8)]);
        assert_eq!(news(&view, &accepted, &since).0, "sent 1, gave back 1");
        let left = News::left(&since).unwrap();
        assert!(
            left.text.starts_with("2 documents are no longer"),
            "{}",
            left.text
        );
        assert_eq!(left.json["documents"], 2);
        assert!(News::left(&nothing).is_none());
    }
}
