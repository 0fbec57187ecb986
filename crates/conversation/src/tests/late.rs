//! Answers that nobody waits for.

use nexus_contracts::{EventType, MemoryRecalled, RunStarted, TimeoutScope};

use super::fixtures::{completed, said, wanted};
use super::world::World;
use crate::Verdict;

/// Stores an event again and checks that nothing happens.
macro_rules! assert_late {
    ($world:expr, $event:expr) => {{
        let event = $event;
        let before = $world.state.clone();
        let stored = $world.record.len();
        assert_eq!($world.put(&event), Verdict::Late, "{}", event.kind);
        assert_eq!($world.state, before, "{}", event.kind);
        assert_eq!($world.record.len(), stored + 1, "{} causes nothing", event.kind);
    }};
}

#[test]
fn second_answer_is_late_and_changes_nothing() {
    let mut world = World::new();
    let (_, first) = world.ask_the_model("hello");
    let started = world.event::<RunStarted>(world.last(EventType::RunsStarted));
    assert_late!(world, started);
    let recall = world.last(EventType::MemoryRecall);
    assert_late!(world, world.recalled(recall, &[("an", "other")]));

    world.want(&[("clock", "{}")]);
    assert_late!(world, world.response(first, said("Something else.")));
    let call = world.last(EventType::ToolsExecute);
    world.give(call, "12:00");
    assert_late!(world, world.result(call, completed("13:00")));
}

#[test]
fn answer_to_a_run_that_is_over_is_late() {
    let mut world = World::new();
    let (run, call) = world.ask_the_model("hello");
    world.say("Hello.");
    assert_late!(world, world.response(call, said("Hello again.")));
    assert_late!(world, world.response(call, wanted(&[("clock", "{}")])));
    assert_late!(world, world.timeout(run, TimeoutScope::Run));
    assert_late!(world, world.timeout(run, TimeoutScope::Call { call }));
}

#[test]
fn answer_after_a_timeout_is_late() {
    let mut world = World::new();
    let run = world.ask("hello");
    let recall = world.last(EventType::MemoryRecall);
    world.time_out(run, TimeoutScope::Call { call: recall });
    assert_late!(world, world.recalled(recall, &[("too", "late")]));

    world.want(&[("append_line", "{}"), ("clock", "{}")]);
    let call = world.ids(EventType::ToolsExecute)[0];
    world.time_out(run, TimeoutScope::Call { call });
    assert_late!(world, world.result(call, completed("written")));
    assert_late!(world, world.timeout(run, TimeoutScope::Call { call }));
}

#[test]
fn answer_to_another_runs_call_is_late() {
    let mut world = World::new();
    let (_, call) = world.ask_the_model("one");
    let garden = world.request("garden", "two");
    world.put(&garden);
    let mut stray = world.recalled(world.last(EventType::MemoryRecall), &[]);
    stray.payload.known = MemoryRecalled { call, ..stray.payload.known };
    assert_late!(world, stray);
}

#[test]
fn reply_that_the_run_did_not_give_does_not_end_it() {
    let mut world = World::new();
    let (run, call) = world.ask_the_model("hello");
    let mut other = World::new();
    other.ask_the_model("hello");
    other.say("Forged.");
    let forged = other.record.last().unwrap();
    assert_eq!(world.store(forged.kind, forged.bytes.clone()), Verdict::Late);

    world.put(&world.response(call, said("Hello.")));
    assert_eq!(world.state.pending().count(), 0);
    assert_eq!(world.kinds(run).last(), Some(&"requests.processed"));
}

#[test]
fn stray_answers_to_an_unknown_conversation_are_late() {
    let mut other = World::new();
    other.ask_the_model("hello");
    other.want(&[("clock", "{}")]);
    other.give(other.last(EventType::ToolsExecute), "12:00");
    other.say("Noon.");

    let mut world = World::new();
    let inputs = other.steps.iter().map(|(index, _)| &other.record[*index]);
    for event in inputs.filter(|event| event.kind != EventType::RequestsIncoming) {
        let verdict = world.store(event.kind, event.bytes.clone());
        let expected = if event.kind == EventType::RequestsProcessed {
            Verdict::Applied
        } else {
            Verdict::Late
        };
        assert_eq!((verdict, world.undelivered.len()), (expected, 0), "{}", event.kind);
    }
}
