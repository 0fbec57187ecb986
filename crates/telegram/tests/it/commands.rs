use nexus_contracts::{CancelScope, RunCancel};
use nexus_telegram::Config;
use serde_json::json;

use crate::{SOON, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_cancels_the_conversation_once_and_says_so() {
    let mut world = World::new().await;
    // So short that the stream's memory of ids cannot hide a second one.
    world.apply(&[("duplicate_window = \"10m\"", "duplicate_window = \"1s\"")]).await;
    world.start().await;
    let update = world.api.user_says(7, 2, "/stop");
    assert_eq!(world.shown(7, 1).await, ["Stopping what I am doing here."]);
    let cancels = world.events::<RunCancel>().await;
    assert_eq!(cancels.len(), 1);
    let cancel = &cancels[0];
    let expected = RunCancel {
        run: cancel.id,
        scope: CancelScope::Conversation,
        reason: Some("Stopped.".to_owned()),
        failure: None,
    };
    assert_eq!((cancel.payload.known.clone(), cancel.correlation_id), (expected, cancel.id));
    assert_eq!(cancel.metadata.conversation, world.place("7").conversation);

    // Telegram gives the update again long after: it must not stop what was asked since.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    world.api.repeat_update(update);
    world.api.wait_until(SOON, || (world.api.unconfirmed() == 0).then_some(())).await.unwrap();
    world.stop().await;
    assert_eq!(world.events::<RunCancel>().await.len(), 1);
    assert_eq!(world.texts(7).len(), 1);
    assert_eq!(world.requests().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_answered_and_groups_are_heard_when_the_bot_is_meant() {
    let mut world = World::new().await;
    let config = Config {
        greeting: Some("Welcome to the *shop*.".to_owned()),
        agent: Some("clerk".to_owned()),
        ..world.config()
    };
    world.start_with(config).await;
    world.api.user_says(7, 2, "/start");
    assert_eq!(world.shown(7, 1).await, ["Welcome to the shop."]);
    world.api.user_says(7, 2, "/help");
    assert!(world.shown(7, 2).await[1].contains("/stop"));

    let group = -5;
    world.api.user_says(group, 2, "not for the bot");
    world.api.user_says(group, 2, "/weather");
    world.api.user_says(group, 2, "/stop@other_bot");
    world.api.user_says(group, 2, "hey @stand_in_bot, hello");
    world.answer("-5", "yes?").await;
    world.shown(group, 1).await;
    let ours = world.api.transcript(group).of_bot().next().unwrap().message_id;
    let reply = nexus_testkit::bot_api::Said::text("and you?").in_reply_to(ours);
    world.api.user_sends(group, 2, reply).unwrap();
    let requests = world.requests_when_all_are_confirmed(2).await;
    let texts: Vec<&str> = requests.iter().map(|event| event.payload.text.as_str()).collect();
    assert_eq!(texts, ["hey @stand_in_bot, hello", "and you?"]);
    assert_eq!(world.events::<RunCancel>().await.len(), 0);
    world.stop().await;
    assert_eq!(world.api.calls("setMyCommands"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_bot_cannot_read_is_said_and_kept() {
    let mut world = World::new().await;
    world.start().await;
    let person = json!({ "id": 2, "is_bot": false, "first_name": "User 2" });
    let chat = json!({ "id": 7, "type": "private", "first_name": "User 2" });
    world.api.add_chat(7);
    let sticker = json!({ "message_id": 1, "date": 1, "chat": chat, "from": person,
        "sticker": { "file_id": "x" } });
    world.api.push_update(json!({ "message": sticker }));
    assert!(world.shown(7, 1).await[0].contains("cannot read"));
    let unread = world.events::<nexus_contracts::AdapterUnread>().await;
    assert!(unread[0].payload.raw.contains("sticker"));
    assert_eq!(unread[0].payload.reason, "message_kind");
    world.stop().await;
}
