//! What a session does once a device is let in.

use bukti_core::authority::Role;
use bukti_core::id::{ChangeHash, RunId, ServerId};
use bukti_core::kv::{Batch, Kv};

use super::setting::{Phone, Pipe, Server, VILLAGE, plain};
use crate::bye::ByeCode;
use crate::client::{self, Event};
use crate::frame::{Credit, Frame, Numbered, Push, Subscribe};
use crate::item::{Item, PushItem};
use crate::limits;
use crate::server::Input;

#[test]
fn a_run_is_accepted_then_fed_back_by_name_and_then_all_is_up_to_date() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let run = phone.create(VILLAGE, 1, "");
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(pipe.accepted(), [run.id()]);
    let own = |item: &Item| matches!(item, Item::Own { run: named, .. } if *named == run.id());
    let pages = |event: &Event| matches!(event, Event::Page { items, .. } if items.iter().any(own));
    assert_eq!(pipe.said(pages), 1);
    assert!(
        matches!(pipe.events.last(), Some(Event::UpToDate { digests, .. }) if digests[0].3 == 1)
    );
    assert_eq!(pipe.client.unanswered(), 0);
    assert_eq!(pipe.client.deadline(), None, "nothing is awaited");
}

#[test]
fn an_unchanged_reconnect_is_two_small_frames_each_way() {
    let cost = |scopes: &[&str]| {
        let mut server = Server::new();
        let mut phone = server.enrolled(3, Role::Officer, scopes);
        for (at, scope) in (1..).zip(scopes) {
            phone.create(scope, at, "");
        }
        Pipe::run(&mut server, &mut phone);
        assert!(phone.tail.is_empty());
        let pipe = Pipe::run(&mut server, &mut phone);
        assert_eq!(pipe.kinds_up(), ["hello", "subscribe"]);
        assert_eq!(pipe.kinds_down(), ["welcome", "up_to_date"]);
        let bytes = |frames: &[Vec<u8>]| frames.iter().map(Vec::len).sum::<usize>();
        (bytes(&pipe.sent_up), bytes(&pipe.sent_down))
    };
    let (up, down) = cost(&[VILLAGE]);
    assert!(up <= 600 && down <= 600, "{up} up, {down} down");
    let five = [
        VILLAGE,
        "13.76.01.1002",
        "13.76.02.1001",
        "13.76.02.1002",
        "13.76/dinkes",
    ];
    let (up, down) = cost(&five);
    println!("five subscriptions: {up} bytes up, {down} bytes down");
    assert!(up <= 600 && down <= 800, "{up} up, {down} down");
}

#[test]
fn a_run_that_does_not_hold_is_rejected_and_the_others_go_on() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let good = phone.create(VILLAGE, 1, "");
    let stranger = phone.create("13.76.01.1002", 2, "");
    let mut forged = phone.create(VILLAGE, 3, "");
    forged.changes[0][9] ^= 1;
    phone.tail.last_mut().unwrap().1 = forged.to_bytes();
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(pipe.accepted(), [good.id()]);
    let codes: Vec<_> = pipe
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Rejected { run, code, .. } => Some((*run, code.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(
        codes,
        [(forged.id(), "malformed"), (stranger.id(), "forbidden")]
    );
    assert_eq!(pipe.closed, None);
}

/// Its device had no room to keep the refusal, and has some later in the same session.
#[test]
fn a_refused_run_that_is_offered_again_is_answered_again() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let stranger = phone.create("13.76.01.1002", 2, "");
    let kept = phone.tail[0].clone();
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let refused =
        |event: &Event| matches!(event, Event::Rejected { run, .. } if *run == stranger.id());
    assert_eq!(pipe.said(refused), 1);
    let offer = client::Input::Offer(vec![kept.into()]);
    pipe.client.handle(server.now, offer);
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.said(refused), 2);
}

#[test]
fn a_run_whose_signature_does_not_hold_is_rejected_by_name_and_noise_ends_the_session() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let run = phone.create(VILLAGE, 1, "");
    let envelope = run.envelope.bytes();
    let at = phone.tail[0]
        .1
        .windows(envelope.len())
        .position(|part| part == envelope)
        .unwrap();
    phone.tail[0].1[at + envelope.len() - 1] ^= 1;
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let named = |event: &Event| {
        matches!(event, Event::Rejected { run: named, code, .. }
            if *named == run.id() && code == "bad-signature")
    };
    assert_eq!(pipe.said(named), 1);
    pipe.tell(
        &mut server,
        Input::Frame(&plain(Push {
            items: vec![PushItem::Run(vec![7; 40])],
            returned: false,
            statements: false,
        })),
    );
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Malformed);
}

#[test]
fn a_run_without_its_ground_is_missing_and_is_taken_once_the_ground_is_there() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let [first, second] = phone.create_and_edit(VILLAGE, 1);
    let ground = phone.tail.remove(0);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let expected: ChangeHash = first.envelope.body().last_hash;
    let missing = |event: &Event| matches!(event, Event::Missing { run, hashes } if *run == second.id() && *hashes == [expected]);
    assert_eq!(pipe.said(missing), 1);
    let offer = vec![ground.into(), phone.tail[0].clone().into()];
    pipe.client.handle(server.now, client::Input::Offer(offer));
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert!(pipe.accepted().contains(&second.id()), "{:?}", pipe.events);
}

#[test]
fn an_old_copy_of_a_store_is_told_that_it_is_stale() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let run = phone.create(VILLAGE, 1, "");
    Pipe::run(&mut server, &mut phone);
    let highest = Event::Stale {
        highest: (1, run.id()),
    };

    let mut restored = Phone::new(3, &server);
    (restored.key, restored.incarnation) = (phone.key.clone(), phone.incarnation);
    restored.token = phone.token.clone();
    let pipe = Pipe::run(&mut server, &mut restored);
    assert_eq!(pipe.said(|event| *event == highest), 1, "it knows of none");
    assert_eq!(pipe.found, ["stale-store"]);

    let other = restored.create(VILLAGE, 2, "");
    let pipe = Pipe::run(&mut server, &mut restored);
    assert_eq!(
        pipe.said(|event| *event == highest),
        1,
        "number 1 is {} there",
        other.id()
    );
    assert_eq!(
        (pipe.submitted, pipe.accepted().len()),
        (0, 0),
        "the flight is dropped"
    );

    restored.create(VILLAGE, 3, "");
    let pipe = Pipe::run(&mut server, &mut restored);
    assert_eq!(
        pipe.said(|event| *event == highest),
        1,
        "it pushes number 1 again, differently"
    );
    assert_eq!(pipe.found, ["stale-store"]);
    let found = server.ledger.reader().found().unwrap();
    assert_eq!(found.len(), 1, "once, until somebody has looked into it");
    assert_eq!(found[0].finding.device, Some(restored.device()));
    assert_eq!(
        server.ledger.reader().position_of(&other.id()).unwrap(),
        None
    );
}

#[test]
fn a_store_that_ends_with_an_older_run_than_its_last_is_stale() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    phone.create(VILLAGE, 1, "");
    let older = phone.last;
    let run = phone.create(VILLAGE, 2, "");
    Pipe::run(&mut server, &mut phone);
    phone.last = older;
    let pipe = Pipe::run(&mut server, &mut phone);
    let highest = Event::Stale {
        highest: (2, run.id()),
    };
    assert_eq!(pipe.said(|event| *event == highest), 1);
    assert!(!pipe.kinds_down().contains(&"welcome"));
}

#[test]
fn a_device_that_lacks_what_welcome_names_finds_out_by_itself() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut client = client::ClientSession::new(phone.opening(), 0);
    while client.poll().is_some() {}
    let pipe = Pipe::run(&mut server, &mut phone);
    let Some(Ok(Some(Frame::Welcome(mut welcome)))) = pipe
        .sent_down
        .first()
        .map(|bytes| crate::frame::decode(bytes))
    else {
        panic!()
    };
    welcome.highest = Some(Numbered {
        number: 4,
        run: RunId([4; 16]),
    });
    client.handle(0, client::Input::Frame(&plain(welcome)));
    let outputs: Vec<_> = std::iter::from_fn(|| client.poll()).collect();
    let stale = Event::Stale {
        highest: (4, RunId([4; 16])),
    };
    assert_eq!(
        outputs[1..],
        [client::Output::Event(stale), client::Output::Close]
    );
}

#[test]
fn another_version_is_told_so_on_either_side() {
    let mut server = Server::new();
    let phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::open(&mut server, &phone);
    let Some(client::Output::Send(hello)) = pipe.client.poll() else {
        panic!()
    };
    let Ok(Some(Frame::Hello(mut hello))) = crate::frame::decode(&hello) else {
        panic!()
    };
    hello.version = 0;
    pipe.tell(&mut server, Input::Frame(&plain(hello)));
    let bye = pipe.closed.unwrap();
    assert_eq!(bye.code, ByeCode::Version);
    assert!(bye.sentence.contains("version 1, the device version 0"));

    let mut phone = phone;
    let pipe = Pipe::run(&mut server, &mut phone);
    let Ok(Some(Frame::Welcome(mut welcome))) = crate::frame::decode(&pipe.sent_down[0]) else {
        panic!()
    };
    welcome.version = 2;
    let mut client = client::ClientSession::new(phone.opening(), 0);
    while client.poll().is_some() {}
    client.handle(0, client::Input::Frame(&plain(welcome)));
    let byes: Vec<_> = std::iter::from_fn(|| client.poll())
        .filter_map(|output| match output {
            client::Output::Event(Event::Bye(bye)) => Some(bye.code),
            _ => None,
        })
        .collect();
    assert_eq!(byes, [ByeCode::Version]);
}

#[test]
fn a_peer_that_floods_is_let_go() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let unknown = [0, 0x82, 0x18, 99, 0xa0];
    for _ in 0..limits::FREE_FRAMES_PER_SECOND - 2 {
        pipe.tell(&mut server, Input::Frame(&unknown));
        assert_eq!(pipe.closed, None);
    }
    server.now += 1_000;
    for _ in 0..limits::FREE_FRAMES_PER_SECOND {
        pipe.tell(&mut server, Input::Frame(&plain(Credit { bytes: 1 })));
        assert_eq!(pipe.closed, None);
    }
    pipe.tell(&mut server, Input::Frame(&unknown));
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Flood);
}

#[test]
fn credit_without_bound_is_refused() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    pipe.tell(
        &mut server,
        Input::Frame(&plain(Credit { bytes: u64::MAX })),
    );
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Credit);
}

#[test]
fn a_peer_that_says_nothing_for_ten_seconds_is_let_go() {
    let mut server = Server::new();
    let mut session = server.session();
    let deadline = session.deadline().unwrap();
    assert_eq!(deadline, server.now + 10_000);
    server.now = deadline - 1;
    assert!(server.drive(&mut session, Input::Tick).closed.is_none());
    server.now = deadline;
    assert_eq!(
        server.drive(&mut session, Input::Tick).closed.unwrap().code,
        ByeCode::Timeout
    );
}

#[test]
fn a_device_waits_a_minute_for_an_answer_and_for_ever_without_a_question() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::open(&mut server, &phone);
    pipe.flow(&mut server, &mut phone, 0);
    let deadline = pipe.client.deadline().unwrap();
    assert_eq!(deadline, server.now + limits::ANSWER_MS);
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.client.deadline(), None);

    phone.create(VILLAGE, 1, "");
    server.now += 1_000_000;
    pipe.client
        .handle(server.now, client::Input::Offer(phone.offers()));
    pipe.flow(&mut server, &mut phone, 0);
    assert_eq!(pipe.client.deadline(), Some(server.now + limits::ANSWER_MS));
    pipe.client
        .handle(server.now + limits::ANSWER_MS, client::Input::Tick);
    pipe.flow(&mut server, &mut phone, 0);
    assert_eq!(pipe.bye(), Some(ByeCode::Timeout));
    assert_eq!(phone.tail.len(), 1, "and keeps what was not answered");
}

#[test]
fn revocation_ends_a_session_at_once_and_every_later_one() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    // A revocation that the journal did not take ends nothing.
    pipe.tell(&mut server, Input::Revoked);
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.bye(), None);
    server.ledger.revoke(server.wall, phone.device()).unwrap();
    pipe.tell(&mut server, Input::Revoked);
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.bye(), Some(ByeCode::Revoked));
    let vouched = |pipe: &Pipe, phone: &Phone, server: &Server| {
        let (device, other) = (phone.device(), Phone::new(8, server).device());
        pipe.said(|event| {
            matches!(event, Event::Bye(bye) if bye.revokes(&device, &server.id())
                && !bye.revokes(&other, &server.id())
                && !bye.revokes(&device, &ServerId(other.0)))
        })
    };
    assert_eq!(vouched(&pipe, &phone, &server), 1);
    for token in [phone.token.clone(), None] {
        phone.token = token;
        let pipe = Pipe::run(&mut server, &mut phone);
        assert_eq!(pipe.bye(), Some(ByeCode::Revoked));
        assert_eq!(vouched(&pipe, &phone, &server), 1);
        assert_eq!(pipe.said(|event| matches!(event, Event::Welcome { .. })), 0);
    }
}

#[test]
fn a_revoked_device_is_answered_without_a_look_through_what_else_was_stated() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let (wall, device) = (server.wall, phone.device());
    let revoked_at = server.ledger.revoke(wall, device).unwrap();
    for seed in 4..8 {
        server.enrolled(seed, Role::Officer, &[VILLAGE]);
    }
    // Any other of these rows ends whoever reads it.
    let positions = 1..=server.ledger.reader().watermark().position;
    for position in positions.filter(|position| *position != revoked_at) {
        let key = [&b"f"[..], &position.to_be_bytes()].concat();
        if server.kv.get(&key).unwrap().is_some() {
            server.kv.apply(Batch::new().put(key, [0xff])).unwrap();
        }
    }
    let pipe = Pipe::run(&mut server, &mut phone);
    let bye = pipe.closed.unwrap();
    assert!(bye.revokes(&device, &server.id()), "{bye:?}");
}

#[test]
fn a_session_notices_revocation_when_the_journal_grows() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    server.ledger.revoke(server.wall, phone.device()).unwrap();
    pipe.tell(&mut server, Input::Advanced);
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Revoked);
}

#[test]
fn what_others_write_in_scope_arrives_and_what_they_write_elsewhere_is_silent() {
    let mut server = Server::new();
    let mut writer = server.enrolled(3, Role::Officer, &["13.76"]);
    let mut phone = server.enrolled(4, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let before = pipe.sent_down.len();
    let elsewhere = writer.create("13.76.01.1002", 1, "");
    server.accept(writer.device(), &[elsewhere]);
    pipe.tell(&mut server, Input::Advanced);
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.sent_down.len(), before);

    let here = writer.create(VILLAGE, 2, "");
    server.accept(writer.device(), std::slice::from_ref(&here));
    pipe.tell(&mut server, Input::Advanced);
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.kinds_down()[before..], ["feed", "up_to_date"]);
    let arrived = |event: &Event| {
        matches!(event, Event::Page { items, .. }
        if matches!(&items[..], [Item::Record { run, .. }] if *run == here.to_bytes()))
    };
    assert_eq!(pipe.said(arrived), 1);
}

#[test]
fn all_digests_of_a_device_with_many_scopes_are_told_at_once_however_many_frames_they_take() {
    let scopes: Vec<String> = (0..=2 * limits::DIGESTS_PER_FRAME)
        .map(|at| format!("13.76.01.{}", 1001 + at))
        .collect();
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &scopes);
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(pipe.bye(), None);
    let frames = pipe.kinds_down().into_iter();
    assert_eq!(frames.filter(|kind| *kind == "up_to_date").count(), 3);
    let digests = pipe.events.iter().filter_map(|event| match event {
        Event::UpToDate { digests, .. } => Some(digests.len()),
        _ => None,
    });
    assert_eq!(digests.collect::<Vec<_>>(), [scopes.len()]);
}

#[test]
fn frames_of_the_other_side_and_a_second_hello_are_out_of_place() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let hello = {
        let pipe = Pipe::run(&mut server, &mut phone);
        pipe.sent_up[0].clone()
    };
    let pages = plain(crate::frame::Feed {
        items: vec![],
        cursor: vec![].into(),
    });
    let stranger = plain(crate::frame::Accepted { runs: vec![] });
    for bad in [hello, pages, stranger] {
        let mut pipe = Pipe::run(&mut server, &mut phone);
        pipe.tell(&mut server, Input::Frame(&bad));
        let bye = pipe.closed.unwrap();
        assert_eq!(bye.code, ByeCode::Malformed);
        assert!(bye.sentence.ends_with("does not belong here."));
    }
    let mut session = server.session();
    let subscribe = plain(Subscribe {
        scopes: vec![],
        cursor: None,
        compare: false,
        gives: false,
    });
    let sent = server.drive(&mut session, Input::Frame(&subscribe));
    assert_eq!(sent.closed.unwrap().code, ByeCode::Malformed);
}

#[test]
fn an_ended_session_says_why_and_then_nothing() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    pipe.tell(&mut server, Input::Shutdown);
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.bye(), Some(ByeCode::Shutdown));
    let down = pipe.sent_down.len();
    pipe.tell(&mut server, Input::Advanced);
    pipe.tell(&mut server, Input::Frame(&[1, 2, 3]));
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.sent_down.len(), down);
    pipe.client.handle(server.now, client::Input::Close);
    assert_eq!(pipe.client.poll(), None);
}
