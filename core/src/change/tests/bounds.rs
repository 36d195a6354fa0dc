//! Every bound of a change, one step beyond it, and every form that Automerge does not write.

use super::*;

/// What is said of two operations with something changed.
fn fault(alter: impl FnOnce(&mut Forge)) -> ChangeFault {
    let mut forge = Forge::puts(2);
    alter(&mut forge);
    Parsed::open(&forge.bytes()).unwrap_err()
}

fn column_fault(spec: u64, bytes: &[u8]) -> ChangeFault {
    fault(|forge| *forge = forge.clone().with_column(spec, bytes))
}

#[test]
fn a_chunk_is_one_change_from_its_first_byte_to_its_last() {
    let bytes = Forge::puts(2).bytes();
    let mut other = bytes.clone();
    other[0] ^= 1;
    let beginning = ChangeFault::Malformed("it does not begin like a chunk");
    assert_eq!(Parsed::open(&other), Err(beginning));
    let followed = [&bytes[..], &[0]].concat();
    let follows = ChangeFault::Malformed("bytes follow it");
    assert_eq!(Parsed::open(&followed), Err(follows));
    let single = ChangeFault::Unsupported("only single changes are taken");
    let data = Forge::puts(2).data();
    for chunk_type in [0, 3] {
        let checksum = &hash(&data).0[..4];
        let chunk = framed(chunk_type, checksum, &data);
        assert_eq!(Parsed::open(&chunk), Err(single.clone()));
    }
    let actual = limits::CHANGE_BYTES_MAX as u64 + 1;
    let long = vec![0; limits::CHANGE_BYTES_MAX + 1];
    let (what, max) = ("the change", limits::CHANGE_BYTES_MAX as u64);
    let large = ChangeFault::TooLarge { what, actual, max };
    assert_eq!(Parsed::open(&long), Err(large));
}

#[test]
fn a_change_without_operations_keeps_the_bound_on_their_counter() {
    let mut forge = Forge::empty();
    forge.start_op = limits::OPERATION_COUNTER_MAX + 1;
    let beyond = ChangeFault::StartOp(forge.start_op);
    assert_eq!(Parsed::open(&forge.bytes()), Err(beyond));
}

#[test]
fn lists_and_texts_beside_the_columns_end_at_their_bounds() {
    let numbered = |number: usize, length: usize| {
        let mut bytes = vec![0; length];
        bytes[..2].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
        bytes
    };
    let deps = |count: usize| {
        let deps = (0..count).map(|at| <[u8; 32]>::try_from(numbered(at, 32)).unwrap());
        let mut forge = Forge::puts(2);
        forge.deps = deps.collect();
        Parsed::open(&forge.bytes())
    };
    assert!(deps(limits::CHANGE_DEPS_MAX).is_ok());
    assert_eq!(deps(limits::CHANGE_DEPS_MAX + 1), Err(ChangeFault::Deps));
    let actors = |count: usize| {
        let mut forge = Forge::puts(2);
        forge.other_actors = (0..count).map(|at| numbered(at, 16)).collect();
        Parsed::open(&forge.bytes())
    };
    assert!(actors(limits::CHANGE_ACTORS_MAX).is_ok());
    let what = "the list of actors";
    let most = limits::CHANGE_ACTORS_MAX as u64;
    let (actual, max) = (most + 1, most);
    let long = Err(ChangeFault::TooLarge { what, actual, max });
    assert_eq!(actors(limits::CHANGE_ACTORS_MAX + 1), long);
    let most = limits::CHANGE_MESSAGE_BYTES_MAX;
    let what = "the message";
    let (actual, max) = (most as u64 + 1, most as u64);
    let long = ChangeFault::TooLarge { what, actual, max };
    assert_eq!(fault(|forge| forge.message = vec![b'a'; most + 1]), long);
    let noise = ChangeFault::Malformed("the message is not UTF-8");
    assert_eq!(fault(|forge| forge.message = vec![0xff]), noise);
}

#[test]
fn columns_hold_what_operations_need() {
    let none_of_two = [signed(0), unsigned(2)].concat();
    let malformed = ChangeFault::Malformed;
    let cases = [
        (0x15, vec![], malformed("it lists an empty column")),
        (
            0x42,
            none_of_two.clone(),
            malformed("an operation has no action"),
        ),
        (
            0x70,
            none_of_two.clone(),
            malformed("an operation has no predecessor count"),
        ),
        (0x56, none_of_two, malformed("an operation has no value")),
        (
            0x15,
            run(2, &prefixed(&[0xff])),
            malformed("a key is not UTF-8"),
        ),
        (
            0xa5,
            run(2, &prefixed(&[0xff])),
            malformed("a key is not UTF-8"),
        ),
        (0x15, run(3, &prefixed(b"k")), ChangeFault::TooManyRows),
        (0x94, unsigned(3), ChangeFault::TooManyRows),
        (
            0x15,
            [signed(0), unsigned(0)].concat(),
            malformed("it has an empty run"),
        ),
    ];
    for (spec, bytes, expected) in cases {
        assert_eq!(column_fault(spec, &bytes), expected, "{spec:x}");
    }
}

#[test]
fn references_lead_to_what_is_counted_before_them() {
    let late = ChangeFault::Malformed("an operation refers to one that is not counted below it");
    let elements = |column: &[u8]| {
        let mut forge = Forge::puts(5).with_column(0x13, column);
        forge.start_op = 10;
        Parsed::open(&forge.bytes()).map(|parsed| parsed.operations)
    };
    assert_eq!(elements(&run(1, &signed(9))), Ok(5));
    assert_eq!(elements(&run(1, &signed(10))), Err(late.clone()));
    assert_eq!(elements(&run(1, &signed(-1))), Err(late.clone()));
    // Within a run both sides grow evenly: the fifth row of steps by 2 or 3 refers to 10 or 15.
    assert_eq!(elements(&run(5, &signed(2))), Ok(5));
    assert_eq!(elements(&run(5, &signed(3))), Err(late.clone()));
    let falling = [run(1, &signed(5)), run(3, &signed(-2))].concat();
    assert_eq!(elements(&falling), Err(late.clone()));

    let predecessors = |column: &[u8]| {
        let mut forge = Forge::puts(2)
            .with_column(0x70, &run(2, &unsigned(2)))
            .with_column(0x71, &run(4, &unsigned(0)))
            .with_column(0x73, column);
        forge.start_op = 10;
        Parsed::open(&forge.bytes()).map(|parsed| parsed.operations)
    };
    assert_eq!(predecessors(&run(4, &signed(2))), Ok(2));
    assert_eq!(predecessors(&run(1, &signed(12))), Err(late.clone()));
    assert_eq!(predecessors(&run(4, &signed(3))), Err(late.clone()));
    assert_eq!(predecessors(&run(1, &signed(-1))), Err(late.clone()));
    let falling = [run(1, &signed(5)), run(3, &signed(-2))].concat();
    assert_eq!(predecessors(&falling), Err(late));
}

#[test]
fn numbers_end_with_64_bits_and_have_one_form() {
    let after_nine = |nine: u8, last: u8| [&[nine; 9][..], &[last]].concat();
    let unsigned = |bytes: &[u8]| Reader::new(bytes).unsigned();
    assert_eq!(unsigned(&after_nine(0xff, 1)), Ok(u64::MAX));
    assert!(unsigned(&after_nine(0xff, 2)).is_err());
    let signed = |bytes: &[u8]| Reader::new(bytes).signed();
    assert_eq!(signed(&after_nine(0x80, 0x7f)), Ok(i64::MIN));
    assert_eq!(signed(&after_nine(0xff, 0)), Ok(i64::MAX));
    assert!(signed(&after_nine(0x80, 1)).is_err());
    assert!(signed(&after_nine(0x80, 0x7e)).is_err());
    for longer in [[0x80, 0], [0xff, 0x7f]] {
        assert!(signed(&longer).is_err());
    }
    assert!(unsigned(&[0x80, 0]).is_err());
    assert_eq!(
        (signed(&[0xff, 0]), signed(&[0x80, 0x7f])),
        (Ok(127), Ok(-128))
    );
}

#[test]
fn nothing_is_inflated_beyond_the_bound() {
    // Cut at its end, so that whoever goes on reading finds it malformed.
    let mut deflated = deflate(&vec![0; 2 * limits::CHANGE_INFLATED_BYTES_MAX]);
    deflated.truncate(deflated.len() - 8);
    let bomb = framed(TYPE_DEFLATED, &[0; 4], &deflated);
    let fault = Parsed::open(&bomb).unwrap_err();
    assert!(matches!(fault, ChangeFault::Inflates { .. }), "{fault:?}");
}
