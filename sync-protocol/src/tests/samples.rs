//! One frame of every type, with fixed keys.

use bukti_core::authority::{Audience, Grant, Role};
use bukti_core::digest::Digest;
use bukti_core::envelope::{Body, DocumentKind, Envelope, Root, Run, Seen};
use bukti_core::id::{
    Chain, ChangeHash, DeviceId, DocumentId, Incarnation, JournalId, RunId, ServerId,
};
use bukti_core::ledger::Bulk;
use bukti_core::record::{Certificate, Fact, JournalFact, Record, Signed, Statement};
use bukti_core::scope::Scope;
use ed25519_dalek::{Signer, SigningKey};

use crate::bye::{Bye, ByeCode};
use crate::fragment::{Held, ItemId};
use crate::frame::{
    Accepted, Challenge, Credit, Enrol, Enrolled, Features, Feed, Fragment, Frame, HeldStatement,
    Hello, Holding, LeftScope, Limits, Listed, Missing, Numbered, Placed, Proof, Push, Ranged,
    Reconcile, Rejected, ScopeDigest, Stale, Statements, Subscribe, Survived, Taken, UpToDate,
    Void, Wanted, Welcome,
};
use crate::item::{self, FeedItem, Item, PushItem};
use crate::reconcile::{HeadTag, ListedDocument, Range};
use crate::token::TokenKey;

pub(crate) const TIME: i64 = 1_760_000_000_000;
pub(crate) const JOURNAL: JournalId = JournalId([9; 16]);

pub(crate) fn device_key() -> SigningKey {
    SigningKey::from_bytes(&[2; 32])
}

pub(crate) fn server_key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

pub(crate) fn device() -> DeviceId {
    DeviceId(device_key().verifying_key().to_bytes())
}

pub(crate) fn server() -> ServerId {
    ServerId(server_key().verifying_key().to_bytes())
}

pub(crate) fn village() -> Scope {
    "13.76.01.1001".parse().unwrap()
}

pub(crate) fn body() -> Body {
    let root = Root {
        kind: DocumentKind::Evidence,
        scope: village(),
        random: [3; 16],
    };
    Body {
        document: DocumentId::derive(&device(), "evidence", &root.scope, &root.random),
        root: Some(root),
        incarnation: Incarnation([4; 16]),
        number: 1,
        first_seq: 1,
        count: 1,
        last_hash: ChangeHash([5; 32]),
        publish: true,
        device_time: TIME,
        seen: Some(Seen {
            position: 7,
            chain: Chain([6; 32]),
        }),
        device: device(),
    }
}

/// A run whose one change is not one: these bytes show the format, and are never judged.
pub(crate) fn run() -> Run {
    let envelope = Envelope::seal(body(), &device_key());
    Run {
        envelope,
        changes: vec![b"not a change".to_vec()],
    }
}

pub(crate) fn challenge() -> Challenge {
    Challenge {
        nonce: [8; 32],
        journal: JOURNAL,
        server: server(),
    }
}

pub(crate) fn statement(fact: Fact) -> Vec<u8> {
    Record::Server(Signed::new(Statement { at: TIME, fact }, &server_key())).to_bytes()
}

pub(crate) fn founding() -> Vec<u8> {
    statement(Fact::Journal(JournalFact {
        journal: JOURNAL,
        server: server(),
    }))
}

pub(crate) fn certificate() -> Vec<u8> {
    statement(Fact::Enrolment(Certificate {
        device: device(),
        person: "Siti Rahma".into(),
        grants: vec![Grant {
            role: Role::Officer,
            scope: village(),
        }],
        journal: JOURNAL,
        invitation: bukti_core::record::invitation_hash(&[7; 16]),
    }))
}

pub(crate) fn token() -> Vec<u8> {
    TokenKey::derive(&server_key()).issue(&device(), TIME)
}

pub(crate) fn proof() -> Proof {
    use bukti_core::hash::{domain, signing_bytes};
    let message = signing_bytes(domain::CHALLENGE, &challenge().message());
    Proof {
        device: device(),
        signature: device_key().sign(&message).to_bytes(),
        certificate: Some(certificate().into()),
        journal: Some(JOURNAL),
    }
}

pub(crate) fn enrol() -> Enrol {
    use bukti_core::hash::{domain, signing_bytes};
    let message = signing_bytes(domain::ENROLMENT, &Enrol::message(&[7; 16], &server()));
    let signature = device_key().sign(&message).to_bytes();
    Enrol {
        secret: [7; 16],
        device: device(),
        signature,
    }
}

fn feed() -> Feed {
    let run = run();
    let named = run.envelope.body().clone();
    let items = vec![
        Item::Record {
            position: 11,
            received_at: TIME,
            carrier: device(),
            run: run.to_bytes(),
        },
        Item::Own {
            position: 12,
            received_at: TIME + 1,
            run: run.id(),
            document: named.document,
            last_seq: named.last_seq(),
            last_hash: named.last_hash,
        },
        Item::Whole {
            document: named.document,
            as_of: 12,
            published: true,
            saved: b"not a document".to_vec(),
            envelopes: vec![item::Envelope {
                position: 12,
                received_at: TIME + 1,
                carrier: device(),
                bytes: run.envelope.bytes().to_vec(),
            }],
        },
        Item::Fact {
            position: 13,
            statement: founding(),
        },
    ];
    let large = FeedItem::Large(ItemId([12; 16]));
    let items = items
        .into_iter()
        .map(FeedItem::Inline)
        .chain([large])
        .collect();
    Feed {
        items,
        cursor: vec![0x83, 1, 0x80, 0x80].into(),
    }
}

fn nothing_compared() -> Reconcile {
    Reconcile {
        prefix: village(),
        audience: Audience::Unit,
        salt: 0x1234_5678_9abc_def1,
        ranges: Vec::new(),
        lists: Vec::new(),
        need: Vec::new(),
        survived: None,
        more: false,
    }
}

fn reconcile(reconcile: Reconcile) -> Frame {
    reconcile.into()
}

pub(crate) fn frames() -> Vec<Frame> {
    let run = run();
    let numbered = Numbered {
        number: 1,
        run: run.id(),
    };
    let held = vec![Held {
        item: ItemId([12; 16]),
        offset: 4_048,
    }];
    let cursor = || vec![0x83, 1, 0x80, 0x80].into();
    let digest = Digest::of(&run.envelope.body().document, &[ChangeHash([5; 32])]);
    vec![
        Hello {
            version: 1,
            token: Some(token().into()),
            device: device(),
            incarnation: Incarnation([4; 16]),
            last: Some(numbered),
            credit: 65_536,
            held: held.clone(),
            features: Features::DEFLATE,
            agent: "bukti 0.1.0".into(),
        }
        .into(),
        Welcome {
            version: 1,
            token: token().into(),
            limits: Limits {
                run_bytes: 328_704,
                credit: 65_536,
            },
            server_time: TIME,
            checkpoint: Seen {
                position: 13,
                chain: Chain([6; 32]),
            },
            highest: Some(numbered),
            credit: 65_536,
            held,
            features: Features::DEFLATE,
            unconfirmed: true,
        }
        .into(),
        challenge().into(),
        proof().into(),
        Stale { highest: numbered }.into(),
        enrol().into(),
        Enrolled {
            journal: founding().into(),
            certificate: certificate().into(),
        }
        .into(),
        Subscribe {
            scopes: vec![village()],
            cursor: Some(cursor()),
            compare: true,
            gives: true,
        }
        .into(),
        feed().into(),
        UpToDate {
            cursor: cursor(),
            position: 13,
            digests: vec![ScopeDigest {
                prefix: village(),
                audience: Audience::Unit,
                digest,
                documents: 1,
            }],
            more: false,
        }
        .into(),
        Push {
            items: vec![
                PushItem::Run(run.to_bytes()),
                PushItem::Large(ItemId([12; 16])),
            ],
            returned: true,
            statements: false,
        }
        .into(),
        Push {
            items: vec![PushItem::Large(ItemId([12; 16]))],
            returned: false,
            statements: true,
        }
        .into(),
        Accepted {
            runs: vec![Placed {
                run: run.id(),
                position: 12,
            }],
        }
        .into(),
        Missing {
            run: run.id(),
            hashes: vec![ChangeHash([5; 32])],
        }
        .into(),
        Rejected {
            run: RunId([13; 16]),
            code: "forbidden".into(),
            sentence: "The person may not do this here.".into(),
        }
        .into(),
        LeftScope {
            document: run.envelope.body().document,
        }
        .into(),
        Fragment {
            item: ItemId([12; 16]),
            offset: 4_048,
            total: 9_000,
            bytes: vec![14; 60],
        }
        .into(),
        Credit { bytes: 16_384 }.into(),
        Bye::new(ByeCode::Busy, "Too many connections.")
            .retry_after(30_000)
            .into(),
        reconcile(Reconcile {
            ranges: vec![Ranged {
                range: Range::ALL,
                fingerprints: vec![0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]
                    .into(),
            }],
            need: vec![Range::of(&run.envelope.body().document)],
            survived: Some(Survived {
                position: 13,
                digest,
            }),
            ..nothing_compared()
        }),
        reconcile(Reconcile {
            lists: vec![Listed {
                range: Range::ALL,
                documents: vec![ListedDocument {
                    tag: Range::ALL.tag(&run.envelope.body().document),
                    heads: vec![HeadTag::of(&ChangeHash([5; 32]))],
                }],
            }],
            more: true,
            ..nothing_compared()
        }),
        Statements {
            statements: vec![certificate().into()],
            last: true,
        }
        .into(),
        Void {
            watermark: Seen {
                position: 9,
                chain: Chain([6; 32]),
            },
        }
        .into(),
        Holding {
            statements: vec![
                HeldStatement {
                    item: ItemId([12; 16]),
                    bytes: 98_304,
                    at: TIME,
                    about: Bulk::Framework {
                        id: "desa-antikorupsi".into(),
                        version: "2024".into(),
                    },
                },
                HeldStatement {
                    item: ItemId([13; 16]),
                    bytes: 26_000,
                    at: TIME,
                    about: Bulk::Regions {
                        parent: "13.76".parse().unwrap(),
                    },
                },
            ],
        }
        .into(),
        Wanted {
            items: vec![ItemId([12; 16])],
        }
        .into(),
        Taken { all: true }.into(),
    ]
}
