//! The people of a simulated world: where they work and what they write.

use std::collections::{BTreeMap, BTreeSet};

use bukti_core::authority::{Grant, Role};
use bukti_core::evidence::{Content, Declared, Edit, EvidenceView, NewEvidence, Value};
use bukti_core::scope::Scope;

use super::random::Random;
use super::script::What;

/// Who is where: two villages of one regency, those who review it, and another regency.
pub(super) fn grants_of(device: usize, random: &mut Random) -> Vec<Grant> {
    let grants = match device % 8 {
        0 | 5 => vec![(Role::Officer, "13.76.01.1001")],
        1 => vec![random.weighted(&[
            (2, (Role::Officer, "13.76.01.1001")),
            (1, (Role::Officer, "13.76.01.1002")),
        ])],
        2 => vec![random.weighted(&[
            (2, (Role::Verifier, "13.76")),
            (1, (Role::Observer, "13.76.01")),
        ])],
        3 => vec![random.weighted(&[
            (2, (Role::Officer, "13.71.01.1001")),
            (1, (Role::Officer, "13.76.01.1002")),
            (1, (Role::UnitHead, "13.76.01")),
        ])],
        4 => vec![(Role::Officer, "13.76.01.1002")],
        6 => vec![(Role::Observer, "13.76"), (Role::Officer, "13.76.01.1002")],
        _ => vec![(Role::Assessor, "13.71")],
    };
    let grant = |(role, scope): (Role, &str)| Grant {
        role,
        scope: scope.parse().expect("scopes here are well formed"),
    };
    grants.into_iter().map(grant).collect()
}

/// Where a person begins evidence, if anywhere.
pub(super) fn workplace(grants: &[Grant]) -> Option<&Scope> {
    let writes = |grant: &&Grant| matches!(grant.role, Role::Officer | Role::UnitHead);
    grants.iter().find(writes).map(|grant| &grant.scope)
}

/// A row that one step adds, and no other; none is part of another.
pub(super) fn mark(number: u64) -> String {
    format!("mark-{number:06}")
}

/// The field that every step adds one to, so that it counts the marks of a document: one that was
/// entered twice, or in part, shows.
const STEPS: &str = "steps";

fn steps(number: i64) -> Value {
    Value::Counts(BTreeMap::from([("all".to_owned(), number)]))
}

/// How many steps a document holds by that.
pub(super) fn steps_in(view: &EvidenceView) -> i64 {
    match view.fields.get(STEPS) {
        Some(Content::Map(groups)) => match groups.get("all") {
            Some(Content::Counter(steps)) => *steps,
            Some(_) | None => 0,
        },
        Some(_) | None => 0,
    }
}

/// How many it holds by its marks.
pub(super) fn marks_in(view: &EvidenceView) -> i64 {
    let marks = view.rows.iter().filter(|row| row.starts_with("mark-"));
    i64::try_from(marks.count()).expect("a few marks")
}

/// What every step does.
pub(super) fn marking(mark: String, shown: &EvidenceView) -> [Edit; 2] {
    let code = STEPS.to_owned();
    let value = steps(steps_in(shown) + 1);
    [Edit::AddRow(mark), Edit::Field { code, value }]
}

/// A piece of evidence as it begins.
pub(super) fn beginning(mark: &str) -> NewEvidence {
    NewEvidence {
        kind: "event".into(),
        framework_id: "desa-antikorupsi".into(),
        framework_version: "2024".into(),
        cycle: 2026,
        rows: BTreeSet::from([mark.to_owned()]),
        title: "Musyawarah desa".into(),
        fields: BTreeMap::from([(STEPS.to_owned(), steps(1))]),
        text_fields: vec!["agenda".into()],
        list_fields: vec!["signatories".into()],
        count_fields: vec!["attendees".into()],
        narrative: "Dimulai pukul sembilan.".into(),
        files: Vec::new(),
        medium: None,
        captured_at: None,
        place: None,
        personal_data: false,
    }
}

/// What a person who wants this does, looking at the document as it is shown.
pub(super) fn edits(
    what: What,
    shown: &EvidenceView,
    number: u64,
    random: &mut Random,
) -> Vec<Edit> {
    match what {
        What::Title => vec![Edit::Title(format!("Judul {number}"))],
        What::Field => vec![field(number, random)],
        What::Narrative => vec![Edit::Narrative(retold(&shown.narrative, number, random))],
        What::Row => {
            let row = format!("row-{}", random.below(4));
            match shown.rows.contains(&row) {
                true => vec![Edit::RemoveRow(row)],
                false => vec![Edit::AddRow(row)],
            }
        }
        What::Ready => vec![Edit::Declare(Declared::Ready)],
        What::Draft => vec![Edit::Declare(Declared::Draft)],
        What::Withdraw => vec![Edit::Withdraw {
            reason: format!("Salah unggah {number}"),
        }],
        What::Resolve => {
            let choice = shown.conflicts.first().map(|conflict| {
                let which = random.index(conflict.values.len());
                Edit::Resolve {
                    path: conflict.path.clone(),
                    keep: conflict.values[which].change,
                    expected: conflict.fingerprint,
                }
            });
            choice.into_iter().collect()
        }
    }
}

fn field(number: u64, random: &mut Random) -> Edit {
    let (code, value) = match random.below(4) {
        0 => ("place", Value::String(format!("Balai {number}"))),
        1 => ("agenda", Value::Text(format!("Ringkasan {number}"))),
        2 => {
            let items = (0..random.below(4)).map(|item| format!("topik {item}"));
            ("signatories", Value::List(items.collect()))
        }
        _ => {
            let groups = ["women", "men"].map(|group| (group.to_owned(), random.below(40) as i64));
            ("attendees", Value::Counts(BTreeMap::from(groups)))
        }
    };
    let code = code.to_owned();
    Edit::Field { code, value }
}

/// The narrative with words put in or taken out somewhere; sometimes with pages of them.
fn retold(narrative: &str, number: u64, random: &mut Random) -> String {
    let letters: Vec<char> = narrative.chars().collect();
    let at = random.index(letters.len() + 1);
    let taken = match random.chance(25) {
        true => random.index(letters.len() - at + 1).min(30),
        false => 0,
    };
    let words = match random.chance(4) {
        true => (0..1_200)
            .map(|_| random.below(1_000_000).to_string() + " ")
            .collect(),
        false => format!(" kata {number} "),
    };
    let before = letters[..at].iter();
    let after = letters[at + taken..].iter();
    before
        .copied()
        .chain(words.chars())
        .chain(after.copied())
        .collect()
}
