//! Every socket that was accepted, until it is closed: so many in all and from one address, whether
//! or not it ever became a session.
//!
//! Who connects and asks for nothing keeps nobody out: of the sockets that have not become sessions
//! the oldest gives way, once they are half of all.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// The sockets of one listener.
#[derive(Debug)]
pub struct Sockets {
    most: usize,
    per_address_most: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    by_address: BTreeMap<IpAddr, usize>,
    /// Those that are no sessions, by age.
    plain: BTreeMap<u64, CancellationToken>,
    next: u64,
}

/// One socket's place; closing it is dropping this.
#[derive(Debug)]
pub struct Socket {
    address: IpAddr,
    number: u64,
    gives_way: CancellationToken,
    sockets: Arc<Sockets>,
}

impl Sockets {
    /// Room for so many, and so many from one address.
    pub fn new(most: usize, per_address_most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            per_address_most,
            open: Mutex::default(),
        })
    }

    /// A place for a socket from `address`, or nothing if as many are open as may be.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Socket> {
        let mut guard = self.lock();
        let open = &mut *guard;
        let from_address = open.by_address.get(&address).copied().unwrap_or_default();
        if from_address >= self.per_address_most {
            return None;
        }
        // Its end takes a moment, so it makes room for the next one.
        if open.plain.len() >= self.most.div_ceil(2)
            && let Some((_, oldest)) = open.plain.pop_first()
        {
            oldest.cancel();
        }
        if open.count >= self.most {
            return None;
        }
        open.count += 1;
        open.by_address.insert(address, from_address + 1);
        let (number, gives_way) = (open.next, CancellationToken::new());
        open.next += 1;
        open.plain.insert(number, gives_way.clone());
        drop(guard);
        Some(Socket {
            address,
            number,
            gives_way,
            sockets: self.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Socket {
    /// Where it came from.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Ends once it has to give way to others.
    pub fn gives_way(&self) -> WaitForCancellationFuture<'_> {
        self.gives_way.cancelled()
    }

    /// From here on it is a session, and gives way as sessions do.
    pub fn became_session(&self) {
        self.sockets.lock().plain.remove(&self.number);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut open = self.sockets.lock();
        open.plain.remove(&self.number);
        open.count -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    #[test]
    fn sockets_are_bounded_in_all_and_from_one_address_until_they_are_closed() {
        let sockets = Sockets::new(3, 2);
        let first = [1, 1].map(|address| sockets.take(from(address)).unwrap());
        for socket in &first {
            socket.became_session();
        }
        assert!(sockets.take(from(1)).is_none(), "from one address");
        let other = sockets.take(from(2)).unwrap();
        assert!(sockets.take(from(3)).is_none(), "in all");
        drop(other);
        let other = sockets.take(from(3)).unwrap();
        drop(first);
        drop(other);
        let open = sockets.lock();
        assert!(open.by_address.is_empty() && open.plain.is_empty() && open.count == 0);
    }

    #[test]
    fn the_oldest_that_asks_for_nothing_gives_way_and_a_session_never_does() {
        let sockets = Sockets::new(4, 4);
        let session = sockets.take(from(1)).unwrap();
        session.became_session();
        let silent: Vec<Socket> = (0..3).map(|_| sockets.take(from(2)).unwrap()).collect();
        let gone: Vec<bool> = silent
            .iter()
            .map(|socket| socket.gives_way.is_cancelled())
            .collect();
        assert_eq!(gone, [true, false, false]);
        assert!(!session.gives_way.is_cancelled());

        // None is left; whoever comes makes room for the next.
        assert!(sockets.take(from(3)).is_none());
        assert!(silent[1].gives_way.is_cancelled());
        drop(silent);
        assert!(sockets.take(from(3)).is_some());
    }
}
