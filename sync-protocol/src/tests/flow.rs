//! Large things, cuts, and credit.

use bukti_core::authority::Role;
use bukti_core::id::{ChangeHash, RunId};
use bukti_core::ledger::{Outcome, Verdict};

use super::setting::{Pipe, Server, VILLAGE, noise, plain};
use crate::bye::{Bye, ByeCode};
use crate::client::{self, Event};
use crate::fragment::{ItemId, Splitter};
use crate::frame::{Features, Fragment, Frame, Push, encode};
use crate::item::{Item, PushItem};
use crate::limits;
use crate::server::{Input, Output};

#[test]
fn where_runs_are_not_taken_the_device_is_told_behind_its_answers_and_nothing_more_is_handed_on() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let runs = [1, 2].map(|random| phone.create(VILLAGE, random, ""));
    phone.tail.clear();
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let mut unfit = runs[0].clone();
    unfit.changes.clear();
    let pushed = [runs[0].to_bytes(), unfit.to_bytes(), runs[1].to_bytes()];
    let pushed = pushed.map(|run| {
        plain(Push {
            items: vec![PushItem::Run(run)],
            returned: false,
            statements: false,
        })
    });
    let first = server.step(&mut pipe.session, Input::Frame(&pushed[0]));
    assert!(matches!(first, Some(Output::Submit(_))), "{first:?}");
    for frame in &pushed[1..] {
        server.press(&mut pipe.session, frame);
    }
    let bye = Bye::new(ByeCode::Busy, "Too much waits.").retry_after(5);
    let sent = server.drive(&mut pipe.session, Input::Unqueued(bye.clone()));
    assert_eq!((sent.submitted, sent.closed.as_ref()), (0, Some(&bye)));
    let frames = sent.decoded();
    let [Frame::Rejected(_), Frame::Bye(said)] = &frames[..] else {
        panic!("{frames:?}");
    };
    assert_eq!(*said, bye);
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
    assert_eq!(pipe.accepted(), [run.id()]);
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
    let tail = phone.offers();
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let before = pipe.sent_up.len();
    pipe.client.handle(server.now, client::Input::Offer(tail));
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.sent_up.len(), before);
    assert_eq!(pipe.accepted(), [run.id()]);
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
    assert_eq!(pipe.accepted(), runs, "all, in the order of their numbers");
    let welcome = pipe
        .kinds_up()
        .iter()
        .take_while(|kind| **kind != "credit")
        .count();
    assert!(welcome > 4);
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
        fragment(0, limits::STATEMENT_ITEM_BYTES_MAX as u64 + 1, 20),
        plain(Push {
            items: vec![PushItem::Large(ItemId([6; 16]))],
            returned: false,
            statements: false,
        }),
    ] {
        let mut pipe = Pipe::run(&mut server, &mut phone);
        pipe.tell(&mut server, Input::Frame(&bad));
        assert_eq!(pipe.closed.unwrap().code, ByeCode::Fragment);
    }
    // What may be a statement is too long for a run.
    let packed = vec![0; limits::RUN_ITEM_BYTES_MAX + 1];
    let mut splitter = Splitter::new(packed, &[]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    while let Some(fragment) = splitter.next_fragment() {
        pipe.tell(&mut server, Input::Frame(&plain(fragment)));
    }
    assert_eq!(pipe.closed, None);
    let push = Push {
        items: vec![PushItem::Large(splitter.item())],
        returned: false,
        statements: false,
    };
    pipe.tell(&mut server, Input::Frame(&plain(push)));
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Fragment);
}

#[test]
fn a_device_stops_at_its_credit_while_the_journal_is_slow() {
    let mut server = Server::new();
    server.judges = false;
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    for at in 0..60 {
        phone.create(VILLAGE, at, &noise(3_000));
    }
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let pushed: u64 = pipe.sent_up.iter().map(|bytes| bytes.len() as u64).sum();
    assert!(
        pushed > limits::CREDIT_WINDOW && pushed < 2 * limits::CREDIT_WINDOW,
        "{pushed}"
    );
    assert_eq!((pipe.closed.as_ref(), pipe.accepted().len()), (None, 0));

    while pipe.closed.is_none() {
        let items = vec![PushItem::Run(phone.tail[0].1.clone())];
        pipe.tell(
            &mut server,
            Input::Frame(&plain(Push {
                items,
                returned: false,
                statements: false,
            })),
        );
    }
    assert_eq!(
        pipe.closed.unwrap().code,
        ByeCode::Credit,
        "and one that does not is let go"
    );
}

#[test]
fn a_device_has_one_flight_while_it_is_challenged() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    phone.token = None;
    let mut pipe = Pipe::open(&mut server, &phone);
    pipe.flow(&mut server, &mut phone, 2);
    let push = plain(Push {
        items: vec![PushItem::Run(vec![7; 4_080])],
        returned: false,
        statements: false,
    });
    for _ in 0..limits::FLIGHT_BYTES / push.len() as u64 {
        pipe.tell(&mut server, Input::Frame(&push));
        assert_eq!(pipe.closed, None);
    }
    pipe.tell(&mut server, Input::Frame(&push));
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Credit);
}

fn accepted(run: RunId) -> Outcome {
    let verdict = Verdict::Accepted(9);
    Outcome { run, verdict }
}

#[test]
fn a_run_that_comes_again_before_its_outcome_is_not_submitted_again() {
    let mut server = Server::new();
    server.judges = false;
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let run = phone.create(VILLAGE, 1, "").id();
    let mut pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(pipe.submitted, 1);

    let copies = |count| {
        let items = vec![PushItem::Run(phone.tail[0].1.clone()); count];
        Frame::from(Push {
            items,
            returned: false,
            statements: false,
        })
    };
    let packed = encode(&copies(limits::PUSH_ITEMS_MAX), Features::DEFLATE);
    pipe.tell(&mut server, Input::Frame(&packed));
    let before = pipe.kinds_down().len();
    let whole = encode(&copies(4), Features::NONE);
    for _ in 0..limits::CREDIT_STEP as usize / whole.len() + 1 {
        pipe.tell(&mut server, Input::Frame(&whole));
    }
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!((pipe.submitted, pipe.closed.as_ref()), (1, None));
    assert_eq!(pipe.kinds_down().len(), before, "no answer, no credit");

    pipe.tell(&mut server, Input::Judged(vec![accepted(run)]));
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.kinds_down()[before..], ["accepted", "credit"]);
    pipe.tell(&mut server, Input::Frame(&whole));
    assert_eq!(pipe.submitted, 2, "once it is answered, it may come again");
}

#[test]
fn a_session_with_many_small_runs_unanswered_gets_no_credit() {
    let mut server = Server::new();
    server.judges = false;
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    for at in 0..=u8::try_from(limits::UNJUDGED_RUNS).unwrap() {
        phone.create(VILLAGE, at, "");
    }
    let first = phone.tail[0].0;
    let mut pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(pipe.submitted, limits::UNJUDGED_RUNS + 1);
    let before = pipe.kinds_down().len();
    for at in 0..5 {
        let fragment = Fragment {
            item: ItemId([5; 16]),
            offset: at * 4_000,
            total: 30_000,
            bytes: vec![1; 4_000],
        };
        pipe.tell(&mut server, Input::Frame(&plain(fragment)));
    }
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.closed, None);
    assert_eq!(pipe.kinds_down().len(), before, "{:?}", pipe.kinds_down());
    pipe.tell(&mut server, Input::Judged(vec![accepted(first)]));
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.kinds_down()[before..], ["accepted", "credit"]);
}

#[test]
fn nothing_of_a_flight_is_taken_or_answered_once_it_shows_a_stale_store() {
    let mut server = Server::new();
    server.judges = false;
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let runs: Vec<_> = (0..3)
        .map(|at| phone.create(VILLAGE, at, "").id())
        .collect();
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let before = pipe.kinds_down().len();
    let stale = Outcome {
        run: runs[1],
        verdict: Verdict::Stale {
            highest: (2, RunId([8; 16])),
        },
    };
    let last = accepted(runs[2]);
    let outcomes = vec![accepted(runs[0]), stale, last.clone()];
    pipe.tell(&mut server, Input::Judged(outcomes));
    pipe.tell(&mut server, Input::Judged(vec![last]));
    let submitted = pipe.submitted;
    let items = vec![PushItem::Run(phone.tail[2].1.clone())];
    pipe.tell(
        &mut server,
        Input::Frame(&plain(Push {
            items,
            returned: false,
            statements: false,
        })),
    );
    assert_eq!((pipe.submitted, pipe.closed.as_ref()), (submitted, None));
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.kinds_down()[before..], ["accepted", "stale"]);
    assert_eq!(pipe.found, ["stale-store"]);
    assert_eq!(pipe.accepted(), runs[..1]);
}

#[test]
fn a_device_on_a_full_disk_is_fed_and_gets_no_credit_to_send_more() {
    let mut server = Server::new();
    let mut writer = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let runs: Vec<_> = (0..60)
        .map(|at| writer.create(VILLAGE, at, &noise(3_000)))
        .collect();
    server.accept(writer.device(), &runs);
    let mut phone = server.enrolled(4, Role::Officer, &[VILLAGE]);
    for at in 0..10 {
        phone.create(VILLAGE, at, &noise(3_000));
    }
    server.judges = false;
    let mut pipe = Pipe::open(&mut server, &phone);
    pipe.applies = false;
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.submitted, 10);
    let full = |(run, _): &(RunId, Vec<u8>)| Outcome {
        run: *run,
        verdict: Verdict::Full,
    };
    let outcomes = phone.tail.iter().map(full).collect();
    // The device has not made room for the rest of the feed, so it is not put off yet.
    let sent = server.drive(&mut pipe.session, Input::Judged(outcomes));
    assert_eq!((sent.frames.len(), sent.closed), (0, None));
}

#[test]
fn a_device_on_a_full_disk_that_has_everything_is_told_when_to_come_back() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let run = phone.create(VILLAGE, 1, "").id();
    server.judges = false;
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let full = Outcome {
        run,
        verdict: Verdict::Full,
    };
    pipe.tell(&mut server, Input::Judged(vec![full]));
    let bye = pipe.closed.unwrap();
    assert_eq!(bye.code, ByeCode::Full);
    assert_eq!(bye.retry_after_ms, Some(limits::REPAIR_RETRY_MS));
}

#[test]
fn answers_name_as_many_runs_and_hashes_as_a_frame_may() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let numbered = |number: usize| u8::try_from(number).unwrap();
    let runs: Vec<_> = (0..=limits::ACCEPTED_PER_FRAME)
        .map(|number| RunId([numbered(number); 16]))
        .collect();
    let lacks = Outcome {
        run: RunId([0xff; 16]),
        verdict: Verdict::Missing(
            (0..=limits::MISSING_PER_FRAME)
                .map(|number| ChangeHash([numbered(number); 32]))
                .collect(),
        ),
    };
    let mut outcomes: Vec<_> = runs.iter().copied().map(accepted).collect();
    outcomes.push(lacks);
    let sent = server.drive(&mut pipe.session, Input::Judged(outcomes));
    let frames = sent.decoded();
    let [
        Frame::Accepted(first),
        Frame::Accepted(rest),
        Frame::Missing(missing),
    ] = &frames[..]
    else {
        panic!("{frames:?}")
    };
    assert_eq!(first.runs.len(), limits::ACCEPTED_PER_FRAME);
    let named = first.runs.iter().chain(&rest.runs).map(|placed| placed.run);
    assert_eq!(named.collect::<Vec<_>>(), runs);
    assert_eq!(missing.hashes.len(), limits::MISSING_PER_FRAME);
}
