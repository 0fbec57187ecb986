use serde_json::json;

use super::*;

fn user(text: &str) -> Said {
    Said::User { text: text.to_owned(), attachments: Vec::new() }
}

fn assistant(text: &str) -> Said {
    Said::Assistant { text: text.to_owned(), calls: Vec::new() }
}

fn digest(said: &[Said]) -> String {
    Dialogue(said.to_vec()).canon().digest()
}

#[test]
fn the_same_words_are_the_same_conversation_however_they_are_cut() {
    let call = Called { id: "c".to_owned(), tool: "clock".to_owned(), arguments: "{}".to_owned() };
    let result = Answered { id: "c".to_owned(), text: "12:30".to_owned(), is_error: false };
    let in_steps = [
        Said::Instructions("It is Friday.".to_owned()),
        user("What time\nis it? "),
        Said::Assistant { text: "Let me see.".to_owned(), calls: vec![call] },
        Said::Result(result),
        assistant("It is 12:30."),
    ];
    let at_once = [user("What time is it?"), assistant("Let me see.\n\nIt is 12:30.\n")];
    assert_eq!(digest(&in_steps), digest(&at_once));
    let mut told = Dialogue(vec![user("What time is it?")]).canon();
    told.assistant("Let me see.\n\nIt is 12:30.");
    assert_eq!(told.digest(), digest(&at_once));
}

#[test]
fn other_words_or_speakers_are_another_conversation() {
    let all = [
        digest(&[]),
        digest(&[user("a")]),
        digest(&[user("b")]),
        digest(&[user("a"), assistant("b")]),
        digest(&[user("a"), user("b")]),
        digest(&[user("a b")]),
        digest(&[user("a"), assistant("b"), user("c")]),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(!all[..index].contains(one), "{index}");
    }
}

#[test]
fn a_model_is_shown_calls_with_their_results_and_instructions_apart() {
    let call = Called { id: "c".to_owned(), tool: "clock".to_owned(), arguments: "{}".to_owned() };
    let result = Answered { id: "c".to_owned(), text: "12:30".to_owned(), is_error: false };
    let dialogue = Dialogue(vec![
        Said::Instructions(" Be brief. ".to_owned()),
        user("time?"),
        Said::Assistant { text: String::new(), calls: vec![call] },
        Said::Result(result.clone()),
    ]);
    assert_eq!(dialogue.instructions().as_deref(), Some("Be brief."));
    assert_eq!((dialogue.question(), dialogue.results()), (None, vec![&result]));
    let messages = json!(dialogue.messages());
    let id = json!(derived_id(Uuid::nil(), "c"));
    assert_eq!(
        messages,
        json!([
            { "role": "user", "parts": [{ "kind": "text", "text": "time?" }] },
            { "role": "assistant", "parts": [{ "kind": "tool_call", "call": id, "tool": "clock", "arguments": "{}" }] },
            { "role": "tool", "parts": [{ "kind": "tool_result", "call": id, "tool": "clock", "text": "12:30", "is_error": false }] },
        ])
    );
    let goes_on = dialogue.asking_to_go_on();
    assert!(goes_on.question().is_some() && goes_on.before().results().len() == 1);
}

#[test]
fn a_history_that_is_too_long_keeps_its_newest_messages_and_no_result_without_its_call() {
    let call = Called { id: "c".to_owned(), tool: "t".to_owned(), arguments: "{}".to_owned() };
    let result = Answered { id: "c".to_owned(), text: "1234".to_owned(), is_error: false };
    let said = vec![
        user("12345"),
        Said::Assistant { text: String::new(), calls: vec![call] },
        Said::Result(result),
        assistant("123"),
        user("12"),
    ];
    let kept = |bytes| Dialogue(said.clone()).newest(bytes).0.len();
    assert_eq!([16, 15, 11, 9, 5, 4, 0].map(kept), [5, 4, 4, 2, 2, 1, 0]);
}
