use std::time::Duration;

use nexus_bus::Cursors;
use nexus_contracts::{AdapterUnread, Event, IncomingRequest, LOCAL_TENANT, Token, edge_id};
use nexus_telegram::{Config, Groups};
use nexus_testkit::bot_api::{BotApi, Fault, Options};
use serde_json::json;

use crate::{World, distinct};

fn texts(requests: &[Event<IncomingRequest>]) -> Vec<&str> {
    requests.iter().map(|request| request.payload.text.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_text_becomes_one_event_whatever_telegram_does() {
    let mut world = World::new().await;
    world.start().await;
    let mut said = Vec::new();
    let faults = [
        Fault::Status(502),
        Fault::Repeat,
        Fault::Cut,
        Fault::Status(409),
        Fault::Timeout,
        Fault::Repeat,
        Fault::Flood(1),
        Fault::Status(500),
        Fault::Repeat,
        Fault::Cut,
    ];
    for round in 0..30 {
        for index in 0..10 {
            let text = format!("text {round}.{index}");
            said.push((world.api.user_says(index % 7 + 1, 100 + index, &text), text));
        }
        world.api.push_update(json!({ "invented_in_2030": { "round": round } }));
        world.api.push_update(json!({ "edited_message": { "message_id": 1, "text": "edited" } }));
        world.api.push_update(
            json!({ "message": { "chat": { "id": 1, "type": "moon" }, "from": 7, "text": ["x"] } }),
        );
        world.api.push_update(
            json!({ "message": { "chat": { "id": 1 }, "from": { "id": 2 }, "photo": [] } }),
        );
        world.api.repeat_update(said[said.len() / 2].0);
        if let Some(fault) = faults.get(round / 3).filter(|_| round % 3 == 0) {
            world.api.fail_next("getUpdates", *fault);
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    // Somebody else polls with the same token and takes the poll over.
    let other = reqwest::Client::new();
    for _ in 0..3 {
        let address =
            format!("{}/bot{}/getUpdates?timeout=1&offset=0", world.api.url(), world.api.token());
        let _ = other.get(address).timeout(Duration::from_secs(2)).send().await;
    }

    let events = world.requests_when_all_are_confirmed(said.len()).await;

    let channel = Token::parse("telegram").unwrap();
    let bot = world.api.bot_id().to_string();
    let id = |number: i64| edge_id(LOCAL_TENANT, &channel, &bot, &number.to_string());
    assert_eq!(events.len(), 300);
    assert_eq!(
        distinct(events.iter().map(|event| (event.id, event.payload.text.clone()))),
        distinct(said.iter().map(|(number, text)| (id(*number), text.clone()))),
    );
    let first = events.iter().find(|event| event.payload.text == "text 0.0").unwrap();
    let place = first.metadata.conversation.decode().into_owned();
    assert_eq!((first.correlation_id, place), (first.id, format!("{bot}:1")));
    assert_eq!(first.metadata.user.as_deref(), Some("100"));
    // Unknown and unreadable ones are kept as they came, edits are not.
    let unread = world.events::<AdapterUnread>().await;
    assert_eq!(unread.len(), 60);
    let reasons = distinct(unread.iter().map(|event| event.payload.reason.clone()));
    assert_eq!(reasons, distinct(["bad_message", "unknown_kind"].map(str::to_owned)));
    let cursors = Cursors::open(&world.bus).await.unwrap();
    let (cursor, _) = cursors.load(&format!("telegram.{bot}")).await.unwrap();
    assert!(cursor >= said.last().map(|(number, _)| *number));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telegram_forgets_nothing_that_is_not_stored() {
    let mut world = World::new().await;
    world.start().await;
    world.api.user_says(1, 2, "before");
    world.requests_when_all_are_confirmed(1).await;

    world.nats.kill();
    for index in 0..20 {
        world.api.user_says(1, 2, &format!("while away {index}"));
    }
    tokio::time::sleep(Duration::from_secs(13)).await; // longer than a publish tries
    assert_eq!(world.api.unconfirmed(), 20);
    world.nats.start_again().await;

    let events = world.requests_when_all_are_confirmed(21).await;
    let mut expected = vec!["before".to_owned()];
    expected.extend((0..20).map(|index| format!("while away {index}")));
    assert_eq!(texts(&events), expected);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_holds_updates_back_and_skips_none() {
    let mut world = World::new().await;
    world.limit_events("30000").await;
    world.start().await;
    let said: Vec<String> =
        (0..30).map(|index| format!("{index} {}", "long ".repeat(700))).collect();
    for text in &said {
        world.api.user_says(1, 2, text);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let stored = world.requests().await.len();
    assert!((1..30).contains(&stored), "{stored}");
    assert_eq!(world.api.unconfirmed(), 30 - stored);

    world.limit_events("21474836480").await;
    assert_eq!(texts(&world.requests_when_all_are_confirmed(30).await), said);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_at_the_cursor() {
    let mut world = World::new().await;
    world.start().await;
    world.api.user_says(1, 2, "first");
    world.requests_when_all_are_confirmed(1).await;
    world.stop().await;

    let second = world.api.user_says(1, 2, "second");
    world.start().await;
    assert_eq!(texts(&world.requests_when_all_are_confirmed(2).await), ["first", "second"]);
    world.stop().await;
    let cursors = Cursors::open(&world.bus).await.unwrap();
    let (cursor, _) = cursors.load(&format!("telegram.{}", world.api.bot_id())).await.unwrap();
    assert_eq!(cursor, Some(second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_start_anew_far_below_the_cursor_are_read_all_the_same() {
    let mut world = World::new().await;
    world.start().await;
    world.api.user_says(1, 2, "first");
    world.requests_when_all_are_confirmed(1).await;
    world.stop().await;

    // As after a week without updates, when Telegram picks a new number to count from.
    world.api = BotApi::start(Options { first_update: 1000, ..Options::default() }).await.unwrap();
    for text in ["second", "third"] {
        world.api.user_says(1, 2, text);
    }
    world.start().await;
    world.requests_when_all_are_confirmed(3).await;
    world.api.user_says(1, 2, "fourth");
    let requests = world.requests_when_all_are_confirmed(4).await;
    assert_eq!(texts(&requests), ["first", "second", "third", "fourth"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_conversations_of_their_own_and_strangers_are_not_heard() {
    let mut world = World::new().await;
    let config = Config {
        users: [2].into(),
        agent: Some("helper".to_owned()),
        groups: Groups::All,
        ..world.config()
    };
    world.start_with(config).await;
    world.api.user_says(-1_000_000_000_007, 2, "in the group");
    world.api.user_says_in_topic(-1_000_000_000_007, 5, 2, "in a topic");
    world.api.user_says(3, 3, "let me in");

    let events = world.requests_when_all_are_confirmed(2).await;
    let places: Vec<_> =
        events.iter().map(|event| event.metadata.conversation.decode().into_owned()).collect();
    let bot = world.api.bot_id();
    assert_eq!(places, [format!("{bot}:-1000000000007"), format!("{bot}:-1000000000007:5")]);
    assert!(events.iter().all(|event| event.metadata.agent.as_deref() == Some("helper")));
    world.stop().await;
}
