//! A document on which changes are tried.

use std::collections::BTreeSet;

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::{Transactable, Transaction};
use automerge::{ObjType, ROOT, ReadDoc, ScalarValue};
use bukti_core::change::{ChangeFault, Parsed};
use bukti_core::envelope::{DocumentKind, Run};
use bukti_core::id::ChangeHash;
use bukti_core::limits;
use bukti_core::validate::{CheckedRun, Document, Refusal, Verdict, check_run, judge};
use ed25519_dalek::SigningKey;

use crate::pen::Pen;

const SCOPE: &str = "13.76.01.1001";

/// A document with a text, a list, a counter, a map and a mark, an honest edit that waits, and a
/// device that signs whatever it is given.
#[derive(Debug)]
pub struct Ground {
    document: Document,
    honest: CheckedRun,
    /// What the honest device writes after that.
    next: CheckedRun,
    hostile: Pen,
}

/// What became of bytes that were to be a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// They did not pass the reading before Automerge.
    Unread(ChangeFault),
    /// The run around them was refused, by itself or with its document.
    Refused(Refusal),
    /// The change became part of the document.
    Valid,
    /// It builds on changes that nobody knows.
    Missing,
}

impl Default for Ground {
    fn default() -> Self {
        Self::new()
    }
}

impl Ground {
    /// The same ground every time.
    ///
    /// # Panics
    /// If honest runs are not valid.
    pub fn new() -> Self {
        let mut honest = Pen::begin(&SigningKey::from_bytes(&[1; 32]), SCOPE, 1, 1);
        honest.edit(fill);
        let root = checked(honest.sealed_run());
        let document = judge(None, vec![root]).document.expect("an honest root");
        let hostile = honest.beside(&SigningKey::from_bytes(&[2; 32]), 2);
        let first = checked(honest.put("title", "Jalan desa").sealed_run());
        let next = checked(honest.put("title", "Jalan desa 2").sealed_run());
        Self {
            document,
            honest: first,
            next,
            hostile,
        }
    }

    /// Proper changes of the hostile device, not deflated, each by itself on top of the document.
    pub fn changes(&self) -> Vec<Vec<u8>> {
        let edits: [fn(&mut Transaction<'_>); 9] = [
            |transaction| put(transaction, "title", "Sungai"),
            |transaction| {
                let text = object(transaction, "text");
                done(transaction.splice_text(&text, 3, 4, "xyz"));
            },
            |transaction| {
                let text = object(transaction, "text");
                let mark = Mark::new("bold".into(), true, 1, 4);
                done(transaction.mark(&text, mark, ExpandMark::After));
            },
            |transaction| {
                let list = object(transaction, "list");
                done(transaction.increment(&list, 0, 2));
                done(transaction.insert(&list, 1, "b"));
                done(transaction.put(&list, 1, 7));
            },
            |transaction| done(transaction.delete(ROOT, "a")),
            |transaction| {
                let map = done(transaction.put_object(ROOT, "c", ObjType::Map));
                done(transaction.put(&map, "d", vec![1, 2, 3]));
                let list = done(transaction.put_object(&map, "e", ObjType::List));
                done(transaction.insert(&list, 0, 2.5));
            },
            |transaction| {
                let list = object(transaction, "list");
                done(transaction.delete(&list, 0));
                put(transaction, "time", ScalarValue::Timestamp(5));
                put(transaction, "none", ());
                put(transaction, "yes", true);
            },
            |transaction| {
                let map = object(transaction, "map");
                done(transaction.put(&map, "k", 1_u64));
                done(transaction.delete(&map, "gone"));
            },
            // Long enough that Automerge would deflate it.
            |transaction| {
                let text = object(transaction, "text");
                done(transaction.splice_text(&text, 0, 0, &"sungai desa ".repeat(40)));
            },
        ];
        let change = |edit: fn(&mut Transaction<'_>)| {
            let mut pen = self.hostile.clone();
            pen.edit(edit).last_raw()
        };
        edits.into_iter().map(change).collect()
    }

    /// Seals `change` as the hostile device would and has it judged beside the honest run.
    ///
    /// # Panics
    /// If the honest run suffers, if an accepted change leaves a document that cannot be stored,
    /// loaded and gone on with, if it depends on who came first what the document is, or if what
    /// was read differs from what Automerge reads.
    pub fn judge(&self, change: &[u8]) -> Fate {
        let parsed = match Parsed::open(change) {
            Ok(parsed) => parsed,
            Err(fault) => return Fate::Unread(fault),
        };
        expect_bounds(&parsed);
        let run = self.seal(change, &parsed);
        let run = match check_run(run) {
            Ok(run) => run,
            Err(refusal) => return refused(refusal),
        };
        let judged = judge(Some(&self.document), vec![run.clone(), self.honest.clone()]);
        assert_eq!(
            judged.verdicts[1].1,
            Verdict::Valid,
            "the honest run beside it"
        );
        let extended = judged.document.expect("the honest run extends it");
        match &judged.verdicts[0].1 {
            Verdict::Valid => {
                self.expect_usable(&extended, run);
                Fate::Valid
            }
            Verdict::Missing(hashes) => {
                assert!(!hashes.is_empty(), "missing nothing");
                Fate::Missing
            }
            Verdict::Refused(refusal) => refused(refusal.clone()),
            Verdict::Known => panic!("a change that was never sent is known"),
        }
    }

    fn seal(&self, change: &[u8], parsed: &Parsed) -> Run {
        let mut hostile = self.hostile.clone();
        hostile.seal_run(vec![change.to_vec()], |body| {
            body.first_seq = parsed.seq;
            body.root = None;
        })
    }

    fn expect_usable(&self, extended: &Document, run: CheckedRun) {
        let load = |document: &Document| {
            Document::load(document.saved(), DocumentKind::Evidence, false)
                .expect("what was accepted loads again")
        };
        let stored = load(extended);
        assert_eq!(stored.heads(), extended.heads());
        let next = judge(Some(&stored), vec![self.next.clone()]);
        assert_eq!(
            next.verdicts[0].1,
            Verdict::Valid,
            "the next honest run after it"
        );

        let honest_first = judge(Some(&self.document), vec![self.honest.clone()]);
        let honest_first = load(&honest_first.document.expect("an honest run"));
        let later = judge(Some(&honest_first), vec![run]);
        assert_eq!(
            later.verdicts[0].1,
            Verdict::Valid,
            "valid after the honest run, too"
        );
        let later = later.document.expect("a valid run extends it");
        assert_eq!(later.saved(), extended.saved(), "whoever came first");
    }
}

fn refused(refusal: Refusal) -> Fate {
    assert!(
        refusal.sentence.ends_with('.') && refusal.sentence.len() > 20,
        "a refusal in one clear sentence: {refusal:?}"
    );
    Fate::Refused(refusal)
}

/// Everything that was read keeps the bounds that Automerge is trusted with.
fn expect_bounds(parsed: &Parsed) {
    assert!(parsed.received_bytes <= limits::CHANGE_BYTES_MAX);
    assert!(parsed.inflated_bytes <= limits::CHANGE_INFLATED_BYTES_MAX);
    assert!(parsed.operations <= limits::CHANGE_OPERATIONS_MAX);
    assert!(parsed.deps.len() <= limits::CHANGE_DEPS_MAX);
    assert!(parsed.other_actors.len() <= limits::CHANGE_ACTORS_MAX);
    assert!((1..=limits::OPERATION_COUNTER_MAX).contains(&parsed.start_op));
    assert!(parsed.max_op() <= limits::OPERATION_COUNTER_MAX);
    assert!((1..=u64::from(u32::MAX)).contains(&parsed.seq));
    let deps: BTreeSet<&ChangeHash> = parsed.deps.iter().collect();
    assert!(deps.into_iter().eq(&parsed.deps), "ascending, each once");
}

fn fill(transaction: &mut Transaction<'_>) {
    let text = done(transaction.put_object(ROOT, "text", ObjType::Text));
    done(transaction.splice_text(&text, 0, 0, "jalan desa"));
    let mark = Mark::new("note".into(), "lama", 0, 5);
    done(transaction.mark(&text, mark, ExpandMark::Both));
    let list = done(transaction.put_object(ROOT, "list", ObjType::List));
    done(transaction.insert(&list, 0, ScalarValue::counter(1)));
    let map = done(transaction.put_object(ROOT, "map", ObjType::Map));
    done(transaction.put(&map, "gone", 1));
    put(transaction, "a", 1);
}

fn put(transaction: &mut Transaction<'_>, key: &str, value: impl Into<ScalarValue>) {
    done(transaction.put(ROOT, key, value));
}

fn object(transaction: &Transaction<'_>, key: &str) -> automerge::ObjId {
    done(transaction.get(ROOT, key))
        .expect("the ground has it")
        .1
}

fn done<T>(result: Result<T, automerge::AutomergeError>) -> T {
    result.expect("an edit that can be made")
}

fn checked(run: Run) -> CheckedRun {
    check_run(run).expect("an honest run")
}
