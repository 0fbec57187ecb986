//! Tools that a person has to allow.

use nexus_contracts::{
    Approvals, Decision, Event, EventType, InferenceRequest, Notice, NotifyDeliver, Part,
    RunTimeout, TimeoutScope, ToolExecute,
};
use uuid::Uuid;

use super::world::World;
use crate::{Verdict, verify};

const ARGUMENTS: &str = "{\"line\":\"milk\"}";

/// A run whose call waits for a person, with its question.
fn asked() -> (World, Uuid, Uuid) {
    let tools = vec!["append_line".to_owned()];
    let mut world =
        World::with(|agent| agent.approvals = Approvals { tools, expire_after_ms: 9_000 });
    let (run, _) = world.ask_the_model("remember the milk");
    world.want(&[("clock", "{}"), ("append_line", ARGUMENTS)]);
    let question = world.last(EventType::NotifyDeliver);
    (world, run, question)
}

fn results(request: &InferenceRequest) -> Vec<(String, bool)> {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let result = |part: &Part| match part {
        Part::ToolResult { text, is_error, .. } => Some((text.clone(), *is_error)),
        Part::Text { .. }
        | Part::Attachment { .. }
        | Part::Native { .. }
        | Part::ToolCall { .. } => None,
    };
    parts.filter_map(result).collect()
}

#[test]
fn a_person_is_asked_before_the_call_and_others_go_on() {
    let (world, run, question) = asked();
    assert_eq!(world.kinds(run)[5..], ["inference.response", "tools.execute", "notify.deliver"]);
    let expected = NotifyDeliver {
        notice: Notice::Approval {
            tool: "append_line".to_owned(),
            arguments: ARGUMENTS.to_owned(),
            arguments_sha256: nexus_contracts::sha256_hex(ARGUMENTS.as_bytes()),
            users: Vec::new(),
            expires_after_ms: 9_000,
        },
    };
    assert_eq!(world.payload::<NotifyDeliver>(question), expected);
    assert_eq!(world.event::<NotifyDeliver>(question).metadata.user.as_deref(), Some("ada"));
}

#[test]
fn allowed_call_is_made_once_and_its_result_reaches_the_model() {
    let (mut world, run, question) = asked();
    let yes = world.approval(question, "ada", Decision::Approved);
    assert_eq!(world.put(&yes), Verdict::Applied);
    let again =
        Event::new(Uuid::from_u128(5), run, yes.metadata.clone(), world.now, yes.payload.known);
    assert_eq!(world.put(&again), Verdict::Late);

    let [clock, append] = world.ids(EventType::ToolsExecute)[..] else { panic!("two calls") };
    assert_eq!(world.payload::<ToolExecute>(append).arguments, ARGUMENTS);
    world.give(append, "written");
    world.give(clock, "12:00");
    assert_eq!(
        results(&world.last_request()),
        [("12:00".to_owned(), false), ("written".to_owned(), false)]
    );
    world.say("Done.");
    assert_eq!(world.codes(run), ["answered"]);
    let verified = verify(&world.record, None, false);
    assert_eq!(verified.mismatches, []);
}

#[test]
fn denied_call_is_not_made_and_the_model_is_told() {
    let (mut world, _, question) = asked();
    world.give(world.last(EventType::ToolsExecute), "12:00");
    assert_eq!(world.put(&world.approval(question, "ada", Decision::Denied)), Verdict::Applied);
    assert_eq!(world.ids(EventType::ToolsExecute).len(), 1);
    let (text, is_error) = results(&world.last_request()).pop().unwrap();
    assert!(is_error && text.starts_with("error (denied)"), "{text}");
}

#[test]
fn nobody_else_and_no_other_arguments_count() {
    let (mut world, _, question) = asked();
    let stranger = world.approval(question, "eve", Decision::Approved);
    assert_eq!(world.put(&stranger), Verdict::Late);
    let mut nobody = world.approval(question, "ada", Decision::Approved);
    nobody.metadata.user = None;
    assert_eq!(world.put(&nobody), Verdict::Late);
    let mut other = world.approval(question, "ada", Decision::Approved);
    other.payload.arguments_sha256 = nexus_contracts::sha256_hex(b"{}");
    assert_eq!(world.put(&other), Verdict::Late);
    assert_eq!(world.ids(EventType::ToolsExecute).len(), 1);
}

#[test]
fn question_expires_as_a_no_and_the_runs_time_stands_still_meanwhile() {
    let (mut world, run, question) = asked();
    let waits: Vec<_> = world.state.waits().map(|wait| (wait.call, wait.allowed_ms)).collect();
    assert!(waits.contains(&(Some(question), 9_000)), "{waits:?}");
    assert!(waits.iter().all(|(call, _)| call.is_some()), "{waits:?}");

    world.give(world.last(EventType::ToolsExecute), "12:00");
    world.time_out(run, TimeoutScope::Call { call: question });
    let (text, _) = results(&world.last_request()).pop().unwrap();
    assert!(text.starts_with("error (approval_expired)"), "{text}");
    let late = world.approval(question, "ada", Decision::Approved);
    assert_eq!(world.put(&late), Verdict::Late);
    assert!(world.state.waits().any(|wait| wait.call.is_none()), "the run has its limit again");
}

#[test]
fn cancelling_ends_a_run_that_waits_for_a_person() {
    let (mut world, run, question) = asked();
    assert_eq!(world.cancel(run), Verdict::Applied);
    assert_eq!(world.codes(run), ["cancelled"]);
    let late = world.approval(question, "ada", Decision::Approved);
    assert_eq!(world.put(&late), Verdict::Late);
    let timeout: Event<RunTimeout> = world.timeout(run, TimeoutScope::Call { call: question });
    assert_eq!(world.put(&timeout), Verdict::Late);
}
