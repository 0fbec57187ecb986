//! Small messages decoded per second on one core: `cargo run --release --example decode_rate`.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that reports figures"
)]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use nexus_osc_codec::{Limits, Message, TimeTag, decode, encode_bundle, encode_message};

const FOR: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let note = Message::new("/synth/1/note", vec![60.into(), 0.8_f32.into()]);
    let ask = Message::new(
        "/nexus/1/ask",
        vec!["1a2b3c".into(), "7".into(), "Was ist eine Kadenz?".into()],
    );
    let bundle = encode_bundle(TimeTag::IMMEDIATE, &vec![note.clone(); 16])?;
    for (name, packet, messages) in [
        ("a note (int, float)", encode_message(&note)?, 1),
        ("an ask (three strings)", encode_message(&ask)?, 1),
        ("a bundle of 16 notes", bundle, 16),
    ] {
        let (limits, start) = (Limits::default(), Instant::now());
        let mut packets = 0_u64;
        while start.elapsed() < FOR {
            for _ in 0..1000 {
                black_box(decode(black_box(&packet), &limits)?);
            }
            packets += 1000;
        }
        let rate = (packets * messages) as f64 / start.elapsed().as_secs_f64();
        println!("{name}, {} bytes: {:.0} messages/s", packet.len(), rate);
    }
    Ok(())
}
