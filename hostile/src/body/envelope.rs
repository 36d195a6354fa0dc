//! Envelopes, runs, records and statements.

use bukti_core::envelope::{Envelope, Run};
use bukti_core::hash::{domain, signing_bytes};
use bukti_core::id::{DocumentId, ServerId};
use bukti_core::limits;
use bukti_core::record::{Record, RecordError, Signed};
use bukti_core::validate::{Refusal, check_run};
use ed25519_dalek::{Signer, SigningKey};
use minicbor::Encoder;

use super::Took;

/// The first byte says what the rest is: a body or a statement that its owner's key signs here, so
/// that what is signed can be anything; or an envelope, a run or a record as it is.
///
/// # Panics
/// If what was read does not read back the same, keeps a bound badly, or names another document
/// than follows from its parts.
pub fn envelope(bytes: &[u8]) -> Took {
    let Some((kind, rest)) = bytes.split_first() else {
        return Took::Refused;
    };
    match kind % 5 {
        0 => open_envelope(&sign_body(rest)),
        1 => open_record(&signed_parts(
            domain::STATEMENT,
            &server_key(),
            Some(1),
            rest,
        )),
        2 => open_envelope(rest),
        3 => open_run(rest),
        _ => open_record(rest),
    }
}

/// An envelope around any bytes, with the signature of the device that the seeds of bodies name.
pub fn sign_body(body: &[u8]) -> Vec<u8> {
    sign(&device_key(), body)
}

/// An envelope around any bytes, signed with any key.
pub fn sign(key: &SigningKey, body: &[u8]) -> Vec<u8> {
    signed_parts(domain::ENVELOPE, key, None, body)
}

/// Whose bodies the seeds hold.
pub(crate) fn device_key() -> SigningKey {
    SigningKey::from_bytes(&[2; 32])
}

/// Whose statements the seeds hold.
pub(crate) fn server_key() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

fn signed_parts(domain: &str, key: &SigningKey, tag: Option<u8>, inner: &[u8]) -> Vec<u8> {
    let signature = key.sign(&signing_bytes(domain, inner)).to_bytes();
    let mut encoder = Encoder::new(Vec::new());
    let length = if tag.is_some() { 3 } else { 2 };
    encoder.array(length).expect("writing to a vector");
    if let Some(tag) = tag {
        encoder.u8(tag).expect("writing to a vector");
    }
    encoder.bytes(inner).expect("writing to a vector");
    encoder.bytes(&signature).expect("writing to a vector");
    encoder.into_writer()
}

fn open_envelope(bytes: &[u8]) -> Took {
    let envelope = match Envelope::open(bytes) {
        Ok(envelope) => envelope,
        Err(error) => {
            expect_sentence(&error.into());
            return Took::Refused;
        }
    };
    expect_envelope(&envelope);
    assert_eq!(envelope.bytes(), bytes);
    assert_eq!(Envelope::open(envelope.bytes()).as_ref(), Ok(&envelope));
    assert_eq!(Envelope::open_stored(bytes).as_ref(), Ok(&envelope));
    Took::Read
}

fn expect_envelope(envelope: &Envelope) {
    let body = envelope.body();
    let written = minicbor::to_vec(body).expect("writing to a vector");
    assert_eq!(minicbor::decode(&written).ok().as_ref(), Some(body));
    assert!(envelope.bytes().len() <= limits::ENVELOPE_BYTES_MAX);
    assert!((1..=limits::RUN_CHANGES_MAX).contains(&(body.count as usize)));
    assert!((1..=u64::from(u32::MAX)).contains(&body.first_seq));
    assert!((1..=u64::from(u32::MAX)).contains(&body.number));
    assert!(body.last_seq() >= body.first_seq);
    if let Some(root) = &body.root {
        assert_eq!(body.first_seq, 1);
        let named = DocumentId::derive(&body.device, root.kind.as_str(), &root.scope, &root.random);
        assert_eq!(named, body.document);
    }
}

fn open_run(bytes: &[u8]) -> Took {
    let run = match Run::open(bytes) {
        Ok(run) => run,
        Err(error) => {
            expect_sentence(&error.into());
            return Took::Refused;
        }
    };
    expect_envelope(&run.envelope);
    assert_eq!(run.changes.len(), run.envelope.body().count as usize);
    assert_eq!(Run::open(&run.to_bytes()).as_ref(), Ok(&run));
    match check_run(run) {
        Ok(checked) => {
            assert!(checked.received_bytes() <= limits::RUN_BYTES_MAX);
            assert!(checked.operations() <= limits::RUN_OPERATIONS_MAX);
            let body = checked.envelope().body();
            assert_eq!(
                checked.changes().last().map(|change| change.hash),
                Some(body.last_hash)
            );
            assert!(checked.changes().iter().all(|c| c.actor == body.actor()));
            Took::Read
        }
        Err(refusal) => {
            expect_sentence(&refusal);
            Took::Refused
        }
    }
}

fn open_record(bytes: &[u8]) -> Took {
    let record = match Record::from_bytes(bytes) {
        Ok(record) => record,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Took::Refused;
        }
    };
    let again = record.to_bytes();
    assert_eq!(Record::from_bytes(&again).as_ref(), Ok(&record));
    let server = ServerId(server_key().verifying_key().to_bytes());
    let stranger = ServerId(device_key().verifying_key().to_bytes());
    match &record {
        Record::Changes(_) => assert!(matches!(
            Signed::open(bytes, &server),
            Err(RecordError::Malformed(_))
        )),
        Record::Server(signed) => {
            assert_eq!(
                Signed::open(bytes, &server).is_ok(),
                signed.verify(&server).is_ok()
            );
            assert_eq!(
                Signed::open(bytes, &stranger),
                Err(RecordError::Signature),
                "a statement that another key signed"
            );
        }
    }
    Took::Read
}

fn expect_sentence(refusal: &Refusal) {
    assert!(
        refusal.sentence.ends_with('.') && refusal.sentence.len() > 20,
        "a refusal in one clear sentence: {refusal:?}"
    );
}
