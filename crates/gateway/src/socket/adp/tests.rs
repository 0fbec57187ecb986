use nexus_contracts::{RunUsage, Timestamp};

use super::*;
use crate::frames::ErrorBody;

const RUN: Uuid = Uuid::from_u128(1);
const CALL: Uuid = Uuid::from_u128(2);
const SESSION: Uuid = Uuid::from_u128(3);

/// A connection whose first frame was this one.
fn opened(first: Value) -> (Adp, Vec<Command>) {
    let mut adp = Adp::default();
    let welcome = Happening::Welcome {
        session: SESSION,
        user: "ann".to_owned(),
        agents: Vec::new(),
        heartbeat: HEARTBEAT,
    };
    assert!(adp.happened(welcome, Duration::ZERO).is_empty(), "its client expects no welcome");
    let commands = adp.said(&first.to_string(), Duration::ZERO);
    (adp, commands)
}

fn asked(commands: Vec<Command>) -> Box<Asking> {
    match commands.into_iter().next() {
        Some(Command::Ask(asking)) => asking,
        other => panic!("{other:?}"),
    }
}

fn sent(commands: Vec<Command>) -> Vec<Value> {
    let text = |command| match command {
        Command::Send(text) => Some(serde_json::from_str(&text).unwrap()),
        _ => None,
    };
    commands.into_iter().filter_map(text).collect()
}

fn conversation() -> String {
    format!("adp-{}", SESSION.simple())
}

fn accepted(tag: &str) -> Happening {
    let (tag, cursor) = (tag.to_owned(), Cursor::at(10));
    Happening::Accepted(Taken {
        tag,
        conversation: conversation(),
        run: RUN,
        cursor,
        repeated: false,
    })
}

fn delta(text: &str) -> Happening {
    let (conversation, text) = (conversation(), text.to_owned());
    let cursor = Cursor::at(12);
    Happening::Frame(ServerFrame::Delta {
        conversation,
        run: RUN,
        call: CALL,
        offset: 0,
        text,
        cursor,
    })
}

fn result(tool: &str, status: &str) -> Happening {
    let summary = json!({ "call": CALL, "tool": tool, "status": status });
    Happening::Frame(ServerFrame::Event(EventFrame {
        conversation: conversation(),
        run: RUN,
        cursor: Cursor::at(13),
        sequence: 13,
        event: EventType::ToolsResults,
        emitter: "tools",
        at: "2026-11-20T12:00:00Z".parse::<Timestamp>().unwrap(),
        summary,
        stored: bytes::Bytes::new(),
    }))
}

fn done(outcome: &'static str, text: &str, error: Option<ErrorBody>) -> Happening {
    Happening::Frame(ServerFrame::Done(DoneFrame {
        conversation: conversation(),
        run: RUN,
        outcome,
        text: text.to_owned(),
        into: None,
        attachments: Vec::new(),
        usage: RunUsage::default(),
        error,
        cursor: Cursor::at(14),
    }))
}

fn play(adp: &mut Adp, what: Vec<Happening>) -> Vec<Value> {
    what.into_iter().flat_map(|what| sent(adp.happened(what, Duration::ZERO))).collect()
}

#[test]
fn golden_transcript_of_version_1() {
    let (mut adp, commands) = opened(json!({ "message": "Hi", "api_key": "nx_x" }));
    let asking = asked(commands);
    assert_eq!((asking.text.as_str(), asking.conversation), ("Hi", conversation()));
    let what = vec![
        accepted(&asking.tag),
        delta("Good "),
        delta("day"),
        result("list_tasks", "completed"),
        done("answered", "Good day", None),
    ];
    let actions = json!([{ "tool": "list_tasks", "status": "completed" }]);
    let wanted = [
        json!({ "token": "Good " }),
        json!({ "token": "day" }),
        json!({ "done": true, "response": "Good day", "actions": actions }),
    ];
    assert_eq!(play(&mut adp, what), wanted);
    assert_eq!(adp.beat(), None, "it knows only the socket's own ping");
    let error = sent(adp.said(r#"{"message":3}"#, Duration::ZERO)).remove(0);
    assert_eq!(error["error"]["code"], "bad_frame");
}

#[test]
fn golden_transcript_of_version_2() {
    let first =
        json!({ "type": "chat_request", "text": "Hi", "request_id": "r1", "api_key": "nx_x" });
    let (mut adp, commands) = opened(first);
    let asking = asked(commands);
    assert_eq!((asking.id.as_deref(), asking.with_devices), (Some("r1"), true));
    let what = vec![
        // It may come before the acceptance, and nothing is lost.
        delta("Good "),
        accepted(&asking.tag),
        delta("day"),
        result("create_note", "failed"),
        done("answered", "Good day", None),
        done("answered", "Good day", None),
    ];
    let (place, actions) = (conversation(), json!([{ "tool": "create_note", "status": "failed" }]));
    let wanted = [
        json!({ "type": "accepted", "request_id": "r1", "correlation_id": RUN, "conversation": place }),
        json!({ "type": "text_chunk", "correlation_id": RUN, "text": "Good ", "cursor": "12:" }),
        json!({ "type": "text_chunk", "correlation_id": RUN, "text": "day", "cursor": "12:" }),
        json!({ "type": "final", "done": true, "correlation_id": RUN, "conversation": place, "status": "answered",
                "response": "Good day", "actions": actions, "cursor": "14:" }),
    ];
    assert_eq!(play(&mut adp, what), wanted);
    assert_eq!(adp.beat().unwrap(), r#"{"type":"ping"}"#);
    assert_eq!(adp.heartbeat(Duration::from_secs(1)), Duration::from_secs(30));
}

#[test]
fn a_failure_is_a_final_frame_with_its_error() {
    let (mut adp, commands) = opened(json!({ "type": "chat_request", "message": "Hi" }));
    let tag = asked(commands).tag;
    let error = ErrorBody { code: "run_timeout".to_owned(), message: "Too slow.".to_owned() };
    let frames = play(&mut adp, vec![accepted(&tag), done("failed", "Too slow.", Some(error))]);
    let last = frames.last().unwrap();
    assert_eq!(
        (&last["done"], &last["response"], &last["status"]),
        (&json!(true), &json!(""), &json!("failed"))
    );
    assert_eq!(last["error"], json!({ "code": "run_timeout", "message": "Too slow." }));
}

#[test]
fn a_reset_says_how_much_stays() {
    let (mut adp, commands) = opened(json!({ "type": "chat_request", "text": "Hi" }));
    let tag = asked(commands).tag;
    let reset = ServerFrame::Reset {
        conversation: conversation(),
        run: RUN,
        call: CALL,
        cursor: Cursor::at(12),
    };
    let frames =
        play(&mut adp, vec![accepted(&tag), delta("Go"), Happening::Frame(reset), delta("Good")]);
    assert_eq!(
        frames[2],
        json!({ "type": "text_reset", "correlation_id": RUN, "keep": 0, "cursor": "12:" })
    );
    assert_eq!(frames[3]["text"], "Good");
}

#[test]
fn an_unknown_frame_is_a_typed_error_and_the_old_format_stays_readable() {
    let (mut adp, _) = opened(json!({ "type": "device_hello", "device": "desk" }));
    for (frame, code) in [
        (r#"{"type":"mutation"}"#, "unknown_frame"),
        ("[]", "bad_frame"),
        (r#"{"type":"chat_request"}"#, "bad_frame"),
        (
            r#"{"type":"cancel","correlation_id":"00000000-0000-0000-0000-000000000009"}"#,
            "unknown_run",
        ),
    ] {
        let error = sent(adp.said(frame, Duration::ZERO)).remove(0);
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{frame}");
    }
    assert_eq!(asked(adp.said(r#"{"message":"old"}"#, Duration::ZERO)).text, "old");
}

#[test]
fn a_run_is_resumed_by_its_id_from_a_cursor_or_from_its_beginning() {
    let found = |found| Happening::Found { run: RUN, found };
    let resume = |after: &str| {
        let first = json!({ "type": "resume", "correlation_id": RUN, "after": after });
        let (adp, commands) = opened(first);
        assert!(matches!(commands[..], [Command::Find { run: RUN }]));
        adp
    };
    let followed = |commands: Vec<Command>| match commands.as_slice() {
        [Command::Follow { conversation, cursor, .. }] => {
            (conversation.clone(), cursor.to_string())
        }
        other => panic!("{other:?}"),
    };
    let called = Called { call: CALL, tool: "get_note".to_owned(), status: "completed".to_owned() };
    let known =
        || Some(Found { conversation: "c".to_owned(), sequence: 10, called: vec![called.clone()] });
    let mut adp = resume("");
    assert_eq!(
        followed(adp.happened(found(known()), Duration::ZERO)),
        ("c".to_owned(), "9:".to_owned())
    );
    let rest = play(
        &mut adp,
        vec![delta("rest"), result("get_note", "completed"), done("answered", "rest", None)],
    );
    assert_eq!(rest[0]["text"], "rest");
    assert_eq!(rest[1]["actions"], json!([{ "tool": "get_note", "status": "completed" }]), "once");
    let mut adp = resume("12:");
    assert_eq!(
        followed(adp.happened(found(known()), Duration::ZERO)),
        ("c".to_owned(), "12:".to_owned())
    );
    let mut adp = resume("");
    let error = sent(adp.happened(found(None), Duration::ZERO)).remove(0);
    assert_eq!(error["code"], "unknown_run");
}
