//! Ledgers, enrolled devices and real runs for tests, also of other packages.
//!
//! Everything is made from seeds, so a test that fails once fails again.

use std::collections::BTreeMap;
use std::sync::Arc;

use automerge::transaction::{CommitOptions, Transaction};
use automerge::{Automerge, Change};
use ed25519_dalek::SigningKey;

use super::{Ledger, Options, Outcome, Submission, Verdict};
use crate::authority::{Grant, Role};
use crate::envelope::{Body, DocumentKind, Envelope, Root, Run};
use crate::evidence::{self, Declared, Edit, NewEvidence};
use crate::id::{Actor, ChangeHash, DeviceId, DocumentId, Incarnation, JournalId, RunId, WallMs};
use crate::journal::memory::MemoryStorage;
use crate::journal::{self, Storage};
use crate::kv::{Kv, MemoryKv};
use crate::record::{Invitation, invitation_hash};
use crate::scope::Scope;
use crate::validate::{CheckedRun, check_run};

/// The server's clock in tests: 14 November 2023.
pub const NOW: WallMs = 1_700_000_000_000;

/// The server's key in tests.
pub fn server_key() -> SigningKey {
    SigningKey::from_bytes(&[250; 32])
}

/// Options with small segments and no reserve.
pub fn options() -> Options {
    Options::new(
        journal::Options {
            segment_bytes: 256 * 1024,
            reserve_bytes: 0,
            prefix_removable: false,
        },
        1,
    )
}

/// A scope that is known to be well formed.
///
/// # Panics
/// If it is not.
pub fn scope(text: &str) -> Scope {
    text.parse().expect("a scope")
}

/// A ledger in memory, just founded.
pub fn founded() -> (
    Ledger<MemoryStorage, MemoryKv>,
    MemoryStorage,
    Arc<MemoryKv>,
) {
    let (storage, kv) = (MemoryStorage::new(), Arc::new(MemoryKv::new()));
    let ledger = Ledger::create(
        storage.clone(),
        Arc::clone(&kv),
        server_key(),
        JournalId([9; 16]),
        NOW,
        options(),
    )
    .expect("an empty folder takes a journal");
    (ledger, storage, kv)
}

/// Invites and enrols a device with one role on one scope.
///
/// # Panics
/// If the ledger does not take it.
pub fn enrol<S: Storage, K: Kv>(ledger: &mut Ledger<S, K>, device: &Phone, role: Role, at: &str) {
    let mut secret = [0; 16];
    secret.copy_from_slice(&device.id().0[..16]);
    let grants = vec![Grant {
        role,
        scope: scope(at),
    }];
    let invitation = Invitation {
        hash: invitation_hash(&secret),
        person: format!("{role} of {at}"),
        grants,
        expires_at: NOW + 1,
    };
    ledger.invite(NOW, invitation).expect("an invitation");
    ledger.enrol(NOW, &secret, device.id()).expect("enrolment");
}

/// Submits runs that a device carries and gives the verdicts.
///
/// # Panics
/// If the ledger ended.
pub fn submit<S: Storage, K: Kv>(
    ledger: &mut Ledger<S, K>,
    carrier: &Phone,
    runs: &[&CheckedRun],
) -> Vec<Verdict> {
    let batch = runs
        .iter()
        .map(|run| Submission {
            carrier: carrier.id(),
            run: (*run).clone(),
            returned: false,
        })
        .collect();
    let outcomes = ledger.accept(NOW, batch).expect("the ledger goes on");
    outcomes
        .into_iter()
        .map(|Outcome { verdict, .. }| verdict)
        .collect()
}

/// A device that writes evidence. A clone is a copied store.
#[derive(Debug, Clone)]
pub struct Phone {
    key: SigningKey,
    incarnation: Incarnation,
    /// Number of the next run.
    number: u64,
    /// The run sealed last.
    last: Option<(u64, RunId)>,
    drawn: u64,
    documents: BTreeMap<DocumentId, Held>,
}

#[derive(Debug, Clone)]
struct Held {
    automerge: Automerge,
    publish: bool,
    next_seq: u64,
}

impl Phone {
    /// A device of its own for every seed.
    pub fn new(seed: u64) -> Self {
        let mut secret = [1; 32];
        secret[..8].copy_from_slice(&seed.to_le_bytes());
        let mut incarnation = [2; 16];
        incarnation[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            key: SigningKey::from_bytes(&secret),
            incarnation: Incarnation(incarnation),
            number: 1,
            last: None,
            drawn: 0,
            documents: BTreeMap::new(),
        }
    }

    /// Its public key.
    pub fn id(&self) -> DeviceId {
        DeviceId(self.key.verifying_key().to_bytes())
    }

    /// Its secret key.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The life its runs belong to.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The run that it sealed last in this life, and its number.
    pub fn last(&self) -> Option<(u64, RunId)> {
        self.last
    }

    /// Begins another life, as after a restore, and holds nothing.
    pub fn start_over(&mut self) {
        self.incarnation.0[15] += 1;
        self.number = 1;
        self.last = None;
        self.documents.clear();
    }

    /// Leaves out a number, as after runs that were never sent.
    pub fn skip_number(&mut self) {
        self.number += 1;
    }

    /// Starts a piece of evidence.
    pub fn create(&mut self, at: &str) -> (DocumentId, CheckedRun) {
        self.create_kind(DocumentKind::Evidence, at, false)
    }

    /// Starts a document of any kind, published or not.
    pub fn create_kind(
        &mut self,
        kind: DocumentKind,
        at: &str,
        publish: bool,
    ) -> (DocumentId, CheckedRun) {
        self.drawn += 1;
        let mut random = [3; 16];
        random[..8].copy_from_slice(&self.drawn.to_le_bytes());
        random[8..].copy_from_slice(&self.incarnation.0[8..]);
        let root = Root {
            kind,
            scope: scope(at),
            random,
        };
        let id = DocumentId::derive(&self.id(), kind.as_str(), &root.scope, &random);
        let new = NewEvidence {
            kind: "event".into(),
            framework_id: "desa-antikorupsi".into(),
            framework_version: "2024".into(),
            cycle: 2026,
            title: format!("Musyawarah {}", self.drawn),
            text_fields: vec!["agenda".into()],
            narrative: "Rapat dibuka pukul sembilan.".into(),
            ..NewEvidence::default()
        };
        let (automerge, bytes) = evidence::create(self.actor(&id), NOW, &new);
        let held = Held {
            automerge,
            publish,
            next_seq: 1,
        };
        self.documents.insert(id, held);
        (id, self.seal(&id, vec![bytes], Some(root)))
    }

    /// Writes the narrative anew.
    pub fn edit(&mut self, document: &DocumentId, narrative: &str) -> CheckedRun {
        self.edits(document, &[Edit::Narrative(narrative.to_owned())])
    }

    /// Makes each edit a change of its own and seals them all as one run.
    ///
    /// # Panics
    /// If the device does not hold the document or an edit changes nothing.
    pub fn edits(&mut self, document: &DocumentId, edits: &[Edit]) -> CheckedRun {
        let actor = self.actor(document);
        let held = self
            .documents
            .get_mut(document)
            .expect("a document it holds");
        let changes = edits
            .iter()
            .map(|edit| {
                evidence::edit(&mut held.automerge, actor, NOW, std::slice::from_ref(edit))
                    .expect("an edit that can be made")
                    .expect("an edit that changes something")
            })
            .collect();
        self.seal(document, changes, None)
    }

    /// Makes one change of any kind and seals it.
    ///
    /// # Panics
    /// If the device does not hold the document or nothing is changed.
    pub fn change(
        &mut self,
        document: &DocumentId,
        edit: impl FnOnce(&mut Transaction<'_>),
    ) -> CheckedRun {
        let actor = self.actor(document).to_automerge();
        let held = self.documents.get_mut(document);
        let automerge = &mut held.expect("a document it holds").automerge;
        automerge.set_actor(actor);
        let mut transaction = automerge.transaction();
        edit(&mut transaction);
        transaction.commit_with(CommitOptions::default().with_time(0));
        let change = automerge.get_last_local_change().expect("a change");
        let bytes = change.raw_bytes().to_vec();
        self.seal(document, vec![bytes], None)
    }

    /// Lets every run of a document from here on say *publish*.
    pub fn publish(&mut self, document: &DocumentId) {
        if let Some(held) = self.documents.get_mut(document) {
            held.publish = true;
        }
    }

    /// Declares a document ready.
    pub fn ready(&mut self, document: &DocumentId) -> CheckedRun {
        self.publish(document);
        self.edits(document, &[Edit::Declare(Declared::Ready)])
    }

    /// Takes in what another device wrote.
    ///
    /// # Panics
    /// If Automerge does not.
    pub fn learn(&mut self, run: &CheckedRun) {
        let body = run.envelope().body();
        let held = self.documents.entry(body.document).or_insert_with(|| Held {
            automerge: Automerge::new(),
            publish: false,
            next_seq: 1,
        });
        held.publish |= body.publish;
        let changes =
            run.run().changes.iter().map(|bytes| {
                Change::try_from(bytes.as_slice()).expect("a change of a checked run")
            });
        held.automerge
            .apply_changes(changes)
            .expect("changes that were written");
    }

    /// The heads of a document as this device sees it.
    pub fn heads(&self, document: &DocumentId) -> Vec<ChangeHash> {
        let held = self.documents.get(document);
        let heads = held.map(|held| held.automerge.get_heads());
        heads.into_iter().flatten().map(ChangeHash::from).collect()
    }

    fn actor(&self, document: &DocumentId) -> Actor {
        Actor::derive(&self.id(), document, &self.incarnation)
    }

    /// Seals changes as the next run.
    fn seal(
        &mut self,
        document: &DocumentId,
        changes: Vec<Vec<u8>>,
        root: Option<Root>,
    ) -> CheckedRun {
        let id = self.id();
        let held = self
            .documents
            .get_mut(document)
            .expect("a document it holds");
        let last = changes.last().expect("at least one change");
        let last = Change::try_from(last.as_slice()).expect("its own change");
        let count = u32::try_from(changes.len()).expect("few changes");
        let body = Body {
            document: *document,
            root,
            incarnation: self.incarnation,
            number: self.number,
            first_seq: held.next_seq,
            count,
            last_hash: last.hash().into(),
            publish: held.publish,
            device_time: NOW,
            seen: None,
            device: id,
        };
        held.next_seq += u64::from(count);
        let envelope = Envelope::seal(body, &self.key);
        self.last = Some((self.number, envelope.run()));
        self.number += 1;
        check_run(Run { envelope, changes }).expect("its own run")
    }
}
