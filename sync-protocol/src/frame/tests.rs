use bukti_core::ledger::Bulk;
use proptest::prelude::*;

use super::*;
use crate::bye::ByeCode;
use crate::deflate::pack;
use crate::item::{self, Item};
use crate::reconcile::Range;
use crate::tests::samples;

/// Bytes that a property gives, read as whatever is needed; zero once they are used up.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    fn number(&mut self) -> u64 {
        let number = u64::from_le_bytes(self.array());
        number >> (self.byte() % 64)
    }

    fn time(&mut self) -> i64 {
        i64::from_le_bytes(self.array())
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = self.number() % (most + 1);
        (0..length).map(|_| self.byte()).collect()
    }

    fn text(&mut self, most: u64) -> String {
        let bytes = self.bytes(most / 2);
        bytes.into_iter().map(char::from).collect()
    }

    fn some<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.byte() % 2 == 1).then(|| make(self))
    }

    fn many<T>(&mut self, most: u8, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.byte() % (most + 1);
        (0..count).map(|_| make(self)).collect()
    }

    fn scope(&mut self) -> Scope {
        let scopes = ["all", "13", "13.76/dinkes", "13.76.01.1001"];
        scopes[usize::from(self.byte() % 4)].parse().unwrap()
    }

    fn numbered(&mut self) -> Numbered {
        Numbered {
            number: self.number(),
            run: RunId(self.array()),
        }
    }

    fn held(&mut self) -> Held {
        Held {
            item: ItemId(self.array()),
            offset: self.number(),
        }
    }

    fn item(&mut self) -> FeedItem {
        FeedItem::Inline(match self.byte() % 5 {
            0 => Item::Record {
                position: self.number(),
                received_at: self.time(),
                carrier: DeviceId(self.array()),
                run: self.bytes(300),
            },
            1 => Item::Own {
                position: self.number(),
                received_at: self.time(),
                run: RunId(self.array()),
                document: DocumentId(self.array()),
                last_seq: self.number(),
                last_hash: ChangeHash(self.array()),
            },
            2 => Item::Whole {
                document: DocumentId(self.array()),
                as_of: self.number(),
                published: self.byte() % 2 == 1,
                saved: self.bytes(200),
                envelopes: self.many(3, |source| item::Envelope {
                    position: source.number(),
                    received_at: source.time(),
                    carrier: DeviceId(source.array()),
                    bytes: source.bytes(50),
                }),
            },
            3 => Item::Fact {
                position: self.number(),
                statement: self.bytes(200),
            },
            _ => return FeedItem::Large(ItemId(self.array())),
        })
    }

    fn frame(&mut self) -> Frame {
        match self.byte() % 21 {
            0 => Hello {
                version: u32::from(self.byte()),
                token: self.some(|source| source.bytes(100).into()),
                device: DeviceId(self.array()),
                incarnation: Incarnation(self.array()),
                last: self.some(Self::numbered),
                credit: self.number(),
                held: self.many(4, Self::held),
                features: Features(self.number()),
                agent: self.text(80),
            }
            .into(),
            1 => Welcome {
                version: u32::from(self.byte()),
                token: self.bytes(100).into(),
                limits: Limits {
                    run_bytes: self.number(),
                    credit: self.number(),
                },
                server_time: self.time(),
                checkpoint: Seen {
                    position: self.number(),
                    chain: bukti_core::id::Chain(self.array()),
                },
                highest: self.some(Self::numbered),
                credit: self.number(),
                held: self.many(4, Self::held),
                features: Features(self.number()),
                unconfirmed: self.byte() % 2 == 1,
            }
            .into(),
            2 => Challenge {
                nonce: self.array(),
                journal: JournalId(self.array()),
                server: ServerId(self.array()),
            }
            .into(),
            3 => Proof {
                device: DeviceId(self.array()),
                signature: self.array(),
                certificate: self.some(|source| source.bytes(300).into()),
                journal: self.some(|source| JournalId(source.array())),
            }
            .into(),
            4 => Stale {
                highest: self.numbered(),
            }
            .into(),
            5 => Enrol {
                secret: self.array(),
                device: DeviceId(self.array()),
                signature: self.array(),
            }
            .into(),
            6 => Enrolled {
                journal: self.bytes(300).into(),
                certificate: self.bytes(300).into(),
            }
            .into(),
            7 => Subscribe {
                scopes: self.many(15, Self::scope),
                cursor: self.some(|source| source.bytes(500).into()),
                compare: self.byte() % 2 == 1,
                gives: self.byte() % 2 == 1,
            }
            .into(),
            8 => Feed {
                items: self.many(6, Self::item),
                cursor: self.bytes(200).into(),
            }
            .into(),
            9 => UpToDate {
                cursor: self.bytes(300).into(),
                position: self.number(),
                digests: self.many(10, |source| ScopeDigest {
                    prefix: source.scope(),
                    audience: [Audience::Unit, Audience::All][usize::from(source.byte() % 2)],
                    digest: Digest::from(source.array::<32>()),
                    documents: source.number(),
                }),
                more: self.byte() % 2 == 1,
            }
            .into(),
            10 => Push {
                items: self.many(6, |source| match source.bytes(400) {
                    bytes if bytes.len() == 16 => PushItem::Large(ItemId(source.array())),
                    bytes => PushItem::Run(bytes),
                }),
                returned: self.byte() % 2 == 1,
                statements: self.byte() % 2 == 1,
            }
            .into(),
            11 => Accepted {
                runs: self.many(100, |source| Placed {
                    run: RunId(source.array()),
                    position: source.number(),
                }),
            }
            .into(),
            12 => Missing {
                run: RunId(self.array()),
                hashes: self.many(100, |source| ChangeHash(source.array())),
            }
            .into(),
            13 => Rejected {
                run: RunId(self.array()),
                code: self.text(40),
                sentence: self.text(400),
            }
            .into(),
            14 => LeftScope {
                document: DocumentId(self.array()),
            }
            .into(),
            15 => Fragment {
                item: ItemId(self.array()),
                offset: self.number(),
                total: self.number(),
                bytes: self.bytes(4_048),
            }
            .into(),
            16 => Credit {
                bytes: self.number(),
            }
            .into(),
            17 => Holding {
                statements: self.many(20, |source| HeldStatement {
                    item: ItemId(source.array()),
                    bytes: source.number(),
                    at: source.time(),
                    about: match source.byte() % 2 {
                        0 => Bulk::Framework {
                            id: source.text(40),
                            version: source.text(40),
                        },
                        _ => Bulk::Regions {
                            parent: source.scope(),
                        },
                    },
                }),
            }
            .into(),
            18 => Wanted {
                items: self.many(64, |source| ItemId(source.array())),
            }
            .into(),
            19 => Taken {
                all: self.byte() % 2 == 1,
            }
            .into(),
            _ => {
                let code = ByeCode::ALL[usize::from(self.byte()) % ByeCode::ALL.len()].clone();
                let bye = Bye::new(code, self.text(400));
                let retry = self.some(Self::number);
                retry.map_or(bye.clone(), |ms| bye.retry_after(ms)).into()
            }
        }
    }
}

proptest! {
    #[test]
    fn every_frame_reads_back_from_both_encodings(
        kind in 0_u8..20,
        mut bytes in prop::collection::vec(any::<u8>(), 0..4_500),
    ) {
        bytes.insert(0, kind);
        let frame = Source(&bytes).frame();
        for peer in [Features::NONE, Features::DEFLATE] {
            prop_assert_eq!(decode(&encode(&frame, peer)), Ok(Some(frame.clone())));
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&bytes);
        let _ = Item::from_bytes(&bytes);
        let _ = decode(&[&[0, 0x82][..], &bytes].concat());
    }
}

/// A small generator with a fixed seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    let at = dice.below(bytes.len());
    match dice.below(6) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = dice.byte(),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, dice.byte()),
        4 => {
            let end = at + dice.below(bytes.len() - at);
            bytes.drain(at..end);
        }
        _ => {
            let other = &others[dice.below(others.len())];
            let from = dice.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}

#[test]
fn fifty_thousand_mutated_frames_are_read_or_refused_and_never_panic() {
    let plain: Vec<Vec<u8>> = samples::frames()
        .iter()
        .map(|frame| encode(frame, Features::NONE))
        .collect();
    let mut dice = Dice(0x0123_4567_89ab_cdef);
    let (mut read, mut ignored, mut refused) = (0, 0, 0);
    for round in 0..50_000 {
        let mut bytes = plain[round % plain.len()].clone();
        for _ in 0..=dice.below(4) {
            if !bytes.is_empty() {
                mutate(&mut dice, &mut bytes, &plain);
            }
        }
        if round % 3 == 0 && !bytes.is_empty() {
            // What the peer deflated is just as much its own.
            bytes = pack(&bytes[1..], true);
            if round % 2 == 0 {
                mutate(&mut dice, &mut bytes, &plain);
            }
        }
        match decode(&bytes) {
            Ok(Some(frame)) => {
                read += 1;
                let again = encode(&frame, Features::NONE);
                assert_eq!(decode(&again), Ok(Some(frame)), "round {round}");
            }
            Ok(None) => ignored += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(
        read > 1_000 && ignored > 0 && refused > 10_000,
        "{read} {ignored} {refused}"
    );
}

#[test]
fn frames_and_keys_of_later_versions_are_ignored() {
    let later = [0, 0x82, 0x18, 24, 0xa1, 0, 0x81, 0xf6];
    assert_eq!(decode(&later), Ok(None));
    assert_eq!(decode(&[0, 0x82, 0x19, 1, 0, 0xa0]), Ok(None));
    let known = [0, 0x82, 0x10, 0xa1, 0, 5];
    let with_more = [
        0, 0x82, 0x10, 0xa3, 0, 5, 0x18, 99, 0x81, 0xa1, 1, 2, 0x18, 100, 0xf5,
    ];
    assert_eq!(decode(&known), Ok(Some(Credit { bytes: 5 }.into())));
    assert_eq!(decode(&with_more), Ok(Some(Credit { bytes: 5 }.into())));
}

#[test]
fn what_is_not_an_array_of_type_and_keys_is_refused() {
    for bad in [
        &[][..],
        &[0],
        &[2, 0x82, 0x10, 0xa1, 0, 5],
        &[0, 0x82, 0x10],
        &[0, 0x81, 0x10],
        &[0, 0x83, 0x10, 0xa1, 0, 5, 0],
        &[0, 0x82, 0x10, 0xa1, 0, 5, 0],
        &[0, 0x82, 0x10, 0x81, 5],
        &[0, 0x82, 0x20, 0xa0],
        &[0, 0x82, 0x10, 0xa0],
        &[0, 0x82, 0x10, 0xbf, 0, 5, 0xff],
        &[0, 0x9f, 0x10, 0xa1, 0, 5, 0xff],
        &[0, 0x82, 0x10, 0xa1, 0, 0x5f, 0x41, 1, 0xff],
    ] {
        let error = decode(bad).unwrap_err();
        assert_eq!(Bye::from(&error).code, ByeCode::Malformed, "{bad:?}");
    }
}

#[test]
fn nesting_and_claimed_lengths_cost_nothing() {
    let deep = [&[0, 0x82, 0x18, 99, 0xa1, 0][..], &[0x81; 2_000], &[0]].concat();
    assert!(matches!(decode(&deep), Err(FrameError::Malformed(text)) if text.contains("nested")));
    let claims = [
        0, 0x82, 10, 0xa1, 0, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ];
    assert!(matches!(decode(&claims), Err(FrameError::Malformed(text)) if text.contains("list")));
    let string = [
        0, 0x82, 10, 0xa1, 0, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ];
    assert!(matches!(decode(&string), Err(FrameError::Malformed(text)) if text.contains("string")));
    assert_eq!(
        decode(&[0; 4_097]),
        Err(FrameError::TooLarge { actual: 4_097 })
    );
}

#[test]
fn counts_are_bounded_even_where_deflate_makes_room_for_more() {
    let push = Push {
        items: vec![PushItem::Run(vec![0; 20]); limits::PUSH_ITEMS_MAX + 1],
        returned: false,
        statements: false,
    };
    let bytes = encode(&push.into(), Features::DEFLATE);
    assert_eq!(decode(&bytes), Err(FrameError::Limit("runs")));
    let accepted = vec![
        Placed {
            run: RunId([0; 16]),
            position: 1
        };
        129
    ];
    let bytes = encode(&Accepted { runs: accepted }.into(), Features::DEFLATE);
    assert_eq!(decode(&bytes), Err(FrameError::Limit("accepted runs")));
    let subscribe = Subscribe {
        scopes: vec![Scope::all(); 16],
        cursor: None,
        compare: false,
        gives: false,
    };
    let bytes = encode(&subscribe.into(), Features::NONE);
    assert_eq!(decode(&bytes), Err(FrameError::Limit("scopes")));
}

#[test]
fn every_count_and_every_length_ends_at_its_bound() {
    let held = Held {
        item: ItemId([7; 16]),
        offset: 9,
    };
    let hello = |token: usize, held_items: usize, agent: usize| {
        Frame::from(Hello {
            version: 1,
            token: Some(vec![7; token].into()),
            device: DeviceId([7; 32]),
            incarnation: Incarnation([7; 16]),
            last: None,
            credit: 1,
            held: vec![held; held_items],
            features: Features::NONE,
            agent: "a".repeat(agent),
        })
    };
    let welcome = |token: usize, held_items: usize| {
        Frame::from(Welcome {
            version: 1,
            token: vec![7; token].into(),
            limits: Limits {
                run_bytes: 1,
                credit: 1,
            },
            server_time: 0,
            checkpoint: Seen {
                position: 1,
                chain: bukti_core::id::Chain([7; 32]),
            },
            highest: None,
            credit: 1,
            held: vec![held; held_items],
            features: Features::NONE,
            unconfirmed: false,
        })
    };
    let subscribe = |scopes: usize, cursor: usize| {
        Frame::from(Subscribe {
            scopes: vec![Scope::all(); scopes],
            cursor: Some(vec![7; cursor].into()),
            compare: false,
            gives: false,
        })
    };
    let up_to_date = |cursor: usize, digests: usize| {
        let digest = ScopeDigest {
            prefix: Scope::all(),
            audience: Audience::All,
            digest: Digest::from([7; 32]),
            documents: 1,
        };
        Frame::from(UpToDate {
            cursor: vec![7; cursor].into(),
            position: 1,
            digests: vec![digest; digests],
            more: false,
        })
    };
    let rejected = |code: usize, sentence: usize| {
        Frame::from(Rejected {
            run: RunId([7; 16]),
            code: "a".repeat(code),
            sentence: "a".repeat(sentence),
        })
    };
    let apart = |count: usize| -> Vec<Range> {
        let one = |at: usize| DocumentId((at as u128).to_be_bytes());
        (0..count).map(|at| Range::of(&one(at))).collect()
    };
    let reconcile = |ranges: usize, lists: usize, need: usize, parts: usize| {
        let ranges = apart(ranges).into_iter().map(|range| Ranged {
            range,
            fingerprints: vec![7; 4 * parts].into(),
        });
        let lists = apart(lists).into_iter().map(|range| Listed {
            range,
            documents: Vec::new(),
        });
        Frame::from(Reconcile {
            prefix: Scope::all(),
            audience: Audience::All,
            salt: 1,
            ranges: ranges.collect(),
            lists: lists.collect(),
            need: apart(need),
            survived: None,
            more: false,
        })
    };
    type Sized<'a> = (&'static str, usize, Box<dyn Fn(usize) -> Frame + 'a>);
    let bounds: Vec<Sized<'_>> = vec![
        (
            "token bytes",
            limits::TOKEN_BYTES_MAX,
            Box::new(|n| hello(n, 0, 0)),
        ),
        (
            "held items",
            limits::PARTIALS_MAX,
            Box::new(|n| hello(1, n, 0)),
        ),
        (
            "agent bytes",
            limits::AGENT_BYTES_MAX,
            Box::new(|n| hello(1, 0, n)),
        ),
        (
            "token bytes",
            limits::TOKEN_BYTES_MAX,
            Box::new(|n| welcome(n, 0)),
        ),
        (
            "held items",
            limits::PARTIALS_MAX,
            Box::new(|n| welcome(1, n)),
        ),
        ("scopes", limits::SCOPES_MAX, Box::new(|n| subscribe(n, 1))),
        (
            "cursor bytes",
            limits::CURSOR_BYTES_MAX,
            Box::new(|n| subscribe(1, n)),
        ),
        (
            "cursor bytes",
            limits::CURSOR_BYTES_MAX,
            Box::new(|n| {
                let (items, cursor) = (Vec::new(), vec![7; n].into());
                Feed { items, cursor }.into()
            }),
        ),
        (
            "cursor bytes",
            limits::CURSOR_BYTES_MAX,
            Box::new(|n| up_to_date(n, 1)),
        ),
        (
            "digests",
            limits::DIGESTS_PER_FRAME,
            Box::new(|n| up_to_date(1, n)),
        ),
        (
            "runs",
            limits::PUSH_ITEMS_MAX,
            Box::new(|n| {
                Push {
                    items: vec![PushItem::Run(vec![7; 20]); n],
                    returned: false,
                    statements: false,
                }
                .into()
            }),
        ),
        (
            "accepted runs",
            limits::ACCEPTED_PER_FRAME,
            Box::new(|n| {
                let (run, position) = (RunId([7; 16]), 1);
                let runs = vec![Placed { run, position }; n];
                Accepted { runs }.into()
            }),
        ),
        (
            "missing hashes",
            limits::MISSING_PER_FRAME,
            Box::new(|n| {
                let (run, hashes) = (RunId([7; 16]), vec![ChangeHash([7; 32]); n]);
                Missing { run, hashes }.into()
            }),
        ),
        (
            "code bytes",
            limits::CODE_BYTES_MAX,
            Box::new(|n| rejected(n, 1)),
        ),
        (
            "sentence bytes",
            limits::SENTENCE_BYTES_MAX,
            Box::new(|n| rejected(1, n)),
        ),
        (
            "sentence bytes",
            limits::SENTENCE_BYTES_MAX,
            Box::new(|n| {
                let mut bye = Bye::done();
                bye.sentence = "a".repeat(n);
                bye.into()
            }),
        ),
        (
            "ranges",
            limits::RANGES_MAX,
            Box::new(|n| reconcile(n, 0, 0, 1)),
        ),
        (
            "lists",
            limits::RANGES_MAX,
            Box::new(|n| reconcile(0, n, 0, 1)),
        ),
        (
            "needs",
            limits::RANGES_MAX,
            Box::new(|n| reconcile(0, 0, n, 1)),
        ),
        (
            "fingerprints",
            limits::PARTS_PER_FRAME,
            Box::new(|n| reconcile(1, 0, 0, n)),
        ),
        (
            "statements",
            limits::STATEMENTS_PER_FRAME,
            Box::new(|n| {
                let statements = vec![vec![7; 20].into(); n];
                Statements {
                    statements,
                    last: true,
                }
                .into()
            }),
        ),
    ];
    for (what, max, frame) in bounds {
        let most = frame(max);
        assert_eq!(decode(&encode(&most, Features::DEFLATE)), Ok(Some(most)));
        let more = encode(&frame(max + 1), Features::DEFLATE);
        assert_eq!(decode(&more), Err(FrameError::Limit(what)), "{max}");
    }
}

#[test]
fn a_frame_that_inflates_beyond_its_bound_is_refused() {
    let length = limits::FRAME_INFLATED_BYTES_MAX;
    let frame = [
        &[0x82, 0x18, 99, 0xa1, 0, 0x5a, 0, 1, 0, 0][..],
        &vec![7; length],
    ]
    .concat();
    let max = limits::FRAME_INFLATED_BYTES_MAX;
    assert_eq!(
        decode(&pack(&frame, true)),
        Err(FrameError::Unpack(UnpackError::TooLarge { max }))
    );
}

#[test]
fn the_keys_of_a_later_versions_frame_are_a_map_of_sound_values_too() {
    assert_eq!(decode(&[0, 0x82, 0x18, 99, 0xa0]), Ok(None));
    for bad in [
        &[0, 0x82, 0x18, 99, 5][..],
        &[0, 0x82, 0x18, 99, 0xa1, 0, 0x9f, 0xff],
        &[0, 0x82, 0x18, 99, 0xa1, 0x9f, 0xff],
        &[0, 0x82, 0x18, 99, 0xa0, 0],
        &[0, 0x83, 0x18, 99, 0xa0, 0],
    ] {
        assert!(
            matches!(decode(bad), Err(FrameError::Malformed(_))),
            "{bad:?}"
        );
    }
}

#[test]
fn the_longest_frames_still_fit() {
    let long: Scope = format!("13.76/{}", "a".repeat(58)).parse().unwrap();
    assert_eq!(long.as_str().len(), bukti_core::scope::SCOPE_BYTES_MAX);
    let cursor = || vec![7; limits::CURSOR_BYTES_MAX];
    let digest = ScopeDigest {
        prefix: long.clone(),
        audience: Audience::All,
        digest: Digest::from([7; 32]),
        documents: u64::MAX,
    };
    let frames: [Frame; 6] = [
        Subscribe {
            scopes: vec![long.clone(); limits::SCOPES_MAX],
            cursor: Some(cursor().into()),
            compare: true,
            gives: true,
        }
        .into(),
        UpToDate {
            cursor: cursor().into(),
            position: u64::MAX,
            digests: vec![digest; limits::DIGESTS_PER_FRAME],
            more: true,
        }
        .into(),
        Accepted {
            runs: vec![
                Placed {
                    run: RunId([7; 16]),
                    position: u64::MAX
                };
                128
            ],
        }
        .into(),
        Missing {
            run: RunId([7; 16]),
            hashes: vec![ChangeHash([7; 32]); 100],
        }
        .into(),
        Fragment {
            item: ItemId([7; 16]),
            offset: u64::MAX,
            total: u64::MAX,
            bytes: vec![7; limits::FRAGMENT_BYTES],
        }
        .into(),
        Feed {
            items: vec![FeedItem::Inline(Item::Record {
                position: u64::MAX,
                received_at: i64::MIN,
                carrier: DeviceId([7; 32]),
                run: vec![7; limits::PAGE_BYTES - 100 - 60],
            })],
            cursor: vec![7; 100].into(),
        }
        .into(),
    ];
    for frame in frames {
        let bytes = encode(&frame, Features::NONE);
        assert!(
            bytes.len() <= limits::FRAME_BYTES_MAX,
            "{}: {}",
            frame.name(),
            bytes.len()
        );
        assert_eq!(decode(&bytes), Ok(Some(frame)));
    }
}
