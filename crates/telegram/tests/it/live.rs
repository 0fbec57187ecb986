use nexus_contracts::{Outcome, RunCancel};
use nexus_telegram::{Config, Mode};
use nexus_testkit::bot_api::Fault;
use uuid::Uuid;

use crate::world::answered;
use crate::{SOON, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_grows_in_one_message_that_is_edited_into_the_final_text() {
    let mut world = World::new().await;
    world.api.add_chat(7);
    world.start().await;
    world.hears_live().await;
    let run = Uuid::now_v7();
    let words: Vec<String> = (0..6).map(|word| format!("**word{word}** ")).collect();
    let mut offset = 0;
    for (index, word) in words.iter().enumerate() {
        world.chunk(run, "7", offset, word).await;
        offset += word.chars().count();
        let shows = || {
            let texts = world.texts(7);
            texts.first().is_some_and(|text| text.ends_with(&format!("word{index}"))).then_some(())
        };
        assert!(world.api.wait_until(SOON, shows).await.is_some(), "{:?}", world.texts(7));
    }
    world.end(run, "7", answered("The **end**.")).await;
    let over = || (world.texts(7) == ["The end."]).then_some(());
    world.api.wait_until(SOON, over).await.unwrap();
    // Pieces that come late change nothing.
    world.chunk(run, "7", offset, "late").await;
    world.stop().await;
    let transcript = world.api.transcript(7);
    let [message] = transcript.messages.as_slice() else { panic!("{transcript:?}") };
    assert_eq!((message.versions[0].text.as_str(), message.text()), ("…", "The end."));
    assert_eq!(message.edits(), 7);
    assert_eq!(world.api.violations(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_while_an_answer_grows_leaves_one_message_with_the_final_text() {
    let mut world = World::new().await;
    world.api.add_chat(7);
    world.start().await;
    world.hears_live().await;
    let run = Uuid::now_v7();
    world.chunk(run, "7", 0, "half of it").await;
    let shows = || (world.texts(7) == ["half of it"]).then_some(());
    world.api.wait_until(SOON, shows).await.unwrap();
    world.crash();
    world.end(run, "7", answered("all of it")).await;
    world.start().await;
    let shows = || (world.texts(7) == ["all of it"]).then_some(());
    world.api.wait_until(SOON, shows).await.unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_draft_shrinks_to_a_short_answer_and_a_deleted_message_is_sent_anew() {
    let mut world = World::new().await;
    world.api.add_chat(7);
    world.start().await;
    world.hears_live().await;
    let run = Uuid::now_v7();
    let long = "many words ".repeat(500);
    world.chunk(run, "7", 0, &long).await;
    let shows =
        || (world.texts(7).iter().filter(|text| text.len() > 100).count() == 2).then_some(());
    assert!(world.api.wait_until(SOON, shows).await.is_some(), "{:?}", world.texts(7));
    world.end(run, "7", answered("short")).await;
    let shows = || (world.texts(7) == ["short"]).then_some(());
    assert!(world.api.wait_until(SOON, shows).await.is_some(), "{:?}", world.texts(7));

    let run = Uuid::now_v7();
    world.chunk(run, "7", 0, "growing").await;
    let shows = || (world.texts(7).last()? == "growing").then_some(());
    world.api.wait_until(SOON, shows).await.unwrap();
    world.api.refuse_next(
        "editMessageText",
        1,
        400,
        "Bad Request: message to edit not found",
        None,
    );
    world.end(run, "7", answered("grown")).await;
    let shows = || (world.texts(7).last()? == "grown").then_some(());
    world.api.wait_until(SOON, shows).await.unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_may_still_come_costs_its_message_and_never_the_answer() {
    let mut world = World::new().await;
    world.api.add_chat(7);
    let send_timeout = std::time::Duration::from_secs(2);
    world.start_with(Config { send_timeout, ..world.config() }).await;
    world.hears_live().await;
    let run = Uuid::now_v7();
    // The edit with this piece is done, and its answer never comes.
    world.api.fail_in_chat(7, "editMessageText", 1, Fault::Timeout);
    world.chunk(run, "7", 0, "half").await;
    let shows = || (world.texts(7) == ["half"]).then_some(());
    world.api.wait_until(SOON, shows).await.unwrap();
    world.end(run, "7", answered("whole")).await;
    let shows = || (world.texts(7) == ["whole"]).then_some(());
    assert!(world.api.wait_until(SOON, shows).await.is_some(), "{:?}", world.texts(7));
    let messages = world.api.transcript(7).messages;
    assert_eq!(messages.len(), 2, "another message has the answer");
    assert!(messages[0].deleted.is_some());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entities_that_telegram_refuses_cost_the_marks_and_not_the_text() {
    let mut world = World::new().await;
    world.api.add_chat(7);
    world.start().await;
    let refusal = "Bad Request: entity beginning at UTF-16 offset 0 ends after the end of the text";
    world.api.refuse_next("editMessageText", 1, 400, refusal, None);
    world.answer("7", "**bold** and *slanted*").await;
    assert_eq!(world.shown(7, 1).await, ["bold and slanted"]);
    assert_eq!(world.api.transcript(7).messages[0].entities(), []);
    world.answer("7", "**bold**").await;
    world.shown(7, 2).await;
    assert_eq!(world.api.transcript(7).messages[1].entities().len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drafts_grow_in_private_chats_and_can_be_stopped() {
    let mut world = World::new().await;
    for chat in [7, -5] {
        world.api.add_chat(chat);
    }
    world.start_with(Config { mode: Mode::Draft, ..world.config() }).await;
    world.hears_live().await;
    let run = Uuid::now_v7();
    world.chunk(run, "7", 0, "let me *think*").await;
    let drafted = || world.api.draft(7).filter(|draft| draft.text == "let me think");
    let draft = world.api.wait_until(SOON, drafted).await.unwrap();
    assert!(draft.can_stop && draft.entities.len() == 1);
    world.api.user_stops_draft(7).unwrap();
    let cancel = world.events_when::<RunCancel>(1).await.remove(0);
    assert_eq!(cancel.payload.known, RunCancel::of(run, Some("Stopped.".to_owned())));
    world.end(run, "7", Outcome::Cancelled { reason: "Stopped.".to_owned() }).await;
    assert_eq!(world.shown(7, 1).await, ["Stopped."]);
    assert!(world.api.transcript(7).unfinished_drafts().is_empty());
    assert_eq!(world.api.transcript(7).of_bot().next().unwrap().edits(), 0);

    let run = Uuid::now_v7();
    world.chunk(run, "-5", 0, "in a group").await;
    let shows = || (world.texts(-5) == ["in a group"]).then_some(());
    world.api.wait_until(SOON, shows).await.unwrap();
    world.end(run, "-5", answered("done")).await;
    let shows = || (world.texts(-5) == ["done"]).then_some(());
    world.api.wait_until(SOON, shows).await.unwrap();
    world.stop().await;
    assert_eq!(world.api.violations(), []);
}
