//! Statements that a server lost: long ones named by their devices and sent where they are lacking,
//! short ones sent and owed until the server says that it has them.

use std::collections::BTreeSet;

use bukti_core::authority::Role;
use bukti_core::id::{DeviceId, JournalId};
use bukti_core::ledger::{Bulk, Left};
use bukti_core::record::{Fact, FrameworkFact, Record, Revocation, Signed, Statement};
use bukti_core::region::RegionSheet;
use ed25519_dalek::SigningKey;

use super::samples::{self, TIME};
use super::setting::{Phone, Pipe, Server, VILLAGE, WALL, noise, plain};
use crate::bye::ByeCode;
use crate::client::{self, ClientSession, Event};
use crate::deflate::pack;
use crate::fragment::{ItemId, Splitter};
use crate::frame::{
    Features, Frame, HeldStatement, Holding, Push, Statements, Wanted, decode, encode,
};
use crate::item::PushItem;
use crate::limits;
use crate::server::{Input, Output};

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
    sheet(at, version, "13.76")
}

fn sheet(at: i64, version: &str, parent: &str) -> Vec<u8> {
    let sheet = RegionSheet {
        version: version.into(),
        parent: parent.parse().unwrap(),
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

fn revocation(number: u32) -> Vec<u8> {
    let mut device = [7; 32];
    device[..4].copy_from_slice(&number.to_le_bytes());
    let device = DeviceId(device);
    samples::statement(Fact::Revocation(Revocation { device }))
}

/// The statements that the server did not say it has.
fn still_owed(pipe: &Pipe, given: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let held = held(pipe);
    let owed = given.iter();
    owed.filter(|record| !held.contains(&ItemId::of(record)))
        .cloned()
        .collect()
}

fn holds(server: &Server, id: &str) -> bool {
    let reader = server.ledger.reader();
    reader.framework(id, "2024").unwrap().is_some()
}

fn up_bytes(pipe: &Pipe) -> usize {
    pipe.sent_up.iter().map(Vec::len).sum()
}

/// How many statements the server said that it has.
fn told(pipe: &Pipe) -> usize {
    held(pipe).len()
}

fn held(pipe: &Pipe) -> BTreeSet<ItemId> {
    let told = pipe.events.iter().filter_map(|event| match event {
        Event::StatementsHeld(statements) => Some(statements),
        _ => None,
    });
    told.flatten().copied().collect()
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
    assert_eq!((pipe.closed.as_ref(), told(&pipe)), (None, 3));
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
    assert_eq!((pipe.taken_back, told(&pipe)), (1, 4));
    assert!(holds(&server, "more"));
    assert!(up_bytes(&pipe) < 8_000, "{} bytes", up_bytes(&pipe));

    // All of it is there.
    other.cursor = Some(vec![1]);
    let pipe = Pipe::run(&mut server, &mut other);
    assert_eq!((pipe.taken_back, told(&pipe)), (0, 4));
    let holding = pipe.sent_up.iter().filter_map(|bytes| {
        let frame = decode(bytes).unwrap().unwrap();
        (frame.name() == "holding").then_some(bytes.len())
    });
    let named: usize = holding.sum();
    assert!(named <= 200, "{named} bytes for three names");
}

#[test]
fn runs_behind_a_cursor_that_turns_out_void_wait_for_all_statements() {
    let (mut server, mut phone) = founded_anew();
    // Of the loss before this one it still owes something.
    phone.owed = vec![revocation(1)];
    phone.statements = vec![revocation(1), revocation(2)];
    // More than half of the credit: it has to come back.
    let runs: Vec<_> = (0..24)
        .map(|random| phone.create(VILLAGE, random, &noise(3_000)).id())
        .collect();
    server.judges = false;
    let mut pipe = Pipe::run(&mut server, &mut phone);
    assert!(pipe.kinds_up().contains(&"push"));
    pipe.tell(&mut server, Input::TakenBack(None));
    assert_eq!((pipe.submitted, pipe.found.len()), (0, 1));
    server.judges = true;
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!((pipe.closed.as_ref(), pipe.taken_back), (None, 2));
    assert_eq!((pipe.submitted, pipe.accepted()), (runs.len(), runs));
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
fn statements_that_another_signed_never_reach_the_journal() {
    let (mut server, mut phone) = founded_anew();
    phone.cursor = None;
    let mut pipe = Pipe::run(&mut server, &mut phone);
    server.judges = false;
    let statement = Statement {
        at: TIME,
        fact: Fact::Revocation(Revocation {
            device: phone.device(),
        }),
    };
    let forged = Signed::new(statement, &SigningKey::from_bytes(&[99; 32]));
    let frame = plain(Statements {
        statements: vec![Record::Server(forged).to_bytes().into()],
        last: true,
    });
    let sent = server.drive(&mut pipe.session, Input::Frame(&frame));
    let answers: Vec<_> = sent.decoded().iter().map(Frame::name).collect();
    assert_eq!(answers, ["taken"], "at once, since nobody is asked");
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
            .handle(server.now, client::Input::Frame(&unasked));
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
    assert_eq!(heard(&mut server, Input::TakenBack(None)), ["credit"]);
    assert_eq!(heard(&mut server, Input::TakenBack(None)), ["wanted"]);
}

#[test]
fn a_comparison_behind_statements_is_not_answered_to_a_device_that_they_revoke() {
    for revoked in [false, true] {
        let (mut server, mut phone) = founded_anew();
        phone.statements = vec![revocation(1)];
        server.judges = false;
        let mut pipe = Pipe::run(&mut server, &mut phone);
        assert!(pipe.kinds_up().contains(&"subscribe"));
        if revoked {
            server.ledger.revoke(WALL, phone.device()).unwrap();
        }
        let sent = server.drive(&mut pipe.session, Input::TakenBack(None));
        let kinds = sent.decoded();
        let kinds: BTreeSet<_> = kinds.iter().map(Frame::name).collect();
        let closed = sent.closed.map(|bye| bye.code);
        assert_eq!(closed, revoked.then_some(ByeCode::Revoked));
        assert_eq!(kinds.contains("up_to_date"), !revoked, "{kinds:?}");
        assert!(!(revoked && kinds.contains("reconcile")), "{kinds:?}");
    }
}

#[test]
fn statements_that_were_left_are_given_in_the_next_session_before_anything_else() {
    for leaves in [Left::Full, Left::Beyond] {
        let (mut server, mut phone) = founded_anew();
        phone.statements = vec![revocation(1), samples::certificate()];
        phone.create(VILLAGE, 1, "");
        server.leaves = Some(leaves);
        let pipe = Pipe::run(&mut server, &mut phone);
        assert_eq!((told(&pipe), pipe.taken_back), (0, 0));
        assert!(pipe.kinds_down().contains(&"up_to_date"), "it is fed");
        // Whoever may come back sooner is told so.
        let bye = pipe.closed.as_ref().map(|bye| bye.code.clone());
        assert_eq!(bye, (leaves == Left::Full).then_some(ByeCode::Full));
        phone.owed = still_owed(&pipe, &phone.statements);
        assert_eq!(phone.owed, phone.statements);

        server.leaves = None;
        phone.create(VILLAGE, 2, "");
        let pipe = Pipe::run(&mut server, &mut phone);
        assert_eq!(
            pipe.kinds_up(),
            ["hello", "statements", "subscribe", "push"]
        );
        assert_eq!((told(&pipe), pipe.taken_back), (2, 2));
        assert_eq!((pipe.closed.as_ref(), phone.tail.len()), (None, 0));
    }
}

#[test]
fn a_loss_behind_what_was_owed_is_made_good_in_the_same_session() {
    let (mut server, mut phone) = founded_anew();
    phone.owed = vec![framework("owed", 5_000), revocation(1)];
    phone.statements = vec![framework("held", 5_000), revocation(2)];
    let pipe = Pipe::run(&mut server, &mut phone);
    assert!(pipe.kinds_down().contains(&"void"));
    assert_eq!((pipe.closed.as_ref(), told(&pipe)), (None, 4));
    assert!(holds(&server, "owed") && holds(&server, "held"));
    assert!(!pipe.client.returning(), "the session is done with it");
}

/// A device writes for each.
#[test]
fn a_server_that_says_void_or_enrolled_twice_in_a_session_is_left() {
    let (mut server, phone) = founded_anew();
    let mut lost = Server::founded(JournalId([11; 16]), WALL);
    let stranger = lost.enrolled(5, Role::Officer, &[VILLAGE]);
    for (name, mut phone) in [("void", phone), ("enrolled", stranger)] {
        let mut pipe = Pipe::open(&mut server, &phone);
        while !pipe.kinds_down().contains(&name) {
            pipe.flow(&mut server, &mut phone, 1);
        }
        let again = pipe.sent_down.last().unwrap().clone();
        if name == "void" {
            pipe.flow(&mut server, &mut phone, usize::MAX);
            assert_eq!(pipe.closed, None);
        }
        let is_told = |event: &&Event| matches!(event, Event::Void | Event::Readmitted { .. });
        let told = |pipe: &Pipe| pipe.events.iter().filter(is_told).count();
        assert_eq!(told(&pipe), 1);
        pipe.client.handle(server.now, client::Input::Frame(&again));
        pipe.flow(&mut server, &mut phone, usize::MAX);
        assert_eq!(told(&pipe), 1, "{name}");
        assert_eq!(pipe.closed.unwrap().code, ByeCode::Malformed, "{name}");
    }
}

/// Every sheet of the national list, and what was stated of ten thousand devices: more than one
/// session may give.
#[test]
fn a_device_that_holds_everything_is_never_ended_and_gives_all_of_it() {
    let (mut server, mut phone) = founded_anew();
    let short = (0..10_000).map(revocation);
    let parents = (0..7_838).map(|number| {
        let (province, regency) = (11 + number / 2_500, 1 + number / 50 % 50);
        format!("{province:02}.{regency:02}.{:02}", 1 + number % 50)
    });
    let long = parents.map(|parent| sheet(TIME, "2024", &parent));
    phone.statements = short.chain(long).collect();
    let all = phone.statements.len();
    let mut owed = phone.statements.clone();
    let (mut sessions, mut taken) = (0, 0);
    while !owed.is_empty() {
        sessions += 1;
        // No time passes: nothing but answers holds the device back.
        let pipe = Pipe::run(&mut server, &mut phone);
        assert_eq!(pipe.closed, None);
        taken += pipe.taken_back;
        owed = still_owed(&pipe, &owed);
        phone.owed.clone_from(&owed);
        assert!(sessions < 4, "{} are left", owed.len());
    }
    assert_eq!((taken, sessions), (all, 3));
}

#[test]
fn a_device_that_gives_without_end_or_without_waiting_is_let_go() {
    let frame = plain(Statements {
        statements: Vec::new(),
        last: true,
    });
    let (mut server, mut phone) = founded_anew();
    phone.cursor = None;
    let mut pipe = Pipe::run(&mut server, &mut phone);
    for _ in 0..limits::STATEMENTS_MAX {
        pipe.tell(&mut server, Input::Frame(&frame));
        assert_eq!(pipe.closed, None);
    }
    pipe.tell(&mut server, Input::Frame(&frame));
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Flood);

    // Nor as many as it likes while the journal is busy with the first.
    let frame = plain(Statements {
        statements: vec![samples::certificate().into()],
        last: true,
    });
    let mut pipe = Pipe::run(&mut server, &mut phone);
    server.judges = false;
    let free = usize::try_from(limits::FREE_FRAMES_PER_SECOND).unwrap();
    let ahead = limits::STATEMENT_FRAMES_AHEAD;
    let sent = (0..ahead + 2 * free).take_while(|_| {
        pipe.tell(&mut server, Input::Frame(&frame));
        pipe.closed.is_none()
    });
    let sent = sent.count();
    assert!((ahead..ahead + free).contains(&sent), "{sent} frames");
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Flood);
}

fn pushed_inline(statement: &[u8]) -> Vec<u8> {
    let push = Push {
        items: vec![PushItem::Run(statement.to_vec()); limits::PUSH_ITEMS_MAX],
        returned: false,
        statements: true,
    };
    encode(&push.into(), Features::DEFLATE)
}

#[test]
fn statements_that_are_pushed_without_end_are_counted_as_well() {
    let (mut server, mut phone) = founded_anew();
    phone.cursor = None;
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let frame = pushed_inline(&[7; 20]);
    for _ in 0..limits::STATEMENTS_MAX / limits::PUSH_ITEMS_MAX {
        pipe.tell(&mut server, Input::Frame(&frame));
        assert_eq!(pipe.closed, None);
    }
    pipe.tell(&mut server, Input::Frame(&frame));
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Flood);
}

#[test]
fn a_statement_that_is_repeated_in_a_frame_is_handed_on_once() {
    let (mut server, mut phone) = founded_anew();
    phone.cursor = None;
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let frame = pushed_inline(&samples::certificate());
    let asked = server.step(&mut pipe.session, Input::Frame(&frame));
    let Some(Output::TakeBack { statements, .. }) = asked else {
        panic!("{asked:?}");
    };
    assert_eq!(statements, [samples::certificate()]);
}

#[test]
fn each_frame_of_statements_is_answered_by_what_came_of_it() {
    let (mut server, mut phone) = founded_anew();
    phone.cursor = None;
    let mut pipe = Pipe::run(&mut server, &mut phone);
    server.judges = false;
    let mut heard = |server: &mut Server, input: Input<'_>| {
        let sent = server.drive(&mut pipe.session, input).decoded();
        let taken = sent.into_iter().map(|frame| match frame {
            Frame::Taken(taken) => taken.all,
            other => panic!("not {}", other.name()),
        });
        taken.collect::<Vec<_>>()
    };
    for number in 0..3 {
        let frame = plain(Statements {
            statements: vec![revocation(number).into()],
            last: true,
        });
        assert_eq!(heard(&mut server, Input::Frame(&frame)), [true; 0]);
    }
    // The first was asked about alone; the others came meanwhile and share a call.
    let left = Some(Left::Beyond);
    assert_eq!(heard(&mut server, Input::TakenBack(left)), [false]);
    assert_eq!(heard(&mut server, Input::TakenBack(None)), [true, true]);
    assert_eq!(heard(&mut server, Input::TakenBack(None)), [true; 0]);
}

#[test]
fn a_server_that_says_nothing_of_statements_is_given_them_only_where_it_waits_for_them() {
    let (_, mut phone) = founded_anew();
    phone.statements = vec![revocation(1)];
    phone.owed = phone.statements.clone();
    let mut client = ClientSession::new(phone.opening(), 0);
    let mut events = Vec::new();
    let mut said = |client: &mut ClientSession| {
        let mut kinds = Vec::new();
        while let Some(output) = client.poll() {
            match output {
                client::Output::Send(bytes) => {
                    kinds.push(decode(&bytes).unwrap().unwrap().name());
                }
                client::Output::Event(event) => events.push(event),
                client::Output::Close => panic!("it goes on"),
            }
        }
        kinds
    };
    let hear = |client: &mut ClientSession, frame: &[u8]| {
        client.handle(0, client::Input::Frame(frame));
    };
    assert_eq!(said(&mut client), ["hello"]);
    let frames = samples::frames();
    let sample = |name: &str| {
        let frame = frames.iter().find(|frame| frame.name() == name);
        frame.unwrap().clone()
    };
    let Frame::Welcome(mut welcome) = sample("welcome") else {
        panic!("it is one");
    };
    (welcome.features, welcome.highest) = (Features(3), None);
    hear(&mut client, &plain(welcome));
    assert_eq!(said(&mut client), ["subscribe"]);
    hear(&mut client, &plain(sample("void")));
    assert_eq!(said(&mut client), [""; 0]);
    let statements = client::Input::Statements(phone.statements.clone());
    client.handle(0, statements);
    assert_eq!(said(&mut client), ["statements", "subscribe"]);
    hear(&mut client, &plain(sample("up_to_date")));
    assert_eq!(said(&mut client), [""; 0]);
    let held = Event::StatementsHeld(vec![ItemId::of(&revocation(1))]);
    assert!(events.contains(&held), "{events:?}");
}
