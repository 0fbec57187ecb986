//! Calls that are not answered.

use nexus_contracts::{EventType, Message, Part, Role, TimeoutScope};

use super::fixtures::key;
use super::world::World;
use crate::{PendingCall, Verdict};

#[test]
fn recall_that_times_out_goes_on_without_memory() {
    let mut world = World::new();
    let run = world.ask("hello");
    let call = world.last(EventType::MemoryRecall);
    assert_eq!(world.time_out(run, TimeoutScope::Call { call }), Verdict::Applied);
    let expected = [
        Message::text(Role::System, "You are a helpful assistant."),
        Message::text(Role::User, "hello"),
    ];
    assert_eq!(world.last_request().messages, expected);
}

#[test]
fn model_call_that_times_out_fails_the_run() {
    let mut world = World::new();
    let (run, call) = world.ask_the_model("hello");
    world.time_out(run, TimeoutScope::Call { call });
    assert_eq!(world.codes(run), ["inference_timeout"]);
}

#[test]
fn tool_that_times_out_has_failed_or_if_it_has_effects_is_unknown() {
    let told = [
        ("clock", "error (timeout): the tool did not answer in time"),
        (
            "append_line",
            "outcome unknown: the tool did not answer in time. It may have happened; do not repeat it without asking.",
        ),
    ];
    for (tool, expected) in told {
        let mut world = World::new();
        let (run, _) = world.ask_the_model("hello");
        world.want(&[(tool, "{}")]);
        let call = world.last(EventType::ToolsExecute);
        assert_eq!(world.time_out(run, TimeoutScope::Call { call }), Verdict::Applied);

        let last = world.last_request().messages.pop().unwrap();
        let (provider_id, tool) = (Some("call_0".to_owned()), tool.to_owned());
        let text = expected.to_owned();
        assert_eq!(
            last.parts,
            [Part::ToolResult { call, provider_id, tool, text, is_error: true }]
        );
    }
}

#[test]
fn run_that_takes_too_long_fails_in_every_phase() {
    for answers in 0..3 {
        let mut world = World::new();
        let run = world.ask("hello");
        if answers > 0 {
            world.recall(&[]);
        }
        if answers > 1 {
            world.want(&[("append_line", "{}")]);
        }
        assert_eq!(world.time_out(run, TimeoutScope::Run), Verdict::Applied);
        assert_eq!(world.codes(run), ["run_timeout"]);
        assert_eq!(world.state.waits().count(), 0);
    }
}

#[test]
fn messages_steering_a_run_that_times_out_get_runs_of_their_own() {
    let mut world = World::on_message(nexus_contracts::OnMessage::Steer);
    let (run, call) = world.ask_the_model("one");
    let second = world.ask("two");
    world.time_out(run, TimeoutScope::Call { call });
    world.recall(&[]);
    world.say("Second.");
    assert_eq!([world.codes(run), world.codes(second)], [["inference_timeout"], ["answered"]]);
}

#[test]
fn waits_name_every_open_call_and_the_run_with_their_limits() {
    let mut world = World::new();
    let (run, call) = world.ask_the_model("hello");
    let wait = |call, allowed_ms| PendingCall { run, call, allowed_ms, key: key("kitchen") };
    let whole = wait(None, 300_000);
    assert_eq!(world.state.waits_of(&key("kitchen")), [wait(Some(call), 185_000), whole.clone()]);

    world.want(&[("clock", "{}"), ("append_line", "{}")]);
    let calls = world.ids(EventType::ToolsExecute);
    world.give(calls[0], "12:00");
    let expected = [wait(Some(calls[1]), 70_000), whole];
    assert_eq!(world.state.waits().collect::<Vec<_>>(), expected);
    assert!(world.state.is_open(&key("kitchen"), calls[1]));
    assert!(!world.state.is_open(&key("kitchen"), calls[0]));
}

#[test]
fn limits_beyond_all_time_do_not_overflow() {
    let mut world = World::with(|agent| {
        agent.limits.start_within_ms = u64::MAX;
        agent.limits.recall_ms = u64::MAX;
    });
    world.ask("hello");
    let longest = world.state.waits().map(|wait| wait.allowed_ms).max();
    assert_eq!(longest, Some(u64::MAX));
}
