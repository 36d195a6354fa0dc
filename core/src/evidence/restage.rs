//! Work that was refused or restored, as edits that can be entered again.

use std::collections::{BTreeMap, BTreeSet};

use automerge::{Automerge, ReadDoc};

use super::content::Content;
use super::edit::Edit;
use super::model::{Declared, FieldPath, FileEntry, Value, key};
use super::view::{EvidenceView, view};

/// The edits that lead from what is confirmed to what a person had.
///
/// `wanted` is `confirmed` with the refused changes applied; made on `confirmed` under a new
/// actor, the edits give the same view. Where a refused value stands beside a confirmed one, the
/// refused one is entered again, since it is the one that would be lost. What this version cannot
/// write (unknown keys, marks, values of no field type) is left out.
pub fn restage(confirmed: &Automerge, wanted: &Automerge) -> Vec<Edit> {
    let (before, mut after) = (view(confirmed), view(wanted));
    let chosen = prefer_refused(confirmed, &mut after);
    let open: BTreeSet<&FieldPath> = before.conflicts.iter().map(|open| &open.path).collect();
    let still_open: BTreeSet<&FieldPath> = after
        .conflicts
        .iter()
        .map(|open| &open.path)
        .filter(|path| !chosen.contains(*path))
        .collect();
    let states = States {
        before: &before,
        after: &after,
    };
    let settled = |path: &FieldPath| {
        let mut inside = open
            .iter()
            .filter(|open| open.keys().starts_with(path.keys()));
        inside.any(|open| !still_open.contains(open))
    };
    let mut edits = states.root(&|key| settled(&FieldPath::root(key)));
    edits.extend(states.rows());
    edits.extend(states.fields(&|code| settled(&FieldPath::field(code))));
    edits.extend(states.files(&|hash| settled(&FieldPath::root(key::FILES).child(hash))));
    edits.extend(states.declaration(settled(&FieldPath::root(key::DECLARED))));
    edits
}

/// Shows in `after` the values that only `wanted` holds, where they stand beside confirmed ones;
/// returns their paths.
fn prefer_refused(confirmed: &Automerge, after: &mut EvidenceView) -> BTreeSet<FieldPath> {
    let mut preferred = BTreeMap::new();
    for conflict in &after.conflicts {
        let refused = conflict.values.iter().rev().find(|value| {
            let hash = value.change.into();
            confirmed.get_change_by_hash(&hash).is_none()
        });
        if let Some(refused) = refused {
            preferred.insert(conflict.path.clone(), refused.value.clone());
        }
    }
    for (path, value) in &preferred {
        show(after, path, value);
    }
    preferred.into_keys().collect()
}

fn show(view: &mut EvidenceView, path: &FieldPath, value: &Content) {
    let text = value.as_str().map(str::to_owned);
    let keys: Vec<&str> = path.keys().iter().map(String::as_str).collect();
    match keys.as_slice() {
        [key::TITLE] => view.title = text.unwrap_or_default(),
        [key::MEDIUM] => view.medium = text,
        [key::WITHDRAWAL_REASON] => view.withdrawal_reason = text,
        [key::CAPTURED_AT] => view.captured_at = value.as_integer(),
        [key::PLACE] => view.place = super::model::Place::from_content(value),
        [key::PERSONAL_DATA] => view.personal_data = value.as_boolean().unwrap_or_default(),
        [key::DECLARED] => {
            let word = value.as_str().and_then(Declared::from_word);
            view.declared = word.unwrap_or_default();
        }
        [key::FIELDS, code] => {
            view.fields.insert((*code).to_owned(), value.clone());
        }
        [key::FIELDS, code, group] => {
            if let Some(Content::Map(groups)) = view.fields.get_mut(*code) {
                groups.insert((*group).to_owned(), value.clone());
            }
        }
        [key::FILES, hash] => {
            if let Some(file) = FileEntry::from_content(hash, value) {
                view.files.retain(|other| other.hash != file.hash);
                view.files.push(file);
            }
        }
        _not_writable => {}
    }
}

struct States<'a> {
    before: &'a EvidenceView,
    after: &'a EvidenceView,
}

impl States<'_> {
    fn root(&self, settled: &dyn Fn(&str) -> bool) -> Vec<Edit> {
        let (before, after) = (self.before, self.after);
        let edits = [
            (
                key::TITLE,
                before.title != after.title,
                Edit::Title(after.title.clone()),
            ),
            (
                key::NARRATIVE,
                before.narrative != after.narrative,
                Edit::Narrative(after.narrative.clone()),
            ),
            (
                key::MEDIUM,
                before.medium != after.medium,
                Edit::Medium(after.medium.clone()),
            ),
            (
                key::CAPTURED_AT,
                before.captured_at != after.captured_at,
                Edit::CapturedAt(after.captured_at),
            ),
            (
                key::PLACE,
                before.place != after.place,
                Edit::Place(after.place.clone()),
            ),
            (
                key::PERSONAL_DATA,
                before.personal_data != after.personal_data,
                Edit::PersonalData(after.personal_data),
            ),
        ];
        edits
            .into_iter()
            .filter(|(key, differs, _)| *differs || settled(key))
            .map(|(_, _, edit)| edit)
            .collect()
    }

    fn rows(&self) -> Vec<Edit> {
        let added = self.after.rows.difference(&self.before.rows).cloned();
        let removed = self.before.rows.difference(&self.after.rows).cloned();
        added
            .map(Edit::AddRow)
            .chain(removed.map(Edit::RemoveRow))
            .collect()
    }

    fn fields(&self, settled: &dyn Fn(&str) -> bool) -> Vec<Edit> {
        let (before, after) = (&self.before.fields, &self.after.fields);
        let set = after
            .iter()
            .filter(|(code, value)| before.get(*code) != Some(*value) || settled(code))
            .filter_map(|(code, content)| {
                let value = Value::from_content(content)?;
                Some(Edit::Field {
                    code: code.clone(),
                    value,
                })
            });
        let disputed = self.before.conflicts.iter();
        let disputed = disputed.filter_map(|conflict| match conflict.path.keys() {
            [root, code] if root == key::FIELDS && settled(code) => Some(code),
            _elsewhere => None,
        });
        let mut cleared: BTreeSet<&String> = before.keys().chain(disputed).collect();
        cleared.retain(|code| !after.contains_key(*code));
        set.chain(cleared.into_iter().cloned().map(Edit::ClearField))
            .collect()
    }

    fn files(&self, settled: &dyn Fn(&str) -> bool) -> Vec<Edit> {
        let (before, after) = (self.before, self.after);
        let added = after.files.iter().filter(|file| {
            before.file(&file.hash) != Some(*file) || settled(&file.hash.to_string())
        });
        let removed = before
            .files
            .iter()
            .filter(|file| after.file(&file.hash).is_none());
        added
            .cloned()
            .map(Edit::AddFile)
            .chain(removed.map(|file| Edit::RemoveFile(file.hash)))
            .collect()
    }

    fn declaration(&self, settled: bool) -> Option<Edit> {
        let (before, after) = (self.before, self.after);
        let same = before.declared == after.declared
            && before.withdrawal_reason == after.withdrawal_reason;
        if same && !settled {
            return None;
        }
        match (after.declared, &after.withdrawal_reason) {
            (Declared::Withdrawn, Some(reason)) => Some(Edit::Withdraw {
                reason: reason.clone(),
            }),
            (Declared::Withdrawn, None) => None,
            (Declared::Draft | Declared::Ready, _) => Some(Edit::Declare(after.declared)),
        }
    }
}
