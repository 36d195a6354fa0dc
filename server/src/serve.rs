//! `bukti-server serve`: from a folder to a server that listens, and back in order.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bukti_command::control::ControlServer;
use bukti_command::lock::FolderLock;
use bukti_core::authority::{Grant, Role};
use bukti_core::causes::with_causes;
use bukti_core::ledger::Opened;
use bukti_core::scope::Scope;
use bukti_sync_protocol::limits;
use bukti_sync_protocol::room::Room;
use bukti_sync_protocol::token::TokenKey;
use ed25519_dalek::SigningKey;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accepting::Accepting;
use crate::app::{App, Partials};
use crate::clock::wall_now;
use crate::commands::{self, Office};
use crate::config::Config;
use crate::descriptors::{self, METRICS_SOCKETS_MAX, SOCKETS_SPARE, SocketRoom};
use crate::folder::{Folder, Started};
use crate::links::Links;
use crate::metrics::Metrics;
use crate::scrub::{self, Scrubbing};
use crate::sessions::Sessions;
use crate::sockets::Sockets;
use crate::walks::Walks;
use crate::{http, invitation};

/// How long the first administrator's invitation holds.
const FIRST_INVITATION_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Serves until it is asked to stop or its disk fails.
///
/// # Errors
/// What kept it from starting, in one line.
pub fn serve(
    lock: &FolderLock,
    folder: &Folder,
    key: Option<&std::path::Path>,
    config: Config,
) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the system gives no threads: {error}"))?;
    runtime.block_on(run(lock, folder, key, config))
}

async fn run(
    lock: &FolderLock,
    folder: &Folder,
    key: Option<&std::path::Path>,
    config: Config,
) -> Result<ExitCode, String> {
    let room = make_room(config.connections_max)?;
    let config = Config {
        connections_max: room.sessions,
        ..config
    };
    // Ports first: a server that cannot listen must not found a journal.
    let listener = listen(config.listen).await?;
    let metrics_listener = match config.metrics_listen {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let metrics = Arc::new(Metrics::default());
    let mut progress = commands::log_progress();
    let started = folder
        .open(key, Some(wall_now()), &config, &metrics, &mut progress)
        .map_err(|error| error.told())?;
    if let Some(path) = key {
        folder
            .remember_key(path)
            .map_err(|error| with_causes(&error))?;
    }
    let founded = started.opened.is_none();
    tell_what_was_found(&started);
    let Started { ledger, key, .. } = started;

    let sessions = Arc::new(Sessions::default());
    let failed = CancellationToken::new();
    let (accepting, ledger_thread) = Accepting::start(
        ledger,
        config.connections_per_device_max,
        sessions.clone(),
        metrics.clone(),
        failed.clone(),
    );
    let url = config
        .public_url
        .clone()
        .unwrap_or_else(|| format!("http://{address}"));
    let scrubbing = Arc::new(Scrubbing::default());
    let links = Links::To(url.clone());
    let mut office = Office::new(folder.clone(), accepting.clone(), &key, links);
    office.scrubbing = Some(scrubbing.clone());
    office.room = Some(room);
    let nobody = office.reader().devices().next().is_none();
    if founded || (nobody && folder.lacks_invitation()) {
        invite_first_administrator(folder, &office).await?;
    }
    folder
        .remember_url(&url)
        .map_err(|error| with_causes(&error))?;
    let app = assemble(config, &key, accepting, sessions, metrics, scrubbing);
    let control =
        ControlServer::bind(lock).map_err(|error| format!("cannot take commands: {error}"))?;
    let control_stop = control.stopper();
    let control_thread = std::thread::spawn(move || {
        control.serve(move |request, progress| commands::answer(&office, &request, progress));
    });

    let per_address = app.config.connections_per_address_max;
    let sockets = Sockets::new(room.sockets, per_address.saturating_add(SOCKETS_SPARE));
    let head_timeout = Duration::from_secs(app.config.handshake_timeout_s.max(1));
    app.tracker.spawn(http::serve(
        listener,
        http::devices(app.clone()),
        sockets,
        head_timeout,
        app.stopping.clone(),
        app.tracker.clone(),
    ));
    app.tracker.spawn(scrub::look(
        app.accepting.clone(),
        app.scrubbing.clone(),
        scrub::alarms(&app.accepting),
        app.stopping.clone(),
    ));
    if let Some(pace) = scrub::Pace::of(&app.config) {
        app.tracker.spawn(scrub::run(
            app.accepting.clone(),
            app.scrubbing.clone(),
            pace,
            app.stopping.clone(),
        ));
    }
    if let Some(listener) = metrics_listener {
        let router = http::metrics(app.clone());
        let (stopping, tracker) = (app.stopping.clone(), app.tracker.clone());
        app.tracker.spawn(http::serve(
            listener,
            router,
            Sockets::new(METRICS_SOCKETS_MAX, METRICS_SOCKETS_MAX),
            head_timeout,
            stopping,
            tracker,
        ));
    }
    // Whoever reads that line may ask the server to stop at once.
    let asked_to_end = Asked::hear()?;
    say_where(address);

    let in_order = asked_to_end.or(&failed).await;
    // Stop accepting, close sessions, drain, sync, exit.
    app.stopping.cancel();
    app.tracker.close();
    let patience = Duration::from_secs(app.config.shutdown_timeout_s);
    if tokio::time::timeout(patience, app.tracker.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            sessions = app.sessions.count(),
            "sessions did not end in time"
        );
    }
    control_stop.stop();
    app.accepting.close();
    let joined = tokio::task::spawn_blocking(move || {
        let _ = control_thread.join();
        ledger_thread.join()
    });
    let in_order = in_order && matches!(joined.await, Ok(Ok(())));
    tracing::info!(
        position = app.accepting.reader().watermark().position,
        "stopped"
    );
    Ok(if in_order {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Has the system allow what it may, and says where that is too little for what is configured.
fn make_room(configured: usize) -> Result<SocketRoom, String> {
    let room =
        SocketRoom::within(descriptors::raise(), configured).map_err(|error| error.to_string())?;
    if let Some(allowed) = room.narrowed_by {
        tracing::warn!(
            configured,
            taken = room.sessions,
            allowed,
            "fewer connections are taken than configured: the limit of open files is too low"
        );
    }
    Ok(room)
}

fn assemble(
    config: Config,
    key: &SigningKey,
    accepting: Accepting,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
    scrubbing: Arc<Scrubbing>,
) -> Arc<App> {
    Arc::new(App {
        config,
        accepting,
        sessions,
        metrics,
        scrubbing,
        partials: Partials::default(),
        room: Room::new(limits::LARGE_BYTES_MAX),
        walks: Walks::default(),
        token_key: TokenKey::derive(key),
        stopping: CancellationToken::new(),
        tracker: TaskTracker::new(),
    })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))
}

/// The one line on standard output that programs wait for.
fn say_where(address: SocketAddr) {
    let mut stdout = std::io::stdout().lock();
    // Whoever started the server may not listen; it serves all the same.
    let _ = writeln!(stdout, "listening on http://{address}");
    let _ = stdout.flush();
    tracing::info!(%address, "listening");
}

fn tell_what_was_found(started: &Started) {
    if let Some(path) = &started.moved_aside {
        tracing::warn!(kept = %path.display(), "the damaged store was put aside");
    }
    match &started.opened {
        None => tracing::info!("a new journal was founded"),
        Some(Opened {
            recovery,
            caught_up,
            rebuilt,
        }) => {
            if let Some(tear) = &recovery.torn {
                tracing::warn!(bytes = tear.bytes, kept = %tear.side_file, "a torn end of the journal was cut after the last whole group");
            }
            if let Some(reason) = rebuilt {
                tracing::warn!(%reason, records = caught_up, "the store was built again from the journal");
            } else if *caught_up > 0 {
                tracing::info!(records = caught_up, "the store caught up with the journal");
            }
        }
    }
}

async fn invite_first_administrator(folder: &Folder, office: &Office) -> Result<(), String> {
    let grants = vec![Grant {
        role: Role::Administrator,
        scope: Scope::all(),
    }];
    let person = "administrator".to_owned();
    let asked = office.clone();
    let link = tokio::task::spawn_blocking(move || {
        invitation::invite(&asked, person, grants, FIRST_INVITATION_MS)
    })
    .await
    .map_err(|error| error.to_string())?
    .map_err(|error| with_causes(&error))?;
    let path = folder
        .write_invitation(&link.link)
        .map_err(|error| with_causes(&error))?;
    eprintln!(
        "first start: the administrator's invitation, good for 7 days and one device, is in {}",
        path.display()
    );
    Ok(())
}

/// Signals by which somebody asks the server to stop.
struct Asked {
    terminate: Signal,
    interrupt: Signal,
}

impl Asked {
    /// Hears them from here on.
    fn hear() -> Result<Self, String> {
        let hear = |kind| signal(kind).map_err(|error| format!("cannot hear signals: {error}"));
        Ok(Self {
            terminate: hear(SignalKind::terminate())?,
            interrupt: hear(SignalKind::interrupt())?,
        })
    }

    /// True once somebody asked, false if the ledger failed before.
    async fn or(mut self, failed: &CancellationToken) -> bool {
        tokio::select! {
            () = failed.cancelled() => false,
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => true,
        }
    }
}
