use std::io::Write as _;

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Author, AutoCommit, Change, ObjId, ObjType, ROOT, ReadDoc, ScalarValue};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::forge::{Forge, chunk, framed, prefixed, run, signed, unsigned};
use super::*;

mod bounds;
mod saved;

/// One edit of a made-up session; numbers choose places modulo what there is.
#[derive(Debug, Clone)]
enum Edit {
    Put(u8, ScalarValue),
    PutObject(u8, u8),
    Insert(u16, ScalarValue),
    Delete(u16),
    Type(u16, u8, String),
    Mark(u16, u16, bool),
    Increment(i64),
    Commit(Option<String>, i64),
    Empty(i64),
    Join,
}

fn scalar() -> impl Strategy<Value = ScalarValue> {
    prop_oneof![
        any::<i64>().prop_map(ScalarValue::Int),
        any::<u64>().prop_map(ScalarValue::Uint),
        any::<f64>().prop_map(ScalarValue::F64),
        any::<bool>().prop_map(ScalarValue::Boolean),
        any::<i64>().prop_map(ScalarValue::Timestamp),
        any::<i32>().prop_map(|start| ScalarValue::counter(start.into())),
        Just(ScalarValue::Null),
        "[a-zé]{0,80}".prop_map(|text| ScalarValue::Str(text.into())),
        proptest::collection::vec(any::<u8>(), 0..400).prop_map(ScalarValue::Bytes),
    ]
}

fn time() -> impl Strategy<Value = i64> {
    let max = limits::CHANGE_TIME_MAX as i64;
    -max..=max
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (any::<u8>(), scalar()).prop_map(|(key, value)| Edit::Put(key, value)),
        1 => (any::<u8>(), 0..3_u8).prop_map(|(key, what)| Edit::PutObject(key, what)),
        3 => (any::<u16>(), scalar()).prop_map(|(at, value)| Edit::Insert(at, value)),
        2 => any::<u16>().prop_map(Edit::Delete),
        4 => (any::<u16>(), any::<u8>(), "[a-z 語]{0,40}")
            .prop_map(|(at, deleted, text)| Edit::Type(at, deleted, text)),
        1 => (any::<u16>(), any::<u16>(), any::<bool>())
            .prop_map(|(start, length, on)| Edit::Mark(start, length, on)),
        1 => any::<i64>().prop_map(Edit::Increment),
        3 => (proptest::option::of("[a-z]{1,20}"), time())
            .prop_map(|(message, time)| Edit::Commit(message, time)),
        1 => time().prop_map(Edit::Empty),
        2 => Just(Edit::Join),
    ]
}

#[expect(clippy::disallowed_methods, reason = "the actor is set at once")]
fn editing(actor: u8) -> AutoCommit {
    AutoCommit::new().with_actor(ActorId::from([actor; 16]))
}

/// Two people work on one document and now and then take each other's changes.
struct Session {
    documents: [AutoCommit; 2],
    text: ObjId,
    list: ObjId,
}

impl Session {
    fn new() -> Self {
        let mut first = editing(1);
        let text = first.put_object(ROOT, "text", ObjType::Text).unwrap();
        let list = first.put_object(ROOT, "list", ObjType::List).unwrap();
        first.put(ROOT, "counter", ScalarValue::counter(0)).unwrap();
        first.commit_with(CommitOptions::default().with_time(1));
        let second = first.fork().with_actor(ActorId::from([2; 16]));
        Self {
            documents: [first, second],
            text,
            list,
        }
    }

    fn apply(&mut self, who: usize, edit: &Edit) {
        let document = &mut self.documents[who];
        let text_length = document.length(&self.text);
        let list_length = document.length(&self.list);
        let key = |key: &u8| format!("key{}", key % 8);
        match edit {
            Edit::Put(at, value) => document.put(ROOT, key(at), value.clone()).unwrap(),
            Edit::PutObject(at, what) => {
                let what = [ObjType::Map, ObjType::List, ObjType::Text][usize::from(*what)];
                document.put_object(ROOT, key(at), what).unwrap();
            }
            Edit::Insert(at, value) => {
                let at = usize::from(*at) % (list_length + 1);
                document.insert(&self.list, at, value.clone()).unwrap();
            }
            Edit::Delete(at) if list_length > 0 => {
                document
                    .delete(&self.list, usize::from(*at) % list_length)
                    .unwrap();
            }
            Edit::Type(at, deleted, text) => {
                let at = usize::from(*at) % (text_length + 1);
                let deleted = usize::from(*deleted).min(text_length - at);
                document
                    .splice_text(&self.text, at, deleted as isize, text)
                    .unwrap();
            }
            Edit::Mark(start, length, on) if text_length > 0 => {
                let start = usize::from(*start) % text_length;
                let end = (start + 1 + usize::from(*length)).min(text_length);
                let mark = Mark::new("bold".into(), *on, start, end);
                document.mark(&self.text, mark, ExpandMark::Both).unwrap();
            }
            Edit::Increment(by) => document.increment(ROOT, "counter", *by >> 8).unwrap(),
            Edit::Commit(message, time) => {
                let mut options = CommitOptions::default().with_time(*time);
                options.message.clone_from(message);
                document.commit_with(options);
            }
            Edit::Empty(time) => {
                document.empty_change(CommitOptions::default().with_time(*time));
            }
            Edit::Join => {
                let [first, second] = &mut self.documents;
                if who == 0 {
                    first.merge(second).unwrap();
                } else {
                    second.merge(first).unwrap();
                }
            }
            Edit::Delete(_) | Edit::Mark(..) => {}
        }
    }

    fn changes(mut self) -> Vec<Change> {
        let [first, second] = &mut self.documents;
        first.merge(second).unwrap();
        first.get_changes(&[])
    }
}

fn expect_same(bytes: &[u8]) {
    let ours = Parsed::open(bytes).unwrap();
    let theirs = Change::from_bytes(bytes.to_vec()).unwrap();
    assert_eq!(ours.hash, theirs.hash().into());
    assert_eq!(&ours.actor.0[..], theirs.actor_id().to_bytes());
    assert_eq!(ours.seq, theirs.seq());
    assert_eq!(ours.start_op, theirs.start_op().get());
    assert_eq!(ours.operations, theirs.len() as u64);
    assert_eq!(ours.max_op(), theirs.max_op());
    assert_eq!(ours.time, theirs.timestamp());
    assert_eq!(ours.message.as_deref(), theirs.message());
    let deps: Vec<ChangeHash> = theirs.deps().iter().map(|dep| (*dep).into()).collect();
    assert_eq!(ours.deps, deps);
    let others: Vec<&[u8]> = theirs
        .other_actor_ids()
        .iter()
        .map(ActorId::to_bytes)
        .collect();
    assert!(
        ours.other_actors
            .iter()
            .map(AsRef::<[u8]>::as_ref)
            .eq(others)
    );
}

proptest! {
    #![proptest_config(Config::with_cases(96))]

    #[test]
    fn every_change_that_automerge_makes_reads_as_automerge_reads_it(
        edits in proptest::collection::vec((0..2_usize, edit()), 1..60),
    ) {
        let mut session = Session::new();
        for (who, edit) in &edits {
            session.apply(*who, edit);
        }
        for mut change in session.changes() {
            expect_same(change.raw_bytes());
            let sent = change.bytes().into_owned();
            expect_same(&sent);
        }
    }

    #[test]
    fn numbers_read_back_in_their_shortest_form_only(value in any::<i64>()) {
        let bytes = signed(value);
        prop_assert_eq!(Reader::new(&bytes).signed(), Ok(value));
        let bytes = unsigned(value as u64);
        prop_assert_eq!(Reader::new(&bytes).unsigned(), Ok(value as u64));
        let (last, rest) = bytes.split_last().unwrap();
        let padded = [rest, &[*last | 0x80, 0]].concat();
        prop_assert!(Reader::new(&padded).unsigned().is_err());
    }
}

#[test]
fn a_deflated_change_of_thousands_of_operations_reads_as_automerge_reads_it() {
    let mut document = editing(3);
    let text = document.put_object(ROOT, "text", ObjType::Text).unwrap();
    let story: String = (0..3_000).map(|word| format!("word{word} ")).collect();
    let story = &story[..19_000];
    document.splice_text(&text, 0, 0, story).unwrap();
    document.commit();
    let mut change = document.get_last_local_change().unwrap();
    let sent = change.bytes().into_owned();
    assert!(sent.len() < change.raw_bytes().len());
    assert_eq!(sent[8], TYPE_DEFLATED);
    expect_same(&sent);
    expect_same(change.raw_bytes());
}

fn corpus() -> Vec<Vec<u8>> {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &[5; 32]),
    );
    let sessions = proptest::collection::vec((0..2_usize, edit()), 30..60);
    let mut corpus = Vec::new();
    for _ in 0..8 {
        let edits = sessions.new_tree(&mut runner).unwrap().current();
        let mut session = Session::new();
        edits
            .iter()
            .for_each(|(who, edit)| session.apply(*who, edit));
        for change in session.changes() {
            corpus.push(Forge::of(change.raw_bytes()).data());
        }
    }
    corpus
}

#[test]
fn twenty_thousand_damaged_changes_with_right_checksums_are_read_or_refused_within_bounds() {
    let corpus = corpus();
    let damage = proptest::collection::vec((any::<Index>(), any::<u8>(), 0..4_u8), 1..5);
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &[6; 32]),
    );
    let (mut read, mut refused) = (0, 0);
    for round in 0..20_000_usize {
        let mut data = corpus[round % corpus.len()].clone();
        for (at, byte, how) in damage.new_tree(&mut runner).unwrap().current() {
            let at = at.index(data.len());
            match how {
                0 => data[at] = byte,
                1 => data[at] ^= 1 << (byte % 8),
                2 => data.insert(at, byte),
                _ => drop(data.remove(at)),
            }
        }
        match Parsed::open(&chunk(TYPE_CHANGE, &data)) {
            Ok(parsed) => {
                assert!(parsed.operations <= limits::CHANGE_OPERATIONS_MAX);
                assert!(parsed.max_op() <= limits::OPERATION_COUNTER_MAX);
                assert_eq!(parsed.inflated_bytes, data.len());
                read += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(
        read > 500 && refused > 5_000,
        "{read} read, {refused} refused"
    );
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_forged_change_is_read_by_automerge_too() {
    expect_same(&Forge::puts(3).bytes());
}

#[test]
fn a_deflate_bomb_is_given_up_at_the_bound() {
    let mut forge = Forge::puts(1);
    forge.message = vec![b'a'; 200 * 1024 * 1024];
    let bomb = framed(TYPE_DEFLATED, &[0; 4], &deflate(&forge.data()));
    assert!(bomb.len() < limits::CHANGE_BYTES_MAX);
    let max = limits::CHANGE_INFLATED_BYTES_MAX as u64;
    assert_eq!(Parsed::open(&bomb), Err(ChangeFault::Inflates { max }));
}

#[test]
fn what_deflates_too_well_is_given_up_below_the_bound_on_bytes() {
    let deflated = deflate(&vec![0; limits::CHANGE_INFLATED_BYTES_MAX / 2]);
    let small = framed(TYPE_DEFLATED, &[0; 4], &deflated);
    assert!(deflated.len() * limits::CHANGE_INFLATE_RATIO_MAX < limits::CHANGE_INFLATED_BYTES_FREE);
    let max = limits::CHANGE_INFLATED_BYTES_FREE as u64;
    assert_eq!(Parsed::open(&small), Err(ChangeFault::Inflates { max }));
}

#[test]
fn bytes_behind_a_deflated_change_are_refused() {
    let data = Forge::puts(1).data();
    let checksum = hash(&data).0;
    let deflated = deflate(&data);
    let sent = framed(TYPE_DEFLATED, &checksum[..4], &deflated);
    expect_same(&sent);
    let longer = framed(
        TYPE_DEFLATED,
        &checksum[..4],
        &[&deflated[..], b"x"].concat(),
    );
    assert_eq!(
        Parsed::open(&longer),
        Err(ChangeFault::Malformed("bytes follow what it inflates to"))
    );
}

#[test]
fn a_million_operations_in_a_few_bytes_are_counted_and_refused() {
    let bytes = Forge::puts(1_000_000).bytes();
    assert!(bytes.len() < 100);
    assert_eq!(Parsed::open(&bytes), Err(ChangeFault::TooManyOperations));
    let most = limits::CHANGE_OPERATIONS_MAX;
    let allowed = Parsed::open(&Forge::puts(most as i64).bytes()).unwrap();
    assert_eq!(allowed.operations, most);
}

#[test]
fn a_billion_predecessors_of_one_operation_are_counted_and_refused() {
    let bytes = Forge::puts(1)
        .with_column(0x70, &run(1, &unsigned(1_000_000_000)))
        .with_column(0x71, &run(1_000_000_000, &unsigned(0)))
        .with_column(0x73, &run(1_000_000_000, &signed(1)))
        .bytes();
    assert_eq!(Parsed::open(&bytes), Err(ChangeFault::TooManyOperations));
}

#[test]
fn a_long_key_that_each_operation_repeats_is_refused() {
    let bytes = Forge::puts(20_000)
        .with_column(0x15, &run(20_000, &prefixed(&[b'k'; 10_000])))
        .bytes();
    let fault = Parsed::open(&bytes).unwrap_err();
    assert!(matches!(fault, ChangeFault::TooLarge { what: "a key", .. }));
}

#[test]
fn a_number_that_never_ends_is_refused() {
    let mut bytes = [&MAGIC[..], &[0; 4], &[TYPE_CHANGE]].concat();
    bytes.extend([0xff; 200_000]);
    let endless = ChangeFault::Malformed("a number does not fit 64 bits");
    assert_eq!(Parsed::open(&bytes), Err(endless.clone()));
    let column = Forge::puts(1).with_column(0x42, &[0xff; 100_000]).bytes();
    assert_eq!(Parsed::open(&column), Err(endless));
}

#[test]
fn a_length_of_ten_gigabytes_is_refused_wherever_it_stands() {
    let huge = unsigned(10_000_000_000);
    let start = [&MAGIC[..], &[0; 4], &[TYPE_CHANGE]].concat();
    let before_message = [&[0, 16][..], &[7; 16], &[1, 1, 0]].concat();
    let before_columns = [&before_message[..], &[0, 0, 1, 0x42]].concat();
    let faults = [
        Parsed::open(&[start, huge.clone()].concat()),
        Parsed::open(&chunk(TYPE_CHANGE, &huge)),
        Parsed::open(&chunk(TYPE_CHANGE, &[&[0][..], &huge].concat())),
        Parsed::open(&chunk(TYPE_CHANGE, &[&before_message[..], &huge].concat())),
        Parsed::open(&chunk(
            TYPE_CHANGE,
            &[&before_message[..], &[0], &huge].concat(),
        )),
        Parsed::open(&chunk(TYPE_CHANGE, &[&before_columns[..], &huge].concat())),
    ]
    .map(Result::unwrap_err);
    let list = "the list of actors";
    let early = ChangeFault::Malformed("it ends early");
    assert_eq!(faults[0], early);
    assert_eq!(faults[1], ChangeFault::Deps);
    assert_eq!(faults[2], ChangeFault::Actor);
    assert!(matches!(
        faults[3],
        ChangeFault::TooLarge {
            what: "the message",
            ..
        }
    ));
    assert!(matches!(faults[4], ChangeFault::TooLarge { what, .. } if what == list));
    assert_eq!(faults[5], early);
}

#[test]
fn an_author_in_the_footer_is_recognised_however_its_number_is_written() {
    let mut document = editing(4);
    document.set_author(Some(Author::from(vec![1, 2, 3])));
    document.put(ROOT, "a", 1).unwrap();
    document.commit();
    let change = document.get_last_local_change().unwrap();
    assert!(change.author().is_some());
    assert_eq!(
        Parsed::open(change.raw_bytes()),
        Err(ChangeFault::AuthorFooter)
    );

    let mut forge = Forge::puts(1);
    forge.extra = vec![0x81, 0x80, 0x00, 0x01, b'x'];
    let change = Change::from_bytes(forge.bytes()).unwrap();
    assert!(change.author().is_some());
    assert_eq!(Parsed::open(&forge.bytes()), Err(ChangeFault::AuthorFooter));
}

#[test]
fn other_bytes_behind_the_columns_are_refused() {
    let mut forge = Forge::puts(1);
    forge.extra = vec![2, 0];
    let fault = Parsed::open(&forge.bytes()).unwrap_err();
    assert_eq!(fault, ChangeFault::Unsupported("bytes follow its columns"));
}

#[test]
fn each_part_out_of_its_bounds_is_refused_by_name() {
    let refuse = |alter: fn(&mut Forge)| {
        let mut forge = Forge::puts(2);
        alter(&mut forge);
        Parsed::open(&forge.bytes()).unwrap_err()
    };
    assert_eq!(
        refuse(|f| f.deps = vec![[2; 32], [1; 32]]),
        ChangeFault::Deps
    );
    assert_eq!(
        refuse(|f| f.deps = vec![[2; 32], [2; 32]]),
        ChangeFault::Deps
    );
    assert_eq!(refuse(|f| f.actor = vec![7; 15]), ChangeFault::Actor);
    assert_eq!(refuse(|f| f.seq = 0), ChangeFault::Sequence(0));
    assert_eq!(refuse(|f| f.seq = 1 << 32), ChangeFault::Sequence(1 << 32));
    assert_eq!(refuse(|f| f.start_op = 0), ChangeFault::StartOp(0));
    assert_eq!(refuse(|f| f.time = i64::MIN), ChangeFault::Time(i64::MIN));
    let last = limits::OPERATION_COUNTER_MAX;
    assert_eq!(
        refuse(|f| f.start_op = limits::OPERATION_COUNTER_MAX),
        ChangeFault::StartOp(last)
    );
    assert_eq!(
        refuse(|f| f.other_actors = vec![vec![7; 16]]),
        ChangeFault::Actor
    );
    let unsorted = |f: &mut Forge| f.other_actors = vec![vec![9; 16], vec![8; 16]];
    assert_eq!(refuse(unsorted), ChangeFault::Actor);
    let unlisted = |f: &mut Forge| *f = f.clone().with_column(0x01, &run(2, &[1]));
    assert!(matches!(refuse(unlisted), ChangeFault::Malformed(_)));
    let far = |f: &mut Forge| {
        let counters = [run(1, &signed(i64::MAX)), run(1, &signed(1))].concat();
        *f = f.clone().with_column(0x13, &counters);
    };
    assert!(matches!(refuse(far), ChangeFault::Malformed(_)));
    let deflated = |f: &mut Forge| f.columns[0].0 |= 8;
    assert!(matches!(refuse(deflated), ChangeFault::Unsupported(_)));
    let swapped = |f: &mut Forge| f.columns.swap(0, 1);
    assert_eq!(
        refuse(swapped),
        ChangeFault::Malformed("its columns are not in order")
    );
    let long = |f: &mut Forge| *f = f.clone().with_column(0x34, &[3]);
    assert_eq!(refuse(long), ChangeFault::TooManyRows);
    let unknown = |f: &mut Forge| *f = f.clone().with_column(0x42, &run(2, &[8]));
    assert!(matches!(refuse(unknown), ChangeFault::Unsupported(_)));
    let short = |f: &mut Forge| *f = f.clone().with_column(0x56, &run(2, &unsigned(0x26)));
    assert!(matches!(refuse(short), ChangeFault::Malformed(_)));
}

#[test]
fn objects_made_inside_each_other_are_refused() {
    let inside = |counters: &[u64]| {
        let counters: Vec<u8> = counters
            .iter()
            .flat_map(|counter| unsigned(*counter))
            .collect();
        Forge::puts(2)
            .with_column(0x01, &run(2, &unsigned(0)))
            .with_column(0x02, &[signed(-2), counters].concat())
            .with_column(0x42, &run(2, &unsigned(0)))
            .bytes()
    };
    let circle = Parsed::open(&inside(&[2, 1])).unwrap_err();
    assert!(matches!(circle, ChangeFault::Malformed(_)));
    let itself = Parsed::open(&inside(&[0, 2])).unwrap_err();
    assert!(matches!(itself, ChangeFault::Malformed(_)));
    assert!(Parsed::open(&inside(&[0, 1])).is_ok());
}

#[test]
fn every_flipped_bit_of_a_change_is_noticed() {
    let bytes = Forge::puts(3).bytes();
    let original = Parsed::open(&bytes).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(Parsed::open(&flipped).as_ref(), Ok(&original), "bit {bit}");
    }
}
