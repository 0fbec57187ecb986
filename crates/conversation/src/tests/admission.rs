//! Which request runs and which waits.

use nexus_contracts::{Event, EventType, IncomingRequest, Message, OnMessage, Outcome, Role};
use uuid::Uuid;

use super::fixtures::said;
use super::world::World;
use crate::{REMEMBER_MS, Verdict};

fn answered(text: &str) -> Vec<Outcome> {
    vec![Outcome::Answered { text: text.to_owned() }]
}

/// The last request's event, stored again as an adapter would that is not sure.
fn again(world: &mut World, request: Uuid) -> Verdict {
    let event: Event<IncomingRequest> = world.event(request);
    world.put(&event)
}

#[test]
fn repeated_request_is_ignored_whether_active_waiting_or_ended() {
    let mut world = World::new();
    let (active, _) = world.ask_the_model("one");
    let waiting = world.ask("two");
    let before = world.state.clone();
    assert_eq!(again(&mut world, active), Verdict::Repeated);
    assert_eq!(again(&mut world, waiting), Verdict::Repeated);
    assert_eq!(world.state, before);

    world.say("First.");
    let before = world.state.clone();
    assert_eq!(again(&mut world, active), Verdict::Repeated);
    assert_eq!(world.state, before);
    assert_eq!(world.outcomes(active), answered("First."));
}

#[test]
fn ended_request_is_remembered_for_its_time_and_no_longer() {
    let mut world = World::new();
    let (run, _) = world.ask_the_model("hello");
    world.say("Hello.");
    let accepted = world.record[0].stored_at;

    // `store` moves the clock by one before it stores.
    world.now = accepted.plus_millis(REMEMBER_MS - 1);
    assert_eq!(again(&mut world, run), Verdict::Repeated);
    assert_eq!(again(&mut world, run), Verdict::Applied);
}

#[test]
fn open_request_is_remembered_however_old_it_is() {
    let mut world = World::new();
    let (active, _) = world.ask_the_model("one");
    let waiting = world.ask("two");
    world.now = world.now.plus_millis(2 * REMEMBER_MS);
    world.state.prune(world.now);

    assert_eq!(again(&mut world, active), Verdict::Repeated);
    assert_eq!(again(&mut world, waiting), Verdict::Repeated);
}

#[test]
fn queued_requests_are_answered_one_after_the_other() {
    let mut world = World::new();
    let (first, _) = world.ask_the_model("one");
    let second = world.ask("two");
    let third = world.ask("three");
    assert_eq!(world.kinds(second), ["requests.incoming"]);

    for text in ["First.", "Second.", "Third."] {
        world.say(text);
        if text != "Third." {
            world.recall(&[]);
        }
    }
    let outcomes = [first, second, third].map(|request| world.outcomes(request));
    assert_eq!(outcomes, ["First.", "Second.", "Third."].map(answered));
}

#[test]
fn next_request_starts_only_when_the_reply_is_read_back() {
    let mut world = World::new();
    let (_, call) = world.ask_the_model("one");
    let second = world.ask("two");
    let response = world.response(call, said("First."));
    world.store(EventType::InferenceResponse, response.encode());
    assert_eq!(world.undelivered.len(), 1);
    assert_eq!(world.undelivered[0].subject.kind, EventType::RequestsProcessed);

    assert!(world.deliver_one());
    let kinds: Vec<_> =
        world.undelivered.iter().map(|command| (command.run, command.subject.kind)).collect();
    assert_eq!(kinds, [(second, EventType::RunsStarted)]);
}

#[test]
fn request_between_a_reply_and_its_reading_back_waits_under_every_policy() {
    for policy in [OnMessage::Queue, OnMessage::Steer, OnMessage::Interrupt] {
        let mut world = World::on_message(policy);
        let (first, call) = world.ask_the_model("one");
        world.store(EventType::InferenceResponse, world.response(call, said("First.")).encode());
        let second = world.request("kitchen", "two");
        world.store(EventType::RequestsIncoming, second.encode());
        world.deliver();
        world.recall(&[]);
        world.say("Second.");
        let outcomes = [world.outcomes(first), world.outcomes(second.id)];
        assert_eq!(outcomes, [answered("First."), answered("Second.")], "{policy:?}");
    }
}

#[test]
fn conversations_do_not_wait_for_each_other() {
    let mut world = World::new();
    world.ask_the_model("one");
    let garden = world.request("garden", "two");
    world.put(&garden);
    world.recall(&[]);
    world.say("In the garden.");
    assert_eq!(world.outcomes(garden.id), answered("In the garden."));
    assert_eq!(world.state.pending().count(), 1);
}

#[test]
fn steering_message_is_heard_before_the_next_model_call() {
    let mut world = World::on_message(OnMessage::Steer);
    let (run, _) = world.ask_the_model("What time is it?");
    world.want(&[("clock", "{}")]);
    let steering = world.ask("In Tokyo, I mean.");
    world.give(world.last(EventType::ToolsExecute), "12:00");

    let last = world.last_request().messages.pop();
    assert_eq!(last, Some(Message::text(Role::User, "In Tokyo, I mean.")));
    assert_eq!(world.outcomes(steering), [Outcome::Steered { into: run }]);
    world.say("It is 21:00 in Tokyo.");
    assert_eq!(world.outcomes(run), answered("It is 21:00 in Tokyo."));
    assert_eq!(world.state.pending().count(), 0);
}

#[test]
fn steered_reply_belongs_to_the_request_that_it_is_about() {
    let mut world = World::on_message(OnMessage::Steer);
    world.ask_the_model("one");
    world.want(&[("clock", "{}")]);
    let mut steering = world.request("kitchen", "two");
    steering.metadata.user = Some("grace".to_owned());
    world.put(&steering);
    world.give(world.last(EventType::ToolsExecute), "12:00");

    let reply =
        world.record.iter().rfind(|event| event.kind == EventType::RequestsProcessed).unwrap();
    assert_eq!(reply.run, steering.id);
    let event = nexus_contracts::RawEvent::decode(&reply.bytes).unwrap();
    assert_eq!(event.metadata.user.as_deref(), Some("grace"));
    assert_eq!(event.metadata.causation_id, Some(world.last(EventType::ToolsResults)));
}

#[test]
fn messages_that_a_run_did_not_hear_get_runs_of_their_own_in_order() {
    let mut world = World::on_message(OnMessage::Steer);
    let (first, _) = world.ask_the_model("one");
    let second = world.ask("two");
    let third = world.ask("three");
    world.say("First.");
    // The third is heard by the run of the second: nobody has asked the model for it yet.
    assert_eq!(world.kinds(second), ["requests.incoming", "runs.started", "memory.recall"]);
    assert_eq!(world.outcomes(first), answered("First."));
    world.recall(&[]);
    world.say("Second.");
    world.recall(&[]);
    world.say("Third.");
    assert_eq!(
        [world.outcomes(second), world.outcomes(third)],
        ["Second.", "Third."].map(answered)
    );
}

#[test]
fn newer_message_interrupts_the_run_and_gets_the_next() {
    let mut world = World::on_message(OnMessage::Interrupt);
    let (first, call) = world.ask_the_model("one");
    let second = world.ask("two");

    let reason = "Interrupted by a newer message.".to_owned();
    assert_eq!(world.outcomes(first), [Outcome::Cancelled { reason }]);
    assert_eq!(world.put(&world.response(call, said("Too late."))), Verdict::Late);
    world.recall(&[]);
    world.say("Second.");
    assert_eq!(world.outcomes(second), answered("Second."));
    assert_eq!(world.outcomes(first).len(), 1);
}

#[test]
fn message_before_the_run_has_its_agent_waits_under_every_policy() {
    let mut world = World::on_message(OnMessage::Interrupt);
    let first = world.request("kitchen", "one");
    world.store(EventType::RequestsIncoming, first.encode());
    let second = world.request("kitchen", "two");
    world.store(EventType::RequestsIncoming, second.encode());
    world.deliver();
    assert_eq!(world.outcomes(first.id), []);
    assert_eq!(world.kinds(second.id), ["requests.incoming"]);
}
