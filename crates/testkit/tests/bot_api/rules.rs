use std::time::Duration;

use nexus_testkit::bot_api::{BotApi, Cause, Options};
use serde_json::{Value, json};

use crate::{ANN, FORUM, GROUP, call, done, http, refused, sent, start};

#[tokio::test]
async fn addresses_and_tokens_are_checked() {
    let api = start().await;
    let get = async |path: String| {
        let answer = http().get(format!("{}{path}", api.url())).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["description"].clone())
    };
    let token = api.token();
    let stranger = "1:AAtoken-of-nobody-000000000000000000";
    assert_eq!(get(format!("/bot{stranger}/getMe")).await, (401, "Unauthorized".into()));
    assert_eq!(get("/botnonsense/getMe".to_owned()).await, (404, "Not Found".into()));
    assert_eq!(get(format!("/bot{token}/sendPoem")).await.0, 404);
    assert_eq!(get(format!("/bot{token}/GETME")).await, (200, Value::Null));
    assert_eq!(api.violations().len(), 3);
    assert_eq!(api.calls("getMe"), 1);
}

#[tokio::test]
async fn arguments_come_in_the_address_a_form_parts_or_json() {
    let api = start().await;
    let address = format!("{}/bot{}/sendMessage", api.url(), api.token());
    let form = "application/x-www-form-urlencoded";
    let parts = reqwest::header::HeaderValue::from_static("multipart/form-data; boundary=x");
    let multipart = "--x\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n42\r\n--x\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\na&b\r\n--x--\r\n";
    let requests = [
        http().get(format!("{address}?chat_id=42&text=a%26b")),
        http().post(&address).header("content-type", form).body("chat_id=42&text=a%26b"),
        http().post(&address).header("content-type", parts).body(multipart),
        http().post(&address).json(&json!({ "chat_id": 42, "text": "a&b", "parse_mode": null })),
    ];
    for request in requests {
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["result"]["text"], "a&b", "{answer}");
    }
    assert_eq!(api.transcript(ANN).shown(), ["a&b"; 4]);
    let broken = http().post(&address).header("content-type", "application/json").body("{");
    assert_eq!(broken.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn texts_have_1_to_4096_units_after_trimming() {
    let api = start().await;
    let text = |text: String| json!({ "chat_id": ANN, "text": text });
    let empty = "Bad Request: message text is empty";
    assert_eq!(refused(&api, "sendMessage", text(String::new())).await, empty);
    // Before anything else is looked at.
    assert_eq!(refused(&api, "sendMessage", json!({ "chat_id": 404 })).await, empty);
    for blank in [" \n\t", "\r"] {
        let said = refused(&api, "sendMessage", text(blank.to_owned())).await;
        assert_eq!(said, "Bad Request: text must be non-empty");
    }
    let two_units = "👍".repeat(2048);
    done(&api, "sendMessage", text(format!("\n{two_units}  "))).await;
    assert_eq!(api.transcript(ANN).shown(), [two_units.as_str()]);
    let long = refused(&api, "sendMessage", text(format!("{two_units}x"))).await;
    assert_eq!(long, "Bad Request: message is too long");
    // Marks do not count, what they mark does.
    let bold = json!({ "chat_id": ANN, "text": format!("*{}*", "b".repeat(4096)), "parse_mode": "MarkdownV2" });
    done(&api, "sendMessage", bold).await;
}

#[tokio::test]
async fn chats_and_topics_have_to_be_there() {
    let api = start().await;
    let to = |chat: i64| json!({ "chat_id": chat, "text": "x" });
    assert_eq!(refused(&api, "sendMessage", to(404)).await, "Bad Request: chat not found");
    assert_eq!(
        refused(&api, "sendMessage", json!({ "text": "x" })).await,
        "Bad Request: chat_id is empty"
    );
    api.block(ANN);
    assert_eq!(
        refused(&api, "sendMessage", to(ANN)).await,
        "Forbidden: bot was blocked by the user"
    );
    api.unblock(ANN);
    api.add_topic(FORUM, 5);
    let in_topic =
        |topic: i64| json!({ "chat_id": FORUM, "text": "x", "message_thread_id": topic });
    assert_eq!(
        refused(&api, "sendMessage", in_topic(6)).await,
        "Bad Request: message thread not found"
    );
    assert_eq!(done(&api, "sendMessage", in_topic(5)).await["message_thread_id"], 5);
    api.upgrade(GROUP, FORUM);
    let moved = call(&api, "sendMessage", to(GROUP)).await;
    assert_eq!(moved["parameters"]["migrate_to_chat_id"], FORUM);
    let causes: Vec<Cause> = api.refused().into_iter().map(|refused| refused.cause).collect();
    assert_eq!(causes, [Cause::State, Cause::Rule, Cause::State, Cause::State, Cause::State]);
}

#[tokio::test]
async fn only_own_messages_change_and_only_when_something_changes() {
    let api = start().await;
    let said = api.user_sends(ANN, ANN, nexus_testkit::bot_api::Said::text("mine")).unwrap();
    let number = sent(&api, ANN, "one").await;
    let edit =
        |number: i64, text: &str| json!({ "chat_id": ANN, "message_id": number, "text": text });
    assert!(
        refused(&api, "editMessageText", edit(number, " one "))
            .await
            .contains("message is not modified")
    );
    let edited = done(&api, "editMessageText", edit(number, "two")).await;
    assert!(edited["edit_date"].is_i64() && edited["text"] == "two", "{edited}");
    assert_eq!(
        refused(&api, "editMessageText", edit(said.message_id, "x")).await,
        "Bad Request: message can't be edited"
    );
    assert_eq!(
        refused(&api, "editMessageText", edit(99, "x")).await,
        "Bad Request: message to edit not found"
    );
    assert_eq!(
        refused(&api, "editMessageText", json!({ "chat_id": ANN, "text": "x" })).await,
        "Bad Request: message identifier is not specified"
    );
    let message = json!({ "chat_id": ANN, "message_id": number });
    assert_eq!(done(&api, "deleteMessage", message.clone()).await, true);
    assert_eq!(
        refused(&api, "deleteMessage", message).await,
        "Bad Request: message to delete not found"
    );
    assert_eq!(
        refused(&api, "editMessageText", edit(number, "x")).await,
        "Bad Request: message to edit not found"
    );
    let in_group = api.user_sends(GROUP, ANN, nexus_testkit::bot_api::Said::text("x")).unwrap();
    let others = json!({ "chat_id": GROUP, "message_id": in_group.message_id });
    assert_eq!(
        refused(&api, "deleteMessage", others).await,
        "Bad Request: message can't be deleted"
    );
    let versions = api.message(ANN, number).unwrap().versions;
    assert_eq!(versions.iter().map(|version| &*version.text).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!((api.transcript(ANN).shown().len(), api.violations().len()), (0, 1));
}

#[tokio::test]
async fn keyboards_keep_their_rules_and_presses_are_answered_once_and_soon() {
    let api = start().await;
    let with = |button: Value| json!({ "chat_id": ANN, "text": "x", "reply_markup": { "inline_keyboard": [[button]] } });
    let wrong = [
        (json!({ "text": "a", "callback_data": "d".repeat(65) }), "BUTTON_DATA_INVALID"),
        (json!({ "text": "a", "callback_data": "é".repeat(33) }), "BUTTON_DATA_INVALID"),
        (json!({ "text": "a", "callback_data": "" }), "Text buttons are unallowed"),
        (json!({ "text": "a" }), "Text buttons are unallowed"),
        (json!({ "text": "a", "url": "https://a.de", "callback_data": "d" }), "exactly one"),
        (
            json!({ "text": "a", "url": "http://localhost:1/a" }),
            "button URL 'http://localhost:1/a' is invalid: Wrong HTTP URL",
        ),
        (
            json!({ "text": "a", "url": "ftp://a.de" }),
            "button URL 'ftp://a.de' is invalid: Unsupported URL protocol",
        ),
        (json!({ "text": " ", "callback_data": "d" }), "non-empty"),
        (json!({ "callback_data": "d" }), "Can't find field \"text\""),
    ];
    for (button, why) in wrong {
        let said = refused(&api, "sendMessage", with(button)).await;
        assert!(said.starts_with("Bad Request: ") && said.contains(why), "{said}");
    }
    let message =
        done(&api, "sendMessage", with(json!({ "text": "a", "callback_data": "é".repeat(32) })))
            .await;
    let number = message["message_id"].as_i64().unwrap();
    let query = api.user_presses(ANN, ANN, number, &"é".repeat(32)).unwrap();
    let answer =
        |query: &str| json!({ "callback_query_id": query, "text": "ok", "show_alert": true });
    done(&api, "answerCallbackQuery", answer(&query)).await;
    let late = "Bad Request: query is too old and response timeout expired or query ID is invalid";
    assert_eq!(refused(&api, "answerCallbackQuery", answer(&query)).await, late);
    assert_eq!(refused(&api, "answerCallbackQuery", answer("1")).await, late);
    let query = api.user_presses(ANN, ANN, number, &"é".repeat(32)).unwrap();
    api.expire_press(&query);
    assert_eq!(refused(&api, "answerCallbackQuery", answer(&query)).await, late);
    // An edit without a keyboard takes it away; an old app may still show it.
    let gone = json!({ "chat_id": ANN, "message_id": number });
    done(&api, "editMessageReplyMarkup", gone).await;
    assert_eq!(api.user_presses(ANN, ANN, number, &"é".repeat(32)), None);
    assert!(api.user_presses_as_is(ANN, ANN, number, &"é".repeat(32)).is_some());
    let shown = api.press_answers();
    assert_eq!((shown.len(), shown[0].is_alert, shown[0].text.as_deref()), (1, true, Some("ok")));
}

#[tokio::test]
async fn drafts_are_for_private_chats_and_end_with_a_message() {
    let api = start().await;
    let draft =
        |chat: i64, id: i64, text: &str| json!({ "chat_id": chat, "draft_id": id, "text": text });
    assert_eq!(
        refused(&api, "sendMessageDraft", draft(FORUM, 1, "x")).await,
        "Bad Request: TEXTDRAFT_PEER_INVALID"
    );
    assert!(refused(&api, "sendMessageDraft", draft(ANN, 0, "x")).await.contains("non-zero"));
    let long = "x".repeat(4097);
    assert_eq!(
        refused(&api, "sendMessageDraft", draft(ANN, 1, &long)).await,
        "Bad Request: message is too long"
    );
    done(&api, "sendMessageDraft", draft(ANN, 1, "")).await;
    done(&api, "sendMessageDraft", draft(ANN, 1, "half")).await;
    assert_eq!(api.draft(ANN).unwrap().text, "half");
    assert_eq!(api.user_stops_draft(ANN), None, "it cannot be stopped");
    assert_eq!(api.transcript(ANN).unfinished_drafts().len(), 2);
    sent(&api, ANN, "half and half").await;
    assert_eq!((api.draft(ANN), api.transcript(ANN).unfinished_drafts().len()), (None, 0));
    let stoppable = json!({ "chat_id": ANN, "draft_id": 2, "text": "x", "can_stop": true });
    done(&api, "sendMessageDraft", stoppable).await;
    assert!(api.user_stops_draft(ANN).is_some());
    let updates = done(&api, "getUpdates", json!({})).await;
    assert_eq!(updates[0]["stopped_message_generation"]["draft_id"], 2);
}

#[tokio::test]
async fn replies_lead_to_messages_that_are_there() {
    let api = start().await;
    let number = sent(&api, ANN, "first").await;
    let reply = |to: i64, optional: bool| json!({ "chat_id": ANN, "text": "x", "reply_parameters": { "message_id": to, "allow_sending_without_reply": optional } });
    let message = done(&api, "sendMessage", reply(number, false)).await;
    assert_eq!(message["reply_to_message"]["text"], "first");
    assert_eq!(
        refused(&api, "sendMessage", reply(99, false)).await,
        "Bad Request: message to be replied not found"
    );
    assert_eq!(done(&api, "sendMessage", reply(99, true)).await["reply_to_message"], Value::Null);
}

#[tokio::test]
async fn a_chat_that_is_flooded_refuses_only_itself_and_impatience_is_a_violation() {
    let api = start().await;
    api.flood_chat(ANN, Duration::from_secs(30));
    let told = call(&api, "sendMessage", json!({ "chat_id": ANN, "text": "x" })).await;
    let retry_after = told["parameters"]["retry_after"].as_u64().unwrap();
    assert!(told["error_code"] == 429 && (1..=30).contains(&retry_after), "{told}");
    sent(&api, FORUM, "elsewhere").await;
    assert_eq!(api.violations(), []);
    tokio::time::sleep(Duration::from_millis(150)).await;
    call(&api, "sendMessage", json!({ "chat_id": ANN, "text": "x" })).await;
    assert_eq!(api.violations().len(), 1);
    api.flood_chat(ANN, Duration::ZERO);
    sent(&api, ANN, "at last").await;
}

#[tokio::test]
async fn limits_are_off_unless_ordered_and_bots_do_not_share_them() {
    let api = start().await;
    let other = api.add_bot("77:AAanother-bot-of-the-same-stand-in-00");
    other.add_chat(ANN);
    for _ in 0..3 {
        sent(&api, ANN, "x").await;
    }
    api.set_limits(true);
    let x = || call(&api, "sendMessage", json!({ "chat_id": ANN, "text": "x" }));
    let (one, two, three) = tokio::join!(x(), x(), x());
    let too_fast = [one, two, three].into_iter().filter(|answer| answer["error_code"] == 429);
    assert!(too_fast.count() > 0);
    for _ in 0..3 {
        sent(&other, ANN, "y").await;
    }
    assert_eq!(other.transcript(ANN).shown(), ["y"; 3]);
    assert_eq!((api.bot_id(), other.bot_id(), other.violations().len()), (4_200_042, 77, 0));
}

#[tokio::test]
async fn commands_and_members_are_told() {
    let api = start().await;
    let commands = json!({ "commands": [{ "command": "start", "description": "Begin" }] });
    done(&api, "setMyCommands", commands).await;
    let all = done(&api, "getMyCommands", json!({})).await;
    assert_eq!(all, json!([{ "command": "start", "description": "Begin" }]));
    let scoped = json!({ "scope": { "type": "all_private_chats" } });
    assert_eq!(done(&api, "getMyCommands", scoped).await, json!([]));
    let wrong = json!({ "commands": [{ "command": "No!", "description": "x" }] });
    assert_eq!(refused(&api, "setMyCommands", wrong).await, "Bad Request: BOT_COMMAND_INVALID");
    let member = json!({ "chat_id": ANN, "user_id": ANN });
    assert_eq!(done(&api, "getChatMember", member).await["status"], "member");
    assert_eq!(done(&api, "getChat", json!({ "chat_id": FORUM })).await["type"], "supergroup");
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error() {
    let api = start().await;
    let port = api.url().rsplit(':').next().unwrap().parse().unwrap();
    let error = BotApi::start(Options { port, ..Options::default() }).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}
