//! A relay between devices and a server that keeps every frame, to say what a sync takes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bukti_sync_protocol::frame::{Frame, decode};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, connect_async};

/// Where a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the server.
    Up,
    /// To the device.
    Down,
}

/// A frame that went through, as its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Where it went.
    pub way: Way,
    /// The message.
    pub bytes: Vec<u8>,
}

/// A running relay; it ends when dropped.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    passed: Arc<Mutex<Vec<Passed>>>,
    accepting: JoinHandle<()>,
}

impl Tap {
    /// Starts a relay on a free port of 127.0.0.1 that leads to `target`.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let target = Arc::new(Mutex::new(target));
        let passed = Arc::new(Mutex::new(Vec::new()));
        let accepting = tokio::spawn(accept(listener, target.clone(), passed.clone()));
        Ok(Self {
            address,
            target,
            passed,
            accepting,
        })
    }

    /// The address for devices.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Leads later connections to another server.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// What went through since it was last asked, in its order.
    pub fn take(&self) -> Vec<Passed> {
        std::mem::take(&mut *self.passed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: Arc<Mutex<SocketAddr>>,
    passed: Arc<Mutex<Vec<Passed>>>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((device, _)) = listener.accept().await {
        let target = *target.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = passed.clone();
        connections.spawn(async move {
            // What goes wrong shows to both as a connection that closes.
            relay(device, target, &passed).await;
        });
    }
}

async fn relay(device: TcpStream, target: SocketAddr, passed: &Mutex<Vec<Passed>>) -> Option<()> {
    let mut device = accept_async(device).await.ok()?;
    let url = format!("ws://{target}/v1/sync");
    let (mut server, _) = connect_async(url).await.ok()?;
    loop {
        let (way, message) = tokio::select! {
            message = device.next() => (Way::Up, message?.ok()?),
            message = server.next() => (Way::Down, message?.ok()?),
        };
        if let Message::Binary(bytes) = &message {
            let bytes = bytes.to_vec();
            let mut passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
            passed.push(Passed { way, bytes });
        }
        match way {
            Way::Up => server.send(message).await.ok()?,
            Way::Down => device.send(message).await.ok()?,
        }
    }
}

/// What a sync took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Bytes of all frames to the server.
    pub bytes_up: usize,
    /// Bytes of all frames to the device.
    pub bytes_down: usize,
    /// Bytes of the frames that compare, both ways.
    pub comparing_bytes: usize,
    /// Frames that compare, both ways.
    pub comparing_frames: usize,
    /// Round trips until all that differs was found.
    pub comparing_round_trips: usize,
    /// Bytes of the frames that carry runs to the server.
    pub pushing_bytes: usize,
}

impl Counted {
    /// Counts frames. The server answers frames that compare in their order, by one or more; a
    /// frame of the device counts as sent for the last answer that may have led to it.
    ///
    /// # Panics
    /// If something that is no frame went through.
    pub fn of(passed: &[Passed]) -> Self {
        let mut counted = Self::default();
        let mut asked = std::collections::VecDeque::new();
        let mut answered = 0;
        for Passed { way, bytes } in passed {
            match way {
                Way::Up => counted.bytes_up += bytes.len(),
                Way::Down => counted.bytes_down += bytes.len(),
            }
            match decode(bytes).expect("a frame went through") {
                Some(Frame::Reconcile(reconcile)) => {
                    counted.comparing_bytes += bytes.len();
                    counted.comparing_frames += 1;
                    match way {
                        Way::Up if reconcile.survived.is_some() => {}
                        Way::Up => asked.push_back(answered + 1),
                        Way::Down => {
                            let trip = asked.front().copied().expect("only what was asked");
                            answered = answered.max(trip);
                            if !reconcile.more {
                                asked.pop_front();
                            }
                        }
                    }
                }
                Some(Frame::Push(_) | Frame::Fragment(_)) if *way == Way::Up => {
                    counted.pushing_bytes += bytes.len();
                }
                Some(_other) => {}
                None => {}
            }
        }
        counted.comparing_round_trips = answered;
        counted
    }
}
