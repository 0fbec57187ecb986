//! A real NATS server, real UDP: needs `scripts/install-servers`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "the lints' own exception leaves out helpers of tests"
)]

mod case;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use nexus_contracts::{EventType, IncomingRequest, LOCAL_TENANT, Outcome, RunCancel};
use nexus_osc::{Config, Error, Osc};
use rosc::OscType;
use tokio_util::sync::CancellationToken;

use case::{Case, KEY, LIMIT, SILENCE, now, verify};

#[tokio::test]
async fn an_answer_streams_from_hello_to_done() {
    let case = Case::start().await;
    let client = case.client().await;
    let session = client.hello("pd", KEY).await;

    let question = ["agent", "assistant", "conversation", "band"];
    let arguments = [&session, "7", "Was ist eine Kadenz?"].into_iter().chain(question);
    client.say("/nexus/1/ask", arguments.map(OscType::from).collect()).await;
    let run = client.accepted("7").await;

    let asked = case.stored::<IncomingRequest>(EventType::RequestsIncoming, 1).await.remove(0);
    assert_eq!((asked.id, asked.correlation_id), (run, run));
    assert_eq!(asked.payload.text, "Was ist eine Kadenz?");
    assert_eq!(asked.metadata.tenant, LOCAL_TENANT);
    assert_eq!(asked.metadata.channel.as_str(), "osc");
    assert_eq!(asked.metadata.conversation.as_str(), "band");
    assert_eq!(asked.metadata.user.as_deref(), Some("ada"));
    assert_eq!(asked.metadata.agent.as_deref(), Some("assistant"));

    case.chunk(&asked, 0, "Eine Schluss").await;
    assert_eq!(
        client.hear("/nexus/1/token").await,
        ["7".into(), 0.into(), "text".into(), "Eine Schluss".into()]
    );
    case.answer(&asked, "Eine Schlusswendung 🎹.").await;
    assert_eq!(
        client.hear("/nexus/1/token").await,
        ["7".into(), 1.into(), "text".into(), "wendung 🎹.".into()]
    );
    assert_eq!(client.hear("/nexus/1/done").await, ["7".into(), 2.into(), "answered".into()]);

    client.say("/nexus/1/resend", vec!["7".into(), 1.into(), 1.into()]).await;
    assert_eq!(
        client.hear("/nexus/1/token").await,
        ["7".into(), 1.into(), "text".into(), "wendung 🎹.".into()]
    );
    assert_eq!(client.hear("/nexus/1/done").await, ["7".into(), 2.into(), "answered".into()]);
    case.stop().await;
}

#[tokio::test]
async fn a_repeated_request_is_asked_once_also_after_a_restart() {
    let mut case = Case::start().await;
    let client = case.client().await;
    let session = client.hello("pd", KEY).await;
    let ask = || client.say("/nexus/1/ask", vec![session.as_str().into(), 7.into(), "hi".into()]);
    ask().await;
    let run = client.accepted("7").await;
    let asked = case.stored::<IncomingRequest>(EventType::RequestsIncoming, 1).await.remove(0);
    case.answer(&asked, "hello").await;
    let answer = ["7".into(), 0.into(), "text".into(), "hello".into()];
    let done = ["7".into(), 1.into(), "answered".into()];
    assert_eq!(
        (client.hear("/nexus/1/token").await, client.hear("/nexus/1/done").await),
        (answer.to_vec(), done.to_vec())
    );

    ask().await;
    assert_eq!(client.accepted("7").await, run);
    assert_eq!(
        (client.hear("/nexus/1/token").await, client.hear("/nexus/1/done").await),
        (answer.to_vec(), done.to_vec())
    );

    case.restart().await;
    let client = case.client().await;
    assert_eq!(client.hello("pd", KEY).await, session);
    client.silent().await;
    client.say("/nexus/1/ask", vec![session.as_str().into(), 7.into(), "hi".into()]).await;
    assert_eq!(client.accepted("7").await, run);
    assert_eq!(
        (client.hear("/nexus/1/token").await, client.hear("/nexus/1/done").await),
        (answer.to_vec(), done.to_vec())
    );
    client
        .say("/nexus/1/ask", vec![session.as_str().into(), 7.into(), "something else".into()])
        .await;
    assert_eq!(client.hear("/nexus/1/error").await[..2], ["7".into(), "conflict".into()]);

    case.stored::<IncomingRequest>(EventType::RequestsIncoming, 1).await;
    case.stop().await;
}

#[tokio::test]
async fn the_end_corrects_what_was_streamed_and_failures_are_told() {
    let case = Case::start().await;
    let client = case.client().await;
    let session = client.hello("pd", KEY).await;

    client.say("/nexus/1/ask", vec![session.as_str().into(), "a".into(), "hi".into()]).await;
    client.accepted("a").await;
    let asked = case.stored::<IncomingRequest>(EventType::RequestsIncoming, 1).await.remove(0);
    case.chunk(&asked, 0, "Let me look.").await;
    client.hear("/nexus/1/token").await;
    case.answer(&asked, "It is 42.").await;
    assert_eq!(
        client.hear("/nexus/1/token").await,
        ["a".into(), 1.into(), "reset".into(), "".into()]
    );
    assert_eq!(
        client.hear("/nexus/1/token").await,
        ["a".into(), 2.into(), "text".into(), "It is 42.".into()]
    );
    assert_eq!(client.hear("/nexus/1/done").await, ["a".into(), 3.into(), "answered".into()]);

    client.say("/nexus/1/ask", vec![session.as_str().into(), "b".into(), "hi".into()]).await;
    client.accepted("b").await;
    let asked = case.stored::<IncomingRequest>(EventType::RequestsIncoming, 2).await.remove(1);
    assert_eq!(asked.metadata.conversation.as_str().len(), 36);
    case.end(
        &asked,
        Outcome::Failed { code: "model".to_owned(), message: "No model answers.".to_owned() },
    )
    .await;
    assert_eq!(
        client.hear("/nexus/1/token").await,
        ["b".into(), 0.into(), "error".into(), "No model answers.".into()]
    );
    assert_eq!(client.hear("/nexus/1/done").await, ["b".into(), 1.into(), "failed".into()]);
    case.stop().await;
}

#[tokio::test]
async fn cancel_is_an_event() {
    let case = Case::start().await;
    let client = case.client().await;
    let session = client.hello("pd", KEY).await;
    client.say("/nexus/1/ask", vec![session.as_str().into(), "a".into(), "hi".into()]).await;
    let run = client.accepted("a").await;
    for _ in 0..2 {
        client.say("/nexus/1/cancel", vec![session.as_str().into(), "a".into()]).await;
    }
    let asked = case.stored::<IncomingRequest>(EventType::RequestsIncoming, 1).await.remove(0);
    let cancelled = case.stored::<RunCancel>(EventType::RunsCancel, 1).await.remove(0);
    assert_eq!((cancelled.payload.run, cancelled.correlation_id), (run, run));
    assert_eq!(cancelled.metadata.conversation, asked.metadata.conversation);
    client.say("/nexus/1/cancel", vec![session.as_str().into(), "never".into()]).await;
    assert_eq!(
        client.hear("/nexus/1/error").await[..2],
        ["never".into(), "unknown_request".into()]
    );
    case.stop().await;
}

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
async fn a_long_answer_arrives_whole() {
    let case = Case::start().await;
    let client = case.client().await;
    let session = client.hello("pd", KEY).await;
    client.say("/nexus/1/ask", vec![session.as_str().into(), "a".into(), "hi".into()]).await;
    client.accepted("a").await;
    let asked = case.stored::<IncomingRequest>(EventType::RequestsIncoming, 1).await.remove(0);
    let long = "Kontrapunkt 🎼 ".repeat(6000);
    case.answer(&asked, &long).await;
    let mut text = String::new();
    loop {
        let (bytes, message) = client.next_within(LIMIT).await.expect("a datagram");
        assert!(bytes <= 1200);
        match (message.addr.as_str(), message.args.last()) {
            ("/nexus/1/token", Some(OscType::String(piece))) => text.push_str(piece),
            ("/nexus/1/done", _) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(text, long);
    case.stop().await;
}

#[tokio::test]
async fn an_answer_arrives_though_the_broker_was_restarted() {
    let mut case = Case::start().await;
    let client = case.client().await;
    let session = client.hello("pd", KEY).await;
    client.say("/nexus/1/ask", vec![session.as_str().into(), "a".into(), "hi".into()]).await;
    client.accepted("a").await;
    let asked = case.stored::<IncomingRequest>(EventType::RequestsIncoming, 1).await.remove(0);
    case.nats.restart().await;
    case.answer(&asked, "late, but whole").await;
    assert_eq!(
        client.hear("/nexus/1/token").await,
        ["a".into(), 0.into(), "text".into(), "late, but whole".into()]
    );
    assert_eq!(client.hear("/nexus/1/done").await, ["a".into(), 1.into(), "answered".into()]);
    case.stop().await;
}

#[tokio::test]
async fn losses_are_made_good_by_resend() {
    let case = Case::start().await;
    let client = case.client().await;
    let session = client.hello("pd", KEY).await;
    for _ in 0..5 {
        client.say("/nexus/1/ask", vec![session.as_str().into(), "a".into(), "hi".into()]).await;
    }
    client.accepted("a").await;
    let asked = case.stored::<IncomingRequest>(EventType::RequestsIncoming, 1).await.remove(0);
    let long = "Kontrapunkt 🎼 ".repeat(1000);
    case.answer(&asked, &long).await;

    let (mut tokens, mut total, mut heard) = (BTreeMap::new(), None, 0);
    while total != i32::try_from(tokens.len()).ok() {
        let Some((_, message)) = client.next_within(SILENCE).await else {
            let gap = (0..).find(|seq| !tokens.contains_key(seq)).unwrap();
            client.say("/nexus/1/resend", vec!["a".into(), gap.into(), (gap + 3).into()]).await;
            continue;
        };
        heard += 1;
        match (message.addr.as_str(), message.args.as_slice()) {
            _ if heard % 3 == 0 => {}
            ("/nexus/1/token", [_, OscType::Int(seq), _, OscType::String(text)]) => {
                tokens.insert(*seq, text.clone());
            }
            ("/nexus/1/done", [_, OscType::Int(all), _]) => total = Some(*all),
            // The repeated questions that came after the first was accepted.
            ("/nexus/1/accepted", _) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(tokens.into_values().collect::<String>(), long);
    case.stored::<IncomingRequest>(EventType::RequestsIncoming, 1).await;
    case.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_said_plainly() {
    let case = Case::start().await;
    let config = Config { listen: Some(case.address), ..Config::default() };
    let taken =
        Osc::open(&case.bus, config, verify(&case.keys), now, CancellationToken::new()).await;
    let error = taken.unwrap_err();
    assert!(matches!(error, Error::Bind { .. }));
    assert!(error.to_string().contains("NEXUS_OSC"));

    let off = Config { listen: None, ..Config::default() };
    let stop = CancellationToken::new();
    let off = Osc::open(&case.bus, off, verify(&case.keys), now, stop.clone()).await.unwrap();
    assert_eq!(off.local_addr(), None);
    stop.cancel();
    off.run().await.unwrap();
    case.stop().await;
}
