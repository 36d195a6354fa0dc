//! What is served over HTTP: the sync WebSocket, health, and metrics on a listener of their own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Extension, State};
use axum::http::header::{CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bukti_sync_protocol::limits::FRAME_BYTES_MAX;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::metrics::Readings;
use crate::socket;
use crate::sockets::{Socket, Sockets};

/// Bytes that a WebSocket reads at once. tungstenite's default of 128 KiB would make 1.3 GB of ten
/// thousand idle connections; a frame here is at most 4 KiB.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Bytes of a message that is read at all. One that is a little longer than a frame is answered with
/// a reason; beyond this the connection is dropped.
const MESSAGE_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

/// Bytes of frames that wait to be written. Each frame is flushed, so this is for one.
const WRITE_BUFFER_BYTES: usize = 0;

/// More than one frame and a control frame never wait: the driver awaits each.
const WRITE_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// The service for devices.
pub fn devices(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/sync", get(sync))
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .with_state(app)
}

/// The service for Prometheus.
pub fn metrics(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(read_metrics))
        .with_state(app)
}

async fn sync(
    State(app): State<Arc<App>>,
    Extension(taken): Extension<Arc<Socket>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Some(origin) = headers.get(ORIGIN) {
        // Programs send no origin. A browser's must be one that was named, exactly: otherwise any
        // page a person visits could speak to this server in the browser's network.
        let allowed = origin
            .to_str()
            .is_ok_and(|origin| app.config.origins.iter().any(|known| known == origin));
        if !allowed {
            app.metrics.refused("origin");
            return (
                StatusCode::FORBIDDEN,
                "this origin is not in the server's list\n",
            )
                .into_response();
        }
    }
    let limits = (
        app.config.connections_max,
        app.config.connections_per_address_max,
    );
    let place = match app.sessions.enter(taken.address(), limits.0, limits.1) {
        Ok(place) => place,
        Err(refused) => {
            app.metrics.refused("limit");
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                [("retry-after", "30")],
                format!("{refused}\n"),
            )
                .into_response();
        }
    };
    app.metrics.opened();
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            // Its place among sockets is taken until the session has ended.
            taken.became_session();
            let tracker = app.tracker.clone();
            tracker
                .track_future(socket::drive(socket, place, app))
                .await;
            drop(taken);
        })
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.stopping.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    } else if !app.accepting.healthy() {
        (StatusCode::SERVICE_UNAVAILABLE, "the journal failed\n").into_response()
    } else if app.scrubbing.seen().degraded {
        // It accepts, so whoever balances load goes on; whoever watches reads why.
        "ready, and the journal is damaged: see bukti-server findings\n".into_response()
    } else {
        // Below the reserve reading goes on, and whoever writes is told: taking the server out of
        // service would end the one without helping the other.
        match app.accepting.space() {
            Ok(space) if space.is_at_reserve() => {
                "ready to read; the disk is below its reserve, writes are answered full\n"
                    .into_response()
            }
            Ok(_) | Err(_) => "ready\n".into_response(),
        }
    }
}

async fn read_metrics(State(app): State<Arc<App>>) -> Response {
    let readings = Readings {
        connections: app.sessions.count(),
        queue: app.accepting.depth(),
        position: app.accepting.reader().watermark().position,
        cache_bytes: app.accepting.cached_bytes(),
        scrub: app.scrubbing.seen(),
        space: app.accepting.space().ok(),
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], app.metrics.text(&readings)).into_response()
}

/// Takes connections until `stopping`, each bounded in the time its HTTP head may take.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    sockets: Arc<Sockets>,
    head_timeout: Duration,
    stopping: CancellationToken,
    tracker: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // The system as a whole is out of file descriptors or memory: those that are open go
                // on, and giving the task up for a moment lets some of them end.
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Beyond the limit the connection is closed without a word: words cost memory, too.
        let Some(socket) = sockets.take(peer.ip()) else {
            continue;
        };
        let socket = Arc::new(socket);
        let router = router.clone().layer(Extension(socket.clone()));
        let stopping = stopping.clone();
        tracker.spawn(async move {
            connection(stream, &socket, router, head_timeout, stopping).await;
        });
    }
}

async fn connection(
    stream: TcpStream,
    socket: &Socket,
    router: Router,
    head_timeout: Duration,
    stopping: CancellationToken,
) {
    // Frames are small and each is worth sending at once.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(serving);
    tokio::select! {
        // A peer that breaks off or sends no HTTP is not worth a word.
        _ = &mut serving => {}
        () = socket.gives_way() => {}
        () = stopping.cancelled() => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}
