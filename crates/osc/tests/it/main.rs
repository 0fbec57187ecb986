//! A real NATS server, real UDP: needs `scripts/install-servers`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "the lints' own exception leaves out helpers of tests"
)]

mod case;
mod oscquery;
mod packets;
mod reliability;
mod strangers;
mod tcp;

use nexus_contracts::{EventType, IncomingRequest, LOCAL_TENANT, Outcome, RunCancel};
use nexus_osc::{Config, Error, Osc};
use rosc::OscType;
use tokio_util::sync::CancellationToken;

use case::{Case, KEY, LIMIT, now, verify};

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
