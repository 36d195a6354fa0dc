//! Comparisons of several subscriptions in one session.

use std::collections::BTreeSet;

use bukti_core::authority::{Audience, Grant, Role};
use bukti_core::id::{ChangeHash, DocumentId};
use bukti_core::limits::GRANTS_MAX;
use bukti_core::scope::Scope;

use super::reconciling::wholes;
use super::setting::{Phone, Pipe, Server, VILLAGE, needed};
use crate::client::{self, Event};
use crate::frame::{Frame, decode};
use crate::server::Input;

const BESIDE: &str = "13.76.01.1002";

type Held = Vec<(DocumentId, Vec<ChangeHash>)>;

/// Documents that the server has of a village.
fn written(server: &mut Server, writer: &mut Phone, village: &str, count: u8) -> Held {
    let runs: Vec<_> = (0..count)
        .map(|random| writer.create(village, random, ""))
        .collect();
    server.accept(writer.device(), &runs);
    let heads = runs.iter().map(|run| {
        let body = run.envelope.body();
        (body.document, vec![body.last_hash])
    });
    heads.collect()
}

fn compare(prefix: &str, salt: u64, documents: Held) -> client::Input<'static> {
    client::Input::Compare {
        prefix: prefix.parse().unwrap(),
        audience: Audience::Unit,
        salt,
        documents,
    }
}

/// A device that is up to date with two villages and holds no documents of theirs.
fn empty_handed(server: &mut Server) -> (Phone, Pipe) {
    let mut phone = server.enrolled(4, Role::Officer, &[VILLAGE, BESIDE]);
    phone.compare = true;
    let pipe = Pipe::run(server, &mut phone);
    assert!(wholes(&pipe).is_empty(), "it compares");
    (phone, pipe)
}

/// Of which subscription each comparing frame of the device was, in their order.
fn asked(pipe: &Pipe) -> Vec<Scope> {
    let frames = pipe.sent_up.iter().map(|bytes| decode(bytes).unwrap());
    let asked = frames.filter_map(|frame| match frame {
        Some(Frame::Reconcile(asked)) => Some(asked.prefix),
        _ => None,
    });
    asked.collect()
}

/// Lets time pass whenever the device waits for that.
fn settle(pipe: &mut Pipe, server: &mut Server, phone: &mut Phone) {
    loop {
        pipe.flow(server, phone, usize::MAX);
        let Some(due) = pipe.client.deadline() else {
            return;
        };
        server.now = due;
        pipe.client.handle(due, client::Input::Tick);
    }
}

#[test]
fn a_device_compares_all_subscriptions_that_it_may_have_in_one_session() {
    let villages = (0..GRANTS_MAX).map(|at| format!("13.76.01.{}", 1_001 + at));
    let villages: Vec<String> = villages.collect();
    let scopes: Vec<&str> = villages.iter().map(String::as_str).collect();
    let mut server = Server::new();
    let mut writer = server.enrolled(3, Role::Officer, &scopes);
    let mut phone = server.enrolled(4, Role::Officer, &scopes);
    phone.compare = true;
    let mut unknown = BTreeSet::new();
    let mut comparisons = Vec::new();
    for (salt, village) in (1..).zip(&villages) {
        let mut held = written(&mut server, &mut writer, village, 21);
        unknown.extend(held.pop().map(|(document, _)| document));
        comparisons.push(compare(village, salt, held));
    }
    let mut pipe = Pipe::run(&mut server, &mut phone);
    let began = server.now;
    pipe.asks = true;
    for comparison in comparisons {
        pipe.client.handle(server.now, comparison);
    }
    settle(&mut pipe, &mut server, &mut phone);
    assert_eq!((pipe.closed.as_ref(), pipe.bye()), (None, None));
    assert_eq!(BTreeSet::from_iter(wholes(&pipe)), unknown);
    assert!(!pipe.client.comparing());
    // One after the other, each in a few frames.
    let mut order = asked(&pipe);
    order.dedup();
    assert_eq!(order.len(), GRANTS_MAX);
    let took = server.now - began;
    assert!(took <= 5_000, "{took} ms besides what the link takes");
}

#[test]
fn what_one_comparison_asked_for_is_here_though_the_next_is_under_way() {
    let mut server = Server::new();
    let mut writer = server.enrolled(3, Role::Officer, &[VILLAGE, BESIDE]);
    let lacking = written(&mut server, &mut writer, VILLAGE, 1);
    let held = written(&mut server, &mut writer, BESIDE, 1);
    let (mut phone, mut pipe) = empty_handed(&mut server);
    pipe.asks = true;
    for comparison in [compare(VILLAGE, 1, Vec::new()), compare(BESIDE, 2, held)] {
        pipe.client.handle(server.now, comparison);
    }
    // Two frames each way find what is lacking and ask for it: it need not come before the next.
    pipe.flow(&mut server, &mut phone, 5);
    assert_eq!(
        (asked(&pipe).last(), wholes(&pipe).len()),
        (BESIDE.parse().ok().as_ref(), 0)
    );
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert_eq!(wholes(&pipe), [lacking[0].0]);
    assert!(!pipe.client.comparing(), "nothing more is to come");
}

#[test]
fn an_end_that_was_on_its_way_before_the_answer_is_not_the_end_of_what_was_asked_for() {
    let mut server = Server::new();
    let mut writer = server.enrolled(3, Role::Officer, &[VILLAGE, BESIDE]);
    written(&mut server, &mut writer, VILLAGE, 1);
    let (mut phone, mut pipe) = empty_handed(&mut server);
    let comparison = compare(VILLAGE, 1, Vec::new());
    pipe.client.handle(server.now, comparison);
    pipe.flow(&mut server, &mut phone, usize::MAX);
    let need = pipe.events.iter().find_map(needed).unwrap();
    pipe.client.handle(server.now, need);
    written(&mut server, &mut writer, BESIDE, 1);
    pipe.tell(&mut server, Input::Advanced);
    pipe.hear(&mut server, &mut phone);
    // The need, and its answer.
    pipe.flow(&mut server, &mut phone, 2);
    assert!(matches!(pipe.events.last(), Some(Event::UpToDate { .. })));
    assert!(pipe.client.comparing(), "it did not come yet");
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert!(!pipe.client.comparing());
}

#[test]
fn what_was_asked_for_and_is_not_granted_any_more_is_not_waited_for() {
    let mut server = Server::new();
    let mut writer = server.enrolled(3, Role::Officer, &[VILLAGE]);
    written(&mut server, &mut writer, VILLAGE, 1);
    let (mut phone, mut pipe) = empty_handed(&mut server);
    let comparison = compare(VILLAGE, 1, Vec::new());
    pipe.client.handle(server.now, comparison);
    pipe.flow(&mut server, &mut phone, usize::MAX);
    let need = pipe.events.iter().find_map(needed).unwrap();
    pipe.client.handle(server.now, need);
    // The rest is granted, and the device hears of that before what it asks for is read.
    let rest = Grant {
        role: Role::Officer,
        scope: BESIDE.parse().unwrap(),
    };
    let (wall, device) = (server.wall, phone.device());
    server.ledger.grant(wall, device, vec![rest]).unwrap();
    pipe.tell(&mut server, Input::Advanced);
    pipe.hear(&mut server, &mut phone);
    assert!(
        matches!(pipe.events.last(), Some(Event::UpToDate { digests, .. }) if digests.len() == 1)
    );
    assert!(pipe.client.comparing(), "its frame is not answered");
    pipe.flow(&mut server, &mut phone, usize::MAX);
    assert!(wholes(&pipe).is_empty());
    assert!(!pipe.client.comparing());
}

#[test]
fn which_comparison_comes_first_is_drawn() {
    let mut server = Server::new();
    let (mut phone, mut pipe) = empty_handed(&mut server);
    for (prefix, salt) in [(VILLAGE, 7), (BESIDE, 3)] {
        let comparison = compare(prefix, salt, Vec::new());
        pipe.client.handle(server.now, comparison);
    }
    pipe.flow(&mut server, &mut phone, usize::MAX);
    let order = [BESIDE, VILLAGE].map(|prefix| prefix.parse().unwrap());
    assert_eq!(asked(&pipe), order);
}
