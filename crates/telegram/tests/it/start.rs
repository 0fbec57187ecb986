use std::sync::Arc;
use std::time::Duration;

use nexus_contracts::LOCAL_TENANT;
use nexus_telegram::{Config, Error, Secrets, Telegram};
use nexus_testkit::bot_api::{BotApi, Options};
use tokio_util::sync::CancellationToken;

use crate::{World, now};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telegram_may_come_up_later() {
    let mut world = World::new().await;
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let config = Config { api: format!("http://127.0.0.1:{port}"), ..world.config() };
    world.start_with(config).await;
    world.answer("7", "hello").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    world.api = BotApi::start(Options { port, ..Options::default() }).await.unwrap();
    world.api.user_says(7, 2, "hi");
    world.requests_when_all_are_confirmed(1).await;
    assert_eq!(world.shown(7, 1).await, ["hello"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_are_named_and_the_token_is_never_printed() {
    let world = World::new().await;
    let secret = "AAsecret-secret-secret-secret-secret";
    let try_with = async |api: String, token: String| {
        let config = Config { api, ..Config::default() };
        let (stop, blobs) = (CancellationToken::new(), &world.blobs);
        let secrets: Secrets =
            Arc::new(move |name| (name == "TELEGRAM_BOT_TOKEN").then(|| token.clone().into()));
        let opened =
            Telegram::open(&world.bus, blobs, &config, LOCAL_TENANT, &secrets, now, stop).await;
        assert!(!format!("{opened:?}").contains("secret-secret"), "{opened:?}");
        opened
    };
    let unknown = try_with(world.api.url(), format!("99:{secret}")).await.unwrap_err();
    assert!(matches!(unknown, Error::Refused { code: 401, .. }), "{unknown}");
    let malformed = try_with(world.api.url(), secret.to_owned()).await.unwrap_err();
    assert!(matches!(malformed, Error::Config { .. }), "{malformed}");
    assert!(malformed.to_string().contains("TELEGRAM_BOT_TOKEN"), "{malformed}");
    let empty = try_with(world.api.url(), " \n".to_owned()).await.unwrap_err();
    assert!(matches!(empty, Error::Config { .. }), "{empty}");
    let no_url = try_with("api.telegram.org".to_owned(), format!("99:{secret}")).await.unwrap_err();
    assert!(matches!(no_url, Error::Config { .. }), "{no_url}");
    // Nobody listens: not an error, the adapter keeps asking.
    try_with("http://127.0.0.1:9".to_owned(), format!("99:{secret}")).await.unwrap();
}
