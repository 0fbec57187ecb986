//! OSC targets: Ableton Live's stand-in, and a program that knows nothing of profiles.

use std::collections::BTreeSet;

use nexus_bus::{Bucket, EVENTS, Filter, Reader, Start};
use nexus_contracts::{
    Effect, Event, EventType, LOCAL_TENANT, OscArgument, OscMessage, OscReceived, OscSent, Pattern,
    Payload, Token, ToolOutcome,
};
use nexus_osc_codec::{Argument, Limits, Message, decode, encode_bundle, encode_message};
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use crate::ableton::Live;
use crate::rig::{Rig, execute, until};
use crate::{OTHER, completed};

const LIVE_TOOLS: [&str; 6] =
    ["live_clip", "live_get", "live_set", "live_transport", "osc_query", "osc_send"];

fn free_udp_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Rig {
    async fn declare(&self, name: &str, target: Value) {
        self.bus.put_setting(Bucket::Config, &format!("osc.{name}"), &target).await.unwrap();
    }

    /// The profile in bus-config, with another time between renewals.
    async fn profile(&self, renew: &str) {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../bus-config/osc-profiles/ableton.toml");
        let text = std::fs::read_to_string(path).unwrap();
        let mut profile: Value = toml::from_str(&text).unwrap();
        profile["subscribe"]["renew"] = json!(renew);
        self.bus.put_setting(Bucket::Config, "osc-profile.ableton", &profile).await.unwrap();
    }

    /// The OSC tools that are advertised.
    async fn offered(&self) -> BTreeSet<String> {
        let mut offered = BTreeSet::new();
        for name in LIVE_TOOLS {
            let key = format!("tool.{name}");
            let spec: Option<Value> = self.bus.setting(Bucket::Tools, &key).await.unwrap();
            offered.extend(spec.map(|_| name.to_owned()));
        }
        offered
    }

    async fn offers(&self, tools: &[&str]) {
        let wanted: BTreeSet<String> = tools.iter().map(|name| (*name).to_owned()).collect();
        until(&format!("tools {tools:?}"), async || self.offered().await == wanted).await;
    }

    async fn call(&self, tool: &str, effect: Effect, arguments: Value) -> ToolOutcome {
        let call = execute(LOCAL_TENANT, tool, effect, &arguments.to_string());
        self.publish(&call).await;
        self.result(&call).await.payload.outcome.clone()
    }

    /// The value that `live_get` or `live_set` tells.
    async fn told(&self, tool: &str, arguments: Value) -> Value {
        let effect = if tool == "live_get" { Effect::Read } else { Effect::Write };
        match self.call(tool, effect, arguments).await {
            ToolOutcome::Completed { output, .. } => serde_json::from_str(&output).unwrap(),
            other => panic!("{tool}: {other:?}"),
        }
    }

    /// The events of one type in a target's conversation.
    async fn kept<P: Payload>(&self, target: &str) -> Vec<Event<P>> {
        let token = |text| Some(Token::encode(text).unwrap());
        let filter = Filter::Patterns(vec![Pattern {
            tenant: Some(LOCAL_TENANT),
            channel: token("osc"),
            conversation: token(target),
            ..Pattern::kind(P::TYPE)
        }]);
        let mut reader = Reader::open(&self.bus, EVENTS, filter, Start::First).await.unwrap();
        let all = reader.read_to_end().await.unwrap();
        all.iter().map(|message| Event::<P>::decode(&message.bytes).unwrap()).collect()
    }

    async fn live(&self, record: &[&str]) -> Live {
        let reply_port = free_udp_port();
        let live = Live::start(reply_port).await;
        let target = json!({
            "address": live.address.to_string(), "profile": "ableton", "reply_port": reply_port,
            "record": record, "timeout": "1s",
        });
        self.declare("live", target).await;
        self.offers(&LIVE_TOOLS).await;
        live
    }
}

fn failed(outcome: &ToolOutcome) -> (&str, &str) {
    match outcome {
        ToolOutcome::Failed { code, message } => (code, message),
        other => panic!("{other:?}"),
    }
}

fn message(address: &str, arguments: Vec<OscArgument>) -> OscMessage {
    OscMessage { address: address.to_owned(), arguments, due_us: 0 }
}

#[tokio::test]
async fn osc_tools_exist_as_long_as_a_target_does() {
    let rig = Rig::start().await;
    rig.offers(&[]).await;
    let live = rig.live(&[]).await;
    rig.declare("synth", json!({ "address": "127.0.0.1:9" })).await;
    rig.bus.remove_setting(Bucket::Config, "osc.live").await.unwrap();
    rig.offers(&["osc_query", "osc_send"]).await;
    rig.declare("synth", json!({ "address": "127.0.0.1:9", "enabled": false })).await;
    rig.offers(&[]).await;
    let outcome = rig.call("osc_send", Effect::Write, json!({})).await;
    assert_eq!(failed(&outcome).0, "unknown_tool");
    live.stop().await;
    rig.stop().await;
}

#[tokio::test]
async fn live_is_read_changed_and_played() {
    let rig = Rig::start().await;
    let live = rig.live(&[]).await;
    for (mut arguments, value) in [
        (json!({"property": "song.tempo"}), json!(120.0)),
        (json!({"property": "song.track_names"}), json!(["Drums", "Bass"])),
        (json!({"property": "track.volume", "track": 1}), json!(0.85)),
        (json!({"property": "track.mute", "track": 1}), json!(false)),
        (
            json!({"property": "device.parameter_names", "track": 0, "device": 0}),
            json!(["Device On", "Cutoff"]),
        ),
    ] {
        let told = rig.told("live_get", arguments.clone()).await;
        arguments["value"] = value;
        assert_eq!(told, arguments);
    }
    for change in [
        json!({"property": "song.tempo", "value": 96.5}),
        json!({"property": "track.volume", "track": 1, "value": 0.5}),
        json!({"property": "track.pan", "track": 0, "value": -1.0}),
        json!({"property": "track.mute", "track": 0, "value": true}),
        json!({"property": "track.name", "track": 0, "value": "Größe"}),
        json!({"property": "track.send", "track": 0, "send": 0, "value": 0.25}),
        json!({"property": "clip.name", "track": 1, "clip": 0, "value": "Hook"}),
        json!({"property": "device.parameter", "track": 0, "device": 0, "parameter": 1, "value": 100.0}),
    ] {
        assert_eq!(rig.told("live_set", change.clone()).await, change);
    }
    for (tool, action) in [
        ("live_transport", json!({"action": "tempo", "value": 88})),
        ("live_transport", json!({"action": "play"})),
        ("live_transport", json!({"action": "stop"})),
        ("live_transport", json!({"action": "continue"})),
        ("live_clip", json!({"action": "fire", "track": 1, "clip": 3})),
        ("live_clip", json!({"action": "stop_track", "track": 1})),
    ] {
        assert_eq!(rig.told(tool, action.clone()).await["sent"], json!(true), "{action}");
    }
    // What was done last may still be on its way; a question after it is answered after it.
    let tempo = rig.told("live_get", json!({"property": "song.tempo"})).await;
    assert_eq!(tempo["value"], json!(88.0));
    let called: Vec<(String, Vec<i32>)> = live.called();
    let called: Vec<(&str, &[i32])> =
        called.iter().map(|(name, ids)| (name.as_str(), &ids[..])).collect();
    assert_eq!(
        called,
        [
            ("/live/song/start_playing", &[][..]),
            ("/live/song/stop_playing", &[]),
            ("/live/song/continue_playing", &[]),
            ("/live/clip/fire", &[1, 3]),
            ("/live/track/stop_all_clips", &[1]),
        ]
    );
    assert_eq!(live.strays(), Vec::<String>::new());
    live.stop().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_question_with_wildcards_gives_all_answers() {
    let rig = Rig::start().await;
    let live = rig.live(&[]).await;
    let all = rig
        .call(
            "osc_query",
            Effect::Read,
            json!({"address": "/live/clip/get/*", "arguments": [0, 0]}),
        )
        .await;
    let expected = json!([
        {"address": "/live/clip/get/length", "arguments": [0, 0, 4.0]},
        {"address": "/live/clip/get/name", "arguments": [0, 0, "Intro"]},
    ]);
    assert_eq!(all, completed(&expected.to_string()));
    assert_eq!(live.strays(), Vec::<String>::new());
    live.stop().await;
    rig.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_anything_is_sent() {
    let rig = Rig::start().await;
    let live = rig.live(&[]).await;
    for (tool, arguments, says) in [
        (
            "live_set",
            json!({"property": "track.volume", "value": 0.5}),
            "track is missing; track.volume (track, value: a number from 0 to 1)",
        ),
        (
            "live_set",
            json!({"property": "track.volume", "track": 0, "value": 1.5}),
            "1.5 does not fit",
        ),
        (
            "live_set",
            json!({"property": "track.volume", "track": 0, "value": "loud"}),
            "\"loud\" does not fit",
        ),
        ("live_set", json!({"property": "track.volume", "track": 0}), "value is missing"),
        ("live_set", json!({"property": "song.num_tracks", "value": 1}), "song.num_tracks"),
        ("live_transport", json!({"action": "play", "value": 1}), "it takes no value"),
        ("live_transport", json!({"action": "explode"}), "explode"),
        (
            "osc_send",
            json!({"messages": [{"address": "/live/song/delete_track", "arguments": [0]}]}),
            "may not be sent to live",
        ),
        (
            "osc_send",
            json!({"messages": [{"address": "/live/*/delete_track", "arguments": [0]}]}),
            "may not be sent to live",
        ),
        (
            "osc_send",
            json!({"target": "logic", "messages": [{"address": "/a"}]}),
            "there is no target \"logic\"; there are live",
        ),
        (
            "osc_send",
            json!({"messages": [{"address": "/live/test", "arguments": [5_000_000_000_i64]}]}),
            "32 bits",
        ),
    ] {
        let outcome = rig.call(tool, Effect::Write, arguments.clone()).await;
        let (_, text) = failed(&outcome);
        assert!(text.contains(says), "{tool} {arguments}: {text}");
    }
    assert_eq!(rig.kept::<OscSent>("live").await, []);

    let refused =
        rig.call("live_get", Effect::Read, json!({"property": "track.mute", "track": 9})).await;
    assert_eq!(failed(&refused), ("refused", "live says: Index out of range"));
    let foreign = execute(OTHER, "live_get", Effect::Read, r#"{"property":"song.tempo"}"#);
    rig.publish(&foreign).await;
    assert_eq!(failed(&rig.result(&foreign).await.payload.outcome).0, "no_target");
    live.stop().await;
    rig.stop().await;
}

#[tokio::test]
async fn silence_is_explained_and_changes_nothing() {
    let rig = Rig::start().await;
    let target = json!({
        "address": format!("127.0.0.1:{}", free_udp_port()), "profile": "ableton",
        "reply_port": free_udp_port(), "timeout": "200ms",
    });
    rig.declare("live", target).await;
    rig.offers(&LIVE_TOOLS).await;
    for (tool, effect, arguments) in [
        ("live_get", Effect::Read, json!({"property": "song.tempo"})),
        ("live_set", Effect::Write, json!({"property": "song.tempo", "value": 100})),
        ("live_transport", Effect::Write, json!({"action": "play"})),
    ] {
        let outcome = rig.call(tool, effect, arguments).await;
        let (code, text) = failed(&outcome);
        assert_eq!(code, "no_answer", "{tool}");
        assert!(text.contains("is Live running with AbletonOSC?"), "{text}");
    }
    let sent = rig.kept::<OscSent>("live").await;
    let sent: Vec<&str> =
        sent.iter().map(|event| event.payload.messages[0].address.as_str()).collect();
    assert_eq!(sent, ["/live/song/get/tempo"]);
    rig.stop().await;
}

#[tokio::test]
async fn recorded_values_are_subscribed_again_after_a_restart_and_kept_when_they_change() {
    let rig = Rig::start().await;
    rig.profile("100ms").await;
    let live = rig.live(&["/live/song/get/tempo", "/live/track/get/volume 1"]).await;
    until("a renewal", async || live.subscriptions() >= 6).await;
    live.moved(&[1], "track", "volume", 0.25.into()).await;
    live.moved(&[0], "track", "volume", 0.75.into()).await;

    let said = async |rig: &Rig| -> Vec<OscMessage> {
        let events = rig.kept::<OscReceived>("live").await;
        events.iter().flat_map(|event| event.payload.messages.clone()).collect()
    };
    let tempo = message("/live/song/get/tempo", vec![OscArgument::Float(120.0)]);
    let volume = |value| {
        message("/live/track/get/volume", vec![OscArgument::Int(1), OscArgument::Float(value)])
    };
    let expected = vec![tempo.clone(), volume(0.85), volume(0.25)];
    until("the fader's move", async || said(&rig).await.len() >= 3).await;
    assert_eq!(said(&rig).await, expected);

    let (address, reply) = (live.address, rig.reply_port().await);
    live.stop().await;
    let live = Live::start_on(address, reply).await;
    until("subscriptions at the new one", async || live.subscriptions() >= 2).await;
    until("its value", async || said(&rig).await.len() >= 4).await;
    assert_eq!(said(&rig).await, [&expected[..], &[volume(0.85)]].concat());
    live.stop().await;
    rig.stop().await;
}

impl Rig {
    async fn reply_port(&self) -> u16 {
        let target: Value = self.bus.setting(Bucket::Config, "osc.live").await.unwrap().unwrap();
        u16::try_from(target["reply_port"].as_u64().unwrap()).unwrap()
    }
}

/// A program that hears OSC, with what it is sent.
async fn program(rig: &Rig, more: Value) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut target = json!({ "address": socket.local_addr().unwrap().to_string() });
    for (key, value) in more.as_object().unwrap() {
        target[key] = value.clone();
    }
    rig.declare("synth", target).await;
    rig.offers(&["osc_query", "osc_send"]).await;
    socket
}

async fn heard(socket: &UdpSocket) -> (Vec<nexus_osc_codec::Timed>, std::net::SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let limit = std::time::Duration::from_secs(30);
    let (size, from) =
        tokio::time::timeout(limit, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
    (decode(&buffer[..size], &Limits::default()).unwrap(), from)
}

#[tokio::test]
async fn a_redelivered_send_goes_out_once_and_is_recorded_once() {
    let rig = Rig::start().await;
    let socket = program(&rig, json!({ "allow": ["/synth/*"] })).await;
    let arguments = json!({"messages": [
        {"address": "/synth/cutoff", "arguments": [1, 0.5, "x", true, null, {"type": "double", "value": 2}]},
        {"address": "/synth/go"},
    ]});
    let call = execute(LOCAL_TENANT, "osc_send", Effect::Write, &arguments.to_string());
    rig.publish(&call).await;
    rig.result(&call).await;
    rig.redeliver(&call).await;
    rig.drained().await;

    let (packet, _) = heard(&socket).await;
    let messages: Vec<Message> = packet.into_iter().map(|timed| timed.message).collect();
    let written =
        vec![1.into(), 0.5.into(), "x".into(), true.into(), Argument::Nil, Argument::Double(2.0)];
    assert_eq!(
        messages,
        [Message::new("/synth/cutoff", written), Message::new("/synth/go", vec![])]
    );
    assert!(socket.try_recv(&mut [0; 10]).is_err());

    let [sent] = &rig.kept::<OscSent>("synth").await[..] else { panic!("not one event") };
    assert_eq!(
        (sent.correlation_id, sent.metadata.causation_id),
        (call.correlation_id, Some(call.id))
    );
    let addresses: Vec<&str> =
        sent.payload.messages.iter().map(|message| message.address.as_str()).collect();
    assert_eq!(
        (sent.payload.peer.as_str(), &addresses[..]),
        ("synth", &["/synth/cutoff", "/synth/go"][..])
    );

    let later = json!({"messages": [{"address": "/synth/go"}], "in_ms": 500});
    assert!(!rig.call("osc_send", Effect::Write, later).await.is_error());
    assert!(!heard(&socket).await.0[0].due.is_immediate());
    assert_eq!(rig.kept::<OscSent>("synth").await[1].payload.messages[0].due_us, 500_000);
    rig.stop().await;
}

#[tokio::test]
async fn a_program_is_asked_and_answers_the_port_that_asked() {
    let rig = Rig::start().await;
    let socket = program(&rig, json!({ "allow": ["/ask"] })).await;
    let call = execute(
        LOCAL_TENANT,
        "osc_query",
        Effect::Read,
        r#"{"address":"/ask","arguments":["what"],"reply_address":"/answer"}"#,
    );
    rig.publish(&call).await;
    let (question, from) = heard(&socket).await;
    assert_eq!(question[0].message, Message::new("/ask", vec!["what".into()]));
    let stray = encode_message(&Message::new("/other", vec![1.into()])).unwrap();
    let answer = encode_message(&Message::new("/answer", vec![42.into(), "yes".into()])).unwrap();
    for packet in [&b"no osc"[..], &stray, &answer] {
        socket.send_to(packet, from).await.unwrap();
    }
    let expected = json!([{"address": "/answer", "arguments": [42, "yes"]}]).to_string();
    assert_eq!(rig.result(&call).await.payload.outcome, completed(&expected));
    rig.stop().await;
}

#[tokio::test]
async fn a_flood_is_recorded_up_to_the_targets_limit_with_bundles_and_times() {
    let rig = Rig::start().await;
    let reply = free_udp_port();
    let more = json!({ "record": ["/knob/*"], "reply_port": reply, "max_recorded_per_s": 5 });
    let socket = program(&rig, more).await;
    let place = ("127.0.0.1", reply);
    let knobs = [Message::new("/knob/1", vec![1.into()]), Message::new("/knob/2", vec![2.into()])];
    let due = jiff::Timestamp::now().as_microsecond() + 250_000;
    let tag = nexus_osc_codec::TimeTag::from_unix_micros(due);
    socket.send_to(&encode_bundle(tag, &knobs).unwrap(), place).await.unwrap();
    until("the bundle", async || rig.kept::<OscReceived>("synth").await.len() == 1).await;
    let [first] = &rig.kept::<OscReceived>("synth").await[..] else { panic!("not one event") };
    let kept: Vec<(&str, i64)> = first
        .payload
        .messages
        .iter()
        .map(|message| (message.address.as_str(), first.timestamp.as_micros() + message.due_us))
        .collect();
    assert_eq!(kept, [("/knob/1", due), ("/knob/2", due)]);

    let began = std::time::Instant::now();
    let knob = encode_message(&knobs[0]).unwrap();
    for _ in 0..2_000 {
        socket.send_to(&knob, place).await.unwrap();
    }
    let last = Message::new("/knob/last", vec![]);
    until("the end", async || {
        socket.send_to(&encode_message(&last).unwrap(), place).await.unwrap();
        let events = rig.kept::<OscReceived>("synth").await;
        events.iter().any(|event| event.payload.messages[0].address == "/knob/last")
    })
    .await;
    let most = 5 + 5 * usize::try_from(began.elapsed().as_secs() + 2).unwrap();
    let kept = rig.kept::<OscReceived>("synth").await.len();
    assert!((2..=most).contains(&kept), "{kept} of at most {most}");
    rig.stop().await;
}

#[tokio::test]
async fn a_target_on_the_internet_is_refused_unless_it_is_meant() {
    let rig = Rig::start().await;
    rig.declare("far", json!({ "address": "192.0.2.1:9000" })).await;
    rig.declare("near", json!({ "address": "127.0.0.1:9", "allow": ["/a"] })).await;
    rig.offers(&["osc_query", "osc_send"]).await;
    let message = json!([{ "address": "/a" }]);
    let far =
        rig.call("osc_send", Effect::Write, json!({"target": "far", "messages": message})).await;
    assert_eq!(failed(&far), ("unknown_target", "there is no target \"far\"; there are near"));
    assert_eq!(EventType::OscSent.emitter(), "tools");
    rig.stop().await;
}
