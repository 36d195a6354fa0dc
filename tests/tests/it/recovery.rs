//! Servers and phones that lost something, and what brings it back: real processes and folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use bukti_tests::comparing;
use bukti_tests::folder::{Making, copy_folder as copy};
use bukti_tests::process::{Phone, Printed};

use crate::field::{Door, Field, REGENCY, VILLAGE, listed, new_evidence, quarantined, text};

/// A field whose phones find the server wherever it listens.
struct Place {
    door: Door,
    field: Field,
}

impl Place {
    fn open() -> Self {
        let door = Door::open();
        let field = Field::open(&["--public-url", &door.url()]);
        door.proxy.lead_to(field.address());
        Self { door, field }
    }

    fn serve(&mut self, arguments: &[&str]) {
        self.field.serve(arguments);
        self.door.proxy.lead_to(self.field.address());
    }

    /// Puts the server's folder back to what `snapshot` holds.
    fn roll_back_to(&mut self, snapshot: &Path) {
        copy(snapshot, &self.field.data());
        self.serve(&[]);
    }

    /// Where the new backup is.
    fn back_up(&self) -> String {
        let to = self.field.path("backup").to_str().unwrap().to_owned();
        self.field.admin(&["backup", "--to", &to]).ok();
        to
    }

    /// Loses the server's folder but the key, and restores it from a backup.
    fn restore_from(&mut self, backup: &str) {
        let key = self.field.path("server.key");
        fs::copy(self.field.data().join("server.key"), &key).unwrap();
        self.field.stop();
        fs::remove_dir_all(self.field.data()).unwrap();
        let key = key.to_str().unwrap();
        self.field
            .admin(&["restore", "--from", backup, "--key", key])
            .ok();
        let url = self.door.url();
        self.serve(&["--public-url", &url]);
    }
}

/// Everything that a phone shows, as it is byte for byte the same on phones that hold the same.
fn shown(phone: &Phone) -> BTreeMap<String, String> {
    let ids = listed(phone).into_iter().map(|row| text(&row["id"]));
    let show = |id: String| {
        let shown = phone.run(&["evidence", "show", &id, "--json"]).ok().stdout;
        (id, shown)
    };
    ids.map(show).collect()
}

fn sync(phone: &Phone) -> Printed {
    phone.run(&["sync"])
}

/// Syncs over one connection, which the phone ends by itself once it has nothing more to do.
fn sync_at_once(phone: &Phone) -> serde_json::Value {
    let synced = phone.run(&["sync", "--json"]).ok().json();
    let waits = synced["awaits_confirmation"].as_bool().unwrap();
    assert_eq!(synced["up_to_date"], !waits, "{synced}");
    assert_eq!(synced["connections"], 1, "{synced}");
    synced
}

/// Every phone in turn, and again, so that the first hears of what the last one brought.
fn meet(phones: &[&Phone]) {
    for _ in 0..2 {
        for phone in phones {
            sync(phone).ok();
        }
    }
    let first = shown(phones[0]);
    for phone in &phones[1..] {
        assert_eq!(first, shown(phone));
    }
    expect_nothing_open(phones);
}

/// Nothing was refused, and no comparison found a difference.
fn expect_nothing_open(phones: &[&Phone]) {
    for phone in phones {
        assert_eq!(quarantined(phone), Vec::<serde_json::Value>::new());
        let status = phone.run(&["status", "--json"]).ok().json();
        assert_eq!(
            status["differs"].as_array().map_or(0, Vec::len),
            0,
            "{status}"
        );
    }
}

pub(crate) fn device_of(field: &Field, person: &str) -> String {
    let devices = field.admin(&["devices", "--json"]).ok().json();
    let rows = devices
        .as_array()
        .or_else(|| devices["devices"].as_array())
        .unwrap()
        .clone();
    let of = |row: &&serde_json::Value| row["person"] == person;
    text(
        &rows
            .iter()
            .find(of)
            .unwrap_or_else(|| panic!("{person} in {devices}"))["device"],
    )
}

/// The codes of all findings, each with the person whose device it names.
fn findings_of(field: &Field) -> BTreeMap<String, String> {
    let printed = field.admin(&["findings", "--json"]).ok().json();
    let list = printed["findings"].as_array().unwrap();
    let told = |finding: &serde_json::Value| (text(&finding["code"]), text(&finding["person"]));
    list.iter().map(told).collect()
}

/// The frameworks that the server has.
fn frameworks(field: &Field) -> serde_json::Value {
    field.admin(&["status", "--json"]).ok().json()["frameworks"].clone()
}

/// Where a piece of evidence belongs, in words.
fn named_place(phone: &Phone, id: &str) -> String {
    let shown = phone.run(&["evidence", "show", id]).ok().stdout;
    let line = shown.lines().find(|line| line.contains("Lima Puluh Kota"));
    line.unwrap_or_else(|| panic!("no place in {shown}"))
        .to_owned()
}

fn edit(phone: &Phone, id: &str, title: &str) {
    phone.run(&["evidence", "edit", id, "--title", title]).ok();
}

fn some_evidence(phone: &Phone, what: &str, count: usize) -> Vec<String> {
    let new = |number| new_evidence(phone, &format!("{what} {number}"));
    (1..=count).map(new).collect()
}

#[test]
fn a_server_whose_folder_was_lost_gets_back_what_the_phones_hold() {
    let mut place = Place::open();
    let sari = place.field.phone("Sari", "officer", VILLAGE);
    let budi = place.field.phone("Budi", "officer", VILLAGE);
    let ids = some_evidence(&sari, "Peraturan", 6);
    meet(&[&sari, &budi]);
    edit(&budi, &ids[0], "Peraturan desa, diubah");
    let unsent = new_evidence(&budi, "Belum dikirim");
    let key = place.field.path("server.key");
    fs::copy(place.field.data().join("server.key"), &key).unwrap();
    place.field.stop();
    fs::remove_dir_all(place.field.data()).unwrap();
    let url = place.door.url();
    place.serve(&["--key", key.to_str().unwrap(), "--public-url", &url]);

    // Let in by their certificates, they give and do not receive.
    let given = sync_at_once(&sari);
    assert_eq!(
        (&given["sent"], &given["gave_back"]),
        (&0.into(), &6.into()),
        "{given}"
    );
    let waits = sari.run(&["status"]).ok().stdout;
    assert!(waits.contains("confirm"), "{waits}");
    sync_at_once(&budi);
    for round in 0..2 {
        edit(&sari, &ids[0], &format!("Menunggu {round}"));
        for phone in [&sari, &budi] {
            let synced = sync_at_once(phone);
            assert_eq!(synced["awaits_confirmation"], true, "{synced}");
            assert_eq!(synced["unsent"], 0, "{synced}");
            let again = sync_at_once(phone);
            assert_eq!(again["sent"], 0, "{again}");
            assert_eq!(again["gave_back"], 0, "{again}");
        }
    }
    assert!(!shown(&sari).contains_key(&unsent));
    let devices = place.field.admin(&["devices"]).ok().stdout;
    assert!(devices.contains("unconfirmed"), "{devices}");
    let status = place.field.admin(&["status", "--json"]).ok().json();
    let counts = ["devices", "devices_active", "devices_unconfirmed"].map(|key| &status[key]);
    assert_eq!(counts, [2, 0, 2], "{status}");

    for person in ["Sari", "Budi"] {
        let device = device_of(&place.field, person);
        place.field.admin(&["confirm", &device]).ok();
    }
    meet(&[&sari, &budi]);
    let all = shown(&sari);
    assert_eq!(all.len(), 7);
    assert!(all[&ids[0]].contains("diubah") && all.contains_key(&unsent));
    place.field.verify();

    // Life goes on.
    some_evidence(&sari, "Sesudahnya", 2);
    edit(&budi, &ids[1], "Sesudahnya");
    meet(&[&sari, &budi]);
    assert_eq!(shown(&budi).len(), 9);

    // Whoever reads the log finds who came first; the other's certificate came with her statements.
    let hers = format!("device={}", device_of(&place.field, "Sari"));
    let log = place.field.stop();
    let told = log.lines().find(|line| line.contains("let in again"));
    assert!(told.is_some_and(|line| line.contains(&hers)), "{log}");
}

#[test]
fn a_server_whose_folder_was_lost_has_framework_and_regions_again_without_an_import() {
    let mut place = Place::open();
    let sari = place.field.phone("Sari", "officer", VILLAGE);
    let id = new_evidence(&sari, "Peraturan");
    sync(&sari).ok();
    let before = frameworks(&place.field);
    assert_eq!(before.as_array().unwrap().len(), 1, "{before}");
    let stands = named_place(&sari, &id);
    let key = place.field.path("server.key");
    fs::copy(place.field.data().join("server.key"), &key).unwrap();
    place.field.stop();
    fs::remove_dir_all(place.field.data()).unwrap();
    let url = place.door.url();
    place.serve(&["--key", key.to_str().unwrap(), "--public-url", &url]);
    assert_eq!(frameworks(&place.field), serde_json::json!([]));

    let synced = sync_at_once(&sari);
    assert_eq!(synced["awaits_confirmation"], true, "{synced}");
    assert_eq!(frameworks(&place.field), before);
    let dewi = place.field.phone("Dewi", "officer", VILLAGE);
    let hers = new_evidence(&dewi, "Peraturan lain");
    assert_eq!(named_place(&dewi, &hers), stands);
    place.field.verify();

    // What the server has is named and no more.
    let position = place.field.position();
    let again = sync_at_once(&sari);
    assert!(again["bytes_up"].as_u64().unwrap() < 2_000, "{again}");
    assert_eq!(place.field.position(), position);
}

#[test]
fn a_server_restored_from_an_old_backup_gets_back_what_came_after_it() {
    let mut place = Place::open();
    let sari = place.field.phone("Sari", "officer", VILLAGE);
    let eko = place.field.phone("Eko", "officer", VILLAGE);
    let before = some_evidence(&sari, "Sebelum", 3);
    meet(&[&sari, &eko]);
    let unused = place.field.invite("officer", VILLAGE, "Terlambat");
    let backup = place.back_up();

    // After it: evidence, a new phone, and an officer who delivers and is revoked then.
    some_evidence(&sari, "Sesudah", 3);
    edit(&sari, &before[0], "Sebelum, diubah");
    let dewi = place.field.phone("Dewi", "officer", VILLAGE);
    let hers = new_evidence(&dewi, "Dari Dewi");
    let his = new_evidence(&eko, "Dari Eko");
    sync(&eko).ok();
    meet(&[&sari, &dewi]);
    let revoked = device_of(&place.field, "Eko");
    place.field.admin(&["revoke", &revoked]).ok();
    sync(&sari).ok();
    let all = shown(&sari);
    assert_eq!(all.len(), 8);
    // Not received by anybody but the server, which is about to lose it.
    let unheard = new_evidence(&dewi, "Belum didengar");
    sync(&dewi).ok();

    place.restore_from(&backup);

    // Of an invitation that was not used before the backup nobody knows whether it was after.
    let late = Phone::new(&place.field.path("Terlambat"));
    let refused = late.run(&["enrol", &unused]);
    sync(&sari).ok();
    let refused_later = late.run(&["enrol", &unused]);
    assert_ne!((refused.status, refused_later.status), (Some(0), Some(0)));

    // What she returned keeps the revoked phone out, and his evidence in.
    let out = sync(&eko);
    assert_ne!(out.status, Some(0), "{out:?}");
    assert!(out.stderr.contains("revoked"), "{out:?}");
    sync(&dewi).ok();
    place
        .field
        .admin(&["confirm", &device_of(&place.field, "Dewi")])
        .ok();
    meet(&[&sari, &dewi]);
    let now = shown(&sari);
    assert_eq!(now.len(), 9);
    assert!(now.contains_key(&hers) && now.contains_key(&his) && now.contains_key(&unheard));
    for (id, evidence) in all {
        assert_eq!(now[&id], evidence);
    }
    place.field.verify();
    let wati = place.field.phone("Wati", "verifier", REGENCY);
    sync(&wati).ok();
}

#[test]
fn a_phone_revoked_since_the_backup_that_comes_first_is_out_once_the_revocation_came_back() {
    let mut place = Place::open();
    let sari = place.field.phone("Sari", "officer", VILLAGE);
    let eko = place.field.phone("Eko", "officer", VILLAGE);
    new_evidence(&sari, "Sebelum");
    meet(&[&sari, &eko]);
    let backup = place.back_up();
    let revoked = device_of(&place.field, "Eko");
    place.field.admin(&["revoke", &revoked]).ok();
    sync(&sari).ok();
    place.restore_from(&backup);

    // Nobody has told the server yet, nor him.
    let his = new_evidence(&eko, "Sesudah dicabut");
    sync(&eko).ok();
    sync(&sari).ok();
    // What the server said it has stays, under his name.
    assert!(shown(&sari).contains_key(&his));
    let unsent = new_evidence(&eko, "Tidak terkirim");
    let out = sync(&eko);
    assert_ne!(out.status, Some(0), "{out:?}");
    assert!(out.stderr.contains("revoked"), "{out:?}");
    let held = quarantined(&eko);
    assert!(
        held.iter().any(|run| text(&run["document"]) == unsent),
        "{held:?}"
    );
    sync(&sari).ok();
    assert_eq!(shown(&sari).len(), 2);
    place.field.verify();
}

#[test]
fn a_server_that_was_rolled_back_under_its_phones_meets_them_again() {
    let mut place = Place::open();
    let sari = place.field.phone("Sari", "officer", VILLAGE);
    let budi = place.field.phone("Budi", "officer", VILLAGE);
    let ids = some_evidence(&sari, "Sebelum", 3);
    meet(&[&sari, &budi]);
    place.field.stop();
    let snapshot = place.field.path("snapshot");
    copy(&place.field.data(), &snapshot);
    place.serve(&[]);
    for round in 0..3 {
        edit(&sari, &ids[round], "Diubah Sari");
        edit(&budi, &ids[(round + 1) % 3], "Diubah Budi");
        some_evidence(&budi, "Sesudah", 1);
        sync(&budi).ok();
        sync(&sari).ok();
    }
    // Edits on both sides of the rollback build on what only the phones have.
    edit(&sari, &ids[2], "Terakhir");
    place.field.kill();
    place.roll_back_to(&snapshot);
    let third = place.field.phone("Tono", "officer", VILLAGE);
    some_evidence(&third, "Garis lain", 3);
    sync(&third).ok();
    meet(&[&sari, &budi, &third]);
    assert_eq!(shown(&third).len(), 9);
    place.field.verify();
    edit(&budi, &ids[0], "Sesudah segalanya");
    edit(&third, &ids[1], "Sesudah segalanya");
    meet(&[&sari, &budi, &third]);
    let codes: BTreeSet<String> = findings_of(&place.field).into_keys().collect();
    assert_eq!(codes, BTreeSet::from(["cursor-void".to_owned()]));
}

#[test]
fn a_server_restored_from_a_backup_that_is_a_thousand_documents_old_gets_them_from_one_phone() {
    const BEFORE: usize = 200;
    const SINCE: usize = 1_000;
    let mut place = Place::open();
    let budi = place.field.phone("Budi", "officer", VILLAGE);
    place.field.stop();
    let mut making = Making::go_on(&place.field.data(), 0);
    making.documents(BEFORE);
    drop(making);
    place.serve(&[]);
    sync(&budi).ok();
    let copy = place.field.path("backup");
    let copy = copy.to_str().unwrap().to_owned();
    place.field.admin(&["backup", "--to", &copy]).ok();
    place.field.stop();
    let mut making = Making::go_on(&place.field.data(), 1);
    making.documents(SINCE);
    drop(making);
    place.serve(&[]);
    sync(&budi).ok();
    assert_eq!(listed(&budi).len(), BEFORE + SINCE);
    let documents = |place: &Place| place.field.admin(&["status", "--json"]).ok().json();
    let key = place.field.path("server.key");
    place.field.kill();
    fs::copy(place.field.data().join("server.key"), &key).unwrap();
    fs::remove_dir_all(place.field.data()).unwrap();
    let key = key.to_str().unwrap();
    let restore = ["restore", "--from", &copy, "--key", key];
    place.field.admin(&restore).ok();
    place.serve(&[]);
    assert_eq!(documents(&place)["documents"], BEFORE);

    let synced = sync_at_once(&budi);
    assert_eq!(synced["gave_back"], SINCE, "{synced}");
    assert_eq!(documents(&place)["documents"], BEFORE + SINCE);
    let later = place.field.phone("Rina", "officer", VILLAGE);
    assert_eq!(listed(&later).len(), BEFORE + SINCE);
    expect_nothing_open(&[&budi, &later]);
    place.field.verify();
}

#[test]
fn a_phone_without_its_store_is_sent_what_it_had() {
    let place = Place::open();
    let sari = place.field.phone("Sari", "officer", VILLAGE);
    let ids = some_evidence(&sari, "Peraturan", 4);
    sync(&sari).ok();
    let unsent = new_evidence(&sari, "Belum dikirim");
    let had = shown(&sari);
    fs::remove_dir_all(sari.data().join("store")).unwrap();
    sync(&sari).ok();
    assert_eq!(shown(&sari), had);
    assert!(had.contains_key(&unsent));
    edit(&sari, &ids[0], "Sesudahnya");
    meet(&[&sari]);
    assert_eq!(findings_of(&place.field), BTreeMap::new());
}

#[test]
fn two_phones_with_one_store_lose_nothing() {
    let place = Place::open();
    let sari = place.field.phone("Sari", "officer", VILLAGE);
    let witness = place.field.phone("Budi", "officer", VILLAGE);
    let ids = some_evidence(&sari, "Bersama", 2);
    new_evidence(&sari, "Belum dikirim");
    let twin = Phone::new(&place.field.path("twin"));
    copy(sari.data(), twin.data());
    edit(&sari, &ids[0], "Dari yang pertama");
    edit(&twin, &ids[1], "Dari yang kedua");
    some_evidence(&sari, "Pertama", 2);
    some_evidence(&twin, "Kedua", 2);
    meet(&[&sari, &twin, &witness]);
    let all = shown(&witness);
    assert_eq!(all.len(), 7);
    assert!(all[&ids[0]].contains("Dari yang pertama") && all[&ids[1]].contains("Dari yang kedua"));
    some_evidence(&sari, "Pertama lagi", 1);
    some_evidence(&twin, "Kedua lagi", 1);
    meet(&[&sari, &twin, &witness]);
    assert_eq!(shown(&witness).len(), 9);
    let told = BTreeMap::from([("stale-store".to_owned(), "Sari".to_owned())]);
    assert_eq!(findings_of(&place.field), told);
}

#[test]
fn a_phone_put_back_to_its_own_backup_goes_on() {
    let place = Place::open();
    let sari = place.field.phone("Sari", "officer", VILLAGE);
    let witness = place.field.phone("Budi", "officer", VILLAGE);
    let ids = some_evidence(&sari, "Sebelum", 2);
    sync(&sari).ok();
    let backup = place.field.path("phone-backup");
    copy(sari.data(), &backup);
    edit(&sari, &ids[0], "Sesudah cadangan");
    some_evidence(&sari, "Sesudah cadangan", 2);
    sync(&sari).ok();
    copy(&backup, sari.data());
    edit(&sari, &ids[1], "Sesudah dikembalikan");
    some_evidence(&sari, "Sesudah dikembalikan", 1);
    meet(&[&sari, &witness]);
    let all = shown(&witness);
    assert_eq!(all.len(), 5);
    assert!(all[&ids[0]].contains("Sesudah cadangan"));
    assert!(all[&ids[1]].contains("Sesudah dikembalikan"));
    let told = BTreeMap::from([("stale-store".to_owned(), "Sari".to_owned())]);
    assert_eq!(findings_of(&place.field), told);
}

#[test]
fn seven_of_two_thousand_documents_are_found_and_given_back_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let compared = comparing::seven_that_differ(folder.path(), 2_000);
    assert_eq!(compared.given, 7);
    assert!(compared.is_within(), "{compared:?}");
    assert!(compared.counted.comparing_round_trips > 0, "{compared:?}");
}

#[test]
fn edits_of_a_copied_phone_that_can_build_on_nothing_lie_in_quarantine_with_their_words() {
    for elsewhere in [None, Some("13.76.01.1002")] {
        let place = Place::open();
        let sari = place.field.phone("Sari", "officer", VILLAGE);
        let [id] = &some_evidence(&sari, "Bersama", 1)[..] else {
            panic!("one was asked for");
        };
        sync(&sari).ok();
        let twin = Phone::new(&place.field.path("twin"));
        copy(sari.data(), twin.data());
        edit(&sari, id, "Dari yang pertama");
        sync(&sari).ok();
        edit(&twin, id, "Dari salinan");
        fs::remove_dir_all(twin.data().join("store")).unwrap();
        let device = text(&sari.run(&["status", "--json"]).ok().json()["device"]);
        let granting = ["grant", &device, "--role", "officer", "--region"];
        if let Some(region) = elsewhere {
            place.field.admin(&[&granting[..], &[region]].concat()).ok();
        }
        let removing = [&granting[..], &[VILLAGE, "--remove"]].concat();
        place.field.admin(&removing).ok();

        sync(&twin).ok();
        let status = twin.run(&["status", "--json"]).ok().json();
        assert_eq!(status["unsent"], 0, "{status}");
        let [refused] = &quarantined(&twin)[..] else {
            panic!("{:?}", quarantined(&twin));
        };
        assert_eq!(refused["title"], "Dari salinan", "{refused}");
        let again = twin.run(&["quarantine", "reenter", "1"]);
        assert_eq!(again.stdout, "", "{again:?}");
        assert!(again.stderr.contains(id.as_str()), "{again:?}");
        let granting = [&granting[..], &[VILLAGE]].concat();
        place.field.admin(&granting).ok();
        sync(&twin).ok();
        twin.run(&["quarantine", "reenter", "1"]).ok();
        sync(&twin).ok();
        // Both titles are there, as of any two people who wrote at the same time.
        let shown = twin.run(&["evidence", "show", id, "--json"]).ok().json();
        let values = shown["conflicts"][0]["values"].as_array().unwrap();
        let titles: BTreeSet<String> = values.iter().map(|value| text(&value["value"])).collect();
        let both = ["Dari salinan", "Dari yang pertama"].map(str::to_owned);
        assert_eq!(titles, BTreeSet::from(both), "{shown}");
        place.field.verify();
    }
}
