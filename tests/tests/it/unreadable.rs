//! A serving server of whose journal a record cannot be read any more: evidence goes on to come in,
//! and commands fail alone.

use std::fs;

use bukti_tests::process::Phone;

use crate::damage::{acknowledge_all, eventually, flip, segment};
use crate::field::{Door, Field, VILLAGE, listed, new_evidence, text};
use crate::recovery::device_of;

fn journal(field: &Field) -> Vec<u8> {
    fs::read(segment(&field.data(), 1)).unwrap()
}

fn titles(phone: &Phone) -> Vec<String> {
    let mut titles: Vec<String> = listed(phone)
        .iter()
        .map(|row| text(&row["title"]))
        .collect();
    titles.sort();
    titles
}

/// A server that reads nothing again by itself.
fn without_scrub() -> Field {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("no-scrub.toml");
    fs::write(&config, "scrub_kib_per_s = 0\n").unwrap();
    Field::open_in(folder, &["--config", config.to_str().unwrap()])
}

/// Waits until the server has the damage of the first segment on record; gives the finding's record.
fn is_told(field: &Field) -> String {
    let findings = || field.admin(&["findings", "--json"]).ok().json();
    let found = eventually(findings, |found| found["findings"][0].is_object());
    let [finding] = &found["findings"].as_array().unwrap()[..] else {
        panic!("{found}");
    };
    assert_eq!(finding["code"], "damage", "{found}");
    let place = text(&finding["place"]);
    assert!(place.contains("0000000001.seg at byte"), "{found}");
    let status = field.admin(&["status", "--json"]).ok().json();
    assert_eq!(status["degraded"], true, "{status}");
    finding["position"].to_string()
}

#[test]
fn a_phone_behind_a_damaged_run_gets_its_document_whole() {
    let field = without_scrub();
    let sari = field.phone("Sari", "officer", VILLAGE);
    let budi = field.phone("Budi", "officer", VILLAGE);
    budi.run(&["sync"]).ok();
    let before = journal(&field);
    new_evidence(&sari, "Rusak");
    new_evidence(&sari, "Utuh");
    sari.run(&["sync"]).ok();
    let after = journal(&field);
    let group = (0..after.len())
        .find(|at| before[*at] != after[*at])
        .unwrap();
    // Behind the group's header of 120 bytes, in the first run.
    flip(&segment(&field.data(), 1), group + 200);
    budi.run(&["sync"]).ok();
    assert_eq!(titles(&budi), titles(&sari));
    is_told(&field);
}

#[test]
fn a_phone_whose_cursor_lies_behind_a_damaged_group_header_gives_what_it_holds() {
    let field = without_scrub();
    let sari = field.phone("Sari", "officer", VILLAGE);
    let budi = field.phone("Budi", "officer", VILLAGE);
    let before = journal(&field);
    new_evidence(&sari, "Sebelum");
    sari.run(&["sync"]).ok();
    budi.run(&["sync"]).ok();
    let after = journal(&field);
    let group = (0..after.len()).find(|at| before[*at] != after[*at]);
    let group = group.unwrap();
    new_evidence(&sari, "Sesudah");
    sari.run(&["sync"]).ok();
    flip(&segment(&field.data(), 1), group + 30);
    new_evidence(&budi, "Hanya di sini");
    let synced = budi.run(&["sync"]);
    assert_eq!(synced.status, Some(3), "{synced:?}");
    assert!(synced.stdout.contains("sent 1"), "{synced:?}");
    is_told(&field);

    flip(&segment(&field.data(), 1), group + 30);
    budi.run(&["sync"]).ok();
    sari.run(&["sync"]).ok();
    assert_eq!(titles(&budi), titles(&sari));
    assert_eq!(titles(&budi).len(), 3);
}

#[test]
fn a_server_that_cannot_read_a_statement_takes_what_phones_hold_and_goes_on() {
    let field = Field::open(&[]);
    let sari = field.phone("Sari", "officer", VILLAGE);
    sari.run(&["sync"]).ok();
    let link = field.invite("officer", VILLAGE, "Tono");
    let tono = Phone::new(&field.path("tono"));
    tono.run(&["enrol", &link]).ok();
    let bytes = journal(&field);
    let enrolment = bytes.windows(4).rposition(|window| window == b"Tono");
    let place = (segment(&field.data(), 1), enrolment.unwrap());
    flip(&place.0, place.1);

    let id = new_evidence(&sari, "Hanya di sini");
    let synced = sari.run(&["sync"]);
    assert_eq!(synced.status, Some(3), "{synced:?}");
    assert!(
        synced.stderr.contains("cannot read what comes next"),
        "{synced:?}"
    );
    assert!(synced.stdout.contains("sent 1"), "{synced:?}");
    let unsent = |phone: &Phone| phone.run(&["status", "--json"]).ok().json()["unsent"].clone();
    assert_eq!(unsent(&sari), 0, "the server has it on its disk");
    let again = tono.run(&["enrol", &link]);
    assert_eq!(again.status, Some(1), "{again:?}");
    field.invite("officer", VILLAGE, "Budi");
    let finding = is_told(&field);

    flip(&place.0, place.1);
    sari.run(&["sync"]).ok();
    tono.run(&["enrol", &link]).ok();
    tono.run(&["sync"]).ok();
    assert_eq!(titles(&tono), titles(&sari));
    assert!(listed(&tono).iter().any(|row| row["id"] == id.as_str()));
    let note = ["--note", "bytes put back"];
    let acknowledge = ["findings", "--acknowledge", &finding];
    field.admin(&[&acknowledge[..], &note].concat()).ok();
    field.verify();
}

#[test]
fn what_is_accepted_beside_damage_in_the_last_segment_outlives_it_and_the_bytes_come_back() {
    let door = Door::open();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("no-scrub.toml");
    fs::write(&config, "scrub_kib_per_s = 0\n").unwrap();
    let url = door.url();
    let options = ["--config", config.to_str().unwrap(), "--public-url", &url];
    let mut field = Field::open(&options);
    door.proxy.lead_to(field.address());
    let sari = field.phone("Sari", "officer", VILLAGE);
    let budi = field.phone("Budi", "officer", VILLAGE);
    let before = journal(&field);
    new_evidence(&sari, "Rusak");
    sari.run(&["sync"]).ok();
    let after = journal(&field);
    let group = (0..after.len()).find(|at| before[*at] != after[*at]);
    let backup = field.path("backup");
    let backup = ["backup", "--to", backup.to_str().unwrap()];
    field.admin(&backup).ok();
    new_evidence(&sari, "Sesudah cadangan");
    sari.run(&["sync"]).ok();
    flip(&segment(&field.data(), 1), group.unwrap() + 200);
    budi.run(&["sync"]).ok();
    is_told(&field);

    new_evidence(&budi, "Sesudah rusak");
    budi.run(&["sync"]).ok();
    field.admin(&["revoke", &device_of(&field, "Sari")]).ok();
    let refused = field.admin(&backup);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("bukti-server repair"),
        "{refused:?}"
    );
    let serving = field.admin(&["repair", "--from", backup[2]]);
    assert!(
        serving.stderr.contains("stop the server first"),
        "{serving:?}"
    );

    // What came since stands in a segment of its own, so the next start is one.
    field.stop();
    field.serve(&options);
    field.stop();
    let damaged = journal(&field);
    let repaired = field.admin(&["repair", "--from", backup[2]]).ok();
    assert!(repaired.stdout.starts_with("repaired "), "{repaired:?}");
    let (_, kept) = repaired.stdout.split_once("is kept in ").unwrap();
    let kept = kept.lines().next().unwrap();
    assert!(kept.starts_with("0000000001.seg.damaged-"), "{kept}");
    let is_kept = fs::read(field.data().join(kept)).unwrap() == damaged;
    assert!(is_kept, "{kept} is not what stood there");
    let again = field.admin(&["repair", "--from", backup[2]]).ok();
    assert!(again.stdout.contains("No file of the journal is damaged"));

    field.serve(&options);
    door.proxy.lead_to(field.address());
    let found = field.admin(&["findings", "--json"]).ok().json();
    let codes: Vec<String> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| text(&row["code"]))
        .collect();
    assert!(codes.contains(&"repaired".to_owned()), "{found}");
    acknowledge_all(&field);
    field.verify();
    field.admin(&backup).ok();
    budi.run(&["sync"]).ok();
    assert_eq!(
        titles(&budi),
        ["Rusak", "Sesudah cadangan", "Sesudah rusak"]
    );
    let kept_out = sari.run(&["sync"]);
    assert!(kept_out.stderr.contains("revoked"), "{kept_out:?}");
}
