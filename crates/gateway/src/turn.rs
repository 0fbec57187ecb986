//! Taking a turn from clients that speak in turns, whatever the protocol.

use nexus_contracts::{IncomingRequest, RequestKind, Sampling, ToolSpec};
use uuid::Uuid;

use crate::accept::{self, Accepted, Ask, Refusal};
use crate::app::App;
use crate::cursor::Cursor;
use crate::dialogue::Dialogue;
use crate::feed::Feed;
use crate::follow::Follow;
use crate::keys::Principal;
use crate::refused::Refused;
use crate::room::Room;
use crate::threads::{Place, Thread};

/// Most bytes of a resent history that go along: with the question they have to fit into an event.
const HISTORY_BYTES: usize = 96 * 1024;

/// What a client asks, and how it keeps its conversation.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) dialogue: Dialogue,
    pub(crate) keeping: Keeping,
    /// The client's own number of the request, if it has one.
    pub(crate) id: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) tools: Vec<ToolSpec>,
    pub(crate) sampling: Sampling,
    pub(crate) kind: RequestKind,
}

/// Who remembers what was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// We do, under this name; the client sends what is new.
    Here(String),
    /// The client resends all of it, perhaps with a name.
    Resent(Option<String>),
}

/// A turn that is stored.
pub(crate) struct Begun {
    pub(crate) accepted: Accepted,
    pub(crate) follow: Follow,
    /// What is to be remembered once it is answered.
    pub(crate) thread: Option<Thread>,
}

/// The conversation of a turn, and what goes along with its question.
struct Onset {
    conversation: String,
    history: Option<Dialogue>,
    thread: Option<Thread>,
}

/// Stores a turn; it is accepted when this returns.
pub(crate) async fn begin(app: &App, who: &Principal, turn: Turn) -> Result<Begun, Refused> {
    let Some((text, attachments)) = turn.dialogue.question() else {
        return Err(Refused::invalid(
            "messages: at least one is needed, and the last has to be the user's, or what tools have answered",
        ));
    };
    let onset = onset(app, who, &turn).await?;
    let room = Room::of(who, &onset.conversation).map_err(Refusal::from)?;
    let request = IncomingRequest {
        history: onset.history.map(|history| history.newest(HISTORY_BYTES).messages()),
        model: turn.model,
        attachments,
        client_tools: turn.tools,
        instructions: turn.dialogue.instructions(),
        sampling: turn.sampling,
        kind: turn.kind,
        ..IncomingRequest::text(text)
    };
    let ask = Ask { id: turn.id, room: room.clone(), agent: turn.agent, request };
    let subscription = app.hub.subscribe(room.tenant, &room.token);
    let limit = app.config.max_text_bytes;
    let accepted = accept::accept(&app.bus, &app.channel, who, ask, limit, (app.now)()).await?;
    // A request that was asked before may be answered already: read it from the log.
    let from = Cursor::at(accepted.sequence.saturating_sub(1));
    let follow = if accepted.repeated {
        drop(subscription);
        app.follow(&room, from, true).await?
    } else {
        Follow { feed: Feed::after(room.name.clone(), from, true), subscription, ready: Vec::new() }
    };
    let thread = onset.thread;
    let place = Place {
        tenant: who.tenant,
        user: who.user.clone(),
        conversation: room.name.clone(),
        sequence: accepted.sequence,
        complete: thread.as_ref().is_none_or(|thread| thread.complete),
    };
    app.threads.place(accepted.run, &place).await?;
    Ok(Begun { accepted, follow, thread })
}

async fn onset(app: &App, who: &Principal, turn: &Turn) -> Result<Onset, Refused> {
    let before = turn.dialogue.before();
    // The same key has to lead to the same conversation, or it would be another request.
    let own = || {
        let key = turn.id.as_ref();
        key.map_or_else(|| Uuid::now_v7().to_string(), |key| format!("idempotent {key}"))
    };
    let scope = match &turn.keeping {
        Keeping::Here(name) => {
            return Ok(Onset { conversation: name.clone(), history: None, thread: None });
        }
        Keeping::Resent(_) if !turn.kind.is_turn() => {
            return Ok(Onset { conversation: own(), history: Some(before), thread: None });
        }
        Keeping::Resent(scope) => scope.clone(),
    };
    let by = turn.id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
    let onward = app.threads.onward(who, scope.as_deref(), &before.canon(), &by).await?;
    let conversation = onward.conversation.unwrap_or_else(own);
    let is_remembered = onward.complete && app.recalls(turn.agent.as_deref(), &before);
    let thread = Thread {
        who: who.clone(),
        scope,
        said: turn.dialogue.canon(),
        conversation: conversation.clone(),
        complete: onward.complete,
    };
    Ok(Onset { conversation, history: (!is_remembered).then_some(before), thread: Some(thread) })
}

impl App {
    /// Whether an agent is reminded of all that was said, if it was said here.
    fn recalls(&self, agent: Option<&str>, said: &Dialogue) -> bool {
        let name = agent.unwrap_or(&self.config.default_agent);
        let agents = self.agents.entries();
        let turns = agents.get(name).map_or(0, |agent| agent.recall_turns);
        said.turns_in_words()
            .is_some_and(|said| said <= usize::try_from(turns).unwrap_or(usize::MAX))
    }
}
