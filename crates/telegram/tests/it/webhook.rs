use std::net::SocketAddr;

use nexus_contracts::AdapterUnread;
use nexus_telegram::{Config, Webhook};
use serde_json::json;

use crate::{SOON, World};

const SECRET: &str = "a-secret-that-telegram-shows";

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

fn webhook(listen: SocketAddr, secret_env: Option<&str>) -> Webhook {
    let url = format!("http://{listen}/telegram");
    Webhook { url, listen, secret_env: secret_env.map(str::to_owned) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telegram_calls_and_gets_200_only_when_the_update_is_stored() {
    let mut world = World::new().await;
    let listen = free_address();
    let config = Config { webhook: Some(webhook(listen, None)), ..world.config() };
    world.start_with(config).await;
    for text in ["one", "two", "three"] {
        world.api.user_says(7, 2, text);
    }
    let requests = world.requests_when_all_are_confirmed(3).await;
    let texts: Vec<&str> = requests.iter().map(|event| event.payload.text.as_str()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    assert_eq!(world.api.calls("getUpdates"), 0);

    // Nothing can be stored: Telegram keeps it and comes again.
    world.nats.kill();
    world.api.user_says(7, 2, "four");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(world.api.unconfirmed(), 1);
    world.nats.start_again().await;
    let requests = world.requests_when_all_are_confirmed(4).await;
    assert_eq!(requests[3].payload.text, "four");
    world.stop().await;

    // Polling again takes the webhook back.
    world.api.user_says(7, 2, "five");
    world.start().await;
    world.requests_when_all_are_confirmed(5).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_know_the_secret_is_refused() {
    let mut world = World::new().await;
    world.secrets.push(("WEBHOOK_SECRET".to_owned(), SECRET.to_owned()));
    let listen = free_address();
    let config =
        Config { webhook: Some(webhook(listen, Some("WEBHOOK_SECRET"))), ..world.config() };
    world.start_with(config).await;
    world.api.user_says(7, 2, "hello");
    world.requests_when_all_are_confirmed(1).await;

    let client = reqwest::Client::new();
    let bot = world.api.bot_id();
    let post = async |path: String, secret: Option<&str>, body: String| {
        let mut call = client.post(format!("http://{listen}{path}")).body(body);
        if let Some(secret) = secret {
            call = call.header("X-Telegram-Bot-Api-Secret-Token", secret);
        }
        call.send().await.unwrap().status().as_u16()
    };
    let update = json!({ "update_id": 1, "message": { "message_id": 1, "date": 1,
        "chat": { "id": 7, "type": "private" }, "from": { "id": 2 }, "text": "forged" } });
    let ours = format!("/telegram/{bot}");
    let update = || update.to_string();
    assert_eq!(post(ours.clone(), None, update()).await, 401);
    assert_eq!(post(ours.clone(), Some("wrong"), update()).await, 401);
    assert_eq!(post("/telegram/77".to_owned(), Some(SECRET), update()).await, 401);
    assert_eq!(world.requests().await.len(), 1);

    let large = "x".repeat(1024 * 1024 + 1);
    assert_eq!(post(ours.clone(), Some(SECRET), large).await, 413);
    // What cannot be read is kept and not given again.
    assert_eq!(post(ours.clone(), Some(SECRET), "{}".to_owned()).await, 200);
    let unread = world.events::<AdapterUnread>().await;
    assert_eq!(unread[0].payload.reason, "no_number");
    world.stop().await;
    let refused = client.post(format!("http://{listen}{ours}")).send().await;
    assert!(refused.is_err(), "nobody listens any more");
    assert!(world.api.wait_until(SOON, || Some(())).await.is_some());
}
