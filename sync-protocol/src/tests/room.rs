//! Many sessions that send the same large document from one room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use bukti_core::authority::{Grant, Role};

use super::setting::{Phone, Pipe, Server, VILLAGE, noise, plain};
use crate::bye::{Bye, ByeCode};
use crate::frame::{Credit, Features, Frame, Hello, Subscribe, decode};
use crate::item::{FeedItem, Item};
use crate::limits;
use crate::room::{Room, Seat};
use crate::server::{Input, Output, ServerSession};

/// Room for one such document and not for two.
const ROOM: usize = 24_000;

#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A device that lets the server send one frame at a time.
struct Slow {
    session: ServerSession,
    woken: Arc<Woken>,
    takes: bool,
    fragments: usize,
    /// Large items that were there as a whole.
    items: usize,
    fed: bool,
    closed: Option<Bye>,
}

impl Slow {
    fn open(server: &mut Server, phone: &Phone, room: &Arc<Room>) -> Self {
        let woken = Arc::new(Woken::default());
        let seat = Seat::new(room.clone(), Waker::from(woken.clone()));
        let mut slow = Self {
            session: server.session().seated(seat),
            woken,
            takes: true,
            fragments: 0,
            items: 0,
            fed: false,
            closed: None,
        };
        let hello = Hello {
            version: limits::VERSION,
            token: phone.token.clone().map(Into::into),
            device: phone.device(),
            incarnation: phone.incarnation,
            last: None,
            credit: limits::FRAME_BYTES_MAX as u64,
            held: Vec::new(),
            features: Features::NONE,
            agent: String::new(),
        };
        let subscribe = Subscribe {
            scopes: Vec::new(),
            cursor: None,
            compare: false,
            gives: false,
        };
        slow.hear(server, Input::Frame(&plain(hello)));
        slow.hear(server, Input::Frame(&plain(subscribe)));
        slow
    }

    /// Takes what comes of an input, and allows as many frames as came.
    fn hear(&mut self, server: &mut Server, input: Input<'_>) {
        let mut sent = server.drive(&mut self.session, input);
        loop {
            let frames = sent.decoded();
            let fed = frames
                .iter()
                .any(|frame| matches!(frame, Frame::UpToDate(_)));
            let fragments = frames.iter().filter(|frame| frame.name() == "fragment");
            self.fragments += fragments.count();
            let large = |frame: &&Frame| match frame {
                Frame::Feed(feed) => feed
                    .items
                    .iter()
                    .any(|item| matches!(item, FeedItem::Large(_))),
                _other => false,
            };
            self.items += frames.iter().filter(large).count();
            self.fed |= fed;
            self.closed = self.closed.take().or(sent.closed);
            let spent = frames.iter().any(Frame::needs_credit);
            // A fragment is taken where the test says so.
            if !spent || self.fragments > 0 {
                return;
            }
            sent = self.allow(server);
        }
    }

    fn allow(&mut self, server: &mut Server) -> super::setting::Sent {
        let bytes = limits::FRAME_BYTES_MAX as u64;
        let credit = plain(Credit { bytes });
        server.drive(&mut self.session, Input::Frame(&credit))
    }

    fn allow_one(&mut self, server: &mut Server) {
        let bytes = limits::FRAME_BYTES_MAX as u64;
        let credit = plain(Credit { bytes });
        self.hear(server, Input::Frame(&credit));
    }

    /// One frame more, if it holds an item, or a look if it was woken.
    fn go_on(&mut self, server: &mut Server) {
        if self.fragments > 0 && self.takes && !self.fed {
            self.allow_one(server);
        } else if self.woken.0.swap(false, Ordering::Relaxed) {
            self.hear(server, Input::Tick);
        }
    }
}

/// A server with one large document and so many devices that read it.
fn with_readers(count: u8) -> (Server, Vec<Phone>) {
    with_readers_of(VILLAGE, count)
}

/// The same, of devices that read `scope`.
fn with_readers_of(scope: &str, count: u8) -> (Server, Vec<Phone>) {
    let mut server = Server::new();
    let mut writer = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let run = writer.create(VILLAGE, 1, &noise(18_000));
    server.accept(writer.device(), &[run]);
    let readers = (0..count).map(|at| server.enrolled(10 + at, Role::Officer, &[scope]));
    let readers = readers.collect();
    (server, readers)
}

#[test]
fn many_sessions_share_one_room_and_each_gets_its_document_in_the_order_of_asking() {
    let (mut server, phones) = with_readers(6);
    let room = Room::new(ROOM);
    let mut all: Vec<Slow> = phones
        .iter()
        .map(|phone| Slow::open(&mut server, phone, &room))
        .collect();
    let mut finished = Vec::new();
    for round in 0.. {
        assert!(round < 200, "all come to their end: {finished:?}");
        for (at, slow) in all.iter_mut().enumerate() {
            let before = slow.fed;
            slow.go_on(&mut server);
            assert!(room.held() <= ROOM, "{} bytes are held", room.held());
            if slow.fed && !before {
                finished.push(at);
            }
        }
        if finished.len() == all.len() {
            break;
        }
    }
    assert_eq!(finished, [0, 1, 2, 3, 4, 5]);
    assert!(all.iter().all(|slow| slow.closed.is_none()));
    assert_eq!(room.held(), 0);
}

#[test]
fn a_device_that_takes_nothing_of_an_item_is_let_go_and_the_next_one_goes_on() {
    let (mut server, phones) = with_readers(2);
    let room = Room::new(ROOM);
    let mut stalled = Slow::open(&mut server, &phones[0], &room);
    let mut next = Slow::open(&mut server, &phones[1], &room);
    assert_eq!((stalled.fragments, next.fragments), (1, 0));
    let looks = server.now + limits::LARGE_OFFER_MS;
    assert_eq!(next.session.deadline(), Some(looks), "it waits for others");
    let until = server.now + limits::LARGE_STALLED_MS;
    assert_eq!(stalled.session.deadline(), Some(until));
    server.now = until - 1;
    stalled.hear(&mut server, Input::Tick);
    next.go_on(&mut server);
    assert_eq!((&stalled.closed, next.fragments), (&None, 0));
    server.now = until;
    stalled.hear(&mut server, Input::Tick);
    assert_eq!(stalled.closed.unwrap().code, ByeCode::Timeout);
    for _ in 0..20 {
        next.go_on(&mut server);
    }
    assert!(next.fed && next.closed.is_none());
    assert_eq!(room.held(), 0);
}

#[test]
fn a_device_that_takes_a_frame_now_and_then_is_not_let_go() {
    let (mut server, phones) = with_readers(1);
    let room = Room::new(ROOM);
    let mut slow = Slow::open(&mut server, &phones[0], &room);
    while !slow.fed {
        server.now += limits::LARGE_STALLED_MS - 1;
        slow.hear(&mut server, Input::Tick);
        slow.go_on(&mut server);
        assert_eq!(slow.closed, None);
    }
    assert_eq!(slow.session.deadline(), None);
}

#[test]
fn a_device_that_takes_a_frame_now_and_then_is_let_go_once_others_wait_for_its_room() {
    let (mut server, phones) = with_readers(2);
    let room = Room::new(ROOM);
    let mut slow = Slow::open(&mut server, &phones[0], &room);
    let since = server.now;
    let mut next = Slow::open(&mut server, &phones[1], &room);
    server.now += limits::LARGE_STALLED_MS - 1;
    slow.allow_one(&mut server);
    assert_eq!((slow.fragments, next.fragments), (2, 0));
    let taken = 2 * limits::FRAGMENT_BYTES as u64;
    let until = since + limits::LARGE_STALLED_MS + taken * 1_000 / limits::LARGE_BYTES_PER_SECOND;
    assert_eq!(slow.session.deadline(), Some(until));
    server.now = until;
    slow.hear(&mut server, Input::Tick);
    assert_eq!(slow.closed.unwrap().code, ByeCode::Timeout);
    while !next.fed {
        next.go_on(&mut server);
    }
    assert_eq!((room.held(), next.closed), (0, None));
}

#[test]
fn a_device_that_gave_credit_for_all_of_an_item_is_held_to_the_pace_while_it_is_sent() {
    let (mut server, phones) = with_readers(2);
    let room = Room::new(ROOM);
    let mut slow = Slow::open(&mut server, &phones[0], &room);
    let mut next = Slow::open(&mut server, &phones[1], &room);
    let bytes = limits::CREDIT_MAX / 2;
    let credit = plain(Credit { bytes });
    let mut output = server.step(&mut slow.session, Input::Frame(&credit));
    let mut fragments = slow.fragments;
    let said = loop {
        let Some(Output::Send(bytes)) = output else {
            panic!("{output:?}");
        };
        match decode(&bytes) {
            Ok(Some(Frame::Fragment(_))) => fragments += 1,
            other => break other,
        }
        // Each frame takes as long as one may, and nobody waits for anything else meanwhile.
        server.now += limits::LARGE_STALLED_MS - 1;
        output = server.step(&mut slow.session, Input::Advanced);
    };
    let Ok(Some(Frame::Bye(bye))) = said else {
        panic!("{said:?}");
    };
    assert_eq!((bye.code, fragments), (ByeCode::Timeout, 3));
    next.go_on(&mut server);
    assert_eq!(next.fragments, 1);
}

#[test]
fn a_device_whose_link_is_slower_than_a_frame_in_that_time_is_not_let_go() {
    let (mut server, phones) = with_readers(1);
    let room = Room::new(ROOM);
    let mut slow = Slow::open(&mut server, &phones[0], &room);
    let bytes = limits::CREDIT_MAX / 2;
    let credit = plain(Credit { bytes });
    let mut output = server.step(&mut slow.session, Input::Frame(&credit));
    let mut fed = false;
    while !fed {
        let Some(Output::Send(bytes)) = output else {
            panic!("{output:?}");
        };
        let frame = decode(&bytes).unwrap().unwrap();
        assert!(!matches!(frame, Frame::Bye(_)), "{frame:?}");
        fed = matches!(frame, Frame::UpToDate(_));
        server.now += limits::LARGE_STALLED_MS + 10_000;
        output = server.step(&mut slow.session, Input::Advanced);
    }
}

#[test]
fn a_device_that_takes_enough_is_not_let_go_while_others_wait() {
    let (mut server, phones) = with_readers(2);
    let room = Room::new(ROOM);
    let mut slow = Slow::open(&mut server, &phones[0], &room);
    let _next = Slow::open(&mut server, &phones[1], &room);
    // Four frames take longer than it may take nothing.
    let each = limits::LARGE_STALLED_MS / 4 + 500;
    while !slow.fed {
        server.now += each;
        slow.hear(&mut server, Input::Tick);
        slow.allow_one(&mut server);
        assert_eq!(slow.closed, None);
    }
}

#[test]
fn who_leaves_the_room_it_waited_for_is_passed_over_and_waits_behind_the_others() {
    let (mut server, phones) = with_readers(4);
    let room = Room::new(ROOM);
    let mut holder = Slow::open(&mut server, &phones[0], &room);
    let mut busy = Slow::open(&mut server, &phones[1], &room);
    let mut next = Slow::open(&mut server, &phones[2], &room);
    let mut last = Slow::open(&mut server, &phones[3], &room);
    // However long it waits for others.
    server.now += 10 * limits::LARGE_OFFER_MS;
    next.hear(&mut server, Input::Tick);
    holder.hear(&mut server, Input::Disconnected);
    assert!(busy.woken.0.load(Ordering::Relaxed), "but it is sending");
    for wait in [0, limits::LARGE_OFFER_MS - 1, 1] {
        assert_eq!((next.fragments, room.held()), (0, 0));
        server.now += wait;
        next.hear(&mut server, Input::Tick);
        assert_eq!(next.closed, None);
    }
    assert_eq!(next.fragments, 1);
    busy.go_on(&mut server);
    while !next.fed {
        next.allow_one(&mut server);
    }
    busy.go_on(&mut server);
    last.go_on(&mut server);
    assert_eq!((busy.fragments, last.fragments), (0, 1));
    while !last.fed {
        last.allow_one(&mut server);
    }
    busy.go_on(&mut server);
    assert_eq!((busy.fragments, busy.closed), (1, None));
}

#[test]
fn who_waits_is_passed_over_only_for_room_that_was_there_all_the_time() {
    let room = Room::new(100);
    let seat = || Seat::new(room.clone(), Waker::noop().clone());
    let (mut holder, mut first, mut next) = (seat(), seat(), seat());
    holder.hold(60);
    first.wait(60);
    next.wait(60);
    holder.hold(0);
    let mut now = 1_000;
    next.look(now);
    // Nobody looks while it is taken, and given back.
    holder.hold(60);
    holder.hold(0);
    now += limits::LARGE_OFFER_MS;
    next.look(now);
    assert!(next.has_to_wait(), "the other's time begins again");
    next.look(now + limits::LARGE_OFFER_MS);
    assert!(!next.has_to_wait());
}

#[test]
fn a_device_is_held_to_no_pace_for_others_that_leave_the_room_there_is() {
    let (mut server, phones) = with_readers(3);
    let room = Room::new(ROOM * 3 / 2);
    let mut slow = Slow::open(&mut server, &phones[0], &room);
    let mut other = Slow::open(&mut server, &phones[1], &room);
    let busy = Slow::open(&mut server, &phones[2], &room);
    assert_eq!((slow.fragments, other.fragments, busy.fragments), (1, 1, 0));
    server.now += limits::LARGE_STALLED_MS - 1;
    slow.allow_one(&mut server);
    let until = server.now + limits::LARGE_STALLED_MS;
    assert!(slow.session.deadline() < Some(until), "one waits for it");
    other.hear(&mut server, Input::Disconnected);
    assert!(busy.woken.0.load(Ordering::Relaxed));
    assert_eq!(slow.session.deadline(), Some(until));
}

#[test]
fn the_sessions_of_one_device_hold_a_part_of_the_room_and_wait_in_nobodys_way() {
    let (mut server, phones) = with_readers(2);
    let room = Room::new(ROOM * limits::LARGE_PARTS);
    let mut first = Slow::open(&mut server, &phones[0], &room);
    let mut second = Slow::open(&mut server, &phones[0], &room);
    let mut other = Slow::open(&mut server, &phones[1], &room);
    assert_eq!(
        (first.fragments, second.fragments, other.fragments),
        (1, 0, 1),
        "of the others one waits for its own device"
    );
    server.now += limits::LARGE_STALLED_MS - 1;
    other.allow_one(&mut server);
    let until = server.now + limits::LARGE_STALLED_MS;
    assert_eq!(other.session.deadline(), Some(until), "nobody waits for it");
    while !first.fed {
        first.allow_one(&mut server);
    }
    second.go_on(&mut server);
    assert_eq!(second.fragments, 1, "it was woken");
}

#[test]
fn who_leaves_gives_back_what_it_held_and_its_place() {
    let (mut server, phones) = with_readers(3);
    let room = Room::new(ROOM);
    let mut first = Slow::open(&mut server, &phones[0], &room);
    let second = Slow::open(&mut server, &phones[1], &room);
    let mut third = Slow::open(&mut server, &phones[2], &room);
    drop(second);
    first.hear(&mut server, Input::Disconnected);
    assert_eq!(room.held(), 0);
    third.go_on(&mut server);
    assert_eq!(third.fragments, 1);
}

/// How a right to a document begins or ends.
#[derive(Clone, Copy)]
enum Change {
    /// The device reads this and nothing else.
    Grant(&'static str),
    /// This unit stands there.
    Move(&'static str, &'static str),
}

impl Change {
    fn make(self, server: &mut Server, phone: &Phone) {
        server.wall += 1;
        match self {
            Self::Grant(scope) => {
                let (role, scope) = (Role::Officer, scope.parse().unwrap());
                let grants = vec![Grant { role, scope }];
                let granted = server.ledger.grant(server.wall, phone.device(), grants);
                granted.unwrap();
            }
            Self::Move(unit, parent) => {
                let (unit, parent) = (unit.parse().unwrap(), parent.parse().unwrap());
                let moved = server.ledger.move_unit(server.wall, &unit, &parent);
                moved.unwrap().unwrap();
            }
        }
    }
}

/// What may be read again comes whole.
#[test]
fn no_more_is_sent_of_an_item_that_may_not_be_read_any_more() {
    use Change::{Grant, Move};
    for changes in [
        [Grant("13.76.02.1001"), Grant("13.76")],
        [Move(VILLAGE, "13.71.01"), Move(VILLAGE, "13.76.01")],
    ] {
        is_withheld_and_comes_again(changes);
    }
}

fn is_withheld_and_comes_again(changes: [Change; 2]) {
    let (mut server, phones) = with_readers_of("13.76.01", 1);
    let room = Room::new(ROOM);
    let mut slow = Slow::open(&mut server, &phones[0], &room);
    assert_eq!((slow.fragments, slow.items), (1, 0));
    for (change, items) in changes.into_iter().zip(0..) {
        change.make(&mut server, &phones[0]);
        let before = slow.fragments;
        slow.fed = false;
        slow.hear(&mut server, Input::Advanced);
        while !slow.fed {
            slow.allow_one(&mut server);
        }
        assert_eq!(slow.items, items);
        assert_eq!(slow.fragments > before, items > 0);
        assert_eq!((room.held(), &slow.closed), (0, &None));
    }
}

/// The page waits until the device is told which documents left.
#[test]
fn what_waits_behind_documents_that_leave_is_not_sent_if_it_may_not_be_read_any_more() {
    // What moves away leaves, too.
    for (change, leave) in [
        (Change::Grant("13.76.02.1001"), 2),
        (Change::Move(VILLAGE, "13.71.01"), 3),
    ] {
        for letters in [18_000, 10] {
            assert_eq!(left_and_nothing_else(change, letters), leave);
        }
    }
}

/// Has `change` come while documents leave before a page with one of so many letters; gives how many
/// are said to have left.
fn left_and_nothing_else(change: Change, letters: usize) -> usize {
    const LEAVES: &str = "13.76.01.1002";
    let mut server = Server::new();
    let mut writer = server.enrolled(3, Role::Officer, &[VILLAGE, LEAVES]);
    let phone = server.enrolled(4, Role::Officer, &["13.76.01"]);
    let runs = [1, 2].map(|random| writer.create(LEAVES, random, ""));
    server.accept(writer.device(), &runs);
    let room = Room::new(ROOM);
    let mut slow = Slow::open(&mut server, &phone, &room);
    assert!(slow.fed);
    slow.allow_one(&mut server);

    Change::Move(LEAVES, "13.71.01").make(&mut server, &phone);
    let run = writer.create(VILLAGE, 3, &noise(letters));
    server.accept(writer.device(), std::slice::from_ref(&run));
    // Only the last move is told, so that nothing but the document is on the page.
    Change::Move(LEAVES, "13.71.02").make(&mut server, &phone);
    let Some(Output::Send(first)) = server.step(&mut slow.session, Input::Advanced) else {
        panic!("a document leaves");
    };
    assert!(matches!(decode(&first), Ok(Some(Frame::LeftScope(_)))));
    assert!(room.held() > letters / 2, "the page waits");
    change.make(&mut server, &phone);
    let mut sent = server.drive(&mut slow.session, Input::Advanced);
    let mut left = 1;
    loop {
        for frame in sent.decoded() {
            match frame {
                Frame::LeftScope(_) => left += 1,
                Frame::Feed(feed) => {
                    let is_fact = |item: &_| matches!(item, FeedItem::Inline(Item::Fact { .. }));
                    assert!(feed.items.iter().all(is_fact), "{:?}", feed.items);
                }
                other => assert_eq!(other.name(), "up_to_date"),
            }
        }
        assert_eq!(sent.closed, None);
        if sent.frames.is_empty() {
            break;
        }
        sent = slow.allow(&mut server);
    }
    assert_eq!(room.held(), 0);
    left
}

#[test]
fn who_cannot_be_fed_any_more_gives_back_its_place() {
    let (mut server, phones) = with_readers(2);
    let wider = server.enrolled(20, Role::Officer, &["13.76.01"]);
    let room = Room::new(ROOM);
    let mut first = Slow::open(&mut server, &phones[0], &room);
    let mut second = Slow::open(&mut server, &wider, &room);
    let mut third = Slow::open(&mut server, &phones[1], &room);
    let beside = server.enrolled(21, Role::Officer, &["13.76.01.1002"]);
    server.damage(&beside.certificate);
    first.hear(&mut server, Input::Disconnected);
    second.go_on(&mut server);
    assert_eq!((second.fragments, &second.closed), (0, &None));
    third.go_on(&mut server);
    assert_eq!(third.fragments, 1);
}

#[test]
fn who_cannot_be_fed_any_more_gives_back_its_room() {
    let mut server = Server::new();
    let mut writer = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut reader = server.enrolled(4, Role::Officer, &[VILLAGE]);
    Pipe::run(&mut server, &mut reader);
    server.damage_last_header();
    server.ledger.checkpoint(server.wall).unwrap();
    let run = writer.create(VILLAGE, 1, &noise(18_000));
    server.accept(writer.device(), &[run]);
    let room = Room::new(ROOM);
    let mut slow = Slow::open(&mut server, &reader, &room);
    assert_eq!((slow.fragments, room.held() > 0), (1, true));
    let subscribe = plain(Subscribe {
        scopes: Vec::new(),
        cursor: reader.cursor.clone().map(Into::into),
        compare: false,
        gives: false,
    });
    slow.hear(&mut server, Input::Frame(&subscribe));
    assert_eq!((room.held(), slow.closed), (0, None));
}

#[test]
fn what_is_larger_than_all_room_goes_by_itself() {
    let (mut server, phones) = with_readers(2);
    let room = Room::new(1_000);
    let mut all: Vec<Slow> = phones
        .iter()
        .map(|phone| Slow::open(&mut server, phone, &room))
        .collect();
    for _ in 0..40 {
        all.iter_mut().for_each(|slow| slow.go_on(&mut server));
        let sending = all.iter().filter(|slow| slow.fragments > 0 && !slow.fed);
        assert!(sending.count() <= 1);
    }
    assert!(all.iter().all(|slow| slow.fed));
}
