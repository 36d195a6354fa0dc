use super::*;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

fn body() -> Body {
    let device = DeviceId(key().verifying_key().to_bytes());
    let root = Root {
        kind: DocumentKind::Evidence,
        scope: "13.76.01.1001".parse().unwrap(),
        random: [9; 16],
    };
    Body {
        document: DocumentId::derive(&device, "evidence", &root.scope, &root.random),
        root: Some(root),
        incarnation: Incarnation([1; 16]),
        number: 1,
        first_seq: 1,
        count: 1,
        last_hash: ChangeHash([3; 32]),
        publish: false,
        device_time: 0,
        seen: None,
        device,
    }
}

/// The body of a run that begins no document.
fn later() -> Body {
    Body {
        root: None,
        ..body()
    }
}

fn opened(body: Body) -> Result<Envelope, EnvelopeError> {
    Envelope::open(Envelope::seal(body, &key()).bytes())
}

fn signed(body: &[u8], signature: Signature) -> Vec<u8> {
    minicbor::to_vec(Signed {
        body: body.to_vec().into(),
        signature: signature.to_bytes().to_vec().into(),
    })
    .unwrap()
}

#[test]
fn a_sealed_run_opens_and_keeps_its_bytes() {
    let run = Run {
        envelope: Envelope::seal(body(), &key()),
        changes: vec![vec![1, 2, 3]],
    };
    assert_eq!(Run::open(&run.to_bytes()), Ok(run));
}

#[test]
fn any_flipped_bit_of_an_envelope_is_noticed() {
    let sealed = Envelope::seal(body(), &key());
    for bit in 0..sealed.bytes().len() * 8 {
        let mut bytes = sealed.bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Envelope::open(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
#[should_panic(expected = "a device seals in its own name")]
fn a_device_seals_in_its_own_name_only() {
    Envelope::seal(body(), &SigningKey::from_bytes(&[6; 32]));
}

#[test]
fn only_the_signature_of_its_device_over_this_body_as_an_envelope_counts() {
    let encoded = minicbor::to_vec(body()).unwrap();
    let by = |key: &SigningKey, bytes: &[u8]| Envelope::open(&signed(&encoded, key.sign(bytes)));
    assert!(by(&key(), &signing_bytes(domain::ENVELOPE, &encoded)).is_ok());

    let other = SigningKey::from_bytes(&[6; 32]);
    let another = minicbor::to_vec(later()).unwrap();
    let refused = [
        by(&other, &signing_bytes(domain::ENVELOPE, &encoded)),
        by(&key(), &signing_bytes(domain::ENVELOPE, &another)),
        by(&key(), &signing_bytes(domain::STATEMENT, &encoded)),
        by(&key(), &encoded),
    ];
    for (at, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused, Err(EnvelopeError::Signature), "{at}");
    }
}

/// The neutral point is a key under which one signature fits every message, unless keys of small
/// order are refused.
#[test]
fn a_signature_that_fits_every_message_is_refused() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let weak = VerifyingKey::from_bytes(&neutral).unwrap();
    let signature = Signature::from_components(neutral, [0; 32]);
    let body = Body {
        device: DeviceId(neutral),
        ..later()
    };
    let encoded = minicbor::to_vec(&body).unwrap();
    let message = signing_bytes(domain::ENVELOPE, &encoded);
    assert!(ed25519_dalek::Verifier::verify(&weak, &message, &signature).is_ok());
    assert_eq!(
        Envelope::open(&signed(&encoded, signature)),
        Err(EnvelopeError::Signature)
    );
}

#[test]
fn an_id_taken_under_another_scope_is_refused() {
    let mut stolen = body();
    stolen.root.as_mut().unwrap().scope = "13.76.01.1002".parse().unwrap();
    assert_eq!(opened(stolen), Err(EnvelopeError::DocumentId));
}

#[test]
fn counts_and_numbers_have_bounds_on_both_sides() {
    type Edit = fn(&mut Body);
    let within: [Edit; 4] = [
        |body| body.count = limits::RUN_CHANGES_MAX as u32,
        |body| body.first_seq = u64::from(u32::MAX),
        |body| body.number = u64::from(u32::MAX),
        |_| {},
    ];
    for (at, edit) in within.into_iter().enumerate() {
        let mut body = later();
        edit(&mut body);
        assert!(opened(body).is_ok(), "{at}");
    }
    let beyond: [Edit; 5] = [
        |body| body.count = 0,
        |body| body.first_seq = 0,
        |body| body.number = 0,
        |body| body.first_seq = u64::from(u32::MAX) + 1,
        |body| body.number = u64::from(u32::MAX) + 1,
    ];
    for (at, edit) in beyond.into_iter().enumerate() {
        let mut body = later();
        edit(&mut body);
        let refused = opened(body);
        assert!(
            matches!(refused, Err(EnvelopeError::Malformed(_))),
            "{at}: {refused:?}"
        );
    }
    let many = Body {
        count: limits::RUN_CHANGES_MAX as u32 + 1,
        ..later()
    };
    assert!(matches!(opened(many), Err(EnvelopeError::TooLarge { .. })));
}

#[test]
fn a_document_begins_with_its_creators_first_change() {
    let late = Body {
        first_seq: 2,
        ..body()
    };
    assert!(matches!(opened(late), Err(EnvelopeError::Malformed(_))));
}

/// Keys of later versions are passed over, as far as the envelope stays short.
#[test]
fn an_envelope_has_room_for_later_keys_and_a_bound() {
    let with_padding = |length: usize| {
        let mut encoded = minicbor::to_vec(body()).unwrap();
        let fields = encoded[0];
        assert!((0xa1..0xb7).contains(&fields), "a map with a short count");
        encoded[0] += 1;
        let later_key = 30;
        encoded.extend(minicbor::to_vec(later_key).unwrap());
        encoded.extend(minicbor::to_vec(ByteVec::from(vec![7; length])).unwrap());
        let signature = key().sign(&signing_bytes(domain::ENVELOPE, &encoded));
        Envelope::open(&signed(&encoded, signature))
    };
    assert_eq!(with_padding(300).unwrap().body(), &body());
    let refused = with_padding(limits::ENVELOPE_BYTES_MAX);
    assert!(
        matches!(refused, Err(EnvelopeError::TooLarge { .. })),
        "{refused:?}"
    );
}

#[test]
fn nothing_follows_an_envelope_or_its_body() {
    let mut behind = Envelope::seal(body(), &key()).bytes().to_vec();
    behind.push(0);
    assert!(matches!(
        Envelope::open(&behind),
        Err(EnvelopeError::Malformed(_))
    ));
    let mut encoded = minicbor::to_vec(body()).unwrap();
    encoded.push(0);
    let signature = key().sign(&signing_bytes(domain::ENVELOPE, &encoded));
    assert!(matches!(
        Envelope::open(&signed(&encoded, signature)),
        Err(EnvelopeError::Malformed(_))
    ));
}
