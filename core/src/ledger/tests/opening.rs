//! Opening after crashes, damage and loss; rebuilding.

use super::*;

/// What happens to a ledger in the property tests.
#[derive(Debug, Clone, Copy)]
enum Step {
    Create {
        phone: usize,
    },
    Edit {
        phone: usize,
        document: usize,
    },
    Ready {
        phone: usize,
        document: usize,
    },
    Learn {
        phone: usize,
        run: usize,
    },
    /// Sends what was written and not sent, the last first if so.
    Send {
        carrier: usize,
        most: usize,
        turned: bool,
    },
    Grant {
        phone: usize,
        elsewhere: bool,
    },
    /// Gives back a statement that the journal may know, may lack or may know better.
    Return {
        carrier: usize,
        about: u64,
        kind: usize,
        at: WallMs,
    },
    /// Gives back runs, of whomever.
    GiveBack {
        carrier: usize,
        most: usize,
    },
    Restore,
    Move {
        unit: usize,
        parent: usize,
    },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let phone = 0..3usize;
    prop_oneof![
        2 => phone.clone().prop_map(|phone| Step::Create { phone }),
        4 => (phone.clone(), any::<usize>()).prop_map(|(phone, document)| Step::Edit { phone, document }),
        1 => (phone.clone(), any::<usize>()).prop_map(|(phone, document)| Step::Ready { phone, document }),
        4 => (phone.clone(), any::<usize>()).prop_map(|(phone, run)| Step::Learn { phone, run }),
        4 => (phone.clone(), 1..12usize, any::<bool>())
            .prop_map(|(carrier, most, turned)| Step::Send { carrier, most, turned }),
        1 => (phone, any::<bool>()).prop_map(|(phone, elsewhere)| Step::Grant { phone, elsewhere }),
        3 => (0..3usize, 1..5u64, 0..5usize, NOW - 3..NOW + 3)
            .prop_map(|(carrier, about, kind, at)| Step::Return { carrier, about, kind, at }),
        1 => (0..3usize, 1..12usize).prop_map(|(carrier, most)| Step::GiveBack { carrier, most }),
        1 => Just(Step::Restore),
        1 => (0..3usize, 0..5usize).prop_map(|(unit, parent)| Step::Move { unit, parent }),
        1 => Just(Step::Reopen),
    ]
}

/// What a journal may have lost about a device.
fn lost_fact(device: DeviceId, kind: usize) -> Fact {
    let grants = vec![Grant {
        role: Role::Officer,
        scope: scope(VILLAGE),
    }];
    match kind {
        0 => Fact::Enrolment(crate::record::Certificate {
            device,
            person: "Siti".into(),
            grants,
            journal: JournalId([9; 16]),
            invitation: [7; 32],
        }),
        1 => Fact::Grants(crate::record::GrantsFact { device, grants }),
        2 => Fact::Confirmation(crate::record::Confirmation { device }),
        3 => Fact::Move(crate::record::MoveFact {
            unit: scope(VILLAGE),
            parent: scope("13.76.02"),
        }),
        // Not of those that the test has write: the others' steps would end early.
        _ => Fact::Revocation(crate::record::Revocation {
            device: Phone::new(40).id(),
        }),
    }
}

/// Three phones that write in three villages and a server that is fed in any order.
struct World {
    ledger: Option<MemoryLedger>,
    storage: MemoryStorage,
    kv: Arc<MemoryKv>,
    phones: Vec<Phone>,
    documents: Vec<Vec<DocumentId>>,
    runs: Vec<CheckedRun>,
    unsent: Vec<CheckedRun>,
    edits: u32,
    snapshots: Vec<crate::kv::MemorySnapshot>,
}

impl World {
    fn new() -> Self {
        let (mut ledger, storage, kv) = founded();
        ledger.options.checkpoint_every = 7;
        let phones: Vec<Phone> = (1..=3).map(Phone::new).collect();
        for phone in &phones {
            enrol(&mut ledger, phone, Role::Officer, "13.76");
        }
        Self {
            ledger: Some(ledger),
            storage,
            kv,
            phones,
            documents: vec![Vec::new(); 3],
            runs: Vec::new(),
            unsent: Vec::new(),
            edits: 0,
            snapshots: Vec::new(),
        }
    }

    fn ledger(&mut self) -> &mut MemoryLedger {
        self.ledger.as_mut().unwrap()
    }

    fn wrote(&mut self, run: CheckedRun) {
        self.runs.push(run.clone());
        self.unsent.push(run);
    }

    fn pick(&self, phone: usize, document: usize) -> Option<DocumentId> {
        let held = &self.documents[phone];
        held.get(document % held.len().max(1)).copied()
    }

    fn take(&mut self, step: Step) {
        self.edits += 1;
        match step {
            Step::Create { phone } => {
                let at =
                    ["13.76.01.1001", "13.76.02.1001", "13.76/dinkes"][self.edits as usize % 3];
                let (id, run) = self.phones[phone].create(at);
                self.documents[phone].push(id);
                self.wrote(run);
            }
            Step::Edit { phone, document } => {
                if let Some(id) = self.pick(phone, document) {
                    let text = format!("Suntingan {}.", self.edits);
                    let run = self.phones[phone].edit(&id, &text);
                    self.wrote(run);
                }
            }
            Step::Ready { phone, document } => {
                if let Some(id) = self.pick(phone, document) {
                    let mut tried = self.phones[phone].clone();
                    let title = crate::evidence::Edit::Title(format!("Judul {}", self.edits));
                    tried.publish(&id);
                    let run = tried.edits(&id, &[title]);
                    self.phones[phone] = tried;
                    self.wrote(run);
                }
            }
            Step::Learn { phone, run } => {
                if self.runs.is_empty() {
                    return;
                }
                // Everything of that document, so that nothing is missing.
                let id = self.runs[run % self.runs.len()].envelope().body().document;
                for run in &self.runs {
                    if run.envelope().body().document == id {
                        self.phones[phone].learn(run);
                    }
                }
                if !self.documents[phone].contains(&id) {
                    self.documents[phone].push(id);
                }
            }
            Step::Send {
                carrier,
                most,
                turned,
            } => {
                let count = most.min(self.unsent.len());
                let mut runs: Vec<CheckedRun> = self.unsent.drain(..count).collect();
                if turned {
                    runs.reverse();
                }
                let carrier = self.phones[carrier].clone();
                let verdicts = submit(self.ledger(), &carrier, &runs.iter().collect::<Vec<_>>());
                for (run, verdict) in runs.into_iter().zip(verdicts) {
                    if matches!(verdict, Verdict::Missing(_)) {
                        self.unsent.push(run);
                    }
                }
                self.snapshots.push(self.kv.snapshot());
            }
            Step::Grant { phone, elsewhere } => {
                let at = if elsewhere { "14" } else { "13.76" };
                let grants = vec![Grant {
                    role: Role::Officer,
                    scope: scope(at),
                }];
                let id = self.phones[phone].id();
                self.ledger().grant(NOW, id, grants).unwrap();
            }
            Step::Return {
                carrier,
                about,
                kind,
                at,
            } => {
                let given = statement(at, lost_fact(Phone::new(about).id(), kind));
                let carrier = self.phones[carrier].id();
                self.ledger().take_back(NOW, carrier, vec![given]).unwrap();
                self.snapshots.push(self.kv.snapshot());
            }
            Step::GiveBack { carrier, most } => {
                let count = most.min(self.unsent.len());
                let carrier = self.phones[carrier].id();
                let batch = self.unsent.drain(..count).map(|run| Submission {
                    carrier,
                    run,
                    returned: true,
                });
                let batch = batch.collect();
                self.ledger().accept(NOW, batch).unwrap();
            }
            Step::Restore => {
                self.ledger().record_restore(NOW).unwrap();
            }
            Step::Move { unit, parent } => {
                let unit = scope(["13.76.01.1001", "13.76/dinkes", "13.76.02"][unit]);
                let parent = ["13.76.02", "13.76", "14.01", "14.01.01", "13.76.01"][parent];
                match self.ledger().move_unit(NOW, &unit, &scope(parent)) {
                    Ok(_) | Err(AdminError::Invalid(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Reopen => {
                self.ledger = None;
                let (ledger, opened) = reopen(&self.storage, &self.kv).unwrap();
                assert_eq!((opened.caught_up, opened.rebuilt), (0, None));
                self.ledger = Some(ledger);
                self.ledger().options.checkpoint_every = 7;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn rows_kept_one_by_one_equal_rows_rebuilt_caught_up_or_verified(
        steps in proptest::collection::vec(step(), 1..60),
        back: usize,
    ) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        let kept = all_rows(&world.kv);
        prop_assert!(kept == rebuilt_rows(&world.storage), "a rebuild makes other rows");

        let verification = verify(&world.ledger().reader(), &mut |_| {}).unwrap();
        prop_assert!(verification.is_clean(), "{:?}", verification.findings);

        if !world.snapshots.is_empty() {
            world.ledger = None;
            let snapshot = world.snapshots[back % world.snapshots.len()].clone();
            world.kv.restore(&snapshot);
            let (_, opened) = reopen(&world.storage, &world.kv).unwrap();
            prop_assert_eq!(opened.rebuilt, None);
            prop_assert!(kept == all_rows(&world.kv), "catching up makes other rows");
        }
    }

    #[test]
    fn digests_are_equal_where_and_only_where_heads_are(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        let reader = world.ledger().reader();
        for prefix in ["all", "13", "13.76", "13.76.01", "13.76/dinkes", "14"] {
            let prefix = scope(prefix);
            for audience in [Audience::Unit, Audience::All] {
                let subscription = Subscription { prefix: prefix.clone(), audience, except: vec![] };
                let (_, sums) = reader.digests(std::slice::from_ref(&subscription)).unwrap();
                let seen: Vec<(DocumentId, Vec<ChangeHash>)> = reader
                    .documents(&prefix)
                    .map(Result::unwrap)
                    .filter(|(_, row)| row.entered(audience).is_some())
                    .map(|(id, row)| (id, row.heads))
                    .collect();
                let digest: Digest = seen.iter().map(|(id, heads)| Digest::of(id, heads)).sum();
                prop_assert_eq!(sums[0], ScopeDigest { digest, documents: seen.len() as u64 });
                if let Some((first, rest)) = seen.split_first() {
                    let fewer = (first.0, first.1[..first.1.len() - 1].to_vec());
                    let other: Digest = rest.iter().chain([&fewer])
                        .map(|(id, heads)| Digest::of(id, heads)).sum();
                    prop_assert_ne!(digest, other);
                }
            }
        }
    }
}

fn with_history() -> (
    MemoryLedger,
    MemoryStorage,
    Arc<MemoryKv>,
    Phone,
    DocumentId,
) {
    let (mut ledger, storage, kv, mut phone, _) = with_officers();
    let (id, root) = phone.create(VILLAGE);
    let edits: Vec<CheckedRun> = (0..5)
        .map(|n| phone.edit(&id, &format!("Ke-{n}.")))
        .collect();
    submit(&mut ledger, &phone, &[&root]);
    for edit in &edits {
        submit(&mut ledger, &phone, &[edit]);
    }
    (ledger, storage, kv, phone, id)
}

#[test]
fn what_the_journal_has_and_the_store_has_not_is_caught_up() {
    let (mut ledger, storage, kv, mut phone, id) = with_history();
    let behind = kv.snapshot();
    let edit = phone.edit(&id, "Baru.");
    let (_, created) = phone.create(VILLAGE);
    submit(&mut ledger, &phone, &[&edit, &created]);
    let rows = all_rows(&kv);
    drop(ledger);
    kv.restore(&behind);
    let (ledger, opened) = reopen(&storage, &kv).unwrap();
    assert_eq!((opened.caught_up, opened.rebuilt), (2, None));
    assert_eq!(all_rows(&kv), rows);
    assert_eq!(
        ledger.reader().document(&id).unwrap().unwrap().heads,
        phone.heads(&id)
    );
}

/// Wherever an append is cut short, an opened ledger holds what was acknowledged, and the rows are
/// what the journal says.
#[test]
fn a_crash_between_journal_and_rows_loses_nothing_that_was_acknowledged() {
    let (ledger, storage, kv, mut phone, id) = with_history();
    drop(ledger);
    let edit = phone.edit(&id, "Diakui?");
    let before = kv.snapshot();
    for failing in 1..6 {
        for luck in 0..2usize {
            let storage = storage.duplicate();
            kv.restore(&before);
            let (mut ledger, _) = reopen(&storage, &kv).unwrap();
            storage.fail_at(failing, DiskFault::Io);
            let submission = Submission {
                carrier: phone.id(),
                run: edit.clone(),
                returned: false,
            };
            let answered = ledger.accept(NOW, vec![submission]);
            // The rows of the batch did not reach the disk, whether it was acknowledged or not.
            kv.restore(&before);
            drop(ledger);
            storage.crash(&mut |below| luck.min(below - 1));
            let (mut ledger, _) = reopen(&storage, &kv).unwrap();
            let known = ledger.reader().position_of(&edit.id()).unwrap();
            if let Ok(outcomes) = answered {
                assert_eq!(Some(accepted(&outcomes[0].verdict)), known);
            }
            accepted(&submit(&mut ledger, &phone, &[&edit])[0]);
            assert_eq!(all_rows(&kv), rebuilt_rows(&storage));
        }
    }
}

#[test]
fn a_store_ahead_of_the_journal_is_a_loss_and_not_rebuilt_over_until_somebody_decides() {
    let (mut ledger, storage, kv, mut phone, id) = with_history();
    let backup = storage.duplicate();
    let backup_end = ledger.reader().watermark();
    let edit = phone.edit(&id, "Hilang.");
    submit(&mut ledger, &phone, &[&edit]);
    let end = ledger.reader().watermark();
    drop((ledger, storage));
    let rows = all_rows(&kv);
    let Err(LedgerError::Lost { store, journal }) = reopen(&backup, &kv) else {
        panic!("the loss goes unnoticed")
    };
    assert_eq!((store, journal), (end, backup_end));
    assert_eq!(all_rows(&kv), rows, "nothing was touched");

    let (mut ledger, opened) = Ledger::open_after_loss(
        backup.clone(),
        Arc::clone(&kv),
        server_key(),
        NOW,
        options(),
        &mut |_| {},
    )
    .unwrap();
    assert_eq!(
        opened.rebuilt,
        Some(RebuildReason::AfterLoss { store: end })
    );
    assert_eq!(findings(&ledger)[0].code, "lost");
    accepted(&submit(&mut ledger, &phone, &[&edit])[0]);
    drop(ledger);
    let (ledger, opened) = reopen(&backup, &kv).unwrap();
    assert_eq!(opened.rebuilt, None);
    assert_eq!(
        ledger.reader().document(&id).unwrap().unwrap().heads,
        phone.heads(&id)
    );
}

#[test]
fn a_journal_with_another_history_has_all_rows_made_anew_once_somebody_decides() {
    let (mut ledger, storage, kv, mut phone, id) = with_history();
    let backup = storage.duplicate();
    let mut copy = phone.clone();
    let edit = phone.edit(&id, "Pertama.");
    submit(&mut ledger, &phone, &[&edit]);
    drop(ledger);
    let elsewhere = Arc::new(MemoryKv::new());
    let (mut other, _) = reopen(&backup, &elsewhere).unwrap();
    let (_, one) = copy.create(VILLAGE);
    let (_, two) = copy.create(VILLAGE);
    submit(&mut other, &copy, &[&one, &two]);
    drop(other);
    let refused = reopen(&backup, &kv);
    assert!(
        matches!(refused, Err(LedgerError::Lost { .. })),
        "{refused:?}"
    );
    let (ledger, opened) = Ledger::open_after_loss(
        backup.clone(),
        Arc::clone(&kv),
        server_key(),
        NOW,
        options(),
        &mut |_| {},
    )
    .unwrap();
    assert!(matches!(
        opened.rebuilt,
        Some(RebuildReason::AfterLoss { .. })
    ));
    assert_eq!(findings(&ledger)[0].code, "lost");
    assert_eq!(all_rows(&kv), rebuilt_rows(&backup));
    assert_eq!(ledger.reader().position_of(&edit.id()).unwrap(), None);
    assert!(storage.duplicate().content("0000000001.seg").is_some());
}

#[test]
fn rows_of_another_journal_or_format_are_made_anew() {
    let (ledger, storage, kv, _, _) = with_history();
    drop(ledger);
    let rows = all_rows(&kv);
    let meta = reader::meta_row(&*kv).unwrap().unwrap();
    let changed = [
        MetaRow {
            format: FORMAT + 1,
            ..meta.clone()
        },
        MetaRow {
            journal: JournalId([1; 16]),
            ..meta
        },
    ];
    for meta in changed {
        let mut batch = Batch::new();
        batch
            .put(keys::META, rows::encode(&meta))
            .put("zzz", "left over");
        kv.apply(&batch).unwrap();
        let (_, opened) = reopen(&storage, &kv).unwrap();
        assert!(opened.rebuilt.is_some());
        assert_eq!(all_rows(&kv), rows);
    }
}

#[test]
fn a_damaged_position_makes_all_rows_anew() {
    let (ledger, storage, kv, _, _) = with_history();
    drop(ledger);
    let rows = all_rows(&kv);
    let mut batch = Batch::new();
    batch.put(keys::META, "not a row");
    kv.apply(&batch).unwrap();
    let mut stages = Vec::new();
    let opened = Ledger::open(
        storage,
        Arc::clone(&kv),
        server_key(),
        options(),
        &mut |progress| {
            stages.push(progress);
        },
    );
    assert_eq!(opened.unwrap().1.rebuilt, Some(RebuildReason::Damaged));
    assert_eq!(all_rows(&kv), rows);
    assert_eq!(
        stages.last().map(|last| (last.stage, last.done)),
        Some((Stage::Documents, 6))
    );
}

#[test]
fn a_damaged_row_ends_the_ledger_and_the_next_opening_makes_all_rows_anew() {
    let (mut ledger, storage, kv, mut phone, id) = with_history();
    let rows = all_rows(&kv);
    ledger.cache = Cache::new(0);
    let mut batch = Batch::new();
    batch.put(keys::content(&id), "damaged");
    kv.apply(&batch).unwrap();
    let edit = phone.edit(&id, "Di atasnya.");
    let submission = Submission {
        carrier: phone.id(),
        run: edit.clone(),
        returned: false,
    };
    assert!(ledger.accept(NOW, vec![submission]).is_err());
    assert!(ledger.has_failed());
    drop(ledger);
    let (mut ledger, opened) = reopen(&storage, &kv).unwrap();
    assert_eq!(opened.rebuilt, Some(RebuildReason::Damaged));
    assert_eq!(all_rows(&kv), rows);
    accepted(&submit(&mut ledger, &phone, &[&edit])[0]);
    drop(ledger);
    assert_eq!(reopen(&storage, &kv).unwrap().1.rebuilt, None);
}

#[test]
fn a_damaged_row_that_a_statement_needs_ends_the_ledger_too() {
    let (mut ledger, storage, kv, phone, _) = with_history();
    let rows = all_rows(&kv);
    let mut batch = Batch::new();
    batch.put(keys::device(&phone.id()), "damaged");
    kv.apply(&batch).unwrap();
    assert!(ledger.revoke(NOW, phone.id()).is_err());
    assert!(ledger.has_failed());
    drop(ledger);
    let (mut ledger, opened) = reopen(&storage, &kv).unwrap();
    assert_eq!(opened.rebuilt, Some(RebuildReason::Damaged));
    assert_eq!(all_rows(&kv), rows);
    ledger.revoke(NOW, phone.id()).unwrap();
}

#[test]
fn a_damaged_row_met_while_catching_up_makes_all_rows_anew() {
    let (mut ledger, storage, kv, mut phone, id) = with_history();
    let behind = kv.snapshot();
    let edit = phone.edit(&id, "Baru.");
    submit(&mut ledger, &phone, &[&edit]);
    drop(ledger);
    let rows = all_rows(&kv);
    kv.restore(&behind);
    let mut batch = Batch::new();
    batch.put(keys::content(&id), "damaged");
    kv.apply(&batch).unwrap();
    let (_, opened) = reopen(&storage, &kv).unwrap();
    assert_eq!(opened.rebuilt, Some(RebuildReason::Damaged));
    assert_eq!(all_rows(&kv), rows);
}

#[test]
fn a_damaged_row_does_not_hide_that_the_journal_lost_its_end() {
    let (mut ledger, storage, kv, mut phone, id) = with_history();
    let backup = storage.duplicate();
    let edit = phone.edit(&id, "Hilang.");
    submit(&mut ledger, &phone, &[&edit]);
    let mut batch = Batch::new();
    batch.put(keys::device(&phone.id()), "damaged");
    kv.apply(&batch).unwrap();
    assert!(ledger.revoke(NOW, phone.id()).is_err());
    drop((ledger, storage));
    let lost = reopen(&backup, &kv);
    assert!(matches!(lost, Err(LedgerError::Lost { .. })), "{lost:?}");
}

/// A store that answers nothing, as one does on whose pages nothing can be read.
#[derive(Debug)]
struct BrokenKv;

fn broken<T>() -> Result<T, KvError> {
    Err(KvError::Damaged("read: a page is gone".into()))
}

impl Kv for BrokenKv {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        broken()
    }

    fn scan<'a>(&'a self, _: &[u8], _: &[u8], _: Direction) -> crate::kv::Rows<'a> {
        Box::new(std::iter::once(broken()))
    }

    fn apply(&self, _: &Batch) -> Result<(), KvError> {
        broken()
    }

    fn flush(&self) -> Result<(), KvError> {
        broken()
    }

    fn size_on_disk(&self) -> Result<u64, KvError> {
        broken()
    }
}

#[test]
fn a_store_that_cannot_be_read_at_all_is_told_from_one_whose_rows_are_made_anew() {
    let (ledger, storage, _, _, _) = with_history();
    drop(ledger);
    let kv = || Arc::new(BrokenKv);
    let opened = Ledger::open(storage.clone(), kv(), server_key(), options(), &mut |_| {});
    let after_loss = Ledger::open_after_loss(
        storage.clone(),
        kv(),
        server_key(),
        NOW,
        options(),
        &mut |_| {},
    );
    for result in [opened, after_loss] {
        assert!(
            matches!(result, Err(LedgerError::StoreDamaged(KvError::Damaged(_)))),
            "{result:?}"
        );
    }
    let (_, opened) = reopen(&storage, &Arc::new(MemoryKv::new())).unwrap();
    assert_eq!(opened.rebuilt, Some(RebuildReason::NoRows));
}

#[test]
fn another_key_does_not_open_the_journal() {
    let (ledger, storage, kv, _, _) = with_history();
    drop(ledger);
    let key = SigningKey::from_bytes(&[251; 32]);
    let given = ServerId(key.verifying_key().to_bytes());
    let expected = ServerId(server_key().verifying_key().to_bytes());
    let error = Ledger::open(storage, kv, key, options(), &mut |_| {}).unwrap_err();
    assert!(
        matches!(error, LedgerError::WrongKey { expected: e, given: g } if (e, g) == (expected, given))
    );
}

#[test]
fn a_journal_that_does_not_begin_with_its_own_name_is_not_opened() {
    let (id, other) = (JournalId([9; 16]), JournalId([8; 16]));
    let (key, stranger) = (server_key(), SigningKey::from_bytes(&[251; 32]));
    let named = |journal, key: &SigningKey, signed_by: &SigningKey| {
        let server = ServerId(key.verifying_key().to_bytes());
        let fact = Fact::Journal(JournalFact { journal, server });
        Signed::new(Statement { at: NOW, fact }, signed_by).to_bytes()
    };
    let (_, run) = Phone::new(1).create(VILLAGE);
    let changes = crate::record::Changes {
        run: run.run().clone(),
        received_at: NOW,
        carrier: Phone::new(1).id(),
        returned: false,
    };
    let beginnings = [
        ("a run", Record::Changes(changes).to_bytes()),
        (
            "another statement",
            statement(NOW, lost_fact(Phone::new(1).id(), 0)),
        ),
        ("another journal", named(other, &key, &key)),
        ("another signature", named(id, &key, &stranger)),
    ];
    for (what, beginning) in beginnings {
        let storage = MemoryStorage::new();
        drop(Journal::create(storage.clone(), id, options().journal, &[beginning]).unwrap());
        let error = reopen(&storage, &Arc::new(MemoryKv::new())).unwrap_err();
        assert!(
            matches!(error, LedgerError::NotFounded),
            "{what}: {error:?}"
        );
    }

    // Nor one that lost its beginning, as the tail of a device does.
    let storage = MemoryStorage::new();
    let mut options = options();
    options.journal.segment_bytes = 1;
    options.journal.prefix_removable = true;
    let founding = named(id, &key, &key);
    let first = std::slice::from_ref(&founding);
    let mut journal = Journal::create(storage.clone(), id, options.journal, first).unwrap();
    journal.append(first).unwrap();
    assert_eq!(journal.remove_before(2), Ok(1));
    drop(journal);
    let kv = Arc::new(MemoryKv::new());
    let error = Ledger::open(storage, kv, server_key(), options, &mut |_| {}).unwrap_err();
    assert!(matches!(error, LedgerError::NotFounded), "{error:?}");
}

#[test]
fn a_journal_that_was_never_finished_being_made_says_so_and_is_founded() {
    let storage = MemoryStorage::new();
    let id = JournalId([9; 16]);
    drop(Journal::create(storage.clone(), id, options().journal, &[]).unwrap());
    let kv = Arc::new(MemoryKv::new());
    let error = reopen(&storage, &kv).unwrap_err();
    assert!(matches!(error, LedgerError::Empty));
    let create = || {
        Ledger::create(
            storage.clone(),
            kv.clone(),
            server_key(),
            id,
            NOW,
            options(),
        )
    };
    assert_eq!(create().unwrap().reader().watermark().position, 1);
    reopen(&storage, &kv).unwrap();
}

/// Rows are made of records only, so where rows are, records were.
#[test]
fn no_journal_is_founded_over_one_of_which_the_store_holds_rows() {
    let (ledger, _, kv, _, _) = with_history();
    drop(ledger);
    let rows = all_rows(&kv);
    let id = JournalId([8; 16]);
    let emptied = MemoryStorage::new();
    drop(Journal::create(emptied.clone(), id, options().journal, &[]).unwrap());
    for storage in [MemoryStorage::new(), emptied.clone()] {
        let error = Ledger::create(storage, kv.clone(), server_key(), id, NOW, options());
        assert!(matches!(error, Err(LedgerError::JournalGone)));
    }
    let error = reopen(&emptied, &kv).unwrap_err();
    assert!(matches!(error, LedgerError::JournalGone));
    assert_eq!(all_rows(&kv), rows);
}
