//! The address space as OSCQuery describes it. Pure.

use serde_json::{Map, Value, json};

/// Attributes that a client may ask for; those that no node has are optional in the proposal.
pub(super) const ATTRIBUTES: [&str; 13] = [
    "FULL_PATH",
    "CONTENTS",
    "DESCRIPTION",
    "ACCESS",
    "TYPE",
    "VALUE",
    "RANGE",
    "TAGS",
    "EXTENDED_TYPE",
    "UNIT",
    "CRITICAL",
    "CLIPMODE",
    "OVERLOADS",
];

/// Who sends to an address.
#[derive(Clone, Copy)]
enum Way {
    In,
    Out,
}

/// Every method: name, who sends it, type tags, description.
const METHODS: [(&str, Way, &str, &str); 11] = [
    (
        "hello",
        Way::In,
        "sis",
        "Begins a session: client name, reply port (0: the sender's), API key. Answered by welcome.",
    ),
    (
        "ask",
        Way::In,
        "sss",
        "Asks an agent: session, request name, text, then keys and values (agent, conversation). Asked twice, it runs once.",
    ),
    ("resend", Way::In, "sii", "Token messages once more: request name, first and last number."),
    ("cancel", Way::In, "ss", "Stops a request: session, request name."),
    ("ping", Way::In, "s", "I am still here: session. Answered by pong."),
    ("welcome", Way::Out, "ssi", "Session, its lease in seconds, seconds between pings."),
    ("accepted", Way::Out, "ss", "The request is stored: request name, run."),
    (
        "token",
        Way::Out,
        "siss",
        "A piece of the answer: request name, number, kind (text, reset, error), text.",
    ),
    ("done", Way::Out, "sis", "The answer is whole: request name, number of tokens, status."),
    ("pong", Way::Out, "s", "Session."),
    ("error", Way::Out, "sss", "Request name, code, what is wrong."),
];

/// The node at a path, with everything below it.
pub(super) fn node(path: &str) -> Option<Value> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut node = root();
    if path.is_empty() {
        return Some(node);
    }
    for name in path.split('/') {
        node = node.get_mut("CONTENTS")?.get_mut(name)?.take();
    }
    Some(node)
}

fn root() -> Value {
    let methods = METHODS.iter().map(|(name, way, tags, about)| {
        let access = match way {
            Way::In => 2,
            Way::Out => 1,
        };
        let node = json!({
            "FULL_PATH": format!("/nexus/1/{name}"),
            "ACCESS": access,
            "TYPE": tags,
            "DESCRIPTION": about,
        });
        ((*name).to_owned(), node)
    });
    let version = container("/nexus/1", "Version 1 of the protocol", methods.collect());
    let nexus = container("/nexus", "Agents", Map::from_iter([("1".to_owned(), version)]));
    container("/", "Nexus", Map::from_iter([("nexus".to_owned(), nexus)]))
}

fn container(path: &str, about: &str, contents: Map<String, Value>) -> Value {
    json!({ "FULL_PATH": path, "ACCESS": 0, "DESCRIPTION": about, "CONTENTS": contents })
}
