//! Files of a device's own folders that a disk changed.

use bukti_core::authority::Role;
use bukti_core::evidence::Edit;
use bukti_core::id::{Incarnation, RunId};
use bukti_core::journal::memory::{Fault, MemoryStorage};
use bukti_core::journal::{Storage, segment_name};
use bukti_core::kv::MemoryKv;

use super::world::{NOW, Phone, WARD, World};
use crate::device::{DeviceError, Finding, Quarantined};
use crate::limits::QUARANTINE_BYTES_MAX;

/// A phone whose only unsent edit stands alone in the last group of its tail, and the bytes of that
/// group in the segment.
fn with_an_unsent_edit(world: &mut World) -> (Phone, std::ops::Range<usize>) {
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let id = world.create(&mut phone, "Papan");
    world.sync(&mut phone);
    let before = used(&phone);
    let edit = [Edit::Title("Papan baru".into())];
    phone.device().edit(NOW, &id, &edit).unwrap().unwrap();
    let group = before..used(&phone);
    (phone, group)
}

fn segment(phone: &Phone) -> Vec<u8> {
    phone.tail.content(&segment_name(1)).unwrap()
}

/// Bytes of the tail's only segment up to the last that is not zero.
fn used(phone: &Phone) -> usize {
    let bytes = segment(phone);
    bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1
}

/// Ends the process, flips a bit of the tail and starts again.
fn flip_in_tail(phone: &mut Phone, bit: usize) -> Result<(), String> {
    let rows = phone.close();
    let mut bytes = segment(phone);
    bytes[bit / 8] ^= 1 << (bit % 8);
    phone.tail.set_content(&segment_name(1), &bytes);
    let opened = phone.try_open(rows);
    opened.map_err(|error| bukti_core::causes::with_causes(&error))
}

fn findings(phone: &mut Phone) -> Vec<Finding> {
    phone.device().findings().unwrap()
}

#[test]
fn an_edit_that_a_flipped_bit_takes_from_the_tail_is_told_for_as_long_as_its_file_lies_there() {
    let mut world = World::new();
    let (mut phone, group) = with_an_unsent_edit(&mut world);
    flip_in_tail(&mut phone, 8 * (group.end - 20)).unwrap();
    assert_eq!(phone.titles(), ["Papan"]);
    let told = findings(&mut phone);
    let [finding] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(finding.code, "damaged-end");
    let place = finding.place.clone().unwrap();
    let kept = place.strip_prefix("tail/").unwrap();
    assert!(phone.tail.content(kept).is_some(), "{place}");
    let said = &finding.sentence;
    assert!(
        said.starts_with("An edit that was kept here may be lost") && said.contains(&place),
        "{said}"
    );
    let status = phone.device().status().unwrap();
    assert_eq!((status.findings, status.may_be_lost), (1, 1));

    // It is not told twice, and not by the store.
    phone.reopen();
    world.sync(&mut phone);
    assert_eq!(findings(&mut phone), told);
    phone.close();
    phone.open(MemoryKv::new());
    assert_eq!(findings(&mut phone), told);
}

#[test]
fn wherever_the_last_group_of_a_tail_is_damaged_opening_tells_of_it() {
    let mut world = World::new();
    let (mut phone, group) = with_an_unsent_edit(&mut world);
    // Bits of every number within a byte, and of each byte of the header.
    for bit in (8 * group.start..8 * group.end).step_by(23) {
        let mut copy = phone.duplicate();
        match flip_in_tail(&mut copy, bit) {
            Ok(()) => {
                assert_eq!(copy.device().unsent(), 0, "bit {bit}");
                assert_eq!(findings(&mut copy).len(), 1, "bit {bit}");
            }
            Err(said) => assert!(said.contains("at byte"), "bit {bit}: {said}"),
        }
    }
}

#[test]
fn what_earlier_openings_cut_is_told_as_what_it_looks_like() {
    let mut world = World::new();
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let names = ["stray-9-1-700-1.bin", "torn-9-1-700-2.bin"];
    for name in names {
        phone.tail.set_content(name, b"x");
    }
    phone.reopen();
    let told = findings(&mut phone);
    let of = |code: &str| told.iter().find(|finding| finding.code == code).unwrap();
    let [stray, torn] = [of("stray-bytes"), of("torn")];
    assert!(stray.sentence.contains("No edit was there"), "{stray:?}");
    assert!(
        torn.sentence
            .contains("looks like a write that was interrupted"),
        "{torn:?}"
    );
    assert_eq!(torn.place.as_deref(), Some("tail/torn-9-1-700-2.bin"));
    let status = phone.device().status().unwrap();
    assert_eq!((status.findings, status.may_be_lost), (2, 1));
}

#[test]
fn a_tail_whose_beginning_is_damaged_says_so_until_the_device_is_enrolled_again() {
    let mut world = World::new();
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    let group = used(&phone);
    let place = "0000000001.seg at byte 112";
    let said = flip_in_tail(&mut phone, 8 * (group - 20)).unwrap_err();
    for said in [
        said,
        phone.try_open(MemoryKv::new()).unwrap_err().to_string(),
    ] {
        assert!(
            said.starts_with("the beginning of the unsent work is damaged"),
            "{said}"
        );
        assert!(
            said.contains(place) && said.contains("tail/damaged-1-1-112-1-"),
            "{said}"
        );
        assert!(said.contains("open a new invitation link"), "{said}");
    }

    let secret = world.draw();
    world
        .enrol(&mut phone, secret, "Siti", Role::Officer, WARD)
        .unwrap();
    world.create(&mut phone, "Papan");
    world.sync(&mut phone);
    assert_eq!(phone.device().unsent(), 0);
    assert_eq!(findings(&mut phone)[0].code, "damaged-end");
}

#[test]
fn a_device_whose_tail_is_gone_says_so_once_it_is_enrolled_again() {
    let mut world = World::new();
    let (mut phone, _) = with_an_unsent_edit(&mut world);
    let kv = phone.close();
    phone.tail = MemoryStorage::new();
    let refused = phone.try_open(kv).unwrap_err();
    assert!(matches!(refused, DeviceError::TailMissing), "{refused:?}");
    let secret = world.draw();
    world
        .enrol(&mut phone, secret, "Siti", Role::Officer, WARD)
        .unwrap();
    // Whatever becomes of the store.
    phone.close();
    phone.open(MemoryKv::new());
    let found = findings(&mut phone);
    assert_eq!(found[0].code, "tail-missing");
    assert_eq!(phone.device().status().unwrap().may_be_lost, 1);
}

/// A phone with one refused run, and the name of its file.
fn with_a_refused_run(world: &mut World) -> (Phone, String) {
    let mut phone = world.phone("Siti", Role::Officer, WARD);
    refuse_another(world, &mut phone);
    let name = format!("{}.cbor", phone.device().quarantined()[0].run);
    (phone, name)
}

fn refuse_another(world: &mut World, phone: &mut Phone) {
    phone.device().set_local_checks(false);
    let (random, elsewhere) = (world.draw(), "13.76.02.1002".parse().unwrap());
    let new = super::world::evidence("Papan di tempat lain");
    let created = phone.device().create(NOW, random, &elsewhere, &new);
    created.unwrap();
    world.sync(phone);
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

#[test]
fn one_damaged_file_of_the_quarantine_is_put_aside_and_told_and_everything_goes_on() {
    let mut world = World::new();
    let (mut phone, name) = with_a_refused_run(&mut world);
    refuse_another(&mut world, &mut phone);
    let run: RunId = name.strip_suffix(".cbor").unwrap().parse().unwrap();
    let sound = phone.quarantine.content(&name).unwrap();
    let damaged = [
        flipped(&sound, 900),
        vec![0; QUARANTINE_BYTES_MAX as usize + 1],
        Vec::new(),
    ];
    let mut places = Vec::new();
    for bytes in &damaged {
        phone.quarantine.set_content(&name, bytes);
        phone.reopen();
        assert_eq!(phone.device().quarantined().len(), 1);
        let told = findings(&mut phone);
        let new = told.iter().find(|told| !places.contains(&told.place));
        let new = new.unwrap();
        assert_eq!(
            (new.code.as_str(), new.run),
            ("quarantine-damaged", Some(run))
        );
        let place = new.place.clone().unwrap();
        assert!(new.sentence.contains(&place), "{}", new.sentence);
        let kept = place.strip_prefix("quarantine/").unwrap();
        assert_eq!(phone.quarantine.content(kept).as_ref(), Some(bytes));
        places.push(Some(place));
        // Enters and sends as before.
        world.create(&mut phone, "Papan");
        world.sync(&mut phone);
        assert_eq!(phone.device().unsent(), 0);
    }
    phone.crash(&mut |_| 0);
    assert_eq!(findings(&mut phone).len(), 3);
    assert_eq!(phone.device().status().unwrap().may_be_lost, 3);
}

#[test]
fn a_name_under_which_a_file_was_put_aside_is_not_used_again_once_that_is_gone() {
    let mut world = World::new();
    let (mut phone, name) = with_a_refused_run(&mut world);
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..3 {
        phone.quarantine.set_content(&name, b"x");
        phone.reopen();
        let place = findings(&mut phone)[0].place.clone().unwrap();
        let kept = place.strip_prefix("quarantine/").unwrap();
        phone.quarantine.remove(kept).unwrap();
        assert!(names.insert(place));
        // What writes such a file again writes to the tail.
        world.create(&mut phone, "Papan");
    }
}

#[test]
fn what_is_not_read_of_the_quarantine_stays_where_it_is() {
    let mut world = World::new();
    let (mut phone, name) = with_a_refused_run(&mut world);
    let rows = phone.close();
    // Names are settled and listed, then a length is asked and bytes are.
    for call in [3, 4] {
        phone.quarantine.fail_at(call, Fault::Scarce);
        phone.try_open(rows.clone()).unwrap_err();
        assert!(phone.quarantine.content(&name).is_some());

        phone.quarantine.fail_at(call, Fault::Io);
        phone.open(rows.clone());
        assert_eq!(findings(&mut phone)[0].code, "quarantine-unread");
        assert_eq!(phone.device().quarantined(), []);
        phone.reopen();
        assert_eq!(
            (
                findings(&mut phone).len(),
                phone.device().quarantined().len()
            ),
            (0, 1)
        );
        phone.close();
    }
}

#[test]
fn every_flipped_bit_of_a_refused_run_is_noticed() {
    let mut world = World::new();
    let (mut phone, name) = with_a_refused_run(&mut world);
    phone.close();
    let sound = phone.quarantine.content(&name).unwrap();
    let (copy, number) = (std::sync::Arc::new(phone.quarantine.duplicate()), 1);
    for bit in 0..8 * sound.len() {
        copy.set_content(&name, &flipped(&sound, bit));
        let folder = std::sync::Arc::clone(&copy);
        let (kept, told) = crate::device::quarantine::Quarantine::open(folder, number).unwrap();
        assert_eq!((kept.list().len(), told.len()), (0, 1), "bit {bit}");
        let place = told[0].finding.place.clone().unwrap();
        copy.remove(place.strip_prefix("quarantine/").unwrap())
            .unwrap();
    }
    // Nor does a file count under the name of another run.
    copy.set_content(&format!("{}.cbor", RunId([7; 16])), &sound);
    copy.set_content(&name, &sound);
    let opened = crate::device::quarantine::Quarantine::open(copy, number).unwrap();
    assert_eq!((opened.0.list().len(), opened.1.len()), (1, 1));
}

#[test]
fn a_refused_run_of_before_is_read_and_has_a_sum_once_it_is_written_again() {
    let mut world = World::new();
    let (mut phone, name) = with_a_refused_run(&mut world);
    let written: Vec<Quarantined> = phone.device().quarantined();
    let sound = phone.quarantine.content(&name).unwrap();
    let former = crate::device::quarantine::without_sum(&sound);
    phone.quarantine.set_content(&name, &former);
    phone.reopen();
    assert_eq!(phone.device().quarantined(), written);
    assert_eq!(findings(&mut phone), []);

    let (incarnation, random) = (Incarnation(world.draw()), world.draw());
    phone.device().set_local_checks(false);
    let again = phone
        .device()
        .enter_again(NOW, incarnation, random, &written[0].run);
    again.unwrap();
    let next = phone.quarantine.content(&name).unwrap();
    assert!(next.windows(18).any(|part| part == b"bukti.quarantine.2"));
    phone.quarantine.set_content(&name, &flipped(&next, 900));
    phone.reopen();
    assert_eq!(findings(&mut phone).len(), 1);
}
