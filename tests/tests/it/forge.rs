//! Runs as no device makes them.

use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{Automerge, ROOT, ScalarValue};
use bukti_core::change::Parsed;
use bukti_core::envelope::{Body, DocumentKind, Envelope, Root, Run};
use bukti_core::evidence::{self, NewEvidence};
use bukti_core::id::{Actor, ChangeHash, DeviceId, DocumentId, Incarnation, RunId};
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

/// A run ready to be pushed.
pub(crate) type Sealed = (RunId, Vec<u8>);

/// Writes one document under one key and incarnation, and seals whatever it is told to.
#[derive(Clone)]
pub(crate) struct Pen {
    pub(crate) key: SigningKey,
    pub(crate) incarnation: Incarnation,
    pub(crate) document: DocumentId,
    pub(crate) root: Option<Root>,
    pub(crate) automerge: Automerge,
    pub(crate) number: u64,
    sealed_seq: u64,
}

impl Pen {
    /// Begins a piece of evidence in `scope`; the root is not sealed yet.
    pub(crate) fn begin(key: &SigningKey, scope: &str, random: u16, incarnation: u16) -> Self {
        let root = Root {
            kind: DocumentKind::Evidence,
            scope: scope.parse().unwrap(),
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
    pub(crate) fn beside(&self, key: &SigningKey, incarnation: u16) -> Self {
        let mut pen = self.clone();
        pen.key = key.clone();
        pen.incarnation = Incarnation(spread(incarnation));
        pen.root = None;
        pen.number = 0;
        pen.sealed_seq = 0;
        pen.automerge.set_actor(pen.actor().to_automerge());
        pen
    }

    pub(crate) fn device(&self) -> DeviceId {
        DeviceId(self.key.verifying_key().to_bytes())
    }

    pub(crate) fn actor(&self) -> Actor {
        Actor::derive(&self.device(), &self.document, &self.incarnation)
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        let heads = self.automerge.get_heads();
        heads
            .into_iter()
            .map(|head| ChangeHash::from(head).to_string())
            .collect()
    }

    /// Makes one change.
    pub(crate) fn edit(&mut self, edit: impl FnOnce(&mut Transaction<'_>)) -> &mut Self {
        self.edit_with(CommitOptions::default().with_time(0), edit)
    }

    pub(crate) fn edit_with(
        &mut self,
        options: CommitOptions,
        edit: impl FnOnce(&mut Transaction<'_>),
    ) -> &mut Self {
        let mut transaction = self.automerge.transaction();
        edit(&mut transaction);
        transaction.commit_with(options);
        self
    }

    pub(crate) fn put(&mut self, key: &str, value: impl Into<ScalarValue>) -> &mut Self {
        self.edit(|transaction| transaction.put(ROOT, key, value).unwrap())
    }

    /// What it wrote and did not seal yet.
    pub(crate) fn unsealed(&self) -> Vec<Vec<u8>> {
        let actor = self.actor().to_automerge();
        let own = self.automerge.get_changes(&[]).into_iter();
        own.filter(|change| *change.actor_id() == actor && change.seq() > self.sealed_seq)
            .map(|mut change| change.bytes().into_owned())
            .collect()
    }

    /// The last change as Automerge writes it, not deflated.
    pub(crate) fn last_raw(&self) -> Vec<u8> {
        let last = self.automerge.get_last_local_change().unwrap();
        last.raw_bytes().to_vec()
    }

    /// Seals what it wrote.
    pub(crate) fn seal(&mut self) -> Sealed {
        let changes = self.unsealed();
        self.seal_as(changes, |_| {})
    }

    /// Seals any bytes under an envelope that says whatever `alter` makes of it.
    pub(crate) fn seal_as(
        &mut self,
        changes: Vec<Vec<u8>>,
        alter: impl FnOnce(&mut Body),
    ) -> Sealed {
        let run = self.seal_run(changes, alter);
        (run.id(), run.to_bytes())
    }

    pub(crate) fn seal_run(&mut self, changes: Vec<Vec<u8>>, alter: impl FnOnce(&mut Body)) -> Run {
        self.number += 1;
        let first_seq = self.sealed_seq + 1;
        let last = Parsed::open(changes.last().unwrap());
        let mut body = Body {
            document: self.document,
            root: self.root.clone().filter(|_| first_seq == 1),
            incarnation: self.incarnation,
            number: self.number,
            first_seq,
            count: u32::try_from(changes.len()).unwrap(),
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
pub(crate) fn evidence_titled(title: &str) -> NewEvidence {
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

/// The head of a change, each part free to be anything, before its columns.
pub(crate) struct Head {
    pub(crate) deps: Vec<[u8; 32]>,
    pub(crate) actor: Vec<u8>,
    pub(crate) seq: u64,
    pub(crate) start_op: u64,
    pub(crate) time: u64,
    pub(crate) message: Vec<u8>,
    pub(crate) other_actors: Vec<Vec<u8>>,
    /// Columns, and whatever follows them.
    pub(crate) rest: Vec<u8>,
}

impl Head {
    /// Takes apart a change that is not deflated.
    pub(crate) fn of(change: &[u8]) -> Self {
        let mut bytes = &change[9..];
        let length = take_number(&mut bytes);
        assert_eq!(length, bytes.len() as u64, "one whole change");
        let deps = take_number(&mut bytes);
        let deps = (0..deps).map(|_| take(&mut bytes, 32).try_into().unwrap());
        Self {
            deps: deps.collect(),
            actor: take_counted(&mut bytes),
            seq: take_number(&mut bytes),
            start_op: take_number(&mut bytes),
            time: take_number(&mut bytes),
            message: take_counted(&mut bytes),
            other_actors: {
                let count = take_number(&mut bytes);
                (0..count).map(|_| take_counted(&mut bytes)).collect()
            },
            rest: bytes.to_vec(),
        }
    }

    /// The change with the checksum that fits.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut data = number(self.deps.len() as u64);
        data.extend(self.deps.concat());
        data.extend(counted(&self.actor));
        for part in [self.seq, self.start_op, self.time] {
            data.extend(number(part));
        }
        data.extend(counted(&self.message));
        data.extend(number(self.other_actors.len() as u64));
        for actor in &self.other_actors {
            data.extend(counted(actor));
        }
        data.extend(&self.rest);

        let length = number(data.len() as u64);
        let hash = Sha256::digest([&[1], &length[..], &data].concat());
        [&[0x85, 0x6f, 0x4a, 0x83], &hash[..4], &[1], &length, &data].concat()
    }
}

fn take(bytes: &mut &[u8], length: u64) -> Vec<u8> {
    let (taken, rest) = bytes.split_at(usize::try_from(length).unwrap());
    *bytes = rest;
    taken.to_vec()
}

fn take_counted(bytes: &mut &[u8]) -> Vec<u8> {
    let length = take_number(bytes);
    take(bytes, length)
}

/// Unsigned LEB128; the times here are 0, which signed numbers write alike.
fn take_number(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn counted(bytes: &[u8]) -> Vec<u8> {
    [number(bytes.len() as u64), bytes.to_vec()].concat()
}
