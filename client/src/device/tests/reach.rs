//! What leaves a device does so by what the server signed, and not where it may be the last copy.

use bukti_core::authority::{Audience, Grant, Role};
use bukti_core::digest::Digest;
use bukti_core::evidence::{Declared, Edit};
use bukti_core::id::{DeviceId, DocumentId, JournalId, WallMs};
use bukti_core::ledger::Subscription;
use bukti_core::record::{Fact, GrantsFact, Signed, Statement};
use bukti_core::scope::Scope;
use bukti_sync_protocol::bye::ByeCode;
use bukti_sync_protocol::client::Event;
use bukti_sync_protocol::item::Item;
use ed25519_dalek::SigningKey;

use super::world::{NOW, Phone, WARD, World};
use crate::limits::AGREED_MAX;

const ELSEWHERE: &str = "13.76.02.1002";

fn grants(role: Role, scope: &str) -> Vec<Grant> {
    let scope = scope.parse().unwrap();
    vec![Grant { role, scope }]
}

fn up_to_date(position: u64, audience: Option<Audience>) -> Event {
    let of = |audience| (WARD.parse().unwrap(), audience, Digest::default(), 0);
    Event::UpToDate {
        cursor: vec![7],
        position,
        digests: audience.map(of).into_iter().collect(),
    }
}

/// A page with grants that the server signed.
fn states(device: DeviceId, grants: Vec<Grant>, at: WallMs, position: u64) -> Event {
    let fact = Fact::Grants(GrantsFact { device, grants });
    let key = SigningKey::from_bytes(&[1; 32]);
    let statement = Signed::new(Statement { at, fact }, &key).to_bytes();
    Event::Page {
        items: vec![Item::Fact {
            position,
            statement,
        }],
        cursor: vec![8],
    }
}

fn hears(phone: &mut Phone, event: &Event) {
    phone.device().handle_event(NOW, [4; 16], event).unwrap();
}

#[test]
fn nobody_but_the_servers_key_makes_a_device_let_go_of_anything() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let edit = [Edit::Narrative("Belum terkirim.".into())];
    let run = siti.device().edit(NOW, &id, &edit).unwrap().unwrap();
    siti.device().opening(Vec::new(), "").unwrap();
    siti.device().offers();
    // Whoever answers at the address says that it took the run, and that the document left scope.
    hears(&mut siti, &Event::Accepted(vec![(run, 3)]));
    hears(&mut siti, &Event::LeftScope(id));
    hears(&mut siti, &up_to_date(9, None));
    assert_eq!(siti.titles(), ["Papan"]);
    siti.reopen();
    let shown = siti.device().show(&id).unwrap().evidence;
    assert_eq!(shown.narrative, "Belum terkirim.");
    world.sync(&mut siti);
    assert_eq!(siti.device().status().unwrap().unsent, 0);
    let reader = world.ledger.reader();
    assert_eq!(reader.envelopes(&id).unwrap().len(), 2);
}

#[test]
fn old_grants_that_are_brought_again_at_a_later_place_narrow_nothing() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, ELSEWHERE);
    let device = siti.device().id();
    for (at, scope) in [(NOW + 1, ELSEWHERE), (NOW + 2, WARD)] {
        world
            .ledger
            .grant(at, device, grants(Role::Officer, scope))
            .unwrap();
    }
    world.sync(&mut siti);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let page = states(device, grants(Role::Officer, ELSEWHERE), NOW + 1, 99);
    siti.device().opening(Vec::new(), "").unwrap();
    hears(&mut siti, &page);
    hears(&mut siti, &up_to_date(99, None));
    assert_eq!(siti.device().grants(), grants(Role::Officer, WARD));
    assert!(siti.device().show(&id).is_ok());
}

/// A device may not give what it may not read, so what only it may hold stays.
#[test]
fn a_link_to_a_server_founded_anew_that_grants_less_takes_no_last_copy_away() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, "13.76");
    let far = DocumentId::derive(
        &siti.device().id(),
        "evidence",
        &ELSEWHERE.parse().unwrap(),
        &[3; 16],
    );
    let new = super::world::evidence("Jauh");
    let scope = ELSEWHERE.parse().unwrap();
    let made = siti.device().create(NOW, [3; 16], &scope, &new).unwrap().0;
    assert_eq!(made, far);
    world.create(&mut siti, "Dekat");
    world.sync(&mut siti);
    let mut anew = World::founded(1, JournalId([8; 16]));
    let secret = anew.draw();
    anew.enrol(&mut siti, secret, "Siti", Role::Officer, WARD)
        .unwrap();
    for _ in 0..2 {
        anew.sync(&mut siti);
        siti.reopen();
        assert_eq!(siti.titles(), ["Dekat", "Jauh"]);
        let status = siti.device().status().unwrap();
        assert_eq!((status.not_taken_back, status.findings), (1, 0));
        assert!(anew.ledger.reader().document(&far).unwrap().is_none());
        let device = siti.device().id();
        anew.ledger
            .grant(NOW, device, grants(Role::UnitHead, WARD))
            .unwrap();
    }
    let device = siti.device().id();
    anew.ledger
        .grant(NOW, device, grants(Role::Officer, "13.76"))
        .unwrap();
    anew.sync(&mut siti);
    assert!(anew.ledger.reader().document(&far).unwrap().is_some());
    assert_eq!(siti.device().status().unwrap().not_taken_back, 0);
    assert!(!siti.device().confirmed.meta().has_lost_history);
    // From here on it is like any other.
    anew.ledger
        .grant(NOW, device, grants(Role::Officer, WARD))
        .unwrap();
    anew.sync(&mut siti);
    assert_eq!(siti.titles(), ["Dekat"]);
}

#[test]
fn a_receipt_for_what_everybody_reads_holds_no_more_where_it_is_not_fed() {
    for (declared, audience, stays) in [
        (Declared::Ready, Audience::All, false),
        (Declared::Draft, Audience::All, true),
        (Declared::Draft, Audience::Unit, false),
    ] {
        let mut world = World::new();
        let mut siti = world.phone("Siti", Role::UnitHead, WARD);
        let id = world.create(&mut siti, "Papan");
        world.sync(&mut siti);
        let edits = [Edit::Declare(declared), Edit::AddRow("1.1".into())];
        let run = siti.device().edit(NOW, &id, &edits).unwrap().unwrap();
        siti.device().opening(Vec::new(), "").unwrap();
        siti.device().offers();
        hears(&mut siti, &Event::Accepted(vec![(run, 5)]));
        siti.device().opening(Vec::new(), "").unwrap();
        hears(&mut siti, &up_to_date(9, Some(audience)));
        let received = siti.device().tail.pending()[0].received;
        assert_eq!(received.is_some(), stays, "{declared:?} {audience:?}");
    }
}

#[test]
fn what_is_edited_on_a_revoked_device_belongs_to_another_life_than_what_it_could_not_send() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let edit = [Edit::AddRow("1.1".into())];
    siti.device().edit(NOW, &id, &edit).unwrap();
    let device = siti.device().id();
    world.ledger.revoke(NOW, device).unwrap();
    let before = siti.device().incarnation();
    let events = world.sync(&mut siti);
    let is_revoked =
        |event: &Event| matches!(event, Event::Bye(bye) if bye.code == ByeCode::Revoked);
    assert!(events.iter().any(is_revoked));
    assert_eq!(siti.device().status().unwrap().quarantined, 1);
    assert_ne!(siti.device().incarnation(), before);
}

#[test]
fn own_work_that_leaves_with_its_document_ends_the_life_in_which_it_was_sealed() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let edit = [Edit::AddRow("1.1".into())];
    siti.device().edit(NOW, &id, &edit).unwrap();
    let device = siti.device().id();
    let before = siti.device().incarnation();
    // Taken, and then out of reach before its page comes.
    world.session(&mut siti, 3);
    world.ledger.grant(NOW + 1, device, Vec::new()).unwrap();
    world.sync(&mut siti);
    assert_eq!(siti.titles(), Vec::<String>::new());
    assert_eq!(siti.device().status().unwrap().unsent, 0);
    assert_ne!(siti.device().incarnation(), before);
}

/// The server lost what came after a copy, and cannot take one document of one scope back.
#[test]
fn what_a_server_was_found_to_hold_leaves_although_it_lacks_something_elsewhere() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let device = siti.device().id();
    let both = [
        grants(Role::Officer, WARD),
        grants(Role::Officer, ELSEWHERE),
    ]
    .concat();
    world.ledger.grant(NOW + 1, device, both).unwrap();
    world.sync(&mut siti);
    let far = create_at(&mut siti, ELSEWHERE, "Jauh");
    world.sync(&mut siti);
    let copy = world.journal.duplicate();
    let near = create_at(&mut siti, WARD, "Dekat");
    world.sync(&mut siti);
    world.restore(copy);
    siti.device().opening(Vec::new(), "").unwrap();
    hears(&mut siti, &Event::Void);
    // One side of the two is the same, and the other differs.
    let digest = |siti: &mut Phone, scope: &str| {
        let prefix = scope.parse().unwrap();
        let device = siti.device();
        let placements = device.placements.clone();
        let held = device
            .confirmed
            .digest(&prefix, Audience::Unit, &[], &placements);
        let (digest, documents) = held.unwrap();
        (prefix, Audience::Unit, digest, documents)
    };
    let same = digest(&mut siti, ELSEWHERE);
    let other = (WARD.parse().unwrap(), Audience::Unit, Digest::default(), 0);
    let event = Event::UpToDate {
        cursor: vec![7],
        position: 9,
        digests: vec![same, other],
    };
    hears(&mut siti, &event);
    assert!(siti.device().confirmed.meta().has_lost_history);
    // Later neither is to be read any more.
    let page = states(device, Vec::new(), NOW + 9, 10);
    hears(&mut siti, &page);
    hears(&mut siti, &up_to_date(10, None));
    assert!(siti.device().show(&far).is_err(), "the server has it");
    assert!(siti.device().show(&near).is_ok(), "the server may lack it");
}

/// It is among what was not taken back: as something to be given it would keep the device from ever
/// being up to date.
#[test]
fn what_is_out_of_reach_is_not_counted_among_what_is_to_be_given_back() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, "13.76");
    let device = siti.device().id();
    create_at(&mut siti, ELSEWHERE, "Jauh");
    create_at(&mut siti, WARD, "Dekat");
    world.sync(&mut siti);
    siti.device().opening(Vec::new(), "").unwrap();
    hears(&mut siti, &Event::Void);
    assert_eq!(siti.device().status().unwrap().to_give_back, 2);
    let page = states(device, grants(Role::Officer, WARD), NOW + 9, 10);
    hears(&mut siti, &page);
    hears(&mut siti, &up_to_date(10, Some(Audience::Unit)));
    assert_eq!(siti.device().status().unwrap().to_give_back, 1);
    siti.device().conclude(NOW, false).unwrap();
    let status = siti.device().status().unwrap();
    assert!(siti.device().confirmed.meta().has_lost_history);
    assert_eq!((status.to_give_back, status.not_taken_back), (0, 1));
}

fn create_at(phone: &mut Phone, scope: &str, title: &str) -> DocumentId {
    let scope = scope.parse().unwrap();
    let new = super::world::evidence(title);
    let random = [title.len() as u8; 16];
    phone.device().create(NOW, random, &scope, &new).unwrap().0
}

/// It left, and stayed for what was not sent; then the server lost it, and refuses what was not sent.
#[test]
fn what_stayed_for_unsent_work_stays_where_the_server_may_lack_it() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let edit = [Edit::AddRow("1.1".into())];
    let run = siti.device().edit(NOW, &id, &edit).unwrap().unwrap();
    let device = siti.device().id();
    world.ledger.grant(NOW + 1, device, Vec::new()).unwrap();
    siti.device().opening(Vec::new(), "").unwrap();
    let page = states(device, Vec::new(), NOW + 1, 10);
    hears(&mut siti, &page);
    hears(&mut siti, &up_to_date(10, None));
    hears(&mut siti, &Event::Void);
    siti.device().offers();
    let refused = Event::Rejected {
        run,
        code: "forbidden".into(),
        sentence: "No.".into(),
    };
    hears(&mut siti, &refused);
    let status = siti.device().status().unwrap();
    assert_eq!((status.quarantined, status.not_taken_back), (1, 1));
    let mut anew = World::founded(1, JournalId([8; 16]));
    let secret = anew.draw();
    anew.enrol(&mut siti, secret, "Siti", Role::Officer, WARD)
        .unwrap();
    let within = grants(Role::Officer, WARD);
    anew.ledger.grant(NOW + 9, device, within).unwrap();
    anew.sync(&mut siti);
    assert!(anew.ledger.reader().document(&id).unwrap().is_some());
    assert_eq!(siti.device().status().unwrap().not_taken_back, 0);
}

/// What another subscription has below a prefix was not compared with it, and a unit that moved there
/// was not either.
#[test]
fn what_was_not_compared_is_not_known_to_be_on_the_server() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut siti, "Papan");
    world.sync(&mut siti);
    let device = siti.device();
    let row = device.confirmed.document(&id).unwrap().unwrap();
    let lineage = device.placements.lineage(&row.scope);
    let [prefix, district, elsewhere] =
        ["13", "13.76.01", ELSEWHERE].map(|scope| scope.parse().unwrap());
    let mut lacks_after = |except: &[Scope], units_move: bool| {
        let update = device.confirmed.update(|meta| {
            meta.lost_history();
            meta.agree(&prefix, Audience::Unit, except);
            if units_move {
                meta.units_moved();
            }
        });
        update.unwrap();
        device.confirmed.meta().may_be_lacking(&row, &lineage)
    };
    assert!(!lacks_after(&[], false));
    assert!(!lacks_after(std::slice::from_ref(&elsewhere), false));
    assert!(lacks_after(std::slice::from_ref(&district), false));
    assert!(lacks_after(&[], true));
}

#[test]
fn less_that_was_compared_under_the_same_prefix_does_not_end_a_loss() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let [prefix, district]: [Scope; 2] = ["13", "13.76.01"].map(|scope| scope.parse().unwrap());
    let read = |except: &[Scope]| Subscription {
        prefix: prefix.clone(),
        audience: Audience::All,
        except: except.to_vec(),
    };
    let mut is_over = |own: Subscription| {
        let update = siti.device().confirmed.update(|meta| {
            meta.lost_history();
            meta.agree(&prefix, Audience::All, std::slice::from_ref(&district));
            meta.agreed_on(&[own]);
        });
        update.unwrap();
        !siti.device().confirmed.meta().has_lost_history
    };
    assert!(is_over(read(std::slice::from_ref(&district))));
    assert!(!is_over(read(&[])));
}

/// Whoever answers names what was compared, in a row that is read and written as a whole.
#[test]
fn what_is_noted_as_compared_is_bounded() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let note = |device: &mut Phone, village: usize| {
        let prefix: Scope = format!("13.76.01.{}", 1_001 + village).parse().unwrap();
        let noted = device.device().confirmed.update(|meta| {
            meta.compare(&prefix, Audience::Unit, &[]);
            meta.agree(&prefix, Audience::Unit, &[]);
        });
        noted.unwrap();
    };
    let size = |device: &mut Phone| {
        minicbor::to_vec(device.device().confirmed.meta())
            .unwrap()
            .len()
    };
    let lost = siti.device().confirmed.update(|meta| meta.lost_history());
    lost.unwrap();
    (0..AGREED_MAX).for_each(|village| note(&mut siti, village));
    let full = size(&mut siti);
    (AGREED_MAX..2 * AGREED_MAX).for_each(|village| note(&mut siti, village));
    assert_eq!(size(&mut siti), full);
    note(&mut siti, AGREED_MAX);
    assert_eq!(size(&mut siti), full);
}

/// A server, and two officers who hold the same document.
fn with_two() -> (World, Phone, Phone) {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut budi = world.phone("Budi", Role::Officer, WARD);
    create_at(&mut siti, WARD, "Papan");
    world.sync(&mut siti);
    world.sync(&mut budi);
    (world, siti, budi)
}

/// The server was put back to before it took a device's grants away.
#[test]
fn a_device_whose_grants_were_taken_gives_that_back_and_is_sent_nothing() {
    let (mut world, _, mut budi) = with_two();
    let copy = world.journal.duplicate();
    let device = budi.device().id();
    world.ledger.grant(NOW + 1, device, Vec::new()).unwrap();
    world.sync(&mut budi);
    assert_eq!(budi.titles(), Vec::<String>::new());
    world.restore(copy);
    let events = world.sync(&mut budi);
    assert!(events.iter().any(|event| matches!(event, Event::Void)));
    let row = world.ledger.reader().device(&device).unwrap().unwrap();
    assert_eq!(row.grants, []);
    let is_whole = |item: &Item| matches!(item, Item::Whole { .. });
    let sent =
        |event: &Event| matches!(event, Event::Page { items, .. } if items.iter().any(is_whole));
    assert!(!events.iter().any(sent), "{events:?}");
    assert_eq!(budi.titles(), Vec::<String>::new());
    // And then the cursor holds.
    let events = world.sync(&mut budi);
    assert!(!events.iter().any(|event| matches!(event, Event::Void)));
}

/// The same where the device was away, so that others alone know of it.
#[test]
fn a_device_whose_grants_were_taken_is_told_by_what_others_give_back() {
    for is_connected in [false, true] {
        let (mut world, mut siti, mut budi) = with_two();
        let copy = world.journal.duplicate();
        let device = budi.device().id();
        world.ledger.grant(NOW + 1, device, Vec::new()).unwrap();
        world.sync(&mut siti);
        world.restore(copy);
        if is_connected {
            world.sync(&mut budi);
            assert_eq!(budi.titles(), ["Papan"]);
        }
        world.sync(&mut siti);
        let row = world.ledger.reader().device(&device).unwrap().unwrap();
        assert_eq!(row.grants, []);
        world.sync(&mut budi);
        assert_eq!(budi.titles(), Vec::<String>::new());
        assert_eq!(budi.device().grants(), []);
    }
}

/// And where the server was founded anew, so that the device shows its certificate first.
#[test]
fn a_device_whose_grants_were_taken_is_told_once_it_is_confirmed() {
    let (mut world, mut siti, mut budi) = with_two();
    let device = budi.device().id();
    world.ledger.grant(NOW + 1, device, Vec::new()).unwrap();
    world.sync(&mut siti);
    let mut anew = World::founded(1, JournalId([8; 16]));
    for phone in [&mut siti, &mut budi] {
        let certificate = phone.device().identity().certificate_record().to_vec();
        let id = phone.device().id();
        anew.ledger.readmit(NOW, id, &certificate).unwrap().unwrap();
    }
    anew.sync(&mut siti);
    let row = anew.ledger.reader().device(&device).unwrap().unwrap();
    assert_eq!(row.grants, []);
    anew.ledger.confirm(NOW + 2, device).unwrap();
    anew.sync(&mut budi);
    // What it holds stays: it may be the last copy.
    assert_eq!(budi.device().grants(), []);
}

/// A server that was founded anew is put back once more while a device waits to be confirmed.
#[test]
fn a_device_that_is_not_confirmed_gives_again_what_is_lost_again() {
    let mut world = World::new();
    let mut siti = world.phone("Siti", Role::Officer, WARD);
    let mut eko = world.phone("Eko", Role::Officer, WARD);
    let eko = eko.device().id();
    world.ledger.revoke(NOW, eko).unwrap();
    world.sync(&mut siti);
    let mut anew = World::founded(1, JournalId([8; 16]));
    let certificate = siti.device().identity().certificate_record().to_vec();
    let device = siti.device().id();
    let readmitted = anew.ledger.readmit(NOW, device, &certificate);
    readmitted.unwrap().unwrap();
    let copy = anew.journal.duplicate();
    let is_revoked = |world: &World| {
        let row = world.ledger.reader().device(&eko).unwrap();
        row.is_some_and(|row| row.revoked_at.is_some())
    };
    anew.sync(&mut siti);
    assert!(is_revoked(&anew));
    assert!(siti.device().status().unwrap().awaits_confirmation);
    anew.restore(copy);
    let events = anew.sync(&mut siti);
    assert!(events.iter().any(|event| matches!(event, Event::Void)));
    assert!(is_revoked(&anew));
    let events = anew.sync(&mut siti);
    assert!(!events.iter().any(|event| matches!(event, Event::Void)));
}
