//! Reading the journal of a serving ledger again.

use super::*;

fn damage(ledger: &MemoryLedger) -> Vec<(String, String)> {
    let mut scrub = ledger.reader().scrub();
    let mut damage = Vec::new();
    while let Some(step) = scrub.step() {
        damage.extend(step.damage.into_iter().map(|one| (one.place, one.fault)));
    }
    damage
}

fn revocation(key: &SigningKey) -> Vec<u8> {
    let device = Phone::new(7).id();
    let fact = Fact::Revocation(crate::record::Revocation { device });
    Signed::new(Statement { at: NOW, fact }, key).to_bytes()
}

/// Each in a group of its own, so that everything about it but its bytes is right.
#[test]
fn statements_that_the_server_did_not_sign_and_records_that_say_nothing_are_damage() {
    let (mut ledger, _, _, mut phone, _) = with_officers();
    let (_, run) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&run]);
    assert_eq!(damage(&ledger), []);

    let sound = revocation(&server_key());
    let mut altered = sound.clone();
    *altered.last_mut().unwrap() ^= 1;
    let written = [
        sound,
        revocation(Phone::new(66).key()),
        altered,
        b"no record".to_vec(),
    ];
    let mut positions = Vec::new();
    for record in written {
        let appended = ledger.journal.append(&[record]).unwrap();
        positions.push(format!("record {}", appended.first));
    }
    let found = damage(&ledger);
    let places: Vec<&String> = found.iter().map(|(place, _)| place).collect();
    assert_eq!(places, positions[1..].iter().collect::<Vec<_>>());
    for (_, fault) in &found[..2] {
        assert!(fault.contains("sign"), "{fault}");
    }
}

#[test]
fn a_flipped_byte_is_damage_with_the_file_and_the_place() {
    let (ledger, storage, _, _, _) = with_officers();
    let name = "0000000001.seg";
    let mut content = storage.content(name).unwrap();
    content[112 + 120 + 9] ^= 1;
    storage.set_content(name, &content);
    let found = damage(&ledger);
    let [(place, fault)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(place, "journal/0000000001.seg at byte 112");
    assert!(fault.contains("records differ"), "{fault}");
}
