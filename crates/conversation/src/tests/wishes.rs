//! What a request wishes of the model, what a model wrote, and what it may cost.

use std::num::NonZeroU8;

use nexus_contracts::{
    AttemptLimits, Budget, Cost, EventType, InferenceOutcome, NativeTurn, Outcome, Part, Role,
    Sampling, ToolChoice,
};
use serde_json::json;

use super::fixtures::wanted;
use super::world::World;

#[test]
fn wishes_of_the_request_come_before_those_of_the_agent() {
    let limits = AttemptLimits { idle_ms: Some(7), ..AttemptLimits::default() };
    let mut world = World::with(|agent| {
        agent.sampling = Sampling { temperature: Some(0.1), seed: Some(4), ..Sampling::default() };
        agent.attempts = limits;
    });
    let mut request = world.request("kitchen", "hello");
    request.payload.sampling =
        Sampling { temperature: Some(0.9), samples: NonZeroU8::new(3), ..Sampling::default() };
    world.put(&request);
    world.deliver();
    world.recall(&[]);

    let wished = Sampling {
        temperature: Some(0.9),
        seed: Some(4),
        samples: NonZeroU8::new(3),
        ..Sampling::default()
    };
    let asked = world.last_request();
    assert_eq!((asked.sampling, asked.limits), (wished, limits));
}

#[test]
fn model_is_made_to_call_a_tool_once_and_may_answer_then() {
    let mut world = World::with(|agent| agent.sampling.tool_choice = Some(ToolChoice::Required));
    world.ask_the_model("hello");
    assert_eq!(world.last_request().sampling.tool_choice, Some(ToolChoice::Required));
    world.want(&[("clock", "{}")]);
    world.give(world.last(EventType::ToolsExecute), "12:00");
    assert_eq!(world.last_request().sampling.tool_choice, None);
}

#[test]
fn model_sees_its_turn_as_it_wrote_it_before_the_parts_that_all_can_read() {
    let mut world = World::new();
    let (_, call) = world.ask_the_model("hello");
    let wrote = NativeTurn {
        model: "anthropic/claude".to_owned(),
        wire: "anthropic-messages".to_owned(),
        items: vec![json!({ "type": "thinking", "thinking": "Hm.", "signature": "c2ln" })],
        fingerprint: NativeTurn::fingerprint_of("", [("clock", "{}")]),
    };
    let mut answer = wanted(&[("clock", "{}")]);
    if let InferenceOutcome::Completed { turn, .. } = &mut answer {
        *turn = Some(wrote.clone());
    }
    world.put(&world.response(call, answer));
    world.deliver();
    world.give(world.last(EventType::ToolsExecute), "12:00");

    let messages = world.last_request().messages;
    let message = &messages[messages.len() - 2];
    assert_eq!(message.parts[0], Part::Native { turn: wrote.clone() });
    assert!(matches!(&message.parts[1], Part::ToolCall { tool, .. } if tool == "clock"));
    assert!(wrote.is_of(message));
}

#[test]
fn thoughts_of_earlier_steps_are_forgotten_before_a_run_is_too_long() {
    let mut world = World::new();
    world.ask_the_model("hello");
    for _ in 0..3 {
        let call = world.last(EventType::InferenceRequest);
        let mut answer = wanted(&[("clock", "{}")]);
        if let InferenceOutcome::Completed { turn, .. } = &mut answer {
            *turn = Some(NativeTurn {
                model: "p/m".to_owned(),
                wire: "anthropic-messages".to_owned(),
                items: vec![json!({ "type": "thinking", "thinking": "x".repeat(100 * 1024) })],
                fingerprint: NativeTurn::fingerprint_of("", [("clock", "{}")]),
            });
        }
        world.put(&world.response(call, answer));
        world.give(world.last(EventType::ToolsExecute), "12:00");
    }
    let messages = world.last_request().messages;
    let thoughts = messages.iter().filter(|message| message.role == Role::Assistant);
    let kept: Vec<bool> = thoughts
        .map(|message| message.parts.iter().any(|part| matches!(part, Part::Native { .. })))
        .collect();
    assert_eq!(kept, [false, true, true]);
}

#[test]
fn run_that_has_spent_its_money_fails_before_the_next_model_call() {
    let budget = Budget { cost_microusd: Some(1_000), ..Budget::default() };
    let mut world = World::with(|agent| agent.budget = budget);
    let (run, call) = world.ask_the_model("hello");
    let mut response = world.response(call, wanted(&[("clock", "{}")]));
    response.payload.cost = Some(Cost { microusd: 1_000, price: "p/m@2026-11-20".to_owned() });
    world.put(&response);
    world.deliver();
    world.give(world.last(EventType::ToolsExecute), "12:00");

    let message = "The request costs more than 1000 millionths of a US dollar.".to_owned();
    let failed = Outcome::Failed { code: "budget_cost".to_owned(), message };
    assert_eq!(world.outcomes(run), [failed]);
    assert_eq!(world.ends(run)[0].usage.cost_microusd, 1_000);
}
