use std::collections::{BTreeMap, VecDeque};

use nexus_contracts::{
    AgentSnapshot, Attachment, IncomingRequest, Message, Metadata, RunUsage, TenantId, Timestamp,
    Token, ToolExecute, ToolOutcome, sha256_hex_of,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::REMEMBER_MS;

/// Everything that decisions about one partition depend on: a fold of its inputs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    #[serde(serialize_with = "as_pairs", deserialize_with = "from_pairs")]
    conversations: BTreeMap<ConversationKey, Conversation>,
}

/// Which conversation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConversationKey {
    pub tenant: TenantId,
    pub channel: Token,
    pub conversation: Token,
}

impl ConversationKey {
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            tenant: metadata.tenant,
            channel: metadata.channel.clone(),
            conversation: metadata.conversation.clone(),
        }
    }
}

/// A call that is open, as the keeper of deadlines sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingCall {
    pub run: Uuid,
    /// `None`: the whole run.
    pub call: Option<Uuid>,
    /// Longest wait from the moment that the call was issued.
    pub allowed_ms: u64,
    pub key: ConversationKey,
}

impl State {
    pub(crate) fn conversation(&mut self, key: ConversationKey) -> &mut Conversation {
        self.conversations.entry(key).or_default()
    }

    /// The conversation's state, if it has any.
    #[must_use]
    pub fn get(&self, key: &ConversationKey) -> Option<&Conversation> {
        self.conversations.get(key)
    }

    /// Requests that are active or waiting, with their stored times.
    pub fn pending(&self) -> impl Iterator<Item = (Uuid, Timestamp)> {
        let conversations = self.conversations.values();
        conversations.flat_map(|conversation| {
            conversation.open().map(|request| (request.id, request.stored_at))
        })
    }

    /// Requests that are active or waiting, with their conversations.
    #[must_use]
    pub fn open_requests(&self) -> Vec<(ConversationKey, Uuid)> {
        let conversations = self.conversations.iter();
        let open = conversations
            .flat_map(|(key, conversation)| conversation.open().map(|open| (key.clone(), open.id)));
        open.collect()
    }

    /// Whether a call waits for its answer.
    #[must_use]
    pub fn is_open(&self, key: &ConversationKey, call: Uuid) -> bool {
        let active = self.get(key).and_then(|conversation| conversation.active.as_ref());
        active.is_some_and(|run| run.open_calls().any(|(open, _)| open == call))
    }

    /// Whether a run of this conversation waits for its `runs.started`.
    #[must_use]
    pub fn is_starting(&self, key: &ConversationKey, run: Uuid) -> bool {
        let active = self.get(key).and_then(|conversation| conversation.active.as_ref());
        active.is_some_and(|active| active.id() == run && matches!(active.phase, Phase::Starting))
    }

    /// All waits that have a limit.
    pub fn waits(&self) -> impl Iterator<Item = PendingCall> {
        self.conversations.iter().flat_map(|(key, conversation)| conversation.waits(key))
    }

    /// The waits of one conversation.
    #[must_use]
    pub fn waits_of(&self, key: &ConversationKey) -> Vec<PendingCall> {
        self.get(key).map(|conversation| conversation.waits(key)).unwrap_or_default()
    }

    /// Forgets what no decision at or after `now` depends on.
    pub fn prune(&mut self, now: Timestamp) {
        self.conversations.retain(|_, conversation| {
            conversation.known.retain(|_, seen| !expired(*seen, now));
            conversation.replied =
                conversation.replied.filter(|reply| !expired(reply.stored_at, now));
            *conversation != Conversation::default()
        });
    }

    /// Conversations held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.conversations.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conversations.is_empty()
    }
}

fn expired(seen: Timestamp, now: Timestamp) -> bool {
    now.millis_since(seen) > REMEMBER_MS
}

fn as_pairs<S: Serializer>(
    map: &BTreeMap<ConversationKey, Conversation>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map)
}

fn from_pairs<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<ConversationKey, Conversation>, D::Error> {
    let pairs = Vec::<(ConversationKey, Conversation)>::deserialize(deserializer)?;
    Ok(pairs.into_iter().collect())
}

/// One conversation: its active run and the requests that wait.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    pub(crate) active: Option<Run>,
    pub(crate) queue: VecDeque<Request>,
    /// Ids of all requests seen, active, waiting and ended, with their stored times.
    pub(crate) known: BTreeMap<Uuid, Timestamp>,
    /// Where the last reply stands.
    #[serde(default)]
    pub(crate) replied: Option<Reply>,
}

/// A reply's place in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) sequence: u64,
    pub(crate) stored_at: Timestamp,
}

impl Conversation {
    /// Whether this request is open or was seen before; a repeat is ignored.
    pub(crate) fn knows(&self, request: Uuid, now: Timestamp) -> bool {
        self.known.get(&request).is_some_and(|seen| !expired(*seen, now))
            || self.open().any(|open| open.id == request)
    }

    /// Requests without their `requests.processed`, and the active one until it is read back.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Request> {
        let active = self.active.iter();
        let heard = active.flat_map(|run| std::iter::once(&run.request).chain(&run.steering));
        heard.chain(&self.queue)
    }

    /// Stream sequence of the last reply that a decision at `now` may rest on; 0 when there is none.
    pub(crate) fn last_reply(&self, now: Timestamp) -> u64 {
        let last = self.replied.filter(|reply| !expired(reply.stored_at, now));
        last.map_or(0, |reply| reply.sequence)
    }

    fn waits(&self, key: &ConversationKey) -> Vec<PendingCall> {
        let Some(run) = &self.active else { return Vec::new() };
        if matches!(run.phase, Phase::Ending) {
            return Vec::new();
        }
        let calls = run.open_calls().map(|(call, allowed_ms)| PendingCall {
            run: run.id(),
            call: Some(call),
            allowed_ms,
            key: key.clone(),
        });
        // The time that a person takes to answer is not the run's.
        let agent = run.agent.as_ref().filter(|_| !run.asks_a_person());
        let whole = agent.map(|agent| PendingCall {
            run: run.id(),
            call: None,
            allowed_ms: agent.definition.budget.wall_time_ms,
            key: key.clone(),
        });
        calls.chain(whole).collect()
    }
}

/// A request that has been accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: Uuid,
    pub(crate) stored_at: Timestamp,
    /// Metadata that the run's events inherit.
    pub(crate) place: Metadata,
    pub(crate) payload: IncomingRequest,
    /// SHA-256 of the event's bytes, hexadecimal.
    pub(crate) digest: String,
}

/// A run in progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) request: Request,
    /// Counts the inputs that the run reacted to.
    pub(crate) step: u32,
    /// Commands issued in this step.
    pub(crate) issued: u32,
    /// SHA-256 over all inputs so far, hexadecimal.
    pub(crate) digest: String,
    pub(crate) agent: Option<AgentSnapshot>,
    /// The conversation with the model.
    pub(crate) messages: Vec<Message>,
    /// So many of them, the first that are no instructions, were said before and may be dropped.
    pub(crate) history: usize,
    pub(crate) phase: Phase,
    /// Requests that arrived meanwhile and go into the next model call.
    pub(crate) steering: Vec<Request>,
    pub(crate) usage: RunUsage,
    pub(crate) model: Option<String>,
    /// Files that tools made for the speaker.
    #[serde(default)]
    pub(crate) made: Vec<Attachment>,
}

impl Run {
    pub(crate) fn new(request: Request) -> Self {
        Self {
            digest: request.digest.clone(),
            request,
            step: 0,
            issued: 0,
            agent: None,
            messages: Vec::new(),
            history: 0,
            phase: Phase::Starting,
            steering: Vec::new(),
            usage: RunUsage::default(),
            model: None,
            made: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> Uuid {
        self.request.id
    }

    /// Takes an input into the run's digest and begins its next step.
    pub(crate) fn begin_step(&mut self, bytes: &[u8]) {
        self.absorb(bytes);
        self.step += 1;
        self.issued = 0;
    }

    /// Takes an input into the run's digest.
    pub(crate) fn absorb(&mut self, bytes: &[u8]) {
        self.digest = sha256_hex_of(&[self.digest.as_bytes(), bytes]);
    }

    /// Whether a call waits for a person's leave.
    fn asks_a_person(&self) -> bool {
        let Phase::Acting(calls) = &self.phase else { return false };
        calls.iter().any(|call| call.question.is_some() && call.outcome.is_none())
    }

    /// Open calls with the longest wait for each, in milliseconds.
    fn open_calls(&self) -> impl Iterator<Item = (Uuid, u64)> {
        let single = match &self.phase {
            Phase::Recalling(call) | Phase::Thinking(call) => Some((call.id, call.allowed_ms)),
            Phase::Starting | Phase::Acting(_) | Phase::Ending => None,
        };
        let tools = match &self.phase {
            Phase::Acting(calls) => calls.as_slice(),
            Phase::Starting | Phase::Recalling(_) | Phase::Thinking(_) | Phase::Ending => &[],
        };
        let open = tools.iter().filter(|call| call.outcome.is_none());
        single.into_iter().chain(open.map(|call| (call.id, call.allowed_ms)))
    }
}

/// What a run waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Its `runs.started`.
    Starting,
    Recalling(Call),
    Thinking(Call),
    Acting(Vec<ToolCall>),
    /// Its own `requests.processed`, read back.
    Ending,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) id: Uuid,
    pub(crate) allowed_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ToolCall {
    pub(crate) id: Uuid,
    pub(crate) provider_id: Option<String>,
    pub(crate) tool: String,
    pub(crate) has_effect: bool,
    pub(crate) allowed_ms: u64,
    pub(crate) outcome: Option<ToolOutcome>,
    /// Under which the model knows the call.
    pub(crate) shown: Uuid,
    /// The call that waits for a person's leave; `id` is the question then.
    #[serde(default)]
    pub(crate) question: Option<Box<ToolExecute>>,
    #[serde(default)]
    pub(crate) attachments: Vec<Attachment>,
}
