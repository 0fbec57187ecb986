use super::*;

fn sent(commands: Vec<Command>) -> Vec<Value> {
    let text = |command| match command {
        Command::Send(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    };
    commands.into_iter().map(text).collect()
}

fn said(frame: &str) -> Command {
    let mut commands = Native.said(frame, Duration::ZERO);
    assert_eq!(commands.len(), 1);
    commands.remove(0)
}

#[test]
fn a_question_brings_its_tools_files_and_instructions() {
    let frame = json!({
        "type": "ask", "id": "7", "conversation": "c", "text": "Open the door", "agent": "butler",
        "instructions": "It is night.", "attachments": [{ "base64": "aGk=", "media_type": "text/plain" }],
        "tools": [{ "name": "open_door", "timeout_ms": 1000 }],
    });
    let Command::Ask(asking) = said(&frame.to_string()) else { panic!() };
    assert_eq!((asking.tag.as_str(), asking.id.as_deref()), ("7", Some("7")));
    assert_eq!(asking.instructions.as_deref(), Some("It is night."));
    assert_eq!((asking.attachments.len(), asking.with_devices), (1, true));
    assert_eq!(asking.tools.unwrap().specs("x")[0].timeout_ms, 1000);
}

#[test]
fn what_cannot_be_read_is_an_error_with_its_code() {
    let code = |frame: &str| sent(vec![said(frame)])[0]["code"].clone();
    assert_eq!(code(r#"{"type":"dance"}"#), "unknown_frame");
    for bad in [
        "",
        "null",
        "[]",
        r#"{"type":"ask"}"#,
        r#"{"type":3}"#,
        r#"{"type":"device_hello","device":""}"#,
    ] {
        assert_eq!(code(bad), "bad_frame", "{bad}");
    }
    let tools = r#"{"type":"ask","id":"1","conversation":"c","text":"t","tools":[{"name":"a b"}]}"#;
    let error = sent(vec![said(tools)]).remove(0);
    assert_eq!((&error["code"], &error["id"]), (&json!("bad_tool"), &json!("1")));
}

#[test]
fn a_call_is_shown_to_the_program_that_runs_it_and_to_no_follower() {
    let (run, call) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let arguments = json!({ "floor": 3 });
    let ours = Call {
        conversation: "c".to_owned(),
        run,
        call,
        tool: "open_door".to_owned(),
        arguments: arguments.clone(),
        timeout_ms: 1000,
        device: None,
    };
    let frames = sent(Native.happened(Happening::Call(ours), Duration::ZERO));
    let wanted = json!({
        "type": "tool_call", "conversation": "c", "run": run, "call": call, "tool": "open_door",
        "arguments": arguments, "timeout_ms": 1000,
    });
    assert_eq!(frames, [wanted]);
    let followed = crate::frames::ToolCallFrame {
        conversation: "c".to_owned(),
        run,
        call,
        client: "session:x".to_owned(),
        tool: "open_door".to_owned(),
        arguments: "{}".to_owned(),
        timeout_ms: 1000,
        cursor: Cursor::default(),
    };
    let frame = Happening::Frame(ServerFrame::ToolCall(followed));
    assert_eq!(sent(Native.happened(frame, Duration::ZERO)), Vec::<Value>::new());
}

#[test]
fn an_approval_is_passed_on_as_it_was_given() {
    let frame = json!({
        "type": "approve", "conversation": "c", "run": Uuid::from_u128(1), "question": Uuid::from_u128(2),
        "decision": "denied", "arguments_sha256": "ab",
    });
    let Command::Decide { approval, .. } = said(&frame.to_string()) else { panic!() };
    assert_eq!((approval.decision, approval.arguments_sha256.as_str()), (Decision::Denied, "ab"));
}

#[test]
fn a_slow_reader_is_told_where_to_go_on_and_then_cut_off() {
    let resume = ServerFrame::Resume { conversation: "c".to_owned(), cursor: Cursor::at(7) };
    let commands = Native.happened(Happening::Frame(resume), Duration::ZERO);
    let [Command::Send(text), Command::Close(SLOW)] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    assert_eq!(text, r#"{"type":"resume","conversation":"c","cursor":"7:"}"#);
}
