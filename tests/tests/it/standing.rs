//! Devices that come back after a loss with their certificate, as an administrator sees them.

use bukti_core::authority::{Grant, Role};
use bukti_core::id::DeviceId;
use bukti_core::record::{Certificate, Fact, Signed, Statement};
use bukti_server::config::Config;
use bukti_server::folder::Folder;
use bukti_server::metrics::Metrics;
use bukti_tests::process::Printed;
use ed25519_dalek::SigningKey;
use serde_json::Value;

use crate::field::{Field, VILLAGE, text};

/// Lets a device in by its certificate, as a session does, while nobody serves.
fn let_in(field: &Field, person: &str) -> DeviceId {
    let mut started = Folder::new(field.data())
        .open(
            None,
            None,
            &Config::default(),
            &Metrics::default(),
            &mut |_| {},
        )
        .unwrap();
    let device = DeviceId(SigningKey::from_bytes(&[77; 32]).verifying_key().to_bytes());
    let certificate = Certificate {
        device,
        person: person.to_owned(),
        grants: vec![Grant {
            role: Role::Officer,
            scope: VILLAGE.parse().unwrap(),
        }],
        journal: started.ledger.reader().journal(),
        invitation: [7; 32],
    };
    let statement = Statement {
        at: 1_700_000_000_000,
        fact: Fact::Enrolment(certificate),
    };
    let certificate = Signed::new(statement, &started.key).to_bytes();
    let now = 1_800_000_000_000;
    let admitted = started.ledger.readmit(now, device, &certificate).unwrap();
    assert_eq!(admitted.unwrap().device, device);
    device
}

fn listed(field: &Field, person: &str) -> Value {
    let devices = field.admin(&["devices", "--json"]).ok().json();
    let devices = devices["devices"].as_array().unwrap();
    let device = devices.iter().find(|device| device["person"] == person);
    device.unwrap().clone()
}

/// The line of `status` about one thing.
fn line_of<'s>(status: &'s str, name: &str) -> &'s str {
    let named = |line: &&str| line.split_whitespace().next() == Some(name);
    status.lines().find(named).unwrap()
}

fn refused(printed: &Printed, says: &str) {
    assert_eq!(printed.status, Some(2), "{printed:?}");
    assert_eq!(printed.stdout, "", "{printed:?}");
    assert_eq!(printed.stderr.lines().count(), 1, "{printed:?}");
    assert!(printed.stderr.contains(says), "'{says}' in {printed:?}");
}

#[test]
fn an_administrator_confirms_a_device_that_came_back_serving_or_not() {
    for serving in [true, false] {
        let mut field = Field::open(&[]);
        field.phone("sari", "officer", VILLAGE);
        field.stop();
        let device = let_in(&field, "Budi").to_string();
        if serving {
            field.serve(&[]);
        }
        let shown = field.admin(&["devices"]).ok().stdout;
        let line = shown.lines().find(|line| line.contains("Budi")).unwrap();
        assert!(line.contains("unconfirmed"), "{shown}");
        assert_eq!(listed(&field, "Budi")["confirmed"], false);

        let counted = field.admin(&["status"]).ok().stdout;
        let counted = line_of(&counted, "devices");
        let all = "2: 1 active, 1 waits for 'bukti-server confirm'";
        assert!(counted.ends_with(all), "{counted}");

        let printed = field.admin(&["confirm", &device[..8]]).ok();
        let said: Vec<&str> = printed.stdout.lines().collect();
        let (first, may) = (format!("confirmed {device}"), "Budi may from here on");
        assert_eq!(said[..2], [first.as_str(), may], "{printed:?}");
        // What it may do, so that a grant is noticed that was taken away in what was lost.
        let grant = |line: &&str| line.starts_with("officer") && line.ends_with(VILLAGE);
        assert_eq!(
            said.iter().filter(|line| grant(line)).count(),
            1,
            "{printed:?}"
        );
        assert_eq!(listed(&field, "Budi")["confirmed"], true);
        assert!(
            !field
                .admin(&["devices"])
                .ok()
                .stdout
                .contains("unconfirmed")
        );

        refused(&field.admin(&["confirm", &device]), "is confirmed already");
        let sari = text(&listed(&field, "sari")["device"]);
        refused(&field.admin(&["confirm", &sari]), "is confirmed already");
        field.admin(&["revoke", &sari]).ok();
        refused(&field.admin(&["confirm", &sari]), "was revoked before");
        let counted = field.admin(&["status"]).ok().stdout;
        let counted = line_of(&counted, "devices");
        assert!(counted.ends_with("2: 1 active, 1 revoked"), "{counted}");
        refused(&field.admin(&["confirm", "nobody-here"]), "names no device");
        field.verify();
    }
}

#[test]
fn the_invitations_of_a_backup_are_void_once_it_is_restored() {
    let mut field = Field::open(&[]);
    let link = field.invite("officer", VILLAGE, "Sari");
    let copy = field.path("copy");
    let copy = copy.to_str().unwrap();
    field.admin(&["backup", "--to", copy]).ok();
    field.stop();
    let key = field.path("kept.key");
    std::fs::rename(field.data().join("server.key"), &key).unwrap();
    std::fs::remove_dir_all(field.data()).unwrap();
    let restored = field.admin(&["restore", "--from", copy, "--key", key.to_str().unwrap()]);
    let said = restored.ok().stdout;
    assert!(said.contains("void"), "{said}");
    let open = field.admin(&["devices", "--json"]).ok().json();
    assert_eq!(open["invitations"], serde_json::json!([]));
    field.serve(&[]);
    let port = field.address().port().to_string();
    let (host, rest) = link.split_once("/enrol").unwrap();
    let (host, _) = host.rsplit_once(':').unwrap();
    let phone = bukti_tests::process::Phone::new(&field.path("sari"));
    let refused = phone.run(&["enrol", &format!("{host}:{port}/enrol{rest}")]);
    assert_ne!(refused.status, Some(0), "{refused:?}");
    assert!(refused.stderr.contains("may have been used"), "{refused:?}");
    let fresh = field.phone("budi", "officer", VILLAGE);
    assert!(fresh.data().exists());
    field.verify();
}
