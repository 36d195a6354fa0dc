//! Saved documents that stand for more than they should.

use std::io::Read;

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, ObjType, ROOT, ReadDoc};
use flate2::Compression;
use flate2::read::DeflateEncoder;

use super::super::forge::{prefixed, run, saved, signed, unsigned};
use super::super::{ChangeFault, SavedFault, check_saved};
use crate::limits::{DOCUMENT_FED_BYTES_MAX, DOCUMENT_FED_MARKS_MAX, DOCUMENT_FED_ROWS_MAX};

const MESSAGES: u64 = 0x35;
const SUCCESSORS: u64 = 0x80;
const VALUES: u64 = 0x57;
const DEFLATED: u64 = 0x08;

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut deflated = Vec::new();
    let mut encoder = DeflateEncoder::new(bytes, Compression::best());
    encoder.read_to_end(&mut deflated).unwrap();
    deflated
}

fn empty(actor: u8) -> Automerge {
    Automerge::new().with_actor(ActorId::from([actor; 16]))
}

/// A document with texts, deletions, conflicts, marks, messages and large columns.
fn honest() -> Automerge {
    let mut document = empty(1);
    let mut transaction = document.transaction();
    let text = transaction.put_object(ROOT, "text", ObjType::Text).unwrap();
    transaction.commit();
    for round in 0..40 {
        let mut transaction = document.transaction();
        let words = format!("Rapat desa {round}. ").repeat(20);
        let old = transaction.length(&text).min(30) as isize;
        transaction.splice_text(&text, 0, old, &words).unwrap();
        let options = CommitOptions::default();
        transaction.commit_with(options.with_message(format!("putaran {round}")));
    }
    let mut transaction = document.transaction();
    let mark = Mark::new("bold".to_owned(), true, 3, 9);
    transaction.mark(&text, mark, ExpandMark::Both).unwrap();
    transaction.commit();
    let mut other = document.clone().with_actor(ActorId::from([2; 16]));
    for (document, title) in [(&mut document, "Satu"), (&mut other, "Dua")] {
        let mut transaction = document.transaction();
        transaction.put(ROOT, "title", title).unwrap();
        transaction.commit();
    }
    document.merge(&mut other).unwrap();
    document
}

#[test]
fn what_automerge_saves_passes_and_no_part_of_it_does() {
    let document = honest();
    for bytes in [document.save(), document.save_nocompress()] {
        assert_eq!(check_saved(&bytes), Ok(()));
        for end in 0..bytes.len() {
            assert!(check_saved(&bytes[..end]).is_err(), "cut at {end}");
        }
        let twice = [&bytes[..], &bytes].concat();
        let fault = ChangeFault::Malformed("bytes follow it");
        assert_eq!(check_saved(&twice), Err(SavedFault::Malformed(fault)));
    }
    assert_eq!(check_saved(&empty(1).save()), Ok(()));
    let change = document.get_changes(&[])[0].raw_bytes().to_vec();
    let fault = ChangeFault::Unsupported("only whole documents are loaded");
    assert_eq!(check_saved(&change), Err(SavedFault::Malformed(fault)));
}

#[test]
fn columns_inflate_to_so_many_bytes_together() {
    let most = deflated(&vec![0; DOCUMENT_FED_BYTES_MAX]);
    let column = |bytes: &[u8]| (VALUES | DEFLATED, bytes.to_vec());
    assert_eq!(check_saved(&saved(&[], &[column(&most)])), Ok(()));
    let one_more = (VALUES, vec![0]);
    let both = saved(&[one_more], &[column(&most)]);
    assert_eq!(check_saved(&both), Err(SavedFault::Inflates));
    let bomb = deflated(&vec![0; 40_000_000]);
    assert!(bomb.len() < 50_000);
    assert_eq!(
        check_saved(&saved(&[], &[column(&bomb)])),
        Err(SavedFault::Inflates)
    );
    let noise = (VALUES | DEFLATED, vec![0xff; 9]);
    let fault = ChangeFault::Malformed("it does not inflate");
    assert_eq!(
        check_saved(&saved(&[], &[noise])),
        Err(SavedFault::Malformed(fault))
    );
}

#[test]
fn no_column_stands_for_more_rows_than_a_document_may_have() {
    let most = DOCUMENT_FED_ROWS_MAX as i64;
    // One of each kind: actors, numbers, differences, truths, texts and lengths of values.
    let columns = |rows: i64| {
        [
            (0x01, run(rows, &unsigned(0))),
            (0x42, run(rows, &unsigned(1))),
            (0x13, run(rows, &signed(1))),
            (0x34, unsigned(rows.unsigned_abs())),
            (MESSAGES, run(rows, &prefixed(b"k"))),
            (0x56, run(rows, &unsigned(0))),
            (SUCCESSORS, run(rows, &unsigned(0))),
            (SUCCESSORS, run(1, &unsigned(rows.unsigned_abs()))),
            (
                SUCCESSORS,
                [signed(0), unsigned(rows.unsigned_abs())].concat(),
            ),
        ]
    };
    for column in columns(most) {
        assert_eq!(check_saved(&saved(&[], &[column])), Ok(()));
    }
    for rows in [most + 1, i64::MAX] {
        for column in columns(rows) {
            let spec = column.0;
            let fault = check_saved(&saved(&[], std::slice::from_ref(&column)));
            assert_eq!(fault, Err(SavedFault::TooManyRows), "{spec:#x}");
            // Wherever it stands, and deflated as well.
            let column = (spec | DEFLATED, deflated(&column.1));
            assert!(check_saved(&saved(&[column], &[])).is_err(), "{spec:#x}");
        }
    }
}

#[test]
fn a_document_has_so_many_marks() {
    let of = |marks: u64| {
        let actions = [run(3, &unsigned(1)), run(marks as i64, &unsigned(7))].concat();
        let small = (0x42 | DEFLATED, deflated(&actions));
        let checked = [(0x42, actions), small].map(|column| check_saved(&saved(&[], &[column])));
        assert_eq!(checked[0], checked[1]);
        checked[0].clone()
    };
    assert_eq!(of(DOCUMENT_FED_MARKS_MAX), Ok(()));
    assert_eq!(
        of(DOCUMENT_FED_MARKS_MAX + 1),
        Err(SavedFault::TooManyMarks)
    );
}
