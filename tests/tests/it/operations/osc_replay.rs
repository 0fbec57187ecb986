//! `nexus replay --to`: recorded packets go out again, in their order and with their times.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use nexus_contracts::{
    Event, LOCAL_TENANT, Metadata, OscArgument, OscMessage, OscReceived, OscSent, Timestamp, Token,
};
use nexus_osc_codec::{Argument, Limits, Message, TimeTag, decode};
use serde_json::Value;
use uuid::Uuid;

use crate::support::{bus, exited, fresh, shared, succeeded, text};

const PACKETS: usize = 60;
const APART_US: i64 = 20_000;
/// Every tenth packet is a bundle of two for a moment later.
const AHEAD_US: i64 = 30_000;

fn message(address: &str, number: usize, due_us: i64) -> OscMessage {
    let arguments = vec![OscArgument::Int(i32::try_from(number).unwrap()), OscArgument::Float(0.5)];
    OscMessage { address: address.to_owned(), arguments, due_us }
}

fn messages(number: usize) -> Vec<OscMessage> {
    if number.is_multiple_of(10) {
        ["/a", "/b"].map(|address| message(address, number, AHEAD_US)).to_vec()
    } else {
        vec![message("/one", number, 0)]
    }
}

/// A conversation as a target leaves it: sent and heard in turn.
async fn recording() -> String {
    let (nexus, conversation) = (shared().await, fresh("synth"));
    let (bus, began) = (bus(nexus).await, jiff::Timestamp::now().as_microsecond());
    let token = |text: &str| Token::encode(text).unwrap();
    let place = Metadata::at(LOCAL_TENANT, token("osc"), token(&conversation));
    for number in 0..PACKETS {
        let at = Timestamp::from_micros(began + APART_US * i64::try_from(number).unwrap());
        let (id, place) = (Uuid::now_v7(), place.clone());
        let (peer, messages) = ("synth".to_owned(), messages(number));
        if number.is_multiple_of(2) {
            bus.publish(&Event::new(id, id, place, at, OscSent { peer, messages })).await.unwrap();
        } else {
            bus.publish(&Event::new(id, id, place, at, OscReceived { peer, messages }))
                .await
                .unwrap();
        }
    }
    conversation
}

/// A packet with the moment at which it came.
type Heard = (Instant, Vec<u8>);

/// Listens for all packets, on a port of its own.
fn listen() -> (u16, std::thread::JoinHandle<Vec<Heard>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let port = socket.local_addr().unwrap().port();
    let heard = std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        let packets = (0..PACKETS).map(|_| {
            let size = socket.recv(&mut buffer).expect("a packet");
            (Instant::now(), buffer[..size].to_vec())
        });
        packets.collect()
    });
    (port, heard)
}

#[tokio::test]
async fn a_recorded_conversation_is_sent_again_in_its_order_with_its_bundles() {
    let (nexus, conversation) = (shared().await, recording().await);
    let (port, heard) = listen();
    let to = format!("osc://127.0.0.1:{port}");
    let replay = ["replay", "--conversation", &conversation, "--to", &to, "--json"];
    let before = jiff::Timestamp::now().as_microsecond();
    let output = succeeded(nexus.run(&replay).await.unwrap());
    let heard = heard.join().unwrap();

    let mut tags = Vec::new();
    for (number, (_, packet)) in heard.iter().enumerate() {
        let timed = decode(packet, &Limits::default()).unwrap();
        let said: Vec<Message> = timed.iter().map(|timed| timed.message.clone()).collect();
        let arguments = vec![Argument::Int(i32::try_from(number).unwrap()), Argument::Float(0.5)];
        let expected: Vec<Message> = messages(number)
            .iter()
            .map(|message| Message::new(&message.address, arguments.clone()))
            .collect();
        assert_eq!(said, expected);
        match said.len() {
            1 => assert_eq!(timed[0].due, TimeTag::IMMEDIATE),
            _ => tags.push(timed[0].due.unix_micros()),
        }
    }
    let apart: Vec<i64> = tags.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(apart, [10 * APART_US; 5], "tags keep their distances");
    assert!(tags[0] > before, "tags are in the time of the replay");

    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["packets"], PACKETS);
    // For whoever measures; a loaded machine must not fail it.
    let mut errors: Vec<i64> = heard
        .iter()
        .enumerate()
        .map(|(number, (at, _))| {
            let passed = i64::try_from(at.duration_since(heard[0].0).as_micros()).unwrap();
            (passed - APART_US * i64::try_from(number).unwrap()).abs()
        })
        .collect();
    errors.sort_unstable();
    println!(
        "timing error at the receiver: p50 {} us, p99 {} us; {report}",
        errors[PACKETS / 2],
        errors[PACKETS - 1]
    );
}

#[tokio::test]
async fn a_replay_can_be_faster_and_begin_later() {
    let (nexus, conversation) = (shared().await, recording().await);
    let (port, _heard) = listen();
    let to = format!("osc://127.0.0.1:{port}");
    let replay = ["replay", "--conversation", &conversation, "--to", &to, "--speed", "4", "--json"];
    let output = succeeded(nexus.run(&replay).await.unwrap());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["packets"], PACKETS);

    let none = [&replay[..], &["--since", "2100-01-01T00:00:00Z"]].concat();
    let said = text(&exited(1, nexus.run(&none).await.unwrap()).stderr);
    assert!(said.contains("no OSC events were recorded there"), "{said}");
}

#[tokio::test]
async fn a_replay_leaves_the_machine_only_when_told_to() {
    let (nexus, conversation) = (shared().await, recording().await);
    for (to, says) in [
        ("osc://192.0.2.1:9000", "--allow-remote"),
        ("udp://127.0.0.1:9000", "osc://HOST:PORT"),
        ("osc://127.0.0.1", "osc://HOST:PORT"),
    ] {
        let replay = ["replay", "--conversation", &conversation, "--to", to];
        let said = text(&exited(2, nexus.run(&replay).await.unwrap()).stderr);
        assert!(said.contains(says), "{to}: {said}");
    }
    let slow =
        ["replay", "--conversation", &conversation, "--to", "osc://127.0.0.1:9", "--speed", "0"];
    let said = text(&exited(2, nexus.run(&slow).await.unwrap()).stderr);
    assert!(said.contains("above 0"), "{said}");
}
