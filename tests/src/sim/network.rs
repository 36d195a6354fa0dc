//! Virtual time and the connections that carry messages through it.

use std::collections::BTreeMap;

use bukti_sync_protocol::Mono;

use super::random::Random;

/// What is to happen, in order of time; what was planned first happens first.
#[derive(Debug)]
pub struct Agenda<E> {
    now: Mono,
    planned: u64,
    events: BTreeMap<(Mono, u64), E>,
}

impl<E> Default for Agenda<E> {
    /// Nothing planned at time 0.
    fn default() -> Self {
        Self {
            now: 0,
            planned: 0,
            events: BTreeMap::new(),
        }
    }
}

impl<E> Agenda<E> {
    /// The present moment.
    pub fn now(&self) -> Mono {
        self.now
    }

    /// Plans an event, at the present moment at the earliest.
    pub fn plan(&mut self, at: Mono, event: E) {
        self.planned += 1;
        self.events.insert((at.max(self.now), self.planned), event);
    }

    /// Goes on to the next event.
    pub fn advance(&mut self) -> Option<E> {
        let ((at, _), event) = self.events.pop_first()?;
        self.now = at;
        Some(event)
    }
}

/// How good the network is where a device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// No network.
    None,
    /// 50 kbit/s, up to 2 s a way, and every thirtieth message is the connection's last.
    Poor,
    /// 8 Mbit/s and 20 ms a way.
    Good,
}

impl Signal {
    fn bytes_per_second(self) -> u64 {
        match self {
            Self::None | Self::Poor => 6_250,
            Self::Good => 1_000_000,
        }
    }

    fn delay_ms(self, random: &mut Random) -> u64 {
        match self {
            Self::None | Self::Poor => random.between(300, 2_000),
            Self::Good => random.between(15, 25),
        }
    }

    fn cuts(self, random: &mut Random) -> bool {
        match self {
            Self::None => true,
            Self::Poor => random.below(30) == 0,
            Self::Good => false,
        }
    }
}

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The device's.
    Device,
    /// The server's.
    Server,
}

/// One connection: a stream of bytes each way. Nothing is lost out of the middle of a stream; a cut
/// takes what had not arrived whole, and each end hears of it when it does.
#[derive(Debug)]
pub struct Connection {
    random: Random,
    signal: Signal,
    up: Stream,
    down: Stream,
    cut: bool,
}

#[derive(Debug, Default)]
struct Stream {
    /// When all that was sent so far has left.
    sent_at: Mono,
    /// When all that was sent so far has arrived.
    arrives_at: Mono,
    /// What arrives later than this does not arrive.
    until: Option<Mono>,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It arrives then, unless the connection is cut before.
    Arrives(Mono),
    /// The connection was cut before it was all sent.
    Cut,
}

impl Connection {
    /// A connection in which chance is decided by `random`.
    pub fn new(random: Random, signal: Signal) -> Self {
        Self {
            random,
            signal,
            up: Stream::default(),
            down: Stream::default(),
            cut: false,
        }
    }

    /// Whether it was cut, whoever knows already.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// The network gets better or worse.
    pub fn set_signal(&mut self, signal: Signal) {
        self.signal = signal;
    }

    /// Sends a message of `bytes` bytes from one end.
    pub fn send(&mut self, now: Mono, from: End, bytes: usize) -> Sent {
        if self.cut || self.signal.cuts(&mut self.random) {
            return Sent::Cut;
        }
        let delay = self.signal.delay_ms(&mut self.random);
        let stream = match from {
            End::Device => &mut self.up,
            End::Server => &mut self.down,
        };
        let took = (bytes as u64 * 1_000).div_ceil(self.signal.bytes_per_second());
        stream.sent_at = stream.sent_at.max(now) + took;
        stream.arrives_at = stream.arrives_at.max(stream.sent_at + delay);
        Sent::Arrives(stream.arrives_at)
    }

    /// Cuts it: of what is under way, a while's worth may still arrive.
    pub fn cut(&mut self, now: Mono) {
        if self.cut {
            return;
        }
        self.cut = true;
        self.up.until = Some(now + self.random.below(1_500));
        self.down.until = Some(now + self.random.below(1_500));
    }

    /// One end closes after what it sent; answers when the other hears of it.
    pub fn finish(&mut self, now: Mono, by: End) -> Mono {
        self.cut = true;
        let (out, back) = match by {
            End::Device => (&self.up, &mut self.down),
            End::Server => (&self.down, &mut self.up),
        };
        back.until = Some(back.until.unwrap_or(now).min(now));
        let last = out.until.unwrap_or(out.arrives_at).min(out.arrives_at);
        last.max(now) + 20
    }

    /// Whether a message that was to arrive now does.
    pub fn delivers(&self, now: Mono, to: End) -> bool {
        let stream = match to {
            End::Device => &self.down,
            End::Server => &self.up,
        };
        stream.until.is_none_or(|until| now <= until)
    }

    /// When each end hears of a cut: the device, then the server. Sometimes neither sees it and
    /// only silence tells.
    pub fn heard_at(&mut self, now: Mono) -> (Mono, Mono) {
        let quick = now + 1_500;
        let slow = |random: &mut Random| now + random.between(1_500, 60_000);
        match self.random.below(3) {
            0 => (quick, quick),
            1 => (quick, slow(&mut self.random)),
            _ => (slow(&mut self.random), slow(&mut self.random)),
        }
    }
}
