//! A device as honest and as crafty as a test needs it.

use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{Automerge, Change, ROOT, ScalarValue};
use ed25519_dalek::SigningKey;

use crate::change::Parsed;
use crate::change::forge::Forge;
use crate::envelope::{Body, DocumentKind, Envelope, Root, Run};
use crate::id::{Actor, ChangeHash, DeviceId, DocumentId, Incarnation};
use crate::validate::{CheckedRun, Document, check_run};

/// A device that edits its copy of one document and seals what it did.
#[derive(Clone)]
pub(super) struct Device {
    pub(super) key: SigningKey,
    pub(super) incarnation: Incarnation,
    pub(super) document: DocumentId,
    pub(super) root: Option<Root>,
    pub(super) automerge: Automerge,
    pub(super) number: u64,
    pub(super) sealed_seq: u64,
    pub(super) publish: bool,
}

impl Device {
    /// The device that creates the document.
    pub(super) fn creator(kind: DocumentKind) -> Self {
        let key = SigningKey::from_bytes(&[1; 32]);
        let root = Root {
            kind,
            scope: "13.76.01.1001".parse().unwrap(),
            random: [9; 16],
        };
        let device = DeviceId(key.verifying_key().to_bytes());
        let document = DocumentId::derive(&device, kind.as_str(), &root.scope, &root.random);
        Self::with(key, document, Some(root))
    }

    /// Another device, which has everything that `other` has.
    pub(super) fn beside(seed: u8, other: &Self) -> Self {
        let mut device = Self::with(SigningKey::from_bytes(&[seed; 32]), other.document, None);
        device.automerge = other
            .automerge
            .clone()
            .with_actor(device.actor().to_automerge());
        device
    }

    pub(super) fn with(key: SigningKey, document: DocumentId, root: Option<Root>) -> Self {
        let mut device = Self {
            key,
            incarnation: Incarnation([3; 16]),
            document,
            root,
            automerge: Automerge::new(),
            number: 0,
            sealed_seq: 0,
            publish: false,
        };
        device.automerge.set_actor(device.actor().to_automerge());
        device
    }

    pub(super) fn id(&self) -> DeviceId {
        DeviceId(self.key.verifying_key().to_bytes())
    }

    pub(super) fn actor(&self) -> Actor {
        Actor::derive(&self.id(), &self.document, &self.incarnation)
    }

    /// Makes one change.
    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut Transaction<'_>)) {
        let mut transaction = self.automerge.transaction();
        edit(&mut transaction);
        transaction.commit_with(CommitOptions::default().with_time(0));
    }

    pub(super) fn put(&mut self, key: &str, value: impl Into<ScalarValue>) {
        self.edit(|transaction| transaction.put(ROOT, key, value).unwrap());
    }

    /// Seals what it did since it sealed last.
    pub(super) fn seal(&mut self) -> CheckedRun {
        let actor = self.actor().to_automerge();
        let changes: Vec<Vec<u8>> = self
            .automerge
            .get_changes(&[])
            .into_iter()
            .filter(|change| *change.actor_id() == actor && change.seq() > self.sealed_seq)
            .map(|mut change| change.bytes().into_owned())
            .collect();
        check_run(self.seal_bytes(changes)).unwrap()
    }

    pub(super) fn seal_if_changed(&mut self) -> Option<CheckedRun> {
        let last = self.automerge.get_last_local_change()?;
        (last.seq() > self.sealed_seq).then(|| self.seal())
    }

    /// Makes one change and seals it.
    pub(super) fn seal_put(&mut self, key: &str, value: impl Into<ScalarValue>) -> CheckedRun {
        self.put(key, value);
        self.seal()
    }

    /// Seals any bytes that read as changes.
    pub(super) fn seal_bytes(&mut self, changes: Vec<Vec<u8>>) -> Run {
        let first = Parsed::open(&changes[0]).unwrap();
        let last = Parsed::open(changes.last().unwrap()).unwrap();
        self.seal_as(changes, first.seq, last.hash)
    }

    pub(super) fn seal_as(
        &mut self,
        changes: Vec<Vec<u8>>,
        first_seq: u64,
        last_hash: ChangeHash,
    ) -> Run {
        self.number += 1;
        let body = Body {
            document: self.document,
            root: if first_seq == 1 {
                self.root.clone()
            } else {
                None
            },
            incarnation: self.incarnation,
            number: self.number,
            first_seq,
            count: changes.len() as u32,
            last_hash,
            publish: self.publish,
            device_time: 0,
            seen: None,
            device: self.id(),
        };
        self.sealed_seq = body.last_seq();
        Run {
            envelope: Envelope::seal(body, &self.key),
            changes,
        }
    }

    pub(super) fn take(&mut self, run: &CheckedRun) {
        let changes = run
            .run()
            .changes
            .iter()
            .map(|bytes| Change::try_from(&bytes[..]).unwrap());
        self.automerge
            .apply_changes(changes.collect::<Vec<_>>())
            .unwrap();
    }

    /// A first change of this device on top of `document`, to be altered.
    pub(super) fn forge(&self, document: &Document) -> Forge {
        let mut forge = Forge::puts(1);
        forge.actor = self.actor().0.to_vec();
        forge.deps = document.heads().iter().map(|head| head.0).collect();
        let last_op = |head: &ChangeHash| {
            document
                .automerge()
                .get_change_meta_by_hash(&(*head).into())
                .unwrap()
                .max_op
        };
        forge.start_op = 1 + document.heads().iter().map(last_op).max().unwrap();
        forge
    }

    pub(super) fn seal_forged(&mut self, forge: &Forge) -> CheckedRun {
        check_run(self.seal_bytes(vec![forge.bytes()])).unwrap()
    }
}
