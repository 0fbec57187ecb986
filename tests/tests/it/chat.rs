//! The native WebSocket.

use std::collections::BTreeSet;

use nexus_contracts::{EventType, LOCAL_TENANT, Pattern, Token};
use serde_json::{Value, json};

use crate::bad_input::with_providers;
use crate::support::{OTHER_TENANT, bus, fresh, key_of, read, shared, stored_on_the_web};
use crate::web_client::{WebClient, events, of_type, shown};

const TOKYO: &str = "what time is it in Tokyo?";

/// A run with one tool call, as design.md section 3 draws it.
const RUN: [&str; 10] = [
    "requests.incoming",
    "runs.started",
    "memory.recall",
    "memory.recalled",
    "inference.request",
    "inference.response",
    "tools.execute",
    "tools.results",
    "inference.request",
    "inference.response",
];

#[tokio::test]
async fn an_answer_comes_through_a_tool_call_and_every_step_is_seen() {
    let mut client = WebClient::hello(shared().await).await;
    let conversation = fresh("chat");
    let frames = client.answer(&conversation, TOKYO).await;

    assert_eq!(frames[0]["type"], "accepted", "{}", frames[0]);
    let run = &frames[0]["run"];
    let mut wanted = RUN.to_vec();
    wanted.push("requests.processed");
    assert_eq!(events(&frames), wanted);
    let tool =
        of_type(&frames, "event").into_iter().find(|frame| frame["event"] == "tools.execute");
    assert_eq!(tool.unwrap()["summary"]["tool"], "clock");
    let result =
        of_type(&frames, "event").into_iter().find(|frame| frame["event"] == "tools.results");
    assert_eq!(result.unwrap()["summary"]["status"], "completed");

    let done = frames.last().unwrap();
    assert_eq!((&done["run"], &done["outcome"]), (run, &json!("answered")));
    let answer = done["text"].as_str().unwrap();
    assert!(answer.contains("Tokyo"), "{answer}");
    assert!(shown(&frames).ends_with(answer), "streamed {:?}, done {answer:?}", shown(&frames));
    assert_eq!(done["usage"]["model_calls"], 2);
}

#[tokio::test]
async fn accepted_is_said_only_after_the_request_is_stored() {
    let nexus = shared().await;
    let (mut client, conversation) = (WebClient::hello(nexus).await, fresh("accepted"));
    client.ask("1", &conversation, "hello").await;
    let accepted = client.next().await;
    let request = stored_on_the_web(&bus(nexus).await, &conversation).await.remove(0);
    assert_eq!(accepted["type"], "accepted");
    assert_eq!(accepted["cursor"], format!("{}:", request.sequence));
}

#[tokio::test]
async fn the_same_id_twice_is_one_run() {
    let nexus = shared().await;
    let (mut client, conversation) = (WebClient::hello(nexus).await, fresh("twice"));
    client.ask("m1", &conversation, "calculate 2*(3+4)").await;
    let first = client.frames_to("done").await;
    client.ask("m1", &conversation, "calculate 2*(3+4)").await;
    let again = client.next().await;
    assert_eq!((&again["type"], &again["run"]), (&json!("accepted"), &first[0]["run"]));
    // A third, from another connection, while a new question is answered: nothing comes twice.
    let mut other = WebClient::hello(nexus).await;
    other.ask("m1", &conversation, "calculate 2*(3+4)").await;
    assert_eq!(other.next().await["run"], first[0]["run"]);
    client.answer(&conversation, "hello").await;

    let stored = stored_on_the_web(&bus(nexus).await, &conversation).await;
    let count = |wanted: &str| {
        stored.iter().filter(|message| crate::support::kind(message) == wanted).count()
    };
    assert_eq!((count("requests.incoming"), count("requests.processed")), (2, 2));
}

#[tokio::test]
async fn the_same_id_with_another_text_is_refused() {
    let mut client = WebClient::hello(shared().await).await;
    let conversation = fresh("reused");
    client.ask("m1", &conversation, "hello").await;
    client.frames_to("done").await;
    client.ask("m1", &conversation, "something else").await;
    let refused = client.next().await;
    assert_eq!(
        (&refused["type"], &refused["code"]),
        (&json!("error"), &json!("id_reused")),
        "{refused}"
    );
    assert_eq!(refused["id"], "m1");
}

/// What does not depend on how the live pieces were cut.
fn lasting(frames: &[Value]) -> Vec<Value> {
    let lasting = |frame: &&Value| frame["type"] == "event" || frame["type"] == "done";
    frames.iter().filter(lasting).cloned().collect()
}

#[tokio::test]
async fn a_client_that_resumes_from_any_frame_gets_the_rest_without_gap_or_repeat() {
    let nexus = shared().await;
    let (mut client, conversation) = (WebClient::hello(nexus).await, fresh("resume"));
    let question = "what time is it in Tokyo and calculate 6*7";
    let whole: Vec<Value> = client.answer(&conversation, question).await.split_off(1);
    let (text, events) = (shown(&whole), lasting(&whole));
    for cut in 0..whole.len() {
        let cursor = if cut == 0 { "" } else { whole[cut - 1]["cursor"].as_str().unwrap() };
        let mut client = WebClient::hello(nexus).await;
        client.follow(&conversation, cursor).await;
        let mut joined = whole[..cut].to_vec();
        joined.extend(client.frames_to("caught_up").await);
        assert_eq!(shown(&joined), text, "cut before frame {cut}, cursor {cursor:?}");
        let missing: Vec<&Value> =
            events.iter().filter(|frame| !lasting(&joined).contains(frame)).collect();
        assert_eq!(missing, Vec::<&Value>::new(), "cut before frame {cut}, cursor {cursor:?}");
        assert_eq!(
            lasting(&joined).len(),
            events.len(),
            "cut before frame {cut}, cursor {cursor:?}: repeats"
        );
    }
}

#[tokio::test]
async fn a_client_that_loses_its_connection_during_a_run_gets_the_rest_without_gap_or_repeat() {
    let nexus = shared().await;
    for cut in 1..12 {
        let (mut client, conversation) = (WebClient::hello(nexus).await, fresh("cut"));
        client.ask("1", &conversation, TOKYO).await;
        let mut frames = Vec::new();
        while frames.len() < cut {
            frames.push(client.next().await);
        }
        drop(client);
        let cursor = frames.last().unwrap()["cursor"].as_str().unwrap().to_owned();
        if frames.last().unwrap()["type"] != "done" {
            let mut client = WebClient::hello(nexus).await;
            client.follow(&conversation, &cursor).await;
            frames.extend(client.frames_to("done").await);
        }
        let mut wanted = RUN.to_vec();
        wanted.push("requests.processed");
        // The acceptance says that the question is stored, and the cursor is behind it.
        let first = if events(&frames).first() == Some(&RUN[0]) { 0 } else { 1 };
        assert_eq!(events(&frames), wanted[first..], "cut after {cut}");
        let sequences: Vec<u64> = of_type(&frames, "event")
            .iter()
            .filter_map(|frame| frame["sequence"].as_u64())
            .collect();
        let distinct: BTreeSet<u64> = sequences.iter().copied().collect();
        assert_eq!(sequences, Vec::from_iter(distinct), "cut after {cut}: in order, each once");
        let answer = frames.last().unwrap()["text"].as_str().unwrap();
        assert!(shown(&frames).ends_with(answer), "cut after {cut}: {:?}", shown(&frames));
        assert_eq!(
            shown(&frames).matches("Tokyo").count(),
            answer.matches("Tokyo").count(),
            "cut after {cut}"
        );
    }
}

#[tokio::test]
async fn a_wrong_key_is_closed_with_4401() {
    let nexus = shared().await;
    for key in ["", "nx_wrong", "nx_00000000000000000000000000000000000000000"] {
        let mut client = WebClient::open(nexus).await;
        client.send(json!({ "type": "hello", "key": key })).await;
        assert_eq!(client.next_or_close().await, Err(Some(4401)), "key {key:?}");
    }
    let mut client = WebClient::open(nexus).await;
    client.send(json!({ "type": "hello" })).await;
    assert_eq!(client.next_or_close().await, Err(Some(4401)), "no key");
}

#[tokio::test]
async fn a_client_that_says_no_hello_is_closed_with_4408() {
    let nexus = shared().await;
    let mut hasty = WebClient::open(nexus).await;
    hasty.ask("1", "c", "hello").await;
    assert_eq!(hasty.next_or_close().await, Err(Some(4408)));
    let mut silent = WebClient::open(nexus).await;
    assert_eq!(silent.next_or_close().await, Err(Some(4408)));
}

#[tokio::test]
async fn a_bad_frame_is_an_error_and_the_connection_stays() {
    let mut client = WebClient::hello(shared().await).await;
    for (frame, code) in [
        (r#"{"type":"dance"}"#, "unknown_frame"),
        (r#"{"type":"ask"}"#, "bad_frame"),
        ("not JSON", "bad_frame"),
        ("[]", "bad_frame"),
        ("null", "bad_frame"),
        (r#"{"type":"ask","id":"1","conversation":"c","text":"  "}"#, "bad_frame"),
        (r#"{"type":"follow","conversation":"c","cursor":"nonsense"}"#, "bad_frame"),
    ] {
        client.send_text(frame).await;
        let error = client.next().await;
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("error"), &json!(code)),
            "{frame}: {error}"
        );
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    client.send_binary(b"\xff\xfe").await;
    assert_eq!(client.next().await["code"], "bad_frame");
    let frames = client.answer(&fresh("after-errors"), "hello").await;
    assert_eq!(frames.last().unwrap()["outcome"], "answered");
}

#[tokio::test]
async fn conversations_with_any_name_work() {
    let mut client = WebClient::hello(shared().await).await;
    for name in ["Gespräch über Käse 🧀", "a.b*c>d", "_x", " ", "-", "東京"] {
        let conversation = format!("{name}{}", fresh(""));
        let frames = client.answer(&conversation, "hello").await;
        assert_eq!(frames.last().unwrap()["conversation"], conversation);
    }
    client.ask("1", &"x".repeat(200), "hello").await;
    assert_eq!(client.next().await["code"], "unknown_conversation");
}

#[tokio::test]
async fn a_cancelled_run_ends_as_cancelled_and_the_conversation_goes_on() {
    let nexus = shared().await;
    let (mut client, conversation) = (WebClient::hello(nexus).await, fresh("cancel"));
    // The cancel is sent with the question, so it comes before the answer is complete or at once after it.
    client.ask("1", &conversation, TOKYO).await;
    let accepted = client.next().await;
    client
        .send(json!({ "type": "cancel", "conversation": conversation, "run": accepted["run"] }))
        .await;
    let frames = client.frames_to("done").await;
    let done = frames.last().unwrap();
    let outcome = done["outcome"].as_str().unwrap();
    assert!(["cancelled", "answered"].contains(&outcome), "{done}");
    let next = client.answer(&conversation, "hello").await;
    assert_eq!(next.last().unwrap()["outcome"], "answered");
    let stored = stored_on_the_web(&bus(nexus).await, &conversation).await;
    let replies =
        stored.iter().filter(|message| crate::support::kind(message) == "requests.processed");
    assert_eq!(replies.count(), 2, "one final word on each request");
}

#[tokio::test]
async fn a_tenant_does_not_see_the_conversations_of_another() {
    let nexus = shared().await;
    let (_, key) = key_of(nexus, OTHER_TENANT, "mallory").await;
    let conversation = fresh("secret");
    let mut ours = WebClient::hello(nexus).await;
    let mut theirs = WebClient::hello_with(nexus, &key).await;
    theirs.follow(&conversation, "").await;
    assert_eq!(theirs.next().await["type"], "caught_up");
    ours.answer(&conversation, "echo the password is plum").await;

    // Neither while it happens, nor from the log, nor through memory.
    theirs.follow(&conversation, "").await;
    assert_eq!(theirs.next().await["type"], "caught_up");
    let frames = theirs.answer(&conversation, "what did I say?").await;
    assert!(frames.iter().all(|frame| !frame.to_string().contains("plum")), "{frames:#?}");
    let run = frames[0]["run"].as_str().unwrap();

    // Each has a request of its own under the same name.
    let all = read(&bus(nexus).await, Pattern::kind(EventType::RequestsIncoming)).await;
    let names = ["local", "mallory"]
        .map(|user| Token::encode(&format!("{user}/{conversation}")).unwrap().to_string());
    let is_meant = |message: &&nexus_bus::Message| {
        names.iter().any(|name| message.subject.ends_with(name.as_str()))
    };
    let places = all.iter().filter(is_meant);
    let tenants: Vec<Value> =
        places.map(|message| crate::support::json(message)["metadata"]["tenant"].clone()).collect();
    assert_eq!(tenants, [json!(LOCAL_TENANT), json!(OTHER_TENANT)]);

    // Nor can one end the other's run.
    ours.send(json!({ "type": "cancel", "conversation": conversation, "run": run })).await;
    let frames = theirs.answer(&conversation, "hello").await;
    assert_eq!(frames.last().unwrap()["outcome"], "answered");
}

#[tokio::test]
async fn messages_sent_without_waiting_are_answered_in_order() {
    let (mut client, conversation) = (WebClient::hello(shared().await).await, fresh("burst"));
    for number in 0..10 {
        client.ask(&number.to_string(), &conversation, &format!("calculate {number} + 100")).await;
    }
    let (mut accepted, mut done) = (Vec::new(), Vec::new());
    while done.len() < 10 {
        let frame = client.next().await;
        match frame["type"].as_str().unwrap() {
            "accepted" => accepted.push(frame["run"].clone()),
            "done" => {
                let text = frame["text"].as_str().unwrap();
                assert!(text.contains(&(100 + done.len()).to_string()), "{text}");
                done.push(frame["run"].clone());
            }
            _ => {}
        }
    }
    assert_eq!(accepted, done);
}

/// Asks an agent of the installation with scripted models.
async fn ask_agent(client: &mut WebClient, agent: &str, conversation: &str) {
    client.send(json!({ "type": "ask", "id": "1", "conversation": conversation, "text": "hello", "agent": agent })).await;
}

#[tokio::test]
async fn an_answer_streams_in_pieces_and_a_cut_within_it_loses_and_repeats_nothing() {
    let (nexus, _) = with_providers().await;
    for cut in 1..8 {
        let (mut client, conversation) = (WebClient::hello(nexus).await, fresh("pieces"));
        ask_agent(&mut client, "slow", &conversation).await;
        let mut frames = Vec::new();
        while of_type(&frames, "delta").len() < cut {
            frames.push(client.next().await);
        }
        drop(client);
        let cursor = frames.last().unwrap()["cursor"].as_str().unwrap().to_owned();
        let mut client = WebClient::hello(nexus).await;
        client.follow(&conversation, &cursor).await;
        frames.extend(client.frames_to("done").await);
        let answer = frames.last().unwrap()["text"].as_str().unwrap();
        assert!(answer.ends_with(" w19"), "{answer}");
        assert_eq!(shown(&frames), answer, "cut after piece {cut}, cursor {cursor:?}");
    }
}

#[tokio::test]
async fn a_run_that_waits_for_a_model_is_cancelled_at_once() {
    let (nexus, _) = with_providers().await;
    let (mut client, conversation) = (WebClient::hello(nexus).await, fresh("waiting"));
    ask_agent(&mut client, "waiting", &conversation).await;
    let run = loop {
        let frame = client.next().await;
        if frame["event"] == "inference.request" {
            break frame["run"].clone();
        }
    };
    client.send(json!({ "type": "cancel", "conversation": conversation, "run": run })).await;
    let frames = client.frames_to("done").await;
    assert_eq!(frames.last().unwrap()["outcome"], "cancelled", "{frames:?}");
}
