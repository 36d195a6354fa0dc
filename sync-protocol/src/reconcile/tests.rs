//! Two sides in memory, joined by the frames they would send.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use bukti_core::authority::Audience;
use bukti_core::scope::Scope;
use proptest::prelude::*;

use super::*;
use crate::frame::{Features, Frame, FrameError, decode, encode};

type Documents = BTreeMap<DocumentId, Vec<ChangeHash>>;

/// Ids and heads as hashes are: evenly spread.
fn document(number: u64) -> DocumentId {
    let hash = bukti_core::hash::Hasher::new("test").fixed(&number.to_le_bytes());
    DocumentId(hash.finish_16())
}

fn heads(seed: u64) -> Vec<ChangeHash> {
    let hash = bukti_core::hash::Hasher::new("heads").fixed(&seed.to_le_bytes());
    vec![ChangeHash(hash.finish())]
}

fn side(documents: &Documents) -> Vec<(DocumentId, Digest)> {
    let digest = |(id, heads): (&DocumentId, &Vec<ChangeHash>)| (*id, Digest::of(id, heads));
    documents.iter().map(digest).collect()
}

/// What a comparison came to.
#[derive(Debug, Default)]
struct Outcome {
    theirs: BTreeSet<DocumentId>,
    ours: BTreeSet<DocumentId>,
    both: BTreeSet<DocumentId>,
    bytes: usize,
    trips: usize,
    /// Ranges, parts and documents, as a server counts what it is asked about.
    asked: usize,
}

fn on_the_wire(frame: &Reconcile, bytes: &mut usize) -> Reconcile {
    let encoded = encode(&frame.clone().into(), Features::DEFLATE);
    *bytes += encoded.len();
    let Ok(Some(Frame::Reconcile(read))) = decode(&encoded) else {
        panic!("a frame that was written is read");
    };
    assert_eq!(read, *frame);
    read
}

fn compare(device: &Documents, server: &Documents, salt: u64) -> Outcome {
    let mut outcome = Outcome::default();
    let mut theirs = Side::new(side(server));
    let prefix: Scope = "13.76".parse().unwrap();
    let (mut comparison, first) = Comparison::begin(
        prefix,
        Audience::Unit,
        salt,
        device.clone().into_iter().collect(),
    );
    let mut asked = vec![first];
    while !asked.is_empty() {
        outcome.trips += 1;
        assert!(outcome.trips < 50, "it ends");
        let mut answers = Vec::new();
        for frame in &asked {
            let frame = on_the_wire(frame, &mut outcome.bytes);
            let heads = |document: &DocumentId| Ok::<_, Infallible>(server[document].clone());
            let Ok(answer) = theirs.answer(&frame, heads);
            let answer = answer.expect("the ranges hold");
            let lists = answer.iter().flat_map(|answer| &answer.lists);
            outcome.asked += lists.map(|listed| listed.documents.len()).sum::<usize>();
            outcome.asked += frame.ranges.len() + frame.parts();
            answers.extend(answer);
        }
        asked.clear();
        for answer in &answers {
            let answer = on_the_wire(answer, &mut outcome.bytes);
            let (found, next) = comparison.answered(&answer).unwrap();
            asked.extend(next);
            let mut needs = Vec::new();
            for found in found {
                match found {
                    Differs::Theirs(range) => {
                        needs.push(range);
                        outcome.theirs.extend(theirs.documents(range));
                    }
                    Differs::Ours(document) => {
                        outcome.ours.insert(document);
                    }
                    Differs::Both { document, heads } => {
                        assert_eq!(HeadTag::all(&server[&document]), heads);
                        outcome.both.insert(document);
                    }
                }
            }
            for frame in comparison.need(needs) {
                on_the_wire(&frame, &mut outcome.bytes);
                let needed = frame.need.iter().map(|range| theirs.count(*range));
                outcome.asked += frame.need.len() + needed.sum::<usize>();
                let mut done = frame.clone();
                done.need.clear();
                comparison.answered(&done).unwrap();
            }
        }
    }
    assert!(comparison.is_done());
    let enough = limits::COMPARED_PER_DOCUMENT * server.len() + limits::COMPARED_AT_LEAST;
    assert!(outcome.asked <= enough, "{} asked about", outcome.asked);
    outcome
}

fn expected(device: &Documents, server: &Documents) -> [BTreeSet<DocumentId>; 3] {
    let ids = |documents: &Documents| documents.keys().copied().collect::<BTreeSet<_>>();
    let (ours, theirs) = (ids(device), ids(server));
    let both = ours.intersection(&theirs).copied();
    [
        theirs.difference(&ours).copied().collect(),
        ours.difference(&theirs).copied().collect(),
        both.filter(|id| device[id] != server[id]).collect(),
    ]
}

fn check(device: &Documents, server: &Documents, salt: u64) -> Outcome {
    let outcome = compare(device, server, salt);
    let [theirs, ours, both] = expected(device, server);
    assert_eq!(
        (&outcome.theirs, &outcome.ours, &outcome.both),
        (&theirs, &ours, &both)
    );
    outcome
}

fn documents(numbers: ops::Range<u64>) -> Documents {
    numbers
        .map(|number| (document(number), heads(number)))
        .collect()
}

#[test]
fn seven_of_20_000_documents_are_found_in_three_round_trips_and_200_bytes_each() {
    for salt in [1, 0x9e37_79b9_7f4a_7c15, 77] {
        let server = documents(0..20_000);
        let mut device = server.clone();
        for number in [3, 4_000, 4_001, 9_999, 12_345, 17_000, 19_999] {
            device.insert(document(number), heads(number + 100_000));
        }
        let outcome = check(&device, &server, salt);
        println!("{} bytes, {} round trips", outcome.bytes, outcome.trips);
        assert!(outcome.bytes <= 7 * 200, "{} bytes", outcome.bytes);
        assert!(outcome.trips <= 3, "{} round trips", outcome.trips);
    }
}

#[test]
fn equal_sides_are_told_by_one_frame_each_way() {
    let all = documents(0..1_000);
    let outcome = check(&all, &all, 5);
    assert_eq!(outcome.trips, 1);
}

#[test]
fn one_empty_side_is_told_without_splitting_down_to_documents() {
    let all = documents(0..1_000);
    let none = Documents::new();
    assert!(check(&all, &none, 5).trips <= 2);
    assert!(check(&none, &all, 5).trips <= 2);
}

#[test]
fn a_thousand_lost_documents_are_found() {
    let device = documents(0..5_000);
    let server = documents(0..4_000);
    let outcome = check(&device, &server, 9);
    assert!(outcome.bytes <= 1_000 * 200, "{} bytes", outcome.bytes);
}

#[test]
fn a_comparison_in_which_every_document_differs_ends_within_half_of_what_a_server_bears() {
    let server = documents(0..20_000);
    let device = server.keys().map(|id| (*id, heads(7))).collect();
    let outcome = check(&device, &server, 3);
    let enough = limits::COMPARED_PER_DOCUMENT * server.len() + limits::COMPARED_AT_LEAST;
    println!("{} of {enough}", outcome.asked);
    assert!(outcome.asked <= enough / 2, "{} asked about", outcome.asked);
}

#[test]
fn what_is_needed_is_asked_for_in_order_and_once_in_whatever_order_it_was_found() {
    let scope: Scope = "13.76".parse().unwrap();
    let (mut comparison, _) = Comparison::begin(scope, Audience::Unit, 1, Vec::new());
    let half = Range::ALL.part(1, 1).unwrap();
    let [low, high] = [[1; 16], [0xf1; 16]].map(|id| Range::of(&DocumentId(id)));
    let frames = comparison.need(vec![high, half, low, half]);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].need, [low, half]);
}

#[test]
fn ranges_that_are_not_in_order_or_lie_within_one_another_are_refused() {
    let one = |at: u8| Range::of(&DocumentId([at; 16]));
    let frame = |ranges: &[Range]| Reconcile {
        prefix: Scope::all(),
        audience: Audience::All,
        salt: 1,
        ranges: Vec::new(),
        lists: Vec::new(),
        need: ranges.to_vec(),
        survived: None,
        more: false,
    };
    for ranges in [
        &[one(1), one(1)][..],
        &[one(2), one(1)],
        &[Range::ALL, one(1)],
        &[one(0), Range::ALL],
    ] {
        let need = frame(ranges);
        let fingerprints: minicbor::bytes::ByteVec = Vec::new().into();
        let ranges = need.need.iter().map(|range| Ranged {
            range: *range,
            fingerprints: fingerprints.clone(),
        });
        let lists = need.need.iter().map(|range| Listed {
            range: *range,
            documents: Vec::new(),
        });
        let (ranges, lists) = (ranges.collect(), lists.collect());
        let ranges = Reconcile {
            ranges,
            ..frame(&[])
        };
        let lists = Reconcile {
            lists,
            ..frame(&[])
        };
        for bad in [need, ranges, lists] {
            let read = decode(&encode(&bad.into(), Features::NONE));
            assert!(matches!(read, Err(FrameError::Malformed(_))), "{read:?}");
        }
    }
}

#[test]
fn ranges_that_are_none_are_refused() {
    for bytes in [
        &[0x40][..],
        &[0x41, 129],
        &[0x41, 1],
        &[0x42, 1, 0x40],
        &[0x43, 1, 0x80, 0],
    ] {
        assert!(minicbor::decode::<Range>(bytes).is_err(), "{bytes:?}");
    }
    assert_eq!(minicbor::decode::<Range>(&[0x41, 0]).unwrap(), Range::ALL);
}

#[test]
fn fingerprints_that_are_no_parts_are_refused() {
    let mut side = Side::new(side(&documents(0..10)));
    let whole = |parts: usize, range| Reconcile {
        prefix: "13.76".parse().unwrap(),
        audience: Audience::Unit,
        salt: 1,
        ranges: vec![Ranged {
            range,
            fingerprints: vec![1; parts * 4].into(),
        }],
        lists: Vec::new(),
        need: Vec::new(),
        survived: None,
        more: false,
    };
    let heads = |_: &DocumentId| Ok::<_, Infallible>(Vec::new());
    for parts in [1, 3, 128] {
        assert_eq!(side.answer(&whole(parts, Range::ALL), heads), Ok(None));
    }
    let one = Range::of(&document(1));
    assert_eq!(side.answer(&whole(2, one), heads), Ok(None));
    let Ok(Some(_)) = side.answer(&whole(64, Range::ALL), heads) else {
        panic!("64 parts are taken")
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_differs_is_found_and_nothing_else(
        both in 0_u64..600,
        ours in 0_u64..60,
        theirs in 0_u64..60,
        changed in proptest::collection::btree_set(0_u64..600, 0..20),
        salt in any::<u64>(),
    ) {
        let shared = documents(0..both);
        let mut device = shared.clone();
        device.extend(documents(10_000..10_000 + ours));
        let mut server = shared;
        server.extend(documents(20_000..20_000 + theirs));
        for number in changed.into_iter().filter(|number| *number < both) {
            server.insert(document(number), heads(number + 1_000_000));
        }
        check(&device, &server, salt);
    }
}
