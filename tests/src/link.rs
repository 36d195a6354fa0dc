//! A bad mobile link between a device and a server: slow, far away, and cut again and again.
//!
//! [`Link`] says how bad, [`Proxy`] is a TCP proxy on 127.0.0.1 that behaves so. Each connection
//! has the link to itself. Bytes leave at the rate of the link and arrive half a round trip later;
//! a new connection costs one round trip before the first byte, as a TCP handshake does. A cut
//! resets both ends at whatever byte they are.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Bytes that one read takes: small, so that a cut falls inside frames.
const CHUNK_BYTES: usize = 256;

/// Chunks on their way in one direction: what the buffers of such a network hold (32 KiB).
const CHUNKS_IN_FLIGHT_MAX: usize = 128;

/// How bad a link is.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Bits a second, each way.
    pub bits_per_second: u64,
    /// From a byte sent to an answer to it, without the time the bytes take.
    pub round_trip: Duration,
    /// How long a connection lives, if it is cut at all.
    pub cut_after: Option<Duration>,
}

impl Link {
    /// What the field has on a good day: 50 kbit/s and 800 ms, cut every 6 s.
    pub const FIELD: Self = Self {
        bits_per_second: 50_000,
        round_trip: Duration::from_millis(800),
        cut_after: Some(Duration::from_secs(6)),
    };

    /// The same without cuts.
    pub const SLOW: Self = Self {
        cut_after: None,
        ..Self::FIELD
    };
}

/// What went through a proxy.
#[derive(Debug, Default)]
pub struct Traffic {
    connections: AtomicU64,
    cuts: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
}

impl Traffic {
    /// Connections taken.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections cut by the link, not by an end.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }

    /// Bytes delivered to the server.
    pub fn bytes_up(&self) -> u64 {
        self.bytes_up.load(Ordering::Relaxed)
    }

    /// Bytes delivered to the device.
    pub fn bytes_down(&self) -> u64 {
        self.bytes_down.load(Ordering::Relaxed)
    }
}

/// Where a connection leads, and how.
#[derive(Debug, Clone, Copy)]
struct Route {
    target: SocketAddr,
    link: Link,
}

/// A running proxy; it ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    route: Arc<Mutex<Route>>,
    traffic: Arc<Traffic>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy on a free port of 127.0.0.1 that leads to `target`.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start(target: SocketAddr, link: Link) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let route = Arc::new(Mutex::new(Route { target, link }));
        let traffic = Arc::new(Traffic::default());
        let accepting = tokio::spawn(accept(listener, route.clone(), traffic.clone()));
        Ok(Self {
            address,
            route,
            traffic,
            accepting,
        })
    }

    /// Where devices connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What went through so far.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Leads later connections to another server, as after a restart on another port.
    pub fn lead_to(&self, target: SocketAddr) {
        self.route().target = target;
    }

    /// Gives later connections another link, as where a device is carried to another place.
    pub fn use_link(&self, link: Link) {
        self.route().link = link;
    }

    fn route(&self) -> MutexGuard<'_, Route> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, route: Arc<Mutex<Route>>, traffic: Arc<Traffic>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((device, _)) = listener.accept().await {
        traffic.connections.fetch_add(1, Ordering::Relaxed);
        let route = *route.lock().unwrap_or_else(PoisonError::into_inner);
        let traffic = traffic.clone();
        connections.spawn(async move {
            // An unreachable server shows to the device as a connection that closes.
            let _ = carry(device, route, &traffic).await;
        });
    }
}

async fn carry(device: TcpStream, route: Route, traffic: &Traffic) -> io::Result<()> {
    let Route { target, link } = route;
    let opened = Instant::now();
    sleep(link.round_trip).await;
    let server = TcpStream::connect(target).await?;
    for end in [&device, &server] {
        end.set_nodelay(true)?;
        // A cut must look like one: a reset, not an orderly end.
        end.set_zero_linger()?;
    }
    let (device_read, device_write) = device.into_split();
    let (server_read, server_write) = server.into_split();
    let both = async {
        tokio::select! {
            () = pump(device_read, server_write, link, &traffic.bytes_up) => {}
            () = pump(server_read, device_write, link, &traffic.bytes_down) => {}
        }
    };
    match link.cut_after {
        Some(life) => {
            let left = (opened + life).saturating_duration_since(Instant::now());
            if timeout(left, both).await.is_err() {
                traffic.cuts.fetch_add(1, Ordering::Relaxed);
            }
        }
        None => both.await,
    }
    Ok(())
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, link: Link, count: &AtomicU64) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_IN_FLIGHT_MAX);
    let reading = async move {
        let mut free_at = Instant::now();
        let mut buffer = [0; CHUNK_BYTES];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let nanos = length as u64 * 8 * 1_000_000_000 / link.bits_per_second;
            free_at = free_at.max(Instant::now()) + Duration::from_nanos(nanos);
            let arrives = free_at + link.round_trip / 2;
            if sender
                .send((arrives, buffer[..length].to_vec()))
                .await
                .is_err()
            {
                break;
            }
            sleep_until(free_at).await;
        }
    };
    let writing = async {
        while let Some((arrives, bytes)) = receiver.recv().await {
            sleep_until(arrives).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
            count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo_server() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = socket.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn bytes_take_the_time_that_the_link_says() {
        let link = Link {
            bits_per_second: 80_000,
            round_trip: Duration::from_millis(100),
            cut_after: None,
        };
        let proxy = Proxy::start(echo_server().await, link).await.unwrap();
        let started = Instant::now();
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        socket.write_all(&[7; 4_000]).await.unwrap();
        let mut back = vec![0; 4_000];
        socket.read_exact(&mut back).await.unwrap();
        assert_eq!(back, vec![7; 4_000]);
        // 4,000 bytes at 80 kbit/s are 400 ms, after a handshake and a round trip of 100 ms each.
        assert!(
            started.elapsed() >= Duration::from_millis(590),
            "{:?}",
            started.elapsed()
        );
        assert_eq!(
            (proxy.traffic().bytes_up(), proxy.traffic().bytes_down()),
            (4_000, 4_000)
        );
    }

    #[tokio::test]
    async fn a_connection_is_cut_when_its_time_is_up() {
        let link = Link {
            bits_per_second: 1_000_000,
            round_trip: Duration::from_millis(10),
            cut_after: Some(Duration::from_millis(200)),
        };
        let proxy = Proxy::start(echo_server().await, link).await.unwrap();
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        let mut buffer = [0; 16];
        assert!(!matches!(socket.read(&mut buffer).await, Ok(1..)));
        assert_eq!(proxy.traffic().cuts(), 1);
    }

    #[tokio::test]
    async fn a_later_connection_takes_the_link_and_the_server_of_its_time() {
        let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = gone.local_addr().unwrap();
        drop(gone);
        let fast = Link {
            bits_per_second: 10_000_000,
            round_trip: Duration::from_millis(1),
            cut_after: None,
        };
        let proxy = Proxy::start(address, fast).await.unwrap();
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        let mut buffer = [0; 4];
        assert!(!matches!(socket.read(&mut buffer).await, Ok(1..)));
        proxy.lead_to(echo_server().await);
        proxy.use_link(Link {
            round_trip: Duration::from_millis(100),
            ..fast
        });
        let started = Instant::now();
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        socket.write_all(b"here").await.unwrap();
        socket.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"here");
        assert!(started.elapsed() >= Duration::from_millis(190));
    }
}
