use nexus_contracts::{Decision, Metadata, Notice, ToolApproval};
use nexus_telegram::{Config, Mode};
use nexus_testkit::bot_api::{Fault, Message};
use uuid::Uuid;

use crate::{SOON, World};

/// What people press, with what came of it.
struct Question {
    id: Uuid,
    run: Uuid,
    chat: i64,
}

const HASH: &str = "5f16";

async fn ask(world: &World, chat: i64, users: &[&str], expires_after_ms: u64) -> Question {
    let run = Uuid::now_v7();
    let notice = Notice::Approval {
        tool: "send_mail".to_owned(),
        arguments: r#"{"to":"ann@example.org","text":"``` hi"}"#.to_owned(),
        arguments_sha256: HASH.to_owned(),
        users: users.iter().map(|user| (*user).to_owned()).collect(),
        expires_after_ms,
    };
    let id = world.notice(run, world.place(&chat.to_string()), notice).await;
    Question { id, run, chat }
}

/// The message with buttons that a chat shows now.
async fn question(world: &World, chat: i64) -> Message {
    let api = &world.api;
    let found = || {
        let messages = api.transcript(chat).messages;
        messages.into_iter().rev().find(|message| message.buttons().count() == 2)
    };
    api.wait_until(SOON, found).await.unwrap()
}

/// Data of the buttons that allow and deny.
fn data(message: &Message) -> (String, String) {
    let data: Vec<&str> = message.buttons().map(|button| button.data().unwrap()).collect();
    (data[0].to_owned(), data[1].to_owned())
}

/// Presses and waits for what the person is told.
async fn press(world: &World, message: &Message, user: i64, data: &str) -> String {
    let query = world.api.user_presses_as_is(message.chat, user, message.message_id, data).unwrap();
    told(world, &query).await
}

async fn told(world: &World, query: &str) -> String {
    let answer = || world.api.press_answers().into_iter().find(|answer| answer.query == query);
    world.api.wait_until(SOON, answer).await.unwrap().text.unwrap()
}

async fn ends_with(world: &World, message: &Message, words: &str) {
    let shows = || {
        let message = world.api.message(message.chat, message.message_id)?;
        (message.text().ends_with(words) && message.buttons().count() == 0).then_some(())
    };
    let waited = world.api.wait_until(SOON, shows).await;
    assert!(waited.is_some(), "{words}: {:?}", world.api.message(message.chat, message.message_id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_press_allows_a_call_once_and_the_message_says_who_did() {
    let mut world = World::new().await;
    world.api.add_chat(7);
    world.start_with(Config { mode: Mode::Plain, ..world.config() }).await;
    let asked = ask(&world, 7, &[], 600_000).await;
    let message = question(&world, 7).await;
    let shown = message.text();
    assert!(shown.contains("send_mail") && shown.contains("ann@example.org"), "{shown}");
    let (allow, deny) = data(&message);
    assert!(allow.len() <= 64 && !allow.contains(&asked.id.to_string()));

    assert_eq!(press(&world, &message, 2, &allow).await, "Allowed.");
    ends_with(&world, &message, "Allowed by User 2.").await;
    // A second press, the other button, and the same update once more.
    assert_eq!(press(&world, &message, 2, &allow).await, "This question has been answered.");
    assert_eq!(press(&world, &message, 2, &deny).await, "This question has been answered.");
    world.stop().await;

    let approvals = world.events::<ToolApproval>().await;
    assert_eq!(approvals.len(), 1);
    let approval = &approvals[0];
    let expected = ToolApproval {
        question: asked.id,
        decision: Decision::Approved,
        arguments_sha256: HASH.to_owned(),
    };
    assert_eq!(approval.payload.known, expected);
    assert_eq!(
        (approval.correlation_id, approval.metadata.causation_id),
        (asked.run, Some(asked.id))
    );
    let place = world.place(&asked.chat.to_string());
    assert_eq!(approval.metadata.user.as_deref(), Some("2"));
    assert_eq!(approval.metadata.conversation, place.conversation);
    assert_eq!(world.api.violations(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_users_forged_expired_and_foreign_presses_are_refused() {
    let mut world = World::new().await;
    for chat in [7, 8] {
        world.api.add_chat(chat);
    }
    world.start().await;
    ask(&world, 7, &["5", "6"], 600_000).await;
    let message = question(&world, 7).await;
    let (allow, deny) = data(&message);
    let stranger = "This question is not yours to answer.";
    assert_eq!(press(&world, &message, 2, &allow).await, stranger);
    let unknown = "This question is not known.";
    let forged = format!("y.{}", "0".repeat(32));
    for data in ["", "y.", "approve", forged.as_str()] {
        assert_eq!(press(&world, &message, 5, data).await, unknown, "{data:?}");
    }
    // The data of one chat's button, pressed in another.
    world.answer("8", "something").await;
    world.shown(8, 1).await;
    let elsewhere = world.api.transcript(8).of_bot().next().unwrap().clone();
    assert_eq!(press(&world, &elsewhere, 5, &allow).await, unknown);
    assert_eq!(press(&world, &message, 6, &deny).await, "Denied.");
    ends_with(&world, &message, "Denied by User 6.").await;

    ask(&world, 8, &["5"], 1).await;
    let late = question(&world, 8).await;
    let (allow, _) = data(&late);
    assert_eq!(press(&world, &late, 5, &allow).await, "Too late: this question has expired.");
    ends_with(&world, &late, "Nobody answered in time: not allowed.").await;
    world.stop().await;

    let approvals = world.events::<ToolApproval>().await;
    let decided: Vec<_> = approvals.iter().map(|approval| approval.payload.decision).collect();
    assert_eq!(decided, [Decision::Denied]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_survive_a_crash_and_a_press_that_comes_again_counts_once() {
    let mut world = World::new().await;
    // So short that the stream's memory of ids cannot hide a second answer.
    world.apply(&[("duplicate_window = \"10m\"", "duplicate_window = \"1s\"")]).await;
    world.api.add_chat(7);
    world.start().await;
    let asked = ask(&world, 7, &[], 600_000).await;
    let message = question(&world, 7).await;
    let (allow, _) = data(&message);
    world.crash();
    world.nats.kill();
    world.nats.start_again().await;
    let query = world.api.user_presses(7, 2, message.message_id, &allow).unwrap();
    world.api.fail_times("answerCallbackQuery", 1, Fault::Reset);
    world.start().await;
    assert_eq!(told(&world, &query).await, "Allowed.");
    ends_with(&world, &message, "Allowed by User 2.").await;
    world.stop().await;
    let approvals = world.events::<ToolApproval>().await;
    assert_eq!(
        approvals.iter().map(|event| event.payload.question).collect::<Vec<_>>(),
        [asked.id]
    );

    // Telegram gives the update once more, a while later.
    let cursors = nexus_bus::Cursors::open(&world.bus).await.unwrap();
    let (update, _) = cursors.load(&format!("telegram.{}", world.api.bot_id())).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    world.api.repeat_update(update.unwrap());
    world.start().await;
    world.api.wait_until(SOON, || (world.api.unconfirmed() == 0).then_some(())).await.unwrap();
    world.stop().await;
    assert_eq!(world.events::<ToolApproval>().await.len(), 1);
    let shown = world.texts(7);
    assert!(shown.len() == 1 && shown[0].ends_with("Allowed by User 2."), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_nobody_may_answer_is_a_dead_letter() {
    let mut world = World::new().await;
    world.api.add_chat(7);
    world.start().await;
    let notice = Notice::Approval {
        tool: "x".to_owned(),
        arguments: "{}".to_owned(),
        arguments_sha256: HASH.to_owned(),
        users: Vec::new(),
        expires_after_ms: 1000,
    };
    let place = Metadata { user: None, ..world.place("7") };
    world.notice(Uuid::now_v7(), place, notice).await;
    let letters = nexus_bus::DeadLetters::new(&world.bus);
    let mut dead = Vec::new();
    while dead.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        dead = letters.list().await.unwrap();
    }
    assert!(dead[0].event.payload.reason.contains("nobody may answer"), "{dead:?}");
    world.stop().await;
}
