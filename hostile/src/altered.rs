//! Valid inputs with something altered, as whoever holds a device's key may make them.

use bukti_core::change::Parsed;
use bukti_core::change::forge::Forge;
use bukti_core::hash::{Hasher, domain};
use bukti_core::id::RunId;
use bukti_sync_protocol::deflate::pack;

use crate::body;
use crate::dice::{Dice, mutate, mutate_cbor};
use crate::pen::Pen;

/// A frame made of one of `seeds`, deflated or not, altered before that or after.
pub fn frame(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = dice.pick(seeds).clone();
    let plain = bytes.first() == Some(&0);
    match dice.below(4) {
        0 => mutate(dice, &mut bytes, seeds),
        _ if plain => {
            let mut cbor = bytes.split_off(1);
            mutate_cbor(dice, &mut cbor, seeds);
            bytes.extend(cbor);
        }
        _ => mutate(dice, &mut bytes, seeds),
    }
    if dice.once_in(4) && bytes.len() > 1 {
        // What the peer deflated is just as much its own.
        bytes = pack(&bytes[1..], true);
        if dice.once_in(2) {
            mutate(dice, &mut bytes, seeds);
        }
    }
    bytes
}

/// A run with a proper change, whose envelope was altered and signed again.
///
/// # Panics
/// If the pen writes nothing.
pub fn envelope(pen: &mut Pen, dice: &mut Dice) -> Vec<u8> {
    let run = pen.put("a", 1).sealed_run();
    let mut body = minicbor::to_vec(run.envelope.body()).expect("writing to a vector");
    mutate_cbor(dice, &mut body, &[]);
    run_of(&body::sign(&pen.key, &body), &run.changes)
}

/// A run of several changes, of which some are moved, lost, repeated or somebody else's, or whose
/// bytes were altered as they come.
pub fn run(pen: &mut Pen, dice: &mut Dice, foreign: &[u8]) -> Vec<u8> {
    for number in 0..3 {
        pen.put("a", number);
    }
    let mut changes = pen.unsealed();
    let (one, other) = (dice.below(changes.len()), dice.below(changes.len()));
    match dice.below(7) {
        0 => changes.swap(one, other),
        1 => drop(changes.remove(one)),
        2 => changes.insert(one, changes[other].clone()),
        3 => changes[one] = foreign.to_vec(),
        4 => mutate(dice, &mut changes[one], &[foreign.to_vec()]),
        5 => changes.resize(1 + dice.below(90), changes[one].clone()),
        _ => {}
    }
    let (number, first) = (dice.odd_number(), dice.odd_number());
    let (lie, which) = (dice.once_in(3), dice.below(4));
    let run = pen.seal_run(changes, |body| match (lie, which) {
        (true, 0) => body.number = number,
        (true, 1) => body.first_seq = first,
        (true, 2) => body.publish = true,
        (true, _) => body.device_time = i64::MIN,
        (false, _) => {}
    });
    let mut bytes = run.to_bytes();
    if dice.once_in(3) {
        mutate_cbor(dice, &mut bytes, &[]);
    }
    bytes
}

/// A run around one change that was altered after Automerge made it, with the checksum and the
/// signature that fit.
pub fn change(pen: &mut Pen, dice: &mut Dice) -> Vec<u8> {
    let raw = pen.put("a", dice.below(9) as i64).last_raw();
    let mut forge = Forge::of(&raw);
    parts(dice, &mut forge);
    let bytes = forge.bytes();
    let seq = Parsed::open(&bytes).map_or(1, |parsed| parsed.seq);
    let run = pen.seal_run(vec![bytes], |body| body.first_seq = seq);
    run.to_bytes()
}

/// What a server calls a run of which it can read no more than the name.
pub fn name(run: &[u8]) -> Option<RunId> {
    let mut run = minicbor::Decoder::new(run);
    run.array().ok()?;
    let mut envelope = minicbor::Decoder::new(run.bytes().ok()?);
    envelope.array().ok()?;
    let body = envelope.bytes().ok()?;
    Some(RunId(Hasher::new(domain::RUN).fixed(body).finish_16()))
}

/// A run around any envelope and changes.
fn run_of(envelope: &[u8], changes: &[Vec<u8>]) -> Vec<u8> {
    let mut encoder = minicbor::Encoder::new(Vec::new());
    let written = (|| {
        encoder.array(2)?.bytes(envelope)?;
        encoder.array(changes.len() as u64)?;
        changes
            .iter()
            .try_for_each(|it| encoder.bytes(it).map(drop))
    })();
    written.expect("writing to a vector");
    encoder.into_writer()
}

/// Alters one or two parts of a change.
pub fn parts(dice: &mut Dice, forge: &mut Forge) {
    for _ in 0..=dice.below(2) {
        match dice.below(14) {
            0 => forge.seq = dice.odd_number(),
            1 => forge.start_op = forge.start_op.wrapping_add(dice.below(3) as u64).max(1) - 1,
            2 => forge.start_op = dice.odd_number(),
            3 => forge.time = dice.odd_number() as i64,
            4 => forge.deps.push([dice.byte(); 32]),
            5 => drop(forge.deps.pop()),
            6 => mutate(dice, &mut forge.message, &[]),
            7 => forge.other_actors.push(vec![dice.byte(); 16]),
            8 if dice.once_in(4) => forge.extra = vec![1, 1, b'x'],
            9 => mutate(dice, &mut forge.actor, &[]),
            _ if forge.columns.is_empty() => forge.columns.push((dice.odd_number(), vec![0])),
            10 => {
                let at = dice.below(forge.columns.len());
                forge.columns[at].0 = dice.odd_number();
            }
            11 => {
                let at = dice.below(forge.columns.len());
                forge.columns.remove(at);
            }
            _ => {
                let all: Vec<Vec<u8>> = forge.columns.iter().map(|(_, b)| b.clone()).collect();
                let at = dice.below(forge.columns.len());
                let column = &mut forge.columns[at].1;
                if dice.once_in(2) || column.is_empty() {
                    mutate(dice, column, &all);
                } else {
                    // One step up or down keeps most of a column in the form that Automerge writes.
                    let byte = dice.below(column.len());
                    let step = *dice.pick(&[1, 2, 127, 255, 254]);
                    column[byte] = column[byte].wrapping_add(step);
                }
            }
        }
    }
}
