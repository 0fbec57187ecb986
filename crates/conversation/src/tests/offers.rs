//! What a request brings along: the client's own tools, files, a persona, and asides.

use nexus_contracts::{
    Attachment, AttachmentKind, Effect, Event, EventType, IncomingRequest, Message, Part,
    RequestKind, Role, TimeoutScope, ToolExecute, ToolResult, ToolSpec,
};
use serde_json::json;

use super::fixtures::completed;
use super::world::World;
use crate::verify;

fn offered(name: &str, client: Option<&str>) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: "Opens the door.".to_owned(),
        parameters: json!({ "type": "object" }),
        effect: Effect::Write,
        timeout_ms: 2_000,
        client: client.map(str::to_owned),
    }
}

fn file(name: &str) -> Attachment {
    Attachment {
        uri: format!("blob:{name}"),
        sha256: "00".to_owned(),
        media_type: "text/plain".to_owned(),
        bytes: 3,
        kind: AttachmentKind::Document,
        name: Some(name.to_owned()),
    }
}

fn asking(world: &mut World, change: impl FnOnce(&mut IncomingRequest)) -> Event<IncomingRequest> {
    let mut request = world.request("kitchen", "open the door");
    change(&mut request.payload);
    world.put(&request);
    request
}

#[test]
fn clients_own_tool_is_offered_called_there_and_waited_for_no_longer_than_it_says() {
    let mut world = World::new();
    let tools = vec![offered("open_door", Some("npc:7")), offered("clock", Some("npc:7"))];
    let request = asking(&mut world, |request| request.client_tools = tools);
    world.recall(&[]);
    let names = world.last_request().tools.into_iter().map(|tool| (tool.name, tool.client));
    let theirs = |name: &str| (name.to_owned(), None);
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            theirs("clock"),
            theirs("append_line"),
            ("open_door".to_owned(), Some("npc:7".to_owned()))
        ],
        "the agent's own clock stays the agent's"
    );

    world.want(&[("open_door", "{}")]);
    let call = world.last(EventType::ToolsExecute);
    assert_eq!(world.payload::<ToolExecute>(call).client.as_deref(), Some("npc:7"));
    let waits: Vec<_> = world.state.waits().filter(|wait| wait.call == Some(call)).collect();
    assert_eq!(waits[0].allowed_ms, 2_000);
    world.time_out(request.id, TimeoutScope::Call { call });
    let parts = world.last_request().messages.pop().unwrap().parts;
    assert!(
        matches!(&parts[0], Part::ToolResult { text, .. } if text.starts_with("outcome unknown"))
    );
}

#[test]
fn offer_that_names_no_client_is_not_taken() {
    let mut world = World::new();
    asking(&mut world, |request| request.client_tools = vec![offered("open_door", None)]);
    world.recall(&[]);
    assert_eq!(world.last_request().tools.len(), 2);
}

#[test]
fn files_and_persona_reach_the_model() {
    let mut world = World::new();
    asking(&mut world, |request| {
        request.attachments = vec![file("list.txt")];
        request.instructions = Some("You are a smith.".to_owned());
    });
    world.recall(&[("before", "yes")]);
    let messages = world.last_request().messages;
    let system = "You are a helpful assistant.\n\nYou are a smith.";
    assert_eq!(messages[0], Message::text(Role::System, system));
    let text = Part::Text { text: "open the door".to_owned() };
    let attached = Part::Attachment { attachment: file("list.txt") };
    let said = Message { role: Role::User, parts: vec![text, attached] };
    assert_eq!(messages.last(), Some(&said));
}

#[test]
fn files_that_tools_make_come_with_the_answer_in_the_order_of_the_calls() {
    let mut world = World::new();
    let (run, _) = world.ask_the_model("make two files");
    world.want(&[("clock", "{}"), ("append_line", "{}")]);
    let [first, second] = world.ids(EventType::ToolsExecute)[..] else { panic!("two calls") };
    for (call, name) in [(second, "b.txt"), (first, "a.txt")] {
        let mut made: Event<ToolResult> = world.result(call, completed("made"));
        made.payload.attachments = vec![file(name)];
        world.put(&made);
    }
    world.say("Here they are.");
    assert_eq!(world.ends(run)[0].attachments, [file("a.txt"), file("b.txt")]);
    assert_eq!(verify(&world.record, None, false).mismatches, []);
}

#[test]
fn aside_is_one_model_call_without_tools_and_memory() {
    let mut world = World::new();
    let tools = vec![offered("open_door", Some("npc:7"))];
    let request = asking(&mut world, |request| {
        request.kind = RequestKind::Aside;
        request.client_tools = tools;
    });
    assert_eq!(world.kinds(request.id)[1..], ["runs.started", "inference.request"]);
    assert_eq!(world.last_request().tools, []);
    world.say("A title.");
    assert_eq!(world.ends(request.id)[0].kind, RequestKind::Aside);
}
