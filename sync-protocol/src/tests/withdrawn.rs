//! Devices that receive nothing any more from one moment to the next, before anybody told their session.

use bukti_core::authority::{Grant, Role};
use bukti_core::id::DeviceId;
use bukti_core::record::{Fact, GrantsFact, Record, Signed, Statement};

use super::samples;
use super::setting::{Pipe, Server, VILLAGE};
use crate::bye::ByeCode;
use crate::client::Event;

/// A session of a device for which something is there, and that is told `hello` before what is done and
/// asks for the feed behind it.
fn asks_behind(done: impl FnOnce(&mut Server, DeviceId)) -> Pipe {
    let mut server = Server::new();
    let mut writer = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut reader = server.enrolled(4, Role::Officer, &[VILLAGE]);
    let run = writer.create(VILLAGE, 1, "");
    server.accept(writer.device(), &[run]);
    let mut pipe = Pipe::open(&mut server, &reader);
    pipe.flow(&mut server, &mut reader, 1);
    assert_eq!(pipe.kinds_up(), ["hello"]);
    done(&mut server, reader.device());
    pipe.flow(&mut server, &mut reader, usize::MAX);
    assert_eq!(pipe.said(|event| matches!(event, Event::Page { .. })), 0);
    pipe
}

#[test]
fn a_device_that_is_revoked_before_its_first_page_gets_the_statement_and_no_page() {
    let pipe = asks_behind(|server, device| {
        server.ledger.revoke(server.wall, device).unwrap();
    });
    let bye = pipe.closed.unwrap();
    assert_eq!(bye.code, ByeCode::Revoked);
    assert!(bye.statement.is_some(), "{bye:?}");
}

#[test]
fn a_device_that_has_to_be_confirmed_before_its_first_page_is_told_so_and_gets_no_page() {
    let pipe = asks_behind(|server, device| {
        let grants = vec![Grant {
            role: Role::Officer,
            scope: "13.76".parse().unwrap(),
        }];
        let (at, fact) = (
            server.wall + 1_000,
            Fact::Grants(GrantsFact { device, grants }),
        );
        let wider = Signed::new(Statement { at, fact }, &samples::server_key());
        let wider = vec![Record::Server(wider).to_bytes()];
        let taken = server.ledger.take_back(server.wall, device, wider).unwrap();
        assert_eq!(taken.news, 1);
    });
    let bye = pipe.closed.unwrap();
    assert_eq!(bye.code, ByeCode::Shutdown);
    assert!(bye.sentence.contains("confirm"), "{bye:?}");
}
