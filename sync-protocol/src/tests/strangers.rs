//! Peers before they are let in, and what a session holds them to.

use bukti_core::authority::Role;
use bukti_core::hash::{domain, signing_bytes};
use bukti_core::id::{DeviceId, JournalId, RunId};
use bukti_core::ledger::{EnrolRefusal, Outcome, Verdict};
use ed25519_dalek::{Signature, Signer, SigningKey};

use super::setting::{Phone, Pipe, Sent, Server, VILLAGE, WALL, plain};
use crate::bye::ByeCode;
use crate::enrol::{self, EnrolSession};
use crate::frame::{Challenge, Credit, Enrol, Features, Frame, Hello, Proof, Push, Subscribe};
use crate::item::PushItem;
use crate::limits;
use crate::server::{Input, ServerSession};

fn hello(phone: &Phone) -> Vec<u8> {
    plain(said_by(phone))
}

fn said_by(phone: &Phone) -> Hello {
    Hello {
        version: 1,
        token: None,
        device: phone.device(),
        incarnation: phone.incarnation,
        last: None,
        credit: 65_536,
        held: vec![],
        features: Features::NONE,
        agent: String::new(),
    }
}

fn subscribe() -> Vec<u8> {
    plain(Subscribe {
        scopes: vec![],
        cursor: None,
        compare: false,
        gives: false,
    })
}

/// Says hello without a token; gives the challenge.
fn challenged(server: &mut Server, phone: &Phone) -> (ServerSession, Challenge) {
    let mut session = server.session();
    let sent = server.drive(&mut session, Input::Frame(&hello(phone)));
    let [Frame::Challenge(challenge)] = &sent.decoded()[..] else {
        panic!("{:?}", sent.decoded())
    };
    (session, challenge.clone())
}

fn proof(phone: &Phone, key: &SigningKey, challenge: &Challenge) -> Proof {
    let message = signing_bytes(domain::CHALLENGE, &challenge.message());
    Proof {
        device: phone.device(),
        signature: key.sign(&message).to_bytes(),
        certificate: None,
        journal: None,
    }
}

fn code(sent: &Sent) -> Option<ByeCode> {
    sent.closed.as_ref().map(|bye| bye.code.clone())
}

#[test]
fn a_proof_is_by_the_device_of_the_hello_over_the_challenge_of_the_session() {
    let mut server = Server::new();
    let phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let other = server.enrolled(4, Role::Officer, &[VILLAGE]);
    let mut answer = |make: &dyn Fn(&Challenge) -> Proof| {
        let (mut session, challenge) = challenged(&mut server, &phone);
        let bytes = plain(make(&challenge));
        let sent = server.drive(&mut session, Input::Frame(&bytes));
        (code(&sent), sent.decoded().len())
    };
    let refused = (Some(ByeCode::Unauthorised), 1);
    assert_eq!(
        answer(&|challenge| proof(&phone, &phone.key, challenge)),
        (None, 1)
    );
    assert_eq!(
        answer(&|challenge| proof(&other, &other.key, challenge)),
        refused
    );
    assert_eq!(
        answer(&|challenge| proof(&phone, &other.key, challenge)),
        refused
    );
    let former = |challenge: &Challenge| {
        let nonce = [9; 32];
        proof(
            &phone,
            &phone.key,
            &Challenge {
                nonce,
                ..challenge.clone()
            },
        )
    };
    assert_eq!(answer(&former), refused);
}

#[test]
fn a_signature_that_fits_every_message_proves_nothing() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let weak = DeviceId(neutral);
    let signature = Signature::from_components(neutral, [0; 32]).to_bytes();
    let mut server = Server::new();
    server.invite([7; 16], Role::Officer, &[VILLAGE]);
    let enrol = Enrol {
        secret: [7; 16],
        device: weak,
        signature,
    };
    let mut session = server.session();
    let sent = server.drive(&mut session, Input::Frame(&plain(enrol)));
    assert_eq!(code(&sent), Some(ByeCode::Unauthorised));

    server.ledger.enrol(server.wall, &[7; 16], weak).unwrap();
    let hello = Hello {
        device: weak,
        ..said_by(&Phone::new(3, &server))
    };
    let mut session = server.session();
    server.drive(&mut session, Input::Frame(&plain(hello)));
    let proof = Proof {
        device: weak,
        signature,
        certificate: None,
        journal: None,
    };
    let sent = server.drive(&mut session, Input::Frame(&plain(proof)));
    assert_eq!(code(&sent), Some(ByeCode::Unauthorised));
}

#[test]
fn a_certificate_of_another_server_lets_nobody_in() {
    let mut server = Server::new();
    let mut lost = Server::founded(JournalId([10; 16]), WALL);
    let phone = lost.enrolled(3, Role::Officer, &[VILLAGE]);
    let forged = {
        let mut certificate = phone.certificate.clone();
        *certificate.last_mut().unwrap() ^= 1;
        certificate
    };
    // What is refused here never reaches the journal, which does not answer.
    server.judges = false;
    for (certificate, expected) in [
        (forged, Some(ByeCode::Unauthorised)),
        (phone.certificate.clone(), None),
    ] {
        let (mut session, challenge) = challenged(&mut server, &phone);
        let proof = Proof {
            certificate: Some(certificate.into()),
            ..proof(&phone, &phone.key, &challenge)
        };
        let sent = server.drive(&mut session, Input::Frame(&plain(proof)));
        assert_eq!(code(&sent), expected);
    }
}

#[test]
fn a_device_that_shows_its_key_and_is_not_enrolled_gets_no_session() {
    let mut server = Server::new();
    let stranger = Phone::new(5, &server);
    let (mut session, challenge) = challenged(&mut server, &stranger);
    let proof = proof(&stranger, &stranger.key, &challenge);
    let sent = server.drive(&mut session, Input::Frame(&plain(proof)));
    assert_eq!(code(&sent), Some(ByeCode::Unauthorised));
}

#[test]
fn what_waits_to_be_submitted_is_dropped_once_the_store_shows_to_be_stale() {
    let mut server = Server::new();
    server.judges = false;
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let first = phone.create(VILLAGE, 1, "").id();
    let mut pipe = Pipe::run(&mut server, &mut phone);
    phone.create(VILLAGE, 2, "");
    let push = plain(Push {
        items: vec![PushItem::Run(phone.tail[1].1.clone())],
        returned: false,
        statements: false,
    });
    server.press(&mut pipe.session, &push);
    let verdict = Verdict::Stale {
        highest: (9, RunId([9; 16])),
    };
    let outcome = Outcome {
        run: first,
        verdict,
    };
    let sent = server.drive(&mut pipe.session, Input::Judged(vec![outcome]));
    assert_eq!(sent.submitted, 0);
}

#[test]
fn every_wait_for_a_peer_or_the_journal_has_an_end() {
    let mut server = Server::new();
    let phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let start = server.now;
    let ends_with = |server: &mut Server, session: &mut ServerSession, after: u64| {
        assert_eq!(session.deadline(), Some(start + after));
        server.now = start + after - 1;
        assert_eq!(code(&server.drive(session, Input::Tick)), None);
        server.now = start + after;
        let code = code(&server.drive(session, Input::Tick));
        server.now = start;
        code
    };
    let (mut session, _) = challenged(&mut server, &phone);
    let end = ends_with(&mut server, &mut session, limits::ANSWER_MS);
    assert_eq!(end, Some(ByeCode::Timeout), "a proof");

    let mut session = readmitting(&mut server);
    let end = ends_with(&mut server, &mut session, limits::ANSWER_MS);
    assert_eq!(end, Some(ByeCode::Fault), "a certificate");
    server.judges = true;

    server.invite([7; 16], Role::Officer, &[VILLAGE]);
    let mut session = server.session();
    let key = SigningKey::from_bytes(&[6; 32]);
    let mut enrolment = EnrolSession::new(&key, &[7; 16], server.id(), server.now);
    let Some(enrol::Output::Send(bytes)) = enrolment.poll() else {
        panic!()
    };
    assert_eq!(
        code(&server.drive(&mut session, Input::Frame(&bytes))),
        None
    );
    let end = ends_with(&mut server, &mut session, limits::FIRST_FRAME_MS);
    assert_eq!(end, Some(ByeCode::Timeout), "a hello behind an enrolment");

    let mut phone = phone;
    phone.create(VILLAGE, 1, "");
    Pipe::run(&mut server, &mut phone);
    let mut old = Phone::new(3, &server);
    old.token = phone.token.clone();
    let mut pipe = Pipe::run(&mut server, &mut old);
    let end = ends_with(&mut server, &mut pipe.session, limits::FIRST_FRAME_MS);
    assert_eq!(end, Some(ByeCode::Done), "what a stale device has to say");
}

#[test]
fn before_it_opens_a_session_takes_what_it_waits_for_and_little_of_it() {
    let mut server = Server::new();
    server.judges = false;
    let phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut lost = Server::founded(JournalId([10; 16]), WALL);
    let stranger = lost.enrolled(5, Role::Officer, &[VILLAGE]);
    let readmitting = |server: &mut Server| {
        let (mut session, challenge) = challenged(server, &stranger);
        let certificate = Some(stranger.certificate.clone().into());
        let proof = Proof {
            certificate,
            ..proof(&stranger, &stranger.key, &challenge)
        };
        server.drive(&mut session, Input::Frame(&plain(proof)));
        session
    };
    let out_of_place = plain(Credit { bytes: 5_000 });
    for mut session in [
        server.session(),
        challenged(&mut server, &phone).0,
        readmitting(&mut server),
    ] {
        let sent = server.drive(&mut session, Input::Frame(&out_of_place));
        assert_eq!(code(&sent), Some(ByeCode::Malformed));
    }
    for (mut session, heard) in [
        (challenged(&mut server, &phone).0, 1),
        (readmitting(&mut server), 2),
    ] {
        for _ in heard..limits::FRAMES_BEFORE_WELCOME_MAX {
            // Slowly, so that it is no matter of rate.
            server.now += 1_000;
            let sent = server.drive(&mut session, Input::Frame(&subscribe()));
            assert_eq!(code(&sent), None, "behind {heard}");
        }
        let sent = server.drive(&mut session, Input::Frame(&subscribe()));
        assert_eq!(code(&sent), Some(ByeCode::Flood));
    }
}

/// A session whose device showed its certificate to a server that does not know it and has not
/// answered yet.
fn readmitting(server: &mut Server) -> ServerSession {
    let mut lost = Server::founded(JournalId([10; 16]), WALL);
    let stranger = lost.enrolled(5, Role::Officer, &[VILLAGE]);
    let (mut session, challenge) = challenged(server, &stranger);
    let certificate = Some(stranger.certificate.clone().into());
    let proof = Proof {
        certificate,
        ..proof(&stranger, &stranger.key, &challenge)
    };
    server.judges = false;
    server.drive(&mut session, Input::Frame(&plain(proof)));
    session
}

#[test]
fn behind_a_proof_the_flight_has_its_bound_anew() {
    let mut server = Server::new();
    let mut session = readmitting(&mut server);
    let push = plain(Push {
        items: vec![PushItem::Run(vec![7; 4_000])],
        returned: false,
        statements: false,
    });
    for _ in 0..limits::FLIGHT_BYTES / push.len() as u64 {
        let sent = server.drive(&mut session, Input::Frame(&push));
        assert_eq!(code(&sent), None);
    }
    let sent = server.drive(&mut session, Input::Frame(&push));
    assert_eq!(code(&sent), Some(ByeCode::Credit));
}

#[test]
fn a_session_enrols_one_device() {
    let mut server = Server::new();
    server.invite([7; 16], Role::Officer, &[VILLAGE]);
    let mut session = server.session();
    let mut ask = |server: &mut Server, seed: u8| {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let mut enrolment = EnrolSession::new(&key, &[7; 16], server.id(), server.now);
        let Some(enrol::Output::Send(bytes)) = enrolment.poll() else {
            panic!()
        };
        code(&server.drive(&mut session, Input::Frame(&bytes)))
    };
    assert_eq!(ask(&mut server, 5), None);
    assert_eq!(ask(&mut server, 6), Some(ByeCode::Malformed));
}

#[test]
fn an_answer_to_an_enrolment_that_nobody_waits_for_changes_nothing() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let late = Input::Enrolled(Err(EnrolRefusal::Unknown));
    let sent = server.drive(&mut pipe.session, late);
    assert_eq!((sent.frames.len(), sent.closed), (0, None));
}

#[test]
fn a_token_ends_with_its_life() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    Pipe::run(&mut server, &mut phone);
    server.wall += limits::TOKEN_LIFE_MS - 1;
    let token = phone.token.clone();
    assert_eq!(
        Pipe::run(&mut server, &mut phone).kinds_down()[0],
        "welcome"
    );
    server.wall += 1;
    phone.token = token;
    assert_eq!(
        Pipe::run(&mut server, &mut phone).kinds_down()[0],
        "challenge"
    );
}

#[test]
fn a_device_that_says_goodbye_is_heard_no_more() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    pipe.tell(&mut server, Input::Frame(&plain(crate::bye::Bye::done())));
    assert_eq!(pipe.closed.take().unwrap().code, ByeCode::Done);
    let sent = server.drive(&mut pipe.session, Input::Frame(&subscribe()));
    assert!(sent.frames.is_empty() && sent.closed.is_none());
}
