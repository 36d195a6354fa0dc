//! The smallest edits between two texts or lists, so that what two people change in different
//! places survives a merge.
//!
//! Texts are compared word by word and each difference is then trimmed by characters. Comparing
//! characters from the start would find common letters in unrelated words, and two people who
//! rewrite the same sentence would get their letters mixed instead of their words.

use std::ops::Range;

use crate::limits::TEXT_DIFFERENCES_MAX;

/// A stretch of the old sequence that the new one has replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hunk {
    pub(super) old: Range<usize>,
    pub(super) new: Range<usize>,
}

/// One replacement in a text; positions and lengths count characters (code points).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Splice {
    pub(super) at: usize,
    pub(super) remove: usize,
    pub(super) insert: String,
}

/// The replacements that lead from `old` to `new`, the last one first, so that performing one
/// leaves the positions of the others right.
pub(super) fn splices(old: &str, new: &str) -> Vec<Splice> {
    let (old_words, new_words) = (words(old), words(new));
    let mut splices = Vec::new();
    let (mut word, mut at) = (0, 0);
    for hunk in hunks(&old_words, &new_words) {
        at += characters(&old_words[word..hunk.old.start]);
        let removed: Vec<char> = old_words[hunk.old.clone()].concat().chars().collect();
        let inserted: Vec<char> = new_words[hunk.new].concat().chars().collect();
        let (start, end) = common_ends(&removed, &inserted);
        splices.push(Splice {
            at: at + start,
            remove: removed.len() - start - end,
            insert: inserted[start..inserted.len() - end].iter().collect(),
        });
        at += removed.len();
        word = hunk.old.end;
    }
    splices.reverse();
    splices
}

/// The stretches in which two sequences differ, in order: the fewest items removed and added, or
/// one stretch from the first difference to the last where more than [`TEXT_DIFFERENCES_MAX`]
/// differ.
pub(super) fn hunks<T: PartialEq>(old: &[T], new: &[T]) -> Vec<Hunk> {
    let (start, end) = common_ends(old, new);
    let (old_end, new_end) = (old.len() - end, new.len() - end);
    let Some(kept) = kept_pairs(&old[start..old_end], &new[start..new_end]) else {
        return vec![Hunk {
            old: start..old_end,
            new: start..new_end,
        }];
    };
    let mut hunks = Vec::new();
    let (mut old_at, mut new_at) = (start, start);
    let last = (old_end, new_end);
    let kept = kept.into_iter().map(|(x, y)| (x + start, y + start));
    for (x, y) in kept.chain(std::iter::once(last)) {
        if x > old_at || y > new_at {
            hunks.push(Hunk {
                old: old_at..x,
                new: new_at..y,
            });
        }
        (old_at, new_at) = (x + 1, y + 1);
    }
    hunks
}

/// Words with the blanks behind them, and runs of punctuation alike.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut previous: Option<char> = None;
    for (at, character) in text.char_indices() {
        let begins = previous.is_some_and(|previous| {
            !character.is_whitespace()
                && (previous.is_whitespace()
                    || previous.is_alphanumeric() != character.is_alphanumeric())
        });
        if begins {
            words.push(&text[start..at]);
            start = at;
        }
        previous = Some(character);
    }
    if start < text.len() {
        words.push(&text[start..]);
    }
    words
}

fn characters(words: &[&str]) -> usize {
    words.iter().map(|word| word.chars().count()).sum()
}

/// How many items two sequences share at the start and, of the rest, at the end.
fn common_ends<T: PartialEq>(old: &[T], new: &[T]) -> (usize, usize) {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (old[start..].iter().rev(), new[start..].iter().rev());
    let end = old.zip(new).take_while(|(a, b)| a == b).count();
    (start, end)
}

/// The pairs of positions of a longest common subsequence (E. Myers, "An O(ND) difference
/// algorithm and its variations", 1986); `None` where more than [`TEXT_DIFFERENCES_MAX`] differ.
fn kept_pairs<T: PartialEq>(old: &[T], new: &[T]) -> Option<Vec<(usize, usize)>> {
    let table = Table {
        width: old.len(),
        height: new.len(),
    };
    let mut rows: Vec<Row> = Vec::new();
    for d in 0..=TEXT_DIFFERENCES_MAX.min(old.len() + new.len()) {
        let mut row = Row::with_capacity(d + 1);
        for index in 0..=d {
            let Some(Step { mut x, .. }) = table.step(&rows, d, index) else {
                row.push(None);
                continue;
            };
            let mut y = x + d - 2 * index;
            while x < old.len() && y < new.len() && old[x] == new[y] {
                (x, y) = (x + 1, y + 1);
            }
            row.push(Some(x));
            if (x, y) == (old.len(), new.len()) {
                return Some(table.walk_back(&rows, index));
            }
        }
        rows.push(row);
    }
    None
}

/// Row d holds at index i, for diagonal x - y = 2i - d, the furthest x that d differences reach;
/// `None` where the diagonal is off the table.
type Row = Vec<Option<usize>>;

struct Table {
    width: usize,
    height: usize,
}

struct Step {
    x: usize,
    /// Index in the row before.
    from: usize,
}

impl Table {
    /// How the path on diagonal `index` of row `d` starts: by removing one item of the old
    /// sequence or adding one of the new, whichever comes further.
    fn step(&self, rows: &[Row], d: usize, index: usize) -> Option<Step> {
        let Some(previous) = d.checked_sub(1).map(|before| &rows[before]) else {
            return Some(Step { x: 0, from: 0 });
        };
        let removed = index
            .checked_sub(1)
            .and_then(|from| {
                Some(Step {
                    x: previous[from]? + 1,
                    from,
                })
            })
            .filter(|step| step.x <= self.width);
        let added = previous
            .get(index)
            .and_then(|&x| Some(Step { x: x?, from: index }))
            .filter(|step| step.x + d - 2 * index <= self.height);
        match (removed, added) {
            (Some(removed), Some(added)) if added.x >= removed.x => Some(added),
            (Some(removed), _) => Some(removed),
            (None, added) => added,
        }
    }

    /// The pairs kept on the path that ends at the far corner on diagonal `index` of the row
    /// after `rows`.
    fn walk_back(&self, rows: &[Row], mut index: usize) -> Vec<(usize, usize)> {
        let mut kept = Vec::new();
        let mut x = self.width;
        for d in (0..=rows.len()).rev() {
            let step = self
                .step(rows, d, index)
                .expect("the path was found over this step");
            while x > step.x {
                x -= 1;
                kept.push((x, x + d - 2 * index));
            }
            index = step.from;
            if let Some(before) = d.checked_sub(1) {
                x = rows[before][index].expect("the path was found over this step");
            }
        }
        kept.reverse();
        kept
    }
}
