//! One session of one device: the protocol's state machine and the device's stores, joined.
//!
//! Whoever owns the connection hands in what happened and sends the frames it gets back; every
//! frame rests on what was stored before it was given out.

use bukti_core::id::{Position, WallMs};
use bukti_core::journal::Storage;
use bukti_core::kv::Kv;
use bukti_core::scope::Scope;
use bukti_sync_protocol::Mono;
use bukti_sync_protocol::bye::{Bye, ByeCode};
use bukti_sync_protocol::client::{ClientSession, Event, Input, Output};

use crate::device::{Device, DeviceError, Reaction, Tally};

/// What varies from call to call.
pub struct Moment<'a> {
    /// A clock that never goes back.
    pub mono: Mono,
    /// What the clock on the wall says.
    pub wall: WallMs,
    /// Draws 16 random bytes.
    pub draw: &'a mut dyn FnMut() -> [u8; 16],
}

impl std::fmt::Debug for Moment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moment")
            .field("mono", &self.mono)
            .field("wall", &self.wall)
            .finish_non_exhaustive()
    }
}

/// A session under way. Make one for each connection.
#[derive(Debug)]
pub struct Exchange {
    session: ClientSession,
    up_to_date: Option<Position>,
    progressed: bool,
    restart: bool,
    closed: bool,
    bye: Option<Bye>,
}

impl Exchange {
    /// Begins a session over a connection that stands. Call [`Exchange::pump`] for its first
    /// flight.
    ///
    /// # Errors
    /// The device's own stores failed.
    pub fn open<S: Storage, K: Kv>(
        device: &mut Device<S, K>,
        now: Mono,
        scopes: Vec<Scope>,
        agent: &str,
    ) -> Result<Self, DeviceError> {
        let mut session = ClientSession::new(device.opening(scopes, agent)?, now);
        session.handle(now, Input::Offer(device.offers()));
        Ok(Self {
            session,
            up_to_date: None,
            progressed: false,
            restart: false,
            closed: false,
            bye: None,
        })
    }

    /// Takes in what happened; answers the frames to send. `learned` is shown every event once
    /// the device has dealt with it, and what was counted by then.
    ///
    /// # Errors
    /// The device's own stores failed: drop the connection and open the device again.
    pub fn handle<S: Storage, K: Kv>(
        &mut self,
        device: &mut Device<S, K>,
        moment: &mut Moment<'_>,
        input: Input<'_>,
        learned: &mut dyn FnMut(&Event, Tally),
    ) -> Result<Vec<Vec<u8>>, DeviceError> {
        self.session.handle(moment.mono, input);
        self.pump(device, moment, learned)
    }

    /// Does what there is to do, such as offering what was sealed meanwhile.
    ///
    /// # Errors
    /// As [`Exchange::handle`].
    pub fn pump<S: Storage, K: Kv>(
        &mut self,
        device: &mut Device<S, K>,
        moment: &mut Moment<'_>,
        learned: &mut dyn FnMut(&Event, Tally),
    ) -> Result<Vec<Vec<u8>>, DeviceError> {
        let mut frames = Vec::new();
        loop {
            while let Some(output) = self.session.poll() {
                match output {
                    Output::Send(frame) => frames.push(frame),
                    Output::Event(event) => self.learn(device, moment, &event, learned)?,
                    Output::Close => self.closed = true,
                }
            }
            if self.closed {
                return Ok(frames);
            }
            let comparing = self.session.comparing();
            let mut offers = device.returns(comparing)?;
            let survived = device.conclude(moment.wall, comparing)?;
            offers.extend(device.offers());
            if offers.is_empty() && survived.is_empty() {
                return Ok(frames);
            }
            self.session.handle(moment.mono, Input::Offer(offers));
            for survived in survived {
                self.session.handle(moment.mono, survived.into());
            }
        }
    }

    fn learn<S: Storage, K: Kv>(
        &mut self,
        device: &mut Device<S, K>,
        moment: &mut Moment<'_>,
        event: &Event,
        learned: &mut dyn FnMut(&Event, Tally),
    ) -> Result<(), DeviceError> {
        self.note(event);
        let reaction = device.handle_event(moment.wall, (moment.draw)(), event)?;
        let unproven = unproven(event, device);
        let event = unproven.as_ref().unwrap_or(event);
        if let Event::Bye(bye) = event {
            // Why this side leaves was said before.
            self.bye.get_or_insert_with(|| bye.clone());
        }
        learned(event, device.tally());
        match &reaction {
            Reaction::None
            | Reaction::Applied
            | Reaction::Compare { .. }
            | Reaction::Need { .. }
            | Reaction::Statements(_) => {}
            Reaction::Reconnect => self.restart = true,
            Reaction::Leave(bye) => self.bye = Some(bye.clone()),
        }
        for input in reaction.into_inputs() {
            self.session.handle(moment.mono, input);
        }
        Ok(())
    }

    /// What an event says of how far the session is.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Accepted(_) | Event::Rejected { .. } => {
                self.progressed = true;
            }
            // Of an item that comes in parts the page that holds it is still to come.
            Event::Progress { .. } | Event::Page { .. } => {
                self.progressed = true;
                self.up_to_date = None;
            }
            Event::UpToDate { position, .. } => {
                self.progressed = true;
                self.up_to_date = Some(*position);
            }
            // Whoever answers may say so in every session, and nothing came of it yet.
            Event::Void
            | Event::Bye(_)
            | Event::Welcome { .. }
            | Event::Missing { .. }
            | Event::Stale { .. }
            | Event::LeftScope(_) => {}
            Event::Readmitted { .. } | Event::Differs { .. } | Event::StatementsHeld(_) => {
                self.progressed = true;
            }
        }
    }

    /// When to hand in [`Input::Tick`].
    pub fn deadline(&self) -> Option<Mono> {
        self.session.deadline()
    }

    /// Whether everything in scope is here and everything sendable was received.
    pub fn is_done<S: Storage, K: Kv>(&self, device: &Device<S, K>) -> bool {
        self.up_to_date
            .is_some_and(|position| device.is_synced(position))
            && !self.session.comparing()
            && !self.session.returning()
    }

    /// Whether anything came of this session.
    pub fn progressed(&self) -> bool {
        self.progressed
    }

    /// Whether the session ended because the store begins a new life.
    pub fn restarts(&self) -> bool {
        self.restart
    }

    /// Whether the connection is to be closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Why the session ended, if somebody said so.
    pub fn bye(&self) -> Option<&Bye> {
        self.bye.as_ref()
    }

    /// Keeps what came of large items for the next session.
    ///
    /// # Errors
    /// The confirmed store failed.
    pub fn finish<S: Storage, K: Kv>(self, device: &Device<S, K>) -> Result<(), DeviceError> {
        device.keep_partials(self.session.partials())
    }
}

/// What is told instead where somebody says without proof that the device was revoked: the device
/// did not believe it, and nobody else is to.
fn unproven<S: Storage, K: Kv>(event: &Event, device: &Device<S, K>) -> Option<Event> {
    let Event::Bye(bye) = event else {
        return None;
    };
    if bye.code != ByeCode::Revoked || device.is_revoked() {
        return None;
    }
    let sentence = format!(
        "Whoever answers at {} says that this device was revoked, without a statement that the \
         server signed.",
        device.identity().url()
    );
    let bye = Bye {
        retry_after_ms: bye.retry_after_ms,
        ..Bye::new(ByeCode::Revoked, sentence)
    };
    Some(Event::Bye(bye))
}

#[cfg(test)]
mod tests {
    use bukti_core::authority::Role;

    use super::*;
    use crate::device::tests::world::{WARD, World};

    #[test]
    fn a_session_in_which_the_server_says_void_alone_is_no_progress() {
        let mut phone = World::new().phone("Siti", Role::Officer, WARD);
        let mut exchange = Exchange::open(phone.device(), 0, Vec::new(), "test").unwrap();
        exchange.note(&Event::Void);
        assert!(!exchange.progressed());
        exchange.note(&Event::StatementsHeld(Vec::new()));
        assert!(exchange.progressed());
    }

    #[test]
    fn a_session_is_not_done_while_an_item_comes_in_parts() {
        let mut phone = World::new().phone("Siti", Role::Officer, WARD);
        let device = phone.device();
        let mut exchange = Exchange::open(device, 0, Vec::new(), "test").unwrap();
        let up_to_date = Event::UpToDate {
            cursor: Vec::new(),
            position: 1,
            digests: Vec::new(),
        };
        let part = Event::Progress {
            received: 1,
            total: 2,
        };
        for (event, done) in [(&up_to_date, true), (&part, false), (&up_to_date, true)] {
            exchange.note(event);
            assert_eq!(exchange.is_done(device), done, "{event:?}");
        }
    }
}
