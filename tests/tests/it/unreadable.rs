//! A serving server of whose journal a record cannot be read any more: evidence goes on to come in,
//! and commands fail alone.

use std::fs;

use bukti_tests::process::Phone;

use crate::damage::{flip, segment};
use crate::field::{Field, VILLAGE, listed, new_evidence, text};

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

#[test]
fn a_phone_behind_a_damaged_run_gets_its_document_whole() {
    let field = Field::open(&[]);
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

    flip(&place.0, place.1);
    sari.run(&["sync"]).ok();
    tono.run(&["enrol", &link]).ok();
    tono.run(&["sync"]).ok();
    assert_eq!(titles(&tono), titles(&sari));
    assert!(listed(&tono).iter().any(|row| row["id"] == id.as_str()));
    field.verify();
}
