//! Folders whose confirmed store is of another server or of another journal than their identity.

use bukti_core::authority::Role;
use bukti_core::evidence::Edit;
use bukti_core::id::JournalId;
use bukti_core::kv::MemoryKv;

use super::returning::hear_of_loss;
use super::world::{NOW, Phone, WARD, World};
use crate::device::{ConfirmedError, DeviceError, OtherServer};

/// Somebody whose server lost a document that it had confirmed.
fn whose_server_lost_something() -> (World, Phone) {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let backup = world.journal.duplicate();
    world.create(&mut siti, "Baru");
    world.sync(&mut siti);
    world.restore(backup);
    (world, siti)
}

#[test]
fn another_server_is_refused_while_the_first_lacks_what_it_lost() {
    let (mut world, mut siti) = whose_server_lost_something();
    let mut other = World::founded(2, JournalId([8; 16]));
    let is_refused = |error: DeviceError| {
        let lacking = |other: &OtherServer| matches!(other, OtherServer::MayBeLacking { .. });
        matches!(&error, DeviceError::OtherServer(other) if lacking(other))
    };
    // Cut once the device heard of the loss, before it gave anything back.
    hear_of_loss(&mut world, &mut siti);
    let before = siti.snapshot();
    let kv = siti.close();
    let link = other.link([1; 16]);
    let applicant = crate::device::Applicant::open(siti.folders(), &link, [1; 32]).unwrap();
    assert!(is_refused(applicant.check(&kv).unwrap_err()));
    let secret = other.draw();
    let refused = other.enrol(&mut siti, secret, "Siti", Role::Officer, WARD);
    assert!(is_refused(refused.unwrap_err()));
    assert!(kv.snapshot() == before);
    siti.open(kv);
    assert_eq!(siti.titles(), ["Baru", "Papan"]);

    // The first has it again: nothing keeps the device there.
    world.sync(&mut siti);
    let secret = other.draw();
    other
        .enrol(&mut siti, secret, "Siti", Role::Officer, WARD)
        .unwrap();
}

#[test]
fn another_server_is_refused_while_the_first_did_not_take_something_back() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let envelopes = siti.device().confirmed.envelopes(&id).unwrap();
    let run = envelopes[0].envelope.run();
    let confirmed = &siti.device().confirmed;
    confirmed.set_unreturned(&[(run, "quota")]).unwrap();
    let mut other = World::founded(2, JournalId([8; 16]));
    let secret = other.draw();
    let refused = other.enrol(&mut siti, secret, "Siti", Role::Officer, WARD);
    let refused = refused.unwrap_err();
    assert!(matches!(refused, DeviceError::OtherServer(_)), "{refused}");
}

/// An identity that was put back from a copy of before the server was founded anew.
#[test]
fn a_store_of_another_journal_that_holds_evidence_loses_no_row() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let identity = siti.home.duplicate();
    let mut anew = World::founded(1, JournalId([8; 16]));
    let device = siti.device().id();
    anew.sync(&mut siti);
    anew.ledger.confirm(NOW, device).unwrap();
    anew.sync(&mut siti);
    let kv = siti.close();
    let before = kv.snapshot();
    siti.home = identity;
    let refused = siti.try_open(kv.clone()).unwrap_err();
    let is_other = matches!(
        refused,
        DeviceError::Confirmed(ConfirmedError::OtherJournal)
    );
    assert!(is_other, "{refused:?}");
    assert!(kv.snapshot() == before);

    // With another store the device goes on, and has all of it again.
    siti.open(MemoryKv::new());
    anew.sync(&mut siti);
    assert_eq!(siti.titles(), ["Papan"]);
    let id = siti.device().list().unwrap()[0].id;
    let edit = [Edit::AddRow("1.1".into())];
    siti.device().edit(NOW, &id, &edit).unwrap();
    anew.sync(&mut siti);
    assert_eq!(siti.device().status().unwrap().unsent, 0);
}

#[test]
fn a_store_of_another_journal_without_evidence_is_begun_anew() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    world.sync(&mut siti);
    let mut other = World::founded(2, JournalId([8; 16]));
    let secret = other.draw();
    let rows = siti.rows.clone();
    other
        .enrol(&mut siti, secret, "Siti", Role::Officer, WARD)
        .unwrap();
    assert!(
        rows.snapshot() == siti.rows.snapshot(),
        "it is the same store"
    );
}
