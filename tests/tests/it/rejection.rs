//! What a server refuses, pushed at a real one: the word and the sentence come back, the honest
//! run in the same flight passes, and nobody else sees or feels anything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ObjType, ROOT};
use bukti_client::device::{Applicant, Device, Enrolment, Folders, Reaction};
use bukti_core::change::forge::Forge;
use bukti_core::evidence::Edit;
use bukti_core::id::{DocumentId, Incarnation};
use bukti_core::journal::disk::DiskStorage;
use bukti_core::kv::MemoryKv;
use bukti_core::limits;
use bukti_core::validate::RefusalCode;
use bukti_hostile::pen::{Pen, Sealed, evidence_titled};
use bukti_sync_protocol::client::{ClientSession, Event, Input, Opening, Output};
use bukti_sync_protocol::link::InvitationLink;
use ed25519_dalek::SigningKey;

use crate::field::{Field, OTHER_VILLAGE, REGENCY, VILLAGE, new_evidence, text};
use bukti_tests::wire::{Enrolled, Heard, Wire, push};

#[tokio::test]
async fn every_refusal_comes_back_with_its_code_and_harms_nobody() {
    let field = Field::open(&[]);
    let witness = field.phone("witness", "officer", VILLAGE);
    let forger = Forger::enrol(&field, 1).await;
    let mut expected = BTreeMap::new();
    for (at, code) in (1..).zip(RefusalCode::ALL) {
        let mut crime = Crime::plan(*code, at, &forger, &field).await;
        let crafted = crime.flight.last().unwrap().0;
        let honest = crime.pen.put("title", "Jembatan gantung").seal();
        let runs = crime.flight.iter().cloned().chain([honest]).collect();
        let answers = push(field.address(), forger.opening(), runs).await;

        let Some((word, sentence)) = answers.rejected.get(&crafted) else {
            panic!("{code:?} was not refused: {answers:?}");
        };
        assert_eq!(word, code.code(), "{sentence}");
        assert!(
            sentence.ends_with('.') && sentence.len() > 20,
            "{word}: '{sentence}'"
        );
        assert_eq!(
            answers.accepted.len(),
            crime.flight.len(),
            "beside {word}: {:?} {:?}",
            answers.rejected,
            answers.missing
        );
        expected.insert(crime.pen.document.to_string(), crime.pen.heads());
    }

    witness.run(&["sync"]).ok();
    for (id, heads) in expected {
        let shown = witness.run(&["evidence", "show", &id, "--json"]).ok();
        let seen: Vec<String> = shown.json()["heads"]
            .as_array()
            .unwrap()
            .iter()
            .map(text)
            .collect();
        assert_eq!(seen, heads, "{id}");
        assert_eq!(shown.json()["title"], "Jembatan gantung");
    }
    field.verify();
}

/// A device whose key the test holds.
struct Forger {
    key: SigningKey,
    enrolled: Enrolled,
}

impl Forger {
    async fn enrol(field: &Field, seed: u8) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let link = field.invite("officer", VILLAGE, "Forger");
        let mut wire = Wire::open(field.address()).await;
        let enrolled = wire.enrol(&key, &link.parse().unwrap()).await.unwrap();
        Self { key, enrolled }
    }

    /// The session's incarnation is one under which nothing is ever sealed, so that what the
    /// flights leave behind is never taken for a copied store.
    fn opening(&self) -> Opening {
        Opening {
            key: self.key.clone(),
            server: self.enrolled.server,
            journal: self.enrolled.id,
            token: None,
            incarnation: Incarnation([0xee; 16]),
            last: None,
            scopes: Vec::new(),
            cursor: None,
            held: Vec::new(),
            agent: "test".into(),
            certificate: Vec::new(),
            owed: Vec::new(),
            compare: false,
        }
    }
}

/// A document, begun honestly, and a flight of which only the last run is to be refused.
struct Crime {
    /// The honest author.
    pen: Pen,
    flight: Vec<Sealed>,
}

impl Crime {
    async fn plan(code: RefusalCode, at: u16, forger: &Forger, field: &Field) -> Self {
        let key = &forger.key;
        let mut pen = Pen::begin(key, VILLAGE, at, 1_000 + at);
        let root = pen.seal();
        let mut other = pen.beside(key, 2_000 + at);
        let mut flight = vec![root];
        let crafted = match code {
            RefusalCode::Malformed => {
                let changes = other.put("a", 1).unsealed();
                other.seal_as(changes, |body| body.last_hash.0[0] ^= 1)
            }
            RefusalCode::Signature => {
                let changes = other.put("a", 1).unsealed();
                let run = other.seal_run(changes, |_| {});
                let (id, mut bytes) = (run.id(), run.to_bytes());
                let envelope = run.envelope.bytes();
                let found = bytes
                    .windows(envelope.len())
                    .position(|part| part == envelope);
                bytes[found.unwrap() + envelope.len() - 1] ^= 1;
                (id, bytes)
            }
            RefusalCode::Unsupported => {
                let document = other.put("a", 1).automerge.clone().save();
                other.seal_as(vec![document], |_| {})
            }
            RefusalCode::Actor => {
                let changes = other.put("a", 1).unsealed();
                other.seal_as(changes, |body| body.incarnation.0[15] ^= 1)
            }
            RefusalCode::Sequence => {
                let changes = other.put("a", 1).unsealed();
                other.seal_as(changes, |body| body.first_seq = 2)
            }
            RefusalCode::StartOp => {
                let mut forge = Forge::of(&other.put("a", 1).last_raw());
                forge.start_op += 1;
                other.seal_as(vec![forge.bytes()], |_| {})
            }
            RefusalCode::Deps => {
                let mut fresh = Pen::begin(key, VILLAGE, 3_000 + at, 3_000 + at);
                fresh.automerge = pen.automerge.clone();
                fresh.automerge.set_actor(fresh.actor().to_automerge());
                fresh.put("a", 1).seal()
            }
            RefusalCode::SecondRoot => Pen::begin(key, VILLAGE, at, 3_000 + at).seal(),
            RefusalCode::NoRoot => {
                let mut rootless = Pen::begin(key, VILLAGE, at, 3_000 + at);
                rootless.root = None;
                rootless.seal()
            }
            RefusalCode::DocumentId => {
                let mut stolen = Pen::begin(key, VILLAGE, 3_000 + at, 3_000 + at);
                let changes = stolen.unsealed();
                stolen.seal_as(changes, |body| {
                    let root = body.root.as_mut().unwrap();
                    root.scope = OTHER_VILLAGE.parse().unwrap();
                })
            }
            RefusalCode::AuthorFooter => {
                let mut forge = Forge::of(&other.put("a", 1).last_raw());
                forge.extra = vec![1, 1, b'x'];
                other.seal_as(vec![forge.bytes()], |_| {})
            }
            RefusalCode::TooLarge => {
                let long = "x".repeat(limits::CHANGE_MESSAGE_BYTES_MAX + 1);
                let options = CommitOptions::default().with_message(long).with_time(0);
                other.edit_with(options, |transaction| {
                    transaction.put(ROOT, "a", 1).unwrap();
                });
                other.seal()
            }
            RefusalCode::TooManyOperations => {
                let long: String = (0..limits::CHANGE_OPERATIONS_MAX / 4)
                    .map(|number| format!("{:04}", number * number % 9_973))
                    .collect();
                other.edit(|transaction| {
                    let text = transaction.put_object(ROOT, "a", ObjType::Text).unwrap();
                    transaction.splice_text(&text, 0, 0, &long).unwrap();
                });
                other.seal()
            }
            RefusalCode::Inflates => {
                let zeros = vec![0; 2 * limits::CHANGE_INFLATED_BYTES_MAX];
                other.put("a", zeros).seal()
            }
            RefusalCode::Fork => {
                let mut twin = other.clone();
                let kept = other.put("title", "Jembatan baru").seal();
                let changes = kept.1.clone();
                pen.automerge
                    .apply_changes(other.automerge.get_changes(&pen.automerge.get_heads()))
                    .unwrap();
                flight.push((kept.0, changes));
                twin.number = 1;
                twin.put("title", "Jembatan lama").seal()
            }
            RefusalCode::Unreadable => {
                // Automerge applies an actor that no operation refers to, forgets it, and cannot
                // find the hash again when it loads what it saved.
                let mut forge = Forge::of(&other.put("a", 1).last_raw());
                forge.other_actors = vec![vec![9; 16]];
                other.seal_as(vec![forge.bytes()], |_| {})
            }
            RefusalCode::UnpublishedReady => other.put("declared", "ready").seal(),
            RefusalCode::DocumentFull => {
                for photo in 0..5 {
                    flight.push(pen.put(&format!("photo{photo}"), noise(photo)).seal());
                }
                let mut last = pen.beside(key, 2_000 + at);
                last.put("photo5", noise(5)).seal()
            }
            RefusalCode::Forbidden => Pen::begin(key, OTHER_VILLAGE, 3_000 + at, 3_000 + at).seal(),
            RefusalCode::Revoked => {
                let lost = Forger::enrol(field, 2).await;
                let mut other = pen.beside(&lost.key, 2_000 + at);
                let device = other.device().to_string();
                field.admin(&["revoke", &device]).ok();
                other.put("a", 1).seal()
            }
            RefusalCode::UnknownDevice => {
                let nobody = SigningKey::from_bytes(&[3; 32]);
                pen.beside(&nobody, 2_000 + at).put("a", 1).seal()
            }
            RefusalCode::Quota => {
                let busy = Forger::enrol(field, 4).await;
                let documents = u16::try_from(limits::DEVICE_DOCUMENTS_PER_DAY).unwrap();
                let mut number = 0;
                let mut begin = || {
                    number += 1;
                    let mut one = Pen::begin(&busy.key, VILLAGE, number, number);
                    one.seal()
                };
                flight.extend((0..documents).map(|_| begin()));
                begin()
            }
        };
        flight.push(crafted);
        Self { pen, flight }
    }
}

/// Bytes that do not deflate: six times as many do not fit into a document.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    });
    next.take(200_000).collect()
}

#[tokio::test]
async fn what_a_careless_device_is_refused_lies_in_its_quarantine_and_its_document_lives_on() {
    let field = Field::open(&[]);
    let head = field.phone("head", "officer", VILLAGE);
    let published = new_evidence(&head, "Perdes APBDes");
    head.run(&["evidence", "ready", &published]).ok();
    head.run(&["sync"]).ok();
    let published: DocumentId = published.parse().unwrap();

    let mut observer = OwnDevice::enrol(&field, "observer", REGENCY).await;
    observer.sync(field.address()).await;
    let before = observer.title(&published);
    assert_eq!(before, "Perdes APBDes");
    observer.device.set_local_checks(false);
    let edit = [Edit::Title("Bukan Perdes".into())];
    let refused = observer.device.edit(0, &published, &edit).unwrap().unwrap();
    assert_eq!(observer.title(&published), "Bukan Perdes");
    observer.sync(field.address()).await;

    let kept = observer.device.quarantined();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].run, kept[0].code.as_str()), (refused, "forbidden"));
    assert!(kept[0].sentence.contains("observer"), "{:?}", kept[0]);
    assert!(
        kept[0]
            .edits
            .iter()
            .any(|line| line.contains("Bukan Perdes"))
    );
    assert_eq!(observer.title(&published), before);

    // The document goes on: others' edits still arrive, and its own next one is judged anew.
    let id = published.to_string();
    head.run(&["evidence", "edit", &id, "--title", "Perdes APBDes 2025"])
        .ok();
    head.run(&["sync"]).ok();
    observer.sync(field.address()).await;
    assert_eq!(observer.title(&published), "Perdes APBDes 2025");
    observer.device.edit(0, &published, &edit).unwrap().unwrap();
    observer.sync(field.address()).await;
    assert_eq!(observer.device.quarantined().len(), 2);

    let mut officer = OwnDevice::enrol(&field, "officer", VILLAGE).await;
    officer.sync(field.address()).await;
    officer.device.set_local_checks(false);
    let there = OTHER_VILLAGE.parse().unwrap();
    let new = evidence_titled("Di desa lain");
    officer.device.create(0, [1; 16], &there, &new).unwrap();
    let here = VILLAGE.parse().unwrap();
    let new = evidence_titled("Di desa sendiri");
    let (own, _) = officer.device.create(0, [2; 16], &here, &new).unwrap();
    officer.sync(field.address()).await;
    assert_eq!(officer.device.quarantined().len(), 1);
    officer.device.edit(0, &own, &edit).unwrap().unwrap();
    officer.sync(field.address()).await;
    assert_eq!(officer.device.quarantined().len(), 1);

    head.run(&["sync"]).ok();
    let shown = head.run(&["evidence", "show", &own.to_string(), "--json"]);
    assert_eq!(shown.ok().json()["title"], "Bukan Perdes");
    field.verify();
}

/// The device library without the field command, so that its local checks can be switched off.
struct OwnDevice {
    device: Device<DiskStorage, MemoryKv>,
    events: u8,
}

impl OwnDevice {
    async fn enrol(field: &Field, role: &str, scope: &str) -> Self {
        let link: InvitationLink = field.invite(role, scope, role).parse().unwrap();
        let data = field.path(&format!("own-{role}"));
        std::fs::create_dir(&data).unwrap();
        let folders = Folders::on_disk(&data).unwrap();
        let seed = [100 + role.len() as u8; 32];
        let applicant = Applicant::open(folders, &link, seed).unwrap();
        let mut wire = Wire::open(field.address()).await;
        let enrolled = wire.enrol(applicant.key(), &link).await.unwrap();
        let enrolment = Enrolment {
            journal: enrolled.journal,
            certificate: enrolled.certificate,
        };
        let incarnation = Incarnation([1; 16]);
        let device = applicant.finish(MemoryKv::new(), &enrolment, incarnation);
        Self {
            device: device.unwrap(),
            events: 0,
        }
    }

    fn title(&mut self, id: &DocumentId) -> String {
        let shown = self.device.show(id).unwrap();
        text(&serde_json::to_value(shown).unwrap()["title"])
    }

    /// Syncs until nothing waits any more.
    async fn sync(&mut self, server: SocketAddr) {
        let started = Instant::now();
        while !self.session(server).await {
            assert!(started.elapsed().as_secs() < 60, "it never ends");
        }
    }

    /// One session; true if everything was done in it.
    async fn session(&mut self, server: SocketAddr) -> bool {
        let opening = self.device.opening(Vec::new(), "test").unwrap();
        let mut session = ClientSession::new(opening, 0);
        session.handle(0, Input::Offer(self.device.offers()));
        let mut wire = Wire::open(server).await;
        let mut caught_up = None;
        let mut done = false;
        loop {
            while let Some(output) = session.poll() {
                match output {
                    Output::Send(bytes) => wire.send(bytes).await,
                    Output::Event(event) => {
                        if let Event::UpToDate { position, .. } = &event {
                            caught_up = Some(*position);
                        }
                        self.events = self.events.wrapping_add(1);
                        let random = [self.events; 16];
                        let reaction = self.device.handle_event(0, random, &event).unwrap();
                        if reaction == Reaction::Reconnect {
                            return false;
                        }
                        for input in reaction.into_inputs() {
                            session.handle(0, input);
                        }
                        let mut offers = self.device.returns(session.comparing()).unwrap();
                        offers.extend(self.device.offers());
                        session.handle(0, Input::Offer(offers));
                        self.device.conclude(0, session.comparing()).unwrap();
                        done = caught_up.is_some_and(|position| self.device.is_synced(position));
                    }
                    Output::Close => return done,
                }
            }
            if done {
                session.handle(0, Input::Close);
                continue;
            }
            match wire.hear().await {
                Heard::Frame(bytes) => session.handle(0, Input::Frame(&bytes)),
                Heard::Closed(code) => panic!("closed with {code:?}"),
            }
        }
    }
}
