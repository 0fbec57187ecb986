//! Those who have no session: they get no more than they give, and cost little.

use std::sync::atomic::Ordering;

use nexus_osc_codec::{Argument, Message, TimeTag, encode_bundle, encode_message};
use tokio::net::UdpSocket;

use crate::case::{Case, KEY, LIMIT, SILENCE};

#[tokio::test]
async fn strangers_get_no_more_bytes_than_they_send() {
    let case = Case::start().await;
    let client = case.client().await;

    for _ in 0..3 {
        client
            .say(
                "/nexus/1/hello",
                vec!["pd".into(), 0.into(), "nxk_a_wrong_key_of_usual_length".into()],
            )
            .await;
        assert_eq!(client.hear("/nexus/1/error").await[..2], ["".into(), "unauthorised".into()]);
    }
    assert_eq!(case.keys.lookups.load(Ordering::Relaxed), 1);

    let questions = [
        ("/nexus/1/ask", vec!["x".into(), "1".into(), "hi".into()]),
        ("/nexus/1/ask", vec!["x".into(), "1".into(), "long enough for an answer to fit".into()]),
        ("/nexus/1/resend", vec!["1".into(), 0.into(), 9.into()]),
        ("/nexus/1/ping", vec!["x".into()]),
        ("/nexus/1/hello", vec!["x".into(), 0.into(), "y".into()]),
        ("/x", vec![]),
    ];
    let mut answered = 0;
    for (addr, args) in questions {
        let sent = client.say(addr, args).await;
        if let Some((bytes, _)) = client.next_within(SILENCE).await {
            assert!(bytes <= sent, "{bytes} bytes for {sent}");
            answered += 1;
        }
    }
    assert_eq!(answered, 1);
    case.stop().await;
}

#[tokio::test]
async fn a_flood_of_wrong_keys_does_not_reach_the_verifier() {
    let case = Case::start().await;
    let client = case.client().await;
    let session = client.hello("pd", KEY).await;
    for guess in 0..500 {
        client.say("/nexus/1/hello", vec!["pd".into(), 0.into(), guess.into()]).await;
        if guess % 10 == 0 {
            tokio::task::yield_now().await;
        }
    }
    while client.next_within(SILENCE).await.is_some() {}
    assert!(
        case.keys.lookups.load(Ordering::Relaxed) < 40,
        "{}",
        case.keys.lookups.load(Ordering::Relaxed)
    );
    // Who is connected already stays so.
    assert_eq!(client.hello("pd", KEY).await, session);
    case.stop().await;
}

#[tokio::test]
async fn hostile_datagrams_change_nothing() {
    let case = Case::start().await;
    let client = case.client().await;
    let nested = b"#bundle\0\0\0\0\0\0\0\0\x01\0\0\xff\xf0".repeat(3000);
    let arrays =
        [b"/a\0\0,".as_slice(), &b"[".repeat(30_000), &b"]".repeat(30_000), b"\0\0\0"].concat();
    for hostile in [nested, arrays, vec![0; 60_000], vec![0xff; 1], Vec::new()] {
        client.socket.send_to(&hostile, case.address).await.unwrap();
    }
    while client.next_within(SILENCE).await.is_some() {}
    let session = client.hello("pd", KEY).await;
    client.say("/nexus/1/ping", vec![session.as_str().into()]).await;
    assert_eq!(client.hear("/nexus/1/pong").await, [session.as_str().into()]);
    case.stop().await;
}

#[tokio::test]
async fn no_packet_of_a_stranger_is_kept_or_answered_with_more() {
    let case = Case::start().await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.connect(case.address).await.unwrap();
    let ping = Message::new("/nexus/1/ping", vec!["x".into()]);
    let soon = TimeTag::from_unix_micros(crate::case::now().as_micros() + 5_000_000);
    let everything = Message::new("//*", vec!["x".into(), "y".into(), "z".into()]);
    let packets = [
        encode_bundle(soon, &vec![ping.clone(); 40]).unwrap(),
        encode_bundle(TimeTag::IMMEDIATE, &vec![ping; 40]).unwrap(),
        encode_bundle(TimeTag(u64::MAX), &vec![everything.clone(); 3]).unwrap(),
        encode_message(&everything).unwrap(),
        encode_message(&Message::new("/synth", vec![Argument::Float(0.5)])).unwrap(),
        b"/nexus/1/[a\0,\0\0\0".to_vec(),
        b"#bundle\0".to_vec(),
    ];
    for packet in packets {
        stranger.send(&packet).await.unwrap();
        let (mut heard, mut buffer) = (0, [0; 2048]);
        while let Ok(size) = tokio::time::timeout(SILENCE, stranger.recv(&mut buffer)).await {
            heard += size.unwrap();
        }
        assert!(heard <= packet.len(), "{heard} bytes for {packet:?}");
    }
    case.stop().await;
}

/// The small form of `scripts/prove osc-flood`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_strangers_gets_no_more_than_it_sends_and_changes_nothing() {
    const PACKETS: u64 = 200_000;
    let case = Case::start().await;
    let client = case.client().await;
    let session = client.hello("pd", KEY).await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(case.address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let flood = tokio::task::spawn_blocking(move || {
        let (mut sent, mut heard, mut buffer) = (0_usize, 0_usize, [0; 2048]);
        for count in 0..PACKETS {
            let name = count.to_string();
            let (address, arguments) = match count % 5 {
                0 => ("/nexus/1/hello", vec![name.as_str().into(), 0.into(), name.as_str().into()]),
                1 => ("/nexus/1/ask", vec!["s".into(), "1".into(), name.as_str().into()]),
                2 => ("/nexus/1/ping", vec![name.as_str().into()]),
                3 => ("/synth/1", vec![Argument::Int(1)]),
                _ => ("//*", vec!["s".into()]),
            };
            let packet = encode_message(&Message::new(address, arguments)).unwrap();
            sent += socket.send(&packet).unwrap_or(0);
            while let Ok(size) = socket.recv(&mut buffer) {
                heard += size;
            }
        }
        (sent, heard)
    });
    let (sent, heard) = flood.await.unwrap();
    assert!(heard <= sent, "{heard} bytes for {sent}");
    // Whoever was there is served as before; what the flood has left in the kernel's queue may
    // cost a datagram or two.
    let pong = tokio::time::timeout(LIMIT, async {
        loop {
            client.say("/nexus/1/ping", vec![session.as_str().into()]).await;
            if let Some((_, pong)) = client.next_within(SILENCE).await {
                return pong;
            }
        }
    });
    assert_eq!(pong.await.expect("a pong").args, [session.as_str().into()]);
    case.stop().await;
}
