//! Clients that resend the whole conversation, and their side calls.

use nexus_bus::Message;
use nexus_contracts::{EventType, Pattern};
use serde_json::{Value, json};

use super::{Caller, assistant, doors, user};
use crate::support::{bus, fresh, json as body, read};

/// The requests that hold this word, oldest first: conversation and payload.
async fn asked(word: &str) -> Vec<(String, Value)> {
    let bus = bus(&doors().await.nexus).await;
    let requests: Vec<Message> = read(&bus, Pattern::kind(EventType::RequestsIncoming)).await;
    let found = requests.iter().map(body).filter(|event| event.to_string().contains(word));
    let place = |event: Value| {
        (event["metadata"]["conversation"].as_str().unwrap().to_owned(), event["payload"].clone())
    };
    found.map(place).collect()
}

fn said(answer: &Value) -> String {
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

/// A client that resends everything; it holds the conversation.
struct Chat {
    caller: Caller,
    messages: Vec<Value>,
}

impl Chat {
    async fn open() -> Self {
        let caller = Caller::local(&doors().await.nexus);
        Self { caller, messages: vec![json!({ "role": "system", "content": "Be brief." })] }
    }

    async fn ask(&mut self, text: &str) -> String {
        self.messages.push(user(text));
        let body = json!({ "model": "nexus/plain", "messages": self.messages });
        let answer = said(&self.caller.complete(&body).await);
        // As clients do that trim what they keep.
        self.messages.push(assistant(&format!("{answer}\n")));
        answer
    }
}

#[tokio::test]
async fn a_chat_that_is_resent_stays_one_conversation_and_nothing_is_logged_twice() {
    let word = fresh("resent");
    let mut chat = Chat::open().await;
    for turn in 0..4 {
        let answer = chat.ask(&format!("{word} turn {turn}")).await;
        assert_eq!(answer, format!("DONE {word} turn {turn}"));
    }
    let asked = asked(&word).await;
    assert_eq!(asked.len(), 4);
    let log = Value::from_iter(asked.iter().map(|(_, payload)| payload.clone())).to_string();
    for turn in 0..4 {
        assert_eq!(log.matches(&format!("{word} turn {turn}")).count(), 1, "{log}");
    }
    assert!(asked.iter().all(|(conversation, _)| *conversation == asked[0].0));
    // The model sees all of it all the same, and the client's own instructions.
    let prompts = doors().await.mock.requests();
    let last = prompts.iter().rfind(|prompt| prompt.to_string().contains(&word)).unwrap();
    assert_eq!(last["messages"].as_array().unwrap().len(), 8, "{last}");
    assert!(last["messages"][0]["content"].as_str().unwrap().ends_with("Be brief."));
}

#[tokio::test]
async fn a_question_asked_anew_begins_a_branch_that_knows_what_was_before() {
    let word = fresh("branch");
    let mut chat = Chat::open().await;
    chat.ask(&format!("{word} first")).await;
    let kept = chat.messages.clone();
    chat.ask(&format!("{word} second")).await;
    chat.messages = kept;
    chat.ask(&format!("{word} other")).await;
    chat.ask(&format!("{word} third")).await;

    let asked = asked(&word).await;
    let places: Vec<&String> = asked.iter().map(|(conversation, _)| conversation).collect();
    assert_eq!(places[0], places[1]);
    assert_ne!(places[0], places[2], "edited: a conversation of its own");
    assert_eq!(places[2], places[3], "and that goes on");
    let prompts = doors().await.mock.requests();
    let last = prompts
        .iter()
        .rfind(|prompt| prompt.to_string().contains(&format!("{word} third")))
        .unwrap();
    let seen = last["messages"].to_string();
    assert!(
        seen.contains(&format!("{word} first")) && seen.contains(&format!("{word} other")),
        "{seen}"
    );
    assert!(!seen.contains(&format!("{word} second")), "{seen}");
}

#[tokio::test]
async fn a_retry_with_its_key_is_the_same_request_also_in_the_middle_of_a_chat() {
    let word = fresh("retry");
    let mut chat = Chat::open().await;
    chat.ask(&format!("{word} first")).await;
    chat.messages.push(user(&format!("{word} second")));
    let body = json!({ "model": "nexus/plain", "messages": chat.messages });
    let key = fresh("key");
    let mut answers = Vec::new();
    for _ in 0..3 {
        let request =
            chat.caller.post("/v1/chat/completions", &body).header("idempotency-key", &key);
        answers.push(
            request
                .header("x-stainless-retry-count", "1")
                .send()
                .await
                .unwrap()
                .json::<Value>()
                .await
                .unwrap(),
        );
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[1], answers[2]);
    assert_eq!(asked(&word).await.len(), 2);
}

#[tokio::test]
async fn open_webuis_chats_have_their_names_and_its_side_calls_take_the_cheap_way() {
    let caller = Caller::local(&doors().await.nexus);
    let (chat, word) = (fresh("owui"), fresh("word"));
    let ask = |content: &str| {
        let body = json!({ "model": "nexus/caller", "messages": [user(content)] });
        caller.post("/v1/chat/completions", &body).header("x-openwebui-chat-id", &chat)
    };
    let answer: Value = ask(&word).send().await.unwrap().json().await.unwrap();
    let title = format!(
        "### Task:\nGenerate a concise, 3-5 word title summarizing the chat history.\n### Chat History:\n<chat_history>\nUSER: {word}\n</chat_history>"
    );
    let aside: Value = ask(&title).send().await.unwrap().json().await.unwrap();
    assert_eq!(aside["choices"][0]["finish_reason"], "stop", "{aside}");

    let asked = asked(&word).await;
    assert_eq!(asked.len(), 2, "{answer}");
    let ends_with_chat = |place: &str| {
        place.ends_with(&chat)
            || nexus_contracts::Token::parse(place).unwrap().decode().ends_with(&chat)
    };
    assert!(ends_with_chat(&asked[0].0), "{}", asked[0].0);
    assert!(!ends_with_chat(&asked[1].0), "{}", asked[1].0);
    assert_eq!(
        (&asked[1].1["kind"], &asked[1].1["model"]),
        (&json!("aside"), &json!("mock/mock-plain"))
    );
    assert_eq!(asked[0].1.get("kind"), None);
}
