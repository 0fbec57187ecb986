//! Budgets, and runs that fail visibly.

use nexus_contracts::{
    Budget, EventType, Finish, InferenceError, InferenceOutcome, Outcome, RunConfiguration,
    RunUsage, Usage,
};

use super::fixtures::said;
use super::world::World;

#[test]
fn run_that_needs_more_model_calls_fails() {
    let mut world =
        World::with(|agent| agent.budget = Budget { model_calls: 2, ..Budget::default() });
    let (run, _) = world.ask_the_model("hello");
    for _ in 0..2 {
        world.want(&[("clock", "{}")]);
        world.give(world.last(EventType::ToolsExecute), "12:00");
    }
    let (code, message) = ("budget_model_calls", "The request needs more than 2 model calls.");
    let failed = Outcome::Failed { code: code.to_owned(), message: message.to_owned() };
    assert_eq!(world.outcomes(run), [failed]);
    assert_eq!(world.ids(EventType::InferenceRequest).len(), 2);
}

#[test]
fn run_that_needs_more_tool_calls_fails_before_any_of_them() {
    let mut world =
        World::with(|agent| agent.budget = Budget { tool_calls: 1, ..Budget::default() });
    let (run, _) = world.ask_the_model("hello");
    world.want(&[("clock", "{}"), ("append_line", "{}")]);
    assert_eq!(world.codes(run), ["budget_tool_calls"]);
    assert_eq!(world.ids(EventType::ToolsExecute).len(), 0);
}

#[test]
fn run_that_has_used_its_tokens_fails_before_the_next_model_call() {
    let mut world = World::with(|agent| agent.budget = Budget { tokens: 52, ..Budget::default() });
    let (run, _) = world.ask_the_model("hello");
    world.want(&[("clock", "{}")]);
    world.give(world.last(EventType::ToolsExecute), "12:00");
    assert_eq!(world.codes(run), ["budget_tokens"]);
    let usage = RunUsage {
        model_calls: 1,
        tool_calls: 1,
        input_tokens: 40,
        output_tokens: 12,
        cost_microusd: 0,
    };
    assert_eq!(world.ends(run)[0].usage, usage);
}

#[test]
fn answer_that_uses_up_the_tokens_is_still_given() {
    let mut world = World::with(|agent| agent.budget = Budget { tokens: 1, ..Budget::default() });
    let (run, _) = world.ask_the_model("hello");
    world.say("Hello.");
    assert_eq!(world.codes(run), ["answered"]);
}

#[test]
fn tokens_beyond_all_numbers_do_not_overflow() {
    let mut world = World::new();
    let (run, call) = world.ask_the_model("hello");
    let mut answer = said("Hello.");
    if let InferenceOutcome::Completed { usage, .. } = &mut answer {
        *usage = Usage::of(u64::MAX, u64::MAX);
    }
    world.put(&world.response(call, answer));
    assert_eq!(world.ends(run)[0].usage.input_tokens, u64::MAX);
}

#[test]
fn refused_tools_count_as_tool_calls_so_that_the_run_ends() {
    let mut world = World::new();
    let (run, _) = world.ask_the_model("hello");
    while world.outcomes(run).is_empty() {
        world.want(&[("no_such_tool", "{}")]);
    }
    assert_eq!(world.codes(run), ["budget_model_calls"]);
    assert_eq!(world.ends(run)[0].usage.tool_calls, 16);
}

#[test]
fn empty_answer_fails_visibly() {
    let causes = [
        (Finish::Stop, "empty_answer"),
        (Finish::Length, "empty_answer"),
        (Finish::ToolCalls, "empty_answer"),
        (Finish::ContentFilter, "content_filter"),
    ];
    for (finish, code) in causes {
        let mut world = World::new();
        let (run, call) = world.ask_the_model("hello");
        let (text, tool_calls, usage) = (" \n".to_owned(), Vec::new(), Usage::default());
        let outcome = InferenceOutcome::Completed { text, tool_calls, finish, usage, turn: None };
        world.put(&world.response(call, outcome));
        assert_eq!(world.codes(run), [code], "{finish:?}");
    }
}

#[test]
fn failed_model_call_fails_the_run_with_its_code() {
    let mut world = World::new();
    let (run, call) = world.ask_the_model("hello");
    let (code, message) = ("no_provider".to_owned(), "No provider serves it.".to_owned());
    let error = InferenceError::new(code.clone(), message.clone());
    world.put(&world.response(call, InferenceOutcome::Failed(error)));
    assert_eq!(world.outcomes(run), [Outcome::Failed { code, message }]);
}

#[test]
fn cancelled_model_call_fails_the_run() {
    let mut world = World::new();
    let (run, call) = world.ask_the_model("hello");
    world.put(&world.response(call, InferenceOutcome::Cancelled));
    assert_eq!(world.codes(run), ["inference_cancelled"]);
}

#[test]
fn refused_configuration_fails_visibly_and_the_next_request_goes_on() {
    let mut world = World::new();
    let accepted = world.configuration.clone();
    let (code, message) = ("unknown_agent".to_owned(), "There is no agent \"x\".".to_owned());
    world.configuration =
        RunConfiguration::Refused { code: code.clone(), message: message.clone() };
    let run = world.ask("hello");
    assert_eq!(world.kinds(run), ["requests.incoming", "runs.started", "requests.processed"]);
    assert_eq!(world.outcomes(run), [Outcome::Failed { code, message }]);

    world.configuration = accepted;
    let (next, _) = world.ask_the_model("hello");
    world.say("Hello.");
    assert_eq!(world.codes(next), ["answered"]);
}
