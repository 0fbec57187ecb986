use std::time::Duration;

use nexus_bus::DeadLetters;
use nexus_contracts::Outcome;
use nexus_testkit::bot_api::{Fault, Options, Sent};
use uuid::Uuid;

use crate::{SOON, World};

fn texts(sent: &[Sent]) -> Vec<&str> {
    sent.iter().map(|sent| sent.text.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_answer_arrives_in_pieces_each_once_and_429_is_obeyed() {
    let mut world = World::new().await;
    world.api.add_chat(7);
    world.start().await;
    let paragraphs: Vec<String> =
        (0..60).map(|index| format!("{index}: {}.", "grüße 👩‍👩‍👧‍👦 漢字 ".repeat(13).trim())).collect();
    let text = paragraphs.join("\n\n");
    // The second piece is refused for two seconds.
    world.api.add_chat(8);
    world.api.fail_next("sendMessage", Fault::Status(502));
    world.answer("8", "first a small one").await;
    assert_eq!(texts(&world.api.wait_for_sent(8, 1, SOON).await), ["first a small one"]);
    world.answer("7", &text).await;
    world.api.wait_for_sent(7, 1, SOON).await;
    world.api.fail_next("sendMessage", Fault::Flood(2));
    let expected = text.encode_utf16().count().div_ceil(4096);
    let sent = world.api.wait_for_sent(7, expected, SOON).await;

    assert!(sent.iter().all(|sent| sent.text.encode_utf16().count() <= 4096));
    // Cuts are at paragraphs, whose blank lines Telegram trims.
    assert_eq!(texts(&sent).join("\n\n"), text);
    let gaps = sent.windows(2).map(|pair| pair[1].at.duration_since(pair[0].at));
    assert!(gaps.max().unwrap() >= jiff::SignedDuration::from_secs(2));
    world.stop().await;
    assert_eq!(world.api.sent().len(), expected + 1);
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
    world.start().await;
    for chat in 1..=5 {
        let sent = world.api.wait_for_sent(chat, 4, SOON).await;
        let expected: Vec<String> = (0..4).map(|index| format!("{chat}.{index}")).collect();
        assert_eq!(texts(&sent), expected);
    }
    world.stop().await;
    assert_eq!(world.api.sent().len(), 20);
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
    let sent = world.api.wait_for_sent(7, expected.len(), SOON).await;
    assert_eq!(texts(&sent), expected);
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
    world.outcome("7", Outcome::Steered { into: Uuid::now_v7() }).await;
    world
        .outcome(
            "7",
            Outcome::Failed { code: "no_model".to_owned(), message: "No model.".to_owned() },
        )
        .await;
    assert_eq!(texts(&world.api.wait_for_sent(7, 1, SOON).await), ["No model."]);
    world.outcome("7", Outcome::Cancelled { reason: "Cancelled.".to_owned() }).await;
    world.answer("7", " \n").await;
    let sent = world.api.wait_for_sent(7, 3, SOON).await;
    assert_eq!(texts(&sent), ["No model.", "Cancelled.", "(The answer is empty.)"]);

    let letters = DeadLetters::new(&world.bus);
    let mut dead = Vec::new();
    for _ in 0..100 {
        dead = letters.list().await.unwrap();
        if dead.len() >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let reasons: Vec<&str> = dead.iter().map(|entry| entry.event.payload.reason.as_str()).collect();
    for wanted in ["chat not found", "bot was blocked", "is no Telegram chat"] {
        assert!(reasons.iter().any(|reason| reason.contains(wanted)), "{wanted}: {reasons:?}");
    }
    assert_eq!(dead.len(), 3);
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
    world.api.wait_for_sent(7, 1, SOON).await;
    let shown = world.api.actions().len();
    tokio::time::sleep(Duration::from_millis(4500)).await;
    assert_eq!(world.api.actions().len(), shown);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_go_to_the_topic_that_was_asked_in() {
    let mut world = World::new().await;
    world.start().await;
    world.api.user_says_in_topic(-1_000_000_000_007, 5, 2, "hi");
    let request = world.requests_when_all_are_confirmed(1).await.remove(0);
    world
        .end(
            request.id,
            &request.metadata.conversation.decode(),
            Outcome::Answered { text: "hello".to_owned() },
        )
        .await;
    let sent = world.api.wait_for_sent(-1_000_000_000_007, 1, SOON).await;
    assert_eq!((sent[0].thread, texts(&sent)), (Some(5), vec!["hello"]));
    world.stop().await;
}
