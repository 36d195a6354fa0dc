//! Pages of the feed that no honest server would send, and some that only look like that.

use automerge::transaction::Transactable;
use automerge::{ActorId, ObjType, ROOT, ReadDoc};
use bukti_core::authority::Role;
use bukti_core::change::forge;
use bukti_core::envelope::Run;
use bukti_core::evidence::Edit;
use bukti_core::id::DocumentId;
use bukti_core::limits::DOCUMENT_PLACES_MAX;
use bukti_sync_protocol::client::Event;
use bukti_sync_protocol::item::{Envelope, Item};

use super::world::{NOW, Phone, WARD, World};

fn take(phone: &mut Phone, item: Item) {
    let page = Event::Page {
        items: vec![item],
        cursor: b"cursor".to_vec(),
    };
    phone.device().handle_event(NOW, [7; 16], &page).unwrap();
}

/// Runs of which the first shows more values than a document may, and the second no more.
fn too_much_and_less(phone: &mut Phone, id: &DocumentId) -> [Run; 2] {
    let device = phone.device();
    let actor = ActorId::from(device.actor(id).0);
    let mut document = device.document(id).unwrap().unwrap().clone();
    document.set_actor(actor);
    let mut change = |edit: &dyn Fn(&mut automerge::transaction::Transaction<'_>)| {
        let mut transaction = document.transaction();
        edit(&mut transaction);
        transaction.commit();
        let change = document.get_last_local_change().unwrap();
        change.raw_bytes().to_vec()
    };
    let more = change(&|transaction| {
        let list = transaction.put_object(ROOT, "list", ObjType::List).unwrap();
        let values = (0..DOCUMENT_PLACES_MAX).map(|_| automerge::hydrate::Value::from(1_i64));
        transaction.splice(&list, 0, 0, values).unwrap();
    });
    let less = change(&|transaction| {
        let (_, list) = transaction.get(ROOT, "list").unwrap().unwrap();
        for _ in 0..1_100 {
            transaction.delete(&list, 0).unwrap();
        }
    });
    let mut moment = device.moment(NOW);
    [more, less].map(|change| {
        let run = device.enclose(&moment, *id, None, vec![change], false);
        moment.behind += 1;
        run.unwrap()
    })
}

#[test]
fn a_page_may_end_between_runs_that_were_accepted_together() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    world.sync(&mut budi);
    let carrier = siti.device().id();
    let position = world.ledger.reader().watermark().position;
    let runs = too_much_and_less(&mut siti, &id);
    for (behind, run) in (1..).zip(&runs) {
        take(
            &mut budi,
            Item::Record {
                position: position + behind,
                received_at: NOW,
                carrier,
                run: run.to_bytes(),
            },
        );
    }
    assert_eq!(budi.device().findings().unwrap(), []);
    let row = budi.device().confirmed.document(&id).unwrap().unwrap();
    assert_eq!(row.heads, [runs[1].envelope.body().last_hash]);
}

/// What the server says of a run that the device holds: as a record, with the whole document, or
/// named alone.
fn said_again(world: &World, phone: &mut Phone, id: &DocumentId, at: i64) -> [Item; 3] {
    let reader = world.ledger.reader();
    let whole = reader.whole(id).unwrap().unwrap();
    let device = phone.device();
    let held = device.confirmed.envelopes(id).unwrap().remove(0);
    let body = held.envelope.body().clone();
    let document = device.document(id).unwrap().unwrap();
    let changes = document.get_changes(&[]);
    let run = Run {
        envelope: held.envelope.clone(),
        changes: vec![changes[0].raw_bytes().to_vec()],
    };
    let carrier = bukti_core::id::DeviceId([9; 32]);
    [
        Item::Record {
            position: held.position,
            received_at: at,
            carrier,
            run: run.to_bytes(),
        },
        Item::Whole {
            document: *id,
            as_of: held.position,
            published: false,
            saved: whole.saved.to_vec(),
            envelopes: vec![Envelope {
                position: held.position,
                received_at: at,
                carrier,
                bytes: held.envelope.bytes().to_vec(),
            }],
        },
        Item::Own {
            position: held.position,
            received_at: at,
            run: run.id(),
            document: *id,
            last_seq: body.last_seq(),
            last_hash: body.last_hash,
        },
    ]
}

#[test]
fn evidence_stays_received_when_it_first_was_and_an_earlier_time_is_told() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let held = siti.device().confirmed.envelopes(&id).unwrap();
    let row = siti.device().confirmed.document(&id).unwrap();
    for (told, item) in (1..).zip(said_again(&world, &mut siti, &id, NOW - 1)) {
        take(&mut siti, item);
        let findings = siti.device().findings().unwrap();
        assert_eq!(findings.len(), told);
        assert_eq!(findings[told - 1].code, "received-otherwise");
        assert_eq!(siti.device().confirmed.envelopes(&id).unwrap(), held);
        assert_eq!(siti.device().confirmed.document(&id).unwrap(), row);
    }
}

#[test]
fn what_a_server_lost_and_took_back_later_stays_received_when_it_first_was() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let backup = world.journal.duplicate();
    let id = world.create(&mut siti, "Papan");
    let edit = [Edit::AddRow("1.1".into())];
    siti.device().edit(NOW, &id, &edit).unwrap();
    world.sync(&mut siti);
    world.restore(backup);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    world.create(&mut budi, "Sebelum itu");
    world.now = NOW + 10;
    world.sync(&mut budi);
    world.sync(&mut siti);
    let there = world.ledger.reader().envelopes(&id).unwrap();
    let here = siti.device().confirmed.envelopes(&id).unwrap();
    let placed = |rows: &[_]| -> Vec<u64> {
        rows.iter()
            .map(|row: &super::super::confirmed::EnvelopeRow| row.position)
            .collect()
    };
    assert!(there.iter().all(|row| row.received_at == NOW + 10));
    assert!(here.iter().all(|row| row.received_at == NOW));
    let positions: Vec<_> = there.iter().map(|row| row.position).collect();
    assert_eq!(placed(&here), positions);
    assert_eq!(siti.device().findings().unwrap(), []);
}

#[test]
fn a_document_that_stands_for_more_than_one_may_hold_is_a_finding_and_stops_nothing() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let [_record, whole, _own] = said_again(&world, &mut siti, &id, NOW);
    let Item::Whole { envelopes, .. } = whole else {
        panic!("{whole:?}");
    };
    let actions = (0x42, forge::run(i64::MAX, &forge::unsigned(1)));
    let lie = Item::Whole {
        document: id,
        as_of: 1,
        published: false,
        saved: forge::saved(&[], &[actions]),
        envelopes,
    };
    take(&mut budi, lie);
    let findings = budi.device().findings().unwrap();
    assert_eq!(
        (findings.len(), findings[0].code.as_str()),
        (1, "unsound-document")
    );
    let sentence = &findings[0].sentence;
    assert!(sentence.contains("it stands for more than"), "{sentence}");
    world.sync(&mut budi);
    assert_eq!(budi.titles(), ["Papan"]);
}
