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

    // What the chat shows, once nothing of it is still on its way.
    let shown = async |count: usize| {
        let is_ready = || {
            let shown: Vec<String> =
                api.transcript(42).shown().into_iter().map(str::to_owned).collect();
            (shown.len() >= count && !shown.iter().any(|text| text == "…")).then_some(shown)
        };
        api.wait_until(LIMIT, is_ready).await.unwrap()
    };
    api.user_says(42, 7, "what time is it in Tokyo?");
    let texts = shown(1).await;
    assert!(texts.len() == 1 && texts[0].contains("Tokyo"), "{texts:?}");

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
        // A process that is killed while it sends may leave an empty placeholder behind.
        let answered = || {
            let transcript = api.transcript(42);
            let texts = transcript.shown().into_iter().filter(|text| *text != "…");
            (texts.count() >= round + 2).then_some(())
        };
        assert!(
            api.wait_until(LIMIT, answered).await.is_some(),
            "{:?}",
            api.transcript(42).shown()
        );
    }
    for number in &numbers {
        api.repeat_update(*number);
    }
    api.user_says(42, 7, "echo the end");
    until("the last answer", async || {
        api.transcript(42).shown().iter().any(|text| text.contains("the end")).then_some(())
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
