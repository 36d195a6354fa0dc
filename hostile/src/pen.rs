//! Runs as devices make them, and as no device would.

use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{Automerge, ObjType, ROOT, ScalarValue};
use bukti_core::change::Parsed;
use bukti_core::envelope::{Body, DocumentKind, Envelope, Root, Run};
use bukti_core::evidence::{self, NewEvidence};
use bukti_core::id::{Actor, ChangeHash, DeviceId, DocumentId, Incarnation, RunId};
use ed25519_dalek::SigningKey;

/// A run ready to be pushed.
pub type Sealed = (RunId, Vec<u8>);

/// Writes one document under one key and incarnation, and seals whatever it is told to.
#[derive(Debug, Clone)]
pub struct Pen {
    /// Whose signature it gives.
    pub key: SigningKey,
    /// The life under which it writes.
    pub incarnation: Incarnation,
    /// What it writes.
    pub document: DocumentId,
    /// Goes into the first envelope of who began the document.
    pub root: Option<Root>,
    /// The document as the writer sees it.
    pub automerge: Automerge,
    /// Number of the last envelope.
    pub number: u64,
    sealed_seq: u64,
}

impl Pen {
    /// Begins a piece of evidence in `scope`; the root is not sealed yet.
    ///
    /// # Panics
    /// If the scope is none.
    pub fn begin(key: &SigningKey, scope: &str, random: u16, incarnation: u16) -> Self {
        Self::begin_kind(DocumentKind::Evidence, key, scope, random, incarnation)
    }

    /// The same with a document of any kind.
    ///
    /// # Panics
    /// If the scope is none.
    pub fn begin_kind(
        kind: DocumentKind,
        key: &SigningKey,
        scope: &str,
        random: u16,
        incarnation: u16,
    ) -> Self {
        let root = Root {
            kind,
            scope: scope.parse().expect("a scope"),
            random: spread(random),
        };
        let device = DeviceId(key.verifying_key().to_bytes());
        let document = DocumentId::derive(&device, root.kind.as_str(), &root.scope, &root.random);
        let incarnation = Incarnation(spread(incarnation));
        let actor = Actor::derive(&device, &document, &incarnation);
        let (automerge, _) = evidence::create(actor, 0, &evidence_titled("Jembatan"));
        Self {
            key: key.clone(),
            incarnation,
            document,
            root: Some(root),
            automerge,
            number: 0,
            sealed_seq: 0,
        }
    }

    /// Another writer of the same document, who has everything that this one has.
    pub fn beside(&self, key: &SigningKey, incarnation: u16) -> Self {
        let mut pen = self.clone();
        pen.key = key.clone();
        pen.incarnation = Incarnation(spread(incarnation));
        pen.root = None;
        pen.number = 0;
        pen.sealed_seq = 0;
        pen.automerge.set_actor(pen.actor().to_automerge());
        pen
    }

    /// The key as a device's name.
    pub fn device(&self) -> DeviceId {
        DeviceId(self.key.verifying_key().to_bytes())
    }

    /// Under whom the changes must be written.
    pub fn actor(&self) -> Actor {
        Actor::derive(&self.device(), &self.document, &self.incarnation)
    }

    /// The heads of the document as it sees it.
    pub fn heads(&self) -> Vec<String> {
        let heads = self.automerge.get_heads();
        heads
            .into_iter()
            .map(|head| ChangeHash::from(head).to_string())
            .collect()
    }

    /// Makes one change.
    pub fn edit(&mut self, edit: impl FnOnce(&mut Transaction<'_>)) -> &mut Self {
        self.edit_with(CommitOptions::default().with_time(0), edit)
    }

    /// Makes one change with a message or a time.
    pub fn edit_with(
        &mut self,
        options: CommitOptions,
        edit: impl FnOnce(&mut Transaction<'_>),
    ) -> &mut Self {
        let mut transaction = self.automerge.transaction();
        edit(&mut transaction);
        transaction.commit_with(options);
        self
    }

    /// Makes one change: sets a key of the root.
    ///
    /// # Panics
    /// If Automerge does not take it.
    pub fn put(&mut self, key: &str, value: impl Into<ScalarValue>) -> &mut Self {
        self.edit(|transaction| {
            transaction
                .put(ROOT, key, value)
                .expect("the root takes a key")
        })
    }

    /// Makes one change: begins a text under a key of the root, an operation for each letter.
    ///
    /// # Panics
    /// If Automerge does not take it.
    pub fn write(&mut self, key: &str, letters: &str) -> &mut Self {
        self.edit(|transaction| {
            let text = transaction.put_object(ROOT, key, ObjType::Text);
            let text = text.expect("the root takes a text");
            let written = transaction.splice_text(&text, 0, 0, letters);
            written.expect("a text takes letters");
        })
    }

    /// What it wrote and did not seal yet.
    pub fn unsealed(&self) -> Vec<Vec<u8>> {
        let actor = self.actor().to_automerge();
        let own = self.automerge.get_changes(&[]).into_iter();
        own.filter(|change| *change.actor_id() == actor && change.seq() > self.sealed_seq)
            .map(|mut change| change.bytes().into_owned())
            .collect()
    }

    /// The last change as Automerge writes it, not deflated.
    ///
    /// # Panics
    /// If it wrote none.
    pub fn last_raw(&self) -> Vec<u8> {
        let last = self
            .automerge
            .get_last_local_change()
            .expect("it wrote a change");
        last.raw_bytes().to_vec()
    }

    /// Seals what it wrote.
    pub fn seal(&mut self) -> Sealed {
        let changes = self.unsealed();
        self.seal_as(changes, |_| {})
    }

    /// The same, as a run.
    pub fn sealed_run(&mut self) -> Run {
        let changes = self.unsealed();
        self.seal_run(changes, |_| {})
    }

    /// Seals any bytes under an envelope that says whatever `alter` makes of it.
    ///
    /// # Panics
    /// If there is no change.
    pub fn seal_as(&mut self, changes: Vec<Vec<u8>>, alter: impl FnOnce(&mut Body)) -> Sealed {
        let run = self.seal_run(changes, alter);
        (run.id(), run.to_bytes())
    }

    /// The same, not yet in bytes.
    ///
    /// # Panics
    /// If there is no change.
    pub fn seal_run(&mut self, changes: Vec<Vec<u8>>, alter: impl FnOnce(&mut Body)) -> Run {
        self.number += 1;
        let first_seq = self.sealed_seq + 1;
        let last = Parsed::open(changes.last().expect("at least one change"));
        let mut body = Body {
            document: self.document,
            root: self.root.clone().filter(|_| first_seq == 1),
            incarnation: self.incarnation,
            number: self.number,
            first_seq,
            count: u32::try_from(changes.len()).expect("few changes"),
            last_hash: last.map_or(ChangeHash([0; 32]), |last| last.hash),
            publish: false,
            device_time: 0,
            seen: None,
            device: self.device(),
        };
        self.sealed_seq = body.last_seq();
        alter(&mut body);
        Run {
            envelope: Envelope::seal(body, &self.key),
            changes,
        }
    }
}

/// What a person enters first.
pub fn evidence_titled(title: &str) -> NewEvidence {
    NewEvidence {
        kind: "regulation".into(),
        title: title.into(),
        ..NewEvidence::default()
    }
}

fn spread(number: u16) -> [u8; 16] {
    let mut bytes = [7; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    bytes
}
