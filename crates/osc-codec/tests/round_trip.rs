//! Whatever is written is read back, and rosc reads the same.

#![allow(clippy::unwrap_used, reason = "the lints' own exception leaves out helpers of tests")]

use nexus_osc_codec::{
    Argument, DEEPEST, DecodeError, EncodeError, Limits, Message, TimeTag, Timed, decode,
    encode_bundle, encode_message,
};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,12}"
}

/// Floats are compared, so there is no NaN.
fn argument() -> impl Strategy<Value = Argument> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Argument::Int),
        any::<i64>().prop_map(Argument::Long),
        prop::num::f32::ANY.prop_filter("NaN", |f| !f.is_nan()).prop_map(Argument::Float),
        prop::num::f64::ANY.prop_filter("NaN", |f| !f.is_nan()).prop_map(Argument::Double),
        text().prop_map(Argument::String),
        text().prop_map(Argument::Symbol),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Argument::Blob),
        any::<u64>().prop_map(|tag| Argument::TimeTag(TimeTag(tag))),
        any::<char>().prop_map(Argument::Char),
        any::<[u8; 4]>().prop_map(Argument::Color),
        any::<[u8; 4]>().prop_map(Argument::Midi),
        Just(Argument::True),
        Just(Argument::False),
        Just(Argument::Nil),
        Just(Argument::Impulse),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop::collection::vec(inner, 0..6).prop_map(Argument::Array)
    })
}

fn message() -> impl Strategy<Value = Message> {
    let address = text().prop_map(|text| format!("/{text}"));
    (address, prop::collection::vec(argument(), 0..8))
        .prop_map(|(address, arguments)| Message { address, arguments })
}

proptest! {
    #[test]
    fn messages_survive(message in message()) {
        let bytes = encode_message(&message).unwrap();
        prop_assert_eq!(bytes.len() % 4, 0);
        let read = decode(&bytes, &Limits::default());
        prop_assert_eq!(read, Ok(vec![Timed { due: TimeTag::IMMEDIATE, message }]));
    }

    #[test]
    fn bundles_survive(due in any::<u64>(), messages in prop::collection::vec(message(), 0..5)) {
        let due = TimeTag(due);
        let bytes = encode_bundle(due, &messages).unwrap();
        let timed: Vec<_> = messages.into_iter().map(|message| Timed { due, message }).collect();
        prop_assert_eq!(decode(&bytes, &Limits::default()), Ok(timed));
    }

    #[test]
    fn every_prefix_is_refused_or_another_message(message in message(), cut in any::<prop::sample::Index>()) {
        let bytes = encode_message(&message).unwrap();
        let cut = cut.index(bytes.len());
        if let Ok(read) = decode(&bytes[..cut], &Limits::default()) {
            // Without its type tags a message is one without arguments.
            prop_assert_eq!(read[0].message.arguments.len(), 0);
        }
    }
}

#[test]
fn what_osc_cannot_carry_is_refused() {
    let refused = |address: &str, argument: Argument| {
        encode_message(&Message::new(address, vec![argument])).unwrap_err()
    };
    assert_eq!(refused("a", Argument::Nil), EncodeError::Address);
    assert_eq!(refused("/a\0", Argument::Nil), EncodeError::Zero);
    assert_eq!(refused("/a", "b\0".into()), EncodeError::Zero);
    let nested =
        |levels: usize| (0..levels).fold(Argument::Nil, |inner, _| Argument::Array(vec![inner]));
    assert_eq!(refused("/a", nested(DEEPEST + 1)), EncodeError::Depth);
    assert!(encode_message(&Message::new("/a", vec![nested(DEEPEST)])).is_ok());
}

#[test]
fn limits_hold_at_their_edge() {
    let limits = Limits { depth: 2, arguments: 3, messages: 2 };
    let read = |packet: &[u8]| decode(packet, &limits).map(|messages| messages.len());
    let message =
        |arguments: Vec<Argument>| encode_message(&Message::new("/a", arguments)).unwrap();

    assert_eq!(read(&message(vec![1.into(), 2.into(), 3.into()])), Ok(1));
    assert_eq!(read(&message(vec![true.into(); 4])), Err(DecodeError::Arguments(3)));
    let array = |inner| Argument::Array(vec![inner]);
    assert_eq!(read(&message(vec![array(array(1.into()))])), Ok(1));
    assert_eq!(
        read(&message(vec![array(array(array(Argument::Array(Vec::new()))))])),
        Err(DecodeError::Depth(2))
    );
    let plain = Message::new("/a", Vec::new());
    assert_eq!(read(&encode_bundle(TimeTag(9), &vec![plain.clone(); 2]).unwrap()), Ok(2));
    assert_eq!(
        read(&encode_bundle(TimeTag(9), &vec![plain; 3]).unwrap()),
        Err(DecodeError::Messages(2))
    );
    let (mut bundle, mut counts) = (b"#bundle\0\0\0\0\0\0\0\0\x01".to_vec(), Vec::new());
    for _ in 0..3 {
        counts.push(read(&bundle));
        let size = u32::try_from(bundle.len()).unwrap().to_be_bytes();
        bundle = [b"#bundle\0\0\0\0\0\0\0\0\x01", &size[..], &bundle].concat();
    }
    assert_eq!(counts, [Ok(0), Ok(0), Err(DecodeError::Depth(2))]);
}
