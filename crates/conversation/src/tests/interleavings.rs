//! Arbitrary histories: what people and workers do, in any order that a stream can have.

use nexus_contracts::{
    Decision, EventType, InferenceError, InferenceOutcome, OnMessage, RunConfiguration,
    TimeoutScope, ToolOutcome,
};
use proptest::prelude::*;
use proptest::sample::Index;
use uuid::Uuid;

use super::fixtures::{completed, said, wanted};
use super::world::World;

const CONVERSATIONS: [&str; 3] = ["kitchen", "garden", "attic"];
const TOOLS: [(&str, &str); 3] =
    [("clock", "{}"), ("append_line", r#"{"line":"é\n"}"#), ("no_such_tool", "{}")];
const DAY_MS: u64 = 24 * 3600 * 1000;

#[derive(Debug, Clone)]
pub(super) struct History {
    policy: OnMessage,
    recall_turns: u32,
    model_calls: u32,
    tool_calls: u32,
    tokens: u64,
    /// Whether a person has to allow the tool with an effect.
    asks: bool,
    actions: Vec<Action>,
}

#[derive(Debug, Clone)]
enum Action {
    Ask(Index),
    /// Somebody sends a request again.
    Repeat(Index),
    /// A worker answers a call that may be open.
    Answer(Index, Answer),
    /// A worker answers any call, perhaps again, perhaps much too late.
    AnswerAny(Index, Answer),
    TimeOut(Index),
    TimeOutRun(Index),
    Cancel(Index, Option<&'static str>),
    /// Somebody ends everything in the first conversation.
    Stop,
    /// What the next runs get for a configuration.
    Refuse(bool),
    /// One command is stored.
    Deliver,
    DeliverAll,
    Wait(u64),
}

#[derive(Debug, Clone)]
enum Answer {
    Completed,
    Empty,
    Failed,
    Tools(Vec<Index>),
}

/// How much time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    Short,
    /// Also days, so that things are forgotten.
    Long,
}

pub(super) fn history(time: Time) -> impl Strategy<Value = History> {
    let policy =
        prop_oneof![Just(OnMessage::Queue), Just(OnMessage::Steer), Just(OnMessage::Interrupt)];
    let budgets = (1..5_u32, 0..6_u32, prop_oneof![Just(100_u64), Just(400_000)]);
    let actions = proptest::collection::vec(action(time), 1..60);
    (policy, prop_oneof![Just(0_u32), Just(20)], budgets, any::<bool>(), actions).prop_map(
        |(policy, recall_turns, (model_calls, tool_calls, tokens), asks, actions)| History {
            policy,
            recall_turns,
            model_calls,
            tool_calls,
            tokens,
            asks,
            actions,
        },
    )
}

fn action(time: Time) -> impl Strategy<Value = Action> {
    let index = any::<Index>;
    let answer = || {
        prop_oneof![
            3 => Just(Answer::Completed),
            1 => Just(Answer::Empty),
            1 => Just(Answer::Failed),
            3 => proptest::collection::vec(any::<Index>(), 1..4).prop_map(Answer::Tools),
        ]
    };
    let failure = prop_oneof![Just(None), Just(Some("engine_changed"))];
    let wait_days = if time == Time::Long { 0..40_u64 } else { 0..1 };
    prop_oneof![
        5 => index().prop_map(Action::Ask),
        1 => index().prop_map(Action::Repeat),
        9 => (index(), answer()).prop_map(|(call, answer)| Action::Answer(call, answer)),
        2 => (index(), answer()).prop_map(|(call, answer)| Action::AnswerAny(call, answer)),
        1 => index().prop_map(Action::TimeOut),
        1 => index().prop_map(Action::TimeOutRun),
        1 => (index(), failure).prop_map(|(run, failure)| Action::Cancel(run, failure)),
        1 => Just(Action::Stop),
        1 => prop_oneof![4 => Just(false), 1 => Just(true)].prop_map(Action::Refuse),
        6 => Just(Action::Deliver),
        6 => Just(Action::DeliverAll),
        1 => wait_days.prop_map(|days| Action::Wait(days * DAY_MS)),
    ]
}

/// Plays a history; some commands may be undelivered and some calls open at its end.
pub(super) fn play(history: &History) -> World {
    let mut player = Player::new(history);
    for action in &history.actions {
        player.act(action);
    }
    player.world
}

/// Plays a history in which every command is stored before anything else happens, and no request
/// is sent again: what a record without its beginning has to look like to be told from a whole one.
pub(super) fn play_in_step(history: &History) -> World {
    let mut player = Player::new(history);
    for action in &history.actions {
        if !matches!(action, Action::Repeat(_)) {
            player.act(action);
            player.world.deliver();
        }
    }
    player.world
}

/// Delivers everything and lets every wait time out, until nothing is open any more.
pub(super) fn settle(world: &mut World) {
    for _ in 0..1000 {
        world.deliver();
        let waits: Vec<_> = world.state.waits().collect();
        if waits.is_empty() {
            return;
        }
        // Calls first, so that runs get as far as they can.
        let (runs, calls): (Vec<_>, Vec<_>) =
            waits.into_iter().partition(|wait| wait.call.is_none());
        let due = if calls.is_empty() { runs } else { calls };
        for wait in due {
            let scope = wait.call.map_or(TimeoutScope::Run, |call| TimeoutScope::Call { call });
            world.time_out(wait.run, scope);
        }
    }
    panic!("runs that never end: {:?}", world.state.waits().collect::<Vec<_>>());
}

struct Player {
    world: World,
    accepting: RunConfiguration,
}

impl Player {
    fn new(history: &History) -> Self {
        let world = World::with(|agent| {
            agent.on_message = history.policy;
            agent.recall_turns = history.recall_turns;
            agent.budget.model_calls = history.model_calls;
            agent.budget.tool_calls = history.tool_calls;
            agent.budget.tokens = history.tokens;
            if history.asks {
                agent.approvals.tools.push("append_line".to_owned());
            }
        });
        Self { accepting: world.configuration.clone(), world }
    }

    fn act(&mut self, action: &Action) {
        let world = &mut self.world;
        match action {
            Action::Ask(conversation) => {
                let text = format!("question {}", world.record.len());
                let conversation = CONVERSATIONS[conversation.index(CONVERSATIONS.len())];
                let request = world.request(conversation, &text);
                world.store(EventType::RequestsIncoming, request.encode());
            }
            Action::Repeat(request) => {
                if let Some(id) = picked(request, &world.ids(EventType::RequestsIncoming)) {
                    let again =
                        world.record.iter().find(|event| event.id == id).unwrap().bytes.clone();
                    world.store(EventType::RequestsIncoming, again);
                }
            }
            Action::Answer(call, answer) => {
                let open: Vec<Uuid> = world.state.waits().filter_map(|wait| wait.call).collect();
                let calls = calls(world).into_iter().filter(|(_, id)| open.contains(id)).collect();
                self.answer(call, answer, calls);
            }
            Action::AnswerAny(call, answer) => {
                let calls = calls(world);
                self.answer(call, answer, calls);
            }
            Action::TimeOut(call) => {
                let calls = calls(world);
                if let Some((_, id)) = picked(call, &calls) {
                    let run = world.record.iter().find(|event| event.id == id).unwrap().run;
                    let timeout = world.timeout(run, TimeoutScope::Call { call: id });
                    world.store(EventType::RunsTimeout, timeout.encode());
                }
            }
            Action::TimeOutRun(run) => {
                if let Some(run) = picked(run, &world.ids(EventType::RequestsIncoming)) {
                    let timeout = world.timeout(run, TimeoutScope::Run);
                    world.store(EventType::RunsTimeout, timeout.encode());
                }
            }
            Action::Cancel(run, failure) => {
                if let Some(run) = picked(run, &world.ids(EventType::RequestsIncoming)) {
                    let cancel = world.cancellation(run, *failure);
                    world.store(EventType::RunsCancel, cancel.encode());
                }
            }
            Action::Stop => {
                let stop = world.stop_everything();
                world.store(EventType::RunsCancel, stop.encode());
            }
            Action::Refuse(true) => {
                let (code, message) = ("unknown_agent".to_owned(), "There is none.".to_owned());
                world.configuration = RunConfiguration::Refused { code, message };
            }
            Action::Refuse(false) => world.configuration.clone_from(&self.accepting),
            Action::Deliver => drop(world.deliver_one()),
            Action::DeliverAll => world.deliver(),
            Action::Wait(millis) => world.now = world.now.plus_millis(*millis),
        }
    }

    fn answer(&mut self, call: &Index, answer: &Answer, calls: Vec<(EventType, Uuid)>) {
        let Some((kind, id)) = picked(call, &calls) else { return };
        let world = &mut self.world;
        match kind {
            EventType::MemoryRecall => {
                let recalled = world.recalled(id, &[("before", "said")]);
                world.store(EventType::MemoryRecalled, recalled.encode())
            }
            EventType::InferenceRequest => {
                let response = world.response(id, outcome(answer));
                world.store(EventType::InferenceResponse, response.encode())
            }
            EventType::NotifyDeliver => {
                let decision = match answer {
                    Answer::Completed | Answer::Tools(_) => Decision::Approved,
                    Answer::Empty | Answer::Failed => Decision::Denied,
                };
                let approval = world.approval(id, "ada", decision);
                world.store(EventType::ToolsApproval, approval.encode())
            }
            _ => {
                let result = world.result(id, tool_outcome(answer));
                world.store(EventType::ToolsResults, result.encode())
            }
        };
    }
}

fn picked<T: Copy>(index: &Index, all: &[T]) -> Option<T> {
    (!all.is_empty()).then(|| *index.get(all))
}

/// All calls that are stored.
fn calls(world: &World) -> Vec<(EventType, Uuid)> {
    let calls = [
        EventType::MemoryRecall,
        EventType::InferenceRequest,
        EventType::ToolsExecute,
        EventType::NotifyDeliver,
    ];
    let stored = world.record.iter().filter(|event| calls.contains(&event.kind));
    stored.map(|event| (event.kind, event.id)).collect()
}

fn outcome(answer: &Answer) -> InferenceOutcome {
    match answer {
        Answer::Completed => said("An answer."),
        Answer::Empty => said(""),
        Answer::Failed => InferenceOutcome::Failed(InferenceError::new(
            "no_provider".to_owned(),
            "None.".to_owned(),
        )),
        Answer::Tools(tools) => {
            let tools: Vec<_> = tools.iter().map(|tool| *tool.get(TOOLS.as_slice())).collect();
            wanted(&tools)
        }
    }
}

fn tool_outcome(answer: &Answer) -> ToolOutcome {
    match answer {
        Answer::Completed | Answer::Tools(_) => completed("done"),
        Answer::Empty => ToolOutcome::Expired,
        Answer::Failed => ToolOutcome::Unknown { message: "the worker died".to_owned() },
    }
}
