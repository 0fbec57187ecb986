use proptest::prelude::*;
use rosc::{OscArray, OscBundle, OscTime, OscType};

use super::*;

fn now() -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000)
}

fn ask() -> OscMessage {
    let args = ["5f2c", "7", "Was bedeutet «Kadenz»? 🎹", "agent", "assistant"];
    OscMessage {
        addr: "/nexus/1/ask".to_owned(),
        args: args.into_iter().map(OscType::from).collect(),
    }
}

fn bundle(tag: u64, content: Vec<OscPacket>) -> Vec<u8> {
    let timetag = OscTime { seconds: (tag >> 32) as u32, fractional: tag as u32 };
    rosc::encoder::encode(&OscPacket::Bundle(OscBundle { timetag, content })).unwrap()
}

/// The time tag of a moment this many seconds from now.
fn tag(seconds: i64) -> u64 {
    u64::try_from(now().as_micros() / 1_000_000 + EPOCH + seconds).unwrap() << 32
}

/// A datagram of bundles within each other, as deep as fits.
fn nested_bundles(depth: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for level in (0..depth).rev() {
        bytes.extend_from_slice(BUNDLE);
        bytes.extend_from_slice(&1_u64.to_be_bytes());
        if level > 0 {
            bytes.extend_from_slice(&u32::try_from(level * 20 - 4).unwrap().to_be_bytes());
        }
    }
    bytes
}

/// A message of arrays within each other.
fn nested_arrays(depth: usize) -> Vec<u8> {
    let mut bytes = b"/a\0\0,".to_vec();
    bytes.extend(std::iter::repeat_n(b'[', depth));
    bytes.extend(std::iter::repeat_n(b']', depth));
    bytes.resize((bytes.len() + 1).next_multiple_of(4), 0);
    bytes
}

fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(512 * 1024).spawn(work).unwrap().join().unwrap();
}

#[test]
fn both_examples_of_the_specification_are_read_and_written() {
    let frequency = b"/oscillator/4/frequency\0,f\0\0\x43\xdc\0\0".to_vec();
    let foo = b"/foo\0\0\0\0,iisff\0\0\0\0\x03\xe8\xff\xff\xff\xffhello\0\0\0\x3f\x9d\xf3\xb6\x40\xb5\xb2\x2d".to_vec();
    let values = |args| vec![OscMessage { addr: "/foo".to_owned(), args }];
    let hello =
        vec![1000.into(), OscType::Int(-1), "hello".into(), 1.234_f32.into(), 5.678_f32.into()];

    assert_eq!(
        decode(&frequency, now()).unwrap().messages,
        [OscMessage { addr: "/oscillator/4/frequency".to_owned(), args: vec![440.0_f32.into()] }]
    );
    assert_eq!(decode(&foo, now()).unwrap().messages, values(hello));
    for bytes in [frequency, foo] {
        assert_eq!(encode(decode(&bytes, now()).unwrap().messages.remove(0)), bytes);
    }
}

#[test]
fn bundles_are_flattened_in_order() {
    let named = |addr: &str| OscPacket::Message(OscMessage { addr: addr.to_owned(), args: vec![] });
    let inner = OscBundle {
        timetag: OscTime { seconds: 0, fractional: 1 },
        content: vec![named("/b"), named("/c")],
    };
    let bytes = bundle(1, vec![named("/a"), OscPacket::Bundle(inner), named("/d")]);
    let packet = decode(&bytes, now()).unwrap();
    let addresses: Vec<_> = packet.messages.iter().map(|message| message.addr.as_str()).collect();
    assert_eq!((addresses, packet.late), (vec!["/a", "/b", "/c", "/d"], 0));
}

#[test]
fn past_means_now_and_is_counted_far_future_is_refused() {
    let late = |tag| {
        decode(&bundle(tag, vec![OscPacket::Message(ask())]), now()).map(|packet| packet.late)
    };
    assert_eq!(late(1).unwrap(), 0);
    assert_eq!(late(0).unwrap(), 1);
    assert_eq!(late(tag(-5)).unwrap(), 1);
    assert_eq!(late(tag(10)).unwrap(), 0);
    assert!(matches!(late(tag(11)), Err(Malformed::Future)));
    assert!(matches!(late(u64::MAX), Err(Malformed::Future)));
}

#[test]
fn a_message_without_type_tags_has_no_arguments() {
    let expected = |addr: &str| vec![OscMessage { addr: addr.to_owned(), args: vec![] }];
    assert_eq!(decode(b"/nexus/1/ping\0\0\0", now()).unwrap().messages, expected("/nexus/1/ping"));
    assert_eq!(decode(b"/a\0\0\0\0\0\x01", now()).unwrap().messages, expected("/a"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused: [&[u8]; 12] = [
        b"",
        b"/a\0",
        b"a\0\0\0",
        b"/aaa",
        b"/a\0\0,i\0\0",
        b"/a\0\0,\0\0\0\0\0\0\0",
        b"/a\0\0,s\0\0\xffabc\0\0\0\0",
        b"/a\0\0,s\0\0abcd",
        b"/a\0\0,b\0\0\xff\xff\xff\xff",
        b"/a\0\0,]\0\0",
        b"/a\0\0,[\0\0",
        b"#bundle\0\0\0\0\0\0\0\0\x01\0\0\0\x10/a\0\0",
    ];
    for bytes in refused {
        assert!(decode(bytes, now()).is_err(), "{bytes:?}");
    }
}

#[test]
fn depth_and_count_have_limits() {
    assert!(decode(&nested_bundles(16), now()).is_ok());
    assert!(matches!(decode(&nested_bundles(17), now()), Err(Malformed::Depth)));
    assert!(decode(&nested_arrays(16), now()).is_ok());
    assert!(matches!(decode(&nested_arrays(17), now()), Err(Malformed::Depth)));
    let arguments =
        |count| encode(OscMessage { addr: "/a".to_owned(), args: vec![OscType::Nil; count] });
    assert!(decode(&arguments(256), now()).is_ok());
    assert!(matches!(decode(&arguments(257), now()), Err(Malformed::Count)));
    let messages = |count| bundle(1, vec![OscPacket::Message(OscMessage::from("/a")); count]);
    assert_eq!(decode(&messages(256), now()).unwrap().messages.len(), 256);
    assert!(matches!(decode(&messages(257), now()), Err(Malformed::Count)));
}

#[test]
fn the_shapes_that_abort_rosc_are_refused_on_a_small_stack() {
    on_a_small_stack(|| {
        let (bundles, arrays) = (nested_bundles(3270), nested_arrays(32_700));
        assert!(bundles.len() < 65_536 && arrays.len() < 65_536);
        assert!(matches!(decode(&bundles, now()), Err(Malformed::Depth)));
        assert!(matches!(decode(&arrays, now()), Err(Malformed::Depth)));
    });
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % limit
    }
}

fn mutate(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len().max(1));
        match dice.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => {
                bytes[at] = *b"\0,/[]sbitTF#\x01\xff".get(dice.below(14)).unwrap();
            }
            2 => bytes.truncate(at),
            3 => bytes.truncate(at / 4 * 4),
            4 => drop(bytes.splice(at..at, [0, 0, 0, dice.below(64) as u8])),
            5 => {
                let other = &seeds[dice.below(seeds.len())];
                bytes.extend_from_slice(&other[dice.below(other.len()) / 4 * 4..]);
            }
            _ => {
                let end = (at + 4 * dice.below(8)).min(bytes.len());
                let copy = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes
}

#[test]
fn a_million_mutated_datagrams_are_read_or_refused() {
    on_a_small_stack(|| {
        let array = OscType::Array(OscArray { content: vec![1.into(), OscType::Nil, true.into()] });
        let blob = OscType::Blob(vec![1, 2, 3, 4, 5]);
        let rich = vec![
            array,
            blob,
            2.5_f64.into(),
            9_i64.into(),
            'x'.into(),
            OscType::Inf,
            "text".into(),
        ];
        let rich = OscMessage { addr: "/rich".to_owned(), args: rich };
        let seeds = [
            encode(ask()),
            encode(rich.clone()),
            bundle(1, vec![OscPacket::Message(ask()), OscPacket::Message(rich)]),
            nested_bundles(12),
            nested_arrays(12),
        ];
        let mut dice = Dice(1);
        let mut read = 0_u32;
        for _ in 0..1_000_000 {
            let bytes = mutate(&seeds, &mut dice);
            if let Ok(packet) = decode(&bytes, now()) {
                read += 1;
                assert!(packet.messages.len() <= MAX_MESSAGES);
            }
        }
        assert!(
            (10_000..990_000).contains(&read),
            "the mutations are too weak or too strong: {read}"
        );
    });
}

fn argument() -> impl Strategy<Value = OscType> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(OscType::Int),
        any::<i64>().prop_map(OscType::Long),
        (-1e30_f32..1e30).prop_map(OscType::Float),
        (-1e300_f64..1e300).prop_map(OscType::Double),
        "[^\0]{0,40}".prop_map(OscType::String),
        any::<char>().prop_map(OscType::Char),
        any::<bool>().prop_map(OscType::Bool),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(OscType::Blob),
        Just(OscType::Nil),
        Just(OscType::Inf),
    ];
    leaf.prop_recursive(8, 32, 4, |inner| {
        proptest::collection::vec(inner, 0..4)
            .prop_map(|content| OscType::Array(OscArray { content }))
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        addr in "/[a-z0-9/]{0,40}",
        args in proptest::collection::vec(argument(), 0..6),
    ) {
        let message = OscMessage { addr, args };
        prop_assert_eq!(decode(&encode(message.clone()), now()).unwrap().messages, [message]);
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes, now());
        let _ = decode(&[b"#bundle\0\0\0\0\0\0\0\0\x01".as_slice(), &bytes].concat(), now());
        let _ = decode(&[b"/a\0\0,".as_slice(), &bytes].concat(), now());
    }
}
