//! Floods an OSC server from many hosts of this machine (127/8) and compares bytes:
//! `flood ADDRESS PACKETS_PER_SECOND SECONDS`. Prints one JSON line; fails when more came back than
//! was sent. See `scripts/prove osc-flood`.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a program that reports figures, on a thread of its own"
)]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nexus_osc_codec::{Argument, EncodeError, Message, TimeTag, encode_bundle, encode_message};

/// Hosts that packets come from, each a socket of its own.
const HOSTS: u32 = 500;
/// Between two looks at what came back.
const BATCH: u64 = 500;

/// The packets of strangers: every kind that a server might answer or remember.
fn packets(count: u64) -> Result<Vec<u8>, EncodeError> {
    let name = format!("stranger {count}");
    let text = |text: &str| Argument::String(text.to_owned());
    let message = |address: &str, arguments| Message::new(address, arguments);
    match count % 8 {
        0 => encode_message(&message("/nexus/1/hello", vec![text(&name), 0.into(), text(&name)])),
        1 => encode_message(&message("/nexus/1/ask", vec![text(&name), text("1"), text(&name)])),
        2 => encode_message(&message("/nexus/1/ping", vec![text(&name)])),
        3 => encode_message(&message("/nexus/1/resend", vec![text("1"), 0.into(), 999.into()])),
        4 => encode_message(&message("/synth/1/freq", vec![440.0_f32.into()])),
        5 => encode_message(&message("//*", vec![text(&name), text("1"), text("2")])),
        6 => {
            let pings = vec![message("/nexus/1/ping", vec![text(&name)]); 20];
            encode_bundle(TimeTag(u64::MAX), &pings)
        }
        _ => Ok(b"#bundle\0\0\0\0\0\0\0\0\x01\xff\xff\xff\xff".to_vec()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |what: &str| arguments.next().ok_or_else(|| format!("{what} is missing"));
    let server: SocketAddr = argument("ADDRESS")?.parse()?;
    let rate: u64 = argument("PACKETS_PER_SECOND")?.parse()?;
    let length = Duration::from_secs(argument("SECONDS")?.parse()?);

    let sockets = (0..HOSTS)
        .map(|host| {
            let [_, _, high, low] = host.to_be_bytes();
            let socket = UdpSocket::bind((Ipv4Addr::new(127, 77, high, low), 0))?;
            socket.set_nonblocking(true)?;
            socket.connect(server)?;
            Ok(socket)
        })
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    let kinds = (0..8000).map(packets).collect::<Result<Vec<_>, _>>()?;

    let (start, mut sent, mut bytes, mut heard) = (Instant::now(), 0_u64, 0, 0);
    let mut buffer = [0; 65_536];
    let mut hear = |socket: &UdpSocket| {
        while let Ok(size) = socket.recv(&mut buffer) {
            heard += size;
        }
    };
    while start.elapsed() < length {
        for _ in 0..BATCH {
            let socket = sockets.get(sent as usize % sockets.len()).ok_or("no socket")?;
            let packet = kinds.get(sent as usize % kinds.len()).ok_or("no packet")?;
            bytes += socket.send(packet).unwrap_or(0);
            hear(socket);
            sent += 1;
        }
        let due = Duration::from_secs_f64(sent as f64 / rate as f64);
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    let seconds = start.elapsed().as_secs_f64();
    thread::sleep(Duration::from_millis(500));
    sockets.iter().for_each(&mut hear);
    println!(
        "{{\"packets\": {sent}, \"packets_per_second\": {:.0}, \"bytes_sent\": {bytes}, \"bytes_back\": {heard}}}",
        sent as f64 / seconds
    );
    if heard > bytes { Err("more came back than was sent".into()) } else { Ok(()) }
}
