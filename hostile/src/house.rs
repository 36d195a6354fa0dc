//! A server in memory, with the real ledger and the real sessions, and who is in it.

use bukti_core::authority::Role;
use bukti_core::envelope::Run;
use bukti_core::id::{DeviceId, Incarnation, JournalId, ServerId};
use bukti_core::journal::memory::MemoryStorage;
use bukti_core::kv::MemoryKv;
use bukti_core::ledger::testing::{NOW, Phone, enrol, founded};
use bukti_core::ledger::{EnrolError, Ledger, Submission, Verdict};
use bukti_core::validate::{Refusal, check_run};
use bukti_sync_protocol::Mono;
use bukti_sync_protocol::bye::Bye;
use bukti_sync_protocol::client::{self, ClientSession, Opening};
use bukti_sync_protocol::server::{Cx, Input, Output, ServerSession};
use bukti_sync_protocol::token::TokenKey;
use ed25519_dalek::SigningKey;

use crate::pen::Pen;

const SCOPE: &str = "13.76.01.1001";

/// A ledger with two officers of one village: one writes honestly, the other is anything.
#[derive(Debug)]
pub struct House {
    ledger: Ledger<MemoryStorage, MemoryKv>,
    token_key: TokenKey,
    honest: Pen,
    hostile: SigningKey,
    edits: u64,
    knocks: u64,
    now: Mono,
}

/// What came of one input to a session.
#[derive(Debug, Default)]
pub struct Heard {
    /// Frames that were sent.
    pub sent: Vec<Vec<u8>>,
    /// With what the session ended, if it did.
    pub ended: Option<Bye>,
}

impl Default for House {
    fn default() -> Self {
        Self::new()
    }
}

impl House {
    /// The same house every time, with one document of the honest officer in it.
    ///
    /// # Panics
    /// If honest runs are not accepted.
    pub fn new() -> Self {
        let (mut ledger, _, _) = founded();
        let (honest, hostile) = (Phone::new(1), Phone::new(2));
        enrol(&mut ledger, &honest, Role::Officer, SCOPE);
        enrol(&mut ledger, &hostile, Role::Officer, SCOPE);
        let mut pen = Pen::begin(honest.key(), SCOPE, 1, 1);
        let root = pen.sealed_run();
        let mut house = Self {
            ledger,
            token_key: TokenKey::derive(&bukti_core::ledger::testing::server_key()),
            honest: pen,
            hostile: hostile.key().clone(),
            edits: 0,
            knocks: 0,
            now: 0,
        };
        let verdicts = house.accept(house.honest.device(), vec![root.to_bytes()]);
        assert!(matches!(verdicts[..], [Ok(Verdict::Accepted(_))]));
        house
    }

    /// The hostile officer, with everything that the honest one has written so far, under a life
    /// of its own.
    pub fn hostile(&self, incarnation: u16) -> Pen {
        self.honest.beside(&self.hostile, incarnation)
    }

    /// The next honest edit.
    pub fn honest_run(&mut self) -> Run {
        self.edits += 1;
        let title = format!("Jembatan {}", self.edits);
        self.honest.put("title", title).sealed_run()
    }

    /// A change that the honest officer wrote, for somebody else's run.
    pub fn honest_change(&self) -> Vec<u8> {
        self.honest.clone().put("title", "Sungai").last_raw()
    }

    /// Has runs accepted that the hostile officer carries, all in one batch with an honest one.
    ///
    /// # Panics
    /// If the honest run suffers or a refusal is not one clear sentence.
    pub fn accept_beside_honest(&mut self, runs: Vec<Vec<u8>>) -> Vec<Result<Verdict, Refusal>> {
        let hostile = DeviceId(self.hostile.verifying_key().to_bytes());
        let honest = self.honest_run();
        let mut looked = look_at(hostile, runs);
        looked.extend(look_at(self.honest.device(), vec![honest.to_bytes()]));
        let mut verdicts = self.submit(looked);
        let honest = verdicts.pop().expect("a verdict for each");
        assert!(
            matches!(honest, Ok(Verdict::Accepted(_))),
            "the honest run in the batch: {honest:?}"
        );
        for verdict in &verdicts {
            if let Err(refusal) | Ok(Verdict::Rejected(refusal)) = verdict {
                assert!(
                    refusal.sentence.ends_with('.') && refusal.sentence.len() > 20,
                    "a refusal in one clear sentence: {refusal:?}"
                );
            }
        }
        verdicts
    }

    fn accept(&mut self, carrier: DeviceId, runs: Vec<Vec<u8>>) -> Vec<Result<Verdict, Refusal>> {
        self.submit(look_at(carrier, runs))
    }

    fn submit(
        &mut self,
        looked: Vec<Result<Submission, Refusal>>,
    ) -> Vec<Result<Verdict, Refusal>> {
        let batch: Vec<Submission> = looked.iter().filter_map(|it| it.clone().ok()).collect();
        let outcomes = self.ledger.accept(NOW, batch).expect("the ledger goes on");
        let mut outcomes = outcomes.into_iter();
        looked
            .into_iter()
            .map(|it| it.map(|_| outcomes.next().expect("an outcome for each").verdict))
            .collect()
    }

    /// A session of the hostile officer, just accepted.
    pub fn knock(&mut self) -> ServerSession {
        self.knocks += 1;
        let mut nonce = [7; 32];
        nonce[..8].copy_from_slice(&self.knocks.to_le_bytes());
        ServerSession::new(nonce, self.now)
    }

    /// What a device of the hostile officer knows when it opens a session.
    pub fn opening(&self, incarnation: u16) -> Opening {
        let reader = self.ledger.reader();
        let (server, journal): (ServerId, JournalId) = (reader.server(), reader.journal());
        let mut life = [0xee; 16];
        life[..2].copy_from_slice(&incarnation.to_be_bytes());
        let device = DeviceId(self.hostile.verifying_key().to_bytes());
        Opening {
            key: self.hostile.clone(),
            server,
            journal,
            token: Some(self.token_key.issue(&device, NOW + 1_000_000)),
            incarnation: Incarnation(life),
            last: None,
            scopes: Vec::new(),
            cursor: None,
            held: Vec::new(),
            agent: "hostile".into(),
            certificate: Vec::new(),
            owed: Vec::new(),
            compare: false,
        }
    }

    /// A session that is open on both sides, and what the server sent in it.
    ///
    /// # Panics
    /// If an honest opening fails.
    pub fn open(&mut self, incarnation: u16) -> (ServerSession, ClientSession, Vec<Vec<u8>>) {
        let mut server = self.knock();
        let mut client = ClientSession::new(self.opening(incarnation), 0);
        let mut to_client = Vec::new();
        while let Some(output) = client.poll() {
            if let client::Output::Send(bytes) = output {
                let heard = self.hear(&mut server, &bytes);
                assert!(heard.ended.is_none(), "{heard:?}");
                to_client.extend(heard.sent);
            }
        }
        (server, client, to_client)
    }

    /// Gives a session a message, a second after the last, and does what it asks for.
    ///
    /// # Panics
    /// If the session says that the server has a fault.
    pub fn hear(&mut self, session: &mut ServerSession, bytes: &[u8]) -> Heard {
        self.now += 1_000;
        let mut heard = Heard::default();
        self.give(session, Input::Frame(bytes), &mut heard);
        heard
    }

    fn give(&mut self, session: &mut ServerSession, input: Input<'_>, heard: &mut Heard) {
        let reader = self.ledger.reader();
        let cx = Cx {
            now: self.now,
            wall: NOW,
            reader: &reader,
            token_key: &self.token_key.clone(),
        };
        session.handle(&cx, input);
        while let Some(output) = session.poll(&cx) {
            match output {
                Output::Send(bytes) => heard.sent.push(bytes),
                Output::Submit(batch) => {
                    let outcomes = self.ledger.accept(NOW, batch).expect("the ledger goes on");
                    session.handle(&cx, Input::Judged(outcomes));
                    session.handle(&cx, Input::Advanced);
                }
                Output::Enrol { secret, device } => {
                    let enrolled = match self.ledger.enrol(NOW, &secret, device) {
                        Ok(enrolled) => Ok(enrolled),
                        Err(EnrolError::Refused(refusal)) => Err(refusal),
                        Err(EnrolError::Ledger(error)) => panic!("the ledger ended: {error}"),
                    };
                    session.handle(&cx, Input::Enrolled(enrolled));
                }
                Output::Readmit {
                    device,
                    certificate,
                } => {
                    let answer = self.ledger.readmit(NOW, device, &certificate);
                    let certified = answer.expect("the ledger goes on");
                    session.handle(&cx, Input::Enrolled(certified));
                }
                Output::TakeBack {
                    carrier,
                    statements,
                } => {
                    let taken = self.ledger.take_back(NOW, carrier, statements);
                    let taken = taken.expect("the ledger goes on");
                    session.handle(&cx, Input::TakenBack(taken.left));
                }
                Output::Find(finding) => {
                    self.ledger.find(NOW, finding).expect("the ledger goes on");
                }
                Output::Bound(_) => session.handle(&cx, Input::Held(Vec::new())),
                Output::Failed(fault) | Output::Unsound { reason: fault, .. } => {
                    panic!("the server has a fault: {fault}")
                }
                Output::Close(bye) => {
                    heard.ended = Some(bye);
                    return;
                }
            }
        }
    }

    /// Opens the journal and the rows anew, and checks every byte and row.
    ///
    /// # Panics
    /// If anything is not as it was written.
    pub fn verify(&self) {
        let reader = self.ledger.reader();
        let found = bukti_core::ledger::verify(&reader, &mut |_| {}).expect("it can be read");
        assert!(found.is_clean(), "{found:?}");
    }
}

/// Opens and checks runs as a session does.
fn look_at(carrier: DeviceId, runs: Vec<Vec<u8>>) -> Vec<Result<Submission, Refusal>> {
    let look = |bytes: Vec<u8>| {
        let run = check_run(Run::open(&bytes)?)?;
        Ok(Submission {
            carrier,
            run,
            returned: false,
        })
    };
    runs.into_iter().map(look).collect()
}

#[cfg(test)]
mod tests {
    use bukti_core::change::forge::Forge;
    use bukti_core::validate::RefusalCode;
    use bukti_sync_protocol::bye::ByeCode;
    use bukti_sync_protocol::frame::{Features, Frame, Hello, decode, encode};

    use super::*;

    /// What a device says and hears in one session, as somebody on the way may write it down.
    fn recorded(house: &mut House, token: bool) -> Vec<Vec<u8>> {
        let mut server = house.knock();
        let mut opening = house.opening(9);
        opening.token = opening.token.filter(|_| token);
        let mut client = ClientSession::new(opening, 0);
        let mut said = Vec::new();
        while let Some(output) = client.poll() {
            if let client::Output::Send(bytes) = output {
                let heard = house.hear(&mut server, &bytes);
                assert!(heard.ended.is_none(), "{heard:?}");
                for frame in heard.sent {
                    client.handle(0, client::Input::Frame(&frame));
                }
                said.push(bytes);
            }
        }
        said
    }

    fn kinds(frames: &[Vec<u8>]) -> Vec<&'static str> {
        let names = frames.iter().map(|bytes| match decode(bytes) {
            Ok(Some(frame)) => frame.name(),
            other => panic!("{other:?}"),
        });
        names.collect()
    }

    #[test]
    fn a_proof_that_was_recorded_opens_no_other_session() {
        let mut house = House::new();
        let said = recorded(&mut house, false);
        assert!(kinds(&said).contains(&"proof"), "{:?}", kinds(&said));
        let mut again = house.knock();
        let mut ended = None;
        for bytes in &said {
            if ended.is_none() {
                ended = house.hear(&mut again, bytes).ended;
            }
        }
        assert_eq!(ended.map(|bye| bye.code), Some(ByeCode::Unauthorised));
    }

    #[test]
    fn a_token_that_was_recorded_opens_no_session_of_another_device() {
        let mut house = House::new();
        let said = recorded(&mut house, true);
        let Ok(Some(Frame::Hello(hello))) = decode(&said[0]) else {
            panic!("{:?}", kinds(&said));
        };
        let other = Hello {
            device: house.honest.device(),
            ..hello
        };
        let mut session = house.knock();
        let heard = house.hear(&mut session, &encode(&other.into(), Features::NONE));
        assert_eq!(kinds(&heard.sent), ["challenge"]);
    }

    #[test]
    fn a_counter_near_the_end_of_numbers_is_refused_wherever_it_stands() {
        let mut house = House::new();
        let ends = [1 << 31, (1 << 32) - 1, 1 << 32, u64::MAX - 1, u64::MAX];
        let mut life = 20;
        for end in ends {
            for seq in [false, true] {
                life += 1;
                let mut pen = house.hostile(life);
                let mut forge = Forge::of(&pen.put("a", 1).last_raw());
                if seq {
                    forge.seq = end;
                } else {
                    forge.start_op = end;
                }
                let sealed = pen.seal_run(vec![forge.bytes()], |body| {
                    body.first_seq = if seq { end } else { 1 };
                });
                let verdicts = house.accept_beside_honest(vec![sealed.to_bytes()]);
                let [Err(refusal) | Ok(Verdict::Rejected(refusal))] = &verdicts[..] else {
                    panic!("{end}: {verdicts:?}");
                };
                let expected: &[_] = if seq {
                    &[RefusalCode::Sequence, RefusalCode::Malformed]
                } else {
                    &[RefusalCode::StartOp]
                };
                assert!(expected.contains(&refusal.code), "{end}: {refusal:?}");
            }
        }
        house.verify();
    }
}
