//! Games: dialogue with characters over the NPC protocol.

use std::time::{Duration, Instant};

use nexus_testkit::process::{Nexus, Options};
use serde_json::{Value, json};

use crate::devices::obedient;
use crate::support::{fresh, key_of, up};
use crate::web_client::{WebClient, of_type, shown};

async fn game(nexus: &Nexus, key: &str) -> WebClient {
    let mut game = WebClient::open(nexus).await;
    game.send(json!({ "type": "hello", "protocol": "npc", "key": key, "client": "test" })).await;
    assert_eq!(game.next().await["type"], "welcome");
    game
}

async fn open(game: &mut WebClient, mut options: Value) -> Value {
    options["type"] = json!("npc.open");
    options["npc"] = json!("smith");
    game.send(options).await;
    game.frames_to("npc.opened").await.pop().unwrap()
}

async fn say(game: &mut WebClient, text: &str) -> Vec<Value> {
    game.send(json!({ "type": "say", "npc": "smith", "text": text })).await;
    game.frames_to("done").await
}

fn door() -> Value {
    let door = json!({ "type": "integer", "minimum": 0, "maximum": 9 });
    let args = json!({ "type": "object", "properties": { "door": door }, "required": ["door"] });
    json!([{ "name": "open_door", "args": args }, { "name": "wave", "wait": false }])
}

#[tokio::test]
async fn a_character_speaks_acts_and_knows_the_state_of_the_game() {
    let (nexus, mock) = obedient().await;
    let mut game = game(nexus, &nexus.key().unwrap()).await;
    open(&mut game, json!({ "persona": "You are Ada.", "actions": door() })).await;
    for rev in 1..=600 {
        game.send(json!({ "type": "state", "npc": "smith", "rev": rev, "set": { "tick": rev } }))
            .await;
    }
    let note = fresh("n");
    let line = format!(r#"open_door {{"door":3,"note":"{note}"}}"#);
    game.send(json!({ "type": "say", "npc": "smith", "text": line, "id": "1" })).await;
    let frames = game.frames_to("action").await;
    let action = frames.last().unwrap();
    assert_eq!((&action["name"], &action["args"]["door"]), (&json!("open_door"), &json!(3)));
    game.send(json!({ "type": "action.result", "npc": "smith", "call": action["call"], "ok": true, "output": "it creaks" }))
        .await;
    let frames = game.frames_to("done").await;
    let done = frames.last().unwrap();
    assert_eq!((&done["status"], &done["text"]), (&json!("answered"), &json!("DONE it creaks")));
    assert_eq!(
        (shown(&frames), &done["total"]),
        ("DONE it creaks".to_owned(), &json!(of_type(&frames, "delta").len()))
    );
    // The newest state, whatever the rate, and the persona went to the model.
    let asked = mock.requests().into_iter().find(|request| request.to_string().contains(&note));
    let system = asked.unwrap()["messages"][0]["content"].as_str().unwrap().to_owned();
    assert!(system.contains("You are Ada.") && system.contains(r#"{"tick":600}"#), "{system}");

    let frames = say(&mut game, "wave {}").await;
    assert_eq!(of_type(&frames, "action").len(), 1);
    assert_eq!(frames.last().unwrap()["text"], "DONE done", "nobody waits for a wave");
}

#[tokio::test]
async fn no_wild_action_reaches_the_game() {
    let (nexus, _) = obedient().await;
    let mut game = game(nexus, &nexus.key().unwrap()).await;
    open(&mut game, json!({ "actions": door() })).await;
    for wild in [
        "close_door {}",
        "open_door {}",
        r#"open_door {"door":10}"#,
        r#"open_door {"door":"3"}"#,
        r#"open_door {"door":4294967296}"#,
        "open_door [3]",
        "open_door not JSON",
        r#"wave {"at":"player"}"#,
    ] {
        let frames = say(&mut game, wild).await;
        assert_eq!(of_type(&frames, "action"), Vec::<&Value>::new(), "{wild}");
        let text = frames.last().unwrap()["text"].as_str().unwrap();
        assert!(text.contains("error ("), "{wild}: {text}");
    }
}

#[tokio::test]
async fn an_interrupt_stops_the_deltas_and_the_next_line_is_answered() {
    let (nexus, _) = obedient().await;
    let mut game = game(nexus, &nexus.key().unwrap()).await;
    open(&mut game, json!({ "persona_ref": "endless" })).await;
    game.send(json!({ "type": "say", "npc": "smith", "text": "Tell me all" })).await;
    game.frames_to("delta").await;
    game.send(json!({ "type": "interrupt", "npc": "smith" })).await;
    game.send(json!({ "type": "say", "npc": "smith", "text": "Stop" })).await;
    let frames = game.frames_to("done").await;
    assert_eq!(frames.last().unwrap()["status"], "cancelled");
    let began = Instant::now();
    let next = game.frames_to("delta").await;
    assert_eq!(next.last().unwrap()["say"], "line-2", "{next:?}");
    assert!(began.elapsed() < Duration::from_secs(8), "it did not wait for the first line's end");
}

#[tokio::test]
async fn a_character_never_freezes() {
    let (nexus, _) = obedient().await;
    let mut game = game(nexus, &nexus.key().unwrap()).await;
    open(&mut game, json!({ "persona_ref": "late", "fallback_after_ms": 100, "fallback_text": "Let me think..." })).await;
    let frames = say(&mut game, "Why?").await;
    let kinds: Vec<&str> = frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["accepted", "filler", "delta", "done"]);
    assert_eq!(frames[1]["text"], "Let me think...");
}

/// The texts that the model was last shown with this one.
fn shown_with(mock: &nexus_bench::mockllm::MockLlm, line: &str) -> Vec<String> {
    let mut requests = mock.requests();
    requests.reverse();
    let request = requests.into_iter().find(|request| request.to_string().contains(line)).unwrap();
    let text = |message: &Value| message["content"].as_str().unwrap().to_owned();
    request["messages"].as_array().unwrap().iter().skip(1).map(text).collect()
}

#[tokio::test]
async fn a_session_goes_on_after_the_connection_and_a_saved_game_in_a_new_one() {
    let (nexus, mock) = obedient().await;
    let key = nexus.key().unwrap();
    let (session, name) = (fresh("s"), fresh("name"));
    let mut first = game(nexus, &key).await;
    let options = json!({ "persona_ref": "plain", "persona": "You are Ada.", "session": session });
    assert_eq!(open(&mut first, options.clone()).await["turns"], 0);
    first
        .send(json!({ "type": "say", "npc": "smith", "text": format!("I am {name}"), "id": "1" }))
        .await;
    let answer = first.frames_to("done").await.pop().unwrap();
    drop(first);

    let mut second = game(nexus, &key).await;
    assert_eq!(open(&mut second, options).await["turns"], 1);
    // The line that may not have been answered is said again: it is the same one.
    second
        .send(json!({ "type": "say", "npc": "smith", "text": format!("I am {name}"), "id": "1" }))
        .await;
    let again = second.frames_to("done").await.pop().unwrap();
    assert_eq!((&again["status"], &again["text"]), (&answer["status"], &answer["text"]));
    second.send(json!({ "type": "state", "npc": "smith", "rev": 1, "set": { "gold": 7 } })).await;
    second.send(json!({ "type": "session.export", "npc": "smith" })).await;
    let exported = second.frames_to("session.exported").await.pop().unwrap();
    let token = exported["token"].as_str().unwrap().to_owned();

    let mut third = game(nexus, &key).await;
    open(&mut third, json!({})).await;
    third.send(json!({ "type": "session.import", "npc": "smith", "token": token })).await;
    assert_eq!(
        third.next().await,
        json!({ "type": "session.imported", "npc": "smith", "turns": 1 })
    );
    let line = fresh("Who am I");
    say(&mut third, &line).await;
    let known = [format!("I am {name}"), format!("DONE I am {name}"), line.clone()];
    assert_eq!(shown_with(mock, &line), known);

    // Another player cannot use it, nor can anybody make one up.
    let (_, theirs) = key_of(nexus, nexus_contracts::LOCAL_TENANT, &fresh("player")).await;
    let mut thief = game(nexus, &theirs).await;
    open(&mut thief, json!({})).await;
    for token in [token.as_str(), "nxs1.x", &format!("nxs1.{}", "0".repeat(64))] {
        thief.send(json!({ "type": "session.import", "npc": "smith", "token": token })).await;
        assert_eq!(thief.next().await["code"], "bad_token");
    }
}

#[tokio::test]
async fn a_saved_game_is_restored_after_a_restart() {
    let nexus = up(Options::default()).await;
    let mut before = game(&nexus, &nexus.key().unwrap()).await;
    open(&mut before, json!({ "persona": "You are Ada." })).await;
    let answer = say(&mut before, "hello").await.pop().unwrap();
    assert_eq!(answer["status"], "answered", "{answer}");
    before.send(json!({ "type": "session.export", "npc": "smith" })).await;
    let exported = before.frames_to("session.exported").await.pop().unwrap();
    nexus.terminate().await.unwrap();
    nexus.restart().await.unwrap();
    let mut after = game(&nexus, &nexus.key().unwrap()).await;
    open(&mut after, json!({})).await;
    after
        .send(json!({ "type": "session.import", "npc": "smith", "token": exported["token"] }))
        .await;
    assert_eq!(after.next().await["turns"], 1);
    assert_eq!(say(&mut after, "hello again").await.pop().unwrap()["status"], "answered");
}
