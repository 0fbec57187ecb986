use std::collections::{BTreeMap, BTreeSet};

use nexus_contracts::{
    AgentSnapshot, Event, EventType, IncomingRequest, InferenceOutcome, InferenceResponse,
    RunConfiguration, RunStarted, ToolApproval, ToolExecute, ToolOutcome, ToolResult,
};
use uuid::Uuid;

use crate::callref::CallRef;
use crate::frames::{ApprovalFrame, EventFrame, ServerFrame, ToolCallFrame};

/// Whom a client can wait for besides the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// It runs its own tools.
    Calls,
    /// It also asks its person whether a tool may be called.
    CallsAndApprovals,
}

/// What happens with a run's tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    Called { id: String, tool: String, arguments: String, by: By },
    Asked { id: String, tool: String, arguments: String, expires_after_ms: u64 },
    Ended { id: String, by: By, outcome: ToolOutcome },
}

/// Who runs a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Nexus,
    Client,
}

/// The tool calls of one run, and whether it waits for its client.
#[derive(Debug)]
pub(super) struct Calls {
    run: Uuid,
    sequence: u64,
    asks: Asks,
    /// Tools of the agent, and those of the speaker's program.
    own: BTreeSet<String>,
    offered: BTreeSet<String>,
    /// Tools that a person has to allow.
    guarded: BTreeSet<String>,
    /// Calls of the last answer that have yet to be issued, or put to the client.
    expected: usize,
    /// Calls that Nexus makes, without result.
    running: BTreeSet<Uuid>,
    /// What the client is to do, in the order in which it was told.
    open: Vec<Uuid>,
    /// By call, what the client knows it as: an allowed call goes by its question.
    shown: BTreeMap<Uuid, (Uuid, By)>,
    /// By the event of a person's answer, its question.
    decided: BTreeMap<Uuid, Uuid>,
    /// What was put to the client in the response before this one, and has not come by yet.
    before: BTreeSet<Uuid>,
    /// Whether these frames were sent in that response.
    behind: bool,
}

impl Calls {
    /// `before`: the calls and questions that the client has answered, when the run goes on.
    pub(super) fn new(run: Uuid, sequence: u64, asks: Asks, before: BTreeSet<Uuid>) -> Self {
        Self {
            run,
            sequence,
            asks,
            own: BTreeSet::new(),
            offered: BTreeSet::new(),
            guarded: BTreeSet::new(),
            expected: 0,
            running: BTreeSet::new(),
            open: Vec::new(),
            shown: BTreeMap::new(),
            decided: BTreeMap::new(),
            behind: !before.is_empty(),
            before,
        }
    }

    /// Whether the client has got these frames in an earlier response.
    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Whether the run now waits for nobody but the client, which has been told what it is to do.
    pub(super) fn waits(&self) -> bool {
        self.expected == 0 && self.running.is_empty() && !self.open.is_empty()
    }

    /// Ids of what the client is to do.
    pub(super) fn open(&self) -> Vec<String> {
        self.open.iter().map(|call| self.id(*call)).collect()
    }

    /// Takes in a frame of this run.
    pub(super) fn frame(&mut self, frame: &ServerFrame) -> Option<News> {
        let news = match frame {
            ServerFrame::Event(event) => self.event(event),
            ServerFrame::ToolCall(call) => self.called(call),
            ServerFrame::Approval(question) => self.asked(question),
            _ => None,
        };
        // There the response before this one ended.
        if self.before.is_empty() && self.expected == 0 && self.running.is_empty() {
            self.behind = false;
        }
        news
    }

    fn event(&mut self, frame: &EventFrame) -> Option<News> {
        match frame.event {
            EventType::RequestsIncoming => {
                let event = Event::<IncomingRequest>::decode(&frame.stored).ok()?;
                self.offered =
                    event.payload.known.client_tools.into_iter().map(|tool| tool.name).collect();
            }
            EventType::RunsStarted => {
                let event = Event::<RunStarted>::decode(&frame.stored).ok()?;
                if let RunConfiguration::Accepted { agent } = event.payload.known.configuration {
                    self.started(*agent);
                }
            }
            EventType::InferenceResponse => {
                let event = Event::<InferenceResponse>::decode(&frame.stored).ok()?;
                if let InferenceOutcome::Completed { tool_calls, .. } = &event.payload.outcome {
                    let issued = tool_calls.iter().filter(|call| self.is_issued(&call.tool));
                    self.expected = issued.count();
                    self.running.clear();
                    self.open.clear();
                }
            }
            EventType::ToolsApproval => {
                let event = Event::<ToolApproval>::decode(&frame.stored).ok()?;
                self.decided.insert(event.id, event.payload.question);
            }
            EventType::ToolsExecute => return self.executed(frame),
            EventType::ToolsResults => {
                let event = Event::<ToolResult>::decode(&frame.stored).ok()?;
                let (shown, by) = *self.shown.get(&event.payload.call)?;
                self.open.retain(|call| *call != shown);
                self.running.remove(&shown);
                if !self.is_behind() {
                    let outcome = event.payload.known.outcome;
                    return Some(News::Ended { id: self.id(shown), by, outcome });
                }
            }
            _ => {}
        }
        None
    }

    fn executed(&mut self, frame: &EventFrame) -> Option<News> {
        let event = Event::<ToolExecute>::decode(&frame.stored).ok()?;
        let cause = event.metadata.causation_id;
        let question = cause.and_then(|cause| self.decided.get(&cause)).copied();
        let shown = question.unwrap_or(event.id);
        let ToolExecute { tool, arguments, client, .. } = event.payload.known;
        let by = if client.is_some() { By::Client } else { By::Nexus };
        self.shown.insert(event.id, (shown, by));
        if by == By::Client {
            return None;
        }
        self.running.insert(shown);
        // What a person was asked about is known to the client already.
        if question.is_some() {
            return None;
        }
        self.expected = self.expected.saturating_sub(1);
        (!self.is_behind()).then(|| News::Called { id: self.id(shown), tool, arguments, by })
    }

    fn started(&mut self, agent: AgentSnapshot) {
        self.own = agent.tools.into_iter().map(|tool| tool.name).collect();
        self.guarded = agent.definition.approvals.tools.into_iter().collect();
    }

    /// Whether a call of this tool is made, or put to the client; others are refused, or wait for
    /// a person elsewhere.
    fn is_issued(&self, tool: &str) -> bool {
        let is_known = self.own.contains(tool) || self.offered.contains(tool);
        is_known && (self.asks == Asks::CallsAndApprovals || !self.guarded.contains(tool))
    }

    fn called(&mut self, frame: &ToolCallFrame) -> Option<News> {
        let (shown, _) = self.shown.get(&frame.call).copied().unwrap_or((frame.call, By::Client));
        let was_asked = shown != frame.call;
        if !was_asked {
            self.expected = self.expected.saturating_sub(1);
        }
        if self.put_before(shown) {
            return None;
        }
        self.open.push(shown);
        let (tool, arguments) = (frame.tool.clone(), frame.arguments.clone());
        Some(News::Called { id: self.id(shown), tool, arguments, by: By::Client })
    }

    fn asked(&mut self, frame: &ApprovalFrame) -> Option<News> {
        if self.asks == Asks::Calls {
            return None;
        }
        self.expected = self.expected.saturating_sub(1);
        if self.put_before(frame.question) {
            return None;
        }
        self.open.push(frame.question);
        Some(News::Asked {
            id: self.id(frame.question),
            tool: frame.tool.clone(),
            arguments: frame.arguments.clone(),
            expires_after_ms: frame.expires_after_ms,
        })
    }

    /// Whether an earlier response put this to the client.
    fn put_before(&mut self, call: Uuid) -> bool {
        self.before.remove(&call);
        self.behind
    }

    fn id(&self, call: Uuid) -> String {
        CallRef { run: self.run, call, sequence: self.sequence }.encode()
    }
}
