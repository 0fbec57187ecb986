//! Mutated packets on a small stack: no panic, no overflow, whatever is damaged.
//!
//! `OSC_PACKETS` says how many; `scripts/prove osc-mutations` runs ten million in a release build.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test that reports figures"
)]

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use nexus_osc_codec::framing::{Framing, LengthPrefixed, Slip};
use nexus_osc_codec::{
    Argument, Limits, Message, Pattern, TimeTag, decode, encode_bundle, encode_message,
};

/// A quarter of what tokio gives its threads.
const STACK: usize = 512 * 1024;
const PACKETS: u64 = 200_000;

/// xorshift64*: the same packets in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % end.max(1)
    }
}

/// What mutations start from: one of each kind, and the shapes that have killed decoders.
fn seeds() -> Vec<Vec<u8>> {
    let all = vec![
        Argument::Int(1),
        Argument::Float(0.5),
        Argument::String("Kadenz".to_owned()),
        Argument::Blob(vec![1, 2, 3, 4, 5]),
        Argument::Long(-1),
        Argument::TimeTag(TimeTag(1 << 40)),
        Argument::Double(2.5),
        Argument::Symbol("s".to_owned()),
        Argument::Char('x'),
        Argument::Color([1, 2, 3, 4]),
        Argument::Midi([0, 0x90, 60, 100]),
        Argument::True,
        Argument::False,
        Argument::Nil,
        Argument::Impulse,
        Argument::Array(vec![1.into(), Argument::Array(vec!["in".into()])]),
    ];
    let message = Message::new("/nexus/1/ask", all);
    let plain = Message::new("/synth/*/[a-c]/{x,y}", vec![440.0_f32.into()]);
    let mut seeds = vec![
        encode_message(&message).unwrap(),
        encode_message(&plain).unwrap(),
        encode_bundle(TimeTag::IMMEDIATE, &[plain.clone(), message.clone(), plain]).unwrap(),
    ];
    let mut nested = encode_message(&message).unwrap();
    for _ in 0..20 {
        let size = u32::try_from(nested.len()).unwrap().to_be_bytes();
        nested = [b"#bundle\0\0\0\0\0\0\0\0\x01", &size[..], &nested].concat();
        seeds.push(nested.clone());
    }
    let brackets = |count: usize| {
        [b"/a\0\0,".to_vec(), vec![b'['; count], vec![0; 4 - (count + 1) % 4]].concat()
    };
    seeds.extend([brackets(15), brackets(200), brackets(60_000)]);
    // Bundles that each claim the rest of the datagram.
    let mut deep = Vec::new();
    for left in (0..3_200_u32).rev() {
        deep.extend(b"#bundle\0\0\0\0\0\0\0\0\x01");
        deep.extend((left * 20).to_be_bytes());
    }
    seeds.push(deep);
    seeds
}

fn mutate(packet: &mut Vec<u8>, dice: &mut Dice) {
    const TELLING: [u8; 20] = *b"[]#,/{}*?ifsbhtdScrm";
    for _ in 0..=dice.below(6) {
        let at = dice.below(packet.len());
        match dice.below(7) {
            0 => packet.truncate(at),
            1 => packet.truncate(at / 4 * 4),
            2 => packet.extend_from_within(at..),
            3 => packet.insert(at, TELLING[dice.below(TELLING.len())]),
            4 => {
                if let Some(size) = packet.get_mut(at / 4 * 4..at / 4 * 4 + 4) {
                    size.copy_from_slice(&u32::try_from(dice.next() >> 48).unwrap().to_be_bytes());
                }
            }
            5 => {
                if let Some(byte) = packet.get_mut(at) {
                    *byte = TELLING[dice.below(TELLING.len())];
                }
            }
            _ => {
                if let Some(byte) = packet.get_mut(at) {
                    *byte = dice.next().to_be_bytes()[0];
                }
            }
        }
        packet.truncate(65_507);
    }
}

/// Everything that is done with a stranger's packet.
fn use_up(packet: &[u8]) -> bool {
    let read = decode(packet, &Limits::default());
    for timed in read.iter().flatten() {
        if let Ok(pattern) = Pattern::compile(&timed.message.address) {
            black_box(pattern.matches("/nexus/1/ask"));
        }
        assert!(encode_message(&timed.message).is_ok());
    }
    read.is_ok()
}

fn run(packets: u64) {
    let (seeds, mut dice) = (seeds(), Dice(0x9e37_79b9_7f4a_7c15));
    let (mut nanos, mut accepted) = (Vec::with_capacity(usize::try_from(packets).unwrap()), 0_u64);
    let mut packet = Vec::new();
    for count in 0..packets {
        packet.clone_from(&seeds[dice.below(seeds.len())]);
        mutate(&mut packet, &mut dice);
        let start = Instant::now();
        let read = black_box(decode(black_box(&packet), &Limits::default()));
        drop(read);
        nanos.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX));
        accepted += u64::from(use_up(&packet));
        if count % 16 == 0 {
            black_box(Slip::new(2048).push(&packet).count());
            black_box(LengthPrefixed::new(2048).push(&packet).count());
            assert_eq!(
                Slip::new(packet.len()).push(&Framing::Slip.encode(&packet).unwrap()).next(),
                (!packet.is_empty()).then_some(Ok(packet.clone()))
            );
        }
    }
    nanos.sort_unstable();
    let at = |share: f64| f64::from(nanos[((nanos.len() - 1) as f64 * share) as usize]) / 1000.0;
    println!(
        "{packets} packets, {accepted} well-formed; decode and drop in us: p50 {:.2} p99 {:.2} p99.9 {:.2} most {:.2}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    // Both kinds have to be there, or nothing was tried.
    assert!(accepted > packets / 100 && accepted < packets * 99 / 100, "{accepted}");
}

#[test]
fn mutated_packets_do_no_harm_on_a_small_stack() {
    let packets = std::env::var("OSC_PACKETS").ok().map_or(PACKETS, |count| count.parse().unwrap());
    thread::Builder::new().stack_size(STACK).spawn(move || run(packets)).unwrap().join().unwrap();
}
