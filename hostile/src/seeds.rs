//! Valid inputs, from which hostile ones are made.

use bukti_core::authority::{Grant, Role};
use bukti_core::envelope::{Body, Seen};
use bukti_core::id::{Chain, DeviceId, DocumentId, JournalId, ServerId};
use bukti_core::limits;
use bukti_core::record::{
    Certificate, Changes, Fact, Finding, FrameworkFact, GrantsFact, Invitation, JournalFact,
    MoveFact, Record, Revocation, Signed, Statement,
};
use bukti_core::region::{RegionImport, example_csv};
use bukti_core::{framework, kind};
use ed25519_dalek::SigningKey;
use serde_json::Value;

use crate::body;
use crate::ground::Ground;
use crate::pen::Pen;

const SCOPE: &str = "13.76.01.1001";

/// The valid inputs of a target's body, or nothing for a name that is none.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "frame" => frames(),
        "envelope" => envelopes(),
        "change" => changes(),
        "journal" => journals(),
        "framework" => frameworks(),
        "region" => regions(),
        _ => Vec::new(),
    }
}

/// A frame of every type, as it is and deflated, one of a later version, and what is no frame.
///
/// # Panics
/// If the golden vectors cannot be read.
pub fn frames() -> Vec<Vec<u8>> {
    let golden = include_str!("../../sync-protocol/vectors/frames.json");
    let golden: Value = serde_json::from_str(golden).expect("the vectors are JSON");
    let listed = golden.as_array().expect("a list of frames");
    let texts = listed
        .iter()
        .flat_map(|frame| [frame["hex"].as_str(), frame["deflated"].as_str()]);
    let mut frames: Vec<Vec<u8>> = texts.flatten().map(from_hex).collect();
    frames.push(vec![0, 0x82, 0x19, 1, 0, 0xa1, 0, 0x81, 0xf6]);
    frames.extend([vec![0], vec![2, 0x82], vec![1, 0xff]]);
    frames
}

fn from_hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hex digits");
            u8::from_str_radix(pair, 16).expect("hex digits")
        })
        .collect()
}

/// Runs of an honest device: one that begins a document, one that edits it, one of many changes.
pub fn runs() -> Vec<Vec<u8>> {
    let key = body::device_key();
    let mut pen = Pen::begin(&key, SCOPE, 1, 1);
    let root = pen.seal();
    let edit = pen.put("title", "Jalan").seal();
    for number in 0..5 {
        pen.put("amount", number);
    }
    let many = pen.seal();
    let beside = pen
        .beside(&SigningKey::from_bytes(&[4; 32]), 2)
        .put("a", 1)
        .seal();
    [root, edit, many, beside].map(|(_, bytes)| bytes).to_vec()
}

/// Bodies that the key of [`body::sign_body`] may sign.
///
/// # Panics
/// If a run cannot be made.
pub fn bodies() -> Vec<Vec<u8>> {
    let mut pen = Pen::begin(&body::device_key(), SCOPE, 1, 1);
    let root = pen.sealed_run();
    let edit = pen.put("title", "Jalan").sealed_run();
    let mut later: Body = edit.envelope.body().clone();
    later.publish = true;
    later.seen = Some(Seen {
        position: 70_000,
        chain: Chain([8; 32]),
    });
    later.number = u64::from(u32::MAX);
    later.first_seq = u64::from(u32::MAX) - 1;
    later.count = 64;
    [root.envelope.body(), edit.envelope.body(), &later]
        .map(|body| minicbor::to_vec(body).expect("writing to a vector"))
        .to_vec()
}

/// A statement of every kind, not signed.
///
/// # Panics
/// If a region file that comes with the project cannot be read.
pub fn statements() -> Vec<Vec<u8>> {
    let key = body::server_key();
    let device = DeviceId(body::device_key().verifying_key().to_bytes());
    let grants = vec![Grant {
        role: Role::Officer,
        scope: SCOPE.parse().expect("a scope"),
    }];
    let import = RegionImport::from_csv("regions.csv", example_csv(), "2025").expect("the example");
    let sheet = import.sheets().last().expect("a sheet").clone();
    let facts = [
        Fact::Journal(JournalFact {
            journal: JournalId([9; 16]),
            server: ServerId(key.verifying_key().to_bytes()),
        }),
        Fact::Invitation(Invitation {
            hash: [1; 32],
            person: "Siti".into(),
            grants: grants.clone(),
            expires_at: 1_700_000_000_000,
        }),
        Fact::Enrolment(Certificate {
            device,
            person: "Siti".into(),
            grants: grants.clone(),
            journal: JournalId([9; 16]),
            invitation: [1; 32],
        }),
        Fact::Grants(GrantsFact { device, grants }),
        Fact::Revocation(Revocation { device }),
        Fact::Framework(FrameworkFact {
            json: small_framework().to_vec(),
        }),
        Fact::Regions(sheet),
        Fact::Move(MoveFact {
            unit: "13.76/dinkes".parse().expect("a scope"),
            parent: "13.76".parse().expect("a scope"),
        }),
        Fact::Checkpoint(Seen {
            position: 5,
            chain: Chain([7; 32]),
        }),
        Fact::Finding(Finding {
            code: "fork".into(),
            sentence: "Two runs bear one number.".into(),
            device: Some(device),
            document: Some(DocumentId([5; 16])),
            run: None,
            place: Some("journal/torn-1-1-112-1.bin".into()),
        }),
    ];
    let statement = |fact| Statement {
        at: 1_700_000_000_000,
        fact,
    };
    facts
        .map(|fact| minicbor::to_vec(statement(fact)).expect("writing to a vector"))
        .to_vec()
}

/// A record of every kind.
///
/// # Panics
/// If what this module makes cannot be read.
pub fn records() -> Vec<Vec<u8>> {
    let key = body::server_key();
    let signed = statements().into_iter().map(|bytes| {
        let statement: Statement = minicbor::decode(&bytes).expect("its own statement");
        Record::Server(Signed::new(statement, &key)).to_bytes()
    });
    let carrier = DeviceId(body::device_key().verifying_key().to_bytes());
    let carried = runs().into_iter().map(|bytes| {
        let run = bukti_core::envelope::Run::open(&bytes).expect("its own run");
        let received_at = 1_700_000_000_000;
        Record::Changes(Changes {
            run,
            received_at,
            carrier,
            returned: false,
        })
        .to_bytes()
    });
    signed.chain(carried).collect()
}

fn envelopes() -> Vec<Vec<u8>> {
    let marked = |kind: u8, inputs: Vec<Vec<u8>>| {
        let mark = move |input: Vec<u8>| [&[kind], &input[..]].concat();
        inputs.into_iter().map(mark)
    };
    let sealed = bodies().iter().map(|body| body::sign_body(body)).collect();
    marked(0, bodies())
        .chain(marked(1, statements()))
        .chain(marked(2, sealed))
        .chain(marked(3, runs()))
        .chain(marked(4, records()))
        .collect()
}

/// The data of proper changes on the ground of [`Ground`].
pub fn change_data() -> Vec<Vec<u8>> {
    let changes = Ground::new().changes().into_iter();
    changes
        .map(|raw| bukti_core::change::forge::Forge::of(&raw).data())
        .collect()
}

fn changes() -> Vec<Vec<u8>> {
    let raw = Ground::new().changes().into_iter();
    let raw = raw.take(2).map(|raw| [&[0], &raw[..]].concat());
    let summed = [1, 3].into_iter().flat_map(|kind| {
        let data = change_data().into_iter();
        data.map(move |data| [&[kind], &data[..]].concat())
    });
    raw.chain(summed).collect()
}

fn journals() -> Vec<Vec<u8>> {
    let records = |lengths: &[usize]| -> Vec<Vec<u8>> {
        let record = |(at, length): (usize, &usize)| vec![u8::try_from(at).unwrap_or(0); *length];
        lengths.iter().enumerate().map(record).collect()
    };
    let mut inputs = Vec::new();
    for kind in 0..3 {
        for lengths in [&[][..], &[0], &[5, 9], &[400, 300, 500, 100]] {
            inputs.push(body::whole(kind, &records(lengths)));
        }
    }
    inputs.push(body::script(5, 3, 200, &[]));
    inputs.push(body::script(2, 2, 30, &[[0, 200, 0, 1]]));
    inputs.push(body::script(3, 1, 90, &[[1, 150, 1, 0], [3, 0, 1, 9]]));
    inputs.push(body::script(1, 0, 10, &[[2, 0, 2, 0]]));
    inputs
}

fn small_framework() -> &'static [u8] {
    br#"{"id":"kecil","version":"1","title":{"id":"Kecil"},"applies_to":["village"],"pass_mark":90,
"pass_rule":"above","more":[null,1.5e3],"components":[{"code":"A","title":{"id":"Satu","en":"One"},
"weight":25,"weight_status":"official","indicators":[{"number":1,"code":"A.1","title":{"id":"Ya"},
"weight":null,"rows":[{"code":"A.1.1","title":{"id":"Baris \u00e9"}}]}]}]}"#
}

fn frameworks() -> Vec<Vec<u8>> {
    let built_in = framework::built_in().map(|(_, json)| json.to_vec());
    let kinds = br#"{"kinds":[{"code":"photo","label":{"id":"Foto"},"fields":[{"code":"at",
"label":{"id":"Tanggal"},"type":"date","required":true},{"code":"form","label":{"id":"Bentuk"},
"type":"choice","required":false,"options":[{"code":"a","label":{"id":"A"}}]}]}]}"#;
    kind::Kinds::from_json("kinds.json", kinds).expect("kinds");
    let odd: [&[u8]; 5] = [b"", b"{}", b"[[[[", b"{\"id\":1,\"id\":2}", b"\"\\ud800\""];
    let mut inputs = built_in.to_vec();
    inputs.extend([small_framework().to_vec(), kinds.to_vec()]);
    inputs.extend(odd.map(<[u8]>::to_vec));
    inputs
}

fn regions() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 10] = [
        example_csv(),
        b"code,name\n11,ACEH\n",
        b"code,name\r\n11,ACEH\r\n11.01,\"KAB. ACEH, SELATAN\"\r\n",
        b"code,name\n11,ACEH\n11.01,A\n11.01.01,B\n11.01.01.2001,C\n11.01.01.1001,\"D \"\"E\"\"\"\n",
        b"\xef\xbb\xbfcode,name\n11,ACEH\n",
        b"code,name\n11,ACEH\n11,ACEH\n",
        b"code,name\n11.01,A\n",
        b"code,name\n11,\"never closed\n",
        b"name,code\n",
        b"code,name\n1,A,B\n",
    ];
    let mut inputs: Vec<Vec<u8>> = texts.map(<[u8]>::to_vec).to_vec();
    let long = "x".repeat(limits::REGION_NAME_BYTES_MAX + 1);
    inputs.push(format!("code,name\n11,{long}\n").into_bytes());
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{TARGETS, Took};

    #[test]
    fn each_body_reads_most_of_the_inputs_it_begins_with() {
        for target in TARGETS {
            let inputs = of(target.name);
            let read = inputs
                .iter()
                .filter(|input| (target.body)(input) == Took::Read)
                .count();
            assert!(
                read * 4 >= inputs.len(),
                "{}: {read} of {}",
                target.name,
                inputs.len()
            );
        }
    }

    #[test]
    fn every_proper_change_becomes_part_of_the_ground() {
        let ground = Ground::new();
        for change in ground.changes() {
            assert_eq!(ground.judge(&change), crate::ground::Fate::Valid);
        }
    }
}
