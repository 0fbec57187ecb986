//! What every dialect of the WebSocket has in common.
//!
//! A dialect is a pure translation: what the client says becomes [`Command`]s, what happens becomes
//! the client's frames. It does no I/O and reads no clock; `at` is the time since the connection
//! began. The first frame chooses it, and brings the key.

use std::sync::Arc;
use std::time::Duration;

use nexus_contracts::{Message, ToolApproval, ToolOutcome};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::cursor::Cursor;
use crate::frames::ServerFrame;

use super::adp::Adp;
use super::attached::AttachmentRef;
use super::native::Native;
use super::npc::Npc;
use super::npc::past::Past;
use super::npc::save::Save;
use super::offer::Offer;

/// Close code for a client that does not keep up.
pub(super) const SLOW: u16 = 4429;

/// One protocol on the WebSocket.
pub(super) trait Dialect: Send {
    /// A text frame of the client.
    fn said(&mut self, text: &str, at: Duration) -> Vec<Command>;

    /// Something that the client may have to know.
    fn happened(&mut self, what: Happening, at: Duration) -> Vec<Command>;

    /// The error frame for what is wrong with the connection and not with one request.
    fn fault(&self, code: &'static str, message: String) -> String;

    /// The heartbeat frame; none where the client knows only the WebSocket's own ping.
    fn beat(&self) -> Option<String>;

    /// Time between two heartbeats.
    fn heartbeat(&self, configured: Duration) -> Duration {
        configured
    }

    /// When [`Dialect::woke`] is to be called.
    fn wakes(&self) -> Option<Duration> {
        None
    }

    /// The time has come.
    fn woke(&mut self, _at: Duration) -> Vec<Command> {
        Vec::new()
    }
}

/// What a connection begins with.
pub(super) struct Opening {
    pub(super) dialect: Box<dyn Dialect>,
    pub(super) key: Option<String>,
    /// The first frame asks for something too, and is to be heard after the key was checked.
    pub(super) asks: bool,
}

/// The dialect of a first frame; `None` when it may not be the first.
pub(super) fn open(first: &str) -> Option<Opening> {
    let frame: Value = serde_json::from_str(first).ok()?;
    let frame = frame.as_object()?;
    let text = |name: &str| frame.get(name).and_then(Value::as_str);
    match (text("type"), text("protocol")) {
        (Some("hello"), protocol) => {
            let dialect: Box<dyn Dialect> = match protocol {
                None | Some("native") => Box::new(Native),
                Some("npc") => Box::new(Npc::default()),
                Some("adp") => Box::new(Adp::greeted()),
                Some(_) => return None,
            };
            // A key of another type is a wrong key, not a missing one.
            let key = frame.get("key").filter(|key| !key.is_null());
            let key = key.map(|key| key.as_str().unwrap_or_default().to_owned());
            Some(Opening { dialect, key, asks: false })
        }
        _ if Adp::opens(frame) => {
            let key = text("api_key").or_else(|| text("key")).map(str::to_owned);
            Some(Opening { dialect: Box::new(Adp::default()), key, asks: true })
        }
        _ => None,
    }
}

/// What a client wants, whatever its dialect.
#[derive(Debug)]
pub(super) enum Command {
    /// Nothing is to be done.
    Idle,
    /// The client gets this frame.
    Send(String),
    Ask(Box<Asking>),
    Follow {
        conversation: String,
        cursor: Cursor,
        /// With an event frame for every step of a run.
        timeline: bool,
    },
    /// The same, unless the conversation is followed already.
    KeepUp {
        conversation: String,
        cursor: Cursor,
    },
    Unfollow {
        conversation: String,
    },
    Cancel {
        conversation: String,
        run: Uuid,
    },
    /// What came of a call that this client was sent.
    Answer {
        call: Uuid,
        outcome: ToolOutcome,
    },
    Decide {
        conversation: String,
        run: Uuid,
        approval: ToolApproval,
    },
    /// This connection is the user's device of this name.
    Attach {
        device: String,
        offer: Arc<Offer>,
    },
    /// Find the conversation of a run of this user.
    Find {
        run: Uuid,
    },
    /// What was said in a conversation before.
    Recall {
        conversation: String,
    },
    Save {
        npc: String,
        save: Box<Save>,
    },
    Load {
        npc: String,
        token: String,
    },
    /// The client gets nothing more, and the connection is closed with this code.
    Close(u16),
}

/// A request of a client.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// By which its dialect knows it again.
    pub(super) tag: String,
    /// The client's own number: the same number is the same request.
    pub(super) id: Option<String>,
    pub(super) conversation: String,
    pub(super) agent: Option<String>,
    pub(super) text: String,
    pub(super) attachments: Vec<AttachmentRef>,
    pub(super) instructions: Option<String>,
    pub(super) history: Option<Vec<Message>>,
    /// Tools that this client runs.
    pub(super) tools: Option<Arc<Offer>>,
    /// Tools of the user's devices are offered too.
    pub(super) with_devices: bool,
    /// The run can be found by its id later.
    pub(super) findable: bool,
}

/// What a client may have to know.
#[derive(Debug)]
pub(super) enum Happening {
    Welcome {
        session: Uuid,
        user: String,
        agents: Vec<String>,
        heartbeat: Duration,
    },
    Accepted(Taken),
    Refused(Refused),
    Frame(ServerFrame),
    /// A tool of this client is to be called; the arguments fit its schema.
    Call(Call),
    Attached {
        device: String,
        tools: usize,
    },
    /// Where a run is, when it is one of this user's.
    Found {
        run: Uuid,
        found: Option<Found>,
    },
    Recalled {
        conversation: String,
        past: Past,
    },
    Saved {
        npc: String,
        token: String,
    },
    Loaded {
        npc: String,
        save: Box<Save>,
    },
}

/// A request that is stored.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) tag: String,
    pub(super) conversation: String,
    pub(super) run: Uuid,
    pub(super) cursor: Cursor,
    /// It had been stored before.
    pub(super) repeated: bool,
}

/// A run that was asked for before.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) conversation: String,
    /// Of its request.
    pub(super) sequence: u64,
    pub(super) called: Vec<Called>,
}

/// A tool that a run has called, and how that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Called {
    #[serde(skip_serializing)]
    pub(super) call: Uuid,
    pub(super) tool: String,
    pub(super) status: String,
}

/// Why something was not done, and what it was.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: &'static str,
    pub(super) message: String,
    /// The request, when it was one.
    pub(super) tag: Option<String>,
    pub(super) conversation: Option<String>,
    /// The character, when it was about saving or loading one.
    pub(super) npc: Option<String>,
}

impl Refused {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), tag: None, conversation: None, npc: None }
    }

    pub(super) fn tag(mut self, tag: String) -> Self {
        self.tag = Some(tag);
        self
    }

    pub(super) fn conversation(mut self, conversation: String) -> Self {
        self.conversation = Some(conversation);
        self
    }

    pub(super) fn npc(mut self, npc: String) -> Self {
        self.npc = Some(npc);
        self
    }
}

/// A call of a client's own tool, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) conversation: String,
    pub(super) run: Uuid,
    pub(super) call: Uuid,
    pub(super) tool: String,
    /// They fit the tool's schema.
    pub(super) arguments: Value,
    pub(super) timeout_ms: u64,
    /// The device that is meant, when it is one.
    pub(super) device: Option<String>,
}

/// A frame as text.
pub(super) fn encode(frame: &impl Serialize) -> String {
    // Our own frames: strings, numbers and maps with string keys cannot fail.
    serde_json::to_string(frame).unwrap_or_default()
}

/// One frame for the client, as a command.
pub(super) fn send(frame: &impl Serialize) -> Command {
    Command::Send(encode(frame))
}
