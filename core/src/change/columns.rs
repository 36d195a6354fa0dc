//! Measures the columns of a change without expanding their runs.
//!
//! Operations are stored column by column, each column run-length encoded, so a few bytes can
//! stand for millions of rows. Everything here works on runs: time and memory follow the bytes
//! received, never the rows they stand for.

use super::reader::Reader;
use super::{ChangeFault, at_most};
use crate::evidence::key;
use crate::limits;

/// Columns of an Automerge change: id in the upper bits, type in the lower four. The bit for
/// DEFLATE is set in none, since columns of a change are never compressed.
pub(super) mod spec {
    pub(super) const OBJECT_ACTOR: u64 = 0x01;
    pub(super) const OBJECT_COUNTER: u64 = 0x02;
    pub(super) const KEY_ACTOR: u64 = 0x11;
    pub(super) const KEY_COUNTER: u64 = 0x13;
    pub(super) const KEY_TEXT: u64 = 0x15;
    pub(super) const INSERT: u64 = 0x34;
    pub(in crate::change) const ACTION: u64 = 0x42;
    pub(super) const VALUE_META: u64 = 0x56;
    pub(super) const VALUE: u64 = 0x57;
    pub(super) const PREDECESSOR_COUNT: u64 = 0x70;
    pub(super) const PREDECESSOR_ACTOR: u64 = 0x71;
    pub(super) const PREDECESSOR_COUNTER: u64 = 0x73;
    pub(super) const EXPAND: u64 = 0x94;
    pub(super) const MARK_NAME: u64 = 0xa5;
}

const ACTION_HIGHEST: u64 = ACTION_MARK;

/// Begins or ends a mark on a text.
pub(super) const ACTION_MARK: u64 = 7;

/// What the columns hold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Measure {
    pub(super) operations: u64,
    /// Operations among them that begin or end a mark.
    pub(super) marks: u64,
    /// Operations among them under a key that is called `declared`, in whatever map.
    pub(super) declarations: u64,
}

/// Reads the column list and the columns, counts the operations, and leaves in `reader` what
/// follows.
///
/// `actors` is how many actors the change names, its own included; `start_op` counts its first
/// operation.
pub(super) fn measure(
    reader: &mut Reader<'_>,
    actors: u64,
    start_op: u64,
) -> Result<Measure, ChangeFault> {
    let columns = read_columns(reader)?;
    let column = |wanted: u64| {
        columns
            .iter()
            .find_map(|(spec, bytes)| (*spec == wanted).then_some(*bytes))
            .unwrap_or_default()
    };

    let (operations, marks) = count_operations(column(spec::ACTION))?;
    let predecessors = count_predecessors(column(spec::PREDECESSOR_COUNT), operations)?;
    for (spec, rows_max) in [
        (spec::OBJECT_ACTOR, operations),
        (spec::KEY_ACTOR, operations),
        (spec::PREDECESSOR_ACTOR, predecessors),
    ] {
        check_actors(column(spec), rows_max, actors)?;
    }
    check_objects(column(spec::OBJECT_COUNTER), operations, start_op)?;
    check_elements(column(spec::KEY_COUNTER), operations, start_op)?;
    let end_op = start_op + operations;
    check_predecessors(column(spec::PREDECESSOR_COUNTER), predecessors, end_op)?;
    for spec in [spec::INSERT, spec::EXPAND] {
        count_booleans(column(spec), operations)?;
    }
    check_values(column(spec::VALUE_META), column(spec::VALUE), operations)?;

    count_names(column(spec::MARK_NAME), operations, None)?;
    Ok(Measure {
        operations,
        marks,
        declarations: count_names(column(spec::KEY_TEXT), operations, Some(key::DECLARED))?,
    })
}

fn read_columns<'a>(reader: &mut Reader<'a>) -> Result<Vec<(u64, &'a [u8])>, ChangeFault> {
    // Known ones in order are at most so many as are known.
    let count = reader.unsigned()?;
    let mut listed: Vec<(u64, u64)> = Vec::new();
    for _ in 0..count {
        let (spec, length) = (reader.unsigned()?, reader.unsigned()?);
        if !is_known(spec) {
            return Err(ChangeFault::Unsupported(
                "it has columns that are not known",
            ));
        }
        if listed.last().is_some_and(|(before, _)| *before >= spec) {
            return Err(ChangeFault::Malformed("its columns are not in order"));
        }
        if length == 0 {
            return Err(ChangeFault::Malformed("it lists an empty column"));
        }
        listed.push((spec, length));
    }
    listed
        .into_iter()
        .map(|(spec, length)| Ok((spec, reader.take(length)?)))
        .collect()
}

fn is_known(spec: u64) -> bool {
    matches!(
        spec,
        spec::OBJECT_ACTOR
            | spec::OBJECT_COUNTER
            | spec::KEY_ACTOR
            | spec::KEY_COUNTER
            | spec::KEY_TEXT
            | spec::INSERT
            | spec::ACTION
            | spec::VALUE_META
            | spec::VALUE
            | spec::PREDECESSOR_COUNT
            | spec::PREDECESSOR_ACTOR
            | spec::PREDECESSOR_COUNTER
            | spec::EXPAND
            | spec::MARK_NAME
    )
}

/// Automerge reads operations until the column of actions ends, so its rows are the count. Gives how many
/// of them begin or end a mark as well.
fn count_operations(column: &[u8]) -> Result<(u64, u64), ChangeFault> {
    let mut marks = 0;
    let operations = walk(
        column,
        limits::CHANGE_OPERATIONS_MAX,
        Reader::unsigned,
        |action, rows| match action {
            Some(action) if *action <= ACTION_HIGHEST => {
                marks += if *action == ACTION_MARK { rows } else { 0 };
                Ok(())
            }
            Some(_) => Err(ChangeFault::Unsupported(
                "it has an operation that is not known",
            )),
            None => Err(ChangeFault::Malformed("an operation has no action")),
        },
    )
    .map_err(|fault| match fault {
        ChangeFault::TooManyRows => ChangeFault::TooManyOperations,
        other => other,
    })?;
    Ok((operations, marks))
}

fn count_predecessors(column: &[u8], operations: u64) -> Result<u64, ChangeFault> {
    let mut total: u64 = 0;
    walk(column, operations, Reader::unsigned, |count, rows| {
        let Some(count) = count else {
            return Err(ChangeFault::Malformed(
                "an operation has no predecessor count",
            ));
        };
        total = total.saturating_add(count.saturating_mul(rows));
        if total > limits::CHANGE_PREDECESSORS_MAX {
            return Err(ChangeFault::TooManyOperations);
        }
        Ok(())
    })?;
    Ok(total)
}

fn check_actors(column: &[u8], rows_max: u64, actors: u64) -> Result<(), ChangeFault> {
    walk(column, rows_max, Reader::unsigned, |actor, _| match actor {
        Some(actor) if *actor >= actors => Err(ChangeFault::Malformed(
            "an operation names an actor that is not listed",
        )),
        Some(_) | None => Ok(()),
    })?;
    Ok(())
}

/// An operation is counted above the one that made its object. Without that, two objects could be
/// made inside each other, and whoever looks for the way to the root would look for ever.
fn check_objects(column: &[u8], rows_max: u64, start_op: u64) -> Result<(), ChangeFault> {
    let mut own = start_op;
    walk(column, rows_max, Reader::unsigned, |counter, rows| {
        let counter = counter.map_or(0, |counter| i128::from(*counter));
        expect_earlier(counter, own)?;
        own += rows;
        Ok(())
    })?;
    Ok(())
}

/// The same for the list element that an operation changes or inserts behind. Counters are stored
/// as the difference to the one before.
fn check_elements(column: &[u8], rows_max: u64, start_op: u64) -> Result<(), ChangeFault> {
    let mut own = start_op;
    let mut counter: i128 = 0;
    walk(column, rows_max, Reader::signed, |step, rows| {
        if let Some(step) = step {
            // Both sides grow evenly within a run, and began well, so its end decides.
            counter += i128::from(*step) * i128::from(rows);
            expect_earlier(counter, own + rows - 1)?;
        }
        own += rows;
        Ok(())
    })?;
    Ok(())
}

fn check_predecessors(column: &[u8], rows_max: u64, end_op: u64) -> Result<(), ChangeFault> {
    let mut counter: i128 = 0;
    walk(column, rows_max, Reader::signed, |step, rows| {
        // What begins well and grows evenly is wrong nowhere unless it is at its end.
        counter += i128::from(step.copied().unwrap_or(0)) * i128::from(rows);
        expect_earlier(counter, end_op)
    })?;
    Ok(())
}

fn expect_earlier(counter: i128, own: u64) -> Result<(), ChangeFault> {
    if (0..i128::from(own)).contains(&counter) {
        return Ok(());
    }
    Err(ChangeFault::Malformed(
        "an operation refers to one that is not counted below it",
    ))
}

/// The rows of a column of booleans: lengths of runs that take turns.
pub(super) fn count_booleans(column: &[u8], rows_max: u64) -> Result<u64, ChangeFault> {
    let mut reader = Reader::new(column);
    let mut rows: u64 = 0;
    while !reader.is_empty() {
        rows = rows.saturating_add(reader.unsigned()?);
    }
    if rows > rows_max {
        return Err(ChangeFault::TooManyRows);
    }
    Ok(rows)
}

/// Each row of `meta` gives type and length of a value whose bytes stand in `values`.
fn check_values(meta: &[u8], values: &[u8], operations: u64) -> Result<(), ChangeFault> {
    let mut total: u64 = 0;
    walk(meta, operations, Reader::unsigned, |meta, rows| {
        let Some(meta) = meta else {
            return Err(ChangeFault::Malformed("an operation has no value"));
        };
        total = total.saturating_add((meta >> 4).saturating_mul(rows));
        Ok(())
    })?;
    if total != values.len() as u64 {
        return Err(ChangeFault::Malformed(
            "its values are not as long as it says",
        ));
    }
    Ok(())
}

/// Holds a column of names to its bounds; gives the rows that are called `wanted`.
fn count_names(column: &[u8], operations: u64, wanted: Option<&str>) -> Result<u64, ChangeFault> {
    let read = |reader: &mut Reader<'_>| {
        let length = reader.unsigned()?;
        at_most("a key", length, limits::CHANGE_KEY_BYTES_MAX)?;
        let name = std::str::from_utf8(reader.take(length)?)
            .map_err(|_| ChangeFault::Malformed("a key is not UTF-8"))?;
        Ok(Some(name) == wanted)
    };
    let mut found = 0;
    walk(column, operations, read, |is_wanted, rows| {
        found += if is_wanted == Some(&true) { rows } else { 0 };
        Ok(())
    })?;
    Ok(found)
}

/// Visits the runs of a run-length encoded column: a value (or none) and how many rows repeat it.
/// Gives the number of rows, and fails once there are more than `rows_max`.
pub(super) fn walk<'a, T>(
    column: &'a [u8],
    rows_max: u64,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, ChangeFault>,
    mut visit: impl FnMut(Option<&T>, u64) -> Result<(), ChangeFault>,
) -> Result<u64, ChangeFault> {
    let mut reader = Reader::new(column);
    let mut rows: u64 = 0;
    while !reader.is_empty() {
        let head = reader.signed()?;
        let length = match head {
            0 => reader.unsigned()?,
            _ => head.unsigned_abs(),
        };
        rows = rows.saturating_add(length);
        if rows > rows_max {
            return Err(ChangeFault::TooManyRows);
        }
        match head {
            0 if length == 0 => return Err(ChangeFault::Malformed("it has an empty run")),
            0 => visit(None, length)?,
            1.. => visit(Some(&read(&mut reader)?), length)?,
            ..0 => {
                for _ in 0..length {
                    visit(Some(&read(&mut reader)?), 1)?;
                }
            }
        }
    }
    Ok(rows)
}
