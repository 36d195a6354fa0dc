//! Every role, action, kind of document, relation of scopes and moment, through a real server.
//!
//! Devices of every role, with grants that lie to the places of a small programme in every way,
//! live through everything that may happen to grants and units: [`reading`] compares what each
//! holds, and what came to it on the way, with the [`table`]; [`writing`] compares what becomes of
//! what each pushes. Grants, moves and revocations are those of the server's own commands.

mod reading;
mod table;
mod writing;

use std::thread;

use bukti_core::envelope::DocumentKind;
use bukti_core::id::{DeviceId, Incarnation, Position};
use bukti_sync_protocol::client::Opening;
use bukti_sync_protocol::link::InvitationLink;
use bukti_tests::wire::{Enrolled, Wire};
use ed25519_dalek::SigningKey;

use self::table::{Grants, MOVING_AGENCY, MOVING_VILLAGE};
use crate::field::Field;

/// Commands that run at once: their processes start while the server syncs those before.
const COMMANDS_AT_ONCE: usize = 4;

/// What an administrator does, each a command of its own, in no order; gives the position of each.
fn command(field: &Field, commands: &[Vec<String>]) -> Vec<Position> {
    let mut positions = vec![0; commands.len()];
    let share = commands.len().div_ceil(COMMANDS_AT_ONCE).max(1);
    thread::scope(|scope| {
        let shares = commands.chunks(share).zip(positions.chunks_mut(share));
        for (commands, positions) in shares {
            scope.spawn(move || {
                for (command, position) in commands.iter().zip(positions) {
                    let words: Vec<&str> = command.iter().map(String::as_str).collect();
                    let said = field.admin(&words).ok().json();
                    *position = said["position"].as_u64().unwrap();
                }
            });
        }
    });
    positions
}

/// The commands that lead from some grants of a device to others: what is new comes first, so that
/// whoever is narrowed is never without.
fn regrant(device: DeviceId, from: &Grants, to: &Grants) -> Vec<Vec<String>> {
    let without = |these: &Grants, those: &Grants| -> Grants {
        let mut rest = these.clone();
        rest.retain(|grant| !those.contains(grant));
        rest
    };
    let added = granting(device, without(to, from), None);
    let removed = granting(device, without(from, to), Some("--remove"));
    added.into_iter().chain(removed).collect()
}

fn granting(device: DeviceId, mut grants: Grants, how: Option<&str>) -> Vec<Vec<String>> {
    grants.sort_unstable();
    let of_role = grants.chunk_by(|one, other| one.0 == other.0);
    of_role
        .map(|grants| {
            let scopes = grants.iter().map(|(_, scope)| *scope);
            let device = device.to_string();
            let words = ["grant", &device, "--role", grants[0].0, "--region"];
            let words = words.into_iter().chain(scopes).chain(how).chain(["--json"]);
            words.map(str::to_owned).collect()
        })
        .collect()
}

/// The commands that move the units away, or back.
fn moving(away: bool) -> Vec<Vec<String>> {
    let units = [MOVING_VILLAGE, MOVING_AGENCY];
    units
        .into_iter()
        .map(|[unit, home, abroad]| {
            let to = if away { abroad } else { home };
            ["move", unit, "--to", to, "--json"]
                .map(str::to_owned)
                .into()
        })
        .collect()
}

fn revoking(device: DeviceId) -> Vec<String> {
    ["revoke", &device.to_string(), "--json"]
        .map(str::to_owned)
        .into()
}

/// Invitations, one for each role and scope asked for.
fn invitations(field: &Field, grants: &Grants) -> Vec<InvitationLink> {
    let share = grants.len().div_ceil(COMMANDS_AT_ONCE).max(1);
    thread::scope(|scope| {
        let shares = grants.chunks(share).map(|grants| {
            scope.spawn(move || {
                let links = grants
                    .iter()
                    .map(|(role, at)| field.invite(role, at, "somebody").parse().unwrap());
                links.collect::<Vec<InvitationLink>>()
            })
        });
        let shares: Vec<_> = shares.collect();
        let links = shares.into_iter().flat_map(|share| share.join().unwrap());
        links.collect()
    })
}

/// A key of its own for every number.
fn key(number: usize) -> SigningKey {
    let mut secret = [0x51; 32];
    secret[..8].copy_from_slice(&(number as u64).to_le_bytes());
    SigningKey::from_bytes(&secret)
}

fn id_of(key: &SigningKey) -> DeviceId {
    DeviceId(key.verifying_key().to_bytes())
}

/// Enrols a key that the test holds.
async fn enrol(field: &Field, key: &SigningKey, link: &InvitationLink) -> Enrolled {
    let mut wire = Wire::open(field.address()).await;
    wire.enrol(key, link).await.unwrap()
}

/// Opens a session that asks for nothing but an empty place: its device only gives. The
/// incarnation is one under which nothing is ever sealed, so that whatever was sent before is
/// never taken for a copied store.
fn giving(key: &SigningKey, enrolled: &Enrolled, token: Option<Vec<u8>>) -> Opening {
    Opening {
        key: key.clone(),
        server: enrolled.server,
        journal: enrolled.id,
        token,
        incarnation: Incarnation([0xee; 16]),
        last: None,
        scopes: vec![table::ELSEWHERE.parse().unwrap()],
        cursor: None,
        held: Vec::new(),
        agent: "test".into(),
        certificate: Vec::new(),
        owed: Vec::new(),
        compare: false,
    }
}

/// How a document is called in a failure.
fn called(kind: DocumentKind, state: &str, place: &str) -> String {
    format!("{state} {} of {place}", kind.as_str())
}

/// A server without programme or list of places: every code is a place. It pings rarely, since the
/// devices of a test answer only when it is their turn.
fn programme() -> Field {
    let patient = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/matrix/server.toml");
    Field::empty(&["--config", patient, "--log", "error"])
}

/// Somebody who may begin documents of every kind everywhere.
async fn author(field: &Field, key: &SigningKey) -> Enrolled {
    let link = field.invite("unit-head", "all", "author");
    let enrolled = enrol(field, key, &link.parse().unwrap()).await;
    let device = id_of(key).to_string();
    let granted = [
        "grant",
        &device,
        "--role",
        "administrator",
        "--region",
        "all",
    ];
    field.admin(&granted).ok();
    enrolled
}

/// The position of a statement that concerns everybody who reads anything.
fn ring(field: &Field, bell: DeviceId, rings: usize) -> Position {
    let how = if rings.is_multiple_of(2) {
        None
    } else {
        Some("--remove")
    };
    let device = bell.to_string();
    let words = [
        "grant", &device, "--role", "verifier", "--region", "98", "--json",
    ];
    let words: Vec<&str> = words.into_iter().chain(how).collect();
    let said = field.admin(&words).ok().json();
    said["position"].as_u64().unwrap()
}

/// Enrols the device whose grants everybody hears of, since they are on everything.
async fn bell(field: &Field) -> DeviceId {
    let key = key(9_999);
    let link = field.invite("observer", "all", "bell");
    enrol(field, &key, &link.parse().unwrap()).await;
    id_of(&key)
}
