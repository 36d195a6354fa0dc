//! Who is let in.

use bukti_core::authority::Role;
use bukti_core::id::ServerId;
use minicbor::Decoder;

use super::setting::{Phone, Pipe, Server, VILLAGE, WALL, plain};
use crate::bye::{Bye, ByeCode};
use crate::client::Event;
use crate::enrol::{self, EnrolSession};
use crate::frame::{Features, Hello, Proof};
use crate::limits;
use crate::server::Input;

#[test]
fn an_invitation_makes_a_device_that_goes_on_with_hello() {
    let mut server = Server::new();
    server.invite([7; 16], Role::Officer, &[VILLAGE]);
    let mut phone = Phone::new(3, &server);
    let mut session = server.session();
    let mut enrolment = EnrolSession::new(&phone.key, &[7; 16], server.id(), server.now);
    let Some(enrol::Output::Send(bytes)) = enrolment.poll() else {
        panic!()
    };
    let sent = server.drive(&mut session, Input::Frame(&bytes));
    enrolment.handle(&sent.frames[0]);
    let Some(enrol::Output::Event(enrol::Event::Enrolled { .. })) = enrolment.poll() else {
        panic!("{:?}", sent.decoded());
    };
    assert_eq!(enrolment.deadline(), None);

    let mut pipe = Pipe::open(&mut server, &phone);
    pipe.session = session;
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.said(|event| matches!(event, Event::Welcome { .. })), 1);
    let up = ["hello", "subscribe", "proof", "subscribe"];
    assert_eq!(pipe.kinds_up(), up, "it shows that it has the key");
    assert!(phone.token.is_some());
}

#[test]
fn an_enrolment_that_was_recorded_gives_nobody_a_token() {
    let mut server = Server::new();
    server.invite([7; 16], Role::Officer, &[VILLAGE]);
    let phone = Phone::new(3, &server);
    let mut enrolment = EnrolSession::new(&phone.key, &[7; 16], server.id(), server.now);
    let Some(enrol::Output::Send(recorded)) = enrolment.poll() else {
        panic!()
    };
    for _ in 0..2 {
        let mut session = server.session();
        let sent = server.drive(&mut session, Input::Frame(&recorded));
        let answer = &sent.frames[0];
        let mut read = Decoder::new(&answer[1..]);
        assert_eq!(read.array().unwrap(), Some(2));
        assert_eq!(read.u64().unwrap(), 6);
        assert_eq!(
            read.map().unwrap(),
            Some(2),
            "two statements and nothing else"
        );
    }
}

#[test]
fn an_invitation_serves_one_device_and_says_what_is_wrong_to_others() {
    let mut server = Server::new();
    server.invite([7; 16], Role::Officer, &[VILLAGE]);
    let mut enrol = |seed: u8, secret: [u8; 16], wall: i64| {
        let phone = Phone::new(seed, &server);
        let id = server.id();
        server.wall = wall;
        let mut session = server.session();
        let mut enrolment = EnrolSession::new(&phone.key, &secret, id, server.now);
        let Some(enrol::Output::Send(bytes)) = enrolment.poll() else {
            panic!()
        };
        let sent = server.drive(&mut session, Input::Frame(&bytes));
        enrolment.handle(&sent.frames[0]);
        match enrolment.poll() {
            Some(enrol::Output::Event(enrol::Event::Bye(bye))) => Some(bye.code),
            Some(enrol::Output::Event(enrol::Event::Enrolled { .. })) => None,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(enrol(3, [8; 16], WALL), Some(ByeCode::InvitationUnknown));
    assert_eq!(enrol(3, [7; 16], WALL), None);
    assert_eq!(
        enrol(3, [7; 16], WALL),
        None,
        "the answer may have been lost"
    );
    assert_eq!(enrol(4, [7; 16], WALL), Some(ByeCode::InvitationUsed));
    server.invite([6; 16], Role::Officer, &[VILLAGE]);
    let mut phone = Phone::new(5, &server);
    server.wall = WALL + 2_000_000;
    let mut session = server.session();
    let mut enrolment = EnrolSession::new(&phone.key, &[6; 16], server.id(), server.now);
    let Some(enrol::Output::Send(bytes)) = enrolment.poll() else {
        panic!()
    };
    let closed = server
        .drive(&mut session, Input::Frame(&bytes))
        .closed
        .unwrap();
    assert_eq!(closed.code, ByeCode::InvitationExpired);
    phone.token = None;
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(
        pipe.bye(),
        Some(ByeCode::Unauthorised),
        "it is not enrolled"
    );
}

#[test]
fn an_enrolment_trusts_nobody_but_the_key_in_the_link() {
    let mut server = Server::new();
    server.invite([7; 16], Role::Officer, &[VILLAGE]);
    let phone = Phone::new(3, &server);
    let expected = Phone::new(4, &server).device();
    let expected = ServerId(expected.0);
    let mut enrolment = EnrolSession::new(&phone.key, &[7; 16], expected, server.now);
    let Some(enrol::Output::Send(bytes)) = enrolment.poll() else {
        panic!()
    };
    let mut session = server.session();
    let sent = server.drive(&mut session, Input::Frame(&bytes));
    assert_eq!(
        sent.closed.unwrap().code,
        ByeCode::Unauthorised,
        "signed for another server"
    );

    let mut honest = EnrolSession::new(&phone.key, &[7; 16], server.id(), server.now);
    let Some(enrol::Output::Send(bytes)) = honest.poll() else {
        panic!()
    };
    let mut session = server.session();
    let sent = server.drive(&mut session, Input::Frame(&bytes));
    enrolment.handle(&sent.frames[0]);
    assert!(matches!(enrolment.poll(), Some(enrol::Output::Send(_))));
    let Some(enrol::Output::Event(enrol::Event::Bye(bye))) = enrolment.poll() else {
        panic!()
    };
    assert_eq!(bye.code, ByeCode::Unauthorised);
}

#[test]
fn a_device_without_a_token_proves_itself_and_pushes_again() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let run = phone.create(VILLAGE, 1, "");
    phone.token = None;
    let pipe = Pipe::run(&mut server, &mut phone);
    let up = ["hello", "subscribe", "push", "proof", "subscribe", "push"];
    assert_eq!(pipe.kinds_up(), up);
    assert_eq!(pipe.submitted, 1, "what came before the proof was dropped");
    assert_eq!(pipe.accepted(), [run.id()]);
    assert!(phone.token.is_some());
}

#[test]
fn an_expired_or_foreign_token_is_only_a_reason_for_a_challenge() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let other = server.enrolled(4, Role::Officer, &[VILLAGE]);
    phone.token = other.token;
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(pipe.kinds_down()[0], "challenge");
    assert_eq!(pipe.said(|event| matches!(event, Event::Welcome { .. })), 1);
    server.wall += limits::TOKEN_LIFE_MS;
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(pipe.kinds_down()[0], "challenge");
    assert_eq!(pipe.said(|event| matches!(event, Event::Welcome { .. })), 1);
}

#[test]
fn a_proof_of_another_key_is_refused() {
    let mut server = Server::new();
    let victim = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut thief = Phone::new(4, &server);
    let mut pipe = Pipe::open(&mut server, &thief);
    let hello = Hello {
        version: 1,
        token: None,
        device: victim.device(),
        incarnation: victim.incarnation,
        last: None,
        credit: 65_536,
        held: vec![],
        features: Features::NONE,
        agent: String::new(),
    };
    pipe.tell(&mut server, Input::Frame(&plain(hello)));
    thief.token = None;
    let signature = [0; 64];
    let proof = Proof {
        device: victim.device(),
        signature,
        certificate: None,
        journal: None,
    };
    pipe.tell(&mut server, Input::Frame(&plain(proof)));
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Unauthorised);
}

#[test]
fn an_enrolment_that_the_journal_does_not_answer_ends_as_a_fault() {
    for gives_up in [false, true] {
        let mut server = Server::new();
        server.judges = false;
        server.invite([7; 16], Role::Officer, &[VILLAGE]);
        let phone = Phone::new(3, &server);
        let mut session = server.session();
        let mut enrolment = EnrolSession::new(&phone.key, &[7; 16], server.id(), server.now);
        let Some(enrol::Output::Send(bytes)) = enrolment.poll() else {
            panic!()
        };
        let sent = server.drive(&mut session, Input::Frame(&bytes));
        assert_eq!((sent.frames.len(), sent.closed), (0, None));
        let deadline = server.now + limits::ANSWER_MS;
        assert_eq!(session.deadline(), Some(deadline));
        let sent = if gives_up {
            let bye = Bye::new(ByeCode::Fault, "The server could not enrol the device.");
            server.drive(&mut session, Input::End(bye))
        } else {
            server.now = deadline;
            server.drive(&mut session, Input::Tick)
        };
        assert_eq!(sent.closed.unwrap().code, ByeCode::Fault);
        enrolment.handle(&sent.frames[0]);
        let said = enrolment.poll();
        assert!(
            matches!(said, Some(enrol::Output::Event(enrol::Event::Bye(bye)))
            if bye.code == ByeCode::Fault)
        );
    }
}
