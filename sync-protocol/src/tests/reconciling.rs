//! A server that lost records, and devices that hold them.

use bukti_core::authority::{Audience, Grant, Role};
use bukti_core::digest::Digest;
use bukti_core::id::{DocumentId, JournalId};
use bukti_core::record::{Fact, GrantsFact, Record, Revocation, Signed, Statement};

use super::samples;
use super::setting::{Phone, Pipe, Sent, Server, VILLAGE, WALL, noise, plain};
use crate::bye::ByeCode;
use crate::client::{self, ClientSession, Event};
use crate::frame::{Challenge, Frame, Ranged, Reconcile, Statements, Subscribe, Survived};
use crate::item::Item;
use crate::limits;
use crate::reconcile::{Differs, Range};
use crate::server::Input;

const LATER: i64 = WALL + 1_000_000;

fn founded_anew() -> Server {
    Server::founded(JournalId([10; 16]), LATER)
}

/// A device of a server that was lost, with a document that it had received.
fn survivor() -> (Server, Phone) {
    let mut lost = Server::new();
    let mut phone = lost.enrolled(3, Role::Officer, &[VILLAGE]);
    phone.create(VILLAGE, 1, "");
    Pipe::run(&mut lost, &mut phone);
    phone.compare = true;
    (lost, phone)
}

fn compared(ranges: Vec<Ranged>, need: Vec<Range>) -> Reconcile {
    Reconcile {
        prefix: VILLAGE.parse().unwrap(),
        audience: Audience::Unit,
        salt: 1,
        ranges,
        lists: Vec::new(),
        need,
        survived: None,
        more: false,
    }
}

pub(super) fn wholes(pipe: &Pipe) -> Vec<DocumentId> {
    let items = pipe.events.iter().filter_map(|event| match event {
        Event::Page { items, .. } => Some(items),
        _ => None,
    });
    let whole = |item: &Item| match item {
        Item::Whole { document, .. } => Some(*document),
        _ => None,
    };
    items.flatten().filter_map(whole).collect()
}

fn pages(pipe: &Pipe) -> usize {
    pipe.said(|event| matches!(event, Event::Page { .. }))
}

#[test]
fn a_device_of_a_lost_journal_is_let_in_by_its_certificate_and_only_gives() {
    let (_, mut phone) = survivor();
    let run = phone.create(VILLAGE, 2, "");
    let mut server = founded_anew();
    let mut pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(pipe.closed, None);
    assert_eq!(
        pipe.kinds_down()[..3],
        ["challenge", "enrolled", "welcome"],
        "{:?}",
        pipe.kinds_down()
    );
    let unconfirmed =
        |event: &Event| matches!(event, Event::Welcome { confirmed, .. } if !confirmed);
    assert_eq!(pipe.said(unconfirmed), 1);
    assert_eq!(pipe.accepted(), [run.id()]);
    assert_eq!(pages(&pipe), 0, "{:?}", pipe.events);
    let digests =
        |event: &Event| matches!(event, Event::UpToDate { digests, .. } if digests[0].3 == 1);
    assert_eq!(pipe.said(digests), 1);

    server.ledger.confirm(server.wall, phone.device()).unwrap();
    pipe.tell(&mut server, Input::Advanced);
    assert_eq!(pipe.closed.take().unwrap().code, ByeCode::Shutdown);
    phone.journal = JournalId([10; 16]);
    phone.compare = false;
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(wholes(&pipe), [run.envelope.body().document]);
}

#[test]
fn a_device_that_is_confirmed_while_it_is_let_in_receives_in_that_session() {
    let (_, mut phone) = survivor();
    let mut server = founded_anew();
    let mut writer = server.enrolled(4, Role::Officer, &[VILLAGE]);
    let run = writer.create(VILLAGE, 2, "");
    server.accept(writer.device(), std::slice::from_ref(&run));
    server.confirms = true;
    phone.compare = false;
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(pipe.closed, None);
    let confirmed = |event: &Event| {
        matches!(
            event,
            Event::Welcome {
                confirmed: true,
                ..
            }
        )
    };
    assert_eq!(pipe.said(confirmed), 1);
    assert_eq!(wholes(&pipe), [run.envelope.body().document]);
}

#[test]
fn a_known_device_that_gives_back_more_than_it_was_granted_waits_for_an_administrator() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut writer = server.enrolled(4, Role::Officer, &[VILLAGE]);
    let mut beside = server.enrolled(5, Role::Officer, &["13.76.02.1001"]);
    let out_of_reach = beside.create("13.76.02.1001", 1, "");
    server.accept(beside.device(), &[out_of_reach]);
    Pipe::run(&mut server, &mut phone);
    let device = phone.device();
    let grants = vec![Grant {
        role: Role::Officer,
        scope: "13.76".parse().unwrap(),
    }];
    let fact = Fact::Grants(GrantsFact { device, grants });
    let wider = Signed::new(Statement { at: LATER, fact }, &samples::server_key());
    phone.owed = vec![Record::Server(wider).to_bytes()];
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!((pipe.taken_back, pages(&pipe)), (1, 0));
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Shutdown);
    phone.owed.clear();

    let run = writer.create(VILLAGE, 1, "");
    server.accept(writer.device(), &[run]);
    let waits = Pipe::run(&mut server, &mut phone);
    assert_eq!((stands(&waits), pages(&waits)), (Some(false), 0));
    assert_eq!(waits.closed, None);

    server.ledger.confirm(server.wall, device).unwrap();
    phone.cursor = None;
    let receives = Pipe::run(&mut server, &mut phone);
    assert_eq!(stands(&receives), Some(true));
    assert_eq!(wholes(&receives).len(), 2);
}

/// What the server says of the device's standing.
fn stands(pipe: &Pipe) -> Option<bool> {
    pipe.events.iter().find_map(|event| match event {
        Event::Welcome { confirmed, .. } => Some(*confirmed),
        _ => None,
    })
}

#[test]
fn without_its_certificate_a_device_of_a_lost_journal_stays_out() {
    let (_, mut phone) = survivor();
    phone.certificate = Vec::new();
    let mut server = founded_anew();
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Unauthorised);
    let mut other = server.enrolled(4, Role::Officer, &[VILLAGE]);
    phone.certificate = std::mem::take(&mut other.certificate);
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Unauthorised);
}

#[test]
fn a_revocation_that_was_returned_keeps_the_device_out() {
    let (_, mut revoked) = survivor();
    let mut server = founded_anew();
    let mut witness = server.enrolled(4, Role::Officer, &[VILLAGE]);
    witness.compare = true;
    witness.cursor = Some(vec![1]);
    witness.statements = vec![samples::statement(Fact::Revocation(Revocation {
        device: revoked.device(),
    }))];
    let pipe = Pipe::run(&mut server, &mut witness);
    assert_eq!((pipe.taken_back, pipe.closed), (1, None));
    let pipe = Pipe::run(&mut server, &mut revoked);
    assert!(!pipe.kinds_down().contains(&"welcome"));
    let bye = pipe.closed.unwrap();
    assert_eq!(
        (bye.code, bye.statement.is_some()),
        (ByeCode::Revoked, true)
    );
}

#[test]
fn a_void_cursor_has_statements_taken_in_before_any_run_is_judged() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    phone.create(VILLAGE, 1, "");
    Pipe::run(&mut server, &mut phone);
    (phone.compare, phone.cursor) = (true, Some(vec![1]));
    phone.statements = vec![vec![0; limits::STATEMENT_BYTES_MAX + 1], vec![7; 9]];
    phone.create(VILLAGE, 2, "");
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!((pipe.closed.as_ref(), pipe.taken_back), (None, 0));
    assert_eq!(
        pipe.kinds_up(),
        [
            "hello",
            "subscribe",
            "push",
            "statements",
            "subscribe",
            "push"
        ]
    );
    assert_eq!((pipe.submitted, pipe.accepted().len()), (1, 1));
    assert_eq!(pipe.found, ["cursor-void"]);
    assert_eq!(wholes(&pipe), []);
    let again = Pipe::run(&mut server, &mut phone);
    assert!(!again.kinds_down().contains(&"void"));
}

#[test]
fn before_its_statements_are_in_a_device_is_fed_nothing_and_nothing_is_compared() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    phone.create(VILLAGE, 1, "");
    Pipe::run(&mut server, &mut phone);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let mut heard = |server: &mut Server, frame: Vec<u8>| {
        let sent = server.drive(&mut pipe.session, Input::Frame(&frame));
        sent.decoded().iter().map(Frame::name).collect::<Vec<_>>()
    };
    let subscribe = |cursor: Option<Vec<u8>>| {
        plain(Subscribe {
            scopes: vec![],
            cursor: cursor.map(Into::into),
            compare: true,
            gives: false,
        })
    };
    let asked = plain(compared(Vec::new(), vec![Range::ALL]));
    assert_eq!(heard(&mut server, subscribe(Some(vec![1]))), ["void"]);
    assert_eq!(heard(&mut server, subscribe(None)), [""; 0]);
    assert_eq!(heard(&mut server, asked.clone()), [""; 0]);
    let last = plain(Statements {
        statements: Vec::new(),
        last: true,
    });
    assert_eq!(heard(&mut server, last), ["taken"]);
    assert_eq!(
        heard(&mut server, subscribe(None)),
        ["feed", "up_to_date"],
        "the statements of its scope, and no document"
    );
    assert_eq!(
        heard(&mut server, asked),
        ["reconcile", "feed", "up_to_date"]
    );
}

#[test]
fn runs_and_the_next_cursor_wait_until_the_statements_before_them_are_taken_in() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    (phone.compare, phone.cursor) = (true, Some(vec![1]));
    phone.statements = vec![samples::certificate()];
    phone.create(VILLAGE, 1, "");
    server.judges = false;
    let mut pipe = Pipe::run(&mut server, &mut phone);
    assert!(pipe.kinds_up().contains(&"push"));
    assert_eq!((pipe.closed.as_ref(), pipe.submitted), (None, 0));
    assert!(!pipe.kinds_down().contains(&"up_to_date"));
    pipe.tell(&mut server, Input::TakenBack(None));
    assert_eq!(pipe.submitted, 1);
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert!(pipe.kinds_down().contains(&"up_to_date"));
}

#[test]
fn a_server_that_names_another_journal_and_does_not_show_it_is_left() {
    let (server, phone) = survivor();
    let mut client = ClientSession::new(phone.opening(), server.now);
    let frames = samples::frames();
    let mut said = Vec::new();
    let mut hear = |client: &mut ClientSession, frame: Option<Frame>| {
        let frame = frame.map(plain);
        if let Some(frame) = &frame {
            client.handle(server.now, client::Input::Frame(frame));
        }
        while let Some(output) = client.poll() {
            if let client::Output::Event(event) = output {
                said.push(event);
            }
        }
    };
    hear(&mut client, None);
    let challenge = Challenge {
        nonce: [1; 32],
        journal: JournalId([10; 16]),
        server: server.id(),
    };
    hear(&mut client, Some(challenge.into()));
    let welcome = frames.into_iter().find(|frame| frame.name() == "welcome");
    hear(&mut client, welcome);
    let [Event::Bye(bye)] = &said[..] else {
        panic!("{said:?}")
    };
    assert_eq!(bye.code, ByeCode::Unauthorised);
}

#[test]
fn a_device_without_documents_gives_its_statements_and_is_sent_everything() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    phone.create(VILLAGE, 1, "");
    Pipe::run(&mut server, &mut phone);
    phone.cursor = Some(vec![1]);
    phone.statements = vec![samples::certificate()];
    let pipe = Pipe::run(&mut server, &mut phone);
    assert_eq!((wholes(&pipe).len(), pipe.taken_back), (1, 1));
    assert_eq!(pipe.found, ["cursor-void"]);
    // What has no cursor is asked for nothing.
    phone.cursor = None;
    let pipe = Pipe::run(&mut server, &mut phone);
    assert!(!pipe.kinds_down().contains(&"void"));
    assert_eq!(wholes(&pipe).len(), 1);
}

#[test]
fn what_a_device_lacks_is_found_and_sent_whole() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut held = Vec::new();
    for random in 1..40 {
        let run = phone.create(VILLAGE, random, "");
        let body = run.envelope.body();
        held.push((body.document, vec![body.last_hash]));
    }
    Pipe::run(&mut server, &mut phone);
    let lost = held.remove(5);
    let (id, heads) = held.remove(9);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    held.push((DocumentId([0x42; 16]), heads));
    pipe.client.handle(
        server.now,
        client::Input::Compare {
            prefix: VILLAGE.parse().unwrap(),
            audience: Audience::Unit,
            salt: 0xabcd_ef01,
            documents: held,
        },
    );
    assert!(pipe.client.comparing());
    pipe.flow(&mut server, &mut phone, usize::MAX);
    let found = pipe.events.iter().filter_map(|event| match event {
        Event::Differs { found, .. } => Some(found.clone()),
        _ => None,
    });
    let found: Vec<Differs> = found.flatten().collect();
    assert!(
        found.contains(&Differs::Ours(DocumentId([0x42; 16]))),
        "{found:?}"
    );
    let needs: Vec<Range> = found
        .iter()
        .filter_map(|found| match found {
            Differs::Theirs(range) => Some(*range),
            Differs::Ours(_) | Differs::Both { .. } => None,
        })
        .collect();
    pipe.client.handle(
        server.now,
        client::Input::Need {
            prefix: VILLAGE.parse().unwrap(),
            audience: Audience::Unit,
            ranges: needs,
        },
    );
    assert!(pipe.client.comparing());
    pipe.flow(&mut server, &mut phone, usize::MAX);
    let mut sent = wholes(&pipe);
    sent.sort_unstable();
    let mut wanted = vec![lost.0, id];
    wanted.sort_unstable();
    assert_eq!(sent, wanted);
    assert!(!pipe.client.comparing());
    assert!(matches!(pipe.events.last(), Some(Event::UpToDate { .. })));
}

#[test]
fn a_device_asks_in_vain_for_what_it_may_not_see() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut stranger = server.enrolled(4, Role::Officer, &["13.76.01.1002"]);
    let draft = stranger.create("13.76.01.1002", 1, "");
    Pipe::run(&mut server, &mut stranger);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let wanted = Range::of(&draft.envelope.body().document);
    for prefix in [VILLAGE, "13.76.01.1002", "all"] {
        for wanted in [wanted, Range::ALL] {
            let asked = Reconcile {
                prefix: prefix.parse().unwrap(),
                ..compared(Vec::new(), vec![wanted])
            };
            pipe.tell(&mut server, Input::Frame(&plain(asked)));
        }
    }
    pipe.applies = false;
    assert_eq!(pipe.closed, None);
    assert_eq!(wholes(&pipe), []);
}

/// Everything that a device says of what it may hold of `prefix`, so that any document shows.
fn listed(prefix: &str) -> Reconcile {
    let everything = Ranged {
        range: Range::ALL,
        fingerprints: Vec::new().into(),
    };
    Reconcile {
        prefix: prefix.parse().unwrap(),
        ..compared(vec![everything], Vec::new())
    }
}

/// How many documents the server lists in answer to that.
fn documents_listed(sent: &Sent) -> usize {
    let lists = sent.decoded().into_iter().filter_map(|frame| match frame {
        Frame::Reconcile(answer) => Some(answer.lists),
        _ => None,
    });
    lists.flatten().map(|list| list.documents.len()).sum()
}

#[test]
fn only_what_a_device_reads_is_compared_with_it() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut stranger = server.enrolled(4, Role::Officer, &["13.76.01.1002"]);
    phone.create(VILLAGE, 1, "");
    stranger.create("13.76.01.1002", 1, "");
    Pipe::run(&mut server, &mut stranger);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    for (prefix, documents) in [(VILLAGE, 1), ("13.76.01.1002", 0), ("all", 0)] {
        let asked = plain(listed(prefix));
        let sent = server.drive(&mut pipe.session, Input::Frame(&asked));
        assert_eq!(documents_listed(&sent), documents, "{prefix}");
        assert_eq!(sent.closed, None);
    }
}

#[test]
fn what_was_taken_from_a_device_is_not_compared_though_it_takes_no_page() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    phone.create(VILLAGE, 1, "");
    Pipe::run(&mut server, &mut phone);
    let mut writer = server.enrolled(4, Role::Officer, &[VILLAGE]);
    let runs: Vec<_> = (0..60)
        .map(|at| writer.create(VILLAGE, at, &noise(3_000)))
        .collect();
    server.accept(writer.device(), &runs);
    let mut pipe = Pipe::open(&mut server, &phone);
    pipe.applies = false;
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert!(
        !pipe.kinds_down().contains(&"up_to_date"),
        "no credit is left"
    );
    let elsewhere = Grant {
        role: Role::Officer,
        scope: "13.76.01.1002".parse().unwrap(),
    };
    let (wall, device) = (server.wall, phone.device());
    server.ledger.grant(wall, device, vec![elsewhere]).unwrap();
    pipe.tell(&mut server, Input::Advanced);
    let need = Reconcile {
        need: vec![Range::ALL],
        ..listed(VILLAGE)
    };
    let sent = server.drive(&mut pipe.session, Input::Frame(&plain(need)));
    let answers = sent.decoded();
    let [Frame::Reconcile(answer)] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert!(answer.ranges.is_empty() && answer.lists.is_empty());
}

#[test]
fn what_a_unit_took_away_is_not_compared_any_more() {
    const BESIDE: &str = "13.76.01.1002";
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &["13.76.01"]);
    phone.create(VILLAGE, 1, "");
    phone.create(BESIDE, 2, "");
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let mut compare = |server: &mut Server| {
        server.now += 1_000;
        let asked = plain(listed("13.76.01"));
        let sent = server.drive(&mut pipe.session, Input::Frame(&asked));
        (documents_listed(&sent), sent.closed)
    };
    assert_eq!(compare(&mut server), (2, None));
    for moved in 1..=2 * limits::COMPARISONS_MAX {
        let (parent, documents) = match moved % 2 {
            0 => ("13.76.01", 2),
            _ => ("13.71.01", 1),
        };
        let (unit, parent) = (BESIDE.parse().unwrap(), parent.parse().unwrap());
        server
            .ledger
            .move_unit(server.wall, &unit, &parent)
            .unwrap();
        assert_eq!(compare(&mut server), (documents, None));
    }
}

/// As where one subscription is compared while runs that the server lost are given back.
#[test]
fn what_is_recorded_meanwhile_does_not_count_as_comparing_more() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut other = server.enrolled(4, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    for random in 0..=limits::COMPARISONS_MAX {
        let random = u8::try_from(random).unwrap();
        let created = other.create(VILLAGE, random, "");
        server.accept(other.device(), &[created]);
        server.now += 1_000;
        pipe.tell(&mut server, Input::Advanced);
        pipe.flow(&mut server, &mut phone, usize::MAX);
        let asked = plain(listed(VILLAGE));
        let sent = server.drive(&mut pipe.session, Input::Frame(&asked));
        assert_eq!((sent.decoded().len(), sent.closed), (1, None));
    }
}

#[test]
fn a_session_copies_what_it_compares_a_bounded_number_of_times() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE, "13.76.01.1002"]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let mut compare = |server: &mut Server, prefix: &str| {
        server.now += 1_000;
        let asked = plain(listed(prefix));
        let sent = server.drive(&mut pipe.session, Input::Frame(&asked));
        sent.closed.map(|bye| bye.code)
    };
    for _ in 0..limits::COMPARISONS_MAX / 2 {
        // The second time it is the same copy.
        for prefix in [VILLAGE, VILLAGE, "13.76.01.1002"] {
            assert_eq!(compare(&mut server, prefix), None);
        }
    }
    assert_eq!(compare(&mut server, VILLAGE), Some(ByeCode::Flood));
}

/// Each begins the feed anew, with all that has to be read for it.
#[test]
fn a_session_subscribes_a_bounded_number_of_times() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let subscribe = plain(Subscribe {
        scopes: Vec::new(),
        cursor: None,
        compare: false,
        gives: false,
    });
    let mut subscribe = |server: &mut Server| {
        server.now += 1_000;
        let sent = server.drive(&mut pipe.session, Input::Frame(&subscribe));
        sent.closed.map(|bye| bye.code)
    };
    for _ in 1..limits::SUBSCRIBED_MAX {
        assert_eq!(subscribe(&mut server), None);
    }
    assert_eq!(subscribe(&mut server), Some(ByeCode::Flood));
}

#[test]
fn a_difference_that_stays_is_a_finding_once() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    for _ in 0..3 {
        pipe.client.handle(
            server.now,
            client::Input::Survived {
                prefix: VILLAGE.parse().unwrap(),
                audience: Audience::Unit,
                position: 3,
                digest: Digest::default(),
            },
        );
        pipe.flow(&mut server, &mut phone, usize::MAX);
    }
    assert_eq!(pipe.found, ["digest-mismatch"]);
    assert_eq!(server.ledger.reader().findings().count(), 1);
}

#[test]
fn comparisons_without_sense_or_end_are_cut_off() {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let parts = |count: usize| Ranged {
        range: Range::ALL,
        fingerprints: vec![1; 4 * count].into(),
    };
    let mut pipe = Pipe::run(&mut server, &mut phone);
    pipe.tell(
        &mut server,
        Input::Frame(&plain(compared(vec![parts(3)], Vec::new()))),
    );
    assert_eq!(pipe.closed.unwrap().code, ByeCode::Malformed);
}

/// A village with so many documents, and a session of a device that has them all.
fn with_documents(count: u8) -> (Server, Pipe) {
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    for random in 0..count {
        phone.create(VILLAGE, random, "");
    }
    let pipe = Pipe::run(&mut server, &mut phone);
    (server, pipe)
}

/// Asks for parts of every 64th of the ids, by fingerprints that hold of none.
fn made_up() -> Reconcile {
    let ranges = (0..64_u8).map(|at| Ranged {
        range: minicbor::decode(&[0x42, 6, at << 2]).unwrap(),
        fingerprints: vec![1; 4 * 8].into(),
    });
    compared(ranges.collect(), Vec::new())
}

#[test]
fn a_device_that_asks_faster_than_it_reads_is_cut_off() {
    const BESIDE: &str = "13.76.01.1002";
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE, BESIDE]);
    for random in 0..200 {
        phone.create(VILLAGE, random, "");
    }
    let mut pipe = Pipe::run(&mut server, &mut phone);
    // Another copy again and again, so that nothing else bounds what is asked.
    for prefix in [VILLAGE, BESIDE].repeat(limits::COMPARISONS_MAX / 2) {
        let asked = Reconcile {
            prefix: prefix.parse().unwrap(),
            ..made_up()
        };
        let asked = plain(asked);
        for _ in 0..4 {
            server.now += 1_000;
            server.press(&mut pipe.session, &asked);
        }
    }
    pipe.tell(&mut server, Input::Advanced);
    let bye = pipe.closed.take().unwrap();
    assert!(bye.sentence.contains("faster than it reads"), "{bye:?}");
    // And the goodbye itself.
    let waiting = pipe.waiting_down();
    let most = limits::RECONCILE_ANSWER_BYTES_MAX + 100;
    assert!(waiting <= most, "{waiting} bytes wait");
}

#[test]
fn a_device_that_reads_every_answer_and_never_ends_asking_is_cut_off() {
    let mut lists = made_up();
    for ranged in &mut lists.ranges {
        ranged.fingerprints = Vec::new().into();
    }
    // Ranges, parts, and documents that are listed or needed.
    for (asked, counted) in [
        (made_up(), 64 + 64 * 8 + 40),
        (lists, 64 + 40),
        (compared(Vec::new(), vec![Range::ALL]), 1 + 40),
    ] {
        let (mut server, mut pipe) = with_documents(40);
        let asked = plain(asked);
        let enough = limits::COMPARED_PER_DOCUMENT * 40 + limits::COMPARED_AT_LEAST;
        let mut answered = 0;
        let end = loop {
            server.now += 1_000;
            let sent = server.drive(&mut pipe.session, Input::Frame(&asked));
            if let Some(bye) = sent.closed {
                break bye;
            }
            // No page is taken, so that none comes once credit is spent.
            let ended = |frame: &Frame| matches!(frame, Frame::UpToDate(_));
            answered = match sent.decoded().iter().any(ended) {
                true => 0,
                false => answered + 1,
            };
            assert!(answered <= enough / counted, "{answered} were answered");
        };
        assert_eq!((end.code, answered), (ByeCode::Flood, enough / counted));
    }
}

#[test]
fn only_what_is_returned_is_submitted_as_returned() {
    let mut server = Server::new();
    let phone = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut author = server.enrolled(4, Role::Officer, &[VILLAGE]);
    let run = author.create(VILLAGE, 1, "");
    let mut phone = phone;
    phone.compare = true;
    let mut pipe = Pipe::run(&mut server, &mut phone);
    pipe.client.handle(
        server.now,
        client::Input::Offer(vec![client::Offer {
            run: run.id(),
            bytes: run.to_bytes(),
            returned: true,
        }]),
    );
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(pipe.accepted(), [run.id()]);
    // Named only: the device that returned it holds it.
    let named = |event: &Event| {
        matches!(event, Event::Page { items, .. }
            if items.iter().any(|item| matches!(item, Item::Own { run: named, .. } if *named == run.id())))
    };
    assert_eq!(pipe.said(named), 1, "{:?}", pipe.events);
    let pushed = pipe
        .sent_up
        .iter()
        .filter_map(|bytes| match crate::frame::decode(bytes) {
            Ok(Some(Frame::Push(push))) => Some(push.returned),
            _ => None,
        });
    assert_eq!(pushed.collect::<Vec<_>>(), [true]);
}

/// A driver asks before, so that nobody else waits for it.
#[test]
fn only_what_a_session_has_no_copy_of_takes_a_walk() {
    const BESIDE: &str = "13.76.01.1002";
    let mut server = Server::new();
    let mut phone = server.enrolled(3, Role::Officer, &[VILLAGE, BESIDE]);
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let mut walks = |server: &mut Server, asked: Reconcile| {
        server.now += 1_000;
        let frame = plain(asked);
        let walks = server.walks(&pipe.session, &frame);
        server.drive(&mut pipe.session, Input::Frame(&frame));
        walks
    };
    let survived = Survived {
        position: 3,
        digest: Digest::default(),
    };
    let survived = Reconcile {
        survived: Some(survived),
        ..listed(VILLAGE)
    };
    let asked = [
        (listed(VILLAGE), true),
        (listed(VILLAGE), false),
        (listed(BESIDE), true),
        (listed(VILLAGE), true),
        (listed("13.71.01.1001"), false),
        (survived, false),
    ];
    for (asked, expected) in asked {
        let of = format!("{asked:?}");
        assert_eq!(walks(&mut server, asked), expected, "{of}");
    }
}
