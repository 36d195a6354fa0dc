//! Frameworks and regions that a server lost: named by their devices, sent where they are lacking.

use bukti_core::authority::Role;
use bukti_core::id::JournalId;
use bukti_core::ledger::Bulk;
use bukti_core::record::{Fact, FrameworkFact, Record, Signed, Statement};
use bukti_core::region::RegionSheet;
use ed25519_dalek::SigningKey;

use super::samples::{self, TIME};
use super::setting::{Phone, Pipe, Server, VILLAGE, WALL, noise, plain};
use crate::bye::ByeCode;
use crate::client::Event;
use crate::deflate::pack;
use crate::fragment::{ItemId, Splitter};
use crate::frame::{Frame, HeldStatement, Holding, Push, Wanted, decode};
use crate::item::PushItem;
use crate::limits;
use crate::server::Input;

/// A framework of about so many bytes that do not deflate well.
fn framework(id: &str, bytes: usize) -> Vec<u8> {
    let json = format!(
        "{{\"id\":\"{id}\",\"version\":\"2024\",\"pad\":{:?}}}",
        noise(bytes)
    );
    samples::statement(Fact::Framework(FrameworkFact {
        json: json.into_bytes(),
    }))
}

fn regions(at: i64, version: &str) -> Vec<u8> {
    let sheet = RegionSheet {
        version: version.into(),
        parent: "13.76".parse().unwrap(),
        rows: Vec::new(),
    };
    let fact = Fact::Regions(sheet);
    Record::Server(Signed::new(Statement { at, fact }, &samples::server_key())).to_bytes()
}

fn named(record: &[u8], bytes: u64, at: i64, about: Bulk) -> Holding {
    let item = ItemId::of(&pack(record, false));
    Holding {
        statements: vec![HeldStatement {
            item,
            bytes,
            at,
            about,
        }],
    }
}

fn about(id: &str) -> Bulk {
    Bulk::Framework {
        id: id.into(),
        version: "2024".into(),
    }
}

/// A server founded anew with the same key, and a device with a cursor of the lost journal.
fn founded_anew() -> (Server, Phone) {
    let mut server = Server::founded(JournalId([10; 16]), WALL + 1_000_000);
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    (phone.compare, phone.cursor) = (true, Some(vec![1]));
    (server, phone)
}

fn holds(server: &Server, id: &str) -> bool {
    let reader = server.ledger.reader();
    reader.framework(id, "2024").unwrap().is_some()
}

fn up_bytes(pipe: &Pipe) -> usize {
    pipe.sent_up.iter().map(Vec::len).sum()
}

fn told(pipe: &Pipe) -> usize {
    pipe.said(|event| matches!(event, Event::StatementsHeld))
}

fn pushed(record: &[u8]) -> Vec<Vec<u8>> {
    let mut splitter = Splitter::new(pack(record, false), &[]);
    let mut frames = Vec::new();
    while let Some(fragment) = splitter.next_fragment() {
        frames.push(plain(fragment));
    }
    frames.push(plain(Push {
        items: vec![PushItem::Large(splitter.item())],
        returned: false,
        statements: true,
    }));
    frames
}

#[test]
fn long_statements_are_sent_where_the_server_lacks_them_and_only_named_where_it_has_them() {
    let (mut server, mut phone) = founded_anew();
    phone.statements = vec![
        framework("lost", 30_000),
        regions(TIME, "2024"),
        samples::certificate(),
    ];
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!((pipe.closed.as_ref(), told(&pipe)), (None, 1));
    assert_eq!(pipe.taken_back, 3);
    assert!(holds(&server, "lost"));
    let kinds = pipe.kinds_up();
    assert_eq!(kinds.iter().filter(|kind| **kind == "holding").count(), 2);
    assert!(up_bytes(&pipe) > 20_000);

    // Another device that holds the same and something more.
    let mut other = server.enrolled(4, Role::Officer, &[VILLAGE]);
    (other.compare, other.cursor) = (true, Some(vec![1]));
    other.statements = phone.statements.clone();
    other.statements.push(framework("more", 5_000));
    let pipe = Pipe::run(&mut server, &mut other);
    assert_eq!((pipe.taken_back, told(&pipe)), (1, 1));
    assert!(holds(&server, "more"));
    assert!(up_bytes(&pipe) < 8_000, "{} bytes", up_bytes(&pipe));

    // All of it is there.
    other.cursor = Some(vec![1]);
    let pipe = Pipe::run(&mut server, &mut other);
    assert_eq!((pipe.taken_back, told(&pipe)), (0, 1));
    let holding = pipe.sent_up.iter().filter_map(|bytes| {
        let frame = decode(bytes).unwrap().unwrap();
        (frame.name() == "holding").then_some(bytes.len())
    });
    let named: usize = holding.sum();
    assert!(named <= 200, "{named} bytes for three names");
}

#[test]
fn a_long_statement_goes_on_where_it_was_cut() {
    let record = framework("lost", 30_000);
    let (mut server, mut phone) = founded_anew();
    phone.cursor = None;
    phone.owed = vec![record.clone()];
    let (mut sessions, mut fragments) = (0, 0);
    loop {
        sessions += 1;
        let mut pipe = Pipe::open(&mut server, &phone);
        pipe.flow(&mut server, &mut phone, 8);
        let pipe = pipe.cut(&mut server, &mut phone);
        let sent = pipe.kinds_up();
        fragments += sent.iter().filter(|kind| **kind == "fragment").count();
        if told(&pipe) == 1 {
            break;
        }
        assert!(sessions < 20, "it goes on");
    }
    assert!(sessions > 2, "it was cut");
    assert!(holds(&server, "lost"));
    let needed = record.len().div_ceil(limits::FRAGMENT_BYTES);
    assert!(
        fragments <= needed + 1,
        "{fragments} fragments, {needed} needed"
    );
}

#[test]
fn a_later_statement_is_never_replaced_by_one_from_before() {
    let (mut server, mut phone) = founded_anew();
    phone.statements = vec![regions(TIME + 1, "later")];
    Pipe::run(&mut server, &mut phone);
    let parent = "13.76".parse().unwrap();
    let later = server.ledger.reader().regions(&parent).unwrap();
    assert!(later.is_some());
    let mut other = server.enrolled(4, Role::Officer, &[VILLAGE]);
    (other.compare, other.cursor) = (true, Some(vec![1]));
    other.statements = vec![regions(TIME, "earlier")];
    let mut pipe = Pipe::run(&mut server, &mut other);
    assert_eq!((pipe.taken_back, told(&pipe)), (0, 1));
    // Nor if it is sent without being asked for.
    for frame in pushed(&regions(TIME, "earlier")) {
        pipe.tell(&mut server, Input::Frame(&frame));
    }
    assert_eq!((pipe.closed.as_ref(), pipe.taken_back), (None, 0));
    let still = server.ledger.reader().regions(&parent).unwrap();
    assert_eq!(still, later);
}

#[test]
fn names_that_lie_cost_the_server_nothing() {
    let (mut server, mut phone) = founded_anew();
    phone.cursor = None;
    let record = framework("lost", 5_000);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    // Never sent, larger than is taken, at a time that never was.
    for (bytes, at, wanted) in [
        (9, TIME, 1),
        (u64::MAX, TIME, 0),
        (0, i64::MIN, 1),
        (9, i64::MAX, 1),
    ] {
        let holding = plain(named(&record, bytes, at, about("lost")));
        let sent = server.drive(&mut pipe.session, Input::Frame(&holding));
        let [Frame::Wanted(answer)] = &sent.decoded()[..] else {
            panic!("each is answered by one frame")
        };
        assert_eq!(answer.items.len(), wanted);
    }
    // As something else, in another size, and again and again: what it is counts.
    for frame in [pushed(&record), pushed(&record), pushed(&record)].concat() {
        pipe.tell(&mut server, Input::Frame(&frame));
    }
    assert_eq!((pipe.closed.as_ref(), pipe.taken_back), (None, 1));
    assert!(holds(&server, "lost"));
    // By another key.
    let other = SigningKey::from_bytes(&[99; 32]);
    let statement = Statement {
        at: TIME,
        fact: Fact::Framework(FrameworkFact {
            json: br#"{"id":"forged","version":"2024"}"#.to_vec(),
        }),
    };
    let forged = Record::Server(Signed::new(statement, &other)).to_bytes();
    for frame in pushed(&forged) {
        pipe.tell(&mut server, Input::Frame(&frame));
    }
    assert_eq!((pipe.closed.as_ref(), pipe.taken_back), (None, 1));
    assert!(!holds(&server, "forged"));
    // An item that was never sent ends the session, as with runs.
    let nothing = Push {
        items: vec![PushItem::Large(ItemId([9; 16]))],
        returned: false,
        statements: true,
    };
    pipe.tell(&mut server, Input::Frame(&plain(nothing)));
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Fragment);
}

#[test]
fn a_device_that_names_without_end_is_let_go() {
    let (mut server, mut phone) = founded_anew();
    phone.cursor = None;
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let name = named(b"x", 9, TIME, about("lost")).statements.remove(0);
    let frame = plain(Holding {
        statements: vec![name; limits::HOLDING_PER_FRAME],
    });
    let frames = limits::STATEMENTS_MAX / limits::HOLDING_PER_FRAME;
    for _ in 0..frames {
        server.now += 1_000;
        pipe.tell(&mut server, Input::Frame(&frame));
        assert_eq!(pipe.closed, None);
    }
    pipe.tell(&mut server, Input::Frame(&frame));
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Flood);
}

#[test]
fn a_server_that_wants_what_was_not_named_is_left() {
    let (mut server, mut phone) = founded_anew();
    phone.cursor = None;
    phone.owed = vec![framework("lost", 100)];
    for items in [Vec::new(), vec![ItemId([9; 16])]] {
        let mut pipe = Pipe::run(&mut server, &mut phone);
        assert_eq!(told(&pipe), 1);
        let unasked = plain(Wanted { items });
        pipe.client
            .handle(server.now, crate::client::Input::Frame(&unasked));
        pipe.flow(&mut server, &mut phone, usize::MAX);
        assert_eq!(pipe.closed.unwrap().code, ByeCode::Malformed);
    }
}

#[test]
fn what_the_server_does_not_take_is_sent_once_a_session() {
    let (mut server, mut phone) = founded_anew();
    phone.cursor = None;
    // No server takes what it did not sign.
    let other = SigningKey::from_bytes(&[99; 32]);
    let statement = Statement {
        at: TIME,
        fact: Fact::Framework(FrameworkFact {
            json: br#"{"id":"forged","version":"2024"}"#.to_vec(),
        }),
    };
    phone.owed = vec![Record::Server(Signed::new(statement, &other)).to_bytes()];
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!((pipe.closed.as_ref(), told(&pipe)), (None, 0));
    let pushes = pipe.kinds_up().into_iter().filter(|kind| *kind == "push");
    assert_eq!(pushes.count(), 1);
    assert!(!pipe.client.returning(), "the session is done with it");
}

#[test]
fn names_and_credit_wait_for_what_the_journal_has_not_taken_in() {
    let (mut server, mut phone) = founded_anew();
    phone.cursor = None;
    let mut pipe = Pipe::run(&mut server, &mut phone);
    server.judges = false;
    let more = limits::UNJUDGED_BYTES as usize * 2;
    for frame in pushed(&framework("first", more)) {
        server.drive(&mut pipe.session, Input::Frame(&frame));
    }
    let mut heard = |server: &mut Server, input: Input<'_>| {
        let sent = server.drive(&mut pipe.session, input).decoded();
        sent.iter().map(Frame::name).collect::<Vec<_>>()
    };
    for frame in pushed(&framework("second", 40_000)) {
        assert_eq!(heard(&mut server, Input::Frame(&frame)), [""; 0]);
    }
    let holding = named(b"x", 9, TIME, about("third"));
    let asked = heard(&mut server, Input::Frame(&plain(holding)));
    assert_eq!(asked, [""; 0]);
    assert_eq!(heard(&mut server, Input::TakenBack), ["credit"]);
    assert_eq!(heard(&mut server, Input::TakenBack), ["wanted"]);
}
