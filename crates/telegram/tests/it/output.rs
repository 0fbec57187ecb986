use std::time::Duration;

use nexus_bus::DeadLetters;
use nexus_contracts::{Outcome, ProcessedRequest};
use nexus_telegram::{Config, Groups, Limits};
use nexus_testkit::bot_api::{Fault, Options};
use uuid::Uuid;

use crate::World;
use crate::world::answered;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_answer_arrives_in_pieces_each_once_and_429_is_obeyed() {
    let mut world = World::new().await;
    world.api.add_chat(7);
    world.start().await;
    let paragraphs: Vec<String> =
        (0..60).map(|index| format!("{index}: {}.", "grüße 👩‍👩‍👧‍👦 漢字 ".repeat(13).trim())).collect();
    let text = paragraphs.join("\n\n");
    world.api.add_chat(8);
    world.api.fail_next("sendMessage", Fault::Status(502));
    world.answer("8", "first a small one").await;
    assert_eq!(world.shown(8, 1).await, ["first a small one"]);
    world.api.flood_chat(7, Duration::from_secs(2));
    world.answer("7", &text).await;
    let expected = text.encode_utf16().count().div_ceil(4096);
    let shown = world.shown(7, expected).await;

    assert_eq!(shown.len(), expected);
    assert!(shown.iter().all(|text| text.encode_utf16().count() <= 4096));
    // Cuts are at paragraphs, whose blank lines Telegram trims.
    assert_eq!(shown.join("\n\n"), text);
    assert_eq!(world.api.violations(), []);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_slow_a_chat_down_and_lose_nothing() {
    let mut world = World::with(Options { limits: true, ..Options::default() }).await;
    for chat in 1..=5 {
        world.api.add_chat(chat);
        for index in 0..4 {
            world.answer(&chat.to_string(), &format!("{chat}.{index}")).await;
        }
    }
    // As fast as Telegram allows, which the stand-in holds us to.
    world.start_with(Config { limits: Limits::default(), ..world.config() }).await;
    for chat in 1..=5 {
        let expected: Vec<String> = (0..4).map(|index| format!("{chat}.{index}")).collect();
        assert_eq!(world.shown(chat, 4).await, expected);
    }
    world.stop().await;
    assert_eq!(world.api.sent().len(), 20);
    assert_eq!(world.api.violations(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_arrives_in_stream_order_though_the_first_fails_at_first() {
    let mut world = World::new().await;
    world.api.add_chat(7);
    let expected: Vec<String> = (0..30).map(|index| format!("answer {index}")).collect();
    for text in &expected {
        world.answer("7", text).await;
    }
    world.api.fail_next("sendMessage", Fault::Status(500));
    world.start().await;
    assert_eq!(world.shown(7, expected.len()).await, expected);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_get_is_a_dead_letter_and_the_others_go_on() {
    let mut world = World::new().await;
    world.api.add_chat(7);
    world.api.block(8);
    world.start().await;
    world.answer("404", "to nobody").await;
    world.answer("8", "unwanted").await;
    world.answer("lobby", "no chat at all").await;
    let stranger = nexus_contracts::TenantId(Uuid::from_u128(9));
    let place = nexus_contracts::Metadata { tenant: stranger, ..world.place("7") };
    let answer = ProcessedRequest::of(Uuid::now_v7(), answered("from another tenant"));
    world.publish(Uuid::now_v7(), place, answer).await;
    world.outcome("7", Outcome::Steered { into: Uuid::now_v7() }).await;
    world
        .outcome(
            "7",
            Outcome::Failed { code: "no_model".to_owned(), message: "No model.".to_owned() },
        )
        .await;
    assert_eq!(world.shown(7, 1).await, ["No model."]);
    world.outcome("7", Outcome::Cancelled { reason: "Cancelled.".to_owned() }).await;
    world.answer("7", " \n").await;
    let shown = world.shown(7, 3).await;
    assert_eq!(shown, ["No model.", "Cancelled.", "(The answer is empty.)"]);

    let letters = DeadLetters::new(&world.bus);
    let mut dead = Vec::new();
    for _ in 0..100 {
        dead = letters.list().await.unwrap();
        if dead.len() >= 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let reasons: Vec<&str> = dead.iter().map(|entry| entry.event.payload.reason.as_str()).collect();
    for wanted in ["chat not found", "bot was blocked", "is no Telegram chat", "another tenant"] {
        assert!(reasons.iter().any(|reason| reason.contains(wanted)), "{wanted}: {reasons:?}");
    }
    assert_eq!(dead.len(), 4);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_is_shown_until_the_answer_comes() {
    let mut world = World::new().await;
    world.start().await;
    world.api.user_says(7, 2, "hi");
    let request = world.requests_when_all_are_confirmed(1).await[0].id;
    tokio::time::sleep(Duration::from_millis(4500)).await;
    assert_eq!(world.api.actions(), [(7, "typing".to_owned()), (7, "typing".to_owned())]);
    world.end(request, "7", Outcome::Answered { text: "hello".to_owned() }).await;
    world.shown(7, 1).await;
    let shown = world.api.actions().len();
    tokio::time::sleep(Duration::from_millis(4500)).await;
    assert_eq!(world.api.actions().len(), shown);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_go_to_the_topic_that_was_asked_in() {
    let mut world = World::new().await;
    world.start_with(Config { groups: Groups::All, ..world.config() }).await;
    world.api.user_says_in_topic(-1_000_000_000_007, 5, 2, "hi");
    let request = world.requests_when_all_are_confirmed(1).await.remove(0);
    let answer = ProcessedRequest::of(request.id, answered("hello"));
    world.publish(request.id, request.metadata, answer).await;
    assert_eq!(world.shown(-1_000_000_000_007, 1).await, ["hello"]);
    assert_eq!(world.api.sent()[0].thread, Some(5));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_follow_a_group_that_moves_and_outlive_their_topic() {
    let mut world = World::new().await;
    let (group, supergroup) = (-5, -1_000_000_000_005);
    world.api.add_chat(group);
    world.api.upgrade(group, supergroup);
    world.start().await;
    world.answer("-5", "after the move").await;
    assert_eq!(world.shown(supergroup, 1).await, ["after the move"]);

    world.api.add_topic(supergroup, 9);
    world.api.remove_topic(supergroup, 9);
    world.answer(&format!("{supergroup}:9"), "to a topic that is gone").await;
    assert_eq!(world.shown(supergroup, 2).await[1], "to a topic that is gone");
    world.stop().await;
}
