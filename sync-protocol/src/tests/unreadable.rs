//! A journal of which a record cannot be read any more, while sessions go on.

use bukti_core::authority::{Audience, Role};
use bukti_core::id::DocumentId;

use super::setting::{Phone, Pipe, Server, VILLAGE, WALL, noise, plain};
use crate::bye::ByeCode;
use crate::client::Event;
use crate::frame::{Features, Frame, Reconcile, Statements, encode};
use crate::item::{FeedItem, Item};
use crate::limits;
use crate::reconcile::Range;
use crate::server::Input;

/// A server with two officers of one village, of whom the second was up to date before the first
/// wrote anything.
fn server_with_a_reader() -> (Server, Phone, Phone) {
    let mut server = Server::new();
    let writer = server.enrolled(3, Role::Officer, &[VILLAGE]);
    let mut reader = server.enrolled(4, Role::Officer, &[VILLAGE]);
    Pipe::run(&mut server, &mut reader);
    (server, writer, reader)
}

/// A server with an officer whose cursor lies in a group of which the header is damaged.
fn server_that_cannot_check_a_cursor() -> (Server, Phone) {
    let (mut server, mut writer, mut reader) = server_with_a_reader();
    writer.create(VILLAGE, 1, "");
    Pipe::run(&mut server, &mut writer);
    Pipe::run(&mut server, &mut reader);
    server.damage_last_header();
    server.ledger.checkpoint(WALL).unwrap();
    (server, reader)
}

/// What came of documents, in its order.
fn items(pipe: &Pipe) -> Vec<(&'static str, DocumentId)> {
    let pages = pipe.events.iter().filter_map(|event| match event {
        Event::Page { items, .. } => Some(items),
        _other => None,
    });
    let run_of = |run: &[u8]| bukti_core::envelope::Run::open(run).unwrap();
    pages
        .flatten()
        .filter_map(|item| match item {
            Item::Record { run, .. } => Some(("run", run_of(run).envelope.body().document)),
            Item::Whole { document, .. } => Some(("whole", *document)),
            Item::Own { .. } | Item::Fact { .. } => None,
        })
        .collect()
}

fn is_up_to_date(pipe: &Pipe) -> bool {
    pipe.said(|event| matches!(event, Event::UpToDate { .. })) > 0
}

/// The time is over: the device is told to come back once somebody has repaired the journal.
fn is_let_go(mut pipe: Pipe, server: &mut Server, reader: &mut Phone) {
    pipe.tell(server, Input::Tick);
    pipe.flow(server, reader, usize::MAX);
    assert_eq!(pipe.bye(), Some(ByeCode::Fault));
    let bye = pipe.closed.unwrap();
    assert_eq!(bye.retry_after_ms, Some(limits::REPAIR_RETRY_MS));
}

#[test]
fn a_run_that_cannot_be_read_comes_with_its_whole_document() {
    for (damaged, first) in [(0, vec!["whole"]), (1, vec!["run", "whole"])] {
        let (mut server, mut writer, mut reader) = server_with_a_reader();
        let [created, _] = writer.create_and_edit(VILLAGE, 1);
        let bytes = writer.tail[damaged].1.clone();
        let other = writer.create(VILLAGE, 2, "");
        Pipe::run(&mut server, &mut writer);
        server.damage(&bytes);
        let pipe = Pipe::run(&mut server, &mut reader);
        let [one, two] = [&created, &other].map(|run| run.envelope.body().document);
        let mut expected: Vec<_> = first.into_iter().map(|kind| (kind, one)).collect();
        expected.push(("run", two));
        assert_eq!(items(&pipe), expected);
        assert_eq!((is_up_to_date(&pipe), pipe.bye()), (true, None));
        let pipe = Pipe::run(&mut server, &mut reader);
        assert_eq!(items(&pipe), [], "it has all that is there");
    }
}

#[test]
fn pages_may_end_in_a_group_of_which_a_record_cannot_be_read() {
    let (mut server, mut writer, mut reader) = server_with_a_reader();
    let text = |at: u8| format!("{at} {}", noise(1_500));
    let runs: Vec<_> = (0..12)
        .map(|at| writer.create(VILLAGE, at, &text(at)))
        .collect();
    server.accept(writer.device(), &runs);
    server.damage(&writer.tail[6].1);
    let pipe = Pipe::run(&mut server, &mut reader);
    assert!(pipe.said(|event| matches!(event, Event::Page { .. })) > 3);
    let came = items(&pipe).into_iter().map(|(_, document)| document);
    let written = runs.iter().map(|run| run.envelope.body().document);
    assert!(came.eq(written));
    assert_eq!((is_up_to_date(&pipe), pipe.bye()), (true, None));
}

#[test]
fn what_stands_before_a_statement_that_cannot_be_read_comes() {
    let (mut server, mut writer, mut reader) = server_with_a_reader();
    let before = [1, 2].map(|random| writer.create(VILLAGE, random, ""));
    server.accept(writer.device(), &before);
    let other = server.enrolled(5, Role::Officer, &[VILLAGE]);
    let behind = writer.create(VILLAGE, 3, "");
    server.accept(writer.device(), &[behind]);
    server.damage(&other.certificate);
    let pipe = Pipe::run(&mut server, &mut reader);
    let expected = before.map(|run| ("run", run.envelope.body().document));
    assert_eq!(items(&pipe), expected);
    assert_eq!((is_up_to_date(&pipe), pipe.bye()), (false, None));
    server.now += limits::UNREADABLE_QUIET_MS;
    is_let_go(pipe, &mut server, &mut reader);
    let pipe = Pipe::run(&mut server, &mut reader);
    assert_eq!(items(&pipe), [], "it has all that can be read");
}

#[test]
fn what_a_device_needs_comes_though_a_statement_behind_it_cannot_be_read() {
    let (mut server, mut writer, mut reader) = server_with_a_reader();
    let run = writer.create(VILLAGE, 1, "");
    server.accept(writer.device(), std::slice::from_ref(&run));
    let mut pipe = Pipe::run(&mut server, &mut reader);
    let other = server.enrolled(5, Role::Officer, &[VILLAGE]);
    server.damage(&other.certificate);
    let document = run.envelope.body().document;
    let need = Reconcile {
        prefix: VILLAGE.parse().unwrap(),
        audience: Audience::Unit,
        salt: 1,
        ranges: Vec::new(),
        lists: Vec::new(),
        need: vec![Range::of(&document)],
        survived: None,
        more: false,
    };
    let sent = server.drive(&mut pipe.session, Input::Frame(&plain(need)));
    let frames = sent.decoded();
    let [Frame::Reconcile(_), Frame::Feed(feed)] = &frames[..] else {
        panic!("{frames:?}");
    };
    let [FeedItem::Inline(Item::Whole { document: came, .. })] = &feed.items[..] else {
        panic!("{:?}", feed.items);
    };
    assert_eq!((*came, sent.closed), (document, None));
}

#[test]
fn what_a_device_gives_is_taken_though_it_cannot_be_fed() {
    let (mut server, _, mut reader) = server_with_a_reader();
    let other = server.enrolled(5, Role::Officer, &[VILLAGE]);
    server.damage(&other.certificate);
    let run = reader.create(VILLAGE, 1, "");
    let mut pipe = Pipe::run(&mut server, &mut reader);
    assert_eq!(pipe.accepted(), [run.id()]);
    assert_eq!((is_up_to_date(&pipe), pipe.bye()), (false, None));

    server.now += limits::UNREADABLE_QUIET_MS - 1;
    pipe.tell(&mut server, Input::Tick);
    let late = reader.create(VILLAGE, 2, "");
    let offer = vec![reader.tail[0].clone().into()];
    pipe.client
        .handle(server.now, crate::client::Input::Offer(offer));
    pipe.flow(&mut server, &mut reader, usize::MAX);
    assert_eq!(pipe.accepted(), [run.id(), late.id()], "it is heard out");

    server.now += limits::UNREADABLE_QUIET_MS - 1;
    pipe.tell(&mut server, Input::Tick);
    pipe.flow(&mut server, &mut reader, usize::MAX);
    assert_eq!(
        pipe.bye(),
        None,
        "as long as it has not been quiet for a while"
    );
    server.now += 1;
    is_let_go(pipe, &mut server, &mut reader);
}

#[test]
fn what_a_device_gives_is_taken_though_its_cursor_cannot_be_checked() {
    let (mut server, mut reader) = server_that_cannot_check_a_cursor();
    let run = reader.create(VILLAGE, 2, "");
    let pipe = Pipe::run(&mut server, &mut reader);
    assert_eq!(pipe.accepted(), [run.id()]);
    assert_eq!((is_up_to_date(&pipe), pipe.bye()), (false, None));
    server.now += limits::UNREADABLE_QUIET_MS;
    is_let_go(pipe, &mut server, &mut reader);
}

#[test]
fn what_came_behind_statements_is_taken_though_the_cursor_cannot_be_checked() {
    let (mut server, mut reader) = server_that_cannot_check_a_cursor();
    reader.owed = vec![super::samples::certificate()];
    let run = reader.create(VILLAGE, 2, "");
    server.judges = false;
    let mut pipe = Pipe::run(&mut server, &mut reader);
    assert_eq!(pipe.submitted, 0, "it waits for the statement");
    server.judges = true;
    pipe.tell(&mut server, Input::TakenBack(None));
    pipe.flow(&mut server, &mut reader, usize::MAX);
    assert_eq!(pipe.accepted(), [run.id()]);
    assert_eq!(pipe.bye(), None);
}

#[test]
fn a_moment_without_descriptors_is_no_damage_and_the_device_may_come_again_at_once() {
    let (mut server, _, mut reader) = server_with_a_reader();
    server.ledger.checkpoint(WALL).unwrap();
    let run = reader.create(VILLAGE, 1, "");
    server.lack_descriptors();
    let pipe = Pipe::run(&mut server, &mut reader);
    assert_eq!(pipe.bye(), Some(ByeCode::Fault));
    assert_eq!(pipe.closed.unwrap().retry_after_ms, None);
    let pipe = Pipe::run(&mut server, &mut reader);
    assert_eq!(pipe.accepted(), [run.id()]);
    assert_eq!((is_up_to_date(&pipe), pipe.bye()), (true, None));
}

#[test]
fn a_revoked_device_is_told_so_though_the_statement_is_damaged() {
    let (mut server, _, mut reader) = server_with_a_reader();
    let device = reader.device();
    server.ledger.revoke(WALL, device).unwrap();
    let statement = server.ledger.reader().revocation(&device).unwrap().unwrap();
    server.damage(&statement);
    let pipe = Pipe::run(&mut server, &mut reader);
    assert_eq!(pipe.bye(), Some(ByeCode::Revoked));
    assert_eq!(pipe.closed.unwrap().statement, None);
}

#[test]
fn a_device_that_cannot_be_fed_is_heard_out_after_its_statements_are_in() {
    let (mut server, _, mut reader) = server_with_a_reader();
    let other = server.enrolled(5, Role::Officer, &[VILLAGE]);
    server.damage(&other.certificate);
    server.judges = false;
    let mut pipe = Pipe::run(&mut server, &mut reader);
    let statements = Statements {
        statements: vec![other.certificate.clone().into()],
        last: true,
    };
    let frame = encode(&statements.into(), Features::default());
    pipe.tell(&mut server, Input::Frame(&frame));
    server.now += 10 * limits::UNREADABLE_QUIET_MS;
    pipe.tell(&mut server, Input::TakenBack(None));
    pipe.tell(&mut server, Input::Tick);
    assert_eq!(pipe.closed, None, "it may give what follows its statements");
    server.now += limits::UNREADABLE_QUIET_MS;
    pipe.tell(&mut server, Input::Tick);
    assert!(pipe.closed.is_some());
}

#[test]
fn a_device_that_cannot_be_fed_is_not_let_go_while_something_of_it_is_judged() {
    let (mut server, _, mut reader) = server_with_a_reader();
    let other = server.enrolled(5, Role::Officer, &[VILLAGE]);
    server.damage(&other.certificate);
    server.judges = false;
    let run = reader.create(VILLAGE, 1, "");
    let mut pipe = Pipe::run(&mut server, &mut reader);
    server.now += 10 * limits::UNREADABLE_QUIET_MS;
    pipe.tell(&mut server, Input::Tick);
    assert_eq!(pipe.closed, None);
    let outcomes = server.accept(reader.device(), std::slice::from_ref(&run));
    pipe.tell(&mut server, Input::Judged(outcomes));
    pipe.flow(&mut server, &mut reader, usize::MAX);
    assert_eq!(pipe.accepted(), [run.id()]);
    server.now += limits::UNREADABLE_QUIET_MS;
    pipe.tell(&mut server, Input::Tick);
    assert!(pipe.closed.is_some());
}

/// The device meets a row that is another now: the server ends, and behind the next start the device gives
/// what it has and gets what there is.
fn ends_and_starts_again(
    mut server: Server,
    mut reader: Phone,
    key: &[u8],
    value: Option<&[u8]>,
) -> Pipe {
    server.damage_row(key, value);
    let own = reader.create(VILLAGE, 9, "");
    let pipe = Pipe::run(&mut server, &mut reader);
    assert_eq!(pipe.bye(), Some(ByeCode::Fault));
    assert_eq!(pipe.accepted(), [], "it came behind what was asked for");
    assert!(server.ledger.has_failed());

    assert!(server.start_again(), "the rows are made anew");
    let pipe = Pipe::run(&mut server, &mut reader);
    assert_eq!(pipe.accepted(), [own.id()]);
    assert_eq!((is_up_to_date(&pipe), pipe.bye()), (true, None));
    pipe
}

#[test]
fn a_row_of_an_owed_document_that_is_damaged_or_gone_ends_the_server_and_locks_nobody_out() {
    for value in [Some(&b"no row"[..]), None] {
        let mut server = Server::new();
        let mut writer = server.enrolled(3, Role::Officer, &[VILLAGE]);
        let reader = server.enrolled(4, Role::Officer, &[VILLAGE]);
        let owed = [1, 2].map(|random| writer.create(VILLAGE, random, ""));
        server.accept(writer.device(), &owed);
        let mut documents = owed.map(|run| run.envelope.body().document);
        let key = [b"d", &documents[0].0[..]].concat();
        let pipe = ends_and_starts_again(server, reader, &key, value);
        let mut came: Vec<_> = items(&pipe).into_iter().map(|(_, of)| of).collect();
        came.sort_unstable();
        documents.sort_unstable();
        assert_eq!(came, documents);
    }
}

#[test]
fn an_index_that_leads_to_a_statement_instead_of_a_run_ends_the_server_as_well() {
    let (mut server, mut writer, reader) = server_with_a_reader();
    let run = writer.create(VILLAGE, 1, "");
    server.accept(writer.device(), std::slice::from_ref(&run));
    let rows = server.ledger.reader();
    let mut records = rows.scope_records(&VILLAGE.parse().unwrap(), 0, 1_000);
    let (position, document, _) = records.next().unwrap().unwrap();
    let (_, statement) = rows.facts(0, 1_000).next().unwrap().unwrap();
    let key = [b"s", VILLAGE.as_bytes(), &[0], &position.to_be_bytes()].concat();
    let value = [&document.0[..], &statement.place.place().to_bytes()].concat();
    drop(records);
    let pipe = ends_and_starts_again(server, reader, &key, Some(&value));
    assert_eq!(items(&pipe), [("run", document)]);
}
