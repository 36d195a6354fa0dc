//! Laws that hold for every history.

use proptest::prelude::*;

use super::*;
use crate::evidence::text::{hunks, splices};

#[derive(Debug, Clone)]
enum Act {
    Edit(usize, Edit),
    Merge { from: usize, to: usize },
    Choose(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0..3_usize, edits()).prop_map(|(replica, edit)| Act::Edit(replica, edit)),
        2 => (0..3_usize, 0..3_usize).prop_map(|(from, to)| Act::Merge { from, to }),
        1 => (0..3_usize).prop_map(Act::Choose),
    ];
    prop::collection::vec(act, 1..25)
}

fn edits() -> impl Strategy<Value = Edit> {
    let word =
        || prop::sample::select(vec!["", "a", "b b", "rapat desa 👍"]).prop_map(str::to_owned);
    let row = || prop::sample::select(vec!["1.1", "1.2", "2"]).prop_map(str::to_owned);
    prop_oneof![
        word().prop_map(Edit::Title),
        "[a-c .]{0,12}".prop_map(Edit::Narrative),
        row().prop_map(Edit::AddRow),
        row().prop_map(Edit::RemoveRow),
        word().prop_map(|text| field("number", Value::String(text))),
        any::<i64>().prop_map(|number| field("number", Value::Integer(number))),
        "[a-c .]{0,9}".prop_map(|text| field("agenda", Value::Text(text))),
        word().prop_map(|text| field("late", Value::Text(text))),
        prop::collection::vec(word(), 0..4)
            .prop_map(|list| field("signatories", Value::List(list))),
        (0..9_i64, 0..9_i64).prop_map(|(a, b)| field("attendees", counts([("a", a), ("b", b)]))),
        prop::sample::select(vec!["number", "agenda", "signatories", "attendees", "late"])
            .prop_map(|code| Edit::ClearField(code.into())),
        word().prop_map(|name| Edit::AddFile(FileEntry { name, ..photo() })),
        Just(Edit::RemoveFile(photo().hash)),
        any::<bool>().prop_map(Edit::PersonalData),
        prop::option::of(0..5_i64).prop_map(Edit::CapturedAt),
        Just(Edit::Declare(Declared::Ready)),
        Just(Edit::Declare(Declared::Draft)),
        Just(Edit::Withdraw { reason: "r".into() }),
    ]
}

fn perform(acts: &[Act]) -> [Automerge; 3] {
    let mut replicas = [started(), started(), started()];
    for act in acts {
        match act {
            Act::Edit(replica, one) => edit_at(&mut replicas, *replica, one),
            Act::Merge { from, to } => {
                let mut other = replicas[*from].clone();
                replicas[*to].merge(&mut other).unwrap();
            }
            Act::Choose(replica) => {
                if let Some(conflict) = view(&replicas[*replica]).conflicts.first() {
                    edit_at(
                        &mut replicas,
                        *replica,
                        &keep(conflict, &conflict.values[0]),
                    );
                }
            }
        }
    }
    replicas
}

fn edit_at(replicas: &mut [Automerge; 3], replica: usize, one: &Edit) {
    let actor = [ANI, BUDI, CITRA][replica];
    edit(
        &mut replicas[replica],
        actor,
        5_000,
        std::slice::from_ref(one),
    )
    .unwrap();
}

fn merged(order: [&Automerge; 3]) -> Automerge {
    let mut all = order[0].clone();
    for other in &order[1..] {
        all.merge(&mut (*other).clone()).unwrap();
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replicas_that_merged_everything_show_the_same_in_any_order(acts in acts()) {
        let [a, b, c] = perform(&acts);
        let first = merged([&a, &b, &c]);
        for other in [merged([&c, &b, &a]), merged([&b, &a, &c])] {
            prop_assert_eq!(json(&first), json(&other));
            prop_assert_eq!(history(&first), history(&other));
            prop_assert_eq!(contributions(&first), contributions(&other));
        }
        let loaded = Automerge::load(&first.save_and_verify().unwrap()).unwrap();
        prop_assert_eq!(json(&first), json(&loaded));
    }

    #[test]
    fn an_edit_repeated_at_once_changes_nothing(acts in acts(), one in edits()) {
        let [mut document, ..] = perform(&acts);
        edit(&mut document, ANI, 0, std::slice::from_ref(&one)).unwrap();
        prop_assert_eq!(edit(&mut document, BUDI, 0, &[one]).unwrap(), None);
    }

    #[test]
    fn edits_entered_again_show_what_was_refused(acts in acts(), refused in prop::collection::vec(edits(), 1..6)) {
        let [mut confirmed, ..] = perform(&acts);
        let mut wanted = confirmed.clone();
        for one in &refused {
            edit(&mut wanted, BUDI, 0, std::slice::from_ref(one)).unwrap();
        }
        let again = restage(&confirmed, &wanted);
        edit(&mut confirmed, CITRA, 0, &again).unwrap();
        let (mut got, want) = (view(&confirmed), view(&wanted));
        got.heads.clone_from(&want.heads);
        prop_assert_eq!(got, want);
        prop_assert!(restage(&wanted, &wanted).is_empty());
    }

    #[test]
    fn the_smallest_edits_lead_from_the_old_text_to_the_new(old in "[a-c .👍]{0,40}", new in "[a-c .👍]{0,40}") {
        let mut text: Vec<char> = old.chars().collect();
        for splice in splices(&old, &new) {
            text.splice(splice.at..splice.at + splice.remove, splice.insert.chars());
        }
        prop_assert_eq!(text.into_iter().collect::<String>(), new);
    }

    #[test]
    fn no_shorter_list_of_differences_exists(old in prop::collection::vec(0..3_u8, 0..12), new in prop::collection::vec(0..3_u8, 0..12)) {
        let found = hunks(&old, &new);
        let kept = old.len() - found.iter().map(|hunk| hunk.old.len()).sum::<usize>();
        prop_assert_eq!(kept, longest_common(&old, &new));
        let rebuilt: usize = found.iter().map(|hunk| hunk.new.len()).sum();
        prop_assert_eq!(kept + rebuilt, new.len());
    }
}

/// The textbook table.
fn longest_common(old: &[u8], new: &[u8]) -> usize {
    let mut table = vec![vec![0; new.len() + 1]; old.len() + 1];
    for (i, a) in old.iter().enumerate() {
        for (j, b) in new.iter().enumerate() {
            table[i + 1][j + 1] = if a == b {
                table[i][j] + 1
            } else {
                table[i][j + 1].max(table[i + 1][j])
            };
        }
    }
    table[old.len()][new.len()]
}

#[test]
fn one_changed_word_in_a_long_text_is_one_small_edit() {
    let old = "Rapat dibuka oleh kepala desa. ".repeat(2_000);
    let new = old.replacen("kepala desa", "kepala dusun", 1);
    let found = splices(&old, &new);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].remove, found[0].insert.as_str()), (3, "usun"));
}

#[test]
fn a_text_rewritten_altogether_is_one_replacement() {
    let old: String = (0..2_000).map(|n| format!("lama{n} ")).collect();
    let new: String = (0..2_000).map(|n| format!("baru{n} ")).collect();
    assert_eq!(splices(&old, &new).len(), 1);
}

#[test]
fn a_file_that_two_added_at_once_takes_another_name_once() {
    let mut replicas = [started(), started(), started()];
    edit_at(&mut replicas, 0, &Edit::AddFile(photo()));
    edit_at(&mut replicas, 2, &Edit::AddFile(photo()));
    let mut document = merged([&replicas[0], &replicas[2], &replicas[1]]);
    let renamed = Edit::AddFile(FileEntry {
        name: "Foto papan.jpg".into(),
        ..photo()
    });
    let first = edit(&mut document, ANI, 0, std::slice::from_ref(&renamed));
    assert!(first.unwrap().is_some());
    assert_eq!(edit(&mut document, BUDI, 0, &[renamed]).unwrap(), None);
}
