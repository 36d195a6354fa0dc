//! What is told of evidence that a server lost, until it is given back.

use bukti_core::authority::{Audience, Role};
use bukti_core::digest::Digest;
use bukti_core::evidence::Edit;
use bukti_core::id::{DocumentId, JournalId};
use bukti_core::record::{Fact, MoveFact, Signed, Statement};
use bukti_sync_protocol::client::Event;
use bukti_sync_protocol::item::Item;
use ed25519_dalek::SigningKey;

use super::differing::spoil;
use super::world::{NOW, Phone, WARD, World};
use crate::device::{Delivery, Reaction};

/// Documents that are to be given back by the status, the list and one by one.
fn to_give_back(phone: &mut Phone, ids: &[DocumentId]) -> usize {
    let is_awaited = |delivery: &Delivery| matches!(delivery, Delivery::ToGiveBack { .. });
    let told = phone.device().status().unwrap().to_give_back;
    let list = phone.device().list().unwrap().into_iter();
    let listed = list.filter(|line| is_awaited(&line.delivery)).count();
    let each = ids.iter();
    let each = each.map(|id| phone.device().delivery(id).unwrap());
    assert_eq!((listed, each.filter(is_awaited).count()), (told, told));
    told
}

/// Syncs, cut as soon as the device heard of a loss, before it gave anything back.
pub(super) fn hear_of_loss(world: &mut World, phone: &mut Phone) {
    for frames in 1..100 {
        world.session(phone, frames);
        if phone.device().confirmed.meta().has_lost_history {
            return;
        }
    }
    panic!("the device does not hear of it");
}

#[test]
fn evidence_that_a_server_rolled_back_may_lack_is_not_received() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let old = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let backup = world.journal.duplicate();
    let lost = world.create(&mut siti, "Baru");
    world.sync(&mut siti);
    world.restore(backup);
    let ids = [old, lost];
    assert_eq!(to_give_back(&mut siti, &ids), 0);
    hear_of_loss(&mut world, &mut siti);
    siti.reopen();
    assert_eq!(to_give_back(&mut siti, &ids), 2);
    let edit = [Edit::AddRow("1.1".into())];
    siti.device().edit(NOW, &lost, &edit).unwrap();
    let unsent = Delivery::ToGiveBack { unsent: 1 };
    assert_eq!(siti.device().delivery(&lost).unwrap(), unsent);
    world.sync(&mut siti);
    assert_eq!(to_give_back(&mut siti, &ids), 0);
    assert_eq!(siti.device().delivery(&lost).unwrap(), Delivery::Received);
}

#[test]
fn evidence_that_an_unconfirmed_device_gave_back_is_received() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let mut anew = World::founded(1, JournalId([8; 16]));
    // What is not sent to the device before it is confirmed, so that both sides differ till then.
    let mut budi = anew.phone("Budi", Role::Officer, WARD);
    anew.create(&mut budi, "Baliho");
    anew.sync(&mut budi);
    hear_of_loss(&mut anew, &mut siti);
    assert_eq!(to_give_back(&mut siti, &[id]), 1);
    anew.sync(&mut siti);
    assert!(siti.device().status().unwrap().awaits_confirmation);
    assert!(siti.device().confirmed.meta().has_lost_history);
    assert_eq!(to_give_back(&mut siti, &[id]), 0);
    assert_eq!(siti.device().delivery(&id).unwrap(), Delivery::Received);
}

#[test]
fn a_difference_that_stays_leaves_nothing_to_be_given_back() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let old = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let backup = world.journal.duplicate();
    let lost = world.create(&mut siti, "Baru");
    world.sync(&mut siti);
    spoil(&mut siti);
    world.restore(backup);
    let ids = [old, lost];
    hear_of_loss(&mut world, &mut siti);
    assert_eq!(to_give_back(&mut siti, &ids), 2);
    world.sync(&mut siti);
    assert_eq!(to_give_back(&mut siti, &ids), 0);
    assert!(siti.device().confirmed.meta().has_lost_history);

    // The same difference behind another loss is known, and not compared.
    world.sync(&mut siti);
    let backup = world.journal.duplicate();
    let device = siti.device().id();
    let grants = siti.device().grants().to_vec();
    world.ledger.grant(NOW + 1, device, grants).unwrap();
    world.sync(&mut siti);
    world.restore(backup);
    hear_of_loss_again(&mut world, &mut siti, &ids);
    let before = world.comparisons;
    world.sync(&mut siti);
    assert_eq!(world.comparisons, before);
    assert_eq!(to_give_back(&mut siti, &ids), 0);
}

/// What was compared before is not what lies there then, and a watch does not end for days.
#[test]
fn what_is_compared_is_compared_again_in_the_session_in_which_a_unit_moves() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    siti.device().opening(Vec::new(), "").unwrap();
    let up_to_date = |differs: u8| Event::UpToDate {
        cursor: vec![7],
        position: 9,
        digests: vec![(
            WARD.parse().unwrap(),
            Audience::Unit,
            Digest::from([differs; 32]),
            1,
        )],
    };
    let mut hears = |event: &Event| {
        let device = siti.device();
        let reaction = device.handle_event(NOW, [4; 16], event).unwrap();
        let told = device.conclude(NOW, false).unwrap().len();
        let compares = matches!(reaction, Reaction::Compare { compare, .. } if !compare.is_empty());
        (compares, told, to_give_back(&mut siti, &[id]))
    };
    assert_eq!(hears(&Event::Void), (false, 0, 1));
    assert_eq!(hears(&up_to_date(7)), (true, 0, 0));
    let [unit, parent] = ["13.76.02.1002", "13.76.01"].map(|scope| scope.parse().unwrap());
    let fact = Fact::Move(MoveFact { unit, parent });
    let key = SigningKey::from_bytes(&[1; 32]);
    let page = Event::Page {
        items: vec![Item::Fact {
            position: 9,
            statement: Signed::new(Statement { at: NOW, fact }, &key).to_bytes(),
        }],
        cursor: vec![8],
    };
    assert_eq!(hears(&page), (false, 0, 1));
    assert_eq!(hears(&up_to_date(8)), (true, 0, 0));
    assert_eq!(siti.device().findings().unwrap(), []);
}

fn hear_of_loss_again(world: &mut World, phone: &mut Phone, ids: &[DocumentId]) {
    for frames in 1..100 {
        world.session(phone, frames);
        if to_give_back(phone, ids) > 0 {
            return;
        }
    }
    panic!("the device does not hear of it");
}
