//! What goes wrong, in numbers. `TELEGRAM_SENDS`, `TELEGRAM_UPDATES` and `TELEGRAM_MUTATIONS` make
//! the proofs as large as wanted.

use std::time::Duration;

use nexus_contracts::AdapterUnread;
use nexus_telegram::{Config, Limits};
use nexus_testkit::bot_api::Fault;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::world::size;
use crate::{SOON, World, distinct};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_and_faults_neither_lose_nor_repeat_an_update() {
    let mut world = World::new().await;
    // So short that only the cursor and the ids keep repeats away.
    let updates = size("TELEGRAM_UPDATES", 300);
    world.api.repeat_share(5);
    world.start().await;
    let faults = [Fault::Status(409), Fault::Status(502), Fault::Timeout, Fault::Cut];
    let mut said = Vec::new();
    for index in 0..updates {
        let text = format!("text {index}");
        world.api.user_says(i64::try_from(index % 9).unwrap() + 1, 2, &text);
        said.push(text);
        if index % 40 == 7 {
            world.api.fail_next("getUpdates", faults[index / 40 % faults.len()]);
        }
        if index % 150 == 149 {
            // Somewhere between a poll and its cursor.
            tokio::time::sleep(Duration::from_millis(30)).await;
            world.crash();
            world.start().await;
        }
    }
    let events = world.requests_when_all_are_confirmed(updates).await;
    assert_eq!(events.len(), updates);
    let heard = distinct(events.iter().map(|event| event.payload.text.clone()));
    assert_eq!(heard, distinct(said));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn final_texts_arrive_exactly_once_though_sends_are_never_answered() {
    let mut world = World::new().await;
    let sends = size("TELEGRAM_SENDS", 30);
    let send_timeout = Duration::from_millis(300);
    // All of them done, and none confirmed.
    let faults = [Fault::Timeout, Fault::Cut, Fault::Reset, Fault::Timeout];
    let chats = 10;
    for chat in 1..=chats {
        world.api.add_chat(chat);
    }
    world.start_with(Config { send_timeout, ..world.config() }).await;
    let mut expected = Vec::new();
    for index in 0..sends {
        // One fault for each answer: every second one meets a send, the others the final edit.
        let method = ["sendMessage", "editMessageText"][index % 2];
        let chat = i64::try_from(index).unwrap() % chats + 1;
        world.api.fail_in_chat(chat, method, 1, faults[index % faults.len()]);
        world.answer(&chat.to_string(), &format!("final text {index}")).await;
        expected.push(format!("final text {index}"));
        if chat == chats {
            // Or the next round's faults would meet this round's answers.
            let is_shown = || {
                let last = expected.iter().rev().take(10);
                let texts: Vec<String> = (1..=chats).flat_map(|chat| world.texts(chat)).collect();
                last.clone().all(|text| texts.contains(text)).then_some(())
            };
            let waited = world.api.wait_until(SOON, is_shown).await;
            assert!(waited.is_some(), "{:?}", expected.last());
        }
    }
    let all = || (1..=chats).flat_map(|chat| world.texts(chat)).filter(|text| text != "…");
    let arrived = world.api.wait_until(SOON, || (all().count() >= sends).then_some(())).await;
    let mut texts: Vec<String> = all().collect();
    texts.sort();
    expected.sort();
    assert_eq!(texts, expected, "{arrived:?}");
    assert_eq!(world.api.orders_left(), 0, "every fault has met its call");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_that_telegram_holds_back_waits_alone_and_keeps_its_order() {
    let mut world = World::new().await;
    for chat in 1..=20 {
        world.api.add_chat(chat);
    }
    world.start().await;
    world.api.flood_chat(1, Duration::from_secs(8));
    for index in 0..300 {
        world.answer("1", &format!("held back {index}")).await;
    }
    for chat in 2..=20 {
        for index in 0..5 {
            world.answer(&chat.to_string(), &format!("{chat}.{index}")).await;
        }
    }
    for chat in 2..=20 {
        let expected: Vec<String> = (0..5).map(|index| format!("{chat}.{index}")).collect();
        assert_eq!(world.shown(chat, 5).await, expected);
    }
    assert_eq!(world.texts(1), Vec::<String>::new(), "the others did not wait for it");
    let expected: Vec<String> = (0..300).map(|index| format!("held back {index}")).collect();
    assert_eq!(world.shown(1, 300).await, expected);
    world.stop().await;
    assert_eq!(world.api.violations(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_kept_by_itself_with_many_chats_at_once() {
    use nexus_testkit::bot_api::Options;
    let mut world = World::with(Options { limits: true, ..Options::default() }).await;
    let chats: Vec<i64> = (1..=12).collect();
    for chat in &chats {
        world.api.add_chat(*chat);
        for index in 0..3 {
            world.answer(&chat.to_string(), &format!("{chat}.{index}")).await;
        }
    }
    world.start_with(Config { limits: Limits::default(), ..world.config() }).await;
    for chat in &chats {
        let expected: Vec<String> = (0..3).map(|index| format!("{chat}.{index}")).collect();
        assert_eq!(world.shown(*chat, 3).await, expected);
    }
    world.stop().await;
    assert_eq!(world.api.violations(), []);
}

/// An update that is broken somewhere, or of a kind that nobody knows.
fn mutated() -> impl Strategy<Value = Value> {
    let good = json!({ "message": { "message_id": 5, "date": 1,
        "chat": { "id": 7, "type": "private", "first_name": "A" },
        "from": { "id": 2, "is_bot": false, "first_name": "A" },
        "text": "hi", "entities": [{ "type": "bold", "offset": 0, "length": 2 }],
        "photo": [{ "file_id": "x", "width": 1 }] } });
    let junk = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        proptest::collection::vec(any::<i64>(), 0..3).prop_map(Value::from),
        Just(json!({})),
    ];
    let paths = vec![
        "/message",
        "/message/chat",
        "/message/chat/id",
        "/message/from",
        "/message/from/id",
        "/message/text",
        "/message/photo",
        "/message/photo/0",
        "/message/photo/0/file_id",
        "/message/entities",
    ];
    let broken = (proptest::sample::select(paths), junk.clone()).prop_map(move |(path, junk)| {
        let mut update = good.clone();
        *update.pointer_mut(path).unwrap() = junk;
        update
    });
    let unknown =
        ("[a-z_]{3,20}", junk).prop_map(|(kind, junk)| json!({ (format!("x_{kind}")): junk }));
    prop_oneof![broken, unknown]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_broken_or_unknown_update_holds_up_the_others() {
    let mut world = World::new().await;
    world.start().await;
    let count = size("TELEGRAM_MUTATIONS", 1000);
    let (mut runner, strategy) = (TestRunner::deterministic(), mutated());
    let mut unknown = 0;
    for index in 0..count {
        let update = strategy.new_tree(&mut runner).unwrap().current();
        unknown += usize::from(update.get("message").is_none());
        world.api.push_update(update);
        if index % 100 == 99 {
            world.api.user_says(7, 2, &format!("good {}", index / 100));
        }
    }
    let goods =
        |texts: Vec<String>| texts.into_iter().filter(|text| text.starts_with("good")).count();
    world.requests_when_all_are_confirmed(count / 100).await;
    let requests = world.requests().await;
    let texts = requests.into_iter().map(|event| event.payload.known.text).collect();
    assert_eq!(goods(texts), count / 100);
    let unread = world.events::<AdapterUnread>().await;
    let kept = unread.iter().filter(|event| event.payload.reason == "unknown_kind").count();
    assert_eq!(kept, unknown);
    assert!(unread.iter().all(|event| event.payload.raw.contains("update_id")));
    world.stop().await;
}
