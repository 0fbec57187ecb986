//! Bundles, patterns, and messages that are not for us.

use nexus_contracts::{EventType, OscArgument, OscMessage, OscReceived};
use nexus_osc_codec::{Argument, Message, TimeTag, encode_bundle, encode_message};
use rosc::OscType;

use crate::case::{Case, Client, KEY, now};

/// A bundle for so many milliseconds from now; the moment in microseconds.
async fn bundle(client: &Client, ahead_ms: i64, messages: &[Message]) -> i64 {
    let at = now().as_micros() + ahead_ms * 1000;
    client.send(&encode_bundle(TimeTag::from_unix_micros(at), messages).unwrap()).await;
    at
}

fn cancel(session: &str, req: &str) -> Message {
    Message::new("/nexus/1/cancel", vec![session.into(), req.into()])
}

/// The `req` and code of an error.
async fn error(client: &Client) -> Vec<OscType> {
    client.hear("/nexus/1/error").await[..2].to_vec()
}

#[tokio::test]
async fn bundles_take_effect_at_their_time() {
    let case = Case::start().await;
    let client = case.client().await;
    let session = client.hello("sclang", KEY).await;
    // Nothing was asked, so each is answered by an error with its name.
    bundle(&client, 1500, &[cancel(&session, "third"), cancel(&session, "fourth")]).await;
    bundle(&client, 1000, &[cancel(&session, "second")]).await;
    bundle(&client, -5000, &[cancel(&session, "first")]).await;
    for req in ["first", "second", "third", "fourth"] {
        assert_eq!(error(&client).await, [req.into(), "unknown_request".into()]);
    }
    bundle(&client, 11_000, &[cancel(&session, "never")]).await;
    assert_eq!(error(&client).await, ["".into(), "time_tag".into()]);
    client.silent().await;
    case.stop().await;
}

#[tokio::test]
async fn what_one_session_may_have_waiting_is_bounded() {
    let case = Case::start().await;
    let client = case.client().await;
    let session = client.hello("sclang", KEY).await;
    let many: Vec<Message> = (0..100).map(|n: i32| cancel(&session, &n.to_string())).collect();
    for _ in 0..3 {
        bundle(&client, 9_000, &many).await;
    }
    for _ in 0..300 - 256 {
        assert_eq!(error(&client).await, ["".into(), "busy".into()]);
    }
    client.silent().await;
    case.stop().await;
}

#[tokio::test]
async fn a_pattern_reaches_every_method_that_it_names() {
    let case = Case::start().await;
    let client = case.client().await;
    let session = client.hello("pd", KEY).await;
    for pattern in ["/nexus/1/p?ng", "//ping", "/*/1/{ping,pong}", "/nexus//[o-q]ing"] {
        let ping = Message::new(pattern, vec![session.as_str().into()]);
        client.send(&encode_message(&ping).unwrap()).await;
        assert_eq!(client.hear("/nexus/1/pong").await, [session.as_str().into()]);
    }
    let both = Message::new("/nexus/1/{ping,cancel}", vec![session.as_str().into(), "7".into()]);
    client.send(&encode_message(&both).unwrap()).await;
    assert_eq!(error(&client).await, ["7".into(), "unknown_request".into()]);
    client.hear("/nexus/1/pong").await;
    let broken = Message::new("/nexus/1/[p", Vec::new());
    client.send(&encode_message(&broken).unwrap()).await;
    assert_eq!(error(&client).await, ["".into(), "bad_address".into()]);
    case.stop().await;
}

#[tokio::test]
async fn messages_for_others_are_recorded_with_their_timing() {
    let case = Case::start().await;
    let stranger = case.client().await;
    stranger.say("/synth/1/freq", vec![440.into()]).await;
    assert_eq!(stranger.next_within(crate::case::SILENCE).await, None);

    let client = case.client().await;
    client.hello("Pure Data", KEY).await;
    client.say("/synth/1/freq", vec![440.0_f32.into(), OscType::Nil]).await;
    let blob = Message::new("/light", vec![Argument::Blob(vec![1, 2]), true.into()]);
    let at = bundle(&client, 3_000, &[blob, Message::new("/*/off", Vec::new())]).await;

    let recorded = case.stored::<OscReceived>(EventType::OscReceived, 2).await;
    let message = |address: &str, due_us, arguments| OscMessage {
        address: address.to_owned(),
        arguments,
        due_us,
    };
    let [now, later] = recorded.as_slice() else { panic!("{recorded:?}") };
    let freq = message("/synth/1/freq", 0, vec![OscArgument::Float(440.0), OscArgument::Nil]);
    let expected = OscReceived { peer: "Pure Data".to_owned(), messages: vec![freq] };
    assert_eq!(now.payload, expected.into());
    let due = at - later.timestamp.as_micros();
    let light = vec![OscArgument::Blob("AQI=".to_owned()), OscArgument::Bool(true)];
    assert_eq!(
        later.payload.messages,
        [message("/light", due, light), message("/*/off", due, Vec::new())]
    );
    for event in &recorded {
        assert_eq!((event.id, event.metadata.channel.as_str()), (event.correlation_id, "osc"));
        assert_eq!(event.metadata.user.as_deref(), Some("ada"));
        assert_eq!(event.metadata.conversation, now.metadata.conversation);
    }
    case.stop().await;
}
