use proptest::prelude::*;

use super::*;

fn item(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|at| seed ^ u8::try_from(at % 251).unwrap())
        .collect()
}

fn assembler() -> Assembler {
    Assembler::new(100_000, 150_000)
}

fn fragments(splitter: &mut Splitter) -> Vec<Fragment> {
    std::iter::from_fn(|| splitter.next_fragment()).collect()
}

proptest! {
    #[test]
    fn an_item_survives_any_number_of_cuts(length in 1_usize..60_000, cuts in prop::collection::vec(0_usize..6, 0..6)) {
        let packed = item(length, 9);
        let name = ItemId::of(&packed);
        let mut partials = Vec::new();
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let mut receiver = assembler();
            receiver.restore(partials);
            let mut sender = Splitter::new(packed.clone(), &receiver.held());
            for fragment in fragments(&mut sender).into_iter().take(cut) {
                receiver.add(&fragment).unwrap();
            }
            if cut == usize::MAX {
                prop_assert_eq!(receiver.take(&name), Ok(packed.clone()));
                prop_assert_eq!(receiver.take(&name), Err(FragmentError::Unknown));
            }
            partials = receiver.take_partials();
        }
    }
}

#[test]
fn bytes_that_are_held_already_are_passed_over() {
    let packed = item(9_000, 1);
    let sent = fragments(&mut Splitter::new(packed.clone(), &[]));
    let mut receiver = assembler();
    for fragment in [&sent[0], &sent[0], &sent[1], &sent[0], &sent[2]] {
        receiver.add(fragment).unwrap();
    }
    assert_eq!(receiver.take(&ItemId::of(&packed)), Ok(packed));
}

#[test]
fn a_gap_another_size_or_a_wrong_sum_is_refused() {
    let packed = item(9_000, 1);
    let sent = fragments(&mut Splitter::new(packed.clone(), &[]));
    assert_eq!(
        assembler().add(&sent[1]),
        Err(FragmentError::Gap {
            offset: 4_048,
            held: 0
        })
    );
    let mut receiver = assembler();
    receiver.add(&sent[0]).unwrap();
    let resized = Fragment {
        total: 8_999,
        ..sent[1].clone()
    };
    assert_eq!(receiver.add(&resized), Err(FragmentError::Size));
    let beyond = Fragment {
        total: 10,
        ..sent[0].clone()
    };
    assert_eq!(assembler().add(&beyond), Err(FragmentError::Size));
    let empty = Fragment {
        total: 0,
        bytes: vec![],
        ..sent[0].clone()
    };
    assert_eq!(assembler().add(&empty), Err(FragmentError::Size));
    let huge = Fragment {
        total: u64::MAX,
        ..sent[0].clone()
    };
    assert!(matches!(
        assembler().add(&huge),
        Err(FragmentError::TooLarge { .. })
    ));

    let mut receiver = assembler();
    receiver.add(&sent[0]).unwrap();
    receiver.add(&sent[1]).unwrap();
    assert_eq!(receiver.take(&sent[0].item), Err(FragmentError::Incomplete));
    let mut last = sent[2].clone();
    last.bytes[0] ^= 1;
    assert_eq!(receiver.add(&last), Err(FragmentError::Sum));
    assert!(
        receiver.held().is_empty(),
        "what cannot become whole is not kept"
    );
}

#[test]
fn unfinished_items_are_bounded_in_number_and_bytes() {
    let mut receiver = assembler();
    let begin = |receiver: &mut Assembler, seed: u8, count: usize| {
        let packed = item(80_000, seed);
        for fragment in fragments(&mut Splitter::new(packed.clone(), &[]))
            .iter()
            .take(count)
        {
            receiver.add(fragment).unwrap();
        }
        ItemId::of(&packed)
    };
    let first = begin(&mut receiver, 1, 1);
    for seed in 2..=5 {
        begin(&mut receiver, seed, 1);
    }
    assert_eq!(receiver.held().len(), limits::PARTIALS_MAX);
    assert!(
        receiver.held().iter().all(|held| held.item != first),
        "the oldest went"
    );

    let last = begin(&mut receiver, 6, 19);
    let other = begin(&mut receiver, 7, 19);
    let held: u64 = receiver.held().iter().map(|held| held.offset).sum();
    assert!(held <= 150_000, "{held}");
    let names: Vec<_> = receiver.held().iter().map(|held| held.item).collect();
    assert_eq!(names, [other], "{last:?} had to make room");
}

#[test]
fn what_an_earlier_session_left_is_checked_before_it_counts() {
    let whole = item(5_000, 1);
    let partial = |bytes: Vec<u8>, total| PartialItem {
        item: ItemId::of(&whole),
        total,
        bytes,
    };
    let held = |items: Vec<PartialItem>| {
        let mut receiver = assembler();
        receiver.restore(items);
        receiver.held().len()
    };
    assert_eq!(held(vec![partial(whole[..100].to_vec(), 5_000)]), 1);
    assert_eq!(held(vec![partial(whole.clone(), 5_000); 2]), 1);
    assert_eq!(held(vec![partial(whole.clone(), 4_999)]), 0);
    assert_eq!(held(vec![partial(vec![0; 5_000], 5_000)]), 0);
    assert_eq!(held(vec![partial(vec![], 1 << 40)]), 0);
}

#[test]
fn a_splitter_that_is_told_nonsense_sends_no_more_than_the_item() {
    let packed = item(9_000, 1);
    let held = Held {
        item: ItemId::of(&packed),
        offset: u64::MAX,
    };
    let mut splitter = Splitter::new(packed, &[held]);
    assert!(splitter.is_done());
    assert_eq!(splitter.next_fragment(), None);
}

#[test]
fn of_what_several_sessions_left_the_longer_part_of_each_item_stays() {
    let part = |name: u8, bytes: usize| PartialItem {
        item: ItemId([name; 16]),
        total: 9,
        bytes: vec![name; bytes],
    };
    let kept = vec![part(1, 5), part(2, 2)];
    let of = |more: Vec<PartialItem>| merged(kept.clone(), more);
    assert_eq!(of(Vec::new()), kept);
    assert_eq!(of(vec![part(1, 3)]), [part(2, 2), part(1, 5)]);
    assert_eq!(of(vec![part(1, 6)]), [part(2, 2), part(1, 6)]);
    let many = (3..7).map(|name| part(name, 1)).collect::<Vec<_>>();
    assert_eq!(of(many.clone()), many, "the last of them");
}

#[test]
fn what_several_sessions_left_is_no_more_than_one_session_may_leave() {
    let part = |name: u8, bytes: usize| PartialItem {
        item: ItemId([name; 16]),
        total: limits::STATEMENT_ITEM_BYTES_MAX as u64,
        bytes: vec![name; bytes],
    };
    let large = limits::PARTIAL_BYTES_SERVER / 2;
    let kept = vec![part(1, large), part(2, 1)];
    let both = [part(2, 1), part(3, large)];
    assert_eq!(merged(kept.clone(), vec![part(3, large)]), both);
    let larger = part(4, large + 2);
    let last = merged(both.to_vec(), vec![larger.clone()]);
    assert_eq!(last, [larger]);
}
