//! Grants that change while units move: what one mark says must hold for whatever it is used for.

use super::*;

const DISTRICT: &str = "13.76.01";
const CITY: &str = "13.76";

/// Reads one page with room for one item.
pub(super) fn one_item(device: &mut Device, world: &World) {
    assert!(device.page(world, 1));
}

pub(super) fn finish(device: &mut Device, world: &World) {
    device.drain(world, PAGE_BYTES);
    device.expect_complete(world);
}

/// Kinds of what comes in one large page, statements left out.
pub(super) fn rest(device: &mut Device, world: &World) -> Vec<&'static str> {
    let page = device.feed(world).next(&world.reader(), 60_000).unwrap();
    page.map(|page| kinds(&page)).unwrap_or_default()
}

#[test]
fn what_a_narrower_grant_still_owes_comes_though_its_unit_moves_to_the_wider_one() {
    let mut world = World::new(1);
    world.create(0, &scope(VILLAGE), false, "Begun first");
    world.create(0, &scope(NEIGHBOUR), false, "Begun after it");
    world.edit(0, 0, true, false, "And published last");
    world.commit();
    let mut device = device(130, &[(Role::Verifier, "13"), (Role::Officer, DISTRICT)]);
    while device.held.documents.is_empty() {
        one_item(&mut device, &world);
    }
    world.move_unit(&scope(VILLAGE), &scope(CITY));
    device.regranted = true;
    finish(&mut device, &world);
    assert_eq!(device.held.documents.len(), 2);
}

#[test]
fn a_unit_moved_inside_a_moved_regency_is_not_forgotten_when_the_grant_narrows_to_that() {
    const REGENCY: &str = "14.01";
    const INSIDE: &str = "14.01.01.1001";
    let mut world = World::new(1);
    let mut device = device(131, &[(Role::Verifier, "13")]);
    world.enrol(device.id, "13");
    device.regrant(&mut world, device.grants.clone());
    world.create(0, &scope(INSIDE), true, "Comes with the regency");
    world.commit();
    world.move_unit(&scope(REGENCY), &scope("13"));
    finish(&mut device, &world);
    world.edit(0, 0, false, false, "Left to the move behind it");
    world.create(0, &scope(VILLAGE), true, "Stands between the two");
    world.commit();
    world.move_unit(&scope(INSIDE), &scope(REGENCY));
    one_item(&mut device, &world);
    let narrower = vec![grant(Role::Verifier, REGENCY)];
    device.regrant(&mut world, narrower);
    finish(&mut device, &world);
}

#[test]
fn a_grant_given_inside_another_brings_what_the_other_does_not() {
    let mut world = World::new(1);
    let mut device = device(132, &[(Role::Verifier, CITY)]);
    world.enrol(device.id, CITY);
    device.regrant(&mut world, device.grants.clone());
    world.create(0, &scope(VILLAGE), true, "Published");
    world.create(0, &scope(VILLAGE), false, "Draft");
    world.create(0, &scope(VILLAGE), false, "Published by an edit");
    world.edit(0, 2, true, false, "Ready");
    world.commit();
    finish(&mut device, &world);
    assert_eq!(device.held.documents.len(), 2);
    let both = [(Role::Verifier, CITY), (Role::Officer, VILLAGE)];
    device.regrant(&mut world, both.map(|(role, at)| grant(role, at)).to_vec());
    assert_eq!(rest(&mut device, &world), ["whole"]);
    device.cut(0);
    finish(&mut device, &world);
    assert_eq!(device.held.documents.len(), 3);
}

#[test]
fn a_grant_taken_back_while_it_owes_costs_nothing_of_the_one_around_it() {
    let mut world = World::new(1);
    let mut device = device(133, &[(Role::Verifier, CITY)]);
    world.enrol(device.id, CITY);
    device.regrant(&mut world, device.grants.clone());
    for _ in 0..4 {
        world.create(0, &scope(VILLAGE), true, "Published");
        world.create(0, &scope(VILLAGE), false, "Draft");
    }
    world.commit();
    finish(&mut device, &world);
    let around = grant(Role::Verifier, CITY);
    let inside = grant(Role::Officer, VILLAGE);
    device.regrant(&mut world, vec![around.clone(), inside]);
    while device.held.documents.len() < 5 {
        one_item(&mut device, &world);
    }
    device.regrant(&mut world, vec![around]);
    assert_eq!(rest(&mut device, &world), [""; 0]);
    device.cut(0);
    finish(&mut device, &world);
    assert_eq!(device.held.documents.len(), 4);
}

#[test]
fn a_unit_that_moves_between_two_grants_brings_only_what_the_wider_one_did_not_show() {
    let mut world = World::new(1);
    let mut device = device(134, &[(Role::Verifier, "13"), (Role::Officer, "13.76.02")]);
    world.create(0, &scope(VILLAGE), true, "Published");
    world.create(0, &scope(VILLAGE), false, "Draft");
    world.commit();
    finish(&mut device, &world);
    world.move_unit(&scope(VILLAGE), &scope("13.76.02"));
    device.regranted = true;
    assert_eq!(rest(&mut device, &world), ["whole"]);
    device.cut(0);
    finish(&mut device, &world);
    assert_eq!(device.held.documents.len(), 2);
}

#[test]
fn another_grant_elsewhere_and_moves_elsewhere_bring_nothing_again() {
    let mut world = World::new(1);
    let mut device = device(135, &[(Role::Officer, CITY), (Role::Verifier, "13")]);
    world.enrol(device.id, CITY);
    device.regrant(&mut world, device.grants.clone());
    for _ in 0..4 {
        world.create(0, &scope(VILLAGE), false, "Draft");
        world.create(0, &scope("14.01.01.1001"), true, "Published");
    }
    world.commit();
    finish(&mut device, &world);
    let mut grants = device.grants.clone();
    grants.push(grant(Role::Officer, "13.71"));
    world.move_unit(&scope("14.01.01.1001"), &scope("14.01"));
    device.regrant(&mut world, grants);
    world.move_unit(&scope("14.02"), &scope("11"));
    world.edit(0, 0, false, false, "The only change");
    world.commit();
    assert_eq!(rest(&mut device, &world), ["record"]);
    device.cut(0);
    finish(&mut device, &world);
}

#[test]
fn an_edit_not_read_yet_comes_though_a_grant_inside_is_added_that_is_ahead_of_it() {
    let mut world = World::new(1);
    let mut device = device(136, &[(Role::Verifier, CITY)]);
    world.enrol(device.id, CITY);
    device.regrant(&mut world, device.grants.clone());
    world.create(0, &scope(VILLAGE), true, "Published");
    world.commit();
    finish(&mut device, &world);
    world.edit(0, 0, false, false, "Not read yet");
    world.commit();
    let both = [(Role::Verifier, CITY), (Role::Officer, DISTRICT)];
    device.regrant(&mut world, both.map(|(role, at)| grant(role, at)).to_vec());
    device.cut(0);
    assert_eq!(device.feed(&world).start_was(), Start::Continued);
    world.edit(0, 0, false, false, "Written since the session began");
    world.commit();
    assert_eq!(rest(&mut device, &world), ["record"; 2]);
    device.cut(0);
    finish(&mut device, &world);
}
