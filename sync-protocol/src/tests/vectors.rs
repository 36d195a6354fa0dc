//! The golden vectors under `vectors/`: what other implementations are checked against.
//!
//! `BUKTI_BLESS=1 cargo test -p bukti-sync-protocol vectors` writes them anew after a change of
//! the format that is meant.

use std::path::Path;

use bukti_core::digest::Digest;
use bukti_core::hash::Hasher;
use bukti_core::id::{ChangeHash, DocumentId, Incarnation};
use bukti_core::record::invitation_hash;
use minicbor::Decoder;
use minicbor::data::Type;
use serde_json::{Map, Value, json};

use super::samples;
use crate::deflate::unpack;
use crate::fragment::ItemId;
use crate::frame::{Features, Frame, decode, encode};
use crate::limits;
use crate::link::InvitationLink;

/// The names of a frame's keys, in the order of their numbers.
fn keys(frame: &Frame) -> &'static [&'static str] {
    match frame {
        Frame::Hello(_) => &[
            "version",
            "token",
            "device",
            "incarnation",
            "last",
            "credit",
            "held",
            "features",
            "agent",
        ],
        Frame::Welcome(_) => &[
            "version",
            "token",
            "limits",
            "server_time",
            "checkpoint",
            "highest",
            "credit",
            "held",
            "features",
            "unconfirmed",
        ],
        Frame::Challenge(_) => &["nonce", "journal", "server"],
        Frame::Proof(_) => &["device", "signature", "certificate", "journal"],
        Frame::Stale(_) => &["highest"],
        Frame::Enrol(_) => &["secret", "device", "signature"],
        Frame::Enrolled(_) => &["journal", "certificate"],
        Frame::Subscribe(_) => &["scopes", "cursor", "compare", "gives"],
        Frame::Feed(_) => &["items", "cursor"],
        Frame::UpToDate(_) => &["cursor", "position", "digests"],
        Frame::Push(_) => &["items", "returned", "statements"],
        Frame::Accepted(_) => &["runs"],
        Frame::Missing(_) => &["run", "hashes"],
        Frame::Rejected(_) => &["run", "code", "sentence"],
        Frame::LeftScope(_) => &["document"],
        Frame::Fragment(_) => &["item", "offset", "total", "bytes"],
        Frame::Credit(_) => &["bytes"],
        Frame::Bye(_) => &["code", "sentence", "retry_after_ms", "statement"],
        Frame::Reconcile(_) => &[
            "prefix", "audience", "salt", "ranges", "lists", "need", "survived", "more",
        ],
        Frame::Statements(_) => &["statements", "last"],
        Frame::Void(_) => &["watermark"],
        Frame::Holding(_) => &["statements"],
        Frame::Wanted(_) => &["items"],
        Frame::Taken(_) => &["all"],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// CBOR as JSON; byte strings as `hex:…`, the keys of maps as numbers.
fn describe(d: &mut Decoder<'_>) -> Value {
    match d.datatype().unwrap() {
        Type::Bytes => json!(format!("hex:{}", hex(d.bytes().unwrap()))),
        Type::String => json!(d.str().unwrap()),
        Type::Bool => json!(d.bool().unwrap()),
        Type::Null => {
            d.null().unwrap();
            Value::Null
        }
        Type::Array => {
            let length = d.array().unwrap().unwrap();
            (0..length).map(|_| describe(d)).collect()
        }
        Type::Map => {
            let length = d.map().unwrap().unwrap();
            let pairs = (0..length).map(|_| (d.u64().unwrap().to_string(), describe(d)));
            Value::Object(pairs.collect())
        }
        _ => json!(i64::try_from(d.int().unwrap()).unwrap()),
    }
}

fn fields(frame: &Frame) -> Value {
    let packed = encode(frame, Features::NONE);
    let cbor = unpack(&packed, limits::FRAME_INFLATED_BYTES_MAX).unwrap();
    let mut decoder = Decoder::new(&cbor);
    decoder.array().unwrap();
    decoder.u64().unwrap();
    let Value::Object(described) = describe(&mut decoder) else {
        panic!()
    };
    let keys = keys(frame);
    let named = described.into_iter().map(|(key, value)| {
        let key: usize = key.parse().unwrap();
        (keys[key].to_owned(), value)
    });
    Value::Object(named.collect::<Map<_, _>>())
}

fn deflated(plain: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(vec![1], flate2::Compression::default());
    encoder.write_all(&plain[1..]).unwrap();
    encoder.finish().unwrap()
}

fn frames() -> Value {
    let describe = |frame: &Frame| {
        let plain = encode(frame, Features::NONE);
        json!({
            "name": frame.name(),
            "type": frame.kind(),
            "hex": hex(&plain),
            "deflated": hex(&deflated(&plain)),
            "fields": fields(frame),
        })
    };
    samples::frames().iter().map(describe).collect()
}

fn derivations() -> Value {
    let run = samples::run();
    let body = run.envelope.body();
    let document = body.document;
    let link = InvitationLink {
        url: "https://bukti.example".into(),
        secret: [7; 16],
        server: samples::server(),
    };
    let heads = [ChangeHash([5; 32]), ChangeHash([1; 32])];
    let mut sum = Digest::of(&document, &heads);
    sum += Digest::of(&DocumentId([0xff; 16]), &[ChangeHash([2; 32])]);
    json!({
        "keys": {
            "device_secret": hex(&samples::device_key().to_bytes()),
            "device": hex(samples::device().as_ref()),
            "server_secret": hex(&samples::server_key().to_bytes()),
            "server": hex(samples::server().as_ref()),
        },
        "hash": {
            "domain": "bukti.item.1",
            "variable": hex(b"bukti"),
            "fixed": hex(&[1, 2]),
            "output": hex(&Hasher::new("bukti.item.1").variable(b"bukti").fixed(&[1, 2]).finish()),
        },
        "document_id": {
            "kind": "evidence",
            "scope": samples::village(),
            "random": hex(&[3; 16]),
            "output": hex(document.as_ref()),
            "text": document.to_string(),
        },
        "actor": {
            "document": hex(document.as_ref()),
            "incarnation": hex(Incarnation([4; 16]).as_ref()),
            "output": hex(body.actor().as_ref()),
        },
        "envelope": {
            "body": hex(&minicbor::to_vec(body).unwrap()),
            "output": hex(run.envelope.bytes()),
            "run_id": hex(run.id().as_ref()),
        },
        "run": {
            "change": hex(&run.changes[0]),
            "output": hex(&run.to_bytes()),
        },
        "statement": {
            "journal": hex(&samples::founding()),
            "certificate": hex(&samples::certificate()),
        },
        "invitation": {
            "secret": hex(&[7; 16]),
            "hash": hex(&invitation_hash(&[7; 16])),
            "link": link.to_string(),
            "sync_url": link.sync_url(),
        },
        "token": { "expires_at": samples::TIME, "output": hex(&samples::token()) },
        "challenge": {
            "message": hex(&samples::challenge().message()),
            "signature": hex(&samples::proof().signature),
        },
        "enrolment": {
            "secret": hex(&[7; 16]),
            "signature": hex(&samples::enrol().signature),
        },
        "item": { "packed": hex(b"\0bukti"), "output": hex(&ItemId::of(b"\0bukti").0) },
        "digest": {
            "document": hex(document.as_ref()),
            "heads": heads.map(|head| hex(head.as_ref())),
            "output": hex(Digest::of(&document, &heads).as_bytes()),
            "other_document": hex(&[0xff; 16]),
            "other_heads": [hex(&[2; 32])],
            "sum": hex(sum.as_bytes()),
        },
    })
}

/// Compares `value` with the committed file, or writes it where that is asked for.
#[expect(
    clippy::disallowed_methods,
    reason = "a test is asked through the environment"
)]
fn agree(name: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name);
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("BUKTI_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == text,
        "{name} differs: BUKTI_BLESS=1 writes it anew if that is meant"
    );
}

#[test]
fn the_golden_vectors_are_what_this_version_writes() {
    agree("frames.json", &frames());
    agree("derivations.json", &derivations());
}

#[test]
fn every_frame_type_has_a_vector_that_reads_back_from_both_encodings() {
    let frames = samples::frames();
    let mut kinds: Vec<u64> = frames.iter().map(Frame::kind).collect();
    kinds.dedup();
    assert_eq!(kinds, (0..24).collect::<Vec<_>>());
    for frame in frames {
        let plain = encode(&frame, Features::NONE);
        assert_eq!(decode(&plain), Ok(Some(frame.clone())));
        assert_eq!(decode(&deflated(&plain)), Ok(Some(frame)));
    }
}
