//! Requests that are taken back, or given up by the orchestrator.

use nexus_contracts::{EventType, OnMessage, Outcome, RawEvent};

use super::fixtures::said;
use super::world::World;
use crate::Verdict;

fn cancelled() -> Vec<Outcome> {
    vec![Outcome::Cancelled { reason: "Never mind.".to_owned() }]
}

#[test]
fn cancelled_run_ends_at_once_in_every_phase() {
    let phases: [fn(&mut World); 4] = [
        |_| {},
        |world| drop(world.recall(&[])),
        |world| {
            world.recall(&[]);
            world.want(&[("append_line", "{}")]);
        },
        |world| {
            world.recall(&[]);
            world.want(&[("clock", "{}"), ("append_line", "{}")]);
            world.give(world.ids(EventType::ToolsExecute)[0], "12:00");
        },
    ];
    for reach in phases {
        let mut world = World::new();
        let run = world.ask("hello");
        reach(&mut world);
        assert_eq!(world.cancel(run), Verdict::Applied);
        assert_eq!(world.outcomes(run), cancelled(), "{:?}", world.kinds(run));
        assert_eq!(world.state.pending().count(), 0);
        assert_eq!(world.state.waits().count(), 0);
    }
}

#[test]
fn run_cancelled_before_its_start_is_read_back_ends_without_a_call() {
    let mut world = World::new();
    let request = world.request("kitchen", "hello");
    world.store(EventType::RequestsIncoming, request.encode());
    world.store(EventType::RunsCancel, world.cancellation(request.id, None).encode());
    world.deliver();
    let kinds = ["requests.incoming", "runs.cancel", "runs.started", "requests.processed"];
    assert_eq!(world.kinds(request.id), kinds);
    assert_eq!(world.outcomes(request.id), cancelled());
}

#[test]
fn cancelled_waiting_request_never_runs() {
    let mut world = World::new();
    let (active, _) = world.ask_the_model("one");
    let waiting = world.ask("two");
    let last = world.ask("three");
    assert_eq!(world.cancel(waiting), Verdict::Applied);

    assert_eq!(world.kinds(waiting), ["requests.incoming", "runs.cancel", "requests.processed"]);
    assert_eq!(world.outcomes(waiting), cancelled());
    world.say("First.");
    world.recall(&[]);
    world.say("Third.");
    assert_eq!([world.codes(active), world.codes(last)], [["answered"], ["answered"]]);
}

#[test]
fn cancelled_steering_message_is_not_heard() {
    let mut world = World::on_message(OnMessage::Steer);
    let (run, _) = world.ask_the_model("one");
    world.want(&[("clock", "{}")]);
    let steering = world.ask("two");
    assert_eq!(world.cancel(steering), Verdict::Applied);
    world.give(world.last(EventType::ToolsExecute), "12:00");

    assert_eq!(world.outcomes(steering), cancelled());
    let heard = world.last_request().messages;
    assert!(heard.iter().all(|message| message.joined_text() != "two"));
    world.say("Noon.");
    assert_eq!(world.codes(run), ["answered"]);
}

#[test]
fn messages_steering_a_cancelled_run_get_runs_of_their_own() {
    let mut world = World::on_message(OnMessage::Steer);
    let (run, _) = world.ask_the_model("one");
    let steering = world.ask("two");
    world.cancel(run);
    world.recall(&[]);
    world.say("Second.");
    assert_eq!(
        [world.outcomes(run), world.outcomes(steering)],
        [cancelled(), vec![Outcome::Answered { text: "Second.".to_owned() }],]
    );
}

#[test]
fn cancel_of_an_ended_or_unknown_request_is_late() {
    let mut world = World::new();
    let (run, call) = world.ask_the_model("hello");
    world.store(EventType::InferenceResponse, world.response(call, said("Hello.")).encode());
    let cancel = world.cancellation(run, None).encode();
    assert_eq!(world.store(EventType::RunsCancel, cancel), Verdict::Late, "not read back yet");
    world.deliver();
    assert_eq!(world.cancel(run), Verdict::Late);
    assert_eq!(world.codes(run), ["answered"]);
}

#[test]
fn cancel_with_a_failure_code_fails_the_run_with_it() {
    let mut world = World::new();
    let (run, _) = world.ask_the_model("one");
    let waiting = world.ask("two");
    for request in [waiting, run] {
        world.put(&world.cancellation(request, Some("engine_changed")));
        let (code, message) = ("engine_changed".to_owned(), "Never mind.".to_owned());
        assert_eq!(world.outcomes(request), [Outcome::Failed { code, message }]);
    }
}

#[test]
fn reply_to_a_waiting_request_depends_on_every_byte_of_its_cancel() {
    let digest = |note: &str| {
        let mut world = World::new();
        world.ask_the_model("one");
        let waiting = world.ask("two");
        let mut cancel = world.cancellation(waiting, None);
        cancel.extra.insert("note".to_owned(), note.into());
        world.put(&cancel);
        let reply = world.record.last().unwrap();
        RawEvent::decode(&reply.bytes).unwrap().metadata.inputs_digest
    };
    assert_ne!(digest("a"), digest("b"));
}

#[test]
fn cancelling_the_conversation_ends_all_that_is_active_or_waits() {
    for policy in [OnMessage::Queue, OnMessage::Steer] {
        let mut world = World::on_message(policy);
        let (active, _) = world.ask_the_model("one");
        let waiting = [world.ask("two"), world.ask("three")];
        let elsewhere = world.request("garden", "hello");
        world.put(&elsewhere);
        let stop = world.stop_everything();
        assert_eq!(world.put(&stop), Verdict::Applied);
        for request in [active].iter().chain(&waiting) {
            assert_eq!(world.outcomes(*request), cancelled(), "{policy:?}");
        }
        assert_eq!(world.outcomes(elsewhere.id), []);
        let again = world.stop_everything();
        assert_eq!(world.put(&again), Verdict::Late);

        let next = world.ask("four");
        world.recall(&[]);
        world.say("Still here.");
        assert_eq!(world.codes(next), ["answered"]);
    }
}
