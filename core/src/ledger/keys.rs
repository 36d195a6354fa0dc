//! Keys of the derived rows. The first byte names the table; numbers are big endian, so that the
//! order of keys is the order of numbers. `docs/storage.md` has the whole list.

use crate::authority::Audience;
use crate::id::{DeviceId, DocumentId, Incarnation, Position, RunId};
use crate::scope::Scope;

pub(super) const META: &[u8] = b"m";
/// Stands only from when a damaged row was found until all are made anew.
pub(super) const DAMAGED: &[u8] = b"!";
pub(super) const DOCUMENT: u8 = b'd';
pub(super) const CONTENT: u8 = b'c';
pub(super) const ENVELOPE: u8 = b'e';
pub(super) const RUN: u8 = b'r';
pub(super) const NUMBER: u8 = b'n';
pub(super) const SCOPE_RECORD: u8 = b's';
pub(super) const ENTRY: u8 = b'x';
pub(super) const CHANGED: u8 = b'a';
pub(super) const LAST: u8 = b'l';
pub(super) const BELOW: u8 = b'b';
pub(super) const DIGEST: u8 = b'g';
pub(super) const DEVICE: u8 = b'v';
pub(super) const INVITATION: u8 = b'i';
pub(super) const FACT: u8 = b'f';
pub(super) const FRAMEWORK: u8 = b'w';
pub(super) const REGIONS: u8 = b'p';
pub(super) const QUOTA: u8 = b'q';
pub(super) const FINDING: u8 = b'k';
pub(super) const FOUND: u8 = b't';
pub(super) const AWAITED: u8 = b'u';
pub(super) const STATED: u8 = b'o';
pub(super) const HORIZON: &[u8] = b"h";
pub(super) const PLACEMENT: u8 = b'y';
pub(super) const TOLD: u8 = b'z';
pub(super) const REVOKED: u8 = b'j';

/// Ends a scope inside a key. No scope contains it, so no scope's rows begin with another's.
/// Ends the code of a finding that has a place; codes are words.
const PLACED: u8 = 1;

const END: u8 = 0;

/// All keys from the first bound to before the second.
pub(super) type Range = (Vec<u8>, Vec<u8>);

pub(super) fn document(id: &DocumentId) -> Vec<u8> {
    join(DOCUMENT, &[&id.0])
}

pub(super) fn content(id: &DocumentId) -> Vec<u8> {
    join(CONTENT, &[&id.0])
}

pub(super) fn envelope(document: &DocumentId, position: Position) -> Vec<u8> {
    join(ENVELOPE, &[&document.0, &position.to_be_bytes()])
}

pub(super) fn envelopes(document: &DocumentId) -> Range {
    starting_with(join(ENVELOPE, &[&document.0]))
}

pub(super) fn run(id: &RunId) -> Vec<u8> {
    join(RUN, &[&id.0])
}

pub(super) fn number(device: &DeviceId, incarnation: &Incarnation, number: u64) -> Vec<u8> {
    join(NUMBER, &[&device.0, &incarnation.0, &number.to_be_bytes()])
}

pub(super) fn numbers(device: &DeviceId, incarnation: &Incarnation) -> Range {
    starting_with(join(NUMBER, &[&device.0, &incarnation.0]))
}

pub(super) fn scope_record(scope: &Scope, position: Position) -> Vec<u8> {
    join(
        SCOPE_RECORD,
        &[scope_bytes(scope), &[END], &position.to_be_bytes()],
    )
}

/// Records of a scope behind `after` up to `upto`.
pub(super) fn scope_records(scope: &Scope, after: Position, upto: Position) -> Range {
    (
        scope_record(scope, after.saturating_add(1)),
        scope_record(scope, upto.saturating_add(1)),
    )
}

pub(super) fn entry(scope: &Scope, audience: Audience, position: Position) -> Vec<u8> {
    join(
        ENTRY,
        &[
            scope_bytes(scope),
            &[END, audience_byte(audience)],
            &position.to_be_bytes(),
        ],
    )
}

/// Entries of a scope up to `upto`.
pub(super) fn entries(scope: &Scope, audience: Audience, upto: Position) -> Range {
    (
        entry(scope, audience, 0),
        entry(scope, audience, upto.saturating_add(1)),
    )
}

pub(super) fn changed(ancestor: &Scope, last: Position, scope: &Scope) -> Vec<u8> {
    join(
        CHANGED,
        &[
            scope_bytes(ancestor),
            &[END],
            &last.to_be_bytes(),
            scope_bytes(scope),
        ],
    )
}

/// Scopes below `ancestor` whose last record is behind `after`.
pub(super) fn changed_after(ancestor: &Scope, after: Position) -> Range {
    let from = join(
        CHANGED,
        &[
            scope_bytes(ancestor),
            &[END],
            &after.saturating_add(1).to_be_bytes(),
        ],
    );
    (
        from,
        starting_with(join(CHANGED, &[scope_bytes(ancestor), &[END]])).1,
    )
}

pub(super) fn last(scope: &Scope) -> Vec<u8> {
    join(LAST, &[scope_bytes(scope)])
}

pub(super) fn below(ancestor: &Scope, scope: &Scope) -> Vec<u8> {
    join(BELOW, &[scope_bytes(ancestor), &[END], scope_bytes(scope)])
}

pub(super) fn all_below(ancestor: &Scope) -> Range {
    starting_with(join(BELOW, &[scope_bytes(ancestor), &[END]]))
}

pub(super) fn digest(prefix: &Scope, audience: Audience) -> Vec<u8> {
    join(
        DIGEST,
        &[scope_bytes(prefix), &[END, audience_byte(audience)]],
    )
}

pub(super) fn device(id: &DeviceId) -> Vec<u8> {
    join(DEVICE, &[&id.0])
}

pub(super) fn invitation(hash: &[u8; 32]) -> Vec<u8> {
    join(INVITATION, &[hash])
}

pub(super) fn fact(position: Position) -> Vec<u8> {
    join(FACT, &[&position.to_be_bytes()])
}

/// Facts behind `after` up to `upto`.
pub(super) fn facts(after: Position, upto: Position) -> Range {
    (fact(after.saturating_add(1)), fact(upto.saturating_add(1)))
}

pub(super) fn framework(id: &str, version: &str) -> Vec<u8> {
    join(FRAMEWORK, &[id.as_bytes(), b"@", version.as_bytes()])
}

pub(super) fn regions(parent: &Scope) -> Vec<u8> {
    join(REGIONS, &[scope_bytes(parent)])
}

/// The position of the last enrolment or grants of a device.
pub(super) fn told(device: &DeviceId) -> Vec<u8> {
    join(TOLD, &[&device.0])
}

/// The position of the last revocation of a device.
pub(super) fn revoked(device: &DeviceId) -> Vec<u8> {
    join(REVOKED, &[&device.0])
}

pub(super) fn placement(unit: &Scope) -> Vec<u8> {
    join(PLACEMENT, &[scope_bytes(unit)])
}

pub(super) fn quota(device: &DeviceId) -> Vec<u8> {
    join(QUOTA, &[&device.0])
}

pub(super) fn finding(position: Position) -> Vec<u8> {
    join(FINDING, &[&position.to_be_bytes()])
}

/// Where a finding is remembered, so that each is kept once. What ends the code tells whether a
/// place follows; the four lengths of the rest tell which of device and document it names.
pub(super) fn found(
    code: &str,
    place: Option<&str>,
    device: Option<&DeviceId>,
    document: Option<&DocumentId>,
) -> Vec<u8> {
    let place = place.map_or_else(Vec::new, |place| join(PLACED, &[place.as_bytes()]));
    let device = device.map_or(&[][..], |device| &device.0);
    let document = document.map_or(&[][..], |document| &document.0);
    join(FOUND, &[code.as_bytes(), &place, &[END], device, document])
}

pub(super) fn awaited(device: &DeviceId) -> Vec<u8> {
    join(AWAITED, &[&device.0])
}

/// The latest time for which the regions below `parent` were stated.
pub(super) fn stated_regions(parent: &Scope) -> Vec<u8> {
    join(STATED, &[&[REGIONS], scope_bytes(parent)])
}

/// The latest time for which a move of `unit` was stated.
pub(super) fn stated_move(unit: &Scope) -> Vec<u8> {
    join(STATED, &[b"m", scope_bytes(unit)])
}

/// All rows of a table.
pub(super) fn table(name: u8) -> Range {
    (vec![name], vec![name + 1])
}

/// All rows there can be: tables are named by letters.
pub(super) fn everything() -> Range {
    (vec![0], vec![0x80])
}

/// What follows `skip` bytes of a key, if it is that long.
pub(super) fn tail(key: &[u8], skip: usize) -> Option<&[u8]> {
    key.get(skip..)
}

/// The last eight bytes of a key as a number.
pub(super) fn last_number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.last_chunk::<8>()?))
}

/// What stands behind a table's name and one scope.
pub(super) fn behind_scope<'k>(key: &'k [u8], scope: &Scope) -> Option<&'k [u8]> {
    tail(key, 1 + scope_bytes(scope).len() + 1)
}

/// The scope that `bytes` spell.
pub(super) fn scope(bytes: &[u8]) -> Option<Scope> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn audience_byte(audience: Audience) -> u8 {
    match audience {
        Audience::Unit => 0,
        Audience::All => 1,
    }
}

fn scope_bytes(scope: &Scope) -> &[u8] {
    scope.as_str().as_bytes()
}

fn join(table: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(table);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// All keys that begin with `prefix`, which never ends in 0xff: its last byte is a table's name,
/// the end of a scope, or part of an id, whose range ends at the next id or table.
fn starting_with(prefix: Vec<u8>) -> Range {
    let mut end = prefix.clone();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    (prefix, end)
}
