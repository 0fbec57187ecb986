//! A panic in the engine ends the conversation's requests visibly, and nothing else.

use nexus_contracts::{Event, EventType, OnMessage, ProcessedRequest};
use uuid::Uuid;

use super::fixtures::{changed_time, said, wanted};
use super::world::World;
use crate::{Body, Input, Verdict, verify};

/// The engine's way to panic on demand: an event that holds this word.
pub(crate) fn panic_if_told(moment: &str, input: &Input<'_>) {
    if String::from_utf8_lossy(input.bytes).contains(&format!("panic-{moment}")) {
        panic!("told to panic {moment}");
    }
}

fn panicked(moment: &str) -> Verdict {
    Verdict::Panicked(format!("told to panic {moment}"))
}

fn failed() -> Vec<String> {
    vec!["engine_panic".to_owned()]
}

#[test]
fn panic_fails_the_active_and_the_waiting_requests_visibly() {
    for moment in ["before", "after"] {
        let mut world = World::new();
        let (active, call) = world.ask_the_model("hello");
        let waiting = world.ask("and then?");

        let response = world.response(call, said(&format!("panic-{moment}")));
        assert_eq!(world.put(&response), panicked(moment));

        assert_eq!([world.codes(active), world.codes(waiting)], [failed(), failed()], "{moment}");
        assert_eq!(world.state.pending().count(), 0);
    }
}

#[test]
fn panic_fails_what_was_to_steer_the_run() {
    let mut world = World::on_message(OnMessage::Steer);
    let (active, call) = world.ask_the_model("hello");
    let steering = world.ask("in short, please");

    world.put(&world.response(call, said("panic-before")));

    assert_eq!([world.codes(active), world.codes(steering)], [failed(), failed()]);
}

#[test]
fn panic_on_a_request_fails_that_request_too() {
    for moment in ["before", "after"] {
        let mut world = World::new();
        let first = world.request("kitchen", &format!("panic-{moment}"));
        assert_eq!(world.put(&first), panicked(moment));
        assert_eq!(world.codes(first.id), failed(), "{moment}");

        assert_eq!(world.put(&first), panicked(moment), "a repeat of it");
        assert_eq!(world.codes(first.id), failed(), "{moment}");
        assert_eq!(world.state.pending().count(), 0);
    }
}

#[test]
fn panic_on_a_run_that_has_ended_gives_no_second_reply() {
    let mut world = World::new();
    let (run, call) = world.ask_the_model("hello");
    world.store(EventType::InferenceResponse, world.response(call, said("Hello.")).encode());
    let waiting = world.request("kitchen", "panic-after");
    world.store(EventType::RequestsIncoming, waiting.encode());
    world.deliver();

    assert_eq!(world.codes(run), ["answered"]);
    assert_eq!(world.codes(waiting.id), failed());
}

#[test]
fn the_conversation_goes_on_after_a_panic() {
    let mut world = World::new();
    let (_, call) = world.ask_the_model("hello");
    world.put(&world.response(call, said("panic-after")));

    let (next, _) = world.ask_the_model("again");
    world.say("Hello.");

    assert_eq!(world.codes(next), ["answered"]);
}

#[test]
fn other_conversations_go_on_after_a_panic() {
    let mut world = World::new();
    let garden = world.request("garden", "hello");
    world.put(&garden);
    world.recall(&[]);
    let call = world.last(EventType::InferenceRequest);
    let kitchen = world.request("kitchen", "panic-before");
    world.put(&kitchen);

    world.put(&world.response(call, said("Hello.")));

    assert_eq!(
        [world.codes(garden.id), world.codes(kitchen.id)],
        [vec!["answered".to_owned()], failed()]
    );
}

#[test]
fn the_same_panic_gives_the_same_commands() {
    let play = || {
        let mut world = World::new();
        let (_, call) = world.ask_the_model("hello");
        world.ask("and then?");
        world.put(&world.response(call, said("panic-after")));
        let commands = world.steps.into_iter().flat_map(|(_, step)| step.commands);
        commands.map(|command| (command.id, command.body)).collect::<Vec<(Uuid, _)>>()
    };
    assert_eq!(play(), play());
}

#[test]
fn panic_on_a_reply_read_back_does_not_block_the_conversation() {
    for moment in ["before", "after"] {
        let mut world = World::new();
        let (run, call) = world.ask_the_model("hello");
        let waiting = world.ask("and then?");
        world.store(EventType::InferenceResponse, world.response(call, said("Hello.")).encode());
        let Some(Body::Ready(reply)) = world.undelivered.pop_front().map(|command| command.body)
        else {
            panic!("no reply");
        };
        let mut reply = Event::<ProcessedRequest>::decode(&reply).unwrap();
        reply.extra.insert("note".to_owned(), format!("panic-{moment}").into());
        world.put(&reply);
        let (next, _) = world.ask_the_model("again");

        assert_eq!(
            [world.codes(run), world.codes(waiting)],
            [vec!["answered".to_owned()], failed()],
            "{moment}"
        );
        assert_eq!(world.kinds(next).last(), Some(&"inference.request"));
    }
}

#[test]
fn panic_loses_no_request_that_was_heard_or_cancelled_in_the_same_step() {
    let mut world = World::on_message(OnMessage::Steer);
    let (run, call) = world.ask_the_model("hello");
    let heard = world.ask("in short, please");
    world.put(&world.response(call, wanted(&[("panic-after", "{}")])));
    assert_eq!([world.codes(run), world.codes(heard)], [failed(), failed()]);

    let mut world = World::new();
    world.ask_the_model("hello");
    let waiting = world.ask("and then?");
    let mut cancel = world.cancellation(waiting, None);
    cancel.payload.reason = Some("panic-after".to_owned());
    world.put(&cancel);
    assert_eq!(world.codes(waiting), failed());
}

#[test]
fn failure_after_a_panic_depends_on_every_byte_of_its_cause() {
    for moment in ["before", "after"] {
        let mut world = World::new();
        let (_, call) = world.ask_the_model("hello");
        world.ask("and then?");
        world.put(&world.response(call, said(&format!("panic-{moment}"))));
        assert_eq!(verify(&world.record, None, false).mismatches, []);

        let cause = world.last(EventType::InferenceResponse);
        let cause = world.record.iter_mut().find(|event| event.id == cause).unwrap();
        cause.bytes = changed_time(&cause.bytes);
        assert_eq!(verify(&world.record, None, false).mismatches.len(), 2, "{moment}");
    }
}
