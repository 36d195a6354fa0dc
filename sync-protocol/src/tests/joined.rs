use bukti_core::authority::Role;
use bukti_core::id::{ChangeHash, RunId};

use super::setting::{Phone, Pipe, Server, WALL, noise, plain};
use crate::bye::ByeCode;
use crate::client::{self, Event};
use crate::enrol::{self, EnrolSession};
use crate::fragment::ItemId;
use crate::frame::{Credit, Fragment, Frame, Hello, Numbered, Push, Subscribe};
use crate::item::{Item, PushItem};
use crate::limits;
use crate::server::Input;

const VILLAGE: &str = "13.76.01.1001";

fn is_accepted(event: &Event) -> bool {
    matches!(event, Event::Accepted(_))
}

fn accepted(pipe: &Pipe) -> Vec<RunId> {
    let runs = pipe.events.iter().filter_map(|event| match event {
        Event::Accepted(runs) => Some(runs.iter().map(|(run, _)| *run)),
        _ => None,
    });
    runs.flatten().collect()
}

fn bye_of(pipe: &Pipe) -> Option<ByeCode> {
    pipe.events.iter().find_map(|event| match event {
        Event::Bye(bye) => Some(bye.code.clone()),
        _ => None,
    })
}

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
    let Some(enrol::Output::Event(enrol::Event::Enrolled { token, .. })) = enrolment.poll() else {
        panic!("{:?}", sent.decoded());
    };
    assert_eq!(enrolment.deadline(), None);

    phone.token = Some(token);
    let mut pipe = Pipe::open(&mut server, &phone);
    pipe.session = session;
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.said(|event| matches!(event, Event::Welcome { .. })), 1);
    assert_eq!(
        pipe.kinds_up(),
        ["hello", "subscribe"],
        "no challenge is needed"
    );
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
        bye_of(&pipe),
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
    let expected = bukti_core::id::ServerId(expected.0);
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
    assert_eq!(accepted(&pipe), [run.id()]);
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
        features: crate::frame::Features::NONE,
        agent: String::new(),
    };
    pipe.tell(&mut server, Input::Frame(&plain(hello)));
    thief.token = None;
    let signature = [0; 64];
    let proof = crate::frame::Proof {
        device: victim.device(),
        signature,
    };
    pipe.tell(&mut server, Input::Frame(&plain(proof)));
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Unauthorised);
}

#[test]
fn a_run_is_accepted_then_fed_back_by_name_and_then_all_is_up_to_date() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let run = phone.create(VILLAGE, 1, "");
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(accepted(&pipe), [run.id()]);
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
    assert_eq!(accepted(&pipe), [good.id()]);
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
    let offer = vec![ground, phone.tail[0].clone()];
    pipe.client.handle(server.now, client::Input::Offer(offer));
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert!(accepted(&pipe).contains(&second.id()), "{:?}", pipe.events);
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

    let other = restored.create(VILLAGE, 2, "");
    let pipe = Pipe::run(&mut server, &mut restored);
    assert_eq!(
        pipe.said(|event| *event == highest),
        1,
        "number 1 is {} there",
        other.id()
    );
    assert_eq!(
        (pipe.submitted, pipe.said(is_accepted)),
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
    assert_eq!(
        server.ledger.reader().position_of(&other.id()).unwrap(),
        None
    );
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
fn a_cut_inside_a_large_run_costs_only_what_had_not_arrived() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let run = phone.create(VILLAGE, 1, &noise(18_000));
    assert!(phone.tail[0].1.len() > 3 * limits::FRAME_BYTES_MAX);
    let mut pipe = Pipe::open(&mut server, &phone);
    pipe.flow(&mut server, &mut phone, 6);
    let arrived = pipe
        .kinds_up()
        .iter()
        .filter(|kind| **kind == "fragment")
        .count();
    assert!(arrived >= 2, "{:?}", pipe.kinds_up());
    pipe.cut(&mut server, &mut phone);

    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(accepted(&pipe), [run.id()]);
    let resent = pipe
        .kinds_up()
        .iter()
        .filter(|kind| **kind == "fragment")
        .count();
    let whole = phone_fragments(&run.to_bytes());
    assert_eq!(arrived + resent, whole);
}

fn phone_fragments(run: &[u8]) -> usize {
    crate::deflate::pack(run, true)
        .len()
        .div_ceil(limits::FRAGMENT_BYTES)
}

#[test]
fn a_cut_inside_a_large_page_costs_only_what_had_not_arrived() {
    let mut server = Server::new();
    let mut writer = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let run = writer.create(VILLAGE, 1, &noise(18_000));
    server.accept(writer.device(), &[run]);
    let mut phone = server.enrolled(4, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::open(&mut server, &phone);
    while pipe.said(|event| matches!(event, Event::Progress { .. })) < 2 {
        pipe.flow(&mut server, &mut phone, 1);
    }
    let pipe = pipe.cut(&mut server, &mut phone);
    assert!(!phone.partials.is_empty());
    let held: usize = phone.partials.iter().map(|item| item.bytes.len()).sum();

    let again = Pipe::run(&mut server, &mut phone);
    let first = again.events.iter().find_map(|event| match event {
        Event::Progress { received, .. } => Some(*received),
        _ => None,
    });
    assert!(first.unwrap() > held as u64, "it goes on where it was cut");
    let fragments = |pipe: &Pipe| pipe.said(|event| matches!(event, Event::Progress { .. }));
    let total = again.events.iter().find_map(|event| match event {
        Event::Progress { total, .. } => Some(*total),
        _ => None,
    });
    let whole = usize::try_from(total.unwrap())
        .unwrap()
        .div_ceil(limits::FRAGMENT_BYTES);
    assert_eq!(fragments(&pipe) + fragments(&again), whole);
    let items = |event: &Event| {
        matches!(event, Event::Page { items, .. }
        if matches!(items[..], [Item::Whole { .. }]))
    };
    assert_eq!(again.said(items), 1);
    assert!(matches!(again.events.last(), Some(Event::UpToDate { .. })));
}

#[test]
fn nothing_that_was_answered_is_sent_again() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let run = phone.create(VILLAGE, 1, "");
    let tail = phone.tail.clone();
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let before = pipe.sent_up.len();
    pipe.client.handle(server.now, client::Input::Offer(tail));
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.sent_up.len(), before);
    assert_eq!(accepted(&pipe), [run.id()]);
}

#[test]
fn a_device_that_applies_nothing_stops_the_feed_at_its_credit() {
    let mut server = Server::new();
    let mut writer = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let runs: Vec<_> = (0..60)
        .map(|at| writer.create(VILLAGE, at, &noise(3_000)))
        .collect();
    server.accept(writer.device(), &runs);
    let mut phone = server.enrolled(4, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::open(&mut server, &phone);
    pipe.applies = false;
    pipe.flow(&mut server, &mut phone, usize::MAX);
    let feed = |pipe: &Pipe| -> u64 {
        let credited = pipe
            .sent_down
            .iter()
            .filter(|bytes| crate::frame::decode(bytes).unwrap().unwrap().needs_credit());
        credited.map(|bytes| bytes.len() as u64).sum()
    };
    let stopped = feed(&pipe);
    assert!(stopped <= limits::CREDIT_WINDOW && stopped > limits::CREDIT_WINDOW / 2);
    assert_eq!(
        pipe.client.deadline(),
        None,
        "it is the device that is slow"
    );
    pipe.applies = true;
    let pages = pipe.said(|event| matches!(event, Event::Page { .. }));
    for _ in 0..pages {
        pipe.client.handle(server.now, client::Input::Applied);
    }
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert!(feed(&pipe) > 2 * limits::CREDIT_WINDOW);
    assert!(
        matches!(pipe.events.last(), Some(Event::UpToDate { digests, .. }) if digests[0].3 == 60)
    );
}

#[test]
fn many_runs_flow_within_the_servers_credit() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let runs: Vec<_> = (0..120)
        .map(|at| phone.create(VILLAGE, at, &noise(2_000)).id())
        .collect();
    let bytes: usize = phone.tail.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes as u64 > 3 * limits::CREDIT_WINDOW);
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(accepted(&pipe), runs, "all, in the order of their numbers");
    let welcome = pipe
        .kinds_up()
        .iter()
        .take_while(|kind| **kind != "credit")
        .count();
    assert!(welcome > 4);
}

#[test]
fn more_than_the_credit_ends_the_session() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let total = limits::RUN_ITEM_BYTES_MAX as u64;
    let mut offset = 0;
    let mut sent = 0;
    while pipe.closed.is_none() {
        // Fragments of an item are settled at once, so only a peer that ignores credit frames
        // while it sends much in one go can pass its allowance; pushes wait for the journal.
        let fragment = Fragment {
            item: ItemId([5; 16]),
            offset,
            total,
            bytes: vec![0; 4_000],
        };
        offset += 4_000;
        sent += 1;
        if offset + 4_000 > total {
            break;
        }
        pipe.tell(&mut server, Input::Frame(&plain(fragment)));
    }
    assert_eq!(pipe.closed, None, "{sent} fragments were credited");

    let mut fresh = Pipe::open(&mut server, &phone);
    let mut sent = 0;
    while fresh.closed.is_none() {
        let items = vec![PushItem::Run(vec![7; 4_000])];
        fresh.tell(&mut server, Input::Frame(&plain(Push { items })));
        sent += 1;
        assert!(sent < 10, "before hello nothing is taken");
    }
    assert_eq!(
        fresh.closed.unwrap().code,
        ByeCode::Malformed,
        "hello comes first"
    );

    phone.token = None;
    let mut pipe = Pipe::open(&mut server, &phone);
    pipe.flow(&mut server, &mut phone, 2);
    for _ in 0..4 {
        assert_eq!(pipe.closed, None);
        let items = vec![PushItem::Run(vec![7; 4_080])];
        pipe.tell(&mut server, Input::Frame(&plain(Push { items })));
    }
    let items = vec![PushItem::Run(vec![7; 4_080])];
    pipe.tell(&mut server, Input::Frame(&plain(Push { items })));
    assert_eq!(
        pipe.closed.unwrap().code,
        ByeCode::Credit,
        "16 KiB while challenged, no more"
    );
}

#[test]
fn fragments_that_lie_end_the_session() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let fragment = |offset, total, bytes: usize| {
        plain(Fragment {
            item: ItemId([5; 16]),
            offset,
            total,
            bytes: vec![1; bytes],
        })
    };
    for bad in [
        fragment(10, 100, 10),
        fragment(0, 100, 100),
        fragment(0, 10, 20),
        fragment(u64::MAX, u64::MAX, 20),
        fragment(0, limits::RUN_ITEM_BYTES_MAX as u64 + 1, 20),
        plain(Push {
            items: vec![PushItem::Large(ItemId([6; 16]))],
        }),
    ] {
        let mut pipe = Pipe::run(&mut server, &mut phone);
        pipe.tell(&mut server, Input::Frame(&bad));
        assert_eq!(pipe.closed.unwrap().code, ByeCode::Fragment);
    }
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
        .handle(server.now, client::Input::Offer(phone.tail.clone()));
    pipe.flow(&mut server, &mut phone, 0);
    assert_eq!(pipe.client.deadline(), Some(server.now + limits::ANSWER_MS));
    pipe.client
        .handle(server.now + limits::ANSWER_MS, client::Input::Tick);
    pipe.flow(&mut server, &mut phone, 0);
    assert_eq!(bye_of(&pipe), Some(ByeCode::Timeout));
    assert_eq!(phone.tail.len(), 1, "and keeps what was not answered");
}

#[test]
fn revocation_ends_a_session_at_once_and_every_later_one() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    server.ledger.revoke(server.wall, phone.device()).unwrap();
    pipe.tell(&mut server, Input::Revoked);
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(bye_of(&pipe), Some(ByeCode::Revoked));
    for token in [phone.token.clone(), None] {
        phone.token = token;
        let pipe = Pipe::run(&mut server, &mut phone);
        assert_eq!(bye_of(&pipe), Some(ByeCode::Revoked));
        assert_eq!(pipe.said(|event| matches!(event, Event::Welcome { .. })), 0);
    }
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
    server.accept(writer.device(), &[here.clone()]);
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
    assert_eq!(bye_of(&pipe), Some(ByeCode::Shutdown));
    let down = pipe.sent_down.len();
    pipe.tell(&mut server, Input::Advanced);
    pipe.tell(&mut server, Input::Frame(&[1, 2, 3]));
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.sent_down.len(), down);
    pipe.client.handle(server.now, client::Input::Close);
    assert_eq!(pipe.client.poll(), None);
}
