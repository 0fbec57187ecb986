//! Telegram, played by a stand-in that keeps its rules.

use nexus_contracts::{EventType, Pattern, Token};
use nexus_testkit::bot_api::{self, BotApi};
use nexus_testkit::process::{Options, Place};

use crate::support::{LIMIT, bus, exited, json, read, succeeded, text, until, up};

#[tokio::test]
async fn each_update_is_one_request_and_one_answer_also_when_nexus_is_killed_between() {
    let api = BotApi::start(bot_api::Options::default()).await.unwrap();
    let options = Options::default()
        .env("TELEGRAM_BOT_TOKEN", api.token())
        .env("NEXUS_TELEGRAM_API", api.url());
    let nexus = up(options).await;

    api.user_says(42, 7, "what time is it in Tokyo?");
    let sent = api.wait_for_sent(42, 1, LIMIT).await;
    assert!(sent.len() == 1 && sent[0].text.contains("Tokyo"), "{sent:?}");

    // The token is no part of what is said or logged about it.
    let shown = succeeded(nexus.run(&["config", "show"]).await.unwrap());
    assert!(!text(&shown.stdout).contains(api.token()));

    let mut numbers = Vec::new();
    for (round, said) in
        ["calculate 1+1", "calculate 20+2", "calculate 300+3"].into_iter().enumerate()
    {
        numbers.push(api.user_says(42, 7, said));
        // Killed after it has been asked for updates again: somewhere between request and answer.
        let calls = api.calls("getUpdates");
        until("the adapter to go on", async || (api.calls("getUpdates") > calls).then_some(()))
            .await;
        nexus.kill().unwrap();
        nexus.restart().await.unwrap();
        let sent = api.wait_for_sent(42, round + 2, LIMIT).await;
        assert!(sent.len() >= round + 2, "{sent:?}");
    }
    for number in &numbers {
        api.repeat_update(*number);
    }
    api.user_says(42, 7, "echo the end");
    until("the last answer", async || {
        api.sent().iter().any(|sent| sent.text.contains("the end")).then_some(())
    })
    .await;

    let telegram = Token::encode("telegram").unwrap();
    let bus = bus(&nexus).await;
    let requests = read(&bus, Pattern::kind_in(EventType::RequestsIncoming, &telegram)).await;
    let texts: Vec<String> = requests
        .iter()
        .map(|message| json(message)["payload"]["text"].as_str().unwrap().to_owned())
        .collect();
    let wanted = [
        "what time is it in Tokyo?",
        "calculate 1+1",
        "calculate 20+2",
        "calculate 300+3",
        "echo the end",
    ];
    assert_eq!(texts, wanted, "one request for each update");
    let replies = read(&bus, Pattern::kind_in(EventType::RequestsProcessed, &telegram)).await;
    assert_eq!(replies.len(), wanted.len(), "one final word on each");
    succeeded(nexus.run(&["ledger"]).await.unwrap());
}

#[tokio::test]
async fn a_telegram_that_cannot_be_reached_does_not_keep_the_rest_from_working() {
    let token = "4200042:AAtoken-of-a-bot-that-nobody-hears";
    let options = Options::default()
        .env("TELEGRAM_BOT_TOKEN", token)
        .env("NEXUS_TELEGRAM_API", "http://127.0.0.1:1");
    let nexus = up(options).await;
    succeeded(nexus.run(&["ask", "hello"]).await.unwrap());
    let log = std::fs::read_to_string(nexus.place().folder().join("up-1.err")).unwrap();
    assert!(log.contains("Telegram") && !log.contains(token), "{log}");
}

#[tokio::test]
async fn a_token_that_telegram_does_not_know_is_a_clear_error() {
    let api = BotApi::start(bot_api::Options::default()).await.unwrap();
    let token = "1:AAtoken-of-nobody";
    let options = Options::default()
        .env("TELEGRAM_BOT_TOKEN", token)
        .env("NEXUS_TELEGRAM_API", api.url())
        .env("NEXUS_HTTP", "127.0.0.1:0")
        .env("NEXUS_OSC", "127.0.0.1:0");
    let place = Place::new(&options).unwrap();
    let error = text(&exited(1, place.run(&["up"]).await.unwrap()).stderr);
    let said = error.lines().last().unwrap();
    assert!(said.contains("Telegram") && said.contains("TELEGRAM_BOT_TOKEN"), "what to do: {said}");
    assert!(!error.contains(token), "{error}");
}
