//! The device's side of enrolment, on the connection that the session then goes on with.

use std::collections::VecDeque;

use bukti_core::hash::{domain, signing_bytes};
use bukti_core::id::{DeviceId, JournalId, ServerId};
use bukti_core::record::{Fact, Signed};
use ed25519_dalek::{Signer, SigningKey};

use crate::Mono;
use crate::bye::{Bye, ByeCode};
use crate::frame::{Enrol, Enrolled, Features, Frame, decode, encode};
use crate::limits;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a binary message.
    Send(Vec<u8>),
    /// Take note; the enrolment is over.
    Event(Event),
    /// Close the connection.
    Close,
}

/// How an enrolment ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The device is enrolled. Store all of it, then open a
    /// [`ClientSession`](crate::client::ClientSession) on the same connection.
    Enrolled {
        /// The journal.
        id: JournalId,
        /// Its first record.
        journal: Vec<u8>,
        /// The record with the device's certificate.
        certificate: Vec<u8>,
    },
    /// It is not.
    Bye(Bye),
}

/// One enrolment. `handle` or `tick` what happens, then `poll` until `None`.
#[derive(Debug)]
pub struct EnrolSession {
    device: DeviceId,
    server: ServerId,
    until: Option<Mono>,
    outputs: VecDeque<Output>,
}

impl EnrolSession {
    /// Uses the invitation with `secret` for the device with `key`, over a connection that stands
    /// at `now`. The key is durable before this is called: the certificate will name it.
    pub fn new(key: &SigningKey, secret: &[u8; 16], server: ServerId, now: Mono) -> Self {
        let device = DeviceId(key.verifying_key().to_bytes());
        let message = signing_bytes(domain::ENROLMENT, &Enrol::message(secret, &server));
        let signature = key.sign(&message).to_bytes();
        let enrol = Frame::from(Enrol {
            secret: *secret,
            device,
            signature,
        });
        Self {
            device,
            server,
            until: Some(now.saturating_add(limits::ANSWER_MS)),
            outputs: VecDeque::from([Output::Send(encode(&enrol, Features::NONE))]),
        }
    }

    /// Takes in a binary message.
    pub fn handle(&mut self, bytes: &[u8]) {
        if self.until.is_none() {
            return;
        }
        let frame = match decode(bytes) {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(error) => return self.leave(Bye::from(&error)),
        };
        match frame {
            Frame::Enrolled(enrolled) => match self.check(enrolled) {
                Ok(event) => {
                    self.until = None;
                    self.outputs.push_back(Output::Event(event));
                }
                Err(bye) => self.leave(bye),
            },
            Frame::Bye(bye) => self.close(bye),
            other => {
                let sentence = format!("The frame '{}' does not belong here.", other.name());
                self.leave(Bye::malformed(sentence));
            }
        }
    }

    /// Takes in that time passed; due at [`Self::deadline`].
    pub fn tick(&mut self, now: Mono) {
        if self.until.is_some_and(|until| now >= until) {
            self.leave(Bye::new(
                ByeCode::Timeout,
                "The server has not answered for a minute.",
            ));
        }
    }

    /// When to call [`Self::tick`].
    pub fn deadline(&self) -> Option<Mono> {
        self.until
    }

    /// Gives out what to do next, until there is nothing.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Checks both statements against the key that came with the invitation.
    fn check(&self, enrolled: Enrolled) -> Result<Event, Bye> {
        let forged = || {
            let sentence = "The server does not hold the key that the invitation names.";
            Bye::new(ByeCode::Unauthorised, sentence)
        };
        let open = |bytes: &[u8]| Signed::open(bytes, &self.server).map_err(|_| forged());
        let journal = open(&enrolled.journal)?;
        let certificate = open(&enrolled.certificate)?;
        let (Fact::Journal(journal), Fact::Enrolment(certificate)) =
            (journal.fact(), certificate.fact())
        else {
            return Err(Bye::malformed("The server answered with other statements."));
        };
        let ours = certificate.device == self.device
            && certificate.journal == journal.journal
            && journal.server == self.server;
        if !ours {
            return Err(forged());
        }
        Ok(Event::Enrolled {
            id: journal.journal,
            journal: enrolled.journal.into(),
            certificate: enrolled.certificate.into(),
        })
    }

    fn leave(&mut self, bye: Bye) {
        let frame = Frame::from(bye.clone());
        self.outputs
            .push_back(Output::Send(encode(&frame, Features::NONE)));
        self.close(bye);
    }

    fn close(&mut self, bye: Bye) {
        self.until = None;
        self.outputs.push_back(Output::Event(Event::Bye(bye)));
        self.outputs.push_back(Output::Close);
    }
}
